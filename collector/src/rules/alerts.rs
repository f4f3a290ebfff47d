//! An alerting rule that runs: values become alerts, labels and annotations are expanded, the state machine of `alerting` says what they are.
//!
//! In: what the rule's expression found. Out: `ALERTS` and `ALERTS_FOR_STATE`, notices for those who are told, and the state that
//! survives a restart.

use std::collections::HashSet;
use std::time::Duration;

use alerting::{ActiveAlert, AlertState, Notice, RuleSpec, RuleState, Seen, Sending};
use model::{Labels, METRIC_NAME, Matcher, Timestamp};
use promql::{Value, VectorSample};
use template::{AlertData, Environment, QuerySample, Template};

use super::engine::Comeback;
use super::file::{Rule, RuleKind};
use super::group::Setting;
use super::silence::{Memory, Silence};
use super::state::Kept;
use super::world::Made;

/// A text that is expanded for each alert; the reason where it is no template.
type Text = (String, Result<Template, String>);

/// See the module's text.
pub(super) struct Alerting {
    spec: RuleSpec,
    labels: Vec<Text>,
    annotations: Vec<Text>,
    /// The expression as it is printed: where links lead.
    query: String,
    state: RuleState,
    memory: Memory,
    /// Alerts that were forgotten and of which receivers still think that they fire.
    lost: RuleState,
}

/// How notices are made.
pub(super) struct Telling<'a> {
    pub(super) resend_delay: Duration,
    pub(super) interval: Duration,
    pub(super) url: &'a str,
}

/// What an evaluation came to.
pub(super) struct Stepped {
    pub(super) made: Vec<Made>,
    /// Whether an alert began, fired or ended.
    pub(super) changed: bool,
}

impl Alerting {
    /// `None` for a recording rule. The state of the same rule stays.
    pub(super) fn new(rule: &Rule, before: Option<Self>) -> Option<Self> {
        let RuleKind::Alert { hold, keep_firing, annotations } = &rule.kind else { return None };
        let before = before.map(|before| (before.state, before.memory, before.lost));
        let (state, memory, lost) = before.unwrap_or_default();
        let name = format!("__alert_{}", rule.name);
        let texts = |pairs: &[(String, String)]| -> Vec<Text> {
            let text = |(key, text): &(String, String)| {
                (key.clone(), Template::parse(&name, text).map_err(|error| error.to_string()))
            };
            pairs.iter().map(text).collect()
        };
        Some(Self {
            spec: RuleSpec { name: rule.name.clone(), hold: *hold, keep_firing: *keep_firing },
            labels: texts(&rule.labels),
            annotations: texts(annotations),
            query: rule.expr.to_string(),
            state,
            memory,
            lost,
        })
    }

    /// Alerts that are pending, firing or unknown.
    pub(super) fn active(&self) -> impl Iterator<Item = &ActiveAlert> {
        self.state.active()
    }

    /// Takes in what the rule's expression found.
    pub(super) fn step(
        &mut self,
        (rule, inputs): (&Rule, &[Vec<Matcher>]),
        found: &[VectorSample],
        setting: &Setting<'_>,
    ) -> Result<Stepped, String> {
        let seen: Vec<Seen> = found.iter().map(|sample| self.alert(sample, setting)).collect();
        let found_now: Vec<Labels> = seen.iter().map(|seen| seen.labels.clone()).collect();
        let memory = std::mem::take(&mut self.memory);
        let silence = Silence::new((rule, inputs), setting.source, setting.senders, setting.at, memory);
        let transitions = self.state.step(&self.spec, setting.at, seen, &|alert| silence.absence(alert));
        self.memory = silence.into_memory();
        let transitions = transitions.map_err(|error| error.to_string())?;
        let active: HashSet<&Labels> = self.state.active().map(|alert| &alert.labels).collect();
        self.memory.settle(setting.at, found_now, &active);
        if setting.limit > 0 && active.len() > setting.limit {
            let count = active.len();
            self.lost.adopt(std::mem::take(&mut self.state));
            return Err(format!("exceeded limit of {} with {count} alerts", setting.limit));
        }
        Ok(Stepped { made: self.series(setting.asked_at), changed: !transitions.is_empty() })
    }

    /// Alerts that it forgot, once.
    pub(super) fn take_lost(&mut self) -> RuleState {
        std::mem::take(&mut self.lost)
    }

    /// All alerts of a rule that is no more.
    pub(super) fn into_lost(mut self) -> RuleState {
        self.lost.adopt(self.state);
        self.lost
    }

    /// Whether it tells of an alert.
    pub(super) fn tells(&self, labels: &Labels) -> bool {
        self.state.get(labels).is_some_and(is_told)
    }

    /// Labels of the alerts for which [`tells`](Self::tells) says so.
    pub(super) fn told(&self) -> impl Iterator<Item = &Labels> {
        self.state.active().filter(|alert| is_told(alert)).map(|alert| &alert.labels)
    }

    /// `ALERTS` and `ALERTS_FOR_STATE`.
    pub(super) fn series(&self, at: Timestamp) -> Vec<Made> {
        let series = self.state.series(&self.spec).into_iter();
        series.map(|(labels, value)| Made { labels, at, value, histogram: None }).collect()
    }

    fn alert(&self, sample: &VectorSample, setting: &Setting<'_>) -> Seen {
        let histogram = sample.histogram.as_ref().map(ToString::to_string);
        let data = AlertData {
            labels: &sample.labels,
            external_labels: &setting.named.labels,
            external_url: &setting.named.url,
            value: sample.value,
            histogram: histogram.as_deref(),
        };
        let mut asking = Asking(setting);
        let mut labels = sample.labels.to_builder();
        labels.remove(METRIC_NAME);
        for (name, text) in &self.labels {
            labels.set(name, &expand(text, &data, &mut asking));
        }
        labels.set("alertname", &self.spec.name);
        let annotations = self
            .annotations
            .iter()
            .map(|(name, text)| (name.clone(), expand(text, &data, &mut asking)))
            .collect();
        Seen { labels: labels.build(), annotations, value: sample.value }
    }

    /// Who must be told what.
    pub(super) fn notices(&mut self, now: Timestamp, telling: &Telling<'_>) -> Vec<Notice> {
        let Telling { resend_delay, interval, url } = *telling;
        let asked: String = form_urlencoded::byte_serialize(self.query.as_bytes()).collect();
        let generator_url = format!("{url}/graph?g0.expr={asked}&g0.tab=1");
        self.state.to_send(now, &Sending { resend_delay, interval, generator_url: &generator_url })
    }

    /// Whether there is anything that a restart must not forget.
    pub(super) fn is_worth_keeping(&self) -> bool {
        self.state.alerts().next().is_some()
    }

    pub(super) fn save(&self) -> Kept {
        let mut alerts = Vec::new();
        self.state.encode(&mut alerts);
        Kept { alerts, senders: self.memory.senders.clone() }
    }

    /// Takes over what was kept at a stop.
    pub(super) fn restore(&mut self, kept: Kept, stopped_at: Timestamp, comeback: Comeback, now: Timestamp) {
        match RuleState::decode(&kept.alerts) {
            Ok(mut state) => {
                let Comeback { outage_tolerance, grace_period } = comeback;
                state.resume(&self.spec, stopped_at, now, grace_period, outage_tolerance);
                self.state = state;
            }
            Err(error) => {
                tracing::warn!(
                    "cannot read the alerts of rule {:?}: {error}; they begin anew",
                    self.spec.name
                );
            }
        }
        // Whether they were silent until the stop or not, who comes back after it does not bring everything at once.
        self.memory.held_at = kept.senders.keys().map(|labels| (labels.clone(), now)).collect();
        self.memory.seen_at = self.state.active().map(|alert| (alert.labels.clone(), stopped_at)).collect();
        self.memory.senders = kept.senders;
    }
}

/// The text for one alert; what cannot be expanded is said in its place, as Prometheus does it.
fn expand(text: &Result<Template, String>, data: &AlertData<'_>, asking: &mut Asking<'_>) -> String {
    let expanded = match text {
        Ok(template) => template.expand(data, asking).map_err(|error| error.to_string()),
        Err(error) => Err(error.clone()),
    };
    expanded.unwrap_or_else(|error| format!("<error expanding template: {error}>"))
}

/// What templates ask.
struct Asking<'a>(&'a Setting<'a>);

impl Environment for Asking<'_> {
    fn query(&mut self, expr: &str) -> Result<Vec<QuerySample>, String> {
        let Setting { source, options, at, .. } = self.0;
        let answer = promql::instant(*source, expr, *at, options).map_err(|error| error.to_string())?;
        match answer.value {
            Value::Vector(samples) => {
                Ok(samples.into_iter().map(|s| QuerySample { labels: s.labels, value: s.value }).collect())
            }
            Value::Scalar { value, .. } => Ok(vec![QuerySample { labels: Labels::empty(), value }]),
            Value::String { .. } | Value::Matrix(_) => {
                Err("query result is not a vector or scalar".to_owned())
            }
        }
    }

    fn now(&self) -> Timestamp {
        self.0.at
    }
}

/// Whether receivers hear of an alert.
fn is_told(alert: &ActiveAlert) -> bool {
    alert.is_active() && alert.former() == AlertState::Firing
}
