//! The samples in memory: series in slots, slots in pages, pages in groups that have a lock each. Even and odd pages stand in groups
//! of their own, so that a start can apply the journal with two threads ([`Head::apply_half`]).
//!
//! In: batches, on the journal's thread only (and on the opener's, during replay). A batch is applied series by series, so a reader may
//! see some of it and not yet the rest (`docs/decisions/0012-a-batch-becomes-readable-series-by-series.md`); a single series is never
//! seen half changed. Out: copies for readers, each taken under its group's lock for the time of that one copy: neither a reader of many
//! series nor a flush keeps the next batch waiting.
//!
//! A flush freezes what lies before its boundary, between two batches: from then on it changes by deletion only, and what comes
//! before the boundary waits behind it, readable ([`crate::series`]). When the frozen part stands in published blocks, it is dropped.
//!
//! The floor is the time before which nothing is kept: retention raises it, nothing lowers it. Chunks that lie wholly below go in a
//! sweep; what is left below within a chunk is hidden from readers.

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use journal::Position;
use model::{Columns, Timestamp};
use parking_lot::{MappedRwLockReadGuard, Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::SeriesRef;
use crate::chunk::{CHUNK_SAMPLES, REPLAY_CHUNK_SAMPLES, Sealer};
use crate::manifest::Checkpoint;
use crate::record::{BatchHistogram, BatchSample};
use crate::series::{Outcome, Series, Tally};

/// Series per page of slots: pages neither move nor are copied when the table grows.
const PAGE: usize = 1024;

/// Pages per group: batches come in slot order or in none, and in either case should seldom change locks.
const GROUP_PAGES: usize = 32;

/// Slots of two groups that share their span: one has its even pages, the other one its odd pages.
const PAIR: usize = PAGE * GROUP_PAGES * 2;

/// Groups stand in buckets, each twice as large as the one before it: enough for all slots that 32 bits can number.
const BUCKETS: usize = 18;

/// An open chunk that got nothing for this long gives spare memory back.
const IDLE_MS: i64 = 3_600_000;

/// Nothing is frozen.
const THAWED: i64 = i64::MIN;

/// A sample whose series has another value at its time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conflict {
    /// The series.
    pub series: SeriesRef,
    /// The time.
    pub timestamp: Timestamp,
    /// The value that stays.
    pub kept: f64,
    /// The value that does not.
    pub other: f64,
}

/// What became of a batch's samples and native histograms; but for `stored`, each figure counts both.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Written {
    /// New samples, out-of-order ones included, without histograms.
    pub stored: usize,
    /// New native histograms, out-of-order ones included.
    pub histograms: usize,
    /// Of `stored` and `histograms`: those that were older than their series' latest one.
    pub out_of_order: usize,
    /// Samples that were there already, bit for bit.
    pub duplicates: usize,
    /// Samples whose time had another value; the documented rule chose which stays.
    pub conflicts: usize,
    /// The first of these that is no histogram; none in sums.
    pub first_conflict: Option<Conflict>,
    /// Samples before the floor: the store no longer keeps that time.
    pub too_old: usize,
}

impl Written {
    pub(crate) fn add(&mut self, other: Self) {
        self.stored += other.stored;
        self.histograms += other.histograms;
        self.out_of_order += other.out_of_order;
        self.duplicates += other.duplicates;
        self.conflicts += other.conflicts;
        self.too_old += other.too_old;
    }
}

#[derive(Debug)]
struct Page {
    series: Vec<Series>,
    /// What lies before it is frozen. A page's own, so that what is frozen can be dropped page by page.
    boundary: i64,
}

#[derive(Debug)]
struct Group {
    pages: Vec<Page>,
    sealer: Sealer,
    /// That of pages to come.
    boundary: i64,
}

impl Group {
    fn new(boundary: i64) -> Self {
        Self { pages: Vec::new(), sealer: Sealer::default(), boundary }
    }

    fn get(&self, series: SeriesRef) -> Option<&Series> {
        let (page, at) = place_in_group(series.slot());
        self.pages.get(page)?.series.get(at).filter(|have| have.id == series.id())
    }

    /// The series' place, made or taken over if need be, with what is frozen there.
    #[inline]
    fn get_mut(&mut self, series: SeriesRef, tally: &mut Tally) -> (&mut Series, i64, &mut Sealer) {
        let (page, at) = place_in_group(series.slot());
        if self.pages.get(page).is_none_or(|page| page.series.len() <= at) {
            self.grow(page, at, tally);
        }
        let Page { series: places, boundary } = &mut self.pages[page];
        let place = &mut places[at];
        if place.id != series.id() {
            assert!(place.is_empty(), "a slot is given away only when its series has no samples");
            *place = Series::new(series.id());
        }
        (place, *boundary, &mut self.sealer)
    }

    #[cold]
    fn grow(&mut self, page: usize, at: usize, tally: &mut Tally) {
        while self.pages.len() <= page {
            self.pages.push(Page { series: Vec::with_capacity(PAGE), boundary: self.boundary });
            tally.bytes += (PAGE * size_of::<Series>()) as isize;
        }
        self.pages[page].series.resize_with(at + 1, || Series::new(u32::MAX));
    }
}

/// A group that is being changed; remembers what its shared columns took before.
struct Held<'a> {
    number: usize,
    group: RwLockWriteGuard<'a, Group>,
    sealer_bytes: usize,
}

impl<'a> Held<'a> {
    fn new(number: usize, group: &'a RwLock<Group>) -> Self {
        let group = group.write();
        Self { number, sealer_bytes: group.sealer.bytes(), group }
    }

    fn release(self, tally: &mut Tally) {
        tally.bytes += self.group.sealer.bytes() as isize - self.sealer_bytes as isize;
    }
}

/// What is true between two batches. Held while one is applied.
#[derive(Debug)]
struct Applied {
    /// The record that was applied last.
    position: Position,
    /// Set from a freeze until what is frozen was dropped.
    frozen: Option<Checkpoint>,
    /// The earliest time that was written since the latest sweep began.
    min_written: i64,
}

impl Applied {
    fn boundary(&self) -> i64 {
        self.frozen.map_or(THAWED, |frozen| frozen.boundary)
    }
}

/// What a reader asks for single series.
pub(crate) type Data = Head;

#[derive(Debug)]
pub(crate) struct Head {
    applied: Mutex<Applied>,
    buckets: [OnceLock<Box<[RwLock<Group>]>>; BUCKETS],
    floor: AtomicI64,
    bytes: AtomicUsize,
    samples: AtomicUsize,
    histograms: AtomicUsize,
    /// May lie before what is still there: a sweep finds the true one.
    min_time: AtomicI64,
    max_time: AtomicI64,
    /// One walk that drops things at a time.
    sweeping: Mutex<()>,
}

/// What a walk dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Swept {
    pub(crate) samples: usize,
    pub(crate) histograms: usize,
    pub(crate) bytes: usize,
}

/// Which of a pair's two groups has a series: 0 or 1.
#[inline]
pub(crate) fn half_of(series: SeriesRef) -> usize {
    series.slot() / PAGE % 2
}

/// The group of a series.
#[inline]
fn group_of(series: SeriesRef) -> usize {
    series.slot() / PAIR * 2 + half_of(series)
}

/// The page of a slot in its group, and the place in that page.
fn place_in_group(slot: usize) -> (usize, usize) {
    (slot % PAIR / PAGE / 2, slot % PAGE)
}

/// The bucket of a group, and its place in there.
fn place_of(group: usize) -> (usize, usize) {
    let bucket = (group + 1).ilog2();
    (bucket as usize, group + 1 - (1 << bucket))
}

impl Head {
    pub(crate) fn new() -> Self {
        Self {
            applied: Mutex::new(Applied {
                position: Position::default(),
                frozen: None,
                min_written: i64::MAX,
            }),
            buckets: Default::default(),
            floor: AtomicI64::new(i64::MIN),
            bytes: AtomicUsize::new(0),
            samples: AtomicUsize::new(0),
            histograms: AtomicUsize::new(0),
            min_time: AtomicI64::new(i64::MAX),
            max_time: AtomicI64::new(i64::MIN),
            sweeping: Mutex::new(()),
        }
    }

    /// The first millisecond that is kept.
    pub(crate) fn floor(&self) -> i64 {
        self.floor.load(Relaxed)
    }

    /// Raises the floor; answers whether it was lower.
    pub(crate) fn raise_floor(&self, floor: i64) -> bool {
        self.floor.fetch_max(floor, Relaxed) < floor
    }

    /// Estimated bytes of memory.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }

    /// Samples; one that stands at the time of a frozen one, which it beats, counts beside that until the frozen part is dropped.
    pub(crate) fn samples(&self) -> usize {
        self.samples.load(Relaxed)
    }

    /// Native histograms.
    pub(crate) fn histograms(&self) -> usize {
        self.histograms.load(Relaxed)
    }

    fn holds_nothing(&self) -> bool {
        self.samples() == 0 && self.histograms() == 0
    }

    /// The latest time that any sample ever had; none while there is no sample.
    pub(crate) fn max_time(&self) -> Option<i64> {
        Some(self.max_time.load(Relaxed)).filter(|_| !self.holds_nothing())
    }

    /// The earliest time that is readable, or one shortly before it.
    pub(crate) fn min_time(&self) -> Option<i64> {
        Some(self.min_time.load(Relaxed).max(self.floor())).filter(|_| !self.holds_nothing())
    }

    /// What is asked for single series; takes no lock until then.
    pub(crate) fn read(&self) -> &Data {
        self
    }

    /// A series, locked together with its group against the writer: let it go soon, and ask for no other one meanwhile.
    pub(crate) fn get(&self, series: SeriesRef) -> Option<MappedRwLockReadGuard<'_, Series>> {
        RwLockReadGuard::try_map(self.group(group_of(series))?.read(), |group| group.get(series)).ok()
    }

    fn group(&self, number: usize) -> Option<&RwLock<Group>> {
        let (bucket, at) = place_of(number);
        self.buckets.get(bucket)?.get()?.get(at)
    }

    /// The same, made if need be. For whoever holds `applied`: new groups are frozen as the others are.
    fn group_or_new(&self, number: usize, boundary: i64) -> &RwLock<Group> {
        let (bucket, at) = place_of(number);
        let group = || RwLock::new(Group::new(boundary));
        &self.buckets[bucket].get_or_init(|| (0..1usize << bucket).map(|_| group()).collect())[at]
    }

    fn groups(&self) -> impl Iterator<Item = &RwLock<Group>> {
        self.buckets.iter().map_while(OnceLock::get).flatten()
    }

    /// Applies a batch, the record at a position. What is older than `covered_below` stands in blocks already and is passed over.
    pub(crate) fn apply(
        &self,
        at: Position,
        samples: &[BatchSample],
        histograms: &[BatchHistogram],
        covered_below: i64,
    ) -> Written {
        let mut applied = self.applied.lock();
        let mut change = Change::new(self, applied.boundary());
        change.samples(samples, covered_below);
        change.histograms(histograms.iter(), covered_below);
        let (written, min_time) = change.settle();
        applied.position = at;
        applied.min_written = applied.min_written.min(min_time);
        written
    }

    /// Applies samples of one half of the series (see [`half_of`]), series by series, each in the order of the journal; then histograms,
    /// those of the other half left out. A second thread may do so for the other half. For a start alone: nothing else may happen to the
    /// head meanwhile, and [`Head::applied`] is to be called behind both. While the head takes fewer than `lazy_below` bytes, open
    /// chunks grow to [`REPLAY_CHUNK_SAMPLES`]: see [`Head::seal_long`].
    pub(crate) fn apply_half<'a>(
        &self,
        half: usize,
        lazy_below: usize,
        runs: impl Iterator<Item = (SeriesRef, &'a [(i64, f64)])>,
        histograms: impl Iterator<Item = (&'a [BatchHistogram], i64)>,
    ) -> Written {
        let mut change = Change::new(self, THAWED);
        if self.bytes() < lazy_below {
            change.seal_at = REPLAY_CHUNK_SAMPLES;
        }
        runs.for_each(|(series, samples)| change.run(series, samples));
        for (batch, covered_below) in histograms {
            change.histograms(batch.iter().filter(|(series, ..)| half_of(*series) == half), covered_below);
        }
        change.settle().0
    }

    /// Both halves of the record at this position were applied.
    pub(crate) fn applied(&self, at: Position) {
        self.applied.lock().position = at;
    }

    fn add(&self, tally: &Tally) {
        let add = |figure: &AtomicUsize, change: isize| figure.fetch_add(change as usize, Relaxed); // wraps as it should
        add(&self.bytes, tally.bytes);
        add(&self.samples, tally.samples);
        add(&self.histograms, tally.histograms);
    }

    /// Freezes what lies before a boundary, between two batches: see the module's text. While something is frozen already, nothing
    /// changes. Answers what is frozen.
    pub(crate) fn freeze(&self, boundary: i64) -> Checkpoint {
        let _alone = self.sweeping.lock();
        let mut applied = self.applied.lock();
        if let Some(frozen) = applied.frozen {
            return frozen;
        }
        let frozen = Checkpoint { position: applied.position, boundary };
        applied.frozen = Some(frozen);
        for group in self.groups() {
            let mut group = group.write();
            group.boundary = boundary;
            group.pages.iter_mut().for_each(|page| page.boundary = boundary);
        }
        frozen
    }

    /// What is frozen, if anything is.
    pub(crate) fn frozen(&self) -> Option<Checkpoint> {
        self.applied.lock().frozen
    }

    /// Appends a series' frozen samples and histograms.
    pub(crate) fn read_frozen(
        &self,
        series: SeriesRef,
        boundary: i64,
        columns: &mut Columns,
        histograms: &mut Vec<(Timestamp, Arc<[u8]>)>,
    ) {
        if let Some(series) = self.get(series) {
            series.read_before(boundary, columns, histograms);
        }
    }

    /// Forgets what is frozen, page by page: it stands in published blocks. What came behind it takes its place.
    pub(crate) fn drop_frozen(&self) -> Swept {
        let _alone = self.sweeping.lock();
        let Some(frozen) = self.applied.lock().frozen.take() else { return Swept::default() };
        self.walk(true, |page, sealer, tally| {
            if std::mem::replace(&mut page.boundary, THAWED) == frozen.boundary {
                for series in &mut page.series {
                    series.drop_frozen(frozen.boundary, sealer, tally);
                }
            }
        })
    }

    /// Removes the samples and histograms of some series in a span (inclusive). Answers how many.
    pub(crate) fn delete(
        &self,
        at: Position,
        series: impl IntoIterator<Item = SeriesRef>,
        start: i64,
        end: i64,
    ) -> Swept {
        let mut applied = self.applied.lock();
        applied.position = at;
        let mut change = Change::new(self, applied.boundary());
        for series in series {
            change.remove(series, start, end);
        }
        let tally = change.let_go();
        self.add(&tally);
        Swept::from(&tally)
    }

    /// Calls back for every page, under its group's lock, which is let go after each; then settles the figures. `thaw`: pages to
    /// come have nothing frozen.
    fn walk(&self, thaw: bool, mut each: impl FnMut(&mut Page, &mut Sealer, &mut Tally)) -> Swept {
        self.applied.lock().min_written = i64::MAX; // from now on: what this walk may have passed already
        let (mut all, mut min_time) = (Tally::default(), i64::MAX);
        for group in self.groups() {
            for page in 0.. {
                let mut held = Held::new(0, group);
                let Group { pages, sealer, boundary } = &mut *held.group;
                let mut tally = Tally::default();
                let Some(page) = pages.get_mut(page) else {
                    if thaw {
                        *boundary = THAWED;
                    }
                    sealer.sweep();
                    held.release(&mut tally);
                    self.add(&tally);
                    all.bytes += tally.bytes;
                    break;
                };
                each(page, sealer, &mut tally);
                min_time = page.series.iter().filter_map(Series::first).fold(min_time, i64::min);
                held.release(&mut tally);
                self.add(&tally);
                all.bytes += tally.bytes;
                all.samples += tally.samples;
                all.histograms += tally.histograms;
            }
        }
        let applied = self.applied.lock();
        self.min_time.store(applied.min_written.min(min_time), Relaxed);
        Swept::from(&all)
    }

    /// Seals what a replay left open for long, page by page.
    pub(crate) fn seal_long(&self) {
        let _alone = self.sweeping.lock();
        self.walk(false, |page, sealer, tally| {
            page.series.iter_mut().for_each(|series| series.seal_long(sealer, tally));
        });
    }

    /// Drops what lies below the floor, page by page, so that neither writer nor readers wait for long.
    pub(crate) fn sweep(&self) -> Swept {
        let _alone = self.sweeping.lock();
        let floor = self.floor();
        let idle_before = self.max_time.load(Relaxed).saturating_sub(IDLE_MS);
        self.walk(false, |page, _, tally| {
            for series in &mut page.series {
                series.sweep(floor, idle_before, tally);
            }
        })
    }

    /// Chunks of all series, open ones included. Walks them all.
    pub(crate) fn chunks(&self) -> usize {
        let of_group = |group: &RwLock<Group>| -> usize {
            group.read().pages.iter().flat_map(|page| &page.series).map(Series::chunks).sum()
        };
        self.groups().map(of_group).sum()
    }
}

impl From<&Tally> for Swept {
    /// What is less than before.
    fn from(tally: &Tally) -> Self {
        let less = |change: isize| usize::try_from(-change).unwrap_or_default();
        Self { samples: less(tally.samples), histograms: less(tally.histograms), bytes: less(tally.bytes) }
    }
}

/// A batch that is being applied, or a deletion: keeps the lock of the groups that it went to last, one of each half.
struct Change<'a> {
    head: &'a Head,
    floor: i64,
    /// Of groups that are made.
    boundary: i64,
    /// Samples at which open chunks are sealed.
    seal_at: usize,
    held: [Option<Held<'a>>; 2],
    written: Written,
    tally: Tally,
    min_time: i64,
    max_time: i64,
}

impl<'a> Change<'a> {
    fn new(head: &'a Head, boundary: i64) -> Self {
        Self {
            head,
            floor: head.floor(),
            boundary,
            seal_at: CHUNK_SAMPLES,
            held: [None, None],
            written: Written::default(),
            tally: Tally::default(),
            min_time: i64::MAX,
            max_time: i64::MIN,
        }
    }

    fn samples(&mut self, samples: &[BatchSample], covered_below: i64) {
        for &(series, time, value) in samples {
            let time = time.as_millis();
            if !self.counts(time, covered_below) {
                continue;
            }
            let (group, tally, written) = self.group(series);
            let (place, boundary, sealer) = group.get_mut(series, tally);
            match place.push(time, value, boundary, sealer, tally) {
                Outcome::Appended => written.stored += 1,
                outcome => late(written, outcome, (series, time, value)),
            }
        }
    }

    /// The same for samples of one series.
    fn run(&mut self, series: SeriesRef, samples: &[(i64, f64)]) {
        let Self { floor, mut min_time, mut max_time, .. } = *self;
        let (group, tally, written) = self.group(series);
        let (place, boundary, sealer) = group.get_mut(series, tally);
        for &(time, value) in samples {
            if time < floor {
                written.too_old += 1;
                continue;
            }
            (min_time, max_time) = (min_time.min(time), max_time.max(time));
            match place.push(time, value, boundary, sealer, tally) {
                Outcome::Appended => written.stored += 1,
                outcome => late(written, outcome, (series, time, value)),
            }
        }
        (self.min_time, self.max_time) = (min_time, max_time);
    }

    fn histograms<'s>(&mut self, histograms: impl Iterator<Item = &'s BatchHistogram>, covered_below: i64) {
        for (series, time, bytes) in histograms {
            let time = time.as_millis();
            if !self.counts(time, covered_below) {
                continue;
            }
            let (group, tally, written) = self.group(*series);
            let (place, boundary, _) = group.get_mut(*series, tally);
            let outcome = place.push_histogram(time, bytes, boundary, tally);
            written.histograms += usize::from(matches!(outcome, Outcome::Appended | Outcome::Late));
            written.out_of_order += usize::from(outcome == Outcome::Late);
            written.duplicates += usize::from(outcome == Outcome::Duplicate);
            written.conflicts += usize::from(matches!(outcome, Outcome::Conflict { .. }));
        }
    }

    /// Whether something of this time is kept.
    #[inline]
    fn counts(&mut self, time: i64, covered_below: i64) -> bool {
        if time < covered_below || time < self.floor {
            self.written.too_old += usize::from(time >= covered_below);
            return false;
        }
        (self.min_time, self.max_time) = (self.min_time.min(time), self.max_time.max(time));
        true
    }

    fn remove(&mut self, series: SeriesRef, start: i64, end: i64) {
        if self.head.group(group_of(series)).is_none() {
            return;
        }
        let (group, tally, _) = self.group(series);
        if group.get(series).is_some() {
            let (place, _, sealer) = group.get_mut(series, tally);
            place.remove(start, end, sealer, tally);
        }
    }

    /// The group of a series, locked until a series comes that stands in another group of the same half; with what is counted.
    #[inline]
    fn group(&mut self, series: SeriesRef) -> (&mut Group, &mut Tally, &mut Written) {
        let Self { head, boundary, seal_at, held, written, tally, .. } = self;
        let number = group_of(series);
        let held = &mut held[half_of(series)];
        if held.as_ref().is_none_or(|held| held.number != number) {
            if let Some(held) = held.take() {
                held.release(tally);
            }
            let mut next = Held::new(number, head.group_or_new(number, *boundary));
            next.group.sealer.seal_at = *seal_at;
            *held = Some(next);
        }
        (&mut held.as_mut().expect("it was just put there").group, tally, written)
    }

    /// Lets all locks go.
    fn let_go(&mut self) -> Tally {
        for held in self.held.iter_mut().filter_map(Option::take) {
            held.release(&mut self.tally);
        }
        self.tally
    }

    /// Adds everything up. Answers what was written, and the earliest time of it.
    fn settle(mut self) -> (Written, i64) {
        let tally = self.let_go();
        self.head.add(&tally);
        self.head.min_time.fetch_min(self.min_time, Relaxed);
        self.head.max_time.fetch_max(self.max_time, Relaxed);
        (self.written, self.min_time)
    }
}

/// What is not simply appended.
#[cold]
fn late(written: &mut Written, outcome: Outcome, (series, time, value): (SeriesRef, i64, f64)) {
    match outcome {
        Outcome::Appended => written.stored += 1,
        Outcome::Late => {
            written.stored += 1;
            written.out_of_order += 1;
        }
        Outcome::Duplicate => written.duplicates += 1,
        Outcome::Conflict { old, replaced } => {
            written.conflicts += 1;
            written.first_conflict.get_or_insert_with(|| conflict(series, time, value, old, replaced));
        }
    }
}

#[cold]
fn conflict(series: SeriesRef, time: i64, value: f64, old: u64, replaced: bool) -> Conflict {
    let old = f64::from_bits(old);
    let (kept, other) = if replaced { (value, old) } else { (old, value) };
    Conflict { series, timestamp: Timestamp::from_millis(time), kept, other }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::series::beats;

    fn batch(series: u32, times: std::ops::Range<i64>) -> Vec<BatchSample> {
        times
            .map(|time| {
                (SeriesRef::new(series, series), Timestamp::from_millis(time * 1000), (time * 17 % 13) as f64)
            })
            .collect()
    }

    #[test]
    fn the_estimate_follows_what_is_added_and_dropped() {
        let head = Head::new();
        for series in 0..50 {
            head.apply(Position::default(), &batch(series, 0..2000), &[], i64::MIN);
        }
        assert_eq!((head.samples(), head.min_time(), head.max_time()), (100_000, Some(0), Some(1_999_000)));
        let full = head.bytes();
        head.raise_floor(1_440_000);
        let swept = head.sweep();
        assert_eq!(swept.samples, 50 * 1440);
        assert_eq!((head.samples(), head.bytes()), (100_000 - swept.samples, full - swept.bytes));
        head.raise_floor(2_000_000);
        head.sweep();
        assert_eq!((head.samples(), head.min_time()), (0, None));
        assert_eq!(head.bytes(), PAGE * size_of::<Series>());
    }

    #[test]
    fn what_is_below_the_floor_is_counted_and_not_stored() {
        let head = Head::new();
        assert!(head.raise_floor(5_000));
        assert!(!head.raise_floor(4_000), "the floor never falls");
        let written = head.apply(Position::default(), &batch(1, 0..10), &[], i64::MIN);
        assert_eq!(written, Written { stored: 5, too_old: 5, ..Written::default() });
    }

    #[test]
    fn what_a_replay_leaves_open_is_sealed_by_upkeep_or_by_the_next_sample() {
        let samples: Vec<(i64, f64)> = (0..700).map(|time| (time * 1000, (time * 17 % 13) as f64)).collect();
        let of = |slot| SeriesRef::new(slot, slot);
        let replayed = |lazy_below| {
            let head = Head::new();
            for slot in [1, 2] {
                head.apply_half(0, lazy_below, [(of(slot), &samples[..])].into_iter(), std::iter::empty());
            }
            head
        };
        assert_eq!(replayed(0).chunks(), 2 * 3);
        let head = replayed(usize::MAX);
        assert_eq!(head.chunks(), 2);
        head.apply(Position::default(), &batch(1, 700..701), &[], i64::MIN);
        assert_eq!(head.chunks(), 3 + 1);
        head.seal_long();
        assert_eq!(head.chunks(), 3 + 3);
        for (slot, count) in [(1, 701), (2, 700)] {
            let series = head.get(of(slot)).expect("it was written");
            let expected: BTreeMap<i64, u64> = batch(slot, 0..count)
                .into_iter()
                .map(|(_, time, value)| (time.as_millis(), value.to_bits()))
                .collect();
            assert_eq!(read(&series), expected);
            assert_eq!(series.open.len(), 0);
        }
        let bytes: usize =
            [1, 2].map(|slot| head.get(of(slot)).map_or(0, |series| series.heap_bytes())).iter().sum();
        assert_eq!(head.bytes(), bytes + PAGE * size_of::<Series>());
    }

    /// What readers see of a series, as [`crate::select`] puts it together.
    fn read(series: &Series) -> BTreeMap<i64, u64> {
        let (mut columns, mut late) = (Columns::default(), Vec::new());
        for chunk in series.sealed().iter().flat_map(|sealed| sealed.iter()) {
            chunk.decode(&mut columns);
        }
        series.open.decode(&mut columns);
        let times = columns.timestamps.iter().map(|time| time.as_millis());
        let mut all: BTreeMap<_, _> = times.zip(columns.values.iter().map(|value| value.to_bits())).collect();
        assert_eq!(all.len(), columns.len(), "no time stands in two chunks");
        let replaces = series.copy_late(i64::MIN, i64::MAX, &mut late);
        for (time, bits) in late {
            let old = all.insert(time, bits);
            assert!(old.is_none_or(|old| replaces && beats(f64::from_bits(bits), f64::from_bits(old))));
        }
        all
    }

    const SPAN: i64 = 300;

    type Plain = BTreeMap<(u32, i64), u64>;

    fn put(plain: &mut Plain, at: (u32, i64), bits: u64) {
        let have = plain.entry(at).or_insert(bits);
        if beats(f64::from_bits(bits), f64::from_bits(*have)) {
            *have = bits;
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Write(Vec<(u32, i64, f64)>),
        Freeze(i64),
        Drop,
        Delete(u32, i64, i64),
        Sweep(i64),
    }

    fn any_step() -> impl Strategy<Value = Step> {
        let sample = (0..3u32, 0..1500i64, prop_oneof![(0..4i32).prop_map(f64::from), Just(f64::NAN)]);
        let run = (0..3u32, 0..1200i64, 1..400i64, 1..4i64);
        let run = run.prop_map(|(series, from, count, step)| {
            (0..count).map(|i| (series, from + i * step, (i % 5) as f64)).collect()
        });
        prop_oneof![
            4 => proptest::collection::vec(sample, 1..200).prop_map(Step::Write),
            4 => run.prop_map(Step::Write),
            2 => (0..1800i64).prop_map(Step::Freeze),
            1 => (0..5i64).prop_map(|cell| Step::Freeze(cell * SPAN)),
            2 => Just(Step::Drop),
            2 => (0..3u32, 0..1500i64, 0..400i64).prop_map(|(series, from, long)| Step::Delete(series, from, from + long)),
            1 => (0..500i64).prop_map(Step::Sweep),
        ]
    }

    /// A head with blocks that are plain maps.
    struct Store {
        head: Head,
        blocks: Plain,
        /// What was frozen, as it stands in blocks that are not published yet.
        taken: Plain,
        position: u64,
    }

    impl Store {
        fn at(&mut self) -> Position {
            self.position += 1;
            Position { segment: 1, offset: self.position }
        }

        fn freeze(&mut self, boundary: i64) {
            let before = self.head.frozen();
            let frozen = self.head.freeze(boundary);
            if before.is_some() {
                assert_eq!(before, Some(frozen), "what is frozen stays so");
                return;
            }
            let now = Position { segment: u64::from(self.position > 0), offset: self.position };
            assert_eq!(frozen, Checkpoint { position: now, boundary });
            for series in 0..3 {
                let (mut columns, mut histograms) = (Columns::default(), Vec::new());
                self.head.read_frozen(
                    SeriesRef::new(series, series),
                    boundary,
                    &mut columns,
                    &mut histograms,
                );
                assert!(columns.timestamps.windows(2).all(|pair| pair[0] < pair[1]));
                for sample in columns.iter() {
                    assert!(sample.timestamp.as_millis() < boundary);
                    if sample.timestamp.as_millis() < self.head.floor() {
                        continue; // a chunk that reaches below it
                    }
                    self.taken.insert((series, sample.timestamp.as_millis()), sample.value.to_bits());
                }
            }
        }

        fn take(&mut self, step: &Step, plain: &mut Plain) {
            match step {
                Step::Write(samples) => {
                    let at = self.at();
                    let batch: Vec<BatchSample> = samples
                        .iter()
                        .map(|&(series, time, value)| {
                            (SeriesRef::new(series, series), Timestamp::from_millis(time), value)
                        })
                        .collect();
                    self.head.apply(at, &batch, &[], i64::MIN);
                    let floor = self.head.floor();
                    for &(series, time, value) in samples.iter().filter(|sample| sample.1 >= floor) {
                        put(plain, (series, time), value.to_bits());
                    }
                }
                Step::Freeze(boundary) => self.freeze(*boundary),
                Step::Drop => {
                    for (at, bits) in std::mem::take(&mut self.taken) {
                        put(&mut self.blocks, at, bits);
                    }
                    self.head.drop_frozen();
                }
                Step::Delete(series, start, end) => {
                    let at = self.at();
                    self.head.delete(
                        at,
                        [SeriesRef::new(*series, *series), SeriesRef::new(9, 9)],
                        *start,
                        *end,
                    );
                    for map in [&mut self.blocks, &mut self.taken, plain] {
                        map.retain(|&(of, time), _| of != *series || time < *start || time > *end);
                    }
                }
                Step::Sweep(floor) => {
                    self.head.raise_floor(*floor);
                    self.head.sweep();
                    let floor = self.head.floor();
                    for map in [&mut self.blocks, &mut self.taken, plain] {
                        map.retain(|&(_, time), _| time >= floor);
                    }
                }
            }
        }

        fn check(&self, plain: &Plain) {
            let (mut all, mut count, mut bytes, mut first) = (self.blocks.clone(), 0, 0, i64::MAX);
            for id in 0..3 {
                let Some(series) = self.head.get(SeriesRef::new(id, id)) else { continue };
                let samples = read(&series).into_iter().filter(|(time, _)| *time >= self.head.floor());
                samples.for_each(|(time, bits)| put(&mut all, (id, time), bits));
                count += series.count();
                bytes += series.heap_bytes();
                first = first.min(series.first().unwrap_or(i64::MAX));
            }
            assert_eq!(&all, plain);
            assert_eq!(self.head.samples(), count);
            let group = self.head.group(0).expect("made by the first batch").read();
            let pages = group.pages.len() * PAGE * size_of::<Series>();
            assert_eq!(self.head.bytes(), bytes + group.sealer.bytes() + pages);
            assert!(self.head.min_time().is_none_or(|min| min <= first.max(self.head.floor())));
        }
    }

    #[test]
    fn histograms_freeze_and_drop_as_samples_do() {
        let head = Head::new();
        let series = SeriesRef::new(1, 1);
        let mut position = 0;
        let mut apply = |time: i64, bytes: &[u8]| {
            position += 1;
            let histograms = [(series, Timestamp::from_millis(time), Arc::from(bytes))];
            head.apply(Position { segment: 1, offset: position }, &[], &histograms, i64::MIN)
        };
        let stored = Written { histograms: 1, ..Written::default() };
        let late = Written { histograms: 1, out_of_order: 1, ..Written::default() };
        let duplicate = Written { duplicates: 1, ..Written::default() };
        let conflict = Written { conflicts: 1, ..Written::default() };
        assert_eq!([apply(10, b"b"), apply(20, b"b"), apply(5, b"x")], [stored, stored, late]);
        assert_eq!([apply(10, b"b"), apply(10, b"a"), apply(10, b"c")], [duplicate, conflict, conflict]);
        let frozen = head.freeze(15);
        assert_eq!([apply(10, b"c"), apply(10, b"b"), apply(10, b"d")], [duplicate, conflict, conflict]);
        assert_eq!([apply(7, b"n"), apply(30, b"m")], [late, stored]);
        let texts = |histograms: Vec<(Timestamp, Arc<[u8]>)>| -> Vec<(i64, String)> {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            histograms.into_iter().map(|(time, bytes)| (time.as_millis(), text(&bytes))).collect()
        };
        let all = || {
            let mut all = Vec::new();
            head.get(series).expect("it is there").copy_histograms(0, 25, &mut all);
            texts(all)
        };
        let expected = [(5, "x"), (7, "n"), (10, "d"), (20, "b")].map(|(time, text)| (time, text.to_owned()));
        assert_eq!(all(), expected);
        let (mut columns, mut histograms) = (Columns::default(), Vec::new());
        head.read_frozen(series, frozen.boundary, &mut columns, &mut histograms);
        assert_eq!(texts(histograms), [(5, "x".to_owned()), (10, "c".to_owned())]);
        assert_eq!(head.drop_frozen().histograms, 2);
        assert_eq!(all(), expected[1..]);
        assert_eq!(head.histograms(), 4);
        let removed = head.delete(Position { segment: 2, offset: 0 }, [series], 8, 30);
        assert_eq!((removed.histograms, head.histograms()), (3, 1));
        assert_eq!(all(), expected[1..2]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]

        #[test]
        fn head_and_blocks_together_equal_a_plain_map(steps in proptest::collection::vec(any_step(), 1..40)) {
            let mut store = Store { head: Head::new(), blocks: Plain::new(), taken: Plain::new(), position: 0 };
            let mut plain = Plain::new();
            store.take(&Step::Write(vec![(0, 700, 1.0)]), &mut plain);
            for step in &steps {
                store.take(step, &mut plain);
                store.check(&plain);
            }
        }
    }
}
