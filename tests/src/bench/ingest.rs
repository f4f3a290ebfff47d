//! `bench ingest`: the same remote write 1.0 stream to us, VictoriaMetrics and Prometheus, one after the other.
//!
//! Each gets the same bytes over one connection, as fast as it answers. CPU seconds are the server's own (user and system), from the
//! first request until five seconds after the last, so that what is put off (flushes, compaction) counts too.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use model::Timestamp;

use super::report::{Better, Figure};
use super::stream::{Hosts, SEED};
use crate::http::Http;
use crate::peers::{peer, program};
use crate::running::Running;
use crate::{free_port, usage, wait_for};

const SERIES: usize = 10_000;
const ROUNDS: usize = 360; // an hour and a half at 15 s
const SETTLE: Duration = Duration::from_secs(5);

struct Contender {
    name: &'static str,
    server: Running,
    write: String,
    query: String,
}

struct Measured {
    samples_per_cpu_second: f64,
    rss_bytes_peak: f64,
}

/// Runs all three and returns the figures.
pub fn run() -> Result<Vec<Figure>> {
    eprintln!("ingest: seed {SEED}, {SERIES} series, {ROUNDS} rounds of 15 s, remote write 1.0");
    let folder = tempfile::tempdir()?;
    let ours = measure(pantau(folder.path())?)?;
    let victoria = measure(victoria_metrics(folder.path())?)?;
    let prometheus = measure(prometheus(folder.path())?)?;
    let start = start_to_answer(folder.path())?;
    let throughput = |peer, value, goal| Figure {
        name: "ingest, samples per CPU second over HTTP, 10,000 series",
        unit: "samples/s",
        pantau: ours.samples_per_cpu_second,
        peer: Some((peer, value)),
        goal,
        better: Better::Higher,
    };
    let memory = |peer, value| Figure {
        name: "peak resident memory, 10,000 series",
        unit: "bytes",
        pantau: ours.rss_bytes_peak,
        peer: Some((peer, value)),
        goal: None,
        better: Better::Lower,
    };
    Ok(vec![
        throughput(
            "victoria-metrics",
            victoria.samples_per_cpu_second,
            Some(victoria.samples_per_cpu_second),
        ),
        throughput("prometheus", prometheus.samples_per_cpu_second, Some(prometheus.samples_per_cpu_second)),
        memory("victoria-metrics", victoria.rss_bytes_peak),
        memory("prometheus", prometheus.rss_bytes_peak),
        Figure {
            name: "from start to the first answer of query=node_load1",
            unit: "seconds",
            pantau: start,
            peer: None,
            goal: Some(2.0),
            better: Better::Lower,
        },
    ])
}

fn measure(mut contender: Contender) -> Result<Measured> {
    let http = Http::default();
    let mut stream = Hosts::new(SERIES, SEED);
    let now =
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).context("the clock stands before 1970")?;
    // The stream ends now: everyone accepts the last hours.
    let first = i64::try_from(now.as_millis())? - ROUNDS as i64 * 15_000;
    let pid = contender.server.pid();
    let before = usage::of(pid).context("the server ended")?;
    let started = Instant::now();
    for round in 0..ROUNDS {
        for body in stream.round(Timestamp::from_millis(first + round as i64 * 15_000)) {
            let answer = http.post(&contender.write, &HEADERS, body)?;
            ensure!(answer.status / 100 == 2, "{}: {} {}", contender.name, answer.status, answer.body);
        }
    }
    let wall = started.elapsed();
    std::thread::sleep(SETTLE);
    let after = usage::of(pid).context("the server ended")?;
    let samples = (SERIES * ROUNDS) as f64;
    check_stored(&http, &mut contender)?;
    let cpu = (after.cpu - before.cpu).as_secs_f64();
    eprintln!("{}: {cpu:.2} CPU s for {samples} samples, {:.1} s wall", contender.name, wall.as_secs_f64());
    contender.server.stop();
    Ok(Measured { samples_per_cpu_second: samples / cpu, rss_bytes_peak: after.rss_bytes_peak as f64 })
}

const HEADERS: [(&str, &str); 3] = [
    ("content-type", "application/x-protobuf"),
    ("content-encoding", "snappy"),
    ("x-prometheus-remote-write-version", "0.1.0"),
];

/// A server that answers 2xx and stores nothing would be the fastest.
fn check_stored(http: &Http, contender: &mut Contender) -> Result<()> {
    let base = contender.query.clone();
    let query = r#"sum(count_over_time({job="node",instance=~"node-.*"}[2h]))"#;
    let wanted = (SERIES * ROUNDS) as f64;
    let found = wait_for("the samples to be readable", Duration::from_secs(60), || {
        http.query_value(&base, query).filter(|found| *found >= wanted * 0.99)
    });
    ensure!(found <= wanted, "{} returns {found} samples of {wanted}", contender.name);
    Ok(())
}

fn pantau(folder: &Path) -> Result<Contender> {
    let port = free_port();
    let config = folder.join("pantau.yaml");
    let data = folder.join("pantau-data");
    std::fs::write(&config, quiet_collector(port, &data))?;
    let mut command = program("pantau-collector");
    let server = Running::start("pantau-collector", command.arg("--config").arg(&config), folder);
    ready("pantau", server, port, "/-/ready", "/api/v1/write")
}

/// A collector that watches nothing by itself, so that only the stream counts.
fn quiet_collector(port: u16, data: &Path) -> String {
    format!("listen: 127.0.0.1:{port}\ndata: {}\nagent: {{enabled: false}}\n", data.display())
}

fn victoria_metrics(folder: &Path) -> Result<Contender> {
    let port = free_port();
    let mut command = peer("usr/bin/victoria-metrics").context("benches need the peers")?;
    command
        .arg(format!("-httpListenAddr=127.0.0.1:{port}"))
        .arg(format!("-storageDataPath={}", folder.join("victoria-data").display()))
        .arg("-retentionPeriod=1");
    let server = Running::start("victoria-metrics", &mut command, folder);
    ready("victoria-metrics", server, port, "/health", "/api/v1/write")
}

fn prometheus(folder: &Path) -> Result<Contender> {
    let port = free_port();
    let config = folder.join("prometheus.yml");
    std::fs::write(&config, "global: {scrape_interval: 1h}\n")?;
    let mut command = peer("usr/bin/prometheus").context("benches need the peers")?;
    command
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("prometheus-data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .arg("--web.enable-remote-write-receiver");
    let server = Running::start("prometheus", &mut command, folder);
    ready("prometheus", server, port, "/-/ready", "/api/v1/write")
}

fn ready(name: &'static str, mut server: Running, port: u16, health: &str, write: &str) -> Result<Contender> {
    let base = format!("http://127.0.0.1:{port}");
    let http = Http::default();
    let url = format!("{base}{health}");
    server.wait_until("ready", || http.get(&url).ok().filter(|answer| answer.status == 200));
    Ok(Contender { name, server, write: format!("{base}{write}"), query: base })
}

/// From the start of the built program, without any configuration but port and folder, to the first value of this host.
fn start_to_answer(folder: &Path) -> Result<f64> {
    let port = free_port();
    let config = folder.join("first.yaml");
    std::fs::write(
        &config,
        format!("listen: 127.0.0.1:{port}\ndata: {}\n", folder.join("first-data").display()),
    )?;
    let http = Http::default();
    let base = format!("http://127.0.0.1:{port}");
    let mut command: Command = program("pantau-collector");
    let started = Instant::now();
    let mut server = Running::start("first-answer", command.arg("--config").arg(&config), folder);
    server.wait_until("the first value", || http.query_value(&base, "node_load1"));
    Ok(started.elapsed().as_secs_f64())
}
