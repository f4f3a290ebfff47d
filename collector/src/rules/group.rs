//! One group that runs: its rules are evaluated one after the other at one moment.
//!
//! In: the group as its file has it, a moment, a [`World`]. Out: series that rules made, and stale markers for those that they no longer
//! make, written through the world; how each rule fared. What rules of one pass made is written at once at its end, or before a rule
//! that may select it.
//!
//! Deliberately not here: when (`schedule.rs`, `engine.rs`), what an alert does (`alerts.rs`).

use std::cell::Cell;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use alerting::{ActiveAlert, AlertState, Notice, RuleState};
use model::{Labels, METRIC_NAME, Matcher, SeriesSource, Timestamp};
use promql::{Options, Statistics, Value, VectorSample};

use super::alerts::{Alerting, Stepped, Telling};
use super::engine::{Comeback, GroupView, RuleView};
use super::file::{Rule, RuleKind};
use super::shared::{Repeated, Shared, may_select};
use super::silence::{self, Recorders};
use super::state::{self, Kept};
use super::world::{Made, Named, Senders, World};
use crate::mistake;
use crate::queries::Ended;

/// A group as the settings and its file have it.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The file's path.
    pub file: String,
    /// Unique within the file.
    pub name: String,
    /// How often it is evaluated.
    pub interval: Duration,
    /// How far back it asks.
    pub query_offset: Duration,
    /// The most series or alerts of one rule; 0 for no bound.
    pub limit: usize,
    /// Its rules.
    pub rules: Vec<Arc<Rule>>,
}

impl Spec {
    /// What stands in the label `rule_group` of metrics.
    pub fn key(&self) -> String {
        format!("{};{}", self.file, self.name)
    }
}

/// How a rule fared the last time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fared {
    /// The moment it was evaluated at; none if it never was.
    pub at: Option<Timestamp>,
    /// How long that took.
    pub took: Duration,
    /// Why it gave nothing.
    pub error: Option<String>,
}

impl Fared {
    /// As Prometheus calls it.
    pub fn health(&self) -> &'static str {
        match (self.at, &self.error) {
            (None, _) => "unknown",
            (_, None) => "ok",
            (_, Some(_)) => "err",
        }
    }
}

/// What a pass was like.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Pass {
    pub(super) took: Duration,
    pub(super) evaluated: u64,
    pub(super) failed: u64,
    /// Values written, without stale markers.
    pub(super) values: usize,
    /// Whether an alert began, fired or ended.
    pub(super) changed: bool,
}

/// One rule that runs.
pub(super) struct Running {
    pub(super) rule: Arc<Rule>,
    pub(super) fared: Fared,
    /// Series that it made the last time.
    live: HashSet<Labels>,
    /// What it selects in the end; empty for a recording rule.
    inputs: Vec<Vec<Matcher>>,
    alerting: Option<Alerting>,
}

/// See the module's text.
pub(super) struct Group {
    pub(super) spec: Arc<Spec>,
    pub(super) rules: Vec<Running>,
    /// By which their states are found again, in the same order.
    numbers: Vec<u128>,
    repeated: Arc<Repeated>,
    /// Series of rules that are no more: they end with the next pass.
    ended: HashSet<Labels>,
    /// Alerts of rules that are no more.
    lost: RuleState,
    pub(super) last: Option<(Timestamp, Pass)>,
}

/// What all rules of a pass share.
pub(super) struct Setting<'a> {
    pub(super) source: &'a dyn SeriesSource,
    pub(super) options: &'a Options,
    pub(super) named: &'a Named,
    pub(super) senders: &'a dyn Senders,
    /// The moment.
    pub(super) at: Timestamp,
    /// The moment that is asked about.
    pub(super) asked_at: Timestamp,
    pub(super) limit: usize,
    /// What the rule's expression cost.
    pub(super) cost: Cell<Statistics>,
}

impl Group {
    /// Takes over what the same rules were like before: `before` loses what was found.
    pub(super) fn new(spec: Arc<Spec>, before: Option<Self>, recorders: &Recorders) -> Self {
        let (mut old, mut ended, mut lost, last) = match before {
            Some(before) => (before.rules, before.ended, before.lost, before.last),
            None => (Vec::new(), HashSet::new(), RuleState::default(), None),
        };
        let mut rules = Vec::with_capacity(spec.rules.len());
        for rule in &spec.rules {
            let same = old.iter().position(|have| is_same(&have.rule, rule));
            let before = same.map(|at| old.remove(at));
            rules.push(Running::new(Arc::clone(rule), before, recorders));
        }
        for gone in old {
            ended.extend(gone.live);
            lost.adopt(gone.alerting.map(Alerting::into_lost).unwrap_or_default());
        }
        let repeated = Arc::new(Repeated::new(spec.rules.iter().map(|rule| &rule.expr)));
        let numbers = numbers(&spec);
        Self { spec, rules, numbers, repeated, ended, lost, last }
    }

    /// Series and alerts that end with it.
    pub(super) fn into_ended(self) -> (HashSet<Labels>, RuleState) {
        let (mut ended, mut lost) = (self.ended, self.lost);
        for gone in self.rules {
            ended.extend(gone.live);
            lost.adopt(gone.alerting.map(Alerting::into_lost).unwrap_or_default());
        }
        (ended, lost)
    }

    /// Alerts that nobody tells of any more, once.
    pub(super) fn take_lost(&mut self) -> RuleState {
        let mut lost = std::mem::take(&mut self.lost);
        for alerting in self.rules.iter_mut().filter_map(|rule| rule.alerting.as_mut()) {
            lost.adopt(alerting.take_lost());
        }
        lost
    }

    /// Whether a rule of it tells of this alert.
    pub(super) fn tells(&self, labels: &Labels) -> bool {
        self.rules.iter().filter_map(|rule| rule.alerting.as_ref()).any(|alerting| alerting.tells(labels))
    }

    /// Labels of all alerts for which [`tells`](Self::tells) says so.
    pub(super) fn told(&self) -> HashSet<Labels> {
        self.rules
            .iter()
            .filter_map(|rule| rule.alerting.as_ref())
            .flat_map(Alerting::told)
            .cloned()
            .collect()
    }

    /// Whether a rule of it made this series the last time.
    pub(super) fn makes(&self, labels: &Labels) -> bool {
        self.rules.iter().any(|rule| rule.live.contains(labels))
    }

    pub(super) fn has_alerts(&self) -> bool {
        self.rules.iter().any(|rule| rule.active().next().is_some())
    }

    /// Who must be told what of its alerts.
    pub(super) fn notices(
        &mut self,
        at: Timestamp,
        resend_delay: Duration,
        world: &dyn World,
    ) -> Vec<Notice> {
        let url = world.named().url;
        let telling = Telling { resend_delay, interval: self.spec.interval, url: &url };
        let alerting = self.rules.iter_mut().filter_map(|rule| rule.alerting.as_mut());
        alerting.flat_map(|alerting| alerting.notices(at, &telling)).collect()
    }

    /// What the API shows.
    pub(super) fn view(&self) -> GroupView {
        let rules = self.rules.iter().map(|rule| RuleView {
            rule: Arc::clone(&rule.rule),
            fared: rule.fared.clone(),
            alerts: rule.active().cloned().collect(),
        });
        let (at, took) =
            self.last.as_ref().map_or((None, Duration::ZERO), |(at, pass)| (Some(*at), pass.took));
        GroupView { spec: Arc::clone(&self.spec), at, took, rules: rules.collect() }
    }

    /// What survives a restart, by the rules' numbers.
    pub(super) fn save(&self, kept: &mut HashMap<u128, Kept>) {
        for (number, rule) in self.numbers.iter().copied().zip(&self.rules) {
            if let Some(alerting) = rule.alerting.as_ref().filter(|alerting| alerting.is_worth_keeping()) {
                kept.insert(number, alerting.save());
            }
        }
    }

    /// Takes over what was kept at a stop.
    pub(super) fn restore(
        &mut self,
        kept: &mut HashMap<u128, Kept>,
        stopped_at: Timestamp,
        comeback: Comeback,
        now: Timestamp,
    ) {
        for (number, rule) in self.numbers.iter().zip(&mut self.rules) {
            if let Some((alerting, kept)) = rule.alerting.as_mut().zip(kept.remove(number)) {
                alerting.restore(kept, stopped_at, comeback, now);
                rule.live = alerting.series(stopped_at).into_iter().map(|made| made.labels).collect();
            }
        }
    }

    /// Evaluates every rule at a moment.
    pub(super) fn evaluate(
        &mut self,
        at: Timestamp,
        source: Arc<dyn SeriesSource>,
        world: &dyn World,
    ) -> Pass {
        let began = world.elapsed();
        let named = world.named();
        let shared = Shared::new(source, Arc::clone(&self.repeated));
        let senders = world.senders(at);
        let asked_at = at - self.spec.query_offset;
        let mut unwritten = Unwritten::default();
        let mut pass = Pass::default();
        for index in 0..self.rules.len() {
            if unwritten.concerns(&self.rules[index].rule) {
                unwritten.write(&mut self.rules, world, &shared, at, &mut pass);
            }
            let rule = &mut self.rules[index];
            let rule_began = world.elapsed();
            // Each rule has the whole time of a query.
            let (options, ticket) = world.begin(&self.spec, &rule.rule, asked_at);
            let setting = Setting {
                source: &shared,
                options: &options,
                named: &named,
                senders: &*senders,
                at,
                asked_at,
                limit: self.spec.limit,
                cost: Cell::default(),
            };
            // A mistake of ours in one rule is that rule's fault: the others are evaluated all the same.
            let made = mistake::caught(|| rule.evaluate(&setting))
                .unwrap_or_else(|mistake| Err(mistake.to_string()));
            if let Some(ticket) = ticket {
                let cost = setting.cost.get();
                let outcome = made.as_ref().map(|_| &cost).map_err(String::clone);
                ticket.done(&Ended { outcome, samples: None });
            }
            rule.fared.at = Some(at);
            rule.fared.took = world.elapsed().saturating_sub(rule_began);
            pass.evaluated += 1;
            match made {
                Ok(Stepped { made, changed }) => {
                    rule.fared.error = None;
                    pass.changed |= changed;
                    let made = rule.with_ends(made, asked_at);
                    unwritten.add(index, made);
                }
                Err(error) => {
                    pass.failed += 1;
                    rule.fail(error, &self.spec);
                }
            }
        }
        self.end(&mut unwritten, asked_at);
        unwritten.write(&mut self.rules, world, &shared, at, &mut pass);
        pass.took = world.elapsed().saturating_sub(began);
        self.last = Some((at, pass.clone()));
        pass
    }

    /// Ends the series of rules that are no more, but for those that another rule makes now.
    fn end(&mut self, unwritten: &mut Unwritten, at: Timestamp) {
        for labels in std::mem::take(&mut self.ended) {
            if !self.rules.iter().any(|rule| rule.live.contains(&labels)) {
                unwritten.made.push(Made::end(labels, at));
            }
        }
    }
}

/// A number for each rule, also where two are the same.
fn numbers(spec: &Spec) -> Vec<u128> {
    let mut twins: HashMap<u128, usize> = HashMap::new();
    let mut number = |rule: &Arc<Rule>| {
        let twin = twins.entry(state::number(spec, rule, 0)).or_default();
        *twin += 1;
        state::number(spec, rule, *twin - 1)
    };
    spec.rules.iter().map(&mut number).collect()
}

/// Whether the state of a rule is that of another one: it was not changed, but for how long its alerts wait and what they say.
fn is_same(one: &Rule, other: &Rule) -> bool {
    one.name == other.name
        && one.text == other.text
        && one.labels == other.labels
        && matches!(one.kind, RuleKind::Record) == matches!(other.kind, RuleKind::Record)
}

impl Running {
    fn new(rule: Arc<Rule>, before: Option<Self>, recorders: &Recorders) -> Self {
        let (fared, live, alerting) =
            before.map(|before| (before.fared, before.live, before.alerting)).unwrap_or_default();
        let alerting = Alerting::new(&rule, alerting);
        let inputs = if alerting.is_some() { silence::inputs(&rule, recorders) } else { Vec::new() };
        Self { rule, fared, live, inputs, alerting }
    }

    /// Its alerts: pending, firing and unknown.
    pub(super) fn active(&self) -> impl Iterator<Item = &ActiveAlert> {
        self.alerting.iter().flat_map(Alerting::active)
    }

    /// Those that fire.
    pub(super) fn firing(&self) -> impl Iterator<Item = &ActiveAlert> {
        self.active().filter(|alert| alert.state == AlertState::Firing)
    }

    fn fail(&mut self, error: String, spec: &Spec) {
        // Said once, not at each pass.
        if self.fared.error.as_ref() != Some(&error) {
            tracing::warn!(
                "cannot evaluate rule {:?} of group {:?} in {}: {error}",
                self.rule.name,
                spec.name,
                spec.file
            );
        }
        self.fared.error = Some(error);
    }

    fn evaluate(&mut self, setting: &Setting<'_>) -> Result<Stepped, String> {
        let found = ask(&self.rule, setting)?;
        match &mut self.alerting {
            Some(alerting) => alerting.step((&self.rule, &self.inputs), &found, setting),
            None => record(&self.rule, found, setting).map(|made| Stepped { made, changed: false }),
        }
    }

    /// What it made, and the end of what it no longer makes.
    fn with_ends(&mut self, mut made: Vec<Made>, at: Timestamp) -> Vec<Made> {
        let live: HashSet<Labels> = made.iter().map(|made| made.labels.clone()).collect();
        made.extend(self.live.difference(&live).map(|gone| Made::end(gone.clone(), at)));
        self.live = live;
        made
    }
}

/// What a rule's expression finds.
fn ask(rule: &Rule, setting: &Setting<'_>) -> Result<Vec<VectorSample>, String> {
    let answer =
        promql::instant_parsed(setting.source, &rule.expr, &rule.text, setting.asked_at, setting.options)
            .map_err(|error| error.to_string())?;
    setting.cost.set(answer.statistics);
    match answer.value {
        Value::Vector(samples) => Ok(samples),
        Value::Scalar { timestamp, value } => {
            Ok(vec![VectorSample { labels: Labels::empty(), timestamp, value, histogram: None }])
        }
        Value::String { .. } | Value::Matrix(_) => Err("rule result is not a vector or scalar".to_owned()),
    }
}

/// What a recording rule makes of it.
fn record(rule: &Rule, found: Vec<VectorSample>, setting: &Setting<'_>) -> Result<Vec<Made>, String> {
    let mut seen = HashSet::with_capacity(found.len());
    let mut made = Vec::with_capacity(found.len());
    for sample in found {
        let mut labels = sample.labels.to_builder();
        labels.set(METRIC_NAME, &rule.name);
        for (name, value) in &rule.labels {
            labels.set(name, value);
        }
        let labels = labels.build();
        if !seen.insert(labels.clone()) {
            return Err(
                "vector contains metrics with the same labelset after applying rule labels".to_owned()
            );
        }
        made.push(Made { labels, at: setting.asked_at, value: sample.value, histogram: sample.histogram });
    }
    if setting.limit > 0 && made.len() > setting.limit {
        return Err(format!("exceeded limit of {} with {} series", setting.limit, made.len()));
    }
    Ok(made)
}

/// What a pass made and has not written yet.
#[derive(Default)]
struct Unwritten {
    made: Vec<Made>,
    names: BTreeSet<String>,
    /// Rules that made it.
    rules: Vec<usize>,
}

impl Unwritten {
    fn add(&mut self, rule: usize, made: Vec<Made>) {
        if made.is_empty() {
            return;
        }
        self.names.extend(made.iter().filter_map(|made| made.labels.metric_name()).map(str::to_owned));
        self.made.extend(made);
        self.rules.push(rule);
    }

    /// Whether a rule may select what is not written yet.
    fn concerns(&self, rule: &Rule) -> bool {
        if self.names.is_empty() {
            return false;
        }
        let selectors = rule.expr.selectors();
        selectors.iter().any(|matchers| self.names.iter().any(|name| may_select(matchers, name)))
    }

    fn write(
        &mut self,
        rules: &mut [Running],
        world: &dyn World,
        shared: &Shared,
        now: Timestamp,
        pass: &mut Pass,
    ) {
        let Self { made, names, rules: makers } = std::mem::take(self);
        if made.is_empty() {
            return;
        }
        shared.forget(&names);
        match world.write(&made, now) {
            Ok(()) => pass.values += made.iter().filter(|made| !model::is_stale(made.value)).count(),
            Err(error) => {
                let error = format!("cannot write what the rule made: {error}");
                tracing::warn!("{error}");
                for rule in makers {
                    rules[rule].fared.error = Some(error.clone());
                    pass.failed += 1;
                }
            }
        }
    }
}
