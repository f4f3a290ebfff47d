//! Up to 64 datagrams a system call (`recvmmsg`, `sendmmsg`), and one socket for thousands of addresses (`IP_PKTINFO`). Linux alone.
//!
//! The only place of this crate with unsafe code: rustix has neither `recvmmsg` nor `IP_PKTINFO`.

#![expect(
    unsafe_code,
    reason = "recvmmsg, sendmmsg with control messages and IP_PKTINFO, for which rustix has no calls"
)]

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use rustix::event::{Timespec, epoll};
use snmp::socket::{Control, Name, control, empty_header};

use super::stray::{Strays, other_v4};
use super::worker::{Gate, Letter, REQUEST_MAX, Way};
use crate::outbox::Route;

/// Datagrams a system call.
const BATCH: usize = 64;

pub(super) struct Batched {
    sockets: Vec<(usize, UdpSocket, SocketAddr)>,
    /// The first address and the number of addresses of a socket for all.
    wildcard: Option<(Ipv4Addr, usize)>,
    events: OwnedFd,
    /// Sockets on which something may be left.
    ready: VecDeque<usize>,
    strays: Strays,
    buffers: Vec<u8>,
    names: Vec<Name>,
    controls: Vec<Control>,
}

impl Batched {
    /// One socket for so many addresses, counted up from the first.
    pub(super) fn wildcard(socket: UdpSocket, first: Ipv4Addr, count: usize) -> io::Result<Self> {
        let on: libc::c_int = 1;
        // SAFETY: the option's value is a live `c_int`, whose size is given.
        let set = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::IPPROTO_IP,
                libc::IP_PKTINFO,
                (&raw const on).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        };
        if set != 0 {
            return Err(io::Error::last_os_error());
        }
        let mut gate = Self::each(vec![(0, socket)])?;
        gate.wildcard = Some((first, count));
        Ok(gate)
    }

    /// A socket a device.
    pub(super) fn each(share: Vec<(usize, UdpSocket)>) -> io::Result<Self> {
        let own = |(device, socket): (usize, UdpSocket)| socket.local_addr().map(|own| (device, socket, own));
        let sockets: Vec<_> = share.into_iter().map(own).collect::<io::Result<_>>()?;
        let events = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for (at, (_, socket, _)) in sockets.iter().enumerate() {
            epoll::add(&events, socket, epoll::EventData::new_u64(at as u64), epoll::EventFlags::IN)?;
        }
        Ok(Self {
            sockets,
            wildcard: None,
            events,
            ready: VecDeque::new(),
            strays: Strays::default(),
            buffers: vec![0; BATCH * REQUEST_MAX],
            names: vec![Name::empty(); BATCH],
            controls: vec![Control::empty(); BATCH],
        })
    }

    fn wait(&mut self, wait: Duration) -> io::Result<()> {
        let mut events = [MaybeUninit::uninit(); BATCH];
        let timeout = Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: wait.subsec_nanos().into() };
        let (events, _) = match epoll::wait(&self.events, &mut events, Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => return Ok(()),
            events => events?,
        };
        for at in events.iter().map(|event| event.data.u64() as usize) {
            if !self.ready.contains(&at) {
                self.ready.push_back(at);
            }
        }
        Ok(())
    }

    /// Receives up to a batch from one socket; tells how many datagrams came.
    fn receive_from(&mut self, at: usize, each: &mut dyn FnMut(Way, &mut [u8])) -> io::Result<usize> {
        // Bases are taken once: each use of a vector by itself would end what earlier pointers into it may do.
        let (buffers, names) = (self.buffers.as_mut_ptr(), self.names.as_mut_ptr());
        let controls = self.wildcard.map(|_| self.controls.as_mut_ptr());
        let mut vectors: [libc::iovec; BATCH] = std::array::from_fn(|slot| libc::iovec {
            iov_base: buffers.wrapping_add(slot * REQUEST_MAX).cast(),
            iov_len: REQUEST_MAX,
        });
        let vectors = vectors.as_mut_ptr();
        let mut headers: [libc::mmsghdr; BATCH] = std::array::from_fn(|slot| {
            let mut header = empty_header();
            header.msg_hdr.msg_name = names.wrapping_add(slot).cast();
            header.msg_hdr.msg_namelen = Name::BYTES;
            header.msg_hdr.msg_iov = vectors.wrapping_add(slot);
            header.msg_hdr.msg_iovlen = 1;
            if let Some(controls) = controls {
                header.msg_hdr.msg_control = controls.wrapping_add(slot).cast();
                header.msg_hdr.msg_controllen = Control::BYTES as _;
            }
            header
        });
        let (fd, flags) = (self.sockets[at].1.as_raw_fd(), libc::MSG_DONTWAIT);
        // SAFETY: each header points to its own live name, vector, buffer and control bytes, with their sizes: there are a batch of
        // each, and none is moved or used otherwise before the call has returned.
        let count = unsafe {
            libc::recvmmsg(fd, headers.as_mut_ptr(), BATCH as libc::c_uint, flags, std::ptr::null_mut())
        };
        let Ok(count) = usize::try_from(count) else {
            let error = io::Error::last_os_error();
            return if error.kind() == ErrorKind::WouldBlock { Ok(0) } else { Err(error) };
        };
        for (slot, header) in headers[..count].iter().enumerate() {
            // SAFETY: the header and its control bytes, none or one `Control`, are as the kernel left them, and nobody has touched them
            // since; IP_PKTINFO's message holds an `in_pktinfo`.
            let info: Option<libc::in_pktinfo> =
                unsafe { control(&header.msg_hdr, libc::IPPROTO_IP, libc::IP_PKTINFO) };
            let sent_to = info.map(|info| Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr)));
            let whole = header.msg_hdr.msg_flags & libc::MSG_TRUNC == 0;
            let to = self.names[slot].get();
            if let (true, Some(device), Some(to)) = (whole, self.device(at, sent_to), to) {
                let start = slot * REQUEST_MAX;
                let length = (header.msg_len as usize).min(REQUEST_MAX);
                each(Way { device, socket: at, to }, &mut self.buffers[start..start + length]);
            }
        }
        Ok(count)
    }

    /// Which device a datagram is for, by its socket or by where it was sent to.
    fn device(&self, socket: usize, sent_to: Option<Ipv4Addr>) -> Option<usize> {
        let Some((first, devices)) = self.wildcard else { return Some(self.sockets[socket].0) };
        let place = u32::from(sent_to?).checked_sub(first.into())? as usize;
        Some(place).filter(|place| *place < devices)
    }

    /// Where the device of a way is reached.
    fn own(&self, way: &Way) -> SocketAddr {
        let (_, _, bound) = self.sockets[way.socket];
        match self.wildcard {
            Some((first, _)) => (super::nth(first, way.device), bound.port()).into(),
            None => bound,
        }
    }

    /// Sends letters that leave by one socket, up to a batch; tells how many could not be sent.
    fn send_by(&mut self, letters: &[&Letter], bytes: &[u8]) -> u64 {
        let (mut lengths, mut used) = ([0; BATCH], 0);
        for (slot, letter) in letters.iter().enumerate() {
            lengths[slot] = self.names[slot].set(letter.way.to);
            if let Some((first, _)) = self.wildcard {
                let own = super::nth(first, letter.way.device);
                let source = if letter.route == Route::OtherAddress { other_v4(own) } else { own };
                let info = libc::in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: libc::in_addr { s_addr: u32::from(source).to_be() },
                    ipi_addr: libc::in_addr { s_addr: 0 },
                };
                used = self.controls[slot].set(libc::IPPROTO_IP, libc::IP_PKTINFO, info);
            }
        }
        let names = self.names.as_mut_ptr();
        let controls = self.wildcard.map(|_| self.controls.as_mut_ptr());
        let mut vectors: [libc::iovec; BATCH] = std::array::from_fn(|slot| {
            let content = letters.get(slot).map_or(&[][..], |letter| &bytes[letter.bytes.clone()]);
            libc::iovec { iov_base: content.as_ptr().cast_mut().cast(), iov_len: content.len() }
        });
        let vectors = vectors.as_mut_ptr();
        let mut headers: [libc::mmsghdr; BATCH] = std::array::from_fn(|slot| {
            let mut header = empty_header();
            header.msg_hdr.msg_name = names.wrapping_add(slot).cast();
            header.msg_hdr.msg_namelen = lengths[slot];
            header.msg_hdr.msg_iov = vectors.wrapping_add(slot);
            header.msg_hdr.msg_iovlen = 1;
            if let Some(controls) = controls {
                header.msg_hdr.msg_control = controls.wrapping_add(slot).cast();
                header.msg_hdr.msg_controllen = used as _;
            }
            header
        });
        let fd = self.sockets[letters[0].way.socket].1.as_raw_fd();
        let (mut done, mut dropped) = (0, 0);
        while done < letters.len() {
            let left = &mut headers[done..letters.len()];
            // SAFETY: these headers point to live names, vectors, content and control bytes, with their sizes; the kernel only reads
            // them but for `msg_len`. Content lies in `bytes`, which is borrowed.
            let sent = unsafe { libc::sendmmsg(fd, left.as_mut_ptr(), left.len() as libc::c_uint, 0) };
            match usize::try_from(sent) {
                Ok(sent) if sent > 0 => done += sent,
                // The first of them cannot be sent: too long, or its receiver is gone.
                _ => {
                    done += 1;
                    dropped += 1;
                }
            }
        }
        dropped
    }
}

impl Gate for Batched {
    fn receive(&mut self, wait: Duration, each: &mut dyn FnMut(Way, &mut [u8])) -> io::Result<()> {
        // A device that is asked without end must not keep the others from being heard.
        if self.ready.is_empty() {
            self.wait(wait)?;
        } else if self.sockets.len() > 1 {
            self.wait(Duration::ZERO)?;
        }
        // A batch from each socket at most, so that replies leave before much more is read.
        let mut budget = BATCH;
        while let Some(at) = self.ready.pop_front() {
            let count = self.receive_from(at, each)?;
            if count == BATCH {
                self.ready.push_back(at);
            }
            budget = budget.saturating_sub(count);
            if budget == 0 {
                break;
            }
        }
        Ok(())
    }

    fn send(&mut self, letters: &[Letter], bytes: &[u8]) -> u64 {
        let mut dropped = 0;
        let mut run: Vec<&Letter> = Vec::with_capacity(BATCH);
        for letter in letters {
            let astray = match letter.route {
                Route::Own => false,
                Route::OtherAddress => self.wildcard.is_none(),
                Route::OtherPort => true,
            };
            if astray {
                let own = self.own(&letter.way);
                let content = &bytes[letter.bytes.clone()];
                let sent = self.strays.send(own, letter.route, letter.way.to, content);
                dropped += u64::from(sent.is_err());
                continue;
            }
            let other = run.first().is_some_and(|first| first.way.socket != letter.way.socket);
            if other || run.len() == BATCH {
                dropped += self.send_by(&run, bytes);
                run.clear();
            }
            run.push(letter);
        }
        if !run.is_empty() {
            dropped += self.send_by(&run, bytes);
        }
        dropped
    }
}
