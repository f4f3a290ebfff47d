//! Blocks: immutable files that hold the samples of many series over one cell of the time grid.
//!
//! In: series in label order with their samples and native histograms. Out: the same, by label and time, bit for bit. A block is one file,
//! written once and as a whole ([`writer`]), read by pread through a bounded cache ([`reader`], [`cache`]), checked byte by
//! byte on demand ([`check`]). Every byte is drawn in `docs/formats/store-blocks.md`, `store-columns.md` and `store-index.md`, and
//! stands under a checksum; all numbers are little-endian whatever the machine.
//!
//! A block knows nothing of other blocks, of deletions or of the journal: what is live stands in the manifest.

pub(crate) mod cache;
mod check;
pub(crate) mod format;
pub(crate) mod frame;
pub(crate) mod meta;
pub(crate) mod reader;
pub(crate) mod records;
mod series;
#[cfg(test)]
mod tests;
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

/// The name of a block's file.
pub(crate) fn file_name(number: u64) -> String {
    format!("{number:016x}.block")
}
