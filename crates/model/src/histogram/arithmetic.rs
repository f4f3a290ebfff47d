//! Sums, differences, products, resets.

use super::resolution::common_bounds;
use super::{Buckets, Histogram, ResetHint};

/// A sum or difference and what is to be said about it.
#[derive(Clone, Debug)]
pub struct Combined {
    /// The result.
    pub histogram: Histogram,
    /// One was reset and the other not: whether the result was, nobody knows.
    pub reset_collision: bool,
    /// Custom bounds differed; those that both have remain.
    pub bounds_reconciled: bool,
}

impl Histogram {
    /// Adds another; `None` where one has custom bounds and the other has not.
    pub fn add(&self, other: &Self) -> Option<Combined> {
        self.combine(other, |a, b| a + b)
    }

    /// Takes another away; `None` where one has custom bounds and the other has not.
    pub fn sub(&self, other: &Self) -> Option<Combined> {
        self.combine(other, |a, b| a - b)
    }

    fn combine(&self, other: &Self, function: impl Fn(f64, f64) -> f64) -> Option<Combined> {
        let (a, b, bounds_reconciled) = self.comparable(other)?;
        let (reset, reset_collision) = joint_hint(self.reset, other.reset);
        let histogram = Self {
            zero_count: function(a.zero_count, b.zero_count),
            count: function(a.count, b.count),
            sum: function(a.sum, b.sum),
            positive: zip(&a.positive, &b.positive, &function),
            negative: zip(&a.negative, &b.negative, &function),
            reset,
            ..a
        };
        Some(Combined { histogram, reset_collision, bounds_reconciled })
    }

    /// Both with the same buckets, and whether custom bounds had to be given up for that.
    fn comparable(&self, other: &Self) -> Option<(Self, Self, bool)> {
        if self.is_custom() != other.is_custom() {
            return None;
        }
        if !self.is_custom() {
            let (a, b) = self.aligned(other);
            return Some((a, b, false));
        }
        if self.custom_bounds == other.custom_bounds {
            return Some((self.clone(), other.clone(), false));
        }
        let bounds = common_bounds(&self.custom_bounds, &other.custom_bounds);
        Some((self.with_bounds(&bounds), other.with_bounds(&bounds), true))
    }

    /// Every count and the sum changed alike.
    fn mapped(mut self, change: impl Fn(f64) -> f64) -> Self {
        self.zero_count = change(self.zero_count);
        self.count = change(self.count);
        self.sum = change(self.sum);
        self.positive.map(&change);
        self.negative.map(&change);
        self
    }

    /// Multiplied by a number. A negative factor makes it a gauge.
    pub fn times(self, factor: f64) -> Self {
        let mut product = self.mapped(|count| count * factor);
        if factor < 0.0 {
            product.reset = ResetHint::Gauge;
        }
        product
    }

    /// Divided by a number; by zero, all buckets go.
    pub fn divided_by(self, divisor: f64) -> Self {
        let mut quotient = self.mapped(|count| count / divisor);
        if divisor == 0.0 {
            quotient.positive = Buckets::default();
            quotient.negative = Buckets::default();
        }
        if divisor < 0.0 {
            quotient.reset = ResetHint::Gauge;
        }
        quotient
    }

    /// The same without buckets that have no observations.
    pub fn compacted(mut self) -> Self {
        self.positive = self.positive.compacted();
        self.negative = self.negative.compacted();
        self
    }

    /// Whether two have the same buckets, counts and sums; NaN equals NaN, hints and empty buckets do not count.
    pub fn same_as(&self, other: &Self) -> bool {
        let same = |a: f64, b: f64| a.to_bits() == b.to_bits() || a == b;
        self.schema == other.schema
            && same(self.zero_threshold, other.zero_threshold)
            && same(self.zero_count, other.zero_count)
            && same(self.count, other.count)
            && same(self.sum, other.sum)
            && self.custom_bounds == other.custom_bounds
            && equal(&self.positive, &other.positive)
            && equal(&self.negative, &other.negative)
    }

    /// Whether a counter that showed `previous` was reset before it showed this. The hint decides where it says; else any count that
    /// fell does, and so does a finer schema or a narrower zero bucket.
    pub fn is_reset_since(&self, previous: &Self) -> bool {
        match self.reset {
            ResetHint::Reset => return true,
            ResetHint::NotReset => return false,
            ResetHint::Unknown | ResetHint::Gauge => {}
        }
        self.falls_below(previous)
    }

    /// Whether any count is lower than before, whatever the hint says.
    pub fn falls_below(&self, previous: &Self) -> bool {
        if self.count < previous.count || self.is_custom() != previous.is_custom() {
            return true;
        }
        if self.is_custom() {
            return match self.custom_bounds == previous.custom_bounds {
                true => any_fell(self, previous),
                false => self.comparable(previous).is_none_or(|(now, before, _)| any_fell(&now, &before)),
            };
        }
        if self.schema > previous.schema || self.zero_threshold < previous.zero_threshold {
            return true;
        }
        if self.schema == previous.schema && self.zero_threshold == previous.zero_threshold {
            return any_fell(self, previous);
        }
        any_fell(self, &previous.at_schema(self.schema).widened(self.zero_threshold))
    }
}

/// What two hints come to, and whether they exclude each other.
fn joint_hint(a: ResetHint, b: ResetHint) -> (ResetHint, bool) {
    match (a, b) {
        _ if a == b => (a, false),
        (ResetHint::Gauge, _) | (_, ResetHint::Gauge) => (ResetHint::Gauge, false),
        (ResetHint::Unknown, _) | (_, ResetHint::Unknown) => (ResetHint::Unknown, false),
        _ => (ResetHint::Unknown, true),
    }
}

/// Walks two sides at once: numbers, and counts where they have them (0 elsewhere).
fn merged<'b>(a: &'b Buckets, b: &'b Buckets) -> impl Iterator<Item = (i32, f64, f64)> + 'b {
    let (mut left, mut right) = (a.iter().peekable(), b.iter().peekable());
    std::iter::from_fn(move || {
        let index = match (left.peek(), right.peek()) {
            (Some((a, _)), Some((b, _))) => *a.min(b),
            (Some((a, _)), None) => *a,
            (None, Some((b, _))) => *b,
            (None, None) => return None,
        };
        let a = left.next_if(|(at, _)| *at == index).map_or(0.0, |(_, count)| count);
        let b = right.next_if(|(at, _)| *at == index).map_or(0.0, |(_, count)| count);
        Some((index, a, b))
    })
}

fn zip(a: &Buckets, b: &Buckets, function: impl Fn(f64, f64) -> f64) -> Buckets {
    if a.spans == b.spans {
        let counts = a.counts.iter().zip(&b.counts).map(|(a, b)| function(*a, *b)).collect();
        return Buckets { spans: a.spans.clone(), counts };
    }
    Buckets::from_sorted(merged(a, b).map(|(index, a, b)| (index, function(a, b))))
}

fn equal(a: &Buckets, b: &Buckets) -> bool {
    merged(a, b).all(|(_, a, b)| a == b || a.to_bits() == b.to_bits())
}

fn any_fell(now: &Histogram, before: &Histogram) -> bool {
    let fell = |now: &Buckets, before: &Buckets| merged(now, before).any(|(_, now, before)| now < before);
    now.zero_threshold != before.zero_threshold
        || now.zero_count < before.zero_count
        || fell(&now.positive, &before.positive)
        || fell(&now.negative, &before.negative)
}

/// A running sum of histograms that loses little: Neumaier's variant of Kahan's method, for each count.
#[derive(Clone, Debug)]
pub struct Sums {
    total: Histogram,
    /// What rounding took from the total; its buckets are no more than the total's.
    lost: Histogram,
    seen_reset: bool,
    seen_not_reset: bool,
    /// Custom bounds that differed were met.
    pub bounds_reconciled: bool,
}

impl Sums {
    /// Begins with one.
    pub fn new(first: &Histogram) -> Self {
        let lost = Histogram {
            schema: first.schema,
            zero_threshold: first.zero_threshold,
            custom_bounds: first.custom_bounds.clone(),
            ..Histogram::default()
        };
        Self {
            total: first.clone(),
            lost,
            seen_reset: first.reset == ResetHint::Reset,
            seen_not_reset: first.reset == ResetHint::NotReset,
            bounds_reconciled: false,
        }
    }

    /// Adds one; false, and nothing is added, where one has custom bounds and the other has not.
    #[must_use]
    pub fn add(&mut self, more: &Histogram) -> bool {
        let Some((total, more, reconciled)) = self.total.comparable(more) else {
            return false;
        };
        let mut lost = self.lost.at_schema(total.schema);
        if total.is_custom() {
            lost = lost.with_bounds(&total.custom_bounds);
        } else if lost.zero_threshold != total.zero_threshold {
            lost.swallow_below(total.zero_threshold);
        }
        let (reset, _) = joint_hint(total.reset, more.reset);
        self.seen_reset |= more.reset == ResetHint::Reset;
        self.seen_not_reset |= more.reset == ResetHint::NotReset;
        self.bounds_reconciled |= reconciled;
        let mut next = Histogram { reset, ..total };
        (next.zero_count, lost.zero_count) = two_sum(next.zero_count, more.zero_count, lost.zero_count);
        (next.count, lost.count) = two_sum(next.count, more.count, lost.count);
        (next.sum, lost.sum) = two_sum(next.sum, more.sum, lost.sum);
        (next.positive, lost.positive) = sum_sides(&next.positive, &more.positive, &lost.positive);
        (next.negative, lost.negative) = sum_sides(&next.negative, &more.negative, &lost.negative);
        (self.total, self.lost) = (next, lost);
        true
    }

    /// Whether hints that exclude each other were met.
    pub fn resets_collide(&self) -> bool {
        self.seen_reset && self.seen_not_reset
    }

    /// Multiplies what was added so far.
    pub fn scale(&mut self, factor: f64) {
        let reset = self.total.reset;
        self.total = std::mem::take(&mut self.total).mapped(|count| count * factor);
        self.lost = std::mem::take(&mut self.lost).mapped(|count| count * factor);
        self.total.reset = reset;
    }

    /// Whether the sum so far has left the finite numbers.
    pub fn overflows(&self) -> bool {
        let all = [self.total.zero_count, self.total.count, self.total.sum];
        let sides = self.total.positive.counts.iter().chain(&self.total.negative.counts);
        all.iter().chain(sides).any(|count| count.is_infinite())
    }

    /// The sum.
    pub fn total(&self) -> Histogram {
        let add = |a: f64, b: f64| if a.is_finite() { a + b } else { a };
        Histogram {
            zero_count: add(self.total.zero_count, self.lost.zero_count),
            count: add(self.total.count, self.lost.count),
            sum: add(self.total.sum, self.lost.sum),
            positive: zip(&self.total.positive, &self.lost.positive, add),
            negative: zip(&self.total.negative, &self.lost.negative, add),
            ..self.total.clone()
        }
    }
}

impl Histogram {
    /// Moves what lies below a threshold to the zero bucket, with no look at what lies around it.
    fn swallow_below(&mut self, threshold: f64) {
        *self = std::mem::take(self).widened(threshold);
        self.zero_threshold = threshold;
    }
}

fn two_sum(total: f64, more: f64, lost: f64) -> (f64, f64) {
    let next = total + more;
    let lost = if next.is_infinite() {
        0.0
    } else if total.abs() >= more.abs() {
        lost + ((total - next) + more)
    } else {
        lost + ((more - next) + total)
    };
    (next, lost)
}

fn sum_sides(total: &Buckets, more: &Buckets, lost: &Buckets) -> (Buckets, Buckets) {
    let mut lost_of = lost.iter().peekable();
    let (mut sums, mut rests) = (Vec::new(), Vec::new());
    for (index, a, b) in merged(total, more) {
        while lost_of.next_if(|(at, _)| *at < index).is_some() {}
        let lost = lost_of.next_if(|(at, _)| *at == index).map_or(0.0, |(_, lost)| lost);
        let (sum, rest) = two_sum(a, b, lost);
        sums.push((index, sum));
        rests.push((index, rest));
    }
    (Buckets::from_sorted(sums), Buckets::from_sorted(rests))
}
