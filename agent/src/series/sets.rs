//! The label sets of a table, each once: what a series has beside the metric's name and its target's base labels.
//!
//! A set is written as pairs in the order of names, texts with their length before them. It says only how a series' labels differ from
//! the base: a base label that a series does not have stands in it with an empty value. So equal labels are equal bytes.

use std::iter::Peekable;

use hashbrown::HashTable;
use model::{Labels, LabelsIter, METRIC_NAME};

/// Names a set; good while a series has it.
pub(crate) type SetId = u32;

/// Bytes of no set below which nothing is moved together.
const GARBAGE_MIN: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Sets {
    bytes: Vec<u8>,
    spans: Vec<Span>,
    free: Vec<SetId>,
    garbage: usize,
}

#[derive(Clone, Copy, Debug)]
struct Span {
    at: u32,
    len: u32,
    /// Series that have it.
    uses: u32,
}

impl Sets {
    pub(super) fn bytes(&self, set: SetId) -> &[u8] {
        let span = self.spans[set as usize];
        &self.bytes[span.at as usize..][..span.len as usize]
    }

    /// Sets, free places among them.
    pub(super) fn len(&self) -> usize {
        self.spans.len()
    }

    /// Adds a set that is not there yet, without a use.
    pub(super) fn add(&mut self, bytes: &[u8]) -> SetId {
        let at = u32::try_from(self.bytes.len()).expect("the labels of one target are far below 4 GiB");
        let len = u32::try_from(bytes.len()).expect("the labels of one series are far below 4 GiB");
        self.bytes.extend_from_slice(bytes);
        let span = Span { at, len, uses: 0 };
        if let Some(set) = self.free.pop() {
            self.spans[set as usize] = span;
            return set;
        }
        self.spans.push(span);
        (self.spans.len() - 1) as SetId
    }

    pub(super) fn take(&mut self, set: SetId) {
        self.spans[set as usize].uses += 1;
    }

    /// A series is gone; whether its set went with it.
    pub(super) fn give_back(&mut self, set: SetId) -> bool {
        let span = &mut self.spans[set as usize];
        span.uses -= 1;
        if span.uses > 0 {
            return false;
        }
        self.garbage += span.len as usize;
        span.len = 0;
        self.free.push(set);
        true
    }

    /// Moves together what is left where much is gone.
    pub(super) fn tidy(&mut self) {
        if self.garbage < GARBAGE_MIN || self.garbage < self.bytes.len() / 2 {
            return;
        }
        let old = std::mem::take(&mut self.bytes);
        self.bytes.reserve_exact(old.len() - self.garbage);
        for span in &mut self.spans {
            let at = self.bytes.len() as u32;
            self.bytes.extend_from_slice(&old[span.at as usize..][..span.len as usize]);
            span.at = at;
        }
        self.garbage = 0;
    }

    pub(super) fn shrink(&mut self) {
        self.bytes.shrink_to_fit();
        self.spans.shrink_to_fit();
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.bytes.capacity() + self.spans.capacity() * size_of::<Span>() + self.free.capacity() * 4
    }

    /// All sets that series have, by their bytes.
    pub(super) fn index(&self, hashing: &ahash::RandomState) -> HashTable<SetId> {
        let mut index = HashTable::with_capacity(self.spans.len());
        for (set, _) in self.spans.iter().enumerate().filter(|(_, span)| span.uses > 0) {
            let set = set as SetId;
            let hash = |set: &SetId| hashing.hash_one(self.bytes(*set));
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
