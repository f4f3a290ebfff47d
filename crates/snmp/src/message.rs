//! Messages of v1 (RFC 1157) and v2c (RFC 1901, 3416): version, community, PDU.
//!
//! [`Message::read`] checks the whole packet once and borrows from it; [`Header::read`] looks only as far as the request id, to find
//! who waits for a reply. SET, traps and v3 are not spoken here.

use std::fmt;

use crate::ber::{Element, Fault, ParseError, Reader, Writer, tag};
use crate::oid::OidRef;
use crate::pdu::{ErrorStatus, Pdu, PduKind, Varbind};
use crate::value::Value;

/// Protocol version, where the community is the credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Version {
    /// SNMPv1: no GETBULK, no Counter64, no exceptions.
    V1,
    /// SNMPv2c.
    V2c,
}

impl Version {
    const fn number(self) -> i32 {
        match self {
            Self::V1 => 0,
            Self::V2c => 1,
        }
    }

    /// The name that people use: `v1`, `v2c`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2c => "v2c",
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// One packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Protocol version.
    pub version: Version,
    /// The community: a password in clear; never print it.
    pub community: &'a [u8],
    /// What is asked or answered.
    pub pdu: Pdu<'a>,
    /// Bytes in the datagram behind the message; 0 in a message that is written.
    pub trailing: usize,
}

impl<'a> Message<'a> {
    /// Reads a packet to its end.
    pub fn read(packet: &'a [u8]) -> Result<Self, ParseError> {
        let (header, body, trailing) = Header::read_to(packet)?;
        let pdu = Pdu::read_behind_id(header.kind, header.request_id, body)?;
        Ok(Self { version: header.version, community: header.community, pdu, trailing })
    }

    /// Replaces `packet` by the encoded message, in the minimal encoding.
    pub fn write(&self, writer: &mut Writer, packet: &mut Vec<u8>) {
        writer.element(tag::SEQUENCE, |message| {
            self.pdu.write(message);
            message.octets(tag::OCTET_STRING, self.community);
            message.integer(tag::INTEGER, self.version.number().into());
        });
        writer.finish(packet);
    }
}

/// A response of which everything but its bindings has been read.
#[derive(Clone, Debug)]
pub struct Response<'a> {
    /// The error status.
    pub status: ErrorStatus,
    /// Which binding is at fault, from 1; 0 where none is named.
    pub index: usize,
    /// The bindings, read one by one.
    pub varbinds: Varbinds<'a>,
}

impl<'a> Response<'a> {
    /// Reads a packet up to its bindings.
    pub fn read(packet: &'a [u8]) -> Result<Self, ParseError> {
        let (_, body, _) = Header::read_to(packet)?;
        Self::read_behind_id(body)
    }

    /// Reads a PDU whose header has been read, of v3, deciphered: the request id and the rest.
    pub fn of(element: &Element<'a>) -> Result<(i32, Self), ParseError> {
        let mut body = element.reader();
        let request_id = body.integer()?;
        Ok((request_id, Self::read_behind_id(body)?))
    }

    fn read_behind_id(mut body: Reader<'a>) -> Result<Self, ParseError> {
        let status = ErrorStatus(body.integer()?);
        let index = usize::try_from(body.integer()?).unwrap_or(0);
        let list = body.expect(tag::SEQUENCE)?;
        body.end()?;
        Ok(Self { status, index, varbinds: Varbinds { list: list.reader() } })
    }
}

/// Bindings of a packet, one by one; ends behind the first that cannot be read.
#[derive(Clone, Debug)]
pub struct Varbinds<'a> {
    list: Reader<'a>,
}

impl<'a> Varbinds<'a> {
    // Inlined: a binding handed over through memory costs more than reading it.
    #[inline(always)]
    fn varbind(&mut self) -> Result<Varbind<'a>, ParseError> {
        let mut varbind = self.list.expect(tag::SEQUENCE)?.reader();
        let name: OidRef<'a> = varbind.expect(tag::OBJECT_IDENTIFIER)?.oid()?;
        let value_at = varbind.offset();
        let value = Value::read(&varbind.element()?, value_at)?;
        varbind.end()?;
        Ok(Varbind { name, value })
    }
}

impl<'a> Iterator for Varbinds<'a> {
    type Item = Result<Varbind<'a>, ParseError>;

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        if self.list.is_empty() {
            return None;
        }
        let varbind = self.varbind();
        if varbind.is_err() {
            self.list = Reader::new(&[]);
        }
        Some(varbind)
    }
}

/// What a receiver needs to find out whose packet this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// Protocol version.
    pub version: Version,
    /// The community.
    pub community: &'a [u8],
    /// Which PDU it carries.
    pub kind: PduKind,
    /// The request id.
    pub request_id: i32,
}

impl<'a> Header<'a> {
    /// Reads up to the request id. The outer lengths are checked, what lies behind the id is not.
    pub fn read(packet: &'a [u8]) -> Result<Self, ParseError> {
        Self::read_to(packet).map(|(header, _, _)| header)
    }

    /// The header, a reader that stands behind the request id, and the number of bytes behind the message.
    fn read_to(packet: &'a [u8]) -> Result<(Self, Reader<'a>, usize), ParseError> {
        let mut outer = Reader::new(packet);
        let message = outer.expect(tag::SEQUENCE)?;
        let mut fields = message.reader();
        let version_at = fields.offset();
        let version = match fields.integer()? {
            0 => Version::V1,
            1 => Version::V2c,
            other => return Err(ParseError { offset: version_at, fault: Fault::Version(other) }),
        };
        let community = fields.expect(tag::OCTET_STRING)?.content;
        let pdu_at = fields.offset();
        let pdu = fields.element()?;
        fields.end()?;
        let unknown = ParseError { offset: pdu_at, fault: Fault::UnknownTag(pdu.tag) };
        let kind = PduKind::from_tag(pdu.tag).ok_or(unknown)?;
        let mut body = pdu.reader();
        let request_id = body.integer()?;
        Ok((Self { version, community, kind, request_id }, body, outer.left()))
    }
}

fn write_varbind(list: &mut Writer, varbind: &Varbind<'_>) {
    list.element(tag::SEQUENCE, |out| {
        varbind.value.write(out);
        out.octets(tag::OBJECT_IDENTIFIER, varbind.name.content());
    });
}

impl<'a> Pdu<'a> {
    /// Reads a PDU whose header has been read: one of v3, deciphered.
    pub fn read(element: &Element<'a>) -> Result<Self, ParseError> {
        let kind = PduKind::from_tag(element.tag).ok_or(element.fault(Fault::UnknownTag(element.tag)))?;
        let mut body = element.reader();
        let request_id = body.integer()?;
        Self::read_behind_id(kind, request_id, body)
    }

    fn read_behind_id(kind: PduKind, request_id: i32, mut body: Reader<'a>) -> Result<Self, ParseError> {
        let second = body.integer()?;
        let third = body.integer()?;
        let list = body.expect(tag::SEQUENCE)?;
        body.end()?;
        // A binding takes about 16 bytes; the guess only saves growing.
        let mut varbinds = Vec::with_capacity(list.content.len() / 16);
        for varbind in (Varbinds { list: list.reader() }) {
            varbinds.push(varbind?);
        }
        Ok(Self { kind, request_id, second, third, varbinds })
    }

    /// Writes the PDU alone, in the minimal encoding.
    pub fn write(&self, out: &mut Writer) {
        out.element(self.kind.tag(), |pdu| {
            pdu.element(tag::SEQUENCE, |list| {
                self.varbinds.iter().rev().for_each(|varbind| write_varbind(list, varbind));
            });
            pdu.integer(tag::INTEGER, self.third.into());
            pdu.integer(tag::INTEGER, self.second.into());
            pdu.integer(tag::INTEGER, self.request_id.into());
        });
    }
}

/// Error status as it stands in a response, for readers of [`Message`]s.
impl Pdu<'_> {
    /// The error status of a response; `NoError` in anything else.
    pub fn error_status(&self) -> ErrorStatus {
        if self.kind == PduKind::Response { ErrorStatus(self.second) } else { ErrorStatus::NO_ERROR }
    }

    /// The error index of a response: which binding is at fault, from 1; 0 where none is named.
    pub fn error_index(&self) -> usize {
        usize::try_from(self.third).ok().filter(|_| self.kind == PduKind::Response).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests;
