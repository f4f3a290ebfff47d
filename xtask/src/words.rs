//! Words that are one command each: `bench`, `conformance`, `golden`.

use anyhow::Result;

use crate::setup::{self, library_path};
use crate::shell::{cargo, run, shown_output, target};

/// What `cargo xtask bench` takes.
#[derive(clap::Args)]
pub(crate) struct BenchArguments {
    /// `agent`, `ingest`, `store`, `query`, `snmp`, or `snmp-minute`: of the latter only the ten thousand devices in one agent.
    name: String,
    /// One JSON object a line instead of a table.
    #[arg(long)]
    json: bool,
}

/// Builds release programs, fetches the peers and runs the bench that lives in `tests/`.
pub(crate) fn bench(arguments: &BenchArguments) -> Result<()> {
    let peers = setup::run()?;
    // The agent alone is measured as it is shipped: link-time optimisation over everything takes minutes.
    let dist = match &*arguments.name {
        "ingest" | "store" | "query" => crate::dist::folder(),
        _ => crate::dist::run(&["pantau-agent"])?,
    };
    let mut words = vec!["run", "--quiet", "--release", "-p", "pantau-tests", "--bin", "bench"];
    if arguments.name.starts_with("snmp") {
        // The crates beside ours; nothing else is built with them.
        words.extend(["--features", "bench-peers"]);
    } else {
        if arguments.name == "store" {
            words.extend(["--features", "bench-store"]);
        }
        run(&mut cargo(&["build", "--quiet", "--release", "-p", "pantau-collector", "--bins"]))?;
    }
    words.extend(["--", &arguments.name]);
    let mut bench = cargo(&words);
    if arguments.json {
        bench.arg("--json");
    }
    run(bench
        .env("PANTAU_PEERS", &peers)
        .env("PANTAU_PEERS_LIBRARIES", library_path(&peers))
        .env("PANTAU_DIST", dist)
        .env("PANTAU_PROGRAMS", target().join("release")))
}

/// Runs Prometheus' own scripts through our engine, and what its API's description and Grafana ask through a real collector; the counts
/// come last, one line each. The tests themselves fail where a count falls below the committed one (`tests/conformance.txt`).
pub(crate) fn conformance() -> Result<()> {
    let peers = setup::run()?;
    run(&mut cargo(&["build", "--quiet", "-p", "pantau-collector", "--bins"]))?;
    let scripts = &["-p", "promql", "--test", "conformance", "--", "--nocapture"];
    let api = &["-p", "pantau-tests", "--test", "pantau", "--", "conformance::", "--nocapture"];
    let mut said = String::new();
    for tests in [scripts.as_slice(), api] {
        let mut command = cargo(&["test"]);
        command.args(tests).env("PANTAU_PEERS", &peers).env("PANTAU_PEERS_LIBRARIES", library_path(&peers));
        said.push_str(&shown_output(command.env("PANTAU_PROGRAMS", target().join("debug")))?);
    }
    // Beside other tests' output a line may begin in the middle of one.
    for name in ["promql", "openapi", "grafana"] {
        let count = said.lines().find_map(|line| Some(&line[line.find(&format!("{name}: "))?..]));
        println!("{}", count.map_or_else(|| format!("{name}: left out"), str::to_owned));
    }
    Ok(())
}

/// Runs the tests that compare with golden files and lets them write what they got.
pub(crate) fn golden() -> Result<()> {
    let mut tests = cargo(&["test", "--workspace", "--no-fail-fast"]);
    run(tests.env("INSTA_UPDATE", "always").env("PANTAU_GOLDEN", "write"))
}
