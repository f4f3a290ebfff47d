//! Writes requests whose series come again every round.
//!
//! Texts are kept once, series as references to them. A request holds the texts that its own series use, numbered in the order
//! of their first use, so that a small batch is small however many series the sender has, and the same series give the same
//! table bytes round after round (which receivers may recognise). Where the series are those of the last request, in the same
//! order, its table and references are taken over as they are.
//!
//! Metadata goes out with the first samples of a series, and again after [`Encoder::resend_metadata`].
//!
//! Series that a sender keeps itself pass through with [`Encoder::part`] and [`Encoder::pass`]; nothing of them is kept here. They stand
//! behind the others, with texts of their own.
//!
//! Memory: about 4 bytes a label reference, 24 bytes a series and its texts once. Forgotten series leave holes, which
//! [`Encoder::reset`] clears (see [`Encoder::is_mostly_unused`]).

use std::hash::{BuildHasher, RandomState};
use std::ops::Range;

use hashbrown::HashTable;
use model::{Labels, MetricKind, MetricMetadata, Timestamp};

use super::passing::{Part, Passing};
use crate::protobuf::{WireType, push_bytes, push_sample, push_varint, sample_len, tag, varint_len};
use crate::v1::kind_to_number;

/// A series that an [`Encoder`] knows, until it is forgotten or the encoder is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token {
    index: u32,
    generation: u32,
}

/// Encodes requests of known series.
#[derive(Debug, Default)]
pub struct Encoder {
    generation: u32,
    texts: Texts,
    series: Vec<Series>,
    /// Label references of all series, one behind the other, as indices of `texts`.
    refs: Vec<u32>,
    live: usize,
    batch: Vec<Sample>,
    shape: Shape,
    passing: Passing,
}

#[derive(Debug)]
struct Series {
    refs_start: u32,
    refs_len: u32,
    kind: MetricKind,
    live: bool,
    metadata_due: bool,
    help: u32,
    unit: u32,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    series: u32,
    timestamp: i64,
    value: f64,
}

/// The last request without its samples: its series, its table, and each series' encoded references.
#[derive(Debug, Default)]
struct Shape {
    order: Vec<u32>,
    symbols: Vec<u8>,
    heads: Vec<u8>,
    head_ends: Vec<u32>,
    /// Number of texts in `symbols`.
    count: u32,
    /// Whether it holds metadata, which no second request repeats.
    has_metadata: bool,
}

/// Texts, each once. Index 0 is the empty text, as the protocol wants it.
#[derive(Debug)]
struct Texts {
    bytes: String,
    ends: Vec<u32>,
    index: HashTable<u32>,
    hasher: RandomState,
    /// Per text: its number in the request being written, valid where `round` is the current one.
    numbers: Vec<Number>,
    round: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Number {
    round: u32,
    number: u32,
}

impl Default for Texts {
    fn default() -> Self {
        let (bytes, index, hasher) = (String::new(), HashTable::new(), RandomState::new());
        Self { bytes, ends: vec![0], index, hasher, numbers: vec![Number::default()], round: 0 }
    }
}

impl Texts {
    fn get(&self, index: u32) -> &str {
        &self.bytes[self.span(index)]
    }

    fn span(&self, index: u32) -> Range<usize> {
        let start = if index == 0 { 0 } else { self.ends[index as usize - 1] };
        start as usize..self.ends[index as usize] as usize
    }

    fn intern(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        let hash = self.hasher.hash_one(text);
        if let Some(&index) = self.index.find(hash, |&index| self.get(index) == text) {
            return index;
        }
        let index = u32::try_from(self.ends.len()).expect("texts of less than 4 GiB are fewer than 2^32");
        self.bytes.push_str(text);
        self.ends.push(
            u32::try_from(self.bytes.len()).expect("callers reset an encoder long before 4 GiB of texts"),
        );
        self.numbers.push(Number::default());
        let Self { index: table, bytes, ends, hasher, .. } = self;
        table.insert_unique(hash, index, |&other| {
            let start = ends[other as usize - 1] as usize;
            hasher.hash_one(&bytes[start..ends[other as usize] as usize])
        });
        index
    }

    /// Starts numbering from 1 (0 is the empty text).
    fn start_round(&mut self) {
        self.round = self.round.wrapping_add(1);
        if self.round == 0 {
            self.numbers.fill(Number::default());
            self.round = 1;
        }
        self.numbers[0] = Number { round: self.round, number: 0 };
    }

    /// The text's number in this request; a text used for the first time is appended to the table.
    #[inline]
    fn number(&mut self, index: u32, count: &mut u32, symbols: &mut Vec<u8>) -> u32 {
        let known = self.numbers[index as usize];
        if known.round == self.round {
            return known.number;
        }
        let number = *count;
        *count += 1;
        self.numbers[index as usize] = Number { round: self.round, number };
        push_bytes(symbols, 4, self.get(index).as_bytes());
        number
    }
}

impl Encoder {
    /// An encoder that knows no series.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a series known. Register each series once: the same labels again are another series of the request.
    pub fn register(&mut self, labels: &Labels, metadata: Option<&MetricMetadata>) -> Token {
        let refs_start =
            u32::try_from(self.refs.len()).expect("callers reset an encoder long before 2^32 references");
        for (name, value) in labels {
            let pair = [self.texts.intern(name), self.texts.intern(value)];
            self.refs.extend(pair);
        }

        let refs_len = self.refs.len() as u32 - refs_start;
        let (kind, help, unit) = match metadata {
            Some(metadata) => {
                (metadata.kind, self.texts.intern(&metadata.help), self.texts.intern(&metadata.unit))
            }
            None => (MetricKind::Unknown, 0, 0),
        };
        let metadata_due = metadata.is_some();
        let index = u32::try_from(self.series.len()).expect("series are fewer than their references");
        self.series.push(Series { refs_start, refs_len, kind, live: true, metadata_due, help, unit });
        self.live += 1;
        Token { index, generation: self.generation }
    }

    /// Forgets a series; its place is reclaimed by the next [`Encoder::reset`].
    pub fn forget(&mut self, token: Token) {
        if let Some(series) = self.known(token)
            && std::mem::replace(&mut series.live, false)
        {
            self.live -= 1;
        }
    }

    fn known(&mut self, token: Token) -> Option<&mut Series> {
        if token.generation != self.generation {
            return None;
        }
        self.series.get_mut(token.index as usize)
    }

    /// Number of series that are known and not forgotten.
    pub fn series_count(&self) -> usize {
        self.live
    }

    /// Whether more than half of at least 1,000 series are forgotten ones: time for [`Encoder::reset`].
    pub fn is_mostly_unused(&self) -> bool {
        self.series.len() >= 1_000 && self.live * 2 < self.series.len()
    }

    /// Forgets everything, and frees it. All tokens become unknown: register again what is still wanted.
    pub fn reset(&mut self) {
        *self = Self { generation: self.generation.wrapping_add(1), ..Self::default() };
    }

    /// The next request of each series carries its metadata again: for a receiver that may have missed it.
    pub fn resend_metadata(&mut self) {
        for series in &mut self.series {
            series.metadata_due = series.kind != MetricKind::Unknown || series.help != 0 || series.unit != 0;
        }
    }

    /// Starts a request; samples of a request that was not finished are dropped.
    pub fn begin(&mut self) {
        self.batch.clear();
        self.passing.clear();
    }

    /// Tells labels, sorted by name and without the metric's, for series of this request that pass through.
    pub fn part<'a>(&mut self, labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Part {
        self.passing.part(labels)
    }

    /// Adds a sample of a series that passes through; each is a series of the request, with metadata where it is given.
    ///
    /// # Panics
    /// On a part of another request, perhaps.
    pub fn pass(
        &mut self,
        part: Part,
        name: &str,
        metadata: Option<&MetricMetadata>,
        timestamp: Timestamp,
        value: f64,
    ) {
        self.passing.sample(part, name, metadata, timestamp, value);
    }

    /// Adds a sample; false where the token is unknown (forgotten, or of before a reset): register the series again.
    #[inline]
    pub fn sample(&mut self, token: Token, timestamp: Timestamp, value: f64) -> bool {
        let known = self.known(token).is_some_and(|series| series.live);
        if known {
            self.batch.push(Sample { series: token.index, timestamp: timestamp.as_millis(), value });
        }
        known
    }

    /// Number of samples since [`Encoder::begin`].
    pub fn sample_count(&self) -> usize {
        self.batch.len() + self.passing.len()
    }

    /// Appends the request to `payload` and starts the next. Series stand in the order of registration, the samples of one
    /// series in the order in which they were added.
    pub fn finish(&mut self, payload: &mut Vec<u8>) {
        if !self.batch.is_sorted_by_key(|sample| sample.series) {
            self.batch.sort_by_key(|sample| sample.series);
        }
        if self.batch.is_empty() {
            // What passes through alone leaves the shape of the others as it is.
            payload.reserve(self.passing.room() + 2);
            push_bytes(payload, 4, b"");
            self.passing.write_symbols(payload);
            self.passing.write_series(payload, 1);
            return self.begin();
        }
        if !self.fits_shape() {
            self.make_shape();
        }
        let own = self.shape.symbols.len() + self.shape.heads.len() + 24 * self.batch.len() + 2;
        payload.reserve(own + self.passing.room());
        push_bytes(payload, 4, b"");
        payload.extend_from_slice(&self.shape.symbols);
        self.passing.write_symbols(payload);
        self.write_series(payload);
        self.passing.write_series(payload, self.shape.count);
        self.begin();
    }

    /// Whether this batch has exactly the last request's series, and none of them owes metadata.
    fn fits_shape(&self) -> bool {
        let mut order = self.shape.order.iter();
        let mut previous = None;
        for sample in &self.batch {
            if previous == Some(sample.series) {
                continue;
            }
            previous = Some(sample.series);
            if order.next() != previous.as_ref() || self.series[sample.series as usize].metadata_due {
                return false;
            }
        }
        order.next().is_none() && !self.shape.has_metadata
    }

    fn make_shape(&mut self) {
        let Self { texts, series, refs, batch, shape, .. } = self;
        shape.clear();
        texts.start_round();
        for group in batch.chunk_by(|a, b| a.series == b.series) {
            let series = &mut series[group[0].series as usize];
            shape.order.push(group[0].series);
            shape.push_refs(texts, series.refs(refs));
            if std::mem::replace(&mut series.metadata_due, false) {
                shape.push_metadata(texts, series);
            }
            shape.head_ends.push(shape.heads.len() as u32);
        }
    }

    fn write_series(&self, payload: &mut Vec<u8>) {
        let groups = self.batch.chunk_by(|a, b| a.series == b.series);
        let mut head_start = 0;
        for (group, &head_end) in groups.zip(&self.shape.head_ends) {
            let head = &self.shape.heads[head_start..head_end as usize];
            head_start = head_end as usize;
            let samples_len: usize =
                group.iter().map(|sample| 2 + sample_len(sample.timestamp, sample.value)).sum();
            payload.push(tag(5, WireType::Bytes));
            push_varint(payload, (head.len() + samples_len) as u64);
            payload.extend_from_slice(head);
            for sample in group {
                push_sample(payload, sample.timestamp, sample.value);
            }
        }
    }
}

impl Series {
    fn refs<'a>(&self, refs: &'a [u32]) -> &'a [u32] {
        let start = self.refs_start as usize;
        &refs[start..start + self.refs_len as usize]
    }
}

impl Shape {
    fn clear(&mut self) {
        self.order.clear();
        self.symbols.clear();
        self.heads.clear();
        self.head_ends.clear();
        self.count = 1;
        self.has_metadata = false;
    }

    fn push_refs(&mut self, texts: &mut Texts, refs: &[u32]) {
        if refs.is_empty() {
            return;
        }
        self.heads.push(tag(1, WireType::Bytes));
        let length_at = self.heads.len();
        self.heads.push(0);
        for &text in refs {
            let number = texts.number(text, &mut self.count, &mut self.symbols);
            push_varint(&mut self.heads, u64::from(number));
        }
        put_length(&mut self.heads, length_at);
    }

    fn push_metadata(&mut self, texts: &mut Texts, series: &Series) {
        self.has_metadata = true;
        let help = texts.number(series.help, &mut self.count, &mut self.symbols);
        let unit = texts.number(series.unit, &mut self.count, &mut self.symbols);
        push_metadata(&mut self.heads, kind_to_number(series.kind).into(), help, unit);
    }
}

/// Writes the field `metadata` of a series.
pub(super) fn push_metadata(out: &mut Vec<u8>, kind: u32, help: u32, unit: u32) {
    out.push(tag(5, WireType::Bytes));
    let length_at = out.len();
    out.push(0);
    for (number, value) in [(1, kind), (3, help), (4, unit)].into_iter().filter(|(_, value)| *value != 0) {
        out.push(tag(number, WireType::Varint));
        push_varint(out, u64::from(value));
    }
    put_length(out, length_at);
}

/// Fills in the length of what follows `length_at`, where one byte is reserved; most messages need no more.
pub(super) fn put_length(out: &mut Vec<u8>, length_at: usize) {
    let length = out.len() - length_at - 1;
    let extra = varint_len(length as u64) - 1;
    if extra > 0 {
        out.splice(length_at + 1..length_at + 1, std::iter::repeat_n(0, extra));
    }
    let mut left = length;
    for byte in &mut out[length_at..length_at + extra] {
        *byte = left as u8 | 0x80;
        left >>= 7;
    }
    out[length_at + extra] = left as u8;
}
