//! The log of queries: a line of JSON for each that is over, as Prometheus writes it (`query_log_file`).
//!
//! In: what is known of a query and how it ended. Out: lines in a file that its owner alone can read, because expressions tell what people
//! look at. A thread writes them; where the disk is slower than the queries, lines are lost and counted rather than queries held up.
//!
//! Limits: a file of [`Config::bytes_max`], and one before it (`….1`); an expression of [`QUERY_BYTES_MAX`] bytes (what is longer is cut);
//! [`LINES_WAITING_MAX`] lines that wait.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use model::Timestamp;
use prometheus::IntCounter;
use serde::Deserialize;
use serde_json::{Value, json};
use settings::{Bytes, Mistake};

use super::{Asked, Ended, Origin};
use crate::api::time::rfc3339;

/// The longest expression in a line.
const QUERY_BYTES_MAX: usize = 64 << 10;
/// Lines that wait for the disk.
const LINES_WAITING_MAX: usize = 1000;

/// The section `query_log`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the lines go; no log by default.
    pub file: Option<PathBuf>,
    /// A file of this size is renamed to `….1` and another begun. Default 64MiB.
    pub bytes_max: Bytes,
}

impl Default for Config {
    fn default() -> Self {
        Self { file: None, bytes_max: Bytes::new(64 << 20) }
    }
}

/// See the module's text.
pub(super) struct Log {
    lines: Mutex<Option<SyncSender<String>>>,
    lost: IntCounter,
}

impl Log {
    pub(super) fn new(lost: IntCounter) -> Self {
        Self { lines: Mutex::default(), lost }
    }

    pub(super) fn is_open(&self) -> bool {
        self.lock().is_some()
    }

    /// Takes over where lines go; what waits for the file before is still written there.
    pub(super) fn open(&self, config: &Config, base: &Path) -> Result<(), Mistake> {
        let lines = config.file.as_ref().map(|file| {
            let file = LogFile::open(base.join(file), config.bytes_max.get())?;
            let (sender, lines) = sync_channel(LINES_WAITING_MAX);
            let writer = std::thread::Builder::new().name("query-log".into());
            writer.spawn(move || file.write_all_of(&lines))?;
            Ok(sender)
        });
        let cannot =
            |error: std::io::Error| Mistake::at("file", format!("cannot write the log of queries: {error}"));
        *self.lock() = lines.transpose().map_err(cannot)?;
        Ok(())
    }

    pub(super) fn write(&self, line: String) {
        let sent = self.lock().as_ref().map(|lines| lines.try_send(line));
        if matches!(sent, Some(Err(_))) {
            self.lost.inc();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<SyncSender<String>>> {
        self.lines.lock().expect("nothing panics while it holds this lock")
    }
}

/// The file, and its bound.
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    size: u64,
    bytes_max: u64,
}

impl LogFile {
    pub(super) fn open(path: PathBuf, bytes_max: u64) -> std::io::Result<Self> {
        let mut options = File::options();
        options.append(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options
            .open(&path)
            .map_err(|error| std::io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
        let size = file.metadata()?.len();
        Ok(Self { path, file, size, bytes_max })
    }

    fn write_all_of(mut self, lines: &Receiver<String>) {
        let mut failing = false;
        for line in lines {
            let written = self.write(&line);
            // Once, and again after it went well.
            if let (Err(error), false) = (&written, failing) {
                tracing::warn!("cannot write the log of queries {}: {error}", self.path.display());
            }
            failing = written.is_err();
        }
    }

    pub(super) fn write(&mut self, line: &str) -> std::io::Result<()> {
        if self.size > 0 && self.size + line.len() as u64 > self.bytes_max {
            let mut before = self.path.clone().into_os_string();
            before.push(".1");
            std::fs::rename(&self.path, before)?;
            *self = Self::open(self.path.clone(), self.bytes_max)?;
        }
        self.file.write_all(line.as_bytes())?;
        self.size += line.len() as u64;
        Ok(())
    }
}

/// A query's line, in the members of Prometheus; `reader` is ours.
pub(super) fn line(
    asked: &Asked,
    ended: &Ended<'_>,
    waited: Duration,
    took: Duration,
    at: Timestamp,
) -> String {
    let evaluated = took.saturating_sub(waited).as_secs_f64();
    let mut line = json!({
        "params": {
            "query": cut(&asked.query),
            "start": rfc3339(asked.start),
            "end": rfc3339(asked.end),
            "step": asked.step.as_secs(),
        },
        "stats": {
            "timings": {
                "evalTotalTime": evaluated,
                "resultSortTime": 0,
                "queryPreparationTime": 0,
                "innerEvalTime": evaluated,
                "execQueueTime": waited.as_secs_f64(),
                "execTotalTime": took.as_secs_f64(),
            },
        },
        "ts": rfc3339(at),
    });
    match &ended.outcome {
        Ok(statistics) => {
            line["stats"]["samples"] = json!({
                "totalQueryableSamples": ended.samples.unwrap_or(statistics.samples_read),
                "peakSamples": statistics.samples_peak,
            });
        }
        Err(why) => line["error"] = Value::from(why.as_str()),
    }
    match &asked.origin {
        Origin::Request { method, path, reader, client } => {
            line["httpRequest"] = json!({ "clientIP": client, "method": method, "path": path });
            if !reader.is_empty() {
                line["reader"] = Value::from(reader.as_str());
            }
        }
        Origin::Rule { file, group } => line["ruleGroup"] = json!({ "file": file, "name": group }),
    }
    format!("{line}\n")
}

fn cut(query: &str) -> &str {
    if query.len() <= QUERY_BYTES_MAX {
        return query;
    }
    let end = (0..=QUERY_BYTES_MAX).rev().find(|end| query.is_char_boundary(*end)).unwrap_or(0);
    &query[..end]
}
