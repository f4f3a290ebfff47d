//! The SNMP protocol engine: a manager for v1, v2c and v3 over UDP.
//!
//! In: an address, credentials, object identifiers. Out: values as the agent gave them ([`Value`]), or the reason why there are none.
//! What the numbers mean is not known here: no vendor, no MIB, no metric.
//!
//! - [`Oid`] and [`OidRef`]: object identifiers, owned and borrowed from a packet;
//! - [`ber`]: the codec, which borrows from the packet and never panics on what comes from the network;
//! - [`Message`], [`Pdu`], [`Request`]: what goes over the wire;
//! - [`v3`], [`usm`]: the same of SNMPv3, and who may believe whom, for both sides;
//! - [`round`]: one round of a device, scalars and tables, as a state machine without I/O and clock;
//! - [`engine`] (feature `engine`): one thread and few sockets for all devices, timeouts, limits, credentials;
//! - `socket` (feature `sockets`, Linux): structures of system calls.
//!
//! Without the feature `engine` there is no network, no thread and no runtime in this crate.
//!
//! Not here yet: traps. SET never: a monitor does not write.
//!
//! Limits: datagrams of 65,535 bytes, OIDs of 128 arcs of 32 bits, [`Limits`] per table.

pub mod ber;
mod community;
mod datum;
#[cfg(feature = "engine")]
pub mod engine;
mod message;
mod oid;
mod pdu;
#[cfg(all(feature = "engine", any(test, feature = "pretend")))]
pub mod pretend;
pub mod round;
#[cfg(all(feature = "sockets", target_os = "linux"))]
pub mod socket;
#[cfg(feature = "engine")]
mod udp;
pub mod usm;
pub mod v3;
mod value;
mod walk;

pub use ber::{Fault, ParseError};
pub use community::Community;
pub use datum::Datum;
pub use message::{Header, Message, Response, Varbinds, Version};
pub use oid::{Index, Oid, OidError, OidRef};
pub use pdu::{ErrorStatus, Pdu, PduKind, Request, RequestKind, Varbind};
pub use value::Value;
pub use walk::{Cost, Limit, Limits, Reason};
