//! Which targets a job has: listed in the settings and in files, relabelled, named.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use model::{Labels, LabelsBuilder};
use reqwest::Url;
use settings::{Mistake, Source, Span};

use super::target::ScrapeTarget;
use super::{FileConfig, Group, Job, TARGETS_MAX};
use crate::inputs::{CollectError, Target, TargetSet};

/// A target as relabelling left it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Spec {
    pub(super) labels: Labels,
    pub(super) url: Url,
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
}

/// The targets of one job; files are read again when their time or size changes.
pub(super) struct Discovery {
    job: Arc<Job>,
    patterns: Vec<Pattern>,
    files: BTreeMap<PathBuf, SdFile>,
    /// Whether the targets were announced once.
    announced: bool,
    /// What went wrong while targets were announced: said at the next refresh.
    complaint: Option<CollectError>,
}

/// A file as it was last read.
#[derive(Debug, Default)]
struct SdFile {
    stamp: Option<Stamp>,
    groups: Vec<Group>,
}

type Stamp = (SystemTime, u64);

/// A folder, and a file's name with at most one star.
#[derive(Debug)]
struct Pattern {
    folder: PathBuf,
    before: String,
    after: Option<String>,
}

impl Pattern {
    fn new(base: &Path, text: &str) -> Result<Self, String> {
        let path = base.join(text);
        let wrong = |why: &str| format!("{text:?}: {why}");
        let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str()))
        else {
            return Err(wrong("expected the path of a file"));
        };
        if ![".yml", ".yaml", ".json"].iter().any(|end| name.ends_with(end)) {
            return Err(wrong("expected a name that ends in .yml, .yaml or .json"));
        }
        if folder.to_string_lossy().contains('*') || name.matches('*').count() > 1 {
            return Err(wrong("one * is allowed, in the last part of the path"));
        }
        let (before, after) = match name.split_once('*') {
            Some((before, after)) => (before.to_owned(), Some(after.to_owned())),
            None => (name.to_owned(), None),
        };
        Ok(Self { folder: folder.to_owned(), before, after })
    }

    /// Files that fit, and their stamps; a pattern that none fits has none, a plain path that is not there is an error.
    fn find(&self, found: &mut BTreeMap<PathBuf, Stamp>) -> Result<(), String> {
        let Some(after) = &self.after else {
            let path = self.folder.join(&self.before);
            let stamp = stamp(&path).map_err(|why| format!("cannot read {}: {why}", path.display()))?;
            found.insert(path, stamp);
            return Ok(());
        };
        let unreadable = |why| format!("cannot list {}: {why}", self.folder.display());
        for entry in std::fs::read_dir(&self.folder).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let fits = name.strip_prefix(&*self.before).is_some_and(|rest| rest.ends_with(&**after));
            // A file that went away between listing and looking is simply not there.
            if fits && let Ok(stamp) = stamp(&path) {
                found.insert(path, stamp);
            }
        }
        Ok(())
    }
}

fn stamp(path: &Path) -> std::io::Result<Stamp> {
    let metadata = std::fs::metadata(path)?;
    Ok((metadata.modified()?, metadata.len()))
}

impl Discovery {
    pub(super) fn new(job: Arc<Job>) -> Result<Self, Mistake> {
        let patterns = patterns(&job)?.into_iter().map(|(_, pattern)| pattern).collect();
        Ok(Self { job, patterns, files: BTreeMap::new(), announced: false, complaint: None })
    }

    /// The targets that the settings list themselves.
    pub(super) fn check_listed(&self) -> Result<(), Mistake> {
        let mut count = 0;
        for (index, group) in self.job.config.static_configs.iter().enumerate() {
            let checked = check_group(&self.job, None, group, &mut count);
            checked.map_err(|mistake| mistake.item(index).under("static_configs"))?;
        }
        Ok(())
    }

    /// The targets that files list, and the credentials.
    pub(super) fn check_files(&self) -> Result<(), Mistake> {
        let mut count = 0;
        for (place, pattern) in patterns(&self.job)? {
            let mut found = BTreeMap::new();
            pattern.find(&mut found).map_err(|why| place.mistake(Mistake::new(why)))?;
            for path in found.keys() {
                let checked = check_file(&self.job, path, &mut count);
                checked.map_err(|error| place.mistake(Mistake::elsewhere(&error)))?;
            }
        }
        self.job.access.check_credentials()
    }

    /// Reads what changed; true if anything did.
    fn read_files(&mut self) -> bool {
        let mut found = BTreeMap::new();
        for pattern in &self.patterns {
            if let Err(why) = pattern.find(&mut found) {
                self.complaint = Some(CollectError(why));
            }
        }
        let before = self.files.len();
        self.files.retain(|path, _| found.contains_key(path));
        let mut changed = before != self.files.len();
        for (path, stamp) in found {
            let file = self.files.entry(path.clone()).or_default();
            if file.stamp == Some(stamp) {
                continue;
            }
            file.stamp = Some(stamp);
            match settings::load::<Vec<Group>>(&path) {
                Ok(groups) => {
                    changed = true;
                    file.groups = groups;
                }
                // The targets that it named stay, until it can be read again.
                Err(why) => self.complaint = Some(CollectError(why.to_string())),
            }
        }
        changed
    }

    fn targets(&mut self) -> Vec<Target> {
        let (specs, complaint) = self.specs();
        self.complaint = complaint.map(CollectError).or(self.complaint.take());
        let mut keys = HashSet::new();
        let keyed = specs.into_iter().map(|spec| (key(&self.job, &spec), spec));
        let unique: Vec<_> = keyed.filter(|(key, _)| keys.insert(key.clone())).collect();
        unique.into_iter().map(|(key, spec)| target(Arc::clone(&self.job), key, spec)).collect()
    }

    /// All targets that are not dropped, and what was wrong with one of those left out.
    fn specs(&self) -> (Vec<Spec>, Option<String>) {
        let (mut specs, mut complaint) = (Vec::new(), None);
        let from_files = self
            .files
            .iter()
            .flat_map(|(path, file)| file.groups.iter().map(move |group| (Some(path), group)));
        let groups = self.job.config.static_configs.iter().map(|group| (None, group)).chain(from_files);
        for (path, group, address) in
            groups.flat_map(|(path, group)| group.targets.iter().map(move |a| (path, group, a)))
        {
            match relabelled(&self.job, path, group, address) {
                Ok(Some(_)) if specs.len() == TARGETS_MAX => {
                    complaint =
                        Some(format!("the job has more than {TARGETS_MAX} targets: the rest is left out"));
                    break;
                }
                Ok(Some(spec)) => specs.push(spec),
                Ok(None) => {}
                Err(why) => {
                    let place = path.map_or(String::new(), |path| format!("{}: ", path.display()));
                    complaint = Some(format!("{place}target {address:?}: {why}"));
                }
            }
        }
        (specs, complaint)
    }
}

/// Where a pattern stands in a job's settings.
struct PatternPlace {
    config: usize,
    file: usize,
}

impl PatternPlace {
    fn mistake(&self, mistake: Mistake) -> Mistake {
        mistake.item(self.file).under("files").item(self.config).under("file_sd_configs")
    }
}

fn patterns(job: &Job) -> Result<Vec<(PatternPlace, Pattern)>, Mistake> {
    let mut patterns = Vec::new();
    for (config, FileConfig { files, .. }) in job.config.file_sd_configs.iter().enumerate() {
        for (file, text) in files.iter().enumerate() {
            let place = PatternPlace { config, file };
            let pattern = Pattern::new(&job.base, text).map_err(|why| place.mistake(Mistake::new(why)))?;
            patterns.push((place, pattern));
        }
    }
    Ok(patterns)
}

/// Checks a file's targets; the error names its line and column.
fn check_file(job: &Job, path: &PathBuf, count: &mut usize) -> Result<(), settings::SettingsError> {
    let source = Source::read(path)?;
    for (index, group) in source.parse::<Vec<Group>>()?.iter().enumerate() {
        check_group(job, Some(path), group, count).map_err(|mistake| source.wrong(&mistake.item(index)))?;
    }
    Ok(())
}

fn check_group(job: &Job, path: Option<&PathBuf>, group: &Group, count: &mut usize) -> Result<(), Mistake> {
    if group.labels.contains_key("") {
        return Err(Mistake::at("labels", "a label needs a name: write `name: value`"));
    }
    for (index, address) in group.targets.iter().enumerate() {
        let wrong = |why: String| Mistake::new(why).item(index).under("targets");
        *count += usize::from(relabelled(job, path, group, address).map_err(wrong)?.is_some());
        if *count > TARGETS_MAX {
            return Err(wrong(format!("the job has more than {TARGETS_MAX} targets: make two of it")));
        }
    }
    Ok(())
}

impl TargetSet for Discovery {
    fn refresh(&mut self) -> Result<Option<Vec<Target>>, CollectError> {
        if let Some(complaint) = self.complaint.take() {
            return Err(self.named(complaint));
        }
        let changed = self.read_files();
        if changed || !self.announced {
            self.announced = true;
            return Ok(Some(self.targets()));
        }
        match self.complaint.take() {
            Some(complaint) => Err(self.named(complaint)),
            None => Ok(None),
        }
    }
}

impl Discovery {
    fn named(&self, complaint: CollectError) -> CollectError {
        CollectError(format!("scrape job {:?}: {complaint}", self.job.config.job_name))
    }
}

fn key(job: &Job, spec: &Spec) -> String {
    let Spec { labels, url, interval, timeout } = spec;
    format!("scrape {:016x} {labels} {url} {interval:?} {timeout:?}", job.fingerprint)
}

fn target(job: Arc<Job>, key: String, spec: Spec) -> Target {
    Target { key, build: Box::new(move || Box::new(ScrapeTarget::new(job, spec))) }
}

/// Applies the job's rules to one address; `None` where they drop it.
fn relabelled(
    job: &Job,
    path: Option<&PathBuf>,
    group: &Group,
    address: &str,
) -> Result<Option<Spec>, String> {
    let config = &job.config;
    let interval = config.scrape_interval;
    let timeout = config.scrape_timeout.unwrap_or(Span::from_secs(10)).min(interval);
    let mut labels = LabelsBuilder::default();
    labels
        .set("job", &config.job_name)
        .set("__scheme__", config.scheme.as_str())
        .set("__metrics_path__", &config.metrics_path)
        .set("__scrape_interval__", &interval.to_string())
        .set("__scrape_timeout__", &timeout.to_string())
        .set("__address__", address);
    for (name, values) in &config.params {
        labels.set(&format!("__param_{name}"), values.first().map_or("", String::as_str));
    }
    if let Some(path) = path {
        labels.set("__meta_filepath", &path.to_string_lossy());
    }
    for (name, value) in &group.labels {
        labels.set(name, value);
    }
    if !job.target_rules.apply(&mut labels) {
        return Ok(None);
    }
    finished(job, labels).map(Some)
}

fn finished(job: &Job, mut labels: LabelsBuilder) -> Result<Spec, String> {
    let url = url(job, &labels)?;
    let span = |name: &str| {
        let span: Span =
            labels.get(name).unwrap_or_default().parse().map_err(|why| format!("{name}: {why}"))?;
        if span.get().is_zero() { Err(format!("{name} must be longer than 0")) } else { Ok(span.get()) }
    };
    let (interval, timeout) = (span("__scrape_interval__")?, span("__scrape_timeout__")?);
    if timeout > interval {
        return Err("__scrape_timeout__ is longer than __scrape_interval__".into());
    }
    if labels.get("instance").is_none() {
        let address = labels.get("__address__").unwrap_or_default().to_owned();
        labels.set("instance", &address);
    }
    labels.retain(|name, _| !name.starts_with("__"));
    Ok(Spec { labels: labels.build(), url, interval, timeout })
}

fn url(job: &Job, labels: &LabelsBuilder) -> Result<Url, String> {
    let part = |name: &str| labels.get(name).unwrap_or_default();
    let (scheme, address) = (part("__scheme__"), part("__address__"));
    if !matches!(scheme, "http" | "https") {
        return Err(format!("the scheme {scheme:?} is neither http nor https"));
    }
    let wrong = |why: &str| format!("{address:?} is no host:port: {why}");
    if address.is_empty() {
        return Err(wrong("write an address such as 10.0.0.1:9100"));
    }
    if address.contains(char::is_whitespace) {
        return Err(wrong("spaces have no place in it; write an address such as 10.0.0.1:9100"));
    }
    if address.contains(['/', '?', '#', '@', '\\']) {
        return Err(wrong(
            "leave out http:// and the path: what they would say stands in scheme, metrics_path and params",
        ));
    }
    let mut url = Url::parse(&format!("{scheme}://{address}"))
        .map_err(|why| wrong(&format!("{why}; write an address such as 10.0.0.1:9100")))?;
    if url.port() == Some(0) {
        return Err(wrong("nobody listens on port 0"));
    }
    url.set_path(part("__metrics_path__"));
    let mut params = job.config.params.clone();
    for (name, value) in labels.iter() {
        if let Some(name) = name.strip_prefix("__param_") {
            let values = params.entry(name.into()).or_default();
            values.splice(..values.len().min(1), [value.to_owned()]);
        }
    }
    if params.values().any(|values| !values.is_empty()) {
        let pairs = params.iter().flat_map(|(name, values)| values.iter().map(move |value| (name, value)));
        url.query_pairs_mut().extend_pairs(pairs);
    }
    Ok(url)
}
