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
        self.answered(now, id.slot, Some(sample), packet.len());
        let response = Response::read(packet);
        self.give(now, id.slot, source, response, packet.len(), packet);
    }

    fn on_v3(&mut self, now: Duration, source: SocketAddr, number: i32, packet: &mut [u8]) {
        let Some((id, active)) = self.find(now, source, number, packet) else { return };
        let device = active.device;
        let (credential, first_try) = (active.credential, active.attempt == 0);
        let sample = first_try.then(|| now.saturating_sub(active.sent_at[0]));
        let length = packet.len();
        let (slots, devices) = (&mut self.slots, &mut self.devices);
        let active = slots[id.slot as usize].active.as_deref_mut().expect("it was found");
        let Some(peer) = devices[device as usize].peer(credential) else {
            self.stats.wrong_version += 1;
            return self.bad(now, Some(device), source, packet, &"a reply in another version");
        };
        match peer.open(now, &mut active.exchange, packet) {
            Ok(Opened::Pdu(scoped)) => match Response::of(&scoped.pdu) {
                Ok((request_id, response)) if request_id == number => {
                    // The bindings lie in the packet, which is nobody else's by now.
                    self.stats.replies += 1;
                    Self::count_answer(active, length);
                    active.round.on_reply(response.status, response.index, response.varbinds, length);
                    self.settle(now, id.slot, sample, length);
                }
                Ok(_) => {
                    self.stats.unknown_id += 1;
                    self.bad(now, Some(device), source, packet, &"another request id inside");
                }
                Err(error) => {
                    self.stats.malformed += 1;
                    Self::count_answer(active, length);
                    active.round.on_malformed(error);
                    self.settle(now, id.slot, sample, length);
                    self.bad(now, Some(device), source, packet, &error);
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

    /// A reply of v1 or v2c counts.
    fn answered(&mut self, now: Duration, slot: u32, sample: Option<Duration>, length: usize) {
        self.stats.replies += 1;
        let active = self.slots[slot as usize].active.as_deref_mut().expect("it was found");
        Self::count_answer(active, length);
        self.settle(now, slot, sample, length);
    }

    fn count_answer(active: &mut Active, length: usize) {
        active.cost.replies += 1;
        active.cost.received_bytes += length as u64;
        active.refusal = None;
    }

    /// The request is over, with an answer.
    fn settle(&mut self, now: Duration, slot: u32, sample: Option<Duration>, length: usize) {
        self.leave(slot, true);
        let active = self.slots[slot as usize].active.as_deref_mut().expect("it was found");
        active.step = Step::Prepare;
        active.credentials_left = 0;
        let expected = active.round.expected_bytes();
        let (site, ends, device) = (active.site, active.ends, active.device);
        self.set_silent(device, false);
        let device = &mut self.devices[device as usize];
        if let Some(sample) = sample {
            device.rtt.measured(sample);
        }
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

    fn give(
        &mut self,
        now: Duration,
        slot: u32,
        source: SocketAddr,
        response: Result<Response<'_>, ParseError>,
        length: usize,
        packet: &[u8],
    ) {
        let active = self.slots[slot as usize].active.as_deref_mut().expect("it was found");
        match response {
            Ok(Response { status, index, varbinds }) => {
                active.round.on_reply(status, index, varbinds, length);
            }
            Err(error) => {
                let device = active.device;
                active.round.on_malformed(error);
                self.stats.malformed += 1;
                self.bad(now, Some(device), source, packet, &error);
            }
        }
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
        let bytes = packet[..packet.len().min(BadPacket::BYTES_MAX)].to_vec();
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
