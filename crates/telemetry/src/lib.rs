//! What the programs say about themselves: logs, their own metrics' registry, build information.
//!
//! In: log events through `tracing`, counters that each room registers. Out: lines on standard error, a text page of metrics.
//! Deliberately not here: what is counted (each room has its own `Metrics` struct) and where the page is served.

pub mod build;
pub mod faults;
pub mod logs;
pub mod metrics;
pub mod summary;
