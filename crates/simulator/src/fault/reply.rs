//! A reply taken apart, so that any part of it can be spoilt, and put together again without any check.

use snmp::ber::{Reader, tag};

use super::Element;
use crate::encode;

/// A reply whose parts are as they stand on the wire.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) kind: u8,
    pub(crate) id: i32,
    pub(crate) status: i32,
    pub(crate) index: i32,
    pub(crate) bindings: Vec<Binding>,
    /// Elements whose length is written oddly.
    pub(crate) lengths: Vec<(Element, Length)>,
}

/// One binding: the name's content, the value's tag and content.
#[derive(Clone, Debug)]
pub(crate) struct Binding {
    pub(crate) name: Vec<u8>,
    pub(crate) tag: u8,
    pub(crate) value: Vec<u8>,
}

/// How a length is written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Length {
    OverLong,
    PastEnd,
    Indefinite,
    Padded,
}

impl Reply {
    /// Takes bindings apart that the simulator itself has put together.
    pub(crate) fn new(id: i32, status: i32, index: i32, list: &[u8]) -> Self {
        let mut bindings = Vec::new();
        let mut reader = Reader::new(list);
        while !reader.is_empty() {
            let mut fields = reader.expect(tag::SEQUENCE).expect("our own bindings are well formed").reader();
            let name = fields.element().expect("a binding has a name").content.to_vec();
            let value = fields.element().expect("a binding has a value");
            bindings.push(Binding { name, tag: value.tag, value: value.content.to_vec() });
        }
        Self { kind: tag::RESPONSE, id, status, index, bindings, lengths: Vec::new() }
    }

    /// The binding in the middle, so that there are sound ones on both sides.
    pub(crate) fn middle(&mut self) -> Option<&mut Binding> {
        let at = self.bindings.len() / 2;
        self.bindings.get_mut(at)
    }

    /// What stands inside the PDU.
    pub(crate) fn content(&self) -> Vec<u8> {
        let middle = self.bindings.len() / 2;
        let mut list = Vec::new();
        for (at, binding) in self.bindings.iter().enumerate() {
            let length = |element| if at == middle { self.length(element) } else { None };
            let mut parts = Vec::new();
            encode::element(&mut parts, tag::OBJECT_IDENTIFIER, &binding.name);
            wrap(&mut parts, binding.tag, &binding.value, length(Element::Value));
            wrap(&mut list, tag::SEQUENCE, &parts, length(Element::Binding));
        }
        let mut content = Vec::new();
        for number in [self.id, self.status, self.index] {
            encode::signed(&mut content, tag::INTEGER, number);
        }
        wrap(&mut content, tag::SEQUENCE, &list, self.length(Element::List));
        content
    }

    /// How the length of an element is written, if oddly.
    pub(crate) fn length(&self, element: Element) -> Option<Length> {
        self.lengths.iter().rev().find(|(other, _)| *other == element).map(|(_, length)| *length)
    }
}

/// Appends an element, its length written as asked for.
pub(crate) fn wrap(out: &mut Vec<u8>, tag: u8, content: &[u8], length: Option<Length>) {
    let Some(odd) = length else { return encode::element(out, tag, content) };
    let octets = (content.len() as u32).to_be_bytes();
    out.push(tag);
    match odd {
        Length::OverLong => {
            out.extend([0x85, 0]);
            out.extend(octets);
        }
        Length::Padded => {
            out.push(0x84);
            out.extend(octets);
        }
        Length::PastEnd => encode::length(out, content.len() + 1_000),
        Length::Indefinite => out.push(0x80),
    }
    out.extend_from_slice(content);
    if odd == Length::Indefinite {
        out.extend([0, 0]);
    }
}
