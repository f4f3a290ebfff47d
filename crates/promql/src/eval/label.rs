//! `label_replace` and `label_join`.

use model::{METRIC_NAME, re2};
use regex::Regex;

use super::series::{Series, Stream};
use super::{Query, Result, Steps};
use crate::ast::{Expr, Kind};
use crate::error::QueryError;

/// The longest label value that an expression may make, in bytes.
const LABEL_BYTES_MAX: usize = 64 * 1024;
/// Bytes of memory that one compiled pattern may take: as many may be there at once as an expression is deep.
const REGEX_BYTES_MAX: usize = 1 << 20;

impl<'q> Query<'q> {
    pub(super) fn label_replace(&'q self, arguments: &'q [Expr], steps: Steps) -> Result<Stream<'q>> {
        let [_, destination, replacement, source, pattern] = arguments else {
            unreachable!("the number of arguments is checked");
        };
        let (destination, replacement) = (self.string(destination), self.string(replacement));
        let (source, pattern) = (self.string(source), self.string(pattern));
        self.check_label(&arguments[1], "destination label name in label_replace()")?;
        let regex = compile(pattern)?;
        self.relabelled(&arguments[0], steps, destination, move |series| {
            let value = series.labels.get(source).unwrap_or_default();
            let Some(captures) = regex.captures(value) else {
                return Ok(None);
            };
            // Before it is made: no capture is longer than the value.
            let references = replacement.bytes().filter(|byte| *byte == b'$').count();
            check_length(replacement.len().saturating_add(references.saturating_mul(value.len())))?;
            let mut new = String::new();
            captures.expand(replacement, &mut new);
            Ok(Some(new))
        })
    }

    pub(super) fn label_join(&'q self, arguments: &'q [Expr], steps: Steps) -> Result<Stream<'q>> {
        let texts: Vec<_> = arguments[1..].iter().map(|argument| self.string(argument)).collect();
        let (destination, separator) = (texts[0], texts[1]);
        self.check_label(&arguments[1], "destination label name in label_join()")?;
        arguments[3..]
            .iter()
            .try_for_each(|name| self.check_label(name, "source label name in label_join()"))?;
        self.relabelled(&arguments[0], steps, destination, move |series| {
            let values: Vec<_> =
                texts[2..].iter().map(|name| series.labels.get(name).unwrap_or_default()).collect();
            let separators = separator.len().saturating_mul(values.len());
            check_length(values.iter().map(|value| value.len()).sum::<usize>().saturating_add(separators))?;
            Ok(Some(values.join(separator)))
        })
    }

    /// A label's name is any text but the empty one.
    fn check_label(&self, argument: &Expr, what: &str) -> Result<()> {
        match &argument.bare().kind {
            Kind::Text(text) if !text.value.is_empty() && std::str::from_utf8(&text.raw).is_ok() => Ok(()),
            _ => Err(QueryError::execution(format!("invalid {what}: {}", argument.bare()))),
        }
    }

    /// Sets a label of each series to what `value` says; `None` leaves the series as it is.
    fn relabelled(
        &'q self,
        argument: &'q Expr,
        steps: Steps,
        destination: &'q str,
        value: impl Fn(&Series) -> Result<Option<String>> + 'q,
    ) -> Result<Stream<'q>> {
        let stream = self.vector(argument, steps)?.map(move |series| {
            let mut series = series?;
            if let Some(new) = value(&series)? {
                series.points.weigh(new.len())?;
                let mut builder = series.labels.to_builder();
                builder.set(destination, &new);
                series.labels = builder.build();
                // A name that was given on purpose stays.
                series.drop_name &= destination != METRIC_NAME;
            }
            Ok(series)
        });
        self.merged(Box::new(stream))
    }
}

/// Expressions must not make labels grow without end.
fn check_length(bytes: usize) -> Result<()> {
    if bytes <= LABEL_BYTES_MAX {
        return Ok(());
    }
    Err(QueryError::execution(format!(
        "a new label value could be {bytes} bytes long, more than {LABEL_BYTES_MAX}"
    )))
}

fn compile(pattern: &str) -> Result<Regex> {
    let anchored = format!("^(?s:{})$", re2::translate(pattern));
    regex::RegexBuilder::new(&anchored).size_limit(REGEX_BYTES_MAX).build().map_err(|error| {
        let reason = error.to_string();
        let why = re2::one_line(&reason);
        QueryError::execution(format!("invalid regular expression in label_replace(): {pattern}: {why}"))
    })
}
