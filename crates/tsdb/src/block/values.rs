//! Value columns: the floats of one chunk of one series as bytes, and back bit for bit (-0, infinities, NaN payloads, stale markers,
//! subnormals). The bytes are drawn in `docs/formats/store-columns.md` and are for ever: golden vectors in the tests hold them.
//!
//! In: at most [`COUNT_MAX`] floats. Out: a form byte and a body. Decimals become integers of one unit for the chunk, with exceptions
//! apart; what is no decimal goes as its bits. Integers are packed by [`ints`]. The smallest of the forms that apply is taken, so the
//! coding decides only what is tried. Not here: counts, times, checksums (the block's frames have them), labels.
//!
//! Any bytes may be given to the decoder: the answer is an error or exactly `count` values; memory is bounded by `count`.

mod bits;
mod decimal;
mod dense;
#[cfg(test)]
mod golden;
pub(super) mod ints;
mod xor;

use super::Coding;
use crate::varint::{self, Cursor};
use decimal::Unit;
use ints::{IntDecoder, IntEncoder};

/// Most samples in a chunk; a decoder refuses more.
pub(crate) const COUNT_MAX: usize = 1 << 16;

/// Samples in a chunk at most: a fresh one is what two hours at 15 s hold; a compacted one is as long as pco needs to be at its best.
const FRESH_MAX: usize = 512;
const COMPACTED_MAX: usize = 8192;

/// All values have these bits: 8 bytes.
const FORM_SAME_BITS: u8 = 0;
/// All values are this decimal: a unit byte and a signed mantissa.
const FORM_SAME_DECIMAL: u8 = 1;
/// A unit byte, then a column of mantissas.
const FORM_DECIMALS: u8 = 2;
/// A unit byte, exceptions, then a column of the other values' mantissas.
const FORM_DECIMALS_AND_MORE: u8 = 3;
/// A column of the floats' bits, in the floats' order.
const FORM_BITS: u8 = 4;
/// Each float's bits XORed with those before it.
const FORM_XOR: u8 = 5;

/// What is wrong with a column's bytes; who knows the file and the offset adds them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct CodecError(pub(crate) &'static str);

/// Sizes of the chunks that so many samples are cut into: even parts.
pub(crate) fn chunk_lengths(samples: usize, coding: Coding) -> impl Iterator<Item = usize> {
    let most = match coding {
        Coding::Fresh => FRESH_MAX,
        Coding::Compacted => COMPACTED_MAX,
    };
    let chunks = samples.div_ceil(most);
    (0..chunks).map(move |index| samples / chunks + usize::from(index < samples % chunks))
}

/// Packs value columns; its buffers are used again.
#[derive(Default)]
pub(crate) struct ValueEncoder {
    mantissas: Vec<i64>,
    exceptions: Vec<(u32, u64)>,
    ints: IntEncoder,
    other: Vec<u8>,
}

/// Unpacks value columns; its buffers are used again.
#[derive(Default)]
pub(crate) struct ValueDecoder {
    ints: IntDecoder,
    numbers: Vec<i64>,
    exceptions: Vec<(usize, f64)>,
}

impl ValueEncoder {
    /// Appends the column of these values. The same values and coding always give the same bytes.
    pub(crate) fn encode(&mut self, values: &[f64], coding: Coding, out: &mut Vec<u8>) {
        assert!(values.len() <= COUNT_MAX, "chunks are cut by chunk_lengths");
        let Some(&first) = values.first() else { return };
        if values.iter().all(|value| value.to_bits() == first.to_bits()) {
            put_same(first, out);
            return;
        }
        let start = out.len();
        let unit = decimal::find(values, &mut self.mantissas, &mut self.exceptions);
        if let Some(unit) = unit {
            self.put_decimals(unit, values.len(), coding, out);
        }
        // Only where decimals cost nearly as much as bits can bits win.
        if unit.is_none() || out.len() - start > values.len() * 4 {
            self.put_bits(values, coding, start, out);
        }
    }

    fn put_decimals(&mut self, unit: Unit, count: usize, coding: Coding, out: &mut Vec<u8>) {
        let form = if self.exceptions.is_empty() { FORM_DECIMALS } else { FORM_DECIMALS_AND_MORE };
        out.extend_from_slice(&[form, unit.byte()]);
        if !self.exceptions.is_empty() {
            put_exceptions(&self.exceptions, out);
        }
        debug_assert_eq!(self.mantissas.len() + self.exceptions.len(), count);
        self.ints.encode(&self.mantissas, coding, out);
    }

    /// Replaces what begins at `start` by the bits or the XORed form, where one of them is smaller or nothing is there.
    fn put_bits(&mut self, values: &[f64], coding: Coding, start: usize, out: &mut Vec<u8>) {
        self.mantissas.clear();
        self.mantissas.extend(values.iter().map(|value| ordered(value.to_bits())));
        self.other.clear();
        self.other.push(FORM_BITS);
        self.ints.encode(&self.mantissas, coding, &mut self.other);
        let replace = |other: &[u8], out: &mut Vec<u8>| {
            if out.len() == start || other.len() < out.len() - start {
                out.truncate(start);
                out.extend_from_slice(other);
            }
        };
        replace(&self.other, out);
        self.other.clear();
        self.other.push(FORM_XOR);
        xor::encode(values, &mut self.other);
        replace(&self.other, out);
    }
}

fn put_same(value: f64, out: &mut Vec<u8>) {
    match decimal::shortest(value) {
        Some((mantissa, unit)) => {
            out.extend_from_slice(&[FORM_SAME_DECIMAL, unit.byte()]);
            varint::put_signed(out, mantissa);
        }
        None => {
            out.push(FORM_SAME_BITS);
            out.extend_from_slice(&value.to_bits().to_le_bytes());
        }
    }
}

/// A count; then for each the values between it and the one before, doubled, plus one if it has the bits of the one before; else its
/// bits follow.
fn put_exceptions(exceptions: &[(u32, u64)], out: &mut Vec<u8>) {
    varint::put(out, exceptions.len() as u64);
    let (mut next, mut last) = (0, None);
    for &(index, bits) in exceptions {
        let same = last == Some(bits);
        varint::put(out, u64::from(index - next) << 1 | u64::from(same));
        if !same {
            out.extend_from_slice(&bits.to_le_bytes());
        }
        (next, last) = (index + 1, Some(bits));
    }
}

impl ValueDecoder {
    /// Appends exactly `count` values; after an error, nothing is appended.
    pub(crate) fn decode(
        &mut self,
        bytes: &[u8],
        count: usize,
        into: &mut Vec<f64>,
    ) -> Result<(), CodecError> {
        if count > COUNT_MAX {
            return Err(CodecError("a chunk of more than 65,536 samples"));
        }
        if count == 0 {
            return if bytes.is_empty() { Ok(()) } else { Err(CodecError("bytes for no values")) };
        }
        let base = into.len();
        let result = self.decode_form(bytes, count, into);
        if result.is_err() {
            into.truncate(base);
        }
        result
    }

    fn decode_form(&mut self, bytes: &[u8], count: usize, into: &mut Vec<f64>) -> Result<(), CodecError> {
        let mut cursor = Cursor::new(bytes);
        let form = cursor.byte().ok_or(CodecError("a column of values without a form"))?;
        match form {
            FORM_SAME_BITS | FORM_SAME_DECIMAL => {
                let value = same(form, &mut cursor).ok_or(CodecError("a constant that is cut off"))?;
                into.resize(into.len() + count, value);
                if cursor.is_empty() { Ok(()) } else { Err(CodecError("bytes after a constant")) }
            }
            FORM_DECIMALS | FORM_DECIMALS_AND_MORE => {
                self.exceptions.clear();
                let unit = cursor
                    .byte()
                    .and_then(Unit::from_byte)
                    .ok_or(CodecError("a unit of decimals that does not exist"))?;
                if form == FORM_DECIMALS_AND_MORE {
                    take_exceptions(&mut cursor, count, &mut self.exceptions)
                        .ok_or(CodecError("exceptions that are none"))?;
                }
                let decimals = count - self.exceptions.len();
                self.ints.decode(cursor.take_rest(), decimals, &mut self.numbers)?;
                let base = into.len();
                unit.values(&self.numbers, into);
                spread(&self.exceptions, base, into);
                Ok(())
            }
            FORM_BITS => {
                self.ints.decode(cursor.take_rest(), count, &mut self.numbers)?;
                into.extend(self.numbers.iter().map(|&number| f64::from_bits(unordered(number))));
                Ok(())
            }
            FORM_XOR => xor::decode(&mut cursor, count, into),
            _ => Err(CodecError("a form of values that does not exist")),
        }
    }
}

fn same(form: u8, from: &mut Cursor<'_>) -> Option<f64> {
    if form == FORM_SAME_BITS {
        return Some(f64::from_bits(u64::from_le_bytes(from.take(8)?.try_into().ok()?)));
    }
    let unit = Unit::from_byte(from.byte()?)?;
    Some(unit.value(from.signed()?))
}

fn take_exceptions(from: &mut Cursor<'_>, count: usize, into: &mut Vec<(usize, f64)>) -> Option<()> {
    let length = usize::try_from(from.number()?).ok().filter(|&length| length <= count)?;
    let (mut next, mut last) = (0usize, None);
    for _ in 0..length {
        let token = from.number()?;
        let index = next.checked_add(usize::try_from(token >> 1).ok()?).filter(|&index| index < count)?;
        let bits = match token & 1 {
            0 => u64::from_le_bytes(from.take(8)?.try_into().ok()?),
            _ => last?,
        };
        into.push((index, f64::from_bits(bits)));
        (next, last) = (index + 1, Some(bits));
    }
    Some(())
}

/// Makes room for the exceptions among the values from `base` on, and puts them there.
fn spread(exceptions: &[(usize, f64)], base: usize, into: &mut Vec<f64>) {
    let mut decimals_end = into.len();
    into.resize(into.len() + exceptions.len(), 0.0);
    let mut end = into.len();
    for &(index, value) in exceptions.iter().rev() {
        let moved = end - (base + index + 1);
        into.copy_within(decimals_end - moved..decimals_end, base + index + 1);
        decimals_end -= moved;
        into[base + index] = value;
        end = base + index;
    }
}

/// Bits as a signed integer that orders as the float does (NaNs at the ends), so that near floats are near integers.
const fn ordered(bits: u64) -> i64 {
    let bits = bits as i64;
    bits ^ ((bits >> 63) as u64 >> 1) as i64
}

/// Undoes [`ordered`].
const fn unordered(number: i64) -> u64 {
    ordered(number as u64) as u64
}

#[cfg(test)]
mod tests {
    use model::stale_nan;
    use proptest::prelude::*;

    use super::*;

    /// Encodes in both codings, decodes and compares; the sizes in bytes, fresh and compacted.
    fn check(values: &[f64]) -> [usize; 2] {
        [Coding::Fresh, Coding::Compacted].map(|coding| {
            let (mut bytes, mut encoder) = (vec![9], ValueEncoder::default());
            encoder.encode(values, coding, &mut bytes);
            let mut again = vec![9];
            encoder.encode(values, coding, &mut again);
            assert_eq!(bytes, again, "what the encoder did before must not matter");
            let mut read = vec![7.0];
            ValueDecoder::default()
                .decode(&bytes[1..], values.len(), &mut read)
                .expect("what was just written");
            let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&read[1..]), bits(values), "{coding:?}");
            bytes.len() - 1
        })
    }

    fn many(count: usize, value: impl Fn(usize) -> f64) -> Vec<f64> {
        (0..count).map(value).collect()
    }

    /// Figures without order, the same each time.
    fn noise(index: usize) -> u64 {
        let mixed = (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb) >> 20
    }

    #[test]
    fn constants_cost_a_few_bytes() {
        for (value, most) in [(0.0, 3), (4096.0, 5), (1.5, 3), (-0.0, 9), (stale_nan(), 9), (1.0 / 3.0, 9)] {
            assert!(check(&[value; 500])[0] <= most, "{value}");
        }
        assert_eq!(check(&[]), [0, 0]);
    }

    #[test]
    fn what_exporters_send_is_small() {
        for digits in 0..=9 {
            let unit = 10f64.powi(digits);
            let counter = |step: u64| {
                let mut sum = 1_000_000;
                move |index: usize| {
                    sum += if noise(index).is_multiple_of(3) { 0 } else { noise(index) / 3 % step };
                    sum as f64 / unit
                }
            };
            let values: Vec<f64> = (0..480).map(counter(1000)).collect();
            let [fresh, compacted] = check(&values);
            assert!(fresh <= 480 * 9 / 8 && compacted <= fresh, "{digits}: {fresh} {compacted}");
        }
    }

    #[test]
    fn decimals_that_were_multiplied_are_decimals_too() {
        let [fresh, _] = check(&many(480, |index| (123_456 + index * 7) as f64 * 0.01));
        assert!(fresh < 40, "{fresh}");
    }

    #[test]
    fn a_common_factor_costs_once() {
        let [fresh, _] = check(&many(480, |index| (noise(index) % 200 * 4096) as f64));
        assert!(fresh <= 480 + 20, "{fresh}");
        let [fresh, _] = check(&many(480, |index| (noise(index) % 200 * 1500 + 7) as f64));
        assert!(fresh <= 480 + 20, "{fresh}");
    }

    #[test]
    fn pco_sees_steps_not_units() {
        // Mostly near one level: fewer bits than its span, and all multiples of 4096.
        let near = |index: usize| (noise(index) % 16 * (noise(index + 7) % 16) * 4096) as f64 + 8e9;
        let [fresh, compacted] = check(&many(8000, near));
        assert!(compacted * 10 < fresh * 9 && fresh < 8000 + 30, "{fresh} {compacted}");
    }

    #[test]
    fn a_reset_or_a_gap_does_not_widen_all_others() {
        let counter = |index: usize| (index * 100 + noise(index) as usize % 50) as f64;
        let plain = check(&many(480, |index| 1e9 + counter(index)))[0];
        let reset =
            check(&many(480, |index| if index < 300 { 1e9 + counter(index) } else { counter(index - 300) }))
                [0];
        assert!(reset < plain + 24, "{plain} {reset}");
        let dips =
            check(&many(480, |index| if index % 100 == 7 { 0.0 } else { 4e9 + (noise(index) % 256) as f64 }))
                [0];
        assert!(dips < 480 + 70, "{dips}");
    }

    #[test]
    fn markers_among_decimals_stay_apart() {
        let plain = check(&many(480, |index| 100.25 + (noise(index) % 16) as f64))[0];
        let marked = check(&many(480, |index| {
            if index % 100 == 50 { stale_nan() } else { 100.25 + (noise(index) % 16) as f64 }
        }))[0];
        assert!(marked < plain + 24, "{plain} {marked}");
    }

    #[test]
    fn what_is_no_decimal_is_not_larger_than_it_was() {
        let [fresh, compacted] = check(&many(480, |index| 1.0 / (noise(index) as f64)));
        assert!(fresh <= 480 * 8 + 16 && compacted <= fresh, "{fresh} {compacted}");
        check(&many(480, |index| f64::from_bits(noise(index) << 20 ^ noise(index * 7))));
    }

    #[test]
    fn odd_floats_come_back() {
        let nan = f64::from_bits(0xfff8_dead_beef_0001);
        let odd = [
            1.5,
            -0.0,
            0.0,
            f64::INFINITY,
            f64::NEG_INFINITY,
            nan,
            stale_nan(),
            1.0 / 3.0,
            f64::MAX,
            f64::MIN,
            f64::MIN_POSITIVE,
            5e-324,
            -5e-324,
            1e15,
            9_007_199_254_740_993.0,
            -1e300,
            0.1 + 0.2,
            0.3,
            2.5,
        ];
        check(&odd);
        for length in 1..odd.len() {
            check(&odd[..length]);
            check(&odd[length..]);
        }
        check(&odd.repeat(40));
        check(&many(
            600,
            |index| if index % 97 == 0 { odd[index % odd.len()] } else { index as f64 / 100.0 },
        ));
    }

    #[test]
    fn chunks_are_even_parts() {
        for (samples, coding, expected) in [
            (0, Coding::Fresh, vec![]),
            (1, Coding::Fresh, vec![1]),
            (512, Coding::Fresh, vec![512]),
            (513, Coding::Fresh, vec![257, 256]),
            (20_000, Coding::Compacted, vec![6667, 6667, 6666]),
        ] {
            assert_eq!(chunk_lengths(samples, coding).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        let decode =
            |bytes: &[u8], count| ValueDecoder::default().decode(bytes, count, &mut Vec::new()).err();
        for (bytes, count, expected) in [
            (&[][..], 1, "a column of values without a form"),
            (&[1, 0, 2], COUNT_MAX + 1, "a chunk of more than 65,536 samples"),
            (&[1, 0, 2], 0, "bytes for no values"),
            (&[1, 0, 2, 0], 3, "bytes after a constant"),
            (&[0, 0, 2, 0], 3, "a constant that is cut off"),
            (&[2, 16, 0], 3, "a unit of decimals that does not exist"),
            (&[3, 0, 2, 0], 3, "exceptions that are none"),
            (&[3, 0, 1, 1], 3, "exceptions that are none"),
            (&[9], 3, "a form of values that does not exist"),
            (&[2, 0, 32, 0, 4, 1, 0x10], 3, "a pco column of a variant that is never written"),
            (&[2, 0, 0, 0, 65], 3, "a column of integers that is cut off"),
            (&[2, 0, 64, 0, 0], 3, "a column of integers without a head"),
            (&[2, 0, 0, 0, 0, 1], 3, "bytes after a column of integers"),
            (&[2, 0, 32, 0, 3, 0, 0, 0], 3, "a pco column of a variant that is never written"),
            (&[2, 0, 5, 0, 2, 0, 4], 3, "a column of integers that is cut off"),
            (&[5, 0xff, 0x80, 0xff], 3, "XORed values that are cut off"),
        ] {
            assert_eq!(decode(bytes, count), Some(CodecError(expected)), "{bytes:?}");
        }
    }

    fn any_value() -> impl Strategy<Value = f64> {
        prop_oneof![
            any::<u64>().prop_map(f64::from_bits),
            any::<i32>().prop_map(f64::from),
            (any::<i64>(), 0..20i32).prop_map(|(digits, scale)| digits as f64 / 10f64.powi(scale)),
            (any::<i32>(), 0..10i32).prop_map(|(digits, scale)| f64::from(digits) * 10f64.powi(-scale)),
            Just(stale_nan()),
            Just(-0.0),
        ]
    }

    /// Columns that are mostly of one kind, as real ones are.
    fn any_column() -> impl Strategy<Value = Vec<f64>> {
        let run = |scale: i32| {
            (any::<i32>(), proptest::collection::vec((0..50i32, any_value()), 1..900)).prop_map(
                move |(first, steps)| {
                    let mut sum = i64::from(first);
                    let next = |(step, odd)| {
                        if step == 49 {
                            return odd;
                        }
                        sum += i64::from(step / 2);
                        sum as f64 / 10f64.powi(scale)
                    };
                    steps.into_iter().map(next).collect::<Vec<f64>>()
                },
            )
        };
        prop_oneof![
            (0..10i32).prop_flat_map(run),
            proptest::collection::vec(any_value(), 0..300),
            (any_value(), any_value(), proptest::collection::vec(any::<bool>(), 0..300)).prop_map(
                |(one, other, which)| which.iter().map(|&first| if first { one } else { other }).collect()
            ),
        ]
    }

    proptest! {
        #[test]
        fn every_bit_pattern_comes_back(values in any_column()) {
            check(&values);
        }

        #[test]
        fn strangers_bytes_never_panic(form in 0u8..6, mut bytes in proptest::collection::vec(any::<u8>(), 0..80), count in 0usize..300) {
            bytes.insert(0, form);
            let mut into = vec![1.0];
            match ValueDecoder::default().decode(&bytes, count, &mut into) {
                Ok(()) => prop_assert_eq!(into.len(), count + 1),
                Err(_) => prop_assert_eq!(into.len(), 1),
            }
        }

        #[test]
        fn damaged_columns_never_panic(values in any_column(), at in any::<prop::sample::Index>(), to in any::<u8>()) {
            let mut bytes = Vec::new();
            ValueEncoder::default().encode(&values, Coding::Compacted, &mut bytes);
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = to;
                let mut into = Vec::new();
                if ValueDecoder::default().decode(&bytes, values.len(), &mut into).is_ok() {
                    prop_assert_eq!(into.len(), values.len());
                }
            }
        }
    }
}
