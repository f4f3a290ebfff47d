//! Deletions that blocks do not know of yet: which series and times of which blocks are to be read as if they were not there.
//!
//! In: deletions, in the order of the journal; each bears the position of its record, which is its name for ever, and the highest
//! number that any block had when it was applied. Out: for a block and a series the spans of time that do not count. What was
//! written later stands in blocks of higher numbers, or in the head, and counts.
//!
//! Limits: [`TOMBSTONES_MAX`] that wait for compaction, since each is looked at for every series that is read; together
//! [`TOMBSTONES_BYTES_MAX`], since every MANIFEST repeats them and has a bound itself.

use journal::Position;
use model::{Columns, Labels, Matcher, Timestamp};

/// Deletions that wait for compaction at most; further ones are refused.
pub(crate) const TOMBSTONES_MAX: usize = 1000;

/// What they may take of a MANIFEST.
pub(crate) const TOMBSTONES_BYTES_MAX: usize = 16 << 20;

/// What is to be deleted: both bounds inclusive, in milliseconds.
#[derive(Clone, Debug)]
pub(crate) struct Deletion {
    pub(crate) matchers: Vec<Matcher>,
    pub(crate) start: i64,
    pub(crate) end: i64,
}

impl Deletion {
    /// Bytes of its line in MANIFEST at most: five numbers, and texts of which every letter may be written as two.
    pub(crate) fn line_bytes_max(&self) -> usize {
        let texts =
            self.matchers.iter().map(|matcher| 8 + 2 * (matcher.name().len() + matcher.value().len()));
        128 + texts.sum::<usize>()
    }

    /// Whether a series is meant.
    pub(crate) fn matches(&self, labels: &Labels) -> bool {
        self.matchers.iter().all(|matcher| matcher.matches(labels.get(matcher.name()).unwrap_or("")))
    }
}

/// A deletion, and what it holds for.
#[derive(Clone, Debug)]
pub(crate) struct Tombstone {
    /// Where its record stands in the journal.
    pub(crate) at: Position,
    /// Blocks of this number and below are meant.
    pub(crate) up_to: u64,
    pub(crate) deletion: Deletion,
}

/// Spans of time that do not count, ascending, apart from each other, both bounds inclusive.
pub(crate) type Spans = Vec<(i64, i64)>;

/// All deletions that some block does not know of yet, in the order of the journal.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tombstones {
    pub(crate) list: Vec<Tombstone>,
    /// The latest record that was ever among them: what stands before it in the journal was seen to.
    pub(crate) last: Position,
}

impl Tombstones {
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    /// Bytes of their lines in MANIFEST at most.
    pub(crate) fn line_bytes_max(&self) -> usize {
        self.list.iter().map(|tombstone| tombstone.deletion.line_bytes_max()).sum()
    }

    /// What of a series in a block does not count.
    pub(crate) fn spans(&self, block: u64, labels: &Labels) -> Spans {
        self.spans_where(labels, |tombstone| tombstone.up_to >= block)
    }

    /// What of a series that was frozen at a position does not count: what was deleted since.
    pub(crate) fn spans_since(&self, frozen: Position, labels: &Labels) -> Spans {
        self.spans_where(labels, |tombstone| tombstone.at > frozen)
    }

    fn spans_where(&self, labels: &Labels, holds: impl Fn(&Tombstone) -> bool) -> Spans {
        let meant =
            self.list.iter().filter(|tombstone| holds(tombstone) && tombstone.deletion.matches(labels));
        joined(meant.map(|tombstone| (tombstone.deletion.start, tombstone.deletion.end)).collect())
    }
}

fn joined(mut spans: Spans) -> Spans {
    spans.sort_unstable();
    let mut joined: Spans = Vec::with_capacity(spans.len());
    for (start, end) in spans {
        match joined.last_mut() {
            Some(last) if start <= last.1.saturating_add(1) => last.1 = last.1.max(end),
            _ => joined.push((start, end)),
        }
    }
    joined
}

/// Whether a time lies in a span.
pub(crate) fn covers(spans: &[(i64, i64)], time: i64) -> bool {
    let at = spans.partition_point(|span| span.1 < time);
    spans.get(at).is_some_and(|span| span.0 <= time)
}

/// Takes what does not count out of the columns, from an index on.
pub(crate) fn remove(spans: &[(i64, i64)], columns: &mut Columns, from: usize) {
    if spans.is_empty() {
        return;
    }
    let mut to = from;
    for at in from..columns.len() {
        if !covers(spans, columns.timestamps[at].as_millis()) {
            columns.timestamps[to] = columns.timestamps[at];
            columns.values[to] = columns.values[at];
            to += 1;
        }
    }
    columns.timestamps.truncate(to);
    columns.values.truncate(to);
}

/// The same for records.
pub(crate) fn remove_records<T>(spans: &[(i64, i64)], records: &mut Vec<(Timestamp, T)>, from: usize) {
    if spans.is_empty() {
        return;
    }
    let mut at = 0;
    records.retain(|(time, _)| {
        at += 1;
        at <= from || !covers(spans, time.as_millis())
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tombstone(at: u64, up_to: u64, name: &str, start: i64, end: i64) -> Tombstone {
        let matchers = vec![Matcher::equal("__name__", name)];
        Tombstone {
            at: Position { segment: at, offset: 0 },
            up_to,
            deletion: Deletion { matchers, start, end },
        }
    }

    fn check(block: u64, name: &str, expected: &[(i64, i64)]) {
        let list = vec![
            tombstone(1, 5, "a", 10, 20),
            tombstone(2, 7, "a", 21, 30),
            tombstone(3, 7, "a", 50, i64::MAX),
            tombstone(4, 9, "b", i64::MIN, i64::MAX),
        ];
        let all = Tombstones { list, last: Position::default() };
        let labels = Labels::from_pairs([("__name__", name)]);
        assert_eq!(all.spans(block, &labels), expected);
    }

    #[test]
    fn spans_are_joined_and_hold_for_blocks_up_to_a_number() {
        check(5, "a", &[(10, 30), (50, i64::MAX)]);
        check(6, "a", &[(21, 30), (50, i64::MAX)]);
        check(8, "a", &[]);
        check(9, "b", &[(i64::MIN, i64::MAX)]);
        check(10, "b", &[]);
        check(1, "c", &[]);
    }

    #[test]
    fn what_lies_in_a_span_goes_and_the_rest_stays() {
        let mut columns = Columns::default();
        for time in [1, 10, 15, 30, 31] {
            columns.timestamps.push(Timestamp::from_millis(time));
            columns.values.push(time as f64);
        }
        remove(&[(10, 30)], &mut columns, 2);
        assert_eq!(columns.values, [1.0, 10.0, 31.0]);
        let mut records: Vec<_> = [1, 10, 31].map(|time| (Timestamp::from_millis(time), ())).into();
        remove_records(&[(10, 30)], &mut records, 0);
        assert_eq!(records.len(), 2);
    }
}
