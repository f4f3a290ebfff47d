//! One value that a device holds: [`snmp::Value`] with its bytes owned, and without the exceptions, which are no values.

use std::net::Ipv4Addr;

use snmp::ber::tag;
use snmp::{Oid, Value};

use crate::encode;

/// An owned value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of `snmp::Value`")]
pub enum Datum {
    Integer(i32),
    Bytes(Vec<u8>),
    Oid(Oid),
    IpAddress(Ipv4Addr),
    Counter32(u32),
    Gauge32(u32),
    TimeTicks(u32),
    Opaque(Vec<u8>),
    Counter64(u64),
    Null,
}

impl Datum {
    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Bytes(text.into().into_bytes())
    }

    /// The same value, borrowed.
    pub fn value(&self) -> Value<'_> {
        match self {
            Self::Integer(number) => Value::Integer(*number),
            Self::Bytes(bytes) => Value::OctetString(bytes),
            Self::Oid(oid) => Value::Oid(oid.view()),
            Self::IpAddress(address) => Value::IpAddress(*address),
            Self::Counter32(number) => Value::Counter32(*number),
            Self::Gauge32(number) => Value::Gauge32(*number),
            Self::TimeTicks(number) => Value::TimeTicks(*number),
            Self::Opaque(bytes) => Value::Opaque(bytes),
            Self::Counter64(number) => Value::Counter64(*number),
            Self::Null => Value::Null,
        }
    }

    /// An owned copy; `None` of an exception.
    pub fn from_value(value: Value<'_>) -> Option<Self> {
        Some(match value {
            Value::Integer(number) => Self::Integer(number),
            Value::OctetString(bytes) => Self::Bytes(bytes.into()),
            Value::Oid(oid) => Self::Oid(oid.to_oid()),
            Value::IpAddress(address) => Self::IpAddress(address),
            Value::Counter32(number) => Self::Counter32(number),
            Value::Gauge32(number) => Self::Gauge32(number),
            Value::TimeTicks(number) => Self::TimeTicks(number),
            Value::Opaque(bytes) => Self::Opaque(bytes.into()),
            Value::Counter64(number) => Self::Counter64(number),
            Value::Null => Self::Null,
            Value::NoSuchObject | Value::NoSuchInstance | Value::EndOfMibView => return None,
        })
    }

    /// Appends its encoding: tag, length, content.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Integer(number) => encode::signed(out, tag::INTEGER, *number),
            Self::Bytes(bytes) => encode::element(out, tag::OCTET_STRING, bytes),
            Self::Oid(oid) => encode::element(out, tag::OBJECT_IDENTIFIER, oid.view().content()),
            Self::IpAddress(address) => encode::element(out, tag::IP_ADDRESS, &address.octets()),
            Self::Counter32(number) => encode::unsigned(out, tag::COUNTER32, u64::from(*number)),
            Self::Gauge32(number) => encode::unsigned(out, tag::GAUGE32, u64::from(*number)),
            Self::TimeTicks(number) => encode::unsigned(out, tag::TIME_TICKS, u64::from(*number)),
            Self::Opaque(bytes) => encode::element(out, tag::OPAQUE, bytes),
            Self::Counter64(number) => encode::unsigned(out, tag::COUNTER64, *number),
            Self::Null => encode::element(out, tag::NULL, &[]),
        }
    }
}
