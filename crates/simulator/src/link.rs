//! The way from a device back to its manager: delay, jitter, loss, reordering. All drawn by seed and number of the reply.

use std::time::Duration;

use crate::seed::{hits, mix};

/// How replies travel.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Link {
    /// Every reply takes this long.
    pub delay: Duration,
    /// And up to this much longer.
    pub jitter: Duration,
    /// Share of replies that never arrive, 0 to 1.
    pub loss: f64,
    /// Share of replies that are held back by `held`, so that others overtake them, 0 to 1.
    pub reordered: f64,
    /// How long those are held back.
    pub held: Duration,
}

impl Link {
    /// Nothing is lost and nothing takes time.
    pub(crate) fn is_perfect(&self) -> bool {
        *self == Self::default()
    }

    /// How long the n-th reply takes; `None` when it is lost.
    pub(crate) fn carry(&self, seed: u64, number: u64) -> Option<Duration> {
        let draw = |kind| mix(mix(seed, kind), number);
        if hits(draw(1), self.loss) {
            return None;
        }
        let jitter = self.jitter.mul_f64((draw(2) >> 11) as f64 / (1_u64 << 53) as f64);
        let held = if hits(draw(3), self.reordered) { self.held } else { Duration::ZERO };
        Some(self.delay + jitter + held)
    }
}
