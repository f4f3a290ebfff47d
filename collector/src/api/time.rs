//! Times and durations as Prometheus' API reads them.

use std::time::Duration;

use model::Timestamp;
use settings::Span;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The ends of Prometheus' time, which clients send for "since ever" and which no calendar of four-digit years holds.
const ENDS: [(&str, Timestamp); 2] =
    [("-292273086-05-16T16:47:06Z", Timestamp::MIN), ("292277025-08-18T07:12:54.999999999Z", Timestamp::MAX)];

/// Unix seconds with fraction (`1700000000.123`, rounded to milliseconds) or RFC 3339 (`2026-11-22T10:00:00+07:00`).
pub(crate) fn parse_time(text: &str) -> Option<Timestamp> {
    if let Some((_, end)) = ENDS.iter().find(|(known, _)| *known == text) {
        return Some(*end);
    }
    if let Ok(seconds) = text.parse::<f64>() {
        // Whole seconds apart, as Prometheus rounds: 1.0005 is 1.000.
        let millis = seconds.trunc() * 1000.0 + (seconds.fract() * 1000.0).round();
        // Beyond 2^53 a float holds no milliseconds; Prometheus' own smallest and largest times saturate.
        return millis.is_finite().then_some(Timestamp::from_millis(millis as i64));
    }
    let moment = is_gos(text).then(|| OffsetDateTime::parse(text, &Rfc3339).ok())??;
    let millis = moment.unix_timestamp_nanos().div_euclid(1_000_000);
    i64::try_from(millis).ok().map(Timestamp::from_millis)
}

/// Whether a moment has what Go asks for and RFC 3339 leaves open: a large `T` and `Z`, and no leap second.
fn is_gos(text: &str) -> bool {
    text.get(10..11) == Some("T") && !text.ends_with('z') && text.get(17..19) != Some("60")
}

/// Why a text is no duration, in Prometheus' words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoDuration {
    /// It is something else.
    #[error("cannot parse {0:?} to a valid duration")]
    Syntax(String),
    /// Nanoseconds in 64 bits do not hold it.
    #[error("cannot parse {0:?} to a valid duration. It overflows int64")]
    Overflow(String),
}

/// Seconds with fraction (`0.5`, `15`, `-1`) or with units (`1m30s`). What is negative is zero: so long nobody waits.
pub(super) fn parse_duration(text: &str) -> Result<Duration, NoDuration> {
    let shown = || text.chars().take(100).collect();
    let names_infinity = text.trim_start_matches(['+', '-']).starts_with(['i', 'I']);
    // Go takes no number that is too large for a float.
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite() || names_infinity);
    if let Some(seconds) = number {
        let fits = (seconds * 1e9).abs() < i64::MAX as f64;
        return match Duration::try_from_secs_f64(seconds.max(0.0)) {
            Ok(duration) if fits => Ok(duration),
            _ => Err(NoDuration::Overflow(shown())),
        };
    }
    text.parse().map(Span::get).map_err(|_| NoDuration::Syntax(shown()))
}

/// A time as RFC 3339 in UTC, with milliseconds where they are not zero; times beyond the calendar are its ends.
pub(crate) fn rfc3339(time: Timestamp) -> String {
    let nanos = i128::from(time.as_millis()) * 1_000_000;
    let end = if nanos < 0 { "0001-01-01T00:00:00Z" } else { "9999-12-31T23:59:59Z" };
    let moment = OffsetDateTime::from_unix_timestamp_nanos(nanos).ok();
    moment.and_then(|moment| moment.format(&Rfc3339).ok()).unwrap_or_else(|| end.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, millis: Option<i64>) {
        assert_eq!(parse_time(text).map(Timestamp::as_millis), millis, "{text:?}");
    }

    #[test]
    fn times_in_both_forms() {
        check("1700000000.1234", Some(1_700_000_000_123));
        check("-1.5", Some(-1500));
        check("1.0005", Some(1000));
        check("1.0006", Some(1001));
        check("1e3", Some(1_000_000));
        check("2026-11-22T10:00:00+07:00", Some(1_795_316_400_000));
        check("2026-11-22T03:00:00.25Z", Some(1_795_316_400_250));
        check("-292273086-05-16T16:47:06Z", Some(i64::MIN));
        check("292277025-08-18T07:12:54.999999999Z", Some(i64::MAX));
        for bad in ["", "now", "NaN", "Inf", "2026-11-22", "2026-13-01T00:00:00Z"] {
            check(bad, None);
        }
        for bad in
            ["2026-11-22t03:00:00Z", "2026-11-22T03:00:00z", "2026-11-22 03:00:00Z", "2016-12-31T23:59:60Z"]
        {
            check(bad, None);
        }
    }

    #[test]
    fn times_are_printed_as_rfc_3339() {
        assert_eq!(rfc3339(Timestamp::from_millis(1_795_316_400_250)), "2026-11-22T03:00:00.25Z");
        assert_eq!(rfc3339(Timestamp::from_millis(0)), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(Timestamp::MAX), "9999-12-31T23:59:59Z");
        assert_eq!(rfc3339(Timestamp::MIN), "0001-01-01T00:00:00Z");
    }

    #[test]
    fn durations_in_both_forms() {
        assert_eq!(parse_duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("-1"), Ok(Duration::ZERO));
        for bad in ["", "soon", "-1m", "NaN", "1e400"] {
            assert_eq!(parse_duration(bad), Err(NoDuration::Syntax(bad.into())));
        }
        for bad in ["Inf", "-inf", "1e300", "-1e300", "9223372037"] {
            assert_eq!(parse_duration(bad), Err(NoDuration::Overflow(bad.into())));
        }
    }
}
