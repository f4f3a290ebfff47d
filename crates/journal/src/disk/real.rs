//! The operating system's disk.
//!
//! Writes go through pwrite at an end that the handle keeps, not through O_APPEND, because recovery also writes in place.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;

use super::{Disk, DiskFile, DiskLock};

/// The operating system's files.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        if !path.is_dir() {
            if let Some(parent) = parent {
                self.create_dir_all(parent)?;
            }
            make_dir(path)?;
        }
        // Also if it was there: an earlier start may have been stopped right after it made the folder.
        match self.sync_dir(parent.unwrap_or(Path::new("."))) {
            Err(error) if error.kind() != io::ErrorKind::PermissionDenied => Err(error),
            _ => Ok(()), // a folder whose parent may not be read was not made by us
        }
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(path)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        owner_only(&mut options);
        Ok(Box::new(RealFile { file: options.open(path)?, end: 0 }))
    }

    fn open_append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let end = file.metadata()?.len();
        Ok(Box::new(RealFile { file, end }))
    }

    fn open_read(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(RealFile { file: File::open(path)?, end: 0 }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    #[cfg(unix)]
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    #[cfg(not(unix))]
    fn sync_dir(&self, _path: &Path) -> io::Result<()> {
        Ok(()) // a folder cannot be opened to sync it there; its entries are journalled by the file system
    }

    #[cfg(unix)]
    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let figures = rustix::fs::statvfs(path)?;
        Ok(figures.f_bavail.saturating_mul(figures.f_frsize))
    }

    #[cfg(not(unix))]
    fn free_bytes(&self, _path: &Path) -> io::Result<u64> {
        Err(io::Error::from(io::ErrorKind::Unsupported))
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn DiskLock>>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        owner_only(&mut options);
        let file = options.open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(RealLock { file }))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

/// Makes one folder, for the owner only.
fn make_dir(path: &Path) -> io::Result<()> {
    #[cfg_attr(not(unix), allow(unused_mut))]
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        result => result,
    }
}

#[cfg(unix)]
fn owner_only(options: &mut OpenOptions) {
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
}

#[cfg(not(unix))]
fn owner_only(_options: &mut OpenOptions) {}

#[derive(Debug)]
struct RealLock {
    file: File,
}

impl DiskLock for RealLock {
    fn stands_at(&self, path: &Path) -> bool {
        is_at(&self.file, path)
    }
}

/// Compares device and inode: two short system calls, about 1 microsecond together (measured).
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    let Ok(ours) = rustix::fs::fstat(file) else { return true };
    match rustix::fs::stat(path) {
        Ok(there) => (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino),
        Err(error) => !matches!(error, rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR),
    }
}

/// A file that is open cannot be removed or renamed there.
#[cfg(not(unix))]
fn is_at(_file: &File, _path: &Path) -> bool {
    true
}

#[derive(Debug)]
struct RealFile {
    file: File,
    end: u64,
}

impl DiskFile for RealFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        write_all_at(&self.file, self.end, bytes)?;
        self.end += bytes.len() as u64;
        Ok(())
    }

    fn overwrite(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        write_all_at(&self.file, offset, bytes)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match read_some_at(&self.file, offset + filled as u64, &mut buffer[filled..]) {
                Ok(0) => break,
                Ok(bytes) => filled += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn set_len(&mut self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)?;
        self.end = bytes;
        Ok(())
    }

    fn stands_at(&self, path: &Path) -> bool {
        is_at(&self.file, path)
    }
}

#[cfg(unix)]
fn write_all_at(file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

#[cfg(unix)]
fn read_some_at(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, offset)
}

#[cfg(windows)]
fn write_all_at(file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    let mut written = 0;
    while written < bytes.len() {
        match std::os::windows::fs::FileExt::seek_write(file, &bytes[written..], offset + written as u64) {
            Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero)),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(windows)]
fn read_some_at(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buffer, offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_appended_overwritten_cut_and_read() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a/b");
        RealDisk.create_dir_all(&deep).unwrap();
        RealDisk.create_dir_all(&deep).unwrap();
        let path = deep.join("file");
        let mut file = RealDisk.create(&path).unwrap();
        assert_eq!(RealDisk.create(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        file.append(b"hello ").unwrap();
        file.append(b"world").unwrap();
        file.overwrite(0, b"J").unwrap();
        file.sync_data().unwrap();
        assert_eq!(file.len().unwrap(), 11);
        let mut buffer = [0; 32];
        assert_eq!(RealDisk.open_read(&path).unwrap().read_at(0, &mut buffer).unwrap(), 11);
        assert_eq!(&buffer[..11], b"Jello world");
        let mut again = RealDisk.open_append(&path).unwrap();
        again.set_len(6).unwrap();
        again.append(b"you").unwrap();
        assert_eq!(again.read_at(4, &mut buffer).unwrap(), 5);
        assert_eq!(&buffer[..5], b"o you");
        RealDisk.sync_dir(&deep).unwrap();
        RealDisk.rename(&path, &deep.join("other")).unwrap();
        assert_eq!(RealDisk.list(&deep).unwrap(), ["other"]);
        RealDisk.remove(&deep.join("other")).unwrap();
        assert_eq!(RealDisk.list(&deep).unwrap(), Vec::<String>::new());
        assert!(RealDisk.free_bytes(&deep).unwrap() > 0);
    }

    #[test]
    fn a_second_name_is_the_same_file() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (folder.path().join("a"), folder.path().join("b"));
        RealDisk.create(&first).unwrap().append(b"bytes").unwrap();
        RealDisk.hard_link(&first, &second).unwrap();
        assert_eq!(RealDisk.hard_link(&first, &second).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        RealDisk.remove(&first).unwrap();
        assert_eq!(fs::read(&second).unwrap(), b"bytes");
    }

    #[test]
    #[cfg(unix)]
    fn a_file_that_was_removed_renamed_or_replaced_no_longer_stands_there() {
        let folder = tempfile::tempdir().unwrap();
        let (inner, other) = (folder.path().join("inner"), folder.path().join("other"));
        let path = inner.join("file");
        RealDisk.create_dir_all(&inner).unwrap();
        let file = RealDisk.create(&path).unwrap();
        let lock = RealDisk.lock(&inner.join("LOCK")).unwrap().unwrap();
        let check = |expected: bool| {
            assert_eq!((file.stands_at(&path), lock.stands_at(&inner.join("LOCK"))), (expected, expected));
        };
        check(true);
        fs::rename(&inner, &other).unwrap();
        check(false);
        fs::write(&inner, "a file where the folder was").unwrap();
        check(false);
        fs::remove_file(&inner).unwrap();
        fs::create_dir(&inner).unwrap();
        for name in ["file", "LOCK"] {
            fs::copy(other.join(name), inner.join(name)).unwrap();
        }
        check(false);
        fs::remove_dir_all(&inner).unwrap();
        fs::rename(&other, &inner).unwrap();
        check(true);
        fs::remove_dir_all(&inner).unwrap();
        check(false);
    }

    #[test]
    fn a_lock_has_one_holder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("LOCK");
        let lock = RealDisk.lock(&path).unwrap();
        assert!(lock.is_some());
        assert!(RealDisk.lock(&path).unwrap().is_none());
        drop(lock);
        assert!(RealDisk.lock(&path).unwrap().is_some());
    }

    #[cfg(unix)]
    #[test]
    fn files_are_for_the_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("d");
        RealDisk.create_dir_all(&path).unwrap();
        RealDisk.create(&path.join("f")).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o077, 0);
        assert_eq!(fs::metadata(path.join("f")).unwrap().permissions().mode() & 0o077, 0);
    }
}
