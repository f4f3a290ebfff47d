//! Variable-length integers: LEB128 and zig-zag, written to a vector, read from a slice without ever panicking.

/// Bytes that an integer takes at most.
const NUMBER_BYTES_MAX: usize = 10;

/// A few bytes, the first one lowest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Short {
    word: u64,
    length: usize,
}

impl Short {
    /// A LEB128 integer below 2^28, in at most 4 bytes.
    #[inline]
    pub(crate) const fn number(value: u64) -> Option<Self> {
        if value >= 1 << 28 {
            return None;
        }
        let spread =
            value & 0x7f | (value & 0x3f80) << 1 | (value & 0x1f_c000) << 2 | (value & 0xfe0_0000) << 3;
        // All bytes but the last one have their highest bit set.
        let last = (63 - (spread | 1).leading_zeros()) / 8;
        let more = 0x8080_8080 & ((1 << (8 * last)) - 1);
        Some(Self { word: spread | more, length: last as usize + 1 })
    }

    /// These bytes and, behind them, those of another one; both together are at most 8.
    #[inline]
    pub(crate) const fn then(self, next: Self) -> Self {
        Self { word: self.word | next.word << (8 * self.length), length: self.length + next.length }
    }

    /// Appends the bytes. A copy of fixed length is a move, one of a length that is known only at run time is a call: so a word is
    /// written, and cut off again, where there is room.
    #[inline]
    pub(crate) fn put(self, out: &mut Vec<u8>) {
        let bytes = self.word.to_le_bytes();
        if out.capacity() - out.len() < bytes.len() {
            return self.put_exactly(out); // small lists by the million do not grow for this
        }
        let end = out.len() + self.length;
        out.extend_from_slice(&bytes);
        out.truncate(end);
    }

    #[cold]
    fn put_exactly(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.word.to_le_bytes()[..self.length]);
    }
}

/// Appends a LEB128 integer (1 to 10 bytes).
#[inline]
pub(crate) fn put(out: &mut Vec<u8>, value: u64) {
    match Short::number(value) {
        Some(short) => short.put(out),
        None => put_long(out, value),
    }
}

fn put_long(out: &mut Vec<u8>, mut value: u64) {
    let mut bytes = [0u8; NUMBER_BYTES_MAX];
    let mut length = 0;
    while value >= 0x80 {
        bytes[length] = value as u8 | 0x80;
        length += 1;
        value >>= 7;
    }
    bytes[length] = value as u8;
    out.extend_from_slice(&bytes[..=length]);
}

/// Folds the sign into the lowest bit, so that small negative numbers stay short.
#[inline]
pub(crate) const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// Undoes [`zigzag`].
#[inline]
pub(crate) const fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Appends a signed integer.
#[inline]
pub(crate) fn put_signed(out: &mut Vec<u8>, value: i64) {
    put(out, zigzag(value));
}

/// Appends a length and that many bytes.
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads a slice from front to back; `None` where it ends too early or a number is longer than it may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Bytes not read yet.
    pub(crate) const fn left(&self) -> usize {
        self.rest.len()
    }

    /// All bytes not read yet.
    pub(crate) fn take_rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    #[inline]
    pub(crate) fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }

    pub(crate) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    #[inline]
    pub(crate) fn number(&mut self) -> Option<u64> {
        if let Some(bytes) = self.rest.first_chunk() {
            let word = u32::from_le_bytes(*bytes);
            let ends = !word & 0x8080_8080;
            if ends != 0 {
                let last = ends.trailing_zeros() / 8;
                let word = word & (u32::MAX >> (24 - 8 * last));
                let number =
                    word & 0x7f | (word & 0x7f00) >> 1 | (word & 0x7f_0000) >> 2 | (word & 0x7f00_0000) >> 3;
                self.rest = &self.rest[last as usize + 1..];
                return Some(u64::from(number));
            }
        }
        self.any_number()
    }

    /// Byte by byte: a long number, or one near the end.
    fn any_number(&mut self) -> Option<u64> {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = self.byte()?;
            if shift == 63 && byte > 1 {
                return None;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
            shift += 7;
        }
    }

    #[inline]
    pub(crate) fn signed(&mut self) -> Option<i64> {
        self.number().map(unzigzag)
    }

    /// A length and that many bytes.
    pub(crate) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        self.take(length)
    }

    /// A length and that many bytes of text.
    pub(crate) fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_length_come_back() {
        for shift in 0..64 {
            for value in [1u64 << shift, (1u64 << shift) - 1, u64::MAX >> shift] {
                let mut bytes = Vec::new();
                put(&mut bytes, value);
                put_signed(&mut bytes, value as i64);
                let mut cursor = Cursor::new(&bytes);
                assert_eq!((cursor.number(), cursor.signed()), (Some(value), Some(value as i64)));
                assert!(cursor.is_empty());
            }
        }
    }

    #[test]
    fn torn_and_endless_numbers_are_refused() {
        assert_eq!(Cursor::new(&[0x80]).number(), None);
        assert_eq!(Cursor::new(&[0xff; 11]).number(), None);
        assert_eq!(Cursor::new(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 2]).number(), None);
        assert_eq!(Cursor::new(&[5, 1, 2]).bytes(), None);
        assert_eq!(Cursor::new(&[1, 0xff]).text(), None);
    }
}
