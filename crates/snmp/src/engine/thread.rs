//! The thread: sockets on one side, commands on the other, the core between them.
//!
//! It sleeps in poll(2) until a datagram, a command or a timer is due. When many replies are on their way it waits a moment longer
//! before it reads, so that one system call brings many; and as long as that brings many, it waits for nothing else in between: each sleep
//! costs about as much as asking and reading ten values.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::core::{Core, LinkKey, Wire};
use super::{Command, Shared};
use crate::round::Learned;
use crate::udp::{self, Outbox, Receiver};

/// Replies on their way from which on it pays to wait for more of them.
const MANY: u64 = 8;
/// Datagrams of one reading after which as many are expected of the next.
const PLENTY: usize = 8;

/// Runs until it is told to stop; what was learned until then.
pub(super) fn run(
    mut core: Core,
    shared: &Arc<Shared>,
    receive_bytes: usize,
    gather: Duration,
) -> Vec<Learned> {
    let mut thread = Thread { sockets: Sockets::new(receive_bytes), backlog: VecDeque::new(), gather };
    let started = Instant::now();
    loop {
        let now = started.elapsed();
        if !thread.take_commands(&mut core, shared, now) {
            core.stop(now);
            return core.learned();
        }
        core.on_time(now);
        thread.sockets.send(&mut core, now);
        shared.publish(core.stats);
        let waited = thread.wait(&core, shared, started.elapsed());
        shared.asleep.store(false, Ordering::SeqCst);
        if waited.is_err() {
            // Only want of memory makes poll(2) fail; trying again at once would not help.
            std::thread::sleep(Duration::from_millis(10));
        }
        thread.sockets.receive(&mut core, started);
    }
}

struct Thread {
    sockets: Sockets,
    /// Jobs that came while the slots of given-up ones were not yet free.
    backlog: VecDeque<Command>,
    gather: Duration,
}

impl Thread {
    /// False when it is over.
    fn take_commands(&mut self, core: &mut Core, shared: &Shared, now: Duration) -> bool {
        let Some(mut commands) = shared.take() else { return false };
        self.backlog.append(&mut commands);
        while let Some(command) = self.backlog.pop_front() {
            match command {
                Command::Job(_, answer) if answer.is_closed() => {}
                Command::Job(job, answer) if core.has_room() => core.submit(now, *job, answer),
                Command::Learned(answer) => drop(answer.send(core.learned())),
                job => {
                    self.backlog.push_front(job);
                    break;
                }
            }
        }
        true
    }

    fn wait(&mut self, core: &Core, shared: &Shared, now: Duration) -> io::Result<()> {
        let blocked = self.sockets.any_unsent();
        let pause = match core.next_time() {
            _ if core.wants_to_send() && !blocked => Some(Duration::ZERO),
            Some(at) => Some(at.saturating_sub(now)),
            None => None,
        };
        let gathers = core.stats.in_flight_now >= MANY && !self.gather.is_zero();
        if gathers && !blocked && self.sockets.brought >= PLENTY && pause != Some(Duration::ZERO) {
            std::thread::sleep(pause.map_or(self.gather, |pause| pause.min(self.gather)));
            self.sockets.look_at_all();
            return Ok(());
        }
        shared.asleep.store(true, Ordering::SeqCst);
        if shared.has_commands() {
            return Ok(());
        }
        let ready = self.sockets.poll(shared, pause)?;
        if ready && gathers {
            std::thread::sleep(self.gather);
        }
        Ok(())
    }
}

/// All sockets, in the order of the core's links.
struct Sockets {
    links: Vec<Option<Socket>>,
    receiver: Receiver,
    receive_bytes: usize,
    /// Sizes of receive buffers that the core has not been told yet.
    opened: Vec<(usize, usize)>,
    full: bool,
    /// Datagrams that the last reading brought.
    brought: usize,
}

struct Socket {
    socket: UdpSocket,
    outbox: Outbox,
    readable: bool,
    drops: u32,
}

impl Wire for Sockets {
    fn is_full(&self) -> bool {
        self.full
    }

    fn send(&mut self, link: usize, key: LinkKey, to: SocketAddr, packet: &[u8], id: i32) -> io::Result<()> {
        if self.links.len() <= link {
            self.links.resize_with(link + 1, || None);
        }
        if self.links[link].is_none() {
            let (socket, size) = udp::open(key.v6, key.bind, self.receive_bytes)?;
            self.opened.push((link, size));
            self.links[link] = Some(Socket { socket, outbox: Outbox::default(), readable: false, drops: 0 });
        }
        let socket = self.links[link].as_mut().expect("it was opened");
        socket.outbox.push(to, packet, id);
        self.full |= socket.outbox.is_full();
        Ok(())
    }
}

impl Sockets {
    fn new(receive_bytes: usize) -> Self {
        Self {
            links: Vec::new(),
            receiver: Receiver::new(),
            receive_bytes,
            opened: Vec::new(),
            full: false,
            brought: 0,
        }
    }

    fn any_unsent(&self) -> bool {
        self.links.iter().flatten().any(|link| !link.outbox.is_empty())
    }

    /// Sends all that the core wants to send, as far as the sockets take it.
    fn send(&mut self, core: &mut Core, now: Duration) {
        loop {
            core.pump(now, self);
            for (link, size) in std::mem::take(&mut self.opened) {
                core.set_budget(link, size);
            }
            self.full = false;
            for link in self.links.iter_mut().flatten().filter(|link| !link.outbox.is_empty()) {
                core.stats.send_calls += link.outbox.flush(&link.socket, |id| core.on_send_error(id));
                self.full |= link.outbox.is_full();
            }
            // A socket that takes no more is waited for.
            if self.full || !core.wants_to_send() {
                return;
            }
        }
    }

    /// Without having asked which sockets have something.
    fn look_at_all(&mut self) {
        self.links.iter_mut().flatten().for_each(|link| link.readable = true);
    }

    /// Reads what has come, and sends what that makes room for, batch by batch.
    fn receive(&mut self, core: &mut Core, started: Instant) {
        self.brought = 0;
        while self.receive_batch(core, started.elapsed()) {
            let now = started.elapsed();
            core.on_time(now);
            self.send(core, now);
        }
    }

    /// Reads up to a batch from each socket; false if nothing is left to read.
    fn receive_batch(&mut self, core: &mut Core, now: Duration) -> bool {
        for link in self.links.iter_mut().flatten().filter(|link| link.readable) {
            core.stats.receive_calls += 1;
            match self.receiver.receive(&link.socket, |from, packet| core.on_datagram(now, from, packet)) {
                Ok(received) => {
                    self.brought += received.datagrams;
                    link.readable = received.datagrams == udp::BATCH;
                    core.stats.cut_off += received.cut_off as u64;
                    if let Some(drops) = received.drops {
                        core.stats.kernel_drops += u64::from(drops.wrapping_sub(link.drops));
                        link.drops = drops;
                    }
                }
                Err(_) => {
                    core.stats.receive_errors += 1;
                    link.readable = false;
                }
            }
        }
        self.links.iter().flatten().any(|link| link.readable)
    }

    /// Waits for datagrams, commands, or the time; true if there are datagrams.
    fn poll(&mut self, shared: &Shared, pause: Option<Duration>) -> io::Result<bool> {
        let mut fds = Vec::with_capacity(self.links.len() + 1);
        fds.push(PollFd::new(shared.alarm.fd(), PollFlags::IN));
        for link in self.links.iter().flatten() {
            let out = if link.outbox.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
            fds.push(PollFd::new(&link.socket, PollFlags::IN | out));
        }
        let pause = pause.map(|pause| Timespec {
            tv_sec: pause.as_secs().min(3600) as i64,
            tv_nsec: pause.subsec_nanos().into(),
        });
        match poll(&mut fds, pause.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let alarm = !fds[0].revents().is_empty();
        let came: Vec<bool> =
            fds[1..].iter().map(|fd| fd.revents().intersects(PollFlags::IN | PollFlags::ERR)).collect();
        for (link, &came) in self.links.iter_mut().flatten().zip(&came) {
            link.readable = came;
        }
        if alarm {
            shared.alarm.quiet();
        }
        Ok(came.contains(&true))
    }
}
