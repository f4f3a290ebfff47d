//! What the spool knows in memory: which numbers are done, where the others stand, what was lost. No I/O, no clock.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use journal::{Position, SegmentInfo};
use model::Timestamp;
use wire::identity::{BatchIdentity, BootId, Cause, Loss, Losses};

use super::index::Regular;
use super::intervals::Intervals;
use super::kept::Kept;
use super::{JUMP, Lane, Outcome, record, shifted};

/// How many of the latest batches the live lane looks after; older ones are backlog.
const LIVE_BATCHES: usize = 4;

/// Where a batch stands in its segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) sequence: u64,
    pub(super) offset: u64,
    /// The boot on whose scale its times are, if it was taken while the clock was unset.
    pub(super) held: Option<BootId>,
}

/// The numbers of a segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    first: u64,
    last: u64,
    entries: u64,
    held: u64,
    /// First millisecond of its first batch on the wall scale.
    since: Option<Timestamp>,
    /// Last millisecond of its last batch on the wall scale; none where it holds held ones.
    until: Option<Timestamp>,
}

/// An answer to [`State::find`].
#[derive(Debug)]
pub(super) enum Found {
    /// This one; on disk if a position is given.
    Batch(u64, Option<Position>),
    /// Look into this segment and ask again.
    Load(u64),
    /// Nothing can be sent now.
    Nothing,
}

/// Time before this run that no batch covers, to be reported when the time of the start is known.
#[derive(Debug)]
struct Gap {
    cause: Cause,
    after: Option<Timestamp>,
    sequences: Option<(u64, u64)>,
}

/// See the module's text.
pub(super) struct State {
    pub(super) kept: Kept,
    pub(super) dirty: bool,
    pub(super) segments: BTreeMap<u64, Span>,
    pub(super) memory: BTreeMap<u64, Bytes>,
    pub(super) memory_bytes: usize,
    pub(super) in_flight: Vec<u64>,
    pub(super) pending: u64,
    pub(super) held_of_this_boot: u64,
    /// Segments that the disk could not read in this run.
    pub(super) unreadable: Vec<u64>,
    /// Whether this run has sealed a batch.
    pub(super) has_begun: bool,
    /// An offset that becomes usable with the next store.
    pub(super) pending_offset: Option<i64>,
    /// Samples lost since the start, by cause.
    pub(super) lost: Vec<(Cause, u64)>,
    /// Whether the state was there; without it nobody knows which of the numbers that are not there were done.
    cursor_found: bool,
    boot: BootId,
    /// Losses within the identity that is being written.
    reporting: Losses,
    tail: (u64, Vec<Place>),
    /// The index of one older segment.
    older: Option<(u64, Vec<Place>)>,
    recent: VecDeque<(Place, Option<Position>)>,
    /// Held batches of earlier boots that never got a clock.
    dead: Intervals,
    dead_samples: u64,
    /// The last batch visited: its number, and its last millisecond if on the wall scale.
    visited: Option<(u64, Option<Timestamp>)>,
    /// Numbers that recovery did not find.
    missing: Vec<Loss>,
    gap: Option<Gap>,
    start_boot_ms: i64,
    /// The first batch's begin, where that is on the wall scale.
    start: Option<Timestamp>,
    held_until_ms: i64,
}

impl State {
    pub(super) fn new(kept: Kept, cursor_found: bool, boot: BootId) -> Self {
        Self {
            kept,
            cursor_found,
            dirty: false,
            segments: BTreeMap::new(),
            memory: BTreeMap::new(),
            memory_bytes: 0,
            in_flight: Vec::new(),
            pending: 0,
            held_of_this_boot: 0,
            unreadable: Vec::new(),
            has_begun: false,
            pending_offset: None,
            lost: Cause::ALL.iter().map(|cause| (*cause, 0)).collect(),
            boot,
            reporting: Losses::none(),
            tail: (0, Vec::new()),
            older: None,
            recent: VecDeque::new(),
            dead: Intervals::default(),
            dead_samples: 0,
            visited: None,
            missing: Vec::new(),
            gap: None,
            start_boot_ms: 0,
            start: None,
            held_until_ms: 0,
        }
    }

    /// A batch that recovery found, in journal order.
    pub(super) fn visited(&mut self, segment: u64, place: Place, identity: &BatchIdentity) {
        let wall = place.held.is_none();
        self.note_reported(place.sequence, &identity.losses);
        self.note_missing(place.sequence, wall.then_some(identity.from));
        self.visited = Some((place.sequence, wall.then_some(identity.to)));
        self.note_segment(segment, place, (identity.from, identity.to));
        self.note_until(place, identity.to);
        if self.kept.done.contains(place.sequence) {
            return;
        }
        match place.held {
            Some(boot) if boot != self.boot && self.kept.boot_offset_ms(boot).is_none() => {
                self.dead.insert(place.sequence, place.sequence);
                self.dead_samples += identity.samples;
                return;
            }
            Some(boot) if boot == self.boot => self.held_of_this_boot += 1,
            _ => {}
        }
        self.pending += 1;
    }

    /// A segment whose batches were visited at an earlier start, or written in an earlier run: the cursor knows all of them.
    pub(super) fn recalled(&mut self, regular: &Regular) {
        let Regular { segment, mark: _, first, last, since, until } = *regular;
        self.note_missing(first, Some(since));
        self.visited = Some((last, Some(until)));
        self.kept.until = self.kept.until.max(Some(until));
        self.pending += regular.entries() - self.kept.done.count_within(first, last);
        let entries = regular.entries();
        self.segments
            .insert(segment, Span { first, last, entries, held: 0, since: Some(since), until: Some(until) });
    }

    /// The segments that nothing more is written to and of which numbers and times say everything, in order, with marks from the
    /// journal's own list.
    pub(super) fn regular(&self, infos: &[SegmentInfo]) -> Vec<Regular> {
        let sealed = self
            .segments
            .iter()
            .filter(|(number, _)| **number != self.tail.0 && !self.unreadable.contains(number));
        let regular = sealed.filter_map(|(&segment, span)| {
            let Span { first, last, entries, held, since, until } = *span;
            let whole = held == 0 && entries == last - first + 1;
            let (since, until) = since.zip(until).filter(|_| whole)?;
            let at = infos.binary_search_by_key(&segment, |info| info.number).ok()?;
            let mark = infos[at].mark;
            Some(Regular { segment, mark, first, last, since, until })
        });
        regular.collect()
    }

    /// What a batch that waits reports comes with it: it need not be reported once more, which after many short lives would be
    /// more than one report holds. Numbers that it gives up just before its own are no riddle.
    fn note_reported(&mut self, sequence: u64, losses: &Losses) {
        if losses.is_empty() || self.kept.done.contains(sequence) {
            return;
        }
        let previous = self.visited.map_or(0, |(previous, _)| previous);
        for (first, last) in losses.iter().filter_map(|loss| loss.sequences) {
            if previous < first && last < sequence {
                self.kept.done.insert(first, last);
            }
        }
        let is_reported = |loss: &&Loss| losses.iter().any(|reported| reported == *loss);
        self.kept.losses = self.kept.losses.iter().filter(|loss| !is_reported(loss)).copied().collect();
    }

    /// Numbers between two batches that are neither there nor done were in a damaged place, or never used after a crash.
    fn note_missing(&mut self, sequence: u64, from: Option<Timestamp>) {
        let Some((previous, previous_to)) = self.visited else { return };
        if !self.cursor_found || sequence <= previous + 1 || self.kept.done.covers(previous + 1, sequence - 1)
        {
            return;
        }
        let (after, before) = (previous_to.map(|to| shifted(to, 1)), from.map(|from| shifted(from, -1)));
        let begin = after.or(before).unwrap_or_default();
        let loss = Loss {
            cause: Cause::Crashed,
            from: begin,
            to: before.unwrap_or(begin).max(begin),
            samples: 0,
            sequences: Some((previous + 1, sequence - 1)),
        };
        self.missing.push(loss);
    }

    fn note_segment(&mut self, segment: u64, place: Place, (from, to): (Timestamp, Timestamp)) {
        let since = place.held.is_none().then_some(from);
        let fresh = Span { first: place.sequence, last: 0, entries: 0, held: 0, since, until: None };
        let span = self.segments.entry(segment).or_insert(fresh);
        span.last = span.last.max(place.sequence);
        span.first = span.first.min(place.sequence);
        span.entries += 1;
        span.held += u64::from(place.held.is_some());
        span.until = if span.held == 0 { span.until.max(Some(to)) } else { None };
    }

    /// Raises what is covered, where the time is known.
    fn note_until(&mut self, place: Place, to: Timestamp) {
        let to = match place.held {
            None => Some(to),
            Some(boot) => {
                if boot == self.boot {
                    self.held_until_ms = self.held_until_ms.max(to.as_millis());
                }
                self.kept.boot_offset_ms(boot).map(|offset_ms| shifted(to, offset_ms))
            }
        };
        self.kept.until = self.kept.until.max(to);
    }

    /// Recovery is over: was the last run's end in order? If it was not, or if something is damaged, nobody knows the last
    /// number that was used: the numbers jump. `unreadable` are segments that the disk could not read now and may read later.
    pub(super) fn opened(&mut self, damaged: bool, unreadable: Vec<u64>) -> bool {
        if let Some((last, _)) = self.visited {
            self.kept.next = self.kept.next.max(last + 1);
        }
        let missing = std::mem::take(&mut self.missing);
        let jumps = damaged || !missing.is_empty() || !self.kept.orderly;
        if unreadable.is_empty() {
            missing.into_iter().for_each(|loss| self.give_up(loss));
        }
        self.unreadable = unreadable;
        let is_new = !self.cursor_found && self.segments.is_empty();
        let orderly = is_new || (self.cursor_found && self.kept.orderly);
        let cause = if orderly { Cause::Stopped } else { Cause::Crashed };
        let first = self.first_unaccounted();
        let sequences = (!is_new && (jumps || !self.cursor_found)).then(|| {
            self.kept.next += JUMP;
            (first, self.kept.next - 1)
        });
        if !is_new {
            self.gap = Some(Gap { cause, after: self.kept.until, sequences });
        }
        self.kept.orderly = false;
        orderly
    }

    /// The lowest number of which nothing is known: neither here nor done. A run that ended before its first batch has jumped and
    /// stored its next number, but reported nothing: its numbers are still to be accounted for.
    fn first_unaccounted(&self) -> u64 {
        // What cannot be read now may be read later: its numbers are not lost.
        if !self.unreadable.is_empty() {
            return self.kept.next;
        }
        let here = self.visited.map(|(last, _)| last);
        let done = self.kept.done.iter().map(|(_, last)| last).max();
        here.max(done).map_or(self.kept.next, |last| (last + 1).min(self.kept.next))
    }

    /// Passes over numbers that an unknown run may use.
    pub(super) fn jump(&mut self) {
        let first = self.kept.next;
        self.kept.next += JUMP;
        if let Some(gap) = &mut self.gap {
            let first = gap.sequences.map_or(first, |(first, _)| first);
            gap.sequences = Some((first, self.kept.next - 1));
        }
    }

    fn give_up(&mut self, loss: Loss) {
        if let Some((first, last)) = loss.sequences {
            self.kept.done.insert(first, last);
        }
        self.lose(loss);
    }

    /// This run begins now, as far as the spool knows.
    pub(super) fn starts(&mut self, boot_ms: i64) {
        self.start_boot_ms = boot_ms;
    }

    /// Its first batch begins here: what lies between the runs ends just before it.
    pub(super) fn first_batch(&mut self, from: Timestamp, held: bool) {
        if held {
            self.start_boot_ms = from.as_millis();
        } else {
            self.start = Some(from);
        }
    }

    /// Once the time is known: reports what lies between the last run and this one, and what of earlier boots has no time.
    pub(super) fn resolve_start(&mut self, boot_offset_ms: Option<i64>) {
        let Some(offset_ms) = boot_offset_ms else { return };
        let Some(gap) = self.gap.take() else { return };
        let start =
            self.start.unwrap_or(Timestamp::from_millis(self.start_boot_ms.saturating_add(offset_ms)));
        let from = gap.after.map_or(start, |after| shifted(after, 1));
        let to = shifted(start, -1).max(from);
        if let Some((first, last)) = gap.sequences {
            self.kept.done.insert(first, last);
        }
        if from < start || gap.sequences.is_some() {
            self.lose(Loss { cause: gap.cause, from, to, samples: 0, sequences: gap.sequences });
        }
        let mut samples = std::mem::take(&mut self.dead_samples);
        for (first, last) in std::mem::take(&mut self.dead).iter() {
            self.kept.done.insert(first, last);
            let sequences = Some((first, last));
            self.lose(Loss { cause: Cause::Clock, from, to, samples, sequences });
            samples = 0;
        }
        self.dirty = true;
    }

    /// Remembers a loss for the next batch's report, and counts it.
    pub(super) fn lose(&mut self, loss: Loss) {
        if let Some((_, samples)) = self.lost.iter_mut().find(|(cause, _)| *cause == loss.cause) {
            *samples += loss.samples;
        }
        self.kept.losses.add(loss);
        self.dirty = true;
    }

    /// Takes what is to be reported into a batch that is being sealed.
    pub(super) fn take_report(&mut self) -> Losses {
        let report = self.kept.losses.take();
        self.reporting.add_all(&report);
        report
    }

    /// A batch of this run is on disk.
    pub(super) fn durable(&mut self, at: Position, mut place: Place, span: (Timestamp, Timestamp)) {
        place.offset = at.offset;
        if at.segment != self.tail.0 {
            let sealed = std::mem::replace(&mut self.tail, (at.segment, Vec::new()));
            self.older = Some(sealed);
        }
        self.tail.1.push(place);
        self.note_segment(at.segment, place, span);
        self.note_until(place, span.1);
        self.appended(place, Some(at));
        self.reporting = Losses::none();
    }

    fn appended(&mut self, place: Place, at: Option<Position>) {
        self.held_of_this_boot += u64::from(place.held.is_some());
        self.pending += 1;
        self.recent.push_back((place, at));
        if self.recent.len() > LIVE_BATCHES {
            self.recent.pop_front();
        }
    }

    /// A batch of this run that the disk does not take.
    pub(super) fn keep_in_memory(&mut self, place: Place, bytes: Vec<u8>, bytes_max: usize) {
        // What it reports may be lost with it: it is reported once more, which changes nothing where it arrives.
        let reporting = self.reporting.take();
        self.kept.losses.add_all(&reporting);
        self.memory_bytes += bytes.len();
        self.memory.insert(place.sequence, Bytes::from(bytes));
        self.appended(place, None);
        while self.memory_bytes > bytes_max {
            let Some((_, bytes)) = self.memory.pop_first() else { return };
            self.memory_bytes -= bytes.len();
            if let Ok(record) = record::decode(&bytes) {
                self.drop_batch(&record.identity, record.held, Cause::Shed);
            }
        }
    }

    /// Gives a batch up: it is done, and its loss and the losses that it would have reported are remembered.
    fn drop_batch(&mut self, identity: &BatchIdentity, held: bool, cause: Cause) {
        if self.kept.done.contains(identity.sequence) {
            return;
        }
        let (from, to) = match (held, self.kept.boot_offset_ms(identity.boot)) {
            (false, _) => (identity.from, identity.to),
            (true, Some(offset_ms)) => (shifted(identity.from, offset_ms), shifted(identity.to, offset_ms)),
            // Nobody knows when that was: it is later than all that was stamped before.
            (true, None) => (self.kept.until.unwrap_or_default(), self.kept.until.unwrap_or_default()),
        };
        let sequences = Some((identity.sequence, identity.sequence));
        self.lose(Loss { cause, from, to, samples: identity.samples, sequences });
        self.kept.losses.add_all(&identity.losses);
        self.finish(identity.sequence);
    }

    fn finish(&mut self, sequence: u64) {
        if self.kept.done.contains(sequence) {
            return;
        }
        self.kept.done.insert(sequence, sequence);
        if !self.dead.contains(sequence) {
            self.pending = self.pending.saturating_sub(1);
        }
        if let Some(bytes) = self.memory.remove(&sequence) {
            self.memory_bytes -= bytes.len();
        }
        self.dirty = true;
    }

    fn is_ready(&self, place: &Place) -> bool {
        !self.kept.done.contains(place.sequence)
            && !self.in_flight.contains(&place.sequence)
            && place.held.is_none_or(|boot| self.kept.boot_offset_ms(boot).is_some())
    }

    /// The newest batch of a lane that can be sent.
    pub(super) fn find(&self, lane: Lane) -> Found {
        match lane {
            Lane::Live => {
                let ready = self.recent.iter().rev().find(|(place, _)| self.is_ready(place));
                ready.map_or(Found::Nothing, |(place, at)| Found::Batch(place.sequence, *at))
            }
            Lane::Backlog => {
                self.find_before(self.recent.front().map_or(u64::MAX, |(place, _)| place.sequence))
            }
        }
    }

    fn find_before(&self, limit: u64) -> Found {
        let in_memory = self.memory.range(..limit).rev().find(|(sequence, bytes)| {
            let held = record::decode(bytes).ok().and_then(|record| record.held.then_some(self.boot));
            self.is_ready(&Place { sequence: **sequence, offset: 0, held })
        });
        let in_memory = in_memory.map(|(sequence, _)| *sequence);
        match self.find_on_disk(limit) {
            Found::Batch(sequence, at) if in_memory.is_none_or(|other| other < sequence) => {
                Found::Batch(sequence, at)
            }
            Found::Load(segment) => Found::Load(segment),
            _ => in_memory.map_or(Found::Nothing, |sequence| Found::Batch(sequence, None)),
        }
    }

    fn find_on_disk(&self, limit: u64) -> Found {
        let unstamped = self.kept.boot_offset_ms(self.boot).is_none();
        for (&number, span) in self.segments.iter().rev() {
            let last = span.last.min(limit.saturating_sub(1));
            let only_held = unstamped && span.held == span.entries;
            let skipped = span.first >= limit || only_held || self.unreadable.contains(&number);
            if skipped || self.kept.done.covers(span.first, last) {
                continue;
            }
            let Some(places) = self.places(number) else { return Found::Load(number) };
            if let Some(place) = self.newest_ready(places, limit) {
                let at = Position { segment: number, offset: place.offset };
                return Found::Batch(place.sequence, Some(at));
            }
        }
        Found::Nothing
    }

    /// The newest batch of a segment below a number that can be sent. What is done is stepped over range by range, not one by
    /// one: a backlog drains from its end.
    fn newest_ready<'a>(&self, places: &'a [Place], limit: u64) -> Option<&'a Place> {
        let mut end = places.partition_point(|place| place.sequence < limit);
        while let Some(place) = places[..end].last() {
            if self.is_ready(place) {
                return Some(place);
            }
            end = match self.kept.done.range_around(place.sequence) {
                Some((first, _)) => places.partition_point(|place| place.sequence < first),
                None => end - 1,
            };
        }
        None
    }

    fn places(&self, segment: u64) -> Option<&[Place]> {
        if self.tail.0 == segment {
            return Some(&self.tail.1);
        }
        self.older.as_ref().filter(|(number, _)| *number == segment).map(|(_, places)| &**places)
    }

    /// The index of a segment was read; numbers that should be in it and are not were in a damaged place.
    pub(super) fn loaded(&mut self, segment: u64, found: Vec<(Place, BatchIdentity)>) {
        if let Some(span) = self.segments.get(&segment).copied() {
            let mut next = span.first;
            let ends = found.iter().map(|(place, _)| place.sequence).chain([span.last + 1]);
            for sequence in ends {
                if sequence > next && !self.kept.done.covers(next, sequence - 1) {
                    self.lose_damaged(next, sequence - 1, span.since);
                }
                next = sequence + 1;
            }
        }
        self.older = Some((segment, found.into_iter().map(|(place, _)| place).collect()));
    }

    fn lose_damaged(&mut self, first: u64, last: u64, since: Option<Timestamp>) {
        tracing::error!("batches {first} to {last} of the spool are damaged and lost");
        self.drop_numbers(first, last, since, Cause::Crashed);
    }

    /// Gives up batches of which nothing is known but their numbers.
    fn drop_numbers(&mut self, first: u64, last: u64, since: Option<Timestamp>, cause: Cause) {
        let at = since.or(self.kept.until).unwrap_or_default();
        self.lose(Loss { cause, from: at, to: at, samples: 0, sequences: Some((first, last)) });
        for sequence in first..=last {
            self.finish(sequence);
        }
    }

    /// A batch that was claimed and cannot be read: it is lost.
    pub(super) fn lose_unreadable(&mut self, sequence: u64) {
        self.in_flight.retain(|have| *have != sequence);
        if self.is_left(sequence) {
            self.lose_damaged(sequence, sequence, None);
        }
        // Whatever became of it: it is not claimed again, at once and for ever.
        self.recent.retain(|(place, _)| place.sequence != sequence);
    }

    /// Whether a batch that was claimed is still there. Else it was shed meanwhile, which is told already; its number may be forgotten
    /// with its segment.
    fn is_left(&self, sequence: u64) -> bool {
        let is_in = |span: &Span| (span.first..=span.last).contains(&sequence);
        let is_here = self.memory.contains_key(&sequence) || self.segments.values().rev().any(is_in);
        is_here && !self.kept.done.contains(sequence)
    }

    /// What became of a batch that was claimed.
    pub(super) fn settle(&mut self, identity: &BatchIdentity, outcome: Outcome) {
        self.in_flight.retain(|have| *have != identity.sequence);
        match outcome {
            _ if !self.is_left(identity.sequence) => {}
            Outcome::Later => {}
            Outcome::Delivered => self.finish(identity.sequence),
            Outcome::Refused => self.drop_batch(identity, false, Cause::Refused),
            Outcome::Replaced => {
                self.kept.losses.add_all(&identity.losses);
                self.finish(identity.sequence);
            }
        }
    }

    /// Gives up what is still to be sent of a segment; answers how many batches.
    pub(super) fn shed(&mut self, segment: u64, found: &[(Place, BatchIdentity)]) -> u64 {
        let before = self.pending;
        for (place, identity) in found {
            self.drop_batch(identity, place.held.is_some(), Cause::Shed);
        }
        // What could not even be read is known by its numbers.
        if let Some(span) = self.segments.get(&segment).copied()
            && !self.kept.done.covers(span.first, span.last)
        {
            self.drop_numbers(span.first, span.last, span.since, Cause::Shed);
        }
        before - self.pending
    }

    /// Whether nothing of a segment is still to be sent.
    pub(super) fn is_done(&self, segment: u64) -> bool {
        self.segments.get(&segment).is_none_or(|span| self.kept.done.covers(span.first, span.last))
    }

    /// Segments are gone: what is done below the first number that is left need not be remembered.
    pub(super) fn removed(&mut self, segments: &[u64]) {
        for segment in segments {
            self.segments.remove(segment);
        }
        if self.older.as_ref().is_some_and(|(number, _)| segments.contains(number)) {
            self.older = None;
        }
        let on_disk = self.segments.values().map(|span| span.first).min();
        let in_memory = self.memory.first_key_value().map(|(sequence, _)| *sequence);
        let first = [on_disk, in_memory].into_iter().flatten().min().unwrap_or(self.kept.next);
        self.kept.done.forget_below(first);
        // What is forgotten would look as if it were still to be sent.
        self.recent.retain(|(place, _)| place.sequence >= first);
        self.dirty = true;
    }

    /// Segments with something to send that is all older than `limit`.
    pub(super) fn older_than(&self, limit: Timestamp) -> Vec<u64> {
        let old = |(_, span): &(&u64, &Span)| {
            span.until.is_some_and(|until| until < limit) && !self.kept.done.covers(span.first, span.last)
        };
        self.segments.iter().filter(old).map(|(number, _)| *number).collect()
    }

    /// First millisecond of the oldest segment that has something to send.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        let waiting = |span: &&Span| !self.kept.done.covers(span.first, span.last);
        self.segments.values().find(waiting).and_then(|span| span.since)
    }

    /// What is to be stored: the state, what is being reported, and an offset that waits to be durable.
    pub(super) fn take_to_store(&mut self) -> Kept {
        let mut kept = self.kept.clone();
        kept.losses.add_all(&self.reporting);
        if let Some(offset_ms) = self.pending_offset {
            kept.set_boot_offset(self.boot, offset_ms);
        }
        self.dirty = false;
        kept
    }

    /// It was stored: an offset that waited may be used.
    pub(super) fn stored(&mut self, kept: &Kept) {
        if let Some(offset_ms) = kept.boot_offset_ms(self.boot) {
            self.pending_offset = None;
            self.kept.set_boot_offset(self.boot, offset_ms);
            let held_until =
                (self.held_of_this_boot > 0).then(|| self.held_until_ms.saturating_add(offset_ms));
            self.kept.until = self.kept.until.max(held_until.map(Timestamp::from_millis));
        }
    }
}
