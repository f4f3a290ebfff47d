//! What a receiver said of a message, and what follows from it. Pure: the time is an argument.

use std::time::Duration;

use model::Timestamp;

/// What a receiver said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It has the message; what it said.
    Delivered(String),
    /// Not now: nobody answered, it is busy, or something between us is set up wrongly. `after` is what it asked for.
    Later { why: String, after: Option<Duration> },
    /// Never: this message it does not take.
    Never(String),
}

/// What to do with a message now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// It is done; the next one.
    Delivered,
    /// Try again after so long.
    Wait(Duration),
    /// It is done; count it as given up for this reason.
    GiveUp(&'static str, String),
}

/// Waits between tries: the first, twice as long each time, at most the last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
}

/// Nobody is believed who asks for a longer wait than this.
const ASKED_MAX: Duration = Duration::from_secs(900);

impl Backoff {
    pub(crate) const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, failures: 0 }
    }

    /// Judges an answer to a message that was told at a time and is worth telling for so long. `drawn` is 0 to 1: what of the wait
    /// is left to chance, so that receivers behind one line do not come in step.
    pub(crate) fn judge(
        &mut self,
        answer: Answer,
        told_at: Timestamp,
        now: Timestamp,
        give_up_after: Duration,
        drawn: f64,
    ) -> Step {
        let (why, after) = match answer {
            Answer::Delivered(_) => {
                self.failures = 0;
                return Step::Delivered;
            }
            Answer::Never(why) => {
                self.failures = 0;
                return Step::GiveUp("refused", why);
            }
            Answer::Later { why, after } => (why, after),
        };
        let ceiling = self.first.saturating_mul(1 << self.failures.min(20)).min(self.longest);
        self.failures = self.failures.saturating_add(1);
        let usual = ceiling.mul_f64(0.5 + drawn.clamp(0.0, 1.0) / 2.0);
        let wait = after.map_or(usual, |asked| asked.min(ASKED_MAX).max(usual));
        let age = Duration::from_millis(now.millis_since(told_at).max(0).unsigned_abs());
        if age >= give_up_after {
            return Step::GiveUp("expired", why);
        }
        Step::Wait(wait.min(give_up_after.saturating_sub(age)).max(Duration::from_millis(10)))
    }
}

/// What an HTTP status says of a message: 2xx it is there; what is wrong with address, token or a proxy can be set right; what else is
/// wrong with the request never will be.
pub(crate) fn of_status(status: u16, said: String, after: Option<Duration>) -> Answer {
    match status {
        200..=299 => Answer::Delivered(said),
        300..=399 | 401 | 403 | 404 | 405 | 407 | 408 | 425 | 429 | 500.. => {
            Answer::Later { why: said, after }
        }
        _ => Answer::Never(said),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn later(after: Option<u64>) -> Answer {
        Answer::Later { why: "w".into(), after: after.map(Duration::from_secs) }
    }

    #[test]
    fn waits_grow_and_end_and_begin_anew() {
        let mut backoff = Backoff::new(SECOND, 10 * SECOND);
        let told = Timestamp::from_millis(0);
        let mut check = |answer: Answer, now_s: i64, expected: Step| {
            let step = backoff.judge(answer, told, Timestamp::from_millis(now_s * 1000), 100 * SECOND, 1.0);
            assert_eq!(step, expected, "at {now_s}");
        };
        for (now, wait) in [(0, 1), (1, 2), (3, 4), (7, 8), (15, 10), (25, 10)] {
            check(later(None), now, Step::Wait(wait * SECOND));
        }
        check(later(Some(30)), 35, Step::Wait(30 * SECOND));
        check(later(None), 95, Step::Wait(5 * SECOND));
        check(later(None), 100, Step::GiveUp("expired", "w".into()));
        check(Answer::Never("no".into()), 0, Step::GiveUp("refused", "no".into()));
        check(later(None), 0, Step::Wait(SECOND));
        check(Answer::Delivered(String::new()), 0, Step::Delivered);
        check(later(None), 0, Step::Wait(SECOND));
    }

    #[test]
    fn a_clock_that_went_back_gives_nothing_up() {
        let mut backoff = Backoff::new(SECOND, SECOND);
        let step = backoff.judge(
            later(None),
            Timestamp::from_millis(1_000_000),
            Timestamp::from_millis(0),
            SECOND,
            0.0,
        );
        assert_eq!(step, Step::Wait(SECOND / 2));
    }

    #[test]
    fn statuses_say_what_can_be_set_right() {
        let check = |status, expected: fn(&Answer) -> bool| {
            assert!(expected(&of_status(status, String::new(), None)), "{status}");
        };
        for status in [200, 204] {
            check(status, |answer| matches!(answer, Answer::Delivered(_)));
        }
        for status in [302, 401, 404, 429, 500, 503] {
            check(status, |answer| matches!(answer, Answer::Later { .. }));
        }
        for status in [400, 413, 422] {
            check(status, |answer| matches!(answer, Answer::Never(_)));
        }
    }
}
