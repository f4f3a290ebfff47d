//! The outbox: what is to be told to our own receivers, on disk before anyone is told, until each receiver has it or gave it up.
//!
//! In: what rules tell, again and again; only what changed is kept ([`Outbox::append`] returns when it is on disk). Out: messages in order,
//! each receiver at its own pace ([`Outbox::read`]); one message is what was told at once, at most [`ALERTS_MAX`] alerts and some MiB. Built on
//! `crates/journal` in `<data>/outbox/`; the bytes are drawn in `docs/formats/outbox.md`.
//!
//! A message is delivered twice only where a crash falls between the delivery and its cursor, or where an answer is lost on the way.
//! Beyond the given bytes the oldest segment goes first, whoever has not read it: messages bear numbers, so that the receiver counts
//! what it misses.
//!
//! Limits: `bytes_max` and one segment; [`KNOWN_MAX`] alerts whose last state is remembered; [`UNKEPT_MAX`] changes wait in
//! memory while the disk takes nothing; one message at a time is appended.

mod record;
mod told;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use journal::cursor::{self, Cursor};
use journal::disk::{Disk, RealDisk};
use journal::{Journal, JournalError, Options, Position, RecordKind, Recorder};
use model::Timestamp;
use tokio::sync::watch;

use crate::notify::alert::{Alert, to_json};
use told::Told;

/// The most alerts of one message; more that are told at once become several messages.
pub const ALERTS_MAX: usize = 1_000;
/// The most alerts whose last state is remembered; beyond it those that were told of longest ago are forgotten.
pub const KNOWN_MAX: usize = 100_000;
/// The most changes that wait in memory for a disk that does not take them; beyond it the oldest are forgotten.
pub const UNKEPT_MAX: usize = 10_000;
/// How long a disk is left alone that did not take something.
const RETRY_MS: u64 = 10_000;
/// The most bytes of one alert's annotations; what is longer is cut. A message that no record can hold would hold up all that follow.
pub const TEXT_BYTES_MAX: usize = 1 << 20;
/// Bytes of texts after which a message is full.
const MESSAGE_BYTES: usize = 4 << 20;
/// The folder in the data folder.
const FOLDER: &str = "outbox";
const SEGMENT_BYTES: u64 = 1 << 20;
const RECORD_BYTES_MAX: usize = 64 << 20;

/// See the module's text.
pub struct Outbox {
    journal: Journal<Keeper>,
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    bytes_max: AtomicU64,
    shared: Arc<Shared>,
    /// One `append` at a time: numbers have no gaps. What the disk did not take and is tried again.
    turn: Mutex<Unkept>,
    /// Where each receiver stands on disk.
    positions: Mutex<HashMap<String, Position>>,
}

/// Changes that the disk did not take, in their order, and when that was.
#[derive(Default)]
struct Unkept {
    alerts: Vec<Alert>,
    tried_at: Timestamp,
}

struct Shared {
    told: Mutex<Told>,
    /// Position of the newest message on disk.
    newest: Mutex<Option<Position>>,
    /// Number of the newest message on disk.
    number: watch::Sender<u64>,
}

/// One message as it was told.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Counts from 1.
    pub number: u64,
    /// When it was told.
    pub told_at: Timestamp,
    /// What changed.
    pub alerts: Vec<Alert>,
}

impl Outbox {
    /// Opens (or makes) the outbox of a data folder. Blocks.
    ///
    /// # Errors
    /// As the journal's.
    pub fn open(data: &Path, bytes_max: u64) -> Result<Self, JournalError> {
        Self::open_on(Arc::new(RealDisk), data, bytes_max)
    }

    fn open_on(disk: Arc<dyn Disk>, data: &Path, bytes_max: u64) -> Result<Self, JournalError> {
        let folder = data.join(FOLDER);
        let options = Options {
            segment_bytes: SEGMENT_BYTES,
            record_bytes_max: RECORD_BYTES_MAX,
            ..Options::default()
        };
        let (mut told, mut number, mut newest) = (Told::default(), 0, None);
        let mut visit = |found: journal::Record<'_>| {
            match found.kind {
                RecordKind::Preamble => {
                    if let Some((last, known)) = record::read_preamble(found.payload) {
                        number = number.max(last);
                        told = known;
                    }
                }
                RecordKind::Entry => match record::read(found.payload) {
                    Some(message) => {
                        told.replay(&message.alerts, message.told_at);
                        number = message.number;
                        newest = Some(found.at);
                    }
                    None => tracing::warn!("the outbox holds something else at {}: passed over", found.at),
                },
            }
            Ok(())
        };
        let (opened, report) = journal::open(Arc::clone(&disk), &folder, options, &mut visit)?;
        for damage in &report.damage {
            tracing::error!(
                "the outbox is damaged in {} at {}: what stood there is not delivered",
                damage.file.display(),
                damage.at
            );
        }
        let shared = Arc::new(Shared {
            told: Mutex::new(told),
            newest: Mutex::new(newest),
            number: watch::Sender::new(number),
        });
        let journal = opened.start(Keeper { shared: Arc::clone(&shared) })?;
        let (turn, positions) = (Mutex::default(), Mutex::default());
        let bytes_max = AtomicU64::new(bytes_max);
        Ok(Self { journal, disk, folder, bytes_max, shared, turn, positions })
    }

    /// Keeps what changed since it was told last; on disk when this returns. How many alerts that were.
    ///
    /// # Errors
    /// [`JournalError::Full`] and others; what was not kept counts as not told, and is tried again with what is told next and by
    /// [`retry`](Self::retry): an alert that ended is not told for ever.
    pub fn append(&self, alerts: &[Alert], now: Timestamp) -> Result<usize, JournalError> {
        self.append_after(&mut lock(&self.turn), alerts, now)
    }

    /// Tries again, [`RETRY_MS`] after the last time, what could not be kept.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn retry(&self, now: Timestamp) -> Result<usize, JournalError> {
        let mut unkept = lock(&self.turn);
        let waited = now.millis_since(unkept.tried_at).unsigned_abs() >= RETRY_MS;
        if unkept.alerts.is_empty() || !waited { Ok(0) } else { self.append_after(&mut unkept, &[], now) }
    }

    fn append_after(
        &self,
        unkept: &mut Unkept,
        alerts: &[Alert],
        now: Timestamp,
    ) -> Result<usize, JournalError> {
        let mut all = std::mem::take(&mut unkept.alerts);
        let alerts = if all.is_empty() {
            alerts
        } else {
            all.extend_from_slice(alerts);
            &all
        };
        let changed = lock(&self.shared.told).changed(alerts, now);
        let mut kept = 0;
        while kept < changed.len() {
            let part = first_message(&changed[kept..]);
            if let Err(error) = self.append_one(part, now) {
                let rest = &changed[kept..];
                let rest = &rest[rest.len().saturating_sub(UNKEPT_MAX)..];
                *unkept = Unkept { alerts: rest.iter().copied().cloned().collect(), tried_at: now };
                return Err(error);
            }
            kept += part.len();
        }
        if kept > 0 {
            self.trim();
        }
        Ok(kept)
    }

    fn append_one(&self, alerts: &[&Alert], now: Timestamp) -> Result<(), JournalError> {
        let (done, outcome) = sync_channel(1);
        let alerts: Vec<Alert> = alerts.iter().map(|alert| alert.cut(TEXT_BYTES_MAX)).collect();
        let json = to_json(&alerts);
        let entry =
            Entry { message: Message { number: self.newest_number() + 1, told_at: now, alerts }, json, done };
        let bytes = entry.json.len();
        self.journal.append(entry, bytes).map_err(|(_, why)| why)?;
        outcome.recv().unwrap_or(Err(JournalError::Closed))
    }

    /// Takes another bound, from the next message on.
    pub fn set_bytes_max(&self, bytes: u64) {
        self.bytes_max.store(bytes, Ordering::Relaxed);
    }

    /// Number of the newest message.
    pub fn newest_number(&self) -> u64 {
        *self.shared.number.borrow()
    }

    /// Tells each time that there is a newer message.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.shared.number.subscribe()
    }

    /// Bytes on disk.
    pub fn bytes(&self) -> u64 {
        self.journal.stats().segment_bytes
    }

    /// The messages that a receiver has not had. One that was never here begins with the next message.
    ///
    /// # Errors
    /// [`JournalError::Io`] and others. A cursor that cannot be read is none: the receiver gets all that is kept once more.
    pub fn read(self: &Arc<Self>, receiver: &str) -> Result<Reading, JournalError> {
        let _turn = lock(&self.turn);
        let stored = match cursor::load(self.disk.as_ref(), &self.folder, receiver) {
            Ok(stored) => stored,
            Err(error) => {
                tracing::error!("{error}: {receiver} gets once more what the outbox still holds");
                Some(Cursor::default())
            }
        };
        let (at, done) = match stored {
            Some(Cursor { at, note }) => (at, record::read_note(&note)),
            None => {
                let at = self.end()?;
                self.keep(receiver, at, self.newest_number())?;
                (at, Some(self.newest_number()))
            }
        };
        lock(&self.positions).insert(receiver.to_owned(), at);
        Ok(Reading {
            reader: self.journal.reader(at),
            outbox: Arc::clone(self),
            receiver: receiver.to_owned(),
            done,
        })
    }

    /// Forgets receivers that are no more: nothing waits for them.
    pub fn retain(&self, receivers: &[String]) {
        lock(&self.positions).retain(|name, _| receivers.contains(name));
        let Ok(entries) = std::fs::read_dir(&self.folder) else { return };
        for entry in entries.flatten() {
            let path = entry.path();
            let name =
                path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".cursor"));
            if name.is_some_and(|name| !receivers.iter().any(|receiver| receiver == name)) {
                drop(std::fs::remove_file(&path));
            }
        }
        self.remove_delivered();
    }

    /// Behind the newest message.
    fn end(&self) -> Result<Position, JournalError> {
        let Some(newest) = *lock(&self.shared.newest) else { return Ok(Position::default()) };
        let mut reader = self.journal.reader(newest);
        reader.next()?;
        Ok(reader.position())
    }

    fn keep(&self, receiver: &str, at: Position, number: u64) -> Result<(), JournalError> {
        let cursor = Cursor { at, note: record::note(number) };
        cursor::store(self.disk.as_ref(), &self.folder, receiver, &cursor)
    }

    /// The oldest goes first where there is more than is allowed.
    fn trim(&self) {
        let mut bytes = self.bytes();
        for segment in self.journal.segments().iter().filter(|segment| segment.removable) {
            if bytes <= self.bytes_max.load(Ordering::Relaxed) {
                return;
            }
            self.remove(&[segment.number]);
            bytes = bytes.saturating_sub(segment.bytes);
        }
    }

    fn remove_delivered(&self) {
        let Some(least) = lock(&self.positions).values().map(|at| at.segment).min() else { return };
        let old = |segment: &&journal::SegmentInfo| segment.removable && segment.number < least;
        let old: Vec<u64> =
            self.journal.segments().iter().filter(old).map(|segment| segment.number).collect();
        self.remove(&old);
    }

    fn remove(&self, segments: &[u64]) {
        if let Err(error) = self.journal.remove_segments(segments) {
            tracing::warn!("cannot remove old messages from the outbox: {error}");
        }
    }

    /// Ends; what is kept stays.
    ///
    /// # Errors
    /// As the journal's.
    pub fn close(&self) -> Result<(), JournalError> {
        self.journal.close()
    }
}

/// As many of these as make one message: at least one.
fn first_message<'a, 'b>(alerts: &'b [&'a Alert]) -> &'b [&'a Alert] {
    let mut bytes = 0;
    let fits = |alert: &&&Alert| {
        bytes += alert.labels.as_bytes().len() + alert.text_bytes().min(TEXT_BYTES_MAX);
        bytes <= MESSAGE_BYTES
    };
    let count = alerts.iter().take(ALERTS_MAX).take_while(fits).count();
    &alerts[..count.max(1)]
}

/// Reads messages for one receiver.
pub struct Reading {
    reader: journal::Reader,
    outbox: Arc<Outbox>,
    receiver: String,
    /// Number of the last message that was done; unknown after a damaged cursor.
    done: Option<u64>,
}

impl Reading {
    /// The next message, and how many before it are gone without this receiver having had them.
    ///
    /// # Errors
    /// As the disk answers; damage is stepped over and counts as gone.
    pub fn message(&mut self) -> Result<Option<(Message, u64)>, JournalError> {
        loop {
            let found = match self.reader.next() {
                Ok(Some(found)) => found,
                Ok(None) => return Ok(None),
                Err(error @ JournalError::Damaged { .. }) => {
                    tracing::error!("{error}: messages of the outbox are lost");
                    continue;
                }
                Err(error) => return Err(error),
            };
            let Some(message) =
                (found.kind == RecordKind::Entry).then(|| record::read(found.payload)).flatten()
            else {
                continue;
            };
            match self.done {
                Some(done) if message.number <= done => continue,
                Some(done) => {
                    let gone = message.number - done - 1;
                    return Ok(Some((message, gone)));
                }
                None => return Ok(Some((message, 0))),
            }
        }
    }

    /// The message that was read last is done: delivered, or given up. On disk when this returns.
    ///
    /// # Errors
    /// As the disk answers; the message is then done all the same until a restart.
    pub fn done(&mut self, number: u64) -> Result<(), JournalError> {
        self.done = Some(number);
        let at = self.reader.position();
        // A segment goes only when no cursor on disk stands in it: after a restart it would be asked for again.
        self.outbox.keep(&self.receiver, at, number)?;
        if let Some(position) = lock(&self.outbox.positions).get_mut(&self.receiver) {
            *position = at;
        }
        self.outbox.remove_delivered();
        Ok(())
    }

    /// Messages that wait for this receiver.
    pub fn waiting(&self) -> u64 {
        self.done.map_or(0, |done| self.outbox.newest_number().saturating_sub(done))
    }
}

/// One message on its way to the disk.
struct Entry {
    message: Message,
    json: Vec<u8>,
    done: SyncSender<Result<(), JournalError>>,
}

/// Makes records on the journal's thread.
struct Keeper {
    shared: Arc<Shared>,
}

impl Recorder for Keeper {
    type Entry = Entry;

    fn begin_segment(&mut self, preamble: &mut Vec<u8>) {
        record::write_preamble(*self.shared.number.borrow(), &lock(&self.shared.told), preamble);
    }

    fn encode(&mut self, entry: &Entry, payload: &mut Vec<u8>) {
        record::write(entry.message.number, entry.message.told_at, &entry.json, payload);
    }

    fn durable(&mut self, at: Position, entry: Entry) {
        lock(&self.shared.told).apply(&entry.message.alerts, entry.message.told_at);
        *lock(&self.shared.newest) = Some(at);
        self.shared.number.send_replace(entry.message.number);
        drop(entry.done.send(Ok(())));
    }

    fn refused(&mut self, entry: Entry, why: &JournalError) {
        let why = match why {
            JournalError::Full { folder } => JournalError::Full { folder: folder.clone() },
            other => {
                tracing::error!("the outbox cannot be written: {other}");
                JournalError::Closed
            }
        };
        drop(entry.done.send(Err(why)));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod faults;
#[cfg(test)]
mod tests;
