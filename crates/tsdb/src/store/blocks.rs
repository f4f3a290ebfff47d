//! The published blocks, and how they change: MANIFEST first, then what readers see, then files that nobody needs are removed.
//!
//! In: blocks that were made and blocks that go. Out: a [`BlockSet`] that never changes; who took one goes on reading it, its files are
//! open. A change that fails leaves the old set in force; files that the failed MANIFEST may name stay until one is surely written.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering::Relaxed};

use journal::Position;
use journal::disk::Disk;
use parking_lot::{Mutex, RwLock};

use super::grid::Grid;
use super::opening::Found;
use super::work::Work;
use crate::block::reader::Block;
use crate::error::StoreError;
use crate::manifest::{self, BLOCKS_FOLDER, BlockLine, Checkpoint, Checkpoints, Manifest, block_path};
use crate::options::Options;
use crate::record::Samples;
use crate::tombstone::{Deletion, Tombstone, Tombstones};
use crate::wal::Shared;

/// Blocks and deletions as one reader sees them.
#[derive(Debug, Default)]
pub(crate) struct BlockSet {
    /// By first time, then by number.
    pub(crate) blocks: Vec<Arc<Block>>,
    pub(crate) tombstones: Arc<Tombstones>,
}

impl BlockSet {
    pub(crate) fn new(mut blocks: Vec<Arc<Block>>, tombstones: Arc<Tombstones>) -> Self {
        blocks.sort_by_key(|block| (block.meta().min_time, block.meta().spec.number));
        Self { blocks, tombstones }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.blocks.iter().map(|block| block.meta().bytes).sum()
    }

    pub(crate) fn max_time(&self) -> Option<i64> {
        self.blocks.iter().map(|block| block.meta().max_time).max()
    }
}

/// Late samples that wait for the next window are at most as many as memory's bound has bytes, by this: 8 M of 1 GiB.
const LATE_SHARE: usize = 128;

/// What of the blocks' upkeep the journal's thread must see.
#[derive(Debug, Default)]
pub(crate) struct Engine {
    /// The next block's number.
    next: AtomicU64,
    checkpoints: RwLock<Checkpoints>,
    /// Journal segments with deletions: what they took away stands in earlier ones.
    deletions: Mutex<BTreeSet<u64>>,
    /// One deletion at a time, so that none passes their limits beside another.
    pub(crate) deleting: Mutex<()>,
    /// From so many bytes of memory on a flush is due.
    short_at: AtomicUsize,
    /// From so many on writes are refused.
    refuse_at: AtomicUsize,
    /// Samples from before this time are late: their window is in blocks already.
    late_below: AtomicI64,
    /// Late ones since the last flush.
    late: AtomicUsize,
    /// From so many of them on a flush is due, though no window is complete: a backlog that drains, an import.
    late_max: AtomicUsize,
    pub(crate) work: Work,
}

impl Engine {
    /// Numbers for so many blocks; answers the first.
    pub(crate) fn numbers(&self, count: u64) -> u64 {
        self.next.fetch_add(count, Relaxed)
    }

    /// Memory is this much after everything was done that can be done: it is short again when it has grown.
    pub(crate) fn settle(&self, bytes: usize, bound: usize) {
        self.short_at.store(bound.max(bytes.saturating_add(bound / 16)), Relaxed);
        self.refuse_at.store((bound + bound / 4).max(bytes.saturating_add(bound / 4)), Relaxed);
    }

    /// Samples before this time are late, and this many of them are not left waiting for the next window.
    pub(crate) fn bound_late(&self, below: i64, late_max: usize) {
        self.late_below.store(below, Relaxed);
        self.late_max.store(late_max.max(1), Relaxed);
    }

    /// All that came late is on its way to blocks.
    pub(crate) fn settle_late(&self) {
        self.late.store(0, Relaxed);
    }

    /// Counts the late ones of a batch; what stands in blocks already does not count.
    pub(crate) fn count_late(&self, samples: &impl Samples, covered_below: i64) {
        let late = covered_below..self.late_below.load(Relaxed);
        if samples.span().is_some_and(|(first, _)| first < late.end) {
            self.late.fetch_add(samples.count_in(late), Relaxed);
        }
    }

    /// Whether so much came late that it should not wait for the next window: a backlog that drains, an import.
    pub(crate) fn is_late(&self) -> bool {
        self.late.load(Relaxed) > self.late_max.load(Relaxed)
    }

    pub(crate) fn is_short(&self, bytes: usize) -> bool {
        bytes > self.short_at.load(Relaxed)
    }

    pub(crate) fn refuses(&self, bytes: usize) -> bool {
        bytes > self.refuse_at.load(Relaxed)
    }

    pub(crate) fn holds_deletions(&self, segment: u64) -> bool {
        self.deletions.lock().contains(&segment)
    }

    pub(crate) fn forget_segments(&self, numbers: &[u64]) {
        let mut deletions = self.deletions.lock();
        numbers.iter().for_each(|number| {
            deletions.remove(number);
        });
    }

    pub(crate) fn checkpoints(&self) -> Checkpoints {
        self.checkpoints.read().clone()
    }
}

impl Shared {
    /// Samples of the record at a position that are older than this stand in blocks: a replay leaves them out.
    pub(crate) fn covered_below(&self, at: Position) -> i64 {
        self.engine.checkpoints.read().covered_below(at)
    }

    /// A deletion is on disk and was applied to the head: now it hides what blocks hold. Called in the order of the journal, live and at
    /// a replay, where MANIFEST may know of it already.
    pub(crate) fn deleted(&self, at: Position, deletion: Deletion) {
        self.engine.deletions.lock().insert(at.segment);
        let mut set = self.blocks.write();
        if at <= set.tombstones.last {
            return;
        }
        let mut tombstones = Tombstones::clone(&set.tombstones);
        tombstones.last = at;
        let up_to = self.engine.next.load(Relaxed).saturating_sub(1);
        tombstones.list.push(Tombstone { at, up_to, deletion });
        *set = Arc::new(BlockSet { blocks: set.blocks.clone(), tombstones: Arc::new(tombstones) });
    }

    /// A batch was applied.
    pub(crate) fn after_apply(&self) {
        let short = self.engine.is_short(self.bytes()) || self.engine.is_late();
        self.engine.work.look(self.head.max_time().unwrap_or(i64::MIN), short);
    }

    /// Where the journal's newest segments are gone (removed by hand, or never on disk before a power cut, if fsync may wait), their numbers
    /// are used again, and checkpoints and deletions that name them would be taken for what is written now. Answers whether there
    /// were any. What stands in blocks and is replayed as well is one sample.
    pub(crate) fn forget_lost_journal(&self, newest_segment: u64) -> bool {
        let mut checkpoints = self.engine.checkpoints.write();
        let mut set = self.blocks.write();
        let latest = checkpoints.latest().map_or(0, |latest| latest.position.segment);
        if latest.max(set.tombstones.last.segment) <= newest_segment {
            return false;
        }
        *checkpoints = Checkpoints::default();
        let mut tombstones = Tombstones::clone(&set.tombstones);
        tombstones.last = Position::default();
        tombstones.list.iter_mut().for_each(|tombstone| tombstone.at = Position::default());
        *set = Arc::new(BlockSet { blocks: set.blocks.clone(), tombstones: Arc::new(tombstones) });
        true
    }

    /// Takes over what a MANIFEST says.
    pub(crate) fn adopt(&self, manifest: &Manifest, blocks: Vec<Arc<Block>>) {
        self.engine.next.store(manifest.next.max(1), Relaxed);
        *self.engine.checkpoints.write() = manifest.checkpoints.clone();
        *self.blocks.write() = Arc::new(BlockSet::new(blocks, Arc::new(manifest.tombstones.clone())));
        if let Some(floor) = manifest.floor {
            self.head.raise_floor(floor);
        }
        self.bound_late(manifest.flushed);
    }

    /// What is late from now on.
    pub(crate) fn bound_late(&self, flushed: Option<i64>) {
        self.engine.bound_late(flushed.unwrap_or(i64::MIN), self.options.head_bytes_max / LATE_SHARE);
    }

    pub(crate) fn block_set(&self) -> Arc<BlockSet> {
        Arc::clone(&self.blocks.read())
    }
}

/// A change of what is published.
#[derive(Default)]
pub(crate) struct Change {
    pub(crate) add: Vec<Arc<Block>>,
    pub(crate) remove: Vec<u64>,
    pub(crate) checkpoint: Option<Checkpoint>,
    pub(crate) flushed: Option<i64>,
    pub(crate) floor: Option<i64>,
    /// The journal's oldest segment.
    pub(crate) first_segment: u64,
}

/// What only upkeep knows; one change at a time.
pub(crate) struct Catalog {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) folder: PathBuf,
    pub(crate) grid: Grid,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    flushed: Option<i64>,
    floor: Option<i64>,
    /// Named blocks that could not be opened: they stay named.
    absent: Vec<BlockLine>,
    /// Files to remove once a MANIFEST is surely in place that does not name them.
    garbage: Vec<PathBuf>,
    /// The position of the latest deletion that MANIFEST holds.
    deletions_written: Position,
    /// A change failed, or none was ever written.
    dirty: bool,
    /// The head is frozen: deletions meant for it must not be forgotten.
    frozen: bool,
}

impl Catalog {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        folder: &Path,
        options: &Options,
        found: &Found,
        dirty: bool,
    ) -> Self {
        let manifest = &found.manifest;
        let state = State {
            flushed: manifest.flushed,
            floor: manifest.floor,
            absent: found.absent.clone(),
            deletions_written: manifest.tombstones.last,
            dirty,
            ..State::default()
        };
        let grid = Grid::new(options.block_span);
        Self { disk, folder: folder.to_owned(), grid, state: Mutex::new(state) }
    }

    pub(crate) fn blocks_folder(&self) -> PathBuf {
        self.folder.join(BLOCKS_FOLDER)
    }

    pub(crate) fn flushed(&self) -> Option<i64> {
        self.state.lock().flushed
    }

    /// Without a write: nothing older was in the head.
    pub(crate) fn set_flushed(&self, flushed: i64) {
        self.state.lock().flushed = Some(flushed);
    }

    pub(crate) fn set_frozen(&self) {
        self.state.lock().frozen = true;
    }

    /// Whether MANIFEST lacks something.
    pub(crate) fn is_dirty(&self, shared: &Shared) -> bool {
        let state = self.state.lock();
        state.dirty || state.deletions_written < shared.blocks.read().tombstones.last
    }

    /// Carries out a change, lastingly. After an error the old state is in force, and the files of what was to be added stay.
    pub(crate) fn publish(&self, shared: &Shared, change: Change) -> Result<(), StoreError> {
        self.publish_locked(&mut self.state.lock(), shared, change)
    }

    /// The same, unless a block that is to be replaced went meanwhile: then what was made of it goes too.
    pub(crate) fn publish_if_live(&self, shared: &Shared, change: Change) -> Result<bool, StoreError> {
        let mut state = self.state.lock();
        let set = shared.block_set();
        let live = set.blocks.iter().filter(|block| change.removes(block)).count();
        if live < change.remove.len() {
            let made: Vec<u64> = change.add.iter().map(|block| block.meta().spec.number).collect();
            self.abandon(&made);
            return Ok(false);
        }
        self.publish_locked(&mut state, shared, change).map(|()| true)
    }

    fn publish_locked(&self, state: &mut State, shared: &Shared, change: Change) -> Result<(), StoreError> {
        let set = shared.block_set();
        let mut blocks: Vec<_> = set.blocks.iter().filter(|block| !change.removes(block)).cloned().collect();
        blocks.extend(change.add.iter().cloned());
        let mut checkpoints = shared.engine.checkpoints();
        if let Some(checkpoint) = change.checkpoint {
            checkpoints.add(checkpoint);
            checkpoints.forget_before(change.first_segment);
        }
        let frozen = state.frozen && change.checkpoint.is_none();
        let absent = &state.absent;
        let needed = |tombstone: &Tombstone| frozen || is_needed(tombstone, &blocks, absent);
        let mut tombstones = Tombstones::clone(&set.tombstones);
        tombstones.list.retain(needed);
        let manifest = Manifest {
            next: shared.engine.next.load(Relaxed),
            flushed: change.flushed.or(state.flushed),
            floor: change.floor.or(state.floor),
            checkpoints,
            blocks: blocks.iter().map(|block| line(block)).chain(state.absent.iter().copied()).collect(),
            tombstones,
            raw: Vec::new(),
        };
        if let Err(error) = manifest.write(&*self.disk, &self.folder) {
            state.dirty = true;
            let added = change.add.iter().map(|block| block_path(&self.folder, block.meta().spec.number));
            state.garbage.extend(added);
            return Err(StoreError::io("replace", &self.folder.join(manifest::NAME))(error));
        }
        {
            let mut published = shared.blocks.write();
            // Deletions may have come meanwhile: they are in the journal, and in the next MANIFEST.
            let mut tombstones = manifest.tombstones;
            let come = |tombstone: &&Tombstone| tombstone.at > set.tombstones.last;
            tombstones.list.extend(published.tombstones.list.iter().filter(come).cloned());
            tombstones.last = published.tombstones.last;
            *published = Arc::new(BlockSet::new(blocks, Arc::new(tombstones)));
        }
        *shared.engine.checkpoints.write() = manifest.checkpoints;
        state.flushed = manifest.flushed;
        state.floor = manifest.floor;
        state.frozen = frozen;
        state.deletions_written = set.tombstones.last;
        state.dirty = false;
        state.garbage.extend(change.remove.iter().map(|number| block_path(&self.folder, *number)));
        self.remove_garbage(state);
        Ok(())
    }

    /// What cannot be removed now is tried again after the next change, and at the next start.
    fn remove_garbage(&self, state: &mut State) {
        let gone = |path: &PathBuf| match self.disk.remove(path) {
            Ok(()) => true,
            Err(error) => error.kind() == std::io::ErrorKind::NotFound,
        };
        state.garbage.retain(|path| !gone(path));
    }

    /// Removes the files of blocks that were made and never named.
    pub(crate) fn abandon(&self, made: &[u64]) {
        for number in made {
            // What is left is removed at the next start.
            let _ = self.disk.remove(&block_path(&self.folder, *number));
        }
    }

    /// Named blocks that are not open and are older than the floor: nobody will miss them.
    pub(crate) fn forget_absent(&self, floor: i64) {
        let mut state = self.state.lock();
        let before = state.absent.len();
        state.absent.retain(|line| line.max_time >= floor);
        state.dirty |= state.absent.len() < before;
    }
}

impl Change {
    fn removes(&self, block: &Block) -> bool {
        self.remove.contains(&block.meta().spec.number)
    }
}

fn line(block: &Block) -> BlockLine {
    let meta = block.meta();
    BlockLine {
        number: meta.spec.number,
        level: meta.spec.level,
        min_time: meta.min_time,
        max_time: meta.max_time,
        bytes: meta.bytes,
    }
}

/// Whether some block holds what was deleted. What is being made out of blocks has a higher number than they, and they are still there.
fn is_needed(tombstone: &Tombstone, blocks: &[Arc<Block>], absent: &[BlockLine]) -> bool {
    let mut lines = blocks.iter().map(|block| line(block)).chain(absent.iter().copied());
    let Deletion { start, end, .. } = tombstone.deletion;
    lines.any(|line| line.number <= tombstone.up_to && start <= line.max_time && end >= line.min_time)
}
