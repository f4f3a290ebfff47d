//! Native histograms as they are sent: a message whose time is read and whose rest stays opaque.
//!
//! Both protocol versions number a histogram's fields alike, so that the bytes of one may stand for those of the other. They are
//! kept as they came, with fields that are not known here (a start timestamp, what later versions add). The walk checks that
//! the message is one; what its numbers mean is the reader's to say.

use model::Timestamp;

use crate::WireError;
use crate::protobuf::{Reader, WireType};
use crate::v1::next_message;

/// Where a histogram's time stands, in milliseconds.
const TIMESTAMP: u32 = 15;

/// A histogram: its time, and the whole message as it was encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Histogram<'a> {
    /// Its time.
    pub timestamp: Timestamp,
    /// The message, its time included.
    pub bytes: &'a [u8],
}

impl<'a> Histogram<'a> {
    /// Walks a message.
    ///
    /// # Errors
    /// What is no message, or bears a time of another wire type.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, WireError> {
        Self::read(Reader::new(bytes))
    }

    fn read(mut message: Reader<'a>) -> Result<Self, WireError> {
        let bytes = message.rest();
        let mut timestamp = 0;
        while let Some((number, wire_type)) = message.field()? {
            if number == TIMESTAMP {
                message.expect(WireType::Varint, wire_type)?;
                timestamp = message.varint()? as i64;
            } else {
                message.skip(wire_type)?;
            }
        }
        Ok(Self { timestamp: Timestamp::from_millis(timestamp), bytes })
    }
}

/// Iterates a series' histograms. After an error it is over.
#[derive(Clone)]
pub struct HistogramsIter<'a> {
    reader: Reader<'a>,
    number: u32,
    left: usize,
}

impl<'a> HistogramsIter<'a> {
    /// `left` histograms in fields of this number, which are known to be messages.
    pub(crate) fn new(reader: Reader<'a>, number: u32, left: usize) -> Self {
        Self { reader, number, left }
    }
}

impl<'a> Iterator for HistogramsIter<'a> {
    type Item = Result<Histogram<'a>, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let message = next_message(&mut self.reader, self.number).transpose()?;
        let histogram = message.and_then(Histogram::read);
        if histogram.is_err() {
            self.left = 0;
        }
        Some(histogram)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Fault;

    fn check(bytes: &[u8], expected: Result<i64, (usize, Fault)>) {
        let read = Histogram::parse(bytes).map(|histogram| histogram.timestamp.as_millis());
        let expected = expected.map_err(|(offset, fault)| WireError::Malformed { offset, fault });
        assert_eq!(read, expected, "{bytes:x?}");
    }

    #[test]
    fn the_time_is_read_and_everything_else_is_passed_over() {
        check(&[], Ok(0));
        check(&[0x08, 5, 0x78, 100], Ok(100));
        // A start timestamp (field 17), and a field that nobody knows yet.
        check(&[0x78, 100, 0x88, 1, 50, 0xfa, 3, 1, 7], Ok(100));
        check(&[0x7a, 1, 0], Err((1, Fault::FieldType)));
        check(&[0x42, 9, 1], Err((1, Fault::LongLength)));
        check(&[0x78], Err((1, Fault::Truncated)));
    }
}
