//! The text of Prometheus' test scripts: `{{schema:1 sum:-0.3 count:3.1 z_bucket:7 z_bucket_w:0.05 buckets:[5 10] offset:-3
//! n_buckets:[4] n_offset:-5 counter_reset_hint:gauge}}`, and the one in which values of it become labels.

use std::fmt;
use std::str::FromStr;

use super::{Bucket, Buckets, Histogram, HistogramError, ResetHint};

impl FromStr for Histogram {
    type Err = HistogramError;

    fn from_str(text: &str) -> Result<Self, HistogramError> {
        let bad = |why: String| HistogramError::Text(why);
        let inner = text.trim().strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}"));
        let mut rest = inner.ok_or_else(|| bad("it stands in {{ and }}".into()))?.trim();
        let (mut read, mut sides) = (Self::default(), [(0, Vec::new()), (0, Vec::new())]);
        while !rest.is_empty() {
            let (key, after) = rest.split_once(':').ok_or_else(|| bad(format!("{rest:?} has no value")))?;
            let after = after.trim_start();
            let end = if after.starts_with('[') { after.find(']').map(|at| at + 1) } else { after.find(' ') };
            let (value, next) = after.split_at(end.unwrap_or(after.len()));
            set(&mut read, &mut sides, key.trim(), value)
                .ok_or_else(|| bad(format!("{value:?} is no value of {key:?}")))?;
            rest = next.trim_start();
        }
        let [(first, counts), (n_first, n_counts)] = sides;
        read.positive = Buckets::dense(first, counts);
        read.negative = Buckets::dense(n_first, n_counts);
        read.checked()
    }
}

/// Sets a part to a value; `None` where there is no such part or value.
fn set(read: &mut Histogram, sides: &mut [(i32, Vec<f64>); 2], key: &str, value: &str) -> Option<()> {
    match key {
        "schema" => read.schema = value.parse().ok()?,
        "sum" => read.sum = number(value)?,
        "count" => read.count = number(value)?,
        "z_bucket" => read.zero_count = number(value)?,
        "z_bucket_w" => read.zero_threshold = number(value)?,
        "custom_values" => read.custom_bounds = numbers(value)?,
        "buckets" => sides[0].1 = numbers(value)?,
        "offset" => sides[0].0 = offset(value)?,
        "n_buckets" => sides[1].1 = numbers(value)?,
        "n_offset" => sides[1].0 = offset(value)?,
        "counter_reset_hint" => read.reset = hint(value)?,
        _ => return None,
    }
    Some(())
}

fn number(text: &str) -> Option<f64> {
    text.parse().ok()
}

/// A bucket's number, with room for all that may follow it.
fn offset(text: &str) -> Option<i32> {
    text.parse().ok().filter(|at: &i32| at.unsigned_abs() < 1 << 30)
}

fn numbers(text: &str) -> Option<Vec<f64>> {
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    let all: Option<Vec<f64>> = inner.split_whitespace().map(number).collect();
    all.filter(|all| all.len() <= Histogram::BUCKETS_MAX)
}

fn hint(text: &str) -> Option<ResetHint> {
    Some(match text {
        "unknown" => ResetHint::Unknown,
        "reset" => ResetHint::Reset,
        "not_reset" => ResetHint::NotReset,
        "gauge" => ResetHint::Gauge,
        _ => return None,
    })
}

/// As scripts write it; empty buckets between others are written out.
impl fmt::Display for Histogram {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts: Vec<String> = Vec::new();
        let mut part = |key: &str, value: String| parts.push(format!("{key}:{value}"));
        if self.schema != 0 {
            part("schema", self.schema.to_string());
        }
        for (key, value) in [
            ("count", self.count),
            ("sum", self.sum),
            ("z_bucket", self.zero_count),
            ("z_bucket_w", self.zero_threshold),
        ] {
            if value != 0.0 {
                part(key, general(value));
            }
        }
        if !self.custom_bounds.is_empty() {
            part("custom_values", list(&self.custom_bounds));
        }
        match self.reset {
            ResetHint::Unknown => {}
            ResetHint::Reset => part("counter_reset_hint", "reset".into()),
            ResetHint::NotReset => part("counter_reset_hint", "not_reset".into()),
            ResetHint::Gauge => part("counter_reset_hint", "gauge".into()),
        }
        for (buckets, counts_key, offset_key) in
            [(&self.positive, "buckets", "offset"), (&self.negative, "n_buckets", "n_offset")]
        {
            let (first, counts) = dense(buckets);
            if first != 0 {
                part(offset_key, first.to_string());
            }
            if !counts.is_empty() {
                part(counts_key, list(&counts));
            }
        }
        write!(out, "{{{{{}}}}}", parts.join(" "))
    }
}

/// All counts from the first bucket to the last, as far as they are so many as may be read again.
fn dense(buckets: &Buckets) -> (i32, Vec<f64>) {
    let mut counts: Vec<f64> = Vec::new();
    let mut first = 0;
    for (index, count) in buckets.iter() {
        if counts.is_empty() {
            first = index;
        }
        let at = usize::try_from(i64::from(index) - i64::from(first)).unwrap_or(usize::MAX);
        if at >= Histogram::BUCKETS_MAX {
            break;
        }
        counts.resize(at, 0.0);
        counts.push(count);
    }
    (first, counts)
}

fn list(values: &[f64]) -> String {
    let values: Vec<_> = values.iter().map(|value| general(*value)).collect();
    format!("[{}]", values.join(" "))
}

/// A float as Go's `%g` writes it: the shortest digits, with an exponent below 1e-4 and from 1e21 on.
fn general(value: f64) -> String {
    let size = value.abs();
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf".into() } else { "-Inf".into() };
    }
    if size == 0.0 || (1e-4..1e21).contains(&size) {
        return format!("{value}");
    }
    let text = format!("{value:e}");
    let (mantissa, exponent) = text.split_once('e').expect("LowerExp always prints an exponent");
    match exponent.strip_prefix('-') {
        Some(digits) => format!("{mantissa}e-{digits:0>2}"),
        None => format!("{mantissa}e+{exponent:0>2}"),
    }
}

impl Histogram {
    /// The text that stands for it where a value becomes a label: `{count:3, sum:2.5, (1,2]:3}`.
    pub fn value_text(&self) -> String {
        let mut text = format!("{{count:{}, sum:{}", general(self.count), general(self.sum));
        for bucket in self.buckets() {
            text.push_str(", ");
            text.push_str(&bucket_text(&bucket));
        }
        text.push('}');
        text
    }
}

fn bucket_text(bucket: &Bucket) -> String {
    let open = if bucket.lower_inclusive { '[' } else { '(' };
    let close = if bucket.upper_inclusive { ']' } else { ')' };
    format!("{open}{},{}{close}:{}", general(bucket.lower), general(bucket.upper), general(bucket.count))
}
