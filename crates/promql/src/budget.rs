//! The account of what a query holds in memory, and the columns that are charged to it.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use model::{Histogram, is_stale, stale_nan};

use crate::error::QueryError;

/// Counts points held by one query. Shared by its columns, which give back what they took when they go.
#[derive(Debug)]
pub(crate) struct Budget {
    held: AtomicUsize,
    peak: AtomicUsize,
    max: usize,
}

impl Budget {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { held: AtomicUsize::new(0), peak: AtomicUsize::new(0), max })
    }

    pub(crate) fn peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }

    /// Takes `points`, or refuses and takes nothing.
    pub(crate) fn take(self: &Arc<Self>, points: usize) -> Result<Charge, QueryError> {
        let mut charge = Charge { budget: Arc::clone(self), points: 0 };
        charge.grow_to(points)?;
        Ok(charge)
    }
}

/// A share of the budget; given back on drop.
#[derive(Debug)]
pub(crate) struct Charge {
    budget: Arc<Budget>,
    points: usize,
}

impl Charge {
    /// Holds at least `points` from now on.
    pub(crate) fn grow_to(&mut self, points: usize) -> Result<(), QueryError> {
        let Some(more) = points.checked_sub(self.points).filter(|more| *more > 0) else {
            return Ok(());
        };
        let before = self.budget.held.fetch_add(more, Ordering::Relaxed);
        let held = before.saturating_add(more);
        if held > self.budget.max {
            self.budget.held.fetch_sub(more, Ordering::Relaxed);
            return Err(QueryError::TooManySamples);
        }
        self.budget.peak.fetch_max(held, Ordering::Relaxed);
        self.points = points;
        Ok(())
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.held.fetch_sub(self.points, Ordering::Relaxed);
    }
}

/// What stands in a column where a step has no value. No result is ever the stale marker: selectors leave it out, and
/// arithmetic makes quiet NaNs only.
pub(crate) const ABSENT: f64 = stale_nan();

/// Whether a column has a value here.
pub(crate) fn is_present(value: f64) -> bool {
    !is_stale(value)
}

/// What stands in a column's values where a step has a native histogram, so that the step counts as present.
const HISTOGRAM: f64 = f64::NAN;

/// Points in the budget that a histogram weighs.
pub(crate) fn weight(histogram: &Histogram) -> usize {
    histogram.weight_bytes().div_ceil(size_of::<f64>()) + 2
}

/// One value a step, charged to the query's budget: a number, or a native histogram.
///
/// Seen as a slice it holds the numbers, [`ABSENT`], and some other NaN where a histogram stands. Whoever computes with the numbers asks first
/// whether there are histograms ([`Column::has_histograms`]); most columns have none, and then there is no room for any.
#[derive(Debug)]
pub(crate) struct Column {
    values: Vec<f64>,
    histograms: Option<Box<[Option<Arc<Histogram>>]>>,
    charge: Charge,
}

/// What a step has.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Held<'c> {
    Absent,
    Number(f64),
    Histogram(&'c Arc<Histogram>),
}

impl Column {
    /// A column of equal values.
    pub(crate) fn filled(budget: &Arc<Budget>, value: f64, steps: usize) -> Result<Self, QueryError> {
        let charge = budget.take(steps)?;
        Ok(Self { values: vec![value; steps], histograms: None, charge })
    }

    /// Whether any step may have a histogram.
    pub(crate) fn has_histograms(&self) -> bool {
        self.histograms.is_some()
    }

    /// The histogram of a step.
    pub(crate) fn histogram(&self, step: usize) -> Option<&Arc<Histogram>> {
        let histograms = self.histograms.as_ref()?;
        // Whoever drops a step's value need not know of histograms.
        histograms[step].as_ref().filter(|_| is_present(self.values[step]))
    }

    /// What a step has.
    pub(crate) fn held(&self, step: usize) -> Held<'_> {
        match self.histogram(step) {
            Some(histogram) => Held::Histogram(histogram),
            None if is_present(self.values[step]) => Held::Number(self.values[step]),
            None => Held::Absent,
        }
    }

    /// Puts a number, or [`ABSENT`], in place of what a step has.
    pub(crate) fn set(&mut self, step: usize, value: f64) {
        self.values[step] = value;
        if let Some(histograms) = &mut self.histograms {
            histograms[step] = None;
        }
    }

    /// Puts a histogram in place of what a step has.
    pub(crate) fn set_histogram(&mut self, step: usize, histogram: Arc<Histogram>) -> Result<(), QueryError> {
        let mut more = weight(&histogram);
        if self.histograms.is_none() {
            more += self.values.len();
        }
        self.charge.grow_to(self.charge.points.saturating_add(more))?;
        let empty = || vec![None; self.values.len()].into_boxed_slice();
        self.histograms.get_or_insert_with(empty)[step] = Some(histogram);
        self.values[step] = HISTOGRAM;
        Ok(())
    }

    /// Puts what a step of another column has in place of what one here has.
    pub(crate) fn copy(&mut self, step: usize, from: &Self, from_step: usize) -> Result<(), QueryError> {
        match from.histogram(from_step) {
            Some(histogram) => self.set_histogram(step, Arc::clone(histogram)),
            None => {
                self.set(step, from.values[from_step]);
                Ok(())
            }
        }
    }

    /// Gives every step what the first has.
    pub(crate) fn repeat_first(&mut self) -> Result<(), QueryError> {
        let first = self.values[0];
        self.values.fill(first);
        if let Some(histogram) = self.histogram(0).cloned() {
            (1..self.values.len()).try_for_each(|step| self.set_histogram(step, Arc::clone(&histogram)))?;
        }
        Ok(())
    }

    /// Forgets the histograms; says whether there was any.
    pub(crate) fn drop_histograms(&mut self) -> bool {
        let Some(histograms) = self.histograms.take() else {
            return false;
        };
        let mut any = false;
        for (_, value) in histograms.iter().zip(&mut self.values).filter(|(histogram, _)| histogram.is_some())
        {
            any |= is_present(*value);
            *value = ABSENT;
        }
        any
    }

    /// A column without any value.
    pub(crate) fn absent(budget: &Arc<Budget>, steps: usize) -> Result<Self, QueryError> {
        Self::filled(budget, ABSENT, steps)
    }

    /// Charges bytes that were made for this column's series beside its points, such as a new label.
    pub(crate) fn weigh(&mut self, bytes: usize) -> Result<(), QueryError> {
        let points = self.charge.points.saturating_add(bytes.div_ceil(size_of::<f64>()));
        self.charge.grow_to(points)
    }

    /// Whether any step has anything.
    pub(crate) fn has_any(&self) -> bool {
        self.values.iter().any(|value| is_present(*value))
    }

    /// Replaces each number; there must be no histogram.
    pub(crate) fn map(&mut self, mut change: impl FnMut(f64) -> f64) {
        for value in self.values.iter_mut().filter(|value| is_present(**value)) {
            *value = change(*value);
        }
    }
}

impl Deref for Column {
    type Target = [f64];

    fn deref(&self) -> &[f64] {
        &self.values
    }
}

impl DerefMut for Column {
    fn deref_mut(&mut self) -> &mut [f64] {
        &mut self.values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_is_given_back_and_the_peak_stays() {
        let budget = Budget::new(10);
        let first = Column::absent(&budget, 6).expect("6 of 10");
        assert!(Column::absent(&budget, 5).is_err(), "11 of 10");
        drop(first);
        assert!(Column::absent(&budget, 10).is_ok());
        assert_eq!(budget.peak(), 10);
    }

    #[test]
    fn a_huge_wish_takes_nothing() {
        let budget = Budget::new(10);
        assert!(budget.take(usize::MAX).is_err());
        assert!(budget.take(10).is_ok());
    }
}
