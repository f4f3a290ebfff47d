//! Numbers for people.

use super::Failure;
use crate::number::general;
use crate::value::Value;

/// A number out of whatever may be one.
pub(super) fn float(value: &Value) -> Result<f64, Failure> {
    match value {
        Value::Float(float) => Ok(*float),
        Value::Int(int) => Ok(*int as f64),
        Value::Duration(nanos) => Ok(*nanos as f64 / 1e9),
        Value::Text(text) => crate::parse::parse_float(text).ok_or_else(|| {
            format!("strconv.ParseFloat: parsing {}: invalid syntax", crate::format::quote(text)).into()
        }),
        other => Err(format!("can't convert {} to float", other.type_name()).into()),
    }
}

fn four(value: f64) -> String {
    general(value, Some(4))
}

const LARGE: [&str; 8] = ["k", "M", "G", "T", "P", "E", "Z", "Y"];
const SMALL: [&str; 8] = ["m", "u", "n", "p", "f", "a", "z", "y"];

fn shrink(mut value: f64, by: f64, prefixes: [&'static str; 8]) -> (f64, &'static str) {
    let mut prefix = "";
    for next in prefixes {
        if value.abs() < by {
            break;
        }
        prefix = next;
        value /= by;
    }
    (value, prefix)
}

fn grow(mut value: f64) -> (f64, &'static str) {
    let mut prefix = "";
    for next in SMALL {
        if value.abs() >= 1.0 {
            break;
        }
        prefix = next;
        value *= 1000.0;
    }
    (value, prefix)
}

/// With prefixes by thousands.
pub(super) fn humanize(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return four(value);
    }
    let (value, prefix) = if value.abs() >= 1.0 { shrink(value, 1000.0, LARGE) } else { grow(value) };
    format!("{}{prefix}", four(value))
}

/// With prefixes by 1,024.
pub(super) fn humanize_1024(value: f64) -> String {
    if value.abs() <= 1.0 || !value.is_finite() {
        return four(value);
    }
    let (value, prefix) = shrink(value, 1024.0, ["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"]);
    format!("{}{prefix}", four(value))
}

/// Seconds as days, hours, minutes and seconds.
pub(super) fn duration(value: f64) -> String {
    if !value.is_finite() {
        return four(value);
    }
    if value == 0.0 {
        return format!("{}s", four(value));
    }
    if value.abs() < 1.0 {
        let (value, prefix) = grow(value);
        return format!("{}{prefix}s", four(value));
    }
    let sign = if value < 0.0 { "-" } else { "" };
    // What does not fit is the least number, as Go has it on amd64.
    let whole = if value.abs() < 9_223_372_036_854_775_808.0 { value.abs() as i64 } else { i64::MIN };
    let (seconds, minutes, hours, days) = (whole % 60, whole / 60 % 60, whole / 3600 % 24, whole / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{sign}{}s", four(value.abs())),
        (0, 0, _) => format!("{sign}{minutes}m {seconds}s"),
        (0, _, _) => format!("{sign}{hours}h {minutes}m {seconds}s"),
        _ => format!("{sign}{days}d {hours}h {minutes}m {seconds}s"),
    }
}

pub(super) fn percentage(value: f64) -> String {
    format!("{}%", four(value * 100.0))
}

/// Seconds since the epoch as a moment.
pub(super) fn timestamp(value: f64) -> Result<String, Failure> {
    if !value.is_finite() {
        return Ok(four(value));
    }
    Ok(crate::time::format_time(to_time(value)?))
}

/// Seconds since the epoch as milliseconds.
pub(super) fn to_time(value: f64) -> Result<i64, Failure> {
    Ok(nanos(value, "timestamp")?.div_euclid(1_000_000))
}

/// Seconds as nanoseconds.
pub(super) fn to_duration(value: f64) -> Result<i64, Failure> {
    nanos(value, "time duration")
}

fn nanos(value: f64, what: &str) -> Result<i64, Failure> {
    if !value.is_finite() {
        return Err("value is NaN or Inf".into());
    }
    let nanos = value * 1e9;
    // As floats: the greatest is 2^63, which itself does not fit.
    if nanos >= i64::MAX as f64 || nanos <= i64::MIN as f64 {
        let value = general(value, None);
        return Err(format!(
            "{value} cannot be represented as a nanoseconds {what} since it overflows int64"
        )
        .into());
    }
    Ok(nanos as i64)
}
