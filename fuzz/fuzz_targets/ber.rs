//! SNMP packets from anybody: reading never panics, an error points into the packet, and what is read can be written and read
//! again with the same meaning.

#![no_main]

use libfuzzer_sys::fuzz_target;
use snmp::ber::Writer;
use snmp::{Header, Message, Response};

fuzz_target!(|packet: &[u8]| {
    let header = Header::read(packet);
    let message = match Message::read(packet) {
        Ok(message) => message,
        Err(error) => return assert!(error.offset <= packet.len(), "{error}"),
    };
    let header = header.expect("a message that can be read has a header");
    assert_eq!((header.version, header.request_id), (message.version, message.pdu.request_id));

    let response = Response::read(packet).expect("a message that can be read has bindings");
    let varbinds: Vec<_> = response.varbinds.map(|varbind| varbind.expect("all were read")).collect();
    assert_eq!((response.status.0, varbinds), (message.pdu.second, message.pdu.varbinds.clone()));

    let mut again = Vec::new();
    message.write(&mut Writer::default(), &mut again);
    let expected = Message { trailing: 0, ..message };
    assert_eq!(Message::read(&again).as_ref(), Ok(&expected));

    // Names and indices must survive being used.
    for varbind in &expected.pdu.varbinds {
        let oid = varbind.name.to_oid();
        assert_eq!(oid.view().cmp(&varbind.name), std::cmp::Ordering::Equal);
        assert_eq!(oid.to_string().parse(), Ok(oid));
        let _ = (varbind.value.number(), varbind.value.opaque_float());
    }
});
