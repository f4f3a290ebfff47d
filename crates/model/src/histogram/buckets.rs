//! Buckets: how they are kept, their numbers and their bounds.

use super::Histogram;

/// A run of buckets with consecutive numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Buckets left out before it; for the first span the number of its first bucket.
    pub offset: i32,
    /// Buckets in it.
    pub length: u32,
}

/// One side's buckets by ascending number.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Buckets {
    /// Which bucket numbers there are.
    pub spans: Vec<Span>,
    /// Observations in each bucket of the spans.
    pub counts: Vec<f64>,
}

/// A bucket with its bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// Lower bound.
    pub lower: f64,
    /// Upper bound.
    pub upper: f64,
    /// Whether the lower bound belongs to it.
    pub lower_inclusive: bool,
    /// Whether the upper bound belongs to it.
    pub upper_inclusive: bool,
    /// Observations in it.
    pub count: f64,
}

impl Buckets {
    /// Buckets by ascending number; those without observations are left out.
    pub fn from_sorted(pairs: impl IntoIterator<Item = (i32, f64)>) -> Self {
        let mut made = Self::default();
        let mut next = 0i64;
        for (index, count) in pairs.into_iter().filter(|(_, count)| *count != 0.0) {
            match made.spans.last_mut() {
                Some(span) if i64::from(index) == next => span.length += 1,
                _ => {
                    let offset = i32::try_from(i64::from(index) - next).unwrap_or(i32::MAX);
                    made.spans.push(Span { offset, length: 1 });
                }
            }
            made.counts.push(count);
            next = i64::from(index) + 1;
        }
        made
    }

    /// Buckets with consecutive numbers from `first` on, those without observations included.
    pub fn dense(first: i32, counts: Vec<f64>) -> Self {
        if counts.is_empty() {
            return Self::default();
        }
        let length = u32::try_from(counts.len()).unwrap_or(u32::MAX);
        Self { spans: vec![Span { offset: first, length }], counts }
    }

    /// Whether there is no bucket at all.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// Numbers and counts, by ascending number.
    pub fn iter(&self) -> impl Iterator<Item = (i32, f64)> + '_ {
        let mut next = 0i32;
        let numbers = self.spans.iter().flat_map(move |span| {
            let first = next.saturating_add(span.offset);
            next = first.saturating_add(i32::try_from(span.length).unwrap_or(i32::MAX));
            first..next
        });
        numbers.zip(self.counts.iter().copied())
    }

    /// The same without buckets that have no observations.
    pub fn compacted(&self) -> Self {
        if self.is_compact() { self.clone() } else { Self::from_sorted(self.iter()) }
    }

    fn is_compact(&self) -> bool {
        self.counts.iter().all(|count| *count != 0.0)
            && self.spans.iter().skip(1).all(|span| span.offset > 0)
            && self.spans.iter().all(|span| span.length > 0)
    }

    /// Changes each count.
    pub(super) fn map(&mut self, change: impl Fn(f64) -> f64) {
        self.counts.iter_mut().for_each(|count| *count = change(*count));
    }
}

impl Histogram {
    /// The upper bound of a bucket of the positive side.
    pub fn bound(&self, index: i32) -> f64 {
        if self.is_custom() {
            let Ok(at) = usize::try_from(index) else {
                return f64::NEG_INFINITY;
            };
            return self.custom_bounds.get(at).copied().unwrap_or(f64::INFINITY);
        }
        exponential_bound(index, self.schema)
    }

    /// A bucket of the positive side.
    pub fn positive_bucket(&self, index: i32, count: f64) -> Bucket {
        let lower = index.checked_sub(1).map_or(0.0, |below| self.bound(below));
        Bucket { lower, upper: self.bound(index), lower_inclusive: lower < 0.0, upper_inclusive: true, count }
            .fitting()
    }

    /// A bucket of the negative side.
    pub fn negative_bucket(&self, index: i32, count: f64) -> Bucket {
        let mirrored = self.positive_bucket(index, count);
        Bucket { lower: -mirrored.upper, upper: -mirrored.lower, ..mirrored }.fitting()
    }

    /// The bucket around zero.
    pub fn zero_bucket(&self) -> Bucket {
        Bucket {
            lower: -self.zero_threshold,
            upper: self.zero_threshold,
            lower_inclusive: true,
            upper_inclusive: true,
            count: self.zero_count,
        }
    }

    /// All buckets that have observations, from the lowest to the highest. Those that reach into the zero bucket end where it begins.
    pub fn buckets(&self) -> Vec<Bucket> {
        let mut all: Vec<Bucket> =
            Vec::with_capacity(self.negative.counts.len() + self.positive.counts.len() + 1);
        let present = |(_, count): &(i32, f64)| *count != 0.0;
        all.extend(
            self.negative.iter().filter(present).map(|(index, count)| self.negative_bucket(index, count)),
        );
        all.reverse();
        if let Some(last) = all.last_mut().filter(|last| last.lower < -self.zero_threshold) {
            last.upper = last.upper.min(-self.zero_threshold);
        }
        if self.zero_count != 0.0 {
            all.push(self.zero_bucket());
        }
        let before = all.len();
        all.extend(
            self.positive.iter().filter(present).map(|(index, count)| self.positive_bucket(index, count)),
        );
        let reaches = |first: &&mut Bucket| !self.is_custom() && first.upper > self.zero_threshold;
        if let Some(first) = all.get_mut(before).filter(reaches) {
            first.lower = first.lower.max(self.zero_threshold);
        }
        all
    }
}

impl Bucket {
    /// Bounds belong to the bucket that lies nearer to zero.
    fn fitting(self) -> Self {
        Self { lower_inclusive: self.lower < 0.0, upper_inclusive: self.upper > 0.0, ..self }
    }
}

/// `2^(index * 2^-schema)`; the greatest finite number where that is 2^1024, since nothing finite lies beyond.
fn exponential_bound(index: i32, schema: i32) -> f64 {
    let index = i64::from(index);
    let (exponent, fraction) = if schema < 0 {
        (index << -schema, 0.0)
    } else {
        let parts = 1i64 << schema;
        (index.div_euclid(parts), index.rem_euclid(parts) as f64 / parts as f64)
    };
    if exponent == 1024 && fraction == 0.0 {
        return f64::MAX;
    }
    scaled(fraction.exp2(), exponent)
}

/// `value * 2^exponent`, through the subnormal numbers.
fn scaled(value: f64, exponent: i64) -> f64 {
    let exponent = exponent.clamp(-2100, 2100) as i32;
    let half = exponent / 2;
    value * 2f64.powi(half / 2) * 2f64.powi(half - half / 2) * 2f64.powi(exponent - half)
}
