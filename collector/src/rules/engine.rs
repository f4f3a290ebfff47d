//! All groups and when each of them is due.
//!
//! In: groups as the settings name them, again at each reload; the time, as an argument. Out: passes over groups, with figures of them;
//! what the API shows ([`GroupView`]); notices of alerts; the state that survives a restart. No thread and no clock are here
//! (`live.rs`).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use alerting::{ActiveAlert, Notice, RuleState};
use arc_swap::ArcSwap;
use model::Timestamp;

use super::file::Rule;
use super::group::{Fared, Group, Spec};
use super::metrics::Figures;
use super::schedule::Schedule;
use super::silence;
use super::state::{self, Kept, Saved};
use super::world::{Made, World};

/// A group as it was after its last pass.
#[derive(Clone, Debug)]
pub struct GroupView {
    /// What it is.
    pub spec: Arc<Spec>,
    /// The moment of its last pass.
    pub at: Option<Timestamp>,
    /// How long that took.
    pub took: Duration,
    /// Its rules, in its order.
    pub rules: Vec<RuleView>,
}

/// A rule as it was after its last evaluation.
#[derive(Clone, Debug)]
pub struct RuleView {
    /// What it is.
    pub rule: Arc<Rule>,
    /// How it fared.
    pub fared: Fared,
    /// Its alerts, pending, firing and unknown.
    pub alerts: Vec<ActiveAlert>,
}

/// What the API shows: groups by file and order within it. Cheap to clone.
#[derive(Clone, Default)]
pub struct Shown(Arc<ArcSwap<Vec<Arc<GroupView>>>>);

impl Shown {
    /// Every group.
    pub fn groups(&self) -> Arc<Vec<Arc<GroupView>>> {
        self.0.load_full()
    }

    fn set(&self, index: usize, view: GroupView) {
        let mut groups = Vec::clone(&self.0.load());
        groups[index] = Arc::new(view);
        self.0.store(Arc::new(groups));
    }
}

struct Scheduled {
    group: Group,
    schedule: Schedule,
}

/// How alerts come back after a stop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Comeback {
    pub(super) outage_tolerance: Duration,
    pub(super) grace_period: Duration,
}

/// See the module's text.
pub(super) struct Engine {
    groups: Vec<Scheduled>,
    /// What was found on disk and no rule has claimed; only until the first groups are there.
    kept: HashMap<u128, Kept>,
    kept_at: Option<Timestamp>,
    /// Series of groups that are no more: they end as soon as something is evaluated.
    ended: std::collections::HashSet<model::Labels>,
    /// Alerts of rules that are no more: they end when what was told of them is no longer valid, unless another rule tells of them.
    pub(super) lost: RuleState,
    shown: Shown,
    figures: Arc<Figures>,
}

/// What came of the passes of one moment.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) notices: Vec<Notice>,
    /// Whether an alert began, fired, or ended: worth writing down.
    pub(super) changed: bool,
}

impl Engine {
    pub(super) fn new(saved: Option<Saved>, shown: Shown, figures: Arc<Figures>) -> Self {
        let (kept, kept_at) = saved.map_or((HashMap::new(), None), |saved| (saved.rules, Some(saved.at)));
        let (ended, lost) = Default::default();
        Self { groups: Vec::new(), kept, kept_at, ended, lost, shown, figures }
    }

    /// Takes over groups; those and rules that were there before keep their state.
    pub(super) fn load(&mut self, specs: Vec<Spec>, comeback: Comeback, now: Timestamp) {
        let recorders = silence::recorders(specs.iter().flat_map(|spec| &spec.rules));
        let mut before: HashMap<String, Scheduled> =
            self.groups.drain(..).map(|have| (have.group.spec.key(), have)).collect();
        for spec in specs {
            let key = spec.key();
            let old = before.remove(&key);
            let kept_schedule =
                old.as_ref().map(|old| old.schedule).filter(|schedule| schedule.interval() == spec.interval);
            let schedule = kept_schedule.unwrap_or_else(|| Schedule::new(spec.interval, slot(&key), now));
            let mut group = Group::new(Arc::new(spec), old.map(|old| old.group), &recorders);
            if let Some(at) = self.kept_at {
                group.restore(&mut self.kept, at, comeback, now);
            }
            self.figures.known(&group.spec);
            self.groups.push(Scheduled { group, schedule });
        }
        for (key, gone) in before {
            self.figures.forget(&key);
            let (ended, lost) = gone.group.into_ended();
            self.ended.extend(ended);
            self.lost.adopt(lost);
        }
        for have in &mut self.groups {
            self.lost.adopt(have.group.take_lost());
        }
        self.adopt_kept(now);
        let views = self.groups.iter().map(|have| Arc::new(have.group.view())).collect();
        self.shown.0.store(Arc::new(views));
    }

    /// What was kept and no rule has claimed belongs to rules that were changed or removed while nothing ran.
    fn adopt_kept(&mut self, now: Timestamp) {
        for kept in std::mem::take(&mut self.kept).into_values() {
            match RuleState::decode(&kept.alerts) {
                Ok(mut alerts) => {
                    alerts.prolong(now);
                    self.lost.adopt(alerts);
                }
                Err(error) => tracing::warn!("cannot read the alerts of a rule that is no more: {error}"),
            }
        }
        self.kept_at = None;
    }

    /// The end of alerts that no rule tells of any more, for those whose time is over.
    pub(super) fn end_lost(&mut self, now: Timestamp, world: &dyn World) -> Vec<Notice> {
        if self.lost.is_empty() {
            return Vec::new();
        }
        let groups = &self.groups;
        self.lost
            .expire(now, &world.named().url, &|labels| groups.iter().any(|have| have.group.tells(labels)))
    }

    /// When something is due next.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.groups.iter().map(|have| have.schedule.next()).min()
    }

    /// Evaluates the group that is due for longest; `None` where none is.
    pub(super) fn run_one(
        &mut self,
        now: Timestamp,
        resend_delay: Duration,
        world: &dyn World,
    ) -> Option<Done> {
        let (index, _) = self
            .groups
            .iter()
            .enumerate()
            .filter(|(_, have)| have.schedule.is_due(now))
            .min_by_key(|(_, have)| have.schedule.next())?;
        // Until the store can be read, what is due waits, and what goes by is counted as missed.
        let source = world.source()?;
        let have = &mut self.groups[index];
        let Some(due) = have.schedule.due(now) else { return Some(Done::default()) };
        let group = &mut have.group;
        let pass = group.evaluate(due.at, source, world);
        let done = Done { notices: group.notices(due.at, resend_delay, world), changed: pass.changed };
        self.lost.adopt(group.take_lost());
        self.figures.passed(&group.spec, due.at, due.missed, &pass);
        self.shown.set(index, group.view());
        self.end_gone(due.at, world);
        Some(done)
    }

    fn end_gone(&mut self, at: Timestamp, world: &dyn World) {
        if self.ended.is_empty() {
            return;
        }
        let gone = std::mem::take(&mut self.ended);
        let groups = &self.groups;
        let is_made = |labels: &model::Labels| groups.iter().any(|have| have.group.makes(labels));
        let made: Vec<Made> =
            gone.into_iter().filter(|labels| !is_made(labels)).map(|labels| Made::end(labels, at)).collect();
        if let Err(error) = world.write(&made, at) {
            tracing::warn!("cannot end the series of rules that are no more: {error}");
        }
    }

    /// What survives a restart.
    pub(super) fn save(&self, at: Timestamp) -> Saved {
        let mut rules = HashMap::new();
        for have in &self.groups {
            have.group.save(&mut rules);
        }
        if !self.lost.is_empty() {
            let mut alerts = Vec::new();
            self.lost.encode(&mut alerts);
            rules.insert(state::LOST, Kept { alerts, ..Kept::default() });
        }
        Saved { at, rules }
    }

    /// Whether any alert is pending, firing or unknown.
    pub(super) fn has_alerts(&self) -> bool {
        !self.lost.is_empty() || self.groups.iter().any(|have| have.group.has_alerts())
    }

    #[cfg(test)]
    pub(super) fn last(&self, group: usize) -> Option<Timestamp> {
        self.groups[group].group.last.as_ref().map(|(at, _)| *at)
    }
}

/// A number that spreads groups over their interval, the same after each start.
fn slot(key: &str) -> u64 {
    use std::hash::Hasher as _;
    let mut hasher = siphasher::sip::SipHasher13::new_with_keys(0, 0);
    hasher.write(key.as_bytes());
    hasher.finish()
}
