//! `cargo xtask dashboards write|check`: Grafana's boards are written by a program, because the same scope, interval and data source
//! stand in every panel. In: `dashboards/boards.rs` and the catalogue of metrics (`docs/metrics.md`). Out: `dashboards/*.json`.
//!
//! `check` builds them in memory, holds them against the rules of `lint.rs` and against the committed files. It does not start Grafana.

mod boards;
mod json;
mod lint;

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use clap::Subcommand;

use crate::shell::root;

#[derive(Subcommand)]
pub(crate) enum Words {
    /// Writes dashboards/*.json anew.
    Write,
    /// Whether the files are current and follow the rules.
    Check,
}

pub(crate) fn run(word: &Words) -> Result<()> {
    match word {
        Words::Write => write(),
        Words::Check => check(),
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

fn check() -> Result<()> {
    let catalogue = lint::Catalogue::read(&root().join("docs/metrics.md"))?;
    let mut faults = Vec::new();
    for (path, text) in files() {
        let name = path.file_name().expect("it has one").to_string_lossy().into_owned();
        if std::fs::read_to_string(&path).ok().as_deref() != Some(&*text) {
            faults.push(format!("{name}: not current; run `cargo xtask dashboards write`"));
        }
        let board = serde_json::from_str(&text).context("cannot read what was just written")?;
        faults.extend(lint::faults(&board, &catalogue).into_iter().map(|fault| format!("{name}: {fault}")));
    }
    faults.iter().for_each(|fault| eprintln!("{fault}"));
    if !faults.is_empty() {
        bail!("{} faults in dashboards", faults.len());
    }
    println!("dashboards: {} boards, no fault", boards::BOARDS.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_committed_boards_are_current_and_follow_the_rules() {
        super::check().expect("no fault");
    }
}
