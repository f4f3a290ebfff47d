//! What the evaluator costs a value: a switch of 48 ports read again and again, as in the agent's steady state.
//!
//! The goal is 50 ns a value (0.05 ms per 1,000 varbinds), sink and iterators included.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use profiles::{Evaluator, Family, Handle, Readings, Reason, Recorded, Set, Sink};
use snmp::{Index, Value};

/// Adds values up.
#[derive(Default)]
struct Sum {
    series: u32,
    sum: f64,
}

impl Sink for Sum {
    fn series(&mut self, _: &Family, _: &[(&str, &str)]) -> Option<Handle> {
        self.series += 1;
        Some(Handle(self.series))
    }

    fn value(&mut self, _: Handle, value: f64) {
        self.sum += value;
    }

    fn refused(&mut self, _: &Family, _: Reason) {}
}

/// 48 ports, their names, and 28 columns of counters and states: 1,500 values.
fn switch() -> Recorded {
    let mut text = String::new();
    for port in 1..=48 {
        text.push_str(&format!("1.3.6.1.2.1.2.2.1.2.{port}|4|GigabitEthernet0/0/{port}\n"));
        text.push_str(&format!("1.3.6.1.2.1.31.1.1.1.1.{port}|4|Gi0/0/{port}\n"));
        text.push_str(&format!("1.3.6.1.2.1.31.1.1.1.18.{port}|4|to room {port}\n"));
        for column in [1, 3, 4, 5, 7, 8, 9, 10, 11, 13, 14, 16, 17, 19, 20] {
            text.push_str(&format!("1.3.6.1.2.1.2.2.1.{column}.{port}|2|{column}\n"));
        }
        for column in [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15] {
            text.push_str(&format!("1.3.6.1.2.1.31.1.1.1.{column}.{port}|70|{port}\n"));
        }
    }
    Recorded::parse(text.as_bytes()).expect("good lines")
}

/// Cells as the walk's arena holds them: row by row, ready to be read.
fn cells<'a>(recorded: &'a Recorded, profile: &profiles::Profile) -> Vec<Vec<(u16, Index<'a>, Value<'a>)>> {
    let mut tables = Vec::new();
    for table in &profile.plan().tables {
        let mut cells = Vec::new();
        for (oid, value) in recorded.iter() {
            for (number, column) in table.columns.iter().enumerate() {
                if let Some(index) = oid.view().strip_prefix(column.view()) {
                    cells.push((number as u16, index, value));
                }
            }
        }
        cells.sort_by_key(|(column, index, _)| (index.single(), *column));
        tables.push(cells);
    }
    tables
}

fn evaluate(bench: &mut Criterion) {
    let set = Set::embedded();
    let profile = set.get("if-mib").expect("embedded");
    let recorded = switch();
    let tables = cells(&recorded, profile);
    let values: usize = tables.iter().map(Vec::len).sum();
    let mut evaluator = Evaluator::new(profile);
    let mut sink = Sum::default();
    let mut group = bench.benchmark_group("evaluate");
    group.throughput(Throughput::Elements(values as u64));
    group.bench_function("interfaces", |bench| {
        bench.iter(|| {
            let mut readings = Readings::new();
            for (at, cells) in tables.iter().enumerate() {
                readings.table(at, true, cells.iter().copied());
            }
            black_box(evaluator.round(readings, &mut sink))
        });
    });
    group.finish();
    black_box(sink.sum);
}

criterion_group!(benches, evaluate);
criterion_main!(benches);
