//! A device at work: who asks, what goes wrong this time, the answer, and how it is packed.

use std::sync::Arc;
use std::time::Duration;

use snmp::ber::{Reader, Writer, tag};
use snmp::usm::{Authority, EngineId, Served, User};
use snmp::v3::{self, Head, Level, Scoped};
use snmp::{Message, Oid, Pdu, PduKind, Version};

use crate::answer::Agent;
use crate::counts::{Counts, Log};
use crate::encode;
use crate::fault::{Element, Fault, Occasion, Reply, Rule, Script, spoil, wrap};
use crate::life::Life;
use crate::link::Link;
use crate::outbox::{Outbox, Route};
use crate::seed::{hits, mix, mix_bytes};
use crate::tree::Tree;
use crate::view::View;

pub(crate) struct State {
    /// Contexts: name and values. The first has no name.
    pub(crate) trees: Vec<(Vec<u8>, Arc<Tree>)>,
    pub(crate) communities: Vec<Community>,
    pub(crate) users: Vec<Member>,
    pub(crate) authority: Option<Authority>,
    pub(crate) engine_id: Option<EngineId>,
    /// Boots, and when the last one was.
    pub(crate) engine_started: (u32, Duration),
    pub(crate) seed: Option<u64>,
    pub(crate) life: Life,
    pub(crate) name: Vec<u8>,
    pub(crate) max_message_size: u32,
    pub(crate) link: Link,
    pub(crate) script: Script,
    /// Which rules of the script that happen once have happened.
    pub(crate) fired: Vec<bool>,
    pub(crate) counts: Counts,
    pub(crate) log: Log,
    pub(crate) scratch: Scratch,
}

/// Memory that is used again for each reply.
#[derive(Default)]
pub(crate) struct Scratch {
    writer: Writer,
    packet: Vec<u8>,
    content: Vec<u8>,
}

pub(crate) struct Community {
    pub(crate) community: Vec<u8>,
    /// The place of its context.
    pub(crate) tree: usize,
    pub(crate) under: Vec<Oid>,
    pub(crate) view: View,
}

pub(crate) struct Member {
    pub(crate) user: User,
    pub(crate) under: Vec<Oid>,
    /// One a context.
    pub(crate) views: Vec<View>,
}

/// Who asked, and how the answer is packed.
#[derive(Clone, Copy)]
enum Asker<'a> {
    Community { version: Version, community: &'a [u8], place: usize },
    User { asked: &'a snmp::usm::Asked<'a>, message_id: i32, tree: usize },
}

/// Octets of a message beside its bindings at their most: v1 and v2c without the community, v3 with names and MACs as long as can be.
const OVERHEAD: usize = 48;
const OVERHEAD_V3: usize = 260;
/// Bounds of what one request sets free.
const COPIES_MAX: u32 = 16;
const REPORTS_MAX: u32 = 1_000;
/// `snmpUnknownContexts.0`.
const UNKNOWN_CONTEXTS: &[u8] = &[0x2b, 6, 1, 6, 3, 12, 1, 5, 0];
/// `usmStatsNotInTimeWindows.0`.
const NOT_IN_TIME_WINDOWS: &[u8] = &[0x2b, 6, 1, 6, 3, 15, 1, 1, 2, 0];

impl State {
    pub(crate) fn handle(&mut self, now: Duration, datagram: &mut [u8], out: &mut Outbox) {
        let first = out.parcels.len();
        self.counts.datagrams += 1;
        self.counts.bytes_in += datagram.len() as u64;
        let understood = match version(datagram) {
            Some(0 | 1) => self.handle_community(now, datagram, out),
            Some(3) => self.handle_user(now, datagram, out),
            _ => None,
        };
        if understood.is_none() {
            self.counts.malformed += 1;
        }
        self.send(first, out);
    }

    /// `None` of what cannot be read, here and below.
    fn handle_community(&mut self, now: Duration, datagram: &[u8], out: &mut Outbox) -> Option<()> {
        let message = Message::read(datagram).ok()?;
        let known = |known: &Community| known.community == message.community;
        let Some(place) = self.communities.iter().position(known) else {
            self.counts.refused += 1;
            return Some(());
        };
        let Message { version, community, pdu, .. } = message;
        if pdu.kind == PduKind::Response || (version == Version::V1 && pdu.kind == PduKind::GetBulk) {
            return None;
        }
        self.serve(now, Asker::Community { version, community, place }, &pdu, out);
        Some(())
    }

    fn handle_user(&mut self, now: Duration, datagram: &mut [u8], out: &mut Outbox) -> Option<()> {
        let message_id = v3::message_id(datagram).ok()?;
        let mut scratch = std::mem::take(&mut self.scratch);
        let opened = self.authority().open(now, datagram, &mut scratch.writer, &mut scratch.packet);
        if let Ok(Served::Report(_)) = opened {
            out.push(&scratch.packet, Duration::ZERO, Route::Own);
        }
        self.scratch = scratch;
        match opened.ok()? {
            Served::Request(asked) => {
                let pdu = Pdu::read(&asked.scoped.pdu).ok().filter(|pdu| pdu.kind != PduKind::Response)?;
                let context = asked.scoped.context_name;
                match self.trees.iter().position(|(name, _)| name == context) {
                    Some(tree) => self.serve(now, Asker::User { asked: &asked, message_id, tree }, &pdu, out),
                    None => self.refuse_context(now, &asked, pdu.request_id, out),
                }
            }
            Served::Report(_) | Served::Silent(_) => self.counts.refused += 1,
        }
        Some(())
    }

    fn refuse_context(
        &mut self,
        now: Duration,
        asked: &snmp::usm::Asked<'_>,
        request_id: i32,
        out: &mut Outbox,
    ) {
        self.counts.refused += 1;
        let content = report(request_id, UNKNOWN_CONTEXTS);
        self.seal(now, asked, tag::REPORT, &content);
        out.push(&self.scratch.packet, Duration::ZERO, Route::Own);
    }

    fn serve(&mut self, now: Duration, asker: Asker<'_>, pdu: &Pdu<'_>, out: &mut Outbox) {
        self.counts.ask(pdu);
        let who = match asker {
            Asker::Community { community, .. } => community,
            Asker::User { asked, .. } => self.users[asked.user].user.name(),
        };
        self.log.add(now, pdu, who);
        if self.script.is_empty() {
            return self.answer_well(now, asker, pdu, out);
        }
        let rules = self.rules_for(now, pdu);
        self.answer_badly(now, asker, pdu, &rules, out);
    }

    /// Appends the bindings of the right answer, but for rows that `vanish` hides; tells status and index.
    fn bindings(
        &mut self,
        now: Duration,
        asker: Asker<'_>,
        pdu: &Pdu<'_>,
        vanish: Option<f64>,
        list: &mut Vec<u8>,
    ) -> (i32, i32) {
        let engine = (self.engine_started.0, now.saturating_sub(self.engine_started.1).as_secs() as u32);
        let most = self.max_message_size as usize;
        let (tree, view, room, v1) = match asker {
            Asker::Community { version, community, place } => {
                let grant = &self.communities[place];
                let room = most.saturating_sub(OVERHEAD + community.len());
                (grant.tree, &grant.view, room, version == Version::V1)
            }
            Asker::User { asked, tree, .. } => {
                let most = most.min(asked.max_size as usize);
                let room = most.saturating_sub(OVERHEAD_V3 + asked.scoped.context_name.len());
                (tree, &self.users[asked.user].views[tree], room, false)
            }
        };
        let tree = &*self.trees[tree].1;
        let seed = self.seed.unwrap_or(0);
        let shrunk = vanish.map(|share| view.without(|at| hits(mix_bytes(seed, row(tree.name(at))), share)));
        let moment = self.life.moment(now, engine, &self.name);
        let agent = Agent { tree, view: shrunk.as_ref().unwrap_or(view), moment, v1, room };
        let mut varbinds = 0;
        let status = agent.answer(pdu, list, &mut varbinds);
        self.counts.varbinds += varbinds;
        (status.status, status.index)
    }

    fn answer_well(&mut self, now: Duration, asker: Asker<'_>, pdu: &Pdu<'_>, out: &mut Outbox) {
        let mut list = std::mem::take(&mut out.list);
        list.clear();
        let (status, index) = self.bindings(now, asker, pdu, None, &mut list);
        match asker {
            Asker::Community { version, community, .. } => {
                let start = out.bytes.len();
                compose(&mut out.bytes, version, community, [pdu.request_id, status, index], &list);
                out.close(start, Duration::ZERO, Route::Own);
            }
            Asker::User { asked, .. } => {
                let mut content = std::mem::take(&mut self.scratch.content);
                content.clear();
                for number in [pdu.request_id, status, index] {
                    encode::signed(&mut content, tag::INTEGER, number);
                }
                encode::element(&mut content, tag::SEQUENCE, &list);
                self.seal(now, asked, tag::RESPONSE, &content);
                out.push(&self.scratch.packet, Duration::ZERO, Route::Own);
                self.scratch.content = content;
            }
        }
        out.list = list;
    }

    /// Puts a v3 message with this PDU into the scratch packet.
    fn seal(&mut self, now: Duration, asked: &snmp::usm::Asked<'_>, kind: u8, content: &[u8]) {
        let mut scratch = std::mem::take(&mut self.scratch);
        let Scratch { writer, packet, .. } = &mut scratch;
        self.authority().seal(now, asked, |out| out.octets(kind, content), writer, packet);
        self.scratch = scratch;
    }

    /// The rules that hold this time. Those that happen once happen here.
    fn rules_for(&mut self, now: Duration, pdu: &Pdu<'_>) -> Vec<Rule> {
        let name = pdu.varbinds.first().map(|varbind| varbind.name);
        let occasion = Occasion { now, request: self.counts.requests, name, seed: self.seed.unwrap_or(0) };
        let holds: Vec<usize> = (0..self.script.rules().len())
            .filter(|&at| self.script.rules()[at].when.holds(&occasion, at))
            .collect();
        let mut rules = Vec::with_capacity(holds.len());
        for at in holds {
            let rule = self.script.rules()[at].clone();
            if !rule.fault.is_once() {
                rules.push(rule);
            } else if !std::mem::replace(&mut self.fired[at], true) {
                self.happen(now, &rule.fault);
            }
        }
        rules
    }

    fn happen(&mut self, now: Duration, fault: &Fault) {
        match fault {
            Fault::Reboot => self.reboot(now),
            Fault::EngineReboot => self.restart_engine(now),
            Fault::EngineReset => self.start_engine(now, 1),
            Fault::UptimeWrap(time) => self.life.wrap_in(now, *time),
            _ => {}
        }
    }

    fn answer_badly(
        &mut self,
        now: Duration,
        asker: Asker<'_>,
        pdu: &Pdu<'_>,
        rules: &[Rule],
        out: &mut Outbox,
    ) {
        let request = self.counts.requests;
        let silent = |rule: &Rule| match rule.fault {
            Fault::Silence => true,
            Fault::OnlyEvery(n) => !request.is_multiple_of(n.into()),
            _ => false,
        };
        if rules.iter().any(silent) {
            return;
        }
        if rules.is_empty() {
            return self.answer_well(now, asker, pdu, out);
        }
        let vanish = rules.iter().find_map(|rule| match rule.fault {
            Fault::Vanish(share) => Some(share),
            _ => None,
        });
        let mut list = Vec::new();
        let (status, index) = self.bindings(now, asker, pdu, vanish, &mut list);
        let reply = Reply::new(pdu.request_id, status, index, &list);
        let (first, instead): (Vec<_>, Vec<_>) = rules.iter().partition(|rule| rule.when.first);
        for rule in first {
            self.emit(now, asker, pdu, reply.clone(), &[&rule.fault], out);
        }
        let instead: Vec<_> = instead.into_iter().map(|rule| &rule.fault).collect();
        self.emit(now, asker, pdu, reply, &instead, out);
    }

    /// Spoils a reply and sends it on its way, spoilt too.
    fn emit(
        &mut self,
        now: Duration,
        asker: Asker<'_>,
        pdu: &Pdu<'_>,
        mut reply: Reply,
        faults: &[&Fault],
        out: &mut Outbox,
    ) {
        faults.iter().for_each(|fault| spoil(&mut reply, fault, pdu));
        let mut packet = self.pack(now, asker, &reply, faults);
        for fault in faults {
            self.spoil_packet(&mut packet, asker, fault);
        }
        let (mut delay, mut route, mut copies, mut late) = (Duration::ZERO, Route::Own, 1, None);
        for fault in faults {
            match fault {
                Fault::Delay(time) => delay += *time,
                Fault::Duplicate(more) => copies += (*more).min(COPIES_MAX),
                Fault::LateDuplicate(time) => late = Some(*time),
                Fault::WrongSource => route = Route::OtherAddress,
                Fault::WrongPort => route = Route::OtherPort,
                Fault::ReportStorm(count) if matches!(asker, Asker::User { .. }) => {
                    let report = self.forged_report(now, asker, pdu);
                    (0..(*count).min(REPORTS_MAX))
                        .for_each(|_| out.push(&report, Duration::ZERO, Route::Own));
                    return;
                }
                Fault::ForgedReport if matches!(asker, Asker::User { .. }) => {
                    let report = self.forged_report(now, asker, pdu);
                    out.push(&report, Duration::ZERO, Route::Own);
                }
                _ => {}
            }
        }
        (0..copies).for_each(|_| out.push(&packet, delay, route));
        if let Some(time) = late {
            out.push(&packet, delay + time, route);
        }
    }

    fn pack(&mut self, now: Duration, asker: Asker<'_>, reply: &Reply, faults: &[&Fault]) -> Vec<u8> {
        let content = reply.content();
        let message = match asker {
            Asker::Community { version, community, .. } => {
                let wrong = |fault: &Fault| faults.contains(&fault);
                let community = if wrong(&Fault::WrongCommunity) { b"somebody-else" } else { community };
                let version = (version == Version::V2c) != wrong(&Fault::WrongVersion);
                let mut message = Vec::new();
                encode::signed(&mut message, tag::INTEGER, version.into());
                encode::element(&mut message, tag::OCTET_STRING, community);
                wrap(&mut message, reply.kind, &content, reply.length(Element::Pdu));
                message
            }
            Asker::User { asked, .. } => {
                self.seal(now, asked, reply.kind, &content);
                let whole = Reader::new(&self.scratch.packet).element();
                whole.expect("our own message is well formed").content.to_vec()
            }
        };
        let mut packet = Vec::new();
        wrap(&mut packet, tag::SEQUENCE, &message, reply.length(Element::Message));
        packet
    }

    fn spoil_packet(&self, packet: &mut Vec<u8>, asker: Asker<'_>, fault: &Fault) {
        let seed = mix(self.seed.unwrap_or(0), self.counts.requests);
        match fault {
            Fault::Truncated(bytes) => packet.truncate(packet.len().saturating_sub(*bytes as usize)),
            Fault::Trailing(bytes) => packet.resize(packet.len() + *bytes as usize, 0xee),
            Fault::Garbage(bytes) => *packet = (0..u64::from(*bytes)).map(|at| mix(seed, at) as u8).collect(),
            _ => {}
        }
        let Asker::User { asked, .. } = asker else { return };
        let id = self.authority.as_ref().map(|authority| *authority.engine_id()).unwrap_or_default();
        let name = self.users[asked.user].user.name();
        match fault {
            Fault::WrongEngineId => flip(packet, id.as_bytes()),
            Fault::WrongUser => flip(packet, &[&[tag::OCTET_STRING, name.len() as u8], name].concat()),
            // The version is the first number of the message.
            Fault::WrongVersion => flip(packet, &[tag::INTEGER, 1, 3]),
            _ => {}
        }
    }

    /// An unauthenticated report with a clock that is wrong.
    fn forged_report(&mut self, now: Duration, asker: Asker<'_>, pdu: &Pdu<'_>) -> Vec<u8> {
        let Asker::User { message_id, .. } = asker else { return Vec::new() };
        let engine_id = *self.authority().engine_id();
        let (boots, time) = self.authority().clock(now);
        let head = Head {
            message_id,
            max_size: crate::Device::MESSAGE_MAX,
            level: Level::NoAuthNoPriv,
            reportable: false,
            engine_id,
            boots: boots + 7,
            time: time + 7_000,
            user: &[],
            mac: &[],
            salt: &[],
        };
        let content = report(pdu.request_id, NOT_IN_TIME_WINDOWS);
        let Scratch { writer, packet, .. } = &mut self.scratch;
        head.write(writer, |out| {
            Scoped::write(out, engine_id.as_bytes(), &[], |out| out.octets(tag::REPORT, &content));
        });
        writer.finish(packet);
        packet.clone()
    }

    /// Sends what was appended since `first` over the link.
    fn send(&mut self, first: usize, out: &mut Outbox) {
        for parcel in &out.parcels[first..] {
            self.counts.replies += 1;
            self.counts.bytes_out += parcel.bytes.len() as u64;
            self.counts.reply_max = self.counts.reply_max.max(parcel.bytes.len() as u32);
        }
        if self.link.is_perfect() {
            return;
        }
        let (link, seed) = (self.link, self.seed.unwrap_or(0));
        let mut number = self.counts.replies - (out.parcels.len() - first) as u64;
        let sent = out.parcels.split_off(first);
        for mut parcel in sent {
            number += 1;
            match link.carry(seed, number) {
                Some(delay) => {
                    parcel.delay += delay;
                    out.parcels.push(parcel);
                }
                None => self.counts.lost += 1,
            }
        }
    }
}

/// The version of a message, if it begins like one.
fn version(datagram: &[u8]) -> Option<i32> {
    Reader::new(datagram).expect(tag::SEQUENCE).ok()?.reader().integer().ok()
}

/// Appends a whole v1 or v2c message around its bindings.
fn compose(out: &mut Vec<u8>, version: Version, community: &[u8], numbers: [i32; 3], list: &[u8]) {
    // Each number takes at most six octets.
    let mut fields = Vec::with_capacity(18);
    numbers.iter().for_each(|&number| encode::signed(&mut fields, tag::INTEGER, number));
    let whole = |length: usize| 1 + encode::length_octets(length) + length;
    let pdu = fields.len() + whole(list.len());
    out.push(tag::SEQUENCE);
    encode::length(out, 3 + whole(community.len()) + whole(pdu));
    encode::signed(out, tag::INTEGER, i32::from(version == Version::V2c));
    encode::element(out, tag::OCTET_STRING, community);
    out.push(tag::RESPONSE);
    encode::length(out, pdu);
    out.extend_from_slice(&fields);
    encode::element(out, tag::SEQUENCE, list);
}

/// What stands inside a report.
fn report(request_id: i32, counter: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    for number in [request_id, 0, 0] {
        encode::signed(&mut content, tag::INTEGER, number);
    }
    let mut binding = Vec::new();
    encode::element(&mut binding, tag::OBJECT_IDENTIFIER, counter);
    encode::unsigned(&mut binding, tag::COUNTER32, 1);
    let mut list = Vec::new();
    encode::element(&mut list, tag::SEQUENCE, &binding);
    encode::element(&mut content, tag::SEQUENCE, &list);
    content
}

/// Changes the last of these bytes where they first stand in a packet.
fn flip(packet: &mut [u8], bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    if let Some(at) = packet.windows(bytes.len()).position(|window| window == bytes) {
        packet[at + bytes.len() - 1] ^= 1;
    }
}

/// The last arc of a name: in most tables the row.
fn row(name: &[u8]) -> &[u8] {
    let start = name[..name.len() - 1].iter().rposition(|&byte| byte & 0x80 == 0).map_or(0, |end| end + 1);
    &name[start..]
}
