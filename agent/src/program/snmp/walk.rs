//! `snmp walk`: everything under a name, read by the agent's own engine and printed when it is there.
//!
//! Left out: what the settings deny, always; tables whose budget sets a pause, unless they are named and their time has come; what is
//! [huge or costly](HEAVY), unless it is named or all is wanted. The device's own limits and its site's hold as for the agent.
//!
//! Limits: [`ROWS_MAX`] values unless told otherwise, a table's budget of rows and repetitions within that table, ten minutes.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use profiles::{Plan, Profile, Set, TablePlan};
use snmp::engine::{Engine, Harvest, Job, Options, Target};
use snmp::round::Table;
use snmp::{Limits, Oid, Value};

use super::ask::Asked;
use super::explain::{repetitions, waiting};

/// Values that are read unless told otherwise.
pub(super) const ROWS_MAX: u32 = 1_000_000;
/// The longest that a device is asked.
pub(super) const TIME_MAX: Duration = Duration::from_secs(600);

/// One round of one device by an engine of its own.
pub(super) async fn ask(target: &Target, scalars: Vec<Oid>, tables: Vec<Table>) -> anyhow::Result<Harvest> {
    let engine = Engine::start(Options::default()).context("cannot start the SNMP engine")?;
    let job = Job {
        // A walk may bring all that its own bounds allow.
        target: Arc::new(Target { round_bytes_max: u64::MAX, ..target.clone() }),
        scalars: scalars.into(),
        tables: tables.into_iter().map(Arc::new).collect(),
        deadline: TIME_MAX,
        urgent: true,
    };
    Ok(engine.handle().run(job).await)
}

/// What a walk from further above leaves out: tables that are huge or costly on large devices, and that nobody wants by accident.
const HEAVY: [(&str, &str); 9] = [
    ("1.3.6.1.2.1.4.21", "routes"),
    ("1.3.6.1.2.1.4.22", "ARP"),
    ("1.3.6.1.2.1.4.24", "routes"),
    ("1.3.6.1.2.1.4.35", "neighbours"),
    ("1.3.6.1.2.1.15.6", "BGP routes"),
    ("1.3.6.1.2.1.17.4.3", "forwarding table"),
    ("1.3.6.1.2.1.17.7.1.2", "forwarding tables"),
    ("1.3.6.1.2.1.25.4", "running software"),
    ("1.3.6.1.2.1.25.6", "installed software"),
];

/// What is walked, and what is left out on the way.
#[derive(Debug)]
struct Way {
    table: Table,
    deny: Vec<Oid>,
    /// For people: what is left out, and why.
    left_out: Vec<String>,
}

impl Way {
    /// `plan` is that of the device's profile, where it has budgets.
    fn new(asked: &Asked, oid: &Oid, all: bool, rows_max: u32, plan: Option<&Plan>) -> anyhow::Result<Self> {
        let limits = Limits { rows_max, requests_max: u32::MAX, bytes_max: 1 << 30, time_max: TIME_MAX };
        let table = Table { limits, ..Table::new("walk", vec![oid.clone()]) };
        let mut way = Self { table, deny: asked.target.deny.to_vec(), left_out: Vec::new() };
        for denied in asked.target.deny.iter() {
            ensure!(!is_under(oid, denied), "the settings deny {denied}, and all below it");
            if is_under(denied, oid) {
                way.left_out.push(format!("{denied}: the settings deny it"));
            }
        }
        let mut heavy = Vec::new();
        for (name, what) in HEAVY.iter().filter(|_| !all) {
            let below: Oid = name.parse().expect("good constants");
            if is_under(&below, oid) && below != *oid {
                heavy.push(format!("{name} ({what})"));
                way.deny.push(below);
            }
        }
        if !heavy.is_empty() {
            way.left_out.push(format!("{}: name what is wanted, or say --all", heavy.join(", ")));
        }
        for table in plan.iter().flat_map(|plan| &plan.tables) {
            way.spare(asked, oid, table)?;
        }
        Ok(way)
    }

    /// A table with a budget is read by itself, within it, or not at all.
    fn spare(&mut self, asked: &Asked, oid: &Oid, table: &TablePlan) -> anyhow::Result<()> {
        let budget = &table.budget;
        if is_under(oid, &table.entry) {
            if let Some(known) = &asked.known {
                if let Some(wait) = known.waits(&table.name, table.class, budget) {
                    bail!("{}: {}", table.name, waiting(&wait, known.blind()));
                }
                let kept = known.note(&table.name, table.class, budget);
                kept.with_context(|| format!("cannot tell the agent that {} is asked for", table.name))?;
            }
            // A walk counts values; a row has one in each column that is walked.
            let columns = if *oid == table.entry { 128 } else { 1 };
            let cells_max = budget.rows_max.saturating_mul(columns);
            self.table.limits.rows_max = self.table.limits.rows_max.min(cells_max);
            self.table.repetitions_max = self.table.repetitions_max.min(repetitions(budget.repetitions_max));
        } else if is_under(&table.entry, oid) && has_pause(table) {
            let pause = settings::Span::new(budget.interval_min);
            self.left_out.push(format!(
                "{} ({}): its budget allows it every {pause}: name it",
                table.entry, table.name
            ));
            self.deny.push(table.entry.clone());
        }
        Ok(())
    }
}

fn is_under(oid: &Oid, above: &Oid) -> bool {
    oid.view().strip_prefix(above.view()).is_some()
}

/// Whether a table's budget sets a pause of its own.
fn has_pause(table: &TablePlan) -> bool {
    table.budget.interval_min > table.class.pause()
}

/// Reads what lies under `oid`; the value of `oid` itself where nothing does. What was left out goes to `aside`.
pub(super) async fn walk(
    asked: &Asked,
    set: &Set,
    what: &What<'_>,
    aside: &mut String,
) -> anyhow::Result<String> {
    let text = what.oid.trim_start_matches('.');
    let oid: Oid = text.parse().with_context(|| format!("{text:?} is no OID: write 1.3.6.1.2.1.1"))?;
    let profile = profile(asked, set, &oid).await?;
    let way = Way::new(asked, &oid, what.all, what.rows_max, profile.as_ref().map(|profile| profile.plan()))?;
    way.left_out.iter().try_for_each(|line| writeln!(aside, "left out: {line}"))?;
    let target = &Target { deny: way.deny.into(), ..asked.target.clone() };
    let harvest = ask(target, Vec::new(), vec![way.table]).await?;
    let mut text = String::new();
    for cell in harvest.tables.iter().flat_map(|table| table.cells()) {
        let index: Vec<u32> = cell.index.arcs().collect();
        let name = oid.child(&index).context("the device gave a name of more than 128 arcs")?;
        line(&name, &cell.value, what.recording, &mut text);
    }
    if let Some((_, reason)) = harvest.tables.iter().find_map(|table| table.failure()) {
        print!("{text}");
        bail!("{}: the walk ended early: {reason}{}", target.name, super::explain::silence(target, &harvest));
    }
    if text.is_empty() {
        let harvest = ask(target, vec![oid.clone()], Vec::new()).await?;
        match harvest.scalar(0) {
            Some(value) => line(&oid, &value, what.recording, &mut text),
            None => bail!("{}: there is nothing under {oid}", target.name),
        }
    }
    Ok(text)
}

/// What a walk is to bring.
#[derive(Clone, Copy, Debug)]
pub(super) struct What<'a> {
    /// The root of what is read.
    pub(super) oid: &'a str,
    /// As a recording.
    pub(super) recording: bool,
    /// What is huge too.
    pub(super) all: bool,
    /// Values at most.
    pub(super) rows_max: u32,
}

/// The profile whose budgets the walk keeps to; the device is asked who it is only where some profile has a table with a pause that the
/// walk would come upon.
async fn profile(asked: &Asked, set: &Set, oid: &Oid) -> anyhow::Result<Option<Arc<Profile>>> {
    let touches =
        |table: &TablePlan| is_under(oid, &table.entry) || (is_under(&table.entry, oid) && has_pause(table));
    if !set.profiles().iter().any(|profile| profile.plan().tables.iter().any(touches)) {
        return Ok(None);
    }
    if let Some(named) = asked.known.as_ref().and_then(|known| known.profile()) {
        return Ok(Some(named));
    }
    let (profile, _) = super::explain::identify(asked, set, None, &mut String::new()).await?;
    Ok(Some(profile))
}

fn line(name: &Oid, value: &Value<'_>, recording: bool, out: &mut String) {
    let written = if recording {
        let (tag, text) = recorded(value);
        writeln!(out, "{name}|{tag}|{text}")
    } else {
        writeln!(out, ".{name} = {}", shown(value))
    };
    written.expect("strings take everything");
}

fn hex(bytes: &[u8], between: &str) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(between)
}

fn is_text(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| !text.chars().any(char::is_control))
}

/// As net-snmp's tools write it with `-On`.
pub(super) fn shown(value: &Value<'_>) -> String {
    match *value {
        Value::Integer(number) => format!("INTEGER: {number}"),
        Value::OctetString(bytes) if is_text(bytes) => {
            let text = String::from_utf8_lossy(bytes).replace('\\', "\\\\").replace('"', "\\\"");
            format!("STRING: \"{text}\"")
        }
        Value::OctetString(bytes) => format!("Hex-STRING: {}", hex(bytes, " ")),
        Value::Oid(oid) => format!("OID: .{oid}"),
        Value::IpAddress(address) => format!("IpAddress: {address}"),
        Value::Counter32(number) => format!("Counter32: {number}"),
        Value::Gauge32(number) => format!("Gauge32: {number}"),
        Value::TimeTicks(ticks) => {
            let (days, rest) = (ticks / 8_640_000, ticks % 8_640_000);
            let (hours, minutes, seconds) = (rest / 360_000, rest / 6_000 % 60, rest / 100 % 60);
            let days = if days == 0 { String::new() } else { format!("{days} days, ") };
            format!("Timeticks: ({ticks}) {days}{hours}:{minutes:02}:{seconds:02}.{:02}", rest % 100)
        }
        Value::Opaque(bytes) => format!("OPAQUE: {}", hex(bytes, " ")),
        Value::Counter64(number) => format!("Counter64: {number}"),
        Value::Null => "NULL".to_owned(),
        Value::NoSuchObject | Value::NoSuchInstance | Value::EndOfMibView => "no value".to_owned(),
    }
}

/// Tag and text of snmpsim's format.
fn recorded(value: &Value<'_>) -> (&'static str, String) {
    match *value {
        Value::Integer(number) => ("2", number.to_string()),
        Value::OctetString(bytes) if is_text(bytes) => ("4", String::from_utf8_lossy(bytes).into_owned()),
        Value::OctetString(bytes) => ("4x", hex(bytes, "")),
        Value::Oid(oid) => ("6", oid.to_string()),
        Value::IpAddress(address) => ("64", address.to_string()),
        Value::Counter32(number) => ("65", number.to_string()),
        Value::Gauge32(number) => ("66", number.to_string()),
        Value::TimeTicks(number) => ("67", number.to_string()),
        Value::Opaque(bytes) => ("68x", hex(bytes, "")),
        Value::Counter64(number) => ("70", number.to_string()),
        Value::Null | Value::NoSuchObject | Value::NoSuchInstance | Value::EndOfMibView => {
            ("5", String::new())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: Value<'_>, expected: &str, in_recording: &str) {
        assert_eq!(shown(&value), expected);
        let (tag, text) = recorded(&value);
        assert_eq!(format!("{tag}|{text}"), in_recording);
    }

    #[test]
    fn values_are_written_as_engineers_know_them() {
        check(Value::Integer(-40), "INTEGER: -40", "2|-40");
        check(Value::OctetString(b"ge-0/0/1"), "STRING: \"ge-0/0/1\"", "4|ge-0/0/1");
        check(Value::OctetString(b"a \"b\" \\"), "STRING: \"a \\\"b\\\" \\\\\"", "4|a \"b\" \\");
        check(Value::OctetString(&[0, 0x1a, 0xff]), "Hex-STRING: 00 1A FF", "4x|001AFF");
        check(
            Value::OctetString(b"two\nlines"),
            "Hex-STRING: 74 77 6F 0A 6C 69 6E 65 73",
            "4x|74776F0A6C696E6573",
        );
        check(Value::TimeTicks(100), "Timeticks: (100) 0:00:01.00", "67|100");
        check(Value::TimeTicks(u32::MAX), "Timeticks: (4294967295) 497 days, 2:27:52.95", "67|4294967295");
        check(Value::Counter64(u64::MAX), "Counter64: 18446744073709551615", "70|18446744073709551615");
        let name: Oid = "1.3.6.1.4.1.9".parse().expect("good");
        check(Value::Oid(name.view()), "OID: .1.3.6.1.4.1.9", "6|1.3.6.1.4.1.9");
    }
}
