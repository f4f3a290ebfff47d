//! SNMPv3's user-based security against Debian's net-snmp: its agent asked by ours, its tools asking ours.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use pantau_tests::free_port;
use pantau_tests::peers::peer;
use pantau_tests::running::Running;

use crate::pair::{AUTH, PRIVACY, Pair};
use snmp::ber::Writer;
use snmp::usm::{
    AuthProtocol, Authority, Context, EngineId, Exchange, Opened, Peer, PrivProtocol, Refusal, Served, User,
};
use snmp::{Oid, Pdu, PduKind, Request, Value, Varbind};

const SYS_NAME: &str = "1.3.6.1.2.1.1.5.0";

/// A start of snmpd with its 43 users takes seconds on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A manager that blocks: what an engine does around a [`Peer`], for one request at a time.
struct Manager {
    socket: UdpSocket,
    peer: Peer,
    next_id: i32,
    began: Instant,
}

/// The value as text, or why there is none; and how many datagrams were sent.
type Outcome = (Result<String, Refusal>, usize);

impl Manager {
    fn new(to: SocketAddr, user: User) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback can be bound");
        socket.connect(to).expect("loopback can be reached");
        socket.set_read_timeout(Some(PATIENCE)).expect("sockets have timeouts");
        Self { socket, peer: Peer::new(user, Context::default()), next_id: 1000, began: Instant::now() }
    }

    fn get(&mut self, name: &str) -> Outcome {
        let request = Request::get([name.parse().expect("a good OID")]);
        let (mut exchange, mut out, mut packet) = (Exchange::default(), Writer::default(), Vec::new());
        let mut buffer = vec![0; 65_535];
        let (mut sent, begun) = (0, Instant::now());
        while begun.elapsed() < PATIENCE {
            self.next_id += 1;
            let (id, now) = (self.next_id, self.began.elapsed());
            let pdu = |out: &mut Writer| request.pdu(id).write(out);
            self.peer.seal(now, &mut exchange, id, 65_507, pdu, &mut out, &mut packet);
            let received = self.socket.send(&packet).and_then(|_| self.socket.recv(&mut buffer));
            let length = match received {
                Ok(length) => length,
                // An agent that is not up yet answers by ICMP: that is no datagram of this exchange.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                    std::thread::sleep(Duration::from_millis(20));
                    continue;
                }
                Err(error) => panic!("no answer: {error}"),
            };
            sent += 1;
            match self.peer.open(self.began.elapsed(), &mut exchange, &mut buffer[..length]) {
                Ok(Opened::Again) => {}
                Ok(Opened::Refused { why, .. }) => return (Err(why), sent),
                Ok(Opened::Pdu(scoped)) => {
                    let pdu = Pdu::read(&scoped.pdu).expect("a PDU");
                    assert_eq!((pdu.kind, pdu.request_id), (PduKind::Response, id));
                    let Some(Varbind { value: Value::OctetString(text), .. }) = pdu.varbinds.first() else {
                        panic!("no text: {pdu:?}")
                    };
                    return (Ok(String::from_utf8_lossy(text).into_owned()), sent);
                }
                Err(fault) => panic!("{fault}"),
            }
        }
        panic!("no answer within {PATIENCE:?}")
    }
}

fn good() -> Result<String, Refusal> {
    Ok("kudus-sw-3".to_owned())
}

#[test]
fn debian_s_snmpd_takes_every_pair_of_protocols() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let port = free_port();
    let start = || {
        let mut snmpd = peer("usr/sbin/snmpd")?;
        // Without `-C`, by which it would forget its boots too; the only other file that it finds is what it remembers.
        snmpd.args(["-f", "-Lo", "-c"]).arg(folder.path().join("agent.conf"));
        let memory = folder.path().join("memory");
        snmpd.env("SNMP_PERSISTENT_DIR", &memory).env("SNMPCONFPATH", &memory).env("MIBS", "");
        Some(Running::start("snmpd", &mut snmpd, folder.path()))
    };
    let users: String = Pair::all().into_iter().map(Pair::lines).collect();
    let lines = format!("agentaddress udp:127.0.0.1:{port}\nsysName kudus-sw-3\n{users}");
    std::fs::write(folder.path().join("agent.conf"), lines).expect("the configuration can be written");
    let Some(mut snmpd) = start() else { return };
    let address = (Ipv4Addr::LOCALHOST, port).into();

    let mut managers = Vec::new();
    for pair in Pair::all() {
        let mut manager = Manager::new(address, pair.user());
        assert_eq!(manager.get(SYS_NAME).0, good(), "{}", pair.name());
        assert_eq!(manager.get(SYS_NAME), (good(), 1), "{}", pair.name());
        managers.push((pair, manager));
    }
    refusals_of_snmpd(address);

    let boots = |manager: &Manager| manager.peer.clock(Duration::ZERO).map(|(boots, _)| boots);
    assert_eq!(boots(&managers[0].1), Some(1));
    snmpd.stop();
    let _snmpd = start();
    // Until it is up.
    assert_eq!(Manager::new(address, Pair(None, None).user()).get(SYS_NAME).0, good());
    for (pair, manager) in &mut managers {
        let datagrams = if pair.0.is_some() { 2 } else { 1 };
        assert_eq!(manager.get(SYS_NAME), (good(), datagrams), "{} after a reboot", pair.name());
    }
    assert_eq!(boots(&managers[0].1), Some(2));
}

fn refusals_of_snmpd(address: SocketAddr) {
    let pair = Pair(Some(AuthProtocol::Sha256), Some(PrivProtocol::Aes128));
    let check = |user: User, why| assert_eq!(Manager::new(address, user).get(SYS_NAME).0, Err(why));
    check(pair.user_with("another phrase", PRIVACY), Refusal::WrongDigest);
    check(User::new(b"nobody", None, None).expect("good"), Refusal::UnknownUser);
    // To a wrong privacy passphrase it says nothing at all.
    let plain = Pair(Some(AuthProtocol::Sha256), None);
    let phrase = Some((PrivProtocol::Aes128, PRIVACY.as_bytes()));
    let user = User::new(plain.name().as_bytes(), Some((AuthProtocol::Sha256, AUTH.as_bytes())), phrase);
    check(user.expect("good"), Refusal::UnsupportedLevel);
}

/// A device that holds one name, on a thread of its own.
struct Device {
    address: SocketAddr,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Authority>>,
}

impl Device {
    fn start(users: Vec<User>) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback can be bound");
        socket.set_read_timeout(Some(Duration::from_millis(20))).expect("sockets have timeouts");
        let address = socket.local_addr().expect("a bound socket has an address");
        let over = Arc::new(AtomicBool::new(false));
        let ends = over.clone();
        let thread = std::thread::spawn(move || serve(&socket, users, &ends));
        Self { address, over, thread: Some(thread) }
    }

    fn stop(mut self) -> Authority {
        self.over.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("it is stopped once");
        thread.join().expect("the device does not panic")
    }
}

fn serve(socket: &UdpSocket, users: Vec<User>, over: &AtomicBool) -> Authority {
    let id = EngineId::new(b"\x80\x00\x00\x09\x04pantau").expect("short");
    let began = Instant::now();
    let mut authority = Authority::new(id, 3, Duration::ZERO, users);
    let (mut buffer, mut out, mut reply) = (vec![0; 65_535], Writer::default(), Vec::new());
    let name: Oid = SYS_NAME.parse().expect("good");
    while !over.load(Ordering::Relaxed) {
        let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
        // Not at its first second, which some tools take for none.
        let now = began.elapsed() + Duration::from_secs(100);
        match authority.open(now, &mut buffer[..length], &mut out, &mut reply) {
            Ok(Served::Request(asked)) => {
                let request = Pdu::read(&asked.scoped.pdu).expect("net-snmp asks well");
                let varbinds = vec![Varbind { name: name.view(), value: Value::OctetString(b"kudus-sw-3") }];
                let pdu = Pdu { kind: PduKind::Response, varbinds, ..request };
                authority.seal(now, &asked, |out| pdu.write(out), &mut out, &mut reply);
            }
            Ok(Served::Report(_)) => {}
            Ok(Served::Silent(_)) | Err(_) => continue,
        }
        socket.send_to(&reply, from).expect("loopback takes it");
    }
    authority
}

/// What snmpget prints.
fn snmpget(address: SocketAddr, words: &[String]) -> Option<String> {
    let mut command = peer("usr/bin/snmpget")?;
    let folder = tempfile::tempdir().expect("a temporary folder");
    command.env("SNMP_PERSISTENT_DIR", folder.path()).env("MIBS", "");
    command.args(["-v3", "-t", "5", "-r", "0", "-Oqv"]).args(words).arg(address.to_string()).arg(SYS_NAME);
    let output = command.output().expect("snmpget can be run");
    let text = if output.status.success() { output.stdout } else { output.stderr };
    Some(String::from_utf8_lossy(&text).trim().to_owned())
}

#[test]
fn net_snmp_s_tools_ask_an_authority() {
    let device = Device::start(Pair::all().into_iter().map(Pair::user).collect());
    for pair in Pair::all() {
        let Some(answer) = snmpget(device.address, &pair.words()) else { return drop(device.stop()) };
        assert_eq!(answer, "\"kudus-sw-3\"", "{}", pair.name());
    }
    let check = |words: Vec<String>, expected: &str| {
        let answer = snmpget(device.address, &words).expect("it was there a moment ago");
        assert!(answer.contains(expected), "{expected:?} in {answer:?}");
    };
    let words = |pair: Pair, from: &str, to: &str| {
        pair.words().into_iter().map(|word| if word == from { to.to_owned() } else { word }).collect()
    };
    let pair = Pair(Some(AuthProtocol::Sha256), Some(PrivProtocol::Aes128));
    check(words(pair, AUTH, "another phrase"), "Authentication failure");
    check(words(pair, &pair.name(), "nobody"), "Unknown user name");
    check(words(pair, "authPriv", "authNoPriv"), "Unsupported security level");
    check(words(pair, PRIVACY, "another phrase"), "Decryption error");
    let stats = device.stop().stats();
    let counted = (
        stats.wrong_digests,
        stats.unknown_user_names,
        stats.unsupported_sec_levels,
        stats.decryption_errors,
    );
    assert_eq!(counted, (1, 1, 1, 1));
}
