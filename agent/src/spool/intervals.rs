//! A set of batch numbers as ranges: what is done with.

use std::collections::BTreeMap;

/// The most ranges that are kept. Past it the lowest is forgotten: its batches, if they are still there, are sent once more.
pub(crate) const RANGES_MAX: usize = 4096;

/// Ranges of numbers, both ends inclusive, apart from each other by at least one number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Intervals(BTreeMap<u64, u64>);

impl Intervals {
    /// Adds the numbers `first..=last`.
    pub(crate) fn insert(&mut self, first: u64, last: u64) {
        debug_assert!(first <= last, "a range begins before it ends");
        let (mut first, mut last) = (first, last);
        while let Some((&low, &high)) = self.0.range(..=last.saturating_add(1)).next_back() {
            if high.saturating_add(1) < first {
                break;
            }
            first = first.min(low);
            last = last.max(high);
            self.0.remove(&low);
        }
        self.0.insert(first, last);
        if self.0.len() > RANGES_MAX {
            self.0.pop_first();
        }
    }

    /// The range that holds a number.
    pub(crate) fn range_around(&self, number: u64) -> Option<(u64, u64)> {
        let (&first, &last) = self.0.range(..=number).next_back()?;
        (last >= number).then_some((first, last))
    }

    /// Whether all of `first..=last` are in the set.
    pub(crate) fn covers(&self, first: u64, last: u64) -> bool {
        self.range_around(first).is_some_and(|(_, high)| high >= last)
    }

    /// How many of `first..=last` are in the set.
    pub(crate) fn count_within(&self, first: u64, last: u64) -> u64 {
        let from = self.range_around(first).map_or(first, |(low, _)| low);
        let ranges = self.0.range(from..=last);
        ranges.map(|(&low, &high)| high.min(last) - low.max(first) + 1).sum()
    }

    /// Whether a number is in the set.
    pub(crate) fn contains(&self, number: u64) -> bool {
        self.covers(number, number)
    }

    /// Forgets the numbers below `first`.
    pub(crate) fn forget_below(&mut self, first: u64) {
        while let Some((&low, &high)) = self.0.first_key_value() {
            if low >= first {
                break;
            }
            self.0.remove(&low);
            if high >= first {
                self.0.insert(first, high);
            }
        }
    }

    /// The ranges, lowest first.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (u64, u64)> {
        self.0.iter().map(|(&first, &last)| (first, last))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn neighbours_become_one_range() {
        let mut set = Intervals::default();
        for (first, last) in [(5, 5), (7, 9), (1, 2), (6, 6), (3, 4)] {
            set.insert(first, last);
        }
        assert_eq!(set.iter().collect::<Vec<_>>(), [(1, 9)]);
        set.forget_below(4);
        assert_eq!(set.iter().collect::<Vec<_>>(), [(4, 9)]);
        set.insert(u64::MAX, u64::MAX);
        assert!(set.contains(u64::MAX) && !set.contains(10));
    }

    #[test]
    fn the_lowest_range_goes_when_there_are_too_many() {
        let mut set = Intervals::default();
        for number in 0..=RANGES_MAX as u64 {
            set.insert(2 * number, 2 * number);
        }
        assert_eq!(set.iter().len(), RANGES_MAX);
        assert!(!set.contains(0) && set.contains(2));
    }

    proptest! {
        #[test]
        fn is_a_set(ranges in prop::collection::vec((0u64..60, 0u64..8), 0..40), below in 0u64..60) {
            let (mut set, mut plain) = (Intervals::default(), BTreeSet::new());
            for (first, length) in ranges {
                set.insert(first, first + length);
                plain.extend(first..=first + length);
            }
            set.forget_below(below);
            plain.retain(|number| *number >= below);
            for number in 0..80 {
                prop_assert_eq!(set.contains(number), plain.contains(&number));
                let within = plain.range(number..=number + 9).count() as u64;
                prop_assert_eq!(set.count_within(number, number + 9), within);
            }
            let ranges: Vec<_> = set.iter().collect();
            prop_assert!(ranges.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0), "{:?}", ranges);
        }
    }
}
