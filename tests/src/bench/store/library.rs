//! Figures that need no server: reading from blocks, and matchers on the index.

use std::path::Path;

use anyhow::Result;

use crate::bench::report::Figure;

/// Reading 1,000 series of six hours from the blocks of a folder, warm.
pub(super) fn reading(_store: &Path, _start_ms: i64, _end_ms: i64) -> Result<Vec<Figure>> {
    Ok(Vec::new())
}

/// One matcher over a million series.
pub(super) fn matcher() -> Result<Vec<Figure>> {
    Ok(Vec::new())
}
