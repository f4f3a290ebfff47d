//! Copies of a store's folder that are stores themselves: backups, snapshots, and back again.
//!
//! In: a folder, which a collector may have open and be writing to. Out: another folder with the same blocks, the journal up to a moment
//! within the call, and a MANIFEST, which is put there last: a folder without one is unfinished and nobody takes it for a copy.
//!
//! **Consistent while writing.** Blocks never change, journal segments only grow. MANIFEST is read, then what it names is copied, then
//! the journal, then MANIFEST is read again: if it says something else by then (a flush, a compaction), another round copies what is new.
//! Rounds become short quickly, since what was copied stays.
//!
//! **Incremental.** Into a folder that holds an earlier copy only new blocks are copied; what the source no longer has goes, after the new
//! MANIFEST is in place. Stopped anywhere, the folder is the earlier copy still, or the new one, and the next run finishes the work.
//!
//! Limits: [`ROUNDS_MAX`] rounds; one copy at a time into a folder (it is locked); memory for one journal record.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use journal::disk::{self, Disk};
use journal::files;

use crate::error::StoreError;
use crate::manifest::{BLOCKS_FOLDER, Manifest, NAME as MANIFEST, block_path};
use crate::read_only::RECORD_BYTES_MAX;

/// Rounds until it gives up: each begins because MANIFEST was replaced during the one before.
const ROUNDS_MAX: u32 = 50;
/// The end of a block is compared before a block that is there already is taken for the same one: its footer holds checksums and the
/// moment of its making.
const COMPARED_BYTES: usize = 4096;
const LOCK: &str = "LOCK";
/// Says that a folder is a copy, so that nobody's own store is taken for one that may be brought up to date.
const MARK: &str = "COPY";
const MARK_TEXT: &[u8] = b"a copy of a Pantau store, made by `store backup` or as a snapshot; `store verify` and `store restore` read it\n";
const TEMPORARY_FOLDER_SUFFIX: &str = ".restoring";

/// How block files come to their second place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placing {
    /// As files of their own: for another disk.
    Copy,
    /// As second names of the same files, which cost no room until the store lets go of them; copied where the file system knows none.
    Link,
}

/// What a copy holds, and what making it cost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Blocks in the copy.
    pub blocks: usize,
    /// Of these: copied or linked now; the others were there already.
    pub blocks_new: usize,
    /// Of these: linked.
    pub blocks_linked: usize,
    /// Bytes written now, journal included.
    pub bytes_written: u64,
    /// Journal segments in the copy.
    pub segments: usize,
    /// Files removed, because the store no longer has them.
    pub removed: usize,
    /// Blocks of the store that are lost there and so are missing in the copy (unless an earlier run copied them), and why.
    pub lost: Vec<(PathBuf, String)>,
}

/// What a MANIFEST names, and its bytes.
struct Named {
    bytes: Vec<u8>,
    blocks: Vec<u64>,
}

/// Reads the MANIFEST of a folder.
fn named(disk: &dyn Disk, folder: &Path) -> Result<Option<Named>, StoreError> {
    let manifest = Manifest::read(disk, folder)?;
    Ok(manifest.map(|manifest| Named {
        blocks: manifest.blocks.iter().map(|block| block.number).collect(),
        bytes: manifest.raw,
    }))
}

/// Copies the store in `from` to `to` (made if need be).
///
/// # Errors
/// [`StoreError::NoManifest`] where `from` holds no whole store; a folder `to` in use; a disk that does not work. What was copied stays, and
/// the next call goes on from there.
pub fn backup(disk: &Arc<dyn Disk>, from: &Path, to: &Path, placing: Placing) -> Result<Copied, StoreError> {
    copy(disk, from, to, placing, &|folder| named(&**disk, folder))
}

/// Copies the backup or snapshot in `from` to `to`, which must not be there or be empty. `to` appears whole or not at all.
///
/// # Errors
/// [`StoreError::NotEmpty`]; else as for [`backup`].
pub fn restore(disk: &Arc<dyn Disk>, from: &Path, to: &Path) -> Result<Copied, StoreError> {
    restore_with(disk, from, to, &|folder| named(&**disk, folder))
}

type Naming<'a> = &'a dyn Fn(&Path) -> Result<Option<Named>, StoreError>;

fn restore_with(
    disk: &Arc<dyn Disk>,
    from: &Path,
    to: &Path,
    naming: Naming<'_>,
) -> Result<Copied, StoreError> {
    match disk.list(to) {
        Ok(names) if names.iter().any(|name| name != LOCK) => {
            return Err(StoreError::NotEmpty { folder: to.to_owned() });
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(StoreError::io("list", to)(error)),
    }
    let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    disk.create_dir_all(parent).map_err(StoreError::io("make", parent))?;
    let mut name = to.file_name().unwrap_or_default().to_owned();
    name.push(TEMPORARY_FOLDER_SUFFIX);
    let temporary = to.with_file_name(name);
    let copied = copy(disk, from, &temporary, Placing::Copy, naming)?;
    // An empty folder there may hold a lock's file only, which nobody has locked who could mind.
    match disk.remove(&to.join(LOCK)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(StoreError::io("remove", to)(error));
        }
        _ => {}
    }
    disk.rename(&temporary, to).map_err(StoreError::io("rename to", to))?;
    disk.remove(&to.join(MARK)).map_err(StoreError::io("remove the mark from", to))?;
    disk.sync_dir(to).map_err(StoreError::io("sync", to))?;
    disk.sync_dir(parent).map_err(StoreError::io("sync", parent))?;
    Ok(copied)
}

fn copy(
    disk: &Arc<dyn Disk>,
    from: &Path,
    to: &Path,
    placing: Placing,
    naming: Naming<'_>,
) -> Result<Copied, StoreError> {
    let Some(mut named) = naming(from)? else {
        return Err(StoreError::NoManifest { folder: from.to_owned() });
    };
    disk.create_dir_all(to).map_err(StoreError::io("make", to))?;
    let lock = to.join(LOCK);
    let locked = disk.lock(&lock).map_err(StoreError::io("lock", &lock))?;
    let _locked = locked.ok_or_else(|| journal::JournalError::Locked { folder: to.to_owned() })?;
    mark(&**disk, to)?;
    let blocks = to.join(BLOCKS_FOLDER);
    disk.create_dir_all(&blocks).map_err(StoreError::io("make", &blocks))?;
    let mut copy = Copy { disk, from, to, placing, done: Copied::default() };
    for _ in 0..ROUNDS_MAX {
        let segments = copy.round(&named)?;
        let now = naming(from)?.ok_or_else(|| StoreError::NoManifest { folder: from.to_owned() })?;
        if let Some(segments) = segments.filter(|_| now.bytes == named.bytes) {
            return copy.finish(&named, &segments);
        }
        named = now;
    }
    Err(StoreError::Restless { folder: from.to_owned(), rounds: ROUNDS_MAX })
}

/// Marks an empty folder as a copy's; a folder with something in it must bear the mark.
fn mark(disk: &dyn Disk, to: &Path) -> Result<(), StoreError> {
    let names = disk.list(to).map_err(StoreError::io("list", to))?;
    if names.iter().any(|name| name == MARK) {
        return Ok(());
    }
    if names.iter().any(|name| name != LOCK && !name.starts_with(MARK)) {
        return Err(StoreError::NotEmpty { folder: to.to_owned() });
    }
    let path = to.join(MARK);
    files::replace(disk, &path, MARK_TEXT).map_err(StoreError::io("make", &path))
}

struct Copy<'a> {
    disk: &'a Arc<dyn Disk>,
    from: &'a Path,
    to: &'a Path,
    placing: Placing,
    done: Copied,
}

impl Copy<'_> {
    /// Copies all that is named and the journal. Answers the journal's segments; `None` where something went meanwhile.
    fn round(&mut self, named: &Named) -> Result<Option<Vec<u64>>, StoreError> {
        self.done.lost.clear();
        for number in &named.blocks {
            let (from, to) = (block_path(self.from, *number), block_path(self.to, *number));
            match self.block(&from, &to) {
                Ok(()) => {}
                // Gone because it was replaced: then MANIFEST says so, and there is another round. Else it is lost, as one that
                // cannot be read is, and is no reason to leave the others without a copy.
                Err(error) if error.kind() == io::ErrorKind::NotFound || !reads(&**self.disk, &from) => {
                    self.done.lost.push((from, error.to_string()));
                }
                Err(error) => return Err(StoreError::io("copy", &from)(error)),
            }
        }
        self.journal()
    }

    fn block(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        if same(&**self.disk, from, to)? {
            return Ok(());
        }
        if self.placing == Placing::Link {
            match self.disk.remove(to) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            match self.disk.hard_link(from, to) {
                Ok(()) => {
                    self.done.blocks_new += 1;
                    self.done.blocks_linked += 1;
                    return Ok(());
                }
                Err(error) if disk::cannot_link(&error) => {}
                Err(error) => return Err(error),
            }
        }
        self.done.bytes_written += files::copy(&**self.disk, from, to, u64::MAX)?;
        self.done.blocks_new += 1;
        Ok(())
    }

    /// Sealed segments are copied once. The newest one is copied as far as it is whole, anew each time.
    fn journal(&mut self) -> Result<Option<Vec<u64>>, StoreError> {
        let found = journal::inspect(self.disk, self.from, RECORD_BYTES_MAX, &mut |_| Ok(()))?;
        if !found.vanished.is_empty() {
            return Ok(None);
        }
        let newest = found.segments.last().map(|segment| segment.number);
        for segment in &found.segments {
            let growing = Some(segment.number) == newest && !segment.damaged;
            let bytes = if growing { segment.bytes } else { u64::MAX };
            let (from, to) = (segment_path(self.from, segment.number), segment_path(self.to, segment.number));
            if !unless_gone(self.segment(&from, &to, bytes, growing))
                .map_err(StoreError::io("copy", &from))?
            {
                return Ok(None);
            }
        }
        Ok(Some(found.segments.iter().map(|segment| segment.number).collect()))
    }

    fn segment(&mut self, from: &Path, to: &Path, bytes: u64, growing: bool) -> io::Result<()> {
        if growing || !same(&**self.disk, from, to)? {
            self.done.bytes_written += files::copy(&**self.disk, from, to, bytes)?;
        }
        Ok(())
    }

    /// Makes the copy whole: its names last, its MANIFEST is in place, and what it no longer names is gone.
    fn finish(mut self, named: &Named, segments: &[u64]) -> Result<Copied, StoreError> {
        let blocks = self.to.join(BLOCKS_FOLDER);
        for folder in [&blocks, self.to] {
            self.disk.sync_dir(folder).map_err(StoreError::io("sync", folder))?;
        }
        let path = self.to.join(MANIFEST);
        files::replace(&**self.disk, &path, &named.bytes).map_err(StoreError::io("replace", &path))?;
        self.remove_others(&blocks, |name| named.blocks.iter().any(|number| block_name(*number) == name))?;
        self.remove_others(self.to, |name| {
            !name.contains(".journal") || segments.iter().any(|number| segment_name(*number) == name)
        })?;
        let Copied { blocks: count, segments: segment_count, .. } = &mut self.done;
        (*count, *segment_count) = (named.blocks.len(), segments.len());
        Ok(self.done)
    }

    fn remove_others(&mut self, folder: &Path, stays: impl Fn(&str) -> bool) -> Result<(), StoreError> {
        let names = self.disk.list(folder).map_err(StoreError::io("list", folder))?;
        for name in names.iter().filter(|name| !stays(name)) {
            let path = folder.join(name);
            self.disk.remove(&path).map_err(StoreError::io("remove", &path))?;
            self.done.removed += 1;
        }
        self.disk.sync_dir(folder).map_err(StoreError::io("sync", folder))
    }
}

/// Whether a file can be read to its end.
fn reads(disk: &dyn Disk, path: &Path) -> bool {
    let mut piece = vec![0; 256 << 10];
    let mut offset = 0;
    let Ok(file) = disk.open_read(path) else { return false };
    loop {
        match file.read_at(offset, &mut piece) {
            Ok(0) => return true,
            Ok(count) => offset += count as u64,
            Err(_) => return false,
        }
    }
}

/// False where the file was gone.
fn unless_gone(result: io::Result<()>) -> io::Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether both files are there, equally long, and begin and end alike. An immutable file that does is the same one.
fn same(disk: &dyn Disk, from: &Path, to: &Path) -> io::Result<bool> {
    let from = disk.open_read(from)?;
    let to = match disk.open_read(to) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let length = from.len()?;
    if to.len()? != length {
        return Ok(false);
    }
    let (mut one, mut other) = (vec![0; COMPARED_BYTES], vec![0; COMPARED_BYTES]);
    for offset in [0, length.saturating_sub(COMPARED_BYTES as u64)] {
        let (a, b) = (from.read_at(offset, &mut one)?, to.read_at(offset, &mut other)?);
        if one[..a] != other[..b] {
            return Ok(false);
        }
    }
    Ok(true)
}

fn block_name(number: u64) -> String {
    format!("{number:016x}.block")
}

fn segment_name(number: u64) -> String {
    format!("{number:020}.journal")
}

fn segment_path(folder: &Path, number: u64) -> PathBuf {
    folder.join(segment_name(number))
}

#[cfg(test)]
mod tests;
