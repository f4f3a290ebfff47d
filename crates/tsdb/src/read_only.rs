//! A store read without a lock and without a change: beside the collector that has it open, or from a backup on read-only media.
//!
//! In: a folder. Out: [`model::SeriesSource`] over what stood in it when it was opened. What is written later is not seen. Files that
//! the owner replaces meanwhile (a compaction, a flush) are looked for again: the opening begins anew, a few times at most.
//!
//! It needs memory for what the journal holds beyond the blocks, as the collector does.

use std::path::Path;
use std::sync::Arc;

use journal::disk::Disk;
use model::{Labels, MetricMetadata, Selection, SeriesSet, SeriesSource, SourceError};

use crate::error::StoreError;
use crate::options::Options;
use crate::stats::Replay;
use crate::wal::{Replayer, Shared};

/// The largest record that any option allows: a reader takes what a writer was allowed.
pub(crate) const RECORD_BYTES_MAX: usize = 256 << 20;

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
    /// A folder that is not there or cannot be read, or that a newer program wrote. Damage is no error: see
    /// [`ReadOnlyStore::replay`].
    pub fn open(disk: &Arc<dyn Disk>, folder: &Path) -> Result<Self, StoreError> {
        let options = Options { record_bytes_max: RECORD_BYTES_MAX, ..Options::default() };
        let shared = Arc::new(Shared::new(options));
        let mut nobody = ();
        let mut replayer = Replayer::new(&shared, &mut nobody);
        let found = journal::inspect(disk, folder, RECORD_BYTES_MAX, &mut |record| replayer.visit(record))?;
        let mut replay = replayer.replay;
        replay.journal = found.report;
        Ok(Self { shared, replay })
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
