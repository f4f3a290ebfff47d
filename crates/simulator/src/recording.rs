//! Recordings of devices in the snmpsim text format: one `OID|TAG|VALUE` a line, TAG the number of the ASN.1 type with an `x` behind
//! it where the value is in hexadecimal and an `e` where it has backslash escapes.
//!
//! In: the bytes of a file. Out: its values, sorted, each name once, and an account of what was left out ([`Dropped`]).
//!
//! Real files are odd, and one odd line is no reason to refuse the other ten thousand: names out of order are sorted, the first of two
//! equal names is kept, and a line whose name, tag or value makes no sense (`<IPADDR>` in a name, `<private>` for an address, a number
//! out of its type's range) is dropped and counted. A line that is no line of the format at all is an error with its number.
//!
//! Not done: snmpsim's variation modules (`66:numeric|rate=...`), which are dropped and counted; what moves is decided by
//! [`Tree`](crate::Tree).
//!
//! Limits: 64 MiB of text, 1,000,000 values, 60,000 bytes a value, OIDs of 128 arcs.

use std::fmt;
use std::net::Ipv4Addr;

use snmp::Oid;

use crate::error::Error;
use snmp::Datum;

/// What a device answered when it was recorded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recording {
    cells: Vec<(Oid, Datum)>,
    dropped: Dropped,
}

/// Why a line of a recording was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Odd {
    /// The name was there before; the first one is kept.
    Duplicate,
    /// The name is no OID.
    Name,
    /// The tag is no type that a device can send, or calls for a variation module.
    Tag,
    /// The value is not one of the tag's type, or out of its range.
    Value,
    /// The value does not fit a datagram.
    Long,
}

/// What was left out of a recording.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dropped {
    lines: usize,
    first: Vec<(usize, Odd)>,
}

impl Dropped {
    /// Lines that were left out.
    pub fn lines(&self) -> usize {
        self.lines
    }

    /// The first hundred of them: line number from 1, and why.
    pub fn first(&self) -> &[(usize, Odd)] {
        &self.first
    }

    fn add(&mut self, line: usize, odd: Odd) {
        const KEPT_MAX: usize = 100;
        self.lines += 1;
        if self.first.len() < KEPT_MAX {
            self.first.push((line, odd));
        }
    }
}

impl Recording {
    /// Most bytes of text.
    pub const BYTES_MAX: usize = 64 << 20;
    /// Most values.
    pub const CELLS_MAX: usize = 1_000_000;
    /// Most bytes of one value.
    pub const VALUE_BYTES_MAX: usize = 60_000;

    /// Reads a recording. Empty lines and lines that begin with `#` are passed over.
    pub fn parse(text: impl AsRef<[u8]>) -> Result<Self, Error> {
        let text = text.as_ref();
        let refuse = |line, what, hint| Err(Error::Recording { line, what, hint });
        if text.len() > Self::BYTES_MAX {
            return refuse(1, "a recording of more than 64 MiB", "record the tables that matter");
        }
        let mut numbered = Vec::new();
        let mut dropped = Dropped::default();
        for (at, line) in text.split(|&byte| byte == b'\n').enumerate() {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let mut fields = line.splitn(3, |&byte| byte == b'|');
            let (Some(name), Some(tag), Some(value)) = (fields.next(), fields.next(), fields.next()) else {
                let hint = "write OID|TAG|VALUE, or put # in front of a remark";
                return refuse(at + 1, "a line without two bars", hint);
            };
            if numbered.len() == Self::CELLS_MAX {
                return refuse(at + 1, "more than 1,000,000 values", "record the tables that matter");
            }
            match read_line(name, tag, value) {
                Ok((name, datum)) => numbered.push((name, at + 1, datum)),
                Err(odd) => dropped.add(at + 1, odd),
            }
        }
        let recording = Self::sorted(numbered, dropped);
        if recording.cells.is_empty() {
            return Err(Error::Empty { dropped: recording.dropped.lines });
        }
        Ok(recording)
    }

    /// The values, sorted by name.
    pub fn cells(&self) -> &[(Oid, Datum)] {
        &self.cells
    }

    /// The value of this name.
    pub fn get(&self, name: &Oid) -> Option<&Datum> {
        self.cells.binary_search_by(|(other, _)| other.cmp(name)).ok().map(|at| &self.cells[at].1)
    }

    /// What was left out.
    pub fn dropped(&self) -> &Dropped {
        &self.dropped
    }

    fn sorted(mut numbered: Vec<(Oid, usize, Datum)>, mut dropped: Dropped) -> Self {
        numbered.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.cmp(&b.1)));
        let mut cells: Vec<(Oid, Datum)> = Vec::with_capacity(numbered.len());
        for (name, line, datum) in numbered {
            match cells.last() {
                Some((last, _)) if *last == name => dropped.add(line, Odd::Duplicate),
                _ => cells.push((name, datum)),
            }
        }
        dropped.first.sort_unstable();
        Self { cells, dropped }
    }
}

/// From values that are at hand; of equal names the first is kept. Exceptions are no values, and left out.
impl FromIterator<(Oid, Datum)> for Recording {
    fn from_iter<T: IntoIterator<Item = (Oid, Datum)>>(cells: T) -> Self {
        let values = cells.into_iter().filter(|(_, datum)| !datum.value().is_exception());
        let numbered = values.enumerate().map(|(at, (name, datum))| (name, at + 1, datum));
        Self::sorted(numbered.collect(), Dropped::default())
    }
}

/// The text of the recording; what [`Recording::parse`] reads from it is equal.
impl fmt::Display for Recording {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cells.iter().try_for_each(|(name, datum)| write_line(out, name, datum))
    }
}

fn write_line(out: &mut fmt::Formatter<'_>, name: &Oid, datum: &Datum) -> fmt::Result {
    write!(out, "{name}|")?;
    match datum {
        Datum::Integer(number) => writeln!(out, "2|{number}"),
        Datum::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) if !text.contains(|letter: char| letter.is_control()) => writeln!(out, "4|{text}"),
            _ => write_hex(out, "4x", bytes),
        },
        Datum::Null => writeln!(out, "5|"),
        Datum::Oid(oid) => writeln!(out, "6|{oid}"),
        Datum::IpAddress(address) => writeln!(out, "64|{address}"),
        Datum::Counter32(number) => writeln!(out, "65|{number}"),
        Datum::Gauge32(number) => writeln!(out, "66|{number}"),
        Datum::TimeTicks(number) => writeln!(out, "67|{number}"),
        Datum::Opaque(bytes) => write_hex(out, "68x", bytes),
        Datum::Counter64(number) => writeln!(out, "70|{number}"),
        Datum::NoSuchObject | Datum::NoSuchInstance | Datum::EndOfMibView => {
            unreachable!("a recording holds values alone")
        }
    }
}

fn write_hex(out: &mut fmt::Formatter<'_>, tag: &str, bytes: &[u8]) -> fmt::Result {
    write!(out, "{tag}|")?;
    bytes.iter().try_for_each(|byte| write!(out, "{byte:02X}"))?;
    writeln!(out)
}

fn read_line(name: &[u8], tag: &[u8], value: &[u8]) -> Result<(Oid, Datum), Odd> {
    let name = oid(name).ok_or(Odd::Name)?;
    let digits = tag.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, suffix) = tag.split_at(digits);
    let number: u8 = text(number).and_then(|text| text.parse().ok()).ok_or(Odd::Tag)?;
    let bytes = match suffix {
        b"" => value.to_vec(),
        // Doubled in some files; the value is as with one.
        b"x" | b"xx" => hex(value).ok_or(Odd::Value)?,
        b"e" => unescape(value),
        _ => return Err(Odd::Tag),
    };
    if bytes.len() > Recording::VALUE_BYTES_MAX {
        return Err(Odd::Long);
    }
    Ok((name, datum(number, bytes, suffix.is_empty())?))
}

/// `plain`: numbers, addresses and OIDs are text; else they are the octets that went over the wire.
fn datum(tag: u8, bytes: Vec<u8>, plain: bool) -> Result<Datum, Odd> {
    let value = match tag {
        2 => number(&bytes, plain).and_then(|number| number.try_into().ok()).map(Datum::Integer),
        4 => Some(Datum::Bytes(bytes)),
        5 => Some(Datum::Null),
        6 if bytes.trim_ascii().is_empty() => oid(b"0.0").map(Datum::Oid),
        6 => oid(&bytes).map(Datum::Oid),
        64 => address(&bytes, plain).map(Datum::IpAddress),
        65 => number(&bytes, plain).and_then(|number| number.try_into().ok()).map(Datum::Counter32),
        66 | 71 => number(&bytes, plain).and_then(|number| number.try_into().ok()).map(Datum::Gauge32),
        67 => number(&bytes, plain).and_then(|number| number.try_into().ok()).map(Datum::TimeTicks),
        68 => Some(Datum::Opaque(bytes)),
        70 => number(&bytes, plain).and_then(|number| number.try_into().ok()).map(Datum::Counter64),
        _ => return Err(Odd::Tag),
    };
    value.ok_or(Odd::Value)
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

fn oid(bytes: &[u8]) -> Option<Oid> {
    text(bytes.trim_ascii())?.parse().ok()
}

fn number(bytes: &[u8], plain: bool) -> Option<i128> {
    if plain {
        return text(bytes.trim_ascii())?.parse().ok();
    }
    // Nine octets are a Counter64 with its sign; sixteen fit.
    (1..=9)
        .contains(&bytes.len())
        .then(|| bytes.iter().fold(0, |number, &byte| number << 8 | i128::from(byte)))
}

fn address(bytes: &[u8], plain: bool) -> Option<Ipv4Addr> {
    if plain {
        return text(bytes.trim_ascii())?.parse().ok();
    }
    <[u8; 4]>::try_from(bytes).ok().map(Ipv4Addr::from)
}

/// Pairs of digits; spaces between them are passed over.
fn hex(bytes: &[u8]) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = bytes
        .iter()
        .filter(|byte| !byte.is_ascii_whitespace())
        .map(|&byte| char::from(byte).to_digit(16).map(|digit| digit as u8))
        .collect();
    let digits = digits.filter(|digits| digits.len().is_multiple_of(2))?;
    Some(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

/// Python's escapes: `\xNN`, `\n`, `\r`, `\t`; any other character behind a backslash is itself.
fn unescape(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        let Some((&escaped, after)) = rest.split_first() else {
            out.push(byte);
            break;
        };
        rest = after;
        match (escaped, rest.get(..2).and_then(hex)) {
            (b'x', Some(pair)) if pair.len() == 1 => {
                out.push(pair[0]);
                rest = &rest[2..];
            }
            (b'n', _) => out.push(b'\n'),
            (b'r', _) => out.push(b'\r'),
            (b't', _) => out.push(b'\t'),
            (other, _) => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests;
