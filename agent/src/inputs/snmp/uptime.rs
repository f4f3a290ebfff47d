//! Whether a device restarted between two looks at its sysUpTime.
//!
//! A clock that went back says so by itself. One that did not go as far as time did says so too: a device that restarts more often
//! than it is asked has, each time, been up for less than the time that passed. After 2^32 hundredths of a second (497 days) the clock
//! turns over, which is no restart; where it might be either, [`Course::Unsure`] asks for another clock of the device. So does
//! [`Course::Behind`], a clock that went on, but not far enough: some devices count sysUpTime in seconds. Where there is no other clock,
//! one that is behind at the same [`Pace`] for [`STEADY`] looks in a row runs slowly, and from then on only going back is a restart.
//!
//! In: two readings, each with the moments between which the device took it, so that a reply that waited in a queue is no lost time.
//! Out: the clock's [`Course`]. No I/O. Limits: a slow clock without another one is taken for [`STEADY`] less one restarts; clocks may be off by [`SLACK_TICKS`] and a hundredth of the time passed; after silence of
//! more than 497 days a restart looks like a clock that goes on, or the other way round.

use std::time::{Duration, Instant};

/// Hundredths of a second by which two readings may disagree, besides a hundredth of the time between them.
const SLACK_TICKS: u64 = 3_00;
/// Where sysUpTime turns over.
const TURN: u64 = 1 << 32;
/// Looks in a row at which a clock that is behind at the same pace is a slow one.
const STEADY: u8 = 3;

/// What a device said of how long it is up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Uptime {
    /// sysUpTime, in hundredths of a second.
    pub(super) ticks: u32,
    /// It said so after this moment,
    pub(super) asked: Instant,
    /// and before this one.
    pub(super) answered: Instant,
}

/// What became of a device's clock between two readings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Course {
    /// It went on, or stands still, as on devices that do not keep it.
    GoesOn,
    /// It turned over after 497 days.
    TurnedOver,
    /// It began anew.
    Restarted,
    /// It went on, but less far than time did: it began anew in between, or runs slowly.
    Behind,
    /// It turned over or began anew.
    Unsure,
}

impl Uptime {
    /// The course of the clock since an earlier reading.
    pub(super) fn since(&self, before: &Self) -> Course {
        let least = ticks(self.asked.saturating_duration_since(before.answered));
        let most = self.most_since(before);
        let (then, now) = (u64::from(before.ticks), u64::from(self.ticks));
        let slack = SLACK_TICKS + most / 100;
        if now == then || now + slack >= then + least {
            return Course::GoesOn;
        }
        // A restart after the earlier reading leaves no more uptime than the time since.
        let may_be_new = now <= most + slack;
        let turned_over = (then + least..=then + most + 2 * slack).contains(&(now + TURN + slack));
        if turned_over {
            // A clock that turned over shows less than the time that passed, as a new one does.
            Course::Unsure
        } else if now < then {
            // Where it did not go back as far as to its beginning, another of its kind took its place.
            Course::Restarted
        } else if may_be_new {
            Course::Behind
        } else {
            // It runs slowly.
            Course::GoesOn
        }
    }

    /// The same where snmpEngineTime is known too: seconds, which turn over after 68 years.
    pub(super) fn since_by(&self, before: &Self, engine_seconds: Option<u32>) -> Course {
        let most = self.most_since(before);
        let is_new = |seconds| u64::from(seconds) * 100 <= most + SLACK_TICKS + most / 100;
        match (self.since(before), engine_seconds) {
            (Course::Unsure | Course::Behind, Some(seconds)) if is_new(seconds) => Course::Restarted,
            // It said what is expected of a clock that turned over.
            (Course::Unsure, _) => Course::TurnedOver,
            (Course::Behind, Some(_)) => Course::GoesOn,
            (course, _) => course,
        }
    }

    /// How far the clock went for each unit of time, and by how much that may be off; none where it went back.
    fn rate(&self, before: &Self) -> Option<(f64, f64)> {
        let passed = self.most_since(before).max(1) as f64;
        let went = self.ticks.checked_sub(before.ticks)?;
        // A clock of seconds is off by one at either end.
        Some((f64::from(went) / passed, 3.0 / passed))
    }

    /// The most that can have passed since an earlier reading.
    fn most_since(&self, before: &Self) -> u64 {
        ticks(self.answered.saturating_duration_since(before.asked))
    }
}

/// At which pace a clock goes that may be too slow.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    /// How far it went for each unit of time when it was behind.
    rate: f64,
    /// Looks in a row at which that was about the same.
    steady: u8,
}

impl Pace {
    /// Takes in a round's look; true when the clock turns out to be a slow one.
    pub(super) fn note(&mut self, course: Course, now: &Uptime, before: &Uptime) -> bool {
        if self.is_slow() {
            return false;
        }
        match (course, now.rate(before)) {
            (Course::Behind, Some((rate, off))) => {
                let is_same = (rate - self.rate).abs() <= 0.1 * rate.max(self.rate) + off;
                self.steady = if self.steady > 0 && is_same { self.steady + 1 } else { 1 };
                self.rate = rate;
            }
            _ => self.steady = 0,
        }
        self.is_slow()
    }

    /// Whether the clock runs slowly, so that being behind is no restart.
    pub(super) fn is_slow(&self) -> bool {
        self.steady >= STEADY
    }

    /// What a clock that is behind is held to be.
    pub(super) fn settle(&self, course: Course) -> Course {
        match course {
            Course::Behind if self.is_slow() => Course::GoesOn,
            Course::Behind => Course::Restarted,
            course => course,
        }
    }
}

fn ticks(span: Duration) -> u64 {
    u64::try_from(span.as_millis() / 10).unwrap_or(u64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: u64 = 60_00;
    const DAY: u64 = 24 * 60 * MINUTE;

    fn moment(ticks: u64) -> Instant {
        use std::sync::OnceLock;
        static START: OnceLock<Instant> = OnceLock::new();
        *START.get_or_init(Instant::now) + Duration::from_millis(ticks * 10)
    }

    fn at_once(clock: u64, at: u64) -> Uptime {
        Uptime { ticks: clock as u32, asked: moment(at), answered: moment(at) }
    }

    #[track_caller]
    fn check(then: u64, now: u64, passed: u64, expected: Course) {
        assert_eq!(at_once(now, passed).since(&at_once(then, 0)), expected, "{then} {now} {passed}");
    }

    #[test]
    fn a_clock_that_goes_on_or_stands_still_is_no_restart() {
        check(1_000, 7_000, MINUTE, Course::GoesOn);
        check(1_000, 1_000, MINUTE, Course::GoesOn);
        check(100 * DAY, 100 * DAY + MINUTE + 50, MINUTE, Course::GoesOn);
        // Clocks that are off by a hundredth, and one that loses every tenth second but has run for long.
        check(1_000, 1_000 + DAY - DAY / 100, DAY, Course::GoesOn);
        check(DAY, DAY + MINUTE - MINUTE / 10, MINUTE, Course::GoesOn);
        check(100, 50 * DAY, MINUTE, Course::GoesOn);
    }

    #[test]
    fn a_clock_that_went_back_is_a_restart() {
        check(7_000, 100, MINUTE, Course::Restarted);
        check(100 * DAY, 0, MINUTE, Course::Restarted);
        // Another of its kind took its place.
        check(100 * DAY, 50 * DAY, MINUTE, Course::Restarted);
    }

    #[test]
    fn a_restart_shorter_than_the_pause_between_two_looks_is_seen() {
        // Up for 10 s, asked again after a minute: up for 30 s.
        check(10_00, 30_00, MINUTE, Course::Behind);
        // Off for a day, and back for an hour, having been up for ten minutes before.
        check(10 * MINUTE, 60 * MINUTE, DAY, Course::Behind);
        // A device that restarts each minute has often been up for longer than at the time before.
        check(20_00, 50_00, MINUTE, Course::Behind);
        assert_eq!(Pace::default().settle(Course::Behind), Course::Restarted);
    }

    /// What a device's looks a minute apart are held to be.
    fn looks(clocks: &[u64], engine: impl Fn(u64) -> Option<u32>) -> Vec<Course> {
        let mut pace = Pace::default();
        let all: Vec<Uptime> = (0..).zip(clocks).map(|(at, clock)| at_once(*clock, at * MINUTE)).collect();
        let courses = (1..).zip(all.windows(2)).map(|(at, two)| {
            let course = two[1].since_by(&two[0], engine(at));
            pace.note(course, &two[1], &two[0]);
            pace.settle(course)
        });
        courses.collect()
    }

    #[test]
    fn a_clock_of_seconds_is_no_restart_in_every_round() {
        use Course::{GoesOn, Restarted};
        let clock: Vec<u64> = (0..8).map(|round| 1_000 + 60 * round + round % 2).collect();
        assert_eq!(looks(&clock, |_| None), [Restarted, Restarted, GoesOn, GoesOn, GoesOn, GoesOn, GoesOn]);
        // Its other clock says at once that nothing restarted.
        assert_eq!(looks(&clock, |at| Some(1_000 + 60 * at as u32)), [GoesOn; 7]);
        assert_eq!(looks(&[1_000, 1_060], |_| Some(5)), [Restarted]);
        // Going back is a restart all the same.
        let clock = [1_000, 1_060, 1_120, 1_180, 30, 90, 150];
        let found = looks(&clock, |_| None);
        assert_eq!(found, [Restarted, Restarted, GoesOn, Restarted, GoesOn, GoesOn]);
    }

    #[test]
    fn restarts_at_irregular_times_are_no_slow_clock() {
        let found = looks(&[2_00, 9_00, 30_00, 33_00, 55_00, 57_50], |_| None);
        assert_eq!(found, [Course::Restarted; 5]);
        // Going back begins the count anew.
        let found = looks(&[2_00, 9_00, 16_00, 1_00, 8_00, 15_00, 22_00], |_| None);
        assert_eq!((&found[..5], found[5]), (&[Course::Restarted; 5][..], Course::GoesOn));
    }

    #[test]
    fn a_clock_that_turns_over_is_no_restart_unless_another_clock_says_so() {
        let (before, after) = (at_once(TURN - 30_00, 0), at_once(30_00, MINUTE));
        assert_eq!(after.since(&before), Course::Unsure);
        assert_eq!(after.since_by(&before, None), Course::TurnedOver);
        assert_eq!(after.since_by(&before, Some(42_949_702)), Course::TurnedOver);
        assert_eq!(after.since_by(&before, Some(30)), Course::Restarted);
        // Off the course by more than clocks are.
        check(TURN - 5 * MINUTE, 30_00, MINUTE, Course::Restarted);
        check(TURN - 30_00, 50_00, MINUTE, Course::Restarted);
        // After a long silence too.
        check(TURN - DAY, 9 * DAY, 10 * DAY, Course::Unsure);
        check(TURN - 400 * DAY, 60 * DAY, 460 * DAY, Course::Unsure);
    }

    #[test]
    fn a_reply_that_waited_is_no_lost_time() {
        let before = Uptime { ticks: 10_00, asked: moment(0), answered: moment(20_00) };
        let now = Uptime { ticks: 55_00, asked: moment(MINUTE), answered: moment(MINUTE + 1_00) };
        assert_eq!(
            now.since(&before),
            Course::GoesOn,
            "it may have been asked 20 s later than the round began"
        );
        let now = Uptime { ticks: 40_00, ..now };
        assert_eq!(now.since(&before), Course::Behind);
    }

    proptest! {
        #[test]
        fn a_clock_in_order_never_restarts(then in 0..TURN, passed in 0..400 * DAY, late in 0..100_u64, took in 0..500_u64) {
            let now = Uptime {
                ticks: ((then + passed + late.min(took)) % TURN) as u32,
                asked: moment(passed),
                answered: moment(passed + took),
            };
            prop_assert!(!matches!(now.since(&at_once(then, 0)), Course::Restarted | Course::Behind));
        }

        #[test]
        fn a_restart_is_never_missed_but_near_the_start_or_the_turn(then in 0..TURN, off in 1..400 * DAY, up in 0..100 * DAY) {
            let passed = off + up;
            let course = at_once(up, passed).since(&at_once(then, 0));
            let slack = SLACK_TICKS + passed / 100;
            let hidden = up + slack >= then + passed || up == then;
            let expected = if hidden { course == Course::GoesOn } else { matches!(course, Course::Restarted | Course::Behind | Course::Unsure) };
            prop_assert!(expected, "{:?}", course);
            // Unsure only where the clock would just now have turned over.
            let turns = (then + passed).abs_diff(up + TURN) <= slack;
            prop_assert!(course != Course::Unsure || turns);
        }
    }
}
