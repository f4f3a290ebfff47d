//! What an agent answers to GET, GETNEXT and GETBULK (RFC 3416 section 4.2, RFC 1157 for v1, RFC 3584 for Counter64 in v1): bindings
//! appended to a run of bytes, and an error status.
//!
//! One thing cannot be known from values alone: whether an object exists of which there is no instance. A name beside a recorded one
//! that differs only in its last arc, or that lies in the same column of `ifTable` and its like, is taken for an instance of the same
//! object (noSuchInstance); everything else is noSuchObject.

use snmp::ber::tag;
use snmp::{Pdu, PduKind};

use crate::encode;
use crate::motion::Moment;
use crate::tree::Tree;
use crate::view::View;

/// Error status and index; 0 and 0 when all is well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) status: i32,
    pub(crate) index: i32,
}

pub(crate) const TOO_BIG: i32 = 1;
pub(crate) const NO_SUCH_NAME: i32 = 2;
pub(crate) const GEN_ERR: i32 = 5;

/// Who answers whom.
#[derive(Clone, Copy)]
pub(crate) struct Agent<'a> {
    pub(crate) tree: &'a Tree,
    pub(crate) view: &'a View,
    pub(crate) moment: Moment<'a>,
    pub(crate) v1: bool,
    /// Most bytes of bindings.
    pub(crate) room: usize,
}

impl Agent<'_> {
    /// Appends the bindings of the answer. `varbinds` counts them.
    pub(crate) fn answer(&self, pdu: &Pdu<'_>, list: &mut Vec<u8>, varbinds: &mut u64) -> Status {
        let start = list.len();
        let answered = match pdu.kind {
            PduKind::Get => self.each(pdu, list, Self::get),
            PduKind::GetNext => self.each(pdu, list, Self::next),
            _ => {
                let (done, count) = self.bulk(pdu, list);
                *varbinds += count;
                return match done {
                    true => Status::default(),
                    false => self.refuse(pdu, list, start, Status { status: TOO_BIG, index: 0 }),
                };
            }
        };
        match answered {
            Ok(()) => {
                *varbinds += pdu.varbinds.len() as u64;
                Status::default()
            }
            Err(status) => self.refuse(pdu, list, start, status),
        }
    }

    /// Puts what belongs beside an error in place of the bindings: those of the request, and none beside tooBig since v2.
    pub(crate) fn refuse(&self, pdu: &Pdu<'_>, list: &mut Vec<u8>, start: usize, status: Status) -> Status {
        list.truncate(start);
        if self.v1 || status.status != TOO_BIG {
            pdu.varbinds.iter().for_each(|varbind| nothing(list, varbind.name.content(), tag::NULL));
        }
        status
    }

    fn each(
        &self,
        pdu: &Pdu<'_>,
        list: &mut Vec<u8>,
        one: impl Fn(&Self, &[u8], &mut Vec<u8>) -> bool,
    ) -> Result<(), Status> {
        let start = list.len();
        for (at, varbind) in pdu.varbinds.iter().enumerate() {
            if !one(self, varbind.name.content(), list) {
                return Err(Status { status: NO_SUCH_NAME, index: at as i32 + 1 });
            }
            if list.len() - start > self.room {
                return Err(Status { status: TOO_BIG, index: 0 });
            }
        }
        Ok(())
    }

    /// False where v1 has no such name.
    fn get(&self, name: &[u8], list: &mut Vec<u8>) -> bool {
        let found = self.tree.find(name).filter(|&at| self.view.holds(at) && self.speaks(at));
        match found {
            Some(at) => self.tree.write(at, &self.moment, list),
            None if self.v1 => return false,
            None => nothing(list, name, self.exception(name)),
        }
        true
    }

    /// False where there is nothing behind the name in v1.
    fn next(&self, name: &[u8], list: &mut Vec<u8>) -> bool {
        match self.visible(self.tree.behind(name)) {
            Some(at) => self.tree.write(at, &self.moment, list),
            None if self.v1 => return false,
            None => nothing(list, name, tag::END_OF_MIB_VIEW),
        }
        true
    }

    /// Whether something could be answered, and how many bindings.
    fn bulk(&self, pdu: &Pdu<'_>, list: &mut Vec<u8>) -> (bool, u64) {
        let start = list.len();
        let mut count = 0;
        // False when the last binding went past the end, and was taken back.
        let mut fits = |list: &mut Vec<u8>, before: usize| {
            if list.len() - start > self.room {
                list.truncate(before);
                return false;
            }
            count += 1;
            true
        };
        let once = usize::try_from(pdu.second).unwrap_or(0).min(pdu.varbinds.len());
        let (once, repeated) = pdu.varbinds.split_at(once);
        for varbind in once {
            let before = list.len();
            self.next(varbind.name.content(), list);
            if !fits(list, before) {
                return (before > start, count);
            }
        }
        // For each column the next place, or nothing once its end was reached, and the name that was answered last.
        let mut cursors: Vec<(Option<usize>, &[u8])> = repeated
            .iter()
            .map(|varbind| {
                let name = varbind.name.content();
                (self.visible(self.tree.behind(name)), name)
            })
            .collect();
        for _ in 0..pdu.third {
            let mut any = false;
            for (place, name) in &mut cursors {
                let before = list.len();
                match *place {
                    Some(at) => {
                        any = true;
                        self.tree.write(at, &self.moment, list);
                        *name = self.tree.name(at);
                        *place = self.visible(at + 1);
                    }
                    None => nothing(list, name, tag::END_OF_MIB_VIEW),
                }
                if !fits(list, before) {
                    return (before > start, count);
                }
            }
            // A repetition of nothing but ends may be the last (RFC 3416 section 4.2.3).
            if !any {
                break;
            }
        }
        (true, count)
    }

    fn visible(&self, from: usize) -> Option<usize> {
        let mut at = self.view.from(from)?;
        while !self.speaks(at) {
            at = self.view.from(at + 1)?;
        }
        Some(at)
    }

    /// v1 has no Counter64 (RFC 3584 section 4.2.2.1).
    fn speaks(&self, at: usize) -> bool {
        !self.v1 || self.tree.tag(at) != tag::COUNTER64
    }

    fn exception(&self, name: &[u8]) -> u8 {
        let at = self.tree.behind(name);
        let neighbours = [self.view.from(at), self.view.before(at)];
        let same = neighbours.into_iter().flatten().any(|at| name.starts_with(object(self.tree.name(at))));
        if same { tag::NO_SUCH_INSTANCE } else { tag::NO_SUCH_OBJECT }
    }
}

/// The object of an instance as far as it can be told: see the head of this file.
fn object(name: &[u8]) -> &[u8] {
    const MIB_2: &[u8] = &[0x2b, 6, 1, 2, 1];
    // Entries whose columns follow at once: ifTable, ifXTable, entPhysicalTable, entPhySensorTable.
    const ENTRIES: [&[u8]; 4] = [&[2, 2, 1], &[31, 1, 1, 1], &[47, 1, 1, 1, 1], &[99, 1, 1, 1]];
    if let Some(rest) = name.strip_prefix(MIB_2)
        && let Some(entry) = ENTRIES.iter().find(|entry| rest.starts_with(entry))
    {
        return &name[..name.len().min(MIB_2.len() + entry.len() + 1)];
    }
    let last = name[..name.len() - 1].iter().rposition(|&byte| byte & 0x80 == 0).map_or(0, |end| end + 1);
    &name[..last]
}

/// A binding without a value.
pub(crate) fn nothing(list: &mut Vec<u8>, name: &[u8], tag: u8) {
    list.push(tag::SEQUENCE);
    encode::length(list, 1 + encode::length_octets(name.len()) + name.len() + 2);
    encode::element(list, tag::OBJECT_IDENTIFIER, name);
    list.extend([tag, 0]);
}
