//! The disk as the journal needs it: few operations, each of which a test can make fail.
//!
//! [`RealDisk`] is the operating system. With the feature `pretend` there is also [`pretend::PretendDisk`], which keeps
//! files in memory, forgets at a crash what was not synced, and fails at any operation that a test names.
//!
//! No memory maps: data is read by pread, so that a bad sector is an error and not a signal.

use std::fmt;
use std::io;
use std::path::Path;

#[cfg(any(test, feature = "pretend"))]
pub mod pretend;
mod real;

pub use real::RealDisk;

/// A file system. Paths are whole paths; names within a folder are UTF-8.
pub trait Disk: fmt::Debug + Send + Sync {
    /// Makes the folder and those above it, lastingly; nothing happens if it is there. On Unix new folders are for the owner
    /// only.
    ///
    /// # Errors
    /// As the operating system answers.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;

    /// The names of the files and folders in a folder, sorted; those that are not UTF-8 are left out.
    ///
    /// # Errors
    /// As the operating system answers.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;

    /// Makes a new file, open to read and write, for the owner only.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] if the name is taken; else as the operating system answers.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Opens a file that exists, to read and to write; appends go behind its present end.
    ///
    /// # Errors
    /// As the operating system answers.
    fn open_append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Opens a file that exists, to read.
    ///
    /// # Errors
    /// As the operating system answers.
    fn open_read(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Gives a file or folder another name in the same folder, replacing what bears it: a file, or an empty folder. Lasting only after
    /// `sync_dir`.
    ///
    /// # Errors
    /// As the operating system answers.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives a file a second name, perhaps in another folder: both then are the same file, and its bytes stay until the last name
    /// is removed. Lasting only after `sync_dir` of the new name's folder.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] if the name is taken; one that [`cannot_link`] knows where the file system has no such names,
    /// and then the caller may copy ([`crate::files::copy`]); else as the operating system answers.
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file. Lasting only after `sync_dir`.
    ///
    /// # Errors
    /// As the operating system answers.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the folder's entries lasting: files created, renamed and removed in it.
    ///
    /// # Errors
    /// As the operating system answers.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Bytes that an ordinary user may still write to the file system that holds `path`.
    ///
    /// # Errors
    /// As the operating system answers.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;

    /// Takes the lock file `path` for as long as the answer is kept; `None` if another holder has it.
    ///
    /// # Errors
    /// As the operating system answers.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn DiskLock>>>;
}

/// A lock on a folder, given up when dropped (and by the operating system when the process ends).
pub trait DiskLock: fmt::Debug + Send + Sync {
    /// Whether `path` still names the file that is locked (see [`DiskFile::stands_at`]).
    fn stands_at(&self, path: &Path) -> bool;
}

/// An open file.
#[allow(clippy::len_without_is_empty)] // a file's length is asked for, its emptiness never
pub trait DiskFile: fmt::Debug + Send + Sync {
    /// Writes all bytes behind the end. After an error, any part of them may have been written.
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`] or [`io::ErrorKind::QuotaExceeded`] for lack of space; else as the operating system
    /// answers.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Writes over bytes that are within the file.
    ///
    /// # Errors
    /// As for `append`.
    fn overwrite(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes the file's bytes and length lasting (fdatasync). After an error nothing is known about what was written since
    /// the last success, and a second call proves nothing.
    ///
    /// # Errors
    /// As the operating system answers.
    fn sync_data(&mut self) -> io::Result<()>;

    /// Reads into `buffer` from `offset` until it is full or the file ends; answers how much was read.
    ///
    /// # Errors
    /// As the operating system answers.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Fills `buffer` from `offset`, for who knows that the file reaches so far: an end before that is the disk's fault, and nothing
    /// about the file may be concluded from it.
    ///
    /// # Errors
    /// As the operating system answers; [`io::ErrorKind::UnexpectedEof`] where the file ends before.
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        if self.read_at(offset, buffer)? == buffer.len() {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the disk answered less than the file holds"))
    }

    /// The file's present length in bytes.
    ///
    /// # Errors
    /// As the operating system answers.
    fn len(&self) -> io::Result<u64>;

    /// Cuts the file (or lengthens it with zeros); appends go behind the new end.
    ///
    /// # Errors
    /// As the operating system answers.
    fn set_len(&mut self, bytes: u64) -> io::Result<()>;

    /// Whether `path` still names this very file. False only where it surely does not: the file or a folder above it was
    /// removed, renamed or replaced. What is written then, however well synced, nobody finds again.
    fn stands_at(&self, path: &Path) -> bool;
}

/// Whether an error of [`Disk::hard_link`] means that these two folders cannot share a file: they lie on two file systems, or theirs
/// has no second names (FAT, some network and overlay file systems).
pub fn cannot_link(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::CrossesDevices
            | io::ErrorKind::Unsupported
            | io::ErrorKind::TooManyLinks
            | io::ErrorKind::PermissionDenied
    )
}

/// Whether an error means "no space left".
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
