//! Compaction: small blocks become large ones, what is deleted or past its age goes for good, equal samples become one.
//!
//! In: the published blocks, one job a call, on the caller's thread and at the caller's [`Pace`]. Out: one block for several, published in
//! their place; readers that have the old ones go on with them. A job that fails or is stopped leaves everything as it was.
//!
//! Memory: one series of all blocks of the job, and what their frames take. Disk: the sum of the job's blocks must be free beside
//! the reserve, or the job waits.

mod plan;
mod walk;

use std::collections::BTreeSet;
use std::sync::Arc;

use model::{Columns, Labels, SeriesSet as _};

use crate::block::Coding;
use crate::block::meta::BlockSpec;
use crate::block::reader::Block;
use crate::block::writer::BlockWriter;
use crate::error::{BlockError, StoreError};
use crate::manifest::block_path;
use crate::retention::Floors;
use crate::select::block::Stored as _;
use crate::select::merge::{Histogram, Merged, Part};
use crate::stats::Compacted;
use crate::store::blocks::{BlockSet, Catalog, Change};
use crate::tombstone::Tombstones;
use crate::wal::Shared;
use plan::{Candidate, Plan};
use walk::WalkPart;

/// The caller is told after about so many bytes.
const TELL_BYTES: u64 = 256 << 10;
/// From so many samples a series on a block is packed for good.
const COMPACTED_SAMPLES: u64 = 2048;

/// How fast work in the background may go. The store never sleeps by itself: it tells what it has done, and who called waits.
pub trait Pace {
    /// So many bytes were read or written since the last call: waits as long as the caller's budget asks. False: stop; what was begun is
    /// given up and nothing is lost.
    fn spent(&mut self, bytes: u64) -> bool;
}

/// As fast as it goes: for tools and tests.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unhurried;

impl Pace for Unhurried {
    fn spent(&mut self, _: u64) -> bool {
        true
    }
}

/// What is asked of one job.
pub(crate) struct Order<'a> {
    pub(crate) now: i64,
    /// Cells that end here or before are over.
    pub(crate) boundary: i64,
    /// Whatever can be merged.
    pub(crate) all: bool,
    pub(crate) floors: &'a Floors,
}

/// What compaction remembers from job to job.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// Blocks that could not be read: they are left alone until the next start.
    unreadable: BTreeSet<u64>,
}

/// Does the next job, if there is one.
pub(crate) fn compact(
    shared: &Shared,
    catalog: &Catalog,
    memory: &mut Memory,
    order: &Order<'_>,
    pace: &mut dyn Pace,
) -> Result<Compacted, StoreError> {
    let set = shared.block_set();
    let candidates: Vec<Candidate> = set
        .blocks
        .iter()
        .filter(|block| !memory.unreadable.contains(&block.meta().spec.number))
        .map(|block| candidate(block, &set.tombstones, order.floors))
        .collect();
    let bytes_max = shared.options.block_bytes_max;
    let Some(plan) = plan::next(catalog.grid, &candidates, order.boundary, bytes_max, order.all) else {
        return Ok(Compacted::default());
    };
    let result = carry_out(shared, catalog, &set, &plan, order, pace);
    if matches!(result, Err(StoreError::Block(BlockError::Damaged { .. }) | StoreError::Unreadable(_))) {
        memory.unreadable.extend(plan.numbers);
    }
    result
}

fn candidate(block: &Arc<Block>, tombstones: &Tombstones, floors: &Floors) -> Candidate {
    let meta = block.meta();
    Candidate {
        number: meta.spec.number,
        level: meta.spec.level,
        start: meta.spec.start,
        end: meta.spec.end,
        bytes: meta.bytes,
        rewrite: holds_deleted(block, tombstones) || floors.leave_nothing_of_some(block),
    }
}

fn holds_deleted(block: &Arc<Block>, tombstones: &Tombstones) -> bool {
    let meta = block.meta();
    tombstones.list.iter().any(|tombstone| {
        let deletion = &tombstone.deletion;
        tombstone.up_to >= meta.spec.number
            && deletion.start <= meta.max_time
            && deletion.end >= meta.min_time
            && block
                .index()
                .and_then(|index| index.find(&deletion.matchers))
                .is_ok_and(|found| !found.is_empty())
    })
}

fn carry_out(
    shared: &Shared,
    catalog: &Catalog,
    set: &BlockSet,
    plan: &Plan,
    order: &Order<'_>,
    pace: &mut dyn Pace,
) -> Result<Compacted, StoreError> {
    // In time order, so that most samples are appended and not merged.
    let inputs: Vec<Arc<Block>> =
        set.blocks.iter().filter(|block| plan.numbers.contains(&block.meta().spec.number)).cloned().collect();
    let bytes_in: u64 = inputs.iter().map(|block| block.meta().bytes).sum();
    let free = catalog
        .disk
        .free_bytes(&catalog.folder)
        .map_err(StoreError::io("ask for room in", &catalog.folder))?;
    if free < bytes_in.saturating_add(shared.options.reserve_bytes) {
        return Ok(Compacted::default());
    }
    let number = shared.engine.numbers(1);
    // After the number: what is deleted from now on holds for the new block too.
    let tombstones = Arc::clone(&shared.block_set().tombstones);
    let samples_in: u64 = inputs.iter().map(|block| block.meta().samples + block.meta().histograms).sum();
    let series = inputs.iter().map(|block| u64::from(block.meta().series)).max().unwrap_or(0);
    let compacted = plan.cell.level >= 1 || samples_in >= series.saturating_mul(COMPACTED_SAMPLES);
    let spec = BlockSpec {
        number,
        level: plan.cell.level,
        start: plan.cell.start,
        end: plan.cell.end,
        coding: if compacted { Coding::Compacted } else { Coding::Fresh },
        parents: plan.numbers.clone(),
        created_ms: order.now,
    };
    let writer = BlockWriter::create(&catalog.disk, &catalog.blocks_folder(), spec)?;
    let telling = Telling { pace, bytes_a_sample: bytes_in as f64 / samples_in.max(1) as f64, untold: 0.0 };
    let Some((writer, left)) = merge(&inputs, tombstones, writer, order.floors, telling)? else {
        return Ok(Compacted::default());
    };
    let mut done = Compacted {
        blocks_in: inputs.len(),
        bytes: bytes_in,
        dropped: samples_in - left,
        ..Compacted::default()
    };
    let mut add = Vec::new();
    if left > 0 {
        let meta = writer.finish()?;
        add.push(Block::open(&catalog.disk, &block_path(&catalog.folder, number), &shared.cache)?);
        done.blocks_out = 1;
        done.bytes += meta.bytes;
    } else {
        drop(writer);
    }
    let change = Change { add, remove: plan.numbers.clone(), ..Change::default() };
    if catalog.publish_if_live(shared, change)? { Ok(done) } else { Ok(Compacted::default()) }
}

/// Tells the caller now and then what was done.
struct Telling<'a> {
    pace: &'a mut dyn Pace,
    bytes_a_sample: f64,
    untold: f64,
}

impl Telling<'_> {
    /// False: stop.
    fn samples(&mut self, count: usize) -> bool {
        self.untold += count as f64 * self.bytes_a_sample * 2.0; // read, and written
        if self.untold < TELL_BYTES as f64 {
            return true;
        }
        let bytes = std::mem::take(&mut self.untold) as u64;
        self.pace.spent(bytes)
    }
}

/// Writes what is left of the blocks; answers how much that is, or nothing if the caller wants to stop.
fn merge(
    inputs: &[Arc<Block>],
    tombstones: Arc<Tombstones>,
    mut writer: BlockWriter,
    floors: &Floors,
    mut telling: Telling<'_>,
) -> Result<Option<(BlockWriter, u64)>, StoreError> {
    let walk = |block| Box::new(WalkPart::new(block, Arc::clone(&tombstones))) as Box<dyn Part>;
    let mut merged = Merged::new(inputs.iter().map(walk).collect());
    let (mut columns, mut histograms, mut left) = (Columns::default(), Vec::new(), 0);
    while merged.advance()? {
        merged.read(&mut columns)?;
        merged.read_histograms(&mut histograms)?;
        let read = columns.len() + histograms.len();
        cut(merged.labels(), floors, &mut columns, &mut histograms);
        if columns.len() + histograms.len() > 0 {
            writer.push(merged.labels(), &columns, &histograms)?;
            left += (columns.len() + histograms.len()) as u64;
        }
        if !telling.samples(read) {
            return Ok(None);
        }
    }
    Ok(Some((writer, left)))
}

/// Takes out what is past its age.
fn cut(labels: &Labels, floors: &Floors, columns: &mut Columns, histograms: &mut Vec<Histogram>) {
    let floor = floors.of(labels);
    let from = columns.timestamps.partition_point(|time| time.as_millis() < floor);
    columns.timestamps.drain(..from);
    columns.values.drain(..from);
    histograms.retain(|(time, _)| time.as_millis() >= floor);
}
