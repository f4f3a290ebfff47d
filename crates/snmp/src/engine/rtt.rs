//! How long to wait for a reply: RFC 6298, for datagrams.
//!
//! Every try of a request of v1 and v2c bears an id of its own, so a reply tells which try it answers and every reply is a sample. v3
//! repeats its message id; there only the first try's reply is one (Karn's rule, the caller's business).

use std::time::Duration;

/// A device's round trips.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rtt {
    smoothed: Option<Duration>,
    variation: Duration,
}

impl Rtt {
    /// Devices think before they answer, and some tables take them longer than others: never less than the RFC's second, unless the
    /// settings want less.
    const LEAST: Duration = Duration::from_secs(1);

    pub(crate) fn smoothed(&self) -> Option<Duration> {
        self.smoothed
    }

    pub(crate) fn measured(&mut self, sample: Duration) {
        let Some(smoothed) = self.smoothed else {
            (self.smoothed, self.variation) = (Some(sample), sample / 2);
            return;
        };
        self.variation = self.variation * 3 / 4 + smoothed.abs_diff(sample) / 4;
        self.smoothed = Some(smoothed * 7 / 8 + sample / 8);
    }

    /// How long a try waits: `first` while nothing is measured, `most` at most; each try twice as long as the one before.
    pub(crate) fn wait(&self, tries_before: u8, first: Duration, most: Duration) -> Duration {
        let once = match self.smoothed {
            Some(smoothed) => (smoothed + self.variation * 4).max(Self::LEAST.min(first)),
            None => first,
        };
        once.saturating_mul(1 << tries_before.min(8)).min(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn the_wait_follows_the_path() {
        let mut rtt = Rtt::default();
        let wait = |rtt: &Rtt, tries| rtt.wait(tries, ms(3000), ms(10_000));
        assert_eq!([wait(&rtt, 0), wait(&rtt, 1), wait(&rtt, 2)], [ms(3000), ms(6000), ms(10_000)]);
        (0..20).for_each(|_| rtt.measured(ms(5)));
        assert_eq!([wait(&rtt, 0), wait(&rtt, 1)], [ms(1000), ms(2000)]);
        (0..40).for_each(|_| rtt.measured(ms(1200)));
        let satellite = wait(&rtt, 0);
        assert!((ms(1200)..ms(1900)).contains(&satellite), "{satellite:?}");
        assert_eq!(rtt.wait(0, ms(100), ms(50)), ms(50), "the bound holds over all");
    }

    #[test]
    fn jitter_widens_the_wait() {
        let (mut steady, mut shaky) = (Rtt::default(), Rtt::default());
        for turn in 0..50 {
            steady.measured(ms(2000));
            shaky.measured(ms(if turn % 2 == 0 { 500 } else { 3500 }));
        }
        let wait = |rtt: Rtt| rtt.wait(0, ms(3000), ms(60_000));
        assert!(wait(shaky) > wait(steady) * 2);
    }
}
