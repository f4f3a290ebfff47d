//! Alerts and samples as promtool prints them.

use std::fmt::Write as _;
use std::time::Duration;

use model::{Histogram, Labels};

/// An alert's labels and annotations, each by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Alert {
    labels: Vec<(String, String)>,
    annotations: Vec<(String, String)>,
}

impl Alert {
    pub(super) fn new(labels: &Labels, annotations: &[(String, String)]) -> Self {
        let mut annotations = annotations.to_vec();
        annotations.sort();
        Self { labels: pairs(labels), annotations }
    }
}

/// A sample's labels and what it is worth.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) labels: Labels,
    value: f64,
    /// As text, in the form of the tests; empty for a value.
    histogram: String,
}

impl Sample {
    pub(super) fn new(labels: Labels, value: f64, histogram: Option<&Histogram>) -> Self {
        let histogram =
            histogram.map(|histogram| histogram.clone().compacted().to_string()).unwrap_or_default();
        Self { labels, value: if histogram.is_empty() { value } else { 0.0 }, histogram }
    }

    /// Whether they are equal; NaN equals nothing, as there. A fuzzy look passes over the last bit of a value.
    pub(super) fn is(&self, other: &Self, fuzzy: bool) -> bool {
        let near = fuzzy && (self.value.next_up() == other.value || self.value.next_down() == other.value);
        self.labels == other.labels
            && self.histogram == other.histogram
            && (self.value == other.value || near)
    }
}

fn pairs(labels: &Labels) -> Vec<(String, String)> {
    labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// `{a="b", c="d"}`, the metric name among them.
fn braces(pairs: &[(String, String)]) -> String {
    let inner: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    format!("{{{}}}", inner.join(", "))
}

pub(super) fn alerts(alerts: &[Alert]) -> String {
    if alerts.is_empty() {
        return "[]".to_owned();
    }
    let one = |(index, alert): (usize, &Alert)| {
        let text = format!("\nLabels:{}\nAnnotations:{}", braces(&alert.labels), braces(&alert.annotations));
        format!("{index}:{}", indented(&text, "  "))
    };
    let all: Vec<String> = alerts.iter().enumerate().map(one).collect();
    indented(&format!("[\n{}\n]", all.join(",\n")), "            ")
}

fn indented(text: &str, indent: &str) -> String {
    text.replace('\n', &format!("\n{indent}"))
}

pub(super) fn samples(samples: &[Sample]) -> String {
    if samples.is_empty() {
        return "nil".to_owned();
    }
    let one = |sample: &Sample| {
        let labels = braces(&pairs(&sample.labels));
        if sample.histogram.is_empty() {
            format!("{labels} {}", scientific(sample.value))
        } else {
            format!("{labels} {}", sample.histogram)
        }
    };
    samples.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// As Go's `FormatFloat(value, 'E', -1, 64)`: `1.5E+00`.
fn scientific(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let text = format!("{value:E}");
    let (mantissa, exponent) = text.split_once('E').expect("UpperExp always prints an exponent");
    match exponent.strip_prefix('-') {
        Some(digits) => format!("{mantissa}E-{digits:0>2}"),
        None => format!("{mantissa}E+{exponent:0>2}"),
    }
}

/// As Go prints a time.Duration: `1h5m0s`, `0s`, `1.5s`.
pub(super) fn go_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    let (hours, minutes, rest) = (millis / 3_600_000, millis / 60_000 % 60, millis % 60_000);
    if millis > 0 && millis < 1000 {
        return format!("{millis}ms");
    }
    let mut text = String::new();
    if hours > 0 {
        write!(text, "{hours}h").expect("a String takes everything");
    }
    if hours > 0 || minutes > 0 {
        write!(text, "{minutes}m").expect("a String takes everything");
    }
    write!(text, "{}s", rest as f64 / 1000.0).expect("a String takes everything");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_those_of_go() {
        let check = |value: f64, expected: &str| assert_eq!(scientific(value), expected);
        check(1.0, "1E+00");
        check(-0.000_123, "-1.23E-04");
        check(1e100, "1E+100");
        check(f64::INFINITY, "+Inf");
        let check =
            |millis: u64, expected: &str| assert_eq!(go_duration(Duration::from_millis(millis)), expected);
        check(0, "0s");
        check(500, "500ms");
        check(90_500, "1m30.5s");
        check(3_600_000, "1h0m0s");
    }

    #[test]
    fn a_fuzzy_look_passes_over_the_last_bit_only() {
        let sample = |value| Sample::new(Labels::empty(), value, None);
        let (a, b) = (sample(0.1 + 0.2), sample(0.3));
        assert!(!a.is(&b, false) && a.is(&b, true));
        assert!(!sample(1.0).is(&sample(1.1), true));
        assert!(!sample(f64::NAN).is(&sample(f64::NAN), false), "as promtool");
    }
}
