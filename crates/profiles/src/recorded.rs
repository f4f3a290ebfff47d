//! Recordings of devices in snmpsim's text format, `OID|TAG|VALUE` a line, read into what an evaluator takes.
//!
//! Trials in profile files and `pantau-agent snmp test` use it. Order does not matter and a later line of the same OID counts; what a
//! file of another tool may hold beside plain lines (variation modules, addresses made unreadable) is refused with its line, or left
//! out and counted by [`Recorded::parse_what_can_be`].

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use snmp::{Index, Oid, Value};

use crate::evaluator::Readings;
use crate::limits::RECORDING_LINES_MAX;
use crate::profile::Plan;

/// Why a line is no recording.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct RecordedError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub what: String,
}

/// A device as it was recorded.
#[derive(Clone, Debug, Default)]
pub struct Recorded {
    values: BTreeMap<Oid, Owned>,
}

#[derive(Clone, Debug, PartialEq)]
enum Owned {
    Integer(i32),
    Octets(Vec<u8>),
    Oid(Oid),
    Address(Ipv4Addr),
    Counter32(u32),
    Gauge32(u32),
    Ticks(u32),
    Opaque(Vec<u8>),
    Counter64(u64),
    Null,
}

impl Owned {
    fn view(&self) -> Value<'_> {
        match self {
            Self::Integer(number) => Value::Integer(*number),
            Self::Octets(bytes) => Value::OctetString(bytes),
            Self::Oid(oid) => Value::Oid(oid.view()),
            Self::Address(address) => Value::IpAddress(*address),
            Self::Counter32(number) => Value::Counter32(*number),
            Self::Gauge32(number) => Value::Gauge32(*number),
            Self::Ticks(number) => Value::TimeTicks(*number),
            Self::Opaque(bytes) => Value::Opaque(bytes),
            Self::Counter64(number) => Value::Counter64(*number),
            Self::Null => Value::Null,
        }
    }
}

impl Recorded {
    /// Reads a recording; empty lines and lines that begin with `#` are passed over.
    ///
    /// # Errors
    /// The first line that is none.
    pub fn parse(bytes: &[u8]) -> Result<Self, RecordedError> {
        let mut recorded = Self::default();
        recorded.read(bytes, Err)?;
        Ok(recorded)
    }

    /// As [`parse`](Self::parse), but leaves out what it cannot read and says how many lines that were.
    pub fn parse_what_can_be(bytes: &[u8]) -> (Self, usize) {
        let (mut recorded, mut skipped) = (Self::default(), 0);
        let count = |_| {
            skipped += 1;
            Ok(())
        };
        recorded.read(bytes, count).expect("every fault is passed over");
        (recorded, skipped)
    }

    fn read(
        &mut self,
        bytes: &[u8],
        mut on_fault: impl FnMut(RecordedError) -> Result<(), RecordedError>,
    ) -> Result<(), RecordedError> {
        for (line, number) in bytes.split(|&byte| byte == b'\n').zip(1..) {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.trim_ascii().is_empty() || line.starts_with(b"#") {
                continue;
            }
            let read = if number > RECORDING_LINES_MAX {
                Err("the recording is too long".to_owned())
            } else {
                read_line(line)
            };
            match read {
                Ok((oid, value)) => drop(self.values.insert(oid, value)),
                Err(what) => on_fault(RecordedError { line: number, what })?,
            }
        }
        Ok(())
    }

    /// The value of an instance.
    pub fn get(&self, oid: &Oid) -> Option<Value<'_>> {
        self.values.get(oid).map(Owned::view)
    }

    /// Every instance, in the order of OIDs.
    pub fn iter(&self) -> impl Iterator<Item = (&Oid, Value<'_>)> {
        self.values.iter().map(|(oid, value)| (oid, value.view()))
    }

    /// The device's sysObjectID; `0.0` where it has none.
    pub fn sys_object_id(&self) -> Oid {
        match self.get(&constant("1.3.6.1.2.1.1.2.0")) {
            Some(Value::Oid(oid)) => oid.to_oid(),
            _ => constant("0.0"),
        }
    }

    /// The device's sysDescr.
    pub fn sys_descr(&self) -> String {
        match self.get(&constant("1.3.6.1.2.1.1.1.0")) {
            Some(Value::OctetString(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
            _ => String::new(),
        }
    }

    /// Everything that a plan asks for, as if every table had been read whole.
    pub fn readings(&self, plan: &Plan) -> Readings<'_> {
        let mut readings = Readings::new();
        for (at, table) in plan.tables.iter().enumerate() {
            let columns: Vec<Oid> = table.columns.clone();
            let cells = columns.into_iter().zip(0u16..).flat_map(|(column, number)| {
                self.column(column).map(move |(index, value)| (number, index, value))
            });
            readings.table(at, true, cells);
        }
        for (at, group) in plan.scalars.iter().enumerate() {
            let values: Vec<_> = group
                .oids
                .iter()
                .zip(0u16..)
                .filter_map(|(oid, number)| Some((number, self.get(oid)?)))
                .collect();
            readings.scalars(at, values.into_iter());
        }
        readings
    }

    fn column(&self, column: Oid) -> impl Iterator<Item = (Index<'_>, Value<'_>)> {
        let range = self.values.range(column.clone()..);
        range.map_while(move |(oid, value)| {
            let index = oid.view().strip_prefix(column.view())?;
            Some((index, value.view()))
        })
    }
}

fn constant(text: &str) -> Oid {
    text.parse().expect("identifiers in this program are good")
}

fn read_line(line: &[u8]) -> Result<(Oid, Owned), String> {
    let mut parts = line.splitn(3, |&byte| byte == b'|');
    let (Some(oid), Some(tag), Some(value)) = (parts.next(), parts.next(), parts.next()) else {
        return Err("a line has the form OID|TAG|VALUE".into());
    };
    let utf8 =
        |bytes| std::str::from_utf8(bytes).map_err(|_| "only values may be other than UTF-8".to_owned());
    let oid: Oid = utf8(oid)?.trim().parse().map_err(|error| format!("{error}"))?;
    let tag = utf8(tag)?;
    if let Some(tag) = tag.strip_suffix('x') {
        let bytes = from_hex(value).ok_or("a tag with x is followed by pairs of hexadecimal digits")?;
        return read_bytes(tag, bytes).map(|value| (oid, value));
    }
    if tag == "4e" {
        return Ok((
            oid,
            Owned::Octets(unescaped(value).ok_or("a tag with e is followed by text with \\xNN escapes")?),
        ));
    }
    let value = match tag {
        "4" | "68" => return read_bytes(tag, value.to_vec()).map(|value| (oid, value)),
        "5" => Owned::Null,
        "6" => Owned::Oid(utf8(value)?.trim().parse().map_err(|error| format!("{error}"))?),
        "64" => Owned::Address(utf8(value)?.trim().parse().map_err(|_| "no IPv4 address".to_owned())?),
        "2" => Owned::Integer(number(utf8(value)?)?),
        "65" => Owned::Counter32(number(utf8(value)?)?),
        "66" => Owned::Gauge32(number(utf8(value)?)?),
        "67" => Owned::Ticks(number(utf8(value)?)?),
        "70" => Owned::Counter64(number(utf8(value)?)?),
        other => return Err(format!("{other:?} is no tag that can be read")),
    };
    Ok((oid, value))
}

fn read_bytes(tag: &str, bytes: Vec<u8>) -> Result<Owned, String> {
    match tag {
        "4" => Ok(Owned::Octets(bytes)),
        "68" => Ok(Owned::Opaque(bytes)),
        "64" => <[u8; 4]>::try_from(bytes)
            .map(|octets| Owned::Address(octets.into()))
            .map_err(|_| "no IPv4 address".into()),
        other => Err(format!("\"{other}x\" is no tag that can be read")),
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.trim().parse().map_err(|_| format!("{text:?} is no number of this tag"))
}

/// snmpsim's escapes, as Python writes them.
fn unescaped(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [byte, after @ ..] = rest {
        rest = after;
        if *byte != b'\\' {
            out.push(*byte);
            continue;
        }
        let (escape, after) = rest.split_first()?;
        rest = after;
        match escape {
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'x' => {
                let (digits, after) = rest.split_at_checked(2)?;
                out.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
                rest = after;
            }
            other => out.push(*other),
        }
    }
    Some(out)
}

fn from_hex(text: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text).ok()?.trim();
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: Result<(&str, Value<'_>), &str>) {
        match (Recorded::parse(line.as_bytes()), expected) {
            (Ok(recorded), Ok((oid, value))) => {
                assert_eq!(recorded.get(&constant(oid)), Some(value), "{line}")
            }
            (Err(error), Err(what)) => assert!(error.what.contains(what), "{line}: {error}"),
            (got, expected) => panic!("{line}: {got:?}, not {expected:?}"),
        }
    }

    #[test]
    fn reads_lines_of_every_tag() {
        check("1.3.6.1|2|-5", Ok(("1.3.6.1", Value::Integer(-5))));
        check(".1.3.6.1|4|a|b", Ok(("1.3.6.1", Value::OctetString(b"a|b"))));
        check("1.3.6.1|4x|00ff", Ok(("1.3.6.1", Value::OctetString(&[0, 255]))));
        check("1.3.6.1|6|.1.3.6", Ok(("1.3.6.1", Value::Oid(constant("1.3.6").view()))));
        check("1.3.6.1|64|10.0.0.1", Ok(("1.3.6.1", Value::IpAddress([10, 0, 0, 1].into()))));
        check("1.3.6.1|64x|0a000001", Ok(("1.3.6.1", Value::IpAddress([10, 0, 0, 1].into()))));
        check("1.3.6.1|70|18446744073709551615", Ok(("1.3.6.1", Value::Counter64(u64::MAX))));
        check("# nothing\n\n1.3.6.1|5|\r\n", Ok(("1.3.6.1", Value::Null)));
        check("1.3.6.1|4e|(\\x00\\\"\\n", Ok(("1.3.6.1", Value::OctetString(b"(\0\"\n"))));
        check("1.3.6.1|65|-1", Err("no number"));
        check("1.3.6.1|4:writecache|x", Err("no tag"));
        check("1.3.6.1|4x|0", Err("hexadecimal"));
        check("1.3.6.1", Err("OID|TAG|VALUE"));
        check("1.3.<IPADDR>|2|1", Err("arc"));
    }

    #[test]
    fn what_cannot_be_read_is_counted() {
        let (recorded, skipped) = Recorded::parse_what_can_be(b"1.3.6.1|2|1\nnonsense\n1.3.6.2|4:x|x\n");
        assert_eq!((recorded.values.len(), skipped), (1, 2));
    }
}
