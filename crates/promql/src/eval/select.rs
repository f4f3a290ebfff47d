//! Instant selectors: the last sample of each series at each step, within the lookback.

use std::collections::VecDeque;
use std::sync::Arc;

use model::{Columns, Histogram, Matcher, ResetHint, Selection, Timestamp, is_stale};

use super::parallel::{PART_SERIES, Part};
use super::samples::{Cursor, Either, Samples, Stamped};
use super::series::{Series, Stream};
use super::{Counted, Query, Result, Steps};
use crate::annotation::Severity;
use crate::ast::{At, Edge, Expr, Selector, Shift};
use crate::budget::{ABSENT, Charge, Column, is_present, weight};
use crate::error::QueryError;

/// What a selector shows of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Show {
    Value,
    /// Its time in seconds, for `timestamp()`.
    Time,
    /// The same, of series that may have numbers only, for `info()`.
    TimeOfNumber,
    /// When its counter began, in seconds, for `start_timestamp()`; 0 where nobody said.
    Start,
}

/// The times a selector looks at: those of the steps, moved by `offset` or fixed by `@`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reference {
    steps: Steps,
    fixed: Option<i64>,
    offset: i64,
}

impl Reference {
    /// Steps from zero on.
    #[cfg(test)]
    pub(super) fn every(step: i64) -> Self {
        let steps = Steps { start: 0, step, count: usize::MAX, counted: Counted::Never };
        Self { steps, fixed: None, offset: 0 }
    }

    pub(super) fn at(&self, index: usize) -> i64 {
        self.fixed.unwrap_or_else(|| self.steps.at(index)).saturating_sub(self.offset)
    }

    pub(super) fn first(&self) -> i64 {
        self.at(0)
    }

    pub(super) fn last(&self) -> i64 {
        self.fixed.unwrap_or_else(|| self.steps.last()).saturating_sub(self.offset)
    }

    pub(super) fn is_fixed(&self) -> bool {
        self.fixed.is_some()
    }

    pub(super) fn steps(&self) -> Steps {
        self.steps
    }

    /// What is looked at from here by something that is itself looked at so.
    pub(super) fn then(self, inner: Self) -> Self {
        match inner.fixed {
            Some(_) => inner,
            None => Self { offset: self.offset.saturating_add(inner.offset), ..self },
        }
    }

    /// The distinct times: one where they are fixed.
    pub(super) fn count(&self) -> usize {
        if self.is_fixed() { 1 } else { self.steps.count }
    }
}

impl<'q> Query<'q> {
    pub(super) fn reference(&self, shift: &Shift, steps: Steps) -> Result<Reference> {
        let offset = match &shift.offset {
            Some(offset) => self.resolve(offset)?,
            None => 0,
        };
        let fixed = shift.at.map(|at| match at {
            At::Time(time) => time.as_millis(),
            At::Start => self.start,
            At::End => self.end,
        });
        Ok(Reference { steps, fixed, offset })
    }

    pub(super) fn resolve(&self, duration: &crate::ast::Duration) -> Result<i64> {
        let range = self.end.saturating_sub(self.start);
        duration.resolve(self.step, range).ok_or_else(|| QueryError::execution("duration out of range"))
    }

    pub(super) fn lookback(&self) -> i64 {
        i64::try_from(self.options.lookback.as_millis()).unwrap_or(i64::MAX)
    }

    pub(super) fn select_instant(
        &'q self,
        expr: &'q Expr,
        selector: &'q Selector,
        steps: Steps,
        show: Show,
    ) -> Result<Stream<'q>> {
        if selector.edge != Edge::Open {
            return self.select_smoothed(expr, selector, steps);
        }
        let reference = self.reference(&selector.shift, steps)?;
        self.select_at(&selector.matchers, reference, show)
    }

    /// The last sample of each series at each of these times.
    pub(super) fn select_at(
        &'q self,
        matchers: &[Matcher],
        reference: Reference,
        show: Show,
    ) -> Result<Stream<'q>> {
        let from = reference.first().saturating_sub(self.lookback()).saturating_add(1);
        let mut reader = self.reader(matchers, from, reference.last())?;
        Ok(Box::new(std::iter::from_fn(move || self.next_instant(&mut reader, &reference, show).transpose())))
    }

    fn next_instant(
        &self,
        reader: &mut Reader<'q>,
        reference: &Reference,
        show: Show,
    ) -> Result<Option<Series>> {
        while reader.advance(self)? {
            let mut points = Column::absent(&self.budget, reference.steps.count)?;
            let distinct = reference.count();
            let samples = &reader.samples;
            if show == Show::TimeOfNumber && !samples.histograms.is_empty() {
                let labels = reader.labels();
                let message = format!("this should be an info metric, with float samples: {labels}");
                return Err(QueryError::execution(message));
            }
            if samples.histograms.is_empty() && show != Show::Start {
                latest(&samples.columns, reference, self.lookback(), show, &mut points[..distinct]);
            } else {
                latest_of_both(samples, reference, self.lookback(), show, distinct, &mut points)?;
            }
            if reference.is_fixed() {
                points.repeat_first()?;
            }
            if points.has_any() {
                self.count_points(reference, &points);
                return Ok(Some(Series { labels: reader.labels().clone(), drop_name: false, points }));
            }
        }
        Ok(None)
    }

    /// Counts a sample for each step that has one.
    pub(super) fn count_points(&self, reference: &Reference, points: &[f64]) {
        let place = self.looked_at.place(reference.steps);
        if place == Counted::Never {
            return;
        }
        for (at, _) in points.iter().enumerate().filter(|(_, value)| is_present(**value)) {
            self.looked_at.add(place, reference.is_fixed(), at, 1);
        }
    }

    /// Opens a selection; both ends are inclusive.
    pub(super) fn reader(&'q self, matchers: &[Matcher], from: i64, to: i64) -> Result<Reader<'q>> {
        let parts = vec![self.source.select(&selection(matchers, from, to))?];
        self.reader_of(parts)
    }

    /// Opens a selection for several threads, where there are any. What only looks up one sample a series is not worth it: parts cost
    /// more than they save.
    pub(super) fn reader_in_parts(&'q self, matchers: &[Matcher], from: i64, to: i64) -> Result<Reader<'q>> {
        if !self.options.threads.any() {
            return self.reader(matchers, from, to);
        }
        let parts = self.source.select_parts(&selection(matchers, from, to), PART_SERIES)?;
        self.reader_of(parts)
    }

    fn reader_of(&'q self, parts: Vec<Part<'q>>) -> Result<Reader<'q>> {
        Ok(Reader {
            part: None,
            parts: parts.into(),
            stays: false,
            samples: Samples::default(),
            raw: Vec::new(),
            charge: self.budget.take(0)?,
            detects_resets: self.detects_resets.get(),
        })
    }
}

fn selection(matchers: &[Matcher], from: i64, to: i64) -> Selection<'_> {
    Selection { matchers, start: Timestamp::from_millis(from), end: Timestamp::from_millis(to) }
}

/// Reads the series of a selection one by one into the same memory.
pub(super) struct Reader<'q> {
    /// The part that is read.
    part: Option<Part<'q>>,
    /// Those behind it.
    parts: VecDeque<Part<'q>>,
    /// The part's current series is to be read, and not the next one.
    stays: bool,
    pub(super) samples: Samples,
    /// Histograms as the source has them.
    raw: Vec<(Timestamp, Arc<[u8]>)>,
    charge: Charge,
    /// Histograms without a hint get one from their counts.
    detects_resets: bool,
}

impl<'q> Reader<'q> {
    /// Decodes the next series that has samples.
    pub(super) fn advance(&mut self, query: &Query<'q>) -> Result<bool> {
        while self.is_in_part() || self.next_part() {
            if self.advance_in_part(query)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a part was begun and has not ended.
    pub(super) fn is_in_part(&self) -> bool {
        self.part.is_some()
    }

    /// Begins the next part; false where there is none.
    pub(super) fn next_part(&mut self) -> bool {
        (self.part, self.stays) = (self.parts.pop_front(), false);
        self.part.is_some()
    }

    /// Goes on with a part, from its current series on where it has `begun`.
    pub(super) fn resume(&mut self, part: Part<'q>, begun: bool) {
        (self.part, self.stays) = (Some(part), begun);
    }

    /// Parts that are not begun.
    pub(super) fn parts_left(&mut self) -> &mut VecDeque<Part<'q>> {
        &mut self.parts
    }

    /// Decodes the next series that has samples of the part; false at its end, where it is left.
    pub(super) fn advance_in_part(&mut self, query: &Query<'q>) -> Result<bool> {
        loop {
            query.check_interrupt()?;
            let stays = std::mem::take(&mut self.stays);
            let set = self.part.as_mut().expect("a part was begun");
            if !stays && !set.advance()? {
                self.part = None;
                return Ok(false);
            }
            query.count_series()?;
            set.read(&mut self.samples.columns)?;
            let mut held = self.samples.columns.len();
            set.read_histograms(&mut self.raw)?;
            self.samples.histograms.clear();
            if !self.raw.is_empty() {
                held += self.decode(query, held)?;
            }
            self.charge.grow_to(held)?;
            if query.options.features.start_timestamps {
                self.read_starts()?;
            }
            let read = self.samples.columns.len() + self.samples.histograms.len();
            query.samples_read.set(query.samples_read.get() + read as u64);
            if !self.samples.is_empty() {
                return Ok(true);
            }
        }
    }

    /// Decodes the histograms; gives what they weigh. One that cannot be read is left out, with a warning: whoever sent it must not be
    /// able to make every query fail.
    fn decode(&mut self, query: &Query<'q>, before: usize) -> Result<usize> {
        let mut held = 0;
        let labels = self.part.as_ref().expect("a part was begun").labels();
        for (time, bytes) in &self.raw {
            match Histogram::decode(bytes) {
                Ok(mut histogram) => {
                    if self.detects_resets {
                        hint_from_counts(&mut histogram, self.samples.histograms.last());
                    }
                    held += weight(&histogram);
                    self.charge.grow_to(before.saturating_add(held))?;
                    self.samples.histograms.push((*time, Arc::new(histogram)));
                }
                Err(error) => {
                    let message = format!("a native histogram of {labels} is left out: {error}");
                    query.annotations.borrow_mut().add(Severity::Warning, &message, (1, 1));
                }
            }
        }
        Ok(held)
    }

    fn read_starts(&mut self) -> Result<()> {
        let set = self.part.as_mut().expect("a part was begun");
        set.read_starts(&mut self.samples.starts)?;
        let starts = &mut self.samples.histogram_starts;
        starts.clear();
        // Only where every histogram was good do they lie side by side.
        if !self.raw.is_empty() && self.raw.len() == self.samples.histograms.len() {
            starts.extend(self.raw.iter().map(|(_, bytes)| Histogram::start_of(bytes)));
            if starts.iter().all(Option::is_none) {
                starts.clear();
            }
        }
        Ok(())
    }

    pub(super) fn labels(&self) -> &model::Labels {
        self.part.as_ref().expect("labels are asked for after an advance that found a series").labels()
    }
}

impl Query<'_> {
    pub(super) fn count_series(&self) -> Result<()> {
        let read = self.series_read.get() + 1;
        self.series_read.set(read);
        if read > self.options.series_max as u64 {
            return Err(QueryError::TooManySeries(self.options.series_max));
        }
        Ok(())
    }
}

/// The last sample at or before each time, if it is younger than the lookback and not stale.
fn latest(columns: &Columns, reference: &Reference, lookback: i64, show: Show, points: &mut [f64]) {
    let times = &columns.timestamps;
    let mut after = 0;
    for (index, point) in points.iter_mut().enumerate() {
        let time = reference.at(index);
        while times.get(after).is_some_and(|sample| sample.as_millis() <= time) {
            after += 1;
        }
        let Some(last) = after.checked_sub(1) else {
            continue;
        };
        let fresh = times[last].as_millis() > time.saturating_sub(lookback);
        *point = match columns.values[last] {
            value if !fresh || is_stale(value) => ABSENT,
            value if show == Show::Value => value,
            _ => times[last].as_seconds(),
        };
    }
}

/// The same where there are histograms among the samples, or their start is asked for.
fn latest_of_both(
    samples: &Samples,
    reference: &Reference,
    lookback: i64,
    show: Show,
    distinct: usize,
    points: &mut Column,
) -> Result<()> {
    let mut cursor = Cursor::default();
    for step in 0..distinct {
        let time = reference.at(step);
        let Some(last) = samples.last_at(time, &mut cursor) else {
            continue;
        };
        if last.time.as_millis() <= time.saturating_sub(lookback) || last.is_stale() {
            continue;
        }
        match (show, last.value) {
            (Show::Time | Show::TimeOfNumber, _) => points.set(step, last.time.as_seconds()),
            (Show::Start, _) => points.set(step, last.start.map_or(0.0, Timestamp::as_seconds)),
            (Show::Value, Either::Number(value)) => points.set(step, value),
            (Show::Value, Either::Histogram(histogram)) => {
                points.set_histogram(step, Arc::clone(histogram))?
            }
        }
    }
    Ok(())
}

/// Says whether a counter was reset, where its sender did not.
fn hint_from_counts(histogram: &mut Histogram, before: Option<&Stamped>) {
    let Some((_, before)) = before.filter(|(_, before)| !before.is_stale() && !before.is_gauge()) else {
        return;
    };
    if histogram.reset == ResetHint::Unknown && !histogram.is_stale() {
        histogram.reset = if histogram.falls_below(before) { ResetHint::Reset } else { ResetHint::NotReset };
    }
}
