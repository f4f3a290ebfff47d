//! The SNMP protocol engine, first part: a manager for v1 and v2c over UDP.
//!
//! In: an address, a community, object identifiers. Out: values as the agent gave them ([`Value`]), or the reason why there are none.
//! What the numbers mean is not known here: no vendor, no MIB, no metric.
//!
//! - [`Oid`] and [`OidRef`]: object identifiers, owned and borrowed from a packet;
//! - [`ber`]: the codec, which borrows from the packet and never panics on what comes from the network;
//! - [`Message`], [`Pdu`], [`Request`]: what goes over the wire;
//! - [`Walk`]: a bounded walk over a table's columns as a state machine without I/O and clock;
//! - [`Client`]: one UDP socket per address family for all targets, timeouts and retries.
//!
//! Not here yet: v3, traps, SET (never: a monitor does not write).
//!
//! Limits: datagrams of 65,535 bytes, OIDs of 128 arcs of 32 bits, [`Limits`] per walk, [`Options::in_flight_max`] requests at once.

pub mod ber;
mod client;
mod error;
mod message;
mod oid;
mod pdu;
#[cfg(any(test, feature = "pretend"))]
pub mod pretend;
pub mod usm;
pub mod v3;
mod value;
mod walk;

pub use ber::{Fault, ParseError};
pub use client::{Client, Community, Options, Reply, Stats, Target};
pub use error::Error;
pub use message::{Header, Message, Version};
pub use oid::{Index, Oid, OidError, OidRef};
pub use pdu::{ErrorStatus, Pdu, PduKind, Request, RequestKind, Varbind};
pub use value::Value;
pub use walk::{Cell, Cost, Limit, Limits, Pace, Reason, Step, Walk};
