//! Several ordered sources of the same series as one: each series once, its samples joined in time order.
//!
//! In: parts, each in label order, each series once: the head's copies and one part a block. Out: a [`SeriesSet`]. Where two parts
//! hold a time, the store's one rule ([`beats`]) chooses, as it does for samples that meet in memory, so that it does not
//! matter what lies where. Parts that hold distinct times in order, which nearly all do, are appended and not merged.

use std::cmp::Ordering;
use std::sync::Arc;

use model::{Columns, Labels, SeriesSet, SourceError, Timestamp};

use crate::series::beats;
use crate::varint::Cursor;

/// A native histogram as it came, and its time.
pub(crate) type Histogram = (Timestamp, Arc<[u8]>);

/// One of a selection's sources.
pub(crate) trait Part: Send {
    /// Moves to the next series, in label order; false at the end.
    fn advance(&mut self) -> Result<bool, SourceError>;

    /// Labels of the current series.
    fn labels(&self) -> &Labels;

    /// Appends the current series' samples in the span, in time order.
    fn read(&mut self, into: &mut Columns) -> Result<(), SourceError>;

    /// Appends the current series' histograms in the span, in time order.
    fn read_histograms(&mut self, into: &mut Vec<Histogram>) -> Result<(), SourceError>;
}

/// The parts of a selection as one.
pub(crate) struct Merged<'a> {
    /// Those that have not ended. In time order where they follow each other, so that their samples can be appended.
    parts: Vec<Box<dyn Part + 'a>>,
    /// Which of them stand at the current series.
    current: Vec<usize>,
    begun: bool,
    scratch: Columns,
}

impl<'a> Merged<'a> {
    pub(crate) fn new(parts: Vec<Box<dyn Part + 'a>>) -> Self {
        Self { parts, current: Vec::new(), begun: false, scratch: Columns::default() }
    }

    /// Moves the parts that stand at the current series, or all at the beginning; those that end are dropped.
    fn advance_current(&mut self) -> Result<(), SourceError> {
        if !self.begun {
            self.current = (0..self.parts.len()).collect();
            self.begun = true;
        }
        while let Some(index) = self.current.pop() {
            if !self.parts[index].advance()? {
                self.parts.remove(index);
            }
        }
        Ok(())
    }
}

impl SeriesSet for Merged<'_> {
    fn advance(&mut self) -> Result<bool, SourceError> {
        self.advance_current()?;
        for (index, part) in self.parts.iter().enumerate() {
            let order = match self.current.first() {
                None => Ordering::Less,
                Some(&first) => label_order(part.labels(), self.parts[first].labels()),
            };
            if order == Ordering::Less {
                self.current.clear();
            }
            if order != Ordering::Greater {
                self.current.push(index);
            }
        }
        Ok(!self.current.is_empty())
    }

    fn labels(&self) -> &Labels {
        let first = self.current.first().expect("labels are asked for after an advance that found a series");
        self.parts[*first].labels()
    }

    fn read(&mut self, into: &mut Columns) -> Result<(), SourceError> {
        into.clear();
        for &index in &self.current {
            let from = into.len();
            self.parts[index].read(into)?;
            join(into, from, &mut self.scratch);
        }
        Ok(())
    }

    fn read_histograms(&mut self, into: &mut Vec<Histogram>) -> Result<(), SourceError> {
        into.clear();
        for &index in &self.current {
            let from = into.len();
            self.parts[index].read_histograms(into)?;
            join_histograms(into, from);
        }
        Ok(())
    }
}

/// Joins samples before `from` with those behind it: both are in time order, each time once.
fn join(into: &mut Columns, from: usize, scratch: &mut Columns) {
    let times = &into.timestamps;
    if from == 0 || from == times.len() || times[from - 1] < times[from] {
        return;
    }
    scratch.clear();
    let (mut one, mut other) = (0, from);
    while one < from || other < times.len() {
        let order = match (one < from, other < times.len()) {
            (true, true) => times[one].cmp(&times[other]),
            (true, false) => Ordering::Less,
            _ => Ordering::Greater,
        };
        let value = match order {
            Ordering::Less => into.values[one],
            Ordering::Greater => into.values[other],
            Ordering::Equal if beats(into.values[other], into.values[one]) => into.values[other],
            Ordering::Equal => into.values[one],
        };
        scratch.push(if order == Ordering::Greater { times[other] } else { times[one] }, value);
        one += usize::from(order != Ordering::Greater);
        other += usize::from(order != Ordering::Less);
    }
    std::mem::swap(into, scratch);
}

/// As [`join`]. Of two histograms at one time the greater bytes stay, whatever the order of arrival.
fn join_histograms(into: &mut Vec<Histogram>, from: usize) {
    if from == 0 || from == into.len() || into[from - 1].0 < into[from].0 {
        return;
    }
    into.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| b.1.cmp(&a.1)));
    into.dedup_by_key(|histogram| histogram.0);
}

/// Label sets in order, without samples: what is asked for where only series are.
pub(crate) struct Sets {
    sets: std::vec::IntoIter<Labels>,
    current: Labels,
}

impl Sets {
    pub(crate) fn new(sets: Vec<Labels>) -> Self {
        Self { sets: sets.into_iter(), current: Labels::empty() }
    }
}

impl Part for Sets {
    fn advance(&mut self) -> Result<bool, SourceError> {
        Ok(self.sets.next().map(|next| self.current = next).is_some())
    }

    fn labels(&self) -> &Labels {
        &self.current
    }

    fn read(&mut self, _: &mut Columns) -> Result<(), SourceError> {
        Ok(())
    }

    fn read_histograms(&mut self, _: &mut Vec<Histogram>) -> Result<(), SourceError> {
        Ok(())
    }
}

/// The order of [`Labels`], without looking whether the bytes are UTF-8 once more: large selections spend most of their time here.
///
/// Label sets that are compared share much of their beginning: it is compared eight bytes at a time, and of the texts in it only the
/// lengths are read, of one of the two.
pub(crate) fn label_order(a: &Labels, b: &Labels) -> Ordering {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let differ = first_difference(a, b);
    if differ == a.len() || differ == b.len() {
        return a.len().cmp(&b.len()); // a set that ends is the lesser one
    }
    let mut rest = Cursor::new(a);
    loop {
        let from = a.len() - rest.left();
        rest.bytes().expect("there is a difference further behind");
        let end = a.len() - rest.left();
        if end > differ {
            // Texts of one length differ where their bytes do; others are compared as such.
            let (one, other) = (Cursor::new(&a[from..]).bytes(), Cursor::new(&b[from..]).bytes());
            return one.cmp(&other);
        }
    }
}

/// Where two texts differ first, or the length of the shorter one.
fn first_difference(a: &[u8], b: &[u8]) -> usize {
    let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
    let mut at = 0;
    for (one, other) in a.chunks_exact(8).zip(b.chunks_exact(8)) {
        let differ = word(one) ^ word(other);
        if differ != 0 {
            return at + (differ.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    at + a[at..].iter().zip(&b[at..]).take_while(|(one, other)| one == other).count()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    type Samples = BTreeMap<i64, f64>;

    /// A part of plain maps.
    struct Plain {
        series: Vec<(Labels, Samples)>,
        next: usize,
    }

    impl Part for Plain {
        fn advance(&mut self) -> Result<bool, SourceError> {
            self.next += 1;
            Ok(self.next <= self.series.len())
        }

        fn labels(&self) -> &Labels {
            &self.series[self.next - 1].0
        }

        fn read(&mut self, into: &mut Columns) -> Result<(), SourceError> {
            for (time, value) in &self.series[self.next - 1].1 {
                into.push(Timestamp::from_millis(*time), *value);
            }
            Ok(())
        }

        fn read_histograms(&mut self, into: &mut Vec<Histogram>) -> Result<(), SourceError> {
            for (time, value) in &self.series[self.next - 1].1 {
                into.push((Timestamp::from_millis(*time), Arc::from(value.to_bits().to_be_bytes())));
            }
            Ok(())
        }
    }

    fn labels(name: u8) -> Labels {
        Labels::from_pairs([("a", name.to_string())])
    }

    fn check(parts: &[BTreeMap<u8, Samples>]) {
        let mut expected: BTreeMap<Labels, Samples> = BTreeMap::new();
        let mut greatest: BTreeMap<Labels, BTreeMap<i64, u64>> = BTreeMap::new();
        for (name, samples) in parts.iter().flatten() {
            let (known, bits) =
                (expected.entry(labels(*name)).or_default(), greatest.entry(labels(*name)).or_default());
            for (&time, &value) in samples {
                let have = known.entry(time).or_insert(value);
                if beats(value, *have) {
                    *have = value;
                }
                let have = bits.entry(time).or_default();
                *have = value.to_bits().max(*have);
            }
        }
        let plain = |part: &BTreeMap<u8, Samples>| {
            let mut series: Vec<_> =
                part.iter().map(|(name, samples)| (labels(*name), samples.clone())).collect();
            series.sort_by(|a, b| a.0.cmp(&b.0));
            Box::new(Plain { series, next: 0 }) as Box<dyn Part>
        };
        let mut merged = Merged::new(parts.iter().map(plain).collect());
        let (mut columns, mut histograms) = (Columns::default(), Vec::new());
        for (labels, samples) in expected {
            assert!(merged.advance().expect("maps do not fail"));
            assert_eq!(merged.labels(), &labels);
            merged.read(&mut columns).expect("maps do not fail");
            let read: Vec<_> =
                columns.iter().map(|sample| (sample.timestamp.as_millis(), sample.value.to_bits())).collect();
            assert_eq!(
                read,
                samples.iter().map(|(time, value)| (*time, value.to_bits())).collect::<Vec<_>>()
            );
            merged.read_histograms(&mut histograms).expect("maps do not fail");
            let bits = |bytes: &[u8]| u64::from_be_bytes(bytes.try_into().expect("eight"));
            let read = histograms.iter().map(|(time, bytes)| (time.as_millis(), bits(bytes)));
            assert!(read.eq(greatest.remove(&labels).expect("it is there")));
        }
        assert!(!merged.advance().expect("maps do not fail"));
        assert!(!merged.advance().expect("and it stays so"));
    }

    fn any_samples() -> impl Strategy<Value = Samples> {
        let value = prop_oneof![Just(1.0), Just(2.0), Just(f64::NAN), Just(model::stale_nan()), Just(-0.0)];
        proptest::collection::btree_map(0..20i64, value, 0..12)
    }

    fn any_labels() -> impl Strategy<Value = Labels> {
        proptest::collection::btree_map("[ab]{1,2}|c{130}", "[xy]{1,2}", 0..4).prop_map(Labels::from_pairs)
    }

    proptest! {
        #[test]
        fn parts_become_one(
            parts in proptest::collection::vec(proptest::collection::btree_map(0..6u8, any_samples(), 0..5), 0..5),
        ) {
            check(&parts);
        }

        #[test]
        fn series_are_ordered_as_label_sets_are(a in any_labels(), b in any_labels()) {
            prop_assert_eq!(label_order(&a, &b), a.cmp(&b));
        }
    }
}
