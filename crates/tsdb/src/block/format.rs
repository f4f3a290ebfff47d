//! The fixed parts of a block file, drawn in `docs/formats/store-blocks.md`: header, trailer, frame heads, footer.
//!
//! Every byte may come from a damaged disk: reading answers `None` and never panics.

use super::Coding;
use super::frame::FrameRef;
use super::meta::{BlockMeta, BlockSpec};
use crate::varint::{self, Cursor};

/// The version that is written, and the newest that is read.
pub(crate) const VERSION: u16 = 1;

/// Bytes of the header: magic, version, two zero bytes, checksum.
pub(crate) const HEADER_BYTES: usize = 16;

/// Bytes of the trailer: the footer's place and length, version, two zero bytes, magic, checksum.
pub(crate) const TRAILER_BYTES: usize = 28;

/// Bytes before a frame's payload: its length, and the checksum of its place, its length and itself.
pub(crate) const FRAME_HEAD: usize = 8;

/// The longest payload of a frame. A dictionary of many long values may come near; a stranger's length may not.
pub(crate) const FRAME_MAX: u32 = 256 << 20;

const MAGIC: [u8; 8] = *b"PANTBLK\n";

/// What the first or last bytes of a file say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checked<T> {
    /// They are ours.
    Good(T),
    /// A newer program wrote them.
    Newer(u16),
    /// They are something else.
    Wrong,
}

/// The header of a new file.
pub(crate) fn header() -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
    let sum = crc32c::crc32c(&bytes[..12]);
    bytes[12..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// Reads a header.
pub(crate) fn check_header(bytes: &[u8; HEADER_BYTES]) -> Checked<()> {
    if bytes[..8] != MAGIC || word(bytes, 12) != crc32c::crc32c(&bytes[..12]) {
        return Checked::Wrong;
    }
    match u16::from_le_bytes([bytes[8], bytes[9]]) {
        0 => Checked::Wrong,
        version if version > VERSION => Checked::Newer(version),
        _ => Checked::Good(()),
    }
}

/// The trailer of a file whose footer lies there.
pub(crate) fn trailer(footer: FrameRef) -> [u8; TRAILER_BYTES] {
    let mut bytes = [0; TRAILER_BYTES];
    bytes[..8].copy_from_slice(&footer.offset.to_le_bytes());
    bytes[8..12].copy_from_slice(&footer.length.to_le_bytes());
    bytes[12..14].copy_from_slice(&VERSION.to_le_bytes());
    bytes[16..24].copy_from_slice(&MAGIC);
    let sum = crc32c::crc32c(&bytes[..24]);
    bytes[24..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// Reads a trailer: where the footer lies.
pub(crate) fn check_trailer(bytes: &[u8; TRAILER_BYTES]) -> Checked<FrameRef> {
    if bytes[16..24] != MAGIC || word(bytes, 24) != crc32c::crc32c(&bytes[..24]) {
        return Checked::Wrong;
    }
    let offset = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes are eight bytes"));
    match u16::from_le_bytes([bytes[12], bytes[13]]) {
        0 => Checked::Wrong,
        version if version > VERSION => Checked::Newer(version),
        _ => Checked::Good(FrameRef { offset, length: word(bytes, 8) }),
    }
}

/// The head of a frame: its payload's length, and a checksum of its place in the file, length and payload: right bytes in a wrong place
/// (a disk may answer with another block of its own) are damage, too.
pub(crate) fn frame_head(offset: u64, payload: &[u8]) -> [u8; FRAME_HEAD] {
    let length = (payload.len() as u32).to_le_bytes();
    let place = crc32c::crc32c_append(crc32c::crc32c(&offset.to_le_bytes()), &length);
    let sum = crc32c::crc32c_append(place, payload);
    let mut head = [0; FRAME_HEAD];
    head[..4].copy_from_slice(&length);
    head[4..].copy_from_slice(&sum.to_le_bytes());
    head
}

/// The length that a frame's head names.
pub(crate) fn frame_length(head: &[u8; FRAME_HEAD]) -> u32 {
    word(head, 0)
}

/// Whether a head belongs to a payload.
pub(crate) fn frame_is_whole(offset: u64, head: &[u8], payload: &[u8]) -> bool {
    head == frame_head(offset, payload)
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes are four bytes"))
}

/// Where a block's parts begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Roots {
    /// Places of the data frames.
    pub(crate) data: FrameRef,
    /// Places of the frames with time columns.
    pub(crate) columns: FrameRef,
    /// Places of the frames with series.
    pub(crate) series: FrameRef,
    /// The index.
    pub(crate) index: FrameRef,
}

impl Roots {
    pub(crate) fn all(&self) -> [FrameRef; 4] {
        [self.data, self.columns, self.series, self.index]
    }
}

/// The footer's payload. The file's length is not in it.
pub(crate) fn put_footer(meta: &BlockMeta, roots: &Roots, out: &mut Vec<u8>) {
    let BlockSpec { number, level, start, end, coding, parents, created_ms } = &meta.spec;
    varint::put(out, *number);
    out.push(*level);
    for time in [*start, *end, meta.min_time, meta.max_time, *created_ms] {
        varint::put_signed(out, time);
    }
    for count in [u64::from(meta.series), meta.samples, meta.histograms, u64::from(meta.resolution_ms)] {
        varint::put(out, count);
    }
    out.push(0); // what its samples are of those they stand for; 0: themselves
    out.push(match coding {
        Coding::Fresh => 0,
        Coding::Compacted => 1,
    });
    varint::put(out, parents.len() as u64);
    parents.iter().for_each(|parent| varint::put(out, *parent));
    for root in roots.all() {
        varint::put(out, root.offset);
        varint::put(out, u64::from(root.length));
    }
}

/// Reads a footer; `bytes` is the file's length.
pub(crate) fn take_footer(payload: &[u8], bytes: u64) -> Option<(BlockMeta, Roots)> {
    let mut from = Cursor::new(payload);
    let (number, level) = (from.number()?, from.byte()?);
    let [start, end, min_time, max_time, created_ms] = signed(&mut from)?;
    let series = u32::try_from(from.number()?).ok()?;
    let (samples, histograms) = (from.number()?, from.number()?);
    let resolution_ms = u32::try_from(from.number()?).ok()?;
    let aggregate = from.byte()?;
    let coding = match from.byte()? {
        0 => Coding::Fresh,
        1 => Coding::Compacted,
        _ => return None,
    };
    let count = usize::try_from(from.number()?).ok().filter(|&count| count <= from.left())?;
    let parents = (0..count).map(|_| from.number()).collect::<Option<Vec<_>>>()?;
    let mut refs = [FrameRef::default(); 4];
    for root in &mut refs {
        *root = FrameRef { offset: from.number()?, length: u32::try_from(from.number()?).ok()? };
    }
    let good = from.is_empty() && aggregate == 0 && resolution_ms == 0 && start < end && min_time <= max_time;
    let spec = BlockSpec { number, level, start, end, coding, parents, created_ms };
    let [data, columns, series_root, index] = refs;
    let roots = Roots { data, columns, series: series_root, index };
    let meta = BlockMeta { spec, min_time, max_time, series, samples, histograms, bytes, resolution_ms };
    good.then_some((meta, roots))
}

fn signed<const N: usize>(from: &mut Cursor<'_>) -> Option<[i64; N]> {
    let mut times = [0; N];
    for time in &mut times {
        *time = from.signed()?;
    }
    Some(times)
}

/// Bytes of a place in a directory of frames.
pub(crate) const PLACE_BYTES: usize = 12;

/// Appends a frame's place to a directory.
pub(crate) fn put_place(at: FrameRef, out: &mut Vec<u8>) {
    out.extend_from_slice(&at.offset.to_le_bytes());
    out.extend_from_slice(&at.length.to_le_bytes());
}

/// Reads a frame's place in a directory.
pub(crate) fn take_place(directory: &[u8], index: usize) -> Option<FrameRef> {
    let place = directory.get(index.checked_mul(PLACE_BYTES)?..)?.get(..PLACE_BYTES)?;
    let offset = u64::from_le_bytes(place[..8].try_into().expect("eight bytes are eight bytes"));
    Some(FrameRef { offset, length: word(place, 8) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta() -> (BlockMeta, Roots) {
        let spec = BlockSpec {
            number: 300,
            level: 2,
            start: -7_200_000,
            end: 7_200_000,
            coding: Coding::Compacted,
            parents: vec![1, 299],
            created_ms: 1_700_000_000_000,
        };
        let meta = BlockMeta {
            spec,
            min_time: -5,
            max_time: 9,
            series: 3,
            samples: 1000,
            histograms: 4,
            bytes: 4096,
            resolution_ms: 0,
        };
        let place = |offset| FrameRef { offset, length: 12 };
        (meta, Roots { data: place(16), columns: place(400), series: place(800), index: place(u64::MAX) })
    }

    #[test]
    fn a_footer_comes_back_and_its_pieces_do_not() {
        let (meta, roots) = meta();
        let mut bytes = Vec::new();
        put_footer(&meta, &roots, &mut bytes);
        assert_eq!(take_footer(&bytes, 4096), Some((meta, roots)));
        (0..bytes.len()).for_each(|end| assert_eq!(take_footer(&bytes[..end], 4096), None));
        bytes.push(0);
        assert_eq!(take_footer(&bytes, 4096), None);
    }

    #[test]
    fn header_and_trailer_know_themselves_and_newer_ones() {
        let place = FrameRef { offset: 77, length: 5 };
        assert_eq!(check_header(&header()), Checked::Good(()));
        assert_eq!(check_trailer(&trailer(place)), Checked::Good(place));
        for at in 0..HEADER_BYTES {
            let mut bytes = header();
            bytes[at] ^= 4;
            assert_eq!(check_header(&bytes), Checked::Wrong, "byte {at}");
        }
        for at in 0..TRAILER_BYTES {
            let mut bytes = trailer(place);
            bytes[at] ^= 4;
            assert_eq!(check_trailer(&bytes), Checked::Wrong, "byte {at}");
        }
        let mut newer = header();
        newer[8] = 2;
        let sum = crc32c::crc32c(&newer[..12]);
        newer[12..].copy_from_slice(&sum.to_le_bytes());
        assert_eq!(check_header(&newer), Checked::Newer(2));
    }

    #[test]
    fn places_are_found_by_number() {
        let mut directory = Vec::new();
        put_place(FrameRef { offset: 1, length: 2 }, &mut directory);
        put_place(FrameRef { offset: 3, length: 4 }, &mut directory);
        assert_eq!(take_place(&directory, 1), Some(FrameRef { offset: 3, length: 4 }));
        assert_eq!(take_place(&directory, 2), None);
        assert_eq!(take_place(&directory, usize::MAX), None);
    }
}
