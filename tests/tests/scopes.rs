//! A reader of one region, on every route: nothing of another region is in any answer's body, header or error.

use std::time::Duration;

use model::{Labels, MetricKind, MetricMetadata};
use pantau_tests::http::{Answer, As, Http};
use pantau_tests::pantau::Collector;
use pantau_tests::routes::{For, ROUTES};
use pantau_tests::{wait_for, writer};

const ALL: &str = "everything-0123456789abcdef";
const KUDUS: &str = "kudus-0123456789abcdef";

/// What is only there in the other region; in any letter case.
const TRACES: [&str; 2] = ["secret", "33.74"];

/// Expressions that reach for everything, some of them with errors that name series. None of them names the other region.
const EXPRESSIONS: [&str; 14] = [
    r#"{__name__=~".+"}"#,
    r#"{region!=""}"#,
    r#"{region!="33.19"}"#,
    r#"{__name__=~".+"}[5m]"#,
    r#"count by (__name__, region, site, agent, job, instance) ({__name__=~".+"})"#,
    r#"{__name__=~".+"} + on () {__name__=~".+"}"#,
    r#"up * on (job) group_left (region) {__name__=~".+"}"#,
    r#"label_replace({__name__=~".+"}, "job", "same", "", "")"#,
    r#"count_values("v", {__name__=~".+"})"#,
    r#"topk by (region) (9, {__name__=~".+"})"#,
    r#"info({__name__=~".+"})"#,
    r#"absent({region!="33.19"})"#,
    r#"sort_by_label({__name__=~".+"}, "region")"#,
    r#"rate({__name__=~".+"}[5m])"#,
];

const LABELS: [&str; 8] = ["__name__", "region", "site", "agent", "job", "instance", "alertname", "place"];

fn rules() -> String {
    let group = |name: &str, region: &str| {
        format!(
            "- name: {name}-group\n  interval: 1s\n  rules:\n\
             \x20 - {{alert: {name}Down, expr: 'up{{region=\"{region}\"}} == 0', annotations: {{summary: '{name} {{{{ $labels.instance }}}}'}}}}\n\
             \x20 - {{record: '{name}:up:sum', expr: 'sum by (region, site) (up{{region=\"{region}\"}})'}}\n"
        )
    };
    // Rules over all regions: a template that asks for everything, an error that names series, a sum without a region.
    let mixed = "- name: all-group\n  interval: 1s\n  rules:\n\
         \x20 - {alert: AnyDown, expr: 'up == 0', annotations: {summary: '{{ range query \"up\" }}{{ .Labels.instance }} {{ end }}'}}\n\
         \x20 - {record: 'all:broken', expr: 'shared_metric * on () group_left () shared_metric'}\n\
         \x20 - {record: 'all:sum', expr: 'sum(shared_metric)'}\n";
    format!("groups:\n{}{}{mixed}", group("secret", "33.74"), group("plain", "33.19"))
}

fn collector(folder: &std::path::Path) -> Collector {
    for (name, token) in [("all.token", ALL), ("kudus.token", KUDUS)] {
        std::fs::write(folder.join(name), token).expect("the token can be written");
    }
    std::fs::write(folder.join("rules.yml"), rules()).expect("the rules can be written");
    let collector = Collector::start(
        folder,
        "agent: {enabled: false}\nadmin_api: true\nrules: {files: [rules.yml]}\n\
         readers:\n- {name: secretary, token: {file: all.token}, admin: true}\n\
         - {name: kudus, token: {file: kudus.token}, scope: {regions: ['33.19']}}\n",
    );
    let secret = collector.enrol("edge-secret", "33.74", "secret-site");
    let plain = collector.enrol("edge-kudus", "33.19", "kudus-1");
    fill(&collector, &secret, "secret");
    fill(&collector, &plain, "plain");
    collector
}

/// Series, exemplars and metadata of one region, as its agent sends them.
fn fill(collector: &Collector, token: &str, word: &str) {
    let now = writer::now();
    let (metric, instance) = (format!("{word}_temperature_celsius"), format!("{word}-sw1"));
    let (job, trace) = (format!("{word}-job"), format!("{word}-trace"));
    let series = |name: &str| {
        Labels::from_pairs([("__name__", name), ("job", &job), ("instance", &instance), ("place", &instance)])
    };
    let mut writer = wire::v1::Writer::default();
    for (labels, value) in [(series("up"), 0.0), (series("shared_metric"), 2.0), (series(&metric), 21.5)] {
        let exemplar: &[(&str, &str)] = &[("trace_id", &trace)];
        let exemplars = [(exemplar, now, 1.0)];
        writer.series_with(
            labels.iter(),
            [(now - Duration::from_secs(15), value), (now, value)],
            [],
            exemplars,
        );
    }
    let help = format!("Of the {word} room.");
    writer.metadata(&metric, &MetricMetadata { kind: MetricKind::Gauge, help, unit: "celsius".into() });
    let body = writer::packed(&writer.finish());
    let url = format!("{}/api/v1/write", collector.base);
    let answer = collector.http.ask("POST", &url, As::Bearer(token), &writer::HEADERS, body);
    assert_eq!(answer.status, 204, "{}", answer.body);
}

/// Every request of the walk: each route as it is, and with whatever reaches for more.
fn requests() -> Vec<(&'static str, String, usize)> {
    let encoded = |text: &str| text.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>();
    let now = writer::now().as_millis() / 1000;
    // What was written in this very second lies behind its beginning.
    let span = format!("start={}&end={}", now - 600, now + 60);
    let mut requests = Vec::new();
    for (index, route) in ROUTES.iter().enumerate() {
        let mut add = |path: String| requests.push((route.method, path, index));
        add(route.ask.to_owned());
        match route.name {
            "/api/v1/query" => EXPRESSIONS.iter().for_each(|expression| {
                add(format!("{}?query={}&stats=all&limit=0", route.name, encoded(expression)));
            }),
            "/api/v1/query_range" => EXPRESSIONS.iter().for_each(|expression| {
                add(format!("{}?query={}&step=15&{span}", route.name, encoded(expression)));
            }),
            "/api/v1/query_exemplars" => {
                add(format!("{}?query={}&{span}", route.name, encoded(EXPRESSIONS[0])));
            }
            "/api/v1/series" | "/api/v1/labels" | "/federate" => {
                EXPRESSIONS[..3].iter().for_each(|selector| {
                    add(format!("{}?match[]={}", route.name, encoded(selector)));
                })
            }
            "/api/v1/label/{name}/values" => LABELS.iter().for_each(|label| {
                add(format!("/api/v1/label/{label}/values"));
                add(format!("/api/v1/label/{label}/values?match[]={}", encoded(EXPRESSIONS[2])));
            }),
            "/api/v1/metadata" => add("/api/v1/metadata?limit_per_metric=9".to_owned()),
            "/api/v1/targets/metadata" => {
                add(format!("/api/v1/targets/metadata?match_target={}", encoded(EXPRESSIONS[2])))
            }
            "/api/v1/targets" => add("/api/v1/targets?state=any".to_owned()),
            "/api/v1/rules" => ["type=alert", "type=record", "exclude_alerts=true", "group_limit=100"]
                .iter()
                .for_each(|more| add(format!("/api/v1/rules?{more}"))),
            "/api/v1/status/tsdb" => add("/api/v1/status/tsdb?by=agent&limit=1000".to_owned()),
            "/api/v1/status/active_queries/kill" => {
                (0..4).for_each(|id| add(format!("{}?id={id}", route.name)))
            }
            "/" => ["/?lang=en", "/?lang=id"].iter().for_each(|page| add((*page).to_owned())),
            "AGENTS" | "GAPS" => {}
            _ => {}
        }
    }
    requests
}

fn ask(collector: &Collector, request: &(&'static str, String, usize), token: &str) -> Answer {
    let (method, path, index) = request;
    let route = &ROUTES[*index];
    let url = format!("{}{path}", collector.base);
    collector.http.ask(method, &url, As::Bearer(token), route.headers(), route.body())
}

/// A trace of the other region, with what stands around it.
fn trace(answer: &Answer) -> Option<String> {
    let headers = answer.headers.iter().map(|(name, value)| format!("{name}: {value}\n")).collect::<String>();
    let said = format!("{headers}\n{}", answer.body).to_ascii_lowercase();
    let at = TRACES.iter().find_map(|trace| position(&said, trace))?;
    let near = |from: usize| said.char_indices().map(|(at, _)| at).take_while(|at| *at <= from).last();
    let start = near(at.saturating_sub(200)).unwrap_or(0);
    Some(said[start..].chars().take(400).collect())
}

/// Where a text stands that is no part of a longer number: the time 1795418033.746 tells nothing of the region 33.74.
fn position(said: &str, text: &str) -> Option<usize> {
    let is_digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_digit);
    let bytes = said.as_bytes();
    let stands_alone = |at: usize| {
        !is_digit(at.checked_sub(1).map(|before| &bytes[before])) && !is_digit(bytes.get(at + text.len()))
    };
    said.match_indices(text).map(|(at, _)| at).find(|at| stands_alone(*at))
}

#[test]
fn a_part_of_a_number_is_no_trace() {
    assert_eq!(position("[1795418033.746, 33.74]", "33.74"), Some(17));
    assert_eq!(position("1795418033.746 33.741 133.74", "33.74"), None);
    assert_eq!(position("region=\"33.74\"", "33.74"), Some(8));
}

#[test]
fn a_reader_of_one_region_finds_no_trace_of_another() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let collector = collector(folder.path());
    // Rules have been evaluated: who sees everything sees both alerts.
    wait_for("alerts of both regions", Duration::from_secs(60), || {
        let answer = collector.http.get_as(&format!("{}/api/v1/alerts", collector.base), ALL).ok()?;
        let has = |name: &str| answer.body.contains(name);
        (has("secretDown") && has("plainDown") && has("secret-sw1 ")).then_some(())
    });
    wait_for("the error of a rule that names series", Duration::from_secs(60), || {
        let answer = collector.http.get_as(&format!("{}/api/v1/rules", collector.base), ALL).ok()?;
        answer.body.contains("found duplicate series").then_some(())
    });
    // A query of the other region runs all the while.
    let heavy = "quantile_over_time(0.5, quantile_over_time(0.5, vector(1)[1000m:1s])[1000m:1s]) + on () \
                 shared_metric{job=\"secret-job\"}";
    let url = format!(
        "{}/api/v1/query?query={}",
        collector.base,
        heavy.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>()
    );
    let running = std::thread::spawn(move || drop(Http::default().get_as(&url, ALL)));
    let active = format!("{}/api/v1/status/active_queries", collector.base);
    let own = wait_for("the query to run", Duration::from_secs(30), || {
        let answer = collector.http.get_as(&active, ALL).expect("an answer").json();
        answer["data"][0]["id"].as_str().map(str::to_owned)
    });

    let mut found_by_all = Vec::new();
    let mut own_seen = 0;
    // What the walk must not end by accident comes first; ending the store's data is not part of it.
    let walk: Vec<_> =
        requests().into_iter().filter(|request| ROUTES[request.2].whom != For::Agents).collect();
    for request in &walk {
        let answer = ask(&collector, request, KUDUS);
        if let Some(trace) = trace(&answer) {
            panic!("{} {} tells a reader of 33.19 of another region:\n…{trace}…", request.0, request.1);
        }
        own_seen += usize::from(answer.status == 200 && answer.body.contains("plain"));
        assert!(answer.status < 500 || answer.status == 503, "{} {}: {}", request.0, request.1, answer.body);
    }
    // The same walk by who sees everything, as far as it changes nothing, shows that there was something to find.
    let harmless =
        |route: usize| ROUTES[route].whom != For::Administrators && !ROUTES[route].name.ends_with("kill");
    for request in walk.iter().filter(|request| harmless(request.2)) {
        if trace(&ask(&collector, request, ALL)).is_some() {
            found_by_all.push(ROUTES[request.2].name);
        }
    }
    for name in [
        "/",
        "/metrics",
        "/federate",
        "/api/v1/query",
        "/api/v1/query_range",
        "/api/v1/query_exemplars",
        "/api/v1/label/{name}/values",
        "/api/v1/series",
        "/api/v1/metadata",
        "/api/v1/read",
        "/api/v1/targets",
        "/api/v1/targets/metadata",
        "/api/v1/scrape_pools",
        "/sd/http",
        "/api/v1/rules",
        "/api/v1/alerts",
        "/api/v1/status/tsdb",
        "/api/v1/status/active_queries",
        "AGENTS",
        "GAPS",
    ] {
        assert!(
            found_by_all.contains(&name),
            "{name} shows nothing of the other region to anybody: {found_by_all:?}"
        );
    }
    assert!(own_seen > 30, "the reader sees its own region: {own_seen}");
    let kill = format!("{}/api/v1/status/active_queries/kill?id={own}", collector.base);
    let ended = collector.http.ask("POST", &kill, As::Bearer(ALL), &[], Vec::new()).json();
    assert_eq!(ended["data"]["ended"], true, "the walk did not end it");
    running.join().expect("no panic");
}
