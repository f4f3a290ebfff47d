//! Texts and numbers as Go's strconv writes them.

use std::borrow::Cow;

/// What Prometheus stores for every NaN that it reads from a text.
pub(super) const NORMAL_NAN_BITS: u64 = 0x7ff8_0000_0000_0001;

/// The text in double quotes at the start (Go's `%q`), and what stands behind it.
pub(super) fn quoted(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let inner = text.strip_prefix('"')?;
    let end = inner.find(['"', '\\'])?;
    if inner.as_bytes()[end] == b'"' {
        return Some((inner[..end].into(), &inner[end + 1..]));
    }
    let mut bytes = inner.as_bytes()[..end].to_vec();
    let mut rest = &inner[end..];
    loop {
        let mut letters = rest.chars();
        match letters.next()? {
            '"' => return Some((String::from_utf8(bytes).ok()?.into(), letters.as_str())),
            '\\' => rest = escaped(letters.as_str(), &mut bytes)?,
            letter => {
                bytes.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
                rest = letters.as_str();
            }
        }
    }
}

/// Appends what an escape stands for; answers what stands behind it.
fn escaped<'a>(text: &'a str, bytes: &mut Vec<u8>) -> Option<&'a str> {
    let letter = text.chars().next()?;
    let rest = &text[letter.len_utf8()..];
    let digits = match letter {
        'x' => 2,
        'u' => 4,
        'U' => 8,
        _ => {
            let at = "abfnrtv\\\"'".find(letter)?;
            bytes.push(b"\x07\x08\x0c\n\r\t\x0b\\\"'"[at]);
            return Some(rest);
        }
    };
    let code = rest.get(..digits).filter(|code| code.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    let code = u32::from_str_radix(code, 16).ok()?;
    match letter {
        'x' => bytes.push(code as u8), // a byte of what is no letter of its own
        _ => bytes.extend_from_slice(char::from_u32(code)?.encode_utf8(&mut [0; 4]).as_bytes()),
    }
    Some(&rest[digits..])
}

/// A number (`%g`, `%v`): digits, `NaN` or an infinity. What overflows is none.
pub(super) fn number(text: &str) -> Option<f64> {
    let value: f64 = text.parse().ok()?;
    let named = text.trim_start_matches(['+', '-']).starts_with(|first: char| first.is_ascii_alphabetic());
    if value.is_nan() {
        return Some(f64::from_bits(NORMAL_NAN_BITS));
    }
    (named || value.is_finite()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes() {
        let check = |text: &str, expected: Option<(&str, &str)>| {
            let found = quoted(text);
            assert_eq!(found.as_ref().map(|(text, rest)| (&**text, *rest)), expected, "{text}");
        };
        check("\"\" x", Some(("", " x")));
        check("\"abc\",", Some(("abc", ",")));
        check(r#""a\"b\\c\n\t\x41\u00e9\U0001f600é"}"#, Some(("a\"b\\c\n\tAé😀é", "}")));
        check(r#""\xc3\xa9""#, Some(("é", "")));
        for bad in ["abc", "\"abc", "\"a\\", r#""\q""#, r#""\x4""#, r#""\x+1""#, r#""\ud800""#, r#""\xff""#] {
            check(bad, None);
        }
    }

    #[test]
    fn numbers() {
        let check = |text: &str, expected: Option<f64>| {
            assert_eq!(number(text).map(f64::to_bits), expected.map(f64::to_bits), "{text}");
        };
        check("1e+300", Some(1e300));
        check("-0", Some(-0.0));
        check("+Inf", Some(f64::INFINITY));
        check("-Inf", Some(f64::NEG_INFINITY));
        check("NaN", Some(f64::from_bits(NORMAL_NAN_BITS)));
        check("1e999", None);
        check("x", None);
        check("", None);
    }
}
