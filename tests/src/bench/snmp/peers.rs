//! The peers: Debian's snmpbulkwalk and snmp_exporter, and the crates where they are compiled in.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{COMMUNITY, Cost, Fleet, Manner, REPETITIONS, USER, VARBINDS};
use crate::peers::{peer, peers_folder};
use crate::running::Running;
use crate::{free_port, usage, wait_for};

/// Walks of one process each.
const WALKS: u32 = 60;
/// Scrapes, one after the other.
const SCRAPES: u32 = 60;
const IF_TABLE: &str = "1.3.6.1.2.1.2.2";

/// Every peer that can ask in this manner, and its cost.
pub(super) fn all(fleet: &Fleet, manner: Manner) -> Result<Vec<(&'static str, Cost)>> {
    // Only ours learns: the peers stand beside it as they are.
    let manner = if manner == Manner::Learned { Manner::Fixed } else { manner };
    let mut peers = vec![("snmpbulkwalk", bulk_walk(fleet, manner)?)];
    if manner == Manner::Fixed {
        peers.extend(exporter(fleet)?.map(|cost| ("snmp_exporter", cost)));
    }
    peers.extend(crates(fleet, manner)?);
    Ok(peers)
}

#[cfg(feature = "bench-peers")]
fn crates(fleet: &Fleet, manner: Manner) -> Result<Vec<(&'static str, Cost)>> {
    ["async-snmp", "snmp2"].map(|name| Ok((name, super::measure(name, fleet, manner)?))).into_iter().collect()
}

#[cfg(not(feature = "bench-peers"))]
fn crates(_fleet: &Fleet, _manner: Manner) -> Result<Vec<(&'static str, Cost)>> {
    eprintln!("left out: async-snmp and snmp2 (built without the feature bench-peers)");
    Ok(Vec::new())
}

fn bulk_walk(fleet: &Fleet, manner: Manner) -> Result<Cost> {
    let (name, auth, privacy) = USER;
    let credential: &[&str] = match manner {
        Manner::User => {
            &["-v3", "-u", name, "-l", "authPriv", "-a", "SHA-256", "-A", auth, "-x", "AES", "-X", privacy]
        }
        _ => &["-v2c", "-c", COMMUNITY],
    };
    let walk = |at: u32| -> Result<u64> {
        let mut command = peer("usr/bin/snmpbulkwalk").context("peers are left out")?;
        command.args(credential).arg(format!("-Cr{REPETITIONS}")).args(["-m", "", "-On", "-Oq"]);
        let output = command.arg(fleet.address(at)).arg(IF_TABLE).stderr(Stdio::inherit()).output()?;
        Ok(output.stdout.iter().filter(|byte| **byte == b'\n').count() as u64)
    };
    walk(0)?;
    let before = usage::of_ended_children().context("the system tells of our children")?;
    let mut values = 0;
    for at in 0..WALKS {
        values += walk(at % fleet.devices)?;
    }
    let cpu = usage::of_ended_children().context("the system tells of our children")? - before;
    ensure!(values == VARBINDS * u64::from(WALKS), "snmpbulkwalk read {values} values in {WALKS} walks");
    Ok(Cost::of(cpu, values as f64, f64::from(WALKS)))
}

/// `ifTable` as the exporter's own `if_mib` module has it: the same columns, the names looked up.
fn exporter_settings() -> String {
    let columns: [(u32, &str, &str); 21] = [
        (1, "ifIndex", "gauge"),
        (2, "ifDescr", "DisplayString"),
        (3, "ifType", "gauge"),
        (4, "ifMtu", "gauge"),
        (5, "ifSpeed", "gauge"),
        (6, "ifPhysAddress", "PhysAddress48"),
        (7, "ifAdminStatus", "gauge"),
        (8, "ifOperStatus", "gauge"),
        (9, "ifLastChange", "gauge"),
        (10, "ifInOctets", "counter"),
        (11, "ifInUcastPkts", "counter"),
        (12, "ifInNUcastPkts", "counter"),
        (13, "ifInDiscards", "counter"),
        (14, "ifInErrors", "counter"),
        (15, "ifInUnknownProtos", "counter"),
        (16, "ifOutOctets", "counter"),
        (17, "ifOutUcastPkts", "counter"),
        (18, "ifOutNUcastPkts", "counter"),
        (19, "ifOutDiscards", "counter"),
        (20, "ifOutErrors", "counter"),
        (21, "ifOutQLen", "gauge"),
    ];
    let mut text = format!(
        "if_mib:\n  version: 2\n  max_repetitions: {REPETITIONS}\n  auth: {{community: {COMMUNITY}}}\n  walk: [{IF_TABLE}]\n  metrics:\n"
    );
    for (arc, name, kind) in columns {
        text.push_str(&format!(
            "  - name: {name}\n    oid: {IF_TABLE}.1.{arc}\n    type: {kind}\n    help: {name}\n    indexes: [{{labelname: ifIndex, type: gauge}}]\n    \
             lookups: [{{labels: [ifIndex], labelname: ifDescr, oid: {IF_TABLE}.1.2, type: DisplayString}}]\n"
        ));
    }
    text
}

fn exporter(fleet: &Fleet) -> Result<Option<Cost>> {
    const PROGRAM: &str = "usr/bin/prometheus-snmp-exporter";
    if !peers_folder().join(PROGRAM).exists() {
        eprintln!("left out: snmp_exporter (Debian's prometheus-snmp-exporter could not be fetched)");
        return Ok(None);
    }
    let folder = tempfile::tempdir()?;
    let settings = folder.path().join("snmp.yml");
    std::fs::write(&settings, exporter_settings())?;
    let port = free_port();
    let mut command = peer(PROGRAM).context("peers are left out")?;
    command
        .arg(format!("--config.file={}", settings.display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"));
    let exporter = Running::start("snmp_exporter", &mut command, folder.path());
    wait_for("snmp_exporter", Duration::from_secs(20), || get(port, "/metrics").ok());
    let scrape = |at: u32| -> Result<()> {
        let page = get(port, &format!("/snmp?module=if_mib&target={}", fleet.address(at)))?;
        let series = page.lines().filter(|line| line.starts_with("if")).count();
        // 21 columns, each with a series for each port.
        ensure!(series >= 20 * 71, "snmp_exporter gave {series} series:\n{page}");
        Ok(())
    };
    (0..3).try_for_each(scrape)?;
    let before = usage::of(exporter.pid()).context("snmp_exporter ended")?;
    (0..SCRAPES).try_for_each(|at| scrape(at % fleet.devices))?;
    let after = usage::of(exporter.pid()).context("snmp_exporter ended")?;
    let varbinds = VARBINDS as f64 * f64::from(SCRAPES);
    Ok(Some(Cost::of(after.cpu - before.cpu, varbinds, f64::from(SCRAPES))))
}

fn get(port: u16, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut page = Vec::new();
    stream.read_to_end(&mut page)?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}
