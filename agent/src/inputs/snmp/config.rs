//! The settings of devices: what all groups share, groups, devices, and how hard each may be asked.
//!
//! How a device is asked ([`Asked`]) may be said by its group and by itself; what the device says counts before what its group says.
//! Only `deny` and `labels` add up.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{self, Deserializer};
use settings::{Mistake, Secret, Span};
use snmp::Oid;
use snmp::engine::{Rate, Target};

use super::access::CredentialConfig;
use crate::inputs::check_interval;
use crate::relabel;

/// A line that carries less does not bring a reply in time.
const BITS_PER_SECOND_MIN: u64 = 2_400;
/// The most tries after the first: a device that does not answer these is down, and others wait.
const RETRIES_MAX: u32 = 7;
/// Requests under way at once at one device: agents of devices answer one after the other.
const IN_FLIGHT_MAX: u32 = 64;
/// RFC 3417: what every SNMP entity must be able to receive.
const REPLY_BYTES_MIN: u32 = 484;
/// UDP's largest payload.
const REPLY_BYTES_MAX: u32 = 65_507;
/// Prefixes of one list `deny`.
const DENY_MAX: usize = 256;
/// No try waits longer than this, unless the settings say so.
const TIMEOUT_MAX: Span = Span::from_secs(10);
/// The longest that anybody waits for a reply.
const TIMEOUT_EVER: Span = Span::from_secs(300);

/// The section `snmp_common`: what all groups share.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Common {
    /// A folder of profiles `*.yaml`; of two with one name it counts before the program's own.
    pub profiles: Option<PathBuf>,
    /// Credentials by name.
    pub credentials: BTreeMap<String, CredentialConfig>,
    /// Lines that several devices lie behind, by name, and how hard each may be asked.
    pub sites: BTreeMap<String, SiteConfig>,
}

/// How hard all devices behind one line together may be asked.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SiteConfig {
    /// Requests under way at once.
    pub in_flight_max: u32,
    /// Requests in a second; none: no bound.
    pub requests_per_second: Option<u32>,
    /// Bits in a second, both directions together, UDP payload; none: no bound.
    pub bits_per_second: Option<u64>,
}

impl Default for SiteConfig {
    fn default() -> Self {
        Self { in_flight_max: 16, requests_per_second: None, bits_per_second: None }
    }
}

impl SiteConfig {
    pub(super) fn rate(&self) -> Result<Rate, Mistake> {
        let zero = "with 0 nothing is ever asked: write 1 or more";
        if self.in_flight_max == 0 {
            return Err(Mistake::at("in_flight_max", zero));
        }
        if self.requests_per_second == Some(0) {
            return Err(Mistake::at("requests_per_second", zero));
        }
        if self.bits_per_second.is_some_and(|bits| bits < BITS_PER_SECOND_MIN) {
            let why = format!("no reply passes in time: write {BITS_PER_SECOND_MIN} or more");
            return Err(Mistake::at("bits_per_second", why));
        }
        Ok(Rate {
            in_flight_max: self.in_flight_max,
            requests_per_second: self.requests_per_second,
            bits_per_second: self.bits_per_second,
        })
    }
}

/// Adds to a struct of the settings what a group and a device may both say. The keys stand beside the struct's own, which serde's
/// `flatten` cannot do together with the refusal of unknown keys.
macro_rules! with_asked {
    ($(#[$meta:meta])* pub struct $name:ident { $($own:tt)* }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $($own)*
            /// Where the community is kept. A device that is given neither this nor `credentials`, by its group or itself, is refused.
            #[serde(default)]
            pub community: Option<Secret>,
            /// Protocol version of that community; v2c.
            #[serde(default)]
            pub version: Option<Version>,
            /// Instead of `community`: names of credentials under `snmp_common`, tried in this order.
            #[serde(default)]
            pub credentials: Vec<String>,
            /// The profile to read the device by, instead of the one that suits what it says of itself.
            #[serde(default)]
            pub profile: Option<String>,
            /// The line that it lies behind, by its name under `snmp_common`.
            #[serde(default)]
            pub site: Option<String>,
            /// The own address to ask from.
            #[serde(default)]
            pub bind: Option<IpAddr>,
            /// How often it is asked; 60s.
            #[serde(default)]
            pub interval: Option<Span>,
            /// How long the first try waits for a reply while no round trip has been measured; 3s. Satellite links want 3s and more.
            #[serde(default)]
            pub timeout: Option<Span>,
            /// The longest that any try waits; 10s, or `timeout` where that is longer.
            #[serde(default)]
            pub timeout_max: Option<Span>,
            /// Tries after the first; 2.
            #[serde(default)]
            pub retries: Option<u32>,
            /// Requests under way at once; 1.
            #[serde(default)]
            pub in_flight_max: Option<u32>,
            /// Requests in a second; none: no bound but the site's.
            #[serde(default)]
            pub requests_per_second: Option<u32>,
            /// Replies are not asked to be larger than this, in bytes of UDP payload; 1472, what Ethernet carries in one piece. Less for
            /// tunnels whose fragments get lost.
            #[serde(default)]
            pub reply_bytes_max: Option<u32>,
            /// Prefixes of OIDs that are never asked for nor walked into, whatever profile and budget say; those of group and device
            /// together.
            #[serde(default)]
            pub deny: Vec<Prefix>,
            /// Further labels of every series; a device's before its group's.
            #[serde(default)]
            pub labels: BTreeMap<String, String>,
        }

        impl $name {
            fn asked(&self) -> Asked {
                Asked {
                    interval: self.interval,
                    timeout: self.timeout,
                    timeout_max: self.timeout_max,
                    retries: self.retries,
                    in_flight_max: self.in_flight_max,
                    requests_per_second: self.requests_per_second,
                    reply_bytes_max: self.reply_bytes_max,
                    deny: self.deny.iter().map(|prefix| prefix.0.clone()).collect(),
                }
            }
        }
    };
}

with_asked! {
    /// A group of devices that are asked alike.
    pub struct Config {
        /// Devices.
        #[serde(default)]
        pub targets: Vec<TargetConfig>,
        /// Files that hold further lists of devices, in YAML or JSON; read again when they change. Relative paths start at the settings
        /// file.
        #[serde(default)]
        pub files: Vec<PathBuf>,
        /// The label `job`.
        #[serde(default = "default_job")]
        pub job: String,
        /// Interfaces whose ifName (ifDescr where that is empty) matches this regular expression are counted and left out. The default
        /// leaves out the interfaces that RouterOS makes for each dial-in session; `""` leaves out none.
        #[serde(default = "default_interfaces_exclude")]
        pub interfaces_exclude: String,
        /// Rows that one table may have.
        #[serde(default = "default_rows_max")]
        pub rows_max: u32,
        /// Series that one device may have; the agent's bound where it is not given.
        #[serde(default)]
        pub series_max: Option<usize>,
        /// Rules over the labels of targets before they are asked: `__address__`, `job`, `instance`, `__meta_filepath` and the others.
        #[serde(default)]
        pub relabel_configs: Vec<relabel::Config>,
        /// Rules over the labels of what a device's profile gives.
        #[serde(default)]
        pub metric_relabel_configs: Vec<relabel::Config>,
    }
}

with_asked! {
    /// One device.
    pub struct TargetConfig {
        /// Address or host name, with a port where it is not 161: `10.0.0.1`, `[fd00::1]:1161`, `sw1.example.net`.
        pub address: String,
        /// The label `instance`; the address where it is not given. Keep it when the address changes. No two devices of an agent have the
        /// same, in whichever groups they are.
        #[serde(default)]
        pub name: Option<String>,
        /// Further addresses that its replies may come from, for devices that have several.
        #[serde(default)]
        pub accept_reply_from: Vec<IpAddr>,
    }
}

/// Protocol version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Version {
    /// SNMPv1: only for what knows nothing better.
    V1,
    /// SNMPv2c.
    #[default]
    V2c,
}

impl From<Version> for snmp::Version {
    fn from(version: Version) -> Self {
        match version {
            Version::V1 => Self::V1,
            Version::V2c => Self::V2c,
        }
    }
}

/// An OID that stands for itself and all below it.
#[derive(Clone, Debug, PartialEq)]
pub struct Prefix(pub Oid);

impl FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("{text:?} is no OID: write numbers such as 1.3.6.1.2.1.4.21");
        Ok(Self(text.trim_start_matches('.').parse().map_err(|_| bad())?))
    }
}

impl<'de> Deserialize<'de> for Prefix {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

fn default_job() -> String {
    "snmp".to_owned()
}

fn default_interfaces_exclude() -> String {
    "^<(pppoe|pptp|l2tp|sstp|ovpn)-".to_owned()
}

fn default_rows_max() -> u32 {
    20_000
}

/// What the settings say of how a device is asked.
#[derive(Clone, Debug, Default, PartialEq)]
struct Asked {
    interval: Option<Span>,
    timeout: Option<Span>,
    timeout_max: Option<Span>,
    retries: Option<u32>,
    in_flight_max: Option<u32>,
    requests_per_second: Option<u32>,
    reply_bytes_max: Option<u32>,
    deny: Vec<Oid>,
}

impl Asked {
    /// Each value by itself.
    fn check(&self) -> Result<(), Mistake> {
        let bad = |key, why: String| Err(Mistake::at(key, why));
        self.interval.map_or(Ok(()), |interval| check_interval("interval", interval))?;
        for (key, span) in [("timeout", self.timeout), ("timeout_max", self.timeout_max)] {
            if let Some(span) = span.filter(|span| span.get().is_zero() || *span > TIMEOUT_EVER) {
                return bad(
                    key,
                    format!("{span} is no time to wait: write more than 0s and at most {TIMEOUT_EVER}"),
                );
            }
        }
        if let Some(retries) = self.retries.filter(|retries| *retries > RETRIES_MAX) {
            return bad("retries", format!("{retries} are too many: write 0 to {RETRIES_MAX}"));
        }
        if self.in_flight_max.is_some_and(|count| !(1..=IN_FLIGHT_MAX).contains(&count)) {
            return bad("in_flight_max", format!("write 1 to {IN_FLIGHT_MAX}, or leave it out for 1"));
        }
        if self.requests_per_second == Some(0) {
            return bad(
                "requests_per_second",
                "with 0 nothing is ever asked: write 1 or more, or leave it out".to_owned(),
            );
        }
        if self.reply_bytes_max.is_some_and(|bytes| !(REPLY_BYTES_MIN..=REPLY_BYTES_MAX).contains(&bytes)) {
            let why = format!(
                "write {REPLY_BYTES_MIN} to {REPLY_BYTES_MAX}, or leave it out for {}",
                Target::REPLY_BYTES_MAX
            );
            return bad("reply_bytes_max", why);
        }
        if self.deny.len() > DENY_MAX {
            return bad(
                "deny",
                format!("more than the {DENY_MAX} prefixes of one list: name what lies above them"),
            );
        }
        Ok(())
    }
}

/// How a device is asked, filled in and checked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Manner {
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
    pub(crate) timeout_max: Duration,
    pub(crate) retries: u32,
    pub(crate) rate: Rate,
    pub(crate) reply_bytes_max: u16,
    pub(crate) deny: Vec<Oid>,
}

impl Manner {
    /// What the device says, before what its group says, before what is usual.
    pub(super) fn of(group: &Config, target: &TargetConfig) -> Result<Self, Mistake> {
        let (mut own, group) = (target.asked(), group.asked());
        own.check()?;
        let interval = own.interval.or(group.interval).unwrap_or(Span::from_secs(60));
        let timeout = own.timeout.or(group.timeout).unwrap_or(Span::from_secs(3));
        if timeout >= interval {
            let why = format!("a timeout of {timeout} must be less than the interval {interval}");
            return Err(Mistake::at("timeout", why));
        }
        let timeout_max = own.timeout_max.or(group.timeout_max).unwrap_or(TIMEOUT_MAX.max(timeout));
        if timeout_max < timeout {
            let why = format!("{timeout_max} is less than the timeout {timeout}: write as much or more");
            return Err(Mistake::at("timeout_max", why));
        }
        let bytes = own.reply_bytes_max.or(group.reply_bytes_max);
        own.deny.extend(group.deny);
        own.deny.sort();
        own.deny.dedup();
        Ok(Self {
            interval: interval.get(),
            timeout: timeout.get(),
            timeout_max: timeout_max.get(),
            retries: own.retries.or(group.retries).unwrap_or(2),
            rate: Rate {
                in_flight_max: own.in_flight_max.or(group.in_flight_max).unwrap_or(1),
                requests_per_second: own.requests_per_second.or(group.requests_per_second),
                ..Rate::DEVICE
            },
            reply_bytes_max: bytes.map_or(Target::REPLY_BYTES_MAX, |bytes| {
                u16::try_from(bytes).expect("it was checked to be at most 65,507")
            }),
            deny: own.deny,
        })
    }
}

impl Config {
    /// What concerns a group as a whole.
    pub(super) fn check(&self) -> Result<(), Mistake> {
        self.asked().check()?;
        let bad = |key, why: &str| Err(Mistake::at(key, why));
        if self.job.is_empty() {
            return bad("job", "it is empty: write snmp, or another name");
        }
        if self.rows_max == 0 {
            return bad("rows_max", "with 0 rows no table can be read: write 1 or more");
        }
        if self.series_max == Some(0) {
            return bad("series_max", "with 0 series nothing is kept: write 1 or more, or leave it out");
        }
        Ok(())
    }
}
