//! Backups, snapshots, restored stores and readers beside the owner hold what was acknowledged, whatever the owner does meanwhile.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use journal::disk::Disk;
use journal::disk::pretend::PretendDisk;
use model::{Columns, SeriesSource, Timestamp};
use tsdb::{FoundDamage, Options, Placing, ReadOnlyStore, Store, StoreError, Unhurried};

use super::fixture::{Fixture, T0, at, everything, labels, open, small, write};

const DATA: &str = "/data";
const BACKUP: &str = "/backup/store";

fn minutes() -> Options {
    Options { block_span: Duration::from_secs(60), ..small() }
}

fn shared(disk: &PretendDisk) -> Arc<dyn Disk> {
    Arc::new(disk.clone())
}

type Held = BTreeMap<(String, i64), u64>;

fn held(source: &dyn SeriesSource) -> Held {
    let (mut held, mut columns) = (Held::new(), Columns::default());
    let mut set = source.select(&everything(&[])).expect("readable");
    while set.advance().expect("readable") {
        set.read(&mut columns).expect("readable");
        let name = set.labels().to_string();
        held.extend(
            columns
                .iter()
                .map(|sample| ((name.clone(), sample.timestamp.as_millis()), sample.value.to_bits())),
        );
    }
    held
}

/// What a reader without a lock finds in a folder; nothing may be damaged.
fn read(disk: &PretendDisk, folder: &str) -> Held {
    let store = ReadOnlyStore::open(&shared(disk), Path::new(folder)).expect("it opens");
    let replay = store.replay();
    assert!(replay.journal.damage.is_empty() && replay.blocks_lost.is_empty(), "{folder}: {replay:?}");
    assert!(replay.records_lost == 0 && !replay.manifest_rebuilt, "{folder}: {replay:?}");
    held(&store)
}

fn verify(disk: &PretendDisk, folder: &str) -> Vec<FoundDamage> {
    let mut found = Vec::new();
    let done = tsdb::verify(&shared(disk), Path::new(folder), &mut |damage| found.push(damage.clone()));
    assert_eq!(done.expect("it can be looked at").damages, found.len() as u64);
    found
}

/// One step in a store's life: samples of the next 20 s in three series, some of them late, and upkeep.
fn live(store: &Store, step: i64) {
    let now = at(step * 20_000);
    let late = if step % 5 == 4 { 400_000 } else { 0 };
    for second in 0..4 {
        let time = T0 + step * 20_000 + second * 5000 - late;
        let samples: Vec<_> = (0..3).map(|series| (series, time, (step * 7 + second) as f64 / 4.0)).collect();
        write(store, &samples, (step * 4 + second) as u32).expect("nothing fails here");
    }
    store.maintain(now).expect("nothing fails here");
    if step % 4 == 3 {
        store.compact(now, &mut Unhurried).expect("nothing fails here");
    }
    if step % 11 == 10 {
        let matchers = [model::Matcher::equal("id", "1")];
        store.delete(&matchers, at(step * 20_000 - 300_000), at(step * 20_000 - 250_000)).expect("room");
    }
}

#[test]
fn every_copy_of_a_living_store_is_as_the_store_was() {
    let fixture = Fixture::new(minutes());
    let disk = fixture.disk.clone();
    let mut blocks_new = 0;
    for step in 0..60 {
        live(&fixture.store, step);
        let now = held(&fixture.store);
        assert_eq!(read(&disk, DATA), now, "a reader beside the owner, step {step}");
        if step % 3 == 0 {
            let copied = tsdb::backup(&shared(&disk), Path::new(DATA), Path::new(BACKUP), Placing::Copy);
            blocks_new += copied.expect("nothing fails here").blocks_new;
            assert_eq!(read(&disk, BACKUP), now, "step {step}");
            assert_eq!(verify(&disk, BACKUP), []);
        }
        if step % 10 == 9 {
            let folder = format!("/snapshots/{step}");
            fixture.store.snapshot(Path::new(&folder)).expect("nothing fails here");
            assert_eq!(read(&disk, &folder), now, "step {step}");
            let again = fixture.store.snapshot(Path::new(&folder));
            assert!(matches!(again, Err(StoreError::NotEmpty { .. })), "{again:?}");
        }
        assert_eq!(verify(&disk, DATA), []);
    }
    assert!(blocks_new > 15, "{blocks_new}");
    let info = tsdb::info(&shared(&disk), Path::new(BACKUP)).expect("readable");
    assert!(!info.blocks.is_empty() && info.unreadable.is_empty() && info.segments > 0, "{info:?}");
    assert!(info.blocks.is_sorted_by_key(|block| block.min_time));
    // Early snapshots outlive everything that was merged and deleted since.
    assert!(!read(&disk, "/snapshots/9").is_empty());
}

#[test]
fn a_restored_store_goes_on_where_the_copy_was_made() {
    let fixture = Fixture::new(minutes());
    let disk = fixture.disk.clone();
    (0..31).for_each(|step| live(&fixture.store, step));
    tsdb::backup(&shared(&disk), Path::new(DATA), Path::new(BACKUP), Placing::Copy).expect("room");
    let copied = held(&fixture.store);
    drop(fixture);
    // The lost store's place is free.
    for path in disk.paths().into_iter().filter(|path| path.starts_with(DATA)) {
        disk.remove(&path).expect("it is there");
    }
    disk.kill();
    let other = disk.clone();
    tsdb::restore(&shared(&disk), Path::new(BACKUP), Path::new("/new/store")).expect("room");
    assert_eq!(read(&disk, "/new/store"), copied);
    let reopen = || {
        let companion = Box::new(super::fixture::Ledger::default());
        Store::open(shared(&other), Path::new("/new/store"), minutes(), companion, at(31 * 20_000))
            .expect("it opens")
    };
    let store = reopen();
    assert_eq!(held(&store), copied);
    // New samples, and late ones into times that stand in blocks already: none may be taken for old ones at a replay.
    for step in 31..40 {
        live(&store, step);
    }
    let late: Vec<_> = (0..50).map(|second| (2, T0 + second * 1000 + 7, 1.5)).collect();
    write(&store, &late, 9000).expect("nothing fails here");
    let before = held(&store);
    assert!(before.len() > copied.len());
    drop(store);
    other.kill();
    assert_eq!(held(&reopen()), before);
}

/// Ends a thread that goes on until it is told, also where the one that would tell it fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn copies_and_readers_beside_a_busy_store_miss_nothing_that_was_acknowledged() {
    let disk = PretendDisk::new();
    let (store, _) = open(&disk, &minutes(), at(0)).expect("an empty disk opens");
    let (done, stop) = (AtomicI64::new(0), AtomicBool::new(false));
    // A store that flushes every millisecond lets nobody read it whole on a busy machine: it runs ahead of each reader by so much only.
    let (begun, ahead) = (AtomicI64::new(0), 400);
    std::thread::scope(|scope| {
        let _ends_with_the_readers = Stop(&stop);
        scope.spawn(|| {
            for number in 0.. {
                while number > begun.load(Ordering::SeqCst) + ahead && !stop.load(Ordering::SeqCst) {
                    std::thread::yield_now();
                }
                let time = T0 + number * 3000;
                write(&store, &[(0, time, number as f64), (1, time, 1.0)], number as u32).expect("room");
                done.store(number + 1, Ordering::SeqCst);
                if number % 4 == 3 {
                    store.maintain(at(number * 3000)).expect("room");
                }
                if number % 16 == 15 {
                    store.compact(at(number * 3000), &mut Unhurried).expect("room");
                }
                if stop.load(Ordering::SeqCst) || number > 20_000 {
                    break;
                }
            }
        });
        let check = |what: &str, before: i64, held: &Held| {
            let name = labels(0).to_string();
            for number in 0..before {
                let bits = held.get(&(name.clone(), T0 + number * 3000));
                assert_eq!(bits, Some(&(number as f64).to_bits()), "{what}: sample {number} of {before}");
            }
        };
        let begin = || {
            let before = done.load(Ordering::SeqCst);
            begun.store(before, Ordering::SeqCst);
            before
        };
        for round in 0..25 {
            let before = begin();
            check("a reader", before, &read(&disk, DATA));
            let before = begin();
            tsdb::backup(&shared(&disk), Path::new(DATA), Path::new(BACKUP), Placing::Copy).expect("room");
            check("a backup", before, &read(&disk, BACKUP));
            assert_eq!(verify(&disk, BACKUP), []);
            let before = begin();
            let folder = format!("/snapshots/{round}");
            store.snapshot(Path::new(&folder)).expect("room");
            check("a snapshot", before, &read(&disk, &folder));
            assert_eq!(verify(&disk, DATA), []);
        }
    });
}

#[test]
fn each_damage_is_named_by_its_file() {
    let fixture = Fixture::new(minutes());
    (0..31).for_each(|step| live(&fixture.store, step));
    let Fixture { disk, store, .. } = fixture;
    drop(store);
    assert_eq!(verify(&disk, DATA), []);
    let is_checked = |path: &PathBuf| path.starts_with(DATA) && !path.ends_with("LOCK");
    let paths: Vec<PathBuf> = disk.paths().into_iter().filter(is_checked).collect();
    assert!(paths.len() > 4, "{paths:?}");
    let newest = paths.iter().rfind(|path| path.extension().is_some_and(|name| name == "journal"));
    for path in &paths {
        let whole = disk.get(path).expect("it is there");
        for place in 0..40 {
            let offset = whole.len() * place / 40;
            // The mark of an orderly end, 24 bytes: without it the journal just was not closed, and nothing is lost.
            if Some(path) == newest && offset + 24 >= whole.len() {
                continue;
            }
            let mut bytes = whole.clone();
            bytes[offset] ^= 0x10;
            disk.put(path, &bytes);
            let found = verify(&disk, DATA);
            assert!(
                found.iter().any(|damage| damage.file == *path),
                "byte {offset} of {}: {found:?}",
                path.display()
            );
            assert!(found.iter().all(|damage| damage.offset <= whole.len() as u64), "{found:?}");
        }
        disk.put(path, &whole);
    }
    let block =
        paths.iter().find(|path| path.extension().is_some_and(|name| name == "block")).expect("a block");
    disk.remove(block).expect("it is there");
    let found = verify(&disk, DATA);
    assert_eq!(found.len(), 1);
    assert_eq!(
        found[0].to_string(),
        format!("{} is damaged at byte 0: the file is missing", block.display())
    );
    let nowhere = tsdb::verify(&shared(&disk), Path::new("/nowhere"), &mut |_| ());
    assert!(matches!(nowhere, Err(StoreError::NoManifest { .. })), "{nowhere:?}");
    assert_eq!(Timestamp::from_millis(T0), at(0));
}
