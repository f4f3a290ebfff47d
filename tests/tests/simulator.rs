//! Simulated devices, asked by Debian's net-snmp tools.

use std::process::Command;
use std::sync::Arc;

use pantau_tests::peers::{peer, shared};
use simulator::{Datum, Device, Fleet, Options, Recording, Switch, Tree};
use snmp::Oid;
use snmp::usm::{AuthProtocol, PrivProtocol, User};

const AUTH: &str = "a-passphrase";
const PRIV: &str = "another-passphrase";

/// Lines on standard output, as `.1.3.6 = TYPE: VALUE`, and standard error.
fn run(program: &str, version: &[&str], target: &str, names: &[&str]) -> Option<(Vec<String>, String)> {
    let mut command: Command = peer(&format!("usr/bin/{program}"))?;
    command.args(version).args(["-m", "", "-On", "-Oe", "-t", "10", "-r", "2", target]).args(names);
    let output = command.output().expect("the tool starts");
    let text = String::from_utf8_lossy(&output.stdout);
    Some((text.lines().map(str::to_owned).collect(), String::from_utf8_lossy(&output.stderr).into_owned()))
}

/// The names of a walk's lines; what goes on over several lines (texts with line ends) is passed over.
fn names(lines: &[String]) -> Vec<Oid> {
    let name = |line: &String| {
        let (name, value) = line.split_once(" = ")?;
        // An empty tree is asked for itself.
        name.parse().ok().filter(|_| !value.starts_with("No "))
    };
    lines.iter().filter_map(name).collect()
}

/// Compares long lists without printing them whole.
#[track_caller]
fn check_same<T: PartialEq + std::fmt::Debug>(got: &[T], expected: &[T], what: &str) {
    let same = got.iter().zip(expected).take_while(|(got, expected)| got == expected).count();
    assert_eq!(
        got.get(same),
        expected.get(same),
        "{what}: at {same} of {} and {}",
        got.len(),
        expected.len()
    );
}

fn fleet(tree: Arc<Tree>) -> Fleet {
    let users = users().into_iter().map(|(user, _)| user);
    let device = users.fold(Device::new(tree).community("public"), Device::user);
    Fleet::start(Options::default(), [device]).expect("loopback can be bound")
}

/// Users, and the options by which net-snmp's tools are them.
fn users() -> Vec<(User, Vec<String>)> {
    let auth = [
        (AuthProtocol::Md5, "MD5"),
        (AuthProtocol::Sha1, "SHA"),
        (AuthProtocol::Sha224, "SHA-224"),
        (AuthProtocol::Sha256, "SHA-256"),
        (AuthProtocol::Sha384, "SHA-384"),
        (AuthProtocol::Sha512, "SHA-512"),
    ];
    let mut users =
        vec![(User::new(b"open", None, None).expect("good"), "-v3 -u open -l noAuthNoPriv".to_owned())];
    for (at, (protocol, word)) in auth.into_iter().enumerate() {
        let name = format!("seen{at}");
        let user = User::new(name.as_bytes(), Some((protocol, AUTH.as_bytes())), None).expect("good");
        users.push((user, format!("-v3 -u {name} -l authNoPriv -a {word} -A {AUTH}")));
    }
    let hidden = [
        (AuthProtocol::Sha1, PrivProtocol::Aes128, "-a SHA -x AES"),
        (AuthProtocol::Sha256, PrivProtocol::Aes128, "-a SHA-256 -x AES"),
    ];
    for (at, (auth, cipher, words)) in hidden.into_iter().enumerate() {
        let name = format!("hidden{at}");
        let secrets = (Some((auth, AUTH.as_bytes())), Some((cipher, PRIV.as_bytes())));
        let user = User::new(name.as_bytes(), secrets.0, secrets.1).expect("good");
        users.push((user, format!("-v3 -u {name} -l authPriv {words} -A {AUTH} -X {PRIV}")));
    }
    users.into_iter().map(|(user, line)| (user, line.split(' ').map(str::to_owned).collect())).collect()
}

#[test]
fn net_snmp_walks_a_switch_in_every_version() {
    let tree = Arc::new(Switch::default().tree().expect("small"));
    let fleet = fleet(tree.clone());
    let target = fleet.address(0).to_string();
    let all: Vec<Oid> = tree.names().map(|name| name.to_oid()).collect();
    let Some((lines, errors)) =
        run("snmpbulkwalk", &["-v2c", "-c", "public", "-Cr25"], &target, &["1.3.6.1.2.1"])
    else {
        return;
    };
    check_same(&names(&lines), &all, &errors);
    let mut lines_of_v2 = lines;
    let under: Vec<&str> = vec!["1.3.6.1.2.1.47"];
    lines_of_v2.retain(|line| line.starts_with(".1.3.6.1.2.1.47."));
    for (user, options) in users() {
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let (lines, errors) = run("snmpbulkwalk", &options, &target, &under).expect("it was there");
        check_same(&lines, &lines_of_v2, &format!("{user:?} {errors}"));
    }
    let (lines, errors) =
        run("snmpwalk", &["-v1", "-c", "public"], &target, &["1.3.6.1.2.1.31"]).expect("there");
    let narrow = lines.iter().all(|line| !line.contains("Counter64"));
    assert!(narrow && lines.len() == 11 * 71, "v1 passes over Counter64: {} {errors}", lines.len());
    assert_eq!(fleet.dropped(), 0);
}

#[test]
fn net_snmp_reads_values_and_exceptions() {
    let cells = [
        ("1.3.6.1.2.1.1.1.0", Datum::text("box"), "STRING: \"box\""),
        ("1.3.6.1.2.1.1.2.0", Datum::Oid("1.3.6.1.4.1.9".parse().expect("good")), "OID: .1.3.6.1.4.1.9"),
        ("1.3.6.1.4.1.9.1.0", Datum::Integer(-40), "INTEGER: -40"),
        ("1.3.6.1.4.1.9.2.0", Datum::Counter32(u32::MAX), "Counter32: 4294967295"),
        ("1.3.6.1.4.1.9.3.0", Datum::Gauge32(1 << 31), "Gauge32: 2147483648"),
        ("1.3.6.1.4.1.9.4.0", Datum::Counter64(u64::MAX), "Counter64: 18446744073709551615"),
        ("1.3.6.1.4.1.9.5.0", Datum::IpAddress([10, 0, 0, 1].into()), "IpAddress: 10.0.0.1"),
        ("1.3.6.1.4.1.9.6.0", Datum::TimeTicks(100), "Timeticks: (100) 0:00:01.00"),
        ("1.3.6.1.4.1.9.7.4294967295", Datum::Bytes(vec![0, 255]), "Hex-STRING: 00 FF "),
    ];
    let recording: Recording =
        cells.iter().map(|(name, datum, _)| (name.parse().expect("good"), datum.clone())).collect();
    let fleet = fleet(Arc::new(Tree::still(&recording).expect("small")));
    let target = fleet.address(0).to_string();
    let v2c = ["-v2c", "-c", "public"];
    let asked: Vec<&str> = cells.iter().map(|(name, _, _)| *name).collect();
    let Some((lines, errors)) = run("snmpget", &v2c, &target, &asked) else { return };
    let expected: Vec<String> = cells.iter().map(|(name, _, value)| format!(".{name} = {value}")).collect();
    assert_eq!(lines, expected, "{errors}");
    let missing = ["1.3.6.1.2.1.1.1.5", "1.3.6.1.2.1.7.1.0"];
    let (lines, _) = run("snmpget", &v2c, &target, &missing).expect("it was there");
    assert!(lines[0].contains("No Such Instance") && lines[1].contains("No Such Object"), "{lines:?}");
    let (lines, _) = run("snmpgetnext", &v2c, &target, &["1.3.6.1.4.1.10"]).expect("it was there");
    assert!(lines[0].contains("No more variables left"), "{lines:?}");
    let (_, errors) =
        run("snmpget", &["-v1", "-c", "public"], &target, &["1.3.6.1.2.1.1.1.0", missing[1]]).expect("there");
    assert!(errors.contains("noSuchName") && errors.contains(missing[1]), "{errors}");
    let wrong = ["-v3", "-u", "seen1", "-l", "authNoPriv", "-a", "SHA", "-A", "not-the-passphrase"];
    let (_, errors) = run("snmpget", &wrong, &target, &asked[..1]).expect("it was there");
    assert!(errors.contains("Authentication failure"), "{errors}");
    let (_, errors) =
        run("snmpget", &["-v3", "-u", "who", "-l", "noAuthNoPriv"], &target, &asked[..1]).expect("there");
    assert!(errors.contains("Unknown user name"), "{errors}");
}

#[test]
fn net_snmp_walks_every_recording_of_a_real_device() {
    let Some(shared) = shared() else { return };
    let folder = std::fs::read_dir(shared.join("devices/recordings")).expect("the recordings");
    for path in folder.map(|entry| entry.expect("a readable folder").path()) {
        let text = std::fs::read(&path).expect("a readable file");
        let recording = Recording::parse(text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let fleet = fleet(Arc::new(Tree::moving(&recording).expect("small")));
        let target = fleet.address(0).to_string();
        let walk = |under| run("snmpbulkwalk", &["-v2c", "-c", "public", "-Cr40"], &target, &[under]);
        let Some((mut lines, _)) = walk("1.0") else { return };
        let (more, errors) = walk("1.3").expect("it was there");
        lines.extend(more);
        let expected: Vec<Oid> = recording.cells().iter().map(|(name, _)| name.clone()).collect();
        check_same(&names(&lines), &expected, &format!("{}: {errors}", path.display()));
    }
}
