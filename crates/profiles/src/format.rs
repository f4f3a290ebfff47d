//! A profile file as it is written: plain structs, unknown keys refused, places kept for later errors. What the words mean is known
//! in `compile`; `docs/operating/profiles.md` explains them to people.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use settings::{Place, Placed};

/// A text with its place.
pub(crate) type Text = Placed<String>;

/// A whole file.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    pub(crate) profile: Text,
    #[serde(default)]
    pub(crate) title: String,
    #[serde(default, rename = "match")]
    pub(crate) rules: Vec<Rule>,
    #[serde(default)]
    pub(crate) extends: Vec<Text>,
    #[serde(default)]
    pub(crate) without: Vec<Text>,
    #[serde(default)]
    pub(crate) help: Pairs<Text>,
    #[serde(default)]
    pub(crate) enums: Pairs<Pairs<Names>>,
    #[serde(default)]
    pub(crate) scalars: Vec<Table>,
    #[serde(default)]
    pub(crate) tables: Vec<Table>,
    #[serde(default)]
    pub(crate) tests: Vec<Trial>,
}

/// One way to recognise a device; all that is given must hold.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    #[serde(default)]
    pub(crate) sys_object_id: Option<Text>,
    #[serde(default)]
    pub(crate) sys_descr: Option<Text>,
    #[serde(default)]
    pub(crate) probe: Option<Text>,
    #[serde(default)]
    pub(crate) any: Option<Placed<bool>>,
}

/// A table, or a group of scalars.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Table {
    pub(crate) name: Text,
    pub(crate) entry: Text,
    #[serde(default)]
    pub(crate) class: Option<Text>,
    #[serde(default)]
    pub(crate) budget: Option<Budget>,
    #[serde(default)]
    pub(crate) unordered: bool,
    #[serde(default)]
    pub(crate) index: Pairs<Part>,
    #[serde(default)]
    pub(crate) columns: Pairs<Column>,
    #[serde(default)]
    pub(crate) joins: Pairs<Join>,
    #[serde(default)]
    pub(crate) texts: Pairs<Derived>,
    #[serde(default)]
    pub(crate) identity: Option<Identity>,
    #[serde(default)]
    pub(crate) labels: Pairs<Text>,
    #[serde(default)]
    pub(crate) when: Vec<Condition>,
    #[serde(default)]
    pub(crate) alert_when: Vec<Condition>,
    #[serde(default)]
    pub(crate) encodings: Pairs<Vec<Case>>,
    #[serde(default)]
    pub(crate) metrics: Vec<Metric>,
}

/// The floor that nothing breaks.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Budget {
    #[serde(default)]
    pub(crate) every: Option<settings::Span>,
    #[serde(default)]
    pub(crate) rows: Option<Placed<u32>>,
    #[serde(default)]
    pub(crate) repetitions: Option<Placed<u32>>,
}

/// A part of the index: one arc, bits of one, or a run of arcs.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Part {
    #[serde(default)]
    pub(crate) at: Option<Placed<i32>>,
    #[serde(default)]
    pub(crate) bits: Option<Placed<[u32; 2]>>,
    #[serde(default)]
    pub(crate) from: Option<Placed<i32>>,
    #[serde(default)]
    pub(crate) len: Option<Placed<u32>>,
    #[serde(default, rename = "as")]
    pub(crate) form: Option<Text>,
}

/// A column; `name: 8` is short for `name: {arc: 8}`.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ColumnBody {
    pub(crate) arc: Text,
    #[serde(default)]
    pub(crate) parse: Option<Text>,
    #[serde(default)]
    pub(crate) pattern: Option<Text>,
    #[serde(default)]
    pub(crate) subtype: Option<Text>,
    #[serde(default)]
    pub(crate) nulls: Vec<Text>,
    #[serde(default, rename = "enum")]
    pub(crate) names: Option<Text>,
}

#[derive(Debug)]
pub(crate) struct Column(pub(crate) ColumnBody);

/// A row of another table.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Join {
    pub(crate) table: Text,
    #[serde(default)]
    pub(crate) index: Option<Vec<Text>>,
    #[serde(default)]
    pub(crate) column: Option<Text>,
    #[serde(default)]
    pub(crate) equals: Option<Text>,
}

/// A text made from others: the first that is not empty, or what a pattern takes out of it (and a format puts around that), or all of
/// those that are not empty, glued together.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Derived {
    pub(crate) from: Text,
    #[serde(default)]
    pub(crate) pattern: Option<Text>,
    #[serde(default)]
    pub(crate) format: Option<Text>,
    #[serde(default)]
    pub(crate) glue: Option<Text>,
}

/// What an index label keeps although the device renumbers.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Identity {
    pub(crate) index: Text,
    pub(crate) key: Text,
    #[serde(default)]
    pub(crate) shown: Option<Text>,
}

/// All that is given must hold.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Condition {
    #[serde(default)]
    pub(crate) of: Option<Text>,
    #[serde(default, rename = "as")]
    pub(crate) unit: Option<Text>,
    #[serde(default)]
    pub(crate) is: Option<Vec<f64>>,
    #[serde(default)]
    pub(crate) is_not: Option<Vec<f64>>,
    #[serde(default)]
    pub(crate) at_least: Option<f64>,
    #[serde(default)]
    pub(crate) at_most: Option<f64>,
    #[serde(default)]
    pub(crate) near: Option<Text>,
    #[serde(default)]
    pub(crate) near_as: Option<Text>,
    #[serde(default)]
    pub(crate) within: Option<f64>,
    #[serde(default)]
    pub(crate) between: Option<[Text; 2]>,
    #[serde(default)]
    pub(crate) between_as: Option<Text>,
    #[serde(default)]
    pub(crate) margin: Option<f64>,
    #[serde(default)]
    pub(crate) known: Option<bool>,
    #[serde(default)]
    pub(crate) matches: Option<Text>,
    #[serde(default)]
    pub(crate) matches_not: Option<Text>,
    #[serde(default)]
    pub(crate) any: Option<Vec<Vec<Condition>>>,
}

/// One way in which a row may be encoded.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    pub(crate) name: Text,
    pub(crate) when: Vec<Condition>,
    pub(crate) units: Pairs<Text>,
    #[serde(default)]
    pub(crate) nulls: Pairs<Vec<f64>>,
    #[serde(default)]
    pub(crate) dark: Pairs<Vec<f64>>,
}

/// What is made of a row.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Metric {
    pub(crate) name: Text,
    #[serde(default)]
    pub(crate) kind: Option<Text>,
    #[serde(default)]
    pub(crate) help: Option<Text>,
    #[serde(default)]
    pub(crate) value: Option<Text>,
    #[serde(default)]
    pub(crate) from: Option<Text>,
    #[serde(default)]
    pub(crate) encoding: Option<Text>,
    #[serde(default)]
    pub(crate) unit: Option<Text>,
    #[serde(default)]
    pub(crate) to: Option<Text>,
    #[serde(default)]
    pub(crate) scale: Option<Scale>,
    #[serde(default)]
    pub(crate) times: Option<Text>,
    #[serde(default)]
    pub(crate) plus: Option<Text>,
    #[serde(default)]
    pub(crate) floor: Option<f64>,
    #[serde(default)]
    pub(crate) bounds: Option<[f64; 2]>,
    #[serde(default)]
    pub(crate) above: Option<f64>,
    #[serde(default)]
    pub(crate) is: Option<Vec<f64>>,
    #[serde(default)]
    pub(crate) holds: Option<Vec<Condition>>,
    #[serde(default)]
    pub(crate) when: Vec<Condition>,
    #[serde(default)]
    pub(crate) set: Pairs<Text>,
    #[serde(default)]
    pub(crate) labels: Pairs<Text>,
}

/// A power of ten from sibling columns.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scale {
    #[serde(default)]
    pub(crate) by: Option<Text>,
    #[serde(default)]
    pub(crate) exponents: BTreeMap<i64, i32>,
    #[serde(default)]
    pub(crate) digits: Option<Text>,
}

/// A recording and what it must give.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Trial {
    pub(crate) name: Text,
    pub(crate) recording: Text,
    #[serde(default)]
    pub(crate) expect: Vec<Text>,
    #[serde(default)]
    pub(crate) refused: Pairs<u64>,
    #[serde(default)]
    pub(crate) absent: Vec<Text>,
}

/// A mapping in the order of the file.
#[derive(Debug)]
pub(crate) struct Pairs<T>(pub(crate) Vec<(Text, T)>);

impl<T> Default for Pairs<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Clone> Clone for Pairs<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Pairs<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for InOrder<T> {
            type Value = Pairs<T>;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a mapping")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(InOrder(PhantomData))
    }
}

/// A name, or several for consecutive numbers.
#[derive(Clone, Debug)]
pub(crate) struct Names(pub(crate) Vec<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMore;
        impl<'de> Visitor<'de> for OneOrMore {
            type Value = Names;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a name, or a list of names for consecutive numbers")
            }
            fn visit_str<E: de::Error>(self, name: &str) -> Result<Names, E> {
                Ok(Names(vec![name.to_owned()]))
            }
            fn visit_bool<E: de::Error>(self, _: bool) -> Result<Names, E> {
                Err(E::custom("true and false are no names here: put quotes around them"))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Names, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = list.next_element()? {
                    names.push(name);
                }
                Ok(Names(names))
            }
        }
        deserializer.deserialize_any(OneOrMore)
    }
}

impl<'de> Deserialize<'de> for Column {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        fn short(arc: String) -> Column {
            let arc = Placed { place: Place::default(), value: arc };
            Column(ColumnBody {
                arc,
                parse: None,
                pattern: None,
                subtype: None,
                nulls: Vec::new(),
                names: None,
            })
        }
        impl<'de> Visitor<'de> for Either {
            type Value = Column;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("the column's number, or {arc: NUMBER, …}")
            }
            fn visit_u64<E: de::Error>(self, arc: u64) -> Result<Column, E> {
                Ok(short(arc.to_string()))
            }
            fn visit_i64<E: de::Error>(self, arc: i64) -> Result<Column, E> {
                Ok(short(arc.to_string()))
            }
            fn visit_str<E: de::Error>(self, arc: &str) -> Result<Column, E> {
                Ok(short(arc.to_owned()))
            }
            fn visit_f64<E: de::Error>(self, arc: f64) -> Result<Column, E> {
                Err(E::custom(format_args!("put quotes around a column of several numbers: \"{arc}\"")))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Column, A::Error> {
                ColumnBody::deserialize(MapAccessDeserializer::new(map)).map(Column)
            }
        }
        deserializer.deserialize_any(Either)
    }
}
