//! A month of 500 series at 5 minutes: written, compacted, retained and queried.

use std::time::Duration;

use model::{Columns, Matcher, Selection, SeriesSource, Timestamp};
use tsdb::{Options, RetentionRule, WriteBatch};

use crate::fixture::{Fixture, T0, at, labels, small, write_batch};

const STEP_MS: i64 = 300_000;
const DAY_MS: i64 = 86_400_000;
const DAYS: i64 = 31;
const SERIES: u32 = 500;

fn value(series: u32, round: i64) -> f64 {
    (i64::from(series) * 1000 + round * (1 + i64::from(series % 7))) as f64 / 4.0
}

#[test]
fn a_month_of_500_series_is_compacted_retained_and_queried() {
    let rule = RetentionRule {
        matchers: vec![Matcher::equal("__name__", "m1")],
        keep: Duration::from_millis(5 * DAY_MS as u64),
    };
    let options = Options {
        retention: Duration::from_millis(20 * DAY_MS as u64),
        retention_rules: vec![rule],
        segment_bytes: 1 << 20,
        ..small()
    };
    let fixture = Fixture::new(options);
    let store = &fixture.store;
    let rounds = DAYS * DAY_MS / STEP_MS;
    let mut series = Vec::new();
    for round in 0..rounds {
        if series.is_empty() || round % 24 == 0 {
            series = (0..SERIES).map(|one| store.resolve(&labels(one)).expect("room")).collect();
        }
        let time = at(round * STEP_MS);
        let samples = series.iter().zip(0..).map(|(reference, one)| (*reference, time, value(one, round)));
        write_batch(store, WriteBatch { samples: samples.collect(), ..WriteBatch::default() }).expect("room");
        if round % 24 == 23 {
            fixture.upkeep(time);
        }
    }
    let now = at(rounds * STEP_MS);
    fixture.upkeep(now);
    let stats = store.stats();
    let blocks = &stats.blocks;
    assert!(blocks.count[1..].iter().sum::<usize>() > 0, "{blocks:?}");
    assert!(blocks.count.iter().sum::<usize>() < 40, "{blocks:?}");
    assert!(stats.journal.segments < 10, "{:?}", stats.journal);
    assert!(blocks.bytes < blocks.samples * 2, "{blocks:?}");
    let forecast = stats.forecast.expect("three days tell");
    assert!(forecast.bytes_per_day > 10_000.0, "{forecast:?}");

    // One series, one day, all of it.
    let day = Selection {
        matchers: &[Matcher::equal("id", "42")],
        start: at(25 * DAY_MS),
        end: at(26 * DAY_MS - 1),
    };
    let mut set = store.select(&day).expect("readable");
    let mut columns = Columns::default();
    assert!(set.advance().expect("readable"));
    set.read(&mut columns).expect("readable");
    let first = 25 * DAY_MS / STEP_MS;
    assert_eq!(columns.len() as i64, DAY_MS / STEP_MS);
    for (at_round, sample) in columns.iter().enumerate() {
        let round = first + at_round as i64;
        assert_eq!(sample.timestamp, at(round * STEP_MS));
        assert_eq!(sample.value, value(42, round));
    }
    drop(set);

    // All series, all time: nothing before the floor, everything after it; those with a time of their own perhaps less.
    let floor = store.floor();
    assert!(floor >= now - Duration::from_millis(21 * DAY_MS as u64), "{floor:?}");
    let all = Selection { matchers: &[], start: Timestamp::MIN, end: Timestamp::MAX };
    let mut set = store.select(&all).expect("readable");
    let (mut seen, first_kept) = (0, (floor.as_millis() - T0).div_euclid(STEP_MS) + 1);
    while set.advance().expect("readable") {
        let short = set.labels().get("__name__") == Some("m1");
        set.read(&mut columns).expect("readable");
        let expected = rounds - first_kept;
        let have = columns.len() as i64;
        assert!(have == expected || have == expected + 1 || short && have < expected, "{have} of {expected}");
        assert!(
            !short || have < 12 * DAY_MS / STEP_MS,
            "a rule keeps five days, and what is not compacted yet: {have}"
        );
        seen += 1;
    }
    drop(set);
    assert_eq!(seen, SERIES);
    assert_eq!(store.label_values("id", &[], 0).expect("readable").len(), SERIES as usize);
}
