//! Queries while they run: the list, ending one, a client that leaves, the log.

use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use pantau_tests::http::{Answer, Http};
use pantau_tests::pantau::Collector;
use pantau_tests::wait_for;

/// Takes far longer than any test waits for it.
const HEAVY: &str = "quantile_over_time(0.5, quantile_over_time(0.5, vector(1)[1000m:1s])[1000m:1s])";

fn collector(folder: &Path) -> Collector {
    Collector::start(folder, "agent: {enabled: false}\nquery_log: {file: queries.log}\n")
}

fn url(collector: &Collector, path: &str, query: &str) -> String {
    let query: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
    format!("{}{path}?query={query}", collector.base)
}

fn active(collector: &Collector) -> Vec<serde_json::Value> {
    let answer = collector.http.get(&format!("{}/api/v1/status/active_queries", collector.base));
    answer.expect("an answer").json()["data"].as_array().expect("a list").clone()
}

fn running(collector: &Collector) -> serde_json::Value {
    wait_for("the query to run", Duration::from_secs(30), || {
        active(collector).into_iter().find(|query| query["state"] == "running")
    })
}

fn log(collector: &Collector) -> String {
    std::fs::read_to_string(collector.folder.join("queries.log")).unwrap_or_default()
}

fn kill(collector: &Collector, id: &str) -> Answer {
    let url = format!("{}/api/v1/status/active_queries/kill?id={id}", collector.base);
    collector.http.post(&url, &[], Vec::new()).expect("an answer")
}

#[test]
fn a_query_that_runs_is_listed_and_can_be_ended() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let collector = collector(folder.path());
    let heavy = url(&collector, "/api/v1/query", HEAVY);
    let waiting = std::thread::spawn(move || Http::default().get(&heavy).expect("an answer"));
    let query = running(&collector);
    assert_eq!(query["query"], HEAVY);
    assert_eq!(
        (&query["request"]["path"], &query["timeoutSeconds"]),
        (&"/api/v1/query".into(), &120.0.into())
    );
    let id = query["id"].as_str().expect("a number as text");
    assert_eq!(kill(&collector, "no number").status, 400);
    assert_eq!(kill(&collector, "999999").json()["data"]["ended"], false);
    assert_eq!(kill(&collector, id).json()["data"]["ended"], true);
    let answer = waiting.join().expect("no panic");
    assert_eq!((answer.status, &answer.json()["errorType"]), (499, &"canceled".into()));
    wait_for("the query to be gone", Duration::from_secs(30), || active(&collector).is_empty().then_some(()));
    let line = wait_for("its line in the log", Duration::from_secs(30), || {
        log(&collector).lines().next().map(str::to_owned)
    });
    let line: serde_json::Value = serde_json::from_str(&line).expect("a line is JSON");
    assert_eq!(
        (&line["params"]["query"], &line["httpRequest"]["path"]),
        (&HEAVY.into(), &"/api/v1/query".into())
    );
    assert!(line["error"].as_str().is_some_and(|why| why.contains("canceled")), "{line}");
}

#[test]
fn a_query_whose_client_leaves_ends() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let collector = collector(folder.path());
    let heavy = url(&collector, "/api/v1/query", HEAVY);
    let (address, path) = heavy.strip_prefix("http://").and_then(|rest| rest.split_once('/')).expect("a URL");
    let mut client = TcpStream::connect(address).expect("connected");
    write!(client, "GET /{path} HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("sent");
    running(&collector);
    drop(client);
    wait_for("the query to be gone", Duration::from_secs(30), || active(&collector).is_empty().then_some(()));
    let metrics = collector.http.get(&format!("{}/metrics", collector.base)).expect("an answer").body;
    assert!(metrics.contains("pantau_queries_total{outcome=\"left\"} 1\n"), "{metrics}");
}

/// A rule that takes for ever is in the list like any query, and ending it ends that evaluation and nothing else.
#[test]
fn a_rule_that_runs_is_listed_and_can_be_ended() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let group = |name: &str, expr: &str| {
        format!("- {{name: {name}, interval: 1s, rules: [{{record: '{name}', expr: '{expr}'}}]}}\n")
    };
    let rules = format!("groups:\n{}{}", group("slow", HEAVY), group("quick", "vector(time())"));
    std::fs::write(folder.path().join("rules.yml"), rules).expect("written");
    let settings = "agent: {enabled: false}\nquery_log: {file: queries.log}\nrules: {files: [rules.yml]}\n";
    let collector = Collector::start(folder.path(), settings);
    let quick = || collector.http.query_value(&collector.base, "quick");
    let before = wait_for("the quick rule", Duration::from_secs(30), quick);
    let query = wait_for("the slow rule to run", Duration::from_secs(30), || {
        active(&collector).into_iter().find(|query| query["query"] == HEAVY)
    });
    assert_eq!(query["rule"]["group"], "slow", "{query}");
    wait_for("the quick rule to go on beside it", Duration::from_secs(30), || {
        quick().filter(|value| *value > before)
    });
    assert_eq!(
        kill(&collector, query["id"].as_str().expect("a number as text")).json()["data"]["ended"],
        true
    );
    let line = wait_for("its line in the log", Duration::from_secs(30), || {
        log(&collector).lines().find(|line| line.contains("quantile_over_time")).map(str::to_owned)
    });
    let line: serde_json::Value = serde_json::from_str(&line).expect("a line is JSON");
    assert_eq!((&line["ruleGroup"]["name"], &line["params"]["query"]), (&"slow".into(), &HEAVY.into()));
    assert!(line["error"].as_str().is_some_and(|why| why.contains("canceled")), "{line}");
    let health = wait_for("what the rule's health is", Duration::from_secs(30), || {
        let answer =
            collector.http.get(&format!("{}/api/v1/rules?rule_group[]=slow", collector.base)).ok()?;
        let rule = answer.json()["data"]["groups"][0]["rules"][0].clone();
        (rule["health"] == "err").then_some(rule)
    });
    assert!(health["lastError"].as_str().is_some_and(|why| why.contains("canceled")), "{health}");
    // It is evaluated again when it is due.
    wait_for("the next evaluation", Duration::from_secs(30), || {
        active(&collector).into_iter().find(|again| again["query"] == HEAVY && again["id"] != query["id"])
    });
}

/// Forms of 4 MiB wait for places that others hold: all together they have 64 MiB, and what is small is answered all the same.
#[test]
fn large_forms_that_wait_share_their_room() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let collector = Collector::start(folder.path(), "agent: {enabled: false}\nquery: {concurrent_max: 1}\n");
    let heavy = url(&collector, "/api/v1/query", HEAVY);
    let holding = std::thread::spawn(move || Http::default().get(&heavy).map(|answer| answer.status));
    let id = running(&collector)["id"].as_str().expect("a number as text").to_owned();
    let post = |timeout: &str| {
        let url = format!("{}/api/v1/query", collector.base);
        let form = format!("query=1&timeout={timeout}&padding={}", "x".repeat(4_000_000));
        std::thread::spawn(move || {
            let headers = [("content-type", "application/x-www-form-urlencoded")];
            Http::default().post(&url, &headers, form.into_bytes()).expect("an answer")
        })
    };
    let threads: Vec<_> = (0..24).map(|_| post("5s")).collect();
    let answers: Vec<Answer> = threads.into_iter().map(|thread| thread.join().expect("no panic")).collect();
    let count = |text: &str| {
        answers.iter().filter(|answer| answer.status == 503 && answer.body.contains(text)).count()
    };
    let (refused, waited) = (count("too many large requests wait"), count("query timed out in query queue"));
    assert_eq!(refused + waited, answers.len());
    assert!(refused >= 8 && waited >= 1, "{refused} {waited}");
    kill(&collector, &id);
    assert_eq!(holding.join().expect("no panic").expect("an answer"), 499);
    assert_eq!(post("30s").join().expect("no panic").status, 200, "the room is given back");
}

#[test]
fn limits_are_said_in_prometheus_words() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let limits = "query: {samples_max: 1000000, memory_max: 4MiB, series_max: 2}\n";
    let collector = Collector::start(folder.path(), &format!("agent: {{enabled: false}}\n{limits}"));
    let now = pantau_tests::writer::now();
    let series = |job: &str| model::Labels::from_pairs([("__name__", "three"), ("job", job)]);
    let three = ["a", "b", "c"].map(series);
    let samples = [(now, 1.0)];
    let body = pantau_tests::writer::body(&three.each_ref().map(|labels| (labels, &samples[..])));
    assert_eq!(
        pantau_tests::writer::send(&collector.http, &collector.base, body).expect("an answer").status,
        204
    );
    let check = |query: &str, more: &str, status: u16, kind: &str, text: &str| {
        let answer =
            collector.http.get(&(url(&collector, "/api/v1/query", query) + more)).expect("an answer");
        let json = answer.json();
        assert_eq!((answer.status, &json["errorType"], &json["error"]), (status, &kind.into(), &text.into()));
    };
    let many = "query processing would load too many samples into memory in query execution";
    check("sum_over_time(vector(1)[80h:1s])", "", 422, "execution", many);
    let wide = "the query touches more than 2 series: narrow the selectors or raise the limit";
    check("three", "", 422, "execution", wide);
    check(HEAVY, "&timeout=300ms", 503, "timeout", "query timed out in expression evaluation");
}

#[test]
fn heavy_queries_leave_room_for_what_must_go_on() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let collector = collector(folder.path());
    let heavy: Vec<_> = (0..8)
        .map(|_| {
            let heavy = url(&collector, "/api/v1/query", HEAVY);
            std::thread::spawn(move || Http::default().get(&heavy).map(|answer| answer.status))
        })
        .collect();
    wait_for("eight queries to run", Duration::from_secs(30), || {
        let running = active(&collector).iter().filter(|query| query["state"] == "running").count();
        (running == 8).then_some(())
    });
    // A ninth waits its turn and is told when its time is up there; what reads no series is answered all the same.
    let late = format!("{}&timeout=300ms", url(&collector, "/api/v1/query", "1"));
    let answer = collector.http.get(&late).expect("an answer");
    assert_eq!((answer.status, &answer.json()["error"]), (503, &"query timed out in query queue".into()));
    let now = pantau_tests::writer::now();
    let labels = model::Labels::from_pairs([("__name__", "beside"), ("job", "test")]);
    let body = pantau_tests::writer::body(&[(&labels, &[(now, 1.0)])]);
    assert_eq!(
        pantau_tests::writer::send(&collector.http, &collector.base, body).expect("an answer").status,
        204
    );
    for query in active(&collector) {
        kill(&collector, query["id"].as_str().expect("a number as text"));
    }
    for thread in heavy {
        assert_eq!(thread.join().expect("no panic").expect("an answer"), 499);
    }
}
