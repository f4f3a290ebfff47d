//! The arrows between the rooms, stated as absences (ARCHITECTURE.md): `cargo tree` must not find what a room may not know.

use std::collections::BTreeSet;
use std::process::Command;

/// Lines of `cargo tree` about a package: names, without what only tests and build scripts need.
fn tree(package: &str, words: &[&str]) -> BTreeSet<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "tree",
            "--offline",
            "--edges",
            "normal",
            "--prefix",
            "none",
            "--format",
            "{p}",
            "--package",
            package,
        ])
        .args(words)
        .current_dir(pantau_tests::peers::root())
        .output()
        .expect("cargo can be started");
    assert!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

/// Everything a package depends on, itself included.
fn dependencies(package: &str) -> BTreeSet<String> {
    tree(package, &[])
}

#[track_caller]
fn knows_nothing_of(package: &str, absent: &[&str]) {
    let found = dependencies(package);
    assert!(found.contains(package), "cargo tree did not even find {package} itself");
    for name in absent {
        assert!(!found.contains(*name), "{package} must not know {name}");
    }
}

const NETWORK: [&str; 4] = ["tokio", "hyper", "reqwest", "socket2"];

#[test]
fn the_check_finds_an_arrow_that_is_there() {
    let collector = dependencies("pantau-collector");
    for name in ["pantau-agent", "tsdb", "promql", "journal", "snmp", "model"] {
        assert!(collector.contains(name), "the collector knows {name}, and the check must see it");
    }
}

#[test]
fn the_agent_knows_no_store_and_no_query() {
    knows_nothing_of("pantau-agent", &["tsdb", "promql", "alerting", "template", "pantau-collector", "axum"]);
}

#[test]
fn store_and_query_do_not_know_each_other() {
    knows_nothing_of("tsdb", &["promql", "wire", "tokio", "prometheus"]);
    knows_nothing_of("promql", &["tsdb", "journal", "wire"]);
    knows_nothing_of("promql", &NETWORK);
}

#[test]
fn the_model_knows_nobody() {
    knows_nothing_of("model", &["journal", "wire", "settings", "telemetry"]);
    knows_nothing_of("model", &NETWORK);
}

#[test]
fn the_journal_knows_no_samples_and_snmp_no_model() {
    knows_nothing_of("journal", &["model", "tokio", "tsdb"]);
    knows_nothing_of("snmp", &["model", "settings", "prometheus"]);
}

#[test]
fn the_simulator_knows_the_codec_alone() {
    knows_nothing_of("simulator", &["tokio", "model", "settings", "profiles", "pantau-agent"]);
}

#[test]
fn profiles_know_no_network_and_no_clock() {
    knows_nothing_of("profiles", &NETWORK);
    knows_nothing_of("profiles", &["rustix", "time", "simulator", "pantau-agent", "tsdb"]);
}

#[test]
fn alerts_and_their_texts_know_no_network_no_clock_and_no_query() {
    for package in ["alerting", "template"] {
        knows_nothing_of(package, &NETWORK);
        knows_nothing_of(package, &["rustix", "time", "promql", "tsdb", "journal", "settings"]);
    }
}

#[test]
fn formats_know_no_network() {
    knows_nothing_of("wire", &NETWORK);
    knows_nothing_of("exposition", &NETWORK);
}

#[test]
fn there_is_one_tls_stack() {
    knows_nothing_of("pantau-collector", &["openssl", "native-tls", "aws-lc-rs", "openssl-sys"]);
}

#[test]
fn the_agent_inside_the_collector_leaves_the_simulator_out() {
    assert!(dependencies("pantau-agent").contains("simulator"), "`snmp replay` has it");
    knows_nothing_of("pantau-collector", &["simulator"]);
}

/// The rooms of `ARCHITECTURE.md` and what its table says that they know.
fn rooms_of_the_picture() -> Vec<(String, String)> {
    let text =
        std::fs::read_to_string(pantau_tests::peers::root().join("ARCHITECTURE.md")).expect("it is there");
    let row = |line: &str| {
        let cells: Vec<&str> = line.split(" | ").collect();
        let [room, _, knows] = cells[..] else { return None };
        let room = room.strip_prefix("| `")?.strip_suffix('`')?;
        Some((room.to_owned(), knows.trim_end_matches(" |").to_owned()))
    };
    text.lines().filter_map(row).collect()
}

#[test]
fn the_table_of_rooms_names_every_arrow() {
    let rooms = rooms_of_the_picture();
    let package = |room: &str| match room.strip_prefix("crates/") {
        Some(name) => name.to_owned(),
        None if room == "xtask" => room.to_owned(),
        None => format!("pantau-{room}"),
    };
    // A workspace of its own, for a compiler of its own.
    let inside: Vec<&(String, String)> = rooms.iter().filter(|(room, _)| room != "fuzz").collect();
    assert!(inside.len() >= 14, "only {} rooms are found in the table", inside.len());
    for (room, knows) in &inside {
        let direct = tree(&package(room), &["--depth", "1"]);
        // What stands behind "never" is no arrow.
        let said = knows.split("never").next().unwrap_or_default();
        let said: BTreeSet<&str> = said.split(|symbol: char| !symbol.is_ascii_alphanumeric()).collect();
        for (other, _) in inside.iter().filter(|(other, _)| other != room) {
            let name = other.strip_prefix("crates/").unwrap_or(other);
            if direct.contains(&package(other)) {
                assert!(
                    said.contains(name),
                    "{room} knows {other}, and ARCHITECTURE.md does not say so: {knows}"
                );
            } else if room.starts_with("crates/") && said.contains(name) {
                let negated = knows.contains(&format!("no {name}"));
                assert!(negated, "ARCHITECTURE.md says that {room} knows {other}, and it does not: {knows}");
            }
        }
    }
}
