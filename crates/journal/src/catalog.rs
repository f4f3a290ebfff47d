//! Which segments there are and how far each may be read: shared by the journal's thread, which lengthens it, and by those
//! who read.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::disk::{Disk, DiskFile};
use crate::error::{DamageKind, JournalError};
use crate::format::{self, FILE_HEADER_BYTES, FRAME_HEADER_BYTES, FrameHeader, FrameKind, Place};
use crate::record::{Position, SegmentInfo};

/// Files kept open for [`Catalog::read`].
const OPEN_FILES_MAX: usize = 8;
/// What a read by position asks for first: header and payload of most records.
const FIRST_READ_BYTES: usize = 4096;

/// One segment, as readers need it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Segment {
    pub(crate) mark: u32,
    /// Readable up to here.
    pub(crate) bytes: u64,
    pub(crate) entries: u64,
    pub(crate) sealed: bool,
    pub(crate) damaged: bool,
}

#[derive(Debug)]
pub(crate) struct Catalog {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    record_bytes_max: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    segments: BTreeMap<u64, Segment>,
    /// Most recently used last.
    open: VecDeque<(u64, Arc<dyn DiskFile>)>,
}

impl Catalog {
    pub(crate) fn new(disk: Arc<dyn Disk>, folder: &Path, record_bytes_max: usize) -> Catalog {
        Catalog { disk, folder: folder.to_owned(), record_bytes_max, inner: Mutex::default() }
    }

    pub(crate) fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn record_bytes_max(&self) -> usize {
        self.record_bytes_max
    }

    pub(crate) fn path(&self, segment: u64) -> PathBuf {
        self.folder.join(format::segment_name(segment))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("nothing panics while it holds the catalogue")
    }

    pub(crate) fn insert(&self, number: u64, segment: Segment) {
        self.lock().segments.insert(number, segment);
    }

    /// The segment holds this much more.
    pub(crate) fn grow(&self, number: u64, bytes: u64, entries: u64) {
        if let Some(segment) = self.lock().segments.get_mut(&number) {
            segment.bytes = bytes;
            segment.entries += entries;
        }
    }

    pub(crate) fn seal(&self, number: u64) {
        if let Some(segment) = self.lock().segments.get_mut(&number) {
            segment.sealed = true;
        }
    }

    /// The first segment with this number or a greater one.
    pub(crate) fn first_from(&self, number: u64) -> Option<(u64, Segment)> {
        self.lock().segments.range(number..).next().map(|(number, segment)| (*number, *segment))
    }

    pub(crate) fn infos(&self) -> Vec<SegmentInfo> {
        let inner = self.lock();
        let newest = inner.segments.keys().next_back().copied();
        let info = |(number, segment): (&u64, &Segment)| SegmentInfo {
            number: *number,
            mark: segment.mark,
            bytes: segment.bytes,
            entries: segment.entries,
            sealed: segment.sealed,
            removable: Some(*number) != newest,
            damaged: segment.damaged,
        };
        inner.segments.iter().map(info).collect()
    }

    /// How many segments there are, and their bytes.
    pub(crate) fn totals(&self) -> (usize, u64) {
        let inner = self.lock();
        (inner.segments.len(), inner.segments.values().map(|segment| segment.bytes).sum())
    }

    /// Removes segments, oldest first.
    pub(crate) fn remove(&self, numbers: &[u64]) -> Result<u64, JournalError> {
        let mut wanted = numbers.to_vec();
        wanted.sort_unstable();
        let newest = self.lock().segments.keys().next_back().copied();
        if let Some(segment) = newest.filter(|newest| wanted.contains(newest)) {
            return Err(JournalError::SegmentInUse { segment });
        }
        let mut freed = None;
        for number in wanted {
            if let Some(bytes) = self.remove_one(number)? {
                *freed.get_or_insert(0) += bytes;
            }
        }
        let Some(freed) = freed else { return Ok(0) };
        self.disk.sync_dir(&self.folder).map_err(JournalError::io("sync", &self.folder))?;
        Ok(freed)
    }

    fn remove_one(&self, number: u64) -> Result<Option<u64>, JournalError> {
        let Some(bytes) = self.lock().segments.get(&number).map(|segment| segment.bytes) else {
            return Ok(None);
        };
        let path = self.path(number);
        match self.disk.remove(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {} // somebody tidied up by hand
            Err(error) => return Err(JournalError::io("remove", &path)(error)),
        }
        let mut inner = self.lock();
        inner.segments.remove(&number);
        inner.open.retain(|(open, _)| *open != number); // an open handle would keep its blocks
        Ok(Some(bytes))
    }

    /// A handle to read a segment with.
    pub(crate) fn open(&self, number: u64) -> Result<Arc<dyn DiskFile>, JournalError> {
        let path = self.path(number);
        self.disk.open_read(&path).map(Arc::from).map_err(JournalError::io("open", &path))
    }

    /// The same, kept open for the next read.
    fn opened(&self, number: u64) -> Result<Arc<dyn DiskFile>, JournalError> {
        let mut inner = self.lock();
        if let Some(index) = inner.open.iter().position(|(open, _)| *open == number) {
            let kept = inner.open.remove(index).expect("it was just found there");
            let file = Arc::clone(&kept.1);
            inner.open.push_back(kept);
            return Ok(file);
        }
        drop(inner); // opening may wait for the disk, and the journal's thread must not
        let file = self.open(number)?;
        let mut inner = self.lock();
        if inner.segments.contains_key(&number) {
            inner.open.push_back((number, Arc::clone(&file)));
            if inner.open.len() > OPEN_FILES_MAX {
                inner.open.pop_front();
            }
        }
        Ok(file)
    }

    /// Reads the payload of the record at `at` into `payload`, replacing what it holds.
    pub(crate) fn read(&self, at: Position, payload: &mut Vec<u8>) -> Result<(), JournalError> {
        let gone = || JournalError::NoRecord { at };
        let segment = self.lock().segments.get(&at.segment).copied().ok_or_else(gone)?;
        if at.offset < FILE_HEADER_BYTES as u64 || at.offset >= segment.bytes {
            return Err(gone());
        }
        let file = match self.opened(at.segment) {
            Ok(file) => file,
            Err(_) if !self.lock().segments.contains_key(&at.segment) => return Err(gone()),
            Err(error) => return Err(error),
        };
        let place = Place { segment: at.segment, mark: segment.mark, offset: at.offset };
        self.read_frame(file.as_ref(), place, segment.bytes - at.offset, payload)
    }

    fn read_frame(
        &self,
        file: &dyn DiskFile,
        place: Place,
        left: u64,
        payload: &mut Vec<u8>,
    ) -> Result<(), JournalError> {
        let at = Position { segment: place.segment, offset: place.offset };
        let damaged = |kind| JournalError::Damaged { file: self.path(at.segment), offset: at.offset, kind };
        let read_error = |error| JournalError::io("read", &self.path(at.segment))(error);
        payload.clear();
        payload.resize(FIRST_READ_BYTES.min(usize::try_from(left).unwrap_or(usize::MAX)), 0);
        let filled = file.read_at(at.offset, payload).map_err(read_error)?;
        payload.truncate(filled);
        let header = FrameHeader::decode(payload, place).ok_or_else(|| damaged(DamageKind::FrameHeader))?;
        let length = header.length as usize;
        if header.frame_bytes() > left {
            return Err(damaged(DamageKind::Truncated));
        }
        if length > self.record_bytes_max {
            return Err(JournalError::RecordOverLimit {
                at,
                bytes: length,
                max_bytes: self.record_bytes_max,
            });
        }
        if header.kind == FrameKind::End {
            return Err(JournalError::NoRecord { at });
        }
        payload.drain(..FRAME_HEADER_BYTES);
        let have = payload.len().min(length);
        payload.resize(length, 0);
        if have < length {
            let from = at.offset + (FRAME_HEADER_BYTES + have) as u64;
            let more = file.read_at(from, &mut payload[have..]).map_err(read_error)?;
            if have + more < length {
                return Err(damaged(DamageKind::Truncated));
            }
        }
        if crc32c::crc32c(payload) == header.payload_checksum {
            Ok(())
        } else {
            Err(damaged(DamageKind::Payload))
        }
    }
}
