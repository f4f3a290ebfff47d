//! `cargo xtask bench NAME [--json]`: prints each figure beside the peer's, the ratio, the goal, and whether it is met.

use std::process::ExitCode;

use pantau_tests::bench::{agent, ingest, query, report, snmp, store};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let as_json = words.iter().any(|word| word == "--json");
    let figures = match words.first().map(String::as_str) {
        Some("agent") => agent::run(),
        Some("ingest") => ingest::run(),
        Some("query") => query::run(),
        Some("snmp") => snmp::run(false),
        Some("store") => store::run(),
        Some("snmp-minute") => snmp::run(true),
        // A part of it in a process of its own.
        Some("snmp-part") => match snmp::part(&words[1..]) {
            Ok(()) => return ExitCode::SUCCESS,
            Err(error) => Err(error),
        },
        _ => {
            eprintln!("bench: name one of: agent, ingest, query, snmp, snmp-minute, store");
            return ExitCode::FAILURE;
        }
    };
    match figures {
        Ok(figures) => {
            report::print(&words[0], &figures, as_json);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
