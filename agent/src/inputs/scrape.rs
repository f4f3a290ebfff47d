//! Exporters that speak Prometheus' text format or OpenMetrics, asked over HTTP: a section as Prometheus' `scrape_configs`.
//!
//! In: jobs with targets from the settings and from files that are read again when they change. Out: per target what its page
//! says, relabelled, with `up`, `scrape_duration_seconds`, `scrape_samples_scraped`,
//! `scrape_samples_post_metric_relabeling` and `scrape_series_added`. A page that is cut, wrong or beyond a limit counts as a
//! failed scrape: nothing of it is kept, its series end (stale markers) and `up` is 0.
//!
//! Where it differs from Prometheus: secrets never stand in the settings themselves; a page has a size limit even where none is
//! given; discovery is by list and file only; native histograms are not asked for, exemplars are passed over; a page without a
//! known content type is read as text.
//!
//! Limits: [`TARGETS_MAX`] targets a job, [`LABELS_MAX`] labels a series, [`BODY_BYTES_MAX`] a page, and those of the settings.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;

use model::Labels;
use serde::Deserialize;
use settings::{Bytes, Mistake, Secret, Span};

use crate::inputs::{Context, TargetSet};
use crate::relabel::{self, RelabelError, Rules};

mod client;
mod discovery;
mod page;
mod target;

use client::Access;
use discovery::Discovery;

/// Targets of one job.
pub const TARGETS_MAX: usize = 10_000;
/// Labels of one series.
pub const LABELS_MAX: usize = 256;
/// The size of an unpacked page, where the settings give no smaller one.
pub const BODY_BYTES_MAX: u64 = 16 << 20;
/// The most that the settings may allow a page to have: it is held in memory.
const BODY_SIZE_LIMIT_MAX: Bytes = Bytes::new(1 << 30);

/// A job: targets that are asked alike.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The label `job`, unless relabelling sets another. Each job has its own name.
    pub job_name: String,
    /// How often each target is asked.
    #[serde(default = "default_interval")]
    pub scrape_interval: Span,
    /// How long a target may take; at most the interval. 10 s, or the interval where that is shorter.
    #[serde(default)]
    pub scrape_timeout: Option<Span>,
    /// The page's path.
    #[serde(default = "default_path")]
    pub metrics_path: String,
    /// http or https.
    #[serde(default)]
    pub scheme: Scheme,
    /// Parameters of the query, such as blackbox_exporter's `module: [http_2xx]`.
    #[serde(default)]
    pub params: BTreeMap<String, Vec<String>>,
    /// Targets that are listed here.
    #[serde(default)]
    pub static_configs: Vec<Group>,
    /// Targets that are listed in files.
    #[serde(default)]
    pub file_sd_configs: Vec<FileConfig>,
    /// Rules for targets: before they are asked, they may change address, path, parameters and labels, or drop a target.
    #[serde(default)]
    pub relabel_configs: Vec<relabel::Config>,
    /// Rules for series: before they are kept.
    #[serde(default)]
    pub metric_relabel_configs: Vec<relabel::Config>,
    /// Whether a page's own labels win over the target's; if not, they are kept as `exported_…`.
    #[serde(default)]
    pub honor_labels: bool,
    /// Whether a page's own timestamps are taken.
    #[serde(default = "default_true")]
    pub honor_timestamps: bool,
    /// Samples that a page may have after relabelling; 0 for no limit but the agent's own.
    #[serde(default)]
    pub sample_limit: u64,
    /// Labels that a series may have; 0 for no limit but the agent's own.
    #[serde(default)]
    pub label_limit: usize,
    /// Bytes that a label's name may have; 0 for no limit.
    #[serde(default)]
    pub label_name_length_limit: usize,
    /// Bytes that a label's value may have; 0 for no limit.
    #[serde(default)]
    pub label_value_length_limit: usize,
    /// Bytes that an unpacked page may have.
    #[serde(default = "default_body_size")]
    pub body_size_limit: Bytes,
    /// Name and password, sent in the header `Authorization`.
    #[serde(default)]
    pub basic_auth: Option<BasicAuth>,
    /// A token, sent in the header `Authorization`.
    #[serde(default)]
    pub authorization: Option<Authorization>,
    /// Certificates for https.
    #[serde(default)]
    pub tls_config: TlsConfig,
    /// Whether redirections are followed, ten at most.
    #[serde(default = "default_true")]
    pub follow_redirects: bool,
}

/// How a target is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// Without TLS.
    #[default]
    Http,
    /// With TLS.
    Https,
}

impl Scheme {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// Targets that share labels.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Addresses, each `host:port`.
    #[serde(default)]
    pub targets: Vec<String>,
    /// Labels of all of them.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// Files that hold lists of [`Group`]s, in YAML or JSON.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileConfig {
    /// Paths that end in `.yml`, `.yaml` or `.json`; the last part may hold one `*`. Relative paths start at the settings file.
    pub files: Vec<String>,
    /// Accepted because Prometheus has it; files are looked at every few seconds anyway.
    #[serde(default)]
    pub refresh_interval: Option<Span>,
}

/// Name and password.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BasicAuth {
    /// The name.
    pub username: String,
    /// Where the password is kept: `{file: …}` or `{env: …}`.
    #[serde(default)]
    pub password: Option<Secret>,
    /// A file that holds the password.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
}

/// A token.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authorization {
    /// What stands before the token.
    #[serde(default = "default_authorization", rename = "type")]
    pub kind: String,
    /// Where the token is kept: `{file: …}` or `{env: …}`.
    #[serde(default)]
    pub credentials: Option<Secret>,
    /// A file that holds the token.
    #[serde(default)]
    pub credentials_file: Option<PathBuf>,
}

/// Certificates for https, in PEM; read again when they change. Relative paths start at the settings file.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// Certificates that may have signed the target's; the system's where none is given.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Our own certificate.
    #[serde(default)]
    pub cert_file: Option<PathBuf>,
    /// Our own key.
    #[serde(default)]
    pub key_file: Option<PathBuf>,
    /// The name in the target's certificate, where it is not the one in its address.
    #[serde(default)]
    pub server_name: Option<String>,
    /// Accept any certificate. Who stands between can then read and forge everything.
    #[serde(default)]
    pub insecure_skip_verify: bool,
}

fn default_interval() -> Span {
    Span::from_secs(15)
}

fn default_path() -> String {
    "/metrics".into()
}

fn default_body_size() -> Bytes {
    Bytes::new(BODY_BYTES_MAX)
}

fn default_authorization() -> String {
    "Bearer".into()
}

const fn default_true() -> bool {
    true
}

/// A job whose settings are checked; its targets share it.
struct Job {
    config: Config,
    target_rules: Rules,
    metric_rules: Rules,
    access: Access,
    /// Extra labels of the agent.
    extra: Labels,
    series_max: usize,
    base: PathBuf,
    /// Tells whether anything that targets were built from has changed.
    fingerprint: u64,
}

impl Job {
    fn new(config: &Config, context: &Context) -> Result<Self, Mistake> {
        check(config)?;
        let rules = |rules, list| {
            let wrong = |why: RelabelError| Mistake::new(why.to_string()).item(why.rule() - 1).under(list);
            Rules::new(rules).map_err(wrong)
        };
        let mut hasher = DefaultHasher::new();
        format!("{config:?} {context:?}").hash(&mut hasher);
        Ok(Self {
            config: config.clone(),
            target_rules: rules(&config.relabel_configs, "relabel_configs")?,
            metric_rules: rules(&config.metric_relabel_configs, "metric_relabel_configs")?,
            access: Access::new(config, &context.base)?,
            extra: context.labels.clone(),
            series_max: context.series_max,
            base: context.base.clone(),
            fingerprint: hasher.finish(),
        })
    }

    /// The agent's extra labels join, where the series does not say otherwise.
    fn with_extra(&self, series: &Labels) -> Labels {
        let mut labels = series.to_builder();
        for (name, value) in self.extra.iter().filter(|(name, _)| series.get(name).is_none()) {
            labels.set(name, value);
        }
        labels.build()
    }
}

fn check(config: &Config) -> Result<(), Mistake> {
    let bad = |key, why: String| Err(Mistake::at(key, why));
    let interval = config.scrape_interval;
    if config.job_name.is_empty() {
        return bad("job_name", "it is empty: write a name".into());
    }
    super::check_interval("scrape_interval", interval)?;
    match config.scrape_timeout {
        Some(timeout) if timeout.get().is_zero() => {
            return bad("scrape_timeout", "it must be longer than 0".into());
        }
        Some(timeout) if timeout > interval => {
            return bad("scrape_timeout", format!("{timeout} is longer than scrape_interval, {interval}"));
        }
        _ => {}
    }
    if config.body_size_limit.get() == 0 || config.body_size_limit > BODY_SIZE_LIMIT_MAX {
        let usual = Bytes::new(BODY_BYTES_MAX);
        let why =
            format!("it must be more than 0 and at most {BODY_SIZE_LIMIT_MAX}; leave it out for {usual}");
        return bad("body_size_limit", why);
    }
    if config.basic_auth.is_some() && config.authorization.is_some() {
        return bad("authorization", "basic_auth and authorization exclude each other: leave one out".into());
    }
    Ok(())
}

/// Makes a target set for each job; a target listed in the settings that cannot be one is refused. Reads certificates, but no
/// target and no target file.
pub fn build(configs: &[Config], context: &Context) -> Result<Vec<Box<dyn TargetSet>>, Mistake> {
    let mut sets: Vec<Box<dyn TargetSet>> = Vec::new();
    for (index, discovery) in discoveries(configs, context)?.into_iter().enumerate() {
        discovery.check_listed().map_err(|mistake| mistake.item(index))?;
        sets.push(Box::new(discovery));
    }
    Ok(sets)
}

/// Reads target files and credentials, which a run reads again and again: what is wrong with them there costs only the targets
/// concerned.
pub(super) fn check_files(configs: &[Config], context: &Context) -> Result<(), Mistake> {
    for (index, discovery) in discoveries(configs, context)?.iter().enumerate() {
        discovery.check_files().map_err(|mistake| mistake.item(index))?;
    }
    Ok(())
}

fn discoveries(configs: &[Config], context: &Context) -> Result<Vec<Discovery>, Mistake> {
    let mut discoveries = Vec::new();
    for (index, config) in configs.iter().enumerate() {
        let name = &config.job_name;
        if configs[..index].iter().any(|other| other.job_name == *name) {
            let why = format!("another job has the name {name:?}: each needs its own");
            return Err(Mistake::at("job_name", why).item(index));
        }
        let job = Job::new(config, context).map_err(|mistake| mistake.item(index))?;
        discoveries.push(Discovery::new(Arc::new(job)).map_err(|mistake| mistake.item(index))?);
    }
    Ok(discoveries)
}

#[cfg(test)]
mod tests;
