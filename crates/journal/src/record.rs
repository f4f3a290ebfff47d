//! The types that callers meet: positions, records, the recorder that makes them, and the journal's own figures.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::error::JournalError;

/// Where a record's frame begins. Ordered as the journal is. Never used twice: segment numbers only grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position {
    /// The segment's number; the first is 1, so that the default position lies before everything.
    pub segment: u64,
    /// Bytes from the beginning of the segment file.
    pub offset: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "segment {} byte {}", self.segment, self.offset)
    }
}

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordKind {
    /// What [`Recorder::begin_segment`] wrote. Usually the first record of a segment; after a full disk there may be more
    /// within one.
    Preamble,
    /// One entry.
    Entry,
}

/// One record as it is read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Where its frame begins.
    pub at: Position,
    /// What it is.
    pub kind: RecordKind,
    /// Whether a damaged stretch lies before it in the same segment: what it refers to may have been in there.
    pub after_damage: bool,
    /// What the recorder encoded.
    pub payload: &'a [u8],
}

/// Turns entries into records, on the journal's own thread, so that it can know which segment a record lands in.
///
/// The calls never overlap. `encode` is called in the order of the appends; `durable` in the same order, after the group's
/// fsync (or write, see [`crate::SyncPolicy::Every`]).
pub trait Recorder: Send + 'static {
    /// What is appended.
    type Entry: Send + 'static;

    /// Forget what earlier records defined; may append a preamble record (empty = none).
    ///
    /// Called before the first entry of each segment, and again, within the same segment, after a group was refused: what
    /// its records had defined was cut away with them, and must be defined anew. Every entry that was encoded before has been
    /// reported durable or refused by then, so that a preamble can sum up what they told.
    fn begin_segment(&mut self, preamble: &mut Vec<u8>);

    /// Appends exactly one record's payload for this entry. `payload` may hold other bytes already: only append.
    fn encode(&mut self, entry: &Self::Entry, payload: &mut Vec<u8>);

    /// The entry is on disk. `at` is its record's position, which can be read from now on.
    fn durable(&mut self, at: Position, entry: Self::Entry);

    /// The entry is not on disk and never will be, except after [`JournalError::Poisoned`] and [`JournalError::Gone`]: then it
    /// may or may not be found when the journal is opened again.
    fn refused(&mut self, entry: Self::Entry, why: &JournalError);
}

/// One segment file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Its number; grows, never reused while the newest segment is there.
    pub number: u64,
    /// The random number in its header, which tells it from another segment with its number; 0 where it is not known.
    pub mark: u32,
    /// Bytes of the file that hold readable records or damage; what is still being written is not counted.
    pub bytes: u64,
    /// Entry records in it.
    pub entries: u64,
    /// Whether nothing more is written to it.
    pub sealed: bool,
    /// Whether [`crate::Journal::remove_segments`] takes it: every segment but the newest, whose number must not be forgotten.
    pub removable: bool,
    /// Whether recovery found damage in it.
    pub damaged: bool,
}

/// What the journal has done since it was started.
#[derive(Debug, Clone, Default)]
pub struct Stats {
    /// Bytes written, frames and headers included.
    pub bytes_written: u64,
    /// Entries reported durable.
    pub records: u64,
    /// Groups written.
    pub groups: u64,
    /// Syncs of segment files.
    pub syncs: u64,
    /// Time spent in these syncs.
    pub sync_time: Duration,
    /// Entries refused because the disk (or the reserve) was full.
    pub refused_full: u64,
    /// Entries refused for another reason, on the journal's thread or at `append`.
    pub refused_other: u64,
    /// Appends given back because the queue was full.
    pub queue_full: u64,
    /// Entries that wait or are being written.
    pub queue_entries: usize,
    /// Their bytes, by the callers' hints.
    pub queue_bytes: usize,
    /// Segment files.
    pub segments: usize,
    /// Bytes of all segment files.
    pub segment_bytes: u64,
    /// Whether the latest group was refused for lack of space.
    pub full: bool,
    /// Why nothing is written any more, if so.
    pub poisoned: Option<Arc<str>>,
}
