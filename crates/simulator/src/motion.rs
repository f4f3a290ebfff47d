//! Values that move with time. Time is an argument: the same moment gives the same value, on every run.

use snmp::ber::tag;
use snmp::{Oid, OidRef};

use crate::encode;
use crate::recording::Recording;
use snmp::Datum;

/// Content bytes of `1.3.6.1.2.1.1.3.0`.
pub(crate) const SYS_UP_TIME: &[u8] = &[0x2b, 6, 1, 2, 1, 1, 3, 0];
/// `1.3.6.1.2.1.25.1.1.0`, `hrSystemUptime`.
const HR_SYSTEM_UPTIME: &[u8] = &[0x2b, 6, 1, 2, 1, 25, 1, 1, 0];
/// `1.3.6.1.6.3.10.2.1.2.0` and its neighbour.
const ENGINE_BOOTS: &[u8] = &[0x2b, 6, 1, 6, 3, 10, 2, 1, 2, 0];
const ENGINE_TIME: &[u8] = &[0x2b, 6, 1, 6, 3, 10, 2, 1, 3, 0];
/// A counter of `ifTable` and the one of `ifXTable` that counts the same in 64 bits: the columns' last two arcs behind the tables.
const PAIRS: [(u32, u32); 4] = [(10, 6), (11, 7), (16, 10), (17, 11)];

/// How a value moves.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Motion {
    /// `sysUpTime` and its like.
    Uptime,
    /// `snmpEngineBoots`.
    EngineBoots,
    /// `snmpEngineTime`.
    EngineTime,
    /// A text of the device's own: its name.
    Name,
    /// A counter that wraps at 2^32: where it stood at first, and what it counts ([`rate`]).
    Counter32 { base: u64, rate: u64 },
    /// A counter that wraps at 2^64.
    Counter64 { base: u64, rate: u64 },
    /// A gauge or a signed number (by tag) that rises and falls by `swing` around `middle` in so many milliseconds.
    Wave { tag: u8, middle: i64, swing: i64, period: u64, phase: u64 },
}

/// Everything about a device that a moving value depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment<'a> {
    /// Milliseconds since counters were last at their start, by the device's own pace.
    pub(crate) counting: u64,
    /// Whether counters start at what was recorded (the first life) or at 0 (after a reboot).
    pub(crate) recorded: bool,
    /// Hundredths of a second.
    pub(crate) uptime: u32,
    pub(crate) engine_boots: u32,
    /// Seconds.
    pub(crate) engine_time: u32,
    pub(crate) name: &'a [u8],
}

impl Motion {
    /// The device's clocks, which move in every tree.
    pub(crate) fn of_clock(name: &Oid, datum: &Datum) -> Option<Self> {
        match (name.view().content(), datum) {
            (SYS_UP_TIME | HR_SYSTEM_UPTIME, Datum::TimeTicks(_)) => Some(Self::Uptime),
            (ENGINE_BOOTS, Datum::Integer(_)) => Some(Self::EngineBoots),
            (ENGINE_TIME, Datum::Integer(_)) => Some(Self::EngineTime),
            _ => None,
        }
    }

    /// A recorded counter: what it had counted, through the device's uptime. Where a 64-bit counter counts the same, its rate is taken:
    /// the shorter one may have wrapped.
    pub(crate) fn of_counter(recording: &Recording, uptime: u32, name: &Oid, datum: &Datum) -> Option<Self> {
        const MONTH_MS: u64 = 30 * 86_400_000;
        let milliseconds = if uptime == 0 { MONTH_MS } else { u64::from(uptime) * 10 };
        let rate = |counted| rate(counted, milliseconds);
        match datum {
            Datum::Counter32(base) => {
                let counted = twin(recording, name.view()).unwrap_or_else(|| u64::from(*base));
                Some(Self::Counter32 { base: u64::from(*base), rate: rate(counted) })
            }
            Datum::Counter64(base) => Some(Self::Counter64 { base: *base, rate: rate(*base) }),
            _ => None,
        }
    }

    pub(crate) fn tag(&self) -> u8 {
        match self {
            Self::Uptime => tag::TIME_TICKS,
            Self::EngineBoots | Self::EngineTime => tag::INTEGER,
            Self::Name => tag::OCTET_STRING,
            Self::Counter32 { .. } => tag::COUNTER32,
            Self::Counter64 { .. } => tag::COUNTER64,
            Self::Wave { tag, .. } => *tag,
        }
    }

    /// Appends the encoded value.
    pub(crate) fn write(&self, moment: &Moment<'_>, out: &mut Vec<u8>) {
        match *self {
            Self::Uptime => encode::unsigned(out, tag::TIME_TICKS, u64::from(moment.uptime)),
            Self::EngineBoots => encode::unsigned(out, tag::INTEGER, u64::from(moment.engine_boots)),
            Self::EngineTime => encode::unsigned(out, tag::INTEGER, u64::from(moment.engine_time)),
            Self::Name => encode::element(out, tag::OCTET_STRING, moment.name),
            Self::Counter32 { base, rate } => {
                encode::unsigned(out, tag::COUNTER32, counted(base, rate, moment) & u64::from(u32::MAX));
            }
            Self::Counter64 { base, rate } => {
                encode::unsigned(out, tag::COUNTER64, counted(base, rate, moment))
            }
            Self::Wave { tag, middle, swing, period, phase } => {
                let value = middle + wave(swing, period, phase, moment.counting);
                match tag {
                    tag::INTEGER => {
                        encode::signed(out, tag, value.clamp(i32::MIN.into(), i32::MAX.into()) as i32)
                    }
                    _ => encode::unsigned(out, tag, value.clamp(0, u32::MAX.into()) as u64),
                }
            }
        }
    }
}

/// So many in so many milliseconds, as 2^-40ths a millisecond: small enough for one a year, and 100 Gbit/s in bytes still fit.
/// Rounded up, so that what was counted in a time is counted again in that time.
pub(crate) fn rate(counted: u64, milliseconds: u64) -> u64 {
    (u128::from(counted) << 40).div_ceil(u128::from(milliseconds.max(1))).try_into().unwrap_or(u64::MAX)
}

fn counted(base: u64, rate: u64, moment: &Moment<'_>) -> u64 {
    let since = ((u128::from(rate) * u128::from(moment.counting)) >> 40) as u64;
    if moment.recorded { base.wrapping_add(since) } else { since }
}

/// A triangle from `-swing` to `swing` and back.
fn wave(swing: i64, period: u64, phase: u64, now: u64) -> i64 {
    let period = period.max(4);
    let at = (now + phase) % period;
    // From 0 up to period / 2 and down again.
    let height = at.min(period - at) as i64;
    let half = (period / 2) as i64;
    swing * (2 * height - half) / half
}

fn twin(recording: &Recording, name: OidRef<'_>) -> Option<u64> {
    let arcs: Vec<u32> = name.arcs().collect();
    let [1, 3, 6, 1, 2, 1, 2, 2, 1, column, index @ ..] = arcs.as_slice() else { return None };
    let (_, wide) = PAIRS.iter().find(|(narrow, _)| narrow == column)?;
    let mut other = vec![1, 3, 6, 1, 2, 1, 31, 1, 1, 1, *wide];
    other.extend(index);
    match recording.get(&Oid::from_arcs(&other).ok()?) {
        Some(Datum::Counter64(counted)) if *counted > 0 => Some(*counted),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use snmp::ber::Reader;

    use super::*;

    fn moment(counting: u64) -> Moment<'static> {
        Moment { counting, recorded: true, uptime: 0, engine_boots: 1, engine_time: 0, name: b"" }
    }

    fn read(motion: &Motion, moment: &Moment<'_>) -> u64 {
        let mut out = Vec::new();
        motion.write(moment, &mut out);
        Reader::new(&out).element().and_then(|element| element.unsigned64()).expect("a number")
    }

    #[test]
    fn counters_go_on_as_they_went_and_wrap_at_their_width() {
        let recording = Recording::parse(
            "1.3.6.1.2.1.1.3.0|67|100000\n1.3.6.1.2.1.2.2.1.10.7|65|5\n1.3.6.1.2.1.2.2.1.13.7|65|5\n\
             1.3.6.1.2.1.31.1.1.1.6.7|70|4294967301000\n",
        )
        .expect("good");
        let motion = |name: &str| {
            let name: Oid = name.parse().expect("good");
            let datum = recording.get(&name).expect("recorded");
            Motion::of_counter(&recording, 100_000, &name, datum).expect("a counter")
        };
        let wide = motion("1.3.6.1.2.1.31.1.1.1.6.7");
        assert_eq!(read(&wide, &moment(0)), 4_294_967_301_000);
        assert_eq!(read(&wide, &moment(1_000)), 4_294_967_301_000 + 4_294_967_301);
        let narrow = motion("1.3.6.1.2.1.2.2.1.10.7");
        assert_eq!(read(&narrow, &moment(1_000)), 5 + 5, "the same rate, wrapped");
        assert_eq!(read(&motion("1.3.6.1.2.1.2.2.1.13.7"), &moment(200_000)), 6, "5 in 1,000 seconds");
        assert_eq!(read(&wide, &Moment { recorded: false, ..moment(0) }), 0);
    }

    #[test]
    fn waves_stay_within_their_swing() {
        let values: Vec<i64> = (0..=80).map(|now| wave(10, 40, 0, now)).collect();
        assert_eq!((values[0], values[10], values[20], values[40]), (-10, 0, 10, -10));
        assert!(values.iter().all(|value| value.abs() <= 10));
    }
}
