//! Whom to ask, as whom, and how hard.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::community::Community;
use crate::message::Version;
use crate::oid::Oid;
use crate::usm::{Context, User};

/// One device. Keep the same `Arc` from round to round; make a new one when a setting changes.
#[derive(Clone, Debug)]
pub struct Target {
    /// The device's name: what is learned is kept under it, and messages about two devices name them so.
    pub name: Arc<str>,
    /// Where its agent listens.
    pub address: SocketAddr,
    /// The own address to ask from; the kernel's choice where none is given. Must be of the same family as `address`.
    pub bind: Option<IpAddr>,
    /// Addresses besides its own that a reply may come from, for multi-homed devices. The port stays the same.
    pub accept_reply_from: Vec<IpAddr>,
    /// What it shares with other devices behind the same line.
    pub site: Option<Arc<Site>>,
    /// What it knows us by, in the order in which they are tried. At most [`Target::CREDENTIALS_MAX`] count.
    pub credentials: Vec<Credential>,
    /// How long the first try waits while no round trip has been measured; afterwards the measurement decides.
    pub timeout: Duration,
    /// The longest that any try waits.
    pub timeout_max: Duration,
    /// Tries after the first; at most 7 count.
    pub retries: u32,
    /// How hard this device may be asked; one request at a time by default.
    pub rate: Rate,
    /// Replies are never asked to be larger than this, in bytes of UDP payload. They begin at 1,200 (or here, if that is less).
    pub reply_bytes_max: u16,
    /// A round that received more than this, in bytes of UDP payload, ends.
    pub round_bytes_max: u64,
    /// What is never asked and never walked through, with all that lies below: see [`Plan::deny`](crate::round::Plan::deny).
    pub deny: Arc<[Oid]>,
}

impl Target {
    /// Credentials beyond these are passed over.
    pub const CREDENTIALS_MAX: usize = 8;
    /// Ethernet's 1,500 bytes without the headers of IPv4 and UDP: what passes without fragments.
    pub const REPLY_BYTES_MAX: u16 = 1472;
    /// More than any device has that is read every minute; two tables at the bound of [`Limits`](crate::Limits).
    pub const ROUND_BYTES_MAX: u64 = 64 << 20;

    /// A device with the usual settings: 3 s for the first try, 10 s at most, 2 retries.
    pub fn new(name: impl Into<Arc<str>>, address: SocketAddr, credentials: Vec<Credential>) -> Self {
        Self {
            name: name.into(),
            address,
            bind: None,
            accept_reply_from: Vec::new(),
            site: None,
            credentials,
            timeout: Duration::from_secs(3),
            timeout_max: Duration::from_secs(10),
            retries: 2,
            rate: Rate::DEVICE,
            reply_bytes_max: Self::REPLY_BYTES_MAX,
            round_bytes_max: Self::ROUND_BYTES_MAX,
            deny: Arc::new([]),
        }
    }
}

/// What a device knows us by.
#[derive(Clone, Debug)]
pub enum Credential {
    /// A community of v1 or v2c.
    Community {
        /// Protocol version.
        version: Version,
        /// The secret.
        community: Community,
    },
    /// A user of SNMPv3.
    User {
        /// Name, protocols and keys.
        user: User,
        /// Which of the device's views is asked for.
        context: Context,
    },
}

impl Credential {
    /// Its protocol version, as people write it.
    pub const fn version(&self) -> &'static str {
        match self {
            Self::Community { version, .. } => version.as_str(),
            Self::User { .. } => "v3",
        }
    }
}

/// Devices behind one line. Two targets are of the same site if the names are equal; the rate of the last one seen counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Its name.
    pub name: Arc<str>,
    /// How hard all its devices together may be asked.
    pub rate: Rate,
}

/// How hard something may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Requests under way at once; 0 counts as 1. A request whose first try went unanswered no longer counts.
    pub in_flight_max: u32,
    /// Requests in a second.
    pub requests_per_second: Option<u32>,
    /// Bits in a second, both directions, UDP payload.
    pub bits_per_second: Option<u64>,
}

impl Rate {
    /// One request at a time.
    pub const DEVICE: Self = Self { in_flight_max: 1, requests_per_second: None, bits_per_second: None };
    /// No bound of its own.
    pub const FREE: Self = Self { in_flight_max: u32::MAX, requests_per_second: None, bits_per_second: None };
}
