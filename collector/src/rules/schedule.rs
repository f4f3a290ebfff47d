//! When a group is evaluated: at fixed moments, as Prometheus has them.
//!
//! In: an interval and a number made of the group's names. Out: moments `slot + n * interval`, where the slot spreads the groups over
//! the interval and stays over restarts. A pass that is late is given the moment that it was due at, so that nothing drifts; moments
//! that went by meanwhile are counted as missed.

use std::time::Duration;

use model::Timestamp;

/// Moments of one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Schedule {
    interval_ms: i64,
    slot_ms: i64,
    next: Timestamp,
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
        let mut schedule = Self { interval_ms, slot_ms, next: now };
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

    /// The pass that is due, once. A clock that was set back begins anew.
    pub(super) fn due(&mut self, now: Timestamp) -> Option<Due> {
        if self.next.millis_since(now) > self.interval_ms {
            self.next = self.after(self.latest(now), 1);
        }
        if now < self.next {
            return None;
        }
        let at = self.latest(now);
        let missed = (at.millis_since(self.next) / self.interval_ms).unsigned_abs();
        self.next = self.after(at, 1);
        Some(Due { at, missed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Timestamp {
        Timestamp::from_millis((seconds * 1000.0) as i64)
    }

    #[test]
    fn moments_are_aligned_to_the_slot_and_do_not_drift() {
        let mut schedule = Schedule::new(Duration::from_secs(60), 7_000 + 60_000 * 3, at(1000.0));
        assert_eq!(schedule.next(), at(1027.0), "slot 7 s: 967, 1027, 1087");
        assert_eq!(schedule.due(at(1026.999)), None);
        assert_eq!(
            schedule.due(at(1030.0)),
            Some(Due { at: at(1027.0), missed: 0 }),
            "late, and at its moment"
        );
        assert_eq!(schedule.due(at(1030.0)), None, "once");
        assert_eq!(schedule.next(), at(1087.0));
    }

    #[test]
    fn what_goes_by_is_counted() {
        let mut schedule = Schedule::new(Duration::from_secs(10), 0, at(100.0));
        assert_eq!(schedule.due(at(100.0)), Some(Due { at: at(100.0), missed: 0 }));
        assert_eq!(schedule.due(at(145.0)), Some(Due { at: at(140.0), missed: 3 }), "110, 120 and 130");
        assert_eq!(schedule.next(), at(150.0));
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_stop_anything() {
        let mut schedule = Schedule::new(Duration::from_secs(10), 3_000, at(1e6));
        assert_eq!(schedule.due(at(50.0)), None);
        assert_eq!(schedule.next(), at(53.0));
        assert_eq!(schedule.due(at(53.0)), Some(Due { at: at(53.0), missed: 0 }));
    }
}
