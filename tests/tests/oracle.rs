//! The differential oracle: the same agents read by our engine, by Debian's net-snmp tools and by the crate async-snmp must give the same
//! names, types and values, varbind for varbind. Agents: our simulated devices, recordings of real ones, and Debian's snmpd.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use pantau_tests::free_port;
use pantau_tests::peers::{peer, shared};
use pantau_tests::running::Running;
use simulator::{Device, Fleet, Options, Recording, Switch, Tree};
use snmp::engine::{Credential, Engine, Harvest, Job, Target};
use snmp::round::Table;
use snmp::usm::{AuthProtocol, Context, PrivProtocol};
use snmp::{Community, Limits, Oid, Value, Version};

use crate::pair::Pair;

/// Types whose values move with time.
const MOVES: [&str; 4] = ["Counter32", "Counter64", "Gauge32", "Timeticks"];

/// sysUpTime, hrSystemUptime and snmpEngineTime.
pub(crate) const TIMES: [&str; 3] = ["1.3.6.1.2.1.1.3.0", "1.3.6.1.2.1.25.1.1.0", "1.3.6.1.6.3.10.2.1.3.0"];

/// Who asks; each of the three readers has its own words for it.
#[derive(Clone, Copy, Debug)]
enum Asker {
    Community(Version),
    User(Pair),
}

const V2C: Asker = Asker::Community(Version::V2c);

/// Users with each way to authenticate, each cipher and each way to make its key longer; RFC 3414 without and with either.
fn pairs() -> Vec<Pair> {
    use AuthProtocol::{Md5, Sha1, Sha224, Sha256, Sha384, Sha512};
    use PrivProtocol::{Aes128, Aes192, Aes256, Aes256Reeder, Des};
    vec![
        Pair(None, None),
        Pair(Some(Sha1), None),
        Pair(Some(Md5), Some(Des)),
        Pair(Some(Sha1), Some(Aes256Reeder)),
        Pair(Some(Sha224), Some(Aes192)),
        Pair(Some(Sha256), Some(Aes128)),
        Pair(Some(Sha384), Some(Aes256)),
        Pair(Some(Sha512), Some(Aes128)),
    ]
}

fn everyone() -> impl Iterator<Item = Asker> {
    [Asker::Community(Version::V1), V2C].into_iter().chain(pairs().into_iter().map(Asker::User))
}

impl Asker {
    fn credential(self) -> Credential {
        match self {
            Self::Community(version) => {
                Credential::Community { version, community: Community::new("public") }
            }
            Self::User(pair) => Credential::User { user: pair.user(), context: Context::default() },
        }
    }

    /// The tool, and what it is told of who asks.
    fn tool(self) -> (&'static str, Vec<String>) {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        match self {
            Self::Community(Version::V1) => ("snmpwalk", words(&["-v1", "-c", "public"])),
            Self::Community(Version::V2c) => ("snmpbulkwalk", words(&["-v2c", "-c", "public", "-Cr40"])),
            Self::User(pair) => ("snmpbulkwalk", [words(&["-v3", "-Cr40"]), pair.words()].concat()),
        }
    }

    fn theirs(self) -> async_snmp::Auth {
        match self {
            Self::Community(Version::V1) => async_snmp::Auth::v1("public"),
            Self::Community(Version::V2c) => async_snmp::Auth::v2c("public"),
            Self::User(pair) => pair.theirs(),
        }
    }
}

/// One value: its name, and type and content as net-snmp writes them with `-Ox -Ot`.
type Line = (Oid, String);

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn harvest(job: Job) -> Harvest {
    let engine = Engine::start(snmp::engine::Options::default()).expect("a thread can be had");
    runtime().block_on(engine.handle().run(job))
}

fn by_ours(asker: Asker, address: SocketAddr, under: &Oid) -> Vec<Line> {
    let limits = Limits { rows_max: 1_000_000, requests_max: 1_000_000, ..Limits::default() };
    let table = Table { limits, ..Table::new("all", vec![under.clone()]) };
    let mut target = Target::new("device", address, vec![asker.credential()]);
    // A busy machine is no reason to give up.
    (target.timeout, target.timeout_max) = (Duration::from_secs(10), Duration::from_secs(10));
    let (scalars, tables) = (Arc::new([]), vec![Arc::new(table)]);
    let deadline = Duration::from_secs(120);
    let harvest = harvest(Job { target: Arc::new(target), scalars, tables, deadline, urgent: false });
    assert!(harvest.tables[0].is_whole(), "{address} {asker:?}: {:?}", harvest.tables[0].failure());
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

fn by_async_snmp(asker: Asker, address: SocketAddr, under: &Oid) -> Vec<Line> {
    let place = (address.ip().to_string(), address.port());
    let timeout = Duration::from_secs(10);
    let root = async_snmp::Oid::parse(&under.to_string()).expect("a good OID");
    // It wants to know where the salts of DES are kept from one life to the next; ours live as long as a test.
    let salts = async_snmp::DesSaltState::install(|_| Ok::<(), std::convert::Infallible>(()));
    let walk = async {
        let client = async_snmp::Client::builder(place, asker.theirs()).request_timeout(timeout);
        let transport = async_snmp::transport::UdpTransport::builder().bind("127.0.0.1:0");
        // Otherwise it announces 1,472 bytes, into which the longest texts of real devices do not fit.
        let transport = transport.max_message_size(65_507).build().await?;
        let client = client.des_salt_state(salts.expect("nothing is kept")).build_with(&transport).await?;
        match asker {
            Asker::Community(Version::V1) => client.walk_getnext(root)?.collect().await,
            _ => client.bulk_walk(root, 40)?.collect().await,
        }
    };
    let varbinds = runtime().block_on(walk).unwrap_or_else(|why| panic!("{under} {asker:?}: {why}"));
    let name = |oid: &async_snmp::Oid| -> Oid { oid.to_string().parse().expect("it came from a device") };
    varbinds.iter().map(|varbind| (name(&varbind.oid), written_of_theirs(&varbind.value))).collect()
}

fn written_of_theirs(value: &async_snmp::Value) -> String {
    use async_snmp::Value as Theirs;
    match value {
        Theirs::Integer(number) => written(&Value::Integer(*number)),
        Theirs::OctetString(bytes) => written(&Value::OctetString(bytes)),
        Theirs::ObjectIdentifier(oid) => format!("OID: .{oid}"),
        Theirs::IpAddress(octets) => written(&Value::IpAddress((*octets).into())),
        Theirs::Counter32(number) => written(&Value::Counter32(*number)),
        Theirs::Gauge32(number) => written(&Value::Gauge32(*number)),
        Theirs::TimeTicks(number) => written(&Value::TimeTicks(*number)),
        Theirs::Opaque(bytes) => written(&Value::Opaque(bytes)),
        Theirs::Counter64(number) => written(&Value::Counter64(*number)),
        Theirs::Null => written(&Value::Null),
        other => format!("{other:?}"),
    }
}

fn by_net_snmp(asker: Asker, address: SocketAddr, under: &Oid) -> Option<Vec<Line>> {
    let (tool, words) = asker.tool();
    let mut command = peer(&format!("usr/bin/{tool}"))?;
    let folder = tempfile::tempdir().expect("a temporary folder");
    command.env("SNMP_PERSISTENT_DIR", folder.path());
    command.args(words).args(["-m", "", "-On", "-Oe", "-Ox", "-Ot", "-t", "10", "-r", "2"]);
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
    assert!(!lines.is_empty(), "{address} {under} {asker:?}: {}", String::from_utf8_lossy(&output.stderr));
    Some(lines)
}

/// What all three must agree on.
type Reduce = fn(Line) -> Option<Line>;

/// The device's values stand still, but it goes on counting the time.
fn all_but_times(line: Line) -> Option<Line> {
    (!TIMES.contains(&&*line.0.to_string())).then_some(line)
}

/// Without the numbers that were others a moment later.
fn all_but_moves((name, value): Line) -> Option<Line> {
    let kind = value.split(':').next().filter(|kind| MOVES.contains(kind)).map(str::to_owned);
    all_but_times((name, kind.unwrap_or(value)))
}

#[track_caller]
fn check_same(ours: &[Line], theirs: &[Line], what: &str) {
    let same = ours.iter().zip(theirs).take_while(|(ours, theirs)| ours == theirs).count();
    assert_eq!(ours.get(same), theirs.get(same), "{what}: at {same} of {} and {}", ours.len(), theirs.len());
}

/// Reads by all three and compares; returns how many values were compared, `None` where net-snmp is left out.
#[track_caller]
fn check(asker: Asker, address: SocketAddr, under: &Oid, reduce: Reduce, what: &str) -> Option<usize> {
    let reduced = |lines: Vec<Line>| lines.into_iter().filter_map(reduce).collect::<Vec<Line>>();
    let ours = reduced(by_ours(asker, address, under));
    check_same(&ours, &reduced(by_async_snmp(asker, address, under)), &format!("async-snmp, {what}"));
    check_same(&ours, &reduced(by_net_snmp(asker, address, under)?), &format!("net-snmp, {what}"));
    Some(ours.len())
}

fn fleet(recording: &Recording) -> Fleet {
    let tree = Arc::new(Tree::still(recording).expect("small"));
    let device = Device::new(tree).community("public");
    let device = pairs().into_iter().fold(device, |device, pair| device.user(pair.user()));
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
fn simulated_devices_are_read_alike() {
    let switch = Switch { ports: 24, optics: 8, seed: 3 }.recording();
    for (what, recording) in [("a switch", switch), ("an odd box", odd_box())] {
        let fleet = fleet(&recording);
        for asker in everyone() {
            let what = format!("{what}, {asker:?}");
            if check(asker, fleet.address(0), &oid("1.3"), all_but_times, &what).is_none() {
                return;
            }
        }
    }
}

#[test]
fn recordings_of_real_devices_are_read_alike() {
    let Some(shared) = shared() else { return };
    let folder = std::fs::read_dir(shared.join("devices/recordings")).expect("the recordings");
    let mut paths: Vec<_> = folder.map(|entry| entry.expect("a readable folder").path()).collect();
    paths.sort();
    let (mut values, pairs) = (0, pairs());
    for (at, path) in paths.iter().enumerate() {
        let recording = Recording::parse(std::fs::read(path).expect("a readable file")).expect("a recording");
        let fleet = fleet(&recording);
        // Each also as a user, in turn.
        for asker in [V2C, Asker::User(pairs[at % pairs.len()])] {
            let what = format!("{}, {asker:?}", path.display());
            let Some(count) = check(asker, fleet.address(0), &oid("1.3"), all_but_times, &what) else {
                return;
            };
            values += count;
        }
    }
    println!("compared {values} values of {} recordings", paths.len());
}

#[test]
fn debian_s_snmpd_is_read_alike() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let port = free_port();
    let users: String = pairs().into_iter().map(Pair::lines).collect();
    let lines = format!(
        "agentaddress udp:127.0.0.1:{port}\nsysName kudus-sw-3\nsysLocation Kudus\nrocommunity public\n{users}"
    );
    std::fs::write(folder.path().join("agent.conf"), lines).expect("the configuration can be written");
    let Some(mut snmpd) = peer("usr/sbin/snmpd") else { return };
    snmpd.args(["-f", "-Lo", "-C", "-c"]).arg(folder.path().join("agent.conf"));
    snmpd.env("SNMP_PERSISTENT_DIR", folder.path().join("memory")).env("MIBS", "");
    let mut snmpd = Running::start("snmpd", &mut snmpd, folder.path());
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    snmpd.wait_until("its first answer", || {
        let target = Target::new("snmpd", address, vec![V2C.credential()]);
        let scalars = Arc::new([oid("1.3.6.1.2.1.1.5.0")]);
        let deadline = Duration::from_secs(1);
        let harvest =
            harvest(Job { target: Arc::new(target), scalars, tables: Vec::new(), deadline, urgent: true });
        harvest.scalar(0).map(drop)
    });
    // What says something else each time it is asked (processes, routes, connections) is left alone.
    let tables = [
        "1.3.6.1.2.1.1",
        "1.3.6.1.2.1.2.2",
        "1.3.6.1.2.1.11",
        "1.3.6.1.2.1.25.1.1",
        "1.3.6.1.2.1.31.1.1",
        "1.3.6.1.6.3.10",
        "1.3.6.1.6.3.15.1.2",
        "1.3.6.1.6.3.16",
    ];
    for asker in everyone() {
        for under in tables {
            let what = format!("snmpd {under}, {asker:?}");
            if check(asker, address, &oid(under), all_but_moves, &what).is_none() {
                return;
            }
        }
    }
}
