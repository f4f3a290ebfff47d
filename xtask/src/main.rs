//! The project's toolbox: `cargo xtask WORD`. Continuous integration runs the same words as people do.
//!
//! Deliberately thin: what is measured and tested lives in the rooms and in `tests/`; here are only the commands that run it.

mod audit;
mod dashboards;
mod dist;
mod setup;
mod shell;
mod test;
mod words;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Pantau's toolbox")]
struct Arguments {
    #[command(subcommand)]
    word: Word,
}

#[derive(Subcommand)]
enum Word {
    /// Fetch the real peers that tests need into target/peers (no root, nothing is started).
    Setup,
    /// The test command: peers, formatting, lints, unit, doc and integration tests.
    Test(test::Arguments),
    /// Licences, bans and sources of all dependencies; advisories from a local database.
    Audit(audit::Arguments),
    /// Ours beside the peers in one run: `agent`, `ingest`, `store`, `query`, `snmp` (or `snmp-minute`).
    Bench(words::BenchArguments),
    /// Prometheus' own PromQL scripts through our engine; its API's description and Grafana's calls against a collector. Counts.
    Conformance,
    /// Grafana's boards: written by a program, held against rules.
    #[command(subcommand)]
    Dashboards(dashboards::Words),
    /// Renew the golden files (read the difference before committing it).
    Golden,
    /// The programs as they are shipped: static and stripped, in target/dist.
    Dist,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().word {
        Word::Setup => setup::run().map(drop),
        Word::Test(arguments) => test::run(&arguments),
        Word::Audit(arguments) => audit::run(&arguments),
        Word::Bench(arguments) => words::bench(&arguments),
        Word::Conformance => words::conformance(),
        Word::Dashboards(word) => dashboards::run(&word),
        Word::Golden => words::golden(),
        Word::Dist => dist::run(&dist::PROGRAMS).map(drop),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
