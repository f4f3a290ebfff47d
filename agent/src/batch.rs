//! Finished rounds become batches: requests of remote write 2.0, still without a number.
//!
//! In: the points of a round, with their table. Out: [`Batch`]es. Rounds that end within [`LINGER`] of each other share a batch, and
//! so one fsync and one request. Each series is told to the encoder once; metadata goes out with its first sample and again
//! every [`METADATA_EVERY`].
//!
//! Batches join on to each other: each covers the time from the end of the last one to its own end, so that the collector's
//! ledger sees a gap only where there was one. While the clock is not set, everything is on the boot scale, and times that an
//! exporter gave itself are replaced by the round's, because nothing could move them to the right place later.
//!
//! Limits: [`SAMPLES_MAX`] samples and about [`PAYLOAD_BYTES_MAX`] a batch; [`READY_BYTES_MAX`] of finished batches wait for a
//! slow disk, then the oldest is shed and counted.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::Timestamp;
use tokio::sync::Notify;
use wire::identity::{Cause, Loss, Losses};
use wire::v2::{Encoder, Part};

use crate::clock::{Clock, Reading, Scale};
use crate::series::{Point, SeriesTable};

/// How long a batch waits for more rounds after its first.
///
/// A second: an agent that asks a hundred devices, each at its own phase, writes, syncs and sends once a second and not a hundred
/// times, which is what storage without wear levelling and thin links can bear; rounds are seconds apart, so that nobody waits for it.
pub(crate) const LINGER: Duration = Duration::from_secs(1);

/// The same for the first batch, which somebody who has just started the program may be waiting for.
const FIRST_LINGER: Duration = Duration::from_millis(100);

/// How often metadata is said again, for a collector that lost it.
const METADATA_EVERY: Duration = Duration::from_secs(6 * 3600);

/// Samples of one batch.
pub(crate) const SAMPLES_MAX: usize = 20_000;

/// About the largest payload, by an estimate from above.
const PAYLOAD_BYTES_MAX: usize = 4 << 20;

/// Finished batches that wait to be taken.
const READY_BYTES_MAX: usize = 16 << 20;

/// Samples of a stretch of time, encoded, without a number.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    /// A request of remote write 2.0, not compressed.
    pub(crate) payload: Vec<u8>,
    /// Samples in it.
    pub(crate) samples: u64,
    /// First millisecond that it covers, inclusive.
    pub(crate) from: Timestamp,
    /// Last millisecond that it covers, inclusive.
    pub(crate) to: Timestamp,
    /// What its times count from.
    pub(crate) scale: Scale,
    /// Whether it was stamped after it was taken.
    pub(crate) stamped_late: bool,
}

impl Batch {
    /// The loss of this batch before it got a number.
    pub(crate) fn loss(&self, cause: Cause) -> Loss {
        Loss { cause, from: self.from, to: self.to, samples: self.samples, sequences: None }
    }
}

/// See the module's text. Shared by the tasks of all targets.
pub(crate) struct Batcher {
    clock: Arc<Clock>,
    inner: Mutex<Inner>,
    wake: Notify,
    /// A batch is whole before its time.
    full: Notify,
}

struct Inner {
    encoder: Encoder,
    /// An estimate from above of the payload so far.
    bytes: usize,
    scale: Scale,
    covered: Covered,
    metadata_said_ms: i64,
    /// How often metadata was to be said again.
    metadata_due: u32,
    /// Of the compact table being added: the part of the request that each set of labels is.
    parts: Vec<Option<Part>>,
    ready: VecDeque<Batch>,
    ready_bytes: usize,
    /// A report, not a list: a disk that hangs takes nothing for as long as it hangs.
    lost: Losses,
    /// The same on the boot scale: told once anybody knows the time.
    lost_unstamped: Losses,
    batches: u64,
}

/// The end of the last batch, on both scales.
#[derive(Clone, Copy)]
struct Covered {
    to: Timestamp,
    scale: Scale,
    boot_ms: i64,
}

impl Batcher {
    /// A batcher whose first batch covers the time from now on.
    pub(crate) fn new(clock: Arc<Clock>) -> Self {
        let now = clock.read();
        let before = Timestamp::from_millis(now.time.as_millis() - 1);
        let inner = Inner {
            encoder: Encoder::new(),
            bytes: 0,
            scale: now.scale,
            covered: Covered { to: before, scale: now.scale, boot_ms: now.boot_ms - 1 },
            metadata_said_ms: now.boot_ms,
            metadata_due: 0,
            parts: Vec::new(),
            ready: VecDeque::new(),
            ready_bytes: 0,
            lost: Losses::none(),
            lost_unstamped: Losses::none(),
            batches: 0,
        };
        Self { clock, inner: Mutex::new(inner), wake: Notify::new(), full: Notify::new() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the points of a finished round. `reading` is the one that the round was stamped with.
    pub(crate) fn add(&self, table: &mut SeriesTable, points: &[Point], reading: Reading) {
        let mut inner = self.inner();
        for token in table.take_forgotten() {
            inner.encoder.forget(token);
        }
        if inner.scale != reading.scale {
            inner.seal(self.clock.read());
            inner.scale = reading.scale;
        }
        inner.say_metadata(reading);
        inner.parts.clear();
        for point in points {
            inner.add(table, point, reading);
            if inner.encoder.sample_count() >= SAMPLES_MAX || inner.bytes >= PAYLOAD_BYTES_MAX {
                inner.seal(self.clock.read());
            }
        }
        let (full, something) = (!inner.ready.is_empty(), inner.encoder.sample_count() > 0);
        drop(inner);
        if full {
            self.full.notify_one();
        }
        if full || something {
            self.wake.notify_one();
        }
    }

    /// The series of a target that is gone need no memory any more.
    pub(crate) fn forget(&self, table: &mut SeriesTable) {
        let mut inner = self.inner();
        for token in table.take_all_tokens() {
            inner.encoder.forget(token);
        }
    }

    /// Waits for the next batch: the first round, and what comes within [`LINGER`] after it, unless the batch is full before.
    pub(crate) async fn next(&self) -> Batch {
        loop {
            let (ready, begun) = {
                let mut inner = self.inner();
                (inner.take_ready(), inner.encoder.sample_count() > 0)
            };
            if let Some(batch) = ready {
                return batch;
            }
            if !begun {
                self.wake.notified().await;
                continue;
            }
            let linger = if self.batches() == 0 { FIRST_LINGER } else { LINGER };
            tokio::select! {
                () = tokio::time::sleep(linger) => self.inner().seal(self.clock.read()),
                () = self.full.notified() => {}
            }
        }
    }

    /// Everything there is, at once: for the end of the program. The last batch covers up to now, with samples or without.
    pub(crate) fn finish(&self) -> Vec<Batch> {
        let mut inner = self.inner();
        inner.seal_always(self.clock.read());
        inner.ready_bytes = 0;
        inner.ready.drain(..).collect()
    }

    /// What was shed because nobody took it, since the last call, on the wall scale.
    pub(crate) fn take_losses(&self) -> Losses {
        let mut inner = self.inner();
        let mut losses = inner.lost.take();
        if !inner.lost_unstamped.is_empty()
            && let Some(offset_ms) = self.clock.boot_offset_ms()
        {
            let stamp = |time: Timestamp| Timestamp::from_millis(time.as_millis().saturating_add(offset_ms));
            for loss in &inner.lost_unstamped.take() {
                losses.add(Loss { from: stamp(loss.from), to: stamp(loss.to), ..*loss });
            }
        }
        losses
    }

    /// Batches made since the start.
    pub(crate) fn batches(&self) -> u64 {
        self.inner().batches
    }
}

impl Inner {
    fn add(&mut self, table: &mut SeriesTable, point: &Point, reading: Reading) {
        let timestamp = if reading.scale == Scale::Boot { reading.time } else { point.timestamp };
        if table.is_compact() {
            return self.pass(table, point, timestamp);
        }
        let known =
            table.token(point.series).is_some_and(|token| self.encoder.sample(token, timestamp, point.value));
        if !known {
            let entry = table.entry(point.series);
            let token = self.encoder.register(&entry.labels, entry.metadata.as_deref());
            table.set_token(point.series, token);
            let taken = self.encoder.sample(token, timestamp, point.value);
            debug_assert!(taken, "a series that was registered just now is known");
        }
        self.bytes += 32 + table.label_bytes(point.series);
    }

    /// A sample of a series of which the encoder keeps nothing.
    fn pass(&mut self, table: &mut SeriesTable, point: &Point, timestamp: Timestamp) {
        let says = table.says_metadata(point.series, self.metadata_due);
        let (named, set) = table.parts(point.series);
        if self.parts.is_empty() {
            self.parts.resize(table.sets(), None);
        }
        let part = self.parts[set as usize].get_or_insert_with(|| {
            self.bytes += table.label_bytes(point.series);
            self.encoder.part(table.labels_of(set))
        });
        let metadata = named.metadata.as_deref().filter(|_| says);
        self.bytes += 64 + named.name.len() + metadata.map_or(0, |metadata| metadata.help.len());
        self.encoder.pass(*part, &named.name, metadata, timestamp, point.value);
    }

    fn seal(&mut self, now: Reading) {
        if self.encoder.sample_count() > 0 {
            self.seal_always(now);
        }
    }

    fn seal_always(&mut self, now: Reading) {
        let samples = self.encoder.sample_count() as u64;
        let mut payload = Vec::new();
        self.encoder.finish(&mut payload);
        self.bytes = 0;
        let (from, to) = self.cover(now);
        let batch = Batch { payload, samples, from, to, scale: self.scale, stamped_late: false };
        self.batches += 1;
        self.ready_bytes += batch.payload.len();
        self.ready.push_back(batch);
        self.shed_over(READY_BYTES_MAX);
        if self.encoder.is_mostly_unused() {
            self.encoder.reset();
        }
        self.encoder.begin();
        self.parts.clear();
    }

    fn say_metadata(&mut self, now: Reading) {
        if now.boot_ms.saturating_sub(self.metadata_said_ms) >= METADATA_EVERY.as_millis() as i64 {
            self.metadata_said_ms = now.boot_ms;
            self.encoder.resend_metadata();
            self.metadata_due = self.metadata_due.wrapping_add(1);
        }
    }

    /// The span of the batch that ends now, on its own scale: from the end of the last one.
    fn cover(&mut self, now: Reading) -> (Timestamp, Timestamp) {
        let to = match (self.scale, now.scale) {
            (Scale::Wall, Scale::Wall) | (Scale::Boot, Scale::Boot) => now.time,
            (Scale::Boot, Scale::Wall) => Timestamp::from_millis(now.boot_ms),
            // The clock was lost between the samples and now: what is left is the time since the last batch.
            (Scale::Wall, Scale::Boot) => {
                let passed_ms = now.boot_ms.saturating_sub(self.covered.boot_ms);
                Timestamp::from_millis(self.covered.to.as_millis().saturating_add(passed_ms))
            }
        };
        let from = if self.covered.scale == self.scale {
            self.covered.to.as_millis() + 1
        } else {
            to.as_millis() - now.boot_ms.saturating_sub(self.covered.boot_ms) + 1
        };
        // A wall clock that was stepped back would end a batch before it begins.
        let from = Timestamp::from_millis(from.min(to.as_millis()));
        self.covered = Covered { to, scale: self.scale, boot_ms: now.boot_ms };
        (from, to)
    }

    fn take_ready(&mut self) -> Option<Batch> {
        let batch = self.ready.pop_front()?;
        self.ready_bytes -= batch.payload.len();
        Some(batch)
    }

    fn shed_over(&mut self, bytes_max: usize) {
        while self.ready_bytes > bytes_max && self.ready.len() > 1 {
            let Some(batch) = self.take_ready() else { return };
            tracing::warn!("shed a batch of {} samples: the disk is too slow", batch.samples);
            let lost = if batch.scale == Scale::Wall { &mut self.lost } else { &mut self.lost_unstamped };
            lost.add(batch.loss(Cause::Shed));
        }
    }
}

#[cfg(test)]
mod tests {
    use model::{Labels, MetricKind};
    use wire::v2::Request;

    use super::*;
    use crate::clock::by_hand::HandClock;
    use crate::series::{Family, Round};

    const TODAY_MS: i64 = 1_800_000_000_000;

    static LOAD: Family =
        Family { name: "node_load1", help: "1m load average.", kind: MetricKind::Gauge, labels: &[] };

    struct Bench {
        hand: HandClock,
        clock: Arc<Clock>,
        batcher: Batcher,
        table: SeriesTable,
    }

    impl Bench {
        fn new(wall_ms: i64) -> Self {
            Self::with(SeriesTable::new(Labels::from_pairs([("job", "node")]), 10), wall_ms)
        }

        fn with(table: SeriesTable, wall_ms: i64) -> Self {
            let hand = HandClock::at(wall_ms, 1_000);
            let clock = Arc::new(hand.clock(1));
            let batcher = Batcher::new(Arc::clone(&clock));
            Self { hand, clock, batcher, table }
        }

        fn round(&mut self, value: f64) {
            let reading = self.clock.read();
            let mut round = Round::begin(&mut self.table, reading.time, Vec::new());
            round.metric(&LOAD, &[], value);
            let (points, _) = round.finish();
            self.batcher.add(&mut self.table, &points, reading);
        }

        fn sealed(&self) -> Vec<Batch> {
            let mut inner = self.batcher.inner();
            inner.seal(self.clock.read());
            std::iter::from_fn(|| inner.take_ready()).collect()
        }
    }

    fn samples(batch: &Batch) -> Vec<(String, i64, f64)> {
        let request = Request::parse(&batch.payload).expect("a good request");
        let mut found = Vec::new();
        for series in request.series() {
            let series = series.expect("a good series");
            let labels = Labels::from_pairs(series.labels(&request).map(|pair| pair.expect("a good label")));
            for sample in series.samples() {
                let (timestamp, value) = sample.expect("a good sample");
                found.push((labels.to_string(), timestamp.as_millis(), value));
            }
        }
        found
    }

    #[test]
    fn rounds_that_end_together_share_a_batch_and_batches_join() {
        let mut bench = Bench::new(TODAY_MS);
        bench.round(1.0);
        bench.hand.pass(100);
        bench.round(2.0);
        bench.hand.pass(150);
        let batches = bench.sealed();
        assert_eq!(batches.len(), 1);
        let labels = r#"node_load1{job="node"}"#.to_owned();
        assert_eq!(samples(&batches[0]), [(labels.clone(), TODAY_MS, 1.0), (labels, TODAY_MS + 100, 2.0)]);
        assert_eq!((batches[0].from.as_millis(), batches[0].to.as_millis()), (TODAY_MS, TODAY_MS + 250));
        bench.hand.pass(15_000);
        bench.round(3.0);
        assert_eq!(bench.sealed()[0].from.as_millis(), TODAY_MS + 251);
        assert!(bench.sealed().is_empty(), "nothing new, no batch");
    }

    #[test]
    fn a_clock_that_is_set_between_two_rounds_parts_the_batches() {
        let mut bench = Bench::new(0);
        bench.round(1.0);
        bench.hand.pass(1_000);
        bench.hand.set_wall(TODAY_MS);
        bench.round(2.0);
        let batches = bench.sealed();
        assert_eq!(batches.iter().map(|batch| batch.scale).collect::<Vec<_>>(), [Scale::Boot, Scale::Wall]);
        assert_eq!((batches[0].from.as_millis(), batches[0].to.as_millis()), (1_000, 2_000));
        assert_eq!(samples(&batches[0])[0].1, 1_000);
        assert_eq!((batches[1].from.as_millis(), batches[1].to.as_millis()), (TODAY_MS, TODAY_MS));
    }

    #[test]
    fn a_clock_that_steps_back_leaves_no_span_that_ends_before_it_begins() {
        let mut bench = Bench::new(TODAY_MS);
        bench.round(1.0);
        bench.sealed();
        bench.hand.set_wall(TODAY_MS - 10_000);
        bench.round(2.0);
        let batches = bench.sealed();
        assert_eq!(batches[0].from, batches[0].to);
    }

    /// Adds one sample more than a batch holds.
    fn large_round(bench: &Bench) {
        let mut table = SeriesTable::new(Labels::empty(), 2 * SAMPLES_MAX);
        let reading = bench.clock.read();
        let mut round = Round::begin(&mut table, reading.time, Vec::new());
        for number in 0..SAMPLES_MAX + 1 {
            round.put(&number.to_le_bytes(), 1.0, None, |_| {
                let labels = Labels::from_pairs([("n", number.to_string())]);
                Some(crate::series::Described { labels, metadata: None })
            });
        }
        let (points, _) = round.finish();
        bench.batcher.add(&mut table, &points, reading);
    }

    #[test]
    fn a_large_round_is_parted_at_the_limit() {
        let bench = Bench::new(TODAY_MS);
        large_round(&bench);
        let sizes: Vec<u64> = bench.sealed().iter().map(|batch| batch.samples).collect();
        assert_eq!(sizes, [SAMPLES_MAX as u64, 1]);
    }

    #[test]
    fn metadata_goes_with_the_first_batch_and_again_after_hours() {
        let base = || Labels::from_pairs([("job", "node")]);
        check_metadata(Bench::new(TODAY_MS));
        check_metadata(Bench::with(SeriesTable::compact(base(), 10), TODAY_MS));
    }

    /// Series of a table of which the encoder keeps nothing are told like others.
    #[test]
    fn a_compact_table_s_series_have_all_their_labels() {
        let base = Labels::from_pairs([("job", "snmp"), ("instance", "sw1"), ("Zone", "a")]);
        let bench = Bench::with(SeriesTable::compact(base, 10), TODAY_MS);
        let mut table = bench.table;
        for value in [1.0, 2.0] {
            let reading = bench.clock.read();
            let mut round = Round::begin(&mut table, reading.time, Vec::new());
            round.metric(&LOAD, &[], value);
            let labels = [("__name__", "ifSpeed"), ("ifIndex", "7"), ("instance", "other"), ("Area", "b")];
            let labels = Labels::from_pairs(labels);
            let id =
                round.series(&crate::series::Described { labels, metadata: None }).expect("there is room");
            round.put_again(id, value);
            let (points, _) = round.finish();
            bench.batcher.add(&mut table, &points, reading);
        }
        let mut inner = bench.batcher.inner();
        inner.seal(bench.clock.read());
        let batch = inner.take_ready().expect("it was sealed just now");
        let load = r#"node_load1{Zone="a", instance="sw1", job="snmp"}"#.to_owned();
        let speed = r#"ifSpeed{Area="b", ifIndex="7", instance="other"}"#.to_owned();
        let both = |value| [(load.clone(), TODAY_MS, value), (speed.clone(), TODAY_MS, value)];
        assert_eq!(samples(&batch), [both(1.0), both(2.0)].concat());
    }

    fn check_metadata(mut bench: Bench) {
        let mut helps = Vec::new();
        for pass in [15_000, 6 * 3_600_000, 15_000] {
            bench.round(1.0);
            let payload = bench.sealed().remove(0).payload;
            let request = Request::parse(&payload).expect("a good request");
            helps.push(request.symbols().contains(&LOAD.help));
            bench.hand.pass(pass);
        }
        bench.round(1.0);
        helps.push(Request::parse(&bench.sealed()[0].payload).expect("good").symbols().contains(&LOAD.help));
        assert_eq!(helps, [true, false, true, false]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_batch_waits_for_its_first_round_and_a_little_longer() {
        let mut bench = Bench::new(TODAY_MS);
        bench.round(1.0);
        let before = tokio::time::Instant::now();
        assert_eq!(bench.batcher.next().await.samples, 1);
        assert_eq!(before.elapsed(), FIRST_LINGER, "somebody waits for the first");
        bench.round(2.0);
        let before = tokio::time::Instant::now();
        bench.batcher.next().await;
        assert_eq!(before.elapsed(), LINGER);
    }

    /// Each was a line of a list that nobody took while the disk hung.
    #[test]
    fn what_is_shed_while_the_disk_hangs_is_one_report() {
        let mut bench = Bench::new(TODAY_MS);
        bench.batcher.inner().shed_over(0);
        for number in 0..1_000 {
            bench.round(f64::from(number));
            bench.hand.pass(1_000);
            let mut inner = bench.batcher.inner();
            inner.seal(bench.clock.read());
            inner.shed_over(0);
        }
        let losses = bench.batcher.take_losses();
        assert!(losses.len() <= wire::identity::LOSSES_MAX, "{}", losses.len());
        assert_eq!(losses.iter().map(|loss| loss.samples).sum::<u64>(), 999, "the newest stays");
        assert!(bench.batcher.take_losses().is_empty());
    }

    /// Milliseconds since boot were told as if they were of 1970.
    #[test]
    fn what_is_shed_while_the_clock_is_unset_is_told_when_it_is_set() {
        let mut bench = Bench::new(0);
        for _ in 0..2 {
            bench.round(1.0);
            bench.hand.pass(1_000);
            bench.batcher.inner().seal(bench.clock.read());
        }
        bench.batcher.inner().shed_over(0);
        assert!(bench.batcher.take_losses().is_empty());
        bench.hand.set_wall(TODAY_MS);
        let losses = bench.batcher.take_losses();
        let spans: Vec<_> = losses.iter().map(|loss| (loss.from.as_millis(), loss.to.as_millis())).collect();
        assert_eq!(spans, [(TODAY_MS - 2_000, TODAY_MS - 1_000)]);
        assert!(bench.batcher.take_losses().is_empty(), "once");
    }

    /// It waited out the time that it had been begun with, and what waits for a slow disk is bounded.
    #[tokio::test(start_paused = true)]
    async fn a_full_batch_does_not_linger_and_what_is_left_does() {
        let mut bench = Bench::new(TODAY_MS);
        bench.round(1.0);
        assert_eq!(bench.batcher.next().await.samples, 1);
        let begun = tokio::time::Instant::now();
        bench.round(2.0);
        let full = async {
            tokio::time::sleep(LINGER / 4).await;
            large_round(&bench);
        };
        let (batch, ()) = tokio::join!(bench.batcher.next(), full);
        assert_eq!((batch.samples, begun.elapsed()), (SAMPLES_MAX as u64, LINGER / 4));
        assert_eq!((bench.batcher.next().await.samples, begun.elapsed()), (2, LINGER / 4 + LINGER));
    }
}
