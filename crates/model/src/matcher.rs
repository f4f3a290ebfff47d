//! Label matchers, as in PromQL selectors.

use std::fmt;

use regex::Regex;

use crate::PatternRoom;

/// How a matcher compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`, anchored at both ends
    Regex,
    /// `!~`, anchored at both ends
    NotRegex,
}

impl MatchOp {
    /// The operator as PromQL writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Regex => "=~",
            Self::NotRegex => "!~",
        }
    }
}

/// One condition on one label. A label that a series lacks has the empty value.
#[derive(Clone, Debug)]
pub struct Matcher {
    name: Box<str>,
    op: MatchOp,
    value: Box<str>,
    regex: Option<Regex>,
}

/// Why a matcher could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the regular expression {pattern:?} of label {name:?}: {reason}")]
pub struct MatcherError {
    /// The label.
    pub name: String,
    /// The pattern as it was given.
    pub pattern: String,
    /// What the regular expression engine says.
    pub reason: String,
}

impl Matcher {
    /// Makes a matcher; fails only on a regular expression that cannot be read or grows too large.
    pub fn new(name: &str, op: MatchOp, value: &str) -> Result<Self, MatcherError> {
        Self::within(&mut PatternRoom::default(), name, op, value)
    }

    /// The same for one of several matchers of a request, whose patterns share the room for what they are compiled to.
    pub fn within(
        room: &mut PatternRoom,
        name: &str,
        op: MatchOp,
        value: &str,
    ) -> Result<Self, MatcherError> {
        let regex = match op {
            MatchOp::Equal | MatchOp::NotEqual => None,
            MatchOp::Regex | MatchOp::NotRegex => Some(anchored(room, name, value)?),
        };
        Ok(Self { name: name.into(), op, value: value.into(), regex })
    }

    /// `name = value`.
    pub fn equal(name: &str, value: &str) -> Self {
        Self { name: name.into(), op: MatchOp::Equal, value: value.into(), regex: None }
    }

    /// The text that a pattern is compiled as, for whoever matches by other engines: anchored, and `.` matches line ends.
    pub fn anchored_pattern(pattern: &str) -> String {
        format!("^(?s:{pattern})$")
    }

    /// The label that is looked at.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it compares.
    pub fn op(&self) -> MatchOp {
        self.op
    }

    /// The text or pattern, as it was given.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Whether a label value satisfies the condition; pass the empty text for a label that is not there.
    pub fn matches(&self, value: &str) -> bool {
        match self.op {
            MatchOp::Equal => value == &*self.value,
            MatchOp::NotEqual => value != &*self.value,
            MatchOp::Regex => self.regex_matches(value),
            MatchOp::NotRegex => !self.regex_matches(value),
        }
    }

    /// Whether a series without the label satisfies the condition.
    pub fn matches_absent(&self) -> bool {
        self.matches("")
    }

    fn regex_matches(&self, value: &str) -> bool {
        self.regex.as_ref().expect("a matcher with a regex operator holds its regex").is_match(value)
    }
}

/// Two matchers are equal if they were written equally.
impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.op, &self.value) == (&other.name, other.op, &other.value)
    }
}

impl Eq for Matcher {}

impl fmt::Display for Matcher {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}{}{:?}", self.name, self.op.as_str(), self.value)
    }
}

fn anchored(room: &mut PatternRoom, name: &str, pattern: &str) -> Result<Regex, MatcherError> {
    // A pattern that closes a group before it opens one (`a)|(b`) would break out of its anchors: it must be one by itself.
    let alone =
        if pattern.contains(')') { PatternRoom::default().compile(pattern).map(drop) } else { Ok(()) };
    let compiled = alone.and_then(|()| room.compile(&Matcher::anchored_pattern(pattern)));
    compiled.map_err(|reason| MatcherError { name: name.into(), pattern: pattern.into(), reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(op: MatchOp, pattern: &str, value: &str, expected: bool) {
        let matcher = Matcher::new("l", op, pattern).expect("the pattern is good");
        assert_eq!(matcher.matches(value), expected, "{matcher} on {value:?}");
    }

    #[test]
    fn compares_as_prometheus_does() {
        check(MatchOp::Equal, "a", "a", true);
        check(MatchOp::NotEqual, "a", "", true);
        check(MatchOp::Regex, "a|b", "ab", false);
        check(MatchOp::Regex, "a.*", "a\nb", true);
        check(MatchOp::NotRegex, ".+", "", true);
    }

    #[test]
    fn a_bad_pattern_names_itself() {
        let error = Matcher::new("job", MatchOp::Regex, "a(").expect_err("unclosed group").to_string();
        assert!(error.contains("\"a(\"") && error.contains("\"job\""), "{error}");
        assert!(Matcher::new("job", MatchOp::Regex, "a)|(b").is_err(), "it would match what only begins so");
    }

    #[test]
    fn a_pattern_that_explodes_is_refused() {
        assert!(Matcher::new("l", MatchOp::Regex, "((a{1000}){1000}){1000}").is_err());
    }
}
