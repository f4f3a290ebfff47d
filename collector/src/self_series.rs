//! The collector's own metrics as series: written into the store as if someone had scraped `/metrics`, so that its state and its
//! agents' have a history and alerts can rest on it.
//!
//! They bear `job="pantau-collector"` and the collector's `instance`, `region` and `site`; those that speak of an agent bear the
//! agent's region and site. A series that is gone (an agent that was revoked) is ended by a stale marker.

use std::collections::HashSet;
use std::time::Duration;

use model::{Labels, LabelsBuilder, METRIC_NAME, Timestamp, stale_nan};
use prometheus::proto::{Metric, MetricFamily, MetricType};
use wire::negotiate::Message;
use wire::v1::Writer;

use crate::ingest::{IngestError, Origin, Request, Stamp};
use crate::state::{App, AppState, now};

/// How often they are written.
pub const EVERY: Duration = Duration::from_secs(15);

pub(crate) const JOB: &str = "pantau-collector";

/// Writes them until the process ends.
pub async fn run(state: AppState) {
    let mut own = OwnSeries::default();
    let mut every = tokio::time::interval(EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        every.tick().await;
        match own.write(&state, now()).await {
            Ok(()) | Err(IngestError::NotReady) => {}
            Err(error) => tracing::warn!("cannot write the collector's own series: {error}"),
        }
    }
}

/// What was written last time, to end what is gone.
#[derive(Default)]
pub struct OwnSeries {
    live: HashSet<Labels>,
}

impl OwnSeries {
    /// Writes every series once.
    pub async fn write(&mut self, state: &App, at: Timestamp) -> Result<(), IngestError> {
        state.observe();
        let base = base_labels(state);
        let mut values = Vec::new();
        for family in state.metrics.gather() {
            push_family(&family, &base, &mut values);
        }
        let live: HashSet<Labels> = values.iter().map(|(labels, _)| labels.clone()).collect();
        let mut writer = Writer::default();
        for (labels, value) in &values {
            writer.series(labels, [(at, *value)]);
        }
        for gone in self.live.difference(&live) {
            writer.series(gone, [(at, stale_nan())]);
        }
        let origin = Origin { name: JOB.into(), stamp: Stamp { keeps_own: true, ..Stamp::default() } };
        let payload = writer.finish();
        let request = Request {
            origin: &origin,
            message: Message::V1,
            payload: &payload,
            envelope: None,
            received_at: at,
        };
        state.ingest.write(request).await?;
        self.live = live;
        Ok(())
    }
}

fn base_labels(state: &App) -> LabelsBuilder {
    let settings = state.settings.load();
    let mut base = Labels::builder();
    base.set("job", JOB).set("instance", &settings.instance);
    base.set("region", settings.region.as_ref().map_or("", |region| region.as_str()));
    base.set("site", settings.site.as_deref().unwrap_or(""));
    base
}

fn push_family(family: &MetricFamily, base: &LabelsBuilder, values: &mut Vec<(Labels, f64)>) {
    for metric in family.get_metric() {
        let labels = |suffix: &str| series_labels(base, metric, &format!("{}{suffix}", family.name()));
        match family.get_field_type() {
            MetricType::HISTOGRAM => push_histogram(metric, &labels, values),
            MetricType::COUNTER => values.push((labels("").build(), metric.get_counter().get_value())),
            _ => values.push((labels("").build(), metric.get_gauge().get_value())),
        }
    }
}

fn push_histogram(metric: &Metric, labels: &impl Fn(&str) -> LabelsBuilder, values: &mut Vec<(Labels, f64)>) {
    let histogram = metric.get_histogram();
    let count = histogram.get_sample_count() as f64;
    let mut bucket =
        |bound: &str, count: f64| values.push((labels("_bucket").set("le", bound).build(), count));
    for each in histogram.get_bucket() {
        bucket(&each.upper_bound().to_string(), each.cumulative_count() as f64);
    }
    bucket("+Inf", count);
    values.push((labels("_sum").build(), histogram.get_sample_sum()));
    values.push((labels("_count").build(), count));
}

fn series_labels(base: &LabelsBuilder, metric: &Metric, name: &str) -> LabelsBuilder {
    let mut labels = base.clone();
    labels.set(METRIC_NAME, name);
    for pair in metric.get_label() {
        labels.set(pair.name(), pair.value());
    }
    labels
}
