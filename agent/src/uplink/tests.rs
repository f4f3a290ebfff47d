//! The uplink against collectors that answer as they please: in process for what concerns order and time, over real sockets for
//! what concerns HTTP and TLS.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Mutex;

use journal::SyncPolicy;
use journal::disk::pretend::PretendDisk;
use model::Labels;
use wire::body::{Codec, Unpacker};
use wire::identity::{BatchIdentity, Cause, Epoch, PayloadHash};
use wire::v2::{Encoder, Request};

use super::*;
use crate::batch::Batch;
use crate::clock::by_hand::HandClock;
use crate::spool::Options;

mod sockets;

const TODAY_MS: i64 = 1_800_000_000_000;

/// A request whose samples are named by their value.
fn payload(values: std::ops::Range<u64>, timestamp_ms: i64) -> Vec<u8> {
    let mut encoder = Encoder::new();
    encoder.begin();
    for value in values {
        let labels = Labels::from_pairs([("__name__", "n".to_owned()), ("value", value.to_string())]);
        let token = encoder.register(&labels, None);
        assert!(encoder.sample(token, Timestamp::from_millis(timestamp_ms), value as f64));
    }
    let mut payload = Vec::new();
    encoder.finish(&mut payload);
    payload
}

fn batch(values: std::ops::Range<u64>, clock: &Clock) -> Batch {
    let now = clock.read();
    let samples = values.end - values.start;
    let from = Timestamp::from_millis(now.time.as_millis() - 999);
    let payload = payload(values, now.time.as_millis());
    Batch { payload, samples, from, to: now.time, scale: now.scale, stamped_late: false }
}

/// Every sample of a request: value and time.
fn samples(batch: &Outgoing) -> Vec<(u64, i64)> {
    let mut payload = Vec::new();
    Unpacker::new().unpack(Codec::Zstd, &batch.body, 1 << 20, &mut payload).expect("a good body");
    assert!(batch.identity.matches(&payload), "the hash is that of what is sent");
    let request = Request::parse(&payload).expect("a good request");
    let series = request.series().map(|series| series.expect("a good series"));
    let found = series.flat_map(|series| series.samples().collect::<Vec<_>>());
    found
        .map(|sample| sample.map(|(time, value)| (value as u64, time.as_millis())).expect("a good sample"))
        .collect()
}

/// What a pretended collector answers next; after the last of them, 204.
#[derive(Clone, Debug)]
enum Reply {
    Status(u16),
    /// From somebody on the way who takes no batches.
    Stranger(u16),
    RetryAfter(u16, Duration),
    Unreachable,
    /// Answers only after this long.
    Slow(Duration),
}

/// Collectors within the test. Each knows what it has applied, and refuses a number with another content.
#[derive(Default)]
struct Pretended {
    collectors: usize,
    replies: Mutex<VecDeque<Reply>>,
    /// Answers to every request of a collector, whatever the queue says.
    always: Mutex<BTreeMap<usize, u16>>,
    hashes: Mutex<BTreeMap<(Epoch, u64), PayloadHash>>,
    applied: Mutex<Vec<(u64, i64)>>,
    identities: Mutex<Vec<BatchIdentity>>,
    asked: Mutex<Vec<usize>>,
    time: Mutex<Option<HandClock>>,
}

impl Pretended {
    fn new(collectors: usize) -> Arc<Self> {
        Arc::new(Self { collectors, ..Self::default() })
    }

    fn reply(&self, replies: impl IntoIterator<Item = Reply>) {
        lock(&self.replies).extend(replies);
    }

    fn values(&self) -> Vec<u64> {
        lock(&self.applied).iter().map(|(value, _)| *value).collect()
    }

    async fn answer(&self, collector: usize, batch: Option<&Outgoing>) -> Result<Answer, String> {
        lock(&self.asked).push(collector);
        let always = lock(&self.always).get(&collector).copied();
        let reply = if always.is_none() { lock(&self.replies).pop_front() } else { None };
        let time = lock(&self.time).as_ref().map(crate::clock::TimeSource::wall);
        let is_receiver = !matches!(reply, Some(Reply::Stranger(_)));
        let text = String::from("because");
        let answer =
            |status| Ok(Answer { status, is_receiver, time, text: text.clone(), ..Answer::default() });
        if let Some(status) = always {
            return answer(status);
        }
        match reply {
            Some(Reply::Status(status) | Reply::Stranger(status)) => return answer(status),
            Some(Reply::RetryAfter(status, after)) => {
                return Ok(Answer { status, retry_after: Some(after), ..Answer::default() });
            }
            Some(Reply::Unreachable) => return Err("nobody there".into()),
            Some(Reply::Slow(span)) => tokio::time::sleep(span).await,
            None => {}
        }
        let Some(batch) = batch else { return answer(400) };
        let identity = &batch.identity;
        let known = lock(&self.hashes).insert((identity.epoch, identity.sequence), identity.payload_hash);
        assert!(
            known.is_none_or(|known| known == identity.payload_hash),
            "number {} twice",
            identity.sequence
        );
        lock(&self.identities).push(identity.clone());
        lock(&self.applied).extend(samples(batch));
        answer(204)
    }
}

impl Transport for Pretended {
    fn collectors(&self) -> usize {
        self.collectors
    }

    fn send<'a>(
        &'a self,
        collector: usize,
        batch: Option<&'a Outgoing>,
    ) -> BoxFuture<'a, Result<Answer, String>> {
        Box::pin(self.answer(collector, batch))
    }
}

struct Bench {
    disk: PretendDisk,
    hand: HandClock,
    boot: u128,
    next: u64,
}

struct Life {
    clock: Arc<Clock>,
    spool: Arc<Spool>,
    uplink: Arc<Uplink>,
    metrics: Arc<Metrics>,
    lanes: Vec<tokio::task::JoinHandle<()>>,
    draining: watch::Sender<bool>,
}

impl Bench {
    fn new() -> Self {
        Self { disk: PretendDisk::new(), hand: HandClock::at(TODAY_MS, 10_000), boot: 1, next: 0 }
    }

    /// Opens the spool and, if there is a transport, starts both lanes.
    fn start(&self, transport: Option<Arc<dyn Transport>>) -> Life {
        let clock = Arc::new(self.hand.clock(self.boot));
        let options = Options { bytes_max: 1 << 30, memory_bytes_max: 1 << 20, sync: SyncPolicy::Always };
        let disk = Arc::new(self.disk.clone());
        let (spool, _) =
            Spool::open(disk, Path::new("/spool"), options, Arc::clone(&clock)).expect("the spool opens");
        let (spool, metrics) = (Arc::new(spool), Arc::new(Metrics::new()));
        let (draining, drained) = watch::channel(false);
        let used = transport.clone().unwrap_or_else(|| Pretended::new(1));
        let uplink =
            Arc::new(Uplink::new(Arc::clone(&spool), Arc::clone(&clock), Arc::clone(&metrics), used));
        let lane = |lane| {
            let (uplink, drained) = (Arc::clone(&uplink), drained.clone());
            tokio::spawn(async move { uplink.run(lane, drained).await })
        };
        let lanes = transport.iter().flat_map(|_| [lane(Lane::Live), lane(Lane::Backlog)]).collect();
        Life { clock, spool, uplink, metrics, lanes, draining }
    }

    /// One batch of `count` samples, a second after the last.
    async fn append(&mut self, life: &Life, count: u64) {
        self.hand.pass(1_000);
        let values = self.next..self.next + count;
        self.next += count;
        life.spool.append(&batch(values, &life.clock)).await;
    }
}

impl Life {
    /// Waits until nothing is left to send.
    async fn drained(&self) {
        let mut changes = self.spool.changes();
        let all = async {
            while self.spool.stats().pending > 0 {
                changes.changed().await.expect("the spool lives");
            }
        };
        tokio::time::timeout(Duration::from_secs(3600), all)
            .await
            .expect("it drains within an hour of paused time");
    }

    fn requests(&self, result: &str) -> u64 {
        self.metrics.uplink_requests.with_label_values(&[result]).get()
    }

    fn stop(self) -> Arc<Spool> {
        self.lanes.iter().for_each(tokio::task::JoinHandle::abort);
        self.spool
    }
}

#[test]
fn every_status_has_its_meaning() {
    for (status, expected) in [
        (200, Verdict::Delivered),
        (204, Verdict::Delivered),
        (301, Verdict::Misconfigured),
        (400, Verdict::Refused),
        (401, Verdict::Misconfigured),
        (403, Verdict::Misconfigured),
        (404, Verdict::Misconfigured),
        (407, Verdict::Misconfigured),
        (408, Verdict::Unavailable),
        (409, Verdict::Cloned),
        (413, Verdict::TooLarge),
        (422, Verdict::Refused),
        (429, Verdict::Unavailable),
        (500, Verdict::Unavailable),
        (503, Verdict::Unavailable),
        (101, Verdict::Unavailable),
    ] {
        assert_eq!(judge(status, true), expected, "{status}");
        let said_by_a_stranger = match expected {
            Verdict::TooLarge | Verdict::Unavailable => expected,
            _ => Verdict::Misconfigured,
        };
        assert_eq!(judge(status, false), said_by_a_stranger, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_acknowledged_leaves_and_what_fails_comes_again() {
    let mut bench = Bench::new();
    let collector = Pretended::new(1);
    collector.reply([Reply::Status(503), Reply::Unreachable, Reply::Status(401), Reply::Status(500)]);
    let life = bench.start(Some(collector.clone()));
    bench.append(&life, 1).await;
    life.drained().await;
    assert_eq!(collector.values(), [0]);
    assert_eq!(life.requests("unavailable"), 2);
    assert_eq!(life.requests("unreachable") + life.requests("misconfigured"), 2);
    assert_eq!(life.requests("delivered"), 1);
}

/// A login page answers 200 to everything, a proxy 400 to what it does not like: both were believed, and the batches were gone.
#[tokio::test(start_paused = true)]
async fn who_takes_no_batches_acknowledges_and_refuses_none() {
    let mut bench = Bench::new();
    let collector = Pretended::new(1);
    // 413, too, of so small a batch: it was parted down to single samples, and those were dropped.
    collector.reply([200, 204, 400, 422, 409, 302, 413].map(Reply::Stranger));
    let life = bench.start(Some(collector.clone()));
    let epoch = life.spool.epoch();
    bench.append(&life, 1).await;
    life.drained().await;
    assert_eq!(collector.values(), [0]);
    assert_eq!((life.requests("misconfigured"), life.requests("delivered")), (7, 1));
    assert_eq!(life.spool.epoch(), epoch, "no clone was found");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_drops_the_batch_and_the_next_one_reports_it() {
    let mut bench = Bench::new();
    let collector = Pretended::new(1);
    collector.reply([Reply::Status(400)]);
    let life = bench.start(Some(collector.clone()));
    bench.append(&life, 3).await;
    life.drained().await;
    bench.append(&life, 1).await;
    life.drained().await;
    assert_eq!(collector.values(), [3], "never sent again");
    let losses = lock(&collector.identities)[0].losses.clone();
    let found: Vec<_> = losses.iter().map(|loss| (loss.cause, loss.samples, loss.sequences)).collect();
    assert_eq!(found, [(Cause::Refused, 3, Some((1, 1)))]);
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_honoured() {
    let mut bench = Bench::new();
    let collector = Pretended::new(1);
    collector.reply([Reply::RetryAfter(429, Duration::from_secs(120))]);
    let life = bench.start(Some(collector.clone()));
    let before = Instant::now();
    bench.append(&life, 1).await;
    life.drained().await;
    assert!(before.elapsed() >= Duration::from_secs(120), "{:?}", before.elapsed());
}

#[tokio::test(start_paused = true)]
async fn the_next_collector_is_tried_at_once_and_the_first_again_later() {
    let mut bench = Bench::new();
    let collector = Pretended::new(3);
    lock(&collector.always).extend([(0, 503), (1, 401)]);
    let life = bench.start(Some(collector.clone()));
    let before = Instant::now();
    bench.append(&life, 1).await;
    life.drained().await;
    assert!(before.elapsed() < Duration::from_millis(50), "{:?}", before.elapsed());
    assert_eq!(*lock(&collector.asked), [0, 1, 2]);
    lock(&collector.always).clear();
    bench.append(&life, 1).await;
    life.drained().await;
    assert_eq!(lock(&collector.asked).last(), Some(&2), "it stays with the one that answers");
    tokio::time::sleep(HOME_AFTER).await;
    bench.append(&life, 1).await;
    life.drained().await;
    assert_eq!(lock(&collector.asked).last(), Some(&0));
}

#[tokio::test(start_paused = true)]
async fn a_clone_gets_an_epoch_of_its_own_and_loses_nothing() {
    let mut bench = Bench::new();
    let collector = Pretended::new(1);
    let life = bench.start(None);
    let epoch = life.spool.epoch();
    for _ in 0..6 {
        bench.append(&life, 1).await;
    }
    life.stop().close().expect("a good disk");
    collector.reply([Reply::Status(409)]);
    let life = bench.start(Some(collector.clone()));
    life.drained().await;
    assert_ne!(life.spool.epoch(), epoch);
    let mut values = collector.values();
    values.sort_unstable();
    assert_eq!(values, [0, 1, 2, 3, 4, 5]);
    assert!(lock(&collector.hashes).keys().all(|(epoch, _)| *epoch == life.spool.epoch()));
}

// Not in paused time: the lane itself waits for the journal's thread, and time would run away meanwhile.
#[tokio::test]
async fn a_batch_that_is_too_large_goes_in_halves_down_to_one_sample() {
    let mut bench = Bench::new();
    let collector = Pretended::new(1);
    collector.reply([413, 413, 413, 204].map(Reply::Status));
    let life = bench.start(Some(collector.clone()));
    bench.append(&life, 5).await;
    life.drained().await;
    // The fourth answer is a 204 that applies nothing; whatever it acknowledged is missing here and nothing else.
    let acknowledged = lock(&collector.identities).iter().map(|identity| identity.samples).sum::<u64>();
    assert_eq!(collector.values().len() as u64, acknowledged);
    assert!((3..5).contains(&acknowledged), "{acknowledged}");
    collector.reply([413].map(Reply::Status));
    bench.append(&life, 1).await;
    life.drained().await;
    assert_eq!(life.requests("too_large"), 4);
    let lost = life.spool.stats().lost;
    assert!(lost.contains(&(Cause::Refused, 1)), "one sample cannot be parted: {lost:?}");
}

#[tokio::test(start_paused = true)]
async fn the_collectors_time_sets_a_clock_that_nothing_else_sets() {
    let mut bench = Bench::new();
    bench.hand = HandClock::at(0, 10_000);
    let collector = Pretended::new(1);
    *lock(&collector.time) = Some(HandClock::at(TODAY_MS, 0));
    let life = bench.start(Some(collector.clone()));
    bench.append(&life, 1).await; // 11 s after boot
    life.drained().await;
    bench.append(&life, 1).await; // the wall clock is as wrong as before
    life.drained().await;
    let applied = lock(&collector.applied).clone();
    assert_eq!(applied, [(0, TODAY_MS), (1, TODAY_MS + 1_000)]);
    assert!(lock(&collector.identities).iter().all(|identity| identity.stamped_late));
}

/// The week: an agent cut off for seven days, a batch every 15 s, a power cut and a boot in the past in the middle.
#[tokio::test(start_paused = true)]
async fn a_week_drains_whole_newest_first_and_holds_up_no_live_data() {
    const WEEK: u64 = 7 * 86_400 / 15;
    const REBOOT_AT: u64 = WEEK / 2;
    const HELD: u64 = 200;
    let mut bench = Bench::new();
    let mut life = bench.start(None);
    for number in 0..WEEK {
        bench.hand.pass(14_000);
        bench.append(&life, 1).await;
        if number == REBOOT_AT {
            bench.disk.crash();
            drop(life);
            // The machine comes up in 2001 and learns the time by NTP after fifty minutes.
            bench.hand = HandClock::at(1_000_000_000_000, 3_000);
            bench.boot = 2;
            life = bench.start(None);
        }
        if number == REBOOT_AT + HELD {
            bench.hand.set_wall(TODAY_MS + (number as i64 + 40) * 15_000);
            life.spool.stamp_held().expect("a good disk");
        }
    }
    life.stop().close().expect("a good disk");
    let collector = Pretended::new(1);
    // The way is slow: every backlog batch takes a tenth of a second, and the way breaks now and then.
    collector.reply((0..5_000).map(|number| match number % 500 {
        499 => Reply::Unreachable,
        _ => Reply::Slow(Duration::from_millis(100)),
    }));
    let life = bench.start(Some(collector.clone()));
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut live = Vec::new();
    for _ in 0..20 {
        bench.append(&life, 1).await;
        let name = bench.next - 1;
        tokio::time::sleep(Duration::from_secs(1)).await;
        live.push(collector.values().contains(&name));
    }
    assert!(
        live.iter().filter(|came| **came).count() >= 18,
        "live data waits for nothing but a broken way: {live:?}"
    );
    life.drained().await;
    let values = collector.values();
    let mut seen: Vec<u64> = values.clone();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len() as u64, WEEK + 20, "whole");
    let backlog: Vec<u64> = values.iter().copied().filter(|value| *value < WEEK).collect();
    let ascents = backlog.windows(2).filter(|pair| pair[0] < pair[1]).count();
    assert!(ascents < 30, "newest first, but for what a broken way made wait: {ascents}");
    // Time goes on over the reboot: the held batches lie where the monotonic clock put them.
    let mut by_value = lock(&collector.applied).clone();
    by_value.sort_unstable();
    assert!(by_value.windows(2).all(|pair| pair[0].1 < pair[1].1), "times ascend with the batches");
    let late = lock(&collector.identities).iter().filter(|identity| identity.stamped_late).count() as u64;
    assert!((HELD..=HELD + 1).contains(&late), "{late}");
    life.stop().close().expect("a good disk");
    let left = bench.start(None);
    assert_eq!(left.spool.stats().pending, 0);
    left.spool.maintain(Duration::from_secs(3600)).expect("a good disk");
    assert!(left.spool.stats().bytes < 64 << 10, "the disk is free again: {}", left.spool.stats().bytes);
}

#[tokio::test(start_paused = true)]
async fn new_settings_take_effect_at_once() {
    let mut bench = Bench::new();
    let (silent, answering) = (Pretended::new(1), Pretended::new(1));
    lock(&silent.always).insert(0, 503);
    let life = bench.start(Some(silent.clone()));
    bench.append(&life, 1).await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    life.uplink.replace(answering.clone());
    life.drained().await;
    assert_eq!(answering.values(), [0]);
}

#[tokio::test(start_paused = true)]
async fn a_lane_that_drains_waits_for_nobody_who_does_not_answer() {
    let mut bench = Bench::new();
    let collector = Pretended::new(1);
    lock(&collector.always).insert(0, 503);
    let mut life = bench.start(Some(collector.clone()));
    assert!(life.uplink.is_well(), "nothing is known yet");
    bench.append(&life, 1).await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert!(!life.uplink.is_well());
    let begun = Instant::now();
    life.draining.send_replace(true);
    for lane in life.lanes.drain(..) {
        tokio::time::timeout(Duration::from_secs(60), lane).await.expect("it ends").expect("in order");
    }
    assert!(begun.elapsed() < Duration::from_millis(10), "{:?}", begun.elapsed());
    assert_eq!(life.spool.stats().pending, 1, "it stays for the next start");
}

#[tokio::test(start_paused = true)]
async fn a_lane_that_drains_ends_when_nothing_is_left() {
    let mut bench = Bench::new();
    let collector = Pretended::new(1);
    let mut life = bench.start(Some(collector.clone()));
    bench.append(&life, 1).await;
    life.draining.send_replace(true);
    for lane in life.lanes.drain(..) {
        tokio::time::timeout(Duration::from_secs(60), lane).await.expect("it ends").expect("in order");
    }
    assert_eq!(collector.values(), [0]);
}
