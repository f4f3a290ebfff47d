//! The queue between the callers and the journal's thread, and the figures that both add to.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Weak};
use std::time::Instant;

use crate::catalog::Catalog;
use crate::disk::DiskLock;
use crate::error::JournalError;
use crate::journal::LOCK_NAME;
use crate::options::Options;

type Answer<T> = SyncSender<Result<T, JournalError>>;

/// What waits for the thread.
pub(crate) enum Command<E> {
    Append(E, usize),
    Flush(Answer<()>),
    Rotate(Answer<u64>),
    Close(Answer<()>),
}

/// The queue in front of the thread.
pub(crate) struct Queue<E> {
    commands: VecDeque<Command<E>>,
    /// Entries that wait or are being written, and their bytes.
    pub(crate) entries: usize,
    pub(crate) bytes: usize,
    /// Set once: nothing more is taken.
    pub(crate) ended: Option<JournalError>,
    thread_waits: bool,
    /// Nobody takes commands any more.
    thread_gone: bool,
}

/// Figures that the thread and the callers add to.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) bytes_written: AtomicU64,
    pub(crate) records: AtomicU64,
    pub(crate) groups: AtomicU64,
    pub(crate) syncs: AtomicU64,
    pub(crate) sync_nanos: AtomicU64,
    pub(crate) refused_full: AtomicU64,
    pub(crate) refused_other: AtomicU64,
    pub(crate) queue_full: AtomicU64,
    pub(crate) full: AtomicBool,
}

pub(crate) fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

/// What the handle and the thread share.
pub(crate) struct Shared<E> {
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) options: Options,
    pub(crate) counters: Counters,
    /// The thread has it, and gives the folder free by dropping it.
    lock: Weak<dyn DiskLock>,
    queue: Mutex<Queue<E>>,
    wake: Condvar,
}

impl<E> Shared<E> {
    pub(crate) fn new(catalog: Arc<Catalog>, options: Options, lock: &Arc<dyn DiskLock>) -> Shared<E> {
        let queue = Queue {
            commands: VecDeque::new(),
            entries: 0,
            bytes: 0,
            ended: None,
            thread_waits: false,
            thread_gone: false,
        };
        Shared {
            catalog,
            options,
            counters: Counters::default(),
            lock: Arc::downgrade(lock),
            queue: Mutex::new(queue),
            wake: Condvar::new(),
        }
    }

    pub(crate) fn queue(&self) -> MutexGuard<'_, Queue<E>> {
        self.queue.lock().expect("nothing panics while it holds the queue")
    }

    /// Puts a command behind the others.
    pub(crate) fn push(&self, mut queue: MutexGuard<'_, Queue<E>>, command: Command<E>) {
        if queue.thread_gone {
            return; // whoever waits for the answer hears that nobody will give one
        }
        queue.commands.push_back(command);
        let wake = std::mem::take(&mut queue.thread_waits);
        drop(queue);
        if wake {
            self.wake.notify_one();
        }
    }

    /// Waits for commands and takes all of them in exchange for the empty `taken`; none if `until` comes first.
    pub(crate) fn take(&self, taken: &mut VecDeque<Command<E>>, until: Option<Instant>) {
        let mut queue = self.queue();
        while queue.commands.is_empty() {
            queue.thread_waits = true;
            let Some(until) = until else {
                queue = self.wake.wait(queue).expect("nothing panics while it holds the queue");
                continue;
            };
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            queue = self.wake.wait_timeout(queue, left).expect("nothing panics while it holds the queue").0;
        }
        queue.thread_waits = false;
        std::mem::swap(&mut queue.commands, taken);
    }

    /// Whether the folder is still the one that was opened and locked.
    pub(crate) fn check_place(&self) -> Result<(), JournalError> {
        if let Some(gone @ JournalError::Gone { .. }) = &self.queue().ended {
            return Err(gone.clone());
        }
        let lock = self.lock.upgrade().ok_or(JournalError::Closed)?;
        let file = self.catalog.folder().join(LOCK_NAME);
        if lock.stands_at(&file) { Ok(()) } else { Err(self.gone(file)) }
    }

    pub(crate) fn gone(&self, file: PathBuf) -> JournalError {
        JournalError::Gone { folder: self.catalog.folder().to_owned(), file }
    }

    /// These entries wait no more.
    pub(crate) fn release(&self, entries: usize, bytes: usize) {
        let mut queue = self.queue();
        queue.entries -= entries;
        queue.bytes -= bytes;
    }

    pub(crate) fn poisoned(&self, what: &str, path: &Path, error: &io::Error) -> JournalError {
        let reason = format!("cannot {what} {}: {error}", path.display());
        JournalError::Poisoned { folder: self.catalog.folder().to_owned(), reason: Arc::from(reason) }
    }

    pub(crate) fn full(&self) -> JournalError {
        JournalError::Full { folder: self.catalog.folder().to_owned() }
    }
}

/// However the thread ends (a recorder may panic), nobody waits for it in vain.
pub(crate) struct EndOnDrop<E> {
    pub(crate) shared: Arc<Shared<E>>,
}

impl<E> Drop for EndOnDrop<E> {
    fn drop(&mut self) {
        let mut queue = self.shared.queue();
        if std::thread::panicking() {
            let folder = self.shared.catalog.folder().to_owned();
            let reason = Arc::from("the journal's thread panicked");
            queue.ended = Some(JournalError::Poisoned { folder, reason });
        } else {
            queue.ended.get_or_insert(JournalError::Closed);
        }
        queue.thread_gone = true;
        let left = std::mem::take(&mut queue.commands);
        drop(queue);
        drop(left); // flushes that wait hear that nobody answers
    }
}
