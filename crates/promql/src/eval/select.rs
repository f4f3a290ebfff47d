//! Instant selectors: the last sample of each series at each step, within the lookback.

use model::{Columns, Matcher, Selection, SeriesSet, Timestamp, is_stale};

use super::series::{Series, Stream};
use super::{Counted, Query, Result, Steps};
use crate::ast::{At, Edge, Selector, Shift};
use crate::budget::{ABSENT, Charge, Column, is_present};
use crate::error::QueryError;

/// What a selector shows of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Show {
    Value,
    /// Its time in seconds, for `timestamp()`.
    Time,
}

/// The times a selector looks at: those of the steps, moved by `offset` or fixed by `@`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reference {
    steps: Steps,
    fixed: Option<i64>,
    offset: i64,
}

impl Reference {
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
        selector: &'q Selector,
        steps: Steps,
        show: Show,
    ) -> Result<Stream<'q>> {
        if selector.edge != Edge::Open {
            return self.select_smoothed(selector, steps);
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
            latest(&reader.columns, reference, self.lookback(), show, &mut points[..distinct]);
            if reference.is_fixed() {
                let value = points[0];
                points.fill(value);
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
        let selection =
            Selection { matchers, start: Timestamp::from_millis(from), end: Timestamp::from_millis(to) };
        let set = self.source.select(&selection)?;
        Ok(Reader { set, columns: Columns::default(), charge: self.budget.take(0)? })
    }
}

/// Reads the series of a selection one by one into the same memory.
pub(super) struct Reader<'q> {
    set: Box<dyn SeriesSet + Send + 'q>,
    pub(super) columns: Columns,
    charge: Charge,
}

impl<'q> Reader<'q> {
    /// Decodes the next series that has samples.
    pub(super) fn advance(&mut self, query: &Query<'q>) -> Result<bool> {
        loop {
            query.check_interrupt()?;
            if !self.set.advance()? {
                return Ok(false);
            }
            query.count_series()?;
            self.set.read(&mut self.columns)?;
            self.charge.grow_to(self.columns.len())?;
            query.samples_read.set(query.samples_read.get() + self.columns.len() as u64);
            if !self.columns.is_empty() {
                return Ok(true);
            }
        }
    }

    pub(super) fn labels(&self) -> &model::Labels {
        self.set.labels()
    }
}

impl Query<'_> {
    fn count_series(&self) -> Result<()> {
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
