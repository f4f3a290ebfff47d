//! Simulated SNMP devices: thousands of agents on loopback, from recordings of real devices or made up, that move with time, misbehave
//! on demand and remember what they were asked.
//!
//! - [`Recording`]: the snmpsim text format; [`Switch`]: a switch that was never built; [`Tree`]: either of them, ready to be sent;
//! - [`Device`]: v1, v2c and v3 (RFC 1157, 3416, 3414) over a tree, without socket and clock;
//! - [`Script`], [`Rule`], [`Fault`]: what goes wrong, as text or from code; [`Link`]: delay, jitter, loss, reordering;
//! - [`Fleet`]: devices served from few threads of its own, on addresses of 127.0.0.0/8 or on ports of one address.
//!
//! Everything that looks like chance is drawn by seed. Not here: SET, traps, VACM beyond views by name.
//!
//! Limits: 1,000,000 values and 256 MiB a tree (shared between devices), requests of 8,192 bytes, replies of 65,507.

mod answer;
mod counts;
mod datum;
mod device;
mod encode;
mod error;
mod fault;
mod fleet;
mod life;
mod link;
mod motion;
mod outbox;
mod recording;
mod seed;
mod state;
mod switch;
mod tree;
mod view;

pub use counts::{Asked, Counts};
pub use device::Device;
pub use error::Error;
pub use fault::{Element, Fault, Rule, Script, When};
pub use fleet::{Fleet, Options, Place};
pub use link::Link;
pub use outbox::{Outbox, Parcel, Route};
pub use recording::{Dropped, Odd, Recording};
pub use snmp::Datum;
pub use switch::Switch;
pub use tree::Tree;
