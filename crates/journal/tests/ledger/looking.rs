//! Looking at a journal that somebody else has open: nothing is locked, changed or missed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use journal::disk::Disk;
use journal::disk::pretend::PretendDisk;
use journal::{Inspected, JournalError, Position};

use super::book::{Entry, FOLDER, Running, check_record, fresh, open, small, start};

fn path(segment: u64) -> PathBuf {
    Path::new(FOLDER).join(format!("{segment:020}.journal"))
}

fn look(disk: &PretendDisk, visit: &mut dyn FnMut(Position)) -> (Vec<(Position, u64)>, Inspected) {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let mut entries = Vec::new();
    let mut defined = (0, BTreeSet::new());
    let found = journal::inspect(&disk, Path::new(FOLDER), small().record_bytes_max, &mut |record| {
        if defined.0 != record.at.segment {
            defined = (record.at.segment, BTreeSet::new());
        }
        if let Some(entry) = check_record(&record, &mut defined.1) {
            entries.push((record.at, entry.number));
        }
        visit(record.at);
        Ok(())
    });
    (entries, found.expect("looking never fails on whole disks"))
}

fn filled(segments: u64) -> (PretendDisk, Running) {
    let disk = PretendDisk::new();
    let running = fresh(&disk, small());
    for number in 0..segments * 6 {
        if number % 6 == 0 && number > 0 {
            running.journal.rotate().unwrap();
        }
        running.append(Entry::new(number, 40));
        running.journal.flush().unwrap();
    }
    (disk, running)
}

#[test]
fn a_running_journal_is_read_whole_and_left_alone() {
    let (disk, running) = filled(3);
    let before: Vec<_> = disk.paths().into_iter().map(|path| (disk.get(&path), path)).collect();
    let traced = disk.trace().len();
    let (entries, found) = look(&disk, &mut |_| ());
    assert_eq!(entries, running.durable());
    assert_eq!((found.vanished.len(), found.report.damage.len(), found.report.torn_bytes), (0, 0, 0));
    let segments = running.journal.segments();
    let shape = |segments: &[journal::SegmentInfo]| {
        segments.iter().map(|s| (s.number, s.mark, s.bytes, s.entries)).collect::<Vec<_>>()
    };
    assert_eq!(shape(&found.segments), shape(&segments));
    let harmless = ["list", "open_read", "len", "read_at"];
    for line in &disk.trace()[traced..] {
        assert!(harmless.contains(&line.split(' ').next().unwrap()), "{line}");
    }
    let after: Vec<_> = disk.paths().into_iter().map(|path| (disk.get(&path), path)).collect();
    assert_eq!(before, after);
    assert!(running.append(Entry::new(99, 1)) && running.journal.flush().is_ok());
}

#[test]
fn a_tail_that_is_being_written_is_no_damage_and_looking_finds_what_an_opening_finds() {
    let (disk, running) = filled(2);
    running.journal.close().unwrap();
    let whole = disk.get(&path(2)).unwrap();
    for length in (0..whole.len()).step_by(7).chain([whole.len() - 1]) {
        disk.put(&path(2), &whole[..length]);
        let (entries, found) = look(&disk, &mut |_| ());
        assert_eq!(disk.get(&path(2)).unwrap().len(), length, "nothing is cut");
        let (opened, then) = open(&disk, small()).unwrap();
        let then_entries: Vec<_> = then.entries.iter().map(|(at, entry)| (*at, entry.number)).collect();
        assert_eq!(entries, then_entries, "{length} bytes");
        assert_eq!(found.report.damage, then.report.damage, "{length} bytes");
        assert_eq!(found.report.torn_bytes, then.report.torn_bytes, "{length} bytes");
        drop(opened);
    }
}

#[test]
fn segments_that_go_while_it_looks_are_named_and_the_rest_is_read() {
    let (disk, running) = filled(4);
    let (entries, found) = look(&disk, &mut |at| {
        if at.segment == 1 {
            running.journal.remove_segments(&[2]).unwrap();
        }
    });
    assert_eq!(found.vanished, [2]);
    let expected: Vec<_> = running.durable().into_iter().filter(|(at, _)| at.segment != 2).collect();
    assert_eq!(entries, expected);
    assert!(found.report.damage.is_empty());
}

#[test]
fn a_folder_that_is_not_there_is_an_error_and_is_not_made() {
    let disk = PretendDisk::new();
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let missing = journal::inspect(&shared, Path::new("/nowhere"), 2048, &mut |_| Ok(()));
    assert!(matches!(missing, Err(JournalError::Io { what: "list", .. })), "{missing:?}");
    assert!(disk.paths().is_empty());
    let (disk, running) = filled(1);
    drop(running);
    start(open(&disk, small()).unwrap().0, 0);
}
