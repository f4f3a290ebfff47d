//! Values as bit-packed changes of one decimal: `mantissa / 10^scale`, or, where a program multiplied by the unit, `mantissa * 10^-scale`,
//! which has another last bit in every tenth value.
//!
//! `scale u8 (plus 128 where it is multiplied), width u8, exceptions u8, first mantissa i64, smallest change i64`, then each exception as `index u8, bits u64`, then
//! `count - 1` changes less the smallest one in `width` bits each, lowest bit first, and 8 zero bytes so that every read of a
//! word stays inside. All numbers are little-endian. An exception (a stale marker, an infinity) stands for a sample that is no
//! decimal; its packed change is the smallest one.

use crate::values::{Form, SCALE_MAX, from_decimal, from_units, rescale, units};

const HEADER: usize = 3 + 8 + 8;
const EXCEPTIONS_MAX: usize = 12;
const WIDTH_MAX: u32 = 56;
const PADDING: usize = 8;

/// Set in the scale's byte where mantissas are multiplied.
const MULTIPLIED: u8 = 0x80;

/// Packs values, at least one; `None` where they are no short decimals, or too many. `mantissas` is cleared and reused.
pub(super) fn pack(forms: &[Form], mantissas: &mut Vec<i64>) -> Option<Vec<u8>> {
    if forms.len() > usize::from(u8::MAX) + 1 {
        return None;
    }
    let (scale, exceptions) = match decimals(forms, mantissas) {
        Some(packed) => packed,
        None => multiplied(forms, mantissas)?,
    };
    let (smallest, width) = frame(mantissas)?;
    let bits = mantissas.len().saturating_sub(1) * width as usize;
    let mut out = Vec::with_capacity(HEADER + exceptions.len() * 9 + bits.div_ceil(8) + PADDING);
    out.extend_from_slice(&[scale, width as u8, exceptions.len() as u8]);
    out.extend_from_slice(&mantissas[0].to_le_bytes());
    out.extend_from_slice(&smallest.to_le_bytes());
    for (index, bits) in exceptions {
        out.push(index);
        out.extend_from_slice(&bits.to_le_bytes());
    }
    put_bits(&mut out, mantissas.windows(2).map(|pair| (pair[1] - pair[0] - smallest) as u64), width);
    out.extend_from_slice(&[0; PADDING]);
    Some(out)
}

/// Appends the values of a packed chunk.
pub(super) fn unpack(packed: &[u8], count: usize, into: &mut Vec<f64>) {
    let scale = packed[0] & !MULTIPLIED;
    if packed[0] & MULTIPLIED != 0 {
        unpack_by(packed, count, |mantissa| from_units(mantissa, scale), into);
    } else if scale == 0 {
        unpack_by(packed, count, |mantissa| mantissa as f64, into);
    } else {
        unpack_by(packed, count, |mantissa| from_decimal(mantissa, scale), into);
    }
}

fn unpack_by(packed: &[u8], count: usize, value: impl Fn(i64) -> f64, into: &mut Vec<f64>) {
    let (width, exceptions) = (usize::from(packed[1]), usize::from(packed[2]));
    let mut mantissa = i64::from_le_bytes(word(packed, 3));
    let smallest = i64::from_le_bytes(word(packed, 11));
    let bits = &packed[HEADER + exceptions * 9..];
    let mask = (1u64 << width) - 1;
    let base = into.len();
    into.push(value(mantissa));
    into.extend((0..count - 1).map(|index| {
        let at = index * width;
        let change = u64::from_le_bytes(word(bits, at / 8)) >> (at % 8) & mask;
        mantissa += smallest + change as i64;
        value(mantissa)
    }));
    for exception in packed[HEADER..HEADER + exceptions * 9].chunks_exact(9) {
        into[base + usize::from(exception[0])] = f64::from_bits(u64::from_le_bytes(word(exception, 1)));
    }
}

fn word(bytes: &[u8], at: usize) -> [u8; 8] {
    bytes[at..at + 8].try_into().expect("eight bytes make a word")
}

/// Every value as a mantissa of one scale; exceptions (index and bits) repeat the mantissa before them.
fn decimals(forms: &[Form], mantissas: &mut Vec<i64>) -> Option<(u8, Vec<(u8, u64)>)> {
    let (mut scale, mut raw) = (0, 0);
    for form in forms {
        match form {
            Form::Decimal { scale: digits, .. } => scale = scale.max(*digits),
            Form::Bits(_) => raw += 1,
        }
    }
    if raw > EXCEPTIONS_MAX {
        return None;
    }
    mantissas.clear();
    mantissas.reserve(forms.len());
    let mut exceptions = Vec::new();
    for (index, form) in forms.iter().enumerate() {
        match *form {
            Form::Decimal { mantissa, scale: digits } if digits == scale => mantissas.push(mantissa),
            Form::Decimal { mantissa, scale: digits } => mantissas.push(rescale(mantissa, digits, scale)?),
            Form::Bits(bits) => {
                mantissas.push(mantissas.last().copied().unwrap_or_default());
                exceptions.push((index as u8, bits));
            }
        }
    }
    Some((scale, exceptions))
}

/// The same where a program multiplied by the unit, as those do that count in ticks. The scale is the one that most values have which are
/// decimals by chance.
fn multiplied(forms: &[Form], mantissas: &mut Vec<i64>) -> Option<(u8, Vec<(u8, u64)>)> {
    let mut counts = [0usize; SCALE_MAX as usize + 1];
    for form in forms {
        if let Form::Decimal { scale, .. } = form {
            counts[usize::from(*scale)] += 1;
        }
    }
    let scale = (1..=SCALE_MAX).max_by_key(|scale| counts[usize::from(*scale)])?;
    mantissas.clear();
    let mut exceptions = Vec::new();
    for (index, form) in forms.iter().enumerate() {
        let bits = form.bits();
        match units(f64::from_bits(bits), scale) {
            Some(mantissa) => mantissas.push(mantissa),
            None if exceptions.len() == EXCEPTIONS_MAX => return None,
            None => {
                mantissas.push(mantissas.last().copied().unwrap_or_default());
                exceptions.push((index as u8, bits));
            }
        }
    }
    Some((scale | MULTIPLIED, exceptions))
}

/// The smallest change and the width that holds every change less it.
fn frame(mantissas: &[i64]) -> Option<(i64, u32)> {
    let mut changes = mantissas.windows(2).map(|pair| pair[1] - pair[0]);
    let first = changes.next().unwrap_or(0);
    let (smallest, largest) = changes
        .fold((first, first), |(smallest, largest), change| (smallest.min(change), largest.max(change)));
    let width = 64 - ((largest - smallest) as u64).leading_zeros();
    (width <= WIDTH_MAX).then_some((smallest, width))
}

fn put_bits(out: &mut Vec<u8>, numbers: impl Iterator<Item = u64>, width: u32) {
    let (mut pending, mut filled) = (0u64, 0u32);
    for number in numbers {
        pending |= number << filled;
        filled += width;
        if filled >= u64::BITS {
            out.extend_from_slice(&pending.to_le_bytes());
            filled -= u64::BITS;
            pending = if filled == 0 { 0 } else { number >> (width - filled) };
        }
    }
    out.extend_from_slice(&pending.to_le_bytes()[..filled.div_ceil(8) as usize]);
}
