//! Chunks of native histograms as Prometheus keeps and streams them, in their float form (`tsdb/chunkenc/float_histogram.go` and
//! `histogram_meta.go`).
//!
//! ```text
//! 2 bytes        number of samples, big endian
//! 1 byte         what is known of resets: 0x80 one before the first sample, 0xc0 a gauge, 0 nothing
//! layout         zero threshold: 1 byte: 0, or a power of two 2^-243 to 2^10 as its exponent + 244; or 255 and 64 bits
//!                schema: varbit
//!                positive spans, negative spans: their number; of each length and offset: varbits
//!                schema -53 only: number of bounds: varbit; each bound as thousandths + 1: varbit, or 0 and 64 bits
//! each sample    time: the first: varbit; others: difference of the difference to the one before: varbit
//!                count, zero count, sum, positive counts, negative counts: values, each as XOR with its own before
//! ```
//!
//! Numbers and values are drawn in [`super::bits`]. All samples of a chunk have one layout, and who reads it takes it that no count fell within:
//! [`Builder::takes`] says where another chunk must begin. A stale marker has no buckets, and nothing follows it.
//!
//! A chunk closes at [`SAMPLES_MAX`] or beyond [`BYTES_MAX`]; one histogram of 65,536 buckets is half a MiB.

use model::{Buckets, Histogram, ResetHint, Timestamp};

use super::bits::{Bits, XorValue};
use super::{Chunk, Encoding};

/// Samples of one chunk.
pub const SAMPLES_MAX: u16 = 120;
/// Bytes after which a chunk takes no more.
pub const BYTES_MAX: usize = 16 << 10;
/// The largest bound in thousandths that is a number of at most 25 bits.
const THOUSANDTHS_MAX: f64 = 33_554_430.0;

/// Takes histograms and makes a chunk.
#[derive(Debug, Default)]
pub struct Builder {
    bits: Bits,
    count: u16,
    first: i64,
    last: i64,
    delta: i64,
    /// The histogram before.
    before: Histogram,
    /// Count, zero count and sum, then the buckets.
    values: Vec<XorValue>,
}

impl Builder {
    /// Whether this histogram may follow what is in the chunk.
    pub fn takes(&self, next: &Histogram) -> bool {
        let before = &self.before;
        if self.count == 0 {
            return true;
        }
        if self.count >= SAMPLES_MAX || self.bits.len_bytes() >= BYTES_MAX || before.is_stale() {
            return false;
        }
        next.is_stale()
            || next.is_gauge() == before.is_gauge()
                && next.reset != ResetHint::Reset
                && has_layout_of(next, before)
                && (next.is_gauge() || !has_fallen(next, before))
    }

    /// Adds a histogram that is later than all before and that the chunk [`takes`](Self::takes).
    pub fn push(&mut self, at: Timestamp, histogram: Histogram) {
        let at = at.as_millis();
        let histogram = if histogram.is_stale() { marker(histogram.sum) } else { histogram };
        let heads = [histogram.count, histogram.zero_count, histogram.sum];
        let counts = histogram.positive.counts.iter().chain(&histogram.negative.counts);
        let all = heads.iter().chain(counts).copied();
        if self.count == 0 {
            self.begin(at, &histogram);
            self.values = all
                .map(|value| {
                    let mut column = XorValue::default();
                    column.begin(value, &mut self.bits);
                    column
                })
                .collect();
        } else {
            let delta = at.wrapping_sub(self.last);
            self.bits.push_int(delta.wrapping_sub(self.delta));
            self.delta = delta;
            // A marker ends before the buckets.
            for (column, value) in self.values.iter_mut().zip(all) {
                column.push(value, &mut self.bits);
            }
        }
        (self.last, self.before) = (at, histogram);
        self.count += 1;
    }

    /// The chunk, if there is a histogram in it; the builder begins again.
    pub fn finish(&mut self) -> Option<Chunk> {
        if self.count == 0 {
            return None;
        }
        let done = std::mem::take(self);
        let (first, last) = (Timestamp::from_millis(done.first), Timestamp::from_millis(done.last));
        let mut bytes = done.bits.into_bytes();
        bytes[..2].copy_from_slice(&done.count.to_be_bytes());
        Some(Chunk { encoding: Encoding::FloatHistogram, first, last, bytes })
    }

    fn begin(&mut self, at: i64, histogram: &Histogram) {
        self.first = at;
        self.bits.push(0, 16);
        let reset = match histogram.reset {
            ResetHint::Reset => 0x80,
            ResetHint::Gauge => 0xc0,
            // That the histogram before, which may be gone, was smaller is not for a chunk to say.
            ResetHint::Unknown | ResetHint::NotReset => 0,
        };
        self.bits.push(reset, 8);
        self.push_zero_threshold(histogram.zero_threshold);
        self.bits.push_int(i64::from(histogram.schema));
        for side in [&histogram.positive, &histogram.negative] {
            self.push_spans(side);
        }
        if histogram.is_custom() {
            self.bits.push_uint(histogram.custom_bounds.len() as u64);
            histogram.custom_bounds.iter().for_each(|bound| self.push_bound(*bound));
        }
        self.bits.push_int(at);
    }

    fn push_zero_threshold(&mut self, threshold: f64) {
        let (exponent, mantissa) = ((threshold.to_bits() >> 52) as i64, threshold.to_bits() << 12);
        // The exponent's bias is 1023; a sign would be beyond all of these.
        match exponent - 1023 {
            _ if threshold == 0.0 => self.bits.push(0, 8),
            power @ -243..=10 if mantissa == 0 => self.bits.push((power + 244) as u64, 8),
            _ => {
                self.bits.push(255, 8);
                self.bits.push(threshold.to_bits(), 64);
            }
        }
    }

    fn push_spans(&mut self, side: &Buckets) {
        self.bits.push_uint(side.spans.len() as u64);
        for span in &side.spans {
            self.bits.push_uint(u64::from(span.length));
            self.bits.push_int(i64::from(span.offset));
        }
    }

    fn push_bound(&mut self, bound: f64) {
        let thousandths = (bound * 1000.0).round();
        // Only what is read back as the same number.
        if (0.0..=THOUSANDTHS_MAX).contains(&thousandths)
            && (thousandths / 1000.0).to_bits() == bound.to_bits()
        {
            self.bits.push_uint(thousandths as u64 + 1);
        } else {
            self.bits.push(0, 1);
            self.bits.push(bound.to_bits(), 64);
        }
    }
}

/// A stale marker: nothing but its sum.
fn marker(sum: f64) -> Histogram {
    Histogram { sum, ..Histogram::default() }
}

fn has_layout_of(next: &Histogram, before: &Histogram) -> bool {
    let same_bits = |a: &f64, b: &f64| a.to_bits() == b.to_bits();
    next.schema == before.schema
        && same_bits(&next.zero_threshold, &before.zero_threshold)
        && next.positive.spans == before.positive.spans
        && next.negative.spans == before.negative.spans
        && next.custom_bounds.len() == before.custom_bounds.len()
        && next.custom_bounds.iter().zip(&before.custom_bounds).all(|(a, b)| same_bits(a, b))
}

/// Whether any count is not at least what it was.
fn has_fallen(next: &Histogram, before: &Histogram) -> bool {
    let rises = |(next, before): (&f64, &f64)| next >= before;
    let sides = [(&next.positive, &before.positive), (&next.negative, &before.negative)];
    !(rises((&next.count, &before.count))
        && rises((&next.zero_count, &before.zero_count))
        && sides.into_iter().all(|(next, before)| next.counts.iter().zip(&before.counts).all(rises)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(text: &str) -> Histogram {
        text.parse().expect(text)
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn a_chunk_is_what_the_format_says() {
        let mut builder = Builder::default();
        builder.push(at(0), histogram("{{schema:0 count:1 sum:1 buckets:[1]}}"));
        let chunk = builder.finish().expect("one sample");
        let one = 1f64.to_bits().to_be_bytes();
        let bits = [
            "0000000000000001", // samples
            "00000000",         // nothing known of resets
            "00000000",         // zero threshold
            "0",                // schema
            "10001",            // one positive span
            "10001",            // of one bucket
            "0",                // from bucket 0 on
            "0",                // no negative span
            "0",                // time
        ]
        .concat();
        let values = [one, [0; 8], one, one].concat();
        let values: String = values.iter().map(|byte| format!("{byte:08b}")).collect();
        let all: Vec<u8> = (bits + &values + "000000000")
            .as_bytes()
            .chunks_exact(8)
            .map(|eight| eight.iter().fold(0, |byte, bit| byte << 1 | (bit - b'0')))
            .collect();
        assert_eq!(chunk.bytes, all[..chunk.bytes.len()]);
        assert_eq!((chunk.first, chunk.last, chunk.encoding), (at(0), at(0), Encoding::FloatHistogram));
    }

    #[test]
    fn another_chunk_begins_where_readers_would_be_misled() {
        let check = |first: &str, second: &str, expected: bool| {
            let mut builder = Builder::default();
            builder.push(at(0), histogram(first));
            assert_eq!(builder.takes(&histogram(second)), expected, "{first} {second}");
        };
        let first = "{{schema:1 count:3 sum:1 z_bucket:1 buckets:[1 1]}}";
        check(first, first, true);
        check(first, "{{schema:1 count:4 sum:-1 z_bucket:1 buckets:[1 2]}}", true);
        check(first, "{{schema:1 count:2 sum:1 z_bucket:1 buckets:[1 1]}}", false);
        check(first, "{{schema:1 count:3 sum:1 z_bucket:1 buckets:[2 0]}}", false);
        check(first, "{{schema:1 count:3 sum:1 buckets:[1 2]}}", false);
        check(first, "{{schema:2 count:3 sum:1 z_bucket:1 buckets:[1 1]}}", false);
        check(first, "{{schema:1 count:4 sum:1 z_bucket:1 buckets:[1 1 1]}}", false);
        check(first, "{{schema:1 count:3 sum:1 z_bucket:1 buckets:[1 1] counter_reset_hint:reset}}", false);
        check(first, "{{schema:1 count:3 sum:1 z_bucket:1 buckets:[1 1] counter_reset_hint:gauge}}", false);
        let gauge = "{{schema:1 count:3 sum:1 z_bucket:1 buckets:[1 1] counter_reset_hint:gauge}}";
        check(gauge, "{{schema:1 count:1 sum:1 buckets:[1 0] counter_reset_hint:gauge}}", true);
        let mut builder = Builder::default();
        builder.push(at(0), histogram(first));
        let stale = marker(model::stale_nan());
        assert!(builder.takes(&stale), "a marker follows anything");
        builder.push(at(1), stale.clone());
        assert!(!builder.takes(&histogram(first)) && !builder.takes(&stale), "and nothing follows it");
    }

    #[test]
    fn a_chunk_has_an_end() {
        let mut builder = Builder::default();
        let one = histogram("{{schema:1 count:3 sum:1 buckets:[1 1]}}");
        let mut taken = 0;
        while builder.takes(&one) {
            builder.push(at(taken), one.clone());
            taken += 1;
        }
        assert_eq!(taken, i64::from(SAMPLES_MAX));
        let many = Histogram { positive: Buckets::dense(0, vec![1.0; 4_000]), count: 4_000.0, ..one };
        let mut builder = Builder::default();
        builder.push(at(0), many.clone());
        assert!(!builder.takes(&many), "{BYTES_MAX} bytes");
    }
}
