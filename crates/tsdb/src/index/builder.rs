//! Builds a block's index: in, the labels of series in order; out, frames. Drawn in `docs/formats/store-index.md`.
//!
//! Memory follows what is indexed: each value once, and one to three bytes a label (none where neighbours share a value). A
//! million series of twelve labels take some 60 MiB, or 130 where a label has a million values.

use std::collections::HashMap;

use hashbrown::HashTable;
use model::Labels;

use super::dictionary::{self, Builder};
use super::list::List;
use super::postings::{PAGE_BYTES, PageBuilder};
use crate::block::frame::{FrameRef, FrameSink};
use crate::error::BlockError;
use crate::varint;

/// Parts smaller than this share a frame with others.
const OWN_FRAME: usize = 16 << 10;

/// Bytes of a frame of label names at which the next begins.
const NAMES_BYTES: usize = 16 << 10;

/// Collects which series bear which labels.
#[derive(Debug, Default)]
pub(crate) struct IndexBuilder {
    by_name: HashMap<Box<str>, usize, ahash::RandomState>,
    names: Vec<Name>,
    /// Of the latest series' labels: which names they had.
    recent: Vec<usize>,
    series: u32,
}

#[derive(Debug, Default)]
struct Name {
    text: Box<str>,
    /// The texts of all values, one behind the other.
    texts: Vec<u8>,
    values: Vec<Value>,
    by_text: HashTable<u32>,
    hasher: ahash::RandomState,
    latest: usize,
    series: u32,
}

#[derive(Debug)]
struct Value {
    at: usize,
    length: u32,
    list: List,
}

impl Value {
    fn text<'a>(&self, texts: &'a [u8]) -> &'a [u8] {
        &texts[self.at..self.at + self.length as usize]
    }
}

impl Name {
    fn new(text: &str) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    fn add(&mut self, series: u32, value: &str) {
        self.series += 1;
        let value = value.as_bytes();
        if self.values.get(self.latest).is_some_and(|latest| latest.text(&self.texts) == value) {
            self.values[self.latest].list.push(series);
            return;
        }
        let Self { texts, values, by_text, hasher, .. } = self;
        let hash = hasher.hash_one(value);
        if let Some(&found) = by_text.find(hash, |&at| values[at as usize].text(texts) == value) {
            self.latest = found as usize;
            values[self.latest].list.push(series);
            return;
        }
        let at = texts.len();
        texts.extend_from_slice(value);
        self.latest = values.len();
        values.push(Value { at, length: value.len() as u32, list: List::new(series) });
        let hash_of = |&at: &u32| hasher.hash_one(values[at as usize].text(texts));
        by_text.insert_unique(hash, self.latest as u32, hash_of);
    }
}

/// A run of bytes within one of the frames.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Which of the packer's frames.
    frame: usize,
    at: usize,
    length: usize,
}

/// Packs small parts into frames.
struct Packer<'a> {
    sink: &'a mut dyn FrameSink,
    /// `None`: the frame of the small parts that is being filled.
    frames: Vec<Option<FrameRef>>,
    open: Vec<u8>,
    open_index: usize,
}

impl Packer<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<Place, BlockError> {
        if bytes.len() >= OWN_FRAME {
            self.frames.push(Some(self.sink.put(bytes)?));
            return Ok(Place { frame: self.frames.len() - 1, at: 0, length: bytes.len() });
        }
        if self.open.is_empty() {
            self.frames.push(None);
            self.open_index = self.frames.len() - 1;
        }
        let place = Place { frame: self.open_index, at: self.open.len(), length: bytes.len() };
        self.open.extend_from_slice(bytes);
        if self.open.len() >= PAGE_BYTES {
            self.close()?;
        }
        Ok(place)
    }

    fn close(&mut self) -> Result<(), BlockError> {
        if !self.open.is_empty() {
            self.frames[self.open_index] = Some(self.sink.put(&self.open)?);
            self.open.clear();
        }
        Ok(())
    }

    fn put_place(&self, out: &mut Vec<u8>, place: Place) {
        let frame = self.frames[place.frame].expect("all frames were closed before places are written");
        put_frame(out, frame);
        varint::put(out, place.at as u64);
        varint::put(out, place.length as u64);
    }
}

fn put_frame(out: &mut Vec<u8>, frame: FrameRef) {
    varint::put(out, frame.offset);
    varint::put(out, u64::from(frame.length));
}

/// Where a name's parts lie.
struct Entry {
    name: Box<str>,
    series: u32,
    values: u32,
    /// Place, number of values, first value.
    dictionaries: Vec<(Place, u32, Vec<u8>)>,
    /// Place, number of postings.
    pages: Vec<(Place, usize)>,
}

impl IndexBuilder {
    /// Adds a series. Series are numbered from 0, each one more than the one before.
    pub(crate) fn add(&mut self, series: u32, labels: &Labels) {
        debug_assert_eq!(series, self.series, "series come in order");
        self.series = series + 1;
        for (position, (name, value)) in labels.iter().enumerate() {
            let index = self.name(position, name);
            self.names[index].add(series, value);
        }
    }

    /// Neighbours have the same names mostly.
    fn name(&mut self, position: usize, name: &str) -> usize {
        if let Some(&index) = self.recent.get(position)
            && &*self.names[index].text == name
        {
            return index;
        }
        let index = match self.by_name.get(name) {
            Some(&index) => index,
            None => {
                self.by_name.insert(name.into(), self.names.len());
                self.names.push(Name::new(name));
                self.names.len() - 1
            }
        };
        if self.recent.len() <= position {
            self.recent.resize(position + 1, index);
        }
        self.recent[position] = index;
        index
    }

    /// Bytes of memory that are held now.
    #[cfg(any(test, feature = "probe"))]
    pub(crate) fn bytes(&self) -> usize {
        let of_name = |name: &Name| {
            let lists: usize = name.values.iter().map(|value| value.list.heap_bytes()).sum();
            name.texts.capacity()
                + name.values.capacity() * size_of::<Value>()
                + name.by_text.allocation_size()
                + lists
        };
        self.names.iter().map(of_name).sum()
    }

    /// Writes all frames and answers the root's, by which [`super::block::BlockIndex`] is opened.
    pub(crate) fn finish(mut self, sink: &mut dyn FrameSink) -> Result<FrameRef, BlockError> {
        self.by_name.clear();
        let mut names = self.names;
        names.sort_unstable_by(|a, b| a.text.cmp(&b.text));
        let mut packer = Packer { sink, frames: Vec::new(), open: Vec::new(), open_index: 0 };
        let mut entries = Vec::with_capacity(names.len());
        for name in names {
            entries.push(write_name(name, &mut packer)?);
        }
        packer.close()?;
        let mut root = Vec::new();
        varint::put(&mut root, u64::from(self.series));
        varint::put(&mut root, entries.len() as u64);
        let (mut page, mut first) = (Vec::new(), None);
        for entry in &entries {
            first.get_or_insert(&*entry.name);
            put_entry(entry, &packer, &mut page);
            if page.len() >= NAMES_BYTES {
                put_names(&mut packer, &mut page, first.take(), &mut root)?;
            }
        }
        put_names(&mut packer, &mut page, first, &mut root)?;
        packer.sink.put(&root)
    }
}

/// Ends a frame of names.
fn put_names(
    packer: &mut Packer<'_>,
    page: &mut Vec<u8>,
    first: Option<&str>,
    root: &mut Vec<u8>,
) -> Result<(), BlockError> {
    let Some(first) = first else { return Ok(()) };
    varint::put_bytes(root, first.as_bytes());
    put_frame(root, packer.sink.put(page)?);
    page.clear();
    Ok(())
}

fn put_entry(entry: &Entry, packer: &Packer<'_>, out: &mut Vec<u8>) {
    let mut body = Vec::new();
    varint::put(&mut body, u64::from(entry.series));
    varint::put(&mut body, u64::from(entry.values));
    varint::put(&mut body, entry.dictionaries.len() as u64);
    for (index, (place, values, first)) in entry.dictionaries.iter().enumerate() {
        packer.put_place(&mut body, *place);
        varint::put(&mut body, u64::from(*values));
        if index > 0 {
            varint::put_bytes(&mut body, first);
        }
    }
    varint::put(&mut body, entry.pages.len() as u64);
    for (place, count) in &entry.pages {
        packer.put_place(&mut body, *place);
        varint::put(&mut body, *count as u64);
    }
    varint::put_bytes(out, entry.name.as_bytes());
    varint::put_bytes(out, &body);
}

fn write_name(mut name: Name, packer: &mut Packer<'_>) -> Result<Entry, BlockError> {
    name.by_text = HashTable::new();
    let texts = std::mem::take(&mut name.texts);
    // Values that come along with the series' order are sorted already; a stable sort sees that.
    name.values.sort_by(|a, b| a.text(&texts).cmp(b.text(&texts)));
    let mut entry = Entry {
        name: name.text,
        series: name.series,
        values: name.values.len() as u32,
        dictionaries: Vec::new(),
        pages: Vec::new(),
    };
    let (mut dictionary, mut page, mut bytes) = (Builder::new(), PageBuilder::default(), Vec::new());
    let mut first: &[u8] = &[];
    for value in &name.values {
        let text = value.text(&texts);
        if dictionary.bytes() >= dictionary::BYTES {
            let full = std::mem::replace(&mut dictionary, Builder::new());
            let values = full.values();
            entry.dictionaries.push((packer.put(&full.finish())?, values, first.to_vec()));
        }
        if dictionary.values() == 0 {
            first = text;
        }
        dictionary.push(text);
        page.push(&value.list);
        if page.len() >= PAGE_BYTES {
            put_page(&mut page, &mut bytes, packer, &mut entry)?;
        }
    }
    let values = dictionary.values();
    entry.dictionaries.push((packer.put(&dictionary.finish())?, values, first.to_vec()));
    if page.count() > 0 {
        put_page(&mut page, &mut bytes, packer, &mut entry)?;
    }
    Ok(entry)
}

fn put_page(
    page: &mut PageBuilder,
    bytes: &mut Vec<u8>,
    packer: &mut Packer<'_>,
    entry: &mut Entry,
) -> Result<(), BlockError> {
    let count = page.count();
    page.take(bytes);
    entry.pages.push((packer.put(bytes)?, count));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A million series of twelve labels must fit into 150 MiB: 157 bytes a series, where most labels' values are scattered.
    #[test]
    fn memory_follows_what_is_indexed() {
        let mut builder = IndexBuilder::default();
        let count = 20_000u32;
        for series in 0..count {
            let mixed = u64::from(series).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
            let pairs =
                (0..11).map(|label| (format!("label_{label:02}"), (mixed % (7 << label)).to_string()));
            let own = ("own".to_owned(), format!("node-{mixed:08}"));
            builder.add(series, &Labels::from_pairs(pairs.chain([own])));
        }
        assert!(builder.bytes() < count as usize * 157, "{}", builder.bytes() / count as usize);
    }
}
