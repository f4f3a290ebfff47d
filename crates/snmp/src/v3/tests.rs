//! The codec against Debian's net-snmp 5.9.3, against damage, and against itself.

use proptest::prelude::*;

use super::*;
use crate::{Pdu, PduKind};

/// What `snmpget -v3` sends first.
pub(crate) const DISCOVERY: &[u8] = &[
    0x30, 0x3e, 0x02, 0x01, 0x03, 0x30, 0x11, 0x02, 0x04, 0x3c, 0xf2, 0xcf, 0x13, 0x02, 0x03, 0x00, 0xff,
    0xe3, 0x04, 0x01, 0x04, 0x02, 0x01, 0x03, 0x04, 0x10, 0x30, 0x0e, 0x04, 0x00, 0x02, 0x01, 0x00, 0x02,
    0x01, 0x00, 0x04, 0x00, 0x04, 0x00, 0x04, 0x00, 0x30, 0x14, 0x04, 0x00, 0x04, 0x00, 0xa0, 0x0e, 0x02,
    0x04, 0x35, 0x0e, 0x20, 0x56, 0x02, 0x01, 0x00, 0x02, 0x01, 0x00, 0x30, 0x00,
];

fn scoped<'a>(message: &Message<'a>) -> Scoped<'a> {
    Scoped::read(&message.data).expect("a scoped PDU")
}

#[test]
fn net_snmp_s_discovery_is_read_and_written() {
    let message = Message::read(DISCOVERY).expect("a good packet");
    let head = Head {
        message_id: 0x3cf2_cf13,
        max_size: 65_507,
        level: Level::NoAuthNoPriv,
        reportable: true,
        engine_id: EngineId::default(),
        boots: 0,
        time: 0,
        user: b"",
        mac: b"",
        salt: b"",
    };
    assert_eq!((message.head, message.length, message.trailing), (head, 64, 0));
    let inner = scoped(&message);
    assert_eq!((inner.context_engine_id, inner.context_name), (&b""[..], &b""[..]));
    let pdu = Pdu::read(&inner.pdu).expect("a PDU");
    assert_eq!((pdu.kind, pdu.request_id, pdu.varbinds.len()), (PduKind::Get, 0x350e_2056, 0));

    let (mut out, mut packet) = (Writer::default(), Vec::new());
    head.write(&mut out, |out| Scoped::write(out, b"", b"", |out| pdu.write(out)));
    out.finish(&mut packet);
    assert_eq!(packet, DISCOVERY);
}

#[test]
fn the_message_id_is_found_without_the_rest() {
    let check = |packet: &[u8], expected: Result<i32, (usize, Fault)>| {
        assert_eq!(message_id(packet).map_err(|error| (error.offset, error.fault)), expected);
    };
    check(DISCOVERY, Ok(0x3cf2_cf13));
    check(&with(12, 0xff), Ok(0x3cf2_cfff_u32 as i32));
    check(&with(9, 0xbc), Err((9, Fault::NumberRange)));
    check(&with(4, 1), Err((4, Fault::NotV3(1))));
    check(&DISCOVERY[..40], Err((1, Fault::PastEnd { length: 62, left: 38 })));
    check(&[], Err((0, Fault::Truncated)));
}

/// The discovery with one octet replaced.
fn with(at: usize, octet: u8) -> Vec<u8> {
    let mut packet = DISCOVERY.to_vec();
    packet[at] = octet;
    packet
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let check = |packet: &[u8], offset, fault| {
        let read = Message::read(packet).and_then(|message| Scoped::read(&message.data).map(drop));
        assert_eq!(read, Err(ParseError { offset, fault }), "{packet:02x?}");
    };
    let tag = |expected, got| Fault::UnexpectedTag { expected, got };
    check(&with(0, 0x31), 0, tag(0x30, 0x31));
    check(&with(4, 2), 4, Fault::NotV3(2));
    check(&with(5, 4), 5, tag(0x30, 4));
    check(&with(7, 4), 7, tag(2, 4));
    check(&with(15, 0x80), 15, Fault::NumberRange);
    check(&with(20, 2), 20, Fault::Flags);
    check(&with(20, 6), 20, Fault::Flags);
    check(&with(23, 4), 23, Fault::SecurityModel(4));
    check(&with(21, 4), 21, tag(2, 4));
    check(&with(22, 0), 23, Fault::NumberLength(0));
    check(&with(25, 15), 27, Fault::PastEnd { length: 14, left: 13 });
    check(&with(26, 4), 26, tag(0x30, 4));
    check(&with(27, 13), 41, Fault::Trailing(1));
    check(&with(27, 0x80), 27, Fault::IndefiniteLength);
    check(&with(29, 1), 31, tag(2, 1));
    check(&with(32, 0xff), 32, Fault::NumberRange);
    check(&with(41, 1), 41, Fault::PastEnd { length: 1, left: 0 });
    check(&with(42, 4), 42, tag(0x30, 4));
    check(&with(43, 19), 63, Fault::Trailing(1));
    check(&with(45, 2), 48, tag(4, 0xa0));
    // Enciphered and authenticated, it must be an OCTET STRING.
    check(&with(20, 7), 42, tag(4, 0x30));
}

#[test]
fn names_beyond_32_octets_are_refused() {
    let check = |engine: usize, user: usize, fault: Option<Fault>| {
        let (mut out, mut packet) = (Writer::default(), Vec::new());
        out.element(tag::SEQUENCE, |message| {
            Scoped::write(message, b"", b"", |out| out.octets(tag::GET, b""));
            message.element(tag::OCTET_STRING, |octets| {
                octets.element(tag::SEQUENCE, |security| {
                    security.octets(tag::OCTET_STRING, b"");
                    security.octets(tag::OCTET_STRING, b"");
                    security.octets(tag::OCTET_STRING, &vec![b'u'; user]);
                    security.integer(tag::INTEGER, 0);
                    security.integer(tag::INTEGER, 0);
                    security.octets(tag::OCTET_STRING, &vec![1; engine]);
                });
            });
            message.element(tag::SEQUENCE, |global| {
                global.integer(tag::INTEGER, 3);
                global.octets(tag::OCTET_STRING, &[0]);
                global.integer(tag::INTEGER, 484);
                global.integer(tag::INTEGER, 1);
            });
            message.integer(tag::INTEGER, 3);
        });
        out.finish(&mut packet);
        assert_eq!(Message::read(&packet).err().map(|error| error.fault), fault, "{engine} {user}");
    };
    check(32, 32, None);
    check(33, 32, Some(Fault::NameLength(33)));
    check(300, 32, Some(Fault::NameLength(300)));
    check(32, 33, Some(Fault::NameLength(33)));
}

#[test]
fn bytes_behind_the_message_are_counted() {
    let packet = [DISCOVERY, &[1, 2, 3]].concat();
    let message = Message::read(&packet).expect("a good packet");
    assert_eq!((message.length, message.trailing), (64, 3));
}

fn level() -> impl Strategy<Value = Level> {
    prop_oneof![Just(Level::NoAuthNoPriv), Just(Level::AuthNoPriv), Just(Level::AuthPriv)]
}

fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..=most)
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        (message_id, boots, time) in (0..=i32::MAX, 0..=i32::MAX as u32, 0..=i32::MAX as u32),
        (level, reportable, max_size) in (level(), any::<bool>(), 484..=i32::MAX as u32),
        (engine, user, mac, salt) in (bytes(32), bytes(32), bytes(48), bytes(8)),
        (context, name, content) in (bytes(40), bytes(300), bytes(300)),
        trailing in bytes(3),
    ) {
        let engine_id = EngineId::new(&engine).expect("short");
        let head = Head { message_id, max_size, level, reportable, engine_id, boots, time, user: &user, mac: &mac, salt: &salt };
        let (mut out, mut packet) = (Writer::default(), Vec::new());
        let mac_end = head.write(&mut out, |out| match level {
            Level::AuthPriv => out.octets(tag::OCTET_STRING, &content),
            _ => Scoped::write(out, &context, &name, |out| out.octets(tag::GET, &content)),
        });
        out.finish(&mut packet);
        let length = packet.len();
        packet.extend(&trailing);
        let read = Message::read(&packet).expect("own packet");
        prop_assert_eq!(read.head, head);
        prop_assert_eq!((read.length, read.trailing), (length, trailing.len()));
        prop_assert_eq!(read.mac_at, length - mac_end - mac.len());
        prop_assert_eq!(&packet[read.mac_at..][..mac.len()], &mac[..]);
        prop_assert_eq!(super::message_id(&packet), Ok(message_id));
        if level == Level::AuthPriv {
            prop_assert_eq!(read.data.content, &content[..]);
        } else {
            let scoped = scoped(&read);
            prop_assert_eq!((scoped.context_engine_id, scoped.context_name), (&context[..], &name[..]));
            prop_assert_eq!((scoped.pdu.tag, scoped.pdu.content), (tag::GET, &content[..]));
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in bytes(300)) {
        if let Ok(message) = Message::read(&bytes) {
            let _ = Scoped::read(&message.data);
        }
        let _ = message_id(&bytes);
    }

    #[test]
    fn a_damaged_packet_never_panics_and_errs_inside_it(at in 0..DISCOVERY.len(), octet in any::<u8>()) {
        let packet = with(at, octet);
        let read = Message::read(&packet).and_then(|message| Scoped::read(&message.data).map(drop));
        if let Err(error) = read {
            prop_assert!(error.offset <= packet.len());
        }
    }
}
