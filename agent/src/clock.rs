//! The clock rule: which time a sample bears, and what happens while the machine does not know the time.
//!
//! In: wall and monotonic time from a [`TimeSource`], the newest stamp that the spool remembers, the collector's time as its
//! TLS answers tell it. Out: readings on one of two [`Scale`]s. While the wall clock is *unset* (it shows less than the build
//! date, or less than the newest stamp ever persisted), readings count milliseconds since boot, and batches on that scale are
//! held. As soon as the clock is set, or the collector has told its time, the boot has an offset; with its first use it is
//! fixed for good ([`Clock::fix_boot_offset`]), and the spool persists it before, so that a batch sent twice bears the same
//! stamps.
//!
//! Nothing here ever changes a timestamp on the wall scale. Decision 0004 tells why.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::Timestamp;
use wire::identity::BootId;

mod waiter;

pub use waiter::Waiter;

/// How far the wall clock may stand behind the newest stamp and still count as set: NTP steps it back a little now and then.
pub const STEP_BACK_MAX: Duration = Duration::from_secs(60);

/// How far the wall clock may stand from the collector's and be believed on its word.
const AGREEMENT_MS: i64 = 5_000;

/// Where time comes from; a test has one that it turns by hand.
pub trait TimeSource: Send + Sync {
    /// The wall clock, as the machine has it.
    fn wall(&self) -> Timestamp;

    /// Time since the machine's boot, sleep included; never goes back.
    fn since_boot(&self) -> Duration;

    /// What waits until this clock has gone on; the runtime's own timers, unless there is something better.
    fn waiter(&self) -> Waiter {
        Waiter::default()
    }
}

/// The machine's own clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemTime;

impl TimeSource for SystemTime {
    fn wall(&self) -> Timestamp {
        let now = std::time::SystemTime::now();
        let millis = match now.duration_since(std::time::UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
        };
        Timestamp::from_millis(millis)
    }

    #[cfg(target_os = "linux")]
    fn since_boot(&self) -> Duration {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        Duration::new(time.tv_sec.max(0) as u64, time.tv_nsec as u32)
    }

    /// Where the system names no time since boot, the program's start stands for it; the boot id is drawn anew then too.
    #[cfg(not(target_os = "linux"))]
    fn since_boot(&self) -> Duration {
        static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
        START.get_or_init(std::time::Instant::now).elapsed()
    }

    #[cfg(target_os = "linux")]
    fn waiter(&self) -> Waiter {
        Waiter::of_the_kernel()
    }
}

/// The machine's boot id; a random one where the system has none, so that no two runs are taken for one boot.
pub fn boot_id() -> BootId {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    BootId::from_uuid(&text).unwrap_or_else(|| BootId::from_u128(rand::random()))
}

/// What the milliseconds of a reading count from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// The Unix epoch.
    Wall,
    /// The machine's boot: the clock is not set.
    Boot,
}

/// One look at the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Milliseconds on `scale`.
    pub time: Timestamp,
    /// What they count from.
    pub scale: Scale,
    /// Milliseconds since boot at the same moment.
    pub boot_ms: i64,
}

/// See the module's text. Shared by schedule, spool and uplink.
pub struct Clock {
    source: Box<dyn TimeSource>,
    boot: BootId,
    state: Mutex<State>,
}

struct State {
    /// A wall clock that shows less is not set.
    floor: Timestamp,
    /// This boot's offset from the boot scale to the wall scale.
    boot_offset_ms: Option<i64>,
    /// Whether it was used: it never changes then. Until then it follows the wall clock (NTP may step it once more).
    is_fixed: bool,
    /// Wall clock minus the collector's, when it last answered.
    collector_offset_ms: Option<i64>,
    /// The collector's time less the time since boot, when it last answered.
    collector_boot_offset_ms: Option<i64>,
}

impl Clock {
    /// A clock that believes a wall time from the build date on.
    pub fn new(source: Box<dyn TimeSource>, boot: BootId) -> Self {
        let floor = Timestamp::from_millis(telemetry::build::NOT_BEFORE_UNIX_SECONDS * 1000);
        let state = State {
            floor,
            boot_offset_ms: None,
            is_fixed: false,
            collector_offset_ms: None,
            collector_boot_offset_ms: None,
        };
        Self { source, boot, state: Mutex::new(state) }
    }

    /// The machine's own clock.
    pub fn system() -> Self {
        Self::new(Box::new(SystemTime), boot_id())
    }

    /// What waits for a tick with the fewest wake-ups; it holds an open file.
    pub fn waiter(&self) -> Waiter {
        self.source.waiter()
    }

    /// The boot that this program runs in.
    pub fn boot(&self) -> BootId {
        self.boot
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the spool remembers: the newest stamp ever persisted, and the offset if this boot has one already.
    pub fn remember(&self, newest: Option<Timestamp>, boot_offset_ms: Option<i64>) {
        let mut state = self.state();
        if let Some(newest) = newest {
            state.floor = state.floor.max(newest - STEP_BACK_MAX);
        }
        if boot_offset_ms.is_some() {
            state.boot_offset_ms = boot_offset_ms;
            state.is_fixed = true;
        }
    }

    /// The time now, on the scale that holds now.
    pub fn read(&self) -> Reading {
        let (wall, boot_ms) = (self.source.wall(), self.boot_ms());
        let mut state = self.state();
        if wall < state.floor {
            return Reading { time: Timestamp::from_millis(boot_ms), scale: Scale::Boot, boot_ms };
        }
        if !state.is_fixed {
            state.boot_offset_ms = Some(wall.as_millis().saturating_sub(boot_ms));
        }
        // What was once believed is remembered within the run too: a step back past the bound means "not set".
        state.floor = state.floor.max(wall - STEP_BACK_MAX);
        Reading { time: wall, scale: Scale::Wall, boot_ms }
    }

    /// Whether the wall clock is set.
    pub fn is_set(&self) -> bool {
        self.read().scale == Scale::Wall
    }

    /// Milliseconds to add to times on the boot scale, once anybody knows the time; may still change until it is fixed.
    pub fn boot_offset_ms(&self) -> Option<i64> {
        self.read();
        self.state().boot_offset_ms
    }

    /// The same for its first use: from now on it does not change within this boot.
    pub fn fix_boot_offset(&self) -> Option<i64> {
        self.read();
        let mut state = self.state();
        state.is_fixed |= state.boot_offset_ms.is_some();
        state.boot_offset_ms
    }

    /// The best guess at the wall time, for verifying certificates and for the `Pantau-Sent` header.
    pub fn best_guess(&self) -> Timestamp {
        let reading = self.read();
        let state = self.state();
        match (reading.scale, state.boot_offset_ms) {
            (Scale::Wall, _) => reading.time,
            (Scale::Boot, Some(offset)) => Timestamp::from_millis(reading.boot_ms.saturating_add(offset)),
            (Scale::Boot, None) => state.floor,
        }
    }

    /// The collector's time, as an answer over TLS told it just now.
    pub fn hear_collector(&self, collector: Timestamp) {
        let (wall, boot_ms) = (self.source.wall(), self.boot_ms());
        let mut state = self.state();
        let offset_ms = wall.millis_since(collector);
        state.collector_offset_ms = Some(offset_ms);
        state.collector_boot_offset_ms = Some(collector.as_millis().saturating_sub(boot_ms));
        if wall >= state.floor {
            return;
        }
        if offset_ms.abs() <= AGREEMENT_MS {
            // The floor was too high: somebody had set the clock into the future once. The collector is a witness that it
            // is right now.
            state.floor = wall;
        } else {
            state.boot_offset_ms.get_or_insert(collector.as_millis().saturating_sub(boot_ms));
        }
    }

    /// Wall clock minus the collector's in milliseconds, when it last answered over TLS.
    pub fn collector_offset_ms(&self) -> Option<i64> {
        self.state().collector_offset_ms
    }

    /// The time now, counted on from the collector's last answer over TLS; what the wall clock has done since does not matter.
    pub fn collector_time(&self) -> Option<Timestamp> {
        let offset_ms = self.state().collector_boot_offset_ms?;
        Some(Timestamp::from_millis(self.boot_ms().saturating_add(offset_ms)))
    }

    fn boot_ms(&self) -> i64 {
        i64::try_from(self.source.since_boot().as_millis()).unwrap_or(i64::MAX)
    }
}

#[cfg(any(test, feature = "simulated"))]
pub(crate) mod by_hand {
    //! A clock that tests turn by hand.

    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering::SeqCst};

    use super::*;

    /// Wall and boot time in milliseconds, set from outside.
    #[derive(Clone, Default)]
    pub(crate) struct HandClock(Arc<(AtomicI64, AtomicI64)>);

    impl HandClock {
        pub(crate) fn at(wall_ms: i64, boot_ms: i64) -> Self {
            Self(Arc::new((AtomicI64::new(wall_ms), AtomicI64::new(boot_ms))))
        }

        pub(crate) fn pass(&self, millis: i64) {
            self.0.0.fetch_add(millis, SeqCst);
            self.0.1.fetch_add(millis, SeqCst);
        }

        pub(crate) fn set_wall(&self, wall_ms: i64) {
            self.0.0.store(wall_ms, SeqCst);
        }

        pub(crate) fn clock(&self, boot: u128) -> Clock {
            Clock::new(Box::new(self.clone()), BootId::from_u128(boot))
        }

        /// The clock of a program that was built then.
        #[cfg(feature = "simulated")]
        pub(crate) fn clock_since(&self, boot: u128, built: Timestamp) -> Clock {
            let clock = self.clock(boot);
            clock.state().floor = built;
            clock
        }
    }

    /// A clock of tokio's paused time.
    #[cfg(test)]
    pub(crate) fn paused_clock(wall_ms: i64) -> Clock {
        struct Paused(tokio::time::Instant, Timestamp);

        impl TimeSource for Paused {
            fn wall(&self) -> Timestamp {
                self.1 + self.0.elapsed()
            }

            fn since_boot(&self) -> Duration {
                self.0.elapsed()
            }
        }

        let source = Paused(tokio::time::Instant::now(), Timestamp::from_millis(wall_ms));
        Clock::new(Box::new(source), BootId::from_u128(1))
    }

    impl TimeSource for HandClock {
        fn wall(&self) -> Timestamp {
            Timestamp::from_millis(self.0.0.load(SeqCst))
        }

        fn since_boot(&self) -> Duration {
            Duration::from_millis(self.0.1.load(SeqCst) as u64)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::by_hand::HandClock;
    use super::*;

    const TODAY_MS: i64 = 1_800_000_000_000;

    #[test]
    fn a_set_clock_reads_on_the_wall_scale() {
        let clock = HandClock::at(TODAY_MS, 5_000).clock(1);
        let expected = Reading { time: Timestamp::from_millis(TODAY_MS), scale: Scale::Wall, boot_ms: 5_000 };
        assert_eq!(clock.read(), expected);
        assert_eq!(clock.boot_offset_ms(), Some(TODAY_MS - 5_000));
    }

    #[test]
    fn a_clock_in_the_past_reads_since_boot_until_it_jumps_and_the_offset_stays() {
        let hand = HandClock::at(1_000, 5_000);
        let clock = hand.clock(1);
        assert_eq!((clock.read().scale, clock.read().time.as_millis()), (Scale::Boot, 5_000));
        assert_eq!(clock.boot_offset_ms(), None);
        hand.pass(1_000);
        hand.set_wall(TODAY_MS);
        assert_eq!(clock.boot_offset_ms(), Some(TODAY_MS - 6_000));
        hand.set_wall(TODAY_MS + 50); // NTP steps once more
        assert_eq!(clock.fix_boot_offset(), Some(TODAY_MS - 5_950));
        hand.pass(60_000);
        hand.set_wall(TODAY_MS + 60_100); // and slews
        assert_eq!(clock.fix_boot_offset(), Some(TODAY_MS - 5_950), "once and for all");
        assert_eq!(clock.read().time.as_millis(), TODAY_MS + 60_100);
    }

    #[test]
    fn a_clock_behind_the_newest_stamp_is_not_set_and_a_small_step_back_is_fine() {
        let hand = HandClock::at(TODAY_MS, 5_000);
        let clock = hand.clock(1);
        clock.remember(Some(Timestamp::from_millis(TODAY_MS + 30_000)), None);
        assert!(clock.is_set(), "half a minute behind");
        clock.remember(Some(Timestamp::from_millis(TODAY_MS + 3_600_000)), None);
        assert!(!clock.is_set(), "an hour behind");
    }

    #[test]
    fn the_collectors_time_gives_the_offset_where_the_wall_clock_is_unset() {
        let hand = HandClock::at(1_000, 5_000);
        let clock = hand.clock(1);
        clock.hear_collector(Timestamp::from_millis(TODAY_MS));
        assert_eq!(clock.boot_offset_ms(), Some(TODAY_MS - 5_000));
        assert!(!clock.is_set(), "the wall clock itself is as wrong as before");
        assert_eq!(clock.best_guess().as_millis(), TODAY_MS);
    }

    #[test]
    fn the_collector_is_a_witness_against_a_future_that_was_remembered() {
        let clock = HandClock::at(TODAY_MS, 5_000).clock(1);
        clock.remember(Some(Timestamp::from_millis(TODAY_MS + 1_000_000_000)), None);
        assert!(!clock.is_set());
        clock.hear_collector(Timestamp::from_millis(TODAY_MS + 200));
        assert!(clock.is_set());
        assert_eq!(clock.collector_offset_ms(), Some(-200));
    }

    #[test]
    fn a_step_back_within_the_run_means_unset_again() {
        let hand = HandClock::at(TODAY_MS, 5_000);
        let clock = hand.clock(1);
        assert!(clock.is_set());
        hand.set_wall(1_000);
        assert_eq!(clock.read().scale, Scale::Boot);
    }
}
