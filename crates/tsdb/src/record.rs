//! The journal's payloads, drawn byte by byte in `docs/formats/tsdb-journal.md`: one batch is one record.
//!
//! Series are numbered in the order in which records define them, and each value is written as the change since the last value
//! of its series; both begin anew with every preamble. A record therefore makes sense only behind all records since its
//! preamble, and says how many those are: a reader that missed one notices, and stops until the next preamble.
//!
//! Every byte may come from a damaged disk: decoding answers `None` or an error and never panics.

use std::ops::Range;
use std::sync::Arc;

use model::{Exemplar, Labels, MatchOp, Matcher, MetricMetadata, Timestamp};

use crate::SeriesRef;
use crate::definition;
use crate::metadata;
use crate::tombstone::Deletion;
use crate::values::State;
use crate::varint::{self, Cursor};

/// The version that is written, and the newest that is read.
pub(crate) const VERSION: u8 = 2;

/// Entries of this version end with their samples' values.
const VERSION_SAMPLES_ONLY: u8 = 1;

/// One sample as callers hand it over.
pub(crate) type BatchSample = (SeriesRef, Timestamp, f64);

/// One native histogram as callers hand it over: opaque bytes.
pub(crate) type BatchHistogram = (SeriesRef, Timestamp, Arc<[u8]>);

/// One exemplar as callers hand it over.
pub(crate) type BatchExemplar = (SeriesRef, Exemplar);

/// What one entry holds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Content<'a> {
    pub(crate) samples: &'a [BatchSample],
    pub(crate) histograms: &'a [BatchHistogram],
    pub(crate) exemplars: &'a [BatchExemplar],
    pub(crate) descriptions: &'a [(String, MetricMetadata)],
    pub(crate) deletion: Option<&'a Deletion>,
    pub(crate) attachment: &'a [u8],
}

/// Bytes that one sample takes at most: run (10 + 5), id (10), value (1 + 1 + 8).
const SAMPLE_BYTES_MAX: usize = 35;

/// The payload's size at most, but for definitions.
pub(crate) fn size_max(samples: usize, metadata: &[(String, MetricMetadata)], attachment: &[u8]) -> usize {
    let texts: usize =
        metadata.iter().map(|(metric, metadata)| metadata::encoded_max(metric, metadata)).sum();
    64 + samples * SAMPLE_BYTES_MAX + texts + attachment.len()
}

/// Bytes that histograms and exemplars take at most, but for definitions.
pub(crate) fn extras_size_max(histograms: &[BatchHistogram], exemplars: &[BatchExemplar]) -> usize {
    let histograms: usize = histograms.iter().map(|(_, _, bytes)| 30 + bytes.len()).sum();
    let exemplars: usize =
        exemplars.iter().map(|(_, exemplar)| 64 + 2 * exemplar.labels.as_bytes().len()).sum();
    histograms + exemplars
}

/// Bytes that a deletion takes at most.
pub(crate) fn deletion_size_max(deletion: &Deletion) -> usize {
    let texts = deletion.matchers.iter().map(|matcher| 24 + matcher.name().len() + matcher.value().len());
    40 + texts.sum::<usize>()
}

/// What the encoder remembers of a series.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// Whose slot it was.
    id: u32,
    /// The section in which it was defined; 0 is never current.
    section: u32,
    number: u32,
    values: State,
}

/// Turns batches into payloads.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    section: u32,
    records: u64,
    defined: u32,
    known: Vec<Known>,
    /// The last label set that was defined.
    previous: Labels,
    definitions: Vec<u8>,
    runs: Vec<u8>,
    ids: Vec<u8>,
    values: Vec<u8>,
    extras: Vec<u8>,
}

impl Encoder {
    /// A preamble begins: forgets all definitions.
    pub(crate) fn begin(&mut self) {
        self.section += 1;
        self.records = 0;
        self.defined = 0;
        self.previous = Labels::empty();
    }

    /// Appends a batch's payload. `labels_of` knows the labels of every series in it.
    pub(crate) fn encode(
        &mut self,
        content: Content<'_>,
        labels_of: &mut dyn FnMut(SeriesRef) -> Labels,
        out: &mut Vec<u8>,
    ) {
        let Content { samples, descriptions, attachment, .. } = content;
        let defined_before = self.defined;
        self.encode_samples(samples, labels_of);
        self.encode_extras(content, labels_of);
        out.push(VERSION);
        varint::put(out, self.records);
        self.records += 1;
        varint::put_bytes(out, attachment);
        varint::put(out, u64::from(self.defined - defined_before));
        out.extend_from_slice(&self.definitions);
        varint::put(out, descriptions.len() as u64);
        for (metric, metadata) in descriptions {
            metadata::put(out, metric, metadata);
        }
        varint::put(out, samples.len() as u64);
        varint::put_bytes(out, &self.runs);
        varint::put_bytes(out, &self.ids);
        varint::put_bytes(out, &self.values);
        out.extend_from_slice(&self.extras);
    }

    /// What follows the samples.
    fn encode_extras(&mut self, content: Content<'_>, labels_of: &mut dyn FnMut(SeriesRef) -> Labels) {
        let mut out = std::mem::take(&mut self.extras);
        out.clear();
        varint::put(&mut out, content.histograms.len() as u64);
        let mut place = Place::default();
        for (series, time, bytes) in content.histograms {
            place.put(self.number(*series, labels_of), *time, &mut out);
            varint::put_bytes(&mut out, bytes);
        }
        varint::put(&mut out, content.exemplars.len() as u64);
        let (mut place, mut previous) = (Place::default(), Labels::empty());
        for (series, exemplar) in content.exemplars {
            place.put(self.number(*series, labels_of), exemplar.timestamp, &mut out);
            out.extend_from_slice(&exemplar.value.to_bits().to_le_bytes());
            definition::put(&mut out, &previous, &exemplar.labels);
            previous = exemplar.labels.clone();
        }
        varint::put(&mut out, u64::from(content.deletion.is_some()));
        if let Some(deletion) = content.deletion {
            put_deletion(&mut out, deletion);
        }
        self.extras = out;
    }

    fn encode_samples(&mut self, samples: &[BatchSample], labels_of: &mut dyn FnMut(SeriesRef) -> Labels) {
        self.definitions.clear();
        self.runs.clear();
        self.ids.clear();
        self.values.clear();
        let (mut time_before, mut number_before, mut steps) = (0i64, -1i64, 0u64);
        for run in samples.chunk_by(|a, b| a.1 == b.1) {
            let time = run[0].1.as_millis();
            varint::put_signed(&mut self.runs, time.wrapping_sub(time_before));
            varint::put(&mut self.runs, run.len() as u64);
            time_before = time;
            for &(series, _, value) in run {
                let number = self.number(series, labels_of);
                let delta = i64::from(number) - number_before;
                number_before = i64::from(number);
                if delta == 1 {
                    steps += 1;
                } else {
                    put_steps(&mut self.ids, &mut steps);
                    varint::put(&mut self.ids, varint::zigzag(delta) << 1 | 1);
                }
                self.known[series.slot()].values.encode(value, &mut self.values);
            }
        }
        put_steps(&mut self.ids, &mut steps);
    }

    /// The series' number in this section, defined if need be.
    #[inline]
    fn number(&mut self, series: SeriesRef, labels_of: &mut dyn FnMut(SeriesRef) -> Labels) -> u32 {
        if let Some(known) = self.known.get(series.slot())
            && known.section == self.section
            && known.id == series.id()
        {
            return known.number;
        }
        self.define(series, labels_of)
    }

    #[cold]
    fn define(&mut self, series: SeriesRef, labels_of: &mut dyn FnMut(SeriesRef) -> Labels) -> u32 {
        if self.known.len() <= series.slot() {
            self.known.resize(series.slot() + 1, Known::default());
        }
        let number = self.defined;
        self.defined += 1;
        self.known[series.slot()] =
            Known { id: series.id(), section: self.section, number, values: State::default() };
        let labels = labels_of(series);
        definition::put(&mut self.definitions, &self.previous, &labels);
        self.previous = labels;
        number
    }
}

/// Series' number and time of what stands one by one, each as the change since the one before.
#[derive(Default)]
struct Place {
    number: i64,
    time: i64,
}

impl Place {
    fn put(&mut self, number: u32, time: Timestamp, out: &mut Vec<u8>) {
        varint::put_signed(out, i64::from(number) - self.number);
        varint::put_signed(out, time.as_millis().wrapping_sub(self.time));
        *self = Self { number: i64::from(number), time: time.as_millis() };
    }

    fn take(&mut self, from: &mut Cursor<'_>) -> Option<(usize, Timestamp)> {
        self.number = self.number.wrapping_add(from.signed()?);
        self.time = self.time.wrapping_add(from.signed()?);
        Some((usize::try_from(self.number).ok()?, Timestamp::from_millis(self.time)))
    }
}

const MATCH_OPS: [MatchOp; 4] = [MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex];

fn put_deletion(out: &mut Vec<u8>, deletion: &Deletion) {
    varint::put_signed(out, deletion.start);
    varint::put_signed(out, deletion.end);
    varint::put(out, deletion.matchers.len() as u64);
    for matcher in &deletion.matchers {
        let op = MATCH_OPS.iter().position(|op| *op == matcher.op()).expect("all operators are listed");
        out.push(op as u8);
        varint::put_bytes(out, matcher.name().as_bytes());
        varint::put_bytes(out, matcher.value().as_bytes());
    }
}

fn take_deletion(from: &mut Cursor<'_>) -> Option<Deletion> {
    let (start, end) = (from.signed()?, from.signed()?);
    let matchers = (0..from.number()?).map(|_| {
        let op = *MATCH_OPS.get(usize::from(from.byte()?))?;
        let name = from.text()?;
        Matcher::new(name, op, from.text()?).ok()
    });
    Some(Deletion { matchers: matchers.collect::<Option<_>>()?, start, end })
}

fn put_steps(ids: &mut Vec<u8>, steps: &mut u64) {
    if *steps > 0 {
        varint::put(ids, *steps << 1);
        *steps = 0;
    }
}

/// Appends a preamble's payload but for the table of descriptions, which the caller appends.
pub(crate) fn put_preamble(out: &mut Vec<u8>, companion: &[u8]) {
    out.push(VERSION);
    varint::put_bytes(out, companion);
}

/// Why a payload could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RecordError {
    /// A newer program wrote it.
    #[error("it has format version {version}, this program reads up to {VERSION}: use the newer program")]
    Newer {
        /// Its version.
        version: u8,
    },
    /// Records before it are missing.
    #[error("records before it are missing")]
    Gap,
    /// It is not what an encoder writes.
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
}

/// A preamble, as read.
#[derive(Debug)]
pub(crate) struct Preamble<'a> {
    pub(crate) companion: &'a [u8],
    pub(crate) descriptions: Vec<(String, MetricMetadata)>,
}

/// Where the samples of a batch are put.
pub(crate) trait Samples {
    fn clear(&mut self);

    fn put(&mut self, sample: BatchSample);

    /// First and last time, in milliseconds.
    fn span(&self) -> Option<(i64, i64)>;

    /// How many lie in a span of milliseconds.
    fn count_in(&self, span: Range<i64>) -> usize;
}

impl Samples for Vec<BatchSample> {
    fn clear(&mut self) {
        self.clear();
    }

    #[inline]
    fn put(&mut self, sample: BatchSample) {
        self.push(sample);
    }

    fn span(&self) -> Option<(i64, i64)> {
        let times = || self.iter().map(|sample| sample.1.as_millis());
        times().min().zip(times().max())
    }

    fn count_in(&self, span: Range<i64>) -> usize {
        self.iter().filter(|sample| span.contains(&sample.1.as_millis())).count()
    }
}

/// A batch, as read; kept to be filled again.
#[derive(Debug, Default)]
pub(crate) struct Batch<S = Vec<BatchSample>> {
    pub(crate) samples: S,
    pub(crate) histograms: Vec<BatchHistogram>,
    pub(crate) exemplars: Vec<BatchExemplar>,
    pub(crate) descriptions: Vec<(String, MetricMetadata)>,
    pub(crate) deletion: Option<Deletion>,
    pub(crate) attachment: Vec<u8>,
}

/// Turns payloads into batches again.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    /// Records since the preamble; `None` until one was seen, or after a gap.
    records: Option<u64>,
    /// By number: the series (`None` where the store had no room for it) and its last value.
    known: Vec<(Option<SeriesRef>, State)>,
    /// The last label set that was defined.
    previous: Labels,
    scratch: Vec<u8>,
}

impl Decoder {
    /// Reads a preamble and forgets all definitions.
    pub(crate) fn preamble<'a>(&mut self, payload: &'a [u8]) -> Result<Preamble<'a>, RecordError> {
        self.records = None;
        self.known.clear();
        self.previous = Labels::empty();
        let mut from = Cursor::new(payload);
        check_version(&mut from)?;
        let companion = from.bytes().ok_or(RecordError::Damaged("the companion's snapshot is cut off"))?;
        let descriptions =
            take_descriptions(&mut from).ok_or(RecordError::Damaged("a description is unreadable"))?;
        if !from.is_empty() {
            return Err(RecordError::Damaged("bytes follow the descriptions"));
        }
        self.records = Some(0);
        Ok(Preamble { companion, descriptions })
    }

    /// What follows in this section cannot be understood any more.
    pub(crate) fn lost(&mut self) {
        self.records = None;
    }

    /// Reads a batch. `define` finds or makes a series. After an error, everything up to the next preamble is a gap.
    pub(crate) fn decode<S: Samples>(
        &mut self,
        payload: &[u8],
        define: &mut dyn FnMut(&Labels) -> Option<SeriesRef>,
        batch: &mut Batch<S>,
    ) -> Result<(), RecordError> {
        let expected = self.records.take().ok_or(RecordError::Gap)?;
        batch.samples.clear();
        batch.histograms.clear();
        batch.exemplars.clear();
        batch.deletion = None;
        let mut from = Cursor::new(payload);
        let version = check_version(&mut from)?;
        if from.number() != Some(expected) {
            return Err(RecordError::Gap);
        }
        let attachment = from.bytes().ok_or(RecordError::Damaged("the attachment is cut off"))?;
        batch.attachment.clear();
        batch.attachment.extend_from_slice(attachment);
        self.take_definitions(&mut from, define).ok_or(RecordError::Damaged("a definition is unreadable"))?;
        batch.descriptions =
            take_descriptions(&mut from).ok_or(RecordError::Damaged("a description is unreadable"))?;
        self.take_samples(version, &mut from, &mut batch.samples)
            .ok_or(RecordError::Damaged("samples are unreadable"))?;
        if version > VERSION_SAMPLES_ONLY {
            self.take_extras(&mut from, batch)
                .ok_or(RecordError::Damaged("histograms, exemplars or a deletion are unreadable"))?;
        }
        if !from.is_empty() {
            return Err(RecordError::Damaged("bytes follow its end"));
        }
        self.records = Some(expected + 1);
        Ok(())
    }

    fn take_definitions(
        &mut self,
        from: &mut Cursor<'_>,
        define: &mut dyn FnMut(&Labels) -> Option<SeriesRef>,
    ) -> Option<()> {
        for _ in 0..from.number()? {
            self.previous = definition::take(from, &self.previous, &mut self.scratch)?;
            self.known.push((define(&self.previous), State::default()));
        }
        Some(())
    }

    fn take_extras<S>(&mut self, from: &mut Cursor<'_>, batch: &mut Batch<S>) -> Option<()> {
        let mut place = Place::default();
        for _ in 0..from.number()? {
            let (number, time) = place.take(from)?;
            let (series, bytes) = (self.known.get(number)?.0, from.bytes()?);
            batch.histograms.extend(series.map(|series| (series, time, bytes.into())));
        }
        let (mut place, mut labels) = (Place::default(), Labels::empty());
        for _ in 0..from.number()? {
            let (number, timestamp) = place.take(from)?;
            let series = self.known.get(number)?.0;
            let value = f64::from_bits(u64::from_le_bytes(from.take(8)?.try_into().ok()?));
            labels = definition::take(from, &labels, &mut self.scratch)?;
            let exemplar = Exemplar { labels: labels.clone(), value, timestamp };
            batch.exemplars.extend(series.map(|series| (series, exemplar)));
        }
        batch.deletion = match from.number()? {
            0 => None,
            1 => Some(take_deletion(from)?),
            _ => return None,
        };
        Some(())
    }

    fn take_samples(&mut self, version: u8, from: &mut Cursor<'_>, samples: &mut impl Samples) -> Option<()> {
        let count = from.number()?;
        let (mut runs, mut ids) = (Cursor::new(from.bytes()?), Ids::new(from.bytes()?));
        let to_end = version == VERSION_SAMPLES_ONLY;
        let mut from = Cursor::new(if to_end { from.take_rest() } else { from.bytes()? });
        if count > from.left() as u64 {
            return None; // every value takes a byte at least
        }
        let (mut time, mut left) = (0i64, count);
        while left > 0 {
            time = time.wrapping_add(runs.signed()?);
            let run = runs.number()?;
            left = left.checked_sub(run).filter(|_| run > 0)?;
            for _ in 0..run {
                let (series, values) = self.known.get_mut(ids.next()?)?;
                let value = values.decode(&mut from)?;
                if let Some(series) = *series {
                    samples.put((series, Timestamp::from_millis(time), value));
                }
            }
        }
        (runs.is_empty() && ids.is_empty() && from.is_empty()).then_some(())
    }
}

/// Reads the id stream.
struct Ids<'a> {
    from: Cursor<'a>,
    number: i64,
    steps: u64,
}

impl<'a> Ids<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { from: Cursor::new(bytes), number: -1, steps: 0 }
    }

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.steps == 0 {
            let token = self.from.number()?;
            if token & 1 == 1 {
                self.number = self.number.wrapping_add(varint::unzigzag(token >> 1));
                return usize::try_from(self.number).ok();
            }
            self.steps = token >> 1;
        }
        self.steps = self.steps.checked_sub(1)?;
        self.number = self.number.wrapping_add(1);
        usize::try_from(self.number).ok()
    }

    fn is_empty(&self) -> bool {
        self.steps == 0 && self.from.is_empty()
    }
}

fn check_version(from: &mut Cursor<'_>) -> Result<u8, RecordError> {
    match from.byte() {
        Some(version @ 1..=VERSION) => Ok(version),
        Some(version) if version > VERSION => Err(RecordError::Newer { version }),
        _ => Err(RecordError::Damaged("it has no version")),
    }
}

fn take_descriptions(from: &mut Cursor<'_>) -> Option<Vec<(String, MetricMetadata)>> {
    let count = from.number()?;
    (0..count).map(|_| metadata::take(from)).collect()
}

#[cfg(test)]
mod tests {
    use model::MetricKind;
    use proptest::prelude::*;

    use super::*;

    fn labels(series: SeriesRef) -> Labels {
        Labels::from_pairs([("__name__", "m".to_owned()), ("id", series.id().to_string())])
    }

    fn series_of(labels: &Labels) -> SeriesRef {
        let id = labels.get("id").expect("test series have ids").parse().expect("a number");
        SeriesRef::new(id, id)
    }

    fn sample(id: u32, time: i64, value: f64) -> BatchSample {
        (SeriesRef::new(id, id), Timestamp::from_millis(time), value)
    }

    fn bits(samples: &[BatchSample]) -> Vec<(u64, i64, u64)> {
        samples
            .iter()
            .map(|&(series, at, value)| (series.as_u64(), at.as_millis(), value.to_bits()))
            .collect()
    }

    /// Writes batches as records of one section and reads them back; answers the records.
    fn check(batches: &[Vec<BatchSample>]) -> Vec<Vec<u8>> {
        let (mut encoder, mut decoder, mut read) =
            (Encoder::default(), Decoder::default(), <Batch>::default());
        encoder.begin();
        let mut preamble = Vec::new();
        put_preamble(&mut preamble, b"ledger");
        varint::put(&mut preamble, 0);
        assert_eq!(decoder.preamble(&preamble).expect("readable").companion, b"ledger");
        let mut records = vec![];
        for (index, batch) in batches.iter().enumerate() {
            let attachment = vec![index as u8; index % 5];
            let descriptions =
                vec![("m".to_owned(), MetricMetadata { kind: MetricKind::Gauge, ..Default::default() })];
            let mut payload = Vec::new();
            let content = Content {
                samples: batch,
                descriptions: &descriptions,
                attachment: &attachment,
                ..Content::default()
            };
            encoder.encode(content, &mut labels, &mut payload);
            decoder.decode(&payload, &mut |labels| Some(series_of(labels)), &mut read).expect("readable");
            assert_eq!(bits(&read.samples), bits(batch));
            assert_eq!((&read.attachment, &read.descriptions), (&attachment, &descriptions));
            records.push(payload);
        }
        records
    }

    #[test]
    fn a_steady_batch_costs_little_more_than_its_values() {
        let batch =
            |time: i64| (0..1000).map(|id| sample(id, time, f64::from(id) + time as f64)).collect::<Vec<_>>();
        let records = check(&[batch(15_000), batch(30_000), batch(45_000)]);
        assert!(records[2].len() < 3 * 1000 + 40, "{}", records[2].len());
    }

    /// The example of `docs/formats/tsdb-journal.md`.
    #[test]
    fn the_bytes_are_those_of_the_paper() {
        let (mut encoder, mut payload) = (Encoder::default(), Vec::new());
        encoder.begin();
        let time = Timestamp::from_millis(1_700_000_000_000);
        let samples = [(SeriesRef::new(1, 1), time, 1.5), (SeriesRef::new(2, 2), time, 42.0)];
        let mut labels_of =
            |series: SeriesRef| Labels::from_pairs([("__name__", "a"), ("l", &*series.id().to_string())]);
        let histograms = [(SeriesRef::new(2, 2), time, Arc::from(*b"hi"))];
        let labels = Labels::from_pairs([("t", "7")]);
        let exemplars = [(SeriesRef::new(1, 1), Exemplar { labels, value: 1.0, timestamp: time })];
        let deletion = Deletion { matchers: vec![Matcher::equal("l", "1")], start: -1, end: 1 };
        let content = Content {
            samples: &samples,
            histograms: &histograms,
            exemplars: &exemplars,
            deletion: Some(&deletion),
            attachment: b"AB",
            ..Content::default()
        };
        encoder.encode(content, &mut labels_of, &mut payload);
        let expected = [
            &[2, 0, 2, b'A', b'B', 2][..],
            b"\x02\x23__name__\x01a\x07l\x011",
            b"\x02\x04\x062",
            &[0, 2],
            &[7, 0x80, 0xa0, 0xab, 0xfe, 0xf9, 0x62, 2],
            &[1, 4],
            &[4, 3, 0x1e, 0xa8, 0x01],
            &[1, 2, 0x80, 0xa0, 0xab, 0xfe, 0xf9, 0x62, 2, b'h', b'i'],
            &[1, 0, 0x80, 0xa0, 0xab, 0xfe, 0xf9, 0x62, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f],
            &[1, 7, b't', 1, b'7'],
            &[1, 1, 2, 1, 0, 1, b'l', 1, b'1'],
        ];
        assert_eq!(payload, expected.concat());
        let (mut decoder, mut read) = (Decoder::default(), <Batch>::default());
        decoder.preamble(&[VERSION, 0, 0]).expect("an empty preamble");
        let mut define = |labels: &Labels| {
            let id = labels.get("l").expect("test series have it").parse().expect("a number");
            Some(SeriesRef::new(id, id))
        };
        decoder.decode(&payload, &mut define, &mut read).expect("readable");
        assert_eq!((read.histograms, read.exemplars), (histograms.to_vec(), exemplars.to_vec()));
        let read = read.deletion.expect("it was written");
        assert_eq!((read.start, read.end, read.matchers), (-1, 1, deletion.matchers));
    }

    /// Written by version 1, whose entries end with their samples: such journals stay readable.
    #[test]
    fn version_1_is_read() {
        let golden = [
            &[1, 0, 2, b'A', b'B', 2][..],
            b"\x02\x23__name__\x01m\x0bid\x011",
            b"\x02\x04\x062",
            &[0, 2],
            &[7, 0x80, 0xa0, 0xab, 0xfe, 0xf9, 0x62, 2],
            &[1, 4],
            &[3, 0x1e],
            &[0xa8, 0x01],
        ];
        let (mut decoder, mut read) = (Decoder::default(), <Batch>::default());
        assert_eq!(decoder.preamble(&[1, 1, b'c', 0]).expect("readable").companion, b"c");
        let mut define = |labels: &Labels| Some(series_of(labels));
        decoder.decode(&golden.concat(), &mut define, &mut read).expect("readable");
        let time = 1_700_000_000_000;
        assert_eq!(bits(&read.samples), bits(&[sample(1, time, 1.5), sample(2, time, 42.0)]));
        assert_eq!(read.attachment, b"AB");
        assert!(read.histograms.is_empty() && read.exemplars.is_empty() && read.deletion.is_none());
    }

    #[test]
    fn a_slot_with_another_series_is_defined_anew() {
        let (mut encoder, mut payload) = (Encoder::default(), Vec::new());
        encoder.begin();
        let mut defined = Vec::new();
        for id in [7, 7, 9] {
            let batch = [(SeriesRef::new(id, 0), Timestamp::from_millis(1), 1.0)];
            encoder.encode(
                Content { samples: &batch, ..Content::default() },
                &mut |series| {
                    defined.push(series.id());
                    labels(series)
                },
                &mut payload,
            );
        }
        assert_eq!(defined, [7, 9]);
    }

    #[test]
    fn a_missing_record_is_noticed_and_nothing_is_guessed_until_the_next_preamble() {
        let (mut encoder, mut decoder, mut read) =
            (Encoder::default(), Decoder::default(), <Batch>::default());
        encoder.begin();
        let records = [1.0, 2.0, 3.0].map(|value| {
            let mut payload = Vec::new();
            let samples = [sample(1, 5, value)];
            encoder.encode(Content { samples: &samples, ..Content::default() }, &mut labels, &mut payload);
            payload
        });
        let mut define = |labels: &Labels| Some(series_of(labels));
        assert_eq!(
            decoder.decode(&records[0], &mut define, &mut read),
            Err(RecordError::Gap),
            "no preamble yet"
        );
        decoder.preamble(&[VERSION, 0, 0]).expect("an empty preamble");
        assert_eq!(decoder.decode(&records[0], &mut define, &mut read), Ok(()));
        assert_eq!(decoder.decode(&records[2], &mut define, &mut read), Err(RecordError::Gap));
        assert_eq!(decoder.decode(&records[1], &mut define, &mut read), Err(RecordError::Gap));
    }

    #[test]
    fn a_newer_version_says_so() {
        let error = Decoder::default().preamble(&[VERSION + 1]).expect_err("unknown version");
        assert_eq!(error, RecordError::Newer { version: VERSION + 1 });
    }

    fn any_batch() -> impl Strategy<Value = Vec<BatchSample>> {
        let value = prop_oneof![any::<u64>().prop_map(f64::from_bits), (0..100i32).prop_map(f64::from)];
        let time = prop_oneof![any::<i64>(), 0..20i64];
        proptest::collection::vec(
            (0..40u32, time, value).prop_map(|(id, time, value)| sample(id, time, value)),
            0..60,
        )
    }

    proptest! {
        #[test]
        fn every_batch_comes_back(batches in proptest::collection::vec(any_batch(), 1..6)) {
            for (record, batch) in check(&batches).iter().zip(&batches) {
                let described = size_max(batch.len(), &[], &[0; 5]) + 60;
                prop_assert!(record.len() <= described + 40 * 16);
            }
        }

        #[test]
        fn damage_is_an_error_and_never_a_panic(
            batch in any_batch(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>(),
        ) {
            let mut record = check(&[batch]).remove(0);
            let at = at.index(record.len());
            record[at] = byte;
            record.truncate(cut.index(record.len()) + 1);
            let mut decoder = Decoder::default();
            decoder.preamble(&[VERSION, 0, 0]).expect("an empty preamble");
            let _ = decoder.decode(&record, &mut |_| None, &mut <Batch>::default());
        }
    }
}
