//! An SNMP agent for tests: answers on loopback from a map, and misbehaves on demand ([`Misdeed`]).
//!
//! Behind the cargo feature `pretend`; no program contains it. It speaks v1 and v2c as RFC 1157 and 3416 say until it is told
//! otherwise. Replies are as long as they come out; only tooBig on demand bounds them.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use crate::ber::{Writer, tag};
use crate::datum::Datum;
use crate::message::{Message, Version};
use crate::oid::Oid;
use crate::pdu::{ErrorStatus, Pdu, PduKind, Varbind};

/// What the agent does wrong; several at once are possible.
#[derive(Clone, Debug, PartialEq)]
pub enum Misdeed {
    /// Answers nothing.
    Silence,
    /// Answers only every n-th datagram.
    OnlyEvery(u32),
    /// Sends each reply twice.
    Duplicate,
    /// Sends each reply after this long.
    Delay(Duration),
    /// Answers with the request id plus one before the right answer.
    WrongId,
    /// Answers from another port instead.
    WrongSource,
    /// Answers with another community instead.
    WrongCommunity,
    /// Answers in the other version instead.
    WrongVersion,
    /// Cuts this many bytes off the end.
    Truncated(usize),
    /// Puts a zero-length Counter64 behind the reply's bindings.
    BadCounter,
    /// Invents rows without end under whatever is asked for.
    Endless,
    /// Answers each GETNEXT with the name asked for.
    StandsStill,
    /// tooBig above this many bindings.
    TooBigAbove(usize),
    /// Any GETBULK is answered genErr.
    NoBulk,
    /// genErr whenever the answer holds a name under this one.
    GenErr(Oid),
    /// Replies without bindings.
    Empty,
    /// Puts this many bytes behind the message.
    Trailing(usize),
    /// Writes a SET where the list of bindings should be: the header can be read, the rest not.
    NoList,
    /// Writes the message's length in the indefinite form.
    IndefiniteLength,
    /// Writes a length far beyond the datagram.
    OverlongLength,
    /// The last binding's value bears this tag and this content instead.
    RawValue(u8, Vec<u8>),
    /// The last binding's name has this content instead.
    RawName(Vec<u8>),
    /// Each name comes before the one asked for.
    Descends,
    /// Leaves out this many bindings at the end.
    Fewer(usize),
    /// Sends each binding of the reply again behind them all.
    Twice,
    /// No answer when a name under this one is asked for.
    SilentOn(Oid),
    /// No report on what cannot be deciphered, as net-snmp has it. For whoever serves v3.
    SilentOnCipher,
    /// This error status, naming nobody, for everything.
    Status(i32),
}

/// What an agent holds and does, without a socket.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) cells: BTreeMap<Oid, Datum>,
    pub(crate) misdeeds: Vec<Misdeed>,
    pub(crate) datagrams: u32,
    pub(crate) last_from: Option<SocketAddr>,
}

/// A running agent; ends when dropped.
pub struct Agent {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Agent {
    /// Starts an agent on a free port of 127.0.0.1. Panics where loopback cannot be bound.
    pub async fn start(community: &str, cells: impl IntoIterator<Item = (Oid, Datum)>) -> Self {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into(), community, cells).await
    }

    /// Starts an agent at an address. Panics where it cannot be bound.
    pub async fn start_at(
        address: SocketAddr,
        community: &str,
        cells: impl IntoIterator<Item = (Oid, Datum)>,
    ) -> Self {
        let socket = UdpSocket::bind(address).await.expect("the address can be bound");
        let address = socket.local_addr().expect("a bound socket has an address");
        let state = State { cells: cells.into_iter().collect(), ..State::default() };
        let state = Arc::new(Mutex::new(state));
        let task = tokio::spawn(serve(Arc::new(socket), community.into(), state.clone()));
        Self { address, state, task }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets a value.
    pub fn set(&self, name: Oid, held: Datum) {
        self.lock().cells.insert(name, held);
    }

    /// Removes everything under a name.
    pub fn remove(&self, under: &Oid) {
        self.lock().cells.retain(|name, _| name.view().strip_prefix(under.view()).is_none());
    }

    /// Replaces what it does wrong.
    pub fn misbehave(&self, misdeeds: impl IntoIterator<Item = Misdeed>) {
        self.lock().misdeeds = misdeeds.into_iter().collect();
    }

    /// Who asked last.
    pub fn last_from(&self) -> Option<SocketAddr> {
        self.lock().last_from
    }

    /// Datagrams that came.
    pub fn datagrams(&self) -> u32 {
        self.lock().datagrams
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn serve(socket: Arc<UdpSocket>, community: String, state: Arc<Mutex<State>>) {
    let mut buffer = vec![0; 65_535];
    while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
        let (packets, misdeeds) = {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            state.datagrams += 1;
            state.last_from = Some(from);
            (state.reply(&buffer[..length], community.as_bytes()), state.misdeeds.clone())
        };
        send(&socket, from, packets, &misdeeds).await;
    }
}

async fn send(socket: &Arc<UdpSocket>, to: SocketAddr, packets: Vec<Vec<u8>>, misdeeds: &[Misdeed]) {
    let delay = misdeeds.iter().find_map(|misdeed| match misdeed {
        Misdeed::Delay(delay) => Some(*delay),
        _ => None,
    });
    let socket = match misdeeds.contains(&Misdeed::WrongSource) {
        true => Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback can be bound")),
        false => socket.clone(),
    };
    let deliver = async move {
        tokio::time::sleep(delay.unwrap_or_default()).await;
        for packet in packets {
            // The test may be over.
            let _ = socket.send_to(&packet, to).await;
        }
    };
    if delay.is_some() { drop(tokio::spawn(deliver)) } else { deliver.await }
}

/// Names and values of a reply, or error status and index.
pub(crate) type Answer = Result<Vec<(Oid, Datum)>, (ErrorStatus, usize)>;

impl State {
    pub(crate) fn reply(&self, datagram: &[u8], community: &[u8]) -> Vec<Vec<u8>> {
        let Ok(request) = Message::read(datagram) else { return Vec::new() };
        let skipped = |misdeed: &Misdeed| match misdeed {
            Misdeed::Silence => true,
            Misdeed::OnlyEvery(n) => !self.datagrams.is_multiple_of(*n),
            Misdeed::SilentOn(under) => {
                request.pdu.varbinds.iter().any(|varbind| varbind.name.strip_prefix(under.view()).is_some())
            }
            _ => false,
        };
        if request.community != community || self.misdeeds.iter().any(skipped) {
            return Vec::new();
        }
        let answer = self.answer(&request.pdu, request.version == Version::V1);
        let mut packets = vec![self.packet(&request, &answer, 0)];
        if self.misdeeds.contains(&Misdeed::WrongId) {
            packets.insert(0, self.packet(&request, &answer, 1));
        }
        if self.misdeeds.contains(&Misdeed::Duplicate) {
            packets.push(packets[0].clone());
        }
        packets
    }

    /// The response to a request.
    pub(crate) fn response<'a>(&self, request: &Pdu<'a>, answer: &'a Answer) -> Pdu<'a> {
        let (status, index, cells) = match answer {
            Ok(cells) => (ErrorStatus::NO_ERROR, 0, cells.as_slice()),
            Err((status, index)) => (*status, *index as i32, &[][..]),
        };
        let mut varbinds: Vec<Varbind<'_>> =
            cells.iter().map(|(name, held)| Varbind { name: name.view(), value: held.value() }).collect();
        if status != ErrorStatus::NO_ERROR {
            varbinds.clone_from(&request.varbinds);
        }
        let request_id = request.request_id;
        Pdu { kind: PduKind::Response, request_id, second: status.0, third: index, varbinds }
    }

    fn packet(&self, request: &Message<'_>, answer: &Answer, id_offset: i32) -> Vec<u8> {
        let mut pdu = self.response(&request.pdu, answer);
        pdu.request_id = pdu.request_id.wrapping_add(id_offset);
        let has = |misdeed| self.misdeeds.contains(&misdeed);
        let community: &[u8] =
            if has(Misdeed::WrongCommunity) { b"somebody-else" } else { request.community };
        let v1 = (request.version == Version::V1) != has(Misdeed::WrongVersion);
        let (mut writer, mut packet) = (Writer::default(), Vec::new());
        writer.element(tag::SEQUENCE, |message| {
            self.write_pdu(message, &pdu);
            message.octets(tag::OCTET_STRING, community);
            message.integer(tag::INTEGER, if v1 { 0 } else { 1 });
        });
        writer.finish(&mut packet);
        self.spoil(&mut packet);
        packet
    }

    /// The PDU, its last binding spoiled where that is wanted.
    pub(crate) fn write_pdu(&self, out: &mut Writer, pdu: &Pdu<'_>) {
        out.element(pdu.kind.tag(), |out| {
            let list_tag = if self.misdeeds.contains(&Misdeed::NoList) { 0x31 } else { tag::SEQUENCE };
            out.element(list_tag, |list| {
                for (at, varbind) in pdu.varbinds.iter().rev().enumerate() {
                    list.element(tag::SEQUENCE, |binding| {
                        let spoils = || self.misdeeds.iter().filter(|_| at == 0);
                        let raw_value = spoils().find_map(|misdeed| match misdeed {
                            Misdeed::RawValue(tag, content) => Some((*tag, content)),
                            _ => None,
                        });
                        let raw_name = spoils().find_map(|misdeed| match misdeed {
                            Misdeed::RawName(content) => Some(content.as_slice()),
                            _ => None,
                        });
                        match raw_value {
                            Some((tag, content)) => binding.octets(tag, content),
                            None => varbind.value.write(binding),
                        }
                        binding.octets(tag::OBJECT_IDENTIFIER, raw_name.unwrap_or(varbind.name.content()));
                    });
                }
            });
            out.integer(tag::INTEGER, pdu.third.into());
            out.integer(tag::INTEGER, pdu.second.into());
            out.integer(tag::INTEGER, pdu.request_id.into());
        });
    }

    fn spoil(&self, packet: &mut Vec<u8>) {
        for misdeed in &self.misdeeds {
            match misdeed {
                Misdeed::Truncated(bytes) => packet.truncate(packet.len().saturating_sub(*bytes)),
                Misdeed::BadCounter => {
                    // The last binding's value loses its tag to Counter64 and, being text, its meaning.
                    if let Some(at) = packet.iter().rposition(|&byte| byte == 0x04) {
                        packet[at] = 0x46;
                    }
                }
                Misdeed::Trailing(bytes) => packet.resize(packet.len() + bytes, 0xaa),
                Misdeed::IndefiniteLength => packet[1] = 0x80,
                Misdeed::OverlongLength => {
                    packet.splice(1..2, [0x84, 0x7f, 0xff, 0xff, 0xff]);
                }
                _ => {}
            }
        }
    }

    pub(crate) fn answer(&self, pdu: &Pdu<'_>, v1: bool) -> Answer {
        let names = pdu.varbinds.iter().map(|varbind| varbind.name.to_oid());
        if self.misdeeds.contains(&Misdeed::Empty) {
            return Ok(Vec::new());
        }
        let answer = match pdu.kind {
            PduKind::Get => names.enumerate().map(|(at, name)| self.get(name, at, v1)).collect(),
            PduKind::GetNext => self.rows(names.collect(), 1, v1),
            PduKind::GetBulk if self.misdeeds.contains(&Misdeed::NoBulk) => Err((ErrorStatus::GEN_ERR, 0)),
            PduKind::GetBulk => self.rows(names.collect(), pdu.third.clamp(0, 1000), v1),
            PduKind::Response => Ok(Vec::new()),
        };
        let mut answer = answer.and_then(|cells| self.refuse(cells, pdu.varbinds.len()));
        if let Ok(cells) = &mut answer {
            for misdeed in &self.misdeeds {
                match misdeed {
                    Misdeed::Fewer(count) => cells.truncate(cells.len().saturating_sub(*count)),
                    Misdeed::Twice => cells.extend_from_within(..),
                    _ => {}
                }
            }
        }
        answer
    }

    fn refuse(&self, cells: Vec<(Oid, Datum)>, asked: usize) -> Answer {
        for misdeed in &self.misdeeds {
            match misdeed {
                Misdeed::Status(status) => return Err((ErrorStatus(*status), 0)),
                Misdeed::TooBigAbove(most) if cells.len() > *most => return Err((ErrorStatus::TOO_BIG, 0)),
                Misdeed::GenErr(under) => {
                    let lies = |(name, _): &(Oid, Datum)| name.view().strip_prefix(under.view()).is_some();
                    if let Some(at) = cells.iter().position(lies) {
                        return Err((ErrorStatus::GEN_ERR, at % asked.max(1) + 1));
                    }
                }
                _ => {}
            }
        }
        Ok(cells)
    }

    fn get(&self, name: Oid, at: usize, v1: bool) -> Result<(Oid, Datum), (ErrorStatus, usize)> {
        match self.cells.get(&name) {
            Some(held) => Ok((name, held.clone())),
            None if v1 => Err((ErrorStatus::NO_SUCH_NAME, at + 1)),
            None => Ok((name, Datum::NoSuchObject)),
        }
    }

    fn rows(&self, mut cursors: Vec<Oid>, repetitions: i32, v1: bool) -> Answer {
        let mut cells = Vec::new();
        for _ in 0..repetitions {
            for (at, cursor) in cursors.iter_mut().enumerate() {
                match self.next(cursor) {
                    Some((name, held)) => {
                        cursor.clone_from(&name);
                        cells.push((name, held));
                    }
                    None if v1 => return Err((ErrorStatus::NO_SUCH_NAME, at + 1)),
                    None => cells.push((cursor.clone(), Datum::EndOfMibView)),
                }
            }
        }
        Ok(cells)
    }

    fn next(&self, name: &Oid) -> Option<(Oid, Datum)> {
        if self.misdeeds.contains(&Misdeed::StandsStill) {
            return Some((name.clone(), Datum::Integer(1)));
        }
        if self.misdeeds.contains(&Misdeed::Descends) {
            let before = (Bound::Unbounded, Bound::Excluded(name));
            return self.cells.range(before).next_back().map(|(name, held)| (name.clone(), held.clone()));
        }
        if self.misdeeds.contains(&Misdeed::Endless) {
            return Some((invented(name), Datum::Integer(1)));
        }
        let behind = (Bound::Excluded(name), Bound::Unbounded);
        self.cells.range(behind).next().map(|(name, held)| (name.clone(), held.clone()))
    }
}

/// The name with its last arc counted up, or a first row under a column of the usual depth.
fn invented(name: &Oid) -> Oid {
    let mut arcs: Vec<u32> = name.view().arcs().collect();
    match arcs.last_mut() {
        Some(last) if name.view().len() > 10 => *last += 1,
        _ => arcs.push(1),
    }
    Oid::from_arcs(&arcs).expect("one arc more than a short name")
}
