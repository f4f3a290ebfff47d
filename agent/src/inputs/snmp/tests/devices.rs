//! Whole devices, played by the simulator: which profile each gets, and what becomes of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use settings::Secret;
use simulator::{Device as Played, Fleet, Options, Recording, Switch, Tree};
use snmp::usm::{AuthProtocol, PrivProtocol, User};

use super::super::*;
use super::{Poller, context};

/// A Huawei switch with one optic and its limits; the figures are our own.
const HUAWEI: &str = "\
1.3.6.1.2.1.1.1.0|4|Huawei Versatile Routing Platform Software, example
1.3.6.1.2.1.1.2.0|6|1.3.6.1.4.1.2011.2.23.291
1.3.6.1.2.1.1.3.0|67|360000
1.3.6.1.2.1.1.5.0|4|sw-kudus-7
1.3.6.1.2.1.2.1.0|2|1
1.3.6.1.2.1.2.2.1.1.9|2|9
1.3.6.1.2.1.2.2.1.2.9|4|XGigabitEthernet0/0/1
1.3.6.1.2.1.2.2.1.7.9|2|1
1.3.6.1.2.1.2.2.1.8.9|2|1
1.3.6.1.2.1.31.1.1.1.1.9|4|XGigabitEthernet0/0/1
1.3.6.1.2.1.31.1.1.1.6.9|70|7000000000
1.3.6.1.2.1.47.1.1.1.1.7.67|4|XGigabitEthernet0/0/1
1.3.6.1.4.1.2011.5.25.31.1.1.3.1.5.67|2|41
1.3.6.1.4.1.2011.5.25.31.1.1.3.1.6.67|2|3300
1.3.6.1.4.1.2011.5.25.31.1.1.3.1.7.67|2|5232
1.3.6.1.4.1.2011.5.25.31.1.1.3.1.8.67|2|500
1.3.6.1.4.1.2011.5.25.31.1.1.3.1.9.67|2|600
1.3.6.1.4.1.2011.5.25.31.1.1.3.1.13.67|2|-1269
1.3.6.1.4.1.2011.5.25.31.1.1.3.1.32.67|4|-301.03
1.3.6.1.4.1.2011.5.25.31.1.1.3.1.33.67|4|-221.84
1.3.6.1.4.1.2011.5.25.31.1.1.3.1.6.68|2|3300
1.3.6.1.4.1.2011.5.25.31.1.1.3.1.8.68|2|300
1.3.6.1.4.1.2011.5.25.31.1.1.3.1.9.68|2|400
";

fn played(recording: &str) -> Played {
    let recording = Recording::parse(recording).expect("a good recording");
    Played::new(Arc::new(Tree::still(&recording).expect("a good recording")))
}

fn fleet(device: Played) -> Fleet {
    Fleet::start(Options::default(), [device]).expect("loopback can be bound")
}

/// Polls the first device of a fleet; `common` is the section `snmp_common`.
fn poller(fleet: &Fleet, group: &str, common: &str, folder: &Path, interval: &str) -> Poller {
    std::fs::write(folder.join("community"), "public\n").expect("a good disk");
    std::fs::write(folder.join("phrase"), "only for this test\n").expect("a good disk");
    let common: Common = settings::parse(common, "common").expect("good settings");
    let shared = Shared::with(&common, &context(folder)).expect("good settings");
    let group = format!(
        "timeout: 500ms\nretries: 0\ninterval: {interval}\n{group}\ntargets: [{{name: sw1, address: \"{}\"}}]\n",
        fleet.address(0)
    );
    Poller::new(&group, shared, folder)
}

const COMMUNITY: &str = "community: {file: community}";

fn state_in(folder: &Path, looks_only: bool) -> State {
    State { folder: folder.to_owned(), looks_only }
}

#[track_caller]
fn one(series: &BTreeMap<String, f64>, name: &str, label: &str) -> f64 {
    let found: Vec<_> = series
        .iter()
        .filter(|(key, _)| key.starts_with(&format!("{name}{{")) && key.contains(label))
        .collect();
    assert_eq!(found.len(), 1, "{name} {label}: {found:?} of {series:#?}");
    *found[0].1
}

fn count(series: &BTreeMap<String, f64>, name: &str) -> usize {
    series.keys().filter(|key| key.starts_with(&format!("{name}{{"))).count()
}

#[tokio::test]
async fn a_huawei_switch_shows_its_optics() {
    let folder = tempfile::tempdir().expect("a folder");
    let fleet = fleet(played(HUAWEI).community("public"));
    let mut poller = poller(&fleet, COMMUNITY, "", folder.path(), "10s");
    let series = poller.good_round().await;
    one(&series, "pantau_snmp_profile_info", "profile=\"huawei-vrp\"");
    let port = "ifIndex=\"9\", ifName=\"XGigabitEthernet0/0/1\"";
    assert!((one(&series, "optics_rx_power_dbm", port) + 3.01).abs() < 0.01);
    assert_eq!(one(&series, "optics_bias_amperes", port), 0.005232);
    assert_eq!(one(&series, "optics_rx_power_threshold_dbm", "level=\"low_alarm\""), -12.69);
    assert_eq!(one(&series, "ifHCInOctets", port), 7e9);
    // The second module says nothing by which its unit could be known: no sample, but a count.
    let refused = "metric=\"optics_rx_power_dbm\", reason=\"no_encoding\"";
    assert_eq!(one(&series, "pantau_snmp_values_refused_total", refused), 1.0);
}

#[tokio::test]
async fn tables_that_are_not_due_go_on_without_being_asked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let fleet = fleet(played(HUAWEI).community("public").log(10_000));
    let mut poller = poller(&fleet, COMMUNITY, "", folder.path(), "10s");
    poller.good_round().await;
    let optics = "1.3.6.1.4.1.2011.5.25.31".parse::<snmp::Oid>().expect("good");
    let asked_for_optics = |asked: Vec<simulator::Asked>| {
        let names = asked.into_iter().flat_map(|asked| asked.names);
        names.filter(|name| name.view().strip_prefix(optics.view()).is_some()).count()
    };
    assert_ne!(asked_for_optics(fleet.device(0).take_asked()), 0);
    let series = poller.good_round().await;
    assert!(poller.ended.is_empty(), "{:?}", poller.ended);
    assert_eq!(count(&series, "optics_rx_power_dbm"), 0, "within five minutes nothing needs to be said");
    assert_eq!(count(&series, "ifHCInOctets"), 1);
    assert_eq!(asked_for_optics(fleet.device(0).take_asked()), 0);
}

#[tokio::test]
async fn a_device_that_is_asked_rarely_says_its_values_again_in_between() {
    let folder = tempfile::tempdir().expect("a folder");
    let fleet = fleet(played(HUAWEI).community("public"));
    let mut poller = poller(&fleet, COMMUNITY, "", folder.path(), "10m");
    assert_eq!(poller.input.interval().as_secs(), 200);
    let first = poller.good_round().await;
    assert_eq!(one(&first, "snmp_device_last_poll_timestamp_seconds", ""), 0.001);
    let before = fleet.counts().requests;
    assert_eq!(poller.good_round().await, first);
    assert!(poller.ended.is_empty(), "{:?}", poller.ended);
    assert_eq!(fleet.counts().requests, before, "nobody was asked");
}

#[tokio::test]
async fn after_a_silent_round_slow_series_say_their_last_value_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let fleet = fleet(played(HUAWEI).community("public"));
    let mut poller = poller(&fleet, COMMUNITY, "", folder.path(), "10s");
    let first = poller.good_round().await;
    fleet.device(0).set_faults("silence".parse().expect("a good script"));
    let (series, error) = poller.round().await;
    assert!(error.is_some_and(|text| text.contains("does not answer")));
    assert_eq!(count(&series, "optics_rx_power_dbm"), 0);
    assert!(poller.ended.iter().any(|key| key.starts_with("optics_rx_power_dbm{")));
    fleet.device(0).set_faults(simulator::Script::default());
    let series = poller.good_round().await;
    let power = |series: &BTreeMap<String, f64>| one(series, "optics_rx_power_dbm", "ifIndex=\"9\"");
    assert_eq!(power(&series), power(&first));
}

#[tokio::test]
async fn a_device_that_restarts_is_looked_at_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let fleet = fleet(played(HUAWEI).community("public"));
    let mut poller = poller(&fleet, COMMUNITY, "", folder.path(), "10s");
    assert_eq!(count(&poller.good_round().await, "snmp_discontinuity_timestamp_seconds"), 0);
    fleet.device(0).reboot(fleet.now());
    let series = poller.good_round().await;
    assert_eq!(one(&series, "snmp_discontinuity_timestamp_seconds", ""), 0.002, "the second round");
    assert_eq!(count(&series, "optics_rx_power_dbm"), 1, "all tables are read again");
    assert!(poller.ended.is_empty(), "{:?}", poller.ended);
}

#[tokio::test]
async fn a_device_of_another_kind_gets_another_profile() {
    let folder = tempfile::tempdir().expect("a folder");
    let fleet = fleet(played(HUAWEI).community("public"));
    let mut poller = poller(&fleet, COMMUNITY, "", folder.path(), "10s");
    poller.good_round().await;
    let object = "1.3.6.1.2.1.1.2.0".parse().expect("good");
    let other = "1.3.6.1.4.1.99999.1".parse().expect("good");
    fleet.device(0).set(&object, &simulator::Datum::Oid(other)).expect("the device can hold it");
    let series = poller.good_round().await;
    one(&series, "pantau_snmp_profile_info", "profile=\"generic\"");
    assert!(poller.ended.iter().any(|key| key.starts_with("optics_rx_power_dbm{")), "{:?}", poller.ended);
}

#[tokio::test]
async fn a_device_of_v3_is_asked_as_its_user_after_a_credential_that_it_does_not_know() {
    let folder = tempfile::tempdir().expect("a folder");
    let phrase: &[u8] = b"only for this test";
    let user =
        User::new(b"pantau", Some((AuthProtocol::Sha256, phrase)), Some((PrivProtocol::Aes128, phrase)));
    let tree = Switch { ports: 4, optics: 2, seed: 1 }.tree().expect("a switch");
    let fleet = fleet(Played::new(Arc::new(tree)).user(user.expect("a good user")));
    let common = "\
credentials:
  old: {community: {file: community}}
  ops:
    user: pantau
    auth: {protocol: sha256, secret: {file: phrase}}
    priv: {protocol: aes128, secret: {file: phrase}}
";
    let mut poller = poller(&fleet, "credentials: [old, ops]", common, folder.path(), "10s");
    let mut series = BTreeMap::new();
    for _ in 0..3 {
        series = poller.round().await.0;
        if series.get("up{instance=\"sw1\", job=\"snmp\"}") == Some(&1.0) {
            break;
        }
    }
    assert_eq!(one(&series, "up", ""), 1.0);
    assert_eq!(count(&series, "ifHCInOctets"), 4);
}

#[tokio::test]
async fn a_profile_that_is_named_is_not_asked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let tree = Switch { ports: 3, optics: 3, seed: 1 }.tree().expect("a switch");
    let fleet = fleet(Played::new(Arc::new(tree)).community("public"));
    let mut poller = poller(&fleet, &format!("{COMMUNITY}\nprofile: if-mib"), "", folder.path(), "10s");
    let series = poller.good_round().await;
    one(&series, "pantau_snmp_profile_info", "profile=\"if-mib\"");
    assert_eq!((count(&series, "ifHCInOctets"), count(&series, "optics_temperature_celsius")), (3, 0));
}

#[tokio::test]
async fn a_profile_of_the_folder_counts_before_the_programs_own() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("own")).expect("a good disk");
    let text = "profile: huawei-vrp\nmatch: [{sys_object_id: 1.3.6.1.4.1.2011}]\nextends: [system]\n";
    std::fs::write(folder.path().join("own/huawei-vrp.yaml"), text).expect("a good disk");
    let fleet = fleet(played(HUAWEI).community("public"));
    let mut poller = poller(&fleet, COMMUNITY, "profiles: own", folder.path(), "10s");
    let series = poller.good_round().await;
    assert_eq!((count(&series, "sysUpTime"), count(&series, "ifHCInOctets")), (1, 0), "{series:#?}");
}

#[tokio::test]
async fn targets_and_series_are_relabelled() {
    let folder = tempfile::tempdir().expect("a folder");
    let fleet = fleet(played(HUAWEI).community("public"));
    let group = format!(
        "{COMMUNITY}\nrelabel_configs: [{{source_labels: [instance], regex: sw1, replacement: core, target_label: role}}]\n\
         metric_relabel_configs:\n- {{source_labels: [__name__], regex: 'sys.*', action: drop}}\n\
         - {{regex: ifDescr, action: labeldrop}}"
    );
    let series = poller(&fleet, &group, "", folder.path(), "10s").good_round().await;
    assert_eq!((count(&series, "sysUpTime"), count(&series, "ifNumber")), (0, 1));
    one(
        &series,
        "ifHCInOctets",
        "{ifIndex=\"9\", ifName=\"XGigabitEthernet0/0/1\", instance=\"sw1\", job=\"snmp\", role=\"core\"",
    );
    one(&series, "up", "role=\"core\"");
}

/// After a reload, devices that stay go on with what they were built with: it must be what the new settings look after. Two memories
/// of one file would write over each other, and a rotated community would never reach them.
#[test]
fn a_reload_keeps_one_engine_one_memory_and_the_credentials_in_use() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("community"), "public\n").expect("a good disk");
    let context = Context { state: Some(state_in(folder.path(), false)), ..context(folder.path()) };
    let config = CredentialConfig::of_community(Secret::File("community".into()), Version::V2c);
    let first = Shared::with(&Common::default(), &context).expect("good settings");
    let used = first.credential(&config, folder.path()).expect("readable");
    std::fs::write(folder.path().join("community"), "changed\n").expect("a good disk");
    let second = Shared::with(&Common::default(), &context).expect("good settings");
    assert!(Arc::ptr_eq(&first.core, &second.core));
    let again = second.credential(&config, folder.path()).expect("readable");
    assert!(Arc::ptr_eq(&used, &again) && used.generation() == 1);
    std::fs::remove_file(folder.path().join("community")).expect("it is there");
    assert!(second.credential(&config, folder.path()).is_err(), "a reload refuses what it cannot read");
}

#[test]
fn a_target_that_rules_drop_is_not_asked() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("community"), "public\n").expect("a good disk");
    let text = format!(
        "{COMMUNITY}\nrelabel_configs: [{{source_labels: [role], regex: spare, action: drop}}]\n\
         targets: [{{address: 10.0.0.1, labels: {{role: spare}}}}, {{address: 10.0.0.2}}]\n"
    );
    let config: Config = settings::parse(&text, "test").expect("good settings");
    let group = Group::new(config, 0, context(folder.path()), Shared::new(Memory::volatile()));
    let targets = group.expect("good").refresh().expect("readable").expect("the first list");
    assert_eq!(targets.len(), 1);
}

#[test]
fn mistakes_of_what_groups_share_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("a good disk");
    write("c", "public");
    write("short", "short");
    std::fs::create_dir(folder.path().join("own")).expect("a good disk");
    write("own/mine.yaml", "profile: mine\nmatch: [{sys_object_id: one}]\n");
    let check = |common: &str, expected: &str| {
        let common: Common = settings::parse(common, "common").expect("it can be read");
        let error = Shared::with(&common, &context(folder.path())).expect_err("a mistake").to_string();
        assert!(error.contains(expected), "{error:?} should contain {expected:?}");
    };
    check("profiles: none", "profiles: cannot read the folder");
    check("profiles: own", "own/mine.yaml:2:");
    check("credentials: {a: {}}", "credentials.a: it has neither community nor user");
    check(
        "credentials: {a: {community: {file: c}, user: u}}",
        "credentials.a.user: community and user exclude",
    );
    check("credentials: {a: {community: {file: d}}}", "credentials.a.community: cannot read the secret");
    check("credentials: {a: {community: {file: c}, context: x}}", "credentials.a.context: it is for a user");
    check("credentials: {a: {user: u, version: v1}}", "credentials.a.version: a user is for v3 alone");
    let auth = |rest: &str| format!("credentials: {{a: {{user: u, {rest}}}}}");
    check(&auth("priv: {protocol: aes128, secret: {file: c}}"), "no encryption without authentication");
    check(&auth("auth: {protocol: sha3, secret: {file: c}}"), "credentials.a.auth.protocol: ");
    check(&auth("auth: {protocol: sha256, secret: {file: d}}"), "credentials.a.auth.secret: cannot read");
    check(&auth("auth: {protocol: sha256, secret: {file: short}}"), "credentials.a.user: ");
    check("sites: {kudus: {in_flight_max: 0}}", "sites.kudus.in_flight_max: with 0");
    check("sites: {kudus: {requests_per_second: 0}}", "sites.kudus.requests_per_second: with 0");
    check("sites: {kudus: {bits_per_second: 300}}", "sites.kudus.bits_per_second: no reply passes");
}

#[test]
fn mistakes_of_targets_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("c"), "public").expect("a good disk");
    let check = |group: &str, expected: &str| {
        let config: Config = settings::parse(group, "group").expect("it can be read");
        let group = Group::new(config, 0, context(folder.path()), Shared::new(Memory::volatile()));
        let error = group.map(drop).expect_err("a mistake").to_string();
        assert!(error.contains(expected), "{error:?} should contain {expected:?}");
    };
    let target = |rest: &str| format!("community: {{file: c}}\ntargets: [{{address: 10.0.0.1, {rest}}}]");
    check(&target("profile: none"), "targets[0].profile: target 10.0.0.1: there is no profile \"none\"");
    check(&target("site: none"), "targets[0].site: target 10.0.0.1: there is no \"none\"");
    check(&target("bind: \"::1\""), "targets[0].bind: ::1 and 10.0.0.1 are not of one family");
    check(&target("accept_reply_from: [\"::1\"]"), "targets[0].accept_reply_from: ::1 and");
    check(
        &target("credentials: [none]"),
        "targets[0].credentials: target 10.0.0.1: there is no \"none\" under",
    );
    let both = "community: {file: c}\ncredentials: [a]\ntargets: [{address: 10.0.0.1}]";
    check(both, "community and credentials exclude each other");
    check("community: {file: c}\nrelabel_configs: [{action: hashmod}]", "relabel_configs[0]: ");
    check("community: {file: c}\nmetric_relabel_configs: [{regex: '('}]", "metric_relabel_configs[0]: ");
}

/// Recordings of real devices, where they are at hand: each is read in two rounds without a fault but those that the recording has, no
/// series ends in between, and every round has the interfaces that the device has.
#[tokio::test]
async fn recorded_devices_are_read_round_after_round() {
    let shared = std::env::var_os("PANTAU_SHARED").map(PathBuf::from);
    let shared = shared.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"));
    let Ok(recordings) = std::fs::read_dir(shared.join("devices/recordings")) else {
        eprintln!("skipped: there are no recordings in {}", shared.display());
        return;
    };
    let mut read = 0;
    for path in recordings.map(|entry| entry.expect("readable").path()) {
        let Ok(recording) = Recording::parse(std::fs::read(&path).expect("readable")) else { continue };
        let Ok(tree) = Tree::still(&recording) else { continue };
        let folder = tempfile::tempdir().expect("a folder");
        let fleet = fleet(Played::new(Arc::new(tree)).community("public"));
        let group = format!("{COMMUNITY}\nseries_max: 100000");
        let mut poller = poller(&fleet, &group, "", folder.path(), "60s");
        let (first, error) = poller.round().await;
        assert_eq!(one(&first, "up", ""), 1.0, "{}: {error:?}", path.display());
        let (second, again) = poller.round().await;
        assert_eq!(count(&first, "ifOperStatus"), count(&second, "ifOperStatus"), "{}", path.display());
        let ended = &poller.ended;
        assert!(ended.is_empty(), "{}: {error:?}, {again:?}: {ended:?}", path.display());
        read += 1;
    }
    assert_ne!(read, 0);
}

/// Devices of one name share what is learned and remembered of them, and their series: the second would be the first one's fate.
#[test]
fn no_two_groups_have_a_device_of_one_name() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("c"), "public").expect("a good disk");
    let list = folder.path().join("list.yaml");
    let write = |text: &str| std::fs::write(&list, text).expect("a good disk");
    write("[{address: 10.0.0.2, name: sw2}]");
    let shared = Shared::new(Memory::volatile());
    let group = |index: usize, rest: &str| {
        let config: Config =
            settings::parse(&format!("community: {{file: c}}\n{rest}"), "test").expect("good");
        Group::new(config, index, context(folder.path()), shared.clone())
    };
    let mut first = group(0, "targets: [{address: 10.0.0.1, name: sw1}]").expect("good");
    let mut second = group(1, "files: [list.yaml]").expect("good");
    assert!(
        first.refresh().is_ok_and(|list| list.is_some()) && second.refresh().is_ok_and(|list| list.is_some())
    );

    write("[{address: 10.0.0.2, name: sw2},\n {address: 10.0.0.3,\n  name: sw1}]");
    let error = second.refresh().err().expect("a clash").to_string();
    assert!(error.contains("list.yaml:3:9") && error.contains("inputs.snmp[0]"), "{error}");
    assert!(second.refresh().is_err(), "looked at again, since the other group may give the name up");

    // By address where there is no name, by rules too.
    let relabelled =
        "relabel_configs: [{target_label: instance, replacement: sw1}]\ntargets: [{address: 10.0.0.9}]";
    assert!(group(2, relabelled).is_err_and(|mistake| mistake.to_string().contains("named \"sw1\"")));
    write("[{address: 10.0.0.2, name: sw2}]");
    assert!(second.refresh().is_ok());
}

/// Its handle was handed out for ever: no device was asked any more until the program was restarted.
#[tokio::test]
async fn an_engine_that_ended_is_replaced() {
    let fleet = fleet(played(HUAWEI).community("public"));
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("community"), "public\n").expect("a good disk");
    let shared = Shared::with(&Common::default(), &context(folder.path())).expect("good settings");
    let group = format!(
        "{COMMUNITY}\ntimeout: 500ms\ninterval: 60s\ntargets: [{{name: sw1, address: \"{}\"}}]\n",
        fleet.address(0)
    );
    let mut poller = Poller::new(&group, shared.clone(), folder.path());
    one(&poller.good_round().await, "up", "sw1");
    shared.engine().expect("it runs").break_down();
    let series = poller.good_round().await;
    assert_eq!(one(&series, "up", "sw1"), 1.0);
}

#[tokio::test]
async fn what_was_learned_is_kept_at_the_orderly_end() {
    let fleet = fleet(played(HUAWEI).community("public"));
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("community"), "public\n").expect("a good disk");
    let context = Context { state: Some(state_in(folder.path(), false)), ..context(folder.path()) };
    let shared = Shared::with(&Common::default(), &context).expect("good settings");
    let group = format!(
        "{COMMUNITY}\ntimeout: 500ms\ninterval: 60s\ntargets: [{{name: sw1, address: \"{}\"}}]\n",
        fleet.address(0)
    );
    let mut poller = Poller::new(&group, shared, folder.path());
    poller.good_round().await;
    drop(poller);
    let learned = std::fs::read_to_string(folder.path().join("snmp-learned")).expect("it was written");
    assert!(learned.contains(" sw1\nt "), "{learned}");
    assert!(folder.path().join("snmp-interfaces").exists());
}

/// `once` beside a running agent, as another user: files of its own would be closed to the agent.
#[tokio::test]
async fn who_only_looks_writes_nothing_where_the_agent_keeps_its_own() {
    let fleet = fleet(played(HUAWEI).community("public"));
    let (folder, state) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    std::fs::write(folder.path().join("community"), "public\n").expect("a good disk");
    let context = Context { state: Some(state_in(state.path(), true)), ..context(folder.path()) };
    let shared = Shared::with(&Common::default(), &context).expect("good settings");
    let group = format!(
        "{COMMUNITY}\ntimeout: 500ms\ninterval: 60s\ntargets: [{{name: sw1, address: \"{}\"}}]\n",
        fleet.address(0)
    );
    let mut poller = Poller::new(&group, shared, folder.path());
    poller.good_round().await;
    drop(poller);
    assert_eq!(std::fs::read_dir(state.path()).expect("it is there").count(), 0);
}

#[tokio::test]
async fn what_the_settings_deny_is_never_asked_for_and_no_fault() {
    let fleet = fleet(played(HUAWEI).community("public"));
    let folder = tempfile::tempdir().expect("a folder");
    let group = format!("{COMMUNITY}\ndeny: [1.3.6.1.4.1.2011, 1.3.6.1.2.1.31.1.1.1.6]");
    let mut poller = poller(&fleet, &group, "{}", folder.path(), "60s");
    let series = poller.good_round().await;
    assert_eq!(one(&series, "up", "sw1"), 1.0);
    assert!(
        !series.keys().any(|key| key.starts_with("optics_") || key.starts_with("ifHCInOctets")),
        "{series:#?}"
    );
    assert!(series.keys().any(|key| key.starts_with("ifOperStatus")));
}
