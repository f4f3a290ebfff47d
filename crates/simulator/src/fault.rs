//! What a device does wrong, when, and how often: a [`Script`] of [`Rule`]s, written one a line.
//!
//! ```text
//! # FAULT [ARGUMENT] [CONDITION ...]
//! silence after 30s until 60s
//! only-every 3
//! delay 300ms share 20%
//! gen-err 1.3.6.1.2.1.2.2.1.10
//! wrong-id first
//! reboot from 5
//! ```
//!
//! Conditions, all of which must hold: `after TIME` and `until TIME` since the fleet began, `from N` and `to N` by the number of the
//! request to this device (from 1, inclusive), `every N` (each n-th request), `share P%` (drawn by seed), `under OID` (the first name
//! asked for lies under it). Times are written `300ms`, `30s`, `5m`. `first` sends a spoilt copy in front of the right answer rather
//! than instead of it. Of faults that happen once (`reboot` and its like) the first request for which the conditions hold is meant.
//!
//! [`Fault::NAMES`] lists the faults. A rule whose fault does not apply to a request's version does nothing.
//!
//! Limits: 1,000 rules; times of a year; strings of 65,000 bytes.

mod apply;
mod parse;
mod reply;

use std::time::Duration;

use snmp::Oid;

use crate::seed::{hits, mix};

pub(crate) use apply::spoil;
pub(crate) use reply::{Reply, wrap};

/// What goes wrong.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// `silence`: no reply.
    Silence,
    /// `only-every N`: a reply to each n-th request alone.
    OnlyEvery(u32),
    /// `delay TIME`: the reply comes late. With `share`, replies overtake each other.
    Delay(Duration),
    /// `duplicate N`: so many copies more, at most 16.
    Duplicate(u32),
    /// `late-duplicate TIME`: one copy more, after this long.
    LateDuplicate(Duration),
    /// `wrong-id`: as if in reply to another request.
    WrongId,
    /// `wrong-source`: from another address.
    WrongSource,
    /// `wrong-port`: from another port.
    WrongPort,
    /// `wrong-version`: v1 for v2c, v2c for v1; v3's number is spoilt.
    WrongVersion,
    /// `wrong-community` (v1, v2c).
    WrongCommunity,
    /// `wrong-user` (v3).
    WrongUser,
    /// `wrong-engine-id` (v3).
    WrongEngineId,
    /// `wrong-kind`: the reply says that it is a request.
    WrongKind,
    /// `truncated N`: so many bytes are missing at the end.
    Truncated(u32),
    /// `trailing N`: so many bytes too many behind the message.
    Trailing(u32),
    /// `over-long-length ELEMENT`: the element's length has five octets.
    OverLongLength(Element),
    /// `past-end-length ELEMENT`: the element's length reaches past the end.
    PastEndLength(Element),
    /// `indefinite-length ELEMENT`: the element's length is `80`, with an end-of-contents behind it.
    IndefiniteLength(Element),
    /// `padded-length ELEMENT`: the element's length takes four octets, which is allowed.
    PaddedLength(Element),
    /// `unknown-tag`: the middle binding's value has the tag `5a`.
    UnknownTag,
    /// `bad-integer N`: the middle binding is an INTEGER of so many octets.
    BadInteger(u32),
    /// `bad-counter64 N`: the middle binding is a Counter64 of so many octets.
    BadCounter64(u32),
    /// `bad-oid`: the middle binding's name ends inside an arc.
    BadOid,
    /// `empty-oid`: the middle binding's name has no octets.
    EmptyOid,
    /// `padded-oid`: the middle binding's name has an arc padded with zeros.
    PaddedOid,
    /// `long-oid`: the middle binding's name has 129 arcs.
    LongOid,
    /// `huge-arc`: the middle binding's name has an arc of 33 bits.
    HugeArc,
    /// `large-arcs`: every name has two arcs more, 2^31 and 2^32-1, which is allowed.
    LargeArcs,
    /// `garbage N`: so many bytes by seed instead of a message.
    Garbage(u32),
    /// `empty-list`: no bindings.
    EmptyList,
    /// `descending`: each next name lies in front of the one asked for.
    Descending,
    /// `repeating`: each next name is the one asked for.
    Repeating,
    /// `endless`: rows are invented without end under whatever is asked for.
    Endless,
    /// `no-such-object N`: in place of the n-th binding (from 1).
    NoSuchObject(u32),
    /// `no-such-instance N`.
    NoSuchInstance(u32),
    /// `end-of-mib-view N`, though more follows.
    EndOfMibView(u32),
    /// `too-big N`: tooBig whenever more than so many repetitions are asked for.
    TooBig(u32),
    /// `gen-err OID`: genErr whenever the answer holds a name under this one.
    GenErr(Oid),
    /// `no-bulk`: every GETBULK is answered genErr.
    NoBulk,
    /// `huge-string BYTES`: the middle binding becomes a string of so many bytes.
    HugeString(u32),
    /// `wrong-type`: every number becomes a text.
    WrongType,
    /// `fewer N`: so many bindings are missing at the end.
    Fewer(u32),
    /// `more N`: so many bindings too many at the end, with names that nobody asked for.
    More(u32),
    /// `vanish P%`: this share of the rows (by seed) is gone.
    Vanish(f64),
    /// `reboot`: counters, `sysUpTime` and engine time start at 0, engine boots goes up. Once.
    Reboot,
    /// `engine-reboot`: `sysUpTime` and engine time start at 0, engine boots goes up; counters go on. Once.
    EngineReboot,
    /// `engine-reset`: engine boots starts at 1 again, as on devices that do not store it. Once.
    EngineReset,
    /// `uptime-wrap TIME`: `sysUpTime` wraps at 2^32 this long after the rule came into force. Once.
    UptimeWrap(Duration),
    /// `report-storm N`: so many unauthenticated reports, at most 1,000, instead of a reply (v3).
    ReportStorm(u32),
    /// `forged-report`: in front of the reply an unauthenticated report that says notInTimeWindow, with other boots and time (v3).
    ForgedReport,
}

/// Part of a message whose length is spoilt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// The whole message.
    Message,
    /// The PDU.
    Pdu,
    /// The list of bindings.
    List,
    /// The middle binding.
    Binding,
    /// The middle binding's value.
    Value,
}

/// A fault and when it happens.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// What goes wrong.
    pub fault: Fault,
    /// When.
    pub when: When,
}

/// When a fault happens: whenever all of this holds.
#[derive(Clone, Debug, PartialEq)]
pub struct When {
    /// Not before.
    pub after: Duration,
    /// Before, if set.
    pub until: Option<Duration>,
    /// The first request, from 1.
    pub from: u64,
    /// The last request.
    pub to: u64,
    /// Each n-th request.
    pub every: u64,
    /// This share of requests, 0 to 1.
    pub share: f64,
    /// The first name asked for lies under this one.
    pub under: Option<Oid>,
    /// The spoilt reply is sent in front of the right one.
    pub first: bool,
}

impl Default for When {
    fn default() -> Self {
        Self {
            after: Duration::ZERO,
            until: None,
            from: 1,
            to: u64::MAX,
            every: 1,
            share: 1.0,
            under: None,
            first: false,
        }
    }
}

impl From<Fault> for Rule {
    fn from(fault: Fault) -> Self {
        Self { fault, when: When::default() }
    }
}

/// What a device does wrong.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Script {
    rules: Vec<Rule>,
}

impl Script {
    /// Most rules.
    pub const RULES_MAX: usize = 1_000;

    /// The rules in the order in which they are applied.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Whether nothing goes wrong.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}

impl FromIterator<Rule> for Script {
    fn from_iter<T: IntoIterator<Item = Rule>>(rules: T) -> Self {
        Self { rules: rules.into_iter().take(Self::RULES_MAX).collect() }
    }
}

impl FromIterator<Fault> for Script {
    fn from_iter<T: IntoIterator<Item = Fault>>(faults: T) -> Self {
        faults.into_iter().map(Rule::from).collect()
    }
}

/// What a rule's conditions are held against.
#[derive(Clone, Copy)]
pub(crate) struct Occasion<'a> {
    pub(crate) now: Duration,
    /// From 1.
    pub(crate) request: u64,
    /// The first name asked for.
    pub(crate) name: Option<snmp::OidRef<'a>>,
    pub(crate) seed: u64,
}

impl When {
    /// `rule` is the rule's place in its script, so that equal shares of two rules are drawn apart.
    pub(crate) fn holds(&self, occasion: &Occasion<'_>, rule: usize) -> bool {
        let Occasion { now, request, name, seed } = *occasion;
        now >= self.after
            && self.until.is_none_or(|until| now < until)
            && (self.from..=self.to).contains(&request)
            && request.is_multiple_of(self.every)
            && (self.share >= 1.0 || hits(mix(mix(seed, rule as u64), request), self.share))
            && self
                .under
                .as_ref()
                .is_none_or(|under| name.is_some_and(|name| name.strip_prefix(under.view()).is_some()))
    }
}

impl Fault {
    /// Whether it happens once and then stays: it changes the device rather than a reply.
    pub(crate) fn is_once(&self) -> bool {
        matches!(self, Self::Reboot | Self::EngineReboot | Self::EngineReset | Self::UptimeWrap(_))
    }
}
