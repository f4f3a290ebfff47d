//! Reading: the head's copies first, then the published blocks, joined by label order and time.
//!
//! In that order, because what a flush moves from the head to blocks is published before the head lets it go: a reader finds it in
//! one of them or in both, where equal samples are one. Each series is seen as it was when the selection was made, however
//! long that is read. Label names, values and series come from the indexes; blocks answer for their whole span, as Prometheus' do.

pub(crate) mod block;
mod head;
pub(crate) mod merge;

use std::collections::BTreeSet;
use std::sync::Arc;

use model::{Labels, Selection, SeriesSet, SeriesSource, SourceError, Timestamp};

use crate::SeriesRef;
use crate::block::reader::Block;
use crate::head::Head;
use crate::index::pattern::Condition;
use crate::store::blocks::BlockSet;
use crate::tombstone::Tombstones;
use crate::wal::Shared;
use block::{BlockPart, Found};
use head::Snapshot;
use merge::{Merged, Part, Sets, label_order};

/// Parts that a selection is divided into at most: each is begun by a search in every block.
const PARTS_MAX: usize = 1_024;

fn overlaps(span: Option<(i64, i64)>, start: i64, end: i64) -> bool {
    span.is_some_and(|(first, last)| first <= end && last >= start)
}

/// Whether a series has samples in a span. One that was only defined has none anywhere.
fn is_alive(head: &Head, series: SeriesRef, (start, end): (i64, i64)) -> bool {
    head.get(series).is_some_and(|series| overlaps(series.span(), start, end))
}

impl Shared {
    /// Series in memory that satisfy the conditions, whatever their samples.
    pub(crate) fn find(&self, conditions: &[Condition<'_>]) -> Vec<(SeriesRef, Labels)> {
        let registry = self.registry.read();
        let ids = registry.index.find_all(conditions, |id| registry.labels_by_id(id));
        ids.into_iter().map(|id| (registry.by_id(id), registry.labels_by_id(id).clone())).collect()
    }

    /// Label sets of the series in memory that satisfy the conditions and have samples in a span, in no order.
    fn find_alive(&self, conditions: &[Condition<'_>], span: (i64, i64)) -> Vec<Labels> {
        let found = self.find(conditions).into_iter();
        found.filter(|(series, _)| is_alive(&self.head, *series, span)).map(|(_, labels)| labels).collect()
    }

    /// The selection's span without what lies below the floor.
    fn clip(&self, selection: &Selection<'_>) -> (i64, i64) {
        (selection.start.as_millis().max(self.head.floor()), selection.end.as_millis())
    }

    fn snapshot(
        &self,
        conditions: &[Condition<'_>],
        (start, end): (i64, i64),
    ) -> Result<Snapshot, SourceError> {
        let mut found = self.find(conditions);
        found.sort_unstable_by(|a, b| label_order(&a.1, &b.1));
        let mut snapshot = Snapshot::new(found.len(), start, end);
        let bytes_max = self.options.select_bytes_max;
        for (series, labels) in found {
            let Some(series) = self.head.get(series) else { continue };
            if !overlaps(series.span(), start, end) {
                continue;
            }
            snapshot.add(labels, &series);
            drop(series);
            if snapshot.bytes() > bytes_max {
                let text = format!(
                    "its {} first series need more than select_bytes_max ({bytes_max} bytes): ask for fewer series",
                    snapshot.len()
                );
                return Err(SourceError::TooLarge(text));
            }
        }
        Ok(snapshot)
    }

    /// Adds the label names of the series in memory. Without conditions the answer stands in the index, where a name's first
    /// series that has samples ends the search.
    fn head_names(&self, conditions: &[Condition<'_>], span: (i64, i64), into: &mut BTreeSet<String>) {
        if conditions.is_empty() {
            let registry = self.registry.read();
            let names = registry.index.names(|id| is_alive(&self.head, registry.by_id(id), span));
            into.extend(names.into_iter().map(str::to_owned));
            return;
        }
        for labels in self.find_alive(conditions, span) {
            for (name, _) in &labels {
                add(into, name);
            }
        }
    }

    /// As [`Shared::head_names`], with the values of a label.
    fn head_values(
        &self,
        name: &str,
        conditions: &[Condition<'_>],
        span: (i64, i64),
        limit: usize,
        into: &mut BTreeSet<String>,
    ) {
        if conditions.is_empty() {
            let registry = self.registry.read();
            let wanted = |id| is_alive(&self.head, registry.by_id(id), span);
            into.extend(registry.index.values(name, limit, wanted).into_iter().map(str::to_owned));
            return;
        }
        for labels in self.find_alive(conditions, span) {
            if let Some(value) = labels.get(name) {
                add(into, value);
            }
        }
    }

    /// Label sets of a selection, in order, at most `limit` where that is not 0.
    fn label_sets(&self, selection: &Selection<'_>, limit: usize) -> Result<Vec<Labels>, SourceError> {
        let (conditions, span) = (Condition::all(selection.matchers), self.clip(selection));
        let mut alive = self.find_alive(&conditions, span);
        alive.sort_unstable_by(label_order);
        let mut parts = self.block_parts(&conditions, span)?;
        if parts.is_empty() {
            return Ok(limited(alive, limit));
        }
        parts.push(Box::new(Sets::new(alive)));
        let (mut merged, mut sets) = (Merged::new(parts), Vec::new());
        while (limit == 0 || sets.len() < limit) && merged.advance()? {
            sets.push(merged.labels().clone());
        }
        Ok(sets)
    }

    /// What is found in the published blocks that reach into a span. To be asked for after the head's: see above.
    fn found<'m>(
        &self,
        conditions: &[Condition<'m>],
        span: (i64, i64),
    ) -> Result<Vec<InBlock<'m>>, SourceError> {
        let set = self.block_set();
        let mut all = Vec::new();
        for block in within(&set, span) {
            let found = block::find(&**block, conditions)?;
            if !found.is_empty() {
                all.push(InBlock { block: Arc::clone(block), cuts: Arc::clone(&set.tombstones), found });
            }
        }
        Ok(all)
    }

    /// The parts of the published blocks that reach into a span.
    fn block_parts(
        &self,
        conditions: &[Condition<'_>],
        span: (i64, i64),
    ) -> Result<Vec<Box<dyn Part>>, SourceError> {
        Ok(self.found(conditions, span)?.into_iter().map(|found| found.part(span)).collect())
    }
}

/// What was found in a block.
struct InBlock<'m> {
    block: Arc<Block>,
    cuts: Arc<Tombstones>,
    found: Found<'m>,
}

impl InBlock<'_> {
    fn part(self, span: (i64, i64)) -> Box<dyn Part> {
        Box::new(BlockPart::new(self.block, self.cuts, self.found, span))
    }
}

/// Where a selection is divided into parts of about `every` series: by those of the source that has most.
fn borders(head: &Snapshot, blocks: &[InBlock<'_>], every: usize) -> Result<Vec<Labels>, SourceError> {
    match blocks.iter().max_by_key(|in_block| in_block.found.len()) {
        Some(most) if most.found.len() > head.len() => most.found.borders(&*most.block, every),
        _ => Ok((every..head.len()).step_by(every).map(|at| head.labels_of(at).clone()).collect()),
    }
}

/// One after the other what the whole selection is.
fn divided(
    head: Snapshot,
    blocks: Vec<InBlock<'_>>,
    every: usize,
    span: (i64, i64),
) -> Result<Vec<Merged<'static>>, SourceError> {
    let borders = borders(&head, &blocks, every)?;
    let mut sources: Vec<Vec<Box<dyn Part>>> = (0..=borders.len()).map(|_| Vec::new()).collect();
    for InBlock { block, cuts, found } in blocks {
        for (sources, found) in sources.iter_mut().zip(found.divide(&*block, &borders, every)?) {
            if !found.is_empty() {
                let in_block = InBlock { block: Arc::clone(&block), cuts: Arc::clone(&cuts), found };
                sources.push(in_block.part(span));
            }
        }
    }
    let is_before = |at: usize, border: &Labels| label_order(head.labels_of(at), border).is_lt();
    let places: Vec<usize> = borders
        .iter()
        .map(|border| {
            let (mut low, mut high) = (0, head.len());
            while low < high {
                let middle = low + (high - low) / 2;
                if is_before(middle, border) { low = middle + 1 } else { high = middle }
            }
            low
        })
        .collect();
    for (sources, head) in sources.iter_mut().zip(head.divide(&places)) {
        if head.len() > 0 {
            sources.push(Box::new(head));
        }
    }
    Ok(sources.into_iter().map(Merged::new).collect())
}

fn within(set: &BlockSet, (start, end): (i64, i64)) -> impl Iterator<Item = &Arc<Block>> {
    set.blocks.iter().filter(move |block| {
        let meta = block.meta();
        overlaps(Some((meta.min_time, meta.max_time)), start, end)
    })
}

fn add(into: &mut BTreeSet<String>, text: &str) {
    if !into.contains(text) {
        into.insert(text.to_owned());
    }
}

fn limited<T>(all: impl IntoIterator<Item = T>, limit: usize) -> Vec<T> {
    all.into_iter().take(if limit == 0 { usize::MAX } else { limit }).collect()
}

/// What is asked for where no selection is given.
const EVERYTHING: Selection<'static> =
    Selection { matchers: &[], start: Timestamp::MIN, end: Timestamp::MAX };

fn or_everything<'s, 'a>(selections: &'s [Selection<'a>]) -> &'s [Selection<'a>] {
    if selections.is_empty() { std::slice::from_ref(&EVERYTHING) } else { selections }
}

impl SeriesSource for Shared {
    fn select<'a>(
        &'a self,
        selection: &Selection<'_>,
    ) -> Result<Box<dyn SeriesSet + Send + 'a>, SourceError> {
        let (conditions, span) = (Condition::all(selection.matchers), self.clip(selection));
        let head = self.snapshot(&conditions, span)?;
        let mut parts = self.block_parts(&conditions, span)?;
        if head.len() > 0 {
            parts.push(Box::new(head));
        }
        Ok(Box::new(Merged::new(parts)))
    }

    fn select_parts<'a>(
        &'a self,
        selection: &Selection<'_>,
        series: usize,
    ) -> Result<Vec<Box<dyn SeriesSet + Send + 'a>>, SourceError> {
        let (conditions, span) = (Condition::all(selection.matchers), self.clip(selection));
        let head = self.snapshot(&conditions, span)?;
        let blocks = self.found(&conditions, span)?;
        let most = blocks.iter().map(|in_block| in_block.found.len()).fold(head.len(), usize::max);
        let every = series.max(most / PARTS_MAX).max(1);
        let parts = divided(head, blocks, every, span)?.into_iter();
        Ok(parts.map(|part| Box::new(part) as Box<dyn SeriesSet + Send + 'a>).collect())
    }

    fn label_names(&self, selections: &[Selection<'_>], limit: usize) -> Result<Vec<String>, SourceError> {
        let mut names = BTreeSet::new();
        for selection in or_everything(selections) {
            let (conditions, span) = (Condition::all(selection.matchers), self.clip(selection));
            self.head_names(&conditions, span, &mut names);
            for block in within(&self.block_set(), span) {
                block::label_names(&**block, &conditions, &mut names)?;
            }
        }
        Ok(limited(names, limit))
    }

    fn label_values(
        &self,
        name: &str,
        selections: &[Selection<'_>],
        limit: usize,
    ) -> Result<Vec<String>, SourceError> {
        let mut values = BTreeSet::new();
        for selection in or_everything(selections) {
            let (conditions, span) = (Condition::all(selection.matchers), self.clip(selection));
            self.head_values(name, &conditions, span, limit, &mut values);
            for block in within(&self.block_set(), span) {
                block::label_values(&**block, name, &conditions, limit, &mut values)?;
            }
        }
        Ok(limited(values, limit))
    }

    fn series(&self, selections: &[Selection<'_>], limit: usize) -> Result<Vec<Labels>, SourceError> {
        let mut sets = Vec::new();
        for selection in or_everything(selections) {
            sets.append(&mut self.label_sets(selection, limit)?);
        }
        sets.sort_unstable_by(label_order);
        sets.dedup();
        Ok(limited(sets, limit))
    }
}
