//! Reads a block file.
//!
//! In: a path. Out: what the block is ([`Block::meta`]), its index, its series by number, in label order, and their samples. Opening reads
//! header, footer and trailer only; everything else is read by pread when it is asked for, verified each time, and kept in the
//! shared cache. A block stays readable while it is open, also when its file has been removed.
//!
//! Errors name the file and the place. A frame whose checksum is right and whose content is not is damage, too.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use journal::disk::{Disk, DiskFile};
use model::{Columns, Labels, Timestamp};

use super::cache::Cache;
use super::format::{self, Checked, FRAME_HEAD, HEADER_BYTES, Roots, TRAILER_BYTES};
use super::frame::{FrameRef, FrameSource};
use super::meta::BlockMeta;
use super::records;
use super::series::{Chunk, Entry, FRAME_SERIES, GROUP_SERIES, GroupReader, Place};
use super::times::TimeDecoder;
use super::values::ValueDecoder;
use crate::error::BlockError;
use crate::index::block::BlockIndex;
use crate::select::block::Stored;
use crate::select::merge::Histogram;

/// Columns that a reader remembers decoded: those of the targets whose series lie side by side.
const COLUMNS_KEPT: usize = 32;

/// Column frames that a walk keeps, some 1.5 MiB: the columns of 3,000 hosts over two hours at 15 s.
const WALKED_KEPT: usize = 32;

/// An open block.
pub(crate) struct Block {
    meta: BlockMeta,
    roots: Roots,
    file: Box<dyn DiskFile>,
    path: PathBuf,
    cache: Arc<Cache>,
    /// Its number in the cache.
    opened: u64,
}

impl std::fmt::Debug for Block {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Block").field("path", &self.path).field("meta", &self.meta).finish_non_exhaustive()
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.cache.forget(self.opened);
    }
}

impl Block {
    /// Opens a block file.
    ///
    /// # Errors
    /// The disk's; [`BlockError::Damaged`] where the file is no block or is cut; [`BlockError::Newer`].
    pub(crate) fn open(
        disk: &Arc<dyn Disk>,
        path: &Path,
        cache: &Arc<Cache>,
    ) -> Result<Arc<Self>, BlockError> {
        let io = |what| move |source| BlockError::Io { what, path: path.to_owned(), source };
        let damaged =
            |offset, what: &str| BlockError::Damaged { path: path.to_owned(), offset, what: what.to_owned() };
        let file = disk.open_read(path).map_err(io("open"))?;
        let bytes = file.len().map_err(io("read"))?;
        let end = bytes
            .checked_sub(TRAILER_BYTES as u64)
            .ok_or_else(|| damaged(bytes, "it is too short to be a block"))?;
        let mut header = [0; HEADER_BYTES];
        file.read_exact_at(0, &mut header).map_err(io("read"))?;
        let newer = |version| BlockError::Newer { path: path.to_owned(), version, known: format::VERSION };
        match format::check_header(&header) {
            Checked::Newer(version) => return Err(newer(version)),
            Checked::Good(()) => {}
            Checked::Wrong => return Err(damaged(0, "it does not begin as a block does")),
        }
        let mut trailer = [0; TRAILER_BYTES];
        file.read_exact_at(end, &mut trailer).map_err(io("read"))?;
        let footer = match format::check_trailer(&trailer) {
            Checked::Good(footer) => footer,
            Checked::Newer(version) => return Err(newer(version)),
            Checked::Wrong => {
                return Err(damaged(
                    end,
                    "it does not end as a block does: it was cut, or its end is damaged",
                ));
            }
        };
        let payload = load(&*file, path, bytes, footer)?;
        let (meta, roots) = format::take_footer(&payload, bytes)
            .ok_or_else(|| damaged(footer.offset, "the footer cannot be understood"))?;
        let (cache, path) = (Arc::clone(cache), path.to_owned());
        let opened = cache.number();
        Ok(Arc::new(Self { meta, roots, file, path, cache, opened }))
    }

    /// What it is.
    pub(crate) fn meta(&self) -> &BlockMeta {
        &self.meta
    }

    /// Its file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn file(&self) -> &dyn DiskFile {
        &*self.file
    }

    pub(super) fn roots(&self) -> &Roots {
        &self.roots
    }

    /// A frame, without the cache: for those who read everything once.
    pub(super) fn load(&self, at: FrameRef) -> Result<Arc<[u8]>, BlockError> {
        load(&*self.file, &self.path, self.meta.bytes, at)
    }

    fn frame(&self, at: FrameRef, through_cache: bool) -> Result<Arc<[u8]>, BlockError> {
        if through_cache { self.get(at) } else { self.load(at) }
    }

    /// A walk over all series in label order, past the cache.
    pub(crate) fn walk(self: &Arc<Self>) -> Walk {
        Walk { block: Arc::clone(self), reader: BlockReader::direct(), next: 0 }
    }
}

/// Reads and verifies a frame of a file of so many bytes.
fn load(file: &dyn DiskFile, path: &Path, bytes: u64, at: FrameRef) -> Result<Arc<[u8]>, BlockError> {
    let damaged =
        |what: &str| BlockError::Damaged { path: path.to_owned(), offset: at.offset, what: what.to_owned() };
    let end = at.offset.checked_add(FRAME_HEAD as u64 + u64::from(at.length));
    if at.length > format::FRAME_MAX || end.is_none_or(|end| end > bytes) {
        return Err(damaged("a part is said to lie here that the file has no room for"));
    }
    let mut frame = vec![0; FRAME_HEAD + at.length as usize];
    let io = |source| BlockError::Io { what: "read", path: path.to_owned(), source };
    file.read_exact_at(at.offset, &mut frame).map_err(io)?;
    let (head, payload) = frame.split_at(FRAME_HEAD);
    if !format::frame_is_whole(at.offset, head, payload) {
        return Err(damaged("its checksum is wrong"));
    }
    Ok(payload.into())
}

impl FrameSource for Block {
    fn get(&self, at: FrameRef) -> Result<Arc<[u8]>, BlockError> {
        if let Some(frame) = self.cache.get(self.opened, at).filter(|frame| frame.len() == at.length as usize)
        {
            return Ok(frame);
        }
        let frame = self.load(at)?;
        self.cache.put(self.opened, at, &frame);
        Ok(frame)
    }

    fn damaged(&self, at: FrameRef, what: &str) -> BlockError {
        BlockError::Damaged { path: self.path.clone(), offset: at.offset, what: what.to_owned() }
    }
}

/// What a reader keeps between series: the frames and columns that the next one is likely to need, too.
#[derive(Default)]
pub(crate) struct BlockReader {
    direct: bool,
    /// Directories of data, column and series frames.
    directories: [Option<Arc<[u8]>>; 3],
    group: Option<Group>,
    entry: Entry,
    /// The latest data and column frames.
    latest: [Option<(u32, Arc<[u8]>)>; 2],
    /// Column frames that a walk will need again, as it has no cache; the one that gives way next.
    walked: Vec<(u32, Arc<[u8]>)>,
    walked_oldest: usize,
    columns: Vec<Decoded>,
    /// The column that gives way next.
    oldest: usize,
    times: TimeDecoder,
    values: ValueDecoder,
    scratch: Vec<u8>,
    part: Columns,
}

/// Where the series that were read last stand.
struct Group {
    frame: u32,
    payload: Arc<[u8]>,
    reader: GroupReader,
    /// The group's first series.
    first: u32,
    /// The series that the reader gives next.
    next: u32,
}

/// A time column, decoded.
struct Decoded {
    place: Place,
    first: i64,
    times: Vec<Timestamp>,
}

const DATA: usize = 0;
const COLUMNS: usize = 1;
const SERIES: usize = 2;

impl BlockReader {
    /// One that reads past the cache.
    pub(super) fn direct() -> Self {
        Self { direct: true, ..Self::default() }
    }

    /// Where a frame lies, by its number in one of the directories.
    fn at(&mut self, block: &Block, kind: usize, number: u32) -> Result<FrameRef, BlockError> {
        let root = block.roots.all()[kind];
        let directory = match &self.directories[kind] {
            Some(directory) => directory,
            None => self.directories[kind].insert(block.frame(root, !self.direct)?),
        };
        format::take_place(directory, number as usize)
            .ok_or_else(|| block.damaged(root, "it lacks a part that a series refers to"))
    }

    /// A data or column frame.
    fn frame(&mut self, block: &Block, kind: usize, number: u32) -> Result<Arc<[u8]>, BlockError> {
        if let Some((_, frame)) = self.latest[kind].as_ref().filter(|(have, _)| *have == number) {
            return Ok(Arc::clone(frame));
        }
        let walked = self.walked.iter().find(|(have, _)| kind == COLUMNS && *have == number);
        let frame = match walked {
            Some((_, frame)) => Arc::clone(frame),
            None => {
                let at = self.at(block, kind, number)?;
                let frame = block.frame(at, !self.direct)?;
                if self.direct && kind == COLUMNS {
                    self.walk_past(number, &frame);
                }
                frame
            }
        };
        self.latest[kind] = Some((number, Arc::clone(&frame)));
        Ok(frame)
    }

    /// Keeps a column frame: series of one metric after the other, each host's columns come again with the next metric.
    fn walk_past(&mut self, number: u32, frame: &Arc<[u8]>) {
        let kept = (number, Arc::clone(frame));
        if self.walked.len() < WALKED_KEPT {
            self.walked.push(kept);
        } else {
            self.walked_oldest = (self.walked_oldest + 1) % WALKED_KEPT;
            self.walked[self.walked_oldest] = kept;
        }
    }

    /// Brings `entry` to a series.
    fn seek(&mut self, block: &Block, series: u32) -> Result<(), BlockError> {
        let group = self.group.as_ref().filter(|group| group.next == series + 1);
        if group.is_some() {
            return Ok(());
        }
        let frame = series / FRAME_SERIES;
        let first_of_group = series - series % GROUP_SERIES;
        // Not on into the next group: what its first series is written against is not the series before it.
        let stays = |group: &Group| group.first == first_of_group && group.next <= series;
        if !self.group.as_ref().is_some_and(stays) {
            self.open_group(block, frame, first_of_group)?;
        }
        let group = self.group.as_mut().expect("it was just opened");
        while group.next <= series {
            let read = group.reader.next(&group.payload, &mut self.entry, &mut self.scratch);
            if read.is_none() {
                self.group = None;
                let at = self.at(block, SERIES, frame)?;
                return Err(block.damaged(at, "a series cannot be understood"));
            }
            group.next += 1;
        }
        Ok(())
    }

    fn open_group(&mut self, block: &Block, frame: u32, first: u32) -> Result<(), BlockError> {
        let payload = match self.group.take().filter(|group| group.frame == frame) {
            Some(group) => group.payload,
            None => {
                let at = self.at(block, SERIES, frame)?;
                block.frame(at, !self.direct)?
            }
        };
        let of_frame = block.meta.series.saturating_sub(frame * FRAME_SERIES).min(FRAME_SERIES);
        let number = first % FRAME_SERIES / GROUP_SERIES;
        let reader = GroupReader::new(&payload, of_frame, number, block.meta.spec.start);
        let Some(reader) = reader.filter(|_| first < block.meta.series) else {
            let at = self.at(block, SERIES, frame)?;
            return Err(block.damaged(at, "it holds fewer series than the footer says"));
        };
        self.group = Some(Group { frame, payload, reader, first, next: first });
        Ok(())
    }

    /// The bytes at a place; an error where there are none.
    fn bytes(
        &mut self,
        block: &Block,
        kind: usize,
        place: Place,
    ) -> Result<(Arc<[u8]>, std::ops::Range<usize>), BlockError> {
        if place.length == 0 {
            return Ok((Arc::default(), 0..0)); // the times of one sample: their frame may not have been written for them
        }
        let frame = self.frame(block, kind, place.frame)?;
        let range = place.offset as usize..place.offset as usize + place.length as usize;
        if range.end > frame.len() {
            let at = self.at(block, kind, place.frame)?;
            return Err(block.damaged(at, "a series refers to bytes behind its end"));
        }
        Ok((frame, range))
    }

    /// The index among the decoded columns of a chunk's.
    fn column(&mut self, block: &Block, chunk: &Chunk) -> Result<usize, BlockError> {
        let fits = |decoded: &Decoded| {
            decoded.place == chunk.column
                && decoded.first == chunk.first
                && decoded.times.len() == chunk.count as usize
        };
        if let Some(index) = self.columns.iter().position(fits) {
            return Ok(index);
        }
        let (frame, range) = self.bytes(block, COLUMNS, chunk.column)?;
        let index = if self.columns.len() < COLUMNS_KEPT {
            self.columns.push(Decoded { place: Place::default(), first: 0, times: Vec::new() });
            self.columns.len() - 1
        } else {
            self.oldest = (self.oldest + 1) % COLUMNS_KEPT;
            self.oldest
        };
        let decoded = &mut self.columns[index];
        decoded.times.clear();
        // Nothing fits this one if decoding ends early.
        (decoded.place, decoded.first) = (Place { frame: u32::MAX, ..chunk.column }, chunk.first);
        let read = self.times.decode(&frame[range], chunk.first, chunk.count as usize, &mut decoded.times);
        match read {
            Ok(()) if decoded.times.is_sorted_by(|one, next| one < next) => {
                decoded.place = chunk.column;
                Ok(index)
            }
            read => {
                let what = read
                    .err()
                    .map_or_else(|| "times that do not ascend".to_owned(), |error| error.to_string());
                let at = self.at(block, COLUMNS, chunk.column.frame)?;
                Err(block.damaged(at, &format!("it holds {what}")))
            }
        }
    }

    /// Appends the samples of a chunk that lie in a span.
    fn chunk(
        &mut self,
        block: &Block,
        chunk: &Chunk,
        span: (i64, i64),
        into: &mut Columns,
    ) -> Result<(), BlockError> {
        if chunk.count == 0 {
            return Ok(());
        }
        let index = self.column(block, chunk)?;
        let (frame, range) = self.bytes(block, DATA, chunk.data)?;
        let times = &self.columns[index].times;
        let from = times.partition_point(|time| time.as_millis() < span.0);
        let to = times.partition_point(|time| time.as_millis() <= span.1);
        if from >= to {
            return Ok(());
        }
        let whole = to - from == times.len();
        let target = if whole { &mut into.values } else { &mut self.part.values };
        if !whole {
            target.clear();
        }
        let before = target.len();
        if let Err(error) = self.values.decode(&frame[range], chunk.count as usize, target) {
            target.truncate(before);
            let at = self.at(block, DATA, chunk.data.frame)?;
            return Err(block.damaged(at, &format!("it holds {error}")));
        }
        into.timestamps.extend_from_slice(&times[from..to]);
        if !whole {
            into.values.extend_from_slice(&self.part.values[from..to]);
        }
        Ok(())
    }

    /// Reads a series chunk by chunk and answers how many samples and histograms there are: all are in time order and within the block's
    /// span. Memory: one chunk.
    pub(super) fn check(
        &mut self,
        block: &Block,
        series: u32,
        into: &mut Columns,
        records: &mut Vec<Histogram>,
    ) -> Result<(u64, u64), BlockError> {
        self.seek(block, series)?;
        let (mut samples, mut histograms) = (Order::of(block), Order::of(block));
        for index in 0..self.entry.chunks.len() {
            let chunk = self.entry.chunks[index];
            into.clear();
            self.chunk(block, &chunk, ALL, into)?;
            samples.take(into.timestamps.iter().copied(), &chunk);
        }
        for index in 0..self.entry.records.len() {
            let chunk = self.entry.records[index];
            records.clear();
            self.records(block, &chunk, ALL, records)?;
            histograms.take(records.iter().map(|record| record.0), &chunk);
        }
        if samples.wrong || histograms.wrong {
            let at = self.at(block, SERIES, series / FRAME_SERIES)?;
            return Err(block.damaged(at, "the times of a series are not in order, or not the block's"));
        }
        Ok((samples.count, histograms.count))
    }

    /// Appends the records of a chunk that lie in a span.
    fn records(
        &mut self,
        block: &Block,
        chunk: &Chunk,
        span: (i64, i64),
        into: &mut Vec<Histogram>,
    ) -> Result<(), BlockError> {
        let (frame, range) = self.bytes(block, DATA, chunk.data)?;
        let read = records::decode(&frame[range], |time, record| {
            if (span.0..=span.1).contains(&time) {
                into.push((Timestamp::from_millis(time), record.into()));
            }
            time <= span.1
        });
        read.or_else(|error| {
            let at = self.at(block, DATA, chunk.data.frame)?;
            Err(block.damaged(at, &format!("it holds {error}")))
        })
    }
}

/// All times.
const ALL: (i64, i64) = (i64::MIN, i64::MAX);

/// Whether times ascend from chunk to chunk.
struct Order {
    span: (i64, i64),
    last: Option<i64>,
    count: u64,
    wrong: bool,
}

impl Order {
    fn of(block: &Block) -> Self {
        Self { span: (block.meta.min_time, block.meta.max_time), last: None, count: 0, wrong: false }
    }

    fn take(&mut self, times: impl Iterator<Item = Timestamp>, chunk: &Chunk) {
        let before = self.count;
        for time in times.map(Timestamp::as_millis) {
            let begins = self.count > before || time == chunk.first;
            let ascends = self.last.is_none_or(|last| last < time);
            self.wrong |= !(begins && ascends && (self.span.0..=self.span.1).contains(&time));
            self.last = Some(time);
            self.count += 1;
        }
        self.wrong |= self.count - before != u64::from(chunk.count) || chunk.count == 0;
    }
}

/// The chunks, in time order, that may hold something between two times.
fn overlapping(chunks: &[Chunk], span: (i64, i64)) -> std::ops::Range<usize> {
    let end = chunks.partition_point(|chunk| chunk.first <= span.1);
    // The last one that begins before the span may reach into it.
    let start = chunks[..end].partition_point(|chunk| chunk.first <= span.0).saturating_sub(1);
    start..end
}

impl Stored for Block {
    type Scratch = BlockReader;

    fn number(&self) -> u64 {
        self.meta.spec.number
    }

    fn index(&self) -> Result<BlockIndex<'_>, BlockError> {
        BlockIndex::open(self, self.roots.index, self.meta.series)
    }

    fn labels(&self, series: u32, reader: &mut BlockReader) -> Result<Labels, BlockError> {
        reader.seek(self, series)?;
        Ok(reader.entry.labels.clone())
    }

    fn read(
        &self,
        series: u32,
        span: (i64, i64),
        reader: &mut BlockReader,
        into: &mut Columns,
    ) -> Result<(), BlockError> {
        reader.seek(self, series)?;
        for index in overlapping(&reader.entry.chunks, span) {
            let chunk = reader.entry.chunks[index];
            reader.chunk(self, &chunk, span, into)?;
        }
        Ok(())
    }

    fn histograms(
        &self,
        series: u32,
        span: (i64, i64),
        reader: &mut BlockReader,
        into: &mut Vec<Histogram>,
    ) -> Result<(), BlockError> {
        reader.seek(self, series)?;
        for index in overlapping(&reader.entry.records, span) {
            let chunk = reader.entry.records[index];
            reader.records(self, &chunk, span, into)?;
        }
        Ok(())
    }
}

/// A walk over a block's series in label order, which reads each frame once and leaves the cache alone.
pub(crate) struct Walk {
    block: Arc<Block>,
    reader: BlockReader,
    next: u32,
}

impl Walk {
    /// The next series with all its samples and histograms, which replace what was in the arguments; `None` at the end.
    ///
    /// # Errors
    /// The disk's, or damage.
    pub(crate) fn next(
        &mut self,
        samples: &mut Columns,
        histograms: &mut Vec<Histogram>,
    ) -> Result<Option<Labels>, BlockError> {
        samples.clear();
        histograms.clear();
        if self.next == self.block.meta.series {
            return Ok(None);
        }
        let series = self.next;
        self.next += 1;
        let labels = self.block.labels(series, &mut self.reader)?;
        self.block.read(series, ALL, &mut self.reader, samples)?;
        self.block.histograms(series, ALL, &mut self.reader, histograms)?;
        Ok(Some(labels))
    }
}
