use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use model::{Timestamp, is_stale};
use serde::Deserialize;
use snmp::Datum;
use snmp::Oid;
use snmp::pretend::{Agent, Misdeed};

use super::*;
use crate::series::{Round, SeriesTable};

/// A switch of two ports, as a device would hold it.
fn switch() -> Vec<(Oid, Datum)> {
    let scalars = [
        ("1.3.6.1.2.1.1.1.0", Datum::text("Example switch, version 1")),
        ("1.3.6.1.2.1.1.2.0", Datum::Oid("1.3.6.1.4.1.8072.3.2.10".parse().expect("good"))),
        ("1.3.6.1.2.1.1.3.0", Datum::TimeTicks(12_345)),
        ("1.3.6.1.2.1.1.5.0", Datum::text("sw1")),
        ("1.3.6.1.2.1.2.1.0", Datum::Integer(2)),
    ];
    let scalars = scalars.into_iter().map(|(oid, held)| (oid.parse().expect("good"), held));
    scalars.chain(port(1, "ge-0", "uplink")).chain(port(2, "ge-1", "")).collect()
}

fn port(index: u32, name: &str, alias: &str) -> Vec<(Oid, Datum)> {
    let cell = |column: &str| format!("1.3.6.1.2.1.{column}.{index}").parse::<Oid>().expect("good");
    vec![
        (cell("2.2.1.1"), Datum::Integer(index as i32)),
        (cell("2.2.1.2"), Datum::text(format!("Port {name}"))),
        (cell("2.2.1.3"), Datum::Integer(6)),
        (cell("2.2.1.6"), Datum::Bytes(vec![0, 0x1a, 0x2b, 0x3c, 0x4d, 0x5e])),
        (cell("2.2.1.8"), Datum::Integer(1)),
        (cell("2.2.1.10"), Datum::Counter32(4_000_000_000)),
        (cell("31.1.1.1.1"), Datum::text(name)),
        (cell("31.1.1.1.6"), Datum::Counter64(5_000_000_000)),
        (cell("31.1.1.1.15"), Datum::Gauge32(1000)),
        (cell("31.1.1.1.18"), Datum::text(alias)),
    ]
}

fn context(folder: &Path) -> Context {
    let labels = Labels::empty();
    Context { instance: "here".to_owned(), labels, base: folder.into(), state: None, series_max: 1000 }
}

/// A device under test: its agent, its input, its table of series.
struct Bench {
    agent: Agent,
    poller: Poller,
}

/// An input and its table of series.
struct Poller {
    input: Box<dyn Input>,
    table: SeriesTable,
    rounds: i64,
    /// Series that ended in the last round.
    ended: Vec<String>,
}

impl Poller {
    fn new(group: &str, shared: Shared, folder: &Path) -> Self {
        let config: Config = settings::parse(group, "test").expect("good settings");
        let group = Group::new(config, 0, context(folder), shared);
        let mut targets = group.expect("good settings").refresh().expect("readable").expect("the first list");
        assert_eq!(targets.len(), 1);
        let input = (targets.remove(0).build)();
        let table = input.new_table();
        Self { input, table, rounds: 0, ended: Vec::new() }
    }

    /// One round: live series by their text, and the error if there is one.
    async fn round(&mut self) -> (BTreeMap<String, f64>, Option<String>) {
        self.rounds += 1;
        let mut round = Round::begin(&mut self.table, Timestamp::from_millis(self.rounds), Vec::new());
        let error = self.input.collect(&mut round).await.err().map(|error| error.to_string());
        let (points, _) = round.finish();
        type Points = Vec<crate::series::Point>;
        let (stale, live): (Points, Points) = points.iter().partition(|point| is_stale(point.value));
        let text = |series: crate::series::SeriesId| self.table.entry(series).labels.to_string();
        let named = live.iter().map(|point| (text(point.series), point.value)).collect();
        self.ended = stale.iter().map(|point| text(point.series)).collect();
        (named, error)
    }

    /// A round that must be without fault.
    async fn good_round(&mut self) -> BTreeMap<String, f64> {
        let (series, error) = self.round().await;
        assert_eq!(error, None);
        series
    }
}

impl Bench {
    async fn new(cells: Vec<(Oid, Datum)>, settings: &str) -> Self {
        let agent = Agent::start("public", cells).await;
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("community"), "public\n").expect("a good disk");
        let text = format!(
            "community: {{file: community}}\ntimeout: 100ms\nretries: 0\ninterval: 10s\n{settings}\n\
             targets: [{{name: sw1, address: \"{}\"}}]\n",
            agent.address()
        );
        let poller = Poller::new(&text, Shared::new(Memory::volatile()), folder.path());
        Self { agent, poller }
    }

    async fn round(&mut self) -> (BTreeMap<String, f64>, Option<String>) {
        self.poller.round().await
    }

    async fn good_round(&mut self) -> BTreeMap<String, f64> {
        self.poller.good_round().await
    }
}

fn interface(metric: &str, index: u32, name: &str, alias: &str) -> String {
    let alias = if alias.is_empty() { String::new() } else { format!("ifAlias=\"{alias}\", ") };
    format!(
        "{metric}{{{alias}ifDescr=\"Port {name}\", ifIndex=\"{index}\", ifName=\"{name}\", instance=\"sw1\", job=\"snmp\"}}"
    )
}

const TARGET: &str = "instance=\"sw1\", job=\"snmp\"";

#[tokio::test]
async fn a_switch_is_read_under_snmp_exporters_names() {
    let mut bench = Bench::new(switch(), "").await;
    let series = bench.good_round().await;
    let check =
        |key: &str, expected: f64| assert_eq!(series.get(key), Some(&expected), "{key} in {series:#?}");
    check(&format!("up{{{TARGET}}}"), 1.0);
    check(&format!("sysUpTime{{{TARGET}}}"), 12_345.0);
    check(&format!("sysName{{{TARGET}, sysName=\"sw1\"}}"), 1.0);
    check(&format!("sysObjectID{{{TARGET}, sysObjectID=\"1.3.6.1.4.1.8072.3.2.10\"}}"), 1.0);
    check(&format!("ifNumber{{{TARGET}}}"), 2.0);
    check(&interface("ifHCInOctets", 1, "ge-0", "uplink"), 5e9);
    check(&interface("ifInOctets", 2, "ge-1", ""), 4e9);
    check(&interface("ifOperStatus", 2, "ge-1", ""), 1.0);
    check(&interface("ifHighSpeed", 1, "ge-0", "uplink"), 1000.0);
    let count = |prefix: &str| series.keys().filter(|key| key.starts_with(prefix)).count();
    assert_eq!(count("ifType_info{"), 2);
    assert!(series.keys().any(|key| key.contains("ifPhysAddress=\"00:1A:2B:3C:4D:5E\"")));
    assert!(series.keys().any(|key| key.contains("ifType=\"ethernetCsmacd\"")));
    assert!(series.keys().any(|key| key.starts_with("snmp_interface_info{current_ifIndex=\"1\"")));
    check(&format!("pantau_snmp_walk_complete{{{TARGET}, table=\"ifXTable\"}}"), 1.0);
    check(&format!("snmp_scrape_packets_retried{{{TARGET}, module=\"if_mib\"}}"), 0.0);
    assert_eq!(count("snmp_scrape_pdus_returned{"), 2);
}

#[tokio::test]
async fn v1_reads_the_same_and_leaves_out_what_the_device_lacks() {
    let mut bench = Bench::new(switch(), "version: v1").await;
    let series = bench.good_round().await;
    assert_eq!(series.get(&format!("ifNumber{{{TARGET}}}")), Some(&2.0), "{series:#?}");
    assert_eq!(series.get(&interface("ifHCInOctets", 1, "ge-0", "uplink")), Some(&5e9));
    assert!(!series.keys().any(|key| key.starts_with("sysLocation")));
}

#[tokio::test]
async fn a_device_that_is_silent_is_down_and_costs_one_probe() {
    let mut bench = Bench::new(switch(), "").await;
    bench.good_round().await;
    bench.agent.misbehave([Misdeed::Silence]);
    let before = bench.agent.datagrams();
    let (series, error) = bench.round().await;
    assert!(error.is_some_and(|text| text.contains("does not answer")));
    assert_eq!(series.get(&format!("up{{{TARGET}}}")), Some(&0.0));
    assert!(!series.keys().any(|key| key.starts_with("if")));
    assert_eq!(bench.agent.datagrams() - before, 1);
    bench.agent.misbehave([]);
    assert_eq!(bench.good_round().await.get(&format!("up{{{TARGET}}}")), Some(&1.0));
}

#[tokio::test]
async fn an_interface_keeps_its_first_index_when_the_device_renumbers() {
    let mut bench = Bench::new(switch(), "").await;
    bench.good_round().await;
    bench.agent.remove(&"1.3.6.1.2.1.2.2".parse().expect("good"));
    bench.agent.remove(&"1.3.6.1.2.1.31".parse().expect("good"));
    for (oid, held) in port(7, "ge-0", "uplink") {
        bench.agent.set(oid, held);
    }
    let series = bench.good_round().await;
    assert_eq!(series.get(&interface("ifHCInOctets", 1, "ge-0", "uplink")), Some(&5e9), "{series:#?}");
    assert_eq!(series.get(&interface("ifIndex", 1, "ge-0", "uplink")), Some(&7.0));
    assert!(series.keys().any(|key| key.starts_with("snmp_interface_info{current_ifIndex=\"7\"")));
}

#[tokio::test]
async fn a_column_that_fails_is_named_and_takes_nothing_with_it() {
    let mut bench = Bench::new(switch(), "").await;
    // What lies before it, so that only its own rows are answered by an error.
    for column in 2..=5 {
        bench
            .agent
            .set(format!("1.3.6.1.2.1.31.1.1.1.{column}.1").parse().expect("good"), Datum::Counter32(0));
    }
    bench.agent.misbehave([Misdeed::GenErr("1.3.6.1.2.1.31.1.1.1.6".parse().expect("good"))]);
    let (series, error) = bench.round().await;
    let expected = "column 1.3.6.1.2.1.31.1.1.1.6: the agent answered genErr";
    assert!(error.as_ref().is_some_and(|text| text.contains(expected)), "{error:?}");
    assert_eq!(series.get(&interface("ifHighSpeed", 1, "ge-0", "uplink")), Some(&1000.0), "{series:#?}");
    assert_eq!(series.get(&interface("ifInOctets", 1, "ge-0", "uplink")), Some(&4e9));
    let complete =
        |table: &str| series.get(&format!("pantau_snmp_walk_complete{{{TARGET}, table=\"{table}\"}}"));
    assert_eq!((complete("ifTable"), complete("ifXTable")), (Some(&1.0), Some(&0.0)));
    let early = format!(
        "pantau_snmp_walks_ended_early_total{{{TARGET}, reason=\"error_status\", table=\"ifXTable\"}}"
    );
    assert_eq!(series.get(&early), Some(&1.0));
}

#[tokio::test]
async fn a_lost_name_does_not_change_labels() {
    let mut bench = Bench::new(switch(), "").await;
    let before = bench.good_round().await;
    bench.agent.misbehave([Misdeed::GenErr("1.3.6.1.2.1.31.1.1.1.18".parse().expect("good"))]);
    let (after, error) = bench.round().await;
    assert!(error.is_some_and(|text| text.contains("ifXTable")));
    assert_eq!(after.get(&interface("ifHCInOctets", 1, "ge-0", "uplink")), Some(&5e9), "{after:#?}");
    assert!(before.keys().filter(|key| key.starts_with("if")).all(|key| after.contains_key(key)));
}

#[tokio::test]
async fn an_endless_table_ends_at_its_bound_and_says_so() {
    let mut bench = Bench::new(switch(), "rows_max: 50").await;
    bench.agent.misbehave([Misdeed::Endless]);
    let (series, error) = bench.round().await;
    assert!(error.is_some_and(|text| text.contains("the bound on rows was reached")));
    let early =
        format!("pantau_snmp_walks_ended_early_total{{{TARGET}, reason=\"limit_rows\", table=\"ifTable\"}}");
    assert_eq!(series.get(&early), Some(&1.0), "{series:#?}");
}

#[tokio::test]
async fn dial_in_interfaces_are_counted_and_left_out() {
    let cells = switch().into_iter().chain(port(9, "<pppoe-customer7>", "")).collect();
    let mut bench = Bench::new(cells, "").await;
    let series = bench.good_round().await;
    assert!(!series.keys().any(|key| key.contains("pppoe")));
    assert_eq!(series.get(&format!("pantau_snmp_interfaces_left_out{{{TARGET}}}")), Some(&1.0));
}

#[tokio::test]
async fn interfaces_of_one_name_are_told_apart_by_their_index() {
    let cells = port(1, "eth", "").into_iter().chain(port(2, "eth", "")).collect();
    let mut bench = Bench::new(cells, "").await;
    let series = bench.good_round().await;
    assert!([1, 2].iter().all(|index| series.contains_key(&interface("ifHCInOctets", *index, "eth", ""))));
}

fn group(text: &str, folder: &Path) -> Result<Group, String> {
    let config: Config = settings::parse(text, "pantau.yaml").map_err(|error| error.to_string())?;
    Group::new(config, 0, context(folder), Shared::new(Memory::volatile())).map_err(|error| error.to_string())
}

#[test]
fn every_mistake_in_the_settings_has_its_text() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("c"), "public").expect("a good disk");
    let check = |text: &str, expected: &str| {
        let error = group(text, folder.path()).err().unwrap_or_default();
        assert!(error.contains(expected), "{text}: {error:?} should contain {expected:?}");
    };
    let with = |rest: &str| format!("community: {{file: c}}\n{rest}");
    check("targets: [{address: 10.0.0.1}]", "no community");
    check("comunity: {file: c}", "pantau.yaml:1:1");
    check(&with("targets: [{address: 10.0.0.1, nmae: x}]"), "pantau.yaml:2:31");
    check(&with("targets: [{address: \"http://sw1\"}]"), "is no");
    check(&with("targets: [{address: \"sw1:snmp\"}]"), "\"snmp\" is no port");
    check(&with("targets: [{address: a, name: x}, {address: b, name: x}]"), "two targets are named \"x\"");
    check(&with("timeout: 60s\ntargets: [{address: a}]"), "less than the interval");
    check(&with("labels: {job: x}\ntargets: [{address: a}]"), "the label job is set by `job`");
    check(&with("labels: {a-b: x}\ntargets: [{address: a}]"), "\"a-b\" is no name of a label");
    check(&with("interfaces_exclude: \"(\""), "interfaces_exclude");
    check(&with("files: [none.yaml]"), "none.yaml");
    check("community: {file: d}\ntargets: [{address: a}]", "cannot read the secret");
}

#[test]
fn addresses_come_with_and_without_port() {
    let check =
        |text: &str, expected: Option<Address>| assert_eq!(text.parse::<Address>().ok(), expected, "{text}");
    let socket = |text: &str| Some(Address::Socket(text.parse().expect("good")));
    check("10.0.0.1", socket("10.0.0.1:161"));
    check("10.0.0.1:1161", socket("10.0.0.1:1161"));
    check("fd00::1", socket("[fd00::1]:161"));
    check("[fd00::1]", socket("[fd00::1]:161"));
    check("[fd00::1]:1161", socket("[fd00::1]:1161"));
    check("sw1.example.net", Some(Address::Name("sw1.example.net".to_owned(), 161)));
    check("sw1:1161", Some(Address::Name("sw1".to_owned(), 1161)));
    check("", None);
    check("sw 1", None);
}

#[test]
fn a_list_in_a_file_is_read_again_when_it_changes() {
    let folder = tempfile::tempdir().expect("a folder");
    let list = folder.path().join("switches.json");
    fs::write(folder.path().join("c"), "public").expect("a good disk");
    fs::write(&list, r#"[{"address": "10.0.0.1", "name": "sw1"}]"#).expect("a good disk");
    let text = "community: {file: c}\nfiles: [switches.json]\n";
    let mut group = group(text, folder.path()).expect("good settings");
    let keys = |group: &mut Group| {
        let targets = group.refresh().map_err(|error| error.to_string())?;
        Ok::<_, String>(
            targets.map(|targets| targets.into_iter().map(|target| target.key).collect::<Vec<_>>()),
        )
    };
    let first = keys(&mut group).expect("readable").expect("the first list");
    assert_eq!(keys(&mut group), Ok(None), "nothing changed");

    fs::write(&list, r#"[{"address": "10.0.0.1", "name": "sw1"}, {"address": "10.0.0.2"}]"#)
        .expect("a good disk");
    let second = keys(&mut group).expect("readable").expect("a new list");
    assert_eq!((second.len(), &second[0]), (2, &first[0]), "the first device goes on");

    fs::write(&list, "[{").expect("a good disk");
    assert!(keys(&mut group).expect_err("no list").contains("switches.json"));
    assert_eq!(keys(&mut group), Ok(None), "said once; the old targets go on");
}

#[test]
fn a_rotated_community_is_taken_up_and_never_printed() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("c"), "first-secret").expect("a good disk");
    let mut group =
        group("community: {file: c}\ntargets: [{address: a}]", folder.path()).expect("good settings");
    let target = group.refresh().expect("readable").expect("the first list").remove(0);
    fs::write(folder.path().join("c"), "second-secret").expect("a good disk");
    assert!(group.refresh().expect("readable").is_none());
    let snmp::engine::Credential::Community { community, .. } = group.credentials[0].get().0 else {
        panic!("a community")
    };
    assert_eq!(community, snmp::Community::new("second-secret"));
    assert!(!target.key.contains("secret-") && !format!("{group:?}").contains("-secret"), "{}", target.key);
    fs::remove_file(folder.path().join("c")).expect("it is there");
    assert!(
        group.refresh().err().is_some_and(|error| error.to_string().contains("the old community is kept"))
    );
}

/// Every metric of a profile, and the profiles that a device may be read by to have it.
fn profile_metrics() -> String {
    let set = profiles::Set::embedded();
    let mut found: BTreeMap<String, (&profiles::Family, Vec<&str>)> = BTreeMap::new();
    for profile in set.profiles() {
        for family in profile.families() {
            let own = found.entry(family.name.to_string()).or_insert((family, Vec::new()));
            own.1.push(profile.name());
        }
    }
    let row = |(name, (family, profiles)): (&String, &(&profiles::Family, Vec<&str>))| {
        let (kind, help) = (family.metadata.kind, &family.metadata.help);
        let by = if profiles.len() > 8 { "most".to_owned() } else { profiles.join(", ") };
        format!("| `{name}` | {kind} | {by} | {help} |\n")
    };
    format!(
        "| metric | type | profiles | what it is |\n|---|---|---|---|\n{}",
        found.iter().map(row).collect::<String>()
    )
}

#[test]
fn the_documentation_lists_every_metric() {
    let row = |family: &crate::series::Family| {
        format!("| `{}` | {} | {} | {} |\n", family.name, family.kind, family.labels.join(", "), family.help)
    };
    let mut rows: Vec<String> = own::families().map(row).collect();
    rows.sort();
    let table = format!(
        "| metric | type | labels | what it is |\n|---|---|---|---|\n{}\n{}",
        rows.concat(),
        profile_metrics()
    );
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let (begin, end) = ("<!-- SNMP metrics: written by a test -->\n", "<!-- end of SNMP metrics -->\n");
    let page = fs::read_to_string(&path).expect("docs/metrics.md is there");
    let (before, rest) = page.split_once(begin).expect("the page has a place for the metrics of devices");
    let (have, after) = rest.split_once(end).expect("the place has an end");
    if std::env::var_os("PANTAU_GOLDEN").is_some() {
        fs::write(&path, format!("{before}{begin}{table}{end}{after}")).expect("a good disk");
        return;
    }
    assert!(have == table, "docs/metrics.md is out of date: renew it with PANTAU_GOLDEN=1");
}

/// The settings in the operator's pages are read by the same code as an operator's own.
#[test]
fn the_examples_in_the_documentation_are_good_settings() {
    #[derive(Deserialize)]
    struct Page {
        inputs: Inputs,
    }
    #[derive(Deserialize)]
    struct Inputs {
        snmp: Vec<Config>,
    }
    for name in ["snmp.md", "snmp.id.md"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operating").join(name);
        let page = fs::read_to_string(&path).expect("the page is there");
        let mut blocks =
            page.split("```").skip(1).step_by(2).map(|block| block.split_once('\n').expect("two lines"));
        let (_, settings) = blocks.find(|(kind, _)| *kind == "yaml").expect("settings");
        let page: Page = settings::parse(settings, name).expect("good settings");
        assert_eq!((page.inputs.snmp.len(), page.inputs.snmp[0].targets.len()), (1, 2));
        let (_, list) = blocks.find(|(kind, _)| *kind == "yaml").expect("a list of devices");
        let list: Vec<TargetConfig> = settings::parse(list, name).expect("a good list");
        assert!(list.iter().all(|target| target.address.parse::<Address>().is_ok()));
        #[derive(Deserialize)]
        struct Whole {
            inputs: crate::inputs::Config,
        }
        let (_, shared) = blocks.find(|(kind, _)| *kind == "yaml").expect("what groups share");
        let whole: Whole = settings::parse(shared, name).expect("good settings");
        let (inputs, targets) = (&whole.inputs, &whole.inputs.snmp[0].targets);
        assert!(
            inputs.snmp[0].credentials.iter().all(|used| inputs.snmp_common.credentials.contains_key(used))
        );
        assert!(targets.iter().all(|target| target.address.parse::<Address>().is_ok()));
    }
}

mod devices;
mod events;
