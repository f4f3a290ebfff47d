//! The series of one target, from round to round: who is known, who was seen, who went away.
//!
//! An input that reads texts names each value by a key of its own (a raw exposition line, a source's fields): the table keeps the series
//! behind each key, so that a round over known series costs one hash a value. An input that knows its series from round to round (a
//! device's profile) holds their ids, which costs an index and a store and no memory for keys; its table is made by
//! [`SeriesTable::compact`]. Both know which series were there in the last round and are not in this one: those get a stale marker.
//!
//! In: keys or ids, values, and labels for a series that is new. Out: [`Point`]s, and each series' labels and metadata. No clock: the
//! round's time is an argument.
//!
//! Memory: 16 bytes a series and 16 a set of labels. Labels are kept once for all series that have the same beside the metric's name (a port's twenty
//! counters), without the target's own; names, types and help once in the process. What finds a series by its labels is made when a
//! series is new, and given back by a compact table when the round ends.
//!
//! Limits: at most `series_max` series at once; past it new series are refused and counted, known ones go on. A series that
//! was not seen for [`SeriesTable::FORGET_AFTER_ROUNDS`] rounds is forgotten.

mod names;
mod sets;

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use hashbrown::HashTable;
use model::{Labels, METRIC_NAME, MetricKind, MetricMetadata, Timestamp, stale_nan};

pub(crate) use names::Named;
use sets::Sets;
pub(crate) use sets::{Merged, SetId};

/// A metric family that is known when the program is built: what node_exporter calls a description.
#[derive(Debug)]
pub struct Family {
    /// The metric's name, such as `node_load1`.
    pub name: &'static str,
    /// One sentence for people.
    pub help: &'static str,
    /// Counter, gauge, ...
    pub kind: MetricKind,
    /// Names of the labels whose values a caller gives, in that order.
    pub labels: &'static [&'static str],
}

/// Names a series in its [`SeriesTable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SeriesId(u32);

impl SeriesId {
    /// Its number, for who keeps ids among numbers of another kind.
    pub(crate) fn number(self) -> u32 {
        self.0
    }

    /// The id of a number that [`SeriesId::number`] gave.
    pub(crate) fn from_number(number: u32) -> Self {
        Self(number)
    }
}

/// One value of one series.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    /// Whose value.
    pub series: SeriesId,
    /// When: the round's time, or what the exporter said.
    pub timestamp: Timestamp,
    /// The value, or the stale marker.
    pub value: f64,
}

/// What became of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It is part of the round.
    Kept,
    /// It is part of the round and its series is new.
    KeptNew,
    /// Relabelling drops this series.
    Dropped,
    /// The table is full: the series is new and was refused.
    Refused,
    /// The series already has a value in this round (two lines of one name and label set); the first stays.
    Duplicate,
}

/// Labels and metadata of a series, as an input makes them when a key is new.
pub struct Described {
    /// The finished label set, `job`, `instance` and extra labels included.
    pub labels: Labels,
    /// Type, help and unit, shared by the series of a family.
    pub metadata: Option<Arc<MetricMetadata>>,
}

/// A series' labels and metadata.
#[derive(Debug)]
pub struct SeriesEntry {
    /// The finished label set.
    pub labels: Labels,
    /// Type, help and unit.
    pub metadata: Option<Arc<MetricMetadata>>,
}

/// What is kept of a series. Rounds count modulo 2^16: a series is forgotten long before that is ambiguous.
#[derive(Debug)]
struct Entry {
    named: Arc<Named>,
    set: SetId,
    seen_in: u16,
    /// Rounds before `seen_in` in which it was seen: what a discarded round goes back to. [`NEVER`]: none.
    before: u8,
    /// See [`OWN_TIME`] and [`SAID`].
    flags: u8,
}

/// More rounds than any series stays away.
const NEVER: u8 = u8::MAX;
/// The latest value had a time of its own: such series get no stale marker (as in Prometheus).
const OWN_TIME: u8 = 1;
/// Its metadata was handed out.
const SAID: u8 = 2;

impl Entry {
    /// Rounds since it was seen.
    fn age(&self, round: u64) -> u16 {
        (round as u16).wrapping_sub(self.seen_in)
    }

    fn see(&mut self, round: u64) {
        let age = self.age(round);
        if age > 0 {
            self.before = u8::try_from(age).unwrap_or(NEVER);
            self.seen_in = round as u16;
        }
    }
}

enum Known {
    Series(SeriesId),
    Dropped { seen_in: u64 },
}

/// What a table keeps for an input that names series by keys, and for an encoder that knows them by tokens.
#[derive(Default)]
struct Keyed {
    keys: HashMap<Box<[u8]>, Known, ahash::RandomState>,
    /// The encoder's marks, by series.
    tokens: Vec<Option<wire::v2::Token>>,
    forgotten: Vec<wire::v2::Token>,
}

/// Finds series by name and set, and sets by their bytes.
struct Search {
    series: HashTable<SeriesId>,
    sets: HashTable<SetId>,
}

static HASHING: LazyLock<ahash::RandomState> = LazyLock::new(ahash::RandomState::new);

/// See the module's text.
pub struct SeriesTable {
    base: Labels,
    entries: Vec<Option<Entry>>,
    free: Vec<SeriesId>,
    sets: Sets,
    search: Option<Box<Search>>,
    compact: bool,
    keyed: Option<Box<Keyed>>,
    round: u64,
    series_max: usize,
    /// Further series for [`Round::metric`] alone.
    own_max: usize,
    stamp: Stamp,
    /// What was forgotten since the last look for old series began, in order.
    forgotten: Vec<SeriesId>,
    /// The series after the one that was named by a family last: the next such one, if this round is like the last.
    next: u32,
    /// How often metadata was to be said again when this table last said its own.
    said: u32,
}

/// Says which table gave an id and whether it may have forgotten it since: an id is good for as long as this stays the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    table: u64,
    forgotten: u64,
}

impl Stamp {
    fn of_new_table() -> Self {
        static TABLES: AtomicU64 = AtomicU64::new(0);
        Self { table: TABLES.fetch_add(1, Ordering::Relaxed), forgotten: 0 }
    }
}

impl SeriesTable {
    /// Rounds after which a series that is not seen any more is forgotten.
    pub const FORGET_AFTER_ROUNDS: u64 = 10;

    /// A table for one target. `base` holds `job`, `instance` and extra labels for [`Round::metric`].
    pub fn new(base: Labels, series_max: usize) -> Self {
        Self { compact: false, ..Self::compact(base, series_max) }
    }

    /// A table for an input that holds ids: an encoder keeps nothing of its series.
    pub fn compact(base: Labels, series_max: usize) -> Self {
        Self {
            base,
            entries: Vec::new(),
            free: Vec::new(),
            sets: Sets::default(),
            search: None,
            compact: true,
            keyed: None,
            round: 0,
            series_max,
            own_max: 0,
            stamp: Stamp::of_new_table(),
            forgotten: Vec::new(),
            next: 0,
            said: 0,
        }
    }

    /// The same, with room for so many series more that the input itself says ([`Round::metric`]): what is said of a target must not
    /// depend on how much the target says.
    #[must_use]
    pub fn with_room_for_own(self, own_max: usize) -> Self {
        Self { own_max, ..self }
    }

    /// Number of series known.
    pub fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// Whether no series is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The labels that every [`Round::metric`] of this target bears.
    pub fn base(&self) -> &Labels {
        &self.base
    }

    /// A series by its id; panics on the id of another table or of a forgotten series.
    pub fn entry(&self, id: SeriesId) -> SeriesEntry {
        let entry = self.at(id);
        let mut labels = Labels::builder();
        labels.set(METRIC_NAME, &entry.named.name);
        self.labels_of(entry.set).for_each(|(name, value)| {
            labels.set(name, value);
        });
        SeriesEntry { labels: labels.build(), metadata: entry.named.metadata.clone() }
    }

    /// Bytes that the table takes, about; names that it shares with others are not counted.
    pub fn memory_bytes(&self) -> usize {
        let keyed = self.keyed.as_ref().map_or(0, |keyed| {
            let keys: usize = keyed.keys.keys().map(|key| key.len()).sum();
            keys + keyed.keys.capacity() * 40 + keyed.tokens.capacity() * 12
        });
        let search = |search: &Search| (search.series.capacity() + search.sets.capacity()) * 6;
        size_of::<Self>()
            + self.entries.capacity() * size_of::<Option<Entry>>()
            + (self.free.capacity() + self.forgotten.capacity()) * 4
            + self.sets.memory_bytes()
            + self.search.as_deref().map_or(0, search)
            + keyed
    }

    fn at(&self, id: SeriesId) -> &Entry {
        self.entries[id.0 as usize].as_ref().expect("a point of this round names a known series")
    }

    /// Whether an encoder is to keep nothing of its series.
    pub(crate) fn is_compact(&self) -> bool {
        self.compact
    }

    /// A series' name and metadata, and its other labels.
    pub(crate) fn parts(&self, id: SeriesId) -> (&Named, SetId) {
        let entry = self.at(id);
        (&entry.named, entry.set)
    }

    /// The labels behind a set, sorted, without the metric's name.
    pub(crate) fn labels_of(&self, set: SetId) -> Merged<'_> {
        Merged::new(&self.base, self.sets.bytes(set))
    }

    /// Bytes of a series' labels, about.
    pub(crate) fn label_bytes(&self, id: SeriesId) -> usize {
        let entry = self.at(id);
        self.base.as_bytes().len() + self.sets.bytes(entry.set).len() + entry.named.name.len() + 16
    }

    /// Sets are below this.
    pub(crate) fn sets(&self) -> usize {
        self.sets.len()
    }

    /// Whether a series' metadata is to be said now: the first time, and again for each time that it `is_due`.
    pub(crate) fn says_metadata(&mut self, id: SeriesId, due: u32) -> bool {
        if self.said != due {
            self.said = due;
            self.entries.iter_mut().flatten().for_each(|entry| entry.flags &= !SAID);
        }
        let entry = self.entries[id.0 as usize].as_mut().expect("a point of this round names a known series");
        let said = entry.flags & SAID != 0;
        entry.flags |= SAID;
        !said
    }

    /// The encoder's mark of a series; none until the first batch with it.
    pub fn token(&self, id: SeriesId) -> Option<wire::v2::Token> {
        *self.keyed.as_ref()?.tokens.get(id.0 as usize)?
    }

    /// Keeps the encoder's mark of a series; a compact table does not.
    pub fn set_token(&mut self, id: SeriesId, token: wire::v2::Token) {
        if self.compact {
            return;
        }
        let keyed = self.keyed.get_or_insert_default();
        let at = id.0 as usize;
        if keyed.tokens.len() <= at {
            keyed.tokens.resize(at + 1, None);
        }
        keyed.tokens[at] = Some(token);
    }

    /// The encoder's marks of series that were forgotten since the last call, so that it forgets them too.
    pub(crate) fn take_forgotten(&mut self) -> Vec<wire::v2::Token> {
        self.keyed.as_mut().map(|keyed| std::mem::take(&mut keyed.forgotten)).unwrap_or_default()
    }

    /// The encoder's marks of all series: for a table that is given up.
    pub(crate) fn take_all_tokens(&mut self) -> Vec<wire::v2::Token> {
        let Some(keyed) = &mut self.keyed else { return Vec::new() };
        keyed.tokens.drain(..).flatten().chain(keyed.forgotten.drain(..)).collect()
    }

    /// Stale markers for every live series: for a target that is taken away.
    pub fn end_all(&mut self, at: Timestamp, points: &mut Vec<Point>) {
        self.round += 1;
        self.mark_vanished(at, points);
    }

    fn mark_vanished(&mut self, at: Timestamp, points: &mut Vec<Point>) {
        for (slot, entry) in self.entries.iter().enumerate() {
            if entry.as_ref().is_some_and(|entry| entry.age(self.round) == 1 && entry.flags & OWN_TIME == 0) {
                points.push(Point { series: SeriesId(slot as u32), timestamp: at, value: stale_nan() });
            }
        }
    }

    fn forget_old(&mut self) {
        // A table whose every series was seen lately (the usual case) is not walked key by key.
        if !self.round.is_multiple_of(Self::FORGET_AFTER_ROUNDS) {
            return;
        }
        self.forgotten = Vec::new();
        let round = self.round;
        let is_old = |entry: &Entry| u64::from(entry.age(round)) > Self::FORGET_AFTER_ROUNDS;
        if let Some(keyed) = &mut self.keyed {
            keyed.keys.retain(|_, known| match known {
                Known::Series(id) => self.entries[id.0 as usize].as_ref().is_some_and(|entry| !is_old(entry)),
                Known::Dropped { seen_in } => *seen_in + Self::FORGET_AFTER_ROUNDS >= round,
            });
        }
        let mut forgot = false;
        for slot in 0..self.entries.len() {
            if self.entries[slot].take_if(|entry| is_old(entry)).is_some() {
                self.forget(slot);
                forgot = true;
            }
        }
        if forgot {
            self.sets.keep_only(self.entries.iter().flatten().map(|entry| entry.set));
        }
    }

    fn forget(&mut self, slot: usize) {
        self.stamp.forgotten += 1;
        self.forgotten.push(SeriesId(slot as u32));
        self.free.push(SeriesId(slot as u32));
        // Found by what is gone now: it is made anew when it is wanted.
        self.search = None;
        if let Some(token) = self.keyed.as_mut().and_then(|keyed| keyed.tokens.get_mut(slot)?.take()) {
            self.keyed.as_mut().expect("it had a token").forgotten.push(token);
        }
    }

    /// The series of these labels: the one that has them, or a new one if there is room. `metadata` is for a new one.
    fn find_or_insert(&mut self, described: &Described, room: usize) -> Option<SeriesId> {
        let mut bytes = Vec::new();
        sets::write(&self.base, &described.labels, &mut bytes);
        let name = described.labels.metric_name().unwrap_or_default();
        let mut search = self.search.take().unwrap_or_else(|| Box::new(self.make_search()));
        let room = self.len() < self.series_max + room;
        let id = self.search_or_insert(&mut search, name, &bytes, described.metadata.as_ref(), room);
        self.search = Some(search);
        id
    }

    fn search_or_insert(
        &mut self,
        search: &mut Search,
        name: &str,
        bytes: &[u8],
        metadata: Option<&Arc<MetricMetadata>>,
        room: bool,
    ) -> Option<SeriesId> {
        let of_set = HASHING.hash_one(bytes);
        let set = search.sets.find(of_set, |set| self.sets.bytes(*set) == bytes).copied();
        let known = set.and_then(|set| {
            let is = |id: &SeriesId| self.at(*id).set == set && *self.at(*id).named.name == *name;
            search.series.find(hash_of(name, set), is).copied()
        });
        if known.is_some() || !room {
            return known;
        }
        let set = set.unwrap_or_else(|| {
            let set = self.sets.add(bytes);
            search.sets.insert_unique(of_set, set, |set| HASHING.hash_one(self.sets.bytes(*set)));
            set
        });
        let named = Named::with(name, metadata);
        let seen_in = (self.round as u16).wrapping_sub(NEVER.into());
        let entry = Entry { named, set, seen_in, before: NEVER, flags: 0 };
        let id = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            SeriesId(u32::try_from(self.entries.len() - 1).expect("series_max bounds the table below 2^32"))
        });
        self.entries[id.0 as usize] = Some(entry);
        search.series.insert_unique(hash_of(name, set), id, |id| self.hash(*id));
        Some(id)
    }

    fn hash(&self, id: SeriesId) -> u64 {
        let entry = self.at(id);
        hash_of(&entry.named.name, entry.set)
    }

    fn make_search(&self) -> Search {
        let mut series = HashTable::with_capacity(self.len());
        for (slot, _) in self.entries.iter().enumerate().filter(|(_, entry)| entry.is_some()) {
            let id = SeriesId(slot as u32);
            series.insert_unique(self.hash(id), id, |id| self.hash(*id));
        }
        Search { series, sets: self.sets.index() }
    }

    /// A compact table that learned nothing new in a round gives back what it learned by, and what growing left over.
    fn settle(&mut self) {
        if self.compact && self.search.take().is_some() {
            self.entries.shrink_to_fit();
            self.sets.shrink();
        }
    }

    /// The series of a family, if there is one: looked for from where it is, if this round is like the last.
    fn find(&mut self, family: &Family, label_values: &[&str]) -> Option<SeriesId> {
        let is = |entry: &Option<Entry>| {
            let entry = entry.as_ref()?;
            let same =
                *entry.named.name == *family.name && self.sets.is(entry.set, family.labels, label_values);
            same.then_some(())
        };
        let (before, after) = self.entries.split_at(self.entries.len().min(self.next as usize));
        let later = after.iter().position(|entry| is(entry).is_some()).map(|at| at + before.len());
        let at = later.or_else(|| before.iter().position(|entry| is(entry).is_some()))?;
        self.next = at as u32 + 1;
        Some(SeriesId(at as u32))
    }
}

fn hash_of(name: &str, set: SetId) -> u64 {
    HASHING.hash_one((name, set))
}

/// One collection of one target: values go in here, then [`Round::finish`].
pub struct Round<'a> {
    table: &'a mut SeriesTable,
    timestamp: Timestamp,
    points: Vec<Point>,
    refused: u64,
}

impl<'a> Round<'a> {
    /// Begins a round at a time; `points` is cleared and reused.
    pub fn begin(table: &'a mut SeriesTable, timestamp: Timestamp, mut points: Vec<Point>) -> Self {
        points.clear();
        table.round += 1;
        Self { table, timestamp, points, refused: 0 }
    }

    /// The time of this round.
    pub fn timestamp(&self) -> Timestamp {
        self.timestamp
    }

    /// The labels of the target.
    pub fn base(&self) -> &Labels {
        &self.table.base
    }

    /// Values so far.
    pub fn len(&self) -> usize {
        self.points.len()
    }

    /// Whether no value has come yet.
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// Forgets the values of this round (a scrape that failed half way): all series of the last round will be stale, and those
    /// that this round began were never there.
    pub fn discard(&mut self) {
        for point in self.points.drain(..) {
            if let Some(entry) = self.table.entries[point.series.0 as usize].as_mut()
                && entry.age(self.table.round) == 0
            {
                entry.seen_in = entry.seen_in.wrapping_sub(entry.before.into());
            }
        }
    }

    /// Adds a value of a family known at build time, with the table's base labels.
    pub fn metric(&mut self, family: &'static Family, label_values: &[&str], value: f64) -> Put {
        debug_assert_eq!(
            family.labels.len(),
            label_values.len(),
            "{} wants {:?}",
            family.name,
            family.labels
        );
        if let Some(id) = self.table.find(family, label_values) {
            // It may have begun just now, or be of one label set with another.
            return self.push(id, value, None, Put::Kept);
        }
        let mut labels = self.table.base.to_builder();
        labels.set(METRIC_NAME, family.name);
        for (name, label_value) in family.labels.iter().zip(label_values) {
            labels.set(name, label_value);
        }
        let metadata = Some(self.metadata(family));
        let room = self.table.own_max;
        self.put_new(value, None, &Described { labels: labels.build(), metadata }, room).0
    }

    /// Adds a value under a key of the input's own; `describe` makes labels and metadata where the key is new, or `None` where
    /// relabelling drops the series (which is remembered too). `timestamp` is the exporter's own, if it gave one.
    pub fn put(
        &mut self,
        key: &[u8],
        value: f64,
        timestamp: Option<Timestamp>,
        describe: impl FnOnce(&Labels) -> Option<Described>,
    ) -> Put {
        let put = self.try_put(key, value, timestamp, |base| Ok::<_, Infallible>(describe(base)));
        put.unwrap_or_else(|never| match never {})
    }

    /// As [`Round::put`], for an input that may find while describing that the whole round is wrong: the error is passed on and
    /// nothing is remembered of the key.
    pub fn try_put<E>(
        &mut self,
        key: &[u8],
        value: f64,
        timestamp: Option<Timestamp>,
        describe: impl FnOnce(&Labels) -> Result<Option<Described>, E>,
    ) -> Result<Put, E> {
        if let Some(put) = self.put_known(key, value, timestamp) {
            return Ok(put);
        }
        let described = describe(&self.table.base)?;
        // A page that writes a series differently each time would otherwise add keys for ever.
        let keys_max = self.table.series_max.saturating_mul(2);
        let round = self.table.round;
        let (put, known) = match &described {
            None => (Put::Dropped, Some(Known::Dropped { seen_in: round })),
            Some(described) => {
                let (put, id) = self.put_new(value, timestamp, described, 0);
                (put, id.map(Known::Series))
            }
        };
        let keys = &mut self.table.keyed.get_or_insert_default().keys;
        if let Some(known) = known.filter(|_| keys.len() < keys_max) {
            keys.insert(key.into(), known);
        }
        Ok(put)
    }

    /// While this stays the same from round to round, so do the ids of series; see [`Round::forgotten_since`].
    pub fn stamp(&self) -> Stamp {
        self.table.stamp
    }

    /// Which ids that were good under an earlier stamp are not any more; none if the table is another, or does not know so far back.
    pub fn forgotten_since(&self, earlier: Stamp) -> Option<&[SeriesId]> {
        let now = self.table.stamp;
        let count = now.forgotten.checked_sub(earlier.forgotten).filter(|_| now.table == earlier.table)?;
        let from = self.table.forgotten.len().checked_sub(usize::try_from(count).ok()?)?;
        Some(&self.table.forgotten[from..])
    }

    /// The series of the value that was added last.
    pub fn latest(&self) -> Option<SeriesId> {
        self.points.last().map(|point| point.series)
    }

    /// Adds a value of a series by its id, which an input that says the same series in the same order each round may keep for as
    /// long as [`Round::stamp`] stays the same. Costs no hash.
    ///
    /// # Panics
    /// On an id of another table, or of a series that was forgotten.
    pub fn put_again(&mut self, id: SeriesId, value: f64) -> Put {
        self.push(id, value, None, Put::Kept)
    }

    /// The id of the series of these labels, known or new, that a value is to be added to by [`Round::put_again`]. None where the table
    /// is full, which is counted.
    pub fn series(&mut self, described: &Described) -> Option<SeriesId> {
        let id = self.table.find_or_insert(described, 0);
        self.refused += u64::from(id.is_none());
        id
    }

    /// Series and values of this round so far.
    pub fn values(&self) -> impl Iterator<Item = (SeriesId, f64)> + '_ {
        self.points.iter().map(|point| (point.series, point.value))
    }

    /// The metric of a series.
    ///
    /// # Panics
    /// As [`Round::put_again`].
    pub fn metric_name(&self, id: SeriesId) -> &str {
        &self.table.at(id).named.name
    }

    /// The labels of a series.
    ///
    /// # Panics
    /// As [`Round::put_again`].
    pub fn labels(&self, id: SeriesId) -> Labels {
        self.table.entry(id).labels
    }

    /// Type and help of a family, as all its series share them.
    pub fn metadata(&self, family: &'static Family) -> Arc<MetricMetadata> {
        let make = || MetricMetadata { kind: family.kind, help: family.help.into(), unit: String::new() };
        let is = |known: Option<&Arc<MetricMetadata>>| {
            known.is_some_and(|known| {
                known.kind == family.kind && known.help == family.help && known.unit.is_empty()
            })
        };
        let named = Named::of(family.name, is, || Some(Arc::new(make())));
        named.metadata.clone().expect("one with metadata was asked for")
    }

    /// A series goes on although nothing is said of it in this round.
    ///
    /// # Panics
    /// As [`Round::put_again`].
    pub fn keep(&mut self, id: SeriesId) {
        let round = self.table.round;
        let entry =
            self.table.entries[id.0 as usize].as_mut().expect("an id that is kept names a known series");
        entry.see(round);
    }

    /// Ends the round: adds stale markers, forgets old series, and hands out the points and how many new series were refused.
    pub fn finish(mut self) -> (Vec<Point>, u64) {
        self.table.mark_vanished(self.timestamp, &mut self.points);
        self.table.forget_old();
        self.table.settle();
        (self.points, self.refused)
    }

    fn put_known(&mut self, key: &[u8], value: f64, timestamp: Option<Timestamp>) -> Option<Put> {
        let round = self.table.round;
        match self.table.keyed.as_mut()?.keys.get_mut(key)? {
            Known::Dropped { seen_in } => {
                *seen_in = round;
                Some(Put::Dropped)
            }
            Known::Series(id) => {
                let id = *id;
                Some(self.push(id, value, timestamp, Put::Kept))
            }
        }
    }

    fn put_new(
        &mut self,
        value: f64,
        timestamp: Option<Timestamp>,
        described: &Described,
        room: usize,
    ) -> (Put, Option<SeriesId>) {
        match self.table.find_or_insert(described, room) {
            // Two keys may end as one label set (relabelling): they share the series.
            Some(id) => (self.push(id, value, timestamp, Put::KeptNew), Some(id)),
            None => {
                self.refused += 1;
                (Put::Refused, None)
            }
        }
    }

    fn push(&mut self, id: SeriesId, value: f64, timestamp: Option<Timestamp>, kept: Put) -> Put {
        let round = self.table.round;
        let entry = self.table.entries[id.0 as usize].as_mut().expect("a value's id names a known series");
        if entry.age(round) == 0 && timestamp.is_none() {
            return Put::Duplicate;
        }
        entry.see(round);
        entry.flags = (entry.flags & !OWN_TIME) | if timestamp.is_some() { OWN_TIME } else { 0 };
        self.points.push(Point { series: id, timestamp: timestamp.unwrap_or(self.timestamp), value });
        kept
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use model::is_stale;
    use proptest::prelude::*;

    use super::*;

    static LOAD: Family =
        Family { name: "node_load1", help: "1m load average.", kind: MetricKind::Gauge, labels: &[] };
    static CPU: Family = Family {
        name: "node_cpu_seconds_total",
        help: "Seconds the CPUs spent in each mode.",
        kind: MetricKind::Counter,
        labels: &["cpu", "mode"],
    };

    fn table() -> SeriesTable {
        SeriesTable::new(Labels::from_pairs([("job", "node"), ("instance", "kudus")]), 100)
    }

    fn round(
        table: &mut SeriesTable,
        at: i64,
        values: &[(&'static Family, &[&str], f64)],
    ) -> Vec<(String, f64)> {
        let mut round = Round::begin(table, Timestamp::from_millis(at), Vec::new());
        for (family, labels, value) in values {
            round.metric(family, labels, *value);
        }
        let (points, _) = round.finish();
        points.iter().map(|point| (table.entry(point.series).labels.to_string(), point.value)).collect()
    }

    #[test]
    fn known_series_keep_their_labels_and_vanished_ones_go_stale_once() {
        let mut table = table();
        let first = round(&mut table, 1, &[(&LOAD, &[], 0.5), (&CPU, &["0", "user"], 7.0)]);
        assert_eq!(first[0], (r#"node_load1{instance="kudus", job="node"}"#.to_owned(), 0.5));
        let second = round(&mut table, 2, &[(&LOAD, &[], 0.6)]);
        assert_eq!(second.len(), 2);
        assert!(second[1].0.starts_with("node_cpu_seconds_total") && is_stale(second[1].1));
        assert_eq!(round(&mut table, 3, &[(&LOAD, &[], 0.7)]).len(), 1, "said once");
    }

    /// A device that fills its table must not take away the series that say so.
    #[test]
    fn what_the_input_says_itself_has_room_of_its_own() {
        let labels = Labels::from_pairs([("job", "snmp"), ("instance", "sw1")]);
        let mut table = SeriesTable::new(labels, 2).with_room_for_own(1);
        let mut round = Round::begin(&mut table, Timestamp::from_millis(1), Vec::new());
        let mut put = |name: &str| {
            let labels = Labels::from_pairs([("__name__", name)]);
            round.put(name.as_bytes(), 1.0, None, |_| Some(Described { labels, metadata: None }))
        };
        assert_eq!(["a", "b", "c"].map(&mut put), [Put::KeptNew, Put::KeptNew, Put::Refused]);
        assert_eq!(round.metric(&LOAD, &[], 1.0), Put::KeptNew);
        assert_eq!(round.metric(&CPU, &["0", "user"], 1.0), Put::Refused);
    }

    #[test]
    fn ids_are_good_for_as_long_as_the_stamp_stays() {
        let mut table = table();
        let mut first = Round::begin(&mut table, Timestamp::from_millis(1), Vec::new());
        first.metric(&LOAD, &[], 0.5);
        first.metric(&CPU, &["0", "user"], 7.0);
        let (stamp, id) = (first.stamp(), first.latest().unwrap());
        first.finish();
        let mut second = Round::begin(&mut table, Timestamp::from_millis(2), Vec::new());
        assert_eq!((second.stamp(), second.put_again(id, 8.0)), (stamp, Put::Kept));
        assert_eq!(second.put_again(id, 9.0), Put::Duplicate);
        let (points, _) = second.finish();
        assert!(points.len() == 2 && points[0].value == 8.0 && is_stale(points[1].value));
        for at in 3..=(3 * SeriesTable::FORGET_AFTER_ROUNDS as i64) {
            round(&mut table, at, &[]);
        }
        let later = Round::begin(&mut table, Timestamp::from_millis(99), Vec::new());
        assert_ne!(later.stamp(), stamp, "series were forgotten");
        later.finish();
        let mut other = self::table();
        assert_ne!(Round::begin(&mut other, Timestamp::from_millis(1), Vec::new()).stamp(), stamp);
    }

    #[test]
    fn a_target_that_is_taken_away_ends_all_its_series() {
        let mut table = table();
        round(&mut table, 1, &[(&LOAD, &[], 0.5)]);
        let mut points = Vec::new();
        table.end_all(Timestamp::from_millis(2), &mut points);
        assert!(points.len() == 1 && is_stale(points[0].value));
    }

    #[test]
    fn a_discarded_round_counts_as_not_seen() {
        let mut table = table();
        round(&mut table, 1, &[(&LOAD, &[], 0.5)]);
        let mut failing = Round::begin(&mut table, Timestamp::from_millis(2), Vec::new());
        failing.metric(&LOAD, &[], 0.6);
        failing.discard();
        let (points, _) = failing.finish();
        assert!(points.len() == 1 && is_stale(points[0].value));
    }

    /// A page that fails each time beyond its sample limit must not leave a stale marker for each series that it tried to begin.
    #[test]
    fn a_discarded_round_leaves_no_trace_of_the_series_that_it_began() {
        let mut table = table();
        round(&mut table, 1, &[(&LOAD, &[], 0.5)]);
        for at in 2..5 {
            let mut failing = Round::begin(&mut table, Timestamp::from_millis(at), Vec::new());
            failing.metric(&CPU, &["0", "user"], 0.6);
            failing.discard();
            let (points, _) = failing.finish();
            assert_eq!(points.len(), usize::from(at == 2), "only the load, which was there, ends, and once");
        }
    }

    #[test]
    fn an_error_while_describing_is_passed_on_and_nothing_is_remembered() {
        let mut table = table();
        let mut first = Round::begin(&mut table, Timestamp::from_millis(1), Vec::new());
        for _ in 0..2 {
            assert_eq!(first.try_put(b"a", 1.0, None, |_| Err("wrong")), Err("wrong"));
        }
        let described = |base: &Labels| Ok::<_, ()>(Some(Described { labels: base.clone(), metadata: None }));
        assert_eq!(first.try_put(b"a", 1.0, None, described), Ok(Put::KeptNew));
    }

    #[test]
    fn a_series_that_is_written_differently_each_time_adds_no_keys_for_ever() {
        let mut table = SeriesTable::new(Labels::empty(), 10);
        let labels = Labels::from_pairs([("a", "b")]);
        for at in 0..100u8 {
            let mut round = Round::begin(&mut table, Timestamp::from_millis(at.into()), Vec::new());
            let put =
                round.put(&[at], 1.0, None, |_| Some(Described { labels: labels.clone(), metadata: None }));
            assert!(matches!(put, Put::Kept | Put::KeptNew));
            round.finish();
        }
        assert!(table.keyed.as_ref().unwrap().keys.len() <= 20 && table.len() == 1);
    }

    #[test]
    fn a_full_table_refuses_new_series_and_keeps_known_ones() {
        let mut table = SeriesTable::new(Labels::empty(), 1);
        round(&mut table, 1, &[(&LOAD, &[], 0.5)]);
        let mut full = Round::begin(&mut table, Timestamp::from_millis(2), Vec::new());
        assert_eq!(full.metric(&LOAD, &[], 0.6), Put::Kept);
        assert_eq!(full.metric(&LOAD, &[], 0.7), Put::Duplicate);
        assert_eq!(full.metric(&CPU, &["0", "user"], 1.0), Put::Refused);
        assert_eq!(full.finish().1, 1);
    }

    #[test]
    fn series_that_stay_away_are_forgotten_and_their_place_is_used_again() {
        let mut table = table();
        round(&mut table, 1, &[(&CPU, &["0", "user"], 7.0)]);
        for at in 2..=(2 * SeriesTable::FORGET_AFTER_ROUNDS as i64) {
            round(&mut table, at, &[(&LOAD, &[], 0.5)]);
        }
        assert_eq!(table.len(), 1);
        let again = round(&mut table, 100, &[(&LOAD, &[], 0.5), (&CPU, &["0", "user"], 8.0)]);
        assert_eq!((again.len(), table.len()), (2, 2));
    }

    #[test]
    fn values_with_their_own_time_get_no_stale_marker_and_drops_are_remembered() {
        let mut table = table();
        let mut first = Round::begin(&mut table, Timestamp::from_millis(10), Vec::new());
        let described = |base: &Labels| Some(Described { labels: base.clone(), metadata: None });
        assert_eq!(first.put(b"a", 1.0, Some(Timestamp::from_millis(5)), described), Put::KeptNew);
        assert_eq!(first.put(b"b", 1.0, None, |_| None), Put::Dropped);
        assert_eq!(first.put(b"b", 1.0, None, |_| unreachable!("remembered")), Put::Dropped);
        assert_eq!(first.finish().0[0].timestamp, Timestamp::from_millis(5));
        let second = Round::begin(&mut table, Timestamp::from_millis(20), Vec::new());
        assert!(second.finish().0.is_empty());
    }

    /// A set of labels of the model: which names, with which of two values; some are the base's, some take a base label away.
    fn any_labels() -> impl Strategy<Value = BTreeMap<&'static str, &'static str>> {
        let values = prop::sample::select(vec!["", "1", "2"]);
        let names = ["Z", "a", "instance", "job", "port"].map(|name| (Just(name), values.clone()));
        let name = prop::sample::select(vec!["load", "octets"]);
        (names, name).prop_map(|(names, name)| {
            let pairs = names.into_iter().chain([(METRIC_NAME, name)]);
            pairs.filter(|(_, value)| !value.is_empty()).collect()
        })
    }

    /// How a value is told.
    #[derive(Clone, Copy, Debug)]
    enum Way {
        Key,
        OwnTime,
        Id,
        Keep,
    }

    type Told = (Way, BTreeMap<&'static str, &'static str>);

    fn any_round() -> impl Strategy<Value = (Vec<Told>, bool)> {
        let way = prop::sample::select(vec![Way::Key, Way::OwnTime, Way::Id, Way::Id, Way::Keep]);
        (prop::collection::vec((way, any_labels()), 0..8), prop::bool::weighted(0.1))
    }

    /// What the plain map remembers of a series.
    #[derive(Clone, Debug)]
    struct Modelled {
        id: SeriesId,
        seen: u64,
        own_time: bool,
    }

    fn told_equals_a_plain_map(compact: bool, rounds: &[(Vec<Told>, bool)]) -> Result<(), TestCaseError> {
        let base = Labels::from_pairs([("job", "1"), ("instance", "2")]);
        let new = if compact { SeriesTable::compact } else { SeriesTable::new };
        let mut table = new(base, 1000);
        let mut model: HashMap<Labels, Modelled> = HashMap::new();
        for (at, (told, discarded)) in rounds.iter().enumerate() {
            let number = at as u64 + 1;
            let before = model.clone();
            let stamp = table.stamp;
            let mut round = Round::begin(&mut table, Timestamp::from_millis(number as i64), Vec::new());
            let mut expected = Vec::new();
            for (value, (way, pairs)) in told.iter().enumerate() {
                let value = value as f64;
                let labels = Labels::from_pairs(pairs);
                let described = Described { labels: labels.clone(), metadata: None };
                let own_time = matches!(way, Way::OwnTime);
                let is_seen = model.get(&labels).is_some_and(|series| series.seen == number);
                let put = match way {
                    Way::Key | Way::OwnTime => {
                        let time = own_time.then(|| Timestamp::from_millis(5));
                        round.put(labels.as_bytes(), value, time, |_| Some(described))
                    }
                    Way::Id | Way::Keep => {
                        let id = round.series(&described).expect("there is room");
                        if matches!(way, Way::Keep) {
                            round.keep(id);
                            let own_time = model.get(&labels).is_some_and(|series| series.own_time);
                            model.insert(labels, Modelled { id, seen: number, own_time });
                            continue;
                        }
                        round.put_again(id, value)
                    }
                };
                prop_assert_eq!(put == Put::Duplicate, is_seen && !own_time);
                if put != Put::Duplicate {
                    let id = round.latest().expect("a value was added");
                    if let Some(known) = model.get(&labels) {
                        prop_assert_eq!(known.id, id, "one set of labels, one id");
                    }
                    model.insert(labels.clone(), Modelled { id, seen: number, own_time });
                    expected.push((labels, value.to_bits()));
                }
            }
            if *discarded {
                round.discard();
                // What was kept alone stays seen; what had a value goes back to where it was.
                for (labels, _) in expected.drain(..) {
                    match before.get(&labels) {
                        Some(old) => model.get_mut(&labels).expect("it was told").seen = old.seen,
                        None => model.get_mut(&labels).expect("it was told").seen = 0,
                    }
                }
            }
            let (points, _) = round.finish();
            let said: Vec<(Labels, u64)> = points
                .iter()
                .map(|point| (table.entry(point.series).labels, point.value.to_bits()))
                .collect();
            prop_assert_eq!(&said[..expected.len()], &expected[..]);
            let ended: BTreeSet<Labels> =
                said[expected.len()..].iter().map(|(labels, _)| labels.clone()).collect();
            prop_assert_eq!(ended.len(), said.len() - expected.len(), "each ends once");
            let gone = model.iter().filter(|(_, series)| series.seen + 1 == number && series.seen > 0);
            let gone: BTreeSet<Labels> =
                gone.filter(|(_, series)| !series.own_time).map(|(labels, _)| labels.clone()).collect();
            prop_assert_eq!(ended, gone, "exactly what vanished ends");
            if number.is_multiple_of(SeriesTable::FORGET_AFTER_ROUNDS) {
                let known = model.len();
                let is_old = |seen: u64| seen == 0 || seen + SeriesTable::FORGET_AFTER_ROUNDS < number;
                model.retain(|_, series| !is_old(series.seen));
                prop_assert_eq!(table.stamp != stamp, known != model.len());
            }
            prop_assert_eq!(table.len(), model.len());
        }
        for series in model.values() {
            table.entry(series.id);
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// The same labels are the same series, whatever way they are told, and stale markers end exactly what vanished.
        #[test]
        fn the_table_equals_a_plain_map(
            compact: bool,
            rounds in prop::collection::vec(
                prop_oneof![4 => any_round(), 1 => Just((Vec::new(), false))], 1..40,
            ),
        ) {
            told_equals_a_plain_map(compact, &rounds)?;
        }
    }

    /// A device's table: what it takes is bounded, and what it was filled by is given back.
    #[test]
    fn a_compact_table_takes_few_bytes_a_series() {
        let base = Labels::from_pairs([("job", "snmp"), ("instance", "switch-1234")]);
        let mut table = SeriesTable::compact(base.clone(), 10_000);
        for at in 1..3 {
            let mut round = Round::begin(&mut table, Timestamp::from_millis(at), Vec::new());
            for series in 0..1000 {
                let (port, counter) = ((series / 20).to_string(), format!("ifCounter{}", series % 20));
                let mut labels = base.to_builder();
                labels.set(METRIC_NAME, &counter).set("ifIndex", &port);
                labels
                    .set("ifName", &format!("GigabitEthernet0/0/{port}"))
                    .set("ifAlias", "to the next town");
                let id = round.series(&Described { labels: labels.build(), metadata: None });
                round.put_again(id.expect("there is room"), 1.0);
            }
            assert!(round.finish().0.len() == 1000);
        }
        assert!(table.memory_bytes() < 1000 * 28, "{} bytes for 1000 series", table.memory_bytes());
    }
}
