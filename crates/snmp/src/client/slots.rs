//! Who waits for which reply: request ids as slot and generation within 31 bits.
//!
//! Sixteen bits name the slot, fifteen its generation, so that an id comes back only after 32,767 uses of its slot. A slot remembers
//! how its last request ended, which tells a duplicate from a late reply.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::{Shared, Target};
use crate::community::Community;
use crate::message::{Header, Version};

const SLOT_BITS: u32 = 16;
const GENERATION_MAX: u16 = 0x7fff;

/// What must be true of a reply, and where it goes.
pub(super) struct Waiting {
    address: SocketAddr,
    version: Version,
    community: Community,
    pub(super) answer: oneshot::Sender<Vec<u8>>,
}

/// Whose reply a datagram is.
pub(super) enum Verdict {
    Answer(Waiting),
    Late,
    Duplicate,
    UnknownId,
    WrongSource,
    WrongVersion,
    WrongCommunity,
}

struct Slot {
    /// 1 to 32,767: ids are never zero or small.
    generation: u16,
    state: State,
}

enum State {
    /// Never used.
    Fresh,
    Waiting(Waiting),
    Answered,
    GivenUp,
}

/// The table of slots; as many as requests may be under way.
pub(super) struct Slots {
    slots: Vec<Slot>,
    free: Vec<u16>,
}

impl Slots {
    pub(super) const MAX: usize = 1 << SLOT_BITS;

    /// Generations begin at random, so that a predecessor's late replies find nobody.
    pub(super) fn new(count: usize) -> Self {
        let random = RandomState::new();
        let numbers = 0..count.min(Self::MAX) as u32;
        let generation = |slot: u32| (random.hash_one(slot) % u64::from(GENERATION_MAX)) as u16 + 1;
        let slots =
            numbers.clone().map(|slot| Slot { generation: generation(slot), state: State::Fresh }).collect();
        // A stack: slots in use stay few and warm.
        let free = numbers.rev().map(|slot| slot as u16).collect();
        Self { slots, free }
    }

    fn take(&mut self, waiting: Waiting) -> u16 {
        let at = self.free.pop().expect("the semaphore admits no more requests than there are slots");
        let slot = &mut self.slots[usize::from(at)];
        slot.generation = slot.generation % GENERATION_MAX + 1;
        slot.state = State::Waiting(waiting);
        at
    }

    fn release(&mut self, at: u16) {
        let slot = &mut self.slots[usize::from(at)];
        if matches!(slot.state, State::Waiting(_)) {
            slot.state = State::GivenUp;
        }
        self.free.push(at);
    }

    fn id(&self, at: u16) -> i32 {
        i32::from(self.slots[usize::from(at)].generation) << SLOT_BITS | i32::from(at)
    }

    /// Finds who waits for a reply; takes it out of its slot if everything fits.
    pub(super) fn judge(&mut self, header: &Header<'_>, source: SocketAddr) -> Verdict {
        let at = (header.request_id & 0xffff) as usize;
        let Some(slot) = self.slots.get_mut(at) else { return Verdict::UnknownId };
        if header.request_id >> SLOT_BITS != i32::from(slot.generation) {
            return Verdict::UnknownId;
        }
        let waiting = match &slot.state {
            State::Fresh => return Verdict::UnknownId,
            State::Answered => return Verdict::Duplicate,
            State::GivenUp => return Verdict::Late,
            State::Waiting(waiting) => waiting,
        };
        if !same_endpoint(waiting.address, source) {
            return Verdict::WrongSource;
        }
        if waiting.version != header.version {
            return Verdict::WrongVersion;
        }
        if waiting.community.as_bytes() != header.community {
            return Verdict::WrongCommunity;
        }
        match std::mem::replace(&mut slot.state, State::Answered) {
            State::Waiting(waiting) => Verdict::Answer(waiting),
            _ => unreachable!("the slot was seen waiting under the same lock"),
        }
    }
}

/// Flow labels and scope ids are the kernel's business.
fn same_endpoint(a: SocketAddr, b: SocketAddr) -> bool {
    (a.ip(), a.port()) == (b.ip(), b.port())
}

/// A slot in use; given back when dropped, also when the request is cancelled.
pub(super) struct Ticket<'a> {
    shared: &'a Arc<Shared>,
    at: u16,
    id: i32,
}

impl<'a> Ticket<'a> {
    pub(super) fn take(shared: &'a Arc<Shared>, target: &Target) -> (Self, oneshot::Receiver<Vec<u8>>) {
        let (answer, receiver) = oneshot::channel();
        let Target { address, version, community, .. } = target.clone();
        let mut slots = shared.lock();
        let at = slots.take(Waiting { address, version, community, answer });
        let id = slots.id(at);
        drop(slots);
        (Self { shared, at, id }, receiver)
    }

    pub(super) fn request_id(&self) -> i32 {
        self.id
    }

    /// Replies are late from now on.
    pub(super) fn give_up(&mut self) {
        let mut slots = self.shared.lock();
        let slot = &mut slots.slots[usize::from(self.at)];
        if matches!(slot.state, State::Waiting(_)) {
            slot.state = State::GivenUp;
        }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.shared.lock().release(self.at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pdu::PduKind;

    fn slots_with_one_waiting() -> (Slots, i32, oneshot::Receiver<Vec<u8>>) {
        let mut slots = Slots::new(4);
        let (answer, receiver) = oneshot::channel();
        let address = ([127, 0, 0, 1], 161).into();
        let at =
            slots.take(Waiting { address, version: Version::V2c, community: Community::new("c"), answer });
        let id = slots.id(at);
        (slots, id, receiver)
    }

    fn header(request_id: i32) -> Header<'static> {
        Header { version: Version::V2c, community: b"c", kind: PduKind::Response, request_id }
    }

    #[test]
    fn ids_stay_within_31_bits_and_differ_from_use_to_use() {
        let (mut slots, first, _receiver) = slots_with_one_waiting();
        let mut seen = std::collections::HashSet::from([first]);
        for _ in 0..GENERATION_MAX - 1 {
            slots.release(0);
            let (answer, _) = oneshot::channel();
            let address = ([127, 0, 0, 1], 161).into();
            slots.take(Waiting { address, version: Version::V2c, community: Community::new("c"), answer });
            assert!(slots.id(0) >= 1 << SLOT_BITS && seen.insert(slots.id(0)));
        }
    }

    #[test]
    fn only_the_right_reply_is_an_answer() {
        let (mut slots, id, _receiver) = slots_with_one_waiting();
        let source = ([127, 0, 0, 1], 161).into();
        let port = ([127, 0, 0, 1], 162).into();
        assert!(matches!(slots.judge(&header(id + 1), source), Verdict::UnknownId));
        assert!(matches!(slots.judge(&header(-id), source), Verdict::UnknownId));
        assert!(matches!(slots.judge(&header(id + (1 << SLOT_BITS)), source), Verdict::UnknownId));
        assert!(matches!(slots.judge(&header(id), port), Verdict::WrongSource));
        let v1 = Header { version: Version::V1, ..header(id) };
        assert!(matches!(slots.judge(&v1, source), Verdict::WrongVersion));
        let other = Header { community: b"d", ..header(id) };
        assert!(matches!(slots.judge(&other, source), Verdict::WrongCommunity));
        assert!(matches!(slots.judge(&header(id), source), Verdict::Answer(_)));
        assert!(matches!(slots.judge(&header(id), source), Verdict::Duplicate));
    }

    #[test]
    fn a_reply_after_giving_up_is_late() {
        let (mut slots, id, _receiver) = slots_with_one_waiting();
        slots.release(0);
        assert!(matches!(slots.judge(&header(id), ([127, 0, 0, 1], 161).into()), Verdict::Late));
    }
}
