//! The store in trouble, seen from outside: two collectors on one folder, a folder of a later version, damaged files, no room.
//! Each is said in words that tell what to do, and loses nothing that was acknowledged and can be read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use model::{Labels, Matcher, Timestamp};
use pantau_tests::held::{self, Held};
use pantau_tests::pantau::Collector;
use pantau_tests::{peers, wait_for, writer};

/// So little memory that blocks are made while the test looks on.
const SETTINGS: &str = "agent: {enabled: false}\n";
const SMALL: &str = "agent: {enabled: false}\nstorage: {memory_max: 16MiB}\n";
const HOUR_MS: i64 = 3_600_000;
const STEP_MS: i64 = 10_000;
const SERIES: usize = 100;

fn labels(series: usize) -> Labels {
    Labels::from_pairs([("__name__", "troubled"), ("job", "node"), ("series", &series.to_string())])
}

/// Writes this many hours, up to now, a minute apart, and answers what was written.
fn fill(collector: &Collector, hours: i64) -> Held {
    let end = writer::now().as_millis().div_euclid(STEP_MS) * STEP_MS;
    let names: Vec<Labels> = (0..SERIES).map(labels).collect();
    let mut held = Held::new();
    for hour in 0..hours {
        let first = end - (hours - hour) * HOUR_MS;
        let of = |series: usize, at: i64| (at / STEP_MS % 1_000) as f64 * 0.5 + series as f64;
        let samples: Vec<Vec<(Timestamp, f64)>> = (0..SERIES)
            .map(|series| {
                let times = (0..HOUR_MS / STEP_MS).map(|minute| first + minute * STEP_MS);
                times.map(|at| (Timestamp::from_millis(at), of(series, at))).collect()
            })
            .collect();
        let all: Vec<writer::Samples<'_>> =
            names.iter().zip(&samples).map(|(labels, samples)| (labels, &samples[..])).collect();
        let answer = writer::send(&collector.http, &collector.base, writer::body(&all)).expect("an answer");
        assert_eq!(answer.status, 204, "{}", answer.body);
        for (labels, samples) in all {
            let bits = samples.iter().map(|(at, value)| (at.as_millis(), value.to_bits()));
            held.entry(labels.clone()).or_default().extend(bits);
        }
    }
    held
}

fn held(store: &Path) -> Held {
    held::between(store, &[Matcher::equal("__name__", "troubled")], i64::MIN, i64::MAX)
}

fn store_of(collector: &Collector) -> PathBuf {
    collector.folder.join("data/store")
}

fn blocks(store: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(store.join("blocks")).into_iter().flatten().flatten();
    let mut blocks: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "block"))
        .collect();
    blocks.sort();
    blocks
}

/// A collector that was filled and ended in order, with some blocks.
fn stopped(folder: &Path, hours: i64) -> (Collector, Held) {
    let mut collector = Collector::start(folder, SMALL);
    let written = fill(&collector, hours);
    let store = store_of(&collector);
    wait_for("blocks", Duration::from_secs(60), || (!blocks(&store).is_empty()).then_some(()));
    collector.running().stop();
    assert_eq!(held(&store), written);
    (collector, written)
}

/// Starts a collector that ends by itself, and answers what it said.
fn refused(collector: &mut Collector) -> String {
    collector.spawn();
    let process = collector.running();
    wait_for("the collector to give up", Duration::from_secs(30), || (!process.is_running()).then_some(()));
    process.log()
}

/// Every file below a folder, whole.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut files, mut folders) = (BTreeMap::new(), vec![folder.to_path_buf()]);
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let bytes = std::fs::read(&path).expect("a file can be read");
                files.insert(path, bytes);
            }
        }
    }
    files
}

#[test]
fn a_second_collector_on_a_folder_is_told_and_the_first_goes_on() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let first = Collector::start(&folder.path().join("first"), SETTINGS);
    let mut second = Collector::prepare(&folder.path().join("second"), SETTINGS, "http");
    let config = second.folder.join("pantau.yaml");
    let text = std::fs::read_to_string(&config).expect("the configuration");
    let (own, shared) = (second.folder.join("data"), first.folder.join("data"));
    std::fs::write(&config, text.replace(&own.display().to_string(), &shared.display().to_string()))
        .expect("it can be written");
    let said = refused(&mut second);
    let named = shared.display().to_string();
    assert!(said.contains(&named), "it names the folder {named}:\n{said}");
    assert!(
        said.contains("another") || said.contains("in use") || said.contains("locked"),
        "and says why:\n{said}"
    );
    let written = fill(&first, 1);
    assert_eq!(held(&store_of(&first)), written);
}

/// Replaces bytes of a file and answers what they were.
fn change(path: &Path, at: usize, change: impl FnOnce(&mut u8)) -> u8 {
    let mut bytes = std::fs::read(path).expect("the file can be read");
    let before = bytes[at];
    change(&mut bytes[at]);
    std::fs::write(path, bytes).expect("the file can be written");
    before
}

#[test]
fn a_folder_of_a_later_version_is_refused_and_stays_as_it_is() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (mut collector, written) = stopped(folder.path(), 20);
    let store = store_of(&collector);
    let manifest = std::fs::read_to_string(store.join("MANIFEST")).expect("a manifest");
    // Whoever wrote it was a later version: its first line says so, and its checksum is right.
    let later = later_manifest(&manifest);
    std::fs::write(store.join("MANIFEST"), &later).expect("it can be written");
    let before = contents(&store);
    let said = refused(&mut collector);
    assert!(said.contains("newer") && said.contains("MANIFEST"), "it says what is wrong, and where:\n{said}");
    let changed: Vec<_> = before
        .iter()
        .filter(|(path, bytes)| std::fs::read(path).ok().as_ref() != Some(bytes))
        .map(|(path, _)| path)
        .collect();
    assert!(changed.is_empty(), "{changed:?} changed");
    assert_eq!(contents(&store).len(), before.len(), "nothing was added");
    std::fs::write(store.join("MANIFEST"), &manifest).expect("it can be written");
    collector.restart();
    assert_eq!(held(&store), written);
}

/// The same manifest as version 99 would begin it, with the checksum that its last line then holds.
fn later_manifest(text: &str) -> String {
    let rest = text.strip_prefix("pantau-store\t1\n").expect("the present version");
    let (body, _) = rest.rsplit_once("checksum\t").expect("a checksum");
    let body = format!("pantau-store\t99\n{body}");
    let sum = crc32c(body.as_bytes());
    format!("{body}checksum\t{sum:08x}\n")
}

/// CRC-32C bit by bit (RFC 3720, B.4): a second opinion, and the tests need no crate for it.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |sum: u32, _| (sum >> 1) ^ (0x82f6_3b78 & (sum & 1).wrapping_neg());
    !bytes.iter().fold(!0, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), step))
}

#[test]
fn a_block_with_a_flipped_byte_is_named_and_the_rest_is_served() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (mut collector, written) = stopped(folder.path(), 20);
    let store = store_of(&collector);
    let victim = blocks(&store)
        .into_iter()
        .max_by_key(|path| std::fs::metadata(path).map_or(0, |meta| meta.len()))
        .expect("a block");
    let name = victim.file_name().expect("a name").to_string_lossy().into_owned();
    // The last bytes say where everything lies: without them there is no block.
    let length = std::fs::read(&victim).expect("a block").len();
    let before = change(&victim, length - 6, |byte| *byte ^= 0x40);
    collector.restart();
    let said = collector.running().log();
    assert!(said.contains(&name) && said.contains("damaged"), "the damage is named:\n{said}");
    let first = labels(0);
    let wanted = &written[&first];
    let newest = wanted.last().expect("samples").0;
    let at = format!("{}.{:03}", newest / 1000, newest % 1000);
    let last_minutes = collector.value(&format!("count(count_over_time(troubled[10m] @ {at}))"));
    assert_eq!(last_minutes, Some(SERIES as f64), "what lies elsewhere is served");
    collector.running().stop();
    // Nothing was thrown away: the block is there with its bytes, under whatever name, and mending it mends the store.
    let set_aside: Vec<PathBuf> =
        contents(&store).into_keys().filter(|path| path.to_string_lossy().contains(&name)).collect();
    let [kept] = &set_aside[..] else { panic!("one file is the damaged block: {set_aside:?}") };
    let mut bytes = std::fs::read(kept).expect("it can be read");
    assert_eq!(bytes.len(), length);
    bytes[length - 6] = before;
    std::fs::write(kept, &bytes).expect("it can be written");
}

#[test]
fn damage_within_a_block_is_told_to_who_reads_it_and_to_nobody_else() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (mut collector, written) = stopped(folder.path(), 20);
    let store = store_of(&collector);
    let victim = blocks(&store).into_iter().next().expect("a block");
    let name = victim.file_name().expect("a name").to_string_lossy().into_owned();
    // Behind the header lie samples.
    let before = change(&victim, 200, |byte| *byte ^= 0x10);
    collector.restart();
    let span_ms = 24 * HOUR_MS;
    let end = writer::now().as_millis();
    let whole = ask(&collector, &format!("count(count_over_time(troubled[{span_ms}ms]))"), end);
    assert!(
        whole.0 != 200 && whole.1.contains(&name),
        "whoever reads the damage is told where it lies: {whole:?}"
    );
    let recent = ask(&collector, "count(count_over_time(troubled[1h]))", end);
    assert_eq!(recent.0, 200, "who reads something else is not: {recent:?}");
    collector.running().stop();
    change(&victim, 200, |byte| *byte = before);
    assert_eq!(held(&store), written, "nothing else was touched");
}

fn ask(collector: &Collector, query: &str, at_ms: i64) -> (u16, String) {
    let form = format!("query={query}&time={}.{:03}", at_ms / 1000, at_ms % 1000).into_bytes();
    let url = format!("{}/api/v1/query", collector.base);
    let answer = collector.http.post(&url, &[("content-type", "application/x-www-form-urlencoded")], form);
    let answer = answer.expect("an answer");
    (answer.status, answer.body)
}

#[test]
fn without_room_writes_are_turned_away_and_reads_go_on() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut collector = Collector::start(folder.path(), SETTINGS);
    let written = fill(&collector, 1);
    collector.running().stop();
    let disk = rustix::fs::statvfs(folder.path()).expect("the disk can be asked");
    let (free, size) = (disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize);
    let config = folder.path().join("pantau.yaml");
    let usual = std::fs::read_to_string(&config).expect("the configuration");
    // More than there is free, less than the disk has.
    let reserve = free + (size - free) / 2;
    std::fs::write(&config, format!("{usual}storage: {{disk_reserve: {reserve}}}\n"))
        .expect("it can be written");
    collector.restart();
    let extra = Labels::from_pairs([("__name__", "no_room")]);
    let body = writer::body(&[(&extra, &[(writer::now(), 1.0)])]);
    let turned_away = wait_for("writes to be turned away", Duration::from_secs(30), || {
        let answer = writer::send(&collector.http, &collector.base, body.clone()).expect("an answer");
        (answer.status != 204).then_some(answer)
    });
    assert_eq!(turned_away.status, 503, "{}", turned_away.body);
    assert!(turned_away.body.contains("space"), "it says why: {}", turned_away.body);
    let end = writer::now().as_millis();
    let (status, answer) = ask(&collector, "count(count_over_time(troubled[2h]))", end);
    assert!(
        status == 200 && answer.contains(&format!("\"{SERIES}\"")),
        "what is there can be read: {answer}"
    );
    collector.running().stop();
    std::fs::write(&config, usual).expect("it can be written");
    collector.restart();
    let answer = writer::send(&collector.http, &collector.base, body).expect("an answer");
    assert_eq!(answer.status, 204, "with room it goes on: {}", answer.body);
    assert_eq!(held(&store_of(&collector)), written);
}

#[test]
fn the_folder_is_where_the_configuration_says() {
    // A guard for the tests above: they look into this folder, and would find nothing wrong in a wrong one.
    let folder = tempfile::tempdir().expect("a temporary folder");
    let collector = Collector::start(folder.path(), SETTINGS);
    fill(&collector, 1);
    assert!(store_of(&collector).join("LOCK").exists(), "{}", peers::root().display());
}
