//! Figures of the evaluation, under Prometheus' names where it has them; the label `rule_group` is `file;group`.
//!
//! What Prometheus has as summaries are histograms here: `_sum` and `_count` are the same.

use prometheus::{GaugeVec, Histogram, HistogramOpts, IntCounterVec, IntGaugeVec, Opts};

use model::Timestamp;

use super::group::{Pass, Spec};
use crate::metrics::Metrics;

const SECONDS: [f64; 10] = [0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0];
const GROUP: &[&str] = &["rule_group"];

/// See the module's text.
pub(super) struct Figures {
    evaluations: IntCounterVec,
    failures: IntCounterVec,
    iterations: IntCounterVec,
    missed: IntCounterVec,
    interval: GaugeVec,
    last_at: GaugeVec,
    last_took: GaugeVec,
    last_samples: IntGaugeVec,
    rules: IntGaugeVec,
    group_seconds: Histogram,
}

impl Figures {
    /// Registers all of them.
    pub(super) fn new(metrics: &Metrics) -> Self {
        let figures = Self {
            evaluations: counters("prometheus_rule_evaluations_total", "Rules evaluated."),
            failures: counters(
                "prometheus_rule_evaluation_failures_total",
                "Rules that could not be evaluated.",
            ),
            iterations: counters(
                "prometheus_rule_group_iterations_total",
                "Passes that were due, missed ones included.",
            ),
            missed: counters(
                "prometheus_rule_group_iterations_missed_total",
                "Passes that were missed because the one before took too long.",
            ),
            interval: gauges("prometheus_rule_group_interval_seconds", "How often a group is evaluated."),
            last_at: gauges(
                "prometheus_rule_group_last_evaluation_timestamp_seconds",
                "When a group was evaluated last.",
            ),
            last_took: gauges(
                "prometheus_rule_group_last_duration_seconds",
                "How long a group's last pass took.",
            ),
            last_samples: made(IntGaugeVec::new(
                Opts::new(
                    "prometheus_rule_group_last_evaluation_samples",
                    "Samples that a group's last pass made.",
                ),
                GROUP,
            )),
            rules: made(IntGaugeVec::new(
                Opts::new("prometheus_rule_group_rules", "Rules of a group."),
                GROUP,
            )),
            group_seconds: made(Histogram::with_opts(
                HistogramOpts::new("prometheus_rule_group_duration_seconds", "How long passes take.")
                    .buckets(SECONDS.to_vec()),
            )),
        };
        for counter in [&figures.evaluations, &figures.failures, &figures.iterations, &figures.missed] {
            metrics.register(counter.clone());
        }
        for gauge in [&figures.interval, &figures.last_at, &figures.last_took] {
            metrics.register(gauge.clone());
        }
        for gauge in [&figures.last_samples, &figures.rules] {
            metrics.register(gauge.clone());
        }
        metrics.register(figures.group_seconds.clone());
        figures
    }

    /// A group is there, evaluated or not.
    pub(super) fn known(&self, spec: &Spec) {
        let key = spec.key();
        let group = &[key.as_str()];
        self.interval.with_label_values(group).set(spec.interval.as_secs_f64());
        self.rules.with_label_values(group).set(i64::try_from(spec.rules.len()).unwrap_or(i64::MAX));
        for counter in [&self.evaluations, &self.failures, &self.iterations, &self.missed] {
            counter.with_label_values(group).inc_by(0);
        }
    }

    /// A group is no more.
    pub(super) fn forget(&self, key: &str) {
        let group = &[key];
        // What never was there need not go.
        for counter in [&self.evaluations, &self.failures, &self.iterations, &self.missed] {
            drop(counter.remove_label_values(group));
        }
        for gauge in [&self.interval, &self.last_at, &self.last_took] {
            drop(gauge.remove_label_values(group));
        }
        for gauge in [&self.last_samples, &self.rules] {
            drop(gauge.remove_label_values(group));
        }
    }

    /// A pass is over.
    pub(super) fn passed(&self, spec: &Spec, at: Timestamp, missed: u64, pass: &Pass) {
        let key = spec.key();
        let group = &[key.as_str()];
        self.iterations.with_label_values(group).inc_by(1 + missed);
        self.missed.with_label_values(group).inc_by(missed);
        self.evaluations.with_label_values(group).inc_by(pass.evaluated);
        self.failures.with_label_values(group).inc_by(pass.failed);
        self.last_at.with_label_values(group).set(at.as_seconds());
        self.last_took.with_label_values(group).set(pass.took.as_secs_f64());
        self.last_samples.with_label_values(group).set(i64::try_from(pass.values).unwrap_or(i64::MAX));
        self.group_seconds.observe(pass.took.as_secs_f64());
    }
}

fn counters(name: &str, help: &str) -> IntCounterVec {
    made(IntCounterVec::new(Opts::new(name, help), GROUP))
}

fn gauges(name: &str, help: &str) -> GaugeVec {
    made(GaugeVec::new(Opts::new(name, help), GROUP))
}

fn made<T>(metric: prometheus::Result<T>) -> T {
    metric.expect("the names and labels here are well-formed")
}
