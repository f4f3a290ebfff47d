//! The outbox's records and cursor notes, as `docs/formats/outbox.md` draws them. Numbers are little-endian.

use model::Timestamp;

use super::Message;
use super::told::Told;
use crate::notify::alert::from_json;

const VERSION: u8 = 1;
const HEAD_BYTES: usize = 24;

/// One message: version, 7 zeros, number, time told, JSON.
pub(super) fn write(number: u64, told_at: Timestamp, json: &[u8], out: &mut Vec<u8>) {
    out.push(VERSION);
    out.extend_from_slice(&[0; 7]);
    out.extend_from_slice(&number.to_le_bytes());
    out.extend_from_slice(&told_at.as_millis().to_le_bytes());
    out.extend_from_slice(json);
}

pub(super) fn read(bytes: &[u8]) -> Option<Message> {
    let (head, json) = bytes.split_at_checked(HEAD_BYTES)?;
    if head[0] != VERSION {
        return None;
    }
    let told_at = Timestamp::from_millis(i64::from_le_bytes(eight(head, 16)?));
    Some(Message { number: u64::from_le_bytes(eight(head, 8)?), told_at, alerts: from_json(json)? })
}

/// What stands at a segment's beginning: version, 7 zeros, number of the last message, then what is known of alerts.
pub(super) fn write_preamble(number: u64, told: &Told, out: &mut Vec<u8>) {
    out.push(VERSION);
    out.extend_from_slice(&[0; 7]);
    out.extend_from_slice(&number.to_le_bytes());
    told.write(out);
}

pub(super) fn read_preamble(bytes: &[u8]) -> Option<(u64, Told)> {
    let (head, known) = bytes.split_at_checked(16)?;
    (head[0] == VERSION).then_some(())?;
    Some((u64::from_le_bytes(eight(head, 8)?), Told::read(known)?))
}

/// A cursor's note: the number of the last message that was done.
pub(super) fn note(number: u64) -> Vec<u8> {
    number.to_le_bytes().to_vec()
}

pub(super) fn read_note(note: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(note.try_into().ok()?))
}

fn eight(bytes: &[u8], at: usize) -> Option<[u8; 8]> {
    bytes.get(at..at + 8)?.try_into().ok()
}
