//! The engine: one thread that asks thousands of devices, and what goes into it and comes out.
//!
//! In: a [`Job`], one round of one device: scalars and tables. Out: its [`Harvest`], which comes always, by the job's deadline at the
//! latest: what was read, the reason for everything that was not, and what it cost.
//!
//! Limits: [`Job::deadline`], [`Limits`](crate::Limits) per table.

mod harvest;
mod target;

pub use harvest::{BadPacket, Harvest, Job, RoundCost};
pub use target::{Credential, Rate, Site, Target};
