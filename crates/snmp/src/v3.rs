//! The message of SNMPv3 (RFC 3412) with USM's security parameters (RFC 3414): what stands in a packet, before and beside all
//! cryptography.
//!
//! In: a datagram. Out: a [`Message`] that borrows from it, whose data are a [`Scoped`] PDU or still enciphered; or what is wrong and
//! at which offset. [`Head::write`] makes the same form. Nothing is verified, deciphered or believed here: that is `usm`'s work.
//!
//! Limits: engine ids and user names of 32 octets; the rest as long as the datagram. Bytes behind the message are counted, bytes behind
//! any element inside it refused.

use std::fmt;

use crate::ber::{Element, Fault, ParseError, Reader, Writer, tag};

/// `msgVersion` of SNMPv3.
const VERSION: i32 = 3;
/// `msgSecurityModel` of USM.
const USM: i32 = 3;

const AUTHENTICATED: u8 = 1;
const PRIVATE: u8 = 2;
const REPORTABLE: u8 = 4;

/// How a message is protected (RFC 3411 section 3.4.3); each level includes those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Neither authenticated nor enciphered.
    #[default]
    NoAuthNoPriv,
    /// Authenticated.
    AuthNoPriv,
    /// Authenticated and enciphered.
    AuthPriv,
}

impl Level {
    /// The RFC's name: `noAuthNoPriv`, `authNoPriv`, `authPriv`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoAuthNoPriv => "noAuthNoPriv",
            Self::AuthNoPriv => "authNoPriv",
            Self::AuthPriv => "authPriv",
        }
    }

    const fn flags(self) -> u8 {
        match self {
            Self::NoAuthNoPriv => 0,
            Self::AuthNoPriv => AUTHENTICATED,
            Self::AuthPriv => AUTHENTICATED | PRIVATE,
        }
    }

    const fn from_flags(flags: u8) -> Option<Self> {
        Some(match flags & (AUTHENTICATED | PRIVATE) {
            0 => Self::NoAuthNoPriv,
            AUTHENTICATED => Self::AuthNoPriv,
            PRIVATE => return None,
            _ => Self::AuthPriv,
        })
    }
}

impl fmt::Display for Level {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// Name of an SNMP engine (RFC 3411 `SnmpEngineID`): up to 32 octets, by the RFC at least 5. None is the empty name, for discovery.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EngineId {
    /// Unused octets are zero.
    octets: [u8; Self::MAX],
    length: u8,
}

impl EngineId {
    /// The longest.
    pub const MAX: usize = 32;

    /// From its octets; none if they are more than 32.
    pub fn new(octets: &[u8]) -> Option<Self> {
        let length = u8::try_from(octets.len()).ok()?;
        let mut id = Self { length, ..Self::default() };
        id.octets.get_mut(..octets.len())?.copy_from_slice(octets);
        Some(id)
    }

    /// Its octets.
    pub fn as_bytes(&self) -> &[u8] {
        &self.octets[..usize::from(self.length)]
    }

    /// Whether it is the empty name.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }
}

/// As net-snmp writes it: `0x80001f88...`.
impl fmt::Display for EngineId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("0x")?;
        self.as_bytes().iter().try_for_each(|octet| write!(out, "{octet:02x}"))
    }
}

impl fmt::Debug for EngineId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "EngineId({self})")
    }
}

/// The message id alone, to find who waits for a reply. The outer lengths are checked, what lies behind the id is not.
pub fn message_id(packet: &[u8]) -> Result<i32, ParseError> {
    let mut message = Reader::new(packet).expect(tag::SEQUENCE)?.reader();
    version(&mut message)?;
    not_negative(&message.expect(tag::SEQUENCE)?.reader().expect(tag::INTEGER)?).map(|id| id as i32)
}

/// Everything of a message but its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head<'a> {
    /// Ties a reply to its request, below USM; never negative.
    pub message_id: i32,
    /// The largest message that the sender takes.
    pub max_size: u32,
    /// How the message is protected.
    pub level: Level,
    /// Whether the sender takes a report in answer.
    pub reportable: bool,
    /// The authoritative engine: of a request and its answer, the one that answers.
    pub engine_id: EngineId,
    /// How often that engine started.
    pub boots: u32,
    /// Seconds since it started last.
    pub time: u32,
    /// The user's name, up to 32 octets.
    pub user: &'a [u8],
    /// The MAC; to write, as many zeros as it will take.
    pub mac: &'a [u8],
    /// The salt of an enciphered message; else empty.
    pub salt: &'a [u8],
}

impl Head<'_> {
    /// Writes the whole message, whose data are what `data` writes ([`Scoped::write`], or an OCTET STRING of octets to encipher).
    /// [`Writer::finish`] is the caller's. Returns how far from the packet's end the MAC ends.
    pub fn write(&self, out: &mut Writer, data: impl FnOnce(&mut Writer)) -> usize {
        let mut mac_end = 0;
        out.element(tag::SEQUENCE, |message| {
            data(message);
            message.element(tag::OCTET_STRING, |octets| {
                octets.element(tag::SEQUENCE, |security| mac_end = self.write_security(security));
            });
            message.element(tag::SEQUENCE, |global| {
                let reportable = if self.reportable { REPORTABLE } else { 0 };
                global.integer(tag::INTEGER, USM.into());
                global.octets(tag::OCTET_STRING, &[self.level.flags() | reportable]);
                global.integer(tag::INTEGER, self.max_size.into());
                global.integer(tag::INTEGER, self.message_id.into());
            });
            message.integer(tag::INTEGER, VERSION.into());
        });
        mac_end
    }

    fn write_security(&self, out: &mut Writer) -> usize {
        out.octets(tag::OCTET_STRING, self.salt);
        let mac_end = out.written();
        out.octets(tag::OCTET_STRING, self.mac);
        out.octets(tag::OCTET_STRING, self.user);
        out.integer(tag::INTEGER, self.time.into());
        out.integer(tag::INTEGER, self.boots.into());
        out.octets(tag::OCTET_STRING, self.engine_id.as_bytes());
        mac_end
    }
}

/// A message as it stands in a packet.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Everything but the data.
    pub head: Head<'a>,
    /// Where the MAC begins in the packet.
    pub mac_at: usize,
    /// What it carries: a SEQUENCE with a [`Scoped`] PDU, or an OCTET STRING to decipher at level authPriv.
    pub data: Element<'a>,
    /// How many of the packet's bytes are the message: what the MAC covers.
    pub length: usize,
    /// Bytes of the packet behind the message.
    pub trailing: usize,
}

impl<'a> Message<'a> {
    /// Reads a message down to its data, which are left to [`Scoped::read`].
    pub fn read(packet: &'a [u8]) -> Result<Self, ParseError> {
        let mut outer = Reader::new(packet);
        let whole = outer.expect(tag::SEQUENCE)?;
        let mut fields = whole.reader();
        version(&mut fields)?;
        let global = Global::read(fields.expect(tag::SEQUENCE)?.reader())?;
        let (head, mac_at) = read_security(&global, &fields.expect(tag::OCTET_STRING)?)?;
        let enciphered = head.level == Level::AuthPriv;
        let data = fields.expect(if enciphered { tag::OCTET_STRING } else { tag::SEQUENCE })?;
        fields.end()?;
        Ok(Self { head, mac_at, data, length: outer.offset(), trailing: outer.left() })
    }
}

/// `msgGlobalData`.
struct Global {
    message_id: i32,
    max_size: u32,
    flags: u8,
    level: Level,
}

impl Global {
    fn read(mut fields: Reader<'_>) -> Result<Self, ParseError> {
        let message_id = not_negative(&fields.expect(tag::INTEGER)?)? as i32;
        let max_size = not_negative(&fields.expect(tag::INTEGER)?)?;
        let octets = fields.expect(tag::OCTET_STRING)?;
        let &[flags] = octets.content else { return Err(octets.fault(Fault::Flags)) };
        let level = Level::from_flags(flags).ok_or(octets.fault(Fault::Flags))?;
        let model = fields.expect(tag::INTEGER)?;
        match model.integer()? {
            USM => {}
            other => return Err(model.fault(Fault::SecurityModel(other))),
        }
        fields.end()?;
        Ok(Self { message_id, max_size, flags, level })
    }
}

/// `UsmSecurityParameters`, and where the MAC lies.
fn read_security<'a>(global: &Global, octets: &Element<'a>) -> Result<(Head<'a>, usize), ParseError> {
    let mut wrapped = octets.reader();
    let mut fields = wrapped.expect(tag::SEQUENCE)?.reader();
    wrapped.end()?;
    let id = fields.expect(tag::OCTET_STRING)?;
    let engine_id = EngineId::new(id.content).ok_or(id.fault(Fault::NameLength(id.content.len())))?;
    let boots = not_negative(&fields.expect(tag::INTEGER)?)?;
    let time = not_negative(&fields.expect(tag::INTEGER)?)?;
    let user = fields.expect(tag::OCTET_STRING)?;
    if user.content.len() > crate::usm::NAME_MAX {
        return Err(user.fault(Fault::NameLength(user.content.len())));
    }
    let mac = fields.expect(tag::OCTET_STRING)?;
    let salt = fields.expect(tag::OCTET_STRING)?.content;
    fields.end()?;
    let &Global { message_id, max_size, flags, level } = global;
    let reportable = flags & REPORTABLE != 0;
    let (user, mac_at, mac) = (user.content, mac.offset, mac.content);
    let head = Head { message_id, max_size, level, reportable, engine_id, boots, time, user, mac, salt };
    Ok((head, mac_at))
}

/// A PDU and its context (RFC 3411 section 3.3).
#[derive(Clone, Copy, Debug)]
pub struct Scoped<'a> {
    /// The engine that holds the context.
    pub context_engine_id: &'a [u8],
    /// The context's name; empty is the default.
    pub context_name: &'a [u8],
    /// The PDU, not yet read; see [`Pdu::read`](crate::Pdu::read).
    pub pdu: Element<'a>,
}

impl<'a> Scoped<'a> {
    /// Reads the content of a `ScopedPDU`.
    pub fn read(element: &Element<'a>) -> Result<Self, ParseError> {
        let mut fields = element.reader();
        let context_engine_id = fields.expect(tag::OCTET_STRING)?.content;
        let context_name = fields.expect(tag::OCTET_STRING)?.content;
        let pdu = fields.element()?;
        fields.end()?;
        Ok(Self { context_engine_id, context_name, pdu })
    }

    /// Writes a `ScopedPDU` around the PDU that `pdu` writes.
    pub fn write(out: &mut Writer, engine_id: &[u8], name: &[u8], pdu: impl FnOnce(&mut Writer)) {
        out.element(tag::SEQUENCE, |scoped| {
            pdu(scoped);
            scoped.octets(tag::OCTET_STRING, name);
            scoped.octets(tag::OCTET_STRING, engine_id);
        });
    }
}

fn version(fields: &mut Reader<'_>) -> Result<(), ParseError> {
    let version = fields.expect(tag::INTEGER)?;
    match version.integer()? {
        VERSION => Ok(()),
        other => Err(version.fault(Fault::NotV3(other))),
    }
}

/// Numbers of v3's header lie between 0 and 2^31-1.
fn not_negative(element: &Element<'_>) -> Result<u32, ParseError> {
    u32::try_from(element.integer()?).map_err(|_| element.fault(Fault::NumberRange))
}

#[cfg(test)]
mod tests;
