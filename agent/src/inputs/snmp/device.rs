//! One device, one round: is it there, what is it, and what its profile wants to know.
//!
//! First the scalars, sysDescr, sysObjectID and sysUpTime among them (a device that does not answer costs nothing more). Where they say
//! that this is another device than before, or that it restarted, a profile is chosen anew. Then, in one go, the tables that are due.
//! What came goes through the profile's evaluator into the round; a table that failed takes nothing with it.

use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::{Labels, Timestamp};
use profiles::{Evaluator, Identity, Plan as Asks, Profile, Readings, TablePlan};
use snmp::engine::{Harvest, Job, Target};
use snmp::round::{Table, TableHarvest};
use snmp::{Limits, Oid, Reason, Value};

use super::polls::{Polls, RESENT_ABOVE};
use super::sink::{Refused, Stamps, Values, Ways};
use super::{Address, Plan, Shared, own};
use crate::inputs::{BoxFuture, CollectError, Input};
use crate::series::{Round, SeriesId, SeriesTable};

/// No try waits longer than this, unless its settings say so.
const TIMEOUT_MAX: Duration = Duration::from_secs(10);
/// sysDescr, sysObjectID and sysUpTime: by which a device is known.
const IDENTITY: [[u32; 9]; 3] =
    [[1, 3, 6, 1, 2, 1, 1, 1, 0], [1, 3, 6, 1, 2, 1, 1, 2, 0], [1, 3, 6, 1, 2, 1, 1, 3, 0]];
/// Hundredths of a second by which a clock that is about to turn over may be off.
const TICKS_SLACK: u64 = 60_00;

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
    /// When it was last seen to have restarted.
    restarted: Option<Timestamp>,
    /// When it was asked last, and, where that is more rarely than a query looks back, all that was said then.
    asked: Option<Instant>,
    said: Vec<(SeriesId, f64)>,
}

/// What a device says of itself.
#[derive(Debug)]
struct Seen {
    descr: Vec<u8>,
    object: Oid,
    /// sysUpTime, and when it was asked for.
    ticks: Option<(u32, Instant)>,
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
    tables: Vec<Arc<Table>>,
    /// The scalars that were asked for last.
    scalars: Arc<Scalars>,
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
}

impl Input for Device {
    fn name(&self) -> &str {
        &self.title
    }

    fn interval(&self) -> Duration {
        // In the rounds between, what was said is said again.
        let rounds = self.plan.interval.as_millis().div_ceil(RESENT_ABOVE.as_millis()).max(1);
        self.plan.interval / u32::try_from(rounds).expect("an interval is a day at most")
    }

    fn timeout(&self) -> Duration {
        // The round ends by itself a little earlier, so that what it found is kept.
        self.budget() + self.interval() / 10
    }

    fn new_table(&self) -> SeriesTable {
        SeriesTable::compact(Labels::clone(&self.plan.labels), self.plan.series_max)
    }

    fn collect<'a>(&'a mut self, round: &'a mut Round<'_>) -> BoxFuture<'a, Result<(), CollectError>> {
        Box::pin(self.visit_or_repeat(round))
    }
}

impl Device {
    pub(super) fn new(plan: Plan, shared: Shared) -> Self {
        let title = format!("snmp {}", plan.name);
        Self {
            plan,
            shared,
            title,
            target: None,
            seen: None,
            reader: None,
            refused: Refused::default(),
            stamps: Stamps::default(),
            restarted: None,
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
        let is_repeated = step < self.plan.interval;
        if let Some(asked) = self.asked.filter(|_| is_repeated)
            && now.saturating_duration_since(asked) + step / 2 < self.plan.interval
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
        let mut visit = Visit { round, target, handle, started, deadline, faults: Vec::new() };
        let answered = self.ask(&mut visit).await;
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
            Address::Name(host, port) => look_up(host, *port, plan.timeout).await?,
        };
        let handle = self.shared.engine()?;
        let generations: Vec<u64> = plan.credentials.iter().map(|known| known.generation()).collect();
        let same =
            |(known, target): &&(Vec<u64>, Arc<Target>)| target.address == address && *known == generations;
        if let Some((_, target)) = self.target.as_ref().filter(same) {
            return Ok((target.clone(), handle));
        }
        let (credentials, generations) = plan.credentials.iter().map(|known| known.get()).unzip();
        let target = Arc::new(Target {
            bind: plan.bind,
            accept_reply_from: plan.accept_reply_from.clone(),
            site: plan.site.clone(),
            timeout: plan.timeout,
            timeout_max: plan.timeout.max(TIMEOUT_MAX),
            retries: plan.retries,
            ..Target::new(plan.name.as_str(), address, credentials)
        });
        self.target = Some((generations, target.clone()));
        Ok((target, handle))
    }

    /// The whole conversation; false if the device does not answer at all.
    async fn ask(&mut self, visit: &mut Visit<'_, '_>) -> bool {
        let first = self.first_scalars(visit.started);
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
        match self.look(&harvest, visit) {
            Ok(Change::None) if self.reader.is_some() => {}
            Ok(change) => self.identify(change, &first.oids, &harvest, visit).await,
            Err(fault) => visit.faults.push(fault),
        }
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
    fn look(&mut self, harvest: &Harvest, visit: &Visit<'_, '_>) -> Result<Change, String> {
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
        let ticks = match harvest.scalar(2) {
            Some(Value::TimeTicks(ticks)) => Some((ticks, visit.started)),
            _ => None,
        };
        let now = Seen { descr, object, ticks };
        let change = self.seen.as_ref().map_or(Change::Another, |before| now.since(before));
        if change == Change::Restarted {
            self.restarted = Some(visit.round.timestamp());
        }
        self.seen = Some(now);
        Ok(change)
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
            reader => *reader = Some(Reader::new(&profile, &self.plan)),
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
        let harvest = visit.run(late.oids.clone(), tables).await;
        visit.faults.extend(scalar_fault(&late.oids, &harvest));

        let mut readings = Readings::new();
        let at_time = visit.round.timestamp();
        for (scalars, harvest) in [(first, early), (&late, &harvest)] {
            reader.take_scalars(asks, scalars, harvest, (now, at_time), &mut readings);
        }
        for (at, read) in due.iter().zip(&harvest.tables) {
            visit.faults.extend(reader.judge(*at, &asks.tables[*at], read, (now, at_time)));
            if brought(read) {
                let refused = read.reasons.iter().map(|reason| !reason.is_complete());
                let whole = !read.reasons.iter().any(by_chance) && reader.polls.is_whole(*at, refused);
                readings.table(*at, whole, read.cells().map(|cell| (cell.column, cell.index, cell.value)));
            }
        }
        // Before the device's own series: those may be more than the table of series takes.
        let cells: u64 = harvest.tables.iter().map(|table| table.cost.cells + table.cost.skipped).sum();
        report_cost(visit.round, "if_mib", &harvest, cells + harvest.scalars.len() as u64);
        visit.round.metric(&own::UP, &[], 1.0);
        visit.round.metric(&own::PROFILE, &[profile.name()], 1.0);
        reader.polls.report(visit.round);
        let ways = Ways {
            rules: &self.plan.rules,
            exclude: self.plan.exclude.as_ref(),
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
        if let Some(restarted) = self.restarted {
            visit.round.metric(&own::DISCONTINUITY, &[], restarted.as_millis() as f64 / 1000.0);
        }
    }

    async fn save(&self, visit: &mut Visit<'_, '_>) {
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
    fn since(&self, before: &Self) -> Change {
        if self.descr != before.descr || self.object != before.object {
            return Change::Another;
        }
        let (Some((now, at)), Some((then, then_at))) = (self.ticks, before.ticks) else {
            return Change::None;
        };
        let past = at.saturating_duration_since(then_at).as_millis() as u64 / 10;
        // After 497 days the clock turns over, which is no restart.
        let turns_over = u64::from(then) + past + TICKS_SLACK > u64::from(u32::MAX);
        if now < then && !turns_over { Change::Restarted } else { Change::None }
    }
}

impl Reader {
    fn new(profile: &Arc<Profile>, plan: &Plan) -> Self {
        let asks = profile.plan();
        Self {
            evaluator: Evaluator::new(profile),
            polls: Polls::new(asks, plan.interval),
            tables: asks.tables.iter().map(|table| Arc::new(wanted(table, plan))).collect(),
            scalars: Arc::default(),
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
            let read = places.is_empty() || !places.iter().all(lost);
            self.polls.asked(asks.tables.len() + group, now, read.then_some(at_time));
            if read {
                let came: Vec<(u16, Value<'h>)> =
                    (0u16..).zip(places).filter_map(|(ordinal, at)| Some((ordinal, values[*at]?))).collect();
                readings.scalars(*group, came.into_iter());
            }
        }
    }

    /// Says how a table ended.
    fn judge(
        &mut self,
        at: usize,
        table: &TablePlan,
        read: &TableHarvest,
        (now, at_time): (Instant, Timestamp),
    ) -> Option<String> {
        self.polls.asked(at, now, brought(read).then_some(at_time));
        let failure = read.failure().map(|(_, reason)| reason.as_str());
        self.polls.ended(at, failure, read.rows.is_empty());
        failure.map(|_| format!("{}: {}", table.name, failures(&table.columns, read)))
    }
}

impl Visit<'_, '_> {
    async fn run(&self, scalars: Arc<[Oid]>, tables: Vec<Arc<Table>>) -> Harvest {
        let deadline = self.deadline.saturating_duration_since(Instant::now());
        let job = Job { target: self.target.clone(), scalars, tables, deadline, urgent: false };
        self.handle.run(job).await
    }
}

/// A table of the profile as the engine is asked for it; its budget and the settings both bound it.
fn wanted(table: &TablePlan, plan: &Plan) -> Table {
    let most = table.budget.repetitions_max.map_or(Table::REPETITIONS_MAX, |most| {
        u16::try_from(most).unwrap_or(Table::REPETITIONS_MAX).clamp(1, Table::REPETITIONS_MAX)
    });
    let rows_max = table.budget.rows_max.min(plan.rows_max);
    Table {
        key: table.name.clone(),
        columns: table.columns.clone(),
        limits: Limits { rows_max, time_max: plan.interval, ..Limits::default() },
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
    let (reason, oid) = failed.find(|(reason, _)| !matches!(reason, Reason::NoSuchObject))?;
    Some(format!("{oid}: {reason}"))
}

/// Which columns ended early and why; the first few of many.
fn failures(columns: &[Oid], harvest: &TableHarvest) -> String {
    const SHOWN_MAX: usize = 3;
    let ended = columns.iter().zip(&harvest.reasons);
    let failed: Vec<_> = ended.filter(|(_, reason)| !reason.is_complete()).collect();
    let shown = failed.iter().take(SHOWN_MAX).map(|(column, reason)| format!("column {column}: {reason}"));
    let mut text = shown.collect::<Vec<_>>().join(", ");
    if failed.len() > SHOWN_MAX {
        write!(text, " and {} more columns", failed.len() - SHOWN_MAX).expect("a String takes all");
    }
    text
}

async fn look_up(host: &str, port: u16, timeout: Duration) -> Result<SocketAddr, CollectError> {
    let found = tokio::time::timeout(timeout, tokio::net::lookup_host((host, port))).await;
    let cannot = |why: &dyn std::fmt::Display| CollectError(format!("cannot look up {host}: {why}"));
    let mut addresses = found.map_err(|_| cannot(&"no answer in time"))?.map_err(|error| cannot(&error))?;
    addresses.next().ok_or_else(|| cannot(&"it has no address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_goes_back_is_a_restart_unless_it_turned_over() {
        let start = Instant::now();
        let seen = |ticks: u32, after: u64| Seen {
            descr: b"x".to_vec(),
            object: Oid::from_arcs(&[1, 3]).expect("good"),
            ticks: Some((ticks, start + Duration::from_secs(after))),
        };
        let check = |then: u32, now: u32, expected: Change| {
            assert_eq!(seen(now, 60).since(&seen(then, 0)), expected, "{then} {now}");
        };
        check(1_000, 7_000, Change::None);
        check(1_000, 1_000, Change::None);
        check(7_000, 100, Change::Restarted);
        check(u32::MAX - 3_000, 3_000, Change::None);
        check(u32::MAX - 30_000, 3_000, Change::Restarted);
        let other = Seen { descr: b"y".to_vec(), ..seen(7_000, 60) };
        assert_eq!(other.since(&seen(1_000, 0)), Change::Another);
    }
}
