//! `cargo xtask dashboards write|check`: Grafana's boards are written by a program, because the same scope, interval and data source
//! stand in every panel. In: `dashboards/boards.rs` and the catalogue of metrics (`docs/metrics.md`). Out: `dashboards/*.json`.
//!
//! `check` builds them in memory, holds them against the rules of `lint.rs` and against the committed files, and where it is told of npm's
//! packages against those too (`npm.rs`). It does not start Grafana.

mod boards;
mod json;
mod lint;
mod npm;
mod packs;
mod provisioning;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::Subcommand;

use crate::shell::root;

#[derive(Subcommand)]
pub(crate) enum Words {
    /// Writes dashboards/*.json anew.
    Write,
    /// Whether the files are current and follow the rules; whether Grafana's provisioning fits them; of the packs of rules, whether their
    /// metrics exist.
    Check {
        /// Also against npm's @grafana/schema and @prometheus-io/lezer-promql, installed in this folder; needs node.
        #[arg(long)]
        npm: Option<PathBuf>,
    },
}

pub(crate) fn run(word: &Words) -> Result<()> {
    match word {
        Words::Write => write(),
        Words::Check { npm } => check(npm.as_deref()),
    }
}

/// Every board as its file and its text.
fn files() -> Vec<(PathBuf, String)> {
    let one = |board: &boards::Board| {
        let text = serde_json::to_string_pretty(&json::board(board)).expect("numbers and texts only");
        (root().join("dashboards").join(format!("{}.json", board.uid)), text + "\n")
    };
    boards::BOARDS.iter().map(one).collect()
}

fn write() -> Result<()> {
    for (path, text) in files() {
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn check(npm: Option<&Path>) -> Result<()> {
    let catalogue = lint::Catalogue::read(&root().join("docs/metrics.md"))?;
    let mut faults = Vec::new();
    let mut boards = Vec::new();
    for (path, text) in files() {
        let name = path.file_name().expect("it has one").to_string_lossy().into_owned();
        if std::fs::read_to_string(&path).ok().as_deref() != Some(&*text) {
            faults.push(format!("{name}: not current; run `cargo xtask dashboards write`"));
        }
        let board = serde_json::from_str(&text).context("cannot read what was just written")?;
        faults.extend(lint::faults(&board, &catalogue).into_iter().map(|fault| format!("{name}: {fault}")));
        boards.push((name, board));
    }
    faults.extend(wrong_ways(&boards));
    let devices =
        boards::BOARDS.iter().find(|board| board.uid == "pantau-network").expect("the board of devices");
    faults.extend(provisioning::faults(&root().join("configs/grafana"), devices.interval)?);
    let packs = packs::read(&root().join("configs/rules"))?;
    faults.extend(packs::faults(&packs, &catalogue));
    if let Some(folder) = npm {
        faults.extend(npm::faults(folder, &boards, &packs)?);
    }
    faults.iter().for_each(|fault| eprintln!("{fault}"));
    if !faults.is_empty() {
        bail!("{} faults in dashboards", faults.len());
    }
    let npm = if npm.is_some() { ", also by @grafana/schema and lezer-promql" } else { "" };
    println!("dashboards: {} boards and {} rules, no fault{npm}", boards.len(), packs.len());
    Ok(())
}

/// Links that lead to no board, and panels of the first board that lead nowhere: whoever sees trouble must get to it.
fn wrong_ways(boards: &[(String, serde_json::Value)]) -> Vec<String> {
    let mut faults = Vec::new();
    for (name, board) in boards {
        for uid in lint::led_to(board) {
            if !boards.iter().any(|(_, other)| other["uid"] == *uid) {
                faults.push(format!("{name}: link: no board has the uid {uid}"));
            }
        }
        let leads_nowhere =
            |panel: &&serde_json::Value| lint::led_to(&serde_json::json!({"panels": [panel]})).is_empty();
        if board["uid"] == boards::BOARDS[0].uid {
            let dead = lint::list(&board["panels"]).iter().filter(leads_nowhere);
            faults.extend(dead.map(|panel| format!("{name}: {}: link: none to the details", panel["title"])));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use serde_json::json;

    #[test]
    fn links_that_lead_nowhere_are_found() {
        let defaults = |url: &str| json!({"fieldConfig": {"defaults": {"links": [{"url": url}]}}});
        let first = super::boards::BOARDS[0].uid;
        let board = |url: &str| ("a.json".to_owned(), json!({"uid": first, "panels": [defaults(url)]}));
        assert!(super::wrong_ways(&[board(&format!("/d/{first}?x"))]).is_empty());
        assert_eq!(super::wrong_ways(&[board("/d/gone?x")]).len(), 1);
        let dead = ("a.json".to_owned(), json!({"uid": first, "panels": [{"title": "Dead"}]}));
        assert_eq!(super::wrong_ways(&[dead]).len(), 1);
    }

    #[test]
    fn the_committed_boards_are_current_and_follow_the_rules() {
        super::check(None).expect("no fault");
    }

    /// The folder with npm's packages: `PANTAU_NPM`, or `setup`'s; says so where they or node are not there.
    fn npm() -> Option<PathBuf> {
        let own = || crate::setup::npm_folder(&crate::setup::peers());
        let folder = std::env::var_os("PANTAU_NPM").map_or_else(own, PathBuf::from);
        let node = crate::shell::works(std::process::Command::new("node").arg("--version"));
        if node && super::npm::is_there(&folder) {
            return Some(folder);
        }
        println!("left out: node, or npm's packages in {} (or PANTAU_NPM), are not there", folder.display());
        None
    }

    #[test]
    fn the_boards_have_the_types_of_grafana_s_schema_and_expressions_of_prometheus_grammar() {
        let Some(folder) = npm() else { return };
        super::check(Some(&folder)).expect("no fault");
    }

    #[test]
    fn npm_s_packages_find_what_is_wrong() {
        let Some(folder) = npm() else { return };
        let panel = json!({
            "type": "timeseries", "title": "Traffic", "options": {"legend": 1},
            "fieldConfig": {"defaults": {"custom": {"lineWidth": "thick"}}},
            "targets": [{"refId": "A", "expr": "rate(up[5m]"}],
        });
        let board = json!({"schemaVersion": 42, "editable": "no", "panels": [panel]});
        let pack = ("b.yaml".to_owned(), "up =".to_owned());
        let faults =
            super::npm::faults(&folder, &[("a.json".to_owned(), board)], &[pack]).expect("node runs");
        for expected in [
            "a.json: Traffic: lezer",
            "b.yaml: lezer",
            "a.json: @grafana",
            "Traffic: options: @grafana",
            "Traffic: custom: @grafana",
        ] {
            assert!(faults.iter().any(|fault| fault.contains(expected)), "{expected}: {faults:?}");
        }
    }
}
