//! Integers through pco: entropy-coded, for columns that are written once and kept for years.
//!
//! A column is a pco 4 "wrapped" file of one chunk with one page, without modes and delta encodings of its own ([`super::ints`] makes
//! the changes): so only two of pco's variants are ever on disk, and all others are refused before pco sees them.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pco::wrapped::{FileCompressor, FileDecompressor};
use pco::{ChunkConfig, DeltaSpec, ModeSpec, PagingSpec};

use super::CodecError;

/// Below this many numbers pco's tables cost what they save (measured: at 512 it saves 0.2 % of counters, at 2048 2 to 6 %).
pub(super) const COUNT_MIN: usize = 400;

/// Of the store's bench data: level 4 is 0.3 % larger, 8 is 0.1 % smaller and takes 2.5 times pco's time (15 ns a sample at 6).
const LEVEL: usize = 6;

/// Appends numbers; false, and nothing appended, if pco will not.
pub(super) fn encode(numbers: &[i64], out: &mut Vec<u8>) -> bool {
    let start = out.len();
    let done = try_encode(numbers, out).is_ok() && is_plain(&out[start..]);
    if !done {
        out.truncate(start);
    }
    done
}

fn try_encode(numbers: &[i64], out: &mut Vec<u8>) -> Result<(), pco::errors::PcoError> {
    let config = ChunkConfig::default()
        .with_compression_level(LEVEL)
        .with_mode_spec(ModeSpec::Classic)
        .with_delta_spec(DeltaSpec::NoOp)
        .with_paging_spec(PagingSpec::Exact(vec![numbers.len()]));
    let file = FileCompressor::default();
    file.write_header(&mut *out)?;
    let mut chunk = file.chunk_compressor(numbers, &config)?;
    chunk.write_meta(&mut *out)?;
    chunk.write_page(0, &mut *out)?;
    Ok(())
}

/// Whether it is pco's format 4 and mode and delta encoding are the two variants that [`encode`] writes: both have the number 0, and
/// share the byte behind the version. Older formats have a shorter version, so that other variants could hide behind it.
const fn is_plain(bytes: &[u8]) -> bool {
    matches!(bytes, [4, _, 0, ..])
}

/// Fills `into` with exactly `count` numbers.
pub(super) fn decode(bytes: &[u8], count: usize, into: &mut Vec<i64>) -> Result<(), CodecError> {
    if !is_plain(bytes) {
        return Err(CodecError("a pco column of a variant that is never written"));
    }
    into.clear();
    into.resize(count, 0);
    // pco checks what it reads; should it panic on bytes that a checksum took for right, that must cost one read, not the program.
    catch_unwind(AssertUnwindSafe(|| try_decode(bytes, into)))
        .unwrap_or(Err(CodecError("a pco column that pco cannot read")))
}

fn try_decode(bytes: &[u8], into: &mut [i64]) -> Result<(), CodecError> {
    let broken = |_| CodecError("a pco column that is damaged");
    let (file, rest) = FileDecompressor::new(bytes).map_err(broken)?;
    let (mut chunk, rest) = file.chunk_decompressor::<i64, _>(rest).map_err(broken)?;
    let mut page = chunk.page_decompressor(rest, into.len()).map_err(broken)?;
    let progress = page.read(into).map_err(broken)?;
    if progress.n_processed != into.len() || !progress.finished {
        return Err(CodecError("a pco column that is too short"));
    }
    if page.into_src().is_empty() { Ok(()) } else { Err(CodecError("bytes after a pco column")) }
}
