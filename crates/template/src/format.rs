//! Go's `fmt`: `print`, `printf`, and quoted texts.

use crate::OUTPUT_BYTES_MAX;
use crate::number;
use crate::value::Value;

/// Widths and precisions beyond this are refused (Go's own bound is 1e6).
const WIDTH_MAX: usize = 10_000;

/// A text in double quotes, as `%q` writes it.
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for char in text.chars() {
        match char {
            '"' => out.push_str("\\\""),
            _ => escape(char, &mut out),
        }
    }
    out.push('"');
    out
}

fn escape(char: char, out: &mut String) {
    match char {
        '\\' => out.push_str("\\\\"),
        '\x07' => out.push_str("\\a"),
        '\x08' => out.push_str("\\b"),
        '\x0c' => out.push_str("\\f"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\x0b' => out.push_str("\\v"),
        _ if is_printable(char) => out.push(char),
        _ if u32::from(char) < 0x80 => out.push_str(&format!("\\x{:02x}", u32::from(char))),
        _ if u32::from(char) < 0x1_0000 => out.push_str(&format!("\\u{:04x}", u32::from(char))),
        _ => out.push_str(&format!("\\U{:08x}", u32::from(char))),
    }
}

/// Nearly Go's `IsPrint`: neither a control nor a space other than the common one, and nothing invisible.
fn is_printable(char: char) -> bool {
    !char.is_control()
        && (char == ' ' || !char.is_whitespace())
        && !matches!(u32::from(char), 0xad | 0x200b..=0x200f | 0x2028..=0x202f | 0x2060..=0x206f | 0xfeff | 0xe000..=0xf8ff | 0xfff9..=0xfffb | 0xe0000..=0x10_ffff)
}

/// `Sprint`: a space between two that are no texts.
pub(crate) fn print(values: &[Value]) -> String {
    let mut out = String::new();
    let is_text = |value: &Value| matches!(value, Value::Text(_));
    for (index, value) in values.iter().enumerate() {
        if index > 0 && !is_text(value) && !is_text(&values[index - 1]) {
            out.push(' ');
        }
        value.print(&mut out);
    }
    out
}

/// `Sprintln`
pub(crate) fn println(values: &[Value]) -> String {
    let mut out = String::new();
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            out.push(' ');
        }
        value.print(&mut out);
    }
    out.push('\n');
    out
}

/// What stands between `%` and the verb.
#[derive(Clone, Copy, Default)]
struct Flags {
    plus: bool,
    minus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// `Sprintf`
pub(crate) fn printf(format: &str, values: &[Value]) -> String {
    let mut printer = Printer { values, next: 0, reordered: false, out: String::new() };
    let mut rest = format;
    while let Some((before, after)) = rest.split_once('%') {
        // Too long for anybody to take it: the caller refuses it.
        if printer.out.len() > OUTPUT_BYTES_MAX {
            return printer.out;
        }
        printer.out.push_str(before);
        rest = printer.verb(after);
    }
    printer.out.push_str(rest);
    printer.extra();
    printer.out
}

struct Printer<'v> {
    values: &'v [Value],
    next: usize,
    reordered: bool,
    out: String,
}

impl Printer<'_> {
    /// One verb with its flags; what follows it.
    fn verb<'f>(&mut self, text: &'f str) -> &'f str {
        let mut flags = Flags::default();
        let mut rest = text;
        while let Some(char) = rest.chars().next() {
            match char {
                '+' => flags.plus = true,
                '-' => (flags.minus, flags.zero) = (true, false),
                '#' => flags.sharp = true,
                ' ' => flags.space = true,
                '0' => flags.zero = !flags.minus,
                _ => break,
            }
            rest = &rest[1..];
        }
        let mut good = true;
        rest = self.index(rest, &mut good);
        if let Some(after) = rest.strip_prefix('*') {
            match self.star() {
                Some(width) => {
                    flags.minus |= width < 0;
                    flags.zero &= width >= 0;
                    flags.width = Some(width.unsigned_abs() as usize);
                }
                None => self.out.push_str("%!(BADWIDTH)"),
            }
            rest = after;
        } else {
            (flags.width, rest) = number_at(rest);
        }
        if let Some(after) = rest.strip_prefix('.') {
            rest = self.index(after, &mut good);
            if let Some(after) = rest.strip_prefix('*') {
                match self.star() {
                    Some(precision) => flags.precision = usize::try_from(precision).ok(),
                    None => self.out.push_str("%!(BADPREC)"),
                }
                rest = after;
            } else {
                let (precision, after) = number_at(rest);
                flags.precision = Some(precision.unwrap_or(0));
                rest = after;
            }
        }
        rest = self.index(rest, &mut good);
        let Some(verb) = rest.chars().next() else {
            self.out.push_str("%!(NOVERB)");
            return rest;
        };
        self.argument(verb, good, flags);
        &rest[verb.len_utf8()..]
    }

    fn argument(&mut self, verb: char, good: bool, flags: Flags) {
        match self.values.get(self.next) {
            _ if verb == '%' => self.out.push('%'),
            _ if !good => self.out.push_str(&format!("%!{verb}(BADINDEX)")),
            None => self.out.push_str(&format!("%!{verb}(MISSING)")),
            Some(value) => {
                self.next += 1;
                let text = formatted(value, verb, flags);
                self.out.push_str(&text);
            }
        }
    }

    /// `[2]`: which argument is next.
    fn index<'f>(&mut self, text: &'f str, good: &mut bool) -> &'f str {
        let Some((inside, rest)) = text.strip_prefix('[').and_then(|text| text.split_once(']')) else {
            return text;
        };
        self.reordered = true;
        match inside.parse::<usize>() {
            Ok(index) if (1..=self.values.len()).contains(&index) => self.next = index - 1,
            _ => *good = false,
        }
        rest
    }

    fn star(&mut self) -> Option<i64> {
        let value = self.values.get(self.next);
        self.next += 1;
        match value {
            Some(Value::Int(size)) if size.unsigned_abs() <= WIDTH_MAX as u64 => Some(*size),
            _ => None,
        }
    }

    fn extra(&mut self) {
        if self.reordered || self.next >= self.values.len() {
            return;
        }
        self.out.push_str("%!(EXTRA ");
        for (index, value) in self.values[self.next..].iter().enumerate() {
            if index > 0 {
                self.out.push_str(", ");
            }
            if !matches!(value, Value::None) {
                self.out.push_str(value.type_name());
                self.out.push('=');
            }
            value.print(&mut self.out);
        }
        self.out.push(')');
    }
}

/// Digits at the start; those that go too far count as none.
fn number_at(text: &str) -> (Option<usize>, &str) {
    let rest = text.trim_start_matches(|char: char| char.is_ascii_digit());
    let number = text[..text.len() - rest.len()].parse().ok().filter(|number| *number <= WIDTH_MAX);
    (number, rest)
}

fn formatted(value: &Value, verb: char, flags: Flags) -> String {
    if verb == 'T' {
        return pad(value.type_name().to_owned(), Flags { zero: false, ..flags });
    }
    let text = match value {
        Value::Bool(bool) if matches!(verb, 'v' | 't') => Some(pad(bool.to_string(), flags)),
        Value::Int(int) => integer(*int, verb, flags),
        Value::Float(float) => float_text(*float, verb, flags),
        Value::Text(text) | Value::Html(text) => text_as(text, verb, flags),
        // Types with a text of their own.
        Value::Duration(_) | Value::Time(_) | Value::Histogram(_) if matches!(verb, 'v' | 's' | 'q') => {
            text_as(&printed(value), verb, flags)
        }
        Value::Labels(_) | Value::Map(_) | Value::Samples(_) | Value::Sample(_) | Value::Data(_) => {
            matches!(verb, 'v' | 's').then(|| printed(value))
        }
        Value::None if verb == 'v' => Some(pad("<nil>".to_owned(), flags)),
        Value::Bool(_) | Value::Duration(_) | Value::Time(_) | Value::Histogram(_) | Value::None => None,
    };
    text.unwrap_or_else(|| match value {
        Value::None => format!("%!{verb}(<nil>)"),
        _ => format!("%!{verb}({}={})", value.type_name(), printed(value)),
    })
}

fn printed(value: &Value) -> String {
    let mut text = String::new();
    value.print(&mut text);
    text
}

fn integer(int: i64, verb: char, flags: Flags) -> Option<String> {
    let size = int.unsigned_abs();
    let digits = match verb {
        'v' | 'd' => size.to_string(),
        'b' => format!("{size:b}"),
        'o' if flags.sharp => format!("0{size:o}"),
        'o' => format!("{size:o}"),
        'O' => format!("0o{size:o}"),
        'x' if flags.sharp => format!("0x{size:x}"),
        'x' => format!("{size:x}"),
        'X' if flags.sharp => format!("0X{size:X}"),
        'X' => format!("{size:X}"),
        'c' => return Some(pad(as_char(int).to_string(), flags)),
        'q' => {
            let mut text = String::from("'");
            match as_char(int) {
                '\'' => text.push_str("\\'"),
                char => escape(char, &mut text),
            }
            text.push('\'');
            return Some(pad(text, flags));
        }
        'U' => return Some(pad(format!("U+{size:04X}"), Flags { zero: false, ..flags })),
        _ => return None,
    };
    let digits = match flags.precision {
        Some(precision) => format!("{digits:0>precision$}"),
        None => digits,
    };
    let zero = flags.zero && flags.precision.is_none();
    Some(pad_number(sign(int < 0, flags), digits, Flags { zero, ..flags }))
}

fn as_char(int: i64) -> char {
    u32::try_from(int).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER)
}

fn sign(negative: bool, flags: Flags) -> &'static str {
    match (negative, flags.plus, flags.space) {
        (true, ..) => "-",
        (false, true, _) => "+",
        (false, false, true) => " ",
        _ => "",
    }
}

fn float_text(float: f64, verb: char, flags: Flags) -> Option<String> {
    let precision = flags.precision;
    let text = match verb {
        'v' | 'g' => number::general(float, precision),
        'G' => number::general(float, precision).to_uppercase(),
        'e' => number::exponential(float, precision.unwrap_or(6)),
        'E' => number::exponential(float, precision.unwrap_or(6)).to_uppercase(),
        'f' | 'F' => number::fixed(float, precision.unwrap_or(6)),
        _ => return None,
    };
    if float.is_infinite() || float.is_nan() {
        let bare = text.trim_start_matches(['+', '-']).replace("INF", "Inf").replace("NAN", "NaN");
        let sign = if float == f64::INFINITY && verb == 'v' && !flags.space {
            "+"
        } else {
            sign(float < 0.0, flags)
        };
        let sign = if float == f64::INFINITY && sign.is_empty() { "+" } else { sign };
        let sign = if float.is_nan() && !flags.plus { "" } else { sign };
        return Some(pad(format!("{sign}{bare}"), Flags { zero: false, ..flags }));
    }
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits.to_owned()),
        None => (false, text),
    };
    Some(pad_number(sign(negative, flags), digits, flags))
}

fn text_as(text: &str, verb: char, flags: Flags) -> Option<String> {
    let cut = || match flags.precision {
        Some(precision) => text.chars().take(precision).collect(),
        None => text.to_owned(),
    };
    Some(match verb {
        'v' | 's' => pad(cut(), flags),
        'q' if flags.sharp && !text.contains('`') => pad(format!("`{}`", cut()), flags),
        'q' => pad(quote(&cut()), flags),
        'x' => pad(cut().bytes().map(|byte| format!("{byte:02x}")).collect(), flags),
        'X' => pad(cut().bytes().map(|byte| format!("{byte:02X}")).collect(), flags),
        _ => return None,
    })
}

fn pad(text: String, flags: Flags) -> String {
    let missing = flags.width.unwrap_or(0).saturating_sub(text.chars().count());
    match (missing, flags.minus, flags.zero) {
        (0, ..) => text,
        (_, true, _) => text + &" ".repeat(missing),
        (_, false, true) => "0".repeat(missing) + &text,
        (_, false, false) => " ".repeat(missing) + &text,
    }
}

/// Zeros go between the sign and the digits.
fn pad_number(sign: &str, digits: String, flags: Flags) -> String {
    if !flags.zero {
        return pad(format!("{sign}{digits}"), flags);
    }
    let width = flags.width.unwrap_or(0).saturating_sub(sign.len());
    format!("{sign}{digits:0>width$}")
}
