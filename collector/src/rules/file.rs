//! Prometheus' rule files, as they are.
//!
//! In: a YAML text. Out: groups of rules whose expressions are parsed, or every mistake with file, line and column, in
//! Prometheus' words where it has them. A key that is not known is refused, as there.
//!
//! Deliberately not here: whether an expression finds anything.
//!
//! Limits: those of `settings` (4 MiB and 250,000 values a file) and of `promql`; [`PATTERN_BYTES_MAX`] for the regular expressions of a
//! file together, so that two thousand heavy ones do not fill the memory.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use model::{METRIC_NAME, PatternRoom};
use promql::{Expr, Features};
use serde::Deserialize;
use settings::{Place, Placed, SettingsError, Source, Span};
use template::Template;

/// Bytes that the compiled regular expressions of a file may take: tens of thousands of usual ones.
const PATTERN_BYTES_MAX: usize = 128 << 20;

/// A file with its groups.
#[derive(Clone, Debug)]
pub struct RuleFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its groups, in its order.
    pub groups: Vec<Group>,
}

/// Rules that are evaluated one after the other, at the same time.
#[derive(Clone, Debug)]
pub struct Group {
    /// Unique within the file.
    pub name: String,
    /// How often; as the settings say where it is `None`.
    pub interval: Option<Duration>,
    /// How far back it asks; as the settings say where it is `None`.
    pub query_offset: Option<Duration>,
    /// The most series or alerts that one rule may make; 0 for no bound.
    pub limit: usize,
    /// Its rules, in its order.
    pub rules: Vec<Arc<Rule>>,
}

/// One rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Metric name or alert name.
    pub name: String,
    /// The expression as written.
    pub text: String,
    /// The expression.
    pub expr: Expr,
    /// Labels of the group and the rule's own, which go first; by name.
    pub labels: Vec<(String, String)>,
    /// Record or alert.
    pub kind: RuleKind,
}

/// What becomes of what a rule finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleKind {
    /// A series.
    Record,
    /// An alert.
    Alert {
        /// How long its expression must hold before it fires (`for`).
        hold: Duration,
        /// How long it goes on firing when its expression holds no more.
        keep_firing: Duration,
        /// Texts for people, by name: templates.
        annotations: Vec<(String, String)>,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    #[serde(default)]
    groups: Option<Vec<Placed<RawGroup>>>,
}

type Texts = Option<BTreeMap<String, Placed<Option<String>>>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGroup {
    #[serde(default)]
    name: Option<Placed<String>>,
    #[serde(default)]
    interval: Option<Span>,
    #[serde(default)]
    query_offset: Option<Span>,
    #[serde(default)]
    limit: Option<i64>,
    #[serde(default)]
    labels: Texts,
    #[serde(default)]
    rules: Option<Vec<Placed<RawRule>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    #[serde(default)]
    record: Option<Placed<String>>,
    #[serde(default)]
    alert: Option<Placed<String>>,
    #[serde(default)]
    expr: Option<Placed<String>>,
    #[serde(default, rename = "for")]
    hold: Option<Placed<Span>>,
    #[serde(default)]
    keep_firing_for: Option<Placed<Span>>,
    #[serde(default)]
    labels: Texts,
    #[serde(default)]
    annotations: Texts,
}

impl RuleFile {
    /// Reads a file whose expressions may use these parts of the language; every mistake in it otherwise, never none.
    pub fn read(path: &Path, features: Features) -> Result<Self, Vec<SettingsError>> {
        Self::from_source(path, &Source::read(path).map_err(|error| vec![error])?, room(), features)
    }

    /// Reads a text without experimental parts; `path` stands for the file.
    #[cfg(test)]
    pub fn parse(text: &str, path: &Path) -> Result<Self, Vec<SettingsError>> {
        let source = Source::new(text, path.display().to_string());
        Self::from_source(path, &source, room(), Features::default())
    }

    fn from_source(
        path: &Path,
        source: &Source,
        room: PatternRoom,
        features: Features,
    ) -> Result<Self, Vec<SettingsError>> {
        let raw: RawFile = source.parse().map_err(|error| vec![error])?;
        let mut faults = Faults { name: source.name(), room, features, found: Vec::new() };
        let mut names = BTreeSet::new();
        let mut groups = Vec::new();
        for group in raw.groups.unwrap_or_default() {
            let group = read_group(group, &mut faults, &mut names);
            groups.push(group);
        }
        if faults.found.is_empty() { Ok(Self { path: path.to_owned(), groups }) } else { Err(faults.found) }
    }

    /// Rules of all its groups.
    pub fn rule_count(&self) -> usize {
        self.groups.iter().map(|group| group.rules.len()).sum()
    }

    /// Rules that are there more than once, by name and labels: what they record or send goes on top of each other.
    pub fn duplicates(&self) -> Vec<&Rule> {
        let mut seen = BTreeSet::new();
        let rules = self.groups.iter().flat_map(|group| &group.rules);
        let mut twice: Vec<&Rule> =
            rules.map(|rule| &**rule).filter(|rule| !seen.insert((&rule.name, &rule.labels))).collect();
        twice.sort_by(|a, b| (&a.name, &a.labels).cmp(&(&b.name, &b.labels)));
        twice
    }
}

fn room() -> PatternRoom {
    PatternRoom::of_file(PATTERN_BYTES_MAX)
}

/// What was found wrong so far.
struct Faults<'a> {
    name: &'a str,
    room: PatternRoom,
    features: Features,
    found: Vec<SettingsError>,
}

impl Faults<'_> {
    fn add(&mut self, place: Place, message: String) {
        let (line, column) = (place.line.into(), place.column.into());
        self.found.push(SettingsError::Invalid { name: self.name.to_owned(), line, column, message });
    }
}

fn read_group(raw: Placed<RawGroup>, faults: &mut Faults<'_>, names: &mut BTreeSet<String>) -> Group {
    let (place, raw) = (raw.place, raw.value);
    let name_place = raw.name.as_ref().map_or(place, |name| name.place);
    let name = raw.name.map(|name| name.value).unwrap_or_default();
    if name.is_empty() {
        faults.add(name_place, "Groupname must not be empty".to_owned());
    } else if !names.insert(name.clone()) {
        faults.add(name_place, format!("groupname: {name:?} is repeated in the same file"));
    }
    let shared = read_texts(raw.labels, |place, fault| {
        faults.add(place, format!("group {name:?}: {}", fault.said("label")));
    });
    let mut rules = Vec::new();
    for (index, rule) in raw.rules.unwrap_or_default().into_iter().enumerate() {
        let mut room = std::mem::take(&mut faults.room);
        let reading = (&mut room, faults.features);
        let read = read_rule(rule, &shared, reading, &mut |place, rule_name, why| {
            faults.add(place, format!("group {name:?}, rule {}, {rule_name:?}: {why}", index + 1));
        });
        faults.room = room;
        rules.extend(read.map(Arc::new));
    }
    Group {
        name,
        interval: raw.interval.map(Span::get).filter(|interval| !interval.is_zero()),
        query_offset: raw.query_offset.map(Span::get),
        limit: raw.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(0),
        rules,
    }
}

/// What is wrong with a label or an annotation.
enum TextFault {
    Name(String),
}

impl TextFault {
    fn said(&self, what: &str) -> String {
        match self {
            Self::Name(name) => format!("invalid {what} name: {name}"),
        }
    }
}

fn read_texts(raw: Texts, mut fault: impl FnMut(Place, TextFault)) -> BTreeMap<String, String> {
    let mut texts = BTreeMap::new();
    for (name, value) in raw.unwrap_or_default() {
        if name.is_empty() || name == METRIC_NAME {
            fault(value.place, TextFault::Name(name));
            continue;
        }
        texts.insert(name, value.value.unwrap_or_default());
    }
    texts
}

type Fault<'f> = &'f mut dyn FnMut(Place, &str, String);

fn read_rule(
    raw: Placed<RawRule>,
    shared: &BTreeMap<String, String>,
    (room, features): (&mut PatternRoom, Features),
    fault: Fault<'_>,
) -> Option<Rule> {
    let (place, raw) = (raw.place, raw.value);
    let given = |text: &Option<Placed<String>>| text.clone().filter(|text| !text.value.is_empty());
    let (record, alert) = (given(&raw.record), given(&raw.alert));
    let name = record.as_ref().or(alert.as_ref()).map(|name| name.value.clone()).unwrap_or_default();
    let mut is_good = true;
    let mut wrong = |place: Place, why: String| {
        is_good = false;
        fault(place, &name, why);
    };
    match (&record, &alert) {
        (Some(both), Some(_)) => {
            wrong(both.place, "only one of 'record' and 'alert' must be set".to_owned());
        }
        (None, None) => wrong(place, "one of 'record' or 'alert' must be set".to_owned()),
        _ => {}
    }
    let text = given(&raw.expr);
    let expr = match &text {
        None => {
            wrong(place, "field 'expr' must be set in rule".to_owned());
            None
        }
        Some(text) => promql::parse_within(room, &text.value, features)
            .map_err(|error| wrong(text.place, format!("could not parse expression: {error}")))
            .ok(),
    };
    if let Some(record) = &record {
        check_record(record, &raw, &mut wrong);
    }
    let own = read_texts(raw.labels, |place, fault| wrong(place, fault.said("label")));
    let annotations = read_texts(raw.annotations, |place, fault| wrong(place, fault.said("annotation")));
    if alert.is_some() {
        check_templates(&name, "label", &own, place, &mut wrong);
        check_templates(&name, "annotation", &annotations, place, &mut wrong);
    }
    let mut labels = shared.clone();
    labels.extend(own);
    let span = |span: Option<Placed<Span>>| span.map_or(Duration::ZERO, |span| span.value.get());
    let kind = match record {
        Some(_) => RuleKind::Record,
        None => RuleKind::Alert {
            hold: span(raw.hold),
            keep_firing: span(raw.keep_firing_for),
            annotations: annotations.into_iter().collect(),
        },
    };
    let labels = labels.into_iter().collect();
    let (text, expr) = (text?.value, expr?);
    is_good.then_some(Rule { name, text, expr, labels, kind })
}

/// Texts of an alert are templates.
fn check_templates(
    rule: &str,
    what: &str,
    texts: &BTreeMap<String, String>,
    place: Place,
    wrong: &mut dyn FnMut(Place, String),
) {
    for (name, text) in texts {
        if let Err(error) = Template::parse(&format!("__alert_{rule}"), text) {
            wrong(place, format!("{what} {name:?}: {error}"));
        }
    }
}

/// What a recording rule cannot have.
fn check_record(record: &Placed<String>, raw: &RawRule, wrong: &mut dyn FnMut(Place, String)) {
    let invalid = |field: &str| format!("invalid field '{field}' in recording rule");
    if raw.annotations.as_ref().is_some_and(|annotations| !annotations.is_empty()) {
        wrong(record.place, invalid("annotations"));
    }
    for (field, span) in [("for", &raw.hold), ("keep_firing_for", &raw.keep_firing_for)] {
        if let Some(span) = span.as_ref().filter(|span| !span.value.get().is_zero()) {
            wrong(span.place, invalid(field));
        }
    }
    if record.value.contains(['{', '}']) {
        let why = "braces present in the recording rule name; should it be in expr?";
        wrong(record.place, format!("{why}: {}", record.value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<RuleFile, Vec<String>> {
        RuleFile::parse(text, Path::new("r.yml"))
            .map_err(|errors| errors.iter().map(SettingsError::to_string).collect())
    }

    /// A rule in a group, as the fourth and following lines of a file.
    fn refused(rule: &str, expected: &[&str]) {
        let found = parse(&format!("groups:\n- name: g\n  rules:\n{rule}")).expect_err("it is wrong");
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.starts_with(expected), "{found:?} should start with {expected:?}");
        }
    }

    #[test]
    fn a_whole_file_is_read_as_prometheus_reads_it() {
        let file = parse(
            "groups:\n- name: g\n  interval: 30s\n  query_offset: 1m\n  limit: 5\n  labels: {team: net, tier: '1'}\n  rules:\n  \
             - record: job:up:sum\n    expr: sum by (job) (up)\n    labels: {tier: 2}\n  - alert: Down\n    expr: up == 0\n    \
             for: 5m\n    keep_firing_for: 1m\n    annotations: {summary: '{{ $labels.instance }} is down', empty: }\n",
        )
        .expect("good");
        let group = &file.groups[0];
        assert_eq!((group.interval, group.limit), (Some(Duration::from_secs(30)), 5));
        assert_eq!(group.query_offset, Some(Duration::from_secs(60)));
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            group.rules[0].labels,
            [pair("team", "net"), pair("tier", "2")],
            "the rule's own go first"
        );
        assert_eq!(group.rules[0].kind, RuleKind::Record);
        assert_eq!(group.rules[1].labels, [pair("team", "net"), pair("tier", "1")]);
        let RuleKind::Alert { hold, keep_firing, annotations } = &group.rules[1].kind else {
            panic!("an alert")
        };
        assert_eq!((hold.as_secs(), keep_firing.as_secs()), (300, 60));
        assert_eq!(annotations[..], [pair("empty", ""), pair("summary", "{{ $labels.instance }} is down")]);
    }

    #[test]
    fn nothing_is_a_file_without_groups() {
        for text in ["", "groups:\n", "groups: []\n", "# nothing\n"] {
            assert_eq!(parse(text).expect(text).rule_count(), 0, "{text}");
        }
    }

    #[test]
    fn every_mistake_is_named_at_its_place() {
        refused(
            "  - record: a\n    expr: up +\n",
            &["r.yml:5:11: group \"g\", rule 1, \"a\": could not parse expression: 1:5: parse error: "],
        );
        refused(
            "  - record: a\n    alert: b\n    expr: up\n",
            &["r.yml:4:13: group \"g\", rule 1, \"a\": only one of 'record' and 'alert' must be set"],
        );
        refused(
            "  - expr: up\n",
            &["r.yml:4:5: group \"g\", rule 1, \"\": one of 'record' or 'alert' must be set"],
        );
        refused(
            "  - alert: a\n",
            &["r.yml:4:5: group \"g\", rule 1, \"a\": field 'expr' must be set in rule"],
        );
        refused(
            "  - record: a\n    expr: up\n    for: 5m\n    annotations: {a: b}\n",
            &[
                "r.yml:4:13: group \"g\", rule 1, \"a\": invalid field 'annotations' in recording rule",
                "r.yml:6:10: group \"g\", rule 1, \"a\": invalid field 'for' in recording rule",
            ],
        );
        refused(
            "  - record: 'a{b=\"c\"}'\n    expr: up\n",
            &["r.yml:4:13: group \"g\", rule 1, \"a{b=\\\"c\\\"}\": braces present"],
        );
        refused(
            "  - alert: a\n    expr: up\n    labels: {__name__: x}\n",
            &["r.yml:6:24: group \"g\", rule 1, \"a\": invalid label name: __name__"],
        );
        refused(
            "  - alert: a\n    expr: up\n    annotations: {'': x}\n",
            &["r.yml:6:23: group \"g\", rule 1, \"a\": invalid annotation name: "],
        );
        refused("  - alert: a\n    expr: up\n    lables: {a: b}\n", &["r.yml:6:5: unknown field `lables`"]);
        refused("  - alert: a\n    expr: up\n    for: soon\n", &["r.yml:6:10: "]);
        refused(
            "  - alert: a\n    expr: up\n    annotations: {b: '{{ $labels'}\n",
            &["r.yml:4:5: group \"g\", rule 1, \"a\": annotation \"b\": "],
        );
        refused("  - {expr: up}\n  - {alert: b}\n", &["r.yml:4:5: ", "r.yml:5:5: "]);
    }

    #[test]
    fn heavy_regular_expressions_of_a_file_share_a_room() {
        let check = |pattern: &str, expected: bool| {
            let rule = |n| format!("  - {{record: 'r{n}', expr: 'up{{a=~\"{pattern}\"}}'}}\n");
            let rules: String = (0..100).map(rule).collect();
            let source = Source::new(format!("groups:\n- name: g\n  rules:\n{rules}"), "r.yml");
            let read = RuleFile::from_source(
                Path::new("r.yml"),
                &source,
                PatternRoom::of_file(2 << 20),
                Features::default(),
            );
            let why = read.map(|_| ()).map_err(|errors| errors[0].to_string());
            assert_eq!(why.is_ok(), expected, "{pattern}: {why:?}");
            if let Err(why) = why {
                assert!(
                    why.starts_with("r.yml:") && why.contains("of one file take more than 2 MiB"),
                    "{why}"
                );
            }
        };
        check("a|b", true);
        check("[a-z]{1,1000}", false);
    }

    #[test]
    fn groups_have_names_of_their_own() {
        let found = parse("groups:\n- name: g\n- name: g\n- rules: []\n").expect_err("twice").join("\n");
        assert_eq!(
            found,
            "r.yml:3:9: groupname: \"g\" is repeated in the same file\nr.yml:4:3: Groupname must not be empty"
        );
    }

    #[test]
    fn rules_of_one_name_and_labels_are_found() {
        let file = parse(
            "groups:\n- name: g\n  rules:\n  - {record: a, expr: up}\n  - {record: a, expr: down}\n  - {record: a, expr: up, labels: {b: c}}\n",
        );
        let file = file.expect("good");
        let twice = file.duplicates();
        assert_eq!(twice.len(), 1);
        assert_eq!((twice[0].name.as_str(), twice[0].text.as_str()), ("a", "down"));
    }
}
