//! The HTTP API against what Prometheus says of its own: its OpenAPI description, and the calls that Grafana's data source makes.
//!
//! Both run against a real collector with data. `cargo xtask conformance` prints their counts; none may fall below what
//! `tests/conformance.txt` has. Without the shared material they say that they are left out.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use model::{Histogram, Labels, MetricKind, MetricMetadata, Timestamp};
use pantau_tests::conformance::expect_at_least;
use pantau_tests::http::As;
use pantau_tests::pantau::Collector;
use pantau_tests::peers::{peers_folder, root, shared};
use pantau_tests::writer;
use serde_json::json;

/// Python with the packages that `cargo xtask setup` fetched; `None` where the run leaves peers out (it says so).
fn python() -> Option<Command> {
    if std::env::var_os("PANTAU_TEST_WITHOUT_PEERS").is_some() {
        println!("left out: Python's packages (PANTAU_TEST_WITHOUT_PEERS is set)");
        return None;
    }
    let mut python = Command::new("python3");
    python.env("PYTHONPATH", peers_folder().join("python"));
    Some(python)
}

/// A file of the shared material.
fn shared_file(path: &str) -> Option<PathBuf> {
    let file = shared()?.join(path);
    if !file.is_file() {
        println!("left out: {} is not there", file.display());
        return None;
    }
    Some(file)
}

/// A collector that watches this host, with a counter of every kind of data beside that.
fn with_data(folder: &Path) -> Collector {
    let host = "agent: {inputs: {host: {interval: 1s, timeout: 1s, source_timeout: 1s}}}\n";
    let collector = Collector::start(folder, &format!("admin_api: true\n{host}"));
    write_counter(&collector);
    // Two rounds: clients cut the time of a query to whole seconds, which may be before the first round.
    collector.wait_for_value("count_over_time(node_load1[1m])", |rounds| rounds >= 2.0);
    collector.wait_for_value("histogram_count(latency_seconds)", |count| count == 410.0);
    collector
}

/// Ten minutes of a counter with exemplars and metadata, and of `up`.
fn write_counter(collector: &Collector) {
    let now = writer::now();
    let at = |step: u64| now - Duration::from_secs(15 * (40 - step));
    let samples = |value: fn(u64) -> f64| (0..=40).map(move |step| (at(step), value(step)));
    let mut request = wire::v1::Writer::default();
    let trace: &[(&str, &str)] = &[("trace_id", "a1b2")];
    for instance in ["a:9100", "b:9100"] {
        let labels = |name| Labels::from_pairs([("__name__", name), ("job", "test"), ("instance", instance)]);
        let exemplars = [(trace, at(39), 0.5), (trace, at(40), 1.5)];
        request.series_with(
            labels("requests_total").iter(),
            samples(|step| step as f64 * 7.0),
            [],
            exemplars,
        );
        request.series(&labels("up"), samples(|_| 1.0));
    }
    let latency: Histogram =
        "{{schema:1 count:10 sum:4.5 z_bucket:1 z_bucket_w:0.001 buckets:[2 3] n_buckets:[4]}}"
            .parse()
            .expect("a histogram");
    let histograms: Vec<Vec<u8>> = (0..=40)
        .map(|step| {
            let mut message = Vec::new();
            latency.clone().times((step + 1) as f64).encode(at(step), &mut message);
            message
        })
        .collect();
    let labels = [("__name__", "latency_seconds"), ("job", "test"), ("instance", "a:9100")];
    let histograms = histograms.iter().map(Vec::as_slice);
    request.series_with(labels, [], histograms, std::iter::empty::<(&[(&str, &str)], Timestamp, f64)>());
    let help = "Requests that were answered.".to_owned();
    request.metadata(
        "requests_total",
        &MetricMetadata { kind: MetricKind::Counter, help, ..MetricMetadata::default() },
    );
    let body = writer::packed(&request.finish());
    let answer = writer::send(&collector.http, &collector.base, body).expect("an answer");
    assert_eq!(answer.status, 204, "{}", answer.body);
}

#[test]
fn grafana_s_calls_are_answered() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let Some((script, mut python)) = shared_file("tools/grafana_calls.py").zip(python()) else { return };
    let collector = with_data(folder.path());
    let output = python.arg(script).arg(&collector.base).output().expect("python3 starts");
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}");
    assert!(text.contains("health check"), "{}", String::from_utf8_lossy(&output.stderr));
    let calls = text.lines().filter(|line| line.starts_with("ok ") || line.starts_with("FAIL "));
    let passed = text.lines().filter(|line| line.starts_with("ok ")).count();
    let line = format!("grafana: {passed}/{}", calls.count());
    println!("{line}");
    expect_at_least(&line);
}

/// One call: method, path as the description has it, what is asked (`START` and `END` stand for times), and whether it must fail.
type Call = (&'static str, &'static str, &'static str, bool);

/// Every operation that we have, with its usual parameters; some with others, or with mistakes. Left out: `delete_series` and
/// `clean_tombstones`, which answer 204 without a body, as Prometheus does and its description does not; a `string` result, which that
/// refuses.
const CALLS: &[Call] = &[
    ("GET", "query", "query=up&time=END", false),
    ("POST", "query", "query=1%2B1&time=4", false),
    ("GET", "query", "query=requests_total%5B1m%5D&time=END", false),
    ("POST", "query", "query=sum(rate(requests_total%5B5m%5D))&stats=all&limit=1", false),
    ("GET", "query", "query=latency_seconds&time=END", false),
    ("GET", "query", "query=up%7B", true),
    ("GET", "query_range", "query=up&start=START&end=END&step=15", false),
    ("POST", "query_range", "query=sum(up)&start=START&end=END&step=1m&stats=all&timeout=30s", false),
    ("GET", "query_range", "query=rate(latency_seconds%5B1m%5D)&start=START&end=END&step=30", false),
    ("GET", "query_range", "query=up&start=END&end=START&step=15", true),
    ("GET", "query_exemplars", "query=requests_total&start=START&end=END", false),
    ("POST", "query_exemplars", "query=requests_total", false),
    ("GET", "format_query", "query=sum(up)by(job)", false),
    ("POST", "format_query", "query=up%2Bup", false),
    ("GET", "parse_query", "query=sum(rate(requests_total%5B5m%5D))%20by%20(job)", false),
    ("POST", "parse_query", "query=up%20and%20up", false),
    ("GET", "labels", "match[]=up&start=START&end=END&limit=10", false),
    ("POST", "labels", "limit=1", false),
    ("GET", "label/{name}/values", "match[]=up&limit=10", false),
    ("GET", "series", "match[]=up&start=START&end=END", false),
    ("POST", "series", "match[]=%7Bjob%3D%22test%22%7D&limit=1", false),
    ("GET", "series", "", true),
    ("GET", "metadata", "limit=10", false),
    ("GET", "metadata", "metric=requests_total", false),
    ("GET", "targets", "", false),
    ("GET", "targets", "state=active", false),
    ("GET", "targets/metadata", "limit=10", false),
    ("GET", "scrape_pools", "", false),
    ("GET", "rules", "", false),
    ("GET", "rules", "type=alert", false),
    ("GET", "alerts", "", false),
    ("GET", "alertmanagers", "", false),
    ("GET", "notifications", "", false),
    ("GET", "features", "", false),
    ("GET", "status/config", "", false),
    ("GET", "status/flags", "", false),
    ("GET", "status/runtimeinfo", "", false),
    ("GET", "status/buildinfo", "", false),
    ("GET", "status/tsdb", "limit=5", false),
    ("GET", "status/tsdb/blocks", "", false),
    ("GET", "status/walreplay", "", false),
    ("POST", "admin/tsdb/snapshot", "", false),
];

#[test]
fn replies_are_as_prometheus_describes_them() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let description = shared_file("conformance/http-api/openapi_3.1_golden.yaml");
    let Some((description, mut python)) = description.zip(python()) else { return };
    let collector = with_data(folder.path());
    let end = writer::now().as_millis() / 1000;
    let mut replies: Vec<_> = CALLS.iter().map(|call| ask(&collector, call, end)).collect();
    // The control: a reply that does not conform is found.
    let mut wrong = ask(&collector, &("GET", "status/buildinfo", "", false), end);
    wrong["call"] = "control".into();
    wrong["body"] = wrong["body"].as_str().expect("a text").replace("\"branch\"", "\"twig\"").into();
    replies.push(wrong);
    let file = folder.path().join("replies.json");
    std::fs::write(&file, serde_json::to_vec(&replies).expect("JSON")).expect("the replies can be written");
    let check = root().join("tests/tests/openapi_check.py");
    let output = python.arg(check).arg(description).arg(file).output().expect("python3 starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let (control, text) = {
        let (control, calls) = text.lines().partition::<Vec<_>, _>(|line| line.contains(" control"));
        (control.join("\n"), calls.join("\n"))
    };
    assert!(control.starts_with("FAIL"), "{control:?}: {}", String::from_utf8_lossy(&output.stderr));
    println!("{text}");
    let passed = text.lines().filter(|line| line.starts_with("ok ")).count();
    let failed = text.lines().filter(|line| line.starts_with("FAIL ")).count();
    assert_eq!(passed + failed, CALLS.len(), "{}", String::from_utf8_lossy(&output.stderr));
    let line = format!("openapi: {passed}/{}", CALLS.len());
    println!("{line}");
    expect_at_least(&line);
}

fn ask(collector: &Collector, (method, path, query, fails): &Call, end: i64) -> serde_json::Value {
    let form = query.replace("START", &(end - 300).to_string()).replace("END", &end.to_string());
    let url = format!("{}/api/v1/{}", collector.base, path.replace("{name}", "job"));
    let is_form = *method == "POST";
    let url = if is_form || form.is_empty() { url } else { format!("{url}?{form}") };
    let headers: &[(&str, &str)] =
        if is_form { &[("content-type", "application/x-www-form-urlencoded")] } else { &[] };
    let body = if is_form { form.into_bytes() } else { Vec::new() };
    let answer = collector.http.ask(method, &url, As::Nobody, headers, body);
    json!({
        "method": method,
        "path": path,
        "call": format!("{method} {path} {query}"),
        "fails": fails,
        "status": answer.status,
        "type": answer.header("content-type").unwrap_or_default(),
        "body": answer.body,
    })
}
