//! What batches of datagrams need of the system's structures: addresses, message headers, control messages. Linux alone.
//!
//! Here for this crate's own sockets and the simulator's, so that what is unsafe about it stands once. No system call is made here.
//!
//! What it rests on is small: an address is read as the family it names says, in a storage that is large and aligned enough for each;
//! control messages are walked by raw pointers alone, as the kernel wrote them, and read without regard to their alignment: a reference
//! to a message's header would cover the header only, and what lies behind it could not be reached through it.
#![allow(
    unsafe_code,
    reason = "structures of system calls that no safe crate in use offers; see the module's text"
)]

use std::mem::{MaybeUninit, size_of};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::ptr;

/// A place for the address of a datagram.
#[derive(Clone, Copy)]
pub struct Name(libc::sockaddr_storage);

impl Name {
    /// Room for any address, in bytes.
    pub const BYTES: libc::socklen_t = size_of::<libc::sockaddr_storage>() as libc::socklen_t;

    /// Of no family.
    pub fn empty() -> Self {
        // SAFETY: an address of zeros is a valid one, of no family: numbers and arrays of numbers.
        Self(unsafe { MaybeUninit::zeroed().assume_init() })
    }

    /// For a message header; valid as long as nothing else uses this place.
    pub fn as_mut_ptr(&mut self) -> *mut libc::c_void {
        (&raw mut self.0).cast()
    }

    /// The address; none of families other than IPv4 and IPv6.
    pub fn get(&self) -> Option<SocketAddr> {
        let at = &raw const self.0;
        match libc::c_int::from(self.0.ss_family) {
            libc::AF_INET => {
                // SAFETY: the family says which structure it is; the storage is large and aligned enough for each.
                let v4 = unsafe { at.cast::<libc::sockaddr_in>().read() };
                let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
                Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
            }
            libc::AF_INET6 => {
                // SAFETY: as above.
                let v6 = unsafe { at.cast::<libc::sockaddr_in6>().read() };
                let (ip, port) = (Ipv6Addr::from(v6.sin6_addr.s6_addr), u16::from_be(v6.sin6_port));
                Some(SocketAddrV6::new(ip, port, v6.sin6_flowinfo, v6.sin6_scope_id).into())
            }
            _ => None,
        }
    }

    /// Puts an address there; returns its length.
    pub fn set(&mut self, to: SocketAddr) -> libc::socklen_t {
        let at = &raw mut self.0;
        match to {
            SocketAddr::V4(to) => {
                let v4 = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: to.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from(*to.ip()).to_be() },
                    sin_zero: [0; 8],
                };
                // SAFETY: the storage is large and aligned enough for every address.
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
}

/// Room for one control message of up to 48 bytes of content, aligned as the kernel's macros want it.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub struct Control([u8; Self::BYTES]);

impl Control {
    /// Its size, header included.
    pub const BYTES: usize = 64;

    /// Nothing in it.
    pub const fn empty() -> Self {
        Self([0; Self::BYTES])
    }

    /// For a message header; valid as long as nothing else uses this place.
    pub fn as_mut_ptr(&mut self) -> *mut libc::c_void {
        (&raw mut self.0).cast()
    }

    /// Puts one message there; returns the length to give to the kernel.
    ///
    /// # Panics
    /// If the content does not fit.
    pub fn set<T: Copy>(&mut self, level: libc::c_int, kind: libc::c_int, content: T) -> usize {
        let size = size_of::<T>() as libc::c_uint;
        // SAFETY: a computation on numbers.
        let (length, space) = unsafe { (libc::CMSG_LEN(size) as usize, libc::CMSG_SPACE(size) as usize) };
        assert!(space <= Self::BYTES, "a control message of {space} bytes");
        let header: *mut libc::cmsghdr = (&raw mut self.0).cast();
        // SAFETY: the bytes are aligned as a header wants it and, by the assertion, enough for it and its content; the pointer is that
        // to all of them.
        unsafe {
            (&raw mut (*header).cmsg_len).write(length as _);
            (&raw mut (*header).cmsg_level).write(level);
            (&raw mut (*header).cmsg_type).write(kind);
            libc::CMSG_DATA(header).cast::<T>().write_unaligned(content);
        }
        space
    }
}

/// A header without anything.
pub fn empty_header() -> libc::mmsghdr {
    // SAFETY: a header of zeros is a valid one: null pointers with lengths of zero.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

/// The content of the first control message of a level and kind.
///
/// # Safety
/// The header's control pointer is null, or leads to as many live bytes as its control length says, aligned as a [`Control`], which
/// nobody writes to or holds a mutable reference to until this returns. They hold control messages as the kernel writes them, those of
/// this level and kind with a content that is a valid `T`.
pub unsafe fn control<T: Copy>(header: &libc::msghdr, level: libc::c_int, kind: libc::c_int) -> Option<T> {
    // SAFETY: by the contract the bytes are there.
    let mut at: *const libc::cmsghdr = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !at.is_null() {
        // SAFETY: the macros return null or a whole header within the bytes; the pointer comes from the one to all of them.
        let message = unsafe { ptr::read_unaligned(at) };
        // SAFETY: a computation on a number.
        let whole = unsafe { libc::CMSG_LEN(size_of::<T>() as libc::c_uint) } as usize;
        if (message.cmsg_level, message.cmsg_type) == (level, kind) && message.cmsg_len as usize >= whole {
            // SAFETY: its length says that so much content lies behind the header; by the contract it is a `T`.
            return Some(unsafe { libc::CMSG_DATA(at).cast::<T>().read_unaligned() });
        }
        // SAFETY: as above.
        at = unsafe { libc::CMSG_NXTHDR(header, at) };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_return_as_they_were_put() {
        assert_eq!(Name::empty().get(), None);
        for text in ["127.0.0.1:161", "255.255.255.255:65535", "[::1]:161", "[2001:db8::7]:0"] {
            let to: SocketAddr = text.parse().expect("a good address");
            let mut name = Name::empty();
            assert!(name.set(to) < Name::BYTES);
            assert_eq!(name.get(), Some(to));
        }
        let scoped = SocketAddrV6::new(Ipv6Addr::LOCALHOST, 161, 7, 3).into();
        let mut name = Name::empty();
        name.set(scoped);
        assert_eq!(name.get(), Some(scoped));
    }

    fn header(control: &mut Control, length: usize) -> libc::msghdr {
        let mut header = empty_header().msg_hdr;
        header.msg_control = control.as_mut_ptr();
        header.msg_controllen = length as _;
        header
    }

    #[test]
    fn control_messages_are_found_behind_others() {
        let find = |header: &libc::msghdr, kind| {
            // SAFETY: the header is made of a `Control` that lives and holds what `set` put there.
            unsafe { control::<u32>(header, libc::SOL_SOCKET, kind) }
        };
        let (mut one, mut other) = (Control::empty(), Control::empty());
        let length = one.set(libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 0xdead_beef_u32);
        assert_eq!(find(&header(&mut one, length), libc::SO_RXQ_OVFL), Some(0xdead_beef));
        assert_eq!(find(&header(&mut one, length), libc::SO_MARK), None);
        assert_eq!(find(&header(&mut one, 0), libc::SO_RXQ_OVFL), None);
        assert_eq!(find(&empty_header().msg_hdr, libc::SO_RXQ_OVFL), None);
        let second = other.set(libc::SOL_SOCKET, libc::SO_MARK, 7_u32);
        let mut both = one;
        both.0[length..length + second].copy_from_slice(&other.0[..second]);
        assert_eq!(find(&header(&mut both, length + second), libc::SO_MARK), Some(7));
        // One that says it holds less than what is wanted of it.
        let short = one.set(libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 1_u8);
        assert_eq!(find(&header(&mut one, short), libc::SO_RXQ_OVFL), None);
    }

    #[test]
    #[should_panic(expected = "a control message of")]
    fn what_does_not_fit_is_refused() {
        Control::empty().set(libc::SOL_SOCKET, libc::SO_MARK, [0_u64; 7]);
    }
}
