//! The handle that callers hold: open, resolve, write, read, maintain, close.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::{Duration, Instant};

use journal::Journal;
use journal::disk::Disk;
use model::{Exemplar, Labels, MetricMetadata, Selection, SeriesSet, SeriesSource, SourceError, Timestamp};
use parking_lot::Mutex;

use crate::Companion;
use crate::error::{LimitError, StoreError, WriteError};
use crate::head::Written;
use crate::index::Census;
use crate::options::Options;
use crate::record::{self, BatchSample};
use crate::registry::{Room, SeriesRef};
use crate::stats::{BlockStats, Maintained, Replay, ShedCause, Stats};
use crate::wal::{Done, Entry, Replayer, Shared, Span, Wal};

/// How far the clock may run ahead of the newest sample before retention stops believing it. A clock that jumps years ahead must not
/// empty the store.
const CLOCK_TRUST: Duration = Duration::from_secs(3600);

/// Series are looked over for those that are empty at least this often.
const FORGET_EVERY: Duration = Duration::from_secs(300);

/// And so many calls of maintain after a sweep: two until all series that a write was on its way to are at rest.
const FORGET_AFTER_SWEEP: u8 = 2;

/// Slots looked over under one lock.
const FORGET_SLOTS: usize = 4096;

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
    upkeep: Mutex<Upkeep>,
}

/// What [`Store::maintain`] remembers between calls.
#[derive(Debug)]
struct Upkeep {
    swept_floor: i64,
    forgot_at: Timestamp,
    /// Calls until series are looked over because of a sweep: those that were written to lately are not at rest before.
    forget_in: Option<u8>,
    /// The segment that was written to when maintain last looked, and since when.
    segment: (u64, Timestamp),
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
        let shared = Arc::new(Shared::new(options));
        let mut replayer = Replayer::new(&shared, &mut *companion);
        let journal_options = shared.options.journal();
        let (opened, report) =
            journal::open(disk, folder, journal_options, &mut |record| replayer.visit(record))?;
        let mut replay = replayer.replay;
        replay.journal = report;
        keep_damaged_segments(&shared, &opened.segments());
        let journal = opened.start(Wal::new(Arc::clone(&shared), companion))?;
        replay.duration = begun.elapsed();
        let upkeep = Upkeep { swept_floor: i64::MIN, forgot_at: now, forget_in: None, segment: (0, now) };
        let store = Self { shared, journal, replay, upkeep: Mutex::new(upkeep) };
        // What the disk refuses now it will refuse again, and the next call says so; reading need not wait for it.
        let _ = store.maintain(now);
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
        let WriteBatch { samples, metadata: descriptions, attachment, .. } = batch;
        let entry = Entry { samples, descriptions, attachment, epoch, done };
        if let Err((entry, why)) = self.journal.append(entry, size) {
            self.shared.in_flight.ended(entry.epoch);
            (entry.done)(Err(why.into()));
        }
    }

    /// Checks references and size, and counts the write in. Answers its epoch and the memory it takes.
    fn accept(&self, batch: &WriteBatch) -> Result<(u32, usize), WriteError> {
        let bytes_max = self.shared.options.record_bytes_max;
        let registry = self.shared.registry.read();
        let mut size = record::size_max(batch.samples.len(), &batch.metadata, &batch.attachment);
        for &(series, ..) in &batch.samples {
            let labels_bytes = registry.touch_known(series).ok_or(WriteError::UnknownSeries { series })?;
            size += 2 * labels_bytes + 16; // its definition at most, if the segment lacks it
        }
        if size > bytes_max {
            return Err(WriteError::TooLarge { bytes: size, bytes_max });
        }
        let memory = batch.samples.len() * size_of::<BatchSample>()
            + record::size_max(0, &batch.metadata, &batch.attachment)
            + size_of::<Entry>();
        Ok((registry.count_in(&self.shared.in_flight), memory))
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

    /// The values of a label that most series bear, with how many do.
    pub fn top_values(&self, label: &str, top: usize) -> Vec<(String, usize)> {
        self.shared.registry.read().index.top(label, top)
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
            blocks: BlockStats::default(),
            forecast: None,
            replay: self.replay.clone(),
            journal: self.journal.stats(),
        }
    }

    /// Keeps every bound: drops what is past its age, sheds the oldest past memory and disk, forgets empty series, removes journal
    /// segments that hold nothing any more. Call it every ten seconds or so, on a thread that may block.
    ///
    /// # Errors
    /// The journal's, where it cannot begin or remove segments; memory and age are kept nevertheless.
    pub fn maintain(&self, now: Timestamp) -> Result<Maintained, StoreError> {
        let mut upkeep = self.upkeep.lock();
        let mut done = Maintained::default();
        self.keep_age(now, &mut upkeep, &mut done);
        self.keep_journal_bound(&mut done);
        note(&mut done, ShedCause::HeadBytes, self.shared.keep_memory_bound(0));
        done.series_forgotten = self.forget_empty(now, &mut upkeep, !done.dropped.is_empty());
        self.rotate_old_segment(now, &mut upkeep)?;
        done.segments_removed = self.remove_segments()?;
        Ok(done)
    }

    fn keep_age(&self, now: Timestamp, upkeep: &mut Upkeep, done: &mut Maintained) {
        let head = &self.shared.head;
        let Some(newest) = head.max_time() else { return };
        let retention = self.shared.options.retention;
        let believed = now.min(Timestamp::from_millis(newest) + CLOCK_TRUST);
        head.raise_floor((believed - retention).as_millis());
        // A sweep walks all series, so it waits until there is something to sweep.
        let step = i64::try_from((retention / 256).as_millis()).unwrap_or(i64::MAX).max(60_000);
        let floor = head.floor();
        if floor.saturating_sub(upkeep.swept_floor) >= step {
            upkeep.swept_floor = floor;
            note(done, ShedCause::Retention, self.shared.shed_below(floor, ShedCause::Retention));
        }
    }

    /// Past the journal's bound the segments whose samples are the oldest go, and with them all samples of that age.
    fn keep_journal_bound(&self, done: &mut Maintained) {
        let segments = self.journal.segments();
        let mut bytes: u64 = segments.iter().map(|segment| segment.bytes).sum();
        let floor = {
            let known = self.shared.segments.lock();
            let latest =
                |number: u64| known.spans.get(&number).copied().flatten().map_or(i64::MIN, |span| span.max);
            let mut sealed: Vec<_> =
                segments.iter().filter(|segment| segment.number < known.anchored).collect();
            sealed.sort_unstable_by_key(|segment| latest(segment.number));
            let mut floor = i64::MIN;
            for segment in sealed {
                if bytes <= self.shared.options.journal_bytes_max {
                    break;
                }
                bytes -= segment.bytes;
                floor = floor.max(latest(segment.number).saturating_add(1));
            }
            floor
        };
        if floor > self.shared.head.floor() {
            note(done, ShedCause::JournalBytes, self.shared.shed_below(floor, ShedCause::JournalBytes));
        }
    }

    fn forget_empty(&self, now: Timestamp, upkeep: &mut Upkeep, swept: bool) -> usize {
        let Shared { registry, in_flight, counters, options, .. } = &*self.shared;
        let crowded = {
            let mut registry = registry.write();
            registry.next_epoch(in_flight);
            registry.len() >= options.series_max - options.series_max / 10
        };
        if swept {
            upkeep.forget_in.get_or_insert(FORGET_AFTER_SWEEP);
        }
        let waited = now.millis_since(upkeep.forgot_at);
        let late = waited < 0 || waited >= FORGET_EVERY.as_millis() as i64;
        if !(crowded || late || upkeep.forget_in == Some(0)) {
            upkeep.forget_in = upkeep.forget_in.map(|calls| calls.saturating_sub(1));
            return 0;
        }
        upkeep.forget_in = None;
        upkeep.forgot_at = now;
        let slots = registry.read().slots();
        let forgotten = (0..slots).step_by(FORGET_SLOTS).map(|from| self.forget_slots(from)).sum();
        counters.series_forgotten.fetch_add(forgotten as u64, Relaxed);
        forgotten
    }

    fn forget_slots(&self, from: usize) -> usize {
        let Shared { registry, head, counters, .. } = &*self.shared;
        let empty: Vec<SeriesRef> = {
            let (registry, data) = (registry.read(), head.read());
            let is_empty = |series: &SeriesRef| data.get(*series).is_none_or(|series| series.is_empty());
            registry.at_rest(from..from + FORGET_SLOTS).filter(is_empty).collect()
        };
        if empty.is_empty() {
            return 0;
        }
        let mut registry = registry.write();
        let data = head.read();
        let gone = registry.forget(&empty, |series| data.get(series).is_none_or(|series| series.is_empty()));
        if gone > 0 {
            counters.generation.fetch_add(1, Release);
        }
        gone
    }

    /// A slow journal begins a segment now and then too, so that the old one can go when its samples are past their age.
    fn rotate_old_segment(&self, now: Timestamp, upkeep: &mut Upkeep) -> Result<(), StoreError> {
        let current = self.shared.segments.lock().current;
        if current != upkeep.segment.0 {
            upkeep.segment = (current, now);
        }
        let age = now.millis_since(upkeep.segment.1);
        let due = age >= i64::try_from((self.shared.options.retention / 8).as_millis()).unwrap_or(i64::MAX);
        let newest =
            self.journal.segments().last().is_some_and(|last| last.number == current && last.entries > 0);
        if due && newest {
            let begun = self.journal.rotate()?;
            let mut segments = self.shared.segments.lock();
            segments.anchored = segments.anchored.max(begun);
            upkeep.segment.1 = now;
        }
        Ok(())
    }

    fn remove_segments(&self) -> Result<usize, StoreError> {
        let floor = self.shared.head.floor();
        let gone: Vec<u64> = {
            let known = self.shared.segments.lock();
            let span = |number: u64| known.spans.get(&number).copied().flatten();
            let segments = self.journal.segments();
            let unneeded =
                segments.iter().filter(|segment| segment.removable && segment.number < known.anchored);
            let empty = unneeded.filter(|segment| span(segment.number).is_none_or(|span| span.max < floor));
            empty.map(|segment| segment.number).collect()
        };
        if !gone.is_empty() {
            self.journal.remove_segments(&gone)?;
            let mut known = self.shared.segments.lock();
            gone.iter().for_each(|number| {
                known.spans.remove(number);
            });
        }
        Ok(gone.len())
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
