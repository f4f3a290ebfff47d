//! The word `test`: everything that a change must pass, in the order in which it fails fastest.

use anyhow::Result;

use crate::setup::{library_path, npm_folder, peers};
use crate::shell::{self, cargo, target, works};

/// What `cargo xtask test` takes.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Leave formatting and lints out.
    #[arg(long)]
    only_tests: bool,
    /// Passed on to the test runner (a test's name, for example).
    #[arg(last = true)]
    rest: Vec<String>,
}

/// Ends in the runner's own summary line.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let without_peers = std::env::var_os("PANTAU_TEST_WITHOUT_PEERS").is_some();
    if without_peers {
        println!("peers: left out, because PANTAU_TEST_WITHOUT_PEERS is set");
    } else {
        crate::setup::run()?;
    }
    if !arguments.only_tests {
        shell::run(&mut cargo(&["fmt", "--all", "--check"]))?;
        shell::run(&mut cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--quiet",
            "--",
            "-D",
            "warnings",
        ]))?;
    }
    // The integration tests start the programs themselves.
    shell::run(&mut cargo(&["build", "--quiet", "-p", "pantau-agent", "-p", "pantau-collector", "--bins"]))?;
    shell::run(&mut cargo(&["test", "--quiet", "--workspace", "--doc"]))?;
    let nextest = works(&mut cargo(&["nextest", "--version"]));
    let runner: &[&str] = if nextest {
        &["nextest", "run", "--workspace"]
    } else {
        &["test", "--workspace", "--lib", "--bins", "--tests"]
    };
    let mut tests = cargo(runner);
    tests.args(&arguments.rest).env("PANTAU_PROGRAMS", target().join("debug"));
    if !without_peers {
        tests.env("PANTAU_PEERS", peers()).env("PANTAU_PEERS_LIBRARIES", library_path(&peers()));
        tests.env("PANTAU_NPM", npm_folder(&peers()));
    }
    shell::run(&mut tests)
}
