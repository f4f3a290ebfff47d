//! The union of many lists of ids: gathered one by one while they are few, as bits once that takes no more memory.

use std::ops::Range;

use roaring::RoaringBitmap;

use super::list::take_run;
use crate::varint::Cursor;

/// The mean distance from which on the ids of a set are added one by one.
const FAR_APART: u32 = 64;

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

    /// Adds packed runs (see [`super::list`]); `None` where they are damaged.
    pub(crate) fn add_packed(&mut self, packed: &[u8]) -> Option<()> {
        let (mut cursor, mut end) = (Cursor::new(packed), 0);
        while !cursor.is_empty() {
            if !self.bits.is_empty() {
                self.add_short(&mut cursor, &mut end);
                if cursor.is_empty() {
                    break;
                }
            }
            let (start, length) = take_run(&mut cursor, end)?;
            end = start + length;
            self.add_run(start..end);
        }
        Some(())
    }

    /// Adds single ids behind `end` for as long as their distances take one byte or two: nearly all of those that a value has which
    /// many metrics bear.
    fn add_short(&mut self, cursor: &mut Cursor<'_>, end: &mut u32) {
        let (mut next, mut packed) = (*end, cursor.take_rest());
        loop {
            let (token, rest) = match *packed {
                [low @ ..0x80, ref rest @ ..] => (u32::from(low), rest),
                [low, high @ ..0x80, ref rest @ ..] => (u32::from(low & 0x7f) | u32::from(high) << 7, rest),
                _ => break,
            };
            if token & 1 == 1 || next >= self.universe.min(u32::MAX / 2) {
                break; // a longer run, or where adding must be checked
            }
            let id = next + token / 2;
            if id < self.universe {
                self.bits[id as usize / 8] |= 1 << (id % 8);
            }
            next = id + 1;
            packed = rest;
        }
        (*end, *cursor) = (next, Cursor::new(packed));
    }

    /// Adds a set.
    pub(crate) fn add_set(&mut self, mut set: RoaringBitmap) {
        if set.max().is_some_and(|max| max >= self.universe) {
            set.remove_range(self.universe..);
        }
        // Where ids lie far apart, merging them into sorted arrays again and again costs more than setting their bits.
        if set.len() <= u64::from(self.universe / FAR_APART) {
            set.iter().for_each(|id| self.add(id));
            return;
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
    use crate::index::list::put_run;

    #[test]
    fn packed_runs_are_added_as_plain_ones_are() {
        for universe in [1, 700, 30_000, 1 << 20] {
            let (mut union, mut expected) = (Union::new(universe), BTreeSet::new());
            for step in [1, 2, 63, 64, 65, 8191, 8192, 70_000] {
                let (mut packed, mut end) = (Vec::new(), 0);
                for at in 0..40_000 / step {
                    let (start, length) = (at * step, 1 + u32::from(at % 50 == 49 && step > 1));
                    put_run(&mut packed, end, start, length);
                    end = start + length;
                    expected.extend((start..end).filter(|id| *id < universe));
                }
                assert_eq!(union.add_packed(&packed), Some(()));
            }
            assert_eq!(union.add_packed(&[0x80]), None, "a number that does not end");
            assert!(union.finish().iter().eq(expected));
        }
    }

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
