//! The threads that look after an open store: one keeps its bounds and writes blocks, one makes large blocks of small ones.
//!
//! In: the store, the budget. Out: log lines. The first is woken by the store itself, else it looks every ten seconds; what it
//! does must be done however much is going on. The second stays within [`Compaction`]'s budget: it rests after each piece of
//! work for as long as the bytes or the processor's time of that piece ask for, whichever is longer. Both end within a moment of
//! [`Upkeep::stop`]; a compaction that is given up leaves nothing behind and begins anew at the next start. A mistake of ours (a panic)
//! in a piece of work is said like any other fault, and the work is tried again: a thread that ended in silence would let memory and
//! disk fill up.
//!
//! The store is told the time that [`Clock`] believes: a clock that leaps ahead is not believed at once, because retention cannot be
//! undone, and the collector's own samples bear the leapt time, too.

use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use model::Timestamp;
use prometheus::IntCounter;
use telemetry::summary::{Say, Summary};
use tsdb::{Pace, Store, StoreError};

use super::Compaction;
use crate::mistake::{self, Mistake};
use crate::state;

/// How often the store's bounds are looked after when nothing asks for it.
const MAINTAIN_EVERY: Duration = Duration::from_secs(10);
/// How soon the end is noticed.
const NOTICE_EVERY: Duration = Duration::from_millis(250);
/// How often somebody looks whether blocks are worth being merged.
const COMPACT_EVERY: Duration = Duration::from_secs(15);
/// After a failure it is not tried again at once: the disk will hardly be better.
const AFTER_FAILURE: Duration = Duration::from_secs(60);
/// A fault that goes on is said again this often.
const SAY_EVERY: Duration = Duration::from_secs(600);
/// Time that was not used in which no more work is done than this much of it would allow.
const CREDIT_MAX: Duration = Duration::from_secs(1);
/// A clock that goes on by this much more than time does has leapt.
const LEAP: Duration = Duration::from_secs(24 * 3600);
/// After so long a leap is believed: long enough that somebody who is told of it can set the clock right.
const BELIEVED_AFTER: Duration = Duration::from_secs(6 * 3600);

/// Set once, at the end.
#[derive(Default)]
struct Stop {
    is_set: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    /// Waits for so long, or until the end; whether it is the end.
    fn wait(&self, at_most: Duration) -> bool {
        let is_set = self.is_set.lock().expect("nothing panics while it holds this lock");
        let waited = self.changed.wait_timeout_while(is_set, at_most, |is_set| !*is_set);
        *waited.expect("nothing panics while it holds this lock").0
    }

    fn is_set(&self) -> bool {
        *self.is_set.lock().expect("nothing panics while it holds this lock")
    }

    fn set(&self) {
        *self.is_set.lock().expect("nothing panics while it holds this lock") = true;
        self.changed.notify_all();
    }
}

/// See the module's text.
pub struct Upkeep {
    stop: Arc<Stop>,
    budget: Arc<Mutex<Compaction>>,
    threads: Vec<JoinHandle<()>>,
}

impl Upkeep {
    /// Starts both threads, which count mistakes of ours in `panics`.
    ///
    /// # Errors
    /// The system's, where it has no threads left.
    pub fn start(store: &Arc<Store>, budget: Compaction, panics: &IntCounter) -> std::io::Result<Self> {
        let mut upkeep =
            Self { stop: Arc::default(), budget: Arc::new(Mutex::new(budget)), threads: Vec::new() };
        let clock = Arc::new(Mutex::new(Clock::new(state::now(), store.newest_time())));
        let (maintained, stop, time) = (Arc::clone(store), Arc::clone(&upkeep.stop), Arc::clone(&clock));
        let said = Said::new("look after the store", panics.clone());
        let thread = std::thread::Builder::new().name("store upkeep".into());
        upkeep.threads.push(thread.spawn(move || maintain(&maintained, &stop, &time, said))?);
        let (compacted, stop, budget) =
            (Arc::clone(store), Arc::clone(&upkeep.stop), Arc::clone(&upkeep.budget));
        let said = Said::new("merge blocks", panics.clone());
        let thread = std::thread::Builder::new().name("store compaction".into());
        upkeep.threads.push(thread.spawn(move || compact(&compacted, &stop, &budget, &clock, said))?);
        Ok(upkeep)
    }

    /// Takes over another budget.
    pub fn set_budget(&self, budget: Compaction) {
        *self.budget.lock().expect("nothing panics while it holds this lock") = budget;
    }

    /// Ends both threads; waits for the piece of work that they are at.
    pub fn stop(mut self) {
        self.stop.set();
        for thread in std::mem::take(&mut self.threads) {
            if thread.join().is_err() {
                tracing::error!("a thread that looks after the store ended in a mistake of ours");
            }
        }
    }
}

/// Who forgets to stop them does not keep them: they end by themselves, and nobody waits.
impl Drop for Upkeep {
    fn drop(&mut self) {
        self.stop.set();
    }
}

/// Says a fault once and then summarised.
struct Said {
    summary: Summary,
    began: Instant,
    what: &'static str,
    panics: IntCounter,
}

impl Said {
    fn new(what: &'static str, panics: IntCounter) -> Self {
        Self { summary: Summary::new(SAY_EVERY), began: Instant::now(), what, panics }
    }

    fn well(&mut self) {
        if let Say::Recovered { after } = self.summary.well(self.began.elapsed()) {
            tracing::info!("can {} again, after {} s", self.what, after.as_secs());
        }
    }

    fn fault(&mut self, error: &Fault) {
        if matches!(error, Fault::Mistake(_)) {
            self.panics.inc();
        }
        match self.summary.fault(self.began.elapsed()) {
            Say::First => tracing::error!("cannot {}: {error}", self.what),
            Say::Again { times } => {
                tracing::error!("cannot {}: {error} ({times} times since it was last said)", self.what);
            }
            Say::Recovered { .. } | Say::Nothing => {}
        }
    }
}

/// Why a piece of work came to nothing.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Mistake(#[from] Mistake),
}

/// Does a piece of work. What it held is let go of, and the next piece finds what it left.
fn guarded<T>(work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, Fault> {
    mistake::caught(work)?.map_err(Fault::Store)
}

/// The time as far as it is believed.
struct Clock {
    began: Instant,
    believed: Timestamp,
    /// Since `began`.
    at: Duration,
    doubted_since: Option<Duration>,
}

impl Clock {
    /// At a start the newest sample says how late it was: a machine may come back with another year.
    fn new(wall: Timestamp, newest: Option<Timestamp>) -> Self {
        let believed = newest.map_or(wall, |newest| newest.min(wall));
        Self { began: Instant::now(), believed, at: Duration::ZERO, doubted_since: None }
    }

    fn now(&mut self) -> Timestamp {
        self.read(state::now(), self.began.elapsed())
    }

    /// What is believed when the clock shows `wall`, at a time since the start that never goes back.
    fn read(&mut self, wall: Timestamp, at: Duration) -> Timestamp {
        let expected = self.believed + at.saturating_sub(self.at);
        let leapt = wall.millis_since(expected) > LEAP.as_millis() as i64;
        let since = *self.doubted_since.get_or_insert(at);
        if !leapt || at.saturating_sub(since) >= BELIEVED_AFTER {
            self.doubted_since = None;
            self.believed = wall;
        } else {
            if since == at {
                tracing::error!(
                    "the machine's clock leapt from {expected} to {wall} (or nothing was stored in between): samples past their age are \
                     kept for {} h more. If the clock is wrong, set it right before that",
                    BELIEVED_AFTER.as_secs() / 3600
                );
            }
            self.believed = expected;
        }
        self.at = at;
        self.believed
    }
}

fn believed(clock: &Mutex<Clock>) -> Timestamp {
    clock.lock().expect("nothing panics while it holds this lock").now()
}

fn maintain(store: &Store, stop: &Stop, clock: &Mutex<Clock>, mut said: Said) {
    let mut looked = Instant::now();
    while !stop.is_set() {
        if !store.wait_for_work(NOTICE_EVERY) && looked.elapsed() < MAINTAIN_EVERY {
            continue;
        }
        looked = Instant::now();
        match guarded(|| store.maintain(believed(clock))) {
            Ok(done) => {
                said.well();
                if done.blocks_removed > 0 {
                    tracing::info!("{} blocks were past their time, or made room", done.blocks_removed);
                }
                for (cause, dropped) in done.dropped {
                    tracing::info!("the store let go of {dropped} samples: {}", cause.as_str());
                }
            }
            Err(error) => {
                said.fault(&error);
                // Whatever asked for work asks again.
                stop.wait(Duration::from_secs(1));
            }
        }
    }
}

fn compact(store: &Store, stop: &Stop, budget: &Mutex<Compaction>, clock: &Mutex<Clock>, mut said: Said) {
    // Soon after a start: who is started again and again must merge, too.
    let mut rest = NOTICE_EVERY;
    while !stop.wait(rest) {
        rest = COMPACT_EVERY;
        loop {
            let config = *budget.lock().expect("nothing panics while it holds this lock");
            let mut pace =
                Budget { stop, spending: Spending::new(config), began: Instant::now(), cpu: cpu_time() };
            match guarded(|| store.compact(believed(clock), &mut pace)) {
                Ok(done) if done.blocks_in > 0 => said.well(),
                Ok(_) => {
                    said.well();
                    break;
                }
                Err(Fault::Store(_)) if stop.is_set() => return,
                Err(error) => {
                    said.fault(&error);
                    rest = AFTER_FAILURE;
                    break;
                }
            }
            if stop.is_set() {
                return;
            }
        }
    }
}

/// The processor's time that this thread has used.
fn cpu_time() -> Duration {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(used.tv_sec).unwrap_or(0), u32::try_from(used.tv_nsec).unwrap_or(0))
}

/// Keeps a piece of work within its budget.
struct Budget<'a> {
    stop: &'a Stop,
    spending: Spending,
    began: Instant,
    cpu: Duration,
}

impl Pace for Budget<'_> {
    fn spent(&mut self, bytes: u64) -> bool {
        let rest = self.spending.rest(bytes, cpu_time().saturating_sub(self.cpu), self.began.elapsed());
        if rest.is_zero() { !self.stop.is_set() } else { !self.stop.wait(rest) }
    }
}

/// What was spent, and how long it may take. Times count from the beginning.
struct Spending {
    config: Compaction,
    bytes: f64,
    /// Time that was given away because it was not used when it was there.
    lost: Duration,
}

impl Spending {
    fn new(config: Compaction) -> Self {
        Self { config, bytes: 0.0, lost: Duration::ZERO }
    }

    /// How long to rest now.
    fn rest(&mut self, bytes: u64, cpu: Duration, elapsed: Duration) -> Duration {
        self.bytes += bytes as f64;
        let by_bytes = self.bytes / self.config.bytes_per_second.get() as f64;
        let by_cpu = cpu.as_secs_f64() * 100.0 / self.config.cpu_percent.get() as f64;
        let due = Duration::from_secs_f64(by_bytes.max(by_cpu)) + self.lost;
        let unused = elapsed.saturating_sub(due);
        self.lost += unused.saturating_sub(CREDIT_MAX);
        due.saturating_sub(elapsed)
    }
}

#[cfg(test)]
mod tests {
    use settings::Bytes;

    use super::*;
    use crate::settings::Within;

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    fn spending() -> Spending {
        Spending::new(Compaction { bytes_per_second: Bytes::new(1000), cpu_percent: Within::new(50) })
    }

    #[test]
    fn work_rests_for_its_bytes_or_its_processor_time_whichever_is_longer() {
        let mut spending = spending();
        assert_eq!(spending.rest(1000, seconds(0.1), seconds(0.2)), seconds(0.8));
        assert_eq!(spending.rest(0, seconds(2.0), seconds(2.5)), seconds(1.5));
        assert_eq!(spending.rest(1000, seconds(2.0), seconds(4.0)), Duration::ZERO);
    }

    #[test]
    fn what_was_not_used_is_no_licence_to_work_without_rest() {
        let mut spending = spending();
        assert_eq!(spending.rest(0, Duration::ZERO, seconds(60.0)), Duration::ZERO);
        assert_eq!(spending.rest(5000, Duration::ZERO, seconds(60.0)), seconds(4.0), "but for a second");
    }

    /// The thread ended, nobody was told before the next stop, and blocks were neither written nor merged nor let go of.
    #[test]
    fn a_mistake_in_a_piece_of_work_is_a_fault_like_another() {
        let check = |work: fn() -> Result<(), StoreError>, expected: &str| {
            let fault = guarded(work).expect_err("it came to nothing");
            assert_eq!(fault.to_string(), expected);
        };
        check(|| panic!("no place {}", 7), "a mistake of ours, please report it: no place 7");
        check(|| panic!("no place"), "a mistake of ours, please report it: no place");
        check(|| std::panic::panic_any(7), "a mistake of ours, please report it: without words");
        let closed = || Err(StoreError::Journal(journal::JournalError::Closed));
        check(closed, &journal::JournalError::Closed.to_string());
        assert!(matches!(guarded(|| Ok(7)), Ok(7)));
        let panics = IntCounter::new("panics", "For this test.").expect("a name");
        let mut said = Said::new("be tested", panics.clone());
        said.fault(&guarded::<()>(|| panic!("no place")).expect_err("it came to nothing"));
        said.fault(&guarded(closed).expect_err("it came to nothing"));
        assert_eq!(panics.get(), 1, "a disk's fault is none of ours");
    }

    /// The collector's own samples bear the leapt time, so that the store's newest sample bore it out: all older ones were let go of.
    #[test]
    fn a_clock_that_leaps_ahead_is_believed_after_hours_and_one_that_is_set_back_at_once() {
        let day = |days: u64| Timestamp::from_millis(1_800_000_000_000) + Duration::from_secs(days * 86_400);
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        let mut clock = Clock::new(day(0), None);
        assert_eq!(clock.read(day(0) + hours(1), hours(1)), day(0) + hours(1));
        assert_eq!(clock.read(day(1), hours(2)), day(1), "some hours are none");
        assert_eq!(clock.read(day(900), hours(3)), day(1) + hours(1));
        assert_eq!(clock.read(day(901), hours(4)), day(1) + hours(2));
        assert_eq!(clock.read(day(1) + hours(3), hours(5)), day(1) + hours(3), "it was set right");
        assert_eq!(clock.read(day(900), hours(6)), day(1) + hours(4));
        assert_eq!(clock.read(day(900) + hours(5), hours(11)), day(1) + hours(9), "the doubt began anew");
        assert_eq!(clock.read(day(900) + hours(6), hours(12)), day(900) + hours(6));
        assert_eq!(clock.read(day(2), hours(13)), day(2), "back");
    }

    /// Its own samples bore the year out that a machine came back with, and all older ones were let go of.
    #[test]
    fn a_clock_that_is_far_ahead_of_the_newest_sample_at_a_start_is_believed_after_hours() {
        let day = |days: u64| Timestamp::from_millis(1_800_000_000_000) + Duration::from_secs(days * 86_400);
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        let check = |wall, newest, at: u64, expected| {
            let mut clock = Clock::new(wall, newest);
            assert_eq!(clock.read(wall, Duration::ZERO), clock.believed);
            assert_eq!(clock.read(wall + hours(at), hours(at)), expected);
        };
        check(day(900), Some(day(1)), 5, day(1) + hours(5));
        check(day(900), Some(day(1)), 6, day(900) + hours(6));
        check(day(2), Some(day(1)), 5, day(2) + hours(5));
        check(day(2), Some(day(900)), 5, day(2) + hours(5));
        check(day(2), None, 5, day(2) + hours(5));
    }

    #[test]
    fn both_threads_end_within_a_moment() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = crate::storage::open(
            folder.path(),
            &crate::storage::Config::default(),
            &crate::ledger::Ledger::new(),
        )
        .expect("opened");
        let panics = IntCounter::new("panics", "For this test.").expect("a name");
        let upkeep = Upkeep::start(&store, Compaction::default(), &panics).expect("threads");
        upkeep.set_budget(Compaction { cpu_percent: Within::new(1), ..Compaction::default() });
        upkeep.stop();
        drop(Upkeep::start(&store, Compaction::default(), &panics).expect("threads"));
        let begun = Instant::now();
        while Arc::strong_count(&store) > 1 {
            assert!(begun.elapsed() < Duration::from_secs(20), "a thread that nobody keeps ends");
            std::thread::yield_now();
        }
    }

    #[test]
    fn the_end_wakes_who_rests() {
        let stop = Arc::new(Stop::default());
        let other = Arc::clone(&stop);
        let resting = std::thread::spawn(move || other.wait(Duration::from_secs(3600)));
        stop.set();
        assert!(resting.join().expect("it ends well"));
        assert!(stop.wait(Duration::ZERO));
    }
}
