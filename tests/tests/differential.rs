//! Random valid queries, answered by us and by Debian's Prometheus 2.42 from the same data: no difference that the documented changes of
//! Prometheus 3 do not explain.
//!
//! An ordinary run asks 200; `PANTAU_DIFFERENTIAL=20000` as many as it says. `PANTAU_DIFFERENTIAL_SEED` is another seed than the usual
//! one, `PANTAU_DIFFERENTIAL_ONE` a number of a query to ask alone.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use pantau_tests::differential::answer::{Answer, Difference, Metric, Point, TOLERANCE, is_same};
use pantau_tests::differential::data::{self, Series};
use pantau_tests::differential::explain::{Servers, explain};
use pantau_tests::differential::generate::{Case, case};
use pantau_tests::differential::query::{Query, When, Words};
use pantau_tests::http::Http;
use pantau_tests::pantau::Collector;
use pantau_tests::peers::peer;
use pantau_tests::running::Running;
use pantau_tests::{free_port, wait_for, writer};

const SEED: u64 = 20_250_301;
const USUAL: u64 = 200;

/// Both servers with the same data.
struct Pair {
    _prometheus: Running,
    collector: Collector,
    theirs: String,
}

fn prometheus(folder: &Path) -> Option<(Running, String)> {
    let mut command = peer("usr/bin/prometheus")?;
    let (config, port) = (folder.join("prometheus.yml"), free_port());
    std::fs::write(&config, "global: {}\n").expect("the configuration can be written");
    command
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("prometheus").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .arg("--storage.tsdb.retention.time=100y")
        .arg("--web.enable-remote-write-receiver");
    Some((Running::start("prometheus", &mut command, folder), format!("http://127.0.0.1:{port}")))
}

impl Pair {
    fn start(folder: &Path, series: &[Series]) -> Option<Self> {
        let (_prometheus, theirs) = prometheus(folder)?;
        let collector = Collector::start(
            folder,
            "agent: {enabled: false}\ningest: {accepted_age: 3650d}\nstorage: {time: 3650d}\n",
        );
        let ready = format!("{theirs}/-/ready");
        wait_for("prometheus", Duration::from_secs(60), || {
            collector.http.get(&ready).ok().filter(|answer| answer.status == 200)
        });
        let pair = Self { _prometheus, collector, theirs };
        pair.fill(series);
        Some(pair)
    }

    /// Ten minutes a request: Prometheus takes samples in the order of time only.
    fn fill(&self, series: &[Series]) {
        let begin = |slice: i64| (data::FIRST_S + slice * 600) * 1000;
        let slices = i64::try_from(data::COUNT).expect("hundreds") * data::STEP_S / 600 + 1;
        for slice in 0..slices {
            let times = begin(slice)..begin(slice + 1);
            let part = |one: &Series| {
                let first = one.samples.partition_point(|(at, _)| at.as_millis() < times.start);
                let end = one.samples.partition_point(|(at, _)| at.as_millis() < times.end);
                first..end
            };
            let parts: Vec<_> = series
                .iter()
                .map(|one| (&one.labels, &one.samples[part(one)]))
                .filter(|(_, samples)| !samples.is_empty())
                .collect();
            for base in [&self.collector.base, &self.theirs] {
                let answer =
                    writer::send(&self.collector.http, base, writer::body(&parts)).expect("an answer");
                assert_eq!(answer.status, 204, "{base}: {}", answer.body);
            }
        }
    }
}

impl Servers for Pair {
    fn ask(&self, query: &Query, when: When) -> (Answer, Answer) {
        let ours = ask(&self.collector.http, &self.collector.base, &query.text(Words::Three), when);
        (ours, ask(&self.collector.http, &self.theirs, &query.text(Words::Two), when))
    }
}

fn ask(http: &Http, base: &str, query: &str, when: When) -> Answer {
    let mut form = reqwest::Url::parse("http://form").expect("a URL");
    form.query_pairs_mut().append_pair("query", query);
    let path = match when {
        When::Instant(at) => {
            form.query_pairs_mut().append_pair("time", &at.to_string());
            "query"
        }
        When::Range { start, end, step } => {
            for (name, value) in [("start", start), ("end", end), ("step", step)] {
                form.query_pairs_mut().append_pair(name, &value.to_string());
            }
            "query_range"
        }
    };
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let body = form.query().expect("a form").as_bytes().to_vec();
    let answer = http.post(&format!("{base}/api/v1/{path}"), &headers, body).expect("an answer");
    Answer::read(&answer.json())
}

#[derive(Default)]
struct Summary {
    same: usize,
    with_values: usize,
    errors: usize,
    other_words: usize,
    explained: BTreeMap<&'static str, usize>,
    different: Vec<String>,
}

impl Summary {
    fn take(&mut self, pair: &Pair, number: u64, Case { query, when }: &Case) {
        let (ours, theirs) = pair.ask(query, *when);
        self.with_values += usize::from(theirs.is_something());
        self.errors += usize::from(matches!(theirs, Answer::Error(..)));
        let Some(difference) =
            ours.differs(&theirs, TOLERANCE).or_else(|| out_of_order(query, *when, &ours, &theirs))
        else {
            self.same += 1;
            self.compare_words(number, query, &ours, &theirs);
            return;
        };
        let found = explain(pair, query, *when, (ours, theirs));
        match found.rule {
            Some(rule) => {
                *self.explained.entry(rule).or_default() += 1;
                if std::env::var_os("PANTAU_DIFFERENTIAL_VERBOSE").is_some() {
                    println!("explained {number} ({rule}): {}", found.text);
                }
            }
            None => {
                let text = query.text(Words::Three);
                let told = format!("{number}: {text}\n  {when:?}\n  {difference:?}\n{}", found.text);
                println!("DIFFERENT {told}");
                self.different.push(told);
            }
        }
    }

    /// Texts of errors are ours; those that differ are told, and are no difference.
    fn compare_words(&mut self, number: u64, query: &Query, ours: &Answer, theirs: &Answer) {
        let (Answer::Error(_, ours), Answer::Error(_, theirs)) = (ours, theirs) else { return };
        // Which two series of several are named differs from time to time in theirs.
        let words = |text: &str| text.split([':', '{', '[']).next().unwrap_or_default().to_owned();
        if words(ours) != words(theirs) {
            self.other_words += 1;
            println!(
                "other words {number}: {}\n  ours:   {ours}\n  theirs: {theirs}",
                query.text(Words::Three)
            );
        }
    }

    fn print(&self, asked: usize, took: Duration) {
        let explained: usize = self.explained.values().sum();
        println!(
            "{asked} queries in {} s, {} with values, {} errors ({} in other words)",
            took.as_secs(),
            self.with_values,
            self.errors,
            self.other_words
        );
        for (rule, count) in &self.explained {
            println!("  explained by {rule}: {count}");
        }
        println!(
            "differential: {asked} = {} same + {explained} explained + {} different",
            self.same,
            self.different.len()
        );
    }
}

/// An instant query that sorts: values stand in the same order. Series with the same value may stand in any.
fn out_of_order(query: &Query, when: When, ours: &Answer, theirs: &Answer) -> Option<Difference> {
    let sorts = matches!(
        query,
        Query::Call("sort" | "sort_desc", _) | Query::Aggregate("topk" | "bottomk", None, ..)
    );
    let (true, When::Instant(_), Answer::Series(ours), Answer::Series(theirs)) = (sorts, when, ours, theirs)
    else {
        return None;
    };
    let values =
        |series: &[(Metric, Vec<Point>)]| series.iter().map(|(_, points)| points[0].1).collect::<Vec<_>>();
    let (ours, theirs) = (values(ours), values(theirs));
    let differs = |(ours, theirs): &(&f64, &f64)| !is_same(**ours, **theirs, TOLERANCE);
    let (ours, theirs) = ours.iter().zip(&theirs).find(differs)?;
    Some(Difference::Values("the order".to_owned(), *ours, *theirs))
}

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

#[test]
fn random_queries_are_answered_as_by_prometheus() {
    let seed = setting("PANTAU_DIFFERENTIAL_SEED").unwrap_or(SEED);
    let count = setting("PANTAU_DIFFERENTIAL").unwrap_or(USUAL);
    println!("seed {seed}, {count} queries");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let Some(pair) = Pair::start(folder.path(), &data::series(seed)) else { return };
    let numbers = setting("PANTAU_DIFFERENTIAL_ONE").map_or(0..count, |one| one..one + 1);
    let (began, asked) = (Instant::now(), numbers.end - numbers.start);
    let mut summary = Summary::default();
    for number in numbers {
        summary.take(&pair, number, &case(seed, number));
    }
    summary.print(usize::try_from(asked).expect("not that many"), began.elapsed());
    assert!(summary.different.is_empty(), "{} differ", summary.different.len());
    let enough = asked < USUAL || summary.with_values * 2 > summary.same;
    assert!(enough, "only {} queries found anything: the generator fell ill", summary.with_values);
}
