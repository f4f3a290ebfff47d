//! What a round read, without a heap object per value: 24 bytes a cell in one list, and the bytes of texts and long indices in another.
//!
//! Millions of cells pass here: writing and reading one is inlined into its caller's loop, because a value that is handed over through
//! memory costs more than all else that is done with it.

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
    /// Texts, identifiers, and indices that are too long for their record.
    bytes: Vec<u8>,
}

/// A cell, packed. A value that is bytes lies at `bytes[at..]`, behind the index if that lies there too.
#[derive(Clone, Copy, Debug)]
struct Record {
    /// The number itself, or the length of the value's bytes.
    number: u64,
    at: u32,
    column: u16,
    kind: Kind,
    /// Bytes of the index that stand in `index`; [`LONG`] if it lies in `Rows::bytes` and `index` says how long it is.
    index_len: u8,
    index: [u8; INDEX_BYTES],
}

/// Indices of interfaces, sensors, modules: nearly all that there are.
const INDEX_BYTES: usize = 8;
const LONG: u8 = u8::MAX;

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
    /// Bytes of texts and long indices after which nothing more is taken; offsets of 32 bits reach four times as far.
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
    #[inline]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Cell<'_>> {
        self.records.iter().map(|record| self.cell(record))
    }

    /// Appends a cell. Exceptions are no values and are refused by an assertion: who reads packets sorts them out.
    #[inline(always)]
    pub(crate) fn push(&mut self, column: u16, index: Index<'_>, value: Value<'_>) {
        let at = u32::try_from(self.bytes.len()).expect("nothing is pushed once it is full");
        let octets = index.as_bytes();
        let (index_len, index) = match octets.len() {
            // Byte by byte: a call of memcpy takes longer than the one or two that most are.
            short @ 0..=INDEX_BYTES => {
                let mut index = [0; INDEX_BYTES];
                index.iter_mut().zip(octets).for_each(|(to, from)| *to = *from);
                (short as u8, index)
            }
            long => {
                self.bytes.extend_from_slice(octets);
                (LONG, (long as u64).to_le_bytes())
            }
        };
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
        self.records.push(Record { number, at, column, kind, index_len, index });
    }

    /// The same where it is not a loop's business.
    #[inline(never)]
    pub(crate) fn push_rare(&mut self, column: u16, index: Index<'_>, value: Value<'_>) {
        self.push(column, index, value);
    }

    /// Makes room for about this many cells, so that a table which was read before is not moved while it grows.
    pub(crate) fn reserve(&mut self, cells: usize, bytes: usize) {
        self.records.reserve(cells);
        self.bytes.reserve(bytes);
    }

    // Texts are few, and not what the loop is made for.
    #[inline(never)]
    fn keep(&mut self, bytes: &[u8]) -> u64 {
        self.bytes.extend_from_slice(bytes);
        bytes.len() as u64
    }

    #[inline(always)]
    fn cell<'a>(&'a self, record: &'a Record) -> Cell<'a> {
        let at = record.at as usize;
        let (index, behind) = match record.index_len {
            LONG => {
                let behind = at + u64::from_le_bytes(record.index) as usize;
                (&self.bytes[at..behind], behind)
            }
            short => (&record.index[..usize::from(short)], at),
        };
        let (number, number32) = (record.number, record.number as u32);
        let bytes = || &self.bytes[behind..][..number as usize];
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
        let long = other.view().strip_prefix(oid("1.3.6.1").view()).expect("below");
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
        assert!(index.as_bytes().len() < 8 && long.as_bytes().len() > 8);
        let mut rows = Rows::default();
        let mut expected = Vec::new();
        let empty = Index::from_checked(&[]);
        for (column, value) in (0..).zip(values) {
            for index in [index, long, empty] {
                rows.push(column, index, value);
                expected.push(Cell { column, index, value });
            }
        }
        assert_eq!(rows.iter().collect::<Vec<_>>(), expected);
    }

    proptest! {
        #[test]
        fn texts_and_indices_of_any_length_do_not_run_into_each_other(
            cells in prop::collection::vec(
                (prop::collection::vec(any::<u32>(), 0..40), prop::collection::vec(any::<u8>(), 0..300)),
                0..50,
            ),
        ) {
            let column = oid("1.3.6.1.2");
            let names: Vec<Oid> = cells.iter().map(|(arcs, _)| column.child(arcs).expect("short")).collect();
            let mut rows = Rows::default();
            for (name, (_, text)) in names.iter().zip(&cells) {
                let index = name.view().strip_prefix(column.view()).expect("below");
                rows.push(3, index, Value::OctetString(text));
            }
            for (cell, (arcs, text)) in rows.iter().zip(&cells) {
                prop_assert_eq!(&cell.index.arcs().collect::<Vec<_>>(), arcs);
                prop_assert_eq!(cell.value, Value::OctetString(text));
            }
            prop_assert_eq!(rows.len(), cells.len());
        }
    }
}
