//! Strings and numbers as Go's source code writes them.

use crate::format::quote;
use crate::node::Number;

/// What a quoted text stands for.
pub(super) fn unquote(text: &str) -> Result<String, String> {
    let invalid = || "invalid syntax".to_owned();
    if let Some(raw) = text.strip_prefix('`') {
        return Ok(raw.trim_end_matches('`').replace('\r', ""));
    }
    let inside = text.get(1..text.len().wrapping_sub(1)).ok_or_else(invalid)?;
    let mut bytes = Vec::with_capacity(inside.len());
    let mut rest = inside;
    while !rest.is_empty() {
        rest = unescape(rest, '"', &mut bytes).ok_or_else(invalid)?;
    }
    // Bytes that are no UTF-8 (`\xff`) cannot be in our texts.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// One character or escape at the start; what follows it.
fn unescape<'t>(text: &'t str, quote: char, out: &mut Vec<u8>) -> Option<&'t str> {
    let mut buffer = [0; 4];
    let Some(escaped) = text.strip_prefix('\\') else {
        let char = text.chars().next()?;
        out.extend_from_slice(char.encode_utf8(&mut buffer).as_bytes());
        return Some(&text[char.len_utf8()..]);
    };
    let letter = escaped.chars().next()?;
    let rest = &escaped[letter.len_utf8()..];
    let plain = match letter {
        'a' => 7,
        'b' => 8,
        'f' => 12,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 11,
        '\\' => b'\\',
        _ if letter == quote => letter as u8,
        'x' => {
            out.push(u8::from_str_radix(digits(rest, 2)?, 16).ok()?);
            return Some(&rest[2..]);
        }
        '0'..='7' => {
            out.push(u8::from_str_radix(digits(escaped, 3)?, 8).ok()?);
            return Some(&escaped[3..]);
        }
        'u' | 'U' => {
            let length = if letter == 'u' { 4 } else { 8 };
            let char = char::from_u32(u32::from_str_radix(digits(rest, length)?, 16).ok()?)?;
            out.extend_from_slice(char.encode_utf8(&mut buffer).as_bytes());
            return Some(&rest[length..]);
        }
        _ => return None,
    };
    out.push(plain);
    Some(rest)
}

fn digits(text: &str, count: usize) -> Option<&str> {
    text.get(..count).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
}

/// A number or a character constant.
pub(super) fn number(text: &str) -> Result<Number, String> {
    if let Some(inside) = text.strip_prefix('\'') {
        return character(text, inside);
    }
    let illegal = || format!("illegal number syntax: {}", quote(text));
    if let Some(int) = integer(text) {
        return Ok(Number { text: text.to_owned(), int: Some(int), float: Some(int as f64) });
    }
    let float = parse_float(text).ok_or_else(illegal)?;
    if !text.contains(['.', 'e', 'E', 'p', 'P']) {
        return Err(format!("integer overflow: {}", quote(text)));
    }
    let whole = float.fract() == 0.0 && float.abs() < 9.2e18;
    Ok(Number { text: text.to_owned(), int: whole.then_some(float as i64), float: Some(float) })
}

fn character(text: &str, inside: &str) -> Result<Number, String> {
    let malformed = || format!("malformed character constant: {text}");
    let mut bytes = Vec::new();
    let rest = unescape(inside, '\'', &mut bytes).ok_or_else(malformed)?;
    let mut chars = std::str::from_utf8(&bytes).map_err(|_| malformed())?.chars();
    let (Some(char), None, "'") = (chars.next(), chars.next(), rest) else { return Err(malformed()) };
    let int = i64::from(u32::from(char));
    Ok(Number { text: text.to_owned(), int: Some(int), float: Some(int as f64) })
}

/// Go's `ParseInt(text, 0, 64)`.
fn integer(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = match lower.get(..2) {
        Some("0x") => (16, &lower[2..]),
        Some("0o") => (8, &lower[2..]),
        Some("0b") => (2, &lower[2..]),
        _ if lower.len() > 1 && lower.starts_with('0') => (8, &lower[1..]),
        _ => (10, &lower[..]),
    };
    let plain = without_underscores(digits)?;
    let size = i128::from_str_radix(&plain, radix).ok()?;
    i64::try_from(if negative { -size } else { size }).ok()
}

fn without_underscores(digits: &str) -> Option<String> {
    let misplaced = digits.ends_with('_') || digits.contains("__") || digits.starts_with(['+', '-']);
    (!misplaced).then(|| digits.replace('_', ""))
}

/// Go's `ParseFloat` for what templates write: decimal with an exponent, and words for what is no number.
pub(crate) fn parse_float(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text).to_ascii_lowercase();
    let fits =
        unsigned.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'+' | b'-'));
    if !fits && !matches!(unsigned.as_str(), "inf" | "infinity" | "nan") {
        return None;
    }
    text.parse().ok()
}
