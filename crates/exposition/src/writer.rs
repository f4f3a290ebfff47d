//! Writes families and samples, for scrapes, files and people.

use std::borrow::Cow;

use model::{METRIC_NAME, MetricKind, MetricMetadata, Timestamp, is_label_name, is_metric_name};

use crate::{Format, Offer, number};

/// Appends a text to a `String`, line by line.
///
/// The caller keeps a family's samples together and behind its [`Writer::family`]; both formats want it so.
#[derive(Debug)]
pub struct Writer<'o> {
    out: &'o mut String,
    offer: Offer,
}

impl<'o> Writer<'o> {
    /// Starts a text behind what `out` holds.
    pub fn new(out: &'o mut String, offer: Offer) -> Self {
        Self { out, offer }
    }

    /// Writes a family's help, type and unit. `metric` is the family's name as Prometheus knows it: counters with `_total`.
    pub fn family(&mut self, metric: &str, metadata: &MetricMetadata) {
        let (family, kind) = match self.offer.format {
            Format::Text => (metric, text_kind(metadata.kind)),
            Format::OpenMetrics => openmetrics_family(metric, metadata.kind),
        };
        if !metadata.help.is_empty() {
            self.comment("HELP", family);
            let quotes = self.offer.format == Format::OpenMetrics;
            escape(self.out, &metadata.help, quotes);
            self.out.push('\n');
        }
        self.comment("TYPE", family);
        self.out.push_str(kind);
        self.out.push('\n');
        let unit = &*metadata.unit;
        let named = family.strip_suffix(unit).is_some_and(|rest| rest.ends_with('_'));
        if self.offer.format == Format::OpenMetrics && !unit.is_empty() && named {
            self.comment("UNIT", family);
            self.out.push_str(unit);
            self.out.push('\n');
        }
    }

    fn comment(&mut self, word: &str, family: &str) {
        self.out.push_str("# ");
        self.out.push_str(word);
        self.out.push(' ');
        let family = self.name(family, is_metric_name);
        self.maybe_quoted(&family, is_metric_name);
        self.out.push(' ');
    }

    /// Writes a sample. `labels` holds the metric's name as `__name__`; without one nothing is written, since neither format
    /// can say it, and the answer is false.
    pub fn sample<'a>(
        &mut self,
        labels: impl IntoIterator<Item = (&'a str, &'a str)> + Clone,
        value: f64,
        timestamp: Option<Timestamp>,
    ) -> bool {
        let is_label = |pair: &(&str, &str)| pair.0 != METRIC_NAME;
        // Nearly always the name stands first: then nothing is walked through twice.
        let mut rest = labels.clone().into_iter();
        match rest.next() {
            Some((METRIC_NAME, name)) if !name.is_empty() => self.series(name, rest.filter(is_label)),
            _ => {
                let name = labels.clone().into_iter().find(|pair| !is_label(pair));
                let Some((_, name)) = name.filter(|(_, name)| !name.is_empty()) else { return false };
                self.series(name, labels.into_iter().filter(is_label));
            }
        }
        self.out.push(' ');
        number::write(self.out, value);
        if let Some(timestamp) = timestamp {
            self.out.push(' ');
            self.timestamp(timestamp);
        }
        self.out.push('\n');
        true
    }

    fn series<'a>(&mut self, name: &str, labels: impl Iterator<Item = (&'a str, &'a str)>) {
        let mut open = false;
        if is_metric_name(name) {
            self.out.push_str(name);
        } else {
            let name = self.name(name, is_metric_name);
            open = !is_metric_name(&name);
            if open {
                self.out.push('{');
            }
            self.maybe_quoted(&name, is_metric_name);
        }
        for (label, value) in labels {
            self.out.push(if open { ',' } else { '{' });
            open = true;
            if is_label_name(label) {
                self.out.push_str(label);
            } else {
                let label = self.name(label, is_label_name);
                self.maybe_quoted(&label, is_label_name);
            }
            self.out.push('=');
            self.quoted(value);
        }
        if open {
            self.out.push('}');
        }
    }

    fn timestamp(&mut self, timestamp: Timestamp) {
        let millis = timestamp.as_millis();
        if self.offer.format == Format::Text {
            self.out.push_str(itoa::Buffer::new().format(millis));
            return;
        }
        if millis < 0 {
            self.out.push('-');
        }
        self.out.push_str(itoa::Buffer::new().format(millis.unsigned_abs() / 1000));
        // The first digit only holds the place of zeros.
        self.out.push('.');
        self.out.push_str(&itoa::Buffer::new().format(1000 + millis.unsigned_abs() % 1000)[1..]);
    }

    /// The name as this reader takes it.
    fn name<'a>(&self, name: &'a str, classic: fn(&str) -> bool) -> Cow<'a, str> {
        if self.offer.utf8_names || classic(name) {
            return name.into();
        }
        let fits = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        let escaped: String = name.chars().map(|letter| if fits(letter) { letter } else { '_' }).collect();
        if classic(&escaped) { escaped.into() } else { format!("_{escaped}").into() }
    }

    fn maybe_quoted(&mut self, name: &str, classic: fn(&str) -> bool) {
        if classic(name) { self.out.push_str(name) } else { self.quoted(name) }
    }

    fn quoted(&mut self, text: &str) {
        self.out.push('"');
        escape(self.out, text, true);
        self.out.push('"');
    }

    /// Ends the text: OpenMetrics wants a mark.
    pub fn finish(self) {
        if self.offer.format == Format::OpenMetrics {
            self.out.push_str("# EOF\n");
        }
    }
}

fn escape(out: &mut String, text: &str, quotes: bool) {
    // Few texts have anything to escape, and those few places.
    let needs = |byte: &u8| matches!(*byte, b'\\' | b'\n') || (quotes && *byte == b'"');
    let mut rest = text;
    while let Some(at) = rest.as_bytes().iter().position(needs) {
        let (plain, from) = rest.split_at(at);
        out.push_str(plain);
        out.push_str(match from.as_bytes().first() {
            Some(b'\\') => "\\\\",
            Some(b'\n') => "\\n",
            _ => "\\\"",
        });
        rest = &from[1..];
    }
    out.push_str(rest);
}

/// The text format knows five types; what it does not know behaves as one that it does.
const fn text_kind(kind: MetricKind) -> &'static str {
    match kind {
        MetricKind::Counter => "counter",
        MetricKind::Gauge | MetricKind::Info | MetricKind::StateSet => "gauge",
        MetricKind::Histogram | MetricKind::GaugeHistogram => "histogram",
        MetricKind::Summary => "summary",
        MetricKind::Unknown => "untyped",
    }
}

/// In OpenMetrics a family's name has no suffix and the samples of counters and infos have one; those named otherwise can only be
/// of unknown type.
fn openmetrics_family(metric: &str, kind: MetricKind) -> (&str, &'static str) {
    let suffix = match kind {
        MetricKind::Counter => "_total",
        MetricKind::Info => "_info",
        _ => return (metric, kind.as_str()),
    };
    match metric.strip_suffix(suffix) {
        Some(family) if !family.is_empty() => (family, kind.as_str()),
        _ => (metric, MetricKind::Unknown.as_str()),
    }
}
