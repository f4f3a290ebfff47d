//! SNMPv3 packets from anybody, opened by both sides: nothing panics, nothing is believed without the right MAC, and what is not
//! believed changes nothing.
//!
//! The first octet chooses the user, the second what is done with the rest: taken as a packet, taken as changes of a genuine packet, or
//! sealed with the right keys as a PDU, so that what lies behind the MAC is reached too.

#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use snmp::ber::{Writer, tag};
use snmp::usm::{
    AuthProtocol, Authority, Context, EngineId, Exchange, OpenFault, Opened, Peer, PrivProtocol, Sealed,
    Served, User,
};
use snmp::{Pdu, Request, v3};

const PHRASE: &[u8] = b"a phrase of the fuzzer";
const NOW: Duration = Duration::from_secs(1000);

/// Deriving keys takes milliseconds.
static USERS: LazyLock<Vec<User>> = LazyLock::new(|| {
    let user = |auth: Option<AuthProtocol>, privacy: Option<PrivProtocol>| {
        let auth = auth.map(|protocol| (protocol, PHRASE));
        User::new(b"fuzz", auth, privacy.map(|protocol| (protocol, PHRASE))).expect("a good phrase")
    };
    vec![
        user(None, None),
        user(Some(AuthProtocol::Md5), None),
        user(Some(AuthProtocol::Md5), Some(PrivProtocol::Des)),
        user(Some(AuthProtocol::Sha256), Some(PrivProtocol::Aes128)),
        user(Some(AuthProtocol::Sha512), Some(PrivProtocol::Aes256)),
    ]
});

/// Both sides, acquainted, with a request under way.
struct Wire {
    peer: Peer,
    exchange: Exchange,
    authority: Authority,
    out: Writer,
    request: Vec<u8>,
    secure: bool,
}

impl Wire {
    fn new(user: &User, message_id: i32) -> Self {
        let id = EngineId::new(b"\x80\0\0\x09\x04fuzz").expect("short");
        let authority = Authority::new(id, 3, Duration::ZERO, [user.clone()]);
        let mut wire = Self {
            peer: Peer::new(user.clone(), Context::default()),
            exchange: Exchange::default(),
            authority,
            out: Writer::default(),
            request: Vec::new(),
            secure: user.auth_protocol().is_some(),
        };
        assert_eq!(wire.ask(1), Sealed::Discovery);
        let (mut packet, mut report) = (wire.request.clone(), Vec::new());
        let refused = wire.authority.open(NOW, &mut packet, &mut wire.out, &mut report);
        assert!(matches!(refused, Ok(Served::Report(_))));
        assert!(matches!(wire.peer.open(NOW, &mut wire.exchange, &mut report), Ok(Opened::Again)));
        assert_eq!(wire.ask(2), Sealed::Request);
        let mut answer = wire.answer(tag::RESPONSE, EMPTY);
        assert!(matches!(wire.peer.open(NOW, &mut wire.exchange, &mut answer), Ok(Opened::Pdu(_))));
        wire.exchange = Exchange::default();
        assert_eq!(wire.ask(message_id), Sealed::Request);
        wire
    }

    fn ask(&mut self, message_id: i32) -> Sealed {
        let request = Request::get([]);
        let pdu = |out: &mut Writer| request.pdu(message_id).write(out);
        let exchange = &mut self.exchange;
        self.peer.seal(NOW, exchange, message_id, 65_507, pdu, &mut self.out, &mut self.request)
    }

    /// The genuine answer with this PDU.
    fn answer(&mut self, tag: u8, content: &[u8]) -> Vec<u8> {
        let (mut packet, mut answer) = (self.request.clone(), Vec::new());
        match self.authority.open(NOW, &mut packet, &mut self.out, &mut answer) {
            Ok(Served::Request(asked)) => {
                self.authority.seal(NOW, &asked, |out| out.octets(tag, content), &mut self.out, &mut answer);
            }
            other => panic!("the request is genuine: {other:?}"),
        }
        answer
    }

    fn known(&self) -> (Option<EngineId>, Option<(u32, u32)>) {
        (self.peer.engine_id().copied(), self.peer.clock(NOW))
    }

    /// A packet that nobody with the keys has made.
    fn refuse(&mut self, packet: &[u8]) {
        let before = self.known();
        match self.peer.open(NOW, &mut self.exchange, &mut packet.to_vec()) {
            Ok(Opened::Pdu(_)) => assert!(!self.secure, "believed without the right MAC"),
            Ok(Opened::Refused { authentic, .. }) => assert!(!authentic, "believed without the right MAC"),
            Ok(Opened::Again) => {}
            Err(OpenFault::Malformed(error)) => assert!(error.offset <= packet.len(), "{error}"),
            Err(_) => {}
        }
        if self.secure {
            assert_eq!(self.known(), before);
        }
        let (mut packet, mut report) = (packet.to_vec(), Vec::new());
        let served = self.authority.open(NOW, &mut packet, &mut self.out, &mut report);
        assert!(!self.secure || !matches!(served, Ok(Served::Request(_))), "served without the right MAC");
    }
}

/// No request id that matters, no error, no bindings.
const EMPTY: &[u8] = &[2, 1, 0, 2, 1, 0, 2, 1, 0, 0x30, 0];

/// The packet with octets changed: two octets say where, one how.
fn changed(packet: &[u8], changes: &[u8]) -> Vec<u8> {
    let mut changed = packet.to_vec();
    for change in changes.as_chunks::<3>().0 {
        let at = usize::from(u16::from_be_bytes([change[0], change[1]])) % changed.len();
        changed[at] ^= change[2];
    }
    changed
}

fuzz_target!(|data: &[u8]| {
    let [user, mode, rest @ ..] = data else { return };
    let user = &USERS[usize::from(*user) % USERS.len()];
    let id = v3::message_id(rest).unwrap_or(3);
    let mut wire = Wire::new(user, id);
    match mode % 4 {
        0 => wire.refuse(rest),
        1 => {
            let answer = wire.answer(tag::RESPONSE, EMPTY);
            let packet = changed(&answer, rest);
            if packet != answer {
                wire.refuse(&packet);
            }
        }
        2 => {
            let packet = changed(&wire.request, rest);
            if packet != wire.request {
                wire.refuse(&packet);
            }
        }
        _ => {
            let [tag, content @ ..] = rest else { return };
            let mut answer = wire.answer(*tag, content);
            if let Ok(Opened::Pdu(scoped)) = wire.peer.open(NOW, &mut wire.exchange, &mut answer) {
                assert_eq!((scoped.pdu.tag, scoped.pdu.content), (tag::RESPONSE, content));
                let _ = Pdu::read(&scoped.pdu);
            }
        }
    }
});
