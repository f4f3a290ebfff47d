//! Queries while they run: who has a place, which there are, ending one of them, and the log of those that are over.
//!
//! In: work that reads series, and what is known of a query. Out: its result in its turn; the list of queries for
//! `api/active.rs`; a line a query in the log ([`log`]).
//!
//! Shares of the machine: requests have `query.concurrent_max` places, and run on threads of low priority ([`workers`]); streams
//! of remote read have as many of their own; rules need no place, but are in the list and the log: they run on threads of their
//! own (`rules/live.rs`) at the program's own priority, as taking samples in does. A heavy panel then takes what the others
//! leave. What requests hold of their bodies while they wait has its own bound ([`BODY_BYTES_MAX`]).
//!
//! A query ends early when its time is up, when its client leaves, or when somebody who sees it ends it; what else reads series
//! ends by its [`Patience`], for the first two of these reasons. Deliberately not here: limits on what a query reads, which are
//! the engine's (`promql::Options`).

pub mod log;
mod patience;
mod workers;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use model::Timestamp;
use promql::{Interrupt, InterruptCheck, Statistics};
use settings::Mistake;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};

use crate::metrics::Metrics;
use crate::scope::Scope;
use crate::state::now;

use log::Log;
pub use patience::{Patience, Waiting};
use workers::Workers;

/// Bytes of large requests' bodies that are held at once.
pub const BODY_BYTES_MAX: usize = 64 << 20;

/// Where a query comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A request.
    Request {
        /// Such as `GET`.
        method: String,
        /// Such as `/api/v1/query`.
        path: &'static str,
        /// The reader's name; empty where nobody has to say it.
        reader: String,
        /// The address that it came from; empty for the local socket.
        client: String,
    },
    /// A rule.
    Rule {
        /// The rule file.
        file: String,
        /// The group in it.
        group: String,
    },
}

/// What is known of a query before it runs.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The expression.
    pub query: String,
    /// The first time that it is evaluated at.
    pub start: Timestamp,
    /// The last one.
    pub end: Timestamp,
    /// Between them; zero for an instant query.
    pub step: Duration,
    /// How long it may take.
    pub timeout: Duration,
    /// What its reader sees.
    pub scope: Scope,
    /// Where it comes from.
    pub origin: Origin,
}

/// Why a query was told to end.
const GOES_ON: u8 = 0;
const LEFT: u8 = 1;
const KILLED: u8 = 2;

/// A query that waits or runs.
struct Entry {
    id: u64,
    asked: Asked,
    began_at: Timestamp,
    began: Instant,
    running: OnceLock<Instant>,
    stop: AtomicU8,
    killed: Notify,
}

impl Entry {
    fn is_counted(&self) -> bool {
        matches!(self.asked.origin, Origin::Request { .. })
    }
}

/// What tickets share with the list.
struct Shared {
    active: Mutex<BTreeMap<u64, Arc<Entry>>>,
    log: Log,
    metrics: Arc<Metrics>,
}

impl Shared {
    fn active(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Arc<Entry>>> {
        self.active.lock().expect("nothing panics while it holds this lock")
    }
}

/// See the module's text.
pub struct Queries {
    requests: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    bodies: Arc<Semaphore>,
    workers: Arc<Workers>,
    next: AtomicU64,
    shared: Arc<Shared>,
}

/// Monotonic time to some milliseconds (`CLOCK_MONOTONIC_COARSE`, clock_gettime(2)): a query asks for it at each of its series, and the exact
/// clock took a twentieth of what a pass of rules took.
fn coarse_clock() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
    Duration::try_from(now).expect("a monotonic clock is never negative")
}

/// Why work was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotRun {
    /// Its time passed while it waited, in Prometheus' words.
    #[error("query timed out in query queue")]
    TimedOut,
    /// A mistake of ours ended it.
    #[error("the query's thread ended")]
    Broken,
}

impl Queries {
    /// With this many places for requests.
    pub fn new(concurrent_max: usize, metrics: Arc<Metrics>) -> Self {
        let log = Log::new(metrics.query_log_lost.clone());
        let places = || Arc::new(Semaphore::new(concurrent_max.max(1)));
        Self {
            requests: places(),
            streams: places(),
            bodies: Arc::new(Semaphore::new(BODY_BYTES_MAX)),
            workers: Arc::default(),
            next: AtomicU64::new(1),
            shared: Arc::new(Shared { active: Mutex::default(), log, metrics }),
        }
    }

    /// Begins, moves or ends the log of queries; a file that is the same is opened anew, so that another program may have moved it.
    pub fn open_log(&self, config: &log::Config, base: &Path) -> Result<(), Mistake> {
        self.shared.log.open(config, base)
    }

    /// The room that large requests' bodies share, a permit a byte.
    pub fn bodies(&self) -> &Arc<Semaphore> {
        &self.bodies
    }

    /// Whether queries are logged.
    pub fn logs(&self) -> bool {
        self.shared.log.is_open()
    }

    /// Runs work that reads series, in its turn and on a thread of low priority; `deadline` bounds the wait.
    pub async fn run<T: Send + 'static>(
        &self,
        deadline: tokio::time::Instant,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NotRun> {
        let place = place_in(&self.requests, deadline).await?;
        let (answer, answered) = oneshot::channel();
        let job = move || {
            let result = work();
            drop(place);
            // Who does not wait any more does not need it.
            drop(answer.send(result));
        };
        self.workers.run(Box::new(job)).map_err(|_| NotRun::Broken)?;
        answered.await.map_err(|_| NotRun::Broken)
    }

    /// A place for a stream of remote read, until it is dropped.
    pub async fn stream_place(&self, deadline: tokio::time::Instant) -> Result<OwnedSemaphorePermit, NotRun> {
        place_in(&self.streams, deadline).await
    }

    /// Enters a query into the list. The [`Client`] stays with who waits for the answer, the [`Ticket`] with the work.
    pub fn begin(&self, asked: Asked) -> (Client, Ticket) {
        let ticket = self.enter(asked);
        (Client(Arc::clone(&ticket.entry)), ticket)
    }

    fn enter(&self, asked: Asked) -> Ticket {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let entry = Arc::new(Entry {
            id,
            asked,
            began_at: now(),
            began: Instant::now(),
            running: OnceLock::new(),
            stop: AtomicU8::new(GOES_ON),
            killed: Notify::new(),
        });
        self.shared.active().insert(id, Arc::clone(&entry));
        if entry.is_counted() {
            self.shared.metrics.queries_active.inc();
        }
        Ticket { entry, shared: Arc::clone(&self.shared), done: false }
    }

    /// Enters a rule's query, which runs at once and for which nobody waits. Rules have figures of their own and are not counted here.
    pub fn begin_rule(&self, asked: Asked) -> Ticket {
        let ticket = self.enter(asked);
        ticket.start();
        ticket
    }

    /// Queries that wait or run and that this scope may see, the oldest first.
    pub fn active(&self, scope: &Scope) -> Vec<Active> {
        let active = self.shared.active();
        active.values().filter(|entry| may_see(scope, entry)).map(|entry| Active::of(entry)).collect()
    }

    /// Ends a query; whether there is one of this number that the scope may see.
    pub fn kill(&self, id: u64, scope: &Scope) -> bool {
        let entry = self.shared.active().get(&id).filter(|entry| may_see(scope, entry)).cloned();
        let Some(entry) = entry else { return false };
        entry.stop.store(KILLED, Ordering::Relaxed);
        entry.killed.notify_waiters();
        entry.killed.notify_one();
        true
    }
}

async fn place_in(
    places: &Arc<Semaphore>,
    deadline: tokio::time::Instant,
) -> Result<OwnedSemaphorePermit, NotRun> {
    let waited = tokio::time::timeout_at(deadline, Arc::clone(places).acquire_owned()).await;
    Ok(waited.map_err(|_| NotRun::TimedOut)?.expect("the semaphore is never closed"))
}

/// A bounded reader sees the queries of those who see the same: expressions of others name what it may not know.
fn may_see(scope: &Scope, entry: &Entry) -> bool {
    scope.is_everything() || *scope == entry.asked.scope
}

/// A query in the list.
#[derive(Clone, Debug)]
pub struct Active {
    /// Its number, by which it can be ended.
    pub id: u64,
    /// What is known of it.
    pub asked: Asked,
    /// When it came.
    pub began_at: Timestamp,
    /// How long ago.
    pub age: Duration,
    /// Whether it has its place yet.
    pub is_running: bool,
}

impl Active {
    fn of(entry: &Entry) -> Self {
        Self {
            id: entry.id,
            asked: entry.asked.clone(),
            began_at: entry.began_at,
            age: entry.began.elapsed(),
            is_running: entry.running.get().is_some(),
        }
    }
}

/// Held by who waits for the answer: dropping it ends the query.
pub struct Client(Arc<Entry>);

impl Client {
    /// Comes back when somebody ends the query.
    pub async fn killed(&self) {
        self.0.killed.notified().await;
    }

    /// Whether somebody ended the query.
    pub fn was_killed(&self) -> bool {
        self.0.stop.load(Ordering::Relaxed) == KILLED
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // A query that was ended stays one that was ended.
        let _ = self.0.stop.compare_exchange(GOES_ON, LEFT, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// Held by the work: the query stays in the list until it is dropped.
pub struct Ticket {
    entry: Arc<Entry>,
    shared: Arc<Shared>,
    done: bool,
}

/// How a query ended, for the log.
pub struct Ended<'a> {
    /// What it cost, or why there is no answer.
    pub outcome: Result<&'a Statistics, String>,
    /// Samples that it looked at in all steps, where they were counted.
    pub samples: Option<u64>,
}

impl Ticket {
    /// The query has its place now.
    pub fn start(&self) {
        self.entry.running.get_or_init(Instant::now);
    }

    /// For the engine: whether to go on.
    pub fn interrupt(&self, deadline: Instant) -> InterruptCheck {
        let entry = Arc::clone(&self.entry);
        let deadline = coarse_clock() + deadline.saturating_duration_since(Instant::now());
        Arc::new(move || {
            if entry.stop.load(Ordering::Relaxed) != GOES_ON {
                return Some(Interrupt::Canceled);
            }
            (coarse_clock() >= deadline).then_some(Interrupt::TimedOut)
        })
    }

    /// The query is over: counts it and logs it.
    pub fn done(mut self, ended: &Ended<'_>) {
        self.leave(ended);
    }

    fn leave(&mut self, ended: &Ended<'_>) {
        self.done = true;
        let outcome = match (self.entry.stop.load(Ordering::Relaxed), &ended.outcome) {
            (_, Ok(_)) => "answered",
            (KILLED, Err(_)) => "killed",
            (LEFT, Err(_)) => "left",
            (_, Err(why)) if why.starts_with("query timed out") => "timed_out",
            (_, Err(_)) => "refused",
        };
        if self.entry.is_counted() {
            self.shared.metrics.queries_ended.with_label_values(&[outcome]).inc();
        }
        if self.shared.log.is_open() {
            let waited = self.entry.running.get().map_or_else(
                || self.entry.began.elapsed(),
                |running| running.duration_since(self.entry.began),
            );
            let line = log::line(&self.entry.asked, ended, waited, self.entry.began.elapsed(), now());
            self.shared.log.write(line);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.done {
            let why = match self.entry.stop.load(Ordering::Relaxed) {
                GOES_ON => NotRun::TimedOut.to_string(),
                _ => "query was canceled in query queue".to_owned(),
            };
            self.leave(&Ended { outcome: Err(why), samples: None });
        }
        self.shared.active().remove(&self.entry.id);
        if self.entry.is_counted() {
            self.shared.metrics.queries_active.dec();
        }
    }
}

#[cfg(test)]
mod tests;
