//! The agent as a library: inputs, schedule, spool, uplink. `pantau-agent` runs it alone, `pantau-collector` embeds it.
//!
//! ```text
//! inputs -> schedule -> batcher -+-> spool (disk) -> uplink (TLS) -> a collector        the program: program::run
//!                                '-> Outlet (memory queue) -> this process' collector   embedded:    Agent::start
//! ```
//!
//! To embed it:
//!
//! ```no_run
//! # use std::sync::Arc;
//! # async fn example(outlet: Arc<dyn pantau_agent::Outlet>) -> Result<(), pantau_agent::StartError> {
//! let collection = pantau_agent::settings::Collection::default(); // or a section of your own settings
//! let registry = prometheus::Registry::new(); // gets the metrics pantau_agent_*
//! let agent = pantau_agent::Agent::start(&collection, outlet, &registry)?;
//! // later: agent.reload(&changed)?; and at the end
//! agent.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! [`Agent::start`] must be called within a tokio runtime (any flavour) and returns at once; rounds begin within one interval.
//! Batches are numbered per start; while the outlet answers [`DeliverError::Later`] they wait in memory, bounded by
//! `limits.memory_bytes_max`, the oldest shed and reported.
//!
//! Deliberately not here: store, queries, alerts; what a device or exporter means (that is the inputs' and profiles' work).

mod batch;
pub mod clock;
mod embedded;
pub mod inputs;
mod metrics;
mod outlet;
pub mod program;
pub mod relabel;
mod schedule;
pub mod series;
pub mod settings;
#[cfg(feature = "simulated")]
pub mod simulated;
mod spool;
mod uplink;

pub use embedded::{Agent, StartError};
pub use outlet::{Batch, DeliverError, Delivered, Outlet};
pub use spool::SpoolError;
