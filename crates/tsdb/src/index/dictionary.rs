//! Dictionaries of label values: sorted values and their ordinals, as finite-state transducers in the format of the `fst` crate.
//!
//! Both ways are our own. The crate's reader trusts every byte, and these come from a disk: whatever they are, reading ends, in an
//! answer or in a complaint. Its builder takes a megabyte whatever it builds, and most dictionaries hold a few values (the tests
//! hold both against the crate). Ordinals are consecutive, so that all values below a node are a range of ordinals: a
//! prefix, or a regular expression that matches whatever follows, costs the way to its node and not its values.

use std::collections::HashMap;
use std::ops::Range;

use super::pattern::Automaton;

/// What is wrong with a dictionary's bytes.
pub(crate) type Wrong = &'static str;

const TORN: Wrong = "a node of a value dictionary lies outside of it";
const ORDER: Wrong = "ordinals of a value dictionary are out of order";
const LOOP: Wrong = "a value dictionary leads backwards";
const TEXT: Wrong = "a value of a dictionary is no UTF-8";

/// Version, type.
const HEAD: usize = 16;
/// Number of keys, root, checksum.
const TAIL: usize = 20;
/// The only version that is written.
const VERSION: u64 = 3;

/// Bytes that a node of one transition holds in its state: index 1 is the first.
const COMMON: &[u8; 63] = b"te/oasripcnw.hlm-du012g=:bf3y5&_4v9678k%?xCDASFIBEjPTzRNM+LOqHG";

/// Bytes of a dictionary at most before the next begins.
pub(crate) const BYTES: usize = 1 << 20;

/// Nodes that are remembered so that equal ones are written once; past that all are forgotten.
const KNOWN_NODES: usize = 1 << 15;

/// The place of a byte in [`COMMON`], from 1; 0 where it is not there.
const COMMON_PLACES: [u8; 256] = {
    let mut places = [0; 256];
    let mut at = 0;
    while at < COMMON.len() {
        places[COMMON[at] as usize] = at as u8 + 1;
        at += 1;
    }
    places
};

/// Builds a dictionary; values must ascend and none be empty.
#[derive(Debug)]
pub(crate) struct Builder {
    bytes: Vec<u8>,
    /// The nodes on the way to the latest value, from the root on; the last one is its end.
    open: Vec<OpenNode>,
    latest: Vec<u8>,
    known: HashMap<(bool, Vec<Transition>), usize, ahash::RandomState>,
    values: u32,
}

/// A node to which transitions may still be added.
#[derive(Debug, Default)]
struct OpenNode {
    is_final: bool,
    /// The ordinal of the first value that passes here.
    first: u64,
    transitions: Vec<Transition>,
}

impl Builder {
    pub(crate) fn new() -> Self {
        let bytes = [VERSION, 0].into_iter().flat_map(u64::to_le_bytes).collect();
        let open = vec![OpenNode::default()];
        Self { bytes, open, latest: Vec::new(), known: HashMap::default(), values: 0 }
    }

    pub(crate) fn push(&mut self, value: &[u8]) {
        debug_assert!(*value > *self.latest, "values ascend, and none is empty");
        let alike = self.latest.iter().zip(value).take_while(|(a, b)| a == b).count();
        self.close(alike);
        let first = u64::from(self.values);
        self.open.extend(value[alike..].iter().map(|_| OpenNode { first, ..OpenNode::default() }));
        self.open.last_mut().expect("the root is always open").is_final = true;
        self.latest.truncate(alike);
        self.latest.extend_from_slice(&value[alike..]);
        self.values += 1;
    }

    pub(crate) fn values(&self) -> u32 {
        self.values
    }

    /// Bytes written so far.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Closes the nodes behind so many bytes of the latest value.
    fn close(&mut self, depth: usize) {
        while self.open.len() > depth + 1 {
            let node = self.open.pop().expect("it was just counted");
            let first = node.first;
            let to = self.write(node);
            let byte = self.latest[self.open.len() - 1];
            let before = self.open.last_mut().expect("the root stays");
            before.transitions.push(Transition { byte, output: first - before.first, to });
        }
    }

    /// Writes a node, unless an equal one stands there, and answers its address.
    fn write(&mut self, node: OpenNode) -> usize {
        if node.is_final && node.transitions.is_empty() {
            return 0;
        }
        let key = (node.is_final, node.transitions);
        if let Some(&known) = self.known.get(&key) {
            return known;
        }
        match &*key.1 {
            [one] if !key.0 => self.write_one(one),
            many => self.write_any(key.0, many),
        }
        if self.known.len() >= KNOWN_NODES {
            self.known.clear();
        }
        self.known.insert(key, self.bytes.len() - 1);
        self.bytes.len() - 1
    }

    fn write_one(&mut self, one: &Transition) {
        let start = self.bytes.len();
        let mut state = 0b1100_0000;
        if one.to != start - 1 || one.output != 0 {
            state = 0b1000_0000;
            let output_size = if one.output == 0 { 0 } else { size_of_number(one.output) };
            let delta = delta(start, one.to);
            let delta_size = size_of_number(delta);
            put_number(&mut self.bytes, one.output, output_size);
            put_number(&mut self.bytes, delta, delta_size);
            self.bytes.push((delta_size << 4 | output_size) as u8);
        }
        let place = COMMON_PLACES[usize::from(one.byte)];
        if place == 0 {
            self.bytes.push(one.byte);
        }
        self.bytes.push(state | place);
    }

    fn write_any(&mut self, is_final: bool, all: &[Transition]) {
        let start = self.bytes.len();
        let largest = all.iter().map(|one| one.output).max().unwrap_or(0);
        let output_size = if largest == 0 { 0 } else { size_of_number(largest) };
        let delta_size = all.iter().map(|one| size_of_number(delta(start, one.to))).max().unwrap_or(0);
        if is_final {
            put_number(&mut self.bytes, 0, output_size); // a value stands before all that it begins
        }
        for one in all.iter().rev() {
            put_number(&mut self.bytes, one.output, output_size);
        }
        for one in all.iter().rev() {
            put_number(&mut self.bytes, delta(start, one.to), delta_size);
        }
        self.bytes.extend(all.iter().rev().map(|one| one.byte));
        if all.len() > 32 {
            let mut index = [255; 256];
            for (at, one) in all.iter().enumerate() {
                index[usize::from(one.byte)] = at as u8;
            }
            self.bytes.extend(index);
        }
        self.bytes.push((delta_size << 4 | output_size) as u8);
        let mut state = if is_final { 0b0100_0000 } else { 0 };
        match all.len() {
            count @ 1..=63 => state |= count as u8,
            256 => self.bytes.push(1),
            count => self.bytes.push(count as u8),
        }
        self.bytes.push(state);
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.close(0);
        let root = self.open.pop().expect("the root stays");
        let root = self.write(root) as u64;
        self.bytes.extend(u64::from(self.values).to_le_bytes());
        self.bytes.extend(root.to_le_bytes());
        let sum = crc32c::crc32c(&self.bytes);
        self.bytes.extend(sum.rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes());
        self.bytes
    }
}

/// How far back a node at `start` finds another; that without bytes is found by 0.
fn delta(start: usize, to: usize) -> u64 {
    if to == 0 { 0 } else { (start - to) as u64 }
}

/// Bytes of a number, one at least.
fn size_of_number(number: u64) -> usize {
    (8 - number.leading_zeros() as usize / 8).max(1)
}

fn put_number(out: &mut Vec<u8>, number: u64, size: usize) {
    out.extend_from_slice(&number.to_le_bytes()[..size]);
}

/// A dictionary's bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dictionary<'a> {
    /// The nodes; addresses count from the beginning of the bytes.
    bytes: &'a [u8],
    root: usize,
    values: u32,
}

/// A node: where its parts lie.
#[derive(Clone, Copy, Debug)]
struct Node {
    /// Where it begins: addresses below count backwards from here.
    start: usize,
    count: usize,
    is_final: bool,
    final_output: u64,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// The byte, its ordinals' distance, the node it leads to.
    One { byte: u8, output: u64, to: usize },
    /// Where bytes, addresses and outputs begin (each backwards: the last transition's comes first), and their sizes.
    Any { bytes: usize, addresses: usize, outputs: usize, address_size: usize, output_size: usize },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Transition {
    byte: u8,
    output: u64,
    to: usize,
}

impl Node {
    /// The ordinal of the value that ends here, if one does, within those of the node.
    fn ordinal(&self, from: u64, end: u64) -> Result<Option<u64>, Wrong> {
        if !self.is_final {
            return Ok(None);
        }
        from.checked_add(self.final_output).filter(|ordinal| *ordinal < end).map(Some).ok_or(ORDER)
    }
}

fn number(bytes: &[u8], at: usize, size: usize) -> Result<u64, Wrong> {
    let taken = bytes.get(at..).and_then(|rest| rest.get(..size)).filter(|_| size <= 8).ok_or(TORN)?;
    let mut number = [0; 8];
    number[..size].copy_from_slice(taken);
    Ok(u64::from_le_bytes(number))
}

impl<'a> Dictionary<'a> {
    /// Looks at the frame of a dictionary only.
    pub(crate) fn new(bytes: &'a [u8], values: u32) -> Result<Self, Wrong> {
        let nodes = bytes.len().checked_sub(TAIL).filter(|nodes| *nodes >= HEAD).ok_or(TORN)?;
        if number(bytes, 0, 8)? != VERSION {
            return Err("a value dictionary is of another version");
        }
        if number(bytes, nodes, 8)? != u64::from(values) {
            return Err("a value dictionary holds another number of values");
        }
        let root = usize::try_from(number(bytes, nodes + 8, 8)?).map_err(|_| TORN)?;
        if root != 0 && !(HEAD..nodes).contains(&root) {
            return Err(TORN);
        }
        Ok(Self { bytes: &bytes[..nodes], root, values })
    }

    fn node(&self, at: usize) -> Result<Node, Wrong> {
        if at == 0 {
            let kind = Kind::Any { bytes: 0, addresses: 0, outputs: 0, address_size: 0, output_size: 0 };
            return Ok(Node { start: 0, count: 0, is_final: true, final_output: 0, kind });
        }
        let state = *self.bytes.get(at).filter(|_| at >= HEAD).ok_or(TORN)?;
        match state >> 6 {
            0b11 => self.next_node(at, state),
            0b10 => self.one_node(at, state),
            _ => self.any_node(at, state),
        }
    }

    /// The transition's byte, and where the bytes before it end.
    fn common(&self, at: usize, state: u8) -> Result<(u8, usize), Wrong> {
        match usize::from(state & 0x3f) {
            0 => Ok((*self.bytes.get(at.wrapping_sub(1)).ok_or(TORN)?, at - 1)),
            index => Ok((COMMON[index - 1], at)),
        }
    }

    fn next_node(&self, at: usize, state: u8) -> Result<Node, Wrong> {
        let (byte, start) = self.common(at, state)?;
        let to = start.checked_sub(1).filter(|to| *to >= HEAD).ok_or(LOOP)?;
        let kind = Kind::One { byte, output: 0, to };
        Ok(Node { start, count: 1, is_final: false, final_output: 0, kind })
    }

    fn one_node(&self, at: usize, state: u8) -> Result<Node, Wrong> {
        let (byte, sizes_end) = self.common(at, state)?;
        let sizes = *self.bytes.get(sizes_end.wrapping_sub(1)).ok_or(TORN)?;
        let (address_size, output_size) = (usize::from(sizes >> 4), usize::from(sizes & 15));
        let address_at = sizes_end.checked_sub(1 + address_size).ok_or(TORN)?;
        let start = address_at.checked_sub(output_size).filter(|start| *start >= HEAD).ok_or(TORN)?;
        let to = self.address(start, address_at, address_size)?;
        let output = number(self.bytes, start, output_size)?;
        let kind = Kind::One { byte, output, to };
        Ok(Node { start, count: 1, is_final: false, final_output: 0, kind })
    }

    fn any_node(&self, at: usize, state: u8) -> Result<Node, Wrong> {
        let (mut count, mut end) = (usize::from(state & 0x3f), at);
        if count == 0 {
            end = end.checked_sub(1).ok_or(TORN)?;
            count = match self.bytes[end] {
                1 => 256,
                count => usize::from(count),
            };
        }
        let sizes_at = end.checked_sub(1).ok_or(TORN)?;
        let sizes = self.bytes[sizes_at];
        let (address_size, output_size) = (usize::from(sizes >> 4), usize::from(sizes & 15));
        let index = if count > 32 { 256 } else { 0 };
        let is_final = state & 0x40 != 0;
        let bytes = sizes_at.checked_sub(index + count).ok_or(TORN)?;
        let addresses = bytes.checked_sub(count * address_size).ok_or(TORN)?;
        let outputs = addresses.checked_sub(count * output_size).ok_or(TORN)?;
        let start = outputs.checked_sub(if is_final { output_size } else { 0 }).ok_or(TORN)?;
        if start < HEAD || address_size > 8 || output_size > 8 {
            return Err(TORN);
        }
        let final_output = if is_final { number(self.bytes, start, output_size)? } else { 0 };
        let kind = Kind::Any { bytes, addresses, outputs, address_size, output_size };
        Ok(Node { start, count, is_final, final_output, kind })
    }

    /// Addresses lie before the node that names them, so that every walk ends.
    fn address(&self, start: usize, at: usize, size: usize) -> Result<usize, Wrong> {
        let back = usize::try_from(number(self.bytes, at, size)?).map_err(|_| TORN)?;
        match back {
            0 => Ok(0),
            back => start.checked_sub(back).filter(|to| *to >= HEAD).ok_or(LOOP),
        }
    }

    #[inline]
    fn transition(&self, node: &Node, index: usize) -> Result<Transition, Wrong> {
        match node.kind {
            Kind::One { byte, output, to } => Ok(Transition { byte, output, to }),
            Kind::Any { bytes, addresses, outputs, address_size, output_size } => {
                let from_back = node.count - 1 - index;
                let byte = *self.bytes.get(bytes + from_back).ok_or(TORN)?;
                let to = self.address(node.start, addresses + from_back * address_size, address_size)?;
                let output = number(self.bytes, outputs + from_back * output_size, output_size)?;
                Ok(Transition { byte, output, to })
            }
        }
    }

    /// The transition at or after a byte: its index.
    fn lower_bound(&self, node: &Node, byte: u8) -> Result<usize, Wrong> {
        match node.kind {
            Kind::One { byte: have, .. } => Ok(usize::from(have < byte)),
            Kind::Any { bytes, .. } => {
                let all = self.bytes.get(bytes..bytes + node.count).ok_or(TORN)?;
                Ok(node.count - all.partition_point(|have| *have >= byte))
            }
        }
    }

    /// The first ordinal behind a transition's: that of the next one, or of what follows the node.
    fn end_of(&self, node: &Node, index: usize, below: u64, end: u64) -> Result<u64, Wrong> {
        match index + 1 < node.count {
            true => below.checked_add(self.transition(node, index + 1)?.output).ok_or(ORDER),
            false => Ok(end),
        }
    }

    /// The ordinal of a value.
    pub(crate) fn find(&self, value: &[u8]) -> Result<Option<u32>, Wrong> {
        let (mut node, mut ordinal) = (self.node(self.root)?, 0u64);
        for &byte in value {
            let index = self.lower_bound(&node, byte)?;
            if index >= node.count {
                return Ok(None);
            }
            let next = self.transition(&node, index)?;
            if next.byte != byte {
                return Ok(None);
            }
            ordinal = ordinal.checked_add(next.output).ok_or(ORDER)?;
            node = self.node(next.to)?;
        }
        if !node.is_final {
            return Ok(None);
        }
        let ordinal = ordinal.checked_add(node.final_output).ok_or(ORDER)?;
        u32::try_from(ordinal).ok().filter(|ordinal| *ordinal < self.values).map(Some).ok_or(ORDER)
    }

    /// The ordinals of the values that begin with a prefix.
    pub(crate) fn prefix(&self, prefix: &[u8]) -> Result<Range<u32>, Wrong> {
        let (mut node, mut from, mut end) = (self.node(self.root)?, 0u64, u64::from(self.values));
        for &byte in prefix {
            let index = self.lower_bound(&node, byte)?;
            if index >= node.count {
                return Ok(0..0);
            }
            let next = self.transition(&node, index)?;
            if next.byte != byte {
                return Ok(0..0);
            }
            end = self.end_of(&node, index, from, end)?;
            from = from.checked_add(next.output).ok_or(ORDER)?;
            node = self.node(next.to)?;
        }
        self.range(from, end)
    }

    fn range(&self, from: u64, end: u64) -> Result<Range<u32>, Wrong> {
        if from > end || end > u64::from(self.values) {
            return Err(ORDER);
        }
        Ok(from as u32..end as u32)
    }

    /// The ordinals of the values that an automaton accepts, as ascending ranges that do not touch.
    pub(crate) fn accepted(&self, by: &Automaton, into: &mut Vec<Range<u32>>) -> Result<(), Wrong> {
        let mut steps = Steps(into.len(), into);
        let mut stack = Vec::new();
        if let Some(state) = by.start() {
            stack.push((self.root, state, 0, u64::from(self.values)));
        }
        while let Some((at, state, from, end)) = stack.pop() {
            if by.accepts_all_after(state) {
                steps.add(self.range(from, end)?);
                continue;
            }
            let node = self.node(at)?;
            if let Some(ordinal) = node.ordinal(from, end)?
                && by.accepts(state)
            {
                steps.add(self.range(ordinal, ordinal + 1)?);
            }
            self.push_transitions(by, &node, (state, from, end), &mut stack)?;
        }
        Ok(())
    }

    /// Puts what follows a node on the stack, the first on top. Each names at least one ordinal of its own, so that the bytes of no
    /// disk can make the walk longer than there are values.
    fn push_transitions<S: Copy>(
        &self,
        by: &impl Follow<State = S>,
        node: &Node,
        (state, from, end): (S, u64, u64),
        stack: &mut Vec<(usize, S, u64, u64)>,
    ) -> Result<(), Wrong> {
        let mut end = end;
        // A value stands before those that it begins.
        let first = node.ordinal(from, end)?.map_or(from, |own| own + 1);
        for index in (0..node.count).rev() {
            let next = self.transition(node, index)?;
            let begin = from.checked_add(next.output).ok_or(ORDER)?;
            if begin >= end || begin < first {
                return Err(ORDER);
            }
            if let Some(state) = by.follow(state, next.byte) {
                stack.push((next.to, state, begin, end));
            }
            end = begin;
        }
        Ok(())
    }

    /// Calls back with the values of a range of ordinals, in order, until it answers false.
    pub(crate) fn each(
        &self,
        wanted: Range<u32>,
        mut visit: impl FnMut(u32, &str) -> bool,
    ) -> Result<(), Wrong> {
        let wanted = u64::from(wanted.start)..u64::from(wanted.end);
        let mut value = Vec::new();
        let mut stack = vec![(self.root, (0usize, 0u8), 0u64, u64::from(self.values))];
        while let Some((at, (depth, byte), from, end)) = stack.pop() {
            if end <= wanted.start || from >= wanted.end {
                continue;
            }
            value.truncate(depth.saturating_sub(1));
            if depth > 0 {
                value.push(byte);
            }
            let node = self.node(at)?;
            if let Some(ordinal) = node.ordinal(from, end)? {
                let text = std::str::from_utf8(&value).map_err(|_| TEXT)?;
                let goes_on = !wanted.contains(&ordinal) || visit(ordinal as u32, text);
                if !goes_on {
                    return Ok(());
                }
            }
            self.push_transitions(&Spell, &node, ((depth, 0), from, end), &mut stack)?;
        }
        Ok(())
    }
}

/// What a walk carries along each transition; `None` where it need not go on.
trait Follow {
    type State;
    fn follow(&self, state: Self::State, byte: u8) -> Option<Self::State>;
}

impl Follow for Automaton {
    type State = super::pattern::State;

    #[inline]
    fn follow(&self, state: Self::State, byte: u8) -> Option<Self::State> {
        self.next(state, byte)
    }
}

/// Spells values: depth and byte.
struct Spell;

impl Follow for Spell {
    type State = (usize, u8);

    fn follow(&self, (depth, _): (usize, u8), byte: u8) -> Option<(usize, u8)> {
        Some((depth + 1, byte))
    }
}

/// Ranges that are joined where they touch.
struct Steps<'a>(usize, &'a mut Vec<Range<u32>>);

impl Steps<'_> {
    fn add(&mut self, range: Range<u32>) {
        let own = &mut self.1[self.0..];
        match own.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ if range.is_empty() => {}
            _ => self.1.push(range),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn build(values: &BTreeSet<String>) -> Vec<u8> {
        let mut builder = Builder::new();
        values.iter().for_each(|value| builder.push(value.as_bytes()));
        builder.finish()
    }

    fn check(values: &BTreeSet<String>, others: &[String]) {
        let bytes = build(values);
        let theirs = fst::Map::new(&bytes[..]).expect("the crate reads it");
        theirs.as_fst().verify().expect("and finds its checksum right");
        let read = theirs.stream().into_str_vec().expect("texts");
        assert!(read.into_iter().eq(values.iter().cloned().zip(0..)));
        // The crate would take no fewer bytes for it.
        let most = fst::Map::from_iter(values.iter().zip(0..)).expect("sorted").into_fst().into_inner();
        assert!(bytes.len() <= most.len(), "{} for {}", bytes.len(), most.len());
        let dictionary = Dictionary::new(&bytes, values.len() as u32).expect("whole");
        for (ordinal, value) in values.iter().enumerate() {
            assert_eq!(dictionary.find(value.as_bytes()), Ok(Some(ordinal as u32)), "{value}");
        }
        for other in others {
            assert_eq!(
                dictionary.find(other.as_bytes()).map(|found| found.is_some()),
                Ok(values.contains(other))
            );
            let begins = |value: &&String| value.starts_with(other.as_str());
            let before = values.iter().filter(|value| *value < other && !begins(value)).count();
            let count = values.iter().filter(begins).count();
            let range = dictionary.prefix(other.as_bytes()).expect("whole");
            assert_eq!(range.len(), count, "{other}");
            assert!(count == 0 || range.start as usize == before, "{other}");
        }
        let (mut spelt, from) = (Vec::new(), values.len() as u32 / 3);
        let all = 0..values.len() as u32;
        dictionary
            .each(from..all.end, |_, value| {
                spelt.push(value.to_owned());
                true
            })
            .expect("whole");
        assert!(spelt.iter().eq(values.iter().skip(from as usize)));
    }

    #[test]
    fn every_byte_is_read_as_it_was_written() {
        let ascii: BTreeSet<String> = (0..128u8).map(|byte| char::from(byte).to_string()).collect();
        check(&ascii, &[]);
        // A node of one transition holds common bytes in its state.
        let chains: BTreeSet<String> = (0..128u8).map(|byte| format!("{}{0}{0}", char::from(byte))).collect();
        check(&chains, &[]);
        check(&BTreeSet::new(), &["a".into()]);
    }

    proptest! {
        #[test]
        fn values_have_their_ordinals(
            values in proptest::collection::btree_set("[a-cé0-9]{1,6}", 0..200),
            others in proptest::collection::vec("[a-cé0-9]{0,4}", 0..30),
        ) {
            check(&values, &others);
        }

        #[test]
        fn strangers_bytes_end_in_a_complaint(
            values in proptest::collection::btree_set("[a-c0-9]{1,4}", 1..40),
            hits in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
        ) {
            let mut bytes = build(&values);
            for (at, byte) in hits {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Ok(dictionary) = Dictionary::new(&bytes, values.len() as u32) {
                let _ = dictionary.find(b"abc");
                let _ = dictionary.prefix(b"a");
                let mut visited = 0;
                let _ = dictionary.each(0..values.len() as u32, |_, _| { visited += 1; true });
                prop_assert!(visited <= values.len());
            }
        }
    }
}
