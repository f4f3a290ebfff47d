//! How far a table is read, why a column ended, and what it cost. The walking itself is [`round`](crate::round)'s work.

use std::time::Duration;

use crate::oid::Oid;
use crate::pdu::ErrorStatus;

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
    /// [`Plan::bytes_max`](crate::round::Plan::bytes_max)
    RoundBytes,
}

impl std::fmt::Display for Limit {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::Rows => "rows",
            Self::Bytes => "bytes",
            Self::Requests => "requests",
            Self::Time => "time",
            Self::RoundBytes => "bytes of all tables",
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
    /// The settings say that this is never to be asked.
    #[error("never asked: the settings deny it")]
    Denied,
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
            Self::Limit(Limit::RoundBytes) => "limit_round_bytes",
            Self::Timeout => "timeout",
            Self::Status(_) => "error_status",
            Self::NoSuchObject => "no_such_object",
            Self::Unreachable => "unreachable",
            Self::EmptyReply => "empty_reply",
            Self::Malformed(_) => "malformed",
            Self::Repeats(_) => "repeating_oid",
            Self::Parked => "parked",
            Self::Denied => "denied",
            Self::Refused(_) => "refused",
            Self::Stopped => "stopped",
        }
    }
}

/// What reading a table cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Requests made, retries not counted.
    pub requests: u32,
    /// Replies that came.
    pub replies: u32,
    /// Their bytes.
    pub bytes: u64,
    /// Cells that were read.
    pub cells: u64,
    /// Cells that held an exception instead of a value (rows that vanished), or lay where the settings deny it, left out.
    pub skipped: u64,
}
