//! Runs the sources of a host one after another on a thread of their own, and gives up the one that does not come back.
//!
//! Reading a hung mount, a sensor behind a dead bus or a driver under a lock that nobody frees blocks a thread for good. So the
//! round never reads: it asks the worker thread and waits. A source that takes longer than its deadline is *stuck*: its
//! thread is left behind with it, another thread goes on with the rest, and the stuck source is not asked again until its
//! thread comes back. Then it takes part again, and that thread ends.
//!
//! In: sources ([`Collector`]), a clock, the deadline. Out: per round and source its values, how long it took and what went
//! wrong. Time comes from a [`Clock`], so that tests turn it by hand.
//!
//! Limits: at most [`STUCK_MAX`] threads are left behind; past it, the sources behind the stuck one go without values until one
//! comes back. A source may bring at most [`CHILDREN_MAX`] children (one a mount).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::Notify;

use super::failure::Failure;
use super::samples::{Describer, Recall, Samples};
use crate::inputs::BoxFuture;
use crate::series::Round;

/// Threads that may hang at the same time.
pub(crate) const STUCK_MAX: usize = 32;
/// Children of all sources together.
pub(crate) const CHILDREN_MAX: usize = 2048;

/// One source of values.
pub(crate) trait Collector: Send {
    /// node_exporter's names for it, the first one is also its name in logs; empty for a child, which counts to its parent.
    fn names(&self) -> &'static [&'static str];

    /// Writes the values as they are now. What was written before a failure is kept.
    fn collect(&mut self, visit: &mut Visit<'_>) -> Result<(), Failure>;
}

/// What a source gets to work with.
pub(crate) struct Visit<'a> {
    /// Where the values go.
    pub(crate) samples: &'a mut Samples,
    /// Room to read into, shared by the sources.
    pub(crate) buffer: &'a mut Vec<u8>,
    /// Wall time.
    pub(crate) now: SystemTime,
    /// Set where the source's children changed: the whole new list.
    pub(crate) children: &'a mut Option<Vec<Child>>,
}

/// A source that another source found.
pub(crate) struct Child {
    /// Names it in logs and for the next list: a child whose name was there before goes on as it was.
    pub(crate) name: String,
    /// Its code.
    pub(crate) collector: Box<dyn Collector>,
    /// What is said while it is stuck.
    pub(crate) when_stuck: Samples,
}

/// Where time comes from.
pub(crate) trait Clock: Send + Sync {
    fn now(&self) -> Instant;
    fn wall(&self) -> SystemTime;
    fn sleep_until(&self, at: Instant) -> BoxFuture<'static, ()>;
}

/// The system's clocks.
pub(crate) struct RealClock;

impl Clock for RealClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep_until(at.into()))
    }
}

/// What became of a source in the last round.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It was not its turn: the round's time ran out before, or too many threads hang.
    NotAsked,
    /// It answered after so long.
    Done(Duration),
    /// It failed after so long.
    Failed(Duration, Failure),
    /// It does not come back.
    Stuck,
}

/// A source as the round sees it.
pub(crate) struct Seat {
    id: u64,
    /// Names it in logs, such as `filesystem /mnt/nas`.
    pub(crate) name: Arc<str>,
    /// Under which names it is counted; a child's are empty.
    pub(crate) names: &'static [&'static str],
    /// Whose child it is.
    pub(crate) parent: Option<&'static str>,
    /// What became of it.
    pub(crate) outcome: Outcome,
    /// Whether it was ever stuck.
    pub(crate) ever_stuck: bool,
    /// `None` while a thread has it.
    collector: Option<Box<dyn Collector>>,
    samples: Samples,
    recall: Recall,
    when_stuck: Samples,
}

impl Seat {
    fn new(
        id: u64,
        name: &str,
        parent: Option<&'static str>,
        child: Box<dyn Collector>,
        when_stuck: Samples,
    ) -> Self {
        Self {
            id,
            name: name.into(),
            names: child.names(),
            parent,
            outcome: Outcome::NotAsked,
            ever_stuck: false,
            collector: Some(child),
            samples: Samples::default(),
            recall: Recall::default(),
            when_stuck,
        }
    }

    /// Says what is to be said of it now.
    pub(crate) fn say(&mut self, round: &mut Round<'_>, describer: &mut Describer) {
        if matches!(self.outcome, Outcome::Stuck) {
            self.when_stuck.put_into(round, describer);
        } else {
            self.samples.put_recalled(round, describer, &mut self.recall);
        }
    }
}

struct Running {
    seat: usize,
    since: Instant,
}

#[derive(Default)]
struct State {
    seats: Vec<Seat>,
    next_id: u64,
    /// The seat that is asked next; past the end: the round is over.
    next: usize,
    running: Option<Running>,
    /// The worker whose turn it is; one with another number was left behind.
    worker: u64,
    alive: bool,
    left_behind: usize,
    gave_up: u64,
    healed: u64,
    closed: bool,
}

struct Shared {
    state: Mutex<State>,
    /// The worker waits here for a round.
    work: Condvar,
    /// The round waits here for the worker.
    done: Notify,
    clock: Arc<dyn Clock>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code of a source runs under the lock, so that the state is whole even after a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the crew did since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CrewStats {
    /// Sources that are stuck now.
    pub(crate) stuck: u64,
    /// Times that a source was given up.
    pub(crate) gave_up: u64,
    /// Times that a stuck source came back.
    pub(crate) healed: u64,
}

/// See the module's text.
pub(crate) struct Crew {
    shared: Arc<Shared>,
}

impl Crew {
    /// A crew of these sources, asked in this order.
    pub(crate) fn new(collectors: Vec<Box<dyn Collector>>, clock: Arc<dyn Clock>) -> Self {
        let mut state = State::default();
        for collector in collectors {
            let name = collector.names().first().copied().unwrap_or("source");
            let seat = Seat::new(state.next_id, name, None, collector, Samples::default());
            state.seats.push(seat);
            state.next_id += 1;
        }
        state.next = state.seats.len();
        let shared = Shared { state: Mutex::new(state), work: Condvar::new(), done: Notify::new(), clock };
        Self { shared: Arc::new(shared) }
    }

    /// Asks every source once. `deadline` is for each source, `total` for the round.
    pub(crate) async fn round(&mut self, deadline: Duration, total: Duration) -> std::io::Result<()> {
        let end = self.shared.clock.now() + total;
        self.begin(deadline)?;
        loop {
            let (check_at, over) = self.look(deadline, end)?;
            if over {
                return Ok(());
            }
            let time_up = self.shared.clock.sleep_until(check_at);
            tokio::select! {
                () = self.shared.done.notified() => {}
                () = time_up => {}
            }
        }
    }

    /// Shows each source of the last round.
    pub(crate) fn visit(&self, mut see: impl FnMut(&mut Seat)) -> CrewStats {
        let mut state = self.shared.lock();
        state.seats.iter_mut().for_each(&mut see);
        let stuck = state.seats.iter().filter(|seat| matches!(seat.outcome, Outcome::Stuck)).count() as u64;
        CrewStats { stuck, gave_up: state.gave_up, healed: state.healed }
    }

    fn begin(&mut self, deadline: Duration) -> std::io::Result<()> {
        let now = self.shared.clock.now();
        let mut state = self.shared.lock();
        // A round that ended early (its time was up, its future was dropped) may have left a source running.
        give_up_overdue(&mut state, deadline, now);
        for seat in &mut state.seats {
            if !matches!(seat.outcome, Outcome::Stuck) {
                seat.outcome = Outcome::NotAsked;
                seat.samples.clear();
            }
        }
        state.next = 0;
        self.wake_worker(state)
    }

    /// When to look again, and whether the round is over.
    fn look(&mut self, deadline: Duration, end: Instant) -> std::io::Result<(Instant, bool)> {
        let now = self.shared.clock.now();
        let mut state = self.shared.lock();
        give_up_overdue(&mut state, deadline, now);
        if now >= end {
            state.next = state.seats.len();
        }
        let over = state.next >= state.seats.len() || (state.running.is_none() && skip_to_ready(&mut state));
        if over && (state.running.is_none() || now >= end) {
            return Ok((now, true));
        }
        let since = state.running.as_ref().map_or(now, |running| running.since);
        if !state.alive {
            self.wake_worker(state)?;
        }
        Ok(((since + deadline).min(end), false))
    }

    /// Takes the lock along, so that the thread that wakes finds it free: else each round costs two switches more.
    fn wake_worker(&self, mut state: MutexGuard<'_, State>) -> std::io::Result<()> {
        if state.alive {
            drop(state);
            self.shared.work.notify_all();
            return Ok(());
        }
        if state.left_behind >= STUCK_MAX {
            state.next = state.seats.len();
            drop(state);
            self.shared.done.notify_one();
            return Ok(());
        }
        let (shared, number) = (Arc::clone(&self.shared), state.worker);
        std::thread::Builder::new()
            .name("host".into())
            .stack_size(256 << 10)
            .spawn(move || work(&shared, number))?;
        state.alive = true;
        Ok(())
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.work.notify_all();
    }
}

/// Leaves a source that runs for too long, and the worker that runs it, behind.
fn give_up_overdue(state: &mut State, deadline: Duration, now: Instant) {
    let Some(running) = state.running.take_if(|running| now >= running.since + deadline) else { return };
    if let Some(seat) = state.seats.get_mut(running.seat) {
        seat.outcome = Outcome::Stuck;
        seat.ever_stuck = true;
    }
    state.gave_up += 1;
    state.left_behind += 1;
    state.worker += 1;
    state.alive = false;
}

/// The worker's life.
fn work(shared: &Shared, number: u64) {
    let mut buffer = Vec::new();
    let mut state = shared.lock();
    loop {
        if state.worker != number || state.closed {
            return;
        }
        let Some(seat) = take_next(&mut state) else {
            state = shared.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        let id = state.seats[seat].id;
        let mut collector = state.seats[seat].collector.take().expect("take_next chose a seat that has one");
        let mut samples = std::mem::take(&mut state.seats[seat].samples);
        let started = shared.clock.now();
        state.running = Some(Running { seat, since: started });
        drop(state);

        let mut children = None;
        samples.clear();
        let result = {
            let now = shared.clock.wall();
            let mut visit =
                Visit { samples: &mut samples, buffer: &mut buffer, now, children: &mut children };
            // A bug in one source must not silence the others.
            catch_unwind(AssertUnwindSafe(|| collector.collect(&mut visit))).unwrap_or(Err(Failure::Panicked))
        };

        state = shared.lock();
        let took = shared.clock.now().saturating_duration_since(started);
        if state.worker != number {
            come_back(&mut state, id, collector);
            return;
        }
        state.running = None;
        let parent = state.seats[seat].names.first().copied();
        let place = &mut state.seats[seat];
        place.collector = Some(collector);
        place.samples = samples;
        place.outcome = match result {
            Ok(()) => Outcome::Done(took),
            Err(failure) => Outcome::Failed(took, failure),
        };
        if let (Some(children), Some(parent)) = (children, parent) {
            adopt(&mut state, parent, children);
        }
        if skip_to_ready(&mut state) {
            // Free before the round wakes for it, see `wake_worker`; nobody else gives this worker work meanwhile.
            drop(state);
            shared.done.notify_one();
            state = shared.lock();
        }
    }
}

/// Moves on to a seat that can be asked; says whether there is none left.
fn skip_to_ready(state: &mut State) -> bool {
    while state.seats.get(state.next).is_some_and(|seat| seat.collector.is_none()) {
        state.next += 1;
    }
    state.next >= state.seats.len()
}

fn take_next(state: &mut State) -> Option<usize> {
    if skip_to_ready(state) {
        return None;
    }
    state.next += 1;
    Some(state.next - 1)
}

/// A thread that was left behind has its answer at last: the source may take part again.
fn come_back(state: &mut State, id: u64, collector: Box<dyn Collector>) {
    state.left_behind -= 1;
    state.healed += 1;
    if let Some(seat) = state.seats.iter_mut().find(|seat| seat.id == id) {
        seat.collector = Some(collector);
        seat.outcome = Outcome::NotAsked;
    }
}

/// Makes the children of a source be these; those that go on keep their seats.
fn adopt(state: &mut State, parent: &'static str, children: Vec<Child>) {
    let wanted = |name: &str| children.iter().any(|child| child.name == name);
    state.seats.retain(|seat| seat.parent != Some(parent) || wanted(&seat.name));
    for child in children {
        let known = state.seats.iter().any(|seat| seat.parent == Some(parent) && *seat.name == *child.name);
        let full = state.seats.iter().filter(|seat| seat.parent.is_some()).count() >= CHILDREN_MAX;
        if known || full {
            continue;
        }
        let seat = Seat::new(state.next_id, &child.name, Some(parent), child.collector, child.when_stuck);
        state.next_id += 1;
        state.seats.push(seat);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::mpsc;

    use model::{Labels, Timestamp};

    use super::super::samples::families;
    use super::*;
    use crate::series::SeriesTable;

    families! {
        ANSWER: Gauge "answer" ["source"] "An answer.";
        HANGS: Gauge "hangs" ["source"] "No answer.";
    }

    /// A clock that stands until it is turned; whoever waits for a time past its end waits for the turn.
    pub(crate) struct HandClock {
        start: Instant,
        turned: tokio::sync::watch::Sender<Duration>,
    }

    impl HandClock {
        pub(crate) fn new() -> Arc<Self> {
            Arc::new(Self { start: Instant::now(), turned: tokio::sync::watch::Sender::new(Duration::ZERO) })
        }

        pub(crate) fn turn(&self, by: Duration) {
            self.turned.send_modify(|turned| *turned += by);
        }
    }

    impl Clock for HandClock {
        fn now(&self) -> Instant {
            self.start + *self.turned.borrow()
        }

        fn wall(&self) -> SystemTime {
            SystemTime::UNIX_EPOCH + *self.turned.borrow()
        }

        fn sleep_until(&self, at: Instant) -> BoxFuture<'static, ()> {
            let (start, mut turned) = (self.start, self.turned.subscribe());
            Box::pin(async move {
                let _ = turned.wait_for(|turned| start + *turned >= at).await;
            })
        }
    }

    /// Says that it was asked, then answers at once or waits at its gate.
    struct Fake {
        name: &'static [&'static str],
        asked: mpsc::Sender<&'static str>,
        gate: Option<mpsc::Receiver<()>>,
        children: Option<Vec<Child>>,
        panics: bool,
    }

    impl Collector for Fake {
        fn names(&self) -> &'static [&'static str] {
            self.name
        }

        fn collect(&mut self, visit: &mut Visit<'_>) -> Result<(), Failure> {
            let name = self.name.first().copied().unwrap_or("child");
            let _ = self.asked.send(name);
            if let Some(gate) = &self.gate {
                let _ = gate.recv();
            }
            assert!(!self.panics, "told to panic");
            visit.samples.metric(&ANSWER, &[name.as_bytes()], 1.0);
            *visit.children = self.children.take();
            Ok(())
        }
    }

    struct Scene {
        clock: Arc<HandClock>,
        asked: (mpsc::Sender<&'static str>, mpsc::Receiver<&'static str>),
    }

    impl Scene {
        fn new() -> Self {
            Self { clock: HandClock::new(), asked: mpsc::channel() }
        }

        fn fake(&self, name: &'static [&'static str]) -> Fake {
            Fake { name, asked: self.asked.0.clone(), gate: None, children: None, panics: false }
        }

        fn gated(&self, name: &'static [&'static str]) -> (Fake, mpsc::Sender<()>) {
            let (open, gate) = mpsc::channel();
            (Fake { gate: Some(gate), ..self.fake(name) }, open)
        }

        fn crew(&self, fakes: Vec<Fake>) -> Crew {
            let collectors = fakes.into_iter().map(|fake| Box::new(fake) as Box<dyn Collector>).collect();
            Crew::new(collectors, Arc::clone(&self.clock) as Arc<dyn Clock>)
        }

        fn asked(&self) -> Vec<&'static str> {
            self.asked.1.try_iter().collect()
        }
    }

    const DEADLINE: Duration = Duration::from_secs(3);
    const TOTAL: Duration = Duration::from_secs(9);

    async fn round(crew: &mut Crew) -> Vec<String> {
        crew.round(DEADLINE, TOTAL).await.unwrap();
        said(crew)
    }

    fn said(crew: &Crew) -> Vec<String> {
        let mut table = SeriesTable::new(Labels::empty(), 100);
        let mut round = Round::begin(&mut table, Timestamp::from_millis(1), Vec::new());
        crew.visit(|seat| {
            seat.say(&mut round, &mut Describer::default());
        });
        let (points, _) = round.finish();
        points.iter().map(|point| table.entry(point.series).labels.to_string()).collect()
    }

    /// Runs a round in which `who` blocks, and turns the clock past its deadline once it does.
    async fn hanging_round(scene: &Scene, crew: &mut Crew, who: &str) -> Vec<String> {
        let mut seen = Vec::new();
        {
            let mut running = std::pin::pin!(crew.round(DEADLINE, TOTAL));
            loop {
                tokio::select! {
                    biased;
                    result = &mut running => break result.unwrap(),
                    () = tokio::task::yield_now() => {}
                }
                let asked = scene.asked();
                if asked.contains(&who) {
                    scene.clock.turn(DEADLINE);
                }
                seen.extend(asked);
            }
        }
        said(crew)
    }

    #[tokio::test]
    async fn every_source_is_asked_in_order_and_a_panic_is_its_own() {
        let scene = Scene::new();
        let broken = Fake { panics: true, ..scene.fake(&["b"]) };
        let mut crew = scene.crew(vec![scene.fake(&["a"]), broken, scene.fake(&["c"])]);
        for _ in 0..2 {
            assert_eq!(round(&mut crew).await, [r#"answer{source="a"}"#, r#"answer{source="c"}"#]);
            assert_eq!(scene.asked(), ["a", "b", "c"]);
        }
    }

    #[tokio::test]
    async fn a_stuck_source_is_left_behind_once_and_comes_back_when_it_heals() {
        let scene = Scene::new();
        let (hung, open) = scene.gated(&["hung"]);
        let mut crew = scene.crew(vec![scene.fake(&["a"]), hung, scene.fake(&["c"])]);
        let all_but = [r#"answer{source="a"}"#, r#"answer{source="c"}"#];
        assert_eq!(hanging_round(&scene, &mut crew, "hung").await, all_but);
        scene.asked();
        for _ in 0..3 {
            assert_eq!(round(&mut crew).await, all_but, "no wait, no second thread");
        }
        assert!(!scene.asked().contains(&"hung"));
        assert_eq!(crew.visit(|_| {}), CrewStats { stuck: 1, gave_up: 1, healed: 0 });
        open.send(()).unwrap();
        while crew.visit(|_| {}).healed == 0 {
            tokio::task::yield_now().await;
        }
        open.send(()).unwrap();
        assert_eq!(round(&mut crew).await.len(), 3);
        assert_eq!(crew.visit(|_| {}), CrewStats { stuck: 0, gave_up: 1, healed: 1 });
    }

    #[tokio::test]
    async fn a_child_that_hangs_says_what_it_was_told_to_say() {
        let scene = Scene::new();
        let (child, open) = scene.gated(&[]);
        let mut when_stuck = Samples::default();
        when_stuck.metric(&HANGS, &[b"nas"], 1.0);
        let child = Child { name: "filesystem /nas".into(), collector: Box::new(child), when_stuck };
        let parent = Fake { children: Some(vec![child]), ..scene.fake(&["filesystem"]) };
        let mut crew = scene.crew(vec![parent, scene.fake(&["b"])]);
        let expected = [r#"answer{source="filesystem"}"#, r#"answer{source="b"}"#, r#"hangs{source="nas"}"#];
        assert_eq!(hanging_round(&scene, &mut crew, "child").await, expected);
        drop(open);
    }

    #[tokio::test]
    async fn children_come_and_go_with_the_list() {
        let scene = Scene::new();
        let child = |name: &str| Child {
            name: name.into(),
            collector: Box::new(scene.fake(&[])),
            when_stuck: Samples::default(),
        };
        let crew = scene.crew(vec![scene.fake(&["filesystem"])]);
        let mut state = crew.shared.lock();
        let names = |state: &State| state.seats.iter().map(|seat| seat.name.to_string()).collect::<Vec<_>>();
        adopt(&mut state, "filesystem", vec![child("/"), child("/home")]);
        assert_eq!(names(&state), ["filesystem", "/", "/home"]);
        let home = state.seats[2].id;
        adopt(&mut state, "filesystem", vec![child("/home"), child("/srv")]);
        assert_eq!(
            (names(&state), state.seats[1].id),
            (vec!["filesystem".into(), "/home".into(), "/srv".into()], home)
        );
        adopt(
            &mut state,
            "filesystem",
            (0..CHILDREN_MAX + 9).map(|mount| child(&mount.to_string())).collect(),
        );
        assert_eq!(state.seats.len(), 1 + CHILDREN_MAX);
    }

    #[tokio::test]
    async fn threads_left_behind_are_bounded() {
        let scene = Scene::new();
        let (fakes, gates): (Vec<Fake>, Vec<mpsc::Sender<()>>) =
            (0..STUCK_MAX + 1).map(|_| scene.gated(&["hung"])).unzip();
        let mut crew = scene.crew(fakes);
        // Each round has time for a few sources to hang; the last one is never asked.
        while crew.visit(|_| {}).stuck < STUCK_MAX as u64 {
            hanging_round(&scene, &mut crew, "hung").await;
        }
        scene.asked();
        assert!(round(&mut crew).await.is_empty());
        assert!(scene.asked().is_empty(), "no thread is left to ask with");
        drop(gates);
    }

    #[tokio::test]
    async fn a_round_that_was_dropped_does_not_break_the_next() {
        let scene = Scene::new();
        let (hung, _open) = scene.gated(&["hung"]);
        let mut crew = scene.crew(vec![hung, scene.fake(&["b"])]);
        {
            let mut running = std::pin::pin!(crew.round(DEADLINE, TOTAL));
            while !scene.asked().contains(&"hung") {
                tokio::select! { biased; _ = &mut running => unreachable!("it hangs"), () = tokio::task::yield_now() => {} }
            }
        }
        scene.clock.turn(DEADLINE);
        assert_eq!(round(&mut crew).await, [r#"answer{source="b"}"#]);
    }
}
