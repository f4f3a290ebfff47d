//! PromQL over any [`model::SeriesSource`], as Prometheus 3 defines it.
//!
//! In: an expression ([`parse`]), a source, times, [`Options`]. Out: an [`Answer`] (value, annotations, statistics) or a
//! [`QueryError`], both in Prometheus' words. No I/O but the source's, no clock (time is an argument), no
//! thread unless [`Threads`] are given.
//!
//! How it works: an expression is evaluated over all steps of a range query at once. A vector is a stream of series, each a
//! column of one value a step (`budget::Column`), so that `sum(rate(x[5m]))` holds one series and the sums, never all series. Each
//! series of a selector is decoded once; functions over windows slide along its samples. What is the same at every step is
//! evaluated once. Columns are charged to the query's budget and give it back when they go.
//!
//! Limits ([`Options`], [`Expr`]): samples held, steps, series, expression length 256 KiB, depth 200, 100 regular expressions.
//!
//! A step may have a native histogram in place of a number: columns have room for them only where there are any, and what computes
//! with numbers alone never meets them (`eval/native/`).
//!
//! Windows of `anchored`/`smoothed` selectors, fill modifiers, start timestamps and duration arithmetic are behind [`Features`].

mod annotation;
mod ast;
mod budget;
mod duration;
mod error;
mod eval;
mod function;
mod number;
mod options;
mod parse;
mod value;

use model::{MatchOp, Matcher, PatternRoom, SeriesSource, Timestamp};

pub use annotation::{Annotation, Severity};
pub use ast::{Expr, PRETTY_BYTES_MAX, Span, ValueType};
pub use error::{Interrupt, QueryError};
pub use function::{Arity, Function};
pub use number::{format_plain, format_value, push_value};
pub use options::{Features, InterruptCheck, Options, Threads};
pub use parse::{
    ParseError, REGEX_COUNT_MAX, check_length, parse, parse_matchers, parse_matchers_within, parse_with,
    parse_within,
};
pub use value::{Answer, MatrixSeries, Statistics, Value, VectorSample};

/// A condition whose pattern is read as in selectors, as RE2 reads it; for conditions that come by another way than text. Those of one
/// request share the room for what their patterns are compiled to.
///
/// # Errors
/// What is wrong with the pattern.
pub fn matcher(room: &mut PatternRoom, name: &str, op: MatchOp, value: &str) -> Result<Matcher, String> {
    let is_regex = matches!(op, MatchOp::Regex | MatchOp::NotRegex);
    let pattern = if is_regex { model::re2::translate(value) } else { value.to_owned() };
    Matcher::within(room, name, op, &pattern)
        .map_err(|error| format!("error parsing regexp: {}", model::re2::refusal(value, &error.reason)))
}

/// Evaluates an expression at one time. `text` is what the expression was parsed from; annotations take positions from it.
pub fn instant(
    source: &dyn SeriesSource,
    text: &str,
    time: Timestamp,
    options: &Options,
) -> Result<Answer, QueryError> {
    let expr = parse_with(text, options.features)?;
    eval::instant(source, &expr, text, time, options)
}

/// Evaluates an expression at `start`, `start + step`, … up to and including `end`. A scalar or vector expression gives a
/// matrix; others are refused.
pub fn range(
    source: &dyn SeriesSource,
    text: &str,
    start: Timestamp,
    end: Timestamp,
    step: std::time::Duration,
    options: &Options,
) -> Result<Answer, QueryError> {
    let expr = parse_with(text, options.features)?;
    eval::range(source, &expr, text, (start, end, step), options)
}

/// Evaluates a parsed expression at one time; for rules, which are parsed once. `text` is what it was parsed from.
pub fn instant_parsed(
    source: &dyn SeriesSource,
    expr: &Expr,
    text: &str,
    time: Timestamp,
    options: &Options,
) -> Result<Answer, QueryError> {
    eval::instant(source, expr, text, time, options)
}
