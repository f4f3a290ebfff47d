//! The store's figures as metrics: read from it whenever somebody looks.

use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, CounterVec, Gauge, GaugeVec, Opts};
use tsdb::{Forecast, Stats, Store};

/// Name, help, and where the figure stands.
type Figure = (&'static str, &'static str, fn(&Stats) -> f64);

const GAUGES: &[Figure] = &[
    ("pantau_store_series", "Active series: those with samples in memory.", |stats| stats.series as f64),
    ("pantau_store_samples", "Samples in memory, in no block yet.", |stats| stats.samples as f64),
    ("pantau_store_head_bytes", "Memory of samples, labels and index, by estimate.", |stats| {
        stats.head_bytes as f64
    }),
    ("pantau_store_index_bytes", "Of these: labels and index.", |stats| stats.index_bytes as f64),
    ("pantau_store_metadata_metrics", "Metrics that have descriptions.", |stats| {
        stats.metadata_metrics as f64
    }),
    ("pantau_store_min_time_seconds", "Time of the earliest readable sample.", |stats| {
        stats.min_time.map_or(0.0, |time| time.as_seconds())
    }),
    ("pantau_store_max_time_seconds", "Time of the latest sample.", |stats| {
        stats.max_time.map_or(0.0, |time| time.as_seconds())
    }),
    ("pantau_store_journal_bytes", "Bytes of the journal's segments.", |stats| {
        stats.journal.segment_bytes as f64
    }),
    ("pantau_store_journal_segments", "Segments of the journal.", |stats| stats.journal.segments as f64),
    ("pantau_store_journal_queue_bytes", "Bytes that wait for the disk.", |stats| {
        stats.journal.queue_bytes as f64
    }),
    ("pantau_store_journal_full", "Whether the disk had no room at the last write.", |stats| {
        f64::from(u8::from(stats.journal.full))
    }),
    (
        "pantau_store_journal_poisoned",
        "Whether a write or fsync failed: nothing is written until a restart.",
        |stats| f64::from(u8::from(stats.journal.poisoned.is_some())),
    ),
    ("pantau_store_bytes", "Bytes on disk: blocks and journal.", |stats| {
        (stats.blocks.bytes + stats.journal.segment_bytes) as f64
    }),
    ("pantau_store_blocks_bytes", "Bytes of the blocks.", |stats| stats.blocks.bytes as f64),
    (
        "pantau_store_blocks_samples",
        "Samples in blocks; one that stands in two of them counts twice.",
        |stats| stats.blocks.samples as f64,
    ),
    ("pantau_store_blocks_histograms", "Native histograms in blocks.", |stats| {
        stats.blocks.histograms as f64
    }),
    ("pantau_store_tombstones", "Deletions that wait for compaction.", |stats| {
        stats.blocks.tombstones as f64
    }),
    ("pantau_store_cache_bytes", "Memory of what is kept of blocks for reading again.", |stats| {
        stats.blocks.cache.bytes as f64
    }),
    (
        "pantau_store_damaged",
        "Blocks and places of the journal that the start found damaged or missing.",
        |stats| (stats.replay.blocks_lost.len() + stats.replay.journal.damage.len()) as f64,
    ),
    ("pantau_store_replay_seconds", "How long the replay took at the start.", |stats| {
        stats.replay.duration.as_secs_f64()
    }),
    ("pantau_store_replay_lost_batches", "Batches that the replay could not read.", |stats| {
        stats.replay.records_lost as f64
    }),
];

const COUNTERS: &[Figure] = &[
    ("pantau_store_series_added_total", "Series added.", |stats| stats.series_added as f64),
    ("pantau_store_series_forgotten_total", "Series of which nothing was left.", |stats| {
        stats.series_forgotten as f64
    }),
    ("pantau_store_series_refused_total", "Series refused at the limit.", |stats| {
        stats.series_refused as f64
    }),
    ("pantau_store_out_of_order_samples_total", "Samples older than their series' latest.", |stats| {
        stats.written.out_of_order as f64
    }),
    ("pantau_store_flushes_total", "Times that samples became blocks.", |stats| stats.blocks.flushes as f64),
    ("pantau_store_flushes_early_total", "Of these: early, because memory or journal were short.", |stats| {
        stats.blocks.flushes_early as f64
    }),
    ("pantau_store_flushes_failed_total", "Times that it failed; it is tried again.", |stats| {
        stats.blocks.flushes_failed as f64
    }),
    ("pantau_store_flush_seconds_total", "Time spent in them.", |stats| {
        stats.blocks.flush_time.as_secs_f64()
    }),
    ("pantau_store_compactions_total", "Blocks made of smaller ones.", |stats| {
        stats.blocks.compactions as f64
    }),
    ("pantau_store_compactions_failed_total", "Times that it failed.", |stats| {
        stats.blocks.compactions_failed as f64
    }),
    ("pantau_store_compaction_bytes_total", "Bytes that compaction read and wrote.", |stats| {
        stats.blocks.compaction_bytes as f64
    }),
    ("pantau_store_blocks_retired_total", "Blocks that retention removed.", |stats| {
        stats.blocks.blocks_retired as f64
    }),
    ("pantau_store_cache_hits_total", "Frames of blocks found in memory.", |stats| {
        stats.blocks.cache.hits as f64
    }),
    ("pantau_store_cache_misses_total", "Frames of blocks read from disk.", |stats| {
        stats.blocks.cache.misses as f64
    }),
    ("pantau_store_journal_records_total", "Batches written.", |stats| stats.journal.records as f64),
    ("pantau_store_journal_written_bytes_total", "Bytes written.", |stats| {
        stats.journal.bytes_written as f64
    }),
    ("pantau_store_journal_syncs_total", "Syncs of the journal.", |stats| stats.journal.syncs as f64),
    ("pantau_store_journal_sync_seconds_total", "Time spent in them.", |stats| {
        stats.journal.sync_time.as_secs_f64()
    }),
    ("pantau_store_journal_refused_full_total", "Batches refused because the disk was full.", |stats| {
        stats.journal.refused_full as f64
    }),
];

/// The levels of the grid in which blocks lie, finest first.
const LEVELS: [&str; 4] = ["2h", "12h", "3d", "30d"];

const GROWTH: &str = "Bytes of blocks that a day of samples takes, as of the last days.";
const FULL: &str = "Days until the disk (or disk_max) is full if it goes on like this; absent where retention keeps the store below it.";

/// See the module's text.
pub(super) struct Figures {
    store: Arc<Store>,
    descriptions: Vec<Desc>,
}

impl Figures {
    pub(super) fn new(store: Arc<Store>) -> Self {
        // With everything that there can be.
        let forecast = Some(Forecast { days_until_full: Some(0.0), ..Forecast::default() });
        let nothing = Stats { forecast, ..Stats::default() };
        let descriptions = metrics(&nothing).iter().flat_map(|metric| metric.desc()).cloned().collect();
        Self { store, descriptions }
    }
}

impl Collector for Figures {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        metrics(&self.store.stats()).iter().flat_map(|metric| metric.collect()).collect()
    }
}

fn metrics(stats: &Stats) -> Vec<Box<dyn Collector>> {
    const FITS: &str = "names and labels are constants that fit";
    let mut all: Vec<Box<dyn Collector>> = Vec::new();
    for (name, help, value) in GAUGES {
        let gauge = Gauge::new(*name, *help).expect(FITS);
        gauge.set(value(stats));
        all.push(Box::new(gauge));
    }
    for (name, help, value) in COUNTERS {
        let counter = Counter::new(*name, *help).expect(FITS);
        counter.inc_by(value(stats));
        all.push(Box::new(counter));
    }
    let blocks =
        GaugeVec::new(Opts::new("pantau_store_blocks", "Blocks, by how wide they are at most."), &["span"]);
    let blocks = blocks.expect(FITS);
    for (span, count) in LEVELS.into_iter().zip(stats.blocks.count) {
        blocks.with_label_values(&[span]).set(count as f64);
    }
    all.push(Box::new(blocks));
    if let Some(forecast) = stats.forecast {
        for (name, help, value) in [
            ("pantau_store_growth_bytes_per_day", GROWTH, Some(forecast.bytes_per_day)),
            ("pantau_store_full_days", FULL, forecast.days_until_full),
        ] {
            let Some(value) = value else { continue };
            let gauge = Gauge::new(name, help).expect(FITS);
            gauge.set(value);
            all.push(Box::new(gauge));
        }
    }
    let shed =
        Opts::new("pantau_store_dropped_samples_total", "Samples that went, by the bound that was reached.");
    let shed = CounterVec::new(shed, &["cause"]).expect(FITS);
    for (cause, samples) in stats.shed {
        shed.with_label_values(&[cause.as_str()]).inc_by(samples as f64);
    }
    all.push(Box::new(shed));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_is_on_the_page() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = crate::storage::open(
            folder.path(),
            &crate::storage::Config::default(),
            &crate::ledger::Ledger::new(),
        );
        let registry = prometheus::Registry::new();
        registry.register(Box::new(Figures::new(store.expect("opened")))).expect("names are unique");
        let page = telemetry::metrics::text(&registry);
        for (name, ..) in GAUGES.iter().chain(COUNTERS) {
            assert!(page.contains(&format!("\n{name} ")), "{name} is missing:\n{page}");
        }
        assert!(page.contains("pantau_store_dropped_samples_total{cause=\"retention\"} 0"), "{page}");
    }
}
