//! A store read without a lock and without a change: beside the collector that has it open, or from a backup on read-only media.
//!
//! In: a folder. Out: [`model::SeriesSource`] over what stood in it when it was opened. What is written later is not seen. Where the owner
//! replaces files meanwhile (a flush, a compaction), the opening begins anew; once it is open, the blocks' files stay readable whatever
//! becomes of their names.
//!
//! It needs memory for what the journal holds beyond the blocks, as the collector does, and [`CACHE_BYTES`] for blocks.

use std::path::Path;
use std::sync::Arc;

use journal::disk::Disk;
use model::{Labels, MetricMetadata, Selection, SeriesSet, SeriesSource, SourceError};

use crate::error::StoreError;
use crate::options::Options;
use crate::replay::replay;
use crate::stats::Replay;
use crate::store::opening::Found;
use crate::wal::Shared;

/// The largest record that any option allows: a reader takes what a writer was allowed.
pub(crate) const RECORD_BYTES_MAX: usize = 256 << 20;
/// Memory for parts of blocks.
const CACHE_BYTES: usize = 32 << 20;
/// Openings that begin because MANIFEST was replaced during the one before.
const ROUNDS_MAX: u32 = 50;

/// An open folder. See the module's text.
pub struct ReadOnlyStore {
    shared: Arc<Shared>,
    replay: Replay,
}

impl std::fmt::Debug for ReadOnlyStore {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("ReadOnlyStore").field("replay", &self.replay).finish_non_exhaustive()
    }
}

impl ReadOnlyStore {
    /// Reads the folder; blocks until all of it is readable.
    ///
    /// # Errors
    /// A folder that is not there or cannot be read, or that a newer program wrote; [`StoreError::Restless`]. Damage is no error: see
    /// [`ReadOnlyStore::replay`].
    pub fn open(disk: &Arc<dyn Disk>, folder: &Path) -> Result<Self, StoreError> {
        for _ in 0..ROUNDS_MAX {
            let options = Options {
                record_bytes_max: RECORD_BYTES_MAX,
                cache_bytes_max: CACHE_BYTES,
                ..Options::default()
            };
            let shared = Arc::new(Shared::new(options));
            let mut found = Found::read(disk, folder, &shared.cache)?;
            shared.adopt(&found.manifest, std::mem::take(&mut found.blocks));
            let (inspected, mut replay) =
                replay(&shared, &mut (), |visit| journal::inspect(disk, folder, RECORD_BYTES_MAX, visit));
            // What went from the journal meanwhile stands in blocks that only a newer MANIFEST names.
            let inspected = inspected?;
            if !found.is_current(&**disk, folder)? {
                continue;
            }
            replay.journal = inspected.report;
            replay.blocks = shared.block_set().blocks.len();
            replay.blocks_lost = found.lost;
            replay.manifest_rebuilt = found.rebuilt;
            return Ok(Self { shared, replay });
        }
        Err(StoreError::Restless { folder: folder.to_owned(), rounds: ROUNDS_MAX })
    }

    /// What was read, and what of it is damaged.
    pub fn replay(&self) -> &Replay {
        &self.replay
    }

    /// Descriptions, as [`crate::Store::metadata`] answers them.
    pub fn metadata(&self, metric: Option<&str>, limit: usize) -> Vec<(String, Vec<MetricMetadata>)> {
        self.shared.metadata.read().get(metric, limit)
    }
}

impl SeriesSource for ReadOnlyStore {
    fn select<'a>(
        &'a self,
        selection: &Selection<'_>,
    ) -> Result<Box<dyn SeriesSet + Send + 'a>, SourceError> {
        self.shared.select(selection)
    }

    fn select_parts<'a>(
        &'a self,
        selection: &Selection<'_>,
        series: usize,
    ) -> Result<Vec<Box<dyn SeriesSet + Send + 'a>>, SourceError> {
        self.shared.select_parts(selection, series)
    }

    fn label_names(&self, selections: &[Selection<'_>], limit: usize) -> Result<Vec<String>, SourceError> {
        self.shared.label_names(selections, limit)
    }

    fn label_values(
        &self,
        name: &str,
        selections: &[Selection<'_>],
        limit: usize,
    ) -> Result<Vec<String>, SourceError> {
        self.shared.label_values(name, selections, limit)
    }

    fn series(&self, selections: &[Selection<'_>], limit: usize) -> Result<Vec<Labels>, SourceError> {
        self.shared.series(selections, limit)
    }
}
