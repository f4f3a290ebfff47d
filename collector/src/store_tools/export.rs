//! Samples of a store as text: OpenMetrics (promtool reads it, and so do we) or JSON lines (VictoriaMetrics reads them, and so do we).
//!
//! Series come metric by metric in order of their names, a series' samples together and in time order. What a format cannot carry:
//!
//! | | OpenMetrics | JSON lines | JSON lines, exact |
//! |---|---|---|---|
//! | finite values, -0 | yes | yes | yes |
//! | infinities | yes | as ±1e999, which readers take for infinite | yes |
//! | NaN | yes, as the one NaN | as `NaN`, as VictoriaMetrics writes and reads it | every bit |
//! | stale markers | left out and counted | left out and counted | yes |
//! | series without a name | left out and counted | yes | yes |
//! | native histograms | left out and counted | left out and counted | left out and counted |
//! | exemplars | left out | left out | left out |
//!
//! Memory: one series' samples, 16 bytes each (ten million for five years at 15 s), and the labels of one metric.

use std::io::Write;
use std::sync::Arc;

use anyhow::Context as _;
use exposition::{Format as TextFormat, Offer, Writer};
use model::{
    Columns, Labels, METRIC_NAME, Matcher, MetricKind, MetricMetadata, Selection, SeriesSet, SeriesSource,
    Timestamp,
};

/// Text is handed on in pieces of about this size.
const PIECE_BYTES: usize = 256 << 10;
/// Samples of one JSON line at most: who reads it holds a line in memory.
const LINE_SAMPLES: usize = 10_000;

/// A format that is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// OpenMetrics 1.0.
    #[default]
    Openmetrics,
    /// JSON lines in VictoriaMetrics' shape.
    Json,
}

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The format.
    pub format: Format,
    /// JSON lines hold every bit, in a spelling that only our import reads.
    pub exact: bool,
    /// Series that satisfy any of these; all where there is none.
    pub selectors: Vec<Vec<Matcher>>,
    /// First millisecond, inclusive.
    pub start: Timestamp,
    /// Last millisecond, inclusive.
    pub end: Timestamp,
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// Series.
    pub series: u64,
    /// Samples.
    pub samples: u64,
    /// Stale markers that the format cannot carry.
    pub stale_left_out: u64,
    /// Series without a metric's name, which the format cannot carry.
    pub nameless_left_out: u64,
    /// Native histograms, which no format carries.
    pub histograms_left_out: u64,
}

/// Writes what is wanted. `describe` knows what metrics are.
///
/// # Errors
/// A source that cannot be read; an output that takes nothing more.
pub fn export(
    source: &dyn SeriesSource,
    describe: &dyn Fn(&str) -> Option<MetricMetadata>,
    wanted: &Wanted,
    out: &mut dyn Write,
) -> anyhow::Result<Exported> {
    let mut export = Export {
        wanted,
        out,
        text: String::new(),
        columns: Columns::default(),
        histograms: Vec::new(),
        done: Exported::default(),
    };
    let mut metrics = family_order(names(source, wanted)?, describe);
    // Series without a name come first, as their labels do.
    metrics.insert(0, Metric { name: String::new(), family: String::new(), metadata: None });
    let mut family = "";
    for metric in &metrics {
        if metric.family != family {
            family = &metric.family;
            export.family(metric);
        }
        export.metric(source, &metric.name)?;
    }
    export.finish()
}

/// Names of the metrics that are wanted.
fn names(source: &dyn SeriesSource, wanted: &Wanted) -> anyhow::Result<Vec<String>> {
    let selections: Vec<Selection<'_>> = wanted
        .selectors
        .iter()
        .map(|matchers| Selection { matchers, start: wanted.start, end: wanted.end })
        .collect();
    let all = [Selection { matchers: &[], start: wanted.start, end: wanted.end }];
    let selections = if selections.is_empty() { &all[..] } else { &selections };
    source.label_values(METRIC_NAME, selections, 0).context("cannot list the metrics")
}

struct Metric {
    name: String,
    /// As our families are called: counters with `_total`, histograms without a suffix.
    family: String,
    metadata: Option<MetricMetadata>,
}

/// Brings the metrics of one family (a histogram's buckets, sum and count) together.
fn family_order(names: Vec<String>, describe: &dyn Fn(&str) -> Option<MetricMetadata>) -> Vec<Metric> {
    let mut metrics: Vec<Metric> = names
        .into_iter()
        .map(|name| {
            let (family, metadata) = family_of(&name, describe);
            Metric { name, family, metadata }
        })
        .collect();
    metrics.sort_by(|a, b| (&a.family, &a.name).cmp(&(&b.family, &b.name)));
    metrics
}

fn family_of(
    name: &str,
    describe: &dyn Fn(&str) -> Option<MetricMetadata>,
) -> (String, Option<MetricMetadata>) {
    const SUFFIXES: [(&str, &[MetricKind]); 6] = [
        ("_bucket", &[MetricKind::Histogram]),
        ("_sum", &[MetricKind::Histogram, MetricKind::Summary]),
        ("_count", &[MetricKind::Histogram, MetricKind::Summary]),
        ("_created", &[MetricKind::Histogram, MetricKind::Summary]),
        ("_gsum", &[MetricKind::GaugeHistogram]),
        ("_gcount", &[MetricKind::GaugeHistogram]),
    ];
    let own = describe(name);
    for (suffix, kinds) in SUFFIXES {
        let Some(base) = name.strip_suffix(suffix).filter(|base| !base.is_empty()) else { continue };
        // Senders describe either the family or each of its metrics.
        let known = own.clone().or_else(|| describe(base)).filter(|known| kinds.contains(&known.kind));
        if known.is_some() {
            return (base.to_owned(), known);
        }
    }
    (name.to_owned(), own)
}

struct Export<'a> {
    wanted: &'a Wanted,
    out: &'a mut dyn Write,
    text: String,
    columns: Columns,
    histograms: Vec<(Timestamp, Arc<[u8]>)>,
    done: Exported,
}

impl Export<'_> {
    fn family(&mut self, metric: &Metric) {
        if let (Format::Openmetrics, Some(metadata)) = (self.wanted.format, &metric.metadata) {
            Writer::new(&mut self.text, OFFER).family(&metric.family, metadata);
        }
    }

    /// Writes all wanted series of a metric; of those without a name where it is empty.
    fn metric(&mut self, source: &dyn SeriesSource, name: &str) -> anyhow::Result<()> {
        let Wanted { selectors, start, end, .. } = self.wanted;
        let nothing = [Vec::new()];
        let selectors = if selectors.is_empty() { &nothing[..] } else { selectors };
        let mut sets = Vec::with_capacity(selectors.len());
        for matchers in selectors {
            let mut matchers = matchers.clone();
            matchers.push(Matcher::equal(METRIC_NAME, name));
            let selection = Selection { matchers: &matchers, start: *start, end: *end };
            let mut set = source.select(&selection)?;
            if set.advance()? {
                sets.push(set);
            }
        }
        self.merge(sets)
    }

    /// A series that several selectors want is written once.
    fn merge(&mut self, mut sets: Vec<Box<dyn SeriesSet + Send + '_>>) -> anyhow::Result<()> {
        while let Some(labels) = sets.iter().map(|set| set.labels()).min().cloned() {
            let first =
                sets.iter_mut().find(|set| *set.labels() == labels).expect("the least is one of them");
            first.read(&mut self.columns).with_context(|| format!("cannot read {labels}"))?;
            first.read_histograms(&mut self.histograms).with_context(|| format!("cannot read {labels}"))?;
            self.done.histograms_left_out += self.histograms.len() as u64;
            self.series(&labels)?;
            let mut left = Vec::with_capacity(sets.len());
            for mut set in sets {
                if *set.labels() != labels || set.advance()? {
                    left.push(set);
                }
            }
            sets = left;
        }
        Ok(())
    }

    fn series(&mut self, labels: &Labels) -> anyhow::Result<()> {
        let (format, exact) = (self.wanted.format, self.wanted.exact && self.wanted.format == Format::Json);
        if format == Format::Openmetrics && labels.metric_name().is_none() {
            self.done.nameless_left_out += u64::from(!self.columns.is_empty());
            return Ok(());
        }
        let columns = std::mem::take(&mut self.columns);
        let carried = |value: f64| exact || !model::is_stale(value);
        let count = columns.values.iter().filter(|value| carried(**value)).count() as u64;
        self.done.stale_left_out += columns.len() as u64 - count;
        self.done.samples += count;
        self.done.series += u64::from(count > 0);
        let mut samples = columns
            .iter()
            .filter(|sample| carried(sample.value))
            .map(|sample| (sample.timestamp, sample.value));
        match format {
            Format::Openmetrics => {
                for (at, value) in samples.by_ref() {
                    Writer::new(&mut self.text, OFFER).sample(labels.iter(), value, Some(at));
                    self.hand_on(PIECE_BYTES)?;
                }
            }
            Format::Json => {
                let mut part: Vec<(Timestamp, f64)> = samples.by_ref().take(LINE_SAMPLES).collect();
                while !part.is_empty() {
                    json_line(&mut self.text, labels, &part, exact);
                    self.hand_on(PIECE_BYTES)?;
                    part.clear();
                    part.extend(samples.by_ref().take(LINE_SAMPLES));
                }
            }
        }
        drop(samples);
        self.columns = columns;
        Ok(())
    }

    /// Hands the text on once it is longer than this.
    fn hand_on(&mut self, bytes: usize) -> anyhow::Result<()> {
        if self.text.len() > bytes {
            self.out.write_all(self.text.as_bytes()).context("cannot write the export")?;
            self.text.clear();
        }
        Ok(())
    }

    fn finish(mut self) -> anyhow::Result<Exported> {
        if self.wanted.format == Format::Openmetrics {
            Writer::new(&mut self.text, OFFER).finish();
        }
        self.hand_on(0)?;
        self.out.flush().context("cannot write the export")?;
        Ok(self.done)
    }
}

const OFFER: Offer = Offer { format: TextFormat::OpenMetrics, utf8_names: true };

fn json_line(text: &mut String, labels: &Labels, samples: &[(Timestamp, f64)], exact: bool) {
    text.push_str("{\"metric\":{");
    for (at, (name, value)) in labels.iter().enumerate() {
        text.push_str(if at > 0 { "," } else { "" });
        json_text(text, name);
        text.push(':');
        json_text(text, value);
    }
    text.push_str("},\"values\":[");
    for (at, (_, value)) in samples.iter().enumerate() {
        text.push_str(if at > 0 { "," } else { "" });
        json_value(text, *value, exact);
    }
    text.push_str("],\"timestamps\":[");
    for (at, (time, _)) in samples.iter().enumerate() {
        text.push_str(if at > 0 { "," } else { "" });
        text.push_str(&time.as_millis().to_string());
    }
    text.push_str("]}\n");
}

fn json_text(text: &mut String, plain: &str) {
    text.push_str(&serde_json::to_string(plain).expect("every text is a JSON string"));
}

fn json_value(text: &mut String, value: f64, exact: bool) {
    use std::fmt::Write as _;
    let size = value.abs();
    let written = match () {
        () if value.is_nan() && exact && model::is_stale(value) => text.write_str("\"stale\""),
        () if value.is_nan() && exact => write!(text, "\"0x{:016x}\"", value.to_bits()),
        () if value.is_nan() => text.write_str("NaN"),
        () if value.is_infinite() => text.write_str(if value > 0.0 { "1e999" } else { "-1e999" }),
        () if size != 0.0 && !(1e-5..1e17).contains(&size) => write!(text, "{value:e}"),
        () => write!(text, "{value}"),
    };
    written.expect("a String takes everything");
}
