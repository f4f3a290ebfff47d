//! Devices on the network: thousands of them, served by few threads.
//!
//! On Linux a fleet on addresses of 127.0.0.0/8 is one socket for all of them, which learns from each datagram whom it was sent to and
//! answers from there (`IP_PKTINFO`); datagrams come and go 64 a system call. That is the cheapest by far: a socket for each
//! address would get one datagram a call. Elsewhere, and for a fleet on ports, each device has its socket.
//!
//! Limits: 65,000 devices on addresses; on ports as many as files may be open; requests of 8,192 bytes; 100,000 held back replies a
//! thread, more are dropped and counted.

#[cfg(target_os = "linux")]
mod batched;
mod portable;
mod stray;
mod worker;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::counts::Counts;
use crate::device::Device;
use crate::error::Error;
use crate::seed::mix;
use worker::{Gate, Worker};

/// Where devices are reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Each on an address of its own within 127.0.0.0/8, counted up from the first, all on one port (0: a free one).
    Addresses {
        /// The first device's.
        first: Ipv4Addr,
        /// Of all.
        port: u16,
    },
    /// All on one address, each on a free port of its own.
    Ports {
        /// The address, of either family.
        address: IpAddr,
    },
}

/// How a fleet is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Where.
    pub place: Place,
    /// By how many threads, 1 to 64.
    pub threads: usize,
    /// What devices without a seed of their own draw from.
    pub seed: u64,
    /// One datagram a system call, as on systems that cannot do better.
    pub portable: bool,
}

/// On ports of 127.0.0.1, by one thread.
impl Default for Options {
    fn default() -> Self {
        let place = Place::Ports { address: Ipv4Addr::LOCALHOST.into() };
        Self { place, threads: 1, seed: 1, portable: false }
    }
}

/// Devices that are being served; ends when dropped.
#[derive(Debug)]
pub struct Fleet {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// What the threads of a fleet have in common.
#[derive(Debug)]
struct Shared {
    devices: Vec<Device>,
    addresses: Vec<SocketAddr>,
    started: Instant,
    stop: AtomicBool,
    /// Replies that could not be sent or held back.
    dropped: AtomicU64,
    /// Processor time of each thread, in nanoseconds.
    busy: Vec<AtomicU64>,
}

impl Fleet {
    /// Opens the sockets and serves the devices from now on.
    pub fn start(options: Options, devices: impl IntoIterator<Item = Device>) -> Result<Self, Error> {
        let mut devices: Vec<Device> = devices.into_iter().collect();
        for (at, device) in devices.iter_mut().enumerate() {
            device.place(mix(options.seed, at as u64));
        }
        check(&options, devices.len())?;
        let sockets = Sockets::open(&options, devices.len())?;
        let shared = Arc::new(Shared {
            devices,
            addresses: sockets.addresses,
            started: Instant::now(),
            stop: AtomicBool::new(false),
            dropped: AtomicU64::new(0),
            busy: (0..options.threads).map(|_| AtomicU64::new(0)).collect(),
        });
        let mut fleet = Self { shared, threads: Vec::new() };
        for (at, gate) in sockets.gates.into_iter().enumerate() {
            let worker = Worker::new(fleet.shared.clone(), at, gate);
            let thread = std::thread::Builder::new().name(format!("simulator-{at}"));
            fleet.threads.push(thread.spawn(move || worker.run()).map_err(Error::Thread)?);
        }
        Ok(fleet)
    }

    /// Number of devices.
    pub fn len(&self) -> usize {
        self.shared.devices.len()
    }

    /// Whether there is no device.
    pub fn is_empty(&self) -> bool {
        self.shared.devices.is_empty()
    }

    /// Where the n-th device is reached. Panics where there is no such device.
    pub fn address(&self, at: usize) -> SocketAddr {
        self.shared.addresses[at]
    }

    /// Where all devices are reached, in their order.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.shared.addresses
    }

    /// The n-th device. Panics where there is no such device.
    pub fn device(&self, at: usize) -> &Device {
        &self.shared.devices[at]
    }

    /// Time since the fleet began: the clock of its devices.
    pub fn now(&self) -> Duration {
        self.shared.started.elapsed()
    }

    /// What all devices were asked and answered.
    pub fn counts(&self) -> Counts {
        let mut all = Counts::default();
        self.shared.devices.iter().for_each(|device| all.add(&device.counts()));
        all
    }

    /// Replies that were neither sent nor lost on purpose: the system refused them, or too many were held back.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// Processor time that the fleet's threads have used, as of the last datagram of each.
    pub fn busy(&self) -> Duration {
        Duration::from_nanos(self.shared.busy.iter().map(|busy| busy.load(Ordering::Relaxed)).sum())
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A thread that panicked has printed why; there is nobody left to tell.
            let _ = thread.join();
        }
    }
}

/// Refuses what cannot be placed.
fn check(options: &Options, devices: usize) -> Result<(), Error> {
    const THREADS_MAX: usize = 64;
    const DEVICES_MAX: usize = 65_000;
    if !(1..=THREADS_MAX).contains(&options.threads) {
        return Err(Error::Place(format!("a fleet has 1 to {THREADS_MAX} threads, not {}", options.threads)));
    }
    if devices > DEVICES_MAX {
        return Err(Error::Place(format!("a fleet has at most {DEVICES_MAX} devices, not {devices}")));
    }
    if let Place::Addresses { first, .. } = options.place {
        let last = u32::from(first).checked_add(devices as u32).map(Ipv4Addr::from);
        if !first.is_loopback() || !last.is_some_and(|last| last.is_loopback()) {
            return Err(Error::Place(format!(
                "{devices} addresses from {first} on do not lie within 127.0.0.0/8"
            )));
        }
    }
    Ok(())
}

/// The sockets of a fleet, shared out among its threads.
struct Sockets {
    gates: Vec<Box<dyn Gate>>,
    addresses: Vec<SocketAddr>,
}

impl Sockets {
    fn open(options: &Options, devices: usize) -> Result<Self, Error> {
        match options.place {
            #[cfg(target_os = "linux")]
            Place::Addresses { first, port } if !options.portable => {
                let socket = bind((Ipv4Addr::UNSPECIFIED, port).into())?;
                let here = |source| Error::Socket { address: (Ipv4Addr::UNSPECIFIED, port).into(), source };
                let port = socket.local_addr().map_err(here)?.port();
                let gate = || batched::Batched::wildcard(socket.try_clone()?, first, devices);
                let gates: Result<Vec<_>, _> = (0..options.threads).map(|_| gate().map(boxed)).collect();
                let addresses = (0..devices).map(|at| (nth(first, at), port).into()).collect();
                Ok(Self { gates: gates.map_err(here)?, addresses })
            }
            Place::Addresses { first, port } => {
                let mut port = port;
                let each = |at| {
                    let socket = bind((nth(first, at), port).into())?;
                    // The first one's free port is every one's.
                    port = socket.local_addr().map_or(port, |address| address.port());
                    Ok(socket)
                };
                Self::share(options, (0..devices).map(each).collect::<Result<_, Error>>()?)
            }
            Place::Ports { address } => {
                let each = |_| bind((address, 0).into());
                Self::share(options, (0..devices).map(each).collect::<Result<_, Error>>()?)
            }
        }
    }

    /// A socket a device.
    fn share(options: &Options, sockets: Vec<UdpSocket>) -> Result<Self, Error> {
        let unknown = |source| Error::Socket { address: (Ipv4Addr::UNSPECIFIED, 0).into(), source };
        let addresses =
            sockets.iter().map(UdpSocket::local_addr).collect::<Result<_, _>>().map_err(unknown)?;
        let mut shares: Vec<Vec<(usize, UdpSocket)>> = (0..options.threads).map(|_| Vec::new()).collect();
        for (at, socket) in sockets.into_iter().enumerate() {
            shares[at % options.threads].push((at, socket));
        }
        let gate = |share| match options.portable {
            #[cfg(target_os = "linux")]
            false => batched::Batched::each(share).map(boxed),
            _ => portable::Portable::new(share).map(boxed),
        };
        let gates = shares.into_iter().map(gate).collect::<Result<_, _>>().map_err(unknown)?;
        Ok(Self { gates, addresses })
    }
}

fn boxed(gate: impl Gate + 'static) -> Box<dyn Gate> {
    Box::new(gate)
}

fn nth(first: Ipv4Addr, at: usize) -> Ipv4Addr {
    (u32::from(first) + at as u32).into()
}

fn bind(address: SocketAddr) -> Result<UdpSocket, Error> {
    let open = || {
        let socket = UdpSocket::bind(address)?;
        socket.set_nonblocking(true)?;
        // A manager's first burst to thousands of devices must not be lost here. The system may grant less.
        let _ = rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 8 << 20);
        #[cfg(target_os = "linux")]
        let _ = rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, 8 << 20);
        Ok(socket)
    };
    open().map_err(|source| Error::Socket { address, source })
}

#[cfg(test)]
mod tests;
