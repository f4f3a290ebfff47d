//! Reads what remote read streams, by Prometheus' format and not by our writer: frames, chunks of numbers, chunks of native histograms in
//! their float form (ours) and of whole numbers (Prometheus').
//!
//! In: the body of an answer, ours or Prometheus'. Out: series and their samples, bit for bit. Panics where bytes are none of this.

use std::collections::BTreeMap;

use model::{Buckets, Histogram, ResetHint, Span};

/// Labels of a series.
pub type Metric = BTreeMap<String, String>;

/// One sample.
#[derive(Clone, Debug, PartialEq)]
pub enum Sample {
    /// A number's bits.
    Number(u64),
    /// A native histogram; of a stale one the sum's bits alone.
    Histogram(Box<Histogram>),
    /// The end of a series of native histograms.
    Stale,
}

/// All samples of an answer in frames by series, in the order in which they came, and how many chunks they were in.
pub fn read(mut body: &[u8]) -> (BTreeMap<Metric, Vec<(i64, Sample)>>, usize) {
    let (mut all, mut chunks) = (BTreeMap::<Metric, Vec<_>>::new(), 0);
    while !body.is_empty() {
        let length = usize::try_from(varint(&mut body)).expect("a length");
        let (_checksum, rest) = body.split_at(4);
        let (message, rest) = rest.split_at(length);
        body = rest;
        for (_, series) in fields(message).into_iter().filter(|(number, _)| *number == 1) {
            let mut metric = Metric::new();
            let mut samples = Vec::new();
            for (number, field) in fields(series.bytes()) {
                if number == 1 {
                    let texts: BTreeMap<u64, Field<'_>> = fields(field.bytes()).into_iter().collect();
                    let text =
                        |number: u64| String::from_utf8(texts[&number].bytes().to_vec()).expect("UTF-8");
                    metric.insert(text(1), text(2));
                } else if number == 2 {
                    samples.extend(chunk(&fields(field.bytes()).into_iter().collect()));
                    chunks += 1;
                }
            }
            all.entry(metric).or_default().extend(samples);
        }
    }
    (all, chunks)
}

fn chunk(fields: &BTreeMap<u64, Field<'_>>) -> Vec<(i64, Sample)> {
    let number = |at: u64| fields.get(&at).map_or(0, |field| field.number());
    let samples = match number(3) {
        1 => numbers(fields[&4].bytes()),
        2 => histograms::<Whole>(fields[&4].bytes()),
        3 => histograms::<Column>(fields[&4].bytes()),
        other => panic!("a chunk of kind {other}"),
    };
    let times = |sample: Option<&(i64, Sample)>| sample.expect("a chunk has samples").0;
    assert_eq!((times(samples.first()), times(samples.last())), (number(1) as i64, number(2) as i64));
    samples
}

fn numbers(bytes: &[u8]) -> Vec<(i64, Sample)> {
    let mut bits = Bits { bytes, at: 16 };
    let (mut at, mut delta, mut value) = (0i64, 0i64, Column::default());
    let mut samples = Vec::new();
    for index in 0..u16::from_be_bytes([bytes[0], bytes[1]]) {
        match index {
            0 => {
                let zigzag = bits.varint();
                at = (zigzag >> 1) as i64 ^ -((zigzag & 1) as i64);
                value.begin(&mut bits);
            }
            1 => {
                delta = bits.varint() as i64;
                at += delta;
                value.next(&mut bits);
            }
            _ => {
                let width = [0, 14, 17, 20, 64][bits.ones(4)];
                delta += bits.signed(width);
                at += delta;
                value.next(&mut bits);
            }
        }
        samples.push((at, Sample::Number(value.bits)));
    }
    samples
}

fn histograms<C: Counted>(bytes: &[u8]) -> Vec<(i64, Sample)> {
    let mut bits = Bits { bytes, at: 24 };
    let zero_threshold = match bits.take(8) {
        0 => 0.0,
        255 => f64::from_bits(bits.take(64)),
        power => 2f64.powi(i32::try_from(power).expect("a byte") - 244),
    };
    let schema = i32::try_from(bits.int()).expect("a schema");
    let spans = [bits.spans(), bits.spans()];
    let custom_bounds = if schema == Histogram::CUSTOM {
        let count = bits.uint();
        (0..count).map(|_| bits.bound()).collect()
    } else {
        Vec::new()
    };
    let buckets = |spans: &[Span]| spans.iter().map(|span| span.length as usize).sum::<usize>();
    let (above, below) = (buckets(&spans[0]), buckets(&spans[1]));
    let (mut counts, mut sum) = (vec![C::default(); 2 + above + below], Column::default());
    let (mut at, mut delta) = (0i64, 0i64);
    let mut samples = Vec::new();
    for index in 0..u16::from_be_bytes([bytes[0], bytes[1]]) {
        let step = bits.int();
        if index == 0 {
            at = step
        } else {
            delta += step
        }
        at += delta;
        let (heads, buckets) = counts.split_at_mut(2);
        heads.iter_mut().for_each(|head| head.read(index, false, &mut bits));
        if index == 0 {
            sum.begin(&mut bits)
        } else {
            sum.next(&mut bits)
        }
        let sum = f64::from_bits(sum.bits);
        let is_stale = model::is_stale(sum);
        if !is_stale {
            buckets.iter_mut().for_each(|bucket| bucket.read(index, true, &mut bits));
        }
        let reset = match (bytes[2] & 0xc0, index) {
            (0xc0, _) => ResetHint::Gauge,
            (0x80, 0) => ResetHint::Reset,
            (_, 0) => ResetHint::Unknown,
            _ => ResetHint::NotReset,
        };
        let histogram = || Histogram {
            schema,
            zero_threshold,
            zero_count: counts[1].value(),
            count: counts[0].value(),
            sum,
            positive: Buckets { spans: spans[0].clone(), counts: C::buckets(&counts[2..2 + above]) },
            negative: Buckets { spans: spans[1].clone(), counts: C::buckets(&counts[2 + above..]) },
            custom_bounds: custom_bounds.clone(),
            reset,
        };
        let sample = if is_stale { Sample::Stale } else { Sample::Histogram(Box::new(histogram())) };
        samples.push((at, sample));
    }
    samples
}

/// Counts of a histogram.
trait Counted: Clone + Default {
    fn read(&mut self, index: u16, is_bucket: bool, bits: &mut Bits<'_>);
    fn value(&self) -> f64;
    fn buckets(all: &[Self]) -> Vec<f64>;
}

impl Counted for Column {
    fn read(&mut self, index: u16, _: bool, bits: &mut Bits<'_>) {
        if index == 0 { self.begin(bits) } else { self.next(bits) }
    }

    fn value(&self) -> f64 {
        f64::from_bits(self.bits)
    }

    fn buckets(all: &[Self]) -> Vec<f64> {
        all.iter().map(Self::value).collect()
    }
}

/// A whole number by the difference of its differences; a bucket by what it has more than the one before it.
#[derive(Clone, Debug, Default)]
struct Whole {
    value: i64,
    delta: i64,
}

impl Counted for Whole {
    fn read(&mut self, index: u16, is_bucket: bool, bits: &mut Bits<'_>) {
        match (index, is_bucket) {
            (0, false) => self.value = bits.uint() as i64,
            (0, true) => self.value = bits.int(),
            _ => {
                self.delta += bits.int();
                self.value += self.delta;
            }
        }
    }

    fn value(&self) -> f64 {
        self.value as f64
    }

    fn buckets(all: &[Self]) -> Vec<f64> {
        let sum = |sum: &mut i64, bucket: &Self| {
            *sum += bucket.value;
            Some(*sum as f64)
        };
        all.iter().scan(0, sum).collect()
    }
}

#[derive(Clone, Debug, Default)]
struct Column {
    bits: u64,
    before: u32,
    behind: u32,
}

impl Column {
    fn begin(&mut self, bits: &mut Bits<'_>) {
        self.bits = bits.take(64);
    }

    fn next(&mut self, bits: &mut Bits<'_>) {
        if bits.take(1) == 0 {
            return;
        }
        if bits.take(1) == 1 {
            self.before = bits.take(5) as u32;
            let between = bits.take(6) as u32;
            self.behind = 64 - self.before - if between == 0 { 64 } else { between };
        }
        self.bits ^= bits.take(64 - self.before - self.behind) << self.behind;
    }
}

/// Bits, the highest of each byte first.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn take(&mut self, count: u32) -> u64 {
        (0..count).fold(0, |value, _| {
            let bit = self.bytes[self.at / 8] >> (7 - self.at % 8) & 1;
            self.at += 1;
            value << 1 | u64::from(bit)
        })
    }

    /// How many 1 stand before a 0, up to so many.
    fn ones(&mut self, most: usize) -> usize {
        (0..most).find(|_| self.take(1) == 0).unwrap_or(most)
    }

    fn signed(&mut self, width: u32) -> i64 {
        let value = self.take(width);
        let is_negative = width > 0 && width < 64 && value > 1 << (width - 1);
        if is_negative { value as i64 - (1 << width) } else { value as i64 }
    }

    fn varint(&mut self) -> u64 {
        let mut bytes = Vec::new();
        loop {
            bytes.push(self.take(8) as u8);
            if bytes.last().is_some_and(|byte| *byte < 0x80) {
                return varint(&mut &bytes[..]);
            }
        }
    }

    fn width(&mut self) -> u32 {
        [0, 3, 6, 9, 12, 18, 25, 56, 64][self.ones(8)]
    }

    fn int(&mut self) -> i64 {
        let width = self.width();
        self.signed(width)
    }

    fn uint(&mut self) -> u64 {
        let width = self.width();
        self.take(width)
    }

    fn spans(&mut self) -> Vec<Span> {
        let count = self.uint();
        let span = |_| Span {
            length: u32::try_from(self.uint()).expect("a length"),
            offset: i32::try_from(self.int()).expect("an offset"),
        };
        (0..count).map(span).collect()
    }

    fn bound(&mut self) -> f64 {
        match self.uint() {
            0 => f64::from_bits(self.take(64)),
            thousandths => (thousandths - 1) as f64 / 1000.0,
        }
    }
}

#[derive(Clone, Copy)]
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Field<'a> {
    fn number(self) -> u64 {
        let Self::Number(number) = self else { panic!("a number") };
        number
    }

    fn bytes(self) -> &'a [u8] {
        let Self::Bytes(bytes) = self else { panic!("bytes") };
        bytes
    }
}

/// The fields of a protocol buffers message, as far as these messages have them.
fn fields(mut message: &[u8]) -> Vec<(u64, Field<'_>)> {
    let mut all = Vec::new();
    while !message.is_empty() {
        let tag = varint(&mut message);
        let field = match tag & 7 {
            0 => Field::Number(varint(&mut message)),
            2 => {
                let length = usize::try_from(varint(&mut message)).expect("a length");
                let (bytes, rest) = message.split_at(length);
                message = rest;
                Field::Bytes(bytes)
            }
            other => panic!("wire type {other}"),
        };
        all.push((tag >> 3, field));
    }
    all
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().expect("a varint ends");
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            return value;
        }
    }
    panic!("a varint of more than 64 bits")
}
