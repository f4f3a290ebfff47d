//! Queries as trees: printed in the words of Prometheus 2 or 3, and taken apart to find where an answer differs.

use std::fmt;

/// In whose words a query is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Words {
    /// `holt_winters`.
    Two,
    /// `double_exponential_smoothing`.
    Three,
}

/// When a query is evaluated, in seconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Once.
    Instant(i64),
    /// At `start`, `start + step`, … up to and including `end`.
    Range {
        /// First time.
        start: i64,
        /// Last time, if a step falls on it.
        end: i64,
        /// Between two.
        step: i64,
    },
}

impl When {
    /// All of them.
    pub fn times(self) -> Vec<i64> {
        match self {
            Self::Instant(at) => vec![at],
            Self::Range { start, end, step } => {
                (0..=(end - start) / step).map(|number| start + number * step).collect()
            }
        }
    }

    /// First and last time.
    pub fn bounds(self) -> (i64, i64) {
        match self {
            Self::Instant(at) => (at, at),
            Self::Range { start, end, .. } => (start, end),
        }
    }
}

/// A type of the language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// A number.
    Scalar,
    /// A text.
    Text,
    /// An instant vector.
    Vector,
    /// A range vector.
    Matrix,
}

/// `@ …`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Seconds since the epoch.
    Time(i64),
    /// `start()`.
    Start,
    /// `end()`.
    End,
}

/// `offset` in seconds, which may be negative, and `@`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shift {
    /// `offset`.
    pub offset: Option<i64>,
    /// `@`.
    pub at: Option<At>,
}

/// `by` or `without`, and the labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grouping {
    /// `without`.
    pub without: bool,
    /// The labels.
    pub labels: Vec<&'static str>,
}

/// How the sides of an operator find each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matching {
    /// `bool`.
    pub bool: bool,
    /// `on` (true) or `ignoring`, and the labels.
    pub labels: Option<(bool, Vec<&'static str>)>,
    /// `group_left` or `group_right`, and the labels to copy.
    pub group: Option<(&'static str, Vec<&'static str>)>,
}

/// A node.
#[derive(Clone, Debug, PartialEq)]
pub enum Query {
    /// A number as it is written.
    Number(&'static str),
    /// A string literal as it is written.
    Text(&'static str),
    /// A selector: its text, and the labels that its series bear.
    Selector(String, Shift, Vec<&'static str>),
    /// `selector[seconds]`.
    Range(String, i64, Shift, Vec<&'static str>),
    /// `expr[seconds:step]`.
    Subquery(Box<Query>, i64, Option<i64>, Shift),
    /// A function.
    Call(&'static str, Vec<Query>),
    /// An aggregation with its parameter.
    Aggregate(&'static str, Option<Grouping>, Option<Box<Query>>, Box<Query>),
    /// A binary operator.
    Binary(&'static str, Matching, Box<(Query, Query)>),
    /// `-…`.
    Negate(Box<Query>),
    /// `(…)`.
    Paren(Box<Query>),
}

/// Functions that give a number.
const SCALARS: [&str; 3] = ["scalar", "time", "pi"];

impl Query {
    /// What it evaluates to.
    pub fn kind(&self) -> Type {
        match self {
            Self::Number(_) => Type::Scalar,
            Self::Text(_) => Type::Text,
            Self::Selector(..) | Self::Aggregate(..) => Type::Vector,
            Self::Range(..) | Self::Subquery(..) => Type::Matrix,
            Self::Call(name, _) if SCALARS.contains(name) => Type::Scalar,
            Self::Call(..) => Type::Vector,
            Self::Binary(_, _, sides) => match (sides.0.kind(), sides.1.kind()) {
                (Type::Scalar, Type::Scalar) => Type::Scalar,
                _ => Type::Vector,
            },
            Self::Negate(inner) | Self::Paren(inner) => inner.kind(),
        }
    }

    /// The labels that its series may bear, for queries that are to find something.
    pub fn labels(&self) -> Vec<&'static str> {
        match self {
            Self::Number(_) | Self::Text(_) => Vec::new(),
            Self::Selector(_, _, labels) | Self::Range(_, _, _, labels) => labels.clone(),
            Self::Subquery(inner, ..) | Self::Negate(inner) | Self::Paren(inner) => inner.labels(),
            Self::Call(_, arguments) => {
                arguments.iter().map(Self::labels).find(|labels| !labels.is_empty()).unwrap_or_default()
            }
            Self::Aggregate("topk" | "bottomk", _, _, inner) => inner.labels(),
            Self::Aggregate(_, None, _, _) => Vec::new(),
            Self::Aggregate(_, Some(grouping), _, inner) => {
                let mut labels = inner.labels();
                labels.retain(|label| grouping.labels.contains(label) != grouping.without);
                labels
            }
            Self::Binary(_, matching, sides) => {
                let mut labels =
                    if sides.0.kind() == Type::Vector { sides.0.labels() } else { sides.1.labels() };
                if let (None, Some((on, only))) = (&matching.group, &matching.labels) {
                    labels.retain(|label| only.contains(label) == *on);
                }
                labels
            }
        }
    }

    /// The parts that have a value of their own, with the times at which this node asks for them. `start()` and `end()` should be
    /// [`Query::pinned`] before.
    pub fn parts(&self, when: When) -> Vec<(&Self, When)> {
        match self {
            Self::Number(_) | Self::Text(_) | Self::Selector(..) | Self::Range(..) => Vec::new(),
            Self::Subquery(inner, range, step, shift) => {
                vec![(inner, inside(when, *range, step.unwrap_or(60), *shift))]
            }
            Self::Call(_, arguments) => arguments.iter().map(|argument| (argument, when)).collect(),
            Self::Aggregate(_, _, parameter, inner) => {
                let parameter = parameter.iter().map(|parameter| (&**parameter, when));
                parameter.chain([(&**inner, when)]).collect()
            }
            Self::Binary(_, _, sides) => vec![(&sides.0, when), (&sides.1, when)],
            Self::Negate(inner) | Self::Paren(inner) => vec![(inner, when)],
        }
    }

    /// The edges of a range vector's window at a time, in seconds; `None` for what has none.
    pub fn window(&self, at: i64) -> Option<(i64, i64)> {
        let (range, shift) = match self {
            Self::Range(_, range, shift, _) | Self::Subquery(_, range, _, shift) => (range, shift),
            _ => return None,
        };
        let at = if let Some(At::Time(at)) = shift.at { at } else { at };
        let right = at - shift.offset.unwrap_or(0);
        Some((right - range, right))
    }

    /// The same with times in place of `start()` and `end()`, so that parts of it can be asked for other times.
    pub fn pinned(&self, when: When) -> Self {
        let mut pinned = self.clone();
        pinned.pin(when.bounds());
        pinned
    }

    fn pin(&mut self, bounds: (i64, i64)) {
        let fix = |shift: &mut Shift| match shift.at {
            Some(At::Start) => shift.at = Some(At::Time(bounds.0)),
            Some(At::End) => shift.at = Some(At::Time(bounds.1)),
            _ => {}
        };
        match self {
            Self::Number(_) | Self::Text(_) => {}
            Self::Selector(_, shift, _) | Self::Range(_, _, shift, _) => fix(shift),
            Self::Subquery(inner, _, _, shift) => {
                fix(shift);
                inner.pin(bounds);
            }
            Self::Call(_, arguments) => arguments.iter_mut().for_each(|argument| argument.pin(bounds)),
            Self::Aggregate(_, _, parameter, inner) => {
                parameter.iter_mut().for_each(|parameter| parameter.pin(bounds));
                inner.pin(bounds);
            }
            Self::Binary(_, _, sides) => {
                sides.0.pin(bounds);
                sides.1.pin(bounds);
            }
            Self::Negate(inner) | Self::Paren(inner) => inner.pin(bounds),
        }
    }

    /// Visits this node and all below.
    pub fn visit<'q>(&'q self, see: &mut dyn FnMut(&'q Self)) {
        see(self);
        for (part, _) in self.parts(When::Instant(0)) {
            part.visit(see);
        }
    }

    /// The operator, function or kind of node, as reports call it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Number(_) => "number",
            Self::Text(_) => "text",
            Self::Selector(..) => "selector",
            Self::Range(..) => "range selector",
            Self::Subquery(..) => "subquery",
            Self::Call(name, _) | Self::Aggregate(name, ..) | Self::Binary(name, ..) => name,
            Self::Negate(_) => "negation",
            Self::Paren(_) => "parentheses",
        }
    }

    /// The text in the words of a version.
    pub fn text(&self, words: Words) -> String {
        Printed(self, words).to_string()
    }
}

/// The steps of a subquery that any of these times looks at, and perhaps some between them.
fn inside(when: When, range: i64, step: i64, shift: Shift) -> When {
    let (first, last) = match (shift.at, when.bounds()) {
        (Some(At::Time(at)), _) => (at, at),
        (_, bounds) => bounds,
    };
    let offset = shift.offset.unwrap_or(0);
    let (left, end) = (first - offset - range, last - offset);
    let start = left.div_euclid(step) * step + step;
    When::Range { start, end: end.max(start), step }
}

/// The binding of what a node prints: the greater, the tighter.
fn precedence(query: &Query) -> u8 {
    match query {
        Query::Binary(op, ..) => operator(op),
        Query::Negate(_) => 5,
        // A minus sign of its own makes no difference to those before it.
        _ => 9,
    }
}

fn operator(op: &str) -> u8 {
    match op {
        "or" => 1,
        "and" | "unless" => 2,
        "==" | "!=" | ">" | "<" | ">=" | "<=" => 3,
        "+" | "-" => 4,
        "^" => 6,
        _ => 5,
    }
}

struct Printed<'q>(&'q Query, Words);

impl Printed<'_> {
    fn of<'q>(&self, query: &'q Query) -> Printed<'q> {
        Printed(query, self.1)
    }

    /// In parentheses where it would be read otherwise.
    fn side(&self, query: &Query, wrap: bool, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if wrap { write!(out, "({})", self.of(query)) } else { write!(out, "{}", self.of(query)) }
    }

    fn function(&self, name: &'static str) -> &'static str {
        match (name, self.1) {
            ("holt_winters", Words::Three) => "double_exponential_smoothing",
            (name, _) => name,
        }
    }
}

impl fmt::Display for Printed<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Query::Number(text) | Query::Text(text) => out.write_str(text),
            Query::Selector(text, shift, _) => write!(out, "{text}{shift}"),
            Query::Range(text, range, shift, _) => write!(out, "{text}[{}]{shift}", duration(*range)),
            Query::Subquery(inner, range, step, shift) => {
                self.side(inner, matches!(**inner, Query::Binary(..) | Query::Negate(_)), out)?;
                let step = step.map(duration).unwrap_or_default();
                write!(out, "[{}:{step}]{shift}", duration(*range))
            }
            Query::Call(name, arguments) => {
                let arguments: Vec<_> = arguments.iter().map(|one| self.of(one).to_string()).collect();
                write!(out, "{}({})", self.function(name), arguments.join(", "))
            }
            Query::Aggregate(op, grouping, parameter, inner) => {
                out.write_str(op)?;
                if let Some(Grouping { without, labels }) = grouping {
                    write!(out, " {} ({}) ", if *without { "without" } else { "by" }, labels.join(", "))?;
                }
                let parameter = parameter.iter().map(|one| format!("{}, ", self.of(one))).collect::<String>();
                write!(out, "({parameter}{})", self.of(inner))
            }
            Query::Binary(op, matching, sides) => {
                let binds = operator(op);
                let (left, right) = (precedence(&sides.0), precedence(&sides.1));
                let power = *op == "^";
                self.side(&sides.0, left < binds || (power && left <= binds), out)?;
                write!(out, " {op}{matching} ")?;
                let wrap = right < binds || (right == binds && !power) || matches!(sides.1, Query::Negate(_));
                self.side(&sides.1, wrap, out)
            }
            Query::Negate(inner) => {
                out.write_str("-")?;
                self.side(inner, precedence(inner) <= 5, out)
            }
            Query::Paren(inner) => write!(out, "({})", self.of(inner)),
        }
    }
}

impl fmt::Display for Shift {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            Some(At::Time(at)) => write!(out, " @ {at}")?,
            Some(At::Start) => out.write_str(" @ start()")?,
            Some(At::End) => out.write_str(" @ end()")?,
            None => {}
        }
        match self.offset {
            Some(offset) if offset < 0 => write!(out, " offset -{}", duration(-offset)),
            Some(offset) => write!(out, " offset {}", duration(offset)),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Matching {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.bool {
            out.write_str(" bool")?;
        }
        if let Some((on, labels)) = &self.labels {
            write!(out, " {} ({})", if *on { "on" } else { "ignoring" }, labels.join(", "))?;
        }
        if let Some((group, labels)) = &self.group {
            write!(out, " {group} ({})", labels.join(", "))?;
        }
        Ok(())
    }
}

/// Such as `1h5m20s`.
fn duration(seconds: i64) -> String {
    let mut text = String::new();
    for (unit, length) in [("h", 3600), ("m", 60), ("s", 1)] {
        let count = match unit {
            "h" => seconds / 3600,
            "m" => seconds % 3600 / 60,
            _ => seconds % 60,
        };
        if count > 0 || (length == 1 && text.is_empty()) {
            text.push_str(&format!("{count}{unit}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &'static str) -> Query {
        Query::Number(text)
    }

    fn binary(op: &'static str, left: Query, right: Query) -> Query {
        Query::Binary(op, Matching::default(), Box::new((left, right)))
    }

    #[test]
    fn what_binds_looser_stands_in_parentheses() {
        let check = |query: Query, text: &str| assert_eq!(query.text(Words::Two), text);
        let sum = || binary("+", number("1"), number("2"));
        check(binary("*", sum(), number("3")), "(1 + 2) * 3");
        check(binary("-", number("3"), sum()), "3 - (1 + 2)");
        check(binary("-", sum(), number("3")), "1 + 2 - 3");
        let power = || binary("^", number("2"), number("3"));
        check(binary("^", power(), number("2")), "(2 ^ 3) ^ 2");
        check(binary("^", number("2"), power()), "2 ^ 2 ^ 3");
        check(Query::Negate(Box::new(power())), "-2 ^ 3");
        check(Query::Negate(Box::new(sum())), "-(1 + 2)");
        check(binary("^", Query::Negate(Box::new(number("2"))), number("2")), "(-2) ^ 2");
        let shift = Shift { offset: Some(-90), at: Some(At::Start) };
        let range = Query::Range("x".into(), 3_620, shift, Vec::new());
        let smooth = Query::Call("holt_winters", vec![range, number("0.5"), number("0.5")]);
        check(smooth.clone(), "holt_winters(x[1h20s] @ start() offset -1m30s, 0.5, 0.5)");
        assert_eq!(
            smooth.pinned(When::Instant(60)).text(Words::Three),
            "double_exponential_smoothing(x[1h20s] @ 60 offset -1m30s, 0.5, 0.5)"
        );
    }

    #[test]
    fn a_subquery_asks_for_the_steps_in_its_window() {
        let inner = Query::Selector("x".into(), Shift::default(), Vec::new());
        let shift = Shift { offset: Some(60), at: None };
        let query = Query::Subquery(Box::new(inner), 320, Some(60), shift);
        let (_, when) = query.parts(When::Instant(6000))[0];
        assert_eq!(when, When::Range { start: 5640, end: 5940, step: 60 });
    }
}
