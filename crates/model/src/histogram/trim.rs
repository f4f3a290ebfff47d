//! Cutting a histogram off at a value: what lies above or below goes, and a bucket around the value is parted.
//!
//! Where anything goes, count and sum are made anew from what stays: each bucket counts with the middle of what is left of it (the
//! geometric one of exponential buckets). An endless bucket cannot be parted; where it stays whole, it counts with its finite end or the value.

use super::{Bucket, Buckets, Histogram};

/// Which side of the value stays.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    Below,
    Above,
}

/// How a bucket's observations are spread.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spread {
    Even,
    /// Evenly by the logarithm of the absolute value.
    Exponential,
}

/// What stays of a bucket.
struct Part {
    count: f64,
    middle: f64,
    whole: bool,
}

impl Histogram {
    /// Without what lies above a value.
    pub fn trim_above(&self, value: f64) -> Self {
        self.trimmed(value, Keep::Below)
    }

    /// Without what lies below a value.
    pub fn trim_below(&self, value: f64) -> Self {
        self.trimmed(value, Keep::Above)
    }

    fn trimmed(&self, value: f64, keep: Keep) -> Self {
        let mut work = Work { value, keep, count: 0.0, sum: 0.0, changed: false };
        let spread = if self.is_custom() { Spread::Even } else { Spread::Exponential };
        let positive = work.side(&self.positive, spread, |index, count| self.positive_bucket(index, count));
        let negative = work.side(&self.negative, spread, |index, count| self.negative_bucket(index, count));
        let zero_count = work.bucket(self.biased_zero_bucket(), Spread::Even);
        if !work.changed {
            return self.clone();
        }
        Self { count: work.count, sum: work.sum, zero_count, positive, negative, ..self.clone() }
    }

    /// The zero bucket; it ends at zero on a side on which there is nothing while there is on the other.
    pub fn biased_zero_bucket(&self) -> Bucket {
        let mut bucket = self.zero_bucket();
        match (self.negative.is_empty(), self.positive.is_empty()) {
            (true, false) => bucket.lower = 0.0,
            (false, true) => bucket.upper = 0.0,
            _ => {}
        }
        bucket
    }
}

struct Work {
    value: f64,
    keep: Keep,
    count: f64,
    sum: f64,
    changed: bool,
}

impl Work {
    fn side(&mut self, side: &Buckets, spread: Spread, bounds: impl Fn(i32, f64) -> Bucket) -> Buckets {
        Buckets::from_sorted(
            side.iter().map(|(index, count)| (index, self.bucket(bounds(index, count), spread))),
        )
    }

    /// What stays of a bucket's count.
    fn bucket(&mut self, bucket: Bucket, spread: Spread) -> f64 {
        if bucket.count == 0.0 {
            return 0.0;
        }
        let part = self.part(bucket, spread);
        self.changed |= !part.whole;
        self.count += part.count;
        if part.count != 0.0 {
            self.sum += part.count * part.middle;
        }
        part.count
    }

    fn part(&self, bucket: Bucket, spread: Spread) -> Part {
        let Bucket { lower, upper, count, .. } = bucket;
        let (value, below) = (self.value, self.keep == Keep::Below);
        let whole = |middle| Part { count, middle, whole: true };
        let gone = Part { count: 0.0, middle: 0.0, whole: false };
        let all_stays = if below { upper <= value } else { lower >= value };
        let all_goes = if below { lower >= value } else { upper <= value };
        if lower == f64::NEG_INFINITY && upper == f64::INFINITY {
            return if all_stays { whole(0.0) } else { gone };
        }
        if lower == f64::NEG_INFINITY && upper > 0.0 {
            // It is taken to begin at zero, as long as nobody asks what lies below.
            return match () {
                () if all_stays || (!below && value == 0.0) => whole(upper / 2.0),
                () if all_goes || value <= 0.0 => gone,
                () => self.parted(Bucket { lower: 0.0, ..bucket }, spread),
            };
        }
        match () {
            () if all_stays && lower == f64::NEG_INFINITY => whole(upper),
            () if all_stays && upper == f64::INFINITY => whole(lower),
            () if all_stays => whole(middle(lower, upper, spread)),
            () if all_goes => gone,
            () if lower == f64::NEG_INFINITY => {
                if below {
                    Part { count, middle: value, whole: false }
                } else {
                    gone
                }
            }
            () if upper == f64::INFINITY => {
                if below {
                    gone
                } else {
                    Part { count, middle: value, whole: false }
                }
            }
            () => self.parted(bucket, spread),
        }
    }

    /// A finite bucket around the value.
    fn parted(&self, bucket: Bucket, spread: Spread) -> Part {
        let Bucket { lower, upper, count, .. } = bucket;
        let share = match spread {
            Spread::Even => (self.value - lower) / (upper - lower),
            Spread::Exponential if lower >= 0.0 => (self.value / lower).ln() / (upper / lower).ln(),
            Spread::Exponential => 1.0 - (self.value / upper).ln() / (lower / upper).ln(),
        };
        match self.keep {
            Keep::Below => {
                Part { count: count * share, middle: middle(lower, self.value, spread), whole: false }
            }
            Keep::Above => {
                Part { count: count * (1.0 - share), middle: middle(self.value, upper, spread), whole: false }
            }
        }
    }
}

fn middle(lower: f64, upper: f64, spread: Spread) -> f64 {
    match spread {
        Spread::Even => (lower + upper) / 2.0,
        Spread::Exponential => (lower.abs() * upper.abs()).sqrt().copysign(lower + upper),
    }
}
