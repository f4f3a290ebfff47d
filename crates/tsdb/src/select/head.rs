//! The head's part of a selection: of each series what may change is copied and what may not is shared, under its group's lock for
//! just that; samples are decoded only when they are read, without any lock.

use std::ops::Range;
use std::sync::Arc;

use model::{Columns, Labels, SourceError, Timestamp};

use super::merge::{Histogram, Part};
use super::overlaps;
use crate::chunk::{SealedChunk, clip, decode_tokens};
use crate::series::Series;

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
    /// Whether late samples may stand at times of others, which they replace.
    late_replaces: bool,
    histograms: Range<usize>,
}

/// What was copied, of all series together.
#[derive(Default)]
struct Copies {
    tokens: Vec<u8>,
    late: Vec<(i64, u64)>,
    histograms: Vec<Histogram>,
}

/// A selection's series, in label order.
pub(crate) struct Snapshot {
    items: Vec<Item>,
    /// Shared by the parts that a snapshot is divided into.
    copies: Arc<Copies>,
    /// One past the current item.
    next: usize,
    pub(super) start: i64,
    pub(super) end: i64,
}

impl Snapshot {
    pub(super) fn new(series: usize, start: i64, end: i64) -> Self {
        Self { items: Vec::with_capacity(series), copies: Arc::default(), next: 0, start, end }
    }

    /// The labels of a series.
    pub(super) fn labels_of(&self, at: usize) -> &Labels {
        &self.items[at].labels
    }

    /// Parts that end before each of these places, which ascend, and one more.
    pub(super) fn divide(mut self, places: &[usize]) -> Vec<Self> {
        let mut parts: Vec<_> = places
            .iter()
            .rev()
            .map(|place| {
                let items = self.items.split_off(*place);
                Self { items, copies: Arc::clone(&self.copies), ..self }
            })
            .collect();
        parts.push(self);
        parts.reverse();
        parts
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// Copies what may change and shares what may not.
    pub(super) fn add(&mut self, labels: Labels, series: &Series) {
        let sealed = series.sealed().filter(|sealed| {
            sealed
                .first()
                .zip(sealed.last())
                .is_some_and(|(a, b)| overlaps(Some((a.first, b.last)), self.start, self.end))
        });
        let copies = Arc::get_mut(&mut self.copies).expect("it is divided when all series are in it");
        let (tokens_from, late_from) = (copies.tokens.len(), copies.late.len());
        let open = &series.open;
        let reads_open =
            !open.is_empty() && overlaps(Some((open.first(), open.last())), self.start, self.end);
        if reads_open {
            copies.tokens.extend_from_slice(open.tokens());
        }
        let late_replaces = series.copy_late(self.start, self.end, &mut copies.late);
        let histograms_from = copies.histograms.len();
        series.copy_histograms(self.start, self.end, &mut copies.histograms);
        self.items.push(Item {
            labels,
            sealed: sealed.cloned(),
            open: tokens_from..copies.tokens.len(),
            open_first: open.first(),
            open_count: if reads_open { open.len() as u16 } else { 0 },
            late: late_from..copies.late.len(),
            late_replaces,
            histograms: histograms_from..copies.histograms.len(),
        });
    }

    pub(super) fn bytes(&self) -> usize {
        self.items.len() * ITEM_BYTES
            + self.copies.tokens.len()
            + self.copies.late.len() * size_of::<(i64, u64)>()
            + self.copies.histograms.len() * size_of::<Histogram>()
    }

    fn item(&self) -> &Item {
        let at = self.next.checked_sub(1).expect("a series is looked at after the first advance");
        &self.items[at]
    }
}

impl Part for Snapshot {
    fn advance(&mut self) -> Result<bool, SourceError> {
        self.next = (self.next + 1).min(self.items.len() + 1);
        Ok(self.next <= self.items.len())
    }

    fn labels(&self) -> &Labels {
        &self.item().labels
    }

    fn read(&mut self, into: &mut Columns) -> Result<(), SourceError> {
        let (item, begun) = (self.item(), into.len());
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
            decode_tokens(&self.copies.tokens[item.open.clone()], item.open_first, item.open_count, into);
            clip(into, from, start, end);
        }
        merge(into, begun, &self.copies.late[item.late.clone()]);
        if item.late_replaces {
            keep_last(into, begun);
        }
        Ok(())
    }

    fn read_histograms(&mut self, into: &mut Vec<Histogram>) -> Result<(), SourceError> {
        into.extend_from_slice(&self.copies.histograms[self.item().histograms.clone()]);
        Ok(())
    }
}

/// Of samples at one time, behind `from`, the last one stays.
fn keep_last(into: &mut Columns, from: usize) {
    let mut to = from;
    for at in from..into.len() {
        if to > from && into.timestamps[to - 1] == into.timestamps[at] {
            to -= 1;
        }
        into.timestamps[to] = into.timestamps[at];
        into.values[to] = into.values[at];
        to += 1;
    }
    into.timestamps.truncate(to);
    into.values.truncate(to);
}

/// Merges late samples (in time order) into columns behind `from`, from the back, in place; at one time they stand last.
fn merge(into: &mut Columns, from: usize, late: &[(i64, u64)]) {
    let (mut have, mut left) = (into.len(), late.len());
    into.timestamps.resize(have + left, Timestamp::MAX);
    into.values.resize(have + left, 0.0);
    while left > 0 {
        let (time, bits) = late[left - 1];
        let to = have + left - 1;
        if have > from && into.timestamps[have - 1].as_millis() > time {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_samples_find_their_places_and_may_replace_others() {
        let mut columns = Columns::default();
        for time in [9, 1, 3, 5, 7] {
            columns.push(Timestamp::from_millis(time), time as f64);
        }
        merge(&mut columns, 1, &[(0, 10f64.to_bits()), (3, 13f64.to_bits()), (8, 18f64.to_bits())]);
        keep_last(&mut columns, 1);
        let read: Vec<_> =
            columns.iter().map(|sample| (sample.timestamp.as_millis(), sample.value)).collect();
        assert_eq!(read, [(9, 9.0), (0, 10.0), (1, 1.0), (3, 13.0), (5, 5.0), (7, 7.0), (8, 18.0)]);
    }
}
