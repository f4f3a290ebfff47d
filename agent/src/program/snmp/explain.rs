//! `snmp explain`: how the agent sees a device, step by step: who it says it is, which profile it gets and why, what it was asked and
//! what it answered, and what became of the answers.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::{Context, bail};
use profiles::{Choice, Evaluator, Identity, Readings, Samples, Set};
use snmp::engine::{BadPacket, Harvest, Target};
use snmp::round::Table;
use snmp::{Limits, Oid, Value};

use super::walk::{TIME_MAX, ask, shown};

const SYS_DESCR: &str = "1.3.6.1.2.1.1.1.0";
const SYS_OBJECT_ID: &str = "1.3.6.1.2.1.1.2.0";
/// Bytes of a packet that are shown.
const PACKET_BYTES_SHOWN: usize = 512;

/// Asks everything that the device's profile wants, and tells what came of it.
pub(super) async fn explain(target: &Target, set: &Set, samples: bool) -> anyhow::Result<String> {
    let mut out = String::new();
    let version = target.credentials.first().map_or("", |credential| credential.version());
    let address = target.address.to_string();
    let name = if *target.name == *address { String::new() } else { format!("{} at ", target.name) };
    writeln!(out, "{name}{address}, {version}")?;
    let choice = identify(target, set, &mut out).await?;
    writeln!(out, "profile: {} ({})", choice.profile.name(), choice.profile.title())?;
    writeln!(out, "why: {}", choice.why)?;
    writeln!(out, "made of: {}", choice.profile.parts().collect::<Vec<_>>().join(", "))?;
    let plan = choice.profile.plan();
    let table = |table: &profiles::TablePlan| Table {
        key: table.name.clone(),
        columns: table.columns.clone(),
        limits: Limits { rows_max: table.budget.rows_max, time_max: TIME_MAX, ..Limits::default() },
        unordered: table.unordered,
        repetitions_max: repetitions(table.budget.repetitions_max),
    };
    let scalars: Vec<Oid> = plan.scalars.iter().flat_map(|group| group.oids.iter().cloned()).collect();
    let harvest = ask(target, scalars, plan.tables.iter().map(table).collect()).await?;
    answers(&choice, &harvest, &mut out)?;
    results(&choice, &harvest, samples, &mut out)?;
    let cost = harvest.cost;
    writeln!(
        out,
        "cost: {} requests, {} replies, {} sent again, {} given up; {} bytes sent, {} received",
        cost.requests, cost.replies, cost.retries, cost.timeouts, cost.sent_bytes, cost.received_bytes
    )?;
    if let Some(bad) = &harvest.last_bad {
        out.push_str(&packet(bad));
    }
    if let Some(other) = &harvest.engine_id_also_of {
        writeln!(out, "its SNMPv3 engine id is also that of {other}: two devices must not share one")?;
    }
    Ok(out)
}

fn repetitions(budget: Option<u32>) -> u16 {
    let wanted = budget.and_then(|most| u16::try_from(most).ok()).unwrap_or(Table::REPETITIONS_MAX);
    wanted.clamp(1, Table::REPETITIONS_MAX)
}

async fn identify(target: &Target, set: &Set, out: &mut String) -> anyhow::Result<Choice> {
    let mut asked: Vec<Oid> =
        [SYS_DESCR, SYS_OBJECT_ID].iter().map(|name| name.parse().expect("good constants")).collect();
    asked.extend_from_slice(set.probes());
    let harvest = ask(target, asked.clone(), Vec::new()).await?;
    if !harvest.answered {
        let reason = harvest.scalar_reasons.iter().flatten().next();
        let reason = reason.map_or_else(|| "no reply".to_owned(), ToString::to_string);
        bail!("{} ({}): {reason}{}", target.name, target.address, silence(target, &harvest));
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
    for (at, probe) in asked.iter().enumerate().skip(2) {
        let came = harvest.scalar(at).map_or_else(|| "nothing".to_owned(), |value| shown(&value));
        writeln!(out, "probe {probe}: {came}")?;
    }
    let answers = |oid: &Oid| {
        let place = asked.iter().position(|asked| asked == oid);
        place.and_then(|at| harvest.scalar(at)).is_some()
    };
    let identity = Identity { sys_object_id: &object, sys_descr: &descr, answers: &answers };
    set.choose(&identity).context("no profile fits this device, not even a general one")
}

/// What was asked, and how each column ended.
fn answers(choice: &Choice, harvest: &Harvest, out: &mut String) -> anyhow::Result<()> {
    let plan = choice.profile.plan();
    writeln!(out, "\nasked and answered:")?;
    let mut first = 0;
    for group in &plan.scalars {
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
    for (table, read) in plan.tables.iter().zip(&harvest.tables) {
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
            writeln!(out, "    {column} ended early: {reason}")?;
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
fn results(choice: &Choice, harvest: &Harvest, all: bool, out: &mut String) -> anyhow::Result<()> {
    let plan = choice.profile.plan();
    let mut readings = Readings::new();
    for (at, table) in harvest.tables.iter().enumerate() {
        // Nothing else will be read: what is not there is taken to be absent.
        readings.table(at, true, table.cells().map(|cell| (cell.column, cell.index, cell.value)));
    }
    let mut first = 0;
    for (at, group) in plan.scalars.iter().enumerate() {
        let (from, count) = (first, group.oids.len());
        first += count;
        let place = move |column: u16| usize::from(column).checked_sub(from).filter(|at| *at < count);
        let values = harvest.scalars.iter().filter_map(move |cell| {
            place(cell.column).and_then(|at| Some((u16::try_from(at).ok()?, cell.value)))
        });
        readings.scalars(at, values);
    }
    let mut samples = Samples::default();
    let outcome = Evaluator::new(&choice.profile).round(readings, &mut samples);
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
        let mut text = format!("\n{}", packet(bad).trim_end());
        if bad.source.ip() != target.address.ip() {
            write!(text, "\nif that is the same device: --accept-reply-from {}", bad.source.ip())
                .expect("strings take everything");
        }
        return text;
    }
    if harvest.answered {
        return String::new();
    }
    "\nit may be off, out of reach or behind a filter, not listen on this port, not know this community (devices say nothing to a wrong \
     one), or not allow this address to ask"
        .to_owned()
}

/// The last packet that did not count, in hexadecimal.
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
