//! Floats as the difference of their bits to the bits before them: for what is no decimal and has no order either.
//!
//! A control byte a value: [`SAME`], or `leading << 4 | trailing` (zero bytes of the difference) and the bytes between, lowest first.
//! The first value's difference is to 0.

use super::CodecError;
use crate::varint::Cursor;

/// The same bits as the value before.
const SAME: u8 = 0xff;

/// Appends the values.
pub(super) fn encode(values: &[f64], out: &mut Vec<u8>) {
    let mut last = 0;
    for value in values {
        let difference = value.to_bits() ^ last;
        last = value.to_bits();
        if difference == 0 {
            out.push(SAME);
            continue;
        }
        let leading = difference.leading_zeros() as usize / 8;
        let trailing = difference.trailing_zeros() as usize / 8;
        out.push((leading << 4 | trailing) as u8);
        out.extend_from_slice(&difference.to_le_bytes()[trailing..8 - leading]);
    }
}

/// Appends `count` values, for which all bytes are needed.
pub(super) fn decode(from: &mut Cursor<'_>, count: usize, into: &mut Vec<f64>) -> Result<(), CodecError> {
    if from.left() < count {
        return Err(CodecError("XORed values that are cut off"));
    }
    let mut last = 0;
    for _ in 0..count {
        last ^= difference(from).ok_or(CodecError("XORed values that are cut off"))?;
        into.push(f64::from_bits(last));
    }
    if from.is_empty() { Ok(()) } else { Err(CodecError("bytes after XORed values")) }
}

fn difference(from: &mut Cursor<'_>) -> Option<u64> {
    let control = from.byte()?;
    if control == SAME {
        return Some(0);
    }
    let (leading, trailing) = (usize::from(control >> 4), usize::from(control & 15));
    let length = 8usize.checked_sub(leading + trailing).filter(|&length| length > 0)?;
    let mut bytes = [0; 8];
    bytes[trailing..trailing + length].copy_from_slice(from.take(length)?);
    Some(u64::from_le_bytes(bytes))
}
