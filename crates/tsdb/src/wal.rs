//! Between the journal and the head: batches become records on the journal's thread, and records become batches again at a
//! start. Both ways end in [`Shared::apply`], so that replay does what live application did.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use journal::{JournalError, Position, Record, RecordKind, VisitorError};
use model::{Labels, MetricMetadata};
use parking_lot::{Mutex, RwLock};

use crate::error::WriteError;
use crate::head::{Head, Written};
use crate::metadata::MetadataTable;
use crate::options::Options;
use crate::record::{self, Batch, BatchSample, Decoder, Encoder, RecordError};
use crate::registry::{InFlight, Registry, Room};
use crate::stats::{Replay, ShedCause};
use crate::{Companion, SeriesRef};

/// Called once, with what became of a batch.
pub(crate) type Done = Box<dyn FnOnce(Result<Written, WriteError>) + Send>;

/// A batch on its way through the journal.
pub(crate) struct Entry {
    pub(crate) samples: Vec<BatchSample>,
    pub(crate) descriptions: Vec<(String, MetricMetadata)>,
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
    pub(crate) shed: [AtomicU64; 5],
    pub(crate) written: Mutex<Written>,
    /// Memory below this is not shed again, because shedding did not help.
    pub(crate) shed_again_at: AtomicUsize,
}

/// What the handle, the journal's thread and readers share. Locks are taken in the order of the fields.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) registry: RwLock<Registry>,
    pub(crate) head: Head,
    pub(crate) metadata: RwLock<MetadataTable>,
    pub(crate) segments: Mutex<Segments>,
    pub(crate) in_flight: InFlight,
    pub(crate) counters: Counters,
}

impl Shared {
    pub(crate) fn new(options: Options) -> Self {
        Self {
            registry: RwLock::new(Registry::new()),
            head: Head::new(),
            metadata: RwLock::new(MetadataTable::new(options.metadata_bytes_max)),
            segments: Mutex::default(),
            in_flight: InFlight::default(),
            counters: Counters::default(),
            options,
        }
    }

    /// A batch is on disk, in this segment: now it counts.
    fn apply(
        &self,
        segment: u64,
        samples: &[BatchSample],
        descriptions: &mut Vec<(String, MetricMetadata)>,
        attachment: &[u8],
        companion: &mut dyn Companion,
    ) -> Written {
        let latest = samples.iter().map(|sample| sample.1.as_millis()).max();
        {
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
        let written = self.head.apply(samples);
        if !descriptions.is_empty() {
            let mut table = self.metadata.write();
            descriptions.drain(..).for_each(|(metric, metadata)| table.set(&metric, metadata));
        }
        companion.applied(attachment);
        self.counters.written.lock().add(written);
        self.keep_memory_bound(self.options.head_bytes_max / 16);
        written
    }

    /// Bytes of memory, by estimate.
    pub(crate) fn bytes(&self) -> usize {
        self.head.bytes() + self.registry.read().bytes()
    }

    /// Drops the oldest samples once memory is more than `slack` past its bound; leaves a sixteenth free, so that this is rare.
    ///
    /// Labels and index do not go with samples: where they alone come near the bound (it was lowered), at most half of the
    /// samples go at a time, and the next ones only after memory has grown again.
    pub(crate) fn keep_memory_bound(&self, slack: usize) -> u64 {
        let bound = self.options.head_bytes_max;
        let bytes = self.bytes();
        if bytes <= (bound + slack).max(self.counters.shed_again_at.load(Relaxed)) {
            return 0;
        }
        let too_many = bytes - (bound - bound / 16);
        let dropped = self
            .shed_below(self.head.floor_to_free(too_many.min(self.head.bytes() / 2)), ShedCause::HeadBytes);
        let left = self.bytes();
        let again = if left > bound { left + bound / 16 } else { 0 };
        self.counters.shed_again_at.store(again, Relaxed);
        dropped
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
        self.encoder.encode(&entry.samples, &entry.descriptions, &entry.attachment, &mut labels_of, payload);
    }

    fn durable(&mut self, at: Position, mut entry: Entry) {
        let written = self.shared.apply(
            at.segment,
            &entry.samples,
            &mut entry.descriptions,
            &entry.attachment,
            &mut *self.companion,
        );
        self.shared.in_flight.ended(entry.epoch);
        (entry.done)(Ok(written));
    }

    fn refused(&mut self, entry: Entry, why: &JournalError) {
        self.shared.in_flight.ended(entry.epoch);
        (entry.done)(Err(why.clone().into()));
    }
}

/// Reads the journal into the head.
pub(crate) struct Replayer<'a> {
    shared: &'a Shared,
    companion: &'a mut dyn Companion,
    decoder: Decoder,
    batch: Batch,
    segment: u64,
    pub(crate) replay: Replay,
}

impl<'a> Replayer<'a> {
    pub(crate) fn new(shared: &'a Shared, companion: &'a mut dyn Companion) -> Self {
        let (decoder, batch) = (Decoder::default(), Batch::default());
        Self { shared, companion, decoder, batch, segment: 0, replay: Replay::default() }
    }

    /// Takes the next record; an error only where a newer program wrote it.
    pub(crate) fn visit(&mut self, record: Record<'_>) -> Result<(), VisitorError> {
        if record.after_damage || record.at.segment != self.segment {
            self.segment = record.at.segment;
            self.decoder.lost();
        }
        let read = match record.kind {
            RecordKind::Preamble => self.preamble(record.payload),
            RecordKind::Entry => self.entry(record),
        };
        match read {
            Ok(()) => Ok(()),
            Err(newer @ RecordError::Newer { .. }) => Err(newer.into()),
            Err(why) => {
                self.keep_segment(record.at.segment);
                self.replay.records_lost += 1;
                self.replay.first_lost.get_or_insert_with(|| (record.at, why.to_string()));
                Ok(())
            }
        }
    }

    /// Nobody knows what times a lost batch had: its segment stays as if they were the latest.
    fn keep_segment(&self, segment: u64) {
        let newest = self.shared.head.max_time().unwrap_or(i64::MIN);
        let mut segments = self.shared.segments.lock();
        let span = segments.spans.entry(segment).or_default();
        *span = Some(Span { max: span.map_or(newest, |span| span.max.max(newest)) });
    }

    fn preamble(&mut self, payload: &[u8]) -> Result<(), RecordError> {
        let preamble = self.decoder.preamble(payload)?;
        self.companion.restore(preamble.companion);
        let mut table = self.shared.metadata.write();
        preamble.descriptions.into_iter().for_each(|(metric, metadata)| table.set(&metric, metadata));
        Ok(())
    }

    fn entry(&mut self, record: Record<'_>) -> Result<(), RecordError> {
        let registry = &self.shared.registry;
        // Series that were accepted once are not refused now: a lowered limit bites new ones only.
        let mut define = |labels: &Labels| registry.write().resolve(labels, Room::UNBOUNDED).ok();
        self.decoder.decode(record.payload, &mut define, &mut self.batch)?;
        let Batch { samples, descriptions, attachment } = &mut self.batch;
        self.replay.records += 1;
        self.replay.samples += samples.len() as u64;
        self.shared.apply(record.at.segment, samples, descriptions, attachment, self.companion);
        Ok(())
    }
}
