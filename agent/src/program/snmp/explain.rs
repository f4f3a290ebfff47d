//! `snmp explain`: how the agent sees a device, step by step: what the settings say of it, who it says it is, which profile it gets and
//! why, what it was asked and what not, what it answered, and what became of the answers.
//!
//! Budgets hold here too: a table that may not be asked for yet is named with its time, and what is asked for is noted for the agent.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use profiles::{Budget, Class, Evaluator, Identity, Plan, Profile, Readings, Samples, Set, TablePlan};
use settings::Span;
use snmp::engine::{BadPacket, Harvest, Target};
use snmp::round::Table;
use snmp::{Limits, Oid, Reason, Value};

use super::ask::Asked;
use super::walk::{TIME_MAX, ask, shown};
use crate::inputs::snmp::{Known, Wait};

const SYS_DESCR: &str = "1.3.6.1.2.1.1.1.0";
const SYS_OBJECT_ID: &str = "1.3.6.1.2.1.1.2.0";
/// Bytes of a packet that are shown.
const PACKET_BYTES_SHOWN: usize = 512;

/// Asks everything that the device's profile wants and its budgets allow, and tells what came of it.
pub(super) async fn explain(asked: &Asked, set: &Set, samples: bool) -> anyhow::Result<String> {
    let target = &asked.target;
    let mut out = String::new();
    begin(asked, &mut out)?;
    let named = asked.known.as_ref().and_then(Known::profile);
    let named = named.and_then(|profile| set.get(profile.name()).cloned());
    let (profile, why) = identify(asked, set, named, &mut out).await?;
    writeln!(out, "profile: {} ({})", profile.name(), profile.title())?;
    writeln!(out, "why: {why}")?;
    writeln!(out, "made of: {}", profile.parts().collect::<Vec<_>>().join(", "))?;
    let plan = profile.plan();
    let wanted = Wanted::new(plan, asked);
    wanted.tell(plan, &mut out)?;
    let table = |at: &usize| table(&plan.tables[*at], asked.known.as_ref());
    let scalars = wanted.groups.iter().flat_map(|at| plan.scalars[*at].oids.iter().cloned());
    let harvest = ask(target, scalars.collect(), wanted.tables.iter().map(table).collect()).await?;
    answers(plan, &wanted, &harvest, &mut out)?;
    results(&profile, &wanted, &harvest, samples, &mut out)?;
    let cost = harvest.cost;
    writeln!(
        out,
        "cost: {} requests, {} replies, {} sent again, {} given up; {} bytes sent, {} received",
        cost.requests, cost.replies, cost.retries, cost.timeouts, cost.sent_bytes, cost.received_bytes
    )?;
    if let Some(bad) = &harvest.last_bad {
        out.push_str(&packet(bad));
        out.push_str(&allowing(target, bad));
    }
    if let Some(other) = &harvest.engine_id_also_of {
        writeln!(out, "its SNMPv3 engine id is also that of {other}: two devices must not share one")?;
    }
    Ok(out)
}

/// Whom, as whom, and how hard.
fn begin(asked: &Asked, out: &mut String) -> anyhow::Result<()> {
    let target = &asked.target;
    let address = target.address.to_string();
    let name = if *target.name == *address { String::new() } else { format!("{} at ", target.name) };
    let version = target.credentials.first().map_or("", |credential| credential.version());
    writeln!(out, "{name}{address}, {version}")?;
    if let Some(known) = &asked.known {
        writeln!(out, "settings: {}", known.says())?;
    }
    for other in asked.known.iter().flat_map(|known| known.also()) {
        writeln!(
            out,
            "the settings have its address under the name {other} too: one device that is asked twice?"
        )?;
    }
    if asked.credentials.len() > 1 {
        writeln!(out, "credentials, in this order: {}", asked.credentials.join(", "))?;
    }
    Ok(())
}

/// A table as the agent would ask for it.
fn table(table: &TablePlan, known: Option<&Known>) -> Table {
    if let Some(known) = known {
        return known.table(table);
    }
    Table {
        key: table.name.clone(),
        columns: table.columns.clone(),
        limits: Limits { rows_max: table.budget.rows_max, time_max: TIME_MAX, ..Limits::default() },
        unordered: table.unordered,
        repetitions_max: repetitions(table.budget.repetitions_max),
    }
}

pub(super) fn repetitions(budget: Option<u32>) -> u16 {
    let wanted = budget.and_then(|most| u16::try_from(most).ok()).unwrap_or(Table::REPETITIONS_MAX);
    wanted.clamp(1, Table::REPETITIONS_MAX)
}

/// Which tables and groups of scalars are asked for, by their place in the plan, and why others are not.
struct Wanted {
    tables: Vec<usize>,
    groups: Vec<usize>,
    /// (name, class, why)
    skipped: Vec<(Arc<str>, &'static str, String)>,
}

impl Wanted {
    fn new(plan: &Plan, asked: &Asked) -> Self {
        let mut wanted = Self { tables: Vec::new(), groups: Vec::new(), skipped: Vec::new() };
        for (at, table) in plan.tables.iter().enumerate() {
            match allowed(asked, &table.name, table.class, &table.budget, &table.columns) {
                Ok(()) => wanted.tables.push(at),
                Err(why) => wanted.skipped.push((table.name.clone(), table.class.as_str(), why)),
            }
        }
        for (at, group) in plan.scalars.iter().enumerate() {
            match allowed(asked, &group.name, group.class, &group.budget, &group.oids) {
                Ok(()) => wanted.groups.push(at),
                Err(why) => wanted.skipped.push((group.name.clone(), group.class.as_str(), why)),
            }
        }
        wanted
    }

    fn tell(&self, plan: &Plan, out: &mut String) -> anyhow::Result<()> {
        if self.skipped.is_empty() {
            return Ok(());
        }
        writeln!(out, "\nnot asked, {} of {}:", self.skipped.len(), plan.tables.len() + plan.scalars.len())?;
        for (name, class, why) in &self.skipped {
            writeln!(out, "  {name} ({class}): {why}")?;
        }
        Ok(())
    }
}

/// Whether something may be asked for now, which is noted for the agent; else why not.
fn allowed(asked: &Asked, name: &str, class: Class, budget: &Budget, oids: &[Oid]) -> Result<(), String> {
    let denies =
        |oid: &Oid| asked.target.deny.iter().find(|deny| oid.view().strip_prefix(deny.view()).is_some());
    if let Some(denied) =
        oids.iter().map(denies).collect::<Option<Vec<_>>>().and_then(|all| all.first().copied())
    {
        return Err(format!("the settings deny {denied}"));
    }
    let Some(known) = &asked.known else { return Ok(()) };
    if let Some(wait) = known.waits(name, class, budget) {
        return Err(waiting(&wait, known.blind()));
    }
    known.note(name, class, budget).map_err(|error| {
        format!(
            "its budget could not be kept, since the agent cannot be told: {error} (try as the agent's user)"
        )
    })
}

/// Why a budget makes a table wait.
pub(super) fn waiting(wait: &Wait, blind: Option<String>) -> String {
    let pause = Span::new(wait.pause);
    match blind {
        Some(why) => format!(
            "its budget allows it every {pause}, and nobody can say when it was last asked for: {why}"
        ),
        None => format!(
            "its budget allows it every {pause}; it was asked for {} ago and may be again in {}",
            about(wait.ago, false),
            about(wait.pause.saturating_sub(wait.ago), true)
        ),
    }
}

/// In seconds, from two minutes on in minutes.
fn about(time: Duration, up: bool) -> Span {
    let unit = if time < Duration::from_secs(120) { 1 } else { 60 };
    let secs = if up { time.as_secs_f64().ceil() as u64 } else { time.as_secs() };
    let units = if up { secs.div_ceil(unit) } else { secs / unit };
    Span::from_secs(units * unit)
}

/// Asks the device who it is, and finds its profile and why it is that one.
pub(super) async fn identify(
    asked: &Asked,
    set: &Set,
    named: Option<Arc<Profile>>,
    out: &mut String,
) -> anyhow::Result<(Arc<Profile>, String)> {
    let target = &asked.target;
    let mut oids: Vec<Oid> =
        [SYS_DESCR, SYS_OBJECT_ID].iter().map(|name| name.parse().expect("good constants")).collect();
    oids.extend(set.probes().iter().filter(|_| named.is_none()).cloned());
    let harvest = ask(target, oids.clone(), Vec::new()).await?;
    if !harvest.answered {
        let reason = harvest.scalar_reasons.iter().flatten().next();
        let reason = reason.map_or_else(|| "no reply".to_owned(), ToString::to_string);
        bail!("{} ({}): {reason}{}", target.name, target.address, silence(target, &harvest));
    }
    let credential = harvest.credential.filter(|_| asked.credentials.len() > 1);
    if let Some(name) = credential.and_then(|at| asked.credentials.get(at)) {
        writeln!(out, "it answers to: {name}")?;
    }
    let descr = match harvest.scalar(0) {
        Some(Value::OctetString(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
        _ => String::new(),
    };
    let object = match harvest.scalar(1) {
        Some(Value::Oid(oid)) => oid.to_oid(),
        _ => "0.0".parse().expect("a good constant"),
    };
    let line: Vec<&str> = descr.split_whitespace().collect();
    writeln!(out, "sysDescr: {}", line.join(" "))?;
    writeln!(out, "sysObjectID: {object}")?;
    for (at, probe) in oids.iter().enumerate().skip(2) {
        let came = harvest.scalar(at).map_or_else(|| "nothing".to_owned(), |value| shown(&value));
        writeln!(out, "probe {probe}: {came}")?;
    }
    if let Some(profile) = named {
        return Ok((profile, "the settings name it".to_owned()));
    }
    let answers = |oid: &Oid| {
        let place = oids.iter().position(|asked| asked == oid);
        place.and_then(|at| harvest.scalar(at)).is_some()
    };
    let identity = Identity { sys_object_id: &object, sys_descr: &descr, answers: &answers };
    let choice = set.choose(&identity).context("no profile fits this device, not even a general one")?;
    Ok((choice.profile, choice.why))
}

/// What was asked, and how each column ended.
fn answers(plan: &Plan, wanted: &Wanted, harvest: &Harvest, out: &mut String) -> anyhow::Result<()> {
    writeln!(out, "\nasked and answered:")?;
    let mut first = 0;
    for group in wanted.groups.iter().map(|at| &plan.scalars[*at]) {
        let range = first..first + group.oids.len();
        first = range.end;
        let came = range.clone().filter(|at| harvest.scalar(*at).is_some()).count();
        writeln!(out, "  {} ({}): {came} of {} values", group.name, group.class.as_str(), group.oids.len())?;
        for (at, oid) in range.zip(&group.oids) {
            if let Some(Some(reason)) = harvest.scalar_reasons.get(at) {
                writeln!(out, "    {oid}: {reason}")?;
            }
        }
    }
    for (table, read) in wanted.tables.iter().map(|at| &plan.tables[*at]).zip(&harvest.tables) {
        let cost = read.cost;
        let (cells, class) = (read.rows.len(), table.class.as_str());
        if read.is_whole() && cells == 0 {
            writeln!(out, "  {} ({class}): the device does not have it", table.name)?;
            continue;
        }
        writeln!(
            out,
            "  {} ({class}): {cells} values in {} columns, {} requests, {} bytes",
            table.name,
            table.columns.len(),
            cost.requests,
            cost.bytes
        )?;
        let empty: Vec<String> = empty_columns(&table.columns, read);
        if !empty.is_empty() {
            writeln!(out, "    without any value: {}", empty.join(", "))?;
        }
        for (column, reason) in table.columns.iter().zip(&read.reasons).filter(|(_, why)| !why.is_complete())
        {
            let ended = if *reason == Reason::Denied { "" } else { " ended early" };
            writeln!(out, "    {column}{ended}: {reason}")?;
        }
    }
    Ok(())
}

fn empty_columns(columns: &[Oid], read: &snmp::round::TableHarvest) -> Vec<String> {
    let mut seen = vec![false; columns.len()];
    read.cells().for_each(|cell| seen[usize::from(cell.column)] = true);
    let ended_well = |at: &usize| read.reasons.get(*at).is_none_or(|reason| reason.is_complete());
    let empty = (0..columns.len()).filter(|at| !seen[*at]).filter(ended_well);
    empty.map(|at| columns[at].to_string()).collect()
}

/// What the profile makes of the answers.
fn results(
    profile: &Arc<Profile>,
    wanted: &Wanted,
    harvest: &Harvest,
    all: bool,
    out: &mut String,
) -> anyhow::Result<()> {
    let plan = profile.plan();
    let mut readings = Readings::new();
    for (at, table) in wanted.tables.iter().zip(&harvest.tables) {
        // Nothing else will be read: what is not there is taken to be absent.
        readings.table(*at, true, table.cells().map(|cell| (cell.column, cell.index, cell.value)));
    }
    let mut first = 0;
    for (at, group) in wanted.groups.iter().map(|at| (*at, &plan.scalars[*at])) {
        let (from, count) = (first, group.oids.len());
        first += count;
        let place = move |column: u16| usize::from(column).checked_sub(from).filter(|at| *at < count);
        let values = harvest.scalars.iter().filter_map(move |cell| {
            place(cell.column).and_then(|at| Some((u16::try_from(at).ok()?, cell.value)))
        });
        readings.scalars(at, values);
    }
    let mut samples = Samples::default();
    let outcome = Evaluator::new(profile).round(readings, &mut samples);
    writeln!(out, "\nsamples: {} of {} families", outcome.values, families(&samples).len())?;
    if all {
        samples.samples.iter().try_for_each(|sample| writeln!(out, "  {sample}"))?;
    } else {
        families(&samples).iter().try_for_each(|(name, count)| writeln!(out, "  {name}: {count}"))?;
    }
    if outcome.refused > 0 {
        writeln!(out, "skipped: {}", outcome.refused)?;
        for ((family, reason), count) in &samples.refused {
            writeln!(out, "  {family}: {count} ({})", reason.as_str())?;
        }
    }
    if outcome.rows_over > 0 {
        writeln!(out, "rows above the table's budget: {}", outcome.rows_over)?;
    }
    writeln!(out)?;
    Ok(())
}

fn families(samples: &Samples) -> BTreeMap<&str, usize> {
    let mut families = BTreeMap::new();
    samples.samples.iter().for_each(|sample| *families.entry(sample.family.as_str()).or_default() += 1);
    families
}

/// What else is known about a device that does not answer, and what to try.
pub(super) fn silence(target: &Target, harvest: &Harvest) -> String {
    if let Some(bad) = &harvest.last_bad {
        let text = format!("\n{}{}", packet(bad), allowing(target, bad));
        return text.trim_end().to_owned();
    }
    if harvest.answered {
        return String::new();
    }
    "\nit may be off, out of reach or behind a filter, not listen on this port, not know this community (devices say nothing to a wrong \
     one), or not allow this address to ask"
        .to_owned()
}

/// How to believe a device that answers from another address.
fn allowing(target: &Target, bad: &BadPacket) -> String {
    let ip = bad.source.ip();
    if ip == target.address.ip() || target.accept_reply_from.contains(&ip) {
        return String::new();
    }
    format!(
        "if that is the same device: --accept-reply-from {ip}, in the settings accept_reply_from: [{ip}]\n"
    )
}

/// The last packet that did not count, in hexadecimal; communities in it are masked.
fn packet(bad: &BadPacket) -> String {
    let mut text = format!(
        "the last packet that did not count: {}, {} bytes from {}\n",
        bad.why, bad.length, bad.source
    );
    let shown = &bad.bytes[..bad.bytes.len().min(PACKET_BYTES_SHOWN)];
    for (line, bytes) in shown.chunks(16).enumerate() {
        let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let letter = |byte: &u8| if (0x20..0x7f).contains(byte) { char::from(*byte) } else { '.' };
        let letters: String = bytes.iter().map(letter).collect();
        writeln!(text, "  {:04x}  {:<47}  {letters}", line * 16, hex.join(" "))
            .expect("strings take everything");
    }
    if bad.length > shown.len() {
        writeln!(text, "  ... {} bytes more", bad.length - shown.len()).expect("strings take everything");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_packet_is_shown_in_hexadecimal() {
        let bytes = (0..20).chain(*b"public").collect::<Vec<u8>>();
        let source = "10.0.0.2:161".parse().expect("good");
        let bad =
            BadPacket { source, why: "answered from 10.0.0.2:161; allow it?".into(), length: 30, bytes };
        let expected = "\
the last packet that did not count: answered from 10.0.0.2:161; allow it?, 30 bytes from 10.0.0.2:161
  0000  00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f  ................
  0010  10 11 12 13 70 75 62 6c 69 63                    ....public
  ... 4 bytes more
";
        assert_eq!(packet(&bad), expected);
    }
}
