//! Numbers as Go prints them, so that label values and messages read as Prometheus' do.

use std::ops::Range;

/// Below this, the digits of a whole number are all of it.
const EXACT: f64 = 9_007_199_254_740_992.0; // 2^53

/// A float in the shortest form that reads back equal, never with an exponent (Go's `'f', -1`).
pub fn format_plain(value: f64) -> String {
    let mut text = String::new();
    if !push_decimal(&mut text, value) {
        text.push_str(special(value).unwrap_or(&format!("{value}")));
    }
    text
}

/// A float as the HTTP API writes sample values: the shortest form, with an exponent below 1e-6 and from 1e21 on.
pub fn format_value(value: f64) -> String {
    let mut text = String::new();
    push_value(&mut text, value);
    text
}

/// Appends a float as [`format_value`] has it. Replies hold hundreds of thousands: what the standard library's formatting takes would be
/// most of their time.
pub fn push_value(out: &mut String, value: f64) {
    if !push_decimal(out, value) {
        out.push_str(&with_exponent(value, 1e-6..1e21));
    }
}

/// Appends a float of usual size in its shortest form; false (and nothing appended) for others.
///
/// Where two shortest forms lie equally near, Go takes the one with the even digit, as this does; the standard library takes the greater.
fn push_decimal(out: &mut String, value: f64) -> bool {
    if value.is_nan() || value.abs() >= EXACT {
        return false;
    }
    if value.trunc() == value {
        if value == 0.0 && value.is_sign_negative() {
            out.push('-');
        }
        out.push_str(itoa::Buffer::new().format(value as i64));
        return true;
    }
    let mut buffer = zmij::Buffer::new();
    let text = buffer.format_finite(value);
    // It has an exponent where Go has none, or another one.
    let is_plain = !text.contains('e');
    if is_plain {
        out.push_str(text);
    }
    is_plain
}

/// A float in the shortest form, with an exponent below 1e-4 and from 1e6 on (Go's `%v` and `%g`).
pub(crate) fn format_short(value: f64) -> String {
    with_exponent(value, 1e-4..1e6)
}

/// With an exponent outside these sizes.
fn with_exponent(value: f64, plain: Range<f64>) -> String {
    if let Some(text) = special(value) {
        return text.into();
    }
    let size = value.abs();
    if size == 0.0 || plain.contains(&size) {
        return format_plain(value);
    }
    let text = format!("{value:e}");
    let (mantissa, exponent) = text.split_once('e').expect("LowerExp always prints an exponent");
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    format!("{mantissa}e{sign}{digits:0>2}")
}

fn special(value: f64) -> Option<&'static str> {
    match value {
        v if v.is_nan() => Some("NaN"),
        f64::INFINITY => Some("+Inf"),
        f64::NEG_INFINITY => Some("-Inf"),
        _ => None,
    }
}

/// Reads a number literal: decimal, exponent, `0x…`, octal `017`, `Inf`, `NaN`, digits grouped by `_`.
pub(crate) fn parse(text: &str) -> Option<f64> {
    let lower = text.to_ascii_lowercase();
    match lower.as_str() {
        "inf" | "+inf" => return Some(f64::INFINITY),
        "-inf" => return Some(f64::NEG_INFINITY),
        "nan" => return Some(f64::NAN),
        _ => {}
    }
    let plain: String = lower.chars().filter(|c| *c != '_').collect();
    if let Some(hex) = plain.strip_prefix("0x") {
        return i64::from_str_radix(hex, 16).ok().map(|int| int as f64);
    }
    let octal =
        plain.strip_prefix('0').filter(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()));
    if let Some(int) = octal.and_then(|digits| i64::from_str_radix(digits, 8).ok()) {
        return Some(int as f64);
    }
    let fits = plain.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'+' | b'-'));
    if fits { plain.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_as_go_does() {
        assert_eq!(format_plain(1e21), "1000000000000000000000");
        assert_eq!(format_plain(0.1), "0.1");
        assert_eq!(format_plain(f64::INFINITY), "+Inf");
        assert_eq!(format_short(1.1), "1.1");
        assert_eq!(format_short(1e-7), "1e-07");
        // Measured with promtool: what it says of `topk` by so much.
        assert_eq!(format_short(1e20), "1e+20");
        assert_eq!(format_short(123_456_789e12), "1.23456789e+20");
        assert_eq!(format_short(1e6), "1e+06");
        assert_eq!(format_short(999_999.5), "999999.5");
        assert_eq!(format_value(1e-5), "0.00001");
        assert_eq!(format_value(-2.5e-7), "-2.5e-07");
        assert_eq!(format_value(1e21), "1e+21");
        assert_eq!(format_short(-2.5e30), "-2.5e+30");
        assert_eq!(format_short(f64::NAN), "NaN");
        assert_eq!(format_value(f64::MAX), "1.7976931348623157e+308");
        assert_eq!((format_value(-0.0), format_plain(-0.0)), ("-0".into(), "-0".into()));
        assert_eq!(format_value(12_345_678_901_234_567_890.0), "12345678901234567000");
        assert_eq!(format_plain(-1.25e-7), "-0.000000125");
        assert_eq!(format_value(5e-324), "5e-324");
        // Measured with Prometheus: halfway between two shortest forms the even one is taken.
        assert_eq!(format_value(1_690_060_720_831_323.0 + 0.25), "1690060720831323.2");
        assert_eq!(format_value(1_690_060_720_831_323.0 + 0.75), "1690060720831323.8");
        assert_eq!(format_value(233_115_890_514_796.0 + 0.125), "233115890514796.12");
    }

    proptest::proptest! {
        #[test]
        fn any_number_reads_back_from_its_shortest_form(bits in proptest::num::u64::ANY, cents in -1_000_000_000i64..1_000_000_000) {
            for value in [f64::from_bits(bits), cents as f64 / 100.0, (bits >> 11) as f64 / (1u64 << (bits % 60)) as f64] {
                let text = format_value(value);
                if value.is_finite() {
                    proptest::prop_assert_eq!(text.parse::<f64>().map(f64::to_bits), Ok(value.to_bits()));
                    let digits = |text: &str| text.split('e').next().unwrap_or_default().bytes().filter(u8::is_ascii_digit).count();
                    proptest::prop_assert!(digits(&text) <= digits(&format!("{value}")), "{} is not the shortest", text);
                }
            }
        }
    }

    #[test]
    fn reads_every_literal_form() {
        for (text, expected) in [
            ("1", 1.0),
            ("2.", 2.0),
            (".5", 0.5),
            ("0x1F", 31.0),
            ("0755", 493.0),
            ("08", 8.0),
            ("1e3", 1000.0),
        ] {
            assert_eq!(parse(text), Some(expected), "{text}");
        }
        assert_eq!(parse("1_000"), Some(1000.0));
        assert_eq!(parse("inF"), Some(f64::INFINITY));
        for bad in ["", "0x", "0xg", "1e", "abc", "1.2.3"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
