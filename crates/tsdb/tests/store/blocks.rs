//! Blocks from outside: flushes, the manifest, damage, clocks, deletions, readers while everything moves.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use journal::disk::pretend::PretendDisk;
use model::Timestamp;
use tsdb::{Options, StoreError, Unhurried};

use crate::fixture::{Fixture, Plain, T0, at, delete, open, read_all, short_cells, small, write};

fn minute(round: i64) -> Vec<(u32, i64, f64)> {
    (0..20).map(|series| (series, T0 + round * 60_000, f64::from(series) + round as f64 / 2.0)).collect()
}

/// A store with blocks and something in the journal, closed.
fn filled() -> (PretendDisk, Plain) {
    let fixture = Fixture::new(short_cells());
    let mut plain = Plain::default();
    for round in 0..30 {
        fixture.write(&minute(round), round as u32).expect("nothing fails here");
        plain.write(&minute(round), round as u32);
        fixture.store.maintain(at(round * 60_000)).expect("nothing fails here");
    }
    assert!(fixture.store.stats().blocks.count[0] >= 20);
    fixture.store.close().expect("nothing fails here");
    (fixture.disk.clone(), plain)
}

fn manifest() -> &'static Path {
    Path::new("/data/MANIFEST")
}

fn block_files(disk: &PretendDisk) -> Vec<PathBuf> {
    let mut files = disk.paths();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "block"));
    files.sort();
    files
}

#[test]
fn a_window_that_is_over_becomes_a_block_and_the_journal_goes() {
    let (disk, plain) = filled();
    let (store, _) = open(&disk, &short_cells(), at(30 * 60_000)).expect("it opens");
    assert_eq!(read_all(&store), plain.samples);
    assert!(
        store.stats().samples <= 20 * 3,
        "the head holds the last windows only: {}",
        store.stats().samples
    );
    assert!(store.stats().journal.segments <= 6, "{:?}", store.stats().journal);
    while store.compact(at(30 * 60_000), &mut Unhurried).expect("nothing fails here").blocks_in > 0 {}
    assert_eq!(read_all(&store), plain.samples);
    assert!(store.stats().blocks.count[1] >= 3, "{:?}", store.stats().blocks);
    assert!(block_files(&disk).len() <= 12, "what was replaced is removed");
}

#[test]
fn a_lost_or_damaged_manifest_is_made_again_from_the_blocks() {
    for damage in [None, Some(0), Some(40), Some(1000)] {
        let (disk, plain) = filled();
        {
            let (store, _) = open(&disk, &short_cells(), at(30 * 60_000)).expect("it opens");
            store.compact(at(30 * 60_000), &mut Unhurried).expect("nothing fails here");
            store.close().expect("nothing fails here");
        }
        let mut bytes = disk.get(manifest()).expect("it is there");
        match damage {
            None => journal::disk::Disk::remove(&disk, manifest()).expect("it is there"),
            Some(at) => {
                let at = at % bytes.len();
                bytes[at] ^= 1;
                disk.put(manifest(), &bytes);
            }
        }
        let (store, ledger) = open(&disk, &short_cells(), at(30 * 60_000)).expect("it opens");
        assert!(store.replay().manifest_rebuilt, "{damage:?}");
        let [said] = &store.replay().blocks_lost[..] else { panic!("{:?}", store.replay()) };
        assert!(said.contains("/data/MANIFEST is ") && said.contains("deletions"), "{said}");
        assert_eq!(read_all(&store), plain.samples, "{damage:?}");
        assert_eq!(ledger.holds(), plain.batches);
        store.close().expect("nothing fails here");
        drop(store);
        let (store, _) = open(&disk, &short_cells(), at(30 * 60_000)).expect("it opens again");
        assert!(!store.replay().manifest_rebuilt);
        assert_eq!(read_all(&store), plain.samples);
    }
}

#[test]
fn a_block_that_is_cut_or_missing_is_named_and_the_rest_is_served() {
    for missing in [false, true] {
        let (disk, plain) = filled();
        let file = block_files(&disk)[3].clone();
        let bytes = disk.get(&file).expect("it is there");
        match missing {
            true => journal::disk::Disk::remove(&disk, &file).expect("it is there"),
            false => disk.put(&file, &bytes[..bytes.len() - 1]),
        }
        let (store, _) = open(&disk, &short_cells(), at(30 * 60_000)).expect("damage is no error");
        let lost = &store.replay().blocks_lost;
        let name = file.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
        assert!(lost.len() == 1 && lost[0].contains(&name) && lost[0].contains("backup"), "{lost:?}");
        let have = read_all(&store);
        assert_eq!(have.len() + 20, plain.samples.len(), "one window is lost, and no other");
        store.close().expect("nothing fails here");
        drop(store);
        // Put back, as its message says, it counts again: MANIFEST has not let go of it.
        disk.put(&file, &bytes);
        let (store, _) = open(&disk, &short_cells(), at(30 * 60_000)).expect("it opens");
        assert_eq!(read_all(&store), plain.samples, "missing: {missing}");
        assert_eq!(store.replay().blocks_lost, Vec::<String>::new());
    }
}

#[test]
fn a_newer_manifest_or_block_is_refused_and_nothing_is_changed() {
    let (disk, _) = filled();
    let body = "pantau-store\t9\nnew\tthings\n";
    let newer = format!("{body}checksum\t{:08x}\n", crc32c::crc32c(body.as_bytes()));
    disk.put(manifest(), newer.as_bytes());
    let before: Vec<_> = disk.paths().iter().map(|path| (path.clone(), disk.get(path))).collect();
    let refused = open(&disk, &short_cells(), at(0)).expect_err("it is newer");
    assert!(matches!(refused, StoreError::Newer { version: 9, .. }), "{refused}");
    assert!(refused.to_string().contains("use the newer program"));
    let after: Vec<_> = disk.paths().iter().map(|path| (path.clone(), disk.get(path))).collect();
    assert_eq!(before, after);
}

#[test]
fn what_a_crash_left_behind_is_removed() {
    let (disk, plain) = filled();
    let left = [
        "/data/blocks/00000000000000ff.block",
        "/data/blocks/00000000000000fe.block.tmp",
        "/data/MANIFEST.tmp",
    ];
    left.iter().for_each(|path| disk.put(Path::new(path), b"half of something"));
    let (store, _) = open(&disk, &short_cells(), at(30 * 60_000)).expect("it opens");
    assert_eq!(read_all(&store), plain.samples);
    store.maintain(at(31 * 60_000)).expect("nothing fails here");
    assert!(left[..2].iter().all(|path| disk.get(Path::new(path)).is_none()));
}

#[test]
fn a_journal_that_was_removed_does_not_hide_what_is_written_next() {
    let (disk, _) = filled();
    {
        let (store, _) = open(&disk, &short_cells(), at(30 * 60_000)).expect("it opens");
        delete(&store, 4, i64::MIN, i64::MAX).expect("nothing fails here");
        store.close().expect("nothing fails here");
    }
    for path in disk.paths() {
        if path.extension().is_some_and(|extension| extension == "journal") {
            journal::disk::Disk::remove(&disk, &path).expect("it is there");
        }
    }
    let fixture = {
        let (store, ledger) = open(&disk, &short_cells(), at(30 * 60_000)).expect("it opens");
        Fixture { disk, options: short_cells(), ledger, store }
    };
    // Late samples, of the time that the old checkpoints speak of.
    fixture.write(&[(500, T0 + 1, 7.0), (4, T0 + 1, 7.0)], 1).expect("nothing fails here");
    let fixture = fixture.crash(at(30 * 60_000), |disk| disk.crash());
    assert_eq!(read_all(&fixture.store).get(&(500, T0 + 1)), Some(&7f64.to_bits()));
    // An old deletion does not reach what was written since, and a new one is not taken for an old one.
    assert_eq!(read_all(&fixture.store).get(&(4, T0 + 1)), Some(&7f64.to_bits()));
    fixture.store.maintain(at(90 * 60_000)).expect("nothing fails here");
    delete(&fixture.store, 500, T0, T0 + 10).expect("nothing fails here");
    assert_eq!(read_all(&fixture.store).get(&(500, T0 + 1)), None);
    fixture.write(&[(4, T0 + 2, 8.0), (4, T0 + 100 * 60_000, 1.0)], 2).expect("nothing fails here");
    fixture.upkeep(at(100 * 60_000));
    assert!(fixture.store.stats().blocks.flushes > 0);
    assert_eq!(read_all(&fixture.store).get(&(4, T0 + 2)), Some(&8f64.to_bits()));
    assert_eq!(read_all(&fixture.store).get(&(4, T0)), None, "what was deleted stays away");
}

#[test]
fn a_clock_or_a_sample_years_ahead_neither_empties_the_store_nor_stops_flushes() {
    let fixture = Fixture::new(Options { retention: Duration::from_secs(7200), ..short_cells() });
    let mut plain = Plain::default();
    let mut number = 0;
    let mut write = |samples: &[(u32, i64, f64)]| {
        fixture.write(samples, number).expect("nothing fails here");
        plain.write(samples, number);
        number += 1;
    };
    (0..10).for_each(|round| write(&minute(round)));
    let years_ahead = at(0) + Duration::from_secs(10 * 365 * 86_400);
    fixture.upkeep(years_ahead);
    assert_eq!(read_all(&fixture.store).len(), 200, "the clock alone changes nothing");
    write(&[(99, years_ahead.as_millis(), 1.0)]);
    fixture.upkeep(at(10 * 60_000));
    (10..30).for_each(|round| {
        write(&minute(round));
        fixture.upkeep(at(round * 60_000));
    });
    assert!(fixture.store.stats().blocks.flushes >= 15, "{:?}", fixture.store.stats().blocks);
    fixture.check(&mut plain);
    let fixture = fixture.crash(at(30 * 60_000), |disk| disk.crash());
    fixture.check(&mut plain);
}

#[test]
fn times_at_both_ends_are_kept() {
    let fixture = Fixture::new(Options { retention: Duration::from_secs(u64::MAX / 2000), ..short_cells() });
    let mut plain = Plain::default();
    let samples: Vec<_> = [i64::MIN, i64::MIN + 1, -1, 0, i64::MAX - 1, i64::MAX]
        .iter()
        .map(|time| (1, *time, 1.5))
        .chain(minute(0))
        .collect();
    fixture.write(&samples, 0).expect("nothing fails here");
    let floor = fixture.store.floor().as_millis();
    plain.write(&samples.into_iter().filter(|one| one.1 >= floor).collect::<Vec<_>>(), 0);
    for now in [at(0), Timestamp::MIN, Timestamp::MAX, at(60_000)] {
        let _ = fixture.store.maintain(now);
        while fixture.store.compact_all(now, &mut Unhurried).expect("nothing fails here").blocks_in > 0 {}
        fixture.check(&mut plain);
    }
    let fixture = fixture.crash(at(0), |disk| disk.crash());
    fixture.check(&mut plain);
}

#[test]
fn a_deletion_holds_for_what_was_there_and_not_for_what_comes() {
    let fixture = Fixture::new(short_cells());
    let mut plain = Plain::default();
    for round in 0..20 {
        fixture.write(&minute(round), round as u32).expect("nothing fails here");
        plain.write(&minute(round), round as u32);
        fixture.store.maintain(at(round * 60_000)).expect("nothing fails here");
    }
    let (start, end) = (T0 + 5 * 60_000, T0 + 19 * 60_000);
    let deleted = delete(&fixture.store, 3, start, end).expect("nothing fails here");
    assert!(deleted.blocks > 5, "{deleted:?}");
    plain.delete(3, start, end);
    fixture.check(&mut plain);
    // Of lesser value than what was deleted: it counts all the same.
    let again = [(3, start, -5.0), (3, end, -5.0)];
    fixture.write(&again, 90).expect("nothing fails here");
    plain.write(&again, 90);
    fixture.check(&mut plain);
    let fixture = fixture.crash(at(20 * 60_000), |disk| disk.crash());
    fixture.check(&mut plain);
    fixture.store.compact_all(at(20 * 60_000), &mut Unhurried).expect("nothing fails here");
    fixture.check(&mut plain);
    fixture.store.maintain(at(21 * 60_000)).expect("nothing fails here");
    assert_eq!(fixture.store.stats().blocks.tombstones, 0, "what is carried out is forgotten");
    let fixture = fixture.restart(at(21 * 60_000), |_| {});
    fixture.check(&mut plain);
}

#[test]
fn readers_see_every_sample_once_while_blocks_come_and_go() {
    let disk = PretendDisk::new();
    let (store, _) =
        open(&disk, &Options { block_span: Duration::from_secs(60), ..small() }, at(0)).expect("it opens");
    let (store, ended) = (Arc::new(store), Arc::new(AtomicBool::new(false)));
    let rounds = 240i64;
    let reading = {
        let (store, ended) = (Arc::clone(&store), Arc::clone(&ended));
        std::thread::spawn(move || {
            let (mut seen, mut reads) = (0, 0);
            while !ended.load(Relaxed) {
                let have = read_all(&store).len();
                assert!(have >= seen, "{have} samples after {seen}");
                (seen, reads) = (have, reads + 1);
            }
            reads
        })
    };
    for round in 0..rounds {
        write(&store, &minute(round), round as u32).expect("nothing fails here");
        store.maintain(at(round * 60_000)).expect("nothing fails here");
        store.compact(at(round * 60_000), &mut Unhurried).expect("nothing fails here");
    }
    ended.store(true, Relaxed);
    assert!(reading.join().expect("the reader is content") > 3);
    assert_eq!(read_all(&store).len(), 20 * rounds as usize);
}

#[test]
fn whoever_looks_after_the_store_is_woken_for_every_window_that_is_complete() {
    let fixture = Fixture::new(short_cells());
    let write = |round: i64| {
        fixture.write(&minute(round), round as u32).expect("nothing fails here");
        fixture.store.wait_for_work(Duration::ZERO)
    };
    write(0);
    fixture.store.maintain(at(0)).expect("nothing fails here");
    assert!(!fixture.store.wait_for_work(Duration::ZERO), "nothing is complete");
    let mut flushes = 0;
    for round in 1..10 {
        assert!(write(round) || round < 2, "minute {round} is complete");
        fixture.store.maintain(at(60 * 60_000)).expect("nothing fails here");
        let now = fixture.store.stats().blocks.flushes;
        assert!(now > flushes || round < 2, "{now} after minute {round}");
        flushes = now;
    }
}
