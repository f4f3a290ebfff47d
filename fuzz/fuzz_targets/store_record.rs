//! The store's journal records: any bytes are read as batches or refused, with memory bounded by their length; a section that was read
//! goes on.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tsdb::probe::Records;

fuzz_target!(|data: &[u8]| {
    let mut records = Records::default();
    assert!(records.preamble(&[2, 0, 0]), "an empty preamble");
    let mut rest = data;
    // Each record begins with its length, so that a section of several can be made.
    while let Some((&[low, high], behind)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_le_bytes([low, high])).min(behind.len());
        let (record, others) = behind.split_at(length);
        if let Some(items) = records.read(record) {
            assert!(items <= record.len(), "everything takes a byte at least");
        }
        rest = others;
    }
});
