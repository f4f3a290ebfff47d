//! Silence is not recovery: whether an alert that its expression no longer finds may resolve.
//!
//! In: the alert's labels; what its rule selects, recording rules followed to what they select; who writes which series, and who is
//! silent ([`Senders`]). Out: whether some series that the alert rests on comes from nobody but silent senders, or from none that sent
//! anything since the alert was seen (a window may be shorter than it takes to call a sender silent). What is found out is
//! remembered with the alert, because the store forgets who wrote what some hours after the last sample. A sender that comes back does
//! not bring everything at once: an alert is held until its own series have two samples more, or for [`SETTLE`].
//!
//! Limits: [`SERIES_MAX`] series of one rule are looked through; [`DEPTH_MAX`] recording rules on top of each other.

use std::cell::{OnceCell, RefCell};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use alerting::Absence;
use model::{
    Columns, Labels, METRIC_NAME, MatchOp, Matcher, Selection, SeriesSource, SourceError, Timestamp, is_stale,
};

use super::file::{Rule, RuleKind};
use super::state::SendersOf;
use super::world::Senders;

/// The most series of one rule that are looked through.
const SERIES_MAX: usize = 200_000;
/// Recording rules on top of each other.
const DEPTH_MAX: usize = 8;
/// How far back series are looked for: as long as the store knows who wrote them.
const WINDOW: Duration = Duration::from_secs(2 * 3600);

/// How long a sender that came back may take until all of its series are there again; more than what is polled most rarely is late.
const SETTLE: Duration = Duration::from_secs(600);

/// The label by which series are found again.
const INSTANCE: &str = "instance";

/// Moments in the lives of alerts.
pub(super) type Moments = HashMap<Labels, Timestamp>;

/// What is remembered of a rule's alerts from one evaluation to the next.
#[derive(Default)]
pub(super) struct Memory {
    /// Whose silence an alert rests on.
    pub(super) senders: SendersOf,
    /// Until when it was held because its sender was silent.
    pub(super) held_at: Moments,
    /// When it was seen last.
    pub(super) seen_at: Moments,
}

impl Memory {
    /// Some alerts were seen now, some are still active.
    pub(super) fn settle(&mut self, at: Timestamp, seen: Vec<Labels>, active: &HashSet<&Labels>) {
        for labels in &seen {
            self.held_at.remove(labels);
        }
        self.seen_at.extend(seen.into_iter().map(|labels| (labels, at)));
        self.senders.retain(|labels, _| active.contains(labels));
        self.held_at.retain(|labels, _| active.contains(labels));
        self.seen_at.retain(|labels, _| active.contains(labels));
    }
}

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
    memory: RefCell<Memory>,
    series: OnceCell<Vec<Labels>>,
    /// Places in `series`.
    by_instance: OnceCell<HashMap<String, Vec<usize>>>,
    fresh: OnceCell<Vec<(Labels, Timestamp)>>,
}

impl<'a> Silence<'a> {
    pub(super) fn new(
        (rule, inputs): (&'a Rule, &'a [Vec<Matcher>]),
        source: &'a dyn SeriesSource,
        senders: &'a dyn Senders,
        at: Timestamp,
        memory: Memory,
    ) -> Self {
        Self {
            rule,
            inputs,
            source,
            senders,
            at,
            memory: RefCell::new(memory),
            series: OnceCell::new(),
            by_instance: OnceCell::new(),
            fresh: OnceCell::new(),
        }
    }

    /// What is remembered now.
    pub(super) fn into_memory(self) -> Memory {
        self.memory.into_inner()
    }

    /// Why an alert is not seen any more.
    pub(super) fn absence(&self, alert: &Labels) -> Absence {
        if self.is_silent(alert) {
            self.memory.borrow_mut().held_at.insert(alert.clone(), self.at);
            return Absence::Silent;
        }
        let held_at = self.memory.borrow().held_at.get(alert).copied();
        if held_at.is_some_and(|held_at| self.came_back_lately(alert, held_at)) {
            return Absence::Silent;
        }
        let seen_at = self.memory.borrow().seen_at.get(alert).copied();
        if seen_at.is_some_and(|seen_at| self.is_quiet(alert, seen_at)) {
            return Absence::Waiting;
        }
        Absence::Over
    }

    /// Whether those who were silent have still to send what the alert rests on.
    fn came_back_lately(&self, alert: &Labels, held_at: Timestamp) -> bool {
        self.at.millis_since(held_at) < SETTLE.as_millis() as i64 && !self.has_data_since(alert, held_at)
    }

    /// Whether some series that the alert rests on comes from nobody who sent anything since then.
    fn is_quiet(&self, alert: &Labels, since: Timestamp) -> bool {
        let mut writers = self.writers(alert).into_iter();
        writers.any(|names| names.iter().all(|name| !self.senders.has_sent_since(name, since)))
    }

    /// Who writes each of an alert's series, as far as that is known.
    fn writers(&self, alert: &Labels) -> Vec<Vec<Arc<str>>> {
        let series = self.series();
        let own = self.candidates(alert).map(|place| &series[place]);
        let own: Vec<Labels> = own.filter(|series| self.bears(series, alert)).cloned().collect();
        self.senders.of(&own).into_iter().filter(|writers| !writers.is_empty()).collect()
    }

    /// Places of the series that may be an alert's: those of its instance and those of none. A site that comes back ends thousands of
    /// alerts at once, and looking through all series for each of them held up every other rule.
    fn candidates(&self, alert: &Labels) -> Box<dyn Iterator<Item = usize> + '_> {
        let is_ours = self.rule.labels.iter().any(|(own, _)| own == INSTANCE);
        let Some(instance) = alert.get(INSTANCE).filter(|_| !is_ours) else {
            return Box::new(0..self.series().len());
        };
        let by_instance = self.by_instance.get_or_init(|| {
            let mut places: HashMap<String, Vec<usize>> = HashMap::new();
            for (place, series) in self.series().iter().enumerate() {
                places.entry(series.get(INSTANCE).unwrap_or_default().to_owned()).or_default().push(place);
            }
            places
        });
        let of = |instance: &str| by_instance.get(instance).into_iter().flatten().copied();
        let none = Some("").filter(|none| *none != instance).into_iter().flat_map(of);
        Box::new(of(instance).chain(none))
    }

    /// Whether those who were silent have sent what the alert rests on: two samples, because rates need two.
    fn has_data_since(&self, alert: &Labels, since: Timestamp) -> bool {
        let memory = self.memory.borrow();
        let Some(names) = memory.senders.get(alert) else { return true };
        let newer =
            self.fresh().iter().filter(|(series, second)| *second > since && self.bears(series, alert));
        let newer: Vec<Labels> = newer.map(|(series, _)| series.clone()).collect();
        self.senders.of(&newer).iter().flatten().any(|writer| names.contains(writer))
    }

    /// Series of the rule with two samples of late, and when the last but one was.
    fn fresh(&self) -> &[(Labels, Timestamp)] {
        self.fresh.get_or_init(|| {
            let mut fresh = Vec::new();
            for matchers in self.inputs {
                let selection = Selection { matchers, start: self.at - SETTLE, end: self.at };
                if let Err(error) = read_fresh(self.source, &selection, &mut fresh) {
                    tracing::warn!("cannot read the series behind rule {:?}: {error}", self.rule.name);
                }
            }
            fresh
        })
    }

    fn is_silent(&self, alert: &Labels) -> bool {
        if !self.senders.any_silent() {
            return false;
        }
        let writers = self.writers(alert);
        if writers.is_empty() {
            let memory = self.memory.borrow();
            let silent = |name: &Arc<str>| self.senders.is_silent(name);
            return memory.senders.get(alert).is_some_and(|names| names.iter().any(silent));
        }
        let silent: Vec<&Vec<Arc<str>>> =
            writers.iter().filter(|names| names.iter().all(|name| self.senders.is_silent(name))).collect();
        if silent.is_empty() {
            return false;
        }
        let mut names: Vec<Arc<str>> = silent.into_iter().flatten().cloned().collect();
        names.sort_unstable();
        names.dedup();
        self.memory.borrow_mut().senders.insert(alert.clone(), names);
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

fn read_fresh(
    source: &dyn SeriesSource,
    selection: &Selection<'_>,
    fresh: &mut Vec<(Labels, Timestamp)>,
) -> Result<(), SourceError> {
    let mut set = source.select(selection)?;
    let (mut columns, mut histograms) = (Columns::default(), Vec::new());
    while fresh.len() < SERIES_MAX && set.advance()? {
        set.read(&mut columns)?;
        set.read_histograms(&mut histograms)?;
        let values = columns.iter().filter(|sample| !is_stale(sample.value)).map(|sample| sample.timestamp);
        let mut times: Vec<Timestamp> = values.chain(histograms.iter().map(|(at, _)| *at)).collect();
        times.sort_unstable();
        if let Some(second) = times.len().checked_sub(2) {
            fresh.push((set.labels().clone(), times[second]));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::file::RuleFile;
    use super::super::unit::memory::{Memory as Series, Point};
    use super::super::unit::notation;
    use super::*;

    /// Everybody is silent; who writes a series stands in its label `writer`.
    struct Everybody;

    impl Senders for Everybody {
        fn any_silent(&self) -> bool {
            true
        }

        fn is_silent(&self, _: &str) -> bool {
            true
        }

        fn has_sent_since(&self, _: &str, _: Timestamp) -> bool {
            false
        }

        fn of(&self, series: &[Labels]) -> Vec<Vec<Arc<str>>> {
            series.iter().map(|labels| vec![Arc::from(labels.get("writer").unwrap_or_default())]).collect()
        }
    }

    fn check(labels: &str, alert: &str, expected: &[&str]) {
        let text = format!(
            "groups:\n- name: g\n  rules:\n  - {{alert: A, expr: 'up == 0 and on () site', labels: {{{labels}}}}}\n"
        );
        let file = RuleFile::parse(&text, std::path::Path::new("r.yml")).expect("good rules");
        let rule = &file.groups[0].rules[0];
        let (source, at) = (Series::default(), Timestamp::from_millis(60_000));
        for series in [
            r#"up{instance="a",writer="1"}"#,
            r#"up{instance="b",writer="2"}"#,
            r#"up{writer="3"}"#,
            r#"site{instance="",writer="4"}"#,
            r#"up{instance="a",job="other",writer="5"}"#,
        ] {
            source.insert(&notation::labels(series).expect("a series"), at, Point::Value(0.0));
        }
        let inputs = inputs(rule, &Recorders::new());
        let silence = Silence::new((rule, &inputs), &source, &Everybody, at, Memory::default());
        let mut alert_labels = notation::labels(alert).expect("labels").to_builder();
        alert_labels.remove(METRIC_NAME);
        let writers = silence.writers(&alert_labels.build()).concat();
        let mut writers: Vec<String> = writers.iter().map(|name| name.to_string()).collect();
        writers.sort_unstable();
        assert_eq!(writers, expected, "{labels} {alert}");
    }

    #[test]
    fn an_alert_rests_on_series_of_its_instance_and_of_none() {
        check("", r#"A{alertname="A",instance="a"}"#, &["1", "3", "4", "5"]);
        check("", r#"A{alertname="A",instance="a",job="node"}"#, &["1", "3", "4"]);
        check("", r#"A{alertname="A",instance="c"}"#, &["3", "4"]);
        check("", r#"A{alertname="A"}"#, &["1", "2", "3", "4", "5"]);
        check("instance: all", r#"A{alertname="A",instance="all"}"#, &["1", "2", "3", "4", "5"]);
    }
}
