//! Exemplars in memory: a ring of the latest ones.
//!
//! In: exemplars with the labels of their series, in the order of the journal. Out: those of some series within a span. Past the ring's
//! size the one that came first goes; the same one sent again is kept once. The journal brings back what its segments still hold,
//! and no block has any: an exemplar points into a tracing system, which keeps its traces for days.
//!
//! Limit: [`crate::Options::exemplars_max`] exemplars, some 200 bytes each.

use std::collections::{BTreeMap, HashSet, VecDeque};

use model::{Exemplar, Labels, Timestamp};

/// Some series' exemplars, each series' in time order.
pub(crate) type Found = Vec<(Labels, Vec<Exemplar>)>;

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Exemplars {
    max: usize,
    ring: VecDeque<(Labels, Exemplar)>,
    /// Hashes of all in the ring.
    known: HashSet<u64, ahash::RandomState>,
}

impl Exemplars {
    pub(crate) fn new(max: usize) -> Self {
        Self { max, ring: VecDeque::new(), known: HashSet::default() }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.ring.len()
    }

    fn hash(&self, series: &Labels, exemplar: &Exemplar) -> u64 {
        let Exemplar { labels, value, timestamp } = exemplar;
        self.known.hasher().hash_one((
            series.as_bytes(),
            labels.as_bytes(),
            value.to_bits(),
            timestamp.as_millis(),
        ))
    }

    /// Adds one, if it is not there.
    pub(crate) fn add(&mut self, series: &Labels, exemplar: Exemplar) {
        let hash = self.hash(series, &exemplar);
        if self.max == 0 || !self.known.insert(hash) {
            return;
        }
        if self.ring.len() >= self.max
            && let Some((series, exemplar)) = self.ring.pop_front()
        {
            let gone = self.hash(&series, &exemplar);
            self.known.remove(&gone);
        }
        self.ring.push_back((series.clone(), exemplar));
    }

    /// The exemplars within a span (inclusive) of the series that are wanted, by series in label order.
    pub(crate) fn find(&self, start: Timestamp, end: Timestamp, wanted: impl Fn(&Labels) -> bool) -> Found {
        let mut found: BTreeMap<&Labels, Option<Vec<&Exemplar>>> = BTreeMap::new();
        for (series, exemplar) in &self.ring {
            if (start..=end).contains(&exemplar.timestamp)
                && let Some(of_series) = found.entry(series).or_insert_with(|| wanted(series).then(Vec::new))
            {
                of_series.push(exemplar);
            }
        }
        let in_order = |mut exemplars: Vec<&Exemplar>| {
            exemplars.sort_by_key(|exemplar| exemplar.timestamp);
            exemplars.into_iter().cloned().collect()
        };
        let wanted = found.into_iter().filter_map(|(series, exemplars)| Some((series, exemplars?)));
        wanted.map(|(series, exemplars)| (series.clone(), in_order(exemplars))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exemplar(trace: &str, time: i64) -> Exemplar {
        let labels = Labels::from_pairs([("trace_id", trace)]);
        Exemplar { labels, value: 1.0, timestamp: Timestamp::from_millis(time) }
    }

    fn series(name: &str) -> Labels {
        Labels::from_pairs([("__name__", name)])
    }

    fn check(ring: &Exemplars, name: &str, span: (i64, i64), expected: &[&str]) {
        let wanted = |labels: &Labels| labels.metric_name() == Some(name);
        let (start, end) = (Timestamp::from_millis(span.0), Timestamp::from_millis(span.1));
        let found = ring.find(start, end, wanted);
        let traces: Vec<_> = found
            .iter()
            .flat_map(|(_, of_series)| of_series)
            .filter_map(|one| one.labels.get("trace_id"))
            .collect();
        assert_eq!(traces, expected);
    }

    #[test]
    fn the_latest_stay_and_one_sent_again_is_one() {
        let mut ring = Exemplars::new(3);
        for (name, trace, time) in [("a", "1", 10), ("b", "2", 20), ("a", "3", 5), ("a", "3", 5)] {
            ring.add(&series(name), exemplar(trace, time));
        }
        check(&ring, "a", (0, 30), &["3", "1"]);
        check(&ring, "a", (6, 10), &["1"]);
        check(&ring, "b", (20, 20), &["2"]);
        ring.add(&series("b"), exemplar("4", 40));
        check(&ring, "a", (0, 30), &["3"]);
        ring.add(&series("a"), exemplar("1", 10));
        check(&ring, "a", (0, 30), &["3", "1"]);
        assert_eq!(ring.len(), 3);
        let mut none = Exemplars::new(0);
        none.add(&series("a"), exemplar("1", 10));
        check(&none, "a", (0, 30), &[]);
    }
}
