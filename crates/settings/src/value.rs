//! Structs from a [`Tree`]: serde's deserialiser, kept thin. Each method is compiled again for each struct that is read, so all work is
//! done in functions that are not generic, and errors get their place from the value that was looked at last
//! ([`Tree::place`]) instead of being wrapped on their way out.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;

use serde::de::value::U64Deserializer;
use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, Visitor};

use crate::scalar::{self, Meaning};
use crate::tree::{Kind, Node, Place, Tree};

/// What is wrong with a value; where, the tree knows.
#[derive(Debug)]
pub(crate) struct Refusal(pub(crate) Box<str>);

impl Refusal {
    #[cold]
    fn new(why: &str) -> Self {
        Self(why.into())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}

impl de::Error for Refusal {
    fn custom<T: fmt::Display>(why: T) -> Self {
        Self(why.to_string().into())
    }

    fn missing_field(field: &'static str) -> Self {
        Self::custom(format_args!("the key `{field}` is missing here"))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        if expected.is_empty() {
            return Self::custom(format_args!("unknown field `{field}`, none belongs here"));
        }
        Self::custom(format_args!("unknown field `{field}`, expected one of {}", expected.join(", ")))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::custom(format_args!("{variant:?} is not known here: write {}", expected.join(", ")))
    }
}

/// A value of a tree.
#[derive(Clone, Copy)]
pub(crate) struct Value<'t> {
    tree: &'t Tree,
    index: u32,
}

const SECTION: &str = "a section belongs here: lines `key: value`, or {key: value, …}";
const LIST: &str = "a list belongs here: lines `- …`, or [ … ]";
const ONE: &str = "one value belongs here, no list and no section";
const NOTHING: &str = "nothing is written here: write a value, or \"\" for an empty text";
const UNSIGNED: &str = "a whole number belongs here, 0 or more, without a unit";
const SIGNED: &str = "a whole number belongs here, without a unit";
const FLOAT: &str = "a number belongs here, without a unit";

impl<'t> Value<'t> {
    pub(crate) fn root(tree: &'t Tree) -> Self {
        Self { tree, index: tree.root() }
    }

    fn node(self) -> Node {
        self.tree.node(self.index)
    }

    fn looked_at(tree: &'t Tree, index: u32) -> Self {
        tree.look_at(index);
        Self { tree, index }
    }

    /// An empty file is an empty section and an empty list.
    fn children(self, kind: Kind, otherwise: &str) -> Result<Children<'t>, Refusal> {
        let node = self.node();
        let range = if node.kind == kind {
            self.tree.children(node)
        } else if node.kind == Kind::Null && self.index == self.tree.root() {
            0..0
        } else {
            return Err(Refusal::new(otherwise));
        };
        Ok(Children { whole: self, range })
    }

    fn section(self) -> Result<Children<'t>, Refusal> {
        self.children(Kind::Map, SECTION)
    }

    fn list(self) -> Result<Children<'t>, Refusal> {
        self.children(Kind::List, LIST)
    }

    fn list_of(self, length: usize) -> Result<Children<'t>, Refusal> {
        let list = self.list()?;
        if list.range.len() == length {
            return Ok(list);
        }
        Err(Refusal(format!("{length} values belong here, not {}", list.range.len()).into()))
    }

    fn is_null(self) -> bool {
        self.node().kind == Kind::Null
    }

    /// A scalar as it is written.
    fn scalar(self) -> Result<&'t str, Refusal> {
        match self.node().kind {
            Kind::List | Kind::Map => Err(Refusal::new(ONE)),
            _ => Ok(self.tree.text(self.node())),
        }
    }

    fn text(self) -> Result<&'t str, Refusal> {
        if self.is_null() { Err(Refusal::new(NOTHING)) } else { self.scalar() }
    }

    fn switch(self) -> Result<bool, Refusal> {
        scalar::switch(self.scalar()?).ok_or_else(|| Refusal::new("write true or false"))
    }

    fn unsigned(self, max: u64) -> Result<u64, Refusal> {
        scalar::unsigned(self.scalar()?, max).ok_or_else(|| Refusal::new(UNSIGNED))
    }

    fn signed(self, min: i64, max: i64) -> Result<i64, Refusal> {
        scalar::signed(self.scalar()?, min, max).ok_or_else(|| Refusal::new(SIGNED))
    }

    fn float(self) -> Result<f64, Refusal> {
        scalar::float(self.scalar()?).ok_or_else(|| Refusal::new(FLOAT))
    }

    /// What a plain scalar means; a text is one.
    fn meaning(self) -> Meaning {
        let node = self.node();
        if node.kind == Kind::Plain { scalar::meaning(self.tree.text(node)) } else { Meaning::Text }
    }

    /// `variant`, or `variant: content` as the only entry of a section.
    fn variant(self) -> Result<Variant<'t>, Refusal> {
        if self.node().kind != Kind::Map {
            return Ok(Variant { name: self, content: None });
        }
        let entries = self.section()?.range;
        if entries.len() != 2 {
            return Err(Refusal::new("one key belongs here, with its value"));
        }
        let name = Value::looked_at(self.tree, entries.start);
        Ok(Variant { name, content: Some(Self { tree: self.tree, index: entries.start + 1 }) })
    }
}

macro_rules! whole_numbers {
    ($($method:ident, $visit:ident, $kind:ty, $read:ident($($bound:expr),*);)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
            let value = self.$read($($bound.into()),*)?;
            visitor.$visit(<$kind>::try_from(value).expect("it was read within the bounds of its kind"))
        })*
    };
}

impl<'de> Deserializer<'de> for Value<'_> {
    type Error = Refusal;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        match self.node().kind {
            Kind::Map => visitor.visit_map(self.section()?),
            Kind::List => visitor.visit_seq(self.list()?),
            Kind::Null => visitor.visit_unit(),
            Kind::Plain | Kind::Text => match self.meaning() {
                Meaning::Text => visitor.visit_str(self.text()?),
                Meaning::Switch(value) => visitor.visit_bool(value),
                Meaning::Unsigned(value) => visitor.visit_u64(value),
                Meaning::Signed(value) => visitor.visit_i64(value),
                Meaning::Float(value) => visitor.visit_f64(value),
            },
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_bool(self.switch()?)
    }

    whole_numbers! {
        deserialize_u8, visit_u8, u8, unsigned(u8::MAX);
        deserialize_u16, visit_u16, u16, unsigned(u16::MAX);
        deserialize_u32, visit_u32, u32, unsigned(u32::MAX);
        deserialize_u64, visit_u64, u64, unsigned(u64::MAX);
        deserialize_i8, visit_i8, i8, signed(i8::MIN, i8::MAX);
        deserialize_i16, visit_i16, i16, signed(i16::MIN, i16::MAX);
        deserialize_i32, visit_i32, i32, signed(i32::MIN, i32::MAX);
        deserialize_i64, visit_i64, i64, signed(i64::MIN, i64::MAX);
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_f64(self.float()?)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_f64(self.float()?)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_str(self.text()?)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_str(self.text()?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_str(self.text()?)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_str(self.scalar()?)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        if self.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_seq(self.list()?)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_seq(self.list_of(length)?)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        visitor.visit_seq(self.list_of(length)?)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_map(self.section()?)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        visitor.visit_map(self.section()?)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        visitor.visit_enum(self.variant()?)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_unit()
    }

    /// Nothing else asks for bytes: a [`Placed`] value does, and gets its place and itself.
    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_map(PlaceAndValue(self))
    }

    serde::forward_to_deserialize_any! { i128 u128 byte_buf unit unit_struct }
}

/// What a list or a section holds.
struct Children<'t> {
    whole: Value<'t>,
    /// What is left.
    range: Range<u32>,
}

impl<'t> Children<'t> {
    /// The next one; at the end the whole is looked at again, so that what is missing is missed there.
    fn next(&mut self) -> Option<Value<'t>> {
        let next = self.range.next();
        let value = Value::looked_at(self.whole.tree, next.unwrap_or(self.whole.index));
        next.map(|_| value)
    }
}

impl<'de> de::SeqAccess<'de> for Children<'_> {
    type Error = Refusal;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Refusal> {
        match self.next() {
            Some(value) => seed.deserialize(value).map(Some),
            None => Ok(None),
        }
    }
}

impl<'de> de::MapAccess<'de> for Children<'_> {
    type Error = Refusal;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Refusal> {
        match self.next() {
            Some(key) => seed.deserialize(key).map(Some),
            None => Ok(None),
        }
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Refusal> {
        seed.deserialize(self.next().expect("each key has its value"))
    }
}

/// One of several variants.
struct Variant<'t> {
    name: Value<'t>,
    content: Option<Value<'t>>,
}

impl<'t> Variant<'t> {
    fn content(&self) -> Result<Value<'t>, Refusal> {
        let content = self.content.ok_or_else(|| Refusal::new(SECTION))?;
        Ok(Value::looked_at(content.tree, content.index))
    }
}

impl<'de> de::EnumAccess<'de> for Variant<'_> {
    type Error = Refusal;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Refusal> {
        Ok((seed.deserialize(self.name)?, self))
    }
}

impl<'de> de::VariantAccess<'de> for Variant<'_> {
    type Error = Refusal;

    fn unit_variant(self) -> Result<(), Refusal> {
        if self.content.is_some() { Err(Refusal::new(ONE)) } else { Ok(()) }
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Refusal> {
        seed.deserialize(self.content()?)
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_seq(self.content()?.list_of(length)?)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        visitor.visit_map(self.content()?.section()?)
    }
}

/// A value and where it stands; an alias stands where it is written, not where its anchor is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placed<T> {
    /// Where it stands.
    pub place: Place,
    /// The value.
    pub value: T,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Placed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(PlacedVisitor(PhantomData))
    }
}

struct PlacedVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for PlacedVisitor<T> {
    type Value = Placed<T>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a value of settings")
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut access: A) -> Result<Placed<T>, A::Error> {
        let bits: u64 = access.next_key()?.unwrap_or_default();
        let [a, b, c, d, e, f, g, h] = bits.to_be_bytes();
        let place =
            Place { line: u32::from_be_bytes([a, b, c, d]), column: u32::from_be_bytes([e, f, g, h]) };
        Ok(Placed { place, value: access.next_value()? })
    }
}

/// As a map: the key is the place, line before column in the bits of one number.
struct PlaceAndValue<'t>(Value<'t>);

impl<'de> de::MapAccess<'de> for PlaceAndValue<'_> {
    type Error = Refusal;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Refusal> {
        let Place { line, column } = self.0.node().place;
        seed.deserialize(U64Deserializer::new(u64::from(line) << 32 | u64::from(column))).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Refusal> {
        seed.deserialize(self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;
    use crate::parse;

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields, default)]
    struct Kinds {
        text: Option<String>,
        switch: Option<bool>,
        small: Option<u8>,
        port: Option<u16>,
        below: Option<i32>,
        number: Option<f64>,
        pair: Option<[u32; 2]>,
        map: Option<BTreeMap<i64, String>>,
        one: Option<One>,
        inner: Option<Box<Kinds>>,
        #[serde(deserialize_with = "skipped")]
        anything: (),
        letter: Option<char>,
    }

    fn skipped<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(), D::Error> {
        de::IgnoredAny::deserialize(deserializer).map(drop)
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "lowercase")]
    enum One {
        Bare,
        Text(String),
        Section { port: u16 },
    }

    fn check(text: &str, expected: Kinds) {
        assert_eq!(parse::<Kinds>(text, "x").unwrap_or_else(|error| panic!("{text}: {error}")), expected);
    }

    fn refused(text: &str, expected: &str) {
        let error = parse::<Kinds>(text, "x").expect_err(text).to_string();
        assert_eq!(error, format!("x:{expected}"), "{text}");
    }

    fn text(text: &str) -> Kinds {
        Kinds { text: Some(text.into()), ..Kinds::default() }
    }

    #[test]
    fn a_text_is_what_is_written() {
        for written in ["yes", "true", "33.10", "007", "0x1F", "1e3", "-1", "2026-11-22", ".inf"] {
            check(&format!("text: {written}\n"), text(written));
            check(&format!("text: '{written}'\n"), text(written));
        }
        check("text: ''\n", text(""));
        check("text: '~'\n", text("~"));
        check("text: !!str ~\n", text("~"));
        check("text: |\n  a\n  b\n", text("a\nb\n"));
        for none in ["", "~", "null"] {
            check(&format!("text: {none}\n"), Kinds::default());
        }
        let nothing = parse::<Vec<String>>("- a\n-\n", "x").expect_err("nothing is no text").to_string();
        assert_eq!(nothing, format!("x:2:2: {NOTHING}"));
    }

    #[test]
    fn switches_and_numbers_are_strict() {
        check("switch: True\n", Kinds { switch: Some(true), ..Kinds::default() });
        check("switch: 'false'\n", Kinds { switch: Some(false), ..Kinds::default() });
        for no in ["yes", "on", "1", "''"] {
            refused(&format!("switch: {no}\n"), "1:9: write true or false");
        }
        check(
            "small: 255\nport: 0xFFFF\n",
            Kinds { small: Some(255), port: Some(65_535), ..Kinds::default() },
        );
        for no in ["256", "-1", "1.0", "007", "1MiB", "''"] {
            refused(&format!("small: {no}\n"), &format!("1:8: {UNSIGNED}"));
        }
        check(
            "below: -2147483648\nnumber: 5\n",
            Kinds { below: Some(i32::MIN), number: Some(5.0), ..Kinds::default() },
        );
        refused("below: 2147483648\n", &format!("1:8: {SIGNED}"));
        refused("number: many\n", &format!("1:9: {FLOAT}"));
        check("letter: x\n", Kinds { letter: Some('x'), ..Kinds::default() });
    }

    #[test]
    fn collections() {
        check("pair: [1, 2]\n", Kinds { pair: Some([1, 2]), ..Kinds::default() });
        refused("pair: [1]\n", "1:7: 2 values belong here, not 1");
        refused("pair: [1, 2, 3]\n", "1:7: 2 values belong here, not 3");
        refused("pair: [1, x]\n", &format!("1:11: {UNSIGNED}"));
        check(
            "map: {-1: a, 2: b}\n",
            Kinds { map: Some([(-1, "a".into()), (2, "b".into())].into()), ..Kinds::default() },
        );
        refused("map: {x: a}\n", &format!("1:7: {SIGNED}"));
        refused("map:\n  1: [a]\n", &format!("2:6: {ONE}"));
        check("anything: {a: [b, {c: d}]}\nport: 1\n", Kinds { port: Some(1), ..Kinds::default() });
        check("", Kinds::default());
        check("---\n", Kinds::default());
        assert_eq!(parse::<Vec<String>>("# none\n", "x").expect("an empty list"), Vec::<String>::new());
    }

    #[test]
    fn variants() {
        let one = |one| Kinds { one: Some(one), ..Kinds::default() };
        check("one: bare\n", one(One::Bare));
        check("one: {text: a}\n", one(One::Text("a".into())));
        check("one:\n  section: {port: 5}\n", one(One::Section { port: 5 }));
        refused("one: other\n", "1:6: \"other\" is not known here: write bare, text, section");
        refused("one: {bare: 1}\n", &format!("1:7: {ONE}"));
        refused("one: text\n", &format!("1:6: {SECTION}"));
        refused("one: {text: a, bare: 1}\n", "1:6: one key belongs here, with its value");
        refused("one: {section: {}}\n", "1:16: the key `port` is missing here");
    }

    #[test]
    fn an_unknown_key_is_named_at_its_place() {
        let all = "text, switch, small, port, below, number, pair, map, one, inner, anything, letter";
        refused(
            "port: 1\ninner:\n  porte: 1\n",
            &format!("3:3: unknown field `porte`, expected one of {all}"),
        );
    }

    #[test]
    fn a_placed_value_knows_where_it_stands() {
        #[derive(Debug, Deserialize)]
        struct Section {
            list: Vec<Placed<String>>,
            numbers: BTreeMap<String, Placed<u32>>,
            whole: Placed<BTreeMap<String, String>>,
            none: Option<Placed<bool>>,
        }
        let text = "list: [&a x,\n  *a]\nnumbers:\n  n: 5\nwhole:\n  a: b\nnone:\n";
        let section: Section = parse(text, "x").expect("good");
        let at = |line, column| Place { line, column };
        assert_eq!((section.list[0].place, section.list[1].place), (at(1, 11), at(2, 3)));
        assert_eq!((section.list[0].value.as_str(), section.list[1].value.as_str()), ("x", "x"));
        assert_eq!(section.numbers["n"], Placed { place: at(4, 6), value: 5 });
        assert_eq!((section.whole.place, section.whole.value["a"].as_str()), (at(6, 3), "b"));
        assert!(section.none.is_none());
        let error = parse::<Vec<Placed<u32>>>("- 1\n- x\n", "x").expect_err("no number").to_string();
        assert_eq!(error, format!("x:2:3: {UNSIGNED}"));
    }
}
