//! What `pantau-collector store …` does: looking after the store's folder, and carrying samples in and out of it.
//!
//! [`import`] reads what other programs export ([`reader`] knows their formats) and writes it by the store's own way: resolve, write,
//! flush. [`export`] reads a store, beside the collector that has it open, and writes what others import. The rest calls `crates/tsdb`
//! and says what came of it.
//!
//! All of it is free of the runtime; each call may block on the disk for long.

pub mod export;
pub mod import;
mod lines;
pub mod reader;
pub mod sink;
pub mod text;
