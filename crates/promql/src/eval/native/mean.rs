//! Sums and means of histograms.

use std::sync::Arc;

use model::{Histogram, Sums};

use super::Remarks;

/// A running sum or mean. Histograms of custom and of exponential buckets have none together.
#[derive(Clone, Debug)]
pub(in crate::eval) struct Accumulated {
    sums: Sums,
    count: f64,
    /// The sum would overflow: `sums` holds the mean itself.
    incremental: bool,
    mean: bool,
    incompatible: bool,
}

impl Accumulated {
    /// Begins with one; `mean` says whether the mean is wanted in the end.
    pub(in crate::eval) fn new(first: &Histogram, mean: bool) -> Self {
        Self { sums: Sums::new(first), count: 1.0, incremental: false, mean, incompatible: false }
    }

    pub(in crate::eval) fn add(&mut self, more: &Histogram) {
        if self.incompatible {
            return;
        }
        self.count += 1.0;
        if !self.mean {
            self.incompatible = !self.sums.add(more);
            return;
        }
        if !self.incremental {
            let mut next = self.sums.clone();
            self.incompatible = !next.add(more);
            if !next.overflows() || self.sums.overflows() {
                self.sums = next;
                return;
            }
            self.incremental = true;
            self.sums.scale(1.0 / (self.count - 1.0));
        }
        self.sums.scale((self.count - 1.0) / self.count);
        self.incompatible = !self.sums.add(&more.clone().divided_by(self.count));
    }

    /// The sum or mean, and what is to be said about it.
    pub(in crate::eval) fn finish(self, remarks: Remarks<'_, '_>) -> Option<Arc<Histogram>> {
        if self.incompatible {
            remarks.mixed_schemas();
            return None;
        }
        if self.sums.resets_collide() {
            remarks.resets_collide("aggregation");
        }
        if self.sums.bounds_reconciled {
            remarks.bounds_reconciled("aggregation");
        }
        let total = self.sums.total();
        let divides = self.mean && !self.incremental;
        let result = if divides { total.divided_by(self.count) } else { total };
        Some(Arc::new(result.compacted()))
    }

    /// Points that it weighs in the budget.
    pub(in crate::eval) fn weight(histogram: &Histogram) -> usize {
        crate::budget::weight(histogram).saturating_mul(2)
    }
}
