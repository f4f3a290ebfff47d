//! Templates expand as Prometheus expands them: Debian's promtool runs each of `tests/templates/good.txt` as an annotation of an alert,
//! and refuses each of `bad.txt`; ours gives the same texts and the same messages.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use model::{Labels, Timestamp};
use pantau_tests::peers::peer;
use template::{AlertData, Environment, QuerySample, Template};

const GOOD: &str = include_str!("../templates/good.txt");
const BAD: &str = include_str!("../templates/bad.txt");
const URL: &str = "https://pantau.example.org/prom";
const VALUE: f64 = 1_234_567.5;
const OWN: [(&str, &str); 3] =
    [("instance", "sw1.example.org:161"), ("job", "snmp"), ("path", "/a b?x=1&y=<\"z\">")];

/// What promtool's pretend series hold.
struct World;

impl Environment for World {
    fn query(&mut self, expr: &str) -> Result<Vec<QuerySample>, String> {
        let sample = |device, value| QuerySample {
            labels: Labels::from_pairs([("__name__", "two"), ("device", device)]),
            value,
        };
        match expr {
            // Unsorted, the answer comes in any order (promtool loads its series from a map of Go).
            "sort(two)" => Ok(vec![sample("a", 1.5), sample("b", 2.0)]),
            "none" => Ok(Vec::new()),
            _ => Err("1:5: parse error: unclosed left parenthesis".to_owned()),
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(60_000)
    }
}

/// As an alerting rule writes it.
fn ours(text: &str) -> String {
    let own = Labels::from_pairs(OWN.into_iter().chain([("__name__", "m")]));
    let data = AlertData {
        labels: &own,
        external_labels: &Labels::from_pairs([("region", "ID-JB")]),
        external_url: URL,
        value: VALUE,
        histogram: None,
    };
    Template::parse("__alert_A", text)
        .and_then(|template| template.expand(&data, &mut World))
        .unwrap_or_else(|error| format!("<error expanding template: {error}>"))
}

/// Where Debian's 2.42 (Go 1.19) and what we follow (3.x) differ, in words that both are brought to.
fn without_known_differences(text: &str) -> String {
    text.replace("ExternalURL string; Value float64 }", "ExternalURL string; Value interface {} }")
        // The engine of regular expressions has messages of its own.
        .split_once("error parsing regexp: ")
        .map_or_else(
            || text.replace("Value float64 }", "Value interface {} }"),
            |(before, _)| before.to_owned(),
        )
}

/// A text in single quotes of YAML.
fn yaml(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn rules(annotations: &[&str]) -> String {
    let mut text =
        String::from("groups:\n- name: g\n  rules:\n  - alert: A\n    expr: m\n    annotations:\n");
    for (index, annotation) in annotations.iter().enumerate() {
        writeln!(text, "      t{index:04}: {}", yaml(annotation)).expect("a text takes all");
    }
    text
}

fn unit_test() -> String {
    let own: Vec<String> = OWN.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    let series = [
        (format!("m{{{}}}", own.join(",")), VALUE),
        ("two{device=\"a\"}".to_owned(), 1.5),
        ("two{device=\"b\"}".to_owned(), 2.0),
    ];
    let series: String = series
        .iter()
        .map(|(series, value)| format!("  - {{series: {}, values: '{value} {value}'}}\n", yaml(series)))
        .collect();
    format!(
        "rule_files: [rules.yml]\nevaluation_interval: 1m\ntests:\n- interval: 1m\n  external_labels: {{region: ID-JB}}\n  \
         external_url: {URL}\n  input_series:\n{series}  alert_rule_test:\n  - {{eval_time: 1m, alertname: A, exp_alerts: []}}\n"
    )
}

/// `name="text"` pairs of Go's quoting.
fn annotations(line: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut rest = line.trim().trim_start_matches('{');
    while let Some((name, behind)) = rest.split_once("=\"") {
        let mut text = String::new();
        let mut chars = behind.char_indices();
        let end = loop {
            let (at, char) = chars.next().expect("a quoted text ends");
            match char {
                '"' => break at + 1,
                '\\' => text.push(unescaped(&mut chars)),
                _ => text.push(char),
            }
        };
        found.insert(name.to_owned(), text);
        rest = behind[end..].trim_start_matches([',', ' ']);
    }
    found
}

fn unescaped(chars: &mut std::str::CharIndices<'_>) -> char {
    let (_, char) = chars.next().expect("an escape has a letter");
    let mut code = |length: usize| {
        let digits: String = chars.by_ref().take(length).map(|(_, digit)| digit).collect();
        char::from_u32(u32::from_str_radix(&digits, 16).expect("hexadecimal digits")).expect("a character")
    };
    match char {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        'a' => '\x07',
        'b' => '\x08',
        'f' => '\x0c',
        'v' => '\x0b',
        'x' => code(2),
        'u' => code(4),
        'U' => code(8),
        other => other,
    }
}

fn promtool(folder: &Path, words: &[&str]) -> Option<String> {
    let output = peer("usr/bin/promtool")?.current_dir(folder).args(words).output().expect("promtool starts");
    Some(String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
}

#[test]
fn texts_are_those_of_promtool() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let texts: Vec<&str> = GOOD.lines().collect();
    std::fs::write(folder.path().join("rules.yml"), rules(&texts)).expect("the folder can be written");
    std::fs::write(folder.path().join("test.yml"), unit_test()).expect("the folder can be written");
    let Some(said) = promtool(folder.path(), &["test", "rules", "test.yml"]) else { return };
    let line = said.lines().find_map(|line| line.trim().strip_prefix("Annotations:"));
    let theirs = annotations(line.unwrap_or_else(|| panic!("promtool says no annotations: {said}")));
    assert!(theirs.len() > 100, "only {} texts", theirs.len());
    let mut differ = String::new();
    for (index, text) in texts.iter().enumerate() {
        let theirs = theirs.get(&format!("t{index:04}")).map_or("", String::as_str);
        let ours = ours(text);
        if without_known_differences(&ours) != without_known_differences(theirs) {
            writeln!(differ, "{text}\n  theirs: {theirs}\n  ours:   {ours}").expect("a text takes all");
        }
    }
    assert!(differ.is_empty(), "{differ}");
}

#[test]
fn what_promtool_refuses_is_refused_in_its_words() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let texts: Vec<&str> = BAD.lines().collect();
    let mut differ = String::new();
    for text in &texts {
        std::fs::write(folder.path().join("rules.yml"), rules(&[text])).expect("the folder can be written");
        let Some(said) = promtool(folder.path(), &["check", "rules", "rules.yml"]) else { return };
        let theirs = said.lines().find_map(|line| Some(line.split_once("template: __alert_A:")?.1));
        let ours = Template::parse("__alert_A", text).err().map(|error| error.to_string());
        let ours = ours.as_deref().and_then(|message| Some(message.split_once("template: __alert_A:")?.1));
        if ours != theirs {
            writeln!(differ, "{text}\n  theirs: {theirs:?}\n  ours:   {ours:?}").expect("a text takes all");
        }
    }
    assert!(differ.is_empty(), "{differ}");
}
