//! Reads everything in a store's folder and holds it against its checksums: MANIFEST, every block frame by frame, the journal record
//! by record.
//!
//! In: a folder: a store (which a collector may have open), a backup, a snapshot. Out: each damage by file and offset, as it is found.
//! Nothing is locked or changed, and nothing is kept in memory but one frame or record.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use journal::disk::Disk;

use crate::block::cache::Cache;
use crate::block::reader::Block;
use crate::error::{BlockError, StoreError};
use crate::manifest::{self, Manifest};
use crate::read_only::RECORD_BYTES_MAX;

/// Blocks that go while they are looked at are looked for again in a newer MANIFEST, so often at most.
const ROUNDS_MAX: u32 = 50;
/// A check reads each frame once, so that there is little to cache.
const CACHE_BYTES: usize = 1 << 20;

/// One stretch of bytes that is not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundDamage {
    /// The file.
    pub file: PathBuf,
    /// Where it begins.
    pub offset: u64,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for FoundDamage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} is damaged at byte {}: {}", self.file.display(), self.offset, self.what)
    }
}

/// What was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Blocks.
    pub blocks: usize,
    /// Journal segments.
    pub segments: usize,
    /// Bytes of both.
    pub bytes: u64,
    /// Damages.
    pub damages: u64,
    /// Bytes at the journal's end that are not whole: being written, or torn by a power cut and never acknowledged.
    pub torn_bytes: u64,
}

/// Checks a folder; each damage is told to `tell`.
///
/// # Errors
/// [`StoreError::NoManifest`]; files of a newer program; a folder that cannot be listed. Damage is no error.
pub fn verify(
    disk: &Arc<dyn Disk>,
    folder: &Path,
    tell: &mut dyn FnMut(&FoundDamage),
) -> Result<Verified, StoreError> {
    let mut check = Check { disk, folder, tell, done: Verified::default(), seen: BTreeSet::new() };
    check.blocks()?;
    check.journal()?;
    Ok(check.done)
}

struct Check<'a> {
    disk: &'a Arc<dyn Disk>,
    folder: &'a Path,
    tell: &'a mut dyn FnMut(&FoundDamage),
    done: Verified,
    seen: BTreeSet<u64>,
}

impl Check<'_> {
    fn damage(&mut self, file: &Path, offset: u64, what: impl Into<String>) {
        self.done.damages += 1;
        (self.tell)(&FoundDamage { file: file.to_owned(), offset, what: what.into() });
    }

    /// Numbers of the blocks that count; all that are there where MANIFEST does not say.
    fn named(&mut self) -> Result<Vec<u64>, StoreError> {
        match Manifest::read(&**self.disk, self.folder) {
            Ok(Some(manifest)) => Ok(manifest.blocks.iter().map(|block| block.number).collect()),
            Ok(None) => Err(StoreError::NoManifest { folder: self.folder.to_owned() }),
            Err(StoreError::Damaged { path, what }) => {
                self.damage(&path, 0, what);
                let blocks = self.folder.join(manifest::BLOCKS_FOLDER);
                let names = self.disk.list(&blocks).map_err(StoreError::io("list", &blocks))?;
                let number = |name: &String| u64::from_str_radix(name.strip_suffix(".block")?, 16).ok();
                Ok(names.iter().filter_map(number).collect())
            }
            Err(error) => Err(error),
        }
    }

    fn blocks(&mut self) -> Result<(), StoreError> {
        let mut numbers = self.named()?;
        for round in 1.. {
            let mut gone = Vec::new();
            for number in numbers {
                if !self.seen.contains(&number) && !self.block(number)? {
                    gone.push(number);
                }
            }
            if gone.is_empty() {
                break;
            }
            numbers = self.named()?;
            // What is named still and is not there has not been replaced: it is lost.
            let lost: Vec<u64> =
                gone.into_iter().filter(|gone| round == ROUNDS_MAX || numbers.contains(gone)).collect();
            for number in lost {
                self.seen.insert(number);
                self.damage(&manifest::block_path(self.folder, number), 0, "the file is missing");
            }
        }
        Ok(())
    }

    /// Checks one block; false where its file is not there.
    fn block(&mut self, number: u64) -> Result<bool, StoreError> {
        let path = manifest::block_path(self.folder, number);
        let cache = Cache::new(CACHE_BYTES);
        let found = match Block::open(self.disk, &path, &cache) {
            Ok(block) => {
                self.done.bytes += block.meta().bytes;
                block.verify()
            }
            Err(BlockError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(false);
            }
            Err(error) => vec![error],
        };
        self.seen.insert(number);
        self.done.blocks += 1;
        for error in found {
            match error {
                BlockError::Damaged { path, offset, what } => self.damage(&path, offset, what),
                BlockError::Io { path, what, source } => {
                    self.damage(&path, 0, format!("cannot {what} it: {source}"));
                }
                newer @ BlockError::Newer { .. } => return Err(newer.into()),
            }
        }
        Ok(true)
    }

    fn journal(&mut self) -> Result<(), StoreError> {
        let found = journal::inspect(self.disk, self.folder, RECORD_BYTES_MAX, &mut |_| Ok(()))?;
        for damage in &found.report.damage {
            self.damage(&damage.file, damage.at.offset, format!("{} ({} bytes)", damage.kind, damage.bytes));
        }
        self.done.segments = found.segments.len();
        self.done.bytes += found.report.bytes;
        self.done.torn_bytes = found.report.torn_bytes;
        Ok(())
    }
}
