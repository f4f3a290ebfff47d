//! What benches and fuzz targets need of the formats on disk. No part of the interface: it changes without notice, and is there with the
//! feature `probe` only.

use model::Timestamp;

pub use crate::index::probe as index;

use crate::block::times::{TimeDecoder, TimeEncoder};
use crate::block::values::{ValueDecoder, ValueEncoder, chunk_lengths};
use crate::block::{Coding, records};

/// Packs and unpacks columns.
#[derive(Default)]
pub struct Columns {
    values: (ValueEncoder, ValueDecoder),
    times: (TimeEncoder, TimeDecoder),
}

const fn coding(compacted: bool) -> Coding {
    if compacted { Coding::Compacted } else { Coding::Fresh }
}

/// Sizes of the chunks that so many samples are cut into.
pub fn lengths(samples: usize, compacted: bool) -> Vec<usize> {
    chunk_lengths(samples, coding(compacted)).collect()
}

impl Columns {
    /// Appends a column of values.
    pub fn encode_values(&mut self, values: &[f64], compacted: bool, out: &mut Vec<u8>) {
        self.values.0.encode(values, coding(compacted), out);
    }

    /// Appends exactly `count` values, or none and says what is wrong.
    ///
    /// # Errors
    ///
    /// The bytes are no column of so many values.
    pub fn decode_values(&mut self, bytes: &[u8], count: usize, into: &mut Vec<f64>) -> Result<(), String> {
        self.values.1.decode(bytes, count, into).map_err(|error| error.to_string())
    }

    /// Appends a column of times, without the first.
    pub fn encode_times(&mut self, times: &[i64], compacted: bool, out: &mut Vec<u8>) {
        self.times.0.encode(times, coding(compacted), out);
    }

    /// Appends exactly `count` times, or none and says what is wrong.
    ///
    /// # Errors
    ///
    /// The bytes are no column of so many times.
    pub fn decode_times(
        &mut self,
        bytes: &[u8],
        first: i64,
        count: usize,
        into: &mut Vec<Timestamp>,
    ) -> Result<(), String> {
        self.times.1.decode(bytes, first, count, into).map_err(|error| error.to_string())
    }
}

/// Appends records.
pub fn encode_records(records: &[(i64, &[u8])], out: &mut Vec<u8>) {
    records::encode(records, out);
}

/// Visits records until the visitor answers false.
///
/// # Errors
///
/// The bytes are no records.
pub fn decode_records(bytes: &[u8], visit: impl FnMut(i64, &[u8]) -> bool) -> Result<(), String> {
    records::decode(bytes, visit).map_err(|error| error.to_string())
}

/// Opens a block file, verifies it and reads all of it: answers the number of samples and histograms, or what is wrong.
///
/// # Errors
///
/// It is no whole block.
pub fn read_block(
    disk: &std::sync::Arc<dyn journal::disk::Disk>,
    path: &std::path::Path,
) -> Result<u64, String> {
    use crate::block::{cache::Cache, reader::Block};
    let text = |error: crate::error::BlockError| error.to_string();
    let block = Block::open(disk, path, &Cache::new(1 << 20)).map_err(text)?;
    let damages = block.verify().len();
    let (mut walk, mut samples, mut histograms) = (block.walk(), model::Columns::default(), Vec::new());
    let mut count = 0;
    while walk.next(&mut samples, &mut histograms).map_err(text)?.is_some() {
        count += (samples.len() + histograms.len()) as u64;
    }
    if damages == 0 { Ok(count) } else { Err(format!("{damages} damages")) }
}
