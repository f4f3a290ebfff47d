//! The formats that other programs export, read line by line into a [`Sink`].
//!
//! | format | who writes it | timestamps |
//! |---|---|---|
//! | OpenMetrics | our `store export`, `promtool tsdb dump-openmetrics` | seconds |
//! | text | VictoriaMetrics' `/api/v1/export?format=prometheus` | milliseconds |
//! | dump | `promtool tsdb dump` | milliseconds |
//! | JSON lines | our `store export --format json`, VictoriaMetrics' `/api/v1/export` | milliseconds |
//!
//! A line that cannot be read is refused alone, with its reason. Bytes are hostile: no line makes a reader panic or take memory beyond a
//! small multiple of its length.

mod dump;
mod go_text;
mod json;
mod openmetrics;

use super::sink::{Refusal, Sink};

/// A format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// OpenMetrics 1.0: times in seconds.
    Openmetrics,
    /// Prometheus' text format: times in milliseconds.
    Text,
    /// Lines of `promtool tsdb dump`.
    Dump,
    /// JSON lines as VictoriaMetrics exports them.
    Json,
}

impl Format {
    /// The format that a file's first line with something on it shows. Text and OpenMetrics look alike and differ in what a time is: the
    /// words `# EOF` stand at the end, so that OpenMetrics is taken.
    pub fn detect(line: &[u8]) -> Option<Self> {
        let line = line.trim_ascii();
        match line {
            [] => None,
            [b'{', rest @ ..] => Some(Self::detect_braced(rest.trim_ascii_start())),
            _ => Some(Self::Openmetrics),
        }
    }

    /// A brace begins an object of JSON, the labels of a dump, or a series of OpenMetrics whose name is no classic one.
    fn detect_braced(rest: &[u8]) -> Self {
        match behind_quotes(rest).and_then(|behind| behind.first()) {
            Some(b':') => Self::Json,
            Some(b',' | b'}') => Self::Openmetrics,
            _ => Self::Dump,
        }
    }
}

/// What stands behind a quoted text at the start.
fn behind_quotes(text: &[u8]) -> Option<&[u8]> {
    let (_, behind) = go_text::quoted(std::str::from_utf8(text).ok()?)?;
    Some(behind.trim_ascii_start().as_bytes())
}

/// Reads lines of one format.
#[derive(Debug)]
pub struct Reader {
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Exposition(openmetrics::Reader),
    Dump(dump::Reader),
    Json(json::Reader),
}

impl Reader {
    /// Starts a file. `nan_is_stale`: every NaN that may have been the stale marker is read as it (a dump does not tell them apart).
    pub fn new(format: Format, nan_is_stale: bool) -> Self {
        let kind = match format {
            Format::Openmetrics => {
                Kind::Exposition(openmetrics::Reader::new(exposition::Format::OpenMetrics, nan_is_stale))
            }
            Format::Text => {
                Kind::Exposition(openmetrics::Reader::new(exposition::Format::Text, nan_is_stale))
            }
            Format::Dump => Kind::Dump(dump::Reader::new(nan_is_stale)),
            Format::Json => Kind::Json(json::Reader::new(nan_is_stale)),
        };
        Self { kind }
    }

    /// Reads one line, its line feed included where it has one.
    ///
    /// # Errors
    /// What is wrong with it, or why the sink does not take it.
    pub fn line(&mut self, line: &[u8], sink: &mut dyn Sink) -> Result<(), Refusal> {
        match &mut self.kind {
            Kind::Exposition(reader) => reader.line(line, sink),
            Kind::Dump(reader) => reader.line(line, sink),
            Kind::Json(reader) => reader.line(line, sink),
        }
    }
}

/// The value as it is to be stored.
fn stale_or(value: f64, nan_is_stale: bool) -> f64 {
    if nan_is_stale && value.is_nan() { model::stale_nan() } else { value }
}

#[cfg(test)]
pub(super) mod tests {
    use model::{Labels, MetricMetadata, Timestamp};

    use super::*;
    use crate::store_tools::sink::Pairs;

    /// Keeps what it is given, in words.
    #[derive(Debug, Default)]
    pub(in crate::store_tools) struct Kept {
        current: String,
        pub(in crate::store_tools) samples: Vec<(String, i64, u64)>,
        pub(in crate::store_tools) metadata: Vec<(String, MetricMetadata)>,
    }

    impl Sink for Kept {
        fn series(&mut self, pairs: &mut Pairs<'_>) -> Result<(), Refusal> {
            self.current =
                Labels::from_pairs(pairs.iter().map(|(name, value)| (&**name, &**value))).to_string();
            Ok(())
        }

        fn sample(&mut self, at: Timestamp, value: f64) -> Result<(), Refusal> {
            self.samples.push((self.current.clone(), at.as_millis(), value.to_bits()));
            Ok(())
        }

        fn describe(&mut self, metric: &str, metadata: &MetricMetadata) {
            self.metadata.push((metric.to_owned(), metadata.clone()));
        }
    }

    /// Reads a text and answers what was kept, and what was refused with its line.
    pub(super) fn read(format: Format, text: &str) -> (Kept, Vec<(usize, String)>) {
        read_with(Reader::new(format, false), text)
    }

    pub(super) fn read_with(mut reader: Reader, text: &str) -> (Kept, Vec<(usize, String)>) {
        let (mut kept, mut refused) = (Kept::default(), Vec::new());
        for (at, line) in text.split_inclusive('\n').enumerate() {
            match reader.line(line.as_bytes(), &mut kept) {
                Ok(()) => {}
                Err(Refusal::Line(why)) => refused.push((at + 1, why)),
                Err(Refusal::Stop(error)) => panic!("this sink never stops: {error}"),
            }
        }
        (kept, refused)
    }

    /// The samples of a text that must be good.
    pub(super) fn check(format: Format, text: &str, expected: &[(&str, i64, f64)]) {
        let (kept, refused) = read(format, text);
        assert_eq!(refused, []);
        let found: Vec<_> = kept.samples.iter().map(|(name, at, bits)| (name.as_str(), *at, *bits)).collect();
        let expected: Vec<_> =
            expected.iter().map(|(name, at, value)| (*name, *at, value.to_bits())).collect();
        assert_eq!(found, expected);
    }

    /// A line that must be refused for a reason that holds these words.
    pub(super) fn check_refused(format: Format, line: &str, words: &str) {
        let (kept, refused) = read(format, line);
        assert!(kept.samples.is_empty(), "{line:?} gave {:?}", kept.samples);
        assert_eq!(refused.len(), 1, "{line:?}");
        assert!(refused[0].1.contains(words), "{line:?}: {} should hold {words:?}", refused[0].1);
    }

    #[test]
    fn formats_are_told_apart_by_their_first_line() {
        let check = |line: &str, format| assert_eq!(Format::detect(line.as_bytes()), format, "{line}");
        check("", None);
        check(" \n", None);
        check("{\"metric\":{\"__name__\":\"x\"},\"values\":[1],\"timestamps\":[1]}\n", Some(Format::Json));
        check("{ \"values\" : [", Some(Format::Json));
        check("{__name__=\"x\", a=\"b\"} 1 2\n", Some(Format::Dump));
        check("{} 1 2\n", Some(Format::Dump));
        check("{\"a.b\"=\"c\"} 1 2\n", Some(Format::Dump));
        check("{\"a b\"} 1 2\n", Some(Format::Openmetrics));
        check("{\"a b\", c=\"}\"} 1 2\n", Some(Format::Openmetrics));
        check("# HELP x y\n", Some(Format::Openmetrics));
        check("x{a=\"b\"} 1 2\n", Some(Format::Openmetrics));
    }

    proptest::proptest! {
        #[test]
        fn strangers_bytes_never_panic(line in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..80), pick in 0..4usize) {
            let formats = [Format::Openmetrics, Format::Text, Format::Dump, Format::Json];
            let _ = Reader::new(formats[pick], false).line(&line, &mut Kept::default());
        }

        #[test]
        fn nearly_good_lines_never_panic(cut in 0..120usize, byte: u8, pick in 0..4usize) {
            let formats = [Format::Openmetrics, Format::Text, Format::Dump, Format::Json];
            let lines = [
                "x{a=\"b\\n\",c=\"d\"} 1.5 1700000000.123 # {t=\"1\"} 1 2\n",
                "x{a=\"b\\n\",c=\"d\"} 1.5 1700000000123\n",
                "{__name__=\"x\", \"a.b\"=\"c\\x41\\u00e9\"} +Inf 1700000000123\n",
                "{\"metric\":{\"__name__\":\"x\",\"a\":\"\\ud83d\\ude00\"},\"values\":[1,null,\"NaN\",-1e5],\"timestamps\":[1,2,3,4]}\n",
            ];
            let mut bytes = lines[pick].as_bytes().to_vec();
            let at = cut % bytes.len();
            bytes[at] = byte;
            let _ = Reader::new(formats[pick], false).line(&bytes, &mut Kept::default());
            bytes.truncate(at);
            let _ = Reader::new(formats[pick], false).line(&bytes, &mut Kept::default());
        }
    }
}
