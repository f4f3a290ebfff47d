//! `bench agent`: one collection of this host, ours beside node_exporter's, with the same collectors on.
//!
//! Ours is the shipped program (static, stripped) as it runs on a real host: spool with its fsync, encoding, compression and TLS
//! uplink to a real collector included. node_exporter only answers a plain HTTP scrape.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::report::{Better, Figure};
use crate::http::Http;
use crate::pantau::Collector;
use crate::peers::{peer, peers_folder};
use crate::running::Running;
use crate::{free_port, usage, wait_for, writer};

/// Collectors that both have; everything else is off on both sides.
const COLLECTORS: [&str; 17] = [
    "cpu",
    "meminfo",
    "vmstat",
    "loadavg",
    "filesystem",
    "diskstats",
    "netdev",
    "sockstat",
    "netstat",
    "pressure",
    "filefd",
    "time",
    "hwmon",
    "uname",
    "os",
    "stat",
    "processes",
];
const ROUNDS: u32 = 200;
const INTERVAL: Duration = Duration::from_millis(100);
const MEBIBYTE: f64 = 1024.0 * 1024.0;

struct Measured {
    cpu_ms_per_round: f64,
    rss_mib: f64,
}

/// Measures both and returns the figures.
pub fn run() -> Result<Vec<Figure>> {
    let folder = tempfile::tempdir()?;
    let theirs = node_exporter(folder.path())?;
    let (ours, spooling) = agent(folder.path())?;
    let figure = |name, unit, pantau, value, goal| Figure {
        name,
        unit,
        pantau,
        peer: Some(("node_exporter", value)),
        goal: Some(goal),
        better: Better::Lower,
    };
    Ok(vec![
        figure(
            "CPU per collection, same collectors, spool and encoding included",
            "ms",
            spooling.cpu_ms_per_round,
            theirs.cpu_ms_per_round,
            0.8,
        ),
        Figure {
            goal: None,
            ..figure(
                "CPU per collection, TLS uplink of every round included too",
                "ms",
                ours.cpu_ms_per_round,
                theirs.cpu_ms_per_round,
                0.0,
            )
        },
        figure("agent resident memory, TLS uplink and spool", "MiB", ours.rss_mib, theirs.rss_mib, 10.0),
        figure(
            "agent program, stripped release, static glibc",
            "MB",
            size(&dist_agent()?)? / 1e6,
            size(&peers_folder().join("usr/bin/prometheus-node-exporter"))? / 1e6,
            8.0,
        ),
    ])
}

fn size(path: &Path) -> Result<f64> {
    Ok(std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.len() as f64)
}

/// The agent as it is shipped.
pub(super) fn dist_agent() -> Result<PathBuf> {
    let folder = std::env::var_os("PANTAU_DIST")
        .context("PANTAU_DIST names no folder: run the bench by `cargo xtask bench`")?;
    Ok(PathBuf::from(folder).join("pantau-agent"))
}

fn node_exporter(folder: &Path) -> Result<Measured> {
    let port = free_port();
    let mut command = peer("usr/bin/prometheus-node-exporter").context("benches need the peers")?;
    command.arg(format!("--web.listen-address=127.0.0.1:{port}")).arg("--collector.disable-defaults");
    for collector in COLLECTORS {
        command.arg(format!("--collector.{collector}"));
    }
    let mut server = Running::start("node-exporter", &mut command, folder);
    let http = Http::default();
    let url = format!("http://127.0.0.1:{port}/metrics");
    server.wait_until("the first page", || http.get(&url).ok().filter(|answer| answer.status == 200));
    (0..20).try_for_each(|_| http.get(&url).map(drop))?;
    let before = usage::of(server.pid()).context("node_exporter ended")?;
    // Both at the same pace: rounds without a pause between them find all caches warm, and cost half.
    let start = Instant::now();
    for round in 1..=ROUNDS {
        let answer = http.get(&url)?;
        ensure!(answer.status == 200, "node_exporter answers {}", answer.status);
        std::thread::sleep((start + INTERVAL * round).saturating_duration_since(Instant::now()));
    }
    let after = usage::of(server.pid()).context("node_exporter ended")?;
    Ok(measured(before, after, f64::from(ROUNDS)))
}

fn measured(before: usage::Usage, after: usage::Usage, rounds: f64) -> Measured {
    Measured {
        cpu_ms_per_round: (after.cpu - before.cpu).as_secs_f64() * 1000.0 / rounds,
        rss_mib: after.rss_bytes as f64 / MEBIBYTE,
    }
}

/// The agent with its uplink, then (with its collector gone) spooling alone.
fn agent(folder: &Path) -> Result<(Measured, Measured)> {
    let (mut collector, enrolment) = collector(folder)?;
    let config = folder.join("agent.yaml");
    let collectors = COLLECTORS.join("|");
    std::fs::write(
        &config,
        format!(
            "identity: {{instance: bench-host}}\nspool: {{folder: {spool}}}\n\
             inputs: {{host: {{interval: 100ms, collectors: {{include: \"{collectors}\"}}}}}}\n{enrolment}",
            spool = folder.join("spool").display()
        ),
    )?;
    let mut command = Command::new(dist_agent()?);
    let agent = Running::start("pantau-agent", command.args(["run", "--config"]).arg(&config), folder);
    wait_for("the agent's first rounds", Duration::from_secs(30), || {
        rounds(&collector, "[1h]").filter(|count| *count >= 20.0)
    });
    let linked = window(&agent)?;
    collector.running().stop();
    std::thread::sleep(Duration::from_secs(1));
    let spooling = window(&agent)?;
    collector.restart();
    wait_for("the backlog", Duration::from_secs(60), || {
        rounds(&collector, &spooling.range()).filter(|count| *count >= f64::from(ROUNDS) * 0.9)
    });
    Ok((linked.measured(&collector)?, spooling.measured(&collector)?))
}

/// What the agent used between two moments.
struct Window {
    from_ms: i64,
    to_ms: i64,
    before: usage::Usage,
    after: usage::Usage,
}

fn window(agent: &Running) -> Result<Window> {
    let (from_ms, before) = (writer::now().as_millis(), usage::of(agent.pid()).context("the agent ended")?);
    std::thread::sleep(INTERVAL * ROUNDS);
    let (to_ms, after) = (writer::now().as_millis(), usage::of(agent.pid()).context("the agent ended")?);
    Ok(Window { from_ms, to_ms, before, after })
}

impl Window {
    /// The window as a range selector's range and end.
    fn range(&self) -> String {
        format!("[{}ms] @ {:.3}", self.to_ms - self.from_ms, self.to_ms as f64 / 1000.0)
    }

    fn measured(&self, collector: &Collector) -> Result<Measured> {
        let count = rounds(collector, &self.range()).unwrap_or(0.0);
        ensure!(count > f64::from(ROUNDS) * 0.8, "the agent made only {count} rounds");
        Ok(measured(self.before, self.after, count))
    }
}

/// Rounds of which the collector has the samples.
fn rounds(collector: &Collector, range: &str) -> Option<f64> {
    collector.value(&format!("count_over_time(node_load1{{instance=\"bench-host\"}}{range})"))
}

/// A collector with TLS, its address, and the lines of the agent's configuration that lead there.
fn collector(folder: &Path) -> Result<(Collector, String)> {
    let collector = Collector::start_with_tls(&folder.join("collector"), "agent: {enabled: false}\n");
    let token = folder.join("token");
    std::fs::write(&token, collector.enrol("bench-host", "33.19", "kudus-1"))?;
    let uplink = format!(
        "uplink: {{collectors: [\"{}\"], token: {{file: {}}}, ca_file: {}}}\n",
        collector.base,
        token.display(),
        collector.folder.join("data/tls/ca.pem").display()
    );
    Ok((collector, uplink))
}
