//! What reading costs from blocks: 1,000 series over 6 h at 15 s, warm, select and read together.
//! `cargo bench -p tsdb --bench reading`; the best of some runs counts, as the machine has other work too.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use journal::disk::pretend::PretendDisk;
use model::{Columns, Labels, MatchOp, Matcher, Selection, SeriesSource, Timestamp};
use tsdb::{Options, Store, WriteBatch};

const HOSTS: usize = 1_000;
const METRICS: usize = 4;
const STEP_MS: i64 = 15_000;
const HOURS: i64 = 8;
const RUNS: usize = 30;
const START_MS: i64 = 1_793_664_000_000;

fn labels(host: usize, metric: usize) -> Labels {
    Labels::from_pairs([
        ("__name__", format!("metric_{metric}")),
        ("instance", format!("node-{host:04}.example:9100")),
        ("job", "node".to_owned()),
        ("region", format!("33.{:02}", host % 35)),
    ])
}

fn fill(store: &Store) {
    let series: Vec<_> = (0..HOSTS)
        .flat_map(|host| (0..METRICS).map(move |metric| (host, metric)))
        .map(|(host, metric)| store.resolve(&labels(host, metric)).expect("room"))
        .collect();
    let mut values = vec![0u64; series.len()];
    for round in 0..HOURS * 3_600_000 / STEP_MS {
        let time = Timestamp::from_millis(START_MS + round * STEP_MS);
        let mut samples = Vec::with_capacity(series.len());
        for (index, series) in series.iter().enumerate() {
            values[index] += (round as u64 * 7919 + index as u64 * 104_729) % 1_500;
            samples.push((*series, time, values[index] as f64 / 100.0));
        }
        let batch = WriteBatch { samples, ..WriteBatch::default() };
        store.write(batch, |written| assert!(written.is_ok(), "{written:?}"));
        if round % 240 == 0 {
            store.flush().expect("a whole disk");
            store.maintain(time).expect("a whole disk");
        }
    }
    store.flush().expect("a whole disk");
    store.maintain(Timestamp::from_millis(START_MS + HOURS * 3_600_000)).expect("a whole disk");
}

fn main() {
    let disk = Arc::new(PretendDisk::new());
    let now = Timestamp::from_millis(START_MS);
    let store = Store::open(disk, Path::new("/store"), Options::default(), Box::new(()), now)
        .expect("an empty folder");
    fill(&store);
    let stats = store.stats();
    println!("{} samples in memory, blocks: {:?}", stats.samples, stats.blocks);
    let questions = [
        ("1,000 series x 6 h", vec![Matcher::equal("__name__", "metric_1")]),
        (
            "1 series x 6 h",
            vec![
                Matcher::equal("__name__", "metric_1"),
                Matcher::equal("instance", "node-0500.example:9100"),
            ],
        ),
        (
            "100 series x 6 h, by a pattern",
            vec![
                Matcher::equal("__name__", "metric_1"),
                Matcher::new("instance", MatchOp::Regex, "node-05.*").expect("valid"),
            ],
        ),
    ];
    for (name, matchers) in questions {
        let selection = Selection {
            matchers: &matchers,
            start: Timestamp::from_millis(START_MS),
            end: Timestamp::from_millis(START_MS + 6 * 3_600_000 - 1),
        };
        let (mut best, mut best_select, mut samples, mut series) = (Duration::MAX, Duration::MAX, 0, 0);
        let mut columns = Columns::default();
        for _ in 0..RUNS {
            let begun = Instant::now();
            (samples, series) = (0, 0);
            let mut set = store.select(&selection).expect("readable");
            best_select = best_select.min(begun.elapsed());
            while set.advance().expect("readable") {
                set.read(&mut columns).expect("readable");
                samples += columns.len();
                series += 1;
            }
            best = best.min(begun.elapsed());
        }
        println!("{name}: {series} series, {samples} samples, {best:?} (of this select {best_select:?})");
    }
}
