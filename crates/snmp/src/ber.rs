//! The part of BER (X.690) that SNMP uses: definite lengths, low tag numbers. [`Reader`] borrows from the packet; [`Writer`] makes
//! one packet at a time.
//!
//! # What is accepted beyond the minimal encoding, because devices send it
//! - lengths in more octets than needed (net-snmp writes `82 00 05`), at most four length octets;
//! - INTEGER, Counter32, Gauge32, TimeTicks and Counter64 with redundant sign octets in front, at most nine octets in all;
//! - Counter32, Gauge32, TimeTicks and Counter64 whose highest bit is set without the zero octet in front: they are read as the
//!   unsigned number that was meant;
//! - an OBJECT IDENTIFIER without content (`06 00`, a null `sysObjectID`): read as `0.0`, as net-snmp does;
//! - bytes behind the message: the caller learns how many.
//!
//! Everything else that is not right is a [`ParseError`] with the offset of the octet that is wrong: indefinite lengths, lengths past
//! the end, numbers without content or too large for their type, arcs beyond 32 bits, more than 128 arcs, padded arcs.

use crate::oid::{OidError, OidRef};

/// Tags, by their names in RFC 2578 and RFC 3416.
pub mod tag {
    #![expect(missing_docs, reason = "the names say it")]
    pub const INTEGER: u8 = 0x02;
    pub const OCTET_STRING: u8 = 0x04;
    pub const NULL: u8 = 0x05;
    pub const OBJECT_IDENTIFIER: u8 = 0x06;
    pub const SEQUENCE: u8 = 0x30;
    pub const IP_ADDRESS: u8 = 0x40;
    pub const COUNTER32: u8 = 0x41;
    pub const GAUGE32: u8 = 0x42;
    pub const TIME_TICKS: u8 = 0x43;
    pub const OPAQUE: u8 = 0x44;
    pub const COUNTER64: u8 = 0x46;
    /// Of SMIv2's first days; read as Gauge32.
    pub const UINTEGER32: u8 = 0x47;
    pub const NO_SUCH_OBJECT: u8 = 0x80;
    pub const NO_SUCH_INSTANCE: u8 = 0x81;
    pub const END_OF_MIB_VIEW: u8 = 0x82;
    pub const GET: u8 = 0xa0;
    pub const GET_NEXT: u8 = 0xa1;
    pub const RESPONSE: u8 = 0xa2;
    pub const GET_BULK: u8 = 0xa5;
    /// Of v3 alone.
    pub const REPORT: u8 = 0xa8;
}

/// What is wrong with a packet, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {offset}: {fault}")]
pub struct ParseError {
    /// Offset of the wrong octet from the start of the packet.
    pub offset: usize,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What can be wrong with an octet of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The packet ends in the middle of a tag or a length.
    #[error("the packet ends here")]
    Truncated,
    /// A length reaches past the end of what contains it.
    #[error("a length of {length} with {left} bytes left")]
    PastEnd {
        /// What the length says.
        length: usize,
        /// What there is.
        left: usize,
    },
    /// The indefinite form (`80`).
    #[error("an indefinite length, which SNMP forbids")]
    IndefiniteLength,
    /// More than four length octets.
    #[error("a length of more than four octets")]
    LengthTooLong,
    /// Another tag than the one that belongs here.
    #[error("tag {got:#04x} instead of {expected:#04x}")]
    UnexpectedTag {
        /// What belongs here.
        expected: u8,
        /// What is there.
        got: u8,
    },
    /// A value with a tag that SNMP does not know.
    #[error("the unknown tag {0:#04x}")]
    UnknownTag(u8),
    /// A number without content, or with too many octets for its type.
    #[error("a number of {0} octets")]
    NumberLength(usize),
    /// A number outside its type's range or outside what its field allows.
    #[error("a number out of range")]
    NumberRange,
    /// An IpAddress that is not four octets long.
    #[error("an IpAddress of {0} octets")]
    AddressLength(usize),
    /// A NULL or an exception with content.
    #[error("a null value of {0} octets")]
    NullLength(usize),
    /// An OBJECT IDENTIFIER that is none.
    #[error("a bad OID: {0}")]
    Oid(#[from] OidError),
    /// Bytes behind the last element of a sequence.
    #[error("{0} bytes behind the last element")]
    Trailing(usize),
    /// A version other than v1 and v2c.
    #[error("SNMP version {0}, which is neither v1 nor v2c")]
    Version(i32),
    /// A version other than v3 where v3 is spoken.
    #[error("SNMP version {0}, which is not v3")]
    NotV3(i32),
    /// Message flags that are not one octet, or privacy without authentication.
    #[error("message flags that v3 does not allow")]
    Flags,
    /// A security model other than USM (3).
    #[error("security model {0}, which is not USM")]
    SecurityModel(i32),
    /// An engine id or a user name of more than 32 octets.
    #[error("a name of {0} octets, where 32 are the most")]
    NameLength(usize),
}

/// Reads one element after the other from a run of bytes inside a packet.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    /// Offset of `bytes` in the packet, for errors.
    offset: usize,
}

/// One element: its tag, its content, and where the content lies.
#[derive(Clone, Copy, Debug)]
pub struct Element<'a> {
    /// The identifier octet.
    pub tag: u8,
    /// The content octets.
    pub content: &'a [u8],
    /// Offset of the content from the start of the packet.
    pub offset: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the beginning of a packet.
    pub fn new(packet: &'a [u8]) -> Self {
        Self { bytes: packet, offset: 0 }
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes that are left.
    pub fn left(&self) -> usize {
        self.bytes.len()
    }

    /// Where the next element begins.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// The next element, whatever it is.
    #[inline]
    pub fn element(&mut self) -> Result<Element<'a>, ParseError> {
        let tag = self.octet()?;
        let length_at = self.offset;
        let length = self.length()?;
        if length > self.bytes.len() {
            let fault = Fault::PastEnd { length, left: self.bytes.len() };
            return Err(ParseError { offset: length_at, fault });
        }
        let element = Element { tag, content: &self.bytes[..length], offset: self.offset };
        self.skip(length);
        Ok(element)
    }

    /// The next element, which must bear this tag.
    #[inline]
    pub fn expect(&mut self, tag: u8) -> Result<Element<'a>, ParseError> {
        let at = self.offset;
        let element = self.element()?;
        if element.tag != tag {
            let fault = Fault::UnexpectedTag { expected: tag, got: element.tag };
            return Err(ParseError { offset: at, fault });
        }
        Ok(element)
    }

    /// The next element, which must be an INTEGER of 32 bits.
    pub fn integer(&mut self) -> Result<i32, ParseError> {
        self.expect(tag::INTEGER)?.integer()
    }

    /// Refuses what is left.
    pub fn end(&self) -> Result<(), ParseError> {
        if self.is_empty() {
            return Ok(());
        }
        Err(ParseError { offset: self.offset, fault: Fault::Trailing(self.left()) })
    }

    #[inline]
    fn octet(&mut self) -> Result<u8, ParseError> {
        let octet = *self.bytes.first().ok_or(ParseError { offset: self.offset, fault: Fault::Truncated })?;
        self.skip(1);
        Ok(octet)
    }

    #[inline]
    fn length(&mut self) -> Result<usize, ParseError> {
        let at = self.offset;
        let first = self.octet()?;
        match first {
            0..0x80 => Ok(usize::from(first)),
            0x80 => Err(ParseError { offset: at, fault: Fault::IndefiniteLength }),
            0x81..=0x84 => {
                (0x80..first).try_fold(0_usize, |length, _| Ok(length << 8 | usize::from(self.octet()?)))
            }
            _ => Err(ParseError { offset: at, fault: Fault::LengthTooLong }),
        }
    }

    #[inline]
    fn skip(&mut self, count: usize) {
        self.bytes = &self.bytes[count..];
        self.offset += count;
    }
}

impl<'a> Element<'a> {
    /// A reader over the content.
    pub fn reader(&self) -> Reader<'a> {
        Reader { bytes: self.content, offset: self.offset }
    }

    /// The content as INTEGER of 32 bits.
    #[inline]
    pub fn integer(&self) -> Result<i32, ParseError> {
        match *self.content {
            [a] => Ok(i32::from(a as i8)),
            [a, b] => Ok(i32::from(i16::from_be_bytes([a, b]))),
            [a, b, c, d] => Ok(i32::from_be_bytes([a, b, c, d])),
            _ => self.any_integer(),
        }
    }

    fn any_integer(&self) -> Result<i32, ParseError> {
        let octets = self.number_octets()?;
        let sign = if octets[0] & 0x80 == 0 { 0 } else { -1 };
        // Nine octets fit sixteen.
        let number = octets.iter().fold(sign, |number: i128, &octet| number << 8 | i128::from(octet));
        i32::try_from(number).map_err(|_| self.fault(Fault::NumberRange))
    }

    /// The content as unsigned number of 32 bits.
    #[inline]
    pub fn unsigned32(&self) -> Result<u32, ParseError> {
        let number = self.unsigned(4)?;
        u32::try_from(number).map_err(|_| self.fault(Fault::NumberRange))
    }

    /// The content as unsigned number of 64 bits.
    #[inline]
    pub fn unsigned64(&self) -> Result<u64, ParseError> {
        self.unsigned(8)
    }

    /// The content as object identifier; no content is `0.0`.
    #[inline]
    pub fn oid(&self) -> Result<OidRef<'a>, ParseError> {
        let content = if self.content.is_empty() { &[0] } else { self.content };
        OidRef::from_content(content).map_err(|error| self.fault(Fault::Oid(error)))
    }

    /// Refuses content.
    pub fn null(&self) -> Result<(), ParseError> {
        if self.content.is_empty() { Ok(()) } else { Err(self.fault(Fault::NullLength(self.content.len()))) }
    }

    /// An error at the start of the content.
    pub fn fault(&self, fault: Fault) -> ParseError {
        ParseError { offset: self.offset, fault }
    }

    /// Up to `width` octets are the number itself, its highest bit included; more may only be padding.
    #[inline]
    fn unsigned(&self, width: usize) -> Result<u64, ParseError> {
        let octets = self.number_octets()?;
        let (padding, octets) = octets.split_at(octets.len().saturating_sub(width));
        if padding.iter().any(|&octet| octet != 0) {
            return Err(self.fault(Fault::NumberRange));
        }
        Ok(octets.iter().fold(0, |number, &octet| number << 8 | u64::from(octet)))
    }

    #[inline]
    fn number_octets(&self) -> Result<&'a [u8], ParseError> {
        const OCTETS_MAX: usize = 9;
        match self.content.len() {
            1..=OCTETS_MAX => Ok(self.content),
            count => Err(self.fault(Fault::NumberLength(count))),
        }
    }
}

/// Writes a packet from its end to its start, so that every length is known when it is written.
#[derive(Debug, Default)]
pub struct Writer {
    /// The packet in reverse.
    reversed: Vec<u8>,
}

impl Writer {
    /// Replaces `packet` by what was written, and starts anew.
    pub fn finish(&mut self, packet: &mut Vec<u8>) {
        packet.clear();
        packet.extend(self.reversed.iter().rev());
        self.reversed.clear();
    }

    /// An element whose content is what `content` writes. Elements of a sequence are written last first.
    pub fn element(&mut self, tag: u8, content: impl FnOnce(&mut Self)) {
        let before = self.reversed.len();
        content(self);
        self.header(tag, self.reversed.len() - before);
    }

    /// An element with these content octets.
    pub fn octets(&mut self, tag: u8, content: &[u8]) {
        self.reversed.extend(content.iter().rev());
        self.header(tag, content.len());
    }

    /// A signed number in as few octets as possible.
    pub fn integer(&mut self, tag: u8, number: i64) {
        let octets = number.to_be_bytes();
        let sign = if number < 0 { 0xff } else { 0 };
        let spare =
            octets.windows(2).take_while(|pair| pair[0] == sign && (pair[1] ^ sign) & 0x80 == 0).count();
        self.octets(tag, &octets[spare..]);
    }

    /// An unsigned number in as few octets as possible, with a zero octet in front where the highest bit is set.
    pub fn unsigned(&mut self, tag: u8, number: u64) {
        if let Ok(number) = i64::try_from(number) {
            return self.integer(tag, number);
        }
        self.element(tag, |content| {
            content.reversed.extend(number.to_le_bytes());
            content.reversed.push(0);
        });
    }

    /// Octets that were written so far: how far from the packet's end the next ones will lie.
    pub(crate) fn written(&self) -> usize {
        self.reversed.len()
    }

    /// Puts zero octets behind all that was written so far (a block cipher's padding).
    pub(crate) fn pad(&mut self, count: usize) {
        self.reversed.splice(0..0, std::iter::repeat_n(0, count));
    }

    fn header(&mut self, tag: u8, length: usize) {
        let octets = length.to_le_bytes();
        let used = octets.len() - octets.iter().rev().take_while(|&&octet| octet == 0).count();
        match (length, used) {
            (0..0x80, _) => self.reversed.push(octets[0]),
            (_, used) => {
                self.reversed.extend(&octets[..used]);
                self.reversed.push(0x80 | used as u8);
            }
        }
        self.reversed.push(tag);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check<T: PartialEq + std::fmt::Debug>(
        packet: &[u8],
        read: impl Fn(&Element<'_>) -> Result<T, ParseError>,
        expected: Result<T, (usize, Fault)>,
    ) {
        let got = Reader::new(packet).element().and_then(|element| read(&element));
        assert_eq!(got.map_err(|error| (error.offset, error.fault)), expected, "{packet:02x?}");
    }

    fn length(element: &Element<'_>) -> Result<usize, ParseError> {
        Ok(element.content.len())
    }

    #[test]
    fn lengths_may_be_padded_but_not_indefinite_or_endless() {
        check(&[4, 2, 1, 2], length, Ok(2));
        check(&[4, 0x82, 0, 2, 1, 2], length, Ok(2));
        check(&[4, 0x84, 0, 0, 0, 1, 9], length, Ok(1));
        check(&[4, 0x80, 0, 0], length, Err((1, Fault::IndefiniteLength)));
        check(&[4, 0x85, 0, 0, 0, 0, 1, 9], length, Err((1, Fault::LengthTooLong)));
        check(&[4, 0xff], length, Err((1, Fault::LengthTooLong)));
        check(&[4, 0x82, 0], length, Err((3, Fault::Truncated)));
        check(&[], length, Err((0, Fault::Truncated)));
        check(&[4, 3, 1, 2], length, Err((1, Fault::PastEnd { length: 3, left: 2 })));
        let huge = u32::MAX as usize;
        check(&[4, 0x84, 255, 255, 255, 255], length, Err((1, Fault::PastEnd { length: huge, left: 0 })));
    }

    #[test]
    fn signed_numbers() {
        let check = |packet: &[u8], expected| check(packet, |element| element.integer(), expected);
        check(&[2, 1, 0xff], Ok(-1));
        check(&[2, 4, 0x80, 0, 0, 0], Ok(i32::MIN));
        check(&[2, 5, 0xff, 0x80, 0, 0, 0], Ok(i32::MIN));
        check(&[2, 9, 0, 0, 0, 0, 0, 0, 0, 0, 7], Ok(7));
        check(&[2, 5, 0, 0x80, 0, 0, 0], Err((2, Fault::NumberRange)));
        check(&[2, 0], Err((2, Fault::NumberLength(0))));
        check(&[2, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7], Err((2, Fault::NumberLength(10))));
    }

    #[test]
    fn unsigned_numbers_with_and_without_the_zero_in_front() {
        check(&[0x41, 5, 0, 255, 255, 255, 255], |element| element.unsigned32(), Ok(u32::MAX));
        check(&[0x41, 4, 255, 255, 255, 255], |element| element.unsigned32(), Ok(u32::MAX));
        check(&[0x41, 1, 255], |element| element.unsigned32(), Ok(255));
        check(&[0x41, 5, 1, 0, 0, 0, 0], |element| element.unsigned32(), Err((2, Fault::NumberRange)));
        check(
            &[0x46, 9, 0, 255, 0, 0, 0, 0, 0, 0, 1],
            |element| element.unsigned64(),
            Ok(0xff00_0000_0000_0001),
        );
        check(
            &[0x46, 8, 255, 0, 0, 0, 0, 0, 0, 1],
            |element| element.unsigned64(),
            Ok(0xff00_0000_0000_0001),
        );
        check(
            &[0x46, 9, 1, 0, 0, 0, 0, 0, 0, 0, 0],
            |element| element.unsigned64(),
            Err((2, Fault::NumberRange)),
        );
        check(&[0x46, 0], |element| element.unsigned64(), Err((2, Fault::NumberLength(0))));
    }

    #[test]
    fn a_null_oid_is_zero_and_bad_ones_say_where() {
        let text = |element: &Element<'_>| element.oid().map(|oid| oid.to_string());
        check(&[6, 0], text, Ok("0.0".to_owned()));
        check(&[6, 2, 0x2b, 0x80], text, Err((2, Fault::Oid(OidError::Padded))));
        check(&[6, 2, 0x2b, 0x81], text, Err((2, Fault::Oid(OidError::Truncated))));
    }

    #[test]
    fn content_where_none_belongs_is_refused() {
        check(&[5, 1, 0], |element| element.null(), Err((2, Fault::NullLength(1))));
        check(&[5, 0], |element| element.null(), Ok(()));
    }

    proptest! {
        #[test]
        fn numbers_return_as_they_were_written(signed in any::<i32>(), unsigned in any::<u64>(), shift in 0..64u32) {
            let (mut writer, mut packet) = (Writer::default(), Vec::new());
            writer.integer(tag::INTEGER, signed.into());
            writer.finish(&mut packet);
            prop_assert_eq!(Reader::new(&packet).integer(), Ok(signed));
            writer.unsigned(tag::COUNTER64, unsigned >> shift);
            writer.finish(&mut packet);
            prop_assert_eq!(Reader::new(&packet).element().and_then(|element| element.unsigned64()), Ok(unsigned >> shift));
        }

        #[test]
        fn every_length_returns_as_it_was_written(length in prop_oneof![0..300usize, 65_000..66_000usize]) {
            let (mut writer, mut packet) = (Writer::default(), Vec::new());
            writer.octets(tag::OCTET_STRING, &vec![7; length]);
            writer.finish(&mut packet);
            let mut reader = Reader::new(&packet);
            prop_assert_eq!(reader.element().map(|element| element.content.len()), Ok(length));
            prop_assert!(reader.is_empty());
        }
    }
}
