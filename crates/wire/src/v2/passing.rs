//! Series that the encoder is told of with each request anew, and of which nothing is kept in between: for a sender of a million series
//! that keeps their labels more compactly than references to texts are.
//!
//! Labels that series have in common are told once as a [`Part`]: a series is a part and a metric's name.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;
use model::{METRIC_NAME, MetricMetadata, Timestamp};

use super::encoder::{push_metadata, put_length};
use crate::protobuf::{WireType, push_bytes, push_sample, push_varint, sample_len, tag};

/// Labels of one or more series of the request being written; void after [`finish`](super::Encoder::finish).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part(u32);

/// What was told for the request being written. Texts are numbered from 1; 0 is the empty text.
#[derive(Debug, Default)]
pub(super) struct Passing {
    bytes: String,
    ends: Vec<u32>,
    index: HashTable<u32>,
    hasher: RandomState,
    /// The text `__name__`.
    label: u32,
    parts: Vec<Span>,
    /// Texts of all parts, name and value in turn.
    refs: Vec<u32>,
    metadata: Vec<[u32; 3]>,
    samples: Vec<Sample>,
    /// A series while it is written.
    head: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Span {
    start: u32,
    end: u32,
    /// Where the metric's name belongs, so that labels stay sorted.
    name_at: u32,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    part: u32,
    name: u32,
    /// One more than its place in `metadata`; 0: none.
    metadata: u32,
    timestamp: i64,
    value: f64,
}

impl Passing {
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.index.clear();
        self.parts.clear();
        self.refs.clear();
        self.metadata.clear();
        self.samples.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.samples.len()
    }

    pub(super) fn part<'a>(&mut self, labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Part {
        let start = self.refs.len() as u32;
        let mut name_at = None;
        for (name, value) in labels {
            if name_at.is_none() && name > METRIC_NAME {
                name_at = Some(self.refs.len() as u32);
            }
            let pair = [self.text(name), self.text(value)];
            self.refs.extend(pair);
        }
        let end = self.refs.len() as u32;
        let part = u32::try_from(self.parts.len()).expect("parts are fewer than their references");
        self.parts.push(Span { start, end, name_at: name_at.unwrap_or(end) });
        Part(part)
    }

    pub(super) fn sample(
        &mut self,
        part: Part,
        name: &str,
        metadata: Option<&MetricMetadata>,
        timestamp: Timestamp,
        value: f64,
    ) {
        self.label = self.text(METRIC_NAME);
        let name = self.text(name);
        let metadata = metadata.map_or(0, |metadata| {
            let texts = [self.text(&metadata.help), self.text(&metadata.unit)];
            self.metadata.push([u32::from(crate::v1::kind_to_number(metadata.kind)), texts[0], texts[1]]);
            self.metadata.len() as u32
        });
        self.samples.push(Sample { part: part.0, name, metadata, timestamp: timestamp.as_millis(), value });
    }

    fn text(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        fn span<'a>(bytes: &'a str, ends: &[u32], number: u32) -> &'a str {
            let at = number as usize - 1;
            let start = if at == 0 { 0 } else { ends[at - 1] };
            &bytes[start as usize..ends[at] as usize]
        }
        let Self { bytes, ends, index, hasher, .. } = self;
        let hash = hasher.hash_one(text);
        if let Some(&number) = index.find(hash, |&number| span(bytes, ends, number) == text) {
            return number;
        }
        bytes.push_str(text);
        ends.push(u32::try_from(bytes.len()).expect("a request is far below 4 GiB"));
        let number = ends.len() as u32;
        index.insert_unique(hash, number, |&other| hasher.hash_one(span(bytes, ends, other)));
        number
    }

    /// Bytes that writing takes at most, about.
    pub(super) fn room(&self) -> usize {
        let refs_of_a_part = self.refs.len() / self.parts.len().max(1);
        self.bytes.len() + 4 * self.ends.len() + self.samples.len() * (32 + 3 * (refs_of_a_part + 2))
    }

    pub(super) fn write_symbols(&self, payload: &mut Vec<u8>) {
        let mut start = 0;
        for &end in &self.ends {
            push_bytes(payload, 4, &self.bytes.as_bytes()[start..end as usize]);
            start = end as usize;
        }
    }

    /// Series in the order in which they were told; `before` texts stand in the table before these, the empty one included.
    pub(super) fn write_series(&mut self, payload: &mut Vec<u8>, before: u32) {
        let mut head = std::mem::take(&mut self.head);
        let number = |text: u32| if text == 0 { 0 } else { text - 1 + before };
        for sample in &self.samples {
            let part = self.parts[sample.part as usize];
            let of = |start: u32, end: u32| self.refs[start as usize..end as usize].iter();
            head.clear();
            head.push(tag(1, WireType::Bytes));
            head.push(0);
            of(part.start, part.name_at).for_each(|&text| push_varint(&mut head, number(text).into()));
            push_varint(&mut head, number(self.label).into());
            push_varint(&mut head, number(sample.name).into());
            of(part.name_at, part.end).for_each(|&text| push_varint(&mut head, number(text).into()));
            put_length(&mut head, 1);
            if let Some([kind, help, unit]) =
                sample.metadata.checked_sub(1).map(|at| self.metadata[at as usize])
            {
                push_metadata(&mut head, kind, number(help), number(unit));
            }
            payload.push(tag(5, WireType::Bytes));
            let samples_len = 2 + sample_len(sample.timestamp, sample.value);
            push_varint(payload, (head.len() + samples_len) as u64);
            payload.extend_from_slice(&head);
            push_sample(payload, sample.timestamp, sample.value);
        }
        self.head = head;
    }
}
