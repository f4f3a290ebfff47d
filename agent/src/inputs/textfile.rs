//! The `textfile` folder: values that cron jobs and scripts leave in `*.prom` files, said together with the host's.
//!
//! In: folders with files in the Prometheus text format. Out: their samples with the host's `job` and `instance`, the time of
//! each file's last change, and whether some file could not be read. A file is taken whole or not at all; one that has not
//! changed is not read again. Samples with a timestamp of their own are refused, as in node_exporter: a file that nobody
//! writes any more would look fresh.
//!
//! Limits: [`FILES_MAX`] files, [`FILE_BYTES_MAX`] a file, and the host's limit of series.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use exposition::{Event, Format, Parser};
use model::{METRIC_NAME, MetricKind, MetricMetadata};
use serde::Deserialize;
use settings::Mistake;

use super::host::crew::{Collector, Visit};
use super::host::failure::Failure;
use super::host::samples::{Samples, families};

families! {
    MTIME: Gauge "node_textfile_mtime_seconds" ["file"] "When the file was changed last, in seconds since the Unix epoch; only of files that could be read.";
    SCRAPE_ERROR: Gauge "node_textfile_scrape_error" [] "Whether some file or folder could not be read.";
}

/// Files in all folders together.
pub const FILES_MAX: usize = 256;
/// The largest file, in bytes.
pub const FILE_BYTES_MAX: u64 = 4 << 20;

/// The section `inputs.host.textfile`.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Folders with `*.prom` files. By default Debian's `/var/lib/prometheus/node-exporter`, which need not exist.
    pub folders: Vec<PathBuf>,
}

/// Where Debian's node_exporter looks.
const DEFAULT_FOLDER: &str = "/var/lib/prometheus/node-exporter";

impl Default for Config {
    fn default() -> Self {
        Self { folders: vec![DEFAULT_FOLDER.into()] }
    }
}

impl Config {
    const FOLDERS_MAX: usize = 64;

    pub(super) fn validate(&self) -> Result<(), Mistake> {
        if self.folders.len() > Self::FOLDERS_MAX {
            return Err(Mistake::at("folders", format!("more than {} folders", Self::FOLDERS_MAX)));
        }
        match self.folders.iter().position(|folder| folder.as_os_str().is_empty()) {
            Some(index) => {
                let why = "it is empty: write a folder's path; `folders: []` reads none";
                Err(Mistake::new(why).item(index).under("folders"))
            }
            None => Ok(()),
        }
    }

    /// Every folder must be there, but for the usual one.
    pub(super) fn check_files(&self, base: &Path) -> Result<(), Mistake> {
        for (index, folder) in self.folders.iter().enumerate() {
            let folder = base.join(folder);
            if !folder.is_dir() && folder != Path::new(DEFAULT_FOLDER) {
                let why = format!("there is no folder {}: make it, or leave it out here", folder.display());
                return Err(Mistake::new(why).item(index).under("folders"));
            }
        }
        Ok(())
    }
}

/// A file as it was read last.
struct Known {
    changed: SystemTime,
    bytes: u64,
    /// Its samples, or why there are none.
    read: Result<Samples, String>,
}

pub(crate) struct Textfile {
    folders: Vec<PathBuf>,
    known: HashMap<PathBuf, Known>,
    /// What was said of folders last, so that a log line comes once.
    complained: HashMap<PathBuf, String>,
}

impl Textfile {
    pub(crate) fn new(config: &Config, base: &Path) -> Self {
        let folders = config.folders.iter().map(|folder| base.join(folder)).collect();
        Self { folders, known: HashMap::new(), complained: HashMap::new() }
    }

    fn complain(&mut self, about: &Path, why: String) {
        if self.complained.get(about) != Some(&why) && self.complained.len() < FILES_MAX {
            tracing::warn!("textfile: {}: {why}", about.display());
            self.complained.insert(about.into(), why);
        }
    }

    /// The files of one folder; a default folder that is not there is none.
    fn files(&mut self, folder: &Path, errors: &mut bool) -> Vec<PathBuf> {
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(why) if why.kind() == std::io::ErrorKind::NotFound && folder == Path::new(DEFAULT_FOLDER) => {
                return Vec::new();
            }
            Err(why) => {
                *errors = true;
                self.complain(folder, format!("cannot list it: {why}"));
                return Vec::new();
            }
        };
        let is_prom = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "prom");
        let mut files: Vec<PathBuf> =
            entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_prom).collect();
        files.sort();
        files
    }

    /// Reads a file if it changed; says whether it is good.
    fn refresh(&mut self, file: &Path) -> bool {
        let fact =
            std::fs::metadata(file).and_then(|fact| Ok((fact.modified()?, fact.len(), fact.is_file())));
        let (changed, bytes) = match fact {
            Ok((changed, bytes, true)) => (changed, bytes),
            Ok(_) => return self.fail(file, "it is no regular file".into()),
            Err(why) => return self.fail(file, format!("cannot read it: {why}")),
        };
        let same = |known: &&Known| known.changed == changed && known.bytes == bytes;
        if let Some(known) = self.known.get(file).filter(same) {
            return known.read.is_ok();
        }
        let read = read_file(file, bytes);
        let complaint = read.as_ref().err().cloned();
        self.known.insert(file.into(), Known { changed, bytes, read });
        match complaint {
            Some(why) => {
                self.complain(file, why);
                false
            }
            None => {
                self.complained.remove(file);
                true
            }
        }
    }

    fn fail(&mut self, file: &Path, why: String) -> bool {
        self.known.remove(file);
        self.complain(file, why);
        false
    }
}

impl Collector for Textfile {
    fn names(&self) -> &'static [&'static str] {
        &["textfile"]
    }

    fn collect(&mut self, visit: &mut Visit<'_>) -> Result<(), Failure> {
        let mut errors = false;
        let mut seen = Vec::new();
        for folder in self.folders.clone() {
            seen.extend(self.files(&folder, &mut errors));
        }
        if seen.len() > FILES_MAX {
            errors = true;
            let why = format!("only the first {FILES_MAX} of {} files are read", seen.len());
            self.complain(Path::new("folders"), why);
            seen.truncate(FILES_MAX);
        }
        self.known.retain(|file, _| seen.contains(file));
        for file in &seen {
            if !self.refresh(file) {
                errors = true;
                continue;
            }
            let Some(Known { changed, read: Ok(samples), .. }) = self.known.get(file) else { continue };
            visit.samples.append(samples);
            let changed = changed.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
            visit.samples.metric(&MTIME, &[file.as_os_str().as_encoded_bytes()], changed);
        }
        visit.samples.metric(&SCRAPE_ERROR, &[], f64::from(errors));
        Ok(())
    }
}

fn read_file(file: &Path, bytes: u64) -> Result<Samples, String> {
    if bytes > FILE_BYTES_MAX {
        return Err(format!("it holds {bytes} bytes, more than the {FILE_BYTES_MAX} that are read"));
    }
    let text = std::fs::read(file).map_err(|why| format!("cannot read it: {why}"))?;
    parse(&text, file)
}

/// Reads a whole text; the file only names it where a metric has no help of its own.
fn parse(text: &[u8], file: &Path) -> Result<Samples, String> {
    let mut samples = Samples::default();
    let mut families: HashMap<String, MetricMetadata> = HashMap::new();
    let mut names = Vec::new();
    for event in Parser::new(text, Format::Text) {
        match event.map_err(|why| why.to_string())? {
            Event::Help { family, help } => {
                families.entry(family.into_owned()).or_default().help = help.into_owned();
            }
            Event::Type { family, kind } => families.entry(family.into_owned()).or_default().kind = kind,
            Event::Sample(sample) => {
                if sample.timestamp.is_some() {
                    let series = sample.series.text();
                    return Err(format!("{series} has a timestamp of its own, which textfiles may not have"));
                }
                let mut labels =
                    sample.series.labels().collect::<Result<Vec<_>, _>>().map_err(|why| why.to_string())?;
                labels.sort();
                let name =
                    labels.iter().find(|(name, _)| name == METRIC_NAME).map(|(_, value)| value.to_string());
                samples.raw(labels.iter().map(|(name, value)| (&**name, &**value)), sample.value);
                names.extend(name);
            }
            Event::Unit { .. } | Event::Comment(_) | Event::Eof => {}
        }
    }
    names.sort();
    names.dedup();
    for name in names {
        let mut metadata = family_of(&name, &families).cloned().unwrap_or_default();
        if metadata.help.is_empty() {
            metadata.help = format!("Metric read from {}", file.display());
        }
        samples.describe_raw(&name, Arc::new(metadata));
    }
    Ok(samples)
}

/// The family of a metric: of its own name, or of the histogram or summary that it is a part of.
fn family_of<'f>(name: &str, families: &'f HashMap<String, MetricMetadata>) -> Option<&'f MetricMetadata> {
    families.get(name).or_else(|| {
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix))?;
        let is_compound = |family: &&MetricMetadata| {
            matches!(family.kind, MetricKind::Histogram | MetricKind::GaugeHistogram | MetricKind::Summary)
        };
        families.get(base).filter(is_compound)
    })
}

#[cfg(test)]
mod tests {
    use model::{Labels, Timestamp};

    use super::super::host::samples::Describer;
    use super::*;
    use crate::series::{Round, SeriesTable};

    struct Scene {
        folder: tempfile::TempDir,
        textfile: Textfile,
        table: SeriesTable,
    }

    impl Scene {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let config = Config { folders: vec![folder.path().into()] };
            let textfile = Textfile::new(&config, Path::new("/"));
            let table = SeriesTable::new(Labels::from_pairs([("job", "node")]), 100);
            Self { folder, textfile, table }
        }

        fn write(&self, name: &str, text: &str) {
            std::fs::write(self.folder.path().join(name), text).unwrap();
        }

        /// The lines of one round, without the files' times.
        fn lines(&mut self) -> Vec<String> {
            let mut samples = Samples::default();
            let mut visit = Visit {
                samples: &mut samples,
                buffer: &mut Vec::new(),
                now: SystemTime::now(),
                children: &mut None,
            };
            self.textfile.collect(&mut visit).unwrap();
            let mut round = Round::begin(&mut self.table, Timestamp::from_millis(1), Vec::new());
            samples.put_into(&mut round, &mut Describer::default());
            let points = round.finish().0;
            let live = points.iter().filter(|point| !model::is_stale(point.value));
            let lines = live.map(|point| {
                let entry = self.table.entry(point.series);
                let kind = entry.metadata.as_ref().map(|metadata| metadata.kind).unwrap_or_default();
                format!("{kind} {} {}", entry.labels, point.value)
            });
            lines.filter(|line| !line.contains("mtime")).collect()
        }
    }

    #[test]
    fn files_are_read_when_they_change_and_left_out_when_they_are_wrong() {
        let mut scene = Scene::new();
        let fine = "gauge node_textfile_scrape_error{job=\"node\"} 0";
        let wrong = "gauge node_textfile_scrape_error{job=\"node\"} 1";
        assert_eq!(scene.lines(), [fine]);
        scene.write("backup.prom", "# TYPE backup_age_seconds gauge\nbackup_age_seconds{host=\"nas\"} 12\n");
        scene.write("notes.txt", "not for us");
        let backup = r#"gauge backup_age_seconds{host="nas", job="node"} 12"#;
        assert_eq!(scene.lines(), [backup, fine]);
        assert_eq!(scene.lines(), [backup, fine], "from memory");
        scene.write("bad.prom", "one 1\ntwo two\n");
        assert_eq!(scene.lines(), [backup, wrong], "nothing of a file that is wrong somewhere");
        scene.write("bad.prom", "late 1 1700000000000\n");
        assert_eq!(scene.lines(), [backup, wrong]);
        scene.write("bad.prom", "good 1\n");
        assert_eq!(scene.lines(), [backup, r#"unknown good{job="node"} 1"#, fine]);
        std::fs::remove_file(scene.folder.path().join("backup.prom")).unwrap();
        assert_eq!(scene.lines().len(), 2);
    }

    #[test]
    fn times_of_files_are_said() {
        let scene = Scene::new();
        scene.write("a.prom", "a 1\n");
        let mut known = scene.textfile;
        let file = scene.folder.path().join("a.prom");
        assert!(known.refresh(&file) && known.known.contains_key(&file));
    }

    #[test]
    fn a_missing_folder_is_an_error_unless_it_is_the_default_one() {
        let missing = Config { folders: vec!["/nowhere/at/all".into()] };
        let mut errors = false;
        Textfile::new(&missing, Path::new("/")).files(Path::new("/nowhere/at/all"), &mut errors);
        assert!(errors);
    }

    #[test]
    fn check_names_folders_that_are_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let config = Config { folders: vec![DEFAULT_FOLDER.into(), ".".into(), "backups".into()] };
        let why = config.check_files(folder.path()).unwrap_err().to_string();
        assert!(
            why.starts_with("folders[2]: there is no folder ") && why.contains("/backups: make it"),
            "{why}"
        );
        std::fs::create_dir(folder.path().join("backups")).unwrap();
        assert_eq!(config.check_files(folder.path()), Ok(()));
    }

    #[test]
    fn large_files_are_refused() {
        let scene = Scene::new();
        scene.write("large.prom", "x");
        let why = read_file(&scene.folder.path().join("large.prom"), FILE_BYTES_MAX + 1).err().unwrap();
        assert!(why.starts_with("it holds 4194305 bytes"), "{why}");
    }

    #[test]
    fn parts_of_a_histogram_have_its_type() {
        let text = "# HELP wait Waiting.\n# TYPE wait histogram\nwait_bucket{le=\"+Inf\"} 2\nwait_sum 3\nwait_count 2\nx_count 1\n";
        let mut table = SeriesTable::new(Labels::empty(), 100);
        let mut round = Round::begin(&mut table, Timestamp::from_millis(1), Vec::new());
        parse(text.as_bytes(), Path::new("/x.prom")).unwrap().put_into(&mut round, &mut Describer::default());
        let points = round.finish().0;
        let said: Vec<String> = points
            .iter()
            .map(|point| {
                let metadata = table.entry(point.series).metadata.clone().unwrap();
                format!("{} {}", metadata.kind, metadata.help)
            })
            .collect();
        let histogram = "histogram Waiting.";
        assert_eq!(said, [histogram, histogram, histogram, "unknown Metric read from /x.prom"]);
    }
}
