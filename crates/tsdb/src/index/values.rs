//! The values of one label in memory: sorted pages of texts, and with each value the series that bear it.
//!
//! A page is three allocations for a hundred values, so that a value costs its text and some 24 bytes, where a tree of strings takes
//! a hundred. In: values in any order (new ones mostly at the end, or equal to the one before). Out: places in the order of
//! values; a prefix, or an automaton that accepts whatever follows, skips to the end of its values by bisection.

use std::ops::Range;

use super::list::List;
use super::pattern::{Accept, Automaton, Condition, State};

/// Values of a page at most; one that is full is halved.
const PAGE_VALUES: usize = 128;

/// Bytes of text at which a page is full.
const PAGE_BYTES: usize = 8 << 10;

/// What an allocation costs beside its bytes.
const ALLOCATION: usize = 16;

/// Where a value stands: page and index. Ordered as the values are.
pub(crate) type Place = (usize, usize);

#[derive(Debug, Default)]
pub(crate) struct Values {
    pages: Vec<Page>,
    values: usize,
    /// Series that bear the label.
    series: usize,
    latest: Place,
}

#[derive(Debug, Default)]
struct Page {
    texts: Vec<u8>,
    ends: Vec<u32>,
    lists: Vec<List>,
}

impl Page {
    fn len(&self) -> usize {
        self.lists.len()
    }

    fn text(&self, index: usize) -> &[u8] {
        let from = index.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        &self.texts[from..self.ends[index] as usize]
    }

    fn bytes(&self) -> usize {
        self.texts.capacity()
            + self.ends.capacity() * size_of::<u32>()
            + self.lists.capacity() * size_of::<List>()
            + 3 * ALLOCATION
    }

    fn is_full(&self) -> bool {
        self.len() >= PAGE_VALUES || self.texts.len() >= PAGE_BYTES
    }

    /// The first index from `from` on whose text does not satisfy what all texts before it do.
    fn bound(&self, from: usize, before: impl Fn(&[u8]) -> bool) -> usize {
        let (mut low, mut high) = (from, self.len());
        while low < high {
            let middle = low.midpoint(high);
            if before(self.text(middle)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    fn insert(&mut self, index: usize, value: &[u8], list: List) {
        let at = index.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        grow(&mut self.texts, value.len());
        grow(&mut self.ends, 1);
        grow(&mut self.lists, 1);
        let end = self.texts.len();
        self.texts.extend_from_slice(value);
        if at < end {
            self.texts[at..].rotate_right(value.len());
        }
        self.ends[index..].iter_mut().for_each(|end| *end += value.len() as u32);
        self.ends.insert(index, (at + value.len()) as u32);
        self.lists.insert(index, list);
    }

    fn remove(&mut self, index: usize) {
        let from = index.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        let end = self.ends[index] as usize;
        self.texts.drain(from..end);
        self.ends.remove(index);
        self.ends[index..].iter_mut().for_each(|have| *have -= (end - from) as u32);
        self.lists.remove(index);
    }

    /// Takes the second half out.
    fn split(&mut self) -> Self {
        let half = self.len() / 2;
        let at = self.ends[half - 1];
        let mut ends = self.ends.split_off(half);
        ends.iter_mut().for_each(|end| *end -= at);
        let (texts, lists) = (self.texts.split_off(at as usize), self.lists.split_off(half));
        self.shrink();
        Self { texts, ends, lists }
    }

    fn shrink(&mut self) {
        self.texts.shrink_to_fit();
        self.ends.shrink_to_fit();
        self.lists.shrink_to_fit();
    }

    fn append(&mut self, mut other: Self) {
        let at = self.texts.len() as u32;
        self.texts.append(&mut other.texts);
        self.ends.extend(other.ends.into_iter().map(|end| end + at));
        self.lists.append(&mut other.lists);
        self.shrink();
    }
}

/// Makes room by a quarter: doubling would waste what packing saves.
fn grow<T>(list: &mut Vec<T>, by: usize) {
    if list.capacity() - list.len() < by {
        list.reserve_exact(by + list.len() / 4 + 1);
    }
}

impl Values {
    /// Number of values.
    pub(crate) fn len(&self) -> usize {
        self.values
    }

    /// Number of series that bear the label.
    pub(crate) fn series(&self) -> usize {
        self.series
    }

    pub(crate) fn text(&self, (page, index): Place) -> &str {
        std::str::from_utf8(self.pages[page].text(index)).expect("texts were put here")
    }

    pub(crate) fn list(&self, (page, index): Place) -> &List {
        &self.pages[page].lists[index]
    }

    pub(crate) fn end(&self) -> Place {
        (self.pages.len(), 0)
    }

    fn next(&self, (page, index): Place) -> Place {
        if index + 1 < self.pages[page].len() { (page, index + 1) } else { (page + 1, 0) }
    }

    /// The first place, not before another, whose text does not satisfy what all texts before it do.
    fn bound(&self, (page, index): Place, before: impl Fn(&[u8]) -> bool) -> Place {
        let Some(here) = self.pages.get(page) else { return self.end() };
        if !before(here.text(here.len() - 1)) {
            return (page, here.bound(index, before));
        }
        let rest = &self.pages[page + 1..];
        let at = page + 1 + rest.partition_point(|page| before(page.text(page.len() - 1)));
        match self.pages.get(at) {
            Some(page) => (at, page.bound(0, before)),
            None => self.end(),
        }
    }

    /// Where a value stands.
    pub(crate) fn find(&self, value: &str) -> Option<Place> {
        let place = self.bound((0, 0), |text| text < value.as_bytes());
        (place < self.end() && self.pages[place.0].text(place.1) == value.as_bytes()).then_some(place)
    }

    /// Adds a series and answers by how many bytes memory grew (or shrank).
    pub(crate) fn add(&mut self, series: u32, value: &str) -> isize {
        self.series += 1;
        let value = value.as_bytes();
        let (page, index) = self.latest;
        let known = self.pages.get(page).is_some_and(|page| index < page.len() && page.text(index) == value);
        if !known {
            self.latest = self.bound((0, 0), |text| text < value);
            let (page, index) = self.latest;
            if self.pages.get(page).is_none_or(|page| page.text(index) != value) {
                return self.insert(value, List::new(series));
            }
        }
        let list = &mut self.pages[self.latest.0].lists[self.latest.1];
        let before = list.heap_bytes();
        list.push(series);
        list.heap_bytes() as isize - before as isize
    }

    /// Puts a value where `latest` points to.
    fn insert(&mut self, value: &[u8], list: List) -> isize {
        self.values += 1;
        let before = self.pages.capacity() * size_of::<Page>();
        let mut grown = 0;
        // What belongs behind a page's last value goes into that page, so that values that come in order fill their pages.
        if self.latest.1 == 0 && self.latest.0 > 0 && !self.pages[self.latest.0 - 1].is_full() {
            self.latest = (self.latest.0 - 1, self.pages[self.latest.0 - 1].len());
        }
        let (page, index) = self.latest;
        if self.pages.get(page).is_none_or(|page| page.is_full() && index == 0) {
            self.pages.insert(page, Page::default());
            grown += (3 * ALLOCATION) as isize;
        } else if self.pages[page].is_full() {
            let old = self.pages[page].bytes() as isize;
            let second = self.pages[page].split();
            let half = self.pages[page].len();
            grown += (self.pages[page].bytes() + second.bytes()) as isize - old;
            self.pages.insert(page + 1, second);
            if index > half {
                self.latest = (page + 1, index - half);
            }
        }
        let (page, index) = self.latest;
        let old = self.pages[page].bytes() as isize;
        self.pages[page].insert(index, value, list);
        let pages = self.pages.capacity() * size_of::<Page>();
        grown + self.pages[page].bytes() as isize - old + pages as isize - before as isize
    }

    /// Removes series (ascending) from a value and answers by how many bytes memory shrank.
    pub(crate) fn remove(&mut self, value: &str, gone: &[u32]) -> isize {
        let Some((page, index)) = self.find(value) else { return 0 };
        let own = &mut self.pages[page];
        let list = &mut own.lists[index];
        let (before, had) = (list.heap_bytes() as isize, list.len());
        if let Some(left) = list.without(gone) {
            self.series -= had - left.len();
            let after = left.heap_bytes() as isize;
            *list = left;
            return before - after;
        }
        self.series -= had;
        self.values -= 1;
        let old = own.bytes() as isize;
        own.remove(index);
        own.shrink();
        let mut shrunk = before + old - own.bytes() as isize;
        if own.len() == 0 {
            self.pages.remove(page);
            shrunk += (3 * ALLOCATION) as isize;
        } else {
            shrunk += self.join(page);
        }
        let capacity = self.pages.capacity();
        if capacity > 2 * self.pages.len() {
            self.pages.shrink_to_fit();
            shrunk += ((capacity - self.pages.capacity()) * size_of::<Page>()) as isize;
        }
        self.latest = (0, 0);
        shrunk
    }

    /// Joins a page with the next one where both are half empty.
    fn join(&mut self, page: usize) -> isize {
        let Some(next) = self.pages.get(page + 1) else { return 0 };
        let own = &self.pages[page];
        if own.len() + next.len() > PAGE_VALUES / 2 || own.texts.len() + next.texts.len() > PAGE_BYTES / 2 {
            return 0;
        }
        let before = (own.bytes() + next.bytes()) as isize;
        let next = self.pages.remove(page + 1);
        self.pages[page].append(next);
        before - self.pages[page].bytes() as isize
    }

    /// The places of a range.
    pub(crate) fn places(&self, range: Range<Place>) -> impl Iterator<Item = Place> {
        let mut at = range.start;
        std::iter::from_fn(move || {
            let place = at;
            (place < range.end).then(|| {
                at = self.next(place);
                place
            })
        })
    }

    /// The lists of a range, page by page.
    pub(crate) fn lists(&self, range: Range<Place>) -> impl Iterator<Item = &List> {
        let (start, end) = (range.start, range.end);
        let pages = self.pages.iter().enumerate().skip(start.0).take_while(move |(at, _)| (*at, 0) < end);
        pages.flat_map(move |(at, page)| {
            let from = if at == start.0 { start.1 } else { 0 };
            let end = if at == end.0 { end.1 } else { page.len() };
            &page.lists[from.min(end)..end]
        })
    }

    /// The places of the values that a condition brings or takes away, as ascending ranges.
    pub(crate) fn taken(&self, condition: &Condition<'_>) -> Vec<Range<Place>> {
        let mut ranges = Vec::new();
        match &condition.accept {
            Accept::Values(values) => {
                let found = values.iter().filter_map(|value| self.find(value));
                found.for_each(|place| push(&mut ranges, place..self.next(place)));
            }
            Accept::Prefix(prefix, itself) => {
                let prefix = prefix.as_bytes();
                let from = self.bound((0, 0), |text| text < prefix || !itself && text == prefix);
                push(&mut ranges, from..self.bound(from, |text| text.starts_with(prefix)));
            }
            Accept::Automaton(automaton) => self.walk(automaton, &mut ranges),
            Accept::Each => {
                let matches =
                    |place: &Place| condition.matcher.matches(self.text(*place)) != condition.negated;
                let found = self.places((0, 0)..self.end()).filter(matches);
                found.for_each(|place| push(&mut ranges, place..self.next(place)));
            }
        }
        if condition.takes_accepted() { ranges } else { self.others(&ranges) }
    }

    fn others(&self, ranges: &[Range<Place>]) -> Vec<Range<Place>> {
        let (mut others, mut from) = (Vec::with_capacity(ranges.len() + 1), (0, 0));
        for range in ranges {
            push(&mut others, from..range.start);
            from = range.end;
        }
        push(&mut others, from..self.end());
        others
    }

    /// Walks the values with an automaton. Neighbours begin alike, so its states are kept byte by byte.
    fn walk(&self, automaton: &Automaton, ranges: &mut Vec<Range<Place>>) {
        let Some(start) = automaton.start() else { return };
        let (mut at, mut before, mut states): (_, &[u8], _) = ((0, 0), &[], vec![start]);
        while at < self.end() {
            let value = self.pages[at.0].text(at.1);
            let alike = before.iter().zip(value).take_while(|(a, b)| a == b).count();
            states.truncate(alike + 1);
            let next = self.next(at);
            match follow(automaton, value, &mut states) {
                Followed::To { accepted: true } => push(ranges, at..next),
                Followed::To { accepted: false } => {}
                Followed::All { depth } => {
                    let end = self.after(next, &value[..depth]);
                    push(ranges, at..end);
                    (at, before) = (end, value);
                    continue;
                }
                Followed::Nothing { depth } => {
                    (at, before) = (self.after(next, &value[..depth]), value);
                    continue;
                }
            }
            (at, before) = (next, value);
        }
    }

    /// The first place, from one on, that does not begin with a prefix. Looks at that one first: it is often there.
    fn after(&self, from: Place, prefix: &[u8]) -> Place {
        match self.pages.get(from.0) {
            Some(page) if page.text(from.1).starts_with(prefix) => {
                self.bound(from, |text| text.starts_with(prefix))
            }
            _ => from,
        }
    }
}

/// How far an automaton followed a value.
enum Followed {
    To {
        accepted: bool,
    },
    /// All that begin with so many bytes of it are accepted.
    All {
        depth: usize,
    },
    /// None of them is.
    Nothing {
        depth: usize,
    },
}

/// Goes on from the last of `states`, which has one for each byte and one before them.
fn follow(automaton: &Automaton, value: &[u8], states: &mut Vec<State>) -> Followed {
    loop {
        let depth = states.len() - 1;
        let state = states[depth];
        if automaton.accepts_all_after(state) {
            return Followed::All { depth };
        }
        let Some(byte) = value.get(depth) else {
            return Followed::To { accepted: automaton.accepts(state) };
        };
        match automaton.next(state, *byte) {
            Some(next) => states.push(next),
            None => return Followed::Nothing { depth: depth + 1 },
        }
    }
}

/// Appends a range, joined with the one before it where they touch.
fn push(ranges: &mut Vec<Range<Place>>, range: Range<Place>) {
    match ranges.last_mut() {
        _ if range.is_empty() => {}
        Some(last) if last.end == range.start => last.end = range.end,
        _ => ranges.push(range),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use model::{MatchOp, Matcher};
    use proptest::prelude::*;

    use super::super::block::tests::any_matcher;
    use super::*;

    /// Values that come, and some that go, beside a plain map.
    fn check(values: &[String], gone: &[u32], matchers: &[Matcher]) {
        let (mut packed, mut plain) = (Values::default(), BTreeMap::<&str, Vec<u32>>::new());
        let mut bytes = 0;
        for (series, value) in values.iter().enumerate() {
            bytes += packed.add(series as u32, value);
            plain.entry(value).or_default().push(series as u32);
        }
        for (series, value) in values.iter().enumerate().filter(|(at, _)| gone.contains(&(*at as u32))) {
            bytes -= packed.remove(value, &[series as u32]);
            let left = plain.get_mut(value.as_str()).expect("it came");
            left.retain(|have| *have != series as u32);
            if left.is_empty() {
                plain.remove(value.as_str());
            }
        }
        let all = packed.places((0, 0)..packed.end());
        let all: Vec<(&str, Vec<u32>)> =
            all.map(|place| (packed.text(place), packed.list(place).ids().collect())).collect();
        assert!(all.iter().map(|(text, ids)| (*text, ids)).eq(plain.iter().map(|(text, ids)| (*text, ids))));
        assert_eq!((packed.len(), packed.series()), (plain.len(), plain.values().map(Vec::len).sum()));
        let counted: usize = packed.pages.iter().map(Page::bytes).sum::<usize>()
            + packed.pages.iter().flat_map(|page| &page.lists).map(List::heap_bytes).sum::<usize>()
            + packed.pages.capacity() * size_of::<Page>();
        assert_eq!(bytes, counted as isize);
        for matcher in matchers {
            check_taken(&packed, &plain, matcher);
        }
    }

    fn check_taken(packed: &Values, plain: &BTreeMap<&str, Vec<u32>>, matcher: &Matcher) {
        let condition = Condition::new(matcher);
        let taken = packed.taken(&condition);
        let texts: Vec<&str> = taken
            .iter()
            .flat_map(|range| packed.places(range.clone()))
            .map(|place| packed.text(place))
            .collect();
        let expected: Vec<&str> =
            plain.keys().copied().filter(|text| matcher.matches(text) != condition.absent).collect();
        assert_eq!(texts, expected, "{matcher}");
        let lists = taken.iter().flat_map(|range| packed.lists(range.clone())).flat_map(List::ids);
        assert!(lists.eq(expected.iter().flat_map(|text| &plain[text]).copied()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn values_come_and_go_and_are_found(
            values in proptest::collection::vec("[xyzé]{1,3}|[xy.|]{1,9}", 0..600),
            gone in proptest::collection::vec(0..600u32, 0..500),
            matchers in proptest::collection::vec(any_matcher(), 1..5),
        ) {
            check(&values, &gone, &matchers);
        }
    }

    #[test]
    fn values_in_order_fill_their_pages() {
        let values: Vec<String> = (0..10_000).map(|i| format!("host-{i:05}")).collect();
        let everything: Vec<u32> = (0..10_000).collect();
        let prefix = Matcher::new("l", MatchOp::Regex, "host-00.*").expect("valid");
        check(&values, &everything[..5_000], std::slice::from_ref(&prefix));
        check(&values, &everything, std::slice::from_ref(&prefix));
        let mut packed = Values::default();
        let bytes: isize = values.iter().enumerate().map(|(id, value)| packed.add(id as u32, value)).sum();
        assert!(bytes < 10_000 * 36, "{bytes}");
    }
}
