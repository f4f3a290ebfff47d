//! A block's part of a selection, and what a block says of label names and values.
//!
//! In: a block and conditions. Out: its series in label order, which is the order of their numbers, each with its labels; samples are
//! read when asked for. Matchers that the index leaves over are asked of the labels, which are needed anyway. A block whose
//! frames cannot be read ends a selection with an error that names file and place: an answer with holes would be believed.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::{Columns, Labels, Matcher, SourceError};
use roaring::RoaringBitmap;

use super::merge::{Histogram, Part, cut_spans};
use crate::error::BlockError;
use crate::index::block::BlockIndex;
use crate::index::pattern::Condition;

/// Series whose labels are looked at one by one rather than to ask the index which names they bear.
const FEW: u64 = 1_000;

/// What a series' labels cost, in bytes of postings that could be read instead.
const LABELS_COST: u64 = 256;

/// A block, as far as reading needs it.
pub(crate) trait Stored: Send + Sync {
    /// What reading keeps between series.
    type Scratch: Default + Send;

    /// Its number.
    fn number(&self) -> u64;

    /// First and last time in it.
    fn span(&self) -> (i64, i64);

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

/// The error of a block that cannot be read, as a reader sees it.
pub(crate) fn unreadable(error: BlockError) -> SourceError {
    SourceError::Unreadable(error.to_string())
}

/// The series of a block that satisfy conditions, those left over included.
pub(crate) struct Found<'m> {
    series: RoaringBitmap,
    left: Vec<&'m Matcher>,
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
        cut_spans(into, from, &self.deleted);
        Ok(())
    }

    fn read_histograms(&mut self, into: &mut Vec<Histogram>) -> Result<(), SourceError> {
        let from = into.len();
        self.block.histograms(self.current, self.span, &mut self.scratch, into).map_err(unreadable)?;
        let deleted = |time: i64| self.deleted.iter().any(|span| (span.0..=span.1).contains(&time));
        let mut at = 0;
        into.retain(|(time, _)| {
            at += 1;
            at <= from || !deleted(time.as_millis())
        });
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
