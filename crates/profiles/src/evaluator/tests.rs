use std::collections::BTreeMap;

use proptest::prelude::*;
use snmp::Oid;

use super::*;
use crate::{Recorded, Set};

/// A sink that counts what it was asked and can forget.
#[derive(Default)]
struct Ledger {
    stamp: u64,
    names: Vec<String>,
    asked: u64,
    values: BTreeMap<String, f64>,
    refused: BTreeMap<(String, Reason), u64>,
    first: BTreeMap<String, u32>,
    unwanted: Option<&'static str>,
}

impl Ledger {
    fn next_round(&mut self) {
        self.asked = 0;
        self.values.clear();
        self.refused.clear();
    }
}

impl Sink for Ledger {
    fn stamp(&self) -> u64 {
        self.stamp
    }

    fn series(&mut self, family: &Family, labels: &[(&str, &str)]) -> Option<Handle> {
        self.asked += 1;
        let labels: Vec<String> = labels.iter().map(|(name, text)| format!("{name}={text}")).collect();
        let name = format!("{}{{{}}}", family.name, labels.join(","));
        let at = self.names.iter().position(|known| *known == name).unwrap_or_else(|| {
            self.names.push(name);
            self.names.len() - 1
        });
        Some(Handle(at as u32))
    }

    fn value(&mut self, handle: Handle, value: f64) {
        self.values.insert(self.names[handle.0 as usize].clone(), value);
    }

    fn refused(&mut self, family: &Family, reason: Reason) {
        *self.refused.entry((family.name.to_string(), reason)).or_default() += 1;
    }

    fn first_indices(&mut self, rows: &[(u32, &str)]) -> Vec<u32> {
        rows.iter().map(|(index, key)| *self.first.entry((*key).to_owned()).or_insert(*index)).collect()
    }

    fn wanted(&mut self, shown: &str) -> bool {
        self.unwanted != Some(shown)
    }
}

const PORTS: &str = "
profile: ports
tables:
  - name: counters
    entry: 1.3.6.1.4.1.99.1.1
    budget: {rows: 50}
    index: {number: {at: 0}}
    joins: {x: {table: names, index: [number]}}
    labels: {number: x.stable or number, name: x.name}
    metrics:
      - {name: octets, kind: counter, value: 1}
      - {name: errors, kind: counter, value: 2}
  - name: names
    entry: 1.3.6.1.4.1.99.1.2
    index: {number: {at: 0}}
    columns:
      name: {arc: 1, parse: text}
    identity: {index: number, key: name}
";

fn profile(text: &str, name: &str) -> Arc<Profile> {
    let set = Set::load([(format!("{name}.yaml"), text)]).unwrap_or_else(|error| panic!("{error}"));
    set.get(name).expect("it was just loaded").clone()
}

/// Rounds of one device, cell by cell.
struct Device {
    evaluator: Evaluator,
    ledger: Ledger,
}

impl Device {
    fn new(text: &str, name: &str) -> Self {
        Self { evaluator: Evaluator::new(&profile(text, name)), ledger: Ledger::default() }
    }

    /// Tables as (ordinal, whole, recording).
    fn round(&mut self, tables: &[(usize, bool, &str)]) -> Outcome {
        self.ledger.next_round();
        let plan = self.evaluator.profile().clone();
        let recorded: Vec<Recorded> =
            tables.iter().map(|(_, _, text)| Recorded::parse(text.as_bytes()).expect("good lines")).collect();
        let mut readings = Readings::new();
        for ((at, whole, _), recorded) in tables.iter().zip(&recorded) {
            let mut cells = Vec::new();
            for (oid, value) in recorded.iter() {
                let columns = &plan.plan().tables[*at].columns;
                let found = columns.iter().enumerate().find_map(|(number, column)| {
                    Some((number as u16, oid.view().strip_prefix(column.view())?))
                });
                if let Some((number, index)) = found {
                    cells.push((number, index, value));
                }
            }
            readings.table(*at, *whole, cells.into_iter());
        }
        self.evaluator.round(readings, &mut self.ledger)
    }

    fn check(&self, expected: &[(&str, f64)]) {
        let expected: BTreeMap<String, f64> =
            expected.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        assert_eq!(self.ledger.values, expected);
    }
}

const COUNTERS: &str = "1.3.6.1.4.1.99.1.1.1.1|65|10\n1.3.6.1.4.1.99.1.1.1.2|65|20\n";
const NAMES: &str = "1.3.6.1.4.1.99.1.2.1.1|4|a\n1.3.6.1.4.1.99.1.2.1.2|4|b\n";

#[test]
fn a_round_of_known_series_asks_for_no_handle() {
    let mut device = Device::new(PORTS, "ports");
    let first = device.round(&[(0, true, COUNTERS), (1, true, NAMES)]);
    assert_eq!((first.values, first.relabelled, device.ledger.asked), (2, true, 2));
    device.check(&[("octets{number=1,name=a}", 10.0), ("octets{number=2,name=b}", 20.0)]);
    let second = device.round(&[(0, true, &COUNTERS.replace("|10", "|11")), (1, true, NAMES)]);
    assert_eq!((second.values, second.relabelled, device.ledger.asked), (2, false, 0));
    device.check(&[("octets{number=1,name=a}", 11.0), ("octets{number=2,name=b}", 20.0)]);
    // Names need not be read each time.
    let third = device.round(&[(0, true, COUNTERS)]);
    assert_eq!((third.values, third.relabelled, device.ledger.asked), (2, false, 0));
}

#[test]
fn a_renamed_row_alone_becomes_a_new_series() {
    let mut device = Device::new(PORTS, "ports");
    device.round(&[(0, true, COUNTERS), (1, true, NAMES)]);
    device.round(&[(0, true, COUNTERS), (1, true, &NAMES.replace("|b", "|c"))]);
    assert_eq!(device.ledger.asked, 1);
    device.check(&[("octets{number=1,name=a}", 10.0), ("octets{number=2,name=c}", 20.0)]);
}

#[test]
fn a_renumbered_row_keeps_its_first_index() {
    let mut device = Device::new(PORTS, "ports");
    device.round(&[(0, true, COUNTERS), (1, true, NAMES)]);
    // A card was added: what was 1 and 2 is 2 and 3.
    let counters =
        "1.3.6.1.4.1.99.1.1.1.1|65|1\n1.3.6.1.4.1.99.1.1.1.2|65|11\n1.3.6.1.4.1.99.1.1.1.3|65|21\n";
    let names = "1.3.6.1.4.1.99.1.2.1.1|4|new\n1.3.6.1.4.1.99.1.2.1.2|4|a\n1.3.6.1.4.1.99.1.2.1.3|4|b\n";
    device.round(&[(0, true, counters), (1, true, names)]);
    device.check(&[
        ("octets{number=1,name=new}", 1.0),
        ("octets{number=1,name=a}", 11.0),
        ("octets{number=2,name=b}", 21.0),
    ]);
}

#[test]
fn rows_wait_for_their_names_but_not_for_ever() {
    let mut device = Device::new(PORTS, "ports");
    let partial = "1.3.6.1.4.1.99.1.2.1.1|4|a\n";
    for _ in 0..WAIT_READS {
        let outcome = device.round(&[(0, true, COUNTERS), (1, false, partial)]);
        assert_eq!((outcome.values, outcome.waiting), (1, 1));
        device.check(&[("octets{number=1,name=a}", 10.0)]);
    }
    device.round(&[(0, true, COUNTERS), (1, false, partial)]);
    device.check(&[("octets{number=1,name=a}", 10.0), ("octets{number=2}", 20.0)]);
    // What was known of a name stays while a table is not whole.
    let mut device = Device::new(PORTS, "ports");
    device.round(&[(0, true, COUNTERS), (1, true, NAMES)]);
    device.round(&[(0, true, COUNTERS), (1, false, "")]);
    device.check(&[("octets{number=1,name=a}", 10.0), ("octets{number=2,name=b}", 20.0)]);
    // When it is whole and the row is not in it, the name is gone, at the next look.
    device.round(&[(0, true, COUNTERS), (1, true, partial)]);
    device.round(&[(0, true, COUNTERS), (1, true, partial)]);
    device.check(&[("octets{number=1,name=a}", 10.0), ("octets{number=2}", 20.0)]);
}

#[test]
fn rows_that_are_gone_give_nothing_and_may_come_back() {
    let mut device = Device::new(PORTS, "ports");
    device.round(&[(0, true, COUNTERS), (1, true, NAMES)]);
    let only_second = "1.3.6.1.4.1.99.1.1.1.2|65|21\n";
    for _ in 0..2 {
        device.round(&[(0, true, only_second), (1, true, NAMES)]);
        device.check(&[("octets{number=2,name=b}", 21.0)]);
    }
    let outcome = device.round(&[(0, true, COUNTERS), (1, true, NAMES)]);
    assert_eq!(outcome.values, 2);
    device.check(&[("octets{number=1,name=a}", 10.0), ("octets{number=2,name=b}", 20.0)]);
    let outcome = device.round(&[(0, true, COUNTERS), (1, true, NAMES)]);
    assert_eq!((outcome.values, device.ledger.asked), (2, 0));
}

#[test]
fn an_unwanted_row_is_left_out_of_every_table_that_joins_it() {
    let mut device = Device::new(PORTS, "ports");
    device.ledger.unwanted = Some("b");
    let outcome = device.round(&[(0, true, COUNTERS), (1, true, NAMES)]);
    assert_eq!((outcome.values, outcome.left_out), (1, 1));
    device.check(&[("octets{number=1,name=a}", 10.0)]);
    assert!(!device.ledger.first.contains_key("b"), "what is left out would only fill the memory");
}

#[test]
fn a_sink_that_forgot_is_asked_again() {
    let mut device = Device::new(PORTS, "ports");
    device.round(&[(0, true, COUNTERS), (1, true, NAMES)]);
    device.ledger.stamp = 1;
    device.round(&[(0, true, COUNTERS), (1, true, NAMES)]);
    assert_eq!((device.ledger.asked, device.ledger.values.len()), (2, 2));
}

#[test]
fn rows_above_the_budget_are_thrown_away_and_counted() {
    let mut device = Device::new(PORTS, "ports");
    let many: String = (1..=60).map(|row| format!("1.3.6.1.4.1.99.1.1.1.{row}|65|1\n")).collect();
    let outcome = device.round(&[(0, true, &many), (1, true, NAMES)]);
    assert_eq!((outcome.values, outcome.rows_over), (50, 10));
}

#[test]
fn what_is_no_number_is_refused_with_its_reason() {
    let mut device = Device::new(PORTS, "ports");
    let text = "1.3.6.1.4.1.99.1.1.1.1|4|ten\n1.3.6.1.4.1.99.1.1.1.2|5|\n1.3.6.1.4.1.99.1.1.1.3|68x|9f7804ffc00000\n";
    let outcome = device.round(&[(0, true, text), (1, true, NAMES)]);
    assert_eq!((outcome.values, outcome.refused), (0, 3));
    let reasons: Vec<(Reason, u64)> = device.ledger.refused.iter().map(|((_, r), n)| (*r, *n)).collect();
    assert_eq!(reasons, [(Reason::Null, 1), (Reason::WrongType, 1), (Reason::Unparsable, 1)]);
}

#[test]
fn columns_in_any_order_and_with_gaps_find_their_rows() {
    let mut device = Device::new(PORTS, "ports");
    let one: String = (1..=40).map(|row| format!("1.3.6.1.4.1.99.1.1.1.{row}|65|{row}\n")).collect();
    // The second column has every 20th row only, which is beyond what is looked ahead.
    let two: String = [20, 40].iter().map(|row| format!("1.3.6.1.4.1.99.1.1.2.{row}|65|{row}\n")).collect();
    for _ in 0..3 {
        let outcome = device.round(&[(0, true, &format!("{two}{one}")), (1, true, NAMES)]);
        assert_eq!(outcome.values, 42);
        assert_eq!(device.ledger.values["errors{number=40}"], 40.0);
        assert_eq!(device.ledger.values["octets{number=20}"], 20.0);
    }
}

#[test]
fn memory_of_a_device_of_a_hundred_series_is_small() {
    let mut text = String::new();
    for row in 1..=10 {
        for arc in [1, 2, 5, 7, 8, 10, 13, 14, 16, 19, 20] {
            let (tag, value) =
                if arc == 2 { ("4", "GigabitEthernet0/0/1".to_owned()) } else { ("2", row.to_string()) };
            text.push_str(&format!("1.3.6.1.2.1.2.2.1.{arc}.{row}|{tag}|{value}\n"));
        }
        text.push_str(&format!(
            "1.3.6.1.2.1.31.1.1.1.1.{row}|4|Gi0/0/{row}\n1.3.6.1.2.1.31.1.1.1.18.{row}|4|to Kudus {row}\n"
        ));
    }
    let set = Set::embedded();
    let recorded = Recorded::parse(text.as_bytes()).expect("good");
    let mut evaluator = Evaluator::new(set.get("if-mib").expect("embedded"));
    evaluator.round(recorded.readings(evaluator.profile().clone().plan()), &mut Ledger::default());
    let bytes = evaluator.memory_bytes();
    assert!(bytes < 4_500, "{bytes} bytes");
}

/// Values of every type, for any column.
fn line() -> impl Strategy<Value = (u32, u32, String)> {
    let value = prop_oneof![
        any::<i32>().prop_map(|number| format!("2|{number}")),
        any::<u64>().prop_map(|number| format!("70|{number}")),
        prop::collection::vec(any::<u8>(), 0..12).prop_map(|bytes| {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("4x|{hex}")
        }),
        "-?[0-9]{1,4}(\\.[0-9]{1,2})?".prop_map(|text| format!("4|{text}")),
        Just("5|".to_owned()),
        Just("6|1.3.6.1.2.1.2.2.1.1.3".to_owned()),
    ];
    (1..48u32, 1..6u32, value)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn no_device_makes_any_profile_panic_and_a_second_look_sees_the_same(
        lines in prop::collection::vec((any::<prop::sample::Index>(), line()), 0..120),
        profile in any::<prop::sample::Index>(),
    ) {
        thread_local!(static SET: Set = Set::embedded());
        SET.with(|set| {
            let profile = profile.get(set.profiles()).clone();
            let plan = profile.plan();
            let mut text = String::new();
            for (table, (arc, row, value)) in &lines {
                let tables = plan.tables.len() + plan.scalars.len();
                if tables == 0 {
                    continue;
                }
                let at = table.index(tables);
                let base: Oid = match plan.tables.get(at) {
                    Some(table) => table.columns[*arc as usize % table.columns.len()].child(&[*row]).expect("short"),
                    None => {
                        let oids = &plan.scalars[at - plan.tables.len()].oids;
                        oids[*arc as usize % oids.len()].clone()
                    }
                };
                text.push_str(&format!("{base}|{value}\n"));
            }
            let recorded = Recorded::parse(text.as_bytes()).expect("good lines");
            let mut evaluator = Evaluator::new(&profile);
            let mut ledger = Ledger::default();
            let first = evaluator.round(recorded.readings(plan), &mut ledger);
            let values = std::mem::take(&mut ledger.values);
            ledger.next_round();
            let second = evaluator.round(recorded.readings(plan), &mut ledger);
            assert_eq!((first.values, first.refused), (second.values, second.refused));
            assert_eq!(values, ledger.values);
            assert_eq!(ledger.asked, 0, "nothing is new in the second round");
            assert!(ledger.values.values().all(|value| value.is_finite()));
        });
    }

    #[test]
    fn the_order_of_cells_changes_nothing(seed in any::<u64>()) {
        let mut cells: Vec<String> = (1..=20).flat_map(|row| {
            [format!("1.3.6.1.4.1.99.1.1.1.{row}|65|{row}"), format!("1.3.6.1.4.1.99.1.1.2.{row}|65|{}", row * 2)]
        }).collect();
        let mut ordered = Device::new(PORTS, "ports");
        ordered.round(&[(0, true, &cells.join("\n")), (1, true, NAMES)]);
        // A shuffle by a linear congruence, so that the case can be told by its seed.
        let mut state = seed;
        for at in (1..cells.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            cells.swap(at, (state >> 33) as usize % (at + 1));
        }
        let profile = ordered.evaluator.profile().clone();
        let lines: Vec<Recorded> = cells.iter().map(|line| Recorded::parse(line.as_bytes()).expect("good")).collect();
        let names = Recorded::parse(NAMES.as_bytes()).expect("good");
        let mut evaluator = Evaluator::new(&profile);
        // Two sinks, each with handles of its own.
        for stamp in 7..9 {
            let mut ledger = Ledger { first: ordered.ledger.first.clone(), ..Ledger::default() };
            ledger.stamp = stamp;
            let mut readings = Readings::new();
            let columns = &profile.plan().tables[0].columns;
            let cells = lines.iter().flat_map(|line| line.iter()).map(|(oid, value)| {
                let found = columns.iter().enumerate();
                let mut found = found.filter_map(|(at, column)| Some((at as u16, oid.view().strip_prefix(column.view())?)));
                let (column, index) = found.next().expect("one of the two");
                (column, index, value)
            });
            readings.table(0, true, cells);
            let column = &profile.plan().tables[1].columns[0];
            readings.table(1, true, names.iter().map(|(oid, value)| {
                (0, oid.view().strip_prefix(column.view()).expect("a name"), value)
            }));
            evaluator.round(readings, &mut ledger);
            prop_assert_eq!(&ledger.values, &ordered.ledger.values);
        }
    }
}
