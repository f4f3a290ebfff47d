//! What every handler shares: the store once it has replayed, the ledger, who may come in, and the collector's own counters.
//!
//! Handlers read series only through the [`Reader`](crate::auth::Reader) extractor, which hands out a scoped source; the store
//! itself stays inside this crate's ingest and start-up.

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use model::{MetricMetadata, SeriesSource, Timestamp};

use crate::auth::Auth;
use crate::enrolment::{EMBEDDED, Enrolment};
use crate::ingest::Ingest;
use crate::ledger::{AgentStatus, Ledger};
use crate::metrics::Metrics;
use crate::settings::Checked;

/// What the router's handlers get as `State`.
pub type AppState = Arc<App>;

/// Series, and what is known of metrics beside them: what the collector asks of a store it reads from.
pub trait Storage: SeriesSource {
    /// Metric families and what senders said of them, sorted by name, each with its entries (several where senders disagree); one
    /// family where `metric` names it; at most `limit` families when that is not 0.
    fn metadata(&self, metric: Option<&str>, limit: usize) -> Vec<(String, Vec<MetricMetadata>)>;
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
    /// The collector's own counters.
    pub metrics: Arc<Metrics>,
    /// When this process started.
    pub started: Timestamp,
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
            settings: ArcSwap::new(settings),
            enrolment,
            ledger,
            metrics,
            started: now(),
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
