//! Agent, collector and both are killed at random moments under load; every acknowledged sample is there once, and every hole in
//! the agent's own series stands in the ledger.
//!
//! 25 rounds; `PANTAU_CRASH_ROUNDS=500` for a long run. The seed is printed and can be given as `PANTAU_CRASH_SEED`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use model::{Labels, Timestamp};
use pantau_tests::http::Http;
use pantau_tests::pantau::{Agent, Collector};
use pantau_tests::{wait_for, writer};
use serde_json::Value;

const SERIES: usize = 20;
const AGENT_INTERVAL_MS: i64 = 200;
/// The longest that a starved machine may keep a living agent from its rounds.
const SKIPPED_MAX_MS: i64 = 5_000;

/// What one sender knows: every sample it ever sent, and the newest time that was acknowledged.
#[derive(Default)]
struct Sent {
    samples: Vec<(i64, f64)>,
    acknowledged: usize,
}

/// Sends numbered samples one request at a time; a request without a 2xx is sent again, unchanged, as real senders do.
struct Load {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Sent>,
}

impl Load {
    fn start(base: String) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        Self { stop, thread: std::thread::spawn(move || send_until(&flag, &base)) }
    }

    fn finish(self) -> Sent {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the load's thread ends well")
    }
}

fn series(index: usize) -> Labels {
    Labels::from_pairs([("__name__", "crash_test"), ("series", &index.to_string())])
}

fn send_until(stop: &AtomicBool, base: &str) -> Sent {
    let http = Http::default();
    let names: Vec<Labels> = (0..SERIES).map(series).collect();
    let mut sent = Sent::default();
    let mut at = 0;
    while !stop.load(Ordering::Relaxed) {
        at = writer::now().as_millis().max(at + 1);
        let value = sent.samples.len() as f64;
        sent.samples.push((at, value));
        let sample = [(Timestamp::from_millis(at), value)];
        let all: Vec<writer::Samples<'_>> = names.iter().map(|labels| (labels, &sample[..])).collect();
        let body = writer::body(&all);
        loop {
            let status = writer::send(&http, base, body.clone()).map(|answer| answer.status);
            if status == Ok(204) {
                sent.acknowledged = sent.samples.len();
                break;
            }
            assert!(!matches!(status, Ok(400..=499)), "a good request was refused: {status:?}");
            if stop.load(Ordering::Relaxed) {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_millis(3));
    }
    sent
}

/// xorshift64*, seeded by the clock: another run each time, and repeatable by its printed seed.
struct Random(u64);

impl Random {
    fn new() -> Self {
        let given = std::env::var("PANTAU_CRASH_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or(writer::now().as_millis() as u64) | 1;
        println!("PANTAU_CRASH_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }
}

#[test]
fn killed_at_any_moment_nothing_acknowledged_is_lost_or_doubled() {
    let rounds: u64 =
        std::env::var("PANTAU_CRASH_ROUNDS").ok().and_then(|count| count.parse().ok()).unwrap_or(25);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut collector = Collector::start(&folder.path().join("collector"), "agent: {enabled: false}\n");
    let mut agent = start_agent(folder.path(), &collector);
    collector.wait_for_value(AGENT_SAMPLES, |count| count >= 3.0);

    let load = Load::start(collector.base.clone());
    let mut random = Random::new();
    let mut deaths = Vec::new();
    for round in 0..rounds {
        std::thread::sleep(Duration::from_millis(50 + random.below(500)));
        let whom = random.below(3);
        if whom != 1 {
            collector.running().kill();
        }
        let killed = (whom != 0).then(|| {
            agent.running().kill();
            writer::now().as_millis()
        });
        std::thread::sleep(Duration::from_millis(random.below(300)));
        if whom != 1 {
            collector.spawn();
        }
        if let Some(at) = killed {
            deaths.push((at, writer::now().as_millis()));
            agent.restart();
        }
        // Every third time the next blow falls while the store may still be replaying.
        if !round.is_multiple_of(3) {
            wait_ready(&mut collector);
        }
    }
    wait_ready(&mut collector);
    std::thread::sleep(Duration::from_secs(2));
    let sent = load.finish();
    // The backlog of all those short lives drains first, then the farewell of an orderly end.
    wait_drained(&collector);
    agent.running().stop();
    wait_drained(&collector);
    println!("{rounds} rounds, {} requests, {} acknowledged", sent.samples.len(), sent.acknowledged);
    check_load(&collector, &sent);
    check_ledger(&collector, &deaths);
    // And once more from the disk alone.
    collector.running().kill();
    collector.restart();
    check_load(&collector, &sent);
    check_ledger(&collector, &deaths);
}

const AGENT_SAMPLES: &str = "count_over_time(node_time_seconds{instance=\"edge\"}[1h])";

fn start_agent(folder: &std::path::Path, collector: &Collector) -> Agent {
    let token = collector.enrol("edge", "33.19", "kudus-1");
    std::fs::write(folder.join("token"), token).expect("the token can be written");
    let config = format!(
        "identity: {{instance: edge}}\nspool: {{folder: {{spool}}}}\n\
         inputs: {{host: {{interval: {AGENT_INTERVAL_MS}ms, timeout: {AGENT_INTERVAL_MS}ms, source_timeout: {AGENT_INTERVAL_MS}ms, collectors: {{include: \"loadavg|time\"}}}}}}\n\
         uplink: {{collectors: [\"{}\"], token: {{file: {}}}}}\n",
        collector.base,
        folder.join("token").display()
    );
    Agent::start(&folder.join("agent"), &config)
}

fn wait_drained(collector: &Collector) {
    let start = std::time::Instant::now();
    loop {
        let status = status(collector).unwrap_or_default();
        if status["pending_batches"].as_u64() == Some(0) {
            return;
        }
        assert!(start.elapsed() < Duration::from_secs(90), "batches stay away: {status}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn wait_ready(collector: &mut Collector) {
    let url = format!("{}/-/ready", collector.base);
    wait_for("the collector to be ready", Duration::from_secs(60), || {
        collector.http.get(&url).ok().filter(|answer| answer.status == 200)
    });
}

fn raw(collector: &Collector, selector: &str) -> BTreeMap<String, Vec<(i64, f64)>> {
    let form = format!("query={selector}[1d]&time={}", writer::now().as_seconds() + 60.0).into_bytes();
    let url = format!("{}/api/v1/query", collector.base);
    let answer = collector.http.post(&url, &[("content-type", "application/x-www-form-urlencoded")], form);
    let reply = answer.expect("an answer").json();
    let rows = reply["data"]["result"].as_array().unwrap_or_else(|| panic!("no result: {reply}"));
    rows.iter().map(|row| (row["metric"].to_string(), points(&row["values"]))).collect()
}

fn points(values: &Value) -> Vec<(i64, f64)> {
    let point = |point: &Value| {
        let at = (point[0].as_f64()? * 1000.0).round() as i64;
        Some((at, point[1].as_str()?.parse().ok()?))
    };
    values.as_array().expect("a list").iter().map(|value| point(value).expect("[time, \"value\"]")).collect()
}

fn check_load(collector: &Collector, sent: &Sent) {
    let found = raw(collector, "crash_test");
    assert_eq!(found.len(), SERIES);
    let acknowledged = &sent.samples[..sent.acknowledged];
    let known: BTreeMap<i64, f64> = sent.samples.iter().copied().collect();
    for (series, samples) in found {
        let held: BTreeMap<i64, f64> = samples.iter().copied().collect();
        let lost: Vec<_> = acknowledged.iter().filter(|(at, value)| held.get(at) != Some(value)).collect();
        assert!(
            lost.is_empty(),
            "{series} lost {} acknowledged samples, first {:?}",
            lost.len(),
            lost.first()
        );
        let invented: Vec<_> = samples.iter().filter(|(at, value)| known.get(at) != Some(value)).collect();
        assert!(invented.is_empty(), "{series} holds samples that nobody sent: {invented:?}");
        let twice = samples.windows(2).find(|pair| pair[0].0 >= pair[1].0);
        assert!(twice.is_none(), "{series} holds a time twice or out of order: {twice:?}");
    }
}

fn status(collector: &Collector) -> Option<Value> {
    let url = format!("{}/api/v1/pantau/agents", collector.base);
    let reply = collector.http.get(&url).ok().filter(|answer| answer.status == 200)?.json();
    rows(&reply).iter().find(|row| row["agent"] == "edge").cloned()
}

/// The list in a reply, with or without Prometheus' envelope.
fn rows(reply: &Value) -> Vec<Value> {
    let list = if reply.is_array() { reply } else { &reply["data"] };
    list.as_array().cloned().unwrap_or_default()
}

/// Whenever the agent was dead, a gap says so; no gap lies over what is there, nothing else is missing, and the cause is what happened:
/// the agent was killed or stopped; nothing is `cut`, since all that was spooled has drained.
///
/// Rounds that a busy machine skips, or begins late after a start, stand in no gap: the agent was there, and the ledger is right.
fn check_ledger(collector: &Collector, deaths: &[(i64, i64)]) {
    let answer = collector.http.get(&format!("{}/api/v1/pantau/gaps", collector.base)).expect("an answer");
    let all = rows(&answer.json());
    let page =
        all.iter().find(|row| row["agent"] == "edge").unwrap_or_else(|| panic!("no page: {}", answer.body));
    let list = page["gaps"].as_array().expect("a list of gaps");
    let gaps: Vec<(i64, i64)> = list.iter().filter(|gap| gap["open"] != true).map(span_of).collect();
    for (killed, started) in deaths {
        let told = gaps.iter().any(|(from, to)| from <= killed && to + 1 >= *started);
        assert!(told, "dead from {killed} to {started}, and no gap of the ledger says so: {list:?}");
    }
    let samples: Vec<i64> = raw(collector, "node_time_seconds{instance=\"edge\"}")
        .into_values()
        .next()
        .expect("the agent's series")
        .into_iter()
        .map(|(at, _)| at)
        .collect();
    for (from, to) in samples.windows(2).map(|pair| (pair[0], pair[1])) {
        let told = |gap: &(i64, i64)| (gap.1.min(to) - gap.0.max(from)).max(0);
        let untold = to - from - gaps.iter().map(told).sum::<i64>();
        assert!(untold < SKIPPED_MAX_MS, "{untold} ms from {from} to {to} are missing and nobody was dead");
    }
    for (from, to) in gaps {
        let inside = samples
            .iter()
            .filter(|at| (from + AGENT_INTERVAL_MS..to - AGENT_INTERVAL_MS).contains(*at))
            .count();
        assert_eq!(inside, 0, "the gap from {from} to {to} lies over samples that are there");
    }
}

fn span_of(gap: &Value) -> (i64, i64) {
    let cause = gap["cause"].as_str().unwrap_or_default();
    assert!(
        ["stopped", "crashed"].contains(&cause),
        "the agent was killed or stopped, and nothing else: {gap}"
    );
    (gap["from_ms"].as_i64().expect("a time"), gap["to_ms"].as_i64().expect("a time"))
}
