//! Threads that queries of requests run on, of lower priority than the rest of the program (on Linux, where a thread has its own): where
//! all processors are busy, taking samples in and evaluating rules come first, and alone a query gets whatever there is.
//!
//! A thread is made when no idle one is there, and ends after a minute without work; how many there are at most is the caller's to
//! bound. Work that panics ends alone.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

/// Work.
pub(super) type Job = Box<dyn FnOnce() + Send>;

/// How much lower the priority is (nice): a tenth of the weight, so that eight such threads leave one of two processors to another.
#[cfg(target_os = "linux")]
const NICER: i32 = 10;

/// For which a thread waits for work.
const IDLE: Duration = Duration::from_secs(60);

/// See the module's text.
#[derive(Default)]
pub(super) struct Workers {
    idle: Mutex<Vec<Sender<Job>>>,
}

impl Workers {
    /// Runs a job on an idle thread or a new one.
    pub(super) fn run(self: &Arc<Self>, mut job: Job) -> std::io::Result<()> {
        while let Some(worker) = self.take_idle() {
            match worker.send(job) {
                Ok(()) => return Ok(()),
                // It went home a moment ago.
                Err(back) => job = back.0,
            }
        }
        let (sender, jobs) = channel();
        let home = Arc::downgrade(self);
        let worker = std::thread::Builder::new().name("query".into());
        worker.spawn(move || work(job, &jobs, &sender, &home)).map(drop)
    }

    fn take_idle(&self) -> Option<Sender<Job>> {
        self.idle.lock().expect("nothing panics while it holds this lock").pop()
    }
}

fn work(first: Job, jobs: &Receiver<Job>, own: &Sender<Job>, home: &Weak<Workers>) {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(NICER) {
        tracing::debug!("cannot lower the priority of a query's thread: {error}");
    }
    let mut job = first;
    loop {
        // The panic hook has said what it was; who waits sees that the answer's channel is closed.
        drop(catch_unwind(AssertUnwindSafe(job)));
        let Some(workers) = home.upgrade() else { return };
        workers.idle.lock().expect("nothing panics while it holds this lock").push(own.clone());
        drop(workers);
        match jobs.recv_timeout(IDLE) {
            Ok(next) => job = next,
            Err(_) => {
                // A job may have come just now: whoever sent it has it back when the receiver goes, unless it is already in.
                let Ok(next) = jobs.try_recv() else { return };
                job = next;
            }
        }
    }
}
