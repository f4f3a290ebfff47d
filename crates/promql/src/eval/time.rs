//! Calendar functions: what a Unix time is in UTC.

use model::Date;

/// Finds a calendar function by its name.
pub(super) fn find(name: &str) -> Option<fn(f64) -> f64> {
    let part: fn(f64) -> f64 = match name {
        "day_of_month" => |at| number(at, |date| date.day),
        "day_of_week" => |at| whole(at, |seconds| (seconds.div_euclid(DAY) + 4).rem_euclid(7)),
        "day_of_year" => |at| number(at, Date::day_of_year),
        "days_in_month" => |at| number(at, Date::days_in_month),
        "hour" => |at| whole(at, |seconds| seconds.rem_euclid(DAY) / 3600),
        "minute" => |at| whole(at, |seconds| seconds.rem_euclid(3600) / 60),
        "month" => |at| number(at, |date| date.month),
        "year" => |at| number(at, |date| date.year),
        _ => return None,
    };
    Some(part)
}

const DAY: i128 = 86_400;

fn whole(at: f64, part: fn(i128) -> i128) -> f64 {
    part(seconds(at)) as f64
}

fn number(at: f64, part: fn(Date) -> i64) -> f64 {
    let days = i64::try_from(seconds(at).div_euclid(DAY)).expect("2^64 s are fewer than 2^63 days");
    part(Date::from_days(days)) as f64
}

/// Whole seconds, as Prometheus has them on amd64: what does not fit in 64 bits, NaN too, is the least number that does; and Go counts
/// seconds from the beginning of the year -292,277,022,399 without a sign, so that what lies before it lies 2^64 s later. Either
/// ends on the 4th of December in the year 292,277,026,596, which nobody means but everybody's Prometheus answers.
fn seconds(at: f64) -> i128 {
    const GO_BEGINS: i64 = -9_223_371_966_579_724_800;
    const TWO_TO_63: f64 = 9_223_372_036_854_775_808.0;
    let fits = (-TWO_TO_63..TWO_TO_63).contains(&at);
    let seconds = if fits { at as i64 } else { i64::MIN };
    i128::from(seconds) + if seconds < GO_BEGINS { 1 << 64 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, at: f64, expected: f64) {
        assert_eq!(find(name).expect("a known function")(at), expected, "{name}({at})");
    }

    #[test]
    fn known_days() {
        // 2016-02-29 12:34:56 UTC, a Monday
        for (name, expected) in [
            ("year", 2016.0),
            ("month", 2.0),
            ("day_of_month", 29.0),
            ("day_of_week", 1.0),
            ("day_of_year", 60.0),
            ("days_in_month", 29.0),
            ("hour", 12.0),
            ("minute", 34.0),
        ] {
            check(name, 1_456_749_296.0, expected);
        }
    }

    /// Found by random queries beside Prometheus 2.42.
    #[test]
    fn times_that_are_none_are_those_of_go() {
        for at in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300, -1e300, 9.3e18] {
            check("year", at, 292_277_026_596.0);
            check("month", at, 12.0);
            check("day_of_month", at, 4.0);
            check("day_of_week", at, 0.0);
            check("day_of_year", at, 339.0);
            check("days_in_month", at, 31.0);
            check("hour", at, 15.0);
            check("minute", at, 30.0);
        }
        check("year", 9.2e18, 291_536_396_232.0);
        check("year", -9.2e18, -291_536_392_293.0);
    }

    #[test]
    fn before_1970() {
        check("year", -1.0, 1969.0);
        check("day_of_month", -1.0, 31.0);
        check("hour", -1.0, 23.0);
        check("day_of_week", -86_401.0, 2.0);
    }
}
