//! `load_with_nhcb`: classic histograms are also loaded as native ones with custom buckets.

use std::collections::BTreeMap;

use model::{Buckets, Histogram, Labels, METRIC_NAME};

use crate::store::Store;

/// What is known of one histogram at one time.
#[derive(Default)]
struct Classic {
    /// Cumulative counts by upper bound.
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
}

/// Adds a native histogram for each classic one among the series of these names.
pub(crate) fn add(store: &mut Store, loaded: &[Labels]) {
    let mut all: BTreeMap<(Labels, i64), Classic> = BTreeMap::new();
    for (labels, values) in store.values().filter(|(labels, _)| loaded.contains(labels)) {
        let Some((base, part)) = part_of(labels) else { continue };
        for (time, value) in values.into_iter().filter(|(_, value)| !model::is_stale(*value)) {
            let classic = all.entry((base.clone(), time)).or_default();
            match part {
                Part::Bucket(upper) => classic.buckets.push((upper, value)),
                Part::Count => classic.count = Some(value),
                Part::Sum => classic.sum = value,
            }
        }
    }
    for ((labels, time), classic) in all {
        if let Some(histogram) = classic.convert() {
            store.insert_histogram(&labels, time, &histogram);
        }
    }
}

#[derive(Clone, Copy)]
enum Part {
    Bucket(f64),
    Count,
    Sum,
}

/// Which part of which histogram a series is.
fn part_of(labels: &Labels) -> Option<(Labels, Part)> {
    let name = labels.metric_name()?;
    let (base, part) = if let Some(base) = name.strip_suffix("_bucket") {
        let upper = labels.get("le")?.to_ascii_lowercase();
        (base, Part::Bucket(upper.trim_start_matches('+').parse().ok()?))
    } else if let Some(base) = name.strip_suffix("_count") {
        (base, Part::Count)
    } else {
        (name.strip_suffix("_sum")?, Part::Sum)
    };
    let mut builder = labels.to_builder();
    builder.set(METRIC_NAME, base);
    builder.set("le", "");
    Some((builder.build(), part))
}

impl Classic {
    fn convert(mut self) -> Option<Histogram> {
        if self.buckets.is_empty() && self.count.is_none() {
            return None;
        }
        self.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        // The same bound may be written in several ways.
        self.buckets.dedup_by_key(|(upper, _)| *upper);
        let last = self.buckets.last().copied();
        let count = self.count.or(last.map(|(_, count)| count)).unwrap_or_default();
        if last.is_none_or(|(upper, _)| upper != f64::INFINITY) {
            self.buckets.push((f64::INFINITY, count));
        }
        let mut below = 0.0;
        let counts: Vec<f64> =
            self.buckets.iter().map(|(_, at)| at - std::mem::replace(&mut below, *at)).collect();
        let custom_bounds =
            self.buckets.iter().map(|(upper, _)| *upper).filter(|upper| upper.is_finite()).collect();
        Some(Histogram {
            schema: Histogram::CUSTOM,
            count,
            sum: self.sum,
            positive: Buckets::dense(0, counts).compacted(),
            custom_bounds,
            ..Histogram::default()
        })
    }
}
