//! The union of many lists of ids: gathered one by one while they are few, as bits once that takes no more memory.

use std::ops::Range;

use roaring::RoaringBitmap;

/// Gathers ids below a bound, in any order.
#[derive(Debug)]
pub(crate) struct Union {
    /// One past the largest id.
    universe: u32,
    few: Vec<u32>,
    bits: Vec<u8>,
    sets: RoaringBitmap,
}

impl Union {
    pub(crate) fn new(universe: u32) -> Self {
        Self { universe, few: Vec::new(), bits: Vec::new(), sets: RoaringBitmap::new() }
    }

    /// Adds an id; those that are not below the bound are left out.
    #[inline]
    pub(crate) fn add(&mut self, id: u32) {
        if id >= self.universe {
            return;
        }
        if !self.bits.is_empty() {
            self.bits[id as usize / 8] |= 1 << (id % 8);
            return;
        }
        self.few.push(id);
        if self.few.len() > self.universe as usize / 32 + 64 {
            self.turn_to_bits();
        }
    }

    /// Adds a run of ids.
    #[inline]
    pub(crate) fn add_run(&mut self, run: Range<u32>) {
        if run.len() == 1 {
            return self.add(run.start);
        }
        self.add_long(run.start..run.end.min(self.universe));
    }

    fn add_long(&mut self, run: Range<u32>) {
        if run.len() < 64 {
            run.for_each(|id| self.add(id));
            return;
        }
        self.sets.insert_range(run);
    }

    /// Adds a set.
    pub(crate) fn add_set(&mut self, mut set: RoaringBitmap) {
        if set.max().is_some_and(|max| max >= self.universe) {
            set.remove_range(self.universe..);
        }
        if self.sets.is_empty() {
            self.sets = set;
        } else {
            self.sets |= set;
        }
    }

    #[cold]
    fn turn_to_bits(&mut self) {
        self.bits = vec![0; (self.universe as usize).div_ceil(8)];
        for id in std::mem::take(&mut self.few) {
            self.bits[id as usize / 8] |= 1 << (id % 8);
        }
    }

    /// All ids.
    pub(crate) fn finish(mut self) -> RoaringBitmap {
        let mut all = if self.bits.is_empty() {
            self.few.sort_unstable();
            self.few.dedup();
            RoaringBitmap::from_sorted_iter(self.few).expect("they are sorted and each stands once")
        } else {
            RoaringBitmap::from_lsb0_bytes(0, &self.bits)
        };
        if !self.sets.is_empty() {
            all |= self.sets;
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn check(universe: u32, runs: &[(u32, u32)], set: &BTreeSet<u32>) {
        let mut union = Union::new(universe);
        let mut expected: BTreeSet<u32> = set.iter().copied().filter(|id| *id < universe).collect();
        for &(start, length) in runs {
            union.add_run(start..start + length);
            expected.extend((start..start + length).filter(|id| *id < universe));
        }
        union.add_set(set.iter().copied().collect());
        assert!(union.finish().iter().eq(expected));
    }

    proptest! {
        #[test]
        fn a_union_holds_what_was_added(
            universe in 1..5000u32,
            runs in proptest::collection::vec((0..5000u32, 1..100u32), 0..200),
            set in proptest::collection::btree_set(0..6000u32, 0..20),
        ) {
            check(universe, &runs, &set);
        }
    }
}
