//! What a device without faults answers.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::LazyLock;

use proptest::prelude::*;
use snmp::ber::Writer;
use snmp::usm::{AuthProtocol, Context, Exchange, Opened, Peer, PrivProtocol, Refusal, Sealed};
use snmp::{ErrorStatus, Message, Pdu, PduKind, Value, Varbind, Version};

use super::*;
use crate::recording::Recording;
use crate::switch::Switch;

pub(super) const ZERO: Duration = Duration::ZERO;

pub(super) fn oid(text: &str) -> Oid {
    text.parse().expect("a good OID")
}

pub(super) fn device(text: &str) -> Device {
    let recording = Recording::parse(text).expect("a good recording");
    Device::new(Arc::new(Tree::still(&recording).expect("small"))).community("public")
}

/// What is asked: kind, non-repeaters, repetitions, names.
pub(super) fn packet(version: Version, kind: PduKind, numbers: (i32, i32), names: &[Oid]) -> Vec<u8> {
    let varbinds = names.iter().map(|name| Varbind { name: name.view(), value: Value::Null }).collect();
    let pdu = Pdu { kind, request_id: 77, second: numbers.0, third: numbers.1, varbinds };
    let message = Message { version, community: b"public", pdu, trailing: 0 };
    let mut packet = Vec::new();
    message.write(&mut Writer::default(), &mut packet);
    packet
}

/// The datagrams that come back.
pub(super) fn send(device: &Device, now: Duration, mut packet: Vec<u8>) -> Vec<Vec<u8>> {
    let mut out = Outbox::default();
    device.handle(now, &mut packet, &mut out);
    out.datagrams().map(|(_, bytes)| bytes.to_vec()).collect()
}

pub(super) type Cells = Vec<(String, String)>;

fn told(value: &Value<'_>) -> String {
    match value {
        Value::OctetString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        other => format!("{other:?}"),
    }
}

pub(super) fn cells(pdu: &Pdu<'_>) -> Cells {
    pdu.varbinds.iter().map(|varbind| (varbind.name.to_string(), told(&varbind.value))).collect()
}

/// Status and index, or the bindings.
pub(super) fn ask_at(
    device: &Device,
    now: Duration,
    version: Version,
    kind: PduKind,
    numbers: (i32, i32),
    names: &[&str],
) -> Result<Cells, (i32, usize)> {
    let names: Vec<Oid> = names.iter().map(|name| oid(name)).collect();
    let replies = send(device, now, packet(version, kind, numbers, &names));
    assert_eq!(replies.len(), 1);
    let reply = Message::read(&replies[0]).expect("a good reply");
    assert_eq!((reply.version, reply.pdu.request_id, reply.trailing), (version, 77, 0));
    match reply.pdu.error_status() {
        ErrorStatus::NO_ERROR => Ok(cells(&reply.pdu)),
        ErrorStatus(status) => Err((status, reply.pdu.error_index())),
    }
}

#[track_caller]
fn check(
    device: &Device,
    version: Version,
    kind: PduKind,
    numbers: (i32, i32),
    names: &[&str],
    expected: Result<&[(&str, &str)], (i32, usize)>,
) {
    let got = ask_at(device, ZERO, version, kind, numbers, names);
    let expected = expected.map(|cells| {
        cells.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<Vec<_>>()
    });
    assert_eq!(got, expected, "{version} {kind:?} {names:?}");
}

const SMALL: &str = "1.3.6.1.2.1.1.1.0|4|box\n1.3.6.1.2.1.1.3.0|67|500\n1.3.6.1.2.1.2.2.1.10.1|65|11\n\
     1.3.6.1.2.1.2.2.1.10.2|65|12\n1.3.6.1.2.1.31.1.1.1.6.1|70|21\n1.3.6.1.2.1.31.1.1.1.18.1|4|end\n";

#[test]
fn get_and_get_next_are_answered_as_the_rfcs_say() {
    use PduKind::{Get, GetNext};
    use Version::{V1, V2c};
    let device = device(SMALL);
    check(&device, V2c, Get, (0, 0), &["1.3.6.1.2.1.1.1.0"], Ok(&[("1.3.6.1.2.1.1.1.0", "box")]));
    let names =
        ["1.3.6.1.2.1.1.1.1", "1.3.6.1.2.1.1.2.0", "1.3.6.1.2.1.2.2.1.10.7", "1.3.6.1.2.1.2.2.1.11.1"];
    check(
        &device,
        V2c,
        Get,
        (0, 0),
        &names,
        Ok(&[
            (names[0], "NoSuchInstance"),
            (names[1], "NoSuchObject"),
            (names[2], "NoSuchInstance"),
            (names[3], "NoSuchObject"),
        ]),
    );
    check(&device, V1, Get, (0, 0), &["1.3.6.1.2.1.1.1.0", "1.3.6.1.2.1.1.2.0"], Err((2, 2)));
    check(&device, V1, Get, (0, 0), &["1.3.6.1.2.1.31.1.1.1.6.1"], Err((2, 1)));
    let wide = ("1.3.6.1.2.1.31.1.1.1.6.1", "Counter64(21)");
    check(&device, V2c, GetNext, (0, 0), &["1.3.6.1.2.1.2.2.1.10.2"], Ok(&[wide]));
    let end = ("1.3.6.1.2.1.31.1.1.1.18.1", "end");
    check(&device, V1, GetNext, (0, 0), &["1.3.6.1.2.1.2.2.1.10.2"], Ok(&[end]));
    check(&device, V2c, GetNext, (0, 0), &[end.0], Ok(&[(end.0, "EndOfMibView")]));
    check(&device, V1, GetNext, (0, 0), &["1.3", end.0], Err((2, 2)));
}

#[test]
fn get_bulk_is_answered_as_rfc_3416_says() {
    use PduKind::GetBulk;
    let device = device(SMALL);
    let (first, second) =
        (("1.3.6.1.2.1.2.2.1.10.1", "Counter32(11)"), ("1.3.6.1.2.1.2.2.1.10.2", "Counter32(12)"));
    let (wide, end) = (("1.3.6.1.2.1.31.1.1.1.6.1", "Counter64(21)"), ("1.3.6.1.2.1.31.1.1.1.18.1", "end"));
    let over = (end.0, "EndOfMibView");
    let v2c = Version::V2c;
    let column = "1.3.6.1.2.1.2.2.1.10";
    check(&device, v2c, GetBulk, (0, 2), &[column, wide.0], Ok(&[first, end, second, over]));
    // The repetition behind which nothing follows is the last, however many were asked for.
    check(&device, v2c, GetBulk, (0, 99), &[wide.0], Ok(&[end, over]));
    check(&device, v2c, GetBulk, (1, 2), &[column, column], Ok(&[first, first, second]));
    check(&device, v2c, GetBulk, (9, 5), &[column], Ok(&[first]));
    check(&device, v2c, GetBulk, (-1, 1), &[column], Ok(&[first]));
    check(&device, v2c, GetBulk, (0, 0), &[column], Ok(&[]));
    check(&device, v2c, GetBulk, (0, -5), &[column], Ok(&[]));
    check(&device, v2c, GetBulk, (0, 5), &[], Ok(&[]));
}

#[test]
fn what_is_no_request_gets_no_answer() {
    let device = device(SMALL);
    let bulk = packet(Version::V1, PduKind::GetBulk, (0, 1), &[oid("1.3")]);
    let response = packet(Version::V2c, PduKind::Response, (0, 0), &[oid("1.3")]);
    let mut stranger = packet(Version::V2c, PduKind::Get, (0, 0), &[oid("1.3")]);
    let at = stranger.windows(6).position(|window| window == b"public").expect("there");
    stranger[at] = b'P';
    for bad in
        [bulk, response, stranger, vec![], b"\x30\x03\x02\x01\x07".to_vec(), b"GET / HTTP/1.1".to_vec()]
    {
        assert_eq!(send(&device, ZERO, bad), Vec::<Vec<u8>>::new());
    }
    let counts = device.counts();
    assert_eq!((counts.datagrams, counts.malformed, counts.refused, counts.requests), (6, 5, 1, 0));
}

#[test]
fn communities_have_views_and_contexts() {
    let other = Recording::parse("1.3.6.1.2.1.1.1.0|4|vrf").expect("good");
    let device = device(SMALL)
        .context("red", Arc::new(Tree::still(&other).expect("small")))
        .community_view("red", "red", [])
        .community_view("some", "", [oid("1.3.6.1.2.1.2"), oid("1.3.6.1.2.1.31.1.1.1.18")]);
    let walk = |community: &[u8]| {
        let mut names = Vec::new();
        let mut name = oid("1.3");
        loop {
            let ask = packet(Version::V2c, PduKind::GetNext, (0, 0), &[name]);
            let mut message = Message::read(&ask).expect("our own");
            message.community = community;
            let mut ask = Vec::new();
            message.write(&mut Writer::default(), &mut ask);
            let reply = &send(&device, ZERO, ask)[0];
            let reply = Message::read(reply).expect("good");
            let varbind = reply.pdu.varbinds[0];
            if varbind.value == Value::EndOfMibView {
                return names;
            }
            names.push(varbind.name.to_string());
            name = varbind.name.to_oid();
        }
    };
    assert_eq!(walk(b"red"), ["1.3.6.1.2.1.1.1.0"]);
    assert_eq!(walk(b"public").len(), 6);
    assert_eq!(
        walk(b"some"),
        ["1.3.6.1.2.1.2.2.1.10.1", "1.3.6.1.2.1.2.2.1.10.2", "1.3.6.1.2.1.31.1.1.1.18.1"]
    );
}

#[test]
fn no_message_is_longer_than_allowed() {
    let tree = Arc::new(Switch::default().tree().expect("small"));
    let device = Device::new(tree).community("public").max_message_size(1_400);
    let columns: Vec<Oid> = (1..=22).map(|column| oid(&format!("1.3.6.1.2.1.2.2.1.{column}"))).collect();
    let replies = send(&device, ZERO, packet(Version::V2c, PduKind::GetBulk, (0, 50), &columns));
    let reply = Message::read(&replies[0]).expect("good");
    let count = reply.pdu.varbinds.len();
    assert!((1_350..=1_400).contains(&replies[0].len()), "{}", replies[0].len());
    assert!(reply.pdu.varbinds.iter().enumerate().all(|(at, varbind)| {
        varbind.name.strip_prefix(columns[at % 22].view()).and_then(|index| index.single())
            == Some(at as u32 / 22 + 1)
    }));
    assert_eq!(device.counts().varbinds, count as u64);
    let cells: Vec<Oid> = (1..=90).map(|port| oid(&format!("1.3.6.1.2.1.2.2.1.2.{port}"))).collect();
    for (version, bindings) in [(Version::V2c, 0), (Version::V1, 90)] {
        let replies = send(&device, ZERO, packet(version, PduKind::GetNext, (0, 0), &cells));
        let reply = Message::read(&replies[0]).expect("good");
        assert_eq!(reply.pdu.error_status(), ErrorStatus::TOO_BIG);
        assert_eq!(reply.pdu.varbinds.len(), bindings, "none beside tooBig, but those of the request in v1");
    }
}

fn value_at(device: &Device, now: Duration, name: &str) -> String {
    ask_at(device, now, Version::V2c, PduKind::Get, (0, 0), &[name]).expect("an answer")[0].1.clone()
}

#[test]
fn counters_and_clocks_move_with_time_and_start_anew_after_a_reboot() {
    let recording = Recording::parse(SMALL).expect("good");
    let tree = Arc::new(Tree::moving(&recording).expect("small"));
    let device = Device::new(tree).community("public");
    let at = |seconds, name: &str| value_at(&device, Duration::from_secs(seconds), name);
    let (uptime, narrow, wide) = ("1.3.6.1.2.1.1.3.0", "1.3.6.1.2.1.2.2.1.10.1", "1.3.6.1.2.1.31.1.1.1.6.1");
    // 21 in the 5 seconds of its uptime; the 32-bit counter beside it goes as fast.
    assert_eq!(
        (at(0, uptime), at(0, narrow), at(0, wide)),
        ("TimeTicks(500)".into(), "Counter32(11)".into(), "Counter64(21)".into())
    );
    assert_eq!(
        (at(10, uptime), at(10, narrow), at(10, wide)),
        ("TimeTicks(1500)".into(), "Counter32(53)".into(), "Counter64(63)".into())
    );
    device.reboot(Duration::from_secs(20));
    assert_eq!((at(25, uptime), at(25, narrow)), ("TimeTicks(500)".into(), "Counter32(21)".into()));
    device.restart_engine(Duration::from_secs(30));
    assert_eq!((at(30, uptime), at(30, narrow)), ("TimeTicks(0)".into(), "Counter32(42)".into()));
}

#[test]
fn values_can_be_set_and_removed_while_it_runs() {
    let device = device(SMALL);
    device.set(&oid("1.3.6.1.2.1.1.1.0"), &Datum::text("tin")).expect("small");
    device.set(&oid("1.3.6.1.2.1.1.2.0"), &Datum::Integer(5)).expect("small");
    device.remove(&oid("1.3.6.1.2.1.2")).expect("small");
    check(
        &device,
        Version::V2c,
        PduKind::GetBulk,
        (0, 5),
        &["1.3"],
        Ok(&[
            ("1.3.6.1.2.1.1.1.0", "tin"),
            ("1.3.6.1.2.1.1.2.0", "Integer(5)"),
            ("1.3.6.1.2.1.1.3.0", "TimeTicks(500)"),
            ("1.3.6.1.2.1.31.1.1.1.6.1", "Counter64(21)"),
            ("1.3.6.1.2.1.31.1.1.1.18.1", "end"),
        ]),
    );
}

#[test]
fn it_remembers_what_it_was_asked() {
    let device = device(SMALL).log(2);
    for repetitions in [7, 9, 8] {
        send(
            &device,
            ZERO,
            packet(Version::V2c, PduKind::GetBulk, (0, repetitions), &[oid("1.3"), oid("1.4")]),
        );
    }
    let asked = device.take_asked();
    assert_eq!(asked.iter().map(|asked| asked.repetitions).collect::<Vec<_>>(), [9, 8]);
    assert_eq!((&asked[0].names[..], &asked[0].who[..]), (&[oid("1.3"), oid("1.4")][..], &b"public"[..]));
    assert_eq!(device.take_asked(), []);
    let counts = device.counts();
    assert_eq!(
        (counts.requests, counts.bulks, counts.repetitions, counts.repetitions_max, counts.names_max),
        (3, 3, 24, 9, 2)
    );
}

/// One of each level. Deriving keys takes time: once for all tests.
pub(super) fn users() -> [User; 3] {
    static USERS: LazyLock<[User; 3]> = LazyLock::new(made_users);
    USERS.clone()
}

fn made_users() -> [User; 3] {
    let user = |name: &str, auth, privacy| User::new(name.as_bytes(), auth, privacy).expect("good");
    [
        user("nobody", None, None),
        user("seen", Some((AuthProtocol::Sha1, &b"a-passphrase"[..])), None),
        user(
            "hidden",
            Some((AuthProtocol::Sha256, &b"a-passphrase"[..])),
            Some((PrivProtocol::Aes128, &b"another-passphrase"[..])),
        ),
    ]
}

/// Asks in v3 until there is an answer, or why there is none; how many datagrams it took.
pub(super) fn ask_v3(
    device: &Device,
    now: Duration,
    peer: &mut Peer,
    kind: PduKind,
    numbers: (i32, i32),
    names: &[&str],
) -> (Result<Cells, &'static str>, u32) {
    let names: Vec<Oid> = names.iter().map(|name| oid(name)).collect();
    let varbinds = names.iter().map(|name| Varbind { name: name.view(), value: Value::Null }).collect();
    let pdu = Pdu { kind, request_id: 5, second: numbers.0, third: numbers.1, varbinds };
    let (mut exchange, mut writer, mut sealed) = (Exchange::default(), Writer::default(), Vec::new());
    for datagram in 1..=5 {
        let _: Sealed =
            peer.seal(now, &mut exchange, datagram, 65_507, |out| pdu.write(out), &mut writer, &mut sealed);
        let mut replies = send(device, now, sealed.clone());
        assert_eq!(replies.len(), 1, "one answer");
        match peer.open(now, &mut exchange, &mut replies[0]) {
            Ok(Opened::Pdu(scoped)) => {
                let pdu = Pdu::read(&scoped.pdu).expect("a good PDU");
                return (Ok(cells(&pdu)), datagram as u32);
            }
            Ok(Opened::Again) => {}
            Ok(Opened::Refused { why, .. }) => return (Err(why.as_str()), datagram as u32),
            Err(fault) => return (Err(fault.as_str()), datagram as u32),
        }
    }
    panic!("no answer after five datagrams");
}

#[test]
fn users_are_answered_at_their_level_within_their_view() {
    for user in users() {
        let device = device(SMALL).user_view(user.clone(), [oid("1.3.6.1.2.1.31")]);
        let mut peer = Peer::new(user.clone(), Context::default());
        let ask = |peer: &mut Peer, now| ask_v3(&device, now, peer, PduKind::GetBulk, (0, 9), &["1.3"]);
        let (answer, datagrams) = ask(&mut peer, ZERO);
        let names: Vec<String> = answer.expect("an answer").into_iter().map(|(name, _)| name).collect();
        assert_eq!(
            names,
            ["1.3.6.1.2.1.31.1.1.1.6.1", "1.3.6.1.2.1.31.1.1.1.18.1", "1.3.6.1.2.1.31.1.1.1.18.1"]
        );
        assert!(datagrams <= 3, "{user:?}: {datagrams}");
        assert_eq!(ask(&mut peer, ZERO).1, 1, "{user:?}: all is known");
        device.reboot(Duration::from_secs(1_000));
        let again = ask(&mut peer, Duration::from_secs(1_001));
        assert!(again.0.is_ok() && again.1 <= 2, "{user:?}: {again:?}");
        let elsewhere = Context { engine_id: None, name: b"blue".to_vec() };
        let mut peer = Peer::new(user, elsewhere);
        assert_eq!(ask(&mut peer, Duration::from_secs(1_002)).0, Err(Refusal::UnknownContext.as_str()));
    }
}

#[test]
fn strangers_and_wrong_passphrases_are_refused() {
    let [_, seen, _] = users();
    let device = device(SMALL).user(seen);
    let ask = |user: User| {
        ask_v3(
            &device,
            ZERO,
            &mut Peer::new(user, Context::default()),
            PduKind::Get,
            (0, 0),
            &["1.3.6.1.2.1.1.1.0"],
        )
        .0
    };
    let user =
        |name: &[u8], phrase: &[u8]| User::new(name, Some((AuthProtocol::Sha1, phrase)), None).expect("good");
    assert_eq!(ask(user(b"stranger", b"a-passphrase")), Err(Refusal::UnknownUser.as_str()));
    assert_eq!(ask(user(b"seen", b"other-passphrase")), Err(Refusal::WrongDigest.as_str()));
    assert!(ask(user(b"seen", b"a-passphrase")).is_ok());
}

fn tree_names() -> impl Strategy<Value = Vec<Oid>> {
    let arc = prop_oneof![0..4_u32, 126..130_u32, any::<u32>()];
    let name = prop::collection::vec(arc, 1..5).prop_map(|arcs| oid("1.3.6").child(&arcs).expect("short"));
    prop::collection::btree_set(name, 1..40).prop_map(|names| names.into_iter().collect())
}

proptest! {
    #[test]
    fn a_chain_of_get_next_visits_every_name_once(names in tree_names()) {
        let recording: Recording = names.iter().map(|name| (name.clone(), Datum::Integer(1))).collect();
        let device = Device::new(Arc::new(Tree::still(&recording).expect("small"))).community("public");
        let mut seen = Vec::new();
        let mut name = oid("0.0");
        loop {
            let replies = send(&device, ZERO, packet(Version::V2c, PduKind::GetNext, (0, 0), &[name]));
            let reply = Message::read(&replies[0]).expect("good");
            if reply.pdu.varbinds[0].value == Value::EndOfMibView {
                break;
            }
            name = reply.pdu.varbinds[0].name.to_oid();
            seen.push(name.clone());
        }
        prop_assert_eq!(seen, names);
    }

    /// RFC 3416's own definition: each repetition is what GETNEXT answers to the names of the one before.
    #[test]
    fn get_bulk_is_get_next_repeated(
        names in tree_names(),
        asked in prop::collection::vec(prop::collection::vec(0..5_u32, 1..3), 1..5),
        once in -1..5_i32,
        repetitions in 0..8_i32,
    ) {
        let recording: Recording = names.iter().map(|name| (name.clone(), Datum::Integer(1))).collect();
        let device = Device::new(Arc::new(Tree::still(&recording).expect("small"))).community("public");
        let asked: Vec<Oid> = asked.iter().map(|arcs| oid("1.3.6").child(arcs).expect("short")).collect();
        let sorted: BTreeSet<Oid> = names.iter().cloned().collect();
        let next = |name: &Oid| match sorted.range((Bound::Excluded(name), Bound::Unbounded)).next() {
            Some(next) => (next.clone(), false),
            None => (name.clone(), true),
        };
        let split = (once.max(0) as usize).min(asked.len());
        let mut expected: Vec<(Oid, bool)> = asked[..split].iter().map(next).collect();
        let mut row: Vec<Oid> = asked[split..].to_vec();
        for _ in 0..repetitions {
            let cells: Vec<(Oid, bool)> = row.iter().map(next).collect();
            row = cells.iter().map(|(name, _)| name.clone()).collect();
            let over = cells.iter().all(|(_, end)| *end);
            expected.extend(cells);
            if over {
                break;
            }
        }
        let replies = send(&device, ZERO, packet(Version::V2c, PduKind::GetBulk, (once, repetitions), &asked));
        let reply = Message::read(&replies[0]).expect("good");
        let got: Vec<(Oid, bool)> = reply.pdu.varbinds.iter()
            .map(|varbind| (varbind.name.to_oid(), varbind.value == Value::EndOfMibView))
            .collect();
        prop_assert_eq!(got, expected);
    }

    #[test]
    fn arbitrary_datagrams_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0..60_usize, byte in any::<u8>()) {
        let device = device(SMALL).user(users()[0].clone());
        device.handle(ZERO, &mut bytes, &mut Outbox::default());
        let mut near = packet(Version::V2c, PduKind::GetBulk, (0, 3), &[oid("1.3.6.1.2.1.2")]);
        let length = near.len();
        near[at % length] = byte;
        device.handle(ZERO, &mut near, &mut Outbox::default());
    }
}
