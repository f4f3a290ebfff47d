//! The differential oracle: the same agents read by our engine and by Debian's net-snmp tools must give the same names, types and
//! values. And `pantau-agent snmp`, as people see it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use pantau_tests::free_port;
use pantau_tests::peers::{peer, program, root, shared};
use pantau_tests::running::Running;
use simulator::{Datum, Device, Fleet, Options, Place, Recording, Switch, Tree};
use snmp::engine::{Credential, Engine, Harvest, Job, Target};
use snmp::round::Table;
use snmp::usm::{AuthProtocol, Context, PrivProtocol, User};
use snmp::{Community, Limits, Oid, Value, Version};

const AUTH: &str = "an auth phrase of the tests";
const PRIVACY: &str = "a priv phrase of the tests";
/// What a value of a type that moves with time is reduced to.
const MOVES: [&str; 4] = ["Counter32", "Counter64", "Gauge32", "Timeticks"];

/// sysUpTime, hrSystemUptime and snmpEngineTime.
const TIMES: [&str; 3] = ["1.3.6.1.2.1.1.3.0", "1.3.6.1.2.1.25.1.1.0", "1.3.6.1.6.3.10.2.1.3.0"];

/// Who asks: our credential, and net-snmp's words for it.
#[derive(Clone)]
struct Asker {
    credential: Credential,
    tool: &'static str,
    words: Vec<&'static str>,
}

fn community(version: Version) -> Asker {
    let credential = Credential::Community { version, community: Community::new("public") };
    match version {
        Version::V1 => Asker { credential, tool: "snmpwalk", words: vec!["-v1", "-c", "public"] },
        Version::V2c => Asker { credential, tool: "snmpbulkwalk", words: vec!["-v2c", "-c", "public"] },
    }
}

fn users() -> Vec<Asker> {
    let asker = |user: Result<User, _>, words: &[&'static str]| Asker {
        credential: Credential::User { user: user.expect("good phrases"), context: Context::default() },
        tool: "snmpbulkwalk",
        words: [&["-v3"], words].concat(),
    };
    let sha1 = Some((AuthProtocol::Sha1, AUTH.as_bytes()));
    let sha256 = Some((AuthProtocol::Sha256, AUTH.as_bytes()));
    let aes = Some((PrivProtocol::Aes128, PRIVACY.as_bytes()));
    let seen = ["-u", "seen", "-l", "authNoPriv", "-a", "SHA", "-A", AUTH];
    let hidden = ["-u", "hidden", "-l", "authPriv", "-a", "SHA-256", "-A", AUTH, "-x", "AES", "-X", PRIVACY];
    vec![asker(User::new(b"seen", sha1, None), &seen), asker(User::new(b"hidden", sha256, aes), &hidden)]
}

fn user_of(asker: &Asker) -> User {
    match &asker.credential {
        Credential::User { user, .. } => user.clone(),
        Credential::Community { .. } => unreachable!("asked of users alone"),
    }
}

/// One value: its name, and type and content as net-snmp writes them with `-Ox -Ot`.
type Line = (Oid, String);

fn harvest(job: Job) -> Harvest {
    let engine = Engine::start(snmp::engine::Options::default()).expect("a thread can be had");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(engine.handle().run(job))
}

fn ours(asker: &Asker, address: SocketAddr, under: &Oid) -> Vec<Line> {
    let limits = Limits { rows_max: 1_000_000, requests_max: 1_000_000, ..Limits::default() };
    let table = Table { limits, ..Table::new("all", vec![under.clone()]) };
    let target = Target::new("device", address, vec![asker.credential.clone()]);
    let (scalars, tables) = (Arc::new([]), vec![Arc::new(table)]);
    let deadline = Duration::from_secs(120);
    let harvest = harvest(Job { target: Arc::new(target), scalars, tables, deadline, urgent: false });
    assert!(harvest.tables[0].is_whole(), "{address}: {:?}", harvest.tables[0].failure());
    let line = |cell: snmp::round::Cell<'_>| {
        let name = under.child(&cell.index.arcs().collect::<Vec<_>>()).expect("it came from a device");
        (name, written(&cell.value))
    };
    harvest.tables[0].cells().map(line).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(" ")
}

fn written(value: &Value<'_>) -> String {
    match *value {
        Value::Integer(number) => format!("INTEGER: {number}"),
        Value::OctetString([]) => "\"\"".to_owned(),
        Value::OctetString(bytes) => format!("Hex-STRING: {}", hex(bytes)),
        Value::Oid(oid) => format!("OID: .{oid}"),
        Value::IpAddress(address) => format!("IpAddress: {address}"),
        Value::Counter32(number) => format!("Counter32: {number}"),
        Value::Gauge32(number) => format!("Gauge32: {number}"),
        Value::TimeTicks(number) => format!("Timeticks: {number}"),
        Value::Opaque(bytes) => format!("OPAQUE: {}", hex(bytes)),
        Value::Counter64(number) => format!("Counter64: {number}"),
        _ => "NULL".to_owned(),
    }
}

fn theirs(asker: &Asker, address: SocketAddr, under: &Oid) -> Option<Vec<Line>> {
    let mut command = peer(&format!("usr/bin/{}", asker.tool))?;
    command.args(&asker.words).args(["-m", "", "-On", "-Oe", "-Ox", "-Ot", "-t", "10", "-r", "2"]);
    if asker.tool == "snmpbulkwalk" {
        command.arg("-Cr40");
    }
    let output = command.arg(address.to_string()).arg(under.to_string()).output().expect("the tool starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines: Vec<Line> = Vec::new();
    for line in text.lines() {
        match line.split_once(" = ").and_then(|(name, value)| Some((name.parse().ok()?, value))) {
            Some((_, value)) if value.starts_with("No ") => {}
            Some((name, value)) => lines.push((name, value.to_owned())),
            None if line.trim() == "End of MIB" => {}
            // Long strings go on over several lines.
            None => {
                if let Some((_, value)) = lines.last_mut() {
                    value.push(' ');
                    value.push_str(line.trim());
                }
            }
        }
    }
    for (_, value) in &mut lines {
        let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
        let words: Vec<&str> = value.split_whitespace().collect();
        let joined = words.join(" ");
        *value = if is_number { format!("Timeticks: {joined}") } else { joined };
    }
    assert!(!lines.is_empty(), "{address} {under}: {}", String::from_utf8_lossy(&output.stderr));
    Some(lines)
}

/// Without the numbers that were others a moment later.
fn still(lines: Vec<Line>) -> Vec<Line> {
    let reduce = |(name, value): Line| match value.split_once(':') {
        Some((kind, _)) if MOVES.contains(&kind) => (name, kind.to_owned()),
        _ => (name, value),
    };
    lines.into_iter().map(reduce).collect()
}

/// A simulated device whose values stand still goes on counting the time.
fn without_uptime(mut lines: Vec<Line>) -> Vec<Line> {
    lines.retain(|(name, _)| !TIMES.contains(&&*name.to_string()));
    lines
}

#[track_caller]
fn check_same(ours: &[Line], theirs: &[Line], what: &str) {
    let same = ours.iter().zip(theirs).take_while(|(ours, theirs)| ours == theirs).count();
    assert_eq!(ours.get(same), theirs.get(same), "{what}: at {same} of {} and {}", ours.len(), theirs.len());
}

fn fleet(recording: &Recording) -> Fleet {
    let tree = Arc::new(Tree::still(recording).expect("small"));
    let device = Device::new(tree).community("public");
    let device = users().iter().fold(device, |device, asker| device.user(user_of(asker)));
    Fleet::start(Options::default(), [device]).expect("loopback can be bound")
}

fn oid(text: &str) -> Oid {
    text.parse().expect("a good OID")
}

/// A box with a value of every type and of every odd length.
fn odd_box() -> Recording {
    let long: String = (0..600).map(|at| format!("{:02x}", at % 256)).collect();
    let text = format!(
        "1.3.6.1.2.1.1.1.0|4|odd box\n1.3.6.1.2.1.1.2.0|6|1.3.6.1.4.1.4294967295.1\n1.3.6.1.2.1.1.3.0|67|4294967295\n\
         1.3.6.1.2.1.1.6.0|4|\n1.3.6.1.4.1.9.1.0|2|-2147483648\n1.3.6.1.4.1.9.2.0|2|2147483647\n\
         1.3.6.1.4.1.9.3.0|65|4294967295\n1.3.6.1.4.1.9.4.0|66|2147483648\n1.3.6.1.4.1.9.5.0|70|18446744073709551615\n\
         1.3.6.1.4.1.9.6.0|64|10.0.0.255\n1.3.6.1.4.1.9.7.0|4x|00ff80\n1.3.6.1.4.1.9.8.0|4x|{long}\n\
         1.3.6.1.4.1.9.9.4294967295.0.127.128|2|0\n1.3.6.1.4.1.9.10.0|6|0.0\n1.3.6.1.4.1.9.11.1.2.3.4.5.6|4|a line\n"
    );
    Recording::parse(text).expect("a good recording")
}

#[test]
fn simulated_devices_are_read_as_net_snmp_reads_them() {
    let switch = Switch { ports: 24, optics: 8, seed: 3 }.recording();
    for (what, recording) in [("a switch", switch), ("an odd box", odd_box())] {
        let fleet = fleet(&recording);
        let address = fleet.address(0);
        let all = [community(Version::V1), community(Version::V2c)];
        for asker in all.into_iter().chain(users()) {
            let what = format!("{what}, {:?}", asker.words);
            let Some(theirs) = theirs(&asker, address, &oid("1.3")) else { return };
            let ours = ours(&asker, address, &oid("1.3"));
            check_same(&without_uptime(ours), &without_uptime(theirs), &what);
        }
    }
}

#[test]
fn recordings_of_real_devices_are_read_as_net_snmp_reads_them() {
    let Some(shared) = shared() else { return };
    let asker = community(Version::V2c);
    let folder = std::fs::read_dir(shared.join("devices/recordings")).expect("the recordings");
    for path in folder.map(|entry| entry.expect("a readable folder").path()) {
        let recording =
            Recording::parse(std::fs::read(&path).expect("a readable file")).expect("a recording");
        let fleet = fleet(&recording);
        let address = fleet.address(0);
        let Some(theirs) = theirs(&asker, address, &oid("1.3")) else { return };
        let ours = ours(&asker, address, &oid("1.3"));
        check_same(&without_uptime(ours), &without_uptime(theirs), &path.display().to_string());
    }
}

#[test]
fn debian_s_snmpd_is_read_as_net_snmp_reads_it() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let port = free_port();
    let lines = format!(
        "agentaddress udp:127.0.0.1:{port}\nsysName kudus-sw-3\nsysLocation Kudus\nrocommunity public\n\
         createUser seen SHA \"{AUTH}\"\nrouser seen auth\n\
         createUser hidden SHA-256 \"{AUTH}\" AES \"{PRIVACY}\"\nrouser hidden authpriv\n"
    );
    std::fs::write(folder.path().join("agent.conf"), lines).expect("the configuration can be written");
    let Some(mut snmpd) = peer("usr/sbin/snmpd") else { return };
    snmpd.args(["-f", "-Lo", "-C", "-c"]).arg(folder.path().join("agent.conf"));
    snmpd.env("SNMP_PERSISTENT_DIR", folder.path().join("memory")).env("MIBS", "");
    let mut snmpd = Running::start("snmpd", &mut snmpd, folder.path());
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let asker = community(Version::V2c);
    snmpd.wait_until("its first answer", || {
        let target = Target::new("snmpd", address, vec![asker.credential.clone()]);
        let scalars = Arc::new([oid("1.3.6.1.2.1.1.5.0")]);
        let deadline = Duration::from_secs(1);
        let harvest =
            harvest(Job { target: Arc::new(target), scalars, tables: Vec::new(), deadline, urgent: true });
        harvest.scalar(0).map(drop)
    });
    let all = [community(Version::V1), asker];
    for asker in all.into_iter().chain(users()) {
        // What says something else each time it is asked (processes, routes, connections) is left alone.
        for under in
            ["1.3.6.1.2.1.1", "1.3.6.1.2.1.2.2", "1.3.6.1.2.1.11", "1.3.6.1.2.1.25.1.1", "1.3.6.1.6.3.10"]
        {
            let under = oid(under);
            let Some(theirs) = theirs(&asker, address, &under) else { return };
            let what = format!("snmpd {under}, {:?}", asker.words);
            check_same(&still(ours(&asker, address, &under)), &still(theirs), &what);
        }
    }
}

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
    let device = Device::new(tree).community("public");
    let device = users().iter().fold(device, |device, asker| device.user(user_of(asker)));
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
    let words = ["walk", &at, "1.3.6.1.2.1.1.5", "-u", "hidden", "-a", "SHA-256", "--auth-file", auth];
    let words = [&words[..], &["-x", "aes", "--priv-file", privacy]].concat();
    let (good, text, errors) = agent(&words, address);
    assert!(good && text.starts_with(".1.3.6.1.2.1.1.5.0 = STRING: "), "{text}{errors}");
    let words =
        ["walk", &at, "1.3.6.1.2.1.1.5", "-v3", "-u", "hidden", "-a", "SHA-256", "--auth-file", privacy];
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
