//! Between the journal and the head: batches become records on the journal's thread, and records become batches again at a
//! start. Both ways end in [`Shared::apply`], so that replay does what live application did. A replay reads and decodes on one thread
//! and applies on another; in which order is the journal's affair.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use journal::{JournalError, Position, Record, RecordKind, VisitorError};
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
use crate::record::{
    self, Batch, BatchExemplar, BatchHistogram, BatchSample, Content, Decoder, Encoder, RecordError,
};
use crate::registry::{InFlight, Registry, Room};
use crate::select::merge::{Histogram, label_order};
use crate::stats::{Replay, ShedCause};
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
            head: Head::new(i64::try_from(options.block_span.as_millis()).unwrap_or_default()),
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
    fn apply(
        &self,
        at: Position,
        batch: &mut Batch,
        companion: &mut dyn Companion,
        covered_below: i64,
    ) -> Written {
        let samples = batch.samples.iter().map(|sample| sample.1.as_millis());
        let latest = samples.chain(batch.histograms.iter().map(|histogram| histogram.1.as_millis())).max();
        self.note_segment(at.segment, latest);
        self.engine.count_late(batch.samples.iter().map(|sample| sample.1.as_millis()), covered_below);
        let written = self.head.apply(at, &batch.samples, &batch.histograms, covered_below);
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
        self.counters.written.lock().add(written);
        written
    }

    fn note_segment(&self, segment: u64, latest: Option<i64>) {
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
        let written = self.shared.apply(at, &mut batch, &mut *self.companion, i64::MIN);
        self.shared.after_apply();
        self.shared.in_flight.ended(epoch);
        done(Ok(written));
    }

    fn refused(&mut self, entry: Entry, why: &JournalError) {
        self.shared.in_flight.ended(entry.epoch);
        (entry.done)(Err(why.clone().into()));
    }
}

/// Batches that wait between the two threads of a replay.
const BATCHES_AHEAD: usize = 16;

/// What the reading thread of a replay hands to the applying one.
enum Step {
    Batch(Position, Batch),
    Preamble(Vec<u8>, Vec<(String, MetricMetadata)>),
    /// A batch of this segment cannot be understood.
    Lost(u64),
}

/// Reads the journal into the head: `read` is given the visitor of its records. Everything is applied when this returns.
pub(crate) fn replay<R>(
    shared: &Shared,
    companion: &mut dyn Companion,
    read: impl FnOnce(&mut dyn FnMut(Record<'_>) -> Result<(), VisitorError>) -> R,
) -> (R, Replay) {
    let (sender, steps) = sync_channel(BATCHES_AHEAD);
    let (used, empty) = sync_channel(BATCHES_AHEAD);
    std::thread::scope(|scope| {
        let apply = move || {
            for step in steps {
                if let Some(batch) = shared.take_step(step, companion) {
                    let _ = used.try_send(batch); // whoever reads makes a new one
                }
            }
        };
        let applying = std::thread::Builder::new().name("replay".to_owned()).spawn_scoped(scope, apply);
        let applying = applying.expect("the operating system gives a starting program a thread");
        let mut replayer = Replayer::new(shared, sender, empty);
        let answer = read(&mut |record| replayer.visit(record));
        let replay = replayer.replay;
        drop(replayer.steps);
        if let Err(panic) = applying.join() {
            std::panic::resume_unwind(panic);
        }
        shared.after_apply();
        (answer, replay)
    })
}

impl Shared {
    /// Does what a step says; gives a batch back, to be filled again.
    fn take_step(&self, step: Step, companion: &mut dyn Companion) -> Option<Batch> {
        match step {
            Step::Batch(at, mut batch) => {
                self.apply(at, &mut batch, companion, self.covered_below(at));
                return Some(batch);
            }
            Step::Preamble(snapshot, descriptions) => {
                companion.restore(&snapshot);
                let mut table = self.metadata.write();
                descriptions.into_iter().for_each(|(metric, metadata)| table.set(&metric, metadata));
            }
            Step::Lost(segment) => {
                // Nobody knows what times a lost batch had: its segment stays as if they were the latest.
                let newest = self.head.max_time().into_iter().chain(self.block_set().max_time()).max();
                self.note_segment(segment, Some(newest.unwrap_or(i64::MIN)));
            }
        }
        None
    }
}

/// The reading half of a replay.
struct Replayer<'a> {
    shared: &'a Shared,
    decoder: Decoder,
    segment: u64,
    replay: Replay,
    steps: SyncSender<Step>,
    empty: Receiver<Batch>,
}

impl<'a> Replayer<'a> {
    fn new(shared: &'a Shared, steps: SyncSender<Step>, empty: Receiver<Batch>) -> Self {
        Self { shared, decoder: Decoder::default(), segment: 0, replay: Replay::default(), steps, empty }
    }

    /// Takes the next record; an error only where a newer program wrote it.
    fn visit(&mut self, record: Record<'_>) -> Result<(), VisitorError> {
        if record.after_damage || record.at.segment != self.segment {
            self.segment = record.at.segment;
            self.decoder.lost();
        }
        let read = match record.kind {
            RecordKind::Preamble => self.preamble(record.payload),
            RecordKind::Entry => self.entry(record),
        };
        match read {
            Ok(step) => self.send(step),
            Err(newer @ RecordError::Newer { .. }) => return Err(newer.into()),
            Err(why) => {
                self.send(Step::Lost(record.at.segment));
                self.replay.records_lost += 1;
                self.replay.first_lost.get_or_insert_with(|| (record.at, why.to_string()));
            }
        }
        Ok(())
    }

    fn send(&self, step: Step) {
        let _ = self.steps.send(step); // an applying thread that panicked is noticed at the end
    }

    fn preamble(&mut self, payload: &[u8]) -> Result<Step, RecordError> {
        let preamble = self.decoder.preamble(payload)?;
        Ok(Step::Preamble(preamble.companion.to_vec(), preamble.descriptions))
    }

    fn entry(&mut self, record: Record<'_>) -> Result<Step, RecordError> {
        let registry = &self.shared.registry;
        // Series that were accepted once are not refused now: a lowered limit bites new ones only.
        let mut define = |labels: &Labels| registry.write().resolve(labels, Room::UNBOUNDED).ok();
        let mut batch = self.empty.try_recv().unwrap_or_default();
        self.decoder.decode(record.payload, &mut define, &mut batch)?;
        self.replay.records += 1;
        self.replay.samples += batch.samples.len() as u64;
        Ok(Step::Batch(record.at, batch))
    }
}
