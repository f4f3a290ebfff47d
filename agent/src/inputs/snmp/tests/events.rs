//! What happens to devices and their interfaces, and what the agent says of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use simulator::{Device as Played, Fleet, Options, Switch};
use snmp::usm::{AuthProtocol, EngineId, User};

use super::super::*;
use super::{Bench, Datum, Misdeed, Poller, context, port, switch};

fn oid(text: &str) -> snmp::Oid {
    text.parse().expect("a good OID")
}

const UPTIME: &str = "1.3.6.1.2.1.1.3.0";
const ENGINE_TIME: &str = "1.3.6.1.6.3.10.2.1.3.0";

/// Series of a metric whose text holds all parts.
fn found<'a>(series: &'a BTreeMap<String, f64>, name: &str, parts: &[&str]) -> Vec<(&'a str, f64)> {
    let is_one =
        |key: &str| key.starts_with(&format!("{name}{{")) && parts.iter().all(|part| key.contains(part));
    series.iter().filter(|(key, _)| is_one(key)).map(|(key, value)| (key.as_str(), *value)).collect()
}

/// The only series of a metric whose text holds all parts.
#[track_caller]
fn one(series: &BTreeMap<String, f64>, name: &str, parts: &[&str]) -> f64 {
    let found = found(series, name, parts);
    assert_eq!(found.len(), 1, "{name} {parts:?}: {found:?} of {series:#?}");
    found[0].1
}

const OF_DEVICE: &str = "snmp_discontinuity_timestamp_seconds";
const OF_INTERFACE: &str = "snmp_interface_discontinuity_timestamp_seconds";
const COUNT: &str = "pantau_snmp_discontinuities_total";

fn nothing_happened(series: &BTreeMap<String, f64>) -> bool {
    [OF_DEVICE, OF_INTERFACE, COUNT].iter().all(|name| found(series, name, &[]).is_empty())
}

#[tokio::test]
async fn a_counter_that_fell_is_said_and_stored_as_it_is() {
    let mut bench = Bench::new(switch(), "").await;
    assert!(nothing_happened(&bench.good_round().await));
    bench.agent.set(oid("1.3.6.1.2.1.31.1.1.1.6.1"), Datum::Counter64(17));
    let series = bench.good_round().await;
    assert_eq!(one(&series, "ifHCInOctets", &["ifName=\"ge-0\""]), 17.0, "never a changed value");
    let of_it =
        ["ifAlias=\"uplink\", ifDescr=\"Port ge-0\", ifIndex=\"1\", ifName=\"ge-0\"", "counter_reset"];
    assert_eq!(one(&series, OF_INTERFACE, &of_it), 0.002, "the time of the first samples behind it");
    assert_eq!(one(&series, OF_INTERFACE, &[]), 0.002, "the other interface had nothing");
    assert_eq!(one(&series, COUNT, &["kind=\"counter_reset\""]), 1.0);
    let series = bench.good_round().await;
    assert_eq!(one(&series, OF_INTERFACE, &of_it), 0.002, "said for as long as the interface is there");
    assert_eq!(one(&series, COUNT, &[]), 1.0);
    bench.agent.remove(&oid("1.3.6.1.2.1.2.2.1"));
    bench.agent.remove(&oid("1.3.6.1.2.1.31"));
    for (name, held) in port(2, "ge-1", "") {
        bench.agent.set(name, held);
    }
    let series = bench.good_round().await;
    assert_eq!(found(&series, OF_INTERFACE, &[]), [], "an interface that is gone has no series");
    assert_eq!(one(&series, COUNT, &[]), 1.0);
}

#[tokio::test]
async fn a_32_bit_counter_that_wraps_is_said_where_no_64_bit_one_answers() {
    let mut cells = switch();
    cells.retain(|(name, _)| name.view().strip_prefix(oid("1.3.6.1.2.1.31.1.1.1.6.2").view()).is_none());
    cells.push((oid("1.3.6.1.2.1.2.2.1.5.1"), Datum::Gauge32(100_000_000)));
    cells.push((oid("1.3.6.1.2.1.2.2.1.5.2"), Datum::Gauge32(100_000_000)));
    for (name, held) in &mut cells {
        if [oid("1.3.6.1.2.1.2.2.1.10.1"), oid("1.3.6.1.2.1.2.2.1.10.2")].contains(name) {
            *held = Datum::Counter32(u32::MAX - 100);
        }
    }
    let mut bench = Bench::new(cells, "").await;
    bench.good_round().await;
    for index in [1, 2] {
        bench.agent.set(oid(&format!("1.3.6.1.2.1.2.2.1.10.{index}")), Datum::Counter32(100));
    }
    let series = bench.good_round().await;
    assert_eq!(one(&series, OF_INTERFACE, &["kind=\"counter_wrap\"", "ifName=\"ge-1\""]), 0.002);
    assert_eq!(one(&series, OF_INTERFACE, &[]), 0.002, "the other one is counted in 64 bits");
    assert_eq!(one(&series, "ifInOctets", &["ifName=\"ge-1\""]), 100.0);
}

#[tokio::test]
async fn a_jump_that_the_device_reports_is_said() {
    let mut bench = Bench::new(switch(), "").await;
    bench.agent.set(oid("1.3.6.1.2.1.31.1.1.1.19.1"), Datum::TimeTicks(0));
    bench.good_round().await;
    bench.agent.set(oid("1.3.6.1.2.1.31.1.1.1.19.1"), Datum::TimeTicks(12_000));
    let series = bench.good_round().await;
    assert_eq!(one(&series, OF_INTERFACE, &["kind=\"reported\"", "ifName=\"ge-0\""]), 0.002);
    assert_eq!(one(&series, COUNT, &[]), 1.0);
}

#[tokio::test]
async fn interfaces_with_other_indices_are_said_and_keep_their_labels() {
    let mut bench = Bench::new(switch(), "").await;
    bench.good_round().await;
    bench.agent.remove(&oid("1.3.6.1.2.1.2.2.1"));
    bench.agent.remove(&oid("1.3.6.1.2.1.31"));
    for (name, held) in port(7, "ge-0", "uplink").into_iter().chain(port(8, "ge-1", "")) {
        bench.agent.set(name, held);
    }
    let series = bench.good_round().await;
    let moved = |index: &str| one(&series, OF_INTERFACE, &["kind=\"renumbering\"", index]);
    assert_eq!(
        (moved("ifIndex=\"1\", ifName=\"ge-0\""), moved("ifIndex=\"2\", ifName=\"ge-1\"")),
        (0.002, 0.002)
    );
    assert_eq!(one(&series, COUNT, &["kind=\"renumbering\""]), 2.0);
    assert!(
        bench.poller.ended.iter().all(|key| key.starts_with("snmp_interface_info{")),
        "{:?}",
        bench.poller.ended
    );
}

/// A column that the device always refuses does not keep interfaces that are gone in memory.
#[tokio::test]
async fn an_interface_that_is_gone_is_forgotten_where_a_column_is_always_refused() {
    let mut bench = Bench::new(switch(), "").await;
    bench.agent.misbehave([Misdeed::GenErr(oid("1.3.6.1.2.1.2.2.1.8"))]);
    bench.round().await;
    bench.agent.remove(&oid("1.3.6.1.2.1.2.2.1"));
    bench.agent.remove(&oid("1.3.6.1.2.1.31"));
    let others = |cells: Vec<_>, bench: &mut Bench| {
        cells.into_iter().for_each(|(name, held)| bench.agent.set(name, held));
    };
    others(port(2, "ge-1", ""), &mut bench);
    bench.round().await;
    // It comes back in another place, as a new one.
    others(port(7, "ge-0", "uplink"), &mut bench);
    let (series, _) = bench.round().await;
    assert_eq!(found(&series, COUNT, &["kind=\"renumbering\""]), []);
}

#[tokio::test]
async fn interfaces_that_are_left_out_are_nobody_s_business() {
    let cells = switch().into_iter().chain(port(9, "<pppoe-customer7>", "")).collect();
    let mut bench = Bench::new(cells, "").await;
    bench.good_round().await;
    bench.agent.set(oid("1.3.6.1.2.1.31.1.1.1.6.9"), Datum::Counter64(1));
    assert!(nothing_happened(&bench.good_round().await));
}

#[tokio::test]
async fn a_restart_is_said_once_for_all_counters() {
    let mut bench = Bench::new(switch(), "").await;
    bench.good_round().await;
    bench.agent.set(oid(UPTIME), Datum::TimeTicks(3));
    bench.agent.set(oid("1.3.6.1.2.1.31.1.1.1.6.1"), Datum::Counter64(17));
    let series = bench.good_round().await;
    assert_eq!(one(&series, OF_DEVICE, &["kind=\"restart\""]), 0.002);
    assert_eq!((one(&series, OF_DEVICE, &[]), one(&series, COUNT, &["kind=\"restart\""])), (0.002, 1.0));
    assert_eq!(found(&series, OF_INTERFACE, &[]), []);
    bench.agent.set(oid(UPTIME), Datum::TimeTicks(9));
    let series = bench.good_round().await;
    assert_eq!((one(&series, OF_DEVICE, &[]), one(&series, COUNT, &[])), (0.002, 1.0));
}

/// Not all interfaces can be read in the round that sees the restart: what the others say later is no news either.
#[tokio::test]
async fn what_is_read_later_than_the_restart_is_not_said_again() {
    let mut bench = Bench::new(switch(), "").await;
    bench.good_round().await;
    bench.agent.set(oid(UPTIME), Datum::TimeTicks(3));
    bench.agent.set(oid("1.3.6.1.2.1.31.1.1.1.6.1"), Datum::Counter64(17));
    bench.agent.misbehave([Misdeed::GenErr(oid("1.3.6.1.2.1.31.1.1.1.6"))]);
    bench.round().await;
    bench.agent.misbehave([]);
    let series = bench.good_round().await;
    assert_eq!(one(&series, "ifHCInOctets", &["ifName=\"ge-0\""]), 17.0);
    assert_eq!(one(&series, COUNT, &[]), 1.0);
    bench.agent.set(oid("1.3.6.1.2.1.31.1.1.1.6.1"), Datum::Counter64(5));
    assert_eq!(one(&bench.good_round().await, COUNT, &["counter_reset"]), 1.0);
}

#[tokio::test]
async fn a_clock_that_turns_over_is_no_restart_if_snmp_engine_time_went_on() {
    for (engine_seconds, expected) in
        [(Some(42_949_673), "uptime_wrap"), (None, "uptime_wrap"), (Some(1), "restart")]
    {
        let mut bench = Bench::new(switch(), "").await;
        bench.agent.set(oid(UPTIME), Datum::TimeTicks(u32::MAX - 20));
        bench.good_round().await;
        bench.agent.set(oid(UPTIME), Datum::TimeTicks(40));
        if let Some(seconds) = engine_seconds {
            bench.agent.set(oid(ENGINE_TIME), Datum::Integer(seconds));
        }
        let series = bench.good_round().await;
        let kind = format!("kind=\"{expected}\"");
        assert_eq!(one(&series, OF_DEVICE, &[&kind]), 0.002, "{engine_seconds:?}");
        assert_eq!(one(&series, COUNT, &[]), 1.0);
    }
}

#[tokio::test]
async fn another_kind_of_device_in_the_same_place_is_said() {
    let mut bench = Bench::new(switch(), "").await;
    bench.good_round().await;
    bench.agent.set(oid("1.3.6.1.2.1.1.2.0"), Datum::Oid(oid("1.3.6.1.4.1.99999.1")));
    bench.agent.set(oid("1.3.6.1.2.1.31.1.1.1.6.1"), Datum::Counter64(17));
    let series = bench.good_round().await;
    assert_eq!(one(&series, OF_DEVICE, &["kind=\"replacement\""]), 0.002);
    assert_eq!(one(&series, COUNT, &[]), 1.0, "its counters are another device's");
}

fn fleet(devices: impl IntoIterator<Item = Played>) -> Fleet {
    Fleet::start(Options::default(), devices).expect("loopback can be bound")
}

fn ports(count: u32) -> Played {
    let tree = Switch { ports: count, optics: 0, seed: 1 }.tree().expect("a switch");
    Played::new(Arc::new(tree))
}

/// A poller of the n-th device, by the name that its place gives it.
fn poller(fleet: &Fleet, at: usize, name: &str, group: &str, shared: &Shared, folder: &Path) -> Poller {
    std::fs::write(folder.join("community"), "public\n").expect("a good disk");
    let group = format!("{group}\ntargets: [{{name: {name}, address: \"{}\"}}]\n", fleet.address(at));
    Poller::new(&group, shared.clone(), folder)
}

const GROUP: &str = "community: {file: community}\ntimeout: 300ms\nretries: 0\ninterval: 60s\nprofile: if-mib\nseries_max: 5000";

/// A restart between two requests of one walk: counters from before and from after it do not stand side by side.
#[tokio::test]
async fn tables_that_a_restart_broke_are_left_out_of_the_round() {
    let folder = tempfile::tempdir().expect("a folder");
    let fleet = fleet([ports(48).community("public")]);
    let shared = Shared::new(Memory::volatile());
    let mut poller = poller(&fleet, 0, "sw1", GROUP, &shared, folder.path());
    assert!(nothing_happened(&poller.good_round().await));
    poller.good_round().await;
    let asked = fleet.device(0).counts().requests;
    // The first request asks for the scalars, a few more bring the tables.
    let script = format!("reboot from {}", asked + 3);
    fleet.device(0).set_faults(script.parse().expect("a good script"));
    let (series, error) = poller.round().await;
    assert!(error.is_some_and(|text| text.contains("it restarted while it was read")));
    assert_eq!(one(&series, "up", &[]), 1.0);
    assert_eq!(found(&series, "ifHCInOctets", &[]), []);
    let early = ["table=\"ifTable\"", "reason=\"restarted\""];
    assert_eq!(one(&series, "pantau_snmp_walks_ended_early_total", &early), 1.0);
    assert_eq!(one(&series, "pantau_snmp_walk_complete", &["table=\"ifTable\""]), 0.0);
    let series = poller.good_round().await;
    assert_eq!(
        one(&series, OF_DEVICE, &["kind=\"restart\""]),
        0.004,
        "the first round whose samples are new"
    );
    assert_eq!(one(&series, COUNT, &[]), 1.0);
    assert_eq!(found(&series, "ifHCInOctets", &[]).len(), 48);
    assert_eq!(one(&series, "pantau_snmp_walk_complete", &["table=\"ifTable\""]), 1.0);
}

/// Every way in which a table may end early, and what is said of it; other tables are there.
#[tokio::test]
async fn a_table_that_ends_early_says_why_and_takes_nothing_with_it() {
    let check = async |script: &str, more: &str, reasons: &[&str]| {
        let folder = tempfile::tempdir().expect("a folder");
        let fleet = fleet([ports(8).community("public")]);
        let shared = Shared::new(Memory::volatile());
        let group = if more.starts_with("interval") {
            GROUP.replace("interval: 60s", more)
        } else {
            format!("{GROUP}\n{more}")
        };
        let mut poller = poller(&fleet, 0, "sw1", &group, &shared, folder.path());
        poller.good_round().await;
        fleet.device(0).set_faults(script.parse().expect("a good script"));
        for (round, reason) in reasons.iter().enumerate() {
            let (series, error) = poller.round().await;
            let early = ["table=\"ifTable\"".to_owned(), format!("reason=\"{reason}\"")];
            let early = [&*early[0], &*early[1]];
            let all = found(&series, "pantau_snmp_walks_ended_early_total", &[]);
            assert_eq!(
                found(&series, "pantau_snmp_walks_ended_early_total", &early).len(),
                1,
                "{script} {round}: {error:?}: {all:?}"
            );
            let complete = |table| one(&series, "pantau_snmp_walk_complete", &[table]);
            assert_eq!(complete("table=\"ifTable\""), 0.0, "{script}");
            assert!(error.is_some_and(|text| text.contains("ifTable: column ")), "{script}");
            assert_eq!(one(&series, "up", &[]), 1.0, "{script}");
        }
    };
    let table = "under 1.3.6.1.2.1.2.2";
    check(&format!("silence {table}"), "", &["timeout", "parked", "parked"]).await;
    check(&format!("descending {table}"), "", &["non_increasing_oid"]).await;
    check(&format!("repeating {table}"), "", &["non_increasing_oid"]).await;
    check(&format!("empty-list {table}"), "", &["empty_reply"]).await;
    check(&format!("too-big 0 {table}"), "", &["error_status"]).await;
    check("gen-err 1.3.6.1.2.1.2.2.1.10", "", &["error_status"]).await;
    check(&format!("endless {table}"), "rows_max: 500", &["limit_rows"]).await;
    check(&format!("endless {table}\ndelay 50ms {table}"), "interval: 1s", &["limit_time"]).await;
    check(&format!("endless {table}\nhuge-string 60000 {table}"), "", &["limit_bytes"]).await;
}

fn pulse(shared: &Shared, folder: &Path) -> Poller {
    let mut targets = pulse::targets(&shared.core, &context(folder)).refresh().expect("fixed").expect("once");
    let input = (targets.remove(0).build)();
    let table = input.new_table();
    Poller { input, table, rounds: 0, ended: Vec::new() }
}

#[tokio::test]
async fn the_engine_and_its_slowest_devices_are_series_of_the_agent() {
    let folder = tempfile::tempdir().expect("a folder");
    let slow = || "delay 20ms".parse().expect("a good script");
    let fleet = fleet((0..12).map(|at| match at {
        3 | 5 => ports(2).community("public").faults(slow()),
        7 => ports(2).community("another"),
        _ => ports(2).community("public"),
    }));
    let shared = Shared::new(Memory::volatile());
    let mut pulse = pulse(&shared, folder.path());
    let series = pulse.good_round().await;
    assert!(series.len() == 1 && pulse.table.len() == 1, "nobody was asked yet: {series:?}");
    let mut pollers: Vec<Poller> =
        (0..12).map(|at| poller(&fleet, at, &format!("sw{at}"), GROUP, &shared, folder.path())).collect();
    for poller in &mut pollers {
        let (series, _) = poller.round().await;
        let timeouts = one(&series, "pantau_snmp_device_timeouts_total", &[]);
        assert_eq!(timeouts, f64::from(u8::from(series.contains_key("up{instance=\"sw7\", job=\"snmp\"}"))));
        assert!(one(&series, "pantau_snmp_device_bytes_total", &["direction=\"sent\""]) > 0.0);
    }
    let series = pulse.good_round().await;
    assert!(series.keys().all(|key| key.contains("instance=\"here\", job=\"pantau-agent\"")));
    let value = |name: &str, part: &str| one(&series, name, &[part]);
    assert_eq!(value("pantau_snmp_timeouts_total", ""), 1.0);
    assert_eq!(value("pantau_snmp_devices", ""), 12.0);
    assert_eq!(value("pantau_snmp_devices_silent", ""), 1.0);
    assert!(value("pantau_snmp_bytes_total", "received") > 1000.0);
    assert_eq!(value("pantau_snmp_ignored_datagrams_total", "reason=\"malformed\""), 0.0);
    let slowest = found(&series, "pantau_snmp_slowest_device_seconds", &[]);
    assert_eq!(slowest.len(), 10);
    for name in ["device=\"sw3\"", "device=\"sw5\""] {
        assert!(value("pantau_snmp_slowest_device_seconds", name) >= 0.04, "{slowest:?}");
    }
    assert!(!slowest.iter().any(|(key, _)| key.contains("\"sw7\"")), "it is down, not slow: {slowest:?}");
    pollers.clear();
    let series = pulse.good_round().await;
    assert_eq!(found(&series, "pantau_snmp_slowest_device_seconds", &[]), []);
    assert_eq!(pulse.ended.len(), 10, "who leaves the ten ends");
}

#[tokio::test]
async fn one_device_under_two_names_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let shared = Shared::new(Memory::volatile());
    let twice = fleet([ports(2).community("public")]);
    let mut pollers = ["a", "b"].map(|name| poller(&twice, 0, name, GROUP, &shared, folder.path()));
    let user = User::new(b"pantau", Some((AuthProtocol::Sha256, b"only for this test")), None);
    let user = user.expect("a good user");
    let id = EngineId::new(b"\x80\x00\x1f\x88\x04same").expect("short");
    let clones = fleet((0..2).map(|_| ports(2).user(user.clone()).engine_id(id)));
    std::fs::write(folder.path().join("phrase"), "only for this test\n").expect("a good disk");
    let common = "credentials: {ops: {user: pantau, auth: {protocol: sha256, secret: {file: phrase}}}}";
    let common: Common = settings::parse(common, "common").expect("good settings");
    let with_user = Shared::with(&common, &context(folder.path())).expect("good settings");
    let of_both = Shared { core: shared.core.clone(), ..with_user };
    let group = GROUP.replace("community: {file: community}", "credentials: [ops]");
    let mut cloned =
        [(0, "c"), (1, "d")].map(|(at, name)| poller(&clones, at, name, &group, &of_both, folder.path()));
    for poller in pollers.iter_mut().chain(&mut cloned) {
        poller.good_round().await;
    }
    let series = pulse(&shared, folder.path()).good_round().await;
    let name = "pantau_snmp_duplicate_device_info";
    assert_eq!(one(&series, name, &["also=\"b\", by=\"address\", device=\"a\""]), 1.0);
    assert_eq!(one(&series, name, &["also=\"d\", by=\"engine_id\", device=\"c\""]), 1.0);
    assert_eq!(found(&series, name, &[]).len(), 2);
}

/// The clock turns over while the tables are read, and replies are lost, so that it is looked at again: nothing restarted.
#[tokio::test]
async fn a_clock_that_turns_over_in_mid_walk_breaks_no_table() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = "uptime-wrap 10ms\ndelay 20ms under 1.3.6.1.2.1.2.2\nonly-every 2 under 1.3.6.1.2.1.2.2";
    let fleet = fleet([ports(24).community("public").faults(script.parse().expect("a good script"))]);
    let shared = Shared::new(Memory::volatile());
    let group = GROUP.replace("retries: 0", "retries: 4").replace("300ms", "100ms");
    let mut poller = poller(&fleet, 0, "sw1", &group, &shared, folder.path());
    let series = poller.good_round().await;
    assert!(one(&series, "sysUpTime", &[]) >= f64::from(u32::MAX - 10), "it has not turned over yet");
    assert_eq!(found(&series, "ifHCInOctets", &[]).len(), 24);
    fleet.device(0).set_faults(simulator::Script::default());
    let series = poller.good_round().await;
    assert_eq!(one(&series, OF_DEVICE, &["kind=\"uptime_wrap\""]), 0.002);
    assert_eq!(one(&series, COUNT, &[]), 1.0);
}

/// The SNMP agent alone restarts while the tables are read: its counters go on, so what was read is good, and the restart is said in
/// the next round.
#[tokio::test]
async fn an_engine_that_reboots_in_mid_walk_is_said_in_the_next_round() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("phrase"), "only for this test\n").expect("a good disk");
    let user = User::new(b"pantau", Some((AuthProtocol::Sha256, b"only for this test")), None);
    let fleet = fleet([ports(48).user(user.expect("a good user"))]);
    let common = "credentials: {ops: {user: pantau, auth: {protocol: sha256, secret: {file: phrase}}}}";
    let common: Common = settings::parse(common, "common").expect("good settings");
    let shared = Shared::with(&common, &context(folder.path())).expect("good settings");
    let group = GROUP.replace("community: {file: community}", "credentials: [ops]");
    let mut poller = poller(&fleet, 0, "sw1", &group, &shared, folder.path());
    poller.good_round().await;
    let script = format!("engine-reboot from {}", fleet.device(0).counts().requests + 3);
    fleet.device(0).set_faults(script.parse().expect("a good script"));
    let series = poller.good_round().await;
    assert_eq!(found(&series, "ifHCInOctets", &[]).len(), 48);
    assert!(nothing_happened(&series));
    let series = poller.good_round().await;
    assert_eq!(one(&series, OF_DEVICE, &["kind=\"restart\""]), 0.003);
    assert_eq!(found(&series, OF_INTERFACE, &[]), []);
    assert_eq!(one(&series, COUNT, &[]), 1.0);
}
