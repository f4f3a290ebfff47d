//! How many samples each step of a query looks at, as Prometheus counts them: one for each series of an instant selector, those in the
//! window of a range selector or subquery; nothing within a subquery.

use std::cell::Cell;

use model::Timestamp;

use super::{Counted, Steps};

/// Counts, one a step; none where they are not asked for.
#[derive(Debug, Default)]
pub(super) struct LookedAt {
    steps: Option<Steps>,
    each: Vec<Cell<u64>>,
    all: Cell<u64>,
}

impl LookedAt {
    pub(super) fn new(steps: Steps) -> Self {
        Self { steps: Some(steps), each: vec![Cell::new(0); steps.count], all: Cell::new(0) }
    }

    /// Where what these steps look at is counted; [`Counted::Never`] where nothing is.
    pub(super) fn place(&self, steps: Steps) -> Counted {
        if self.steps.is_some() { steps.counted } else { Counted::Never }
    }

    /// Adds what one step looks at; `fixed` says that it is the same at each, of which the first counts for all.
    pub(super) fn add(&self, place: Counted, fixed: bool, index: usize, samples: usize) {
        let counter = match place {
            Counted::Never => return,
            Counted::EachStep if fixed && index > 0 => return,
            Counted::EachStep if !fixed => self.each.get(index),
            Counted::EachStep | Counted::AllSteps => Some(&self.all),
        };
        if let Some(counter) = counter {
            counter.set(counter.get().saturating_add(samples as u64));
        }
    }

    /// The counts with their times.
    pub(super) fn into_steps(self) -> Vec<(Timestamp, u64)> {
        let Some(steps) = self.steps else { return Vec::new() };
        let count = |(time, each): (i64, Cell<u64>)| {
            (Timestamp::from_millis(time), each.get().saturating_add(self.all.get()))
        };
        steps.iter().zip(self.each).map(count).collect()
    }
}
