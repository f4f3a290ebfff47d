//! The label sets of a table, each once: what a series has beside the metric's name and its target's base labels.
//!
//! A set is written as pairs in the order of names, texts with their length before them. It says only how a series' labels differ from
//! the base: a base label that a series does not have stands in it with an empty value. So equal labels are equal bytes, and sets that
//! many targets have (a sensor of one model, a table's name) stand once in the process.

use std::iter::Peekable;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use hashbrown::HashTable;
use model::{Labels, LabelsIter, METRIC_NAME};

use super::HASHING;

/// Names a set in its table; good while a series has it.
pub(crate) type SetId = u32;

#[derive(Debug, Default)]
pub(super) struct Sets {
    places: Vec<Arc<[u8]>>,
    free: Vec<SetId>,
}

struct Known {
    table: HashTable<Arc<[u8]>>,
    /// Looked through for sets that no table has any more when there are so many.
    purge_at: usize,
}

/// Sets below which nothing is looked through.
const PURGE_AT_MIN: usize = 1024;

static KNOWN: LazyLock<Mutex<Known>> =
    LazyLock::new(|| Mutex::new(Known { table: HashTable::new(), purge_at: PURGE_AT_MIN }));

/// The one copy of a set.
fn shared(bytes: &[u8]) -> Arc<[u8]> {
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let hash = |bytes: &[u8]| HASHING.hash_one(bytes);
    let Known { table, purge_at } = &mut *known;
    if let Some(same) = table.find(hash(bytes), |known| **known == *bytes) {
        return same.clone();
    }
    if table.len() >= *purge_at {
        table.retain(|set| Arc::strong_count(set) > 1);
        *purge_at = (2 * table.len()).max(PURGE_AT_MIN);
        table.shrink_to(*purge_at, |set| hash(set));
    }
    let set: Arc<[u8]> = bytes.into();
    table.insert_unique(hash(bytes), set.clone(), |set| hash(set));
    set
}

impl Sets {
    pub(super) fn bytes(&self, set: SetId) -> &[u8] {
        &self.places[set as usize]
    }

    /// Sets, free places among them.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Adds a set that is not there yet.
    pub(super) fn add(&mut self, bytes: &[u8]) -> SetId {
        let place = shared(bytes);
        if let Some(set) = self.free.pop() {
            self.places[set as usize] = place;
            return set;
        }
        self.places.push(place);
        (self.places.len() - 1) as SetId
    }

    /// Gives back what no series has any more.
    pub(super) fn keep_only(&mut self, used: impl Iterator<Item = SetId>) {
        let mut is_used = vec![false; self.places.len()];
        used.for_each(|set| is_used[set as usize] = true);
        self.free.clear();
        let none = shared(&[]);
        for (set, _) in is_used.iter().enumerate().filter(|(_, is_used)| !**is_used) {
            self.places[set] = none.clone();
            self.free.push(set as SetId);
        }
    }

    pub(super) fn shrink(&mut self) {
        self.places.shrink_to_fit();
    }

    /// Bytes of the table's own; sets that other tables have too are not counted.
    pub(super) fn memory_bytes(&self) -> usize {
        // The process' list of sets has one, the place the other.
        let own = self.places.iter().filter(|place| Arc::strong_count(place) <= 2);
        let texts: usize = own.map(|place| place.len() + 16).sum();
        texts + self.places.capacity() * size_of::<Arc<[u8]>>() + self.free.capacity() * 4
    }

    /// All sets that series have, by their bytes.
    pub(super) fn index(&self) -> HashTable<SetId> {
        let mut index = HashTable::with_capacity(self.places.len());
        let mut is_free = vec![false; self.places.len()];
        self.free.iter().for_each(|set| is_free[*set as usize] = true);
        for (set, _) in is_free.iter().enumerate().filter(|(_, is_free)| !**is_free) {
            let set = set as SetId;
            let hash = |set: &SetId| HASHING.hash_one(self.bytes(*set));
            index.insert_unique(hash(&set), set, hash);
        }
        index
    }

    /// Whether a set is exactly these labels, where none of them is one of the base labels'.
    pub(super) fn is(&self, set: SetId, names: &[&str], values: &[&str]) -> bool {
        let given = || names.iter().zip(values).filter(|(_, value)| !value.is_empty());
        let mut pairs = 0;
        for (name, value) in Pairs(self.bytes(set)) {
            pairs += 1;
            if !given().any(|(given, text)| *given == name && *text == value) {
                return false;
            }
        }
        pairs == given().count()
    }
}

/// How labels differ from the base, as a set's bytes; the metric's name is left out.
pub(super) fn write(base: &Labels, labels: &Labels, out: &mut Vec<u8>) {
    out.clear();
    let mut base = base.iter().peekable();
    for (name, value) in labels.iter().filter(|(name, _)| *name != METRIC_NAME) {
        while let Some((lacking, _)) = base.next_if(|(base, _)| *base < name) {
            push_pair(out, lacking, "");
        }
        if base.next_if(|(base, _)| *base == name).is_none_or(|(_, base)| base != value) {
            push_pair(out, name, value);
        }
    }
    base.for_each(|(lacking, _)| push_pair(out, lacking, ""));
}

/// The labels of a series without the metric's name, sorted by name.
pub(crate) struct Merged<'a> {
    base: Peekable<LabelsIter<'a>>,
    own: Peekable<Pairs<'a>>,
}

impl<'a> Merged<'a> {
    pub(super) fn new(base: &'a Labels, set: &'a [u8]) -> Self {
        Self { base: base.iter().peekable(), own: Pairs(set).peekable() }
    }
}

impl<'a> Iterator for Merged<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let own = self.own.peek().map(|(name, _)| *name);
            if let Some(pair) = self.base.next_if(|(base, _)| own.is_none_or(|own| *base < own)) {
                return Some(pair);
            }
            let (name, value) = self.own.next()?;
            self.base.next_if(|(base, _)| *base == name);
            if !value.is_empty() {
                return Some((name, value));
            }
        }
    }
}

/// Pairs of a set's bytes.
pub(super) struct Pairs<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        (!self.0.is_empty()).then(|| (take_text(&mut self.0), take_text(&mut self.0)))
    }
}

fn push_pair(out: &mut Vec<u8>, name: &str, value: &str) {
    for text in [name, value] {
        let mut length = text.len();
        while length >= 0x80 {
            out.push(length as u8 | 0x80);
            length >>= 7;
        }
        out.push(length as u8);
        out.extend_from_slice(text.as_bytes());
    }
}

fn take_text<'a>(bytes: &mut &'a [u8]) -> &'a str {
    let (mut length, mut shift) = (0, 0);
    while let Some((&byte, rest)) = bytes.split_first() {
        *bytes = rest;
        length |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte < 0x80 {
            break;
        }
    }
    let (text, rest) = bytes.split_at(length);
    *bytes = rest;
    std::str::from_utf8(text).expect("sets are written from texts")
}
