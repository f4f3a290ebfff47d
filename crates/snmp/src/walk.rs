//! Walking a table: a state machine without I/O and without a clock.
//!
//! In: columns to read, bounds, and every reply or timeout as it comes. Out: the next request, each cell by callback, and for every
//! column the reason why it ended ([`Reason`]). A column that ends for any other reason than having been read to its end is never
//! passed off as whole: [`Walk::failure`] names it.
//!
//! How it asks: several columns in one request, those that lag behind first; GETBULK, with half the repetitions after each tooBig (then
//! half the columns) and after a lost reply; GETNEXT for v1, and where GETBULK is answered by an error or by nothing. A column that
//! is answered by an error ends alone.
//!
//! Bounds ([`Limits`]): rows a column, bytes of replies, requests, and time, all given from outside. Every reply either brings a column
//! forward, ends one, or asks for less next time, so a walk ends even without its bounds.

use std::time::Duration;

use crate::oid::{Index, Oid, OidRef};
use crate::pdu::{ErrorStatus, Pdu, Request, RequestKind, Varbind};
use crate::value::Value;

/// How a walk asks. What it has learned stands in [`Walk::pace`] afterwards and can begin the next walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Whether GETBULK may be used; false for v1.
    pub bulk: bool,
    /// Rows asked for at once; at least 1.
    pub max_repetitions: u16,
    /// Columns asked for at once; at least 1.
    pub columns_max: u16,
}

impl Pace {
    /// One row at a time: v1, and agents whose GETBULK is broken.
    pub const NEXT: Self = Self { bulk: false, max_repetitions: 1, columns_max: 8 };
    /// About 48 cells, or 1,200 bytes of interface counters: what passes a tunnel without fragments.
    pub const BULK: Self = Self { bulk: true, max_repetitions: 6, columns_max: 8 };
}

/// How far a walk may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Rows of one column.
    pub rows_max: u32,
    /// Bytes of all replies.
    pub bytes_max: u64,
    /// Requests, retries not counted.
    pub requests_max: u32,
    /// From the first request on.
    pub time_max: Duration,
}

/// 20,000 rows, 32 MiB, 20,000 requests, 50 seconds: a round of a minute ends before the next begins.
impl Default for Limits {
    fn default() -> Self {
        Self {
            rows_max: 20_000,
            bytes_max: 32 << 20,
            requests_max: 20_000,
            time_max: Duration::from_secs(50),
        }
    }
}

/// Which bound was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Limit {
    /// [`Limits::rows_max`]
    Rows,
    /// [`Limits::bytes_max`]
    Bytes,
    /// [`Limits::requests_max`]
    Requests,
    /// [`Limits::time_max`]
    Time,
}

impl std::fmt::Display for Limit {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::Rows => "rows",
            Self::Bytes => "bytes",
            Self::Requests => "requests",
            Self::Time => "time",
        })
    }
}

/// Why a column ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The next name lies outside the column: it was read to its end.
    #[error("read to its end")]
    OutOfTable,
    /// Nothing lies behind the column: it was read to its end.
    #[error("read to the end of the MIB")]
    EndOfMib,
    /// The agent went back or stood still; going on would never end.
    #[error("the agent answered {got} after {last}: names must grow")]
    NonIncreasing {
        /// The name before.
        last: Oid,
        /// The name that does not come after it.
        got: Oid,
    },
    /// One of the bounds.
    #[error("the bound on {0} was reached")]
    Limit(Limit),
    /// No reply, retries included.
    #[error("no reply")]
    Timeout,
    /// The agent answered with an error.
    #[error("the agent answered {0}")]
    Status(ErrorStatus),
    /// The agent said noSuchObject or noSuchInstance where the next name was asked for.
    #[error("the agent answered that the object does not exist")]
    NoSuchObject,
    /// The request could not be sent.
    #[error("the agent cannot be reached")]
    Unreachable,
    /// Replies without any binding.
    #[error("the agent answered without a binding")]
    EmptyReply,
    /// A reply that cannot be read.
    #[error("the reply cannot be read: {0}")]
    Malformed(crate::ParseError),
    /// The agent gave a row twice; going on would never end.
    #[error("the agent answered {0} twice")]
    Repeats(Oid),
    /// The table was silent while the device answered; it is left alone for a while.
    #[error("left alone after it did not answer")]
    Parked,
    /// SNMPv3: the device refuses the user, the digest or the level.
    #[error("the device refuses: {0}")]
    Refused(String),
    /// The engine was stopped.
    #[error("the engine was stopped")]
    Stopped,
}

impl Reason {
    /// Whether the column was read to its end.
    pub fn is_complete(&self) -> bool {
        matches!(self, Self::OutOfTable | Self::EndOfMib)
    }

    /// A word for a label value.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::OutOfTable => "out_of_table",
            Self::EndOfMib => "end_of_mib",
            Self::NonIncreasing { .. } => "non_increasing_oid",
            Self::Limit(Limit::Rows) => "limit_rows",
            Self::Limit(Limit::Bytes) => "limit_bytes",
            Self::Limit(Limit::Requests) => "limit_requests",
            Self::Limit(Limit::Time) => "limit_time",
            Self::Timeout => "timeout",
            Self::Status(_) => "error_status",
            Self::NoSuchObject => "no_such_object",
            Self::Unreachable => "unreachable",
            Self::EmptyReply => "empty_reply",
            Self::Malformed(_) => "malformed",
            Self::Repeats(_) => "repeating_oid",
            Self::Parked => "parked",
            Self::Refused(_) => "refused",
            Self::Stopped => "stopped",
        }
    }
}

/// One value of a table, borrowed from the packet.
#[derive(Clone, Copy, Debug)]
pub struct Cell<'a> {
    /// Which column, by its place in the list given to [`Walk::new`].
    pub column: usize,
    /// Which row.
    pub index: Index<'a>,
    /// The value; never one of v2c's exceptions.
    pub value: Value<'a>,
}

/// Whether a walk goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Step {
    /// There is more to ask for.
    Continue,
    /// Every column has ended.
    Done,
}

/// What a walk cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Requests made, retries not counted.
    pub requests: u32,
    /// Replies that came.
    pub replies: u32,
    /// Their bytes.
    pub bytes: u64,
    /// Cells handed out.
    pub cells: u64,
    /// Cells that held an exception instead of a value (rows that vanished), left out.
    pub skipped: u64,
}

/// The state of one walk.
#[derive(Debug)]
pub struct Walk {
    columns: Vec<Column>,
    limits: Limits,
    pace: Pace,
    started: Option<Duration>,
    /// Columns of the request that is under way, in its order.
    asked: Vec<usize>,
    timeouts: u32,
    cost: Cost,
}

#[derive(Debug)]
struct Column {
    prefix: Oid,
    /// The last name seen; the prefix at first.
    cursor: Oid,
    rows: u32,
    end: Option<Reason>,
}

impl Walk {
    /// Lost replies after which a walk that had replies before asks for less and tries again.
    const TIMEOUTS_FORGIVEN: u32 = 2;

    /// Begins a walk over these columns.
    pub fn new(columns: impl IntoIterator<Item = Oid>, pace: Pace, limits: Limits) -> Self {
        let columns = columns.into_iter().map(Column::new).collect();
        let pace = Pace {
            max_repetitions: pace.max_repetitions.max(1),
            columns_max: pace.columns_max.max(1),
            ..pace
        };
        Self { columns, limits, pace, started: None, asked: Vec::new(), timeouts: 0, cost: Cost::default() }
    }

    /// The next request, or none when every column has ended. `now` is any monotonic clock's reading.
    pub fn next_request(&mut self, now: Duration) -> Option<Request> {
        let started = *self.started.get_or_insert(now);
        if now.saturating_sub(started) >= self.limits.time_max {
            self.end_all(&Reason::Limit(Limit::Time));
        }
        if self.cost.requests >= self.limits.requests_max {
            self.end_all(&Reason::Limit(Limit::Requests));
        }
        self.choose();
        if self.asked.is_empty() {
            return None;
        }
        self.cost.requests += 1;
        let kind = match self.pace {
            Pace { bulk: true, max_repetitions, .. } => RequestKind::GetBulk { max_repetitions },
            _ => RequestKind::GetNext,
        };
        Some(Request { kind, names: self.asked.iter().map(|&at| self.columns[at].cursor.clone()).collect() })
    }

    /// When this walk's time is over, on the clock of [`next_request`](Walk::next_request); none before the first request.
    pub fn deadline(&self) -> Option<Duration> {
        self.started.map(|started| started.saturating_add(self.limits.time_max))
    }

    /// Takes the reply to the last request. `bytes` is the datagram's size.
    pub fn on_reply(&mut self, reply: &Pdu<'_>, bytes: usize, mut cell: impl FnMut(Cell<'_>)) -> Step {
        self.cost.replies += 1;
        self.cost.bytes += bytes as u64;
        match reply.error_status() {
            ErrorStatus::NO_ERROR => self.take(&reply.varbinds, &mut cell),
            status => self.refused(status, reply.error_index()),
        }
        if self.cost.bytes > self.limits.bytes_max {
            self.end_all(&Reason::Limit(Limit::Bytes));
        }
        self.step()
    }

    /// No reply came, retries included. An agent that answered before may have sent a reply that was too large for the path.
    pub fn on_timeout(&mut self) -> Step {
        self.timeouts += 1;
        let hopeless = self.cost.replies == 0 || self.timeouts > Self::TIMEOUTS_FORGIVEN;
        if hopeless || !self.shrink() {
            self.end_all(&Reason::Timeout);
        }
        self.step()
    }

    /// A reply came that cannot be read.
    pub fn on_malformed(&mut self, error: crate::ParseError) -> Step {
        // GETBULK makes agents pack what they cannot encode; one row at a time may still be right.
        if !self.leave_bulk() {
            self.end_asked(&Reason::Malformed(error));
        }
        self.step()
    }

    /// Ends every column that has not ended.
    pub fn abort(&mut self, reason: &Reason) {
        self.end_all(reason);
    }

    /// Why each column ended, in the order given to [`new`](Walk::new); none for those that have not.
    pub fn reasons(&self) -> impl Iterator<Item = Option<&Reason>> {
        self.columns.iter().map(|column| column.end.as_ref())
    }

    /// The first column that ended early, and why; none if the whole table was read (or the walk still goes on).
    pub fn failure(&self) -> Option<(usize, &Reason)> {
        let ended =
            self.columns.iter().enumerate().filter_map(|(at, column)| Some((at, column.end.as_ref()?)));
        ended.into_iter().find(|(_, reason)| !reason.is_complete())
    }

    /// What it cost so far.
    pub fn cost(&self) -> Cost {
        self.cost
    }

    /// How it asks by now.
    pub fn pace(&self) -> Pace {
        self.pace
    }

    fn step(&self) -> Step {
        let open = self.columns.iter().any(|column| column.end.is_none());
        if open { Step::Continue } else { Step::Done }
    }

    /// Chooses the columns of the next request: those that lag behind first, so that rows stay together.
    fn choose(&mut self) {
        let mut open: Vec<usize> =
            (0..self.columns.len()).filter(|&at| self.columns[at].end.is_none()).collect();
        open.sort_by_key(|&at| self.columns[at].rows);
        open.truncate(self.pace.columns_max.into());
        self.asked = open;
    }

    fn take(&mut self, varbinds: &[Varbind<'_>], cell: &mut impl FnMut(Cell<'_>)) {
        if varbinds.is_empty() {
            if !self.leave_bulk() {
                self.end_asked(&Reason::EmptyReply);
            }
            return;
        }
        let repetitions = if self.pace.bulk { usize::from(self.pace.max_repetitions) } else { 1 };
        let expected = self.asked.len() * repetitions;
        // What lies beyond was not asked for.
        for (varbind, &at) in varbinds.iter().take(expected).zip(self.asked.iter().cycle()) {
            let column = &mut self.columns[at];
            if column.end.is_some() {
                continue;
            }
            match column.judge(varbind.name, &varbind.value, self.limits.rows_max) {
                Ok(_) if varbind.value.is_exception() => self.cost.skipped += 1,
                Ok(index) => {
                    column.rows += 1;
                    self.cost.cells += 1;
                    cell(Cell { column: at, index, value: varbind.value });
                }
                Err(reason) => {
                    column.end = Some(reason);
                    continue;
                }
            }
            column.cursor = varbind.name.to_oid();
        }
    }

    fn refused(&mut self, status: ErrorStatus, index: usize) {
        if status == ErrorStatus::TOO_BIG && self.shrink() {
            return;
        }
        if status == ErrorStatus::AUTHORIZATION_ERROR {
            return self.end_all(&Reason::Status(status));
        }
        if status != ErrorStatus::TOO_BIG && self.leave_bulk() {
            return;
        }
        // v1 has no endOfMibView and says this instead.
        let reason =
            if status == ErrorStatus::NO_SUCH_NAME { Reason::EndOfMib } else { Reason::Status(status) };
        match (self.asked.as_slice(), index) {
            (&[only], _) => self.columns[only].end = Some(reason),
            (asked, 1..) if index <= asked.len() => self.columns[asked[index - 1]].end = Some(reason),
            // Nobody is named: ask one at a time, to find out.
            _ => self.pace.columns_max = 1,
        }
    }

    /// Asks for less; false if there is no less.
    fn shrink(&mut self) -> bool {
        let asked = u16::try_from(self.asked.len()).unwrap_or(u16::MAX);
        if self.pace.bulk && self.pace.max_repetitions > 1 {
            self.pace.max_repetitions /= 2;
        } else if asked > 1 {
            self.pace.columns_max = asked / 2;
        } else {
            return false;
        }
        true
    }

    /// Turns from GETBULK to GETNEXT; false if it has.
    fn leave_bulk(&mut self) -> bool {
        std::mem::replace(&mut self.pace.bulk, false)
    }

    fn end_asked(&mut self, reason: &Reason) {
        for &at in &self.asked {
            self.columns[at].end.get_or_insert_with(|| reason.clone());
        }
    }

    fn end_all(&mut self, reason: &Reason) {
        for column in &mut self.columns {
            column.end.get_or_insert_with(|| reason.clone());
        }
    }
}

impl Column {
    fn new(prefix: Oid) -> Self {
        Self { cursor: prefix.clone(), prefix, rows: 0, end: None }
    }

    /// The row that a name stands for, or why the column ends with it.
    fn judge<'a>(&self, name: OidRef<'a>, value: &Value<'_>, rows_max: u32) -> Result<Index<'a>, Reason> {
        if *value == Value::EndOfMibView {
            return Err(Reason::EndOfMib);
        }
        if name <= self.cursor.view() {
            let lost = value.is_exception();
            let backwards = || Reason::NonIncreasing { last: self.cursor.clone(), got: name.to_oid() };
            return Err(if lost { Reason::NoSuchObject } else { backwards() });
        }
        let index = name.strip_prefix(self.prefix.view()).ok_or(Reason::OutOfTable)?;
        if self.rows >= rows_max { Err(Reason::Limit(Limit::Rows)) } else { Ok(index) }
    }
}

#[cfg(test)]
mod tests;
