//! The store's own figures: plain numbers, which the programs turn into metrics.

use std::time::Duration;

use journal::{Position, RecoveryReport};
use model::Timestamp;

use crate::Written;

/// Why samples were dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ShedCause {
    /// They were older than [`crate::Options::retention`] or than a rule allows: they had their time, nothing was shed.
    #[default]
    Retention,
    /// [`crate::Options::store_bytes_max`] was reached.
    StoreBytes,
    /// The disk was nearly full ([`crate::Options::reserve_bytes`]).
    DiskShort,
}

impl ShedCause {
    /// All causes, for a counter with a label.
    pub const ALL: [Self; 3] = [Self::Retention, Self::StoreBytes, Self::DiskShort];

    /// The label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Retention => "retention",
            Self::StoreBytes => "store_bytes",
            Self::DiskShort => "disk_short",
        }
    }
}

/// What the start found in the journal.
#[derive(Clone, Debug, Default)]
pub struct Replay {
    /// How long it took, recovery of the journal included.
    pub duration: Duration,
    /// Batches applied.
    pub records: u64,
    /// Samples in them.
    pub samples: u64,
    /// Batches that could not be understood, because they or something before them in their segment is damaged. Not 0: tell the
    /// operator.
    pub records_lost: u64,
    /// The first of them, and why.
    pub first_lost: Option<(Position, String)>,
    /// Blocks that were opened.
    pub blocks: usize,
    /// Blocks that MANIFEST names and that could not be opened, and why: tell the operator. Damaged files are set aside under a name
    /// that ends in `.damaged`; missing and unreadable ones are tried again at the next start. A MANIFEST that was made again is among them.
    pub blocks_lost: Vec<String>,
    /// MANIFEST was lost or damaged and was made again from the blocks: deletions that no compaction has carried out yet, and whose
    /// journal record is gone, are undone and are to be repeated. `blocks_lost` says so in words.
    pub manifest_rebuilt: bool,
    /// What the journal's own recovery says. Damage in it: tell the operator.
    pub journal: RecoveryReport,
}

/// Figures since the start, but for those that are a state.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Series now.
    pub series: usize,
    /// Series added.
    pub series_added: u64,
    /// Series forgotten, because nothing of them was left.
    pub series_forgotten: u64,
    /// Series refused at [`crate::Options::series_max`].
    pub series_refused: u64,
    /// See [`crate::Store::generation`].
    pub generation: u64,
    /// Samples now.
    pub samples: usize,
    /// What became of the samples written (and replayed).
    pub written: Written,
    /// Bytes of memory, by estimate: samples, labels, index.
    pub head_bytes: usize,
    /// Of these: labels and index.
    pub index_bytes: usize,
    /// Bytes of memory of metrics' descriptions.
    pub metadata_bytes: usize,
    /// Metrics that have descriptions.
    pub metadata_metrics: usize,
    /// Descriptions that went because their table was full.
    pub metadata_evicted: u64,
    /// The earliest readable sample, or a moment shortly before it.
    pub min_time: Option<Timestamp>,
    /// The latest sample.
    pub max_time: Option<Timestamp>,
    /// Nothing before this is kept.
    pub floor: Timestamp,
    /// Samples dropped, by cause, in the order of [`ShedCause::ALL`].
    pub shed: [(ShedCause, u64); 3],
    /// Blocks and what is done with them.
    pub blocks: BlockStats,
    /// When the disk will be full, if it goes on as in the last days.
    pub forecast: Option<Forecast>,
    /// What the start found.
    pub replay: Replay,
    /// The journal's figures.
    pub journal: journal::Stats,
}

/// Blocks, and what was done with them since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockStats {
    /// Blocks now, by level of the grid, finest first.
    pub count: [usize; 4],
    /// Bytes of these files.
    pub bytes: u64,
    /// Float samples in them; one that stands in two blocks counts twice.
    pub samples: u64,
    /// Native histograms in them.
    pub histograms: u64,
    /// Deletions that wait for compaction.
    pub tombstones: usize,
    /// Times that the head became blocks.
    pub flushes: u64,
    /// Of these: early, because memory or journal were short.
    pub flushes_early: u64,
    /// Times that it failed; it is tried again.
    pub flushes_failed: u64,
    /// Time spent in flushes.
    pub flush_time: Duration,
    /// Blocks made by compaction.
    pub compactions: u64,
    /// Times that it failed.
    pub compactions_failed: u64,
    /// Bytes that compaction read and wrote.
    pub compaction_bytes: u64,
    /// Blocks that retention removed.
    pub blocks_retired: u64,
    /// What blocks keep in memory for reading again.
    pub cache: CacheStats,
}

/// The blocks' cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Frames found in it.
    pub hits: u64,
    /// Frames read from disk.
    pub misses: u64,
    /// Bytes that it holds.
    pub bytes: u64,
}

/// When the disk will be full.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Forecast {
    /// Bytes of blocks that a day of samples takes, as of late.
    pub bytes_per_day: f64,
    /// Days until the disk or [`crate::Options::store_bytes_max`] is full; `None` where retention keeps the store below it.
    pub days_until_full: Option<f64>,
}

/// What a [`crate::Store::compact`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Blocks that were read and replaced; 0: there was nothing to do, or there was no time or room for it.
    pub blocks_in: usize,
    /// Blocks that were made.
    pub blocks_out: usize,
    /// Bytes read and written.
    pub bytes: u64,
    /// Samples and histograms that went: deleted, past their age, or there twice.
    pub dropped: u64,
}

/// What a [`crate::Store::delete`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deleted {
    /// Blocks that hold such times; their samples are hidden now and go at compaction.
    pub blocks: usize,
}

/// What one [`crate::Store::maintain`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Maintained {
    /// Samples dropped, by cause.
    pub dropped: Vec<(ShedCause, u64)>,
    /// Series forgotten.
    pub series_forgotten: usize,
    /// Journal segments removed.
    pub segments_removed: usize,
    /// Blocks that the head became.
    pub blocks_written: usize,
    /// Blocks that retention removed.
    pub blocks_removed: usize,
}
