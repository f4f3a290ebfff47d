//! The embedded store as the collector uses it: opened with the ledger as its companion, kept within its bounds, counted.

mod config;
mod figures;
mod upkeep;

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use journal::disk::RealDisk;
use model::{Exemplar, Labels, METRIC_NAME, Matcher, MetricMetadata, Timestamp};
use tsdb::{Companion, Store, Unhurried};

pub use config::{Compaction, Config, Durability, Rule, Selector};
use figures::Figures;
pub use upkeep::Upkeep;

use crate::ledger::Ledger;
use crate::metrics::Metrics;
use crate::state::{self, Condition, Overview, Storage};

/// The journal's folder within the data folder.
pub const FOLDER: &str = "store";

/// Where snapshots are put within the data folder.
pub const SNAPSHOTS: &str = "snapshots";

impl Storage for Store {
    fn metadata(&self, metric: Option<&str>, limit: usize) -> Vec<(String, Vec<MetricMetadata>)> {
        Store::metadata(self, metric, limit)
    }

    fn exemplars(
        &self,
        selections: &[Vec<Matcher>],
        start: Timestamp,
        end: Timestamp,
    ) -> Vec<(Labels, Vec<Exemplar>)> {
        Store::exemplars(self, selections, start, end)
    }

    fn delete(&self, matchers: &[Matcher], start: Timestamp, end: Timestamp) -> anyhow::Result<()> {
        Store::delete(self, matchers, start, end).context("cannot delete series").map(drop)
    }

    fn clean_tombstones(&self, now: Timestamp) -> anyhow::Result<()> {
        self.compact_all(now, &mut Unhurried).context("cannot take what was deleted off the disk").map(drop)
    }

    fn snapshot(&self, data: &Path, now: Timestamp) -> anyhow::Result<String> {
        let name = crate::store_tools::text::name_of(now);
        // Two within one second.
        let names = std::iter::once(name.clone()).chain((2..100).map(|number| format!("{name}-{number}")));
        let mut free =
            names.map(|name| (data.join(SNAPSHOTS).join(&name), name)).filter(|(folder, _)| !folder.exists());
        let (folder, name) = free.next().context("there are a hundred snapshots of this second")?;
        Store::snapshot(self, &folder)
            .with_context(|| format!("cannot make a snapshot in {}", folder.display()))?;
        Ok(name)
    }

    fn condition(&self) -> Condition {
        let stats = self.stats();
        let replay = self.replay();
        let lost = [replay.blocks_lost.len(), replay.journal.damage.len()];
        Condition {
            bytes: stats.blocks.bytes + stats.journal.segment_bytes,
            bytes_per_day: stats.forecast.map(|forecast| forecast.bytes_per_day),
            days_until_full: stats.forecast.and_then(|forecast| forecast.days_until_full),
            damaged: lost.iter().sum::<usize>() + usize::from(replay.records_lost > 0),
            full: stats.journal.full,
            poisoned: stats.journal.poisoned.map(|why| why.to_string()),
        }
    }

    fn overview(&self, top: usize) -> Overview {
        let (stats, census) = (self.stats(), self.census(top));
        let pair = |(name, value, count): (String, String, usize)| (format!("{name}={value}"), count);
        Overview {
            series: stats.series,
            label_pairs: census.pairs_count,
            chunks: self.chunks(),
            min_time: stats.min_time,
            max_time: stats.max_time,
            series_by_metric: self.top_values(METRIC_NAME, top),
            values_by_label: census.values,
            bytes_by_label: census.bytes,
            series_by_pair: census.pairs.into_iter().map(pair).collect(),
        }
    }
}

/// The ledger rides in the store's records.
struct Rider(Arc<Ledger>);

impl Companion for Rider {
    fn applied(&mut self, attachment: &[u8]) {
        if !attachment.is_empty() {
            self.0.apply_bytes(attachment);
        }
    }

    fn snapshot(&self, out: &mut Vec<u8>) {
        self.0.snapshot(out);
    }

    fn restore(&mut self, snapshot: &[u8]) {
        self.0.restore(snapshot);
    }
}

/// Opens the store of a data folder and replays it; blocks until everything is readable.
pub fn open(data: &Path, config: &Config, ledger: &Arc<Ledger>) -> anyhow::Result<Arc<Store>> {
    let folder = data.join(FOLDER);
    let rider = Box::new(Rider(Arc::clone(ledger)));
    let store = Store::open(Arc::new(RealDisk), &folder, config.options(), rider, state::now())
        .with_context(|| format!("cannot open the store in {}", folder.display()))?;
    report(&store);
    Ok(Arc::new(store))
}

/// Says what the replay found, loudly where something is lost.
fn report(store: &Store) {
    let replay = store.replay();
    tracing::info!(
        "opened {} blocks and replayed {} batches with {} samples in {:.2} s",
        replay.blocks,
        replay.records,
        replay.samples,
        replay.duration.as_secs_f64()
    );
    for lost in &replay.blocks_lost {
        tracing::error!(
            "{lost}; the rest is served, and `pantau-collector store verify` looks at every file"
        );
    }
    for damage in &replay.journal.damage {
        tracing::error!(
            "{} is damaged: {} bytes at {} were set aside ({}), the rest is served",
            damage.file.display(),
            damage.bytes,
            damage.at,
            damage.kind
        );
    }
    if let Some((at, why)) = &replay.first_lost {
        tracing::error!(
            "{} batches of the journal cannot be read; the first at {at}: {why}",
            replay.records_lost
        );
    }
}

/// Shows the store's figures among the collector's own metrics.
pub fn show(store: &Arc<Store>, metrics: &Metrics) {
    metrics.register(Figures::new(Arc::clone(store)));
}
