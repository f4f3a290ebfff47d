//! The series of one target, from round to round: who is known, who was seen, who went away.
//!
//! An input names each value by a key of its own (a family and its label values, a raw exposition line, a column and an
//! index). The table keeps the finished label set behind each key, so that a round over known series costs one hash per
//! value, and it knows which series were there in the last round and are not in this one: those get a stale marker.
//!
//! In: keys, values, and a way to make labels for a key that is new. Out: [`Point`]s, and per series the labels, metadata
//! and a slot for the encoder's token. No clock: the round's time is an argument.
//!
//! Limits: at most `series_max` series at once; past it new series are refused and counted, known ones go on. A series that
//! was not seen for [`SeriesTable::FORGET_AFTER_ROUNDS`] rounds is forgotten.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use model::{Labels, LabelsBuilder, METRIC_NAME, MetricKind, MetricMetadata, Timestamp, stale_nan};

/// A metric family that is known when the program is built: what node_exporter calls a description.
#[derive(Debug)]
pub struct Family {
    /// The metric's name, such as `node_load1`.
    pub name: &'static str,
    /// One sentence for people.
    pub help: &'static str,
    /// Counter, gauge, ...
    pub kind: MetricKind,
    /// Names of the labels whose values a caller gives, in that order.
    pub labels: &'static [&'static str],
}

/// Names a series in its [`SeriesTable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SeriesId(u32);

impl SeriesId {
    /// Its number, for who keeps ids among numbers of another kind.
    pub(crate) fn number(self) -> u32 {
        self.0
    }

    /// The id of a number that [`SeriesId::number`] gave.
    pub(crate) fn from_number(number: u32) -> Self {
        Self(number)
    }
}

/// One value of one series.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    /// Whose value.
    pub series: SeriesId,
    /// When: the round's time, or what the exporter said.
    pub timestamp: Timestamp,
    /// The value, or the stale marker.
    pub value: f64,
}

/// What became of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It is part of the round.
    Kept,
    /// It is part of the round and its series is new.
    KeptNew,
    /// Relabelling drops this series.
    Dropped,
    /// The table is full: the series is new and was refused.
    Refused,
    /// The series already has a value in this round (two lines of one name and label set); the first stays.
    Duplicate,
}

/// Labels and metadata of a series, as an input makes them when a key is new.
pub struct Described {
    /// The finished label set, `job`, `instance` and extra labels included.
    pub labels: Labels,
    /// Type, help and unit, shared by the series of a family.
    pub metadata: Option<Arc<MetricMetadata>>,
}

/// A series as the encoder sees it.
pub struct SeriesEntry {
    /// The finished label set.
    pub labels: Labels,
    /// Type, help and unit.
    pub metadata: Option<Arc<MetricMetadata>>,
    /// The encoder's own mark; none until the first batch with this series.
    pub token: Option<wire::v2::Token>,
    seen_in: u64,
    /// The round before `seen_in` in which it was seen: what a discarded round goes back to.
    seen_before: u64,
    /// Whether the latest value had a time of its own: such series get no stale marker (as in Prometheus).
    own_time: bool,
}

enum Known {
    Series(SeriesId),
    Dropped { seen_in: u64 },
}

/// See the module's text.
pub struct SeriesTable {
    base: Labels,
    entries: Vec<Option<SeriesEntry>>,
    free: Vec<SeriesId>,
    keys: HashMap<Box<[u8]>, Known, ahash::RandomState>,
    by_labels: HashMap<Labels, SeriesId, ahash::RandomState>,
    metadata: HashMap<&'static str, Arc<MetricMetadata>, ahash::RandomState>,
    round: u64,
    series_max: usize,
    scratch: Vec<u8>,
    forgotten: Vec<wire::v2::Token>,
    stamp: Stamp,
}

/// Says which table gave an id and whether it may have forgotten it since: an id is good for as long as this stays the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    table: u64,
    forgotten: u64,
}

impl Stamp {
    fn of_new_table() -> Self {
        static TABLES: AtomicU64 = AtomicU64::new(0);
        Self { table: TABLES.fetch_add(1, Ordering::Relaxed), forgotten: 0 }
    }
}

impl SeriesTable {
    /// Rounds after which a series that is not seen any more is forgotten.
    pub const FORGET_AFTER_ROUNDS: u64 = 10;

    /// A table for one target. `base` holds `job`, `instance` and extra labels for [`Round::metric`].
    pub fn new(base: Labels, series_max: usize) -> Self {
        Self {
            base,
            entries: Vec::new(),
            free: Vec::new(),
            keys: HashMap::default(),
            by_labels: HashMap::default(),
            metadata: HashMap::default(),
            round: 0,
            series_max,
            scratch: Vec::new(),
            forgotten: Vec::new(),
            stamp: Stamp::of_new_table(),
        }
    }

    /// Number of series known.
    pub fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// Whether no series is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The labels that every [`Round::metric`] of this target bears.
    pub fn base(&self) -> &Labels {
        &self.base
    }

    /// A series by its id; panics on the id of another table or of a forgotten series.
    pub fn entry(&mut self, id: SeriesId) -> &mut SeriesEntry {
        self.entries[id.0 as usize].as_mut().expect("a point of this round names a known series")
    }

    /// The encoder's marks of series that were forgotten since the last call, so that it forgets them too.
    pub(crate) fn take_forgotten(&mut self) -> Vec<wire::v2::Token> {
        std::mem::take(&mut self.forgotten)
    }

    /// The encoder's marks of all series: for a table that is given up.
    pub(crate) fn take_all_tokens(&mut self) -> Vec<wire::v2::Token> {
        let live = self.entries.iter_mut().flatten().filter_map(|entry| entry.token.take());
        live.chain(self.forgotten.drain(..)).collect()
    }

    /// Stale markers for every live series: for a target that is taken away.
    pub fn end_all(&mut self, at: Timestamp, points: &mut Vec<Point>) {
        self.round += 1;
        self.mark_vanished(at, points);
    }

    fn mark_vanished(&mut self, at: Timestamp, points: &mut Vec<Point>) {
        let last = self.round - 1;
        for (slot, entry) in self.entries.iter().enumerate() {
            if entry.as_ref().is_some_and(|entry| entry.seen_in == last && last > 0 && !entry.own_time) {
                points.push(Point { series: SeriesId(slot as u32), timestamp: at, value: stale_nan() });
            }
        }
    }

    fn forget_old(&mut self) {
        let Some(oldest) = self.round.checked_sub(Self::FORGET_AFTER_ROUNDS) else { return };
        // A table whose every series was seen lately (the usual case) is not walked key by key.
        let stale_key = |known: &Known, entries: &[Option<SeriesEntry>]| match known {
            Known::Series(id) => entries[id.0 as usize].as_ref().is_none_or(|entry| entry.seen_in < oldest),
            Known::Dropped { seen_in } => *seen_in < oldest,
        };
        if !self.round.is_multiple_of(Self::FORGET_AFTER_ROUNDS) {
            return;
        }
        self.keys.retain(|_, known| !stale_key(known, &self.entries));
        for (slot, place) in self.entries.iter_mut().enumerate() {
            if let Some(entry) = place.take_if(|entry| entry.seen_in < oldest) {
                self.by_labels.remove(&entry.labels);
                self.forgotten.extend(entry.token);
                self.stamp.forgotten += 1;
                self.free.push(SeriesId(slot as u32));
            }
        }
    }

    fn insert(&mut self, key: &[u8], described: Described) -> Option<SeriesId> {
        // Two keys may end as one label set (relabelling): they share the series.
        if let Some(&id) = self.by_labels.get(&described.labels) {
            // A page that writes a series differently each time would otherwise add keys for ever.
            if self.keys.len() < self.series_max.saturating_mul(2) {
                self.keys.insert(key.into(), Known::Series(id));
            }
            return Some(id);
        }
        if self.len() >= self.series_max {
            return None;
        }
        let entry = SeriesEntry {
            labels: described.labels,
            metadata: described.metadata,
            token: None,
            seen_in: 0,
            seen_before: 0,
            own_time: false,
        };
        let id = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            SeriesId(u32::try_from(self.entries.len() - 1).expect("series_max bounds the table below 2^32"))
        });
        self.by_labels.insert(entry.labels.clone(), id);
        self.entries[id.0 as usize] = Some(entry);
        self.keys.insert(key.into(), Known::Series(id));
        Some(id)
    }

    fn family_metadata(&mut self, family: &'static Family) -> Arc<MetricMetadata> {
        let make = || MetricMetadata { kind: family.kind, help: family.help.into(), unit: String::new() };
        Arc::clone(self.metadata.entry(family.name).or_insert_with(|| Arc::new(make())))
    }
}

/// One collection of one target: values go in here, then [`Round::finish`].
pub struct Round<'a> {
    table: &'a mut SeriesTable,
    timestamp: Timestamp,
    points: Vec<Point>,
    refused: u64,
}

impl<'a> Round<'a> {
    /// Begins a round at a time; `points` is cleared and reused.
    pub fn begin(table: &'a mut SeriesTable, timestamp: Timestamp, mut points: Vec<Point>) -> Self {
        points.clear();
        table.round += 1;
        Self { table, timestamp, points, refused: 0 }
    }

    /// The time of this round.
    pub fn timestamp(&self) -> Timestamp {
        self.timestamp
    }

    /// Values so far.
    pub fn len(&self) -> usize {
        self.points.len()
    }

    /// Whether no value has come yet.
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// Forgets the values of this round (a scrape that failed half way): all series of the last round will be stale, and those
    /// that this round began were never there.
    pub fn discard(&mut self) {
        for point in self.points.drain(..) {
            if let Some(entry) = self.table.entries[point.series.0 as usize].as_mut() {
                entry.seen_in = entry.seen_before;
            }
        }
    }

    /// Adds a value of a family known at build time, with the table's base labels.
    pub fn metric(&mut self, family: &'static Family, label_values: &[&str], value: f64) -> Put {
        debug_assert_eq!(
            family.labels.len(),
            label_values.len(),
            "{} wants {:?}",
            family.name,
            family.labels
        );
        let mut key = std::mem::take(&mut self.table.scratch);
        key.clear();
        key.extend_from_slice(family.name.as_bytes());
        for label_value in label_values {
            key.push(0xff); // no UTF-8 text holds it
            key.extend_from_slice(label_value.as_bytes());
        }
        let known = self.put_known(&key, value, None);
        let put = known.unwrap_or_else(|| {
            let mut labels: LabelsBuilder = self.table.base.to_builder();
            labels.set(METRIC_NAME, family.name);
            for (name, label_value) in family.labels.iter().zip(label_values) {
                labels.set(name, label_value);
            }
            let metadata = Some(self.table.family_metadata(family));
            self.put_new(&key, value, None, Some(Described { labels: labels.build(), metadata }))
        });
        self.table.scratch = key;
        put
    }

    /// Adds a value under a key of the input's own; `describe` makes labels and metadata where the key is new, or `None` where
    /// relabelling drops the series (which is remembered too). `timestamp` is the exporter's own, if it gave one.
    pub fn put(
        &mut self,
        key: &[u8],
        value: f64,
        timestamp: Option<Timestamp>,
        describe: impl FnOnce(&Labels) -> Option<Described>,
    ) -> Put {
        let put = self.try_put(key, value, timestamp, |base| Ok::<_, Infallible>(describe(base)));
        put.unwrap_or_else(|never| match never {})
    }

    /// As [`Round::put`], for an input that may find while describing that the whole round is wrong: the error is passed on and
    /// nothing is remembered of the key.
    pub fn try_put<E>(
        &mut self,
        key: &[u8],
        value: f64,
        timestamp: Option<Timestamp>,
        describe: impl FnOnce(&Labels) -> Result<Option<Described>, E>,
    ) -> Result<Put, E> {
        if let Some(put) = self.put_known(key, value, timestamp) {
            return Ok(put);
        }
        let described = describe(&self.table.base)?;
        Ok(self.put_new(key, value, timestamp, described))
    }

    /// While this stays the same from round to round, so do the ids of series.
    pub fn stamp(&self) -> Stamp {
        self.table.stamp
    }

    /// The series of the value that was added last.
    pub fn latest(&self) -> Option<SeriesId> {
        self.points.last().map(|point| point.series)
    }

    /// Adds a value of a series by its id, which an input that says the same series in the same order each round may keep for as
    /// long as [`Round::stamp`] stays the same. Costs no hash.
    ///
    /// # Panics
    /// On an id of another table, or of a series that was forgotten.
    pub fn put_again(&mut self, id: SeriesId, value: f64) -> Put {
        self.push(id, value, None, Put::Kept)
    }

    /// The id of a series that a value is to be added to by [`Round::put_again`]; `describe` as in [`Round::put`]. None where
    /// relabelling drops it, or where the table is full, which is counted.
    pub fn series(
        &mut self,
        key: &[u8],
        describe: impl FnOnce(&Labels) -> Option<Described>,
    ) -> Option<SeriesId> {
        match self.table.keys.get_mut(key) {
            Some(Known::Series(id)) => return Some(*id),
            Some(Known::Dropped { seen_in }) => {
                *seen_in = self.table.round;
                return None;
            }
            None => {}
        }
        let Some(described) = describe(&self.table.base) else {
            if self.table.keys.len() < self.table.series_max.saturating_mul(2) {
                self.table.keys.insert(key.into(), Known::Dropped { seen_in: self.table.round });
            }
            return None;
        };
        let id = self.table.insert(key, described);
        self.refused += u64::from(id.is_none());
        id
    }

    /// Series and values of this round so far.
    pub fn values(&self) -> impl Iterator<Item = (SeriesId, f64)> + '_ {
        self.points.iter().map(|point| (point.series, point.value))
    }

    /// A series goes on although nothing is said of it in this round.
    ///
    /// # Panics
    /// As [`Round::put_again`].
    pub fn keep(&mut self, id: SeriesId) {
        let round = self.table.round;
        let entry = self.table.entry(id);
        if entry.seen_in != round {
            entry.seen_before = std::mem::replace(&mut entry.seen_in, round);
        }
    }

    /// Ends the round: adds stale markers, forgets old series, and hands out the points and how many new series were refused.
    pub fn finish(mut self) -> (Vec<Point>, u64) {
        self.table.mark_vanished(self.timestamp, &mut self.points);
        self.table.forget_old();
        (self.points, self.refused)
    }

    fn put_known(&mut self, key: &[u8], value: f64, timestamp: Option<Timestamp>) -> Option<Put> {
        let round = self.table.round;
        match self.table.keys.get_mut(key)? {
            Known::Dropped { seen_in } => {
                *seen_in = round;
                Some(Put::Dropped)
            }
            Known::Series(id) => {
                let id = *id;
                Some(self.push(id, value, timestamp, Put::Kept))
            }
        }
    }

    fn put_new(
        &mut self,
        key: &[u8],
        value: f64,
        timestamp: Option<Timestamp>,
        described: Option<Described>,
    ) -> Put {
        let Some(described) = described else {
            if self.table.keys.len() < self.table.series_max.saturating_mul(2) {
                self.table.keys.insert(key.into(), Known::Dropped { seen_in: self.table.round });
            }
            return Put::Dropped;
        };
        match self.table.insert(key, described) {
            Some(id) => self.push(id, value, timestamp, Put::KeptNew),
            None => {
                self.refused += 1;
                Put::Refused
            }
        }
    }

    fn push(&mut self, id: SeriesId, value: f64, timestamp: Option<Timestamp>, kept: Put) -> Put {
        let round = self.table.round;
        let entry = self.table.entry(id);
        if entry.seen_in == round && timestamp.is_none() {
            return Put::Duplicate;
        }
        if entry.seen_in != round {
            entry.seen_before = std::mem::replace(&mut entry.seen_in, round);
        }
        entry.own_time = timestamp.is_some();
        self.points.push(Point { series: id, timestamp: timestamp.unwrap_or(self.timestamp), value });
        kept
    }
}

#[cfg(test)]
mod tests {
    use model::is_stale;

    use super::*;

    static LOAD: Family =
        Family { name: "node_load1", help: "1m load average.", kind: MetricKind::Gauge, labels: &[] };
    static CPU: Family = Family {
        name: "node_cpu_seconds_total",
        help: "Seconds the CPUs spent in each mode.",
        kind: MetricKind::Counter,
        labels: &["cpu", "mode"],
    };

    fn table() -> SeriesTable {
        SeriesTable::new(Labels::from_pairs([("job", "node"), ("instance", "kudus")]), 100)
    }

    fn round(
        table: &mut SeriesTable,
        at: i64,
        values: &[(&'static Family, &[&str], f64)],
    ) -> Vec<(String, f64)> {
        let mut round = Round::begin(table, Timestamp::from_millis(at), Vec::new());
        for (family, labels, value) in values {
            round.metric(family, labels, *value);
        }
        let (points, _) = round.finish();
        points.iter().map(|point| (table.entry(point.series).labels.to_string(), point.value)).collect()
    }

    #[test]
    fn known_series_keep_their_labels_and_vanished_ones_go_stale_once() {
        let mut table = table();
        let first = round(&mut table, 1, &[(&LOAD, &[], 0.5), (&CPU, &["0", "user"], 7.0)]);
        assert_eq!(first[0], (r#"node_load1{instance="kudus", job="node"}"#.to_owned(), 0.5));
        let second = round(&mut table, 2, &[(&LOAD, &[], 0.6)]);
        assert_eq!(second.len(), 2);
        assert!(second[1].0.starts_with("node_cpu_seconds_total") && is_stale(second[1].1));
        assert_eq!(round(&mut table, 3, &[(&LOAD, &[], 0.7)]).len(), 1, "said once");
    }

    #[test]
    fn ids_are_good_for_as_long_as_the_stamp_stays() {
        let mut table = table();
        let mut first = Round::begin(&mut table, Timestamp::from_millis(1), Vec::new());
        first.metric(&LOAD, &[], 0.5);
        first.metric(&CPU, &["0", "user"], 7.0);
        let (stamp, id) = (first.stamp(), first.latest().unwrap());
        first.finish();
        let mut second = Round::begin(&mut table, Timestamp::from_millis(2), Vec::new());
        assert_eq!((second.stamp(), second.put_again(id, 8.0)), (stamp, Put::Kept));
        assert_eq!(second.put_again(id, 9.0), Put::Duplicate);
        let (points, _) = second.finish();
        assert!(points.len() == 2 && points[0].value == 8.0 && is_stale(points[1].value));
        for at in 3..=(3 * SeriesTable::FORGET_AFTER_ROUNDS as i64) {
            round(&mut table, at, &[]);
        }
        let later = Round::begin(&mut table, Timestamp::from_millis(99), Vec::new());
        assert_ne!(later.stamp(), stamp, "series were forgotten");
        later.finish();
        let mut other = self::table();
        assert_ne!(Round::begin(&mut other, Timestamp::from_millis(1), Vec::new()).stamp(), stamp);
    }

    #[test]
    fn a_target_that_is_taken_away_ends_all_its_series() {
        let mut table = table();
        round(&mut table, 1, &[(&LOAD, &[], 0.5)]);
        let mut points = Vec::new();
        table.end_all(Timestamp::from_millis(2), &mut points);
        assert!(points.len() == 1 && is_stale(points[0].value));
    }

    #[test]
    fn a_discarded_round_counts_as_not_seen() {
        let mut table = table();
        round(&mut table, 1, &[(&LOAD, &[], 0.5)]);
        let mut failing = Round::begin(&mut table, Timestamp::from_millis(2), Vec::new());
        failing.metric(&LOAD, &[], 0.6);
        failing.discard();
        let (points, _) = failing.finish();
        assert!(points.len() == 1 && is_stale(points[0].value));
    }

    /// A page that fails each time beyond its sample limit must not leave a stale marker for each series that it tried to begin.
    #[test]
    fn a_discarded_round_leaves_no_trace_of_the_series_that_it_began() {
        let mut table = table();
        round(&mut table, 1, &[(&LOAD, &[], 0.5)]);
        for at in 2..5 {
            let mut failing = Round::begin(&mut table, Timestamp::from_millis(at), Vec::new());
            failing.metric(&CPU, &["0", "user"], 0.6);
            failing.discard();
            let (points, _) = failing.finish();
            assert_eq!(points.len(), usize::from(at == 2), "only the load, which was there, ends, and once");
        }
    }

    #[test]
    fn an_error_while_describing_is_passed_on_and_nothing_is_remembered() {
        let mut table = table();
        let mut first = Round::begin(&mut table, Timestamp::from_millis(1), Vec::new());
        for _ in 0..2 {
            assert_eq!(first.try_put(b"a", 1.0, None, |_| Err("wrong")), Err("wrong"));
        }
        let described = |base: &Labels| Ok::<_, ()>(Some(Described { labels: base.clone(), metadata: None }));
        assert_eq!(first.try_put(b"a", 1.0, None, described), Ok(Put::KeptNew));
    }

    #[test]
    fn a_series_that_is_written_differently_each_time_adds_no_keys_for_ever() {
        let mut table = SeriesTable::new(Labels::empty(), 10);
        let labels = Labels::from_pairs([("a", "b")]);
        for at in 0..100u8 {
            let mut round = Round::begin(&mut table, Timestamp::from_millis(at.into()), Vec::new());
            let put =
                round.put(&[at], 1.0, None, |_| Some(Described { labels: labels.clone(), metadata: None }));
            assert!(matches!(put, Put::Kept | Put::KeptNew));
            round.finish();
        }
        assert!(table.keys.len() <= 20 && table.len() == 1);
    }

    #[test]
    fn a_full_table_refuses_new_series_and_keeps_known_ones() {
        let mut table = SeriesTable::new(Labels::empty(), 1);
        round(&mut table, 1, &[(&LOAD, &[], 0.5)]);
        let mut full = Round::begin(&mut table, Timestamp::from_millis(2), Vec::new());
        assert_eq!(full.metric(&LOAD, &[], 0.6), Put::Kept);
        assert_eq!(full.metric(&LOAD, &[], 0.7), Put::Duplicate);
        assert_eq!(full.metric(&CPU, &["0", "user"], 1.0), Put::Refused);
        assert_eq!(full.finish().1, 1);
    }

    #[test]
    fn series_that_stay_away_are_forgotten_and_their_place_is_used_again() {
        let mut table = table();
        round(&mut table, 1, &[(&CPU, &["0", "user"], 7.0)]);
        for at in 2..=(2 * SeriesTable::FORGET_AFTER_ROUNDS as i64) {
            round(&mut table, at, &[(&LOAD, &[], 0.5)]);
        }
        assert_eq!(table.len(), 1);
        let again = round(&mut table, 100, &[(&LOAD, &[], 0.5), (&CPU, &["0", "user"], 8.0)]);
        assert_eq!((again.len(), table.len()), (2, 2));
    }

    #[test]
    fn values_with_their_own_time_get_no_stale_marker_and_drops_are_remembered() {
        let mut table = table();
        let mut first = Round::begin(&mut table, Timestamp::from_millis(10), Vec::new());
        let described = |base: &Labels| Some(Described { labels: base.clone(), metadata: None });
        assert_eq!(first.put(b"a", 1.0, Some(Timestamp::from_millis(5)), described), Put::KeptNew);
        assert_eq!(first.put(b"b", 1.0, None, |_| None), Put::Dropped);
        assert_eq!(first.put(b"b", 1.0, None, |_| unreachable!("remembered")), Put::Dropped);
        assert_eq!(first.finish().0[0].timestamp, Timestamp::from_millis(5));
        let second = Round::begin(&mut table, Timestamp::from_millis(20), Vec::new());
        assert!(second.finish().0.is_empty());
    }
}
