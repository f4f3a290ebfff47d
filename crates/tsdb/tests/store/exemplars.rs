//! Exemplars: found by matchers and time, brought back by the journal, bounded.

use std::sync::mpsc::channel;

use model::{Exemplar, Labels, Matcher, Timestamp};
use tsdb::{Options, WriteBatch, WriteError};

use crate::fixture::{Fixture, at, labels, small};

fn exemplar(trace: u32, time: i64) -> Exemplar {
    let labels = Labels::from_pairs([("trace_id", trace.to_string())]);
    Exemplar { labels, value: f64::from(trace), timestamp: at(time) }
}

fn write(fixture: &Fixture, exemplars: &[(u32, Exemplar)]) -> Result<(), WriteError> {
    let of_series = |(series, exemplar): &(u32, Exemplar)| {
        (fixture.store.resolve(&labels(*series)).expect("there is room"), exemplar.clone())
    };
    let batch = WriteBatch { exemplars: exemplars.iter().map(of_series).collect(), ..WriteBatch::default() };
    let (sender, answer) = channel();
    fixture.store.write(batch, move |written| sender.send(written.map(drop)).expect("somebody waits"));
    answer.recv().expect("every batch is answered")
}

/// Series and trace of what is found.
fn check(fixture: &Fixture, matchers: &[Vec<Matcher>], span: (i64, i64), expected: &[(&str, f64)]) {
    let found = fixture.store.exemplars(matchers, at(span.0), at(span.1));
    let flat: Vec<_> = found
        .iter()
        .flat_map(|(labels, of_series)| {
            of_series.iter().map(|one| (labels.get("id").expect("test series have ids"), one.value))
        })
        .collect();
    assert_eq!(flat, expected);
}

#[test]
fn exemplars_are_found_and_survive_a_restart() {
    let mut fixture = Fixture::new(small());
    let all = [(1, exemplar(10, 500)), (2, exemplar(20, 100)), (1, exemplar(11, 200))];
    write(&fixture, &all).expect("it works");
    write(&fixture, &all[1..]).expect("once more is no more");
    for _ in 0..2 {
        let one = vec![Matcher::equal("id", "1")];
        check(&fixture, &[], (0, 1000), &[("1", 11.0), ("1", 10.0), ("2", 20.0)]);
        check(&fixture, std::slice::from_ref(&one), (0, 1000), &[("1", 11.0), ("1", 10.0)]);
        check(&fixture, &[one, vec![Matcher::equal("id", "2")]], (100, 200), &[("1", 11.0), ("2", 20.0)]);
        fixture = fixture.restart(at(1000), |_| {});
    }
}

#[test]
fn the_ring_is_bounded_and_may_be_none() {
    let fixture = Fixture::new(Options { exemplars_max: 2, ..small() });
    for trace in 0..5 {
        write(&fixture, &[(1, exemplar(trace, i64::from(trace)))]).expect("it works");
    }
    check(&fixture, &[], (0, 1000), &[("1", 3.0), ("1", 4.0)]);
    let fixture = Fixture::new(Options { exemplars_max: 0, ..small() });
    write(&fixture, &[(1, exemplar(1, 1))]).expect("it is not kept, and that is no error");
    assert!(fixture.store.exemplars(&[], Timestamp::MIN, Timestamp::MAX).is_empty());
}
