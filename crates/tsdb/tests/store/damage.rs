//! Bytes that are not what was written, and records that a newer program wrote.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use journal::disk::pretend::PretendDisk;
use journal::{JournalError, Position};

use crate::fixture::{Plain, T0, at, open, read_all, small, write};

/// A folder of several segments, and what it holds.
fn filled() -> (PretendDisk, Plain) {
    let (disk, mut plain) = (PretendDisk::new(), Plain::default());
    let (store, _) = open(&disk, &small(), at(0)).expect("it opens");
    for number in 0..60 {
        let samples: Vec<_> =
            (0..60).map(|i| (i, T0 + i64::from(number) * 15_000, f64::from(i * number) / 3.0)).collect();
        write(&store, &samples, number).expect("nothing fails here");
        plain.write(&samples, number);
    }
    store.close().expect("nothing fails here");
    (disk, plain)
}

fn segments(disk: &PretendDisk) -> Vec<PathBuf> {
    let folder = Path::new("/data");
    let mut files: Vec<_> = disk.paths().into_iter().filter(|path| path.parent() == Some(folder)).collect();
    files.retain(|path| disk.get(path).is_some_and(|bytes| bytes.len() > 1000));
    files.sort();
    files
}

#[test]
fn a_damaged_segment_is_named_and_all_others_are_served() {
    let (disk, plain) = filled();
    let files = segments(&disk);
    assert!(files.len() >= 4, "{files:?}");
    let mut bytes = disk.get(&files[1]).expect("it is there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    disk.put(&files[1], &bytes);
    let (store, ledger) = open(&disk, &small(), at(0)).expect("damage is no error");
    let replay = store.replay();
    assert_eq!(replay.journal.damage.len(), 1);
    let (have, all) = (read_all(&store), &plain.samples);
    assert!(have.iter().all(|(key, bits)| all.get(key) == Some(bits)), "nothing is guessed");
    assert!(have.len() >= all.len() / 2 && have.len() < all.len(), "{} of {}", have.len(), all.len());
    let newest = |samples: &crate::fixture::Samples| {
        samples.iter().filter(|(key, _)| key.1 == T0 + 59 * 15_000).count()
    };
    assert_eq!(newest(&have), newest(all));
    assert_eq!(ledger.holds(), plain.batches, "later preambles repeat the attachments that were lost");
    // Whoever looks into it finds the file as long as its neighbours are kept.
    store.maintain(at(60 * 15_000)).expect("nothing fails here");
    assert!(disk.get(&files[1]).is_some());
}

/// Writes one payload of its own choice.
struct Payload(Vec<u8>);

impl journal::Recorder for Payload {
    type Entry = ();

    fn begin_segment(&mut self, preamble: &mut Vec<u8>) {
        preamble.extend_from_slice(&self.0);
    }

    fn encode(&mut self, (): &(), payload: &mut Vec<u8>) {
        payload.extend_from_slice(&self.0);
    }

    fn durable(&mut self, _: Position, (): ()) {}

    fn refused(&mut self, (): (), _: &JournalError) {}
}

fn disk_with(payload: &[u8]) -> PretendDisk {
    let disk = PretendDisk::new();
    let options = journal::Options::default();
    let (opened, _) = journal::open(Arc::new(disk.clone()), Path::new("/data"), options, &mut |_| Ok(()))
        .expect("an empty disk opens");
    let journal = opened.start(Payload(payload.to_vec())).expect("a thread can be started");
    journal.append((), 1).expect("there is room");
    journal.close().expect("nothing fails here");
    disk
}

#[test]
fn a_newer_program_is_asked_for_and_nothing_is_changed() {
    let disk = disk_with(&[3, 0, 0]);
    let before: Vec<_> = disk.paths().iter().map(|path| disk.get(path)).collect();
    let refused = open(&disk, &small(), at(0)).expect_err("version 3 is not known");
    assert!(format!("{refused}").contains("use the newer program"), "{refused}");
    let after: Vec<_> = disk.paths().iter().map(|path| disk.get(path)).collect();
    assert_eq!(before, after);
}

#[test]
fn what_is_no_record_is_counted_and_named() {
    let disk = disk_with(&[1, 0xff]);
    let (store, _) = open(&disk, &small(), at(0)).expect("it opens");
    let replay = store.replay();
    assert_eq!((replay.records, replay.records_lost), (0, 2));
    assert!(replay.first_lost.as_ref().is_some_and(|(at, why)| at.segment == 1 && why.contains("damaged")));
    write(&store, &[(0, T0, 1.0)], 0).expect("and it goes on");
}
