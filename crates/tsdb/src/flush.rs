//! The head becomes blocks: frozen up to a boundary, written cell by cell, named by MANIFEST, and only then let go of.
//!
//! In: a boundary. Out: blocks in the grid, a checkpoint behind which the journal is no longer needed. A flush that fails leaves the head
//! frozen, and the next one begins with the same boundary; what was deleted meanwhile is left out.
//!
//! Limits: [`WRITERS_MAX`] blocks are written at a time; samples of more cells (an import of years) take further walks through the head.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use model::{Columns, Labels, Timestamp};

use crate::block::Coding;
use crate::block::meta::BlockSpec;
use crate::block::reader::Block;
use crate::block::writer::BlockWriter;
use crate::error::{BlockError, StoreError};
use crate::manifest::{Checkpoint, block_path};
use crate::store::blocks::{Catalog, Change};
use crate::store::grid::{Cell, Grid};
use crate::tombstone::{self, Tombstones};
use crate::wal::Shared;

/// Blocks that are written at a time.
const WRITERS_MAX: usize = 12;

/// A native histogram as it came, with its time.
type Histogram = (Timestamp, Arc<[u8]>);

/// One walk through the frozen head: up to [`WRITERS_MAX`] cells are written, further ones are noted.
struct Walk<'a> {
    catalog: &'a Catalog,
    frozen: Checkpoint,
    tombstones: &'a Tombstones,
    now: i64,
    numbers: Range<u64>,
    writers: BTreeMap<Cell, BlockWriter>,
    /// Written by earlier walks.
    done: &'a BTreeSet<Cell>,
    /// Seen, and left to a later walk.
    left: bool,
    columns: Columns,
}

impl Walk<'_> {
    fn series(
        &mut self,
        labels: &Labels,
        samples: &Columns,
        histograms: &[Histogram],
    ) -> Result<(), BlockError> {
        let spans = self.tombstones.spans_since(self.frozen.position, labels);
        if spans.is_empty() {
            return self.cells(labels, samples, histograms);
        }
        let (mut kept, mut kept_histograms) = (samples.clone(), histograms.to_vec());
        tombstone::remove(&spans, &mut kept, 0);
        tombstone::remove_records(&spans, &mut kept_histograms, 0);
        self.cells(labels, &kept, &kept_histograms)
    }

    /// Cuts a series at the cells' ends.
    fn cells(
        &mut self,
        labels: &Labels,
        samples: &Columns,
        histograms: &[Histogram],
    ) -> Result<(), BlockError> {
        let grid = self.catalog.grid;
        let (mut sample, mut histogram) = (0, 0);
        loop {
            let next_sample = samples.timestamps.get(sample).map(|time| time.as_millis());
            let next_histogram = histograms.get(histogram).map(|(time, _)| time.as_millis());
            let Some(time) = next_sample.into_iter().chain(next_histogram).min() else { return Ok(()) };
            let (cell, end) = cell_and_end(grid, time, self.frozen.boundary);
            let samples_end =
                sample + samples.timestamps[sample..].partition_point(|time| time.as_millis() < end);
            let histograms_end =
                histogram + histograms[histogram..].partition_point(|(time, _)| time.as_millis() < end);
            self.part(cell, labels, (samples, sample..samples_end), &histograms[histogram..histograms_end])?;
            (sample, histogram) = (samples_end, histograms_end);
        }
    }

    fn part(
        &mut self,
        cell: Cell,
        labels: &Labels,
        (samples, range): (&Columns, Range<usize>),
        histograms: &[Histogram],
    ) -> Result<(), BlockError> {
        if self.done.contains(&cell) {
            return Ok(());
        }
        if !self.writers.contains_key(&cell) {
            if self.writers.len() >= WRITERS_MAX {
                self.left = true;
                return Ok(());
            }
            let number = self.numbers.next().expect("there are as many numbers as writers");
            let spec = BlockSpec {
                number,
                level: cell.level,
                start: cell.start,
                end: cell.end,
                coding: Coding::Fresh,
                parents: Vec::new(),
                created_ms: self.now,
            };
            let writer = BlockWriter::create(&self.catalog.disk, &self.catalog.blocks_folder(), spec)?;
            self.writers.insert(cell, writer);
        }
        let writer = self.writers.get_mut(&cell).expect("it was just made");
        if range == (0..samples.len()) {
            return writer.push(labels, samples, histograms);
        }
        self.columns.clear();
        self.columns.timestamps.extend_from_slice(&samples.timestamps[range.clone()]);
        self.columns.values.extend_from_slice(&samples.values[range]);
        writer.push(labels, &self.columns, histograms)
    }
}

/// The cell in which a sample is written, and the time up to which those behind it go there too: late cells are wider, and end where what
/// is recent begins.
fn cell_and_end(grid: Grid, time: i64, boundary: i64) -> (Cell, i64) {
    let cell = grid.cell_to_write(time, boundary);
    let recent = grid.recent(boundary);
    let end = if time < recent { cell.end.min(recent) } else { cell.end };
    (cell, end)
}

/// Writes what is frozen and answers the blocks. After an error none of them is left.
fn write(
    shared: &Shared,
    catalog: &Catalog,
    frozen: Checkpoint,
    now: i64,
) -> Result<Vec<Arc<Block>>, StoreError> {
    let mut made = Vec::new();
    let written = write_all(shared, catalog, frozen, now, &mut made);
    if written.is_err() {
        catalog.abandon(&made);
    }
    written
}

fn write_all(
    shared: &Shared,
    catalog: &Catalog,
    frozen: Checkpoint,
    now: i64,
    made: &mut Vec<u64>,
) -> Result<Vec<Arc<Block>>, StoreError> {
    let (mut blocks, mut done) = (Vec::new(), BTreeSet::new());
    loop {
        // The numbers first: what is deleted from now on holds for them.
        let first = shared.engine.numbers(WRITERS_MAX as u64);
        let set = shared.block_set();
        let mut walk = Walk {
            catalog,
            frozen,
            tombstones: &set.tombstones,
            now,
            numbers: first..first + WRITERS_MAX as u64,
            writers: BTreeMap::new(),
            done: &done,
            left: false,
            columns: Columns::default(),
        };
        shared.frozen(&mut |labels, samples, histograms| walk.series(labels, samples, histograms))?;
        let Walk { writers, left, .. } = walk;
        for (cell, writer) in writers {
            let meta = writer.finish()?;
            made.push(meta.spec.number);
            let path = block_path(&catalog.folder, meta.spec.number);
            blocks.push(Block::open(&catalog.disk, &path, &shared.cache)?);
            done.insert(cell);
        }
        if !left {
            return Ok(blocks);
        }
    }
}

/// Writes and publishes what is frozen, then lets go of it. Answers the number of blocks.
pub(crate) fn flush(
    shared: &Shared,
    catalog: &Catalog,
    frozen: Checkpoint,
    flushed: Option<i64>,
    now: i64,
    first_segment: u64,
) -> Result<usize, StoreError> {
    let add = write(shared, catalog, frozen, now)?;
    let count = add.len();
    let checkpoint = Some(frozen);
    catalog.publish(shared, Change { add, checkpoint, flushed, first_segment, ..Change::default() })?;
    shared.head.drop_frozen();
    Ok(count)
}
