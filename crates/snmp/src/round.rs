//! One round of a device: scalars and tables, as a state machine without I/O and without a clock.
//!
//! In: what to read, what was learned before, and every reply or silence as it comes. Out: the next request, and at the end a
//! [`TableHarvest`] per table: cells in one arena, and for every column the reason why it ended. A column that ended for any other
//! reason than having been read to its end is never passed off as whole.
//!
//! How it asks: the scalars first, by GET, which also tells whether the device is there; then table by table, with GETBULK, as many
//! columns and rows at once as fill a reply of the size that the path carries ([`Path`]), and no more rows than the table had last
//! time ([`Habit`]); where that leaves room, columns of the next tables fill it.
//!
//! What it does about faults: after tooBig half the rows, then half the columns; a column that is answered by an error is asked alone,
//! then by GETNEXT, then ends alone; a binding that cannot be read turns its column to GETNEXT, then ends it. After silence it asks for
//! less; if that is not answered either it asks whether the device is there at all: if so the table is to blame, ends and is to be
//! parked ([`Ended::parked`]); if not everything ends.
//!
//! Bounds: [`Limits`] per table, the round's time in all. Every reply brings a column forward, ends one, or asks for less next time,
//! so a round ends even without its bounds.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use crate::ber::ParseError;
use crate::oid::{Index, Oid, OidRef};
use crate::pdu::{ErrorStatus, Pdu, PduKind, Varbind};
use crate::value::Value;
use crate::walk::{Cost, Limit, Limits, Reason};

mod choose;
mod fence;
mod learned;
mod rows;

pub use learned::{Habit, Learned, Path};
pub use rows::{Cell, Rows};

/// `sysUpTime.0`: asked for where nothing better tells whether a device is there.
const SYS_UP_TIME: [u32; 9] = [1, 3, 6, 1, 2, 1, 1, 3, 0];
/// Scalars asked for at once.
const SCALARS_AT_ONCE: usize = 24;
/// Header, community and lists of a reply, beside its bindings.
const OVERHEAD_BYTES: usize = 60;

/// A table to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// A stable name: what is learned about this table on a device is kept under it.
    pub key: Arc<str>,
    /// The columns; at most [`Table::COLUMNS_MAX`] count.
    pub columns: Vec<Oid>,
    /// How far it is read.
    pub limits: Limits,
    /// Whether the agent gives rows out of order: names may go back, but none may come twice.
    pub unordered: bool,
    /// Rows asked for at once; a bound for the device's comfort that nothing learned goes beyond. 1 asks by GETNEXT.
    pub repetitions_max: u16,
}

impl Table {
    /// Agents that prepare all rows before they look at the size of the reply are spared.
    pub const REPETITIONS_MAX: u16 = 100;
    /// Columns beyond these are not read, and end with the reason that the bound on requests was reached.
    pub const COLUMNS_MAX: usize = 4096;

    /// A table with the usual limits.
    pub fn new(key: impl Into<Arc<str>>, columns: Vec<Oid>) -> Self {
        Self {
            key: key.into(),
            columns,
            limits: Limits::default(),
            unordered: false,
            repetitions_max: Self::REPETITIONS_MAX,
        }
    }
}

/// What was read of one table.
#[derive(Debug)]
pub struct TableHarvest {
    /// The values.
    pub rows: Rows,
    /// Why each column ended, in the order of [`Table::columns`].
    pub reasons: Vec<Reason>,
    /// What it cost. A request for columns of several tables counts for the first of them.
    pub cost: Cost,
}

impl TableHarvest {
    /// The values, in the order in which they came.
    #[inline]
    pub fn cells(&self) -> impl ExactSizeIterator<Item = Cell<'_>> {
        self.rows.iter()
    }

    /// Whether every column was read to its end.
    pub fn is_whole(&self) -> bool {
        self.failure().is_none()
    }

    /// The first column that ended early, and why.
    pub fn failure(&self) -> Option<(usize, &Reason)> {
        self.reasons.iter().enumerate().find(|(_, reason)| !reason.is_complete())
    }
}

/// A table and what is known about it.
#[derive(Clone, Debug)]
pub struct Assignment {
    /// What to read.
    pub table: Arc<Table>,
    /// How to ask.
    pub habit: Habit,
    /// Whether it is left alone this time.
    pub parked: bool,
}

/// What a round is given.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Instances to get.
    pub scalars: Arc<[Oid]>,
    /// Tables to read.
    pub tables: Vec<Assignment>,
    /// The path to the device.
    pub path: Path,
    /// Replies are never asked to be larger.
    pub reply_bytes_max: u16,
    /// Whether the protocol version has GETBULK.
    pub bulk: bool,
    /// How long the round may take.
    pub time_max: Duration,
    /// Bytes of all replies of the round, beyond which it ends.
    pub bytes_max: u64,
    /// What is never asked, with all that lies below. A column or scalar there ends at once ([`Reason::Denied`]). A column that leads
    /// through it is read around it: no agent tells where a name lies before it is asked for the one before, so a request may reach
    /// into it by at most ten rows; these are thrown away, and the next request begins behind it. The same bound holds where it lies
    /// near behind a column (they share all but the column's last five arcs): of such a column no request asks for more than ten
    /// rows, and no more than ten values in all come back for columns of which no row is known yet.
    pub deny: Arc<[Oid]>,
}

/// What came of a round.
#[derive(Debug)]
pub struct Ended {
    /// The scalars that have a value: `column` is the place in [`Plan::scalars`].
    pub scalars: Rows,
    /// Why the others have none.
    pub scalar_reasons: Vec<Option<Reason>>,
    /// One per table.
    pub tables: Vec<TableHarvest>,
    /// What was learned about the tables.
    pub habits: Vec<Habit>,
    /// Which tables were silent while the device answered.
    pub parked: Vec<bool>,
    /// What was learned about the path.
    pub path: Path,
    /// Whether any reply came that can be read.
    pub answered: bool,
    /// Whether the device fell silent before the end.
    pub silent: bool,
}

/// How often a request is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// As often as the device's settings say.
    Full,
    /// Once: its loss says enough.
    Brief,
}

/// The state of one round.
#[derive(Debug)]
pub struct Round {
    scalars: Scalars,
    tables: Vec<TableState>,
    columns: Vec<Column>,
    path: Path,
    reply_bytes_max: u16,
    bulk: bool,
    time_max: Duration,
    bytes_left: u64,
    deny: Arc<[Oid]>,
    started: Option<Duration>,
    /// Whose turn it is among the tables, and until when.
    turn: Option<(usize, Duration)>,
    ask: Ask,
    /// Columns of the request that is under way, in its order; scalars when those are asked for.
    asked: Vec<u32>,
    repetitions: u16,
    expected_bytes: usize,
    /// Ask for as little as possible next time: the last request was not answered.
    least: bool,
    /// Ask whether the device is there.
    probe: bool,
    replies: u32,
    /// Whether the device answered just before this round.
    there: bool,
    silent: bool,
    hasher: RandomState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ask {
    Nothing,
    Scalars,
    Columns {
        bulk: bool,
    },
    /// Of which kind the request was that was not answered stands in `asked` and in this flag.
    Probe {
        scalars: bool,
    },
}

#[derive(Debug)]
struct Scalars {
    names: Arc<[Oid]>,
    open: Vec<u32>,
    at_once: usize,
    rows: Rows,
    reasons: Vec<Option<Reason>>,
}

#[derive(Debug)]
struct TableState {
    table: Arc<Table>,
    habit: Habit,
    rows: Rows,
    cost: Cost,
    started: Option<Duration>,
    /// Where its columns lie in `Round::columns`.
    first: usize,
    count: usize,
    open: usize,
    bulk: bool,
    bulk_worked: bool,
    parked: bool,
    /// Turns that it used up without coming to its end.
    turns: u32,
    /// Whether less had to be asked for in this round than the habit said.
    shrunk: bool,
}

#[derive(Debug)]
struct Column {
    table: u32,
    /// Its place in the table.
    place: u16,
    /// The last name seen; the column itself at first.
    cursor: Oid,
    rows: u32,
    /// Whether it is asked for by itself.
    alone: bool,
    /// Whether something that is denied lies ahead.
    fenced: bool,
    /// Whether something that is denied lies near behind it.
    borders: bool,
    bulk: bool,
    /// Hashes of the indices seen, in tables without order.
    seen: Option<HashSet<u64>>,
    end: Option<Reason>,
}

impl Round {
    /// Begins a round.
    pub fn new(plan: Plan) -> Self {
        let scalars = Scalars::new(plan.scalars, &plan.deny);
        let mut round = Self {
            scalars,
            tables: Vec::with_capacity(plan.tables.len()),
            columns: Vec::with_capacity(plan.tables.iter().map(|given| given.table.columns.len()).sum()),
            path: plan.path,
            reply_bytes_max: plan.reply_bytes_max,
            bulk: plan.bulk,
            time_max: plan.time_max,
            bytes_left: plan.bytes_max,
            deny: plan.deny,
            started: None,
            turn: None,
            ask: Ask::Nothing,
            asked: Vec::new(),
            repetitions: 1,
            expected_bytes: 0,
            least: false,
            probe: false,
            replies: 0,
            there: false,
            silent: false,
            hasher: RandomState::new(),
        };
        round.path.begin();
        plan.tables.into_iter().for_each(|given| round.add(given));
        round
    }

    fn add(&mut self, given: Assignment) {
        let Assignment { table, mut habit, parked } = given;
        habit.begin();
        let (at, first) = (self.tables.len() as u32, self.columns.len());
        let bulk = self.bulk && habit.bulk_rest == 0 && table.repetitions_max > 1;
        for (place, prefix) in table.columns.iter().take(Table::COLUMNS_MAX).enumerate() {
            let denied = self.deny.iter().any(|deny| prefix.view().strip_prefix(deny.view()).is_some());
            let fenced = fence::ahead(&self.deny, prefix.view(), prefix.view());
            self.columns.push(Column {
                table: at,
                place: place as u16,
                cursor: prefix.clone(),
                rows: 0,
                alone: fenced,
                fenced,
                borders: fence::borders(&self.deny, prefix.view()),
                bulk,
                seen: table.unordered.then(HashSet::new),
                end: if denied { Some(Reason::Denied) } else { parked.then_some(Reason::Parked) },
            });
        }
        let count = self.columns.len() - first;
        let open = self.columns[first..].iter().filter(|column| column.end.is_none()).count();
        let mut rows = Rows::default();
        if !parked {
            let cells = (habit.rows as usize * count).min(100_000);
            rows.reserve(cells, cells * 4);
        }
        self.tables.push(TableState {
            table,
            habit,
            rows,
            cost: Cost::default(),
            started: None,
            first,
            count,
            open,
            bulk,
            bulk_worked: false,
            parked: false,
            turns: 0,
            shrunk: false,
        });
    }

    /// Settles what to ask next; false when the round is over. `now` is any monotonic clock's reading.
    pub fn prepare(&mut self, now: Duration) -> bool {
        let started = *self.started.get_or_insert(now);
        if now.saturating_sub(started) >= self.time_max {
            self.end_all(&Reason::Limit(Limit::Time));
        }
        if std::mem::take(&mut self.probe) {
            self.ask = Ask::Probe { scalars: self.ask == Ask::Scalars };
            self.expected_bytes = OVERHEAD_BYTES * 2;
            return true;
        }
        if self.choose_scalars() || self.choose_columns(now) {
            return true;
        }
        self.ask = Ask::Nothing;
        false
    }

    /// The request that was settled, under this id.
    pub fn pdu(&self, request_id: i32) -> Pdu<'_> {
        let (kind, third) = match self.ask {
            Ask::Scalars | Ask::Nothing | Ask::Probe { .. } => (PduKind::Get, 0),
            Ask::Columns { bulk: true } => (PduKind::GetBulk, i32::from(self.repetitions)),
            Ask::Columns { bulk: false } => (PduKind::GetNext, 0),
        };
        let varbinds = match self.ask {
            Ask::Probe { .. } => vec![Varbind { name: self.scalars.probe(), value: Value::Null }],
            Ask::Nothing => Vec::new(),
            _ => {
                let name = |at: u32| match self.ask {
                    Ask::Scalars => self.scalars.names[at as usize].view(),
                    _ => self.columns[at as usize].cursor.view(),
                };
                self.asked.iter().map(|&at| Varbind { name: name(at), value: Value::Null }).collect()
            }
        };
        Pdu { kind, request_id, second: 0, third, varbinds }
    }

    /// About how long the reply will be.
    pub fn expected_bytes(&self) -> usize {
        self.expected_bytes
    }

    /// How often the request is worth repeating.
    pub fn patience(&self) -> Patience {
        let brief = self.least || matches!(self.ask, Ask::Probe { .. });
        if brief { Patience::Brief } else { Patience::Full }
    }

    /// Whether any reply came so far that can be read.
    pub fn answered(&self) -> bool {
        self.replies > 0
    }

    /// When the round's time is over, on the clock of [`prepare`](Round::prepare); none before.
    pub fn ends_at(&self) -> Option<Duration> {
        self.started.map(|started| started.saturating_add(self.time_max))
    }

    /// Takes the reply to the last request. `bytes` is the datagram's size.
    pub fn on_reply<'p>(
        &mut self,
        status: ErrorStatus,
        index: usize,
        varbinds: impl Iterator<Item = Result<Varbind<'p>, ParseError>>,
        bytes: usize,
    ) {
        self.replies += 1;
        self.least = false;
        self.bytes_left = self.bytes_left.saturating_sub(bytes as u64);
        match self.ask {
            Ask::Nothing => {}
            Ask::Probe { scalars } => self.blame_asked(scalars),
            Ask::Scalars => {
                self.path.on_reply(bytes, self.reply_bytes_max);
                match status {
                    ErrorStatus::NO_ERROR => self.scalars.take(&self.asked, varbinds),
                    status => self.scalars.refused(&self.asked, status, index),
                }
            }
            Ask::Columns { .. } => {
                self.path.on_reply(bytes, self.reply_bytes_max);
                self.count_reply(bytes);
                match status {
                    ErrorStatus::NO_ERROR => self.take(varbinds, bytes),
                    status => self.refused(status, index),
                }
                self.check_bytes();
            }
        }
        if self.bytes_left == 0 {
            self.end_all(&Reason::Limit(Limit::RoundBytes));
        }
    }

    /// Nothing came but what cannot be read and names no request, retries included.
    pub fn on_rubbish(&mut self, error: ParseError) {
        if self.replies == 0 {
            self.silent = true;
            return self.end_all(&Reason::Malformed(error));
        }
        self.on_malformed(error, 0);
    }

    /// A reply came that cannot be read behind its header. That is no sign of life: a round in which nothing else comes has no answer.
    pub fn on_malformed(&mut self, error: ParseError, bytes: usize) {
        self.bytes_left = self.bytes_left.saturating_sub(bytes as u64);
        match self.ask {
            Ask::Nothing => {}
            Ask::Probe { scalars } => self.blame_asked(scalars),
            Ask::Scalars => self.scalars.spoiled(&self.asked, error),
            Ask::Columns { .. } => {
                for at in 0..self.asked.len() {
                    self.spoiled(self.asked[at], error);
                }
            }
        }
    }

    /// The device answered just now: if the first request has no reply, what was asked for may be to blame.
    pub fn device_is_there(&mut self) {
        self.there = true;
    }

    /// No reply came, retries included.
    pub fn on_silence(&mut self) {
        if (self.replies == 0 && !self.there) || matches!(self.ask, Ask::Probe { .. }) {
            self.silent = true;
            return self.end_all(&Reason::Timeout);
        }
        let path = self.path.on_lost(self.expected_bytes);
        if self.least {
            self.probe = !fence::denies(&self.deny, self.scalars.probe());
            if !self.probe {
                let scalars = self.ask == Ask::Scalars;
                self.blame_asked(scalars);
            }
            return;
        }
        self.least = true;
        // Where the path is not to blame the table is.
        if let (Ask::Columns { bulk: true }, false) = (self.ask, path) {
            let half = (self.repetitions / 2).max(1);
            for at in 0..self.asked.len() {
                let table = self.columns[self.asked[at] as usize].table as usize;
                self.tables[table].habit.repetitions_max = half;
                self.tables[table].shrunk = true;
            }
        }
    }

    /// Ends everything that has not ended.
    pub fn abort(&mut self, reason: &Reason) {
        self.end_all(reason);
    }

    /// What came of it. What has not ended, because nobody prepared it to the end, ends with `otherwise`.
    pub fn finish(mut self, otherwise: &Reason) -> Ended {
        self.end_all(otherwise);
        let (mut tables, mut habits, mut parked) = (Vec::new(), Vec::new(), Vec::new());
        let mut columns = self.columns.into_iter();
        for mut state in self.tables {
            let rows_most = columns.as_slice()[..state.count].iter().map(|column| column.rows).max();
            let mut reasons: Vec<Reason> =
                columns.by_ref().take(state.count).filter_map(|column| column.end).collect();
            let left_out = state.table.columns.len() - state.count;
            reasons.extend((0..left_out).map(|_| Reason::Limit(Limit::Requests)));
            let whole = reasons.iter().all(Reason::is_complete);
            if whole {
                state.habit.rows = rows_most.unwrap_or(0);
            }
            state.habit.end(whole, state.shrunk);
            tables.push(TableHarvest { rows: state.rows, reasons, cost: state.cost });
            habits.push(state.habit);
            parked.push(state.parked);
        }
        Ended {
            scalars: self.scalars.rows,
            scalar_reasons: self.scalars.reasons,
            tables,
            habits,
            parked,
            path: self.path,
            answered: self.replies > 0,
            silent: self.silent,
        }
    }

    fn count_reply(&mut self, bytes: usize) {
        let first = self.columns[self.asked[0] as usize].table as usize;
        let cost = &mut self.tables[first].cost;
        cost.replies += 1;
        cost.bytes += bytes as u64;
    }

    fn check_bytes(&mut self) {
        let first = self.columns[self.asked[0] as usize].table as usize;
        let state = &self.tables[first];
        if state.cost.bytes > state.table.limits.bytes_max {
            self.end_table(first, &Reason::Limit(Limit::Bytes));
        }
    }

    /// The device is there, but what was asked before was not answered.
    fn blame_asked(&mut self, scalars: bool) {
        if scalars {
            self.scalars.end(&self.asked, &Reason::Timeout);
            return;
        }
        for at in 0..self.asked.len() {
            let table = self.columns[self.asked[at] as usize].table as usize;
            self.tables[table].parked = true;
            self.end_table(table, &Reason::Timeout);
        }
    }

    fn take<'p>(&mut self, varbinds: impl Iterator<Item = Result<Varbind<'p>, ParseError>>, bytes: usize) {
        let Self { tables, columns, asked, hasher, deny, .. } = self;
        let most = asked.len() * usize::from(self.repetitions);
        // The last names lie in the packet until it has been read.
        let mut last: Vec<Option<OidRef<'p>>> = vec![None; asked.len()];
        let (mut at, mut cells, mut fault) = (0, 0, None);
        // What lies beyond was not asked for.
        for varbind in varbinds.take(most) {
            let column = &mut columns[asked[at] as usize];
            let varbind = match varbind {
                Ok(varbind) => varbind,
                Err(error) => {
                    fault = Some((asked[at], error));
                    break;
                }
            };
            cells += 1;
            let Varbind { name, value } = varbind;
            if column.end.is_none() {
                let state = &mut tables[column.table as usize];
                let prefix = state.table.columns[usize::from(column.place)].view();
                let before = last[at].unwrap_or(column.cursor.view());
                let rows_max = if state.rows.is_full() { 0 } else { state.table.limits.rows_max };
                let rows = (column.rows, rows_max);
                let is_value = !value.is_exception();
                // What almost every binding is, and what it takes to know that; the rest is judged with more words.
                let plain = match name.strip_prefix(prefix) {
                    Some(index) if is_value && !column.fenced && column.seen.is_none() => {
                        (column.rows < rows_max && name.is_after(before, prefix)).then_some(index)
                    }
                    _ => None,
                };
                if let Some(index) = plain {
                    last[at] = Some(name);
                    column.rows += 1;
                    state.cost.cells += 1;
                    state.rows.push(column.place, index, value);
                } else {
                    let kind = Answered::of(&value);
                    match judge(prefix, before, name, kind, rows, column.seen.as_mut(), hasher) {
                        Ok(index) => {
                            last[at] = Some(name);
                            if is_value && !(column.fenced && fence::denies(deny, name)) {
                                column.rows += 1;
                                state.cost.cells += 1;
                                state.rows.push_rare(column.place, index, value);
                            } else {
                                state.cost.skipped += 1;
                            }
                        }
                        Err(reason) => {
                            column.end = Some(reason);
                            state.open -= 1;
                        }
                    }
                }
            }
            at = if at + 1 == asked.len() { 0 } else { at + 1 };
        }
        for (&at, name) in asked.iter().zip(last) {
            let Some(name) = name else { continue };
            let column = &mut columns[at as usize];
            column.cursor = name.to_oid();
            if column.fenced {
                column.cursor = fence::behind(deny, name).unwrap_or_else(|| name.to_oid());
                let prefix = &tables[column.table as usize].table.columns[usize::from(column.place)];
                column.fenced = fence::ahead(deny, prefix.view(), column.cursor.view());
                column.alone = column.fenced;
                // What is denied may be the column's very end.
                if column.cursor.view().strip_prefix(prefix.view()).is_none() && column.end.is_none() {
                    column.end = Some(Reason::OutOfTable);
                    tables[column.table as usize].open -= 1;
                }
            }
        }
        if cells > 0 {
            let state = &mut tables[columns[asked[0] as usize].table as usize];
            state.habit.on_cells(bytes.saturating_sub(OVERHEAD_BYTES), cells);
            state.bulk_worked |= self.ask == Ask::Columns { bulk: true };
        }
        match fault {
            Some((column, error)) => self.spoiled(column, error),
            None if cells == 0 => self.empty(),
            None => {}
        }
    }

    /// A binding of this column cannot be read. GETBULK makes agents pack what they cannot encode; one row at a time may still be
    /// right.
    fn spoiled(&mut self, column: u32, error: ParseError) {
        if !self.leave_bulk(column) {
            self.end_column(column, Reason::Malformed(error));
        }
    }

    fn empty(&mut self) {
        for at in 0..self.asked.len() {
            if !self.leave_bulk(self.asked[at]) {
                self.end_column(self.asked[at], Reason::EmptyReply);
            }
        }
    }

    fn refused(&mut self, status: ErrorStatus, index: usize) {
        if status == ErrorStatus::TOO_BIG && self.ask_for_less() {
            return;
        }
        // v1 has no endOfMibView and says this instead.
        let ends_mib = status == ErrorStatus::NO_SUCH_NAME;
        let named = index.checked_sub(1).and_then(|at| self.asked.get(at).copied());
        let reason = if ends_mib { Reason::EndOfMib } else { Reason::Status(status) };
        match (self.asked.as_slice(), named) {
            (&[only], _) => {
                // A column whose GETBULK fails may still be read by GETNEXT.
                if status == ErrorStatus::TOO_BIG || !self.leave_bulk(only) {
                    self.end_column(only, reason);
                }
            }
            (_, Some(column)) if ends_mib => self.end_column(column, reason),
            (_, Some(column)) => self.columns[column as usize].alone = true,
            // Nobody is named: ask one at a time, to find out.
            _ => {
                for &at in &self.asked {
                    self.columns[at as usize].alone = true;
                }
            }
        }
    }

    /// After tooBig; false if there is no less.
    fn ask_for_less(&mut self) -> bool {
        let (rows, columns) = (self.repetitions, self.asked.len());
        if rows == 1 && columns == 1 {
            return false;
        }
        for &at in &self.asked {
            let table = &mut self.tables[self.columns[at as usize].table as usize];
            table.shrunk = true;
            let habit = &mut table.habit;
            match rows {
                1 => habit.columns_max = (columns / 2).max(1) as u16,
                _ => habit.repetitions_max = rows / 2,
            }
        }
        true
    }

    /// Turns a column from GETBULK to GETNEXT, and its whole table where GETBULK never worked; false if it has been turned.
    fn leave_bulk(&mut self, column: u32) -> bool {
        let column = &mut self.columns[column as usize];
        if !std::mem::replace(&mut column.bulk, false) {
            return false;
        }
        let state = &mut self.tables[column.table as usize];
        if !state.bulk_worked && std::mem::replace(&mut state.bulk, false) {
            state.habit.rest_bulk();
            for column in &mut self.columns[state.first..][..state.count] {
                column.bulk = false;
                column.alone = false;
            }
        }
        true
    }

    fn end_column(&mut self, column: u32, reason: Reason) {
        let column = &mut self.columns[column as usize];
        if column.end.is_none() {
            column.end = Some(reason);
            self.tables[column.table as usize].open -= 1;
        }
    }

    fn end_table(&mut self, table: usize, reason: &Reason) {
        let state = &mut self.tables[table];
        state.open = 0;
        for column in &mut self.columns[state.first..][..state.count] {
            column.end.get_or_insert_with(|| reason.clone());
        }
    }

    fn end_all(&mut self, reason: &Reason) {
        self.probe = false;
        let open = std::mem::take(&mut self.scalars.open);
        self.scalars.end(&open, reason);
        (0..self.tables.len()).for_each(|table| self.end_table(table, reason));
    }
}

impl Scalars {
    fn new(names: Arc<[Oid]>, deny: &[Oid]) -> Self {
        let denied = |name: &Oid| fence::denies(deny, name.view());
        let reasons: Vec<_> = names.iter().map(|name| denied(name).then_some(Reason::Denied)).collect();
        let open = (0..).zip(&reasons).filter(|(_, reason)| reason.is_none()).map(|(at, _)| at).collect();
        Self { names, open, at_once: SCALARS_AT_ONCE, rows: Rows::default(), reasons }
    }

    /// What tells whether the device is there: a scalar that was answered before.
    fn probe(&self) -> OidRef<'_> {
        use std::sync::LazyLock;
        static FALLBACK: LazyLock<Oid> =
            LazyLock::new(|| Oid::from_arcs(&SYS_UP_TIME).expect("a good identifier"));
        let known = self.rows.iter().next().map(|cell| usize::from(cell.column));
        known.and_then(|at| self.names.get(at)).unwrap_or(&FALLBACK).view()
    }

    /// Bindings must bear the names that were asked for; others are passed over, and what is missing is asked for again, fewer at once.
    fn take<'p>(&mut self, asked: &[u32], varbinds: impl Iterator<Item = Result<Varbind<'p>, ParseError>>) {
        let before = self.open.len();
        let mut fault = None;
        for (&at, varbind) in asked.iter().zip(varbinds) {
            let varbind = match varbind {
                Ok(varbind) => varbind,
                Err(error) => {
                    fault = Some((at, error));
                    break;
                }
            };
            if self.names[at as usize].view() != varbind.name {
                continue;
            }
            self.open.retain(|&open| open != at);
            if varbind.value.is_exception() {
                self.reasons[at as usize] = Some(Reason::NoSuchObject);
            } else {
                self.rows.push_rare(at as u16, Index::from_checked(&[]), varbind.value);
            }
        }
        match fault {
            Some((at, error)) => self.end(&[at], &Reason::Malformed(error)),
            None if self.open.len() == before => self.fewer(asked, &Reason::EmptyReply),
            None => {}
        }
    }

    fn refused(&mut self, asked: &[u32], status: ErrorStatus, index: usize) {
        let missing = status == ErrorStatus::NO_SUCH_NAME;
        let reason = if missing { Reason::NoSuchObject } else { Reason::Status(status) };
        match index.checked_sub(1).and_then(|at| asked.get(at)) {
            // v1 refuses the whole request for one scalar that it lacks.
            Some(&named) if status != ErrorStatus::TOO_BIG => self.end(&[named], &reason),
            _ => self.fewer(asked, &reason),
        }
    }

    fn spoiled(&mut self, asked: &[u32], error: ParseError) {
        self.fewer(asked, &Reason::Malformed(error));
    }

    /// Asks for half as many at once; a single one ends.
    fn fewer(&mut self, asked: &[u32], reason: &Reason) {
        if asked.len() > 1 {
            self.at_once = (asked.len() / 2).max(1);
        } else {
            self.end(asked, reason);
        }
    }

    fn end(&mut self, which: &[u32], reason: &Reason) {
        self.open.retain(|open| !which.contains(open));
        for &at in which {
            let known = self.rows.iter().any(|cell| u32::from(cell.column) == at);
            if !known {
                self.reasons[at as usize].get_or_insert_with(|| reason.clone());
            }
        }
    }
}

/// What a binding holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answered {
    Value,
    /// noSuchObject or noSuchInstance.
    Nothing,
    /// endOfMibView.
    End,
}

impl Answered {
    #[inline]
    fn of(value: &Value<'_>) -> Self {
        match value {
            Value::EndOfMibView => Self::End,
            Value::NoSuchObject | Value::NoSuchInstance => Self::Nothing,
            _ => Self::Value,
        }
    }
}

/// The row that a name stands for, or why its column ends with it. `rows` are those that it has and those that it may have.
fn judge<'p>(
    prefix: OidRef<'_>,
    before: OidRef<'_>,
    name: OidRef<'p>,
    answered: Answered,
    (rows, rows_max): (u32, u32),
    seen: Option<&mut HashSet<u64>>,
    hasher: &RandomState,
) -> Result<Index<'p>, Reason> {
    if answered == Answered::End {
        return Err(Reason::EndOfMib);
    }
    let lost = answered == Answered::Nothing;
    let index = name.strip_prefix(prefix);
    if let Some(seen) = seen {
        // A table without order ends with any name outside of it.
        let Some(index) = index.filter(|index| !index.is_empty()) else {
            return Err(if lost { Reason::NoSuchObject } else { Reason::OutOfTable });
        };
        if rows >= rows_max || seen.len() >= rows_max as usize {
            return Err(Reason::Limit(Limit::Rows));
        }
        // Two rows that share a hash of 64 bits would end a table early once in ages.
        let fresh = seen.insert(hasher.hash_one(index.as_bytes()));
        return if fresh { Ok(index) } else { Err(Reason::Repeats(name.to_oid())) };
    }
    if name <= before {
        let backwards = || Reason::NonIncreasing { last: before.to_oid(), got: name.to_oid() };
        return Err(if lost { Reason::NoSuchObject } else { backwards() });
    }
    let index = index.ok_or(Reason::OutOfTable)?;
    if rows >= rows_max { Err(Reason::Limit(Limit::Rows)) } else { Ok(index) }
}

#[cfg(test)]
mod tests;
