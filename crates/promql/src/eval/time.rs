//! Calendar functions: what a Unix time is in UTC.

use model::Date;

/// Finds a calendar function by its name. Times that are no number give NaN.
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

const DAY: i64 = 86_400;

fn whole(at: f64, part: fn(i64) -> i64) -> f64 {
    if at.is_nan() { f64::NAN } else { part(at as i64) as f64 }
}

fn number(at: f64, part: fn(Date) -> i64) -> f64 {
    if at.is_nan() { f64::NAN } else { part(Date::from_days((at as i64).div_euclid(DAY))) as f64 }
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

    #[test]
    fn before_1970() {
        check("year", -1.0, 1969.0);
        check("day_of_month", -1.0, 31.0);
        check("hour", -1.0, 23.0);
        check("day_of_week", -86_401.0, 2.0);
    }
}
