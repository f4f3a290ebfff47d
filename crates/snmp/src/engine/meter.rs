//! Keeps requests and bits within a [`Rate`].

use std::time::Duration;

use super::target::Rate;

/// What has gone against a rate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meter {
    rate: Rate,
    in_flight: u32,
    /// When the requests made so far are paid off.
    requests_until: Duration,
    /// When the bits moved so far are paid off.
    bits_until: Duration,
}

impl Meter {
    /// How much may go in advance: a tick of the thread must not waste what was free.
    const AHEAD: Duration = Duration::from_millis(20);

    pub(crate) const fn new(rate: Rate) -> Self {
        Self { rate, in_flight: 0, requests_until: Duration::ZERO, bits_until: Duration::ZERO }
    }

    /// Another rate from now on.
    pub(crate) fn set_rate(&mut self, rate: Rate) {
        self.rate = rate;
    }

    /// Whether a further request may be under way.
    pub(crate) fn has_room(&self) -> bool {
        self.in_flight < self.rate.in_flight_max.max(1)
    }

    /// When the next request may go; now if it may.
    pub(crate) fn ready_at(&self, now: Duration) -> Duration {
        self.requests_until.max(self.bits_until).saturating_sub(Self::AHEAD).max(now)
    }

    /// A request is under way.
    pub(crate) fn enter(&mut self) {
        self.in_flight += 1;
    }

    /// It no longer is.
    pub(crate) fn leave(&mut self) {
        self.in_flight = self.in_flight.checked_sub(1).expect("a request leaves once");
    }

    /// Something is sent.
    pub(crate) fn sent(&mut self, now: Duration, bytes: usize) {
        if let Some(most) = self.rate.requests_per_second {
            self.requests_until = self.requests_until.max(now) + Duration::from_secs(1) / most.max(1);
        }
        self.moved(now, bytes);
    }

    /// Bytes went over the line.
    pub(crate) fn moved(&mut self, now: Duration, bytes: usize) {
        if let Some(most) = self.rate.bits_per_second {
            let bits = bytes as u64 * 8;
            let nanos = u128::from(bits) * 1_000_000_000 / u128::from(most.max(1));
            let took = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX / 4));
            self.bits_until = self.bits_until.max(now).saturating_add(took);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends as soon as it may for ten seconds; returns how many went.
    fn sent_in_ten_seconds(rate: Rate, bytes: usize) -> u32 {
        let (mut meter, mut now, mut count) = (Meter::new(rate), Duration::ZERO, 0);
        loop {
            now = meter.ready_at(now);
            if now >= Duration::from_secs(10) || count > 100_000 {
                return count;
            }
            meter.sent(now, bytes);
            count += 1;
        }
    }

    #[test]
    fn requests_and_bits_keep_to_the_rate() {
        let free = Rate::FREE;
        let check = |rate, bytes, expected: u32| {
            let count = sent_in_ten_seconds(rate, bytes);
            assert!(count.abs_diff(expected) <= 1 + expected / 100, "{count} instead of {expected}");
        };
        check(Rate { requests_per_second: Some(5), ..free }, 100, 50);
        check(Rate { bits_per_second: Some(64_000), ..free }, 1000, 80);
        check(Rate { requests_per_second: Some(5), bits_per_second: Some(64_000), ..free }, 4000, 20);
        assert!(sent_in_ten_seconds(free, 1000) > 100_000);
        check(Rate { bits_per_second: Some(0), ..free }, 1000, 1);
    }

    #[test]
    fn room_is_counted() {
        let mut meter = Meter::new(Rate { in_flight_max: 0, ..Rate::FREE });
        assert!(meter.has_room(), "0 would never move");
        meter.enter();
        assert!(!meter.has_room());
        meter.leave();
        assert!(meter.has_room());
    }
}
