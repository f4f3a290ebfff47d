//! A start reads the journal into the head: one thread reads and decodes, two apply, each one half of the series.
//!
//! In: the journal's records, in order. They go on in parcels of many batches, which are applied one after the other: first the samples by
//! both threads, series by series (from one batch to the next, the caches near a processor forget ten thousand series; finding them
//! again takes longer than adding samples), then, batch by batch and in order, what else they hold. A parcel ends behind a batch
//! that deletes something, so that no later sample is deleted. What cannot be understood is counted and named; only a record of a
//! newer program is an error.
//!
//! Bound: some 10 MiB of parcels, whatever the journal's length.

use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use journal::{Position, Record, RecordKind, VisitorError};
use model::{Labels, MetricMetadata};

use crate::head::{Written, half_of};
use crate::record::{self, BatchSample, Decoder, RecordError, Samples};
use crate::registry::Room;
use crate::stats::Replay;
use crate::wal::Shared;
use crate::{Companion, SeriesRef};

/// Samples and histograms from which on a parcel goes: a dozen of each of ten thousand series.
const PARCEL_SAMPLES: usize = 131_072;

/// Steps from which on a parcel goes, however little they hold.
const PARCEL_STEPS: usize = 4_096;

/// Parcels that wait between the threads.
const PARCELS_AHEAD: usize = 1;

type Batch = record::Batch<Halves>;

/// The samples of a batch, already parted for the two threads.
#[derive(Debug)]
struct Halves {
    halves: [Vec<BatchSample>; 2],
    /// First and last time, in milliseconds.
    first: i64,
    last: i64,
}

impl Default for Halves {
    fn default() -> Self {
        Self { halves: [Vec::new(), Vec::new()], first: i64::MAX, last: i64::MIN }
    }
}

impl Halves {
    fn len(&self) -> usize {
        self.halves.iter().map(Vec::len).sum()
    }
}

impl Samples for Halves {
    fn clear(&mut self) {
        self.halves.iter_mut().for_each(Vec::clear);
        (self.first, self.last) = (i64::MAX, i64::MIN);
    }

    #[inline]
    fn put(&mut self, sample: BatchSample) {
        let time = sample.1.as_millis();
        (self.first, self.last) = (self.first.min(time), self.last.max(time));
        self.halves[half_of(sample.0)].push(sample);
    }

    fn span(&self) -> Option<(i64, i64)> {
        (self.len() > 0).then_some((self.first, self.last))
    }

    fn count_in(&self, span: Range<i64>) -> usize {
        self.halves.iter().map(|half| half.count_in(span.clone())).sum()
    }
}

/// What the reading thread hands on.
enum Step {
    Batch(Position, Batch),
    Preamble(Vec<u8>, Vec<(String, MetricMetadata)>),
    /// A batch of this segment cannot be understood.
    Lost(u64),
}

type Parcel = Vec<Step>;

/// Reads the journal into the head: `read` is given the visitor of its records. Everything is applied when this returns.
pub(crate) fn replay<R>(
    shared: &Shared,
    companion: &mut dyn Companion,
    read: impl FnOnce(&mut dyn FnMut(Record<'_>) -> Result<(), VisitorError>) -> R,
) -> (R, Replay) {
    let (sender, parcels) = sync_channel(PARCELS_AHEAD);
    let (used, empty) = sync_channel(PARCELS_AHEAD);
    std::thread::scope(|scope| {
        let (to_second, for_second) = sync_channel::<Arc<Parcel>>(1);
        let (done, second) = sync_channel(1);
        let beside = move || {
            let mut sorter = Sorter::default();
            for parcel in for_second {
                let written = shared.apply_half(1, &parcel, &mut sorter);
                drop(parcel); // the first thread wants it for itself
                if done.send(written).is_err() {
                    break;
                }
            }
        };
        let apply = move || {
            let mut sorter = Sorter::default();
            for parcel in parcels {
                let parcel = Arc::new(parcel);
                // Where the second thread is gone, it panicked; joining it says why.
                let Ok(()) = to_second.send(Arc::clone(&parcel)) else { return };
                let first = shared.apply_half(0, &parcel, &mut sorter);
                let Ok(second) = second.recv() else { return };
                let parcel = Arc::into_inner(parcel).expect("the second thread let it go");
                let _ = used.try_send(shared.finish(parcel, first, second, companion)); // else new ones are made
            }
        };
        let start = |name: &str| std::thread::Builder::new().name(name.to_owned());
        let threads =
            [start("replay-1").spawn_scoped(scope, beside), start("replay-0").spawn_scoped(scope, apply)]
                .map(|thread| thread.expect("the operating system gives a starting program a thread"));
        let mut replayer = Replayer::new(shared, sender, empty);
        let answer = read(&mut |record| replayer.visit(record));
        let replay = replayer.end();
        for thread in threads {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
        shared.after_apply();
        (answer, replay)
    })
}

impl Shared {
    /// Applies what a parcel has for one half of the series.
    fn apply_half(&self, half: usize, parcel: &Parcel, sorter: &mut Sorter) -> Written {
        let batches = || {
            parcel.iter().filter_map(|step| match step {
                Step::Batch(at, batch) => Some((batch, self.covered_below(*at))),
                _ => None,
            })
        };
        sorter.sort(batches().map(|(batch, covered_below)| (&*batch.samples.halves[half], covered_below)));
        let histograms = batches().map(|(batch, covered_below)| (&*batch.histograms, covered_below));
        // Chunks left open take up to twice the memory of sealed ones.
        self.head.apply_half(half, self.options.head_bytes_max / 2, sorter.runs(), histograms)
    }

    /// Does what else the steps of a parcel say, in order; gives the batches back, to be filled again.
    fn finish(
        &self,
        parcel: Parcel,
        first: Written,
        second: Written,
        companion: &mut dyn Companion,
    ) -> Vec<Batch> {
        let mut batches = Vec::with_capacity(parcel.len());
        for step in parcel {
            match step {
                Step::Batch(at, mut batch) => {
                    self.head.applied(at);
                    self.applied(at, &mut batch, companion, self.covered_below(at));
                    batches.push(batch);
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
        }
        let mut all = self.counters.written.lock();
        all.add(first);
        all.add(second);
        batches
    }
}

/// Puts samples in the order of their series. Keeps its memory.
#[derive(Default)]
struct Sorter {
    /// By slot: how many samples it has, then where its next one goes. All 0 between two parcels.
    places: Vec<u32>,
    /// The series that have samples, in order of appearance.
    series: Vec<SeriesRef>,
    samples: Vec<(i64, f64)>,
    /// Where each series' samples end.
    ends: Vec<u32>,
}

impl Sorter {
    /// Takes samples, but for those that are older than what their batch is covered below.
    fn sort<'a>(&mut self, batches: impl Iterator<Item = (&'a [BatchSample], i64)> + Clone) {
        let Self { places, series: all, samples: sorted, ends } = self;
        all.clear();
        for (samples, covered_below) in batches.clone() {
            for &(series, time, _) in samples {
                if time.as_millis() < covered_below {
                    continue;
                }
                if places.len() <= series.slot() {
                    places.resize(series.slot() + 1, 0);
                }
                let count = &mut places[series.slot()];
                if *count == 0 {
                    all.push(series);
                }
                *count += 1;
            }
        }
        let mut end = 0;
        for series in &*all {
            end += std::mem::replace(&mut places[series.slot()], end);
        }
        sorted.resize(end as usize, (0, 0.0));
        for (samples, covered_below) in batches {
            for &(series, time, value) in samples {
                if time.as_millis() < covered_below {
                    continue;
                }
                let place = &mut places[series.slot()];
                sorted[*place as usize] = (time.as_millis(), value);
                *place += 1;
            }
        }
        ends.clear();
        ends.extend(all.iter().map(|series| std::mem::take(&mut places[series.slot()])));
    }

    /// Each series with its samples, in the order in which they came.
    fn runs(&self) -> impl Iterator<Item = (SeriesRef, &[(i64, f64)])> {
        let mut begin = 0;
        self.series.iter().zip(&self.ends).map(move |(series, end)| {
            let run = &self.samples[begin..*end as usize];
            begin = *end as usize;
            (*series, run)
        })
    }
}

/// The reading half of a replay.
struct Replayer<'a> {
    shared: &'a Shared,
    decoder: Decoder,
    segment: u64,
    replay: Replay,
    parcel: Parcel,
    /// Samples and histograms of the parcel.
    filled: usize,
    parcels: SyncSender<Parcel>,
    empty: Receiver<Vec<Batch>>,
    spare: Vec<Batch>,
}

impl<'a> Replayer<'a> {
    fn new(shared: &'a Shared, parcels: SyncSender<Parcel>, empty: Receiver<Vec<Batch>>) -> Self {
        Self {
            shared,
            decoder: Decoder::default(),
            segment: 0,
            replay: Replay::default(),
            parcel: Parcel::new(),
            filled: 0,
            parcels,
            empty,
            spare: Vec::new(),
        }
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
            Ok(step) => self.put(step),
            Err(newer @ RecordError::Newer { .. }) => return Err(newer.into()),
            Err(why) => {
                self.put(Step::Lost(record.at.segment));
                self.replay.records_lost += 1;
                self.replay.first_lost.get_or_insert_with(|| (record.at, why.to_string()));
            }
        }
        Ok(())
    }

    fn put(&mut self, step: Step) {
        let mut ends = self.parcel.len() + 1 >= PARCEL_STEPS;
        if let Step::Batch(_, batch) = &step {
            self.filled += batch.samples.len() + batch.histograms.len();
            ends |= batch.deletion.is_some() || self.filled >= PARCEL_SAMPLES;
        }
        self.parcel.push(step);
        if ends {
            self.send();
        }
    }

    fn send(&mut self) {
        self.filled = 0;
        let parcel = std::mem::take(&mut self.parcel);
        let _ = self.parcels.send(parcel); // an applying thread that panicked is noticed at the end
    }

    /// The last parcel goes; the applying threads end when they are done.
    fn end(mut self) -> Replay {
        if !self.parcel.is_empty() {
            self.send();
        }
        self.replay
    }

    fn preamble(&mut self, payload: &[u8]) -> Result<Step, RecordError> {
        let preamble = self.decoder.preamble(payload)?;
        Ok(Step::Preamble(preamble.companion.to_vec(), preamble.descriptions))
    }

    fn entry(&mut self, record: Record<'_>) -> Result<Step, RecordError> {
        let registry = &self.shared.registry;
        // Series that were accepted once are not refused now: a lowered limit bites new ones only.
        let mut define = |labels: &Labels| registry.write().resolve(labels, Room::UNBOUNDED).ok();
        let mut batch = self.batch();
        self.decoder.decode(record.payload, &mut define, &mut batch)?;
        self.replay.records += 1;
        self.replay.samples += batch.samples.len() as u64;
        Ok(Step::Batch(record.at, batch))
    }

    /// A batch to fill.
    fn batch(&mut self) -> Batch {
        if self.spare.is_empty() {
            self.spare = self.empty.try_recv().unwrap_or_default();
        }
        self.spare.pop().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use model::Timestamp;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn both_halves_together_are_all_that_counts_in_order(
            batches in proptest::collection::vec((proptest::collection::vec((0..5000u32, 0..20i64), 0..50), 0..10i64), 1..8)
        ) {
            let mut expected: BTreeMap<u32, Vec<(i64, f64)>> = BTreeMap::new();
            let (mut number, mut all) = (0.0, Vec::new());
            for (samples, covered_below) in &batches {
                let (mut batch, mut plain) = (Halves::default(), Vec::new());
                for &(slot, time) in samples {
                    number += 1.0;
                    let sample = (SeriesRef::new(slot, slot), Timestamp::from_millis(time), number);
                    batch.put(sample);
                    plain.put(sample);
                    if time >= *covered_below {
                        expected.entry(slot).or_default().push((time, number));
                    }
                }
                prop_assert_eq!(batch.span(), plain.span());
                prop_assert_eq!(batch.count_in(3..7), plain.count_in(3..7));
                all.push((batch, *covered_below));
            }
            let (mut sorter, mut found) = (Sorter::default(), BTreeMap::new());
            for half in [0, 1, 0, 1] {
                sorter.sort(all.iter().map(|(batch, covered_below)| (&*batch.halves[half], *covered_below)));
                for (series, samples) in sorter.runs() {
                    prop_assert_eq!(half_of(series), half);
                    found.insert(series.id(), samples.to_vec());
                }
            }
            prop_assert_eq!(found, expected);
        }
    }
}
