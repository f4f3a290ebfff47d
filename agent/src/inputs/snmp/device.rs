//! One device, one round: is it there, what is it, its interfaces.
//!
//! The order is: the system group (a device that does not answer it costs nothing more), then in one go the columns that label
//! interfaces, ifTable and ifXTable. What came goes into the round table by table.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ahash::RandomState;
use model::Labels;
use snmp::engine::{Credential, Harvest, Job, Target};
use snmp::round::{Cell, TableHarvest};
use snmp::{Community, Limits, Oid, Reason, Value};

use super::if_mib::{self, LABEL_COLUMNS, SCALARS, Table, Text};
use super::{Address, Plan, Shared, if_type};
use crate::inputs::{BoxFuture, CollectError, Input};
use crate::series::{Family, Round, SeriesTable};

/// A text longer than this is cut.
const TEXT_BYTES_MAX: usize = 1024;
/// No try waits longer than this, unless its settings say so.
const TIMEOUT_MAX: Duration = Duration::from_secs(10);
/// The name of the walk over ifDescr, ifName and ifAlias.
const NAMES_TABLE: &str = "interface_names";

/// See the module's text.
pub(super) struct Device {
    plan: Plan,
    shared: Shared,
    title: String,
    scalars: Arc<[Oid]>,
    /// Names of interfaces, ifTable, ifXTable.
    tables: [Arc<snmp::round::Table>; 3],
    /// As it was asked last; the engine knows it by this.
    target: Option<Arc<Target>>,
    /// Interfaces by their current index, as the last round knew them.
    interfaces: HashMap<u32, Interface, RandomState>,
    /// Whether this round read all names of interfaces.
    names_whole: bool,
    /// Walks that ended early, by table and reason.
    early: BTreeMap<(&'static str, &'static str), u64>,
}

/// What labels an interface's series.
#[derive(Clone, Debug, Default, PartialEq)]
struct Interface {
    /// The first index, as text.
    index: String,
    name: String,
    alias: String,
    descr: String,
    left_out: bool,
}

impl Interface {
    fn labels(&self) -> [&str; 4] {
        [&self.index, &self.name, &self.alias, &self.descr]
    }
}

/// One round under way.
struct Visit<'a, 'r> {
    round: &'a mut Round<'r>,
    target: Arc<Target>,
    handle: snmp::engine::Handle,
    deadline: Instant,
    faults: Vec<String>,
}

impl Input for Device {
    fn name(&self) -> &str {
        &self.title
    }

    fn interval(&self) -> Duration {
        self.plan.interval
    }

    fn timeout(&self) -> Duration {
        // The round ends by itself a little earlier, so that what it found is kept.
        self.budget() + self.plan.interval / 10
    }

    fn new_table(&self) -> SeriesTable {
        SeriesTable::new(Labels::clone(&self.plan.labels), self.plan.series_max)
    }

    fn collect<'a>(&'a mut self, round: &'a mut Round<'_>) -> BoxFuture<'a, Result<(), CollectError>> {
        Box::pin(self.visit(round))
    }
}

impl Device {
    pub(super) fn new(plan: Plan, shared: Shared) -> Self {
        let title = format!("snmp {}", plan.name);
        let limits = Limits { rows_max: plan.rows_max, time_max: plan.interval, ..Limits::default() };
        let table = |name: &str, columns: Vec<Oid>| {
            Arc::new(snmp::round::Table { limits, ..snmp::round::Table::new(name, columns) })
        };
        let names = LABEL_COLUMNS.map(|(entry, arc)| constant(entry).child(&[arc]).expect("short"));
        Self {
            tables: [
                table(NAMES_TABLE, names.to_vec()),
                table(if_mib::IF_TABLE.name, columns(&if_mib::IF_TABLE)),
                table(if_mib::IF_X_TABLE.name, columns(&if_mib::IF_X_TABLE)),
            ],
            scalars: SCALARS.iter().map(|scalar| constant(scalar.oid)).collect(),
            plan,
            shared,
            title,
            target: None,
            interfaces: HashMap::default(),
            names_whole: false,
            early: BTreeMap::new(),
        }
    }

    /// How long the whole round may take.
    fn budget(&self) -> Duration {
        self.plan.interval.mul_f64(0.8)
    }

    async fn visit(&mut self, round: &mut Round<'_>) -> Result<(), CollectError> {
        let started = Instant::now();
        let (target, handle) = match self.target().await {
            Ok(found) => found,
            Err(error) => {
                round.metric(&if_mib::UP, &[], 0.0);
                return Err(error);
            }
        };
        let deadline = started + self.budget();
        let mut visit = Visit { round, target, handle, deadline, faults: Vec::new() };
        let answered = self.system(&mut visit).await;
        if answered {
            self.interfaces(&mut visit).await;
        }
        self.report_early_ends(visit.round);
        visit.faults.extend(self.shared.memory.warning());
        visit.round.metric(&if_mib::UP, &[], f64::from(u8::from(answered)));
        visit.round.metric(&if_mib::DURATION, &[], started.elapsed().as_secs_f64());
        if visit.faults.is_empty() { Ok(()) } else { Err(CollectError(visit.faults.join("; "))) }
    }

    /// Whom to ask, the same as last time if nothing changed, and the engine to ask by.
    async fn target(&mut self) -> Result<(Arc<Target>, snmp::engine::Handle), CollectError> {
        let plan = &self.plan;
        let address = match &plan.address {
            Address::Socket(address) => *address,
            Address::Name(host, port) => look_up(host, *port, plan.timeout).await?,
        };
        let community = plan.credential.get();
        let handle = self.shared.engine()?;
        let same = |target: &&Arc<Target>| target.address == address && knows_by(target, &community);
        if let Some(target) = self.target.as_ref().filter(same) {
            return Ok((target.clone(), handle));
        }
        let credential = Credential::Community { version: plan.version.into(), community };
        let target = Arc::new(Target {
            timeout: plan.timeout,
            timeout_max: plan.timeout.max(TIMEOUT_MAX),
            retries: plan.retries,
            ..Target::new(plan.name.as_str(), address, vec![credential])
        });
        self.target = Some(target.clone());
        Ok((target, handle))
    }

    /// Asks for the system group; false if the device does not answer at all.
    async fn system(&self, visit: &mut Visit<'_, '_>) -> bool {
        let harvest = visit.run(self.scalars.clone(), Vec::new()).await;
        for cell in harvest.scalars.iter() {
            put_scalar(visit.round, &SCALARS[usize::from(cell.column)].family, cell.value);
        }
        let values = harvest.scalars.len() as u64;
        report_cost(visit.round, "system", &harvest, values);
        if !harvest.answered {
            let tries = harvest.cost.requests + harvest.cost.retries;
            visit.faults.push(match harvest.scalar_reasons.iter().flatten().next() {
                Some(Reason::Timeout) => {
                    format!("{} does not answer ({tries} tries)", visit.target.address)
                }
                Some(Reason::Limit(_)) => format!("no answer within the round's {:?}", self.budget()),
                Some(reason) => format!("{}: {reason}", visit.target.address),
                None => format!("{} does not answer", visit.target.address),
            });
        } else if let Some(fault) = scalar_fault(&harvest) {
            visit.faults.push(fault);
        }
        harvest.answered
    }

    async fn interfaces(&mut self, visit: &mut Visit<'_, '_>) {
        let harvest = visit.run(Arc::new([]), self.tables.to_vec()).await;
        let [names, if_table, if_x_table]: &[TableHarvest; 3] =
            harvest.tables.as_slice().try_into().expect("one harvest per table");
        let cells = |table: &TableHarvest| table.cost.cells + table.cost.skipped;
        let values = cells(names) + cells(if_table) + cells(if_x_table);
        self.name_interfaces(names, visit);
        self.table(&if_mib::IF_TABLE, if_table, visit);
        self.table(&if_mib::IF_X_TABLE, if_x_table, visit);
        report_cost(visit.round, "if_mib", &harvest, values);
        self.save_memory(visit).await;
    }

    /// Learns which interfaces there are and what they are called.
    fn name_interfaces(&mut self, harvest: &TableHarvest, visit: &mut Visit<'_, '_>) {
        let mut found: HashMap<u32, [Option<String>; 3], RandomState> = HashMap::default();
        for cell in harvest.cells() {
            if let (Some(index), Value::OctetString(bytes)) = (cell.index.single(), cell.value) {
                found.entry(index).or_default()[usize::from(cell.column)] = Some(text(bytes));
            }
        }
        self.judge(NAMES_TABLE, &self.tables[0].clone(), harvest, visit);
        self.names_whole = harvest.is_whole();
        self.fill_gaps(harvest, &mut found);
        self.interfaces = self.identify(found, visit);
        self.report_interfaces(visit.round);
    }

    /// What the last round knew stands in for what did not come, so that no series changes its labels for a lost packet. An
    /// interface that the last round did not know waits until all its labels come, unless the device itself refuses one.
    fn fill_gaps(&self, harvest: &TableHarvest, found: &mut HashMap<u32, [Option<String>; 3], RandomState>) {
        let ended = &harvest.reasons;
        let by_chance = |reason: &Reason| {
            matches!(
                reason,
                Reason::Timeout | Reason::Parked | Reason::Unreachable | Reason::Stopped | Reason::Limit(_)
            )
        };
        if ended.iter().any(by_chance) {
            found.retain(|index, _| self.interfaces.contains_key(index));
        }
        if harvest.is_whole() {
            return;
        }
        for (index, known) in &self.interfaces {
            let row = found.entry(*index).or_default();
            for (at, old) in [&known.descr, &known.name, &known.alias].into_iter().enumerate() {
                if !ended[at].is_complete() {
                    row[at].get_or_insert_with(|| old.clone());
                }
            }
        }
    }

    fn identify(
        &self,
        found: HashMap<u32, [Option<String>; 3], RandomState>,
        visit: &Visit<'_, '_>,
    ) -> HashMap<u32, Interface, RandomState> {
        let mut rows: Vec<(u32, Interface)> = found
            .into_iter()
            .map(|(index, [descr, name, alias])| {
                let [descr, name, alias] = [descr, name, alias].map(Option::unwrap_or_default);
                (index, Interface { name, alias, descr, ..Interface::default() })
            })
            .collect();
        rows.sort_unstable_by_key(|(index, _)| *index);
        for (_, interface) in &mut rows {
            let shown = if interface.name.is_empty() { &interface.descr } else { &interface.name };
            interface.left_out = self.plan.exclude.as_ref().is_some_and(|exclude| exclude.is_match(shown));
        }
        // Interfaces that are left out would only fill the memory.
        let kept: Vec<(u32, &str)> = rows
            .iter()
            .filter(|(_, interface)| !interface.left_out)
            .map(|(index, i)| (*index, &*i.name))
            .collect();
        let first = self.shared.memory.first_indices(&self.plan.name, &kept, visit.round.timestamp());
        let mut first = first.into_iter();
        for (index, interface) in &mut rows {
            let label =
                if interface.left_out { *index } else { first.next().expect("one for each that was asked") };
            interface.index = label.to_string();
        }
        rows.into_iter().collect()
    }

    fn report_interfaces(&self, round: &mut Round<'_>) {
        let left_out = self.interfaces.values().filter(|interface| interface.left_out).count();
        round.metric(&if_mib::INTERFACES_LEFT_OUT, &[], left_out as f64);
        for (index, interface) in &self.interfaces {
            if !interface.left_out {
                put_with(round, &if_mib::INTERFACE_INFO, interface, &index.to_string());
            }
        }
    }

    fn table(&mut self, table: &'static Table, harvest: &TableHarvest, visit: &mut Visit<'_, '_>) {
        let asked = self.tables.iter().find(|asked| *asked.key == *table.name).expect("it was asked").clone();
        self.judge(table.name, &asked, harvest, visit);
        let mut waiting = HashSet::new();
        for cell in harvest.cells() {
            let Some((index, read)) = cell.index.single().zip(Read::new(table, &cell)) else { continue };
            match self.interfaces.get(&index) {
                Some(interface) if interface.left_out => {}
                Some(interface) => read.put(visit.round, interface),
                // No column of names has this row: its index is all there is.
                None if self.names_whole => {
                    read.put(visit.round, &Interface { index: index.to_string(), ..Interface::default() });
                }
                None => drop(waiting.insert(index)),
            }
        }
        if !waiting.is_empty() {
            let (table, count) = (table.name, waiting.len());
            visit.faults.push(format!("{table}: {count} interfaces wait until their names can be read"));
        }
    }

    /// Says how a table ended.
    fn judge(
        &mut self,
        name: &'static str,
        asked: &snmp::round::Table,
        harvest: &TableHarvest,
        visit: &mut Visit<'_, '_>,
    ) {
        if let Some((_, reason)) = harvest.failure() {
            *self.early.entry((name, reason.as_str())).or_default() += 1;
            visit.faults.push(format!("{name}: {}", failures(&asked.columns, harvest)));
        }
        visit.round.metric(&if_mib::WALK_COMPLETE, &[name], f64::from(u8::from(harvest.is_whole())));
    }

    fn report_early_ends(&self, round: &mut Round<'_>) {
        for (&(table, reason), &count) in &self.early {
            round.metric(&if_mib::WALKS_ENDED_EARLY, &[table, reason], count as f64);
        }
    }

    async fn save_memory(&self, visit: &mut Visit<'_, '_>) {
        let (memory, now) = (self.shared.memory.clone(), Instant::now());
        if !memory.wants_saving(now) {
            return;
        }
        let saved = tokio::task::spawn_blocking(move || memory.save(now)).await;
        if let Ok(Err(error)) = saved {
            visit.faults.push(format!("cannot keep the first indices of interfaces: {error}"));
        }
    }
}

impl Visit<'_, '_> {
    async fn run(&self, scalars: Arc<[Oid]>, tables: Vec<Arc<snmp::round::Table>>) -> Harvest {
        let deadline = self.deadline.saturating_duration_since(Instant::now());
        let job = Job { target: self.target.clone(), scalars, tables, deadline, urgent: false };
        self.handle.run(job).await
    }
}

/// What a module's requests cost, as snmp_exporter counts it.
fn report_cost(round: &mut Round<'_>, module: &str, harvest: &Harvest, values: u64) {
    let cost = &harvest.cost;
    round.metric(&if_mib::WALK_DURATION, &[module], cost.duration.as_secs_f64());
    round.metric(&if_mib::PACKETS_SENT, &[module], f64::from(cost.requests + cost.retries));
    round.metric(&if_mib::PACKETS_RETRIED, &[module], f64::from(cost.retries));
    round.metric(&if_mib::PDUS_RETURNED, &[module], values as f64);
}

/// The first scalar that was not merely missing, and why.
fn scalar_fault(harvest: &Harvest) -> Option<String> {
    let reasons = harvest.scalar_reasons.iter().zip(SCALARS.iter());
    let mut failed = reasons.filter_map(|(reason, scalar)| Some((reason.as_ref()?, scalar)));
    let (reason, scalar) = failed.find(|(reason, _)| !matches!(reason, Reason::NoSuchObject))?;
    Some(format!("{}: {reason}", scalar.family.name))
}

fn knows_by(target: &Target, wanted: &Community) -> bool {
    matches!(target.credentials.as_slice(), [Credential::Community { community, .. }] if community == wanted)
}

/// A table's columns: numbers, then texts.
fn columns(table: &Table) -> Vec<Oid> {
    let numbers = table.columns.iter().map(|column| column.arc);
    let texts = table.texts.iter().map(|(arc, _)| *arc);
    let entry = constant(table.entry);
    numbers.chain(texts).map(|arc| entry.child(&[arc]).expect("short")).collect()
}

/// A cell of a table, as it will stand in a series.
enum Read {
    Number(&'static Family, f64),
    Text(&'static Family, String),
}

impl Read {
    /// None where the value is not of the kind that the column has.
    fn new(table: &'static Table, cell: &Cell<'_>) -> Option<Self> {
        if let Some(column) = table.columns.get(usize::from(cell.column)) {
            return Some(Self::Number(&column.family, cell.value.number()?));
        }
        let (_, kind) = table.texts[usize::from(cell.column) - table.columns.len()];
        match (kind, cell.value) {
            (Text::Type, Value::Integer(number)) => {
                let name = if_type::name(number.into()).map_or_else(|| number.to_string(), str::to_owned);
                Some(Self::Text(&if_mib::IF_TYPE, name))
            }
            (Text::PhysicalAddress, Value::OctetString(bytes)) if !bytes.is_empty() => {
                Some(Self::Text(&if_mib::IF_PHYS_ADDRESS, physical_address(bytes)))
            }
            _ => None,
        }
    }

    fn put(&self, round: &mut Round<'_>, interface: &Interface) {
        match self {
            Self::Number(family, value) => {
                round.metric(family, &interface.labels(), *value);
            }
            Self::Text(family, text) => put_with(round, family, interface, text),
        }
    }
}

/// 1, with one label more than an interface has.
fn put_with(round: &mut Round<'_>, family: &'static Family, interface: &Interface, last: &str) {
    let [index, name, alias, descr] = interface.labels();
    round.metric(family, &[index, name, alias, descr, last], 1.0);
}

fn put_scalar(round: &mut Round<'_>, family: &'static Family, value: Value<'_>) {
    match value {
        Value::OctetString(bytes) if !family.labels.is_empty() => {
            round.metric(family, &[&text(bytes)], 1.0);
        }
        Value::Oid(oid) if !family.labels.is_empty() => {
            round.metric(family, &[&oid.to_string()], 1.0);
        }
        value if family.labels.is_empty() => {
            if let Some(number) = value.number() {
                round.metric(family, &[], number);
            }
        }
        _ => {}
    }
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

/// UTF-8 as it is, anything else with replacement characters; without the zero bytes that some agents (Windows) put at the end.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    let mut text = String::from_utf8_lossy(&bytes[..end.min(4 * TEXT_BYTES_MAX)]).into_owned();
    text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
    text
}

/// Six bytes as `00:1A:2B:3C:4D:5E`, anything else as `0x…`, as snmp_exporter shows them.
fn physical_address(bytes: &[u8]) -> String {
    const BYTES_MAX: usize = 64;
    let mut out = String::new();
    let separator = if bytes.len() == 6 { ":" } else { "" };
    if separator.is_empty() {
        out.push_str("0x");
    }
    for (at, byte) in bytes.iter().take(BYTES_MAX).enumerate() {
        let before = if at > 0 { separator } else { "" };
        write!(out, "{before}{byte:02X}").expect("a String takes all");
    }
    out
}

fn constant(arcs: &[u32]) -> Oid {
    Oid::from_arcs(arcs).expect("identifiers in this program are good")
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
    fn texts_lose_what_no_label_can_hold() {
        let check = |bytes: &[u8], expected: &str| assert_eq!(text(bytes), expected, "{bytes:?}");
        check(b"Intel(R) Ethernet\0\0", "Intel(R) Ethernet");
        check(b"caf\xe9", "caf\u{fffd}");
        check(b"\0", "");
        check(&[b'x'; 3000], &"x".repeat(1024));
        check("é".repeat(1000).as_bytes(), &"é".repeat(512));
    }

    #[test]
    fn physical_addresses_look_as_in_snmp_exporter() {
        let check = |bytes: &[u8], expected: &str| assert_eq!(physical_address(bytes), expected, "{bytes:?}");
        check(&[0, 0x1a, 0x2b, 0x3c, 0x4d, 0x5e], "00:1A:2B:3C:4D:5E");
        check(&[0xab, 1], "0xAB01");
    }
}
