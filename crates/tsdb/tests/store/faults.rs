//! A disk that fails at every single operation: what was acknowledged is there afterwards, once, and so is its attachment.

use journal::disk::pretend::{Fault, PretendDisk};
use model::{Columns, Selection, SeriesSource, SourceError, Timestamp};
use tsdb::{Options, Store, Unhurried, WriteError};

use crate::fixture::{Ledger, Plain, T0, at, delete, open, read_all, small, write};

const FAULTS: [Fault; 6] =
    [Fault::Io, Fault::Full, Fault::ShortIo, Fault::ShortFull, Fault::PowerCut, Fault::ShortRead];

/// What a run of the script did.
#[derive(Default)]
struct Ran {
    acknowledged: Plain,
    /// Acknowledged, or with an unknown end.
    possible: Plain,
    /// Deletions with an unknown end: series and span.
    perhaps_deleted: Vec<(u32, i64, i64)>,
}

impl Ran {
    fn delete(&mut self, series: u32, start: i64, end: i64, acknowledged: bool) {
        if acknowledged {
            self.acknowledged.delete(series, start, end);
            self.possible.delete(series, start, end);
        } else {
            self.perhaps_deleted.push((series, start, end));
        }
    }

    fn is_uncertain(&self, key: (u32, i64)) -> bool {
        self.perhaps_deleted
            .iter()
            .any(|&(series, start, end)| series == key.0 && (start..=end).contains(&key.1))
    }
}

fn batch(number: u32) -> Vec<(u32, i64, f64)> {
    (0..60)
        .map(|i| {
            (i % 20, T0 + i64::from(number) * 15_000 + i64::from(i / 20), f64::from(number * 7 + i) / 4.0)
        })
        .collect()
}

fn options() -> Options {
    // Within the script windows become blocks, blocks are compacted, and retention removes blocks and segments.
    let seconds = std::time::Duration::from_secs;
    Options { retention: seconds(150), block_span: seconds(30), ..small() }
}

/// Opens, writes, maintains, closes; what fails is noted and the script goes on.
fn script(disk: &PretendDisk, ran: &mut Ran, first: u32) {
    let Ok((store, _)) = open(disk, &options(), at(i64::from(first) * 15_000)) else { return };
    for number in first..first + 25 {
        let samples = batch(number);
        match write(&store, &samples, number) {
            Ok(_) => {
                ran.acknowledged.write(&samples, number);
                ran.possible.write(&samples, number);
            }
            Err(WriteError::Poisoned(_)) => ran.possible.write(&samples, number),
            Err(WriteError::DiskFull(_)) => {}
            Err(other) => panic!("no reason for {other}"),
        }
        // Its errors are the disk's; the bounds hold nevertheless.
        let now = at(i64::from(number) * 15_000);
        let _ = store.maintain(now);
        let _ = store.compact(now, &mut Unhurried);
        if number % 10 == 7 {
            let (start, end) = (now.as_millis() - 70_000, now.as_millis() - 10_000);
            let deleted = delete(&store, 3, start, end);
            ran.delete(3, start, end, deleted.is_ok());
        }
        ran.acknowledged.floor = ran.acknowledged.floor.max(store.floor().as_millis());
    }
    let _ = store.close();
}

fn check(store: &Store, ledger: &Ledger, ran: &Ran, what: &str) {
    let floor = store.floor().as_millis().max(ran.acknowledged.floor);
    let (have, ledger) = (read_all(store), ledger.holds());
    for (key, bits) in ran.acknowledged.since(floor) {
        if ran.is_uncertain(key) {
            continue;
        }
        assert_eq!(have.get(&key), Some(&bits), "{what}: an acknowledged sample of series {} is gone", key.0);
    }
    let possible = &ran.possible.samples;
    assert!(have.iter().all(|(key, bits)| possible.get(key) == Some(bits)), "{what}: a sample from nowhere");
    assert!(ran.acknowledged.batches.is_subset(&ledger), "{what}: an acknowledged attachment is gone");
    assert!(ledger.is_subset(&ran.possible.batches), "{what}: an attachment that was refused is there");
}

/// Every operation of the script fails once, by this fault.
fn every_operation_fails_by(fault: Fault) {
    let clean = PretendDisk::new();
    let mut ran = Ran::default();
    script(&clean, &mut ran, 0);
    assert_eq!(ran.acknowledged.batches.len(), 25);
    let operations = clean.operations();
    for operation in 0..operations {
        let what = format!("{fault:?} at operation {operation}");
        let disk = PretendDisk::new();
        disk.fail_at(operation, fault);
        let mut ran = Ran::default();
        script(&disk, &mut ran, 0);
        assert_eq!(disk.faults_fired(), 1, "{what} did not happen");
        disk.heal();
        if operation % 2 == 0 {
            disk.crash_partly(operation)
        } else {
            disk.crash()
        }
        let (store, ledger) =
            open(&disk, &options(), at(0)).unwrap_or_else(|error| panic!("{what}: {error}"));
        check(&store, &ledger, &ran, &what);
        drop(store);
        if operation % 3 > 0 {
            continue;
        }
        // And it goes on from there.
        script(&disk, &mut ran, 25);
        let (store, ledger) =
            open(&disk, &options(), at(0)).unwrap_or_else(|error| panic!("{what}: {error}"));
        check(&store, &ledger, &ran, &what);
        assert!(ran.acknowledged.batches.contains(&49), "{what}: it does not go on");
    }
}

#[test]
fn whatever_operation_fails_what_was_acknowledged_stays() {
    every_operation_fails_by(Fault::Io);
}

#[test]
fn whatever_operation_finds_the_disk_full_what_was_acknowledged_stays() {
    every_operation_fails_by(Fault::Full);
}

#[test]
fn whatever_operation_fails_halfway_what_was_acknowledged_stays() {
    every_operation_fails_by(Fault::ShortIo);
}

#[test]
fn whatever_operation_fills_the_disk_what_was_acknowledged_stays() {
    every_operation_fails_by(Fault::ShortFull);
}

#[test]
fn wherever_the_power_is_cut_what_was_acknowledged_stays() {
    every_operation_fails_by(Fault::PowerCut);
}

#[test]
fn whatever_operation_of_a_start_fails_the_next_start_finds_everything() {
    let build = || {
        let (disk, mut ran) = (PretendDisk::new(), Ran::default());
        script(&disk, &mut ran, 0);
        disk.crash();
        let before = disk.operations();
        (disk, ran, before)
    };
    let (clean, _, before) = build();
    drop(open(&clean, &options(), at(0)).expect("it opens"));
    let operations = clean.operations() - before;
    for fault in FAULTS {
        for operation in 0..operations {
            let what = format!("{fault:?} at operation {operation} of the start");
            let (disk, ran, before) = build();
            disk.fail_at(before + operation, fault);
            drop(open(&disk, &options(), at(0)));
            disk.heal();
            // What a start did by mistake lasts where nothing else goes wrong.
            if operation % 2 == 0 {
                disk.kill()
            } else {
                disk.crash()
            }
            let (store, ledger) =
                open(&disk, &options(), at(0)).unwrap_or_else(|error| panic!("{what}: {error}"));
            check(&store, &ledger, &ran, &what);
        }
    }
}

#[test]
fn a_full_disk_refuses_and_goes_on_when_there_is_room() {
    let disk = PretendDisk::new();
    let (store, ledger) = open(&disk, &options(), at(0)).expect("it opens");
    let mut plain = Plain::default();
    write(&store, &batch(0), 0).expect("there is room");
    plain.write(&batch(0), 0);
    disk.set_capacity(Some(disk.used_bytes() + 10));
    let refused = write(&store, &batch(1), 1).expect_err("there is none");
    assert_eq!((refused.reason(), refused.is_temporary()), ("disk_full", true));
    assert_eq!(read_all(&store), plain.samples, "a refused batch is not visible");
    disk.set_capacity(None);
    write(&store, &batch(2), 2).expect("there is room again");
    plain.write(&batch(2), 2);
    drop(store);
    assert_eq!(ledger.holds(), plain.batches);
    let (store, ledger) = open(&disk, &options(), at(0)).expect("it opens again");
    assert_eq!((read_all(&store), ledger.holds()), (plain.samples, plain.batches));
}

#[test]
fn a_failed_fsync_ends_writing_and_not_reading() {
    let disk = PretendDisk::new();
    let (store, _) = open(&disk, &small(), at(0)).expect("it opens");
    write(&store, &batch(0), 0).expect("the disk works");
    let before = read_all(&store);
    disk.fail_from(disk.operations(), Fault::Io);
    for number in 1..4 {
        assert_eq!(write(&store, &batch(number), number).expect_err("it does not").reason(), "poisoned");
    }
    assert_eq!(read_all(&store), before);
    assert!(store.stats().journal.poisoned.is_some());
}

#[test]
fn a_read_that_ends_early_is_an_error_and_never_an_answer_with_holes() {
    let (disk, mut ran) = (PretendDisk::new(), Ran::default());
    script(&disk, &mut ran, 0);
    let (store, _) =
        open(&disk, &Options { cache_bytes_max: 1 << 20, ..options() }, at(0)).expect("it opens");
    let everything = Selection { matchers: &[], start: Timestamp::MIN, end: Timestamp::MAX };
    let count = || -> Result<usize, SourceError> {
        let (mut set, mut columns, mut samples) = (store.select(&everything)?, Columns::default(), 0);
        while set.advance()? {
            set.read(&mut columns)?;
            samples += columns.len();
        }
        Ok(samples)
    };
    // The round without faults fills the cache, and the next one has nothing left to read.
    let whole = loop {
        disk.fail_from(disk.operations(), Fault::ShortRead);
        let before = disk.faults_fired();
        let answer = count();
        disk.heal();
        match answer {
            Ok(samples) if disk.faults_fired() == before => break samples,
            Ok(_) => panic!("a short read was taken for the whole"),
            Err(error) => assert!(error.to_string().contains("less than the file holds"), "{error}"),
        }
        count().expect("the next reader finds everything");
    };
    assert!(whole > 0 && disk.faults_fired() > 0);
    assert_eq!(read_all(&store).len(), whole);
}
