//! Remote read: `prometheus.ReadRequest`, and its two kinds of answers: whole samples, or XOR chunks in frames.
//!
//! In: an uncompressed request. Out: what it asks for, borrowed; and writers for `ReadResponse` (samples, at once) and
//! `ChunkedReadResponse` (chunks of [`xor`] and [`distributions`], a frame at a time, so that nobody holds an answer whole).
//!
//! A frame is the length of its message as a varint, the CRC-32C of the message in big endian, the message. The checksum is the
//! caller's to compute: this crate knows none. Limits: [`QUERIES_MAX`] queries a request, [`MATCHERS_MAX`] conditions a query.

mod bits;
pub mod distributions;
pub mod xor;

use model::{Labels, MatchOp, Timestamp};

use crate::WireError;
use crate::histogram::Histogram;
use crate::protobuf::{Reader, WireType, push_bytes, push_text, push_varint, tag};

/// The most queries of one request.
pub const QUERIES_MAX: usize = 64;
/// The most conditions of one query.
pub const MATCHERS_MAX: usize = 256;
/// The type of an answer in frames.
pub const STREAMED_TYPE: &str = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";

/// Where a native histogram's time stands.
const HISTOGRAM_TIMESTAMP: u8 = 15;

/// What a request asks for.
#[derive(Debug, PartialEq)]
pub struct ReadRequest<'a> {
    /// One answer each, in this order.
    pub queries: Vec<Query<'a>>,
    /// Whether the client takes frames of chunks before whole samples; else it gets those.
    pub is_streamed: bool,
}

/// A span of time and conditions on labels.
#[derive(Debug, PartialEq)]
pub struct Query<'a> {
    /// First millisecond, inclusive.
    pub start: Timestamp,
    /// Last millisecond, inclusive.
    pub end: Timestamp,
    /// All of them must hold.
    pub matchers: Vec<QueryMatcher<'a>>,
}

/// A condition as it was sent; a pattern is not compiled yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueryMatcher<'a> {
    /// How it compares.
    pub op: MatchOp,
    /// The label.
    pub name: &'a str,
    /// The text or pattern.
    pub value: &'a str,
}

impl<'a> ReadRequest<'a> {
    /// Reads an uncompressed request.
    ///
    /// # Errors
    /// What is no such message, or holds more than the limits.
    pub fn parse(payload: &'a [u8]) -> Result<Self, WireError> {
        let mut message = Reader::new(payload);
        let (mut queries, mut first_known) = (Vec::new(), None);
        while let Some((number, wire_type)) = message.field()? {
            match (number, wire_type) {
                (1, _) => {
                    message.expect(WireType::Bytes, wire_type)?;
                    if queries.len() >= QUERIES_MAX {
                        return Err(WireError::TooMany { what: "queries", limit: QUERIES_MAX });
                    }
                    queries.push(Query::read(message.message()?)?);
                }
                (2, WireType::Varint) => note_kind(&mut first_known, message.varint()?),
                (2, WireType::Bytes) => {
                    let mut packed = message.message()?;
                    while !packed.is_empty() {
                        note_kind(&mut first_known, packed.varint()?);
                    }
                }
                _ => message.skip(wire_type)?,
            }
        }
        Ok(Self { queries, is_streamed: first_known == Some(1) })
    }
}

/// Keeps the first kind of answer that we know.
fn note_kind(first_known: &mut Option<u64>, kind: u64) {
    if kind <= 1 {
        first_known.get_or_insert(kind);
    }
}

impl<'a> Query<'a> {
    fn read(mut message: Reader<'a>) -> Result<Self, WireError> {
        let (mut start, mut end, mut matchers) = (0, 0, Vec::new());
        while let Some((number, wire_type)) = message.field()? {
            match number {
                1 | 2 => {
                    message.expect(WireType::Varint, wire_type)?;
                    let time = message.varint()? as i64;
                    if number == 1 { start = time } else { end = time }
                }
                3 => {
                    message.expect(WireType::Bytes, wire_type)?;
                    if matchers.len() >= MATCHERS_MAX {
                        return Err(WireError::TooMany { what: "conditions", limit: MATCHERS_MAX });
                    }
                    matchers.push(QueryMatcher::read(message.message()?)?);
                }
                _ => message.skip(wire_type)?,
            }
        }
        let (start, end) = (Timestamp::from_millis(start), Timestamp::from_millis(end));
        Ok(Self { start, end, matchers })
    }
}

impl<'a> QueryMatcher<'a> {
    fn read(mut message: Reader<'a>) -> Result<Self, WireError> {
        let (mut op, mut name, mut value) = (MatchOp::Equal, "", "");
        while let Some((number, wire_type)) = message.field()? {
            match number {
                1 => {
                    message.expect(WireType::Varint, wire_type)?;
                    op = match message.varint()? {
                        0 => MatchOp::Equal,
                        1 => MatchOp::NotEqual,
                        2 => MatchOp::Regex,
                        3 => MatchOp::NotRegex,
                        _ => {
                            return Err(WireError::Unsupported {
                                header: "matcher type",
                                value: name.chars().take(120).collect(),
                                hint: "0 to 3 are known: =, !=, =~, !~",
                            });
                        }
                    };
                }
                2 | 3 => {
                    message.expect(WireType::Bytes, wire_type)?;
                    let text = message.text()?;
                    if number == 2 { name = text } else { value = text }
                }
                _ => message.skip(wire_type)?,
            }
        }
        Ok(Self { op, name, value })
    }
}

/// Writes a `ReadResponse` around results, each of which is a [`v1::Writer`](crate::v1::Writer)'s series: a result numbers them as a write
/// request does.
pub fn push_result(out: &mut Vec<u8>, series: &[u8]) {
    push_bytes(out, 1, series);
}

/// A native histogram's message with this time, whatever time it came with.
pub fn histogram_at(message: &[u8], at: Timestamp) -> Vec<u8> {
    let mut out = message.to_vec();
    // Of a field that stands twice the last counts.
    if !Histogram::parse(message).is_ok_and(|sent| sent.timestamp == at) {
        out.push(tag(HISTOGRAM_TIMESTAMP, WireType::Varint));
        push_varint(&mut out, at.as_millis() as u64);
    }
    out
}

/// What a chunk holds, by its number in `prometheus.Chunk`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Numbers.
    Xor = 1,
    /// Native histograms whose counts are floats.
    FloatHistogram = 3,
}

/// A chunk that is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// What it holds.
    pub encoding: Encoding,
    /// Time of the first sample.
    pub first: Timestamp,
    /// Time of the last.
    pub last: Timestamp,
    /// The number of samples and their bits.
    pub bytes: Vec<u8>,
}

/// Builds the messages of an answer in frames: one series a message, several messages where it has many chunks.
#[derive(Debug, Default)]
pub struct FrameWriter {
    labels: Vec<u8>,
    series: Vec<u8>,
    scratch: Vec<u8>,
}

impl FrameWriter {
    /// Begins a series; its labels stand in each of its messages.
    pub fn begin(&mut self, labels: &Labels) {
        self.labels.clear();
        for (name, value) in labels.iter() {
            self.scratch.clear();
            push_text(&mut self.scratch, 1, name);
            push_text(&mut self.scratch, 2, value);
            push_bytes(&mut self.labels, 1, &self.scratch);
        }
        self.series.clear();
    }

    /// Adds a chunk.
    pub fn chunk(&mut self, chunk: &Chunk) {
        self.scratch.clear();
        for (number, time) in [(1, chunk.first), (2, chunk.last)] {
            if time.as_millis() != 0 {
                self.scratch.push(tag(number, WireType::Varint));
                push_varint(&mut self.scratch, time.as_millis() as u64);
            }
        }
        self.scratch.extend([tag(3, WireType::Varint), chunk.encoding as u8]);
        push_bytes(&mut self.scratch, 4, &chunk.bytes);
        push_bytes(&mut self.series, 2, &self.scratch);
    }

    /// Bytes that the next message has so far.
    pub fn size(&self) -> usize {
        self.labels.len() + self.series.len()
    }

    /// Whether chunks were added since the last message.
    pub fn has_chunks(&self) -> bool {
        !self.series.is_empty()
    }

    /// The message, of the query by its number; the series goes on with none of its chunks.
    pub fn finish(&mut self, query: usize) -> Vec<u8> {
        let length = self.labels.len() + self.series.len();
        let mut out = Vec::with_capacity(length + 16);
        out.push(tag(1, WireType::Bytes));
        push_varint(&mut out, length as u64);
        out.extend_from_slice(&self.labels);
        out.extend_from_slice(&self.series);
        if query != 0 {
            out.push(tag(2, WireType::Varint));
            push_varint(&mut out, query as u64);
        }
        self.series.clear();
        out
    }
}

/// What stands before a message in a stream: its length and its checksum (CRC-32C).
pub fn push_frame_head(out: &mut Vec<u8>, length: usize, checksum: u32) {
    push_varint(out, length as u64);
    out.extend_from_slice(&checksum.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matcher(op: u8, name: &str, value: &str) -> Vec<u8> {
        let mut out = vec![tag(1, WireType::Varint), op];
        push_text(&mut out, 2, name);
        push_text(&mut out, 3, value);
        out
    }

    fn query(start: i64, end: i64, matchers: &[Vec<u8>]) -> Vec<u8> {
        let mut out = Vec::new();
        for (number, time) in [(1, start), (2, end)] {
            out.push(tag(number, WireType::Varint));
            push_varint(&mut out, time as u64);
        }
        matchers.iter().for_each(|matcher| push_bytes(&mut out, 3, matcher));
        // Hints, which nobody reads here.
        push_bytes(&mut out, 4, &[tag(1, WireType::Varint), 5]);
        out
    }

    fn request(kinds: &[u8], queries: &[Vec<u8>]) -> Vec<u8> {
        let mut out = Vec::new();
        queries.iter().for_each(|query| push_bytes(&mut out, 1, query));
        push_bytes(&mut out, 2, kinds);
        out
    }

    #[test]
    fn a_request_is_read_as_it_was_sent() {
        let sent =
            request(&[1, 0], &[query(-5, 10, &[matcher(0, "__name__", "up"), matcher(3, "job", "a|b")])]);
        let read = ReadRequest::parse(&sent).expect("a request");
        assert!(read.is_streamed);
        let query = &read.queries[0];
        assert_eq!((query.start.as_millis(), query.end.as_millis()), (-5, 10));
        let name = QueryMatcher { op: MatchOp::Equal, name: "__name__", value: "up" };
        let job = QueryMatcher { op: MatchOp::NotRegex, name: "job", value: "a|b" };
        assert_eq!(query.matchers, [name, job]);
    }

    #[test]
    fn clients_get_what_they_take() {
        let check = |kinds: &[u8], expected| {
            assert_eq!(ReadRequest::parse(&request(kinds, &[])).expect("a request").is_streamed, expected);
        };
        check(&[], false);
        check(&[0], false);
        check(&[0, 1], false);
        check(&[1, 0], true);
        check(&[1], true);
        check(&[7, 1], true);
        // Not packed, as older clients write it.
        let apart = [tag(2, WireType::Varint), 1, tag(2, WireType::Varint), 0];
        assert!(ReadRequest::parse(&apart).expect("a request").is_streamed);
    }

    #[test]
    fn too_much_and_what_is_unknown_is_refused() {
        let many = vec![query(0, 1, &[]); QUERIES_MAX + 1];
        assert!(matches!(ReadRequest::parse(&request(&[], &many)), Err(WireError::TooMany { .. })));
        let many = vec![matcher(0, "a", "b"); MATCHERS_MAX + 1];
        let sent = request(&[], &[query(0, 1, &many)]);
        assert!(matches!(ReadRequest::parse(&sent), Err(WireError::TooMany { .. })));
        let sent = request(&[], &[query(0, 1, &[matcher(4, "a", "b")])]);
        assert!(matches!(ReadRequest::parse(&sent), Err(WireError::Unsupported { .. })));
        let whole = request(&[1], &[query(0, 1, &[matcher(0, "a", "b")])]);
        for end in 1..whole.len() {
            // Never a panic; a prefix that is a message by itself is fine.
            drop(ReadRequest::parse(&whole[..end]));
        }
    }

    #[test]
    fn a_histogram_has_the_time_that_it_is_stored_at() {
        let sent = [24, 7, tag(HISTOGRAM_TIMESTAMP, WireType::Varint), 5];
        let time = |bytes: &[u8]| Histogram::parse(bytes).expect("a message").timestamp.as_millis();
        assert_eq!(histogram_at(&sent, Timestamp::from_millis(5)), sent);
        assert_eq!(time(&histogram_at(&sent, Timestamp::from_millis(9))), 9);
        assert_eq!(time(&histogram_at(&sent, Timestamp::from_millis(0))), 0);
    }

    #[test]
    fn a_message_holds_labels_chunks_and_the_query() {
        let mut writer = FrameWriter::default();
        writer.begin(&Labels::from_pairs([("a", "b")]));
        assert!(!writer.has_chunks());
        let mut builder = xor::Builder::default();
        builder.push(Timestamp::from_millis(1), 2.0);
        writer.chunk(&builder.finish().expect("a sample"));
        let message = writer.finish(3);
        let expected = [
            &[10u8, 8 + 2 + 19][..],
            &[10, 6, 10, 1, b'a', 18, 1, b'b'],
            &[18, 19, 8, 1, 16, 1, 24, 1, 34, 11, 0, 1, 2, 0x40, 0, 0, 0, 0, 0, 0, 0],
            &[16, 3],
        ]
        .concat();
        assert_eq!(message, expected);
    }
}
