//! What people read of a device of the settings, against golden files: renewed with PANTAU_GOLDEN=1.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use clap::Parser as _;
use simulator::{Device, Fleet, Options, Place, Recording, Tree};

use super::*;

/// An OLT of our own invention: two ports, one table that may be read once an hour, one that the settings deny.
const OLT: &str = "\
1.3.6.1.2.1.1.1.0|4|Example OLT
1.3.6.1.2.1.1.2.0|6|1.3.6.1.4.1.99999.1
1.3.6.1.2.1.1.3.0|67|360000
1.3.6.1.2.1.4.21.1.1.10.0.0.0|64|10.0.0.0
1.3.6.1.4.1.99999.2.1.1.1|4|port 1
1.3.6.1.4.1.99999.2.1.1.2|4|port 2
1.3.6.1.4.1.99999.2.1.2.1|2|1
1.3.6.1.4.1.99999.2.1.2.2|2|2
1.3.6.1.4.1.99999.3.1.1.7|2|-2150
1.3.6.1.4.1.99999.3.1.1.8|2|-2340
1.3.6.1.4.1.99999.4.1.1.1|2|5
";

const PROFILE: &str = "\
profile: example-olt
title: An example OLT
match: [{sys_object_id: 1.3.6.1.4.1.99999}]
tables:
  - name: ponPorts
    entry: 1.3.6.1.4.1.99999.2.1
    index: {port: {at: 0}}
    columns: {descr: {arc: 1, parse: text}, state: 2}
    labels: {port: descr}
    metrics: [{name: pon_port_state, value: state, help: State.}]
  - name: onuOptics
    class: hourly
    budget: {every: 2h, rows: 2000, repetitions: 5}
    entry: 1.3.6.1.4.1.99999.3.1
    index: {onu: {at: 0}}
    columns: {rx: 1}
    labels: {onu: onu}
    metrics: [{name: onu_rx, value: rx, help: Rx.}]
  - name: sessions
    entry: 1.3.6.1.4.1.99999.4.1
    index: {session: {at: 0}}
    columns: {count: 1}
    labels: {session: session}
    metrics: [{name: sessions, value: count, help: Sessions.}]
";

#[derive(clap::Parser)]
struct Line {
    #[command(subcommand)]
    word: Word,
}

struct Bench {
    fleet: Fleet,
    folder: tempfile::TempDir,
    settings: Settings,
}

impl Bench {
    fn new() -> Self {
        Self::with(Options::default(), "")
    }

    /// With a script of what goes wrong.
    fn with(options: Options, faults: &str) -> Self {
        let recording = Recording::parse(OLT).expect("a good recording");
        let tree = Arc::new(Tree::still(&recording).expect("a good recording"));
        let faults = faults.parse().expect("a good script");
        let device = Device::new(tree).community("new-secret").log(10_000).faults(faults);
        let fleet = Fleet::start(options, [device]).expect("loopback can be bound");
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| {
            std::fs::write(folder.path().join(name), text).expect("it can be written");
        };
        write("old", "old-secret\n");
        write("new", "new-secret\n");
        std::fs::create_dir(folder.path().join("profiles")).expect("it can be made");
        write("profiles/example-olt.yaml", PROFILE);
        let text = format!(
            "spool: {{folder: spool}}\n\
             inputs:\n  \
               snmp_common:\n    \
                 profiles: profiles\n    \
                 credentials: {{old: {{community: {{file: old}}}}, new: {{community: {{file: new}}}}}}\n    \
                 sites: {{kudus-vsat: {{in_flight_max: 4, bits_per_second: 6400000}}}}\n  \
               snmp:\n    \
                 - {{credentials: [old, new], site: kudus-vsat, timeout: 200ms, retries: 0, requests_per_second: 200,\n      \
                   targets: [{{name: olt-kudus-1, address: \"{}\", deny: [1.3.6.1.4.1.99999.4]}}]}}\n",
            fleet.address(0)
        );
        let mut settings: Settings = settings::parse(&text, "agent.yaml").expect("good settings");
        settings.base = folder.path().to_owned();
        Self { fleet, folder, settings }
    }

    /// As the program does it.
    async fn says(&self, line: &str) -> anyhow::Result<String> {
        let line = Line::try_parse_from(line.split(' ')).expect("good words");
        let shown = shown(&line.word, Some(&self.settings)).await;
        let plain = |text: String| text.replace(&self.fleet.address(0).to_string(), "ADDRESS");
        shown
            .map(|shown| plain(shown.aside + &shown.text))
            .map_err(|error| anyhow::anyhow!(plain(format!("{error:#}"))))
    }

    /// As if the agent had asked for the optics that long ago.
    fn asked(&self, secs_ago: u64) {
        let now =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock that is set").as_secs();
        let text = format!("pantau snmp asked 1\n{} onuOptics olt-kudus-1\n", now - secs_ago);
        std::fs::write(self.folder.path().join("snmp-asked"), text).expect("it can be written");
    }
}

#[track_caller]
fn check_golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/program/snmp/golden").join(name);
    // What the engine learns and what retries cost differ from run to run.
    let line = |line: &str| match line.split_once(" columns, ") {
        Some((before, _)) => format!("{before} columns, COST\n"),
        None if line.starts_with("cost: ") => "cost: COST\n".to_owned(),
        None if line.contains("= Timeticks: ") => "UPTIME\n".to_owned(),
        None => format!("{line}\n"),
    };
    let text: String = text.lines().map(line).collect();
    if std::env::var_os("PANTAU_GOLDEN").is_some() {
        std::fs::write(&path, &text).expect("it can be written");
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(text == golden, "{name} is out of date: look at it, and renew it with PANTAU_GOLDEN=1\n{text}");
}

#[tokio::test]
async fn a_device_of_the_settings_is_explained_within_its_budgets() {
    let bench = Bench::new();
    bench.asked(4210);
    check_golden("explain-waiting.txt", &bench.says("snmp explain olt-kudus-1").await.expect("it answers"));
    bench.asked(7300);
    check_golden("explain.txt", &bench.says("snmp explain olt-kudus-1 --samples").await.expect("it answers"));
    let noted = std::fs::read_to_string(bench.folder.path().join("snmp-asked")).expect("it is there");
    assert_eq!(noted.lines().count(), 3, "the agent is told: {noted}");
    let again = bench.says("snmp explain olt-kudus-1").await.expect("it answers");
    assert!(
        again.contains("onuOptics (hourly): its budget allows it every 2h; it was asked for "),
        "{again}"
    );
}

#[tokio::test]
async fn a_walk_goes_around_what_is_denied_heavy_or_budgeted() {
    let bench = Bench::new();
    bench.asked(4210);
    check_golden("walk.txt", &bench.says("snmp walk olt-kudus-1").await.expect("it answers"));
    let all = bench.says("snmp walk olt-kudus-1 --all").await.expect("it answers");
    assert!(all.contains(".1.3.6.1.2.1.4.21.1.1.10.0.0.0 = "), "{all}");
    assert!(!all.contains(".99999.3.1.1.7") && !all.contains(".99999.4.1.1.1"), "{all}");
    let check = async |line: &str, expected: &str| {
        let error = bench.says(line).await.expect_err("not now").to_string();
        assert!(error.contains(expected), "{error}");
    };
    check("snmp walk olt-kudus-1 1.3.6.1.4.1.99999.4.1.1", "the settings deny 1.3.6.1.4.1.99999.4").await;
    let in_50_minutes = "it was asked for 1h10m ago and may be again in 50m";
    check("snmp walk olt-kudus-1 1.3.6.1.4.1.99999.3.1.1", in_50_minutes).await;
    bench.asked(7300);
    let optics =
        bench.says("snmp walk olt-kudus-1 1.3.6.1.4.1.99999.3.1.1").await.expect("its time has come");
    assert_eq!(optics.lines().count(), 2, "{optics}");
    check("snmp walk olt-kudus-1 1.3.6.1.4.1.99999.3.1.1", "its budget allows it every 2h").await;
}

#[tokio::test]
async fn what_waits_or_is_denied_is_not_sent_at_all() {
    let bench = Bench::new();
    bench.asked(60);
    for line in ["snmp explain olt-kudus-1", "snmp walk olt-kudus-1 1.3.6.1.4.1.99999"] {
        bench.says(line).await.expect("it answers");
        let asked = bench.fleet.device(0).take_asked();
        let names: Vec<String> =
            asked.iter().flat_map(|asked| &asked.names).map(ToString::to_string).collect();
        assert!(!names.is_empty());
        // Behind everything below is where a walk goes on.
        let is_bad = |name: &&String| {
            let denied = ["1.3.6.1.4.1.99999.3.1", "1.3.6.1.4.1.99999.4"];
            denied.iter().any(|denied| name.starts_with(denied)) && !name.ends_with(".2147483647")
        };
        assert_eq!(names.iter().find(is_bad), None, "{line}");
    }
}

/// What a person pastes into a ticket has no community in it.
#[tokio::test]
async fn a_device_that_answers_from_elsewhere_is_shown_without_its_community() {
    let place = Place::Addresses { first: std::net::Ipv4Addr::new(127, 9, 7, 1), port: 0 };
    let bench = Bench::with(Options { place, ..Options::default() }, "wrong-source");
    let error = bench.says("snmp explain olt-kudus-1").await.expect_err("nothing counts").to_string();
    for expected in
        ["allow it?", "--accept-reply-from 127.", "in the settings accept_reply_from: [127.", "  0000  30 "]
    {
        assert!(error.contains(expected), "{expected}: {error}");
    }
    let hex = b"new-secret".map(|byte| format!("{byte:02x}")).join(" ");
    assert!(!error.contains("secret") && !error.contains(&hex[..11]), "{error}");
}

#[test]
fn the_manual_names_every_word_and_every_option_in_both_languages() {
    use clap::CommandFactory as _;
    for name in ["snmp-words.md", "snmp-words.id.md"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operating").join(name);
        let page = std::fs::read_to_string(&path).expect("the page is there");
        let line = Line::command();
        for word in line.get_subcommands() {
            assert!(page.contains(&format!("## `{}`", word.get_name())), "{name}: {}", word.get_name());
            for option in word.get_arguments().filter_map(|argument| argument.get_long()) {
                assert!(page.contains(&format!("--{option}")), "{name}: --{option} of {}", word.get_name());
            }
        }
    }
}
