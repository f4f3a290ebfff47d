//! Silence is not recovery: an agent is cut in the middle of a firing alert and of a healthy target, and comes back.

use std::path::Path;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use pantau_tests::pantau::Collector;
use pantau_tests::{free_port, wait_for};
use serde_json::Value;

use crate::agents::enrolled;
use crate::notify::sink;

/// One target in trouble and one that is well, by the same rule; what is not heard for five seconds is not found any more.
const RULES: &str = "groups:
- name: rooms
  interval: 1s
  rules:
  - alert: Alarm
    expr: last_over_time(room_alarm[5s]) == 1
    labels: {severity: critical}
";

/// As a script of the room's sensors leaves it.
fn leave(folder: &Path, a: u8, b: u8) {
    let text = format!("room_alarm{{room=\"a\"}} {a}\nroom_alarm{{room=\"b\"}} {b}\n");
    std::fs::write(folder.join("new"), text).expect("written");
    std::fs::rename(folder.join("new"), folder.join("rooms.prom")).expect("renamed");
}

/// Room and state of each alert.
fn alerts(collector: &Collector) -> Vec<(String, String)> {
    let answer = collector.http.get(&format!("{}/api/v1/alerts", collector.base)).expect("answered").json();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let alerts = answer["data"]["alerts"].as_array().expect("a list").iter();
    alerts.map(|alert| (text(&alert["labels"]["room"]), text(&alert["state"]))).collect()
}

fn wait_for_alerts(collector: &Collector, expected: &[(&str, &str)]) {
    wait_for(&format!("{expected:?}"), Duration::from_secs(60), || {
        let alerts = alerts(collector);
        let found: Vec<(&str, &str)> = alerts.iter().map(|(room, state)| (&**room, &**state)).collect();
        (found == expected).then_some(())
    });
}

/// Statuses that the receiver was told of a room, in order, up to the first one that is the last.
fn told(seen: &Receiver<Value>, room: &str, last: &str) -> Vec<String> {
    let (began, mut statuses) = (Instant::now(), Vec::new());
    while statuses.last().is_none_or(|status| status != last) {
        let left = Duration::from_secs(60).saturating_sub(began.elapsed());
        let message = seen.recv_timeout(left).unwrap_or_else(|_| panic!("no {last} after {statuses:?}"));
        let alerts = message["alerts"].as_array().expect("a list of alerts");
        let of_room = alerts.iter().filter(|alert| alert["labels"]["room"] == room);
        statuses.extend(of_room.map(|alert| alert["status"].as_str().expect("a status").to_owned()));
    }
    statuses
}

#[test]
fn a_cut_agent_ends_no_alert_and_starts_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let rooms = folder.path().join("rooms");
    std::fs::create_dir(&rooms).expect("made");
    leave(&rooms, 1, 0);
    std::fs::write(folder.path().join("rules.yml"), RULES).expect("written");
    let port = free_port();
    let heard = sink(port);
    let settings = format!(
        "agent: {{enabled: false}}\nrules: {{files: [../rules.yml]}}\n\
         notify: {{webhook: [{{name: own, url: 'http://127.0.0.1:{port}/'}}]}}\n"
    );
    let collector = Collector::start(&folder.path().join("collector"), &settings);
    let inputs = format!(
        "host: {{interval: 1s, timeout: 1s, source_timeout: 1s, collectors: {{include: \"loadavg|textfile\"}}, \
         textfile: {{folders: [{}]}}}}",
        rooms.display()
    );
    let mut agent = enrolled(folder.path(), &collector, &inputs);
    // By then the collector knows how often this agent sends: every second, and not once a minute.
    collector.wait_for_value("count_over_time(room_alarm{room=\"b\"}[10m])", |count| count >= 25.0);
    wait_for_alerts(&collector, &[("a", "firing")]);

    agent.running().kill();
    // Five seconds later the expression finds nothing, some seconds before the agent counts as silent: no data, no end.
    wait_for("the alert to be unknown", Duration::from_secs(60), || {
        let alerts = alerts(&collector);
        let [(room, state)] = &alerts[..] else { panic!("not one alert: {alerts:?}") };
        assert!(room == "a" && (state == "firing" || state == "unknown"), "{alerts:?}");
        (state == "unknown").then_some(())
    });
    collector
        .wait_for_value("ALERTS{alertname=\"Alarm\",alertstate=\"unknown\",room=\"a\"}", |one| one == 1.0);
    // Nothing is heard any more, and has not been for many evaluations: it stays as it is.
    wait_for("the expression to find nothing", Duration::from_secs(30), || {
        collector.value("last_over_time(room_alarm[5s])").is_none().then_some(())
    });
    let rounds = || collector.value("prometheus_rule_group_iterations_total").expect("a group");
    let before = rounds();
    wait_for("five evaluations more", Duration::from_secs(60), || (rounds() >= before + 5.0).then_some(()));
    assert_eq!(alerts(&collector), [("a".to_owned(), "unknown".to_owned())]);

    // It comes back, and the trouble is over: that is data.
    leave(&rooms, 0, 0);
    agent.restart();
    wait_for_alerts(&collector, &[]);
    assert_eq!(told(&heard, "a", "resolved").iter().filter(|status| *status == "resolved").count(), 1);
}
