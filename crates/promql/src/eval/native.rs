//! Native histograms in expressions: what a step or function gives, and the remarks that go with it. The float paths never come here.

pub(super) mod binary;
pub(super) mod distribution;
pub(super) mod extended;
pub(super) mod mean;
pub(super) mod rate;
pub(super) mod window;

use std::sync::Arc;

use model::{Histogram, Labels, METRIC_NAME};

use super::Query;
use crate::ast::Expr;
use crate::budget::Column;
use crate::error::QueryError;

/// A number or a histogram.
#[derive(Clone, Debug)]
pub(super) enum Point {
    Number(f64),
    Histogram(Arc<Histogram>),
}

impl Point {
    /// A histogram without empty buckets.
    pub(super) fn compact(histogram: Histogram) -> Self {
        Self::Histogram(Arc::new(histogram.compacted()))
    }

    /// Puts it into a column.
    pub(super) fn put(self, column: &mut Column, step: usize) -> Result<(), QueryError> {
        match self {
            Self::Number(value) => {
                column.set(step, value);
                Ok(())
            }
            Self::Histogram(histogram) => column.set_histogram(step, histogram),
        }
    }
}

/// Where remarks on a series go: to the expression that gave it, with its name.
#[derive(Clone, Copy)]
pub(super) struct Remarks<'r, 'q> {
    pub(super) query: &'r Query<'q>,
    pub(super) expr: &'r Expr,
    pub(super) labels: Option<&'r Labels>,
}

impl<'r, 'q> Remarks<'r, 'q> {
    pub(super) fn on(query: &'r Query<'q>, expr: &'r Expr, labels: &'r Labels) -> Self {
        Self { query, expr, labels: Some(labels) }
    }

    /// On what has no name, such as a group.
    pub(super) fn nameless(query: &'r Query<'q>, expr: &'r Expr) -> Self {
        Self { query, expr, labels: None }
    }

    fn name(&self) -> &str {
        self.labels.and_then(|labels| labels.get(METRIC_NAME)).unwrap_or_default()
    }

    fn named(&self, text: &str) -> String {
        match self.name() {
            "" => text.to_owned(),
            name => format!("{text} for metric name {name:?}"),
        }
    }

    pub(super) fn mixed_types(&self) {
        self.query.warn(self.expr, &self.named("encountered a mix of histograms and floats"));
    }

    pub(super) fn mixed_types_in_aggregation(&self) {
        self.query.warn(self.expr, "encountered a mix of histograms and floats for aggregation");
    }

    pub(super) fn mixed_schemas(&self) {
        let text = "vector contains a mix of histograms with exponential and custom buckets schemas";
        self.query.warn(self.expr, &self.named(text));
    }

    pub(super) fn mixed_with_classic(&self) {
        let text = "vector contains a mix of classic and native histograms";
        self.query.warn(self.expr, &self.named(text));
    }

    pub(super) fn not_a_counter(&self) {
        let text = format!("this native histogram metric is not a counter: {:?}", self.name());
        self.query.warn(self.expr, &text);
    }

    pub(super) fn not_a_gauge(&self) {
        let text = format!("this native histogram metric is not a gauge: {:?}", self.name());
        self.query.warn(self.expr, &text);
    }

    /// `what` is an addition, subtraction or aggregation.
    pub(super) fn resets_collide(&self, what: &str) {
        self.query.warn(self.expr, &format!("conflicting counter resets during histogram {what}"));
    }

    pub(super) fn bounds_reconciled(&self, what: &str) {
        self.query.inform(self.expr, &format!("mismatched custom buckets were reconciled during {what}"));
    }

    pub(super) fn ignored_in_range(&self) {
        let text = "ignored histograms in a range containing both floats and histograms";
        self.query.inform(self.expr, &self.named(text));
    }

    pub(super) fn ignored_in(&self, aggregation: &str) {
        self.query.inform(self.expr, &format!("ignored histogram in {aggregation} aggregation"));
    }

    pub(super) fn start_overlaps(&self) {
        let text = format!(
            "sample has start time that overlaps with previous sample timestamp for metric {:?}",
            self.name()
        );
        self.query.warn(self.expr, &text);
    }

    pub(super) fn warn_named(&self, text: &str) {
        self.query.warn(self.expr, &self.named(text));
    }

    pub(super) fn inform_named(&self, text: &str) {
        self.query.inform(self.expr, &self.named(text));
    }
}
