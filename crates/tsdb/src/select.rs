//! Reading: a selection is found in the index, its chunks are copied or shared under one short lock, and samples are decoded
//! only when they are read, without any lock. All series of a selection are seen at the same moment.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use model::{Columns, Labels, Selection, SeriesSet, SeriesSource, SourceError, Timestamp};

use crate::SeriesRef;
use crate::chunk::{SealedChunk, clip, decode_tokens};
use crate::head::Data;
use crate::series::Series;
use crate::varint::Cursor;
use crate::wal::Shared;

/// Estimated bytes of memory for a selected series beside its copied samples.
const ITEM_BYTES: usize = 120;

/// A selected series: shared sealed chunks, and where its copies stand.
struct Item {
    labels: Labels,
    sealed: Option<Arc<Vec<SealedChunk>>>,
    open: Range<usize>,
    open_first: i64,
    open_count: u16,
    late: Range<usize>,
}

/// A selection's series, in label order.
struct Snapshot {
    items: Vec<Item>,
    tokens: Vec<u8>,
    late: Vec<(i64, u64)>,
    /// One past the current item.
    next: usize,
    start: i64,
    end: i64,
}

fn overlaps(span: Option<(i64, i64)>, start: i64, end: i64) -> bool {
    span.is_some_and(|(first, last)| first <= end && last >= start)
}

/// Whether a series has samples in a span. One that was only defined has none anywhere.
fn is_alive(data: &Data, series: SeriesRef, start: i64, end: i64) -> bool {
    data.get(series).is_some_and(|series| overlaps(series.span(), start, end))
}

impl Snapshot {
    /// Copies what may change and shares what may not.
    fn add(&mut self, labels: Labels, series: &Series) {
        let sealed = series.sealed().filter(|sealed| {
            sealed
                .first()
                .zip(sealed.last())
                .is_some_and(|(a, b)| overlaps(Some((a.first, b.last)), self.start, self.end))
        });
        let (tokens_from, late_from) = (self.tokens.len(), self.late.len());
        let open = &series.open;
        let reads_open =
            !open.is_empty() && overlaps(Some((open.first(), open.last())), self.start, self.end);
        if reads_open {
            self.tokens.extend_from_slice(open.tokens());
        }
        let in_span = series.late().iter().filter(|late| (self.start..=self.end).contains(&late.0));
        self.late.extend(in_span);
        self.items.push(Item {
            labels,
            sealed: sealed.cloned(),
            open: tokens_from..self.tokens.len(),
            open_first: open.first(),
            open_count: if reads_open { open.len() as u16 } else { 0 },
            late: late_from..self.late.len(),
        });
    }

    fn bytes(&self) -> usize {
        self.items.len() * ITEM_BYTES + self.tokens.len() + self.late.len() * size_of::<(i64, u64)>()
    }
}

impl SeriesSet for Snapshot {
    fn advance(&mut self) -> Result<bool, SourceError> {
        self.next = (self.next + 1).min(self.items.len() + 1);
        Ok(self.next <= self.items.len())
    }

    fn labels(&self) -> &Labels {
        let at = self.next.checked_sub(1).expect("labels are asked for after the first advance");
        &self.items[at].labels
    }

    fn read(&mut self, into: &mut Columns) -> Result<(), SourceError> {
        into.clear();
        let at = self.next.checked_sub(1).expect("samples are asked for after the first advance");
        let item = &self.items[at];
        let (start, end) = (Timestamp::from_millis(self.start), Timestamp::from_millis(self.end));
        if let Some(sealed) = &item.sealed {
            let first = sealed.partition_point(|chunk| chunk.last < self.start);
            for chunk in sealed[first..].iter().take_while(|chunk| chunk.first <= self.end) {
                let from = into.len();
                chunk.decode(into);
                if chunk.first < self.start || chunk.last > self.end {
                    clip(into, from, start, end);
                }
            }
        }
        if item.open_count > 0 {
            let from = into.len();
            decode_tokens(&self.tokens[item.open.clone()], item.open_first, item.open_count, into);
            clip(into, from, start, end);
        }
        merge(into, &self.late[item.late.clone()]);
        Ok(())
    }
}

/// Merges late samples (in time order, at times of their own) into columns, from the back, in place.
fn merge(into: &mut Columns, late: &[(i64, u64)]) {
    let (mut have, mut left) = (into.len(), late.len());
    into.timestamps.resize(have + left, Timestamp::MAX);
    into.values.resize(have + left, 0.0);
    while left > 0 {
        let (time, bits) = late[left - 1];
        let to = have + left - 1;
        if have > 0 && into.timestamps[have - 1].as_millis() > time {
            into.timestamps[to] = into.timestamps[have - 1];
            into.values[to] = into.values[have - 1];
            have -= 1;
        } else {
            into.timestamps[to] = Timestamp::from_millis(time);
            into.values[to] = f64::from_bits(bits);
            left -= 1;
        }
    }
}

/// The order of [`Labels`], without looking whether the bytes are UTF-8 once more: large selections spend most of their time here.
fn label_order(a: &Labels, b: &Labels) -> Ordering {
    let (mut a, mut b) = (Cursor::new(a.as_bytes()), Cursor::new(b.as_bytes()));
    loop {
        match (a.bytes(), b.bytes()) {
            (Some(one), Some(other)) if one == other => {}
            (one, other) => return one.cmp(&other), // a set that ends is the lesser one
        }
    }
}

impl Shared {
    /// Series that satisfy the matchers, whatever their samples.
    fn find(&self, selection: &Selection<'_>) -> Vec<(SeriesRef, Labels)> {
        let registry = self.registry.read();
        let ids = registry.index.find(selection.matchers, |id| registry.labels_by_id(id));
        ids.into_iter().map(|id| (registry.by_id(id), registry.labels_by_id(id).clone())).collect()
    }

    /// Label sets of the series that satisfy the selection and have samples in its span, in no order.
    fn find_alive(&self, selection: &Selection<'_>) -> Vec<Labels> {
        let found = self.find(selection);
        let (start, end) = self.clip(selection);
        let data = self.head.read();
        let alive = |series: SeriesRef| is_alive(&data, series, start, end);
        found.into_iter().filter(|(series, _)| alive(*series)).map(|(_, labels)| labels).collect()
    }

    /// The span of a question that no matcher narrows: its answer stands in the index, where a value's first series that has
    /// samples ends the search.
    fn without_matchers(&self, selections: &[Selection<'_>]) -> Option<(i64, i64)> {
        match selections {
            [] => Some((self.head.floor(), i64::MAX)),
            [selection] if selection.matchers.is_empty() => Some(self.clip(selection)),
            _ => None,
        }
    }

    /// The selection's span without what lies below the floor.
    fn clip(&self, selection: &Selection<'_>) -> (i64, i64) {
        (selection.start.as_millis().max(self.head.floor()), selection.end.as_millis())
    }

    fn snapshot(&self, selection: &Selection<'_>) -> Result<Snapshot, SourceError> {
        let mut found = self.find(selection);
        found.sort_unstable_by(|a, b| label_order(&a.1, &b.1));
        let (start, end) = self.clip(selection);
        let items = Vec::with_capacity(found.len());
        let mut snapshot = Snapshot { items, tokens: Vec::new(), late: Vec::new(), next: 0, start, end };
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
                    snapshot.items.len()
                );
                return Err(SourceError::TooLarge(text));
            }
        }
        Ok(())
    }
}

fn limited<T>(all: impl IntoIterator<Item = T>, limit: usize) -> Vec<T> {
    all.into_iter().take(if limit == 0 { usize::MAX } else { limit }).collect()
}

impl SeriesSource for Shared {
    fn select<'a>(
        &'a self,
        selection: &Selection<'_>,
    ) -> Result<Box<dyn SeriesSet + Send + 'a>, SourceError> {
        Ok(Box::new(self.snapshot(selection)?))
    }

    fn label_names(&self, selections: &[Selection<'_>], limit: usize) -> Result<Vec<String>, SourceError> {
        if let Some((start, end)) = self.without_matchers(selections) {
            let (registry, data) = (self.registry.read(), self.head.read());
            let names = registry.index.names(|id| is_alive(&data, registry.by_id(id), start, end));
            return Ok(limited(names.into_iter().map(str::to_owned), limit));
        }
        let mut names = BTreeSet::new();
        for labels in selections.iter().flat_map(|selection| self.find_alive(selection)) {
            for (name, _) in &labels {
                if !names.contains(name) {
                    names.insert(name.to_owned());
                }
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
        if let Some((start, end)) = self.without_matchers(selections) {
            let (registry, data) = (self.registry.read(), self.head.read());
            let values = registry.index.values(name, |id| is_alive(&data, registry.by_id(id), start, end));
            return Ok(limited(values.map(str::to_owned), limit));
        }
        let mut values = BTreeSet::new();
        for labels in selections.iter().flat_map(|selection| self.find_alive(selection)) {
            if let Some(value) = labels.get(name)
                && !values.contains(value)
            {
                values.insert(value.to_owned());
            }
        }
        Ok(limited(values, limit))
    }

    fn series(&self, selections: &[Selection<'_>], limit: usize) -> Result<Vec<Labels>, SourceError> {
        let everything = [Selection { matchers: &[], start: Timestamp::MIN, end: Timestamp::MAX }];
        let selections = if selections.is_empty() { &everything } else { selections };
        let mut sets: Vec<Labels> =
            selections.iter().flat_map(|selection| self.find_alive(selection)).collect();
        sets.sort_unstable();
        sets.dedup();
        Ok(limited(sets, limit))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_labels() -> impl Strategy<Value = Labels> {
        proptest::collection::btree_map("[ab]{1,2}|c{130}", "[xy]{1,2}", 0..4).prop_map(Labels::from_pairs)
    }

    proptest! {
        #[test]
        fn series_are_ordered_as_label_sets_are(a in any_labels(), b in any_labels()) {
            prop_assume!(a != b);
            prop_assert_eq!(label_order(&a, &b), a.cmp(&b));
        }
    }
}
