//! Rules: expressions that are evaluated again and again; what they find becomes series or alerts.
//!
//! In: Prometheus' rule files, unchanged ([`file`](mod@file)), named by globs in the settings ([`Config`]). Out: series, alerts and notices
//! of them, by a few threads of its own ([`Rules`]); what the API shows ([`Shown`]); the verdict of promtool's unit tests ([`unit`]).
//!
//! `engine` knows when which group is due, `group` evaluates one, `alerts` and `silence` say what becomes of alerts, `live` are the threads
//! and the collector as rules see it.
//!
//! Limits: [`FILES_MAX`] files, [`RULES_MAX`] rules in all; what one file may hold stands at `file.rs`.

mod alerts;
mod engine;
pub mod file;
mod glob;
pub mod group;
mod live;
mod metrics;
mod schedule;
mod shared;
mod silence;
mod state;
#[cfg(test)]
mod tests;
pub mod unit;
mod world;

use std::path::{Path, PathBuf};

use promql::Features;
use serde::Deserialize;
use settings::{Mistake, SettingsError, Span};

pub use engine::{GroupView, RuleView, Shown};
pub use file::RuleFile;
pub use live::{Rules, Tell};

/// The most rule files.
pub const FILES_MAX: usize = 1_000;
/// The most rules of all files.
pub const RULES_MAX: usize = 100_000;

/// The section `rules` of the settings.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Rule files, as Prometheus reads them: paths, or patterns with `*`, `?` and `[a-z]`; relative to the settings' folder.
    pub files: Vec<String>,
    /// How often a group that says no interval is evaluated. Default 1m.
    pub evaluation_interval: Span,
    /// How far back a group that says no offset asks, so that late data is there. Default 0s.
    pub query_offset: Span,
    /// How long a stop may last whose end finds the state of `for` as it was. Default 1h.
    pub for_outage_tolerance: Span,
    /// The least time between a restart and the first firing of an alert that was pending; only for alerts whose `for` is longer.
    /// Default 10m.
    pub for_grace_period: Span,
    /// The least time until an active alert is sent to Alertmanagers again. Default 1m.
    pub resend_delay: Span,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            files: Vec::new(),
            evaluation_interval: Span::from_secs(60),
            query_offset: Span::default(),
            for_outage_tolerance: Span::from_secs(3600),
            for_grace_period: Span::from_secs(600),
            resend_delay: Span::from_secs(60),
        }
    }
}

impl Config {
    /// What no value shows by its form.
    pub(crate) fn check(&self) -> Result<(), Mistake> {
        if self.evaluation_interval < Span::from_secs(1) {
            return Err(Mistake::at(
                "evaluation_interval",
                "rules are evaluated at most once a second: write 1s or more",
            ));
        }
        Ok(())
    }

    /// Reads all files, in order of their paths, each once; `base` is the folder from which relative paths start, `features` are the
    /// experimental parts of the language that expressions may use.
    pub fn load(&self, base: &Path, features: Features) -> Result<Vec<RuleFile>, Mistake> {
        let mut files: Vec<RuleFile> = Vec::new();
        for (index, pattern) in self.files.iter().enumerate() {
            let placed = |mistake: Mistake| mistake.item(index).under("files");
            for path in paths(base, pattern).map_err(placed)? {
                if files.iter().any(|have| have.path == path) {
                    continue;
                }
                let file = RuleFile::read(&path, features).map_err(|errors| placed(first_of(&errors)))?;
                files.push(file);
                check_count(&files).map_err(placed)?;
            }
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(files)
    }
}

/// What a pattern names. A path without wildcards must be there: Prometheus passes over one that is not, and nobody learns of it.
fn paths(base: &Path, pattern: &str) -> Result<Vec<PathBuf>, Mistake> {
    let paths = glob::paths(base, pattern).map_err(|error| Mistake::new(error.to_string()))?;
    if paths.is_empty() && !glob::is_pattern(pattern) {
        let why = format!("{} is not there: write the path of a rule file", base.join(pattern).display());
        return Err(Mistake::new(why));
    }
    Ok(paths)
}

fn check_count(files: &[RuleFile]) -> Result<(), Mistake> {
    let rules: usize = files.iter().map(RuleFile::rule_count).sum();
    if files.len() > FILES_MAX || rules > RULES_MAX {
        return Err(Mistake::new(format!(
            "more than {FILES_MAX} rule files or {RULES_MAX} rules: name fewer"
        )));
    }
    Ok(())
}

fn first_of(errors: &[SettingsError]) -> Mistake {
    let first = errors.first().expect("a refusal has a reason");
    match errors.len() {
        1 => Mistake::elsewhere(first),
        count => Mistake::elsewhere(&with_others(first, count - 1)),
    }
}

fn with_others(first: &SettingsError, others: usize) -> SettingsError {
    match first {
        SettingsError::Invalid { name, line, column, message } => SettingsError::Invalid {
            name: name.clone(),
            line: *line,
            column: *column,
            message: format!(
                "{message} (and {others} more: `pantau-collector rules check {name}` names them)"
            ),
        },
        other => SettingsError::Elsewhere { why: other.to_string(), by: format!("{others} more") },
    }
}

#[cfg(test)]
mod config_tests;
