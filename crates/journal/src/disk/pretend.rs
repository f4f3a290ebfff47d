//! A disk in memory that behaves as badly as disks may, for tests.
//!
//! What is written lies in a pretended page cache until it is synced: bytes by `sync_data`, names by `sync_dir`. Then the
//! power goes: [`PretendDisk::crash`] forgets all that was not synced, [`PretendDisk::crash_partly`] keeps a part of it, by
//! seed, in pages of 32 bytes and in no order; [`PretendDisk::kill`] ends only the process, so that the cache survives.
//! After each of them, handles and locks from before are dead and the disk can be opened again.
//!
//! Every call is an operation with a number, and [`PretendDisk::fail_at`] makes the operation with that number fail in the way
//! of a [`Fault`]; a test that loops over the numbers tries a failure everywhere. A failed sync behaves as Linux' does: some
//! of the bytes reached the disk, none of them is tried again, and reading still shows them all until the power goes.
//!
//! Simplifications: folders are lasting as soon as they are made or renamed, and the names of one folder reach the disk in order (any
//! prefix of the changes may survive a crash), as journalling file systems do it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use super::{Disk, DiskFile, DiskLock};

/// What is kept or lost together in [`PretendDisk::crash_partly`]. Small, so that records are torn in the middle.
const PAGE_BYTES: usize = 32;
/// Lines that the trace keeps; a test that makes more operations than this does not read them all anyway.
const TRACE_LINES_MAX: usize = 100_000;

/// How an operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// EIO, without effect (a sync loses part of its bytes).
    Io,
    /// ENOSPC, without effect (a sync loses part of its bytes).
    Full,
    /// Half of an append is written, then EIO. Any other operation: as `Io`.
    ShortIo,
    /// Half of an append is written, then ENOSPC. Any other operation: as `Full`.
    ShortFull,
    /// The power goes: half of an append reaches the cache, and every operation fails until `crash` or `crash_partly`.
    PowerCut,
    /// A read answers half of what is there, as if the file ended. Any other operation works.
    ShortRead,
}

/// The disk. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct PretendDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    files: HashMap<u64, FileState>,
    folders: BTreeMap<PathBuf, FolderState>,
    locks: HashSet<PathBuf>,
    next_file: u64,
    /// Grows at each crash; handles of an earlier one are dead.
    life: u64,
    operations: u64,
    faults: BTreeMap<u64, Fault>,
    fault_from: Option<(u64, Fault)>,
    faults_fired: u64,
    down: bool,
    capacity: Option<u64>,
    no_links: bool,
    trace: Vec<String>,
}

#[derive(Debug, Default)]
struct FolderState {
    now: BTreeMap<String, u64>,
    lasting: BTreeMap<String, u64>,
    changes: Vec<Change>,
}

#[derive(Debug, Clone)]
enum Change {
    Add(String, u64),
    Remove(String),
    Rename(String, String),
}

#[derive(Debug, Default)]
struct FileState {
    /// What reading shows.
    now: Vec<u8>,
    /// What a power cut leaves.
    lasting: Vec<u8>,
    /// Pages of `now` that the next sync writes.
    dirty: BTreeSet<usize>,
}

impl PretendDisk {
    /// An empty disk without limits or faults.
    pub fn new() -> PretendDisk {
        PretendDisk::default()
    }

    /// The operation with this number (the first is 0) fails in this way.
    pub fn fail_at(&self, operation: u64, fault: Fault) {
        self.lock_state().faults.insert(operation, fault);
    }

    /// All operations from this number on fail in this way.
    pub fn fail_from(&self, operation: u64, fault: Fault) {
        self.lock_state().fault_from = Some((operation, fault));
    }

    /// No more faults are wanted.
    pub fn heal(&self) {
        let mut state = self.lock_state();
        state.faults.clear();
        state.fault_from = None;
    }

    /// The number of the next operation.
    pub fn operations(&self) -> u64 {
        self.lock_state().operations
    }

    /// How many operations failed because a test wanted it.
    pub fn faults_fired(&self) -> u64 {
        self.lock_state().faults_fired
    }

    /// All files together can hold this many bytes (`None`: any number).
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock_state().capacity = bytes;
    }

    /// Whether files may have second names; they may, unless a test says no.
    pub fn set_links(&self, allowed: bool) {
        self.lock_state().no_links = !allowed;
    }

    /// Bytes in all files that bear a name.
    pub fn used_bytes(&self) -> u64 {
        self.lock_state().used_bytes()
    }

    /// The operations so far, one line each: the verb, the path, and the bytes where it has some.
    pub fn trace(&self) -> Vec<String> {
        self.lock_state().trace.clone()
    }

    /// The power goes and comes back: all that was not synced is lost.
    pub fn crash(&self) {
        self.lock_state().crash(None);
    }

    /// The power goes and comes back: of what was not synced, a part that depends on the seed survives.
    pub fn crash_partly(&self, seed: u64) {
        self.lock_state().crash(Some(seed));
    }

    /// The process ends and another starts: nothing is lost, and nothing more is synced than was.
    pub fn kill(&self) {
        self.lock_state().new_life();
    }

    /// Puts a file there, as if it had been there, synced, for ever.
    pub fn put(&self, path: &Path, bytes: &[u8]) {
        let mut state = self.lock_state();
        let file = FileState { now: bytes.to_vec(), lasting: bytes.to_vec(), dirty: BTreeSet::new() };
        let id = state.add_file(file);
        let (folder, name) = split(path).expect("a test names a file in a folder");
        let folder = state.folders.entry(folder).or_default();
        folder.now.insert(name.clone(), id);
        folder.lasting.insert(name, id);
    }

    /// A file's bytes as reading shows them.
    pub fn get(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.lock_state();
        let id = state.find(path).ok()?;
        Some(state.files[&id].now.clone())
    }

    /// Every file there is.
    pub fn paths(&self) -> Vec<PathBuf> {
        let state = self.lock_state();
        let in_folder = |(path, folder): (&PathBuf, &FolderState)| {
            folder.now.keys().map(|name| path.join(name)).collect::<Vec<_>>()
        };
        state.folders.iter().flat_map(in_folder).collect()
    }

    fn lock_state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics within the disk")
    }

    fn open(&self, verb: &'static str, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.lock_state();
        state.begin(verb, path, 0)?;
        let id = state.find(path)?;
        let life = state.life;
        Ok(Box::new(PretendFile { state: Arc::clone(&self.state), path: path.to_owned(), id, life }))
    }
}

impl Disk for PretendDisk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock_state();
        state.begin("create_dir_all", path, 0)?;
        state.folders.entry(path.to_owned()).or_default();
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut state = self.lock_state();
        state.begin("list", path, 0)?;
        let folder = state.folders.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(folder.now.keys().cloned().collect())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.lock_state();
        state.begin("create", path, 0)?;
        if state.find(path).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let (folder, name) = split(path)?;
        if !state.folders.contains_key(&folder) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let id = state.add_file(FileState::default());
        state.change(&folder, Change::Add(name, id))?;
        let life = state.life;
        Ok(Box::new(PretendFile { state: Arc::clone(&self.state), path: path.to_owned(), id, life }))
    }

    fn open_append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.open("open_append", path)
    }

    fn open_read(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.open("open_read", path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock_state();
        state.begin("rename", from, 0)?;
        if state.folders.contains_key(from) {
            return state.rename_folder(from, to);
        }
        state.find(from)?;
        let ((folder, old), (same, new)) = (split(from)?, split(to)?);
        assert_eq!(folder, same, "a rename stays within its folder");
        state.change(&folder, Change::Rename(old, new))
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock_state();
        state.begin("hard_link", to, 0)?;
        if state.no_links {
            return Err(io::ErrorKind::CrossesDevices.into());
        }
        let id = state.find(from)?;
        if state.find(to).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let (folder, name) = split(to)?;
        state.change(&folder, Change::Add(name, id))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock_state();
        state.begin("remove", path, 0)?;
        state.find(path)?;
        let (folder, name) = split(path)?;
        state.change(&folder, Change::Remove(name))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock_state();
        state.begin("sync_dir", path, 0)?;
        let folder = state.folders.get_mut(path).ok_or(io::ErrorKind::NotFound)?;
        folder.lasting = folder.now.clone();
        folder.changes.clear();
        Ok(())
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let mut state = self.lock_state();
        state.begin("free_bytes", path, 0)?;
        Ok(state.free_bytes())
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn DiskLock>>> {
        let mut state = self.lock_state();
        state.begin("lock", path, 0)?;
        if !state.locks.insert(path.to_owned()) {
            return Ok(None);
        }
        let life = state.life;
        Ok(Some(Box::new(PretendLock { state: Arc::clone(&self.state), path: path.to_owned(), life })))
    }
}

#[derive(Debug)]
struct PretendLock {
    state: Arc<Mutex<State>>,
    path: PathBuf,
    life: u64,
}

impl DiskLock for PretendLock {
    /// A lock has no file here that could be removed.
    fn stands_at(&self, _path: &Path) -> bool {
        true
    }
}

impl Drop for PretendLock {
    fn drop(&mut self) {
        let mut state = self.state.lock().expect("no test panics within the disk");
        if state.life == self.life {
            state.locks.remove(&self.path);
        }
    }
}

#[derive(Debug)]
struct PretendFile {
    state: Arc<Mutex<State>>,
    path: PathBuf,
    id: u64,
    life: u64,
}

impl PretendFile {
    /// The disk, if the process that opened this file still runs. Held for the whole of an operation, so that a process ends
    /// before it or after it, and never within.
    fn alive(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.state.lock().expect("no test panics within the disk");
        if state.life != self.life {
            return Err(io::Error::other("the process that opened this file is gone"));
        }
        Ok(state)
    }

    fn begin(&self, verb: &'static str, bytes: usize) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.alive()?;
        state.begin(verb, &self.path, bytes)?;
        Ok(state)
    }
}

impl DiskFile for PretendFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.alive()?;
        let short = !state.down && state.next_fault().is_some_and(Fault::is_short);
        let begun = state.begin("append", &self.path, bytes.len());
        let wanted = match &begun {
            Ok(()) => bytes,
            Err(_) if short => &bytes[..bytes.len() / 2],
            Err(_) => &[],
        };
        let room = usize::try_from(state.free_bytes()).unwrap_or(usize::MAX);
        state.file(self.id).append(&wanted[..wanted.len().min(room)]);
        begun?;
        if room < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn overwrite(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.begin("overwrite", bytes.len())?;
        state.file(self.id).write(offset as usize, bytes);
        Ok(())
    }

    fn sync_data(&mut self) -> io::Result<()> {
        let mut state = self.alive()?;
        if state.down {
            return Err(Fault::PowerCut.error());
        }
        let begun = state.begin("sync_data", &self.path, 0);
        let mut dice = Dice::new(state.operations);
        let file = state.file(self.id);
        match begun {
            Ok(()) => file.persist(|_| true, file.now.len()),
            Err(_) => file.persist(|_| dice.flip(), file.lasting.len()),
        }
        file.dirty.clear();
        begun
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.alive()?;
        let short = state.next_fault() == Some(Fault::ShortRead);
        state.begin("read_at", &self.path, buffer.len())?;
        let bytes = &state.file(self.id).now;
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let whole = buffer.len().min(bytes.len() - start);
        let count = if short { whole / 2 } else { whole };
        buffer[..count].copy_from_slice(&bytes[start..start + count]);
        Ok(count)
    }

    fn len(&self) -> io::Result<u64> {
        let mut state = self.begin("len", 0)?;
        Ok(state.file(self.id).now.len() as u64)
    }

    fn set_len(&mut self, bytes: u64) -> io::Result<()> {
        let mut state = self.begin("set_len", bytes as usize)?;
        state.file(self.id).set_len(bytes as usize);
        Ok(())
    }

    /// No operation, so that it has no number and no fault; after a power cut nobody can tell.
    fn stands_at(&self, path: &Path) -> bool {
        let state = self.state.lock().expect("no test panics within the disk");
        state.life != self.life || state.down || state.find(path).is_ok_and(|id| id == self.id)
    }
}

impl Fault {
    fn is_short(self) -> bool {
        matches!(self, Fault::ShortIo | Fault::ShortFull | Fault::PowerCut)
    }

    fn error(self) -> io::Error {
        match self {
            Fault::Io | Fault::ShortIo => io::Error::other("pretended I/O error"),
            Fault::Full | Fault::ShortFull => io::ErrorKind::StorageFull.into(),
            Fault::PowerCut => io::Error::other("pretended power cut"),
            Fault::ShortRead => io::ErrorKind::UnexpectedEof.into(),
        }
    }
}

impl State {
    /// Counts an operation and answers its fault, if a test wants one.
    fn begin(&mut self, verb: &'static str, path: &Path, bytes: usize) -> io::Result<()> {
        if self.down {
            return Err(Fault::PowerCut.error());
        }
        let fault = self.next_fault();
        self.operations += 1;
        if self.trace.len() < TRACE_LINES_MAX {
            let fate = fault.map(|fault| format!(" ({fault:?})")).unwrap_or_default();
            self.trace.push(format!("{verb} {} {bytes}{fate}", path.display()));
        }
        let fault = fault.filter(|fault| *fault != Fault::ShortRead || verb == "read_at");
        let Some(fault) = fault else { return Ok(()) };
        self.faults_fired += 1;
        if fault == Fault::ShortRead {
            return Ok(());
        }
        self.down = fault == Fault::PowerCut;
        Err(fault.error())
    }

    fn next_fault(&mut self) -> Option<Fault> {
        let number = self.operations;
        let from = self.fault_from.filter(|(first, _)| number >= *first).map(|(_, fault)| fault);
        self.faults.get(&number).copied().or(from)
    }

    fn find(&self, path: &Path) -> io::Result<u64> {
        let (folder, name) = split(path)?;
        let id = self.folders.get(&folder).and_then(|folder| folder.now.get(&name));
        id.copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn file(&mut self, id: u64) -> &mut FileState {
        self.files.get_mut(&id).expect("a file outlives its handles")
    }

    fn add_file(&mut self, file: FileState) -> u64 {
        self.next_file += 1;
        self.files.insert(self.next_file, file);
        self.next_file
    }

    fn change(&mut self, folder: &Path, change: Change) -> io::Result<()> {
        let folder = self.folders.get_mut(folder).ok_or(io::ErrorKind::NotFound)?;
        change.apply(&mut folder.now);
        folder.changes.push(change);
        Ok(())
    }

    /// Moves a folder with all in it; what bears the new name must be an empty folder. Lasting at once, as making one is.
    fn rename_folder(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let within = |path: &&PathBuf| path.starts_with(to);
        let taken =
            self.folders.keys().filter(within).any(|path| path != to || !self.folders[path].now.is_empty());
        if taken {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        let moved: Vec<PathBuf> =
            self.folders.keys().filter(|path| path.starts_with(from)).cloned().collect();
        for path in moved {
            let folder = self.folders.remove(&path).expect("it was just found");
            let rest = path.strip_prefix(from).expect("it lies within");
            let moved = if rest.as_os_str().is_empty() { to.to_owned() } else { to.join(rest) };
            self.folders.insert(moved, folder);
        }
        Ok(())
    }

    fn used_bytes(&self) -> u64 {
        // A file with two names takes its room once.
        let named: BTreeSet<u64> =
            self.folders.values().flat_map(|folder| folder.now.values().copied()).collect();
        named.iter().map(|id| self.files[id].now.len() as u64).sum()
    }

    fn free_bytes(&self) -> u64 {
        self.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(self.used_bytes()))
    }

    fn crash(&mut self, seed: Option<u64>) {
        let mut dice = seed.map(Dice::new);
        for folder in self.folders.values_mut() {
            let kept = dice.as_mut().map_or(0, |dice| dice.up_to(folder.changes.len()));
            for change in folder.changes.drain(..).take(kept) {
                change.apply(&mut folder.lasting);
            }
            folder.now = folder.lasting.clone();
            folder.changes.clear();
        }
        let mut ids: Vec<u64> = self.files.keys().copied().collect();
        ids.sort_unstable(); // so that a seed always means the same
        for id in ids {
            self.file(id).crash(dice.as_mut());
        }
        self.new_life();
    }

    fn new_life(&mut self) {
        self.life += 1;
        self.locks.clear();
        self.down = false;
    }
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            Change::Add(name, id) => {
                names.insert(name.clone(), *id);
            }
            Change::Remove(name) => {
                names.remove(name);
            }
            Change::Rename(from, to) => {
                if let Some(id) = names.remove(from) {
                    names.insert(to.clone(), id);
                }
            }
        }
    }
}

impl FileState {
    fn append(&mut self, bytes: &[u8]) {
        self.write(self.now.len(), bytes);
    }

    fn write(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        if self.now.len() < end {
            self.now.resize(end, 0);
        }
        self.now[offset..end].copy_from_slice(bytes);
        self.mark(offset, end);
    }

    fn set_len(&mut self, bytes: usize) {
        let before = self.now.len();
        self.now.resize(bytes, 0);
        self.mark(before.min(bytes), before.max(bytes));
    }

    fn mark(&mut self, start: usize, end: usize) {
        self.dirty.extend(start / PAGE_BYTES..end.div_ceil(PAGE_BYTES));
    }

    /// Writes the dirty pages that `wanted` picks, and this length.
    fn persist(&mut self, mut wanted: impl FnMut(usize) -> bool, length: usize) {
        self.lasting.resize(length, 0);
        for page in &self.dirty {
            let start = page * PAGE_BYTES;
            let end = (start + PAGE_BYTES).min(self.now.len()).min(length);
            if start < end && wanted(*page) {
                self.lasting[start..end].copy_from_slice(&self.now[start..end]);
            }
        }
    }

    fn crash(&mut self, dice: Option<&mut Dice>) {
        if let Some(dice) = dice {
            let (short, long) =
                (self.lasting.len().min(self.now.len()), self.lasting.len().max(self.now.len()));
            let length =
                if self.dirty.is_empty() { self.lasting.len() } else { short + dice.up_to(long - short) };
            self.persist(|_| dice.flip(), length);
        }
        self.now = self.lasting.clone();
        self.dirty.clear();
    }
}

/// Small random numbers that depend on the seed alone (splitmix64).
#[derive(Debug)]
struct Dice {
    state: u64,
}

impl Dice {
    fn new(seed: u64) -> Dice {
        Dice { state: seed }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn flip(&mut self) -> bool {
        self.next() & 1 == 1
    }

    /// 0 to `most`, both possible.
    fn up_to(&mut self, most: usize) -> usize {
        (self.next() % (most as u64 + 1)) as usize
    }
}

fn split(path: &Path) -> io::Result<(PathBuf, String)> {
    let name = path.file_name().and_then(|name| name.to_str());
    match (path.parent(), name) {
        (Some(folder), Some(name)) => Ok((folder.to_owned(), name.to_owned())),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk() -> (PretendDisk, PathBuf) {
        let disk = PretendDisk::new();
        disk.create_dir_all(Path::new("/d")).unwrap();
        (disk, PathBuf::from("/d/f"))
    }

    #[test]
    fn unsynced_bytes_vanish() {
        let (disk, path) = disk();
        let mut file = disk.create(&path).unwrap();
        file.append(b"kept").unwrap();
        file.sync_data().unwrap();
        disk.sync_dir(Path::new("/d")).unwrap();
        file.append(b" lost").unwrap();
        assert_eq!(disk.get(&path).unwrap(), b"kept lost");
        disk.crash();
        assert_eq!(disk.get(&path).unwrap(), b"kept");
        assert!(file.append(b"x").is_err(), "a handle from before the crash is dead");
    }

    #[test]
    fn unsynced_names_vanish() {
        let (disk, path) = disk();
        disk.create(&path).unwrap().sync_data().unwrap();
        disk.crash();
        assert_eq!(disk.get(&path), None);
        disk.put(&path, b"old");
        disk.remove(&path).unwrap();
        disk.crash();
        assert_eq!(disk.get(&path).unwrap(), b"old", "a removal that was not synced comes back");
    }

    #[test]
    fn a_second_name_lasts_only_once_its_folder_is_synced() {
        let (disk, path) = disk();
        disk.put(&path, b"bytes");
        let (folder, second) = (Path::new("/e"), Path::new("/e/g"));
        assert!(disk.hard_link(&path, second).is_err(), "the folder is not there");
        disk.create_dir_all(folder).unwrap();
        disk.hard_link(&path, second).unwrap();
        assert_eq!(disk.hard_link(&path, second).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!((disk.get(second).unwrap(), disk.used_bytes()), (b"bytes".to_vec(), 5));
        disk.crash();
        assert_eq!(disk.get(second), None);
        disk.hard_link(&path, second).unwrap();
        disk.sync_dir(folder).unwrap();
        disk.remove(&path).unwrap();
        disk.sync_dir(Path::new("/d")).unwrap();
        disk.crash();
        assert_eq!(disk.get(second).unwrap(), b"bytes");
        disk.set_links(false);
        assert!(super::super::cannot_link(&disk.hard_link(second, &path).unwrap_err()));
    }

    #[test]
    fn a_folder_is_renamed_with_all_in_it() {
        let (disk, path) = disk();
        let inner = Path::new("/d/inner/f");
        disk.put(&path, b"1");
        disk.put(inner, b"2");
        disk.create_dir_all(Path::new("/e")).unwrap();
        disk.rename(Path::new("/d"), Path::new("/e")).unwrap();
        assert_eq!(disk.paths(), [PathBuf::from("/e/f"), PathBuf::from("/e/inner/f")]);
        disk.put(&path, b"3");
        assert!(disk.rename(Path::new("/d"), Path::new("/e")).is_err(), "it is not empty");
    }

    #[test]
    fn a_killed_process_loses_nothing() {
        let (disk, path) = disk();
        let lock = disk.lock(Path::new("/d/LOCK")).unwrap();
        assert!(disk.lock(Path::new("/d/LOCK")).unwrap().is_none());
        disk.create(&path).unwrap().append(b"bytes").unwrap();
        disk.kill();
        assert_eq!(disk.get(&path).unwrap(), b"bytes");
        assert!(disk.lock(Path::new("/d/LOCK")).unwrap().is_some());
        drop(lock);
    }

    #[test]
    fn a_failed_sync_is_never_made_good_by_the_next() {
        let (disk, path) = disk();
        let mut file = disk.create(&path).unwrap();
        disk.sync_dir(Path::new("/d")).unwrap();
        let bytes = vec![7; 64 * PAGE_BYTES];
        file.append(&bytes).unwrap();
        disk.fail_at(disk.operations(), Fault::Io);
        assert!(file.sync_data().is_err());
        assert_eq!(disk.get(&path).unwrap(), bytes, "reading still shows them");
        file.sync_data().unwrap();
        disk.crash();
        assert_ne!(disk.get(&path).unwrap(), bytes);
        assert_eq!(disk.faults_fired(), 1);
    }

    #[test]
    fn part_survives_by_seed() {
        let (disk, path) = disk();
        let mut seen = BTreeSet::new();
        for seed in 0..64 {
            disk.put(&path, b"");
            disk.open_append(&path).unwrap().append(&[7; 4 * PAGE_BYTES]).unwrap();
            disk.crash_partly(seed);
            seen.insert(disk.get(&path).unwrap());
        }
        assert!(seen.len() > 10, "{} different outcomes", seen.len());
    }

    #[test]
    fn a_full_disk_takes_what_fits() {
        let (disk, path) = disk();
        disk.set_capacity(Some(6));
        let mut file = disk.create(&path).unwrap();
        file.append(b"1234").unwrap();
        assert_eq!(disk.free_bytes(&path).unwrap(), 2);
        assert!(super::super::is_full(&file.append(b"5678").unwrap_err()));
        assert_eq!(disk.get(&path).unwrap(), b"123456");
        file.set_len(4).unwrap();
        assert_eq!(disk.used_bytes(), 4);
    }

    #[test]
    fn a_power_cut_tears_the_append_and_ends_everything() {
        let (disk, path) = disk();
        let mut file = disk.create(&path).unwrap();
        disk.fail_at(disk.operations(), Fault::PowerCut);
        assert!(file.append(b"12345678").is_err());
        assert!(disk.list(Path::new("/d")).is_err());
        assert_eq!(disk.get(&path).unwrap(), b"1234");
        disk.crash();
        assert!(disk.list(Path::new("/d")).unwrap().is_empty());
    }
}
