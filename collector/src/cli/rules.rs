//! `pantau-collector rules check` and `rules test`: rule files looked at and tried out as promtool does it.
//!
//! Ends with 0 where all is well, with 1 where a file is wrong, with 3 where only a lint finds fault and `--lint-fatal` asks for it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use promql::Features;

use crate::rules::file::Rule;
use crate::rules::{RuleFile, unit};
use crate::settings::Checked;

const LINT: u8 = 3;

#[derive(Debug, Subcommand)]
pub(super) enum RulesWord {
    /// Says of each rule file whether it is good, and what is wrong with it.
    Check {
        /// The files; those that the settings name by default.
        files: Vec<PathBuf>,
        /// Ends with 3 where a rule stands twice.
        #[arg(long)]
        lint_fatal: bool,
    },
    /// Runs unit tests of rules, in promtool's form.
    Test {
        /// The test files.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

pub(super) fn act(settings: &Checked, word: RulesWord) -> anyhow::Result<ExitCode> {
    let features = settings.query.features.features();
    match word {
        RulesWord::Check { files, lint_fatal } if files.is_empty() => {
            let loaded = settings.rules.load(&settings.base, features);
            let loaded = loaded.map_err(|mistake| settings.wrong(&mistake.under("rules")))?;
            Ok(check(&loaded.into_iter().map(|file| file.path).collect::<Vec<_>>(), lint_fatal, features))
        }
        RulesWord::Check { files, lint_fatal } => Ok(check(&files, lint_fatal, features)),
        RulesWord::Test { files } => Ok(test(&files, features)),
    }
}

fn check(files: &[PathBuf], lint_fatal: bool, features: Features) -> ExitCode {
    let (mut wrong, mut linted) = (false, false);
    for path in files {
        println!("Checking {}", path.display());
        match RuleFile::read(path, features) {
            Err(errors) => {
                eprintln!("  FAILED:");
                errors.iter().for_each(|error| eprintln!("{error}"));
                wrong = true;
            }
            Ok(file) => match lint(&file.duplicates()) {
                Some(lint) => {
                    eprintln!("  FAILED:\n{lint}");
                    linted = true;
                }
                None => println!("  SUCCESS: {} rules found", file.rule_count()),
            },
        }
        println!();
    }
    match (wrong, linted && lint_fatal) {
        (true, _) => ExitCode::FAILURE,
        (false, true) => ExitCode::from(LINT),
        (false, false) => ExitCode::SUCCESS,
    }
}

fn test(files: &[PathBuf], features: Features) -> ExitCode {
    let mut failed = false;
    for path in files {
        println!("Unit Testing:  {}", path.display());
        let wrong = unit::run(path, features);
        if wrong.is_empty() {
            println!("  SUCCESS");
        } else {
            eprintln!("  FAILED:");
            for why in wrong {
                eprintln!("{why}");
                println!();
            }
            failed = true;
        }
        println!();
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// What promtool says of rules that stand twice.
fn lint(twice: &[&Rule]) -> Option<String> {
    if twice.is_empty() {
        return None;
    }
    let mut said = format!("lint error {} duplicate rule(s) found.\n", twice.len());
    for rule in twice {
        said.push_str(&format!("Metric: {}\nLabel(s):\n", rule.name));
        rule.labels.iter().for_each(|(name, value)| said.push_str(&format!("\t{name}: {value}\n")));
    }
    said.push_str("Might cause inconsistency while recording expressions");
    Some(said)
}
