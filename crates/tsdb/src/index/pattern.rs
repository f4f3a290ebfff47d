//! What a matcher asks of a dictionary of values: a few values, a prefix, whatever an automaton accepts, or to try each.
//!
//! A pattern's automaton is made of the very text that [`Matcher`] compiles, so that both say the same; one that would grow too
//! large (2 MiB) is not made, and each value is asked instead.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::Range;

use model::{MatchOp, Matcher};
use regex_automata::dfa::{Automaton as _, StartKind, dense};
use regex_automata::nfa::thompson;
use regex_automata::util::primitives::StateID;
use regex_automata::util::start;
use regex_automata::{Anchored, MatchKind};

/// Bytes that an automaton may take.
const AUTOMATON_BYTES_MAX: usize = 2 << 20;

/// Which values of a label a matcher's text accepts, be it negated or not.
#[derive(Debug)]
pub(crate) enum Accept {
    /// These, sorted.
    Values(Vec<String>),
    /// All that begin with the text; the text itself too, if so said.
    Prefix(String, bool),
    Automaton(Box<Automaton>),
    /// The matcher must be asked for each.
    Each,
}

/// A matcher, ready to be looked up in many dictionaries.
#[derive(Debug)]
pub(crate) struct Condition<'m> {
    pub(crate) matcher: &'m Matcher,
    /// What its text accepts.
    pub(crate) accept: Accept,
    /// Whether it wants what its text does not accept.
    pub(crate) negated: bool,
    /// Whether series without the label satisfy it: then it takes series away and brings none.
    pub(crate) absent: bool,
}

impl<'m> Condition<'m> {
    pub(crate) fn new(matcher: &'m Matcher) -> Self {
        let (accept, negated) = match matcher.op() {
            MatchOp::Equal => (Accept::one(matcher.value()), false),
            MatchOp::NotEqual => (Accept::one(matcher.value()), true),
            MatchOp::Regex => (Accept::pattern(matcher.value()), false),
            MatchOp::NotRegex => (Accept::pattern(matcher.value()), true),
        };
        Self { matcher, accept, negated, absent: matcher.matches_absent() }
    }

    /// All of a question's conditions, the cheap ones that bring few series first.
    pub(crate) fn all(matchers: &'m [Matcher]) -> Vec<Self> {
        let mut all: Vec<_> = matchers.iter().map(Self::new).collect();
        all.sort_by_key(|condition| (condition.absent, condition.accept.weight()));
        all
    }

    /// Whether what its text accepts is wanted or, for one that takes series away, not wanted.
    pub(crate) fn takes_accepted(&self) -> bool {
        self.negated == self.absent
    }
}

impl Accept {
    fn one(value: &str) -> Self {
        Self::Values(if value.is_empty() { Vec::new() } else { vec![value.to_owned()] })
    }

    fn pattern(pattern: &str) -> Self {
        simple(pattern)
            .or_else(|| Some(Self::Automaton(Box::new(Automaton::new(pattern)?))))
            .unwrap_or(Self::Each)
    }

    fn weight(&self) -> usize {
        match self {
            Self::Values(values) => values.len(),
            Self::Prefix(prefix, _) if !prefix.is_empty() => 1 << 40,
            Self::Automaton(_) => 1 << 41,
            Self::Prefix(..) | Self::Each => 1 << 42,
        }
    }
}

/// Reads alternations of literals, and a literal with `.*` or `.+` behind it; anything else is for the automaton.
fn simple(pattern: &str) -> Option<Accept> {
    let inner = pattern.strip_prefix("(?:").or_else(|| pattern.strip_prefix('('));
    let body = match inner {
        Some(inner) => inner.strip_suffix(')').filter(|inner| !inner.ends_with('\\'))?,
        None => pattern,
    };
    let (mut values, mut value) = (BTreeSet::new(), String::new());
    let mut chars = body.chars();
    while let Some(char) = chars.next() {
        match char {
            '|' => {
                values.insert(std::mem::take(&mut value));
            }
            // `\<` and `\>` are no characters but places between words.
            '\\' => {
                value.push(chars.next().filter(|char| char.is_ascii_punctuation() && !"<>".contains(*char))?)
            }
            '.' if values.is_empty() && matches!(chars.as_str(), "*" | "+") => {
                return Some(Accept::Prefix(value, chars.as_str() == "*"));
            }
            '.' | '*' | '+' | '?' | '(' | ')' | '[' | ']' | '{' | '}' | '^' | '$' => return None,
            char => value.push(char),
        }
    }
    values.insert(value);
    values.remove("");
    Some(Accept::Values(values.into_iter().collect()))
}

/// A regular expression as a table of states.
#[derive(Debug)]
pub(crate) struct Automaton {
    dfa: dense::DFA<Vec<u32>>,
    start: StateID,
    /// By state: 0 unknown, 1 no, 2 yes.
    all_after: RefCell<Vec<u8>>,
}

/// A state, and how many bytes the present character still lacks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct State {
    id: StateID,
    lacks: u8,
}

/// The ranges of bytes of which characters of two and more bytes are made.
const CHARACTERS: [&[Range<u16>]; 8] = [
    &[0xc2..0xe0, 0x80..0xc0],
    &[0xe0..0xe1, 0xa0..0xc0, 0x80..0xc0],
    &[0xe1..0xed, 0x80..0xc0, 0x80..0xc0],
    &[0xed..0xee, 0x80..0xa0, 0x80..0xc0],
    &[0xee..0xf0, 0x80..0xc0, 0x80..0xc0],
    &[0xf0..0xf1, 0x90..0xc0, 0x80..0xc0, 0x80..0xc0],
    &[0xf1..0xf4, 0x80..0xc0, 0x80..0xc0, 0x80..0xc0],
    &[0xf4..0xf5, 0x80..0x90, 0x80..0xc0, 0x80..0xc0],
];

impl Automaton {
    /// `None` where it would grow too large or needs what a table of states cannot do.
    fn new(pattern: &str) -> Option<Self> {
        let config = dense::Config::new()
            .start_kind(StartKind::Anchored)
            .match_kind(MatchKind::All)
            .accelerate(false)
            .dfa_size_limit(Some(AUTOMATON_BYTES_MAX))
            .determinize_size_limit(Some(2 * AUTOMATON_BYTES_MAX));
        let dfa = dense::Builder::new()
            .configure(config)
            .thompson(thompson::Config::new().nfa_size_limit(Some(AUTOMATON_BYTES_MAX)))
            .build(&Matcher::anchored_pattern(pattern))
            .ok()?;
        let start = dfa.start_state(&start::Config::new().anchored(Anchored::Yes)).ok()?;
        Some(Self { dfa, start, all_after: RefCell::default() })
    }

    /// Where every value begins; `None` where nothing is accepted.
    pub(crate) fn start(&self) -> Option<State> {
        (!self.dfa.is_dead_state(self.start)).then_some(State { id: self.start, lacks: 0 })
    }

    /// The state behind a byte; `None` where nothing can be accepted any more.
    #[inline]
    pub(crate) fn next(&self, state: State, byte: u8) -> Option<State> {
        let id = self.dfa.next_state(state.id, byte);
        let lacks = match (state.lacks, byte) {
            (0, ..0xc0) => 0,
            (0, ..0xe0) => 1,
            (0, ..0xf0) => 2,
            (0, _) => 3,
            (lacks, _) => lacks - 1,
        };
        (!self.dfa.is_dead_state(id)).then_some(State { id, lacks })
    }

    /// Whether a value that ends here is accepted.
    #[inline]
    pub(crate) fn accepts(&self, state: State) -> bool {
        self.dfa.is_match_state(self.dfa.next_eoi_state(state.id))
    }

    /// Whether this text and all that begin with it are accepted.
    #[inline]
    pub(crate) fn accepts_all_after(&self, state: State) -> bool {
        if state.lacks > 0 {
            return false;
        }
        let index = state.id.as_usize() >> self.dfa.stride2();
        let mut known = self.all_after.borrow_mut();
        if known.len() <= index {
            known.resize(index + 1, 0);
        }
        if known[index] == 0 {
            known[index] = if self.returns_always(state.id) { 2 } else { 1 };
        }
        known[index] == 2
    }

    /// Whether each character leads from a state back to it, and it accepts.
    fn returns_always(&self, state: StateID) -> bool {
        let returns = |byte: u16, from: StateID| self.dfa.next_state(from, byte as u8) == state;
        self.accepts(State { id: state, lacks: 0 })
            && (0..0x80).all(|byte| returns(byte, state))
            && CHARACTERS.iter().all(|bytes| {
                let (last, first) = bytes.split_last().expect("no character is without bytes");
                let mut reached = BTreeSet::from([state]);
                for range in first {
                    let next = reached
                        .iter()
                        .flat_map(|from| range.clone().map(|byte| self.dfa.next_state(*from, byte as u8)));
                    reached = next.collect();
                }
                reached.iter().all(|from| last.clone().all(|byte| returns(byte, *from)))
            })
    }
}

/// The ranges of ordinals below a bound that are not among these, which ascend.
pub(crate) fn complement(ranges: &[Range<u32>], end: u32) -> Vec<Range<u32>> {
    let mut others = Vec::with_capacity(ranges.len() + 1);
    let mut from = 0;
    for range in ranges {
        if from < range.start {
            others.push(from..range.start);
        }
        from = from.max(range.end);
    }
    if from < end {
        others.push(from..end);
    }
    others
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Patterns of every kind, for the tests of whoever looks them up.
    pub(crate) const PATTERNS: [&str; 32] = [
        "x",
        "y|z",
        "x.*",
        "x.+",
        ".*",
        ".+",
        "",
        "x|",
        "(x|y)",
        "(?:xy|yx)",
        "x\\.y",
        "(x)(y)?",
        "[xy]+",
        "x{2}",
        ".*y",
        ".*x.*",
        "x.*z",
        "(?i)X.*",
        "[^x].*",
        "x.?",
        "é.*",
        ".",
        "..",
        "x\\|y",
        "(x|y",
        "\\bx.*",
        "\\w+",
        "^x$|y",
        "x$",
        "x.*|y.*",
        "(x|y).*",
        "(x.*|yy)",
    ];

    fn check(pattern: &str, expected: Option<(&[&str], &str)>) {
        match (simple(pattern), expected) {
            (Some(Accept::Values(values)), Some((expected, ""))) => assert_eq!(values, expected, "{pattern}"),
            (Some(Accept::Prefix(prefix, itself)), Some((expected, kind))) => {
                assert_eq!((vec![prefix.as_str()], itself), (expected.to_vec(), kind == "*"), "{pattern}");
            }
            (None, None) => {}
            (other, _) => panic!("{pattern}: {other:?}"),
        }
    }

    #[test]
    fn literals_and_prefixes_need_no_automaton() {
        check("a|b\\.c|a", Some((&["a", "b.c"], "")));
        check("(b|a)", Some((&["a", "b"], "")));
        check("node-0.*", Some((&["node-0"], "*")));
        check("(?:node-0.+)", Some((&["node-0"], "+")));
        check("a|", Some((&["a"], "")));
        for pattern in ["a.b", "(a)|(b)", "a\\d", "a|b.*", "a\\<", "(a\\)", "[a]", "^a", "(a|b)c", "(?i)a"] {
            check(pattern, None);
        }
    }

    fn accepts(automaton: &Automaton, value: &str) -> bool {
        let mut state = automaton.start();
        for byte in value.bytes() {
            let Some(at) = state else { return false };
            if automaton.accepts_all_after(at) {
                return true;
            }
            state = automaton.next(at, byte);
        }
        state.is_some_and(|state| automaton.accepts(state))
    }

    #[test]
    fn what_accepts_anything_is_seen() {
        for (pattern, text, expected) in [
            ("a.*", "a", true),
            ("a.+", "a", false),
            ("a.+", "ab", true),
            ("a.*|b", "a", true),
            ("(?-s:a.*)", "a", false),
        ] {
            let automaton = Automaton::new(pattern).expect("small");
            let state = text.bytes().fold(automaton.start(), |state, byte| automaton.next(state?, byte));
            assert_eq!(automaton.accepts_all_after(state.expect("alive")), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn an_automaton_that_explodes_is_not_made() {
        assert!(Automaton::new("[01]*1[01]{20}").is_none());
        assert!(Automaton::new("\\bx").is_none(), "words of all scripts are no table of states");
    }

    proptest! {
        #[test]
        fn an_automaton_says_what_the_matcher_says(
            pattern in proptest::sample::select(PATTERNS.to_vec()),
            value in "[xyzXé.|\n]{0,5}",
        ) {
            let Ok(matcher) = Matcher::new("l", MatchOp::Regex, pattern) else { return Ok(()) };
            if let Some(automaton) = Automaton::new(pattern) {
                prop_assert_eq!(accepts(&automaton, &value), matcher.matches(&value), "{}", pattern);
            }
            let said = match simple(pattern) {
                Some(Accept::Values(values)) => values.contains(&value) || value.is_empty() && matcher.matches_absent(),
                Some(Accept::Prefix(prefix, itself)) => value.starts_with(&prefix) && (itself || value != prefix),
                _ => return Ok(()),
            };
            prop_assert_eq!(said, matcher.matches(&value), "{} on {:?}", pattern, value);
        }

        #[test]
        fn a_complement_holds_the_others(set in proptest::collection::btree_set(0..40u32, 0..30)) {
            let ranges: Vec<_> = set.iter().map(|id| *id..id + 1).collect();
            let others: Vec<u32> = complement(&ranges, 40).into_iter().flatten().collect();
            prop_assert_eq!(others, (0..40).filter(|id| !set.contains(id)).collect::<Vec<_>>());
        }
    }
}
