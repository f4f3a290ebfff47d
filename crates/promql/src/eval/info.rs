//! `info(v, selector)`: adds labels of info metrics (`target_info` unless the selector names others) that share `instance` and `job`.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};

use model::{Labels, METRIC_NAME, MatchOp, Matcher};

use super::group_key::GroupKey;
use super::select::{Reference, Show};
use super::series::{Merger, Series, Stream};
use super::{Query, Result, Steps};
use crate::ast::{Expr, Kind, RangeSelector, Shift};
use crate::budget::{Column, is_present};
use crate::error::QueryError;

/// Labels that say which target a series is of.
const IDENTIFYING: [&str; 2] = ["instance", "job"];

/// Which info series a call asks for.
struct Wanted {
    names: Vec<Matcher>,
    /// Conditions on other labels; only these labels are added, or all where there is none.
    data: Vec<Matcher>,
}

impl Wanted {
    fn new(selector: Option<&Expr>) -> Self {
        let all: &[Matcher] = match selector.map(|selector| &selector.kind) {
            Some(Kind::Selector(selector)) => &selector.matchers,
            _ => &[],
        };
        let (mut names, data): (Vec<_>, Vec<_>) =
            all.iter().cloned().partition(|matcher| matcher.name() == METRIC_NAME);
        let is_positive = |matcher: &Matcher| matches!(matcher.op(), MatchOp::Equal | MatchOp::Regex);
        if names.is_empty() {
            names.push(Matcher::equal(METRIC_NAME, "target_info"));
        } else if !names.iter().any(is_positive) {
            let any_info = Matcher::new(METRIC_NAME, MatchOp::Regex, ".+_info").expect("the pattern is good");
            names.push(any_info);
        }
        Self { names, data }
    }

    fn is_info(&self, labels: &Labels) -> bool {
        let name = labels.metric_name().unwrap_or_default();
        self.names.iter().all(|matcher| matcher.matches(name))
    }

    fn adds(&self, label: &str) -> bool {
        let own = label == METRIC_NAME || IDENTIFYING.contains(&label);
        !own && (self.data.is_empty() || self.data.iter().any(|matcher| matcher.name() == label))
    }

    /// Whether a series without any info series stays.
    fn is_optional(&self) -> bool {
        self.data.iter().all(Matcher::matches_absent)
    }
}

/// Info series of one target, with the times of their samples.
#[derive(Default)]
struct Target(Vec<Series>);

impl<'q> Query<'q> {
    pub(super) fn info(&'q self, arguments: &'q [Expr], steps: Steps) -> Result<Stream<'q>> {
        let wanted = Wanted::new(arguments.get(1));
        let reference = self.info_reference(&arguments[0], steps)?;
        let key = GroupKey::only(&IDENTIFYING.map(str::to_owned));
        let mut scratch = Vec::new();
        let mut targets: HashMap<Vec<u8>, Target> = HashMap::new();
        let matchers: Vec<_> = wanted.names.iter().chain(&wanted.data).cloned().collect();
        for series in self.select_at(&matchers, reference, Show::TimeOfNumber)? {
            let series = series?;
            let target = key.write(&series.labels, &mut scratch).to_vec();
            targets.entry(target).or_default().0.push(series);
        }
        let mut output = Merger::new("vector cannot contain metrics with the same labelset");
        for series in self.vector(&arguments[0], steps)? {
            let series = series?;
            if wanted.is_info(&series.labels) {
                output.add(series)?;
                continue;
            }
            let target = targets.get(key.write(&series.labels, &mut scratch));
            self.enrich(&series, target, &wanted, &mut output)?;
        }
        Ok(Box::new(output.finish().into_iter().map(Ok)))
    }

    /// Info series are read as of the time at which the first selector of the argument is.
    fn info_reference(&self, argument: &Expr, steps: Steps) -> Result<Reference> {
        let mut reference = self.reference(&Shift::default(), steps)?;
        let mut expr = argument;
        loop {
            let mut child = None;
            expr.kind.each_child(&mut |found| {
                if child.is_none() && has_selector(found) {
                    child = Some(found);
                }
            });
            let shift = match &expr.kind {
                Kind::Selector(selector) | Kind::Range(RangeSelector { selector, .. }) => {
                    Some(&selector.shift)
                }
                Kind::Subquery(subquery) => Some(&subquery.shift),
                _ => None,
            };
            if let Some(shift) = shift {
                reference = reference.then(self.reference(shift, steps)?);
            }
            match child {
                Some(child) => expr = child,
                None => return Ok(reference),
            }
        }
    }

    fn enrich(
        &'q self,
        base: &Series,
        target: Option<&Target>,
        wanted: &Wanted,
        output: &mut Merger,
    ) -> Result<()> {
        let infos: &[Series] = target.map_or(&[], |target| &target.0);
        // Steps that take the same info series share their labels.
        let mut columns: BTreeMap<Vec<usize>, Column> = BTreeMap::new();
        for step in (0..base.points.len()).filter(|step| is_present(base.points[*step])) {
            let chosen = latest(infos, step)?;
            if chosen.is_empty() && !wanted.is_optional() {
                continue;
            }
            let column = match columns.entry(chosen) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => entry.insert(Column::absent(&self.budget, base.points.len())?),
            };
            column.copy(step, &base.points, step)?;
        }
        for (chosen, points) in columns {
            let labels = joined(&base.labels, chosen.iter().map(|at| &infos[*at].labels), wanted)?;
            output.add(Series { labels, drop_name: base.drop_name, points })?;
        }
        Ok(())
    }
}

fn has_selector(expr: &Expr) -> bool {
    let mut found = matches!(expr.kind, Kind::Selector(_) | Kind::Range(_));
    expr.kind.each_child(&mut |child| found = found || has_selector(child));
    found
}

/// For each info metric the series with the latest sample at a step.
fn latest(infos: &[Series], step: usize) -> Result<Vec<usize>> {
    let mut chosen: Vec<usize> = Vec::new();
    for (at, info) in infos.iter().enumerate().filter(|(_, info)| is_present(info.points[step])) {
        let same =
            chosen.iter_mut().find(|other| infos[**other].labels.metric_name() == info.labels.metric_name());
        let Some(other) = same else {
            chosen.push(at);
            continue;
        };
        let (have, new) = (infos[*other].points[step], info.points[step]);
        if have == new {
            return Err(QueryError::execution(format!(
                "found duplicate series for info metric: existing {}, new {} at the same time",
                infos[*other].labels, info.labels
            )));
        }
        if new > have {
            *other = at;
        }
    }
    Ok(chosen)
}

/// The base's labels and those of its info series; the base's own win.
fn joined<'l>(base: &Labels, infos: impl Iterator<Item = &'l Labels>, wanted: &Wanted) -> Result<Labels> {
    let mut builder = base.to_builder();
    for (name, value) in infos.flat_map(Labels::iter).filter(|(name, _)| wanted.adds(name)) {
        if base.get(name).is_some() {
            continue;
        }
        if builder.get(name).is_some_and(|have| have != value) {
            return Err(QueryError::execution(format!("conflicting label: {name}")));
        }
        builder.set(name, value);
    }
    Ok(builder.build())
}
