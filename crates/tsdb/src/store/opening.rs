//! Opening a folder's blocks: MANIFEST is read, or made again where it is lost; blocks that cannot be opened are named and the rest is
//! served; what a crash left behind is removed by the folder's owner.
//!
//! A reader beside the owner ([`Found::read`] alone) changes nothing.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

use journal::disk::Disk;

use crate::block::cache::Cache;
use crate::block::reader::Block;
use crate::error::{BlockError, StoreError};
use crate::manifest::{self, BLOCKS_FOLDER, BlockLine, Manifest, block_path};

/// Ends the name of a block that was set aside.
const DAMAGED_SUFFIX: &str = ".damaged";

/// What a folder holds beside the journal.
pub(crate) struct Found {
    pub(crate) manifest: Manifest,
    pub(crate) blocks: Vec<Arc<Block>>,
    /// Named, and not to be opened.
    pub(crate) absent: Vec<BlockLine>,
    /// Of the absent ones those whose bytes are wrong: they are to be set aside.
    pub(crate) damaged: Vec<u64>,
    /// What an operator must know.
    pub(crate) lost: Vec<String>,
    /// MANIFEST was made again.
    pub(crate) rebuilt: bool,
    /// There was none, and no block either.
    pub(crate) new: bool,
}

impl Found {
    /// Reads MANIFEST and opens what it names. Changes nothing.
    pub(crate) fn read(disk: &Arc<dyn Disk>, folder: &Path, cache: &Arc<Cache>) -> Result<Self, StoreError> {
        match Manifest::read(&**disk, folder) {
            Ok(Some(manifest)) => Self::open(disk, folder, cache, manifest),
            Ok(None) => Self::rebuild(disk, folder, cache, None),
            Err(why @ StoreError::Damaged { .. }) => {
                Self::rebuild(disk, folder, cache, Some(why.to_string()))
            }
            Err(error) => Err(error),
        }
    }

    fn empty(manifest: Manifest) -> Self {
        Self {
            manifest,
            blocks: Vec::new(),
            absent: Vec::new(),
            damaged: Vec::new(),
            lost: Vec::new(),
            rebuilt: false,
            new: false,
        }
    }

    fn open(
        disk: &Arc<dyn Disk>,
        folder: &Path,
        cache: &Arc<Cache>,
        manifest: Manifest,
    ) -> Result<Self, StoreError> {
        let mut found = Self::empty(manifest);
        for line in found.manifest.blocks.clone() {
            let path = block_path(folder, line.number);
            match Block::open(disk, &path, cache) {
                Ok(block) => found.blocks.push(block),
                Err(newer @ BlockError::Newer { .. }) => return Err(newer.into()),
                Err(error) => found.lose(line, &error),
            }
        }
        Ok(found)
    }

    /// A block that MANIFEST names stays named: who puts it back from a backup, as told, has it again after a restart.
    fn lose(&mut self, line: BlockLine, error: &BlockError) {
        self.tell(line.number, error);
        self.absent.push(line);
    }

    fn tell(&mut self, number: u64, error: &BlockError) {
        match error {
            BlockError::Damaged { .. } => {
                self.damaged.push(number);
                self.lost.push(format!(
                    "{error}: it is set aside as *{DAMAGED_SUFFIX}; restore this block from a backup if there is one"
                ));
            }
            _ => self.lost.push(format!("{error}: put the block back from a backup, and restart")),
        }
    }

    /// Makes a manifest from the blocks that are there. Those that another one replaces do not count.
    fn rebuild(
        disk: &Arc<dyn Disk>,
        folder: &Path,
        cache: &Arc<Cache>,
        why: Option<String>,
    ) -> Result<Self, StoreError> {
        let mut found = Self::empty(Manifest { next: 1, ..Manifest::default() });
        let names = list(&**disk, &folder.join(BLOCKS_FOLDER))?;
        let numbers: Vec<u64> = names.iter().filter_map(|name| block_number(name)).collect();
        found.new = numbers.is_empty() && why.is_none();
        found.rebuilt = !found.new;
        if found.rebuilt {
            let why = why.unwrap_or_else(|| format!("{} is missing", folder.join(manifest::NAME).display()));
            found.lost.push(format!(
                "{why}: it was made again from the blocks, and no sample is lost with it; but deletions that no compaction had carried out and whose \
                 journal record is gone are undone: repeat those of the last 30 days"
            ));
        }
        let mut blocks = Vec::new();
        // A number that was set aside is not given to another block: that one's damage would take its place.
        let aside = names.iter().filter_map(|name| block_number(name.strip_suffix(DAMAGED_SUFFIX)?));
        found.manifest.next = aside.map(|number| number + 1).fold(found.manifest.next, u64::max);
        for number in numbers {
            found.manifest.next = found.manifest.next.max(number + 1);
            match Block::open(disk, &block_path(folder, number), cache) {
                Ok(block) => blocks.push(block),
                Err(newer @ BlockError::Newer { .. }) => return Err(newer.into()),
                Err(error @ BlockError::Damaged { .. }) => found.tell(number, &error),
                // Without a manifest it would be forgotten: better not to open.
                Err(error) => return Err(error.into()),
            }
        }
        let replaced: BTreeSet<u64> =
            blocks.iter().flat_map(|block| block.meta().spec.parents.iter().copied()).collect();
        blocks.retain(|block| !replaced.contains(&block.meta().spec.number));
        found.blocks = blocks;
        Ok(found)
    }

    /// Whether MANIFEST still says what was read.
    pub(crate) fn is_current(&self, disk: &dyn Disk, folder: &Path) -> Result<bool, StoreError> {
        match Manifest::read(disk, folder) {
            Ok(now) => Ok(now.map_or(Vec::new(), |now| now.raw) == self.manifest.raw),
            Err(StoreError::Damaged { .. }) => Ok(self.rebuilt),
            Err(error) => Err(error),
        }
    }

    /// Whether MANIFEST does not say what was found.
    pub(crate) fn must_write(&self) -> bool {
        self.new || self.rebuilt || !self.damaged.is_empty()
    }

    /// Renames damaged blocks, so that nobody takes them for blocks and somebody may look into them.
    pub(crate) fn set_aside(&self, disk: &dyn Disk, folder: &Path) -> Result<(), StoreError> {
        for number in &self.damaged {
            let path = block_path(folder, *number);
            let mut aside = path.clone().into_os_string();
            aside.push(DAMAGED_SUFFIX);
            disk.rename(&path, Path::new(&aside)).map_err(StoreError::io("set aside", &path))?;
        }
        Ok(())
    }

    /// Removes what no MANIFEST names.
    pub(crate) fn clean(&self, disk: &dyn Disk, folder: &Path) -> Result<(), StoreError> {
        let blocks_folder = folder.join(BLOCKS_FOLDER);
        let open = self.blocks.iter().map(|block| block.meta().spec.number);
        let named: BTreeSet<u64> = open.chain(self.absent.iter().map(|line| line.number)).collect();
        for name in list(disk, &blocks_folder)? {
            let leftover = name.ends_with(journal::files::TEMPORARY_SUFFIX)
                || block_number(&name).is_some_and(|number| !named.contains(&number));
            if leftover {
                let path = blocks_folder.join(&name);
                disk.remove(&path).map_err(StoreError::io("remove", &path))?;
            }
        }
        Ok(())
    }
}

fn list(disk: &dyn Disk, folder: &Path) -> Result<Vec<String>, StoreError> {
    match disk.list(folder) {
        Ok(names) => Ok(names),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(StoreError::io("list", folder)(error)),
    }
}

/// The number in a block file's name.
pub(crate) fn block_number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".block").filter(|digits| digits.len() == 16)?;
    u64::from_str_radix(digits, 16).ok()
}
