//! Silence is not recovery: whether an alert that its expression no longer finds may resolve.
//!
//! In: the alert's labels; what its rule selects, recording rules followed to what they select; who writes which series, and who is
//! silent ([`Senders`]). Out: whether some series that the alert rests on comes from nobody but silent senders. What is found out is
//! remembered with the alert, because the store forgets who wrote what some hours after the last sample.
//!
//! Limits: [`SERIES_MAX`] series of one rule are looked through; [`DEPTH_MAX`] recording rules on top of each other.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use model::{Labels, METRIC_NAME, MatchOp, Matcher, Selection, SeriesSource, Timestamp};

use super::file::{Rule, RuleKind};
use super::state::SendersOf;
use super::world::Senders;

/// The most series of one rule that are looked through.
const SERIES_MAX: usize = 200_000;
/// Recording rules on top of each other.
const DEPTH_MAX: usize = 8;
/// How far back series are looked for: as long as the store knows who wrote them.
const WINDOW: Duration = Duration::from_secs(2 * 3600);

/// Recording rules by the metric that they make.
pub(super) type Recorders = HashMap<String, Vec<Arc<Rule>>>;

pub(super) fn recorders<'r>(rules: impl Iterator<Item = &'r Arc<Rule>>) -> Recorders {
    let mut recorders = Recorders::new();
    for rule in rules.filter(|rule| matches!(rule.kind, RuleKind::Record)) {
        recorders.entry(rule.name.clone()).or_default().push(Arc::clone(rule));
    }
    recorders
}

/// What a rule selects in the end: its own selectors, and those of the recording rules behind them.
pub(super) fn inputs(rule: &Rule, recorders: &Recorders) -> Vec<Vec<Matcher>> {
    let mut inputs: Vec<Vec<Matcher>> = Vec::new();
    let mut layer: Vec<Vec<Matcher>> = rule.expr.selectors().into_iter().map(<[Matcher]>::to_vec).collect();
    for _ in 0..DEPTH_MAX {
        let mut below = Vec::new();
        for matchers in layer {
            let name = matchers
                .iter()
                .find(|matcher| matcher.name() == METRIC_NAME && matcher.op() == MatchOp::Equal);
            let behind = name.and_then(|name| recorders.get(name.value())).into_iter().flatten();
            below.extend(behind.flat_map(|rule| rule.expr.selectors()).map(<[Matcher]>::to_vec));
            if !inputs.contains(&matchers) {
                inputs.push(matchers);
            }
        }
        layer = below;
    }
    inputs
}

/// See the module's text. One rule at one moment.
pub(super) struct Silence<'a> {
    pub(super) rule: &'a Rule,
    pub(super) inputs: &'a [Vec<Matcher>],
    pub(super) source: &'a dyn SeriesSource,
    pub(super) senders: &'a dyn Senders,
    pub(super) at: Timestamp,
    pub(super) remembered: RefCell<SendersOf>,
    series: OnceCell<Vec<Labels>>,
}

impl<'a> Silence<'a> {
    pub(super) fn new(
        (rule, inputs): (&'a Rule, &'a [Vec<Matcher>]),
        source: &'a dyn SeriesSource,
        senders: &'a dyn Senders,
        at: Timestamp,
        remembered: SendersOf,
    ) -> Self {
        Self {
            rule,
            inputs,
            source,
            senders,
            at,
            remembered: RefCell::new(remembered),
            series: OnceCell::new(),
        }
    }

    /// Whether an alert's data comes from nobody but the silent.
    pub(super) fn holds(&self, alert: &Labels) -> bool {
        if !self.senders.any_silent() {
            return false;
        }
        let own: Vec<Labels> =
            self.series().iter().filter(|series| self.bears(series, alert)).cloned().collect();
        let writers: Vec<_> =
            self.senders.of(&own).into_iter().filter(|writers| !writers.is_empty()).collect();
        if writers.is_empty() {
            let remembered = self.remembered.borrow();
            let silent = |name: &Arc<str>| self.senders.is_silent(name);
            return remembered.get(alert).is_some_and(|names| names.iter().any(silent));
        }
        let silent: Vec<&Vec<Arc<str>>> =
            writers.iter().filter(|names| names.iter().all(|name| self.senders.is_silent(name))).collect();
        if silent.is_empty() {
            return false;
        }
        let mut names: Vec<Arc<str>> = silent.into_iter().flatten().cloned().collect();
        names.sort_unstable();
        names.dedup();
        self.remembered.borrow_mut().insert(alert.clone(), names);
        true
    }

    /// Whether a series is one that the alert speaks of: what both bear is equal, but for what the rule sets itself.
    fn bears(&self, series: &Labels, alert: &Labels) -> bool {
        alert.iter().all(|(name, value)| {
            let is_ours = name == "alertname" || self.rule.labels.iter().any(|(own, _)| own == name);
            is_ours || series.get(name).is_none_or(|have| have == value)
        })
    }

    fn series(&self) -> &[Labels] {
        self.series.get_or_init(|| {
            let start = self.at - WINDOW;
            let selections: Vec<Selection<'_>> =
                self.inputs.iter().map(|matchers| Selection { matchers, start, end: self.at }).collect();
            if selections.is_empty() {
                return Vec::new();
            }
            self.source.series(&selections, SERIES_MAX).unwrap_or_else(|error| {
                tracing::warn!("cannot look for the series behind rule {:?}: {error}", self.rule.name);
                Vec::new()
            })
        })
    }
}
