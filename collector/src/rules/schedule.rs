//! When a group is evaluated: at fixed moments, as Prometheus has them.
//!
//! In: an interval and a number made of the group's names; the time, and a clock that only goes forward. Out: moments
//! `slot + n * interval`, where the slot spreads the groups over the interval and stays over restarts. A pass that is late is given the
//! moment that it was due at, so that nothing drifts; moments that went by meanwhile are counted as missed.
//!
//! Where the wall clock leaps forward (a device without a battery hears of the time minutes after its start), the moments that it leapt
//! over were never there, and nothing was too slow for them: no more are counted than the other clock has room for. That clock stands
//! while a machine is suspended; what would have been due then is not counted either.

use std::time::Duration;

use model::Timestamp;

/// Moments of one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Schedule {
    interval_ms: i64,
    slot_ms: i64,
    next: Timestamp,
    /// When a pass was last due, or the first look, by the clock that only goes forward.
    looked: Option<Duration>,
}

/// A pass that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    /// The moment to evaluate at.
    pub(super) at: Timestamp,
    /// Moments that were missed before it.
    pub(super) missed: u64,
}

impl Schedule {
    /// The first moment lies in the interval that begins now.
    pub(super) fn new(interval: Duration, hash: u64, now: Timestamp) -> Self {
        let interval_ms = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX).max(1);
        let slot_ms = (hash % interval_ms.unsigned_abs()).cast_signed();
        let mut schedule = Self { interval_ms, slot_ms, next: now, looked: None };
        let last = schedule.latest(now);
        schedule.next = if last == now { now } else { schedule.after(last, 1) };
        schedule
    }

    /// The latest moment that is not after a time.
    fn latest(&self, now: Timestamp) -> Timestamp {
        let past = (now.as_millis() - self.slot_ms).rem_euclid(self.interval_ms);
        Timestamp::from_millis(now.as_millis() - past)
    }

    fn after(&self, at: Timestamp, intervals: i64) -> Timestamp {
        let ahead = intervals.saturating_mul(self.interval_ms);
        Timestamp::from_millis(at.as_millis().saturating_add(ahead))
    }

    /// When it is due next.
    pub(super) fn next(&self) -> Timestamp {
        self.next
    }

    pub(super) fn interval(&self) -> Duration {
        Duration::from_millis(self.interval_ms.unsigned_abs())
    }

    /// Whether [`due`](Self::due) has something to do: a pass, or a clock that was set back.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        self.next <= now || self.next.millis_since(now) > self.interval_ms
    }

    /// From when moments can be missed: the first look.
    pub(super) fn look(&mut self, elapsed: Duration) {
        self.looked.get_or_insert(elapsed);
    }

    /// The pass that is due, once. A clock that was set back begins anew.
    pub(super) fn due(&mut self, now: Timestamp, elapsed: Duration) -> Option<Due> {
        if self.next.millis_since(now) > self.interval_ms {
            self.next = self.after(self.latest(now), 1);
        }
        if now < self.next {
            return None;
        }
        let at = self.latest(now);
        let went_by = (at.millis_since(self.next) / self.interval_ms).unsigned_abs();
        let since = elapsed.saturating_sub(self.looked.replace(elapsed).unwrap_or(elapsed));
        let room = u64::try_from(since.as_millis()).unwrap_or(u64::MAX) / self.interval_ms.unsigned_abs();
        let missed = went_by.min(room);
        self.next = self.after(at, 1);
        Some(Due { at, missed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::ZERO;

    fn at(seconds: f64) -> Timestamp {
        Timestamp::from_millis((seconds * 1000.0) as i64)
    }

    #[test]
    fn moments_are_aligned_to_the_slot_and_do_not_drift() {
        let mut schedule = Schedule::new(Duration::from_secs(60), 7_000 + 60_000 * 3, at(1000.0));
        assert_eq!(schedule.next(), at(1027.0), "slot 7 s: 967, 1027, 1087");
        assert_eq!(schedule.due(at(1026.999), SOON), None);
        assert_eq!(
            schedule.due(at(1030.0), SOON),
            Some(Due { at: at(1027.0), missed: 0 }),
            "late, and at its moment"
        );
        assert_eq!(schedule.due(at(1030.0), SOON), None, "once");
        assert_eq!(schedule.next(), at(1087.0));
    }

    #[test]
    fn what_goes_by_is_counted() {
        let mut schedule = Schedule::new(Duration::from_secs(10), 0, at(100.0));
        let second = Duration::from_secs;
        assert_eq!(schedule.due(at(100.0), second(7)), Some(Due { at: at(100.0), missed: 0 }));
        assert_eq!(
            schedule.due(at(145.0), second(52)),
            Some(Due { at: at(140.0), missed: 3 }),
            "110, 120 and 130"
        );
        assert_eq!(schedule.next(), at(150.0));
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_stop_anything() {
        let mut schedule = Schedule::new(Duration::from_secs(10), 3_000, at(1e6));
        assert_eq!(schedule.due(at(50.0), SOON), None);
        assert_eq!(schedule.next(), at(53.0));
        assert_eq!(schedule.due(at(53.0), SOON), Some(Due { at: at(53.0), missed: 0 }));
    }

    #[test]
    fn a_clock_that_leaps_forward_misses_only_what_there_was_time_for() {
        fn check(first_look: u64, passes: &[(f64, u64, Option<u64>)]) {
            let mut schedule = Schedule::new(Duration::from_secs(10), 0, at(100.0));
            schedule.look(Duration::from_secs(first_look));
            for (now, elapsed, missed) in passes {
                let due = schedule.due(at(*now), Duration::from_secs(*elapsed));
                assert_eq!(due.map(|due| due.missed), *missed, "at {now}, {elapsed} in {passes:?}");
            }
        }
        let year = 365.0 * 86_400.0;
        check(1, &[(100.0, 1, Some(0)), (year, 5, Some(0)), (year + 10.0, 15, Some(0))]);
        check(1, &[(year, 4, Some(0)), (year + 5.0, 9, None)]);
        // It was too slow as well: 35 of these seconds were real.
        check(1, &[(100.0, 1, Some(0)), (year, 36, Some(3)), (year + 40.0, 76, Some(3))]);
        // The store came late.
        check(1, &[(131.0, 32, Some(3))]);
    }
}
