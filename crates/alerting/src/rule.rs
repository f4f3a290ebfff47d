//! All alerts of one rule, and the step from one evaluation to the next.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use model::{Labels, METRIC_NAME, Timestamp};

use crate::AlertingError;
use crate::alert::{ActiveAlert, AlertState, RuleSpec, Seen, Transition, TransitionKind, at_least};
use crate::notice::{Notice, NoticeKind};

/// All alerts of one rule, those that ended lately included.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RuleState {
    alerts: HashMap<Labels, ActiveAlert>,
}

impl RuleState {
    /// How long an alert that ended is kept and told as resolved.
    pub const RESOLVED_KEPT: Duration = Duration::from_secs(15 * 60);

    pub(crate) fn of(alerts: impl IntoIterator<Item = ActiveAlert>) -> Self {
        Self { alerts: alerts.into_iter().map(|alert| (alert.labels.clone(), alert)).collect() }
    }

    /// Alerts that are pending, firing or unknown, in no order.
    pub fn active(&self) -> impl Iterator<Item = &ActiveAlert> {
        self.alerts.values().filter(|alert| alert.is_active())
    }

    /// The alert with these labels, ended lately or not.
    pub fn get(&self, labels: &Labels) -> Option<&ActiveAlert> {
        self.alerts.get(labels)
    }

    /// Whether there is no alert at all.
    pub fn is_empty(&self) -> bool {
        self.alerts.is_empty()
    }

    /// All alerts, those that ended in the last 15 minutes included, in no order.
    pub fn alerts(&self) -> impl Iterator<Item = &ActiveAlert> {
        self.alerts.values()
    }

    /// Takes over what receivers have heard of another rule's alerts and not yet heard the end of: of a rule that is no more. Of two with
    /// the same labels the one that was told of last stays.
    pub fn adopt(&mut self, other: Self) {
        for (labels, alert) in other.alerts {
            let is_told = alert.last_sent_as.is_some_and(|kind| kind != NoticeKind::Resolved);
            let is_newer =
                self.alerts.get(&labels).is_none_or(|have| have.last_sent_at <= alert.last_sent_at);
            if is_told && is_newer {
                self.alerts.insert(labels, alert);
            }
        }
    }

    /// After a stop: what was told of each alert is valid as if it were told now.
    pub fn prolong(&mut self, now: Timestamp) {
        for alert in self.alerts.values_mut() {
            if let (Some(sent), Some(until)) = (alert.last_sent_at, alert.valid_until) {
                alert.valid_until = Some(now + millis(until.millis_since(sent)));
                alert.last_sent_at = Some(now);
            }
        }
    }

    /// Ends what nobody tells of any more: each alert for which `lives` says so is somebody else's now and is forgotten here; each other
    /// one is told as resolved once the time is over for which it was told, as an Alertmanager ends it that hears nothing more.
    pub fn expire(
        &mut self,
        now: Timestamp,
        generator_url: &str,
        lives: &dyn Fn(&Labels) -> bool,
    ) -> Vec<Notice> {
        let mut notices = Vec::new();
        self.alerts.retain(|labels, alert| {
            if lives(labels) {
                return false;
            }
            let until = alert.resolved_at.or(alert.valid_until).unwrap_or(now);
            if now < until {
                return true;
            }
            notices.push(alert.notice(NoticeKind::Resolved, Some(until), generator_url));
            false
        });
        notices.sort_by(|one, other| one.labels.cmp(&other.labels));
        notices
    }

    pub(crate) fn alerts_mut(&mut self) -> impl Iterator<Item = &mut ActiveAlert> {
        self.alerts.values_mut()
    }

    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&ActiveAlert) -> bool) {
        self.alerts.retain(|_, alert| keep(alert));
    }

    /// One evaluation: `seen` is what the expression found at `now`; `absence` says why an alert was not seen. What happened comes by
    /// labels. After an error nothing has changed. Where `now` is before what happened last (a clock was ahead and was set right), that
    /// counts as having happened now.
    pub fn step(
        &mut self,
        spec: &RuleSpec,
        now: Timestamp,
        seen: Vec<Seen>,
        absence: &dyn Fn(&Labels) -> Absence,
    ) -> Result<Vec<Transition>, AlertingError> {
        let mut found = HashSet::with_capacity(seen.len());
        if !seen.iter().all(|seen| found.insert(seen.labels.clone())) {
            return Err(AlertingError::DuplicateLabels);
        }
        self.alerts.values_mut().for_each(|alert| alert.not_later_than(now));
        let mut happened = Vec::new();
        for seen in seen {
            self.see(seen, now, &mut happened);
        }
        self.alerts.retain(|labels, alert| {
            let (kept, what) = if found.contains(labels) {
                (true, go_on(alert, spec, now))
            } else {
                miss(alert, spec, now, || absence(labels))
            };
            happened.extend(what.map(|kind| Transition { labels: labels.clone(), kind }));
            kept
        });
        happened.sort_by(|one, other| (&one.labels, one.kind).cmp(&(&other.labels, other.kind)));
        Ok(happened)
    }

    fn see(&mut self, seen: Seen, now: Timestamp, happened: &mut Vec<Transition>) {
        let Some(alert) = self.alerts.get_mut(&seen.labels).filter(|alert| alert.is_active()) else {
            happened.push(Transition { labels: seen.labels.clone(), kind: TransitionKind::Began });
            self.alerts.insert(seen.labels.clone(), ActiveAlert::begin(seen, now));
            return;
        };
        alert.value = seen.value;
        alert.annotations = seen.annotations;
        if let Some(since) = alert.unknown_since.take() {
            alert.state = alert.former();
            // A pending alert's `for` counts what was seen, and in the silence nothing was.
            if alert.state == AlertState::Pending {
                alert.active_at = alert.active_at + millis(now.millis_since(since));
            }
            happened.push(Transition { labels: seen.labels, kind: TransitionKind::CameBack });
        }
    }

    /// The samples `ALERTS` (1) and `ALERTS_FOR_STATE` (seconds since the epoch at which the alert became active) of each active alert.
    pub fn series(&self, spec: &RuleSpec) -> Vec<(Labels, f64)> {
        let mut samples = Vec::with_capacity(2 * self.alerts.len());
        for alert in self.active() {
            let mut labels = alert.labels.to_builder();
            labels.set("alertname", &spec.name);
            labels.set(METRIC_NAME, "ALERTS_FOR_STATE");
            let active = labels.build();
            labels.set(METRIC_NAME, "ALERTS").set("alertstate", alert.state.as_str());
            samples.push((labels.build(), 1.0));
            samples.push((active, alert.active_at.as_millis().div_euclid(1000) as f64));
        }
        samples
    }
}

/// Why an expression does not find what it found before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// By what was sent since then: the condition holds no more.
    Over,
    /// The sender of its data has sent nothing since then, and may yet: the alert stays what it is.
    Waiting,
    /// The sender is silent, for longer than it ever is: the alert is [`AlertState::Unknown`].
    Silent,
}

/// An alert whose condition holds.
fn go_on(alert: &mut ActiveAlert, spec: &RuleSpec, now: Timestamp) -> Option<TransitionKind> {
    alert.keep_firing_since = None;
    if alert.state != AlertState::Pending || !alert.has_held(spec.hold, now) {
        return None;
    }
    alert.state = AlertState::Firing;
    alert.fired_at = Some(now);
    Some(TransitionKind::Fired)
}

/// An alert that was not seen: whether it is kept, and what happened to it.
fn miss(
    alert: &mut ActiveAlert,
    spec: &RuleSpec,
    now: Timestamp,
    absence: impl Fn() -> Absence,
) -> (bool, Option<TransitionKind>) {
    if let Some(resolved) = alert.resolved_at {
        return (
            i128::from(now.millis_since(resolved)) <= RuleState::RESOLVED_KEPT.as_millis() as i128,
            None,
        );
    }
    match absence() {
        Absence::Over => {}
        Absence::Waiting => return (true, None),
        Absence::Silent => {
            let first = alert.unknown_since.is_none();
            alert.state = AlertState::Unknown;
            alert.unknown_since.get_or_insert(now);
            return (true, first.then_some(TransitionKind::BecameUnknown));
        }
    }
    let was_unknown = alert.unknown_since.take().is_some();
    alert.state = alert.former();
    if alert.state == AlertState::Pending {
        return (false, Some(TransitionKind::Cancelled));
    }
    if !spec.keep_firing.is_zero() {
        let since = *alert.keep_firing_since.get_or_insert(now);
        if !at_least(now, since, spec.keep_firing) {
            return (true, was_unknown.then_some(TransitionKind::CameBack));
        }
    }
    alert.resolved_at = Some(now);
    (true, Some(TransitionKind::Resolved))
}

/// A span that may be below zero, as none.
pub(crate) fn millis(span: i64) -> Duration {
    Duration::from_millis(u64::try_from(span).unwrap_or(0))
}
