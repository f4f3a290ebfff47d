//! Where a reader puts what it reads from a line.

use std::borrow::Cow;

use model::{MetricMetadata, Timestamp};

/// A series' labels as a reader found them: in any order, unchecked.
pub type Pairs<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// Why a line is not taken.
#[derive(Debug)]
pub enum Refusal {
    /// This line alone; the rest is read.
    Line(String),
    /// Nothing more can be taken.
    Stop(anyhow::Error),
}

impl Refusal {
    /// For a line, with a text.
    pub fn line(why: impl Into<String>) -> Self {
        Self::Line(why.into())
    }
}

/// Takes what readers read.
pub trait Sink {
    /// The samples that follow are of this series.
    ///
    /// # Errors
    /// Labels that cannot be stored, or a series that may not be added.
    fn series(&mut self, pairs: &mut Pairs<'_>) -> Result<(), Refusal>;

    /// A sample of the series named last.
    ///
    /// # Errors
    /// A time that cannot be; a store that does not write.
    fn sample(&mut self, at: Timestamp, value: f64) -> Result<(), Refusal>;

    /// What a metric is.
    fn describe(&mut self, metric: &str, metadata: &MetricMetadata);
}
