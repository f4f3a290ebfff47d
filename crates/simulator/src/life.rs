//! A device's clocks: since when it runs, since when it counts, how often its SNMP engine started.

use std::time::Duration;

use crate::motion::Moment;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Life {
    /// When counters were last at their start, and whether that start is what was recorded.
    counting_since: Duration,
    recorded: bool,
    /// `sysUpTime` at a moment, in hundredths of a second.
    uptime: u32,
    uptime_at: Duration,
    /// How fast counters move, in 1,024ths.
    pub(crate) pace: u64,
}

impl Life {
    pub(crate) const PACE: u64 = 1_024;

    pub(crate) fn new(uptime: u32) -> Self {
        let zero = Duration::ZERO;
        Self { counting_since: zero, recorded: true, uptime, uptime_at: zero, pace: Self::PACE }
    }

    /// Everything starts at 0.
    pub(crate) fn reboot(&mut self, now: Duration) {
        self.counting_since = now;
        self.recorded = false;
        self.restart(now);
    }

    /// The agent starts anew; what it counts goes on.
    pub(crate) fn restart(&mut self, now: Duration) {
        self.uptime = 0;
        self.uptime_at = now;
    }

    /// Sets the uptime so that it wraps at 2^32 in this time.
    pub(crate) fn wrap_in(&mut self, now: Duration, time: Duration) {
        self.uptime = 0_u32.wrapping_sub(ticks(time));
        self.uptime_at = now;
    }

    pub(crate) fn moment<'a>(&self, now: Duration, engine: (u32, u32), name: &'a [u8]) -> Moment<'a> {
        let counting = now.saturating_sub(self.counting_since).as_millis() as u64;
        Moment {
            counting: match self.pace {
                Self::PACE => counting,
                pace => (u128::from(counting) * u128::from(pace) / u128::from(Self::PACE)) as u64,
            },
            recorded: self.recorded,
            uptime: self.uptime.wrapping_add(ticks(now.saturating_sub(self.uptime_at))),
            engine_boots: engine.0,
            engine_time: engine.1,
            name,
        }
    }
}

/// Hundredths of a second, wrapped at 2^32.
fn ticks(time: Duration) -> u32 {
    (time.as_millis() / 10) as u32
}
