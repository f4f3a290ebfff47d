//! What chunks are made of: bits, whole numbers of varying width, and values as XOR with the one before.
//!
//! ```text
//! varbit         0                       0            111110 + 18 bits
//!                10 + 3 bits             -3 to 4      1111110 + 25 bits
//!                110 + 6 bits            -31 to 32    11111110 + 56 bits
//!                1110 + 9 bits           -255 to 256  11111111 + 64 bits
//!                11110 + 12 bits         -2047 to 2048; without a sign 7, 63, 511, 4095 and so on
//! value          x = bits XOR bits before
//!                  0                                x = 0
//!                  10 + the bits between            x has at least the zeros before and behind of the last x that was written anew
//!                  11 + 5 bits: zeros before (at most 31) + 6 bits: number of bits between (64 is 0) + these bits
//! ```
//!
//! The widths are those of Prometheus' `tsdb/chunkenc/varbit.go` and `xor.go`.

/// Widths of varbits, each with one leading 1 more than the one before.
const WIDTHS: [u32; 7] = [3, 6, 9, 12, 18, 25, 56];

/// Bits, the highest of each byte first.
#[derive(Debug, Default)]
pub(super) struct Bits {
    bytes: Vec<u8>,
    /// Bits of the last byte that are free.
    free: u32,
}

impl Bits {
    pub(super) fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Appends the lowest `count` bits, the highest of them first.
    pub(super) fn push(&mut self, value: u64, mut count: u32) {
        while count > 0 {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            let taken = count.min(self.free);
            let part = value >> (count - taken) & ((1 << taken) - 1);
            let last = self.bytes.last_mut().expect("a byte with free bits is there");
            *last |= (part << (self.free - taken)) as u8;
            self.free -= taken;
            count -= taken;
        }
    }

    /// A whole number; small ones are short.
    pub(super) fn push_int(&mut self, value: i64) {
        let fits = |bits: &u32| (1 - (1i64 << (bits - 1))..=1i64 << (bits - 1)).contains(&value);
        self.push_varbit(value as u64, fits);
    }

    /// A whole number without a sign.
    pub(super) fn push_uint(&mut self, value: u64) {
        self.push_varbit(value, |bits| value >> bits == 0);
    }

    fn push_varbit(&mut self, value: u64, fits: impl FnMut(&u32) -> bool) {
        if value == 0 {
            return self.push(0, 1);
        }
        match WIDTHS.iter().position(fits) {
            Some(at) => {
                let ones = at as u32 + 1;
                self.push((1 << (ones + 1)) - 2, ones + 1);
                self.push(value, WIDTHS[at]);
            }
            None => {
                self.push(0xff, 8);
                self.push(value, 64);
            }
        }
    }
}

/// The last value of one column.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct XorValue {
    bits: u64,
    /// Zeros before and behind in the last XOR that was written anew.
    zeros: Option<(u32, u32)>,
}

impl XorValue {
    /// The first value stands whole.
    pub(super) fn begin(&mut self, value: f64, out: &mut Bits) {
        self.bits = value.to_bits();
        out.push(self.bits, 64);
    }

    /// A value after another.
    pub(super) fn push(&mut self, value: f64, out: &mut Bits) {
        let xor = value.to_bits() ^ std::mem::replace(&mut self.bits, value.to_bits());
        if xor == 0 {
            return out.push(0, 1);
        }
        let (before, behind) = (xor.leading_zeros().min(31), xor.trailing_zeros());
        if let Some((known_before, known_behind)) = self.zeros
            && before >= known_before
            && behind >= known_behind
        {
            out.push(0b10, 2);
            return out.push(xor >> known_behind, 64 - known_before - known_behind);
        }
        self.zeros = Some((before, behind));
        let between = 64 - before - behind;
        out.push(0b11, 2);
        out.push(u64::from(before), 5);
        // Six bits: 64 stands as 0.
        out.push(u64::from(between), 6);
        out.push(xor >> behind, between);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_take_the_least_width() {
        let check = |value: i64, expected: &[u8]| {
            let mut bits = Bits::default();
            bits.push_int(value);
            assert_eq!(bits.into_bytes(), expected, "{value}");
        };
        check(0, &[0]);
        check(4, &[0b1010_0000]);
        check(-3, &[0b1010_1000]);
        check(5, &[0b1100_0010, 0b1000_0000]);
        check(-255, &[0b1110_1000, 0b0000_1000]);
        check(2049, &[0b1111_1000, 0b0000_1000, 0b0000_0001]);
        check(i64::MIN, &[0xff, 0x80, 0, 0, 0, 0, 0, 0, 0]);
        let mut bits = Bits::default();
        bits.push_uint(7);
        bits.push_uint(8);
        assert_eq!(bits.into_bytes(), [0b1011_1110, 0b0010_0000]);
        let mut bits = Bits::default();
        bits.push_uint(u64::MAX);
        assert_eq!(bits.into_bytes(), [0xff; 9]);
    }
}
