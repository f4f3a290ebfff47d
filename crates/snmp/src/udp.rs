//! UDP sockets that move up to [`BATCH`] datagrams per system call, and the thread's alarm clock.
//!
//! On Linux by recvmmsg and sendmmsg ([`batch`]), elsewhere one by one ([`plain`]). Knows nothing of SNMP.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;

#[cfg(target_os = "linux")]
mod batch;
#[cfg(any(test, not(target_os = "linux")))]
mod plain;

#[cfg(target_os = "linux")]
pub(crate) use batch::{Receiver, count_drops, send};
#[cfg(not(target_os = "linux"))]
pub(crate) use plain::{Receiver, count_drops, send};

/// Datagrams in one system call.
pub(crate) const BATCH: usize = 64;
/// The longest datagram that is taken whole.
const DATAGRAM_BYTES_MAX: usize = 65_536;

/// What one call received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) datagrams: usize,
    /// Datagrams that were longer than the buffer.
    pub(crate) cut_off: usize,
    /// Datagrams that the kernel dropped since the socket was opened, where it told.
    pub(crate) drops: Option<u32>,
}

/// Datagrams that are to be sent from one socket.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    /// Entries before this one are sent.
    sent: usize,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    start: usize,
    end: usize,
    to: SocketAddr,
    id: i32,
}

impl Outbox {
    pub(crate) fn is_full(&self) -> bool {
        self.entries.len() >= BATCH
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sent == self.entries.len()
    }

    pub(crate) fn push(&mut self, to: SocketAddr, packet: &[u8], id: i32) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(packet);
        self.entries.push(Entry { start, end: self.bytes.len(), to, id });
    }

    /// What is left to send.
    fn left(&self) -> impl ExactSizeIterator<Item = (SocketAddr, &[u8])> {
        self.entries[self.sent..].iter().map(|entry| (entry.to, &self.bytes[entry.start..entry.end]))
    }

    /// Sends what is in it. A datagram that the system refuses is given to `refused` and passed over. Returns the number of system
    /// calls; fewer datagrams are gone than there were if the socket's send buffer is full.
    pub(crate) fn flush(&mut self, socket: &UdpSocket, mut refused: impl FnMut(i32)) -> u64 {
        let mut calls = 0;
        while !self.is_empty() {
            calls += 1;
            match send(socket, self.left()) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return calls,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    refused(self.entries[self.sent].id);
                    self.sent += 1;
                }
            }
        }
        self.bytes.clear();
        self.entries.clear();
        self.sent = 0;
        calls
    }
}

/// Opens a socket of a family, bound to an address where one is given; with the size of its receive buffer as the kernel counts it.
pub(crate) fn open(v6: bool, bind: Option<IpAddr>, receive_bytes: usize) -> io::Result<(UdpSocket, usize)> {
    let any = if v6 { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { IpAddr::V4(Ipv4Addr::UNSPECIFIED) };
    let address = bind.unwrap_or(any);
    if address.is_ipv6() != v6 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "`bind` is of the other address family"));
    }
    let socket = UdpSocket::bind((address, 0))?;
    socket.set_nonblocking(true)?;
    // The kernel gives what it may (net.core.rmem_max); what it gave is what counts.
    let _ = rustix::net::sockopt::set_socket_recv_buffer_size(&socket, receive_bytes);
    count_drops(&socket);
    let size = rustix::net::sockopt::socket_recv_buffer_size(&socket)?;
    Ok((socket, size))
}

/// Ends a thread's wait.
#[derive(Debug)]
pub(crate) struct Alarm {
    read: OwnedFd,
    write: OwnedFd,
}

impl Alarm {
    pub(crate) fn new() -> io::Result<Self> {
        use rustix::pipe::{PipeFlags, pipe_with};
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        Ok(Self { read, write })
    }

    pub(crate) fn ring(&self) {
        // A full pipe rings already.
        let _ = rustix::io::write(&self.write, &[0]);
    }

    pub(crate) fn quiet(&self) {
        let mut bytes = [0; 64];
        while rustix::io::read(&self.read, &mut bytes).is_ok_and(|count| count == bytes.len()) {}
    }

    pub(crate) fn fd(&self) -> &OwnedFd {
        &self.read
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends from one socket to another and back in batches, by the means given.
    fn check(
        send_all: impl Fn(&UdpSocket, &mut Outbox),
        mut receive: impl FnMut(&UdpSocket, &mut Vec<(SocketAddr, Vec<u8>)>),
    ) {
        for ip in ["127.0.0.1", "::1"] {
            let ip: IpAddr = ip.parse().expect("good");
            let (here, _) = open(ip.is_ipv6(), Some(ip), 1 << 20).expect("loopback");
            let (there, buffer) = open(ip.is_ipv6(), Some(ip), 1 << 20).expect("loopback");
            assert!(buffer > 100_000, "{buffer}");
            let (from, to) = (here.local_addr().expect("bound"), there.local_addr().expect("bound"));
            let packets: Vec<Vec<u8>> = (0..100_u8).map(|n| vec![n; usize::from(n) * 10]).collect();
            let mut got = Vec::new();
            for chunk in packets.chunks(BATCH) {
                let mut outbox = Outbox::default();
                chunk.iter().for_each(|packet| outbox.push(to, packet, 1));
                assert_eq!(outbox.is_full(), chunk.len() == BATCH);
                send_all(&here, &mut outbox);
                assert!(outbox.is_empty());
                receive(&there, &mut got);
            }
            assert_eq!(got, packets.into_iter().map(|packet| (from, packet)).collect::<Vec<_>>());
        }
    }

    fn collect(source: SocketAddr, packet: &mut [u8], got: &mut Vec<(SocketAddr, Vec<u8>)>) {
        got.push((source, packet.to_vec()));
    }

    #[test]
    fn datagrams_pass_in_batches() {
        let mut receiver = Receiver::new();
        check(
            |socket, outbox| {
                assert_eq!(outbox.flush(socket, |_| panic!("refused")), 1, "one call for all");
            },
            |socket, got| {
                let received = receiver.receive(socket, |source, packet| collect(source, packet, got));
                assert_eq!(received.expect("readable").cut_off, 0);
            },
        );
    }

    #[test]
    fn datagrams_pass_one_by_one() {
        let mut receiver = plain::Receiver::new();
        check(
            |socket, outbox| {
                assert_eq!(plain::send(socket, outbox.left()).expect("room"), outbox.left().len());
                outbox.sent = outbox.entries.len();
            },
            |socket, got| {
                receiver.receive(socket, |source, packet| collect(source, packet, got)).expect("readable");
            },
        );
    }

    #[test]
    fn a_refused_datagram_does_not_hold_up_the_others() {
        let (here, _) = open(false, None, 1 << 16).expect("loopback");
        let (there, _) = open(false, Some(Ipv4Addr::LOCALHOST.into()), 1 << 16).expect("loopback");
        let to = there.local_addr().expect("bound");
        let mut outbox = Outbox::default();
        outbox.push(to, b"first", 1);
        // Port 0 is nobody's.
        outbox.push((Ipv4Addr::LOCALHOST, 0).into(), b"second", 2);
        outbox.push(to, b"third", 3);
        let mut refused = Vec::new();
        outbox.flush(&here, |id| refused.push(id));
        assert_eq!(refused, [2]);
        let mut got = Vec::new();
        Receiver::new().receive(&there, |_, packet| got.push(packet.to_vec())).expect("readable");
        assert_eq!(got, [b"first".to_vec(), b"third".to_vec()]);
    }

    #[test]
    fn what_the_kernel_drops_is_counted() {
        let (here, _) = open(false, None, 1 << 16).expect("loopback");
        let (there, size) = open(false, Some(Ipv4Addr::LOCALHOST.into()), 4096).expect("loopback");
        let to = there.local_addr().expect("bound");
        for _ in 0..size / 1000 + 20 {
            here.send_to(&[0; 1000], to).expect("loopback takes all");
        }
        let mut receiver = Receiver::new();
        while receiver.receive(&there, |_, _| ()).is_ok_and(|received| received.datagrams > 0) {}
        // The count comes with the next datagram.
        here.send_to(&[0; 10], to).expect("loopback takes all");
        let received = receiver.receive(&there, |_, _| ()).expect("readable");
        assert!(received.drops.is_some_and(|drops| drops > 0), "{received:?}");
    }

    #[test]
    fn a_bind_of_the_other_family_is_refused() {
        assert!(open(true, Some(Ipv4Addr::LOCALHOST.into()), 4096).is_err());
    }

    #[test]
    fn an_alarm_rings_until_it_is_quieted() {
        let alarm = Alarm::new().expect("a pipe");
        (0..100_000).for_each(|_| alarm.ring());
        alarm.quiet();
        alarm.quiet();
        assert!(rustix::io::read(alarm.fd(), &mut [0; 1]).is_err(), "nothing is left");
    }
}
