//! Sockets for replies from where they should not come: another port, another address.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use crate::outbox::Route;

/// Opened when they are first needed. At most two for each address and port that misbehaves so.
#[derive(Debug, Default)]
pub(super) struct Strays {
    sockets: HashMap<SocketAddr, UdpSocket>,
}

impl Strays {
    /// Sends a datagram as if from a device at `own`, but astray. Where no other address can be had (IPv6, other systems), from another
    /// port.
    pub(super) fn send(
        &mut self,
        own: SocketAddr,
        route: Route,
        to: SocketAddr,
        bytes: &[u8],
    ) -> io::Result<()> {
        let any_port = SocketAddr::new(own.ip(), 0);
        let socket = match route {
            Route::OtherAddress => self.socket(other_address(own)).or_else(|_| self.socket(any_port)),
            _ => self.socket(any_port),
        };
        socket?.send_to(bytes, to).map(drop)
    }

    fn socket(&mut self, from: SocketAddr) -> io::Result<UdpSocket> {
        match self.sockets.entry(from) {
            Entry::Occupied(socket) => socket.get().try_clone(),
            Entry::Vacant(place) => place.insert(UdpSocket::bind(from)?).try_clone(),
        }
    }
}

/// An address that is not the device's, on the same port.
pub(super) fn other_address(own: SocketAddr) -> SocketAddr {
    match own.ip() {
        IpAddr::V4(address) => SocketAddr::new(other_v4(address).into(), own.port()),
        IpAddr::V6(_) => own,
    }
}

/// Within 127.0.0.0/8 the same address with one bit of its second octet changed.
pub(super) fn other_v4(address: Ipv4Addr) -> Ipv4Addr {
    (u32::from(address) ^ 0x0040_0000).into()
}
