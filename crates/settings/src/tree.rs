//! A YAML text as a tree in which every value knows its place.
//!
//! In: text. Out: [`Tree`], flat (20 bytes a value, and the texts), so that it costs little while it lives; it is dropped as soon as
//! the structs are read from it ([`Value`](crate::value::Value)). Keys that stand twice are refused, `<<` merges a section
//! into another one, an alias repeats what its anchor names.
//!
//! Not here: what a scalar means to the one who asks (`scalar`, `value`), tags but `!!str`, `!!null` and those of numbers and
//! switches (others say nothing; `!!binary` is refused), several documents in one text.
//!
//! Limits, each with an error that says what to do: [`FILE_BYTES_MAX`] bytes of text; [`DEPTH_MAX`] sections within each other,
//! [`VALUES_MAX`] values and [`TEXT_BYTES_MAX`] bytes of their texts, what aliases repeat counted each time.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::Range;

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, Tag};

use crate::{FILE_BYTES_MAX, scalar};

/// Sections and lists within each other.
pub const DEPTH_MAX: usize = 64;

/// Keys, values, sections and lists in one text, what aliases repeat counted each time.
pub const VALUES_MAX: u64 = 250_000;

/// Bytes of all scalars together, what aliases repeat counted each time.
pub const TEXT_BYTES_MAX: u64 = 16 << 20;

/// Line and column of a value, both from 1; columns count characters. 0 and 0 where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line.
    pub line: u32,
    /// The column.
    pub column: u32,
}

impl Place {
    fn of(marker: &granit_parser::Marker) -> Self {
        let bound = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Self { line: bound(marker.line()).max(1), column: bound(marker.col() + 1) }
    }
}

/// Why a text is no tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) place: Place,
    pub(crate) why: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A scalar whose text decides what it is.
    Plain,
    /// A scalar that is a text: quoted, a block, or said to be one.
    Text,
    /// A scalar that is no value.
    Null,
    List,
    /// Keys and values in turn.
    Map,
}

/// A value; the range is one of bytes of the texts for a scalar, of nodes for a list or a map.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) kind: Kind,
    start: u32,
    end: u32,
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Tree {
    /// What a list or a map holds stands together, before itself; the root is the last.
    nodes: Vec<Node>,
    texts: String,
    /// The value that is looked at, so that errors which know no place get one without every generic function carrying it.
    at: Cell<u32>,
}

impl Tree {
    pub(crate) fn read(text: &str) -> Result<Self, Fault> {
        if text.len() as u64 > FILE_BYTES_MAX {
            let why =
                format!("{} bytes are more than the {FILE_BYTES_MAX} that settings may have", text.len());
            return Err(Fault { place: Place { line: 1, column: 1 }, why });
        }
        let mut reader = Reader::default();
        for event in Parser::new_from_str(text) {
            match event {
                Ok((event, span)) => reader.take(event, Place::of(&span.start))?,
                Err(error) => {
                    let why = match error.kind() {
                        ErrorKind::RecursionLimitExceeded => too_deep(),
                        _ => error.info(),
                    };
                    return Err(Fault { place: Place::of(error.marker()), why });
                }
            }
        }
        Ok(reader.finish())
    }

    pub(crate) fn root(&self) -> u32 {
        u32::try_from(self.nodes.len() - 1).expect("VALUES_MAX bounds them")
    }

    pub(crate) fn node(&self, index: u32) -> Node {
        self.nodes[index as usize]
    }

    /// The text of a scalar.
    pub(crate) fn text(&self, node: Node) -> &str {
        &self.texts[node.start as usize..node.end as usize]
    }

    /// What a list or a map holds.
    pub(crate) fn children(&self, node: Node) -> Range<u32> {
        node.start..node.end
    }

    pub(crate) fn look_at(&self, index: u32) {
        self.at.set(index);
    }

    /// Where the value stands that was looked at last.
    pub(crate) fn place(&self) -> Place {
        self.node(self.at.get()).place
    }

    /// The value of a key, where this is a map that has it.
    pub(crate) fn key(&self, index: u32, key: &str) -> Option<u32> {
        let node = self.node(index);
        let mut keys = self.children(node).step_by(2).take_while(|_| node.kind == Kind::Map);
        keys.find(|at| self.text(self.node(*at)) == key).map(|at| at + 1)
    }

    /// An item, counted from 0, where this is a list that has it.
    pub(crate) fn item(&self, index: u32, item: usize) -> Option<u32> {
        let node = self.node(index);
        if node.kind == Kind::List { self.children(node).nth(item) } else { None }
    }
}

/// What a value brings with it, aliases followed.
#[derive(Clone, Copy, Default)]
struct Weight {
    values: u64,
    bytes: u64,
    /// Sections and lists within each other, itself included.
    depth: usize,
}

/// A list or a map that has not ended.
struct Open {
    place: Place,
    kind: Kind,
    anchor: usize,
    /// Where in `Reader::pending` its children begin.
    first: usize,
    weight: Weight,
}

#[derive(Default)]
struct Reader {
    nodes: Vec<Node>,
    texts: String,
    open: Vec<Open>,
    /// Children of what is open, outermost first.
    pending: Vec<Node>,
    /// By the parser's number, which counts from 1; none while what it names has not ended.
    anchors: Vec<Option<(Node, Weight)>>,
    total: Weight,
    root: Option<Node>,
    end: Place,
}

impl Reader {
    fn take(&mut self, event: Event<'_>, place: Place) -> Result<(), Fault> {
        match event {
            Event::DocumentStart(..) if self.root.is_some() => {
                let why = "a second document begins here: write one only, without `---` within it";
                return Err(Fault { place, why: why.into() });
            }
            Event::Scalar(text, style, anchor, tag) => {
                let kind = kind_of(&text, style, tag.as_deref(), place)?;
                let weight = Weight { values: 1, bytes: text.len() as u64, depth: 0 };
                let start = offset(self.texts.len());
                // Before the text is kept.
                self.count(weight, place)?;
                self.texts.push_str(&text);
                let node = Node { place, kind, start, end: offset(self.texts.len()) };
                self.add(node, anchor, weight);
            }
            Event::Alias(anchor) => {
                let Some((node, weight)) = self.anchors.get(anchor).copied().flatten() else {
                    let why = "this alias stands within what it repeats: write that out";
                    return Err(Fault { place, why: why.into() });
                };
                self.count(weight, place)?;
                self.add(Node { place, ..node }, 0, weight);
            }
            Event::SequenceStart(_, anchor, _) => self.begin(Kind::List, anchor, place)?,
            Event::MappingStart(_, anchor, _) => self.begin(Kind::Map, anchor, place)?,
            Event::SequenceEnd | Event::MappingEnd => self.close()?,
            Event::StreamEnd => self.end = place,
            _ => {}
        }
        Ok(())
    }

    fn begin(&mut self, kind: Kind, anchor: usize, place: Place) -> Result<(), Fault> {
        let weight = Weight { values: 1, bytes: 0, depth: 1 };
        self.count(weight, place)?;
        self.open.push(Open { place, kind, anchor, first: self.pending.len(), weight });
        Ok(())
    }

    /// Counts a value against the bounds, at the place where it would stand.
    fn count(&mut self, weight: Weight, place: Place) -> Result<(), Fault> {
        self.total.values = self.total.values.saturating_add(weight.values);
        self.total.bytes = self.total.bytes.saturating_add(weight.bytes);
        let why = if self.open.len() + weight.depth > DEPTH_MAX {
            too_deep()
        } else if self.total.values > VALUES_MAX {
            format!("more than {VALUES_MAX} values, aliases followed: split the file")
        } else if self.total.bytes > TEXT_BYTES_MAX {
            format!("more than {TEXT_BYTES_MAX} bytes of text, aliases followed: split the file")
        } else {
            return Ok(());
        };
        Err(Fault { place, why })
    }

    fn add(&mut self, node: Node, anchor: usize, weight: Weight) {
        if anchor != 0 {
            if self.anchors.len() <= anchor {
                self.anchors.resize(anchor + 1, None);
            }
            self.anchors[anchor] = Some((node, weight));
        }
        match self.open.last_mut() {
            Some(parent) => {
                parent.weight.values = parent.weight.values.saturating_add(weight.values);
                parent.weight.bytes = parent.weight.bytes.saturating_add(weight.bytes);
                parent.weight.depth = parent.weight.depth.max(weight.depth + 1);
                self.pending.push(node);
            }
            None => self.root = Some(node),
        }
    }

    fn close(&mut self) -> Result<(), Fault> {
        let open = self.open.pop().expect("the parser ends what it began");
        if open.kind == Kind::Map {
            self.refuse_sections_as_keys(open.first)?;
            self.merge(open.first)?;
            self.refuse_twins(open.first)?;
        }
        let start = offset(self.nodes.len());
        self.nodes.extend(self.pending.drain(open.first..));
        let node = Node { place: open.place, kind: open.kind, start, end: offset(self.nodes.len()) };
        self.add(node, open.anchor, open.weight);
        Ok(())
    }

    fn text(&self, node: Node) -> &str {
        &self.texts[node.start as usize..node.end as usize]
    }

    /// Replaces `<<: section` and `<<: [section, …]` by the entries of those whose keys are not there yet.
    fn merge(&mut self, first: usize) -> Result<(), Fault> {
        let is_merge = |reader: &Self, key: Node| key.kind == Kind::Plain && reader.text(key) == "<<";
        if !self.pending[first..].iter().step_by(2).any(|key| is_merge(self, *key)) {
            return Ok(());
        }
        let (mut own, mut merged) = (Vec::new(), Vec::new());
        for entry in self.pending[first..].chunks_exact(2) {
            if !is_merge(self, entry[0]) {
                own.extend_from_slice(entry);
                continue;
            }
            let whole = [entry[1]];
            let sections = match entry[1].kind {
                Kind::List => &self.nodes[entry[1].start as usize..entry[1].end as usize],
                _ => &whole[..],
            };
            for section in sections {
                if section.kind != Kind::Map {
                    let why = "`<<` takes a section, or a list of sections, to merge into this one";
                    return Err(Fault { place: section.place, why: why.into() });
                }
                merged.extend_from_slice(&self.nodes[section.start as usize..section.end as usize]);
            }
        }
        let mut known: BTreeMap<&str, Place> = BTreeMap::new();
        for key in own.iter().step_by(2) {
            known.insert(self.text(*key), key.place);
        }
        for entry in merged.chunks_exact(2) {
            if known.insert(self.text(entry[0]), entry[0].place).is_none() {
                own.extend_from_slice(entry);
            }
        }
        self.pending.truncate(first);
        self.pending.append(&mut own);
        Ok(())
    }

    fn refuse_sections_as_keys(&self, first: usize) -> Result<(), Fault> {
        let mut keys = self.pending[first..].iter().step_by(2);
        let Some(key) = keys.find(|key| matches!(key.kind, Kind::List | Kind::Map)) else { return Ok(()) };
        let why = "a key belongs here: one value, no list and no section";
        Err(Fault { place: key.place, why: why.into() })
    }

    fn refuse_twins(&self, first: usize) -> Result<(), Fault> {
        let mut known: BTreeMap<&str, Place> = BTreeMap::new();
        for key in self.pending[first..].iter().step_by(2) {
            let text = self.text(*key);
            if let Some(twin) = known.insert(text, key.place) {
                let why = format!(
                    "{text:?} stands twice (first at line {}, column {}): keep one of them",
                    twin.line, twin.column
                );
                return Err(Fault { place: key.place, why });
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Tree {
        let nothing = Node { place: self.end, kind: Kind::Null, start: 0, end: 0 };
        self.nodes.push(self.root.unwrap_or(nothing));
        let tree = Tree { nodes: self.nodes, texts: self.texts, at: Cell::default() };
        tree.look_at(tree.root());
        tree
    }
}

fn too_deep() -> String {
    format!("more than {DEPTH_MAX} sections and lists within each other: write it flatter")
}

fn offset(length: usize) -> u32 {
    u32::try_from(length).expect("TEXT_BYTES_MAX and VALUES_MAX are far below")
}

fn kind_of(text: &str, style: ScalarStyle, tag: Option<&Tag>, place: Place) -> Result<Kind, Fault> {
    let plain = if scalar::is_null(text) { Kind::Null } else { Kind::Plain };
    let Some(tag) = tag else {
        return Ok(if style == ScalarStyle::Plain { plain } else { Kind::Text });
    };
    match tag.core_suffix() {
        Some("str") => Ok(Kind::Text),
        Some("null") => Ok(Kind::Null),
        Some("bool" | "int" | "float") => Ok(plain),
        _ if tag.suffix() == "binary" && tag.handle() != "!" => {
            Err(Fault { place, why: "binary values have no place in settings: write a text".into() })
        }
        // `! 5` is a text.
        _ if style != ScalarStyle::Plain || tag.suffix().is_empty() || tag.suffix() == "!" => Ok(Kind::Text),
        _ => Ok(plain),
    }
}

#[cfg(test)]
mod tests;
