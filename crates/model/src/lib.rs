//! The words every other room speaks: labels, samples, matchers, region codes, and the contract by which anything that
//! holds series is read ([`SeriesSource`]).
//!
//! In and out: plain values. No I/O, no clock, no thread: time is always an argument. Nothing here knows where a value
//! came from or where it goes.
//!
//! Limits: a label set holds at most [`Labels::BYTES_MAX`] bytes in its encoded form; narrower limits (label count, name
//! and value length) are policy and belong to the rooms that meet strangers.

mod calendar;
mod exemplar;
mod histogram;
mod labels;
mod matcher;
mod metadata;
mod pattern;
pub mod re2;
mod region;
mod sample;
mod source;

pub use calendar::Date;
pub use exemplar::Exemplar;
pub use histogram::{Bucket, Buckets, Combined, Histogram, HistogramError, ResetHint, Span, Sums};
pub use labels::{Labels, LabelsBuilder, LabelsIter, METRIC_NAME, is_label_name, is_metric_name};
pub use matcher::{MatchOp, Matcher, MatcherError};
pub use metadata::{MetricKind, MetricMetadata};
pub use pattern::PatternRoom;
pub use region::{RegionCode, RegionCodeError};
pub use sample::{Columns, STALE_NAN_BITS, Sample, Timestamp, is_stale, stale_nan};
pub use source::{Selection, SeriesSet, SeriesSource, SourceError};
