//! What rules read, write and tell: the collector where they run in it, a test's own series elsewhere.

use std::sync::Arc;
use std::time::Duration;

use model::{Histogram, Labels, SeriesSource, Timestamp, stale_nan};
use promql::Options;

use super::file::Rule;
use super::group::Spec;
use crate::queries::Ticket;

/// A value that a rule made.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Made {
    /// With the metric name.
    pub labels: Labels,
    /// When it holds.
    pub at: Timestamp,
    /// The value; a stale marker where the series ends; 0 where there is a histogram.
    pub value: f64,
    /// The native histogram that stands in place of a value.
    pub histogram: Option<Arc<Histogram>>,
}

impl Made {
    /// The end of a series.
    pub(super) fn end(labels: Labels, at: Timestamp) -> Self {
        Self { labels, at, value: stale_nan(), histogram: None }
    }
}

/// How this collector is named outside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Named {
    /// Labels that templates know.
    pub labels: Labels,
    /// The address that links begin with, without a slash at its end.
    pub url: String,
}

/// Who sends what, and who is silent.
pub(super) trait Senders {
    /// Whether anyone is silent at all.
    fn any_silent(&self) -> bool;

    /// Whether a sender that is expected is silent now.
    fn is_silent(&self, sender: &str) -> bool;

    /// Whether anything came from a sender after this moment; of one that nobody expects to send, that is taken for granted.
    fn has_sent_since(&self, sender: &str, since: Timestamp) -> bool;

    /// Who writes each of these series.
    fn of(&self, series: &[Labels]) -> Vec<Vec<Arc<str>>>;
}

/// See the module's text.
pub(super) trait World: Send + Sync {
    /// Everything that there is; `None` until it can be read.
    fn source(&self) -> Option<Arc<dyn SeriesSource>>;

    /// Bounds of one rule's query.
    fn options(&self) -> Options;

    /// Begins a rule's queries at a moment: their bounds, and where there is a list of queries that run, the entry in it.
    fn begin(&self, _: &Spec, _: &Rule, _: Timestamp) -> (Options, Option<Ticket>) {
        (self.options(), None)
    }

    /// How the collector is named outside.
    fn named(&self) -> Named;

    /// Writes values; when it returns they can be read. The reason where some or all were not taken.
    fn write(&self, made: &[Made], now: Timestamp) -> Result<(), String>;

    /// Who is silent at a time.
    fn senders(&self, now: Timestamp) -> Box<dyn Senders + '_>;

    /// A clock that only goes forward, for how long things take.
    fn elapsed(&self) -> Duration;
}
