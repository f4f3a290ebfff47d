//! One alert, what a rule says about all of its alerts, and what can happen to one.

use std::time::Duration;

use model::{Labels, Timestamp};

use crate::notice::NoticeKind;
use crate::rule::millis;

/// What a rule's alerts have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleSpec {
    /// The rule's name: the label `alertname`.
    pub name: String,
    /// `for`: how long the condition must hold before an alert fires.
    pub hold: Duration,
    /// `keep_firing_for`: how long an alert goes on firing after the condition ended.
    pub keep_firing: Duration,
}

/// One element of what a rule's expression found, labels and annotations expanded.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// The alert's labels, with `alertname` and without the metric's name.
    pub labels: Labels,
    /// Texts for people, by name, in the rule's order.
    pub annotations: Vec<(String, String)>,
    /// The element's value.
    pub value: f64,
}

/// Where an alert that is not resolved stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AlertState {
    /// The condition holds, but not yet for long enough.
    Pending,
    /// The condition has held for long enough.
    Firing,
    /// It was pending or firing when its data stopped because the sender is silent ([`ActiveAlert::former`] says which).
    Unknown,
}

impl AlertState {
    /// As the label `alertstate` and the API say it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Firing => "firing",
            Self::Unknown => "unknown",
        }
    }
}

/// One alert of a rule. Where `resolved_at` is set it is no longer active and is kept only so that its end is told.
#[derive(Clone, Debug)]
pub struct ActiveAlert {
    /// Its labels, with `alertname`.
    pub labels: Labels,
    /// Texts for people, as they were when it was last seen.
    pub annotations: Vec<(String, String)>,
    /// The value when it was last seen.
    pub value: f64,
    /// Where it stands; where it stood at its end, once resolved.
    pub state: AlertState,
    /// Since when the condition holds. Time in which nobody could know does not count: it is moved on by that much.
    pub active_at: Timestamp,
    /// When it began to fire.
    pub fired_at: Option<Timestamp>,
    /// When it ended.
    pub resolved_at: Option<Timestamp>,
    /// When it was last handed out by [`crate::RuleState::to_send`].
    pub last_sent_at: Option<Timestamp>,
    /// As what it was last handed out.
    pub last_sent_as: Option<NoticeKind>,
    /// Until when receivers may take it as firing if they hear nothing more.
    pub valid_until: Option<Timestamp>,
    /// Since when it fires without its condition (`keep_firing_for`).
    pub keep_firing_since: Option<Timestamp>,
    /// Since when it is [`AlertState::Unknown`].
    pub unknown_since: Option<Timestamp>,
}

impl ActiveAlert {
    /// An alert that was seen for the first time.
    pub(crate) fn begin(seen: Seen, now: Timestamp) -> Self {
        Self {
            labels: seen.labels,
            annotations: seen.annotations,
            value: seen.value,
            state: AlertState::Pending,
            active_at: now,
            fired_at: None,
            resolved_at: None,
            last_sent_at: None,
            last_sent_as: None,
            valid_until: None,
            keep_firing_since: None,
            unknown_since: None,
        }
    }

    /// Whether it has not ended.
    pub fn is_active(&self) -> bool {
        self.resolved_at.is_none()
    }

    /// The state without regard to silence: what it was before it became unknown, else what it is.
    pub fn former(&self) -> AlertState {
        if self.fired_at.is_some() { AlertState::Firing } else { AlertState::Pending }
    }

    /// After a clock that was ahead was set back: nothing happened later than now. Else a pending alert would wait, and a firing one
    /// be told to nobody, until the wrong time has come.
    pub(crate) fn not_later_than(&mut self, now: Timestamp) {
        self.active_at = self.active_at.min(now);
        if let (Some(sent), Some(until)) = (self.last_sent_at, self.valid_until)
            && sent > now
        {
            self.valid_until = Some(now + millis(until.millis_since(sent)));
        }
        for time in [
            &mut self.fired_at,
            &mut self.resolved_at,
            &mut self.last_sent_at,
            &mut self.keep_firing_since,
            &mut self.unknown_since,
        ] {
            *time = time.map(|time| time.min(now));
        }
    }

    /// Whether its condition has held for at least `hold`.
    pub(crate) fn has_held(&self, hold: Duration, now: Timestamp) -> bool {
        at_least(now, self.active_at, hold)
    }
}

/// Equal to the bit: a NaN that stays the same NaN is no change.
impl PartialEq for ActiveAlert {
    fn eq(&self, other: &Self) -> bool {
        let times = |alert: &Self| {
            let (sent, until) = (alert.last_sent_at, alert.valid_until);
            (
                alert.active_at,
                alert.fired_at,
                alert.resolved_at,
                sent,
                until,
                alert.keep_firing_since,
                alert.unknown_since,
            )
        };
        self.labels == other.labels
            && self.annotations == other.annotations
            && self.value.to_bits() == other.value.to_bits()
            && self.state == other.state
            && self.last_sent_as == other.last_sent_as
            && times(self) == times(other)
    }
}

/// Whether at least `span` lies between the two; a clock that went back has waited for nothing.
pub(crate) fn at_least(now: Timestamp, since: Timestamp, span: Duration) -> bool {
    let passed = i128::from(now.millis_since(since)) * 1_000_000;
    passed >= i128::try_from(span.as_nanos()).unwrap_or(i128::MAX)
}

/// Something that happened to an alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The alert's labels.
    pub labels: Labels,
    /// What happened.
    pub kind: TransitionKind,
}

/// What can happen to an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TransitionKind {
    /// The condition holds; the alert waits for `for`.
    Began,
    /// It fires now.
    Fired,
    /// Its data stopped because its sender is silent.
    BecameUnknown,
    /// Data is there again, and it goes on as it was before.
    CameBack,
    /// A pending alert's condition ended; nobody was told of it and nobody is.
    Cancelled,
    /// A firing alert's condition ended.
    Resolved,
}
