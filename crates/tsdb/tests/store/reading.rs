//! What readers see.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use model::{Columns, MatchOp, Matcher, Selection, SeriesSet, SeriesSource, SourceError, Timestamp};
use tsdb::Options;

use crate::fixture::{Fixture, T0, at, everything, labels, small};

fn filled() -> Fixture {
    let fixture = Fixture::new(small());
    for round in 0..1000 {
        let samples: Vec<_> = (0..9).map(|series| (series, T0 + round * 15_000, round as f64)).collect();
        fixture.write(&samples, round as u32).expect("it works");
    }
    fixture
}

fn names(fixture: &Fixture, selections: &[Selection<'_>], limit: usize) -> Vec<String> {
    fixture.store.label_names(selections, limit).expect("readable")
}

#[test]
fn labels_answer_with_and_without_selections_and_within_limits() {
    let fixture = filled();
    let m1 = [Matcher::equal("__name__", "m1")];
    let others = [Matcher::new("id", MatchOp::Regex, "0|2").expect("a good pattern")];
    assert_eq!(names(&fixture, &[], 0), ["__name__", "id"]);
    assert_eq!(names(&fixture, &[everything(&m1)], 1), ["__name__"]);
    let values = |selections: &[Selection<'_>], limit| {
        fixture.store.label_values("id", selections, limit).expect("readable")
    };
    assert_eq!(values(&[], 3), ["0", "1", "2"]);
    assert_eq!(values(&[everything(&m1)], 0), ["1", "4", "7"]);
    assert_eq!(values(&[everything(&m1), everything(&others)], 0), ["0", "1", "2", "4", "7"]);
    let past = Selection { matchers: &m1, start: at(-2000), end: at(-1000) };
    assert!(values(&[past], 0).is_empty());
    let series = fixture.store.series(&[everything(&m1), everything(&m1)], 2).expect("readable");
    assert_eq!(series, [labels(1), labels(4)]);
    assert_eq!(fixture.store.series(&[], 0).expect("readable").len(), 9);
}

#[test]
fn a_selection_is_divided_evenly() {
    let fixture = filled();
    let parts = |every| {
        let parts = fixture.store.select_parts(&everything(&[]), every).expect("readable");
        let count = |mut set: Box<dyn SeriesSet + Send>| {
            std::iter::from_fn(|| set.advance().expect("readable").then_some(())).count()
        };
        parts.into_iter().map(count).collect::<Vec<_>>()
    };
    assert_eq!(parts(2), [2, 2, 2, 2, 1]);
    assert_eq!(parts(8), [8, 1]);
    assert_eq!(parts(9), [9]);
    assert_eq!(parts(100), [9]);
}

/// A write that was refused, or that never came, leaves its series defined until it is forgotten: nobody is told of it.
#[test]
fn series_that_were_defined_and_never_written_are_not_there() {
    let fixture = filled();
    let unwritten = model::Labels::from_pairs([("__name__", "m9"), ("id", "99"), ("pod", "x")]);
    fixture.store.resolve(&unwritten).expect("there is room");
    let value = |name: &str, selections: &[Selection<'_>]| {
        fixture.store.label_values(name, selections, 0).expect("readable")
    };
    for selections in [&[][..], &[everything(&[])]] {
        assert_eq!(names(&fixture, selections, 0), ["__name__", "id"]);
        assert_eq!(value("__name__", selections), ["m0", "m1", "m2"]);
        assert_eq!(value("id", selections).len(), 9);
        assert!(value("pod", selections).is_empty());
        assert_eq!(fixture.store.series(selections, 0).expect("readable").len(), 9);
    }
    // What no matcher narrows is narrowed by time all the same.
    fixture.write(&[(0, T0 + 20_000_000, 1.0)], 7000).expect("it works");
    let late = Selection { matchers: &[], start: at(16_000_000), end: at(30_000_000) };
    assert_eq!(
        (value("id", &[late]), names(&fixture, &[late], 1)),
        (vec!["0".to_owned()], vec!["__name__".to_owned()])
    );
}

#[test]
fn a_span_is_inclusive_at_both_ends_wherever_it_falls() {
    let fixture = filled();
    fixture.write(&[(0, T0 + 7, 0.5), (0, T0 + 15_000 * 500 + 7, 0.5)], 5000).expect("it works");
    let only = [Matcher::equal("id", "0")];
    for (from, to) in
        [(0, 0), (0, 7), (1, 14_999), (239, 241), (3_600_000, 7_500_007), (14_985_000, 20_000_000), (5, 4)]
    {
        let mut set = fixture
            .store
            .select(&Selection { matchers: &only, start: at(from), end: at(to) })
            .expect("readable");
        let mut columns = Columns::default();
        if set.advance().expect("readable") {
            set.read(&mut columns).expect("readable");
        }
        let mut expected: Vec<i64> = (0..1000).map(|round| round * 15_000).chain([7, 7_500_007]).collect();
        expected.sort_unstable();
        expected.retain(|time| (from..=to).contains(time));
        let got: Vec<i64> = columns.timestamps.iter().map(|time| time.as_millis() - T0).collect();
        assert_eq!(got, expected, "from {from} to {to}");
    }
}

#[test]
fn a_selection_does_not_change_while_it_is_read() {
    let fixture = filled();
    let mut set = fixture.store.select(&everything(&[])).expect("readable");
    let more: Vec<_> =
        (0..9).flat_map(|series| (0..400).map(move |i| (series, T0 + 7 + i * 40_000, -1.0))).collect();
    fixture.write(&more, 6000).expect("writing does not wait for readers");
    fixture.store.maintain(at(15_000_000)).expect("nothing fails here");
    let mut columns = Columns::default();
    while set.advance().expect("readable") {
        set.read(&mut columns).expect("readable");
        assert_eq!(columns.len(), 1000);
        assert!(columns.values.iter().all(|&value| value >= 0.0));
    }
}

#[test]
fn a_reader_sees_single_series_whole_and_all_that_was_answered() {
    let fixture = Fixture::new(small());
    let done = AtomicBool::new(false);
    let (written, answered) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut columns, mut looked) = (Columns::default(), 0u32);
            while !done.load(Ordering::Relaxed) {
                let at_least = answered.load(Ordering::Acquire);
                let mut set = fixture.store.select(&everything(&[])).expect("readable");
                let mut lengths = Vec::new();
                while set.advance().expect("readable") {
                    set.read(&mut columns).expect("readable");
                    lengths.push(columns.len());
                }
                let at_most = written.load(Ordering::Acquire);
                assert!(at_least == 0 || lengths.len() == 9, "{lengths:?}");
                assert!(lengths.iter().all(|length| (at_least..=at_most).contains(length)), "{lengths:?}");
                looked += 1;
            }
            looked
        });
        for round in 0..2000 {
            let samples: Vec<_> = (0..9).map(|series| (series, T0 + round * 15_000, round as f64)).collect();
            written.fetch_add(1, Ordering::Release);
            fixture.write(&samples, round as u32).expect("it works");
            answered.fetch_add(1, Ordering::Release);
        }
        done.store(true, Ordering::Relaxed);
        assert!(reader.join().expect("the reader's assertions hold") > 0);
    });
}

#[test]
fn a_selection_that_needs_too_much_memory_names_the_limit() {
    let fixture = Fixture::new(Options { select_bytes_max: 500, ..small() });
    let samples: Vec<_> = (0..50).map(|series| (series, T0, 1.0)).collect();
    fixture.write(&samples, 0).expect("it works");
    let Err(SourceError::TooLarge(text)) = fixture.store.select(&everything(&[])).map(drop) else {
        panic!("it is large")
    };
    assert!(text.contains("select_bytes_max (500 bytes)"), "{text}");
    let one = [Matcher::equal("id", "7")];
    assert!(fixture.store.select(&everything(&one)).is_ok());
}

#[test]
fn many_series_are_found_by_their_encoded_labels() {
    let fixture = filled();
    let (known, unknown) = (labels(4), labels(77));
    let mut found = Vec::new();
    fixture.store.find_all([known.as_bytes(), unknown.as_bytes()], &mut found);
    assert_eq!(found, [Some(fixture.store.resolve(&known).expect("it is there")), None]);
    assert_eq!(fixture.store.stats().max_time, Some(Timestamp::from_millis(T0 + 999 * 15_000)));
    assert_eq!(fixture.store.stats().min_time, Some(at(0)));
}
