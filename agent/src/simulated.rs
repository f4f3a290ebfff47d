//! A machine whose clocks, power and disk a test has in its hands (feature `simulated`): for tests that need a week of an agent's
//! life in front of a real collector.
//!
//! In: rounds of samples, the passing of time, ends in order, power cuts, boots. Out: what the program `pantau-agent` would have
//! spooled and sent over HTTP: batcher, spool, clock rule and uplink are the program's own. The disk is the journal's pretended one,
//! so that a power cut takes what was not synced.
//!
//! Deliberately not here: inputs and schedule; a round's samples are given. Mistakes panic, as befits a test.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use journal::SyncPolicy;
use journal::disk::pretend::PretendDisk;
use model::{Labels, Timestamp};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use wire::identity::{Cause, Loss};

use crate::batch::Batcher;
use crate::clock::by_hand::HandClock;
use crate::clock::{Clock, Scale};
use crate::metrics::Metrics;
use crate::series::{Described, Round, SeriesTable};
use crate::settings::Settings;
use crate::spool::{Lane, Options, Spool};
use crate::uplink::{HttpTransport, Uplink};

/// The program is as old as this (2020), so that a week that has just passed lies after its building.
const BUILT_MS: i64 = 1_577_836_800_000;

/// See the module's text.
pub struct Machine {
    disk: PretendDisk,
    hand: HandClock,
    boot: u128,
    run: Option<Run>,
}

/// What lives from the program's start to its end.
struct Run {
    clock: Arc<Clock>,
    spool: Arc<Spool>,
    batcher: Batcher,
    table: SeriesTable,
    metrics: Arc<Metrics>,
    lanes: Vec<JoinHandle<()>>,
    /// Never told to drain: power goes, or the program's end aborts them.
    draining: watch::Sender<bool>,
}

impl Drop for Run {
    fn drop(&mut self) {
        self.lanes.iter().for_each(JoinHandle::abort);
    }
}

impl Machine {
    /// A machine with an empty disk and a clock that is right. It has been up for ten seconds; no program runs.
    pub fn new(wall: Timestamp) -> Self {
        Self { disk: PretendDisk::new(), hand: HandClock::at(wall.as_millis(), 10_000), boot: 1, run: None }
    }

    /// Starts the program.
    pub fn start(&mut self) {
        assert!(self.run.is_none(), "the program runs");
        let clock = Arc::new(self.hand.clock_since(self.boot, Timestamp::from_millis(BUILT_MS)));
        let options = Options { bytes_max: 1 << 30, memory_bytes_max: 1 << 20, sync: SyncPolicy::Always };
        let disk = Arc::new(self.disk.clone());
        let opened = Spool::open(disk, Path::new("/spool"), options, Arc::clone(&clock));
        let (spool, _) = opened.expect("the spool opens");
        self.run = Some(Run {
            batcher: Batcher::new(Arc::clone(&clock)),
            spool: Arc::new(spool),
            table: SeriesTable::new(Labels::empty(), 1000),
            metrics: Arc::new(Metrics::new()),
            lanes: Vec::new(),
            draining: watch::Sender::new(false),
            clock,
        });
    }

    /// Ends the program in order, as `program.rs` does it.
    pub async fn stop(&mut self) {
        let run = self.run.take().expect("the program runs");
        let rest = run.batcher.finish();
        if let Some(last) = rest.last().filter(|batch| batch.scale == Scale::Wall) {
            let after = Timestamp::from_millis(last.to.as_millis() + 1);
            run.spool.lose(Loss {
                cause: Cause::Stopped,
                from: after,
                to: after,
                samples: 0,
                sequences: None,
            });
        }
        for batch in &rest {
            run.spool.append(batch).await;
        }
        run.spool.close().expect("a good disk");
    }

    /// The power goes: what was not synced is lost.
    pub fn cut_power(&mut self) {
        self.disk.crash();
        drop(self.run.take().expect("the program runs"));
    }

    /// The machine comes up, three seconds ago, and shows this time.
    pub fn boot(&mut self, wall: Timestamp) {
        assert!(self.run.is_none(), "the machine is up");
        self.boot += 1;
        self.hand = HandClock::at(wall.as_millis(), 3_000);
    }

    /// Time passes, on the wall clock and since boot.
    pub fn pass(&self, span: Duration) {
        self.hand.pass(span.as_millis() as i64);
    }

    /// NTP sets the wall clock; what was held for that is stamped.
    pub fn set_clock(&self, wall: Timestamp) {
        self.hand.set_wall(wall.as_millis());
        self.run().spool.stamp_held().expect("a good disk");
    }

    /// A round of samples, taken now.
    pub fn round(&mut self, samples: &[(Labels, f64)]) {
        let run = self.run.as_mut().expect("the program runs");
        let reading = run.clock.read();
        let mut round = Round::begin(&mut run.table, reading.time, Vec::new());
        for (labels, value) in samples {
            round.put(labels.as_bytes(), *value, None, |_| {
                Some(Described { labels: labels.clone(), metadata: None })
            });
        }
        let (points, _) = round.finish();
        run.batcher.add(&mut run.table, &points, reading);
    }

    /// Makes the rounds since the last batch a batch and spools it.
    pub async fn spool_batch(&mut self) {
        let run = self.run();
        for batch in run.batcher.finish() {
            run.spool.append(&batch).await;
        }
    }

    /// Starts both lanes of the uplink, to a collector over HTTP.
    pub fn connect(&mut self, url: &str, token_file: &Path) {
        let text =
            format!("uplink:\n  collectors: [\"{url}\"]\n  token: {{file: {}}}\n", token_file.display());
        let settings: Settings = settings::parse(&text, "simulated").expect("good settings");
        let uplink = settings.uplink.as_ref().expect("given");
        let run = self.run.as_mut().expect("the program runs");
        let transport = HttpTransport::new(&settings, uplink, Arc::clone(&run.clock)).expect("a good token");
        let uplink = Arc::new(Uplink::new(
            Arc::clone(&run.spool),
            Arc::clone(&run.clock),
            Arc::clone(&run.metrics),
            Arc::new(transport),
        ));
        for lane in [Lane::Live, Lane::Backlog] {
            let (uplink, draining) = (Arc::clone(&uplink), run.draining.subscribe());
            run.lanes.push(tokio::spawn(async move { uplink.run(lane, draining).await }));
        }
    }

    /// Batches that no collector has acknowledged.
    pub fn pending(&self) -> u64 {
        self.run().spool.stats().pending
    }

    /// Requests that a collector has acknowledged, since the program's start.
    pub fn delivered(&self) -> u64 {
        self.run().metrics.uplink_requests.with_label_values(&["delivered"]).get()
    }

    /// Requests that were answered in any other way, or not at all.
    pub fn failed(&self) -> u64 {
        let results = ["refused", "misconfigured", "unavailable", "cloned", "too_large", "unreachable"];
        let count = |result: &&str| self.run().metrics.uplink_requests.with_label_values(&[*result]).get();
        results.iter().map(count).sum()
    }

    /// Tells of every change in the spool.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.run().spool.changes()
    }

    fn run(&self) -> &Run {
        self.run.as_ref().expect("the program runs")
    }
}
