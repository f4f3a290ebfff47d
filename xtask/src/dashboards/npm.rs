//! Boards in the eyes of the makers of Grafana and Prometheus: types of npm's `@grafana/schema`, grammar of `@prometheus-io/lezer-promql`.
//!
//! In: the boards, expressions of the packs of rules, and a folder in which `npm install` put the packages. Out: a line for each fault. Installs nothing, and is no part of
//! the tests where node or the packages are not there. What the types leave open (a query's own fields) is for `lint.rs`.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::lint;
use super::packs::Written;

const SCRIPT: &str = include_str!("npm/check.js");

/// What the check needs.
const PACKAGES: [&str; 5] =
    ["typescript", "@grafana/schema", "@prometheus-io/lezer-promql", "@lezer/lr", "@lezer/highlight"];

/// Whether the packages are in this folder.
pub(super) fn is_there(folder: &Path) -> bool {
    PACKAGES.iter().all(|package| folder.join("node_modules").join(package).is_dir())
}

/// The faults of all boards, and of expressions of the packs of rules, by file name.
pub(super) fn faults(folder: &Path, boards: &[(String, Value)], packs: &[Written]) -> Result<Vec<String>> {
    if !is_there(folder) {
        // From 7 on TypeScript is a program alone, which cannot be asked from a script.
        let names = PACKAGES.join(" ").replace("typescript", "typescript@5");
        bail!("packages are missing: run `npm install --prefix {} {names}`", folder.display());
    }
    let said = run(folder, &input(boards, packs))?;
    let mut lines: Vec<String> = said.lines().map(str::to_owned).collect();
    // Whoever ends early without a word has found nothing because nothing was looked at.
    if lines.pop().as_deref() != Some("done") {
        bail!("the check of npm's packages did not come to its end: {said}");
    }
    Ok(lines)
}

fn input(boards: &[(String, Value)], packs: &[Written]) -> Value {
    let of_pack = |(name, expression): &Written| json!({"where": name, "expression": expression});
    let mut expressions: Vec<Value> = packs.iter().map(of_pack).collect();
    expressions.extend(boards.iter().flat_map(|(name, board)| self::expressions(name, board)));
    let boards: serde_json::Map<_, _> = boards.iter().cloned().collect();
    json!({"boards": boards, "expressions": expressions})
}

fn expressions(name: &str, board: &Value) -> Vec<Value> {
    let mut all = Vec::new();
    for panel in lint::list(&board["panels"]) {
        for target in lint::list(&panel["targets"]) {
            let expression = lint::without_variables(lint::text(&target["expr"]));
            all.push(json!({"where": format!("{name}: {}", lint::text(&panel["title"])), "expression": expression}));
        }
    }
    all
}

/// Runs the script and returns what it prints; an exit code other than 0 is an error with what it said.
fn run(folder: &Path, input: &Value) -> Result<String> {
    let mut command = Command::new("node");
    command.args(["-e", SCRIPT]).arg(folder).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().context("cannot start node")?;
    let mut stdin = child.stdin.take().expect("it is piped");
    stdin.write_all(input.to_string().as_bytes()).context("cannot tell node the boards")?;
    drop(stdin);
    let output = child.wait_with_output().context("cannot wait for node")?;
    if !output.status.success() {
        bail!("node ended with {}", output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
