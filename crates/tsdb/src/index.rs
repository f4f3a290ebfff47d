//! Which series bear which labels: for every label name its values in order, and with each the series that bear it.
//!
//! In: label sets with ids that only grow, so that adding one appends to lists. Out: sorted ids that satisfy matchers. A matcher
//! looks its values up (a few, a prefix, or an automaton's way through them) and joins their lists; where the series found so
//! far are fewer than that, their labels are asked instead. Blocks have an index of their own, in `index/block.rs`.

pub(crate) mod block;

pub(crate) mod builder;
mod dictionary;
mod list;
pub(crate) mod pattern;
mod postings;
#[cfg(any(test, feature = "probe"))]
#[cfg_attr(not(feature = "probe"), allow(dead_code, unreachable_pub))]
pub mod probe;
mod union;
mod values;

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use model::Labels;

use list::List;
use pattern::{Accept, Condition};
use union::Union;
use values::{Place, Values};

/// Estimated bytes of memory for a label name beside its text and values.
const NAME_BYTES: usize = 128;

/// What looking at one series' label costs, in steps through lists that could be taken instead.
const LABEL_COST: usize = 24;

#[derive(Debug, Default)]
pub(crate) struct Index {
    all: Option<List>,
    /// One past the largest id ever added.
    ids_end: u32,
    names: HashMap<Box<str>, Values, ahash::RandomState>,
    bytes: usize,
}

impl Index {
    /// Estimated bytes of memory.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds a series; ids must be added in ascending order.
    pub(crate) fn add(&mut self, id: u32, labels: &Labels) {
        debug_assert!(id >= self.ids_end, "ids only grow");
        self.ids_end = id + 1;
        let mut grown = 0;
        match &mut self.all {
            None => self.all = Some(List::new(id)),
            Some(all) => {
                let before = all.heap_bytes();
                all.push(id);
                grown += all.heap_bytes() as isize - before as isize;
            }
        }
        for (name, value) in labels {
            if !self.names.contains_key(name) {
                self.names.insert(name.into(), Values::default());
                self.bytes += NAME_BYTES + name.len();
            }
            grown += self.names.get_mut(name).expect("it was just put there").add(id, value);
        }
        self.bytes = self.bytes.saturating_add_signed(grown);
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
        if let Some(all) = self.all.take() {
            self.all = all.without(&ids);
            let after = self.all.as_ref().map_or(0, List::heap_bytes);
            self.bytes = self.bytes + after - all.heap_bytes();
        }
    }

    fn remove_ids(&mut self, name: &str, value: &str, ids: &[u32]) {
        let Some(values) = self.names.get_mut(name) else { return };
        let shrunk = values.remove(value, ids);
        self.bytes = self.bytes.saturating_add_signed(-shrunk);
        if values.len() == 0 {
            self.names.remove(name);
            self.bytes -= NAME_BYTES + name.len();
        }
    }

    /// The label names that a wanted series bears, sorted.
    pub(crate) fn names(&self, wanted: impl Fn(u32) -> bool) -> Vec<&str> {
        let bears = |values: &Values| values.lists((0, 0)..values.end()).flat_map(List::ids).any(&wanted);
        let found = self.names.iter().filter(|(_, values)| bears(values));
        let mut names: Vec<&str> = found.map(|(name, _)| &**name).collect();
        names.sort_unstable();
        names
    }

    /// The values of a label that a wanted series bears, sorted, at most `limit` where that is not 0.
    pub(crate) fn values(&self, name: &str, limit: usize, wanted: impl Fn(u32) -> bool) -> Vec<&str> {
        let Some(values) = self.names.get(name) else { return Vec::new() };
        let bears = |place: &Place| values.list(*place).ids().any(&wanted);
        let found = values.places((0, 0)..values.end()).filter(bears).map(|place| values.text(place));
        found.take(if limit == 0 { usize::MAX } else { limit }).collect()
    }

    /// How many values each label has, how many series bear it, and the values that most series bear: the `top` first of each.
    pub(crate) fn census(&self, top: usize) -> Census {
        let mut census = Census::default();
        for (name, values) in &self.names {
            let text_bytes = |place: Place| values.text(place).len() * values.list(place).len();
            let bytes = values.places((0, 0)..values.end()).map(text_bytes).sum();
            census.values.push((name.to_string(), values.len()));
            census.bytes.push((name.to_string(), bytes));
            let pairs = values.places((0, 0)..values.end());
            let pairs = pairs.map(|place| (values.list(place).len(), place));
            let mut own: Vec<_> = pairs.collect();
            keep_top(&mut own, top);
            census.pairs.extend(
                own.into_iter()
                    .map(|(count, place)| (name.to_string(), values.text(place).to_owned(), count)),
            );
            census.names += 1;
            census.pairs_count += values.len();
        }
        census.values.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        census.bytes.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        census.pairs.sort_unstable_by(|a, b| b.2.cmp(&a.2).then_with(|| (&a.0, &a.1).cmp(&(&b.0, &b.1))));
        census.values.truncate(top);
        census.bytes.truncate(top);
        census.pairs.truncate(top);
        census
    }

    /// The values of a label that most series bear, with how many do.
    pub(crate) fn top(&self, name: &str, top: usize) -> Vec<(String, usize)> {
        let Some(values) = self.names.get(name) else { return Vec::new() };
        let places = values.places((0, 0)..values.end());
        let mut counts: Vec<_> = places.map(|place| (values.list(place).len(), place)).collect();
        keep_top(&mut counts, top);
        counts.into_iter().map(|(count, place)| (values.text(place).to_owned(), count)).collect()
    }

    /// Ids of the series that satisfy all conditions, sorted. `labels_of` looks up a series' labels.
    pub(crate) fn find_all<'a>(
        &self,
        conditions: &[Condition<'_>],
        labels_of: impl Fn(u32) -> &'a Labels,
    ) -> Vec<u32> {
        let mut found: Option<Vec<u32>> = None;
        for condition in self.in_order(conditions) {
            let Some(values) = self.names.get(condition.matcher.name()) else {
                if condition.absent {
                    continue;
                }
                return Vec::new();
            };
            found = Some(self.narrow(found, condition, values, &labels_of));
            if found.as_ref().is_some_and(Vec::is_empty) {
                break;
            }
        }
        found.unwrap_or_else(|| self.all())
    }

    /// Conditions on few series first: their lists are known here.
    fn in_order<'c, 'm>(&self, conditions: &'c [Condition<'m>]) -> Vec<&'c Condition<'m>> {
        let mut ordered: Vec<_> = conditions.iter().collect();
        ordered.sort_by_key(|condition| {
            let size = match (&condition.accept, self.names.get(condition.matcher.name())) {
                (_, None) => 0,
                (Accept::Values(texts), Some(values)) if !condition.negated && texts.len() <= 4 => {
                    texts.iter().filter_map(|text| values.find(text)).map(|at| values.list(at).len()).sum()
                }
                (Accept::Automaton(_) | Accept::Each, Some(_)) => usize::MAX,
                (_, Some(values)) => values.series(),
            };
            (condition.absent, size)
        });
        ordered
    }

    fn all(&self) -> Vec<u32> {
        self.all.iter().flat_map(List::ids).collect()
    }

    fn narrow<'a>(
        &self,
        found: Option<Vec<u32>>,
        condition: &Condition<'_>,
        values: &Values,
        labels_of: impl Fn(u32) -> &'a Labels,
    ) -> Vec<u32> {
        let ask = |mut found: Vec<u32>| {
            let matcher = condition.matcher;
            found.retain(|&id| matcher.matches(labels_of(id).get(matcher.name()).unwrap_or_default()));
            found
        };
        let walks_all = matches!(condition.accept, Accept::Automaton(_) | Accept::Each);
        let found = match found {
            Some(found) if walks_all && found.len() <= values.len() => return ask(found),
            found => found,
        };
        let taken = values.taken(condition);
        let covers = matches!(&*taken, [one] if *one == ((0, 0)..values.end()));
        if covers && self.all.as_ref().is_some_and(|all| all.len() == values.series()) {
            return if condition.absent { Vec::new() } else { found.unwrap_or_else(|| self.all()) };
        }
        let mut found = match found {
            Some(found) if self.is_dearer(&taken, values, found.len() * LABEL_COST) => return ask(found),
            found => found,
        };
        if condition.absent {
            let mut rest = found.take().unwrap_or_else(|| self.all());
            subtract(&mut rest, self.runs(&taken, values));
            return rest;
        }
        match found {
            Some(found) => intersect(found, self.runs(&taken, values)),
            None => self.runs(&taken, values).into_iter().flatten().collect(),
        }
    }

    /// Whether reading the lists costs more than so many steps.
    fn is_dearer(&self, taken: &[Range<Place>], values: &Values, steps: usize) -> bool {
        let mut left = steps;
        let lists = taken.iter().flat_map(|range| values.lists(range.clone()));
        for list in lists {
            let Some(rest) = left.checked_sub(list.cost() + 1) else { return true };
            left = rest;
        }
        false
    }

    /// The ids of all values taken, as ascending runs.
    fn runs(&self, taken: &[Range<Place>], values: &Values) -> Vec<Range<u32>> {
        let mut lists = taken.iter().flat_map(|range| values.lists(range.clone()));
        match (lists.next(), lists.next()) {
            (None, _) => return Vec::new(),
            (Some(one), None) => return one.runs().collect(),
            _ => {}
        }
        let mut union = Union::new(self.ids_end);
        for list in taken.iter().flat_map(|range| values.lists(range.clone())) {
            list.runs().for_each(|run| union.add_run(run));
        }
        let found = union.finish();
        let mut runs = Vec::new();
        let mut iter = found.iter();
        while let Some(run) = iter.next_range() {
            runs.push(*run.start()..run.end().saturating_add(1));
        }
        runs
    }
}

/// The labels of the series in memory, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Distinct label names.
    pub names: usize,
    /// Distinct pairs of name and value.
    pub pairs_count: usize,
    /// Names with most values, and how many they have.
    pub values: Vec<(String, usize)>,
    /// Names whose values' texts are longest over all series, in bytes.
    pub bytes: Vec<(String, usize)>,
    /// Name and value that most series bear, and how many do.
    pub pairs: Vec<(String, String, usize)>,
}

/// Keeps the greatest counts, greatest first; equal ones by value.
fn keep_top(counts: &mut Vec<(usize, Place)>, top: usize) {
    let order = |a: &(usize, Place), b: &(usize, Place)| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1));
    if counts.len() > top && top > 0 {
        counts.select_nth_unstable_by(top - 1, order);
    }
    counts.truncate(top);
    counts.sort_unstable_by(order);
}

/// Keeps of `found` what the runs hold too; both ascend.
fn intersect(mut found: Vec<u32>, runs: Vec<Range<u32>>) -> Vec<u32> {
    let mut runs = runs.into_iter().peekable();
    found.retain(|id| {
        while runs.next_if(|run| run.end <= *id).is_some() {}
        runs.peek().is_some_and(|run| run.start <= *id)
    });
    found
}

/// Removes from `from` what the runs hold; both ascend.
fn subtract(from: &mut Vec<u32>, runs: Vec<Range<u32>>) {
    let mut runs = runs.into_iter().peekable();
    from.retain(|id| {
        while runs.next_if(|run| run.end <= *id).is_some() {}
        runs.peek().is_none_or(|run| run.start > *id)
    });
}

#[cfg(test)]
mod tests {
    use model::{MatchOp, Matcher};
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
        assert_eq!(
            index.find_all(&Condition::all(matchers), |id| &sets[id as usize]),
            expected,
            "{matchers:?}"
        );
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
    fn a_census_names_what_is_most() {
        let sets: Vec<Labels> = (0..100)
            .map(|i| {
                let (host, rest) = (format!("host-{i:02}"), i % 10);
                Labels::from_pairs([
                    ("agent", format!("a{}", rest / 7)),
                    ("host", host),
                    ("job", "node".into()),
                ])
            })
            .collect();
        let index = index(&sets);
        let census = index.census(2);
        assert_eq!((census.names, census.pairs_count), (3, 103));
        assert_eq!(census.values, [("host".into(), 100), ("agent".into(), 2)]);
        assert_eq!(census.bytes, [("host".into(), 700), ("job".into(), 400)]);
        assert_eq!(census.pairs, [("job".into(), "node".into(), 100), ("agent".into(), "a0".into(), 70)]);
        assert_eq!(index.top("agent", 5), [("a0".into(), 70), ("a1".into(), 30)]);
        assert_eq!((index.top("agent", 0).len(), index.top("none", 3).len()), (0, 0));
    }

    #[test]
    fn what_is_removed_leaves_nothing_behind() {
        let sets = [Labels::from_pairs([("a", "x"), ("b", "y")]), Labels::from_pairs([("a", "x")])];
        let mut index = index(&sets);
        assert_eq!(index.names(|_| true), ["a", "b"]);
        index.remove(&[(0, sets[0].clone())]);
        assert_eq!(index.names(|_| true), ["a"]);
        index.remove(&[(1, sets[1].clone())]);
        assert_eq!((index.bytes(), index.values("a", 0, |_| true).len()), (0, 0));
    }
}
