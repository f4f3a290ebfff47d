//! Windows: the samples of a range selector or subquery that each step looks at.
//!
//! Each series is decoded once; two pointers slide over it as the steps go on. The left end of a window is open: a window of `r` at
//! `t` holds the samples in `(t - r, t]`.

use model::{Columns, Labels, Timestamp, is_stale};

use super::select::{Reader, Reference};
use super::series::{Series, Stream};
use super::{Counted, Query, Result, Steps};
use crate::ast::{Edge, Expr, Kind, RangeSelector, Subquery};
use crate::budget::is_present;
use crate::error::QueryError;

/// The samples one step looks at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window<'w> {
    pub(super) times: &'w [Timestamp],
    pub(super) values: &'w [f64],
    /// The open left end, in milliseconds.
    pub(super) start: i64,
    /// The right end, which belongs to the window.
    pub(super) end: i64,
}

impl Window<'_> {
    pub(super) fn range_seconds(&self) -> f64 {
        (self.end - self.start) as f64 / 1000.0
    }
}

/// Series whose windows are looked at one after the other.
pub(super) struct Windows<'q> {
    query: &'q Query<'q>,
    origin: Origin<'q>,
    reference: Reference,
    range: i64,
    edge: Edge,
    counted: Counted,
    /// The samples in the last window that was asked for.
    from: usize,
    to: usize,
}

enum Origin<'q> {
    Selector(Reader<'q>),
    Subquery { stream: Stream<'q>, steps: Steps, current: Option<Series>, samples: Columns },
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
        let reader = self.reader(&range.selector.matchers, from, reference.last().saturating_add(after))?;
        let origin = Origin::Selector(reader);
        let counted = self.looked_at.place(steps);
        Ok(Windows { query: self, origin, reference, range: millis, edge, counted, from: 0, to: 0 })
    }

    fn subquery_windows(&'q self, subquery: &'q Subquery, steps: Steps) -> Result<Windows<'q>> {
        let reference = self.reference(&subquery.shift, steps)?;
        let range = self.positive(&subquery.range)?;
        let step = match &subquery.step {
            Some(step) => self.positive(step)?,
            None => i64::try_from(self.options.subquery_step.as_millis()).unwrap_or(i64::MAX).max(1),
        };
        let inner = inner_steps(&reference, range, step);
        let stream: Stream<'q> =
            if inner.count == 0 { Box::new(std::iter::empty()) } else { self.vector(&subquery.expr, inner)? };
        let origin = Origin::Subquery { stream, steps: inner, current: None, samples: Columns::default() };
        let counted = self.looked_at.place(steps);
        Ok(Windows { query: self, origin, reference, range, edge: Edge::Open, counted, from: 0, to: 0 })
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
        (self.from, self.to) = (0, 0);
        match &mut self.origin {
            Origin::Selector(reader) => loop {
                if !reader.advance(self.query)? {
                    return Ok(false);
                }
                drop_stale(&mut reader.columns);
                if !reader.columns.is_empty() {
                    return Ok(true);
                }
            },
            Origin::Subquery { stream, steps, current, samples } => {
                *current = stream.next().transpose()?;
                samples.clear();
                let Some(series) = current else {
                    return Ok(false);
                };
                let points = steps.iter().zip(series.points.iter()).filter(|(_, value)| is_present(**value));
                points.for_each(|(time, value)| samples.push(Timestamp::from_millis(time), *value));
                Ok(true)
            }
        }
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
        self.reference.is_fixed()
    }

    fn samples(&self) -> &Columns {
        match &self.origin {
            Origin::Selector(reader) => &reader.columns,
            Origin::Subquery { samples, .. } => samples,
        }
    }

    /// The window of a step; steps must be asked for in ascending order.
    pub(super) fn window(&mut self, index: usize) -> Window<'_> {
        let end = self.reference.at(index);
        let start = end.saturating_sub(self.range);
        let (mut from, mut to) = (self.from, self.to);
        let times = &self.samples().timestamps;
        while times.get(to).is_some_and(|time| time.as_millis() <= end) {
            to += 1;
        }
        while from < to && times[from].as_millis() <= start {
            from += 1;
        }
        (self.from, self.to) = (from, to);
        self.query.looked_at.add(self.counted, self.is_fixed(), index, to - from);
        let samples = self.samples();
        Window { times: &samples.timestamps[from..to], values: &samples.values[from..to], start, end }
    }

    /// The window of a step with the samples around it, for selectors that look beyond their edges: those in
    /// `(start - lookback, end + lookback]`.
    pub(super) fn wide_window(&self, index: usize, lookback: i64, ahead: bool) -> Window<'_> {
        let end = self.reference.at(index);
        let start = end.saturating_sub(self.range);
        let samples = self.samples();
        let until = if ahead { end.saturating_add(lookback) } else { end };
        let from =
            samples.timestamps.partition_point(|time| time.as_millis() <= start.saturating_sub(lookback));
        let to = samples.timestamps.partition_point(|time| time.as_millis() <= until);
        let to = to.max(from);
        self.query.looked_at.add(self.counted, self.is_fixed(), index, to - from);
        Window { times: &samples.timestamps[from..to], values: &samples.values[from..to], start, end }
    }
}

/// Range vectors hold no stale markers.
pub(super) fn drop_stale(columns: &mut Columns) {
    if !columns.values.iter().any(|value| is_stale(*value)) {
        return;
    }
    let mut kept = 0;
    for at in 0..columns.len() {
        if !is_stale(columns.values[at]) {
            columns.values[kept] = columns.values[at];
            columns.timestamps[kept] = columns.timestamps[at];
            kept += 1;
        }
    }
    columns.values.truncate(kept);
    columns.timestamps.truncate(kept);
}
