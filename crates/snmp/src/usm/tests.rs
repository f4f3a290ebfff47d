//! A manager's peer and an authority, against each other, against net-snmp's packets, and against forgers.

use std::time::Duration;

use proptest::prelude::*;

use super::vectors::hex;
use super::*;
use crate::ber::{Writer, tag};
use crate::v3::{Head, Message, Scoped};
use crate::{Oid, Pdu, PduKind, Request, Value, Varbind};

const AUTH: &[u8] = b"golden auth phrase";
const PRIVACY: &[u8] = b"golden priv phrase";

fn user(auth: AuthProtocol, privacy: PrivProtocol) -> User {
    User::new(b"alice", Some((auth, AUTH)), Some((privacy, PRIVACY))).expect("good phrases")
}

fn alice() -> User {
    user(AuthProtocol::Sha256, PrivProtocol::Aes128)
}

fn engine_id(last: u8) -> EngineId {
    EngineId::new(&[0x80, 0, 0x1f, 0x88, 4, b'x', last]).expect("short")
}

const fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A device that answers every request with its name.
struct Device {
    authority: Authority,
    out: Writer,
}

const NAME: &str = "1.3.6.1.2.1.1.5.0";

impl Device {
    /// In its 7th boot, which was 1,000 s before the manager's clock began.
    fn new(last: u8, users: impl IntoIterator<Item = User>) -> Self {
        let authority = Authority::new(engine_id(last), 7, Duration::ZERO, users);
        Self { authority, out: Writer::default() }
    }

    /// The answer to a packet; none if the device says nothing.
    fn answer(&mut self, now: Duration, packet: &[u8]) -> Option<Vec<u8>> {
        let (mut packet, mut reply) = (packet.to_vec(), Vec::new());
        match self.authority.open(now, &mut packet, &mut self.out, &mut reply) {
            Ok(Served::Request(asked)) => {
                let request = Pdu::read(&asked.scoped.pdu).expect("a request");
                let name: Oid = NAME.parse().expect("good");
                let varbinds = vec![Varbind { name: name.view(), value: Value::OctetString(b"golden") }];
                let pdu = Pdu { kind: PduKind::Response, varbinds, third: 0, ..request };
                self.authority.seal(now, &asked, |out| pdu.write(out), &mut self.out, &mut reply);
                Some(reply)
            }
            Ok(Served::Report(_)) => Some(reply),
            Ok(Served::Silent(_)) | Err(_) => None,
        }
    }
}

/// A manager with one request under way.
struct Manager {
    peer: Peer,
    exchange: Exchange,
    next_id: i32,
    out: Writer,
}

/// What came of a packet, without borrowing from it.
#[derive(Clone, Debug, PartialEq)]
enum Outcome {
    /// The text in the answer.
    Text(String),
    Again,
    Refused(Refusal, bool),
    Fault(&'static str),
}

impl Manager {
    fn new(user: User) -> Self {
        let peer = Peer::new(user, Context::default());
        Self { peer, exchange: Exchange::default(), next_id: 0x0101_0101, out: Writer::default() }
    }

    /// The next datagram of this exchange.
    fn seal(&mut self, now: Duration) -> (Sealed, Vec<u8>) {
        self.next_id += 1;
        let request = Request::get([NAME.parse().expect("good")]);
        let (id, mut packet) = (self.next_id, Vec::new());
        let pdu = |out: &mut Writer| request.pdu(id).write(out);
        let sealed = self.peer.seal(now, &mut self.exchange, id, 65_507, pdu, &mut self.out, &mut packet);
        assert_eq!(crate::v3::message_id(&packet), Ok(id));
        (sealed, packet)
    }

    fn open(&mut self, now: Duration, packet: &[u8]) -> Outcome {
        let mut packet = packet.to_vec();
        match self.peer.open(now, &mut self.exchange, &mut packet) {
            Ok(Opened::Pdu(scoped)) => {
                let pdu = Pdu::read(&scoped.pdu).expect("a PDU");
                let Some(Varbind { value: Value::OctetString(text), .. }) = pdu.varbinds.first() else {
                    panic!("another answer: {pdu:?}")
                };
                Outcome::Text(String::from_utf8_lossy(text).into_owned())
            }
            Ok(Opened::Again) => Outcome::Again,
            Ok(Opened::Refused { why, authentic }) => Outcome::Refused(why, authentic),
            Err(fault) => Outcome::Fault(fault.as_str()),
        }
    }

    /// One request, sent again whenever it must be: what came of it at last, and how many datagrams it took.
    fn ask(&mut self, now: Duration, device: &mut Device) -> (Outcome, usize) {
        self.exchange = Exchange::default();
        for sent in 1.. {
            let (_, packet) = self.seal(now);
            let reply = device.answer(now, &packet).expect("an answer");
            match self.open(now, &reply) {
                Outcome::Again => assert!(sent < 3, "a request is sent again twice at most"),
                outcome => return (outcome, sent),
            }
        }
        unreachable!("the loop ends by its assertion")
    }
}

fn golden() -> Outcome {
    Outcome::Text("golden".to_owned())
}

#[test]
fn every_pair_of_protocols_is_spoken() {
    for auth in AuthProtocol::ALL {
        for privacy in PrivProtocol::ALL {
            let (mut device, mut manager) =
                (Device::new(1, [user(auth, privacy)]), Manager::new(user(auth, privacy)));
            assert_eq!(manager.ask(at(1000), &mut device), (golden(), 2), "{auth} {privacy}");
            assert_eq!(manager.ask(at(1060), &mut device), (golden(), 1), "{auth} {privacy}");
        }
        let user = User::new(b"bob", Some((auth, AUTH)), None).expect("good");
        let (mut device, mut manager) = (Device::new(1, [user.clone()]), Manager::new(user));
        assert_eq!(manager.ask(at(1000), &mut device), (golden(), 2), "{auth}");
    }
    let nobody = User::new(b"nobody", None, None).expect("good");
    let (mut device, mut manager) = (Device::new(1, [nobody.clone()]), Manager::new(nobody));
    assert_eq!(manager.ask(at(1000), &mut device), (golden(), 2));
    assert_eq!(manager.peer.engine_id(), Some(&engine_id(1)));
}

/// A discovery and a request as net-snmp 5.9.3's `snmpget` sent them, and the answers of Debian's `snmpd`.
struct Captured {
    user: &'static [u8],
    auth: AuthProtocol,
    privacy: PrivProtocol,
    discovery_id: i32,
    report: &'static str,
    request: &'static str,
    response: &'static str,
}

const CAPTURED: [Captured; 2] = [
    Captured {
        user: b"sha256aes",
        auth: AuthProtocol::Sha256,
        privacy: PrivProtocol::Aes128,
        discovery_id: 0x3cf2_cf13,
        report: "30650201033011020 43cf2cf13020300ffe304010002010304 1b3019040b80001f880302fc00000001020101020101040004
            0004003030040b80001f880302fc000000010400a81f0204350e20560201000201003011300f060a2b060106030f01010400410107",
        request: "30818d020103301102043cf2cf12020300ffe30401070201030444304204 0b80001f880302fc00000001020101020101
            0409736861323536616573 0418662f25d8bccf6b6cad4b63aa0454d1e2c3aa0d6167eb4f33 0408c68ca057824d8454
            042f765851c3df28602c3b0c18e373ebb8e0f0169167388c7c2aacc62406db1bd0f7a8eb5417bc27c44091ddd7418558d4",
        response: "308193020103301102043cf2cf12020300ffe304010302010304443042040b80001f880302fc00000001020101020101
            0409736861323536616573 0418ff344a667207799d1c83309914727d8e22c0fd88f1755eea 040816f1b11e0e27ec0e
            0435d9833b0e1b6f95dd0c9af696cefa5c1347b2913a34c68684fe0201bdea6127f20032eb0abee92e6b4ea8c130f50792cacca899884f",
    },
    Captured {
        user: b"md5des",
        auth: AuthProtocol::Md5,
        privacy: PrivProtocol::Des,
        discovery_id: 0x210f_b566,
        report: "306502010330110204210fb566020300ffe3040100020103041b3019040b80001f880302fc00000001020101020101040004
            0004003030040b80001f880302fc000000010400a81f0204378d750d0201000201003011300f060a2b060106030f01010400410108",
        request: "307f02010330110204210fb565020300ffe3040107020103043530330 40b80001f880302fc00000001020101020101
            04066d6435646573 040c276138a9de8b2565b8d96536 0408000000011a1844eb
            0430bc8b80be42ab9801a8d471dbc94515aae6dea2de8109aae20c76d1006ba4d3f31ec7dfbbb450670a7c543b52bf11834d",
        response: "30818702010330110204210fb565020300ffe304010302010304353033040b80001f880302fc00000001020101020101
            04066d6435646573 040cb85adc03bf553ef88ead4879 040800000001790f6aaa
            043845ab91465d727e352641fb066bda16cffafc9500f1e63ec369cac47464a8b19e547bf08080b68b26f27ba05a35b710b99d4506b684441f3f",
    },
];

#[test]
fn net_snmp_s_answers_are_opened() {
    for Captured { user, auth, privacy, discovery_id, report, response, .. } in CAPTURED {
        let user = User::new(user, Some((auth, AUTH)), Some((privacy, PRIVACY))).expect("good");
        let mut manager = Manager::new(user);
        manager.next_id = discovery_id - 1;
        assert_eq!(manager.seal(at(5)).0, Sealed::Discovery);
        assert_eq!(manager.open(at(5), &hex(report)), Outcome::Again);
        manager.next_id = discovery_id - 2;
        assert_eq!(manager.seal(at(5)).0, Sealed::Request);
        let response = hex(response);
        for at_octet in 0..response.len() {
            let mut damaged = response.clone();
            damaged[at_octet] ^= 0x20;
            assert!(matches!(manager.open(at(5), &damaged), Outcome::Fault(_)), "octet {at_octet}");
        }
        assert_eq!((manager.peer.engine_id(), manager.peer.clock(at(5))), (None, None));
        assert_eq!(manager.open(at(5), &response), golden());
        assert_eq!(manager.peer.clock(at(15)), Some((1, 11)));
    }
}

#[test]
fn net_snmp_s_requests_are_opened() {
    for Captured { user, auth, privacy, request, .. } in CAPTURED {
        let user = User::new(user, Some((auth, AUTH)), Some((privacy, PRIVACY))).expect("good");
        let id = EngineId::new(&hex("80001f880302fc00000001")).expect("short");
        let mut authority = Authority::new(id, 1, at(100), [user]);
        let (mut out, mut reply) = (Writer::default(), Vec::new());
        let mut packet = hex(request);
        let served = authority.open(at(101), &mut packet, &mut out, &mut reply);
        let Ok(Served::Request(asked)) = served else { panic!("{served:?}") };
        let pdu = Pdu::read(&asked.scoped.pdu).expect("a PDU");
        assert_eq!((pdu.kind, pdu.varbinds[0].name.to_string()), (PduKind::Get, NAME.to_owned()));
        assert_eq!(asked.scoped.context_engine_id, id.as_bytes());
    }
}

#[test]
fn a_reboot_costs_one_round_trip_and_a_late_clock_too() {
    let (mut device, mut manager) = (Device::new(1, [alice()]), Manager::new(alice()));
    assert_eq!(manager.ask(at(1000), &mut device), (golden(), 2));
    device.authority.reboot(at(1010));
    assert_eq!(manager.ask(at(1011), &mut device), (golden(), 2));
    assert_eq!(manager.peer.clock(at(1011)), Some((8, 1)));
    // The device's clock jumps by an hour without a boot.
    device.authority = Authority::new(engine_id(1), 8, at(0), [alice()]);
    assert_eq!(manager.ask(at(4700), &mut device), (golden(), 2));
    assert_eq!(manager.ask(at(4700), &mut device), (golden(), 1));
    assert_eq!(device.authority.stats().not_in_time_windows, 1);
}

#[test]
fn a_clock_that_went_back_is_learned_anew_after_four_answers() {
    let (mut device, mut manager) = (Device::new(1, [alice()]), Manager::new(alice()));
    assert_eq!(manager.ask(at(1000), &mut device), (golden(), 2));
    device.authority = Authority::new(engine_id(1), 1, at(1000), [alice()]);
    for _ in 0..4 {
        assert_eq!(manager.ask(at(1001), &mut device), (Outcome::Refused(Refusal::ClockWentBack, true), 1));
        assert_eq!(manager.peer.engine_id(), Some(&engine_id(1)));
    }
    assert_eq!(manager.ask(at(1002), &mut device), (golden(), 2));
    assert_eq!(manager.peer.clock(at(1002)), Some((1, 2)));
}

#[test]
fn an_engine_at_the_end_of_its_boots_is_named() {
    let mut device = Device::new(1, [alice()]);
    device.authority = Authority::new(engine_id(1), i32::MAX as u32, at(0), [alice()]);
    device.authority.reboot(at(10));
    let mut manager = Manager::new(alice());
    let outcome = manager.ask(at(1000), &mut device);
    assert_eq!(outcome, (Outcome::Refused(Refusal::BootsExhausted, true), 2));
    assert_eq!(manager.peer.clock(at(1000)), None);
}

#[test]
fn a_wrong_credential_is_named() {
    let check = |other: User, why| {
        let (mut device, mut manager) = (Device::new(1, [alice()]), Manager::new(other));
        assert_eq!(manager.ask(at(1000), &mut device), (Outcome::Refused(why, false), 2));
        assert_eq!(manager.ask(at(1000), &mut device).1, 1);
        assert_eq!(manager.peer.engine_id(), None, "nothing was authenticated");
    };
    let (auth, privacy) = ((AuthProtocol::Sha256, AUTH), (PrivProtocol::Aes128, PRIVACY));
    let new = |name: &[u8], auth, privacy| User::new(name, auth, privacy).expect("good");
    check(new(b"mallory", Some(auth), Some(privacy)), Refusal::UnknownUser);
    check(new(b"alice", Some((auth.0, b"another phrase")), Some(privacy)), Refusal::WrongDigest);
    check(new(b"alice", Some((AuthProtocol::Sha1, AUTH)), Some(privacy)), Refusal::WrongDigest);
    check(new(b"alice", Some(auth), None), Refusal::UnsupportedLevel);
    check(new(b"alice", None, None), Refusal::UnsupportedLevel);
    // The device could authenticate this one, and so its report is believed.
    let (mut device, mut manager) = (
        Device::new(1, [alice()]),
        Manager::new(new(b"alice", Some(auth), Some((privacy.0, b"another phrase")))),
    );
    assert_eq!(manager.ask(at(1000), &mut device), (Outcome::Refused(Refusal::DecryptionError, true), 2));
    assert_eq!(manager.peer.engine_id(), Some(&engine_id(1)));
    assert_eq!(device.authority.stats().decryption_errors, 1);
}

/// A manager that knows its device, with a request just sent.
fn acquainted() -> (Device, Manager, Vec<u8>) {
    let (mut device, mut manager) = (Device::new(1, [alice()]), Manager::new(alice()));
    assert_eq!(manager.ask(at(1000), &mut device), (golden(), 2));
    manager.exchange = Exchange::default();
    let (sealed, packet) = manager.seal(at(1001));
    assert_eq!(sealed, Sealed::Request);
    (device, manager, packet)
}

/// A report without a MAC, from whatever engine and clock its forger likes.
fn forged(message_id: i32, why: Refusal, engine_id: EngineId, boots: u32) -> Vec<u8> {
    let level = Level::NoAuthNoPriv;
    let head = Head {
        message_id,
        max_size: 65_507,
        level,
        reportable: false,
        engine_id,
        boots,
        time: 5,
        user: b"alice",
        mac: b"",
        salt: b"",
    };
    let (mut out, mut packet) = (Writer::default(), Vec::new());
    head.write(&mut out, |out| Scoped::write(out, engine_id.as_bytes(), b"", |out| why.write(out, 1, 1)));
    out.finish(&mut packet);
    packet
}

#[test]
fn forged_reports_change_nothing() {
    for why in [Refusal::NotInTimeWindow, Refusal::WrongDigest, Refusal::UnknownUser, Refusal::UnknownEngine]
    {
        let (mut device, mut manager, request) = acquainted();
        let report = forged(manager.next_id, why, engine_id(1), 900);
        for _ in 0..1000 {
            assert_eq!(manager.open(at(1001), &report), Outcome::Refused(why, false));
        }
        let answer = device.answer(at(1001), &request).expect("an answer");
        assert_eq!(manager.open(at(1001), &answer), golden());
        assert_eq!(manager.open(at(1001), &answer), Outcome::Fault("wrong_message_id"));
        assert_eq!(manager.peer.clock(at(1001)), Some((7, 1001)));
        assert_eq!(manager.ask(at(1002), &mut device), (golden(), 1));
    }
}

#[test]
fn a_forged_engine_id_is_tried_once_and_forgotten() {
    let (mut device, mut manager, _) = acquainted();
    let report = forged(manager.next_id, Refusal::UnknownEngine, engine_id(66), 900);
    assert_eq!(manager.open(at(1001), &report), Outcome::Again);
    assert_eq!(manager.peer.engine_id(), Some(&engine_id(1)));
    let (_, probe) = manager.seal(at(1001));
    assert_eq!(Message::read(&probe).expect("good").head.engine_id, engine_id(66));
    let answer = device.answer(at(1001), &probe).expect("a report");
    assert_eq!(manager.open(at(1001), &answer), Outcome::Refused(Refusal::UnknownEngine, false));
    assert_eq!(manager.peer.clock(at(1001)), Some((7, 1001)));
    assert_eq!(manager.ask(at(1002), &mut device), (golden(), 1));
}

#[test]
fn a_device_that_was_exchanged_is_found_in_one_round_trip() {
    let (_, mut manager, packet) = acquainted();
    let mut other = Device::new(2, [alice()]);
    let report = other.answer(at(1001), &packet).expect("a report");
    assert_eq!(manager.open(at(1001), &report), Outcome::Again);
    let (_, probe) = manager.seal(at(1001));
    let answer = other.answer(at(1001), &probe).expect("an answer");
    assert_eq!(manager.open(at(1001), &answer), golden());
    assert_eq!(manager.peer.engine_id(), Some(&engine_id(2)));
    assert_eq!(manager.ask(at(1002), &mut other), (golden(), 1));
}

#[test]
fn a_storm_of_reports_is_one_report() {
    let (mut device, mut manager, _) = acquainted();
    device.authority.reboot(at(1001));
    let (_, packet) = manager.seal(at(1001));
    let report = device.answer(at(1001), &packet).expect("a report");
    assert_eq!(manager.open(at(1001), &report), Outcome::Again);
    for _ in 0..1000 {
        assert_eq!(manager.open(at(1001), &report), Outcome::Fault("wrong_message_id"));
    }
    // A device that says so again and again is asked once more, not for ever.
    let (_, packet) = manager.seal(at(1001));
    device.authority.reboot(at(1002));
    let report = device.answer(at(1002), &packet).expect("a report");
    assert_eq!(manager.open(at(1002), &report), Outcome::Refused(Refusal::NotInTimeWindow, true));
    assert_eq!(manager.ask(at(1002), &mut device), (golden(), 1), "the clock was learned all the same");
}

#[test]
fn a_doubled_report_is_no_second_one_though_the_message_id_stays() {
    let (mut device, mut manager) = (Device::new(1, [alice()]), Manager::new(alice()));
    let again = |manager: &mut Manager, now| {
        manager.next_id -= 1;
        manager.seal(at(now)).1
    };
    let (_, packet) = manager.seal(at(1000));
    let report = device.answer(at(1000), &packet).expect("a report");
    assert_eq!(manager.open(at(1000), &report), Outcome::Again);
    let packet = again(&mut manager, 1000);
    assert_eq!(manager.open(at(1000), &report), Outcome::Fault("wrong_message_id"));
    device.authority.reboot(at(1000));
    let second = device.answer(at(1000), &packet).expect("a report");
    assert_eq!(manager.open(at(1000), &second), Outcome::Again);
    let packet = again(&mut manager, 1000);
    assert_eq!(manager.open(at(1000), &second), Outcome::Fault("wrong_message_id"));
    assert_eq!(manager.open(at(1000), &report), Outcome::Fault("wrong_message_id"));
    let answer = device.answer(at(1000), &packet).expect("an answer");
    assert_eq!(manager.open(at(1000), &answer), golden());
}

#[test]
fn a_forged_first_engine_id_is_corrected() {
    let (mut device, mut manager) = (Device::new(1, [alice()]), Manager::new(alice()));
    manager.seal(at(1000));
    let report = forged(manager.next_id, Refusal::UnknownEngine, engine_id(66), 900);
    assert_eq!(manager.open(at(1000), &report), Outcome::Again);
    let (_, packet) = manager.seal(at(1000));
    let report = device.answer(at(1000), &packet).expect("a report");
    assert_eq!(manager.open(at(1000), &report), Outcome::Refused(Refusal::UnknownEngine, false));
    assert_eq!(manager.ask(at(1001), &mut device), (golden(), 2));
}

#[test]
fn replayed_and_late_answers_are_refused() {
    let (mut device, mut manager, first) = acquainted();
    let old = device.answer(at(1001), &first).expect("an answer");
    assert_eq!(manager.open(at(1001), &old), golden());
    let id = manager.next_id;
    assert_eq!(manager.ask(at(1100), &mut device), (golden(), 1));
    // The same message id comes again, and so does the recorded answer.
    let check = |manager: &mut Manager, now, expected| {
        manager.exchange = Exchange::default();
        manager.next_id = id - 1;
        manager.seal(at(now));
        assert_eq!(manager.open(at(now), &old), expected, "{now}");
    };
    check(&mut manager, 1151, golden());
    check(&mut manager, 1152, Outcome::Fault("stale"));
    device.authority.reboot(at(1152));
    assert_eq!(manager.ask(at(1153), &mut device), (golden(), 2));
    check(&mut manager, 1153, Outcome::Fault("stale"));
}

#[test]
fn silence_leads_to_discovery_again() {
    let (_, mut manager, _) = acquainted();
    let mut sealed = |seconds| {
        manager.exchange = Exchange::default();
        manager.seal(at(seconds)).0
    };
    // One was sealed at 1001. Many at once are no silence.
    for _ in 0..20 {
        assert_eq!(sealed(1010), Sealed::Request);
    }
    let sealed = [1011, 1021, 1031, 1041, 1051, 1061, 1071, 1081].map(sealed);
    let discoveries: Vec<_> = (0..8).filter(|&at| sealed[at] == Sealed::Discovery).collect();
    assert_eq!(discoveries, [0, 4]);

    // The device comes back with a boot more, and never reports what lies outside its window.
    let mut device = Device::new(1, [alice()]);
    device.authority.reboot(at(1990));
    while manager.seal(at(2000)).0 != Sealed::Discovery {}
    let report = forged(manager.next_id, Refusal::UnknownEngine, engine_id(1), 8);
    assert_eq!(manager.open(at(2000), &report), Outcome::Again);
    let (_, packet) = manager.seal(at(2000));
    let answer = device.answer(at(2000), &packet).expect("an answer");
    assert_eq!(manager.open(at(2000), &answer), golden());
    assert_eq!(manager.peer.clock(at(2000)), Some((8, 10)));
}

#[test]
fn requests_that_are_under_way_at_once_do_not_disturb_each_other() {
    let (mut device, mut manager) = (Device::new(1, [alice()]), Manager::new(alice()));
    let round = |manager: &mut Manager, device: &mut Device, now, expected| {
        let mut under_way: Vec<_> = (0..8)
            .map(|_| {
                manager.exchange = Exchange::default();
                let (_, packet) = manager.seal(at(now));
                (manager.exchange, packet)
            })
            .collect();
        for (exchange, packet) in &mut under_way {
            let answer = device.answer(at(now), packet).expect("an answer");
            manager.exchange = *exchange;
            assert_eq!(manager.open(at(now), &answer), expected);
            *exchange = manager.exchange;
        }
        for (exchange, _) in under_way.iter().filter(|_| expected == Outcome::Again) {
            manager.exchange = *exchange;
            let (_, packet) = manager.seal(at(now));
            let answer = device.answer(at(now), &packet).expect("an answer");
            assert_eq!(manager.open(at(now), &answer), golden());
        }
    };
    round(&mut manager, &mut device, 1000, Outcome::Again);
    round(&mut manager, &mut device, 1060, golden());
    device.authority.reboot(at(1100));
    round(&mut manager, &mut device, 1120, Outcome::Again);
}

#[test]
fn a_device_that_answers_only_discoveries_is_told_from_a_dead_one() {
    let (mut device, mut manager) = (Device::new(1, [alice()]), Manager::new(alice()));
    let (_, packet) = manager.seal(at(1000));
    assert!(!manager.peer.only_discovered());
    let report = device.answer(at(1000), &packet).expect("a report");
    assert_eq!(manager.open(at(1000), &report), Outcome::Again);
    assert!(manager.peer.only_discovered());
    assert_eq!(manager.ask(at(1001), &mut device), (golden(), 1));
    assert!(!manager.peer.only_discovered());
}

#[test]
fn an_answer_must_be_to_the_context_and_level_that_was_asked() {
    let context = Context { engine_id: None, name: b"vrf-a".to_vec() };
    let (mut device, mut manager, _) = acquainted();
    manager.peer.context = context.clone();
    assert_eq!(manager.ask(at(1001), &mut device), (golden(), 1));
    let (_, packet) = manager.seal(at(1001));
    let answer = device.answer(at(1001), &packet).expect("an answer");
    manager.peer.context = Context::default();
    assert_eq!(manager.open(at(1001), &answer), Outcome::Fault("wrong_context"));
    manager.peer.context = Context { engine_id: Some(engine_id(9)), ..context.clone() };
    assert_eq!(manager.open(at(1001), &answer), Outcome::Fault("wrong_context"));
    manager.peer.context = context;
    assert_eq!(manager.open(at(1001), &answer), golden());

    // A device that lost the user's privacy answers in clear, with the right MAC.
    let (_, packet) = manager.seal(at(1001));
    let head = Message::read(&packet).expect("good").head;
    let plain = User::new(b"alice", Some((AuthProtocol::Sha256, AUTH)), None).expect("good");
    let mut careless = Device::new(1, [plain.clone()]);
    let (mut out, mut request) = (Writer::default(), Vec::new());
    let keys = plain.localise(&engine_id(1));
    let asked = Head { level: Level::AuthNoPriv, ..head };
    let name: Oid = NAME.parse().expect("good");
    let pdu = Request::get([name]);
    let context = super::seal::ContextRef { engine_id: &[1], name: b"vrf-a" };
    keys.seal(asked, || [0; 8], context, |out| pdu.pdu(1).write(out), &mut out, &mut request);
    let answer = careless.answer(at(1001), &request).expect("an answer");
    assert_eq!(manager.open(at(1001), &answer), Outcome::Fault("wrong_security_level"));
}

#[test]
fn an_authority_counts_and_reports_what_it_refuses() {
    let (mut device, _, request) = acquainted();
    let mut quiet = request.clone();
    let flags = quiet.windows(3).position(|octets| octets == [4, 1, 7]).expect("the flags") + 2;
    quiet[flags] &= !4;
    assert_eq!(device.answer(at(1001), &quiet), None);
    assert_eq!(device.authority.stats().wrong_digests, 1, "the flags are covered by the MAC");
    assert_eq!(device.answer(at(1152), &request).map(|report| report.len() > 100), Some(true));
    assert_eq!(device.authority.stats().not_in_time_windows, 1);
    let expected =
        Stats { unknown_engine_ids: 1, wrong_digests: 1, not_in_time_windows: 1, ..Stats::default() };
    assert_eq!(device.authority.stats(), expected);
}

#[test]
fn a_report_of_the_caller_s_own_is_authenticated() {
    let (mut device, mut manager, mut packet) = acquainted();
    let (mut out, mut report) = (Writer::default(), Vec::new());
    let served = device.authority.open(at(1001), &mut packet, &mut out, &mut report);
    let Ok(Served::Request(asked)) = served else { panic!("{served:?}") };
    device.authority.report(at(1001), &asked, Refusal::UnknownContext, &mut out, &mut report);
    assert_eq!(manager.open(at(1001), &report), Outcome::Refused(Refusal::UnknownContext, true));
}

#[test]
fn salts_never_repeat() {
    let (_, mut manager, _) = acquainted();
    let clone = manager.peer.user().clone();
    let mut seen = std::collections::HashSet::new();
    for _ in 0..1000 {
        manager.exchange = Exchange::default();
        let (sealed, packet) = manager.seal(at(1001));
        if sealed == Sealed::Discovery {
            continue;
        }
        let salt = Message::read(&packet).expect("good").head.salt.to_vec();
        assert!(salt.len() == 8 && seen.insert(salt));
        assert!(seen.insert(clone.next_salt().to_vec()));
    }
}

#[test]
fn padding_behind_an_enciphered_pdu_is_left_out() {
    let check = |padding: usize, expected| {
        let (mut device, mut manager, mut packet) = acquainted();
        let (mut out, mut report) = (Writer::default(), Vec::new());
        let served = device.authority.open(at(1001), &mut packet, &mut out, &mut report);
        let Ok(Served::Request(asked)) = served else { panic!("{served:?}") };
        let request = Pdu::read(&asked.scoped.pdu).expect("a request");
        let name: Oid = NAME.parse().expect("good");
        let varbinds = vec![Varbind { name: name.view(), value: Value::OctetString(b"golden") }];
        let pdu = Pdu { kind: PduKind::Response, varbinds, ..request };
        // Zeros written first lie behind the rest.
        let mut padded = Vec::new();
        out.element(tag::SEQUENCE, |out| {
            pdu.write(out);
            out.octets(tag::OCTET_STRING, asked.scoped.context_name);
            out.octets(tag::OCTET_STRING, asked.scoped.context_engine_id);
        });
        out.pad(padding);
        out.finish(&mut padded);
        let reply = sealed_raw(&device.authority, manager.next_id, &padded);
        assert_eq!(manager.open(at(1001), &reply), expected, "{padding}");
    };
    check(0, golden());
    check(15, golden());
    check(16, Outcome::Fault("undecipherable"));
}

/// A reply to alice whose enciphered part is this.
fn sealed_raw(authority: &Authority, message_id: i32, plain: &[u8]) -> Vec<u8> {
    let keys = alice().localise(authority.engine_id());
    let (boots, time) = authority.clock(at(1001));
    let (mac, cipher) = (keys.mac.expect("has one"), keys.cipher.expect("has one"));
    let (vector, mut data) = (super::cipher::Vector { boots, time, salt: [9; 8] }, plain.to_vec());
    cipher.encipher(&vector, &mut data);
    let head = Head {
        message_id,
        max_size: 65_507,
        level: Level::AuthPriv,
        reportable: false,
        engine_id: *authority.engine_id(),
        boots,
        time,
        user: b"alice",
        mac: &[0; 24],
        salt: &[9; 8],
    };
    let (mut out, mut packet) = (Writer::default(), Vec::new());
    let mac_end = head.write(&mut out, |out| out.octets(tag::OCTET_STRING, &data));
    out.finish(&mut packet);
    let at = packet.len() - mac_end - 24;
    mac.sign(&mut packet, at);
    packet
}

#[test]
fn nothing_secret_is_printed() {
    let (device, manager, _) = acquainted();
    let printed = format!("{:?} {:?} {:?}", manager.peer, device.authority, alice());
    assert!(printed.contains("alice") && printed.contains("0x80001f88"), "{printed}");
    let key = keys::from_passphrase(AuthProtocol::Sha256, AUTH);
    assert_eq!(format!("{key:?}"), "<hidden>");
    for secret in ["golden", "salt", "key"] {
        assert!(!printed.contains(secret), "{printed}");
    }
}

#[test]
fn users_that_cannot_be_are_refused() {
    let check = |name: &[u8], auth: Option<&[u8]>, privacy: Option<&[u8]>, expected| {
        let auth = auth.map(|phrase| (AuthProtocol::Md5, phrase));
        let privacy = privacy.map(|phrase| (PrivProtocol::Des, phrase));
        assert_eq!(User::new(name, auth, privacy).err(), expected);
    };
    check(b"", None, None, Some(UsmError::NameLength(0)));
    check(&[b'a'; 32], None, None, None);
    check(&[b'a'; 33], None, None, Some(UsmError::NameLength(33)));
    check(b"a", Some(b"seven77"), None, Some(UsmError::PassphraseLength(7)));
    check(b"a", Some(AUTH), Some(b""), Some(UsmError::PassphraseLength(0)));
    check(b"a", Some(&[7; 1025]), None, Some(UsmError::PassphraseLength(1025)));
    check(b"a", Some(&[7; 1024]), Some(b"12345678"), None);
    check(b"a", None, Some(PRIVACY), Some(UsmError::PrivacyAlone));
}

#[test]
fn protocols_are_named_as_people_name_them() {
    let auth = |text: &str, expected| assert_eq!(text.parse::<AuthProtocol>().ok(), expected, "{text}");
    auth("SHA", Some(AuthProtocol::Sha1));
    auth("SHA-256", Some(AuthProtocol::Sha256));
    auth("md5", Some(AuthProtocol::Md5));
    auth("sha3", None);
    let privacy = |text: &str, expected| assert_eq!(text.parse::<PrivProtocol>().ok(), expected, "{text}");
    privacy("AES", Some(PrivProtocol::Aes128));
    privacy("aes-256-c", Some(PrivProtocol::Aes256Reeder));
    privacy("AES192", Some(PrivProtocol::Aes192));
    privacy("3des", None);
    for protocol in PrivProtocol::ALL {
        privacy(protocol.as_str(), Some(protocol));
    }
    for protocol in AuthProtocol::ALL {
        auth(protocol.as_str(), Some(protocol));
    }
}

/// A user of every pair; deriving the keys takes long in a test build.
static USERS: std::sync::LazyLock<Vec<User>> = std::sync::LazyLock::new(|| {
    let pairs = AuthProtocol::ALL.into_iter().flat_map(|auth| PrivProtocol::ALL.map(|with| (auth, with)));
    let short = |&(_, with): &(AuthProtocol, PrivProtocol)| {
        // Reeder's extension hashes 1 MiB for each engine.
        !matches!(with, PrivProtocol::Aes192Reeder | PrivProtocol::Aes256Reeder)
    };
    pairs
        .filter(short)
        .map(|(auth, with)| user(auth, with))
        .chain([User::new(b"alice", None, None).expect("good")])
        .collect()
});

proptest! {
    #[test]
    fn what_is_sealed_is_opened(
        which in any::<prop::sample::Index>(),
        (asked, answered) in (prop::collection::vec(any::<u8>(), 0..400), prop::collection::vec(any::<u8>(), 0..3000)),
        name in prop::collection::vec(any::<u8>(), 0..64),
        trailing in 0..4usize,
    ) {
        let user = which.get(&USERS);
        let mut device = Device::new(1, [user.clone()]);
        let mut manager = Manager::new(user.clone());
        let (_, packet) = manager.seal(at(1000));
        let report = device.answer(at(1000), &packet).expect("a report");
        prop_assert_eq!(manager.open(at(1000), &report), Outcome::Again);
        manager.peer.context.name.clone_from(&name);

        let (mut out, mut request, mut answer) = (Writer::default(), Vec::new(), Vec::new());
        let pdu = |out: &mut Writer| out.octets(tag::GET_BULK, &asked);
        manager.peer.seal(at(1000), &mut manager.exchange, 77, 65_507, pdu, &mut out, &mut request);
        request.extend(vec![0xee; trailing]);
        let served = device.authority.open(at(1000), &mut request, &mut out, &mut answer);
        let Ok(Served::Request(served)) = served else { panic!("{served:?}") };
        prop_assert_eq!((served.scoped.pdu.tag, served.scoped.pdu.content), (tag::GET_BULK, &asked[..]));
        prop_assert_eq!((served.scoped.context_name, served.max_size), (&name[..], 65_507));

        let pdu = |out: &mut Writer| out.octets(tag::RESPONSE, &answered);
        device.authority.seal(at(1000), &served, pdu, &mut out, &mut answer);
        answer.extend(vec![0xee; trailing]);
        let opened = manager.peer.open(at(1000), &mut manager.exchange, &mut answer);
        let Ok(Opened::Pdu(scoped)) = opened else { panic!("{opened:?}") };
        prop_assert_eq!(scoped.pdu.content, &answered[..]);
    }

    #[test]
    fn no_packet_with_a_changed_octet_is_believed(at_octet in 0..400usize, change in 1..=255u8) {
        let (mut device, mut manager, request) = acquainted();
        let answer = device.answer(at(1001), &request).expect("an answer");
        let damage = |packet: &[u8]| {
            let mut packet = packet.to_vec();
            let length = packet.len();
            packet[at_octet % length] ^= change;
            packet
        };
        prop_assert!(matches!(manager.open(at(1001), &damage(&answer)), Outcome::Fault(_)));
        prop_assert_eq!(manager.open(at(1001), &answer), golden());
        let (mut out, mut report) = (Writer::default(), Vec::new());
        let mut damaged = damage(&request);
        let served = device.authority.open(at(1001), &mut damaged, &mut out, &mut report);
        prop_assert!(!matches!(served, Ok(Served::Request(_))), "{:?}", served);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let (mut device, mut manager, _) = acquainted();
        manager.open(at(1001), &bytes);
        device.answer(at(1001), &bytes);
    }
}
