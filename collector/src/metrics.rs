//! The collector's own counters, room by room: what came in, what was dropped and why, how long it took.
//!
//! One struct on one registry, nothing global. `/metrics` shows them, and `self_series.rs` writes them into the store.

mod open_metrics;

use prometheus::{
    GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry, core::Collector,
};

use crate::ledger::AgentStatus;

/// Seconds: from what a memory access takes to what a person waits for.
const SECONDS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

/// See the module's text.
pub struct Metrics {
    registry: Registry,
    /// The embedded agent's own metrics, which it writes into the store itself.
    agent_registry: Registry,
    /// Requests answered, by path pattern and status.
    pub http_requests: IntCounterVec,
    /// Seconds from the head of a request to the head of its answer, by path pattern.
    pub http_seconds: prometheus::HistogramVec,
    /// Queries that wait or run.
    pub queries_active: IntGauge,
    /// Queries that ended, by how.
    pub queries_ended: IntCounterVec,
    /// Lines of the queries' log that were lost.
    pub query_log_lost: IntCounter,
    /// Mistakes of ours in what looks after the store.
    pub store_panics: IntCounter,
    /// Connections open now.
    pub connections: IntGauge,
    /// Connections taken.
    pub connections_accepted: IntCounter,
    /// Connections ended by us, by reason.
    pub connections_dropped: IntCounterVec,
    /// Requests that did not come in, by reason.
    pub auth_refusals: IntCounterVec,
    /// Write requests, by outcome.
    pub ingest_requests: IntCounterVec,
    /// Samples stored.
    pub ingest_samples: IntCounter,
    /// Samples that were there already.
    pub ingest_duplicates: IntCounter,
    /// Samples whose time had another value.
    pub ingest_conflicts: IntCounter,
    /// Samples refused, by reason and sender.
    pub ingest_refused: IntCounterVec,
    /// Requests that were not read for lack of room, by whose room it was and by sender.
    pub ingest_turned_away: IntCounterVec,
    /// New series that a limit refused, by limit, sender and metric.
    pub ingest_refused_series: IntCounterVec,
    /// Active series, by sender.
    pub ingest_series: prometheus::IntGaugeVec,
    /// Active series that a sender may have.
    pub ingest_series_max: IntGauge,
    /// Native histograms stored.
    pub ingest_histograms: IntCounter,
    /// Exemplars taken.
    pub ingest_exemplars: IntCounter,
    /// Exemplars left out.
    pub ingest_exemplars_left_out: IntCounter,
    /// Bytes of bodies, as received.
    pub ingest_bytes: IntCounter,
    /// Seconds from a body that is read to its answer, the disk's part included.
    pub ingest_seconds: Histogram,
    /// Seconds of CPU work of the same: unpacking, reading, resolving.
    pub ingest_decode_seconds: Histogram,
    /// Batches that were there already.
    pub ledger_repeats: IntCounter,
    /// Batches whose number another payload has, by agent.
    pub ledger_conflicts: IntCounterVec,
    /// Ledger entries and snapshots that could not be read.
    pub ledger_unreadable: IntGauge,
    agents: Agents,
    /// Whether queries and writes are answered.
    pub ready: IntGauge,
    /// Reloads of settings and certificates, by what and outcome.
    pub reloads: IntCounterVec,
}

impl Metrics {
    /// Everything at zero on a new registry.
    pub fn new() -> Self {
        let registry = telemetry::metrics::registry();
        let counter = |name: &str, help: &str| registered(&registry, IntCounter::new(name, help));
        let counters = |name: &str, help: &str, labels: &[&str]| {
            registered(&registry, IntCounterVec::new(Opts::new(name, help), labels))
        };
        let gauge = |name: &str, help: &str| registered(&registry, IntGauge::new(name, help));
        let seconds = |name: &str, help: &str| {
            registered(
                &registry,
                Histogram::with_opts(HistogramOpts::new(name, help).buckets(SECONDS.to_vec())),
            )
        };
        let http_seconds = {
            let options = HistogramOpts::new(
                "pantau_http_request_seconds",
                "From a request's head to its answer's head.",
            );
            registered(&registry, prometheus::HistogramVec::new(options.buckets(SECONDS.to_vec()), &["path"]))
        };
        Self {
            http_requests: counters("pantau_http_requests_total", "Requests answered.", &["path", "status"]),
            http_seconds,
            queries_active: gauge("pantau_queries_active", "Queries that wait or run."),
            queries_ended: counters("pantau_queries_total", "Queries that ended, by how.", &["outcome"]),
            query_log_lost: counter(
                "pantau_query_log_lost_total",
                "Lines of the queries' log that were lost because the disk was slower.",
            ),
            store_panics: counter(
                "pantau_store_panics_total",
                "Mistakes of ours (panics) while the store was looked after or compacted; the work is tried again.",
            ),
            connections: gauge("pantau_http_connections", "Connections open now."),
            connections_accepted: counter("pantau_http_connections_accepted_total", "Connections taken."),
            connections_dropped: counters(
                "pantau_http_connections_dropped_total",
                "Connections ended by the collector.",
                &["reason"],
            ),
            auth_refusals: counters(
                "pantau_auth_refusals_total",
                "Requests that did not come in.",
                &["reason"],
            ),
            ingest_requests: counters(
                "pantau_ingest_requests_total",
                "Write requests, by outcome.",
                &["outcome"],
            ),
            ingest_samples: counter("pantau_ingest_samples_total", "Samples stored."),
            ingest_duplicates: counter("pantau_ingest_duplicates_total", "Samples that were there already."),
            ingest_conflicts: counter(
                "pantau_ingest_conflicts_total",
                "Samples whose time had another value.",
            ),
            ingest_refused: counters(
                "pantau_ingest_refused_samples_total",
                "Samples refused, by reason and sender.",
                &["reason", "sender"],
            ),
            ingest_turned_away: counters(
                "pantau_ingest_turned_away_total",
                "Requests that were not read, because all senders together (all) or this one (share) have too much under way.",
                &["reason", "sender"],
            ),
            ingest_refused_series: counters(
                "pantau_ingest_refused_series_total",
                "Times that a new series was refused because of a limit, by limit, sender and metric (16 metrics a sender).",
                &["reason", "sender", "metric"],
            ),
            ingest_series: registered(
                &registry,
                prometheus::IntGaugeVec::new(
                    Opts::new(
                        "pantau_ingest_series",
                        "Active series: those that the sender wrote to within hours.",
                    ),
                    &["sender"],
                ),
            ),
            ingest_series_max: gauge("pantau_ingest_series_max", "Active series that one sender may have."),
            ingest_histograms: counter("pantau_ingest_histograms_total", "Native histograms stored."),
            ingest_exemplars: counter("pantau_ingest_exemplars_total", "Exemplars taken."),
            ingest_exemplars_left_out: counter(
                "pantau_ingest_exemplars_left_out_total",
                "Exemplars left out: too large, too old, too many at once, or of a series that is not there.",
            ),
            ingest_bytes: counter("pantau_ingest_body_bytes_total", "Bytes of write requests as received."),
            ingest_seconds: seconds(
                "pantau_ingest_seconds",
                "From a body that is read to its answer, disk included.",
            ),
            ingest_decode_seconds: seconds(
                "pantau_ingest_decode_seconds",
                "Unpacking, reading and resolving a request.",
            ),
            ledger_repeats: counter("pantau_ledger_repeats_total", "Batches that were there already."),
            ledger_conflicts: counters(
                "pantau_ledger_conflicts_total",
                "Batches whose number another payload has: a cloned machine.",
                &["agent"],
            ),
            ledger_unreadable: gauge(
                "pantau_ledger_unreadable",
                "Ledger entries and snapshots that cannot be read.",
            ),
            agents: Agents::new(&registry),
            ready: gauge("pantau_ready", "Whether queries and writes are answered."),
            reloads: counters(
                "pantau_reloads_total",
                "Reloads of settings and certificates.",
                &["what", "outcome"],
            ),
            agent_registry: Registry::new(),
            registry,
        }
    }

    /// The embedded agent's registry: shown on the page, and not gathered here, because the agent reports what is in it.
    pub fn agent_registry(&self) -> &Registry {
        &self.agent_registry
    }

    /// Registers another room's figures.
    pub fn register(&self, figures: impl Collector + 'static) {
        // Only a name that is there already is refused: the page then lacks the second one, and nothing else is harmed.
        if let Err(error) = self.registry.register(Box::new(figures)) {
            tracing::error!("cannot show some of the collector's own metrics: {error}");
        }
    }

    /// The collector's own, as the store gets them.
    pub fn gather(&self) -> Vec<prometheus::proto::MetricFamily> {
        self.registry.gather()
    }

    /// The page.
    pub fn text(&self) -> String {
        telemetry::metrics::text(&self.registry) + &telemetry::metrics::text(&self.agent_registry)
    }

    /// The page in OpenMetrics.
    pub fn open_metrics(&self) -> String {
        let mut families = self.registry.gather();
        families.extend(self.agent_registry.gather());
        open_metrics::page(&families)
    }

    /// Shows the state of the agents in place of what was shown before.
    pub fn set_agents(&self, agents: &[AgentStatus]) {
        self.agents.set(agents);
    }

    /// Counts a request that did not come in.
    pub fn auth_refused(&self, reason: &str) {
        self.auth_refusals.with_label_values(&[reason]).inc();
    }
}

/// The ledger as series.
struct Agents {
    connected: GaugeVec,
    clock_offset: GaugeVec,
    last_seen: GaugeVec,
    pending: GaugeVec,
    missing: GaugeVec,
    clones: GaugeVec,
}

impl Agents {
    fn new(registry: &Registry) -> Self {
        let gauges = |name: &str, help: &str, more: &[&str]| {
            let labels = [&["agent", "region", "site"], more].concat();
            registered(registry, GaugeVec::new(Opts::new(name, help), &labels))
        };
        Self {
            connected: gauges(
                "pantau_agent_connected",
                "0 when an agent is silent for more than two intervals.",
                &[],
            ),
            clock_offset: gauges(
                "pantau_agent_clock_offset_seconds",
                "The agent's clock minus the collector's, at its latest batch.",
                &[],
            ),
            last_seen: gauges(
                "pantau_agent_last_seen_timestamp_seconds",
                "When the latest batch was received.",
                &[],
            ),
            pending: gauges(
                "pantau_agent_pending_batches",
                "Batches that are known to exist and may still come.",
                &[],
            ),
            missing: gauges(
                "pantau_agent_missing_seconds",
                "Seconds of data that are missing, by cause.",
                &["cause"],
            ),
            clones: gauges(
                "pantau_agent_clone_events",
                "Signs that two machines speak under one name: numbers used twice, spools that take turns.",
                &[],
            ),
        }
    }

    fn set(&self, agents: &[AgentStatus]) {
        for gauges in
            [&self.connected, &self.clock_offset, &self.last_seen, &self.pending, &self.missing, &self.clones]
        {
            gauges.reset();
        }
        for agent in agents {
            let region = agent.region.as_ref().map_or("", |region| region.as_str());
            let labels = [agent.agent.as_str(), region, agent.site.as_deref().unwrap_or("")];
            let set = |gauges: &GaugeVec, value: f64| gauges.with_label_values(&labels).set(value);
            // Who is enrolled and never came is not connected, unless it sends without batches.
            let plain = agent.connected.is_none() && agent.last_seen_ms.is_some();
            if !plain {
                set(&self.connected, f64::from(u8::from(agent.connected == Some(true))));
            }
            agent.clock_offset_seconds.into_iter().for_each(|offset| set(&self.clock_offset, offset));
            agent.last_seen_ms.into_iter().for_each(|seen| set(&self.last_seen, seen as f64 / 1000.0));
            set(&self.pending, agent.pending_batches as f64);
            set(&self.clones, (agent.conflicts + agent.interleavings) as f64);
            for (cause, seconds) in &agent.missing_seconds {
                let labels = [labels[0], labels[1], labels[2], cause.as_str()];
                self.missing.with_label_values(&labels).set(*seconds);
            }
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn registered<T: Collector + Clone + 'static>(registry: &Registry, metric: prometheus::Result<T>) -> T {
    let metric = metric.expect("names and labels are constants that fit");
    registry.register(Box::new(metric.clone())).expect("each name is registered once");
    metric
}
