//! What the engine is given to do, and what it gives back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::target::Target;
use crate::oid::Oid;
use crate::round::{Rows, Table, TableHarvest};
use crate::value::Value;
use crate::walk::Reason;

/// One round of one device.
#[derive(Clone, Debug)]
pub struct Job {
    /// Whom to ask.
    pub target: Arc<Target>,
    /// Instances to get. The first request of a round asks for them, so they also tell whether the device is there; without any,
    /// the first table does.
    pub scalars: Arc<[Oid]>,
    /// Tables to read, the most wanted first.
    pub tables: Vec<Arc<Table>>,
    /// The whole round ends after this long, counted from when the engine takes it up.
    pub deadline: Duration,
    /// Before all that are not: somebody waits at a screen.
    pub urgent: bool,
}

/// What came of a [`Job`].
#[derive(Debug)]
pub struct Harvest {
    /// The scalars that have a value, `column` being the place in [`Job::scalars`], `index` empty.
    pub scalars: Rows,
    /// For each scalar why it has no value; none for those that have.
    pub scalar_reasons: Vec<Option<Reason>>,
    /// One for each of [`Job::tables`], in the same order.
    pub tables: Vec<TableHarvest>,
    /// Whether the device answered anything at all that can be read, an error included.
    pub answered: bool,
    /// What it cost.
    pub cost: RoundCost,
    /// The smoothed round trip, once one was measured.
    pub round_trip: Option<Duration>,
    /// Which credential worked, by its place in [`Target::credentials`].
    pub credential: Option<usize>,
    /// The last packet of this device that did not count, from this round or an earlier one.
    pub last_bad: Option<Arc<BadPacket>>,
    /// Another device that gave the same SNMPv3 engine id: cloned configurations, or one device under two names.
    pub engine_id_also_of: Option<Arc<str>>,
}

impl Harvest {
    /// The value of a scalar, by its place in [`Job::scalars`].
    pub fn scalar(&self, at: usize) -> Option<Value<'_>> {
        self.scalars.iter().find(|cell| usize::from(cell.column) == at).map(|cell| cell.value)
    }
}

/// What a round cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoundCost {
    /// Requests, retries not counted.
    pub requests: u32,
    /// Replies that counted.
    pub replies: u32,
    /// Datagrams sent again for want of a reply.
    pub retries: u32,
    /// Requests that were given up.
    pub timeouts: u32,
    /// Bytes of UDP payload that were sent.
    pub sent_bytes: u64,
    /// Bytes of UDP payload of the replies to requests under way.
    pub received_bytes: u64,
    /// Of `duration`, the time that requests waited for limits of device, site, socket and engine.
    pub waited: Duration,
    /// From the moment the engine took the job up to its end, waiting for limits included.
    pub duration: Duration,
}

/// A packet that came from a device and did not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadPacket {
    /// Where it came from.
    pub source: SocketAddr,
    /// What is wrong with it.
    pub why: String,
    /// Its first bytes, at most [`BadPacket::BYTES_MAX`]; communities are replaced by `*`.
    pub bytes: Vec<u8>,
    /// How long it was.
    pub length: usize,
}

impl BadPacket {
    /// Bytes that are kept.
    pub const BYTES_MAX: usize = 2048;
}
