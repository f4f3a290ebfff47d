//! `sort` and its like: the order of an instant query's answer. A range query's answer is ordered by labels whatever they say.

use std::cmp::Ordering;

use super::series::{Series, Stream};
use super::{Query, Result, Steps};
use crate::ast::Expr;
use crate::budget::is_present;

impl<'q> Query<'q> {
    pub(super) fn sort(
        &'q self,
        expr: &'q Expr,
        name: &str,
        arguments: &'q [Expr],
        steps: Steps,
    ) -> Result<Stream<'q>> {
        if self.step > 0 {
            self.warn(
                expr,
                "sort is ineffective for range queries since results are always ordered by labels",
            );
        }
        let stream = self.vector(&arguments[0], steps)?;
        if steps.count != 1 {
            return Ok(stream);
        }
        let mut all = stream.collect::<Result<Vec<_>>>()?;
        if matches!(name, "sort" | "sort_desc") {
            // Histograms have no order.
            all.iter_mut().for_each(|series| {
                series.points.drop_histograms();
            });
        }
        all.retain(|series| is_present(series.points[0]));
        let labels: Vec<_> = arguments[1..].iter().map(|label| self.string(label)).collect();
        match name {
            "sort" => all.sort_by(|a, b| by_value(a, b, false)),
            "sort_desc" => all.sort_by(|a, b| by_value(a, b, true)),
            "sort_by_label" => all.sort_by(|a, b| by_labels(a, b, &labels)),
            _ => all.sort_by(|a, b| by_labels(b, a, &labels)),
        }
        Ok(Box::new(all.into_iter().map(Ok)))
    }
}

/// NaN comes last in either direction.
fn by_value(a: &Series, b: &Series, descending: bool) -> Ordering {
    let (a, b) = (a.points[0], b.points[0]);
    match (a.is_nan(), b.is_nan()) {
        (false, false) if descending => b.total_cmp(&a),
        (false, false) => a.total_cmp(&b),
        (a, b) => a.cmp(&b),
    }
}

fn by_labels(a: &Series, b: &Series, names: &[&str]) -> Ordering {
    let value = |name| (a.labels.get(name).unwrap_or_default(), b.labels.get(name).unwrap_or_default());
    let mut orders = names.iter().map(|name| value(name)).map(|(a, b)| natural(a, b));
    orders.find(|order| order.is_ne()).unwrap_or_else(|| a.labels.cmp(&b.labels))
}

/// Runs of digits compare as numbers: `cpu2` before `cpu10`.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    while !a.is_empty() && !b.is_empty() {
        let (a_run, a_rest) = run(a);
        let (b_run, b_rest) = run(b);
        let order = match (a_run.starts_with(digit), b_run.starts_with(digit)) {
            (true, true) => by_number(a_run, b_run),
            _ => a_run.cmp(b_run),
        };
        if order != Ordering::Equal {
            return order;
        }
        (a, b) = (a_rest, b_rest);
    }
    a.len().cmp(&b.len())
}

fn digit(char: char) -> bool {
    char.is_ascii_digit()
}

/// The longest start that is all digits or has none.
fn run(text: &str) -> (&str, &str) {
    let is_number = text.starts_with(digit);
    let end = text.find(|char| digit(char) != is_number).unwrap_or(text.len());
    text.split_at(end)
}

fn by_number(a: &str, b: &str) -> Ordering {
    let (a_digits, b_digits) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
    a_digits
        .len()
        .cmp(&b_digits.len())
        .then_with(|| a_digits.cmp(b_digits))
        .then_with(|| a.len().cmp(&b.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_compare_as_numbers() {
        let mut names = vec!["cpu10", "cpu2", "cpu", "a1b2", "a1b10", "cpu02"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["a1b2", "a1b10", "cpu", "cpu2", "cpu02", "cpu10"]);
    }
}
