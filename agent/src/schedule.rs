//! When which target is asked: one task a target, ticks aligned to the interval, spread by the target's key.
//!
//! In: target sets (asked for changes every [`REFRESH_EVERY`]), a clock. Out: finished rounds, to the batcher. A round that outlasts
//! its deadline is ended and keeps what it has; ticks that pass while one still runs are counted as missed, never queued.
//! A target that is taken away gets stale markers; the program's end writes none, because nothing ended but the looking. One that comes in
//! the place of another (the same name, changed settings) begins when that has ended, so that its samples are the later ones.
//!
//! Samples of a round share one timestamp: the tick itself where the round began in time, so that all rounds of an interval
//! look alike to the store; the true time where it began late.
//!
//! What looks at this machine (everything but `scrape` and `snmp` targets) is asked at once at the start and then together, at a
//! phase of the agent's own name, so that one batch holds it; other targets wait for their own phase.

use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::FutureExt as _;
use model::Timestamp;
use telemetry::summary::{Say, Summary};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::batch::Batcher;
use crate::clock::{Clock, Reading, Scale, Waiter};
use crate::inputs::{CollectError, Input, Target, TargetSet};
use crate::metrics::Metrics;
use crate::series::{Point, Round, SeriesTable};

/// How often target sets are asked for changes.
const REFRESH_EVERY: Duration = Duration::from_secs(5);

/// No target is asked more often, whatever its settings say.
const INTERVAL_MIN: Duration = Duration::from_millis(100);

/// A round that begins at most this much (and a hundredth of its interval) after its tick bears the tick's time.
const LATE_MAX_MS: i64 = 100;

/// One line an hour for a target that stays faulty.
const FAULT_EVERY: Duration = Duration::from_secs(3600);

/// What the tasks share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) clock: Arc<Clock>,
    pub(crate) batcher: Arc<Batcher>,
    pub(crate) metrics: Arc<Metrics>,
    /// The agent's own name: what spreads agents over the interval.
    pub(crate) instance: Arc<str>,
}

/// A running schedule.
pub(crate) struct Schedule {
    sets: mpsc::Sender<Vec<Box<dyn TargetSet>>>,
    supervisor: JoinHandle<()>,
}

impl Schedule {
    /// Starts; needs a tokio runtime.
    pub(crate) fn start(sets: Vec<Box<dyn TargetSet>>, shared: Shared) -> Self {
        let (sender, receiver) = mpsc::channel(1);
        let supervisor = tokio::spawn(supervise(sets, receiver, shared));
        Self { sets: sender, supervisor }
    }

    /// Replaces all target sets: targets whose keys stay go on untouched.
    pub(crate) async fn replace(&self, sets: Vec<Box<dyn TargetSet>>) {
        // The supervisor only ends with this handle.
        let _ = self.sets.send(sets).await;
    }

    /// Ends all rounds, the running ones too.
    pub(crate) async fn stop(self) {
        drop(self.sets);
        // A panic in the supervisor has been printed; there is nothing left to stop then.
        let _ = self.supervisor.await;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    GoOn,
    /// The target is gone.
    End,
    /// The program ends.
    Halt,
}

struct Running {
    /// What the input is called, once it is built.
    name: Arc<OnceLock<String>>,
    order: Arc<watch::Sender<Order>>,
    task: JoinHandle<()>,
}

/// A target that was told to end, by its name; its task has ended when nobody listens to its orders any more.
type Ending = (Arc<OnceLock<String>>, Arc<watch::Sender<Order>>);

struct Watched {
    set: Box<dyn TargetSet>,
    keys: HashSet<String>,
    faults: Summary,
}

impl Watched {
    fn new(set: Box<dyn TargetSet>) -> Self {
        Self { set, keys: HashSet::new(), faults: Summary::new(FAULT_EVERY) }
    }
}

async fn supervise(
    sets: Vec<Box<dyn TargetSet>>,
    mut replacements: mpsc::Receiver<Vec<Box<dyn TargetSet>>>,
    shared: Shared,
) {
    let mut sets: Vec<Watched> = sets.into_iter().map(Watched::new).collect();
    let mut running: HashMap<String, Running> = HashMap::new();
    let mut ending = Vec::new();
    let mut ticks = tokio::time::interval(REFRESH_EVERY);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            replacement = replacements.recv() => match replacement {
                Some(replacement) => sets = replacement.into_iter().map(Watched::new).collect(),
                None => break,
            },
        }
        refresh(&mut sets, &mut running, &mut ending, &shared);
    }
    for target in running.values() {
        target.order.send_replace(Order::Halt);
    }
    for target in running.into_values() {
        let _ = target.task.await;
    }
}

fn refresh(
    sets: &mut [Watched],
    running: &mut HashMap<String, Running>,
    ending: &mut Vec<Ending>,
    shared: &Shared,
) {
    let mut wanted = Vec::new();
    for watched in sets.iter_mut() {
        let now = Duration::from_millis(shared.clock.read().boot_ms.max(0) as u64);
        match watched.set.refresh() {
            Ok(Some(targets)) => {
                watched.keys = targets.iter().map(|target| target.key.clone()).collect();
                log_fault("targets", watched.faults.well(now), "");
                wanted.extend(targets);
            }
            Ok(None) => log_fault("targets", watched.faults.well(now), ""),
            Err(CollectError(why)) => {
                shared.metrics.target_errors.inc();
                log_fault("targets", watched.faults.fault(now), &why);
            }
        }
    }
    ending.retain(|(_, order)| !order.is_closed());
    running.retain(|key, target| {
        let wanted = sets.iter().any(|watched| watched.keys.contains(key));
        if !wanted {
            target.order.send_replace(Order::End);
            ending.push((target.name.clone(), target.order.clone()));
        }
        wanted
    });
    for target in wanted {
        if !running.contains_key(&target.key) {
            running.insert(target.key.clone(), start(target, ending.clone(), shared));
        }
    }
    shared.metrics.targets.set(running.len() as i64);
}

fn start(target: Target, ending: Vec<Ending>, shared: &Shared) -> Running {
    let (order, mut orders) = watch::channel(Order::GoOn);
    let shared = shared.clone();
    let name = Arc::new(OnceLock::new());
    let Target { key, build } = target;
    let called = name.clone();
    let task = tokio::spawn(async move {
        let input = build();
        let name = called.get_or_init(|| input.name().to_owned());
        let Some(has_waited) = its_turn(name, ending, &mut orders).await else { return };
        Watch::new(&key, input, shared, has_waited).run(orders).await;
    });
    Running { name, order: Arc::new(order), task }
}

/// Waits for those of this name to end; whether there were any. None if the target is to end itself.
async fn its_turn(name: &str, ending: Vec<Ending>, orders: &mut watch::Receiver<Order>) -> Option<bool> {
    let mut has_waited = false;
    // One that was never built has said nothing.
    for (_, before) in ending.iter().filter(|(other, _)| other.get().is_some_and(|other| other == name)) {
        has_waited = true;
        tokio::select! {
            () = before.closed() => {}
            _ = ordered(orders) => return None,
        }
    }
    // Who comes next does not wait for one that was told to end before it had a name.
    let goes_on = *orders.borrow() == Order::GoOn;
    goes_on.then_some(has_waited)
}

fn log_fault(name: &str, say: Say, why: &str) {
    match say {
        Say::First => tracing::warn!("{name}: {why}"),
        Say::Again { times } => tracing::warn!("{name}: {why} ({times} times since the last line)"),
        Say::Recovered { after } => tracing::info!("{name}: well again after {}", settings::Span::new(after)),
        Say::Nothing => {}
    }
}

/// When a target is due. Times are on the clock's scale; waiting is done on the boot scale, which never jumps.
#[derive(Debug)]
struct Ticks {
    interval_ms: i64,
    phase_ms: i64,
    due: Timestamp,
    due_boot_ms: i64,
    scale: Scale,
}

impl Ticks {
    fn new(interval: Duration, phase: u64, at_once: bool, now: Reading) -> Self {
        let interval_ms = i64::try_from(interval.max(INTERVAL_MIN).as_millis()).unwrap_or(i64::MAX);
        let phase_ms = (phase % interval_ms as u64) as i64;
        let mut ticks =
            Self { interval_ms, phase_ms, due: now.time, due_boot_ms: now.boot_ms, scale: now.scale };
        if !at_once {
            ticks.align(now);
        }
        ticks
    }

    /// The next moment after now that lies on the phase.
    fn align(&mut self, now: Reading) {
        let since = (now.time.as_millis() - self.phase_ms).rem_euclid(self.interval_ms);
        let wait_ms = self.interval_ms - since;
        self.due = Timestamp::from_millis(now.time.as_millis() + wait_ms);
        self.due_boot_ms = now.boot_ms + wait_ms;
        self.scale = now.scale;
    }

    fn wait(&self, now: Reading) -> Duration {
        Duration::from_millis(u64::try_from(self.due_boot_ms - now.boot_ms).unwrap_or(0))
    }

    /// The time that a round beginning now bears.
    fn stamp(&self, now: Reading) -> Timestamp {
        let late_ms = now.time.millis_since(self.due);
        let in_time =
            now.scale == self.scale && (0..=LATE_MAX_MS.min(self.interval_ms / 100)).contains(&late_ms);
        if in_time { self.due } else { now.time }
    }

    /// The round that was due is over: sets the next tick and answers how many were missed meanwhile.
    fn pass(&mut self, now: Reading) -> u64 {
        let passed_ms = (now.boot_ms - self.due_boot_ms).max(0);
        let jumped_ms = now.time.millis_since(self.due) - passed_ms;
        let jumped = now.scale != self.scale || jumped_ms.abs() >= self.interval_ms;
        let on_phase = (self.due.as_millis() - self.phase_ms).rem_euclid(self.interval_ms) == 0;
        // A slewed clock may show a little less than the tick that was just served: it is not due twice.
        let served = Reading { time: now.time.max(self.due), ..now };
        let missed = if on_phase { passed_ms / self.interval_ms } else { 0 };
        self.align(if jumped { now } else { served });
        self.due_boot_ms = now.boot_ms + self.due.millis_since(now.time);
        missed as u64
    }
}

/// One target's task.
struct Watch {
    input: Box<dyn Input>,
    name: String,
    kind: String,
    shared: Shared,
    ticks: Ticks,
    waiter: Waiter,
    faults: Summary,
}

impl Watch {
    /// One that comes in the place of another begins at its phase, which is later than what the other said at its end.
    fn new(key: &str, input: Box<dyn Input>, shared: Shared, in_place: bool) -> Self {
        let name = input.name().to_owned();
        let kind = name.split(' ').next().unwrap_or_default().to_owned();
        let remote = matches!(kind.as_str(), "scrape" | "snmp");
        let phase = if remote { phase_of(key) } else { phase_of(&shared.instance) };
        let ticks = Ticks::new(input.interval(), phase, !remote && !in_place, shared.clock.read());
        // Of what looks at this machine there is little; other targets may be thousands, and share the runtime's timers.
        let waiter = if remote { Waiter::default() } else { shared.clock.waiter() };
        Self { input, name, kind, shared, ticks, waiter, faults: Summary::new(FAULT_EVERY) }
    }

    async fn run(mut self, mut orders: watch::Receiver<Order>) {
        let mut table = self.input.new_table();
        // Points of the last round.
        let mut expected = 0;
        let order = loop {
            let wait = self.ticks.wait(self.shared.clock.read());
            if !wait.is_zero() {
                tokio::select! {
                    () = self.waiter.wait(wait) => continue,
                    order = ordered(&mut orders) => break order,
                }
            }
            // A round that runs when its target goes is finished, so that the table knows what to end; at the program's end
            // it is dropped.
            let points = Vec::with_capacity(expected);
            let round = AssertUnwindSafe(self.round(&mut table, points)).catch_unwind();
            let ended = tokio::select! {
                ended = round => ended,
                () = halted(&mut orders) => break Order::Halt,
            };
            match ended {
                // Their room is given back: of ten thousand targets few are in a round at any time.
                Ok(found) => expected = found,
                Err(_) => self.recover(&mut table),
            }
            let missed = self.ticks.pass(self.shared.clock.read());
            self.shared.metrics.rounds_missed.inc_by(missed);
        };
        if order == Order::End {
            let now = self.shared.clock.read();
            let mut points = Vec::new();
            table.end_all(now.time, &mut points);
            self.shared.batcher.add(&mut table, &points, now);
        }
        self.shared.batcher.forget(&mut table);
    }

    /// Says how many points there were.
    async fn round(&mut self, table: &mut SeriesTable, points: Vec<Point>) -> usize {
        let metrics = Arc::clone(&self.shared.metrics);
        let mut reading = self.shared.clock.read();
        reading.time = self.ticks.stamp(reading);
        let began = tokio::time::Instant::now();
        let mut round = Round::begin(table, reading.time, points);
        let deadline = self.input.timeout();
        let collected = tokio::time::timeout(deadline, self.input.collect(&mut round)).await;
        let (points, refused) = round.finish();
        self.shared.batcher.add(table, &points, reading);
        metrics.samples.inc_by(points.len() as u64);
        metrics.series_refused.inc_by(refused);
        metrics.collect_seconds.with_label_values(&[&self.kind]).inc_by(began.elapsed().as_secs_f64());
        let (result, fault) = match collected {
            Ok(Ok(())) => ("ok", None),
            Ok(Err(CollectError(why))) => ("error", Some(why)),
            Err(_) => ("timeout", Some(format!("took longer than {}", settings::Span::new(deadline)))),
        };
        metrics.rounds.with_label_values(&[&self.kind, result]).inc();
        self.say(fault);
        points.len()
    }

    /// An input has panicked: our mistake, which must not take the target away. The table may be half done: a new one.
    fn recover(&mut self, table: &mut SeriesTable) {
        tracing::error!(
            "{}: a round panicked, which is a mistake in this program: please report it",
            self.name
        );
        self.shared.metrics.rounds.with_label_values(&[&self.kind, "panic"]).inc();
        self.shared.batcher.forget(table);
        *table = self.input.new_table();
    }

    fn say(&mut self, fault: Option<String>) {
        let now = Duration::from_millis(self.shared.clock.read().boot_ms.max(0) as u64);
        let say = if fault.is_some() { self.faults.fault(now) } else { self.faults.well(now) };
        log_fault(&self.name, say, fault.as_deref().unwrap_or_default());
    }
}

/// Waits for an order to stop. A supervisor that is gone means the program ends.
async fn ordered(orders: &mut watch::Receiver<Order>) -> Order {
    match orders.wait_for(|order| *order != Order::GoOn).await {
        Ok(order) => *order,
        Err(_) => Order::Halt,
    }
}

async fn halted(orders: &mut watch::Receiver<Order>) {
    // A supervisor that is gone means the program ends, too.
    let _ = orders.wait_for(|order| *order == Order::Halt).await;
}

/// Where in its interval a key lies: the same in every run.
fn phase_of(key: &str) -> u64 {
    let mut hasher = siphasher::sip::SipHasher13::new();
    key.hash(&mut hasher);
    hasher.finish() >> 1
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use model::Labels;

    use super::*;
    use crate::clock::by_hand::paused_clock;
    use crate::inputs::BoxFuture;
    use crate::series::Family;

    const TODAY_MS: i64 = 1_800_000_000_000;

    fn at(wall_ms: i64, boot_ms: i64) -> Reading {
        Reading { time: Timestamp::from_millis(wall_ms), scale: Scale::Wall, boot_ms }
    }

    const INTERVAL: Duration = Duration::from_secs(15);

    #[test]
    fn ticks_lie_on_the_phase_and_a_round_in_time_bears_the_tick() {
        let mut ticks = Ticks::new(INTERVAL, 4_000, false, at(TODAY_MS, 100));
        assert_eq!(ticks.due.as_millis() % 15_000, 4_000);
        let wait = ticks.wait(at(TODAY_MS, 100)).as_millis() as i64;
        let begin = at(TODAY_MS + wait + 80, 100 + wait + 80);
        assert_eq!(ticks.stamp(begin), ticks.due);
        assert_eq!(ticks.stamp(at(TODAY_MS + wait + 800, 0)).as_millis(), TODAY_MS + wait + 800);
        let due = ticks.due;
        assert_eq!(ticks.pass(begin), 0);
        assert_eq!(ticks.due.millis_since(due), 15_000);
    }

    #[test]
    fn what_is_asked_at_once_goes_on_at_its_phase() {
        let mut ticks = Ticks::new(INTERVAL, 4_000, true, at(TODAY_MS + 1, 0));
        assert_eq!(ticks.wait(at(TODAY_MS + 1, 0)), Duration::ZERO);
        ticks.pass(at(TODAY_MS + 20, 19));
        assert_eq!(ticks.due.as_millis() % 15_000, 4_000);
    }

    #[test]
    fn ticks_that_pass_during_a_round_are_counted_and_not_made_up_for() {
        let mut ticks = Ticks::new(INTERVAL, 0, false, at(TODAY_MS - 10, 0));
        assert_eq!(ticks.pass(at(TODAY_MS + 46_000, 46_010)), 3);
        assert_eq!(ticks.due.as_millis(), TODAY_MS + 60_000);
    }

    #[test]
    fn a_clock_that_jumps_by_years_misses_nothing_and_a_slewed_one_is_not_due_twice() {
        let mut ticks = Ticks::new(INTERVAL, 0, false, at(TODAY_MS - 10, 0));
        assert_eq!(ticks.pass(at(TODAY_MS + 1_000_000_000, 20)), 0);
        assert_eq!(ticks.due.as_millis(), (TODAY_MS + 1_000_000_000) / 15_000 * 15_000 + 15_000);
        let mut ticks = Ticks::new(INTERVAL, 0, false, at(TODAY_MS - 10, 0));
        assert_eq!(ticks.pass(at(TODAY_MS - 3, 12)), 0);
        assert_eq!(ticks.due.as_millis(), TODAY_MS + 15_000);
        assert_eq!(ticks.due_boot_ms, 12 + 15_003);
    }

    static VALUE: Family = Family { name: "value", help: "", kind: model::MetricKind::Gauge, labels: &[] };

    #[derive(Clone, Copy)]
    enum Does {
        Well,
        Hang,
        Panic,
    }

    struct Probe {
        rounds: Arc<AtomicUsize>,
        does: Does,
    }

    impl Input for Probe {
        fn name(&self) -> &str {
            "probe"
        }

        fn interval(&self) -> Duration {
            INTERVAL
        }

        fn timeout(&self) -> Duration {
            Duration::from_secs(5)
        }

        fn new_table(&self) -> SeriesTable {
            SeriesTable::new(Labels::empty(), 10)
        }

        fn collect<'a>(&'a mut self, round: &'a mut Round<'_>) -> BoxFuture<'a, Result<(), CollectError>> {
            Box::pin(async move {
                round.metric(&VALUE, &[], 1.0);
                self.rounds.fetch_add(1, SeqCst);
                match self.does {
                    Does::Well => {}
                    Does::Hang => std::future::pending::<()>().await,
                    Does::Panic => panic!("the test wants it"),
                }
                Ok(())
            })
        }
    }

    /// Announces what a test tells it to.
    #[derive(Clone, Default)]
    struct Told(Arc<Mutex<Option<Vec<TellOne>>>>);

    /// A key, a counter of rounds, and what they do.
    type TellOne = (&'static str, Arc<AtomicUsize>, Does);

    impl TargetSet for Told {
        fn refresh(&mut self) -> Result<Option<Vec<Target>>, CollectError> {
            let told = self.0.lock().unwrap().take();
            Ok(told.map(|targets| {
                let target = |(key, rounds, does): TellOne| Target {
                    key: key.to_owned(),
                    build: Box::new(move || Box::new(Probe { rounds, does }) as Box<dyn Input>),
                };
                targets.into_iter().map(target).collect()
            }))
        }
    }

    fn bench(told: &Told) -> (Schedule, Shared) {
        let clock = Arc::new(paused_clock(TODAY_MS));
        let batcher = Arc::new(Batcher::new(Arc::clone(&clock)));
        let metrics = Arc::new(Metrics::new());
        let shared = Shared { clock, batcher, metrics, instance: "kudus".into() };
        (Schedule::start(vec![Box::new(told.clone())], shared.clone()), shared)
    }

    fn say(told: &Told, targets: &[(&'static str, &Arc<AtomicUsize>, Does)]) {
        let targets = targets.iter().map(|(key, rounds, does)| (*key, Arc::clone(rounds), *does)).collect();
        *told.0.lock().unwrap() = Some(targets);
    }

    #[tokio::test(start_paused = true)]
    async fn targets_come_and_go_and_one_that_hangs_holds_up_nobody() {
        let (good, hanging, told) = (Arc::default(), Arc::default(), Told::default());
        say(&told, &[("good", &good, Does::Well), ("hanging", &hanging, Does::Hang)]);
        let (schedule, shared) = bench(&told);
        tokio::time::sleep(Duration::from_secs(61)).await;
        assert!((4..=6).contains(&good.load(SeqCst)), "{good:?}");
        assert!((4..=6).contains(&hanging.load(SeqCst)), "given up after five seconds each: {hanging:?}");
        assert!(shared.metrics.rounds.with_label_values(&["probe", "timeout"]).get() >= 4);
        say(&told, &[("good", &good, Does::Well)]);
        tokio::time::sleep(Duration::from_secs(6)).await;
        let samples: u64 = shared.batcher.finish().iter().map(|batch| batch.samples).sum();
        let rounds = good.load(SeqCst) + hanging.load(SeqCst);
        assert_eq!(samples, rounds as u64 + 1, "and one stale marker for the one that went");
        let before = hanging.load(SeqCst);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(hanging.load(SeqCst), before);
        schedule.stop().await;
        let after: u64 = shared.batcher.finish().iter().map(|batch| batch.samples).sum();
        assert!(
            (3..=5).contains(&after),
            "rounds of the good one, and no stale marker at the program's end: {after}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_input_that_panics_is_asked_again() {
        let (rounds, told) = (Arc::default(), Told::default());
        say(&told, &[("panics", &rounds, Does::Panic)]);
        let (schedule, shared) = bench(&told);
        tokio::time::sleep(Duration::from_secs(40)).await;
        assert!(rounds.load(SeqCst) >= 3, "{rounds:?}");
        assert_eq!(
            shared.metrics.rounds.with_label_values(&["probe", "panic"]).get(),
            rounds.load(SeqCst) as u64
        );
        schedule.stop().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_reload_leaves_targets_alone_whose_keys_stay() {
        let (kept, built_anew, told) = (Arc::default(), Arc::default(), Told::default());
        say(&told, &[("kept", &kept, Does::Well)]);
        let (schedule, _shared) = bench(&told);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let again = Told::default();
        say(&again, &[("kept", &built_anew, Does::Well)]);
        schedule.replace(vec![Box::new(again)]).await;
        tokio::time::sleep(Duration::from_secs(40)).await;
        assert!(kept.load(SeqCst) >= 3 && built_anew.load(SeqCst) == 0);
        schedule.stop().await;
    }

    /// Told to end before its task ran at all, it made a round beside the one in its place.
    #[tokio::test]
    async fn who_is_to_end_before_it_began_does_not_begin() {
        let (order, mut orders) = watch::channel(Order::GoOn);
        assert_eq!(its_turn("probe", Vec::new(), &mut orders).await, Some(false));
        order.send_replace(Order::End);
        assert_eq!(its_turn("probe", Vec::new(), &mut orders).await, None);
    }

    /// The stale markers of the old one came behind the first samples of the new one, in whose series they ended what had just begun.
    #[tokio::test(start_paused = true)]
    async fn who_comes_in_the_place_of_another_begins_when_that_has_ended() {
        let (before, after, told) = (Arc::default(), Arc::default(), Told::default());
        say(&told, &[("sw1, old settings", &before, Does::Hang)]);
        let (schedule, shared) = bench(&told);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(before.load(SeqCst), 1, "its first round goes on until it is given up");
        let again = Told::default();
        say(&again, &[("sw1, new settings", &after, Does::Well)]);
        schedule.replace(vec![Box::new(again)]).await;
        tokio::time::sleep(Duration::from_millis(3900)).await;
        assert_eq!((before.load(SeqCst), after.load(SeqCst)), (1, 0));
        while after.load(SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // As they came: a value and its marker, then the new value.
        tokio::time::sleep(Duration::from_secs(30)).await;
        let batches = shared.batcher.finish();
        let samples: u64 = batches.iter().map(|batch| batch.samples).sum();
        assert_eq!(samples, 2 + after.load(SeqCst) as u64);
        assert!(batches.windows(2).all(|pair| pair[0].to <= pair[1].from), "{batches:?}");
        schedule.stop().await;
    }
}
