//! Unsigned integers in `width` bits each, lowest bit first.

/// Appends the numbers, each below `2^width`; whole bytes, the last one filled up with zero bits.
pub(super) fn put(numbers: impl Iterator<Item = u64>, width: u32, out: &mut Vec<u8>) {
    if width == 0 {
        return;
    }
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

/// Bytes of so many numbers.
pub(super) const fn length(count: usize, width: u32) -> usize {
    (count * width as usize).div_ceil(8)
}

/// Calls `visit` with each of `count` numbers. `bytes` is [`length`] long.
#[inline]
pub(super) fn each(bytes: &[u8], count: usize, width: u32, mut visit: impl FnMut(u64)) {
    if width == 0 {
        (0..count).for_each(|_| visit(0));
        return;
    }
    let mask = u64::MAX >> (u64::BITS - width);
    let mut at = 0;
    if width <= 56 {
        for _ in 0..count {
            visit(word(bytes, at / 8) >> (at % 8) & mask);
            at += width as usize;
        }
    } else {
        for _ in 0..count {
            let both = u128::from(word(bytes, at / 8)) | u128::from(word(bytes, at / 8 + 8)) << 64;
            visit((both >> (at % 8)) as u64 & mask);
            at += width as usize;
        }
    }
}

/// Eight bytes from `at` on; zeros where there are none.
#[inline]
fn word(bytes: &[u8], at: usize) -> u64 {
    match bytes.get(at..at + 8) {
        Some(eight) => u64::from_le_bytes(eight.try_into().expect("eight bytes make a word")),
        None => last_word(bytes.get(at..).unwrap_or_default()),
    }
}

#[cold]
fn last_word(rest: &[u8]) -> u64 {
    let mut eight = [0; 8];
    eight[..rest.len()].copy_from_slice(rest);
    u64::from_le_bytes(eight)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_of_every_width_come_back(width in 0u32..=64, numbers in proptest::collection::vec(any::<u64>(), 0..200)) {
            let mask = if width == 0 { 0 } else { u64::MAX >> (64 - width) };
            let (mut bytes, mut read) = (Vec::new(), Vec::new());
            put(numbers.iter().map(|number| number & mask), width, &mut bytes);
            prop_assert_eq!(bytes.len(), length(numbers.len(), width));
            each(&bytes, numbers.len(), width, |number| read.push(number));
            prop_assert_eq!(read, numbers.iter().map(|number| number & mask).collect::<Vec<_>>());
        }
    }
}
