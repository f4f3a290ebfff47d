//! Rule files and their unit tests through Debian's promtool and through ours: the same verdict on each. Rules in a collector that runs,
//! reloads and restarts.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use pantau_tests::pantau::Collector;
use pantau_tests::peers::{peer, program};
use rustix::process::Signal;

const RULES: &str = r#"groups:
- name: hosts
  interval: 1m
  rules:
  - record: job:up:sum
    expr: sum by (job) (up)
  - record: job:up:ratio
    expr: job:up:sum / count by (job) (up)
    labels: {kind: ratio}
  - alert: Down
    expr: up == 0
    for: 3m
    labels: {severity: page, where: '{{ $labels.instance }} in {{ $externalLabels.region }}'}
    annotations:
      summary: '{{ $labels.instance }} of {{ .Labels.job }} is {{ $value | printf "%.1f" }}'
      link: '{{ $externalURL }}/x'
  - alert: Few
    expr: job:up:ratio{kind="ratio"} < 0.5
    annotations: {summary: 'only {{ $value | humanizePercentage }} of {{ $labels.job }}'}
  - alert: Held
    expr: up == 0
    keep_firing_for: 3m
"#;

const HEAD: &str = "rule_files: [rules.yml]\nevaluation_interval: 1m\n";

/// A test of rules: its name, its file, whether it passes.
const TESTS: &[(&str, &str, bool)] = &[
    (
        "recording rules see each other",
        r#"tests:
- interval: 1m
  input_series:
  - {series: 'up{job="a", instance="1"}', values: '1x10'}
  - {series: 'up{job="a", instance="2"}', values: '1 1 0x8'}
  promql_expr_test:
  - {expr: job:up:sum, eval_time: 1m, exp_samples: [{labels: 'job:up:sum{job="a"}', value: 2}]}
  - {expr: job:up:ratio, eval_time: 5m, exp_samples: [{labels: 'job:up:ratio{job="a", kind="ratio"}', value: 0.5}]}
  - {expr: 1 + 1, eval_time: 1m, exp_samples: [{labels: '{}', value: 2}]}
  - {expr: nothing, eval_time: 1m, exp_samples: []}
  - {expr: nothing, eval_time: 1m}
"#,
        true,
    ),
    (
        "another value is expected",
        r#"tests:
- interval: 1m
  input_series: [{series: 'up{job="a"}', values: '1x10'}]
  promql_expr_test: [{expr: job:up:sum, eval_time: 1m, exp_samples: [{labels: 'job:up:sum{job="a"}', value: 2}]}]
"#,
        false,
    ),
    ("an expression that is none", "tests:\n- promql_expr_test: [{expr: 'up +', eval_time: 1m}]\n", false),
    (
        "an alert after its time",
        r#"tests:
- interval: 1m
  external_labels: {region: '33.19'}
  external_url: http://pantau
  input_series: [{series: 'up{job="a", instance="1"}', values: '1 0x10'}]
  alert_rule_test:
  - {eval_time: 0m, alertname: Down, exp_alerts: []}
  - {eval_time: 3m, alertname: Down}
  - eval_time: 4m
    alertname: Down
    exp_alerts:
    - exp_labels: {severity: page, job: a, instance: 1, where: 1 in 33.19}
      exp_annotations: {summary: 1 of a is 0.0, link: http://pantau/x}
  - {eval_time: 4m30s, alertname: Few, exp_alerts: [{exp_labels: {job: a, kind: ratio}, exp_annotations: {summary: only 0% of a}}]}
"#,
        true,
    ),
    (
        "an alert that is not there",
        r#"tests:
- interval: 1m
  input_series: [{series: 'up{job="a"}', values: '1x10'}]
  alert_rule_test: [{eval_time: 5m, alertname: Down, exp_alerts: [{exp_labels: {job: a, severity: page}}]}]
"#,
        false,
    ),
    (
        "an alert that is kept",
        r#"tests:
- interval: 1m
  input_series: [{series: 'up{job="a"}', values: '0 0 0 1x10'}]
  alert_rule_test:
  - {eval_time: 2m, alertname: Held, exp_alerts: [{exp_labels: {job: a}}]}
  - {eval_time: 5m, alertname: Held, exp_alerts: [{exp_labels: {job: a}}]}
  - {eval_time: 7m, alertname: Held, exp_alerts: []}
"#,
        true,
    ),
    (
        "series of alerts",
        r#"tests:
- interval: 1m
  input_series: [{series: 'up{job="a", instance="1"}', values: '0x10'}]
  promql_expr_test:
  - expr: ALERTS{alertname="Down"}
    eval_time: 1m
    exp_samples: [{labels: 'ALERTS{alertname="Down", alertstate="pending", instance="1", job="a", severity="page", where="1 in "}', value: 1}]
  - expr: ALERTS{alertname="Down"}
    eval_time: 4m
    exp_samples: [{labels: 'ALERTS{alertname="Down", alertstate="firing", instance="1", job="a", severity="page", where="1 in "}', value: 1}]
  - expr: ALERTS_FOR_STATE{alertname="Held"}
    eval_time: 4m
    exp_samples: [{labels: 'ALERTS_FOR_STATE{alertname="Held", instance="1", job="a"}', value: 0}]
"#,
        true,
    ),
    ("an alert without a name", "tests:\n- alert_rule_test: [{eval_time: 5m, exp_alerts: []}]\n", false),
    (
        "values in every notation",
        r#"tests:
- interval: 1m
  input_series:
  - {series: a, values: '1+1x4 _ _x2 stale'}
  - {series: 'b{x="y"}', values: '-2-1x2 1e2 NaN 0x1'}
  promql_expr_test:
  - {expr: a, eval_time: 4m, exp_samples: [{labels: a, value: 5}]}
  - {expr: a, eval_time: 8m, exp_samples: []}
  - {expr: b, eval_time: 3m, exp_samples: [{labels: 'b{x="y"}', value: 100}]}
  - {expr: b, eval_time: 5m, exp_samples: [{labels: 'b{x="y"}', value: 0}]}
  - {expr: 'sum_over_time(a[3m30s])', eval_time: 4m, exp_samples: [{labels: '{}', value: 14}]}
"#,
        true,
    ),
    (
        "NaN is not NaN",
        "tests:\n- input_series: [{series: a, values: 'NaN'}]\n  interval: 1m\n  promql_expr_test: [{expr: a, eval_time: 0m, exp_samples: [{labels: a, value: .nan}]}]\n",
        false,
    ),
    ("a key that nobody knows", "tests:\n- intervall: 1m\n", false),
    (
        "values that are none",
        "tests:\n- interval: 1m\n  input_series: [{series: a, values: '1 one'}]\n",
        false,
    ),
    ("a group named twice", "group_eval_order: [hosts, hosts]\ntests: []\n", false),
    ("no test at all", "tests: []\n", true),
];

/// Rule files: whether they are good.
const FILES: &[(&str, &str, bool)] = &[
    ("good", RULES, true),
    ("empty", "groups: []\n", true),
    ("no expression", "groups:\n- name: g\n  rules:\n  - alert: a\n", false),
    ("no such function", "groups:\n- name: g\n  rules:\n  - {alert: a, expr: ups(up)}\n", false),
    ("both", "groups:\n- name: g\n  rules:\n  - {alert: a, record: a, expr: up}\n", false),
    ("for a record", "groups:\n- name: g\n  rules:\n  - {record: a, expr: up, for: 5m}\n", false),
    ("a name twice", "groups:\n- name: g\n- name: g\n", false),
    ("an unknown key", "groups:\n- name: g\n  rulez: []\n", false),
    (
        "a broken template",
        "groups:\n- name: g\n  rules:\n  - {alert: a, expr: up, annotations: {a: '{{ $labels'}}\n",
        false,
    ),
    (
        "an unknown function in a template",
        "groups:\n- name: g\n  rules:\n  - {alert: a, expr: up, labels: {a: '{{ nothing 1 }}'}}\n",
        false,
    ),
];

struct Ran {
    passed: bool,
    said: String,
}

fn run(mut command: Command, folder: &Path) -> Ran {
    let output = command.current_dir(folder).stdin(Stdio::null()).output().expect("it can be started");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ran { passed: output.status.success(), said: text(&output.stdout) + &text(&output.stderr) }
}

fn promtool(words: &[&str], folder: &Path) -> Option<Ran> {
    let mut command = peer("usr/bin/promtool")?;
    command.args(words);
    Some(run(command, folder))
}

fn ours(words: &[&str], folder: &Path) -> Ran {
    let mut command = program("pantau-collector");
    command.arg("rules").args(words);
    run(command, folder)
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).expect("written");
    path
}

#[test]
fn unit_tests_end_as_with_promtool() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "rules.yml", RULES);
    for (name, text, passes) in TESTS {
        write(folder.path(), "test.yml", &format!("{HEAD}{text}"));
        let own = ours(&["test", "test.yml"], folder.path());
        assert_eq!(own.passed, *passes, "{name}: {}", own.said);
        if let Some(theirs) = promtool(&["test", "rules", "test.yml"], folder.path()) {
            assert_eq!(theirs.passed, *passes, "{name}, promtool: {}", theirs.said);
        }
    }
}

#[test]
fn differences_read_as_with_promtool() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "rules.yml", RULES);
    for name in [
        "another value is expected",
        "an alert that is not there",
        "an alert without a name",
        "a group named twice",
    ] {
        let (_, text, _) = TESTS.iter().find(|(have, ..)| *have == name).expect("it is there");
        write(folder.path(), "test.yml", &format!("{HEAD}{text}"));
        let Some(theirs) = promtool(&["test", "rules", "test.yml"], folder.path()) else { return };
        assert_eq!(ours(&["test", "test.yml"], folder.path()).said, theirs.said, "{name}");
    }
}

#[test]
fn rule_files_are_judged_as_by_promtool() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text, good) in FILES {
        write(folder.path(), "rules.yml", text);
        let own = ours(&["check", "rules.yml"], folder.path());
        assert_eq!(own.passed, *good, "{name}: {}", own.said);
        if let Some(theirs) = promtool(&["check", "rules", "rules.yml"], folder.path()) {
            assert_eq!(theirs.passed, *good, "{name}, promtool: {}", theirs.said);
            if *good {
                assert_eq!(own.said, theirs.said, "{name}");
            }
        }
    }
}

#[test]
fn a_rule_that_stands_twice_is_found_and_is_fatal_on_demand() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = "groups:\n- name: g\n  rules:\n  - {record: a, expr: up, labels: {b: c}}\n  - {record: a, expr: down, labels: {b: c}}\n";
    write(folder.path(), "rules.yml", text);
    for (words, fatal) in
        [(["check", "rules.yml"].as_slice(), false), (&["check", "--lint-fatal", "rules.yml"], true)]
    {
        let own = ours(words, folder.path());
        assert!(own.passed != fatal && own.said.contains("1 duplicate rule(s) found."), "{}", own.said);
    }
    let Some(theirs) = promtool(&["check", "rules", "rules.yml"], folder.path()) else { return };
    assert_eq!(ours(&["check", "rules.yml"], folder.path()).said, theirs.said);
}

/// A collector that evaluates every second what nobody need send.
fn running(folder: &Path) -> Collector {
    std::fs::create_dir_all(folder).expect("made");
    write(folder, "r.yml", &format!("{LIVE}  - {{alert: Always, expr: vector(1), for: 1s}}\n"));
    Collector::start(folder, "agent: {enabled: false}\nrules: {files: ['*.yml']}\n")
}

const LIVE: &str =
    "groups:\n- name: g\n  interval: 1s\n  rules:\n  - {record: 'one:plus', expr: vector(1) + 1}\n";

fn alert(collector: &Collector) -> Option<serde_json::Value> {
    let answer = collector.http.get(&format!("{}/api/v1/alerts", collector.base)).expect("answered").json();
    answer["data"]["alerts"].as_array().expect("a list").first().cloned()
}

fn firing(collector: &Collector) -> serde_json::Value {
    let is_firing = || alert(collector).filter(|alert| alert["state"] == "firing");
    pantau_tests::wait_for("the alert fires", Duration::from_secs(30), is_firing)
}

#[test]
fn the_collector_evaluates_reloads_and_remembers() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut collector = running(&folder.path().join("c"));
    collector.wait_for_value("one:plus", |value| value == 2.0);
    let since = firing(&collector)["activeAt"].clone();
    collector.wait_for_value("ALERTS{alertname=\"Always\", alertstate=\"firing\"}", |value| value == 1.0);
    let metric = "prometheus_rule_group_iterations_total";
    let metrics = collector.http.get(&format!("{}/metrics", collector.base)).expect("answered").body;
    assert!(metrics.contains(metric), "{metric} is missing");

    // A reload keeps the alert and brings a rule; a file that is wrong changes nothing.
    let more = format!(
        "{LIVE}  - {{alert: Always, expr: vector(1), for: 1s}}\n  - {{record: 'one:times', expr: vector(3)}}\n"
    );
    write(&collector.folder, "r.yml", &more);
    collector.running().signal(Signal::HUP);
    collector.wait_for_value("one:times", |value| value == 3.0);
    assert_eq!(firing(&collector)["activeAt"], since);
    write(&collector.folder, "bad.yml", "groups:\n- name: g\n  rules:\n  - {record: a, expr: one +}\n");
    collector.running().signal(Signal::HUP);
    let process = collector.process.as_ref().expect("it runs");
    let said = pantau_tests::wait_for("the refusal", Duration::from_secs(30), || {
        Some(process.log()).filter(|log| log.contains("did not reload"))
    });
    assert!(said.contains("bad.yml:4:23: group \"g\", rule 1, \"a\": could not parse expression"), "{said}");
    assert_eq!(firing(&collector)["activeAt"], since);

    // A stop and a start: the alert is there at once, and has been since then.
    std::fs::remove_file(collector.folder.join("bad.yml")).expect("removed");
    collector.running().stop();
    collector.restart();
    let alert = pantau_tests::wait_for("the alert", Duration::from_secs(30), || alert(&collector));
    assert_eq!((&alert["activeAt"], &alert["state"]), (&since, &serde_json::json!("firing")));
}
