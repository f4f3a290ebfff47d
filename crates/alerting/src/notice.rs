//! Who must be told: which alerts are handed to notifiers, and how often.

use std::time::Duration;

use model::{Labels, Timestamp};

use crate::alert::{ActiveAlert, AlertState};
use crate::rule::RuleState;

/// What is told about an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NoticeKind {
    /// It fires.
    Firing,
    /// It fired when its sender fell silent; whether it still would nobody can say.
    Unknown,
    /// It ended.
    Resolved,
}

/// One alert for a notifier.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// The alert's labels, with `alertname`.
    pub labels: Labels,
    /// Texts for people.
    pub annotations: Vec<(String, String)>,
    /// The value when it was last seen.
    pub value: f64,
    /// When it began to fire.
    pub starts_at: Timestamp,
    /// When it ended; else until when it may be taken as firing if nothing more is heard.
    pub ends_at: Option<Timestamp>,
    /// What is told.
    pub kind: NoticeKind,
    /// Where its expression can be looked at.
    pub generator_url: String,
}

/// How often an alert that goes on is told again.
#[derive(Clone, Copy, Debug)]
pub struct Sending<'a> {
    /// The least time between two notices that say the same.
    pub resend_delay: Duration,
    /// The interval of the rule's group: notices are valid for four of these, or of the resend delay where it is longer.
    pub interval: Duration,
    /// Goes into each notice.
    pub generator_url: &'a str,
}

impl ActiveAlert {
    /// What would be told about it now; nothing about an alert that never fired.
    fn kind(&self) -> Option<NoticeKind> {
        if self.former() == AlertState::Pending {
            return None;
        }
        Some(match self.state {
            _ if self.resolved_at.is_some() => NoticeKind::Resolved,
            AlertState::Unknown => NoticeKind::Unknown,
            AlertState::Pending | AlertState::Firing => NoticeKind::Firing,
        })
    }

    pub(crate) fn notice(&self, kind: NoticeKind, ends_at: Option<Timestamp>, generator_url: &str) -> Notice {
        Notice {
            labels: self.labels.clone(),
            annotations: self.annotations.clone(),
            value: self.value,
            starts_at: self.fired_at.unwrap_or(self.active_at),
            ends_at,
            kind,
            generator_url: generator_url.to_owned(),
        }
    }

    /// A change is told at once, all else once the delay is past (not before, not at it: as Prometheus does).
    fn is_due(&self, kind: NoticeKind, now: Timestamp, delay: Duration) -> bool {
        let Some(sent) = self.last_sent_at else { return true };
        self.last_sent_as != Some(kind) || sent + delay < now
    }
}

impl RuleState {
    /// What must be told now, by labels; it counts as sent from here on.
    pub fn to_send(&mut self, now: Timestamp, sending: &Sending<'_>) -> Vec<Notice> {
        // Two evaluations or sendings may fail before a receiver takes the alert as ended.
        let valid = sending.resend_delay.max(sending.interval).saturating_mul(4);
        let mut notices = Vec::new();
        for alert in self.alerts_mut() {
            let Some(kind) = alert.kind().filter(|kind| alert.is_due(*kind, now, sending.resend_delay))
            else {
                continue;
            };
            alert.last_sent_at = Some(now);
            alert.last_sent_as = Some(kind);
            alert.valid_until = Some(now + valid);
            notices.push(alert.notice(kind, alert.resolved_at.or(alert.valid_until), sending.generator_url));
        }
        notices.sort_by(|one, other| one.labels.cmp(&other.labels));
        notices
    }
}
