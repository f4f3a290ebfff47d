//! Writes a block file: series in label order in, one immutable file out, whole or not at all.
//!
//! In: each series once, labels strictly ascending, its samples and histograms in time order and within the block's cell. Out: the file
//! `<number>.block`, synced and under its name. Until [`BlockWriter::finish`] it bears `.tmp` behind its name; a writer that is
//! dropped takes it away.
//!
//! Memory: a frame of each kind, the index' lists (a few bytes a series and label), twelve bytes for every frame, and up to 5 MiB to find
//! time columns again ([`COLUMNS_KEPT`]). A block that has more columns than that at a time repeats some.

use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use journal::disk::{Disk, DiskFile};
use model::{Columns, Labels, Timestamp};
use siphasher::sip128::SipHasher13;

use super::format::{self, Roots};
use super::frame::{FrameRef, FrameSink};
use super::meta::{BlockMeta, BlockSpec};
use super::series::{Chunk, Entry, Place, SeriesWriter};
use super::times::TimeEncoder;
use super::values::{ValueEncoder, chunk_lengths};
use super::{file_name, records};
use crate::error::BlockError;
use crate::index::builder::IndexBuilder;

/// Data and column frames end with the chunk with which they reach this.
const FRAME_BYTES: usize = 48 << 10;

/// A run of records ends with the record with which it reaches this.
const RECORDS_BYTES: usize = 256 << 10;

/// Bytes that are written at once.
const WRITE_BYTES: usize = 256 << 10;

/// Time columns of a generation that may come again: what a table of 65,536 places (2 MiB) holds. The columns of 2,000 hosts in a cell
/// of a month are fewer.
const COLUMNS_KEPT: usize = (1 << 16) / 8 * 7;

/// The file while it is written.
struct Out {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    path: PathBuf,
    file: Box<dyn DiskFile>,
    buffer: Vec<u8>,
    offset: u64,
}

impl Out {
    fn io<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(std::io::Error) -> BlockError + 'a {
        move |source| BlockError::Io { what, path: path.to_owned(), source }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), BlockError> {
        self.buffer.extend_from_slice(bytes);
        self.offset += bytes.len() as u64;
        if self.buffer.len() >= WRITE_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), BlockError> {
        self.file.append(&self.buffer).map_err(Self::io("write", &self.path))?;
        self.buffer.clear();
        Ok(())
    }
}

impl FrameSink for Out {
    fn put(&mut self, payload: &[u8]) -> Result<FrameRef, BlockError> {
        let length = u32::try_from(payload.len()).ok().filter(|&length| length <= format::FRAME_MAX);
        let length = length.ok_or_else(|| {
            let source =
                std::io::Error::other("a frame would be longer than 256 MiB: label values are too long");
            BlockError::Io { what: "write", path: self.path.clone(), source }
        })?;
        let at = FrameRef { offset: self.offset, length };
        self.write(&format::frame_head(at.offset, payload))?;
        self.write(payload)?;
        Ok(at)
    }
}

/// Things of one kind on their way into frames.
#[derive(Default)]
struct Shelf {
    pending: Vec<u8>,
    directory: Vec<u8>,
    frames: u32,
}

impl Shelf {
    /// Where the bytes will lie that were appended to `pending` since it was `from` long.
    fn place(&self, from: usize) -> Place {
        Place { frame: self.frames, offset: from as u32, length: (self.pending.len() - from) as u32 }
    }

    fn end_frame(&mut self, out: &mut Out) -> Result<(), BlockError> {
        let pending = std::mem::take(&mut self.pending);
        if !pending.is_empty() {
            self.put(&pending, out)?;
        }
        self.pending = pending;
        self.pending.clear();
        Ok(())
    }

    fn put(&mut self, payload: &[u8], out: &mut Out) -> Result<(), BlockError> {
        format::put_place(out.put(payload)?, &mut self.directory);
        self.frames += 1;
        Ok(())
    }
}

/// Time columns that were written, so that equal ones are written once, whoever sent them. They are known by a hash of 128 bits under
/// a key of this writer's own: nobody can make two columns look equal. In two generations, of which the older goes when the newer is
/// full: a column that comes again within [`COLUMNS_KEPT`] others is found.
struct Known {
    hasher: SipHasher13,
    recent: HashMap<u128, Place, ahash::RandomState>,
    older: HashMap<u128, Place, ahash::RandomState>,
    scratch: Vec<u8>,
}

impl Known {
    fn new() -> Self {
        let random = std::hash::RandomState::new();
        Self {
            hasher: SipHasher13::new_with_keys(random.hash_one(1), random.hash_one(2)),
            recent: HashMap::default(),
            older: HashMap::default(),
            scratch: Vec::new(),
        }
    }

    /// The hash of a column's steps: three forms, each as short as it may be, told apart by their first byte.
    fn key(&mut self, times: &[i64]) -> u128 {
        let bytes = &mut self.scratch;
        bytes.clear();
        let steps = || times.windows(2).map(|pair| pair[1].wrapping_sub(pair[0]));
        let first = steps().next().unwrap_or_default();
        if steps().fold(true, |steady, step| steady & (step == first)) {
            bytes.push(0);
            bytes.extend_from_slice(&(times.len() as u64).to_le_bytes());
            bytes.extend_from_slice(&first.to_le_bytes());
        } else if steps().fold(0, |all, step| all | step) as u64 <= u64::from(u32::MAX) {
            bytes.push(1);
            steps().for_each(|step| bytes.extend_from_slice(&(step as u32).to_le_bytes()));
        } else {
            bytes.push(2);
            steps().for_each(|step| bytes.extend_from_slice(&step.to_le_bytes()));
        }
        self.hasher.hash(bytes).as_u128()
    }

    fn find(&mut self, key: u128) -> Option<Place> {
        if let Some(place) = self.recent.get(&key) {
            return Some(*place);
        }
        let place = self.older.remove(&key)?;
        self.keep(key, place);
        Some(place)
    }

    fn keep(&mut self, key: u128, place: Place) {
        if self.recent.len() >= COLUMNS_KEPT {
            self.older = std::mem::take(&mut self.recent);
        }
        self.recent.insert(key, place);
    }
}

/// See the module.
pub(crate) struct BlockWriter {
    spec: BlockSpec,
    out: Option<Out>,
    data: Shelf,
    columns: Shelf,
    series: Shelf,
    entries: SeriesWriter,
    index: IndexBuilder,
    known: Known,
    times: TimeEncoder,
    values: ValueEncoder,
    millis: Vec<i64>,
    entry: Entry,
    meta: BlockMeta,
}

impl BlockWriter {
    /// Begins the file in `folder`, which exists. What a crash left under the same name goes.
    ///
    /// # Errors
    /// As the disk answers.
    pub(crate) fn create(disk: &Arc<dyn Disk>, folder: &Path, spec: BlockSpec) -> Result<Self, BlockError> {
        let path = folder.join(format!("{}.tmp", file_name(spec.number)));
        let file = match disk.create(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                disk.remove(&path).and_then(|()| disk.create(&path))
            }
            answer => answer,
        };
        let file = file.map_err(Out::io("create", &path))?;
        let (disk, folder) = (Arc::clone(disk), folder.to_owned());
        let mut out = Out { disk, folder, path, file, buffer: Vec::with_capacity(WRITE_BYTES), offset: 0 };
        let begun = out.write(&format::header());
        let writer = Self {
            out: Some(out),
            data: Shelf::default(),
            columns: Shelf::default(),
            series: Shelf::default(),
            entries: SeriesWriter::new(spec.start),
            index: IndexBuilder::default(),
            known: Known::new(),
            times: TimeEncoder::default(),
            values: ValueEncoder::default(),
            millis: Vec::new(),
            entry: Entry::default(),
            meta: BlockMeta {
                spec: spec.clone(),
                min_time: i64::MAX,
                max_time: i64::MIN,
                series: 0,
                samples: 0,
                histograms: 0,
                bytes: 0,
                resolution_ms: 0,
            },
            spec,
        };
        begun.map(|()| writer)
    }

    /// Whether no series was pushed yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.meta.series == 0
    }

    /// Adds a series. Its labels are greater than those of all before; it has samples or histograms, in time order and within the cell.
    ///
    /// # Errors
    /// As the disk answers; the block is given up then.
    pub(crate) fn push(
        &mut self,
        labels: &Labels,
        samples: &Columns,
        histograms: &[(Timestamp, Arc<[u8]>)],
    ) -> Result<(), BlockError> {
        assert!(self.is_empty() || self.entry.labels < *labels, "series come in label order");
        assert!(!samples.is_empty() || !histograms.is_empty(), "a series without samples is in no block");
        self.entry.labels = labels.clone();
        self.entry.chunks.clear();
        self.entry.records.clear();
        self.push_samples(samples)?;
        self.push_histograms(histograms)?;
        self.note(samples, histograms);
        self.index.add(self.meta.series, labels);
        self.meta.series += 1;
        self.entries.push(&self.entry);
        if self.entries.is_full() {
            self.end_series_frame()?;
        }
        Ok(())
    }

    fn note(&mut self, samples: &Columns, histograms: &[(Timestamp, Arc<[u8]>)]) {
        let spans = [
            samples.timestamps.first().copied().zip(samples.timestamps.last().copied()),
            histograms.first().map(|first| first.0).zip(histograms.last().map(|last| last.0)),
        ];
        for (first, last) in spans.into_iter().flatten() {
            let within = first.as_millis() >= self.spec.start && last.as_millis() < self.spec.end;
            assert!(within, "what a block holds lies in its cell");
            self.meta.min_time = self.meta.min_time.min(first.as_millis());
            self.meta.max_time = self.meta.max_time.max(last.as_millis());
        }
        self.meta.samples += samples.len() as u64;
        self.meta.histograms += histograms.len() as u64;
    }

    fn push_samples(&mut self, samples: &Columns) -> Result<(), BlockError> {
        let mut from = 0;
        for length in chunk_lengths(samples.len(), self.spec.coding) {
            let part = from..from + length;
            from = part.end;
            self.millis.clear();
            self.millis.extend(samples.timestamps[part.clone()].iter().map(|time| time.as_millis()));
            let column = self.column()?;
            let begin = self.data.pending.len();
            self.values.encode(&samples.values[part], self.spec.coding, &mut self.data.pending);
            let (first, count) = (self.millis[0], length as u32);
            let data = self.data.place(begin);
            self.entry.chunks.push(Chunk { first, count, column, data });
            self.end_data_frame(FRAME_BYTES)?;
        }
        Ok(())
    }

    /// Where the times of `millis` lie, written if they are new.
    fn column(&mut self) -> Result<Place, BlockError> {
        let key = self.known.key(&self.millis);
        if let Some(place) = self.known.find(key) {
            return Ok(place);
        }
        let begin = self.columns.pending.len();
        self.times.encode(&self.millis, self.spec.coding, &mut self.columns.pending);
        let place = match self.columns.place(begin) {
            Place { length: 0, .. } => Place::default(), // one sample has no steps, and there may be no frame
            place => place,
        };
        self.known.keep(key, place);
        if self.columns.pending.len() >= FRAME_BYTES {
            self.columns.end_frame(self.out.as_mut().expect(OPEN))?;
        }
        Ok(place)
    }

    fn push_histograms(&mut self, histograms: &[(Timestamp, Arc<[u8]>)]) -> Result<(), BlockError> {
        let mut rest = histograms;
        while let Some(&(first, _)) = rest.first() {
            let mut bytes = 0;
            let fits = rest.iter().take_while(|(_, record)| {
                let fits = bytes < RECORDS_BYTES;
                bytes += record.len();
                fits
            });
            let (run, after) = rest.split_at(fits.count());
            let run: Vec<(i64, &[u8])> =
                run.iter().map(|(time, record)| (time.as_millis(), &**record)).collect();
            let begin = self.data.pending.len();
            records::encode(&run, &mut self.data.pending);
            let (first, count) = (first.as_millis(), run.len() as u32);
            let data = self.data.place(begin);
            self.entry.records.push(Chunk { first, count, column: Place::default(), data });
            self.end_data_frame(FRAME_BYTES)?;
            rest = after;
        }
        Ok(())
    }

    fn end_data_frame(&mut self, at_least: usize) -> Result<(), BlockError> {
        if self.data.pending.len() >= at_least {
            self.data.end_frame(self.out.as_mut().expect(OPEN))?;
        }
        Ok(())
    }

    fn end_series_frame(&mut self) -> Result<(), BlockError> {
        let out = self.out.as_mut().expect(OPEN);
        self.entries.take().map_or(Ok(()), |payload| self.series.put(&payload, out))
    }

    /// Writes what is left, syncs, and gives the file its name. At least one series was pushed.
    ///
    /// # Errors
    /// As the disk answers; the file is taken away then, or left for the next start to take away.
    pub(crate) fn finish(mut self) -> Result<BlockMeta, BlockError> {
        assert!(!self.is_empty(), "a block without series is not written");
        self.end_data_frame(0)?;
        self.end_series_frame()?;
        let index = std::mem::take(&mut self.index);
        let out = self.out.as_mut().expect(OPEN);
        self.columns.end_frame(out)?;
        let roots = Roots {
            data: out.put(&self.data.directory)?,
            columns: out.put(&self.columns.directory)?,
            series: out.put(&self.series.directory)?,
            index: index.finish(out)?,
        };
        let mut footer = Vec::new();
        format::put_footer(&self.meta, &roots, &mut footer);
        let at = out.put(&footer)?;
        out.write(&format::trailer(at))?;
        out.flush()?;
        out.file.sync_data().map_err(Out::io("sync", &out.path))?;
        self.meta.bytes = out.offset;
        let path = out.folder.join(file_name(self.spec.number));
        out.disk.rename(&out.path, &path).map_err(Out::io("rename", &out.path))?;
        out.disk.sync_dir(&out.folder).map_err(Out::io("sync", &out.folder))?;
        self.out = None;
        Ok(self.meta.clone())
    }
}

const OPEN: &str = "a writer has its file until it is finished";

impl Drop for BlockWriter {
    fn drop(&mut self) {
        if let Some(out) = self.out.take() {
            // Where it cannot be removed it stays a `.tmp`, which the next start takes away.
            drop(out.disk.remove(&out.path));
        }
    }
}
