//! Aggregations: series come in one by one and are added to their group's columns.

use std::collections::{BTreeMap, HashMap, btree_map, hash_map};

use model::{Labels, METRIC_NAME};

use super::group_key::GroupKey;
use super::native::Remarks;
use super::native::mean::Accumulated;
use super::series::{Series, Stream};
use super::summation::{Mean, Sum, Variance};
use super::{Query, Result, Steps, math, series};
use crate::ast::{Aggregate, AggregateOp, Expr, Grouping, Kind};
use crate::budget::{ABSENT, Charge, Column, Held, is_present};
use crate::error::QueryError;
use crate::number::format_plain;

/// Groups of series in order of first appearance.
pub(super) struct Groups<T> {
    key: GroupKey,
    index: HashMap<Vec<u8>, usize>,
    scratch: Vec<u8>,
    pub(super) all: Vec<(Labels, bool, T)>,
}

impl<T> Groups<T> {
    pub(super) fn new(key: GroupKey) -> Self {
        Self { key, index: HashMap::new(), scratch: Vec::new(), all: Vec::new() }
    }

    /// The group of a series; begun by `begin` where it is new.
    pub(super) fn of(&mut self, series: &Series, begin: impl FnOnce() -> Result<T>) -> Result<&mut T> {
        let key = self.key.write(&series.labels, &mut self.scratch);
        let at = match self.index.get(key) {
            Some(at) => *at,
            None => {
                self.all.push((self.key.labels(&series.labels), false, begin()?));
                self.index.insert(key.to_vec(), self.all.len() - 1);
                self.all.len() - 1
            }
        };
        let (_, drop_name, group) = &mut self.all[at];
        *drop_name |= series.drop_name;
        Ok(group)
    }
}

/// One accumulator a step, and one for histograms where there are any.
struct Cells<A> {
    cells: Vec<Option<A>>,
    histograms: Vec<Option<Accumulated>>,
    charge: Charge,
    /// Points that the accumulators weigh.
    weight: usize,
}

/// What an aggregation makes of histograms.
#[derive(Clone, Copy, PartialEq, Eq)]
enum OfHistograms {
    Sum,
    Mean,
    Nothing,
}

/// What adds values up to one.
trait Accumulator: Default {
    /// Points that one accumulator weighs in the budget.
    const WEIGHT: usize;
    const OF_HISTOGRAMS: OfHistograms;
    fn add(&mut self, value: f64);
    fn result(self) -> f64;
}

impl Accumulator for Sum {
    const WEIGHT: usize = 3;
    const OF_HISTOGRAMS: OfHistograms = OfHistograms::Sum;

    fn add(&mut self, value: f64) {
        Sum::add(self, value);
    }

    fn result(self) -> f64 {
        self.total()
    }
}

impl Accumulator for Mean {
    const WEIGHT: usize = 5;
    const OF_HISTOGRAMS: OfHistograms = OfHistograms::Mean;

    fn add(&mut self, value: f64) {
        Mean::add(self, value);
    }

    fn result(self) -> f64 {
        self.mean()
    }
}

impl Accumulator for Variance {
    const WEIGHT: usize = 6;
    const OF_HISTOGRAMS: OfHistograms = OfHistograms::Nothing;

    fn add(&mut self, value: f64) {
        Variance::add(self, value);
    }

    fn result(self) -> f64 {
        self.variance()
    }
}

#[derive(Clone, Copy, Default)]
struct Deviation(Variance);

impl Accumulator for Deviation {
    const WEIGHT: usize = 6;
    const OF_HISTOGRAMS: OfHistograms = OfHistograms::Nothing;

    fn add(&mut self, value: f64) {
        self.0.add(value);
    }

    fn result(self) -> f64 {
        self.0.variance().sqrt()
    }
}

impl<A: Accumulator> Cells<A> {
    /// Adds a column in which there are histograms.
    fn add_both(&mut self, points: &Column, mean: bool) -> Result<()> {
        self.histograms.resize(points.len(), None);
        for at in 0..points.len() {
            match points.held(at) {
                Held::Absent => {}
                Held::Number(value) => self.cells[at].get_or_insert_with(A::default).add(value),
                Held::Histogram(histogram) => match &mut self.histograms[at] {
                    Some(accumulated) => accumulated.add(histogram),
                    empty => {
                        self.weight = self.weight.saturating_add(Accumulated::weight(histogram));
                        self.charge.grow_to(self.weight)?;
                        *empty = Some(Accumulated::new(histogram, mean));
                    }
                },
            }
        }
        Ok(())
    }
}

/// How often each value occurs, of numbers and of histograms.
#[derive(Default)]
struct Counted {
    numbers: HashMap<u64, Column>,
    histograms: BTreeMap<String, Column>,
}

impl Counted {
    /// The counts of a value; begun by `begin` where it is new.
    fn column(&mut self, value: Held<'_>, begin: impl FnOnce() -> Result<Column>) -> Result<&mut Column> {
        match value {
            Held::Histogram(histogram) => match self.histograms.entry(histogram.value_text()) {
                btree_map::Entry::Occupied(entry) => Ok(entry.into_mut()),
                btree_map::Entry::Vacant(entry) => Ok(entry.insert(begin()?)),
            },
            Held::Absent => unreachable!("only what is there is counted"),
            Held::Number(value) => {
                let bits = if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() };
                match self.numbers.entry(bits) {
                    hash_map::Entry::Occupied(entry) => Ok(entry.into_mut()),
                    hash_map::Entry::Vacant(entry) => Ok(entry.insert(begin()?)),
                }
            }
        }
    }

    /// Values as labels, in their order, so that the answer is the same every time.
    fn into_columns(self) -> impl Iterator<Item = (String, Column)> {
        let mut numbers: Vec<_> =
            self.numbers.into_iter().map(|(bits, column)| (f64::from_bits(bits), column)).collect();
        numbers.sort_unstable_by(|(a, _), (b, _)| a.total_cmp(b));
        numbers.into_iter().map(|(value, column)| (format_plain(value), column)).chain(self.histograms)
    }
}

impl<'q> Query<'q> {
    pub(super) fn aggregate(&'q self, aggregate: &'q Aggregate, steps: Steps) -> Result<Stream<'q>> {
        let key = match aggregate.grouping.without {
            true => GroupKey::all_but(&aggregate.grouping.labels),
            false => GroupKey::only(&aggregate.grouping.labels),
        };
        match aggregate.op {
            AggregateOp::Sum => self.accumulate::<Sum>(aggregate, key, steps),
            AggregateOp::Avg => self.accumulate::<Mean>(aggregate, key, steps),
            AggregateOp::Stdvar => self.accumulate::<Variance>(aggregate, key, steps),
            AggregateOp::Stddev => self.accumulate::<Deviation>(aggregate, key, steps),
            AggregateOp::Count => self.fold(aggregate, key, steps, |_| 1.0, |count, _| count + 1.0),
            AggregateOp::Group => self.fold(aggregate, key, steps, |_| 1.0, |one, _| one),
            AggregateOp::Max => self.fold(
                aggregate,
                key,
                steps,
                |v| v,
                |max, v| if max < v || max.is_nan() { v } else { max },
            ),
            AggregateOp::Min => self.fold(
                aggregate,
                key,
                steps,
                |v| v,
                |min, v| if min > v || min.is_nan() { v } else { min },
            ),
            AggregateOp::Quantile => self.quantile(aggregate, key, steps),
            AggregateOp::CountValues => self.count_values(aggregate, key, steps),
            AggregateOp::Topk | AggregateOp::Bottomk => self.extremes(aggregate, key, steps),
            AggregateOp::Limitk => self.limitk(aggregate, key, steps),
            AggregateOp::LimitRatio => self.limit_ratio(aggregate, steps),
        }
    }

    /// Aggregations whose state is one number a step.
    fn fold(
        &'q self,
        aggregate: &'q Aggregate,
        key: GroupKey,
        steps: Steps,
        first: fn(f64) -> f64,
        more: fn(f64, f64) -> f64,
    ) -> Result<Stream<'q>> {
        let counts = matches!(aggregate.op, AggregateOp::Count | AggregateOp::Group);
        let mut groups = Groups::new(key);
        for series in self.vector(&aggregate.expr, steps)? {
            let mut series = series?;
            if !counts {
                self.numbers_only(&mut series, aggregate);
            }
            let group = groups.of(&series, || Column::absent(&self.budget, steps.count))?;
            for (state, value) in
                group.iter_mut().zip(series.points.iter()).filter(|(_, value)| is_present(**value))
            {
                *state = if is_present(*state) { more(*state, *value) } else { first(*value) };
            }
        }
        Ok(Box::new(
            groups
                .all
                .into_iter()
                .map(|(labels, drop_name, points)| Ok(Series { labels, drop_name, points })),
        ))
    }

    /// Aggregations whose state is more.
    fn accumulate<A: Accumulator + Clone + 'q>(
        &'q self,
        aggregate: &'q Aggregate,
        key: GroupKey,
        steps: Steps,
    ) -> Result<Stream<'q>> {
        let mut groups: Groups<Cells<A>> = Groups::new(key);
        for series in self.vector(&aggregate.expr, steps)? {
            let mut series = series?;
            if A::OF_HISTOGRAMS == OfHistograms::Nothing {
                self.numbers_only(&mut series, aggregate);
            }
            let group = groups.of(&series, || {
                let weight = steps.count.saturating_mul(A::WEIGHT);
                let charge = self.budget.take(weight)?;
                Ok(Cells { cells: vec![None; steps.count], histograms: Vec::new(), charge, weight })
            })?;
            if series.points.has_histograms() {
                group.add_both(&series.points, A::OF_HISTOGRAMS == OfHistograms::Mean)?;
                continue;
            }
            for (cell, value) in
                group.cells.iter_mut().zip(series.points.iter()).filter(|(_, value)| is_present(**value))
            {
                cell.get_or_insert_with(A::default).add(*value);
            }
        }
        Ok(Box::new(groups.all.into_iter().map(move |(labels, drop_name, group)| {
            let mut points = Column::absent(&self.budget, steps.count)?;
            let results = group.cells.into_iter().map(|cell| cell.map_or(ABSENT, A::result));
            points.iter_mut().zip(results).for_each(|(point, result)| *point = result);
            self.put_histograms(&mut points, group.histograms, &aggregate.expr)?;
            Ok(Series { labels, drop_name, points })
        })))
    }

    /// Histograms' sums or means beside those of numbers; where there are both at a step, there is neither.
    fn put_histograms(
        &self,
        points: &mut Column,
        histograms: Vec<Option<Accumulated>>,
        expr: &Expr,
    ) -> Result<()> {
        let remarks = Remarks::nameless(self, expr);
        for (at, accumulated) in histograms.into_iter().enumerate() {
            let Some(accumulated) = accumulated else { continue };
            if is_present(points[at]) {
                remarks.mixed_types_in_aggregation();
                points.set(at, ABSENT);
            } else if let Some(histogram) = accumulated.finish(remarks) {
                points.set_histogram(at, histogram)?;
            }
        }
        Ok(())
    }

    /// Leaves histograms out, with a remark, for aggregations that know none.
    pub(super) fn numbers_only(&self, series: &mut Series, aggregate: &Aggregate) {
        if series.points.drop_histograms() {
            Remarks::nameless(self, &aggregate.expr).ignored_in(aggregate.op.name());
        }
    }

    fn quantile(&'q self, aggregate: &'q Aggregate, key: GroupKey, steps: Steps) -> Result<Stream<'q>> {
        let parameter = aggregate.parameter.as_deref().expect("the parser saw a parameter");
        let phi = self.scalar(parameter, steps)?;
        phi.iter().for_each(|phi| self.check_quantile(parameter, *phi));
        let mut groups: Groups<Vec<Column>> = Groups::new(key);
        for series in self.vector(&aggregate.expr, steps)? {
            let mut series = series?;
            self.numbers_only(&mut series, aggregate);
            groups.of(&series, || Ok(Vec::new()))?.push(series.points);
        }
        let (mut values, mut work) = (Vec::new(), 0);
        Ok(Box::new(groups.all.into_iter().map(move |(labels, drop_name, columns)| {
            let mut points = Column::absent(&self.budget, steps.count)?;
            for (at, point) in points.iter_mut().enumerate() {
                self.check_now_and_then(&mut work, columns.len())?;
                values.clear();
                values.extend(columns.iter().map(|column| column[at]).filter(|value| is_present(*value)));
                if !values.is_empty() {
                    *point = math::quantile(phi[at], &mut values);
                }
            }
            Ok(Series { labels, drop_name, points })
        })))
    }

    /// One series a value, its label the value.
    fn count_values(&'q self, aggregate: &'q Aggregate, key: GroupKey, steps: Steps) -> Result<Stream<'q>> {
        let parameter = aggregate.parameter.as_deref().expect("the parser saw a parameter");
        // `without` takes away labels after the value's has been set: the metric name's always, and those that it lists.
        let Grouping { without, labels } = &aggregate.grouping;
        let goes =
            |label: &str| *without && (label == METRIC_NAME || labels.iter().any(|name| name == label));
        let label = Some(self.count_label(parameter)?).filter(|label| !goes(label));
        let mut groups: Groups<Counted> = Groups::new(key);
        for series in self.vector(&aggregate.expr, steps)? {
            let series = series?;
            let group = groups.of(&series, || Ok(Counted::default()))?;
            for at in (0..steps.count).filter(|at| is_present(series.points[*at])) {
                let column =
                    group.column(series.points.held(at), || Column::absent(&self.budget, steps.count))?;
                column[at] = if is_present(column[at]) { column[at] + 1.0 } else { 1.0 };
            }
        }
        let mut counted: Vec<Series> = Vec::new();
        let mut index: HashMap<Labels, usize> = HashMap::new();
        for (labels, drop_name, group) in groups.all {
            for (value, points) in group.into_columns() {
                let mut builder = labels.to_builder();
                if let Some(label) = label {
                    builder.set(label, &value);
                }
                let labels = builder.build();
                // Groups that differed in the label alone in which the value now stands have become one.
                match index.get(&labels) {
                    Some(at) => add_counts(&mut counted[*at].points, &points),
                    None => {
                        index.insert(labels.clone(), counted.len());
                        counted.push(Series { labels, drop_name, points });
                    }
                }
            }
        }
        Ok(Box::new(counted.into_iter().map(Ok)))
    }

    fn count_label(&'q self, parameter: &'q Expr) -> Result<&'q str> {
        match &parameter.bare().kind {
            Kind::Text(text) if !text.value.is_empty() && std::str::from_utf8(&text.raw).is_ok() => {
                Ok(&text.value)
            }
            Kind::Text(text) => {
                Err(QueryError::execution(format!("invalid label name {}", crate::ast::quote(&text.raw))))
            }
            _ => unreachable!("types are checked: only literals are texts"),
        }
    }

    /// All series of a group, for aggregations that choose among them.
    pub(super) fn grouped(&'q self, expr: &'q Expr, key: GroupKey, steps: Steps) -> Result<Vec<Vec<Series>>> {
        let mut groups: Groups<Vec<Series>> = Groups::new(key);
        for series in self.vector(expr, steps)? {
            let series = series?;
            groups.of(&series, || Ok(Vec::new()))?.push(series);
        }
        Ok(groups.all.into_iter().map(|(_, _, group)| group).collect())
    }
}

fn add_counts(into: &mut Column, more: &Column) {
    for (have, more) in into.iter_mut().zip(more.iter()).filter(|(_, more)| is_present(**more)) {
        *have = if is_present(*have) { *have + *more } else { *more };
    }
}

/// Series that have a value at some step.
pub(super) fn with_values<'q>(groups: Vec<Vec<Series>>) -> series::Stream<'q> {
    Box::new(groups.into_iter().flatten().filter(|series| series.points.has_any()).map(Ok))
}
