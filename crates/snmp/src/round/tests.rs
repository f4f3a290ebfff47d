use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::ber::Fault;

const TABLE: &str = "1.3.6.1.2.1.2.2.1";

fn oid(text: &str) -> Oid {
    text.parse().expect("a good OID")
}

fn column(number: u32) -> Oid {
    oid(TABLE).child(&[number]).expect("short")
}

/// An agent without a network: answers requests from a map, as RFC 3416 says, with faults on demand.
#[derive(Clone, Default)]
struct Agent {
    cells: BTreeMap<Oid, u32>,
    /// tooBig above this many bindings.
    bindings_max: Option<usize>,
    /// Cuts the reply after this many bindings.
    cut: Option<usize>,
    /// This status, without an index, for any GETBULK.
    bulk_error: Option<ErrorStatus>,
    /// genErr, with the index, whenever a name under this one is asked for.
    sick: Option<Oid>,
    /// noSuchInstance instead of this one's value.
    vanished: Option<Oid>,
    /// No reply whenever a name under this one is asked for.
    silent: Option<Oid>,
    /// A binding that cannot be read instead of any under this one.
    garbled: Option<Oid>,
    v1: bool,
    /// Every name that was asked for.
    asked: Vec<Oid>,
    /// Requests that came.
    requests: usize,
    /// Bindings that were sent.
    sent: usize,
    /// The names of each reply.
    replies: Vec<Vec<Oid>>,
}

type Bindings = Vec<(Oid, Option<u32>)>;

impl Agent {
    fn table(columns: u32, rows: u32) -> Self {
        let cells = (1..=columns)
            .flat_map(|c| (1..=rows).map(move |r| (column(c).child(&[r]).expect("short"), c * 1000 + r)));
        Self { cells: cells.collect(), ..Self::default() }
    }

    fn next(&self, name: &Oid) -> Option<(Oid, u32)> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.cells.range((Excluded(name), Unbounded)).next().map(|(name, value)| (name.clone(), *value))
    }

    fn bindings(&self, pdu: &Pdu<'_>) -> Result<Bindings, (ErrorStatus, usize)> {
        let names: Vec<Oid> = pdu.varbinds.iter().map(|varbind| varbind.name.to_oid()).collect();
        let rows = if pdu.kind == PduKind::GetBulk { pdu.third as usize } else { 1 };
        if let (PduKind::GetBulk, Some(status)) = (pdu.kind, self.bulk_error) {
            return Err((status, 0));
        }
        if let Some(at) = names.iter().position(|name| under(name, &self.sick)) {
            return Err((ErrorStatus::GEN_ERR, at + 1));
        }
        if self.bindings_max.is_some_and(|most| rows * names.len() > most) {
            return Err((ErrorStatus::TOO_BIG, 0));
        }
        if pdu.kind == PduKind::Get {
            return self.values(names);
        }
        let (mut cursors, mut out) = (names, Vec::new());
        for _ in 0..rows {
            for (at, cursor) in cursors.iter_mut().enumerate() {
                match self.next(cursor) {
                    Some((name, value)) => {
                        *cursor = name.clone();
                        out.push((name, Some(value)));
                    }
                    None if self.v1 => return Err((ErrorStatus::NO_SUCH_NAME, at + 1)),
                    None => out.push((cursor.clone(), None)),
                }
            }
        }
        Ok(out)
    }

    fn values(&self, names: Vec<Oid>) -> Result<Bindings, (ErrorStatus, usize)> {
        let value = |(at, name): (usize, Oid)| match self.cells.get(&name) {
            None if self.v1 => Err((ErrorStatus::NO_SUCH_NAME, at + 1)),
            value => Ok((name, value.copied())),
        };
        names.into_iter().enumerate().map(value).collect()
    }

    /// Answers what the round asks.
    fn answer(&mut self, round: &mut Round) {
        let pdu = round.pdu(7);
        self.requests += 1;
        self.asked.extend(pdu.varbinds.iter().map(|varbind| varbind.name.to_oid()));
        if pdu.varbinds.iter().any(|varbind| under(&varbind.name.to_oid(), &self.silent)) {
            return round.on_silence();
        }
        let get = pdu.kind == PduKind::Get;
        let bindings = self.bindings(&pdu);
        let (status, index, bindings) = match &bindings {
            Ok(bindings) => (ErrorStatus::NO_ERROR, 0, bindings.as_slice()),
            Err((status, index)) => (*status, *index, &[][..]),
        };
        let bindings = &bindings[..bindings.len().min(self.cut.unwrap_or(usize::MAX))];
        self.sent += bindings.len();
        self.replies.push(bindings.iter().map(|(name, _)| name.clone()).collect());
        let value = |name: &Oid, value: Option<u32>| match value {
            _ if self.vanished.as_ref() == Some(name) => Value::NoSuchInstance,
            Some(value) => Value::Counter32(value),
            None if get => Value::NoSuchInstance,
            None => Value::EndOfMibView,
        };
        let varbinds = bindings.iter().map(|(name, held)| {
            if under(name, &self.garbled) {
                return Err(ParseError { offset: 99, fault: Fault::NumberLength(0) });
            }
            Ok(Varbind { name: name.view(), value: value(name, *held) })
        });
        round.on_reply(status, index, varbinds, OVERHEAD_BYTES + 20 * bindings.len());
    }

    /// Answers a round to its end.
    fn serve(&mut self, plan: Plan) -> Ended {
        let mut round = Round::new(plan);
        while round.prepare(Duration::ZERO) {
            assert!(self.requests < 10_000, "a round must end");
            self.answer(&mut round);
        }
        round.finish(&Reason::Stopped)
    }
}

fn under(name: &Oid, place: &Option<Oid>) -> bool {
    place.as_ref().is_some_and(|place| name.view().strip_prefix(place.view()).is_some())
}

fn assign(table: Table, habit: Habit) -> Assignment {
    Assignment { table: table.into(), habit, parked: false }
}

fn plan(tables: Vec<Assignment>) -> Plan {
    Plan {
        scalars: Arc::new([]),
        tables,
        path: Path::new(),
        reply_bytes_max: 1472,
        bulk: true,
        time_max: Duration::from_secs(60),
        bytes_max: 64 << 20,
        deny: Arc::new([]),
    }
}

fn table(columns: u32) -> Table {
    Table::new("t", (1..=columns).map(column).collect())
}

fn one(table: Table) -> Plan {
    plan(vec![assign(table, Habit::new())])
}

/// The cells by column and row; each must come once.
fn cells(harvest: &TableHarvest) -> BTreeMap<(u16, u32), u32> {
    let mut got = BTreeMap::new();
    for cell in harvest.cells() {
        let key = (cell.column, cell.index.single().expect("one arc"));
        let Value::Counter32(value) = cell.value else { panic!("{:?}", cell.value) };
        assert_eq!(got.insert(key, value), None, "{key:?} came twice");
    }
    got
}

/// Reads a table of 3 columns and 20 rows that must come whole.
fn whole(agent: &Agent) -> (Agent, Ended) {
    let mut agent = agent.clone();
    let ended = agent.serve(Plan { bulk: !agent.v1, ..one(table(3)) });
    assert_eq!((ended.tables[0].failure(), cells(&ended.tables[0]).len()), (None, 60));
    (agent, ended)
}

#[test]
fn reads_a_table_in_both_ways() {
    let (_, ended) = whole(&Agent::table(3, 20));
    assert_eq!(cells(&ended.tables[0])[&(1, 20)], 2020);
    assert_eq!((ended.habits[0].rows, ended.answered, ended.silent), (20, true, false));
    let (agent, _) = whole(&Agent { v1: true, ..Agent::table(3, 20) });
    assert_eq!(agent.requests, 20 + 2, "three columns at a time; only the last one meets the end of the MIB");
}

#[test]
fn what_was_learned_saves_packets() {
    let mut agent = Agent::table(30, 52);
    let mut habit = Habit::new();
    let mut path = Path::new();
    let mut packets = Vec::new();
    for _ in 0..6 {
        agent.requests = 0;
        agent.sent = 0;
        let ended = agent.serve(Plan { path, ..plan(vec![assign(table(30), habit)]) });
        assert!(ended.tables[0].is_whole());
        (habit, path) = (ended.habits.into_iter().next().expect("one table"), ended.path);
        packets.push((agent.requests, agent.sent));
    }
    let (requests, sent) = packets[5];
    assert!(requests < packets[0].0 && requests <= 25, "{packets:?}");
    assert!(sent <= 1560 + 2 * 30, "little is sent in vain: {packets:?}");
}

#[test]
fn small_tables_share_a_request() {
    let cells =
        (1..=6).flat_map(|c| (1..=4).map(move |r| (column(c).child(&[r]).expect("short"), c * 10 + r)));
    let mut agent = Agent { cells: cells.collect(), ..Agent::default() };
    let habit = Habit { rows: 4, cell_bytes: 20, ..Habit::new() };
    let tables = (1..=3).map(|number| {
        let columns = vec![column(number * 2 - 1), column(number * 2)];
        assign(Table::new(format!("t{number}"), columns), habit.clone())
    });
    let ended = agent.serve(plan(tables.collect()));
    assert!(ended.tables.iter().all(|table| table.is_whole() && table.rows.len() == 8));
    assert_eq!(agent.requests, 1, "three tables of ten bindings with their ends fit one reply");
}

#[test]
fn too_big_halves_until_it_fits() {
    let (_, ended) = whole(&Agent { bindings_max: Some(5), ..Agent::table(3, 20) });
    assert!(ended.habits[0].repetitions_max <= 2);
    let (_, ended) = whole(&Agent { bindings_max: Some(1), ..Agent::table(3, 20) });
    assert_eq!((ended.habits[0].repetitions_max, ended.habits[0].columns_max), (1, 1));
    let mut agent = Agent { bindings_max: Some(0), ..Agent::table(3, 20) };
    let ended = agent.serve(one(table(3)));
    let too_big = Reason::Status(ErrorStatus::TOO_BIG);
    assert!(ended.tables[0].reasons.iter().all(|reason| *reason == too_big));
}

#[test]
fn broken_bulk_is_read_by_getnext_and_remembered() {
    for status in [ErrorStatus::GEN_ERR, ErrorStatus::NO_SUCH_NAME] {
        let agent = Agent { bulk_error: Some(status), ..Agent::table(3, 20) };
        if status == ErrorStatus::GEN_ERR {
            let (_, ended) = whole(&agent);
            assert!(ended.habits[0].bulk_rest > 0);
        }
    }
}

#[test]
fn a_sick_column_ends_alone_and_leaves_bulk_to_the_others() {
    let mut agent = Agent { sick: Some(column(2)), ..Agent::table(3, 200) };
    let ended = agent.serve(one(table(3)));
    let reasons = &ended.tables[0].reasons;
    assert_eq!(reasons[1], Reason::Status(ErrorStatus::GEN_ERR));
    assert!(reasons[0].is_complete() && reasons[2].is_complete());
    assert_eq!((ended.tables[0].rows.len(), ended.habits[0].bulk_rest), (400, 0));
    assert!(agent.requests < 30, "{} requests", agent.requests);
}

#[test]
fn a_binding_that_cannot_be_read_ends_its_column_with_the_offset() {
    let mut agent = Agent { garbled: Some(column(2).child(&[5]).expect("short")), ..Agent::table(3, 20) };
    let ended = agent.serve(one(table(3)));
    let reasons = &ended.tables[0].reasons;
    assert!(matches!(&reasons[1], Reason::Malformed(error) if error.offset == 99), "{reasons:?}");
    assert!(reasons[0].is_complete() && reasons[2].is_complete());
    assert_eq!(ended.tables[0].rows.len(), 44, "four rows of the garbled column came");
}

#[test]
fn short_replies_are_gone_on_from() {
    for cut in [1, 2, 3, 4, 7] {
        whole(&Agent { cut: Some(cut), ..Agent::table(3, 20) });
    }
    let mut agent = Agent { cut: Some(0), ..Agent::table(3, 20) };
    let ended = agent.serve(one(table(3)));
    assert!(ended.tables[0].reasons.iter().all(|reason| *reason == Reason::EmptyReply));
}

#[test]
fn a_row_that_vanishes_is_left_out() {
    let mut agent = Agent { vanished: Some(column(2).child(&[7]).expect("short")), ..Agent::table(3, 20) };
    let ended = agent.serve(one(table(3)));
    assert_eq!((ended.tables[0].failure(), ended.tables[0].rows.len()), (None, 59));
    assert_eq!(ended.tables[0].cost.skipped, 1);
}

#[test]
fn a_silent_table_is_to_blame_only_if_the_device_is_there() {
    let scalars: Arc<[Oid]> = Arc::new([oid("1.3.6.1.2.1.1.3.0")]);
    let mut agent = Agent::table(3, 20);
    agent.cells.insert(scalars[0].clone(), 42);
    agent.silent = Some(oid(TABLE));
    let other = Table::new("other", vec![oid("1.3.6.1.2.1.1")]);
    let tables = || vec![assign(table(3), Habit::new()), assign(other.clone(), Habit::new())];
    let given = Plan { scalars: scalars.clone(), ..plan(tables()) };
    let ended = agent.serve(given.clone());
    assert!(ended.tables[0].reasons.iter().all(|reason| *reason == Reason::Timeout));
    assert_eq!((ended.parked.as_slice(), ended.silent), (&[true, false][..], false));
    assert!(ended.tables[1].is_whole(), "the other table is read all the same");
    assert_eq!(ended.scalars.len(), 1);

    let mut round = Round::new(given);
    round.prepare(Duration::ZERO);
    agent.answer(&mut round);
    agent.silent = Some(oid("1.3"));
    while round.prepare(Duration::ZERO) {
        agent.answer(&mut round);
    }
    let ended = round.finish(&Reason::Stopped);
    assert_eq!((ended.parked.as_slice(), ended.silent), (&[false, false][..], true));
    assert!(ended.tables[1].reasons.iter().all(|reason| *reason == Reason::Timeout));
}

#[test]
fn a_dead_device_is_asked_once() {
    let mut agent = Agent { silent: Some(oid("1.3")), ..Agent::table(3, 20) };
    let ended = agent.serve(one(table(3)));
    assert_eq!((agent.requests, ended.answered, ended.silent), (1, false, true));
}

#[test]
fn a_parked_table_is_left_alone() {
    let mut agent = Agent::table(3, 20);
    let parked = Assignment { parked: true, ..assign(table(3), Habit::new()) };
    let ended = agent.serve(plan(vec![parked]));
    assert_eq!(agent.requests, 0);
    assert!(ended.tables[0].reasons.iter().all(|reason| *reason == Reason::Parked));
    assert_eq!(ended.parked, [false], "parking it was decided before");
}

#[test]
fn scalars_come_with_reasons_for_those_that_do_not() {
    let names: Arc<[Oid]> = (1..=60).map(|c| column(c).child(&[1]).expect("short")).collect();
    for v1 in [false, true] {
        let mut agent = Agent { v1, ..Agent::table(50, 1) };
        let ended = agent.serve(Plan { scalars: names.clone(), bulk: !v1, ..plan(Vec::new()) });
        assert_eq!(ended.scalars.len(), 50);
        let missing = ended.scalar_reasons.iter().filter(|reason| **reason == Some(Reason::NoSuchObject));
        assert_eq!(missing.count(), 10);
    }
    let mut agent = Agent { sick: Some(column(7)), bindings_max: Some(5), ..Agent::table(50, 1) };
    let ended = agent.serve(Plan { scalars: names, ..plan(Vec::new()) });
    assert_eq!(ended.scalars.len(), 49);
    assert_eq!(ended.scalar_reasons[6], Some(Reason::Status(ErrorStatus::GEN_ERR)));
}

/// Answers from a list, one binding a reply, whatever is asked.
fn scripted(table: Table, names: &[&str]) -> (Vec<u32>, Reason) {
    let mut round = Round::new(one(Table { repetitions_max: 1, ..table }));
    let mut names = names.iter();
    while round.prepare(Duration::ZERO) {
        let name = oid(names.next().expect("the round ends before the script"));
        let varbind = Varbind { name: name.view(), value: Value::Counter32(1) };
        round.on_reply(ErrorStatus::NO_ERROR, 0, [Ok(varbind)].into_iter(), 100);
    }
    let harvest = round.finish(&Reason::Stopped).tables.remove(0);
    (harvest.cells().map(|cell| cell.index.single().expect("one arc")).collect(), harvest.reasons[0].clone())
}

#[test]
fn names_must_grow_unless_the_table_has_no_order() {
    let ordered = Table::new("t", vec![oid("1.3.6.1.9")]);
    let unordered = Table { unordered: true, ..ordered.clone() };
    let (rows, reason) = scripted(ordered.clone(), &["1.3.6.1.9.5", "1.3.6.1.9.3"]);
    assert_eq!(rows, [5]);
    assert!(matches!(reason, Reason::NonIncreasing { .. }));
    let (rows, reason) = scripted(ordered, &["1.3.6.1.9.5", "1.3.6.1.9.5"]);
    assert!(rows == [5] && matches!(reason, Reason::NonIncreasing { .. }));
    let (rows, reason) =
        scripted(unordered.clone(), &["1.3.6.1.9.5", "1.3.6.1.9.3", "1.3.6.1.9.9", "1.3.6.1.8.1"]);
    assert_eq!((rows.as_slice(), reason), (&[5, 3, 9][..], Reason::OutOfTable));
    let (rows, reason) = scripted(unordered.clone(), &["1.3.6.1.9.5", "1.3.6.1.9.3", "1.3.6.1.9.5"]);
    assert_eq!((rows.as_slice(), reason), (&[5, 3][..], Reason::Repeats(oid("1.3.6.1.9.5"))));
    let bounded = Table { limits: Limits { rows_max: 2, ..Limits::default() }, ..unordered };
    let (rows, reason) = scripted(bounded, &["1.3.6.1.9.5", "1.3.6.1.9.3", "1.3.6.1.9.4"]);
    assert_eq!((rows.as_slice(), reason), (&[5, 3][..], Reason::Limit(Limit::Rows)));
}

#[test]
fn every_bound_ends_a_table_alone() {
    let check = |limits: Limits, expected: Limit| {
        let mut agent = Agent::table(3, 20);
        agent.cells.insert(oid("1.3.6.1.9.1"), 1);
        let small = Table { limits, ..table(3) };
        let other = Table::new("other", vec![oid("1.3.6.1.9")]);
        let mut round = Round::new(plan(vec![assign(small, Habit::new()), assign(other, Habit::new())]));
        let mut now = Duration::ZERO;
        while round.prepare(now) {
            agent.answer(&mut round);
            now += Duration::from_secs(1);
        }
        let ended = round.finish(&Reason::Stopped);
        assert!(ended.tables[0].reasons.contains(&Reason::Limit(expected)), "{:?}", ended.tables[0].reasons);
        assert!(ended.tables[1].is_whole());
    };
    let all = Limits::default();
    check(Limits { rows_max: 10, ..all }, Limit::Rows);
    check(Limits { bytes_max: 400, ..all }, Limit::Bytes);
    check(Limits { requests_max: 1, ..all }, Limit::Requests);
    check(Limits { time_max: Duration::from_millis(500), ..all }, Limit::Time);
}

#[test]
fn the_time_of_a_round_ends_everything() {
    let mut agent = Agent::table(3, 200);
    let mut round = Round::new(Plan { time_max: Duration::from_secs(2), ..one(table(3)) });
    let mut now = Duration::from_secs(100);
    while round.prepare(now) {
        agent.answer(&mut round);
        now += Duration::from_millis(800);
    }
    assert_eq!(round.ends_at(), Some(Duration::from_secs(102)));
    let ended = round.finish(&Reason::Stopped);
    assert!(ended.tables[0].reasons.iter().all(|reason| *reason == Reason::Limit(Limit::Time)));
    assert!(!ended.tables[0].rows.is_empty(), "what came is kept");
}

#[test]
fn a_slow_table_does_not_cost_the_round_the_others() {
    let (slow, mut agent) = (oid("1.3.6.1.9"), Agent::table(3, 20));
    agent.cells.extend((1..=500).map(|row| (slow.child(&[row]).expect("short"), row)));
    let limits = Limits { time_max: Duration::from_secs(3600), ..Limits::default() };
    let crawl = Table { repetitions_max: 2, limits, ..Table::new("slow", vec![slow.clone()]) };
    let quick = |key: &str| assign(Table::new(key, (1..=3).map(column).collect()), Habit::new());
    let tables = vec![assign(crawl, Habit::new()), quick("quick"), quick("last")];
    let mut round = Round::new(plan(tables));
    let mut now = Duration::from_secs(1000);
    while round.prepare(now) {
        let is_slow = round.pdu(1).varbinds[0].name.strip_prefix(slow.view()).is_some();
        now += if is_slow { Duration::from_secs(3) } else { Duration::from_millis(10) };
        agent.answer(&mut round);
    }
    let ended = round.finish(&Reason::Stopped);
    assert_eq!(ended.tables[0].reasons, [Reason::Limit(Limit::Time)]);
    assert!(ended.tables[1].is_whole() && ended.tables[2].is_whole());
    // What the others did not need is its own again: all of the minute but a few hundredths.
    assert!((36..=40).contains(&ended.tables[0].rows.len()), "{}", ended.tables[0].rows.len());
}

#[test]
fn the_bytes_of_a_round_are_bounded_over_all_tables() {
    let cells = (1..=9).flat_map(|c| (1..=50).map(move |r| (column(c).child(&[r]).expect("short"), r)));
    let agent = Agent { cells: cells.collect(), ..Agent::default() };
    let table = |c: u32| assign(Table::new(format!("t{c}"), vec![column(c)]), Habit::new());
    let read = |bytes_max: u64| agent.clone().serve(Plan { bytes_max, ..plan((1..=9).map(table).collect()) });
    assert!(read(64 << 20).tables.iter().all(TableHarvest::is_whole));
    let ended = read(4000);
    assert!(ended.tables[0].is_whole(), "what came before stands");
    assert_eq!(ended.tables[8].reasons, [Reason::Limit(Limit::RoundBytes)]);
    let bytes: u64 = ended.tables.iter().map(|table| table.cost.bytes).sum();
    assert!((4000..6000).contains(&bytes), "{bytes}");
}

#[test]
fn what_is_denied_is_never_asked() {
    let mut agent = Agent::table(5, 20);
    agent.cells.insert(oid("1.3.6.1.2.1.1.3.0"), 1);
    let deny: Arc<[Oid]> = Arc::new([column(2), oid("1.3.6.1.2.1.1"), column(4).child(&[5]).expect("short")]);
    let scalars: Arc<[Oid]> = Arc::new([oid("1.3.6.1.2.1.1.3.0"), column(1).child(&[1]).expect("short")]);
    let ended = agent.serve(Plan { deny: deny.clone(), scalars, ..one(table(4)) });
    assert_eq!(ended.scalar_reasons, [Some(Reason::Denied), None]);
    let reasons = &ended.tables[0].reasons;
    assert_eq!(reasons[1], Reason::Denied);
    assert!(reasons[0].is_complete() && reasons[2].is_complete() && reasons[3].is_complete(), "{reasons:?}");
    let cells = cells(&ended.tables[0]);
    assert_eq!((cells.len(), cells.contains_key(&(3, 5)), cells.contains_key(&(3, 6))), (59, false, true));
    let denied = agent.asked.iter().filter(|name| fence::denies(&deny, name.view()));
    // Behind the row that is denied is where the walk goes on.
    let behind = column(4).child(&[5, i32::MAX as u32]).expect("short");
    assert!(denied.clone().all(|name| *name == behind) && denied.count() <= 1, "{:?}", agent.asked);
    // Nor is a device that does not answer asked by it whether it is there.
    let mut silent = Agent { silent: Some(oid(TABLE)), ..Agent::table(3, 20) };
    silent.cells.insert(oid("1.3.6.1.4.0"), 1);
    let other = Table::new("other", vec![oid("1.3.6.1.4")]);
    let tables = vec![assign(other, Habit::new()), assign(table(3), Habit::new())];
    let ended = silent.serve(Plan { deny, ..plan(tables) });
    assert_eq!(ended.tables[1].reasons[0], Reason::Timeout);
    assert!(!silent.asked.contains(&oid("1.3.6.1.2.1.1.3.0")));
}

/// Addresses of a router, and right behind them its routes, which are denied.
struct Router {
    agent: Agent,
    deny: Arc<[Oid]>,
}

impl Router {
    fn new(addresses: u32) -> Self {
        let mut agent = Agent::default();
        for (entry, columns, rows) in [("1.3.6.1.2.1.4.20.1", 5, addresses), ("1.3.6.1.2.1.4.21.1", 13, 400)]
        {
            let names = (1..=columns).flat_map(|c| (1..=rows).map(move |r| [c, r]));
            agent.cells.extend(names.map(|arcs| (oid(entry).child(&arcs).expect("short"), 1)));
        }
        Self { agent, deny: Arc::new([oid("1.3.6.1.2.1.4.21")]) }
    }

    fn addresses(columns: std::ops::RangeInclusive<u32>, rows_known: u32) -> Assignment {
        let columns = columns.map(|c| oid("1.3.6.1.2.1.4.20.1").child(&[c]).expect("short"));
        let habit = Habit { rows: rows_known, cell_bytes: 20, ..Habit::new() };
        assign(Table::new("addresses", columns.collect()), habit)
    }

    /// Reads; the cells of each table, and of each reply how many bindings it had and how many of them were routes.
    fn read(&mut self, tables: Vec<Assignment>) -> (Vec<usize>, Vec<(usize, usize)>) {
        let ended = self.agent.serve(Plan { deny: self.deny.clone(), ..plan(tables) });
        assert!(ended.tables.iter().all(TableHarvest::is_whole));
        let routes =
            |names: &Vec<Oid>| names.iter().filter(|name| fence::denies(&self.deny, name.view())).count();
        let replies = self.agent.replies.iter().map(|names| (names.len(), routes(names)));
        (ended.tables.iter().map(|table| table.rows.len()).collect(), replies.collect())
    }
}

#[test]
fn what_is_denied_right_behind_a_column_is_hardly_reached() {
    // The last column of a table that was never read, at all lengths: this reached 57 rows into the routes.
    for addresses in 0..60 {
        let (cells, replies) = Router::new(addresses).read(vec![Router::addresses(5..=5, 0)]);
        assert_eq!(cells, [addresses as usize]);
        assert!(replies.iter().all(|(_, routes)| *routes <= 10), "{addresses}: {replies:?}");
    }
    // All columns of a table that is not there, which is never learned to have rows: each leads into the routes.
    for addresses in [0, 1] {
        let (_, replies) = Router::new(addresses).read(vec![Router::addresses(1..=5, 0)]);
        assert!(replies.iter().all(|(_, routes)| *routes <= 10), "{replies:?}");
    }
    // What is known to be 20 rows long is read with its end and no farther, and its columns still share requests.
    let (cells, replies) = Router::new(20).read(vec![Router::addresses(1..=5, 20)]);
    assert_eq!(cells, [100]);
    assert!(replies.iter().all(|(_, routes)| *routes <= 1) && replies.len() <= 4, "{replies:?}");
    // What is known may be true no longer.
    let (cells, replies) = Router::new(1).read(vec![Router::addresses(5..=5, 47)]);
    assert_eq!(cells, [1]);
    assert!(replies.iter().all(|(_, routes)| *routes <= 10), "{replies:?}");
}

#[test]
fn a_column_that_fills_a_request_does_not_reach_into_what_is_denied() {
    let other = |rows: u32| {
        let table = Table::new("other", vec![oid("1.3.6.1.2.1.2.2.1.1")]);
        assign(Table { repetitions_max: 100, ..table }, Habit { rows, cell_bytes: 20, ..Habit::new() })
    };
    for (known, addresses) in [(8, 8), (15, 8), (15, 15), (40, 30)] {
        let mut router = Router::new(addresses);
        let rows = (1..=known).map(|r| (oid("1.3.6.1.2.1.2.2.1.1").child(&[r]).expect("short"), r));
        router.agent.cells.extend(rows);
        let (cells, replies) = router.read(vec![other(known), Router::addresses(5..=5, addresses)]);
        assert_eq!(cells, [known as usize, addresses as usize]);
        assert!(replies.iter().all(|(_, routes)| *routes <= 1), "{known} {addresses}: {replies:?}");
    }
}

#[test]
fn the_next_column_of_the_same_table_may_be_denied() {
    for rows in [1, 3, 20] {
        let deny: Arc<[Oid]> = Arc::new([column(2)]);
        let mut agent = Agent::table(3, rows);
        agent.cells.extend((1..=400).map(|row| (column(2).child(&[row]).expect("short"), row)));
        let ended = agent.serve(Plan { deny: deny.clone(), ..one(table(3)) });
        assert_eq!(
            (ended.tables[0].rows.len(), &ended.tables[0].reasons[1]),
            (2 * rows as usize, &Reason::Denied)
        );
        for names in &agent.replies {
            let denied = names.iter().filter(|name| fence::denies(&deny, name.view())).count();
            assert!(denied <= 10, "{rows}: {denied}");
        }
    }
}

#[test]
fn the_end_of_a_column_may_be_denied() {
    for root in ["1.3.6.1.9", "1.3.6.1.4294967295"] {
        let root = oid(root);
        let child = |arcs: &[u32]| root.child(arcs).expect("short");
        let rows = [child(&[1]), child(&[u32::MAX, 1]), child(&[u32::MAX, u32::MAX]), oid("1.3.6.2.1")];
        let mut agent = Agent { cells: rows.into_iter().zip(1..).collect(), ..Agent::default() };
        let deny: Arc<[Oid]> = Arc::new([child(&[u32::MAX])]);
        let ended = agent.serve(Plan { deny, ..one(Table::new("walk", vec![root.clone()])) });
        assert_eq!((ended.tables[0].failure(), ended.tables[0].rows.len()), (None, 1), "{root}");
    }
}

proptest! {
    /// A walk gives everything but what is denied, and never asks from within a denial but to get out of it.
    #[test]
    fn a_walk_goes_around_what_is_denied(
        names in prop::collection::btree_set(prop::collection::vec(0..4u32, 1..5), 1..60),
        denials in prop::collection::vec(prop::collection::vec(0..4u32, 1..4), 0..4),
        unordered in any::<bool>(),
    ) {
        let root = oid("1.3.6.1");
        let deny: Arc<[Oid]> = denials.iter().map(|arcs| root.child(arcs).expect("short")).collect();
        let names: Vec<Oid> = names.iter().map(|arcs| root.child(arcs).expect("short")).collect();
        let mut agent = Agent { cells: names.iter().cloned().zip(1..).collect(), ..Agent::default() };
        let walk = Table { unordered, ..Table::new("walk", vec![root.clone()]) };
        let ended = agent.serve(Plan { deny: deny.clone(), ..one(walk) });
        prop_assert!(ended.tables[0].is_whole(), "{:?}", ended.tables[0].reasons);
        let got: Vec<Oid> = ended.tables[0].cells()
            .map(|cell| root.child(&cell.index.arcs().collect::<Vec<_>>()).expect("short"))
            .collect();
        let expected: Vec<Oid> = names.into_iter().filter(|name| !fence::denies(&deny, name.view())).collect();
        prop_assert_eq!(got, expected);
        let within = agent.asked.iter().filter(|name| fence::denies(&deny, name.view()));
        prop_assert!(within.clone().all(|name| name.view().arcs().last() == Some(i32::MAX as u32)));
        prop_assert!(within.count() <= deny.len());
    }

    /// Whatever an agent answers, a round ends, within its bounds, with a reason for each column.
    #[test]
    fn a_round_ends_whatever_comes(
        script in prop::collection::vec(
            (0..6u8, prop::collection::vec((prop::collection::vec(0..6u32, 0..4), 0..6u8), 0..12)),
            1..12,
        ),
        unordered in any::<bool>(),
    ) {
        let limits = Limits { rows_max: 40, requests_max: 200, ..Limits::default() };
        let scalars: Arc<[Oid]> = Arc::new([oid("1.3.6.1.1.0"), oid("1.3.6.1.2.0")]);
        let columns = vec![oid("1.3.6.1.1"), oid("1.3.6.1.2"), oid("1.3.6.1.3")];
        let table = Table { limits, unordered, ..Table::new("t", columns) };
        let mut round = Round::new(Plan { scalars, ..one(table) });
        let mut steps = 0;
        while round.prepare(Duration::ZERO) {
            let (kind, bindings) = &script[steps % script.len()];
            steps += 1;
            prop_assert!(steps < 5000);
            let names: Vec<(Oid, u8)> =
                bindings.iter().map(|(arcs, value)| (oid("1.3.6.1").child(arcs).expect("short"), *value)).collect();
            let fault = ParseError { offset: 3, fault: Fault::Truncated };
            let varbinds = names.iter().map(|(name, value)| Ok(Varbind { name: name.view(), value: match value {
                0 => Value::EndOfMibView,
                1 => Value::NoSuchInstance,
                2 => return Err(fault),
                _ => Value::OctetString(b"x"),
            }}));
            match kind {
                0 => round.on_silence(),
                1 => round.on_malformed(fault, 100),
                2 => round.on_reply(ErrorStatus(i32::from(*kind) % 7), steps % 5, varbinds, 100),
                3 => round.on_reply(ErrorStatus::TOO_BIG, 0, varbinds, 100),
                _ => round.on_reply(ErrorStatus::NO_ERROR, 0, varbinds, 100),
            }
        }
        let ended = round.finish(&Reason::Stopped);
        prop_assert_eq!(ended.tables[0].reasons.len(), 3);
        prop_assert!(ended.tables[0].reasons.iter().all(|reason| *reason != Reason::Stopped));
        prop_assert!(ended.tables[0].rows.len() <= 3 * 40);
        let valued = ended.scalars.iter().map(|cell| usize::from(cell.column)).collect::<Vec<_>>();
        for (at, reason) in ended.scalar_reasons.iter().enumerate() {
            prop_assert!(reason.is_some() != valued.contains(&at));
        }
    }
}
