//! JSON lines in VictoriaMetrics' shape: `{"metric":{"__name__":"x"},"values":[1,2],"timestamps":[1700000000000,1700000015000]}`.
//!
//! One line is one series, or a part of one. Values that JSON has no number for come in several spellings, and all are read: `null` and
//! `NaN`; `Inf`, `"Infinity"` and what overflows (`1e999`); and what our export writes with `--exact`: `"stale"` and a float's bits
//! (`"0x7ff8000000000001"`). A line that cannot be read is refused whole.

use std::borrow::Cow;

use model::Timestamp;

use super::super::sink::{Pairs, Refusal, Sink};
use super::go_text::NORMAL_NAN_BITS;
use super::stale_or;

/// How deep what is passed over may be nested.
const DEPTH_MAX: usize = 32;

/// See the module's text.
#[derive(Debug)]
pub(super) struct Reader {
    nan_is_stale: bool,
    values: Vec<f64>,
    times: Vec<i64>,
}

impl Reader {
    pub(super) fn new(nan_is_stale: bool) -> Self {
        Self { nan_is_stale, values: Vec::new(), times: Vec::new() }
    }

    pub(super) fn line(&mut self, line: &[u8], sink: &mut dyn Sink) -> Result<(), Refusal> {
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        let mut text = Text { bytes: line, at: 0 };
        let mut pairs =
            self.read(&mut text).map_err(|why| Refusal::line(format!("column {}: {why}", text.at + 1)))?;
        if self.values.len() != self.times.len() {
            let (values, times) = (self.values.len(), self.times.len());
            return Err(Refusal::line(format!("{values} values, but {times} timestamps")));
        }
        if pairs.is_empty() {
            return Err(Refusal::line("it has no \"metric\""));
        }
        sink.series(&mut pairs)?;
        for (time, value) in self.times.iter().zip(&self.values) {
            sink.sample(Timestamp::from_millis(*time), stale_or(*value, self.nan_is_stale))?;
        }
        Ok(())
    }

    fn read<'a>(&mut self, text: &mut Text<'a>) -> Result<Pairs<'a>, &'static str> {
        self.values.clear();
        self.times.clear();
        let mut pairs = Pairs::new();
        text.object(|text, key| match &*key {
            "metric" => text.object(|text, name| {
                pairs.push((name, text.string()?));
                Ok(())
            }),
            "values" => text.array(|text| {
                self.values.push(text.value()?);
                Ok(())
            }),
            "timestamps" => text.array(|text| {
                self.times.push(text.time()?);
                Ok(())
            }),
            _ => text.skip(0),
        })?;
        text.spaces();
        if text.at == text.bytes.len() { Ok(pairs) } else { Err("expected the end of the line") }
    }
}

/// A way through a line.
struct Text<'a> {
    bytes: &'a [u8],
    at: usize,
}

type Read<T> = Result<T, &'static str>;

impl<'a> Text<'a> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn spaces(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    fn take(&mut self, wanted: u8) -> bool {
        self.spaces();
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    /// `{"key": …, …}`; `each` reads what stands behind a key.
    fn object(&mut self, mut each: impl FnMut(&mut Self, Cow<'a, str>) -> Read<()>) -> Read<()> {
        self.items(b'{', b'}', "expected {", |text| {
            let key = text.string()?;
            if !text.take(b':') {
                return Err("expected a colon");
            }
            text.spaces();
            each(text, key)
        })
    }

    /// `[…, …]`.
    fn array(&mut self, each: impl FnMut(&mut Self) -> Read<()>) -> Read<()> {
        self.items(b'[', b']', "expected [", each)
    }

    fn items(
        &mut self,
        open: u8,
        close: u8,
        expected: &'static str,
        mut each: impl FnMut(&mut Self) -> Read<()>,
    ) -> Read<()> {
        if !self.take(open) {
            return Err(expected);
        }
        if self.take(close) {
            return Ok(());
        }
        loop {
            self.spaces();
            each(self)?;
            if self.take(close) {
                return Ok(());
            }
            if !self.take(b',') {
                return Err("expected a comma or the end of the list");
            }
        }
    }

    fn string(&mut self) -> Read<Cow<'a, str>> {
        if !self.take(b'"') {
            return Err("expected a text in double quotes");
        }
        let start = self.at;
        let stop = memchr::memchr2(b'"', b'\\', &self.bytes[start..]).ok_or("a quote is not closed")?;
        let plain =
            std::str::from_utf8(&self.bytes[start..start + stop]).map_err(|_| "the text is not UTF-8")?;
        self.at += stop;
        if self.take_here(b'"') {
            return Ok(plain.into());
        }
        let mut owned = plain.to_owned();
        while !self.take_here(b'"') {
            if self.take_here(b'\\') {
                owned.push(self.escaped()?);
                continue;
            }
            let start = self.at;
            let stop = memchr::memchr2(b'"', b'\\', &self.bytes[start..]).ok_or("a quote is not closed")?;
            self.at += stop;
            owned.push_str(
                std::str::from_utf8(&self.bytes[start..self.at]).map_err(|_| "the text is not UTF-8")?,
            );
        }
        Ok(owned.into())
    }

    fn take_here(&mut self, wanted: u8) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    fn escaped(&mut self) -> Read<char> {
        let letter = self.peek().ok_or("a quote is not closed")?;
        self.at += 1;
        Ok(match letter {
            b'"' | b'\\' | b'/' => char::from(letter),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = self.unit()?;
                let mut units = vec![first];
                if (0xd800..0xdc00).contains(&first) && self.bytes[self.at..].starts_with(b"\\u") {
                    self.at += 2;
                    units.push(self.unit()?);
                }
                let mut letters = char::decode_utf16(units);
                let letter = letters.next().and_then(Result::ok).ok_or("an escape is no letter")?;
                if letters.next().is_some() {
                    return Err("an escape is no letter");
                }
                letter
            }
            _ => return Err("an escape that JSON does not know"),
        })
    }

    /// Four hexadecimal digits.
    fn unit(&mut self) -> Read<u16> {
        let digits = self.bytes.get(self.at..self.at + 4).ok_or("a quote is not closed")?;
        let text = std::str::from_utf8(digits).ok().filter(|_| digits.iter().all(u8::is_ascii_hexdigit));
        let unit = text.and_then(|text| u16::from_str_radix(text, 16).ok());
        self.at += 4;
        unit.ok_or("an escape without four hexadecimal digits")
    }

    /// Everything up to the next comma, bracket or space.
    fn word(&mut self) -> &'a str {
        let rest = &self.bytes[self.at..];
        let ends = |byte: &u8| matches!(byte, b',' | b']' | b'}') || byte.is_ascii_whitespace();
        let length = rest.iter().position(ends).unwrap_or(rest.len());
        self.at += length;
        std::str::from_utf8(&rest[..length]).unwrap_or_default()
    }

    fn value(&mut self) -> Read<f64> {
        let quoted = self.peek() == Some(b'"');
        let text = if quoted { self.string()? } else { self.word().into() };
        if let Some(special) = special(&text, quoted) {
            return Ok(special);
        }
        let digits = !quoted && text.bytes().any(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|_| digits).ok_or("expected a number")
    }

    fn time(&mut self) -> Read<i64> {
        self.word().parse().map_err(|_| "expected a time in whole milliseconds")
    }

    /// Passes over any value.
    fn skip(&mut self, depth: usize) -> Read<()> {
        if depth == DEPTH_MAX {
            return Err("it is nested too deeply");
        }
        self.spaces();
        match self.peek() {
            Some(b'{') => self.object(|text, _| text.skip(depth + 1)),
            Some(b'[') => self.array(|text| text.skip(depth + 1)),
            Some(b'"') => self.string().map(drop),
            _ if self.word().is_empty() => Err("expected a value"),
            _ => Ok(()),
        }
    }
}

/// What JSON has no number for.
fn special(text: &str, quoted: bool) -> Option<f64> {
    match text {
        "null" if !quoted => Some(f64::from_bits(NORMAL_NAN_BITS)),
        "NaN" | "nan" => Some(f64::from_bits(NORMAL_NAN_BITS)),
        "Inf" | "+Inf" | "Infinity" | "+Infinity" | "inf" => Some(f64::INFINITY),
        "-Inf" | "-Infinity" | "-inf" => Some(f64::NEG_INFINITY),
        "stale" if quoted => Some(model::stale_nan()),
        _ => {
            let bits = text.strip_prefix("0x").filter(|bits| quoted && bits.len() == 16)?;
            u64::from_str_radix(bits, 16).ok().map(f64::from_bits)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Format;
    use super::super::tests::{check, check_refused};
    use super::*;

    const NAN: f64 = f64::from_bits(NORMAL_NAN_BITS);

    #[test]
    fn every_spelling_of_a_value_is_read() {
        check(
            Format::Json,
            "{\"metric\":{\"__name__\":\"x\"},\"values\":[1,-0,1.5e3,null,NaN,\"NaN\",Inf,+Inf,-Inf,1e999,\"-Infinity\",\"stale\",\"0x7ff8000000000002\"],\
             \"timestamps\":[1,2,3,4,5,6,7,8,9,10,11,12,13]}\n",
            &[
                ("x", 1, 1.0),
                ("x", 2, -0.0),
                ("x", 3, 1500.0),
                ("x", 4, NAN),
                ("x", 5, NAN),
                ("x", 6, NAN),
                ("x", 7, f64::INFINITY),
                ("x", 8, f64::INFINITY),
                ("x", 9, f64::NEG_INFINITY),
                ("x", 10, f64::INFINITY),
                ("x", 11, f64::NEG_INFINITY),
                ("x", 12, model::stale_nan()),
                ("x", 13, f64::from_bits(0x7ff8_0000_0000_0002)),
            ],
        );
    }

    #[test]
    fn any_valid_json_of_this_shape_is_read() {
        check(
            Format::Json,
            " { \"timestamps\" : [ 1 , 2 ] , \"more\":{\"a\":[1,{\"b\":null}],\"c\":\"]\"}, \"values\" : [ 3 , 4 ] , \"metric\" : { \"a\\u0062\\\"\" : \"\\ud83d\\ude00\\n\\/é\" } }\n\n",
            &[("{\"ab\\\"\"=\"😀\\n/é\"}", 1, 3.0), ("{\"ab\\\"\"=\"😀\\n/é\"}", 2, 4.0)],
        );
        check(Format::Json, "{\"metric\":{\"__name__\":\"x\"},\"values\":[],\"timestamps\":[]}", &[]);
    }

    #[test]
    fn other_lines_are_refused_whole() {
        let with = |values: &str, times: &str| {
            format!("{{\"metric\":{{\"__name__\":\"x\"}},\"values\":[{values}],\"timestamps\":[{times}]}}")
        };
        check_refused(Format::Json, &with("1,2", "1"), "2 values, but 1 timestamps");
        check_refused(Format::Json, &with("1,x", "1,2"), "expected a number");
        check_refused(Format::Json, &with("1,", "1,2"), "expected a number");
        check_refused(Format::Json, &with("1,\"5\"", "1,2"), "expected a number");
        check_refused(Format::Json, &with("1", "1.5"), "expected a time in whole milliseconds");
        check_refused(Format::Json, &(with("1", "1") + "x"), "the end of the line");
        check_refused(Format::Json, "{\"values\":[1],\"timestamps\":[1]}", "no \"metric\"");
        check_refused(Format::Json, "{\"metric\":{\"a\":1}}", "double quotes");
        check_refused(Format::Json, "{\"metric\":{\"a\":\"\\ud800\"}}", "no letter");
        check_refused(Format::Json, "{\"metric\"", "colon");
        check_refused(Format::Json, "[1]", "expected {");
        let deep = format!("{{\"x\":{}{}}}", "[".repeat(100), "]".repeat(100));
        check_refused(Format::Json, &deep, "nested too deeply");
    }
}
