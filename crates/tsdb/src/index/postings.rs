//! Pages of postings: for each of some values, in their order, the series that bear it. Drawn in `docs/formats/store-index.md`.

use std::ops::Range;

use roaring::RoaringBitmap;

use super::dictionary::Wrong;
use super::list::{List, put_run, take_run};
use super::union::Union;
use crate::varint::{self, Cursor, unzigzag, zigzag};

/// Bytes of a page at which the next begins.
pub(crate) const PAGE_BYTES: usize = 32 << 10;

/// Postings between two that are found without reading those before them.
const GROUP: usize = 32;

/// Ids from which on a set is tried.
const SET_IDS: usize = 64;

const ONE: u64 = 0;
const RUN: u64 = 1;
const RUNS: u64 = 2;
const SET: u64 = 3;

const TORN: Wrong = "a page of postings is cut off";
const RANGE: Wrong = "a posting lies outside of the block's series";

/// Writes a page.
#[derive(Debug, Default)]
pub(crate) struct PageBuilder {
    offsets: Vec<u8>,
    bytes: Vec<u8>,
    scratch: Vec<u8>,
    count: usize,
    /// The first id of the posting before, within a group.
    previous: u32,
}

impl PageBuilder {
    pub(crate) fn len(&self) -> usize {
        self.offsets.len() + self.bytes.len()
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    pub(crate) fn push(&mut self, list: &List) {
        if self.count.is_multiple_of(GROUP) {
            self.offsets.extend((self.bytes.len() as u32).to_le_bytes());
            self.previous = 0;
        }
        self.count += 1;
        let mut runs = list.runs();
        let first = runs.next().expect("a value is there because a series bears it");
        let distance = zigzag(i64::from(first.start) - i64::from(self.previous));
        if runs.next().is_some() {
            return self.push_many(list);
        }
        self.previous = first.start;
        if first.len() == 1 {
            varint::put(&mut self.bytes, distance << 2 | ONE);
        } else {
            varint::put(&mut self.bytes, distance << 2 | RUN);
            varint::put(&mut self.bytes, first.len() as u64 - 2);
        }
    }

    fn push_many(&mut self, list: &List) {
        let (packed, mut end) = (&mut self.scratch, 0);
        packed.clear();
        for run in list.runs() {
            put_run(packed, end, run.start, run.len() as u32);
            end = run.end;
        }
        let mut kind = RUNS;
        if list.len() >= SET_IDS {
            let mut set = RoaringBitmap::from_sorted_iter(list.ids()).expect("a list ascends");
            set.optimize();
            // Ids that lie far apart are as many bytes in both, and uniting sets of few ids costs more than setting bits.
            if set.serialized_size() < packed.len() {
                kind = SET;
                packed.clear();
                set.serialize_into(&mut *packed).expect("memory takes all bytes");
            }
        }
        varint::put(&mut self.bytes, (packed.len() as u64) << 2 | kind);
        self.bytes.extend_from_slice(packed);
    }

    /// Takes the page out.
    pub(crate) fn take(&mut self, out: &mut Vec<u8>) {
        out.clear();
        varint::put(out, self.count as u64);
        out.append(&mut self.offsets);
        out.append(&mut self.bytes);
        self.count = 0;
    }
}

/// A posting as it stands in a page.
#[derive(Clone, Copy, Debug)]
enum Posting<'a> {
    Run(u32, u32),
    Runs(&'a [u8]),
    Set(&'a [u8]),
}

impl Posting<'_> {
    fn add_to(self, union: &mut Union) -> Result<(), Wrong> {
        match self {
            Self::Run(start, length) => union.add_run(start..start + length),
            Self::Runs(bytes) => union.add_packed(bytes).ok_or(RANGE)?,
            Self::Set(bytes) => union.add_set(set(bytes)?),
        }
        Ok(())
    }

    fn meets(self, wanted: &RoaringBitmap) -> Result<bool, Wrong> {
        match self {
            Self::Run(start, 1) => Ok(wanted.contains(start)),
            Self::Run(start, length) => Ok(meets_run(wanted, start, length)),
            Self::Runs(bytes) => {
                let (mut cursor, mut end) = (Cursor::new(bytes), 0);
                while !cursor.is_empty() {
                    let (start, length) = take_run(&mut cursor, end).ok_or(RANGE)?;
                    end = start + length;
                    if meets_run(wanted, start, length) {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Self::Set(bytes) => Ok(!set(bytes)?.is_disjoint(wanted)),
        }
    }
}

fn meets_run(wanted: &RoaringBitmap, start: u32, length: u32) -> bool {
    match length {
        1 => wanted.contains(start),
        _ => wanted.range(start..start + length).next().is_some(),
    }
}

fn set(bytes: &[u8]) -> Result<RoaringBitmap, Wrong> {
    RoaringBitmap::deserialize_from(bytes).map_err(|_| "a set of series is no roaring bitmap")
}

/// A page's bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Page<'a> {
    count: usize,
    offsets: &'a [u8],
    bytes: &'a [u8],
}

impl<'a> Page<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Result<Self, Wrong> {
        let mut cursor = Cursor::new(bytes);
        let count = cursor.number().and_then(|count| usize::try_from(count).ok()).ok_or(TORN)?;
        if count > bytes.len() {
            return Err(TORN);
        }
        let offsets = cursor.take(count.div_ceil(GROUP) * 4).ok_or(TORN)?;
        let bytes = cursor.take(cursor.left()).ok_or(TORN)?;
        Ok(Self { count, offsets, bytes })
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Adds the series of a range of the page's values.
    pub(crate) fn union(&self, wanted: Range<usize>, union: &mut Union) -> Result<(), Wrong> {
        self.each(wanted, |_, posting| posting.add_to(union).map(|()| true))
    }

    /// Calls back with the values, out of a range, of which a wanted series bears one, until it answers false.
    pub(crate) fn meeting(
        &self,
        range: Range<usize>,
        wanted: &RoaringBitmap,
        mut visit: impl FnMut(usize) -> bool,
    ) -> Result<(), Wrong> {
        self.each(range, |index, posting| Ok(!posting.meets(wanted)? || visit(index)))
    }

    fn each(
        &self,
        wanted: Range<usize>,
        mut visit: impl FnMut(usize, Posting<'_>) -> Result<bool, Wrong>,
    ) -> Result<(), Wrong> {
        if wanted.end > self.count {
            return Err("a page of postings holds fewer than its directory says");
        }
        let mut cursor = Cursor::new(&[]);
        let mut previous = 0;
        for index in wanted.start / GROUP * GROUP..wanted.end {
            if index.is_multiple_of(GROUP) {
                cursor = self.group(index / GROUP)?;
                previous = 0;
            }
            let posting = take(&mut cursor, &mut previous).ok_or(TORN)?;
            if index >= wanted.start && !visit(index, posting)? {
                break;
            }
        }
        Ok(())
    }

    fn group(&self, index: usize) -> Result<Cursor<'a>, Wrong> {
        let offset = self.offsets.get(index * 4..index * 4 + 4).ok_or(TORN)?;
        let offset = u32::from_le_bytes(offset.try_into().expect("four bytes"));
        Ok(Cursor::new(self.bytes.get(offset as usize..).ok_or(TORN)?))
    }
}

#[inline]
fn take<'a>(cursor: &mut Cursor<'a>, previous: &mut u32) -> Option<Posting<'a>> {
    let token = cursor.number()?;
    let kind = token & 3;
    if kind == ONE || kind == RUN {
        let start = u32::try_from(i64::from(*previous).checked_add(unzigzag(token >> 2))?).ok()?;
        let length = if kind == ONE { 1 } else { u32::try_from(cursor.number()?.checked_add(2)?).ok()? };
        start.checked_add(length)?;
        *previous = start;
        return Some(Posting::Run(start, length));
    }
    let bytes = cursor.take(usize::try_from(token >> 2).ok()?)?;
    Some(if kind == RUNS { Posting::Runs(bytes) } else { Posting::Set(bytes) })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn list(ids: &BTreeSet<u32>) -> List {
        let mut ids = ids.iter().copied();
        let mut list = List::new(ids.next().expect("not empty"));
        ids.for_each(|id| list.push(id));
        list
    }

    fn check(sets: &[BTreeSet<u32>], range: Range<usize>, wanted: &BTreeSet<u32>) {
        let mut builder = PageBuilder::default();
        sets.iter().for_each(|set| builder.push(&list(set)));
        let mut bytes = Vec::new();
        builder.take(&mut bytes);
        let page = Page::new(&bytes).expect("whole");
        assert_eq!(page.count(), sets.len());
        let mut union = Union::new(70_000);
        page.union(range.clone(), &mut union).expect("whole");
        let expected: BTreeSet<u32> = sets[range.clone()].iter().flatten().copied().collect();
        assert!(union.finish().iter().eq(expected));
        let mut met = Vec::new();
        let wanted_set = wanted.iter().copied().collect();
        page.meeting(range.clone(), &wanted_set, |index| {
            met.push(index);
            true
        })
        .expect("whole");
        assert_eq!(met, range.filter(|index| !sets[*index].is_disjoint(wanted)).collect::<Vec<_>>());
    }

    fn any_ids() -> impl Strategy<Value = BTreeSet<u32>> {
        prop_oneof![
            (0..70_000u32).prop_map(|id| BTreeSet::from([id])),
            (0..60_000u32, 2..9_000u32).prop_map(|(start, length)| (start..start + length).collect()),
            proptest::collection::btree_set(0..70_000u32, 1..200),
            (0..9u32, 64..3000u32).prop_map(|(start, count)| (0..count).map(|id| start + 2 * id).collect()),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn postings_come_back(
            sets in proptest::collection::vec(any_ids(), 1..80),
            from in 0..80usize,
            count in 0..80usize,
            wanted in proptest::collection::btree_set(0..70_000u32, 0..20),
        ) {
            let from = from.min(sets.len());
            check(&sets, from..(from + count).min(sets.len()), &wanted);
        }

        #[test]
        fn strangers_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(page) = Page::new(&bytes) {
                let _ = page.union(0..page.count(), &mut Union::new(100));
                let _ = page.meeting(0..page.count(), &RoaringBitmap::new(), |_| true);
            }
        }
    }

    #[test]
    fn a_series_of_its_own_takes_one_byte() {
        let mut builder = PageBuilder::default();
        (0..1024).for_each(|id| builder.push(&List::new(id)));
        assert!(builder.len() <= 1024 + 32 * (4 + 1), "{}", builder.len());
    }
}
