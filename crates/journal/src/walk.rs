//! Walking through the frames of one segment file, and finding the way again behind damage.
//!
//! Reads through one window of 256 KiB, which grows to one record where that is larger. Every byte may be hostile: lengths
//! are believed only within the file and within `record_bytes_max`, and the work is linear in the file's length.

use std::io;
use std::sync::Arc;

use crate::disk::DiskFile;
use crate::error::DamageKind;
use crate::format::{FILE_HEADER_BYTES, FRAME_HEADER_BYTES, FrameHeader, MARK_BYTES, Place};

const WINDOW_BYTES: usize = 256 << 10;

/// Why a walk cannot go on.
#[derive(Debug)]
pub(crate) enum WalkError {
    Read(io::Error),
    /// A whole, checked header of a record larger than is allowed to be read.
    OverLimit {
        offset: u64,
        bytes: usize,
    },
}

impl From<io::Error> for WalkError {
    fn from(error: io::Error) -> WalkError {
        WalkError::Read(error)
    }
}

/// What stands at an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// A whole frame.
    Frame(FrameHeader),
    /// The end of the segment.
    End,
    /// Anything else. If it begins with a whole header, `synced` is what that says (else 0), and `next` is where its frame
    /// ends, if that is within the segment.
    Bad { kind: DamageKind, next: Option<u64>, synced: u64 },
}

/// A way through one segment.
#[derive(Debug)]
pub(crate) struct Walk {
    file: Arc<dyn DiskFile>,
    segment: u64,
    mark: u32,
    record_bytes_max: usize,
    /// Where the segment ends; a growing one is told so.
    end: u64,
    buffer: Vec<u8>,
    /// The buffer's place in the file.
    start: u64,
}

impl Walk {
    pub(crate) fn new(
        file: Arc<dyn DiskFile>,
        segment: u64,
        mark: u32,
        end: u64,
        record_bytes_max: usize,
    ) -> Walk {
        Walk { file, segment, mark, record_bytes_max, end, buffer: Vec::new(), start: 0 }
    }

    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// The segment has grown.
    pub(crate) fn set_end(&mut self, end: u64) {
        self.end = end;
    }

    pub(crate) fn set_mark(&mut self, mark: u32) {
        self.mark = mark;
    }

    /// Up to `wanted` bytes from `offset`, fewer where the segment ends.
    pub(crate) fn bytes(&mut self, offset: u64, wanted: usize) -> io::Result<&[u8]> {
        let bytes = self.ahead(offset, wanted)?;
        Ok(&bytes[..bytes.len().min(wanted)])
    }

    /// All that the window holds from `offset` on: at least `wanted` bytes, fewer only where the segment ends.
    fn ahead(&mut self, offset: u64, wanted: usize) -> io::Result<&[u8]> {
        let left = usize::try_from(self.end.saturating_sub(offset)).unwrap_or(usize::MAX);
        let wanted = wanted.min(left);
        let held = self.start + self.buffer.len() as u64;
        if offset < self.start || offset + wanted as u64 > held {
            self.fill(offset, wanted.max(WINDOW_BYTES.min(left)))?;
        }
        let at = usize::try_from(offset - self.start).expect("within the window, or just filled from here");
        let bytes = self.buffer.get(at..).unwrap_or_default();
        Ok(&bytes[..bytes.len().min(left)])
    }

    fn fill(&mut self, offset: u64, count: usize) -> io::Result<()> {
        self.start = offset;
        self.buffer.clear();
        self.buffer.reserve_exact(count);
        self.buffer.resize(count, 0);
        let result = self.file.read_exact_at(offset, &mut self.buffer);
        if result.is_err() {
            self.buffer.clear();
        }
        result
    }

    /// What stands at `offset`.
    pub(crate) fn look(&mut self, offset: u64) -> Result<Look, WalkError> {
        if offset >= self.end {
            return Ok(Look::End);
        }
        let place = Place { segment: self.segment, mark: self.mark, offset };
        let bytes = self.bytes(offset, FRAME_HEADER_BYTES)?;
        if bytes.len() < FRAME_HEADER_BYTES {
            return Ok(Look::Bad { kind: DamageKind::Truncated, next: None, synced: 0 });
        }
        let Some(header) = FrameHeader::decode(bytes, place) else {
            return Ok(Look::Bad { kind: DamageKind::FrameHeader, next: None, synced: 0 });
        };
        let next = offset + header.frame_bytes();
        let synced = u64::from(header.synced);
        if next > self.end {
            return Ok(Look::Bad { kind: DamageKind::Truncated, next: None, synced });
        }
        let length = header.length as usize;
        if length > self.record_bytes_max {
            return Err(WalkError::OverLimit { offset, bytes: length });
        }
        let payload = self.payload(offset, &header)?;
        if payload.len() == length && crc32c::crc32c(payload) == header.payload_checksum {
            Ok(Look::Frame(header))
        } else {
            Ok(Look::Bad { kind: DamageKind::Payload, next: Some(next), synced })
        }
    }

    /// The payload of the frame at `offset`, whose header this is.
    pub(crate) fn payload(&mut self, offset: u64, header: &FrameHeader) -> io::Result<&[u8]> {
        let whole = self.bytes(offset, FRAME_HEADER_BYTES + header.length as usize)?;
        Ok(whole.get(FRAME_HEADER_BYTES..).unwrap_or_default())
    }

    /// Where the first whole frame begins behind the bad place `at`, or the segment's end if there is none.
    ///
    /// A whole header says where its frame ends, even if its payload is damaged: the next frame is exactly there. Else the
    /// segment's mark is looked for; a stranger who fills payloads cannot know it, so that what he sends is never taken for
    /// a frame.
    pub(crate) fn resume(&mut self, at: u64) -> Result<u64, WalkError> {
        let mut offset = at;
        loop {
            match self.look(offset)? {
                Look::Frame(_) | Look::End => return Ok(offset.min(self.end)),
                Look::Bad { next, .. } => offset = self.step_over(offset, next)?,
            }
        }
    }

    /// The next place behind the bad one at `offset` where a frame may begin.
    pub(crate) fn step_over(&mut self, offset: u64, next: Option<u64>) -> io::Result<u64> {
        next.map_or_else(|| self.find_mark(offset + 1), Ok)
    }

    /// Where the mark stands first, from `from` on; else the segment's end.
    fn find_mark(&mut self, from: u64) -> io::Result<u64> {
        let mark = self.mark.to_le_bytes();
        let mut offset = from.max(FILE_HEADER_BYTES as u64);
        loop {
            let bytes = self.ahead(offset, FRAME_HEADER_BYTES)?;
            if bytes.len() < FRAME_HEADER_BYTES {
                return Ok(self.end);
            }
            if let Some(at) = bytes.windows(MARK_BYTES).position(|window| window == mark) {
                return Ok(offset + at as u64);
            }
            offset += (bytes.len() - (MARK_BYTES - 1)) as u64;
        }
    }
}
