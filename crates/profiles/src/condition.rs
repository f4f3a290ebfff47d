//! Conditions on a row: what must hold for a row, a metric or a case of an encoding.

use regex::bytes::Regex;

use crate::profile::{Number, Source};
use crate::units::Conversion;

/// One condition.
#[derive(Debug)]
pub(crate) enum Condition {
    /// A text matches a pattern, or does not.
    Matches { of: Vec<Source>, pattern: Regex, wanted: bool },
    /// A number is there, or is not.
    Known { of: Number, wanted: bool },
    /// A number is one of these, or none.
    Is { of: Number, values: Vec<f64>, wanted: bool },
    /// A number lies within bounds, both included.
    Within { of: Reading, least: f64, most: f64 },
    /// Two numbers differ by no more than this.
    Near { of: Reading, other: Reading, within: f64 },
    /// A number lies between two others, both included, give or take the margin.
    Between { of: Reading, low: Reading, high: Reading, margin: f64 },
    /// All of one of the lists.
    Any(Vec<Vec<Condition>>),
}

/// A number read in a unit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    pub(crate) of: Number,
    pub(crate) conversion: Conversion,
}

/// Where a condition's numbers and texts come from.
pub(crate) trait Row {
    /// The number, or a NaN.
    fn number(&self, number: Number) -> f64;
    /// Whether the first source that is not empty matches.
    fn matches(&self, sources: &[Source], pattern: &Regex) -> bool;
}

impl Condition {
    /// Whether it is about texts alone, which change rarely.
    pub(crate) fn is_of_texts(&self) -> bool {
        match self {
            Self::Matches { .. } => true,
            Self::Any(lists) => lists.iter().flatten().all(Self::is_of_texts),
            _ => false,
        }
    }

    /// The numbers that it looks at.
    pub(crate) fn numbers(&self, out: &mut Vec<Number>) {
        match self {
            Self::Matches { .. } => {}
            Self::Known { of, .. } | Self::Is { of, .. } => out.push(*of),
            Self::Within { of, .. } => out.push(of.of),
            Self::Near { of, other, .. } => out.extend([of.of, other.of]),
            Self::Between { of, low, high, .. } => out.extend([of.of, low.of, high.of]),
            Self::Any(lists) => lists.iter().flatten().for_each(|condition| condition.numbers(out)),
        }
    }

    /// Whether it holds. What is missing makes it false (but for `known: false`).
    pub(crate) fn holds(&self, row: &dyn Row) -> bool {
        let read = |reading: &Reading| reading.conversion.apply(row.number(reading.of), 0);
        match self {
            Self::Matches { of, pattern, wanted } => row.matches(of, pattern) == *wanted,
            Self::Known { of, wanted } => row.number(*of).is_nan() != *wanted,
            Self::Is { of, values, wanted } => {
                let number = row.number(*of);
                !number.is_nan() && values.contains(&number) == *wanted
            }
            Self::Within { of, least, most } => (*least..=*most).contains(&read(of)),
            Self::Near { of, other, within } => (read(of) - read(other)).abs() <= *within,
            Self::Between { of, low, high, margin } => {
                let value = read(of);
                read(low) - margin <= value && value <= read(high) + margin
            }
            Self::Any(lists) => lists.iter().any(|list| all(list, row)),
        }
    }
}

/// Whether all hold.
pub(crate) fn all(conditions: &[Condition], row: &dyn Row) -> bool {
    conditions.iter().all(|condition| condition.holds(row))
}
