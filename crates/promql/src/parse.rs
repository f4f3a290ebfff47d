//! Reads an expression: a hand-written parser that climbs operator precedence and checks types on the way up.
//!
//! Our own, rather than the `promql-parser` crate, because strangers send expressions and annotations name positions: that
//! crate's tree has no positions, its syntax errors all read "invalid promql query", `foo[1e300]` and `offset -1e300` panic in it
//! (measured with 0.11.1), and it compiles every regular expression (up to 10 MiB each) before anyone can count them.
//!
//! Limits: [`Expr::BYTES_MAX`] bytes, [`Expr::DEPTH_MAX`] levels, [`REGEX_COUNT_MAX`] regular expressions, which together take no more
//! than [`model::PatternRoom`] has. Memory and time are linear in the length.

mod duration_expr;
mod lex;
mod matchers;
mod modifiers;

use std::fmt;

use model::PatternRoom;

use crate::ast::{
    Aggregate, AggregateOp, Binary, BinaryOp, Call, Duration, Edge, Expr, Group, Grouping, Kind,
    RangeSelector, Selector, Shift, Span, Subquery, Text, ValueType,
};
use crate::function::Function;
use crate::options::Features;
use lex::{Token, TokenKind};

pub use matchers::{parse_matchers, parse_matchers_within};

/// Regular expressions in one query: each may take megabytes once compiled.
pub const REGEX_COUNT_MAX: usize = 100;

/// Arguments of one call.
const ARGUMENTS_MAX: usize = 200;
/// Labels in one `by (…)`, `on (…)` or similar; conditions in one selector.
const LABELS_MAX: usize = 1000;

/// Why a text is no expression, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// What is wrong, in Prometheus' words where it has them.
    pub message: String,
    /// Line of the first wrong byte, from 1.
    pub line: usize,
    /// Column of the first wrong byte, in bytes from 1.
    pub column: usize,
}

impl fmt::Display for ParseError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}: parse error: {}", self.line, self.column, self.message)
    }
}

impl std::error::Error for ParseError {}

/// Reads an expression with the default features.
pub fn parse(text: &str) -> Result<Expr, ParseError> {
    parse_with(text, Features::default())
}

/// Reads one of several expressions, whose patterns share the room for what they are compiled to.
pub fn parse_within(room: &mut PatternRoom, text: &str, features: Features) -> Result<Expr, ParseError> {
    let mut parser = Parser::new(text, features)?;
    std::mem::swap(&mut parser.room, room);
    let expr = parser.whole().map_err(|fault| fault.place(text));
    *room = parser.room;
    expr
}

/// Reads an expression with chosen features.
pub fn parse_with(text: &str, features: Features) -> Result<Expr, ParseError> {
    let mut parser = Parser::new(text, features)?;
    let expr = parser.whole().map_err(|fault| fault.place(text))?;
    Ok(expr)
}

/// Whether an expression is short enough to be read at all; for whoever keeps it until then.
pub fn check_length(text: &str) -> Result<(), ParseError> {
    if text.len() <= Expr::BYTES_MAX {
        return Ok(());
    }
    let message = format!("the expression has {} bytes, more than {}", text.len(), Expr::BYTES_MAX);
    Err(ParseError { message, line: 1, column: 1 })
}

/// Line and column (in bytes, from 1) of an offset.
pub(crate) fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = &text.as_bytes()[..offset.min(text.len())];
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
    (line, column)
}

/// A fault before its offset is made a line and column.
#[derive(Debug)]
struct Fault {
    at: usize,
    message: String,
}

impl Fault {
    fn new(span: Span, message: impl Into<String>) -> Self {
        Self { at: span.start, message: message.into() }
    }

    fn place(self, text: &str) -> ParseError {
        let (line, column) = position(text, self.at);
        ParseError { message: self.message, line, column }
    }
}

type Parsed<T> = Result<T, Fault>;

struct Parser<'t> {
    text: &'t str,
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
    regexes: usize,
    room: PatternRoom,
    /// A selector may match everything: it only narrows what another one selects.
    empty_selectors: bool,
    features: Features,
}

impl<'t> Parser<'t> {
    fn new(text: &'t str, features: Features) -> Result<Self, ParseError> {
        check_length(text)?;
        let tokens = lex::tokens(text).map_err(|(span, why)| Fault::new(span, why).place(text))?;
        let room = PatternRoom::default();
        Ok(Self { text, tokens, at: 0, depth: 0, regexes: 0, room, empty_selectors: false, features })
    }

    fn whole(&mut self) -> Parsed<Expr> {
        if self.peek().kind == TokenKind::End {
            return Err(Fault::new(self.span(), "no expression found in input"));
        }
        let expr = self.expr(0)?;
        match self.peek().kind {
            TokenKind::End => Ok(expr),
            _ => Err(self.unexpected("", "")),
        }
    }

    // --- tokens ---

    fn peek(&self) -> &Token {
        &self.tokens[self.at]
    }

    fn span(&self) -> Span {
        self.peek().span
    }

    /// Moves on; stays on the last token, which is the end.
    fn advance(&mut self) -> Token {
        let token = self.tokens[self.at].clone();
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        token
    }

    fn last_end(&self) -> usize {
        self.tokens[self.at.saturating_sub(1)].span.end
    }

    fn word_at(&self, at: usize) -> Option<&'t str> {
        let token = self.tokens.get(at)?;
        (token.kind == TokenKind::Word).then(|| &self.text[token.span.start..token.span.end])
    }

    fn word(&self) -> Option<&'t str> {
        self.word_at(self.at)
    }

    fn is_symbol(&self, symbol: &str) -> bool {
        matches!(self.peek().kind, TokenKind::Symbol(have) if have == symbol)
    }

    fn next_is_symbol(&self, symbol: &str) -> bool {
        let next = self.tokens.get(self.at + 1);
        matches!(next, Some(Token { kind: TokenKind::Symbol(have), .. }) if *have == symbol)
    }

    fn is_keyword(&self, keyword: &str) -> bool {
        self.word().is_some_and(|word| word.eq_ignore_ascii_case(keyword))
    }

    fn take_symbol(&mut self, symbol: &str) -> bool {
        let found = self.is_symbol(symbol);
        if found {
            self.advance();
        }
        found
    }

    fn take_keyword(&mut self, keyword: &str) -> bool {
        let found = self.is_keyword(keyword);
        if found {
            self.advance();
        }
        found
    }

    fn expect(&mut self, symbol: &str, context: &str) -> Parsed<()> {
        if self.take_symbol(symbol) { Ok(()) } else { Err(self.unexpected(context, &format!("{symbol:?}"))) }
    }

    fn unexpected(&self, context: &str, expected: &str) -> Fault {
        let mut message = format!("unexpected {}", self.describe());
        if !context.is_empty() {
            message.push_str(&format!(" in {context}"));
        }
        if !expected.is_empty() {
            message.push_str(&format!(", expected {expected}"));
        }
        Fault::new(self.span(), message)
    }

    /// The token at hand, as Prometheus' messages name it.
    fn describe(&self) -> String {
        let token = self.peek();
        let text = &self.text[token.span.start..token.span.end];
        match &token.kind {
            TokenKind::End => "end of input".into(),
            TokenKind::Number(_) => format!("number {text:?}"),
            TokenKind::Duration(_) => format!("duration {text:?}"),
            TokenKind::Text(_) => format!("string {text}"),
            TokenKind::Symbol(symbol) if binary_symbol(symbol).is_some() => format!("<op:{symbol}>"),
            TokenKind::Symbol(symbol) => format!("{symbol:?}"),
            TokenKind::Word => describe_word(text),
        }
    }

    // --- nodes ---

    fn node(&self, kind: Kind, start: usize) -> Parsed<Expr> {
        let span = Span { start, end: self.last_end() };
        Expr::new(kind, span).ok_or_else(|| too_deep(span))
    }

    /// Runs one level deeper, so that nesting ends in an error and not at the end of the stack.
    fn deeper<T>(&mut self, run: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth >= Expr::DEPTH_MAX {
            return Err(too_deep(self.span()));
        }
        self.depth += 1;
        let result = run(self);
        self.depth -= 1;
        result
    }

    /// An expression whose operators bind tighter than `above`.
    fn expr(&mut self, above: u8) -> Parsed<Expr> {
        self.deeper(|parser| {
            let start = parser.span().start;
            let mut lhs = parser.unary()?;
            while let Some(op) = parser.binary_op().filter(|op| op.precedence() > above) {
                let op_span = parser.span();
                parser.advance();
                lhs = parser.binary(lhs, op, op_span, start)?;
            }
            Ok(lhs)
        })
    }

    fn binary_op(&self) -> Option<BinaryOp> {
        match &self.peek().kind {
            TokenKind::Symbol(symbol) => binary_symbol(symbol),
            TokenKind::Word => binary_word(self.word()?),
            _ => None,
        }
    }

    fn binary(&mut self, lhs: Expr, op: BinaryOp, op_span: Span, start: usize) -> Parsed<Expr> {
        let return_bool = self.take_keyword("bool");
        let matching = self.matching()?;
        let above = if op == BinaryOp::Pow { op.precedence() - 1 } else { op.precedence() };
        let rhs = self.expr(above)?;
        let binary = Binary {
            op,
            lhs: Box::new(lhs),
            rhs: Box::new(rhs),
            return_bool,
            matching: matching.unwrap_or_default(),
        };
        check_binary(&binary, op_span)?;
        self.node(Kind::Binary(binary), start)
    }

    fn unary(&mut self) -> Parsed<Expr> {
        let start = self.span().start;
        let negate = self.is_symbol("-");
        if !negate && !self.is_symbol("+") {
            return self.postfix();
        }
        self.advance();
        let inner = self.expr(BinaryOp::Mul.precedence())?;
        let kind = inner.value_type();
        if !matches!(kind, ValueType::Scalar | ValueType::Vector) {
            let message = format!(
                "unary expression only allowed on expressions of type scalar or instant vector, got {:?}",
                kind.documented()
            );
            return Err(Fault::new(Span { start, end: start }, message));
        }
        let inner = Box::new(inner);
        self.node(if negate { Kind::Negate(inner) } else { Kind::Plus(inner) }, start)
    }

    fn postfix(&mut self) -> Parsed<Expr> {
        let start = self.span().start;
        let mut expr = self.primary()?;
        loop {
            let (here, whole) = (self.span(), expr.span);
            if self.take_symbol("[") {
                expr = self.brackets(expr, start, here)?;
            } else if self.is_keyword("offset") {
                self.advance();
                let offset = self.offset()?;
                let shift = shift_of(&mut expr, "offset modifier")?;
                if shift.offset.replace(offset).is_some() {
                    return Err(Fault::new(whole, "offset may not be set multiple times"));
                }
            } else if self.take_symbol("@") {
                let at = self.at_time()?;
                let shift = shift_of(&mut expr, "@ modifier")?;
                if shift.at.replace(at).is_some() {
                    return Err(Fault::new(whole, "@ <timestamp> may not be set multiple times"));
                }
            } else if let Some(edge) = self.edge() {
                self.advance();
                self.set_edge(&mut expr, edge, here)?;
            } else {
                return Ok(expr);
            }
            expr.span.end = self.last_end();
        }
    }

    fn edge(&self) -> Option<Edge> {
        match self.word() {
            Some(word) if word.eq_ignore_ascii_case("anchored") => Some(Edge::Anchored),
            Some(word) if word.eq_ignore_ascii_case("smoothed") => Some(Edge::Smoothed),
            _ => None,
        }
    }

    fn set_edge(&self, expr: &mut Expr, edge: Edge, here: Span) -> Parsed<()> {
        let name = if edge == Edge::Anchored { "anchored" } else { "smoothed" };
        if !self.features.extended_ranges {
            return Err(Fault::new(here, format!("{name} modifier is experimental and not enabled")));
        }
        let selector = match &mut expr.kind {
            Kind::Range(range) => &mut range.selector,
            Kind::Selector(selector) if edge == Edge::Smoothed => selector,
            Kind::Subquery(_) => {
                return Err(Fault::new(here, format!("{name} modifier is not supported for subqueries")));
            }
            _ => {
                return Err(Fault::new(
                    here,
                    format!("{name} modifier must be preceded by a range or instant selector"),
                ));
            }
        };
        if selector.edge != Edge::Open {
            return Err(Fault::new(here, "anchored and smoothed modifiers may be set once"));
        }
        selector.edge = edge;
        Ok(())
    }

    /// `[range]` or `[range:step]`, after the bracket.
    fn brackets(&mut self, expr: Expr, start: usize, here: Span) -> Parsed<Expr> {
        let range_at = self.span();
        let range = self.duration_expr()?;
        let zero =
            |duration: &Duration| duration.is_fixed() && duration.resolve(0, 0).is_some_and(|ms| ms <= 0);
        if zero(&range) {
            return Err(Fault::new(range_at, "duration must be greater than 0"));
        }
        if !self.take_symbol(":") {
            self.expect("]", "subquery or range selector")?;
            return self.range_selector(expr, range, start, here);
        }
        let step_at = self.span();
        let step = if self.is_symbol("]") { None } else { Some(self.duration_expr()?) };
        if step.as_ref().is_some_and(zero) {
            return Err(Fault::new(step_at, "duration must be greater than 0"));
        }
        self.expect("]", "subquery selector")?;
        let inner = expr.value_type();
        if inner != ValueType::Vector {
            let message =
                format!("subquery is only allowed on instant vector, got {} instead", inner.documented());
            return Err(Fault::new(expr.span, message));
        }
        self.node(
            Kind::Subquery(Subquery { expr: Box::new(expr), range, step, shift: Shift::default() }),
            start,
        )
    }

    fn range_selector(&mut self, expr: Expr, range: Duration, start: usize, here: Span) -> Parsed<Expr> {
        let Kind::Selector(selector) = expr.kind else {
            return Err(Fault::new(here, "ranges only allowed for vector selectors"));
        };
        if selector.shift.offset.is_some() {
            return Err(Fault::new(here, "no offset modifiers allowed before range"));
        }
        if selector.shift.at.is_some() {
            return Err(Fault::new(here, "no @ modifiers allowed before range"));
        }
        self.node(Kind::Range(RangeSelector { selector, range }), start)
    }

    fn primary(&mut self) -> Parsed<Expr> {
        let start = self.span().start;
        match &self.peek().kind {
            TokenKind::Number(value) => {
                let value = *value;
                self.advance();
                self.node(Kind::Number(value), start)
            }
            TokenKind::Duration(millis) => {
                let seconds = *millis as f64 / 1000.0;
                self.advance();
                let mut number = self.node(Kind::Number(seconds), start)?;
                number.is_duration = true;
                Ok(number)
            }
            TokenKind::Text(raw) => {
                let text = Text { value: String::from_utf8_lossy(raw).into_owned(), raw: raw.clone() };
                self.advance();
                self.node(Kind::Text(text), start)
            }
            TokenKind::Symbol("(") => self.paren(start),
            TokenKind::Symbol("{") => self.selector(None, start),
            TokenKind::Word => self.named(start),
            _ => Err(self.unexpected("", "")),
        }
    }

    fn paren(&mut self, start: usize) -> Parsed<Expr> {
        self.advance();
        let inner = self.expr(0)?;
        self.expect(")", "parentheses")?;
        self.node(Kind::Paren(Box::new(inner)), start)
    }

    /// What begins with a word: a number by name, an aggregation, a call or a metric.
    fn named(&mut self, start: usize) -> Parsed<Expr> {
        let word = self.word().expect("the caller looked");
        let lower = word.to_ascii_lowercase();
        let opens = self.next_is_symbol("(");
        if !opens && matches!(lower.as_str(), "inf" | "nan") {
            self.advance();
            let value = if lower == "inf" { f64::INFINITY } else { f64::NAN };
            return self.node(Kind::Number(value), start);
        }
        if let Some(op) = AggregateOp::find(&lower) {
            let grouped = self.word_at(self.at + 1).is_some_and(is_grouping);
            if opens || grouped {
                return self.aggregate(op, start);
            }
        }
        if opens && !word.contains(':') && !is_reserved(&lower) {
            return self.call(word, start);
        }
        if is_reserved(&lower) && opens || names_no_metric(&lower) {
            return Err(self.unexpected("", ""));
        }
        self.advance();
        self.selector(Some(word), start)
    }

    fn aggregate(&mut self, op: AggregateOp, start: usize) -> Parsed<Expr> {
        if op.is_experimental() && !self.features.functions {
            let message = format!(
                "{}() is experimental and must be enabled with --enable-feature=promql-experimental-functions",
                op.name()
            );
            return Err(Fault::new(self.span(), message));
        }
        self.advance();
        let mut grouping = self.grouping()?;
        let arguments = self.arguments("aggregation", false)?;
        if grouping.is_none() {
            grouping = self.grouping()?;
        }
        let whole = Span { start, end: self.last_end() };
        let (parameter, expr) = split_parameter(op, arguments, whole)?;
        let grouping = grouping.unwrap_or_default();
        self.node(Kind::Aggregate(Aggregate { op, grouping, parameter, expr }), start)
    }

    fn grouping(&mut self) -> Parsed<Option<Grouping>> {
        let without = self.is_keyword("without");
        if !without && !self.is_keyword("by") {
            return Ok(None);
        }
        self.advance();
        Ok(Some(Grouping { without, labels: self.label_list("grouping opts")? }))
    }

    fn call(&mut self, name: &str, start: usize) -> Parsed<Expr> {
        let name_span = self.span();
        let Some(function) = Function::find(name) else {
            return Err(Fault::new(name_span, format!("unknown function with name {name:?}")));
        };
        if function.experimental && !self.features.functions {
            return Err(Fault::new(name_span, format!("function {name:?} is not enabled")));
        }
        self.advance();
        let arguments = self.arguments("function call", name == "info")?;
        check_call(function, &arguments, Span { start, end: self.last_end() })?;
        self.node(Kind::Call(Call { function, arguments }), start)
    }

    /// `narrows` says that the second argument is a selector that may be empty.
    fn arguments(&mut self, context: &str, narrows: bool) -> Parsed<Vec<Expr>> {
        self.expect("(", context)?;
        let mut arguments = Vec::new();
        if self.take_symbol(")") {
            return Ok(arguments);
        }
        loop {
            if arguments.len() == ARGUMENTS_MAX {
                return Err(Fault::new(
                    self.span(),
                    format!("more than {ARGUMENTS_MAX} arguments in one call"),
                ));
            }
            self.empty_selectors = narrows && arguments.len() == 1;
            arguments.push(self.expr(0)?);
            self.empty_selectors = false;
            if self.take_symbol(")") {
                return Ok(arguments);
            }
            self.expect(",", context)?;
            if self.is_symbol(")") {
                return Err(Fault::new(self.span(), "trailing commas not allowed in function call args"));
            }
        }
    }

    fn selector(&mut self, name: Option<&str>, start: usize) -> Parsed<Expr> {
        let matchers = self.matchers(name)?;
        if !self.empty_selectors {
            matchers::check_not_empty(&matchers, Span { start, end: self.last_end() })?;
        }
        let named = name.is_some();
        let selector = Selector { matchers, named, shift: Shift::default(), edge: Edge::Open };
        self.node(Kind::Selector(selector), start)
    }
}

fn too_deep(span: Span) -> Fault {
    Fault::new(span, format!("the expression is nested deeper than {} levels", Expr::DEPTH_MAX))
}

fn shift_of<'e>(expr: &'e mut Expr, what: &str) -> Parsed<&'e mut Shift> {
    let here = expr.span;
    match &mut expr.kind {
        Kind::Selector(selector) | Kind::Range(RangeSelector { selector, .. }) => Ok(&mut selector.shift),
        Kind::Subquery(subquery) => Ok(&mut subquery.shift),
        _ => Err(Fault::new(
            here,
            format!(
                "{what} must be preceded by an instant vector selector or range vector selector or a subquery"
            ),
        )),
    }
}

fn binary_symbol(symbol: &str) -> Option<BinaryOp> {
    Some(match symbol {
        "+" => BinaryOp::Add,
        "-" => BinaryOp::Sub,
        "*" => BinaryOp::Mul,
        "/" => BinaryOp::Div,
        "%" => BinaryOp::Mod,
        "^" => BinaryOp::Pow,
        "==" => BinaryOp::Equal,
        "!=" => BinaryOp::NotEqual,
        "<" => BinaryOp::Less,
        "<=" => BinaryOp::LessOrEqual,
        ">" => BinaryOp::Greater,
        ">=" => BinaryOp::GreaterOrEqual,
        "</" => BinaryOp::TrimUpper,
        ">/" => BinaryOp::TrimLower,
        _ => return None,
    })
}

fn binary_word(word: &str) -> Option<BinaryOp> {
    let op = match word.len() {
        2 => BinaryOp::Or,
        3 => BinaryOp::And,
        5 => BinaryOp::Atan2,
        6 => BinaryOp::Unless,
        _ => return None,
    };
    word.eq_ignore_ascii_case(op.as_str()).then_some(op)
}

fn is_grouping(word: &str) -> bool {
    word.eq_ignore_ascii_case("by") || word.eq_ignore_ascii_case("without")
}

/// Words that name no function.
fn is_reserved(lower: &str) -> bool {
    matches!(
        lower,
        "and"
            | "or"
            | "unless"
            | "atan2"
            | "by"
            | "without"
            | "on"
            | "ignoring"
            | "group_left"
            | "group_right"
            | "bool"
            | "offset"
    )
}

/// Keywords that name no metric either. `and`, `by` and `offset`, say, do: the grammar's `metric_identifier` has them.
fn names_no_metric(lower: &str) -> bool {
    matches!(lower, "atan2" | "on" | "ignoring" | "group_left" | "group_right" | "bool")
}

fn describe_word(word: &str) -> String {
    let lower = word.to_ascii_lowercase();
    if binary_word(word).is_some() {
        format!("<op:{lower}>")
    } else if AggregateOp::find(&lower).is_some() {
        format!("<aggr:{lower}>")
    } else if is_reserved(&lower) {
        format!("<{lower}>")
    } else {
        format!("identifier {word:?}")
    }
}

fn check_type(expr: &Expr, expected: ValueType, context: &str) -> Parsed<()> {
    let have = expr.value_type();
    if have == expected {
        return Ok(());
    }
    let message = format!("expected type {} in {context}, got {}", expected.documented(), have.documented());
    Err(Fault::new(expr.span(), message))
}

type Split = (Option<Box<Expr>>, Box<Expr>);

fn split_parameter(op: AggregateOp, mut arguments: Vec<Expr>, whole: Span) -> Parsed<Split> {
    let wanted = 1 + usize::from(op.parameter().is_some());
    if arguments.is_empty() {
        return Err(Fault::new(whole, "no arguments for aggregate expression provided"));
    }
    if arguments.len() != wanted {
        let message = format!(
            "wrong number of arguments for aggregate expression provided, expected {wanted}, got {}",
            arguments.len()
        );
        return Err(Fault::new(whole, message));
    }
    let expr = arguments.pop().expect("one was counted");
    check_type(&expr, ValueType::Vector, "aggregation expression")?;
    let parameter = arguments.pop();
    if let (Some(parameter), Some(expected)) = (&parameter, op.parameter()) {
        check_type(parameter, expected, "aggregation parameter")?;
    }
    Ok((parameter.map(Box::new), Box::new(expr)))
}

fn check_call(function: &'static Function, arguments: &[Expr], whole: Span) -> Parsed<()> {
    let (name, count) = (function.name, arguments.len());
    let (fewest, most) = function.bounds();
    let wrong = if most == Some(fewest) && count != fewest {
        Some(format!("expected {fewest} argument(s) in call to {name:?}, got {count}"))
    } else if count < fewest {
        Some(format!("expected at least {fewest} argument(s) in call to {name:?}, got {count}"))
    } else {
        let most = most.filter(|most| count > *most);
        most.map(|most| format!("expected at most {most} argument(s) in call to {name:?}, got {count}"))
    };
    if let Some(message) = wrong {
        return Err(Fault::new(whole, message));
    }
    let context = format!("call to function {name:?}");
    for (at, argument) in arguments.iter().enumerate() {
        let expected = function.arguments[at.min(function.arguments.len() - 1)];
        check_type(argument, expected, &context)?;
        check_edge(function, argument)?;
    }
    if name == "info" {
        check_info(arguments)?;
    }
    Ok(())
}

fn check_info(arguments: &[Expr]) -> Parsed<()> {
    match arguments.get(1) {
        Some(selector) if !matches!(selector.kind, Kind::Selector(_)) => {
            Err(Fault::new(selector.span(), "expected label selectors only"))
        }
        _ => Ok(()),
    }
}

/// Which functions know what to do with samples at or beyond the edges of a window.
fn check_edge(function: &Function, argument: &Expr) -> Parsed<()> {
    let Kind::Range(range) = &argument.bare().kind else {
        return Ok(());
    };
    let (edge, allowed): (_, &[&str]) = match range.selector.edge {
        Edge::Open => return Ok(()),
        Edge::Anchored => ("anchored", &["changes", "delta", "increase", "rate", "resets"]),
        Edge::Smoothed => ("smoothed", &["delta", "increase", "rate"]),
    };
    if allowed.contains(&function.name) {
        return Ok(());
    }
    let message =
        format!("{edge} modifier can only be used with: {} - not with {}", allowed.join(", "), function.name);
    Err(Fault::new(argument.span(), message))
}

fn check_binary(binary: &Binary, op_span: Span) -> Parsed<()> {
    // As in Prometheus, some mistakes are of the operator and some of the whole expression, which begins with its left side.
    let fault = |message: String| Err(Fault::new(op_span, message));
    let whole = |message: String| Err(Fault::new(binary.lhs.span, message));
    let (op, matching) = (binary.op, &binary.matching);
    let (lhs, rhs) = (binary.lhs.value_type(), binary.rhs.value_type());
    for (side, kind) in [(&binary.lhs, lhs), (&binary.rhs, rhs)] {
        if !matches!(kind, ValueType::Scalar | ValueType::Vector) {
            let message = "binary expression must contain only scalar and instant vector types";
            return Err(Fault::new(side.span(), message));
        }
    }
    let scalars = usize::from(lhs == ValueType::Scalar) + usize::from(rhs == ValueType::Scalar);
    if binary.return_bool && !op.is_comparison() {
        return fault("bool modifier can only be used on comparison operators".into());
    }
    if op.is_comparison() && scalars == 2 && !binary.return_bool {
        return fault("comparisons between scalars must use BOOL modifier".into());
    }
    if op.is_set() && scalars > 0 {
        return whole(format!("set operator {:?} not allowed in binary scalar expression", op.as_str()));
    }
    let fills = matching.fill_left.is_some() || matching.fill_right.is_some();
    if scalars > 0 && (matching.on || !matching.labels.is_empty() || fills || matching.group != Group::None) {
        return whole("vector matching only allowed between instant vectors".into());
    }
    if op.is_set() && matching.group != Group::None {
        return whole(format!("no grouping allowed for {:?} operation", op.as_str()));
    }
    if op.is_set() && fills {
        return whole("filling in missing series not allowed for set operators".into());
    }
    let twice = matching.include.iter().find(|label| matching.on && matching.labels.contains(label));
    match twice {
        Some(label) => fault(format!("label {label:?} must not occur in ON and GROUP clause at once")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
