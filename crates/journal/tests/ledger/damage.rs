//! Bytes that change by themselves, and bytes that somebody changes on purpose.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use journal::disk::Disk;
use journal::disk::pretend::{Fault, PretendDisk};
use journal::{DamageKind, JournalError, Options, Position, Recorder, RecoveryReport};

use super::book::{Entry, FOLDER, Found, fresh, open, small, start};

const FILE_HEADER: u64 = 48;
const FRAME_HEADER: u64 = 24;

fn path(segment: u64) -> PathBuf {
    Path::new(FOLDER).join(format!("{segment:020}.journal"))
}

/// A journal of two segments; the second was closed in order or not. Answers where each entry stands.
fn two_segments(closed: bool) -> (PretendDisk, Vec<(Position, u64)>) {
    let disk = PretendDisk::new();
    let running = fresh(&disk, small());
    for number in 0..12 {
        running.append(Entry::new(number, 40));
        if number == 5 {
            running.journal.rotate().unwrap();
        }
        running.journal.flush().unwrap();
    }
    if closed {
        running.journal.close().unwrap();
    }
    disk.kill();
    (disk, running.durable())
}

/// Changes the file of a segment.
fn change(disk: &PretendDisk, segment: u64, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = disk.get(&path(segment)).unwrap();
    change(&mut bytes);
    disk.put(&path(segment), &bytes);
}

/// What is still found of the entries that were there. Looking without touching finds the same.
fn reopen(disk: &PretendDisk) -> Found {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let mut seen = Vec::new();
    let looked = journal::inspect(&shared, Path::new(FOLDER), small().record_bytes_max, &mut |record| {
        if record.kind == journal::RecordKind::Entry {
            seen.push(record.at);
        }
        Ok(())
    })
    .unwrap();
    let (opened, found) = open(disk, small()).unwrap();
    drop(opened);
    assert!(seen.iter().eq(found.entries.keys()));
    let places = |report: &RecoveryReport| {
        let place = |damage: &journal::Damage| (damage.at, damage.bytes, damage.kind);
        report.damage.iter().map(place).collect::<Vec<_>>()
    };
    assert_eq!(places(&looked.report), places(&found.report));
    assert_eq!(looked.report.entries, found.report.entries);
    found
}

fn lost(found: &Found, durable: &[(Position, u64)]) -> Vec<u64> {
    durable.iter().filter(|(at, _)| !found.entries.contains_key(at)).map(|(_, number)| *number).collect()
}

/// Everything in the report lies within the files.
fn check_report(report: &RecoveryReport) {
    for damage in &report.damage {
        assert!(damage.bytes > 0 && damage.file == path(damage.at.segment), "{damage:?}");
    }
}

#[test]
fn any_flipped_bit_in_a_sealed_segment_costs_one_entry_at_most_and_is_named() {
    let (disk, durable) = two_segments(true);
    let whole = disk.get(&path(1)).unwrap();
    for bit in 0..whole.len() * 8 {
        change(&disk, 1, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
        let found = reopen(&disk);
        check_report(&found.report);
        assert_eq!(found.report.damage.len(), 1, "bit {bit}: {:?}", found.report);
        assert!(found.report.damage[0].bytes < 130 && found.report.damage[0].copy.is_none());
        assert!(lost(&found, &durable).len() <= 1, "bit {bit}");
        assert_eq!(found.report.torn_bytes, 0);
        disk.put(&path(1), &whole);
    }
}

#[test]
fn any_flipped_bit_in_a_newest_segment_that_was_closed_is_named() {
    let (disk, durable) = two_segments(true);
    let whole = disk.get(&path(2)).unwrap();
    let end_mark = whole.len() - FRAME_HEADER as usize;
    for bit in 0..whole.len() * 8 {
        change(&disk, 2, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
        let found = reopen(&disk);
        check_report(&found.report);
        let lost = lost(&found, &durable);
        if bit / 8 < end_mark {
            assert_eq!(found.report.damage.len(), 1, "bit {bit}");
            assert!(lost.len() <= 1, "bit {bit}: {lost:?}");
            assert_eq!(found.report.torn_bytes, 0, "bit {bit}");
        } else {
            assert_eq!((lost.len(), found.report.torn_bytes), (0, FRAME_HEADER), "only the end mark goes");
        }
        disk.put(&path(2), &whole);
    }
}

#[test]
fn any_flipped_bit_in_a_newest_segment_that_was_not_closed_is_named_below_the_last_group() {
    let (disk, durable) = two_segments(false);
    let whole = disk.get(&path(2)).unwrap();
    let last = durable.last().unwrap().0.offset as usize;
    for bit in 0..whole.len() * 8 {
        change(&disk, 2, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
        let found = reopen(&disk);
        let lost = lost(&found, &durable);
        if bit / 8 < last {
            assert_eq!(found.report.damage.len(), 1, "bit {bit}");
            assert!(lost.len() <= 1, "bit {bit}: {lost:?}");
        } else {
            // Nobody can tell this from a tear: no byte was written after that group.
            assert_eq!((lost, found.report.damage.len()), (vec![11], 0), "bit {bit}");
        }
        disk.put(&path(2), &whole);
    }
}

#[test]
fn a_sealed_segment_that_became_shorter_is_named() {
    let (disk, durable) = two_segments(true);
    let whole = disk.get(&path(1)).unwrap();
    for length in 0..whole.len() {
        disk.put(&path(1), &whole[..length]);
        let found = reopen(&disk);
        check_report(&found.report);
        let missing: u64 = found.report.damage.iter().map(|damage| damage.bytes).sum();
        assert!(missing >= (whole.len() - length) as u64, "{length}: {:?}", found.report);
        let still = |at: Position| at.segment == 2 || at.offset + FRAME_HEADER + 50 <= length as u64;
        let expected: Vec<u64> =
            durable.iter().filter(|(at, _)| !still(*at)).map(|(_, number)| *number).collect();
        assert_eq!(lost(&found, &durable), expected, "{length}");
    }
}

#[test]
fn a_newest_segment_is_cut_to_its_last_whole_record() {
    let (disk, durable) = two_segments(true);
    let whole = disk.get(&path(2)).unwrap();
    for length in 0..whole.len() {
        disk.put(&path(2), &whole[..length]);
        let found = reopen(&disk);
        assert_eq!(found.report.damage, []);
        let still = |at: Position| at.segment == 1 || at.offset + FRAME_HEADER + 50 <= length as u64;
        let expected: Vec<u64> =
            durable.iter().filter(|(at, _)| !still(*at)).map(|(_, number)| *number).collect();
        assert_eq!(lost(&found, &durable), expected, "{length}");
        let again = reopen(&disk);
        assert_eq!((again.report.torn_bytes, again.entries), (0, found.entries), "a cut is made once");
    }
}

/// Found by the fuzz target: the record that proved the damage to be damage stood in the tail that was cut; at the next opening
/// the damage looked like a tear, and the good record behind it was cut as well.
#[test]
fn damage_stays_damage_when_the_frame_that_proved_it_was_torn_off() {
    let (disk, durable) = two_segments(false);
    // 10 is damaged, and 11 proves it; but 11 itself is torn in its payload.
    let (damaged, torn) = (durable[10].0.offset as usize + 30, durable[11].0.offset as usize + 30);
    change(&disk, 2, |bytes| bytes[damaged] ^= 1);
    change(&disk, 2, |bytes| bytes[torn] ^= 1);
    for torn_bytes in [74, 0, 0] {
        let found = reopen(&disk);
        assert_eq!(found.numbers(), (0..10).collect::<Vec<_>>());
        assert_eq!((found.report.damage.len(), found.report.torn_bytes), (1, torn_bytes));
        assert_eq!(found.report.damage[0].at, durable[10].0);
        assert_eq!(found.report.damage[0].copy.is_some(), torn_bytes > 0);
    }
    // What recovery left is proven from now on, whatever was cut.
    let hit = durable[8].0.offset as usize + 30;
    change(&disk, 2, |bytes| bytes[hit] ^= 1);
    for _ in 0..2 {
        let found = reopen(&disk);
        assert_eq!(found.numbers(), [0, 1, 2, 3, 4, 5, 6, 7, 9]);
        assert_eq!((found.report.damage.len(), found.report.torn_bytes), (2, 0));
    }
}

/// Found by the fuzz target: the file that was being made was removed, and so the sealed segment before it became the newest
/// one at the next opening, and its damage a tear, which was cut.
#[test]
fn a_sealed_segment_stays_one_when_the_next_was_never_finished() {
    let (disk, durable) = two_segments(true);
    disk.put(&path(2), b"PANTAU");
    disk.put(&path(3), b"");
    let hit = durable[5].0.offset as usize + 30;
    change(&disk, 1, |bytes| bytes[hit] ^= 1);
    for _ in 0..3 {
        let found = reopen(&disk);
        assert_eq!(found.numbers(), [0, 1, 2, 3, 4]);
        assert_eq!((found.report.torn_bytes, found.report.damage.len()), (0, 1));
        assert_eq!((found.report.damage[0].at, found.report.damage[0].copy.as_ref()), (durable[5].0, None));
    }
    let running = start(open(&disk, small()).unwrap().0, 5);
    running.append(Entry::new(100, 1));
    running.journal.flush().unwrap();
    assert_eq!(running.durable()[0].0.segment, 4, "no number is used twice");
    disk.kill();
    let found = reopen(&disk);
    assert_eq!(found.numbers(), [0, 1, 2, 3, 4, 100]);
    assert_eq!(found.report.damage.len(), 1);
    assert_eq!(disk.paths(), [path(1), path(4)], "the unfinished ones go when there is a newer one");
}

#[test]
fn rubbish_behind_the_end_is_cut() {
    for rubbish in [vec![0; 5000], vec![0xff; 10], b"PANTAUJL".repeat(9)] {
        let (disk, durable) = two_segments(false);
        change(&disk, 2, |bytes| bytes.extend_from_slice(&rubbish));
        let found = reopen(&disk);
        assert_eq!(found.report.torn_bytes, rubbish.len() as u64);
        assert_eq!(found.report.damage, []);
        assert_eq!(lost(&found, &durable), Vec::<u64>::new());
    }
}

/// One group of which the first page never reached the disk, but the later ones did: whole records stand behind the gap,
/// and still it is a tear, because no record says that the gap was ever synced.
#[test]
fn pages_of_one_unsynced_group_may_reach_the_disk_in_any_order() {
    let disk = PretendDisk::new();
    let running = fresh(&disk, small());
    running.append(Entry::new(0, 40));
    running.journal.flush().unwrap();
    let before = disk.get(&path(1)).unwrap().len();
    running.append(Entry::new(1, 40));
    running.append(Entry::new(2, 40));
    running.append(Entry::new(3, 40));
    running.journal.flush().unwrap();
    let groups = running.journal.stats().groups;
    disk.kill();
    change(&disk, 1, |bytes| bytes[before..before + 20].fill(0));
    let found = reopen(&disk);
    if groups == 2 {
        assert_eq!(found.numbers(), [0]);
        assert_eq!((found.report.damage.len(), found.report.torn_bytes), (0, 3 * (FRAME_HEADER + 50)));
    } else {
        // The thread was quicker than this test and made more than one group of them: then it is damage, and named.
        assert!(found.numbers().contains(&3) && found.report.damage.len() == 1);
    }
}

#[test]
fn a_damaged_and_torn_segment_is_copied_before_it_is_cut() {
    let (disk, durable) = two_segments(false);
    let hit = durable[7].0.offset as usize + 30;
    change(&disk, 2, |bytes| {
        bytes[hit] ^= 1;
        bytes.extend_from_slice(b"torn");
    });
    let as_found = disk.get(&path(2)).unwrap();
    let found = reopen(&disk);
    let copy = Path::new(FOLDER).join("00000000000000000002.journal.damaged");
    assert_eq!(found.report.damage[0].copy.as_ref(), Some(&copy));
    assert_eq!(found.report.damage[0].kind, DamageKind::Payload);
    assert_eq!((found.report.damage[0].at.offset, found.report.torn_bytes), (durable[7].0.offset, 4));
    assert_eq!(disk.get(&copy).unwrap(), as_found);
    assert_eq!(lost(&found, &durable), [7]);
    // What cannot be copied is not cut, and nothing else is wrong with that.
    let (disk, durable) = two_segments(false);
    change(&disk, 2, |bytes| {
        bytes[hit] ^= 1;
        bytes.extend_from_slice(b"torn");
    });
    disk.set_capacity(Some(disk.used_bytes() + 10));
    let found = reopen(&disk);
    assert_eq!((found.report.damage[0].copy.as_ref(), found.report.torn_bytes), (None, 0));
    disk.set_capacity(None);
    let running = start(open(&disk, small()).unwrap().0, 5);
    running.append(Entry::new(100, 1));
    running.journal.close().unwrap();
    disk.kill();
    let found = reopen(&disk);
    assert_eq!(lost(&found, &durable), [7]);
    assert!(found.numbers().contains(&100));
    assert_eq!(found.report.damage.len(), 1, "the torn end is behind the end that the next segment knows");
}

#[test]
fn a_file_without_any_whole_record_is_passed_over() {
    let (disk, durable) = two_segments(true);
    for segment in [1, 2] {
        let whole = disk.get(&path(segment)).unwrap();
        change(&disk, segment, |bytes| bytes.fill(0x55));
        let found = reopen(&disk);
        assert_eq!(lost(&found, &durable).len(), 6);
        assert_eq!(found.report.damage.len(), 1);
        assert_eq!(found.report.damage[0].kind, DamageKind::FileHeader);
        assert_eq!(disk.get(&path(segment)).unwrap(), vec![0x55; whole.len()], "left as it is");
        let running = start(open(&disk, small()).unwrap().0, 0);
        running.append(Entry::new(50, 1));
        running.journal.flush().unwrap();
        assert!(running.durable()[0].0.segment > 2);
        let mut reader = running.journal.reader(Position::default());
        let mut records = 0;
        while reader.next().unwrap().is_some() {
            records += 1;
        }
        assert!(records >= 7, "a reader passes over it, too");
        drop(running);
        disk.put(&path(segment), &whole);
    }
}

#[test]
fn a_file_with_another_number_is_damaged() {
    let (disk, durable) = two_segments(true);
    let bytes = disk.get(&path(1)).unwrap();
    disk.put(&path(9), &bytes);
    let found = reopen(&disk);
    assert_eq!(lost(&found, &durable), Vec::<u64>::new());
    assert_eq!(found.entries.len(), durable.len(), "no record counts in another place than its own");
    assert_eq!(found.report.damage[0].file, path(9));
}

#[test]
fn a_newer_format_is_left_alone() {
    let (disk, _) = two_segments(false);
    change(&disk, 2, |bytes| {
        bytes[8] = 2;
        let checksum = crc32c(&bytes[..44]);
        bytes[44..48].copy_from_slice(&checksum.to_le_bytes());
        bytes.extend_from_slice(b"something new");
    });
    let before = disk.get(&path(2)).unwrap();
    let result = open(&disk, small());
    assert!(matches!(result, Err(JournalError::NewerFormat { version: 2, known: 1, .. })));
    assert_eq!(disk.get(&path(2)).unwrap(), before);
}

#[test]
fn a_record_over_a_lowered_limit_is_named_and_not_lost() {
    let (disk, _) = two_segments(false);
    let tight = Options { record_bytes_max: 49, ..small() };
    let error = open(&disk, tight).err().unwrap();
    assert!(matches!(error, JournalError::RecordOverLimit { bytes: 50, max_bytes: 49, .. }), "{error}");
    assert_eq!(reopen(&disk).entries.len(), 12);
}

#[test]
fn no_read_is_larger_than_a_record_and_a_window() {
    let (disk, _) = two_segments(true);
    change(&disk, 1, |bytes| bytes.resize(3 << 20, 0xaa));
    reopen(&disk);
    let largest = disk
        .trace()
        .iter()
        .filter(|line| line.starts_with("read_at"))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<usize>().unwrap())
        .max();
    assert!(largest.unwrap() <= (256 << 10));
}

/// Whatever stands in a file, looking for the way again reads each window once, not once for each mark.
#[test]
fn a_file_full_of_marks_is_searched_in_one_pass() {
    let (disk, durable) = two_segments(true);
    let mark = disk.get(&path(1)).unwrap()[12..16].to_vec();
    for filling in [mark.repeat(1 << 18), [mark.as_slice(), &[0; 20]].concat().repeat(40_000)] {
        let whole = disk.get(&path(1)).unwrap();
        change(&disk, 1, |bytes| bytes.extend_from_slice(&filling));
        // The next segment's header says where the first one ends; without it, all of it is looked at.
        let second = disk.get(&path(2)).unwrap();
        change(&disk, 2, |bytes| bytes[30] ^= 1);
        let before = disk.operations();
        let found = reopen(&disk);
        assert!(disk.operations() - before < 40, "{} operations", disk.operations() - before);
        assert_eq!(lost(&found, &durable), Vec::<u64>::new());
        assert_eq!(found.report.damage.len(), 2, "{:?}", found.report);
        disk.put(&path(1), &whole);
        disk.put(&path(2), &second);
    }
}

/// A stranger who fills payloads puts frames into them. Behind damage, where frames are looked for, none of them counts.
#[test]
fn frames_within_a_payload_are_never_taken_for_records() {
    struct Raw;
    impl Recorder for Raw {
        type Entry = Vec<u8>;
        fn begin_segment(&mut self, _: &mut Vec<u8>) {}
        fn encode(&mut self, entry: &Vec<u8>, payload: &mut Vec<u8>) {
            payload.extend_from_slice(entry);
        }
        fn durable(&mut self, _: Position, _: Vec<u8>) {}
        fn refused(&mut self, _: Vec<u8>, why: &JournalError) {
            panic!("{why}");
        }
    }
    let disk = PretendDisk::new();
    let (opened, _) =
        journal::open(Arc::new(disk.clone()), Path::new(FOLDER), small(), &mut |_| Ok(())).unwrap();
    let journal = opened.start(Raw).unwrap();
    let put = |bytes: &[u8]| {
        journal.append(bytes.to_vec(), bytes.len()).map_err(|(_, why)| why).unwrap();
        journal.flush().unwrap();
    };
    put(b"first");
    // The most that a stranger could have got hold of: a frame of this very segment, mark and all.
    let frame = disk.get(&path(1)).unwrap()[FILE_HEADER as usize..].to_vec();
    put(&frame.repeat(10));
    put(b"last");
    journal.close().unwrap();
    let second = FILE_HEADER as usize + frame.len();
    for byte in second..second + FRAME_HEADER as usize {
        let whole = disk.get(&path(1)).unwrap();
        change(&disk, 1, |bytes| bytes[byte] ^= 0x10);
        let mut records = Vec::new();
        let (opened, report) =
            journal::open(Arc::new(disk.clone()), Path::new(FOLDER), small(), &mut |record| {
                records.push((record.payload.to_vec(), record.after_damage));
                Ok(())
            })
            .unwrap();
        assert_eq!(records, [(b"first".to_vec(), false), (b"last".to_vec(), true)]);
        assert_eq!(report.damage.len(), 1);
        drop(opened);
        disk.put(&path(1), &whole);
    }
}

#[test]
fn a_reader_names_damage_once_and_goes_on() {
    let (disk, durable) = two_segments(true);
    let running = start(open(&disk, small()).unwrap().0, 5);
    let hit = durable[2].0;
    change(&disk, hit.segment, |bytes| bytes[hit.offset as usize + 30] ^= 1);
    assert!(matches!(running.journal.read(hit), Err(JournalError::Damaged { .. })));
    let mut reader = running.journal.reader(durable[0].0);
    let (mut read, mut damaged) = (Vec::new(), 0);
    loop {
        match reader.next() {
            Ok(Some(record)) => read.push((record.at, record.after_damage)),
            Ok(None) => break,
            Err(JournalError::Damaged { offset, kind: DamageKind::Payload, .. }) if offset == hit.offset => {
                damaged += 1
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!((damaged, read.len()), (1, 12), "eleven entries and the second preamble");
    assert_eq!(read.iter().filter(|(_, after)| *after).count(), 3);
}

#[test]
fn positions_that_are_no_records_answer_no_record() {
    let (disk, durable) = two_segments(true);
    let running = start(open(&disk, small()).unwrap().0, 5);
    let none = |segment, offset| {
        let result = running.journal.read(Position { segment, offset });
        assert!(matches!(result, Err(JournalError::NoRecord { .. })), "{segment} {offset}: {result:?}");
    };
    none(0, 0);
    none(1, 47);
    none(1, 1 << 40);
    none(3, 48);
    none(2, disk.get(&path(2)).unwrap().len() as u64 - FRAME_HEADER); // the end mark
    let inside = Position { offset: durable[0].0.offset + 1, ..durable[0].0 };
    assert!(matches!(running.journal.read(inside), Err(JournalError::Damaged { .. })));
}

#[test]
fn a_disk_that_cannot_read_is_named_and_nothing_is_cut() {
    let (disk, durable) = two_segments(false);
    change(&disk, 2, |bytes| bytes.extend_from_slice(b"torn"));
    let before = disk.get(&path(2)).unwrap();
    // Opening reads each file's header first; the next read of a file is that of its records.
    let reads: Vec<usize> = {
        let probe = PretendDisk::new();
        probe.create_dir_all(Path::new(FOLDER)).unwrap();
        probe.put(&path(1), &disk.get(&path(1)).unwrap());
        probe.put(&path(2), &before);
        open(&probe, small()).unwrap();
        let trace = probe.trace();
        let of_second = |line: &&String| line.starts_with("read_at") && line.contains("2.journal");
        let index = |line: &String| trace.iter().position(|other| std::ptr::eq(other, line)).unwrap();
        trace.iter().filter(of_second).map(index).collect()
    };
    let offset = {
        // The same operations again, counted from here.
        disk.operations() as usize
    };
    disk.fail_at((offset + reads[1] - 1) as u64, Fault::Io);
    let (opened, found) = open(&disk, small()).unwrap();
    drop(opened);
    assert_eq!(disk.faults_fired(), 1);
    assert!(
        found.report.damage.iter().any(|damage| damage.kind == DamageKind::Unreadable),
        "{:?}",
        found.report
    );
    assert_eq!(disk.get(&path(2)).unwrap(), before, "nothing is cut by guess");
    assert_eq!(lost(&reopen(&disk), &durable), Vec::<u64>::new());
}

/// A disk that answers half of a read and calls that the end: an end before the file's length is no torn tail, which would be cut.
#[test]
fn a_read_that_ends_early_is_named_and_nothing_is_cut() {
    let torn = || {
        let (disk, durable) = two_segments(false);
        change(&disk, 2, |bytes| bytes.extend_from_slice(b"torn"));
        (disk, durable)
    };
    let operations = {
        let (disk, _) = torn();
        let before = disk.operations();
        open(&disk, small()).unwrap();
        disk.operations() - before
    };
    let mut fired = 0;
    for operation in 0..operations {
        let (disk, durable) = torn();
        disk.fail_at(disk.operations() + operation, Fault::ShortRead);
        drop(open(&disk, small()));
        fired += disk.faults_fired();
        disk.heal();
        assert_eq!(
            lost(&reopen(&disk), &durable),
            Vec::<u64>::new(),
            "operation {operation} of {operations}"
        );
    }
    assert!(fired >= 4, "headers and records of two segments are read: {fired}");
}

/// CRC32C, bit by bit: the tests must not ask the code under test.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = !0_u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    !crc
}
