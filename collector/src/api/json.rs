//! JSON by hand where order and number format matter: `resultType` before `result`, values as text in Go's form.
//!
//! serde_json writes numbers in another form and buffers what could be streamed; texts go through it for their escapes.

use std::fmt::Write as _;

use model::{Bucket, Columns, Histogram, Labels, Timestamp};
use promql::{Answer, Value};

/// A text with its quotes and escapes.
pub(super) fn push_text(out: &mut String, text: &str) {
    // Nearly every label and value.
    if !text.bytes().any(|byte| byte < 0x20 || matches!(byte, b'"' | b'\\')) {
        out.push('"');
        out.push_str(text);
        out.push('"');
        return;
    }
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
    promql::push_value(out, value);
}

/// A time in seconds, with milliseconds only where they are not zero.
pub(super) fn push_time(out: &mut String, time: Timestamp) {
    let millis = time.as_millis();
    let (seconds, fraction) = (millis.unsigned_abs() / 1000, millis.unsigned_abs() % 1000);
    if millis < 0 {
        out.push('-');
    }
    out.push_str(itoa::Buffer::new().format(seconds));
    if fraction > 0 {
        // The first digit only holds the place of zeros.
        out.push('.');
        out.push_str(&itoa::Buffer::new().format(1000 + fraction)[1..]);
    }
}

fn push_point(out: &mut String, time: Timestamp, value: f64) {
    out.push('[');
    push_time(out, time);
    out.push_str(",\"");
    push_number(out, value);
    out.push_str("\"]");
}

fn push_points(out: &mut String, points: &Columns) {
    out.reserve(points.len() * 24);
    out.push('[');
    for (index, sample) in points.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        push_point(out, sample.timestamp, sample.value);
    }
    out.push(']');
}

/// `[time, {"count", "sum", "buckets"}]`; a bucket that has observations is `[bounds, lower, upper, count]`.
fn push_histogram(out: &mut String, time: Timestamp, histogram: &Histogram) {
    out.push('[');
    push_time(out, time);
    out.push_str(",{\"count\":\"");
    push_number(out, histogram.count);
    out.push_str("\",\"sum\":\"");
    push_number(out, histogram.sum);
    out.push('"');
    let buckets = histogram.buckets();
    if !buckets.is_empty() {
        out.push_str(",\"buckets\":");
        push_list(out, &buckets, push_bucket);
    }
    out.push_str("}]");
}

fn push_bucket(out: &mut String, bucket: &Bucket) {
    // Which of the two bounds belong to it.
    let bounds = match (bucket.lower_inclusive, bucket.upper_inclusive) {
        (false, true) => '0',
        (true, false) => '1',
        (false, false) => '2',
        (true, true) => '3',
    };
    out.push('[');
    out.push(bounds);
    for value in [bucket.lower, bucket.upper, bucket.count] {
        out.push_str(",\"");
        push_number(out, value);
        out.push('"');
    }
    out.push(']');
}

/// An answer: `{"resultType":…,"result":…}`; `push_more` may push further members, each with its comma before it.
pub(super) fn push_answer(out: &mut String, answer: &Answer, push_more: impl FnOnce(&mut String)) {
    let kind = match &answer.value {
        Value::Scalar { .. } => "scalar",
        Value::String { .. } => "string",
        Value::Vector(_) => "vector",
        Value::Matrix(_) => "matrix",
    };
    write!(out, "{{\"resultType\":\"{kind}\",\"result\":").expect("a String takes everything");
    push_value(out, &answer.value);
    push_more(out);
    out.push('}');
}

fn push_alone(out: &mut String, time: Timestamp, text: &str) {
    write!(out, "[{},", time.as_seconds()).expect("a String takes everything");
    push_text(out, text);
    out.push(']');
}

fn push_value(out: &mut String, value: &Value) {
    match value {
        // Of these two Prometheus writes the time as any other number, and scalars never with an exponent.
        Value::Scalar { timestamp, value } => push_alone(out, *timestamp, &promql::format_plain(*value)),
        Value::String { timestamp, value } => push_alone(out, *timestamp, value),
        Value::Vector(samples) => push_list(out, samples, |out, sample| {
            out.push_str("{\"metric\":");
            push_labels(out, &sample.labels);
            match &sample.histogram {
                Some(histogram) => {
                    out.push_str(",\"histogram\":");
                    push_histogram(out, sample.timestamp, histogram);
                }
                None => {
                    out.push_str(",\"value\":");
                    push_point(out, sample.timestamp, sample.value);
                }
            }
            out.push('}');
        }),
        Value::Matrix(series) => push_list(out, series, |out, series| {
            out.push_str("{\"metric\":");
            push_labels(out, &series.labels);
            if !series.points.is_empty() || series.histograms.is_empty() {
                out.push_str(",\"values\":");
                push_points(out, &series.points);
            }
            if !series.histograms.is_empty() {
                out.push_str(",\"histograms\":");
                push_list(out, &series.histograms, |out, (time, histogram)| {
                    push_histogram(out, *time, histogram)
                });
            }
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
        check(-9_007_199_254_740_993.0, "-9007199254740992");
        check(12_345_678_901_234_567_890.0, "12345678901234567000");
        check(0.000_012_5, "0.0000125");
        check(-1.25e-5, "-0.0000125");
        check(5e-324, "5e-324");
    }

    #[test]
    fn texts_are_escaped_only_where_they_must_be() {
        for text in ["", "plain", "é\u{2028}", "quo\"te", "back\\slash", "line\nfeed", "\u{1}", "\u{7f}"] {
            let mut out = String::new();
            push_text(&mut out, text);
            assert_eq!(out, serde_json::to_string(text).expect("a text is always JSON"));
        }
    }

    #[test]
    fn histograms_are_written_with_the_bounds_of_their_buckets() {
        let histogram: Histogram =
            "{{schema:0 count:9.5 sum:-2 z_bucket:2 z_bucket_w:0.5 buckets:[3 0 1.5] n_buckets:[3]}}"
                .parse()
                .expect("a histogram");
        let mut out = String::new();
        push_histogram(&mut out, Timestamp::from_millis(1500), &histogram);
        assert_eq!(
            out,
            r#"[1.500,{"count":"9.5","sum":"-2","buckets":[[1,"-1","-0.5","3"],[3,"-0.5","0.5","2"],[0,"0.5","1","3"],[0,"2","4","1.5"]]}]"#
        );
        let mut out = String::new();
        push_histogram(&mut out, Timestamp::from_millis(0), &"{{}}".parse().expect("a histogram"));
        assert_eq!(out, r#"[0,{"count":"0","sum":"0"}]"#);
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
