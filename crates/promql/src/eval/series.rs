//! Series with one value a step, streams of them, and what joins them when labels become equal.

use std::collections::HashMap;

use model::{Labels, METRIC_NAME};

use super::Result;
use crate::budget::{Column, is_present};
use crate::error::QueryError;

/// One series over all steps.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) labels: Labels,
    /// The metric name goes at the end of the query.
    pub(super) drop_name: bool,
    pub(super) points: Column,
}

impl Series {
    pub(super) fn unlabelled(points: Column) -> Self {
        Self { labels: Labels::empty(), drop_name: false, points }
    }
}

/// Series one after the other; no two have equal labels.
pub(super) type Stream<'q> = Box<dyn Iterator<Item = Result<Series>> + 'q>;

/// Labels that say of what type and unit a metric is, where that is enabled.
const METADATA: [&str; 2] = ["__type__", "__unit__"];

/// The labels without the metric name, and without type and unit where those belong to it.
pub(super) fn without_name(labels: &Labels, type_and_unit: bool) -> Labels {
    let goes = |name: &str| name == METRIC_NAME || (type_and_unit && METADATA.contains(&name));
    let mut any_goes = false;
    let rest = labels.iter().filter(|(name, _)| {
        let goes = goes(name);
        any_goes |= goes;
        !goes
    });
    let rest = Labels::from_sorted(rest, &mut Vec::with_capacity(labels.as_bytes().len()))
        .expect("labels stay sorted when some go");
    if any_goes { rest } else { labels.clone() }
}

/// Joins series with equal labels, in order of first appearance.
pub(super) fn merge(stream: Stream<'_>) -> Result<Vec<Series>> {
    let mut merger = Merger::new("vector cannot contain metrics with the same labelset");
    for series in stream {
        merger.add(series?)?;
    }
    Ok(merger.finish())
}

/// Collects series and joins those with equal labels; two values at one step are an error.
pub(super) struct Merger {
    all: Vec<Series>,
    index: HashMap<Labels, usize>,
    overlap: &'static str,
}

impl Merger {
    pub(super) fn new(overlap: &'static str) -> Self {
        Self { all: Vec::new(), index: HashMap::new(), overlap }
    }

    pub(super) fn add(&mut self, series: Series) -> Result<()> {
        let Some(at) = self.index.get(&series.labels) else {
            self.index.insert(series.labels.clone(), self.all.len());
            self.all.push(series);
            return Ok(());
        };
        let into = &mut self.all[*at];
        into.drop_name |= series.drop_name;
        for at in (0..series.points.len()).filter(|at| is_present(series.points[*at])) {
            if is_present(into.points[at]) {
                return Err(QueryError::execution(self.overlap));
            }
            into.points.copy(at, &series.points, at)?;
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Vec<Series> {
        self.all
    }
}
