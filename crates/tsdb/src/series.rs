//! The samples of one series: sealed chunks in time order, the open chunk after them, and late samples beside them.
//!
//! In: samples in any order. Out: one sample a timestamp. No timestamp stands in two of the three parts, so reading is a plain
//! merge. A sample later than all others (nearly every one) is appended to the open chunk; any other is looked up first, so
//! that equal samples are one and conflicts are settled at once, then waits in a sorted buffer, which is merged into the
//! sealed chunks when it holds [`LATE_SAMPLES`].
//!
//! While a flush writes what lies before its boundary, that is frozen: samples before the boundary go to a series of their own
//! *behind* it (fewer than one in a thousand, by the boundary's distance from the newest sample). A value there stands at a time
//! that the frozen part has too only if it beats the frozen one, so that readers may take either order. When the frozen part is dropped,
//! what came behind it takes its place. Chunks may reach over the boundary: they go on, and are cut when the frozen part is dropped.
//!
//! Native histograms are opaque bytes beside the samples, one a timestamp: of two the bytewise greater ones stay, whatever the order
//! in which they come.

use std::cmp::Ordering;
use std::sync::Arc;

use model::{Columns, Timestamp};

use crate::chunk::{ALLOCATION, CHUNK_SAMPLES, OpenChunk, SealedChunk, Sealer, clip};

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

/// What changes of series add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Memory behind the series.
    pub(crate) bytes: isize,
    /// Samples that stand there; one that stands behind a frozen one counts, too.
    pub(crate) samples: isize,
    /// Native histograms.
    pub(crate) histograms: isize,
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
    rest: Option<Box<Rest>>,
}

/// Behind a pointer, because few series have any of it.
#[derive(Debug, Default)]
struct Rest {
    late: Vec<(i64, u64)>,
    histograms: Vec<(i64, Arc<[u8]>)>,
    histogram_bytes: usize,
    /// What came while the times before a boundary were frozen: all of it lies before that boundary.
    behind: Option<Box<Series>>,
}

impl Rest {
    fn is_empty(&self) -> bool {
        self.late.is_empty() && self.histograms.is_empty() && self.behind.is_none()
    }

    fn bytes(&self) -> usize {
        let behind =
            self.behind.as_ref().map_or(0, |behind| size_of::<Series>() + ALLOCATION + behind.heap_bytes());
        size_of::<Self>()
            + ALLOCATION
            + self.late.capacity() * size_of::<(i64, u64)>()
            + self.histograms.capacity() * size_of::<(i64, Arc<[u8]>)>()
            + self.histogram_bytes
            + behind
    }

    /// Puts a histogram at its time. Answers its fate, the bits standing for nothing.
    fn put_histogram(&mut self, time: i64, bytes: &Arc<[u8]>) -> Outcome {
        let at = self.histograms.partition_point(|(have, _)| *have < time);
        let is_last = at == self.histograms.len();
        if let Some((_, old)) = self.histograms.get_mut(at).filter(|(have, _)| *have == time) {
            if old == bytes {
                return Outcome::Duplicate;
            }
            let replaced = bytes[..] > old[..];
            if replaced {
                self.histogram_bytes = self.histogram_bytes + bytes.len() - old.len();
                *old = Arc::clone(bytes);
            }
            return Outcome::Conflict { old: 0, replaced };
        }
        if self.histograms.len() == self.histograms.capacity() {
            self.histograms.reserve_exact(2 + self.histograms.len() / 2);
        }
        self.histograms.insert(at, (time, Arc::clone(bytes)));
        self.histogram_bytes += bytes.len() + ALLOCATION;
        if is_last { Outcome::Appended } else { Outcome::Late }
    }

    fn histogram(&self, time: i64) -> Option<&Arc<[u8]>> {
        let at = self.histograms.binary_search_by_key(&time, |(have, _)| *have).ok()?;
        Some(&self.histograms[at].1)
    }

    fn remove_histograms(&mut self, start: i64, end: i64) {
        self.histograms.retain(|(time, _)| !(start..=end).contains(time));
        self.histogram_bytes = self.histograms.iter().map(|(_, bytes)| bytes.len() + ALLOCATION).sum();
        self.histograms.shrink_to(self.histograms.len() + self.histograms.len() / 2);
    }
}

impl Series {
    pub(crate) fn new(id: u32) -> Self {
        Self { id, ..Self::default() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.sealed.is_none() && self.rest.is_none()
    }

    /// Sealed chunks, in time order.
    pub(crate) fn sealed(&self) -> Option<&Arc<Vec<SealedChunk>>> {
        self.sealed.as_ref()
    }

    /// Late samples, in time order; without what came behind a frozen part.
    fn late(&self) -> &[(i64, u64)] {
        self.rest.as_ref().map_or(&[], |rest| rest.late.as_slice())
    }

    fn histograms(&self) -> &[(i64, Arc<[u8]>)] {
        self.rest.as_ref().map_or(&[], |rest| rest.histograms.as_slice())
    }

    fn behind(&self) -> Option<&Self> {
        self.rest.as_ref()?.behind.as_deref()
    }

    /// Appends the samples of a span (inclusive) that stand neither in sealed chunks nor in the open one, in time order. Answers
    /// whether some may stand at a time that is in those, too: then they beat what is there.
    pub(crate) fn copy_late(&self, start: i64, end: i64, into: &mut Vec<(i64, u64)>) -> bool {
        let in_span = |time: i64| (start..=end).contains(&time);
        let late = self.late().iter().filter(|late| in_span(late.0));
        let Some(behind) = self.behind() else {
            into.extend(late);
            return false;
        };
        let from = into.len();
        into.extend(behind.samples().into_iter().filter(|sample| in_span(sample.0)));
        into.extend(late);
        into[from..].sort_by_key(|&(time, _)| time); // stable: of two, the one behind comes first
        let mut to = from;
        for at in from..into.len() {
            if to == from || into[to - 1].0 != into[at].0 {
                into[to] = into[at];
                to += 1;
            }
        }
        into.truncate(to);
        true
    }

    /// Appends the native histograms of a span (inclusive), in time order.
    pub(crate) fn copy_histograms(&self, start: i64, end: i64, into: &mut Vec<(Timestamp, Arc<[u8]>)>) {
        let from = into.len();
        let behind = self.behind().map_or(&[][..], Self::histograms);
        for (time, bytes) in behind.iter().chain(self.histograms()) {
            if (start..=end).contains(time) {
                into.push((Timestamp::from_millis(*time), Arc::clone(bytes)));
            }
        }
        if !behind.is_empty() && into.len() > from {
            let mut tail = into.split_off(from);
            tail.sort_by_key(|&(time, _)| time); // stable: of two, the one behind comes first, which beats the other
            tail.dedup_by_key(|(time, _)| *time);
            into.append(&mut tail);
        }
    }

    /// Appends what lies before a boundary and is frozen, in time order.
    pub(crate) fn read_before(
        &self,
        boundary: i64,
        into: &mut Columns,
        histograms: &mut Vec<(Timestamp, Arc<[u8]>)>,
    ) {
        let from = into.len();
        for chunk in self.sealed.iter().flat_map(|sealed| sealed.iter()) {
            if chunk.first < boundary {
                chunk.decode(into);
            }
        }
        if !self.open.is_empty() && self.open.first() < boundary {
            self.open.decode(into);
        }
        let late = &self.late()[..self.late().partition_point(|late| late.0 < boundary)];
        if !late.is_empty() {
            let mut all = late.to_vec();
            all.extend(
                (from..into.len()).map(|at| (into.timestamps[at].as_millis(), into.values[at].to_bits())),
            );
            all.sort_unstable_by_key(|&(time, _)| time);
            into.timestamps.truncate(from);
            into.values.truncate(from);
            all.iter()
                .for_each(|&(time, bits)| into.push(Timestamp::from_millis(time), f64::from_bits(bits)));
        }
        if let Some(before) = boundary.checked_sub(1) {
            clip(into, from, Timestamp::MIN, Timestamp::from_millis(before));
        }
        let gone = self.histograms().partition_point(|(time, _)| *time < boundary);
        let frozen = self.histograms()[..gone].iter();
        histograms.extend(frozen.map(|(time, bytes)| (Timestamp::from_millis(*time), Arc::clone(bytes))));
    }

    /// First time, of samples and histograms.
    pub(crate) fn first(&self) -> Option<i64> {
        self.span().map(|span| span.0)
    }

    /// First and last time, of samples and histograms.
    pub(crate) fn span(&self) -> Option<(i64, i64)> {
        let sealed =
            self.sealed.as_ref().and_then(|sealed| Some((sealed.first()?.first, sealed.last()?.last)));
        let open = (!self.open.is_empty()).then(|| (self.open.first(), self.open.last()));
        let join = |a: (i64, i64), b: (i64, i64)| (a.0.min(b.0), a.1.max(b.1));
        let whole = [sealed, open].into_iter().flatten().reduce(join);
        let Some(rest) = &self.rest else { return whole };
        let late = rest.late.first().zip(rest.late.last()).map(|(first, last)| (first.0, last.0));
        let histograms =
            rest.histograms.first().zip(rest.histograms.last()).map(|(first, last)| (first.0, last.0));
        let behind = rest.behind.as_ref().and_then(|behind| behind.span());
        [whole, late, histograms, behind].into_iter().flatten().reduce(join)
    }

    /// Bytes of memory behind the series, without itself. Walks all chunks.
    pub(crate) fn heap_bytes(&self) -> usize {
        let chunks: usize = self.sealed.iter().flat_map(|sealed| sealed.iter()).map(SealedChunk::bytes).sum();
        chunks + self.list_bytes() + self.rest_bytes() + self.open.heap_bytes()
    }

    /// What the list of sealed chunks takes beside the chunks in it.
    fn list_bytes(&self) -> usize {
        let spare =
            |sealed: &Arc<Vec<SealedChunk>>| (sealed.capacity() - sealed.len()) * size_of::<SealedChunk>();
        self.sealed.as_ref().map_or(0, |sealed| spare(sealed) + 2 * ALLOCATION)
    }

    fn rest_bytes(&self) -> usize {
        self.rest.as_ref().map_or(0, |rest| rest.bytes())
    }

    /// Samples that stand here, those behind included. Walks all chunks.
    pub(crate) fn count(&self) -> usize {
        let sealed: usize = self.sealed.iter().flat_map(|sealed| sealed.iter()).map(SealedChunk::len).sum();
        sealed + self.open.len() + self.late().len() + self.behind().map_or(0, Self::count)
    }

    fn histogram_count(&self) -> usize {
        self.histograms().len() + self.behind().map_or(0, Self::histogram_count)
    }

    /// Sealed chunks and, if there is one, the open chunk.
    pub(crate) fn chunks(&self) -> usize {
        let sealed = self.sealed.as_ref().map_or(0, |sealed| sealed.len());
        sealed + usize::from(!self.open.is_empty()) + self.behind().map_or(0, Self::chunks)
    }

    /// All samples in time order, without those behind.
    fn samples(&self) -> Vec<(i64, u64)> {
        let mut all = self.late().to_vec();
        all.extend(self.sealed.iter().flat_map(|sealed| sealed.iter()).flat_map(SealedChunk::samples));
        all.extend(self.open.samples());
        all.sort_unstable_by_key(|&(time, _)| time);
        all
    }

    /// Adds a sample. What lies before the boundary is frozen.
    #[inline]
    pub(crate) fn push(
        &mut self,
        time: i64,
        value: f64,
        boundary: i64,
        sealer: &mut Sealer,
        tally: &mut Tally,
    ) -> Outcome {
        if time < boundary {
            return self.push_behind(time, value, sealer, tally);
        }
        if time > self.open.last() || self.is_empty() {
            let before = self.open.heap_bytes();
            self.open.append(time, value);
            tally.bytes += self.open.heap_bytes() as isize - before as isize;
            tally.samples += 1;
            if self.open.len() >= sealer.seal_at {
                self.seal_open(sealer, tally);
            }
            return Outcome::Appended;
        }
        self.push_late(time, value, sealer, tally)
    }

    #[cold]
    fn seal_open(&mut self, sealer: &mut Sealer, tally: &mut Tally) {
        let before = self.list_bytes() + self.open.heap_bytes();
        let sealed = Arc::make_mut(self.sealed.get_or_insert_default());
        let (old, chunks) = (sealed.len(), self.open.len().div_ceil(CHUNK_SAMPLES));
        if sealed.capacity() < old + chunks {
            sealed.reserve_exact(chunks + old / 4); // doubling would waste what packing saved
        }
        sealer.seal_open(&self.open, sealed);
        tally.bytes += sealed[old..].iter().map(SealedChunk::bytes).sum::<usize>() as isize;
        self.open.clear();
        tally.bytes += (self.list_bytes() + self.open.heap_bytes()) as isize - before as isize;
    }

    #[cold]
    fn push_late(&mut self, time: i64, value: f64, sealer: &mut Sealer, tally: &mut Tally) -> Outcome {
        let bits = value.to_bits();
        if let Some(old) = self.at(time) {
            if old == bits {
                return Outcome::Duplicate;
            }
            let replaced = beats(value, f64::from_bits(old));
            if replaced {
                self.follow(tally, |series| series.replace(time, bits, sealer));
            }
            return Outcome::Conflict { old, replaced };
        }
        let before = self.rest_bytes();
        let late = &mut self.rest.get_or_insert_default().late;
        let at = late.partition_point(|&(have, _)| have < time);
        late.insert(at, (time, bits));
        let is_full = late.len() >= LATE_SAMPLES;
        tally.samples += 1;
        tally.bytes += self.rest_bytes() as isize - before as isize;
        if is_full {
            self.follow(tally, |series| series.merge_late(sealer));
        }
        Outcome::Late
    }

    /// Adds a sample before the boundary: beside what is frozen, if that does not hold it or a better one.
    #[cold]
    fn push_behind(&mut self, time: i64, value: f64, sealer: &mut Sealer, tally: &mut Tally) -> Outcome {
        let is_behind = self.behind().is_some_and(|behind| behind.at(time).is_some());
        let frozen = self.at(time).filter(|_| !is_behind);
        if let Some(old) = frozen {
            if old == value.to_bits() {
                return Outcome::Duplicate;
            }
            if !beats(value, f64::from_bits(old)) {
                return Outcome::Conflict { old, replaced: false };
            }
        }
        let before = self.rest_bytes();
        let id = self.id;
        let behind = self.rest.get_or_insert_default().behind.get_or_insert_with(|| Box::new(Self::new(id)));
        let mut inner = Tally::default();
        let outcome = behind.push(time, value, i64::MIN, sealer, &mut inner);
        tally.samples += inner.samples;
        tally.bytes += self.rest_bytes() as isize - before as isize;
        match (frozen, outcome) {
            (Some(old), _) => Outcome::Conflict { old, replaced: true },
            (None, Outcome::Appended) => Outcome::Late,
            (None, outcome) => outcome,
        }
    }

    /// Adds a native histogram. What lies before the boundary is frozen.
    pub(crate) fn push_histogram(
        &mut self,
        time: i64,
        bytes: &Arc<[u8]>,
        boundary: i64,
        tally: &mut Tally,
    ) -> Outcome {
        let before = (self.rest_bytes(), self.histogram_count());
        let id = self.id;
        let rest = self.rest.get_or_insert_default();
        let outcome = if time < boundary {
            let frozen = rest.histogram(time).cloned();
            match frozen {
                Some(old) if old == *bytes => Outcome::Duplicate,
                Some(old) if old[..] > bytes[..] => Outcome::Conflict { old: 0, replaced: false },
                frozen => {
                    let behind = rest.behind.get_or_insert_with(|| Box::new(Self::new(id)));
                    match (frozen, behind.rest.get_or_insert_default().put_histogram(time, bytes)) {
                        (Some(_), _) => Outcome::Conflict { old: 0, replaced: true },
                        (None, Outcome::Appended) => Outcome::Late,
                        (None, outcome) => outcome,
                    }
                }
            }
        } else {
            rest.put_histogram(time, bytes)
        };
        tally.bytes += self.rest_bytes() as isize - before.0 as isize;
        tally.histograms += self.histogram_count() as isize - before.1 as isize;
        outcome
    }

    /// Changes the series in any way and finds the difference the long way.
    fn follow(&mut self, tally: &mut Tally, change: impl FnOnce(&mut Self)) {
        let figures = |series: &Self| {
            [series.heap_bytes(), series.count(), series.histogram_count()].map(|figure| figure as isize)
        };
        let before = figures(self);
        change(self);
        let after = figures(self);
        tally.bytes += after[0] - before[0];
        tally.samples += after[1] - before[1];
        tally.histograms += after[2] - before[2];
    }

    /// The bits at a time, wherever they stand but behind.
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
        if let Some(rest) = &mut self.rest
            && let Ok(index) = rest.late.binary_search_by_key(&time, |&(have, _)| have)
        {
            rest.late[index].1 = bits;
        } else if !self.open.is_empty() && time >= self.open.first() {
            let mut samples = self.open.samples();
            put_bits(&mut samples, time, bits);
            self.open.refill(&samples);
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
        let Some(rest) = &mut self.rest else { return };
        let late = std::mem::take(&mut rest.late);
        self.drop_empty_rest();
        let mut old = self.sealed.take().map(Arc::unwrap_or_clone).unwrap_or_default();
        if !self.open.is_empty() && late.last().is_some_and(|last| last.0 > self.open.first()) {
            sealer.seal_open(&self.open, &mut old);
            self.open.clear();
        }
        let mut merged = Merged { chunks: Vec::with_capacity(old.len() + 4), sealer };
        let mut rest = late.as_slice();
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
        self.sealed = Some(merged.chunks).filter(|chunks| !chunks.is_empty()).map(Arc::new);
    }

    fn drop_empty_rest(&mut self) {
        if self.rest.as_ref().is_some_and(|rest| rest.is_empty()) {
            self.rest = None;
        }
    }

    /// Forgets what lies before the boundary, and puts what came behind it in its place.
    pub(crate) fn drop_frozen(&mut self, boundary: i64, sealer: &mut Sealer, tally: &mut Tally) {
        let behind = self.rest.as_ref().is_some_and(|rest| rest.behind.is_some());
        if !behind && self.first().is_none_or(|first| first >= boundary) {
            return;
        }
        self.follow(tally, |series| {
            let behind = series.rest.as_mut().and_then(|rest| rest.behind.take());
            if let Some(before) = boundary.checked_sub(1) {
                series.remove_own(i64::MIN, before, sealer);
            }
            if let Some(behind) = behind {
                series.absorb(*behind, sealer);
            }
            series.drop_empty_rest();
        });
    }

    /// Takes in a series all of which lies before all of this one.
    fn absorb(&mut self, mut behind: Self, sealer: &mut Sealer) {
        if let Some(mut theirs) = behind.rest.as_mut().map(|rest| std::mem::take(&mut rest.histograms))
            && !theirs.is_empty()
        {
            let rest = self.rest.get_or_insert_default();
            rest.histogram_bytes += theirs.iter().map(|(_, bytes)| bytes.len() + ALLOCATION).sum::<usize>();
            theirs.append(&mut rest.histograms);
            rest.histograms = theirs;
        }
        let count = behind.count();
        if count == 0 {
            return;
        }
        self.open.raise_last(behind.open.last());
        if count < OWN_CHUNK_SAMPLES && count + self.late().len() < LATE_SAMPLES {
            let mut samples = behind.samples();
            let late = &mut self.rest.get_or_insert_default().late;
            samples.append(late);
            *late = samples;
            return;
        }
        behind.merge_late(sealer);
        let mut chunks = behind.sealed.take().map(Arc::unwrap_or_clone).unwrap_or_default();
        if !behind.open.is_empty() {
            sealer.seal_open(&behind.open, &mut chunks);
        }
        chunks.extend(self.sealed.take().map(Arc::unwrap_or_clone).unwrap_or_default());
        self.sealed = Some(Arc::new(chunks));
    }

    /// Removes all within a span (inclusive), what is frozen and what is behind included.
    pub(crate) fn remove(&mut self, start: i64, end: i64, sealer: &mut Sealer, tally: &mut Tally) {
        if self.span().is_none_or(|(first, last)| first > end || last < start) {
            return;
        }
        self.follow(tally, |series| {
            series.remove_own(start, end, sealer);
            if let Some(rest) = &mut series.rest
                && let Some(behind) = &mut rest.behind
            {
                behind.remove_own(start, end, sealer);
                behind.drop_empty_rest();
                if behind.is_empty() {
                    rest.behind = None;
                }
            }
            series.drop_empty_rest();
        });
    }

    fn remove_own(&mut self, start: i64, end: i64, sealer: &mut Sealer) {
        let keeps = |time: i64| time < start || time > end;
        if let Some(rest) = &mut self.rest {
            rest.late.retain(|&(time, _)| keeps(time));
            rest.late.shrink_to(rest.late.len() * 2);
            rest.remove_histograms(start, end);
        }
        if self.sealed.as_ref().is_some_and(|sealed| sealed.iter().any(|chunk| chunk.overlaps(start, end))) {
            let old = self.sealed.take().map(Arc::unwrap_or_clone).unwrap_or_default();
            let mut chunks = Vec::with_capacity(old.len());
            for chunk in old {
                if keeps(chunk.first) && keeps(chunk.last) && !(chunk.first < start && chunk.last > end) {
                    chunks.push(chunk);
                } else if !(start <= chunk.first && chunk.last <= end) {
                    let mut samples = chunk.samples();
                    samples.retain(|&(time, _)| keeps(time));
                    if !samples.is_empty() {
                        chunks.push(sealer.seal(&samples));
                    }
                }
            }
            chunks.shrink_to_fit();
            self.sealed = (!chunks.is_empty()).then(|| Arc::new(chunks));
        }
        if !self.open.is_empty() && self.open.first() <= end && self.open.last() >= start {
            if start <= self.open.first() && self.open.last() <= end {
                self.open.release();
            } else {
                let mut samples = self.open.samples();
                samples.retain(|&(time, _)| keeps(time));
                if keeps(self.open.last()) {
                    self.open.refill(&samples);
                } else {
                    // What is left is sealed: the open chunk must go on to know the latest time that the series ever had.
                    self.open.clear();
                    Arc::make_mut(self.sealed.get_or_insert_default()).push(sealer.seal(&samples));
                }
            }
        }
    }

    /// Seals an open chunk that outgrew what one chunk holds while a journal was replayed.
    pub(crate) fn seal_long(&mut self, sealer: &mut Sealer, tally: &mut Tally) {
        if self.open.len() >= CHUNK_SAMPLES {
            self.seal_open(sealer, tally);
        }
    }

    /// Drops what lies wholly before the floor (chunk by chunk). Readers that hold the chunks keep them until they are done.
    pub(crate) fn sweep(&mut self, floor: i64, idle_before: i64, tally: &mut Tally) {
        if self.first().is_none_or(|first| first >= floor) {
            if self.open.last() < idle_before {
                let before = self.open.heap_bytes();
                self.open.shrink();
                tally.bytes += self.open.heap_bytes() as isize - before as isize;
            }
            return;
        }
        self.follow(tally, |series| {
            series.sweep_own(floor);
            if let Some(rest) = &mut series.rest
                && let Some(behind) = &mut rest.behind
            {
                behind.sweep_own(floor);
                if behind.is_empty() {
                    rest.behind = None;
                }
            }
            series.drop_empty_rest();
        });
    }

    fn sweep_own(&mut self, floor: i64) {
        if let Some(sealed) = &mut self.sealed {
            let gone = sealed.partition_point(|chunk| chunk.last < floor);
            if gone > 0 {
                let sealed = Arc::make_mut(sealed);
                sealed.drain(..gone);
                sealed.shrink_to(sealed.len() + sealed.len() / 8);
            }
            if sealed.is_empty() {
                self.sealed = None;
            }
        }
        if let Some(rest) = &mut self.rest {
            rest.late.retain(|&(time, _)| time >= floor);
            if let Some(before) = floor.checked_sub(1) {
                rest.remove_histograms(i64::MIN, before);
            }
        }
        self.drop_empty_rest();
        if !self.open.is_empty() && self.open.last() < floor {
            self.open.release();
        }
    }
}

/// Builds the list of sealed chunks anew.
struct Merged<'a> {
    chunks: Vec<SealedChunk>,
    sealer: &'a mut Sealer,
}

impl Merged<'_> {
    /// Adds samples, as one chunk or as even parts where they are too many for one.
    fn seal(&mut self, samples: &[(i64, u64)]) {
        if samples.is_empty() {
            return;
        }
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

    fn assert_tally(tally: &Tally, series: &Series) {
        let expected = Tally {
            bytes: series.heap_bytes() as isize,
            samples: series.count() as isize,
            histograms: series.histogram_count() as isize,
        };
        assert_eq!(*tally, expected, "memory and samples are followed exactly");
    }

    /// Pushes samples into a series and a plain map and compares them at the end.
    fn check(samples: &[(i64, f64)]) -> Series {
        let (mut series, mut sealer, mut tally) = (Series::new(1), Sealer::default(), Tally::default());
        let mut plain = BTreeMap::new();
        for &(time, value) in samples {
            let expected = match plain.get(&time).copied() {
                None => None,
                Some(old) if f64::to_bits(old) == value.to_bits() => Some(Outcome::Duplicate),
                Some(old) => Some(Outcome::Conflict { old: old.to_bits(), replaced: beats(value, old) }),
            };
            let outcome = series.push(time, value, i64::MIN, &mut sealer, &mut tally);
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
        assert_eq!(series.count(), plain.len());
        assert_eq!(
            series.span(),
            plain.first_key_value().map(|(&first, _)| (first, *plain.last_key_value().unwrap().0))
        );
        assert_tally(&tally, &series);
        series
    }

    #[test]
    fn in_order_and_backwards_and_woven() {
        check(&(0..1000).map(|i| (i, i as f64)).collect::<Vec<_>>());
        let backwards = check(&(0..1000).rev().map(|i| (i, i as f64)).collect::<Vec<_>>());
        assert!(backwards.sealed().unwrap().len() <= 12, "backfill makes chunks of a good size");
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
        let mut tally = Tally::default();
        series.sweep(240, 0, &mut tally);
        assert_eq!(tally.samples, -241);
        assert_eq!(all(&series).first(), Some(&(240, 240f64.to_bits())));
        series.sweep(1000, 0, &mut tally);
        assert_eq!(tally.samples, -1001);
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
