//! `topk`, `bottomk`, `limitk`, `limit_ratio`: aggregations that choose series and leave their labels.

use super::aggregate::with_values;
use super::group_key::GroupKey;
use super::series::{Series, Stream};
use super::{Query, Result, Steps, ratio};
use crate::ast::{Aggregate, AggregateOp};
use crate::budget::{ABSENT, Column, is_present};
use crate::error::QueryError;
use crate::number::format_short;

impl<'q> Query<'q> {
    /// How many to choose at each step.
    fn counts(&'q self, aggregate: &'q Aggregate, steps: Steps) -> Result<Vec<usize>> {
        let parameter = aggregate.parameter.as_deref().expect("the parser saw a parameter");
        let counts = self.scalar(parameter, steps)?;
        counts.iter().map(|count| to_count(*count)).collect()
    }

    pub(super) fn extremes(
        &'q self,
        aggregate: &'q Aggregate,
        key: GroupKey,
        steps: Steps,
    ) -> Result<Stream<'q>> {
        let counts = self.counts(aggregate, steps)?;
        let top = aggregate.op == AggregateOp::Topk;
        let mut groups = self.grouped(&aggregate.expr, key, steps)?;
        groups.iter_mut().flatten().for_each(|series| self.numbers_only(series, aggregate));
        let mut work = 0;
        for group in &mut groups {
            let mut order = Vec::new();
            for (at, count) in counts.iter().enumerate() {
                self.check_now_and_then(&mut work, group.len())?;
                order.clear();
                order.extend((0..group.len()).filter(|index| is_present(group[*index].points[at])));
                order.sort_by(|a, b| rank(group[*a].points[at], group[*b].points[at], top));
                order.iter().skip(*count).for_each(|index| group[*index].points[at] = ABSENT);
            }
            if steps.count == 1 {
                group.sort_by(|a, b| rank(a.points[0], b.points[0], top));
            }
        }
        Ok(with_values(groups))
    }

    pub(super) fn limitk(
        &'q self,
        aggregate: &'q Aggregate,
        key: GroupKey,
        steps: Steps,
    ) -> Result<Stream<'q>> {
        let counts = self.counts(aggregate, steps)?;
        let mut groups = self.grouped(&aggregate.expr, key, steps)?;
        let mut work = 0;
        for group in &mut groups {
            for (at, count) in counts.iter().enumerate() {
                self.check_now_and_then(&mut work, group.len())?;
                let present = group.iter_mut().filter(|series| is_present(series.points[at]));
                present.skip(*count).for_each(|series| series.points[at] = ABSENT);
            }
        }
        Ok(with_values(groups))
    }

    pub(super) fn limit_ratio(&'q self, aggregate: &'q Aggregate, steps: Steps) -> Result<Stream<'q>> {
        let ratios = self.ratios(aggregate, steps)?;
        let chosen = self.vector(&aggregate.expr, steps)?.map(move |series| {
            let mut series = series?;
            let position = ratio::position(&series.labels);
            let outside = ratios.iter().enumerate().filter(|(_, ratio)| !ratio::takes(position, **ratio));
            outside.for_each(|(at, _)| series.points[at] = ABSENT);
            Ok(series)
        });
        let has_any =
            |series: &Result<Series>| series.as_ref().map_or(true, |series| series.points.has_any());
        Ok(Box::new(chosen.filter(has_any)))
    }

    fn ratios(&'q self, aggregate: &'q Aggregate, steps: Steps) -> Result<Column> {
        let parameter = aggregate.parameter.as_deref().expect("the parser saw a parameter");
        let mut ratios = self.scalar(parameter, steps)?;
        for ratio in ratios.iter_mut() {
            if ratio.is_nan() {
                return Err(QueryError::execution("Ratio value is NaN"));
            }
            let capped = ratio.clamp(-1.0, 1.0);
            if capped != *ratio {
                let (got, to) = (format_short(*ratio), format_short(capped));
                self.warn(
                    parameter,
                    &format!("ratio value should be between -1 and 1, got {got}, capping to {to}"),
                );
            }
            *ratio = capped;
        }
        Ok(ratios)
    }
}

fn to_count(count: f64) -> Result<usize> {
    if count.is_nan() {
        return Err(QueryError::execution("Parameter value is NaN"));
    }
    if count.abs() >= 9_223_372_036_854_775_807.0 {
        let flows = if count > 0.0 { "overflows" } else { "underflows" };
        return Err(QueryError::execution(format!("Scalar value {} {flows} int64", format_short(count))));
    }
    Ok(if count < 1.0 { 0 } else { count as usize })
}

/// The best first; NaN is the worst either way.
fn rank(a: f64, b: f64, top: bool) -> std::cmp::Ordering {
    let worst = |value: f64| !is_present(value) || value.is_nan();
    match (worst(a), worst(b)) {
        (false, false) if top => b.partial_cmp(&a).expect("neither is NaN"),
        (false, false) => a.partial_cmp(&b).expect("neither is NaN"),
        (a, b) => a.cmp(&b),
    }
}
