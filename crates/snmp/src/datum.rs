//! One value with its bytes owned: what an agent holds, in the simulator and in tests.

use std::net::Ipv4Addr;

use crate::oid::Oid;
use crate::value::Value;

/// An owned [`Value`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of `Value`")]
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
    NoSuchObject,
    NoSuchInstance,
    EndOfMibView,
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
            Self::NoSuchObject => Value::NoSuchObject,
            Self::NoSuchInstance => Value::NoSuchInstance,
            Self::EndOfMibView => Value::EndOfMibView,
        }
    }
}
