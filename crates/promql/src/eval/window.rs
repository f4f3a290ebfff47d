//! Windows: the samples of a range selector or subquery that each step looks at.
//!
//! Each series is decoded once; two pointers slide over it as the steps go on. The left end of a window is open: a window of `r` at
//! `t` holds the samples in `(t - r, t]`.

use std::sync::Arc;

use model::{Columns, Histogram, Labels, ResetHint, Timestamp};

use super::samples::{Samples, Stamped};
use super::select::{Reader, Reference};
use super::series::{Series, Stream};
use super::{Counted, Query, Result, Steps};
use crate::ast::{Edge, Expr, Kind, RangeSelector, Subquery};
use crate::budget::Held;
use crate::error::QueryError;

/// The samples one step looks at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window<'w> {
    pub(super) times: &'w [Timestamp],
    pub(super) values: &'w [f64],
    pub(super) histograms: &'w [Stamped],
    /// When the counters of the numbers began, one a number; empty where nobody said.
    pub(super) starts: &'w [Option<Timestamp>],
    /// The same for the histograms.
    pub(super) histogram_starts: &'w [Option<Timestamp>],
    /// The open left end, in milliseconds.
    pub(super) start: i64,
    /// The right end, which belongs to the window.
    pub(super) end: i64,
}

impl<'w> Window<'w> {
    /// A window of numbers alone.
    pub(super) fn of_numbers(times: &'w [Timestamp], values: &'w [f64], (start, end): (i64, i64)) -> Self {
        Self { times, values, histograms: &[], starts: &[], histogram_starts: &[], start, end }
    }

    /// The last two numbers and the last two histograms.
    pub(super) fn last_two(&self) -> Self {
        fn tail<T>(all: &[T]) -> &[T] {
            &all[all.len().saturating_sub(2)..]
        }
        Self {
            times: tail(self.times),
            values: tail(self.values),
            histograms: tail(self.histograms),
            starts: tail(self.starts),
            histogram_starts: tail(self.histogram_starts),
            ..*self
        }
    }

    /// Samples of either kind.
    pub(super) fn len(&self) -> usize {
        self.values.len() + self.histograms.len()
    }

    /// Whether there is nothing but numbers of which no start is known.
    pub(super) fn is_plain(&self) -> bool {
        self.histograms.is_empty() && self.starts.is_empty()
    }

    pub(super) fn range_seconds(&self) -> f64 {
        (self.end - self.start) as f64 / 1000.0
    }
}

/// Where the windows of the steps lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    reference: Reference,
    range: i64,
}

impl Frame {
    /// The open left end of a step's window and its right end.
    pub(super) fn edges(&self, step: usize) -> (i64, i64) {
        let end = self.reference.at(step);
        (end.saturating_sub(self.range), end)
    }

    /// Windows of a range at each of a number of steps.
    #[cfg(test)]
    pub(super) fn every(step: i64, range: i64) -> Self {
        Self { reference: Reference::every(step), range }
    }
}

/// Series whose windows are looked at one after the other.
pub(super) struct Windows<'q> {
    query: &'q Query<'q>,
    origin: Origin<'q>,
    frame: Frame,
    edge: Edge,
    counted: Counted,
    /// The samples in the last window that was asked for.
    from: usize,
    to: usize,
    /// The histograms in it.
    histograms: (usize, usize),
    /// Its edges.
    edges: (i64, i64),
}

enum Origin<'q> {
    Selector(Reader<'q>),
    Subquery { stream: Stream<'q>, steps: Steps, current: Option<Series>, samples: Samples },
}

impl<'q> Query<'q> {
    /// The windows of a range selector or subquery.
    pub(super) fn windows(&'q self, expr: &'q Expr, steps: Steps) -> Result<Windows<'q>> {
        match &expr.bare().kind {
            Kind::Range(range) => self.selector_windows(range, steps),
            Kind::Subquery(subquery) => self.subquery_windows(subquery, steps),
            _ => unreachable!("types are checked: only selectors and subqueries are range vectors"),
        }
    }

    fn positive(&self, duration: &crate::ast::Duration) -> Result<i64> {
        match self.resolve(duration)? {
            millis if millis > 0 => Ok(millis),
            _ => Err(QueryError::execution("duration must be greater than 0")),
        }
    }

    fn selector_windows(&'q self, range: &'q RangeSelector, steps: Steps) -> Result<Windows<'q>> {
        let reference = self.reference(&range.selector.shift, steps)?;
        let millis = self.positive(&range.range)?;
        let edge = range.selector.edge;
        let lookback = self.lookback();
        let before = if edge == Edge::Open { 0 } else { lookback };
        let after = if edge == Edge::Smoothed { lookback } else { 0 };
        let from = reference.first().saturating_sub(millis).saturating_sub(before).saturating_add(1);
        let to = reference.last().saturating_add(after);
        let reader = self.reader_in_parts(&range.selector.matchers, from, to)?;
        let origin = Origin::Selector(reader);
        let counted = self.looked_at.place(steps);
        Ok(Windows {
            query: self,
            origin,
            frame: Frame { reference, range: millis },
            edge,
            counted,
            from: 0,
            to: 0,
            histograms: (0, 0),
            edges: (0, 0),
        })
    }

    fn subquery_windows(&'q self, subquery: &'q Subquery, steps: Steps) -> Result<Windows<'q>> {
        let reference = self.reference(&subquery.shift, steps)?;
        let range = self.positive(&subquery.range)?;
        let step = match &subquery.step {
            Some(step) => self.positive(step)?,
            None => i64::try_from(self.options.subquery_step.as_millis()).unwrap_or(i64::MAX).max(1),
        };
        let inner = inner_steps(&reference, range, step);
        let stream: Stream<'q> = if inner.count == 0 {
            Box::new(std::iter::empty())
        } else {
            self.vector_detecting(&subquery.expr, inner, false)?
        };
        let origin = Origin::Subquery { stream, steps: inner, current: None, samples: Samples::default() };
        let counted = self.looked_at.place(steps);
        Ok(Windows {
            query: self,
            origin,
            frame: Frame { reference, range },
            edge: Edge::Open,
            counted,
            from: 0,
            to: 0,
            histograms: (0, 0),
            edges: (0, 0),
        })
    }
}

/// A subquery is evaluated at multiples of its step, whatever the time of the query.
fn inner_steps(reference: &Reference, range: i64, step: i64) -> Steps {
    let open = reference.first().saturating_sub(range);
    let first = open.div_euclid(step).saturating_add(1).saturating_mul(step);
    let span = reference.last().checked_sub(first).filter(|span| *span >= 0);
    let count = span.map_or(0, |span| usize::try_from(span / step).unwrap_or(usize::MAX).saturating_add(1));
    Steps { start: first, step, count, counted: Counted::Never }
}

impl<'q> Windows<'q> {
    /// Moves to the next series that has samples.
    pub(super) fn advance(&mut self) -> Result<bool> {
        (self.from, self.to, self.histograms) = (0, 0, (0, 0));
        match &mut self.origin {
            Origin::Selector(reader) => loop {
                if !reader.advance(self.query)? {
                    return Ok(false);
                }
                reader.samples.drop_stale();
                if !reader.samples.is_empty() {
                    return Ok(true);
                }
            },
            Origin::Subquery { stream, steps, current, samples } => {
                *current = stream.next().transpose()?;
                samples.clear();
                let Some(series) = current else {
                    return Ok(false);
                };
                for (at, time) in steps.iter().enumerate() {
                    let time = Timestamp::from_millis(time);
                    match series.points.held(at) {
                        Held::Absent => {}
                        Held::Number(value) => samples.columns.push(time, value),
                        Held::Histogram(histogram) => samples.histograms.push((time, unhinted(histogram))),
                    }
                }
                Ok(true)
            }
        }
    }

    /// As [`Windows::advance`], within the part of a selector's series that was begun; false at its end.
    pub(super) fn advance_in_part(&mut self) -> Result<bool> {
        (self.from, self.to, self.histograms) = (0, 0, (0, 0));
        let Origin::Selector(reader) = &mut self.origin else { return self.advance() };
        while reader.advance_in_part(self.query)? {
            reader.samples.drop_stale();
            if !reader.samples.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The reader of a selector's series; a subquery has none.
    pub(super) fn reader(&mut self) -> Option<&mut Reader<'q>> {
        match &mut self.origin {
            Origin::Selector(reader) => Some(reader),
            Origin::Subquery { .. } => None,
        }
    }

    /// Whether is counted what steps look at.
    pub(super) fn counts(&self) -> bool {
        self.counted != Counted::Never
    }

    pub(super) fn labels(&self) -> &Labels {
        match &self.origin {
            Origin::Selector(reader) => reader.labels(),
            Origin::Subquery { current, .. } => {
                &current.as_ref().expect("advance() said there is one").labels
            }
        }
    }

    pub(super) fn drop_name(&self) -> bool {
        match &self.origin {
            Origin::Selector(_) => false,
            Origin::Subquery { current, .. } => current.as_ref().is_some_and(|series| series.drop_name),
        }
    }

    pub(super) fn edge(&self) -> Edge {
        self.edge
    }

    /// Whether every step looks at the same window.
    pub(super) fn is_fixed(&self) -> bool {
        self.frame.reference.is_fixed()
    }

    fn samples(&self) -> &Samples {
        match &self.origin {
            Origin::Selector(reader) => &reader.samples,
            Origin::Subquery { samples, .. } => samples,
        }
    }

    /// Where the windows lie.
    pub(super) fn frame(&self) -> &Frame {
        &self.frame
    }

    /// All samples of the series, where they are numbers of which no start is known.
    pub(super) fn plain(&self) -> Option<&Columns> {
        let samples = self.samples();
        let is_plain = samples.histograms.is_empty() && samples.starts.is_empty();
        is_plain.then_some(&samples.columns)
    }

    /// Counts what steps looked at, from the first one on.
    pub(super) fn count_looked_at(&self, each: impl Iterator<Item = usize>) {
        if self.counted == Counted::Never {
            return;
        }
        each.enumerate().for_each(|(at, samples)| {
            self.query.looked_at.add(self.counted, self.is_fixed(), at, samples);
        });
    }

    /// The window of a step; steps must be asked for in ascending order.
    pub(super) fn window(&mut self, index: usize) -> Window<'_> {
        self.slide(index);
        self.current()
    }

    /// Goes on to the window of a step.
    pub(super) fn slide(&mut self, index: usize) {
        let (start, end) = self.frame.edges(index);
        let samples = self.samples();
        let (from, to) = slide(self.from, self.to, (start, end), |at| samples.columns.timestamps.get(at));
        let (first, last) = self.histograms;
        let histograms =
            slide(first, last, (start, end), |at| samples.histograms.get(at).map(|(time, _)| time));
        (self.from, self.to, self.histograms, self.edges) = (from, to, histograms, (start, end));
        let looked_at = to - from + histograms.1 - histograms.0;
        self.query.looked_at.add(self.counted, self.is_fixed(), index, looked_at);
    }

    /// The window that was gone on to.
    pub(super) fn current(&self) -> Window<'_> {
        self.part((self.from, self.to), self.histograms, self.edges)
    }

    /// The window of a step with the samples around it, for selectors that look beyond their edges: those in
    /// `(start - lookback, end + lookback]`.
    pub(super) fn wide_window(&self, index: usize, lookback: i64, ahead: bool) -> Window<'_> {
        let (start, end) = self.frame.edges(index);
        let samples = self.samples();
        let after = start.saturating_sub(lookback);
        let until = if ahead { end.saturating_add(lookback) } else { end };
        let times = &samples.columns.timestamps;
        let from = times.partition_point(|time| time.as_millis() <= after);
        let to = times.partition_point(|time| time.as_millis() <= until).max(from);
        let first = samples.histograms.partition_point(|(time, _)| time.as_millis() <= after);
        let last = samples.histograms.partition_point(|(time, _)| time.as_millis() <= until).max(first);
        self.query.looked_at.add(self.counted, self.is_fixed(), index, to - from + last - first);
        self.part((from, to), (first, last), (start, end))
    }

    /// The samples between these places.
    fn part(
        &self,
        (from, to): (usize, usize),
        (first, last): (usize, usize),
        edges: (i64, i64),
    ) -> Window<'_> {
        let samples = self.samples();
        Window {
            times: &samples.columns.timestamps[from..to],
            values: &samples.columns.values[from..to],
            histograms: &samples.histograms[first..last],
            starts: samples.starts.get(from..to).unwrap_or_default(),
            histogram_starts: samples.histogram_starts.get(first..last).unwrap_or_default(),
            start: edges.0,
            end: edges.1,
        }
    }
}

/// A subquery may leave samples out, so that what their senders knew of resets holds no longer.
fn unhinted(histogram: &Arc<Histogram>) -> Arc<Histogram> {
    match histogram.reset {
        ResetHint::Reset | ResetHint::NotReset => {
            Arc::new(Histogram { reset: ResetHint::Unknown, ..Histogram::clone(histogram) })
        }
        ResetHint::Unknown | ResetHint::Gauge => Arc::clone(histogram),
    }
}

/// Moves both ends of a window on until it holds what lies in `(start, end]`.
pub(super) fn slide<'t>(
    mut from: usize,
    mut to: usize,
    (start, end): (i64, i64),
    time: impl Fn(usize) -> Option<&'t Timestamp>,
) -> (usize, usize) {
    while time(to).is_some_and(|time| time.as_millis() <= end) {
        to += 1;
    }
    while from < to && time(from).is_some_and(|time| time.as_millis() <= start) {
        from += 1;
    }
    (from, to)
}
