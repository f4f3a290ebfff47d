//! What a histogram says of its observations: quantiles, fractions, deviations.
//!
//! Within an exponential bucket observations are taken to be spread evenly by their logarithm, within the zero bucket and custom ones by
//! their value. The first custom bucket begins at zero where it ends above; of an endless one its finite end is all that is known.

use model::{Bucket, Histogram};

/// A quantile and whether observations that are no numbers stood in the way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::eval) enum Quantile {
    Plain(f64),
    /// There are such observations, so that the value is too high.
    Skewed(f64),
    /// It falls among them.
    NotANumber,
}

/// The buckets as they are interpolated in.
fn buckets(histogram: &Histogram) -> Vec<Bucket> {
    let mut all = histogram.buckets();
    if histogram.is_custom() {
        if let Some(first) =
            all.first_mut().filter(|first| first.lower == f64::NEG_INFINITY && first.upper > 0.0)
        {
            first.lower = 0.0;
        }
        return all;
    }
    let zero = histogram.biased_zero_bucket();
    for bucket in &mut all {
        if bucket.lower < 0.0 && bucket.upper > 0.0 {
            (bucket.lower, bucket.upper) = (zero.lower, zero.upper);
        }
    }
    all
}

/// The value within a bucket below which a share of its observations lies.
fn value_at(histogram: &Histogram, bucket: &Bucket, share: f64) -> f64 {
    let (lower, upper) = (bucket.lower, bucket.upper);
    if is_even(histogram, bucket) {
        return lower + (upper - lower) * share;
    }
    if lower > 0.0 {
        let (low, high) = (lower.log2(), upper.log2());
        return (low + (high - low) * share).exp2();
    }
    let (low, high) = (lower.abs().log2(), upper.abs().log2());
    -(high + (low - high) * (1.0 - share)).exp2()
}

/// The share of a bucket's observations below a value within it.
fn share_below(histogram: &Histogram, bucket: &Bucket, value: f64) -> f64 {
    let (lower, upper) = (bucket.lower, bucket.upper);
    if is_even(histogram, bucket) {
        return (value - lower) / (upper - lower);
    }
    let (low, high, at) = (lower.abs().log2(), upper.abs().log2(), value.abs().log2());
    (at - low) / (high - low)
}

fn is_even(histogram: &Histogram, bucket: &Bucket) -> bool {
    histogram.is_custom() || (bucket.lower <= 0.0 && bucket.upper >= 0.0)
}

/// The φ-quantile.
pub(in crate::eval) fn quantile(phi: f64, histogram: &Histogram) -> Quantile {
    if phi < 0.0 {
        return Quantile::Plain(f64::NEG_INFINITY);
    }
    if phi > 1.0 {
        return Quantile::Plain(f64::INFINITY);
    }
    if histogram.count == 0.0 || phi.is_nan() {
        return Quantile::Plain(f64::NAN);
    }
    let mut all = buckets(histogram);
    // From the nearer end, for precision; observations that are no numbers count as the highest.
    let has_nan = histogram.sum.is_nan();
    let forward = has_nan || phi < 0.5;
    let rank = histogram.count * if forward { phi } else { 1.0 - phi };
    if !forward {
        all.reverse();
    }
    let (mut seen, mut found) = (0.0, None);
    for bucket in &all {
        seen += bucket.count;
        found = Some(bucket);
        if seen >= rank {
            break;
        }
    }
    let Some(bucket) = found else {
        return if has_nan { Quantile::NotANumber } else { Quantile::Plain(f64::NAN) };
    };
    let reached = seen >= rank;
    let value = if has_nan && !reached {
        return Quantile::NotANumber;
    } else if !reached {
        // Counts that do not add up: the last bucket's end is the nearest to it.
        if forward { bucket.upper } else { bucket.lower }
    } else {
        let in_bucket = rank - (seen - bucket.count);
        let share = in_bucket / bucket.count;
        within(histogram, bucket, if forward { share } else { 1.0 - share })
    };
    if has_nan { Quantile::Skewed(value) } else { Quantile::Plain(value) }
}

fn within(histogram: &Histogram, bucket: &Bucket, share: f64) -> f64 {
    if bucket.upper == f64::INFINITY {
        return bucket.lower;
    }
    if bucket.lower == f64::NEG_INFINITY {
        return bucket.upper;
    }
    value_at(histogram, bucket, share)
}

/// The share of observations between two values; those that are no numbers count among all and lie nowhere.
pub(in crate::eval) fn fraction(lower: f64, upper: f64, histogram: &Histogram) -> f64 {
    let count = histogram.count;
    if count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let all = buckets(histogram);
    let numbers: f64 =
        if histogram.sum.is_nan() { all.iter().map(|bucket| bucket.count).sum() } else { count };
    let below = |value: f64| rank_of(histogram, &all, value).map_or(numbers, |rank| rank.min(numbers));
    (below(upper) - below(lower)) / count
}

/// How many observations lie below a value; `None` where all buckets do.
fn rank_of(histogram: &Histogram, all: &[Bucket], value: f64) -> Option<f64> {
    let mut rank = 0.0;
    for bucket in all {
        if bucket.lower >= value {
            return Some(rank);
        }
        if bucket.upper > value {
            if bucket.lower == f64::NEG_INFINITY || bucket.upper == f64::INFINITY {
                // Nobody knows where in an endless bucket they lie: at its finite end.
                return Some(if bucket.upper == f64::INFINITY { rank } else { rank + bucket.count });
            }
            return Some(rank + bucket.count * share_below(histogram, bucket, value));
        }
        rank += bucket.count;
    }
    None
}

/// The variance, each bucket's observations taken to lie in its middle.
pub(in crate::eval) fn variance(histogram: &Histogram) -> f64 {
    let mean = histogram.sum / histogram.count;
    let mut squares = crate::eval::summation::Sum::default();
    for bucket in histogram.buckets() {
        let value = if !histogram.is_custom() && bucket.lower <= 0.0 && bucket.upper >= 0.0 {
            0.0
        } else if histogram.is_custom() {
            (bucket.lower + bucket.upper) / 2.0
        } else {
            (bucket.lower * bucket.upper).sqrt().copysign(bucket.upper)
        };
        let distance = value - mean;
        squares.add(bucket.count * distance * distance);
    }
    squares.total() / histogram.count
}
