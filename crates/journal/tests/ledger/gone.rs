//! The folder goes away under the running journal: nothing is acknowledged into a file that nobody finds again.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use journal::JournalError;
use journal::disk::pretend::PretendDisk;
use journal::disk::{Disk as _, RealDisk};

use super::book::{Entry, FOLDER, Running, fresh, open_on, small, start};

fn running_in(folder: &Path) -> Running {
    let running = start(open_on(Arc::new(RealDisk), folder, small()).unwrap().0, 10);
    running.append(Entry::new(1, 100));
    running.journal.flush().unwrap();
    running
}

/// What stands there from now on is refused, and all that follows; the reason names folder and file.
fn check_ended(running: &Running, file: &str) {
    running.append(Entry::new(2, 100));
    let told = running.journal.flush().unwrap_err();
    assert!(matches!(told, JournalError::Gone { .. }), "{told}");
    assert!(told.to_string().contains(file) && told.to_string().contains("removed"), "{told}");
    assert_eq!(running.durable().len(), 1, "nothing more was acknowledged");
    assert!(!running.append(Entry::new(3, 100)), "once and for all");
    assert!(running.journal.stats().poisoned.unwrap().contains("put the folder back"));
}

#[test]
fn a_folder_that_is_removed_renamed_or_replaced_ends_the_journal() {
    let outer = tempfile::tempdir().unwrap();
    let (folder, other) = (outer.path().join("journal"), outer.path().join("other"));
    let segment = "00000000000000000001";
    type Meddle<'a> = &'a dyn Fn();
    let remove: Meddle<'_> = &|| fs::remove_dir_all(&folder).unwrap();
    let rename: Meddle<'_> = &|| fs::rename(&folder, &other).unwrap();
    let replace: Meddle<'_> = &|| {
        fs::rename(&folder, &other).unwrap();
        fs::create_dir(&folder).unwrap();
        for entry in fs::read_dir(&other).unwrap() {
            let name = entry.unwrap().file_name();
            fs::copy(other.join(&name), folder.join(&name)).unwrap();
        }
    };
    for meddle in [remove, rename, replace] {
        let running = running_in(&folder);
        meddle();
        check_ended(&running, segment);
        drop(running);
        drop(fs::remove_dir_all(&other));
        drop(fs::remove_dir_all(&folder));
    }
}

#[test]
fn no_segment_is_begun_in_a_folder_that_is_not_ours() {
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("journal");
    let running = running_in(&folder);
    (10..14).for_each(|number| assert!(running.append(Entry::new(number, 1000)))); // the next entry begins another segment
    running.journal.flush().unwrap();
    fs::rename(&folder, outer.path().join("other")).unwrap();
    fs::create_dir(&folder).unwrap();
    running.append(Entry::new(2, 100));
    let told = running.journal.flush().unwrap_err().to_string();
    assert!(told.contains("LOCK"), "{told}");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "it stays as it was found");
}

/// The text blamed the folder, which was in its place.
#[test]
fn who_deletes_only_the_lock_is_told_so() {
    let outer = tempfile::tempdir().unwrap();
    let running = running_in(outer.path());
    fs::remove_file(outer.path().join("LOCK")).unwrap();
    running.journal.rotate().unwrap_err();
    let told = running.journal.flush().unwrap_err().to_string();
    assert!(told.contains("LOCK is not there any more: it, or the folder,"), "{told}");
}

/// Both are done by name, and would hit whatever stands there now: another journal's files with the same names.
#[test]
fn in_a_folder_that_is_not_ours_nothing_is_written_or_removed_by_name() {
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("journal");
    let running = running_in(&folder);
    running.journal.check_place().unwrap();
    running.journal.rotate().unwrap();
    fs::rename(&folder, outer.path().join("other")).unwrap();
    fs::create_dir(&folder).unwrap();
    let theirs = folder.join("00000000000000000001.journal");
    fs::write(&theirs, "theirs").unwrap();
    // Nothing was appended since, so that the journal's thread does not know yet.
    let told = running.journal.remove_segments(&[1]).unwrap_err();
    assert!(matches!(told, JournalError::Gone { .. }), "{told}");
    assert_eq!(fs::read_to_string(&theirs).unwrap(), "theirs");
    assert!(matches!(running.journal.check_place(), Err(JournalError::Gone { .. })));
    running.journal.close().unwrap();
    assert!(matches!(running.journal.check_place(), Err(JournalError::Closed)));
}

#[test]
fn a_segment_that_is_removed_on_a_pretended_disk_is_missed_too() {
    let disk = PretendDisk::new();
    let running = fresh(&disk, small());
    running.append(Entry::new(1, 100));
    running.journal.flush().unwrap();
    let newest = disk.paths().into_iter().filter(|path| path.starts_with(FOLDER)).max().unwrap();
    disk.remove(&newest).unwrap();
    check_ended(&running, newest.to_str().unwrap());
}
