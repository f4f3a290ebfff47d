//! Values of variable bindings, borrowed from the packet.

use std::net::Ipv4Addr;

use crate::ber::{Element, Fault, ParseError, Writer, tag};
use crate::oid::OidRef;

/// One value as an agent gave it; no conversion takes place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// INTEGER, Integer32, enumerations.
    Integer(i32),
    /// Bytes; text by convention only.
    OctetString(&'a [u8]),
    /// An object identifier.
    Oid(OidRef<'a>),
    /// An IPv4 address.
    IpAddress(Ipv4Addr),
    /// A counter that wraps at 2^32.
    Counter32(u32),
    /// Gauge32 and Unsigned32, which share a tag.
    Gauge32(u32),
    /// Hundredths of a second; wraps after 497 days.
    TimeTicks(u32),
    /// Bytes of another encoding; see [`Value::opaque_float`].
    Opaque(&'a [u8]),
    /// A counter that wraps at 2^64.
    Counter64(u64),
    /// No value: what requests carry, and v1 errors.
    Null,
    /// The agent does not know the object (v2c).
    NoSuchObject,
    /// The agent knows the object but not this instance (v2c).
    NoSuchInstance,
    /// There is nothing behind the name asked for (v2c).
    EndOfMibView,
}

impl<'a> Value<'a> {
    /// Reads a value by its tag.
    #[inline(always)]
    pub(crate) fn read(element: &Element<'a>, tag_at: usize) -> Result<Self, ParseError> {
        Ok(match element.tag {
            tag::INTEGER => Self::Integer(element.integer()?),
            tag::OCTET_STRING => Self::OctetString(element.content),
            tag::OBJECT_IDENTIFIER => Self::Oid(element.oid()?),
            tag::IP_ADDRESS => Self::IpAddress(address(element)?),
            tag::COUNTER32 => Self::Counter32(element.unsigned32()?),
            tag::GAUGE32 | tag::UINTEGER32 => Self::Gauge32(element.unsigned32()?),
            tag::TIME_TICKS => Self::TimeTicks(element.unsigned32()?),
            tag::OPAQUE => Self::Opaque(element.content),
            tag::COUNTER64 => Self::Counter64(element.unsigned64()?),
            tag::NULL => element.null().map(|()| Self::Null)?,
            tag::NO_SUCH_OBJECT => element.null().map(|()| Self::NoSuchObject)?,
            tag::NO_SUCH_INSTANCE => element.null().map(|()| Self::NoSuchInstance)?,
            tag::END_OF_MIB_VIEW => element.null().map(|()| Self::EndOfMibView)?,
            unknown => return Err(ParseError { offset: tag_at, fault: Fault::UnknownTag(unknown) }),
        })
    }

    pub(crate) fn write(&self, out: &mut Writer) {
        match *self {
            Self::Integer(number) => out.integer(tag::INTEGER, number.into()),
            Self::OctetString(bytes) => out.octets(tag::OCTET_STRING, bytes),
            Self::Oid(oid) => out.octets(tag::OBJECT_IDENTIFIER, oid.content()),
            Self::IpAddress(address) => out.octets(tag::IP_ADDRESS, &address.octets()),
            Self::Counter32(number) => out.unsigned(tag::COUNTER32, number.into()),
            Self::Gauge32(number) => out.unsigned(tag::GAUGE32, number.into()),
            Self::TimeTicks(number) => out.unsigned(tag::TIME_TICKS, number.into()),
            Self::Opaque(bytes) => out.octets(tag::OPAQUE, bytes),
            Self::Counter64(number) => out.unsigned(tag::COUNTER64, number),
            Self::Null => out.octets(tag::NULL, &[]),
            Self::NoSuchObject => out.octets(tag::NO_SUCH_OBJECT, &[]),
            Self::NoSuchInstance => out.octets(tag::NO_SUCH_INSTANCE, &[]),
            Self::EndOfMibView => out.octets(tag::END_OF_MIB_VIEW, &[]),
        }
    }

    /// Whether it says that there is no value (v2c's three exceptions).
    pub fn is_exception(&self) -> bool {
        matches!(self, Self::NoSuchObject | Self::NoSuchInstance | Self::EndOfMibView)
    }

    /// The value as a number, where it is one. Counter64 above 2^53 loses its last bits, as every Prometheus value does.
    pub fn number(&self) -> Option<f64> {
        match *self {
            Self::Integer(number) => Some(number.into()),
            Self::Counter32(number) | Self::Gauge32(number) | Self::TimeTicks(number) => Some(number.into()),
            Self::Counter64(number) => Some(number as f64),
            Self::Opaque(_) => self.opaque_float(),
            _ => None,
        }
    }

    /// The number in an Opaque that wraps a float (`9f 78 04`) or a double (`9f 79 08`), as net-snmp sends them
    /// (draft-perkins-opaque-01).
    pub fn opaque_float(&self) -> Option<f64> {
        match *self {
            Self::Opaque(&[0x9f, 0x78, 4, a, b, c, d]) => Some(f32::from_be_bytes([a, b, c, d]).into()),
            Self::Opaque([0x9f, 0x79, 8, rest @ ..]) => rest.try_into().ok().map(f64::from_be_bytes),
            _ => None,
        }
    }
}

fn address(element: &Element<'_>) -> Result<Ipv4Addr, ParseError> {
    let octets: [u8; 4] =
        element.content.try_into().map_err(|_| element.fault(Fault::AddressLength(element.content.len())))?;
    Ok(octets.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opaque_numbers_are_read_and_other_opaques_left_alone() {
        let check =
            |bytes: &[u8], expected| assert_eq!(Value::Opaque(bytes).number(), expected, "{bytes:02x?}");
        check(&[0x9f, 0x78, 4, 0x3f, 0xc0, 0, 0], Some(1.5));
        check(&[0x9f, 0x79, 8, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0], Some(1.5));
        check(&[0x9f, 0x78, 4, 0x3f, 0xc0, 0], None);
        check(&[], None);
    }
}
