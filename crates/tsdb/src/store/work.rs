//! Wakes whoever looks after the store when something is to be done before the next round: a window is complete, or memory is short.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Work {
    waits: Mutex<bool>,
    woken: Condvar,
    /// Set until somebody took notice, so that the writer's thread takes the lock once.
    noted: AtomicBool,
    /// When samples reach this time a flush is due.
    due_at: AtomicI64,
}

impl Default for Work {
    fn default() -> Self {
        Self {
            waits: Mutex::new(false),
            woken: Condvar::new(),
            noted: AtomicBool::new(false),
            due_at: AtomicI64::new(i64::MAX),
        }
    }
}

impl Work {
    /// Samples of this time are there, and memory is short or not.
    pub(crate) fn look(&self, max_time: i64, short: bool) {
        if (short || max_time >= self.due_at.load(Relaxed)) && !self.noted.swap(true, Relaxed) {
            *self.waits.lock() = true;
            self.woken.notify_all();
        }
    }

    /// Waits until there is something to do, or for so long; answers whether there is.
    pub(crate) fn wait(&self, timeout: Duration) -> bool {
        let mut waits = self.waits.lock();
        if !*waits {
            self.woken.wait_for(&mut waits, timeout);
        }
        std::mem::take(&mut *waits)
    }

    /// Everything was looked after: the next to be woken for is this.
    pub(crate) fn done(&self, due_at: i64) {
        self.due_at.store(due_at, Relaxed);
        self.noted.store(false, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_wakes_once_for_each_reason() {
        let work = Work::default();
        work.done(100);
        work.look(99, false);
        assert!(!work.wait(Duration::ZERO));
        work.look(100, false);
        assert!(work.wait(Duration::from_secs(3600)));
        work.look(101, true);
        assert!(!work.wait(Duration::ZERO), "it was told already");
        work.done(200);
        work.look(101, true);
        assert!(work.wait(Duration::from_secs(3600)));
    }
}
