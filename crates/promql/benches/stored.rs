//! What a range query costs over a store, stage by stage: `cargo bench -p promql --bench stored`. The data are those of the project's bench of
//! queries: counters of hundredths of a second, a third of which stands still in any interval, 6 h at 15 s; the older part lies in blocks.
//! Prints the least of some runs. `PANTAU_BENCH_RUNS=1` and a stage's name as argument are for counting instructions.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use journal::disk::pretend::PretendDisk;
use model::{Columns, Labels, Matcher, Selection, SeriesSource, Timestamp};
use promql::{Options, Threads};
use tsdb::{Store, WriteBatch};

const SERIES: usize = 2_048;
const STEP_MS: i64 = 15_000;
const ROUNDS: i64 = 1_464;
/// A full hour, and 7 s.
const START_MS: i64 = 1_793_664_007_000;

const MODES: [&str; 8] = ["user", "system", "idle", "iowait", "irq", "softirq", "steal", "nice"];

fn labels(at: usize) -> Labels {
    Labels::from_pairs([
        ("__name__", "node_cpu_seconds_total".to_owned()),
        ("cpu", (at / 8 % 16).to_string()),
        ("half", (at / (SERIES / 2)).to_string()),
        ("instance", format!("node-{:04}.dc.example:9100", at / 128)),
        ("job", "node".to_owned()),
        ("mode", MODES[at % 8].to_owned()),
    ])
}

fn random(state: &mut u64) -> f64 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1u64 << 53) as f64
}

fn fill(store: &Store) {
    let mut state = 1;
    let mut all: Vec<_> = (0..SERIES)
        .map(|at| (store.resolve(&labels(at)).expect("room"), (random(&mut state) * 1e8).round() * 0.01))
        .collect();
    for round in 0..ROUNDS {
        let time = Timestamp::from_millis(START_MS + round * STEP_MS);
        let mut samples = Vec::with_capacity(all.len());
        for (series, value) in &mut all {
            let moved = (random(&mut state) - 0.33).max(0.0) * 15.0;
            *value = ((*value + moved) / 0.01).round() * 0.01;
            samples.push((*series, time, *value));
        }
        store.write(WriteBatch { samples, ..WriteBatch::default() }, |written| assert!(written.is_ok()));
        if round % 240 == 0 {
            store.maintain(time).expect("a whole disk");
        }
    }
    store.flush().expect("a whole disk");
    // Windows that are over become blocks; the last one stays in memory.
    store.maintain(Timestamp::from_millis(START_MS + ROUNDS * STEP_MS)).expect("a whole disk");
}

fn end() -> Timestamp {
    Timestamp::from_millis((START_MS + (ROUNDS - 1) * STEP_MS) / 60_000 * 60_000)
}

fn start() -> Timestamp {
    Timestamp::from_millis(end().as_millis() - 6 * 3_600_000)
}

fn best(name: &str, runs: usize, mut run: impl FnMut() -> usize) {
    let (mut best, mut what) = (Duration::MAX, 0);
    for _ in 0..runs {
        let begun = Instant::now();
        what = run();
        best = best.min(begun.elapsed());
    }
    println!("{name:<44}{:>9.2} ms   {what:>9}", best.as_secs_f64() * 1e3);
}

fn read(store: &Store) -> usize {
    let matchers = [Matcher::equal("__name__", "node_cpu_seconds_total"), Matcher::equal("half", "0")];
    let selection = Selection { matchers: &matchers, start: start(), end: end() };
    let (mut columns, mut samples) = (Columns::default(), 0);
    let mut set = store.select(&selection).expect("readable");
    while set.advance().expect("readable") {
        set.read(&mut columns).expect("readable");
        samples += columns.len();
    }
    samples
}

fn main() {
    // Test runners that build all targets call this too, unoptimised; only `cargo bench` passes the flag.
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if !arguments.iter().any(|argument| argument == "--bench") {
        println!("skipped: run by cargo bench -p promql");
        return;
    }
    let runs = std::env::var("PANTAU_BENCH_RUNS").ok().and_then(|text| text.parse().ok()).unwrap_or(20);
    let wanted =
        |name: &str| arguments.iter().all(|argument| argument == "--bench" || name.contains(argument));
    let now = Timestamp::from_millis(START_MS);
    let disk = Arc::new(PretendDisk::new());
    let store = Store::open(disk, Path::new("/store"), tsdb::Options::default(), Box::new(()), now)
        .expect("an empty folder");
    fill(&store);
    let stats = store.stats();
    println!("{} samples in memory, blocks: {:?}", stats.samples, stats.blocks);
    if wanted("read") {
        best("read: 1,024 series, 6 h", runs, || read(&store));
    }
    let queries = [
        ("rate: each of 1,024 series", r#"rate(node_cpu_seconds_total{half="0"}[5m])"#),
        ("sum by (instance), 1,024", r#"sum by (instance) (rate(node_cpu_seconds_total{half="0"}[5m]))"#),
        ("sum by (mode), 2,048", "sum by (mode) (rate(node_cpu_seconds_total[5m]))"),
    ];
    for threads in [0, 1] {
        let options = Options { threads: Threads::new(threads), ..Options::default() };
        for (name, query) in queries.into_iter().filter(|(name, _)| wanted(name)) {
            best(&format!("{name}, {threads} threads beside"), runs, || {
                let step = Duration::from_secs(60);
                let answer =
                    promql::range(&store, query, start(), end(), step, &options).expect("it is right");
                answer.statistics.samples_read as usize
            });
        }
    }
}
