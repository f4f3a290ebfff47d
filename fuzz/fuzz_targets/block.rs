//! Whole block files: any bytes are opened, read and checked, or refused; no panic, and memory that follows the file's length.
//!
//! The first byte chooses: bytes as they come, or dressed as a file whose frames they are; a good file with some bytes changed, which must be found and never read as something
//! else; the same with every checksum made right again, so that what lies behind the checksums is reached.
#![no_main]

use std::path::Path;
use std::sync::{Arc, OnceLock};

use journal::disk::Disk;
use journal::disk::pretend::PretendDisk;
use libfuzzer_sys::fuzz_target;
use model::{Columns, Labels, Timestamp};
use tsdb::probe::block;

const FOLDER: &str = "/blocks";
const FILE: &str = "/blocks/0000000000000001.block";

type Series = Vec<(Labels, Columns)>;

fuzz_target!(|data: &[u8]| {
    let Some((&choice, rest)) = data.split_first() else { return };
    if choice & 3 == 0 {
        let mut bytes = rest.to_vec();
        if choice & 4 != 0 {
            dress(&mut bytes);
        }
        drop(read(&bytes));
        return;
    }
    let (series, good) = good(choice & 4 != 0);
    let mut bytes = good.clone();
    for change in rest.chunks_exact(3) {
        let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % bytes.len();
        bytes[at] = change[2];
    }
    if choice & 3 == 1 {
        mend(&mut bytes);
        drop(read(&bytes));
        return;
    }
    if let Ok((answer, damages)) = read(&bytes) {
        assert_eq!(damages.is_empty(), bytes == *good, "{damages:?}");
        assert!(answer.iter().zip(series).all(|(one, other)| same(one, other)));
    }
});

fn same(one: &(Labels, Columns), other: &(Labels, Columns)) -> bool {
    let bits = |columns: &Columns| columns.values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    one.0 == other.0 && one.1.timestamps == other.1.timestamps && bits(&one.1) == bits(&other.1)
}

fn read(bytes: &[u8]) -> Result<(Series, Vec<String>), String> {
    let pretend = PretendDisk::new();
    pretend.put(Path::new(FILE), bytes);
    let disk: Arc<dyn Disk> = Arc::new(pretend);
    block::read(&disk, Path::new(FILE), 64, (0, 7_200_000))
}

/// A small block with jitter, holes, odd floats and series of one sample.
fn good(compacted: bool) -> &'static (Series, Vec<u8>) {
    static FILES: [OnceLock<(Series, Vec<u8>)>; 2] = [OnceLock::new(), OnceLock::new()];
    FILES[usize::from(compacted)].get_or_init(|| {
        let series: Series = (0..40i64).map(|at| (labels(at), samples(at))).collect();
        let pretend = PretendDisk::new();
        let disk: Arc<dyn Disk> = Arc::new(pretend.clone());
        disk.create_dir_all(Path::new(FOLDER)).expect("a folder");
        block::write(&disk, Path::new(FOLDER), &series, compacted).expect("a good disk");
        let bytes = pretend.get(Path::new(FILE)).expect("it was just written");
        (series, bytes)
    })
}

fn labels(at: i64) -> Labels {
    Labels::from_pairs([("__name__", format!("m{}", at / 8)), ("host", format!("h{}", at % 8))])
}

fn samples(at: i64) -> Columns {
    let mut columns = Columns::default();
    for round in 0..if at % 7 == 0 { 1 } else { 20 + at } {
        let value = match (at + round) % 9 {
            0 => f64::from_bits(model::STALE_NAN_BITS),
            1 if at % 3 == 0 => round as f64 / 3.0,
            _ => (at * round) as f64 / 100.0,
        };
        let jitter = if at % 2 == 0 { at * round % 13 } else { 0 };
        columns.push(Timestamp::from_millis(round * 15_000 + jitter), value);
    }
    columns
}

/// Makes the frames' checksums right, as far as their lengths lead.
fn mend(bytes: &mut [u8]) {
    let end = bytes.len().saturating_sub(block::TRAILER_BYTES);
    let mut at = block::HEADER_BYTES;
    while at + 8 <= end {
        let length = u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes")) as usize;
        let Some(payload) = bytes.get(at + 8..).and_then(|rest| rest.get(..length)) else { return };
        let head = block::frame_head(at as u64, payload);
        bytes[at..at + 8].copy_from_slice(&head);
        at += 8 + length;
    }
}

/// Gives any bytes a header, a trailer and frames of the lengths that they name, as far as there is room; the last one is the footer.
fn dress(bytes: &mut [u8]) {
    let Some(end) = bytes.len().checked_sub(block::TRAILER_BYTES).filter(|&end| end >= block::HEADER_BYTES)
    else {
        return;
    };
    bytes[..10].copy_from_slice(b"PANTBLK\n\x01\x00");
    sign(&mut bytes[..block::HEADER_BYTES]);
    let (mut at, mut footer) = (block::HEADER_BYTES, (0, 0));
    while at + 8 <= end {
        let length = u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes")) as usize % 4096;
        let length = length.min(end - at - 8);
        let head = block::frame_head(at as u64, &bytes[at + 8..at + 8 + length]);
        bytes[at..at + 8].copy_from_slice(&head);
        footer = (at as u64, length as u32);
        at += 8 + length;
    }
    let trailer = &mut bytes[end..];
    trailer[..8].copy_from_slice(&footer.0.to_le_bytes());
    trailer[8..12].copy_from_slice(&footer.1.to_le_bytes());
    trailer[12..16].copy_from_slice(&[1, 0, 0, 0]);
    trailer[16..24].copy_from_slice(b"PANTBLK\n");
    sign(trailer);
}

/// The last four bytes become the checksum of those before them.
fn sign(bytes: &mut [u8]) {
    let (signed, sum) = bytes.split_at_mut(bytes.len() - 4);
    sum.copy_from_slice(&crc32c::crc32c(signed).to_le_bytes());
}
