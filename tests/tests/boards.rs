//! Data in every panel of Grafana's boards: a collector, agents and simulated devices run, something breaks, and each expression is
//! asked as Grafana asks it, its variables replaced. No Grafana runs here. The packs of rules run over the same data, each second: none
//! fails (unit tests have the labels that their writer thought of, devices have others), and what broke is among the alerts.

mod devices;
mod passing;

use std::path::Path;
use std::time::{Duration, Instant};

use model::{Labels, Timestamp};
use pantau_tests::http::As;
use pantau_tests::pantau::{Agent, Collector};
use pantau_tests::peers::root;
use pantau_tests::writer;
use serde_json::Value;

use self::devices::Site;

/// Panels (board, title) that may be empty although all is as it should be, and why. None: whatever a panel waits for is made to happen.
const MAY_BE_EMPTY: [(&str, &str, &str); 0] = [];

/// How long rounds, the silence of an agent and two writings of what programs say of themselves (every 15 s) may take.
const PATIENCE: Duration = Duration::from_secs(90);

/// The second fires while the passing agent sends and is held as unknown when it does so no more.
const RULES: &str = "groups:
- name: site
  interval: 1s
  rules:
  - {alert: TargetDown, expr: up == 0}
  - {alert: Passing, expr: 'last_over_time(node_load1{instance=\"passing\"}[10s]) > 0'}
";

/// Alerts of the packs that rest on what the simulated devices say; pending, because the test does not wait for their `for`.
/// Each with the port, where it is one.
const ALERTS: [(&str, &str); 20] = [
    ("AgentSilent", ""),
    ("DeviceBusy", ""),
    ("DevicePartFailed", ""),
    ("NotifyWaits", ""),
    ("OpticsDropped", "xe-0/0/0"),
    ("OpticsHot", "ge-0/0/2"),
    ("OpticsMarginLow", "xe-0/0/0"),
    ("OpticsNoLight", "xe-0/0/1"),
    ("OpticsOverloaded", "ge-0/0/2"),
    ("OpticsVeryHot", "ge-0/0/2"),
    ("PortDiscards", "xe-0/0/0"),
    ("PortDiscards", "ge-0/0/2"),
    ("PortDown", "xe-0/0/0"),
    ("PortErrorsMany", "xe-0/0/0"),
    ("PortErrorsMany", "ge-0/0/2"),
    ("PortHalfDuplex", "ge-0/0/2"),
    ("TargetDown", ""),
    ("UpsBatteryHot", ""),
    ("UpsLoad", ""),
    ("UpsOnBattery", ""),
];

/// The packs, each group once a second.
fn write_packs(folder: &Path) {
    std::fs::create_dir_all(folder).expect("the folder can be made");
    for entry in std::fs::read_dir(root().join("configs/rules")).expect("the packs") {
        let path = entry.expect("it can be listed").path();
        if path.extension().is_some_and(|end| end == "yaml") {
            let text = std::fs::read_to_string(&path).expect("it can be read");
            let fast = |line: &str| {
                let is_interval = line.trim_start().starts_with("interval: ");
                if is_interval { "    interval: 1s\n".to_owned() } else { format!("{line}\n") }
            };
            let text: String = text.lines().map(fast).collect();
            std::fs::write(folder.join(path.file_name().expect("it has one")), text).expect("a good disk");
        }
    }
}

/// A collector with a rule and the packs, its place named; whom it is to tell of alerts does not listen.
fn collector(folder: &Path) -> Collector {
    write_packs(&folder.join("packs"));
    std::fs::write(folder.join("rules.yml"), RULES).expect("the rules can be written");
    let lines = "identity: {region: '33', site: semarang-dc, instance: collector}\nagent: {enabled: false}\n\
                 rules: {files: [rules.yml, packs/*.yaml]}\n\
                 alerting: {alertmanagers: [{url: 'http://127.0.0.1:9'}]}\n\
                 notify: {webhook: [{name: nobody, url: 'http://127.0.0.1:9'}]}\n";
    Collector::start(folder, lines)
}

fn enrol(collector: &Collector, name: &str) -> String {
    collector.enrol(name, "33.19", "kudus-1")
}

/// The agent that watches the site: its own host and all devices, each second.
fn watcher(folder: &Path, collector: &Collector, site: &Site, token: &str) -> Agent {
    let file = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).expect("it can be written");
        path.display().to_string()
    };
    let (token, community) = (file("token", token), file("community", "public"));
    let config = format!(
        "identity: {{instance: edge}}\nspool: {{folder: {{spool}}}}\n\
         uplink: {{collectors: [\"{}\"], token: {{file: {token}}}}}\n\
         inputs:\n\
         \x20 host: {{interval: 1s, timeout: 1s, source_timeout: 1s}}\n\
         \x20 snmp: [{{interval: 1s, timeout: 300ms, retries: 0, community: {{file: {community}}}, targets: [{}]}}]\n",
        collector.base,
        site.targets()
    );
    Agent::start(&folder.join("agent"), &config)
}

/// What Grafana asks for: a board's panel and one of its expressions.
struct Asked {
    board: String,
    title: String,
    expression: String,
    /// Of one moment; otherwise over a range.
    is_instant: bool,
    /// The least interval, in seconds.
    interval: u64,
}

/// A board's variables, the expressions of which list their values.
struct Board {
    variables: Vec<(String, String)>,
    asked: Vec<Asked>,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("a text: {value}")).to_owned()
}

fn seconds(interval: &str) -> u64 {
    let number = interval.strip_suffix('s').expect("boards have their intervals in seconds");
    number.parse().expect("a number")
}

fn boards() -> Vec<Board> {
    let folder = std::fs::read_dir(root().join("dashboards")).expect("the boards");
    let mut paths: Vec<_> = folder.map(|entry| entry.expect("it can be listed").path()).collect();
    paths.sort();
    paths.iter().map(|path| board(&std::fs::read(path).expect("it can be read"))).collect()
}

fn board(text_of_it: &[u8]) -> Board {
    let board: Value = serde_json::from_slice(text_of_it).expect("JSON");
    let list = |value: &Value| value.as_array().cloned().expect("a list");
    let queried = |one: &Value| one["type"] == "query";
    let variables = list(&board["templating"]["list"]);
    let variables = variables.iter().filter(|one| queried(one));
    let variables = variables.map(|one| (text(&one["name"]), text(&one["query"]["query"]))).collect();
    let mut asked = Vec::new();
    for panel in list(&board["panels"]) {
        for target in list(&panel["targets"]) {
            asked.push(Asked {
                board: text(&board["uid"]),
                title: text(&panel["title"]),
                expression: text(&target["expr"]),
                is_instant: target["instant"] == true,
                interval: seconds(&text(&target["interval"])),
            });
        }
    }
    assert!(!asked.is_empty(), "a board has panels");
    Board { variables, asked }
}

/// What a variable stands for: `.*` where All is chosen, which is what the boards say for it.
type Chosen = Vec<(String, String)>;

impl Asked {
    /// The expression as Grafana sends it, at the data's own interval.
    fn with(&self, chosen: &Chosen) -> String {
        // Grafana: four times the interval, or the step and the interval where that is more.
        let rate = format!("{}s", 4 * self.interval);
        let mut expression = self.expression.replace("$__rate_interval", &rate);
        for (name, value) in chosen {
            expression = expression.replace(&format!("${name}"), value);
        }
        assert!(!expression.contains('$'), "a variable is left: {expression}");
        expression
    }

    fn answer(&self, collector: &Collector, chosen: &Chosen) -> Value {
        let now = writer::now().as_millis();
        let (expression, end) = (self.with(chosen), (now as f64 / 1e3).to_string());
        let answer = if self.is_instant {
            get(collector, "query", &[("query", &expression), ("time", &end)])
        } else {
            // Only the newest point: the one before it may lie before the test, boards of devices have steps of minutes.
            let step = self.interval.to_string();
            let range = [("query", &expression), ("start", &end), ("end", &end), ("step", &step)];
            get(collector, "query_range", &range)
        };
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
        answer["data"]["result"].clone()
    }

    fn is(&self, board: &str, title: &str) -> bool {
        self.board == board && self.title == title
    }

    /// Whether the panel would show something: a number, and where nothing would be 0, one that is not 0.
    fn has_data(&self, collector: &Collector, chosen: &Chosen) -> bool {
        let counts = self.expression.contains(" or 0 * count(");
        let shown = |value: &Value| {
            let number: f64 = value[1].as_str().expect("a sample").parse().expect("a number");
            !number.is_nan() && (number != 0.0 || !counts)
        };
        let answer = self.answer(collector, chosen);
        answer.as_array().expect("a list").iter().any(|series| {
            let values = series["values"].as_array().cloned();
            values.unwrap_or_else(|| vec![series["value"].clone()]).iter().any(shown)
        })
    }
}

fn get(collector: &Collector, route: &str, pairs: &[(&str, &String)]) -> Value {
    let mut url = reqwest::Url::parse(&format!("{}/api/v1/{route}", collector.base)).expect("a URL");
    for (name, value) in pairs {
        url.query_pairs_mut().append_pair(name, value);
    }
    collector.http.get(url.as_str()).expect("an answer").json()
}

/// All chosen: `.*`.
fn everything(board: &Board) -> Chosen {
    board.variables.iter().map(|(name, _)| (name.clone(), ".*".to_owned())).collect()
}

/// Every value that a variable lists, chosen by itself, as Grafana writes several: `(a|b)`, their signs escaped.
fn each(collector: &Collector, board: &Board) -> Chosen {
    let mut chosen = Chosen::new();
    for (name, query) in &board.variables {
        let inner = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
        let (selector, label) = inner.and_then(|inner| inner.rsplit_once(", ")).expect("label_values(a, b)");
        let mut selector = selector.to_owned();
        for (name, value) in &chosen {
            selector = selector.replace(&format!("${name}"), value);
        }
        let answer = get(collector, &format!("label/{label}/values"), &[("match[]", &selector)]);
        let values: Vec<String> = answer["data"].as_array().expect("a list").iter().map(text).collect();
        let escaped: Vec<String> = values.iter().map(|value| value.replace('.', r"\\.")).collect();
        chosen.push((name.clone(), format!("({})", escaped.join("|"))));
    }
    chosen
}

/// What boards that look an hour back need: the optics' present values an hour ago, and a target that was there.
fn write_an_hour_ago(collector: &Collector, token: &str) {
    let answer = get(collector, "query", &[("query", &"optics_rx_power_dbm".to_owned())]);
    let hour_ago = Timestamp::from_millis(writer::now().as_millis() - 3_600_000);
    let mut series = Vec::new();
    for one in answer["data"]["result"].as_array().expect("a list") {
        let labels = one["metric"].as_object().expect("labels").iter();
        // The collector says where it is, as it does of what agents send.
        let labels = labels.filter(|(name, _)| *name != "region" && *name != "site");
        series.push(Labels::from_pairs(labels.map(|(name, value)| (name.clone(), text(value)))));
    }
    assert!(!series.is_empty(), "optics are there");
    let samples = [(hour_ago, -3.0)];
    let body = writer::body(&series.iter().map(|labels| (labels, &samples[..])).collect::<Vec<_>>());
    assert_eq!(write(collector, token, body), 204);
    let gone = Labels::from_pairs([("__name__", "up"), ("job", "snmp"), ("instance", "gone")]);
    let body = writer::body(&[(&gone, &[(hour_ago, 1.0)])]);
    assert_eq!(write(collector, token, body), 204);
}

/// A sample that is far too old, so that one was refused.
fn write_too_old(collector: &Collector, token: &str) {
    let labels = Labels::from_pairs([("__name__", "old"), ("job", "old")]);
    let body = writer::body(&[(&labels, &[(Timestamp::from_millis(0), 1.0)])]);
    assert_eq!(write(collector, token, body), 400);
}

fn write(collector: &Collector, token: &str, body: Vec<u8>) -> u16 {
    let url = format!("{}/api/v1/write", collector.base);
    collector.http.ask("POST", &url, As::Bearer(token), &writer::HEADERS, body).status
}

/// Waits for the first rounds, then breaks what the boards are looked at for.
fn break_things(collector: &Collector, site: &Site, watcher_token: &str) {
    collector.wait_for_value("count(up{job=\"snmp\"} == 1)", |up| up == 4.0);
    collector.wait_for_value("optics_rx_power_dbm{instance=\"router\",ifName=\"xe-0/0/0\"}", |_| true);
    collector.wait_for_value("count(optics_rx_power_dbm{instance=\"switch\"})", |ports| ports == 2.0);
    site.break_things();
    write_an_hour_ago(collector, watcher_token);
}

#[test]
fn every_panel_has_data() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let collector = collector(&folder.path().join("collector"));
    let passing = enrol(&collector, "passing");
    passing::come_and_go(&collector, &passing);
    write_too_old(&collector, &passing);
    let site = Site::start();
    let token = enrol(&collector, "edge");
    let _watcher = watcher(folder.path(), &collector, &site, &token);
    break_things(&collector, &site, &token);

    let boards = boards();
    let named = |board: &str, title: &str| {
        boards.iter().flat_map(|board| &board.asked).any(|one| one.is(board, title))
    };
    MAY_BE_EMPTY
        .iter()
        .for_each(|(board, title, why)| assert!(named(board, title), "{board} / {title}: {why}"));
    wait_for_data(&collector, &boards, everything);
    wait_for_data(&collector, &boards, |board| each(&collector, board));
    check_rules(&collector);
}

/// Every rule was evaluated without a fault, and the alerts are there.
fn check_rules(collector: &Collector) {
    let missing = || {
        let alerts = get(collector, "alerts", &[]);
        let alerts = alerts["data"]["alerts"].as_array().cloned().expect("a list");
        let is_there = |(name, port): &(&str, &str)| {
            let same = |alert: &&Value| alert["labels"]["alertname"] == **name;
            alerts.iter().filter(same).any(|alert| port.is_empty() || alert["labels"]["ifName"] == **port)
        };
        ALERTS.into_iter().filter(|one| !is_there(one)).collect::<Vec<_>>()
    };
    let started = Instant::now();
    while !missing().is_empty() {
        assert!(started.elapsed() < PATIENCE, "alerts that are missing: {:?}", missing());
        std::thread::sleep(Duration::from_millis(250));
    }
    let groups = get(collector, "rules", &[])["data"]["groups"].clone();
    let rules = groups.as_array().expect("a list").iter().map(|group| group["rules"].clone());
    let rules: Vec<Value> = rules.flat_map(|rules| rules.as_array().cloned().expect("a list")).collect();
    let bad: Vec<&Value> = rules.iter().filter(|rule| rule["health"] != "ok").collect();
    assert!(bad.is_empty() && rules.len() > 70, "{} rules, of which fail: {bad:#?}", rules.len());
}

/// Asks for every panel again and again until each had data once.
fn wait_for_data(collector: &Collector, boards: &[Board], choose: impl Fn(&Board) -> Chosen) {
    let mut empty: Vec<(&Board, &Asked)> = Vec::new();
    for board in boards {
        empty.extend(board.asked.iter().map(|asked| (board, asked)));
    }
    empty.retain(|(_, asked)| !MAY_BE_EMPTY.iter().any(|(board, title, _)| asked.is(board, title)));
    let started = Instant::now();
    while !empty.is_empty() {
        assert!(started.elapsed() < PATIENCE, "panels without data:\n{}", told(&empty, &choose));
        std::thread::sleep(Duration::from_millis(250));
        let mut chosen: Option<(&str, Chosen)> = None;
        empty.retain(|(board, asked)| {
            if chosen.as_ref().is_none_or(|(uid, _)| *uid != asked.board) {
                chosen = Some((&asked.board, choose(board)));
            }
            !asked.has_data(collector, &chosen.as_ref().expect("just chosen").1)
        });
    }
}

fn told(empty: &[(&Board, &Asked)], choose: impl Fn(&Board) -> Chosen) -> String {
    let line = |(board, asked): &(&Board, &Asked)| {
        format!("{} / {}: {}\n", asked.board, asked.title, asked.with(&choose(board)))
    };
    empty.iter().map(line).collect()
}
