//! What is known of a remote engine's boots and time, and the window of 150 seconds (RFC 3414 sections 2.2.3 and 3.2 step 7 b).

use std::time::Duration;

/// Seconds that a message may be old.
pub(super) const WINDOW: u32 = 150;
/// Boots that say that an engine can no longer tell its messages apart, until its keys are changed.
pub(super) const BOOTS_MAX: u32 = i32::MAX as u32;

/// A remote engine's clock as last heard.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    boots: u32,
    time: u32,
    heard_at: Duration,
    /// Heard in an authenticated message. Else it only serves to send a first request that may fit.
    trusted: bool,
}

/// What an authenticated message's boots and time say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Within the window; the clock was set by it.
    Newer,
    /// Within the window; others came before that were newer.
    Fresh,
    /// Outside the window.
    Stale,
    /// The engine has started 2^31-1 times.
    Exhausted,
}

impl Clock {
    /// From an unauthenticated message.
    pub(super) fn guess(boots: u32, time: u32, now: Duration) -> Self {
        Self { boots, time, heard_at: now, trusted: false }
    }

    /// Boots and time to send.
    pub(super) fn read(&self, now: Duration) -> (u32, u32) {
        (self.boots, self.time_at(now))
    }

    pub(super) fn is_trusted(&self) -> bool {
        self.trusted
    }

    /// The next authenticated message sets it, whatever it says.
    pub(super) fn distrust(&mut self) {
        self.trusted = false;
    }

    /// Judges an authenticated message and learns from it.
    pub(super) fn hear(&mut self, boots: u32, time: u32, now: Duration) -> Verdict {
        if boots == BOOTS_MAX {
            return Verdict::Exhausted;
        }
        let newer = !self.trusted || (boots, time) > (self.boots, self.time);
        if newer {
            *self = Self { boots, time, heard_at: now, trusted: true };
            return Verdict::Newer;
        }
        let fresh = boots == self.boots && time.saturating_add(WINDOW) >= self.time_at(now);
        if fresh { Verdict::Fresh } else { Verdict::Stale }
    }

    fn time_at(&self, now: Duration) -> u32 {
        let passed = now.saturating_sub(self.heard_at).as_secs();
        let time = u64::from(self.time).saturating_add(passed);
        time.min(i32::MAX as u64) as u32
    }
}

/// Whether a message fits an authoritative engine's own clock (RFC 3414 section 3.2 step 7 a).
pub(super) fn fits(own: (u32, u32), message: (u32, u32)) -> bool {
    own.0 != BOOTS_MAX && own.0 == message.0 && own.1.abs_diff(message.1) <= WINDOW
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn trusted() -> Clock {
        let mut clock = Clock::guess(0, 0, at(0));
        assert_eq!(clock.hear(5, 1000, at(100)), Verdict::Newer);
        clock
    }

    #[test]
    fn the_window_is_150_seconds_wide() {
        let check = |boots, time, now, expected| {
            assert_eq!(trusted().hear(boots, time, at(now)), expected, "{boots} {time} {now}");
        };
        check(5, 1000, 100, Verdict::Fresh);
        check(5, 1000, 250, Verdict::Fresh);
        check(5, 1000, 251, Verdict::Stale);
        check(5, 850, 100, Verdict::Fresh);
        check(5, 849, 100, Verdict::Stale);
        check(5, 9000, 100, Verdict::Newer);
        check(6, 0, 100, Verdict::Newer);
        check(4, 1000, 100, Verdict::Stale);
        check(BOOTS_MAX, 1000, 100, Verdict::Exhausted);
    }

    #[test]
    fn a_guess_is_replaced_by_whatever_is_authenticated() {
        let mut clock = Clock::guess(900, 900, at(0));
        assert!(!clock.is_trusted());
        assert_eq!((clock.hear(2, 3, at(1)), clock.read(at(11))), (Verdict::Newer, (2, 13)));
        clock.distrust();
        assert_eq!(clock.hear(1, 1, at(12)), Verdict::Newer);
    }

    #[test]
    fn time_stops_at_its_end() {
        let mut clock = trusted();
        clock.hear(5, i32::MAX as u32 - 1, at(200));
        assert_eq!(clock.read(at(300)), (5, i32::MAX as u32));
        assert_eq!(clock.hear(5, i32::MAX as u32, at(u64::MAX)), Verdict::Newer);
    }

    #[test]
    fn an_authority_takes_what_is_150_seconds_off_in_either_direction() {
        let check = |own, message, expected| assert_eq!(fits(own, message), expected, "{own:?} {message:?}");
        check((3, 1000), (3, 850), true);
        check((3, 1000), (3, 1150), true);
        check((3, 1000), (3, 849), false);
        check((3, 1000), (3, 1151), false);
        check((3, 1000), (2, 1000), false);
        check((3, 1000), (4, 1000), false);
        check((BOOTS_MAX, 1000), (BOOTS_MAX, 1000), false);
    }
}
