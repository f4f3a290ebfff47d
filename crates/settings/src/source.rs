//! A settings text that is kept while it is checked, so that a mistake that shows only when values are seen together is named at
//! its line and column, too.

use std::fmt;
use std::path::Path;

use serde::de::{DeserializeOwned, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};
use serde_saphyr::{DuplicateKeyPolicy, Error, Location, Spanned};

use crate::{FILE_BYTES_MAX, SettingsError, without_place};

/// One step from a section to a value in it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    Item(usize),
}

/// Something wrong with a value that was read: where it stands, as keys from the section's beginning, and what would be right.
/// Each section adds its own name on the way out (`under`), so that none knows where it stands itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Innermost step first.
    steps: Vec<Step>,
    why: String,
    /// Whether `why` begins with a place in another file, which goes first then.
    is_elsewhere: bool,
}

impl Mistake {
    /// With the section as a whole.
    pub fn new(why: impl Into<String>) -> Self {
        Self { steps: Vec::new(), why: why.into(), is_elsewhere: false }
    }

    /// In another file that this value names.
    pub fn elsewhere(error: &SettingsError) -> Self {
        Self { is_elsewhere: true, ..Self::new(error.to_string()) }
    }

    /// With the value of a key.
    pub fn at(key: &str, why: impl Into<String>) -> Self {
        Self::new(why).under(key)
    }

    /// Seen from a section that holds this one under a key.
    #[must_use]
    pub fn under(mut self, key: &str) -> Self {
        self.steps.push(Step::Key(key.to_owned()));
        self
    }

    /// Seen from a list that holds this one; items count from 0.
    #[must_use]
    pub fn item(mut self, index: usize) -> Self {
        self.steps.push(Step::Item(index));
        self
    }

    /// What is wrong, without where.
    pub fn why(&self) -> &str {
        &self.why
    }
}

/// `inputs.scrape[0].scrape_timeout: why`.
impl fmt::Display for Mistake {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.steps.iter().rev().enumerate() {
            match step {
                Step::Key(key) if index == 0 => out.write_str(key)?,
                Step::Key(key) => write!(out, ".{key}")?,
                Step::Item(item) => write!(out, "[{item}]")?,
            }
        }
        let colon = if self.steps.is_empty() { "" } else { ": " };
        write!(out, "{colon}{}", self.why)
    }
}

/// A settings text and the name that errors give it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    name: String,
    text: String,
}

impl Source {
    /// A text; `name` stands for the file.
    pub fn new(text: impl Into<String>, name: impl Into<String>) -> Self {
        Self { name: name.into(), text: text.into() }
    }

    /// The content of a file.
    pub fn read(path: &Path) -> Result<Self, SettingsError> {
        let unreadable = |why| SettingsError::Unreadable { path: path.into(), why };
        let bytes = std::fs::metadata(path).map_err(unreadable)?.len();
        if bytes > FILE_BYTES_MAX {
            return Err(SettingsError::TooLarge { path: path.into(), bytes });
        }
        Ok(Self::new(std::fs::read_to_string(path).map_err(unreadable)?, path.display().to_string()))
    }

    /// Reads the text into a struct. An empty text is an empty mapping.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, SettingsError> {
        let read = serde_saphyr::from_str_with_options(&self.text, options(DuplicateKeyPolicy::Error));
        read.map_err(|error| self.invalid(error.location(), self.said(&error)))
    }

    /// A mistake, at the place where the value stands; where it is not written, at the innermost section that is.
    pub fn wrong(&self, mistake: &Mistake) -> SettingsError {
        let place = self.place(&mistake.steps);
        if mistake.is_elsewhere {
            let (line, column) = place.map_or((1, 1), |place| (place.line(), place.column()));
            let by = format!("{}:{line}:{column}", self.name);
            return SettingsError::Elsewhere { why: mistake.why.clone(), by };
        }
        self.invalid(place, mistake.to_string())
    }

    fn invalid(&self, place: Option<Location>, message: String) -> SettingsError {
        SettingsError::Invalid {
            name: self.name.clone(),
            line: place.map_or(1, |place| place.line()),
            column: place.map_or(1, |place| place.column()),
            message,
        }
    }

    /// The reader's words, or ours where they would leave a question.
    fn said(&self, error: &Error) -> String {
        match error.without_snippet() {
            Error::DuplicateMappingKey { key: Some(key), location } => {
                let first = self.tree().and_then(|tree| tree.value.first_of_twins(key, *location));
                let place = first
                    .map(|first| format!(" (first at line {}, column {})", first.line(), first.column()));
                format!("{key:?} stands twice{}: keep one of them", place.unwrap_or_default())
            }
            Error::Unexpected { expected, .. } => match *expected {
                "mapping start" => "a section belongs here: lines `key: value`, or {key: value, …}".into(),
                "sequence start" => "a list belongs here: lines `- …`, or [ … ]".into(),
                "string scalar" => "one value belongs here, no list and no section".into(),
                _ => without_place(&error.to_string()),
            },
            Error::InvalidScalar { ty, .. } if ty.starts_with('u') => {
                "a whole number belongs here, 0 or more, without a unit".into()
            }
            Error::InvalidBooleanStrict { .. } => "write true or false".into(),
            Error::SerdeMissingField { field, .. } => format!("the key `{field}` is missing here"),
            Error::SerdeUnknownVariant { variant, expected, .. } => {
                format!("{variant:?} is not known here: write {}", expected.join(", "))
            }
            _ => without_place(&error.to_string()),
        }
    }

    /// The text as a tree in which every value knows its place.
    fn tree(&self) -> Option<Spanned<Node>> {
        serde_saphyr::from_str_with_options(&self.text, options(DuplicateKeyPolicy::PassThrough)).ok()
    }

    fn place(&self, steps: &[Step]) -> Option<Location> {
        let tree = self.tree()?;
        let mut at = &tree;
        for step in steps.iter().rev() {
            match at.value.child(step) {
                Some(child) => at = child,
                None => break,
            }
        }
        Some(at.referenced)
    }
}

fn options(duplicate_keys: DuplicateKeyPolicy) -> serde_saphyr::Options {
    serde_saphyr::options! {
        with_snippet: false,
        strict_booleans: true,
        duplicate_keys: duplicate_keys,
    }
}

/// A value, as far as finding places needs it.
#[derive(Debug)]
enum Node {
    Map(Vec<(Spanned<String>, Spanned<Node>)>),
    List(Vec<Spanned<Node>>),
    Scalar,
}

impl Node {
    fn child(&self, step: &Step) -> Option<&Spanned<Self>> {
        match (self, step) {
            (Self::Map(entries), Step::Key(wanted)) => {
                entries.iter().find(|(key, _)| key.value == *wanted).map(|(_, value)| value)
            }
            (Self::List(items), Step::Item(index)) => items.get(*index),
            _ => None,
        }
    }

    /// Where the same key stands first in the mapping whose repeated one stands at `second`.
    fn first_of_twins(&self, wanted: &str, second: Location) -> Option<Location> {
        let (entries, items): (&[_], &[_]) = match self {
            Self::Map(entries) => (entries, &[]),
            Self::List(items) => (&[], items),
            Self::Scalar => (&[], &[]),
        };
        let place = |location: Location| (location.line(), location.column());
        let mut twins = entries.iter().filter(|(key, _)| key.value == wanted).map(|(key, _)| key.referenced);
        if twins.clone().any(|twin| place(twin) == place(second)) {
            return twins.next();
        }
        let within = entries.iter().map(|(_, value)| value).chain(items);
        within.into_iter().find_map(|node| node.value.first_of_twins(wanted, second))
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("any value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Node::Map(entries))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Node::Scalar)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_none<E: de::Error>(self) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_i128<E: de::Error>(self, _: i128) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_u128<E: de::Error>(self, _: u128) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<Node, E> {
        Ok(Node::Scalar)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "uplink:\n  token: {env: T}\n  collectors:\n    - \"https://a\"\n    - 'https://b'\ninputs:\n  \
                        scrape:\n    - job_name: a\n      scrape_interval: 5s\n    - {job_name: b, ports: [1, 2.5, -3, ~, true]}\nempty:\n";

    fn check(mistake: Mistake, expected: &str) {
        assert_eq!(Source::new(TEXT, "x").wrong(&mistake).to_string(), expected);
    }

    #[test]
    fn a_mistake_is_placed_at_its_value() {
        check(Mistake::at("token", "no").under("uplink"), "x:2:10: uplink.token: no");
        check(
            Mistake::new("no").item(1).under("collectors").under("uplink"),
            "x:5:7: uplink.collectors[1]: no",
        );
        check(
            Mistake::at("scrape_interval", "no").item(0).under("scrape").under("inputs"),
            "x:9:24: inputs.scrape[0].scrape_interval: no",
        );
        check(
            Mistake::new("no").item(4).under("ports").item(1).under("scrape").under("inputs"),
            "x:10:44: inputs.scrape[1].ports[4]: no",
        );
    }

    #[test]
    fn what_is_not_written_is_placed_at_the_section_that_is() {
        check(Mistake::at("timeout", "no").under("uplink"), "x:2:3: uplink.timeout: no");
        check(Mistake::at("spool", "no"), "x:1:1: spool: no");
        check(Mistake::new("no"), "x:1:1: no");
        let none = Source::new("", "x").wrong(&Mistake::at("uplink", "no")).to_string();
        assert_eq!(none, "x:1:1: uplink: no");
    }

    #[test]
    fn a_mistake_in_another_file_names_both() {
        let other = Source::new("- a\n- b\n", "list.yml").wrong(&Mistake::new("no").item(1));
        check(
            Mistake::elsewhere(&other).item(0).under("collectors").under("uplink"),
            "list.yml:2:3: [1]: no (this file is named at x:4:7)",
        );
    }

    fn check_twins(text: &str, expected: &str) {
        #[derive(Debug, Deserialize)]
        struct Anything {}
        // A struct that ignores what it does not know: only the repeated key is wrong.
        let error = Source::new(text, "x").parse::<Anything>().expect_err("a key stands twice").to_string();
        assert_eq!(error, expected);
    }

    #[derive(Debug, Deserialize)]
    struct Kinds {
        _section: Option<Inner>,
        _list: Option<Vec<u8>>,
        _text: Option<String>,
        _switch: Option<bool>,
        _size: Option<usize>,
        _word: Option<Word>,
    }

    #[derive(Debug, Deserialize)]
    struct Inner {
        _name: String,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Word {
        Http,
        Https,
    }

    #[test]
    fn the_wrong_kind_of_value_is_told_which_one_belongs_there() {
        let check = |text: &str, expected: &str| {
            let error = Source::new(text, "x").parse::<Kinds>().expect_err("the wrong kind").to_string();
            assert!(error.starts_with(&format!("x:1:{expected}")), "{text}: {error}");
        };
        check("_section: 5", "11: a section belongs here");
        check("_section: {}", "11: the key `_name` is missing here");
        check("_list: 5", "8: a list belongs here");
        check("_text: [a]", "8: one value belongs here");
        check("_switch: yes", "10: write true or false");
        for number in ["many", "-1", "1.5", "1MiB"] {
            check(&format!("_size: {number}"), "8: a whole number belongs here, 0 or more, without a unit");
        }
        check("_word: ftp", "8: \"ftp\" is not known here: write http, https");
        let words = Source::new("[http, https]", "x").parse::<Vec<Word>>().expect("both are known");
        assert!(matches!(words[..], [Word::Http, Word::Https]));
        check("hello", "1: a section belongs here");
    }

    #[test]
    fn a_repeated_key_is_named_with_both_places() {
        let twice = |place: &str, first: &str| {
            format!("x:{place}: \"name\" stands twice (first at {first}): keep one of them")
        };
        check_twins("name: a\nb: 1\nname: b\n", &twice("3:1", "line 1, column 1"));
        check_twins("l:\n  - name: a\n  - name: b\n    name: c\n", &twice("4:5", "line 3, column 5"));
        check_twins(
            "name: {name: 1}\nx: {name: 1, y: {name: 2}, name: 3}\n",
            &twice("2:28", "line 2, column 5"),
        );
    }
}
