//! The samples of one series: numbers in columns, and beside them native histograms and the times at which counters began. Most series
//! have numbers alone.

use std::sync::Arc;

use model::{Columns, Histogram, Timestamp, is_stale};

use super::window::Window;

/// A native histogram and its time.
pub(super) type Stamped = (Timestamp, Arc<Histogram>);

/// All that a series has, in time order.
#[derive(Default)]
pub(super) struct Samples {
    pub(super) columns: Columns,
    pub(super) histograms: Vec<Stamped>,
    /// When the counters of the numbers began, one a number; empty where nobody said.
    pub(super) starts: Vec<Option<Timestamp>>,
    /// When those of the histograms began, one a histogram; empty where nobody said.
    pub(super) histogram_starts: Vec<Option<Timestamp>>,
}

impl Samples {
    pub(super) fn clear(&mut self) {
        self.columns.clear();
        self.histograms.clear();
        self.starts.clear();
        self.histogram_starts.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.columns.is_empty() && self.histograms.is_empty()
    }

    /// All of them as one window.
    pub(super) fn whole(&self) -> Window<'_> {
        Window {
            times: &self.columns.timestamps,
            values: &self.columns.values,
            histograms: &self.histograms,
            starts: &self.starts,
            histogram_starts: &self.histogram_starts,
            start: i64::MIN,
            end: i64::MAX,
        }
    }

    /// Forgets stale markers of both kinds: range vectors hold none.
    pub(super) fn drop_stale(&mut self) {
        // No branch depends on the values: nearly always all are looked at.
        if self.columns.values.iter().fold(false, |any, value| any | is_stale(*value)) {
            let gone: Vec<bool> = self.columns.values.iter().map(|value| is_stale(*value)).collect();
            retain(&mut self.columns.timestamps, &gone);
            retain(&mut self.columns.values, &gone);
            retain(&mut self.starts, &gone);
        }
        if self.histograms.iter().any(|(_, histogram)| histogram.is_stale()) {
            let gone: Vec<bool> = self.histograms.iter().map(|(_, histogram)| histogram.is_stale()).collect();
            retain(&mut self.histograms, &gone);
            retain(&mut self.histogram_starts, &gone);
        }
    }

    /// The last sample of either kind at or before a time.
    pub(super) fn last_at(&self, time: i64, cursor: &mut Cursor) -> Option<Last<'_>> {
        let times = &self.columns.timestamps;
        while times.get(cursor.numbers).is_some_and(|sample| sample.as_millis() <= time) {
            cursor.numbers += 1;
        }
        while self.histograms.get(cursor.histograms).is_some_and(|(sample, _)| sample.as_millis() <= time) {
            cursor.histograms += 1;
        }
        let number = cursor.numbers.checked_sub(1);
        let histogram = cursor.histograms.checked_sub(1);
        match (number, histogram) {
            (Some(at), other) if other.is_none_or(|other| self.histograms[other].0 < times[at]) => {
                let start = self.starts.get(at).copied().flatten();
                Some(Last { time: times[at], start, value: Either::Number(self.columns.values[at]) })
            }
            (_, Some(at)) => {
                let (time, histogram) = &self.histograms[at];
                let start = self.histogram_starts.get(at).copied().flatten();
                Some(Last { time: *time, start, value: Either::Histogram(histogram) })
            }
            _ => None,
        }
    }
}

/// How far [`Samples::last_at`] has come; times only grow.
#[derive(Clone, Copy, Default)]
pub(super) struct Cursor {
    numbers: usize,
    histograms: usize,
}

/// A sample that was looked for.
pub(super) struct Last<'s> {
    pub(super) time: Timestamp,
    pub(super) start: Option<Timestamp>,
    pub(super) value: Either<'s>,
}

pub(super) enum Either<'s> {
    Number(f64),
    Histogram(&'s Arc<Histogram>),
}

impl Last<'_> {
    pub(super) fn is_stale(&self) -> bool {
        match self.value {
            Either::Number(value) => is_stale(value),
            Either::Histogram(histogram) => histogram.is_stale(),
        }
    }
}

fn retain<T>(all: &mut Vec<T>, gone: &[bool]) {
    let mut at = 0;
    all.retain(|_| {
        at += 1;
        !gone[at - 1]
    });
}
