//! The manager's side over UDP: one socket per address family, shared by all targets.
//!
//! A request's id is the number of a slot and the slot's generation, so that a reply finds who waits for it without a search. A reply
//! counts only if id, source address, version and community are those of a request that still waits; every other datagram is
//! counted by what is wrong with it ([`Stats`]) and dropped. Retries repeat the same datagram, so that an answer to the first try is
//! still an answer.
//!
//! Limits: [`Options::in_flight_max`] requests wait at a time, the others queue (the kernel's receive buffer holds about a hundred
//! large replies); a datagram has at most 65,535 bytes.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::ber::{ParseError, Writer};
use crate::community::Community;
use crate::error::Error;
use crate::message::{Header, Message, Version};
use crate::pdu::{ErrorStatus, PduKind, Request};
use crate::walk::{Cell, Reason, Walk};

mod slots;

use slots::{Slots, Ticket, Verdict};

/// Whom to ask, and how patiently.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where the agent listens; its replies must come from here.
    pub address: SocketAddr,
    /// Protocol version.
    pub version: Version,
    /// The credential.
    pub community: Community,
    /// How long each try waits.
    pub timeout: Duration,
    /// Tries after the first.
    pub retries: u32,
}

/// Bounds of a client.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Requests that may wait for replies at the same time; 1 to 65,536.
    pub in_flight_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { in_flight_max: 128 }
    }
}

/// A datagram that answers a request.
#[derive(Clone, Debug)]
pub struct Reply {
    packet: Vec<u8>,
    /// From the last try to the reply.
    pub round_trip: Duration,
    /// Tries it took.
    pub tries: u32,
}

impl Reply {
    /// Reads it; borrows from it.
    pub fn message(&self) -> Result<Message<'_>, ParseError> {
        Message::read(&self.packet)
    }

    /// The datagram.
    pub fn packet(&self) -> &[u8] {
        &self.packet
    }
}

/// Counters since the client was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each name says what is counted")]
pub struct Stats {
    pub requests: u64,
    pub retries: u64,
    pub timeouts: u64,
    pub sent_bytes: u64,
    pub received_datagrams: u64,
    pub received_bytes: u64,
    /// Replies that answered a request.
    pub replies: u64,
    /// Replies to requests that had given up.
    pub late: u64,
    /// Replies to requests that had been answered.
    pub duplicate: u64,
    /// Replies whose id was never given out, or too long ago to tell.
    pub unknown_id: u64,
    pub wrong_source: u64,
    pub wrong_version: u64,
    pub wrong_community: u64,
    /// Datagrams that are no message of v1 or v2c.
    pub malformed: u64,
    /// Messages that are no response.
    pub not_a_response: u64,
    pub send_errors: u64,
    pub receive_errors: u64,
}

macro_rules! counters {
    ($($name:ident),* $(,)?) => {
        #[derive(Default)]
        struct Counters { $($name: AtomicU64),* }

        impl Counters {
            fn stats(&self) -> Stats {
                Stats { $($name: self.$name.load(Ordering::Relaxed)),* }
            }
        }
    };
}

counters!(
    requests,
    retries,
    timeouts,
    sent_bytes,
    received_datagrams,
    received_bytes,
    replies,
    late,
    duplicate,
    unknown_id,
    wrong_source,
    wrong_version,
    wrong_community,
    malformed,
    not_a_response,
    send_errors,
    receive_errors,
);

fn add(counter: &AtomicU64, count: usize) {
    counter.fetch_add(count as u64, Ordering::Relaxed);
}

struct Shared {
    slots: Mutex<Slots>,
    counters: Counters,
}

/// Sends requests and finds their replies. Must be used within a tokio runtime with I/O and time.
pub struct Client {
    shared: Arc<Shared>,
    in_flight: Semaphore,
    /// IPv4 and IPv6, opened when first needed.
    links: Mutex<[Option<Link>; 2]>,
    started: Instant,
}

struct Link {
    socket: Arc<UdpSocket>,
    receiver: JoinHandle<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.receiver.abort();
    }
}

impl Client {
    /// Makes a client; opens nothing yet.
    pub fn new(options: Options) -> Self {
        let in_flight_max = options.in_flight_max.clamp(1, Slots::MAX);
        let shared = Shared { slots: Mutex::new(Slots::new(in_flight_max)), counters: Counters::default() };
        Self {
            shared: Arc::new(shared),
            in_flight: Semaphore::new(in_flight_max),
            links: Mutex::default(),
            started: Instant::now(),
        }
    }

    /// What was sent, received and dropped.
    pub fn stats(&self) -> Stats {
        self.shared.counters.stats()
    }

    /// The clock of this client's walks: time since it was made.
    pub fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Asks, repeats where nothing comes back, and returns the first reply that counts. The reply may carry an error status.
    pub async fn request(&self, target: &Target, request: &Request) -> Result<Reply, Error> {
        let _permit = self.in_flight.acquire().await.expect("the semaphore is never closed");
        let socket = self.socket(target.address)?;
        let counters = &self.shared.counters;
        let (mut ticket, mut answer) = Ticket::take(&self.shared, target);
        let packet = encode(target, request, ticket.request_id());
        add(&counters.requests, 1);
        let tries_max = target.retries.saturating_add(1);
        for tries in 1..=tries_max {
            if tries > 1 {
                add(&counters.retries, 1);
            }
            self.send(&socket, &packet, target.address).await?;
            let sent = Instant::now();
            if let Ok(packet) = tokio::time::timeout(target.timeout, &mut answer).await {
                let packet = packet.expect("a slot keeps its sender until it is answered or dropped");
                return Ok(Reply { packet, round_trip: sent.elapsed(), tries });
            }
        }
        ticket.give_up();
        add(&counters.timeouts, 1);
        Err(Error::Timeout { target: target.address, tries: tries_max })
    }

    /// Asks for the values of instances and refuses replies with an error status. v2c marks missing instances one by one; v1 answers
    /// noSuchName for all.
    pub async fn get(&self, target: &Target, request: &Request) -> Result<Reply, Error> {
        let reply = self.request(target, request).await?;
        let malformed = |error| Error::Malformed { target: target.address, error };
        let (status, index) = {
            let pdu = reply.message().map_err(malformed)?.pdu;
            (pdu.error_status(), pdu.error_index())
        };
        if status == ErrorStatus::NO_ERROR {
            return Ok(reply);
        }
        Err(Error::Status { target: target.address, status, index })
    }

    /// Carries a walk to its end; how it ended stands in the walk. Returns how many datagrams were sent, retries included.
    pub async fn walk(&self, target: &Target, walk: &mut Walk, mut cell: impl FnMut(Cell<'_>) + Send) -> u64 {
        let mut sent = 0;
        while let Some(request) = walk.next_request(self.now()) {
            let deadline = walk.deadline().expect("a walk that asks has a deadline");
            let asked = self.request(target, &request);
            // What is left of the walk's time may be less than all tries take.
            let Ok(asked) = tokio::time::timeout_at(self.started + deadline, asked).await else {
                // The next request is refused by the walk's own bound.
                sent += 1;
                continue;
            };
            let _step = match asked {
                Ok(reply) => {
                    sent += u64::from(reply.tries);
                    match reply.message() {
                        Ok(message) => walk.on_reply(&message.pdu, reply.packet.len(), &mut cell),
                        Err(error) => walk.on_malformed(error),
                    }
                }
                Err(Error::Timeout { tries, .. }) => {
                    sent += u64::from(tries);
                    walk.on_timeout()
                }
                Err(_) => {
                    walk.abort(&Reason::Unreachable);
                    break;
                }
            };
        }
        sent
    }

    async fn send(&self, socket: &UdpSocket, packet: &[u8], target: SocketAddr) -> Result<(), Error> {
        let counters = &self.shared.counters;
        add(&counters.sent_bytes, packet.len());
        match socket.send_to(packet, target).await {
            Ok(_) => Ok(()),
            Err(source) => {
                add(&counters.send_errors, 1);
                Err(Error::Send { target, source })
            }
        }
    }

    fn socket(&self, target: SocketAddr) -> Result<Arc<UdpSocket>, Error> {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        let link = &mut links[usize::from(target.is_ipv6())];
        if let Some(link) = link {
            return Ok(link.socket.clone());
        }
        let socket = Arc::new(open(target).map_err(|source| Error::Socket { target, source })?);
        let receiver = tokio::spawn(receive(socket.clone(), self.shared.clone()));
        *link = Some(Link { socket: socket.clone(), receiver });
        Ok(socket)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Client").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

fn encode(target: &Target, request: &Request, request_id: i32) -> Vec<u8> {
    let community = target.community.as_bytes();
    let message = Message { version: target.version, community, pdu: request.pdu(request_id), trailing: 0 };
    let mut packet = Vec::new();
    message.write(&mut Writer::default(), &mut packet);
    packet
}

fn open(target: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = match target {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = std::net::UdpSocket::bind(any)?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}

/// Reads a socket until the client is dropped.
async fn receive(socket: Arc<UdpSocket>, shared: Arc<Shared>) {
    const DATAGRAM_BYTES_MAX: usize = 65_535;
    const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(10);
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        match socket.recv_from(&mut buffer).await {
            Ok((length, source)) => shared.accept(&buffer[..length], source),
            Err(_) => {
                add(&shared.counters.receive_errors, 1);
                tokio::time::sleep(PAUSE_AFTER_ERROR).await;
            }
        }
    }
}

impl Shared {
    /// Hands a datagram to who waits for it, or counts why nobody does.
    fn accept(&self, datagram: &[u8], source: SocketAddr) {
        let counters = &self.counters;
        add(&counters.received_datagrams, 1);
        add(&counters.received_bytes, datagram.len());
        let counter = match Header::read(datagram) {
            Err(_) => &counters.malformed,
            Ok(header) if header.kind != PduKind::Response => &counters.not_a_response,
            Ok(header) => match self.lock().judge(&header, source) {
                Verdict::Answer(waiting) => {
                    // Whoever waited may have gone in this moment; the reply is then as good as late.
                    let delivered = waiting.answer.send(datagram.to_vec()).is_ok();
                    if delivered { &counters.replies } else { &counters.late }
                }
                Verdict::Late => &counters.late,
                Verdict::Duplicate => &counters.duplicate,
                Verdict::UnknownId => &counters.unknown_id,
                Verdict::WrongSource => &counters.wrong_source,
                Verdict::WrongVersion => &counters.wrong_version,
                Verdict::WrongCommunity => &counters.wrong_community,
            },
        };
        add(counter, 1);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
