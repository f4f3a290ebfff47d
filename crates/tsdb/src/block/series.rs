//! Series frames: which series a block holds, in label order, and where their chunks lie.
//!
//! A frame holds [`FRAME_SERIES`] series (the last one of a block fewer), so that a series' frame follows from its number. Every
//! [`GROUP_SERIES`] of them a group begins, which can be read without what stands before it. Within a group labels are
//! written as what differs from the series before (`definition`), and chunks as steps along the data frames.
//!
//! Every byte may come from a damaged disk: reading answers `None` and never panics.

use model::Labels;

use crate::definition;
use crate::varint::{self, Cursor};

/// Series of a frame.
pub(crate) const FRAME_SERIES: u32 = 128;

/// Series of a group.
pub(crate) const GROUP_SERIES: u32 = 16;

/// Where bytes lie among a block's data or column frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    /// Number of the frame in its directory.
    pub(crate) frame: u32,
    /// Bytes from the beginning of the frame's payload.
    pub(crate) offset: u32,
    /// How many bytes.
    pub(crate) length: u32,
}

/// Samples of one series, in one piece.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chunk {
    /// Time of the first sample.
    pub(crate) first: i64,
    /// Number of samples.
    pub(crate) count: u32,
    /// Where the times lie; those of records stand with them.
    pub(crate) column: Place,
    /// Where the values or records lie.
    pub(crate) data: Place,
}

/// One series of a block.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) labels: Labels,
    /// Float samples, in time order.
    pub(crate) chunks: Vec<Chunk>,
    /// Native histograms, in time order.
    pub(crate) records: Vec<Chunk>,
}

impl Default for Entry {
    fn default() -> Self {
        Self { labels: Labels::empty(), chunks: Vec::new(), records: Vec::new() }
    }
}

/// What the next series of a group is written against.
#[derive(Clone, Debug)]
struct Before {
    labels: Labels,
    time: i64,
    column: Place,
    /// Where the next chunk's data lie if nothing else is said.
    data: Place,
}

impl Before {
    fn group(start: i64) -> Self {
        Self { labels: Labels::empty(), time: start, column: Place::default(), data: Place::default() }
    }
}

/// Writes one frame after the other.
#[derive(Debug)]
pub(crate) struct SeriesWriter {
    start: i64,
    series: u32,
    groups: Vec<u32>,
    bytes: Vec<u8>,
    before: Before,
}

impl SeriesWriter {
    /// `start` is the first millisecond of the block's cell.
    pub(crate) fn new(start: i64) -> Self {
        Self { start, series: 0, groups: Vec::new(), bytes: Vec::new(), before: Before::group(start) }
    }

    pub(crate) fn push(&mut self, entry: &Entry) {
        let begins_group = self.series.is_multiple_of(GROUP_SERIES);
        if begins_group {
            self.groups.push(self.bytes.len() as u32);
            self.before = Before::group(self.start);
        }
        self.series += 1;
        definition::put(&mut self.bytes, &self.before.labels, &entry.labels);
        self.before.labels = entry.labels.clone();
        varint::put(&mut self.bytes, entry.chunks.len() as u64);
        varint::put(&mut self.bytes, entry.records.len() as u64);
        self.before.time = self.start;
        entry.chunks.iter().for_each(|chunk| self.chunk(chunk, true));
        entry.records.iter().for_each(|chunk| self.chunk(chunk, false));
    }

    fn chunk(&mut self, chunk: &Chunk, has_column: bool) {
        varint::put_signed(&mut self.bytes, chunk.first.wrapping_sub(self.before.time));
        self.before.time = chunk.first;
        varint::put(&mut self.bytes, u64::from(chunk.count));
        if has_column {
            self.column(chunk.column);
        }
        self.data(chunk.data);
    }

    /// 0: the column of the chunk before; else its frame's number and one, its offset and its length.
    fn column(&mut self, column: Place) {
        if column == self.before.column {
            return self.bytes.push(0);
        }
        varint::put(&mut self.bytes, u64::from(column.frame) + 1);
        varint::put(&mut self.bytes, u64::from(column.offset));
        varint::put(&mut self.bytes, u64::from(column.length));
        self.before.column = column;
    }

    /// Twice the length, if the data follow those of the chunk before; else one more, and frame and offset follow.
    fn data(&mut self, data: Place) {
        let follows = (data.frame, data.offset) == (self.before.data.frame, self.before.data.offset);
        varint::put(&mut self.bytes, u64::from(data.length) << 1 | u64::from(!follows));
        if !follows {
            varint::put(&mut self.bytes, u64::from(data.frame));
            varint::put(&mut self.bytes, u64::from(data.offset));
        }
        self.before.data = Place { offset: data.offset + data.length, ..data };
    }

    pub(crate) fn is_full(&self) -> bool {
        self.series == FRAME_SERIES
    }

    /// The frame's payload, and a new one begins; `None` if it would be empty.
    pub(crate) fn take(&mut self) -> Option<Vec<u8>> {
        if self.series == 0 {
            return None;
        }
        let mut payload = Vec::with_capacity(self.groups.len() * 4 + self.bytes.len());
        self.groups.iter().for_each(|group| payload.extend_from_slice(&group.to_le_bytes()));
        payload.extend_from_slice(&self.bytes);
        self.groups.clear();
        self.bytes.clear();
        self.series = 0;
        Some(payload)
    }
}

/// Reads a group, series by series.
#[derive(Clone, Debug)]
pub(crate) struct GroupReader {
    /// Bytes of the payload that were read.
    at: usize,
    before: Before,
    start: i64,
}

impl GroupReader {
    /// A reader of one group of a frame of so many series.
    pub(crate) fn new(payload: &[u8], frame_series: u32, group: u32, start: i64) -> Option<Self> {
        let groups = frame_series.div_ceil(GROUP_SERIES);
        let place = payload.get(usize::try_from(group).ok()? * 4..)?.get(..4)?;
        let offset = u32::from_le_bytes(place.try_into().expect("four bytes are four bytes"));
        let at = usize::try_from(offset).ok()?.checked_add(groups as usize * 4)?;
        (at <= payload.len()).then(|| Self { at, before: Before::group(start), start })
    }

    /// The next series of the same payload.
    pub(crate) fn next(&mut self, payload: &[u8], entry: &mut Entry, scratch: &mut Vec<u8>) -> Option<()> {
        let rest = payload.get(self.at..)?;
        let mut from = Cursor::new(rest);
        entry.labels = definition::take(&mut from, &self.before.labels, scratch)?;
        self.before.labels = entry.labels.clone();
        let (chunks, records) = (from.number()?, from.number()?);
        if chunks.max(records) > from.left() as u64 {
            return None; // each takes a byte at least
        }
        self.before.time = self.start;
        entry.chunks.clear();
        entry.records.clear();
        for _ in 0..chunks {
            entry.chunks.push(self.chunk(&mut from, true)?);
        }
        for _ in 0..records {
            entry.records.push(self.chunk(&mut from, false)?);
        }
        self.at += rest.len() - from.left();
        Some(())
    }

    fn chunk(&mut self, from: &mut Cursor<'_>, has_column: bool) -> Option<Chunk> {
        let first = self.before.time.wrapping_add(from.signed()?);
        self.before.time = first;
        let count = small(from)?;
        let column = if has_column { self.column(from)? } else { Place::default() };
        Some(Chunk { first, count, column, data: self.data(from)? })
    }

    fn column(&mut self, from: &mut Cursor<'_>) -> Option<Place> {
        if let Some(frame) = small(from)?.checked_sub(1) {
            self.before.column = Place { frame, offset: small(from)?, length: small(from)? };
        }
        Some(self.before.column)
    }

    fn data(&mut self, from: &mut Cursor<'_>) -> Option<Place> {
        let token = from.number()?;
        let length = u32::try_from(token >> 1).ok()?;
        let place = if token & 1 == 0 {
            Place { length, ..self.before.data }
        } else {
            Place { frame: small(from)?, offset: small(from)?, length }
        };
        self.before.data = Place { offset: place.offset.checked_add(length)?, ..place };
        Some(place)
    }
}

fn small(from: &mut Cursor<'_>) -> Option<u32> {
    u32::try_from(from.number()?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_place() -> impl Strategy<Value = Place> {
        (0..3u32, 0..100u32, 0..50u32).prop_map(|(frame, offset, length)| Place { frame, offset, length })
    }

    fn any_chunk(has_column: bool) -> impl Strategy<Value = Chunk> {
        (any::<i64>(), any::<u32>(), any_place(), any_place()).prop_map(
            move |(first, count, column, data)| Chunk {
                first,
                count,
                column: if has_column { column } else { Place::default() },
                data,
            },
        )
    }

    fn any_entry() -> impl Strategy<Value = Entry> {
        (
            proptest::collection::btree_map("[a-c]", "[x-z]{1,3}", 0..4),
            proptest::collection::vec(any_chunk(true), 0..4),
            proptest::collection::vec(any_chunk(false), 0..3),
        )
            .prop_map(|(labels, chunks, records)| Entry {
                labels: Labels::from_pairs(labels),
                chunks,
                records,
            })
    }

    fn parts(entry: &Entry) -> (&Labels, &[Chunk], &[Chunk]) {
        (&entry.labels, &entry.chunks, &entry.records)
    }

    proptest! {
        #[test]
        fn series_come_back_group_by_group(
            entries in proptest::collection::vec(any_entry(), 1..=FRAME_SERIES as usize),
            start in any::<i64>(),
        ) {
            let mut writer = SeriesWriter::new(start);
            entries.iter().for_each(|entry| writer.push(entry));
            let payload = writer.take().expect("there are some");
            let (mut read, mut scratch) = (Entry::default(), Vec::new());
            for (group, expected) in entries.chunks(GROUP_SERIES as usize).enumerate() {
                let mut reader =
                    GroupReader::new(&payload, entries.len() as u32, group as u32, start).expect("it is there");
                for entry in expected {
                    reader.next(&payload, &mut read, &mut scratch).expect("readable");
                    prop_assert_eq!(parts(&read), parts(entry));
                }
            }
        }

        #[test]
        fn strangers_bytes_never_panic(
            payload in proptest::collection::vec(any::<u8>(), 0..80), group in 0..9u32, start in any::<i64>(),
        ) {
            let (mut read, mut scratch) = (Entry::default(), Vec::new());
            if let Some(mut reader) = GroupReader::new(&payload, FRAME_SERIES, group, start) {
                for _ in 0..GROUP_SERIES {
                    if reader.next(&payload, &mut read, &mut scratch).is_none() {
                        break;
                    }
                }
            }
        }
    }
}
