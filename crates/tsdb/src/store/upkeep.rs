//! What keeps a store within its bounds: flushes, retention, forgetting, compaction, deletion.
//!
//! In: the time, now and then, on a thread that may block. Nothing here judges samples; the clock is believed only as far as the samples
//! themselves reach ([`CLOCK_TRUST`]), so that a clock that jumps years ahead neither empties the store nor makes blocks of the
//! future.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use model::{Matcher, Timestamp};
use parking_lot::Mutex;

use super::blocks::Change;
use super::opening::Found;
use super::{Store, note};
use crate::compact::{self, Order, Pace};
use crate::error::{StoreError, WriteError};
use crate::flush;
use crate::manifest::Checkpoint;
use crate::record;
use crate::registry::SeriesRef;
use crate::retention::{self, Aged, Extent, Floors};
use crate::stats::{BlockStats, CacheStats, Compacted, Deleted, Forecast, Maintained, ShedCause};
use crate::tombstone::{Deletion, TOMBSTONES_BYTES_MAX, TOMBSTONES_MAX};
use crate::wal::{Entry, Shared};

/// How far the clock may run ahead of the newest sample before retention stops believing it. A clock that jumps years ahead must not
/// empty the store.
const CLOCK_TRUST: Duration = Duration::from_secs(3600);

/// Series are looked over for those that are empty at least this often.
const FORGET_EVERY: Duration = Duration::from_secs(300);

/// And so many calls of maintain after a sweep: two until all series that a write was on its way to are at rest.
const FORGET_AFTER_SWEEP: u8 = 2;

/// Slots looked over under one lock.
const FORGET_SLOTS: usize = 4096;

/// A segment that reached this many bytes ends with a flush, so that it can go after the next one.
const ROTATE_BYTES: u64 = 1 << 20;

/// And one that is this old.
const ROTATE_AFTER: Duration = Duration::from_secs(24 * 3600);

/// A head that is frozen, and how far that brings the blocks.
#[derive(Clone, Copy, Debug)]
struct Pending {
    frozen: Checkpoint,
    flushed: Option<i64>,
    early: bool,
}

/// What [`Store::maintain`] remembers between calls.
#[derive(Debug)]
pub(super) struct Upkeep {
    swept_floor: i64,
    forgot_at: Timestamp,
    /// Calls until series are looked over because of a sweep: those that were written to lately are not at rest before.
    forget_in: Option<u8>,
    /// The segment that was written to when maintain last looked, and since when.
    segment: (u64, Timestamp),
    /// Segments in which damage was found: whoever looks into it needs the file.
    damaged: BTreeSet<u64>,
    pending: Option<Pending>,
    /// The store was just opened: its replay left chunks to be sealed, which nobody needs to wait for.
    pub(super) replayed: bool,
    /// Entries that the journal had refused for want of room when retention last looked.
    refused_full: u64,
}

/// What was done since the start.
#[derive(Debug, Default)]
pub(super) struct Figures {
    flushes: Mutex<BlockStats>,
    made: AtomicU64,
    failed: AtomicU64,
    bytes: AtomicU64,
}

impl Upkeep {
    pub(super) fn new(now: Timestamp, damaged: BTreeSet<u64>) -> Self {
        Self {
            swept_floor: i64::MIN,
            forgot_at: now,
            forget_in: None,
            segment: (0, now),
            damaged,
            pending: None,
            replayed: false,
            refused_full: 0,
        }
    }
}

impl Store {
    /// Keeps every bound: makes blocks of what is old enough or where memory is short, drops what is past its age, forgets empty series,
    /// removes journal segments that hold nothing any more. Call it every ten seconds or so, and when
    /// [`wait_for_work`](Store::wait_for_work) says so, on a thread that may block.
    ///
    /// # Errors
    /// The first thing that failed; all else was done nevertheless, and what failed is tried again at the next call.
    pub fn maintain(&self, now: Timestamp) -> Result<Maintained, StoreError> {
        let mut upkeep = self.upkeep.lock();
        let mut done = Maintained::default();
        self.journal.check_place()?;
        let flushed = self.flush_due(now, &mut upkeep, &mut done);
        self.keep_age(now, &mut upkeep, &mut done);
        let retired =
            self.retire_blocks(now, flushed.as_ref().is_err_and(StoreError::is_full), &mut upkeep, &mut done);
        let written =
            if self.catalog.is_dirty(&self.shared) { self.publish(Change::default()) } else { Ok(()) };
        let flushed_any = done.blocks_written > 0;
        done.series_forgotten = self.forget_empty(now, &mut upkeep, flushed_any || !done.dropped.is_empty());
        let rotated = self.rotate_old_segment(now, &mut upkeep, flushed_any);
        let removed = self.remove_segments(&upkeep);
        if std::mem::take(&mut upkeep.replayed) {
            self.shared.head.seal_long();
        }
        self.rest(now, &upkeep);
        done.segments_removed = removed?;
        flushed.and(retired).and(written).and(rotated)?;
        Ok(done)
    }

    /// Waits until [`maintain`](Store::maintain) has something to do that should not wait for its next round (a window is complete, memory is
    /// short), or for so long. Answers whether there is. One thread at a time.
    pub fn wait_for_work(&self, timeout: Duration) -> bool {
        self.shared.engine.work.wait(timeout)
    }

    fn publish(&self, change: Change) -> Result<(), StoreError> {
        let first_segment = self.journal.segments().first().map_or(0, |segment| segment.number);
        self.catalog.publish(&self.shared, Change { first_segment, ..change })
    }

    /// The latest time of any sample, in memory or in blocks.
    pub fn newest_time(&self) -> Option<Timestamp> {
        self.newest().map(Timestamp::from_millis)
    }

    fn newest(&self) -> Option<i64> {
        let head = self.shared.head.max_time();
        head.into_iter().chain(self.shared.block_set().max_time()).max()
    }

    /// The time, if the samples bear it out.
    fn believed(&self, now: Timestamp) -> Option<Timestamp> {
        self.newest().map(|newest| now.min(Timestamp::from_millis(newest) + CLOCK_TRUST))
    }

    /// Up to where the head should be blocks by now.
    fn boundary(&self, now: Timestamp) -> Option<i64> {
        let newest = self.newest()?;
        Some(self.catalog.grid.boundary(now.as_millis().min(newest)))
    }

    fn flush_due(
        &self,
        now: Timestamp,
        upkeep: &mut Upkeep,
        done: &mut Maintained,
    ) -> Result<(), StoreError> {
        if upkeep.pending.is_none() {
            upkeep.pending = self.next_flush(now);
        }
        let Some(pending) = upkeep.pending else { return Ok(()) };
        let begun = Instant::now();
        let result = flush::flush(
            &self.shared,
            &self.catalog,
            pending.frozen,
            pending.flushed,
            now.as_millis(),
            self.journal.segments().first().map_or(0, |segment| segment.number),
        );
        let mut figures = self.figures.flushes.lock();
        figures.flush_time += begun.elapsed();
        match result {
            Ok(blocks) => {
                upkeep.pending = None;
                figures.flushes += 1;
                figures.flushes_early += u64::from(pending.early);
                done.blocks_written += blocks;
                Ok(())
            }
            Err(error) => {
                figures.flushes_failed += 1;
                Err(error)
            }
        }
    }

    /// Freezes the head if a flush is due.
    fn next_flush(&self, now: Timestamp) -> Option<Pending> {
        let (shared, catalog) = (&*self.shared, &self.catalog);
        let head_min = shared.head.min_time()?;
        let (regular, flushed) = (self.boundary(now)?, catalog.flushed());
        let early = shared.engine.is_short(shared.bytes()) || self.journal_is_short();
        let boundary = if early {
            shared.head.max_time()?.saturating_add(1)
        } else if flushed.is_some_and(|flushed| regular <= flushed) && !shared.engine.is_late() {
            // The clock or a sample was years ahead, and is not any more: windows are counted from here again.
            let span = catalog.grid.span(1);
            if flushed.is_some_and(|flushed| flushed.saturating_sub(span) > regular) {
                catalog.set_flushed(regular);
            }
            return None;
        } else {
            regular
        };
        if head_min >= boundary {
            if !early && flushed.is_none_or(|flushed| flushed < regular) {
                catalog.set_flushed(regular);
            }
            shared.engine.settle_late();
            return None;
        }
        catalog.set_frozen();
        shared.engine.settle_late();
        let flushed = Some(flushed.map_or(regular, |flushed| flushed.max(regular)));
        Some(Pending { frozen: shared.freeze(boundary), flushed, early })
    }

    /// Past its bound, and some of it would go after a flush.
    fn journal_is_short(&self) -> bool {
        let segments = self.journal.segments();
        let bytes: u64 = segments.iter().map(|segment| segment.bytes).sum();
        if bytes <= self.shared.options.journal_bytes_max {
            return false;
        }
        let checkpoint =
            self.shared.engine.checkpoints().latest().map_or(0, |latest| latest.position.segment);
        let newest = segments.last().map_or(0, |segment| segment.number);
        segments.iter().any(|segment| segment.number > checkpoint && segment.number < newest)
    }

    /// Nothing more can be done now: says when it will be.
    fn rest(&self, now: Timestamp, upkeep: &Upkeep) {
        let shared = &*self.shared;
        shared.engine.settle(shared.bytes(), shared.options.head_bytes_max);
        shared.bound_late(self.catalog.flushed());
        let newest = shared.head.max_time().unwrap_or(i64::MIN);
        let due = match self.catalog.flushed().or_else(|| self.boundary(now)) {
            Some(flushed) => self.catalog.grid.next_due(flushed),
            None => i64::MIN,
        };
        let failed = upkeep.pending.is_some();
        let due_already =
            self.boundary(now).zip(self.catalog.flushed()).is_some_and(|(now, done)| now > done);
        shared.engine.work.done(match newest >= due {
            // Another window was completed during the flush of the one before.
            true if newest == i64::MIN || due_already && !failed => i64::MIN,
            // What is due by the samples and not by the clock, or failed, waits for the next round.
            true => i64::MAX,
            false => due,
        });
    }

    fn keep_age(&self, now: Timestamp, upkeep: &mut Upkeep, done: &mut Maintained) {
        let head = &self.shared.head;
        let Some(believed) = self.believed(now) else { return };
        let retention = self.shared.options.retention;
        head.raise_floor((believed - retention).as_millis());
        // A sweep walks all series, so it waits until there is something to sweep.
        let step = i64::try_from((retention / 256).as_millis()).unwrap_or(i64::MAX).max(60_000);
        let floor = head.floor();
        if floor.saturating_sub(upkeep.swept_floor) >= step {
            upkeep.swept_floor = floor;
            note(done, ShedCause::Retention, self.shared.shed_below(floor, ShedCause::Retention));
        }
    }

    /// Lets blocks go: those past their age, and the oldest where the store or the disk is full.
    fn retire_blocks(
        &self,
        now: Timestamp,
        flush_found_no_room: bool,
        upkeep: &mut Upkeep,
        done: &mut Maintained,
    ) -> Result<(), StoreError> {
        let mut causes = vec![(ShedCause::Retention, self.shared.head.floor())];
        let set = self.shared.block_set();
        let aged = |keep_from: i64, bytes: u64| {
            let blocks = set.blocks.iter().map(|block| block.meta());
            let blocks = blocks.map(|meta| Aged { max_time: meta.max_time, bytes: meta.bytes }).collect();
            retention::floor_to_free(blocks, bytes, keep_from)
        };
        let bytes = set.bytes() + self.journal.stats().segment_bytes;
        let over = bytes.saturating_sub(self.shared.options.store_bytes_max);
        if over > 0 {
            // The latest block is all there may be: writes go on, and it goes when there is another one.
            causes.extend(
                aged(set.max_time().unwrap_or(i64::MIN), over).map(|floor| (ShedCause::StoreBytes, floor)),
            );
        }
        let free = self.catalog.disk.free_bytes(&self.catalog.folder);
        let free = free.map_err(StoreError::io("ask for room in", &self.catalog.folder))?;
        // Somewhat before writes are refused, and when they were.
        let reserve = self.shared.options.reserve_bytes;
        let refused = self.journal.stats().refused_full;
        let refused = refused > std::mem::replace(&mut upkeep.refused_full, refused);
        let short =
            (reserve + reserve / 8).saturating_sub(free).max(u64::from(refused || flush_found_no_room));
        if let (true, Some(believed)) = (short > 0, self.believed(now)) {
            let keep_from = (believed - self.shared.options.keep_at_least).as_millis();
            causes.extend(aged(keep_from, short).map(|floor| (ShedCause::DiskShort, floor)));
        }
        for (cause, floor) in causes {
            self.retire_below(cause, floor, done)?;
        }
        Ok(())
    }

    fn retire_below(&self, cause: ShedCause, floor: i64, done: &mut Maintained) -> Result<(), StoreError> {
        self.catalog.forget_absent(floor);
        let set = self.shared.block_set();
        let gone = retention::expired(&set.blocks, floor);
        if gone.is_empty() {
            return Ok(());
        }
        let of = |number: &u64| set.blocks.iter().find(|block| block.meta().spec.number == *number);
        let samples: u64 =
            gone.iter().filter_map(of).map(|block| block.meta().samples + block.meta().histograms).sum();
        let count = gone.len();
        // What goes for want of room must not come back at the next start.
        let lasting = (cause != ShedCause::Retention).then_some(floor);
        self.publish(Change { remove: gone, floor: lasting, ..Change::default() })?;
        self.figures.flushes.lock().blocks_retired += count as u64;
        done.blocks_removed += count;
        self.shared.counters.shed[cause as usize].fetch_add(samples, Relaxed);
        let from_head =
            if self.shared.head.floor() < floor { self.shared.shed_below(floor, cause) } else { 0 };
        note(done, cause, samples + from_head);
        Ok(())
    }

    fn forget_empty(&self, now: Timestamp, upkeep: &mut Upkeep, swept: bool) -> usize {
        let Shared { registry, in_flight, counters, options, .. } = &*self.shared;
        let crowded = {
            let mut registry = registry.write();
            registry.next_epoch(in_flight);
            registry.len() >= options.series_max - options.series_max / 10
        };
        if swept {
            upkeep.forget_in.get_or_insert(FORGET_AFTER_SWEEP);
        }
        let waited = now.millis_since(upkeep.forgot_at);
        let late = waited < 0 || waited >= FORGET_EVERY.as_millis() as i64;
        if !(crowded || late || upkeep.forget_in == Some(0)) {
            upkeep.forget_in = upkeep.forget_in.map(|calls| calls.saturating_sub(1));
            return 0;
        }
        upkeep.forget_in = None;
        upkeep.forgot_at = now;
        let slots = registry.read().slots();
        let forgotten = (0..slots).step_by(FORGET_SLOTS).map(|from| self.forget_slots(from)).sum();
        counters.series_forgotten.fetch_add(forgotten as u64, Relaxed);
        forgotten
    }

    fn forget_slots(&self, from: usize) -> usize {
        let Shared { registry, head, counters, .. } = &*self.shared;
        let empty: Vec<SeriesRef> = {
            let (registry, data) = (registry.read(), head.read());
            let is_empty = |series: &SeriesRef| data.get(*series).is_none_or(|series| series.is_empty());
            registry.at_rest(from..from + FORGET_SLOTS).filter(is_empty).collect()
        };
        if empty.is_empty() {
            return 0;
        }
        let mut registry = registry.write();
        let data = head.read();
        let gone = registry.forget(&empty, |series| data.get(series).is_none_or(|series| series.is_empty()));
        if gone > 0 {
            counters.generation.fetch_add(1, Release);
        }
        gone
    }

    /// A segment ends when the head has become blocks, so that the next flush makes an end of it; a slow journal's now and then too.
    fn rotate_old_segment(
        &self,
        now: Timestamp,
        upkeep: &mut Upkeep,
        flushed: bool,
    ) -> Result<(), StoreError> {
        let current = self.shared.segments.lock().current;
        if current != upkeep.segment.0 {
            upkeep.segment = (current, now);
        }
        let newest = self.journal.segments().last().copied();
        let Some(newest) = newest.filter(|last| last.number == current && last.entries > 0) else {
            return Ok(());
        };
        let age = now.millis_since(upkeep.segment.1);
        let rotate_after = ROTATE_AFTER.min(self.shared.options.retention / 8);
        let old = age >= i64::try_from(rotate_after.as_millis()).unwrap_or(i64::MAX);
        if old || flushed && newest.bytes >= ROTATE_BYTES.min(self.shared.options.segment_bytes / 4) {
            let begun = self.journal.rotate()?;
            let mut segments = self.shared.segments.lock();
            segments.anchored = segments.anchored.max(begun);
            upkeep.segment.1 = now;
        }
        Ok(())
    }

    fn remove_segments(&self, upkeep: &Upkeep) -> Result<usize, StoreError> {
        if self.catalog.is_dirty(&self.shared) {
            return Ok(0); // what they hold is not sure to be in a MANIFEST
        }
        let gone = self.unneeded_segments(upkeep);
        if !gone.is_empty() {
            self.journal.remove_segments(&gone)?;
            let mut known = self.shared.segments.lock();
            gone.iter().for_each(|number| {
                known.spans.remove(number);
            });
            self.shared.engine.forget_segments(&gone);
        }
        Ok(gone.len())
    }

    /// Segments whose samples are blocks or past their age. A deletion stays as long as something older does, from which it takes away.
    fn unneeded_segments(&self, upkeep: &Upkeep) -> Vec<u64> {
        let (floor, checkpoints) = (self.shared.head.floor(), self.shared.engine.checkpoints());
        let known = self.shared.segments.lock();
        let (mut gone, mut kept) = (Vec::new(), false);
        for segment in self.journal.segments() {
            let number = segment.number;
            let max = known.spans.get(&number).copied().flatten().map(|span| span.max);
            let is_past = max.is_none_or(|max| max < floor);
            let is_covered = max.is_none_or(|max| checkpoints.covers(number, max));
            let unneeded = segment.removable
                && number < known.anchored
                && (is_past || is_covered && !upkeep.damaged.contains(&number))
                && !(kept && self.shared.engine.holds_deletions(number));
            if unneeded {
                gone.push(number);
            }
            kept |= !unneeded;
        }
        gone
    }

    /// One job of compaction, if there is one to do: small blocks become a large one, what is deleted or past its age goes for good. Beside
    /// everything else; one call at a time. `pace` is told what was read and written, and waits as the caller's budget asks.
    ///
    /// # Errors
    /// What the disk or a block refused; nothing is lost, and blocks that cannot be read are left alone until the next start.
    pub fn compact(&self, now: Timestamp, pace: &mut dyn Pace) -> Result<Compacted, StoreError> {
        self.compact_one(now, pace, false)
    }

    /// Compacts whatever can be compacted in cells of time that are over: for tools. Answers the sum.
    ///
    /// # Errors
    /// As for [`compact`](Store::compact).
    pub fn compact_all(&self, now: Timestamp, pace: &mut dyn Pace) -> Result<Compacted, StoreError> {
        let mut sum = Compacted::default();
        loop {
            let one = self.compact_one(now, pace, true)?;
            if one.blocks_in == 0 {
                return Ok(sum);
            }
            sum.blocks_in += one.blocks_in;
            sum.blocks_out += one.blocks_out;
            sum.bytes += one.bytes;
            sum.dropped += one.dropped;
        }
    }

    fn compact_one(&self, now: Timestamp, pace: &mut dyn Pace, all: bool) -> Result<Compacted, StoreError> {
        let mut memory = self.compaction.lock();
        self.journal.check_place()?;
        let Some(boundary) = self.catalog.flushed() else { return Ok(Compacted::default()) };
        let Some(believed) = self.believed(now) else { return Ok(Compacted::default()) };
        let floors = Floors::new(&self.shared.options, believed.as_millis(), self.shared.head.floor());
        let order = Order { now: now.as_millis(), boundary, all, floors: &floors };
        let result = compact::compact(&self.shared, &self.catalog, &mut memory, &order, pace);
        match &result {
            Ok(done) => {
                self.figures.made.fetch_add(u64::from(done.blocks_in > 0), Relaxed);
                self.figures.bytes.fetch_add(done.bytes, Relaxed);
            }
            Err(_) => {
                self.figures.failed.fetch_add(1, Relaxed);
            }
        }
        result
    }

    /// Deletes samples of the series that satisfy all matchers, between two times, both inclusive. When this returns the deletion is on disk
    /// and in force; what is written later counts. Waits for the disk.
    ///
    /// # Errors
    /// As a write is refused; [`StoreError::TooManyDeletions`], [`StoreError::DeletionTooLarge`]. If only MANIFEST could not be written the deletion holds all the same.
    pub fn delete(
        &self,
        matchers: &[Matcher],
        start: Timestamp,
        end: Timestamp,
    ) -> Result<Deleted, StoreError> {
        let (start, end) = (start.as_millis(), end.as_millis());
        let deletion = Deletion { matchers: matchers.to_vec(), start, end };
        let _one_at_a_time = self.shared.engine.deleting.lock();
        self.may_delete(&deletion)?;
        let (answer, answered) = channel();
        let epoch = self.shared.registry.read().count_in(&self.shared.in_flight);
        let size = record::size_max(0, &[], &[]) + record::deletion_size_max(&deletion);
        let entry = Entry {
            samples: Vec::new(),
            histograms: Vec::new(),
            exemplars: Vec::new(),
            descriptions: Vec::new(),
            deletion: Some(deletion),
            attachment: Vec::new(),
            epoch,
            done: Box::new(move |result| {
                // Nobody waits any more only if the caller's thread died.
                let _ = answer.send(result);
            }),
        };
        if let Err((entry, why)) = self.journal.append(entry, size) {
            self.shared.in_flight.ended(entry.epoch);
            return Err(WriteError::from(why).into());
        }
        answered.recv().unwrap_or(Err(WriteError::Closed))?;
        let set = self.shared.block_set();
        let hidden = |meta: &crate::block::meta::BlockMeta| meta.min_time <= end && meta.max_time >= start;
        let blocks = set.blocks.iter().filter(|block| hidden(block.meta())).count();
        self.publish(Change::default())?;
        Ok(Deleted { blocks })
    }

    /// Holds a deletion against the limits on those that wait.
    fn may_delete(&self, deletion: &Deletion) -> Result<(), StoreError> {
        let waiting = Arc::clone(&self.shared.block_set().tombstones);
        if waiting.len() >= TOMBSTONES_MAX {
            return Err(StoreError::TooManyDeletions { limit: TOMBSTONES_MAX });
        }
        let (bytes, waiting, bytes_max) =
            (deletion.line_bytes_max(), waiting.line_bytes_max(), TOMBSTONES_BYTES_MAX);
        if bytes + waiting > bytes_max {
            return Err(StoreError::DeletionTooLarge { bytes, waiting, bytes_max });
        }
        Ok(())
    }

    /// Figures of the blocks.
    pub(super) fn block_stats(&self) -> BlockStats {
        let mut figures = self.figures.flushes.lock().clone();
        let set = self.shared.block_set();
        for block in &set.blocks {
            let meta = block.meta();
            figures.count[usize::from(meta.spec.level).min(3)] += 1;
            figures.bytes += meta.bytes;
            figures.samples += meta.samples;
            figures.histograms += meta.histograms;
        }
        figures.tombstones = set.tombstones.len();
        let cache = self.shared.cache.figures();
        figures.cache = CacheStats { hits: cache.hits, misses: cache.misses, bytes: cache.bytes };
        figures.compactions = self.figures.made.load(Relaxed);
        figures.compactions_failed = self.figures.failed.load(Relaxed);
        figures.compaction_bytes = self.figures.bytes.load(Relaxed);
        figures
    }

    /// When the disk will be full.
    pub(super) fn forecast(&self) -> Option<Forecast> {
        let (set, options) = (self.shared.block_set(), &self.shared.options);
        let free = self.catalog.disk.free_bytes(&self.catalog.folder).ok()?;
        let taken = set.bytes() + self.journal.stats().segment_bytes;
        let room =
            options.store_bytes_max.saturating_sub(taken).min(free.saturating_sub(options.reserve_bytes));
        let extents = set.blocks.iter().map(|block| {
            let meta = block.meta();
            Extent { min_time: meta.min_time, max_time: meta.max_time, bytes: meta.bytes }
        });
        retention::forecast(&extents.collect::<Vec<_>>(), options.retention, room)
    }

    /// Puts the folder in order after an opening. A disk that refuses does so again, and is told then; but what is written next must not be
    /// taken for what stands in blocks.
    pub(super) fn prepare(&self, found: &Found, lost_journal: bool) -> Result<(), StoreError> {
        let blocks = self.catalog.blocks_folder();
        let made = self.catalog.disk.create_dir_all(&blocks).map_err(StoreError::io("make", &blocks));
        let aside = made.and_then(|()| found.set_aside(&*self.catalog.disk, &self.catalog.folder));
        let written =
            if found.must_write() || lost_journal { self.publish(Change::default()) } else { Ok(()) };
        if lost_journal {
            written?;
        } else if aside.and(written).is_ok() {
            // What is left over stays until the next start.
            let _ = found.clean(&*self.catalog.disk, &self.catalog.folder);
        }
        Ok(())
    }
}
