//! A block as a part of a merge: read once from its beginning to its end, past the cache, without what was deleted.

use std::sync::Arc;

use model::{Columns, Labels, SourceError};

use crate::block::reader::{Block, Walk};
use crate::select::block::unreadable;
use crate::select::merge::{Histogram, Part};
use crate::tombstone::{self, Tombstones};

/// See the module's text.
pub(super) struct WalkPart {
    walk: Walk,
    number: u64,
    tombstones: Arc<Tombstones>,
    labels: Labels,
    samples: Columns,
    histograms: Vec<Histogram>,
}

impl WalkPart {
    pub(super) fn new(block: &Arc<Block>, tombstones: Arc<Tombstones>) -> Self {
        Self {
            walk: block.walk(),
            number: block.meta().spec.number,
            tombstones,
            labels: Labels::empty(),
            samples: Columns::default(),
            histograms: Vec::new(),
        }
    }
}

impl Part for WalkPart {
    fn advance(&mut self) -> Result<bool, SourceError> {
        let next = self.walk.next(&mut self.samples, &mut self.histograms).map_err(unreadable)?;
        let Some(labels) = next else { return Ok(false) };
        let deleted = self.tombstones.spans(self.number, &labels);
        tombstone::remove(&deleted, &mut self.samples, 0);
        tombstone::remove_records(&deleted, &mut self.histograms, 0);
        self.labels = labels;
        Ok(true)
    }

    fn labels(&self) -> &Labels {
        &self.labels
    }

    fn read(&mut self, into: &mut Columns) -> Result<(), SourceError> {
        into.timestamps.extend_from_slice(&self.samples.timestamps);
        into.values.extend_from_slice(&self.samples.values);
        Ok(())
    }

    fn read_histograms(&mut self, into: &mut Vec<Histogram>) -> Result<(), SourceError> {
        into.append(&mut self.histograms);
        Ok(())
    }
}
