//! Devices over real sockets.

use std::io::ErrorKind;

use snmp::ber::Writer;
use snmp::{Message, Oid, Pdu, PduKind, Value, Varbind, Version};

use super::*;
use crate::switch::Switch;

fn devices(count: usize, script: &str) -> Vec<Device> {
    let tree = Arc::new(Switch { ports: 3, optics: 0, seed: 1 }.tree().expect("small"));
    let device = |at| {
        let device = Device::new(tree.clone()).community("public").named(&format!("switch-{at}"));
        device.faults(script.parse().expect("a good script"))
    };
    (0..count).map(device).collect()
}

fn question() -> Vec<u8> {
    let name: Oid = "1.3.6.1.2.1.1.5.0".parse().expect("good");
    let varbinds = vec![Varbind { name: name.view(), value: Value::Null }];
    let pdu = Pdu { kind: PduKind::Get, request_id: 7, second: 0, third: 0, varbinds };
    let mut packet = Vec::new();
    let message = Message { version: Version::V2c, community: b"public", pdu, trailing: 0 };
    message.write(&mut Writer::default(), &mut packet);
    packet
}

fn manager() -> UdpSocket {
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    socket
}

/// Who answered, and by which name.
fn answer(socket: &UdpSocket) -> (SocketAddr, String) {
    let mut buffer = [0; 2_048];
    let (length, from) = socket.recv_from(&mut buffer).expect("an answer");
    let message = Message::read(&buffer[..length]).expect("a good answer");
    let Value::OctetString(name) = message.pdu.varbinds[0].value else { panic!("no name") };
    (from, String::from_utf8_lossy(name).into_owned())
}

fn every_device_answers_by_its_own_name_and_address(options: Options) {
    const COUNT: usize = 150;
    let fleet = Fleet::start(options, devices(COUNT, "")).expect("loopback can be bound");
    let socket = manager();
    for at in 0..COUNT {
        socket.send_to(&question(), fleet.address(at)).expect("sent");
    }
    let mut answers: Vec<_> = (0..COUNT).map(|_| answer(&socket)).collect();
    let mut expected: Vec<_> = (0..COUNT).map(|at| (fleet.address(at), format!("switch-{at}"))).collect();
    answers.sort();
    expected.sort();
    assert_eq!(answers, expected);
    let counts = fleet.counts();
    assert_eq!((counts.requests, counts.replies, counts.varbinds, fleet.dropped()), (150, 150, 150, 0));
    assert_eq!(fleet.device(5).counts().requests, 1);
}

#[test]
fn on_ports() {
    every_device_answers_by_its_own_name_and_address(Options { threads: 2, ..Options::default() });
}

#[test]
fn on_ports_one_datagram_a_call() {
    every_device_answers_by_its_own_name_and_address(Options {
        portable: true,
        threads: 2,
        ..Options::default()
    });
}

#[cfg(target_os = "linux")]
#[test]
fn on_addresses() {
    for portable in [false, true] {
        let place = Place::Addresses { first: Ipv4Addr::new(127, 18, 0, 200), port: 0 };
        every_device_answers_by_its_own_name_and_address(Options { place, portable, threads: 2, seed: 1 });
    }
}

#[cfg(target_os = "linux")]
#[test]
fn other_addresses_of_the_machine_are_not_served() {
    let place = Place::Addresses { first: Ipv4Addr::new(127, 18, 0, 1), port: 0 };
    let fleet = Fleet::start(Options { place, ..Options::default() }, devices(1, "")).expect("a fleet");
    let socket = manager();
    for beside in [Ipv4Addr::new(127, 18, 0, 2), Ipv4Addr::LOCALHOST] {
        socket.send_to(&question(), (beside, fleet.address(0).port())).expect("sent");
    }
    socket.send_to(&question(), fleet.address(0)).expect("sent");
    assert_eq!(answer(&socket).0, fleet.address(0));
    assert_eq!(fleet.counts().datagrams, 1, "what came before was for nobody");
}

#[test]
fn replies_can_come_from_elsewhere() {
    let places = [
        Place::Ports { address: Ipv4Addr::LOCALHOST.into() },
        #[cfg(target_os = "linux")]
        Place::Addresses { first: Ipv4Addr::new(127, 18, 1, 1), port: 0 },
    ];
    for place in places {
        for portable in [false, true] {
            let options = Options { place, portable, ..Options::default() };
            let fleet = Fleet::start(options, devices(1, "wrong-port every 2\nwrong-source every 3\n"))
                .expect("a fleet");
            let (socket, own) = (manager(), fleet.address(0));
            let from = || {
                socket.send_to(&question(), own).expect("sent");
                answer(&socket).0
            };
            assert_eq!(from(), own);
            let port = from();
            assert!(port.ip() == own.ip() && port.port() != own.port(), "{port}");
            let source = from();
            assert_ne!(source, own);
            if cfg!(target_os = "linux") {
                assert!(source.ip() != own.ip() && source.port() == own.port(), "{source}");
            }
        }
    }
}

#[test]
fn what_is_late_comes_late_and_in_order_of_its_time() {
    let script = "late-duplicate 60ms\ndelay 20ms\n";
    let fleet = Fleet::start(Options::default(), devices(1, script)).expect("a fleet");
    let socket = manager();
    let asked = Instant::now();
    socket.send_to(&question(), fleet.address(0)).expect("sent");
    let times = [0, 1].map(|_| {
        answer(&socket);
        asked.elapsed()
    });
    assert!(times[0] >= Duration::from_millis(20) && times[1] >= Duration::from_millis(80), "{times:?}");
}

/// Sockets were once served last in, first out: a flood at one kept the others from being heard.
#[test]
fn a_device_that_is_flooded_does_not_silence_the_others() {
    let fleet = Fleet::start(Options::default(), devices(3, "")).expect("a fleet");
    let (flooded, stop) = (fleet.address(1), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
            while !stop.load(Ordering::Relaxed) {
                let _ = socket.send_to(&question(), flooded);
            }
        });
        let _stop = Stop(&stop);
        let socket = manager();
        for at in [0, 2, 0, 2] {
            socket.send_to(&question(), fleet.address(at)).expect("sent");
            assert_eq!(answer(&socket).1, format!("switch-{at}"));
        }
    });
}

/// Ends a flood, also where the test fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_fleet_ends_when_it_is_dropped() {
    let fleet = Fleet::start(Options::default(), devices(2, "")).expect("a fleet");
    let address = fleet.address(1);
    drop(fleet);
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.connect(address).expect("connected");
    let _ = socket.send(&question());
    socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let refused = socket.recv(&mut [0; 100]).map_err(|error| error.kind());
    assert_eq!(refused, Err(ErrorKind::ConnectionRefused));
}

#[test]
fn what_cannot_be_placed_is_refused() {
    let check = |options: Options, count, expected: &str| {
        let error = Fleet::start(options, devices(count, "")).expect_err("bad").to_string();
        assert!(error.contains(expected), "{error}");
    };
    let on = |first| Options { place: Place::Addresses { first, port: 0 }, ..Options::default() };
    check(on(Ipv4Addr::new(10, 0, 0, 1)), 1, "do not lie within 127.0.0.0/8");
    check(on(Ipv4Addr::new(127, 255, 255, 250)), 9, "do not lie within 127.0.0.0/8");
    check(Options { threads: 0, ..Options::default() }, 1, "1 to 64 threads");
    check(
        Options { place: Place::Ports { address: [192, 0, 2, 1].into() }, ..Options::default() },
        1,
        "192.0.2.1",
    );
}
