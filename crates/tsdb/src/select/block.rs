//! A block's part of a selection, and what a block says of label names and values.
//!
//! In: a block and conditions. Out: its series in label order, which is the order of their numbers, each with its labels; samples are
//! read when asked for. Matchers that the index leaves over are asked of the labels, which are needed anyway. A block whose
//! frames cannot be read ends a selection with an error that names file and place: an answer with holes would be believed.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::{Columns, Labels, Matcher, SourceError};
use roaring::RoaringBitmap;

use super::merge::{Histogram, Part, label_order};
use crate::error::BlockError;
use crate::index::block::BlockIndex;
use crate::index::pattern::Condition;
use crate::tombstone::{self, Tombstones};

/// Series whose labels are looked at one by one rather than to ask the index which names they bear.
const FEW: u64 = if cfg!(test) { 4 } else { 1_000 };

/// What a series' labels cost, in bytes of postings that could be read instead.
const LABELS_COST: u64 = if cfg!(test) { 4 } else { 256 };

/// A block, as far as reading needs it.
pub(crate) trait Stored: Send + Sync {
    /// What reading keeps between series.
    type Scratch: Default + Send;

    /// Its number.
    fn number(&self) -> u64;

    /// Its index.
    fn index(&self) -> Result<BlockIndex<'_>, BlockError>;

    /// Labels of a series.
    fn labels(&self, series: u32, scratch: &mut Self::Scratch) -> Result<Labels, BlockError>;

    /// Appends a series' samples between two times, both inclusive.
    fn read(
        &self,
        series: u32,
        span: (i64, i64),
        scratch: &mut Self::Scratch,
        into: &mut Columns,
    ) -> Result<(), BlockError>;

    /// Appends a series' histograms between two times, both inclusive.
    fn histograms(
        &self,
        series: u32,
        span: (i64, i64),
        scratch: &mut Self::Scratch,
        into: &mut Vec<Histogram>,
    ) -> Result<(), BlockError>;
}

/// What was deleted of blocks and is still in them.
pub(crate) trait Cuts: Send + Sync {
    /// The spans (inclusive) of a block's series that were deleted.
    fn spans(&self, block: u64, labels: &Labels) -> Vec<(i64, i64)>;
}

impl Cuts for Tombstones {
    fn spans(&self, block: u64, labels: &Labels) -> Vec<(i64, i64)> {
        Self::spans(self, block, labels)
    }
}

/// The error of a block that cannot be read, as a reader sees it.
pub(crate) fn unreadable(error: BlockError) -> SourceError {
    SourceError::Unreadable(error.to_string())
}

/// The series of a block that satisfy conditions, those left over included.
pub(crate) struct Found<'m> {
    series: RoaringBitmap,
    left: Vec<&'m Matcher>,
}

impl Found<'_> {
    pub(crate) fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// How many they are, with those that the conditions left over may still leave out.
    pub(crate) fn len(&self) -> usize {
        self.series.len() as usize
    }

    /// Every so many series' labels, the first ones left out: where a selection may be divided.
    pub(crate) fn borders<B: Stored>(&self, block: &B, every: usize) -> Result<Vec<Labels>, SourceError> {
        let mut scratch = B::Scratch::default();
        let series = self.series.iter().step_by(every).skip(1);
        series.map(|series| block.labels(series, &mut scratch).map_err(unreadable)).collect()
    }

    /// Parts that end before each of these label sets, which ascend, and one more. Where the same series are found here as there where
    /// the borders were taken, `every` so many, the first look finds each.
    pub(crate) fn divide<B: Stored>(
        self,
        block: &B,
        borders: &[Labels],
        every: usize,
    ) -> Result<Vec<Self>, SourceError> {
        let numbers: Vec<u32> = self.series.iter().collect();
        let mut scratch = B::Scratch::default();
        let mut is_before = |at: usize, border: &Labels| -> Result<bool, SourceError> {
            let labels = block.labels(numbers[at], &mut scratch).map_err(unreadable)?;
            Ok(label_order(&labels, border).is_lt())
        };
        let (mut parts, mut from) = (Vec::with_capacity(borders.len() + 1), 0);
        for (index, border) in borders.iter().enumerate() {
            let (mut low, mut high) = (from, numbers.len());
            let likely = (index + 1) * every;
            if (low + 1..high).contains(&likely) {
                match is_before(likely, border)? {
                    true => low = likely + 1,
                    false if is_before(likely - 1, border)? => (low, high) = (likely, likely),
                    false => high = likely - 1,
                }
            }
            while low < high {
                let middle = low + (high - low) / 2;
                if is_before(middle, border)? { low = middle + 1 } else { high = middle }
            }
            parts.push(numbers[from..low].iter().copied().collect());
            from = low;
        }
        parts.push(numbers[from..].iter().copied().collect());
        Ok(parts.into_iter().map(|series| Self { series, left: self.left.clone() }).collect())
    }
}

/// Looks conditions up.
pub(crate) fn find<'m, B: Stored>(block: &B, conditions: &[Condition<'m>]) -> Result<Found<'m>, SourceError> {
    let mut left = Vec::new();
    let index = block.index().map_err(unreadable)?;
    let series = index.find_rough(conditions, &mut left).map_err(unreadable)?;
    Ok(Found { series, left })
}

fn fits<'m>(labels: &Labels, matchers: impl IntoIterator<Item = &'m Matcher>) -> bool {
    let mut matchers = matchers.into_iter();
    matchers.all(|matcher| matcher.matches(labels.get(matcher.name()).unwrap_or_default()))
}

/// A block's series in a selection.
pub(crate) struct BlockPart<B: Stored> {
    block: Arc<B>,
    cuts: Arc<dyn Cuts>,
    series: roaring::bitmap::IntoIter,
    left: Vec<Matcher>,
    span: (i64, i64),
    current: u32,
    labels: Labels,
    deleted: Vec<(i64, i64)>,
    scratch: B::Scratch,
}

impl<B: Stored> BlockPart<B> {
    pub(crate) fn new(block: Arc<B>, cuts: Arc<dyn Cuts>, found: Found<'_>, span: (i64, i64)) -> Self {
        Self {
            block,
            cuts,
            series: found.series.into_iter(),
            left: found.left.into_iter().cloned().collect(),
            span,
            current: 0,
            labels: Labels::empty(),
            deleted: Vec::new(),
            scratch: B::Scratch::default(),
        }
    }
}

impl<B: Stored> Part for BlockPart<B> {
    fn advance(&mut self) -> Result<bool, SourceError> {
        for series in self.series.by_ref() {
            let labels = self.block.labels(series, &mut self.scratch).map_err(unreadable)?;
            if !fits(&labels, &self.left) {
                continue;
            }
            self.deleted = self.cuts.spans(self.block.number(), &labels);
            (self.current, self.labels) = (series, labels);
            return Ok(true);
        }
        Ok(false)
    }

    fn labels(&self) -> &Labels {
        &self.labels
    }

    fn read(&mut self, into: &mut Columns) -> Result<(), SourceError> {
        let from = into.len();
        self.block.read(self.current, self.span, &mut self.scratch, into).map_err(unreadable)?;
        tombstone::remove(&self.deleted, into, from);
        Ok(())
    }

    fn read_histograms(&mut self, into: &mut Vec<Histogram>) -> Result<(), SourceError> {
        let from = into.len();
        self.block.histograms(self.current, self.span, &mut self.scratch, into).map_err(unreadable)?;
        tombstone::remove_records(&self.deleted, into, from);
        Ok(())
    }
}

/// Calls back with the labels of found series.
fn each<B: Stored>(block: &B, found: &Found<'_>, mut visit: impl FnMut(&Labels)) -> Result<(), SourceError> {
    let mut scratch = B::Scratch::default();
    for series in &found.series {
        let labels = block.labels(series, &mut scratch).map_err(unreadable)?;
        if fits(&labels, found.left.iter().copied()) {
            visit(&labels);
        }
    }
    Ok(())
}

/// Adds the label names on a block's series; no conditions ask for all.
pub(crate) fn label_names<B: Stored>(
    block: &B,
    conditions: &[Condition<'_>],
    into: &mut BTreeSet<String>,
) -> Result<(), SourceError> {
    if conditions.is_empty() {
        into.extend(block.index().and_then(|index| index.names(None)).map_err(unreadable)?);
        return Ok(());
    }
    let found = find(block, conditions)?;
    if found.left.is_empty() && found.series.len() > FEW {
        into.extend(block.index().and_then(|index| index.names(Some(&found.series))).map_err(unreadable)?);
        return Ok(());
    }
    each(block, &found, |labels| {
        for (name, _) in labels {
            add(into, name);
        }
    })
}

/// Adds the values of a label on a block's series, the first `limit` at least; no conditions ask for all.
pub(crate) fn label_values<B: Stored>(
    block: &B,
    name: &str,
    conditions: &[Condition<'_>],
    limit: usize,
    into: &mut BTreeSet<String>,
) -> Result<(), SourceError> {
    if conditions.is_empty() {
        into.extend(block.index().and_then(|index| index.values(name, limit, None)).map_err(unreadable)?);
        return Ok(());
    }
    let found = find(block, conditions)?;
    let postings = block.index().and_then(|index| index.postings_bytes(name)).map_err(unreadable)?;
    if found.left.is_empty() && found.series.len() * LABELS_COST > postings {
        let values = block.index().and_then(|index| index.values(name, limit, Some(&found.series)));
        into.extend(values.map_err(unreadable)?);
        return Ok(());
    }
    each(block, &found, |labels| {
        if let Some(value) = labels.get(name) {
            add(into, value);
        }
    })
}

fn add(into: &mut BTreeSet<String>, text: &str) {
    if !into.contains(text) {
        into.insert(text.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use model::{SeriesSet, Timestamp};
    use proptest::prelude::*;

    use super::super::merge::Merged;
    use super::*;
    use crate::block::frame::FrameRef;
    use crate::index::block::tests::{any_matcher, build, fits as all_fit};
    use crate::index::probe::Frames;

    type Series = BTreeMap<Labels, BTreeMap<i64, u64>>;

    /// A block of plain maps with an index of its own.
    struct Plain {
        number: u64,
        series: Vec<(Labels, BTreeMap<i64, u64>)>,
        frames: Frames,
        root: FrameRef,
    }

    impl Plain {
        fn new(number: u64, series: &Series) -> Arc<Self> {
            let series: Vec<_> = series.clone().into_iter().collect();
            let sets: Vec<Labels> = series.iter().map(|(labels, _)| labels.clone()).collect();
            let (frames, root) = build(&sets);
            Arc::new(Self { number, series, frames, root })
        }

        fn within(&self, series: u32, span: (i64, i64)) -> impl Iterator<Item = (Timestamp, u64)> {
            let samples = self.series[series as usize].1.range(span.0..=span.1);
            samples.map(|(time, bits)| (Timestamp::from_millis(*time), *bits))
        }
    }

    impl Stored for Plain {
        type Scratch = ();

        fn number(&self) -> u64 {
            self.number
        }

        fn index(&self) -> Result<BlockIndex<'_>, BlockError> {
            BlockIndex::open(&self.frames, self.root, self.series.len() as u32)
        }

        fn labels(&self, series: u32, (): &mut ()) -> Result<Labels, BlockError> {
            Ok(self.series[series as usize].0.clone())
        }

        fn read(
            &self,
            series: u32,
            span: (i64, i64),
            (): &mut (),
            into: &mut Columns,
        ) -> Result<(), BlockError> {
            self.within(series, span).for_each(|(time, bits)| into.push(time, f64::from_bits(bits)));
            Ok(())
        }

        fn histograms(
            &self,
            series: u32,
            span: (i64, i64),
            (): &mut (),
            into: &mut Vec<Histogram>,
        ) -> Result<(), BlockError> {
            into.extend(self.within(series, span).map(|(time, bits)| (time, Arc::from(bits.to_be_bytes()))));
            Ok(())
        }
    }

    /// Deletes of even blocks what lies from 5 to 8.
    struct Even;

    impl Cuts for Even {
        fn spans(&self, block: u64, _: &Labels) -> Vec<(i64, i64)> {
            if block.is_multiple_of(2) { vec![(5, 8)] } else { Vec::new() }
        }
    }

    fn any_series() -> impl Strategy<Value = Series> {
        let labels =
            proptest::collection::btree_map("[a-c]", "[xyz]{1,2}", 0..4).prop_map(Labels::from_pairs);
        // Samples that are a function of their time: which of two stays is the merge's test.
        let samples = proptest::collection::btree_set(0..12i64, 1..8)
            .prop_map(|times| times.into_iter().map(|time| (time, 1 + time as u64)).collect());
        proptest::collection::btree_map(labels, samples, 1..20)
    }

    fn check(blocks: &[Series], matchers: &[Matcher], span: (i64, i64), limit: usize) {
        let conditions = Condition::all(matchers);
        let blocks: Vec<_> =
            blocks.iter().enumerate().map(|(number, series)| Plain::new(number as u64, series)).collect();
        let mut expected: Series = BTreeMap::new();
        for (number, block) in blocks.iter().enumerate() {
            for (labels, samples) in block.series.iter().filter(|(labels, _)| all_fit(labels, matchers)) {
                let known = expected.entry(labels.clone()).or_default();
                let kept = samples.range(span.0..=span.1);
                known.extend(kept.filter(|(time, _)| number % 2 == 1 || !(5..=8).contains(*time)));
            }
        }
        let part = |block: &Arc<Plain>| -> Box<dyn Part> {
            let found = find(&**block, &conditions).expect("whole");
            Box::new(BlockPart::new(Arc::clone(block), Arc::new(Even), found, span))
        };
        let mut merged = Merged::new(blocks.iter().map(part).collect());
        let (mut columns, mut histograms) = (Columns::default(), Vec::new());
        for (labels, samples) in &expected {
            assert!(merged.advance().expect("whole"));
            assert_eq!(merged.labels(), labels);
            merged.read(&mut columns).expect("whole");
            let read = columns.iter().map(|sample| (sample.timestamp.as_millis(), sample.value.to_bits()));
            assert!(read.eq(samples.iter().map(|(time, bits)| (*time, *bits))));
            merged.read_histograms(&mut histograms).expect("whole");
            let read = histograms.iter().map(|(time, bytes)| (time.as_millis(), bytes.to_vec()));
            assert!(read.eq(samples.iter().map(|(time, bits)| (*time, bits.to_be_bytes().to_vec()))));
        }
        assert!(!merged.advance().expect("whole"));
        let (mut names, mut values) = (BTreeSet::new(), BTreeSet::new());
        for block in &blocks {
            label_names(&**block, &conditions, &mut names).expect("whole");
            label_values(&**block, "a", &conditions, limit, &mut values).expect("whole");
        }
        let pairs: BTreeSet<(&str, &str)> = expected.keys().flatten().collect();
        let own: BTreeSet<String> = pairs.iter().map(|pair| pair.0.to_owned()).collect();
        assert_eq!(names, own);
        let own = pairs.iter().filter(|pair| pair.0 == "a").map(|pair| pair.1).take(limit);
        assert!(values.iter().map(String::as_str).take(limit).eq(own));
    }

    proptest! {
        #[test]
        fn blocks_are_read_as_plain_maps_are(
            blocks in proptest::collection::vec(any_series(), 0..4),
            matchers in proptest::collection::vec(any_matcher(), 0..3),
            span in (0..12i64, 0..12i64),
            limit in 1..5usize,
        ) {
            check(&blocks, &matchers, span.min((span.1, span.0)), limit);
        }
    }
}
