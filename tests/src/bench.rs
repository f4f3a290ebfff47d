//! Benches: ours beside the peers in one run, CPU seconds by the operating system's accounting of each process.

pub mod agent;
pub mod ingest;
pub mod query;
pub mod report;
pub mod sink;
pub mod snmp;
pub mod store;
pub mod stream;
