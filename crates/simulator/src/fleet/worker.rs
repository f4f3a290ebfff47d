//! A thread that serves devices: receives, asks the device, sends, and holds back what is to be late.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Shared;
use crate::outbox::{Outbox, Route};

/// The longest request that is taken; a manager's are shorter than a packet of Ethernet.
pub(super) const REQUEST_MAX: usize = 8_192;
/// How often a thread looks whether it is to end.
const PATIENCE: Duration = Duration::from_millis(50);
const HELD_MAX: usize = 100_000;

/// One way to receive and send.
pub(super) trait Gate: Send {
    /// Waits up to so long for datagrams, and hands each to `each` with its device's place and its sender.
    fn receive(&mut self, wait: Duration, each: &mut dyn FnMut(Way, &mut [u8])) -> io::Result<()>;

    /// Sends; tells how many could not be sent.
    fn send(&mut self, letters: &[Letter], bytes: &[u8]) -> u64;
}

/// From which device to whom.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    pub(super) device: usize,
    /// The socket's place within its gate.
    pub(super) socket: usize,
    pub(super) to: SocketAddr,
}

/// A datagram to be sent.
#[derive(Clone, Debug)]
pub(super) struct Letter {
    pub(super) way: Way,
    pub(super) route: Route,
    pub(super) bytes: Range<usize>,
}

pub(super) struct Worker {
    shared: Arc<Shared>,
    number: usize,
    gate: Box<dyn Gate>,
    outbox: Outbox,
    letters: Vec<Letter>,
    held: BinaryHeap<Reverse<Held>>,
    count: u64,
}

/// A letter that is to be sent later, with its own bytes; earlier ones first.
struct Held {
    due: Duration,
    number: u64,
    letter: Letter,
    bytes: Vec<u8>,
}

impl Worker {
    pub(super) fn new(shared: Arc<Shared>, number: usize, gate: Box<dyn Gate>) -> Self {
        let (outbox, letters, held) = (Outbox::default(), Vec::new(), BinaryHeap::new());
        Self { shared, number, gate, outbox, letters, held, count: 0 }
    }

    pub(super) fn run(mut self) {
        while !self.shared.stop.load(Ordering::Relaxed) {
            let now = self.shared.started.elapsed();
            let wait =
                self.held.peek().map_or(PATIENCE, |Reverse(held)| held.due.saturating_sub(now).min(PATIENCE));
            self.receive(wait);
            self.send();
            self.send_due();
            let used = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
            let nanos = used.tv_sec as u64 * 1_000_000_000 + used.tv_nsec as u64;
            self.shared.busy[self.number].store(nanos, Ordering::Relaxed);
        }
    }

    fn receive(&mut self, wait: Duration) {
        let Self { shared, outbox, letters, held, count, .. } = self;
        outbox.clear();
        letters.clear();
        let received = self.gate.receive(wait, &mut |way, datagram| {
            let now = shared.started.elapsed();
            let first = outbox.parcels.len();
            shared.devices[way.device].handle(now, datagram, outbox);
            for parcel in &outbox.parcels[first..] {
                let letter = Letter { way, route: parcel.route, bytes: parcel.bytes.clone() };
                if parcel.delay.is_zero() {
                    letters.push(letter);
                } else if held.len() < HELD_MAX {
                    *count += 1;
                    let bytes = outbox.bytes[parcel.bytes.clone()].to_vec();
                    let letter = Letter { bytes: 0..bytes.len(), ..letter };
                    held.push(Reverse(Held { due: now + parcel.delay, number: *count, letter, bytes }));
                } else {
                    shared.dropped.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        if received.is_err() {
            // A socket's error is that of some datagram sent before (its receiver is gone); the next call receives again.
            std::thread::yield_now();
        }
    }

    fn send(&mut self) {
        if !self.letters.is_empty() {
            self.count_dropped(|worker| worker.gate.send(&worker.letters, &worker.outbox.bytes));
        }
    }

    fn send_due(&mut self) {
        let now = self.shared.started.elapsed();
        while self.held.peek().is_some_and(|Reverse(held)| held.due <= now) {
            let Some(Reverse(held)) = self.held.pop() else { return };
            self.count_dropped(|worker| worker.gate.send(&[held.letter], &held.bytes));
        }
    }

    fn count_dropped(&mut self, send: impl FnOnce(&mut Self) -> u64) {
        let dropped = send(self);
        if dropped > 0 {
            self.shared.dropped.fetch_add(dropped, Ordering::Relaxed);
        }
    }
}

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        (self.due, self.number) == (other.due, other.number)
    }
}

impl Eq for Held {}

impl PartialOrd for Held {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Held {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.number).cmp(&(other.due, other.number))
    }
}
