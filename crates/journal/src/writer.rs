//! The journal's thread: takes what waits, makes records of it, writes them as one group, syncs, and tells the recorder.
//!
//! One write and one fsync a group. What comes in while a group is synced makes the next group, so that groups grow with the
//! load by themselves. The buffers live as long as the thread; per record nothing is allocated here.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::catalog::Segment;
use crate::disk::{self, DiskFile, DiskLock};
use crate::error::JournalError;
use crate::format::{self, FILE_HEADER_BYTES, FRAME_HEADER_BYTES, FileHeader, FrameHeader, FrameKind, Place};
use crate::journal::LOCK_NAME;
use crate::options::SyncPolicy;
use crate::queue::{Command, EndOnDrop, Shared, add};
use crate::record::{Position, Recorder};

/// Buffers larger than this are given back to the system after the group that needed them.
const KEPT_BUFFER_BYTES: usize = 8 << 20;

/// The segment that is written to.
struct Active {
    number: u64,
    mark: u32,
    file: Box<dyn DiskFile>,
    /// Bytes of whole groups in the file.
    written: u64,
    /// Bytes that are synced.
    synced: u64,
    /// Bytes that count towards `segment_bytes`: all but the first preamble, lest a large one fills segments alone.
    counted: u64,
}

/// An entry whose record is in the buffer.
struct Pending<E> {
    offset: u64,
    entry: E,
    size: usize,
}

pub(crate) struct Writer<R: Recorder> {
    pub(crate) shared: Arc<Shared<R::Entry>>,
    pub(crate) recorder: R,
    pub(crate) next_number: u64,
    /// The segment before the next one, and its length.
    pub(crate) previous: (u64, u64),
    /// Held until the thread ends.
    pub(crate) lock: Arc<dyn DiskLock>,
    active: Option<Active>,
    /// The recorder must forget what it defined before the next entry.
    begin: bool,
    /// Frames of the present group.
    buffer: Vec<u8>,
    pending: Vec<Pending<R::Entry>>,
    /// The preamble among the frames that do not count towards `segment_bytes`.
    uncounted: u64,
    /// What became of the last group, or of the last try to begin a segment.
    last: Result<(), JournalError>,
    /// Why the disk refused an entry since the last flush, which tells it.
    refused: Option<JournalError>,
    /// Set when nothing more may be written.
    poison: Option<JournalError>,
    /// The group may use the bytes kept in reserve.
    spend_reserve: bool,
    /// When the oldest bytes that are not synced were written.
    unsynced_since: Option<Instant>,
}

impl<R: Recorder> Writer<R> {
    pub(crate) fn new(
        shared: Arc<Shared<R::Entry>>,
        recorder: R,
        next_number: u64,
        previous: (u64, u64),
        lock: Arc<dyn DiskLock>,
    ) -> Writer<R> {
        Writer {
            shared,
            recorder,
            next_number,
            previous,
            lock,
            active: None,
            begin: true,
            buffer: Vec::new(),
            pending: Vec::new(),
            uncounted: 0,
            last: Ok(()),
            refused: None,
            poison: None,
            spend_reserve: false,
            unsynced_since: None,
        }
    }

    /// The thread's whole life.
    pub(crate) fn run(mut self) {
        let mut taken = VecDeque::new();
        // Dropped before `taken`: who waits for an answer in there shall find the reason set.
        let ended = EndOnDrop { shared: Arc::clone(&self.shared) };
        loop {
            self.shared.take(&mut taken, self.sync_due());
            self.last = Ok(());
            while let Some(command) = taken.pop_front() {
                match command {
                    Command::Append(entry, size) => self.append(entry, size),
                    Command::Flush(answer) => {
                        let _ = answer.send(self.flush()); // whoever asked may have gone
                    }
                    Command::Rotate(answer) => {
                        let _ = answer.send(self.rotate());
                    }
                    Command::Close(answer) => {
                        let result = self.close();
                        drop(self); // gives the folder's lock back
                        drop(ended);
                        let _ = answer.send(result);
                        return;
                    }
                }
            }
            self.commit();
            self.sync_if_due();
        }
    }

    /// When the thread must wake up to sync.
    fn sync_due(&self) -> Option<Instant> {
        match self.shared.options.sync {
            SyncPolicy::Always => None,
            SyncPolicy::Every(interval) => {
                self.unsynced_since.map(|since| since + interval.min(Duration::from_secs(86_400)))
            }
        }
    }

    fn sync_if_due(&mut self) {
        if self.sync_due().is_some_and(|due| Instant::now() >= due) {
            // A failure poisons the journal, and so every later append hears of it.
            let _ = self.sync();
        }
    }

    // ---- commands ----

    fn append(&mut self, entry: R::Entry, size: usize) {
        if let Err(why) = self.prepare() {
            self.refuse(entry, size, &why);
            return;
        }
        let start = self.buffer.len();
        self.buffer.extend_from_slice(&[0; FRAME_HEADER_BYTES]);
        self.recorder.encode(&entry, &mut self.buffer);
        match self.finish_frame(start, FrameKind::Entry) {
            Ok(offset) => self.pending.push(Pending { offset, entry, size }),
            Err(why) => {
                self.begin = true; // what the lost record defined must be defined again
                self.refuse(entry, size, &why);
            }
        }
        if self.buffer.len() >= self.shared.options.group_bytes_max {
            self.commit();
        }
    }

    fn flush(&mut self) -> Result<(), JournalError> {
        self.commit();
        let refused = self.refused.take();
        self.sync()?;
        refused.map_or(Ok(()), Err)
    }

    /// May use the reserve: what rotates means to free space.
    fn rotate(&mut self) -> Result<u64, JournalError> {
        self.commit();
        self.seal()?;
        self.last = Ok(());
        self.spend_reserve = true;
        let begun = self.prepare().and_then(|()| {
            self.commit();
            self.last.clone()
        });
        self.spend_reserve = false;
        begun.map(|()| self.active.as_ref().expect("it was just begun").number)
    }

    fn close(&mut self) -> Result<(), JournalError> {
        let result = self.flush();
        if let (None, Some(active)) = (&self.poison, &self.active) {
            let place = Place { segment: active.number, mark: active.mark, offset: active.written };
            let frame = FrameHeader::for_payload(FrameKind::End, offset32(active.synced), &[]).encode(place);
            self.buffer.extend_from_slice(&frame);
            // Not needed, only good to have; a full disk or a poisoned one changes nothing that was promised.
            if self.write_group().is_ok() {
                self.grow();
                let _ = self.sync();
            }
            self.buffer.clear();
        }
        result
    }

    // ---- records ----

    /// Sees to it that a record can follow: in a segment that has room, behind its preamble.
    fn prepare(&mut self) -> Result<(), JournalError> {
        if let Some(poison) = &self.poison {
            return Err(poison.clone());
        }
        // The disk is full: the rest of what waited is given back without trying again for each entry.
        if let (true, Err(why)) = (self.buffer.is_empty(), &self.last) {
            return Err(why.clone());
        }
        if self.is_segment_full() {
            self.commit();
            self.last.clone()?;
            self.seal()?;
        }
        if self.active.is_none() {
            let begun = self.begin_segment();
            self.last = begun.clone();
            begun?;
        }
        if !self.begin {
            return Ok(());
        }
        // A preamble may sum up what earlier entries told, so these must have been reported before it is made.
        self.commit();
        self.last.clone()?;
        self.preamble()
    }

    fn is_segment_full(&self) -> bool {
        self.active.as_ref().is_some_and(|active| {
            let counted = active.counted + self.buffer.len() as u64 - self.uncounted;
            counted >= self.shared.options.segment_bytes
        })
    }

    fn preamble(&mut self) -> Result<(), JournalError> {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(&[0; FRAME_HEADER_BYTES]);
        self.recorder.begin_segment(&mut self.buffer);
        self.begin = false;
        if self.buffer.len() == start + FRAME_HEADER_BYTES {
            self.buffer.truncate(start);
            return Ok(());
        }
        let first = start == 0
            && self.active.as_ref().is_some_and(|active| active.written == FILE_HEADER_BYTES as u64);
        if let Err(why) = self.finish_frame(start, FrameKind::Preamble) {
            self.begin = true;
            return Err(why);
        }
        if first {
            self.uncounted = self.buffer.len() as u64;
        }
        Ok(())
    }

    /// Fills in the header of the frame whose payload ends the buffer, and answers its offset. A payload that is too large is
    /// taken out again.
    fn finish_frame(&mut self, start: usize, kind: FrameKind) -> Result<u64, JournalError> {
        let active = self.active.as_ref().expect("records are made only within a segment");
        let offset = active.written + start as u64;
        let payload = &self.buffer[start + FRAME_HEADER_BYTES..];
        let (bytes, max_bytes) = (payload.len(), self.shared.options.record_bytes_max);
        if bytes > max_bytes {
            self.buffer.truncate(start);
            self.trim_buffer();
            return Err(JournalError::RecordTooLarge { bytes, max_bytes });
        }
        let header = FrameHeader::for_payload(kind, offset32(active.synced), payload);
        let place = Place { segment: active.number, mark: active.mark, offset };
        self.buffer[start..start + FRAME_HEADER_BYTES].copy_from_slice(&header.encode(place));
        Ok(offset)
    }

    fn refuse(&mut self, entry: R::Entry, size: usize, why: &JournalError) {
        let counters = &self.shared.counters;
        let full = matches!(why, JournalError::Full { .. });
        add(if full { &counters.refused_full } else { &counters.refused_other }, 1);
        if !matches!(why, JournalError::RecordTooLarge { .. }) {
            counters.full.store(full, Ordering::Relaxed);
            self.refused.get_or_insert_with(|| why.clone());
        }
        self.shared.release(1, size);
        self.recorder.refused(entry, why);
    }

    // ---- groups ----

    /// Writes the group, makes it lasting as the policy says, and tells the recorder what became of each entry.
    fn commit(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        let mut result = self.write_group();
        if result.is_ok() {
            self.grow();
            if self.shared.options.sync == SyncPolicy::Always {
                result = self.sync();
            }
        }
        let result = result.and_then(|()| self.check_place());
        let full = matches!(result, Err(JournalError::Full { .. }));
        self.shared.counters.full.store(full, Ordering::Relaxed);
        self.tell(&result);
        self.buffer.clear();
        self.trim_buffer();
        self.last = result;
    }

    /// Appends the buffer to the file. On a full disk the file is cut back to its last whole group.
    fn write_group(&mut self) -> Result<(), JournalError> {
        self.check_reserve(self.buffer.len() as u64)?;
        let active = self.active.as_mut().expect("a group belongs to a segment");
        let Err(error) = active.file.append(&self.buffer) else {
            add(&self.shared.counters.groups, 1);
            add(&self.shared.counters.bytes_written, self.buffer.len() as u64);
            return Ok(());
        };
        let path = self.shared.catalog.path(active.number);
        if !disk::is_full(&error) {
            return Err(self.poison(self.shared.poisoned("write", &path, &error)));
        }
        // Synced, so that no part of what is given back now is found after a power cut.
        if let Err(error) = active.file.set_len(active.written).and_then(|()| active.file.sync_data()) {
            return Err(self.poison(self.shared.poisoned("cut back", &path, &error)));
        }
        active.synced = active.written;
        self.unsynced_since = None;
        Err(self.shared.full())
    }

    /// The buffer has become part of the segment.
    fn grow(&mut self) {
        let active = self.active.as_mut().expect("a group belongs to a segment");
        active.written += self.buffer.len() as u64;
        active.counted += self.buffer.len() as u64 - self.uncounted;
        self.uncounted = 0;
        self.unsynced_since.get_or_insert_with(Instant::now);
    }

    /// Syncs what was written. A failure is never tried again: nobody knows what the disk holds.
    fn sync(&mut self) -> Result<(), JournalError> {
        if let Some(poison) = &self.poison {
            return Err(poison.clone());
        }
        let Some(active) = self.active.as_mut().filter(|active| active.synced < active.written) else {
            return Ok(());
        };
        let began = Instant::now();
        let result = active.file.sync_data();
        let nanos = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        add(&self.shared.counters.syncs, 1);
        add(&self.shared.counters.sync_nanos, nanos);
        self.unsynced_since = None;
        match result {
            Ok(()) => {
                active.synced = active.written;
                Ok(())
            }
            Err(error) => {
                let path = self.shared.catalog.path(active.number);
                Err(self.poison(self.shared.poisoned("sync", &path, &error)))
            }
        }
    }

    /// Whoever removes or replaces the folder leaves us a file without a name: what stands in it is synced, and lost.
    fn check_place(&mut self) -> Result<(), JournalError> {
        let Some(active) = &self.active else { return Ok(()) };
        let file = self.shared.catalog.path(active.number);
        if active.file.stands_at(&file) { Ok(()) } else { Err(self.gone(file)) }
    }

    fn gone(&mut self, file: PathBuf) -> JournalError {
        let gone = self.shared.gone(file);
        self.poison(gone)
    }

    /// Tells the recorder of the group's entries, in order.
    fn tell(&mut self, result: &Result<(), JournalError>) {
        let bytes = self.pending.iter().map(|pending| pending.size).sum();
        self.shared.release(self.pending.len(), bytes);
        let counters = &self.shared.counters;
        let count = self.pending.len() as u64;
        let Some(active) = &self.active else { return };
        match result {
            Ok(()) => {
                add(&counters.records, count);
                self.shared.catalog.grow(active.number, active.written, count);
                for pending in self.pending.drain(..) {
                    let at = Position { segment: active.number, offset: pending.offset };
                    self.recorder.durable(at, pending.entry);
                }
            }
            Err(why) => {
                let full = matches!(why, JournalError::Full { .. });
                add(if full { &counters.refused_full } else { &counters.refused_other }, count);
                self.begin = true;
                self.uncounted = 0;
                self.refused.get_or_insert_with(|| why.clone());
                for pending in self.pending.drain(..) {
                    self.recorder.refused(pending.entry, why);
                }
            }
        }
    }

    fn check_reserve(&self, bytes: u64) -> Result<(), JournalError> {
        let reserve = self.shared.options.reserve_bytes;
        if reserve == 0 || self.spend_reserve {
            return Ok(());
        }
        let catalog = &self.shared.catalog;
        // If the system does not know, the write will find out.
        match catalog.disk().free_bytes(catalog.folder()) {
            Ok(free) if free < reserve.saturating_add(bytes) => Err(self.shared.full()),
            _ => Ok(()),
        }
    }

    fn poison(&mut self, why: JournalError) -> JournalError {
        self.shared.queue().ended = Some(why.clone());
        self.poison = Some(why.clone());
        why
    }

    fn trim_buffer(&mut self) {
        self.buffer.shrink_to(KEPT_BUFFER_BYTES.max(self.shared.options.group_bytes_max));
    }

    // ---- segments ----

    /// Ends the segment; what it holds is synced first.
    fn seal(&mut self) -> Result<(), JournalError> {
        self.sync()?;
        if let Some(active) = self.active.take() {
            self.shared.catalog.seal(active.number);
            self.previous = (active.number, active.written);
            self.begin = true;
        }
        Ok(())
    }

    /// Makes the next segment's file, with its header, lasting.
    fn begin_segment(&mut self) -> Result<(), JournalError> {
        self.check_reserve(FILE_HEADER_BYTES as u64)?;
        let catalog = Arc::clone(&self.shared.catalog);
        let lock = catalog.folder().join(LOCK_NAME);
        if !self.lock.stands_at(&lock) {
            return Err(self.gone(lock)); // another folder stands here: segments of two journals would mix
        }
        let number = self.next_number;
        self.next_number = number.saturating_add(1);
        let path = catalog.path(number);
        let mut file = match catalog.disk().create(&path) {
            Ok(file) => file,
            Err(error) if disk::is_full(&error) => return Err(self.shared.full()),
            // Nothing was written: the next entry may try again.
            Err(error) => return Err(JournalError::io("create", &path)(error)),
        };
        let (previous, previous_bytes) = self.previous;
        let header = FileHeader { mark: format::new_mark(), segment: number, previous, previous_bytes };
        if let Err(error) = file.append(&header.encode()) {
            // A file without a whole header must not stand before the next segment: it would look damaged.
            return match catalog.disk().remove(&path) {
                Ok(()) if disk::is_full(&error) => Err(self.shared.full()),
                _ => Err(self.poison(self.shared.poisoned("write", &path, &error))),
            };
        }
        let lasting = file.sync_data().and_then(|()| catalog.disk().sync_dir(catalog.folder()));
        if let Err(error) = lasting {
            return Err(self.poison(self.shared.poisoned("sync", &path, &error)));
        }
        add(&self.shared.counters.syncs, 1);
        add(&self.shared.counters.bytes_written, FILE_HEADER_BYTES as u64);
        let written = FILE_HEADER_BYTES as u64;
        let segment =
            Segment { mark: header.mark, bytes: written, entries: 0, sealed: false, damaged: false };
        catalog.insert(number, segment);
        let mark = header.mark;
        self.active = Some(Active { number, mark, file, written, synced: written, counted: 0 });
        self.begin = true;
        Ok(())
    }
}

fn offset32(offset: u64) -> u32 {
    u32::try_from(offset).expect("a segment is at most 1 GiB and three records of 256 MiB long")
}
