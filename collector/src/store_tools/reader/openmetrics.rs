//! OpenMetrics and Prometheus' text format, a line at a time: a file may be larger than memory.

use exposition::{Event, Parser, Series};
use model::MetricMetadata;

use super::super::sink::{Pairs, Refusal, Sink};
use super::stale_or;

/// What a family's samples may be called behind its name.
const SUFFIXES: [&str; 9] =
    ["", "_total", "_bucket", "_sum", "_count", "_created", "_info", "_gsum", "_gcount"];

/// Names of one family that are remembered as described; a family has few.
const DESCRIBED_MAX: usize = 16;

/// See the module's text.
#[derive(Debug)]
pub(super) struct Reader {
    format: exposition::Format,
    nan_is_stale: bool,
    family: String,
    metadata: MetricMetadata,
    described: Vec<String>,
    /// The last series as it was written; empty after one that was refused.
    series: String,
    ended: bool,
}

impl Reader {
    pub(super) fn new(format: exposition::Format, nan_is_stale: bool) -> Self {
        Self {
            format,
            nan_is_stale,
            family: String::new(),
            metadata: MetricMetadata::default(),
            described: Vec::new(),
            series: String::new(),
            ended: false,
        }
    }

    pub(super) fn line(&mut self, line: &[u8], sink: &mut dyn Sink) -> Result<(), Refusal> {
        let empty = line.trim_ascii().is_empty();
        if self.ended && !empty {
            return Err(Refusal::line("something follows # EOF"));
        }
        let event = match Parser::new(line, self.format).next() {
            Some(Ok(event)) => event,
            Some(Err(error)) if !empty => return Err(refused(&error)),
            _ => return Ok(()),
        };
        match event {
            Event::Help { family, help } => self.family(&family).help = help.into_owned(),
            Event::Type { family, kind } => self.family(&family).kind = kind,
            Event::Unit { family, unit } => unit.clone_into(&mut self.family(&family).unit),
            Event::Comment(_) => {}
            Event::Eof => self.ended = true,
            Event::Sample(sample) => {
                let Some(at) = sample.timestamp else {
                    return Err(Refusal::line(
                        "the sample has no time: only samples with a time can be imported",
                    ));
                };
                if sample.series.text() != self.series {
                    self.series.clear();
                    self.begin(sample.series, sink)?;
                    self.series.push_str(sample.series.text());
                }
                sink.sample(at, stale_or(sample.value, self.nan_is_stale))?;
            }
        }
        Ok(())
    }

    /// The description that lines of this family fill in.
    fn family(&mut self, family: &str) -> &mut MetricMetadata {
        if family != self.family {
            family.clone_into(&mut self.family);
            self.metadata = MetricMetadata::default();
        }
        self.described.clear();
        &mut self.metadata
    }

    fn begin(&mut self, series: Series<'_>, sink: &mut dyn Sink) -> Result<(), Refusal> {
        let mut pairs: Pairs<'_> =
            series.labels().collect::<Result<_, _>>().map_err(|error| refused(&error))?;
        let name = series.name().map_err(|error| refused(&error))?;
        sink.series(&mut pairs)?;
        let suffix = name.strip_prefix(self.family.as_str()).filter(|_| !self.family.is_empty());
        let known = suffix.is_none_or(|suffix| !SUFFIXES.contains(&suffix))
            || self.described.iter().any(|described| *described == name);
        if !known && self.described.len() < DESCRIBED_MAX {
            sink.describe(&name, &self.metadata);
            self.described.push(name.into_owned());
        }
        Ok(())
    }
}

/// The line's number is known to who reads lines.
fn refused(error: &exposition::ParseError) -> Refusal {
    Refusal::line(format!("column {}: {}", error.column, error.fault))
}

#[cfg(test)]
mod tests {
    use model::MetricKind;

    use super::super::Format;
    use super::super::tests::{check, check_refused, read};

    #[test]
    fn times_are_seconds_in_one_and_milliseconds_in_the_other() {
        check(Format::Openmetrics, "x 1 1700000000.123\n# EOF\n\n", &[("x", 1_700_000_000_123, 1.0)]);
        check(Format::Text, "x 1 1700000000123\n\n# a word\n", &[("x", 1_700_000_000_123, 1.0)]);
        check(
            Format::Openmetrics,
            "x{a=\"1\"} 1 1\nx{a=\"1\"} -0 2\nx{a=\"2\"} NaN 1 # {t=\"x\"} 1\n",
            &[
                ("x{a=\"1\"}", 1000, 1.0),
                ("x{a=\"1\"}", 2000, -0.0),
                ("x{a=\"2\"}", 1000, f64::from_bits(0x7ff8_0000_0000_0001)),
            ],
        );
    }

    #[test]
    fn a_bad_line_is_refused_alone() {
        check_refused(Format::Openmetrics, "x 1\n", "has no time");
        check_refused(Format::Openmetrics, "x{a=1} 1 1\n", "column 5");
        let (kept, refused) = read(Format::Openmetrics, "x{a=\"1\"} 1 1\n?\nx{a=\"1\"} 2 2\n# EOF\nx 1 1\n");
        assert_eq!(kept.samples.len(), 2);
        assert_eq!(refused.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [2, 5]);
        assert!(refused[1].1.contains("# EOF"));
    }

    #[test]
    fn descriptions_go_to_the_names_that_samples_have() {
        let text = "# HELP h Help.\n# TYPE h histogram\nh_bucket{le=\"1\"} 1 1\nh_bucket{le=\"2\"} 1 1\nh_count 1 1\nhx 1 1\n\
            # TYPE c counter\nc_total 5 1\nd 1 1\n";
        let (kept, refused) = read(Format::Openmetrics, text);
        assert_eq!(refused, []);
        let kinds: Vec<_> = kept.metadata.iter().map(|(name, known)| (name.as_str(), known.kind)).collect();
        assert_eq!(
            kinds,
            [
                ("h_bucket", MetricKind::Histogram),
                ("h_count", MetricKind::Histogram),
                ("c_total", MetricKind::Counter)
            ]
        );
        assert_eq!(kept.metadata[0].1.help, "Help.");
    }
}
