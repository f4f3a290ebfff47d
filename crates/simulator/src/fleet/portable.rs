//! A socket for each device, one datagram a system call: what works on every Unix.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::stray::Strays;
use super::worker::{Gate, Letter, REQUEST_MAX, Way};
use crate::outbox::Route;

pub(super) struct Portable {
    /// With the device's place and where it is reached.
    sockets: Vec<(usize, UdpSocket, SocketAddr)>,
    strays: Strays,
    buffer: Vec<u8>,
}

impl Portable {
    pub(super) fn new(share: Vec<(usize, UdpSocket)>) -> io::Result<Self> {
        let own = |(device, socket): (usize, UdpSocket)| socket.local_addr().map(|own| (device, socket, own));
        let sockets = share.into_iter().map(own).collect::<io::Result<_>>()?;
        Ok(Self { sockets, strays: Strays::default(), buffer: vec![0; REQUEST_MAX] })
    }

    fn ready(&self, wait: Duration) -> io::Result<Vec<usize>> {
        let mut fds: Vec<_> =
            self.sockets.iter().map(|(_, socket, _)| PollFd::new(socket, PollFlags::IN)).collect();
        let timeout = Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: wait.subsec_nanos().into() };
        poll(&mut fds, Some(&timeout))?;
        Ok((0..fds.len()).filter(|&at| !fds[at].revents().is_empty()).collect())
    }
}

impl Gate for Portable {
    fn receive(&mut self, wait: Duration, each: &mut dyn FnMut(Way, &mut [u8])) -> io::Result<()> {
        for at in self.ready(wait)? {
            let (device, socket, _) = &self.sockets[at];
            match socket.recv_from(&mut self.buffer) {
                Ok((length, to)) => {
                    each(Way { device: *device, socket: at, to }, &mut self.buffer[..length]);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn send(&mut self, letters: &[Letter], bytes: &[u8]) -> u64 {
        let mut dropped = 0;
        for Letter { way, route, bytes: range } in letters {
            let (_, socket, own) = &self.sockets[way.socket];
            let bytes = &bytes[range.clone()];
            let sent = match route {
                Route::Own => socket.send_to(bytes, way.to).map(drop),
                astray => self.strays.send(*own, *astray, way.to, bytes),
            };
            dropped += u64::from(sent.is_err());
        }
        dropped
    }
}
