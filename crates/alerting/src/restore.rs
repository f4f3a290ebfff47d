//! What a program that comes back does with alerts of before: time in which nobody looked does not count.

use std::time::Duration;

use model::{Labels, Timestamp, is_stale};

use crate::alert::{ActiveAlert, AlertState, RuleSpec};
use crate::rule::{RuleState, millis};

/// The last sample of `ALERTS_FOR_STATE` of an alert.
#[derive(Clone, Copy, Debug)]
pub struct ForState {
    /// When it was written: the last moment at which somebody looked.
    pub at: Timestamp,
    /// Seconds since the epoch at which the alert had become active.
    pub value: f64,
}

impl RuleState {
    /// After a first evaluation that knew nothing of before: pending alerts get back when they became active, from the series
    /// `ALERTS_FOR_STATE`, as Prometheus does it. Rules whose `for` is below `grace` are left as they are; one that would fire
    /// within `grace` waits for it, so that alerts do not all fire before receivers are there. The caller does not ask for
    /// samples older than it tolerates (Prometheus: one hour).
    pub fn restore(
        &mut self,
        spec: &RuleSpec,
        now: Timestamp,
        grace: Duration,
        last: &mut dyn FnMut(&Labels) -> Option<ForState>,
    ) {
        if spec.hold < grace {
            return;
        }
        for alert in self.alerts_mut().filter(|alert| alert.is_active()) {
            let Some(last) =
                last(&alert.labels).filter(|last| !is_stale(last.value) && last.value.is_finite())
            else {
                continue;
            };
            let active_at = Timestamp::from_millis((last.value as i64).saturating_mul(1000));
            alert.active_at = moved_on(active_at, last.at, spec.hold, now, grace);
        }
    }

    /// A kept state whose program stopped at `stopped` goes on at `now`: `for` does not count the time between. After more than
    /// `tolerance` pending alerts begin anew; firing ones stay until data says otherwise.
    pub fn resume(
        &mut self,
        spec: &RuleSpec,
        stopped: Timestamp,
        now: Timestamp,
        grace: Duration,
        tolerance: Duration,
    ) {
        let away = millis(now.millis_since(stopped));
        let waits = |alert: &ActiveAlert| alert.is_active() && alert.former() == AlertState::Pending;
        if away > tolerance {
            self.retain(|alert| !waits(alert));
            return;
        }
        for alert in self.alerts_mut().filter(|alert| waits(alert)) {
            match &mut alert.unknown_since {
                // Its own silence is added when data comes.
                Some(_) => {}
                None if spec.hold < grace => alert.active_at = alert.active_at + away,
                None => alert.active_at = moved_on(alert.active_at, stopped, spec.hold, now, grace),
            }
        }
    }
}

/// When an alert counts as active that was so since `active`, was last looked at `down` and is looked at again `now`.
fn moved_on(
    active: Timestamp,
    down: Timestamp,
    hold: Duration,
    now: Timestamp,
    grace: Duration,
) -> Timestamp {
    let spent = millis(down.millis_since(active));
    match hold.checked_sub(spent).filter(|remaining| !remaining.is_zero()) {
        // It was firing.
        None => active,
        Some(remaining) if remaining < grace => now + grace - hold,
        Some(_) => active + millis(now.millis_since(down)),
    }
}
