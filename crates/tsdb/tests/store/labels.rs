//! Matchers and questions about labels, over series in memory and in blocks at once, beside a plain map.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use model::{Columns, Labels, MatchOp, Matcher, Selection, SeriesSource, SourceError, Timestamp};
use proptest::prelude::*;
use tsdb::WriteBatch;

use crate::fixture::{Fixture, T0, at, everything, short_cells, write_batch};

/// Times (milliseconds after [`T0`]) by series.
type Plain = BTreeMap<Labels, BTreeSet<i64>>;

/// Writes a sample of each series at a time, then does what is due; cells are a minute long, so that most steps end one.
fn filled(steps: &[(BTreeSet<Labels>, i64)]) -> (Fixture, Plain) {
    let fixture = Fixture::new(short_cells());
    let mut plain = Plain::new();
    let mut newest = 0;
    for (number, (sets, time)) in steps.iter().enumerate() {
        let sample = |labels: &Labels| {
            let series = fixture.store.resolve(labels).expect("there is room");
            (series, Timestamp::from_millis(T0 + time), *time as f64)
        };
        let batch = WriteBatch {
            samples: sets.iter().map(sample).collect(),
            attachment: (number as u32).to_le_bytes().to_vec(),
            ..WriteBatch::default()
        };
        write_batch(&fixture.store, batch).expect("nothing fails here");
        for labels in sets {
            plain.entry(labels.clone()).or_default().insert(*time);
        }
        newest = newest.max(*time);
        fixture.upkeep(at(newest));
    }
    (fixture, plain)
}

fn fits(labels: &Labels, matchers: &[Matcher]) -> bool {
    matchers.iter().all(|matcher| matcher.matches(labels.get(matcher.name()).unwrap_or_default()))
}

fn check_samples(fixture: &Fixture, plain: &Plain, matchers: &[Matcher], (from, to): (i64, i64)) {
    let selection = Selection { matchers, start: at(from), end: at(to) };
    let mut set = fixture.store.select(&selection).expect("readable");
    let (mut columns, mut read) = (Columns::default(), Plain::new());
    while set.advance().expect("readable") {
        set.read(&mut columns).expect("readable");
        let times: BTreeSet<i64> = columns.timestamps.iter().map(|time| time.as_millis() - T0).collect();
        assert!(columns.iter().all(|sample| sample.value == (sample.timestamp.as_millis() - T0) as f64));
        assert_eq!(times.len(), columns.len());
        assert!(read.last_key_value().is_none_or(|(last, _)| last < set.labels()), "in order, each once");
        if !times.is_empty() {
            read.insert(set.labels().clone(), times);
        }
    }
    let kept = plain.iter().filter(|(labels, _)| fits(labels, matchers));
    let kept =
        kept.map(|(labels, times)| (labels.clone(), times.range(from..=to.max(from)).copied().collect()));
    let expected: Plain = kept.filter(|(_, times): &(_, BTreeSet<i64>)| !times.is_empty()).collect();
    assert_eq!(read, expected, "{matchers:?}");
}

fn check_labels(fixture: &Fixture, plain: &Plain, questions: &[Vec<Matcher>], limit: usize) {
    let selections: Vec<Selection<'_>> = questions.iter().map(|matchers| everything(matchers)).collect();
    let wanted =
        |labels: &&Labels| questions.is_empty() || questions.iter().any(|matchers| fits(labels, matchers));
    let series: Vec<Labels> = plain.keys().filter(wanted).cloned().collect();
    let pairs: BTreeSet<(&str, &str)> = series.iter().flatten().collect();
    let names: BTreeSet<&str> = pairs.iter().map(|pair| pair.0).collect();
    let first = |limit: usize| if limit == 0 { usize::MAX } else { limit };
    let store = &fixture.store;
    assert!(
        store.label_names(&selections, limit).expect("readable").iter().eq(names.iter().take(first(limit)))
    );
    for name in ["a", "b", "none"] {
        let values = pairs.iter().filter(|pair| pair.0 == name).map(|pair| pair.1).take(first(limit));
        assert!(store.label_values(name, &selections, limit).expect("readable").iter().eq(values));
    }
    let read = store.series(&selections, limit).expect("readable");
    assert!(read.iter().eq(series.iter().take(first(limit))), "{read:?}");
}

fn any_labels() -> impl Strategy<Value = Labels> {
    proptest::collection::btree_map("[a-c]", "[xyz]{1,2}", 0..4).prop_map(Labels::from_pairs)
}

fn any_matcher() -> impl Strategy<Value = Matcher> {
    let ops = vec![MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex];
    let patterns = vec!["x", "y|z", "x.*", ".+", ".*", "", "[xy]z?", "(x|y).*"];
    ("[a-d]", proptest::sample::select(ops), proptest::sample::select(patterns))
        .prop_map(|(name, op, value)| Matcher::new(&name, op, value).expect("it is valid"))
}

fn any_step() -> impl Strategy<Value = (BTreeSet<Labels>, i64)> {
    (proptest::collection::btree_set(any_labels(), 1..8), 0..40i64)
        .prop_map(|(sets, tens)| (sets, tens * 10_000))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn memory_and_blocks_answer_as_one(
        steps in proptest::collection::vec(any_step(), 1..25),
        questions in proptest::collection::vec(proptest::collection::vec(any_matcher(), 0..3), 0..4),
        span in (0..400_000i64, 0..400_000i64),
        limit in 0..4usize,
    ) {
        let (fixture, plain) = filled(&steps);
        for matchers in &questions {
            check_samples(&fixture, &plain, matchers, (0, 1_000_000));
            check_samples(&fixture, &plain, matchers, (span.0.min(span.1), span.0.max(span.1)));
        }
        check_labels(&fixture, &plain, &questions, limit);
        check_labels(&fixture, &plain, &[], limit);
    }
}

#[test]
fn a_label_question_past_all_samples_finds_nothing() {
    let sets = BTreeSet::from([Labels::from_pairs([("a", "x")])]);
    let steps: Vec<_> = (0..12).map(|minute| (sets.clone(), minute * 60_000)).collect();
    let (fixture, _) = filled(&steps);
    assert!(fixture.store.stats().blocks.samples > 0, "some of it lies in blocks");
    let late = Selection { matchers: &[], start: at(60_000_000), end: at(70_000_000) };
    assert!(fixture.store.label_values("a", &[late], 0).expect("readable").is_empty());
    assert!(fixture.store.label_names(&[late], 0).expect("readable").is_empty());
    assert!(fixture.store.series(&[late], 0).expect("readable").is_empty());
}

/// Reads all of a store; the first error ends it.
fn try_all(fixture: &Fixture) -> Result<usize, SourceError> {
    let mut set = fixture.store.select(&everything(&[]))?;
    let (mut columns, mut samples) = (Columns::default(), 0);
    while set.advance()? {
        set.read(&mut columns)?;
        samples += columns.len();
    }
    fixture.store.label_values("a", &[], 0)?;
    Ok(samples)
}

/// An answer with holes would be believed: a block that opens and cannot be read ends the selection, by file and place.
#[test]
fn a_damaged_block_ends_a_selection_and_names_itself() {
    let sets: BTreeSet<Labels> = (0..40).map(|i| Labels::from_pairs([("a", i.to_string())])).collect();
    let steps: Vec<_> = (0..12).map(|minute| (sets.clone(), minute * 60_000)).collect();
    let (fixture, _) = filled(&steps);
    let whole = try_all(&fixture).expect("nothing is damaged");
    let is_block = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "block");
    let block = fixture.disk.paths().into_iter().find(is_block).expect("some of it lies in blocks");
    let bytes = fixture.disk.get(&block).expect("it is there");
    let (mut named, mut unharmed) = (0, 0);
    for at in (0..bytes.len()).step_by(bytes.len() / 40) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x55;
        let (path, put) = (block.clone(), damaged);
        let again = filled(&steps).0.restart(at_end(), move |disk| disk.put(&path, &put));
        match try_all(&again) {
            Err(SourceError::Unreadable(text)) => {
                assert!(text.contains(".block is damaged at byte "), "{text}");
                named += 1;
            }
            Err(other) => panic!("{other}"),
            // Header, footer and trailer are looked at when a store opens, which sets such a block aside and says so.
            Ok(read) => {
                assert!(read <= whole);
                unharmed += 1;
            }
        }
    }
    assert!(named >= 20 && unharmed <= 20, "{named} named, {unharmed} not");
}

fn at_end() -> Timestamp {
    at(11 * 60_000)
}
