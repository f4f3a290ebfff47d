//! JSON by hand where order and number format matter: `resultType` before `result`, values as text in Go's form.
//!
//! serde_json writes numbers in another form and buffers what could be streamed; texts go through it for their escapes.

use std::fmt::Write as _;

use model::{Columns, Labels, Timestamp};
use promql::{Answer, Value};

/// A text with its quotes and escapes.
pub(super) fn push_text(out: &mut String, text: &str) {
    // Writing a &str as JSON cannot fail.
    out.push_str(&serde_json::to_string(text).expect("a text is always JSON"));
}

/// An array of texts.
pub(super) fn push_texts<T: AsRef<str>>(out: &mut String, texts: &[T]) {
    push_list(out, texts, |out, text| push_text(out, text.as_ref()));
}

/// An array.
pub(super) fn push_list<T>(out: &mut String, items: &[T], mut push: impl FnMut(&mut String, &T)) {
    out.push('[');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        push(out, item);
    }
    out.push(']');
}

/// A label set as an object.
pub(super) fn push_labels(out: &mut String, labels: &Labels) {
    out.push('{');
    for (index, (name, value)) in labels.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        push_text(out, name);
        out.push(':');
        push_text(out, value);
    }
    out.push('}');
}

/// A value as Go's `strconv.FormatFloat(v, 'f' or 'e', -1, 64)` prints it: with an exponent below 1e-6 and from 1e21 on.
pub(super) fn push_number(out: &mut String, value: f64) {
    out.push_str(&promql::format_value(value));
}

/// A time in seconds, with milliseconds only where they are not zero.
pub(super) fn push_time(out: &mut String, time: Timestamp) {
    let millis = time.as_millis();
    let sign = if millis < 0 { "-" } else { "" };
    let (seconds, fraction) = (millis.unsigned_abs() / 1000, millis.unsigned_abs() % 1000);
    let written = match fraction {
        0 => write!(out, "{sign}{seconds}"),
        _ => write!(out, "{sign}{seconds}.{fraction:03}"),
    };
    written.expect("a String takes everything");
}

fn push_point(out: &mut String, time: Timestamp, value: f64) {
    out.push('[');
    push_time(out, time);
    out.push_str(",\"");
    push_number(out, value);
    out.push_str("\"]");
}

fn push_points(out: &mut String, points: &Columns) {
    out.push('[');
    for (index, sample) in points.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        push_point(out, sample.timestamp, sample.value);
    }
    out.push(']');
}

/// An answer: `{"resultType":…,"result":…}`, with statistics where they were asked for.
pub(super) fn push_answer(out: &mut String, answer: &Answer, with_statistics: bool) {
    let kind = match &answer.value {
        Value::Scalar { .. } => "scalar",
        Value::String { .. } => "string",
        Value::Vector(_) => "vector",
        Value::Matrix(_) => "matrix",
    };
    write!(out, "{{\"resultType\":\"{kind}\",\"result\":").expect("a String takes everything");
    push_value(out, &answer.value);
    if with_statistics {
        let (read, peak) = (answer.statistics.samples_read, answer.statistics.samples_peak);
        write!(out, ",\"stats\":{{\"samples\":{{\"totalQueryableSamples\":{read},\"peakSamples\":{peak}}}}}")
            .expect("a String takes everything");
    }
    out.push('}');
}

fn push_value(out: &mut String, value: &Value) {
    match value {
        Value::Scalar { timestamp, value } => push_point(out, *timestamp, *value),
        Value::String { timestamp, value } => {
            out.push('[');
            push_time(out, *timestamp);
            out.push(',');
            push_text(out, value);
            out.push(']');
        }
        Value::Vector(samples) => push_list(out, samples, |out, sample| {
            out.push_str("{\"metric\":");
            push_labels(out, &sample.labels);
            out.push_str(",\"value\":");
            push_point(out, sample.timestamp, sample.value);
            out.push('}');
        }),
        Value::Matrix(series) => push_list(out, series, |out, series| {
            out.push_str("{\"metric\":");
            push_labels(out, &series.labels);
            out.push_str(",\"values\":");
            push_points(out, &series.points);
            out.push('}');
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: f64, expected: &str) {
        let mut out = String::new();
        push_number(&mut out, value);
        assert_eq!(out, expected);
    }

    #[test]
    fn numbers_as_go_prints_them() {
        check(1.0, "1");
        check(-0.0, "-0");
        check(0.1, "0.1");
        check(123_456_789.25, "123456789.25");
        check(1e20, "100000000000000000000");
        check(1e21, "1e+21");
        check(1.5e-7, "1.5e-07");
        check(0.000_001, "0.000001");
        check(f64::NAN, "NaN");
        check(f64::INFINITY, "+Inf");
        check(f64::NEG_INFINITY, "-Inf");
        check(f64::MAX, "1.7976931348623157e+308");
    }

    #[test]
    fn times_show_milliseconds_only_where_there_are_any() {
        for (millis, expected) in [(1000, "1"), (1050, "1.050"), (-1, "-0.001"), (0, "0")] {
            let mut out = String::new();
            push_time(&mut out, Timestamp::from_millis(millis));
            assert_eq!(out, expected);
        }
    }
}
