//! `metric{label="value", …}`: what a selector asks for, in expressions and in the `match[]` arguments of the API.

use model::{METRIC_NAME, MatchOp, Matcher, PatternRoom, re2};

use super::lex::TokenKind;
use super::{Fault, LABELS_MAX, ParseError, Parsed, Parser, REGEX_COUNT_MAX};
use crate::ast::Span;
use crate::options::Features;

/// The matchers of a series selector such as `up{job="node"}`; what a `match[]` argument holds.
pub fn parse_matchers(text: &str) -> Result<Vec<Matcher>, ParseError> {
    parse_matchers_within(&mut PatternRoom::default(), text)
}

/// The same for one of several selectors of a request, whose patterns share the room for what they are compiled to.
pub fn parse_matchers_within(room: &mut PatternRoom, text: &str) -> Result<Vec<Matcher>, ParseError> {
    let mut parser = Parser::new(text, Features::default())?;
    std::mem::swap(&mut parser.room, room);
    let matchers = parser.series_selector().map_err(|fault| fault.place(text));
    *room = parser.room;
    matchers
}

impl Parser<'_> {
    fn series_selector(&mut self) -> Parsed<Vec<Matcher>> {
        let start = self.span().start;
        let name = self.word();
        if name.is_some() {
            self.advance();
        } else if !self.is_symbol("{") {
            return Err(self.unexpected("", ""));
        }
        let matchers = self.matchers(name)?;
        if self.peek().kind != TokenKind::End {
            return Err(self.unexpected("", ""));
        }
        check_not_empty(&matchers, Span { start, end: start })?;
        Ok(matchers)
    }

    /// The braces, where there are any, and the name before them.
    pub(super) fn matchers(&mut self, name: Option<&str>) -> Parsed<Vec<Matcher>> {
        let mut matchers: Vec<Matcher> = Vec::new();
        let outside = name;
        let mut name = name.map(str::to_owned);
        if self.take_symbol("{") {
            while !self.take_symbol("}") {
                if matchers.len() == LABELS_MAX {
                    return Err(Fault::new(
                        self.span(),
                        format!("more than {LABELS_MAX} matchers in one selector"),
                    ));
                }
                self.matcher(&mut matchers, &mut name)?;
                if !self.take_symbol(",") && !self.is_symbol("}") {
                    return Err(self.unexpected("label matching", "\",\" or \"}\""));
                }
            }
        }
        if let Some(name) = outside {
            matchers.push(Matcher::equal(METRIC_NAME, name));
        }
        Ok(matchers)
    }

    /// `label op "value"`, or a quoted metric name alone.
    fn matcher(&mut self, matchers: &mut Vec<Matcher>, name: &mut Option<String>) -> Parsed<()> {
        let here = self.span();
        let (label, quoted) = match &self.peek().kind {
            TokenKind::Word => (self.word().expect("it is a word").to_owned(), false),
            TokenKind::Text(raw) => (utf8(raw, here)?, true),
            _ => return Err(self.unexpected("label matching", "identifier or \"}\"")),
        };
        self.advance();
        let op = match self.peek().kind {
            TokenKind::Symbol("=") => MatchOp::Equal,
            TokenKind::Symbol("!=") => MatchOp::NotEqual,
            TokenKind::Symbol("=~") => MatchOp::Regex,
            TokenKind::Symbol("!~") => MatchOp::NotRegex,
            _ if quoted && (self.is_symbol(",") || self.is_symbol("}")) => {
                matchers.push(Matcher::equal(METRIC_NAME, &label));
                return set_name(name, label, here);
            }
            _ => return Err(self.unexpected("label matching", "label matching operator")),
        };
        self.advance();
        let TokenKind::Text(raw) = &self.peek().kind else {
            return Err(self.unexpected("label matching", "string"));
        };
        let value = utf8(raw, self.span())?;
        self.advance();
        let sets_name = label == METRIC_NAME && op == MatchOp::Equal;
        if let (true, Some(before)) = (sets_name, &name) {
            return Err(name_twice(before, &value, here));
        }
        matchers.push(self.compile(&label, op, &value, here)?);
        Ok(())
    }

    fn compile(&mut self, label: &str, op: MatchOp, value: &str, here: Span) -> Parsed<Matcher> {
        let is_regex = matches!(op, MatchOp::Regex | MatchOp::NotRegex);
        self.regexes += usize::from(is_regex);
        if self.regexes > REGEX_COUNT_MAX {
            return Err(Fault::new(
                here,
                format!("more than {REGEX_COUNT_MAX} regular expressions in one query"),
            ));
        }
        let pattern = if is_regex { re2::translate(value) } else { value.to_owned() };
        Matcher::within(&mut self.room, label, op, &pattern).map_err(|error| {
            Fault::new(here, format!("error parsing regexp: {}", re2::refusal(value, &error.reason)))
        })
    }
}

fn utf8(raw: &[u8], here: Span) -> Parsed<String> {
    String::from_utf8(raw.to_vec()).map_err(|_| Fault::new(here, "a label or its value is not valid UTF-8"))
}

fn set_name(name: &mut Option<String>, new: String, here: Span) -> Parsed<()> {
    match name.replace(new.clone()) {
        Some(before) => Err(name_twice(&before, &new, here)),
        None => Ok(()),
    }
}

fn name_twice(first: &str, second: &str, here: Span) -> Fault {
    Fault::new(here, format!("metric name must not be set twice: {first:?} or {second:?}"))
}

/// A selector that every series satisfies is nearly always a slip.
pub(super) fn check_not_empty(matchers: &[Matcher], whole: Span) -> Parsed<()> {
    if matchers.iter().any(|matcher| !matcher.matches_absent()) {
        return Ok(());
    }
    Err(Fault::new(whole, "vector selector must contain at least one non-empty matcher"))
}
