//! A single observation that stands for many: the trace behind a point of a graph.

use crate::{Labels, Timestamp};

/// An exemplar of some series.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// What tells the observation from others, such as `trace_id`; none of the series' own labels.
    pub labels: Labels,
    /// The observed value.
    pub value: f64,
    /// When it was observed.
    pub timestamp: Timestamp,
}
