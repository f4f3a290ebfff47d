//! What a device answers: its values sorted by name, each one encoded once as it goes over the wire, all in one run of bytes. A reply is
//! made by copying; what moves with time ([`Motion`]) is written in place of being copied.
//!
//! A tree knows no device: thousands share one. What differs between them (age, pace, name) comes with each question as a [`Moment`].
//!
//! Limits: 1,000,000 values, 256 MiB of encodings.

use std::cmp::Ordering;
use std::ops::Range;

use snmp::ber::tag;
use snmp::{Oid, OidRef};

use crate::encode;
use crate::error::Error;
use crate::motion::{Moment, Motion};
use crate::recording::Recording;
use snmp::Datum;

/// A device's values, ready to be sent.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    /// Whole bindings; of one that moves only its name.
    arena: Vec<u8>,
    cells: Vec<Cell>,
    motions: Vec<Motion>,
    /// The recorded `sysUpTime`, in hundredths of a second.
    uptime: u32,
}

#[derive(Clone, Copy, Debug)]
struct Cell {
    /// Where its encoding begins in the arena, and how long it is.
    at: u32,
    len: u32,
    /// Its place among the motions, or [`STILL`].
    motion: u32,
    /// Where the name's content begins behind `at`, and how long it is.
    name_at: u16,
    name_len: u16,
}

const STILL: u32 = u32::MAX;

impl Tree {
    const ARENA_MAX: usize = 256 << 20;

    /// A tree in which nothing moves but the uptime of the device and of its engine.
    pub fn still(recording: &Recording) -> Result<Self, Error> {
        Self::build(recording.cells(), Motion::of_clock)
    }

    /// A tree in which counters go on as fast as they went while the device was recorded: what they had counted, through its uptime.
    pub fn moving(recording: &Recording) -> Result<Self, Error> {
        let uptime = uptime(recording.cells());
        Self::build(recording.cells(), |name, datum| {
            Motion::of_clock(name, datum).or_else(|| Motion::of_counter(recording, uptime, name, datum))
        })
    }

    /// From sorted values, each name once.
    pub(crate) fn build(
        cells: &[(Oid, Datum)],
        motion: impl Fn(&Oid, &Datum) -> Option<Motion>,
    ) -> Result<Self, Error> {
        let mut tree = Self { uptime: uptime(cells), ..Self::default() };
        for (name, datum) in cells {
            tree.push(name, datum, motion(name, datum))?;
        }
        Ok(tree)
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// The names, sorted.
    pub fn names(&self) -> impl Iterator<Item = OidRef<'_>> {
        (0..self.len()).map(|at| OidRef::from_content(self.name(at)).expect("made from a checked name"))
    }

    /// The recorded `sysUpTime` in hundredths of a second.
    pub(crate) fn uptime(&self) -> u32 {
        self.uptime
    }

    /// The places of all names under this one, itself included.
    pub(crate) fn under(&self, name: OidRef<'_>) -> Range<usize> {
        let start = self.cells.partition_point(|cell| compare(self.name_of(cell), name.content()).is_lt());
        let count =
            self.cells[start..].partition_point(|cell| self.name_of(cell).starts_with(name.content()));
        start..start + count
    }

    /// The place of this name.
    pub(crate) fn find(&self, name: &[u8]) -> Option<usize> {
        self.cells.binary_search_by(|cell| compare(self.name_of(cell), name)).ok()
    }

    /// The place of the first name behind this one; the number of values if there is none.
    pub(crate) fn behind(&self, name: &[u8]) -> usize {
        self.cells.partition_point(|cell| compare(self.name_of(cell), name).is_le())
    }

    /// The name's content bytes.
    pub(crate) fn name(&self, at: usize) -> &[u8] {
        self.name_of(&self.cells[at])
    }

    /// The type of a value.
    pub(crate) fn tag(&self, at: usize) -> u8 {
        let cell = &self.cells[at];
        match self.motions.get(cell.motion as usize) {
            Some(motion) => motion.tag(),
            None => self.arena[cell.at as usize + usize::from(cell.name_at + cell.name_len)],
        }
    }

    /// Appends a whole binding as it is at this moment.
    pub(crate) fn write(&self, at: usize, moment: &Moment<'_>, out: &mut Vec<u8>) {
        let cell = &self.cells[at];
        let bytes = &self.arena[cell.at as usize..(cell.at + cell.len) as usize];
        if cell.motion == STILL {
            return out.extend_from_slice(bytes);
        }
        let start = out.len();
        // One length octet is right for nearly all; a longer binding is moved up by what its length takes more.
        out.extend_from_slice(&[tag::SEQUENCE, 0]);
        out.extend_from_slice(bytes);
        self.motions[cell.motion as usize].write(moment, out);
        let length = out.len() - start - 2;
        if length < 0x80 {
            out[start + 1] = length as u8;
            return;
        }
        let mut octets = Vec::with_capacity(4);
        encode::length(&mut octets, length);
        out.splice(start + 1..start + 2, octets);
    }

    /// The same values with one set or, by `None`, with everything under a name removed. Takes as long as building the tree.
    pub(crate) fn changed(&self, name: &Oid, datum: Option<&Datum>) -> Result<Self, Error> {
        let range = match datum {
            Some(_) => self.behind_or_at(name.view().content()),
            None => self.under(name.view()),
        };
        let mut tree = Self { uptime: self.uptime, ..Self::default() };
        (0..range.start).for_each(|at| tree.copy(self, at));
        if let Some(datum) = datum {
            tree.push(name, datum, None)?;
        }
        (range.end..self.len()).for_each(|at| tree.copy(self, at));
        Ok(tree)
    }

    /// The place of a name, or the empty place where it would be.
    fn behind_or_at(&self, name: &[u8]) -> Range<usize> {
        let behind = self.behind(name);
        self.find(name).unwrap_or(behind)..behind
    }

    fn copy(&mut self, other: &Self, at: usize) {
        let mut cell = other.cells[at];
        let start = self.arena.len() as u32;
        self.arena.extend_from_slice(&other.arena[cell.at as usize..(cell.at + cell.len) as usize]);
        if let Some(motion) = other.motions.get(cell.motion as usize) {
            cell.motion = self.motions.len() as u32;
            self.motions.push(motion.clone());
        }
        cell.at = start;
        self.cells.push(cell);
    }

    fn push(&mut self, name: &Oid, datum: &Datum, motion: Option<Motion>) -> Result<(), Error> {
        let mut value = Vec::new();
        if motion.is_none() {
            crate::datum::append(datum, &mut value);
        }
        let content = name.view().content();
        let at = self.arena.len();
        let name_octets = 1 + encode::length_octets(content.len()) + content.len();
        if motion.is_none() {
            self.arena.push(tag::SEQUENCE);
            encode::length(&mut self.arena, name_octets + value.len());
        }
        let name_at = self.arena.len() - at + name_octets - content.len();
        encode::element(&mut self.arena, tag::OBJECT_IDENTIFIER, content);
        self.arena.extend_from_slice(&value);
        if self.cells.len() == Recording::CELLS_MAX || self.arena.len() > Self::ARENA_MAX {
            return Err(Error::TooLarge { max: Recording::CELLS_MAX, bytes_max: Self::ARENA_MAX });
        }
        self.cells.push(Cell {
            at: at as u32,
            len: (self.arena.len() - at) as u32,
            motion: if motion.is_some() { self.motions.len() as u32 } else { STILL },
            name_at: name_at as u16,
            name_len: content.len() as u16,
        });
        self.motions.extend(motion);
        Ok(())
    }

    fn name_of(&self, cell: &Cell) -> &[u8] {
        let start = cell.at as usize + usize::from(cell.name_at);
        &self.arena[start..start + usize::from(cell.name_len)]
    }
}

/// The order of two names by their content bytes, which are checked and not padded: a group that is longer is larger.
fn compare(a: &[u8], b: &[u8]) -> Ordering {
    let Some(at) = a.iter().zip(b).position(|(a, b)| a != b) else {
        return a.len().cmp(&b.len());
    };
    let start = a[..at].iter().rposition(|&byte| byte & 0x80 == 0).map_or(0, |end| end + 1);
    let group = |name: &[u8]| name[start..].iter().take_while(|&&byte| byte & 0x80 != 0).count();
    group(a).cmp(&group(b)).then(a[at].cmp(&b[at]))
}

fn uptime(cells: &[(Oid, Datum)]) -> u32 {
    let name = crate::motion::SYS_UP_TIME;
    let at = cells.binary_search_by(|(other, _)| compare(other.view().content(), name));
    match at.map(|at| &cells[at].1) {
        Ok(Datum::TimeTicks(ticks)) => *ticks,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name() -> impl Strategy<Value = Oid> {
        let arc = prop_oneof![0..3_u32, 120..140_u32, any::<u32>()];
        prop::collection::vec(arc, 0..6).prop_map(|mut arcs| {
            arcs.splice(0..0, [1, 3]);
            Oid::from_arcs(&arcs).expect("good")
        })
    }

    proptest! {
        #[test]
        fn the_order_is_that_of_the_names(a in name(), b in name()) {
            prop_assert_eq!(compare(a.view().content(), b.view().content()), a.cmp(&b));
        }

        #[test]
        fn places_are_those_of_a_sorted_map(names in prop::collection::btree_set(name(), 1..30), asked in name()) {
            let recording: Recording = names.iter().map(|name| (name.clone(), Datum::Null)).collect();
            let tree = Tree::still(&recording).expect("small");
            prop_assert_eq!(tree.names().map(OidRef::to_oid).collect::<Vec<_>>(), names.iter().cloned().collect::<Vec<_>>());
            let content = asked.view();
            prop_assert_eq!(tree.find(content.content()), names.iter().position(|name| *name == asked));
            prop_assert_eq!(tree.behind(content.content()), names.iter().filter(|name| **name <= asked).count());
            let under = names.iter().filter(|name| name.view().strip_prefix(content).is_some()).count();
            prop_assert_eq!(tree.under(content).len(), under);
            let set = tree.changed(&asked, Some(&Datum::Integer(1))).expect("small");
            prop_assert!(set.names().is_sorted() && set.find(content.content()).is_some());
            let removed = set.changed(&asked, None).expect("small");
            prop_assert_eq!(removed.len(), names.len() - under);
        }
    }
}
