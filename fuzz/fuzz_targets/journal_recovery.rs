//! Any bytes as segment files: opening them never panics, reads no more at once than it says, shows records in order, and shows
//! the same ones again: to a reader, by position, at the next opening, and after the journal has gone on.
//!
//! The first byte chooses between raw files and files made of whole and broken frames, which get past the checksums.
#![no_main]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use journal::disk::pretend::PretendDisk;
use journal::{JournalError, Opened, Options, Position, RecordKind, Recorder, RecoveryReport};
use libfuzzer_sys::fuzz_target;

const FOLDER: &str = "/j";
const MARK: u32 = 0x6b72_616d;
const RECORD_BYTES_MAX: usize = 4096;
const READ_BYTES_MAX: usize = 256 << 10;

type Records = Vec<(Position, RecordKind, Vec<u8>)>;

fuzz_target!(|data: &[u8]| {
    let Some((choice, rest)) = data.split_first() else { return };
    let disk = PretendDisk::new();
    if choice & 1 == 0 {
        raw_files(&disk, rest, 1 + usize::from(choice >> 6));
    } else {
        made_files(&disk, rest);
    }
    let looked = look(&disk);
    let Some((first, report)) = open(&disk) else { return };
    assert_eq!(looked.as_ref(), Some(&first), "looking finds what an opening finds");
    let Some((second, again)) = open(&disk) else { panic!("what was opened once is opened again") };
    assert_eq!(first, second, "the same records again");
    assert_eq!(again.torn_bytes, 0, "a tail is cut once");
    assert_eq!(report.entries, again.entries);
    // Now and then only: a thread costs more than all the rest.
    if choice & 0b1110 == 0b1110 {
        go_on(&disk);
        let Some((third, last)) = open(&disk) else { panic!("and again") };
        assert_eq!(third[..first.len()], first[..], "and once more, with another segment behind");
        assert_eq!(third.len(), first.len() + 1);
        assert_eq!(last.torn_bytes, 0);
    }
    let reads = disk.trace().into_iter().filter(|line| line.starts_with("read_at"));
    let largest = reads.map(|line| line.rsplit(' ').next().unwrap().parse::<usize>().unwrap()).max();
    assert!(largest.unwrap_or(0) <= READ_BYTES_MAX);
});

/// What a look without lock or change finds.
fn look(disk: &PretendDisk) -> Option<Records> {
    let shared: Arc<dyn journal::disk::Disk> = Arc::new(disk.clone());
    let mut records = Records::new();
    let found = journal::inspect(&shared, Path::new(FOLDER), RECORD_BYTES_MAX, &mut |record| {
        records.push((record.at, record.kind, record.payload.to_vec()));
        Ok(())
    });
    found.ok().map(|_| records)
}

fn path(segment: u64) -> PathBuf {
    Path::new(FOLDER).join(format!("{segment:020}.journal"))
}

fn options() -> Options {
    Options { record_bytes_max: RECORD_BYTES_MAX, segment_bytes: 4096, ..Options::default() }
}

fn raw_files(disk: &PretendDisk, bytes: &[u8], files: usize) {
    for (index, part) in bytes.chunks((bytes.len() / files).max(1)).enumerate() {
        disk.put(&path(index as u64 + 1), part);
    }
}

/// What the bytes tell to make. Runs dry with zeros.
struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    fn number(&mut self) -> u32 {
        u32::from(self.byte()) << 8 | u32::from(self.byte())
    }

    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

fn made_files(disk: &PretendDisk, bytes: &[u8]) {
    let mut script = Script(bytes);
    let mut number = 1;
    let mut before = (0, 0);
    while !script.0.is_empty() && number < 9 {
        let file = made_file(&mut script, number, before);
        before = (number, file.len() as u64);
        disk.put(&path(number), &file);
        number += 1 + u64::from(script.byte() & 1);
    }
}

fn made_file(script: &mut Script<'_>, number: u64, before: (u64, u64)) -> Vec<u8> {
    let mut file = file_header(number, before);
    let flags = script.byte();
    if flags & 1 == 1 {
        file[usize::from(script.byte()) % 48] ^= script.byte();
    }
    if flags & 2 == 2 {
        file.truncate(usize::from(script.byte()));
    }
    let mut synced = 0;
    for _ in 0..flags >> 2 & 31 {
        frame(script, number, &mut synced, &mut file);
    }
    if flags & 128 == 128 {
        let cut = script.number() as usize % (file.len() + 1);
        file.truncate(cut);
    }
    file
}

fn file_header(number: u64, before: (u64, u64)) -> Vec<u8> {
    let mut bytes = b"PANTAUJL\x01\x00\x30\x00".to_vec();
    bytes.extend(MARK.to_le_bytes());
    bytes.extend(number.to_le_bytes());
    bytes.extend(before.0.to_le_bytes());
    bytes.extend(before.1.to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
    bytes
}

/// One frame, whole or not, or something that is none.
fn frame(script: &mut Script<'_>, segment: u64, synced: &mut u32, file: &mut Vec<u8>) {
    let how = script.byte();
    let offset = file.len();
    if how & 7 == 7 {
        let count = usize::from(script.byte());
        file.extend_from_slice(script.take(count));
        return;
    }
    let length = usize::from(script.byte()) << (how >> 5 & 3);
    let fill = script.byte();
    let payload = if how & 8 == 8 { MARK.to_le_bytes().repeat(length / 4) } else { vec![fill; length] };
    // As the journal does it: a sync covers all that was written before. Frames that say otherwise cannot come to be by
    // accident, and a tail cut for what they say may change what the rest proves.
    if how & 16 == 16 {
        *synced = offset as u32;
    }
    let claimed = if how & 7 == 6 { script.number() << 8 } else { payload.len() as u32 };
    let mut header = MARK.to_le_bytes().to_vec();
    header.extend(claimed.to_le_bytes());
    header.extend((*synced).to_le_bytes());
    header.extend([1 + how % 3, 0, 0, 0]);
    let checksum = crc32c::crc32c(&payload) ^ u32::from(how & 7 == 5);
    header.extend(checksum.to_le_bytes());
    let mut place = segment.to_le_bytes().to_vec();
    place.extend((offset as u64).to_le_bytes());
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&place), &header);
    header.extend((checksum ^ u32::from(how & 7 == 4)).to_le_bytes());
    file.extend(header);
    file.extend(payload);
}

fn open(disk: &PretendDisk) -> Option<(Records, RecoveryReport)> {
    let mut records: Records = Vec::new();
    let result = journal::open(Arc::new(disk.clone()), Path::new(FOLDER), options(), &mut |record| {
        assert!(records.last().is_none_or(|(at, ..)| *at < record.at), "in order");
        assert!(record.payload.len() <= RECORD_BYTES_MAX);
        records.push((record.at, record.kind, record.payload.to_vec()));
        Ok(())
    });
    match result {
        Ok((opened, report)) => {
            assert!(report.damage.iter().all(|damage| damage.bytes > 0), "{:?}", report.damage);
            compare_readers(&opened, &records);
            Some((records, report))
        }
        Err(JournalError::RecordOverLimit { .. } | JournalError::NewerFormat { .. }) => None,
        Err(other) => panic!("{other}"),
    }
}

/// The other two ways to read find what recovery found.
fn compare_readers(opened: &Opened, expected: &Records) {
    let mut reader = opened.reader(Position::default());
    let mut read: Records = Vec::new();
    loop {
        match reader.next() {
            Ok(Some(record)) => read.push((record.at, record.kind, record.payload.to_vec())),
            Ok(None) => break,
            Err(JournalError::Damaged { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(read, *expected);
    let mut payload = Vec::new();
    for (at, _, whole) in expected {
        opened.read_into(*at, &mut payload).expect("recovery found it there");
        assert_eq!(payload, *whole);
    }
}

struct Plain;

impl Recorder for Plain {
    type Entry = ();

    fn begin_segment(&mut self, _: &mut Vec<u8>) {}

    fn encode(&mut self, (): &(), payload: &mut Vec<u8>) {
        payload.extend_from_slice(b"one more");
    }

    fn durable(&mut self, _: Position, (): ()) {}

    fn refused(&mut self, (): (), why: &JournalError) {
        panic!("{why}");
    }
}

/// Starts the journal and appends an entry.
fn go_on(disk: &PretendDisk) {
    let (opened, _) = journal::open(Arc::new(disk.clone()), Path::new(FOLDER), options(), &mut |_| Ok(()))
        .expect("it was opened");
    let journal = opened.start(Plain).expect("a thread");
    journal.append((), 8).map_err(|(_, why)| why).expect("room");
    journal.close().expect("a whole disk");
}
