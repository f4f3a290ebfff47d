//! Which series bear which labels: for every label name and value a sorted list of series ids.
//!
//! In: label sets with ids that only grow, so that adding one appends to lists. Out: sorted ids that satisfy matchers. A regular
//! expression runs over the distinct values of its label, or over the series that the other matchers left where those are fewer.

#[allow(dead_code)] // until blocks are read
pub(crate) mod block;
#[allow(dead_code)]
pub(crate) mod builder;
mod dictionary;
mod list;
mod pattern;
mod postings;
mod union;

use std::collections::{BTreeMap, HashMap};

use model::{Labels, MatchOp, Matcher};

/// Estimated bytes of memory for a label value of its own: key, list, tree node.
const VALUE_BYTES: usize = 96;

/// Estimated bytes of memory for an entry in a list, spare capacity included.
const ENTRY_BYTES: usize = 6;

#[derive(Debug, Default)]
pub(crate) struct Index {
    all: Vec<u32>,
    names: HashMap<Box<str>, BTreeMap<Box<str>, Vec<u32>>, ahash::RandomState>,
    bytes: usize,
}

impl Index {
    /// Estimated bytes of memory.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds a series; ids must be added in ascending order.
    pub(crate) fn add(&mut self, id: u32, labels: &Labels) {
        debug_assert!(self.all.last().is_none_or(|&last| last < id), "ids only grow");
        self.all.push(id);
        self.bytes += ENTRY_BYTES;
        for (name, value) in labels {
            if !self.names.contains_key(name) {
                self.names.insert(name.into(), BTreeMap::new());
                self.bytes += VALUE_BYTES + name.len();
            }
            let values = self.names.get_mut(name).expect("it was just put there");
            self.bytes += ENTRY_BYTES;
            match values.get_mut(value) {
                Some(ids) => ids.push(id),
                None => {
                    self.bytes += VALUE_BYTES + value.len();
                    values.insert(value.into(), vec![id]);
                }
            }
        }
    }

    /// Removes series, given by ascending ids with their labels.
    pub(crate) fn remove(&mut self, gone: &[(u32, Labels)]) {
        let mut by_label: BTreeMap<(&str, &str), Vec<u32>> = BTreeMap::new();
        for (id, labels) in gone {
            for label in labels {
                by_label.entry(label).or_default().push(*id);
            }
        }
        for ((name, value), ids) in by_label {
            self.remove_ids(name, value, &ids);
        }
        let ids: Vec<u32> = gone.iter().map(|(id, _)| *id).collect();
        self.bytes -= subtract(&mut self.all, &ids) * ENTRY_BYTES;
    }

    fn remove_ids(&mut self, name: &str, value: &str, ids: &[u32]) {
        let Some(values) = self.names.get_mut(name) else { return };
        let Some(have) = values.get_mut(value) else { return };
        self.bytes -= subtract(have, ids) * ENTRY_BYTES;
        if have.is_empty() {
            values.remove(value);
            self.bytes -= VALUE_BYTES + value.len();
        }
        if values.is_empty() {
            self.names.remove(name);
            self.bytes -= VALUE_BYTES + name.len();
        }
    }

    /// The label names that a wanted series bears, sorted.
    pub(crate) fn names(&self, wanted: impl Fn(u32) -> bool) -> Vec<&str> {
        let bears = |values: &BTreeMap<Box<str>, Vec<u32>>| values.values().flatten().any(|id| wanted(*id));
        let found = self.names.iter().filter(|(_, values)| bears(values));
        let mut names: Vec<&str> = found.map(|(name, _)| &**name).collect();
        names.sort_unstable();
        names
    }

    /// The values of a label that a wanted series bears, sorted.
    pub(crate) fn values(&self, name: &str, wanted: impl Fn(u32) -> bool) -> impl Iterator<Item = &str> {
        let values = self.names.get(name).into_iter().flatten();
        values.filter(move |(_, ids)| ids.iter().any(|id| wanted(*id))).map(|(value, _)| &**value)
    }

    /// Ids of the series that satisfy all matchers, sorted. `labels_of` looks up a series' labels.
    pub(crate) fn find<'a>(&self, matchers: &[Matcher], labels_of: impl Fn(u32) -> &'a Labels) -> Vec<u32> {
        let (exact, others): (Vec<&Matcher>, Vec<&Matcher>) = matchers
            .iter()
            .partition(|matcher| matcher.op() == MatchOp::Equal && !matcher.value().is_empty());
        let mut lists = Vec::with_capacity(exact.len());
        for matcher in exact {
            match self.names.get(matcher.name()).and_then(|values| values.get(matcher.value())) {
                Some(ids) => lists.push(ids.as_slice()),
                None => return Vec::new(),
            }
        }
        lists.sort_unstable_by_key(|ids| ids.len());
        let mut found: Option<Vec<u32>> = lists.first().map(|ids| ids.to_vec());
        for ids in lists.iter().skip(1) {
            found = found.map(|found| intersect(found, ids));
        }
        // Those that select series narrow the field for those that only exclude some.
        let (including, excluding): (Vec<_>, Vec<_>) =
            others.into_iter().partition(|matcher| !matcher.matches_absent());
        for matcher in including.into_iter().chain(excluding) {
            found = Some(self.narrow(found, matcher, &labels_of));
        }
        found.unwrap_or_else(|| self.all.clone())
    }

    fn narrow<'a>(
        &self,
        found: Option<Vec<u32>>,
        matcher: &Matcher,
        labels_of: impl Fn(u32) -> &'a Labels,
    ) -> Vec<u32> {
        let Some(values) = self.names.get(matcher.name()) else {
            let everything = found.unwrap_or_else(|| self.all.clone());
            return if matcher.matches_absent() { everything } else { Vec::new() };
        };
        if let Some(mut found) = found.as_ref().filter(|found| found.len() <= values.len()).cloned() {
            found.retain(|&id| matcher.matches(labels_of(id).get(matcher.name()).unwrap_or_default()));
            return found;
        }
        let absent = matcher.matches_absent();
        let hits = values.iter().filter(|(value, _)| matcher.matches(value) != absent);
        let mut ids: Vec<u32> = hits.flat_map(|(_, ids)| ids).copied().collect();
        ids.sort_unstable();
        match (found, absent) {
            (Some(found), false) => intersect(found, &ids),
            (None, false) => ids,
            (found, true) => {
                let mut rest = found.unwrap_or_else(|| self.all.clone());
                subtract(&mut rest, &ids);
                rest
            }
        }
    }
}

/// Keeps of `found` what `ids` holds too; both sorted, `found` usually the shorter.
fn intersect(mut found: Vec<u32>, ids: &[u32]) -> Vec<u32> {
    let mut rest = ids;
    if found.len() * 16 < ids.len() {
        found.retain(|id| {
            let at = rest.partition_point(|have| have < id);
            rest = &rest[at..];
            rest.first() == Some(id)
        });
        return found;
    }
    found.retain(|id| {
        while let Some((have, after)) = rest.split_first() {
            if have >= id {
                return have == id;
            }
            rest = after;
        }
        false
    });
    found
}

/// Removes from `from` what `ids` holds (both sorted) and returns how many went.
fn subtract(from: &mut Vec<u32>, ids: &[u32]) -> usize {
    let before = from.len();
    let mut rest = ids;
    from.retain(|id| {
        while let Some((gone, after)) = rest.split_first() {
            if gone >= id {
                return gone != id;
            }
            rest = after;
        }
        true
    });
    if from.capacity() > 4 * from.len() {
        from.shrink_to(2 * from.len());
    }
    before - from.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn index(sets: &[Labels]) -> Index {
        let mut index = Index::default();
        for (id, labels) in sets.iter().enumerate() {
            index.add(id as u32, labels);
        }
        index
    }

    /// Compares the index' answer with asking every series.
    fn check(sets: &[Labels], index: &Index, alive: impl Fn(u32) -> bool, matchers: &[Matcher]) {
        let fits = |labels: &Labels| {
            matchers.iter().all(|matcher| matcher.matches(labels.get(matcher.name()).unwrap_or_default()))
        };
        let expected: Vec<u32> =
            (0..sets.len() as u32).filter(|&id| alive(id) && fits(&sets[id as usize])).collect();
        assert_eq!(index.find(matchers, |id| &sets[id as usize]), expected, "{matchers:?}");
    }

    fn any_set() -> impl Strategy<Value = Labels> {
        proptest::collection::btree_map("[a-c]", "[x-z]?", 0..4).prop_map(Labels::from_pairs)
    }

    fn any_matcher() -> impl Strategy<Value = Matcher> {
        let op = prop_oneof![
            Just(MatchOp::Equal),
            Just(MatchOp::NotEqual),
            Just(MatchOp::Regex),
            Just(MatchOp::NotRegex)
        ];
        let value = proptest::sample::select(vec!["x", "y", "z", "x.*", ".*", ".+", "y|z", ""]);
        ("[a-d]", op, value).prop_map(|(name, op, value)| Matcher::new(&name, op, value).unwrap())
    }

    proptest! {
        #[test]
        fn matchers_find_what_asking_every_series_finds(
            sets in proptest::collection::vec(any_set(), 0..30),
            matchers in proptest::collection::vec(any_matcher(), 0..4),
            gone in proptest::collection::btree_set(0..30u32, 0..10),
        ) {
            let mut index = index(&sets);
            check(&sets, &index, |_| true, &matchers);
            let gone: Vec<_> = gone.into_iter().filter(|&id| (id as usize) < sets.len()).collect();
            let with_labels: Vec<_> = gone.iter().map(|&id| (id, sets[id as usize].clone())).collect();
            index.remove(&with_labels);
            check(&sets, &index, |id| !gone.contains(&id), &matchers);
        }
    }

    #[test]
    fn what_is_removed_leaves_nothing_behind() {
        let sets = [Labels::from_pairs([("a", "x"), ("b", "y")]), Labels::from_pairs([("a", "x")])];
        let mut index = index(&sets);
        assert_eq!(index.names(|_| true), ["a", "b"]);
        index.remove(&[(0, sets[0].clone())]);
        assert_eq!(index.names(|_| true), ["a"]);
        index.remove(&[(1, sets[1].clone())]);
        assert_eq!((index.bytes(), index.values("a", |_| true).count()), (0, 0));
    }
}
