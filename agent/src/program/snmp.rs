//! The words `pantau-agent snmp walk|explain|test|replay`: an engineer looks at a device with what the agent itself uses.
//!
//! In: a target and how to ask it, or files. Out: text. Nothing is sent to a collector, and secrets come from files, from the
//! environment or from the settings, never from the command line, where everybody on the machine could read them.

mod ask;
mod explain;
#[cfg(feature = "replay")]
mod replay;
mod trials;
mod walk;

use std::path::{Path, PathBuf};

use clap::Subcommand;
use profiles::Set;

use crate::settings::Settings;

pub use ask::{Asked, Asking, Credentials};

/// What `pantau-agent snmp` does.
#[derive(Clone, Debug, Subcommand)]
pub enum Word {
    /// Prints everything under an OID, in net-snmp's form or as a recording.
    Walk {
        /// Whom to ask, and how.
        #[command(flatten)]
        asking: Asking,
        /// The root of what is read.
        #[arg(default_value = "1.3.6.1")]
        oid: String,
        /// As a recording, one `OID|TAG|VALUE` a line: for `snmp replay`, and for tests in profiles.
        #[arg(long)]
        recording: bool,
        /// Routes, forwarding tables and running software too, which a walk from further above leaves out.
        #[arg(long)]
        all: bool,
        /// Values that are read at most.
        #[arg(long, value_name = "N", default_value_t = walk::ROWS_MAX)]
        rows_max: u32,
    },
    /// Says which profile a device gets and why, what it was asked, what it answered, and what became of it.
    Explain {
        /// Whom to ask, and how.
        #[command(flatten)]
        asking: Asking,
        /// A folder of profiles that count before the program's own [default: that of the settings].
        #[arg(long, value_name = "FOLDER")]
        profiles: Option<PathBuf>,
        /// Every sample, not only how many.
        #[arg(long)]
        samples: bool,
    },
    /// Checks profile files and runs their own tests; without a file, those of the program's own profiles.
    Test {
        /// Profile files, which may extend each other and the program's own.
        files: Vec<PathBuf>,
    },
    /// Plays recordings back as devices, for tests without hardware.
    #[cfg(feature = "replay")]
    Replay(replay::Arguments),
}

impl Word {
    /// Whether it is worth reading the settings for.
    pub fn wants_settings(&self) -> bool {
        matches!(self, Self::Walk { .. } | Self::Explain { .. })
    }
}

/// Does what the word says and prints it.
///
/// # Errors
/// A device that does not answer, options that make no sense, files that are wrong.
pub async fn run(word: &Word, settings: Option<&Settings>) -> anyhow::Result<()> {
    #[cfg(feature = "replay")]
    if let Word::Replay(arguments) = word {
        return replay::run(arguments).await;
    }
    let shown = shown(word, settings).await?;
    eprint!("{}", shown.aside);
    print!("{}", shown.text);
    Ok(())
}

/// What people read.
#[derive(Debug, Default)]
struct Shown {
    text: String,
    /// What does not belong to the text: another program may read that.
    aside: String,
}

async fn shown(word: &Word, settings: Option<&Settings>) -> anyhow::Result<Shown> {
    let mut shown = Shown::default();
    match word {
        Word::Walk { asking, oid, recording, all, rows_max } => {
            let set = profile_set(None, settings)?;
            let what = walk::What { oid, recording: *recording, all: *all, rows_max: *rows_max };
            shown.text = walk::walk(&asking.device(settings).await?, &set, &what, &mut shown.aside).await?;
        }
        Word::Explain { asking, profiles, samples } => {
            let set = profile_set(profiles.as_deref(), settings)?;
            shown.text = explain::explain(&asking.device(settings).await?, &set, *samples).await?;
        }
        Word::Test { files } => shown.text = trials::run(files)?,
        #[cfg(feature = "replay")]
        Word::Replay(_) => {}
    }
    Ok(shown)
}

/// The profiles of a folder over the program's own: of this one, else of the settings'.
fn profile_set(folder: Option<&Path>, settings: Option<&Settings>) -> anyhow::Result<Set> {
    let of_settings = || {
        let settings = settings?;
        settings.inputs.snmp_common.profiles.as_ref().map(|folder| settings.base.join(folder))
    };
    trials::load(folder.map(Path::to_owned).or_else(of_settings).as_deref())
}

#[cfg(test)]
mod tests;
