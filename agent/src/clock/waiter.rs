//! Waiting for a tick, with one wake-up for each wait.
//!
//! The runtime's timers stand in wheels, and the runtime wakes each time that a wheel turns: two to three times for a wait of
//! seconds. Each of these wake-ups costs a small machine more than reading a file of /proc. A timer of the kernel wakes once; it
//! counts the time that the machine sleeps, too, as the boot scale does.
//!
//! In: how long. Out: nothing; it may return early, so that who waits looks at the clock and waits again. One open file for each
//! [`Waiter`]: only for targets of which there are few.
//!
//! This module is allowed unsafe code, which the workspace denies elsewhere: tokio watches a file of any kind only for who
//! promises that it stays open. One call, on a file that is owned.
#![allow(unsafe_code)]

use std::time::Duration;

/// See the module's text.
#[derive(Debug, Default)]
pub struct Waiter {
    #[cfg(target_os = "linux")]
    timer: Option<tokio::io::unix::AsyncFd<rustix::fd::OwnedFd>>,
}

impl Waiter {
    /// Waits by a timer of the kernel's own, where there is one to have; needs a tokio runtime.
    #[cfg(target_os = "linux")]
    pub fn of_the_kernel() -> Self {
        use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};
        use tokio::io::{Interest, unix::AsyncFd};
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        // Without one (no file is left to open) the runtime's timers do.
        let made = timerfd_create(TimerfdClockId::Boottime, flags).ok();
        // SAFETY: an `OwnedFd` is open and the same file until it is dropped, and the `AsyncFd` owns it.
        let watched = |made| unsafe { AsyncFd::register_with_interest(made, Interest::READABLE) }.ok();
        Self { timer: made.and_then(watched) }
    }

    /// Waits about so long: never much longer, but it may be shorter.
    pub async fn wait(&mut self, time: Duration) {
        #[cfg(target_os = "linux")]
        if let Some(timer) = &self.timer
            && arm(timer, time).is_ok()
            && let Ok(mut rung) = timer.readable().await
        {
            rung.clear_ready();
            return;
        }
        tokio::time::sleep(time).await;
    }
}

#[cfg(target_os = "linux")]
fn arm(timer: &tokio::io::unix::AsyncFd<rustix::fd::OwnedFd>, time: Duration) -> rustix::io::Result<()> {
    use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec, timerfd_settime};
    // No time at all would switch the timer off.
    let time = time.max(Duration::from_nanos(1));
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    let once = Itimerspec {
        it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
        it_value: Timespec { tv_sec: seconds, tv_nsec: time.subsec_nanos().into() },
    };
    timerfd_settime(timer, TimerfdTimerFlags::empty(), &once).map(drop)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::time::Instant;

    use super::*;

    #[tokio::test]
    async fn a_wait_takes_its_time_again_and_again() {
        let mut waiter = Waiter::of_the_kernel();
        assert!(waiter.timer.is_some());
        for millis in [5, 1, 0, 3] {
            let (time, began) = (Duration::from_millis(millis), Instant::now());
            while began.elapsed() < time {
                waiter.wait(time.saturating_sub(began.elapsed())).await;
            }
        }
    }

    #[tokio::test]
    async fn a_wait_that_was_given_up_does_not_spoil_the_next() {
        let mut waiter = Waiter::of_the_kernel();
        let given_up = tokio::time::timeout(Duration::from_millis(1), waiter.wait(Duration::from_secs(3600)));
        assert!(given_up.await.is_err());
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(2) {
            waiter.wait(Duration::from_millis(2)).await;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "the hour is forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_timer_of_the_kernel_the_runtimes_own_does() {
        let began = tokio::time::Instant::now();
        Waiter::default().wait(Duration::from_secs(15)).await;
        assert_eq!(began.elapsed().as_secs(), 15);
    }
}
