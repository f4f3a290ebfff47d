//! The engine: one thread that asks thousands of devices, and what goes into it and comes out.
//!
//! In: a [`Job`], one round of one device: scalars and tables. Out: its [`Harvest`], which comes always, by the job's deadline at the
//! latest: what was read, the reason for everything that was not, and what it cost. Jobs of one device may run at the same time; its
//! [`Rate`] says how many requests do.
//!
//! The thread is called `snmp`. It has one UDP socket per address family, and one more for each distinct [`Target::bind`]; moves up to
//! 64 datagrams per system call; and never has more replies on their way than its receive buffers hold. A reply counts only if request
//! id, source, version and community (or SNMPv3's user, engine, digest and time) are those of a request that waits. Everything else is
//! counted ([`Stats`]), kept for people to look at ([`BadPacket`], the last one of a device), and changes nothing.
//!
//! Limits: [`Options::jobs_max`] jobs at a time, the others wait in [`Handle::run`]; [`Job::deadline`] for each;
//! [`Limits`](crate::Limits) per table.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};

use crate::round::{Learned, Rows, Table, TableHarvest};
use crate::udp::Alarm;
use crate::walk::{Cost, Reason};

mod core;
mod device;
mod harvest;
mod id;
mod meter;
mod rtt;
mod stats;
mod target;
mod thread;
mod timers;

pub use harvest::{BadPacket, Harvest, Job, RoundCost};
pub use stats::Stats;
pub use target::{Credential, Rate, Site, Target};

use self::core::{Bounds, Core};
use self::id::Id;

/// Bounds of an engine.
#[derive(Clone, Debug)]
pub struct Options {
    /// Jobs under way at the same time; 1 to 16,384.
    pub jobs_max: usize,
    /// How hard the network as a whole may be asked. `in_flight_max` counts requests whose first try may still be answered.
    pub rate: Rate,
    /// Devices that are remembered; beyond, those that were asked longest ago are forgotten.
    pub devices_max: usize,
    /// How long a table that did not answer is left alone while its device answers.
    pub park: Duration,
    /// The receive buffer to ask the kernel for, in bytes per socket; it gives at most `net.core.rmem_max`, doubled.
    pub receive_buffer_bytes: usize,
    /// How long to wait for more when many replies are on their way: fewer system calls, at the price of this much delay.
    pub gather: Duration,
    /// What an earlier engine [has learned](Handle::learned).
    pub learned: Vec<Learned>,
}

/// 1,024 jobs, 512 requests, 50,000 devices, 10 minutes, 4 MiB, 0.3 ms.
impl Default for Options {
    fn default() -> Self {
        Self {
            jobs_max: 1024,
            rate: Rate { in_flight_max: 512, ..Rate::FREE },
            devices_max: 50_000,
            park: Duration::from_secs(600),
            receive_buffer_bytes: 4 << 20,
            gather: Duration::from_micros(300),
            learned: Vec::new(),
        }
    }
}

/// A running engine; its thread ends when it is dropped, and all jobs with it.
#[derive(Debug)]
pub struct Engine {
    handle: Handle,
    thread: Option<JoinHandle<Vec<Learned>>>,
}

impl Engine {
    /// Starts the thread. No socket is opened before it is needed.
    ///
    /// # Errors
    /// What the system says if it gives no thread or no pipe.
    pub fn start(options: Options) -> io::Result<Self> {
        let jobs_max = options.jobs_max.clamp(1, Id::SLOTS_MAX);
        let shared = Arc::new(Shared {
            commands: Mutex::new(Some(VecDeque::new())),
            stats: Mutex::new(Stats::default()),
            alarm: Alarm::new()?,
            asleep: AtomicBool::new(false),
            jobs_waited: AtomicU64::new(0),
            jobs_waiting: AtomicU64::new(0),
            jobs: Semaphore::new(jobs_max),
        });
        let Options { rate, devices_max, park, receive_buffer_bytes, gather, learned, .. } = options;
        let inner = shared.clone();
        let thread = std::thread::Builder::new().name("snmp".to_owned()).spawn(move || {
            let _closes = CloseOnDrop(&inner);
            let core = Core::new(Bounds { rate, devices_max, park }, jobs_max, learned);
            thread::run(core, &inner, receive_buffer_bytes, gather)
        })?;
        Ok(Self { handle: Handle(shared), thread: Some(thread) })
    }

    /// What jobs are given to.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// What was sent, received and dropped.
    pub fn stats(&self) -> Stats {
        self.handle.stats()
    }

    /// Ends the thread and all jobs; what was learned about all devices, to be kept over a restart. Blocks for a moment.
    pub fn stop(mut self) -> Vec<Learned> {
        self.end()
    }

    fn end(&mut self) -> Vec<Learned> {
        self.handle.0.close();
        // A panic of the thread has been reported where it happened.
        self.thread.take().and_then(|thread| thread.join().ok()).unwrap_or_default()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.end();
    }
}

/// Gives jobs to an engine. Clones are cheap.
#[derive(Clone)]
pub struct Handle(Arc<Shared>);

impl Handle {
    /// Carries out a job. Waits for its turn where [`Options::jobs_max`] are under way; dropping the future gives the job up. Needs no
    /// particular runtime. Once the engine has ended everything ends with [`Reason::Stopped`], at once: see [`is_alive`](Self::is_alive).
    pub async fn run(&self, job: Job) -> Harvest {
        let _permit = match self.0.jobs.try_acquire() {
            Ok(permit) => permit,
            Err(_) => {
                let _waits = self.0.wait();
                self.0.jobs.acquire().await.expect("the semaphore is never closed")
            }
        };
        let (scalars, tables) = (job.scalars.len(), job.tables.clone());
        let (answer, harvest) = oneshot::channel();
        self.0.push(Command::Job(Box::new(job), answer));
        harvest.await.unwrap_or_else(|_| Harvest::stopped(scalars, &tables))
    }

    /// Whether the engine's thread still takes jobs. It ends when the [`Engine`] is dropped, or by a panic, which is our mistake; whoever
    /// wants to go on starts another engine.
    pub fn is_alive(&self) -> bool {
        lock(&self.0.commands).is_some()
    }

    /// What was sent, received and dropped.
    pub fn stats(&self) -> Stats {
        let shared = &self.0;
        Stats {
            jobs_waited: shared.jobs_waited.load(Ordering::Relaxed),
            jobs_waiting_now: shared.jobs_waiting.load(Ordering::Relaxed),
            ..*lock(&shared.stats)
        }
    }

    /// What was learned about all devices, in the order of their names, to be kept over a restart. Nothing if the engine has ended.
    pub async fn learned(&self) -> Vec<Learned> {
        let (answer, learned) = oneshot::channel();
        self.0.push(Command::Learned(answer));
        learned.await.unwrap_or_default()
    }
}

#[cfg(any(test, feature = "pretend"))]
impl Handle {
    /// Ends the thread as a mistake in it would: for tests.
    pub fn break_down(&self) {
        self.0.close();
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Handle").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl Harvest {
    /// What becomes of a job when the engine ends.
    fn stopped(scalars: usize, tables: &[Arc<Table>]) -> Self {
        let table = |table: &Arc<Table>| TableHarvest {
            rows: Rows::default(),
            reasons: vec![Reason::Stopped; table.columns.len()],
            cost: Cost::default(),
        };
        Self {
            scalars: Rows::default(),
            scalar_reasons: vec![Some(Reason::Stopped); scalars],
            tables: tables.iter().map(table).collect(),
            answered: false,
            cost: RoundCost::default(),
            round_trip: None,
            credential: None,
            last_bad: None,
            engine_id_also_of: None,
        }
    }
}

/// What the thread is told.
enum Command {
    Job(Box<Job>, oneshot::Sender<Harvest>),
    Learned(oneshot::Sender<Vec<Learned>>),
}

/// What the thread and the handles share.
struct Shared {
    /// None once the engine has ended.
    commands: Mutex<Option<VecDeque<Command>>>,
    stats: Mutex<Stats>,
    alarm: Alarm,
    /// Whether the thread must be woken.
    asleep: AtomicBool,
    /// Jobs that had to wait for the engine, and those that do now.
    jobs_waited: AtomicU64,
    jobs_waiting: AtomicU64,
    jobs: Semaphore,
}

/// A job waits for the engine as long as this lives.
struct Waits<'a>(&'a AtomicU64);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared {
    fn wait(&self) -> Waits<'_> {
        self.jobs_waited.fetch_add(1, Ordering::Relaxed);
        self.jobs_waiting.fetch_add(1, Ordering::Relaxed);
        Waits(&self.jobs_waiting)
    }

    /// Whoever waits for an answer learns from its end that the engine has ended.
    fn push(&self, command: Command) {
        if let Some(commands) = lock(&self.commands).as_mut() {
            commands.push_back(command);
        }
        if self.asleep.swap(false, Ordering::SeqCst) {
            self.alarm.ring();
        }
    }

    fn close(&self) {
        *lock(&self.commands) = None;
        self.alarm.ring();
    }

    fn take(&self) -> Option<VecDeque<Command>> {
        lock(&self.commands).as_mut().map(std::mem::take)
    }

    fn has_commands(&self) -> bool {
        lock(&self.commands).as_ref().is_none_or(|commands| !commands.is_empty())
    }

    fn publish(&self, stats: Stats) {
        *lock(&self.stats) = stats;
    }
}

/// Nobody must wait for a thread that panicked.
struct CloseOnDrop<'a>(&'a Shared);

impl Drop for CloseOnDrop<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
