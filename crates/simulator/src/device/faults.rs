//! Each fault, by the raw packets that come back.

use snmp::ber::Fault as Wrong;
use snmp::usm::{Context, Exchange, OpenFault, Opened, Peer, Refusal};
use snmp::{Message, OidError, ParseError, PduKind, Value, Version};

use super::tests::{ZERO, ask_at, ask_v3, oid, packet, send, users};
use super::*;
use crate::fault::{Fault, Rule};
use crate::outbox::{Parcel, Route};
use crate::switch::Switch;

const COLUMN: &str = "1.3.6.1.2.1.2.2.1.10";
const UPTIME: &str = "1.3.6.1.2.1.1.3.0";

fn switch(script: &str) -> Device {
    let tree = Switch { ports: 20, optics: 0, seed: 1 }.tree().expect("small");
    Device::new(Arc::new(tree)).community("public").faults(script.parse().expect("a good script"))
}

fn bulk(repetitions: i32) -> Vec<u8> {
    packet(Version::V2c, PduKind::GetBulk, (0, repetitions), &[oid(COLUMN)])
}

fn next(name: &str) -> Vec<u8> {
    packet(Version::V2c, PduKind::GetNext, (0, 0), &[oid(name)])
}

fn parcels(device: &Device, now: Duration, mut packet: Vec<u8>) -> Vec<Parcel> {
    let mut out = Outbox::default();
    device.handle(now, &mut packet, &mut out);
    out.datagrams().map(|(parcel, _)| parcel.clone()).collect()
}

/// The one reply to five rows of a column.
fn reply(script: &str) -> Vec<u8> {
    let mut replies = send(&switch(script), ZERO, bulk(5));
    assert_eq!(replies.len(), 1, "{script}");
    replies.remove(0)
}

fn right() -> Vec<u8> {
    reply("")
}

#[track_caller]
fn check_refused(script: &str, expected: impl Fn(&Wrong) -> bool) {
    let packet = reply(script);
    let ParseError { fault, .. } = Message::read(&packet).expect_err(script);
    assert!(expected(&fault), "{script}: {fault}");
}

fn names(packet: &[u8]) -> Vec<String> {
    let message = Message::read(packet).expect("readable");
    message.pdu.varbinds.iter().map(|varbind| varbind.name.to_string()).collect()
}

/// The rows under the column, as they are answered.
fn rows(packet: &[u8]) -> Vec<Option<u32>> {
    let message = Message::read(packet).expect("readable");
    let column = oid(COLUMN);
    let row = |name: snmp::OidRef<'_>| name.strip_prefix(column.view()).and_then(|index| index.single());
    message.pdu.varbinds.iter().map(|varbind| row(varbind.name)).collect()
}

#[test]
fn silence_loss_and_each_third_request() {
    let answers = |script: &str| -> Vec<usize> {
        let device = switch(script);
        (0..9).map(|_| send(&device, ZERO, bulk(1)).len()).collect()
    };
    assert_eq!(answers("silence"), [0; 9]);
    assert_eq!(answers("only-every 3"), [0, 0, 1, 0, 0, 1, 0, 0, 1]);
    assert_eq!(answers("silence from 3 to 4"), [1, 1, 0, 0, 1, 1, 1, 1, 1]);
    assert_eq!(answers("silence every 4"), [1, 1, 1, 0, 1, 1, 1, 0, 1]);
    assert_eq!(answers("silence under 1.3.6.1.2.1.99"), [1; 9]);
    assert_eq!(answers("silence under 1.3.6.1.2.1.2"), [0; 9]);
    let device = switch("silence share 20%").seed(5);
    let answered: usize = (0..1_000).map(|_| send(&device, ZERO, bulk(1)).len()).sum();
    assert!((760..840).contains(&answered), "{answered}");
    let device = switch("silence after 10s until 20s");
    let at = |seconds| send(&device, Duration::from_secs(seconds), bulk(1)).len();
    assert_eq!([at(9), at(10), at(19), at(20)], [1, 0, 0, 1]);
}

#[test]
fn late_and_duplicated_datagrams() {
    let delays = |script: &str| -> Vec<u64> {
        parcels(&switch(script), ZERO, bulk(1)).iter().map(|parcel| parcel.delay.as_millis() as u64).collect()
    };
    assert_eq!(delays("delay 300ms"), [300]);
    assert_eq!(delays("duplicate 2"), [0, 0, 0]);
    assert_eq!(delays("late-duplicate 2s"), [0, 2_000]);
    assert_eq!(delays("delay 1s first"), [1_000, 0]);
    let device = switch("delay 50ms share 20%").seed(3);
    let late = (0..1_000).filter(|_| !parcels(&device, ZERO, bulk(1))[0].delay.is_zero()).count();
    assert!((160..240).contains(&late), "{late}");
}

#[test]
fn a_link_loses_delays_and_reorders() {
    let link = Link {
        delay: Duration::from_millis(10),
        jitter: Duration::from_millis(5),
        loss: 0.2,
        reordered: 0.2,
        held: Duration::from_secs(1),
    };
    let run = || -> Vec<Option<Duration>> {
        let device = switch("").seed(9).link(link);
        (0..1_000).map(|_| parcels(&device, ZERO, bulk(1)).first().map(|parcel| parcel.delay)).collect()
    };
    let delays = run();
    assert_eq!(delays, run(), "the same by the same seed");
    let lost = delays.iter().filter(|delay| delay.is_none()).count();
    let held = delays.iter().flatten().filter(|delay| **delay >= Duration::from_secs(1)).count();
    assert!((160..240).contains(&lost) && (120..200).contains(&held), "{lost} {held}");
    assert!(delays.iter().flatten().all(|delay| (10..1_016).contains(&delay.as_millis())));
}

#[test]
fn from_the_wrong_place() {
    let route = |script: &str| {
        parcels(&switch(script), ZERO, bulk(1)).iter().map(|parcel| parcel.route).collect::<Vec<_>>()
    };
    assert_eq!(route("wrong-source"), [Route::OtherAddress]);
    assert_eq!(route("wrong-port first"), [Route::OtherPort, Route::Own]);
}

#[test]
fn as_if_in_reply_to_another_request() {
    let id = |packet: &[u8]| Message::read(packet).expect("readable").pdu.request_id;
    assert_eq!(id(&reply("wrong-id")), 78);
    let replies = send(&switch("wrong-id first"), ZERO, bulk(1));
    assert_eq!(replies.iter().map(|reply| id(reply)).collect::<Vec<_>>(), [78, 77]);
    let message = reply("wrong-version");
    assert_eq!(Message::read(&message).expect("readable").version, Version::V1);
    let message = reply("wrong-community");
    assert_eq!(Message::read(&message).expect("readable").community, b"somebody-else");
    assert_eq!(Message::read(&reply("wrong-kind")).expect("readable").pdu.kind, PduKind::Get);
}

#[test]
fn lengths_that_are_wrong() {
    assert_eq!(reply("truncated 3")[..], right()[..right().len() - 3]);
    check_refused("truncated 3", |fault| matches!(fault, Wrong::PastEnd { .. }));
    assert_eq!(Message::read(&reply("trailing 5")).expect("readable").trailing, 5);
    assert_eq!(reply("garbage 40").len(), 40);
    for element in ["message", "pdu", "list", "binding", "value"] {
        check_refused(&format!("over-long-length {element}"), |fault| *fault == Wrong::LengthTooLong);
        check_refused(&format!("past-end-length {element}"), |fault| matches!(fault, Wrong::PastEnd { .. }));
        check_refused(&format!("indefinite-length {element}"), |fault| *fault == Wrong::IndefiniteLength);
        let padded = reply(&format!("padded-length {element}"));
        assert!(padded.len() > right().len(), "{element}");
        assert_eq!(Message::read(&padded), Message::read(&right()), "{element}: allowed, and the same");
    }
}

#[test]
fn values_and_names_that_are_wrong() {
    check_refused("unknown-tag", |fault| *fault == Wrong::UnknownTag(0x5a));
    check_refused("bad-integer 0", |fault| *fault == Wrong::NumberLength(0));
    check_refused("bad-integer 5", |fault| *fault == Wrong::NumberRange);
    check_refused("bad-counter64 0", |fault| *fault == Wrong::NumberLength(0));
    check_refused("bad-counter64 12", |fault| *fault == Wrong::NumberLength(12));
    check_refused("bad-oid", |fault| *fault == Wrong::Oid(OidError::Truncated));
    check_refused("padded-oid", |fault| *fault == Wrong::Oid(OidError::Padded));
    check_refused("long-oid", |fault| *fault == Wrong::Oid(OidError::TooLong));
    check_refused("huge-arc", |fault| *fault == Wrong::Oid(OidError::BadArc));
    assert_eq!(names(&reply("empty-oid"))[2], "0.0", "read as net-snmp does");
    let large = names(&reply("large-arcs"));
    assert_eq!(large[0], format!("{COLUMN}.1.2147483648.4294967295"));
    let message = reply("wrong-type");
    let message = Message::read(&message).expect("readable");
    assert!(message.pdu.varbinds.iter().all(|varbind| varbind.value == Value::OctetString(b"n/a")));
    let message = reply("huge-string 60000");
    let message = Message::read(&message).expect("readable");
    assert!(matches!(message.pdu.varbinds[2].value, Value::OctetString(text) if text.len() == 60_000));
}

#[test]
fn names_that_do_not_go_forward() {
    assert_eq!(rows(&right()), [1, 2, 3, 4, 5].map(Some));
    assert_eq!(rows(&reply("descending")), [1_001, 1_000, 999, 998, 997].map(Some));
    let device = switch("descending");
    let step = |row: u32| rows(&send(&device, ZERO, next(&format!("{COLUMN}.{row}")))[0]);
    assert_eq!((step(1_005), step(1_004)), (vec![Some(1_004)], vec![Some(1_003)]));
}

#[test]
fn endless_rows() {
    let device = switch("endless");
    assert_eq!(rows(&send(&device, ZERO, bulk(4))[0]), [1, 2, 3, 4].map(Some));
    let more = packet(Version::V2c, PduKind::GetBulk, (0, 3), &[oid(&format!("{COLUMN}.5000"))]);
    assert_eq!(rows(&send(&device, ZERO, more)[0]), [5_001, 5_002, 5_003].map(Some));
    assert_eq!(rows(&send(&device, ZERO, next(&format!("{COLUMN}.4294967294")))[0]), [Some(u32::MAX)]);
}

#[test]
fn repeating_names() {
    let row = format!("{COLUMN}.7");
    assert_eq!(names(&send(&switch("repeating"), ZERO, next(&row))[0]), [row]);
    assert_eq!(names(&reply("repeating")), [COLUMN; 5]);
}

#[test]
fn more_and_less_than_was_asked_for() {
    assert_eq!(names(&reply("empty-list")), Vec::<String>::new());
    assert_eq!(rows(&reply("fewer 2")), [1, 2, 3].map(Some));
    assert_eq!(names(&reply("fewer 9")), Vec::<String>::new());
    let more = names(&reply("more 2"));
    assert_eq!(more[5..], ["1.3.6.1.4.1.99999.0", "1.3.6.1.4.1.99999.1"]);
}

#[test]
fn exceptions_in_the_middle_of_a_bulk() {
    for (name, value) in [
        ("no-such-object", Value::NoSuchObject),
        ("no-such-instance", Value::NoSuchInstance),
        ("end-of-mib-view", Value::EndOfMibView),
    ] {
        let packet = reply(&format!("{name} 3"));
        let message = Message::read(&packet).expect("readable");
        let exceptions: Vec<bool> =
            message.pdu.varbinds.iter().map(|varbind| varbind.value.is_exception()).collect();
        assert_eq!(exceptions, [false, false, true, false, false]);
        assert_eq!(message.pdu.varbinds[2].value, value);
    }
}

#[test]
fn errors_for_what_should_be_answered() {
    let ask = |script: &str, repetitions, names: &[&str]| {
        ask_at(&switch(script), ZERO, Version::V2c, PduKind::GetBulk, (0, repetitions), names)
    };
    assert_eq!(ask("too-big 10", 11, &[COLUMN]), Err((1, 0)));
    assert_eq!(ask("too-big 10", 10, &[COLUMN]).map(|cells| cells.len()), Ok(10));
    assert_eq!(ask("no-bulk", 1, &[COLUMN]), Err((5, 0)));
    let broken = format!("gen-err {COLUMN}");
    assert_eq!(ask(&broken, 2, &["1.3.6.1.2.1.2.2.1.8", COLUMN]), Err((5, 2)));
    assert!(ask(&broken, 2, &["1.3.6.1.2.1.2.2.1.8"]).is_ok());
    let get_next = ask_at(&switch("no-bulk"), ZERO, Version::V2c, PduKind::GetNext, (0, 0), &[COLUMN]);
    assert!(get_next.is_ok());
}

#[test]
fn rows_that_vanish_between_requests() {
    let device = switch("vanish 50% from 2").seed(4);
    let ask = || rows(&send(&device, ZERO, bulk(20))[0]);
    let before = ask();
    let after: Vec<u32> = ask().into_iter().flatten().collect();
    assert_eq!(before.iter().flatten().count(), 20);
    assert!((4..=16).contains(&after.len()) && after.is_sorted(), "{after:?}");
    let bytes = rows(
        &send(&device, ZERO, packet(Version::V2c, PduKind::GetBulk, (0, 20), &[oid("1.3.6.1.2.1.2.2.1.16")]))
            [0],
    );
    assert!(bytes.iter().all(Option::is_none), "another column");
}

#[test]
fn reboots_and_wraps() {
    let ask = |device: &Device, seconds| {
        let got = ask_at(
            device,
            Duration::from_secs(seconds),
            Version::V2c,
            PduKind::Get,
            (0, 0),
            &[UPTIME, "1.3.6.1.2.1.31.1.1.1.6.1"],
        );
        got.expect("an answer").into_iter().map(|(_, value)| value).collect::<Vec<_>>()
    };
    let number = |text: &str| -> u64 {
        text.chars().filter(char::is_ascii_digit).collect::<String>().parse().unwrap()
    };
    let counter = |text: &str| number(text.trim_start_matches("Counter64"));
    let device = switch("reboot from 2");
    let before = ask(&device, 10);
    assert_eq!(before[0], "TimeTicks(8641000)");
    assert_eq!(ask(&device, 20), ["TimeTicks(0)", "Counter64(0)"]);
    let after = ask(&device, 30);
    assert_eq!(after[0], "TimeTicks(1000)", "once");
    assert!(counter(&after[1]) > 0 && counter(&after[1]) < counter(&before[1]));

    let device = switch("engine-reboot from 2");
    let before = counter(&ask(&device, 10)[1]);
    let after = ask(&device, 20);
    assert_eq!(after[0], "TimeTicks(0)");
    assert!(counter(&after[1]) > before, "counters go on");

    let device = switch("uptime-wrap 3s");
    let uptimes = [0, 2, 4].map(|seconds| ask(&device, seconds)[0].clone());
    assert_eq!(uptimes, ["TimeTicks(4294966996)", "TimeTicks(4294967196)", "TimeTicks(100)"]);
}

#[test]
fn v3_engines_that_start_anew_in_mid_walk() {
    for user in users() {
        for script in ["engine-reboot from 3", "engine-reset from 3", "reboot from 3"] {
            let device = switch(script).user(user.clone()).engine_boots(9);
            let mut peer = Peer::new(user.clone(), Context::default());
            for seconds in [200, 210, 220, 230, 240] {
                let now = Duration::from_secs(seconds);
                let answer = ask_v3(&device, now, &mut peer, PduKind::GetBulk, (0, 3), &[COLUMN]);
                // An engine that lost count of its boots is not believed until its clock is learned anew: the manager's part.
                assert!(answer.0.is_ok() || script.starts_with("engine-reset"), "{script}: {answer:?}");
            }
        }
    }
}

/// What the manager makes of each datagram that comes back, once it knows the engine.
fn opened(user: &snmp::usm::User, script: &str) -> Vec<Result<&'static str, String>> {
    let device = switch(script).user(user.clone()).engine_boots(9);
    let mut peer = Peer::new(user.clone(), Context::default());
    let clean = std::mem::take(&mut device.state.lock().script);
    assert!(ask_v3(&device, ZERO, &mut peer, PduKind::Get, (0, 0), &[UPTIME]).0.is_ok());
    device.set_faults(clean);
    let (mut writer, mut sealed) = (snmp::ber::Writer::default(), Vec::new());
    let request = bulk(5);
    let pdu = Message::read(&request).expect("our own").pdu;
    let mut exchange = Exchange::default();
    peer.seal(ZERO, &mut exchange, 99, 65_507, |out| pdu.write(out), &mut writer, &mut sealed);
    let mut replies = send(&device, ZERO, sealed);
    let told = |reply: &mut Vec<u8>| match peer.open(ZERO, &mut exchange, reply) {
        Ok(Opened::Pdu(scoped)) => match snmp::Pdu::read(&scoped.pdu) {
            Ok(pdu) if pdu.request_id == 77 => Ok("answer"),
            Ok(_) => Ok("other id"),
            Err(error) => Err(error.fault.to_string()),
        },
        Ok(Opened::Again) => Ok("again"),
        Ok(Opened::Refused { why: Refusal::NotInTimeWindow, authentic: false }) => Ok("rumour"),
        Ok(Opened::Refused { .. }) => Ok("refused"),
        Err(OpenFault::Malformed(error)) => Err(error.fault.to_string()),
        Err(fault) => Err(fault.as_str().to_owned()),
    };
    replies.iter_mut().map(told).collect()
}

#[test]
fn v3_replies_that_are_no_answers() {
    let [_, seen, hidden] = users();
    for user in [&seen, &hidden] {
        let bad = |script: &str| {
            let got = opened(user, script);
            assert_eq!(got.len(), 1, "{script}");
            got[0].clone().expect_err(script)
        };
        assert_eq!(opened(user, ""), [Ok("answer")]);
        assert_eq!(opened(user, "wrong-id"), [Ok("other id")]);
        bad("wrong-user");
        bad("wrong-engine-id");
        bad("wrong-version");
        bad("wrong-kind");
        bad("truncated 1");
        bad("unknown-tag");
        bad("indefinite-length list");
        bad("past-end-length message");
        assert!(opened(user, "wrong-community") == [Ok("answer")], "not of v3");
        let storm = opened(user, "report-storm 50");
        assert_eq!(storm.len(), 50);
        assert!(!storm.contains(&Ok("answer")));
        let forged = opened(user, "forged-report");
        assert_eq!(forged.len(), 2);
        assert_ne!(forged[0], Ok("answer"));
    }
}

#[test]
fn every_fault_does_something_and_none_panics() {
    let arguments = ["", "3", "20ms", "list", COLUMN, "50%"];
    let [nobody, seen, hidden] = users();
    for name in Fault::NAMES {
        let rule: Rule = arguments
            .iter()
            .find_map(|argument| format!("{name} {argument}").parse().ok())
            .unwrap_or_else(|| panic!("{name} takes one of {arguments:?}"));
        let of_v3 =
            ["wrong-user", "wrong-engine-id", "report-storm", "forged-report", "engine-reset"].contains(name);
        let script: Script = [rule].into_iter().collect();
        if of_v3 {
            assert_ne!(opened(&hidden, &script.to_string()), [Ok("answer")], "{name}");
        } else {
            let device = switch(&script.to_string()).seed(1);
            let plain = switch("").seed(1);
            let ask = |device: &Device| {
                let mut out = Outbox::default();
                for mut ask in [
                    bulk(5),
                    next(COLUMN),
                    packet(Version::V1, PduKind::Get, (0, 0), &[oid(UPTIME)]),
                    bulk(5),
                ] {
                    device.handle(Duration::from_secs(9), &mut ask, &mut out);
                }
                out
            };
            let (bad, good) = (ask(&device), ask(&plain));
            assert_ne!((bad.bytes, bad.parcels), (good.bytes, good.parcels), "{name}");
        }
        for user in [&nobody, &seen] {
            let _: Vec<_> = opened(user, &script.to_string());
        }
    }
}
