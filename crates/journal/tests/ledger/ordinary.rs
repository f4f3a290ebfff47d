//! The ordinary life of a journal.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use journal::cursor::{self, Cursor};
use journal::disk::pretend::PretendDisk;
use journal::disk::{Disk, RealDisk};
use journal::{Journal, JournalError, Options, Position, Recorder, SyncPolicy};

use super::book::{BookKeeper, Entry, FOLDER, fresh, open, open_on, small, start};

#[test]
fn entries_come_back_in_order_on_a_real_disk() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("deep/journal");
    let (opened, found) = open_on(Arc::new(RealDisk), &folder, small()).unwrap();
    assert!(found.entries.is_empty());
    let running = start(opened, 100);
    for number in 0..500 {
        assert!(running.append(Entry::new(number, (number % 700) as usize)));
    }
    running.journal.flush().unwrap();
    let durable = running.durable();
    assert_eq!(durable.len(), 500);
    assert!(durable.is_sorted());
    for (at, number) in &durable {
        let payload = running.journal.read(*at).unwrap();
        assert_eq!(payload[..8], number.to_le_bytes());
        assert_eq!(payload.len() as u64, 10 + number % 700);
    }
    assert!(running.journal.segments().len() > 30);
    running.journal.close().unwrap();
    assert!(!running.append(Entry::new(1000, 1)), "a closed journal takes nothing");

    let (opened, found) = open_on(Arc::new(RealDisk), &folder, small()).unwrap();
    assert_eq!(found.entries.iter().map(|(at, entry)| (*at, entry.number)).collect::<Vec<_>>(), durable);
    assert_eq!(found.report.damage, []);
    assert_eq!(found.report.torn_bytes, 0);
    assert!(matches!(open_on(Arc::new(RealDisk), &folder, small()), Err(JournalError::Locked { .. })));
    drop(opened);
    open_on(Arc::new(RealDisk), &folder, small()).unwrap();
}

#[test]
fn a_group_costs_one_write_and_one_sync_before_the_report() {
    let disk = PretendDisk::new();
    let running = fresh(&disk, small());
    running.append(Entry::new(0, 100));
    running.journal.flush().unwrap();
    let before = disk.trace().len();
    for number in 1..4 {
        running.append(Entry::new(number, 100));
        running.journal.flush().unwrap();
    }
    let verbs: Vec<String> =
        disk.trace()[before..].iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(verbs, ["append", "sync_data"].repeat(3));
    let stats = running.journal.stats();
    assert_eq!((stats.records, stats.groups, stats.queue_entries, stats.queue_bytes), (4, 4, 0, 0));
}

#[test]
fn a_new_segment_is_lasting_before_its_first_record() {
    let disk = PretendDisk::new();
    let running = fresh(&disk, small());
    let before = disk.trace().len();
    running.append(Entry::new(0, 1));
    running.journal.flush().unwrap();
    let verbs: Vec<String> =
        disk.trace()[before..].iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(verbs, ["create", "append", "sync_data", "sync_dir", "append", "sync_data"]);
}

#[test]
fn the_policy_every_reports_before_the_sync() {
    let disk = PretendDisk::new();
    let options = Options { sync: SyncPolicy::Every(Duration::from_secs(3600)), ..small() };
    let running = fresh(&disk, options.clone());
    running.append(Entry::new(0, 1));
    running.journal.flush().unwrap();
    running.append(Entry::new(1, 1));
    while running.durable().len() < 2 {
        std::thread::yield_now();
    }
    let syncs = disk.trace().iter().filter(|line| line.starts_with("sync_data")).count();
    assert_eq!(syncs, 2, "one for the header, one for the flush");
    let clone = disk.clone();
    clone.crash();
    assert_eq!(open(&disk, options).unwrap().1.numbers(), [0], "a power cut costs what was not synced");
    drop(running);
}

#[test]
fn the_policy_every_syncs_by_itself() {
    let disk = PretendDisk::new();
    let options = Options { sync: SyncPolicy::Every(Duration::ZERO), ..small() };
    let running = fresh(&disk, options);
    running.append(Entry::new(0, 1));
    let synced = || disk.trace().iter().filter(|line| line.starts_with("sync_data")).count() >= 2;
    while !synced() {
        std::thread::yield_now();
    }
}

#[test]
fn a_process_that_was_killed_loses_nothing_that_was_written() {
    let disk = PretendDisk::new();
    let options = Options { sync: SyncPolicy::Every(Duration::from_secs(3600)), ..small() };
    let running = fresh(&disk, options.clone());
    for number in 0..20 {
        running.append(Entry::new(number, 300));
    }
    while running.durable().len() < 20 {
        std::thread::yield_now();
    }
    disk.kill();
    let (opened, found) = open(&disk, options.clone()).unwrap();
    assert_eq!(found.numbers(), (0..20).collect::<Vec<_>>());
    drop(opened);
    // What a recovery has shown is lasting: the caller may have acted on it.
    disk.crash();
    assert_eq!(open(&disk, options).unwrap().1.numbers(), (0..20).collect::<Vec<_>>());
}

#[test]
fn segments_are_removed_but_never_the_newest() {
    let disk = PretendDisk::new();
    let running = fresh(&disk, small());
    for number in 0..40 {
        running.append(Entry::new(number, 500));
    }
    running.journal.flush().unwrap();
    let infos = running.journal.segments();
    let newest = infos.last().unwrap();
    assert!(!newest.removable && !newest.sealed && infos[0].removable && infos[0].sealed);
    assert_eq!(infos.iter().map(|info| info.entries).sum::<u64>(), 40);
    let numbers: Vec<u64> = infos.iter().map(|info| info.number).collect();
    let refused = running.journal.remove_segments(&numbers);
    assert!(matches!(refused, Err(JournalError::SegmentInUse { segment }) if segment == newest.number));
    assert_eq!(running.journal.segments(), infos, "nothing was removed");
    let freed = running.journal.remove_segments(&[numbers[2], numbers[0], 77]).unwrap();
    assert_eq!(freed, infos[0].bytes + infos[2].bytes);
    assert_eq!(running.journal.remove_segments(&[numbers[0]]).unwrap(), 0);
    let gone = running.durable()[0].0;
    assert!(matches!(running.journal.read(gone), Err(JournalError::NoRecord { .. })));
    disk.crash();
    let (opened, found) = open(&disk, small()).unwrap();
    assert!(found.entries.keys().all(|at| at.segment != numbers[0] && at.segment != numbers[2]));
    assert_eq!(found.report.damage, []);
    assert_eq!(opened.segments().len(), infos.len() - 2);
}

#[test]
fn segment_numbers_are_never_used_again() {
    let disk = PretendDisk::new();
    let mut newest = 0;
    for round in 0..5 {
        let running = fresh(&disk, small());
        running.append(Entry::new(round, 10));
        running.journal.flush().unwrap();
        let numbers: Vec<u64> = running.journal.segments().iter().map(|info| info.number).collect();
        assert!(*numbers.last().unwrap() > newest);
        newest = *numbers.last().unwrap();
        running.journal.remove_segments(&numbers[..numbers.len() - 1]).unwrap();
        running.journal.close().unwrap();
    }
}

#[test]
fn a_start_without_entries_makes_no_segment() {
    let disk = PretendDisk::new();
    for _ in 0..3 {
        fresh(&disk, small()).journal.close().unwrap();
    }
    assert_eq!(disk.paths(), Vec::<PathBuf>::new(), "a lock is no file here");
}

#[test]
fn a_rotation_begins_a_segment_with_its_preamble() {
    let disk = PretendDisk::new();
    let running = fresh(&disk, small());
    running.append(Entry::new(0, 10));
    let number = running.journal.rotate().unwrap();
    let infos = running.journal.segments();
    assert_eq!(
        infos.iter().map(|info| (info.number, info.sealed)).collect::<Vec<_>>(),
        [(1, true), (2, false)]
    );
    assert_eq!(number, 2);
    running.journal.remove_segments(&[1]).unwrap();
    disk.crash();
    let mut preambles = 0;
    let visit = &mut |record: journal::Record<'_>| {
        assert_eq!(record.kind, journal::RecordKind::Preamble);
        preambles += 1;
        Ok(())
    };
    journal::open(Arc::new(disk), Path::new(FOLDER), small(), visit).unwrap();
    assert_eq!(preambles, 1);
}

#[test]
fn a_reader_follows_the_journal_through_its_segments() {
    let disk = PretendDisk::new();
    let running = fresh(&disk, small());
    let mut reader = running.journal.reader(Position::default());
    assert_eq!(reader.next().unwrap(), None);
    let mut read = Vec::new();
    for round in 0..30 {
        for number in round * 3..round * 3 + 3 {
            running.append(Entry::new(number, 400));
        }
        running.journal.flush().unwrap();
        while let Some(record) = reader.next().unwrap() {
            if record.kind == journal::RecordKind::Entry {
                read.push((record.at, u64::from_le_bytes(record.payload[..8].try_into().unwrap())));
            }
        }
    }
    assert_eq!(read, running.durable());
    // From a position in the middle, from a segment's beginning, and over segments that are gone.
    let mut reader = running.journal.reader(read[40].0);
    assert_eq!(reader.next().unwrap().unwrap().at, read[40].0);
    let numbers: Vec<u64> = running.journal.segments().iter().map(|info| info.number).collect();
    running.journal.remove_segments(&numbers[..5]).unwrap();
    let mut reader = running.journal.reader(Position { segment: 2, offset: 0 });
    assert_eq!(reader.next().unwrap().unwrap().at, Position { segment: numbers[5], offset: 48 });
    assert!(reader.position() > Position { segment: numbers[5], offset: 48 });
}

#[test]
fn a_reader_passes_over_a_segment_that_goes_while_it_is_read() {
    let disk = PretendDisk::new();
    let running = fresh(&disk, small());
    for number in 0..40 {
        running.append(Entry::new(number, 400));
    }
    running.journal.flush().unwrap();
    let mut reader = running.journal.reader(Position::default());
    reader.next().unwrap().unwrap();
    running.journal.remove_segments(&[1, 2]).unwrap();
    assert_eq!(reader.next().unwrap().unwrap().at.segment, 3);
}

#[test]
fn a_reader_keeps_up_with_a_writer_on_a_real_disk() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { segment_bytes: 64 << 10, ..small() };
    let (opened, _) = open_on(Arc::new(RealDisk), folder.path(), options).unwrap();
    let running = start(opened, 7);
    let mut reader = running.journal.reader(Position::default());
    let reading = std::thread::spawn(move || {
        let mut defined = std::collections::BTreeSet::new();
        let mut next = 0;
        while next < 3000 {
            let Some(record) = reader.next().unwrap() else {
                std::thread::yield_now();
                continue;
            };
            if let Some(entry) = super::book::check_record(&record, &mut defined) {
                assert_eq!(entry.number, next);
                next += 1;
            }
        }
    });
    for number in 0..3000 {
        assert!(running.append(Entry::new(number, (number * 37 % 900) as usize)));
    }
    reading.join().unwrap();
    assert!(running.journal.segments().len() > 10);
}

#[test]
fn the_queue_is_bounded_in_bytes() {
    /// Holds the journal's thread until the test lets it go.
    struct Gate(Arc<Mutex<()>>);
    impl Recorder for Gate {
        type Entry = u32;
        fn begin_segment(&mut self, _: &mut Vec<u8>) {}
        fn encode(&mut self, entry: &u32, payload: &mut Vec<u8>) {
            drop(self.0.lock().unwrap());
            payload.extend_from_slice(&entry.to_le_bytes());
        }
        fn durable(&mut self, _: Position, _: u32) {}
        fn refused(&mut self, _: u32, why: &JournalError) {
            panic!("{why}");
        }
    }
    let gate = Arc::new(Mutex::new(()));
    let options = Options { queue_bytes_max: 1000, ..Options::default() };
    let disk = Arc::new(PretendDisk::new());
    let (opened, _) = journal::open(disk, Path::new(FOLDER), options, &mut |_| Ok(())).unwrap();
    let journal = opened.start(Gate(Arc::clone(&gate))).unwrap();
    let held = gate.lock().unwrap();
    journal.append(1, 5000).expect("one entry is taken whatever its size");
    let (entry, why) = journal.append(2, 1).unwrap_err();
    assert_eq!(entry, 2);
    assert!(matches!(why, JournalError::QueueFull { waiting_bytes: 5000, max_bytes: 1000 }));
    drop(held);
    journal.flush().unwrap();
    let held = gate.lock().unwrap();
    for entry in 0..10 {
        journal.append(entry, 100).unwrap();
    }
    assert!(journal.append(11, 1).is_err());
    assert_eq!(journal.stats().queue_full, 2);
    drop(held);
    journal.flush().unwrap();
    assert_eq!(journal.stats().queue_bytes, 0);
}

#[test]
fn a_record_that_is_too_large_is_refused_alone() {
    let disk = PretendDisk::new();
    let running = fresh(&disk, small());
    running.append(Entry::new(1, 100));
    assert!(!running.append(Entry::new(2, 5000)), "by its hint");
    running.journal.append(Entry::new(3, 5000), 0).unwrap(); // a hint that is wrong
    running.append(Entry::new(6, 100)); // refers to the name that 3 would have defined
    running.journal.flush().unwrap();
    assert_eq!(running.refused(), [3]);
    for round in 4..40 {
        running.append(Entry::new(round * 10 + 1, 10));
        running.journal.append(Entry::new(round * 10 + 2, 5000), 0).unwrap();
        running.append(Entry::new(round * 10 + 3, 10));
    }
    running.journal.close().unwrap();
    let expected: Vec<u64> =
        [1, 6].into_iter().chain((4..40).flat_map(|round| [round * 10 + 1, round * 10 + 3])).collect();
    assert_eq!(open(&disk, small()).unwrap().1.numbers(), expected);
}

#[test]
fn a_recorder_that_panics_leaves_nobody_waiting() {
    struct Clumsy;
    impl Recorder for Clumsy {
        type Entry = ();
        fn begin_segment(&mut self, _: &mut Vec<u8>) {}
        fn encode(&mut self, (): &(), _: &mut Vec<u8>) {
            panic!("a clumsy recorder (this test wants it)");
        }
        fn durable(&mut self, _: Position, (): ()) {}
        fn refused(&mut self, (): (), _: &JournalError) {}
    }
    let disk = Arc::new(PretendDisk::new());
    let (opened, _) = journal::open(disk, Path::new(FOLDER), small(), &mut |_| Ok(())).unwrap();
    let journal = opened.start(Clumsy).unwrap();
    journal.append((), 1).unwrap();
    assert!(matches!(journal.flush(), Err(JournalError::Poisoned { .. })));
    assert!(matches!(journal.append((), 1), Err(((), JournalError::Poisoned { .. }))));
    assert!(journal.stats().poisoned.unwrap().contains("panicked"));
    assert!(journal.close().is_err());
}

#[test]
fn the_last_handle_may_go_within_the_recorder() {
    struct Holder(Option<Arc<Mutex<Option<Journal<Holder>>>>>, std::sync::mpsc::Sender<()>);
    impl Recorder for Holder {
        type Entry = ();
        fn begin_segment(&mut self, _: &mut Vec<u8>) {}
        fn encode(&mut self, (): &(), payload: &mut Vec<u8>) {
            payload.push(1);
        }
        fn durable(&mut self, _: Position, (): ()) {
            drop(self.0.take().unwrap().lock().unwrap().take());
        }
        fn refused(&mut self, (): (), _: &JournalError) {}
    }
    impl Drop for Holder {
        fn drop(&mut self) {
            self.1.send(()).unwrap();
        }
    }
    let disk = PretendDisk::new();
    let (opened, _) = journal::open(Arc::new(disk), Path::new(FOLDER), small(), &mut |_| Ok(())).unwrap();
    let cell = Arc::new(Mutex::new(None));
    let (sender, ended) = std::sync::mpsc::channel();
    let journal = opened.start(Holder(Some(Arc::clone(&cell)), sender)).unwrap();
    let mut slot = cell.lock().unwrap();
    journal.append((), 1).unwrap();
    *slot = Some(journal);
    drop(slot);
    ended.recv().expect("the thread ended and dropped its recorder");
}

#[test]
fn the_visitor_may_stop_the_opening() {
    let disk = PretendDisk::new();
    let running = fresh(&disk, small());
    running.append(Entry::new(1, 100));
    running.journal.close().unwrap();
    let result =
        journal::open(Arc::new(disk.clone()), Path::new(FOLDER), small(), &mut |_| Err("not mine".into()));
    assert!(matches!(result, Err(JournalError::Visitor { at: Position { segment: 1, offset: 48 }, .. })));
    assert_eq!(open(&disk, small()).unwrap().1.numbers(), [1], "the lock was given back");
}

#[test]
fn a_full_disk_gives_entries_back_and_goes_on_when_there_is_room() {
    let disk = PretendDisk::new();
    let running = fresh(&disk, small());
    running.append(Entry::new(0, 100));
    running.journal.flush().unwrap();
    disk.set_capacity(Some(disk.used_bytes() + 100));
    running.append(Entry::new(1, 50));
    running.journal.flush().unwrap();
    running.append(Entry::new(2, 500));
    assert!(matches!(running.journal.flush(), Err(JournalError::Full { .. })));
    assert!(running.journal.stats().full);
    disk.crash_partly(1);
    assert_eq!(disk.used_bytes(), disk.paths().iter().map(|path| disk.get(path).unwrap().len() as u64).sum());
    let (opened, found) = open(&disk, small()).unwrap();
    assert_eq!(found.numbers(), [0, 1]);
    assert_eq!(found.report.torn_bytes, 0, "it was cut back before it was given back");
    drop(opened);

    let running = fresh(&disk, small());
    running.append(Entry::new(3, 500));
    assert!(running.journal.flush().is_err());
    assert_eq!(running.refused(), [3]);
    disk.set_capacity(None);
    running.append(Entry::new(4, 500));
    running.journal.flush().unwrap();
    assert!(!running.journal.stats().full);
    assert_eq!(running.journal.stats().refused_full, 1);
    running.journal.close().unwrap();
    assert_eq!(open(&disk, small()).unwrap().1.numbers(), [0, 1, 4]);
}

#[test]
fn the_reserve_stays_free_but_for_a_rotation() {
    let disk = PretendDisk::new();
    let options = Options { reserve_bytes: 1000, ..small() };
    let running = fresh(&disk, options);
    running.append(Entry::new(0, 100));
    running.journal.flush().unwrap();
    disk.set_capacity(Some(disk.used_bytes() + 1100));
    let before = disk.used_bytes();
    running.append(Entry::new(1, 500));
    assert!(matches!(running.journal.flush(), Err(JournalError::Full { .. })));
    assert_eq!(disk.used_bytes(), before);
    running.append(Entry::new(3, 5));
    running.journal.flush().unwrap();
    disk.set_capacity(Some(disk.used_bytes() + 500));
    assert_eq!(running.journal.rotate().unwrap(), 2, "who rotates means to free space");
    assert!(running.journal.remove_segments(&[1]).unwrap() > 0);
    running.append(Entry::new(4, 5));
    assert!(running.journal.flush().is_err());
}

#[test]
fn a_failed_sync_poisons_for_good() {
    let disk = PretendDisk::new();
    let running = fresh(&disk, small());
    running.append(Entry::new(0, 100));
    running.journal.flush().unwrap();
    disk.fail_at(disk.operations() + 1, journal::disk::pretend::Fault::Io);
    running.append(Entry::new(1, 100));
    assert!(matches!(running.journal.flush(), Err(JournalError::Poisoned { .. })));
    assert_eq!(running.refused(), [1]);
    let operations = disk.operations();
    assert!(!running.append(Entry::new(2, 100)));
    assert!(running.journal.rotate().is_err());
    assert!(running.journal.close().is_err());
    assert_eq!(disk.operations(), operations, "nothing is tried again");
    let text = running.journal.stats().poisoned.unwrap();
    assert!(text.contains("cannot sync /var/journal/00000000000000000001.journal"), "{text}");
}

#[test]
fn cursors_survive_and_are_checked() {
    let disk = PretendDisk::new();
    let folder = Path::new(FOLDER);
    disk.create_dir_all(folder).unwrap();
    assert_eq!(cursor::load(&disk, folder, "uplink").unwrap(), None);
    let first = Cursor { at: Position { segment: 3, offset: 48 }, note: b"acknowledged 17".to_vec() };
    cursor::store(&disk, folder, "uplink", &first).unwrap();
    disk.crash();
    assert_eq!(cursor::load(&disk, folder, "uplink").unwrap(), Some(first.clone()));
    let path = folder.join("uplink.cursor");
    let whole = disk.get(&path).unwrap();
    for bit in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        disk.put(&path, &bytes);
        assert!(matches!(cursor::load(&disk, folder, "uplink"), Err(JournalError::Damaged { .. })));
    }
    for length in 0..whole.len() {
        disk.put(&path, &whole[..length]);
        assert!(matches!(cursor::load(&disk, folder, "uplink"), Err(JournalError::Damaged { .. })));
    }
    let big = Cursor { note: vec![0; cursor::NOTE_BYTES_MAX + 1], ..first };
    assert!(matches!(cursor::store(&disk, folder, "x", &big), Err(JournalError::RecordTooLarge { .. })));
}

#[test]
fn a_cursor_is_the_old_one_or_the_new_one_whatever_fails() {
    use journal::disk::pretend::Fault;
    let folder = Path::new(FOLDER);
    let (old, new) = (
        Cursor { note: vec![1; 100], ..Cursor::default() },
        Cursor { note: vec![2; 90], ..Cursor::default() },
    );
    for fault in [Fault::Io, Fault::Full, Fault::ShortIo, Fault::ShortFull, Fault::PowerCut] {
        for operation in 0.. {
            for seed in 0..8 {
                let disk = PretendDisk::new();
                disk.create_dir_all(folder).unwrap();
                cursor::store(&disk, folder, "c", &old).unwrap();
                disk.fail_at(disk.operations() + operation, fault);
                let stored = cursor::store(&disk, folder, "c", &new);
                disk.crash_partly(seed);
                disk.heal();
                let loaded = cursor::load(&disk, folder, "c").unwrap().unwrap();
                assert!(
                    loaded == new || (stored.is_err() && loaded == old),
                    "{fault:?} at {operation}: {loaded:?}"
                );
                cursor::store(&disk, folder, "c", &new).unwrap();
            }
            if operation > 12 {
                break;
            }
        }
    }
}

#[test]
fn leftovers_of_a_stopped_program_go() {
    let disk = PretendDisk::new();
    let folder = Path::new(FOLDER);
    disk.put(&folder.join("uplink.cursor.tmp"), b"half");
    disk.put(&folder.join("00000000000000000001.journal.damaged.tmp"), b"half");
    disk.put(&folder.join("notes.tmp"), b"not ours");
    open(&disk, small()).unwrap();
    assert_eq!(disk.paths(), [folder.join("notes.tmp")]);
}

#[test]
fn stats_and_debug_say_where_and_how_much() {
    let disk = PretendDisk::new();
    let running = fresh(&disk, small());
    running.append(Entry::new(0, 10));
    running.journal.flush().unwrap();
    let stats = running.journal.stats();
    // Header, preamble (24 + 5), entry (24 + 20).
    assert_eq!((stats.bytes_written, stats.segment_bytes, stats.segments), (121, 121, 1));
    assert!(format!("{:?}", running.journal).contains(FOLDER));
    let _: &BookKeeper = &BookKeeper::default();
}

/// Remembers two segments and sees the records of the others.
struct Remembers(Vec<(u64, u32, u64)>, Vec<Position>);

impl journal::Visitor for Remembers {
    fn passes_over(&mut self, segment: u64, mark: u32) -> Option<u64> {
        let known = self.0.iter().find(|(known, known_mark, _)| (*known, *known_mark) == (segment, mark));
        known.map(|(_, _, entries)| *entries)
    }

    fn visit(&mut self, record: journal::Record<'_>) -> Result<(), journal::VisitorError> {
        self.1.push(record.at);
        Ok(())
    }
}

#[test]
fn a_segment_that_the_caller_remembers_is_passed_over_and_read_when_it_is_wanted() {
    let disk = PretendDisk::new();
    let running = fresh(&disk, small());
    for number in 0..30 {
        running.append(Entry::new(number, 1000));
        running.journal.flush().unwrap();
    }
    let durable = running.durable();
    let infos = running.journal.segments();
    running.journal.close().unwrap();
    let mut known: Vec<_> = infos.iter().map(|info| (info.number, info.mark, info.entries)).collect();
    assert!(known.len() > 6, "{known:?}");
    // The third is shorter than the fourth says: it is read, whoever remembers it.
    let third =
        disk.paths().into_iter().filter(|path| path.extension().is_some_and(|end| end == "journal")).nth(2);
    let third = third.unwrap();
    let bytes = disk.get(&third).unwrap();
    disk.put(&third, &bytes[..bytes.len() - 10]);

    // What is remembered of the fifth is of another segment with its number.
    known[4].1 ^= 1;
    let mut visitor = Remembers(known.clone(), Vec::new());
    let opened = journal::open_with(Arc::new(disk.clone()), Path::new(FOLDER), small(), &mut visitor);
    let (opened, report) = opened.unwrap();
    let read: std::collections::BTreeSet<u64> = visitor.1.iter().map(|at| at.segment).collect();
    let (newest, ..) = *known.last().unwrap();
    assert_eq!(read.into_iter().collect::<Vec<_>>(), [known[2].0, known[4].0, newest]);
    assert_eq!((report.segments, report.passed_over), (known.len(), known.len() - 3));
    assert!(report.damage.iter().all(|damage| damage.at.segment == known[2].0) && !report.damage.is_empty());
    let entries: Vec<u64> = opened.segments().iter().map(|info| info.entries).collect();
    let expected: Vec<u64> = known.iter().map(|(_, _, entries)| *entries).collect();
    assert_eq!((&entries[..2], &entries[3..]), (&expected[..2], &expected[3..]));
    for (at, number) in durable.iter().filter(|(at, _)| at.segment != known[2].0) {
        let mut payload = Vec::new();
        opened.read_into(*at, &mut payload).unwrap();
        assert_eq!(payload[..8], number.to_le_bytes());
    }
}
