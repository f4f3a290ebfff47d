//! What sealed segments of the spool hold, remembered in a small file of its own, so that a start need not read a whole week: the
//! bytes are drawn in `docs/formats/spool.md`.
//!
//! In: the numbers and times of segments that are as regular as can be (every number from the first to the last, each on the wall
//! scale), each with the mark of its header, without which another segment might bear its number one day. Out: the same at the next
//! start. Nothing depends on the file: what it does not list is read, and where it is lost or
//! damaged everything is. It is written after the cursor and says nothing that was not there before: what the cursor says of those
//! segments is on disk before they are passed over.
//!
//! Limits: [`SEGMENTS_MAX`] segments, the newest; 44 bytes each.

use std::path::Path;

use journal::cursor::{self, Cursor};
use journal::disk::Disk;
use journal::{JournalError, Position};
use model::Timestamp;

const NAME: &str = "segments";
/// Version 1 had no marks; nothing of it is believed.
const VERSION: u8 = 2;
const ENTRY_BYTES: usize = 44;

/// Segments in the file.
const SEGMENTS_MAX: usize = 16_384;

/// A segment that holds every number of a range once, all on the wall scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Regular {
    pub(crate) segment: u64,
    /// The random number in its header: a segment with this number and another mark is another segment.
    pub(crate) mark: u32,
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// First millisecond of its first batch.
    pub(crate) since: Timestamp,
    /// Last millisecond of its last batch.
    pub(crate) until: Timestamp,
}

impl Regular {
    /// How many batches it holds.
    pub(crate) fn entries(&self) -> u64 {
        self.last - self.first + 1
    }
}

/// Writes the file anew; `segments` in order.
pub(crate) fn store(disk: &dyn Disk, folder: &Path, segments: &[Regular]) -> Result<(), JournalError> {
    let newest = &segments[segments.len().saturating_sub(SEGMENTS_MAX)..];
    let mut note = Vec::with_capacity(1 + newest.len() * ENTRY_BYTES);
    note.push(VERSION);
    for regular in newest {
        let times = [regular.since, regular.until].map(|time| time.as_millis() as u64);
        note.extend_from_slice(&regular.segment.to_le_bytes());
        note.extend_from_slice(&regular.mark.to_le_bytes());
        for number in [regular.first, regular.last, times[0], times[1]] {
            note.extend_from_slice(&number.to_le_bytes());
        }
    }
    cursor::store(disk, folder, NAME, &Cursor { at: Position::default(), note })
}

/// Reads the file; nothing where there is none, or none that can be understood.
pub(crate) fn load(disk: &dyn Disk, folder: &Path) -> Vec<Regular> {
    match cursor::load(disk, folder, NAME) {
        Ok(Some(cursor)) => decode(&cursor.note).unwrap_or_default(),
        Ok(None) => Vec::new(),
        Err(why) => {
            tracing::debug!("the spool is read whole: {why}");
            Vec::new()
        }
    }
}

fn decode(note: &[u8]) -> Option<Vec<Regular>> {
    let (&version, rest) = note.split_first()?;
    if version != VERSION || !rest.len().is_multiple_of(ENTRY_BYTES) {
        return None;
    }
    rest.chunks_exact(ENTRY_BYTES).map(decode_one).collect()
}

fn decode_one(bytes: &[u8]) -> Option<Regular> {
    let (segment, rest) = bytes.split_first_chunk()?;
    let (mark, rest) = rest.split_first_chunk()?;
    let (segment, mark) = (u64::from_le_bytes(*segment), u32::from_le_bytes(*mark));
    let mut numbers = rest.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes));
    let mut next = || numbers.next();
    let (first, last) = (next()?, next()?);
    let (since, until) = (Timestamp::from_millis(next()? as i64), Timestamp::from_millis(next()? as i64));
    (first <= last).then_some(Regular { segment, mark, first, last, since, until })
}

#[cfg(test)]
mod tests {
    use journal::disk::pretend::PretendDisk;

    use super::*;

    /// The bytes as `docs/formats/spool.md` draws them.
    #[test]
    fn is_written_as_it_is_drawn() {
        let disk = PretendDisk::new();
        let folder = Path::new("/spool");
        disk.create_dir_all(folder).expect("made");
        let (since, until) = (Timestamp::from_millis(-1), Timestamp::from_millis(0x0102_0304_0506));
        let regular = Regular { segment: 9, mark: 0xa1b2_c3d4, first: 3, last: 0x105, since, until };
        store(&disk, folder, &[regular]).expect("a good disk");
        let note = cursor::load(&disk, folder, NAME).expect("readable").expect("there").note;
        let expected: &[&[u8]] = &[
            &[2],
            &[9, 0, 0, 0, 0, 0, 0, 0],
            &[0xd4, 0xc3, 0xb2, 0xa1],
            &[3, 0, 0, 0, 0, 0, 0, 0],
            &[5, 1, 0, 0, 0, 0, 0, 0],
            &[0xff; 8],
            &[6, 5, 4, 3, 2, 1, 0, 0],
        ];
        assert_eq!(note, expected.concat());
    }

    #[test]
    fn comes_back_as_it_was_and_nonsense_is_nothing() {
        let disk = PretendDisk::new();
        let folder = Path::new("/spool");
        disk.create_dir_all(folder).expect("made");
        assert_eq!(load(&disk, folder), []);
        let regular = |segment| Regular {
            segment,
            mark: 7,
            first: 10 * segment,
            last: 10 * segment + 9,
            since: Timestamp::from_millis(-5),
            until: Timestamp::from_millis(1_800_000_000_000),
        };
        let segments: Vec<Regular> = (1..=3).map(regular).collect();
        store(&disk, folder, &segments).expect("a good disk");
        assert_eq!(load(&disk, folder), segments);
        let many: Vec<Regular> = (0..SEGMENTS_MAX as u64 + 5).map(regular).collect();
        store(&disk, folder, &many).expect("a good disk");
        assert_eq!(load(&disk, folder), many[5..], "the newest");
        for bad in [&[][..], &[9], &[VERSION, 1, 2]] {
            assert_eq!(decode(bad), None);
        }
        let mut backwards = vec![VERSION];
        backwards.extend(1u64.to_le_bytes().into_iter().chain(7u32.to_le_bytes()));
        backwards.extend([7u64, 6, 0, 0].iter().flat_map(|number| number.to_le_bytes()));
        assert_eq!(decode(&backwards), None);
        // Version 1 had no marks: what it says may be of other segments with these numbers.
        let mut old = vec![1];
        old.extend([1u64, 6, 7, 0, 0].iter().flat_map(|number| number.to_le_bytes()));
        cursor::store(&disk, folder, NAME, &Cursor { at: Position::default(), note: old }).expect("stored");
        assert_eq!(load(&disk, folder), []);
        disk.put(&folder.join("segments.cursor"), b"nonsense");
        assert_eq!(load(&disk, folder), []);
    }
}
