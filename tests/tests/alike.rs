//! The API's replies beside those of Debian's Prometheus: the same bytes for the same questions, mistakes included.
//!
//! Left out is what Prometheus has changed since that version (2.42): "Invalid time value" is written small, errors of range queries
//! name the parameter, `sum by(x)` is printed with a space, and numbers are printed without exponents.

use std::path::Path;

use pantau_tests::free_port;
use pantau_tests::http::As;
use pantau_tests::pantau::Collector;
use pantau_tests::peers::peer;
use pantau_tests::running::Running;

/// Method and what is asked; none of it depends on data or on the time.
const CALLS: &[(&str, &str)] = &[
    ("GET", "query"),
    ("GET", "query?query="),
    ("GET", "query?query=up%7B"),
    ("GET", "query?query=foo%20%2B%20*%20bar"),
    ("GET", "query?query=rate(foo)"),
    ("GET", "query?query=nosuch(foo)"),
    ("GET", "query?query=1%20and%202"),
    ("GET", "query?query=1&time=4&timeout=abc"),
    ("GET", "query?query=1&time=4"),
    ("POST", "query?query=1%2F0&time=4.25"),
    ("GET", "query?query=%22s%22&time=4.5"),
    ("GET", "query?query=%22%C3%A9%5Cn%22&time=0"),
    ("GET", "query?query=vector(-0.5)&time=2026-01-01T00:00:00Z"),
    ("GET", "query?query=vector(1e22)&time=2026-01-01T00:00:00.123456%2B07:00"),
    ("GET", "query?query=vector(1e-7)&time=1.23456"),
    ("GET", "query?query=sum(nothing)&time=4"),
    ("GET", "query?query=nothing%5B5m%5D&time=4"),
    ("GET", "query?query=1&time=4&unknown=x"),
    ("GET", "query_range?query=1&start=0&end=10&step=5"),
    ("GET", "query_range?query=NaN&start=0&end=1&step=0.5"),
    ("POST", "query_range?query=time()&start=0&end=10&step=1m"),
    ("GET", "query_range?query=1&start=0&end=10"),
    ("GET", "query_range?query=1&start=0&end=10&step=0"),
    ("GET", "query_range?query=1&start=0&end=10&step=-1"),
    ("GET", "query_range?query=1&start=0&end=10&step=abc"),
    ("GET", "query_range?query=1&start=0&end=10&step=1e400"),
    ("GET", "query_range?query=1&start=0&end=10&step=99999999999999"),
    ("GET", "query_range?query=1&start=10&end=0&step=1"),
    ("GET", "query_range?query=1&end=0&step=1"),
    ("GET", "query_range?query=1&start=0&step=1"),
    ("GET", "query_range?query=1&start=0&end=11001&step=1"),
    ("GET", "query_exemplars?query=nothing"),
    ("GET", "query_exemplars?query=up%7B"),
    ("GET", "query_exemplars?query=up&start=10&end=1"),
    ("GET", "labels?match[]=nothing"),
    ("POST", "labels?match[]=nothing"),
    ("GET", "labels?match[]=%7B"),
    ("GET", "labels?match[]=%7Ba=~%22.*%22%7D"),
    ("GET", "labels?start=10&end=1"),
    ("GET", "label/__name__/values?match[]=nothing"),
    ("GET", "label//values"),
    ("GET", "series"),
    ("GET", "series?match[]="),
    ("GET", "series?match[]=nothing"),
    ("GET", "series?match[]=%7B"),
    ("GET", "series?match[]=%7B%7D"),
    ("POST", "series?match[]=up&start=10&end=1"),
    ("GET", "metadata?limit=x"),
    ("GET", "metadata?metric=nothing"),
    ("GET", "alerts"),
    ("GET", "rules"),
    ("GET", "rules?type=alert"),
    ("GET", "format_query"),
    ("GET", "format_query?query=up%7B"),
    ("POST", "format_query?query=up"),
    ("GET", "format_query?query=sum(-foo%7Ba=%22b%22,c!~%22d%22%7D%5B5m:1m%5D%20offset%201d)"),
    ("GET", "format_query?query=-sum(rate(a%5B5m%5D%20@%201.5))%20^%20-2%20%2B%20%2B3"),
    (
        "GET",
        "format_query?query=label_replace(%7B__name__=%22foo%22,a=%22%5C%22x%22%7D,%22a%22,%27b%27,%60c%60,%22d%22)",
    ),
    ("GET", "format_query?query=a%20offset%20-1w1d%20@%20end()%20unless%20b"),
    ("GET", "nothing"),
    ("GET", ""),
    ("POST", "admin/tsdb/delete_series"),
    ("POST", "admin/tsdb/delete_series?match[]=nothing"),
    ("PUT", "admin/tsdb/clean_tombstones"),
];

/// Expressions of more than one line.
fn long_expressions() -> Vec<String> {
    let (a, b) = ("a".repeat(60), "b".repeat(60));
    let selector = format!("{a}{{job=\"{}\"}}", "j".repeat(20));
    vec![
        format!("histogram_quantile(0.9, {selector} / {b})"),
        format!("-({selector} or {b})"),
        format!("topk(3, {selector} and {b})"),
        format!("max_over_time({selector}[5m:])"),
        format!("max_over_time(({selector} / {b})[5m:1m] offset 1h)"),
        format!("sum({a}) - {b} * {selector} > bool 1"),
        format!("label_replace(({a} + {b}), \"x\", \"$1\", \"y\", \"(.*)\")"),
    ]
}

fn prometheus(folder: &Path) -> Option<(Running, String)> {
    let mut command = peer("usr/bin/prometheus")?;
    let (config, port) = (folder.join("prometheus.yml"), free_port());
    std::fs::write(&config, "global: {}\n").expect("the configuration can be written");
    command
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("prometheus").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .arg("--web.enable-admin-api");
    Some((Running::start("prometheus", &mut command, folder), format!("http://127.0.0.1:{port}")))
}

#[test]
fn the_same_questions_have_the_same_answers() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let Some((mut running, theirs)) = prometheus(folder.path()) else { return };
    let collector = Collector::start(folder.path(), "admin_api: true\nagent: {enabled: false}\n");
    let ready = format!("{theirs}/-/ready");
    running.wait_until("ready", || collector.http.get(&ready).ok().filter(|answer| answer.status == 200));
    let mut calls: Vec<(&str, String)> =
        CALLS.iter().map(|(method, path)| (*method, (*path).to_owned())).collect();
    for expression in long_expressions() {
        let mut url = reqwest::Url::parse("http://x/format_query").expect("a URL");
        url.query_pairs_mut().append_pair("query", &expression);
        calls.push(("GET", url.as_str().trim_start_matches("http://x/").to_owned()));
    }
    let mut different = Vec::new();
    for (method, path) in &calls {
        let ask = |base: &str| {
            let answer =
                collector.http.ask(method, &format!("{base}/api/v1/{path}"), As::Nobody, &[], Vec::new());
            let kind = answer.header("content-type").unwrap_or_default().to_owned();
            // Go writes < and > by their numbers, which reads alike.
            let body = answer.body.replace("\\u003c", "<").replace("\\u003e", ">");
            (answer.status, kind, body)
        };
        let (ours, his) = (ask(&collector.base), ask(&theirs));
        if ours != his {
            different.push(format!("{method} {path}\n  ours:       {ours:?}\n  prometheus: {his:?}"));
        }
    }
    assert!(different.is_empty(), "{} of {} differ:\n{}", different.len(), calls.len(), different.join("\n"));
}
