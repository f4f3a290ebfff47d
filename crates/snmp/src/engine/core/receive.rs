//! Whose reply a datagram is, and whether it counts.

use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::{Active, Core, Queue, Step};
use crate::ber::{Fault, ParseError};
use crate::engine::harvest::BadPacket;
use crate::engine::id::Id;
use crate::engine::target::{Credential, Target};
use crate::message::{Header, Response};
use crate::pdu::PduKind;
use crate::usm::{OpenFault, Opened};
use crate::v3;

/// Why a datagram does not count.
enum Foreign {
    Late,
    Duplicate,
    UnknownId,
    WrongSource,
}

impl Core {
    /// Takes a datagram; it may be deciphered in place.
    pub(crate) fn on_datagram(&mut self, now: Duration, source: SocketAddr, packet: &mut [u8]) {
        self.stats.received_datagrams += 1;
        self.stats.received_bytes += packet.len() as u64;
        match Header::read(packet) {
            Ok(header) if header.kind != PduKind::Response => {
                self.stats.not_a_response += 1;
                self.bad(now, None, source, packet, &"no response");
            }
            Ok(header) => self.on_response(now, source, header, packet),
            Err(ParseError { fault: Fault::Version(3), .. }) => match v3::message_id(packet) {
                Ok(id) => self.on_v3(now, source, id, packet),
                Err(error) => self.on_unreadable(now, source, packet, error),
            },
            Err(error) => self.on_unreadable(now, source, packet, error),
        }
    }

    /// A datagram that names no request. If it comes from where a reply is waited for, it is what became of that.
    fn on_unreadable(&mut self, now: Duration, source: SocketAddr, packet: &[u8], error: ParseError) {
        self.stats.malformed += 1;
        self.bad(now, None, source, packet, &error);
        let Some(&device) = self.by_address.get(&source) else { return };
        for &slot in &self.devices[device as usize].in_flight {
            if let Some(active) = self.slots[slot as usize].active.as_deref_mut() {
                active.malformed = Some(error);
            }
        }
    }

    fn on_response(&mut self, now: Duration, source: SocketAddr, header: Header<'_>, packet: &[u8]) {
        let Some((id, active)) = self.find(now, source, header.request_id, packet) else { return };
        let device = active.device;
        let Credential::Community { version, community } = &active.job.target.credentials[active.credential]
        else {
            self.stats.wrong_version += 1;
            return self.bad(now, Some(device), source, packet, &"a reply in another version");
        };
        if *version != header.version {
            self.stats.wrong_version += 1;
            return self.bad(now, Some(device), source, packet, &"a reply in another version");
        }
        if community.as_bytes() != header.community {
            self.stats.wrong_community += 1;
            return self.bad(now, Some(device), source, packet, &"a reply with another community");
        }
        let attempt = usize::from(id.attempt);
        if attempt > usize::from(active.attempt) {
            self.stats.unknown_id += 1;
            return self.bad(now, Some(device), source, packet, &"a reply to a try that was never made");
        }
        let sample = now.saturating_sub(active.sent_at[attempt]);
        let active = self.slots[id.slot as usize].active.as_deref_mut().expect("it was found");
        active.cost.received_bytes += packet.len() as u64;
        match Response::read(packet) {
            Ok(Response { status, index, varbinds }) => {
                self.stats.replies += 1;
                Self::count_answer(active);
                active.round.on_reply(status, index, varbinds, packet.len());
                self.settle(now, id.slot, Some(sample), packet.len());
            }
            Err(error) => self.on_unreadable_reply(now, id.slot, source, packet, error),
        }
    }

    /// A reply to a request that waits cannot be read behind what says so: the request is over, but it is no sign of life.
    fn on_unreadable_reply(
        &mut self,
        now: Duration,
        slot: u32,
        source: SocketAddr,
        packet: &[u8],
        error: ParseError,
    ) {
        self.stats.malformed += 1;
        let active = self.slots[slot as usize].active.as_deref_mut().expect("it was found");
        let device = active.device;
        active.round.on_malformed(error, packet.len());
        self.close(now, slot, packet.len());
        self.bad(now, Some(device), source, packet, &error);
    }

    fn on_v3(&mut self, now: Duration, source: SocketAddr, number: i32, packet: &mut [u8]) {
        let Some((id, active)) = self.find(now, source, number, packet) else { return };
        let device = active.device;
        let sample = (active.attempt == 0).then(|| now.saturating_sub(active.sent_at[0]));
        let length = packet.len();
        let (slots, devices) = (&mut self.slots, &mut self.devices);
        let active = slots[id.slot as usize].active.as_deref_mut().expect("it was found");
        let credential = &active.job.target.credentials[active.credential];
        let Some(peer) = devices[device as usize].peer(credential, now) else {
            self.stats.wrong_version += 1;
            return self.bad(now, Some(device), source, packet, &"a reply in another version");
        };
        match peer.open(now, &mut active.exchange, packet) {
            Ok(Opened::Pdu(scoped)) => match Response::of(&scoped.pdu) {
                Ok((request_id, response)) if request_id == number => {
                    // The bindings lie in the packet, which is nobody else's by now.
                    self.stats.replies += 1;
                    active.cost.received_bytes += length as u64;
                    Self::count_answer(active);
                    active.round.on_reply(response.status, response.index, response.varbinds, length);
                    self.settle(now, id.slot, sample, length);
                }
                Ok(_) => {
                    self.stats.unknown_id += 1;
                    self.bad(now, Some(device), source, packet, &"another request id inside");
                }
                Err(error) => {
                    active.cost.received_bytes += length as u64;
                    self.on_unreadable_reply(now, id.slot, source, packet, error);
                }
            },
            Ok(Opened::Again) => {
                self.stats.resynchronised += 1;
                active.step = Step::Send;
                if active.queue != Queue::Ready {
                    active.queue = Queue::Ready;
                    self.urgent.push_back(id.slot);
                }
            }
            Ok(Opened::Refused { why, authentic }) => {
                self.stats.refusals += 1;
                active.refusal = Some(why);
                self.bad(now, Some(device), source, packet, &why);
                // One that may be forged only ends the patience, and the true answer may still come before.
                if authentic {
                    self.give_up(now, id.slot);
                }
            }
            Err(fault) => self.on_open_fault(now, id, source, packet, fault),
        }
    }

    fn on_open_fault(&mut self, now: Duration, id: Id, source: SocketAddr, packet: &[u8], fault: OpenFault) {
        let device = self.slots[id.slot as usize].active.as_ref().map(|active| active.device);
        match fault {
            OpenFault::Malformed(error) => {
                self.stats.malformed += 1;
                if let Some(active) = self.waiting_for(id) {
                    active.malformed = Some(error);
                }
            }
            OpenFault::WrongMessageId => self.stats.duplicate += 1,
            OpenFault::UnexpectedPdu(_) => self.stats.not_a_response += 1,
            _ => self.stats.not_authentic += 1,
        }
        self.bad(now, device, source, packet, &fault);
    }

    /// Who waits for a reply under this id from this source; counts why nobody does.
    fn find(
        &mut self,
        now: Duration,
        source: SocketAddr,
        number: i32,
        packet: &[u8],
    ) -> Option<(Id, &Active)> {
        let (foreign, device) = match self.judge(source, number) {
            Ok(id) => {
                let active = self.slots[id.slot as usize].active.as_deref();
                return active.map(|active| (id, active));
            }
            Err(foreign) => foreign,
        };
        match foreign {
            Foreign::Late => self.stats.late += 1,
            Foreign::Duplicate => self.stats.duplicate += 1,
            Foreign::UnknownId => self.stats.unknown_id += 1,
            Foreign::WrongSource => {
                self.stats.wrong_source += 1;
                let why = format!("answered from {source}; allow it?");
                self.bad(now, device, source, packet, &why);
            }
        }
        None
    }

    fn judge(&self, source: SocketAddr, number: i32) -> Result<Id, (Foreign, Option<u32>)> {
        let unknown = (Foreign::UnknownId, None);
        let id = Id::read(number).ok_or(unknown)?;
        let slot = self.slots.get(id.slot as usize).ok_or((Foreign::UnknownId, None))?;
        let waiting = slot.active.as_deref().filter(|active| active.step != Step::Prepare);
        match waiting {
            Some(active) if id.generation == slot.generation => {
                if !may_answer(&active.job.target, source) {
                    return Err((Foreign::WrongSource, Some(active.device)));
                }
                // A try that waits for its turn to be sent again still takes the answer to the one before.
                return Ok(id);
            }
            _ => {}
        }
        // A slot's generation moves on when it asks again: until then the last request is this one, then the one before.
        let last = if waiting.is_none() { slot.generation } else { slot.generation - 1 };
        let foreign = match id.generation == last.max(1) {
            true if slot.answered => Foreign::Duplicate,
            true => Foreign::Late,
            false => Foreign::UnknownId,
        };
        Err((foreign, None))
    }

    fn count_answer(active: &mut Active) {
        active.cost.replies += 1;
        active.credentials_left = 0;
        active.refusal = None;
    }

    /// The request is over, with an answer.
    fn settle(&mut self, now: Duration, slot: u32, sample: Option<Duration>, length: usize) {
        let active = self.slots[slot as usize].active.as_deref().expect("it was found");
        let device = active.device;
        self.set_silent(device, false);
        if let Some(sample) = sample {
            self.devices[device as usize].rtt.measured(sample);
        }
        self.close(now, slot, length);
    }

    /// The request is over, with a datagram of this length.
    fn close(&mut self, now: Duration, slot: u32, length: usize) {
        self.leave(slot, true);
        let active = self.slots[slot as usize].active.as_deref_mut().expect("it was found");
        active.step = Step::Prepare;
        let expected = active.round.expected_bytes();
        let (site, ends, device) = (active.site, active.ends, active.device);
        let device = &mut self.devices[device as usize];
        // What came beyond what was reckoned with.
        let more = length.saturating_sub(expected);
        device.meter.moved(now, more);
        self.all.moved(now, more);
        if let Some(site) = site {
            self.sites[site as usize].meter.moved(now, more);
        }
        self.timers.set(slot, ends);
        self.make_ready(slot);
    }

    /// Keeps a packet that did not count, for people to look at; in a flood one in a tenth of a second.
    fn bad(
        &mut self,
        now: Duration,
        device: Option<u32>,
        source: SocketAddr,
        packet: &[u8],
        why: &dyn Display,
    ) {
        const PAUSE: Duration = Duration::from_millis(100);
        let Some(device) = device.or_else(|| self.by_address.get(&source).copied()) else { return };
        let device = &mut self.devices[device as usize];
        if device.last_bad.is_some() && now.saturating_sub(device.bad_at) < PAUSE {
            return;
        }
        device.bad_at = now;
        let mut bytes = packet[..packet.len().min(BadPacket::BYTES_MAX)].to_vec();
        mask_communities(&mut bytes, device.target.as_deref());
        let bad = BadPacket { source, why: why.to_string(), bytes, length: packet.len() };
        device.last_bad = Some(Arc::new(bad));
    }
}

/// Flow labels and scope ids are the kernel's business.
fn may_answer(target: &Target, source: SocketAddr) -> bool {
    let ip = source.ip().to_canonical();
    let known = ip == target.address.ip().to_canonical()
        || target.accept_reply_from.iter().any(|other| other.to_canonical() == ip);
    known && source.port() == target.address.port()
}

/// Hides the community that a packet bears, whoever's it is, and any of the device's own wherever it stands: packets that cannot be
/// read are shown to people, printed and sent around.
fn mask_communities(packet: &mut [u8], target: Option<&Target>) {
    /// Shorter ones are hidden only where their length stands before them: elsewhere too much else looks like them.
    const ANYWHERE_MIN: usize = 4;
    if let Some(place) = community_field(packet) {
        packet[place].fill(b'*');
    }
    for credential in target.iter().flat_map(|target| &target.credentials) {
        let Credential::Community { community, .. } = credential else { continue };
        let secret = community.as_bytes();
        let Some(last) = packet.len().checked_sub(secret.len().max(1)) else { continue };
        for at in 0..=last {
            let is_field = at >= 2 && packet[at - 2] == 4 && usize::from(packet[at - 1]) == secret.len();
            if packet[at..].starts_with(secret) && (is_field || secret.len() >= ANYWHERE_MIN) {
                packet[at..at + secret.len()].fill(b'*');
            }
        }
    }
}

/// Where the community of a message of v1 or v2c lies. Lengths are not believed: what follows the version is taken for it as far as the
/// packet goes.
fn community_field(packet: &[u8]) -> Option<std::ops::Range<usize>> {
    let length_bytes = |at: usize| -> Option<usize> {
        let first = usize::from(*packet.get(at)?);
        Some(if first > 0x80 { 1 + (first & 0x7f) } else { 1 })
    };
    let version_at = 1 + length_bytes(1)?;
    let [2, 1, 0 | 1] = *packet.get(version_at..version_at + 3)? else { return None };
    let length_at = version_at + 4;
    let size = length_bytes(length_at)?;
    let start = length_at + size;
    let digits = packet.get(length_at + usize::from(size > 1)..start)?;
    let length = digits.iter().fold(0_usize, |length, &byte| length.saturating_mul(256) + usize::from(byte));
    Some(start..start.saturating_add(length).min(packet.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::community::Community;
    use crate::message::Version;

    #[test]
    fn communities_are_hidden_in_what_people_see() {
        let target = |community: &str| {
            let community = Community::new(community);
            let credential = Credential::Community { version: Version::V2c, community };
            Target::new("sw1", ([10, 0, 0, 1], 161).into(), vec![credential])
        };
        let check = |packet: &[u8], community: &str, expected: &[u8]| {
            let mut shown = packet.to_vec();
            mask_communities(&mut shown, Some(&target(community)));
            assert_eq!(shown.escape_ascii().to_string(), expected.escape_ascii().to_string());
        };
        check(b"\x30\x20\x02\x01\x01\x04\x06public\xa2", "public", b"\x30\x20\x02\x01\x01\x04\x06******\xa2");
        // Another's, in long forms, cut off, without end, with bytes missing before it.
        check(b"\x30\x20\x02\x01\x00\x04\x05other\xa2", "public", b"\x30\x20\x02\x01\x00\x04\x05*****\xa2");
        check(
            b"\x30\x82\x00\x20\x02\x01\x01\x04\x81\x05other\xa2",
            "x",
            b"\x30\x82\x00\x20\x02\x01\x01\x04\x81\x05*****\xa2",
        );
        check(b"\x30\x80\x02\x01\x01\x04\x7fother", "x", b"\x30\x80\x02\x01\x01\x04\x7f*****");
        check(b"\x04\x06public public", "public", b"\x04\x06****** ******");
        check(b"ab\x04\x02ab", "ab", b"ab\x04\x02**");
        check(b"", "public", b"");
        check(b"\x30", "", b"\x30");
        // A message of v3 has none.
        check(b"\x30\x20\x02\x01\x03\x30\x03abc", "public", b"\x30\x20\x02\x01\x03\x30\x03abc");
        for length in 0..40 {
            let packet: Vec<u8> = (0..length).map(|at| if at == 0 { 0x30 } else { 0x84 + at }).collect();
            mask_communities(&mut packet.clone(), None);
        }
    }
}
