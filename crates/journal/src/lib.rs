//! An append-only journal of framed records in segment files: what the agent's spool and the store's write-ahead log are
//! built on.
//!
//! In: entries, through [`Journal::append`], which never blocks. A thread of the journal's own turns them into records (the
//! caller's [`Recorder`]), writes all that are waiting with one write and one fsync (group commit), and then tells the
//! recorder which entries are [durable](Recorder::durable) and at which [`Position`]. Out: the records again, in order, when a
//! folder is [opened](open), by position ([`Journal::read`]) or forward from a position ([`Journal::reader`]). A journal that another
//! process has open can be [looked at](inspect): no lock, no repair, no change.
//!
//! What it promises: an entry that was reported durable is found again after a crash or a power cut, byte for byte, once,
//! and in order; and nothing is found that was not appended. A torn tail is cut only from the newest segment and only where
//! nothing acknowledged can stand; damage anywhere else is named in the [`RecoveryReport`], stepped over, and the rest is
//! served. A failed fsync poisons the journal for good, and so does a folder that is removed, renamed or replaced while it is
//! written to: each group is looked for under its name before it is reported. A full disk poisons nothing: the entries are
//! given back.
//! The bytes are drawn in `docs/formats/journal.md`.
//!
//! What it does not do: it knows nothing of samples, batches or time, and it drops nothing on its own: which segments may
//! go is the caller's decision ([`Journal::remove_segments`]). It is free of async runtimes; every call here may block on
//! the disk, except `append`, `stats` and `segments`.
//!
//! Limits: a record's payload is at most 256 MiB ([`Options::record_bytes_max`], 16 MiB by default); a segment ends with the
//! record that reaches [`Options::segment_bytes`] (64 MiB by default, at most 1 GiB); the queue is bounded in bytes. Opening
//! needs memory for one record and one read buffer of 256 KiB.

#![warn(clippy::host_endian_bytes)] // files are little-endian whatever the machine

mod catalog;
pub mod cursor;
pub mod disk;
mod error;
pub mod files;
mod format;
mod journal;
mod options;
mod queue;
mod reader;
mod record;
mod recovery;
mod walk;
mod writer;

pub use error::{DamageKind, JournalError};
pub use journal::{Journal, Opened, open, open_with};
pub use options::{Options, SyncPolicy};
pub use reader::Reader;
pub use record::{Position, Record, RecordKind, Recorder, SegmentInfo, Stats};
pub use recovery::{Damage, Inspected, RecoveryReport, Visitor, VisitorError, inspect};
