//! Any sequence of writes, deletions, restarts, crashes, faults, flushes and compactions equals a plain map.

use std::time::Duration;

use journal::disk::pretend::Fault;
use model::{Timestamp, stale_nan};
use proptest::prelude::*;
use tsdb::{Options, Store, Unhurried, WriteError};

use crate::fixture::{
    Fixture, Plain, T0, at, delete, read_all, read_histograms, short_cells, small, write, write_histograms,
};

#[derive(Clone, Debug)]
enum Step {
    Write(Vec<(u32, i64, f64)>),
    Histograms(Vec<(u32, i64, Vec<u8>)>),
    Delete {
        series: u32,
        from: i64,
        to: i64,
    },
    Upkeep {
        minutes: i64,
    },
    CompactAll,
    /// Upkeep on a disk that fails at an operation to come, and then no more.
    Faulty(Trouble),
    FaultyWrite(Vec<(u32, i64, f64)>, Trouble),
    FaultyDelete {
        series: u32,
        from: i64,
        to: i64,
        trouble: Trouble,
    },
    Collect {
        from: i64,
        rounds: i64,
    },
    Restart,
    Kill,
    PowerCut(u64),
    Maintain {
        minutes: i64,
    },
}

/// The operation, counted from now, that fails, and how.
#[derive(Clone, Copy, Debug)]
struct Trouble {
    after: u64,
    fault: Fault,
}

fn any_trouble(operations: u64) -> impl Strategy<Value = Trouble> {
    let faults = vec![Fault::Io, Fault::ShortIo, Fault::Full, Fault::ShortFull];
    (0..operations, proptest::sample::select(faults)).prop_map(|(after, fault)| Trouble { after, fault })
}

fn any_value() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => (0..4i32).prop_map(f64::from),
        2 => (0..10_000i32).prop_map(|cents| f64::from(cents) / 100.0),
        1 => any::<u64>().prop_map(f64::from_bits),
        1 => Just(stale_nan()),
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    let time = prop_oneof![0..200i64, (0..40i64).prop_map(|round| round * 15_000)];
    let any_time = (0..8000i64).prop_map(|second| T0 + second * 1000);
    let histogram = (0..3u32, time.clone(), proptest::collection::vec(any::<u8>(), 1..9))
        .prop_map(|(series, time, bytes)| (series, T0 + time, bytes));
    let deletion = (0..6u32, any_time, 0..4_000_000i64)
        .prop_map(|(series, from, length)| Step::Delete { series, from, to: from + length })
        .boxed();
    let faulty_deletion = (deletion.clone(), any_trouble(8)).prop_map(|(step, trouble)| match step {
        Step::Delete { series, from, to } => Step::FaultyDelete { series, from, to, trouble },
        other => other,
    });
    let sample = (0..6u32, time, any_value()).prop_map(|(series, time, value)| (series, T0 + time, value));
    let samples = proptest::collection::vec(sample, 0..60).boxed();
    // A write takes an append and a sync, and more where a segment begins.
    let faulty_write =
        (samples.clone(), any_trouble(6)).prop_map(|(samples, trouble)| Step::FaultyWrite(samples, trouble));
    prop_oneof![
        6 => samples.prop_map(Step::Write),
        3 => (0..7200i64, 1..300i64).prop_map(|(from, rounds)| Step::Collect { from: from * 1000, rounds }),
        1 => Just(Step::Restart),
        1 => Just(Step::Kill),
        1 => any::<u64>().prop_map(Step::PowerCut),
        1 => (0..90i64).prop_map(|minutes| Step::Maintain { minutes }),
        1 => proptest::collection::vec(histogram, 1..20).prop_map(Step::Histograms),
        2 => deletion,
        3 => (0..90i64).prop_map(|minutes| Step::Upkeep { minutes }),
        1 => Just(Step::CompactAll),
        1 => any_trouble(60).prop_map(Step::Faulty),
        1 => faulty_write,
        1 => faulty_deletion,
    ]
}

/// What a collection of six series writes, round by round.
fn collection(from: i64, rounds: i64) -> Vec<(u32, i64, f64)> {
    let round = |round: i64| {
        (0..6u32).map(move |series| (series, T0 + from + round * 15_000, (round * i64::from(series)) as f64))
    };
    (0..rounds).flat_map(round).collect()
}

/// Works on a disk that fails once, or not at all; a store that stopped writing is killed and opened again.
fn troubled(
    fixture: Fixture,
    plain: &mut Plain,
    now: Timestamp,
    Trouble { after, fault }: Trouble,
    work: impl FnOnce(&Store),
) -> Fixture {
    fixture.disk.fail_at(fixture.disk.operations() + after, fault);
    work(&fixture.store);
    fixture.disk.heal();
    let _ = fixture.store.flush(); // the journal tells once that it found the disk full
    plain.floor = plain.floor.max(fixture.store.floor().as_millis());
    if fixture.store.stats().journal.poisoned.is_none() {
        return fixture;
    }
    fixture.crash(now, |disk| disk.kill())
}

fn run(options: Options, steps: Vec<Step>) {
    let (mut fixture, mut plain) = (Fixture::new(options), Plain::default());
    let mut now = at(0);
    for (number, step) in steps.into_iter().enumerate() {
        plain.floor = plain.floor.max(fixture.store.floor().as_millis());
        let samples = match step {
            Step::Write(samples) => samples,
            Step::Collect { from, rounds } => collection(from, rounds),
            Step::Restart => {
                fixture = fixture.restart(now, |_| {});
                continue;
            }
            Step::Kill => {
                fixture = fixture.crash(now, |disk| disk.kill());
                continue;
            }
            Step::PowerCut(seed) => {
                fixture = fixture.crash(now, |disk| disk.crash_partly(seed));
                continue;
            }
            Step::Maintain { minutes } => {
                now = now + Duration::from_secs(60 * minutes as u64);
                fixture.store.maintain(now).expect("nothing fails here");
                fixture.check(&mut plain);
                continue;
            }
            Step::Upkeep { minutes } => {
                now = now + Duration::from_secs(60 * minutes as u64);
                fixture.upkeep(now);
                fixture.check(&mut plain);
                continue;
            }
            Step::CompactAll => {
                fixture.store.compact_all(now, &mut Unhurried).expect("nothing fails here");
                fixture.check(&mut plain);
                continue;
            }
            Step::Faulty(trouble) => {
                now = now + Duration::from_secs(600);
                // Whether and where it fails is the disk's affair; nothing may be lost by it.
                fixture = troubled(fixture, &mut plain, now, trouble, |store| {
                    let _ = store.maintain(now);
                    let _ = store.compact(now, &mut Unhurried);
                });
                fixture.check(&mut plain);
                continue;
            }
            Step::FaultyWrite(samples, trouble) => {
                let mut written = None;
                fixture = troubled(fixture, &mut plain, now, trouble, |store| {
                    written = Some(write(store, &samples, number as u32));
                });
                let is_there = fixture.ledger.holds().contains(&(number as u32));
                match written.expect("it was called") {
                    Ok(_) => assert!(is_there, "an acknowledged batch is gone"),
                    Err(WriteError::Poisoned(_)) => {} // nobody knows, but it is there whole or not at all
                    Err(why) => assert!(!is_there, "a refused batch is there: {why}"),
                }
                if is_there {
                    plain.write(&samples, number as u32);
                }
                fixture.check(&mut plain);
                continue;
            }
            Step::FaultyDelete { series, from, to, trouble } => {
                let mut deleted = Ok(());
                fixture = troubled(fixture, &mut plain, now, trouble, |store| {
                    deleted = delete(store, series, from, to).map(drop);
                });
                let within = |key: &(u32, i64)| key.0 == series && (from..=to).contains(&key.1);
                let is_left = read_all(&fixture.store).keys().any(within)
                    || read_histograms(&fixture.store).keys().any(within);
                assert!(deleted.is_err() || !is_left, "what was deleted is there");
                // Refused, it holds whole or not at all.
                if !is_left {
                    plain.delete(series, from, to);
                }
                fixture.check(&mut plain);
                continue;
            }
            Step::Histograms(histograms) => {
                let floor = fixture.store.floor().as_millis();
                write_histograms(&fixture.store, &histograms).expect("nothing fails here");
                let kept: Vec<_> = histograms.into_iter().filter(|one| one.1 >= floor).collect();
                plain.write_histograms(&kept);
                continue;
            }
            Step::Delete { series, from, to } => {
                delete(&fixture.store, series, from, to).expect("nothing fails here");
                plain.delete(series, from, to);
                fixture.check(&mut plain);
                continue;
            }
        };
        let floor = fixture.store.floor();
        let written = fixture.write(&samples, number as u32).expect("nothing fails here");
        let too_old = samples.iter().filter(|sample| Timestamp::from_millis(sample.1) < floor).count();
        assert_eq!(written.too_old, too_old);
        assert_eq!(written.stored + written.duplicates + written.conflicts + too_old, samples.len());
        plain.write(&samples, number as u32);
    }
    fixture.check(&mut plain);
    let fixture = fixture.restart(now, |_| {});
    plain.floor = plain.floor.max(fixture.store.floor().as_millis());
    fixture.check(&mut plain);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_store_equals_a_plain_map(steps in proptest::collection::vec(any_step(), 1..40)) {
        run(small(), steps);
    }

    #[test]
    fn with_short_cells_it_equals_a_plain_map(steps in proptest::collection::vec(any_step(), 1..60)) {
        run(short_cells(), steps);
    }

    #[test]
    fn with_short_cells_and_retention_too(steps in proptest::collection::vec(any_step(), 1..60)) {
        run(Options { retention: Duration::from_secs(1800), ..short_cells() }, steps);
    }

    #[test]
    fn with_a_short_retention_it_equals_what_is_left_of_the_map(steps in proptest::collection::vec(any_step(), 1..40)) {
        run(Options { retention: Duration::from_secs(1800), ..small() }, steps);
    }
}
