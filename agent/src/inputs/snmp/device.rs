//! One device, one round: is it there, what is it, and what its profile wants to know.
//!
//! First the scalars, sysDescr, sysObjectID and sysUpTime among them (a device that does not answer costs nothing more). Where they say
//! that this is another device than before, or that it restarted, a profile is chosen anew. Then, in one go, the tables that are due.
//! What came goes through the profile's evaluator into the round; a table that failed takes nothing with it. Where a restart in between
//! is possible (a reply was lost or late, a counter fell), sysUpTime is asked for once more: tables from before and after a restart do not
//! go into one round.

use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use model::{Labels, Timestamp};
use profiles::{Evaluator, Identity, Plan as Asks, Profile, Readings, TablePlan};
use snmp::engine::{Harvest, Job, Target};
use snmp::round::{Table, TableHarvest};
use snmp::{Limit, Limits, Oid, Reason, Value};

use super::budgets::Budgets;
use super::events::{Events, Kind};
use super::neighbours::{Seat, Shown};
use super::polls::{Came, Polls, RESENT_ABOVE};
use super::ports::{Columns, Looks};
use super::sink::{Refused, Stamps, Values, Ways};
use super::uptime::{Course, Pace, Uptime};
use super::{Address, Plan, Shared, own};
use crate::inputs::{BoxFuture, CollectError, Input};
use crate::series::{Round, SeriesId, SeriesTable};

/// sysDescr, sysObjectID and sysUpTime: by which a device is known.
const IDENTITY: [[u32; 9]; 3] =
    [[1, 3, 6, 1, 2, 1, 1, 1, 0], [1, 3, 6, 1, 2, 1, 1, 2, 0], [1, 3, 6, 1, 2, 1, 1, 3, 0]];
/// snmpEngineTime: what tells a clock that turned over from one that began anew.
const ENGINE_TIME: [u32; 11] = [1, 3, 6, 1, 6, 3, 10, 2, 1, 3, 0];
/// What is asked in less time without a loss leaves no room for a restart.
const RESTART_MIN: Duration = Duration::from_secs(2);

/// See the module's text.
pub(super) struct Device {
    plan: Plan,
    shared: Shared,
    title: String,
    /// As it was asked last, and the states of its credentials; the engine knows it by this.
    target: Option<(Vec<u64>, Arc<Target>)>,
    /// What it said of itself.
    seen: Option<Seen>,
    reader: Option<Reader>,
    refused: Refused,
    stamps: Stamps,
    /// How long it was up when it was last looked at.
    uptime: Option<Uptime>,
    /// Whether its clock is one of those that run slowly.
    pace: Pace,
    events: Events,
    spent: Spent,
    seat: Seat,
    /// When it was asked last, and, where that is more rarely than a query looks back, all that was said then.
    asked: Option<Instant>,
    said: Vec<(SeriesId, f64)>,
}

/// What a device says of itself.
#[derive(Debug)]
struct Seen {
    descr: Vec<u8>,
    object: Oid,
}

/// What asking the device has cost.
#[derive(Clone, Debug, Default)]
struct Spent {
    timeouts: u64,
    sent_bytes: u64,
    received_bytes: u64,
    /// The time that its answers took, the wait for its turn left out.
    busy: Duration,
    /// Another device that gave the same engine id.
    same_engine: Option<Arc<str>>,
}

/// What has become of the device since the last round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    None,
    Restarted,
    Another,
}

/// A device's profile at work.
struct Reader {
    evaluator: Evaluator,
    polls: Polls,
    tables: Arc<[Arc<Table>]>,
    /// The scalars that were asked for last.
    scalars: Arc<Scalars>,
    /// Which of the tables' columns tell what happened to interfaces.
    columns: Arc<Columns>,
    left_out: u64,
}

/// Scalars to ask for, each once.
#[derive(Debug, Default)]
struct Scalars {
    oids: Arc<[Oid]>,
    /// Groups of the plan, and where each of its scalars stands in `oids`.
    groups: Vec<(usize, Vec<usize>)>,
}

impl Scalars {
    fn new(first: Vec<Oid>, asks: &Asks, groups: Vec<usize>) -> Self {
        let mut oids = first;
        let mut place = |oid: &Oid| {
            oids.iter().position(|known| known == oid).unwrap_or_else(|| {
                oids.push(oid.clone());
                oids.len() - 1
            })
        };
        let groups = groups
            .into_iter()
            .map(|group| (group, asks.scalars[group].oids.iter().map(&mut place).collect()));
        let groups = groups.collect();
        Self { oids: oids.into(), groups }
    }
}

/// One round under way.
struct Visit<'a, 'r> {
    round: &'a mut Round<'r>,
    target: Arc<Target>,
    handle: snmp::engine::Handle,
    started: Instant,
    deadline: Instant,
    faults: Vec<String>,
    spent: Spent,
}

impl Spent {
    fn add(&mut self, harvest: &Harvest) {
        let cost = &harvest.cost;
        self.timeouts += u64::from(cost.timeouts);
        self.sent_bytes += cost.sent_bytes;
        self.received_bytes += cost.received_bytes;
        self.busy += cost.duration.saturating_sub(cost.waited);
        if harvest.engine_id_also_of.is_some() {
            self.same_engine.clone_from(&harvest.engine_id_also_of);
        }
    }
}

impl Input for Device {
    fn name(&self) -> &str {
        &self.title
    }

    fn interval(&self) -> Duration {
        // In the rounds between, what was said is said again.
        let rounds = self.plan.manner.interval.as_millis().div_ceil(RESENT_ABOVE.as_millis()).max(1);
        self.plan.manner.interval / u32::try_from(rounds).expect("an interval is a day at most")
    }

    fn timeout(&self) -> Duration {
        // The round ends by itself a little earlier, so that what it found is kept.
        self.budget() + self.interval() / 10
    }

    fn new_table(&self) -> SeriesTable {
        SeriesTable::compact(Labels::clone(&self.plan.labels), self.plan.series_max)
            .with_room_for_own(own::ROOM)
    }

    fn collect<'a>(&'a mut self, round: &'a mut Round<'_>) -> BoxFuture<'a, Result<(), CollectError>> {
        Box::pin(self.visit_or_repeat(round))
    }
}

impl Device {
    pub(super) fn new(plan: Plan, shared: Shared) -> Self {
        let title = format!("snmp {}", plan.name);
        let seat = shared.core.neighbours.seat(&plan.name);
        Self {
            plan,
            shared,
            title,
            target: None,
            seen: None,
            reader: None,
            refused: Refused::default(),
            stamps: Stamps::default(),
            uptime: None,
            pace: Pace::default(),
            events: Events::default(),
            spent: Spent::default(),
            seat,
            asked: None,
            said: Vec::new(),
        }
    }

    /// How long the whole round may take.
    fn budget(&self) -> Duration {
        self.interval().mul_f64(0.8)
    }

    async fn visit_or_repeat(&mut self, round: &mut Round<'_>) -> Result<(), CollectError> {
        let (now, step) = (Instant::now(), self.interval());
        let is_repeated = step < self.plan.manner.interval;
        if let Some(asked) = self.asked.filter(|_| is_repeated)
            && now.saturating_duration_since(asked) + step / 2 < self.plan.manner.interval
        {
            for (id, value) in &self.said {
                round.put_again(*id, *value);
            }
            return Ok(());
        }
        self.asked = Some(now);
        if is_repeated {
            round.metric(&own::DEVICE_LAST_POLL, &[], round.timestamp().as_millis() as f64 / 1000.0);
        }
        let visited = self.visit(round).await;
        self.said.clear();
        if is_repeated {
            self.said.extend(round.values());
        }
        visited
    }

    async fn visit(&mut self, round: &mut Round<'_>) -> Result<(), CollectError> {
        let started = Instant::now();
        let (target, handle) = match self.target().await {
            Ok(found) => found,
            Err(error) => {
                round.metric(&own::UP, &[], 0.0);
                return Err(error);
            }
        };
        let deadline = started + self.budget();
        let (faults, spent) = (Vec::new(), Spent::default());
        let mut visit = Visit { round, target, handle, started, deadline, faults, spent };
        let answered = self.ask(&mut visit).await;
        self.count(&mut visit, answered);
        visit.faults.extend(self.shared.core.memory.warning());
        if !answered || self.reader.is_none() {
            visit.round.metric(&own::UP, &[], f64::from(u8::from(answered)));
        }
        visit.round.metric(&own::DURATION, &[], started.elapsed().as_secs_f64());
        self.save(&mut visit).await;
        if visit.faults.is_empty() { Ok(()) } else { Err(CollectError(visit.faults.join("; "))) }
    }

    /// Whom to ask, the same as last time if nothing changed, and the engine to ask by.
    async fn target(&mut self) -> Result<(Arc<Target>, snmp::engine::Handle), CollectError> {
        let plan = &self.plan;
        let address = match &plan.address {
            Address::Socket(address) => *address,
            Address::Name(host, port) => look_up(host, *port, plan.manner.timeout).await?,
        };
        let handle = self.shared.engine()?;
        let generations: Vec<u64> = plan.credentials.iter().map(|known| known.generation()).collect();
        let same =
            |(known, target): &&(Vec<u64>, Arc<Target>)| target.address == address && *known == generations;
        if let Some((_, target)) = self.target.as_ref().filter(same) {
            return Ok((target.clone(), handle));
        }
        let (credentials, generations) = plan.credentials.iter().map(|known| known.get()).unzip();
        let target = Arc::new(plan.engine_target(address, credentials));
        self.target = Some((generations, target.clone()));
        Ok((target, handle))
    }

    /// The whole conversation; false if the device does not answer at all.
    async fn ask(&mut self, visit: &mut Visit<'_, '_>) -> bool {
        let first = self.first_scalars(visit.started);
        if let Some(reader) = &mut self.reader {
            visit.faults.extend(reader.asking(&first, &[], visit.started));
        }
        let asked = Instant::now();
        let harvest = visit.run(first.oids.clone(), Vec::new()).await;
        report_cost(visit.round, "system", &harvest, harvest.scalars.len() as u64);
        if !harvest.answered {
            visit.faults.push(self.silence(&visit.target, &harvest));
            if let Some(reader) = &mut self.reader {
                reader.polls.silent();
            }
            return false;
        }
        visit.faults.extend(scalar_fault(&first.oids, &harvest));
        let before = self.reader.as_ref().map(|reader| reader.evaluator.profile().clone());
        match self.look(&harvest, asked, visit).await {
            Ok(Change::None) if self.reader.is_some() => {}
            Ok(change) => self.identify(change, &first.oids, &harvest, visit).await,
            Err(fault) => visit.faults.push(fault),
        }
        let after = self.reader.as_ref().map(|reader| reader.evaluator.profile());
        let same = before.as_ref().zip(after).is_some_and(|(before, after)| Arc::ptr_eq(before, after));
        // Another profile has other groups of scalars: these were asked for by the one before.
        let first = if same {
            first
        } else {
            Arc::new(Scalars::new(first.oids.to_vec(), &Asks::default(), Vec::new()))
        };
        self.read(&first, &harvest, visit).await;
        true
    }

    /// By what the device is known, what its profile wants at this time, and, while it is not known, what tells profiles apart.
    fn first_scalars(&mut self, now: Instant) -> Arc<Scalars> {
        let identity = IDENTITY.iter().map(|arcs| Oid::from_arcs(arcs).expect("good constants"));
        let Some(reader) = &mut self.reader else {
            let named = self.plan.profile.is_some();
            let probes = self.plan.library.set().probes().iter().filter(|_| !named).cloned();
            return Arc::new(Scalars::new(identity.chain(probes).collect(), &Asks::default(), Vec::new()));
        };
        let due = reader.due_groups(now, &[]);
        if due.is_empty() || !reader.scalars.groups.iter().map(|(group, _)| *group).eq(due.iter().copied()) {
            let asks = reader.evaluator.profile().plan();
            reader.scalars = Arc::new(Scalars::new(identity.collect(), asks, due));
        }
        reader.scalars.clone()
    }

    fn silence(&self, target: &Target, harvest: &Harvest) -> String {
        let tries = harvest.cost.requests + harvest.cost.retries;
        let mut text = match harvest.scalar_reasons.iter().flatten().next() {
            Some(Reason::Timeout) => format!("{} does not answer ({tries} tries)", target.address),
            Some(Reason::Limit(_)) => format!("no answer within the round's {:?}", self.budget()),
            Some(reason) => format!("{}: {reason}", target.address),
            None => format!("{} does not answer", target.address),
        };
        if let Some(bad) = &harvest.last_bad {
            write!(text, "; the last packet that did not count: {}", bad.why).expect("a String takes all");
        }
        text
    }

    /// What the device says of itself this time, and whether it is still the same.
    async fn look(
        &mut self,
        harvest: &Harvest,
        asked: Instant,
        visit: &mut Visit<'_, '_>,
    ) -> Result<Change, String> {
        let uptime = uptime(harvest.scalar(2), asked);
        let by_accident = harvest.scalar_reasons.iter().take(2).flatten().find(|reason| by_chance(reason));
        if let Some(reason) = by_accident {
            return Err(format!("it does not say what it is: {reason}"));
        }
        let descr = match harvest.scalar(0) {
            Some(Value::OctetString(bytes)) => bytes.to_vec(),
            _ => Vec::new(),
        };
        let object = match harvest.scalar(1) {
            Some(Value::Oid(oid)) => oid.to_oid(),
            _ => Oid::from_arcs(&[0, 0]).expect("a good constant"),
        };
        let course = self.follow_clock(uptime, visit).await;
        let now = Seen { descr, object };
        let (change, kind) = self.seen.as_ref().map_or((Change::Another, None), |before| now.since(before));
        let kind = kind.or(match course {
            Course::Restarted => Some(Kind::Restart),
            Course::TurnedOver => Some(Kind::UptimeWrap),
            Course::GoesOn | Course::Behind | Course::Unsure => None,
        });
        if kind == Some(Kind::Replacement) {
            self.pace = Pace::default();
        }
        if let Some(kind) = kind {
            self.events.device(&self.title, kind, visit.round.timestamp());
        }
        self.seen = Some(now);
        let restarted = change == Change::None && kind == Some(Kind::Restart);
        Ok(if restarted { Change::Restarted } else { change })
    }

    /// What became of the device's clock since the last round.
    async fn follow_clock(&mut self, now: Option<Uptime>, visit: &mut Visit<'_, '_>) -> Course {
        let course = course(self.uptime, now, &self.pace, visit).await;
        if let Some((now, before)) = now.as_ref().zip(self.uptime.as_ref())
            && self.pace.note(course, now, before)
        {
            tracing::info!(
                "{}: its sysUpTime runs too slowly, as if it counted seconds: only where it goes back is it taken for a restart",
                self.title
            );
        }
        self.uptime = now.or(self.uptime);
        self.pace.settle(course)
    }

    /// What the round cost, counted and compared with others'.
    fn count(&mut self, visit: &mut Visit<'_, '_>, answered: bool) {
        let (spent, now) = (&visit.spent, &mut self.spent);
        now.timeouts += spent.timeouts;
        now.sent_bytes += spent.sent_bytes;
        now.received_bytes += spent.received_bytes;
        let shown = Shown {
            address: visit.target.address,
            took: answered.then_some(spent.busy),
            fresh_for: self.plan.manner.interval * 2 + Duration::from_secs(60),
            same_engine: spent.same_engine.clone(),
        };
        self.seat.show(shown, Instant::now());
        visit.round.metric(&own::DEVICE_TIMEOUTS, &[], now.timeouts as f64);
        visit.round.metric(&own::DEVICE_BYTES, &["sent"], now.sent_bytes as f64);
        visit.round.metric(&own::DEVICE_BYTES, &["received"], now.received_bytes as f64);
    }

    /// Chooses the profile; what is known goes on where it is the same as before.
    async fn identify(
        &mut self,
        change: Change,
        asked: &[Oid],
        harvest: &Harvest,
        visit: &mut Visit<'_, '_>,
    ) {
        let library = self.plan.library.clone();
        let set = library.set();
        let profile = match &self.plan.profile {
            Some(name) => set.get(name).cloned(),
            None if asked.len() >= IDENTITY.len() + set.probes().len() && self.reader.is_none() => {
                self.choose(asked, harvest)
            }
            None => {
                let probes: Arc<[Oid]> = set.probes().into();
                let harvest = visit.run(probes.clone(), Vec::new()).await;
                if !harvest.answered || harvest.scalar_reasons.iter().flatten().any(by_chance) {
                    visit.faults.push("it does not say which profile suits it".to_owned());
                    // Asked again in the next round.
                    self.seen = None;
                    return;
                }
                self.choose(&probes, &harvest)
            }
        };
        let Some(profile) = profile else {
            visit.faults.push("no profile suits it, not even a general one".to_owned());
            return;
        };
        match &mut self.reader {
            Some(reader) if Arc::ptr_eq(reader.evaluator.profile(), &profile) => {
                if change != Change::None {
                    reader.polls.restart();
                }
            }
            reader => *reader = Some(Reader::new(&profile, &self.plan, &self.shared.core.budgets)),
        }
    }

    fn choose(&self, asked: &[Oid], harvest: &Harvest) -> Option<Arc<Profile>> {
        let seen = self.seen.as_ref()?;
        let answers = |oid: &Oid| {
            let place = asked.iter().position(|asked| asked == oid);
            place.and_then(|at| harvest.scalar(at)).is_some()
        };
        let descr = String::from_utf8_lossy(&seen.descr);
        let identity = Identity { sys_object_id: &seen.object, sys_descr: &descr, answers: &answers };
        let choice = self.plan.library.set().choose(&identity)?;
        tracing::debug!("{}: profile {}", self.title, choice.why);
        Some(choice.profile)
    }

    /// Asks for the tables that are due, and puts what came into the round.
    async fn read(&mut self, first: &Scalars, early: &Harvest, visit: &mut Visit<'_, '_>) {
        let Some(reader) = &mut self.reader else { return };
        let now = visit.started;
        let profile = reader.evaluator.profile().clone();
        let asks = profile.plan();
        // A profile that was chosen just now has asked for no scalar yet.
        let late = Scalars::new(Vec::new(), asks, reader.due_groups(now, &first.groups));
        let due: Vec<usize> = (0..asks.tables.len()).filter(|at| reader.polls.is_due(*at, now)).collect();
        let tables: Vec<Arc<Table>> = due.iter().map(|at| reader.tables[*at].clone()).collect();
        visit.faults.extend(reader.asking(&late, &due, now));
        let harvest = visit.run(late.oids.clone(), tables).await;
        visit.faults.extend(scalar_fault(&late.oids, &harvest));

        let mut looks = Looks::new();
        let mut wholes = Vec::with_capacity(due.len());
        for (at, read) in due.iter().zip(&harvest.tables) {
            let whole = reader.is_whole(*at, read);
            looks.table(&reader.columns, *at, read, whole);
            wholes.push(whole);
        }
        looks.finish();
        let fell = self.events.any_fell(&looks);
        let broken = (fell || leaves_room(&harvest)) && restarted_since(self.uptime, &self.pace, visit).await;
        if broken {
            visit
                .faults
                .push("it restarted while it was read: its tables are left out of this round".to_owned());
        }

        let mut readings = Readings::new();
        let at_time = visit.round.timestamp();
        for (scalars, harvest) in [(first, early), (&late, &harvest)] {
            reader.take_scalars(asks, scalars, harvest, (now, at_time), &mut readings);
        }
        if broken {
            reader.leave_out(&due, (now, at_time));
        }
        for ((at, read), whole) in due.iter().zip(&harvest.tables).zip(wholes).filter(|_| !broken) {
            visit.faults.extend(reader.judge(*at, &asks.tables[*at], read, (now, at_time)));
            if brought(read) {
                readings.table(*at, whole, read.cells().map(|cell| (cell.column, cell.index, cell.value)));
            }
        }
        // Before the device's own series: those may be more than the table of series takes.
        let cells: u64 = harvest.tables.iter().map(|table| table.cost.cells + table.cost.skipped).sum();
        report_cost(visit.round, "if_mib", &harvest, cells + harvest.scalars.len() as u64);
        visit.round.metric(&own::UP, &[], 1.0);
        visit.round.metric(&own::PROFILE, &[profile.name()], 1.0);
        reader.polls.report(visit.round);
        if !broken {
            let wanted =
                |name: &str| self.plan.exclude.as_ref().is_none_or(|exclude| !exclude.is_match(name));
            self.events.interfaces(&self.title, &looks, (now, at_time), wanted);
        }
        self.events.report(visit.round);
        let ways = Ways {
            rules: &self.plan.rules,
            exclude: self.plan.exclude.as_deref(),
            memory: &self.shared.core.memory,
            device: &self.plan.name,
        };
        let mut values =
            Values::new(visit.round, &mut reader.polls, &mut self.refused, &mut self.stamps, &ways);
        let outcome = reader.evaluator.round(readings, &mut values);
        reader.left_out = outcome.left_out;
        if outcome.waiting > 0 && !visit.faults.is_empty() {
            visit.faults.push(format!("{} rows wait until their names can be read", outcome.waiting));
        }
        reader.polls.go_on(now, visit.round);
        visit.round.metric(&own::INTERFACES_LEFT_OUT, &[], reader.left_out as f64);
        self.refused.report(visit.round);
        self.events.report_interfaces(visit.round);
    }

    async fn save(&self, visit: &mut Visit<'_, '_>) {
        if self.shared.core.looks_only {
            return;
        }
        let (memory, now) = (self.shared.core.memory.clone(), Instant::now());
        if memory.wants_saving(now) {
            let saved = tokio::task::spawn_blocking(move || memory.save(now)).await;
            if let Ok(Err(error)) = saved {
                visit.faults.push(format!("cannot keep the first indices of interfaces: {error}"));
            }
        }
        let keep = self.shared.core.keep.clone();
        if keep.takes_turn(now) {
            let learned = visit.handle.learned().await;
            let saved = tokio::task::spawn_blocking(move || keep.save(&learned)).await;
            if let Ok(Err(error)) = saved {
                visit.faults.push(format!("cannot keep what was learned about devices: {error}"));
            }
        }
    }
}

impl Seen {
    /// What has become of the device, but for a restart.
    fn since(&self, before: &Self) -> (Change, Option<Kind>) {
        if self.object != before.object {
            return (Change::Another, Some(Kind::Replacement));
        }
        // It may be another version of its software.
        (if self.descr == before.descr { Change::None } else { Change::Another }, None)
    }
}

fn uptime(value: Option<Value<'_>>, asked: Instant) -> Option<Uptime> {
    match value {
        Some(Value::TimeTicks(ticks)) => Some(Uptime { ticks, asked, answered: Instant::now() }),
        _ => None,
    }
}

/// What became of the device's clock; where that is not sure, another clock is asked for.
async fn course(
    before: Option<Uptime>,
    now: Option<Uptime>,
    pace: &Pace,
    visit: &mut Visit<'_, '_>,
) -> Course {
    let (Some(before), Some(now)) = (before, now) else { return Course::GoesOn };
    match now.since(&before) {
        Course::Behind if pace.is_slow() => Course::Behind,
        Course::Unsure | Course::Behind => {
            let name = Oid::from_arcs(&ENGINE_TIME).expect("a good constant");
            let harvest = visit.run([name].into(), Vec::new()).await;
            let seconds = match harvest.scalar(0) {
                // Zero is what those say that do not keep it.
                Some(Value::Integer(seconds)) => u32::try_from(seconds).ok().filter(|seconds| *seconds > 0),
                _ => None,
            };
            now.since_by(&before, seconds)
        }
        course => course,
    }
}

/// Whether the device restarted after its clock was looked at.
async fn restarted_since(before: Option<Uptime>, pace: &Pace, visit: &mut Visit<'_, '_>) -> bool {
    let asked = Instant::now();
    let name = Oid::from_arcs(&IDENTITY[2]).expect("a good constant");
    let harvest = visit.run([name].into(), Vec::new()).await;
    let now = uptime(harvest.scalar(0), asked);
    pace.settle(course(before, now, pace, visit).await) == Course::Restarted
}

/// Whether the device may have restarted while this was asked.
fn leaves_room(harvest: &Harvest) -> bool {
    let cost = &harvest.cost;
    cost.requests > 0 && (cost.retries > 0 || cost.timeouts > 0 || cost.duration >= RESTART_MIN)
}

impl Reader {
    fn new(profile: &Arc<Profile>, plan: &Plan, budgets: &Arc<Budgets>) -> Self {
        let asks = profile.plan();
        let (tables, columns) = questions(profile, plan);
        Self {
            evaluator: Evaluator::new(profile),
            polls: Polls::new(asks, plan.manner.interval, budgets.clone(), &plan.name),
            tables,
            scalars: Arc::default(),
            columns,
            left_out: 0,
        }
    }

    /// Groups of scalars that are due and not among these.
    fn due_groups(&self, now: Instant, asked: &[(usize, Vec<usize>)]) -> Vec<usize> {
        let asks = self.evaluator.profile().plan();
        let due = |group: &usize| {
            self.polls.is_due(asks.tables.len() + group, now)
                && !asked.iter().any(|(known, _)| known == group)
        };
        (0..asks.scalars.len()).filter(due).collect()
    }

    fn take_scalars<'h>(
        &mut self,
        asks: &Asks,
        scalars: &Scalars,
        harvest: &'h Harvest,
        (now, at_time): (Instant, Timestamp),
        readings: &mut Readings<'h>,
    ) {
        let mut values: Vec<Option<Value<'h>>> = vec![None; scalars.oids.len()];
        for cell in harvest.scalars.iter() {
            values[usize::from(cell.column)] = Some(cell.value);
        }
        for (group, places) in &scalars.groups {
            let lost = |at: &usize| harvest.scalar_reasons[*at].as_ref().is_some_and(by_chance);
            let came = match places.iter().filter(|at| lost(at)).count() {
                0 => Came::All,
                count if count == places.len() => Came::Nothing,
                _ => Came::Part,
            };
            self.polls.asked(asks.tables.len() + group, now, came, at_time);
            if came != Came::Nothing {
                let came: Vec<(u16, Value<'h>)> =
                    (0u16..).zip(places).filter_map(|(ordinal, at)| Some((ordinal, values[*at]?))).collect();
                readings.scalars(*group, came.into_iter());
            }
        }
    }

    /// These scalars and tables are asked for now.
    fn asking(&mut self, scalars: &Scalars, tables: &[usize], now: Instant) -> Option<String> {
        let groups_from = self.tables.len();
        let groups = scalars.groups.iter().map(|(group, _)| groups_from + group);
        self.polls.asking(tables.iter().copied().chain(groups), now)
    }

    /// Whether what did not come of a table is not there: columns that are denied, or always refused, take nothing from that.
    fn is_whole(&mut self, at: usize, read: &TableHarvest) -> bool {
        let refused = read.reasons.iter().map(|reason| !reason.is_complete());
        !read.reasons.iter().any(by_chance) && self.polls.is_whole(at, refused)
    }

    /// What was read of these tables is from before and after a restart.
    fn leave_out(&mut self, tables: &[usize], (now, at_time): (Instant, Timestamp)) {
        for at in tables {
            self.polls.asked(*at, now, Came::Nothing, at_time);
            self.polls.ended(*at, Some("restarted"), false);
        }
        self.polls.restart();
    }

    /// Says how a table ended.
    fn judge(
        &mut self,
        at: usize,
        table: &TablePlan,
        read: &TableHarvest,
        (now, at_time): (Instant, Timestamp),
    ) -> Option<String> {
        let came = match brought(read) {
            false => Came::Nothing,
            true if read.reasons.iter().any(is_passing) => Came::Part,
            true => Came::All,
        };
        self.polls.asked(at, now, came, at_time);
        // What the settings deny is as they want it.
        let failed = read.reasons.iter().find(|reason| !reason.is_complete() && **reason != Reason::Denied);
        let failure = failed.map(Reason::as_str);
        self.polls.ended(at, failure, read.rows.is_empty());
        failure.map(|_| format!("{}: {}", table.name, failures(&table.columns, read)))
    }
}

impl Visit<'_, '_> {
    async fn run(&mut self, scalars: Arc<[Oid]>, tables: Vec<Arc<Table>>) -> Harvest {
        let deadline = self.deadline.saturating_duration_since(Instant::now());
        let job = Job { target: self.target.clone(), scalars, tables, deadline, urgent: false };
        let harvest = self.handle.run(job).await;
        self.spent.add(&harvest);
        harvest
    }
}

type Questions = (Arc<[Arc<Table>]>, Arc<Columns>);

/// What a profile's tables are asked by, once for all devices that are asked alike: it is kilobytes.
fn questions(profile: &Arc<Profile>, plan: &Plan) -> Questions {
    /// Profile, bounds of the settings, and what was made of them.
    type Known = (Weak<Profile>, (u32, Duration), Questions);
    static KNOWN: Mutex<Vec<Known>> = Mutex::new(Vec::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let bounds = (plan.rows_max, plan.manner.interval);
    let same = known.iter().find(|(of, by, _)| Weak::as_ptr(of) == Arc::as_ptr(profile) && *by == bounds);
    if let Some((_, _, questions)) = same {
        return questions.clone();
    }
    known.retain(|(profile, _, (tables, _))| profile.strong_count() > 0 && Arc::strong_count(tables) > 1);
    let asks = profile.plan();
    let tables = asks.tables.iter().map(|table| Arc::new(wanted(table, plan))).collect();
    let questions: Questions = (tables, Arc::new(Columns::of(asks)));
    known.push((Arc::downgrade(profile), bounds, questions.clone()));
    questions
}

/// A table of the profile as the engine is asked for it; its budget and the settings both bound it.
pub(super) fn wanted(table: &TablePlan, plan: &Plan) -> Table {
    let most = table.budget.repetitions_max.map_or(Table::REPETITIONS_MAX, |most| {
        u16::try_from(most).unwrap_or(Table::REPETITIONS_MAX).clamp(1, Table::REPETITIONS_MAX)
    });
    let rows_max = table.budget.rows_max.min(plan.rows_max);
    Table {
        key: table.name.clone(),
        columns: table.columns.clone(),
        limits: Limits { rows_max, time_max: plan.manner.interval, ..Limits::default() },
        unordered: table.unordered,
        repetitions_max: most,
    }
}

/// Whether a table's harvest says anything about the table: values, or that the device has none.
fn brought(read: &TableHarvest) -> bool {
    !read.rows.is_empty() || !read.reasons.iter().any(by_chance)
}

/// Whether another time may bring what did not come now.
fn by_chance(reason: &Reason) -> bool {
    matches!(
        reason,
        Reason::Timeout | Reason::Parked | Reason::Unreachable | Reason::Stopped | Reason::Limit(_)
    )
}

/// Whether it is worth asking again sooner: a bound on rows is met every time.
fn is_passing(reason: &Reason) -> bool {
    by_chance(reason) && !matches!(reason, Reason::Limit(limit) if *limit != Limit::Time)
}

/// What a module's requests cost, as snmp_exporter counts it.
fn report_cost(round: &mut Round<'_>, module: &str, harvest: &Harvest, values: u64) {
    let cost = &harvest.cost;
    round.metric(&own::WALK_DURATION, &[module], cost.duration.as_secs_f64());
    round.metric(&own::PACKETS_SENT, &[module], f64::from(cost.requests + cost.retries));
    round.metric(&own::PACKETS_RETRIED, &[module], f64::from(cost.retries));
    round.metric(&own::PDUS_RETURNED, &[module], values as f64);
}

/// The first scalar that was not merely missing, and why.
fn scalar_fault(asked: &[Oid], harvest: &Harvest) -> Option<String> {
    let reasons = harvest.scalar_reasons.iter().zip(asked);
    let mut failed = reasons.filter_map(|(reason, oid)| Some((reason.as_ref()?, oid)));
    let (reason, oid) =
        failed.find(|(reason, _)| !matches!(reason, Reason::NoSuchObject | Reason::Denied))?;
    Some(format!("{oid}: {reason}"))
}

/// Which columns ended early and why; the first few of many.
fn failures(columns: &[Oid], harvest: &TableHarvest) -> String {
    const SHOWN_MAX: usize = 3;
    let ended = columns.iter().zip(&harvest.reasons);
    let failed = ended.filter(|(_, reason)| !reason.is_complete() && **reason != Reason::Denied);
    let failed: Vec<_> = failed.collect();
    let shown = failed.iter().take(SHOWN_MAX).map(|(column, reason)| format!("column {column}: {reason}"));
    let mut text = shown.collect::<Vec<_>>().join(", ");
    if failed.len() > SHOWN_MAX {
        write!(text, " and {} more columns", failed.len() - SHOWN_MAX).expect("a String takes all");
    }
    text
}

pub(super) async fn look_up(host: &str, port: u16, timeout: Duration) -> Result<SocketAddr, CollectError> {
    let found = tokio::time::timeout(timeout, tokio::net::lookup_host((host, port))).await;
    let cannot = |why: &dyn std::fmt::Display| CollectError(format!("cannot look up {host}: {why}"));
    let mut addresses = found.map_err(|_| cannot(&"no answer in time"))?.map_err(|error| cannot(&error))?;
    addresses.next().ok_or_else(|| cannot(&"it has no address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_kind_of_device_is_told_from_another_version() {
        let seen = |descr: &str, arc: u32| Seen {
            descr: descr.into(),
            object: Oid::from_arcs(&[1, 3, arc]).expect("good"),
        };
        let before = seen("version 1", 6);
        assert_eq!(seen("version 1", 6).since(&before), (Change::None, None));
        assert_eq!(seen("version 2", 6).since(&before), (Change::Another, None));
        assert_eq!(seen("version 1", 7).since(&before), (Change::Another, Some(Kind::Replacement)));
    }
}
