//! Secrets: named in settings, kept elsewhere.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};

/// Where a secret is kept: `{file: /etc/pantau/token}` or `{env: PANTAU_TOKEN}`. Never the secret itself, so that settings can
/// be shown, copied and kept in git.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Secret {
    /// A file whose content, without trailing line breaks, is the secret. Relative paths start at the settings file.
    File(PathBuf),
    /// An environment variable.
    Env(String),
}

/// Why a secret could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read.
    #[error("cannot read the secret in {path}: {why}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        why: std::io::Error,
    },
    /// The environment variable is not set or not UTF-8.
    #[error("cannot read the secret in the environment variable {0}: it is not set")]
    NotSet(String),
    /// There is nothing but line breaks.
    #[error("the secret in {0} is empty: write it there")]
    Empty(String),
    /// The secret is longer than a secret can be.
    #[error("the secret in {0} is longer than {max} bytes: is this the right file?", max = SecretText::BYTES_MAX)]
    TooLong(String),
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Place)
    }
}

/// Whatever stands there instead of `{file: …}` or `{env: …}` may be the secret itself, so no error repeats it.
struct Place;

fn hint<E: de::Error>() -> E {
    E::custom("a secret does not stand in the settings: write {file: PATH} or {env: NAME}")
}

impl<'de> Visitor<'de> for Place {
    type Value = Secret;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("{file: PATH} or {env: NAME}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Secret, A::Error> {
        let mut found = None;
        while let Some((key, place)) = map.next_entry::<String, String>()? {
            let secret = match key.as_str() {
                "file" => Secret::File(place.into()),
                "env" => Secret::Env(place),
                _ => return Err(hint()),
            };
            if found.replace(secret).is_some() {
                return Err(hint());
            }
        }
        found.ok_or_else(hint)
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<Secret, E> {
        Err(hint())
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Secret, E> {
        Err(hint())
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Secret, E> {
        Err(hint())
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Secret, E> {
        Err(hint())
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Secret, E> {
        Err(hint())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Secret, A::Error> {
        Err(hint())
    }
}

impl Secret {
    /// Reads the secret now; `base` is the folder of the settings file.
    pub fn read(&self, base: &Path) -> Result<SecretText, SecretError> {
        let (text, place) = match self {
            Self::File(path) => {
                let path = base.join(path);
                let unreadable = |why| SecretError::Unreadable { path: path.clone(), why };
                (std::fs::read_to_string(&path).map_err(unreadable)?, path.display().to_string())
            }
            Self::Env(name) => {
                (std::env::var(name).map_err(|_| SecretError::NotSet(name.clone()))?, format!("${name}"))
            }
        };
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() {
            return Err(SecretError::Empty(place));
        }
        if text.len() > SecretText::BYTES_MAX {
            return Err(SecretError::TooLong(place));
        }
        Ok(SecretText(text.into()))
    }
}

/// A secret in memory; prints as `<hidden>`.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(Box<str>);

impl SecretText {
    /// The longest secret, in bytes.
    pub const BYTES_MAX: usize = 64 << 10;

    /// Wraps a text that must not be printed.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The secret itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("<hidden>")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_comes_from_a_file_without_its_line_break_and_never_prints() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("token"), "s3cret\n").expect("written");
        let secret: Secret = crate::parse("file: token\n", "x").expect("a secret");
        let text = secret.read(folder.path()).expect("readable");
        assert_eq!(text.expose(), "s3cret");
        assert_eq!(format!("{text:?}"), "<hidden>");
    }

    #[test]
    fn a_literal_secret_is_refused_at_its_place_and_not_repeated() {
        #[derive(Debug, Deserialize)]
        struct Section {
            _token: Option<Secret>,
        }
        for text in [
            "hunter2",
            "{text: hunter2}",
            "{hunter2: x}",
            "[hunter2]",
            "{file: a, env: hunter2}",
            "!hunter2 x",
        ] {
            let text = format!("a: 1\n_token: {text}\n");
            let error = crate::parse::<Section>(&text, "x").expect_err("a literal").to_string();
            assert!(!error.contains("hunter2"), "{error}");
            assert!(error.starts_with("x:2:"), "{error}");
            assert!(error.contains("{file: PATH} or {env: NAME}"), "{error}");
        }
    }

    #[test]
    fn an_empty_file_holds_no_secret() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("token"), "\n").expect("written");
        let error = Secret::File("token".into()).read(folder.path()).expect_err("nothing in it").to_string();
        assert!(error.ends_with("/token is empty: write it there"), "{error}");
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = Secret::Env("PANTAU_TEST_NOT_SET".into()).read(Path::new("")).expect_err("not set");
        assert!(error.to_string().contains("PANTAU_TEST_NOT_SET"), "{error}");
    }
}
