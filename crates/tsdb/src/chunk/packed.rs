//! Values as bit-packed changes of one decimal.
//!
//! `scale u8, width u8, exceptions u8, first mantissa i64, smallest change i64`, then each exception as `index u8, bits u64`, then
//! `count - 1` changes less the smallest one in `width` bits each, lowest bit first, and 8 zero bytes so that every read of a
//! word stays inside. All numbers are little-endian. An exception (a stale marker, an infinity) stands for a sample that is no
//! decimal; its packed change is the smallest one.

use crate::values::{Form, from_decimal, rescale};

const HEADER: usize = 3 + 8 + 8;
const EXCEPTIONS_MAX: usize = 12;
const WIDTH_MAX: u32 = 56;
const PADDING: usize = 8;

/// Packs values, at least one; `None` where they are no short decimals, or too many. `mantissas` is cleared and reused.
pub(super) fn pack(forms: &[Form], mantissas: &mut Vec<i64>) -> Option<Vec<u8>> {
    if forms.len() > usize::from(u8::MAX) + 1 {
        return None;
    }
    let (scale, exceptions) = decimals(forms, mantissas)?;
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
    let (scale, width, exceptions) = (packed[0], u32::from(packed[1]), usize::from(packed[2]));
    let mut mantissa = i64::from_le_bytes(word(packed, 3));
    let smallest = i64::from_le_bytes(word(packed, 11));
    let bits = &packed[HEADER + exceptions * 9..];
    let mask = (1u64 << width) - 1;
    let base = into.len();
    into.reserve(count);
    into.push(from_decimal(mantissa, scale));
    for index in 0..count - 1 {
        let at = index * width as usize;
        let change = u64::from_le_bytes(word(bits, at / 8)) >> (at % 8) & mask;
        mantissa += smallest + change as i64;
        into.push(from_decimal(mantissa, scale));
    }
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
