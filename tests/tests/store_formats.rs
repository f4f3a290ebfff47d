//! Folders that earlier versions wrote, kept in `tests/formats/` for ever: this version opens them and loses no bit.
//!
//! `store-v0` is a journal alone (record version 1), as it was before there were blocks; `store-v1` has blocks, a manifest and a journal.
//! Beside each folder's files stands `held.txt`: a line for each sample with its labels, time and bits. `PANTAU_STORE_FORMAT=store-vN` writes
//! the folder anew with the store at hand, where it is not there yet; one that is there is never changed.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use journal::disk::{Disk, RealDisk};
use model::{Exemplar, Labels, Matcher, Selection, SeriesSource, Timestamp};
use pantau_tests::held::{self, Held};
use pantau_tests::pantau::Collector;
use pantau_tests::{peers, writer};
use tsdb::{Options, SeriesRef, Store, Unhurried, WriteBatch};

/// Ages do not count here: the folders grow old.
const KEEPS: &str = "agent: {enabled: false}\nstorage: {time: 36500d}\n";

fn folder(version: &str) -> PathBuf {
    peers::root().join("tests/formats").join(version)
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder can be made");
    for entry in std::fs::read_dir(from).expect("the kept folder is there") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name");
        if path.is_dir() {
            copy(&path, &to.join(name));
        } else if name != "held.txt" {
            std::fs::copy(&path, to.join(name)).expect("a file can be copied");
        }
    }
}

fn text(held: &Held) -> String {
    let mut text = String::new();
    // What a collector says of itself goes on after the upgrade.
    let kept = |labels: &Labels| labels.get("__name__").is_some_and(|name| name.starts_with("kept_"));
    for (labels, samples) in held.iter().filter(|(labels, _)| kept(labels)) {
        for (at, bits) in samples {
            writeln!(text, "{labels} {at} {bits:016x}").expect("a String takes everything");
        }
    }
    text
}

/// Opens a copy, as whoever upgrades does, and looks twice: through the new version's own files the second time.
fn check(version: &str) {
    let kept = folder(version);
    let wanted = std::fs::read_to_string(kept.join("held.txt")).expect("held.txt stands beside the files");
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let store = temporary.path().join("data/store");
    copy(&kept, &store);
    assert_eq!(text(&held::between(&store, &[], i64::MIN, i64::MAX)), wanted, "read beside its owner");

    let mut collector = Collector::start(temporary.path(), KEEPS);
    let newest: i64 =
        wanted.lines().filter_map(|line| line.rsplit(' ').nth(1)?.parse().ok()).max().expect("samples");
    let at = format!("{}.{:03}", newest / 1000, newest % 1000);
    let lines = wanted.lines().filter(|line| line.contains("kept_total")).count();
    let count = collector.value(&format!("sum(count_over_time(kept_total[10d] @ {at}))"));
    assert_eq!(count, Some(lines as f64), "served by the collector");
    let extra = Labels::from_pairs([("__name__", "written_by_a_later_version")]);
    let body = writer::body(&[(&extra, &[(writer::now(), 1.0)])]);
    let answer = writer::send(&collector.http, &collector.base, body).expect("an answer");
    assert_eq!(answer.status, 204, "{}", answer.body);
    collector.running().kill();
    collector.restart();
    collector.running().stop();
    let mut held = held::between(&store, &[], i64::MIN, i64::MAX);
    assert_eq!(held.remove(&extra).map(|samples| samples.len()), Some(1));
    assert_eq!(text(&held), wanted, "after the upgrade, a kill and an orderly end");
}

#[test]
fn a_folder_from_before_the_blocks_is_upgraded_and_loses_nothing() {
    check("store-v0");
}

#[test]
fn a_folder_with_blocks_is_opened_and_loses_nothing() {
    check("store-v1");
}

/// What of a store are no samples: each histogram's bytes, each exemplar's trace.
fn beside_samples(store: &Store) -> (Vec<Vec<u8>>, Vec<String>) {
    let matchers = [Matcher::equal("__name__", "kept_ratio"), Matcher::equal("instance", "node-0")];
    let all = Selection { matchers: &matchers, start: Timestamp::MIN, end: Timestamp::MAX };
    let mut set = store.select(&all).expect("the store can be asked");
    let (mut histograms, mut bytes) = (Vec::new(), Vec::new());
    while set.advance().expect("the next series can be found") {
        set.read_histograms(&mut histograms).expect("a series can be read");
        bytes.extend(histograms.iter().map(|(_, bytes)| bytes.to_vec()));
    }
    let exemplars = store.exemplars(&[], Timestamp::MIN, Timestamp::MAX);
    let traces = exemplars.iter().flat_map(|(_, exemplars)| exemplars);
    (bytes, traces.map(|one| one.labels.get("trace_id").expect("it has one").to_owned()).collect())
}

/// `held.txt` knows samples alone.
#[test]
fn histograms_and_exemplars_of_a_kept_folder_come_back_too() {
    let temporary = tempfile::tempdir().expect("a temporary folder");
    copy(&folder("store-v1"), temporary.path());
    let options = Options { retention: Duration::from_secs(36_500 * 86_400), ..Options::default() };
    let newest = Timestamp::from_millis(1_795_404_240_000);
    let rounds = [99_u32, 199, 299, 399, 499, 599];
    for start in ["the first start", "the second one"] {
        let store = Store::open(Arc::new(RealDisk), temporary.path(), options.clone(), Box::new(()), newest)
            .expect("a kept folder opens");
        let (histograms, traces) = beside_samples(&store);
        assert_eq!(histograms, rounds.map(|round| vec![round as u8, 1, 2, 3]), "{start}");
        // Exemplars go with the part of the journal that brought them.
        assert_eq!(traces, rounds[4..].iter().map(u32::to_string).collect::<Vec<_>>(), "{start}");
        while store.compact_all(newest, &mut Unhurried).expect("a merge goes well").blocks_in > 0 {}
        store.close().expect("an orderly end");
    }
}

/// Series of different kinds, late samples, odd bits, deletions, histograms and exemplars, flushed and merged by a clock that is an argument;
/// the last hours stand in the journal.
fn write(to: &Path) {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let options = Options { retention: Duration::from_secs(36_500 * 86_400), ..Options::default() };
    let end = writer::now().as_millis().div_euclid(60_000) * 60_000;
    let (rounds, step) = (600, 180_000);
    let at = |round: i64| Timestamp::from_millis(end - (rounds - round) * step);
    let store = Store::open(disk, to, options, Box::new(()), at(0)).expect("a new store");
    let series = |metric: &str| -> Vec<SeriesRef> {
        let of = |host: usize| {
            let instance = format!("node-{host}");
            let labels = Labels::from_pairs([("__name__", metric), ("instance", &instance), ("job", "node")]);
            store.resolve(&labels).expect("a new series")
        };
        (0..4).map(of).collect()
    };
    for round in 0..rounds {
        // Each time anew, as a sender does: a series that nothing is left of in memory may be forgotten.
        let (counters, gauges, odd) = (series("kept_total"), series("kept_ratio"), series("kept_odd"));
        let (told, answer) = std::sync::mpsc::channel();
        let batch = kept_round(round, at, [&counters, &gauges, &odd]);
        store.write(batch, move |written| told.send(written.map(drop)).expect("somebody waits"));
        answer.recv().expect("an answer").expect("a batch is written");
        store.maintain(at(round)).expect("upkeep goes well");
        if round == rounds * 3 / 4 {
            let matchers = [Matcher::equal("__name__", "kept_odd"), Matcher::equal("instance", "node-3")];
            store.delete(&matchers, at(rounds / 2), at(rounds / 2 + 20)).expect("a deletion goes well");
        }
        while round % 50 == 0
            && store.compact(at(round), &mut Unhurried).expect("a merge goes well").blocks_in > 0
        {}
    }
    store.close().expect("an orderly end");
}

/// What one round brings.
fn kept_round(
    round: i64,
    at: impl Fn(i64) -> Timestamp,
    [counters, gauges, odd]: [&[SeriesRef]; 3],
) -> WriteBatch {
    const BITS: [u64; 4] =
        [0x7ff0_0000_0000_0002, 0x8000_0000_0000_0000, 0x7ff8_0000_0000_beef, 0x3fd5_5555_5555_5555];
    let (now, number) = (at(round), round as f64);
    let late = Timestamp::from_millis(at(round - 3).as_millis() - 7);
    let mut batch = WriteBatch::default();
    for host in 0..4 {
        batch.samples.push((counters[host], now, number * 15.25 + host as f64));
        batch.samples.push((gauges[host], now, (number * 0.7 + host as f64).sin()));
        if round % 8 == 0 {
            batch.samples.push((odd[host], late, f64::from_bits(BITS[host])));
            batch.samples.push((odd[host], now, 0.0));
        }
    }
    if round % 100 == 99 {
        // Any bytes: a histogram is kept as the message in which it came.
        batch.histograms.push((gauges[0], now, Arc::from([round as u8, 1, 2, 3])));
        let labels = Labels::from_pairs([("trace_id", &round.to_string())]);
        batch.exemplars.push((counters[0], Exemplar { labels, value: number, timestamp: now }));
    }
    batch
}

#[test]
fn a_folder_is_kept_once_and_never_changed() {
    let Ok(version) = std::env::var("PANTAU_STORE_FORMAT") else { return };
    let to = folder(&version);
    assert!(!to.exists(), "{} is there already and stays as it is", to.display());
    write(&to);
    let held = held::between(&to, &[], i64::MIN, i64::MAX);
    std::fs::write(to.join("held.txt"), text(&held)).expect("held.txt can be written");
    check(&version);
}
