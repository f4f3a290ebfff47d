//! Age, memory, disk and series are bounded, and what goes is said.

use std::sync::mpsc::channel;
use std::time::Duration;

use model::{Matcher, MetricKind, MetricMetadata, Timestamp};
use tsdb::{LimitError, Options, ShedCause, StoreError, Unhurried, WriteBatch};

use crate::fixture::{
    Fixture, Plain, T0, at, labels, open, read_all, short_cells, small, write, write_batch, write_metadata,
};

fn minute(series: std::ops::Range<u32>, minute: i64) -> Vec<(u32, i64, f64)> {
    let sample = |series: u32| (series, T0 + minute * 60_000, f64::from(series) * 1.5 + minute as f64 / 3.0);
    series.map(sample).collect()
}

fn shed(fixture: &Fixture, cause: ShedCause) -> u64 {
    fixture.store.stats().shed.iter().find(|(have, _)| *have == cause).expect("every cause is counted").1
}

#[test]
fn past_the_memory_bound_samples_become_blocks_early_and_none_is_lost() {
    let bound = 1 << 20;
    let day = Duration::from_secs(24 * 3600);
    let options = Options { head_bytes_max: bound, segment_bytes: 64 << 10, block_span: day, ..small() };
    let fixture = Fixture::new(options);
    let mut plain = Plain::default();
    for round in 0..1300 {
        let samples = minute(0..300, round);
        fixture.write(&samples, round as u32).expect("memory is freed, not refused");
        plain.write(&samples, round as u32);
        // As the collector's thread does, which is woken.
        if fixture.store.wait_for_work(Duration::ZERO) {
            fixture.store.maintain(at(round * 60_000)).expect("nothing fails here");
        }
        let bytes = fixture.store.stats().head_bytes;
        assert!(bytes <= bound + bound / 8, "{bytes}");
    }
    let stats = fixture.store.stats();
    assert!(stats.blocks.flushes_early > 0 && stats.blocks.samples > 50_000, "{:?}", stats.blocks);
    fixture.check(&mut plain);
    let fixture = fixture.restart(at(1300 * 60_000), |_| {});
    assert!(
        fixture.store.stats().head_bytes <= bound + bound / 8,
        "what stands in blocks is not read into memory again"
    );
    fixture.check(&mut plain);
}

#[test]
fn where_nobody_makes_blocks_writes_are_refused_until_somebody_does() {
    let bound = 1 << 20;
    let fixture = Fixture::new(Options { head_bytes_max: bound, ..small() });
    let mut plain = Plain::default();
    let refused = (0..).find_map(|round| {
        let samples = minute(0..100, round);
        let answer = fixture.write(&samples, round as u32);
        if answer.is_ok() {
            plain.write(&samples, round as u32);
        }
        answer.err().map(|why| (round, why))
    });
    let (round, why) = refused.expect("memory has an end");
    assert_eq!((why.reason(), why.is_temporary()), ("no_memory", true));
    assert!(fixture.store.stats().head_bytes <= bound * 3 / 2);
    fixture.check(&mut plain);
    assert!(fixture.store.wait_for_work(Duration::ZERO), "somebody is told");
    fixture.store.maintain(at(round * 60_000)).expect("nothing fails here");
    fixture.write(&minute(0..100, round), round as u32).expect("there is room again");
    plain.write(&minute(0..100, round), round as u32);
    fixture.check(&mut plain);
}

#[test]
fn where_labels_alone_pass_a_lowered_bound_the_latest_samples_stay_all_the_same() {
    let fixture = Fixture::new(small());
    for round in 0..4 {
        fixture.write(&minute(0..8000, round), round as u32).expect("it works");
    }
    let Fixture { disk, options, store, .. } = fixture;
    store.close().expect("nothing fails here");
    drop(store);
    let options = Options { head_bytes_max: 1 << 20, ..options };
    let (store, _) = open(&disk, &options, at(0)).expect("it opens");
    assert!(store.stats().index_bytes > 1 << 20, "{}", store.stats().index_bytes);
    assert!(matches!(store.resolve(&labels(9999)), Err(LimitError::NoMemory { .. })));
    for round in 4..60 {
        write(&store, &minute(0..100, round), round as u32).expect("old series go on");
        store.maintain(at(round * 60_000)).expect("nothing fails here");
    }
    let have = read_all(&store);
    for (series, time, value) in minute(0..100, 59) {
        assert_eq!(have.get(&(series, time)), Some(&value.to_bits()));
    }
    store.resolve(&labels(9999)).expect("series without samples made room");
}

#[test]
fn past_the_journals_bound_samples_become_blocks_early_and_segments_go() {
    let fixture = Fixture::new(Options { journal_bytes_max: 32 << 10, ..small() });
    let mut plain = Plain::default();
    for round in 0..400 {
        let samples = minute(0..30, round);
        fixture.write(&samples, round as u32).expect("the disk is not full");
        plain.write(&samples, round as u32);
        fixture.store.maintain(at(round * 60_000)).expect("nothing fails here");
        let bytes = fixture.store.stats().journal.segment_bytes;
        assert!(bytes <= 48 << 10, "{bytes} bytes of journal in round {round}");
    }
    let fixture = fixture.crash(at(400 * 60_000), |disk| disk.crash());
    fixture.check(&mut plain);
}

#[test]
fn past_the_stores_bound_the_oldest_blocks_go_and_their_floor_outlives_a_restart() {
    let options = Options { store_bytes_max: 24 << 10, ..short_cells() };
    let fixture = Fixture::new(options);
    let mut plain = Plain::default();
    for round in 0..900 {
        let samples = minute(0..30, round);
        fixture.write(&samples, round as u32).expect("the disk is not full");
        plain.write(&samples, round as u32);
        fixture.upkeep(at(round * 60_000));
        let stats = fixture.store.stats();
        assert!(stats.blocks.bytes + stats.journal.segment_bytes <= 48 << 10, "{:?}", stats.blocks);
    }
    assert!(shed(&fixture, ShedCause::StoreBytes) > 1000);
    let floor = fixture.store.floor();
    assert!(floor > at(0));
    fixture.check(&mut plain);
    let fixture = fixture.crash(at(900 * 60_000), |disk| disk.crash());
    assert!(fixture.store.floor() >= floor);
    fixture.check(&mut plain);
}

#[test]
fn a_full_disk_lets_the_oldest_blocks_go_then_refuses_and_loses_nothing_of_the_last_days() {
    let keep = Duration::from_secs(600);
    let options = Options { keep_at_least: keep, reserve_bytes: 20 << 10, ..short_cells() };
    let fixture = Fixture::new(options);
    let mut plain = Plain::default();
    let mut round = 0;
    let mut write = |plain: &mut Plain| {
        let samples = minute(0..30, round);
        let answer = fixture.write(&samples, round as u32);
        if answer.is_ok() {
            plain.write(&samples, round as u32);
        }
        let _ = fixture.store.maintain(at(round * 60_000));
        let _ = fixture.store.compact(at(round * 60_000), &mut Unhurried);
        round += 1;
        answer
    };
    for _ in 0..300 {
        write(&mut plain).expect("there is room");
    }
    fixture.disk.set_capacity(Some(fixture.disk.used_bytes() + (40 << 10)));
    for _ in 0..600 {
        // Refused for a round or a few: each upkeep lets old blocks go, which are small here.
        assert!((0..10).any(|_| write(&mut plain).is_ok()), "old blocks make room");
    }
    assert!(shed(&fixture, ShedCause::DiskShort) > 0);
    // Somebody else takes the rest.
    fixture.disk.set_capacity(Some(fixture.disk.used_bytes()));
    let refused = (0..300).find_map(|_| write(&mut plain).err()).expect("nothing is left to let go");
    assert_eq!((refused.reason(), refused.is_temporary()), ("disk_full", true));
    assert!(fixture.store.floor() <= at(round * 60_000) - keep + Duration::from_secs(600 * 60));
    fixture.check(&mut plain);
    fixture.disk.set_capacity(None);
    fixture.store.maintain(at(round * 60_000)).expect("it works again");
    let fixture = fixture.crash(at(round * 60_000), |disk| disk.crash());
    fixture.check(&mut plain);
}

#[test]
fn past_its_age_everything_of_a_series_goes_and_its_reference_is_refused() {
    let fixture = Fixture::new(Options { retention: Duration::from_secs(600), ..small() });
    let old = fixture.store.resolve(&labels(1)).expect("room");
    fixture.write(&minute(0..2, 0), 0).expect("it works");
    let generation = fixture.store.generation();
    for round in 1..40 {
        fixture.write(&minute(0..1, round), round as u32).expect("it works");
        fixture.store.maintain(at(round * 60_000)).expect("nothing fails here");
    }
    let stats = fixture.store.stats();
    assert_eq!((stats.series, stats.series_forgotten), (1, 1));
    assert!(fixture.store.generation() > generation);
    assert!(shed(&fixture, ShedCause::Retention) > 0);
    assert!(stats.journal.segments <= 12, "segments go with their samples: {}", stats.journal.segments);
    let batch = WriteBatch { samples: vec![(old, at(2_400_000), 1.0)], ..WriteBatch::default() };
    let refused = write_batch(&fixture.store, batch).expect_err("the series is forgotten");
    assert_eq!((refused.reason(), refused.is_temporary()), ("unknown_series", true));
    fixture.write(&[(1, T0 + 2_400_000, 1.0)], 99).expect("resolved again, it is welcome");
}

#[test]
fn a_segment_of_late_samples_goes_before_older_segments_of_newer_ones() {
    let fixture = Fixture::new(Options { retention: Duration::from_secs(3600), ..small() });
    let mut plain = Plain::default();
    let mut number = 0;
    let mut write = |minutes: std::ops::Range<i64>| {
        for round in minutes {
            fixture.write(&minute(0..200, round), number).expect("it works");
            plain.write(&minute(0..200, round), number);
            number += 1;
        }
    };
    write(59..100);
    write(41..59);
    write(100..105);
    let segments = fixture.store.stats().journal.segments;
    for later in 105..125 {
        fixture.store.maintain(at(later * 60_000)).expect("nothing fails here");
    }
    assert!(fixture.store.stats().journal.segments < segments, "{segments} before");
    let fixture = fixture.restart(at(125 * 60_000), |_| {});
    assert!(fixture.store.floor() > at(60 * 60_000));
    fixture.check(&mut plain);
}

#[test]
fn series_that_come_and_go_leave_nothing_behind() {
    let fixture = Fixture::new(Options { retention: Duration::from_secs(600), series_max: 500, ..small() });
    let mut most = 0;
    for round in 0..300i64 {
        let first = round as u32 * 20;
        fixture.write(&minute(first..first + 20, round), round as u32).expect("room is made in time");
        fixture.store.maintain(at(round * 60_000)).expect("nothing fails here");
        if round > 30 {
            most = most.max(fixture.store.stats().index_bytes);
        }
    }
    let stats = fixture.store.stats();
    assert!(stats.series <= 500 && stats.series_added == 6000, "{stats:?}");
    assert!(stats.index_bytes <= most && most < 500 * 1000, "{most}");
}

#[test]
fn past_the_series_limit_new_ones_are_refused_by_name_and_old_ones_go_on() {
    let fixture = Fixture::new(Options { series_max: 3, ..small() });
    fixture.write(&minute(0..3, 0), 0).expect("three may be");
    let refused = fixture.store.resolve(&labels(3)).expect_err("a fourth may not");
    assert_eq!(refused, LimitError::TooManySeries { limit: 3, series: "m0{id=\"3\"}".to_owned() });
    fixture.write(&minute(0..3, 1), 1).expect("the three go on");
    assert_eq!(fixture.store.stats().series_refused, 1);
    let fixture = fixture.restart(at(0), |_| {});
    assert_eq!(fixture.store.stats().series, 3);
}

#[test]
fn a_clock_that_jumps_ahead_does_not_empty_the_store() {
    let fixture = Fixture::new(small());
    fixture.write(&minute(0..5, 0), 0).expect("it works");
    let years_ahead = at(0) + Duration::from_secs(70 * 365 * 86_400);
    fixture.store.maintain(years_ahead).expect("nothing fails here");
    let fixture = fixture.restart(years_ahead, |_| {});
    assert_eq!(read_all(&fixture.store).len(), 5);
    assert!(fixture.store.floor() < at(0));
}

/// Every MANIFEST repeats the deletions that wait, and one of more than 64 MiB is not read: after enough of them the store opened no more.
#[test]
fn deletions_that_would_make_a_manifest_that_nobody_reads_are_refused() {
    let fixture = Fixture::new(short_cells());
    for round in 0..10 {
        fixture.write(&minute(0..3, round), round as u32).expect("there is room");
        fixture.store.maintain(at(round * 60_000)).expect("nothing fails here");
    }
    assert!(fixture.store.stats().blocks.count[0] > 0);
    let of_size = |bytes: usize| [Matcher::equal("a", &"\t".repeat(bytes))];
    let delete = |bytes| fixture.store.delete(&of_size(bytes), Timestamp::MIN, Timestamp::MAX);
    let taken = (0..30).take_while(|_| delete(3 << 20).is_ok()).count();
    assert_eq!(taken, 2, "six MiB each as they are written, of sixteen");
    let refused = delete(3 << 20).expect_err("a third may not");
    assert!(matches!(refused, StoreError::DeletionTooLarge { .. }), "{refused}");
    delete(1 << 20).expect("a smaller one is not refused");
    let fixture = fixture.restart(at(600_000), |_| {});
    assert_eq!(fixture.store.stats().blocks.tombstones, 3);
    assert!(!fixture.store.replay().manifest_rebuilt);
}

#[test]
fn a_batch_that_no_record_can_hold_is_refused_at_once() {
    let fixture = Fixture::new(Options { record_bytes_max: 1 << 20, metadata_bytes_max: 1 << 10, ..small() });
    let samples: Vec<_> = (0..40_000).map(|i| (0, T0 + i, 1.0)).collect();
    let refused = fixture.write(&samples, 0).expect_err("it is too large");
    assert_eq!((refused.reason(), refused.is_temporary()), ("too_large", false));
    fixture.write(&samples[..100], 1).expect("a smaller one is not");
}

#[test]
fn metadata_outlives_the_segment_that_brought_it() {
    let fixture = Fixture::new(Options { journal_bytes_max: 32 << 10, ..small() });
    let metadata = MetricMetadata { kind: MetricKind::Counter, help: "Bytes.".into(), unit: "bytes".into() };
    write_metadata(&fixture.store, "m0", metadata.clone());
    for round in 0..300 {
        fixture.write(&minute(0..30, round), round as u32).expect("it works");
        fixture.store.maintain(at(round * 60_000)).expect("nothing fails here");
    }
    let expected = vec![("m0".to_owned(), vec![metadata.clone()])];
    assert_eq!(fixture.store.metadata(None, 10), expected);
    let fixture = fixture.crash(at(0), |disk| disk.crash());
    assert_eq!(fixture.store.metadata(Some("m0"), 0), expected);
    let before = fixture.store.stats().journal.bytes_written;
    for _ in 0..50 {
        write_metadata(&fixture.store, "m0", metadata.clone());
    }
    let grown = fixture.store.stats().journal.bytes_written - before;
    assert!(grown < 50 * 64 + 1024, "what is known is not written again: {grown}");
}

#[test]
fn writers_do_not_wait_and_each_is_answered_once() {
    let fixture = Fixture::new(Options { queue_bytes_max: 4096, ..small() });
    let series = fixture.store.resolve(&labels(0)).expect("room");
    let (answer, answers) = channel();
    for i in 0..500 {
        let answer = answer.clone();
        let batch = WriteBatch { samples: vec![(series, at(i), i as f64); 1], ..WriteBatch::default() };
        fixture.store.write(batch, move |result| {
            answer.send(result.map_err(|why| why.reason())).expect("the test waits")
        });
    }
    drop(answer);
    let (written, refused): (Vec<_>, Vec<_>) = answers.iter().partition(Result::is_ok);
    assert_eq!(written.len() + refused.len(), 500);
    assert!(refused.iter().all(|refused| *refused == Err("busy")));
    assert_eq!(read_all(&fixture.store).len(), written.len());
    fixture.store.close().expect("nothing fails here");
    let refused = write(&fixture.store, &[(0, T0, 1.0)], 7).expect_err("it is closed");
    assert_eq!(refused.reason(), "closed");
    assert_eq!(read_all(&fixture.store).len(), written.len(), "reading goes on");
}

#[test]
fn a_newer_format_and_a_second_opener_are_refused() {
    let fixture = Fixture::new(small());
    let second = open(&fixture.disk, &small(), at(0)).expect_err("it is in use").to_string();
    assert!(second.contains("in use"), "{second}");
    let bad = open(&fixture.disk, &Options { retention: Duration::ZERO, ..small() }, Timestamp::MIN);
    assert!(bad.expect_err("no retention").to_string().contains("retention"));
}
