//! The handle that callers hold: open, resolve, write, read, close. What keeps it within its bounds stands in [`upkeep`].

pub(crate) mod blocks;
pub(crate) mod grid;
pub(crate) mod opening;
mod upkeep;
mod work;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::time::Instant;

use journal::disk::Disk;
use journal::{Journal, Opened};
use model::{
    Exemplar, Labels, Matcher, MetricMetadata, Selection, SeriesSet, SeriesSource, SourceError, Timestamp,
};
use parking_lot::Mutex;

use crate::error::{LimitError, StoreError, WriteError};
use crate::head::Written;
use crate::index::Census;
use crate::options::Options;
use crate::record::{self, BatchSample};
use crate::registry::{Room, SeriesRef};
use crate::replay::replay;
use crate::stats::{Maintained, Replay, ShedCause, Stats};
use crate::wal::{Done, Entry, Shared, Span, Wal};
use crate::{Companion, compact};
use blocks::Catalog;
use opening::Found;
use upkeep::{Figures, Upkeep};

/// Openings that are begun anew because the folder's owner changed it meanwhile.
const OPENING_ROUNDS: u32 = 5;

/// What one write holds: on disk and in memory whole, or not at all.
#[derive(Clone, Debug, Default)]
pub struct WriteBatch {
    /// Samples in any order. Samples of one timestamp side by side cost least.
    pub samples: Vec<(SeriesRef, Timestamp, f64)>,
    /// Native histograms in any order, each the message in which it came (`docs/formats/wire.md`).
    pub histograms: Vec<(SeriesRef, Timestamp, Arc<[u8]>)>,
    /// Exemplars, for the ring.
    pub exemplars: Vec<(SeriesRef, Exemplar)>,
    /// Descriptions of metrics by family name; those that the store has already cost nothing.
    pub metadata: Vec<(String, MetricMetadata)>,
    /// What the [`Companion`] is told once the batch is on disk.
    pub attachment: Vec<u8>,
}

/// An open store. Share it in an [`Arc`]. Dropping it closes it.
pub struct Store {
    shared: Arc<Shared>,
    journal: Journal<Wal>,
    replay: Replay,
    catalog: Catalog,
    upkeep: Mutex<Upkeep>,
    compaction: Mutex<compact::Memory>,
    figures: Figures,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Store").field("folder", &self.journal.folder()).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the store in a folder (made if need be) and replays its journal; blocks until all of it is readable.
    ///
    /// # Errors
    /// An option out of its bounds; a folder in use or written by a newer program; a disk that does not work. Damage is no
    /// error: see [`Store::replay`].
    pub fn open(
        disk: Arc<dyn Disk>,
        folder: &Path,
        options: Options,
        mut companion: Box<dyn Companion>,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        options.validate()?;
        let begun = Instant::now();
        for _ in 0..OPENING_ROUNDS {
            let shared = Arc::new(Shared::new(options.clone()));
            let found = Found::read(&disk, folder, &shared.cache)?;
            shared.adopt(&found.manifest, found.blocks.clone());
            let (opened, mut replay) = replay(&shared, &mut *companion, |visit| {
                journal::open(Arc::clone(&disk), folder, options.journal(), visit)
            });
            let (opened, report) = opened?;
            replay.journal = report;
            // The folder is locked only now: whoever had it may have written a newer MANIFEST.
            if found.is_current(&*disk, folder)? {
                let wal = Wal::new(Arc::clone(&shared), companion);
                return Self::begin(disk, shared, opened, wal, found, replay, begun, now);
            }
        }
        Err(StoreError::Restless { folder: folder.to_owned(), rounds: OPENING_ROUNDS })
    }

    /// The folder is ours.
    #[allow(clippy::too_many_arguments)] // what an opening has found, each once
    fn begin(
        disk: Arc<dyn Disk>,
        shared: Arc<Shared>,
        opened: Opened,
        wal: Wal,
        mut found: Found,
        mut replay: Replay,
        begun: Instant,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let segments = opened.segments();
        keep_damaged_segments(&shared, &segments);
        let damaged =
            segments.iter().filter(|segment| segment.damaged).map(|segment| segment.number).collect();
        let newest = segments.last().map_or(0, |segment| segment.number);
        let lost_journal = shared.forget_lost_journal(newest);
        replay.blocks = found.blocks.len();
        replay.blocks_lost = std::mem::take(&mut found.lost);
        replay.manifest_rebuilt = found.rebuilt;
        let journal = opened.start(wal)?;
        let dirty = lost_journal || found.must_write();
        let folder = journal.folder().to_owned();
        let catalog = Catalog::new(Arc::clone(&disk), &folder, &shared.options, &found, dirty);
        shared.engine.settle(0, shared.options.head_bytes_max);
        replay.duration = begun.elapsed();
        let upkeep = Mutex::new(Upkeep::new(now, damaged));
        let (compaction, figures) = Default::default();
        let store = Self { shared, journal, replay, catalog, upkeep, compaction, figures };
        store.prepare(&found, lost_journal)?;
        // What the disk refuses now it will refuse again, and the next call says so; reading need not wait for it.
        let _ = store.maintain(now);
        store.upkeep.lock().replayed = true;
        Ok(store)
    }

    /// Finds a series, or adds it.
    ///
    /// # Errors
    /// [`LimitError`] if it is new and may not be added.
    pub fn resolve(&self, labels: &Labels) -> Result<SeriesRef, LimitError> {
        if let Some(series) = self.shared.registry.read().find(labels.as_bytes()) {
            return Ok(series);
        }
        let mut registry = self.shared.registry.write();
        let before = registry.len();
        let Options { series_max, head_bytes_max, .. } = self.shared.options;
        let room = Room { series_max, bytes_max: head_bytes_max };
        let resolved = registry.resolve(labels, room);
        let counters = &self.shared.counters;
        match &resolved {
            Ok(_) if registry.len() > before => counters.series_added.fetch_add(1, Relaxed),
            Ok(_) => 0,
            Err(_) => counters.series_refused.fetch_add(1, Relaxed),
        };
        resolved
    }

    /// Finds many series by their encoded labels ([`Labels::as_bytes`]) under one lock and without allocating: `found` gets one answer
    /// for each. The iterator must not call the store.
    pub fn find_all<'b>(
        &self,
        labels: impl IntoIterator<Item = &'b [u8]>,
        found: &mut Vec<Option<SeriesRef>>,
    ) {
        let registry = self.shared.registry.read();
        found.clear();
        found.extend(labels.into_iter().map(|labels| registry.find(labels)));
    }

    /// The labels of a series, while it is known.
    pub fn labels(&self, series: SeriesRef) -> Option<Labels> {
        self.shared.registry.read().labels(series).cloned()
    }

    /// Which of these references still name a series: `known` gets one answer for each. For callers that keep references and see that
    /// [`Store::generation`] changed.
    pub fn are_known(&self, series: impl IntoIterator<Item = SeriesRef>, known: &mut Vec<bool>) {
        let registry = self.shared.registry.read();
        known.clear();
        known.extend(series.into_iter().map(|series| registry.labels(series).is_some()));
    }

    /// Changes whenever series were forgotten: references resolved before may be out of date, so callers drop those they keep. A
    /// write with such a reference is refused whole ([`WriteError::UnknownSeries`]).
    pub fn generation(&self) -> u64 {
        self.shared.counters.generation.load(Acquire)
    }

    /// The first millisecond that is kept; older samples are counted as too old and not stored.
    pub fn floor(&self) -> Timestamp {
        Timestamp::from_millis(self.shared.head.floor())
    }

    /// Writes a batch. Never blocks on the disk. `done` is called once: after the batch is on disk and readable (on the journal's
    /// thread: it must be short), or with the reason why not (possibly before this returns).
    pub fn write(
        &self,
        mut batch: WriteBatch,
        done: impl FnOnce(Result<Written, WriteError>) + Send + 'static,
    ) {
        let done: Done = Box::new(done);
        if !batch.metadata.is_empty() {
            let known = self.shared.metadata.read();
            batch.metadata.retain(|(metric, metadata)| !known.contains(metric, metadata));
        }
        order_by_time(&mut batch.samples);
        let (epoch, size) = match self.accept(&batch) {
            Ok(accepted) => accepted,
            Err(why) => return done(Err(why)),
        };
        let WriteBatch { samples, histograms, exemplars, metadata: descriptions, attachment } = batch;
        let entry =
            Entry { samples, histograms, exemplars, descriptions, deletion: None, attachment, epoch, done };
        if let Err((entry, why)) = self.journal.append(entry, size) {
            self.shared.in_flight.ended(entry.epoch);
            (entry.done)(Err(why.into()));
        }
    }

    /// Checks references and size, and counts the write in. Answers its epoch and the memory it takes.
    fn accept(&self, batch: &WriteBatch) -> Result<(u32, usize), WriteError> {
        let bytes_max = self.shared.options.record_bytes_max;
        let registry = self.shared.registry.read();
        let extras = record::extras_size_max(&batch.histograms, &batch.exemplars);
        let mut size = record::size_max(batch.samples.len(), &batch.metadata, &batch.attachment) + extras;
        let series = batch.samples.iter().map(|sample| sample.0);
        let series = series.chain(batch.histograms.iter().map(|histogram| histogram.0));
        for series in series.chain(batch.exemplars.iter().map(|exemplar| exemplar.0)) {
            let labels_bytes = registry.touch_known(series).ok_or(WriteError::UnknownSeries { series })?;
            size += 2 * labels_bytes + 16; // its definition at most, if the segment lacks it
        }
        if size > bytes_max {
            return Err(WriteError::TooLarge { bytes: size, bytes_max });
        }
        let bytes = self.shared.head.bytes() + registry.bytes();
        if self.shared.engine.refuses(bytes) {
            self.shared.engine.work.look(i64::MIN, true);
            return Err(WriteError::NoMemory { bytes, bytes_max: self.shared.options.head_bytes_max });
        }
        let memory = batch.samples.len() * size_of::<BatchSample>()
            + record::size_max(0, &batch.metadata, &batch.attachment)
            + extras
            + size_of::<Entry>();
        Ok((registry.count_in(&self.shared.in_flight), memory))
    }

    /// The exemplars within a span (inclusive) of the series that any of the selections' matchers choose, by series in label order;
    /// each series' in time order. No matcher: all series.
    pub fn exemplars(
        &self,
        selections: &[Vec<Matcher>],
        start: Timestamp,
        end: Timestamp,
    ) -> Vec<(Labels, Vec<Exemplar>)> {
        let matches = |labels: &Labels, matchers: &Vec<Matcher>| {
            matchers.iter().all(|matcher| matcher.matches(labels.get(matcher.name()).unwrap_or("")))
        };
        let wanted = |labels: &Labels| {
            selections.is_empty() || selections.iter().any(|matchers| matches(labels, matchers))
        };
        self.shared.exemplars.lock().find(start, end, wanted)
    }

    /// Waits until every write so far has been answered.
    ///
    /// # Errors
    /// As the journal answers: full, poisoned, closed.
    pub fn flush(&self) -> Result<(), StoreError> {
        Ok(self.journal.flush()?)
    }

    /// Descriptions of one metric family, or of the first `limit` (0: all) by name; latest first.
    pub fn metadata(&self, metric: Option<&str>, limit: usize) -> Vec<(String, Vec<MetricMetadata>)> {
        self.shared.metadata.read().get(metric, limit)
    }

    /// The labels with most values and most series among those that are written to: the `top` first of each kind.
    pub fn census(&self, top: usize) -> Census {
        self.shared.registry.read().index.census(top)
    }

    /// Runs of samples in memory. Asks every series.
    pub fn chunks(&self) -> usize {
        self.shared.head.chunks()
    }

    /// The values of a label that most series bear, with how many do.
    pub fn top_values(&self, label: &str, top: usize) -> Vec<(String, usize)> {
        self.shared.registry.read().index.top(label, top)
    }

    /// The disk, for copies of the folder.
    pub(crate) fn disk(&self) -> &Arc<dyn Disk> {
        &self.catalog.disk
    }

    /// The folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.catalog.folder
    }

    /// What the start found.
    pub fn replay(&self) -> &Replay {
        &self.replay
    }

    /// The store's figures. Cheap: asks no series.
    pub fn stats(&self) -> Stats {
        let Shared { registry, head, metadata, counters, .. } = &*self.shared;
        let (series, index_bytes) = {
            let registry = registry.read();
            (registry.len(), registry.bytes())
        };
        let metadata = metadata.read();
        Stats {
            series,
            series_added: counters.series_added.load(Relaxed),
            series_forgotten: counters.series_forgotten.load(Relaxed),
            series_refused: counters.series_refused.load(Relaxed),
            generation: self.generation(),
            samples: head.samples(),
            written: *counters.written.lock(),
            head_bytes: head.bytes() + index_bytes,
            index_bytes,
            metadata_bytes: metadata.bytes(),
            metadata_metrics: metadata.len(),
            metadata_evicted: metadata.evicted(),
            min_time: head.min_time().map(Timestamp::from_millis),
            max_time: head.max_time().map(Timestamp::from_millis),
            floor: self.floor(),
            shed: ShedCause::ALL.map(|cause| (cause, counters.shed[cause as usize].load(Relaxed))),
            blocks: self.block_stats(),
            forecast: self.forecast(),
            replay: self.replay.clone(),
            journal: self.journal.stats(),
        }
    }

    /// Writes what waits, syncs and stops. Reading goes on; later writes are refused.
    ///
    /// # Errors
    /// As for [`Store::flush`].
    pub fn close(&self) -> Result<(), StoreError> {
        Ok(self.journal.close()?)
    }
}

fn note(done: &mut Maintained, cause: ShedCause, dropped: u64) {
    if dropped > 0 {
        done.dropped.push((cause, dropped));
    }
}

/// Whoever looks into damage later needs the file: it stays until its neighbours' samples are past their age.
fn keep_damaged_segments(shared: &Shared, segments: &[journal::SegmentInfo]) {
    let newest = shared.head.max_time().unwrap_or(i64::MIN);
    let mut known = shared.segments.lock();
    for segment in segments.iter().filter(|segment| segment.damaged) {
        known.spans.insert(segment.number, Some(Span { max: newest }));
    }
}

/// Brings samples of one timestamp together where they lie scattered.
fn order_by_time(samples: &mut [BatchSample]) {
    let runs = samples.chunk_by(|a, b| a.1 == b.1).count();
    if runs > 1 + samples.len() / 4 {
        samples.sort_by_key(|sample| sample.1);
    }
}

impl SeriesSource for Store {
    fn select<'a>(
        &'a self,
        selection: &Selection<'_>,
    ) -> Result<Box<dyn SeriesSet + Send + 'a>, SourceError> {
        self.shared.select(selection)
    }

    fn select_parts<'a>(
        &'a self,
        selection: &Selection<'_>,
        series: usize,
    ) -> Result<Vec<Box<dyn SeriesSet + Send + 'a>>, SourceError> {
        self.shared.select_parts(selection, series)
    }

    fn label_names(&self, selections: &[Selection<'_>], limit: usize) -> Result<Vec<String>, SourceError> {
        self.shared.label_names(selections, limit)
    }

    fn label_values(
        &self,
        name: &str,
        selections: &[Selection<'_>],
        limit: usize,
    ) -> Result<Vec<String>, SourceError> {
        self.shared.label_values(name, selections, limit)
    }

    fn series(&self, selections: &[Selection<'_>], limit: usize) -> Result<Vec<Labels>, SourceError> {
        self.shared.series(selections, limit)
    }
}
