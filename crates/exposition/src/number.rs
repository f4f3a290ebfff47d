//! Numbers as Go's `strconv.ParseFloat` reads them, within what Prometheus lets through.

use crate::Fault;

/// What Prometheus stores for every NaN that it reads.
const NORMAL_NAN_BITS: u64 = 0x7ff8_0000_0000_0001;

/// Reads a value: decimal, or an infinity, or NaN, in any case. Neither hexadecimal nor underscores; no number that overflows.
pub(crate) fn read(text: &str) -> Result<f64, Fault> {
    let bytes = text.as_bytes();
    if let Some(small) = read_small(bytes) {
        return Ok(small);
    }
    let signed = matches!(bytes.first(), Some(b'+' | b'-'));
    let value: f64 = text.parse().map_err(|_| Fault::Number)?;
    let first = bytes.get(usize::from(signed)).copied().unwrap_or_default();
    match first {
        // Go takes no sign before NaN.
        b'n' | b'N' if signed => Err(Fault::Number),
        b'n' | b'N' => Ok(f64::from_bits(NORMAL_NAN_BITS)),
        b'i' | b'I' => Ok(value),
        _ if value.is_infinite() => Err(Fault::Range),
        _ => Ok(value),
    }
}

/// Most values are whole numbers of a few digits.
#[inline]
fn read_small(bytes: &[u8]) -> Option<f64> {
    if bytes.is_empty() || bytes.len() > 15 {
        return None;
    }
    let mut value = 0u64;
    for byte in bytes {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + u64::from(digit);
    }
    Some(value as f64)
}

/// Whole numbers below this are all of their digits.
const EXACT: f64 = 9_007_199_254_740_992.0; // 2^53

/// Writes a value so that [`read`] gives back the same one (NaN as the one NaN).
pub(crate) fn write(out: &mut String, value: f64) {
    if !write_usual(out, value) {
        write_any(out, value);
    }
}

/// Numbers of usual size, which nearly all are: the standard library's formatting would be half of a page's time.
fn write_usual(out: &mut String, value: f64) -> bool {
    if value.trunc() == value && value.abs() < EXACT {
        if value == 0.0 && value.is_sign_negative() {
            out.push('-');
        }
        out.push_str(itoa::Buffer::new().format(value as i64));
        return true;
    }
    if !(1e-5..EXACT).contains(&value.abs()) {
        return false;
    }
    let mut buffer = zmij::Buffer::new();
    let text = buffer.format_finite(value);
    let is_plain = !text.contains('e');
    if is_plain {
        out.push_str(text);
    }
    is_plain
}

fn write_any(out: &mut String, value: f64) {
    use std::fmt::Write as _;
    let size = value.abs();
    let written = if value.is_nan() {
        out.write_str("NaN")
    } else if value.is_infinite() {
        out.write_str(if value > 0.0 { "+Inf" } else { "-Inf" })
    } else if size != 0.0 && !(1e-5..1e17).contains(&size) {
        write!(out, "{value:e}")
    } else {
        write!(out, "{value}")
    };
    written.expect("a String takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<f64, Fault>) {
        assert_eq!(read(text).map(f64::to_bits), expected.map(f64::to_bits), "{text:?}");
    }

    #[test]
    fn what_go_reads_and_nothing_else() {
        check("0", Ok(0.0));
        check("-0", Ok(-0.0));
        check("123456789012345", Ok(123_456_789_012_345.0));
        check("1234567890123456789", Ok(1_234_567_890_123_456_789.0));
        check("+1.5e-3", Ok(0.0015));
        check("1.", Ok(1.0));
        check(".5", Ok(0.5));
        check("1e-400", Ok(0.0));
        check("NaN", Ok(f64::from_bits(0x7ff8_0000_0000_0001)));
        check("nan", Ok(f64::from_bits(0x7ff8_0000_0000_0001)));
        for text in ["Inf", "+Inf", "inf", "+INFINITY"] {
            check(text, Ok(f64::INFINITY));
        }
        check("-inf", Ok(f64::NEG_INFINITY));
        check("1e400", Err(Fault::Range));
        check("-1e400", Err(Fault::Range));
        for text in [
            "", ".", "+", "-NaN", "+nan", "0x10", "0x1p4", "1_000", "1e", "e5", "infi", " 1", "1 ", "12a",
            "1,5",
        ] {
            check(text, Err(Fault::Number));
        }
    }
    #[test]
    fn the_short_way_writes_what_the_long_way_does() {
        let both = |value: f64| {
            let (mut short, mut long) = (String::new(), String::new());
            write(&mut short, value);
            write_any(&mut long, value);
            assert_eq!(short, long, "{value:e}");
        };
        for exponent in -320..309 {
            for digits in ["1", "-1", "1.5", "9.999999999999999", "-1.2345678", "3.3333333333333335"] {
                both(format!("{digits}e{exponent}").parse().expect("a number"));
            }
        }
        for value in [0.0, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, f64::MIN_POSITIVE] {
            both(value);
        }
        for value in [EXACT - 1.0, EXACT, EXACT + 2.0, -EXACT, 0.1, 1e-5, 9.99e-6, 1e15 + 0.5, 1e17] {
            both(value);
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_comes_back(bits: u64) {
            let value = f64::from_bits(bits);
            let mut text = String::new();
            write(&mut text, value);
            let back = read(&text).expect("it was written");
            proptest::prop_assert!(back.to_bits() == bits || back.is_nan() && value.is_nan(), "{text}");
        }
    }
}
