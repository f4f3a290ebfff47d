//! Folders that earlier versions wrote, kept in `tests/formats/` for ever: this version opens them and loses no bit.
//!
//! `store-v0` is a journal alone (record version 1), as it was before there were blocks; `store-v1` has blocks, a manifest and a journal.
//! Beside each folder's files stands `held.txt`: a line for each sample with its labels, time and bits. `PANTAU_STORE_FORMAT=store-vN` writes
//! the folder anew with the programs at hand, where it is not there yet; one that is there is never changed.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use model::{Labels, Timestamp};
use pantau_tests::held::{self, Held};
use pantau_tests::pantau::Collector;
use pantau_tests::{peers, writer};

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

/// Series of different kinds, late samples, odd bits, two lives of the journal and a kill.
fn write(version: &str, to: &Path) {
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let settings = if version == "store-v0" { "agent: {enabled: false}\n" } else { KEEPS };
    let mut collector = Collector::start(temporary.path(), settings);
    let end = writer::now().as_millis().div_euclid(60_000) * 60_000;
    // Versions with blocks: a span that holds several cells, so that there are some.
    let (rounds, step) = if version == "store-v0" { (120, 15_000) } else { (600, 180_000) };
    let names = |metric: &str| -> Vec<Labels> {
        let of = |host: usize| {
            Labels::from_pairs([("__name__", metric), ("instance", &format!("node-{host}")), ("job", "node")])
        };
        (0..4).map(of).collect()
    };
    let (counters, gauges, odd) = (names("kept_total"), names("kept_ratio"), names("kept_odd"));
    for round in 0..rounds {
        let at = Timestamp::from_millis(end - (rounds - round) * step);
        let late = Timestamp::from_millis(at.as_millis() - step * 3 - 7);
        let round = round as f64;
        let bits =
            [0x7ff0_0000_0000_0002_u64, 0x8000_0000_0000_0000, 0x7ff8_0000_0000_beef, 0x3fd5_5555_5555_5555];
        let mut series: Vec<(&Labels, Vec<(Timestamp, f64)>)> = Vec::new();
        for host in 0..4 {
            series.push((&counters[host], vec![(at, round * 15.25 + host as f64)]));
            series.push((&gauges[host], vec![(at, (round * 0.7 + host as f64).sin())]));
            if (round as usize).is_multiple_of(8) {
                series.push((&odd[host], vec![(late, f64::from_bits(bits[host])), (at, 0.0)]));
            }
        }
        let all: Vec<writer::Samples<'_>> =
            series.iter().map(|(labels, samples)| (*labels, &samples[..])).collect();
        let answer = writer::send(&collector.http, &collector.base, writer::body(&all)).expect("an answer");
        assert_eq!(answer.status, 204, "{}", answer.body);
        if round as i64 == rounds / 2 {
            collector.running().stop();
            collector.restart();
        }
    }
    if version != "store-v0" {
        pantau_tests::wait_for("blocks", std::time::Duration::from_secs(60), || {
            let blocks = temporary.path().join("data/store/blocks");
            (std::fs::read_dir(blocks).ok()?.count() > 1).then_some(())
        });
    }
    collector.running().kill();
    let store = temporary.path().join("data/store");
    copy(&store, to);
    let held = held::between(to, &[], i64::MIN, i64::MAX);
    std::fs::write(to.join("held.txt"), text(&held)).expect("held.txt can be written");
}

#[test]
fn a_folder_is_kept_once_and_never_changed() {
    let Ok(version) = std::env::var("PANTAU_STORE_FORMAT") else { return };
    let to = folder(&version);
    assert!(!to.exists(), "{} is there already and stays as it is", to.display());
    write(&version, &to);
    check(&version);
}
