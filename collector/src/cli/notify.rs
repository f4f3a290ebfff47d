//! `notify test`: a message to everyone whom the settings name, and what each said.

use std::process::ExitCode;

use clap::Subcommand;

use crate::notify;
use crate::settings::Checked;
use crate::state::now;

#[derive(Debug, Subcommand)]
pub(super) enum NotifyWord {
    /// Sends a test to every Alertmanager and receiver and says what each answered. Ends with 1 where one did not take it.
    Test,
}

/// Does what the word says.
pub(super) async fn act(settings: &Checked, word: NotifyWord) -> anyhow::Result<ExitCode> {
    let NotifyWord::Test = word;
    let said = notify::test(settings, now()).await.map_err(|mistake| settings.wrong(&mistake))?;
    if said.is_empty() {
        println!("the settings name nobody: add `notify` or `alerting` (docs/operating/notify.md)");
        return Ok(ExitCode::FAILURE);
    }
    let mut all_have_it = true;
    for (name, answer) in said {
        match answer {
            Ok(said) => println!("delivered  {name}: {said}"),
            Err(why) => {
                all_have_it = false;
                println!("NOT        {name}: {why}");
            }
        }
    }
    Ok(if all_have_it { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
