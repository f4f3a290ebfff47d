//! What a page of rules holds, for whom.

use std::time::Duration;

use alerting::{RuleSpec, RuleState, Seen};

use super::*;
use crate::rules::RuleFile;
use crate::rules::group::Fared;

const RULES: &str = "groups:\n- name: first\n  interval: 30s\n  limit: 5\n  rules:\n  - {record: 'job:up:sum', expr: sum(up), labels: {team: net}}\n  \
                     - {alert: Down, expr: up == 0, for: 5m, labels: {severity: page}, annotations: {summary: down}}\n- name: second\n  rules:\n  \
                     - {alert: Kudus, expr: 'up{region=\"33.19\"} == 0', labels: {region: '33.19'}}\n  \
                     - {alert: Jepara, expr: 'up{region=\"33.20\"} == 0', labels: {region: '33.20'}}\n- name: third\n  rules:\n  \
                     - {alert: Any, expr: vector(1)}\n";

const AT: Timestamp = Timestamp::from_millis(1_795_316_400_250);

/// Groups after one evaluation; `Down` fires at Kudus and at Jepara.
fn groups() -> Vec<Arc<GroupView>> {
    let file = RuleFile::parse(RULES, std::path::Path::new("r.yml")).expect("good rules");
    let view = |group: crate::rules::file::Group| GroupView {
        spec: Arc::new(Spec {
            file: "r.yml".into(),
            name: group.name,
            interval: group.interval.unwrap_or(Duration::from_secs(60)),
            query_offset: Duration::ZERO,
            limit: group.limit,
            rules: group.rules.clone(),
        }),
        at: Some(AT),
        took: Duration::from_millis(3),
        rules: group.rules.into_iter().map(rule_view).collect(),
    };
    file.groups.into_iter().map(|group| Arc::new(view(group))).collect()
}

fn rule_view(rule: Arc<Rule>) -> RuleView {
    let error = (rule.name == "Any").then(|| "no such thing as up{region=\"33.20\"}".to_owned());
    let fared = Fared { at: Some(AT), took: Duration::from_millis(1), error };
    let alerts = if rule.name == "Down" { down() } else { Vec::new() };
    RuleView { rule, fared, alerts }
}

fn down() -> Vec<ActiveAlert> {
    let seen = |region: &str| Seen {
        labels: Labels::from_pairs([("alertname", "Down"), ("region", region), ("severity", "page")]),
        annotations: vec![("summary".into(), "down".into())],
        value: 0.0,
    };
    let spec = RuleSpec { name: "Down".into(), hold: Duration::ZERO, keep_firing: Duration::ZERO };
    let mut state = RuleState::default();
    state
        .step(&spec, AT, vec![seen("33.19"), seen("33.20")], &|_| alerting::Absence::Over)
        .expect("two alerts");
    let mut alerts: Vec<ActiveAlert> = state.active().cloned().collect();
    alerts.sort_by(|a, b| a.labels.cmp(&b.labels));
    alerts
}

fn ask(query: &str, scope: &Scope) -> Result<Value, String> {
    let asked = Asked::new(&Params::from_text(query)).map_err(|error| error.to_string())?;
    page(&groups(), &asked, scope).map_err(|error| error.to_string())
}

/// Names of rules by group.
fn names(query: &str, scope: &Scope) -> Vec<String> {
    let page = ask(query, scope).expect("good parameters");
    let groups = page["groups"].as_array().expect("a list").clone();
    let of = |group: &Value| {
        let rules = group["rules"].as_array().expect("a list");
        let names: Vec<&str> = rules.iter().map(|rule| rule["name"].as_str().expect("a name")).collect();
        format!("{}: {}", group["name"].as_str().expect("a name"), names.join(" "))
    };
    groups.iter().map(of).collect()
}

fn kudus() -> Scope {
    Scope::new(vec!["33.19".parse().expect("a code")], Vec::new())
}

#[test]
fn a_group_reads_as_in_prometheus() {
    let page = ask("rule_group[]=first", &Scope::everything()).expect("good parameters");
    let alert = |region: &str| {
        json!({"labels": {"alertname": "Down", "region": region, "severity": "page"}, "annotations": {"summary": "down"}, "state": "firing",
               "activeAt": "2026-11-22T03:00:00.25Z", "value": "0e+00"})
    };
    let expected = json!({"groups": [{
        "name": "first", "file": "r.yml", "interval": 30, "limit": 5, "evaluationTime": 0.003,
        "lastEvaluation": "2026-11-22T03:00:00.25Z",
        "rules": [
            {"name": "job:up:sum", "query": "sum(up)", "labels": {"team": "net"}, "health": "ok", "evaluationTime": 0.001,
             "lastEvaluation": "2026-11-22T03:00:00.25Z", "type": "recording"},
            {"name": "Down", "query": "up == 0", "labels": {"severity": "page"}, "annotations": {"summary": "down"}, "duration": 300,
             "keepFiringFor": 0, "health": "ok", "evaluationTime": 0.001, "lastEvaluation": "2026-11-22T03:00:00.25Z",
             "type": "alerting", "state": "firing", "alerts": [alert("33.19"), alert("33.20")]},
        ],
    }]});
    assert_eq!(page, expected);
}

/// Rules ask about everything: an annotation told a reader of Kudus how things stand in Jepara.
#[test]
fn what_templates_ask_is_not_for_those_who_see_a_part() {
    let view = |labels: &str| {
        let text = format!(
            "groups:\n- name: g\n  rules:\n  - {{alert: Down, expr: up == 0, labels: {{{labels}}}, annotations: {{all: '{{{{ query \"up\" }}}}', summary: down}}}}\n"
        );
        let file = RuleFile::parse(&text, std::path::Path::new("r.yml")).expect("good rules");
        let mut alerts = down();
        alerts.iter_mut().for_each(|alert| alert.annotations.push(("all".into(), "jepara is down".into())));
        RuleView { alerts, ..rule_view(Arc::clone(&file.groups[0].rules[0])) }
    };
    let asked = Asked::new(&Params::from_text("")).expect("no parameters");
    let seen = view("severity: page");
    let text = rule_json(&seen, &asked, &kudus()).expect("it has an alert there").to_string();
    assert!(text.contains(HIDDEN) && text.contains("\"summary\":\"down\""), "{text}");
    assert!(!text.contains("jepara") && !text.contains("query \\\"up"), "{text}");
    let alerts = json!(alerts_json(&seen, &kudus())).to_string();
    assert!(alerts.contains("33.19") && !alerts.contains("jepara") && !alerts.contains("33.20"), "{alerts}");
    let whole = json!(alerts_json(&seen, &Scope::everything())).to_string();
    assert_eq!(whole.matches("jepara is down").count(), 2, "{whole}");
    let labelled = view("worst: '{{ query \"up\" | first | value }}'");
    assert!(rule_json(&labelled, &asked, &kudus()).is_none(), "its labels may name others");
    assert!(alerts_json(&labelled, &kudus()).is_empty());
    assert!(rule_json(&labelled, &asked, &Scope::everything()).is_some());
}

#[test]
fn parameters_choose() {
    let all = Scope::everything();
    let check = |query: &str, expected: &[&str]| assert_eq!(names(query, &all), expected, "{query}");
    check("", &["first: job:up:sum Down", "second: Kudus Jepara", "third: Any"]);
    check("type=record", &["first: job:up:sum"]);
    check("type=ALERT&rule_group[]=first", &["first: Down"]);
    check("rule_name[]=Down&rule_name[]=Any", &["first: Down", "third: Any"]);
    check("file[]=other.yml", &[]);
    check("match[]={severity=\"page\"}&match[]={team=\"net\"}", &["first: job:up:sum Down"]);
    let page = ask("exclude_alerts=true&rule_name[]=Down", &all).expect("good parameters");
    assert_eq!(page["groups"][0]["rules"][0]["alerts"], json!([]));
    assert_eq!(page["groups"][0]["rules"][0]["state"], "firing");
}

#[test]
fn pages_follow_each_other() {
    let all = Scope::everything();
    let first = ask("group_limit=2", &all).expect("good parameters");
    let token = first["groupNextToken"].as_str().expect("more follows").to_owned();
    assert_eq!(first["groups"].as_array().expect("a list").len(), 2);
    let last = ask(&format!("group_limit=2&group_next_token={token}"), &all).expect("good parameters");
    assert_eq!(last["groups"][0]["name"], "third");
    assert!(last.get("groupNextToken").is_none());
}

#[test]
fn wrong_parameters_are_named() {
    let check = |query: &str, expected: &str| {
        assert_eq!(
            ask(query, &Scope::everything()).expect_err(query),
            format!("invalid parameter {expected}")
        );
    };
    check("type=both", "\"type\": not supported value \"both\"");
    check(
        "exclude_alerts=maybe",
        "\"exclude_alerts\": error converting exclude_alerts: strconv.ParseBool: parsing \"maybe\": invalid syntax",
    );
    check("group_limit=0", "\"group_limit\": group_limit needs to be greater than 0");
    check("group_limit=-1", "\"group_limit\": group_limit needs to be greater than 0");
    check(
        "group_next_token=a",
        "\"group_next_token\": group_limit needs to be present in order to paginate over the groups",
    );
    check(
        "group_limit=1&group_next_token=a",
        "\"group_next_token\": invalid group_next_token 'a'. were rule groups changed?",
    );
}

#[test]
fn a_reader_of_a_part_sees_what_is_of_its_part() {
    assert_eq!(names("", &kudus()), ["first: Down", "second: Kudus"]);
    let text = ask("", &kudus()).expect("good parameters").to_string();
    assert!(!text.contains("33.20"), "{text}");
    assert!(
        !sees(&kudus(), &Labels::from_pairs([("alertname", "Any")])),
        "what bears no region is not of a part"
    );
    let site = Scope::new(Vec::new(), vec!["kudus-1".into()]);
    assert!(names("", &site).is_empty());
}
