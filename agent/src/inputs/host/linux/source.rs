//! Files of procfs and sysfs, kept open and read again from their start into a reused buffer.
//!
//! In: a path. Out: the file's bytes as they are now. A file that is not there is looked for again only every
//! [`ABSENT_ROUNDS`] reads. Small sysfs attributes share a bounded number of open files; past it they are opened for each
//! read.
//!
//! Limits: [`FILE_BYTES_MAX`] a file, unless the caller says otherwise; [`OPEN_ATTRIBUTES_MAX`] attributes open at once;
//! [`ENTRIES_MAX`] names a folder.

use std::ffi::OsString;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

pub(crate) use super::super::failure::Failure;
use super::super::failure::failure;
use super::bytes::trimmed;

/// The most that is read of one file, in bytes.
pub(crate) const FILE_BYTES_MAX: usize = 4 << 20;
/// A file that is not there is looked for again after this many reads.
pub(crate) const ABSENT_ROUNDS: u32 = 8;
/// Attributes of devices kept open by the whole process.
pub(crate) const OPEN_ATTRIBUTES_MAX: usize = 256;
/// Names taken from one folder; the rest is left out.
pub(crate) const ENTRIES_MAX: usize = 4096;

/// Bytes that one read asks for: more than the kernel hands out at once of any file that is read whole.
const CHUNK: usize = 32 << 10;
/// The same for a sysctl: some numbers.
const SETTING_CHUNK: usize = 256;

/// How the kernel writes a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// All at once (`single_open`, sysfs): a read that did not fill the buffer was the last.
    Whole,
    /// A sysctl below /proc/sys: at once, too, into as many bytes as are asked for, which the kernel first takes and clears.
    Setting,
    /// Record by record, each of at most so many bytes: the kernel hands out as many as fit a page, so that a read that left room
    /// for one more was the last. Without this, each file would cost another walk through the kernel's table.
    Records(usize),
}

/// The least that the kernel fills before it hands out records.
const PAGE: usize = 4096;

/// One file, kept open.
pub(crate) struct Source {
    path: PathBuf,
    shape: Shape,
    file: Option<File>,
    look_again_in: u32,
}

impl Source {
    /// A file that is opened when it is first read.
    pub(crate) fn new(path: PathBuf, shape: Shape) -> Self {
        Self { path, shape, file: None, look_again_in: 0 }
    }

    /// The file's bytes as they are now.
    pub(crate) fn read<'b>(&mut self, buffer: &'b mut Vec<u8>) -> Result<&'b [u8], Failure> {
        if self.look_again_in > 0 {
            self.look_again_in -= 1;
            return Err(Failure::Absent);
        }
        let file = match &self.file {
            Some(file) => file,
            None => {
                let opened = File::open(&self.path).map_err(|why| self.absent_or(why))?;
                self.file.insert(opened)
            }
        };
        match read_from_start(file, self.shape, buffer) {
            Ok(length) => Ok(&buffer[..length]),
            Err(why) => {
                self.file = None;
                Err(self.absent_or(why))
            }
        }
    }

    /// Whether the kernel says that an open file which can tell (a mount table) changed since this was asked last.
    pub(crate) fn has_changed(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let Some(file) = &self.file else { return true };
        let mut asked = [PollFd::new(file, PollFlags::PRI)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut asked, Some(&at_once)).is_ok_and(|_| asked[0].revents().contains(PollFlags::PRI))
    }

    /// Says that the file's text is not what it should be.
    pub(crate) fn odd(&self, what: &'static str) -> Failure {
        Failure::Odd { path: self.path.clone(), what }
    }

    fn absent_or(&mut self, why: std::io::Error) -> Failure {
        let failure = failure(&self.path, why);
        if matches!(failure, Failure::Absent) {
            self.look_again_in = ABSENT_ROUNDS;
        }
        failure
    }
}

/// Reads a file from its start; the buffer only grows. Returns the number of bytes, at most [`FILE_BYTES_MAX`].
fn read_from_start(file: &File, shape: Shape, buffer: &mut Vec<u8>) -> std::io::Result<usize> {
    let mut length = 0;
    loop {
        if buffer.len() < length + CHUNK {
            buffer.resize(length + CHUNK, 0);
        }
        let wanted = if shape == Shape::Setting { SETTING_CHUNK } else { buffer.len() - length };
        let got = match file.read_at(&mut buffer[length..length + wanted], length as u64) {
            Err(why) if why.kind() == ErrorKind::Interrupted => continue,
            got => got?,
        };
        length += got;
        let short = match shape {
            Shape::Whole | Shape::Setting => got < wanted,
            Shape::Records(longest) => got + longest <= PAGE,
        };
        let ended = got == 0 || short;
        if ended || length >= FILE_BYTES_MAX {
            return Ok(length.min(FILE_BYTES_MAX));
        }
    }
}

/// Reads a small file once, trimmed; `None` where it cannot be read or is no text.
pub(crate) fn read_text(path: &Path) -> Option<String> {
    let file = File::open(path).ok()?;
    let mut page = [0; 4096];
    let length = file.read_at(&mut page, 0).ok()?;
    if length < page.len() {
        return Some(String::from_utf8_lossy(trimmed(&page[..length])).into_owned());
    }
    let mut buffer = Vec::new();
    let length = read_from_start(&file, Shape::Whole, &mut buffer).ok()?;
    Some(String::from_utf8_lossy(trimmed(&buffer[..length])).into_owned())
}

static OPEN_ATTRIBUTES: AtomicUsize = AtomicUsize::new(0);

/// A small sysfs file of a device: one read, kept open where there is room.
pub(crate) struct Attribute {
    path: PathBuf,
    file: Option<File>,
}

impl Attribute {
    /// Sysfs attributes never hold more than a page.
    const BYTES_MAX: usize = 4096;

    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, file: None }
    }

    /// The attribute's text without the space around it; `None` where the driver has no answer now (a link that is down has no
    /// speed) or the device is gone.
    pub(crate) fn read<'b>(&mut self, buffer: &'b mut Vec<u8>) -> Option<&'b [u8]> {
        if buffer.len() < Self::BYTES_MAX {
            buffer.resize(Self::BYTES_MAX, 0);
        }
        let room = &mut buffer[..Self::BYTES_MAX];
        let length = match &self.file {
            Some(file) => file.read_at(room, 0),
            None => {
                let file = File::open(&self.path).ok()?;
                let length = file.read_at(room, 0);
                self.keep(file);
                length
            }
        };
        match length {
            Ok(length) => Some(trimmed(&buffer[..length])),
            Err(why) if why.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error()) => {
                self.close();
                None
            }
            Err(_) => None,
        }
    }

    fn keep(&mut self, file: File) {
        let taken = OPEN_ATTRIBUTES.fetch_add(1, Ordering::Relaxed);
        if taken < OPEN_ATTRIBUTES_MAX {
            self.file = Some(file);
        } else {
            OPEN_ATTRIBUTES.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn close(&mut self) {
        if self.file.take().is_some() {
            OPEN_ATTRIBUTES.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Attribute {
    fn drop(&mut self) {
        self.close();
    }
}

/// The names in a folder, sorted as numbers within names go (`cpu2` before `cpu10`).
pub(crate) fn names_in(folder: &Path) -> Result<Vec<OsString>, Failure> {
    let entries = std::fs::read_dir(folder).map_err(|why| failure(folder, why))?;
    let mut names: Vec<OsString> =
        entries.filter_map(|entry| Some(entry.ok()?.file_name())).take(ENTRIES_MAX).collect();
    names.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
    Ok(names)
}

/// Counts down to the rounds in which something that seldom changes is looked at again.
pub(crate) struct Seldom {
    every: u32,
    left: u32,
}

impl Seldom {
    /// Due at once, then every `every` rounds.
    pub(crate) const fn new(every: u32) -> Self {
        Self { every, left: 0 }
    }

    /// Whether this is such a round; call it once a round.
    pub(crate) fn due(&mut self) -> bool {
        if self.left == 0 {
            self.left = self.every.saturating_sub(1);
            return true;
        }
        self.left -= 1;
        false
    }

    /// Makes the next round such a round.
    pub(crate) fn hurry(&mut self) {
        self.left = 0;
    }
}

/// Where the kernel's trees are.
#[derive(Clone, Debug)]
pub(crate) struct Paths {
    pub(crate) procfs: PathBuf,
    pub(crate) sysfs: PathBuf,
    pub(crate) rootfs: PathBuf,
    pub(crate) udev: PathBuf,
}

impl Paths {
    /// A file below /proc that is written at once.
    pub(crate) fn proc_whole(&self, path: &str) -> Source {
        Source::new(self.procfs.join(path), Shape::Whole)
    }

    /// A sysctl below /proc/sys.
    pub(crate) fn setting(&self, path: &str) -> Source {
        Source::new(self.procfs.join("sys").join(path), Shape::Setting)
    }

    /// A file below /proc that is written record by record, each of at most `longest` bytes.
    pub(crate) fn proc_records(&self, path: &str, longest: usize) -> Source {
        Source::new(self.procfs.join(path), Shape::Records(longest))
    }

    /// A path below /sys.
    pub(crate) fn sys(&self, path: &str) -> PathBuf {
        self.sysfs.join(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_again_from_its_start_and_an_absent_one_seldom() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stat");
        let mut source = Source::new(path.clone(), Shape::Records(100));
        let mut buffer = Vec::new();
        assert!(matches!(source.read(&mut buffer), Err(Failure::Absent)));
        std::fs::write(&path, "one").unwrap();
        for _ in 0..ABSENT_ROUNDS {
            assert!(matches!(source.read(&mut buffer), Err(Failure::Absent)), "not looked for yet");
        }
        assert_eq!(source.read(&mut buffer).unwrap(), b"one");
        std::fs::write(&path, "second").unwrap();
        assert_eq!(source.read(&mut buffer).unwrap(), b"second");
    }

    #[test]
    fn long_files_are_read_whole_and_endless_ones_are_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("long");
        std::fs::write(&path, vec![b'x'; FILE_BYTES_MAX + 5]).unwrap();
        let mut buffer = Vec::new();
        for shape in [Shape::Whole, Shape::Setting, Shape::Records(100), Shape::Records(PAGE)] {
            let length = Source::new(path.clone(), shape).read(&mut buffer).unwrap().len();
            assert_eq!(length, FILE_BYTES_MAX);
        }
    }

    #[test]
    fn names_sort_as_people_count() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["cpu10", "cpu2", "cpu1"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        assert_eq!(names_in(folder.path()).unwrap(), ["cpu1", "cpu2", "cpu10"]);
        assert!(matches!(names_in(&folder.path().join("no")), Err(Failure::Absent)));
    }

    #[test]
    fn seldom_is_due_at_once_and_then_seldom() {
        let mut seldom = Seldom::new(3);
        let due: Vec<bool> = (0..7).map(|_| seldom.due()).collect();
        assert_eq!(due, [true, false, false, true, false, false, true]);
        seldom.hurry();
        assert!(seldom.due());
    }
}
