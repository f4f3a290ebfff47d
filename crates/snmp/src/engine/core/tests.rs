//! The engine against agents that misbehave, on a network without sockets and a clock that is turned by hand.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::Ipv4Addr;

use super::*;
use crate::community::Community;
use crate::datum::Datum;
use crate::engine::harvest::BadPacket;
use crate::engine::target::Site;
use crate::oid::Oid;
use crate::pdu::{ErrorStatus, Pdu};
use crate::pretend::{Misdeed, State};
use crate::round::{Cell, Table, TableHarvest};
use crate::usm::{AuthProtocol, Authority, Context, PrivProtocol, Served, User};
use crate::value::Value;
use crate::walk::Limits;

mod faults;
mod limits;
mod v3;

const TABLE: &str = "1.3.6.1.2.1.2.2.1";

fn oid(text: &str) -> Oid {
    text.parse().expect("a good OID")
}

fn column(number: u32) -> Oid {
    oid(TABLE).child(&[number]).expect("short")
}

fn sys_up_time() -> Oid {
    oid("1.3.6.1.2.1.1.3.0")
}

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn address(number: u8) -> SocketAddr {
    (Ipv4Addr::new(10, 0, 0, number), 161).into()
}

/// An agent on the network.
struct Node {
    state: State,
    community: &'static str,
    authority: Option<Authority>,
    /// From the request to its reply.
    delay: Duration,
    /// From where it answers.
    source: Option<SocketAddr>,
    /// Requests after which the misdeeds begin.
    well_until: u32,
    /// Datagrams of its own that go with every reply, before it.
    forged: Vec<Vec<u8>>,
}

impl Node {
    /// A table of columns and rows, and sysUpTime.
    fn new(columns: u32, rows: u32) -> Self {
        let cells = (1..=columns)
            .flat_map(|c| (1..=rows).map(move |r| (column(c).child(&[r]).expect("short"), held(c, r))));
        let mut state = State { cells: cells.collect(), ..State::default() };
        state.cells.insert(sys_up_time(), Datum::TimeTicks(4242));
        let delay = ms(10);
        let community = "public";
        Self { state, community, authority: None, delay, source: None, well_until: 0, forged: Vec::new() }
    }

    fn bad(misdeeds: &[Misdeed]) -> Self {
        let mut node = Self::new(3, 20);
        node.state.misdeeds = misdeeds.to_vec();
        node
    }

    fn replies(&mut self, now: Duration, packet: &[u8]) -> Vec<Vec<u8>> {
        self.state.datagrams += 1;
        let misdeeds =
            (self.state.datagrams <= self.well_until).then(|| std::mem::take(&mut self.state.misdeeds));
        let mut replies = self.forged.clone();
        replies.extend(match &mut self.authority {
            None => self.state.reply(packet, self.community.as_bytes()),
            Some(authority) => serve(authority, &self.state, now, packet).into_iter().collect(),
        });
        if let Some(misdeeds) = misdeeds {
            self.state.misdeeds = misdeeds;
        }
        replies
    }
}

fn held(column: u32, row: u32) -> Datum {
    if column == 3 { Datum::text("eth0") } else { Datum::Counter32(column * 1000 + row) }
}

fn serve(authority: &mut Authority, state: &State, now: Duration, packet: &[u8]) -> Option<Vec<u8>> {
    if state.misdeeds.contains(&Misdeed::Silence) {
        return None;
    }
    let (mut packet, mut out, mut reply) = (packet.to_vec(), Writer::default(), Vec::new());
    match authority.open(now, &mut packet, &mut out, &mut reply).expect("our own requests are good") {
        Served::Request(asked) => {
            let pdu = Pdu::read(&asked.scoped.pdu).expect("our own requests are good");
            let answer = state.answer(&pdu, false);
            let response = state.response(&pdu, &answer);
            authority.seal(now, &asked, |out| state.write_pdu(out, &response), &mut out, &mut reply);
            Some(reply)
        }
        Served::Report(Refusal::DecryptionError) if state.misdeeds.contains(&Misdeed::SilentOnCipher) => None,
        Served::Report(_) => Some(reply),
        Served::Silent(_) => None,
    }
}

/// When it arrives, which one it is, where it comes from, what it is.
type Flying = (Duration, u64, SocketAddr, Vec<u8>);

/// The engine and its network.
struct Net {
    core: Core,
    now: Duration,
    nodes: BTreeMap<SocketAddr, Node>,
    air: BinaryHeap<Reverse<Flying>>,
    outbound: Outbound,
    /// In a thousand.
    loss: u64,
    reorder: bool,
    random: u64,
    count: u64,
}

#[derive(Default)]
struct Outbound {
    packets: Vec<(SocketAddr, Vec<u8>)>,
    broken: bool,
}

impl Wire for Outbound {
    fn is_full(&self) -> bool {
        self.packets.len() >= 64
    }

    fn send(&mut self, _: usize, _: LinkKey, to: SocketAddr, packet: &[u8], _: i32) -> std::io::Result<()> {
        if self.broken {
            return Err(std::io::ErrorKind::NetworkUnreachable.into());
        }
        self.packets.push((to, packet.to_vec()));
        Ok(())
    }
}

impl Net {
    fn new(nodes: impl IntoIterator<Item = Node>) -> Self {
        let bounds =
            Bounds { rate: Rate { in_flight_max: 64, ..Rate::FREE }, devices_max: 1000, park: ms(600_000) };
        let nodes = (1..).map(address).zip(nodes).collect();
        Self {
            core: Core::new(bounds, 64, Vec::new()),
            now: ms(1_000_000),
            nodes,
            air: BinaryHeap::new(),
            outbound: Outbound::default(),
            loss: 0,
            reorder: false,
            random: 88_172_645_463_325_252,
            count: 0,
        }
    }

    fn random(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below
    }

    fn submit(&mut self, job: Job) -> oneshot::Receiver<Harvest> {
        let (answer, harvest) = oneshot::channel();
        self.core.submit(self.now, job, answer);
        harvest
    }

    /// Carries out a job.
    fn run(&mut self, job: Job) -> Harvest {
        let harvest = self.submit(job);
        self.settle();
        harvest.blocking_recv().expect("a harvest comes always")
    }

    /// Goes on until nothing more would happen.
    fn settle(&mut self) {
        for _ in 0..200_000 {
            self.core.on_time(self.now);
            self.core.pump(self.now, &mut self.outbound);
            for (to, packet) in std::mem::take(&mut self.outbound.packets) {
                self.deliver(to, &packet);
            }
            if self.core.wants_to_send() {
                continue;
            }
            let arrival = self.air.peek().map(|Reverse((at, ..))| *at);
            let timer = self.core.next_time().filter(|_| self.core.stats.jobs_now > 0);
            let Some(next) = arrival.into_iter().chain(timer).min() else { return };
            self.now = self.now.max(next);
            while self.air.peek().is_some_and(|Reverse((at, ..))| *at <= self.now) {
                let Reverse((_, _, source, mut packet)) = self.air.pop().expect("it was there");
                self.core.on_datagram(self.now, source, &mut packet);
            }
        }
        panic!("it never comes to rest: {:?}", self.core.stats);
    }

    fn deliver(&mut self, to: SocketAddr, packet: &[u8]) {
        if self.random(1000) < self.loss {
            return;
        }
        let now = self.now;
        let Some(node) = self.nodes.get_mut(&to) else { return };
        let (delay, source) = (node.delay, node.source.unwrap_or(to));
        for reply in node.replies(now, packet) {
            if self.random(1000) < self.loss {
                continue;
            }
            let late = if self.reorder { ms(self.random(400)) } else { Duration::ZERO };
            self.count += 1;
            self.air.push(Reverse((now + delay + late, self.count, source, reply)));
        }
    }

    fn node(&mut self, number: u8) -> &mut Node {
        self.nodes.get_mut(&address(number)).expect("a node of this number")
    }
}

fn community(text: &str) -> Credential {
    Credential::Community { version: Version::V2c, community: Community::new(text) }
}

fn target(number: u8) -> Target {
    Target::new(format!("sw{number}"), address(number), vec![community("public")])
}

fn table() -> Arc<Table> {
    let limits = Limits { rows_max: 500, ..Limits::default() };
    Arc::new(Table { limits, ..Table::new("ifTable", (1..=3).map(column).collect()) })
}

fn job(target: &Arc<Target>) -> Job {
    Job {
        target: target.clone(),
        scalars: Arc::new([sys_up_time()]),
        tables: vec![table()],
        deadline: Duration::from_secs(60),
        urgent: false,
    }
}

/// The table's values by column and row.
fn values(harvest: &Harvest) -> BTreeMap<(u16, u32), Datum> {
    let mut got = BTreeMap::new();
    for Cell { column, index, value } in harvest.tables[0].cells() {
        let held = match value {
            Value::Counter32(number) => Datum::Counter32(number),
            Value::OctetString(bytes) => Datum::Bytes(bytes.to_vec()),
            Value::Integer(number) => Datum::Integer(number),
            other => panic!("{other:?}"),
        };
        let row = index.single().expect("one arc");
        assert!(got.insert((column + 1, row), held).is_none(), "a cell came twice");
    }
    got
}

/// That the table of three columns and twenty rows came as it is.
#[track_caller]
fn assert_whole(harvest: &Harvest) {
    assert_eq!(harvest.tables[0].failure(), None);
    let expected: BTreeMap<_, _> =
        (1..=3_u16).flat_map(|c| (1..=20).map(move |r| ((c, r), held(c.into(), r)))).collect();
    assert_eq!(values(harvest), expected);
    assert_eq!(harvest.scalar(0), Some(Value::TimeTicks(4242)));
}

fn reason(table: &TableHarvest) -> &'static str {
    table.failure().map_or("whole", |(_, reason)| reason.as_str())
}

#[test]
fn reads_a_device() {
    let mut net = Net::new([Node::new(3, 20)]);
    let harvest = net.run(job(&Arc::new(target(1))));
    assert_whole(&harvest);
    assert_eq!((harvest.answered, harvest.credential, harvest.cost.timeouts), (true, Some(0), 0));
    assert_eq!(harvest.round_trip, Some(ms(10)));
    assert_eq!(harvest.cost.replies, harvest.cost.requests);
    assert_eq!(harvest.cost.duration, ms(10) * harvest.cost.requests);
    assert_eq!(harvest.last_bad, None);
    assert_eq!((net.core.stats.in_flight_now, net.core.stats.jobs_now), (0, 0));
}

#[test]
fn reads_a_device_of_v1() {
    let mut net = Net::new([Node::new(3, 20)]);
    let credential = Credential::Community { version: Version::V1, community: Community::new("public") };
    let harvest = net.run(job(&Arc::new(Target { credentials: vec![credential], ..target(1) })));
    assert_whole(&harvest);
}

#[test]
fn what_was_learned_outlives_the_engine() {
    let mut net = Net::new([Node::new(3, 20), Node::bad(&[Misdeed::TooBigAbove(4)])]);
    let mut first = 0;
    for number in [1, 2] {
        let target = Arc::new(target(number));
        first = net.run(job(&target)).cost.requests;
        (0..3).for_each(|_| assert_whole(&net.run(job(&target))));
    }
    let learned = net.core.learned();
    assert_eq!(learned.iter().map(|learned| &*learned.device).collect::<Vec<_>>(), ["sw1", "sw2"]);
    let mut after = Net::new([Node::new(3, 20), Node::bad(&[Misdeed::TooBigAbove(4)])]);
    after.core = Core::new(after.core.bounds, 4, learned.clone());
    assert_eq!(after.core.learned(), learned);
    let harvest = after.run(job(&Arc::new(target(2))));
    assert_whole(&harvest);
    assert!(harvest.cost.requests < first, "no tooBig has to be met again: {:?}", harvest.cost);
}

#[test]
fn a_job_that_nobody_waits_for_is_given_up() {
    let mut net = Net::new([Node::new(3, 20)]);
    drop(net.submit(job(&Arc::new(target(1)))));
    net.settle();
    assert_eq!((net.core.stats.jobs_now, net.core.stats.sent_datagrams), (0, 0));
}

#[test]
fn a_stop_ends_all_jobs() {
    let mut net = Net::new([Node::bad(&[Misdeed::Silence])]);
    let harvest = net.submit(job(&Arc::new(target(1))));
    net.core.pump(net.now, &mut net.outbound);
    net.core.stop(net.now);
    let harvest = harvest.blocking_recv().expect("a harvest comes always");
    assert_eq!(reason(&harvest.tables[0]), "stopped");
}
