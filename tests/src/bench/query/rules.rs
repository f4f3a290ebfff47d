//! `bench query`, its row for rules: 1,000 alert rules over 20,000 series, the CPU of one pass over all of them.
//!
//! Hosts of 500 series and 25 rules each, as a site's packs have them: rates of counters, gauges, and two rules that choose metrics by
//! a pattern; each rule looks at 15 to 130 series, and all together at each series once. One host's file systems are too full: 60 alerts
//! are active, the rest is quiet. The same rule file for us and for Prometheus, one group, a pass each five seconds; what a server does
//! in a pass beside evaluating (idling, writing its alerts' series) counts for both alike.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::super::store::SEED;
use super::super::store::feed::send;
use super::super::store::servers::{Kind, Server};
use super::super::store::streams::{Form, Span};
use super::super::stream::{Hosts, PER_HOST};
use crate::http::Http;
use crate::writer;

/// Series that the rules look at.
pub(super) const SERIES: usize = 20_000;
const HOSTS: usize = SERIES / PER_HOST;
const RULES_PER_HOST: usize = 25;
/// Alerts of the host whose file systems are too full.
const ACTIVE: usize = 60;
const INTERVAL: Duration = Duration::from_secs(5);
/// Passes that are measured.
const PASSES: u32 = 8;

/// Milliseconds of CPU a pass.
pub(super) fn measure(kind: Kind) -> Result<f64> {
    let folder = tempfile::tempdir()?;
    let mut server = Server::start(kind, folder.path(), 0)?;
    // What windows of five minutes reach, and what is measured stays within the lookback.
    let start_ms = writer::now().as_millis() - 300_000;
    let span = Span { start_ms, interval_ms: 15_000, rounds: 20 };
    send(&server, Form::Sharded, &mut Hosts::new(SERIES, SEED), span, SEED)?;
    server.settle()?;
    server.stop();
    let file = folder.path().join("rules.yml");
    std::fs::write(&file, rule_file())?;
    server.add_settings(&settings(kind, &file))?;
    server.spawn()?;
    server.wait_ready();
    let before = passes_from(&server, 2)?;
    let cpu = server.usage()?.cpu;
    let after = passes_from(&server, before + PASSES)?;
    let spent = server.usage()?.cpu.saturating_sub(cpu);
    check(&server)?;
    let cost = spent.as_secs_f64() * 1e3 / f64::from(after - before);
    eprintln!("  {:<17} {cost:>8.2} ms  a pass of {} rules", kind.name(), HOSTS * RULES_PER_HOST);
    Ok(cost)
}

fn settings(kind: Kind, file: &Path) -> String {
    let file = file.display();
    match kind {
        Kind::Pantau => format!("rules: {{files: ['{file}']}}\n"),
        Kind::Prometheus | Kind::Victoria => format!("rule_files: ['{file}']\n"),
    }
}

/// The rules of all hosts, in one group.
fn rule_file() -> String {
    let seconds = INTERVAL.as_secs();
    let mut text = format!("groups:\n- name: all\n  interval: {seconds}s\n  rules:\n");
    for host in 0..HOSTS {
        let instance = format!("node-{host:04}.dc.example:9100");
        let mut rule = |name: &str, expr: String| {
            write!(
                text,
                "  - alert: {name}{host}\n    expr: '{expr}'\n    for: 5m\n    labels: {{severity: warning}}\n    \
                 annotations: {{summary: \"{{{{ $labels.instance }}}} has {{{{ $value }}}}\"}}\n"
            )
            .expect("a String takes everything");
        };
        let chosen = format!("instance=\"{instance}\"");
        for mode in ["user", "system", "idle", "iowait", "irq", "softirq", "steal", "nice"] {
            let counter = format!("node_cpu_seconds_total{{{chosen},mode=\"{mode}\"}}");
            rule(&format!("Busy_{mode}_"), format!("rate({counter}[5m]) > 60"));
        }
        for metric in 0..11 {
            let counter = format!("node_network_metric{metric}_total{{{chosen}}}");
            rule(&format!("Traffic{metric}_"), format!("rate({counter}[5m]) > 1e9"));
        }
        rule("Memory_", format!("{{__name__=~\"node_memory_.+\",{chosen}}} > 1e12"));
        rule("Rest_", format!("{{__name__=~\"node_(disk|vmstat|load).*\",{chosen}}} > 1e15"));
        let limit = if host == 0 { 0 } else { 1_000_000_000 };
        for field in 0..4 {
            rule(
                &format!("Full{field}_"),
                format!("node_filesystem_field{field}_bytes{{{chosen}}} > {limit}"),
            );
        }
    }
    text
}

/// Waits for the beginning of quiet after the pass of this number; the passes there were.
fn passes_from(server: &Server, wanted: u32) -> Result<u32> {
    let (http, began) = (Http::default(), Instant::now());
    loop {
        let page = http.get(&format!("{}/metrics", server.base))?.body;
        let passes = counted(&page, "prometheus_rule_group_iterations_total").unwrap_or(0.0) as u32;
        let missed = counted(&page, "prometheus_rule_group_iterations_missed_total").unwrap_or(0.0);
        ensure!(missed == 0.0, "{} missed {missed} passes", server.kind.name());
        if passes >= wanted {
            return Ok(passes);
        }
        ensure!(began.elapsed() < INTERVAL * (PASSES + 8), "{passes} passes of {wanted}");
        // Asked rarely: writing the page counts.
        std::thread::sleep(Duration::from_millis(if passes + 1 < wanted { 2_500 } else { 500 }));
    }
}

/// The sum of a counter's series on a page.
fn counted(page: &str, name: &str) -> Option<f64> {
    let lines = page.lines().filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with('{')));
    lines.map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// Who evaluates nothing is the fastest: all rules are healthy, and those alerts are active that should be.
fn check(server: &Server) -> Result<()> {
    let http = Http::default();
    let rules = http.get(&format!("{}/api/v1/rules", server.base))?.json();
    let groups = rules["data"]["groups"].as_array().context("groups")?;
    let all = groups.iter().filter_map(|group| group["rules"].as_array()).flatten();
    let healthy = all.filter(|rule| rule["health"] == "ok").count();
    ensure!(healthy == HOSTS * RULES_PER_HOST, "{healthy} rules were evaluated");
    let alerts = http.get(&format!("{}/api/v1/alerts", server.base))?.json();
    let active = alerts["data"]["alerts"].as_array().context("alerts")?.len();
    ensure!(active == ACTIVE, "{active} alerts of {ACTIVE}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_rules_are_a_thousand_and_look_at_all_series() {
        let text = rule_file();
        let names: BTreeSet<&str> =
            text.lines().filter_map(|line| line.split_once("alert: ")).map(|l| l.1).collect();
        assert_eq!(names.len(), 1_000);
        let hosts = Hosts::new(PER_HOST, SEED);
        let bears = |name: &str| {
            let labels = (0..hosts.len()).map(|at| hosts.labels(at).metric_name().expect("each has one"));
            labels.filter(|have| have.starts_with(name)).count()
        };
        let of_rules =
            ["node_cpu_", "node_network_", "node_memory_", "node_disk_", "node_vmstat_", "node_load"];
        let seen: usize = of_rules.iter().map(|name| bears(name)).sum();
        assert_eq!(seen + bears("node_filesystem_field"), PER_HOST);
        assert_eq!(bears("node_filesystem_field"), ACTIVE);
    }

    #[test]
    fn counters_are_added_up() {
        let page = "# TYPE a counter\na{x=\"1\"} 2\na{x=\"2\"} 3\na_total{x=\"1\"} 9\n";
        assert_eq!(counted(page, "a"), Some(5.0));
    }
}
