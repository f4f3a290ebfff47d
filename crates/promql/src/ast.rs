//! The tree of an expression. Built by `parse`, which also checks its types; printed back by `Display`.
//!
//! Limits: a tree is at most [`Expr::DEPTH_MAX`] nodes deep, so that walking it never exhausts a stack.

use std::fmt;

use model::{Matcher, Timestamp};

use crate::function::Function;

mod json;
mod pretty;
mod print;

pub use pretty::PRETTY_BYTES_MAX;
pub(crate) use print::quote;

/// The four types of the language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ValueType {
    /// A number at each step.
    Scalar,
    /// A text.
    String,
    /// Series with one value at each step.
    Vector,
    /// Series with a window of samples at each step.
    Matrix,
}

impl ValueType {
    /// As error messages call it.
    pub const fn documented(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::String => "string",
            Self::Vector => "instant vector",
            Self::Matrix => "range vector",
        }
    }
}

/// As the HTTP API calls it.
impl fmt::Display for ValueType {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Scalar => "scalar",
            Self::String => "string",
            Self::Vector => "vector",
            Self::Matrix => "matrix",
        })
    }
}

/// Where a node stands in the query text, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

/// A checked expression.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    pub(crate) kind: Kind,
    /// Where it was written. Equality ignores nothing: two expressions are equal if they were written equally.
    pub(crate) span: Span,
    /// Whether it is a number that was written as a duration (`5m`): it is printed as one.
    pub(crate) is_duration: bool,
    depth: u16,
}

/// What an expression is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    Number(f64),
    Text(Text),
    Selector(Selector),
    Range(RangeSelector),
    Subquery(Subquery),
    Aggregate(Aggregate),
    Binary(Binary),
    Negate(Box<Expr>),
    Plus(Box<Expr>),
    Paren(Box<Expr>),
    Call(Call),
}

/// A string literal. Escapes can make bytes that are no UTF-8; then `valid` is false and `value` has replacements.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Text {
    pub(crate) value: String,
    pub(crate) raw: Vec<u8>,
}

/// `metric{label="value"} offset 5m @ 100`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Selector {
    /// All conditions, that on the name included; last, where the name stood before the braces.
    pub(crate) matchers: Vec<Matcher>,
    /// Whether the name stood before the braces.
    pub(crate) named: bool,
    pub(crate) shift: Shift,
    pub(crate) edge: Edge,
}

impl Selector {
    /// The name that stood before the braces.
    pub(crate) fn name(&self) -> Option<&str> {
        self.matchers.last().filter(|_| self.named).map(Matcher::value)
    }
}

/// `offset` and `@`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Shift {
    pub(crate) offset: Option<Duration>,
    pub(crate) at: Option<At>,
}

/// How a range selector treats the edges of its window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Edge {
    #[default]
    Open,
    Anchored,
    Smoothed,
}

/// `@ …`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    Time(Timestamp),
    Start,
    End,
}

/// `selector[range]`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RangeSelector {
    pub(crate) selector: Selector,
    pub(crate) range: Duration,
}

/// `expr[range:step]`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Subquery {
    pub(crate) expr: Box<Expr>,
    pub(crate) range: Duration,
    pub(crate) step: Option<Duration>,
    pub(crate) shift: Shift,
}

/// A length of time; arithmetic on `step()` and `range()` waits for the query's parameters.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Duration {
    /// Seconds; the written unit is not kept.
    Seconds(f64),
    Step,
    Range,
    Negate(Box<Duration>),
    Binary(DurationOp, Box<(Duration, Duration)>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DurationOp {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Min,
    Max,
}

/// Aggregation operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum AggregateOp {
    Avg,
    Bottomk,
    Count,
    CountValues,
    Group,
    LimitRatio,
    Limitk,
    Max,
    Min,
    Quantile,
    Stddev,
    Stdvar,
    Sum,
    Topk,
}

impl AggregateOp {
    const NAMES: [(&'static str, Self); 14] = [
        ("avg", Self::Avg),
        ("bottomk", Self::Bottomk),
        ("count", Self::Count),
        ("count_values", Self::CountValues),
        ("group", Self::Group),
        ("limit_ratio", Self::LimitRatio),
        ("limitk", Self::Limitk),
        ("max", Self::Max),
        ("min", Self::Min),
        ("quantile", Self::Quantile),
        ("stddev", Self::Stddev),
        ("stdvar", Self::Stdvar),
        ("sum", Self::Sum),
        ("topk", Self::Topk),
    ];

    pub(crate) fn find(lower: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(name, _)| *name == lower).map(|(_, op)| *op)
    }

    pub(crate) fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, op)| *op == self).expect("every operator has its name").0
    }

    /// Type of the parameter before the vector, where there is one.
    pub(crate) fn parameter(self) -> Option<ValueType> {
        match self {
            Self::Bottomk | Self::LimitRatio | Self::Limitk | Self::Quantile | Self::Topk => {
                Some(ValueType::Scalar)
            }
            Self::CountValues => Some(ValueType::String),
            _ => None,
        }
    }

    pub(crate) fn is_experimental(self) -> bool {
        matches!(self, Self::LimitRatio | Self::Limitk)
    }
}

/// `by (…)` or `without (…)`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Grouping {
    pub(crate) without: bool,
    /// As written; sorted where it is used.
    pub(crate) labels: Vec<String>,
}

/// `op by (labels) (parameter, expr)`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Aggregate {
    pub(crate) op: AggregateOp,
    pub(crate) grouping: Grouping,
    pub(crate) parameter: Option<Box<Expr>>,
    pub(crate) expr: Box<Expr>,
}

/// Binary operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Atan2,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    /// `</`: without what lies above.
    TrimUpper,
    /// `>/`: without what lies below.
    TrimLower,
    And,
    Or,
    Unless,
}

impl BinaryOp {
    pub(crate) fn is_comparison(self) -> bool {
        use BinaryOp::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};
        matches!(self, Equal | NotEqual | Less | LessOrEqual | Greater | GreaterOrEqual)
    }

    pub(crate) fn is_set(self) -> bool {
        matches!(self, Self::And | Self::Or | Self::Unless)
    }

    pub(crate) fn is_trim(self) -> bool {
        matches!(self, Self::TrimUpper | Self::TrimLower)
    }

    /// Binds the tighter, the greater.
    pub(crate) fn precedence(self) -> u8 {
        match self {
            Self::Or => 1,
            Self::And | Self::Unless => 2,
            Self::TrimUpper | Self::TrimLower => 3,
            op if op.is_comparison() => 3,
            Self::Add | Self::Sub => 4,
            Self::Pow => 6,
            _ => 5,
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Pow => "^",
            Self::Atan2 => "atan2",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::TrimUpper => "</",
            Self::TrimLower => ">/",
            Self::And => "and",
            Self::Or => "or",
            Self::Unless => "unless",
        }
    }
}

/// `lhs op matching rhs`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Binary {
    pub(crate) op: BinaryOp,
    pub(crate) lhs: Box<Expr>,
    pub(crate) rhs: Box<Expr>,
    pub(crate) return_bool: bool,
    pub(crate) matching: Matching,
}

/// How series of two vectors find each other.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Matching {
    /// `on` where true, `ignoring` (perhaps of nothing) where false.
    pub(crate) on: bool,
    pub(crate) labels: Vec<String>,
    pub(crate) group: Group,
    /// Labels that `group_left`/`group_right` copies from the "one" side.
    pub(crate) include: Vec<String>,
    pub(crate) fill_left: Option<f64>,
    pub(crate) fill_right: Option<f64>,
}

/// Which side of a match may have many series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Group {
    #[default]
    None,
    Left,
    Right,
}

/// `function(arguments)`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Call {
    pub(crate) function: &'static Function,
    pub(crate) arguments: Vec<Expr>,
}

/// Functions whose value moves with the time of evaluation even where their arguments stand still.
const TIME_DEPENDENT: [&str; 15] = [
    "days_in_month",
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "hour",
    "minute",
    "month",
    "year",
    "predict_linear",
    "time",
    "timestamp",
    "start",
    "end",
    "step",
    "range",
];

impl Expr {
    /// Deepest tree.
    pub const DEPTH_MAX: usize = 200;
    /// Longest text, in bytes.
    pub const BYTES_MAX: usize = 256 * 1024;

    /// A node over its children; `None` where the tree grows too deep.
    pub(crate) fn new(kind: Kind, span: Span) -> Option<Self> {
        let mut below = 0;
        kind.each_child(&mut |child| below = below.max(child.depth));
        let depth = below + 1;
        if usize::from(depth) > Self::DEPTH_MAX {
            None
        } else {
            Some(Self { kind, span, is_duration: false, depth })
        }
    }

    /// Where the expression stands in its text.
    pub fn span(&self) -> Span {
        self.span
    }

    /// The conditions of every selector in it, in the order of the text.
    pub fn selectors(&self) -> Vec<&[Matcher]> {
        match &self.kind {
            Kind::Selector(selector) | Kind::Range(RangeSelector { selector, .. }) => {
                vec![&selector.matchers]
            }
            kind => {
                let mut found = Vec::new();
                kind.each_child(&mut |child| found.extend(child.selectors()));
                found
            }
        }
    }

    /// Its type.
    pub fn value_type(&self) -> ValueType {
        match &self.kind {
            Kind::Number(_) => ValueType::Scalar,
            Kind::Text(_) => ValueType::String,
            Kind::Selector(_) | Kind::Aggregate(_) => ValueType::Vector,
            Kind::Range(_) | Kind::Subquery(_) => ValueType::Matrix,
            Kind::Negate(inner) | Kind::Plus(inner) | Kind::Paren(inner) => inner.value_type(),
            Kind::Call(call) => call.function.result,
            Kind::Binary(binary) => match (binary.lhs.value_type(), binary.rhs.value_type()) {
                (ValueType::Scalar, ValueType::Scalar) => ValueType::Scalar,
                _ => ValueType::Vector,
            },
        }
    }

    /// The expression without its outer parentheses.
    pub(crate) fn bare(&self) -> &Self {
        let mut expr = self;
        while let Kind::Paren(inner) = &expr.kind {
            expr = inner;
        }
        expr
    }

    /// The same expression with every selector and outermost subquery fixed at a time by `@`, unless it already is. `None`
    /// where the value would still move with the time of evaluation (`time()`, `minute()`, …).
    pub fn pinned(&self, at: Timestamp) -> Option<Self> {
        let mut pinned = self.clone();
        pinned.pin(at).then_some(pinned)
    }

    fn pin(&mut self, at: Timestamp) -> bool {
        match &mut self.kind {
            Kind::Selector(selector) | Kind::Range(RangeSelector { selector, .. }) => {
                selector.shift.at.get_or_insert(At::Time(at));
                true
            }
            Kind::Subquery(subquery) => {
                subquery.shift.at.get_or_insert(At::Time(at));
                !subquery.expr.is_time_dependent()
            }
            Kind::Call(call) => {
                let moves = TIME_DEPENDENT.contains(&call.function.name);
                call.arguments.iter_mut().all(|argument| argument.pin(at)) && !moves
            }
            kind => {
                let mut all = true;
                kind.each_child_mut(&mut |child| all &= child.pin(at));
                all
            }
        }
    }

    fn is_time_dependent(&self) -> bool {
        let mut found =
            matches!(&self.kind, Kind::Call(call) if TIME_DEPENDENT.contains(&call.function.name));
        self.kind.each_child(&mut |child| found = found || child.is_time_dependent());
        found
    }

    /// Whether the value is the same at every step of a range query.
    pub(crate) fn is_constant(&self) -> bool {
        match &self.kind {
            Kind::Number(_) | Kind::Text(_) => true,
            Kind::Selector(selector) | Kind::Range(RangeSelector { selector, .. }) => {
                selector.shift.at.is_some()
            }
            Kind::Subquery(subquery) => subquery.shift.at.is_some(),
            Kind::Call(call) if call.function.name == "timestamp" => {
                let direct = |argument: &Self| matches!(argument.bare().kind, Kind::Selector(_));
                call.arguments.iter().all(|argument| direct(argument) && argument.is_constant())
            }
            Kind::Call(call) if TIME_DEPENDENT.contains(&call.function.name) => false,
            kind => {
                let mut all = true;
                kind.each_child(&mut |child| all = all && child.is_constant());
                all
            }
        }
    }

    /// Whether no two series of the result can differ in their metric name alone.
    pub(crate) fn has_one_name(&self) -> bool {
        use model::{METRIC_NAME, MatchOp};
        match &self.kind {
            Kind::Selector(selector) | Kind::Range(RangeSelector { selector, .. }) => selector
                .matchers
                .iter()
                .any(|matcher| matcher.name() == METRIC_NAME && matcher.op() == MatchOp::Equal),
            Kind::Subquery(subquery) => subquery.expr.has_one_name(),
            Kind::Paren(inner) | Kind::Plus(inner) => inner.has_one_name(),
            Kind::Aggregate(aggregate) => match aggregate.op {
                AggregateOp::Topk | AggregateOp::Bottomk | AggregateOp::Limitk | AggregateOp::LimitRatio => {
                    aggregate.expr.has_one_name()
                }
                _ => {
                    // The parameter of `count_values` may make names of values.
                    let is_name = |parameter: &Self| matches!(&parameter.bare().kind, Kind::Text(text) if text.value == METRIC_NAME);
                    let made = aggregate.parameter.as_deref().is_some_and(is_name);
                    let kept = aggregate.grouping.labels.iter().any(|label| label == METRIC_NAME);
                    aggregate.grouping.without || !(made || kept)
                }
            },
            Kind::Call(call) if call.function.name == "info" => call.arguments[0].has_one_name(),
            Kind::Call(call) => {
                !call.function.name.starts_with("label_") && {
                    let vectors = |argument: &&Self| {
                        !matches!(argument.value_type(), ValueType::Scalar | ValueType::String)
                    };
                    call.arguments.iter().filter(vectors).all(Self::has_one_name)
                }
            }
            _ => false,
        }
    }
}

impl Kind {
    /// Visits direct children, in the order of the text.
    pub(crate) fn each_child<'a>(&'a self, visit: &mut dyn FnMut(&'a Expr)) {
        match self {
            Self::Number(_) | Self::Text(_) | Self::Selector(_) | Self::Range(_) => {}
            Self::Subquery(subquery) => visit(&subquery.expr),
            Self::Negate(inner) | Self::Plus(inner) | Self::Paren(inner) => visit(inner),
            Self::Call(call) => call.arguments.iter().for_each(visit),
            Self::Aggregate(aggregate) => {
                aggregate.parameter.iter().for_each(|parameter| visit(parameter));
                visit(&aggregate.expr);
            }
            Self::Binary(binary) => {
                visit(&binary.lhs);
                visit(&binary.rhs);
            }
        }
    }

    fn each_child_mut(&mut self, visit: &mut dyn FnMut(&mut Expr)) {
        match self {
            Self::Number(_) | Self::Text(_) | Self::Selector(_) | Self::Range(_) => {}
            Self::Subquery(subquery) => visit(&mut subquery.expr),
            Self::Negate(inner) | Self::Plus(inner) | Self::Paren(inner) => visit(inner),
            Self::Call(call) => call.arguments.iter_mut().for_each(visit),
            Self::Aggregate(aggregate) => {
                aggregate.parameter.iter_mut().for_each(|parameter| visit(parameter));
                visit(&mut aggregate.expr);
            }
            Self::Binary(binary) => {
                visit(&mut binary.lhs);
                visit(&mut binary.rhs);
            }
        }
    }
}

impl Duration {
    /// Milliseconds, given the query's step and range.
    pub(crate) fn resolve(&self, step_ms: i64, range_ms: i64) -> Option<i64> {
        let millis = (self.seconds(step_ms, range_ms) * 1000.0).round();
        let max = crate::duration::MILLIS_MAX as f64;
        (millis.is_finite() && millis.abs() <= max).then_some(millis as i64)
    }

    fn seconds(&self, step_ms: i64, range_ms: i64) -> f64 {
        match self {
            Self::Seconds(seconds) => *seconds,
            Self::Step => step_ms as f64 / 1000.0,
            Self::Range => range_ms as f64 / 1000.0,
            Self::Negate(inner) => -inner.seconds(step_ms, range_ms),
            Self::Binary(op, operands) => {
                let a = operands.0.seconds(step_ms, range_ms);
                let b = operands.1.seconds(step_ms, range_ms);
                match op {
                    DurationOp::Add => a + b,
                    DurationOp::Sub => a - b,
                    DurationOp::Mul => a * b,
                    DurationOp::Div => a / b,
                    DurationOp::Mod => a % b,
                    DurationOp::Pow => a.powf(b),
                    DurationOp::Min => a.min(b),
                    DurationOp::Max => a.max(b),
                }
            }
        }
    }

    /// Whether it can be resolved without the query's parameters.
    pub(crate) fn is_fixed(&self) -> bool {
        match self {
            Self::Seconds(_) => true,
            Self::Step | Self::Range => false,
            Self::Negate(inner) => inner.is_fixed(),
            Self::Binary(_, operands) => operands.0.is_fixed() && operands.1.is_fixed(),
        }
    }
}
