//! Moments and spans as Go prints them.

/// `2006-01-02 15:04:05.999 +0000 UTC`
pub(crate) fn format_time(millis: i64) -> String {
    let moment = Moment::of(millis);
    let (year, month, day) = (moment.year, moment.month, moment.day);
    let (hour, minute, second) = (moment.hour, moment.minute, moment.second);
    let fraction = match moment.milli {
        0 => String::new(),
        milli => format!(".{milli:03}").trim_end_matches('0').to_owned(),
    };
    let sign = if year < 0 { "-" } else { "" };
    let year = year.unsigned_abs();
    format!("{sign}{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}{fraction} +0000 UTC")
}

struct Moment {
    year: i64,
    month: i64,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    milli: i64,
}

impl Moment {
    /// The proleptic Gregorian calendar, UTC. Years are counted from March, so that the leap day is a year's last.
    fn of(millis: i64) -> Self {
        let (days, in_day) = (millis.div_euclid(86_400_000), millis.rem_euclid(86_400_000));
        let from_march = days + 719_468;
        let (era, in_era) = (from_march.div_euclid(146_097), from_march.rem_euclid(146_097));
        let year_of_era = (in_era - in_era / 1460 + in_era / 36_524 - in_era / 146_096) / 365;
        let in_year = in_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * in_year + 2) / 153;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        Self {
            year: era * 400 + year_of_era + i64::from(month <= 2),
            month,
            day: in_year - (153 * month_from_march + 2) / 5 + 1,
            hour: in_day / 3_600_000,
            minute: in_day / 60_000 % 60,
            second: in_day / 1000 % 60,
            milli: in_day % 1000,
        }
    }
}

/// `1h2m3.5s`, as Go's `Duration`.
pub(crate) fn format_duration(nanos: i64) -> String {
    let size = nanos.unsigned_abs();
    let sign = if nanos < 0 { "-" } else { "" };
    let fraction = |whole: u64, unit: u64| -> String {
        let width = unit.ilog10() as usize;
        let rest = format!("{:0width$}", whole % unit);
        let rest = rest.trim_end_matches('0');
        let dot = if rest.is_empty() || unit == 1 { "" } else { "." };
        let rest = if unit == 1 { "" } else { rest };
        format!("{}{dot}{rest}", whole / unit)
    };
    let body = match size {
        0 => "0s".to_owned(),
        1..1_000 => format!("{size}ns"),
        1_000..1_000_000 => format!("{}µs", fraction(size, 1_000)),
        1_000_000..1_000_000_000 => format!("{}ms", fraction(size, 1_000_000)),
        _ => {
            let (hours, minutes) = (size / 3_600_000_000_000, size / 60_000_000_000 % 60);
            let seconds = fraction(size % 60_000_000_000, 1_000_000_000);
            match (hours, minutes) {
                (0, 0) => format!("{seconds}s"),
                (0, _) => format!("{minutes}m{seconds}s"),
                _ => format!("{hours}h{minutes}m{seconds}s"),
            }
        }
    };
    format!("{sign}{body}")
}

/// A span as Prometheus writes it (`1d12h`), in milliseconds.
pub(crate) fn parse_duration(text: &str) -> Result<i64, String> {
    const UNITS: [(&str, i64); 7] = [
        ("y", 365 * 86_400_000),
        ("w", 7 * 86_400_000),
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1000),
        ("ms", 1),
    ];
    match text {
        "" => return Err("empty duration string".to_owned()),
        "0" => return Ok(0),
        _ => {}
    }
    let invalid = || format!("not a valid duration string: {}", crate::format::quote(text));
    let (mut rest, mut next, mut sum) = (text, 0, 0_i64);
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|char: char| char.is_ascii_digit()).len();
        let letters =
            rest[digits..].find(|char: char| !char.is_ascii_lowercase()).unwrap_or(rest.len() - digits);
        let unit = &rest[digits..digits + letters];
        let place =
            UNITS.iter().position(|(name, _)| *name == unit).filter(|place| *place >= next && digits > 0);
        let place = place.ok_or_else(invalid)?;
        let too_long = || "duration out of range".to_owned();
        let count: i64 = rest[..digits].parse().map_err(|_| too_long())?;
        // Go's durations are nanoseconds in 63 bits.
        sum = count
            .checked_mul(UNITS[place].1)
            .and_then(|span| span.checked_add(sum))
            .filter(|sum| sum.checked_mul(1_000_000).is_some())
            .ok_or_else(too_long)?;
        rest = &rest[digits + letters..];
        next = place + 1;
    }
    Ok(sum)
}
