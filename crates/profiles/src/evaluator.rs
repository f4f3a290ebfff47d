//! One device's values, round after round: cells in, series and values out.
//!
//! What does not change between rounds is remembered: rows in the order in which they came, the texts that labels are made of, the
//! rows that joins give, and the sink's handle behind every value. A round in which nothing but numbers changed compares each index
//! and text with what is known, and formats no label and allocates nothing for a value. When a text changes or a row comes or goes,
//! joins and labels are worked out anew, and only a row whose labels really changed asks the sink for handles again.
//!
//! A row waits without samples while a table that names it has never been read whole: a lost packet must not change labels. After
//! [`WAIT_READS`] reads it goes without.

use std::cell::Cell as ThreadCell;
use std::collections::HashMap;
use std::fmt::Write;
use std::hash::{BuildHasher, Hasher};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use ahash::RandomState;
use snmp::{Index, Value};

use crate::condition::{Row as _, all};
use crate::limits::TEXT_BYTES_MAX;
use crate::profile::{Column, Convert, Family, Last, Metric, Parse, Profile, Reckoning, Scale, Table, What};
use crate::resolve::{Maps, Resolver, View, captured};
use crate::text;

/// Names a series in the sink, by a number of the sink's own below [`Handle::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Handle(pub u32);

impl Handle {
    /// Handles are below this.
    pub const MAX: u32 = u32::MAX - 3;
}

/// Why a value is withheld.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The device's marker for "no value".
    Null,
    /// A text where a number belongs, or the like.
    WrongType,
    /// A text that the pattern takes no number out of.
    Unparsable,
    /// No case of the encoding explains the row.
    NoEncoding,
    /// Two cases of the encoding explain the row differently.
    AmbiguousEncoding,
    /// The scale's columns are missing or out of range.
    BadScale,
    /// At or below the floor: no light.
    BelowFloor,
    /// Out of what the quantity can be.
    Implausible,
}

impl Reason {
    /// As the label of a counter.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::WrongType => "wrong_type",
            Self::Unparsable => "unparsable",
            Self::NoEncoding => "no_encoding",
            Self::AmbiguousEncoding => "ambiguous_encoding",
            Self::BadScale => "bad_scale",
            Self::BelowFloor => "below_floor",
            Self::Implausible => "implausible",
        }
    }
}

/// Takes what a round gives.
pub trait Sink {
    /// While this stays the same, handles stay good.
    fn stamp(&self) -> u64 {
        0
    }

    /// The values that follow come from this table (an ordinal of the plan's tables, then of its groups of scalars).
    fn table(&mut self, _table: usize) {}

    /// A series that was not asked for before or whose labels changed; the labels have texts, in the profile's order, without the
    /// metric's name. None where it is not wanted; that is remembered like a handle.
    fn series(&mut self, family: &Family, labels: &[(&str, &str)]) -> Option<Handle>;

    /// A value of a series.
    fn value(&mut self, handle: Handle, value: f64);

    /// A value that is withheld.
    fn refused(&mut self, family: &Family, reason: Reason);

    /// A row of the current table of which `when`, the table's or that of every metric, let nothing through.
    fn row_withheld(&mut self) {}

    /// For a table whose index a device may renumber: the first index seen for each (current index, key). Without a memory, the
    /// current one.
    fn first_indices(&mut self, rows: &[(u32, &str)]) -> Vec<u32> {
        rows.iter().map(|(index, _)| *index).collect()
    }

    /// Whether a row of such a table is wanted, by the name that people see; what joins to an unwanted row is left out too.
    fn wanted(&mut self, _shown: &str) -> bool {
        true
    }
}

/// What came of a round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Values given to the sink.
    pub values: u64,
    /// Values withheld.
    pub refused: u64,
    /// Rows that wait for the texts of their labels.
    pub waiting: u64,
    /// Rows of tables with an identity that are not wanted.
    pub left_out: u64,
    /// Rows above a table's budget, thrown away.
    pub rows_over: u64,
    /// Whether labels had to be worked out.
    pub relabelled: bool,
}

/// Cells of a table, in any order: (the column's ordinal in the plan, index, value).
///
/// Given out to a taker rather than asked for one by one: a cell that is returned through a trait object goes through memory twice.
type Cells<'a> = Box<dyn FnOnce(&mut dyn FnMut(u16, Index<'a>, &Value<'a>)) + 'a>;
/// Values of a group of scalars: (ordinal in the plan, value).
type Scalars<'a> = Box<dyn Iterator<Item = (u16, Value<'a>)> + 'a>;

/// What was read in one round; tables that were not due are not in it.
#[derive(Default)]
pub struct Readings<'a> {
    tables: Vec<(usize, bool, Cells<'a>)>,
    scalars: Vec<(usize, Scalars<'a>)>,
}

impl<'a> Readings<'a> {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a table by its ordinal in the plan. `whole` says that every column was read to its end, or that the device itself refuses
    /// it: rows that are not in it are gone.
    pub fn table(
        &mut self,
        table: usize,
        whole: bool,
        cells: impl Iterator<Item = (u16, Index<'a>, Value<'a>)> + 'a,
    ) {
        let give = |take: &mut dyn FnMut(_, _, &_)| {
            cells.for_each(|(column, index, value)| take(column, index, &value))
        };
        self.tables.push((table, whole, Box::new(give)));
    }

    /// Adds a group of scalars by its ordinal in the plan.
    pub fn scalars(&mut self, group: usize, values: impl Iterator<Item = (u16, Value<'a>)> + 'a) {
        self.scalars.push((group, Box::new(values)));
    }
}

/// A number that did not come.
pub(crate) const MISSING: f64 = nan(1);
const NULL: f64 = nan(2);
const WRONG_TYPE: f64 = nan(3);
const UNPARSABLE: f64 = nan(4);

const fn nan(code: u64) -> f64 {
    f64::from_bits(0x7ff8_0000_0000_0000 | code)
}

pub(crate) const NO_ROW: u32 = u32::MAX;
const UNKNOWN: u32 = u32::MAX;
const DROPPED: u32 = u32::MAX - 1;
const EXCLUDED: u32 = u32::MAX - 2;

/// Reads of a table after which rows go without the labels that they wait for.
const WAIT_READS: u8 = 5;
/// Rows that are looked at before a map of all rows is made.
const LOOK_AHEAD: usize = 16;

/// Bytes in a table's arena.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Span {
    at: u32,
    len: u16,
}

impl Span {
    const NONE: Self = Self { at: u32::MAX, len: 0 };
}

/// What is remembered of a row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    index: Span,
    /// Of all label texts.
    hash: u64,
    pub(crate) stable: u32,
    waiting: bool,
    left_out: bool,
}

/// What is remembered of a table. A device has rows in few of its profile's tables: the others take a pointer's room.
#[derive(Debug, Default)]
pub(crate) struct State {
    of_rows: Option<Box<Kept>>,
    whole: bool,
    waits: u8,
}

static NOTHING: Kept = Kept {
    rows: Vec::new(),
    bytes: Vec::new(),
    garbage: 0,
    texts: Vec::new(),
    kept: Vec::new(),
    joined: Vec::new(),
    handles: Vec::new(),
};

impl Deref for State {
    type Target = Kept;

    fn deref(&self) -> &Kept {
        self.of_rows.as_deref().unwrap_or(&NOTHING)
    }
}

impl DerefMut for State {
    fn deref_mut(&mut self) -> &mut Kept {
        self.of_rows.get_or_insert_default()
    }
}

/// What is remembered of a table's rows.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(crate) rows: Vec<Row>,
    bytes: Vec<u8>,
    /// Bytes of the arena that nothing names any more.
    garbage: usize,
    texts: Vec<Span>,
    pub(crate) kept: Vec<f64>,
    pub(crate) joined: Vec<u32>,
    handles: Vec<u32>,
}

impl Kept {
    pub(crate) fn index(&self, row: usize) -> &[u8] {
        self.span(self.rows[row].index)
    }

    pub(crate) fn text(&self, slot: usize) -> &[u8] {
        self.span(self.texts[slot])
    }

    fn span(&self, span: Span) -> &[u8] {
        let at = if span == Span::NONE { 0 } else { span.at as usize };
        &self.bytes[at..at + usize::from(span.len)]
    }

    fn store(&mut self, bytes: &[u8]) -> Span {
        let at = u32::try_from(self.bytes.len()).expect("rows and texts are bounded far below 4 GiB");
        self.bytes.extend_from_slice(bytes);
        Span { at, len: u16::try_from(bytes.len()).expect("texts and indices are cut far below 64 KiB") }
    }

    fn add_row(&mut self, table: &Table, index: &[u8]) -> usize {
        let index = self.store(index);
        self.rows.push(Row { index, hash: 0, stable: 0, waiting: false, left_out: false });
        let rows = self.rows.len();
        self.texts.resize(rows * usize::from(table.texts), Span::NONE);
        self.kept.resize(rows * usize::from(table.kept), MISSING);
        self.joined.resize(rows * table.joins.len(), NO_ROW);
        self.handles.resize(rows * table.metrics.len(), UNKNOWN);
        rows - 1
    }

    /// Gives back what growing left over: most devices never grow again.
    fn shrink(&mut self) {
        self.rows.shrink_to_fit();
        self.bytes.shrink_to_fit();
        self.texts.shrink_to_fit();
        self.kept.shrink_to_fit();
        self.joined.shrink_to_fit();
        self.handles.shrink_to_fit();
    }

    /// Keeps these rows, in this order.
    fn rearrange(&mut self, table: &Table, order: &[u32]) {
        let old = std::mem::take(self);
        let copy = |from: usize, width: usize| from * width..(from + 1) * width;
        for &from in order {
            let from = from as usize;
            let row = Row { index: self.store(old.index(from)), ..old.rows[from] };
            self.rows.push(row);
            for span in &old.texts[copy(from, usize::from(table.texts))] {
                let span = if *span == Span::NONE { Span::NONE } else { self.store(old.span(*span)) };
                self.texts.push(span);
            }
            self.kept.extend_from_slice(&old.kept[copy(from, usize::from(table.kept))]);
            self.joined.extend_from_slice(&old.joined[copy(from, table.joins.len())]);
            self.handles.extend_from_slice(&old.handles[copy(from, table.metrics.len())]);
        }
    }
}

/// What a table's round needs, used again by the next device on the same thread.
#[derive(Default)]
pub(crate) struct Work {
    pub(crate) values: Vec<f64>,
    seen: Vec<bool>,
    /// For each column, the row that is expected next.
    cursors: Vec<u32>,
    /// Rows as they were first seen.
    order: Vec<u32>,
    by_index: HashMap<Box<[u8]>, u32, RandomState>,
    mapped: bool,
    read: bool,
    whole: bool,
    added: bool,
}

impl Work {
    fn begin(&mut self, table: &Table, state: &State, whole: bool) {
        self.values.clear();
        self.values.resize(state.rows.len() * table.columns.len(), MISSING);
        self.seen.clear();
        self.seen.resize(state.rows.len(), false);
        self.cursors.clear();
        self.cursors.resize(table.walked.len(), 0);
        self.order.clear();
        self.by_index.clear();
        (self.mapped, self.read, self.whole, self.added) = (false, true, whole, false);
    }
}

#[derive(Default)]
struct Scratch {
    works: Vec<Work>,
    text: String,
    labels: Vec<String>,
    cases: Vec<u8>,
}

thread_local! {
    // One for all devices of a thread: a matrix of values a device would be most of an agent's memory.
    static SCRATCH: ThreadCell<Option<Box<Scratch>>> = const { ThreadCell::new(None) };
}

/// See the module's text.
#[derive(Debug)]
pub struct Evaluator {
    profile: Arc<Profile>,
    states: Vec<State>,
    stamp: u64,
    /// Whether row numbers changed since joins were worked out.
    stale: bool,
}

impl Evaluator {
    /// Nothing is remembered yet.
    pub fn new(profile: &Arc<Profile>) -> Self {
        let states = profile.tables.iter().map(|_| State::default()).collect();
        Self { profile: profile.clone(), states, stamp: 0, stale: false }
    }

    /// The profile.
    pub fn profile(&self) -> &Arc<Profile> {
        &self.profile
    }

    /// Bytes that are remembered, about.
    pub fn memory_bytes(&self) -> usize {
        let of = |state: &State| {
            state.bytes.capacity()
                + state.rows.capacity() * size_of::<Row>()
                + state.texts.capacity() * size_of::<Span>()
                + state.kept.capacity() * 8
                + (state.joined.capacity() + state.handles.capacity()) * 4
        };
        let boxed = |state: &State| if state.of_rows.is_some() { size_of::<Kept>() } else { 0 };
        self.states.iter().map(|state| of(state) + boxed(state) + size_of::<State>()).sum()
    }

    /// Takes a round's cells in and gives its values out.
    pub fn round(&mut self, readings: Readings<'_>, sink: &mut dyn Sink) -> Outcome {
        let mut scratch = SCRATCH.take().unwrap_or_default();
        let outcome = self.round_with(readings, sink, &mut scratch);
        SCRATCH.set(Some(scratch));
        outcome
    }

    fn round_with(&mut self, readings: Readings<'_>, sink: &mut dyn Sink, scratch: &mut Scratch) -> Outcome {
        let mut outcome = Outcome::default();
        let profile = self.profile.clone();
        if scratch.works.len() < profile.tables.len() {
            scratch.works.resize_with(profile.tables.len(), Work::default);
        }
        scratch.works.iter_mut().for_each(|work| {
            work.read = false;
            work.values.clear();
        });
        let changed = self.take_in(&profile, readings, scratch, &mut outcome);
        let stamp = sink.stamp();
        if stamp != self.stamp {
            self.stamp = stamp;
            self.forget_handles();
        }
        let waiting = self.states.iter().any(|state| state.rows.iter().any(|row| row.waiting));
        if changed || self.stale || waiting {
            self.relabel(&profile, sink, scratch);
            outcome.relabelled = true;
        }
        for at in 0..profile.tables.len() {
            if scratch.works[at].read {
                sink.table(at);
                self.give_out(&profile, at, sink, scratch, &mut outcome);
            }
        }
        for (at, state) in self.states.iter().enumerate() {
            outcome.waiting += state.rows.iter().filter(|row| row.waiting).count() as u64;
            if profile.tables[at].identity.is_some() {
                outcome.left_out += state.rows.iter().filter(|row| row.left_out).count() as u64;
            }
        }
        self.end(&profile, scratch);
        outcome
    }

    /// The sink forgot series: their handles are asked for again.
    fn forget_handles(&mut self) {
        let kept = self.states.iter_mut().filter_map(|state| state.of_rows.as_deref_mut());
        for handle in kept.flat_map(|kept| &mut kept.handles) {
            if *handle != EXCLUDED {
                *handle = UNKNOWN;
            }
        }
    }

    /// Whether a text, a number on which labels hang, or the set of rows changed.
    fn take_in(
        &mut self,
        profile: &Profile,
        readings: Readings<'_>,
        scratch: &mut Scratch,
        outcome: &mut Outcome,
    ) -> bool {
        let mut changed = false;
        for (at, whole, cells) in readings.tables {
            let (table, state, work) = (&profile.tables[at], &mut self.states[at], &mut scratch.works[at]);
            work.begin(table, state, whole);
            changed |= whole && !state.whole;
            // Once, not for every cell.
            let kept: &mut Kept = state;
            let mut intake =
                Intake { table, state: kept, work, text: &mut scratch.text, changed: false, over: 0 };
            cells(&mut |column, index, value| intake.cell(column, index, value));
            changed |= intake.changed;
            outcome.rows_over += intake.over;
            state.of_rows.take_if(|kept| kept.rows.is_empty());
        }
        for (group, values) in readings.scalars {
            let at = profile.plan.tables.len() + group;
            let (table, state, work) = (&profile.tables[at], &mut self.states[at], &mut scratch.works[at]);
            work.begin(table, state, true);
            changed |= !state.whole;
            let mut intake = Intake { table, state, work, text: &mut scratch.text, changed: false, over: 0 };
            values.for_each(|(column, value)| {
                let row = intake.only_row();
                intake.put(column, row, &value);
            });
            changed |= intake.changed;
        }
        for (work, state) in scratch.works.iter().zip(&mut self.states) {
            state.whole |= work.read && work.whole;
        }
        changed
    }

    fn relabel(&mut self, profile: &Profile, sink: &mut dyn Sink, scratch: &mut Scratch) {
        self.stale = false;
        let joined = self.joined(profile);
        for (state, joined) in self.states.iter_mut().zip(joined).filter(|(state, _)| !state.rows.is_empty())
        {
            state.joined = joined;
        }
        for at in 0..profile.tables.len() {
            if profile.tables[at].identity.is_some() {
                self.identify(profile, at, sink, &scratch.works[at]);
            }
        }
        for at in 0..profile.tables.len() {
            self.label(profile, at, scratch);
        }
    }

    /// The row that each join of each row gives.
    fn joined(&self, profile: &Profile) -> Vec<Vec<u32>> {
        let maps = Maps::new(profile, &self.states);
        let resolver = Resolver { profile, states: &self.states, maps: Some(&maps) };
        let of_table = |(at, table): (usize, &Table)| {
            let mut joined = Vec::with_capacity(self.states[at].joined.len());
            for row in 0..self.states[at].rows.len() {
                for join in 0..table.joins.len() {
                    let found = resolver.join(at, row, join as u16, 0);
                    joined.push(found.map_or(NO_ROW, |found| found as u32));
                }
            }
            joined
        };
        profile.tables.iter().enumerate().map(of_table).collect()
    }

    /// First indices, and which rows are wanted. Rows that this round found gone bear no name any more, so that a renumbered row is not
    /// taken for a second one of its name.
    fn identify(&mut self, profile: &Profile, at: usize, sink: &mut dyn Sink, work: &Work) {
        let identity = profile.tables[at].identity.as_ref().expect("the caller looked");
        let resolver = Resolver { profile, states: &self.states, maps: None };
        let gone = |row: usize| work.read && work.whole && work.seen.get(row) == Some(&false);
        let mut keys: Vec<(usize, u32, String)> = Vec::new();
        let mut left_out = Vec::new();
        for row in 0..self.states[at].rows.len() {
            if gone(row) {
                left_out.push(self.states[at].rows[row].left_out);
                continue;
            }
            let (mut key, mut shown, mut index) = (String::new(), String::new(), String::new());
            resolver.first(at, row, &[crate::profile::Source::Part(identity.part)], 0, &mut index);
            resolver.first(at, row, &identity.shown, 0, &mut shown);
            left_out.push(!sink.wanted(&shown));
            let index = index.parse().unwrap_or(0);
            if left_out[row] {
                keys.push((row, index, String::new()));
                continue;
            }
            resolver.first(at, row, &identity.key, 0, &mut key);
            keys.push((row, index, key));
        }
        let wanted: Vec<(u32, &str)> =
            keys.iter().filter(|(row, ..)| !left_out[*row]).map(|(_, index, key)| (*index, &**key)).collect();
        let mut first = sink.first_indices(&wanted).into_iter();
        for (row, index, _) in &keys {
            let state = &mut self.states[at].rows[*row];
            state.left_out = left_out[*row];
            state.stable = if state.left_out { *index } else { first.next().unwrap_or(*index) };
        }
    }

    /// Label texts of every row; where they changed, handles are asked for again.
    fn label(&mut self, profile: &Profile, at: usize, scratch: &mut Scratch) {
        let table = &profile.tables[at];
        if table.metrics.is_empty() || self.states[at].rows.is_empty() {
            return;
        }
        let patient = self.states[at].waits < WAIT_READS;
        let mut rows = std::mem::take(&mut self.states[at].rows);
        let mut handles = std::mem::take(&mut self.states[at].handles);
        let hashing = RandomState::with_seeds(1, 2, 3, 4);
        // The rows are needed while they are looked at: they are put back for the resolver.
        self.states[at].rows.clone_from(&rows);
        let resolver = Resolver { profile, states: &self.states, maps: None };
        let mut any_waits = false;
        for (number, row) in rows.iter_mut().enumerate() {
            row.waiting = patient && self.waits(profile, at, number);
            any_waits |= row.waiting;
            if table.identity.is_none() {
                row.left_out = self.joins_left_out(profile, at, number);
            }
            let mut hasher = hashing.build_hasher();
            let mut write = |sources: &[crate::profile::Source]| {
                scratch.text.clear();
                resolver.first(at, number, sources, 0, &mut scratch.text);
                hasher.write(scratch.text.as_bytes());
                hasher.write_u8(0xff);
                !scratch.text.is_empty()
            };
            for label in &table.labels {
                write(&label.sources);
            }
            let view = View { resolver, work: &scratch.works[at], table: at, row: number };
            let handles = &mut handles[number * table.metrics.len()..][..table.metrics.len()];
            for (metric, handle) in table.metrics.iter().zip(&mut *handles) {
                let mut texts = 0;
                metric.labels.iter().for_each(|label| texts += usize::from(write(&label.sources)));
                let fits = all(&metric.when_texts, &view)
                    && !(matches!(metric.what, What::Info) && texts < metric.labels.len());
                match (fits, *handle == EXCLUDED) {
                    (false, _) => *handle = EXCLUDED,
                    (true, true) => *handle = UNKNOWN,
                    (true, false) => {}
                }
            }
            let hash = hasher.finish();
            if hash != row.hash {
                row.hash = hash;
                handles.iter_mut().filter(|handle| **handle != EXCLUDED).for_each(|handle| *handle = UNKNOWN);
            }
        }
        let state = &mut self.states[at];
        (state.rows, state.handles) = (rows, handles);
        if any_waits && scratch.works[at].read {
            state.waits += 1;
        }
    }

    /// Whether a text of a row's labels may still come.
    fn waits(&self, profile: &Profile, at: usize, row: usize) -> bool {
        let (table, state) = (&profile.tables[at], &self.states[at]);
        let lacks = |at: usize, row: usize| {
            let (texts, state) = (usize::from(profile.tables[at].texts), &self.states[at]);
            !state.whole && state.texts[row * texts..][..texts].contains(&Span::NONE)
        };
        lacks(at, row)
            || table.joins.iter().enumerate().any(|(number, join)| {
                let target = usize::from(join.table);
                match state.joined[row * table.joins.len() + number] {
                    NO_ROW => !self.states[target].whole,
                    found => lacks(target, found as usize),
                }
            })
    }

    fn joins_left_out(&self, profile: &Profile, at: usize, row: usize) -> bool {
        let joins = &profile.tables[at].joins;
        joins.iter().enumerate().any(|(number, join)| {
            let found = self.states[at].joined[row * joins.len() + number];
            found != NO_ROW && self.states[usize::from(join.table)].rows[found as usize].left_out
        })
    }

    fn give_out(
        &mut self,
        profile: &Profile,
        at: usize,
        sink: &mut dyn Sink,
        scratch: &mut Scratch,
        outcome: &mut Outcome,
    ) {
        let table = &profile.tables[at];
        if table.metrics.is_empty() || self.states[at].rows.is_empty() {
            return;
        }
        let mut handles = std::mem::take(&mut self.states[at].handles);
        let resolver = Resolver { profile, states: &self.states, maps: None };
        let Scratch { works, labels, cases, .. } = scratch;
        let work = &works[at];
        let mut giver = Giver { profile, table, sink, outcome, labels, cases };
        for (row, seen) in work.seen.iter().enumerate() {
            let known = &self.states[at].rows[row];
            if !*seen || known.waiting || known.left_out {
                continue;
            }
            let view = View { resolver, work, table: at, row };
            if !table.when.is_empty() && !all(&table.when, &view) {
                giver.sink.row_withheld();
                continue;
            }
            let values = &work.values[row * table.columns.len()..][..table.columns.len()];
            let handles = &mut handles[row * table.metrics.len()..][..table.metrics.len()];
            giver.row(&view, values, handles);
        }
        self.states[at].handles = handles;
    }

    /// Rows that are gone are forgotten; rows that came stand where the device has them.
    fn end(&mut self, profile: &Profile, scratch: &mut Scratch) {
        for (at, table) in profile.tables.iter().enumerate() {
            let (state, work) = (&mut self.states[at], &mut scratch.works[at]);
            if !work.read {
                continue;
            }
            let gone = work.whole && work.seen.contains(&false);
            let ascending = work.order.windows(2).all(|pair| pair[0] < pair[1]);
            let wasteful = state.garbage > 4096 && state.garbage > state.bytes.len() / 2;
            if gone || wasteful || (work.added && !ascending) {
                if !work.whole {
                    let seen = &work.seen;
                    work.order.extend((0..state.rows.len() as u32).filter(|row| !seen[*row as usize]));
                }
                state.rearrange(table, &work.order);
                self.stale = true;
                if state.rows.is_empty() {
                    state.of_rows = None;
                } else {
                    state.shrink();
                }
            } else if work.added {
                state.shrink();
            }
        }
    }
}

/// Cells on their way into a table's state.
struct Intake<'a> {
    table: &'a Table,
    state: &'a mut Kept,
    work: &'a mut Work,
    text: &'a mut String,
    changed: bool,
    over: u64,
}

impl Intake<'_> {
    fn cell(&mut self, column: u16, index: Index<'_>, value: &Value<'_>) {
        if usize::from(column) >= self.table.walked.len() {
            return;
        }
        let bytes = index.as_bytes();
        let expected = self.work.cursors[usize::from(column)] as usize;
        let row = if expected < self.state.rows.len() && self.state.index(expected) == bytes {
            expected
        } else {
            match self.find(expected, bytes) {
                Some(row) => row,
                None => return,
            }
        };
        self.work.cursors[usize::from(column)] = row as u32 + 1;
        if !self.work.seen[row] {
            self.work.seen[row] = true;
            self.work.order.push(row as u32);
        }
        self.put(column, row, value);
    }

    fn find(&mut self, expected: usize, bytes: &[u8]) -> Option<usize> {
        let rows = self.state.rows.len();
        let near = (expected + 1)..(expected + LOOK_AHEAD).min(rows);
        if let Some(row) = near.into_iter().find(|&row| self.state.index(row) == bytes) {
            return Some(row);
        }
        if !self.work.mapped {
            self.work.mapped = true;
            self.work.by_index.extend((0..rows).map(|row| (self.state.index(row).into(), row as u32)));
        }
        if let Some(&row) = self.work.by_index.get(bytes) {
            return Some(row as usize);
        }
        if rows >= self.table.rows_max as usize {
            self.over += 1;
            return None;
        }
        self.work.by_index.insert(bytes.into(), rows as u32);
        Some(self.add(bytes))
    }

    fn add(&mut self, index: &[u8]) -> usize {
        let row = self.state.add_row(self.table, index);
        self.work.values.resize(self.state.rows.len() * self.table.columns.len(), MISSING);
        self.work.seen.push(false);
        self.work.added = true;
        self.changed = true;
        row
    }

    fn only_row(&mut self) -> usize {
        if self.state.rows.is_empty() {
            self.add(&[]);
        }
        if !self.work.seen[0] {
            self.work.seen[0] = true;
            self.work.order.push(0);
        }
        0
    }

    fn put(&mut self, column: u16, row: usize, value: &Value<'_>) {
        let Some(&(first, end)) = self.table.walked.get(usize::from(column)) else { return };
        if value.is_exception() {
            return;
        }
        let table = self.table;
        for at in usize::from(first)..usize::from(end) {
            let column = &table.columns[at];
            if let Some(slot) = column.text {
                self.put_text(column, row * usize::from(table.texts) + usize::from(slot), value);
                continue;
            }
            let number = read_number(column, value);
            self.work.values[row * table.columns.len() + at] = number;
            if let Some(slot) = column.keep {
                let kept = &mut self.state.kept[row * usize::from(table.kept) + usize::from(slot)];
                self.changed |= column.structural && kept.to_bits() != number.to_bits();
                *kept = number;
            }
        }
    }

    fn put_text(&mut self, column: &Column, slot: usize, value: &Value<'_>) {
        let octets;
        let bytes: &[u8] = match value {
            Value::OctetString(bytes) | Value::Opaque(bytes) => bytes,
            Value::Oid(oid) => oid.content(),
            Value::IpAddress(address) => {
                octets = address.octets();
                &octets
            }
            number => {
                self.text.clear();
                if let Some(number) = number.number() {
                    write!(self.text, "{number}").expect("a String takes all");
                }
                self.text.as_bytes()
            }
        };
        let bytes = &bytes[..bytes.len().min(TEXT_BYTES_MAX)];
        let bytes = if column.null_texts.iter().any(|null| **null == *bytes) { &[] } else { bytes };
        let known = self.state.texts[slot];
        if known != Span::NONE && self.state.span(known) == bytes {
            return;
        }
        self.changed = true;
        self.state.garbage += usize::from(known.len);
        self.state.texts[slot] = self.state.store(bytes);
    }
}

fn read_number(column: &Column, value: &Value<'_>) -> f64 {
    let number = match (&column.parse, value) {
        (_, Value::Null) => return NULL,
        (Parse::Number, value) => value.number().unwrap_or(WRONG_TYPE),
        (Parse::NumberIn(pattern), Value::OctetString(bytes)) => {
            if column.null_texts.iter().any(|null| **null == **bytes) {
                return NULL;
            }
            let part = captured(pattern, bytes).and_then(|part| std::str::from_utf8(part).ok());
            // `parse` takes "inf" and "nan", which no pattern for numbers lets through on purpose.
            part.and_then(|part| part.trim().parse().ok())
                .filter(|number: &f64| number.is_finite())
                .unwrap_or(UNPARSABLE)
        }
        (Parse::Date, Value::OctetString(bytes)) => text::date(bytes).unwrap_or(UNPARSABLE),
        (Parse::LastArc, Value::Oid(oid)) => oid.arcs().last().map_or(UNPARSABLE, f64::from),
        _ => WRONG_TYPE,
    };
    if number.is_nan() && !is_marked(number) {
        return UNPARSABLE;
    }
    if column.nulls.contains(&number) { NULL } else { number }
}

fn is_marked(number: f64) -> bool {
    [MISSING, NULL, WRONG_TYPE, UNPARSABLE].iter().any(|mark| mark.to_bits() == number.to_bits())
}

/// Why a number that is not there is not there; none where it just did not come.
fn reason(number: f64) -> Option<Reason> {
    let is = |mark: f64| mark.to_bits() == number.to_bits();
    match () {
        () if is(NULL) => Some(Reason::Null),
        () if is(WRONG_TYPE) => Some(Reason::WrongType),
        () if is(UNPARSABLE) => Some(Reason::Unparsable),
        () => None,
    }
}

/// Rows on their way to the sink.
struct Giver<'a> {
    profile: &'a Profile,
    table: &'a Table,
    sink: &'a mut dyn Sink,
    outcome: &'a mut Outcome,
    /// The row's label texts, once they are made.
    labels: &'a mut Vec<String>,
    /// The row's case of each encoding: 0 not looked for yet, else see [`case`].
    cases: &'a mut Vec<u8>,
}

impl Giver<'_> {
    fn row(&mut self, view: &View<'_>, values: &[f64], handles: &mut [u32]) {
        let before = self.outcome.values + self.outcome.refused;
        self.labels.clear();
        self.cases.clear();
        self.cases.resize(self.table.encodings.len(), 0);
        for (metric, handle) in self.table.metrics.iter().zip(handles) {
            if *handle == EXCLUDED || *handle == DROPPED {
                continue;
            }
            if !metric.when.is_empty() && !all(&metric.when, view) {
                continue;
            }
            let value = match &metric.what {
                What::Plain(column) => {
                    let value = values[usize::from(*column)];
                    if value.is_nan() { Err(reason(value)) } else { Ok(value) }
                }
                What::Number(reckoning) => self.reckon(view, reckoning),
                What::Info => Ok(1.0),
                What::Holds { numbers, .. } if numbers.iter().any(|number| view.number(*number).is_nan()) => {
                    Err(None)
                }
                What::Holds { conditions, .. } => Ok(f64::from(u8::from(all(conditions, view)))),
            };
            match value {
                Ok(value) => self.give(view, metric, handle, value),
                Err(None) => {}
                Err(Some(reason)) => {
                    self.outcome.refused += 1;
                    self.sink.refused(&self.profile.families[usize::from(metric.family)], reason);
                }
            }
        }
        let nothing = self.outcome.values + self.outcome.refused == before;
        if nothing && self.table.metrics.iter().all(Metric::is_conditional) {
            self.sink.row_withheld();
        }
    }

    fn give(&mut self, view: &View<'_>, metric: &Metric, handle: &mut u32, value: f64) {
        if *handle == UNKNOWN {
            *handle = self.ask(view, metric);
            if *handle == DROPPED {
                return;
            }
        }
        self.outcome.values += 1;
        self.sink.value(Handle(*handle), value);
    }

    fn ask(&mut self, view: &View<'_>, metric: &Metric) -> u32 {
        let text = |sources: &[crate::profile::Source]| {
            let mut text = String::new();
            view.resolver.first(view.table, view.row, sources, 0, &mut text);
            text
        };
        if self.labels.is_empty() {
            self.labels.extend(self.table.labels.iter().map(|label| text(&label.sources)));
        }
        let own: Vec<String> = metric.labels.iter().map(|label| text(&label.sources)).collect();
        let of_row = self.table.labels.iter().zip(&*self.labels);
        let of_metric = metric.labels.iter().zip(&own);
        let mut labels: Vec<(&str, &str)> = of_row
            .chain(of_metric)
            .filter(|(_, text)| !text.is_empty())
            .map(|(label, text)| (&*label.name, &**text))
            .collect();
        labels.extend(metric.set.iter().map(|(name, text)| (&**name, &**text)));
        let family = &self.profile.families[usize::from(metric.family)];
        self.sink.series(family, &labels).map_or(DROPPED, |handle| handle.0.min(Handle::MAX))
    }

    fn reckon(&mut self, view: &View<'_>, reckoning: &Reckoning) -> Result<f64, Option<Reason>> {
        let number = |of| {
            let number = view.number(of);
            if number.is_nan() { Err(reason(number)) } else { Ok(number) }
        };
        let mut value = number(reckoning.value)?;
        let conversion = match &reckoning.conversion {
            Convert::Always(conversion) => *conversion,
            Convert::ByCase { encoding, cases } => {
                let case = self.case(view, usize::from(*encoding)).map_err(Some)?;
                let unit = cases[case].as_ref().ok_or(Some(Reason::NoEncoding))?;
                if unit.nulls.contains(&value) {
                    return Err(Some(Reason::Null));
                }
                if unit.darks.contains(&value) {
                    return said(reckoning, f64::NEG_INFINITY).map_err(Some);
                }
                unit.conversion
            }
        };
        if let Some(plus) = reckoning.plus {
            value += number(plus)?;
        }
        if let Some(times) = reckoning.times {
            value *= number(times)?;
        }
        let shift = reckoning.scale.as_ref().map_or(Ok(0), |scale| shift(scale, view)).map_err(Some)?;
        let value = conversion.apply(value, shift);
        if value.is_nan() {
            return Err(Some(Reason::Implausible));
        }
        said(reckoning, value).map_err(Some)
    }

    /// The one case that explains the row.
    fn case(&mut self, view: &View<'_>, encoding: usize) -> Result<usize, Reason> {
        const NONE: u8 = 1;
        const AMBIGUOUS: u8 = 2;
        const FIRST: u8 = 3;
        if self.cases[encoding] == 0 {
            let cases = &self.table.encodings[encoding];
            let mut fitting =
                cases.iter().enumerate().filter(|(_, case)| all(&case.when, view)).map(|(at, _)| at as u8);
            self.cases[encoding] = match (fitting.next(), fitting.next()) {
                (None, _) => NONE,
                (Some(case), None) => FIRST + case,
                (Some(_), Some(_)) => AMBIGUOUS,
            };
        }
        match self.cases[encoding] {
            NONE => Err(Reason::NoEncoding),
            AMBIGUOUS => Err(Reason::AmbiguousEncoding),
            case => Ok(usize::from(case - FIRST)),
        }
    }
}

fn said(reckoning: &Reckoning, value: f64) -> Result<f64, Reason> {
    match &reckoning.last {
        Last::Above(limit) => return Ok(f64::from(u8::from(value > *limit))),
        Last::Is(values) => return Ok(f64::from(u8::from(values.contains(&value)))),
        Last::Itself => {}
    }
    if reckoning.floor.is_some_and(|floor| value <= floor) {
        return Err(Reason::BelowFloor);
    }
    let inside = reckoning.bounds.is_none_or(|(low, high)| (low..=high).contains(&value));
    if value.is_finite() && inside { Ok(value) } else { Err(Reason::Implausible) }
}

/// The power of ten that sibling columns give.
fn shift(scale: &Scale, view: &View<'_>) -> Result<i32, Reason> {
    const MOST: f64 = 30.0;
    let mut shift = 0;
    if let Some(by) = scale.by {
        let by = view.number(by);
        let found = scale.exponents.iter().find(|(number, _)| *number as f64 == by);
        shift += found.ok_or(Reason::BadScale)?.1;
    }
    if let Some(digits) = scale.digits {
        let digits = view.number(digits);
        if digits.is_nan() || digits.fract() != 0.0 || digits.abs() > MOST {
            return Err(Reason::BadScale);
        }
        shift -= digits as i32;
    }
    Ok(shift)
}

#[cfg(test)]
mod tests;
