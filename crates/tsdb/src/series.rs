//! The samples of one series: sealed chunks in time order, the open chunk after them, and late samples beside them.
//!
//! In: samples in any order. Out: one sample a timestamp. No timestamp stands in two of the three parts, so reading is a plain
//! merge. A sample later than all others (nearly every one) is appended to the open chunk; any other is looked up first, so
//! that equal samples are one and conflicts are settled at once, then waits in a sorted buffer, which is merged into the
//! sealed chunks when it holds [`LATE_SAMPLES`].

use std::cmp::Ordering;
use std::sync::Arc;

use crate::chunk::{ALLOCATION, CHUNK_SAMPLES, OpenChunk, SealedChunk, Sealer};

/// Late samples that wait before they are merged.
const LATE_SAMPLES: usize = 128;

/// A gap between chunks gets a chunk of its own from this many late samples on; fewer join a neighbour.
const OWN_CHUNK_SAMPLES: usize = 32;

/// What became of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is the latest of its series.
    Appended,
    /// It came out of order and is stored.
    Late,
    /// The same sample was there.
    Duplicate,
    /// Another value was there, of these bits; `replaced` says whether the new one stays.
    Conflict { old: u64, replaced: bool },
}

/// Whether of two values for the same time the new one stays: a number beats a NaN (and so the stale marker); else the greater
/// by `f64::total_cmp` does. A maximum of a total order, so that the order of arrival does not matter.
pub(crate) fn beats(new: f64, old: f64) -> bool {
    match (new.is_nan(), old.is_nan()) {
        (false, true) => true,
        (true, false) => false,
        _ => new.total_cmp(&old) == Ordering::Greater,
    }
}

/// One series' samples.
#[derive(Debug, Default)]
pub(crate) struct Series {
    /// Whose samples these are: the id half of a [`crate::SeriesRef`].
    pub(crate) id: u32,
    pub(crate) open: OpenChunk,
    sealed: Option<Arc<Vec<SealedChunk>>>,
    late: Option<Box<Late>>,
}

/// Behind a pointer, because few series have any.
#[derive(Debug, Default)]
struct Late(Vec<(i64, u64)>);

impl Series {
    pub(crate) fn new(id: u32) -> Self {
        Self { id, ..Self::default() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.sealed.is_none() && self.late.is_none()
    }

    /// Sealed chunks, in time order.
    pub(crate) fn sealed(&self) -> Option<&Arc<Vec<SealedChunk>>> {
        self.sealed.as_ref()
    }

    /// Late samples, in time order.
    pub(crate) fn late(&self) -> &[(i64, u64)] {
        self.late.as_ref().map_or(&[], |late| late.0.as_slice())
    }

    /// First and last time.
    pub(crate) fn span(&self) -> Option<(i64, i64)> {
        let sealed =
            self.sealed.as_ref().and_then(|sealed| Some((sealed.first()?.first, sealed.last()?.last)));
        let open = (!self.open.is_empty()).then(|| (self.open.first(), self.open.last()));
        let late = self.late().first().zip(self.late().last()).map(|(first, last)| (first.0, last.0));
        [sealed, open, late].into_iter().flatten().reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }

    /// Bytes of memory behind the series, without itself. Walks all chunks.
    pub(crate) fn heap_bytes(&self) -> usize {
        let chunks: usize = self.sealed.iter().flat_map(|sealed| sealed.iter()).map(SealedChunk::bytes).sum();
        chunks + self.list_bytes() + self.late_bytes() + self.open.heap_bytes()
    }

    /// What the list of sealed chunks takes beside the chunks in it.
    fn list_bytes(&self) -> usize {
        let spare =
            |sealed: &Arc<Vec<SealedChunk>>| (sealed.capacity() - sealed.len()) * size_of::<SealedChunk>();
        self.sealed.as_ref().map_or(0, |sealed| spare(sealed) + 2 * ALLOCATION)
    }

    fn late_bytes(&self) -> usize {
        self.late.as_ref().map_or(0, |late| late.0.capacity() * size_of::<(i64, u64)>() + 2 * ALLOCATION)
    }

    /// Adds a sample. `bytes` follows the memory behind the series.
    #[inline]
    pub(crate) fn push(&mut self, time: i64, value: f64, sealer: &mut Sealer, bytes: &mut isize) -> Outcome {
        if time > self.open.last() || self.is_empty() {
            let before = self.open.heap_bytes();
            self.open.append(time, value);
            *bytes += self.open.heap_bytes() as isize - before as isize;
            if self.open.len() >= CHUNK_SAMPLES {
                self.seal_open(sealer, bytes);
            }
            return Outcome::Appended;
        }
        self.push_late(time, value, sealer, bytes)
    }

    #[cold]
    fn seal_open(&mut self, sealer: &mut Sealer, bytes: &mut isize) {
        let before = self.list_bytes() + self.open.heap_bytes();
        let chunk = sealer.seal_open(&self.open);
        *bytes += chunk.bytes() as isize;
        let sealed = Arc::make_mut(self.sealed.get_or_insert_default());
        if sealed.len() == sealed.capacity() {
            sealed.reserve_exact(4 + sealed.len() / 8); // doubling would waste what packing saved
        }
        sealed.push(chunk);
        self.open.clear();
        *bytes += (self.list_bytes() + self.open.heap_bytes()) as isize - before as isize;
    }

    #[cold]
    fn push_late(&mut self, time: i64, value: f64, sealer: &mut Sealer, bytes: &mut isize) -> Outcome {
        let bits = value.to_bits();
        if let Some(old) = self.at(time) {
            if old == bits {
                return Outcome::Duplicate;
            }
            let replaced = beats(value, f64::from_bits(old));
            if replaced {
                self.follow(bytes, |series| series.replace(time, bits, sealer));
            }
            return Outcome::Conflict { old, replaced };
        }
        let before = self.late_bytes();
        let late = &mut self.late.get_or_insert_default().0;
        let at = late.partition_point(|&(have, _)| have < time);
        late.insert(at, (time, bits));
        let is_full = late.len() >= LATE_SAMPLES;
        *bytes += self.late_bytes() as isize - before as isize;
        if is_full {
            self.follow(bytes, |series| series.merge_late(sealer));
        }
        Outcome::Late
    }

    /// Changes the series in any way and finds the difference in memory the long way.
    fn follow(&mut self, bytes: &mut isize, change: impl FnOnce(&mut Self)) {
        let before = self.heap_bytes();
        change(self);
        *bytes += self.heap_bytes() as isize - before as isize;
    }

    /// The bits at a time, wherever they stand.
    fn at(&self, time: i64) -> Option<u64> {
        let late = self.late();
        if let Ok(index) = late.binary_search_by_key(&time, |&(have, _)| have) {
            return Some(late[index].1);
        }
        self.open.at(time).or_else(|| self.sealed.as_ref()?.get(self.sealed_index(time)?)?.at(time))
    }

    /// The sealed chunk whose span holds a time.
    fn sealed_index(&self, time: i64) -> Option<usize> {
        let sealed = self.sealed.as_ref()?;
        let index = sealed.partition_point(|chunk| chunk.last < time);
        sealed.get(index).filter(|chunk| chunk.first <= time).map(|_| index)
    }

    /// Puts other bits at a time that has a sample.
    fn replace(&mut self, time: i64, bits: u64, sealer: &mut Sealer) {
        if let Some(late) = &mut self.late
            && let Ok(index) = late.0.binary_search_by_key(&time, |&(have, _)| have)
        {
            late.0[index].1 = bits;
        } else if !self.open.is_empty() && time >= self.open.first() {
            let mut samples = self.open.samples();
            put_bits(&mut samples, time, bits);
            self.open.clear();
            for (time, bits) in samples {
                self.open.append(time, f64::from_bits(bits));
            }
        } else if let Some(index) = self.sealed_index(time)
            && let Some(sealed) = &mut self.sealed
        {
            let chunk = &mut Arc::make_mut(sealed)[index];
            let mut samples = chunk.samples();
            put_bits(&mut samples, time, bits);
            *chunk = sealer.seal(&samples);
        }
    }

    /// Merges the late samples into the sealed chunks; where they reach into the open chunk, that is sealed first.
    fn merge_late(&mut self, sealer: &mut Sealer) {
        let Some(late) = self.late.take() else { return };
        let mut old = self.sealed.take().map(Arc::unwrap_or_clone).unwrap_or_default();
        if !self.open.is_empty() && late.0.last().is_some_and(|last| last.0 > self.open.first()) {
            old.push(sealer.seal_open(&self.open));
            self.open.clear();
        }
        let mut merged = Merged { chunks: Vec::with_capacity(old.len() + 4), sealer };
        let mut rest = late.0.as_slice();
        for chunk in old {
            let (mut gap, others) = rest.split_at(rest.partition_point(|late| late.0 < chunk.first));
            let (inside, after) = others.split_at(others.partition_point(|late| late.0 <= chunk.last));
            rest = after;
            if gap.len() >= OWN_CHUNK_SAMPLES {
                merged.seal(gap);
                gap = &[];
            }
            if gap.is_empty() && inside.is_empty() {
                merged.chunks.push(chunk);
            } else {
                merged.seal(&union(&chunk.samples(), gap, inside));
            }
        }
        merged.finish(rest);
        self.sealed = Some(Arc::new(merged.chunks));
    }

    /// Drops what lies wholly before the floor (chunk by chunk) and returns the number of samples dropped. Readers that hold the
    /// chunks keep them until they are done.
    pub(crate) fn sweep(&mut self, floor: i64, idle_before: i64) -> usize {
        let mut dropped = 0;
        if let Some(sealed) = &mut self.sealed {
            let gone = sealed.partition_point(|chunk| chunk.last < floor);
            if gone > 0 {
                dropped += sealed[..gone].iter().map(SealedChunk::len).sum::<usize>();
                let sealed = Arc::make_mut(sealed);
                sealed.drain(..gone);
                sealed.shrink_to(sealed.len() + sealed.len() / 8 + 4);
            }
            if sealed.is_empty() {
                self.sealed = None;
            }
        }
        if let Some(late) = &mut self.late {
            let gone = late.0.partition_point(|&(time, _)| time < floor);
            dropped += gone;
            late.0.drain(..gone);
            if late.0.is_empty() {
                self.late = None;
            }
        }
        if !self.open.is_empty() && self.open.last() < floor {
            dropped += self.open.len();
            self.open.release();
        } else if self.open.last() < idle_before {
            self.open.shrink();
        }
        dropped
    }

    /// Calls back with the last time and the bytes of each part that a sweep could drop.
    pub(crate) fn ages(&self, mut visit: impl FnMut(i64, usize)) {
        for chunk in self.sealed.iter().flat_map(|sealed| sealed.iter()) {
            visit(chunk.last, chunk.bytes());
        }
        if !self.open.is_empty() {
            visit(self.open.last(), self.open.heap_bytes());
        }
        if let Some(last) = self.late().last() {
            visit(last.0, size_of_val(self.late()));
        }
    }
}

/// Builds the list of sealed chunks anew.
struct Merged<'a> {
    chunks: Vec<SealedChunk>,
    sealer: &'a mut Sealer,
}

impl Merged<'_> {
    /// Adds samples as one chunk, or as even parts where they are too many for one.
    fn seal(&mut self, samples: &[(i64, u64)]) {
        let parts = samples.len().div_ceil(CHUNK_SAMPLES);
        for part in samples.chunks(samples.len().div_ceil(parts)) {
            self.chunks.push(self.sealer.seal(part));
        }
    }

    /// Adds samples after the last chunk.
    fn finish(&mut self, rest: &[(i64, u64)]) {
        if rest.is_empty() {
            return;
        }
        match self.chunks.pop_if(|last| rest.len() < OWN_CHUNK_SAMPLES && last.len() < CHUNK_SAMPLES) {
            Some(last) => self.seal(&union(&last.samples(), &[], rest)),
            None => self.seal(rest),
        }
    }
}

fn put_bits(samples: &mut [(i64, u64)], time: i64, bits: u64) {
    if let Ok(index) = samples.binary_search_by_key(&time, |&(have, _)| have) {
        samples[index].1 = bits;
    }
}

/// The samples of a chunk, those before it, and those within its span: in time order, no time twice.
fn union(chunk: &[(i64, u64)], before: &[(i64, u64)], inside: &[(i64, u64)]) -> Vec<(i64, u64)> {
    let mut all = Vec::with_capacity(before.len() + chunk.len() + inside.len());
    all.extend_from_slice(before);
    all.extend_from_slice(chunk);
    all.extend_from_slice(inside);
    all.sort_unstable_by_key(|&(time, _)| time);
    all
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn all(series: &Series) -> Vec<(i64, u64)> {
        let mut all: Vec<_> =
            series.sealed().iter().flat_map(|sealed| sealed.iter()).flat_map(SealedChunk::samples).collect();
        assert!(all.windows(2).all(|pair| pair[0].0 < pair[1].0), "sealed chunks follow each other");
        all.extend(series.open.samples());
        assert!(all.windows(2).all(|pair| pair[0].0 < pair[1].0), "the open chunk follows the sealed ones");
        all.extend_from_slice(series.late());
        all.sort_unstable_by_key(|&(time, _)| time);
        all
    }

    fn count(series: &Series) -> usize {
        let sealed: usize = series.sealed.iter().flat_map(|sealed| sealed.iter()).map(SealedChunk::len).sum();
        sealed + series.open.len() + series.late().len()
    }

    /// Pushes samples into a series and a plain map and compares them at the end.
    fn check(samples: &[(i64, f64)]) -> Series {
        let (mut series, mut sealer, mut bytes) = (Series::new(1), Sealer::default(), 0);
        let mut plain = BTreeMap::new();
        for &(time, value) in samples {
            let expected = match plain.get(&time).copied() {
                None => None,
                Some(old) if f64::to_bits(old) == value.to_bits() => Some(Outcome::Duplicate),
                Some(old) => Some(Outcome::Conflict { old: old.to_bits(), replaced: beats(value, old) }),
            };
            let outcome = series.push(time, value, &mut sealer, &mut bytes);
            match expected {
                None => assert!(matches!(outcome, Outcome::Appended | Outcome::Late)),
                Some(expected) => assert_eq!(outcome, expected),
            }
            if matches!(outcome, Outcome::Appended | Outcome::Late | Outcome::Conflict { replaced: true, .. })
            {
                plain.insert(time, value);
            }
        }
        assert_eq!(
            all(&series),
            plain.iter().map(|(&time, value)| (time, value.to_bits())).collect::<Vec<_>>()
        );
        assert_eq!(count(&series), plain.len());
        assert_eq!(
            series.span(),
            plain.first_key_value().map(|(&first, _)| (first, *plain.last_key_value().unwrap().0))
        );
        assert_eq!(bytes, series.heap_bytes() as isize, "memory is followed exactly");
        series
    }

    #[test]
    fn in_order_and_backwards_and_woven() {
        check(&(0..1000).map(|i| (i, i as f64)).collect::<Vec<_>>());
        let backwards = check(&(0..1000).rev().map(|i| (i, i as f64)).collect::<Vec<_>>());
        assert!(backwards.sealed().unwrap().len() <= 9, "backfill makes whole chunks");
        check(&(0..1000).map(|i| (i * 379 % 1000, i as f64)).collect::<Vec<_>>());
        check(&[(i64::MIN, 1.0), (i64::MAX, 2.0), (0, 3.0), (i64::MIN, 4.0)]);
    }

    #[test]
    fn the_rule_for_conflicts_is_a_total_order() {
        let nan = f64::from_bits(0x7ff8_0000_0000_0007);
        let order =
            [-f64::NAN, model::stale_nan(), nan, f64::NEG_INFINITY, -1.0, -0.0, 0.0, 2.5, f64::INFINITY];
        for (i, &low) in order.iter().enumerate() {
            for (j, &high) in order.iter().enumerate() {
                assert_eq!(beats(high, low), j > i, "{high:?} against {low:?}");
            }
        }
    }

    #[test]
    fn sweeping_drops_whole_chunks_and_old_late_samples() {
        let mut series = check(&(0..1000).chain([-5]).map(|i| (i, i as f64)).collect::<Vec<_>>());
        assert_eq!(series.sweep(240, 0), 241);
        assert_eq!(all(&series).first(), Some(&(240, 240f64.to_bits())));
        assert_eq!(series.sweep(1000, 0), 760);
        assert!(series.is_empty());
        assert_eq!(series.heap_bytes(), 0);
    }

    proptest! {
        #[test]
        fn any_order_equals_a_plain_map(
            samples in proptest::collection::vec((0..700i64, prop_oneof![
                (0..4i32).prop_map(f64::from), any::<u64>().prop_map(f64::from_bits), Just(model::stale_nan()),
            ]), 0..1500),
        ) {
            check(&samples);
        }
    }
}
