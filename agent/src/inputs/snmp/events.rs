//! What happened to a device, its clock and its interfaces that makes counters jump: said as series and in the log, and never by
//! changing a value.
//!
//! In: two rounds' clocks and interfaces ([`uptime`](super::uptime), [`ports`](super::ports)). Out: `snmp_discontinuity_timestamp_seconds`
//! for the device, `snmp_interface_discontinuity_timestamp_seconds` for an interface, each with a kind and the time of the first
//! samples behind the jump; `pantau_snmp_discontinuities_total`; a line in the log for each kind and round. A kind that never happened
//! has no series.
//!
//! Limits: three times a device and four an interface; what was seen is forgotten when the agent ends.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use model::{METRIC_NAME, Timestamp};

use super::own;
use super::ports::{Change, Looks, Ports};
use crate::series::{Described, Round, SeriesId};

/// Why counters are not to be compared across a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// The device, or its SNMP agent, restarted.
    Restart,
    /// sysUpTime passed 497 days; counters go on.
    UptimeWrap,
    /// Another kind of device answers.
    Replacement,
    /// An interface's counter passed the end of its bits.
    Wrap,
    /// An interface's counter fell although the device went on.
    Reset,
    /// The device says so itself: an interface's ifCounterDiscontinuityTime changed.
    Reported,
    /// An interface has another index than before.
    Renumbering,
}

impl Kind {
    const ALL: [Self; 7] = [
        Self::Restart,
        Self::UptimeWrap,
        Self::Replacement,
        Self::Wrap,
        Self::Reset,
        Self::Reported,
        Self::Renumbering,
    ];
    /// The first so many are about the device as a whole.
    const OF_DEVICE: usize = 3;

    /// As a label.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::UptimeWrap => "uptime_wrap",
            Self::Replacement => "replacement",
            Self::Wrap => "counter_wrap",
            Self::Reset => "counter_reset",
            Self::Reported => "reported",
            Self::Renumbering => "renumbering",
        }
    }

    const fn text(self) -> &'static str {
        match self {
            Self::Restart => "it restarted",
            Self::UptimeWrap => "its sysUpTime turned over after 497 days",
            Self::Replacement => "another kind of device answers in its place",
            Self::Wrap => "32-bit counters wrapped, and no 64-bit ones answer",
            Self::Reset => "counters fell although the device went on",
            Self::Reported => "the device says that counters jumped",
            Self::Renumbering => "interfaces have other indices than before",
        }
    }
}

/// What happened to one device since the agent began to watch it.
#[derive(Debug, Default)]
pub(super) struct Events {
    counts: [u64; Kind::ALL.len()],
    device: [Option<Timestamp>; Kind::OF_DEVICE],
    ports: Ports,
    interfaces: BTreeMap<(u64, Kind), Timestamp>,
    /// Reads of interfaces whose counters may still be compared with those from before a restart.
    anew: u8,
}

/// Reads after a restart in which a counter that falls is no news, unless one is whole before.
const ANEW: u8 = 3;

impl Events {
    /// Something happened to the device as a whole.
    pub(super) fn device(&mut self, title: &str, kind: Kind, at: Timestamp) {
        self.counts[kind as usize] += 1;
        self.device[kind as usize] = Some(at);
        if kind == Kind::Restart {
            self.anew = ANEW;
        }
        if kind == Kind::Replacement {
            self.ports.forget();
            self.interfaces.clear();
        }
        tracing::info!("{title}: {}", kind.text());
    }

    /// Whether an interface's counter fell since the last round: a reason to look at the device's clock again.
    pub(super) fn any_fell(&self, looks: &Looks<'_>) -> bool {
        self.anew == 0 && self.ports.any_fell(looks)
    }

    /// Takes a round's interfaces in; `wanted` says which are anybody's business.
    pub(super) fn interfaces(
        &mut self,
        title: &str,
        looks: &Looks<'_>,
        (now, at): (Instant, Timestamp),
        wanted: impl Fn(&str) -> bool,
    ) {
        let mut changes = self.ports.take(looks, now, self.anew > 0);
        if looks.came() {
            self.anew = if looks.is_whole() { 0 } else { self.anew.saturating_sub(1) };
        }
        changes.retain(|change| wanted(&change.name));
        for change in &changes {
            self.counts[change.kind as usize] += 1;
            self.interfaces.insert((change.who, change.kind), at);
        }
        self.interfaces.retain(|(who, _), _| self.ports.index(*who).is_some());
        log(title, &changes);
    }

    /// Says what happened to the device.
    pub(super) fn report(&self, round: &mut Round<'_>) {
        for kind in Kind::ALL {
            if let Some(Some(at)) = self.device.get(kind as usize) {
                round.metric(&own::DISCONTINUITY, &[kind.as_str()], seconds(*at));
            }
            let count = self.counts[kind as usize];
            if count > 0 {
                round.metric(&own::DISCONTINUITIES, &[kind.as_str()], count as f64);
            }
        }
    }

    /// Says what happened to its interfaces, once their own series are in the round.
    pub(super) fn report_interfaces(&self, round: &mut Round<'_>) {
        if self.interfaces.is_empty() {
            return;
        }
        let named = named_interfaces(round);
        for ((who, kind), at) in &self.interfaces {
            if let Some(id) = self.ports.index(*who).and_then(|index| named.get(&index)) {
                say(round, *id, *kind, *at);
            }
        }
    }
}

/// The series `ifIndex` of this round, whose labels are those of all series of the interface, by the index that each has now.
fn named_interfaces(round: &Round<'_>) -> HashMap<u32, SeriesId> {
    let is_one = |(id, _): &(SeriesId, f64)| round.metric_name(*id) == "ifIndex";
    round.values().filter(is_one).map(|(id, index)| (index as u32, id)).collect()
}

fn say(round: &mut Round<'_>, of: SeriesId, kind: Kind, at: Timestamp) {
    let family = &own::INTERFACE_DISCONTINUITY;
    let mut labels = round.labels(of).to_builder();
    labels.set(METRIC_NAME, family.name).set("kind", kind.as_str());
    let labels = labels.build();
    let mut key = vec![0xfd];
    key.extend_from_slice(labels.to_string().as_bytes());
    let metadata = Some(round.metadata(family));
    round.put(&key, seconds(at), None, |_| Some(Described { labels, metadata }));
}

fn seconds(at: Timestamp) -> f64 {
    at.as_millis() as f64 / 1000.0
}

/// One line a kind, with the first few names.
fn log(title: &str, changes: &[Change]) {
    const SHOWN_MAX: usize = 5;
    for kind in Kind::ALL {
        let names: Vec<&str> =
            changes.iter().filter(|change| change.kind == kind).map(|change| &*change.name).collect();
        let (text, shown) = (kind.text(), names[..names.len().min(SHOWN_MAX)].join(", "));
        let more = match names.len().saturating_sub(SHOWN_MAX) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        match kind {
            _ if names.is_empty() => {}
            // On a busy line of a device without 64-bit counters that is daily bread.
            Kind::Wrap => tracing::debug!("{title}: {text}: {shown}{more}"),
            _ => tracing::info!("{title}: {text}: {shown}{more}"),
        }
    }
}
