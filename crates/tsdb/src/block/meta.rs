//! What a block says of itself in its footer.

use super::Coding;

/// What a block is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BlockSpec {
    /// Its number; never used twice in a store.
    pub(crate) number: u64,
    /// Level of the grid; 0 is the finest.
    pub(crate) level: u8,
    /// First millisecond of its cell.
    pub(crate) start: i64,
    /// First millisecond behind its cell.
    pub(crate) end: i64,
    /// How it is packed.
    pub(crate) coding: Coding,
    /// Numbers of the blocks that it replaces.
    pub(crate) parents: Vec<u64>,
    /// When it was made, milliseconds since the Unix epoch.
    pub(crate) created_ms: i64,
}

/// What a block is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BlockMeta {
    /// As asked for.
    pub(crate) spec: BlockSpec,
    /// Time of the first sample or histogram.
    pub(crate) min_time: i64,
    /// Time of the last one.
    pub(crate) max_time: i64,
    /// Series.
    pub(crate) series: u32,
    /// Float samples.
    pub(crate) samples: u64,
    /// Native histograms.
    pub(crate) histograms: u64,
    /// The file's length in bytes.
    pub(crate) bytes: u64,
    /// Milliseconds that one sample stands for; 0 where samples are as they came.
    pub(crate) resolution_ms: u32,
}
