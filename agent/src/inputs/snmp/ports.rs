//! What happened to a device's interfaces between two rounds: counters that began anew, wrapped or were said to have jumped, and
//! interfaces that got another index.
//!
//! In: the cells of `ifTable` and `ifXTable` as the device gave them, before any profile. Out: [`Change`]s. Stored values are never
//! touched: this only says what becomes of them.
//!
//! An interface is the one with the same name, or, where its name is empty or borne twice, the one with the same index. Watched are its
//! octets, unicast packets and errors. Octets and packets are watched in 64 bits from when a 64-bit column has answered once; where none
//! does, a fall in 32 bits is a wrap if the line could carry that much in the time and not everything fell, and else a reset.
//!
//! Limits: [`PORTS_MAX`] interfaces a device, 96 bytes each; further ones are not watched. An interface that says in three rounds in
//! a row that its counters just jumped is not believed until it is quiet.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hasher};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use ahash::RandomState;
use profiles::Plan;
use snmp::round::TableHarvest;
use snmp::{Oid, Value};

use super::events::Kind;

/// Interfaces that are watched.
const PORTS_MAX: usize = 20_000;
/// Rounds in a row after which a device that always reports jumps is not believed.
const RESTLESS: u8 = 3;
/// Counters of one interface.
const COUNTERS: usize = 6;
/// Smallest frame, in octets.
const FRAME_MIN: u64 = 64;

/// One interface, and what happened to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    /// By what it is known, see [`Ports::index`].
    pub(super) who: u64,
    /// Its index now.
    pub(super) index: u32,
    /// The name that people see.
    pub(super) name: String,
    pub(super) kind: Kind,
}

/// What a column is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Narrow(u8),
    Wide(u8),
    /// ifName and, where it is empty, ifDescr.
    Name,
    Descr,
    /// Bits per second, and millions of them.
    Speed,
    HighSpeed,
    Jumped,
}

/// Columns by their arc in `ifTable` (1.3.6.1.2.1.2.2.1) and `ifXTable` (1.3.6.1.2.1.31.1.1.1).
const IF_ENTRY: [u32; 9] = [1, 3, 6, 1, 2, 1, 2, 2, 1];
const IF_X_ENTRY: [u32; 10] = [1, 3, 6, 1, 2, 1, 31, 1, 1, 1];
const IF_ROLES: [(u32, Role); 8] = [
    (2, Role::Descr),
    (5, Role::Speed),
    (10, Role::Narrow(0)),
    (16, Role::Narrow(1)),
    (11, Role::Narrow(2)),
    (17, Role::Narrow(3)),
    (14, Role::Narrow(4)),
    (20, Role::Narrow(5)),
];
const IF_X_ROLES: [(u32, Role); 7] = [
    (1, Role::Name),
    (6, Role::Wide(0)),
    (10, Role::Wide(1)),
    (7, Role::Wide(2)),
    (11, Role::Wide(3)),
    (15, Role::HighSpeed),
    (19, Role::Jumped),
];

/// Which columns of a plan are of interest.
#[derive(Clone, Debug, Default)]
pub(super) struct Columns {
    /// (ordinal of the table, and for each of its columns what it is for)
    tables: Vec<(usize, Vec<Option<Role>>)>,
}

impl Columns {
    pub(super) fn of(plan: &Plan) -> Self {
        let object = |entry: &[u32], arc: u32| -> Oid {
            Oid::from_arcs(entry).and_then(|entry| entry.child(&[arc])).expect("good constants")
        };
        let roles: Vec<(Oid, Role)> = IF_ROLES
            .iter()
            .map(|(arc, role)| (object(&IF_ENTRY, *arc), *role))
            .chain(IF_X_ROLES.iter().map(|(arc, role)| (object(&IF_X_ENTRY, *arc), *role)))
            .collect();
        let role_of = |column: &Oid| roles.iter().find(|(oid, _)| oid == column).map(|(_, role)| *role);
        let tables = plan.tables.iter().enumerate();
        let tables = tables.map(|(at, table)| (at, table.columns.iter().map(role_of).collect::<Vec<_>>()));
        Self { tables: tables.filter(|(_, roles)| roles.iter().any(Option::is_some)).collect() }
    }

    fn of_table(&self, table: usize) -> Option<&[Option<Role>]> {
        self.tables.iter().find(|(at, _)| *at == table).map(|(_, roles)| &**roles)
    }
}

/// Counters, and which of them came in 32 and in 64 bits.
#[derive(Clone, Copy, Debug, Default)]
struct Counters {
    values: [u64; COUNTERS],
    narrow: u8,
    wide: u8,
}

/// An interface as it is in this round.
#[derive(Clone, Copy, Debug, Default)]
struct Look<'a> {
    index: u32,
    name: &'a [u8],
    descr: &'a [u8],
    narrow: [u32; COUNTERS],
    counters: Counters,
    speed: u32,
    high_speed: u32,
    jumped: Option<u32>,
}

impl<'a> Look<'a> {
    fn take(&mut self, role: Role, value: Value<'a>) {
        match (role, value) {
            (Role::Narrow(at), Value::Counter32(count)) => {
                self.counters.narrow |= 1 << at;
                self.narrow[usize::from(at)] = count;
            }
            (Role::Wide(at), Value::Counter64(count)) => {
                self.counters.wide |= 1 << at;
                self.counters.values[usize::from(at)] = count;
            }
            (Role::Name, Value::OctetString(text)) => self.name = text,
            (Role::Descr, Value::OctetString(text)) => self.descr = text,
            (Role::Speed, Value::Gauge32(speed)) => self.speed = speed,
            (Role::HighSpeed, Value::Gauge32(speed)) => self.high_speed = speed,
            (Role::Jumped, Value::TimeTicks(ticks)) => self.jumped = Some(ticks),
            _ => {}
        }
    }

    fn shown(&self) -> String {
        let text = if self.name.is_empty() { self.descr } else { self.name };
        match String::from_utf8_lossy(text) {
            text if text.is_empty() => format!("interface {}", self.index),
            text => text.into_owned(),
        }
    }

    /// Octets that its line carries in this time, in one direction; none where it does not say how fast it is.
    fn carries(&self, past: Duration) -> Option<u64> {
        let bits = match (self.speed, self.high_speed) {
            (0, 0) => return None,
            (speed, 0) if speed < u32::MAX => u64::from(speed),
            (_, 0) => return None,
            (_, millions) => u64::from(millions) * 1_000_000,
        };
        // A little more: ifHighSpeed is rounded, and rounds are never quite on time.
        let octets = u128::from(bits) / 8 * (past.as_millis() + past.as_millis() / 5 + 2_000) / 1_000;
        Some(u64::try_from(octets).unwrap_or(u64::MAX))
    }
}

/// The interfaces of one round.
#[derive(Debug, Default)]
pub(super) struct Looks<'a> {
    list: Vec<Look<'a>>,
    at: HashMap<u32, u32, RandomState>,
    /// Where the last cell belonged.
    cursor: usize,
    /// By what each is known.
    whos: Vec<u64>,
    /// Whether every table came to its end but for what the device always refuses, so that what is not here is gone.
    whole: bool,
    came: bool,
}

impl<'a> Looks<'a> {
    pub(super) fn new() -> Self {
        Self { whole: true, ..Self::default() }
    }

    /// Takes a table of the plan, if it says anything about interfaces; `whole` says that what is not in it is gone.
    pub(super) fn table(&mut self, columns: &Columns, table: usize, read: &'a TableHarvest, whole: bool) {
        let Some(roles) = columns.of_table(table) else { return };
        self.came = true;
        self.whole &= whole;
        for cell in read.cells() {
            let Some(Some(role)) = roles.get(usize::from(cell.column)) else { continue };
            if let Some(index) = cell.index.single() {
                self.cell(index, *role, cell.value);
            }
        }
    }

    /// No more will come.
    pub(super) fn finish(&mut self) {
        let names: Vec<u64> = self.list.iter().map(|look| hash(1, look.name)).collect();
        let mut sorted = names.clone();
        sorted.sort_unstable();
        let is_single = |name: u64| {
            let first = sorted.partition_point(|other| *other < name);
            sorted.get(first + 1) != Some(&name)
        };
        let who = |(look, name): (&Look<'_>, &u64)| {
            let named = !look.name.is_empty() && is_single(*name);
            if named { *name } else { hash(2, &look.index.to_be_bytes()) }
        };
        self.whos = self.list.iter().zip(&names).map(who).collect();
    }

    /// Whether anything was read that says something about interfaces.
    pub(super) fn came(&self) -> bool {
        self.came
    }

    /// Whether what is not here is gone.
    pub(super) fn is_whole(&self) -> bool {
        self.whole
    }

    fn each(&self) -> impl Iterator<Item = (&Look<'a>, u64)> {
        self.list.iter().zip(self.whos.iter().copied())
    }

    fn cell(&mut self, index: u32, role: Role, value: Value<'a>) {
        if let Some(place) = self.place(index) {
            self.list[place].take(role, value);
        }
    }

    /// Columns come in the same order of rows, one at a time or side by side.
    fn place(&mut self, index: u32) -> Option<usize> {
        let is_at = |place: usize| self.list.get(place).is_some_and(|look| look.index == index);
        let near = [self.cursor, self.cursor + 1].into_iter().find(|place| is_at(*place));
        let place = match near.or_else(|| self.at.get(&index).map(|place| *place as usize)) {
            Some(place) => place,
            None if self.list.len() < PORTS_MAX => {
                self.list.push(Look { index, ..Look::default() });
                self.at.insert(index, self.list.len() as u32 - 1);
                self.list.len() - 1
            }
            None => return None,
        };
        self.cursor = place;
        Some(place)
    }
}

/// What is remembered of an interface.
#[derive(Clone, Copy, Debug)]
struct Port {
    /// By what it is known: its name, or its index.
    who: u64,
    index: u32,
    counters: Counters,
    /// When its 32-bit counters were read last: a round may have lost them.
    read: Instant,
    jumped: Option<u32>,
    /// Rounds in a row in which it reported a jump.
    restless: u8,
}

/// The same in every round: names are kept as numbers.
fn hash(kind: u8, bytes: &[u8]) -> u64 {
    static HASHER: OnceLock<RandomState> = OnceLock::new();
    let mut hasher = HASHER.get_or_init(RandomState::new).build_hasher();
    hasher.write_u8(kind);
    hasher.write(bytes);
    hasher.finish()
}

/// The interfaces of one device, from round to round.
#[derive(Debug, Default)]
pub(super) struct Ports {
    /// In the order of `who`.
    known: Vec<Port>,
}

impl Ports {
    /// Whether any counter fell: a reason to ask whether the device restarted while it was read.
    pub(super) fn any_fell(&self, looks: &Looks<'_>) -> bool {
        looks.each().any(|(look, who)| {
            let known = self.find(who).map(|port| port.counters).unwrap_or_default();
            Compared::new(&known, &taken(look, &known)).fell != 0
        })
    }

    /// Takes a round in that was asked for at this moment. Where the device restarted, counters begin anew and only other
    /// indices are worth saying.
    pub(super) fn take(&mut self, looks: &Looks<'_>, moment: Instant, restarted: bool) -> Vec<Change> {
        if !looks.came {
            return Vec::new();
        }
        let mut changes = Vec::new();
        let mut now: Vec<Port> = Vec::with_capacity(looks.list.len());
        for (look, who) in looks.each() {
            let mut say = |kind| changes.push(Change { who, index: look.index, name: look.shown(), kind });
            now.push(follow(self.find(who), look, who, moment, restarted, &mut say));
        }
        if !looks.whole {
            let here: HashSet<u64, RandomState> = looks.whos.iter().copied().collect();
            let others = self.known.iter().filter(|port| !here.contains(&port.who));
            now.extend(others.take(PORTS_MAX - looks.list.len()));
        }
        now.sort_unstable_by_key(|port| port.who);
        now.shrink_to_fit();
        self.known = now;
        changes
    }

    /// The device is another one: nothing of what was known holds.
    pub(super) fn forget(&mut self) {
        self.known = Vec::new();
    }

    /// The index that an interface has now; none if it is gone.
    pub(super) fn index(&self, who: u64) -> Option<u32> {
        self.find(who).map(|port| port.index)
    }

    fn find(&self, who: u64) -> Option<&Port> {
        self.known.binary_search_by_key(&who, |port| port.who).ok().map(|at| &self.known[at])
    }
}

/// One interface's next state, and what to say of it.
fn follow(
    before: Option<&Port>,
    look: &Look<'_>,
    who: u64,
    now: Instant,
    restarted: bool,
    say: &mut impl FnMut(Kind),
) -> Port {
    let known = before.map(|port| port.counters).unwrap_or_default();
    let counters = taken(look, &known);
    let mut port = Port { who, index: look.index, counters, read: now, jumped: look.jumped, restless: 0 };
    let Some(before) = before else { return port };
    if counters.narrow & !look.counters.narrow != 0 {
        port.read = before.read;
    }
    if before.index != look.index {
        say(Kind::Renumbering);
    }
    port.jumped = look.jumped.or(before.jumped);
    // What a restart sets anew is no sign that this agent's word is worth more than before.
    port.restless = before.restless;
    if restarted {
        return port;
    }
    let jumped = matches!((before.jumped, look.jumped), (Some(then), Some(now)) if then != now);
    port.restless = if jumped { before.restless.saturating_add(1) } else { 0 };
    if jumped && port.restless < RESTLESS {
        say(Kind::Reported);
        return port;
    }
    let past = now.saturating_duration_since(before.read);
    if let Some(kind) = Compared::new(&known, &counters).judge(look, past) {
        say(kind);
    }
    port
}

/// The counters of this round; what did not come stays as it was. A counter that once came in 64 bits is never watched in 32.
fn taken(look: &Look<'_>, known: &Counters) -> Counters {
    let mut counters = *known;
    counters.wide |= look.counters.wide;
    for at in 0..COUNTERS {
        let bit = 1 << at;
        if look.counters.wide & bit != 0 {
            counters.values[at] = look.counters.values[at];
            counters.narrow &= !bit;
        } else if look.counters.narrow & bit != 0 && counters.wide & bit == 0 {
            counters.values[at] = u64::from(look.narrow[at]);
            counters.narrow |= bit;
        }
    }
    counters
}

/// Two rounds of one interface's counters, bit by bit.
struct Compared<'a> {
    known: &'a Counters,
    counters: &'a Counters,
    fell: u8,
    /// Counted before and did not fall.
    stood: u8,
}

impl<'a> Compared<'a> {
    fn new(known: &'a Counters, counters: &'a Counters) -> Self {
        let (mut fell, mut stood) = (0, 0);
        // Only what had the same bits in both rounds.
        let both = (known.narrow & counters.narrow) | (known.wide & counters.wide);
        for at in (0..COUNTERS).filter(|at| both & (1 << at) != 0) {
            let (then, now) = (known.values[at], counters.values[at]);
            fell |= u8::from(now < then) << at;
            stood |= u8::from(now >= then && then > 0) << at;
        }
        Self { known, counters, fell, stood }
    }

    fn judge(&self, look: &Look<'_>, past: Duration) -> Option<Kind> {
        if self.fell == 0 {
            return None;
        }
        let all_wrapped =
            (0..COUNTERS).filter(|at| self.fell & (1 << at) != 0).all(|at| self.may_wrap(at, look, past));
        // Clearing takes them all; that two wrap between the same two looks is rare.
        let is_wrap = all_wrapped && (self.stood != 0 || self.fell.count_ones() == 1);
        Some(if is_wrap { Kind::Wrap } else { Kind::Reset })
    }

    /// Whether a counter that fell may have passed its end.
    fn may_wrap(&self, at: usize, look: &Look<'_>, past: Duration) -> bool {
        let (then, now) = (self.known.values[at], self.counters.values[at]);
        if self.counters.wide & (1 << at) != 0 {
            // No line wraps 64 bits in years; agents that begin near the end, to test managers, do.
            return now.wrapping_sub(then) < 1 << 40;
        }
        let counted = u64::from((now as u32).wrapping_sub(then as u32));
        let octets = look.carries(past).unwrap_or(u64::from(u32::MAX / 2));
        // The first two count octets, the others frames.
        counted <= if at < 2 { octets } else { octets / FRAME_MIN }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many minutes after the first round.
    fn minute(count: u64) -> Instant {
        static START: OnceLock<Instant> = OnceLock::new();
        *START.get_or_init(Instant::now) + Duration::from_secs(60 * count)
    }

    /// One interface of a round: index, name, and what else it says.
    type Said<'a> = (u32, &'a str, &'a [(Role, Value<'a>)]);

    fn looks<'a>(said: &[Said<'a>]) -> Looks<'a> {
        let mut looks = Looks { came: true, ..Looks::new() };
        for (index, name, values) in said {
            looks.cell(*index, Role::Name, Value::OctetString(name.as_bytes()));
            values.iter().for_each(|(role, value)| looks.cell(*index, *role, *value));
        }
        looks.finish();
        looks
    }

    /// What two rounds a minute apart give.
    #[track_caller]
    fn check(then: &[Said<'_>], now: &[Said<'_>], expected: &[(u32, Kind)]) {
        let mut ports = Ports::default();
        assert_eq!(ports.take(&looks(then), minute(0), false), [], "nothing happened before the first round");
        let now = looks(now);
        let changes = ports.take(&now, minute(1), false);
        let found: Vec<_> = changes.iter().map(|change| (change.index, change.kind)).collect();
        assert_eq!(found, expected, "{changes:?}");
    }

    fn narrow(at: u8, count: u32) -> (Role, Value<'static>) {
        (Role::Narrow(at), Value::Counter32(count))
    }

    fn wide(at: u8, count: u64) -> (Role, Value<'static>) {
        (Role::Wide(at), Value::Counter64(count))
    }

    fn speed(bits: u32) -> (Role, Value<'static>) {
        (Role::Speed, Value::Gauge32(bits))
    }

    fn jumped(ticks: u32) -> (Role, Value<'static>) {
        (Role::Jumped, Value::TimeTicks(ticks))
    }

    #[test]
    fn counters_that_go_on_are_no_news() {
        let then = [wide(0, 5), narrow(0, 5), narrow(4, 0)];
        check(&[(1, "a", &then)], &[(1, "a", &then)], &[]);
        check(&[(1, "a", &then)], &[(1, "a", &[wide(0, u64::MAX)]), (2, "b", &then)], &[]);
        check(&[(1, "a", &then)], &[(2, "b", &then)], &[]);
    }

    #[test]
    fn a_64_bit_counter_that_falls_was_reset() {
        check(&[(1, "a", &[wide(0, 1 << 40)])], &[(1, "a", &[wide(0, 7)])], &[(1, Kind::Reset)]);
        let near_the_end = [wide(0, u64::MAX - 1000)];
        check(&[(1, "a", &near_the_end)], &[(1, "a", &[wide(0, 7)])], &[(1, Kind::Wrap)]);
    }

    #[test]
    fn where_64_bits_answer_a_wrap_of_32_is_no_news() {
        let then = [wide(0, 4_294_967_000), narrow(0, 4_294_967_000)];
        check(&[(1, "a", &then)], &[(1, "a", &[wide(0, 4_294_968_000), narrow(0, 704)])], &[]);
        // Not even in a round in which they did not come.
        check(&[(1, "a", &then)], &[(1, "a", &[narrow(0, 704)])], &[]);
        // 32 bits at first, because the other table could not be read.
        check(&[(1, "a", &then[1..])], &[(1, "a", &[wide(0, 4_294_968_000), narrow(0, 704)])], &[]);
    }

    #[test]
    fn a_32_bit_counter_wraps_where_the_line_carries_so_much() {
        let mega = speed(100_000_000);
        let then = [mega, narrow(0, 4_294_000_000), narrow(2, 1_000)];
        check(
            &[(1, "a", &then)],
            &[(1, "a", &[mega, narrow(0, 500_000), narrow(2, 2_000)])],
            &[(1, Kind::Wrap)],
        );
        // Four hundred times what 10 Mbit/s carry in a minute.
        let slow = [speed(10_000_000), narrow(0, 2_000_000_000), narrow(2, 1_000)];
        check(
            &[(1, "a", &slow)],
            &[(1, "a", &[speed(10_000_000), narrow(0, 500_000), narrow(2, 2_000)])],
            &[(1, Kind::Reset)],
        );
        // Everything fell: cleared, although a fast line might have wrapped one of them.
        let fast = speed(1_000_000_000);
        let then = [fast, narrow(0, 3_000_000_000), narrow(1, 2_000_000_000), narrow(2, 1_000_000)];
        let now = [fast, narrow(0, 10), narrow(1, 20), narrow(2, 1)];
        check(&[(1, "a", &then)], &[(1, "a", &now)], &[(1, Kind::Reset)]);
        // A line that does not say how fast it is: half of the range.
        check(&[(1, "a", &[narrow(0, 4_000_000_000)])], &[(1, "a", &[narrow(0, 9)])], &[(1, Kind::Wrap)]);
        check(&[(1, "a", &[narrow(0, 2_000_000_000)])], &[(1, "a", &[narrow(0, 9)])], &[(1, Kind::Reset)]);
    }

    #[test]
    fn errors_that_fall_were_cleared() {
        let then = [wide(0, 500), narrow(4, 30)];
        check(&[(1, "a", &then)], &[(1, "a", &[wide(0, 600), narrow(4, 0)])], &[(1, Kind::Reset)]);
    }

    #[test]
    fn what_the_device_says_itself_counts_before_what_is_concluded() {
        let then = [wide(0, 500), jumped(0)];
        check(&[(1, "a", &then)], &[(1, "a", &[wide(0, 6), jumped(900)])], &[(1, Kind::Reported)]);
        check(&[(1, "a", &then)], &[(1, "a", &[wide(0, 600), jumped(900)])], &[(1, Kind::Reported)]);
        check(&[(1, "a", &then)], &[(1, "a", &[wide(0, 600)])], &[]);
    }

    #[test]
    fn a_device_that_always_reports_jumps_is_not_believed_until_it_is_quiet() {
        let mut ports = Ports::default();
        let mut round = |ticks| {
            let said = [jumped(ticks)];
            ports.take(&looks(&[(1, "a", &said)]), minute(1), false).len()
        };
        let found: Vec<usize> = [0, 1, 2, 3, 4, 5, 5, 6].map(&mut round).to_vec();
        assert_eq!(found, [0, 1, 1, 0, 0, 0, 0, 1]);
    }

    #[test]
    fn a_restart_makes_a_device_that_always_reports_jumps_no_more_believable() {
        let mut ports = Ports::default();
        let mut round = |(ticks, restarted)| {
            let said = [jumped(ticks)];
            ports.take(&looks(&[(1, "a", &said)]), minute(1), restarted).len()
        };
        let all = [0, 1, 2, 3, 4, 5, 6, 7].map(|ticks| (ticks, ticks == 5));
        assert_eq!(all.map(&mut round), [0, 1, 1, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn an_interface_is_followed_by_its_name_and_a_new_index_is_said() {
        let (busy, idle) = ([wide(0, 1_000_000)], [wide(0, 10)]);
        check(
            &[(1, "a", &busy), (2, "b", &idle)],
            &[(2, "a", &busy), (3, "b", &idle)],
            &[(2, Kind::Renumbering), (3, Kind::Renumbering)],
        );
        // Names that are no key: by index.
        check(&[(1, "eth", &busy), (2, "eth", &idle)], &[(2, "eth", &idle), (3, "eth", &busy)], &[]);
        check(&[(1, "", &busy)], &[(1, "", &idle)], &[(1, Kind::Reset)]);
    }

    #[test]
    fn after_a_restart_counters_begin_anew_without_being_said_one_by_one() {
        let mut ports = Ports::default();
        ports.take(&looks(&[(1, "a", &[wide(0, 500), jumped(0)])]), minute(1), false);
        let now = [wide(0, 5), jumped(70)];
        let now = looks(&[(4, "a", &now)]);
        assert!(ports.any_fell(&now));
        let changes = ports.take(&now, minute(1), true);
        assert_eq!(changes.iter().map(|change| change.kind).collect::<Vec<_>>(), [Kind::Renumbering]);
        assert_eq!(ports.index(changes[0].who), Some(4));
        assert!(!ports.any_fell(&now));
    }

    #[test]
    fn an_interface_that_a_round_lost_is_remembered_and_one_that_is_gone_is_not() {
        let mut ports = Ports::default();
        let (a, b) = ([wide(0, 500)], [wide(0, 900)]);
        ports.take(&looks(&[(1, "a", &a), (2, "b", &b)]), minute(1), false);
        let partial = Looks { whole: false, ..looks(&[(1, "a", &a)]) };
        ports.take(&partial, minute(1), false);
        assert_eq!(ports.known.len(), 2);
        let nothing = Looks { came: false, ..looks(&[]) };
        ports.take(&nothing, minute(1), false);
        assert_eq!(ports.known.len(), 2);
        ports.take(&looks(&[(1, "a", &a)]), minute(1), false);
        assert_eq!(ports.known.len(), 1);
    }

    #[test]
    fn what_a_line_carries_is_reckoned_from_when_its_interface_was_read() {
        let mut ports = Ports::default();
        let mega = speed(100_000_000);
        let (a, b) = ([mega, narrow(0, 4_000_000_000), narrow(2, 1)], [mega, narrow(0, 7)]);
        ports.take(&looks(&[(1, "a", &a), (2, "b", &b)]), minute(0), false);
        let partial = Looks { whole: false, ..looks(&[(2, "b", &b)]) };
        assert_eq!(ports.take(&partial, minute(1), false), []);
        // Only its name and its errors came.
        let partial = [mega, narrow(4, 0)];
        let partial = Looks { whole: false, ..looks(&[(1, "a", &partial)]) };
        assert_eq!(ports.take(&partial, minute(2), false), []);
        // More than the line carries in a minute, less than in three.
        let now = [mega, narrow(0, 1_000_000_000), narrow(2, 2)];
        let changes = ports.take(&looks(&[(1, "a", &now), (2, "b", &b)]), minute(3), false);
        assert_eq!(changes.iter().map(|change| change.kind).collect::<Vec<_>>(), [Kind::Wrap]);
    }

    #[test]
    fn rows_may_come_in_any_order() {
        let mut looks = Looks::new();
        for index in [5, 1, 9, 1, 5, 9] {
            looks.cell(index, Role::HighSpeed, Value::Gauge32(index));
        }
        looks.finish();
        let found: Vec<_> = looks.list.iter().map(|look| (look.index, look.high_speed)).collect();
        assert_eq!(found, [(5, 5), (1, 1), (9, 9)]);
    }

    #[test]
    fn the_columns_of_the_general_profile_are_all_found() {
        let set = profiles::Set::embedded();
        let profile = set.get("generic").expect("it is the program's own");
        let columns = Columns::of(profile.plan());
        let found = columns.tables.iter().flat_map(|(_, roles)| roles.iter().flatten()).count();
        assert_eq!(found, IF_ROLES.len() + IF_X_ROLES.len());
        assert!(size_of::<Port>() <= 96);
    }
}
