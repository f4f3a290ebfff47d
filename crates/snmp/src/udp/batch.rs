//! Up to 64 datagrams per system call: recvmmsg(2), sendmmsg(2), and the kernel's count of what it dropped (SO_RXQ_OVFL).
//!
//! The one module of this crate with unsafe code: rustix has no recvmmsg, and its sendmmsg wants a list made anew for each call. What
//! it rests on is small: all pointers that go into a call point into buffers that live in the same function or in `self`, are set
//! right before the call, and are not used after it.
#![allow(unsafe_code, reason = "system calls that no safe crate in use offers; see the module's text")]

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;
use std::ptr;

use super::{BATCH, DATAGRAM_BYTES_MAX, Received};

/// Room for one control message with a number of 32 bits; aligned as `cmsghdr` wants it.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; 32]);

/// Buffers for datagrams that come: 4 MiB of address space, of which only what is used takes memory.
pub(crate) struct Receiver {
    bytes: Vec<u8>,
    names: Vec<libc::sockaddr_storage>,
    controls: Vec<Control>,
}

impl Receiver {
    pub(crate) fn new() -> Self {
        Self {
            bytes: vec![0; BATCH * DATAGRAM_BYTES_MAX],
            names: vec![zeroed_name(); BATCH],
            controls: vec![Control([0; 32]); BATCH],
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
            header.msg_hdr.msg_name = ptr::from_mut(name).cast();
            header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            header.msg_hdr.msg_iov = part;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = control.0.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = control.0.len() as _;
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
            received.drops = received.drops.max(drops(&header.msg_hdr));
        }
        let lengths = headers.map(|header| header.msg_len as usize);
        let buffers = self.bytes.chunks_exact_mut(DATAGRAM_BYTES_MAX);
        for ((bytes, name), length) in buffers.zip(&self.names).zip(lengths).take(count) {
            if let Some(source) = address(name) {
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
    let mut names = [zeroed_name(); BATCH];
    let mut parts = [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; BATCH];
    let mut headers = [empty_header(); BATCH];
    let count = datagrams.len().min(BATCH);
    for ((to, packet), ((header, part), name)) in
        datagrams.zip(headers.iter_mut().zip(&mut parts).zip(&mut names))
    {
        // The kernel only reads from it.
        *part = libc::iovec { iov_base: packet.as_ptr().cast_mut().cast(), iov_len: packet.len() };
        header.msg_hdr.msg_namelen = put_address(name, to);
        header.msg_hdr.msg_name = ptr::from_mut(name).cast();
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

/// The count of dropped datagrams that came with one, if there was any.
fn drops(header: &libc::msghdr) -> Option<u32> {
    // SAFETY: the header is as the kernel left it: its control buffer and length are those of one `Control`, which still lives.
    let control = unsafe { libc::CMSG_FIRSTHDR(header).as_ref() }?;
    if (control.cmsg_level, control.cmsg_type) != (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) {
        return None;
    }
    // SAFETY: SO_RXQ_OVFL's message holds a u32 behind its header, within the control buffer; it may be unaligned.
    Some(unsafe { ptr::read_unaligned(libc::CMSG_DATA(control).cast::<u32>()) })
}

fn empty_header() -> libc::mmsghdr {
    // SAFETY: a header of zeros is a valid one: null pointers with lengths of zero.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

fn zeroed_name() -> libc::sockaddr_storage {
    // SAFETY: an address of zeros is a valid one, of no family.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

/// None for families other than IPv4 and IPv6.
fn address(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    let at = ptr::from_ref(name);
    match libc::c_int::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says which structure it is; `sockaddr_storage` is large and aligned enough for each.
            let v4 = unsafe { *at.cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let v6 = unsafe { *at.cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            Some(SocketAddrV6::new(ip, u16::from_be(v6.sin6_port), v6.sin6_flowinfo, v6.sin6_scope_id).into())
        }
        _ => None,
    }
}

/// Writes an address; returns its length.
fn put_address(name: &mut libc::sockaddr_storage, to: SocketAddr) -> libc::socklen_t {
    let at = ptr::from_mut(name);
    match to {
        SocketAddr::V4(to) => {
            let v4 = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: to.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from(*to.ip()).to_be() },
                sin_zero: [0; 8],
            };
            // SAFETY: `sockaddr_storage` is large and aligned enough for every address.
            unsafe { at.cast::<libc::sockaddr_in>().write(v4) };
            size_of::<libc::sockaddr_in>() as libc::socklen_t
        }
        SocketAddr::V6(to) => {
            let v6 = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: to.port().to_be(),
                sin6_flowinfo: to.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: to.ip().octets() },
                sin6_scope_id: to.scope_id(),
            };
            // SAFETY: as above.
            unsafe { at.cast::<libc::sockaddr_in6>().write(v6) };
            size_of::<libc::sockaddr_in6>() as libc::socklen_t
        }
    }
}
