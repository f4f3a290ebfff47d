//! What a value costs: reading a reply, reading it into a round's cells, writing a request.
//!
//! `cargo bench -p snmp --bench codec`; times are per reply of 48 bindings (8 columns, 6 rows), about 1,000 bytes.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use snmp::ber::Writer;
use snmp::round::{Assignment, Habit, Path, Plan, Round, Table};
use snmp::{Message, Oid, Pdu, PduKind, Reason, Response, Value, Varbind, Version};

const COLUMNS: u32 = 8;
const ROWS: u32 = 6;

fn column(number: u32) -> Oid {
    Oid::from_arcs(&[1, 3, 6, 1, 2, 1, 31, 1, 1, 1, number]).expect("a good OID")
}

fn reply() -> Vec<u8> {
    let cells =
        (0..ROWS).flat_map(|row| (0..COLUMNS).map(move |c| column(c + 6).child(&[row + 1]).expect("short")));
    let names: Vec<Oid> = cells.collect();
    let varbinds = names.iter().map(|name| Varbind { name: name.view(), value: Value::Counter64(1 << 40) });
    let pdu = Pdu {
        kind: PduKind::Response,
        request_id: 0x1234_5678,
        second: 0,
        third: 0,
        varbinds: varbinds.collect(),
    };
    let message = Message { version: Version::V2c, community: b"public", pdu, trailing: 0 };
    let mut packet = Vec::new();
    message.write(&mut Writer::default(), &mut packet);
    packet
}

/// A round that has asked for eight columns of a table of five rows: six with the one that shows the end.
fn round() -> Round {
    let table = Arc::new(Table::new("t", (6..6 + COLUMNS).map(column).collect()));
    let habit = Habit { rows: ROWS - 1, cell_bytes: 20, ..Habit::new() };
    let mut round = Round::new(Plan {
        scalars: Arc::new([]),
        tables: vec![Assignment { table, habit, parked: false }],
        path: Path::new(),
        reply_bytes_max: 1472,
        bulk: true,
        time_max: Duration::from_secs(60),
        bytes_max: 64 << 20,
        deny: Arc::new([]),
    });
    assert!(round.prepare(Duration::ZERO));
    let pdu = round.pdu(1 << 20);
    assert_eq!((pdu.varbinds.len(), pdu.third), (COLUMNS as usize, ROWS as i32));
    round
}

fn codec(bench: &mut Criterion) {
    let packet = reply();
    let mut group = bench.benchmark_group("snmp");
    group.throughput(Throughput::Elements(u64::from(COLUMNS * ROWS)));
    group.bench_function("read a reply", |b| {
        b.iter(|| Message::read(black_box(&packet)).expect("a good packet"))
    });
    group.bench_function("read into cells", |b| {
        b.iter_batched_ref(
            round,
            |round| {
                let Response { status, index, varbinds } =
                    Response::read(black_box(&packet)).expect("a good packet");
                round.on_reply(status, index, varbinds, packet.len());
            },
            criterion::BatchSize::SmallInput,
        );
    });
    let mut read = round();
    let response = Response::read(&packet).expect("a good packet");
    read.on_reply(response.status, response.index, response.varbinds, packet.len());
    let table = read.finish(&Reason::Stopped).tables.remove(0);
    assert_eq!(table.rows.len() as u32, COLUMNS * ROWS);
    group.bench_function("look at cells", |b| {
        b.iter(|| table.cells().filter_map(|cell| cell.value.number()).sum::<f64>());
    });
    let asking = round();
    let (mut writer, mut out) = (Writer::default(), Vec::new());
    group.bench_function("write a request", |b| {
        b.iter(|| {
            let pdu = black_box(&asking).pdu(1 << 20);
            Message { version: Version::V2c, community: b"public", pdu, trailing: 0 }
                .write(&mut writer, &mut out);
        });
    });
    group.finish();
}

criterion_group!(benches, codec);
criterion_main!(benches);
