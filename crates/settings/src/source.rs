//! A settings text that is kept while it is checked, so that a mistake that shows only when values are seen together is named at
//! its line and column, too.

use std::fmt;
use std::path::Path;

use serde::de::DeserializeOwned;

use crate::tree::{Place, Tree};
use crate::value::Value;
use crate::{FILE_BYTES_MAX, SettingsError};

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

    /// What stands for the file in errors.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reads the text into a struct. An empty text is an empty mapping.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, SettingsError> {
        let tree = self.tree()?;
        T::deserialize(Value::root(&tree)).map_err(|refusal| self.invalid(tree.place(), refusal.0.into()))
    }

    /// A mistake, at the place where the value stands; where it is not written, at the innermost section that is.
    pub fn wrong(&self, mistake: &Mistake) -> SettingsError {
        let place = self.place(&mistake.steps);
        if mistake.is_elsewhere {
            let by = format!("{}:{}:{}", self.name, place.line, place.column);
            return SettingsError::Elsewhere { why: mistake.why.clone(), by };
        }
        self.invalid(place, mistake.to_string())
    }

    fn invalid(&self, place: Place, message: String) -> SettingsError {
        SettingsError::Invalid {
            name: self.name.clone(),
            line: place.line.into(),
            column: place.column.into(),
            message,
        }
    }

    fn tree(&self) -> Result<Tree, SettingsError> {
        Tree::read(&self.text).map_err(|fault| self.invalid(fault.place, fault.why))
    }

    fn place(&self, steps: &[Step]) -> Place {
        // A text that is no tree has been refused by `parse`, with its own place.
        let Ok(tree) = self.tree() else { return Place { line: 1, column: 1 } };
        let mut at = tree.root();
        for step in steps.iter().rev() {
            let child = match step {
                Step::Key(key) => tree.key(at, key),
                Step::Item(item) => tree.item(at, *item),
            };
            match child {
                Some(child) => at = child,
                None => break,
            }
        }
        tree.node(at).place
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

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
