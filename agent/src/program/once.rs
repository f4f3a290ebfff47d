//! One round of every target, as Prometheus text: shows what would be sent, and sends nothing.

use std::collections::BTreeMap;

use exposition::{Offer, Writer};
use model::{Labels, MetricKind, MetricMetadata};

use crate::clock::Clock;
use crate::inputs::{Input, TargetSet};
use crate::series::{Round, SeriesTable};
use crate::settings::Settings;

/// Samples of a family, sorted by labels.
#[derive(Default)]
struct Family {
    metadata: Option<MetricMetadata>,
    samples: BTreeMap<Labels, f64>,
}

/// One collection.
#[derive(Debug)]
pub struct Collected {
    /// All samples in the text format 0.0.4.
    pub text: String,
    /// What could not be read: target and cause.
    pub faults: Vec<String>,
}

/// Asks every target once.
///
/// # Errors
/// Settings of inputs that cannot be used.
pub async fn once(settings: &Settings) -> anyhow::Result<Collected> {
    let clock = Clock::system();
    let mut families = BTreeMap::new();
    let mut faults = Vec::new();
    let mut collection = settings.collection();
    // The agent itself may be running, under another user.
    collection.looks_only = true;
    for mut set in collection.build_inputs().map_err(|mistake| settings.wrong(&mistake))? {
        for mut input in announced(&mut *set, &mut faults) {
            let mut table = input.new_table();
            let mut round = Round::begin(&mut table, clock.best_guess(), Vec::new());
            let collected = tokio::time::timeout(input.timeout(), input.collect(&mut round)).await;
            let (points, _) = round.finish();
            match collected {
                Ok(Ok(())) => {}
                Ok(Err(why)) => faults.push(format!("{}: {why}", input.name())),
                Err(_) => faults.push(format!("{}: no answer in time", input.name())),
            }
            for point in points {
                sort_in(&mut families, &mut table, point.series, point.value);
            }
        }
    }
    Ok(Collected { text: write(&families), faults })
}

fn announced(set: &mut dyn TargetSet, faults: &mut Vec<String>) -> Vec<Box<dyn Input>> {
    match set.refresh() {
        Ok(targets) => targets.into_iter().flatten().map(|target| (target.build)()).collect(),
        Err(why) => {
            faults.push(why.to_string());
            Vec::new()
        }
    }
}

fn sort_in(
    families: &mut BTreeMap<String, Family>,
    table: &mut SeriesTable,
    series: crate::series::SeriesId,
    value: f64,
) {
    let entry = table.entry(series);
    let metric = entry.labels.metric_name().unwrap_or_default();
    let kind = entry.metadata.as_ref().map_or(MetricKind::Unknown, |metadata| metadata.kind);
    let family = families.entry(family_name(metric, kind).to_owned()).or_default();
    if family.metadata.is_none() {
        family.metadata = entry.metadata.as_deref().cloned();
    }
    family.samples.insert(entry.labels.clone(), value);
}

/// The name that a family's description bears: histograms and summaries have several metrics.
fn family_name(metric: &str, kind: MetricKind) -> &str {
    let endings: &[&str] = match kind {
        MetricKind::Histogram | MetricKind::GaugeHistogram => &["_bucket", "_sum", "_count"],
        MetricKind::Summary => &["_sum", "_count"],
        _ => &[],
    };
    endings.iter().find_map(|ending| metric.strip_suffix(ending)).unwrap_or(metric)
}

fn write(families: &BTreeMap<String, Family>) -> String {
    let mut text = String::new();
    let mut writer = Writer::new(&mut text, Offer::TEXT);
    for (name, family) in families {
        if let Some(metadata) = &family.metadata {
            writer.family(name, metadata);
        }
        for (labels, value) in &family.samples {
            writer.sample(labels, *value, None);
        }
    }
    writer.finish();
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(metric: &str, kind: MetricKind, expected: &str) {
        assert_eq!(family_name(metric, kind), expected);
    }

    #[test]
    fn metrics_of_a_histogram_share_its_description() {
        check("a_seconds_bucket", MetricKind::Histogram, "a_seconds");
        check("a_seconds_count", MetricKind::Summary, "a_seconds");
        check("a_count", MetricKind::Gauge, "a_count");
    }

    #[tokio::test]
    async fn a_list_that_cannot_be_read_is_a_fault_and_not_an_end() {
        let settings: Settings = settings::parse("inputs: {}\n", "x").expect("good");
        let collected = once(&settings).await.expect("nothing to read");
        assert!(collected.faults.is_empty(), "{:?}", collected.faults);
    }
}
