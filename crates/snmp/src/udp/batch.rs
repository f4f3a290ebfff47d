//! Up to 64 datagrams per system call: recvmmsg(2), sendmmsg(2), and the kernel's count of what it dropped (SO_RXQ_OVFL).
//!
//! With [`socket`](crate::socket) the one module of this crate with unsafe code: rustix has no recvmmsg, and its sendmmsg wants a list
//! made anew for each call. What it rests on is small: all pointers that go into a call point into buffers that live in the same function
//! or in `self`, are set right before the call, and are not used after it but to read control messages, before their buffers are
//! borrowed again.
#![allow(unsafe_code, reason = "system calls that no safe crate in use offers; see the module's text")]

use std::io;
use std::mem::size_of;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::ptr;

use super::{BATCH, DATAGRAM_BYTES_MAX, Received};
use crate::socket::{Control, Name, control, empty_header};

/// Buffers for datagrams that come: 4 MiB of address space, of which only what is used takes memory.
pub(crate) struct Receiver {
    bytes: Vec<u8>,
    names: Vec<Name>,
    controls: Vec<Control>,
}

impl Receiver {
    pub(crate) fn new() -> Self {
        Self {
            bytes: vec![0; BATCH * DATAGRAM_BYTES_MAX],
            names: vec![Name::empty(); BATCH],
            controls: vec![Control::empty(); BATCH],
        }
    }

    /// Receives what is there, up to a batch, without waiting.
    pub(crate) fn receive(
        &mut self,
        socket: &UdpSocket,
        mut take: impl FnMut(SocketAddr, &mut [u8]),
    ) -> io::Result<Received> {
        let mut parts = [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; BATCH];
        let mut headers = [empty_header(); BATCH];
        let buffers = self.bytes.chunks_exact_mut(DATAGRAM_BYTES_MAX);
        for (((header, part), bytes), (name, control)) in
            headers.iter_mut().zip(&mut parts).zip(buffers).zip(self.names.iter_mut().zip(&mut self.controls))
        {
            *part = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
            header.msg_hdr.msg_name = name.as_mut_ptr();
            header.msg_hdr.msg_namelen = Name::BYTES;
            header.msg_hdr.msg_iov = part;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = control.as_mut_ptr();
            header.msg_hdr.msg_controllen = Control::BYTES as _;
        }
        // SAFETY: the descriptor is open while `socket` is borrowed. Each of the BATCH headers points to one name, one part and one
        // control buffer of the sizes it says, all of which are exclusively borrowed or local and outlive the call; no timeout.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                BATCH as _,
                libc::MSG_DONTWAIT as _,
                ptr::null_mut(),
            )
        };
        let mut received = Received::default();
        let count = match usize::try_from(count) {
            Ok(count) => count,
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::WouldBlock => return Ok(received),
                error => return Err(error),
            },
        };
        received.datagrams = count;
        for header in &headers[..count] {
            if header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0 {
                received.cut_off += 1;
            }
            // SAFETY: the header and its control bytes, one `Control`, are as the kernel left them and were not borrowed since;
            // SO_RXQ_OVFL's message holds a number of 32 bits.
            let drops = unsafe { control::<u32>(&header.msg_hdr, libc::SOL_SOCKET, libc::SO_RXQ_OVFL) };
            received.drops = received.drops.max(drops);
        }
        let lengths = headers.map(|header| header.msg_len as usize);
        let buffers = self.bytes.chunks_exact_mut(DATAGRAM_BYTES_MAX);
        for ((bytes, name), length) in buffers.zip(&self.names).zip(lengths).take(count) {
            if let Some(source) = name.get() {
                take(source, &mut bytes[..length.min(DATAGRAM_BYTES_MAX)]);
            }
        }
        Ok(received)
    }
}

/// Sends datagrams without waiting, up to a batch; returns how many went. An error is the first one's.
pub(crate) fn send<'a>(
    socket: &UdpSocket,
    datagrams: impl ExactSizeIterator<Item = (SocketAddr, &'a [u8])>,
) -> io::Result<usize> {
    let mut names = [Name::empty(); BATCH];
    let mut parts = [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; BATCH];
    let mut headers = [empty_header(); BATCH];
    let count = datagrams.len().min(BATCH);
    for ((to, packet), ((header, part), name)) in
        datagrams.zip(headers.iter_mut().zip(&mut parts).zip(&mut names))
    {
        // The kernel only reads from it.
        *part = libc::iovec { iov_base: packet.as_ptr().cast_mut().cast(), iov_len: packet.len() };
        header.msg_hdr.msg_namelen = name.set(to);
        header.msg_hdr.msg_name = name.as_mut_ptr();
        header.msg_hdr.msg_iov = part;
        header.msg_hdr.msg_iovlen = 1;
    }
    // SAFETY: the descriptor is open while `socket` is borrowed. The first `count` headers point to names and parts of the sizes they
    // say, which are local or borrowed for longer than the call; the kernel does not write to the packets.
    let sent = unsafe {
        libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), count as _, libc::MSG_DONTWAIT as _)
    };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Asks the kernel to tell how many datagrams it dropped. Where it will not, nothing is told.
pub(crate) fn count_drops(socket: &UdpSocket) {
    let on: libc::c_int = 1;
    // SAFETY: the descriptor is open while `socket` is borrowed; the option's value is an int of the size that is given.
    unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RXQ_OVFL,
            ptr::from_ref(&on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        );
    }
}
