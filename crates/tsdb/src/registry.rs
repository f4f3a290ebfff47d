//! Which series there are: labels to reference and back.
//!
//! A series has an id that is never used twice (the index lists ids) and a slot that is (the head's samples lie in slots, so that
//! memory follows the living series). A [`SeriesRef`] holds both, so that an old reference to a slot that has another series
//! by now is found out.
//!
//! Series without samples are forgotten, but never one that a write is on its way to: writes stamp their series with the
//! present *epoch*, the epoch moves on only when all writes of the one before it have ended, and only series last stamped two
//! epochs ago may go.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};

use hashbrown::HashTable;
use model::Labels;

use crate::error::LimitError;
use crate::index::Index;

/// Estimated bytes of memory for a series beside its labels' bytes and its place in the index.
const SERIES_BYTES: usize = 96;

/// How many series may be added.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    pub(crate) series_max: usize,
    /// Half of it is for labels and index.
    pub(crate) bytes_max: usize,
}

impl Room {
    pub(crate) const UNBOUNDED: Self = Self { series_max: usize::MAX, bytes_max: usize::MAX };
}

/// Slots without a series bear this id.
const NOBODY: u32 = u32::MAX;

/// Names a series for as long as the store knows it; never used for another one. Callers may keep it until
/// [`crate::Store::generation`] changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct SeriesRef(u64);

impl SeriesRef {
    pub(crate) const fn new(id: u32, slot: u32) -> Self {
        Self((id as u64) << 32 | slot as u64)
    }

    pub(crate) const fn id(self) -> u32 {
        (self.0 >> 32) as u32
    }

    pub(crate) const fn slot(self) -> usize {
        self.0 as u32 as usize
    }

    /// The reference as a number, for caches and logs.
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

#[derive(Debug)]
struct Slot {
    labels: Labels,
    id: u32,
    touched: AtomicU32,
}

/// What the table of labels holds of a series: with its hash, so that labels are looked at only where they are probably equal, and not at
/// all when the table grows. The labels stand in the slot, once.
#[derive(Debug)]
struct Named {
    hash: u32,
    slot: u32,
}

/// The table wants 64 bits.
const fn spread(hash: u32) -> u64 {
    (hash as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl Named {
    const fn spread(&self) -> u64 {
        spread(self.hash)
    }
}

/// Writes on their way, by the epoch in which they were accepted.
#[derive(Debug, Default)]
pub(crate) struct InFlight([AtomicUsize; 4]);

impl InFlight {
    fn of(&self, epoch: u32) -> &AtomicUsize {
        &self.0[epoch as usize % self.0.len()]
    }

    /// A write that [`Registry::accept`] counted has ended.
    pub(crate) fn ended(&self, epoch: u32) {
        let before = self.of(epoch).fetch_sub(1, std::sync::atomic::Ordering::AcqRel);
        debug_assert!(before > 0, "a write ends once");
    }
}

#[derive(Debug)]
pub(crate) struct Registry {
    by_labels: HashTable<Named>,
    hasher: ahash::RandomState,
    slots: Vec<Slot>,
    free: Vec<u32>,
    slot_of: IdPages,
    pub(crate) index: Index,
    next_id: u32,
    epoch: u32,
    labels_bytes: usize,
}

impl Registry {
    pub(crate) fn new() -> Self {
        Self {
            by_labels: HashTable::new(),
            hasher: ahash::RandomState::new(),
            slots: Vec::new(),
            free: Vec::new(),
            slot_of: IdPages::default(),
            index: Index::default(),
            next_id: 0,
            epoch: 2,
            labels_bytes: 0,
        }
    }

    /// Number of series.
    pub(crate) fn len(&self) -> usize {
        self.by_labels.len()
    }

    /// Estimated bytes of memory.
    pub(crate) fn bytes(&self) -> usize {
        self.by_labels.len() * SERIES_BYTES + self.labels_bytes + self.index.bytes()
    }

    /// Finds a series by [`Labels::as_bytes`].
    pub(crate) fn find(&self, labels: &[u8]) -> Option<SeriesRef> {
        let hash = self.hash(labels);
        let equals =
            |named: &Named| named.hash == hash && self.slots[named.slot as usize].labels.as_bytes() == labels;
        let slot = self.by_labels.find(spread(hash), equals)?.slot;
        let series = SeriesRef::new(self.slots[slot as usize].id, slot);
        self.touch(series);
        Some(series)
    }

    fn hash(&self, labels: &[u8]) -> u32 {
        self.hasher.hash_one(labels) as u32
    }

    fn touch(&self, series: SeriesRef) {
        let touched = &self.slots[series.slot()].touched;
        if touched.load(Relaxed) != self.epoch {
            touched.store(self.epoch, Relaxed);
        }
    }

    /// Finds or adds a series.
    pub(crate) fn resolve(&mut self, labels: &Labels, room: Room) -> Result<SeriesRef, LimitError> {
        if let Some(series) = self.find(labels.as_bytes()) {
            return Ok(series);
        }
        if self.len() >= room.series_max {
            return Err(LimitError::TooManySeries { limit: room.series_max, series: labels.to_string() });
        }
        if self.bytes() > room.bytes_max / 2 {
            let (count, bytes_max) = (self.len(), room.bytes_max);
            return Err(LimitError::NoMemory { count, bytes_max, series: labels.to_string() });
        }
        if self.next_id == NOBODY {
            return Err(LimitError::IdsUsedUp { series: labels.to_string() });
        }
        let id = self.next_id;
        self.next_id += 1;
        let slot = Slot { labels: labels.clone(), id, touched: AtomicU32::new(self.epoch) };
        let at = match self.free.pop() {
            Some(at) => {
                self.slots[at as usize] = slot;
                at
            }
            None => {
                self.slots.push(slot);
                self.slots.len() as u32 - 1
            }
        };
        let series = SeriesRef::new(id, at);
        self.slot_of.set(id, at);
        self.index.add(id, labels);
        self.labels_bytes += labels.as_bytes().len();
        let named = Named { hash: self.hash(labels.as_bytes()), slot: at };
        self.by_labels.insert_unique(named.spread(), named, Named::spread);
        Ok(series)
    }

    /// Labels of a series that is known.
    pub(crate) fn labels(&self, series: SeriesRef) -> Option<&Labels> {
        self.slots.get(series.slot()).filter(|slot| slot.id == series.id()).map(|slot| &slot.labels)
    }

    /// Labels of a series whose id stands in the index.
    pub(crate) fn labels_by_id(&self, id: u32) -> &Labels {
        &self.slots[self.slot_of.get(id) as usize].labels
    }

    /// The reference of a series whose id stands in the index.
    pub(crate) fn by_id(&self, id: u32) -> SeriesRef {
        SeriesRef::new(id, self.slot_of.get(id))
    }

    /// Stamps a series that a write is about to be accepted for, if it is known, and answers the length of its labels. The caller
    /// holds this lock until [`Registry::count_in`].
    #[inline]
    pub(crate) fn touch_known(&self, series: SeriesRef) -> Option<usize> {
        let slot = self.slots.get(series.slot()).filter(|slot| slot.id == series.id())?;
        self.touch(series);
        Some(slot.labels.as_bytes().len())
    }

    /// Counts a write in: no series stamped for it is forgotten until [`InFlight::ended`]. Answers the epoch.
    pub(crate) fn count_in(&self, in_flight: &InFlight) -> u32 {
        in_flight.of(self.epoch).fetch_add(1, Relaxed);
        self.epoch
    }

    /// Moves to the next epoch, unless writes of the one before this one are still on their way.
    pub(crate) fn next_epoch(&mut self, in_flight: &InFlight) {
        if in_flight.of(self.epoch - 1).load(std::sync::atomic::Ordering::Acquire) == 0 {
            self.epoch += 1;
        }
    }

    /// Series, out of a range of slots, that no write is on its way to.
    pub(crate) fn at_rest(&self, slots: std::ops::Range<usize>) -> impl Iterator<Item = SeriesRef> {
        let slots_end = slots.end.min(self.slots.len());
        (slots.start..slots_end).filter_map(|at| {
            let slot = &self.slots[at];
            let rests = slot.id != NOBODY && slot.touched.load(Relaxed) + 2 <= self.epoch;
            rests.then(|| SeriesRef::new(slot.id, at as u32))
        })
    }

    /// Number of slots, free ones included.
    pub(crate) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Forgets series that are at rest and for which `empty` says that they hold no sample. Returns how many went.
    pub(crate) fn forget(&mut self, candidates: &[SeriesRef], empty: impl Fn(SeriesRef) -> bool) -> usize {
        let mut gone = Vec::new();
        for &series in candidates {
            let slot = &mut self.slots[series.slot()];
            if slot.id != series.id() || slot.touched.load(Relaxed) + 2 > self.epoch || !empty(series) {
                continue;
            }
            let labels = std::mem::take(&mut slot.labels);
            slot.id = NOBODY;
            let hash = self.hasher.hash_one(labels.as_bytes()) as u32;
            let at = series.slot() as u32;
            if let Ok(named) = self.by_labels.find_entry(spread(hash), |named| named.slot == at) {
                named.remove();
            }
            self.labels_bytes -= labels.as_bytes().len();
            self.slot_of.clear(series.id());
            self.free.push(series.slot() as u32);
            gone.push((series.id(), labels));
        }
        gone.sort_unstable_by_key(|(id, _)| *id);
        self.index.remove(&gone);
        gone.len()
    }
}

/// Slots by id, in pages that go when all their ids are gone.
#[derive(Debug, Default)]
struct IdPages {
    pages: Vec<Option<Box<Page>>>,
}

#[derive(Debug)]
struct Page {
    slots: [u32; Page::IDS],
    used: u32,
}

impl Page {
    const IDS: usize = 128;
}

impl IdPages {
    fn get(&self, id: u32) -> u32 {
        let page = self.pages[id as usize / Page::IDS].as_ref().expect("an id of the index has its page");
        page.slots[id as usize % Page::IDS]
    }

    fn set(&mut self, id: u32, slot: u32) {
        let at = id as usize / Page::IDS;
        if self.pages.len() <= at {
            self.pages.resize_with(at + 1, || None);
        }
        let page =
            self.pages[at].get_or_insert_with(|| Box::new(Page { slots: [NOBODY; Page::IDS], used: 0 }));
        page.slots[id as usize % Page::IDS] = slot;
        page.used += 1;
    }

    fn clear(&mut self, id: u32) {
        let page = &mut self.pages[id as usize / Page::IDS];
        if let Some(used) = page {
            used.slots[id as usize % Page::IDS] = NOBODY;
            used.used -= 1;
            if used.used == 0 {
                *page = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(value: &str) -> Labels {
        Labels::from_pairs([("__name__", "up"), ("instance", value)])
    }

    fn room(series_max: usize) -> Room {
        Room { series_max, ..Room::UNBOUNDED }
    }

    #[test]
    fn labels_take_at_most_half_of_the_memory() {
        let mut registry = Registry::new();
        let room = Room { bytes_max: 3000, ..Room::UNBOUNDED };
        let added = (0..100).take_while(|i| registry.resolve(&labels(&i.to_string()), room).is_ok()).count();
        assert!((2..10).contains(&added), "{added}");
        let refused = registry.resolve(&labels("x"), room).expect_err("no memory").to_string();
        assert!(refused.contains(r#"up{instance="x"}"#) && refused.contains("3000 bytes"), "{refused}");
    }

    #[test]
    fn a_series_is_made_once_and_refused_past_the_limit_by_name() {
        let mut registry = Registry::new();
        let a = registry.resolve(&labels("a"), room(1)).expect("room for one");
        assert_eq!(registry.resolve(&labels("a"), room(1)), Ok(a));
        let refused = registry.resolve(&labels("b"), room(1)).expect_err("no room").to_string();
        assert!(refused.contains(r#"up{instance="b"}"#), "{refused}");
        assert_eq!(registry.labels(a), Some(&labels("a")));
        assert_eq!(registry.find(labels("a").as_bytes()), Some(a));
    }

    #[test]
    fn a_series_is_forgotten_only_when_no_write_is_on_its_way() {
        let (mut registry, in_flight) = (Registry::new(), InFlight::default());
        let a = registry.resolve(&labels("a"), room(10)).expect("room");
        assert!(registry.touch_known(a).is_some());
        let epoch = registry.count_in(&in_flight);
        for _ in 0..5 {
            registry.next_epoch(&in_flight);
        }
        assert_eq!(registry.forget(&[a], |_| true), 0, "a write is on its way");
        in_flight.ended(epoch);
        for _ in 0..5 {
            registry.next_epoch(&in_flight);
        }
        assert_eq!(registry.at_rest(0..10).collect::<Vec<_>>(), [a]);
        assert_eq!(registry.forget(&[a], |_| false), 0, "it holds samples");
        assert_eq!(registry.forget(&[a], |_| true), 1);
        assert_eq!((registry.len(), registry.bytes()), (0, 0));
        assert_eq!(registry.touch_known(a), None);
    }

    #[test]
    fn a_slot_is_used_again_and_a_reference_is_not() {
        let (mut registry, in_flight) = (Registry::new(), InFlight::default());
        let a = registry.resolve(&labels("a"), room(10)).expect("room");
        for _ in 0..3 {
            registry.next_epoch(&in_flight);
        }
        registry.forget(&[a], |_| true);
        let b = registry.resolve(&labels("b"), room(10)).expect("room");
        assert_eq!(a.slot(), b.slot());
        assert_ne!(a, b);
        assert_eq!(registry.labels(a), None);
        let again = registry.resolve(&labels("a"), room(10)).expect("room");
        assert_ne!(again, a);
    }
}
