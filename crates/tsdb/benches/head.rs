//! What writing costs at 10 thousand, 100 thousand and a million series, what a million series of 60 samples take in memory, and how
//! long a start takes that replays 15 million samples.
//! `cargo bench -p tsdb --bench head [apply|memory|replay]`; needs some GB of disk in the temporary folder, and 2 GB of memory. With
//! PANTAU_BENCH_REPLAY=FOLDER the replay is that of a store's folder (a copy of it: its journal goes on).

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use journal::SyncPolicy;
use journal::disk::RealDisk;
use model::{Labels, Timestamp};
use tsdb::{Options, SeriesRef, Store, WriteBatch};

const T0: i64 = 1_700_000_000_000;

fn labels(series: usize) -> Labels {
    let (host, metric) = (series / 500, series % 500);
    Labels::from_pairs([
        ("__name__", format!("node_metric_{:03}_total", metric / 4)),
        ("cpu", (metric % 4).to_string()),
        ("instance", format!("node-{host:04}.kab{:02}.example", host % 35)),
        ("job", "node".to_owned()),
        ("mode", ["idle", "user", "system"][metric % 3].to_owned()),
        ("region", format!("33.{:02}", host % 35)),
        ("site", format!("site-{}", host % 35)),
    ])
}

/// Half of the series constant, a third counters, the rest gauges with two decimals.
fn value(series: usize, round: usize) -> f64 {
    let noise = (series * 7919 + round * 104_729) % 1000;
    match series % 6 {
        0..=2 => series as f64,
        3 | 4 => (series * 1000 + round * (series % 977) + noise % 50) as f64,
        _ => (5000 + noise) as f64 / 100.0,
    }
}

fn options() -> Options {
    Options {
        series_max: 2_000_000,
        head_bytes_max: 8 << 30,
        journal_bytes_max: 64 << 30,
        sync: SyncPolicy::Every(Duration::from_millis(200)),
        ..Options::default()
    }
}

fn open(folder: &Path) -> Store {
    let now = Timestamp::from_millis(T0);
    Store::open(Arc::new(RealDisk), folder, options(), Box::new(()), now).expect("the folder is ours")
}

/// Writes rounds in batches of 2,000, a host's jitter apart, and waits for the last one.
fn write(store: &Store, series: &[SeriesRef], rounds: std::ops::Range<usize>, step_ms: i64) -> Duration {
    let begun = cpu();
    let (sender, answers) = channel();
    for round in rounds {
        for (number, part) in series.chunks(2000).enumerate() {
            let time = Timestamp::from_millis(T0 + round as i64 * step_ms + number as i64 % 997);
            let sample =
                |(at, &series): (usize, &SeriesRef)| (series, time, value(number * 2000 + at, round));
            let samples = part.iter().enumerate().map(sample).collect();
            let sender = sender.clone();
            store.write(WriteBatch { samples, ..WriteBatch::default() }, move |answer| {
                sender.send(answer.is_ok()).expect("somebody waits");
            });
            assert!(answers.recv().expect("every batch is answered"), "the disk works");
        }
    }
    cpu() - begun
}

fn fill(store: &Store, series: usize) -> Vec<SeriesRef> {
    (0..series).map(|number| store.resolve(&labels(number)).expect("there is room")).collect()
}

/// CPU time of this process, or the wall's where that is not known.
fn cpu() -> Duration {
    let ticks = std::fs::read_to_string("/proc/self/stat").ok().and_then(|stat| {
        let fields: Vec<_> = stat.rsplit(')').next()?.split_whitespace().collect();
        Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
    });
    Duration::from_millis(10 * ticks.unwrap_or_default())
}

fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let resident = pages.and_then(|text| text.split_whitespace().nth(1)?.parse::<usize>().ok());
    4096 * resident.unwrap_or_default()
}

fn apply() {
    for count in [10_000, 100_000, 1_000_000] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = open(folder.path());
        let series = fill(&store, count);
        write(&store, &series, 0..2, 15_000);
        let rounds = 4_000_000 / count + 1;
        let took = write(&store, &series, 2..2 + rounds, 15_000);
        let nanos = took.as_nanos() as f64 / (rounds * count) as f64;
        println!("{count:>9} series: {nanos:.1} ns CPU a sample, journal, head and this bench together");
    }
}

fn memory() {
    let count = 1_000_000;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let before = resident();
    let store = open(folder.path());
    let series = fill(&store, count);
    let named = resident();
    write(&store, &series, 0..60, 60_000);
    let stats = store.stats();
    println!(
        "a series with 60 samples: {} bytes resident ({} of them before samples), {} by estimate ({} labels and index)",
        (resident() - before) / count,
        (named - before) / count,
        stats.head_bytes / count,
        stats.index_bytes / count,
    );
    println!("journal: {:.2} bytes a sample", stats.journal.bytes_written as f64 / (60 * count) as f64);
}

fn replay() {
    if let Some(given) = std::env::var_os("PANTAU_BENCH_REPLAY") {
        return replay_folder(Path::new(&given));
    }
    let count = 31_250;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = open(folder.path());
    let series = fill(&store, count);
    write(&store, &series, 0..480, 15_000);
    store.close().expect("the disk works");
    drop(store);
    replay_folder(folder.path());
}

fn replay_folder(folder: &Path) {
    for _ in 0..3 {
        let (begun, cpu_before) = (Instant::now(), cpu());
        let store = open(folder);
        let (wall, cpu_after) = (begun.elapsed(), cpu());
        let replay = store.replay();
        println!("{} samples replayed in {wall:.2?}, CPU {:.2?}", replay.samples, cpu_after - cpu_before);
    }
}

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    for (name, bench) in [("apply", apply as fn()), ("memory", memory), ("replay", replay)] {
        if wanted.is_empty() || wanted.iter().any(|word| word == name) {
            bench();
        }
    }
}
