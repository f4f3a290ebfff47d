//! Prints a tree over several lines, as `format_query` of Prometheus' HTTP API does: what does not fit one line of
//! [`LINE_BYTES_MAX`] is split at its node, two spaces deeper each level.
//!
//! Limits: the result has at most [`PRETTY_BYTES_MAX`] bytes. Time is linear in the number of nodes: of each, no more is looked at
//! than a line holds.

use std::fmt::{self, Display, Write};

use super::print::{aggregate_head, matching_text, subquery_tail};
use super::{Aggregate, Binary, Call, Expr, Kind, Subquery};

/// Longest line that is not split; names and texts can be longer.
const LINE_BYTES_MAX: usize = 100;

/// Largest result, in bytes.
pub const PRETTY_BYTES_MAX: usize = 4 << 20;

impl Expr {
    /// The expression over as many lines as it needs; `None` where the result has more than [`PRETTY_BYTES_MAX`] bytes.
    pub fn pretty(&self) -> Option<String> {
        let mut out = Bounded::default();
        write_pretty(self, 0, &mut out).ok()?;
        Some(out.text)
    }
}

/// A text that refuses to grow beyond [`PRETTY_BYTES_MAX`].
#[derive(Default)]
struct Bounded {
    text: String,
    /// Spaces are left out until something else comes.
    trims: bool,
}

impl Write for Bounded {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        let more = if self.trims { more.trim_start() } else { more };
        if more.is_empty() {
            return Ok(());
        }
        self.trims = false;
        if more.len() > PRETTY_BYTES_MAX - self.text.len() {
            return Err(fmt::Error);
        }
        self.text.push_str(more);
        Ok(())
    }
}

/// Bytes that are left on a line.
struct Line(usize);

impl Write for Line {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        self.0 = self.0.checked_sub(more.len()).ok_or(fmt::Error)?;
        Ok(())
    }
}

fn fits_a_line(expr: &Expr) -> bool {
    write!(Line(LINE_BYTES_MAX), "{expr}").is_ok()
}

/// Spaces of a level.
struct Indent(usize);

impl Display for Indent {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:1$}", "", 2 * self.0)
    }
}

/// A node on lines of its own, the first one indented too.
fn write_pretty(expr: &Expr, level: usize, out: &mut Bounded) -> fmt::Result {
    let indent = Indent(level);
    match &expr.kind {
        // Prometheus forgets the indentation of a subquery on one line; so do we, to give the same text.
        Kind::Subquery(_) if fits_a_line(expr) => write!(out, "{expr}"),
        Kind::Subquery(subquery) => write_subquery(subquery, level, out),
        _ if expr.literal().is_some() => write!(out, "{indent}{expr}"),
        Kind::Negate(inner) => write_signed('-', inner, level, out),
        Kind::Plus(inner) => write_signed('+', inner, level, out),
        _ if fits_a_line(expr) => write!(out, "{indent}{expr}"),
        Kind::Number(_) | Kind::Text(_) | Kind::Selector(_) | Kind::Range(_) => write!(out, "{indent}{expr}"),
        Kind::Aggregate(aggregate) => write_aggregate(aggregate, level, out),
        Kind::Binary(binary) => write_binary(binary, level, out),
        Kind::Paren(inner) => {
            writeln!(out, "{indent}(")?;
            write_pretty(inner, level + 1, out)?;
            write!(out, "\n{indent})")
        }
        Kind::Call(call) => write_call(call, level, out),
    }
}

fn write_subquery(subquery: &Subquery, level: usize, out: &mut Bounded) -> fmt::Result {
    write_pretty(&subquery.expr, level, out)?;
    write!(out, "{}", subquery_tail(subquery))
}

fn write_signed(sign: char, inner: &Expr, level: usize, out: &mut Bounded) -> fmt::Result {
    write!(out, "{}{sign}", Indent(level))?;
    // The operand follows the sign, whatever its first line's indentation.
    out.trims = true;
    write_pretty(inner, level, out)
}

fn write_aggregate(aggregate: &Aggregate, level: usize, out: &mut Bounded) -> fmt::Result {
    writeln!(out, "{}{}(", Indent(level), aggregate_head(aggregate))?;
    if let Some(parameter) = &aggregate.parameter {
        write_pretty(parameter, level + 1, out)?;
        out.write_str(",\n")?;
    }
    write_pretty(&aggregate.expr, level + 1, out)?;
    write!(out, "\n{})", Indent(level))
}

fn write_binary(binary: &Binary, level: usize, out: &mut Bounded) -> fmt::Result {
    write_pretty(&binary.lhs, level + 1, out)?;
    write!(out, "\n{}{}{}\n", Indent(level), binary.op.as_str(), matching_text(binary))?;
    write_pretty(&binary.rhs, level + 1, out)
}

fn write_call(call: &Call, level: usize, out: &mut Bounded) -> fmt::Result {
    writeln!(out, "{}{}(", Indent(level), call.function.name)?;
    for (at, argument) in call.arguments.iter().enumerate() {
        out.write_str(if at > 0 { ",\n" } else { "" })?;
        write_pretty(argument, level + 1, out)?;
    }
    write!(out, "\n{})", Indent(level))
}

#[cfg(test)]
mod tests {
    use crate::parse;

    fn check(text: &str, expected: &str) {
        let pretty = parse(text).expect("it is right").pretty().expect("it is short");
        assert_eq!(pretty, expected, "{text}");
        let again = parse(&pretty).expect("what is printed is right").pretty();
        assert_eq!(again.as_deref(), Some(expected), "printed, read and printed again");
    }

    #[test]
    fn what_fits_a_line_stays_on_it() {
        check("sum by(job)(rate(x[5m]))", "sum by (job) (rate(x[5m]))");
        check(&format!("({})", "x".repeat(98)), &format!("({})", "x".repeat(98)));
        check(&format!("({})", "x".repeat(99)), &format!("(\n  {}\n)", "x".repeat(99)));
    }

    #[test]
    fn operators_stand_alone_between_their_deeper_operands() {
        let (a, b) = ("a".repeat(60), "b".repeat(60));
        check(
            &format!("{a} > bool {b} + on(x) group_left(y) c"),
            &format!("  {a}\n> bool\n  {b} + on (x) group_left (y) c"),
        );
        check(&format!("{a} + {b} + c"), &format!("    {a}\n  +\n    {b}\n+\n  c"));
    }

    #[test]
    fn arguments_stand_on_lines_of_their_own() {
        let a = "a".repeat(95);
        check(
            &format!("-histogram_quantile(0.9, sum by (le) (rate({a}[1m])))"),
            &format!(
                "-histogram_quantile(\n  0.9,\n  sum by (le) (\n    rate(\n      {a}[1m]\n    )\n  )\n)"
            ),
        );
        check(&format!("topk(3, {a})"), &format!("topk(\n  3,\n  {a}\n)"));
        check(
            &format!("max_over_time(rate({a}[1m])[1m:] @ start() offset 1m)"),
            &format!("max_over_time(\n  rate(\n    {a}[1m]\n  )[1m:] @ start() offset 1m\n)"),
        );
        // As in Prometheus, a subquery on one line is not indented.
        check(
            &format!("rate({}[1m:] offset 1m)", &a[..80]),
            &format!("rate(\n{}[1m:] offset 1m\n)", &a[..80]),
        );
    }

    #[test]
    fn what_would_grow_beyond_its_bound_is_refused() {
        let mut text = format!("label_join(x{})", ", \"\"".repeat(198));
        for _ in 0..7 {
            text = format!("({text}) or ({text})");
        }
        let nested = |levels: usize| format!("{}{text}{}", "(".repeat(levels), ")".repeat(levels));
        let pretty = |levels| parse(&nested(levels)).expect("it is right").pretty();
        assert!(pretty(1).is_some_and(|pretty| pretty.len() < super::PRETTY_BYTES_MAX));
        assert_eq!(pretty(150), None);
    }
}
