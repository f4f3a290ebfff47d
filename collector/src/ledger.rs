//! The ledger: which batches came from which agent, which time they cover, and what is missing, with its cause.
//!
//! In: one [`Entry`] for each batch, as bytes that stand in the same journal record as the batch's samples, so that the two can
//! never disagree; every segment begins with a snapshot of the whole ledger, so that old segments may go. Out: the judgement on
//! a batch before it is written ([`Ledger::admit`]), the state of each agent and its gaps, for people (`agents gaps`, JSON) and
//! as series (`pantau_agent_*`).
//!
//! Deliberately not here: samples. That a batch counts once rests on the store, where equal samples are one; a number that the
//! ledger has forgotten costs work and nothing else. Bytes: `docs/formats/ledger.md`; reasons: `docs/decisions/0006-ledger.md`.
//!
//! Limits: [`AGENTS_MAX`] pages; each page is bounded (see `record.rs`), usually 0.5 to 1 KiB, at most about 60 KiB (a test
//! fills one).

mod bytes;
mod entry;
mod record;
mod runs;
mod view;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

use model::Timestamp;
use wire::identity::BatchIdentity;

use bytes::{Unreadable, push_text, push_varint, take_byte, take_count, take_text};
use record::{Known, Record};

pub use entry::Entry;
pub use record::Gap;
pub use view::{AgentGaps, AgentStatus, GapView, SpanView};

use crate::enrolment::NAME_BYTES_MAX;

/// The most agents that the ledger keeps a page of; over it the one silent for longest is forgotten.
pub const AGENTS_MAX: usize = crate::enrolment::AGENTS_MAX + 16;

const SNAPSHOT_VERSION: u8 = 1;

/// A snapshot that grows past this holds the rest of its pages in short: the store's record, which has a bound, must hold it.
const SNAPSHOT_BYTES_USUAL: usize = 24 << 20;

/// See the module's text.
#[derive(Default)]
pub struct Ledger {
    pages: Mutex<Pages>,
}

#[derive(Default)]
struct Pages {
    agents: BTreeMap<String, Record>,
    /// Batches that are being written: agent, epoch and number, with the payload's hash.
    in_flight: HashMap<(String, u128, u64), u128>,
    /// What is known of this run only.
    live: HashMap<String, Live>,
    unreadable: u64,
}

/// What need not outlive the process.
#[derive(Clone, Copy, Debug, Default)]
struct Live {
    conflicts: u64,
    /// Latest request without batch identity: a sender that is no agent of ours.
    plain_seen: Option<Timestamp>,
}

/// What to do with a batch.
#[derive(Debug)]
pub enum Admission {
    /// Write it; hold the ticket until it is written.
    Write(Ticket),
    /// It is there already: answer as if it had been written now.
    AlreadyApplied,
    /// Another payload came under this number: the machine was cloned.
    Conflict,
}

/// A batch that is being written; frees its number when dropped.
#[derive(Debug)]
pub struct Ticket {
    ledger: Arc<Ledger>,
    key: (String, u128, u64),
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Ledger({} agents)", self.lock().agents.len())
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.ledger.lock().in_flight.remove(&self.key);
    }
}

impl Ledger {
    /// An empty ledger.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    fn lock(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().expect("nothing panics while it holds this lock")
    }

    /// Judges a batch before it is written.
    pub fn admit(self: &Arc<Self>, agent: &str, identity: &BatchIdentity) -> Admission {
        let mut pages = self.lock();
        let key = (agent.to_owned(), identity.epoch.as_u128(), identity.sequence);
        let hash = identity.payload_hash.as_u128();
        let known = pages.agents.get(agent).map_or(Known::New, |page| page.known(identity));
        let in_flight = pages.in_flight.get(&key).copied();
        match (known, in_flight) {
            (Known::Same, _) => Admission::AlreadyApplied,
            (Known::New, None) => {
                pages.in_flight.insert(key.clone(), hash);
                Admission::Write(Ticket { ledger: Arc::clone(self), key })
            }
            // The same batch twice at the same time (a sender that gave up waiting): written twice, kept once. The first
            // ticket to go frees the number, which can only make us write it a third time.
            (Known::New, Some(other)) if other == hash => {
                Admission::Write(Ticket { ledger: Arc::clone(self), key })
            }
            (Known::Other, _) | (Known::New, Some(_)) => {
                pages.live.entry(agent.to_owned()).or_default().conflicts += 1;
                Admission::Conflict
            }
        }
    }

    /// Notes a request without batch identity from an enrolled sender.
    pub fn note_plain(&self, agent: &str, now: Timestamp) {
        let mut pages = self.lock();
        if let Some(live) = pages.live.get_mut(agent) {
            live.plain_seen = Some(now);
        } else if pages.live.len() < AGENTS_MAX {
            pages.live.insert(agent.to_owned(), Live { conflicts: 0, plain_seen: Some(now) });
        }
    }

    /// The last millisecond that an agent's batches cover.
    pub fn covered_until(&self, agent: &str) -> Option<Timestamp> {
        self.lock().agents.get(agent).and_then(|page| page.span()).map(|(_, last)| last)
    }

    /// Takes in an entry that stands in the journal.
    pub fn apply(&self, entry: &Entry) {
        let mut pages = self.lock();
        if !pages.agents.contains_key(&entry.agent) {
            pages.make_room();
            pages.agents.insert(entry.agent.clone(), Record::default());
        }
        let page = pages.agents.get_mut(&entry.agent).expect("it was put there if it was not");
        if page.apply(entry) {
            let times = page.interleavings;
            tracing::warn!(
                "agent {:?} speaks from two spools in turn ({times} times so far): was the machine cloned? enrol the copy under \
                 its own name and remove its spool",
                entry.agent
            );
        }
    }

    /// Takes in an entry's bytes, as the store hands them back.
    pub fn apply_bytes(&self, bytes: &[u8]) {
        match Entry::from_bytes(bytes) {
            Ok(entry) => self.apply(&entry),
            Err(error) => self.unreadable("entry", error),
        }
    }

    /// Appends the whole ledger as bytes.
    pub fn snapshot(&self, out: &mut Vec<u8>) {
        self.snapshot_within(SNAPSHOT_BYTES_USUAL, out);
    }

    fn snapshot_within(&self, usual_bytes: usize, out: &mut Vec<u8>) {
        let pages = self.lock();
        let begin = out.len();
        out.push(SNAPSHOT_VERSION);
        push_varint(out, pages.agents.len() as u64);
        for (name, page) in &pages.agents {
            push_text(out, name);
            if out.len() - begin < usual_bytes {
                page.to_bytes(out);
            } else {
                page.shortened().to_bytes(out);
            }
        }
    }

    /// Replaces the ledger by a snapshot.
    pub fn restore(&self, snapshot: &[u8]) {
        match read_snapshot(snapshot) {
            Ok(agents) => self.lock().agents = agents,
            Err(error) => self.unreadable("snapshot", error),
        }
    }

    fn unreadable(&self, what: &str, error: Unreadable) {
        tracing::error!(
            "cannot read a ledger {what}: {error}; samples are not touched, spans of agents may be unknown"
        );
        self.lock().unreadable += 1;
    }

    /// Entries and snapshots that could not be read.
    pub fn unreadable_count(&self) -> u64 {
        self.lock().unreadable
    }
}

impl Pages {
    fn make_room(&mut self) {
        if self.agents.len() >= AGENTS_MAX {
            let silent =
                self.agents.iter().min_by_key(|(_, page)| page.last_seen()).map(|(name, _)| name.clone());
            silent.and_then(|name| self.agents.remove(&name));
        }
    }
}

fn read_snapshot(mut bytes: &[u8]) -> Result<BTreeMap<String, Record>, Unreadable> {
    let rest = &mut bytes;
    if take_byte(rest)? != SNAPSHOT_VERSION {
        return Err(Unreadable("the version of a ledger snapshot is not known here"));
    }
    let mut agents = BTreeMap::new();
    for _ in 0..take_count(rest, AGENTS_MAX)? {
        let name = take_text(rest, NAME_BYTES_MAX)?;
        agents.insert(name, Record::take(rest)?);
    }
    if rest.is_empty() { Ok(agents) } else { Err(Unreadable("something follows the snapshot")) }
}

#[cfg(test)]
mod tests;
