//! One datagram per system call: what every system has.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use super::{BATCH, DATAGRAM_BYTES_MAX, Received};

/// Buffers for datagrams that come.
#[derive(Debug)]
pub(crate) struct Receiver(Vec<u8>);

impl Receiver {
    pub(crate) fn new() -> Self {
        Self(vec![0; DATAGRAM_BYTES_MAX])
    }

    /// Receives what is there, up to a batch.
    pub(crate) fn receive(
        &mut self,
        socket: &UdpSocket,
        mut take: impl FnMut(SocketAddr, &mut [u8]),
    ) -> io::Result<Received> {
        let mut received = Received::default();
        while received.datagrams < BATCH {
            match socket.recv_from(&mut self.0) {
                Ok((length, source)) => {
                    received.datagrams += 1;
                    take(source, &mut self.0[..length]);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(received)
    }
}

/// Sends datagrams; returns how many went. An error is the first one's.
pub(crate) fn send<'a>(
    socket: &UdpSocket,
    datagrams: impl ExactSizeIterator<Item = (SocketAddr, &'a [u8])>,
) -> io::Result<usize> {
    let mut count = 0;
    for (to, packet) in datagrams {
        match socket.send_to(packet, to) {
            Ok(_) => count += 1,
            Err(_) if count > 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}

/// This system does not tell how many datagrams it dropped.
#[cfg(not(target_os = "linux"))]
pub(crate) fn count_drops(_: &UdpSocket) {}
