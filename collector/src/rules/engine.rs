//! All groups and when each of them is due.
//!
//! In: groups as the settings name them, again at each reload; the time, as an argument. Out: passes over groups, with figures of them;
//! what the API shows ([`GroupView`]); notices of alerts; the state that survives a restart. No thread and no clock are here
//! (`live.rs`).
//!
//! A pass is begun ([`Engine::begin`]), run by whoever has time ([`Task::run`]) and ended ([`Engine::end`]). Meanwhile its group is away: it
//! is not begun again, and what must be known of it is what it was before.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use alerting::{ActiveAlert, Notice, RuleState};
use arc_swap::ArcSwap;
use model::{Labels, SeriesSource, Timestamp};

use super::file::Rule;
use super::group::{Fared, Group, Pass, Spec};
use super::metrics::Figures;
use super::schedule::{Due, Schedule};
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
    place: Place,
    schedule: Schedule,
}

/// Where a group is.
enum Place {
    Here(Group),
    Away(Away),
}

/// What must be known of a group while it is evaluated.
struct Away {
    kept: HashMap<u128, Kept>,
    /// Labels of alerts that it tells of.
    told: HashSet<Labels>,
}

impl Scheduled {
    fn here(&self) -> Option<&Group> {
        match &self.place {
            Place::Here(group) => Some(group),
            Place::Away(_) => None,
        }
    }

    fn into_group(self) -> Group {
        match self.place {
            Place::Here(group) => group,
            Place::Away(_) => unreachable!("groups are taken over when all are here"),
        }
    }

    fn tells(&self, labels: &Labels) -> bool {
        match &self.place {
            Place::Here(group) => group.tells(labels),
            Place::Away(away) => away.told.contains(labels),
        }
    }

    fn has_alerts(&self) -> bool {
        match &self.place {
            Place::Here(group) => group.has_alerts(),
            Place::Away(away) => !away.kept.is_empty(),
        }
    }

    fn save(&self, rules: &mut HashMap<u128, Kept>) {
        match &self.place {
            Place::Here(group) => group.save(rules),
            Place::Away(away) => rules.extend(away.kept.iter().map(|(number, kept)| (*number, kept.clone()))),
        }
    }
}

/// A pass that was begun: its group is away until [`Engine::end`] takes it back.
pub(super) struct Task {
    index: usize,
    group: Group,
    due: Due,
    source: Arc<dyn SeriesSource>,
    pass: Pass,
    notices: Vec<Notice>,
}

impl Task {
    /// Evaluates the group's rules, on any thread.
    pub(super) fn run(&mut self, resend_delay: Duration, world: &dyn World) {
        let at = self.due.at;
        self.pass = self.group.evaluate(at, Arc::clone(&self.source), world);
        self.notices = self.group.notices(at, resend_delay, world);
    }

    #[cfg(test)]
    pub(super) fn name(&self) -> &str {
        &self.group.spec.name
    }
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
    ended: HashSet<Labels>,
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

    /// Whether every group is here, so that others may be loaded.
    pub(super) fn is_whole(&self) -> bool {
        self.groups.iter().all(|have| have.here().is_some())
    }

    /// Takes over groups; those and rules that were there before keep their state. Call it when all groups are here.
    pub(super) fn load(&mut self, specs: Vec<Spec>, comeback: Comeback, now: Timestamp) {
        let recorders = silence::recorders(specs.iter().flat_map(|spec| &spec.rules));
        let before = self.groups.drain(..).map(|have| {
            let schedule = have.schedule;
            let group = have.into_group();
            (group.spec.key(), (group, schedule))
        });
        let mut before: HashMap<String, (Group, Schedule)> = before.collect();
        let mut views = Vec::with_capacity(specs.len());
        for spec in specs {
            let key = spec.key();
            let old = before.remove(&key);
            let (old, old_schedule) = old.unzip();
            let kept_schedule = old_schedule.filter(|schedule| schedule.interval() == spec.interval);
            let schedule = kept_schedule.unwrap_or_else(|| Schedule::new(spec.interval, slot(&key), now));
            let mut group = Group::new(Arc::new(spec), old, &recorders);
            if let Some(at) = self.kept_at {
                group.restore(&mut self.kept, at, comeback, now);
            }
            self.figures.known(&group.spec);
            self.lost.adopt(group.take_lost());
            views.push(Arc::new(group.view()));
            self.groups.push(Scheduled { place: Place::Here(group), schedule });
        }
        for (key, (gone, _)) in before {
            self.figures.forget(&key);
            let (ended, lost) = gone.into_ended();
            self.ended.extend(ended);
            self.lost.adopt(lost);
        }
        self.adopt_kept(now);
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
        self.lost.expire(now, &world.named().url, &|labels| groups.iter().any(|have| have.tells(labels)))
    }

    /// When something is due next that can be begun.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.groups.iter().filter(|have| have.here().is_some()).map(|have| have.schedule.next()).min()
    }

    /// Begins a pass over the group that is due for longest; `None` where none is, or none can be because the store is not yet there:
    /// what is due waits then, and what goes by is counted as missed.
    pub(super) fn begin(&mut self, now: Timestamp, world: &dyn World) -> Option<Task> {
        let elapsed = world.elapsed();
        for have in &mut self.groups {
            have.schedule.look(elapsed);
        }
        loop {
            let due = self.groups.iter().enumerate();
            let due = due.filter(|(_, have)| have.here().is_some() && have.schedule.is_due(now));
            let (index, _) = due.min_by_key(|(_, have)| have.schedule.next())?;
            let source = world.source()?;
            let have = &mut self.groups[index];
            // Nothing where the clock was set back: then it is due later.
            let Some(due) = have.schedule.due(now, elapsed) else { continue };
            let Place::Here(group) = &have.place else { continue };
            let mut kept = HashMap::new();
            group.save(&mut kept);
            let away = Place::Away(Away { kept, told: group.told() });
            let Place::Here(group) = std::mem::replace(&mut have.place, away) else { continue };
            return Some(Task { index, group, due, source, pass: Pass::default(), notices: Vec::new() });
        }
    }

    /// Takes a group back after its pass.
    pub(super) fn end(&mut self, task: Task, world: &dyn World) -> Done {
        let Task { index, mut group, due, pass, notices, .. } = task;
        let (lost, view, spec) = (group.take_lost(), group.view(), Arc::clone(&group.spec));
        self.groups[index].place = Place::Here(group);
        self.lost.adopt(lost);
        self.figures.passed(&spec, due.at, due.missed, &pass);
        self.shown.set(index, view);
        self.end_gone(due.at, world);
        Done { notices, changed: pass.changed }
    }

    /// One pass from its beginning to its end.
    #[cfg(test)]
    pub(super) fn run_one(
        &mut self,
        now: Timestamp,
        resend_delay: Duration,
        world: &dyn World,
    ) -> Option<Done> {
        let mut task = self.begin(now, world)?;
        task.run(resend_delay, world);
        Some(self.end(task, world))
    }

    fn end_gone(&mut self, at: Timestamp, world: &dyn World) {
        // What a group makes that is away is not known: then a later pass ends them.
        if self.ended.is_empty() || !self.is_whole() {
            return;
        }
        let gone = std::mem::take(&mut self.ended);
        let groups = &self.groups;
        let is_made =
            |labels: &Labels| groups.iter().filter_map(Scheduled::here).any(|group| group.makes(labels));
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
            have.save(&mut rules);
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
        !self.lost.is_empty() || self.groups.iter().any(Scheduled::has_alerts)
    }

    #[cfg(test)]
    pub(super) fn last(&self, group: usize) -> Option<Timestamp> {
        self.groups[group].here()?.last.as_ref().map(|(at, _)| *at)
    }
}

/// A number that spreads groups over their interval, the same after each start.
fn slot(key: &str) -> u64 {
    use std::hash::Hasher as _;
    let mut hasher = siphasher::sip::SipHasher13::new_with_keys(0, 0);
    hasher.write(key.as_bytes());
    hasher.finish()
}
