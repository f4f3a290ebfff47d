//! One agent's page of the ledger: which batches came, which time they cover, what is missing and why.
//!
//! Pure: entries in, answers out, time is an argument. Every list has a bound (the constants below); over it the oldest part is
//! forgotten, so that a page claims less and never something untrue. A forgotten number or hash costs nothing but work: the
//! batch is written again, and the store keeps equal samples once.

use std::collections::VecDeque;
use std::time::Duration;

use model::Timestamp;
use wire::identity::{BatchIdentity, Cause, Loss};

use super::bytes::{
    Unreadable, push_u128, push_varint, push_zigzag, take_byte, take_count, take_u128, take_varint,
    take_zigzag,
};
use super::entry::Entry;
use super::runs::{Runs, from_time, to_time};

/// Spools of one agent that are remembered: more than one only after a spool was lost or a machine was cloned.
pub(super) const EPOCHS_MAX: usize = 4;
/// Runs of applied numbers of one epoch.
pub(super) const APPLIED_RUNS_MAX: usize = 512;
/// Hashes of an epoch's latest batches.
pub(super) const HASHES_MAX: usize = 32;
/// Covered spans: with a power cut a day, almost three years of them.
pub(super) const COVERED_RUNS_MAX: usize = 1024;
/// Entries of each list of a page in short.
const SHORT_MAX: usize = 8;
/// Reported missing spans.
pub(super) const MISSING_MAX: usize = 1024;

/// How often batches come, until we know better.
const INTERVAL_USUAL_MS: u64 = 60_000;
const INTERVAL_MIN_MS: u64 = 1_000;
const INTERVAL_MAX_MS: u64 = 900_000;
/// What the way takes, and what a scheduler may be late: added to two intervals before silence counts.
const SILENCE_MARGIN: Duration = Duration::from_secs(5);

/// See the module's text.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Record {
    /// Oldest first; the last is in use.
    epochs: Vec<Epoch>,
    covered: Runs,
    late: Runs,
    missing: Vec<Missing>,
    last_seen: Timestamp,
    offset_ms: i64,
    interval_ms: u64,
    batches: u64,
    /// Times that a spool spoke again after another had taken its place.
    pub(super) interleavings: u64,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Epoch {
    epoch: u128,
    boot: u128,
    /// Numbers that came, and numbers that will never come.
    settled: Runs,
    /// Number and half of the hash, oldest first.
    hashes: VecDeque<(u64, u64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Missing {
    cause: Cause,
    first: u64,
    last: u64,
    samples: u64,
}

/// What the ledger knows of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// It has not come, or its hash is forgotten: write it.
    New,
    /// It came with this very payload.
    Same,
    /// It came with another payload.
    Other,
}

/// A span whose data is missing, in whole or in part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Why. A span that nothing explains yet counts as cut: it may still come.
    pub cause: Cause,
    /// First millisecond, inclusive.
    pub from: Timestamp,
    /// Last millisecond, inclusive.
    pub to: Timestamp,
    /// Samples lost, as far as the agent counted them.
    pub samples: u64,
    /// Whether it lasts: the agent is silent now.
    pub open: bool,
}

/// Half of a payload's hash is enough to tell two payloads of one number apart.
fn half(identity: &BatchIdentity) -> u64 {
    identity.payload_hash.as_u128() as u64
}

impl Record {
    /// What is known of a batch's number.
    pub(super) fn known(&self, identity: &BatchIdentity) -> Known {
        let epoch = self.epochs.iter().find(|epoch| epoch.epoch == identity.epoch.as_u128());
        let hash =
            epoch.and_then(|epoch| epoch.hashes.iter().find(|(sequence, _)| *sequence == identity.sequence));
        match hash {
            None => Known::New,
            Some((_, hash)) if *hash == half(identity) => Known::Same,
            Some(_) => Known::Other,
        }
    }

    /// Takes in a batch that stands in the journal. Answers whether two spools are taking turns (a cloned machine).
    pub(super) fn apply(&mut self, entry: &Entry) -> bool {
        let identity = &entry.identity;
        let interleaves = self.turn_to(identity);
        let epoch = self.epochs.last_mut().expect("turn_to put it there");
        let is_new = !epoch.settled.contains(identity.sequence);
        epoch.note(identity);
        let lost: Vec<Loss> = identity.losses.iter().filter(|loss| !epoch.has_come(loss)).copied().collect();
        epoch.settle(&identity.losses);
        if is_new {
            lost.iter().for_each(|loss| self.miss(loss.cause, loss.from, loss.to, loss.samples));
            if entry.refused > 0 {
                self.miss(Cause::Refused, identity.from, identity.to, entry.refused);
            }
            self.batches += 1;
        }
        self.cover(identity);
        self.see(entry);
        interleaves
    }

    /// Makes the batch's epoch the last one.
    fn turn_to(&mut self, identity: &BatchIdentity) -> bool {
        let epoch = identity.epoch.as_u128();
        let at = self.epochs.iter().position(|have| have.epoch == epoch);
        let interleaves = at.is_some_and(|at| at + 1 < self.epochs.len());
        let this = match at {
            Some(at) => self.epochs.remove(at),
            None => Epoch { epoch, ..Epoch::default() },
        };
        if self.epochs.len() == EPOCHS_MAX {
            self.epochs.remove(0);
        }
        self.epochs.push(this);
        self.interleavings += u64::from(interleaves);
        interleaves
    }

    fn cover(&mut self, identity: &BatchIdentity) {
        let (first, last) = (from_time(identity.from), from_time(identity.to));
        if self.covered.last().is_none_or(|newest| newest < last) {
            self.learn_interval((last - first).saturating_add(1));
        }
        self.covered.insert(first, last, COVERED_RUNS_MAX);
        if identity.stamped_late {
            self.late.insert(first, last, COVERED_RUNS_MAX);
        }
    }

    /// Follows the longer ones of an agent's spans: its rounds end at several moments of an interval, so that short batches say
    /// little. One long span (the first after a pause) at most doubles the estimate, short ones lower it slowly.
    fn learn_interval(&mut self, span_ms: u64) {
        let known = if self.interval_ms == 0 { INTERVAL_USUAL_MS } else { self.interval_ms };
        let learnt = if span_ms > known { span_ms.min(2 * known) } else { known - (known - span_ms) / 8 };
        self.interval_ms = learnt.clamp(INTERVAL_MIN_MS, INTERVAL_MAX_MS);
    }

    fn see(&mut self, entry: &Entry) {
        if entry.received_at >= self.last_seen {
            self.last_seen = entry.received_at;
            self.offset_ms = entry.sent_at.millis_since(entry.received_at);
        }
    }

    fn miss(&mut self, cause: Cause, from: Timestamp, to: Timestamp, samples: u64) {
        let mut new = Missing { cause, first: from_time(from), last: from_time(to), samples };
        while let Some(at) = self.missing.iter().position(|have| have.joins(&new)) {
            new = self.missing.remove(at).joined(&new);
        }
        let at = self.missing.partition_point(|have| (have.first, have.last) <= (new.first, new.last));
        self.missing.insert(at, new);
        if self.missing.len() > MISSING_MAX {
            self.missing.remove(0);
        }
    }

    /// When the latest batch was received.
    pub(super) fn last_seen(&self) -> Timestamp {
        self.last_seen
    }

    /// The agent's clock minus the collector's, at the latest batch.
    pub(super) fn offset_ms(&self) -> i64 {
        self.offset_ms
    }

    /// How often batches come.
    pub(super) fn interval(&self) -> Duration {
        Duration::from_millis(self.interval_ms)
    }

    /// Batches that came, each counted once.
    pub(super) fn batches(&self) -> u64 {
        self.batches
    }

    /// Whether the agent's silence is shorter than two intervals.
    pub(super) fn is_connected(&self, now: Timestamp) -> bool {
        now.millis_since(self.last_seen) <= (2 * self.interval() + SILENCE_MARGIN).as_millis() as i64
    }

    /// The first and last millisecond covered.
    pub(super) fn span(&self) -> Option<(Timestamp, Timestamp)> {
        Some((to_time(self.covered.first()?), to_time(self.covered.last()?)))
    }

    /// Numbers below the newest that have not come and were not given up: the backlog still to drain.
    pub(super) fn pending(&self) -> u64 {
        let holes = |epoch: &Epoch| epoch.settled.holes().map(|(first, last)| last - first + 1).sum();
        self.epochs.last().map_or(0, holes)
    }

    /// Spans whose batches were taken before the clock was set, and stamped later.
    pub(super) fn stamped_late(&self) -> impl Iterator<Item = (Timestamp, Timestamp)> + '_ {
        self.late.iter().map(|(first, last)| (to_time(first), to_time(last)))
    }

    /// What is missing, oldest first: what the agent reported, what nothing explains, and the present silence.
    pub(super) fn gaps(&self, now: Timestamp) -> Vec<Gap> {
        let gap = |cause, first, last, samples, open| Gap {
            cause,
            from: to_time(first),
            to: to_time(last),
            samples,
            open,
        };
        let silence = self.silence(now);
        let begins_silence = |miss: &Missing| silence.is_some_and(|(_, first)| miss.first == first);
        let reported = self.missing.iter().filter(|miss| !begins_silence(miss));
        let mut gaps: Vec<Gap> =
            reported.map(|miss| gap(miss.cause, miss.first, miss.last, miss.samples, false)).collect();
        for (first, last) in self.covered.holes() {
            self.unexplained(first, last, |first, last| gaps.push(gap(Cause::Cut, first, last, 0, false)));
        }
        gaps.extend(silence.map(|(cause, first)| gap(cause, first, from_time(now), 0, true)));
        gaps.sort_by_key(|gap| (gap.from, gap.to, gap.cause));
        gaps
    }

    /// Why and since when the agent is silent, if it is. An agent that stops in order says so in its last batch, by a loss of one
    /// millisecond behind it: what follows has that cause.
    fn silence(&self, now: Timestamp) -> Option<(Cause, u64)> {
        let first = self.covered.last()?.checked_add(1)?;
        if self.is_connected(now) || from_time(now) < first {
            return None;
        }
        let farewell = self.missing.iter().find(|miss| miss.first == first && miss.last < from_time(now));
        Some((farewell.map_or(Cause::Cut, |miss| miss.cause), first))
    }

    /// Hands out the parts of a hole that no reported loss covers.
    fn unexplained(&self, first: u64, last: u64, mut hand_out: impl FnMut(u64, u64)) {
        let mut next = first;
        // Sorted by their beginning, which is all that this needs.
        for miss in self.missing.iter().filter(|miss| miss.first <= last && miss.last >= first) {
            if miss.first > next {
                hand_out(next, miss.first - 1);
            }
            next = next.max(miss.last.saturating_add(1));
        }
        if next <= last {
            hand_out(next, last);
        }
    }

    /// The page with only the latest of each list: 2 KiB at most.
    pub(super) fn shortened(&self) -> Self {
        let latest_epochs = self.epochs.iter().map(|epoch| Epoch {
            settled: epoch.settled.highest(SHORT_MAX),
            hashes: epoch.hashes.iter().skip(epoch.hashes.len().saturating_sub(SHORT_MAX)).copied().collect(),
            ..*epoch
        });
        Self {
            epochs: latest_epochs.collect(),
            covered: self.covered.highest(SHORT_MAX),
            late: self.late.highest(SHORT_MAX),
            missing: self.missing[self.missing.len().saturating_sub(SHORT_MAX)..].to_vec(),
            ..*self
        }
    }

    /// Appends the page's bytes.
    pub(super) fn to_bytes(&self, out: &mut Vec<u8>) {
        push_zigzag(out, self.last_seen.as_millis());
        push_zigzag(out, self.offset_ms);
        for number in [self.interval_ms, self.batches, self.interleavings] {
            push_varint(out, number);
        }
        push_runs(out, &self.covered);
        push_runs(out, &self.late);
        push_varint(out, self.missing.len() as u64);
        for miss in &self.missing {
            let cause =
                Cause::ALL.iter().position(|cause| *cause == miss.cause).expect("ALL names every cause");
            out.push(cause as u8);
            for number in [miss.first, miss.last - miss.first, miss.samples] {
                push_varint(out, number);
            }
        }
        push_varint(out, self.epochs.len() as u64);
        self.epochs.iter().for_each(|epoch| epoch.to_bytes(out));
    }

    /// Reads a page.
    pub(super) fn take(rest: &mut &[u8]) -> Result<Self, Unreadable> {
        let last_seen = Timestamp::from_millis(take_zigzag(rest)?);
        let offset_ms = take_zigzag(rest)?;
        let (interval_ms, batches, interleavings) =
            (take_varint(rest)?, take_varint(rest)?, take_varint(rest)?);
        let (covered, late) = (take_runs(rest, COVERED_RUNS_MAX)?, take_runs(rest, COVERED_RUNS_MAX)?);
        let missing =
            (0..take_count(rest, MISSING_MAX)?).map(|_| take_missing(rest)).collect::<Result<_, _>>()?;
        let epochs =
            (0..take_count(rest, EPOCHS_MAX)?).map(|_| Epoch::take(rest)).collect::<Result<_, _>>()?;
        Ok(Self { epochs, covered, late, missing, last_seen, offset_ms, interval_ms, batches, interleavings })
    }
}

impl Epoch {
    fn note(&mut self, identity: &BatchIdentity) {
        self.boot = identity.boot.as_u128();
        self.settled.insert(identity.sequence, identity.sequence, APPLIED_RUNS_MAX);
        self.hashes.retain(|(sequence, _)| *sequence != identity.sequence);
        if self.hashes.len() == HASHES_MAX {
            self.hashes.pop_front();
        }
        self.hashes.push_back((identity.sequence, half(identity)));
    }

    /// Whether every batch that a loss names has come after all.
    fn has_come(&self, loss: &Loss) -> bool {
        loss.sequences.is_some_and(|(first, last)| self.settled.contains_all(first, last))
    }

    fn settle<'a>(&mut self, losses: impl IntoIterator<Item = &'a Loss>) {
        for (first, last) in losses.into_iter().filter_map(|loss| loss.sequences) {
            self.settled.insert(first, last, APPLIED_RUNS_MAX);
        }
    }

    fn to_bytes(&self, out: &mut Vec<u8>) {
        push_u128(out, self.epoch);
        push_u128(out, self.boot);
        push_runs(out, &self.settled);
        push_varint(out, self.hashes.len() as u64);
        for (sequence, hash) in &self.hashes {
            push_varint(out, *sequence);
            out.extend_from_slice(&hash.to_be_bytes());
        }
    }

    fn take(rest: &mut &[u8]) -> Result<Self, Unreadable> {
        let (epoch, boot) = (take_u128(rest)?, take_u128(rest)?);
        let settled = take_runs(rest, APPLIED_RUNS_MAX)?;
        let count = take_count(rest, HASHES_MAX)?;
        let mut hashes = VecDeque::with_capacity(count);
        for _ in 0..count {
            let sequence = take_varint(rest)?;
            let (hash, after) = rest.split_first_chunk().ok_or(Unreadable("the bytes end within a hash"))?;
            *rest = after;
            hashes.push_back((sequence, u64::from_be_bytes(*hash)));
        }
        Ok(Self { epoch, boot, settled, hashes })
    }
}

impl Missing {
    fn joins(&self, other: &Self) -> bool {
        let touch = self.first <= other.last.saturating_add(1) && other.first <= self.last.saturating_add(1);
        self.cause == other.cause && touch
    }

    fn joined(&self, other: &Self) -> Self {
        Self {
            cause: self.cause,
            first: self.first.min(other.first),
            last: self.last.max(other.last),
            samples: self.samples.saturating_add(other.samples),
        }
    }
}

fn push_runs(out: &mut Vec<u8>, runs: &Runs) {
    push_varint(out, runs.len() as u64);
    for (first, last) in runs.iter() {
        push_varint(out, first);
        push_varint(out, last - first);
    }
}

fn take_runs(rest: &mut &[u8], max: usize) -> Result<Runs, Unreadable> {
    let run = |rest: &mut &[u8]| Ok((take_varint(rest)?, take_varint(rest)?));
    let pairs = (0..take_count(rest, max)?).map(|_| run(rest)).collect::<Result<Vec<_>, _>>()?;
    let runs =
        pairs.iter().map(|(first, more)| Some((*first, first.checked_add(*more)?))).collect::<Option<_>>();
    runs.and_then(Runs::from_runs).ok_or(Unreadable("runs are not sorted and apart"))
}

fn take_missing(rest: &mut &[u8]) -> Result<Missing, Unreadable> {
    let cause = Cause::ALL.get(usize::from(take_byte(rest)?)).copied();
    let cause = cause.ok_or(Unreadable("a cause is not known here"))?;
    let first = take_varint(rest)?;
    let last = first.checked_add(take_varint(rest)?).ok_or(Unreadable("a span leaves the range of time"))?;
    Ok(Missing { cause, first, last, samples: take_varint(rest)? })
}
