//! The message of remote write, both versions, read and written.
//!
//! ```text
//! Histogram   1: uint64 count   2: double count      3: double sum           4: sint32 schema
//!             5: double zero threshold                6: uint64 zero count    7: double zero count
//!             8: Span* (negative)  9: sint64 deltas* 10: double counts*
//!            11: Span* (positive) 12: sint64 deltas* 13: double counts*
//!            14: reset hint (0 unknown, 1 reset, 2 not reset, 3 gauge)       15: int64 timestamp, ms
//!            16: double custom bounds*                                       17: int64 start timestamp, ms
//! Span         1: sint32 offset     2: uint32 length
//! ```

use super::{Buckets, Histogram, HistogramError, ResetHint, Span};
use crate::Timestamp;

/// Schemas finer than ours that senders may use; they are made coarser.
const FINEST_READ: i32 = 52;
const START: u32 = 17;

/// What a field holds.
enum Field<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32,
}

/// Reads fields one after the other.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn damaged(&self) -> HistogramError {
        HistogramError::Damaged { offset: self.at }
    }

    fn varint(&mut self) -> Result<u64, HistogramError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.bytes.get(self.at).ok_or_else(|| self.damaged())?;
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.damaged())
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], HistogramError> {
        let end = self.at.checked_add(length).ok_or_else(|| self.damaged())?;
        let taken = self.bytes.get(self.at..end).ok_or_else(|| self.damaged())?;
        self.at = end;
        Ok(taken)
    }

    fn fixed64(&mut self) -> Result<u64, HistogramError> {
        let bytes = self.take(8)?;
        Ok(u64::from_le_bytes(bytes.try_into().expect("eight were taken")))
    }

    fn field(&mut self) -> Result<Option<(u32, Field<'a>)>, HistogramError> {
        if self.at == self.bytes.len() {
            return Ok(None);
        }
        let key = self.varint()?;
        let number = u32::try_from(key >> 3).map_err(|_| self.damaged())?;
        let field = match key & 7 {
            0 => Field::Varint(self.varint()?),
            1 => Field::Fixed64(self.fixed64()?),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| self.damaged())?;
                Field::Bytes(self.take(length)?)
            }
            5 => {
                self.take(4)?;
                Field::Fixed32
            }
            _ => return Err(self.damaged()),
        };
        Ok(Some((number, field)))
    }
}

fn zigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// One side as it is sent: either differences of whole counts, or float counts.
#[derive(Default)]
struct Side {
    spans: Vec<Span>,
    deltas: Vec<i64>,
    counts: Vec<f64>,
}

fn bounded<T>(list: &[T]) -> Result<(), HistogramError> {
    if list.len() >= Histogram::BUCKETS_MAX { Err(HistogramError::TooLarge) } else { Ok(()) }
}

fn push_doubles(field: Field<'_>, into: &mut Vec<f64>) -> Result<(), HistogramError> {
    let mut push = |bits| -> Result<(), HistogramError> {
        bounded(into)?;
        into.push(f64::from_bits(bits));
        Ok(())
    };
    match field {
        Field::Fixed64(bits) => push(bits),
        Field::Bytes(bytes) => {
            let mut reader = Reader::new(bytes);
            while reader.at < bytes.len() {
                push(reader.fixed64()?)?;
            }
            Ok(())
        }
        _ => Err(HistogramError::Damaged { offset: 0 }),
    }
}

fn push_deltas(field: Field<'_>, into: &mut Vec<i64>) -> Result<(), HistogramError> {
    let mut push = |value| -> Result<(), HistogramError> {
        bounded(into)?;
        into.push(zigzag(value));
        Ok(())
    };
    match field {
        Field::Varint(value) => push(value),
        Field::Bytes(bytes) => {
            let mut reader = Reader::new(bytes);
            while reader.at < bytes.len() {
                push(reader.varint()?)?;
            }
            Ok(())
        }
        _ => Err(HistogramError::Damaged { offset: 0 }),
    }
}

fn push_span(field: Field<'_>, into: &mut Vec<Span>) -> Result<(), HistogramError> {
    let Field::Bytes(bytes) = field else {
        return Err(HistogramError::Damaged { offset: 0 });
    };
    bounded(into)?;
    let mut span = Span { offset: 0, length: 0 };
    let mut reader = Reader::new(bytes);
    while let Some(field) = reader.field()? {
        match field {
            (1, Field::Varint(value)) => span.offset = zigzag(value) as i32,
            (2, Field::Varint(value)) => {
                span.length = u32::try_from(value).map_err(|_| HistogramError::TooLarge)?;
            }
            _ => {}
        }
    }
    into.push(span);
    Ok(())
}

impl Side {
    /// The buckets, their number and order checked.
    fn buckets(self) -> Result<Buckets, HistogramError> {
        let counts = if self.counts.is_empty() { running(&self.deltas) } else { self.counts };
        let spans: u64 = self.spans.iter().map(|span| u64::from(span.length)).sum();
        if spans != counts.len() as u64 {
            return Err(HistogramError::SpanLength { spans, counts: counts.len() });
        }
        let mut next = 0i64;
        for (at, span) in self.spans.iter().enumerate() {
            next += i64::from(span.offset);
            let end = next + i64::from(span.length);
            // One below and above stay free, so that a neighbour's number can always be named.
            let fits = next > i64::from(i32::MIN) && end < i64::from(i32::MAX);
            if !fits || (at > 0 && span.offset < 0) {
                return Err(HistogramError::SpanOffset(at));
            }
            next = end;
        }
        Ok(Buckets { spans: self.spans, counts })
    }
}

fn running(deltas: &[i64]) -> Vec<f64> {
    let mut count = 0i64;
    let step = |delta: &i64| {
        count = count.wrapping_add(*delta);
        count as f64
    };
    deltas.iter().map(step).collect()
}

fn hint(number: u64) -> ResetHint {
    match number {
        1 => ResetHint::Reset,
        2 => ResetHint::NotReset,
        3 => ResetHint::Gauge,
        _ => ResetHint::Unknown,
    }
}

impl Histogram {
    /// Reads a message. Its time and fields that are not known are passed over.
    ///
    /// # Errors
    /// What is no message, has an unknown schema, or buckets that contradict their spans.
    pub fn decode(bytes: &[u8]) -> Result<Self, HistogramError> {
        let mut read = Self::default();
        let (mut positive, mut negative) = (Side::default(), Side::default());
        let mut reader = Reader::new(bytes);
        while let Some((number, field)) = reader.field()? {
            match (number, field) {
                (1, Field::Varint(count)) => read.count = count as f64,
                (2, Field::Fixed64(bits)) => read.count = f64::from_bits(bits),
                (3, Field::Fixed64(bits)) => read.sum = f64::from_bits(bits),
                (4, Field::Varint(schema)) => read.schema = zigzag(schema) as i32,
                (5, Field::Fixed64(bits)) => read.zero_threshold = f64::from_bits(bits),
                (6, Field::Varint(count)) => read.zero_count = count as f64,
                (7, Field::Fixed64(bits)) => read.zero_count = f64::from_bits(bits),
                (8, field) => push_span(field, &mut negative.spans)?,
                (9, field) => push_deltas(field, &mut negative.deltas)?,
                (10, field) => push_doubles(field, &mut negative.counts)?,
                (11, field) => push_span(field, &mut positive.spans)?,
                (12, field) => push_deltas(field, &mut positive.deltas)?,
                (13, field) => push_doubles(field, &mut positive.counts)?,
                (14, Field::Varint(number)) => read.reset = hint(number),
                (16, field) => push_doubles(field, &mut read.custom_bounds)?,
                _ => {}
            }
        }
        read.positive = positive.buckets()?;
        read.negative = negative.buckets()?;
        if read.is_stale() {
            return Ok(Self { sum: read.sum, reset: read.reset, ..Self::default() });
        }
        read.checked()
    }

    /// The start timestamp in a message, where it bears one.
    pub fn start_of(bytes: &[u8]) -> Option<Timestamp> {
        let mut reader = Reader::new(bytes);
        let mut start = None;
        while let Ok(Some((number, field))) = reader.field() {
            if let (START, Field::Varint(millis)) = (number, field) {
                start = Some(Timestamp::from_millis(millis as i64));
            }
        }
        start.filter(|start| start.as_millis() != 0)
    }

    /// Refuses what contradicts itself; makes finer schemas coarser.
    pub(super) fn checked(self) -> Result<Self, HistogramError> {
        if self.positive.counts.len() + self.negative.counts.len() > Self::BUCKETS_MAX {
            return Err(HistogramError::TooLarge);
        }
        if self.is_custom() {
            return self.check_custom().map(|()| self);
        }
        if !self.custom_bounds.is_empty() {
            return Err(HistogramError::CustomBounds("come with a schema that has none"));
        }
        let finest = *Self::EXPONENTIAL.end();
        match self.schema {
            schema if Self::EXPONENTIAL.contains(&schema) => Ok(self),
            schema if (finest..=FINEST_READ).contains(&schema) => Ok(self.at_schema(finest)),
            schema => Err(HistogramError::Schema(schema)),
        }
    }

    fn check_custom(&self) -> Result<(), HistogramError> {
        let bounds = &self.custom_bounds;
        let last = self.positive.iter().last().map_or(0, |(index, _)| i64::from(index));
        let first = self.positive.iter().next().map_or(0, |(index, _)| index);
        let wrong = if !bounds.iter().all(|bound| bound.is_finite()) {
            "are not all finite"
        } else if bounds.windows(2).any(|pair| pair[0] >= pair[1]) {
            "do not ascend"
        } else if !self.negative.is_empty() {
            "come with negative buckets"
        } else if self.zero_count != 0.0 || self.zero_threshold != 0.0 {
            "come with a zero bucket"
        } else if first < 0 || last > bounds.len() as i64 {
            "are fewer than the buckets"
        } else {
            return Ok(());
        };
        Err(HistogramError::CustomBounds(wrong))
    }

    /// Writes the message, in its float form, with the time of the sample.
    pub fn encode(&self, at: Timestamp, out: &mut Vec<u8>) {
        self.encode_with_start(at, None, out);
    }

    /// Writes the message with the time of the sample and that at which the counter began.
    pub fn encode_with_start(&self, at: Timestamp, start: Option<Timestamp>, out: &mut Vec<u8>) {
        put_double(out, 2, self.count);
        put_double(out, 3, self.sum);
        put_varint(out, 4, unzigzag(i64::from(self.schema)));
        put_double(out, 5, self.zero_threshold);
        put_double(out, 7, self.zero_count);
        put_side(out, 8, &self.negative);
        put_side(out, 11, &self.positive);
        put_varint(out, 14, self.reset as u64);
        put_varint(out, 15, at.as_millis() as u64);
        put_doubles(out, 16, &self.custom_bounds);
        if let Some(start) = start {
            put_varint(out, START, start.as_millis() as u64);
        }
    }
}

fn unzigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_varint(out: &mut Vec<u8>, number: u32, value: u64) {
    varint(out, u64::from(number) << 3);
    varint(out, value);
}

fn put_double(out: &mut Vec<u8>, number: u32, value: f64) {
    varint(out, u64::from(number) << 3 | 1);
    out.extend_from_slice(&value.to_bits().to_le_bytes());
}

fn put_bytes(out: &mut Vec<u8>, number: u32, length: usize) {
    varint(out, u64::from(number) << 3 | 2);
    varint(out, length as u64);
}

fn put_doubles(out: &mut Vec<u8>, number: u32, values: &[f64]) {
    if values.is_empty() {
        return;
    }
    put_bytes(out, number, values.len() * 8);
    values.iter().for_each(|value| out.extend_from_slice(&value.to_bits().to_le_bytes()));
}

/// Spans in one field, counts two numbers after it.
fn put_side(out: &mut Vec<u8>, number: u32, buckets: &Buckets) {
    let mut message = Vec::new();
    for span in &buckets.spans {
        message.clear();
        put_varint(&mut message, 1, unzigzag(i64::from(span.offset)));
        put_varint(&mut message, 2, u64::from(span.length));
        put_bytes(out, number, message.len());
        out.extend_from_slice(&message);
    }
    put_doubles(out, number + 2, &buckets.counts);
}
