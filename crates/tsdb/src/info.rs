//! What is in a store's folder, without opening the store: for people, beside a running collector.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use journal::disk::Disk;
use model::Timestamp;

use crate::block::cache::Cache;
use crate::block::reader::Block;
use crate::error::StoreError;
use crate::manifest::{self, Manifest};

/// A block in figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockInfo {
    /// Its number, which its file's name bears in hexadecimal digits.
    pub number: u64,
    /// Its level in the grid: 0 is two hours wide.
    pub level: u8,
    /// Its first sample.
    pub min_time: Timestamp,
    /// Its last sample.
    pub max_time: Timestamp,
    /// Series.
    pub series: u32,
    /// Float samples.
    pub samples: u64,
    /// Native histograms.
    pub histograms: u64,
    /// The file's length.
    pub bytes: u64,
}

/// A store in figures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Info {
    /// Blocks, oldest first.
    pub blocks: Vec<BlockInfo>,
    /// Blocks that cannot be opened, and why.
    pub unreadable: Vec<(PathBuf, String)>,
    /// Journal segments.
    pub segments: usize,
    /// Their bytes.
    pub journal_bytes: u64,
    /// Deletions that wait for compaction.
    pub tombstones: usize,
}

/// Looks at a folder.
///
/// # Errors
/// [`StoreError::NoManifest`]; a MANIFEST that is damaged or a newer program's; a folder that cannot be listed.
pub fn info(disk: &Arc<dyn Disk>, folder: &Path) -> Result<Info, StoreError> {
    let manifest = Manifest::read(&**disk, folder)?
        .ok_or_else(|| StoreError::NoManifest { folder: folder.to_owned() })?;
    let mut info = Info { tombstones: manifest.tombstones.len(), ..Info::default() };
    let cache = Cache::new(1 << 20);
    for line in &manifest.blocks {
        let path = manifest::block_path(folder, line.number);
        match Block::open(disk, &path, &cache) {
            Ok(block) => {
                let meta = block.meta();
                info.blocks.push(BlockInfo {
                    number: line.number,
                    level: line.level,
                    min_time: Timestamp::from_millis(line.min_time),
                    max_time: Timestamp::from_millis(line.max_time),
                    series: meta.series,
                    samples: meta.samples,
                    histograms: meta.histograms,
                    bytes: meta.bytes,
                });
            }
            Err(error) => info.unreadable.push((path, error.to_string())),
        }
    }
    info.blocks.sort_by_key(|block| (block.min_time, block.number));
    measure_journal(disk, folder, &mut info)?;
    Ok(info)
}

fn measure_journal(disk: &Arc<dyn Disk>, folder: &Path, info: &mut Info) -> Result<(), StoreError> {
    let names = disk.list(folder).map_err(StoreError::io("list", folder))?;
    for name in names.iter().filter(|name| name.ends_with(".journal")) {
        let path = folder.join(name);
        // One that goes meanwhile is not there.
        let Ok(file) = disk.open_read(&path) else { continue };
        info.segments += 1;
        info.journal_bytes += file.len().map_err(StoreError::io("measure", &path))?;
    }
    Ok(())
}
