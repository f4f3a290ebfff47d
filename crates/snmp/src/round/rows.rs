//! What a round read, without a heap object per value: 24 bytes a cell in one list, and the bytes of indices and texts in another.

use std::net::Ipv4Addr;

use crate::oid::{Index, OidRef};
use crate::value::Value;

/// One value of a table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cell<'a> {
    /// Which column, by its place in [`Table::columns`](super::Table::columns).
    pub column: u16,
    /// Which row.
    pub index: Index<'a>,
    /// The value; never one of v2c's exceptions.
    pub value: Value<'a>,
}

/// Cells in the order in which they came: columns that were asked together alternate, each column is in the agent's order.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    records: Vec<Record>,
    /// Indices, texts, identifiers.
    bytes: Vec<u8>,
}

/// A cell, packed. `bytes[at..][..index_len]` is the index; values that are bytes lie behind it.
#[derive(Clone, Copy, Debug)]
struct Record {
    /// The number itself, or the length of the value's bytes.
    number: u64,
    at: u32,
    index_len: u16,
    column: u16,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Integer,
    OctetString,
    Oid,
    IpAddress,
    Counter32,
    Gauge32,
    TimeTicks,
    Opaque,
    Counter64,
    Null,
}

impl Rows {
    /// Bytes of indices and texts after which nothing more is taken; offsets of 32 bits reach four times as far.
    const BYTES_MAX: usize = 1 << 30;

    /// Whether no more is taken.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes.len() >= Self::BYTES_MAX
    }

    /// Number of cells.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Bytes of memory in use, spare room not counted.
    pub fn size_bytes(&self) -> usize {
        self.records.len() * size_of::<Record>() + self.bytes.len()
    }

    /// The cells.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Cell<'_>> {
        self.records.iter().map(|record| self.cell(record))
    }

    /// Appends a cell. Exceptions are no values and are refused by an assertion: who reads packets sorts them out.
    pub(crate) fn push(&mut self, column: u16, index: Index<'_>, value: Value<'_>) {
        let at = u32::try_from(self.bytes.len()).expect("nothing is pushed once it is full");
        let index_len = u16::try_from(index.as_bytes().len()).expect("128 arcs of 5 bytes fit");
        self.bytes.extend_from_slice(index.as_bytes());
        let (kind, number) = match value {
            Value::Integer(number) => (Kind::Integer, i64::from(number) as u64),
            Value::OctetString(bytes) => (Kind::OctetString, self.keep(bytes)),
            Value::Oid(oid) => (Kind::Oid, self.keep(oid.content())),
            Value::IpAddress(address) => (Kind::IpAddress, u64::from(u32::from(address))),
            Value::Counter32(number) => (Kind::Counter32, number.into()),
            Value::Gauge32(number) => (Kind::Gauge32, number.into()),
            Value::TimeTicks(number) => (Kind::TimeTicks, number.into()),
            Value::Opaque(bytes) => (Kind::Opaque, self.keep(bytes)),
            Value::Counter64(number) => (Kind::Counter64, number),
            Value::Null => (Kind::Null, 0),
            Value::NoSuchObject | Value::NoSuchInstance | Value::EndOfMibView => {
                unreachable!("an exception is no value")
            }
        };
        self.records.push(Record { number, at, index_len, column, kind });
    }

    /// Makes room for about this many cells, so that a table which was read before is not moved while it grows.
    pub(crate) fn reserve(&mut self, cells: usize, bytes: usize) {
        self.records.reserve(cells);
        self.bytes.reserve(bytes);
    }

    fn keep(&mut self, bytes: &[u8]) -> u64 {
        self.bytes.extend_from_slice(bytes);
        bytes.len() as u64
    }

    fn cell<'a>(&'a self, record: &Record) -> Cell<'a> {
        let (index, rest) = self.bytes[record.at as usize..].split_at(record.index_len.into());
        let (number, number32) = (record.number, record.number as u32);
        let bytes = || &rest[..number as usize];
        let value = match record.kind {
            Kind::Integer => Value::Integer(number as i32),
            Kind::OctetString => Value::OctetString(bytes()),
            Kind::Oid => Value::Oid(OidRef::from_checked(bytes())),
            Kind::IpAddress => Value::IpAddress(Ipv4Addr::from(number32)),
            Kind::Counter32 => Value::Counter32(number32),
            Kind::Gauge32 => Value::Gauge32(number32),
            Kind::TimeTicks => Value::TimeTicks(number32),
            Kind::Opaque => Value::Opaque(bytes()),
            Kind::Counter64 => Value::Counter64(number),
            Kind::Null => Value::Null,
        };
        Cell { column: record.column, index: Index::from_checked(index), value }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::oid::Oid;

    fn oid(text: &str) -> Oid {
        text.parse().expect("a good OID")
    }

    #[test]
    fn a_cell_takes_24_bytes() {
        assert_eq!(size_of::<Record>(), 24);
    }

    #[test]
    fn every_kind_of_value_returns_as_it_came() {
        let (name, other) = (oid("1.3.6.1.4.1.9"), oid("1.3.6.1.2.1.2.2.1.10.4294967295.7"));
        let index = other.view().strip_prefix(oid("1.3.6.1.2.1.2.2.1.10").view()).expect("below");
        let values = [
            Value::Integer(i32::MIN),
            Value::OctetString(b"eth0"),
            Value::OctetString(b""),
            Value::Oid(name.view()),
            Value::IpAddress(Ipv4Addr::new(10, 0, 0, 255)),
            Value::Counter32(u32::MAX),
            Value::Gauge32(7),
            Value::TimeTicks(1),
            Value::Opaque(&[0x9f, 0x78, 4, 0x3f, 0xc0, 0, 0]),
            Value::Counter64(u64::MAX),
            Value::Null,
        ];
        let mut rows = Rows::default();
        for (column, value) in (0..).zip(values) {
            rows.push(column, index, value);
        }
        let expected: Vec<_> =
            (0..).zip(values).map(|(column, value)| Cell { column, index, value }).collect();
        assert_eq!(rows.iter().collect::<Vec<_>>(), expected);
    }

    proptest! {
        #[test]
        fn texts_of_any_length_do_not_run_into_each_other(texts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..50)) {
            let (column, name) = (oid("1.3.6.1.2"), oid("1.3.6.1.2.5"));
            let index = name.view().strip_prefix(column.view()).expect("below");
            let mut rows = Rows::default();
            texts.iter().for_each(|text| rows.push(3, index, Value::OctetString(text)));
            let back: Vec<_> = rows.iter().map(|cell| cell.value).collect();
            prop_assert_eq!(back, texts.iter().map(|text| Value::OctetString(text)).collect::<Vec<_>>());
        }
    }
}
