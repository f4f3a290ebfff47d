//! Opening a folder: every record is read and checked, the newest segment is made good, damage is named and stepped over.
//!
//! **Tear or damage?** A bad stretch in the newest segment is a tear if it can only be something that was being written when
//! the power went: then it and all behind it was never acknowledged and is cut. Frames that are whole behind it prove nothing
//! on their own, since the pages of one unsynced write reach the disk in any order. But each frame says how much of its
//! segment was synced when it was written. A stretch that begins below the largest such figure was synced once: it is damage,
//! is left alone, and what is whole behind it is served. In an older segment every bad stretch is damage, for a segment is
//! made good before the next one is begun. What cannot be told apart: a last group that was acknowledged, after which
//! nothing was written (no next group, no end mark of an orderly close), and which the disk then garbled, looks like a tear.
//!
//! Once the newest segment is made good, an end mark is written behind it, as an orderly close does.
//!
//! **The tail is written anew.** What the newest segment holds behind the synced part may be in the operating system's cache
//! only, and after a failed fsync it would stay there, clean and never written. So these bytes are written again in place and
//! synced before anyone is told of them.
//!
//! **Looking without touching.** [`inspect`] reads a folder the same way and changes nothing: no lock, no repair. The journal may be
//! written to meanwhile, so a torn tail is what is being written just now, and segments may go while it reads.
//!
//! Memory: one window of 256 KiB or one record, whichever is larger.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::catalog::{Catalog, Segment};
use crate::disk::{self, Disk, DiskFile};
use crate::error::{DamageKind, JournalError};
use crate::files::{self, TEMPORARY_SUFFIX};
use crate::format::{
    self, FILE_HEADER_BYTES, FRAME_HEADER_BYTES, FileHeader, FrameHeader, FrameKind, HeaderFault, Place,
};
use crate::options::Options;
use crate::record::{Position, Record, RecordKind, SegmentInfo};
use crate::walk::{Look, Walk, WalkError};

/// What the copy of a damaged file is called.
const COPY_SUFFIX: &str = ".damaged";
const COPY_CHUNK_BYTES: usize = 256 << 10;

/// What a visitor answers to stop the recovery.
pub type VisitorError = Box<dyn std::error::Error + Send + Sync>;

/// Sees what is in a folder while it is opened, in order.
pub trait Visitor {
    /// Asked before a segment is read: a caller that remembers what is in it answers how many entries that are, and it is passed
    /// over. Its damage, if it has any, is found when it is read. Not asked for the newest segment, nor for one that is not whole
    /// as far as its header and the next one's can tell.
    ///
    /// `mark` is the segment's own ([`crate::SegmentInfo::mark`]): where somebody has deleted segments by hand, numbers come again
    /// and marks do not.
    fn passes_over(&mut self, segment: u64, mark: u32) -> Option<u64>;

    /// A record of a segment that is not passed over.
    ///
    /// # Errors
    /// Any error ends the opening ([`JournalError::Visitor`]).
    fn visit(&mut self, record: Record<'_>) -> Result<(), VisitorError>;
}

/// A visitor that remembers nothing.
pub(crate) struct EveryRecord<'a>(pub(crate) &'a mut dyn FnMut(Record<'_>) -> Result<(), VisitorError>);

impl Visitor for EveryRecord<'_> {
    fn passes_over(&mut self, _segment: u64, _mark: u32) -> Option<u64> {
        None
    }

    fn visit(&mut self, record: Record<'_>) -> Result<(), VisitorError> {
        (self.0)(record)
    }
}

/// What recovery found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Segment files found.
    pub segments: usize,
    /// Of these: passed over, because the visitor remembers them.
    pub passed_over: usize,
    /// Entry records given to the visitor.
    pub entries: u64,
    /// Bytes of the segment files.
    pub bytes: u64,
    /// Bytes of a torn tail that were cut from the newest segment: written, but never acknowledged.
    pub torn_bytes: u64,
    /// Damaged stretches, in order. Not empty: tell the operator.
    pub damage: Vec<Damage>,
}

/// One stretch of a segment that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The segment file.
    pub file: PathBuf,
    /// Where the stretch begins.
    pub at: Position,
    /// How long it is.
    pub bytes: u64,
    /// What is wrong.
    pub kind: DamageKind,
    /// A copy of the file as it was found, if recovery had to change the file.
    pub copy: Option<PathBuf>,
}

/// What the writer must know to go on.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) catalog: Arc<Catalog>,
    /// Greater than any number that was ever used.
    pub(crate) next_number: u64,
    /// The newest segment and its length, for the next one's header; zeros if there is none.
    pub(crate) previous: (u64, u64),
}

/// A segment file before it is walked through.
#[derive(Debug)]
struct Candidate {
    number: u64,
    bytes: u64,
    header: Result<FileHeader, DamageKind>,
    /// Marks to try if the header is damaged.
    marks: [Option<u32>; 2],
}

/// Where the walk through one segment came to.
#[derive(Debug)]
struct Pass {
    entries: u64,
    /// The largest "synced up to here" that a frame says.
    synced: u64,
    /// Where the readable part ends: the end of the segment, or its unreadable rest.
    readable: u64,
    /// Where the torn tail begins.
    tear: Option<u64>,
    /// Whether an end mark is the last thing in it.
    ended: bool,
}

pub(crate) fn recover(
    disk: &Arc<dyn Disk>,
    folder: &Path,
    options: &Options,
    visitor: &mut dyn Visitor,
) -> Result<(Recovered, RecoveryReport), JournalError> {
    let names = disk.list(folder).map_err(JournalError::io("list", folder))?;
    let numbers: Vec<u64> = names.iter().filter_map(|name| format::segment_number(name)).collect();
    let candidates = numbers
        .iter()
        .map(|number| candidate(disk.as_ref(), folder, *number))
        .collect::<Result<Vec<_>, _>>()?;
    remove_leftovers(disk.as_ref(), folder, &names);
    let catalog = Arc::new(Catalog::new(Arc::clone(disk), folder, options.record_bytes_max));
    let mut recovery = Recovery { catalog: &catalog, visitor, report: RecoveryReport::default() };
    let mut previous = (0, 0);
    for (index, candidate) in candidates.iter().enumerate() {
        let later = &candidates[index + 1..];
        if is_torn_creation(candidate, later) {
            recovery.pass_over_torn_creation(candidate, later)?;
            continue;
        }
        let (segment, end) = match recovery.pass_over(candidate, later) {
            Some(segment) => (segment, candidate.bytes),
            None => recovery.segment(candidate, later)?,
        };
        catalog.insert(candidate.number, segment);
        previous = (candidate.number, end);
    }
    // A process that was killed may have left names that are not lasting yet.
    disk.sync_dir(folder).map_err(JournalError::io("sync", folder))?;
    let report = recovery.report;
    let next_number = numbers.last().map_or(1, |number| number.saturating_add(1));
    Ok((Recovered { catalog, next_number, previous }, report))
}

/// What stands in a folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inspected {
    /// Its segments, oldest first. `bytes` is how far each can be read now; the newest may grow.
    pub segments: Vec<SegmentInfo>,
    /// As for an opening. `torn_bytes` counts what is not whole at the end of the newest segment: torn, or just being written.
    pub report: RecoveryReport,
    /// Segments that were removed while the folder was read: what only they held was not visited.
    pub vanished: Vec<u64>,
}

/// Reads the journal in `folder` as an opening does, and gives every record to `visit`, in order, but takes no lock and changes
/// nothing: it may be in use.
///
/// # Errors
/// [`JournalError::NewerFormat`], [`JournalError::RecordOverLimit`], [`JournalError::Visitor`], [`JournalError::Io`]. Damage is no error,
/// and neither are segments that go meanwhile.
pub fn inspect(
    disk: &Arc<dyn Disk>,
    folder: &Path,
    record_bytes_max: usize,
    visit: &mut dyn FnMut(Record<'_>) -> Result<(), VisitorError>,
) -> Result<Inspected, JournalError> {
    let names = disk.list(folder).map_err(JournalError::io("list", folder))?;
    let mut vanished = Vec::new();
    let mut candidates = Vec::new();
    for number in names.iter().filter_map(|name| format::segment_number(name)) {
        match unless_gone(candidate(disk.as_ref(), folder, number))? {
            Some(candidate) => candidates.push(candidate),
            None => vanished.push(number),
        }
    }
    let catalog = Arc::new(Catalog::new(Arc::clone(disk), folder, record_bytes_max));
    let mut visitor = EveryRecord(visit);
    let mut recovery =
        Recovery { catalog: &catalog, visitor: &mut visitor, report: RecoveryReport::default() };
    for (index, candidate) in candidates.iter().enumerate() {
        let later = &candidates[index + 1..];
        if is_torn_creation(candidate, later) {
            continue;
        }
        match unless_gone(recovery.read_segment(candidate, later))? {
            Some(found) => {
                let tear = found.pass.tear.filter(|_| later.is_empty());
                recovery.report.torn_bytes += tear.map_or(0, |tear| candidate.bytes.saturating_sub(tear));
                recovery.report.entries += found.pass.entries;
                catalog.insert(candidate.number, found.segment());
            }
            None => vanished.push(candidate.number),
        }
    }
    vanished.sort_unstable();
    let report = recovery.report;
    Ok(Inspected { segments: catalog.infos(), report, vanished })
}

/// A file that is not there any more is no error.
fn unless_gone<T>(found: Result<T, JournalError>) -> Result<Option<T>, JournalError> {
    match found {
        Err(JournalError::Io { what: "open", source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            Ok(None)
        }
        found => found.map(Some),
    }
}

/// A segment that was walked through.
struct Found {
    mark: Option<u32>,
    pass: Pass,
    damaged: bool,
    /// Where the file ends, as far as it belongs to the journal.
    end: u64,
}

impl Found {
    fn segment(&self) -> Segment {
        Segment {
            mark: self.mark.unwrap_or(0),
            bytes: self.pass.readable,
            entries: self.pass.entries,
            sealed: true,
            damaged: self.damaged,
        }
    }
}

/// Reads a segment's header; changes nothing.
fn candidate(disk: &dyn Disk, folder: &Path, number: u64) -> Result<Candidate, JournalError> {
    let path = folder.join(format::segment_name(number));
    let file = disk.open_read(&path).map_err(JournalError::io("open", &path))?;
    let bytes = file.len().map_err(JournalError::io("measure", &path))?;
    let mut start = [0; FILE_HEADER_BYTES + FRAME_HEADER_BYTES];
    let there = start.len().min(usize::try_from(bytes).unwrap_or(usize::MAX));
    let start = &mut start[..there];
    if file.read_exact_at(0, start).is_err() {
        return Ok(Candidate { number, bytes, header: Err(DamageKind::Unreadable), marks: [None; 2] });
    }
    let start = &*start;
    let header = match FileHeader::decode(start) {
        Ok(header) if header.segment == number => Ok(header),
        Ok(_) | Err(HeaderFault::Damaged) => Err(DamageKind::FileHeader),
        Err(HeaderFault::Newer(version)) => {
            return Err(JournalError::NewerFormat { file: path, version, known: format::VERSION });
        }
    };
    // Every frame begins with the mark, so the first frame has it as well.
    let first_frame =
        start.get(FILE_HEADER_BYTES..FILE_HEADER_BYTES + 4).map(|bytes| format::u32_at(bytes, 0));
    Ok(Candidate { number, bytes, header, marks: [FileHeader::unchecked_mark(start), first_frame] })
}

/// Unfinished copies and cursors of a program that was stopped. If one cannot be removed, it does no harm.
fn remove_leftovers(disk: &dyn Disk, folder: &Path, names: &[String]) {
    let ours = |name: &&String| {
        name.strip_suffix(TEMPORARY_SUFFIX)
            .is_some_and(|name| name.ends_with(".cursor") || name.ends_with(COPY_SUFFIX))
    };
    for name in names.iter().filter(ours) {
        let _ = disk.remove(&folder.join(name));
    }
}

struct Recovery<'a> {
    catalog: &'a Catalog,
    visitor: &'a mut dyn Visitor,
    report: RecoveryReport,
}

impl Recovery<'_> {
    /// Removes a file that was being made when the power went, unless it is the newest one: it shows that the segment before
    /// it had been sealed, so that bad bytes in there are damage and no tear.
    fn pass_over_torn_creation(&self, found: &Candidate, later: &[Candidate]) -> Result<(), JournalError> {
        if !later.iter().any(|later| later.header.is_ok()) {
            return Ok(());
        }
        let path = self.catalog.path(found.number);
        self.catalog.disk().remove(&path).map_err(JournalError::io("remove", &path))
    }

    /// Takes a sealed segment as the visitor remembers it, if it is as long as the next one says.
    fn pass_over(&mut self, found: &Candidate, later: &[Candidate]) -> Option<Segment> {
        let header = found.header.ok()?;
        let told = later.iter().filter_map(|later| later.header.ok());
        let told = told.into_iter().find(|later| later.previous == found.number)?;
        if told.previous_bytes != found.bytes {
            return None;
        }
        let entries = self.visitor.passes_over(found.number, header.mark)?;
        self.report.segments += 1;
        self.report.passed_over += 1;
        self.report.bytes += found.bytes;
        Some(Segment { mark: header.mark, bytes: found.bytes, entries, sealed: true, damaged: false })
    }

    /// Recovers one segment; answers it and where it ends.
    fn segment(&mut self, found: &Candidate, later: &[Candidate]) -> Result<(Segment, u64), JournalError> {
        let newest = later.is_empty();
        let damaged_before = self.report.damage.len();
        let read = self.read_segment(found, later)?;
        let end = match read.mark {
            Some(mark) if newest => self.make_good(found, mark, &read.pass, damaged_before)?,
            _ => read.end,
        };
        self.report.entries += read.pass.entries;
        Ok((read.segment(), end))
    }

    /// Walks through one segment; changes nothing.
    fn read_segment(&mut self, found: &Candidate, later: &[Candidate]) -> Result<Found, JournalError> {
        let file = self.catalog.open(found.number)?;
        self.report.segments += 1;
        self.report.bytes += found.bytes;
        let damaged_before = self.report.damage.len();
        let told =
            later.iter().filter_map(|later| later.header.ok()).find(|header| header.previous == found.number);
        let expected = told.map(|header| header.previous_bytes);
        let end = expected.unwrap_or(found.bytes).min(found.bytes);
        let mut walk = Walk::new(file, found.number, 0, end, self.catalog.record_bytes_max());
        let mark = self.mark(found, &mut walk)?;
        let pass = match mark {
            Some(mark) => {
                walk.set_mark(mark);
                self.pass(found.number, &mut walk, later.is_empty())?
            }
            None => Pass { entries: 0, synced: 0, readable: 0, tear: None, ended: true },
        };
        if let Some(missing) =
            expected.and_then(|expected| expected.checked_sub(found.bytes)).filter(|bytes| *bytes > 0)
        {
            self.damage(found.number, found.bytes, missing, DamageKind::Truncated);
        }
        let damaged = self.report.damage.len() > damaged_before;
        Ok(Found { mark, pass, damaged, end })
    }

    /// The segment's mark: from the header, or, if that is damaged, one that frames confirm.
    fn mark(&mut self, found: &Candidate, walk: &mut Walk) -> Result<Option<u32>, JournalError> {
        let kind = match found.header {
            Ok(header) => return Ok(Some(header.mark)),
            Err(kind) => kind,
        };
        let first = FILE_HEADER_BYTES as u64;
        for mark in found.marks.into_iter().flatten().filter(|mark| *mark != 0) {
            walk.set_mark(mark);
            let frame = walk.resume(first).or_else(|error| match error {
                WalkError::Read(_) => Ok(walk.end()),
                WalkError::OverLimit { .. } => Err(self.catalog.walk_error(found.number, error)),
            })?;
            if frame < walk.end() {
                self.damage(found.number, 0, first, kind);
                return Ok(Some(mark));
            }
        }
        if found.bytes > 0 {
            self.damage(found.number, 0, found.bytes, kind);
        }
        Ok(None)
    }

    /// Walks through the segment and visits what is whole.
    fn pass(&mut self, number: u64, walk: &mut Walk, newest: bool) -> Result<Pass, JournalError> {
        let mut pass = Pass { entries: 0, synced: 0, readable: walk.end(), tear: None, ended: false };
        let mut offset = FILE_HEADER_BYTES as u64;
        let mut after_damage = false;
        let mut surveyed = !newest;
        loop {
            match self.unless_unreadable(number, walk.look(offset))? {
                None => {
                    self.damage(number, offset, walk.end() - offset, DamageKind::Unreadable);
                    pass.readable = offset;
                    return Ok(pass);
                }
                Some(Look::End) => return Ok(pass),
                Some(Look::Frame(header)) => {
                    self.visit(Position { segment: number, offset }, walk, &header, after_damage)?;
                    pass.entries += u64::from(header.kind.record() == Some(RecordKind::Entry));
                    pass.synced = pass.synced.max(u64::from(header.synced));
                    pass.ended = header.kind == FrameKind::End && u64::from(header.synced) == offset;
                    offset += header.frame_bytes();
                }
                Some(Look::Bad { .. }) if !surveyed => {
                    surveyed = true;
                    pass.tear = self.unless_unreadable(number, survey(walk, offset, pass.synced))?.flatten();
                    if let Some(tear) = pass.tear {
                        walk.set_end(tear);
                        pass.readable = tear;
                    }
                }
                Some(Look::Bad { kind, .. }) => {
                    let next = self.unless_unreadable(number, walk.resume(offset))?;
                    let (next, kind) = next.map_or((walk.end(), DamageKind::Unreadable), |next| (next, kind));
                    if kind == DamageKind::Unreadable {
                        pass.readable = offset;
                    }
                    self.damage(number, offset, next - offset, kind);
                    after_damage = true;
                    pass.ended = false;
                    offset = next;
                }
            }
        }
    }

    /// A bad sector is damage like any other: `None`. Only a record over the limit ends the recovery, since it can be helped.
    fn unless_unreadable<T>(
        &self,
        number: u64,
        found: Result<T, WalkError>,
    ) -> Result<Option<T>, JournalError> {
        match found {
            Ok(found) => Ok(Some(found)),
            Err(WalkError::Read(_)) => Ok(None),
            Err(error) => Err(self.catalog.walk_error(number, error)),
        }
    }

    fn visit(
        &mut self,
        at: Position,
        walk: &mut Walk,
        header: &FrameHeader,
        after_damage: bool,
    ) -> Result<(), JournalError> {
        let Some(kind) = header.kind.record() else { return Ok(()) };
        let payload = walk
            .payload(at.offset, header)
            .map_err(JournalError::io("read", &self.catalog.path(at.segment)))?;
        self.visitor
            .visit(Record { at, kind, after_damage, payload })
            .map_err(|source| JournalError::Visitor { at, source: Arc::from(source) })
    }

    fn damage(&mut self, number: u64, offset: u64, bytes: u64, kind: DamageKind) {
        self.report.damage.push(Damage {
            file: self.catalog.path(number),
            at: Position { segment: number, offset },
            bytes,
            kind,
            copy: None,
        });
    }

    /// Cuts the newest segment's torn tail, makes lasting what is left, and marks its end. Answers where it ends.
    fn make_good(
        &mut self,
        found: &Candidate,
        mark: u32,
        pass: &Pass,
        damaged_before: usize,
    ) -> Result<u64, JournalError> {
        let path = self.catalog.path(found.number);
        let damaged = self.report.damage.len() > damaged_before;
        // Without a copy the tail stays. It does no harm: the next segment's header says where this one ends.
        let cut = pass.tear.filter(|_| !damaged || self.set_copy_aside(&path, damaged_before));
        let disk = self.catalog.disk();
        let mut file = disk.open_append(&path).map_err(JournalError::io("open", &path))?;
        if let Some(tear) = cut {
            file.set_len(tear).map_err(JournalError::io("cut", &path))?;
            self.report.torn_bytes += found.bytes - tear;
        }
        match rewrite(file.as_mut(), pass.synced, pass.readable) {
            // Copy-on-write file systems need room even for this; a full disk must not keep the journal shut.
            Err(error) if disk::is_full(&error) => {}
            result => result.map_err(JournalError::io("rewrite", &path))?,
        }
        file.sync_data().map_err(JournalError::io("sync", &path))?;
        let whole = pass.readable == cut.unwrap_or(found.bytes);
        if pass.ended || !whole {
            return Ok(pass.tear.unwrap_or(found.bytes));
        }
        let place = Place { segment: found.number, mark, offset: pass.readable };
        mark_end(file.as_mut(), place).map_err(JournalError::io("mark the end of", &path))
    }

    /// Copies a damaged file before it is changed, and says so in the report. False if there is no copy.
    fn set_copy_aside(&mut self, path: &Path, damaged_before: usize) -> bool {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(COPY_SUFFIX);
        let copy = path.with_file_name(name);
        let made = copy_file(self.catalog.disk().as_ref(), self.catalog.folder(), path, &copy).is_ok();
        if made {
            self.report.damage[damaged_before..]
                .iter_mut()
                .for_each(|damage| damage.copy = Some(copy.clone()));
        }
        made
    }
}

/// A header is synced before the first frame is written. So a file without a whole header and without anything behind it was
/// being made when the power went, unless a later segment knows it or might have known it.
fn is_torn_creation(found: &Candidate, later: &[Candidate]) -> bool {
    let is_stub = |file: &Candidate| {
        file.header == Err(DamageKind::FileHeader) && file.bytes <= FILE_HEADER_BYTES as u64
    };
    let next = later.iter().find(|file| !is_stub(file));
    is_stub(found) && next.is_none_or(|next| next.header.is_ok_and(|header| header.previous != found.number))
}

/// Looks at everything from the first bad place on, and answers where the torn tail begins, if there is one: at the first
/// bad stretch that no frame of the segment proves to have been synced.
fn survey(walk: &mut Walk, first_bad: u64, synced_before: u64) -> Result<Option<u64>, WalkError> {
    let mut synced = synced_before;
    let mut offset = first_bad;
    loop {
        match walk.look(offset)? {
            Look::End => break,
            Look::Frame(header) => {
                synced = synced.max(u64::from(header.synced));
                offset += header.frame_bytes();
            }
            Look::Bad { synced: said, next, .. } => {
                synced = synced.max(said); // a torn frame proves what its header says, if that is whole
                offset = walk.step_over(offset, next)?;
            }
        }
    }
    // The second way through needs no list of bad places, which in a hostile file might be long.
    let mut offset = first_bad;
    loop {
        match walk.look(offset)? {
            Look::End => return Ok(None),
            Look::Frame(header) => offset += header.frame_bytes(),
            Look::Bad { .. } if offset >= synced => return Ok(Some(offset)),
            Look::Bad { next, .. } => offset = walk.step_over(offset, next)?,
        }
    }
}

/// Writes the end mark behind what is synced: the proof of it. The frames that proved it may have been cut with the tail, and
/// without proof later damage would look like a tear. Answers where the segment ends now.
fn mark_end(file: &mut dyn DiskFile, place: Place) -> io::Result<u64> {
    let synced = u32::try_from(place.offset).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let frame = FrameHeader::for_payload(FrameKind::End, synced, &[]).encode(place);
    match file.append(&frame) {
        // Good to have, but no reason to keep the journal shut.
        Err(error) if disk::is_full(&error) => {
            file.set_len(place.offset)?;
            file.sync_data().map(|()| place.offset)
        }
        result => result.and_then(|()| file.sync_data()).map(|()| place.offset + frame.len() as u64),
    }
}

/// Writes the same bytes again, so that the next sync really writes them.
fn rewrite(file: &mut dyn DiskFile, from: u64, to: u64) -> io::Result<()> {
    let mut chunk = vec![0; COPY_CHUNK_BYTES];
    let mut offset = from;
    while offset < to {
        let wanted = chunk.len().min((to - offset) as usize);
        let filled = file.read_at(offset, &mut chunk[..wanted])?;
        if filled == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        file.overwrite(offset, &chunk[..filled])?;
        offset += filled as u64;
    }
    Ok(())
}

/// Copies a file by way of a temporary one. A copy that is there already is the better one: it is older.
fn copy_file(disk: &dyn Disk, folder: &Path, from: &Path, to: &Path) -> io::Result<()> {
    match disk.open_read(to) {
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    files::copy(disk, from, to, u64::MAX)?;
    disk.sync_dir(folder)
}
