//! `pantau-collector store …`: the store's folder looked after, and samples carried in and out.
//!
//! Every word ends with 0 where all is well, with 1 where it was done but something is damaged, refused or left out that it names, and
//! with 2 where it could not be done.

use std::fs::File;
use std::io::{self, BufWriter, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use journal::JournalError;
use journal::disk::{Disk, RealDisk};
use model::{Matcher, Timestamp};
use tsdb::{Placing, ReadOnlyStore, Store, StoreError};

use crate::ledger::Ledger;
use crate::settings::Checked;
use crate::state::now;
use crate::storage;
use crate::store_tools::export::{self, Wanted, export};
use crate::store_tools::import::{Choices, Import};
use crate::store_tools::{reader, text};

#[derive(Debug, Subcommand)]
pub(super) enum StoreWord {
    /// Says what is in the store: blocks, journal, time, bytes a sample. Works while the collector runs.
    Info {
        #[command(flatten)]
        at: At,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Checks every checksum and names each damage by file and offset. Works while the collector runs.
    Verify {
        #[command(flatten)]
        at: At,
    },
    /// Copies the store to a folder; again into the same one, it copies what is new. Works while the collector runs.
    Backup {
        /// The backup's folder: not there yet, empty, or an earlier backup of this store.
        to: PathBuf,
        #[command(flatten)]
        at: At,
    },
    /// Puts a backup or snapshot where the store belongs. Nothing may be there.
    Restore {
        /// The backup's or snapshot's folder.
        from: PathBuf,
        #[command(flatten)]
        at: At,
    },
    /// Makes a copy that costs hardly any room (second names of the same files) below the data folder. Works while the collector runs.
    Snapshot {
        /// The snapshot's folder; `snapshots/` and the time in the data folder by default.
        to: Option<PathBuf>,
        #[command(flatten)]
        at: At,
    },
    /// Writes samples as OpenMetrics or JSON lines. Works while the collector runs.
    Export {
        #[command(flatten)]
        which: Which,
        /// What is written.
        #[arg(long, value_enum, default_value_t)]
        format: export::Format,
        /// With JSON lines: every bit of every value, stale markers included, as only our import reads it.
        #[arg(long)]
        exact: bool,
        /// The file; standard output by default.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        #[command(flatten)]
        at: At,
    },
    /// Reads what promtool, VictoriaMetrics or `store export` wrote. The collector must not run.
    Import {
        /// Files, packed by gzip or not; `-`, or none, is the standard input.
        files: Vec<PathBuf>,
        /// What they are; their first line shows it where this is not given.
        #[arg(long, value_enum)]
        format: Option<reader::Format>,
        /// Takes every NaN for the marker of a series' end: a dump of promtool does not tell them apart.
        #[arg(long)]
        nan_is_stale: bool,
        /// A label that every series gets, such as region=33.19; instead of its own of that name.
        #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
        labels: Vec<(String, String)>,
    },
    /// Deletes the samples of some series in some time. The collector must not run (while it does, ask its admin API).
    Delete {
        #[command(flatten)]
        which: Which,
    },
    /// Merges all that can be merged, at once and without a pause. The collector must not run.
    Compact,
}

#[derive(Debug, Args)]
pub(super) struct At {
    /// The store's folder; that of the settings by default. A backup or snapshot is one, too.
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

impl At {
    fn folder(&self, settings: &Checked) -> PathBuf {
        self.folder.clone().unwrap_or_else(|| settings.data.join(storage::FOLDER))
    }
}

#[derive(Debug, Args)]
pub(super) struct Which {
    /// A selector such as '{job="node"}'; several are a union.
    #[arg(long = "match", value_name = "SELECTOR", value_parser = selector)]
    matchers: Vec<Selector>,
    /// The first moment: 2026-11-22T10:00:00+07:00, or Unix seconds; since ever by default.
    #[arg(long, value_name = "TIME", value_parser = time, allow_hyphen_values = true)]
    start: Option<Timestamp>,
    /// The last moment, inclusive; for ever by default.
    #[arg(long, value_name = "TIME", value_parser = time, allow_hyphen_values = true)]
    end: Option<Timestamp>,
}

impl Which {
    fn span(&self) -> anyhow::Result<(Timestamp, Timestamp)> {
        let (start, end) = (self.start.unwrap_or(Timestamp::MIN), self.end.unwrap_or(Timestamp::MAX));
        if start > end {
            bail!("--start is later than --end");
        }
        Ok((start, end))
    }
}

/// What a selector says; a type of its own, because a list of lists means something else to clap.
#[derive(Clone, Debug)]
struct Selector(Vec<Matcher>);

fn selector(text: &str) -> Result<Selector, String> {
    promql::parse_matchers(text).map(Selector).map_err(|error| error.to_string())
}

fn time(text: &str) -> Result<Timestamp, String> {
    crate::api::time::parse_time(text)
        .ok_or_else(|| "write a time such as 2026-11-22T10:00:00+07:00, or Unix seconds".to_owned())
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

/// What came of a word.
enum Outcome {
    Well,
    /// Done, but something was named that somebody should look at.
    Mixed,
}

impl Outcome {
    fn mixed_if(mixed: bool) -> Self {
        if mixed { Self::Mixed } else { Self::Well }
    }
}

/// Does a word and says what came of it.
pub(super) fn act(settings: &Checked, word: StoreWord) -> ExitCode {
    let outcome = match word {
        StoreWord::Info { at, json } => info(&at.folder(settings), json),
        StoreWord::Verify { at } => verify(&at.folder(settings)),
        StoreWord::Backup { to, at } => backup(&at.folder(settings), &to, Placing::Copy),
        StoreWord::Restore { from, at } => restore(&from, &at.folder(settings)),
        StoreWord::Snapshot { to, at } => {
            let to = to.unwrap_or_else(|| settings.data.join("snapshots").join(text::name_of(now())));
            backup(&at.folder(settings), &to, Placing::Link)
        }
        StoreWord::Export { which, format, exact, out, at } => {
            export_to(&at.folder(settings), &which, format, exact, out.as_deref())
        }
        StoreWord::Import { files, format, nan_is_stale, labels } => {
            import(settings, &files, Choices { format, nan_is_stale, labels })
        }
        StoreWord::Delete { which } => delete(settings, &which),
        StoreWord::Compact => compact(settings),
    };
    match outcome {
        Ok(Outcome::Well) => ExitCode::SUCCESS,
        Ok(Outcome::Mixed) => ExitCode::from(1),
        Err(error) => {
            eprintln!("pantau-collector: {}", telemetry::faults::for_terminal(error.as_ref()));
            ExitCode::from(2)
        }
    }
}

fn disk() -> Arc<dyn Disk> {
    Arc::new(RealDisk)
}

fn info(folder: &Path, json: bool) -> anyhow::Result<Outcome> {
    let info = tsdb::info(&disk(), folder)
        .with_context(|| format!("cannot read the store in {}", folder.display()))?;
    print!("{}", text::info(&info, json));
    Ok(Outcome::mixed_if(!info.unreadable.is_empty()))
}

fn verify(folder: &Path) -> anyhow::Result<Outcome> {
    let verified = tsdb::verify(&disk(), folder, &mut |damage| println!("{damage}"))
        .with_context(|| format!("cannot check the store in {}", folder.display()))?;
    println!("{}", text::verified(folder, &verified));
    Ok(Outcome::mixed_if(verified.damages > 0))
}

fn backup(from: &Path, to: &Path, placing: Placing) -> anyhow::Result<Outcome> {
    if from.canonicalize().is_ok_and(|from| to.canonicalize().is_ok_and(|to| from == to)) {
        bail!("{} is the store itself: name another folder", to.display());
    }
    let copied = tsdb::backup(&disk(), from, to, placing)
        .with_context(|| format!("cannot copy the store from {} to {}", from.display(), to.display()))?;
    println!("{}", text::copied(to, &copied));
    for (path, why) in &copied.lost {
        println!("{} cannot be copied: {why}", path.display());
    }
    Ok(Outcome::mixed_if(!copied.lost.is_empty()))
}

fn restore(from: &Path, to: &Path) -> anyhow::Result<Outcome> {
    let parent = parent_of(to);
    RealDisk.create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    check_owner(parent)?;
    let copied = tsdb::restore(&disk(), from, to)
        .with_context(|| format!("cannot restore {} to {}", from.display(), to.display()))?;
    println!("{}", text::copied(to, &copied));
    verify(to)
}

/// The folder in which a folder stands; a bare name has an empty one by its words.
fn parent_of(folder: &Path) -> &Path {
    folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn export_to(
    folder: &Path,
    which: &Which,
    format: export::Format,
    exact: bool,
    out: Option<&Path>,
) -> anyhow::Result<Outcome> {
    let (start, end) = which.span()?;
    if exact && format != export::Format::Json {
        bail!("--exact goes with --format json: OpenMetrics cannot carry every value");
    }
    let store = ReadOnlyStore::open(&disk(), folder)
        .with_context(|| format!("cannot read the store in {}", folder.display()))?;
    let damaged = text::damage_of(store.replay());
    damaged.iter().for_each(|line| eprintln!("{line}"));
    let selectors = which.matchers.iter().map(|selector| selector.0.clone()).collect();
    let wanted = Wanted { format, exact, selectors, start, end };
    let describe = |metric: &str| {
        let known = store.metadata(Some(metric), 0);
        known.into_iter().next().and_then(|(_, descriptions)| descriptions.into_iter().next())
    };
    let done = match out {
        None => export(&store, &describe, &wanted, &mut io::stdout().lock()),
        Some(path) => {
            let file = File::create(path).with_context(|| format!("cannot make {}", path.display()))?;
            let mut out = BufWriter::new(file);
            let done = export(&store, &describe, &wanted, &mut out)?;
            let file = out.into_inner().map_err(io::IntoInnerError::into_error);
            file.and_then(|file| file.sync_all())
                .with_context(|| format!("cannot write {}", path.display()))?;
            Ok(done)
        }
    }?;
    eprintln!("{}", text::exported(&done));
    Ok(Outcome::mixed_if(!damaged.is_empty()))
}

fn import(settings: &Checked, files: &[PathBuf], choices: Choices) -> anyhow::Result<Outcome> {
    let store = open(settings, "import")?;
    let mut import = Import::new(&store, settings.ingest.clone(), choices, now);
    let mut tell = |line: &str| eprintln!("{line}");
    let standard_input = [PathBuf::from("-")];
    for path in if files.is_empty() { &standard_input } else { files } {
        let (from, name): (Box<dyn Read>, _) = if path.as_os_str() == "-" {
            (Box::new(io::stdin().lock()), "standard input".to_owned())
        } else {
            let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
            (Box::new(file), path.display().to_string())
        };
        import.file(from, &name, &mut tell)?;
    }
    let done = import.finish()?;
    store.close().context("cannot close the store")?;
    println!("{}", text::imported(&done, store.floor()));
    Ok(Outcome::mixed_if(done.refused > 0 || done.written.too_old > 0))
}

fn delete(settings: &Checked, which: &Which) -> anyhow::Result<Outcome> {
    let (start, end) = which.span()?;
    if which.matchers.is_empty() {
        bail!("say what to delete by --match, such as --match '{{job=\"node\",instance=\"old:9100\"}}'");
    }
    let store = open(settings, "delete")?;
    let mut blocks = 0;
    for Selector(matchers) in &which.matchers {
        blocks += store.delete(matchers, start, end).context("cannot delete")?.blocks;
    }
    store.close().context("cannot close the store")?;
    println!("deleted; {blocks} blocks give the room back when they are compacted");
    Ok(Outcome::Well)
}

fn compact(settings: &Checked) -> anyhow::Result<Outcome> {
    let store = open(settings, "compact")?;
    let done = store.compact_all(now(), &mut tsdb::Unhurried).context("cannot compact the store")?;
    store.close().context("cannot close the store")?;
    println!("{}", text::compacted(&done));
    info(&settings.data.join(storage::FOLDER), false)
}

/// Opens the settings' store to write to it, as the collector does.
fn open(settings: &Checked, what: &str) -> anyhow::Result<Arc<Store>> {
    RealDisk
        .create_dir_all(&settings.data)
        .with_context(|| format!("cannot make the data folder {}", settings.data.display()))?;
    check_owner(&settings.data)?;
    storage::open(&settings.data, &settings.storage, &Ledger::new()).map_err(|error| {
        if matches!(error.downcast_ref(), Some(StoreError::Journal(JournalError::Locked { .. }))) {
            return error.context(format!(
                "cannot {what} while a collector runs on {}: stop it (systemctl stop pantau-collector), do this, and start it again",
                settings.data.display()
            ));
        }
        error
    })
}

/// What another user makes in the collector's folder the collector cannot open.
#[cfg(unix)]
fn check_owner(folder: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    let owner =
        std::fs::metadata(folder).with_context(|| format!("cannot look at {}", folder.display()))?.uid();
    let own = rustix::process::geteuid().as_raw();
    if owner != own {
        bail!(
            "{} is another user's (number {owner}): run this as that user, such as `sudo -u pantau pantau-collector …`, so that the \
             collector can open what is made there",
            folder.display()
        );
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_owner(_folder: &Path) -> anyhow::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `store restore b --folder r` failed with "cannot make : No such file or directory".
    #[test]
    fn a_folder_without_a_path_stands_where_the_program_runs() {
        for (folder, parent) in [("r", "."), ("a/r", "a"), ("/r", "/"), ("./r", "."), ("/", ".")] {
            assert_eq!(parent_of(Path::new(folder)), Path::new(parent), "{folder}");
        }
    }
}
