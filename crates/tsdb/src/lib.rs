//! The store: samples of many series, durable in a journal and readable from memory.
//!
//! In: batches of samples, each with an attachment of the caller's (what must be on disk together with the samples, such as the
//! identity of the batch). A batch becomes one journal record; after its fsync it is applied to the head in memory, and only
//! then is the writer told. Out: [`model::SeriesSource`], by which everything is read. A start replays the journal through the
//! same code, and blocks until that is done.
//!
//! What it does not do yet: it keeps everything that is readable in memory and in the journal, for days rather than years;
//! there are no blocks on disk. It does not judge samples' age (the collector does), knows no sender and no query language.
//!
//! Bounds, each an option: age ([`Options::retention`], 8 days), memory ([`Options::head_bytes_max`], 1 GiB), disk
//! ([`Options::journal_bytes_max`], 8 GiB), series ([`Options::series_max`], a million). Past age, memory or disk the oldest
//! samples go, counted by cause; past the number of series, new ones are refused by name and old ones go on.
//!
//! Two samples of one series at one time are one if their bits are equal. Otherwise a number beats a NaN (and the stale
//! marker is one), else the greater value stays: the same whatever the order of arrival
//! (`docs/decisions/0002-shared-timestamps-and-conflicts.md`). The record's bytes are drawn in `docs/formats/tsdb-journal.md`.

mod backup;
#[allow(dead_code, unreachable_pub)] // until the engine uses all of it
mod block;
mod chunk;
mod compact;
mod definition;
mod error;
mod exemplar;
#[allow(dead_code)] // until the head can be frozen
mod flush;
mod head;
mod index;
mod info;
#[allow(dead_code, unreachable_pub)] // until the engine uses all of it
mod manifest;
mod metadata;
mod options;
#[cfg(feature = "probe")]
pub mod probe;
mod read_only;
mod record;
mod registry;
#[allow(dead_code)] // until the head can be frozen
mod retention;
mod select;
mod series;
mod snapshot;
mod stats;
mod store;
#[allow(dead_code, unreachable_pub)] // until the engine uses all of it
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
