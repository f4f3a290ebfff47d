//! Figures of notifications: under Prometheus' names for Alertmanagers, under our own for our own receivers.

use prometheus::core::Collector;
use prometheus::{HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts};

use crate::metrics::Metrics;

const SECONDS: [f64; 8] = [0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];

/// See the module's text.
pub(super) struct Figures {
    pub(super) sent: IntCounterVec,
    pub(super) errors: IntCounterVec,
    pub(super) dropped: IntCounterVec,
    pub(super) queue_length: IntGaugeVec,
    pub(super) queue_capacity: IntGauge,
    pub(super) alertmanagers: IntGauge,
    pub(super) latency: HistogramVec,
    pub(super) delivered: IntCounterVec,
    pub(super) failures: IntCounterVec,
    pub(super) given_up: IntCounterVec,
    pub(super) waiting: IntGaugeVec,
    pub(super) not_kept: IntCounter,
    pub(super) outbox_bytes: IntGauge,
}

impl Figures {
    /// Registers all of them.
    pub(super) fn new(metrics: &Metrics) -> Self {
        const TO: &[&str] = &["alertmanager"];
        const FOR: &[&str] = &["receiver"];
        let figures = Self {
            sent: counters(
                "prometheus_notifications_sent_total",
                "Alerts sent to an Alertmanager, failed ones included.",
                TO,
            ),
            errors: counters(
                "prometheus_notifications_errors_total",
                "Alerts that an Alertmanager did not take.",
                TO,
            ),
            dropped: counters(
                "prometheus_notifications_dropped_total",
                "Alerts dropped: not taken, or more than may wait.",
                TO,
            ),
            queue_length: gauges(
                "prometheus_notifications_queue_length",
                "Alerts that wait for an Alertmanager.",
                TO,
            ),
            queue_capacity: made(IntGauge::new(
                "prometheus_notifications_queue_capacity",
                "Alerts that may wait for one Alertmanager.",
            )),
            alertmanagers: made(IntGauge::new(
                "prometheus_notifications_alertmanagers_discovered",
                "Alertmanagers that are told.",
            )),
            latency: made(HistogramVec::new(
                HistogramOpts::new(
                    "prometheus_notifications_latency_seconds",
                    "From a request's begin to its answer.",
                )
                .buckets(SECONDS.to_vec()),
                TO,
            )),
            delivered: counters("pantau_notify_delivered_total", "Messages that a receiver has.", FOR),
            failures: counters(
                "pantau_notify_failures_total",
                "Tries after which a message still waits.",
                FOR,
            ),
            given_up: counters(
                "pantau_notify_given_up_total",
                "Messages that a receiver will not get, by reason.",
                &["receiver", "reason"],
            ),
            waiting: gauges("pantau_notify_waiting", "Messages that wait for a receiver.", FOR),
            not_kept: made(IntCounter::new(
                "pantau_notify_not_kept_total",
                "Alerts that the outbox could not keep when they were told.",
            )),
            outbox_bytes: made(IntGauge::new("pantau_notify_outbox_bytes", "Bytes of the outbox on disk.")),
        };
        let register: [&dyn Fn(); 13] = [
            &|| metrics.register(figures.sent.clone()),
            &|| metrics.register(figures.errors.clone()),
            &|| metrics.register(figures.dropped.clone()),
            &|| metrics.register(figures.queue_length.clone()),
            &|| metrics.register(figures.queue_capacity.clone()),
            &|| metrics.register(figures.alertmanagers.clone()),
            &|| metrics.register(figures.latency.clone()),
            &|| metrics.register(figures.delivered.clone()),
            &|| metrics.register(figures.failures.clone()),
            &|| metrics.register(figures.given_up.clone()),
            &|| metrics.register(figures.waiting.clone()),
            &|| metrics.register(figures.not_kept.clone()),
            &|| metrics.register(figures.outbox_bytes.clone()),
        ];
        register.iter().for_each(|register| register());
        figures
    }
}

fn counters(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    made(IntCounterVec::new(Opts::new(name, help), labels))
}

fn gauges(name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    made(IntGaugeVec::new(Opts::new(name, help), labels))
}

fn made<C: Collector>(figures: prometheus::Result<C>) -> C {
    figures.expect("names and labels are ours and good")
}
