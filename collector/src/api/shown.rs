//! The settings as the API shows them: YAML without comments, with everything hidden that can be a secret.
//!
//! In: any settings text, read without knowledge of its sections, so that a section that is added is shown (and hidden) by the same
//! rules. Out: YAML in blocks. Hidden are: places of secrets (`{file: …}`, `{env: …}`), whatever stands under a key that is named like a
//! secret, parameters and headers of requests, and of addresses the user, the query and, where we notify somebody, the path. What is
//! hidden too much can be read in the file; what is shown too much cannot be taken back.

use std::fmt::{self, Write as _};

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};

/// What stands for a secret.
const HIDDEN: &str = "<hidden>";

/// Parts of keys whose values are hidden.
const SECRET_KEYS: [&str; 7] =
    ["password", "passphrase", "secret", "token", "credential", "community", "api_key"];

/// Keys of mappings whose values go into requests as they stand.
const REQUEST_KEYS: [&str; 3] = ["params", "headers", "http_headers"];

/// The section whose addresses are secrets themselves.
const NOTIFY: &str = "notify";

/// Any value of a settings file.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Shown {
    Nothing,
    Switch(bool),
    /// As it is printed.
    Number(String),
    Text(String),
    List(Vec<Self>),
    /// In the order of the file.
    Section(Vec<(String, Self)>),
}

impl Shown {
    /// YAML in blocks, each line ended.
    pub(super) fn yaml(&self) -> String {
        let mut out = String::new();
        match self.hidden("", false) {
            // A text without settings is a file without lines.
            Self::Nothing => {}
            Self::Section(entries) if entries.is_empty() => {}
            Self::Section(entries) => push_section(&mut out, &entries, 0, 0),
            other => push_value(&mut out, &other, 0),
        }
        out
    }

    /// The value without what must not be shown. `key` is what it stands under; `notifies` says that it is within that section.
    fn hidden(&self, key: &str, notifies: bool) -> Self {
        let lower = key.to_ascii_lowercase();
        if *self != Self::Nothing && SECRET_KEYS.iter().any(|part| lower.contains(part)) {
            return Self::Text(HIDDEN.into());
        }
        if REQUEST_KEYS.contains(&lower.as_str()) {
            return self.hidden_leaves();
        }
        let notifies = notifies || lower == NOTIFY;
        match self {
            Self::Section(entries) if is_secret_place(entries) => Self::Text(HIDDEN.into()),
            Self::Section(entries) => {
                let inner = |(key, value): &(String, Self)| (key.clone(), value.hidden(key, notifies));
                Self::Section(entries.iter().map(inner).collect())
            }
            Self::List(items) => Self::List(items.iter().map(|item| item.hidden("", notifies)).collect()),
            Self::Text(text) => Self::Text(hide_in_address(text, notifies)),
            other => other.clone(),
        }
    }

    fn hidden_leaves(&self) -> Self {
        match self {
            Self::Section(entries) => {
                let inner = |(key, value): &(String, Self)| (key.clone(), value.hidden_leaves());
                Self::Section(entries.iter().map(inner).collect())
            }
            Self::List(items) => Self::List(items.iter().map(Self::hidden_leaves).collect()),
            _ => Self::Text(HIDDEN.into()),
        }
    }
}

/// `{file: …}` or `{env: …}`: where a secret is kept.
fn is_secret_place(entries: &[(String, Shown)]) -> bool {
    matches!(entries, [(key, Shown::Text(_))] if matches!(key.as_str(), "file" | "env"))
}

/// An address without its user, password and query, and without its path where that is asked for; any other text as it is.
fn hide_in_address(text: &str, path_too: bool) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    let authority = match authority.rsplit_once('@') {
        Some((_, host)) => format!("{HIDDEN}@{host}"),
        None => authority.to_owned(),
    };
    let tail = match tail.find(['?', '#']) {
        _ if path_too && tail.len() > 1 => format!("/{HIDDEN}"),
        Some(at) => format!("{}{HIDDEN}", &tail[..=at]),
        None => tail.to_owned(),
    };
    format!("{scheme}://{authority}{tail}")
}

/// A section's entries; the first line is indented by `first`, the others by `indent`.
fn push_section(out: &mut String, entries: &[(String, Shown)], first: usize, indent: usize) {
    for (index, (key, value)) in entries.iter().enumerate() {
        push_spaces(out, if index == 0 { first } else { indent });
        push_text(out, key);
        out.push(':');
        push_behind(out, value, indent);
    }
}

/// What stands behind a key: on its line, or on the lines below.
fn push_behind(out: &mut String, value: &Shown, indent: usize) {
    match value {
        Shown::Section(entries) if !entries.is_empty() => {
            out.push('\n');
            push_section(out, entries, indent + 2, indent + 2);
        }
        Shown::List(items) if !items.is_empty() => {
            out.push('\n');
            push_list(out, items, indent, indent);
        }
        value => {
            out.push(' ');
            push_value(out, value, indent);
        }
    }
}

fn push_list(out: &mut String, items: &[Shown], first: usize, indent: usize) {
    for (index, item) in items.iter().enumerate() {
        push_spaces(out, if index == 0 { first } else { indent });
        out.push_str("- ");
        match item {
            Shown::Section(entries) if !entries.is_empty() => push_section(out, entries, 0, indent + 2),
            value => push_value(out, value, indent + 2),
        }
    }
}

/// A value that begins on the line at hand, and the line's end.
fn push_value(out: &mut String, value: &Shown, indent: usize) {
    match value {
        Shown::Nothing => out.push_str("null"),
        Shown::Switch(value) => write!(out, "{value}").expect("a String takes everything"),
        Shown::Number(text) => out.push_str(text),
        Shown::Text(text) => push_text(out, text),
        Shown::Section(entries) if entries.is_empty() => out.push_str("{}"),
        Shown::List(items) if items.is_empty() => out.push_str("[]"),
        Shown::Section(entries) => return push_section(out, entries, 0, indent),
        Shown::List(items) => return push_list(out, items, 0, indent),
    }
    out.push('\n');
}

fn push_spaces(out: &mut String, count: usize) {
    out.extend(std::iter::repeat_n(' ', count));
}

/// A text: plain where nobody can take it for something else, in double quotes (JSON's are YAML's) otherwise.
fn push_text(out: &mut String, text: &str) {
    let is_plain = text == HIDDEN
        || (text.starts_with(|symbol: char| symbol.is_ascii_alphabetic() || symbol == '/')
            && text.chars().all(|symbol| symbol.is_ascii_alphanumeric() || "_-./".contains(symbol))
            && !matches!(
                text.to_ascii_lowercase().as_str(),
                "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n"
            ));
    if is_plain { out.push_str(text) } else { super::json::push_text(out, text) }
}

impl<'de> Deserialize<'de> for Shown {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any)
    }
}

struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = Shown;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("any value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Shown, E> {
        Ok(Shown::Nothing)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Shown, E> {
        Ok(Shown::Switch(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Shown, E> {
        Ok(Shown::Number(value.to_string()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Shown, E> {
        Ok(Shown::Number(value.to_string()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Shown, E> {
        Ok(Shown::Number(value.to_string()))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Shown, E> {
        Ok(Shown::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Shown, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Shown::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Shown, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Shown::Section(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let shown: Shown = settings::parse(text, "test.yaml").expect("it is YAML");
        let yaml = shown.yaml();
        assert_eq!(yaml, expected);
        let again: Shown = settings::parse(&yaml, "shown.yaml").expect("what is shown is YAML");
        assert_eq!(again.yaml(), yaml, "shown, read and shown again");
    }

    #[test]
    fn sections_and_lists_stand_in_blocks_without_comments() {
        check("", "");
        check(
            "# token: abc\nlisten: 127.0.0.1:9797 # here\nquery: {timeout: 30s, samples_max: 5}\nempty: []\n",
            "listen: \"127.0.0.1:9797\"\nquery:\n  timeout: \"30s\"\n  samples_max: 5\nempty: []\n",
        );
        check(
            "a: [[1, 2], [], {b: ~, c: [x]}, true, -1.5, 'no']\nidentity: {region: '33.10'}\n",
            "a:\n- - 1\n  - 2\n- []\n- b: null\n  c:\n  - x\n- true\n- -1.5\n- \"no\"\nidentity:\n  region: \"33.10\"\n",
        );
    }

    #[test]
    fn secrets_are_hidden_wherever_they_stand() {
        check("token: {file: a.token}\n", "token: <hidden>\n");
        check("x: {env: NAME}\nz: {file: a, b: c}\n", "x: <hidden>\nz:\n  file: a\n  b: c\n");
        check(
            "readers: [{name: a, basic: {user: u, password: p}}]\n",
            "readers:\n- name: a\n  basic:\n    user: u\n    password: <hidden>\n",
        );
        check("auth_token: [a, b]\nCommunity: public\n", "auth_token: <hidden>\nCommunity: <hidden>\n");
        check(
            "params: {key: [a, b]}\nhttp_headers: {X-Key: {values: [v]}}\n",
            "params:\n  key:\n  - <hidden>\n  - <hidden>\nhttp_headers:\n  X-Key:\n    values:\n    - <hidden>\n",
        );
    }

    #[test]
    fn addresses_are_shown_without_what_opens_doors() {
        check("url: http://u:p@host:1/a?b=c#d\n", "url: \"http://<hidden>@host:1/a?<hidden>\"\n");
        check("url: http://host/a/b\n", "url: \"http://host/a/b\"\n");
        check(
            "notify: {webhook: [{url: 'https://h/T0/B0/x'}]}\n",
            "notify:\n  webhook:\n  - url: \"https://h/<hidden>\"\n",
        );
        check("notify: {webhook: [{url: 'https://h/'}]}\n", "notify:\n  webhook:\n  - url: \"https://h/\"\n");
    }
}
