//! Reads settings: strict YAML into plain structs, with errors that name file, line and column.
//!
//! In: text or a path. Out: the caller's own struct, one per section beside the code it configures (every struct bears
//! `#[serde(deny_unknown_fields)]`; duplicate keys are refused here). Values that need a unit have a type that reads it
//! ([`Span`], [`Bytes`]), so that a bad value is reported at its own place; what shows only when values are seen together is a
//! [`Mistake`], which a [`Source`] places; a [`Placed`] value knows its place itself. [`Secret`]s come from files or the
//! environment and print as `<hidden>`.
//!
//! The text is read once into a flat tree (`tree`) and all structs from that (`value`): a reader that meets the structs directly
//! is compiled again for each of them, which was a tenth of the agent's program.
//!
//! Deliberately not here: merging of files, templating, defaults (they stand at the fields), reloading.
//!
//! Limits: a text holds at most [`FILE_BYTES_MAX`] bytes, [`VALUES_MAX`] values, [`TEXT_BYTES_MAX`] bytes of their texts and
//! [`DEPTH_MAX`] sections within each other, what aliases repeat counted each time.

#[cfg(feature = "golden")]
pub mod golden;
mod scalar;
mod secret;
mod source;
mod tree;
mod units;
mod value;

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

pub use secret::{Secret, SecretError, SecretText};
pub use source::{Mistake, Source};
pub use tree::{DEPTH_MAX, Place, TEXT_BYTES_MAX, VALUES_MAX};
pub use units::{Bytes, Span, UnitError};
pub use value::Placed;

/// The largest settings file, in bytes.
pub const FILE_BYTES_MAX: u64 = 4 << 20;

/// Why settings could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("cannot read {path}: {why}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        why: std::io::Error,
    },
    /// The file is larger than [`FILE_BYTES_MAX`].
    #[error("cannot read {path}: it holds {bytes} bytes, more than the {max} that settings may have", path = path.display(), max = FILE_BYTES_MAX)]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// The text is no such settings. Lines and columns count from 1.
    #[error("{name}:{line}:{column}: {message}")]
    Invalid {
        /// The file, or what stands for it.
        name: String,
        /// Line of the offending place.
        line: u64,
        /// Column of the offending place.
        column: u64,
        /// What is wrong and what would be right.
        message: String,
    },
    /// Another file, which settings name, is wrong.
    #[error("{why} (this file is named at {by})")]
    Elsewhere {
        /// Where in that file, and what.
        why: String,
        /// Where it is named.
        by: String,
    },
}

/// Reads a file into a struct.
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<T, SettingsError> {
    Source::read(path)?.parse()
}

/// Reads text into a struct; `name` stands for the file in errors. An empty text is an empty mapping.
pub fn parse<T: DeserializeOwned>(text: &str, name: &str) -> Result<T, SettingsError> {
    Source::new(text, name).parse()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Section {
        #[serde(default)]
        name: Option<String>,
        #[serde(default)]
        every: Option<Span>,
        #[serde(default)]
        size: Option<Bytes>,
        #[serde(default)]
        region: Option<model::RegionCode>,
        #[serde(default)]
        on: bool,
        #[serde(default)]
        labels: BTreeMap<String, String>,
    }

    fn check(text: &str, expected: &str) {
        let error = parse::<Section>(text, "pantau.yaml").expect_err("the text is wrong").to_string();
        assert!(error.starts_with(expected), "{error:?} should start with {expected:?}");
    }

    #[test]
    fn reads_units_where_they_stand() {
        let section: Section = parse("every: 1m30s\nsize: 64MiB\n", "x").expect("good settings");
        assert_eq!(section.every.map(Span::get), Some(std::time::Duration::from_secs(90)));
        assert_eq!(section.size.map(Bytes::get), Some(64 << 20));
    }

    #[test]
    fn an_empty_file_is_all_defaults() {
        assert!(parse::<Section>("# nothing\n", "x").is_ok());
    }

    #[test]
    fn every_mistake_is_reported_at_its_place() {
        check("nome: a\n", "pantau.yaml:1:1: ");
        check("name: a\nevery: soon\n", "pantau.yaml:2:8: ");
        check("name: a\nsize: 10 potatoes\n", "pantau.yaml:2:7: ");
        check("name: a\nname: b\n", "pantau.yaml:2:1: ");
        check("on: maybe\n", "pantau.yaml:1:5: ");
        check("name: [\n", "pantau.yaml:");
    }

    #[test]
    fn a_region_code_is_text_and_keeps_its_zero() {
        let section: Section = parse("region: \"33.10\"\n", "x").expect("quoted");
        assert_eq!(section.region.expect("given").as_str(), "33.10");
        let section: Section =
            parse("region: 33.10\n", "x").expect("a plain scalar is text where text is asked for");
        assert_eq!(section.region.expect("given").as_str(), "33.10");
        check("on: true\nregion: 33.1\n", "pantau.yaml:2:9: ");
    }

    #[test]
    fn a_file_that_is_not_there_says_so() {
        let error = load::<Section>(Path::new("/nowhere/pantau.yaml")).expect_err("no file").to_string();
        assert!(error.starts_with("cannot read /nowhere/pantau.yaml: "), "{error}");
    }
}
