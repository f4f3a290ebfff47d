//! The store: samples of many series, years of them in one folder.
//!
//! In: batches of samples and native histograms, each with an attachment of the caller's (what must be on disk together with the
//! samples, such as the identity of the batch). A batch becomes one journal record; after its fsync it is applied to the head in memory,
//! and only then is the writer told. When a window of time is over, or memory is short, the head becomes immutable blocks on disk;
//! compaction makes large ones of small ones. Out: [`model::SeriesSource`], by which head and blocks are read as one. A start opens the
//! blocks and replays what of the journal stands in none, through the same code, and blocks until that is done.
//!
//! What it does not do: it does not judge samples' age (the collector does), knows no sender and no query language, and starts no thread
//! but the journal's: whoever opens it calls [`Store::maintain`] and [`Store::compact`] on threads of its own.
//!
//! Bounds, each an option: age ([`Options::retention`], 2 years, shorter by rule), memory ([`Options::head_bytes_max`], 1 GiB), disk
//! ([`Options::store_bytes_max`], [`Options::reserve_bytes`]), series that are written to ([`Options::series_max`], a million).
//!
//! **Where memory is short** this happens, in this order: the head becomes blocks early; spare memory is given back; new series are refused
//! by name while old ones go on (once labels and index take half of it); writes are refused as temporary ([`WriteError::NoMemory`]), and
//! their senders keep them. Nothing acknowledged is dropped.
//!
//! **Where disk is short**: blocks past their age go; then the oldest ones, but none with samples of the last
//! [`Options::keep_at_least`], counted by cause; then writes are refused as temporary ([`WriteError::DiskFull`]).
//!
//! The folder is drawn in `docs/formats/store-manifest.md`, the choice behind it in `docs/decisions/0013-blocks-in-one-grid.md`.
//!
//! Two samples of one series at one time are one if their bits are equal. Otherwise a number beats a NaN (and the stale
//! marker is one), else the greater value stays: the same whatever the order of arrival
//! (`docs/decisions/0002-shared-timestamps-and-conflicts.md`). The record's bytes are drawn in `docs/formats/tsdb-journal.md`.

#![warn(clippy::host_endian_bytes)] // files are little-endian whatever the machine

mod backup;
mod block;
mod chunk;
mod compact;
mod definition;
mod error;
mod exemplar;
mod flush;
mod head;
mod index;
mod info;
mod manifest;
mod metadata;
mod options;
#[cfg(feature = "probe")]
pub mod probe;
mod read_only;
mod record;
mod registry;
mod replay;
mod retention;
mod select;
mod series;
mod snapshot;
mod stats;
mod store;
mod tombstone;
mod values;
mod varint;
mod verify;
mod wal;

pub use backup::{Copied, Placing, backup, restore};
pub use compact::{Pace, Unhurried};
pub use error::{LimitError, StoreError, WriteError};
pub use head::{Conflict, Written};
pub use index::Census;
pub use info::{BlockInfo, Info, info};
pub use options::{Options, RetentionRule};
pub use read_only::ReadOnlyStore;
pub use registry::SeriesRef;
pub use stats::{BlockStats, CacheStats, Compacted, Deleted, Forecast, Maintained, Replay, ShedCause, Stats};
pub use store::{Store, WriteBatch};
pub use verify::{FoundDamage, Verified, verify};

/// State of the caller's that must be exactly as old as the samples: it is carried by the same records.
///
/// [`applied`](Companion::applied) is called once for every batch that is on disk, in journal order, on the journal's thread (and on
/// the opener's, during replay). A snapshot stands at the beginning of every journal segment, so that old segments may go; it
/// must hold all that `applied` was ever told.
pub trait Companion: Send + 'static {
    /// A batch with this attachment is in the store.
    fn applied(&mut self, attachment: &[u8]);

    /// Appends the whole state; at most [`Options::record_bytes_max`] less the metadata's bytes.
    fn snapshot(&self, out: &mut Vec<u8>);

    /// Replaces the state by a snapshot. Called during replay only, possibly many times.
    fn restore(&mut self, snapshot: &[u8]);
}

/// No state to keep.
impl Companion for () {
    fn applied(&mut self, _: &[u8]) {}

    fn snapshot(&self, _: &mut Vec<u8>) {}

    fn restore(&mut self, _: &[u8]) {}
}
