//! Between the journal and the head: batches become records on the journal's thread, and records become batches again at a
//! start. Both ways end in the same code, so that a replay ([`replay`]) does what live application did.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use journal::{JournalError, Position};
use model::{Columns, Labels, MetricMetadata};
use parking_lot::{Mutex, RwLock};

use crate::block::cache::Cache;
use crate::error::WriteError;
use crate::exemplar::Exemplars;
use crate::head::{Head, Written};
use crate::index::pattern::Condition;
use crate::manifest::Checkpoint;
use crate::metadata::MetadataTable;
use crate::options::Options;
use crate::record::{self, Batch, BatchExemplar, BatchHistogram, BatchSample, Content, Encoder, Samples};
use crate::registry::{InFlight, Registry};
use crate::select::merge::{Histogram, label_order};
use crate::stats::ShedCause;
use crate::store::blocks::{BlockSet, Engine};
use crate::tombstone::Deletion;
use crate::{Companion, SeriesRef};

/// Called once, with what became of a batch.
pub(crate) type Done = Box<dyn FnOnce(Result<Written, WriteError>) + Send>;

/// Sees series with their samples and histograms.
pub(crate) type Visit<'a, E> = dyn FnMut(&Labels, &Columns, &[Histogram]) -> Result<(), E> + 'a;

/// A batch on its way through the journal.
pub(crate) struct Entry {
    pub(crate) samples: Vec<BatchSample>,
    pub(crate) histograms: Vec<BatchHistogram>,
    pub(crate) exemplars: Vec<BatchExemplar>,
    pub(crate) descriptions: Vec<(String, MetricMetadata)>,
    pub(crate) deletion: Option<Deletion>,
    pub(crate) attachment: Vec<u8>,
    pub(crate) epoch: u32,
    pub(crate) done: Done,
}

/// Times of the samples in one segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) max: i64,
}

/// What is known of the journal's segments.
#[derive(Debug, Default)]
pub(crate) struct Segments {
    /// By number; a segment without samples has no latest time.
    pub(crate) spans: BTreeMap<u64, Option<Span>>,
    /// The segment of the latest batch.
    pub(crate) current: u64,
    /// The newest segment whose preamble is surely on disk (a segment is synced before the next one begins): those before it are
    /// not needed for what preambles repeat.
    pub(crate) anchored: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) series_added: AtomicU64,
    pub(crate) series_forgotten: AtomicU64,
    pub(crate) series_refused: AtomicU64,
    pub(crate) generation: AtomicU64,
    pub(crate) shed: [AtomicU64; 3],
    pub(crate) written: Mutex<Written>,
}

/// What the handle, the journal's thread and readers share. Locks are taken in the order of the fields.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) registry: RwLock<Registry>,
    pub(crate) head: Head,
    pub(crate) metadata: RwLock<MetadataTable>,
    pub(crate) exemplars: Mutex<Exemplars>,
    pub(crate) segments: Mutex<Segments>,
    pub(crate) in_flight: InFlight,
    pub(crate) counters: Counters,
    /// What is published of the blocks: taken after the head by readers, so that nothing is missed.
    pub(crate) blocks: RwLock<Arc<BlockSet>>,
    pub(crate) cache: Arc<Cache>,
    pub(crate) engine: Engine,
}

impl Shared {
    pub(crate) fn new(options: Options) -> Self {
        Self {
            registry: RwLock::new(Registry::new()),
            head: Head::new(),
            exemplars: Mutex::new(Exemplars::new(options.exemplars_max)),
            metadata: RwLock::new(MetadataTable::new(options.metadata_bytes_max)),
            segments: Mutex::default(),
            in_flight: InFlight::default(),
            counters: Counters::default(),
            blocks: RwLock::default(),
            cache: Cache::new(options.cache_bytes_max),
            engine: Engine::default(),
            options,
        }
    }

    /// A batch is on disk, at this position: now it counts. What it holds beside samples and histograms is taken out of it.
    fn apply(&self, at: Position, batch: &mut Batch, companion: &mut dyn Companion) -> Written {
        let written = self.head.apply(at, &batch.samples, &batch.histograms, i64::MIN);
        self.applied(at, batch, companion, i64::MIN);
        self.counters.written.lock().add(written);
        written
    }

    /// The samples and histograms of a batch are in the head: the rest of it follows. What is older than `covered_below` stands in
    /// blocks.
    pub(crate) fn applied<S: Samples>(
        &self,
        at: Position,
        batch: &mut Batch<S>,
        companion: &mut dyn Companion,
        covered_below: i64,
    ) {
        let samples = batch.samples.span();
        let histograms = batch.histograms.iter().map(|histogram| histogram.1.as_millis()).max();
        self.note_segment(at.segment, samples.map(|span| span.1).max(histograms));
        self.engine.count_late(&batch.samples, covered_below);
        if !batch.descriptions.is_empty() {
            let mut table = self.metadata.write();
            batch.descriptions.drain(..).for_each(|(metric, metadata)| table.set(&metric, metadata));
        }
        if !batch.exemplars.is_empty() {
            self.keep_exemplars(&mut batch.exemplars);
        }
        if let Some(deletion) = batch.deletion.take() {
            self.delete_from_head(at, &deletion);
            self.deleted(at, deletion);
        }
        companion.applied(&batch.attachment);
    }

    pub(crate) fn note_segment(&self, segment: u64, latest: Option<i64>) {
        let mut segments = self.segments.lock();
        let span = segments.spans.entry(segment).or_default();
        if let Some(latest) = latest {
            *span = Some(Span { max: span.map_or(latest, |span| span.max.max(latest)) });
        }
        if segment > segments.current {
            segments.anchored = segments.anchored.max(segments.current);
            segments.current = segment;
        }
    }

    fn keep_exemplars(&self, exemplars: &mut Vec<BatchExemplar>) {
        let registry = self.registry.read();
        let mut ring = self.exemplars.lock();
        for (series, exemplar) in exemplars.drain(..) {
            if let Some(labels) = registry.labels(series) {
                ring.add(labels, exemplar);
            }
        }
    }

    fn delete_from_head(&self, at: Position, deletion: &Deletion) {
        let found = self.find(&Condition::all(&deletion.matchers));
        self.head.delete(at, found.into_iter().map(|(series, _)| series), deletion.start, deletion.end);
    }

    /// See [`Head::freeze`].
    pub(crate) fn freeze(&self, boundary: i64) -> Checkpoint {
        self.head.freeze(boundary)
    }

    /// Calls back for every series that has frozen samples or histograms, in label order, with all of these; nothing is locked
    /// meanwhile. What is deleted during the walk may be among them.
    pub(crate) fn frozen<E>(&self, visit: &mut Visit<'_, E>) -> Result<(), E> {
        let Some(Checkpoint { boundary, .. }) = self.head.frozen() else { return Ok(()) };
        let mut all = self.find(&[]);
        all.retain(|(series, _)| {
            self.head.get(*series).is_some_and(|series| series.first().is_some_and(|first| first < boundary))
        });
        all.sort_unstable_by(|a, b| label_order(&a.1, &b.1));
        let (mut columns, mut histograms) = (Columns::default(), Vec::new());
        for (series, labels) in all {
            columns.clear();
            histograms.clear();
            self.head.read_frozen(series, boundary, &mut columns, &mut histograms);
            if !columns.is_empty() || !histograms.is_empty() {
                visit(&labels, &columns, &histograms)?;
            }
        }
        Ok(())
    }

    /// Bytes of memory, by estimate.
    pub(crate) fn bytes(&self) -> usize {
        self.head.bytes() + self.registry.read().bytes()
    }

    /// Raises the floor and drops what is below it.
    pub(crate) fn shed_below(&self, floor: i64, cause: ShedCause) -> u64 {
        self.head.raise_floor(floor);
        let dropped = self.head.sweep().samples as u64;
        self.counters.shed[cause as usize].fetch_add(dropped, Relaxed);
        dropped
    }
}

/// The journal's recorder.
pub(crate) struct Wal {
    shared: Arc<Shared>,
    companion: Box<dyn Companion>,
    encoder: Encoder,
    snapshot: Vec<u8>,
}

impl Wal {
    pub(crate) fn new(shared: Arc<Shared>, companion: Box<dyn Companion>) -> Self {
        Self { shared, companion, encoder: Encoder::default(), snapshot: Vec::new() }
    }
}

impl journal::Recorder for Wal {
    type Entry = Entry;

    fn begin_segment(&mut self, preamble: &mut Vec<u8>) {
        self.encoder.begin();
        self.snapshot.clear();
        self.companion.snapshot(&mut self.snapshot);
        record::put_preamble(preamble, &self.snapshot);
        self.shared.metadata.read().encode(preamble);
    }

    fn encode(&mut self, entry: &Entry, payload: &mut Vec<u8>) {
        let registry = &self.shared.registry;
        let mut labels_of = |series: SeriesRef| {
            registry.read().labels(series).expect("a write on its way keeps its series known").clone()
        };
        let content = Content {
            samples: &entry.samples,
            histograms: &entry.histograms,
            exemplars: &entry.exemplars,
            descriptions: &entry.descriptions,
            deletion: entry.deletion.as_ref(),
            attachment: &entry.attachment,
        };
        self.encoder.encode(content, &mut labels_of, payload);
    }

    fn durable(&mut self, at: Position, entry: Entry) {
        let Entry { samples, histograms, exemplars, descriptions, deletion, attachment, epoch, done } = entry;
        let mut batch = Batch { samples, histograms, exemplars, descriptions, deletion, attachment };
        let written = self.shared.apply(at, &mut batch, &mut *self.companion);
        self.shared.after_apply();
        self.shared.in_flight.ended(epoch);
        done(Ok(written));
    }

    fn refused(&mut self, entry: Entry, why: &JournalError) {
        self.shared.in_flight.ended(entry.epoch);
        (entry.done)(Err(why.clone().into()));
    }
}
