//! How this collector is named outside: the labels by which others tell its data from another's, and the address that links begin with.
//!
//! In: `external_labels` and `external_url` of the settings. Out: [`ExternalLabels`], which are set where data leaves for another
//! system (federation, remote read, alerts) and nowhere else: queries answer without them, as in Prometheus. A label that a series
//! bears already stays as it is.
//!
//! Limits: [`LABELS_MAX`] labels, values of [`VALUE_BYTES_MAX`] bytes, addresses of [`URL_BYTES_MAX`].

use std::collections::BTreeMap;
use std::str::FromStr;

use http::Uri;
use model::{Labels, MatchOp, Matcher};
use serde::de::{self, Deserialize, Deserializer};

/// The most external labels.
const LABELS_MAX: usize = 64;
/// The longest value of one, in bytes.
const VALUE_BYTES_MAX: usize = 4096;
/// The longest external address, in bytes.
const URL_BYTES_MAX: usize = 2048;

/// Labels of everything that leaves this collector for another system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExternalLabels(Labels);

impl ExternalLabels {
    /// The labels.
    pub fn labels(&self) -> &Labels {
        &self.0
    }

    /// A series' labels with those that it lacks.
    pub fn stamp(&self, labels: &Labels) -> Labels {
        if self.0.is_empty() {
            return labels.clone();
        }
        let mut stamped = labels.to_builder();
        for (name, value) in self.0.iter().filter(|(name, _)| labels.get(name).is_none()) {
            stamped.set(name, value);
        }
        stamped.build()
    }

    /// Whether a condition asks for just what [`stamp`](Self::stamp) sets: who reads by it finds series that do not bear the label here.
    pub fn satisfy(&self, matcher: &Matcher) -> bool {
        matcher.op() == MatchOp::Equal && self.0.get(matcher.name()).is_some_and(|own| own == matcher.value())
    }
}

impl<'de> Deserialize<'de> for ExternalLabels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pairs = BTreeMap::<LabelName, LabelValue>::deserialize(deserializer)?;
        if pairs.len() > LABELS_MAX {
            let why = format!("{} labels are more than the {LABELS_MAX} allowed", pairs.len());
            return Err(de::Error::custom(why));
        }
        Ok(Self(Labels::from_pairs(pairs.iter().map(|(name, value)| (&name.0, &value.0)))))
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
#[serde(try_from = "String")]
struct LabelName(String);

impl TryFrom<String> for LabelName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if model::is_label_name(&text) && !text.starts_with("__") {
            return Ok(Self(text));
        }
        Err(format!("{text:?} is no label name: write letters, digits and _, such as cluster"))
    }
}

#[derive(serde::Deserialize)]
#[serde(try_from = "String")]
struct LabelValue(String);

impl TryFrom<String> for LabelValue {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.len() {
            0 => Err("an empty label is none: write a value, or leave the label out".into()),
            1..=VALUE_BYTES_MAX => Ok(Self(text)),
            _ => Err(format!("the value is longer than {VALUE_BYTES_MAX} bytes")),
        }
    }
}

/// The address under which people reach this collector, without a slash at its end.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "String")]
pub struct ExternalUrl(String);

impl ExternalUrl {
    /// The address, without a slash at its end.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The address where none is written: by name and port.
    pub(crate) fn usual(tls: bool, host: &str, port: u16) -> Self {
        let scheme = if tls { "https" } else { "http" };
        Self(format!("{scheme}://{host}:{port}"))
    }
}

impl TryFrom<String> for ExternalUrl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let bad = |why: &str| Err(format!("{text:?} is no address of this collector: {why}"));
        if text.len() > URL_BYTES_MAX {
            return Err(format!("the address is longer than {URL_BYTES_MAX} bytes"));
        }
        const USUAL: &str = "write one such as https://pantau.example.go.id or https://example.go.id/pantau";
        let Ok(uri) = Uri::from_str(&text) else { return bad(USUAL) };
        let Some(authority) = uri.authority() else { return bad(USUAL) };
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return bad(USUAL);
        }
        if authority.as_str().contains('@') {
            return bad("it is shown to everyone who gets an alert and holds a user: write it without");
        }
        if uri.query().is_some() || text.contains('#') {
            return bad("a path is put behind it, so it ends before ? and #");
        }
        Ok(Self(text.trim_end_matches('/').to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels() -> ExternalLabels {
        ExternalLabels(Labels::from_pairs([("cluster", "jateng"), ("region", "33")]))
    }

    #[test]
    fn what_a_series_bears_already_stays() {
        let series = Labels::from_pairs([("__name__", "up"), ("region", "33.19")]);
        let stamped = Labels::from_pairs([("__name__", "up"), ("cluster", "jateng"), ("region", "33.19")]);
        assert_eq!(labels().stamp(&series), stamped);
        assert_eq!(ExternalLabels::default().stamp(&series), series);
    }

    #[test]
    fn only_the_very_label_is_taken_for_ours() {
        let check = |name, op, value, expected| {
            let matcher = Matcher::new(name, op, value).expect("a pattern");
            assert_eq!(labels().satisfy(&matcher), expected, "{matcher}");
        };
        check("cluster", MatchOp::Equal, "jateng", true);
        check("cluster", MatchOp::Equal, "jatim", false);
        check("cluster", MatchOp::Regex, "jateng", false);
        check("job", MatchOp::Equal, "", false);
    }

    #[test]
    fn addresses_are_taken_only_where_a_path_can_follow() {
        let check = |text: &str, expected: Result<&str, &str>| {
            let got = ExternalUrl::try_from(text.to_owned());
            match expected {
                Ok(expected) => assert_eq!(got.expect("good").as_str(), expected),
                Err(part) => assert!(got.expect_err("bad").contains(part), "{text}"),
            }
        };
        check("https://pantau.example.go.id/", Ok("https://pantau.example.go.id"));
        check("http://10.0.0.1:9797/pantau//", Ok("http://10.0.0.1:9797/pantau"));
        check("pantau.example.go.id", Err("is no address of this collector"));
        check("ftp://a", Err("write one such as"));
        check("/pantau", Err("write one such as"));
        check("https://me:secret@a", Err("holds a user"));
        check("https://a/?x", Err("before ? and #"));
    }
}
