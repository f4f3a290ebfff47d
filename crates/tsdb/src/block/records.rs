//! Records: native histograms, opaque here, with their times. Each is written as what it does not share with the one before it: its
//! beginning and end are mostly the same.
//!
//! In: records in ascending time. Out: the same. Memory of reading: one record, never longer than all bytes of the column.

use super::values::CodecError;
use crate::varint::{self, Cursor};

/// Appends records: a count, then for each its time (the first whole, then changes), the bytes it shares with the one before it in
/// front and at the end, and those between.
pub(crate) fn encode(records: &[(i64, &[u8])], out: &mut Vec<u8>) {
    varint::put(out, records.len() as u64);
    let (mut last_time, mut last) = (0i64, &[][..]);
    for &(time, record) in records {
        let front = record.iter().zip(last).take_while(|(one, other)| one == other).count();
        let (rest, last_rest) = (&record[front..], &last[front..]);
        let back =
            rest.iter().rev().zip(last_rest.iter().rev()).take_while(|(one, other)| one == other).count();
        varint::put_signed(out, time.wrapping_sub(last_time));
        varint::put(out, front as u64);
        varint::put(out, back as u64);
        varint::put_bytes(out, &rest[..rest.len() - back]);
        (last_time, last) = (time, record);
    }
}

/// Calls `visit` with each record until the end or until it answers false.
pub(crate) fn decode(bytes: &[u8], mut visit: impl FnMut(i64, &[u8]) -> bool) -> Result<(), CodecError> {
    let cut = CodecError("records that are cut off");
    let mut cursor = Cursor::new(bytes);
    let count = cursor.number().ok_or(cut)?;
    let (mut time, mut record, mut next) = (0i64, Vec::new(), Vec::new());
    for _ in 0..count {
        let step = cursor.signed().ok_or(cut)?;
        take_record(&mut cursor, &record, &mut next).ok_or(cut)?;
        std::mem::swap(&mut record, &mut next);
        time = time.wrapping_add(step);
        if !visit(time, &record) {
            return Ok(());
        }
    }
    if cursor.is_empty() { Ok(()) } else { Err(CodecError("bytes after records")) }
}

fn take_record(from: &mut Cursor<'_>, last: &[u8], into: &mut Vec<u8>) -> Option<()> {
    let front = usize::try_from(from.number()?).ok()?;
    let back = usize::try_from(from.number()?).ok()?;
    let between = from.bytes()?;
    let shared = front.checked_add(back).filter(|&shared| shared <= last.len())?;
    into.clear();
    into.reserve(shared + between.len());
    into.extend_from_slice(&last[..front]);
    into.extend_from_slice(between);
    into.extend_from_slice(&last[last.len() - back..]);
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(records: &[(i64, &[u8])]) -> Vec<u8> {
        let (mut bytes, mut read) = (Vec::new(), Vec::new());
        encode(records, &mut bytes);
        decode(&bytes, |time, record| {
            read.push((time, record.to_vec()));
            true
        })
        .expect("what was just written");
        assert!(read.iter().map(|(time, record)| (*time, &record[..])).eq(records.iter().copied()));
        bytes
    }

    #[test]
    fn what_records_share_is_written_once() {
        assert_eq!(check(&[]), [0]);
        let bytes = check(&[(1_000, b"abcdefg"), (2_000, b"abcXefg"), (3_000, b"abcXefg"), (4_000, b"")]);
        let golden = [
            &[4, 0xd0, 15, 0, 0, 7][..],
            b"abcdefg",
            &[0xd0, 15, 3, 3, 1, b'X'],
            &[0xd0, 15, 7, 0, 0],
            &[0xd0, 15, 0, 0, 0],
        ];
        assert_eq!(bytes, golden.concat(), "these bytes are on disks: they never change");
        check(&[(i64::MIN, b"aaa"), (0, b"aaaa"), (i64::MAX, b"aa")]);
    }

    #[test]
    fn a_reader_may_stop_early() {
        let (mut bytes, mut seen) = (Vec::new(), 0);
        encode(&[(1, b"a"), (2, b"b"), (3, b"c")], &mut bytes);
        decode(&bytes, |time, _| {
            seen += 1;
            time < 2
        })
        .expect("what was just written");
        assert_eq!(seen, 2);
    }

    #[test]
    fn nonsense_is_refused() {
        for bytes in [&[][..], &[1], &[1, 0, 1, 0, 0], &[1, 0, 0, 1, 0], &[1, 0, 0, 0, 2, 7], &[0, 0]] {
            assert!(decode(bytes, |_, _| true).is_err(), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn all_records_come_back(records in proptest::collection::vec((any::<i64>(), proptest::collection::vec(0u8..4, 0..20)), 0..40)) {
            let records: Vec<(i64, &[u8])> = records.iter().map(|(time, record)| (*time, &record[..])).collect();
            check(&records);
        }

        #[test]
        fn strangers_bytes_never_panic(bytes in proptest::collection::vec(0u8..20, 0..80)) {
            let _ = decode(&bytes, |_, record| {
                assert!(record.len() <= bytes.len());
                true
            });
        }
    }
}
