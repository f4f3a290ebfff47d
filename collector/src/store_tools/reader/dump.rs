//! Lines of `promtool tsdb dump`: `{__name__="x", a="b"} 1.5 1700000000123`, texts and numbers as Go writes them.

use super::super::sink::{Pairs, Refusal, Sink};
use super::{go_text, stale_or};

/// See the module's text.
#[derive(Debug)]
pub(super) struct Reader {
    nan_is_stale: bool,
    /// The last line's labels as they were written; empty after a refusal.
    series: Vec<u8>,
}

impl Reader {
    pub(super) fn new(nan_is_stale: bool) -> Self {
        Self { nan_is_stale, series: Vec::new() }
    }

    pub(super) fn line(&mut self, line: &[u8], sink: &mut dyn Sink) -> Result<(), Refusal> {
        let line = line.trim_ascii();
        if line.is_empty() {
            return Ok(());
        }
        let text = std::str::from_utf8(line).map_err(|_| Refusal::line("the line is not UTF-8"))?;
        // Labels end with a brace outside quotes, so that no longer label set begins with the same bytes.
        let length = match text.as_bytes().starts_with(&self.series) && !self.series.is_empty() {
            true => self.series.len(),
            false => self.begin(text, sink)?,
        };
        let mut words = text[length..].split_ascii_whitespace();
        let (Some(value), Some(at)) = (words.next(), words.next()) else {
            return Err(Refusal::line("expected a value and a time behind the labels"));
        };
        if value.starts_with('{') || words.next().is_some() {
            return Err(Refusal::line("a native histogram: only numbers can be imported"));
        }
        let value = go_text::number(value).ok_or_else(|| Refusal::line(format!("{value:?} is no value")))?;
        let at = at.parse().map_err(|_| Refusal::line(format!("{at:?} is no time in milliseconds")))?;
        sink.sample(model::Timestamp::from_millis(at), stale_or(value, self.nan_is_stale))
    }

    /// Reads the labels; answers how long they are.
    fn begin(&mut self, text: &str, sink: &mut dyn Sink) -> Result<usize, Refusal> {
        self.series.clear();
        let (mut pairs, length) = labels(text).ok_or_else(|| {
            Refusal::line("expected labels in braces, as promtool writes them: {name=\"value\", …}")
        })?;
        sink.series(&mut pairs)?;
        self.series.extend_from_slice(&text.as_bytes()[..length]);
        Ok(length)
    }
}

/// The labels at the start of a line, and how long they are.
fn labels(text: &str) -> Option<(Pairs<'_>, usize)> {
    let mut pairs = Pairs::new();
    let mut rest = text.strip_prefix('{')?;
    loop {
        rest = rest.trim_start_matches(' ');
        if let Some(behind) = rest.strip_prefix('}') {
            return Some((pairs, text.len() - behind.len()));
        }
        if !pairs.is_empty() {
            rest = rest.strip_prefix(',')?.trim_start_matches(' ');
        }
        let (name, behind) = if rest.starts_with('"') {
            go_text::quoted(rest)?
        } else {
            let end = rest.find('=')?;
            (rest[..end].into(), &rest[end..])
        };
        let (value, behind) = go_text::quoted(behind.strip_prefix('=')?)?;
        pairs.push((name, value));
        rest = behind;
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check, check_refused, read_with};
    use super::super::{Format, Reader};

    #[test]
    fn lines_of_promtool_are_read() {
        check(
            Format::Dump,
            "{__name__=\"x_seconds\", a=\"b\\\"c\\\\d\\ne\", z=\"1\"} 1.5 1700000000123\n\
             {__name__=\"x_seconds\", a=\"b\\\"c\\\\d\\ne\", z=\"1\"} +Inf 1700000002000\n\
             {__name__=\"x_seconds\", a=\"b\\\"c\\\\d\\ne\", z=\"1\"} -0 -5\n\n\
             {__name__=\"y_total\"} 1e+300 1700000003007\n\
             {__name__=\"y_total\", \"a.b\"=\"\\u00e9\"} NaN 1\n{} 1 1\n",
            &[
                ("x_seconds{a=\"b\\\"c\\\\d\\ne\", z=\"1\"}", 1_700_000_000_123, 1.5),
                ("x_seconds{a=\"b\\\"c\\\\d\\ne\", z=\"1\"}", 1_700_000_002_000, f64::INFINITY),
                ("x_seconds{a=\"b\\\"c\\\\d\\ne\", z=\"1\"}", -5, -0.0),
                ("y_total", 1_700_000_003_007, 1e300),
                ("y_total{\"a.b\"=\"é\"}", 1, f64::from_bits(0x7ff8_0000_0000_0001)),
                ("{}", 1, 1.0),
            ],
        );
        let text = "{__name__=\"y\"} NaN 1\n";
        let (kept, _) = read_with(Reader::new(Format::Dump, true), text);
        assert_eq!(kept.samples[0].2, model::STALE_NAN_BITS);
    }

    #[test]
    fn other_lines_are_refused() {
        for (line, words) in [
            ("{a=\"b\"} 1\n", "a value and a time"),
            ("{a=\"b\"} x 1\n", "\"x\" is no value"),
            ("{a=\"b\"} 1 1.5\n", "no time in milliseconds"),
            ("{a=\"b\"} {count:1, sum:2} 1\n", "native histogram"),
            ("{a=\"b\"", "labels in braces"),
            ("{a=b} 1 1", "labels in braces"),
            ("{a=\"b\\q\"} 1 1", "labels in braces"),
            ("x 1 1", "labels in braces"),
        ] {
            check_refused(Format::Dump, line, words);
        }
    }
}
