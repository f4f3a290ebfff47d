//! Prints a tree in one line, as Prometheus does; what is printed reads back as the same tree.

use std::fmt::{self, Display, Formatter};

use model::{METRIC_NAME, MatchOp, Matcher, is_label_name};

use super::{
    Aggregate, At, Binary, Call, Duration, DurationOp, Edge, Expr, Group, Kind, RangeSelector, Selector,
    Shift, Subquery,
};
use crate::{duration, number};

impl Expr {
    /// The value of a number with the signs before it, which are part of the literal in Prometheus; and whether it was written as a
    /// duration.
    pub(super) fn literal(&self) -> Option<(f64, bool)> {
        match &self.kind {
            Kind::Number(value) => Some((*value, self.is_duration)),
            Kind::Negate(inner) => inner.literal().map(|(value, is_duration)| (-value, is_duration)),
            Kind::Plus(inner) => inner.literal(),
            _ => None,
        }
    }
}

impl Display for Expr {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        if let Some((value, is_duration)) = self.literal() {
            return out.write_str(&print_number(value, is_duration));
        }
        match &self.kind {
            Kind::Number(_) => unreachable!("a number is a literal"),
            Kind::Text(text) => out.write_str(&quote(&text.raw)),
            Kind::Selector(selector) => {
                print_matchers(selector, out)?;
                print_at(&selector.shift, out)?;
                out.write_str(edge(selector.edge))?;
                print_offset(&selector.shift, out)
            }
            Kind::Range(range) => print_range(range, out),
            Kind::Subquery(subquery) => print_subquery(subquery, out),
            Kind::Aggregate(aggregate) => print_aggregate(aggregate, out),
            Kind::Binary(binary) => print_binary(binary, out),
            Kind::Negate(inner) => write!(out, "-{inner}"),
            Kind::Plus(inner) => write!(out, "+{inner}"),
            Kind::Paren(inner) => write!(out, "({inner})"),
            Kind::Call(call) => print_call(call, out),
        }
    }
}

/// A text in double quotes, escaped as Go's `%q` does.
pub(crate) fn quote(bytes: &[u8]) -> String {
    let mut quoted = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        for char in chunk.valid().chars() {
            match char {
                '"' => quoted.push_str("\\\""),
                '\\' => quoted.push_str("\\\\"),
                '\n' => quoted.push_str("\\n"),
                '\t' => quoted.push_str("\\t"),
                '\r' => quoted.push_str("\\r"),
                char if char.is_control() && char.is_ascii() => {
                    quoted.push_str(&format!("\\x{:02x}", char as u32))
                }
                char => quoted.push(char),
            }
        }
        chunk.invalid().iter().for_each(|byte| quoted.push_str(&format!("\\x{byte:02x}")));
    }
    quoted.push('"');
    quoted
}

fn label(name: &str) -> String {
    if is_label_name(name) { name.into() } else { quote(name.as_bytes()) }
}

fn labels(names: &[String]) -> String {
    names.iter().map(|name| label(name)).collect::<Vec<_>>().join(", ")
}

/// A number that was written as a duration stays one, if a duration can be that.
fn print_number(value: f64, is_duration: bool) -> String {
    let millis = (value * 1000.0).round();
    match is_duration && (millis - value * 1000.0).abs() < 1e-6 && millis.abs() <= duration::MILLIS_MAX as f64
    {
        true => duration::format(millis as i64),
        false => number::format_plain(value),
    }
}

fn print_matcher(matcher: &Matcher) -> String {
    format!("{}{}{}", label(matcher.name()), matcher.op().as_str(), quote(matcher.value().as_bytes()))
}

fn print_matchers(selector: &Selector, out: &mut Formatter<'_>) -> fmt::Result {
    let name = selector.name();
    let is_name = |matcher: &Matcher| {
        matcher.name() == METRIC_NAME && matcher.op() == MatchOp::Equal && Some(matcher.value()) == name
    };
    let rest = selector.matchers.iter().filter(|matcher| !is_name(matcher));
    let mut rest: Vec<String> = rest.map(print_matcher).collect();
    rest.sort_unstable();
    out.write_str(name.unwrap_or_default())?;
    if rest.is_empty() && name.is_some() { Ok(()) } else { write!(out, "{{{}}}", rest.join(",")) }
}

fn print_shift(shift: &Shift, out: &mut Formatter<'_>) -> fmt::Result {
    print_at(shift, out)?;
    print_offset(shift, out)
}

fn print_at(shift: &Shift, out: &mut Formatter<'_>) -> fmt::Result {
    match shift.at {
        Some(At::Time(time)) => write!(out, " @ {time}"),
        Some(At::Start) => out.write_str(" @ start()"),
        Some(At::End) => out.write_str(" @ end()"),
        None => Ok(()),
    }
}

fn print_offset(shift: &Shift, out: &mut Formatter<'_>) -> fmt::Result {
    match &shift.offset {
        Some(offset @ Duration::Binary(..)) => write!(out, " offset ({offset})"),
        Some(offset) => write!(out, " offset {offset}"),
        None => Ok(()),
    }
}

fn edge(edge: Edge) -> &'static str {
    match edge {
        Edge::Open => "",
        Edge::Anchored => " anchored",
        Edge::Smoothed => " smoothed",
    }
}

fn print_range(range: &RangeSelector, out: &mut Formatter<'_>) -> fmt::Result {
    print_matchers(&range.selector, out)?;
    write!(out, "[{}]", range.range)?;
    out.write_str(edge(range.selector.edge))?;
    print_shift(&range.selector.shift, out)
}

fn print_subquery(subquery: &Subquery, out: &mut Formatter<'_>) -> fmt::Result {
    write!(out, "{}{}", subquery.expr, subquery_tail(subquery))
}

/// What stands behind the expression of a subquery: `[5m:1m] offset 1h`.
pub(super) fn subquery_tail(subquery: &Subquery) -> impl Display {
    fmt::from_fn(|out| {
        write!(out, "[{}:", subquery.range)?;
        if let Some(step) = &subquery.step {
            write!(out, "{step}")?;
        }
        out.write_str("]")?;
        print_shift(&subquery.shift, out)
    })
}

/// What stands before the parenthesis of an aggregation: `sum by (job) `.
pub(super) fn aggregate_head(aggregate: &Aggregate) -> impl Display {
    fmt::from_fn(|out| {
        out.write_str(aggregate.op.name())?;
        match (&aggregate.grouping.without, aggregate.grouping.labels.as_slice()) {
            (true, names) => write!(out, " without ({}) ", labels(names)),
            (false, []) => Ok(()),
            (false, names) => write!(out, " by ({}) ", labels(names)),
        }
    })
}

fn print_aggregate(aggregate: &Aggregate, out: &mut Formatter<'_>) -> fmt::Result {
    write!(out, "{}(", aggregate_head(aggregate))?;
    match &aggregate.parameter {
        Some(parameter) => write!(out, "{parameter}, {})", aggregate.expr),
        None => write!(out, "{})", aggregate.expr),
    }
}

/// What stands behind a binary operator: ` bool on (job) group_left ()`.
pub(super) fn matching_text(binary: &Binary) -> impl Display {
    fmt::from_fn(|out| {
        if binary.return_bool {
            out.write_str(" bool")?;
        }
        let matching = &binary.matching;
        if matching.on || !matching.labels.is_empty() || matching.group != Group::None {
            let word = if matching.on { "on" } else { "ignoring" };
            write!(out, " {word} ({})", labels(&matching.labels))?;
        }
        match matching.group {
            Group::None => {}
            Group::Left => write!(out, " group_left ({})", labels(&matching.include))?,
            Group::Right => write!(out, " group_right ({})", labels(&matching.include))?,
        }
        for (word, fill) in [("fill_left", matching.fill_left), ("fill_right", matching.fill_right)] {
            if let Some(fill) = fill {
                write!(out, " {word} ({})", number::format_short(fill))?;
            }
        }
        Ok(())
    })
}

fn print_binary(binary: &Binary, out: &mut Formatter<'_>) -> fmt::Result {
    write!(out, "{} {}{} {}", binary.lhs, binary.op.as_str(), matching_text(binary), binary.rhs)
}

fn print_call(call: &Call, out: &mut Formatter<'_>) -> fmt::Result {
    write!(out, "{}(", call.function.name)?;
    for (at, argument) in call.arguments.iter().enumerate() {
        write!(out, "{}{argument}", if at > 0 { ", " } else { "" })?;
    }
    out.write_str(")")
}

impl Display for Duration {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seconds(seconds) => match self.resolve(0, 0) {
                Some(millis) if (millis as f64 - seconds * 1000.0).abs() < 1e-6 => {
                    out.write_str(&duration::format(millis))
                }
                _ => out.write_str(&number::format_plain(*seconds)),
            },
            Self::Step => out.write_str("step()"),
            Self::Range => out.write_str("range()"),
            Self::Negate(inner) => write!(out, "-({inner})"),
            Self::Binary(op, operands) => {
                let (a, b) = &**operands;
                match op {
                    DurationOp::Min => write!(out, "min_of({a}, {b})"),
                    DurationOp::Max => write!(out, "max_of({a}, {b})"),
                    DurationOp::Add => write!(out, "({a} + {b})"),
                    DurationOp::Sub => write!(out, "({a} - {b})"),
                    DurationOp::Mul => write!(out, "({a} * {b})"),
                    DurationOp::Div => write!(out, "({a} / {b})"),
                    DurationOp::Mod => write!(out, "({a} % {b})"),
                    DurationOp::Pow => write!(out, "({a} ^ {b})"),
                }
            }
        }
    }
}
