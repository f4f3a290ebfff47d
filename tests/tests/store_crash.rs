//! The collector is killed (-9) again and again while samples of fast synthetic time come in, so that flushes and compactions happen
//! all the time; after each kill its folder holds every acknowledged sample with its exact bits, and nothing else.
//!
//! 25 rounds; `PANTAU_STORE_CRASH_ROUNDS=500` for a long run. The seed is printed and can be given as `PANTAU_CRASH_SEED`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use model::{Labels, Matcher, Timestamp};
use pantau_tests::held::{self, Held};
use pantau_tests::http::Http;
use pantau_tests::pantau::Collector;
use pantau_tests::{wait_for, writer};

/// Senders at one time, each with series of its own.
const SENDERS: usize = 2;
/// Series of one sender in one lap.
const SERIES: usize = 12;
/// Samples of each series in one request.
const SAMPLES: i64 = 20;
const STEP_MS: i64 = 15_000;
const REQUEST_MS: i64 = SAMPLES * STEP_MS;
const HOUR_MS: i64 = 3_600_000;
/// A lap of synthetic time: from so long ago until now; the next lap's series come late, when all of it was flushed long ago.
const LAP_MS: i64 = 6 * 24 * HOUR_MS;
const REQUESTS_IN_LAP: i64 = LAP_MS / REQUEST_MS;
/// One request in so many brings samples of a time that is past.
const LATE_EVERY: u64 = 9;

/// Values whose bits are easily lost.
const ODD: [u64; 8] = [
    0x7ff0_0000_0000_0002, // Prometheus' stale marker
    0x7ff8_0000_0000_0001,
    0xfff8_0000_dead_beef,
    0x8000_0000_0000_0000, // -0
    0x7ff0_0000_0000_0000,
    0xfff0_0000_0000_0000,
    0x0000_0000_0000_0001,
    0x3fd5_5555_5555_5555,
];

/// What a sender says in its n-th request is a function of who it is and of n: its own record is these two numbers.
#[derive(Clone, Copy)]
struct Script {
    sender: usize,
    began_ms: i64,
}

impl Script {
    fn labels(self, lap: i64, series: usize) -> Labels {
        let (sender, lap, series) = (self.sender.to_string(), lap.to_string(), series.to_string());
        Labels::from_pairs([
            ("__name__", "store_crash"),
            ("lap", &lap),
            ("sender", &sender),
            ("series", &series),
        ])
    }

    /// The first time of a request; late ones lie between the times of an earlier request of this lap.
    fn first_ms(self, request: i64) -> (i64, bool) {
        let within = request % REQUESTS_IN_LAP;
        let late = scatter(request as u64 ^ 0x1a7e).is_multiple_of(LATE_EVERY) && within > 0;
        let regular = |within: i64| self.began_ms + within * REQUEST_MS;
        if late {
            let back = (scatter(request as u64) % within.min(400) as u64) as i64 + 1;
            // No other request has this remainder: it is made of its own number.
            (regular(within - back) + 1 + within % (STEP_MS - 1), true)
        } else {
            (regular(within), false)
        }
    }

    fn samples(self, request: i64, series: usize) -> Vec<(i64, u64)> {
        let (first, late) = self.first_ms(request);
        let count = if late { 3 } else { SAMPLES };
        (0..count)
            .map(|at| {
                let mixed = scatter(((request * 64 + at) as u64) << 8 | series as u64);
                let bits = match series % 4 {
                    0 => ((request * SAMPLES + at) as f64 * 0.25).to_bits(),
                    1 => ((mixed % 10_000) as f64 / 100.0).to_bits(),
                    2 if mixed.is_multiple_of(7) => ODD[(mixed >> 32) as usize % ODD.len()],
                    2 => 17.0_f64.to_bits(),
                    _ => f64::from_bits(mixed >> 2 | 1 << 61).to_bits(),
                };
                (first + at * STEP_MS, bits)
            })
            .collect()
    }

    fn body(self, request: i64) -> Vec<u8> {
        let all: Vec<(Labels, Vec<(Timestamp, f64)>)> = (0..SERIES)
            .map(|series| {
                let samples = self.samples(request, series);
                let samples =
                    samples.iter().map(|(at, bits)| (Timestamp::from_millis(*at), f64::from_bits(*bits)));
                (self.labels(request / REQUESTS_IN_LAP, series), samples.collect())
            })
            .collect();
        let all: Vec<writer::Samples<'_>> =
            all.iter().map(|(labels, samples)| (labels, &samples[..])).collect();
        writer::body(&all)
    }

    /// Everything of these requests that lies within the times, each series in order.
    fn held(self, requests: Range<i64>, start_ms: i64, end_ms: i64, into: &mut Known) {
        let mut held: BTreeMap<(i64, usize), Vec<(i64, u64)>> = BTreeMap::new();
        for request in requests {
            let (first, _) = self.first_ms(request);
            if first + REQUEST_MS < start_ms || first > end_ms {
                continue;
            }
            for series in 0..SERIES {
                let samples = self.samples(request, series);
                let within = samples.into_iter().filter(|(at, _)| (start_ms..=end_ms).contains(at));
                held.entry((request / REQUESTS_IN_LAP, series)).or_default().extend(within);
            }
        }
        for ((lap, series), mut samples) in held.into_iter().filter(|(_, samples)| !samples.is_empty()) {
            samples.sort_unstable();
            into.insert(self.labels(lap, series), samples);
        }
    }
}

/// A good hash of a number (splitmix64).
fn scatter(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

/// Sends requests in order, each again until it is acknowledged.
struct Load {
    script: Script,
    /// Requests that were acknowledged; one more may have been sent.
    acknowledged: Arc<AtomicUsize>,
    thread: JoinHandle<()>,
}

impl Load {
    fn start(
        script: Script,
        base: String,
        stop: &Arc<AtomicBool>,
        fault: &Arc<Mutex<Option<String>>>,
    ) -> Self {
        let (acknowledged, stop, fault) = (Arc::default(), Arc::clone(stop), Arc::clone(fault));
        let count: Arc<AtomicUsize> = Arc::clone(&acknowledged);
        let thread = std::thread::spawn(move || {
            let http = Http::default();
            while !stop.load(Ordering::Relaxed) {
                let next = count.load(Ordering::Acquire) as i64;
                let body = script.body(next);
                while !stop.load(Ordering::Relaxed) {
                    match writer::send(&http, &base, body.clone()).map(|answer| (answer.status, answer.body))
                    {
                        Ok((204 | 200, _)) => {
                            count.fetch_add(1, Ordering::Release);
                            break;
                        }
                        Ok((status @ 400..=499, said)) if status != 429 => {
                            let mut fault = fault.lock().expect("nobody panics with it");
                            fault.get_or_insert(format!("a good request was refused: {status} {said}"));
                            return;
                        }
                        _ => std::thread::sleep(Duration::from_millis(5)),
                    }
                }
            }
        });
        Self { script, acknowledged, thread }
    }
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

/// Nothing is refused for its age, and little stays in memory, so that the store is at its files all the time.
const SETTINGS: &str = "agent: {enabled: false}\nstorage: {time: 30d, memory_max: 16MiB}\n\
    ingest: {accepted_age: 20d, new_series_per_minute_max: 1000000}\n";

#[test]
fn killed_while_it_flushes_and_compacts_the_store_holds_what_it_acknowledged() {
    let rounds: u64 =
        std::env::var("PANTAU_STORE_CRASH_ROUNDS").ok().and_then(|count| count.parse().ok()).unwrap_or(25);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut collector = Collector::start(&folder.path().join("collector"), SETTINGS);
    let store = collector.folder.join("data/store");
    let began_ms = (writer::now().as_millis() - LAP_MS - HOUR_MS).div_euclid(HOUR_MS) * HOUR_MS;
    let (stop, fault) = (Arc::default(), Arc::default());
    let start = |sender| Load::start(Script { sender, began_ms }, collector.base.clone(), &stop, &fault);
    let loads: Vec<Load> = (0..SENDERS).map(start).collect();

    let mut random = Random::new();
    let mut blocks = Blocks::default();
    for round in 0..rounds {
        std::thread::sleep(Duration::from_millis(50 + random.below(900)));
        collector.running().kill();
        blocks.look(&store);
        // The last day that was written before the blow, and, now and then, everything.
        let newest = newest(&loads);
        let whole = round % 25 == 12;
        let start_ms = if whole { i64::MIN } else { newest - 24 * HOUR_MS };
        check(&store, &loads, start_ms, i64::MAX);
        collector.spawn();
        // Every third time the next blow falls while the store may still be replaying.
        if round % 3 != 0 {
            wait_ready(&mut collector);
        }
    }
    wait_ready(&mut collector);
    std::thread::sleep(Duration::from_millis(500));
    stop.store(true, Ordering::Relaxed);
    let loads: Vec<(Script, i64)> = loads
        .into_iter()
        .map(|load| {
            load.thread.join().expect("the load's thread ends well");
            (load.script, load.acknowledged.load(Ordering::Acquire) as i64)
        })
        .collect();
    assert_eq!(*fault.lock().expect("nobody panics with it"), None);
    check_served(&collector, &loads, &mut random);
    collector.running().stop();
    blocks.look(&store);
    check_all(&store, &loads, i64::MIN, i64::MAX);
    let requests: i64 = loads.iter().map(|(_, acknowledged)| acknowledged).sum();
    let (seen, gone) = (blocks.seen, blocks.gone);
    println!(
        "{rounds} rounds, {requests} requests acknowledged, {seen} blocks seen, {gone} of them merged meanwhile"
    );
    assert!(seen > 3, "the test must see flushes");
    assert!(gone > 0, "the test must see compactions");
}

/// Block files as they come and go.
#[derive(Debug, Default)]
struct Blocks {
    last: std::collections::BTreeSet<PathBuf>,
    seen: usize,
    gone: usize,
}

impl Blocks {
    fn look(&mut self, store: &Path) {
        let entries = std::fs::read_dir(store.join("blocks")).into_iter().flatten().flatten();
        let now: std::collections::BTreeSet<PathBuf> = entries
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|ending| ending == "block"))
            .collect();
        self.seen += now.difference(&self.last).count();
        self.gone += self.last.difference(&now).count();
        self.last = now;
    }
}

fn newest(loads: &[Load]) -> i64 {
    let newest = |load: &Load| load.script.first_ms(load.acknowledged.load(Ordering::Acquire) as i64).0;
    loads.iter().map(newest).max().expect("there are senders")
}

fn wait_ready(collector: &mut Collector) {
    let url = format!("{}/-/ready", collector.base);
    wait_for("the collector to be ready", Duration::from_secs(60), || {
        assert!(collector.process.as_mut().expect("started").is_running(), "the collector ended by itself");
        collector.http.get(&url).ok().filter(|answer| answer.status == 200)
    });
}

/// A dead collector's folder against what its senders know. Whoever waits for an answer now may or may not be in it.
fn check(store: &Path, loads: &[Load], start_ms: i64, end_ms: i64) {
    let known: Vec<(Script, i64)> =
        loads.iter().map(|load| (load.script, load.acknowledged.load(Ordering::Acquire) as i64)).collect();
    check_all(store, &known, start_ms, end_ms);
}

fn check_all(store: &Path, loads: &[(Script, i64)], start_ms: i64, end_ms: i64) {
    let began = Instant::now();
    let found = held::between(store, &[Matcher::equal("__name__", "store_crash")], start_ms, end_ms);
    let (mut acknowledged, mut open) = (Known::new(), Known::new());
    for (script, count) in loads {
        script.held(0..*count, start_ms, end_ms, &mut acknowledged);
        script.held(*count..*count + 1, start_ms, end_ms, &mut open);
    }
    compare(&found, &acknowledged, &open);
    if start_ms == i64::MIN {
        let samples: usize = found.values().map(Vec::len).sum();
        println!(
            "{samples} samples of {} series are right ({:.1} s)",
            found.len(),
            began.elapsed().as_secs_f64()
        );
    }
}

/// Time in milliseconds, and the value's bits.
type Sample = (i64, u64);

/// Samples by series, in order of time.
type Known = BTreeMap<Labels, Vec<Sample>>;

/// What was acknowledged is there, and nothing that was not at least sent; `open` is what waits for its answer.
fn compare(found: &Held, acknowledged: &Known, open: &Known) {
    for (labels, samples) in found {
        let twice = samples.windows(2).find(|pair| pair[0].0 >= pair[1].0);
        assert!(twice.is_none(), "{labels:?} holds a time twice or out of order: {twice:x?}");
    }
    let all: BTreeSet<&Labels> = found.keys().chain(acknowledged.keys()).collect();
    for labels in all {
        let of = |known: &Known| known.get(labels).cloned().unwrap_or_default();
        let (lost, invented) = differences(&of(found), &of(acknowledged), &of(open));
        assert!(invented.is_empty(), "{labels:?} holds samples that nobody sent: {invented:x?}");
        assert!(lost.is_empty(), "{labels:?} lost {} samples, first {:x?}", lost.len(), lost[0]);
    }
}

/// What of the acknowledged was not found, and what was found and is neither acknowledged nor open.
fn differences(found: &[Sample], acknowledged: &[Sample], open: &[Sample]) -> (Vec<Sample>, Vec<Sample>) {
    let (mut lost, mut invented) = (Vec::new(), Vec::new());
    let mut known = acknowledged.iter().copied().peekable();
    for sample in found {
        while let Some(missing) = known.next_if(|known| known < sample) {
            lost.push(missing);
        }
        if known.next_if_eq(sample).is_none() && !open.contains(sample) {
            invented.push(*sample);
        }
    }
    lost.extend(known);
    (lost, invented)
}

#[test]
fn a_difference_is_seen() {
    let (one, two, three) = ((1, 10), (2, 20), (3, 30));
    assert_eq!(differences(&[one, three], &[one], &[three]), (vec![], vec![]));
    assert_eq!(differences(&[one, three], &[one, two, three], &[]), (vec![two], vec![]));
    assert_eq!(differences(&[one, two], &[one], &[three]), (vec![], vec![two]));
    assert_eq!(differences(&[(1, 11)], &[one, two], &[]), (vec![one, two], vec![(1, 11)]), "another value");
}

/// Some hours through the query interface: the numbers that JSON can tell.
fn check_served(collector: &Collector, loads: &[(Script, i64)], random: &mut Random) {
    let (script, count) = loads[random.below(loads.len() as u64) as usize];
    for _ in 0..5 {
        let (first, _) = script.first_ms(random.below(count as u64) as i64);
        let end_ms = first + 2 * HOUR_MS;
        let mut known = Known::new();
        script.held(0..count, first, end_ms, &mut known);
        for (labels, samples) in known
            .iter()
            .filter(|(labels, _)| labels.get("series").is_some_and(|series| series.ends_with('1')))
        {
            let label = |name| labels.get(name).expect("it has this label");
            let (lap, sender, series) = (label("lap"), label("sender"), label("series"));
            let query = format!(
                "store_crash{{lap=\"{lap}\",sender=\"{sender}\",series=\"{series}\"}}[{}ms]",
                end_ms - first + 1
            );
            let found = raw(collector, &query, end_ms);
            let wanted: Vec<(i64, f64)> =
                samples.iter().map(|(at, bits)| (*at, f64::from_bits(*bits))).collect();
            assert_eq!(found, wanted, "{labels:?} from {first}");
        }
    }
}

fn raw(collector: &Collector, query: &str, at_ms: i64) -> Vec<(i64, f64)> {
    let form = format!("query={query}&time={}.{:03}", at_ms / 1000, at_ms % 1000).into_bytes();
    let url = format!("{}/api/v1/query", collector.base);
    let answer = collector.http.post(&url, &[("content-type", "application/x-www-form-urlencoded")], form);
    let reply = answer.expect("an answer").json();
    let values = reply["data"]["result"][0]["values"]
        .as_array()
        .unwrap_or_else(|| panic!("{query} at {at_ms}: {reply}"));
    let point = |value: &serde_json::Value| {
        let at = (value[0].as_f64()? * 1000.0).round() as i64;
        Some((at, value[1].as_str()?.parse().ok()?))
    };
    values.iter().map(|value| point(value).expect("[time, \"value\"]")).collect()
}
