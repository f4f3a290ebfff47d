//! What a matcher asks of a dictionary of values: a few values, a prefix, whatever an automaton accepts, or to try each.
//!
//! A pattern's automaton is made of the very text that [`Matcher`] compiles, so that both say the same; one that would grow too
//! large (2 MiB) is not made, and each value is asked instead. Those made last are kept: rules and boards ask the same again and again,
//! and making an automaton costs more than a small answer.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use model::{MatchOp, Matcher};
use regex_automata::dfa::{Automaton as _, StartKind, dense};
use regex_automata::nfa::thompson;
use regex_automata::util::primitives::StateID;
use regex_automata::util::start;
use regex_automata::{Anchored, MatchKind};

/// Bytes that an automaton may take.
const AUTOMATON_BYTES_MAX: usize = 2 << 20;

/// Automata that are kept, and the bytes of all of them together.
const KEPT_MAX: usize = 64;
const KEPT_BYTES_MAX: usize = 4 << 20;

/// Which values of a label a matcher's text accepts, be it negated or not.
#[derive(Debug)]
pub(crate) enum Accept {
    /// These, sorted.
    Values(Vec<String>),
    /// All that begin with the text; the text itself too, if so said.
    Prefix(String, bool),
    Automaton(Arc<Automaton>),
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
        simple(pattern).or_else(|| KEPT.find(pattern).map(Self::Automaton)).unwrap_or(Self::Each)
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
    all_after: Box<[AtomicU8]>,
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
        // As many states as its table of transitions has rows, and a few more: it does not say how many.
        let states = (dfa.memory_usage() / size_of::<u32>()) >> dfa.stride2();
        let all_after = (0..=states).map(|_| AtomicU8::new(0)).collect();
        Some(Self { dfa, start, all_after })
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
        let known = &self.all_after[state.id.as_usize() >> self.dfa.stride2()];
        match known.load(Ordering::Relaxed) {
            0 => {
                let returns = self.returns_always(state.id);
                // Whoever else finds it out meanwhile finds the same.
                known.store(1 + u8::from(returns), Ordering::Relaxed);
                returns
            }
            said => said == 2,
        }
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

/// Automata that were made, of all stores of the process: they depend on nothing but the pattern.
struct Kept(Mutex<VecDeque<(String, Option<Arc<Automaton>>)>>);

static KEPT: Kept = Kept(Mutex::new(VecDeque::new()));

impl Kept {
    /// A pattern's automaton, or `None` where there can be none; made where it is not kept.
    fn find(&self, pattern: &str) -> Option<Arc<Automaton>> {
        self.get(pattern).unwrap_or_else(|| self.put(pattern, Automaton::new(pattern).map(Arc::new)))
    }

    /// What is kept of a pattern, which thereby is the newest.
    fn get(&self, pattern: &str) -> Option<Option<Arc<Automaton>>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = kept.iter().position(|(text, _)| text == pattern)?;
        let found = kept.remove(place)?;
        kept.push_back(found.clone());
        Some(found.1)
    }

    /// Keeps it as the newest, and forgets the oldest that are too many.
    fn put(&self, pattern: &str, automaton: Option<Arc<Automaton>>) -> Option<Arc<Automaton>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(text, _)| text != pattern);
        kept.push_back((pattern.to_owned(), automaton.clone()));
        let bytes = |(text, automaton): &(String, Option<Arc<Automaton>>)| {
            text.len() + automaton.as_ref().map_or(0, |automaton| automaton.dfa.memory_usage())
        };
        let mut sum: usize = kept.iter().map(bytes).sum();
        while kept.len() > KEPT_MAX || sum > KEPT_BYTES_MAX {
            let Some(oldest) = kept.pop_front() else { break };
            sum -= bytes(&oldest);
        }
        automaton
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

    #[test]
    fn automata_are_kept_within_bounds() {
        let kept = Kept(Mutex::default());
        let first = kept.find("a.b").expect("small");
        assert!(Arc::ptr_eq(&first, &kept.find("a.b").expect("kept")));
        assert!(kept.find("\\bx").is_none());
        for number in 0..KEPT_MAX - 2 {
            assert!(kept.find(&format!("a.{number}")).is_some());
        }
        assert!(Arc::ptr_eq(&first, &kept.find("a.b").expect("asked for, so kept")));
        kept.find("b.c");
        assert_eq!(kept.0.lock().expect("no panic").len(), KEPT_MAX);
        assert!(kept.get("\\bx").is_none(), "the oldest goes");
        for number in 0..20 {
            kept.find(&format!("[01]*1[01]{{12}}{number}")).expect("within 2 MiB");
        }
        let all = kept.0.lock().expect("no panic");
        let bytes: usize =
            all.iter().flat_map(|(_, automaton)| automaton).map(|a| a.dfa.memory_usage()).sum();
        assert!(all.len() < 20 && bytes <= KEPT_BYTES_MAX, "{} of {bytes} bytes", all.len());
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
