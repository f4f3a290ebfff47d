//! Files that are made whole: small ones that are replaced, so that a reader or a crash finds the old bytes or the new ones and no
//! mixture, and copies of large ones.

use std::io;
use std::path::{Path, PathBuf};

use crate::disk::{Disk, DiskFile};

/// What unfinished replacements end in. A folder's owner removes such files when it starts.
pub const TEMPORARY_SUFFIX: &str = ".tmp";

/// Replaces (or makes) a file: temporary file beside it, fsync, rename, fsync of the folder.
///
/// One caller at a time per path. After an error the old file is whole, unless the very last fsync failed: then either may
/// be found after a power cut.
///
/// # Errors
/// As the operating system answers; [`crate::disk::is_full`] tells a full disk.
pub fn replace(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let temporary = temporary_path(path);
    match disk.remove(&temporary) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let written = disk.create(&temporary).and_then(|mut file| write_synced(file.as_mut(), bytes));
    if let Err(error) = written.and_then(|()| disk.rename(&temporary, path)) {
        // On a full disk the bytes it holds are wanted back; if even this fails, the next call removes it.
        let _ = disk.remove(&temporary);
        return Err(error);
    }
    disk.sync_dir(folder)
}

/// Reads a whole small file; `None` if there is none.
///
/// # Errors
/// [`io::ErrorKind::FileTooLarge`] over `bytes_max`; else as the operating system answers.
pub fn read(disk: &dyn Disk, path: &Path, bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
    let file = match disk.open_read(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let length = file.len()?;
    if length > bytes_max as u64 {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("{length} bytes are more than the {bytes_max} expected"),
        ));
    }
    let mut bytes = vec![0; length as usize];
    file.read_exact_at(0, &mut bytes)?;
    Ok(Some(bytes))
}

/// Bytes that are copied at a time.
const COPY_BYTES: usize = 256 << 10;

/// Copies the first `length` bytes of a file: temporary file beside the new one, fsync, rename (which replaces what bears the name).
/// The name is lasting only after `sync_dir` of its folder: a caller with many files syncs once. Answers the bytes copied: fewer
/// where the file is shorter.
///
/// # Errors
/// As the operating system answers, for either file; the temporary one is gone then, if it could be removed.
pub fn copy(disk: &dyn Disk, from: &Path, to: &Path, length: u64) -> io::Result<u64> {
    let source = disk.open_read(from)?;
    let temporary = temporary_path(to);
    match disk.remove(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let copied = copy_bytes(disk, source.as_ref(), &temporary, length);
    let copied = copied.and_then(|bytes| disk.rename(&temporary, to).map(|()| bytes));
    if copied.is_err() {
        let _ = disk.remove(&temporary);
    }
    copied
}

fn copy_bytes(disk: &dyn Disk, source: &dyn DiskFile, to: &Path, length: u64) -> io::Result<u64> {
    let mut target = disk.create(to)?;
    let mut chunk = vec![0; COPY_BYTES];
    let mut offset = 0;
    while offset < length {
        let wanted = usize::try_from(length - offset).map_or(COPY_BYTES, |left| left.min(COPY_BYTES));
        let filled = source.read_at(offset, &mut chunk[..wanted])?;
        if filled == 0 {
            break;
        }
        target.append(&chunk[..filled])?;
        offset += filled as u64;
    }
    target.sync_data().map(|()| offset)
}

fn temporary_path(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(TEMPORARY_SUFFIX);
    path.with_file_name(name)
}

fn write_synced(file: &mut dyn DiskFile, bytes: &[u8]) -> io::Result<()> {
    file.append(bytes)?;
    file.sync_data()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::pretend::{Fault, PretendDisk};

    #[test]
    fn a_copy_is_whole_or_not_there_wherever_it_fails() {
        let bytes: Vec<u8> = (0..700_000_u32).map(|at| at as u8).collect();
        let (from, to) = (Path::new("/a/from"), Path::new("/b/to"));
        let prepared = || {
            let disk = PretendDisk::new();
            disk.create_dir_all(Path::new("/b")).unwrap();
            disk.put(from, &bytes);
            disk
        };
        let disk = prepared();
        assert_eq!(copy(&disk, from, to, u64::MAX).unwrap(), 700_000);
        assert_eq!(disk.get(to).unwrap(), bytes);
        assert_eq!(copy(&disk, from, to, 300_000).unwrap(), 300_000, "another copy takes its place");
        assert_eq!(disk.get(to).unwrap(), bytes[..300_000]);
        for operation in 0.. {
            let disk = prepared();
            let first = disk.operations();
            disk.fail_at(first + operation, Fault::ShortIo);
            let result = copy(&disk, from, to, u64::MAX);
            if disk.faults_fired() == 0 {
                assert!(result.is_ok() && operation > 6, "every operation was tried");
                break;
            }
            assert_eq!(result.is_ok(), disk.get(to).is_some(), "operation {operation}");
        }
    }
}
