//! Blocks: immutable files that hold the samples of many series over one cell of the time grid.

pub(crate) mod cache;
pub(crate) mod frame;
pub(crate) mod meta;
pub(crate) mod reader;
pub(crate) mod records;
pub(crate) mod times;
pub(crate) mod values;
pub(crate) mod writer;

/// How values and times are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    /// Cheap to write: decimals as bit-packed integers, the rest XORed.
    Fresh,
    /// Small: whole columns through pco.
    Compacted,
}
