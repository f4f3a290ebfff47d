//! Floats as Go's `strconv` prints them.

/// `%g`: as few digits as read back equal (`None`), with an exponent from 1e6 on, or at most so many.
pub(crate) fn general(value: f64, precision: Option<usize>) -> String {
    if let Some(text) = special(value) {
        return text.to_owned();
    }
    let text = match precision {
        None => format!("{value:e}"),
        Some(precision) => format!("{value:.*e}", precision.max(1) - 1),
    };
    let (mantissa, exponent) = text.split_once('e').expect("LowerExp prints an exponent");
    let exponent: i32 = exponent.parse().expect("LowerExp prints a number");
    let limit = precision.map_or(6, |precision| precision.max(1) as i32);
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(mantissa) => ("-", mantissa),
        None => ("", mantissa),
    };
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let digits = match digits.trim_end_matches('0') {
        "" => "0",
        digits => digits,
    };
    let body = if exponent < -4 || exponent >= limit {
        scientific(digits, exponent)
    } else {
        plain(digits, exponent)
    };
    format!("{sign}{body}")
}

fn scientific(digits: &str, exponent: i32) -> String {
    let (first, rest) = digits.split_at(1);
    let dot = if rest.is_empty() { "" } else { "." };
    format!("{first}{dot}{rest}e{}", signed(exponent))
}

fn signed(exponent: i32) -> String {
    format!("{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.unsigned_abs())
}

fn plain(digits: &str, exponent: i32) -> String {
    if exponent < 0 {
        return format!("0.{}{digits}", "0".repeat((-1 - exponent) as usize));
    }
    let whole = exponent as usize + 1;
    match digits.len().checked_sub(whole) {
        None | Some(0) => format!("{digits}{}", "0".repeat(whole - digits.len())),
        Some(_) => format!("{}.{}", &digits[..whole], &digits[whole..]),
    }
}

/// `%e`
pub(crate) fn exponential(value: f64, precision: usize) -> String {
    if let Some(text) = special(value) {
        return text.to_owned();
    }
    let text = format!("{value:.precision$e}");
    let (mantissa, exponent) = text.split_once('e').expect("LowerExp prints an exponent");
    format!("{mantissa}e{}", signed(exponent.parse().expect("LowerExp prints a number")))
}

/// `%f`
pub(crate) fn fixed(value: f64, precision: usize) -> String {
    special(value).map_or_else(|| format!("{value:.precision$}"), str::to_owned)
}

fn special(value: f64) -> Option<&'static str> {
    match value {
        v if v.is_nan() => Some("NaN"),
        f64::INFINITY => Some("+Inf"),
        f64::NEG_INFINITY => Some("-Inf"),
        _ => None,
    }
}
