//! Recordings and fault scripts from anybody: reading never panics, what is read is sorted, each name once, and can be written and read
//! again; the device made of it answers a walk with exactly its names, and whatever a script makes of that, nothing panics.

#![no_main]

use std::sync::Arc;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use simulator::{Device, Outbox, Recording, Script, Tree};
use snmp::ber::Writer;
use snmp::{Message, Oid, Pdu, PduKind, Value, Varbind, Version};

/// A script may stand in front, up to this line.
const END_OF_SCRIPT: &[u8] = b"---\n";

fuzz_target!(|text: &[u8]| {
    let split = text.windows(END_OF_SCRIPT.len()).position(|window| window == END_OF_SCRIPT);
    let (script, text) = split.map_or((&[][..], text), |at| (&text[..at], &text[at + END_OF_SCRIPT.len()..]));
    let script: Script =
        std::str::from_utf8(script).ok().and_then(|text| text.parse().ok()).unwrap_or_default();
    assert_eq!(script.to_string().parse::<Script>().expect("our own text"), script);
    let recording = match Recording::parse(text) {
        Ok(recording) => recording,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    assert!(recording.cells().is_sorted_by(|a, b| a.0 < b.0));
    let again = Recording::parse(recording.to_string()).expect("our own text");
    assert_eq!(again.cells(), recording.cells());

    let tree = Arc::new(Tree::moving(&recording).expect("no larger than an input"));
    let device = Device::new(tree).community("public");
    let mut name: Oid = "0.0".parse().expect("a good OID");
    let first = recording.get(&name).is_some();
    for (expected, _) in recording.cells().iter().skip(usize::from(first)).take(200) {
        let reply = ask(&device, PduKind::GetNext, &name).pop().expect("one answer");
        let reply = Message::read(&reply).expect("a device without faults answers well");
        assert_eq!(reply.pdu.varbinds[0].name, expected.view());
        name = expected.clone();
    }
    device.set_faults(script);
    for kind in [PduKind::GetNext, PduKind::GetBulk, PduKind::Get] {
        ask(&device, kind, &name);
    }
});

fn ask(device: &Device, kind: PduKind, name: &Oid) -> Vec<Vec<u8>> {
    let varbinds = vec![Varbind { name: name.view(), value: Value::Null }];
    let third = if kind == PduKind::GetBulk { 5 } else { 0 };
    let pdu = Pdu { kind, request_id: 1, second: 0, third, varbinds };
    let mut packet = Vec::new();
    let message = Message { version: Version::V2c, community: b"public", pdu, trailing: 0 };
    message.write(&mut Writer::default(), &mut packet);
    let mut out = Outbox::default();
    device.handle(Duration::from_secs(5), &mut packet, &mut out);
    out.datagrams().map(|(_, bytes)| bytes.to_vec()).collect()
}
