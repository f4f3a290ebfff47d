//! What a query may do and how far it may go.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::error::Interrupt;

/// Asked now and then while a query runs; an answer ends it.
pub type InterruptCheck = Arc<dyn Fn() -> Option<Interrupt> + Send + Sync>;

/// Parts of the language that Prometheus has behind feature flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// `limitk`, `limit_ratio`, `sort_by_label`, `mad_over_time`, … (`promql-experimental-functions`).
    pub functions: bool,
    /// Arithmetic in durations: `[5m * 2]`, `offset step()` (`promql-duration-expr`).
    pub durations: bool,
    /// `anchored` and `smoothed` range selectors (`promql-extended-range-selectors`).
    pub extended_ranges: bool,
    /// `fill`, `fill_left`, `fill_right` (`promql-binop-fill-modifiers`).
    pub fill: bool,
    /// The labels `__type__` and `__unit__` go where the metric name goes (`type-and-unit-labels`).
    pub type_and_unit_labels: bool,
    /// Counters are known to begin where their samples say so; `start_timestamp()` shows it.
    pub start_timestamps: bool,
    /// Metric names are dropped at the end and not at once (`promql-delayed-name-removal`).
    pub delayed_name_removal: bool,
}

impl Features {
    /// Everything on.
    pub const ALL: Self = Self {
        functions: true,
        durations: true,
        extended_ranges: true,
        fill: true,
        type_and_unit_labels: true,
        start_timestamps: true,
        delayed_name_removal: true,
    };
}

/// Experimental functions only: they change no other query.
impl Default for Features {
    fn default() -> Self {
        Self {
            functions: true,
            durations: false,
            extended_ranges: false,
            fill: false,
            type_and_unit_labels: false,
            start_timestamps: false,
            delayed_name_removal: false,
        }
    }
}

/// Threads that queries may use beside their own; clones share them. By default there are none.
#[derive(Clone, Debug, Default)]
pub struct Threads {
    free: Arc<AtomicUsize>,
    most: usize,
}

impl Threads {
    /// At most so many at one time, for all queries together.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { free: Arc::new(AtomicUsize::new(most)), most }
    }

    /// Whether there are any, free or not.
    pub(crate) fn any(&self) -> bool {
        self.most > 0
    }

    /// As many as are free, at most so many; they are given back on drop.
    pub(crate) fn take(&self, most: usize) -> Taken<'_> {
        let mut count = 0;
        let _ = self.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free| {
            count = free.min(most);
            Some(free - count)
        });
        Taken { threads: self, count }
    }
}

/// Threads in use.
pub(crate) struct Taken<'t> {
    threads: &'t Threads,
    count: usize,
}

impl Taken<'_> {
    pub(crate) fn count(&self) -> usize {
        self.count
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.threads.free.fetch_add(self.count, Ordering::Relaxed);
    }
}

/// How a query is evaluated, and its limits.
#[derive(Clone)]
pub struct Options {
    /// How far back an instant selector looks for its sample; the far end does not count.
    pub lookback: Duration,
    /// Step of a subquery that names none.
    pub subquery_step: Duration,
    /// Samples and intermediate points that may be held at one time; about 8 to 16 bytes each.
    pub samples_max: usize,
    /// Points a series in the answer to a range query.
    pub steps_max: usize,
    /// Series that all selectors of a query may touch in all.
    pub series_max: usize,
    /// Ends the query from outside: a deadline, a client that left.
    pub interrupt: Option<InterruptCheck>,
    /// Parts of the language that are not yet settled.
    pub features: Features,
    /// Whether the answer says how many samples each step looked at; off by default.
    pub counts_samples: bool,
    /// What may read series beside the query's own thread. The answer is the same with and without.
    pub threads: Threads,
}

/// Prometheus' defaults: 5 minutes, 1 minute, 50 million samples, 11,000 points; 10 million series.
impl Default for Options {
    fn default() -> Self {
        Self {
            lookback: Duration::from_secs(300),
            subquery_step: Duration::from_secs(60),
            samples_max: 50_000_000,
            steps_max: 11_000,
            series_max: 10_000_000,
            interrupt: None,
            features: Features::default(),
            counts_samples: false,
            threads: Threads::default(),
        }
    }
}
