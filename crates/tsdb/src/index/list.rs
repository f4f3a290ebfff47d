//! Ascending lists of series ids in little memory: runs of consecutive ids, each as its distance from the one before it.
//!
//! Series that share a label value mostly came together, so that a run of thousands takes 3 bytes; where they stand apart an id
//! takes 1 to 3. In: ids that only grow. Out: runs in order. One run, or three ids, need no memory of their own; that is what most
//! values of the labels with most values have.

use std::ops::Range;

use crate::varint::{self, Cursor};

/// What an allocation costs beside its bytes.
const ALLOCATION: usize = 16;

/// Ids in ascending order, none twice.
#[derive(Clone, Debug)]
pub(crate) enum List {
    Run {
        start: u32,
        length: u32,
    },
    /// Up to three ids that stand apart.
    Few {
        count: u8,
        ids: [u32; 3],
    },
    Many(Box<Runs>),
}

/// Packed runs, and the last one, which may grow.
#[derive(Clone, Debug)]
pub(crate) struct Runs {
    packed: Vec<u8>,
    /// One past the last packed id.
    packed_end: u32,
    /// Ids in all.
    count: u32,
    start: u32,
    length: u32,
}

/// Appends a run: its distance from the end of the one before it, and its length where that is not 1.
pub(crate) fn put_run(out: &mut Vec<u8>, previous_end: u32, start: u32, length: u32) {
    let gap = u64::from(start - previous_end) << 1;
    if length == 1 {
        varint::put(out, gap);
    } else {
        varint::put(out, gap | 1);
        varint::put(out, u64::from(length) - 2);
    }
}

/// Reads the next run behind `previous_end`; `None` where there is none within the range of ids.
#[inline]
pub(crate) fn take_run(from: &mut Cursor<'_>, previous_end: u32) -> Option<(u32, u32)> {
    let token = from.number()?;
    let start = u32::try_from(u64::from(previous_end) + (token >> 1)).ok()?;
    let length = if token & 1 == 0 { 1 } else { u32::try_from(from.number()?.checked_add(2)?).ok()? };
    start.checked_add(length)?;
    Some((start, length))
}

impl List {
    pub(crate) const fn new(id: u32) -> Self {
        Self::Run { start: id, length: 1 }
    }

    /// Number of ids.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Run { length, .. } => *length as usize,
            Self::Few { count, .. } => usize::from(*count),
            Self::Many(runs) => runs.count as usize,
        }
    }

    /// What reading all runs costs, in bytes to decode.
    pub(crate) fn cost(&self) -> usize {
        match self {
            Self::Run { .. } => 1,
            Self::Few { count, .. } => usize::from(*count),
            Self::Many(runs) => runs.packed.len() + 1,
        }
    }

    /// Bytes of memory behind the list, without itself.
    pub(crate) fn heap_bytes(&self) -> usize {
        match self {
            Self::Run { .. } | Self::Few { .. } => 0,
            Self::Many(runs) => size_of::<Runs>() + runs.packed.capacity() + 2 * ALLOCATION,
        }
    }

    /// Appends an id, which must be larger than all others.
    pub(crate) fn push(&mut self, id: u32) {
        match self {
            Self::Run { start, length } if *start + *length == id => *length += 1,
            Self::Run { start, length: 1 } => *self = Self::Few { count: 2, ids: [*start, id, 0] },
            Self::Run { start, length } => *self = Self::many(std::iter::once((*start, *length)), id),
            Self::Few { count: 3, ids } => *self = Self::many(ids.map(|have| (have, 1)).into_iter(), id),
            Self::Few { count, ids } => {
                ids[usize::from(*count)] = id;
                *count += 1;
            }
            Self::Many(runs) => runs.push(id),
        }
    }

    /// Runs, and an id behind them.
    fn many(before: impl Iterator<Item = (u32, u32)>, id: u32) -> Self {
        let (mut packed, mut end, mut count) = (Vec::with_capacity(8), 0, 1);
        for (start, length) in before {
            put_run(&mut packed, end, start, length);
            end = start + length;
            count += length;
        }
        Self::Many(Box::new(Runs { packed, packed_end: end, count, start: id, length: 1 }))
    }

    /// Runs in order.
    pub(crate) fn runs(&self) -> RunIter<'_> {
        let (few, packed, last): (&[u32], &[u8], _) = match self {
            Self::Run { start, length } => (&[], &[], Some((*start, *length))),
            Self::Few { count, ids } => (&ids[..usize::from(*count)], &[], None),
            Self::Many(runs) => (&[], &runs.packed, Some((runs.start, runs.length))),
        };
        RunIter { few, packed: Cursor::new(packed), end: 0, last }
    }

    /// Ids in order.
    pub(crate) fn ids(&self) -> impl Iterator<Item = u32> {
        self.runs().flatten()
    }

    /// The list without some ids (ascending; others than the list's are skipped); `None` when nothing is left.
    pub(crate) fn without(&self, gone: &[u32]) -> Option<Self> {
        let mut left: Option<Self> = None;
        let mut gone = gone.iter().copied().peekable();
        for id in self.ids() {
            while gone.next_if(|gone| *gone < id).is_some() {}
            if gone.next_if_eq(&id).is_some() {
                continue;
            }
            match &mut left {
                None => left = Some(Self::new(id)),
                Some(left) => left.push(id),
            }
        }
        if let Some(Self::Many(runs)) = &mut left {
            runs.packed.shrink_to_fit();
        }
        left
    }
}

impl Runs {
    fn push(&mut self, id: u32) {
        self.count += 1;
        if self.start + self.length == id {
            self.length += 1;
            return;
        }
        if self.packed.capacity() - self.packed.len() < 10 {
            self.packed.reserve_exact(10 + self.packed.len() / 4); // doubling would waste what packing saves
        }
        put_run(&mut self.packed, self.packed_end, self.start, self.length);
        self.packed_end = self.start + self.length;
        (self.start, self.length) = (id, 1);
    }
}

/// Runs of a [`List`].
#[derive(Clone, Debug)]
pub(crate) struct RunIter<'a> {
    few: &'a [u32],
    packed: Cursor<'a>,
    end: u32,
    last: Option<(u32, u32)>,
}

impl Iterator for RunIter<'_> {
    type Item = Range<u32>;

    #[inline]
    fn next(&mut self) -> Option<Range<u32>> {
        if let Some((id, rest)) = self.few.split_first() {
            self.few = rest;
            return Some(*id..*id + 1);
        }
        let (start, length) = match self.packed.is_empty() {
            true => self.last.take()?,
            false => take_run(&mut self.packed, self.end)?,
        };
        self.end = start + length;
        Some(start..self.end)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn list(ids: &BTreeSet<u32>) -> Option<List> {
        let mut ids = ids.iter().copied();
        let mut list = List::new(ids.next()?);
        ids.for_each(|id| list.push(id));
        Some(list)
    }

    fn check(ids: &BTreeSet<u32>, gone: &BTreeSet<u32>) {
        let Some(list) = list(ids) else { return };
        assert_eq!(list.len(), ids.len());
        assert!(list.ids().eq(ids.iter().copied()));
        let gone: Vec<u32> = gone.iter().copied().collect();
        let left: Vec<u32> = list.without(&gone).iter().flat_map(List::ids).collect();
        assert_eq!(left, ids.iter().copied().filter(|id| !gone.contains(id)).collect::<Vec<_>>());
    }

    #[test]
    fn a_run_takes_no_memory() {
        let run = list(&(5..10_000).collect()).expect("ids");
        assert_eq!((run.len(), run.heap_bytes(), run.cost()), (9_995, 0, 1));
        let apart = list(&(0..1000).map(|id| id * 500).collect()).expect("ids");
        assert!(apart.heap_bytes() < 3 * 1000, "{}", apart.heap_bytes());
        assert_eq!(size_of::<List>(), 16);
    }

    #[test]
    fn nonsense_is_no_run() {
        for bytes in [&[][..], &[1], &[0x80], &[1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]] {
            assert_eq!(take_run(&mut Cursor::new(bytes), 7), None, "{bytes:?}");
        }
        assert_eq!(take_run(&mut Cursor::new(&[3, 0]), u32::MAX - 2), None);
    }

    proptest! {
        #[test]
        fn ids_come_back_and_go(
            ids in proptest::collection::btree_set(prop_oneof![0..200u32, any::<u32>().prop_map(|id| id / 2)], 0..100),
            gone in proptest::collection::btree_set(0..200u32, 0..100),
        ) {
            check(&ids, &gone);
            check(&ids, &ids);
        }
    }
}
