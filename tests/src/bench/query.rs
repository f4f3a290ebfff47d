//! `bench query`: the same questions to us, VictoriaMetrics and Prometheus over the same samples, from one printed seed, in one run.
//!
//! A figure is the server's own CPU (all its threads) a question, the median of some after a first one that warms its caches;
//! VictoriaMetrics is told not to answer from its cache of results. Where Prometheus can be compared, our answer to each range query must
//! be its answer: samples stand 7 s behind each full quarter of a minute, so that the open left edge of windows plays no part.
//!
//! The last row is the CPU of one pass over 1,000 alert rules ([`rules`]).
//!
//! Environment, while one works on our side: `PANTAU_BENCH_QUERY_ONLY=pantau` asks us alone, `PANTAU_BENCH_QUERY_PART=` (`queries`,
//! `federate` or `rules`) does a part. Both say that it was not the whole bench.

mod rules;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::report::{Better, Figure};
use super::store::SEED;
use super::store::feed::send;
use super::store::servers::{Kind, Server};
use super::store::streams::{Form, Span};
use super::stream::Hosts;
use crate::http::Http;
use crate::writer;

/// Series of the range queries and of the count.
const SERIES: usize = 10_000;
/// Series of the page for federation.
const FEDERATED: usize = 100_000;
const INTERVAL_MS: i64 = 15_000;
/// Samples stand so long behind each full quarter of a minute.
const PHASE_MS: i64 = 7_000;
const HOUR_MS: i64 = 3_600_000;
/// Questions of each kind behind the first.
const TRIES: usize = 9;
const MEBIBYTE: f64 = 1024.0 * 1024.0;

/// A question and its goal as a share of VictoriaMetrics' and of Prometheus' figure.
struct Question {
    name: &'static str,
    path: &'static str,
    query: &'static str,
    is_range: bool,
    goals: [Option<f64>; 2],
}

const QUESTIONS: [Question; 3] = [
    Question {
        name: "sum by (instance) (rate), 1,024 series, 6 h at 60 s, CPU",
        path: "query_range",
        query: r#"sum by (instance) (rate(node_cpu_seconds_total{instance=~"node-000[0-7].*"}[5m]))"#,
        is_range: true,
        goals: [Some(0.7), Some(0.2)],
    },
    Question {
        name: "sum by (mode) (rate), 2,048 series, 6 h at 60 s, CPU",
        path: "query_range",
        query: r#"sum by (mode) (rate(node_cpu_seconds_total{instance=~"node-00(0.|1[0-5]).*"}[5m]))"#,
        is_range: true,
        goals: [Some(0.7), Some(0.2)],
    },
    Question {
        name: "instant count({__name__=~\".+\"}), 10,000 series, CPU",
        path: "query",
        query: r#"count({__name__=~".+"})"#,
        is_range: false,
        goals: [None, Some(0.5)],
    },
];

/// What one server was measured at.
struct Outcome {
    kind: Kind,
    /// Milliseconds of CPU a question.
    cpu_ms: Vec<f64>,
    answers: Vec<Value>,
    /// Largest resident memory during the second question, which is the heaviest.
    peak: Option<f64>,
    federate_ms: Option<f64>,
    /// Milliseconds of CPU a pass over all rules, where there is who evaluates them.
    rules_ms: Option<f64>,
}

/// What is done of it.
#[derive(Clone, Copy)]
struct Parts {
    queries: bool,
    federate: bool,
    rules: bool,
}

impl Parts {
    fn of(wanted: Option<&str>) -> Result<Self> {
        let of = |part| wanted.is_none_or(|wanted| wanted == part);
        let parts = Self { queries: of("queries"), federate: of("federate"), rules: of("rules") };
        ensure!(
            parts.queries || parts.federate || parts.rules,
            "PANTAU_BENCH_QUERY_PART is none of queries, federate, rules"
        );
        Ok(parts)
    }
}

/// Runs everything and returns the figures.
///
/// # Errors
/// A server that does not start, refuses what is sent, does not answer, or answers something else than Prometheus.
pub fn run() -> Result<Vec<Figure>> {
    let ours_alone = std::env::var("PANTAU_BENCH_QUERY_ONLY").is_ok_and(|text| text == "pantau");
    let wanted = std::env::var("PANTAU_BENCH_QUERY_PART").ok();
    let parts = Parts::of(wanted.as_deref())?;
    if let Some(part) = &wanted {
        eprintln!("query: {part} ALONE: not the whole bench");
    }
    eprintln!(
        "query: seed {SEED}, {SERIES} series at 15 s for 6 h, {FEDERATED} series for federation, {} for rules",
        rules::SERIES
    );
    let now = writer::now().as_millis();
    let end = now.div_euclid(60_000) * 60_000 - 60_000;
    let kinds: &[Kind] = if ours_alone {
        eprintln!("query: PANTAU ALONE, nothing to compare with: not the whole bench");
        &[Kind::Pantau]
    } else {
        &[Kind::Pantau, Kind::Victoria, Kind::Prometheus]
    };
    let outcomes: Result<Vec<Outcome>> =
        kinds.iter().map(|kind| measure(*kind, end, parts).with_context(|| kind.name())).collect();
    let outcomes = outcomes?;
    if let ([ours, _, prometheus], true) = (&*outcomes, parts.queries) {
        for (at, question) in QUESTIONS.iter().enumerate().filter(|(_, question)| question.is_range) {
            check_same(&ours.answers[at], &prometheus.answers[at]).with_context(|| question.query)?;
        }
    }
    Ok(figures(&outcomes))
}

fn figures(outcomes: &[Outcome]) -> Vec<Figure> {
    let (ours, peers) = outcomes.split_first().expect("ours comes first");
    let mut figures = Vec::new();
    let mut row = |name, unit, pantau, peer: Option<(&Outcome, f64)>, share: Option<f64>| {
        let goal = peer.zip(share).map(|((_, theirs), share)| theirs * share);
        let peer = peer.map(|(outcome, theirs)| (outcome.kind.name(), theirs));
        figures.push(Figure { name, unit, pantau, peer, goal, better: Better::Lower });
    };
    // Without peers the rows stand alone.
    let columns: Vec<Option<&Outcome>> =
        if peers.is_empty() { vec![None] } else { peers.iter().map(Some).collect() };
    for (at, question) in QUESTIONS.iter().enumerate() {
        let Some(own) = ours.cpu_ms.get(at) else { continue };
        for (goal, peer) in question.goals.iter().zip(&columns) {
            row(question.name, "ms", *own, peer.map(|peer| (peer, peer.cpu_ms[at])), *goal);
        }
    }
    if let Some(own) = ours.federate_ms {
        for (goal, peer) in [None, Some(0.3)].into_iter().zip(&columns) {
            let peer = peer.and_then(|peer| Some((peer, peer.federate_ms?)));
            row("/federate of everything, 100,000 series, CPU", "ms", own, peer, goal);
        }
    }
    if let Some(own) = ours.peak {
        for (goal, peer) in [None, Some(0.5)].into_iter().zip(&columns) {
            let peer = peer.and_then(|peer| Some((peer, peer.peak?)));
            row("peak RSS during the heaviest query (2,048 series)", "MiB", own, peer, goal);
        }
    }
    if let Some(pantau) = ours.rules_ms {
        let peer = peers.iter().find_map(|peer| Some((peer.kind.name(), peer.rules_ms?)));
        let name = "1,000 alert rules over 20,000 series, CPU a pass";
        figures.push(Figure { name, unit: "ms", pantau, peer, goal: Some(50.0), better: Better::Lower });
    }
    figures
}

fn measure(kind: Kind, end: i64, parts: Parts) -> Result<Outcome> {
    let nothing = Outcome {
        kind,
        cpu_ms: Vec::new(),
        answers: Vec::new(),
        peak: None,
        federate_ms: None,
        rules_ms: None,
    };
    let asked = if parts.queries { ask(kind, end)? } else { nothing };
    let federate_ms = parts.federate.then(|| federate(kind)).transpose()?;
    // VictoriaMetrics evaluates rules in another program.
    let evaluates = parts.rules && kind != Kind::Victoria;
    let rules_ms = evaluates.then(|| rules::measure(kind)).transpose()?;
    Ok(Outcome { federate_ms, rules_ms, ..asked })
}

fn ask(kind: Kind, end: i64) -> Result<Outcome> {
    let folder = tempfile::tempdir()?;
    let mut server = Server::start(kind, folder.path(), 0)?;
    let start_ms = end - 6 * HOUR_MS - 600_000 + PHASE_MS;
    let rounds = usize::try_from((end - start_ms) / INTERVAL_MS)? + 1;
    let mut hosts = Hosts::new(SERIES, SEED);
    let samples =
        send(&server, Form::Sharded, &mut hosts, Span { start_ms, interval_ms: INTERVAL_MS, rounds }, SEED)?;
    server.settle()?;
    eprintln!("  {:<17} has {samples} samples", kind.name());
    let (mut cpu_ms, mut answers) = (Vec::new(), Vec::new());
    for question in &QUESTIONS {
        let url = url_of(&server, question, end)?;
        let (cost, body) = cost(&server, &url)?;
        eprintln!("  {:<17} {cost:>8.2} ms  {}", kind.name(), question.name);
        cpu_ms.push(cost);
        answers.push(serde_json::from_str::<Value>(&body)?["data"]["result"].take());
    }
    let peak = Some(peak_of_heaviest(&mut server, end)?);
    Ok(Outcome { kind, cpu_ms, answers, peak, federate_ms: None, rules_ms: None })
}

fn url_of(server: &Server, question: &Question, end: i64) -> Result<String> {
    let mut url = reqwest::Url::parse(&format!("{}/api/v1/{}", server.base, question.path))?;
    let seconds = |millis: i64| (millis / 1000).to_string();
    let mut pairs = url.query_pairs_mut();
    pairs.append_pair("query", question.query).append_pair("nocache", "1");
    if question.is_range {
        pairs.append_pair("start", &seconds(end - 6 * HOUR_MS)).append_pair("end", &seconds(end));
        pairs.append_pair("step", "60");
    } else {
        pairs.append_pair("time", &seconds(end));
    }
    drop(pairs);
    Ok(url.into())
}

/// The median CPU of a question in milliseconds, and the last answer.
fn cost(server: &Server, url: &str) -> Result<(f64, String)> {
    let http = Http::default();
    let ask = || -> Result<String> {
        let answer = http.get(url)?;
        ensure!(
            answer.status == 200,
            "{} {}",
            answer.status,
            answer.body.chars().take(500).collect::<String>()
        );
        Ok(answer.body)
    };
    let mut body = ask()?;
    let mut tries = Vec::new();
    for _ in 0..TRIES {
        let before = server.usage()?.cpu;
        body = ask()?;
        // What is done behind the answer counts as well.
        std::thread::sleep(Duration::from_millis(50));
        tries.push(server.usage()?.cpu.saturating_sub(before).as_secs_f64() * 1e3);
    }
    tries.sort_by(f64::total_cmp);
    Ok((tries[TRIES / 2], body))
}

/// Started again, so that nothing but the folder and the query is in memory.
fn peak_of_heaviest(server: &mut Server, end: i64) -> Result<f64> {
    server.stop();
    server.spawn()?;
    server.wait_ready();
    server.settle()?;
    // Forgets the largest memory so far (proc_pid_clear_refs(5)).
    std::fs::write(format!("/proc/{}/clear_refs", server.process().pid()), "5")?;
    let before = server.usage()?.rss_bytes as f64 / MEBIBYTE;
    cost(server, &url_of(server, &QUESTIONS[1], end)?)?;
    let peak = server.usage()?.rss_bytes_peak as f64 / MEBIBYTE;
    eprintln!("  {:<17} {before:.0} MiB before, {peak:.0} MiB at most", server.kind.name());
    Ok(peak)
}

fn federate(kind: Kind) -> Result<f64> {
    let folder = tempfile::tempdir()?;
    let mut server = Server::start(kind, folder.path(), 0)?;
    let mut hosts = Hosts::new(FEDERATED, SEED);
    // A few samples of each series within the lookback, and none of the future.
    let start_ms = writer::now().as_millis() - 60_000;
    let span = Span { start_ms, interval_ms: INTERVAL_MS, rounds: 4 };
    send(&server, Form::Sharded, &mut hosts, span, SEED)?;
    server.settle()?;
    let url = format!("{}/federate?match[]=%7B__name__%3D~%22.%2B%22%7D", server.base);
    let (cost, body) = cost(&server, &url)?;
    let lines = body.lines().filter(|line| !line.starts_with('#')).count();
    ensure!(lines >= FEDERATED, "{lines} series of {FEDERATED} in /federate");
    eprintln!("  {:<17} {cost:>8.2} ms  /federate of {lines} series", kind.name());
    Ok(cost)
}

/// Series and values of two matrices are the same, to the last digits.
fn check_same(ours: &Value, theirs: &Value) -> Result<()> {
    let (ours, theirs) = (rows(ours)?, rows(theirs)?);
    ensure!(!ours.is_empty() && ours.len() == theirs.len(), "{} series of {}", ours.len(), theirs.len());
    for ((labels, ours), (their_labels, theirs)) in ours.iter().zip(&theirs) {
        ensure!(labels == their_labels && ours.len() == theirs.len(), "{labels}: other points than theirs");
        for ((at, ours), (their_at, theirs)) in ours.iter().zip(theirs) {
            let near = (ours - theirs).abs() <= 1e-9 * theirs.abs();
            ensure!(at == their_at && near, "{labels} at {at}: {ours}, not {theirs}");
        }
    }
    Ok(())
}

type Points = Vec<(f64, f64)>;

fn rows(matrix: &Value) -> Result<Vec<(String, Points)>> {
    let mut rows = Vec::new();
    for series in matrix.as_array().context("a list of series")? {
        let point = |pair: &Value| Some((pair[0].as_f64()?, pair[1].as_str()?.parse().ok()?));
        let points: Option<Points> =
            series["values"].as_array().context("points")?.iter().map(point).collect();
        rows.push((series["metric"].to_string(), points.context("times and numbers")?));
    }
    rows.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn another_value_or_series_is_seen() {
        let matrix = |name: &str, value: &str| json!([{"metric": {"a": name}, "values": [[60, value]]}]);
        assert!(check_same(&matrix("x", "1.5"), &matrix("x", "1.5000000000000002")).is_ok());
        assert!(check_same(&matrix("x", "1.5"), &matrix("x", "1.51")).is_err());
        assert!(check_same(&matrix("x", "1.5"), &matrix("y", "1.5")).is_err());
        assert!(check_same(&json!([]), &json!([])).is_err(), "nothing was compared");
    }

    #[test]
    fn a_part_is_one_that_there_is() {
        let of = |wanted| Parts::of(wanted).ok().map(|parts| (parts.queries, parts.federate, parts.rules));
        assert_eq!(of(None), Some((true, true, true)));
        assert_eq!(of(Some("rules")), Some((false, false, true)));
        assert_eq!(of(Some("rule")), None);
    }
}
