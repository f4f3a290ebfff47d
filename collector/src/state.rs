//! What every handler shares: the store once it has replayed, the ledger, who may come in, and the collector's own counters.
//!
//! Handlers read series only through the [`Reader`](crate::auth::Reader) extractor, which hands out a scoped source; the store
//! itself stays inside this crate's ingest and start-up.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use model::{Exemplar, Labels, Matcher, MetricMetadata, SeriesSource, Timestamp};

use crate::auth::Auth;
use crate::enrolment::{EMBEDDED, Enrolment};
use crate::ingest::Ingest;
use crate::ledger::{AgentStatus, Ledger};
use crate::metrics::Metrics;
use crate::queries::Queries;
use crate::rules::Shown;
use crate::settings::Checked;

/// What the router's handlers get as `State`.
pub type AppState = Arc<App>;

/// Series, and what is known of metrics beside them: what the collector asks of a store it reads from.
pub trait Storage: SeriesSource {
    /// Metric families and what senders said of them, sorted by name, each with its entries (several where senders disagree); one
    /// family where `metric` names it; at most `limit` families when that is not 0.
    fn metadata(&self, metric: Option<&str>, limit: usize) -> Vec<(String, Vec<MetricMetadata>)>;

    /// What is written to, and what is most of it: at most `top` entries of each kind.
    fn overview(&self, top: usize) -> Overview;

    /// How the store is.
    fn condition(&self) -> Condition;

    /// Exemplars of the series that satisfy all matchers of any selection, by series; both bounds inclusive.
    fn exemplars(
        &self,
        selections: &[Vec<Matcher>],
        start: Timestamp,
        end: Timestamp,
    ) -> Vec<(Labels, Vec<Exemplar>)>;

    /// Deletes samples of the series that satisfy all matchers; both bounds inclusive. For an
    /// [`Administrator`](crate::auth::Administrator) alone, as what follows.
    fn delete(&self, matchers: &[Matcher], start: Timestamp, end: Timestamp) -> anyhow::Result<()>;

    /// Takes what was deleted off the disk.
    fn clean_tombstones(&self, now: Timestamp) -> anyhow::Result<()>;

    /// Copies everything into a folder of the data folder's snapshots; its name.
    fn snapshot(&self, data: &Path, now: Timestamp) -> anyhow::Result<String>;
}

/// How the store is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Condition {
    /// Bytes on disk.
    pub bytes: u64,
    /// Bytes that a day takes, as of late.
    pub bytes_per_day: Option<f64>,
    /// Days until the disk is full; `None` where nothing is known yet or retention keeps it from that.
    pub days_until_full: Option<f64>,
    /// Files and records that the start found damaged.
    pub damaged: usize,
    /// Whether the disk had no room at the last write.
    pub full: bool,
    /// Why nothing is written until a restart.
    pub poisoned: Option<String>,
}

/// What is written to (the series of the last hours), and what is most of it, greatest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overview {
    /// Series.
    pub series: usize,
    /// Distinct pairs of label and value.
    pub label_pairs: usize,
    /// Runs of samples in memory.
    pub chunks: usize,
    /// Time of the earliest sample in memory.
    pub min_time: Option<Timestamp>,
    /// Time of the latest.
    pub max_time: Option<Timestamp>,
    /// Series by metric.
    pub series_by_metric: Vec<(String, usize)>,
    /// Distinct values by label.
    pub values_by_label: Vec<(String, usize)>,
    /// Bytes of the values' texts, over all series, by label.
    pub bytes_by_label: Vec<(String, usize)>,
    /// Series by `label=value`.
    pub series_by_pair: Vec<(String, usize)>,
}

/// See the module's text.
pub struct App {
    storage: OnceLock<Arc<dyn Storage>>,
    /// The settings in force.
    pub settings: ArcSwap<Checked>,
    /// Who may read.
    pub auth: Auth,
    /// Who may write.
    pub enrolment: Arc<Enrolment>,
    /// What has come from whom, and what is missing.
    pub ledger: Arc<Ledger>,
    /// The way into the store.
    pub ingest: Arc<Ingest>,
    /// Queries that run, and their places.
    pub queries: Arc<Queries>,
    /// The collector's own counters.
    pub metrics: Arc<Metrics>,
    /// Rules as they were after their last evaluation.
    pub rules: Shown,
    /// When this process started.
    pub started: Timestamp,
    /// How the settings were read last.
    pub last_reload: ArcSwap<Reload>,
}

/// One reading of the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reload {
    /// When.
    pub at: Timestamp,
    /// Whether they were taken.
    pub taken: bool,
    /// When they were read last, taken or not.
    pub tried: Timestamp,
}

impl App {
    /// A state without a store: readers and writers are told to come back (503).
    pub fn new(
        settings: Arc<Checked>,
        enrolment: Arc<Enrolment>,
        ledger: Arc<Ledger>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            storage: OnceLock::new(),
            auth: Auth::new(&settings),
            ingest: Arc::new(Ingest::new(&settings, Arc::clone(&ledger), Arc::clone(&metrics))),
            queries: Arc::new(Queries::new(settings.query.concurrent_max, Arc::clone(&metrics))),
            settings: ArcSwap::new(settings),
            enrolment,
            ledger,
            metrics,
            rules: Shown::default(),
            started: now(),
            last_reload: ArcSwap::from_pointee(Reload { at: now(), taken: true, tried: now() }),
        }
    }

    /// Opens the state to readers; only the first call counts.
    pub fn set_storage(&self, storage: Arc<dyn Storage>) {
        drop(self.storage.set(storage));
    }

    /// The store for reading, once it has replayed. Not for handlers: they ask for a [`Reader`](crate::auth::Reader).
    pub(crate) fn storage(&self) -> Option<&Arc<dyn Storage>> {
        self.storage.get()
    }

    /// Agents that are expected: enrolled and not revoked, and the collector's own where it is on.
    pub fn agents(&self, now: Timestamp) -> Vec<AgentStatus> {
        let mut agents = self.ledger.statuses(&self.enrolment.agents(), now);
        let settings = self.settings.load();
        agents.retain(|agent| agent.enrolled || (agent.agent == EMBEDDED && settings.agent.enabled));
        if let Some(own) = agents.iter_mut().find(|agent| agent.agent == EMBEDDED) {
            own.region = settings.region.clone();
            own.site = settings.site.clone();
        }
        agents
    }

    /// Copies the ledger's figures to where they are shown.
    pub fn observe(&self) {
        self.metrics.set_agents(&self.agents(now()));
        self.ingest.observe();
        self.metrics.ledger_unreadable.set(i64::try_from(self.ledger.unreadable_count()).unwrap_or(i64::MAX));
    }

    /// Whether queries and writes are answered.
    pub fn is_ready(&self) -> bool {
        self.storage.get().is_some()
    }
}

/// The wall clock, in milliseconds since the Unix epoch.
pub fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
