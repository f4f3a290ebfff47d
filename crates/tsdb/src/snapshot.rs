//! Snapshots of an open store: what was acknowledged by the time of the call, in a folder that takes hardly any room.

use std::path::Path;

use crate::backup::{Copied, Placing, backup};
use crate::error::StoreError;
use crate::store::Store;

impl Store {
    /// Makes a copy of the store in `to`, which must not be there or be empty: second names of the blocks' files (copies where the file
    /// system has none) and a copy of the journal. Writing, flushing and merging go on meanwhile.
    ///
    /// # Errors
    /// [`StoreError::NotEmpty`]; a store or disk that does not work.
    pub fn snapshot(&self, to: &Path) -> Result<Copied, StoreError> {
        let disk = self.disk();
        let there = disk.list(to);
        if there.is_ok_and(|names| !names.is_empty()) {
            return Err(StoreError::NotEmpty { folder: to.to_owned() });
        }
        self.flush()?;
        backup(disk, self.folder(), to, Placing::Link)
    }
}
