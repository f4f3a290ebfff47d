//! `bench store`: the same samples to us, VictoriaMetrics and Prometheus, from one printed seed, in one run.
//!
//! Three streams (`streams.rs`) of hosts as node_exporter tells of them (`bench/stream.rs`). CPU is each server's own, from the first request
//! until it has nothing left to do: flushes, merges and compactions count. Bytes are the apparent sizes of files.
//!
//! Environment: `PANTAU_BENCH_STORE_QUICK=1` writes 12 h instead of 36 and a tenth of the million's rounds, and says so on each line;
//! `PANTAU_BENCH_STORE_PARTS=streams,journal,million,replay,library` runs some parts alone;
//! `PANTAU_BENCH_STORE_MILLION_ROUNDS=N` gives the million so many samples instead of 30 (150 are a window before it is flushed);
//! `PANTAU_BENCH_STORE_PROMETHEUS=all` sends all three streams to Prometheus, not only the second (it takes eight times our CPU).

use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::report::{Better, Figure};
use crate::writer;

pub mod feed;
mod library;
pub mod servers;
pub mod streams;

use super::stream::{self, Hosts};
use feed::{Fed, feed, send};
use servers::{Kind, Server, bytes_of};
use streams::{Form, Span};

/// Seed of the values and of the scattered times.
pub const SEED: u64 = 20_261_123;

/// What a bench needs that is more than an ordinary sender may do.
pub(crate) const OUR_LIMITS: &str = "ingest: {series_per_sender_max: 4000000, new_series_per_minute_max: 4000000}\nstorage: {series_max: 4000000}";

const SERIES: usize = 10_000;
const INTERVAL_MS: i64 = 15_000;
const HOUR_MS: i64 = 3_600_000;
/// Level-0 and level-1 cells of our store: the main span is whole cells, so that all of it can be compacted.
const CELL_MS: i64 = 2 * HOUR_MS;
const LARGE_CELL_MS: i64 = 12 * HOUR_MS;
/// Samples behind the main span, so that it is past for everyone's flushes.
const TAIL_MS: i64 = 40 * 60_000;

/// How much is done.
#[derive(Clone, Debug)]
struct Plan {
    hours: i64,
    million_rounds: usize,
    prometheus_everywhere: bool,
    parts: Vec<String>,
    quick: bool,
}

impl Plan {
    fn read() -> Self {
        let text = |name| std::env::var(name).unwrap_or_default();
        let quick = text("PANTAU_BENCH_STORE_QUICK") == "1";
        let rounds = text("PANTAU_BENCH_STORE_MILLION_ROUNDS").parse().ok();
        let parts = match &*text("PANTAU_BENCH_STORE_PARTS") {
            "" => "streams,journal,million,replay,library".to_owned(),
            some => some.to_owned(),
        };
        Self {
            hours: if quick { 12 } else { 36 },
            million_rounds: rounds.unwrap_or(if quick { 5 } else { 30 }).max(2),
            prometheus_everywhere: text("PANTAU_BENCH_STORE_PROMETHEUS") == "all",
            parts: parts.split(',').map(str::to_owned).collect(),
            quick,
        }
    }

    fn wants(&self, part: &str) -> bool {
        self.parts.iter().any(|have| have == part)
    }
}

/// Runs everything and returns the figures.
///
/// # Errors
/// A server that does not start, refuses what is sent or does not hold it.
pub fn run() -> Result<Vec<Figure>> {
    let plan = Plan::read();
    eprintln!(
        "store: seed {SEED}, {SERIES} series at 15 s, {} h{}, parts {}",
        plan.hours,
        if plan.quick { " (QUICK: not the whole bench)" } else { "" },
        plan.parts.join(",")
    );
    eprintln!(
        "store: the first stream goes to us as our agents send it (remote write 2.0, zstd, identity), to the peers as the same \
         batches in remote write 1.0; the others are remote write 1.0 for all"
    );
    let mut figures = Vec::new();
    if plan.wants("streams") {
        figures.extend(all_streams(&plan)?);
    }
    if plan.wants("journal") {
        figures.extend(journal()?);
    }
    if plan.wants("million") {
        figures.extend(million(&plan)?);
    }
    if plan.wants("replay") {
        figures.extend(replay()?);
    }
    if plan.wants("library") {
        figures.extend(library::matcher()?);
    }
    Ok(figures)
}

fn figure(
    name: &'static str,
    unit: &'static str,
    better: Better,
    ours: f64,
    peer: Option<(&'static str, f64)>,
    goal: Option<f64>,
) -> Figure {
    Figure { name, unit, pantau: ours, peer, goal, better }
}

/// The beginning of the newest cell that ended at least so long ago.
fn cell_before(cell_ms: i64, ago_ms: i64) -> i64 {
    (writer::now().as_millis() - ago_ms).div_euclid(cell_ms) * cell_ms - cell_ms
}

/// The time from which on nothing is past for our store, nor will be for ten minutes: samples behind it stand in the journal (a window of
/// two hours ends half an hour after its end).
fn window_start() -> i64 {
    (writer::now().as_millis() - CELL_MS / 4 + 600_000).div_euclid(CELL_MS) * CELL_MS
}

/// So many rounds between there and now, closer together than asked where the window is young.
fn window(rounds: usize, interval_ms: i64) -> Span {
    let start_ms = window_start();
    let most = (writer::now().as_millis() - start_ms - 30_000) / rounds as i64;
    Span { start_ms, interval_ms: interval_ms.min(most), rounds }
}

fn rounds_of(span_ms: i64, interval_ms: i64) -> usize {
    usize::try_from(span_ms / interval_ms).expect("a span is not negative")
}

/// What one server did with one stream.
struct Outcome {
    kind: Kind,
    fed: Fed,
    bytes_per_sample: f64,
    query_ms: f64,
}

fn all_streams(plan: &Plan) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (number, form) in [(1, Form::Agents { ours: true }), (2, Form::Sharded), (3, Form::Scattered)] {
        let mut outcomes = Vec::new();
        for kind in [Kind::Pantau, Kind::Victoria, Kind::Prometheus] {
            if kind == Kind::Prometheus && number != 2 && !plan.prometheus_everywhere {
                eprintln!("stream {number}: prometheus left out (PANTAU_BENCH_STORE_PROMETHEUS=all)");
                continue;
            }
            eprintln!("stream {number} ({form:?}):");
            let (outcome, read) =
                stream(plan, kind, form).with_context(|| format!("stream {number}, {}", kind.name()))?;
            outcomes.push(outcome);
            if number == 1 {
                figures.extend(read);
            }
        }
        figures.extend(stream_figures(number, &outcomes)?);
    }
    Ok(figures)
}

fn stream(plan: &Plan, kind: Kind, form: Form) -> Result<(Outcome, Vec<Figure>)> {
    let folder = tempfile::tempdir()?;
    let form = if form == (Form::Agents { ours: true }) {
        Form::Agents { ours: kind == Kind::Pantau }
    } else {
        form
    };
    let mut hosts = Hosts::new(SERIES, SEED);
    let mut server = Server::start(kind, folder.path(), SERIES / stream::PER_HOST)?;
    let end = cell_before(LARGE_CELL_MS, TAIL_MS + 60_000) + LARGE_CELL_MS;
    let start_ms = end - plan.hours * HOUR_MS;
    let rounds = rounds_of(plan.hours * HOUR_MS + TAIL_MS, INTERVAL_MS);
    let fed = feed(&mut server, form, &mut hosts, Span { start_ms, interval_ms: INTERVAL_MS, rounds }, SEED)?;
    server.compact()?;
    check(&server, plan, end)?;
    let query_ms = query_cost(&server, end)?;
    eprintln!("  {:<17} {query_ms:.1} ms of CPU a query of 1,024 series x 6 h", kind.name());
    if kind == Kind::Pantau {
        // What came late and is not yet much waits in memory: nothing of the main span is left out.
        server.flush()?;
        server.words(&["store", "compact"])?;
    } else {
        server.stop();
    }
    let past = (window_start().min(start_ms + rounds as i64 * INTERVAL_MS) - start_ms) / INTERVAL_MS;
    let bytes_per_sample = weigh(&server, (past * SERIES as i64) as f64, fed.samples as f64)?;
    eprintln!("  {:<17} {bytes_per_sample:.3} bytes a sample, compacted", kind.name());
    let read = if kind == Kind::Pantau && matches!(form, Form::Agents { .. }) {
        library::reading(&server.data.join("store"), end - 6 * HOUR_MS, end)?
    } else {
        Vec::new()
    };
    Ok((Outcome { kind, fed, bytes_per_sample, query_ms }, read))
}

/// CPU of one query that reads 1,024 series of six hours, of several after a first one.
fn query_cost(server: &Server, end: i64) -> Result<f64> {
    const QUERIES: u32 = 10;
    let hosts = library::EIGHT_HOSTS;
    let at = end as f64 / 1000.0 - 0.001;
    let query =
        format!("sum(count_over_time(node_cpu_seconds_total{{instance=~\"{hosts}\"}}[6h] @ {at:.3}))");
    let http = crate::http::Http::default();
    let ask = || http.query_value(&server.base, &query).with_context(|| format!("{query} has no answer"));
    ask()?;
    let before = server.usage()?.cpu;
    for _ in 0..QUERIES {
        ask()?;
    }
    Ok((server.usage()?.cpu - before).as_secs_f64() * 1e3 / f64::from(QUERIES))
}

/// One host's samples of the main span's last hours can be read, all of them.
fn check(server: &Server, plan: &Plan, end: i64) -> Result<()> {
    let hours = plan.hours.min(12);
    let wanted = (stream::PROCESSOR_SERIES * rounds_of(hours * HOUR_MS, INTERVAL_MS)) as f64;
    // A range is open at its left end and closed at its right: both half a second before a round that begins the span.
    let at = end as f64 / 1000.0 - 0.001;
    server.check_stored(&format!("sum(count_over_time(node_cpu_seconds_total{{job=\"node\",instance=\"node-0000.dc.example:9100\"}}[{hours}h] @ {at:.3}))"), wanted)
}

/// Bytes a sample of what is compacted. Our blocks hold what is before the present window (the rest stands in the journal),
/// Prometheus' say what they hold, VictoriaMetrics' parts hold everything.
fn weigh(server: &Server, past: f64, all: f64) -> Result<f64> {
    match server.kind {
        Kind::Pantau => {
            let (blocks, journal) = our_bytes(&server.data)?;
            let info: serde_json::Value = serde_json::from_str(&server.words(&["store", "info", "--json"])?)?;
            let held = info["blocks"].as_array().context("a list of blocks")?;
            let samples: f64 = held.iter().filter_map(|block| block["samples"].as_f64()).sum();
            eprintln!(
                "  pantau: {} blocks, {samples} samples in {blocks} bytes; {journal} of journal",
                held.len()
            );
            ensure!(samples >= past * 0.99, "{samples} samples of {past} stand in blocks");
            Ok(blocks as f64 / samples)
        }
        Kind::Victoria => {
            let parts = bytes_of(&server.data, |path| {
                !path.starts_with("cache") && path.file_name() != Some("flock.lock".as_ref())
            })?;
            Ok(parts as f64 / all)
        }
        Kind::Prometheus => {
            let (bytes, samples) = prometheus_blocks(&server.data)?;
            ensure!(samples > 0.0, "prometheus has made no block");
            Ok(bytes as f64 / samples)
        }
    }
}

/// Bytes of our blocks (with their manifest) and of our journal.
fn our_bytes(data: &Path) -> Result<(u64, u64)> {
    let store = data.join("store");
    let is_block = |path: &Path| path.starts_with("blocks") || path == Path::new("MANIFEST");
    let blocks = if store.join("blocks").exists() { bytes_of(&store, is_block)? } else { 0 };
    Ok((blocks, bytes_of(&store, |path| !is_block(path))?))
}

/// Bytes and samples of Prometheus' finished blocks.
fn prometheus_blocks(data: &Path) -> Result<(u64, f64)> {
    let (mut bytes, mut samples) = (0, 0.0);
    for entry in std::fs::read_dir(data)? {
        let block = entry?.path();
        if let Ok(meta) = std::fs::read_to_string(block.join("meta.json")) {
            let meta: serde_json::Value = serde_json::from_str(&meta)?;
            samples += meta["stats"]["numSamples"].as_f64().unwrap_or(0.0);
            bytes += bytes_of(&block, |_| true)?;
        }
    }
    Ok((bytes, samples))
}

fn stream_figures(number: usize, outcomes: &[Outcome]) -> Result<Vec<Figure>> {
    let ours = outcomes.first().context("ours comes first")?;
    let peers = &outcomes[1..];
    let names: [&'static str; 3] = match number {
        1 => [
            "ingest, samples per CPU second, agents' batches",
            "bytes a sample, compacted, first stream",
            "peak RSS, first stream",
        ],
        2 => [
            "ingest over HTTP (remote write 1.0), samples per CPU second",
            "bytes a sample, compacted, second stream",
            "peak RSS at 10,000 series",
        ],
        _ => [
            "ingest, samples per CPU second, scattered times",
            "bytes a sample, compacted, third stream",
            "peak RSS, third stream",
        ],
    };
    let mut figures = Vec::new();
    for peer in peers {
        let name = peer.kind.name();
        let is_victoria = peer.kind == Kind::Victoria;
        let theirs = peer.fed.per_cpu_second();
        let goal = (number == 2).then_some(theirs * if is_victoria { 2.0 } else { 8.0 });
        figures.push(figure(
            names[0],
            "samples/s",
            Better::Higher,
            ours.fed.per_cpu_second(),
            Some((name, theirs)),
            goal,
        ));
        let goal = match number {
            1 => Some(1.2),
            2 => Some(1.3),
            _ => is_victoria.then_some(peer.bytes_per_sample),
        };
        figures.push(figure(
            names[1],
            "bytes",
            Better::Lower,
            ours.bytes_per_sample,
            Some((name, peer.bytes_per_sample)),
            goal,
        ));
        let goal = (number == 2 && is_victoria).then_some(peer.fed.rss_peak as f64 * 0.8 / MEBIBYTE);
        let rss = |fed: &Fed| fed.rss_peak as f64 / MEBIBYTE;
        figures.push(figure(
            names[2],
            "MiB",
            Better::Lower,
            rss(&ours.fed),
            Some((name, rss(&peer.fed))),
            goal,
        ));
        if number == 2 {
            let queries = (name, peer.query_ms);
            let row = "a query of 1,024 series x 6 h, CPU of the server";
            figures.push(figure(row, "ms", Better::Lower, ours.query_ms, Some(queries), None));
        }
    }
    Ok(figures)
}

const MEBIBYTE: f64 = 1024.0 * 1024.0;

/// The journal before any flush, and the first block.
fn journal() -> Result<Vec<Figure>> {
    eprintln!("journal and fresh block:");
    let folder = tempfile::tempdir()?;
    let mut hosts = Hosts::new(SERIES, SEED);
    let mut ours = Server::start(Kind::Pantau, folder.path(), SERIES / stream::PER_HOST)?;
    let form = Form::Agents { ours: true };
    let span = window(rounds_of(CELL_MS * 3 / 4, INTERVAL_MS), INTERVAL_MS);
    let samples = send(&ours, form, &mut hosts, span, SEED)?;
    let (blocks, journal) = our_bytes(&ours.data)?;
    eprintln!("  pantau: {samples} samples, {journal} bytes of journal, {blocks} of blocks and manifest");
    let journal = journal as f64 / samples as f64;
    ours.stop();
    let fresh = fresh_block(folder.path())?;

    let mut hosts = Hosts::new(SERIES, SEED);
    let prometheus = Server::start(Kind::Prometheus, folder.path(), 0)?;
    let samples = send(&prometheus, Form::Agents { ours: false }, &mut hosts, span, SEED)?;
    let theirs = bytes_of(&prometheus.data.join("wal"), |_| true)? as f64 / samples as f64;
    eprintln!("  journal: ours {journal:.3}, prometheus {theirs:.3}; fresh block {fresh:.3} bytes a sample");
    Ok(vec![
        figure(
            "journal bytes a sample, first stream",
            "bytes",
            Better::Lower,
            journal,
            Some(("prometheus", theirs)),
            Some(4.0),
        ),
        figure("bytes a sample, fresh blocks, first stream", "bytes", Better::Lower, fresh, None, Some(1.7)),
    ])
}

/// Bytes a sample of one whole window that became a block at once: it cannot have been merged with another.
fn fresh_block(folder: &Path) -> Result<f64> {
    let mut hosts = Hosts::new(SERIES, SEED);
    let mut ours = Server::start(Kind::Pantau, folder, SERIES / stream::PER_HOST)?;
    let rounds = rounds_of(CELL_MS, INTERVAL_MS);
    let span = Span { start_ms: window_start() - CELL_MS, interval_ms: INTERVAL_MS, rounds };
    let samples = send(&ours, Form::Agents { ours: true }, &mut hosts, span, SEED)?;
    ours.flush()?;
    let (blocks, _) = our_bytes(&ours.data)?;
    Ok(blocks as f64 / samples as f64)
}

/// A million series, one sample a minute each; and what a sample costs with ten thousand, a hundred thousand and a million.
fn million(plan: &Plan) -> Result<Vec<Figure>> {
    let sizes = [(10_000, INTERVAL_MS, 360), (100_000, 60_000, 40), (1_000_000, 60_000, plan.million_rounds)];
    let mut costs = [Vec::new(), Vec::new()];
    let mut memory = Vec::new();
    for (series, interval_ms, rounds) in sizes {
        eprintln!("{series} series:");
        for (costs, kind) in costs.iter_mut().zip([Kind::Pantau, Kind::Victoria]) {
            let (cost, fed) = sized(kind, series, interval_ms, rounds)?;
            costs.push(cost);
            if series == 1_000_000 {
                memory.push(fed);
            }
        }
    }
    let mebibytes = |bytes: u64| bytes as f64 / MEBIBYTE;
    let (ours, theirs) = (memory[0], memory[1]);
    let lower = |name, ours, theirs, goal| {
        figure(name, "MiB", Better::Lower, ours, Some(("victoria-metrics", theirs)), goal)
    };
    let mut figures = vec![
        lower(
            "RSS peak at 1,000,000 series, a sample a minute",
            mebibytes(ours.rss_peak),
            mebibytes(theirs.rss_peak),
            Some(mebibytes(theirs.rss_peak).min(1536.0)),
        ),
        lower(
            "RSS settled at 1,000,000 series",
            mebibytes(ours.rss_settled),
            mebibytes(theirs.rss_settled),
            None,
        ),
    ];
    let names = [
        "ingest CPU per sample, 10 k series",
        "ingest CPU per sample, 100 k series",
        "ingest CPU per sample, 1 M series",
    ];
    for (name, (ours, theirs)) in names.into_iter().zip(costs[0].iter().zip(&costs[1])) {
        figures.push(figure(name, "ns", Better::Lower, *ours, Some(("victoria-metrics", *theirs)), None));
    }
    let spread = |costs: &[f64]| {
        costs.iter().copied().fold(0.0, f64::max) / costs.iter().copied().fold(f64::INFINITY, f64::min)
    };
    let (ours, theirs) = (spread(&costs[0]), spread(&costs[1]));
    figures.push(figure(
        "ingest CPU per sample, dearest by cheapest of these",
        "times",
        Better::Lower,
        ours,
        Some(("victoria-metrics", theirs)),
        Some(2.0),
    ));
    Ok(figures)
}

/// Nanoseconds of CPU a sample once all series are known, and what the whole took.
fn sized(kind: Kind, series: usize, interval_ms: i64, rounds: usize) -> Result<(f64, Fed)> {
    let folder = tempfile::tempdir()?;
    let mut hosts = Hosts::new(series, SEED);
    let mut server = Server::start(kind, folder.path(), 0)?;
    // What is measured is taking in what is new: no server has to take anything of it for late.
    let Span { start_ms, interval_ms, .. } = window(rounds, interval_ms);
    let first = Span { start_ms, interval_ms, rounds: 1 };
    let known = feed(&mut server, Form::Sharded, &mut hosts, first, SEED)?;
    let rest = Span { start_ms: start_ms + interval_ms, interval_ms, rounds: rounds - 1 };
    let fed = feed(&mut server, Form::Sharded, &mut hosts, rest, SEED)?;
    eprintln!(
        "  {:<17} {series} series: {:.0} ns CPU a new series, {:.0} ns a sample",
        kind.name(),
        known.nanos_per_sample(),
        fed.nanos_per_sample()
    );
    Ok((fed.nanos_per_sample(), fed))
}

/// From kill -9 to ready with 15 million samples of two hours in the journal.
fn replay() -> Result<Vec<Figure>> {
    const WIDE: usize = 31_250;
    eprintln!("replay:");
    let mut times = Vec::new();
    for kind in [Kind::Pantau, Kind::Victoria, Kind::Prometheus] {
        let folder = tempfile::tempdir()?;
        let mut hosts = Hosts::new(WIDE, SEED);
        let mut server = Server::start(kind, folder.path(), 0)?;
        let span = window(rounds_of(CELL_MS, INTERVAL_MS), INTERVAL_MS);
        let samples = send(&server, Form::Sharded, &mut hosts, span, SEED)?;
        server.settle()?;
        server.process().kill();
        if kind == Kind::Pantau {
            let (blocks, journal) = our_bytes(&server.data)?;
            eprintln!("  pantau: {journal} bytes of journal, {blocks} of blocks and manifest");
        }
        let mut tries = Vec::new();
        for _ in 0..3 {
            server.spawn()?;
            tries.push(server.wait_ready().as_secs_f64());
            server.process().kill();
        }
        // The median: the first one finds the files in the system's cache as the others do, since they were just written.
        tries.sort_by(f64::total_cmp);
        eprintln!("  {:<17} {samples} samples: {tries:.3?} s", kind.name());
        times.push((kind.name(), tries[1]));
    }
    let ours = times[0].1;
    let row = |peer| {
        figure(
            "kill -9 to ready, 15 M samples in 2 h of journal",
            "s",
            Better::Lower,
            ours,
            Some(peer),
            Some(1.0),
        )
    };
    Ok(times[1..].iter().map(|peer| row(*peer)).collect())
}
