//! Which tables of a device are due, and what is said of those that are not.
//!
//! A table's class says how often it is worth asking, its budget how often it may be asked. A class's pause is rounded to whole rounds;
//! a longer pause that a budget sets is never cut short, not by a restart of the device or of this program and not after a failure (see
//! [`Budgets`]). A table that was read in part is asked for again sooner; what did not come this time goes on as it was.
//!
//! Series of a table that is not due go on: up to [`RESENT_ABOVE`] between two polls nothing is said, since a query looks back further;
//! beyond, each round says the last value again. The same after rounds in which the device was silent, which ended all its series.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use model::Timestamp;
use profiles::{Budget, Class, Plan};

use super::budgets::{Budgets, Moment};
use super::own;
use crate::series::{Round, SeriesId, SeriesTable, Stamp};

/// The longest pause between two values of a series that needs no repetition.
pub(super) const RESENT_ABOVE: Duration = Duration::from_secs(240);
/// Silent rounds after which what was held is given up: the table of series forgets soon after.
const SILENT_ROUNDS_MAX: u64 = SeriesTable::FORGET_AFTER_ROUNDS / 2;

/// What a profile says of a table or a group of scalars.
#[derive(Debug, PartialEq)]
struct Terms {
    name: Arc<str>,
    /// How often it is worth asking.
    pause: Duration,
    /// How often it may be asked.
    floor: Duration,
}

impl Terms {
    /// Those of a table, once for all devices: most of ten thousand are asked for the same tables.
    fn of(name: &Arc<str>, class: Class, budget: &Budget) -> Arc<Self> {
        static KNOWN: Mutex<Vec<Weak<Terms>>> = Mutex::new(Vec::new());
        let terms = Self { name: name.clone(), pause: class.pause(), floor: floor(class, budget) };
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(same) = known.iter().filter_map(Weak::upgrade).find(|known| **known == terms) {
            return same;
        }
        known.retain(|known| known.strong_count() > 0);
        let terms = Arc::new(terms);
        known.push(Arc::downgrade(&terms));
        terms
    }
}

/// A table or a group of scalars.
#[derive(Debug)]
struct Poll {
    terms: Arc<Terms>,
    /// When it was last asked.
    asked: Option<Instant>,
    /// What the last poll brought.
    came: Came,
    /// When it was last read, for those who look at the values.
    read: Option<Timestamp>,
    /// Whether it was read to its end, once it had anything to be said about.
    complete: Option<bool>,
    /// Columns that the device itself refuses.
    refuses: Option<Box<[bool]>>,
    held: Vec<(SeriesId, f64)>,
    /// How many of these were held before this round, where that brought only a part.
    older: u32,
}

/// What asking for a table or a group of scalars brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// Nothing that the profile can use.
    Nothing,
    /// Less than there is; another time may bring the rest.
    Part,
    /// All that the device gives.
    All,
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Polls {
    /// Tables of the plan, then its groups of scalars.
    polls: Vec<Poll>,
    tables: usize,
    interval: Duration,
    silent: u64,
    /// Of which table the held ids are, and since when it forgot none.
    stamp: Option<Stamp>,
    /// Walks that ended early, by table and reason.
    early: BTreeMap<(usize, &'static str), u64>,
    budgets: Arc<Budgets>,
    device: Box<str>,
}

/// The pause that a budget sets beyond what its class wants anyway; zero if none.
pub(super) fn floor(class: Class, budget: &Budget) -> Duration {
    if budget.interval_min > class.pause() { budget.interval_min } else { Duration::ZERO }
}

impl Poll {
    fn new(name: &Arc<str>, class: Class, budget: &Budget) -> Self {
        Self {
            terms: Terms::of(name, class, budget),
            asked: None,
            came: Came::All,
            read: None,
            complete: None,
            refuses: None,
            held: Vec::new(),
            older: 0,
        }
    }

    fn is_due(&self, now: Instant, interval: Duration) -> bool {
        let Some(asked) = self.asked else { return true };
        let past = now.saturating_duration_since(asked);
        let pause =
            if self.came != Came::All { self.terms.pause.min(RESENT_ABOVE) } else { self.terms.pause };
        // What is asked for in every round is never measured.
        (pause.is_zero() || past + interval / 2 >= pause) && past >= self.terms.floor
    }

    /// Nothing more is said of these ids, which may name other series by now; what this round brought is named anew already.
    fn lose(&mut self, forgotten: &HashSet<u32>, now: Instant) {
        let is_asked_now = self.asked == Some(now);
        let before = self.held.len();
        let mut old = match self.came {
            Came::All if is_asked_now => 0,
            Came::Part if is_asked_now => self.older as usize,
            _ => before,
        };
        self.held.retain(|(id, _)| {
            let is_old = old > 0;
            old = old.saturating_sub(1);
            !(is_old && forgotten.contains(&id.number()))
        });
        let lost = before - self.held.len();
        self.older = self.older.saturating_sub(lost as u32);
        if lost > 0 && !is_asked_now && self.terms.floor.is_zero() {
            self.asked = None;
        }
    }

    /// Whether rounds lie between two polls.
    fn is_rare(&self, interval: Duration) -> bool {
        self.terms.pause.max(self.terms.floor) > interval + interval / 2
    }

    fn is_resent(&self) -> bool {
        self.terms.pause.max(self.terms.floor) > RESENT_ABOVE
    }
}

impl Polls {
    pub(super) fn new(plan: &Plan, interval: Duration, budgets: Arc<Budgets>, device: &str) -> Self {
        let tables = plan.tables.iter().map(|table| Poll::new(&table.name, table.class, &table.budget));
        let groups = plan.scalars.iter().map(|group| Poll::new(&group.name, group.class, &group.budget));
        Self::of(tables.chain(groups).collect(), plan.tables.len(), interval, budgets, device)
    }

    fn of(polls: Vec<Poll>, tables: usize, interval: Duration, budgets: Arc<Budgets>, device: &str) -> Self {
        let early = BTreeMap::new();
        Self { polls, tables, interval, silent: 0, stamp: None, early, budgets, device: device.into() }
    }

    /// Whether a table, or a group of scalars (counted behind the tables), is to be asked for now.
    pub(super) fn is_due(&self, at: usize, now: Instant) -> bool {
        let poll = &self.polls[at];
        let allowed = || {
            let ago = self.budgets.last_asked(&self.device, &poll.terms.name, Moment::of(now));
            ago.is_none_or(|ago| ago >= poll.terms.floor)
        };
        poll.is_due(now, self.interval) && (poll.terms.floor.is_zero() || allowed())
    }

    /// These are asked for now: noted before, so that whatever becomes of the round, their budgets hold. Says what went wrong.
    pub(super) fn asking(&mut self, due: impl IntoIterator<Item = usize>, now: Instant) -> Option<String> {
        let mut fault = None;
        for at in due {
            let poll = &mut self.polls[at];
            if poll.terms.floor.is_zero() {
                continue;
            }
            poll.asked = Some(now);
            if let Err(error) = self.budgets.note(&self.device, &poll.terms.name, Moment::of(now)) {
                fault = Some(format!("cannot keep when {} was asked for: {error}", poll.terms.name));
            }
        }
        fault
    }

    /// The device restarted: all is asked for again as soon as budgets allow.
    pub(super) fn restart(&mut self) {
        for poll in self.polls.iter_mut().filter(|poll| poll.terms.floor.is_zero()) {
            poll.asked = None;
        }
    }

    /// It was asked for, and this came.
    pub(super) fn asked(&mut self, at: usize, now: Instant, came: Came, time: Timestamp) {
        let poll = &mut self.polls[at];
        poll.asked = Some(now);
        poll.came = came;
        match came {
            Came::Nothing => {}
            Came::Part => {
                poll.older = u32::try_from(poll.held.len()).expect("a table of series bounds them");
                // Some of what is said may be from then.
                poll.read.get_or_insert(time);
            }
            Came::All => {
                poll.held.clear();
                poll.read = Some(time);
            }
        }
    }

    /// How a table ended; `reason` is none where it was read whole.
    pub(super) fn ended(&mut self, at: usize, reason: Option<&'static str>, is_empty: bool) {
        let poll = &mut self.polls[at];
        if let Some(reason) = reason {
            *self.early.entry((at, reason)).or_default() += 1;
        }
        // Nothing is to be said of tables that the device does not have.
        if reason.is_some() || !is_empty || poll.complete.is_some() {
            poll.complete = Some(reason.is_none());
        }
    }

    /// Whether a table counts as whole where the device itself refuses columns: if it always did.
    pub(super) fn is_whole(&mut self, at: usize, refused: impl Iterator<Item = bool>) -> bool {
        let refused: Box<[bool]> = refused.collect();
        let known = self.polls[at].refuses.get_or_insert_with(|| refused.clone());
        known.iter().zip(&*refused).all(|(known, now)| *known || !now)
    }

    /// A value that came.
    pub(super) fn hold(&mut self, at: usize, id: SeriesId, value: f64) {
        let interval = self.interval;
        let poll = &mut self.polls[at];
        if poll.is_rare(interval) {
            poll.held.push((id, value));
        }
    }

    /// The device did not answer: all its series end.
    pub(super) fn silent(&mut self) {
        self.silent += 1;
        if self.silent == SILENT_ROUNDS_MAX {
            self.polls.iter_mut().for_each(|poll| poll.held.clear());
            self.restart();
        }
    }

    /// Series of what was not asked for, or did not answer, go on.
    pub(super) fn go_on(&mut self, now: Instant, round: &mut Round<'_>) {
        let was_silent = std::mem::take(&mut self.silent) > 0;
        let stamp = round.stamp();
        if let Some(earlier) = self.stamp.replace(stamp).filter(|earlier| *earlier != stamp) {
            let Some(forgotten) = round.forgotten_since(earlier) else {
                // An id may name another series by now: nothing is said rather than something false, and all is read again.
                for poll in &mut self.polls {
                    poll.held.clear();
                    poll.older = 0;
                }
                self.restart();
                return;
            };
            let forgotten: HashSet<u32> = forgotten.iter().map(|id| id.number()).collect();
            self.polls.iter_mut().for_each(|poll| poll.lose(&forgotten, now));
        }
        for poll in &mut self.polls {
            let says = was_silent || poll.is_resent();
            let mut go_on = |(id, value): &(SeriesId, f64)| {
                if says {
                    round.put_again(*id, *value);
                } else {
                    round.keep(*id);
                }
            };
            match poll.came {
                Came::All if poll.asked == Some(now) => {}
                Came::Part if poll.asked == Some(now) => {
                    let older = (std::mem::take(&mut poll.older) as usize).min(poll.held.len());
                    let new = poll.held.split_off(older);
                    let came: HashSet<u32> = new.iter().map(|(id, _)| id.number()).collect();
                    poll.held.retain(|(id, _)| !came.contains(&id.number()));
                    poll.held.iter().for_each(&mut go_on);
                    poll.held.extend(new);
                }
                _ => poll.held.iter().for_each(go_on),
            }
        }
    }

    /// What is said of the tables themselves.
    pub(super) fn report(&self, round: &mut Round<'_>) {
        for (at, poll) in self.polls.iter().enumerate() {
            if let Some(complete) = poll.complete.filter(|_| at < self.tables) {
                round.metric(&own::WALK_COMPLETE, &[&poll.terms.name], f64::from(u8::from(complete)));
            }
            if let Some(read) =
                poll.read.filter(|_| poll.is_resent() && (at >= self.tables || poll.complete.is_some()))
            {
                round.metric(&own::LAST_POLL, &[&poll.terms.name], read.as_millis() as f64 / 1000.0);
            }
        }
        for (&(at, reason), &count) in &self.early {
            round.metric(&own::WALKS_ENDED_EARLY, &[&self.polls[at].terms.name, reason], count as f64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll(class: Class, every_secs: u64) -> Poll {
        let interval_min = class.pause().max(Duration::from_secs(every_secs));
        let budget = Budget { interval_min, rows_max: 100, repetitions_max: None };
        Poll::new(&"t".into(), class, &budget)
    }

    fn polls_of(polls: Vec<Poll>, tables: usize, interval: Duration) -> Polls {
        Polls::of(polls, tables, interval, Arc::new(Budgets::volatile()), "sw1")
    }

    /// In which of the rounds to come, counted from one in which it was asked for, it is asked for again.
    #[track_caller]
    fn check(mut poll: Poll, interval_secs: u64, failed: bool, expected: u32) {
        let (start, interval) = (Instant::now(), Duration::from_secs(interval_secs));
        assert!(poll.is_due(start, interval), "what was never asked for is due");
        poll.asked = Some(start);
        poll.came = if failed { Came::Nothing } else { Came::All };
        // Rounds are never quite on time.
        let at = |round: u32| start + interval * round - Duration::from_millis(3);
        assert_eq!((1..=100).find(|round| poll.is_due(at(*round), interval)), Some(expected));
    }

    #[test]
    fn a_class_s_pause_is_rounded_to_rounds() {
        check(poll(Class::Fast, 0), 60, false, 1);
        check(poll(Class::Slow, 0), 60, false, 4);
        check(poll(Class::Slow, 0), 100, false, 2);
        check(poll(Class::Slow, 0), 600, false, 1);
        check(poll(Class::Hourly, 0), 60, false, 60);
    }

    #[test]
    fn a_budget_s_pause_is_never_cut_short() {
        check(poll(Class::Fast, 60), 60, false, 2);
        check(poll(Class::Slow, 300), 60, false, 6);
        check(poll(Class::Hourly, 4000), 60, true, 67);
    }

    #[test]
    fn what_brought_nothing_is_asked_for_again_sooner() {
        check(poll(Class::Hourly, 0), 60, true, 4);
        check(poll(Class::Fast, 0), 60, true, 1);
    }

    #[test]
    fn a_restart_makes_all_due_that_budgets_allow() {
        let polls = vec![poll(Class::Hourly, 0), poll(Class::Hourly, 4000)];
        let interval = Duration::from_secs(60);
        let mut polls = polls_of(polls, 2, interval);
        let now = Instant::now();
        polls.asked(0, now, Came::All, Timestamp::from_millis(1));
        polls.asked(1, now, Came::All, Timestamp::from_millis(1));
        polls.restart();
        assert_eq!([0, 1].map(|at| polls.is_due(at, now + interval)), [true, false]);
    }

    #[test]
    fn a_budget_holds_over_a_reload_and_while_a_round_is_cut_off() {
        let budgets = Arc::new(Budgets::volatile());
        let interval = Duration::from_secs(60);
        let fresh = || Polls::of(vec![poll(Class::Hourly, 4000)], 1, interval, budgets.clone(), "olt-1");
        let start = Instant::now();
        let mut before = fresh();
        assert!(before.is_due(0, start));
        assert_eq!(before.asking([0], start), None);
        assert!(!before.is_due(0, start + interval), "nothing came, and it was asked all the same");
        let after = fresh();
        let due = |secs| after.is_due(0, start + Duration::from_secs(secs));
        assert_eq!([60, 3999, 4001].map(due), [false, false, true]);
        let other = Polls::of(vec![poll(Class::Hourly, 4000)], 1, interval, budgets.clone(), "olt-2");
        assert!(other.is_due(0, start + interval));
    }

    /// An hourly table that broke off in the middle counted as read: half of its series ended, for an hour.
    #[test]
    fn what_a_partial_reading_did_not_bring_goes_on_and_is_asked_for_again_soon() {
        let interval = Duration::from_secs(60);
        let mut polls = polls_of(vec![poll(Class::Hourly, 0)], 1, interval);
        let mut table = SeriesTable::new(model::Labels::empty(), 10);
        let now = Instant::now();
        let mut said = |polls: &mut Polls, now: Instant, came: Option<Came>, values: &[(&str, f64)]| {
            let mut round = Round::begin(&mut table, Timestamp::from_millis(1), Vec::new());
            if let Some(came) = came {
                polls.asked(0, now, came, Timestamp::from_millis(1));
            }
            for (name, value) in values {
                round.metric(&own::WALK_COMPLETE, &[name], *value);
                let id = round.latest().expect("just added");
                polls.hold(0, id, *value);
            }
            polls.go_on(now, &mut round);
            let mut values: Vec<f64> = round.finish().0.iter().map(|point| point.value).collect();
            values.sort_by(f64::total_cmp);
            values
        };
        assert_eq!(said(&mut polls, now, Some(Came::All), &[("a", 1.0), ("b", 2.0)]), [1.0, 2.0]);
        let now = now + interval * 60;
        assert_eq!(said(&mut polls, now, Some(Came::Part), &[("a", 3.0)]), [2.0, 3.0]);
        assert_eq!(said(&mut polls, now + interval, None, &[]), [2.0, 3.0], "both are said again");
        assert_eq!([1, 4].map(|rounds| polls.is_due(0, now + interval * rounds)), [false, true]);
        let now = now + interval * 4;
        assert_eq!(said(&mut polls, now, Some(Came::All), &[("a", 4.0)])[0], 4.0);
        assert_eq!(said(&mut polls, now + interval, None, &[]), [4.0], "what is gone has ended");
    }

    /// Ids are used again: a value held under an id of before would become another series'.
    #[test]
    fn what_was_held_for_a_table_that_is_gone_is_said_of_nothing_else() {
        let family: &'static crate::series::Family = &own::WALK_COMPLETE;
        let polls = vec![poll(Class::Hourly, 0)];
        let interval = Duration::from_secs(60);
        let mut polls = polls_of(polls, 1, interval);
        let now = Instant::now();
        let table_of = |name: &str| {
            let mut table = SeriesTable::new(model::Labels::empty(), 10);
            let mut round = Round::begin(&mut table, Timestamp::from_millis(1), Vec::new());
            round.metric(family, &[name], 1.0);
            let id = round.latest().expect("just added");
            round.finish();
            (table, id)
        };
        let said_again = |polls: &mut Polls, table: &mut SeriesTable| {
            let mut round = Round::begin(table, Timestamp::from_millis(2), Vec::new());
            polls.go_on(now, &mut round);
            round.finish().0.iter().filter(|point| point.value == 7.0).count()
        };
        let (mut first, id) = table_of("optics");
        polls.asked(0, now - interval, Came::All, Timestamp::from_millis(1));
        polls.hold(0, id, 7.0);
        assert_eq!(said_again(&mut polls, &mut first), 1, "an hourly value is said again");
        let (mut second, same_id) = table_of("another");
        assert_eq!(id, same_id);
        assert_eq!(said_again(&mut polls, &mut second), 0);
    }

    /// A port that went away ended all hourly series of its device some rounds later, and all slow tables were asked for at once.
    #[test]
    fn a_series_that_is_forgotten_ends_no_other_and_asks_for_nothing() {
        let interval = Duration::from_secs(60);
        let mut polls = polls_of(vec![poll(Class::Hourly, 4000), poll(Class::Hourly, 0)], 2, interval);
        let mut table = SeriesTable::new(model::Labels::empty(), 10);
        let start = Instant::now();
        for number in 0..=3 * SeriesTable::FORGET_AFTER_ROUNDS as u32 {
            let now = start + interval * number;
            assert_eq!([0, 1].map(|at| polls.is_due(at, now)), [number == 0; 2], "in round {number}");
            let mut round = Round::begin(&mut table, Timestamp::from_millis(number.into()), Vec::new());
            if number == 0 {
                for (at, name, value) in [(0, "optics", 7.0), (1, "modules", 8.0)] {
                    polls.asked(at, now, Came::All, Timestamp::from_millis(0));
                    round.metric(&own::WALK_COMPLETE, &[name], value);
                    polls.hold(at, round.latest().expect("just added"), value);
                }
                round.metric(&own::WALK_COMPLETE, &["port 9"], 9.0);
            }
            polls.go_on(now, &mut round);
            let values: Vec<f64> = round.finish().0.iter().map(|point| point.value).collect();
            let (held, others): (Vec<f64>, Vec<f64>) =
                values.iter().partition(|value| [7.0, 8.0].contains(value));
            assert_eq!(held, [7.0, 8.0], "in round {number}");
            // The port itself, and its stale marker.
            assert_eq!(others.len(), usize::from(number < 2), "in round {number}: {others:?}");
        }
        assert_eq!(table.len(), 2, "the port was forgotten meanwhile");
    }

    /// So many rounds come to nothing that what was held is forgotten, and its place is another's.
    #[test]
    fn what_was_held_for_a_series_that_was_forgotten_is_said_of_nothing_else() {
        let interval = Duration::from_secs(60);
        // Soon after it was forgotten, and when the table does not know any more what it forgot.
        for (failed, goes_on) in [(20, true), (30, false)] {
            let mut polls = polls_of(vec![poll(Class::Hourly, 0), poll(Class::Hourly, 0)], 2, interval);
            let mut table = SeriesTable::new(model::Labels::empty(), 10);
            let now = Instant::now();
            let mut round = Round::begin(&mut table, Timestamp::from_millis(1), Vec::new());
            let ids = [(0, "optics", 7.0), (1, "modules", 8.0)].map(|(at, name, value)| {
                polls.asked(at, now, Came::All, Timestamp::from_millis(1));
                round.metric(&own::WALK_COMPLETE, &[name], value);
                let id = round.latest().expect("just added");
                polls.hold(at, id, value);
                id
            });
            polls.go_on(now, &mut round);
            round.finish();
            for _ in 1..failed {
                let mut round = Round::begin(&mut table, Timestamp::from_millis(2), Vec::new());
                round.keep(ids[1]);
                round.finish();
            }
            let later = now + interval;
            let mut round = Round::begin(&mut table, Timestamp::from_millis(3), Vec::new());
            round.metric(&own::WALK_COMPLETE, &["another"], 1.0);
            assert_eq!(round.latest(), Some(ids[0]), "its place is used again");
            polls.go_on(later, &mut round);
            let said =
                |value: f64, points: &[crate::series::Point]| points.iter().any(|point| point.value == value);
            let (points, _) = round.finish();
            assert!(!said(7.0, &points) && said(8.0, &points) == goes_on, "{points:?}");
            assert_eq!([0, 1].map(|at| polls.is_due(at, later)), [true, !goes_on]);
            let mut round = Round::begin(&mut table, Timestamp::from_millis(4), Vec::new());
            polls.go_on(later + interval, &mut round);
            assert!(!said(7.0, &round.finish().0));
        }
    }

    #[test]
    fn columns_that_a_device_always_refused_do_not_make_its_table_partial() {
        let polls = vec![poll(Class::Fast, 0)];
        let interval = Duration::from_secs(60);
        let mut polls = polls_of(polls, 1, interval);
        assert!(polls.is_whole(0, [false, true].into_iter()));
        assert!(polls.is_whole(0, [false, false].into_iter()));
        assert!(polls.is_whole(0, [false, true].into_iter()));
        assert!(!polls.is_whole(0, [true, true].into_iter()));
    }
}
