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

/// Block files, as far as a fuzz target needs them.
pub mod block {
    use std::path::Path;
    use std::sync::Arc;

    use journal::disk::Disk;
    use model::{Columns, Labels};

    use crate::block::cache::Cache;
    use crate::block::format;
    use crate::block::meta::BlockSpec;
    use crate::block::reader::{Block, BlockReader};
    use crate::block::writer::BlockWriter;
    use crate::select::block::Stored as _;

    /// Bytes before the first frame.
    pub const HEADER_BYTES: usize = format::HEADER_BYTES;
    /// Bytes behind the last frame.
    pub const TRAILER_BYTES: usize = format::TRAILER_BYTES;

    /// Series that were read, and what a check of the whole file found.
    pub type Answer = (Vec<(Labels, Columns)>, Vec<String>);

    /// The head of a frame with this payload at this place of a file.
    pub fn frame_head(offset: u64, payload: &[u8]) -> [u8; 8] {
        format::frame_head(offset, payload)
    }

    /// Writes block 1 over the times from 0 to 7,200,000 ms: series in label order, each with samples.
    ///
    /// # Errors
    ///
    /// The disk's.
    pub fn write(
        disk: &Arc<dyn Disk>,
        folder: &Path,
        series: &[(Labels, Columns)],
        compacted: bool,
    ) -> Result<(), String> {
        let spec = BlockSpec {
            number: 1,
            level: 0,
            start: 0,
            end: 7_200_000,
            coding: super::coding(compacted),
            parents: Vec::new(),
            created_ms: 0,
        };
        let text = |error: crate::error::BlockError| error.to_string();
        let mut writer = BlockWriter::create(disk, folder, spec).map_err(text)?;
        for (labels, samples) in series {
            writer.push(labels, samples, &[]).map_err(text)?;
        }
        writer.finish().map(drop).map_err(text)
    }

    /// Opens a file, reads what its first series have in a span, and checks all of it: answers the samples read, and what a check finds.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn read(
        disk: &Arc<dyn Disk>,
        path: &Path,
        series_max: u32,
        span: (i64, i64),
    ) -> Result<Answer, String> {
        let block = Block::open(disk, path, &Cache::new(1 << 20)).map_err(|error| error.to_string())?;
        let damages = block.verify().iter().map(ToString::to_string).collect();
        let (mut reader, mut all) = (BlockReader::default(), Vec::new());
        for series in 0..block.meta().series.min(series_max) {
            let (mut columns, mut records) = (Columns::default(), Vec::new());
            let labels = block.labels(series, &mut reader);
            let read = labels.and_then(|labels| {
                block.read(series, span, &mut reader, &mut columns)?;
                block.histograms(series, span, &mut reader, &mut records)?;
                Ok(labels)
            });
            all.push((read.map_err(|error| error.to_string())?, columns));
        }
        Ok((all, damages))
    }
}

/// Reads the journal's records.
#[derive(Default)]
pub struct Records {
    decoder: crate::record::Decoder,
    batch: crate::record::Batch,
    series: u32,
}

impl Records {
    /// Begins a section; answers whether the bytes are a preamble.
    pub fn preamble(&mut self, payload: &[u8]) -> bool {
        self.decoder.preamble(payload).is_ok()
    }

    /// Reads an entry; answers how many samples, histograms and exemplars are in it, or none if it is no entry of this section.
    pub fn read(&mut self, payload: &[u8]) -> Option<usize> {
        let Self { decoder, batch, series } = self;
        let mut define = |_: &model::Labels| {
            *series += 1;
            Some(crate::SeriesRef::new(*series, *series))
        };
        decoder.decode(payload, &mut define, batch).ok()?;
        Some(batch.samples.len() + batch.histograms.len() + batch.exemplars.len())
    }
}
