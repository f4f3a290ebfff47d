//! Bringing two histograms to the same buckets: coarser schemas, wider zero buckets, common custom bounds.

use super::{Buckets, Histogram};

impl Histogram {
    /// The same at a coarser schema; custom buckets and finer schemas stay as they are.
    pub fn at_schema(&self, schema: i32) -> Self {
        if self.is_custom() || schema >= self.schema {
            return self.clone();
        }
        let by = (self.schema - schema).min(31) as u32;
        Self {
            schema,
            positive: coarser(&self.positive, by),
            negative: coarser(&self.negative, by),
            ..self.clone()
        }
    }

    /// The same with a zero bucket of at least this width: wider where the width lies within a bucket that has observations.
    pub(super) fn widened(mut self, threshold: f64) -> Self {
        if self.is_custom() {
            return self;
        }
        let mut threshold = threshold;
        while threshold > self.zero_threshold {
            let inner = |(_, upper, _): &(f64, f64, f64)| *upper > threshold;
            let wider =
                self.sides().filter(|(lower, _, count)| *lower < threshold && *count != 0.0).filter(inner);
            match wider.map(|(_, upper, _)| upper).reduce(f64::max) {
                Some(upper) => threshold = upper,
                None => break,
            }
        }
        if threshold > self.zero_threshold {
            self.swallow(threshold);
        }
        self
    }

    /// Absolute bounds and counts of all buckets but that of zero.
    fn sides(&self) -> impl Iterator<Item = (f64, f64, f64)> + '_ {
        self.positive.iter().chain(self.negative.iter()).map(|(index, count)| {
            let bucket = self.positive_bucket(index, count);
            (bucket.lower, bucket.upper, count)
        })
    }

    /// Adds to the zero bucket what lies below the threshold, which is no bucket's inside.
    fn swallow(&mut self, threshold: f64) {
        let outside = |histogram: &Self, index: i32| histogram.positive_bucket(index, 0.0).lower >= threshold;
        for negative in [false, true] {
            let side = if negative { &self.negative } else { &self.positive };
            let inside: f64 =
                side.iter().filter(|(index, _)| !outside(self, *index)).map(|(_, count)| count).sum();
            let rest = Buckets::from_sorted(side.iter().filter(|(index, _)| outside(self, *index)));
            self.zero_count += inside;
            if negative {
                self.negative = rest;
            } else {
                self.positive = rest;
            }
        }
        self.zero_threshold = threshold;
    }

    /// Both with the same schema and zero bucket.
    pub(super) fn aligned(&self, other: &Self) -> (Self, Self) {
        let schema = self.schema.min(other.schema);
        let (mut a, mut b) = (self.at_schema(schema), other.at_schema(schema));
        while a.zero_threshold != b.zero_threshold {
            let threshold = a.zero_threshold.max(b.zero_threshold);
            (a, b) = (a.widened(threshold), b.widened(threshold));
            // A width that is no number can never be reached.
            if threshold.is_nan() || a.zero_threshold.is_nan() || b.zero_threshold.is_nan() {
                break;
            }
        }
        (a, b)
    }

    /// The same with these custom bounds, which are some of its own: what lay between two of them is added up.
    pub(super) fn with_bounds(&self, bounds: &[f64]) -> Self {
        if self.custom_bounds == bounds {
            return self.clone();
        }
        let mut merged = vec![0.0; bounds.len() + 1];
        for (index, count) in self.positive.iter() {
            let upper = self.bound(index);
            merged[bounds.partition_point(|bound| *bound < upper)] += count;
        }
        Self {
            positive: Buckets::dense(0, merged).compacted(),
            custom_bounds: bounds.to_vec(),
            ..self.clone()
        }
    }
}

/// The custom bounds that both have.
pub(super) fn common_bounds(a: &[f64], b: &[f64]) -> Vec<f64> {
    let mut common = Vec::new();
    let (mut i, mut j) = (0, 0);
    while let (Some(x), Some(y)) = (a.get(i), b.get(j)) {
        if x == y {
            common.push(*x);
        }
        i += usize::from(x <= y);
        j += usize::from(y <= x);
    }
    common
}

/// Adds up neighbours: `2^by` buckets make one.
fn coarser(buckets: &Buckets, by: u32) -> Buckets {
    let mut merged: Vec<(i32, f64)> = Vec::new();
    for (index, count) in buckets.iter() {
        let target = (index.wrapping_sub(1) >> by).wrapping_add(1);
        match merged.last_mut() {
            Some((last, sum)) if *last == target => *sum += count,
            _ => merged.push((target, count)),
        }
    }
    Buckets::from_sorted(merged)
}
