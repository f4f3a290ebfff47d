//! The outbox on a disk that fails: whatever the order of failures, crashes and restarts, no transition is lost or reordered for a receiver.

use std::collections::BTreeMap;

use journal::disk::pretend::{Fault, PretendDisk};
use proptest::prelude::*;

use super::*;
use crate::notify::alert::{Kind, example};

const NAMES: [&str; 3] = ["a", "b", "c"];
const RECEIVERS: [&str; 2] = ["one", "two"];

#[derive(Clone, Debug)]
enum Step {
    /// Rules tell the state of some alerts.
    Tell(Vec<(usize, Kind)>),
    /// A receiver takes a message; whether that is noted, or the process ends before.
    Take(usize, bool),
    /// The process ends; the disk's cache survives.
    Kill,
    /// The power goes; what is not synced survives in part.
    Crash(u64),
    /// An operation fails, so many after this one.
    Fail(u64, Fault),
    /// The disk is full from here on, or has room again.
    Full(bool),
}

fn step() -> impl Strategy<Value = Step> {
    let kind = prop_oneof![Just(Kind::Firing), Just(Kind::Unknown), Just(Kind::Resolved)];
    let fault = prop_oneof![Just(Fault::Io), Just(Fault::Full), Just(Fault::ShortIo), Just(Fault::ShortFull)];
    prop_oneof![
        6 => prop::collection::vec((0..NAMES.len(), kind), 1..4).prop_map(Step::Tell),
        6 => (0..RECEIVERS.len(), any::<bool>()).prop_map(|(receiver, noted)| Step::Take(receiver, noted)),
        1 => Just(Step::Kill),
        1 => any::<u64>().prop_map(Step::Crash),
        1 => (0..6u64, fault).prop_map(|(after, fault)| Step::Fail(after, fault)),
        1 => any::<bool>().prop_map(Step::Full),
    ]
}

/// What an alert's line in a message says.
type Line = (String, Kind);

struct Bench {
    disk: PretendDisk,
    running: Option<(Arc<Outbox>, Vec<Reading>)>,
    now: i64,
    /// What rules told last of each alert.
    truth: BTreeMap<usize, Kind>,
    /// Messages of which a receiver has heard, or that were surely kept.
    messages: BTreeMap<u64, Vec<Line>>,
    kept: Vec<Line>,
    /// The newest message of each receiver.
    newest: [u64; RECEIVERS.len()],
}

fn lines(message: &Message) -> Vec<Line> {
    message.alerts.iter().map(|alert| (alert.label("alertname").to_owned(), alert.kind)).collect()
}

impl Bench {
    fn new() -> Self {
        let mut bench = Self {
            disk: PretendDisk::new(),
            running: None,
            now: 0,
            truth: BTreeMap::new(),
            messages: BTreeMap::new(),
            kept: Vec::new(),
            newest: [0; RECEIVERS.len()],
        };
        bench.start();
        bench
    }

    fn start(&mut self) {
        let disk = Arc::new(self.disk.clone());
        let outbox = Arc::new(Outbox::open_on(disk, Path::new("/data"), 64 << 20).expect("a good disk"));
        let read = |receiver: &&str| outbox.read(receiver).expect("a good disk");
        let readings = RECEIVERS.iter().map(read).collect();
        self.running = Some((outbox, readings));
    }

    /// Ends whatever runs and starts it again on a disk that works.
    fn restart(&mut self, end: impl FnOnce(&PretendDisk)) {
        end(&self.disk);
        self.running = None;
        self.disk.heal();
        self.disk.set_capacity(None);
        self.start();
    }

    fn tell(&mut self, alerts: &[(usize, Kind)]) {
        self.now += 1_000;
        self.truth.extend(alerts.iter().copied());
        let alerts: Vec<Alert> = alerts.iter().map(|(name, kind)| example(NAMES[*name], *kind)).collect();
        let (outbox, _) = self.running.as_ref().expect("it runs");
        let before = outbox.newest_number();
        // A message on disk whose writer then failed counts as not kept, and may be there after a restart all the same.
        if outbox.append(&alerts, Timestamp::from_millis(self.now)).is_ok() && outbox.newest_number() > before
        {
            self.kept.push((format!("message {}", outbox.newest_number()), Kind::Firing));
        }
    }

    fn take(&mut self, receiver: usize, noted: bool) -> bool {
        let (_, readings) = self.running.as_mut().expect("it runs");
        let Ok(Some((message, gone))) = readings[receiver].message() else { return false };
        assert_eq!(gone, 0, "nothing is lost");
        let newest = &mut self.newest[receiver];
        assert!(message.number <= *newest + 1, "{} after {newest}", message.number);
        *newest = message.number.max(*newest);
        let said = lines(&message);
        assert_eq!(self.messages.entry(message.number).or_insert_with(|| said.clone()), &said);
        if noted {
            // A cursor that could not be written is a message that comes again after a restart.
            let _ = readings[receiver].done(message.number);
        }
        true
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Tell(alerts) => self.tell(alerts),
            Step::Take(receiver, noted) => {
                if self.take(*receiver, *noted) && !noted {
                    self.restart(PretendDisk::kill);
                }
            }
            Step::Kill => self.restart(PretendDisk::kill),
            Step::Crash(seed) => self.restart(|disk| disk.crash_partly(*seed)),
            Step::Fail(after, fault) => self.disk.fail_at(self.disk.operations() + after, *fault),
            Step::Full(true) => self.disk.set_capacity(Some(self.disk.used_bytes())),
            Step::Full(false) => self.disk.set_capacity(None),
        }
    }

    /// Rules tell again what still holds, as they do each minute; then everyone has everything.
    fn end(mut self) {
        self.restart(PretendDisk::kill);
        let again: Vec<(usize, Kind)> = self.truth.iter().map(|(name, kind)| (*name, *kind)).collect();
        if !again.is_empty() {
            self.tell(&again);
        }
        for receiver in 0..RECEIVERS.len() {
            while self.take(receiver, true) {}
        }
        let count = self.messages.len() as u64;
        assert_eq!(self.newest, [count; RECEIVERS.len()], "everyone has every message");
        for (kept, _) in &self.kept {
            let number: u64 = kept.strip_prefix("message ").and_then(|n| n.parse().ok()).expect("a number");
            assert!(self.messages.contains_key(&number), "{kept} was kept and never came");
        }
        let mut heard: BTreeMap<String, Kind> = BTreeMap::new();
        for (name, kind) in self.messages.values().flatten() {
            let before = heard.insert(name.clone(), *kind);
            assert_ne!(before, Some(*kind), "{name} is told as what it was");
            assert!(before.is_some() || *kind != Kind::Resolved, "an end without a beginning");
            if *kind == Kind::Resolved {
                heard.remove(name);
            }
        }
        for (name, kind) in &self.truth {
            let expected = Some(kind).filter(|kind| **kind != Kind::Resolved);
            assert_eq!(heard.get(NAMES[*name]), expected, "what {} is in the end", NAMES[*name]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn no_transition_is_lost_or_reordered(steps in prop::collection::vec(step(), 1..40)) {
        let mut bench = Bench::new();
        steps.iter().for_each(|step| bench.run(step));
        bench.end();
    }
}

/// Each operation of a short life fails once, in each way.
#[test]
fn every_operation_may_fail() {
    let life = [
        Step::Tell(vec![(0, Kind::Firing)]),
        Step::Take(0, true),
        Step::Tell(vec![(0, Kind::Resolved), (1, Kind::Firing)]),
        Step::Take(0, true),
        Step::Take(1, true),
        Step::Tell(vec![(1, Kind::Unknown)]),
    ];
    let mut bench = Bench::new();
    let first = bench.disk.operations();
    life.iter().for_each(|step| bench.run(step));
    let count = bench.disk.operations() - first;
    bench.end();
    assert!(count > 10, "{count}");
    for fault in [Fault::Io, Fault::Full, Fault::ShortIo, Fault::ShortFull] {
        for at in 0..count {
            let mut bench = Bench::new();
            bench.run(&Step::Fail(at, fault));
            life.iter().for_each(|step| bench.run(step));
            bench.end();
        }
    }
}

#[test]
fn what_a_full_disk_did_not_take_is_kept_as_soon_as_there_is_room() {
    let mut bench = Bench::new();
    bench.tell(&[(0, Kind::Firing)]);
    bench.run(&Step::Full(true));
    bench.tell(&[(0, Kind::Resolved)]);
    bench.tell(&[(1, Kind::Firing)]);
    let (outbox, _) = bench.running.as_ref().expect("it runs");
    assert_eq!(outbox.newest_number(), 1);
    let at = |seconds: i64| Timestamp::from_millis(bench.now + seconds * 1_000);
    assert_eq!(outbox.retry(at(9)).expect("not tried"), 0, "a disk is left alone for a while");
    assert!(outbox.retry(at(10)).is_err());
    bench.disk.set_capacity(None);
    // Nobody tells of either any more.
    assert_eq!(outbox.retry(at(20)).expect("kept"), 2);
    assert_eq!(outbox.retry(at(30)).expect("nothing waits"), 0);
    bench.end();
}

/// Found by random steps: the segment went, and after a restart the receiver counted as lost what it had been told.
#[test]
fn a_message_stays_until_the_cursor_behind_it_is_on_disk() {
    let mut bench = Bench::new();
    bench.tell(&[(0, Kind::Firing)]);
    bench.run(&Step::Kill);
    assert!(bench.take(0, true));
    bench.tell(&[(0, Kind::Unknown)]);
    bench.run(&Step::Full(true));
    assert!(bench.take(1, true) && bench.take(1, true));
    bench.run(&Step::Full(false));
    assert!(bench.take(0, true));
    bench.end();
}

#[test]
fn a_torn_tail_is_cut_and_told_again() {
    let mut bench = Bench::new();
    bench.tell(&[(0, Kind::Firing)]);
    bench.tell(&[(1, Kind::Firing)]);
    bench.running = None;
    let torn = bench.disk.paths().into_iter().find_map(|path| {
        let bytes = bench.disk.get(&path)?;
        let place = bytes.windows(4).position(|window| window == b"\"b\"]")?;
        Some((path, bytes[..place].to_vec()))
    });
    let (path, left) = torn.expect("the second message is on disk");
    bench.disk.put(&path, &left);
    bench.kept.clear();
    bench.start();
    let (outbox, _) = bench.running.as_ref().expect("it runs");
    assert_eq!(outbox.newest_number(), 1, "the second is torn");
    bench.end();
}

#[test]
fn what_no_record_could_hold_is_cut_and_holds_up_nobody() {
    let mut bench = Bench::new();
    let (outbox, _) = bench.running.as_ref().expect("it runs");
    let mut huge: Vec<Alert> = (0..6).map(|index| example(&index.to_string(), Kind::Firing)).collect();
    huge.iter_mut().for_each(|alert| alert.annotations[0].1 = "\u{1}".repeat(3 << 20));
    assert_eq!(outbox.append(&huge, Timestamp::from_millis(1)).expect("kept"), 6);
    assert!(outbox.newest_number() >= 2, "some MiB a message: {}", outbox.newest_number());
    let (_, readings) = bench.running.as_mut().expect("it runs");
    let mut count = 0;
    while let Some((message, _)) = readings[0].message().expect("readable") {
        count += message.alerts.len();
        assert!(message.alerts.iter().all(|alert| alert.text_bytes() <= TEXT_BYTES_MAX + 10));
    }
    assert_eq!(count, 6);
}
