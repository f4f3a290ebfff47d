//! Values as short byte tokens, each against the value before it in the same series; every float comes back bit for bit.
//!
//! Most scraped values are integers or short decimals, so a value is kept as `mantissa / 10^scale` where that division gives
//! back the very same bits, and only the mantissa's change is written. What is no short decimal (and NaN, infinities, -0)
//! is XORed with the value before it and written without its zero bytes at either end. The journal's records and the
//! head's open chunks hold the same tokens, drawn in `docs/formats/tsdb-journal.md`: changing them changes a format on disk.
//!
//! A token is a varint `t`:
//! - `0`: the same bits as the value before;
//! - even: `t / 2` is the zig-zag change of the mantissa at the current scale;
//! - odd, `t / 2 <= 15`: `t / 2` is a new scale, a zig-zag mantissa follows (absolute);
//! - odd, `t / 2 == 16`: a byte `leading << 4 | trailing` (zero bytes of the XOR), then the bytes between, lowest first.

use crate::varint::{self, Cursor, Short};

/// The largest scale: 15 digits behind the point.
pub(crate) const SCALE_MAX: u8 = 15;

/// Mantissas stay below 2^51, where rounding by the magic number below is exact.
const MANTISSA_MAX: f64 = 2_251_799_813_685_248.0;

/// Adding and subtracting 1.5 * 2^52 rounds to the nearest integer, without a call into libm.
const ROUNDER: f64 = 6_755_399_441_055_744.0;

const TOKEN_RAW: u64 = 16 << 1 | 1;

/// After a value that was no decimal, the next ones of its series are not tried again for this many values.
const PATIENCE: u8 = 16;

/// Exact as floats, so that dividing by one of them rounds once.
const POWERS: [f64; SCALE_MAX as usize + 1] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// The floats nearest to the units, as a program has them that multiplies by them.
const PARTS: [f64; SCALE_MAX as usize + 1] =
    [1e0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10, 1e-11, 1e-12, 1e-13, 1e-14, 1e-15];

/// One series' memory of its last value; encoder and decoder hold the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    last: u64,
    mantissa: i64,
    scale: u8,
    /// Values to go before a decimal is searched for again; only the encoder looks at it.
    patience: u8,
}

/// One decoded token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// `mantissa / 10^scale`
    Decimal {
        /// The digits.
        mantissa: i64,
        /// Digits behind the point.
        scale: u8,
    },
    /// Bits that are no short decimal.
    Bits(u64),
}

impl State {
    /// Bits of the last value.
    pub(crate) const fn last_bits(&self) -> u64 {
        self.last
    }

    /// Appends the token of the next value.
    #[inline]
    pub(crate) fn encode(&mut self, value: f64, out: &mut Vec<u8>) {
        match self.short_token(value) {
            Some(token) => token.put(out),
            None => self.encode_rest(value, out),
        }
    }

    /// The token of the next value, if it is that of a value near the last one, as nearly all are. Otherwise nothing has changed.
    #[inline]
    pub(crate) fn short_token(&mut self, value: f64) -> Option<Short> {
        let bits = value.to_bits();
        if bits == self.last {
            return Short::number(0);
        }
        let mantissa = exact(value, self.scale)?;
        let delta = mantissa - self.mantissa;
        let token = Short::number(varint::zigzag(delta) << 1).filter(|_| delta != 0)?;
        self.mantissa = mantissa;
        self.last = bits;
        Some(token)
    }

    /// Appends the token of any value.
    pub(crate) fn encode_rest(&mut self, value: f64, out: &mut Vec<u8>) {
        let bits = value.to_bits();
        if let Some(mantissa) = exact(value, self.scale)
            && mantissa != self.mantissa
        {
            let delta = mantissa - self.mantissa;
            self.mantissa = mantissa;
            self.last = bits;
            varint::put(out, varint::zigzag(delta) << 1);
            return;
        }
        self.encode_anew(value, out);
    }

    /// A new scale, or no decimal at all.
    fn encode_anew(&mut self, value: f64, out: &mut Vec<u8>) {
        if self.patience > 0 {
            self.patience -= 1;
        } else if let Some((mantissa, scale)) = decimal(value) {
            (self.mantissa, self.scale, self.last) = (mantissa, scale, value.to_bits());
            varint::put(out, u64::from(scale) << 1 | 1);
            varint::put_signed(out, mantissa);
            return;
        } else if value.is_finite() {
            self.patience = PATIENCE; // a stale marker says nothing about the values around it
        }
        let difference = value.to_bits() ^ self.last;
        self.last = value.to_bits();
        varint::put(out, TOKEN_RAW);
        put_difference(difference, out);
    }

    /// Reads the next token; `None` if the bytes are none.
    #[inline]
    pub(crate) fn decode(&mut self, from: &mut Cursor<'_>) -> Option<f64> {
        let token = from.number()?;
        if token == 0 {
            return Some(f64::from_bits(self.last));
        }
        self.decode_token(token, from)
    }

    #[inline]
    fn decode_token(&mut self, token: u64, from: &mut Cursor<'_>) -> Option<f64> {
        let value = if token & 1 == 0 {
            self.mantissa = self.mantissa.wrapping_add(varint::unzigzag(token >> 1));
            from_decimal(self.mantissa, self.scale)
        } else if token == TOKEN_RAW {
            f64::from_bits(self.last ^ take_difference(from)?)
        } else {
            self.scale = u8::try_from(token >> 1).ok().filter(|&scale| scale <= SCALE_MAX)?;
            self.mantissa = from.signed()?;
            from_decimal(self.mantissa, self.scale)
        };
        self.last = value.to_bits();
        Some(value)
    }

    /// Reads the next token as the form it was written in, so that nobody must search for it again; `before` is the form of the
    /// value before it. A walk that reads so must do so from its first token on.
    #[inline]
    pub(crate) fn decode_form(&mut self, from: &mut Cursor<'_>, before: Form) -> Option<Form> {
        let token = from.number()?;
        if token == 0 {
            return Some(before);
        }
        if token & 1 == 0 {
            self.mantissa = self.mantissa.wrapping_add(varint::unzigzag(token >> 1));
        } else if token == TOKEN_RAW {
            return Some(Form::Bits(before.bits() ^ take_difference(from)?));
        } else {
            self.scale = u8::try_from(token >> 1).ok().filter(|&scale| scale <= SCALE_MAX)?;
            self.mantissa = from.signed()?;
        }
        Some(Form::Decimal { mantissa: self.mantissa, scale: self.scale })
    }
}

impl Form {
    /// The form of 0.0, with which every series begins.
    pub(crate) const ZERO: Self = Self::Decimal { mantissa: 0, scale: 0 };

    /// The value's bits.
    pub(crate) fn bits(self) -> u64 {
        match self {
            Self::Decimal { mantissa, scale } => from_decimal(mantissa, scale).to_bits(),
            Self::Bits(bits) => bits,
        }
    }
}

/// The value of a decimal.
#[inline]
pub(crate) fn from_decimal(mantissa: i64, scale: u8) -> f64 {
    if scale == 0 { mantissa as f64 } else { mantissa as f64 / POWERS[usize::from(scale)] }
}

/// The same decimal written with more digits behind the point; `None` where the digits grow too many.
pub(crate) fn rescale(mantissa: i64, from: u8, to: u8) -> Option<i64> {
    let factor = 10i64.pow(u32::from(to.checked_sub(from)?));
    mantissa.checked_mul(factor).filter(|scaled| scaled.unsigned_abs() < MANTISSA_MAX as u64)
}

/// The mantissa, if this scale gives the value back bit for bit.
#[inline]
fn exact(value: f64, scale: u8) -> Option<i64> {
    let scaled = value * POWERS[usize::from(scale)];
    if scaled.is_nan() || scaled.abs() >= MANTISSA_MAX {
        return None;
    }
    let rounded = (scaled + ROUNDER) - ROUNDER;
    let mantissa = rounded as i64;
    (from_decimal(mantissa, scale).to_bits() == value.to_bits()).then_some(mantissa)
}

/// The float of so many units of `10^-scale`, by multiplication: every tenth differs in its last bit from [`from_decimal`]'s.
#[inline]
pub(crate) fn from_units(mantissa: i64, scale: u8) -> f64 {
    mantissa as f64 * PARTS[usize::from(scale)]
}

/// The mantissa, if [`from_units`] gives the value back bit for bit.
pub(crate) fn units(value: f64, scale: u8) -> Option<i64> {
    let scaled = value * POWERS[usize::from(scale)];
    if scaled.is_nan() || scaled.abs() >= MANTISSA_MAX {
        return None;
    }
    let mantissa = ((scaled + ROUNDER) - ROUNDER) as i64;
    (from_units(mantissa, scale).to_bits() == value.to_bits()).then_some(mantissa)
}

/// The shortest decimal that gives the value back bit for bit.
fn decimal(value: f64) -> Option<(i64, u8)> {
    for scale in 0..=SCALE_MAX {
        let scaled = value * POWERS[usize::from(scale)];
        if scaled.is_nan() || scaled.abs() >= MANTISSA_MAX {
            return None;
        }
        let rounded = (scaled + ROUNDER) - ROUNDER;
        // Cheap test before the division: a decimal lies within a few units of the last place of an integer.
        if (scaled - rounded).abs() <= scaled.abs() * 4.5e-16
            && from_decimal(rounded as i64, scale).to_bits() == value.to_bits()
        {
            return Some((rounded as i64, scale));
        }
    }
    None
}

fn put_difference(difference: u64, out: &mut Vec<u8>) {
    let leading = (difference.leading_zeros() / 8).min(7) as usize;
    let trailing = (difference.trailing_zeros() / 8).min(7 - leading as u32) as usize;
    out.push((leading << 4 | trailing) as u8);
    out.extend_from_slice(&difference.to_le_bytes()[trailing..8 - leading]);
}

fn take_difference(from: &mut Cursor<'_>) -> Option<u64> {
    let zeros = from.byte()?;
    let (leading, trailing) = (usize::from(zeros >> 4), usize::from(zeros & 15));
    let length = 8usize.checked_sub(leading + trailing).filter(|&length| length > 0)?;
    let word = from.take(length)?.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte));
    Some(word << (8 * trailing))
}

#[cfg(test)]
mod tests {
    use model::stale_nan;
    use proptest::prelude::*;

    use super::*;

    fn round_trip(values: &[f64]) -> usize {
        let (mut bytes, mut state) = (Vec::new(), State::default());
        for &value in values {
            state.encode(value, &mut bytes);
        }
        let (mut cursor, mut plain) = (Cursor::new(&bytes), State::default());
        for &value in values {
            assert_eq!(plain.decode(&mut cursor).map(f64::to_bits), Some(value.to_bits()), "{value:?}");
        }
        assert!(cursor.is_empty());
        let (mut cursor, mut forms, mut form) = (Cursor::new(&bytes), State::default(), Form::ZERO);
        for &value in values {
            form = forms.decode_form(&mut cursor, form).expect("a token for each value");
            assert_eq!(form.bits(), value.to_bits());
        }
        bytes.len()
    }

    #[test]
    fn what_exporters_send_is_short() {
        let counter: Vec<f64> = (0..100).map(|i| 1e9 + f64::from(i) * 1234.0).collect();
        assert!(round_trip(&counter) <= 100 * 2 + 6);
        let seconds: Vec<f64> = (0..100).map(|i| f64::from(123_456 + i * 14) / 100.0).collect();
        assert!(round_trip(&seconds) <= 100 + 6);
        assert_eq!(round_trip(&[7.0; 100]), 100);
    }

    #[test]
    fn odd_floats_come_back_and_the_series_goes_on_after_them() {
        let third = 1.0 / 3.0;
        let nan = f64::from_bits(0xfff8_dead_beef_0001);
        round_trip(&[
            1.5,
            -0.0,
            0.0,
            f64::INFINITY,
            f64::NEG_INFINITY,
            nan,
            stale_nan(),
            1.5,
            third,
            third,
            2.5,
        ]);
        round_trip(&[
            f64::MAX,
            f64::MIN_POSITIVE,
            5e-324,
            1e15,
            9_007_199_254_740_993.0,
            -1e300,
            0.1 + 0.2,
            0.3,
        ]);
        let around_a_marker = round_trip(&[12.25, stale_nan(), 12.5]);
        assert!(
            around_a_marker <= 2 + 10 + 3 + 3,
            "a stale marker must not make decimals raw: {around_a_marker}"
        );
    }

    #[test]
    fn nonsense_is_refused() {
        for bytes in [&[33u8][..], &[33, 0x80], &[33, 0x44], &[35, 0], &[31], &[0x80]] {
            assert_eq!(State::default().decode(&mut Cursor::new(bytes)), None, "{bytes:?}");
        }
    }

    fn any_value() -> impl Strategy<Value = f64> {
        prop_oneof![
            any::<u64>().prop_map(f64::from_bits),
            any::<i32>().prop_map(f64::from),
            (any::<i32>(), 0..10i32).prop_map(|(digits, scale)| f64::from(digits) / 10f64.powi(scale)),
            Just(stale_nan()),
        ]
    }

    proptest! {
        #[test]
        fn every_bit_pattern_comes_back(values in proptest::collection::vec(any_value(), 0..200)) {
            round_trip(&values);
        }

        #[test]
        fn strangers_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let (mut cursor, mut state) = (Cursor::new(&bytes), State::default());
            while !cursor.is_empty() && state.decode(&mut cursor).is_some() {}
        }
    }
}
