//! What v3 costs a message: sealing a request, opening a reply, sealing and opening at the other end.
//!
//! `cargo bench -p snmp --bench usm`; replies are of 48 bindings (8 columns, 6 rows), about 1,100 bytes, requests of 8 names.

use std::hint::black_box;
use std::time::Duration;

use criterion::{
    BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime,
};
use snmp::ber::Writer;
use snmp::usm::{
    AuthProtocol, Authority, Context, EngineId, Exchange, Opened, Peer, PrivProtocol, Sealed, Served, User,
};
use snmp::{Oid, Pdu, PduKind, Request, RequestKind, Value, Varbind};

const COLUMNS: u32 = 8;
const ROWS: u32 = 6;
const NOW: Duration = Duration::from_secs(1000);

fn column(number: u32) -> Oid {
    Oid::from_arcs(&[1, 3, 6, 1, 2, 1, 31, 1, 1, 1, number]).expect("a good OID")
}

/// Both sides, acquainted; the exchange of the last request is kept, so that one reply can be opened again and again.
struct Wire {
    peer: Peer,
    exchange: Exchange,
    authority: Authority,
    request: Request,
    names: Vec<Oid>,
    out: Writer,
    packet: Vec<u8>,
}

impl Wire {
    fn new(user: &User) -> Self {
        let id = EngineId::new(b"\x80\0\0\x09\x04bench").expect("short");
        let cells = (0..ROWS)
            .flat_map(|row| (0..COLUMNS).map(move |c| column(c + 6).child(&[row + 1]).expect("short")));
        let mut wire = Self {
            peer: Peer::new(user.clone(), Context::default()),
            exchange: Exchange::default(),
            authority: Authority::new(id, 3, Duration::ZERO, [user.clone()]),
            request: Request {
                kind: RequestKind::GetBulk { max_repetitions: 6 },
                names: (6..6 + COLUMNS).map(column).collect(),
            },
            names: cells.collect(),
            out: Writer::default(),
            packet: Vec::new(),
        };
        assert_eq!(wire.seal(), Sealed::Discovery);
        let mut report = Vec::new();
        wire.authority.open(NOW, &mut wire.packet, &mut wire.out, &mut report).expect("a good packet");
        wire.peer.open(NOW, &mut wire.exchange, &mut report).expect("a good report");
        wire.turn();
        wire
    }

    /// One request and its answer, so that the engine is confirmed.
    fn turn(&mut self) {
        assert_eq!(self.seal(), Sealed::Request);
        let mut reply = self.reply();
        let opened = self.peer.open(NOW, &mut self.exchange, &mut reply);
        assert!(matches!(opened, Ok(Opened::Pdu(_))));
    }

    fn seal(&mut self) -> Sealed {
        let pdu = self.request.pdu(7);
        let write = |out: &mut Writer| pdu.write(out);
        self.peer.seal(NOW, &mut self.exchange, 7, 65_507, write, &mut self.out, &mut self.packet)
    }

    fn reply(&mut self) -> Vec<u8> {
        let value = Value::Counter64(1 << 40);
        let varbinds = self.names.iter().map(|name| Varbind { name: name.view(), value }).collect();
        let pdu = Pdu { kind: PduKind::Response, request_id: 7, second: 0, third: 0, varbinds };
        let mut reply = Vec::new();
        let served = self.authority.open(NOW, &mut self.packet, &mut self.out, &mut reply);
        let Ok(Served::Request(asked)) = served else { panic!("a good request: {served:?}") };
        self.authority.seal(NOW, &asked, |out| pdu.write(out), &mut self.out, &mut reply);
        reply
    }
}

fn one(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, user: &User) {
    let mut wire = Wire::new(user);
    group.bench_function(format!("{name}: open a reply"), |bench| {
        wire.seal();
        let exchange = wire.exchange;
        let reply = wire.reply();
        let mut packet = reply.clone();
        bench.iter(|| {
            packet.copy_from_slice(black_box(&reply));
            let opened = wire.peer.open(NOW, &mut exchange.clone(), &mut packet);
            assert!(matches!(opened, Ok(Opened::Pdu(_))));
        });
    });
    // Some answer must come to every request, or a discovery does; the shortest is a report in clear, of a hundred bytes.
    let mut stranger = Authority::new(*wire.authority.engine_id(), 3, Duration::ZERO, []);
    let mut report = Vec::new();
    stranger.open(NOW, &mut wire.packet, &mut wire.out, &mut report).expect("a good packet");
    group.bench_function(format!("{name}: seal a request, read a report"), |bench| {
        bench.iter(|| {
            assert_eq!(wire.seal(), Sealed::Request);
            let opened = wire.peer.open(NOW, &mut wire.exchange, &mut report);
            assert!(matches!(opened, Ok(Opened::Refused { .. })));
        });
    });
    let mut wire = Wire::new(user);
    wire.seal();
    let request = wire.packet.clone();
    group.bench_function(format!("{name}: serve a request"), |bench| {
        bench.iter(|| {
            wire.packet.clone_from(black_box(&request));
            wire.reply()
        });
    });
}

fn usm(bench: &mut Criterion) {
    let mut group = bench.benchmark_group("usm");
    group.throughput(Throughput::Elements(u64::from(COLUMNS * ROWS)));
    let phrase: &[u8] = b"a phrase of the bench";
    let pairs = [
        (AuthProtocol::Md5, PrivProtocol::Des),
        (AuthProtocol::Sha1, PrivProtocol::Aes128),
        (AuthProtocol::Sha256, PrivProtocol::Aes128),
        (AuthProtocol::Sha512, PrivProtocol::Aes256),
    ];
    for (auth, privacy) in pairs {
        let user = User::new(b"bench", Some((auth, phrase)), Some((privacy, phrase))).expect("a good phrase");
        one(&mut group, &format!("{auth}/{privacy}"), &user);
    }
    let nobody = User::new(b"bench", None, None).expect("a good name");
    one(&mut group, "none", &nobody);
    group.finish();
}

criterion_group!(benches, usm);
criterion_main!(benches);
