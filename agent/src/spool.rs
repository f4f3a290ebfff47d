//! The spool: batches are safe on disk here before anyone is told, and stay until a collector has acknowledged them.
//!
//! In: [`Batch`]es, one at a time; each gets the next number, is compressed once, sealed with its [`BatchIdentity`] and
//! appended to a journal (`crates/journal`). Out: [`Claim`]s, newest first, as [`Outgoing`] requests; an outcome for each.
//! What is done with is a set of numbers in a small cursor file; a segment goes when all its numbers are done.
//!
//! Rules:
//! - At least once: a batch leaves only when it was acknowledged, refused for good, or shed with its cause remembered and
//!   reported to the collector by the next batch. After a crash acknowledged batches may be sent again, for the cursor is
//!   written at most once a minute ([`STORE_EVERY`]).
//! - Numbers are never used twice with other content: after an end without order the count jumps by [`JUMP`], and says so.
//! - Over `bytes_max` the oldest segment is shed, and so is one whose batches are all older than [`AGE_MAX`]. On a full disk the oldest are shed to make room; failing that (or when the
//!   journal is poisoned) batches wait in memory, at most `memory_bytes_max`, oldest shed.
//! - Batches of an unset clock are held: sent once their boot has an offset, which is made durable before its first use. Those
//!   of an earlier boot that never got one are shed with the cause `clock`.
//!
//! Deliberately not here: when to send and to whom (`uplink.rs`), the clock rule (`clock.rs`).
//!
//! A start reads what the file beside the cursor (`index.rs`) does not remember: at most [`UNLISTED_MAX`] segments and the newest,
//! some 20 MiB, however large the spool is.
//!
//! Limits: memory for the index of two segments (48 bytes a batch) and [`intervals::RANGES_MAX`] ranges, whatever the backlog.

mod index;
pub(crate) mod intervals;
pub(crate) mod kept;
pub(crate) mod record;
mod state;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{
    AtomicBool,
    Ordering::{Relaxed, SeqCst},
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use journal::cursor::{self, Cursor};
use journal::disk::Disk;
use journal::{Journal, JournalError, Position, Record, RecordKind, Recorder, SyncPolicy};
use model::Timestamp;
use tokio::sync::{oneshot, watch};
use wire::body::{Codec, Packer, Unpacker};
use wire::identity::{BatchIdentity, Cause, Loss, Losses, PayloadHash};

use crate::batch::Batch;
use crate::clock::{Clock, Scale};
use index::Regular;
use kept::{Kept, KeptError};
use state::{Found, Place, State};

/// Numbers that are passed over after an end without order: more than can have been sent and then lost with the last writes.
pub(crate) const JUMP: u64 = 1 << 24;

/// How often the cursor file is written while nothing forces it.
pub(crate) const STORE_EVERY: Duration = Duration::from_secs(60);

/// How old a batch may get here: seven days, and a margin in which a cut of seven days drains. Collectors take eight days.
pub(crate) const AGE_MAX: Duration = Duration::from_secs((7 * 24 + 12) * 3600);

/// Sealed segments that a start may have to read, beside the newest: past it the file that remembers them is written anew.
pub(crate) const UNLISTED_MAX: usize = if cfg!(test) { 1 } else { 16 };

/// The largest uncompressed payload that is read back.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 64 << 20;

/// Fast, and small in memory for payloads of some 50 KiB.
pub(crate) const ZSTD_LEVEL: i32 = 1;

const CURSOR: &str = "uplink";

/// What a spool may use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// Bytes of all segments; past it the oldest are shed.
    pub(crate) bytes_max: u64,
    /// Bytes of batches in memory while the disk takes none.
    pub(crate) memory_bytes_max: usize,
    /// When to sync.
    pub(crate) sync: SyncPolicy,
}

impl Options {
    fn journal(&self) -> journal::Options {
        journal::Options {
            segment_bytes: (self.bytes_max / 64).clamp(64 << 10, 1 << 20),
            queue_bytes_max: 16 << 20,
            record_bytes_max: PAYLOAD_BYTES_MAX,
            group_bytes_max: 1 << 20,
            reserve_bytes: (self.bytes_max / 8).min(8 << 20),
            sync: self.sync,
        }
    }
}

/// Why a spool cannot be opened or used.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The journal beneath it says why.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A newer version of this program wrote the cursor file.
    #[error("cannot read {path}: {why}", path = path.display())]
    Cursor {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A batch that was written cannot be read again.
    #[error("cannot read batch {sequence} of the spool: {why}")]
    Batch {
        /// Its number.
        sequence: u64,
        /// What is wrong with it.
        why: String,
    },
}

/// Which batches a sender takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// The latest few of this run: they never wait for the backlog.
    Live,
    /// Everything before them, newest first.
    Backlog,
}

/// Where an appended batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeptWhere {
    /// Safe.
    Disk,
    /// Gone with the process.
    Memory,
    /// It was shed at once.
    Nowhere,
}

/// A batch that a sender has taken; settle it, whatever happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    /// Its number.
    pub(crate) sequence: u64,
    /// Where it stands on disk; `None` for memory.
    at: Option<Position>,
}

/// A batch as it is sent.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    /// Number, span, hash, losses.
    pub(crate) identity: BatchIdentity,
    /// The request, compressed by zstd.
    pub(crate) body: Bytes,
}

/// What became of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A collector has it.
    Delivered,
    /// The collector will never take it.
    Refused,
    /// Its content stands in the spool again under other numbers.
    Replaced,
    /// It stays.
    Later,
}

/// What the spool's opening found, for the log.
#[derive(Debug)]
pub(crate) struct Opening {
    /// The journal's own report.
    pub(crate) recovery: journal::RecoveryReport,
    /// Batches that wait to be sent.
    pub(crate) pending: u64,
    /// Whether the last run ended in order.
    pub(crate) orderly: bool,
    /// Whether the cursor file was lost or damaged, so that the epoch is new.
    pub(crate) new_epoch: bool,
}

/// Figures for the agent's own metrics.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stats {
    pub(crate) bytes: u64,
    pub(crate) pending: u64,
    pub(crate) oldest: Option<Timestamp>,
    pub(crate) memory_bytes: u64,
    pub(crate) syncs: u64,
    pub(crate) poisoned: bool,
    pub(crate) full: bool,
    /// Samples lost, by cause, since the start.
    pub(crate) lost: Vec<(Cause, u64)>,
}

struct Shared {
    state: Mutex<State>,
    changes: watch::Sender<()>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An entry on its way through the journal's thread.
struct Entry {
    place: Place,
    /// First and last millisecond that it covers, on its own scale.
    span: (Timestamp, Timestamp),
    record: Vec<u8>,
    answer: oneshot::Sender<Result<(), (JournalError, Vec<u8>)>>,
}

struct Keeper(Arc<Shared>);

impl Recorder for Keeper {
    type Entry = Entry;

    fn begin_segment(&mut self, _preamble: &mut Vec<u8>) {}

    fn encode(&mut self, entry: &Entry, payload: &mut Vec<u8>) {
        payload.extend_from_slice(&entry.record);
    }

    fn durable(&mut self, at: Position, entry: Entry) {
        self.0.state().durable(at, entry.place, entry.span);
        // One wake-up across threads: who appended tells the lanes. If it has gone, they see the batch with the next change.
        let _ = entry.answer.send(Ok(()));
    }

    fn refused(&mut self, entry: Entry, why: &JournalError) {
        let _ = entry.answer.send(Err((why.clone(), entry.record)));
    }
}

/// See the module's text.
pub(crate) struct Spool {
    journal: Journal<Keeper>,
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    options: Options,
    clock: Arc<Clock>,
    shared: Arc<Shared>,
    /// Batches come one after the other, so that their numbers stand in the journal in order.
    appending: tokio::sync::Mutex<Packer>,
    restamping: Mutex<Restamper>,
    /// Segments that the next start need not read.
    listed: Mutex<HashSet<u64>>,
    /// When the cursor was stored last.
    maintaining: Mutex<Duration>,
    /// The cursor has one writer at a time, and the last one to look at the state writes last.
    storing: Mutex<()>,
    is_faulty: AtomicBool,
    /// What is numbered from here on leaves no trace: nothing more is sent.
    is_closing: AtomicBool,
}

struct Restamper {
    unpacker: Unpacker,
    packer: Packer,
}

impl Spool {
    /// Opens the spool in `folder`, made if need be. Blocks while it reads what is there.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        folder: &Path,
        options: Options,
        clock: Arc<Clock>,
    ) -> Result<(Self, Opening), SpoolError> {
        disk.create_dir_all(folder).map_err(|why| SpoolError::Cursor {
            path: folder.to_owned(),
            why: format!("cannot make the folder: {why}"),
        })?;
        let (found, mut state) = match load_kept(&*disk, folder)? {
            Some(kept) => (true, State::new(kept, true, clock.boot())),
            None => (false, State::new(Kept::new(), false, clock.boot())),
        };
        let known = if found { index::load(&*disk, folder) } else { Vec::new() };
        let mut recall = Recall { state: &mut state, known, recalled: HashSet::new() };
        let (opened, recovery) =
            journal::open_with(Arc::clone(&disk), folder, options.journal(), &mut recall)?;
        let listed = recall.recalled;
        let orderly = state.opened(!recovery.damage.is_empty(), unreadable(&recovery));
        clock.remember(state.kept.until, state.kept.boot_offset_ms(clock.boot()));
        state.starts(clock.read().boot_ms);
        let opening = Opening {
            recovery,
            pending: state.pending,
            orderly,
            new_epoch: !found && !state.segments.is_empty(),
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changes: watch::Sender::new(()) });
        let journal = opened.start(Keeper(Arc::clone(&shared)))?;
        let spool = Self {
            journal,
            disk,
            folder: folder.to_owned(),
            options,
            clock,
            shared,
            appending: tokio::sync::Mutex::new(Packer::new(ZSTD_LEVEL)),
            restamping: Mutex::new(Restamper { unpacker: Unpacker::new(), packer: Packer::new(ZSTD_LEVEL) }),
            listed: Mutex::new(listed),
            maintaining: Mutex::new(Duration::ZERO),
            storing: Mutex::new(()),
            is_faulty: AtomicBool::new(false),
            is_closing: AtomicBool::new(false),
        };
        // Before the first number is used: from here on an end without `close` is one without order.
        match spool.store_all() {
            Ok(()) => {}
            // The agent starts even on a full disk. If this run leaves no trace, the next one must not use its numbers.
            Err(JournalError::Full { .. }) => spool.state().jump(),
            Err(why) => return Err(why.into()),
        }
        Ok((spool, opening))
    }

    /// Tells of every change: a batch more, a batch less, an offset found.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.shared.changes.subscribe()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }

    /// Seals a batch and keeps it: on disk where that is possible, else in memory. Never fails: what cannot be kept is shed,
    /// counted and reported.
    pub(crate) async fn append(self: &Arc<Self>, batch: &Batch) -> KeptWhere {
        let mut packer = self.appending.lock().await;
        let mut body = Vec::new();
        if let Err(why) = packer.pack(Codec::Zstd, &batch.payload, &mut body) {
            tracing::error!("cannot compress a batch of {} samples: {why}", batch.samples);
            self.lose(batch.loss(Cause::Shed));
            return KeptWhere::Nowhere;
        }
        let (place, mut record) = self.seal(batch, &body);
        for _ in 0..3 {
            match self.write(place, batch, record).await {
                Ok(()) => {
                    self.say_writable(None);
                    self.shared.changes.send_replace(());
                    return KeptWhere::Disk;
                }
                Err((why @ JournalError::Full { .. }, given_back)) => {
                    record = given_back;
                    if !self.make_room().await {
                        self.say_writable(Some(&why));
                        break;
                    }
                }
                Err((why, given_back)) => {
                    self.say_writable(Some(&why));
                    record = given_back;
                    break;
                }
            }
        }
        self.state().keep_in_memory(place, record, self.options.memory_bytes_max);
        self.shared.changes.send_replace(());
        KeptWhere::Memory
    }

    /// Logs when the disk stops taking batches, and when it takes them again.
    fn say_writable(&self, fault: Option<&JournalError>) {
        let was_faulty = self.is_faulty.swap(fault.is_some(), Relaxed);
        match fault {
            Some(why) if !was_faulty => tracing::error!("{why}; meanwhile batches wait in memory"),
            None if was_faulty => tracing::info!("the spool takes batches again"),
            _ => {}
        }
    }

    fn seal(&self, batch: &Batch, body: &[u8]) -> (Place, Vec<u8>) {
        let boot_offset_ms = self.clock.boot_offset_ms();
        let mut state = self.state();
        let held = batch.scale == Scale::Boot;
        if !state.has_begun {
            state.has_begun = true;
            state.first_batch(batch.from, held);
        }
        if !held {
            state.resolve_start(boot_offset_ms);
        }
        let sequence = state.kept.next;
        state.kept.next += 1;
        let identity = BatchIdentity {
            epoch: state.kept.epoch,
            sequence,
            boot: self.clock.boot(),
            payload_hash: PayloadHash::of(state.kept.epoch, &batch.payload),
            from: batch.from,
            to: batch.to,
            samples: batch.samples,
            stamped_late: batch.stamped_late,
            losses: if held { Losses::none() } else { state.take_report() },
        };
        let mut record = Vec::with_capacity(body.len() + 128);
        record::encode(&identity, held, body, &mut record);
        (Place { sequence, offset: 0, held: held.then_some(identity.boot) }, record)
    }

    async fn write(
        &self,
        place: Place,
        batch: &Batch,
        record: Vec<u8>,
    ) -> Result<(), (JournalError, Vec<u8>)> {
        let (answer, told) = oneshot::channel();
        let span = (batch.from, batch.to);
        let size = record.len();
        self.journal
            .append(Entry { place, span, record, answer }, size)
            .map_err(|(entry, why)| (why, entry.record))?;
        told.await.unwrap_or_else(|_| Err((JournalError::Closed, Vec::new())))
    }

    /// Takes a batch to send, newest first.
    pub(crate) fn claim(&self, lane: Lane) -> Option<Claim> {
        loop {
            let segment = {
                let mut state = self.state();
                // Asked with the state locked, which `close` locks after it said so: what is claimed before is counted there.
                if self.is_closing.load(SeqCst) {
                    return None;
                }
                match state.find(lane) {
                    Found::Batch(sequence, at) => {
                        state.in_flight.push(sequence);
                        return Some(Claim { sequence, at });
                    }
                    Found::Load(segment) => segment,
                    Found::Nothing => return None,
                }
            };
            match self.read_segment(segment) {
                Ok(places) => self.state().loaded(segment, places),
                Err(why) => {
                    tracing::error!(
                        "cannot read segment {segment} of the spool, it waits for the next start: {why}"
                    );
                    self.state().unreadable.push(segment);
                }
            }
        }
    }

    /// The batches of a segment; what is damaged is left out.
    fn read_segment(&self, segment: u64) -> Result<Vec<(Place, BatchIdentity)>, JournalError> {
        let mut places = Vec::new();
        let mut reader = self.journal.reader(Position { segment, offset: 0 });
        loop {
            match reader.next() {
                Ok(Some(found)) if found.at.segment == segment => {
                    if found.kind == RecordKind::Entry
                        && let Ok(record) = record::decode(found.payload)
                    {
                        places.push((place_of(&record, found.at.offset), record.identity));
                    }
                }
                Ok(_) => return Ok(places),
                // The next call goes on behind the damage.
                Err(JournalError::Damaged { .. }) => {}
                Err(why) => return Err(why),
            }
        }
    }

    /// Reads a claimed batch as it is sent: held ones get their stamps, those of an earlier epoch the present one.
    pub(crate) fn read(&self, claim: Claim) -> Result<Outgoing, SpoolError> {
        let unreadable = |why: String| SpoolError::Batch { sequence: claim.sequence, why };
        let (bytes, epoch) = {
            let state = self.state();
            (state.memory.get(&claim.sequence).cloned(), state.kept.epoch)
        };
        let bytes = match (bytes, claim.at) {
            (Some(bytes), _) => bytes,
            (None, Some(at)) => Bytes::from(self.journal.read(at)?),
            (None, None) => return Err(unreadable("it has left the memory".into())),
        };
        let record = record::decode(&bytes).map_err(|why| unreadable(why.to_string()))?;
        if !record.held && record.identity.epoch == epoch {
            let body = bytes.slice_ref(record.body);
            return Ok(Outgoing { identity: record.identity, body });
        }
        let offset_ms =
            if record.held { self.state().kept.boot_offset_ms(record.identity.boot) } else { None };
        let mut restamper = self.restamping.lock().unwrap_or_else(PoisonError::into_inner);
        restamper
            .restamp(&record, epoch, offset_ms)
            .map(|(identity, body)| Outgoing { identity, body })
            .map_err(|why| unreadable(why.to_string()))
    }

    /// Says what became of a claim whose batch was read.
    pub(crate) fn settle(&self, identity: &BatchIdentity, outcome: Outcome) {
        self.state().settle(identity, outcome);
        self.shared.changes.send_replace(());
    }

    /// A claimed batch cannot be read. Where it is damaged it is lost; where the disk fails it stays in flight: it is not
    /// claimed again in this run, and tried again in the next.
    pub(crate) fn settle_unreadable(&self, claim: Claim, why: &SpoolError) {
        if matches!(why, SpoolError::Journal(JournalError::Io { .. })) {
            tracing::error!("{why}: it stays in the spool until the next start");
            return;
        }
        tracing::error!("{why}: it is lost");
        self.state().lose_unreadable(claim.sequence);
        self.shared.changes.send_replace(());
    }

    /// Gives held batches of this boot their stamps, if anybody knows the time by now. The offset is durable before it is used.
    pub(crate) fn stamp_held(&self) -> Result<(), JournalError> {
        if !self.waits_for_time() {
            return Ok(());
        }
        let Some(offset_ms) = self.clock.fix_boot_offset() else { return Ok(()) };
        {
            let mut state = self.state();
            state.resolve_start(Some(offset_ms));
            state.pending_offset = Some(offset_ms);
        }
        self.store()?;
        self.shared.changes.send_replace(());
        Ok(())
    }

    /// Whether batches wait for nothing but the time.
    pub(crate) fn waits_for_time(&self) -> bool {
        let state = self.state();
        state.held_of_this_boot > 0 && state.kept.boot_offset_ms(self.clock.boot()).is_none()
    }

    /// The present epoch.
    pub(crate) fn epoch(&self) -> wire::identity::Epoch {
        self.state().kept.epoch
    }

    /// A collector has found our epoch in other hands: takes a new one. Numbers go on, so that what waits keeps its own.
    pub(crate) fn renew_epoch(&self) -> Result<(), JournalError> {
        self.state().kept.epoch = kept::new_epoch();
        self.store()
    }

    /// Remembers that something was lost elsewhere in the agent.
    pub(crate) fn lose(&self, loss: Loss) {
        self.state().lose(loss);
    }

    /// The last millisecond on the wall scale that a batch has covered.
    #[cfg(test)]
    pub(crate) fn until(&self) -> Option<Timestamp> {
        self.state().kept.until
    }

    /// Figures for metrics.
    pub(crate) fn stats(&self) -> Stats {
        let journal = self.journal.stats();
        let state = self.state();
        Stats {
            bytes: journal.segment_bytes,
            pending: state.pending,
            oldest: state.oldest(),
            memory_bytes: state.memory_bytes as u64,
            syncs: journal.syncs,
            poisoned: journal.poisoned.is_some(),
            full: journal.full,
            lost: state.lost.clone(),
        }
    }

    /// Whether [`Spool::maintain`] has something to do; never blocks.
    pub(crate) fn needs_maintenance(&self, now: Duration) -> bool {
        let stored_at = *self.maintaining.lock().unwrap_or_else(PoisonError::into_inner);
        let due = now.saturating_sub(stored_at) >= STORE_EVERY && self.state().dirty;
        due || self.journal.stats().segment_bytes > self.options.bytes_max
            || self.unlisted() > UNLISTED_MAX
            || !self.done_segments().is_empty()
            || !self.too_old().is_empty()
    }

    /// Segments that no collector would take any more. Only a clock that is set can say so, and none that has left the collector's
    /// since that last answered: one step by a bad time server would shed everything.
    fn too_old(&self) -> Vec<u64> {
        let now = self.clock.read();
        match now.scale {
            Scale::Wall => {
                let heard = self.clock.collector_time().unwrap_or(now.time);
                self.state().older_than(now.time.min(heard) - AGE_MAX)
            }
            Scale::Boot => Vec::new(),
        }
    }

    /// Sheds what is over the bound, writes the cursor if it is due, removes segments that are done with. Blocks on the disk;
    /// called every few seconds with a time that does not go back.
    pub(crate) fn maintain(&self, now: Duration) -> Result<(), JournalError> {
        let mut stored_at = self.maintaining.lock().unwrap_or_else(PoisonError::into_inner);
        for segment in self.too_old() {
            self.shed_segment(segment, "no collector takes what is so old");
        }
        self.shed_over(self.options.bytes_max);
        let removable = self.done_segments();
        let due = now.saturating_sub(*stored_at) >= STORE_EVERY && self.state().dirty;
        if due || !removable.is_empty() || self.unlisted() > UNLISTED_MAX {
            self.store_all()?;
            *stored_at = now;
        }
        self.remove(&removable)
    }

    fn done_segments(&self) -> Vec<u64> {
        let infos = self.journal.segments();
        let state = self.state();
        infos
            .iter()
            .filter(|info| {
                info.removable && state.is_done(info.number) && !state.unreadable.contains(&info.number)
            })
            .map(|info| info.number)
            .collect()
    }

    fn shed_over(&self, bytes_max: u64) {
        let infos = self.journal.segments();
        let kept: Vec<_> = {
            let state = self.state();
            infos.iter().filter(|info| !(info.removable && state.is_done(info.number))).collect()
        };
        let mut total: u64 = kept.iter().map(|info| info.bytes).sum();
        for info in kept {
            if total <= bytes_max || !info.removable {
                return;
            }
            self.shed_segment(info.number, "the spool is over its bound");
            total -= info.bytes;
        }
    }

    fn shed_segment(&self, segment: u64, why: &str) {
        let places = self.read_segment(segment).unwrap_or_else(|why| {
            tracing::error!("cannot read segment {segment} of the spool while shedding it: {why}");
            Vec::new()
        });
        let shed = self.state().shed(segment, &places);
        tracing::warn!("shed {shed} unsent batches: {why}");
    }

    fn remove(&self, segments: &[u64]) -> Result<(), JournalError> {
        if segments.is_empty() {
            return Ok(());
        }
        self.journal.remove_segments(segments)?;
        self.state().removed(segments);
        Ok(())
    }

    /// Frees the oldest segment on a full disk; false where there is none to free.
    async fn make_room(self: &Arc<Self>) -> bool {
        let spool = Arc::clone(self);
        let freed = tokio::task::spawn_blocking(move || {
            let oldest = spool.journal.segments().iter().find(|info| info.removable).map(|info| info.number);
            let Some(oldest) = oldest else { return false };
            if !spool.state().is_done(oldest) {
                spool.shed_segment(oldest, "the disk is full");
            }
            // Without room even for the cursor the segment goes all the same: its batches are lost either way, and a report
            // that a crash could swallow is better than no room ever.
            if let Err(why) = spool.store() {
                tracing::warn!("cannot write the spool's cursor: {why}");
            }
            spool.remove(&[oldest]).is_ok()
        });
        freed.await.unwrap_or(false)
    }

    fn store(&self) -> Result<(), JournalError> {
        let _alone = self.storing.lock().unwrap_or_else(PoisonError::into_inner);
        self.journal.check_place()?;
        let kept = self.state().take_to_store();
        let stored = Cursor { at: Position::default(), note: kept.encode() };
        let written = cursor::store(&*self.disk, &self.folder, CURSOR, &stored);
        let mut state = self.state();
        match &written {
            Ok(()) => state.stored(&kept),
            Err(_) => state.dirty = true,
        }
        written
    }

    /// Writes the cursor, and what sealed segments hold, if that has become much. The list is made first and written last: the
    /// cursor must know all that is in a segment that the next start passes over.
    fn store_all(&self) -> Result<(), JournalError> {
        let regular = self.regular();
        self.store()?;
        self.remember_segments(&regular);
        Ok(())
    }

    fn regular(&self) -> Vec<Regular> {
        let infos = self.journal.segments();
        self.state().regular(&infos)
    }

    /// Sealed segments that the next start would have to read and need not.
    fn unlisted(&self) -> usize {
        self.unlisted_of(&self.regular())
    }

    fn unlisted_of(&self, regular: &[Regular]) -> usize {
        let listed = self.listed();
        regular.iter().filter(|regular| !listed.contains(&regular.segment)).count()
    }

    fn listed(&self) -> MutexGuard<'_, HashSet<u64>> {
        self.listed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember_segments(&self, regular: &[Regular]) {
        if self.unlisted_of(regular) <= UNLISTED_MAX {
            return;
        }
        match index::store(&*self.disk, &self.folder, regular) {
            Ok(()) => *self.listed() = regular.iter().map(|regular| regular.segment).collect(),
            Err(why) => tracing::debug!("the next start reads the spool whole: {why}"),
        }
    }

    /// Ends in order: everything is synced and the cursor says so.
    pub(crate) fn close(&self) -> Result<(), JournalError> {
        self.is_closing.store(true, SeqCst);
        let flushed = self.journal.flush();
        let in_memory = !self.state().memory.is_empty();
        // Batches that were only in memory are lost now: their numbers must not be used again.
        self.state().kept.orderly = flushed.is_ok() && !in_memory;
        self.store_all()?;
        self.journal.close()?;
        flushed
    }
}

impl Restamper {
    fn restamp(
        &mut self,
        record: &record::Record<'_>,
        epoch: wire::identity::Epoch,
        offset_ms: Option<i64>,
    ) -> Result<(BatchIdentity, Bytes), wire::WireError> {
        let mut payload = Vec::new();
        self.unpacker.unpack(Codec::Zstd, record.body, PAYLOAD_BYTES_MAX, &mut payload)?;
        let mut identity = record.identity.clone();
        identity.epoch = epoch;
        let mut body = record.body.to_vec();
        if let Some(offset_ms) = offset_ms {
            payload = wire::v2::shift_timestamps(&payload, offset_ms)?;
            self.packer.pack(Codec::Zstd, &payload, &mut body)?;
            identity.from = shifted(identity.from, offset_ms);
            identity.to = shifted(identity.to, offset_ms);
            identity.stamped_late = true;
        }
        identity.payload_hash = PayloadHash::of(epoch, &payload);
        Ok((identity, Bytes::from(body)))
    }
}

fn shifted(time: Timestamp, by_ms: i64) -> Timestamp {
    Timestamp::from_millis(time.as_millis().saturating_add(by_ms))
}

fn place_of(record: &record::Record<'_>, offset: u64) -> Place {
    let held = record.held.then_some(record.identity.boot);
    Place { sequence: record.identity.sequence, offset, held }
}

/// Segments with a stretch that the disk could not read: it may be able to at the next start, so they are not removed.
fn unreadable(recovery: &journal::RecoveryReport) -> Vec<u64> {
    let stretches = recovery.damage.iter().filter(|damage| damage.kind == journal::DamageKind::Unreadable);
    stretches.map(|damage| damage.at.segment).collect()
}

/// Sees the spool's segments at a start: those that are remembered are not read.
struct Recall<'a> {
    state: &'a mut State,
    known: Vec<Regular>,
    /// Which of them are there.
    recalled: HashSet<u64>,
}

impl journal::Visitor for Recall<'_> {
    fn passes_over(&mut self, segment: u64, mark: u32) -> Option<u64> {
        let is_it = |regular: &&Regular| (regular.segment, regular.mark) == (segment, mark);
        let regular = self.known.iter().find(is_it)?;
        self.state.recalled(regular);
        self.recalled.insert(segment);
        Some(regular.entries())
    }

    fn visit(&mut self, record: Record<'_>) -> Result<(), journal::VisitorError> {
        visit(self.state, &record)
    }
}

fn visit(state: &mut State, found: &Record<'_>) -> Result<(), journal::VisitorError> {
    if found.kind == RecordKind::Entry {
        match record::decode(found.payload) {
            Ok(record) => {
                state.visited(found.at.segment, place_of(&record, found.at.offset), &record.identity)
            }
            Err(why @ record::RecordError::Version(_)) => return Err(why.into()),
            // Its number is missed when the next batch is visited.
            Err(why) => tracing::error!("cannot read the batch at {}: {why}", found.at),
        }
    }
    Ok(())
}

/// The cursor's note; `None` where there is none or it is damaged (the spool goes on with a new epoch).
fn load_kept(disk: &dyn Disk, folder: &Path) -> Result<Option<Kept>, SpoolError> {
    let path = folder.join(CURSOR).with_extension("cursor");
    let cursor = match cursor::load(disk, folder, CURSOR) {
        Ok(Some(cursor)) => cursor,
        Ok(None) => return Ok(None),
        Err(why @ JournalError::Damaged { .. }) => {
            tracing::error!("the spool's cursor is damaged, all batches are sent again: {why}");
            return Ok(None);
        }
        Err(why) => return Err(why.into()),
    };
    match Kept::decode(&cursor.note) {
        Ok(kept) => Ok(Some(kept)),
        Err(why @ KeptError::Version(_)) => Err(SpoolError::Cursor { path, why: why.to_string() }),
        Err(why) => {
            tracing::error!("the spool's cursor cannot be read, all batches are sent again: {why}");
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests;
