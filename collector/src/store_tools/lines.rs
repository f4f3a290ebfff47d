//! A file line by line, with a bound on a line's length and none on the file's. Packed files (gzip) are unpacked as they are read.

use std::io::{self, BufRead, BufReader, Read};

/// The longest line that is read: some three million samples of one series in JSON. It is held in memory, and what it says is, too.
pub(super) const LINE_BYTES_MAX: usize = 64 << 20;

const GZIP: [u8; 2] = [0x1f, 0x8b];
const BUFFER_BYTES: usize = 256 << 10;

/// What stands on a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// The line is in the buffer, its line feed included where the file has one.
    Whole,
    /// It is longer than [`LINE_BYTES_MAX`] and was passed over.
    TooLong,
    /// Nothing follows.
    End,
}

/// Reads lines.
pub(super) struct Lines<'r> {
    from: Box<dyn BufRead + 'r>,
    /// The number of the line that was read last, from 1.
    pub(super) number: u64,
    bytes_max: usize,
}

impl<'r> Lines<'r> {
    /// Lines of a file, packed or not.
    pub(super) fn new(from: impl Read + 'r) -> io::Result<Self> {
        let mut plain = BufReader::with_capacity(BUFFER_BYTES, from);
        // A pipe may hand out a single byte first.
        let packed = starts_with(&mut plain, GZIP)?;
        let from: Box<dyn BufRead + 'r> = match packed {
            (true, head) => {
                let whole = io::Cursor::new(head).chain(plain);
                let unpacked = flate2::read::MultiGzDecoder::new(whole);
                Box::new(BufReader::with_capacity(BUFFER_BYTES, unpacked))
            }
            (false, head) => Box::new(io::Cursor::new(head).chain(plain)),
        };
        Ok(Self { from, number: 0, bytes_max: LINE_BYTES_MAX })
    }

    /// Replaces `line` by the next one.
    pub(super) fn next(&mut self, line: &mut Vec<u8>) -> io::Result<Line> {
        line.clear();
        let read = (&mut self.from).take(self.bytes_max as u64 + 1).read_until(b'\n', line)?;
        if read == 0 {
            return Ok(Line::End);
        }
        self.number += 1;
        if line.len() <= self.bytes_max || line.ends_with(b"\n") {
            return Ok(Line::Whole);
        }
        line.clear();
        self.from.skip_until(b'\n')?;
        Ok(Line::TooLong)
    }
}

/// Whether a stream begins with these bytes; answers what was taken from it, too.
fn starts_with(from: &mut impl Read, wanted: [u8; 2]) -> io::Result<(bool, Vec<u8>)> {
    let mut head = Vec::with_capacity(2);
    from.take(2).read_to_end(&mut head)?;
    Ok((head == wanted, head))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn check(bytes: &[u8], expected: &[(&str, u64)]) {
        let mut lines = Lines::new(bytes).expect("a good stream");
        lines.bytes_max = 8;
        let mut found = Vec::new();
        let mut line = Vec::new();
        loop {
            match lines.next(&mut line).expect("a good stream") {
                Line::Whole => found.push((String::from_utf8(line.clone()).expect("text"), lines.number)),
                Line::TooLong => found.push(("too long".to_owned(), lines.number)),
                Line::End => break,
            }
        }
        let found: Vec<_> = found.iter().map(|(text, number)| (text.as_str(), *number)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn lines_are_numbered_and_long_ones_are_passed_over() {
        check(b"", &[]);
        check(b"a", &[("a", 1)]);
        check(b"a\n\nbc\n", &[("a\n", 1), ("\n", 2), ("bc\n", 3)]);
        check(b"12345678\n123456789\n1\n", &[("12345678\n", 1), ("too long", 2), ("1\n", 3)]);
        check(b"1234567890", &[("too long", 1)]);
    }

    #[test]
    fn packed_files_are_unpacked() {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(b"a\nb\n").expect("memory takes everything");
        check(&packed.finish().expect("memory takes everything"), &[("a\n", 1), ("b\n", 2)]);
        assert!(
            Lines::new(&b"\x1f\x8bnonsense"[..]).expect("its head is read").next(&mut Vec::new()).is_err()
        );
    }
}
