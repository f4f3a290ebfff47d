//! `pantau-agent snmp`, as people see it: a device is walked, explained, replayed.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use pantau_tests::free_port;
use pantau_tests::peers::{program, root};
use pantau_tests::running::Running;
use simulator::{Datum, Device, Fleet, Options, Place, Recording, Switch, Tree};
use snmp::Oid;
use snmp::usm::{AuthProtocol, PrivProtocol};

use crate::oracle::TIMES;
use crate::pair::{AUTH, PRIVACY, Pair};

/// Who may read the devices here, beside the community.
const HIDDEN: Pair = Pair(Some(AuthProtocol::Sha256), Some(PrivProtocol::Aes128));

/// What the agent's program prints; `ADDRESS` in place of the device's.
fn agent(words: &[&str], address: SocketAddr) -> (bool, String, String) {
    let mut command = program("pantau-agent");
    command.arg("snmp").args(words).env("PANTAU_SNMP_COMMUNITY", "public");
    let output = command.output().expect("it starts");
    let plain = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes).replace(&address.to_string(), "ADDRESS");
        text.replace(&root().display().to_string(), "ROOT")
    };
    (output.status.success(), plain(&output.stdout), plain(&output.stderr))
}

/// Compares with a file that people have looked at; `PANTAU_GOLDEN` renews it.
#[track_caller]
fn check_golden(name: &str, text: &str) {
    let path = root().join("tests/tests/golden").join(name);
    if std::env::var_os("PANTAU_GOLDEN").is_some() {
        std::fs::write(&path, text).expect("the golden file can be written");
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(text == golden, "{name} is out of date: look at it, and renew it with PANTAU_GOLDEN=1\n{text}");
}

fn small_switch() -> Fleet {
    let tree = Arc::new(Tree::still(&Switch { ports: 2, optics: 1, seed: 1 }.recording()).expect("small"));
    let device = Device::new(tree).community("public").user(HIDDEN.user());
    Fleet::start(Options::default(), [device]).expect("loopback can be bound")
}

#[test]
fn an_engineer_walks_a_device() {
    let fleet = small_switch();
    let (address, at) = (fleet.address(0), fleet.address(0).to_string());
    let (good, text, errors) = agent(&["walk", &at, "1.3.6.1.2.1.2"], address);
    assert!(good, "{errors}");
    check_golden("snmp-walk.txt", &text);
    let (good, one, errors) = agent(&["walk", &at, "1.3.6.1.2.1.1.5.0"], address);
    assert!(good && one.lines().count() == 1, "{one}{errors}");
    let (good, text, errors) = agent(&["walk", &at, "--recording"], address);
    assert!(good, "{errors}");
    let again = Recording::parse(text.into_bytes()).expect("what it writes is a recording");
    assert_eq!(cells(&again), cells(&Switch { ports: 2, optics: 1, seed: 1 }.recording()));
    let (good, _, errors) = agent(&["walk", &at, "1.3.6.1.4.1.77"], address);
    assert!(!good && errors.contains("there is nothing under 1.3.6.1.4.1.77"), "{errors}");
}

/// Its values, but for the time that goes on.
fn cells(recording: &Recording) -> Vec<&(Oid, Datum)> {
    recording.cells().iter().filter(|(name, _)| !TIMES.contains(&&*name.to_string())).collect()
}

#[test]
fn an_engineer_walks_as_a_user_of_v3() {
    let fleet = small_switch();
    let (address, at) = (fleet.address(0), fleet.address(0).to_string());
    let folder = tempfile::tempdir().expect("a folder");
    let (auth, privacy) = (folder.path().join("auth"), folder.path().join("priv"));
    std::fs::write(&auth, format!("{AUTH}\n")).expect("it can be written");
    std::fs::write(&privacy, format!("{PRIVACY}\n")).expect("it can be written");
    let (auth, privacy) = (auth.to_str().expect("UTF-8"), privacy.to_str().expect("UTF-8"));
    let name = HIDDEN.name();
    let words = ["walk", &at, "1.3.6.1.2.1.1.5", "-u", &name, "-a", "SHA-256", "--auth-file", auth];
    let words = [&words[..], &["-x", "aes", "--priv-file", privacy]].concat();
    let (good, text, errors) = agent(&words, address);
    assert!(good && text.starts_with(".1.3.6.1.2.1.1.5.0 = STRING: "), "{text}{errors}");
    let words = ["walk", &at, "1.3.6.1.2.1.1.5", "-v3", "-u", &name, "-a", "SHA-256", "--auth-file", privacy];
    let (good, _, errors) = agent(&words, address);
    assert!(!good && errors.contains("refuses"), "{errors}");
}

/// For the switch alone, so that the text does not change with the program's own profiles.
const PROFILE: &str = "\
profile: golden-switch
title: A switch for golden files
match: [{sys_object_id: 1.3.6.1.4.1.8072.3.2.255}]
scalars:
  - name: system
    entry: 1.3.6.1.2.1.1
    columns: {services: {arc: '7.0'}, none: {arc: '99.0'}}
    metrics: [{name: sysServices, value: services, help: Layers.}, {name: sysNone, value: none, help: Nothing.}]
tables:
  - name: ports
    entry: 1.3.6.1.2.1.2.2.1
    index: {port: {at: 0}}
    columns: {descr: {arc: 2, parse: text}, speed: {arc: 5, nulls: [4294967295]}, mtu: 4, none: 99}
    labels: {port: descr}
    metrics:
      - {name: port_mtu_bytes, value: mtu, help: MTU.}
      - {name: port_speed, value: speed, help: Speed.}
      - {name: port_none, value: none, help: Nothing.}
  - name: nothing
    class: slow
    entry: 1.3.6.1.4.1.77.1
    index: {at: {at: 0}}
    columns: {value: 1}
    metrics: [{name: nothing, value: value, help: Nothing.}]
";

/// Without what the engine learns: requests and bytes.
fn without_costs(text: &str) -> String {
    let line = |line: &str| match line.split_once(" columns, ") {
        Some((before, _)) => format!("{before} columns, COST\n"),
        None if line.starts_with("cost: ") => "cost: COST\n".to_owned(),
        None => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

#[test]
fn an_engineer_has_a_device_explained() {
    let fleet = small_switch();
    let (address, at) = (fleet.address(0), fleet.address(0).to_string());
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("golden-switch.yaml"), PROFILE).expect("it can be written");
    let profiles = folder.path().to_str().expect("UTF-8");
    let (good, text, errors) = agent(&["explain", &at, "--samples", "--profiles", profiles], address);
    assert!(good, "{errors}");
    check_golden("snmp-explain.txt", &without_costs(&text));
}

#[test]
fn a_device_that_answers_from_elsewhere_is_explained() {
    let tree = Arc::new(Switch { ports: 1, optics: 0, seed: 1 }.tree().expect("small"));
    let device = Device::new(tree).community("public").faults("wrong-source".parse().expect("a fault"));
    let place = Place::Addresses { first: Ipv4Addr::new(127, 9, 8, 1), port: 0 };
    let fleet =
        Fleet::start(Options { place, ..Options::default() }, [device]).expect("loopback can be bound");
    let (address, at) = (fleet.address(0), fleet.address(0).to_string());
    let (good, _, errors) = agent(&["explain", &at, "-t", "300ms", "-r", "0"], address);
    assert!(!good && errors.contains("allow it?") && errors.contains("--accept-reply-from"), "{errors}");
    assert!(errors.contains("  0000  30 "), "{errors}");
}

#[test]
fn profiles_are_tested_and_recordings_replayed_by_the_program() {
    let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let (good, text, errors) = agent(&["test"], nobody);
    assert!(good && text.contains("if-mib: good"), "{errors}");
    let folder = tempfile::tempdir().expect("a folder");
    let wrong = folder.path().join("wrong.yaml");
    std::fs::write(&wrong, "profile: wrong\ntitle: Wrong\nmatch: [{sys_object_id: one}]\n").expect("written");
    let (good, _, errors) = agent(&["test", wrong.to_str().expect("UTF-8")], nobody);
    assert!(!good && errors.contains("wrong.yaml:3:"), "{errors}");

    let recording = folder.path().join("box.snmprec");
    std::fs::write(&recording, "1.3.6.1.2.1.1.1.0|4|a box\n1.3.6.1.2.1.1.5.0|4|kudus\n").expect("written");
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let mut command = program("pantau-agent");
    command.args(["snmp", "replay"]).arg(&recording).args(["--listen", &address.to_string()]);
    let mut replay = Running::start("replay", &mut command, folder.path());
    replay.wait_until("the device", || replay_is_up(address));
    let (good, text, errors) = agent(&["walk", &address.to_string(), "1.3.6.1.2.1.1.5"], address);
    assert!(good && text == ".1.3.6.1.2.1.1.5.0 = STRING: \"kudus\"\n", "{text}{errors}");
    assert!(replay.stop().success(), "{}", replay.log());
}

fn replay_is_up(address: SocketAddr) -> Option<()> {
    let (good, ..) =
        agent(&["walk", &address.to_string(), "1.3.6.1.2.1.1", "-t", "200ms", "-r", "0"], address);
    good.then_some(())
}
