//! The samples in memory: one lock over all series' chunks, held for as long as one batch takes to apply.
//!
//! In: batches, on the journal's thread only (and on the opener's, during replay). Out: copies for readers, taken under the
//! read lock, so that a reader sees a batch whole or not at all and never holds the lock while it decodes.
//!
//! The floor is the time before which nothing is kept: retention and the bounds on memory and disk raise it, nothing lowers
//! it. Chunks that lie wholly below go in a sweep; what is left below within a chunk is hidden from readers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering::Relaxed};

use model::Timestamp;
use parking_lot::{Mutex, RwLock, RwLockReadGuard};

use crate::SeriesRef;
use crate::chunk::Sealer;
use crate::record::BatchSample;
use crate::series::{Outcome, Series};

/// Series per page of slots: pages neither move nor are copied when the table grows.
const PAGE: usize = 1024;

/// Ages are told apart in steps of this many milliseconds when memory must be freed.
const AGE_STEP_MS: i64 = 60_000;

/// An open chunk that got nothing for this long gives spare memory back.
const IDLE_MS: i64 = 3_600_000;

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

/// What became of a batch's samples.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Written {
    /// New samples, out-of-order ones included.
    pub stored: usize,
    /// Of `stored`: those that were older than their series' latest sample.
    pub out_of_order: usize,
    /// Samples that were there already, bit for bit.
    pub duplicates: usize,
    /// Samples whose time had another value; the documented rule chose which stays.
    pub conflicts: usize,
    /// The first of these; none in sums.
    pub first_conflict: Option<Conflict>,
    /// Samples before the floor: the store no longer keeps that time.
    pub too_old: usize,
}

impl Written {
    pub(crate) fn add(&mut self, other: Self) {
        self.stored += other.stored;
        self.out_of_order += other.out_of_order;
        self.duplicates += other.duplicates;
        self.conflicts += other.conflicts;
        self.too_old += other.too_old;
    }
}

#[derive(Debug)]
pub(crate) struct Data {
    pages: Vec<Vec<Series>>,
    sealer: Sealer,
    series_bytes: usize,
    samples: usize,
    /// May lie before what is still there: a sweep finds the true one.
    min_time: i64,
    /// The earliest time that was written since the latest sweep began.
    min_written: i64,
    max_time: i64,
}

#[derive(Debug)]
pub(crate) struct Head {
    data: RwLock<Data>,
    floor: AtomicI64,
    /// As of the last apply or sweep; may be read without the lock.
    bytes: AtomicUsize,
    samples: AtomicUsize,
    min_time: AtomicI64,
    max_time: AtomicI64,
    /// One sweep at a time.
    sweeping: Mutex<()>,
}

/// What a sweep dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Swept {
    pub(crate) samples: usize,
    pub(crate) bytes: usize,
}

impl Data {
    pub(crate) fn get(&self, series: SeriesRef) -> Option<&Series> {
        self.pages.get(series.slot() / PAGE)?.get(series.slot() % PAGE).filter(|have| have.id == series.id())
    }

    /// The series' place, made or taken over if need be.
    fn get_mut(&mut self, series: SeriesRef) -> (&mut Series, &mut Sealer) {
        let (page, at) = (series.slot() / PAGE, series.slot() % PAGE);
        if self.pages.get(page).is_none_or(|page| page.len() <= at) {
            self.grow(page, at);
        }
        let place = &mut self.pages[page][at];
        if place.id != series.id() {
            assert!(place.is_empty(), "a slot is given away only when its series has no samples");
            *place = Series::new(series.id());
        }
        (place, &mut self.sealer)
    }

    #[cold]
    fn grow(&mut self, page: usize, at: usize) {
        while self.pages.len() <= page {
            self.pages.push(Vec::with_capacity(PAGE));
        }
        self.pages[page].resize_with(at + 1, || Series::new(u32::MAX));
    }

    fn bytes(&self) -> usize {
        self.series_bytes + self.sealer.bytes() + self.pages.len() * PAGE * size_of::<Series>()
    }
}

impl Head {
    pub(crate) fn new() -> Self {
        let data = Data {
            pages: Vec::new(),
            sealer: Sealer::default(),
            series_bytes: 0,
            samples: 0,
            min_time: i64::MAX,
            min_written: i64::MAX,
            max_time: i64::MIN,
        };
        Self {
            data: RwLock::new(data),
            floor: AtomicI64::new(i64::MIN),
            bytes: AtomicUsize::new(0),
            samples: AtomicUsize::new(0),
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

    pub(crate) fn samples(&self) -> usize {
        self.samples.load(Relaxed)
    }

    /// The latest time that any sample ever had.
    pub(crate) fn max_time(&self) -> Option<i64> {
        Some(self.max_time.load(Relaxed)).filter(|_| self.samples() > 0)
    }

    /// The earliest time that is readable, or one shortly before it.
    pub(crate) fn min_time(&self) -> Option<i64> {
        Some(self.min_time.load(Relaxed).max(self.floor())).filter(|_| self.samples() > 0)
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Data> {
        self.data.read()
    }

    /// Applies a batch; readers see all of it or nothing.
    pub(crate) fn apply(&self, samples: &[BatchSample]) -> Written {
        let floor = self.floor();
        let (mut written, mut bytes) = (Written::default(), 0isize);
        let mut data = self.data.write();
        let (mut min_written, mut max_time) = (data.min_written, data.max_time);
        for &(series, time, value) in samples {
            let time = time.as_millis();
            if time < floor {
                written.too_old += 1;
                continue;
            }
            min_written = min_written.min(time);
            max_time = max_time.max(time);
            let (place, sealer) = data.get_mut(series);
            match place.push(time, value, sealer, &mut bytes) {
                Outcome::Appended => written.stored += 1,
                Outcome::Late => {
                    written.stored += 1;
                    written.out_of_order += 1;
                }
                Outcome::Duplicate => written.duplicates += 1,
                Outcome::Conflict { old, replaced } => {
                    written.conflicts += 1;
                    written
                        .first_conflict
                        .get_or_insert_with(|| conflict(series, time, value, old, replaced));
                }
            }
        }
        data.min_written = min_written;
        data.min_time = data.min_time.min(min_written);
        data.max_time = max_time;
        data.samples += written.stored;
        data.series_bytes = data.series_bytes.wrapping_add_signed(bytes);
        self.publish(&data);
        written
    }

    fn publish(&self, data: &Data) {
        self.bytes.store(data.bytes(), Relaxed);
        self.samples.store(data.samples, Relaxed);
        self.min_time.store(data.min_time, Relaxed);
        self.max_time.store(data.max_time, Relaxed);
    }

    /// The floor that would free at least so many bytes (or everything).
    pub(crate) fn floor_to_free(&self, bytes: usize) -> i64 {
        let mut ages = BTreeMap::new();
        for page in 0.. {
            let data = self.data.read();
            let Some(page) = data.pages.get(page) else { break };
            for series in page {
                series.ages(|last, bytes| *ages.entry(last.div_euclid(AGE_STEP_MS)).or_insert(0) += bytes);
            }
        }
        let mut freed = 0;
        for (step, bytes_of_step) in ages {
            freed += bytes_of_step;
            if freed >= bytes {
                return step.saturating_add(1).saturating_mul(AGE_STEP_MS);
            }
        }
        self.max_time.load(Relaxed).saturating_add(1)
    }

    /// Drops what lies below the floor, page by page, so that neither writer nor readers wait for long.
    pub(crate) fn sweep(&self) -> Swept {
        let _alone = self.sweeping.lock();
        let floor = self.floor();
        let mut swept = Swept::default();
        let mut min_time = i64::MAX;
        self.data.write().min_written = i64::MAX; // from now on: what this walk may have passed already
        for page in 0.. {
            let mut data = self.data.write();
            let idle_before = data.max_time.saturating_sub(IDLE_MS);
            let Some(series_of_page) = data.pages.get_mut(page) else { break };
            let (mut dropped, mut freed) = (0, 0);
            for series in series_of_page {
                let before = series.heap_bytes();
                dropped += series.sweep(floor, idle_before);
                freed += before - series.heap_bytes();
                min_time = series.span().map_or(min_time, |span| min_time.min(span.0));
            }
            data.samples -= dropped;
            data.series_bytes -= freed;
            swept.samples += dropped;
            swept.bytes += freed;
            self.bytes.store(data.bytes(), Relaxed);
        }
        let mut data = self.data.write();
        data.min_time = data.min_written.min(min_time);
        data.sealer.sweep();
        self.publish(&data);
        swept
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
    use super::*;

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
            head.apply(&batch(series, 0..2000));
        }
        assert_eq!((head.samples(), head.min_time(), head.max_time()), (100_000, Some(0), Some(1_999_000)));
        let full = head.bytes();
        head.raise_floor(head.floor_to_free(50_000));
        let swept = head.sweep();
        assert!(swept.bytes >= 45_000, "{swept:?}");
        assert_eq!(head.samples(), 100_000 - swept.samples);
        assert!(head.bytes() <= full - 45_000);
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
        let written = head.apply(&batch(1, 0..10));
        assert_eq!(written, Written { stored: 5, too_old: 5, ..Written::default() });
    }
}
