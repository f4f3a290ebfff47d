//! The handle that callers hold.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::catalog::Catalog;
use crate::disk::{Disk, DiskLock};
use crate::error::JournalError;
use crate::options::Options;
use crate::queue::{Command, Shared, add};
use crate::reader::Reader;
use crate::record::{Position, Record, Recorder, SegmentInfo, Stats};
use crate::recovery::{self, EveryRecord, Recovered, RecoveryReport, Visitor, VisitorError};
use crate::writer::Writer;

/// The file that is locked.
pub(crate) const LOCK_NAME: &str = "LOCK";

/// A journal whose folder was read and is locked, before its thread runs.
#[derive(Debug)]
pub struct Opened {
    options: Options,
    recovered: Recovered,
    lock: Box<dyn DiskLock>,
}

impl Opened {
    /// The segments found, oldest first.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        self.recovered.catalog.infos()
    }

    /// Reads the payload of the record at `at`, as [`Journal::read_into`] does.
    ///
    /// # Errors
    /// As for [`Journal::read`].
    pub fn read_into(&self, at: Position, payload: &mut Vec<u8>) -> Result<(), JournalError> {
        self.recovered.catalog.read(at, payload)
    }

    /// A reader of the records from `at` on, as [`Journal::reader`] gives one; it goes on when the journal has been started.
    pub fn reader(&self, at: Position) -> Reader {
        Reader::new(Arc::clone(&self.recovered.catalog), at)
    }

    /// Starts the journal's thread. The next entry begins a new segment.
    ///
    /// # Errors
    /// [`JournalError::Io`] if no thread can be started.
    pub fn start<R: Recorder>(self, recorder: R) -> Result<Journal<R>, JournalError> {
        let Recovered { catalog, next_number, previous } = self.recovered;
        let lock: Arc<dyn DiskLock> = Arc::from(self.lock);
        let shared = Arc::new(Shared::new(Arc::clone(&catalog), self.options, &lock));
        let writer = Writer::new(Arc::clone(&shared), recorder, next_number, previous, lock);
        let thread = thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || writer.run())
            .map_err(JournalError::io("start a thread for", catalog.folder()))?;
        Ok(Journal { shared, thread: Mutex::new(Some(thread)) })
    }
}

/// Opens the journal in `folder` (made if need be), locks it, repairs the newest segment and gives every record to `visit`, in order.
///
/// # Errors
/// [`JournalError::Locked`], [`JournalError::NewerFormat`], [`JournalError::RecordOverLimit`],
/// [`JournalError::Visitor`], [`JournalError::Option`], [`JournalError::Io`]. Damage is no error: see the report.
pub fn open(
    disk: Arc<dyn Disk>,
    folder: &Path,
    options: Options,
    visit: &mut dyn FnMut(Record<'_>) -> Result<(), VisitorError>,
) -> Result<(Opened, RecoveryReport), JournalError> {
    open_with(disk, folder, options, &mut EveryRecord(visit))
}

/// The same with a visitor that may remember what sealed segments hold, so that a large journal is open at once.
///
/// # Errors
/// As for [`open`].
pub fn open_with(
    disk: Arc<dyn Disk>,
    folder: &Path,
    options: Options,
    visitor: &mut dyn Visitor,
) -> Result<(Opened, RecoveryReport), JournalError> {
    options.validate()?;
    disk.create_dir_all(folder).map_err(JournalError::io("make", folder))?;
    let lock_path = folder.join(LOCK_NAME);
    let lock = disk.lock(&lock_path).map_err(JournalError::io("lock", &lock_path))?;
    let lock = lock.ok_or_else(|| JournalError::Locked { folder: folder.to_owned() })?;
    let (recovered, report) = recovery::recover(&disk, folder, &options, visitor)?;
    Ok((Opened { options, recovered, lock }, report))
}

/// An open journal. Share it in an `Arc`; dropping it closes it.
///
/// The recorder must not call `flush`, `rotate` or `close`: they wait for the thread that it runs on.
pub struct Journal<R: Recorder> {
    shared: Arc<Shared<R::Entry>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl<R: Recorder> Journal<R> {
    /// Appends an entry; never waits for the disk. What becomes of it is told to the recorder, once.
    ///
    /// `size_hint` is about the size of its record and counts against the queue's bound.
    ///
    /// # Errors
    /// Gives the entry back with [`JournalError::QueueFull`], [`JournalError::RecordTooLarge`] (by the hint),
    /// [`JournalError::Poisoned`] or [`JournalError::Closed`]; the recorder is not told then.
    #[allow(clippy::result_large_err)] // the entry is given back, so that the caller can answer or keep it
    pub fn append(&self, entry: R::Entry, size_hint: usize) -> Result<(), (R::Entry, JournalError)> {
        let options = &self.shared.options;
        let counters = &self.shared.counters;
        if size_hint > options.record_bytes_max {
            add(&counters.refused_other, 1);
            let max_bytes = options.record_bytes_max;
            return Err((entry, JournalError::RecordTooLarge { bytes: size_hint, max_bytes }));
        }
        let mut queue = self.shared.queue();
        if let Some(ended) = queue.ended.clone() {
            add(&counters.refused_other, 1);
            return Err((entry, ended));
        }
        let (waiting_bytes, max_bytes) = (queue.bytes, options.queue_bytes_max);
        if queue.entries > 0 && waiting_bytes.saturating_add(size_hint) > max_bytes {
            add(&counters.queue_full, 1);
            return Err((entry, JournalError::QueueFull { waiting_bytes, max_bytes }));
        }
        queue.entries += 1;
        queue.bytes += size_hint;
        self.shared.push(queue, Command::Append(entry, size_hint));
        Ok(())
    }

    /// Waits until every earlier append is durable or refused and what was written is synced, whatever the sync policy.
    ///
    /// # Errors
    /// [`JournalError::Full`] (or [`JournalError::Io`], if no file could be made) if an entry was refused for that reason since
    /// the last flush; [`JournalError::Poisoned`], [`JournalError::Closed`].
    pub fn flush(&self) -> Result<(), JournalError> {
        self.ask(Command::Flush)
    }

    /// Flushes, seals the segment and begins a new one with its preamble, synced when this returns. Answers the new number.
    /// May spend the reserve.
    ///
    /// # Errors
    /// [`JournalError::Full`] if there is no room for the new segment; [`JournalError::RecordTooLarge`] for the preamble;
    /// [`JournalError::Poisoned`], [`JournalError::Closed`].
    pub fn rotate(&self) -> Result<u64, JournalError> {
        self.ask(Command::Rotate)
    }

    /// Puts a command into the queue and waits for its answer.
    fn ask<T>(
        &self,
        command: impl FnOnce(std::sync::mpsc::SyncSender<Result<T, JournalError>>) -> Command<R::Entry>,
    ) -> Result<T, JournalError> {
        let queue = self.shared.queue();
        if let Some(ended) = queue.ended.clone() {
            return Err(ended);
        }
        let (sender, receiver) = sync_channel(1);
        self.shared.push(queue, command(sender));
        receiver.recv().unwrap_or_else(|_| Err(self.ended()))
    }

    fn ended(&self) -> JournalError {
        self.shared.queue().ended.clone().unwrap_or(JournalError::Closed)
    }

    /// Flushes, marks the segment as closed in order, and ends the thread, which drops the recorder and gives the folder
    /// free. Later calls do nothing.
    ///
    /// # Errors
    /// As for `flush`. The journal is closed all the same.
    pub fn close(&self) -> Result<(), JournalError> {
        let mut thread = self.thread.lock().expect("nothing panics while it holds the thread's handle");
        let Some(handle) = thread.take() else { return Ok(()) };
        let (sender, receiver) = sync_channel(1);
        let mut queue = self.shared.queue();
        queue.ended.get_or_insert(JournalError::Closed);
        self.shared.push(queue, Command::Close(sender));
        if handle.thread().id() == thread::current().id() {
            return Ok(()); // the recorder dropped the last handle; the thread will close once it is done with its group
        }
        let result = receiver.recv().unwrap_or_else(|_| Err(self.ended()));
        // A panic has been reported by the panic hook, and by `ended` above.
        let _ = handle.join();
        result
    }

    /// The segments, oldest first.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        self.shared.catalog.infos()
    }

    /// Removes segments, oldest first, lastingly. Those that are gone already are passed over. Answers the bytes freed.
    ///
    /// # Errors
    /// [`JournalError::SegmentInUse`] for the newest one and [`JournalError::Gone`] where another folder stands in this one's place
    /// (nothing is removed then); [`JournalError::Closed`]; [`JournalError::Io`], after which those removed before it are gone.
    pub fn remove_segments(&self, numbers: &[u64]) -> Result<u64, JournalError> {
        // Held meanwhile, so that the folder is not given to another process under our feet.
        let thread = self.thread.lock().expect("nothing panics while it holds the thread's handle");
        if thread.is_none() {
            return Err(JournalError::Closed);
        }
        self.check_place()?;
        self.shared.catalog.remove(numbers)
    }

    /// Whether the folder is still the one that was opened. Callers ask before they write files of their own there: by its path
    /// they would write into whatever stands there now. Two short system calls.
    ///
    /// # Errors
    /// [`JournalError::Gone`]; [`JournalError::Closed`], after which another process may have the folder.
    pub fn check_place(&self) -> Result<(), JournalError> {
        self.shared.check_place()
    }

    /// Reads the payload of the record at `at`, a position that this journal gave out.
    ///
    /// # Errors
    /// [`JournalError::NoRecord`] if it is not durable yet or its segment is gone; [`JournalError::Damaged`];
    /// [`JournalError::Io`].
    pub fn read(&self, at: Position) -> Result<Vec<u8>, JournalError> {
        let mut payload = Vec::new();
        self.read_into(at, &mut payload)?;
        Ok(payload)
    }

    /// The same, into a buffer that is used again; what it held is replaced.
    ///
    /// # Errors
    /// As for `read`.
    pub fn read_into(&self, at: Position, payload: &mut Vec<u8>) -> Result<(), JournalError> {
        self.shared.catalog.read(at, payload)
    }

    /// A reader of the records from `at` on: a position that this journal gave out, or offset 0 for a segment's beginning.
    /// It reads up to what has been reported durable.
    pub fn reader(&self, at: Position) -> Reader {
        Reader::new(Arc::clone(&self.shared.catalog), at)
    }

    /// The journal's folder.
    pub fn folder(&self) -> &Path {
        self.catalog().folder()
    }

    fn catalog(&self) -> &Catalog {
        &self.shared.catalog
    }

    /// The journal's figures.
    pub fn stats(&self) -> Stats {
        let counters = &self.shared.counters;
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (segments, segment_bytes) = self.catalog().totals();
        let queue = self.shared.queue();
        let poisoned = match &queue.ended {
            Some(JournalError::Poisoned { reason, .. }) => Some(Arc::clone(reason)),
            Some(gone @ JournalError::Gone { .. }) => Some(Arc::from(gone.to_string())),
            _ => None,
        };
        Stats {
            bytes_written: get(&counters.bytes_written),
            records: get(&counters.records),
            groups: get(&counters.groups),
            syncs: get(&counters.syncs),
            sync_time: Duration::from_nanos(get(&counters.sync_nanos)),
            refused_full: get(&counters.refused_full),
            refused_other: get(&counters.refused_other),
            queue_full: get(&counters.queue_full),
            queue_entries: queue.entries,
            queue_bytes: queue.bytes,
            segments,
            segment_bytes,
            full: counters.full.load(Ordering::Relaxed),
            poisoned,
        }
    }
}

impl<R: Recorder> Drop for Journal<R> {
    fn drop(&mut self) {
        // Who wants to know whether the last entries are durable calls `close`.
        let _ = self.close();
    }
}

impl<R: Recorder> fmt::Debug for Journal<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").field("folder", &self.folder()).field("stats", &self.stats()).finish()
    }
}
