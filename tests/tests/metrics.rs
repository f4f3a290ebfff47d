//! The catalogue (`docs/metrics.md`) beside what is there: every metric of a collector that runs stands in it with its type and labels, and
//! so does every one that the sources name, which may not have been counted yet; and nothing stands in it that no source names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use pantau_tests::pantau::Collector;
use pantau_tests::peers::root;
use pantau_tests::wait_for;

/// What the sources of the collector say in quotes that looks like a metric and is none of its own.
const NO_METRICS: [&str; 2] = [
    "pantau_snmp_slowest_device_seconds", // the embedded agent's, shown on the page
    "pantau_state",                       // an annotation of alerts
];

/// A metric's type and labels.
type Described = (String, BTreeSet<String>);

/// The rows of the collector's own table, by name.
fn catalogue() -> BTreeMap<String, Described> {
    let page = std::fs::read_to_string(root().join("docs/metrics.md")).expect("the catalogue is there");
    let (_, collector) = page.split_once("## The collector itself").expect("it has the collector's part");
    let (collector, _) = collector.split_once("\n## ").expect("another part follows");
    let rows = collector.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| {
        let (name, rest) = row.split_once("` | ").expect("a name in quotes");
        let mut cells = rest.split('|').map(str::trim);
        let (kind, labels) = (cells.next().expect("a type"), cells.next().expect("labels"));
        let labels = labels.split(", ").filter(|label| !label.is_empty()).map(str::to_owned).collect();
        (name.to_owned(), (kind.to_owned(), labels))
    })
    .collect()
}

/// The families of a page in Prometheus' text format; what makes a histogram is no label of its own.
fn families(page: &str) -> BTreeMap<String, Described> {
    let mut families: BTreeMap<String, Described> = BTreeMap::new();
    let mut family = String::new();
    for line in page.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            family = name.to_owned();
            families.insert(family.clone(), (kind.to_owned(), BTreeSet::new()));
        } else if let Some((_, labels)) = line.split_once('{').filter(|_| !line.starts_with('#')) {
            let names = labels.split("\",").filter_map(|pair| pair.split_once("=\""));
            let names = names.map(|(name, _)| name.trim_start_matches(',').to_owned());
            let known = families.get_mut(&family).expect("a type stands in front of its samples");
            known.1.extend(names.filter(|name| name != "le"));
        }
    }
    families
}

/// Texts in quotes that look like metrics, of a source without its tests.
fn named(source: &str) -> impl Iterator<Item = &str> {
    let source = source.split("#[cfg(test)]").next().unwrap_or_default();
    source.split('"').filter(|text| {
        let is_name = |symbol: char| symbol.is_ascii_lowercase() || symbol.is_ascii_digit() || symbol == '_';
        let ours = text.starts_with("pantau_") || text.starts_with("prometheus_");
        ours && text.chars().all(is_name) && !text.ends_with('_')
    })
}

fn sources(folder: &Path, take: &mut impl FnMut(&str)) {
    for entry in std::fs::read_dir(folder).expect("the sources are there") {
        let path = entry.expect("it can be listed").path();
        let name = path.file_name().expect("it has one").to_string_lossy().into_owned();
        if path.is_dir() && name != "tests" {
            sources(&path, take);
        } else if name.ends_with(".rs") && name != "tests.rs" && !name.ends_with("_tests.rs") {
            take(&std::fs::read_to_string(&path).expect("a source is text"));
        }
    }
}

/// Everything switched on that has figures of its own.
const SETTINGS: &str = "agent: {enabled: false}
identity: {region: '33', site: semarang-dc, instance: collector}
query_log: {file: queries.log}
rules: {files: [rules.yml]}
alerting: {alertmanagers: [{url: 'http://127.0.0.1:9'}]}
notify: {webhook: [{name: nobody, url: 'http://127.0.0.1:9'}]}
";
const RULES: &str = "groups: [{name: a, interval: 1s, rules: [{alert: Always, expr: vector(1)}]}]\n";

#[test]
fn the_page_of_a_collector_is_in_the_catalogue() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("rules.yml"), RULES).expect("the rules can be written");
    let collector = Collector::start(folder.path(), SETTINGS);
    collector.enrol("edge", "33.19", "kudus-1");
    let page = || {
        let answer = collector.http.get(&format!("{}/metrics", collector.base)).expect("an answer");
        families(&answer.body)
    };
    let last =
        ["prometheus_notifications_errors_total", "pantau_notify_failures_total", "pantau_agent_connected"];
    let page = wait_for("figures of everything", std::time::Duration::from_secs(30), || {
        let page = page();
        last.iter().all(|name| page.get(*name).is_some_and(|(_, labels)| !labels.is_empty())).then_some(page)
    });
    let catalogue = catalogue();
    let wrong: Vec<_> = page.iter().filter(|(name, has)| catalogue.get(*name) != Some(has)).collect();
    assert!(wrong.is_empty(), "not so in docs/metrics.md: {wrong:#?}");
    assert!(page.len() > 80, "the page is whole: {}", page.len());
}

#[test]
fn what_the_sources_name_is_in_the_catalogue_and_nothing_else() {
    let mut names = BTreeSet::new();
    for folder in ["collector/src", "crates/telemetry/src"] {
        sources(&root().join(folder), &mut |source| names.extend(named(source).map(str::to_owned)));
    }
    NO_METRICS
        .iter()
        .for_each(|name| assert!(names.remove(*name), "{name} is named no more: take it off the list"));
    let listed: BTreeSet<String> =
        catalogue().into_keys().filter(|name| !name.starts_with("process_")).collect();
    let missing: Vec<_> = names.difference(&listed).collect();
    assert!(missing.is_empty(), "not in docs/metrics.md: {missing:?}");
    let gone: Vec<_> = listed.difference(&names).collect();
    assert!(gone.is_empty(), "in docs/metrics.md and in no source: {gone:?}");
}

#[test]
fn pages_and_sources_are_read_rightly() {
    let page = "# HELP a x\n# TYPE a counter\na 1\n# TYPE h histogram\nh_bucket{p=\"x\",le=\"1\"} 1\nh_sum{p=\"x,y=\\\"\"} 1\n";
    let (none, p) = (BTreeSet::new(), BTreeSet::from(["p".to_owned()]));
    let expected =
        [("a".to_owned(), ("counter".to_owned(), none)), ("h".to_owned(), ("histogram".to_owned(), p))];
    assert_eq!(families(page), BTreeMap::from(expected));
    let source = "f(\"pantau_a_total\", \"pantau_ of\", \"pantau_\"); // \n#[cfg(test)] g(\"pantau_b\")";
    assert_eq!(named(source).collect::<Vec<_>>(), ["pantau_a_total"]);
}
