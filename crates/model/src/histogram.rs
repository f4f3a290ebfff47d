//! Native histograms: one sample that holds a whole distribution.
//!
//! In and out: the message of remote write ([`Histogram::decode`], [`Histogram::encode`]), the text of test scripts
//! (`{{schema:1 sum:3 ...}}`, [`Display`](std::fmt::Display) and [`FromStr`](std::str::FromStr)), arithmetic. Whole-number histograms become floats.
//! What a query makes of a distribution (quantiles, rates) is the query engine's.
//!
//! Limits: schemas -4 to 8 (finer ones up to 52 are read and made coarser) and -53 (custom bounds); at most
//! [`Histogram::BUCKETS_MAX`] buckets and as many spans and custom bounds.

mod arithmetic;
mod buckets;
mod resolution;
mod text;
mod trim;
mod wire;

pub use arithmetic::{Combined, Sums};
pub use buckets::{Bucket, Buckets, Span};

use crate::is_stale;

/// A distribution in its float form.
///
/// With a schema `s` of -4 to 8, bucket `i` of the positive side holds what lies in `(2^((i-1) * 2^-s), 2^(i * 2^-s)]`, the negative
/// side is its mirror, and the zero bucket holds what lies in `[-zero_threshold, zero_threshold]`. With custom bounds, bucket `i` ends at
/// `custom_bounds[i]`, the one after the last at infinity; there is no negative side and no zero bucket.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// Resolution: -4 to 8, or [`Histogram::CUSTOM`].
    pub schema: i32,
    /// Width of the zero bucket on either side of zero.
    pub zero_threshold: f64,
    /// Observations in the zero bucket.
    pub zero_count: f64,
    /// Observations in all.
    pub count: f64,
    /// Their sum; the stale marker where the series ended.
    pub sum: f64,
    /// Buckets above zero, or all custom buckets.
    pub positive: Buckets,
    /// Buckets below zero, by absolute value.
    pub negative: Buckets,
    /// Upper bounds of custom buckets, finite and ascending; empty for other schemas.
    pub custom_bounds: Vec<f64>,
    /// What the sender knows of resets.
    pub reset: ResetHint,
}

/// Whether a counter was reset between the histogram before and this one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ResetHint {
    /// Nobody said; the counts tell.
    #[default]
    Unknown,
    /// It was reset.
    Reset,
    /// It was not reset.
    NotReset,
    /// It is a gauge: resets mean nothing.
    Gauge,
}

/// Why bytes or a text are no histogram.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HistogramError {
    /// The bytes are no protocol buffers message.
    #[error("the histogram's message is damaged at byte {offset}")]
    Damaged {
        /// Where.
        offset: usize,
    },
    /// A schema that is not known.
    #[error("a histogram of schema {0}, known are -4 to 8 and -53")]
    Schema(i32),
    /// Spans say another number of buckets than there are.
    #[error("a histogram whose spans name {spans} buckets and that has {counts}")]
    SpanLength {
        /// Buckets that the spans name.
        spans: u64,
        /// Buckets that are there.
        counts: usize,
    },
    /// Spans overlap, or leave the range of bucket numbers.
    #[error("a histogram whose span {0} overlaps another or lies out of range")]
    SpanOffset(usize),
    /// More buckets, spans or bounds than are read.
    #[error(
        "a histogram of more than {} buckets, spans or bounds: let its sender use fewer",
        Histogram::BUCKETS_MAX
    )]
    TooLarge,
    /// Custom bounds that do not ascend, are not finite, or come with what they exclude.
    #[error("a histogram whose custom bounds {0}")]
    CustomBounds(&'static str),
    /// A text that is no histogram.
    #[error("no histogram: {0}")]
    Text(String),
}

impl Histogram {
    /// The schema of custom bounds.
    pub const CUSTOM: i32 = -53;
    /// The coarsest and finest schema of exponential buckets.
    pub const EXPONENTIAL: std::ops::RangeInclusive<i32> = -4..=8;
    /// Most buckets of a histogram, both sides together.
    pub const BUCKETS_MAX: usize = 65_536;

    /// Whether it says that its series ended.
    pub fn is_stale(&self) -> bool {
        is_stale(self.sum)
    }

    /// Whether its bounds are custom ones.
    pub fn is_custom(&self) -> bool {
        self.schema == Self::CUSTOM
    }

    /// Whether its counts are a gauge's.
    pub fn is_gauge(&self) -> bool {
        self.reset == ResetHint::Gauge
    }

    /// Bytes that it holds in memory.
    pub fn weight_bytes(&self) -> usize {
        let side =
            |buckets: &Buckets| buckets.counts.capacity() * 8 + buckets.spans.capacity() * size_of::<Span>();
        size_of::<Self>()
            + side(&self.positive)
            + side(&self.negative)
            + self.custom_bounds.capacity() * size_of::<f64>()
    }
}

/// An empty one of schema 0.
impl Default for Histogram {
    fn default() -> Self {
        Self {
            schema: 0,
            zero_threshold: 0.0,
            zero_count: 0.0,
            count: 0.0,
            sum: 0.0,
            positive: Buckets::default(),
            negative: Buckets::default(),
            custom_bounds: Vec::new(),
            reset: ResetHint::Unknown,
        }
    }
}

#[cfg(test)]
mod tests;
