//! The embedded store as the collector uses it: opened with the ledger as its companion, kept within its bounds, counted.

mod config;
mod figures;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use journal::disk::RealDisk;
use model::MetricMetadata;
use tsdb::{Companion, Store};

pub use config::{Compaction, Config, Durability, Rule, Selector};
use figures::Figures;

use crate::ledger::Ledger;
use crate::metrics::Metrics;
use crate::state::{self, Storage};

/// The journal's folder within the data folder.
pub const FOLDER: &str = "store";

/// How often the store's bounds are looked after.
const MAINTAIN_EVERY: Duration = Duration::from_secs(10);

impl Storage for Store {
    fn metadata(&self, metric: Option<&str>, limit: usize) -> Vec<(String, Vec<MetricMetadata>)> {
        Store::metadata(self, metric, limit)
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
        "replayed {} batches with {} samples in {:.2} s",
        replay.records,
        replay.samples,
        replay.duration.as_secs_f64()
    );
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

/// Looks after the store's bounds until the process ends.
pub async fn maintain(store: Arc<Store>) {
    let mut every = tokio::time::interval(MAINTAIN_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        let store = Arc::clone(&store);
        let done = tokio::task::spawn_blocking(move || store.maintain(state::now())).await;
        match done {
            Ok(Ok(done)) => {
                for (cause, dropped) in done.dropped {
                    tracing::info!("the store let go of {dropped} samples: {}", cause.as_str());
                }
            }
            Ok(Err(error)) => tracing::error!("cannot look after the store: {error}"),
            Err(error) => tracing::error!("cannot look after the store: {error}"),
        }
    }
}

/// Shows the store's figures among the collector's own metrics.
pub fn show(store: &Arc<Store>, metrics: &Metrics) {
    metrics.register(Figures::new(Arc::clone(store)));
}
