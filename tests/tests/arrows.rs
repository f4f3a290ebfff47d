//! The arrows between the rooms, stated as absences (ARCHITECTURE.md): `cargo tree` must not find what a room may not know.

use std::collections::BTreeSet;
use std::process::Command;

/// Everything a package depends on, itself included, without what only tests and build scripts need.
fn dependencies(package: &str) -> BTreeSet<String> {
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
        .current_dir(pantau_tests::peers::root())
        .output()
        .expect("cargo can be started");
    assert!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
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
    knows_nothing_of("pantau-agent", &["tsdb", "promql", "pantau-collector", "axum"]);
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
fn formats_know_no_network() {
    knows_nothing_of("wire", &NETWORK);
    knows_nothing_of("exposition", &NETWORK);
}

#[test]
fn there_is_one_tls_stack() {
    knows_nothing_of("pantau-collector", &["openssl", "native-tls", "aws-lc-rs", "openssl-sys"]);
}
