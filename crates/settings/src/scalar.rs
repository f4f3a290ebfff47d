//! What a plain scalar means: YAML 1.2's core schema, strictly. `true` and `false` are the only switches (`yes` and `on` are
//! texts), `~`, `null` and nothing are no value, numbers may be hexadecimal (`0x1F`), octal (`0o17`) or binary (`0b11`) and have
//! single underscores between digits; a whole number has no superfluous zero before it. Where a text is asked for, a plain scalar is
//! the text that is written, so that codes keep their zeros.

/// What a plain scalar is where no kind of value is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Meaning {
    /// Neither of the others.
    Text,
    Switch(bool),
    /// A whole number of 0 or more.
    Unsigned(u64),
    /// A whole number below 0.
    Signed(i64),
    Float(f64),
}

/// Quoted and block scalars may have padding where a number or a switch is asked for.
fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t', '\r', '\n'])
}

/// Whether a plain scalar is no value.
pub(crate) fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

pub(crate) fn switch(text: &str) -> Option<bool> {
    match trim(text) {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

/// Sign (whether it is a minus) and magnitude of a whole number.
fn whole(text: &str) -> Option<(bool, u64)> {
    let text = trim(text);
    let (minus, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', _, ..] => return None,
        _ => (10, digits),
    };
    // A second sign would please the standard library.
    let is_good = |byte: u8| byte == b'_' || byte.is_ascii_hexdigit();
    if !digits.bytes().all(is_good)
        || digits.starts_with('_')
        || digits.ends_with('_')
        || digits.contains("__")
    {
        return None;
    }
    let magnitude = if digits.contains('_') {
        u64::from_str_radix(&digits.replace('_', ""), radix)
    } else {
        u64::from_str_radix(digits, radix)
    };
    Some((minus, magnitude.ok()?))
}

/// A whole number from 0 up to a bound, which is included.
pub(crate) fn unsigned(text: &str, max: u64) -> Option<u64> {
    whole(text).filter(|(minus, value)| !minus && *value <= max).map(|(_, value)| value)
}

/// A whole number within bounds, which are included.
pub(crate) fn signed(text: &str, min: i64, max: i64) -> Option<i64> {
    let (minus, magnitude) = whole(text)?;
    let value = if minus { 0i64.checked_sub_unsigned(magnitude)? } else { i64::try_from(magnitude).ok()? };
    (min..=max).contains(&value).then_some(value)
}

/// A number with or without a fraction; `.inf` and `.nan` are numbers, what overflows is none.
pub(crate) fn float(text: &str) -> Option<f64> {
    let text = trim(text);
    let (minus, bare) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    match bare {
        ".nan" | ".NaN" | ".NAN" => Some(f64::NAN),
        ".inf" | ".Inf" | ".INF" => Some(if minus { f64::NEG_INFINITY } else { f64::INFINITY }),
        _ => text.parse().ok().filter(|value: &f64| value.is_finite()),
    }
}

/// What a plain scalar that [is a value](is_null) means.
pub(crate) fn meaning(text: &str) -> Meaning {
    if let Some(value) = switch(text) {
        return Meaning::Switch(value);
    }
    match whole(text) {
        Some((false, value)) => return Meaning::Unsigned(value),
        Some((true, magnitude)) => {
            if let Some(value) = 0i64.checked_sub_unsigned(magnitude) {
                return Meaning::Signed(value);
            }
        }
        None => {}
    }
    float(text).map_or(Meaning::Text, Meaning::Float)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expected: Meaning) {
        assert_eq!(meaning(text), expected, "{text:?}");
    }

    #[test]
    fn only_true_and_false_are_switches() {
        for (text, value) in [("true", true), ("True", true), ("FALSE", false), ("false", false)] {
            check(text, Meaning::Switch(value));
        }
        for text in ["yes", "no", "on", "off", "y", "n", "Yes", "tRUE", "truee", "maybe"] {
            check(text, Meaning::Text);
            assert_eq!(switch(text), None, "{text}");
        }
        assert_eq!(switch(" true\n"), Some(true), "a block scalar's padding");
    }

    #[test]
    fn what_is_no_value() {
        for text in ["", "~", "null", "Null", "NULL"] {
            assert!(is_null(text), "{text:?}");
        }
        for text in ["nULL", "none", "nil", "0", " ", "~~"] {
            assert!(!is_null(text), "{text:?}");
        }
    }

    #[test]
    fn whole_numbers_have_four_bases_and_no_superfluous_zero() {
        for (text, value) in [
            ("0", 0),
            ("7", 7),
            ("+7", 7),
            ("1_000_000", 1_000_000),
            ("0x1F", 31),
            ("0Xf_f", 255),
            ("0o17", 15),
            ("0b1010_1010", 170),
            ("18446744073709551615", u64::MAX),
        ] {
            check(text, Meaning::Unsigned(value));
        }
        check("-1", Meaning::Signed(-1));
        check("-0x10", Meaning::Signed(-16));
        check("-9223372036854775808", Meaning::Signed(i64::MIN));
        for text in ["_1", "1_", "1__0", "0x", "0x_1", "0b2", "0o8", "--1", "+-1", "1a", "0x-1", "-", "+"] {
            check(text, Meaning::Text);
        }
        // As numbers with a fraction they may have zeros before them; where a whole number is asked for they may not.
        for text in ["007", "00", "-01", "+08"] {
            assert_eq!((unsigned(text, u64::MAX), signed(text, i64::MIN, i64::MAX)), (None, None), "{text}");
        }
    }

    #[test]
    fn numbers_with_a_fraction() {
        for (text, value) in [
            ("1.5", 1.5),
            ("-2.5e3", -2500.0),
            ("33.10", 33.1),
            (".5", 0.5),
            ("1.", 1.0),
            ("1e6", 1e6),
            ("18446744073709551616", 18_446_744_073_709_551_616.0),
            (".inf", f64::INFINITY),
            ("-.Inf", f64::NEG_INFINITY),
        ] {
            check(text, Meaning::Float(value));
        }
        assert!(float(".nan").is_some_and(f64::is_nan));
        for text in ["inf", "nan", "Infinity", "-inf", "1e999", "1.5.2", "1,5", "1 000", "1_0.5", "."] {
            check(text, Meaning::Text);
        }
    }

    #[test]
    fn bounds_are_included() {
        assert_eq!(unsigned("65535", 65_535), Some(65_535));
        assert_eq!(unsigned("65536", 65_535), None);
        assert_eq!(unsigned("-1", 65_535), None);
        assert_eq!((signed("-128", -128, 127), signed("128", -128, 127)), (Some(-128), None));
        assert_eq!(signed("18446744073709551615", i64::MIN, i64::MAX), None);
        assert_eq!(signed("-9223372036854775809", i64::MIN, i64::MAX), None);
    }

    proptest! {
        #[test]
        fn every_number_is_read_as_it_is_written(value in any::<u64>(), below in any::<i64>(), float in any::<f64>()) {
            prop_assert_eq!(unsigned(&value.to_string(), u64::MAX), Some(value));
            prop_assert_eq!(unsigned(&format!("{value:#x}"), u64::MAX), Some(value));
            prop_assert_eq!(unsigned(&format!("{value:#o}"), u64::MAX), Some(value));
            prop_assert_eq!(unsigned(&format!("{value:#b}"), u64::MAX), Some(value));
            prop_assert_eq!(signed(&below.to_string(), i64::MIN, i64::MAX), Some(below));
            if float.is_finite() {
                prop_assert_eq!(super::float(&float.to_string()), Some(float));
            }
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,12}|[-+.0-9_xXobeEinfa ]{0,12}") {
            let _ = (meaning(&text), is_null(&text), unsigned(&text, 9), signed(&text, -9, 9));
        }
    }
}
