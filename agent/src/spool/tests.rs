//! The spool's laws, on a disk that fails, fills and loses power at every operation.

use std::collections::BTreeMap;

use journal::disk::pretend::{Fault, PretendDisk};
use model::Labels;
use proptest::prelude::*;
use wire::identity::Epoch;
use wire::v2::{Encoder, Request};

use super::*;
use crate::clock::by_hand::HandClock;

const TODAY_MS: i64 = 1_800_000_000_000;
const FOLDER: &str = "/spool";

/// A request of one sample whose value names the batch.
fn payload(value: u64, timestamp_ms: i64) -> Vec<u8> {
    let mut encoder = Encoder::new();
    let token = encoder.register(&Labels::from_pairs([("__name__", "n")]), None);
    encoder.begin();
    assert!(encoder.sample(token, Timestamp::from_millis(timestamp_ms), value as f64));
    let mut payload = Vec::new();
    encoder.finish(&mut payload);
    payload
}

fn unpack(batch: &Outgoing) -> Vec<u8> {
    let mut payload = Vec::new();
    Unpacker::new().unpack(Codec::Zstd, &batch.body, 1 << 20, &mut payload).expect("a good body");
    assert!(batch.identity.matches(&payload), "the hash is that of what is sent");
    payload
}

/// The batch's name and its sample's time.
fn content(batch: &Outgoing) -> (u64, i64) {
    let payload = unpack(batch);
    let request = Request::parse(&payload).expect("a good request");
    let series = request.series().next().expect("one series").expect("a good one");
    let (timestamp, value) = series.samples().next().expect("one sample").expect("a good one");
    (value as u64, timestamp.as_millis())
}

/// Takes batches as a collector does, and checks that no number comes with two contents.
#[derive(Default)]
struct Ledger {
    hashes: BTreeMap<(Epoch, u64), PayloadHash>,
    /// Batch names and how often they came.
    came: BTreeMap<u64, usize>,
    losses: Vec<Loss>,
}

impl Ledger {
    fn take(&mut self, batch: &Outgoing) {
        let identity = &batch.identity;
        let known = self.hashes.insert((identity.epoch, identity.sequence), identity.payload_hash);
        assert!(
            known.is_none_or(|known| known == identity.payload_hash),
            "number {} twice",
            identity.sequence
        );
        *self.came.entry(content(batch).0).or_default() += 1;
        self.losses.extend(identity.losses.iter());
    }
}

struct Bench {
    disk: PretendDisk,
    hand: HandClock,
    options: Options,
    next: u64,
}

impl Bench {
    fn new(sync: SyncPolicy) -> Self {
        let options = Options { bytes_max: 64 << 20, memory_bytes_max: 1 << 20, sync };
        Self { disk: PretendDisk::new(), hand: HandClock::at(TODAY_MS, 10_000), options, next: 1 }
    }

    fn try_open(&self, boot: u128) -> Result<Arc<Spool>, SpoolError> {
        let clock = Arc::new(self.hand.clock(boot));
        let disk = Arc::new(self.disk.clone());
        Spool::open(disk, Path::new(FOLDER), self.options, clock).map(|(spool, _)| Arc::new(spool))
    }

    fn open(&self, boot: u128) -> Arc<Spool> {
        self.try_open(boot).expect("the spool opens")
    }

    /// A batch of the last second, named by the next number.
    fn batch(&mut self, clock: &Clock) -> Batch {
        self.hand.pass(1_000);
        let now = clock.read();
        let to = now.time.as_millis();
        self.next += 1;
        Batch {
            payload: payload(self.next - 1, to),
            samples: 1,
            from: Timestamp::from_millis(to - 999),
            to: now.time,
            scale: now.scale,
            stamped_late: false,
        }
    }

    async fn append(&mut self, spool: &Arc<Spool>) -> (u64, KeptWhere) {
        let batch = self.batch(&spool.clock);
        (self.next - 1, spool.append(&batch).await)
    }
}

/// The next batch of either lane; the live lane first.
fn next(spool: &Spool) -> Option<(Claim, Outgoing)> {
    loop {
        let claim = spool.claim(Lane::Live).or_else(|| spool.claim(Lane::Backlog))?;
        match spool.read(claim) {
            Ok(batch) => return Some((claim, batch)),
            Err(why) => spool.settle_unreadable(claim, &why),
        }
    }
}

fn deliver(spool: &Spool, ledger: &mut Ledger, at_most: usize) -> Vec<u64> {
    let mut names = Vec::new();
    while names.len() < at_most
        && let Some((_, batch)) = next(spool)
    {
        ledger.take(&batch);
        names.push(content(&batch).0);
        spool.settle(&batch.identity, Outcome::Delivered);
    }
    names
}

#[tokio::test]
async fn batches_come_newest_first_and_live_ones_do_not_wait() {
    let mut bench = Bench::new(SyncPolicy::Always);
    let spool = bench.open(1);
    for _ in 0..8 {
        assert_eq!(bench.append(&spool).await.1, KeptWhere::Disk);
    }
    let claim = |lane| content(&spool.read(spool.claim(lane).expect("something waits")).expect("readable")).0;
    assert_eq!(
        (claim(Lane::Backlog), claim(Lane::Backlog)),
        (4, 3),
        "the backlog lane leaves the latest alone"
    );
    assert_eq!((claim(Lane::Live), claim(Lane::Live)), (8, 7));
    bench.append(&spool).await;
    assert_eq!(claim(Lane::Live), 9, "what is new goes first");
    assert_eq!(spool.stats().pending, 9, "claims are not settled yet");
}

#[tokio::test]
async fn a_claim_that_fails_comes_again_and_one_that_is_done_does_not() {
    let mut bench = Bench::new(SyncPolicy::Always);
    let spool = bench.open(1);
    bench.append(&spool).await;
    let (_, batch) = next(&spool).expect("one batch");
    assert!(next(&spool).is_none(), "it is in flight");
    spool.settle(&batch.identity, Outcome::Later);
    let (_, again) = next(&spool).expect("it came back");
    assert_eq!((again.identity.clone(), again.body.clone()), (batch.identity, batch.body));
    spool.settle(&again.identity, Outcome::Delivered);
    assert!(next(&spool).is_none());
    assert_eq!(spool.stats().pending, 0);
}

#[tokio::test]
async fn an_orderly_restart_keeps_epoch_numbers_and_what_is_done() {
    let mut bench = Bench::new(SyncPolicy::Always);
    let mut ledger = Ledger::default();
    let spool = bench.open(1);
    for _ in 0..6 {
        bench.append(&spool).await;
    }
    assert_eq!(deliver(&spool, &mut ledger, 3), [6, 5, 4]);
    let (epoch, until) = (spool.epoch(), spool.until().expect("batches covered something"));
    spool.close().expect("a good disk");
    drop(spool);
    bench.hand.pass(60_000);
    let spool = bench.open(1);
    assert_eq!((spool.epoch(), spool.stats().pending), (epoch, 3));
    bench.append(&spool).await;
    assert_eq!(deliver(&spool, &mut ledger, 9), [7, 3, 2, 1]);
    assert_eq!(ledger.hashes.keys().map(|(_, number)| *number).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7]);
    let stopped = Loss {
        cause: Cause::Stopped,
        from: shifted(until, 1),
        to: Timestamp::from_millis(until.as_millis() + 60_000), // the next batch covers from one millisecond later on
        samples: 0,
        sequences: None,
    };
    assert_eq!(ledger.losses, [stopped]);
}

#[tokio::test]
async fn an_end_without_order_jumps_in_numbers_and_says_so() {
    let mut bench = Bench::new(SyncPolicy::Always);
    let mut ledger = Ledger::default();
    let spool = bench.open(1);
    bench.append(&spool).await;
    bench.disk.kill();
    drop(spool);
    let spool = bench.open(1);
    bench.append(&spool).await;
    assert_eq!(deliver(&spool, &mut ledger, 9), [2, 1]);
    let crashed = ledger.losses[0];
    assert_eq!((crashed.cause, crashed.sequences), (Cause::Crashed, Some((2, 1 + JUMP))));
    spool.close().expect("a good disk");
    drop(spool);
    let spool = bench.open(1);
    assert!(spool.state().kept.done.covers(1, 2 + JUMP), "one range again");
}

/// The real programs found it: killed within a tenth of a second of its start, an agent had stored its jump and reported nothing, and
/// the collector waited for 2^24 batches for ever.
#[tokio::test]
async fn a_run_that_ends_before_its_first_batch_leaves_no_number_unaccounted_for() {
    let mut bench = Bench::new(SyncPolicy::Always);
    let mut ledger = Ledger::default();
    let spool = bench.open(1);
    bench.append(&spool).await;
    assert_eq!(deliver(&spool, &mut ledger, 9), [1]);
    for _ in 0..3 {
        bench.disk.kill();
        drop(bench.open(1));
    }
    bench.disk.kill();
    let spool = bench.open(1);
    bench.append(&spool).await;
    let sent = deliver(&spool, &mut ledger, 9);
    let newest = *sent.first().expect("the batch of the last run");
    let mut accounted: Vec<(u64, u64)> = ledger.losses.iter().filter_map(|loss| loss.sequences).collect();
    accounted.extend([(1, 1), (newest, newest)]);
    accounted.sort_unstable();
    let unbroken = accounted.windows(2).all(|pair| pair[1].0 <= pair[0].1 + 1);
    assert!(unbroken, "numbers of which nobody knows: {accounted:?}");
}

/// The real programs found it: hundreds of short lives, none long enough to drain, each found the jumps of all lives before it
/// once more; a report holds 32 losses, so most of their numbers fell out of it.
#[tokio::test]
async fn many_short_lives_leave_no_number_unaccounted_for() {
    let mut bench = Bench::new(SyncPolicy::Always);
    let mut ledger = Ledger::default();
    for life in 0..150 {
        let spool = bench.open(1);
        for _ in 0..life % 3 {
            bench.append(&spool).await;
        }
        bench.disk.kill();
    }
    let spool = bench.open(1);
    bench.append(&spool).await;
    deliver(&spool, &mut ledger, 1000);
    let mut accounted: Vec<(u64, u64)> = ledger.losses.iter().filter_map(|loss| loss.sequences).collect();
    accounted.extend(ledger.hashes.keys().map(|(_, sequence)| (*sequence, *sequence)));
    accounted.sort_unstable();
    let holes: Vec<_> = accounted.windows(2).filter(|pair| pair[1].0 > pair[0].1 + 1).collect();
    assert!(holes.is_empty(), "numbers of which nobody knows: {} holes, {:?}", holes.len(), holes.first());
}

/// The same where everything was delivered and its segments are gone: neither a batch nor a number that is done tells of the jump.
#[tokio::test]
async fn short_lives_after_a_drained_spool_leave_no_number_unaccounted_for() {
    let mut bench = Bench::new(SyncPolicy::Always);
    let mut ledger = Ledger::default();
    let spool = bench.open(1);
    bench.append(&spool).await;
    deliver(&spool, &mut ledger, 9);
    spool.maintain(STORE_EVERY).expect("a good disk");
    for _ in 0..4 {
        bench.disk.kill();
        let spool = bench.open(1);
        spool.maintain(STORE_EVERY).expect("a good disk");
        spool.maintain(2 * STORE_EVERY).expect("a good disk");
    }
    bench.disk.kill();
    let spool = bench.open(1);
    bench.append(&spool).await;
    deliver(&spool, &mut ledger, 9);
    let mut accounted: Vec<(u64, u64)> = ledger.losses.iter().filter_map(|loss| loss.sequences).collect();
    accounted.extend(ledger.hashes.keys().map(|(_, sequence)| (*sequence, *sequence)));
    accounted.sort_unstable();
    let holes: Vec<_> = accounted.windows(2).filter(|pair| pair[1].0 > pair[0].1 + 1).collect();
    assert!(holes.is_empty(), "numbers of which nobody knows: {accounted:?}");
}

#[tokio::test]
async fn segments_go_when_all_their_batches_are_done() {
    let mut bench = Bench::new(SyncPolicy::Always);
    let mut ledger = Ledger::default();
    for round in 0..3 {
        let spool = bench.open(1);
        for _ in 0..3 {
            bench.append(&spool).await;
        }
        if round == 2 {
            assert_eq!(spool.journal.segments().len(), 3);
            deliver(&spool, &mut ledger, 6);
            assert!(spool.needs_maintenance(Duration::ZERO));
            spool.maintain(Duration::ZERO).expect("a good disk");
            assert_eq!(spool.journal.segments().len(), 2, "the middle one is done, the oldest is not");
            deliver(&spool, &mut ledger, 9);
            spool.maintain(Duration::ZERO).expect("a good disk");
            assert_eq!(spool.journal.segments().len(), 1);
            assert!(!spool.needs_maintenance(Duration::ZERO) || spool.state().dirty);
        }
        spool.close().expect("a good disk");
    }
    assert_eq!(ledger.came.values().sum::<usize>(), 9);
}

#[tokio::test]
async fn over_its_bound_the_oldest_are_shed_and_the_next_batch_says_which() {
    let mut bench = Bench::new(SyncPolicy::Always);
    bench.options.bytes_max = 4 << 20; // segments of 64 KiB
    let spool = bench.open(1);
    for number in 0..200 {
        let mut batch = bench.batch(&spool.clock);
        let noise = Labels::from_pairs([("noise", noise(number, 60_000))]);
        let mut encoder = Encoder::new();
        let token = encoder.register(&noise, None);
        encoder.begin();
        encoder.sample(token, batch.to, number as f64);
        batch.payload.clear();
        encoder.finish(&mut batch.payload);
        assert_eq!(spool.append(&batch).await, KeptWhere::Disk);
    }
    let all = spool.stats();
    assert!(all.bytes > 5 << 20, "{}", all.bytes);
    spool.maintain(Duration::ZERO).expect("a good disk");
    let bounded = spool.stats();
    assert!(bounded.bytes <= 4 << 20, "{}", bounded.bytes);
    let shed = all.pending - bounded.pending;
    assert!(shed > 0 && bounded.lost.contains(&(Cause::Shed, shed)), "{bounded:?}");
    bench.append(&spool).await;
    let (_, batch) = next(&spool).expect("the newest");
    let report: Vec<_> = batch.identity.losses.iter().collect();
    assert_eq!(report.len(), 1);
    assert_eq!(
        (report[0].cause, report[0].samples, report[0].sequences),
        (Cause::Shed, shed, Some((1, shed)))
    );
    spool.settle(&batch.identity, Outcome::Refused);
    bench.append(&spool).await;
    let (_, batch) = next(&spool).expect("the newest");
    let causes: Vec<_> = batch.identity.losses.iter().map(|loss| loss.cause).collect();
    assert_eq!(causes, [Cause::Shed, Cause::Refused], "a report that was refused itself is made again");
}

/// A start reads the newest segment and those that the file beside the cursor does not list yet; the rest is read when it is sent.
#[tokio::test]
async fn a_start_reads_little_of_a_large_spool_and_all_of_it_comes() {
    let mut bench = Bench::new(SyncPolicy::Always);
    bench.options.bytes_max = 4 << 20; // segments of 64 KiB
    let spool = bench.open(1);
    for number in 0..60 {
        let mut batch = bench.batch(&spool.clock);
        // A request is read from its end too: the name stays readable behind the noise.
        batch.payload.splice(0..0, unknown_field(&noise(number, 30_000)));
        assert_eq!(spool.append(&batch).await, KeptWhere::Disk);
    }
    let mut ledger = Ledger::default();
    assert_eq!(deliver(&spool, &mut ledger, 7).len(), 7);
    spool.maintain(Duration::ZERO).expect("a good disk");
    bench.disk.kill();
    drop(spool);

    let bytes_read = |from: usize| -> u64 {
        let trace = bench.disk.trace();
        let reads =
            trace[from..].iter().filter(|line| line.starts_with("read_at") && line.contains(".journal "));
        reads.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    };
    let before = bench.disk.trace().len();
    let spool = bench.open(1);
    let segments = spool.journal.segments().len();
    assert!(segments >= 12, "{segments}");
    assert!(bytes_read(before) < 6 << 16, "{} bytes were read of {segments} segments", bytes_read(before));
    assert_eq!(spool.stats().pending, 53);
    let names = deliver(&spool, &mut ledger, 100);
    assert!(names.is_sorted_by(|a, b| a > b) && names.len() == 53, "newest first: {names:?}");
    assert_eq!(spool.stats().pending, 0);
    spool.maintain(Duration::ZERO).expect("a good disk");
    assert_eq!(spool.journal.segments().len(), 1, "what was passed over goes like the rest");
}

/// A field that readers of remote write 2.0 pass over: number 999, bytes.
fn unknown_field(text: &str) -> Vec<u8> {
    let mut field = vec![0xba, 0x3e];
    let mut length = text.len();
    while length >= 0x80 {
        field.push(length as u8 | 0x80);
        length >>= 7;
    }
    field.push(length as u8);
    field.extend_from_slice(text.as_bytes());
    field
}

/// A segment that was passed over at the start may be damaged: that is found when it is read, and its batches are given up by name.
#[tokio::test]
async fn damage_in_what_a_start_passed_over_is_found_when_it_is_read() {
    let mut bench = Bench::new(SyncPolicy::Always);
    for _ in 0..6 {
        let spool = bench.open(1);
        for _ in 0..3 {
            bench.append(&spool).await;
        }
        spool.close().expect("a good disk");
    }
    let is_segment = |path: &std::path::PathBuf| path.extension().is_some_and(|end| end == "journal");
    let second = bench.disk.paths().into_iter().filter(is_segment).nth(1).expect("six of them");
    let mut bytes = bench.disk.get(&second).expect("it is there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    bench.disk.put(&second, &bytes);
    let clock = Arc::new(bench.hand.clock(1));
    let opened = Spool::open(Arc::new(bench.disk.clone()), Path::new(FOLDER), bench.options, clock);
    let (spool, opening) = opened.expect("the spool opens");
    assert!(opening.recovery.passed_over >= 4 && opening.recovery.damage.is_empty(), "{opening:?}");
    assert_eq!(opening.pending, 18);
    let mut ledger = Ledger::default();
    assert_eq!(deliver(&spool, &mut ledger, 100).len(), 17);
    assert_eq!(spool.stats().pending, 0);
    let spool = Arc::new(spool);
    bench.append(&spool).await;
    deliver(&spool, &mut ledger, 1);
    let given_up: Vec<_> = ledger.losses.iter().filter_map(|loss| loss.sequences).collect();
    assert!(given_up.iter().any(|(first, last)| first == last && (4..=6).contains(first)), "{given_up:?}");
}

/// Somebody deletes the segments by hand and leaves the small files: the numbers of segments begin anew, and what the list says of
/// another segment with such a number is not believed (it was, and unsent batches were given up as damaged).
#[tokio::test]
async fn what_is_remembered_of_segments_that_were_deleted_is_not_believed_of_their_successors() {
    let mut bench = Bench::new(SyncPolicy::Always);
    let lives = async |bench: &mut Bench, batches: usize| {
        for _ in 0..6 {
            let spool = bench.open(1);
            for _ in 0..batches {
                bench.append(&spool).await;
            }
            spool.close().expect("a good disk");
        }
    };
    lives(&mut bench, 3).await;
    for path in bench.disk.paths() {
        if path.extension().is_some_and(|end| end == "journal") {
            bench.disk.remove(&path).expect("deleted by hand");
        }
    }
    let first = bench.next;
    lives(&mut bench, 2).await;
    let clock = Arc::new(bench.hand.clock(1));
    let opened = Spool::open(Arc::new(bench.disk.clone()), Path::new(FOLDER), bench.options, clock);
    let (spool, opening) = opened.expect("the spool opens");
    assert!(opening.recovery.passed_over >= 4, "the new ones are remembered in their turn: {opening:?}");
    assert_eq!(opening.pending, 12);
    let names = deliver(&spool, &mut Ledger::default(), 100);
    assert!(names.into_iter().rev().eq(first..first + 12), "each of them");
}

#[tokio::test]
async fn what_no_collector_takes_any_more_is_shed_and_a_week_is_not() {
    let mut bench = Bench::new(SyncPolicy::Always);
    let spool = bench.open(1);
    bench.append(&spool).await;
    spool.close().expect("a good disk");
    drop(spool);
    bench.hand.pass(7 * 86_400_000);
    let spool = bench.open(1);
    assert!(!spool.needs_maintenance(Duration::ZERO));
    bench.append(&spool).await;
    bench.hand.pass(12 * 3_600_000);
    assert!(spool.needs_maintenance(Duration::ZERO));
    spool.maintain(Duration::ZERO).expect("a good disk");
    assert!(
        spool.stats().lost.contains(&(Cause::Shed, 1)) && spool.stats().pending == 1,
        "{:?}",
        spool.stats()
    );
    assert_eq!(deliver(&spool, &mut Ledger::default(), 9), [2]);
}

/// A bad time server shed the whole spool at one stroke.
#[tokio::test]
async fn a_clock_that_leaps_ahead_sheds_nothing_that_the_collector_would_take() {
    let mut bench = Bench::new(SyncPolicy::Always);
    let spool = bench.open(1);
    bench.append(&spool).await;
    spool.journal.rotate().expect("a good disk");
    let wall_ms = spool.clock.read().time.as_millis();
    spool.clock.hear_collector(Timestamp::from_millis(wall_ms));
    bench.hand.set_wall(wall_ms + 30 * 86_400_000);
    assert!(spool.too_old().is_empty(), "the collector's clock stands where it stood");
    bench.hand.set_wall(wall_ms);
    spool.clock.hear_collector(Timestamp::from_millis(wall_ms));
    bench.hand.pass(8 * 86_400_000);
    assert_eq!(spool.too_old().len(), 1, "time passes all the same");
}

/// They were sent under numbers that the cursor did not know, and the next run used these again.
#[tokio::test]
async fn a_spool_that_is_closed_sends_nothing_more() {
    let mut bench = Bench::new(SyncPolicy::Always);
    let spool = bench.open(1);
    bench.append(&spool).await;
    spool.close().expect("a good disk");
    assert_eq!(bench.append(&spool).await.1, KeptWhere::Memory);
    assert_eq!((spool.claim(Lane::Live), spool.claim(Lane::Backlog)), (None, None));
    drop(spool);
    assert_eq!(deliver(&bench.open(1), &mut Ledger::default(), 9), [1]);
}

#[tokio::test]
async fn what_is_shed_while_it_is_claimed_is_lost_once() {
    let mut bench = Bench::new(SyncPolicy::Always);
    let spool = bench.open(1);
    bench.append(&spool).await;
    let claim = spool.claim(Lane::Live).expect("one batch");
    let segment = spool.journal.rotate().expect("a good disk") - 1;
    spool.shed_segment(segment, "the test wants it");
    spool.maintain(Duration::ZERO).expect("a good disk");
    let why = spool.read(claim).expect_err("it has gone");
    spool.settle_unreadable(claim, &why);
    assert_eq!(spool.state().kept.losses.iter().map(|loss| loss.cause).collect::<Vec<_>>(), [Cause::Shed]);
    assert!(spool.claim(Lane::Live).is_none(), "it was claimed again, at once and for ever");
}

/// What is done is forgotten with its segment: it was then claimed as if it were still to be sent, and could not be read.
#[tokio::test]
async fn what_went_with_its_segment_is_not_claimed_again() {
    let mut bench = Bench::new(SyncPolicy::Always);
    let spool = bench.open(1);
    bench.append(&spool).await;
    let (_, batch) = next(&spool).expect("one batch");
    spool.settle(&batch.identity, Outcome::Delivered);
    spool.journal.rotate().expect("a good disk");
    bench.append(&spool).await;
    spool.maintain(Duration::ZERO).expect("a good disk");
    let (_, second) = next(&spool).expect("the other batch");
    spool.settle(&second.identity, Outcome::Delivered);
    assert!(spool.claim(Lane::Live).is_none() && spool.claim(Lane::Backlog).is_none());
}

/// It was counted once more: fewer batches seemed to wait, its loss was told twice, and what it reported with it.
#[tokio::test]
async fn what_is_shed_while_it_is_on_its_way_is_settled_once() {
    for outcome in [Outcome::Delivered, Outcome::Refused, Outcome::Replaced] {
        let mut bench = Bench::new(SyncPolicy::Always);
        let spool = bench.open(1);
        spool.lose(Loss { samples: 5, ..loss_of_nothing() });
        bench.append(&spool).await;
        let claim = spool.claim(Lane::Live).expect("one batch");
        let outgoing = spool.read(claim).expect("it is there");
        let segment = spool.journal.rotate().expect("a good disk") - 1;
        bench.append(&spool).await;
        spool.shed_segment(segment, "the test wants it");
        spool.maintain(Duration::ZERO).expect("a good disk");
        spool.settle(&outgoing.identity, outcome);
        assert_eq!(spool.stats().pending, 1, "{outcome:?}");
        let told: u64 = spool.state().take_to_store().losses.iter().map(|loss| loss.samples).sum();
        assert_eq!(told, 5 + outgoing.identity.samples, "{outcome:?}");
        assert_eq!(deliver(&spool, &mut Ledger::default(), 9), [2]);
    }
}

fn loss_of_nothing() -> Loss {
    let at = Timestamp::from_millis(TODAY_MS);
    Loss { cause: Cause::Cut, from: at, to: at, samples: 0, sequences: None }
}

/// Text that does not compress.
fn noise(seed: u64, length: usize) -> String {
    let mut state = seed + 1;
    let mut letter = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b' ' + (state >> 58) as u8)
    };
    (0..length).map(|_| letter()).collect()
}

#[tokio::test]
async fn batches_of_an_unset_clock_are_held_and_stamped_once() {
    let mut bench = Bench::new(SyncPolicy::Always);
    bench.hand = HandClock::at(0, 10_000);
    let spool = bench.open(1);
    for _ in 0..2 {
        bench.append(&spool).await;
    }
    spool.stamp_held().expect("nothing to do");
    assert!(next(&spool).is_none() && spool.waits_for_time());
    bench.hand.set_wall(TODAY_MS); // 12 s after boot
    bench.append(&spool).await;
    spool.stamp_held().expect("a good disk");
    assert!(!spool.waits_for_time());
    let mut sent = Vec::new();
    while let Some((_, batch)) = next(&spool) {
        sent.push(batch);
    }
    let found: Vec<_> = sent.iter().map(|batch| (content(batch), batch.identity.stamped_late)).collect();
    let offset_ms = TODAY_MS - 12_000;
    assert_eq!(found[1..], [((2, offset_ms + 12_000), true), ((1, offset_ms + 11_000), true)]);
    assert_eq!(found[0], ((3, TODAY_MS + 1_000), false));
    assert_eq!(sent[2].identity.from.as_millis(), offset_ms + 10_001);
    // Whatever the wall clock does later, also after a restart: the same stamps.
    spool.close().expect("a good disk");
    drop(spool);
    bench.hand.set_wall(TODAY_MS + 77_777);
    let spool = bench.open(1);
    let again: Vec<_> = std::iter::from_fn(|| next(&spool)).map(|(_, batch)| batch).collect();
    let key = |batch: &Outgoing| (batch.identity.clone(), batch.body.clone());
    assert_eq!(again.iter().map(key).collect::<Vec<_>>(), sent.iter().map(key).collect::<Vec<_>>());
}

#[tokio::test]
async fn batches_of_an_earlier_boot_that_never_got_a_clock_are_shed_as_such() {
    let mut bench = Bench::new(SyncPolicy::Always);
    let mut ledger = Ledger::default();
    let spool = bench.open(1);
    bench.append(&spool).await;
    let until = spool.until().expect("covered");
    spool.close().expect("a good disk");
    drop(spool);
    // A power cut, a boot in the past, another power cut.
    bench.hand = HandClock::at(0, 5_000);
    let spool = bench.open(2);
    for _ in 0..3 {
        bench.append(&spool).await;
    }
    assert_eq!(deliver(&spool, &mut ledger, 9), [1], "what has its stamps does not wait");
    bench.disk.kill();
    drop(spool);
    bench.hand = HandClock::at(TODAY_MS + 3_600_000, 5_000);
    let spool = bench.open(3);
    bench.append(&spool).await;
    assert_eq!(deliver(&spool, &mut ledger, 9), [5, 1], "the kill came before the cursor was written");
    let clock = ledger.losses.iter().find(|loss| loss.cause == Cause::Clock).expect("it is reported");
    assert_eq!((clock.samples, clock.sequences), (3, Some((2, 4))));
    assert_eq!(clock.from, shifted(until, 1));
    assert_eq!(clock.to.as_millis(), TODAY_MS + 3_600_000, "up to the first batch's first millisecond");
    assert_eq!(spool.stats().pending, 0);
}

#[tokio::test]
async fn a_new_epoch_keeps_numbers_and_hashes_anew() {
    let mut bench = Bench::new(SyncPolicy::Always);
    let spool = bench.open(1);
    bench.append(&spool).await;
    let (_, before) = next(&spool).expect("one batch");
    spool.settle(&before.identity, Outcome::Later);
    spool.renew_epoch().expect("a good disk");
    let (_, after) = next(&spool).expect("the same batch");
    assert_ne!(before.identity.epoch, after.identity.epoch);
    assert_eq!(before.identity.sequence, after.identity.sequence);
    assert_eq!(content(&before), content(&after)); // checks the hashes, too
    let epoch = spool.epoch();
    bench.disk.kill();
    drop(spool);
    assert_eq!(bench.open(1).epoch(), epoch, "it is durable");
}

#[tokio::test]
async fn a_full_disk_sheds_the_oldest_then_keeps_in_memory_and_goes_on_when_there_is_room() {
    let mut bench = Bench::new(SyncPolicy::Always);
    bench.options.bytes_max = 4 << 20;
    let mut ledger = Ledger::default();
    let spool = bench.open(1);
    let (first, _) = bench.append(&spool).await;
    bench.disk.set_capacity(Some(bench.disk.used_bytes()));
    let (second, place) = bench.append(&spool).await;
    assert_eq!(place, KeptWhere::Memory, "one segment only: nothing to shed");
    assert!(spool.stats().full);
    assert_eq!(deliver(&spool, &mut ledger, 9), [second, first]);
    bench.disk.set_capacity(None);
    assert_eq!(bench.append(&spool).await.1, KeptWhere::Disk);
    assert!(!spool.stats().full);
    assert_eq!(deliver(&spool, &mut ledger, 9), [3]);
    assert_eq!(spool.stats().pending, 0);
}

#[tokio::test]
async fn an_agent_starts_on_a_full_disk_and_leaves_no_number_to_be_used_twice() {
    let mut bench = Bench::new(SyncPolicy::Always);
    let mut ledger = Ledger::default();
    let spool = bench.open(1);
    bench.append(&spool).await;
    spool.close().expect("a good disk");
    drop(spool);
    bench.disk.set_capacity(Some(bench.disk.used_bytes()));
    let spool = bench.open(1);
    assert_eq!(bench.append(&spool).await.1, KeptWhere::Memory);
    assert_eq!(deliver(&spool, &mut ledger, 9), [2, 1]);
    bench.disk.kill(); // the cursor still says that the first run ended in order
    drop(spool);
    bench.disk.set_capacity(None);
    let spool = bench.open(1);
    bench.append(&spool).await;
    deliver(&spool, &mut ledger, 9); // the ledger checks numbers
    assert_eq!(ledger.came.len(), 3);
}

#[tokio::test]
async fn memory_is_bounded_and_what_is_shed_from_it_is_reported() {
    let mut bench = Bench::new(SyncPolicy::Always);
    bench.options.memory_bytes_max = 1_000;
    let spool = bench.open(1);
    bench.append(&spool).await;
    bench.disk.fail_from(bench.disk.operations(), Fault::Io);
    for _ in 0..20 {
        assert_eq!(bench.append(&spool).await.1, KeptWhere::Memory);
    }
    let stats = spool.stats();
    assert!(stats.poisoned && stats.memory_bytes <= 1_000, "{stats:?}");
    let shed = stats.lost.iter().find(|(cause, _)| *cause == Cause::Shed).map_or(0, |(_, samples)| *samples);
    assert_eq!(stats.pending + shed, 21);
    bench.append(&spool).await;
    let (_, batch) = next(&spool).expect("the newest");
    assert!(
        batch.identity.losses.iter().any(|loss| loss.cause == Cause::Shed),
        "{:?}",
        batch.identity.losses
    );
}

#[tokio::test]
async fn a_lost_cursor_is_a_new_epoch_and_everything_comes_again() {
    let mut bench = Bench::new(SyncPolicy::Always);
    let mut ledger = Ledger::default();
    let spool = bench.open(1);
    for _ in 0..3 {
        bench.append(&spool).await;
    }
    deliver(&spool, &mut ledger, 2);
    let epoch = spool.epoch();
    spool.close().expect("a good disk");
    drop(spool);
    let path = Path::new(FOLDER).join("uplink.cursor");
    let mut bytes = bench.disk.get(&path).expect("the cursor file");
    bytes[40] ^= 1;
    bench.disk.put(&path, &bytes);
    let spool = bench.open(1);
    assert_ne!(spool.epoch(), epoch);
    assert_eq!(deliver(&spool, &mut ledger, 9), [3, 2, 1]);
}

/// Whoever puts another spool into its place (a copy brought back) finds it as they put it there: a cursor that is not its own would
/// say of its batches that they are done, and segments have the same names everywhere.
#[cfg(unix)]
#[tokio::test]
async fn a_folder_that_was_replaced_is_left_alone() {
    let outer = tempfile::tempdir().expect("a folder");
    let folder = outer.path().join("spool");
    let mut bench = Bench::new(SyncPolicy::Always);
    let clock = Arc::new(bench.hand.clock(1));
    let disk = Arc::new(journal::disk::RealDisk);
    let opened = Spool::open(disk, &folder, bench.options, clock).expect("the spool opens");
    let spool = Arc::new(opened.0);
    bench.append(&spool).await;
    spool.journal.rotate().expect("a good disk");
    deliver(&spool, &mut Ledger::default(), 9);
    std::fs::rename(&folder, outer.path().join("moved")).expect("moved");
    std::fs::create_dir(&folder).expect("another");
    for name in ["uplink.cursor", "segments.cursor", "00000000000000000001.journal"] {
        std::fs::write(folder.join(name), "theirs").expect("written");
    }
    let is_gone = |result| matches!(result, Err(JournalError::Gone { .. }));
    assert!(is_gone(spool.maintain(STORE_EVERY)));
    assert!(is_gone(spool.renew_epoch()));
    let _ = spool.close(); // it cannot say that it ended in order
    for entry in std::fs::read_dir(&folder).expect("readable") {
        let path = entry.expect("readable").path();
        assert_eq!(std::fs::read_to_string(&path).expect("readable"), "theirs", "{}", path.display());
    }
    assert_eq!(std::fs::read_dir(&folder).expect("readable").count(), 3);
}

/// Lives of a spool: appends, deliveries, maintenance, an end. Whatever happens to the disk, it must not panic.
async fn live(bench: &mut Bench, ledger: &mut Ledger, safe: &mut Vec<u64>) {
    for life in 0..2 {
        let Ok(spool) = bench.try_open(1) else { return };
        for turn in 0..4 {
            let (name, place) = bench.append(&spool).await;
            if place == KeptWhere::Disk {
                safe.push(name);
            }
            if turn == 2 {
                deliver(&spool, ledger, 2);
                // A disk that fails is the test's purpose.
                let _ = spool.maintain(STORE_EVERY * (life + 1));
            }
        }
        let _ = spool.close();
    }
}

async fn drain_after(bench: &mut Bench, ledger: &mut Ledger) {
    bench.disk.heal();
    let spool = bench.open(1);
    // What could not be read once is tried again in the next run; what was lost is reported with its first batch.
    bench.append(&spool).await;
    deliver(&spool, ledger, usize::MAX);
    assert_eq!(spool.stats().pending, 0, "all that is there can be sent");
    spool.close().expect("a healed disk");
    drop(spool);
    assert_eq!(bench.open(1).stats().pending, 0, "what was acknowledged does not come for ever");
}

async fn fail_everywhere(sync: SyncPolicy, fault: Fault, end: impl Fn(&PretendDisk, u64)) {
    let mut operation = 0;
    loop {
        let mut bench = Bench::new(sync);
        let (mut ledger, mut safe) = (Ledger::default(), Vec::new());
        bench.disk.fail_at(operation, fault);
        live(&mut bench, &mut ledger, &mut safe).await;
        let fired = bench.disk.faults_fired() > 0;
        end(&bench.disk, operation);
        drain_after(&mut bench, &mut ledger).await;
        if sync == SyncPolicy::Always {
            // On a full disk the oldest may be shed, if that is reported.
            let shed = ledger.losses.iter().any(|loss| loss.cause == Cause::Shed);
            let failed = bench.disk.trace().get(operation as usize).cloned().unwrap_or_default();
            for name in &safe {
                let fate = ledger.came.contains_key(name)
                    || (shed && matches!(fault, Fault::Full | Fault::ShortFull));
                assert!(fate, "{fault:?} at {operation} ({failed}): batch {name} is lost");
            }
        }
        if !fired {
            assert!(operation > 20, "the lives make more operations than that");
            return;
        }
        operation += 1;
    }
}

#[tokio::test]
async fn a_power_cut_at_any_operation_loses_nothing_that_was_safe() {
    fail_everywhere(SyncPolicy::Always, Fault::PowerCut, |disk, _| disk.crash()).await;
    fail_everywhere(SyncPolicy::Always, Fault::PowerCut, |disk, seed| disk.crash_partly(seed)).await;
}

#[tokio::test]
async fn a_power_cut_with_rare_syncs_never_uses_a_number_twice() {
    let sync = SyncPolicy::Every(Duration::from_secs(3600));
    fail_everywhere(sync, Fault::PowerCut, |disk, _| disk.crash()).await;
    fail_everywhere(sync, Fault::PowerCut, |disk, seed| disk.crash_partly(seed)).await;
}

#[tokio::test]
async fn an_operation_that_fails_loses_nothing_that_was_safe() {
    for fault in [Fault::Io, Fault::ShortIo, Fault::Full, Fault::ShortFull] {
        fail_everywhere(SyncPolicy::Always, fault, |disk, _| disk.kill()).await;
        fail_everywhere(SyncPolicy::Always, fault, |disk, seed| disk.crash_partly(seed)).await;
    }
}

#[tokio::test]
async fn a_batch_that_the_disk_cannot_read_now_is_not_given_up() {
    let mut bench = Bench::new(SyncPolicy::Always);
    let mut ledger = Ledger::default();
    let spool = bench.open(1);
    bench.append(&spool).await;
    let claim = spool.claim(Lane::Live).expect("one batch");
    bench.disk.fail_at(bench.disk.operations(), Fault::Io);
    let why = spool.read(claim).expect_err("the disk fails");
    spool.settle_unreadable(claim, &why);
    assert!(next(&spool).is_none(), "not again in this run");
    assert_eq!(spool.stats().pending, 1);
    spool.close().expect("the disk is well");
    drop(spool);
    assert_eq!(deliver(&bench.open(1), &mut ledger, 9), [1]);
}

#[derive(Clone, Debug)]
enum Step {
    Append,
    Deliver(usize),
    /// Sent and applied, but the answer was lost.
    Unanswered,
    Refuse,
    Maintain,
    Close,
    Kill,
    Crash(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Append),
        3 => (1usize..4).prop_map(Step::Deliver),
        1 => Just(Step::Unanswered),
        1 => Just(Step::Refuse),
        2 => Just(Step::Maintain),
        1 => Just(Step::Close),
        1 => Just(Step::Kill),
        1 => any::<u64>().prop_map(Step::Crash),
    ]
}

async fn walk(steps: Vec<Step>) {
    let mut bench = Bench::new(SyncPolicy::Always);
    let (mut ledger, mut safe, mut refused) = (Ledger::default(), Vec::new(), Vec::new());
    let mut spool = bench.open(1);
    let mut time = Duration::ZERO;
    for step in steps {
        match step {
            Step::Append => {
                let (name, place) = bench.append(&spool).await;
                assert_eq!(place, KeptWhere::Disk);
                safe.push(name);
            }
            Step::Deliver(count) => drop(deliver(&spool, &mut ledger, count)),
            Step::Unanswered => {
                if let Some((_, batch)) = next(&spool) {
                    ledger.take(&batch);
                    spool.settle(&batch.identity, Outcome::Later);
                }
            }
            Step::Refuse => {
                if let Some((_, batch)) = next(&spool) {
                    refused.push(content(&batch).0);
                    spool.settle(&batch.identity, Outcome::Refused);
                }
            }
            Step::Maintain => {
                time += STORE_EVERY;
                spool.maintain(time).expect("a good disk");
            }
            Step::Close | Step::Kill | Step::Crash(_) => {
                match step {
                    Step::Close => spool.close().expect("a good disk"),
                    Step::Crash(seed) => bench.disk.crash_partly(seed),
                    _ => bench.disk.kill(),
                }
                drop(spool);
                spool = bench.open(1);
            }
        }
    }
    bench.disk.kill();
    drop(spool);
    drain_after(&mut bench, &mut ledger).await;
    for name in safe {
        assert!(ledger.came.contains_key(&name) || refused.contains(&name), "batch {name} is lost");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_batch_comes_at_least_once_whatever_happens(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(walk(steps));
    }
}
