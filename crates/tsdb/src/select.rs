//! Reading: the head's copies first, then the published blocks, joined by label order and time.
//!
//! In that order, because what a flush moves from the head to blocks is published before the head lets it go: a reader finds it in
//! one of them or in both, where equal samples are one. All of a selection is seen as it was when it was made, however long
//! it is read. Label names, values and series come from the indexes; blocks answer for their whole span, as Prometheus' do.

#[allow(dead_code)] // until the engine publishes blocks
mod block;
mod head;
mod merge;

use std::collections::BTreeSet;

use model::{Labels, Selection, SeriesSet, SeriesSource, SourceError, Timestamp};

use crate::SeriesRef;
use crate::head::Data;
use crate::index::pattern::Condition;
use crate::wal::Shared;
use head::Snapshot;
use merge::{Merged, Part, label_order};

fn overlaps(span: Option<(i64, i64)>, start: i64, end: i64) -> bool {
    span.is_some_and(|(first, last)| first <= end && last >= start)
}

/// Whether a series has samples in a span. One that was only defined has none anywhere.
fn is_alive(data: &Data, series: SeriesRef, start: i64, end: i64) -> bool {
    data.get(series).is_some_and(|series| overlaps(series.span(), start, end))
}

impl Shared {
    /// Series in memory that satisfy the conditions, whatever their samples.
    fn find(&self, conditions: &[Condition<'_>]) -> Vec<(SeriesRef, Labels)> {
        let registry = self.registry.read();
        let ids = registry.index.find_all(conditions, |id| registry.labels_by_id(id));
        ids.into_iter().map(|id| (registry.by_id(id), registry.labels_by_id(id).clone())).collect()
    }

    /// Label sets of the series in memory that satisfy the conditions and have samples in a span, in no order.
    fn find_alive(&self, conditions: &[Condition<'_>], (start, end): (i64, i64)) -> Vec<Labels> {
        let found = self.find(conditions);
        let data = self.head.read();
        let alive = |series: SeriesRef| is_alive(&data, series, start, end);
        found.into_iter().filter(|(series, _)| alive(*series)).map(|(_, labels)| labels).collect()
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
        let data = self.head.read();
        self.fill(&mut snapshot, found, &data)?;
        Ok(snapshot)
    }

    fn fill(
        &self,
        snapshot: &mut Snapshot,
        found: Vec<(SeriesRef, Labels)>,
        data: &Data,
    ) -> Result<(), SourceError> {
        let bytes_max = self.options.select_bytes_max;
        for (series, labels) in found {
            let Some(series) = data.get(series) else { continue };
            if !overlaps(series.span(), snapshot.start, snapshot.end) {
                continue;
            }
            snapshot.add(labels, series);
            if snapshot.bytes() > bytes_max {
                let text = format!(
                    "its {} first series need more than select_bytes_max ({bytes_max} bytes): ask for fewer series",
                    snapshot.len()
                );
                return Err(SourceError::TooLarge(text));
            }
        }
        Ok(())
    }

    /// Adds the label names of the series in memory. Without conditions the answer stands in the index, where a name's first
    /// series that has samples ends the search.
    fn head_names(&self, conditions: &[Condition<'_>], span: (i64, i64), into: &mut BTreeSet<String>) {
        if conditions.is_empty() {
            let (registry, data) = (self.registry.read(), self.head.read());
            let names = registry.index.names(|id| is_alive(&data, registry.by_id(id), span.0, span.1));
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
            let (registry, data) = (self.registry.read(), self.head.read());
            let wanted = |id| is_alive(&data, registry.by_id(id), span.0, span.1);
            into.extend(registry.index.values(name, limit, wanted).into_iter().map(str::to_owned));
            return;
        }
        for labels in self.find_alive(conditions, span) {
            if let Some(value) = labels.get(name) {
                add(into, value);
            }
        }
    }

    /// Label sets of a selection, in order, the first `limit` at least.
    fn label_sets(&self, selection: &Selection<'_>, limit: usize) -> Result<Vec<Labels>, SourceError> {
        let (conditions, span) = (Condition::all(selection.matchers), self.clip(selection));
        let mut sets = self.find_alive(&conditions, span);
        sets.sort_unstable_by(label_order);
        Ok(limited(sets, limit))
    }
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
        let head: Box<dyn Part> = Box::new(self.snapshot(&conditions, span)?);
        Ok(Box::new(Merged::new(vec![head])))
    }

    fn label_names(&self, selections: &[Selection<'_>], limit: usize) -> Result<Vec<String>, SourceError> {
        let mut names = BTreeSet::new();
        for selection in or_everything(selections) {
            let (conditions, span) = (Condition::all(selection.matchers), self.clip(selection));
            self.head_names(&conditions, span, &mut names);
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
