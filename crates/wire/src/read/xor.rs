//! Chunks of samples as Prometheus keeps and streams them: times as differences of differences, values as XOR with the one before
//! (Pelkonen et al., "Gorilla: A Fast, Scalable, In-Memory Time Series Database", VLDB 2015, with Prometheus' own widths).
//!
//! ```text
//! 2 bytes        number of samples, big endian
//! first sample   time: zigzag varint; value: 64 bits
//! second         time - time before: varint; value
//! others         difference of the difference d; value
//!                  0     d = 0                      1110 + 20 bits   -(2^19 - 1) <= d <= 2^19
//!                  10 + 14 bits   -(2^13 - 1) <= d <= 2^13          1111 + 64 bits
//!                  110 + 17 bits  -(2^16 - 1) <= d <= 2^16
//! value          x = bits XOR bits before
//!                  0                                x = 0
//!                  10 + the bits between            x has at least the zeros before and behind of the last x that was written anew
//!                  11 + 5 bits: zeros before (at most 31) + 6 bits: number of bits between (64 is 0) + these bits
//! ```
//!
//! Any number of samples in ascending time goes in; a chunk closes at [`SAMPLES_MAX`].

use model::Timestamp;

use super::bits::{Bits, XorValue};
use super::{Chunk, Encoding};

/// Samples of one chunk, as Prometheus cuts them.
pub const SAMPLES_MAX: u16 = 120;

/// Takes samples and makes a chunk.
#[derive(Debug, Default)]
pub struct Builder {
    bits: Bits,
    count: u16,
    first: i64,
    last: i64,
    delta: u64,
    value: XorValue,
}

impl Builder {
    /// Whether the chunk takes no more.
    pub fn is_full(&self) -> bool {
        self.count >= SAMPLES_MAX
    }

    /// Adds a sample that is later than all before.
    pub fn push(&mut self, at: Timestamp, value: f64) {
        let at = at.as_millis();
        match self.count {
            0 => {
                self.bits = Bits::default();
                self.bits.push(0, 16);
                self.first = at;
                self.push_varint((at << 1 ^ at >> 63) as u64);
                self.value.begin(value, &mut self.bits);
            }
            1 => {
                self.delta = at.wrapping_sub(self.last) as u64;
                self.push_varint(self.delta);
                self.value.push(value, &mut self.bits);
            }
            _ => {
                let delta = at.wrapping_sub(self.last) as u64;
                self.push_second_difference(delta.wrapping_sub(self.delta) as i64);
                self.delta = delta;
                self.value.push(value, &mut self.bits);
            }
        }
        self.last = at;
        self.count += 1;
    }

    /// The chunk, if there is a sample in it; the builder begins again.
    pub fn finish(&mut self) -> Option<Chunk> {
        if self.count == 0 {
            return None;
        }
        let done = std::mem::take(self);
        let (first, last) = (Timestamp::from_millis(done.first), Timestamp::from_millis(done.last));
        let mut bytes = done.bits.into_bytes();
        bytes[..2].copy_from_slice(&done.count.to_be_bytes());
        Some(Chunk { encoding: Encoding::Xor, first, last, bytes })
    }

    fn push_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bits.push(value & 0x7f | 0x80, 8);
            value >>= 7;
        }
        self.bits.push(value, 8);
    }

    fn push_second_difference(&mut self, difference: i64) {
        let fits = |bits: u32| (1 - (1i64 << (bits - 1))..=1i64 << (bits - 1)).contains(&difference);
        let (prefix, prefix_bits, bits) = match difference {
            0 => return self.bits.push(0, 1),
            _ if fits(14) => (0b10, 2, 14),
            _ if fits(17) => (0b110, 3, 17),
            _ if fits(20) => (0b1110, 4, 20),
            _ => (0b1111, 4, 64),
        };
        self.bits.push(prefix, prefix_bits);
        self.bits.push(difference as u64, bits);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads a chunk as the module's text draws it, independently of the writer.
    fn read(bytes: &[u8]) -> Vec<(i64, u64)> {
        let count = usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
        let mut at_bit = 16;
        let mut take = |count: u32| {
            (0..count).fold(0u64, |value, _| {
                let bit = bytes[at_bit / 8] >> (7 - at_bit % 8) & 1;
                at_bit += 1;
                value << 1 | u64::from(bit)
            })
        };
        let mut samples: Vec<(i64, u64)> = Vec::new();
        let (mut delta, mut known) = (0i64, (0, 0));
        for index in 0..count {
            let varint = |take: &mut dyn FnMut(u32) -> u64| {
                let (mut value, mut shift) = (0u64, 0);
                loop {
                    let byte = take(8);
                    value |= (byte & 0x7f) << shift;
                    shift += 7;
                    if byte < 0x80 {
                        return value;
                    }
                }
            };
            if index == 0 {
                let zigzag = varint(&mut take);
                samples.push(((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64), take(64)));
                continue;
            }
            let (before_at, before) = samples[index - 1];
            if index == 1 {
                delta = varint(&mut take) as i64;
            } else {
                let widths = [14, 17, 20, 64];
                let ones = (0..4).take_while(|_| take(1) == 1).count();
                let difference = match ones {
                    0 => 0,
                    _ => {
                        let width = widths[ones - 1];
                        let raw = take(width) as i64;
                        if width < 64 && raw > 1 << (width - 1) { raw - (1 << width) } else { raw }
                    }
                };
                delta = delta.wrapping_add(difference);
            }
            let mut value = before;
            if take(1) == 1 {
                if take(1) == 1 {
                    let zeros = take(5) as u32;
                    let between = match take(6) as u32 {
                        0 => 64,
                        between => between,
                    };
                    known = (zeros, 64 - zeros - between);
                }
                value ^= take(64 - known.0 - known.1) << known.1;
            }
            samples.push((before_at.wrapping_add(delta), value));
        }
        samples
    }

    fn check(samples: &[(i64, u64)]) {
        let mut builder = Builder::default();
        for (at, bits) in samples {
            builder.push(Timestamp::from_millis(*at), f64::from_bits(*bits));
        }
        let chunk = builder.finish().expect("there are samples");
        assert_eq!(read(&chunk.bytes), samples);
        assert_eq!(chunk.first.as_millis(), samples[0].0);
        assert_eq!(chunk.last.as_millis(), samples[samples.len() - 1].0);
    }

    #[test]
    fn all_widths_of_times_come_back() {
        let mut times = vec![-1000i64, 14_000];
        for difference in
            [0, 1, -1, 8192, 8193, -8191, -8192, 65_536, -65_535, 65_537, 524_288, -524_287, 524_289]
        {
            let delta = times[times.len() - 1] - times[times.len() - 2];
            times.push(times[times.len() - 1] + delta.wrapping_add(difference).abs().max(1));
        }
        times.push(1 << 50);
        let samples: Vec<(i64, u64)> = times.iter().map(|at| (*at, 1.5f64.to_bits())).collect();
        check(&samples);
    }

    #[test]
    fn an_empty_builder_makes_no_chunk_and_a_full_one_says_so() {
        let mut builder = Builder::default();
        assert_eq!(builder.finish(), None);
        for at in 0..i64::from(SAMPLES_MAX) {
            assert!(!builder.is_full());
            builder.push(Timestamp::from_millis(at), 0.0);
        }
        assert!(builder.is_full());
        assert_eq!(read(&builder.finish().expect("120 samples").bytes).len(), 120);
        assert!(!builder.is_full());
    }

    proptest! {
        #[test]
        fn whatever_goes_in_comes_out(
            start in -1_000_000_000_000i64..4_000_000_000_000,
            steps in proptest::collection::vec((1i64..2_000_000, any::<u64>(), 0u32..64), 1..120),
        ) {
            let mut at = start;
            let samples: Vec<(i64, u64)> = steps
                .into_iter()
                .map(|(step, bits, zeros)| {
                    at += step;
                    (at, bits >> zeros << zeros)
                })
                .collect();
            check(&samples);
        }
    }
}
