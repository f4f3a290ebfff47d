//! Arithmetic and comparison between two vectors.
//!
//! One side of a match is the "one" side (the right, unless `group_right` makes it the left): at each step at most one of its series
//! stands in a group. It is collected by group; the series of the other side stream past it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use model::{Labels, METRIC_NAME};

use super::aggregate::Groups;
use super::binary::{drops_name, outcome};
use super::bits::Bits;
use super::native::Point;
use super::series::{Merger, Series, Stream};
use super::{Query, Result, Steps};
use crate::ast::{Binary, Expr, Group};
use crate::budget::{Column, Held, is_present};
use crate::error::QueryError;

const NOT_UNIQUE: &str = "multiple matches for labels: grouping labels must ensure unique matches";
const NOT_EXPLICIT: &str =
    "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)";

/// The series of one group on the "one" side.
struct OneSide {
    members: Vec<Series>,
    /// Which member has the value at each step; empty while there is one member.
    owners: Vec<u32>,
    /// Steps at which a series of the other side was matched and kept.
    matched: Option<Bits>,
    /// Steps at which the other side has any series.
    present: Option<Bits>,
}

const NOBODY: u32 = u32::MAX;

/// Two series of the "one" side in one group at one step.
struct Duplicate {
    steps: Bits,
    message: String,
}

/// How a match goes, derived from its modifiers.
struct Plan<'q> {
    binary: &'q Binary,
    many: &'q Expr,
    one: &'q Expr,
    /// The "many" side stands on the right of the operator.
    swapped: bool,
    fill_many: Option<f64>,
    fill_one: Option<f64>,
    steps: Steps,
}

impl<'q> Plan<'q> {
    fn new(binary: &'q Binary, steps: Steps) -> Self {
        let matching = &binary.matching;
        let swapped = matching.group == Group::Right;
        let (many, one) = if swapped { (&binary.rhs, &binary.lhs) } else { (&binary.lhs, &binary.rhs) };
        // As in Prometheus, `group_right` swaps the sides but not what fills them: `fill_left` always fills the "many" side.
        let (fill_many, fill_one) = (matching.fill_left, matching.fill_right);
        Self { binary, many, one, swapped, fill_many, fill_one, steps }
    }

    fn is_one_to_one(&self) -> bool {
        self.binary.matching.group == Group::None
    }

    /// Metric names go before several results of one group are told apart, so that it is the labels of `group_left` that fail to.
    fn drops_at_once(&self, query: &Query<'_>) -> bool {
        !self.is_one_to_one() && drops_name(self.binary) && !query.options.features.delayed_name_removal
    }

    /// What the operator makes of two sides, if anything.
    fn value(&self, query: &Query<'_>, many: Held<'_>, one: Held<'_>) -> Option<Point> {
        let (a, b) = if self.swapped { (one, many) } else { (many, one) };
        match (a, b) {
            (Held::Number(a), Held::Number(b)) if !self.binary.op.is_trim() => {
                Some(outcome(self.binary, a, b, a)).filter(|value| is_present(*value)).map(Point::Number)
            }
            _ => query.combine(self.binary, a, b, a),
        }
    }

    /// Labels of a result, before the metric name may go.
    fn labels(&self, many: &Labels, one: Option<&Labels>) -> Labels {
        let matching = &self.binary.matching;
        let mut builder = many.to_builder();
        if self.is_one_to_one() {
            builder.retain(|name, _| matching.labels.iter().any(|label| label == name) == matching.on);
        }
        for name in &matching.include {
            builder.set(name, one.and_then(|labels| labels.get(name)).unwrap_or_default());
        }
        builder.build()
    }
}

impl<'q> Query<'q> {
    pub(super) fn matched(&'q self, binary: &'q Binary, steps: Steps) -> Result<Stream<'q>> {
        let plan = Plan::new(binary, steps);
        let (mut groups, duplicate) = self.one_side(&plan)?;
        let mut output = Output { query: self, merger: Merger::new(NOT_UNIQUE), plan: &plan };
        for series in self.vector(plan.many, steps)? {
            let series = series?;
            if let Some(duplicate) = &duplicate {
                duplicate.check(&series)?;
            }
            let group = groups.of(&series, || Ok(OneSide::empty()))?;
            output.matched(&series, group)?;
        }
        if let Some(fill) = plan.fill_many {
            if let Some(duplicate) = duplicate {
                return Err(QueryError::execution(duplicate.message));
            }
            for (labels, drop_name, group) in &groups.all {
                output.unmatched(labels, *drop_name, group, fill)?;
            }
        }
        let all = output.merger.finish();
        let stream: Stream<'q> = Box::new(all.into_iter().map(Ok));
        if drops_name(binary) { self.drop_names(stream, plan.drops_at_once(self)) } else { Ok(stream) }
    }

    fn one_side(&'q self, plan: &Plan<'q>) -> Result<(Groups<OneSide>, Option<Duplicate>)> {
        let key = plan.binary.matching.key();
        let mut groups: Groups<OneSide> = Groups::new(key.clone());
        let mut duplicate: Option<Duplicate> = None;
        for series in self.vector(plan.one, plan.steps)? {
            let series = series?;
            let group = groups.of(&series, || Ok(OneSide::empty()))?;
            for (step, before) in group.add(series) {
                let new = group.members.last().expect("one was just added");
                let found = duplicate.get_or_insert_with(|| {
                    let side = if plan.swapped { "left" } else { "right" };
                    // In label order, so that the message is the same every time.
                    let mut pair = [&group.members[before as usize].labels, &new.labels];
                    pair.sort();
                    let (one, other) = (braced(pair[0]), braced(pair[1]));
                    let message = format!(
                        "found duplicate series for the match group {} on the {side} hand-side of the operation: [{one}, {other}];\
                         many-to-many matching not allowed: matching labels must be unique on one side",
                        braced(&key.labels(&new.labels)),
                    );
                    Duplicate { steps: Bits::new(plan.steps.count), message }
                });
                found.steps.insert(step);
            }
        }
        Ok((groups, duplicate))
    }
}

/// Labels as `{name="value", …}`, the metric name among them.
fn braced(labels: &Labels) -> String {
    let pairs: Vec<_> = labels
        .iter()
        .map(|(name, value)| format!("{name}={}", crate::ast::quote(value.as_bytes())))
        .collect();
    format!("{{{}}}", pairs.join(", "))
}

impl Duplicate {
    /// Duplicates matter only where the other side has anything at all.
    fn check(&self, many: &Series) -> Result<()> {
        let present = many.points.iter().enumerate().filter(|(_, value)| is_present(**value));
        match present.map(|(step, _)| step).find(|step| self.steps.has(*step)) {
            Some(_) => Err(QueryError::execution(self.message.clone())),
            None => Ok(()),
        }
    }
}

impl OneSide {
    fn empty() -> Self {
        Self { members: Vec::new(), owners: Vec::new(), matched: None, present: None }
    }

    /// Adds a series; gives the steps at which another one stands already, and which.
    fn add(&mut self, series: Series) -> Vec<(usize, u32)> {
        let new = self.members.len() as u32;
        let mut twice = Vec::new();
        if new > 0 {
            if self.owners.is_empty() {
                let first = self.members[0].points.iter();
                self.owners = first.map(|value| if is_present(*value) { 0 } else { NOBODY }).collect();
            }
            for (step, _) in series.points.iter().enumerate().filter(|(_, value)| is_present(**value)) {
                match self.owners[step] {
                    NOBODY => self.owners[step] = new,
                    before => twice.push((step, before)),
                }
            }
        }
        self.members.push(series);
        twice
    }

    /// The series that stands in the group at a step.
    fn owner(&self, step: usize) -> Option<u32> {
        match self.owners.get(step) {
            Some(&NOBODY) => None,
            Some(&owner) => Some(owner),
            None => self.members.first().filter(|member| is_present(member.points[step])).map(|_| 0),
        }
    }

    fn labels(&self, owner: Option<u32>) -> Option<&Labels> {
        owner.map(|owner| &self.members[owner as usize].labels)
    }
}

struct Output<'p, 'q> {
    query: &'q Query<'q>,
    merger: Merger,
    plan: &'p Plan<'q>,
}

impl Output<'_, '_> {
    /// Results of one series of the "many" side.
    fn matched(&mut self, many: &Series, group: &mut OneSide) -> Result<()> {
        let plan = self.plan;
        if group.members.is_empty() && plan.fill_one.is_none() {
            return Ok(());
        }
        // Results differ by the series of the "one" side only where its labels are copied.
        let by_owner = !plan.binary.matching.include.is_empty();
        let mut columns: BTreeMap<Option<u32>, Column> = BTreeMap::new();
        for step in (0..many.points.len()).filter(|step| is_present(many.points[*step])) {
            if plan.fill_many.is_some() {
                group.present.get_or_insert_with(|| Bits::new(plan.steps.count)).insert(step);
            }
            let owner = group.owner(step);
            let one = match owner {
                Some(owner) => Some(group.members[owner as usize].points.held(step)),
                None => plan.fill_one.map(Held::Number),
            };
            let result = one.and_then(|one| plan.value(self.query, many.points.held(step), one));
            // Two series of the "many" side are an error even where a filter drops one of them.
            if one.is_some()
                && plan.is_one_to_one()
                && !group.matched.get_or_insert_with(|| Bits::new(plan.steps.count)).insert(step)
            {
                return Err(QueryError::execution(NOT_EXPLICIT));
            }
            let Some(result) = result else {
                continue;
            };
            let column = match columns.entry(owner.filter(|_| by_owner)) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => entry.insert(Column::absent(&self.query.budget, plan.steps.count)?),
            };
            result.put(column, step)?;
        }
        for (owner, points) in columns {
            let labels = plan.labels(&many.labels, group.labels(owner));
            let dropped = group.members.iter().any(|member| member.drop_name);
            self.add(labels, many.drop_name || (dropped && drops_name(plan.binary)), points)?;
        }
        Ok(())
    }

    /// Results of the "one" side where the other has nothing and is filled in.
    fn unmatched(&mut self, labels: &Labels, drop_name: bool, group: &OneSide, fill: f64) -> Result<()> {
        let plan = self.plan;
        let mut columns: BTreeMap<Option<u32>, Column> = BTreeMap::new();
        for step in 0..plan.steps.count {
            let Some(owner) = group.owner(step) else {
                continue;
            };
            if group.present.as_ref().is_some_and(|present| present.has(step)) {
                continue;
            }
            let one = group.members[owner as usize].points.held(step);
            let Some(result) = plan.value(self.query, Held::Number(fill), one) else {
                continue;
            };
            let column = match columns.entry(Some(owner)) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => entry.insert(Column::absent(&self.query.budget, plan.steps.count)?),
            };
            result.put(column, step)?;
        }
        for (owner, points) in columns.into_iter().filter(|(_, points)| points.has_any()) {
            let labels = plan.labels(labels, group.labels(owner));
            self.add(labels, drop_name, points)?;
        }
        Ok(())
    }

    fn add(&mut self, labels: Labels, drop_name: bool, points: Column) -> Result<()> {
        let goes = self.plan.drops_at_once(self.query);
        let labels = if goes { self.query.without_name(&labels) } else { labels };
        let named = labels.get(METRIC_NAME).is_some();
        self.merger.add(Series { labels, drop_name: drop_name && named, points })
    }
}
