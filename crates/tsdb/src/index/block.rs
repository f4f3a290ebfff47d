//! A block's index, read: which of its series satisfy matchers, which label names and values it knows.
//!
//! In: frames, verified, through whatever cache their source has; any bytes in them end in an answer or in a complaint that names
//! the frame. Out: sets of series. Small by itself (the root's bytes): nothing is kept between questions but what the source
//! caches. A matcher costs the way to its values and their postings; where the series found so far are few and a matcher's
//! postings many, [`BlockIndex::find_rough`] leaves it to the caller, who has the labels of the few anyway.

use std::ops::Range;
use std::sync::Arc;

use model::Matcher;
use roaring::RoaringBitmap;

use super::dictionary::{Dictionary, Wrong};
use super::pattern::{Accept, Condition, complement};
use super::postings::Page;
use super::union::Union;
use crate::block::frame::{FrameRef, FrameSource};
use crate::error::BlockError;
use crate::varint::Cursor;

type Result<T> = std::result::Result<T, BlockError>;

const TORN: Wrong = "the index is cut off";
const COUNTS: Wrong = "the index contradicts itself in numbers of values";

/// What looking at one series' label costs, in bytes of postings or dictionaries that could be read instead.
const LABEL_COST: u64 = 64;

/// An open index.
pub(crate) struct BlockIndex<'a> {
    source: &'a dyn FrameSource,
    at: FrameRef,
    root: Arc<[u8]>,
    series: u32,
    names: u32,
    pages: Vec<NamesRef>,
}

/// First name (in the root) and frame of a page of names.
type NamesRef = (Range<usize>, FrameRef);

/// A run of bytes within a frame.
#[derive(Clone, Copy, Debug)]
struct Place {
    frame: FrameRef,
    at: usize,
    length: usize,
}

/// A part's bytes, held by their frame.
struct Part {
    frame: Arc<[u8]>,
    range: Range<usize>,
    at: FrameRef,
}

impl Part {
    fn bytes(&self) -> &[u8] {
        &self.frame[self.range.clone()]
    }
}

/// A label name's directory.
#[derive(Debug)]
struct Name {
    series: u32,
    values: u32,
    dictionaries: Vec<DictionaryRef>,
    pages: Vec<PageRef>,
    /// Bytes of all postings.
    postings_bytes: u64,
}

#[derive(Debug)]
struct DictionaryRef {
    place: Place,
    ordinals: Range<u32>,
    /// Empty for the first one.
    first: Box<[u8]>,
}

#[derive(Debug)]
struct PageRef {
    place: Place,
    ordinals: Range<u32>,
}

fn take_frame(from: &mut Cursor<'_>) -> Option<FrameRef> {
    let offset = from.number()?;
    Some(FrameRef { offset, length: u32::try_from(from.number()?).ok()? })
}

fn take_place(from: &mut Cursor<'_>) -> Option<Place> {
    let frame = take_frame(from)?;
    let (at, length) = (usize::try_from(from.number()?).ok()?, usize::try_from(from.number()?).ok()?);
    (at.checked_add(length)? <= frame.length as usize).then_some(Place { frame, at, length })
}

fn take_u32(from: &mut Cursor<'_>) -> Option<u32> {
    u32::try_from(from.number()?).ok()
}

/// Ordinals of so many values behind those before.
fn next_ordinals(before: Option<&Range<u32>>, count: u64) -> Option<Range<u32>> {
    let from = before.map_or(0, |before| before.end);
    Some(from..from.checked_add(u32::try_from(count).ok()?)?)
}

impl Name {
    fn parse(body: &[u8], universe: u32) -> Option<std::result::Result<Self, Wrong>> {
        let mut from = Cursor::new(body);
        let (series, values) = (take_u32(&mut from)?, take_u32(&mut from)?);
        let mut dictionaries: Vec<DictionaryRef> = Vec::new();
        for index in 0..from.number()? {
            let place = take_place(&mut from)?;
            let ordinals = next_ordinals(dictionaries.last().map(|last| &last.ordinals), from.number()?)?;
            let first = if index > 0 { from.bytes()?.into() } else { Box::default() };
            dictionaries.push(DictionaryRef { place, ordinals, first });
        }
        let (mut pages, mut postings_bytes): (Vec<PageRef>, u64) = (Vec::new(), 0);
        for _ in 0..from.number()? {
            let place = take_place(&mut from)?;
            let ordinals = next_ordinals(pages.last().map(|last| &last.ordinals), from.number()?)?;
            postings_bytes += place.length as u64;
            pages.push(PageRef { place, ordinals });
        }
        let ends = |end: Option<u32>| end == Some(values);
        let agrees = ends(dictionaries.last().map(|last| last.ordinals.end))
            && ends(pages.last().map(|last| last.ordinals.end))
            && values <= series
            && series <= universe;
        Some(agrees.then_some(Self { series, values, dictionaries, pages, postings_bytes }).ok_or(COUNTS))
    }

    /// Bytes of postings of so many values, about.
    fn postings_cost(&self, values: u64) -> u64 {
        values * self.postings_bytes / u64::from(self.values.max(1))
    }

    /// The dictionary in which a value would stand.
    fn dictionary_of(&self, value: &[u8]) -> usize {
        self.dictionaries.partition_point(|dictionary| &*dictionary.first <= value).saturating_sub(1)
    }
}

impl<'a> BlockIndex<'a> {
    /// Reads the root of an index over so many series.
    pub(crate) fn open(source: &'a dyn FrameSource, root: FrameRef, series: u32) -> Result<Self> {
        let bytes = source.get(root)?;
        let parsed = Self::parse_root(&bytes);
        let (indexed, names, pages) = parsed.ok_or_else(|| source.damaged(root, TORN))?;
        if indexed != series {
            return Err(source.damaged(root, "the index holds another number of series"));
        }
        Ok(Self { source, at: root, root: bytes, series, names, pages })
    }

    fn parse_root(bytes: &[u8]) -> Option<(u32, u32, Vec<NamesRef>)> {
        let mut from = Cursor::new(bytes);
        let (series, names) = (take_u32(&mut from)?, take_u32(&mut from)?);
        let mut pages = Vec::new();
        while !from.is_empty() {
            let first = from.bytes()?;
            let end = bytes.len() - from.left();
            pages.push((end - first.len()..end, take_frame(&mut from)?));
        }
        Some((series, names, pages))
    }

    fn wrong(&self, at: FrameRef, what: Wrong) -> BlockError {
        self.source.damaged(at, what)
    }

    fn part(&self, place: &Place) -> Result<Part> {
        let frame = self.source.get(place.frame)?;
        let range = place.at..place.at + place.length;
        match range.end <= frame.len() {
            true => Ok(Part { frame, range, at: place.frame }),
            false => Err(self.wrong(place.frame, TORN)),
        }
    }

    /// Calls back with the names of a frame and their entries until it answers false; answers whether it did not.
    fn each_entry(&self, at: FrameRef, visit: &mut dyn FnMut(&str, &[u8]) -> Result<bool>) -> Result<bool> {
        let frame = self.source.get(at)?;
        let mut from = Cursor::new(&frame);
        while !from.is_empty() {
            let entry = from.text().zip(from.bytes());
            let (name, body) = entry.ok_or_else(|| self.wrong(at, TORN))?;
            if !visit(name, body)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn parse_name(&self, at: FrameRef, body: &[u8]) -> Result<Name> {
        let parsed = Name::parse(body, self.series).unwrap_or(Err(TORN));
        parsed.map_err(|what| self.wrong(at, what))
    }

    fn name(&self, wanted: &str) -> Result<Option<Name>> {
        let after = self.pages.partition_point(|(first, _)| &self.root[first.clone()] <= wanted.as_bytes());
        let Some((_, at)) = after.checked_sub(1).map(|at| &self.pages[at]) else { return Ok(None) };
        let mut found = None;
        self.each_entry(*at, &mut |name, body| {
            if name == wanted {
                found = Some(self.parse_name(*at, body)?);
            }
            Ok(name < wanted)
        })?;
        Ok(found)
    }

    /// The series that satisfy all matchers.
    pub(crate) fn find(&self, matchers: &[Matcher]) -> Result<RoaringBitmap> {
        let mut left = Vec::new();
        self.find_all(&Condition::all(matchers), None, &mut left)
    }

    /// The series that satisfy the conditions but those that are dearer here than to ask for the labels of the series found: they
    /// are appended to `left`.
    pub(crate) fn find_rough<'m>(
        &self,
        conditions: &[Condition<'m>],
        left: &mut Vec<&'m Matcher>,
    ) -> Result<RoaringBitmap> {
        self.find_all(conditions, Some(LABEL_COST), left)
    }

    fn find_all<'m>(
        &self,
        conditions: &[Condition<'m>],
        label_cost: Option<u64>,
        left: &mut Vec<&'m Matcher>,
    ) -> Result<RoaringBitmap> {
        let mut found: Option<RoaringBitmap> = None;
        for condition in conditions {
            let Some(name) = self.name(condition.matcher.name())? else {
                if condition.absent {
                    continue;
                }
                left.clear();
                return Ok(RoaringBitmap::new());
            };
            let worth = found.as_ref().zip(label_cost).map(|(found, cost)| found.len() * cost);
            let Some(set) = self.taken(&name, condition, worth)? else {
                left.push(condition.matcher);
                continue;
            };
            found = Some(match (found, condition.absent) {
                (Some(found), true) => found - set,
                (None, true) => self.all() - set,
                (Some(found), false) => found & set,
                (None, false) => set,
            });
            if found.as_ref().is_some_and(RoaringBitmap::is_empty) {
                break;
            }
        }
        Ok(found.unwrap_or_else(|| self.all()))
    }

    fn all(&self) -> RoaringBitmap {
        let mut all = RoaringBitmap::new();
        all.insert_range(0..self.series);
        all
    }

    /// The series that a condition brings, or takes away; `None` where that is dearer than `worth`.
    fn taken(
        &self,
        name: &Name,
        condition: &Condition<'_>,
        worth: Option<u64>,
    ) -> Result<Option<RoaringBitmap>> {
        let walks_all = match &condition.accept {
            Accept::Values(_) | Accept::Prefix(..) => false,
            Accept::Automaton(_) | Accept::Each => true,
        };
        // A step along a dictionary costs about as much as some bytes of postings.
        if walks_all && worth.is_some_and(|worth| worth < u64::from(name.values) * 8) {
            return Ok(None);
        }
        let mut ranges = self.accepted(name, condition)?;
        if !condition.takes_accepted() {
            ranges = complement(&ranges, name.values);
        }
        let values: u64 = ranges.iter().map(|range| range.len() as u64).sum();
        if values == u64::from(name.values) && name.series == self.series {
            return Ok(Some(self.all()));
        }
        if worth.is_some_and(|worth| worth < name.postings_cost(values)) {
            return Ok(None);
        }
        Ok(Some(self.union(name, &ranges)?))
    }

    /// Ordinals of the values that a condition's text accepts, as ascending ranges.
    fn accepted(&self, name: &Name, condition: &Condition<'_>) -> Result<Vec<Range<u32>>> {
        let mut ranges = Vec::new();
        match &condition.accept {
            Accept::Values(values) => {
                for value in values {
                    if let Some(ordinal) = self.ordinal(name, value)? {
                        ranges.push(ordinal..ordinal + 1);
                    }
                }
            }
            Accept::Prefix(prefix, itself) => self.prefix(name, prefix, *itself, &mut ranges)?,
            Accept::Automaton(automaton) => {
                for dictionary in &name.dictionaries {
                    let mut own = Vec::new();
                    self.read_dictionary(dictionary, |read| read.accepted(automaton, &mut own))?;
                    ranges.extend(own.into_iter().map(|own| shift(own, dictionary.ordinals.start)));
                }
            }
            Accept::Each => {
                let pattern = condition.matcher;
                self.each_value(name, &mut |ordinal, value| {
                    if pattern.matches(value) != condition.negated {
                        ranges.push(ordinal..ordinal + 1);
                    }
                    true
                })?;
            }
        }
        Ok(ranges)
    }

    fn read_dictionary<T>(
        &self,
        at: &DictionaryRef,
        read: impl FnOnce(Dictionary<'_>) -> std::result::Result<T, Wrong>,
    ) -> Result<T> {
        let part = self.part(&at.place)?;
        let dictionary = Dictionary::new(part.bytes(), at.ordinals.len() as u32);
        dictionary.and_then(read).map_err(|what| self.wrong(part.at, what))
    }

    fn ordinal(&self, name: &Name, value: &str) -> Result<Option<u32>> {
        let Some(dictionary) = name.dictionaries.get(name.dictionary_of(value.as_bytes())) else {
            return Ok(None);
        };
        let own = self.read_dictionary(dictionary, |read| read.find(value.as_bytes()))?;
        Ok(own.map(|own| dictionary.ordinals.start + own))
    }

    fn prefix(&self, name: &Name, prefix: &str, itself: bool, ranges: &mut Vec<Range<u32>>) -> Result<()> {
        if prefix.is_empty() {
            ranges.push(0..name.values);
            return Ok(());
        }
        let first = name.dictionary_of(prefix.as_bytes());
        let begins = |dictionary: &&DictionaryRef| dictionary.first.starts_with(prefix.as_bytes());
        let others = name.dictionaries.iter().skip(first + 1).take_while(begins);
        for dictionary in name.dictionaries.iter().skip(first).take(1).chain(others) {
            let own = self.read_dictionary(dictionary, |read| read.prefix(prefix.as_bytes()))?;
            ranges.push(shift(own, dictionary.ordinals.start));
        }
        if !itself && self.ordinal(name, prefix)?.is_some() {
            // It is the first of all that begin with it.
            if let Some(range) = ranges.iter_mut().find(|range| range.start < range.end) {
                range.start += 1;
            }
        }
        Ok(())
    }

    fn union(&self, name: &Name, ranges: &[Range<u32>]) -> Result<RoaringBitmap> {
        let mut union = Union::new(self.series);
        self.each_page(name, ranges, |page, range| page.union(range, &mut union).map(|()| true))?;
        Ok(union.finish())
    }

    /// Calls back with pages, and which of their postings are wanted, until it answers false. Ranges must ascend.
    fn each_page(
        &self,
        name: &Name,
        ranges: &[Range<u32>],
        mut visit: impl FnMut(&Page<'_>, Range<usize>) -> std::result::Result<bool, Wrong>,
    ) -> Result<()> {
        let mut open: Option<(usize, Part)> = None;
        for range in ranges {
            let first = name.pages.partition_point(|page| page.ordinals.end <= range.start);
            for (index, page) in name.pages.iter().enumerate().skip(first) {
                let (from, end) = (range.start.max(page.ordinals.start), range.end.min(page.ordinals.end));
                if from >= end {
                    break;
                }
                let part = match open.take() {
                    Some((at, part)) if at == index => part,
                    _ => self.part(&page.place)?,
                };
                let start = page.ordinals.start;
                let read = Page::new(part.bytes());
                let wanted = (from - start) as usize..(end - start) as usize;
                let goes_on = read.and_then(|read| visit(&read, wanted));
                if !goes_on.map_err(|what| self.wrong(page.place.frame, what))? {
                    return Ok(());
                }
                open = Some((index, part));
            }
        }
        Ok(())
    }

    fn each_value(&self, name: &Name, visit: &mut dyn FnMut(u32, &str) -> bool) -> Result<()> {
        let mut goes_on = true;
        for dictionary in &name.dictionaries {
            let count = dictionary.ordinals.len() as u32;
            let first = dictionary.ordinals.start;
            self.read_dictionary(dictionary, |read| {
                read.each(0..count, |own, value| {
                    goes_on = visit(first + own, value);
                    goes_on
                })
            })?;
            if !goes_on {
                break;
            }
        }
        Ok(())
    }

    /// The values of a range of ordinals.
    fn spell(&self, name: &Name, range: &Range<u32>, visit: &mut dyn FnMut(&str)) -> Result<()> {
        let first = name.dictionaries.partition_point(|dictionary| dictionary.ordinals.end <= range.start);
        for dictionary in &name.dictionaries[first..] {
            let start = dictionary.ordinals.start;
            let (from, end) = (range.start.max(start), range.end.min(dictionary.ordinals.end));
            if from >= end {
                break;
            }
            self.read_dictionary(dictionary, |read| {
                read.each(from - start..end - start, |_, value| {
                    visit(value);
                    true
                })
            })?;
        }
        Ok(())
    }

    /// The label names on the block's series, or on some of them, sorted.
    pub(crate) fn names(&self, within: Option<&RoaringBitmap>) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for (_, at) in &self.pages {
            self.each_entry(*at, &mut |name, body| {
                if match within {
                    None => true,
                    Some(within) => self.bears(&self.parse_name(*at, body)?, within)?,
                } {
                    names.push(name.to_owned());
                }
                Ok(true)
            })?;
        }
        Ok(names)
    }

    /// Whether one of some series bears a name.
    fn bears(&self, name: &Name, within: &RoaringBitmap) -> Result<bool> {
        // More than those without the name: one of them bears it.
        if within.len() > u64::from(self.series - name.series) {
            return Ok(true);
        }
        let mut bears = false;
        self.each_page(name, std::slice::from_ref(&(0..name.values)), |page, range| {
            page.meeting(range, within, |_| {
                bears = true;
                false
            })?;
            Ok(!bears)
        })?;
        Ok(bears)
    }

    /// The values of a label on the block's series, or on some of them, sorted, at most `limit` where that is not 0.
    pub(crate) fn values(
        &self,
        name: &str,
        limit: usize,
        within: Option<&RoaringBitmap>,
    ) -> Result<Vec<String>> {
        let Some(name) = self.name(name)? else { return Ok(Vec::new()) };
        let limit = if limit == 0 { usize::MAX } else { limit };
        let mut values = Vec::new();
        let Some(within) = within.filter(|within| within.len() < u64::from(self.series)) else {
            self.spell(
                &name,
                &(0..name.values.min(u32::try_from(limit).unwrap_or(u32::MAX))),
                &mut |value| {
                    values.push(value.to_owned());
                },
            )?;
            return Ok(values);
        };
        for range in self.meeting(&name, limit, within)? {
            self.spell(&name, &range, &mut |value| values.push(value.to_owned()))?;
        }
        Ok(values)
    }

    /// Ordinals of the values that some series bear: at most so many, as ascending ranges.
    fn meeting(&self, name: &Name, limit: usize, within: &RoaringBitmap) -> Result<Vec<Range<u32>>> {
        let (mut ranges, mut count, mut pages): (Vec<Range<u32>>, _, _) = (Vec::new(), 0, name.pages.iter());
        self.each_page(name, std::slice::from_ref(&(0..name.values)), |page, range| {
            let first = pages.next().map_or(0, |page| page.ordinals.start);
            page.meeting(range, within, |index| {
                let ordinal = first + index as u32;
                match ranges.last_mut() {
                    Some(last) if last.end == ordinal => last.end += 1,
                    _ => ranges.push(ordinal..ordinal + 1),
                }
                count += 1;
                count < limit
            })?;
            Ok(count < limit)
        })?;
        Ok(ranges)
    }

    /// Bytes of postings of a label: what asking which of its values some series bear costs.
    pub(crate) fn postings_bytes(&self, name: &str) -> Result<u64> {
        Ok(self.name(name)?.map_or(0, |name| name.postings_bytes))
    }

    /// Every frame that the index consists of, for a check of all checksums: the root is not among them.
    pub(crate) fn frames(&self) -> Result<Vec<FrameRef>> {
        let (mut frames, mut names) = (Vec::new(), 0);
        for (_, at) in &self.pages {
            frames.push(*at);
            self.each_entry(*at, &mut |_, body| {
                names += 1;
                let name = self.parse_name(*at, body)?;
                frames.extend(name.dictionaries.iter().map(|dictionary| dictionary.place.frame));
                frames.extend(name.pages.iter().map(|page| page.place.frame));
                Ok(true)
            })?;
        }
        if names != self.names {
            return Err(self.wrong(self.at, "the index holds another number of label names"));
        }
        frames.sort_unstable_by_key(|frame| frame.offset);
        frames.dedup();
        Ok(frames)
    }
}

fn shift(own: Range<u32>, by: u32) -> Range<u32> {
    own.start + by..own.end + by
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeSet;

    use model::{Labels, MatchOp};
    use proptest::prelude::*;

    use super::super::builder::IndexBuilder;
    use super::super::pattern::tests::PATTERNS;
    use super::super::probe::Frames;
    use super::*;

    pub(crate) fn build(sets: &[Labels]) -> (Frames, FrameRef) {
        let (mut builder, mut frames) = (IndexBuilder::default(), Frames::default());
        for (series, labels) in sets.iter().enumerate() {
            builder.add(series as u32, labels);
        }
        let root = builder.finish(&mut frames).expect("memory takes all");
        (frames, root)
    }

    pub(crate) fn fits(labels: &Labels, matchers: &[Matcher]) -> bool {
        matchers.iter().all(|matcher| matcher.matches(labels.get(matcher.name()).unwrap_or_default()))
    }

    fn check_find(sets: &[Labels], index: &BlockIndex<'_>, matchers: &[Matcher]) {
        let expected: Vec<u32> =
            (0..sets.len() as u32).filter(|at| fits(&sets[*at as usize], matchers)).collect();
        let found = index.find(matchers).expect("whole");
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{matchers:?}");
        let mut left = Vec::new();
        let conditions = Condition::all(matchers);
        let rough = index.find_all(&conditions, Some(1), &mut left).expect("whole");
        let left: Vec<Matcher> = left.into_iter().cloned().collect();
        let narrowed: Vec<u32> = rough.iter().filter(|at| fits(&sets[*at as usize], &left)).collect();
        assert_eq!(narrowed, expected, "{matchers:?} without {left:?}");
    }

    fn check_values(sets: &[Labels], index: &BlockIndex<'_>, within: Option<&BTreeSet<u32>>) {
        let wanted = |at: usize| within.is_none_or(|within| within.contains(&(at as u32)));
        let pairs = sets.iter().enumerate().filter(|(at, _)| wanted(*at)).flat_map(|(_, labels)| labels);
        let pairs: BTreeSet<(&str, &str)> = pairs.collect();
        let within: Option<RoaringBitmap> = within.map(|within| within.iter().copied().collect());
        let names: BTreeSet<&str> = pairs.iter().map(|pair| pair.0).collect();
        assert!(index.names(within.as_ref()).expect("whole").iter().eq(&names));
        for name in ["a", "b", "c", "none"] {
            let values: Vec<&str> = pairs.iter().filter(|pair| pair.0 == name).map(|pair| pair.1).collect();
            assert_eq!(index.values(name, 0, within.as_ref()).expect("whole"), values);
            let first: Vec<&str> = values.iter().take(2).copied().collect();
            assert_eq!(index.values(name, 2, within.as_ref()).expect("whole"), first);
        }
    }

    fn any_labels() -> impl Strategy<Value = Labels> {
        proptest::collection::btree_map("[a-c]", "[xyzé.|]{0,3}", 0..4).prop_map(Labels::from_pairs)
    }

    pub(crate) fn any_matcher() -> impl Strategy<Value = Matcher> {
        let op = proptest::sample::select(vec![
            MatchOp::Equal,
            MatchOp::NotEqual,
            MatchOp::Regex,
            MatchOp::NotRegex,
        ]);
        let valid = |pattern: &&str| Matcher::new("l", MatchOp::Regex, pattern).is_ok();
        let patterns: Vec<&str> = PATTERNS.iter().copied().filter(valid).collect();
        ("[a-d]", op, proptest::sample::select(patterns))
            .prop_map(|(name, op, value)| Matcher::new(&name, op, value).expect("it is valid"))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]
        #[test]
        fn the_index_answers_as_asking_every_series_does(
            sets in proptest::collection::vec(any_labels(), 0..60),
            questions in proptest::collection::vec(proptest::collection::vec(any_matcher(), 0..4), 1..8),
            within in proptest::collection::btree_set(0..60u32, 0..60),
        ) {
            let (frames, root) = build(&sets);
            let index = BlockIndex::open(&frames, root, sets.len() as u32).expect("whole");
            for matchers in &questions {
                check_find(&sets, &index, matchers);
            }
            let within: BTreeSet<u32> = within.into_iter().filter(|at| (*at as usize) < sets.len()).collect();
            check_values(&sets, &index, None);
            check_values(&sets, &index, Some(&within));
        }

        #[test]
        fn damage_ends_in_an_answer_or_a_complaint(
            sets in proptest::collection::vec(any_labels(), 1..40),
            hits in proptest::collection::vec((any::<proptest::sample::Index>(), any::<proptest::sample::Index>(), any::<u8>()), 1..4),
            matchers in proptest::collection::vec(any_matcher(), 1..3),
        ) {
            let (mut frames, root) = build(&sets);
            for (frame, byte, value) in hits {
                let at = frame.index(frames.0.len());
                let mut bytes = frames.0[at].to_vec();
                let place = byte.index(bytes.len());
                bytes[place] = value;
                frames.0[at] = bytes.into();
            }
            let Ok(index) = BlockIndex::open(&frames, root, sets.len() as u32) else { return Ok(()) };
            let _ = index.find(&matchers);
            let _ = index.names(Some(&[1, 2].into_iter().collect()));
            let _ = index.values("a", 0, None);
            let _ = index.values("b", 3, Some(&[1, 2].into_iter().collect()));
        }
    }

    /// Enough values for several dictionaries and many pages.
    #[test]
    fn large_labels_are_cut_into_bounded_parts() {
        let sets: Vec<Labels> = (0..50_000u64)
            .map(|i| {
                let mixed = i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                Labels::from_pairs([
                    ("a", format!("{i:06}")),
                    ("b", format!("{mixed:016x}{:016x}", mixed.wrapping_mul(mixed))),
                    ("c", format!("{}", mixed % 3)),
                ])
            })
            .collect();
        let (frames, root) = build(&sets);
        let index = BlockIndex::open(&frames, root, sets.len() as u32).expect("whole");
        let largest = frames.0.iter().map(|frame| frame.len()).max().expect("frames");
        assert!(
            largest < 1_200_000 && index.name("b").expect("whole").expect("there").dictionaries.len() > 1
        );
        for (name, op, value) in [
            ("b", MatchOp::Regex, "00.*"),
            ("b", MatchOp::Regex, "f.+"),
            ("b", MatchOp::Regex, "[0-3]f.*9"),
            ("b", MatchOp::NotRegex, "[0-9].*"),
            ("b", MatchOp::Regex, ".*"),
            ("a", MatchOp::Regex, "07.*|000001"),
            ("a", MatchOp::Regex, "000001|049999|150000"),
            ("c", MatchOp::NotEqual, "1"),
        ] {
            let matcher = Matcher::new(name, op, value).expect("valid");
            check_find(&sets, &index, std::slice::from_ref(&matcher));
        }
        let sorted: BTreeSet<String> =
            sets.iter().filter_map(|set| set.get("b").map(str::to_owned)).collect();
        assert!(index.values("b", 0, None).expect("whole").iter().eq(&sorted));
        assert_eq!(index.frames().expect("whole").len(), frames.0.len() - 1);
    }

    #[test]
    fn many_names_are_found_and_counted() {
        let name = |i: u32| format!("name_{i:080}");
        let sets: Vec<Labels> =
            (0..400).map(|i| Labels::from_pairs([(name(i), "x"), ("a".into(), "y")])).collect();
        let (frames, root) = build(&sets);
        let mut index = BlockIndex::open(&frames, root, sets.len() as u32).expect("whole");
        assert!(index.pages.len() > 1);
        assert_eq!(index.names(None).expect("whole").len(), 401);
        for i in [0, 1, 249, 399] {
            let found = index.find(&[Matcher::equal(&name(i), "x")]).expect("whole");
            assert_eq!(found.iter().collect::<Vec<_>>(), [i]);
        }
        assert!(index.find(&[Matcher::equal("name_", "x")]).expect("whole").is_empty());
        assert_eq!(index.frames().expect("whole").len(), frames.0.len() - 1);
        index.pages.pop();
        index.frames().expect_err("a page of names is missing");
    }
}
