//! The user-based security model (RFC 3414, 3826, 7860): who asks, how it is proved and how it is hidden. Pure: no I/O and no clock; time
//! comes as an argument, the reading of any monotonic clock.
//!
//! - [`User`]: a credential; its keys are derived once (a hash over 1 MiB), zeroised when the last clone goes, never printed;
//! - [`Peer`]: the manager's side of one remote engine: discovery, localised keys, boots and time, requests sealed and replies opened;
//! - [`Exchange`]: what a `Peer` remembers of one request that is under way; its owner keeps it beside the request;
//! - [`Authority`]: the side that answers, for simulated devices (traps and informs later).
//!
//! Authentication: HMAC with MD5, SHA-1, SHA-224, SHA-256, SHA-384, SHA-512, truncated to 12, 12, 16, 24, 32, 48 octets and compared
//! in constant time. Privacy: DES-CBC, AES-128-CFB, AES-192 and AES-256 with keys extended as in draft-blumenthal-aes-usm-04 or, as Cisco
//! does, draft-reeder-snmpv3-usm-3desede-00.
//!
//! What is believed: nothing of an unauthenticated message changes keys, boots or time of an engine that has ever been authenticated. A
//! forged report can make one request fail or be repeated once, no more.
//!
//! Limits: names of 32 octets, passphrases of 8 to 1,024 octets; about 850 bytes a remote engine; no allocation to seal or open a message
//! once an engine is known. Localising a key takes microseconds, or milliseconds where Reeder's extension must lengthen it. Not here:
//! keys given as hex, changing keys (SET), VACM.

mod authority;
mod cipher;
mod clock;
mod keys;
mod mac;
mod peer;
mod report;
mod seal;
mod user;

pub use crate::v3::{EngineId, Level};
pub use authority::{Asked, Authority, Served, Stats};
pub use peer::{Exchange, OpenFault, Opened, Peer, Sealed};
pub use report::Refusal;
pub use user::{AuthProtocol, Context, PrivProtocol, User, UsmError};

/// The longest user name, in octets.
pub const NAME_MAX: usize = 32;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;
