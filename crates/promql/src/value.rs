//! What a query answers with.

use std::sync::Arc;

use model::{Columns, Histogram, Labels, Timestamp};

use crate::annotation::Annotation;

/// One value with its labels, at the query's time.
#[derive(Clone, Debug)]
pub struct VectorSample {
    /// Labels of the series.
    pub labels: Labels,
    /// The time of the evaluation, not that of the sample it came from.
    pub timestamp: Timestamp,
    /// The value; any bit pattern but the stale marker. 0 where there is a histogram.
    pub value: f64,
    /// The native histogram that stands in place of a value.
    pub histogram: Option<Arc<Histogram>>,
}

/// One series over time.
#[derive(Clone, Debug)]
pub struct MatrixSeries {
    /// Labels of the series.
    pub labels: Labels,
    /// Points in time order; empty only where there are histograms.
    pub points: Columns,
    /// Native histograms in time order, at other times than the points.
    pub histograms: Vec<(Timestamp, Arc<Histogram>)>,
}

/// The answer to a query.
#[derive(Clone, Debug)]
pub enum Value {
    /// A number without labels.
    Scalar {
        /// The time of the evaluation.
        timestamp: Timestamp,
        /// The number.
        value: f64,
    },
    /// A text.
    String {
        /// The time of the evaluation.
        timestamp: Timestamp,
        /// The text.
        value: String,
    },
    /// Values at one time, in the source's label order unless the expression sorts.
    Vector(Vec<VectorSample>),
    /// Series over time, in label order.
    Matrix(Vec<MatrixSeries>),
}

/// What a query cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Series that selectors touched.
    pub series_read: u64,
    /// Samples decoded from the source.
    pub samples_read: u64,
    /// Most samples and points held at one time.
    pub samples_peak: u64,
}

/// Value, remarks and cost.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The value.
    pub value: Value,
    /// Warnings first, then infos; each once.
    pub annotations: Vec<Annotation>,
    /// What it cost.
    pub statistics: Statistics,
    /// How many samples each step looked at, as Prometheus counts them, where [`crate::Options::counts_samples`] asks for it: one entry
    /// a step, in time order. Empty otherwise.
    pub samples_per_step: Vec<(Timestamp, u64)>,
}
