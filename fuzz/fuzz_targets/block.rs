//! The store's block files: any bytes are a block that can be read to its end, or are refused; nothing panics and memory stays bounded.
//! The first frames of a file are the fuzzer's; so that checksums do not keep it out, they are put right on every other run.
#![no_main]

use std::path::Path;
use std::sync::Arc;

use journal::disk::Disk;
use journal::disk::pretend::PretendDisk;
use libfuzzer_sys::fuzz_target;

const HEADER: usize = 16;
const TRAILER: usize = 28;

fuzz_target!(|data: &[u8]| {
    let Some((&kind, bytes)) = data.split_first() else { return };
    let mut bytes = bytes.to_vec();
    if kind & 1 == 1 {
        put_right(&mut bytes);
    }
    let pretend = PretendDisk::new();
    let disk: Arc<dyn Disk> = Arc::new(pretend.clone());
    disk.create_dir_all(Path::new("/blocks")).expect("a pretended disk makes folders");
    let path = Path::new("/blocks/0000000000000001.block");
    pretend.put(path, &bytes);
    drop(tsdb::probe::read_block(&disk, path));
});

/// Gives header, trailer and all frames between them their checksums.
fn put_right(bytes: &mut [u8]) {
    if bytes.len() < HEADER + TRAILER {
        return;
    }
    let end = bytes.len() - TRAILER;
    bytes[..10].copy_from_slice(b"PANTBLK\n\x01\x00");
    sign(bytes, 0, 12);
    let (mut at, mut last) = (HEADER, HEADER);
    while at + 8 <= end {
        let length = u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes")) as usize % 4096;
        let length = length.min(end - at - 8);
        bytes[at..at + 4].copy_from_slice(&(length as u32).to_le_bytes());
        let sum = crc32c::crc32c_append(crc32c::crc32c(&bytes[at..at + 4]), &bytes[at + 8..at + 8 + length]);
        bytes[at + 4..at + 8].copy_from_slice(&sum.to_le_bytes());
        (last, at) = (at, at + 8 + length);
    }
    let length = u32::from_le_bytes(bytes[last..last + 4].try_into().expect("four bytes"));
    bytes[end..end + 8].copy_from_slice(&(last as u64).to_le_bytes());
    bytes[end + 8..end + 12].copy_from_slice(&length.to_le_bytes());
    bytes[end + 12..end + 16].copy_from_slice(&[1, 0, 0, 0]);
    bytes[end + 16..end + 24].copy_from_slice(b"PANTBLK\n");
    sign(bytes, end, 24);
}

fn sign(bytes: &mut [u8], from: usize, length: usize) {
    let sum = crc32c::crc32c(&bytes[from..from + length]);
    bytes[from + length..from + length + 4].copy_from_slice(&sum.to_le_bytes());
}
