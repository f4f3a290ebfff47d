//! Go's `text/template` with Prometheus' functions: labels and annotations of alerts are written in it.
//!
//! In: a template's text, an alert's labels and value, and an [`Environment`] that runs queries and tells the time of the
//! evaluation. Out: the expanded text, or an error in Prometheus' words. No I/O, no clock.
//!
//! The language is Go's, whole but for complex numbers and methods of values (`.Format` of a time). The functions are Go's and
//! Prometheus' (3.x), with `tmpl`, which Prometheus has in its consoles alone.
//!
//! Limits: a text of [`Template::TEXT_BYTES_MAX`] bytes, nested 100 deep; an expanded text of 1 MiB; so much work as some hundred
//! queries, a million steps or 64 MiB of texts made on the way. What a query costs is the environment's to bound.

mod exec;
mod format;
mod functions;
mod lex;
mod node;
mod number;
mod parse;
mod time;
mod value;

use std::rc::Rc;

use model::{Labels, Timestamp};

use crate::parse::Tree;
use crate::value::{Data, Value};

/// Variables that every template has.
const PRELUDE: &str = "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}{{$externalURL := .ExternalURL}}{{$value := .Value}}";
/// How deep actions, parentheses and invocations may be nested.
const DEPTH_MAX: usize = 100;
/// Bytes that an expanded text may have.
const OUTPUT_BYTES_MAX: usize = 1 << 20;
/// Bytes made and steps taken (16 each).
const WORK_MAX: usize = 64 << 20;

/// What a template knows about the alert that it is expanded for.
#[derive(Clone, Copy, Debug)]
pub struct AlertData<'a> {
    /// `.Labels`, `$labels`.
    pub labels: &'a Labels,
    /// `.ExternalLabels`, `$externalLabels`.
    pub external_labels: &'a Labels,
    /// `.ExternalURL`, `$externalURL`, `externalURL`.
    pub external_url: &'a str,
    /// `.Value`, `$value`.
    pub value: f64,
    /// The value as Prometheus prints a native histogram, where it is one; `value` is not looked at then.
    pub histogram: Option<&'a str>,
}

/// One element of what a query in a template finds.
#[derive(Clone, Debug)]
pub struct QuerySample {
    /// Its labels.
    pub labels: Labels,
    /// Its value.
    pub value: f64,
}

/// What a template may ask of the world.
pub trait Environment {
    /// An instant query at the time of the evaluation; the error is shown as it is.
    fn query(&mut self, expr: &str) -> Result<Vec<QuerySample>, String>;
    /// The time of the evaluation.
    fn now(&self) -> Timestamp;
}

/// Why a template could not be read or expanded, in Prometheus' words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// The text is no template.
    #[error("error parsing template {name}: {message}")]
    Parse {
        /// The template's name.
        name: String,
        /// What is wrong and where.
        message: String,
    },
    /// It could not be expanded.
    #[error("error executing template {name}: {message}")]
    Execute {
        /// The template's name.
        name: String,
        /// What is wrong and where.
        message: String,
    },
}

/// A template that was read.
#[derive(Clone, Debug)]
pub struct Template {
    name: String,
    /// With the prelude: places in messages count it, as Prometheus' do.
    text: String,
    tree: Tree,
}

impl Template {
    /// Bytes that a template's text may have.
    pub const TEXT_BYTES_MAX: usize = 256 << 10;

    /// Reads a template; `name` stands in messages (Prometheus: `__alert_` and the alert's name).
    pub fn parse(name: &str, text: &str) -> Result<Self, TemplateError> {
        let failed = |message| TemplateError::Parse { name: name.to_owned(), message };
        if text.len() > Self::TEXT_BYTES_MAX {
            let message =
                format!("template: {name}: it exceeds {} bytes: make it shorter", Self::TEXT_BYTES_MAX);
            return Err(failed(message));
        }
        let text = format!("{PRELUDE}{text}");
        let tree = parse::parse(name, &text).map_err(failed)?;
        Ok(Self { name: name.to_owned(), text, tree })
    }

    /// Whether it asks the store anywhere: what it says then need not be of its alert.
    pub fn queries(&self) -> bool {
        self.tree.calls("query")
    }

    /// Expands it for an alert.
    pub fn expand(
        &self,
        data: &AlertData<'_>,
        environment: &mut dyn Environment,
    ) -> Result<String, TemplateError> {
        let external_url: Rc<str> = data.external_url.into();
        let root = Data {
            labels: data.labels.clone(),
            external_labels: data.external_labels.clone(),
            external_url: Rc::clone(&external_url),
            value: data.histogram.map_or(Value::Float(data.value), |text| Value::Histogram(text.into())),
        };
        exec::expand(
            (&self.name, &self.text, &self.tree),
            Value::Data(Rc::new(root)),
            external_url,
            environment,
        )
        .map_err(|message| TemplateError::Execute { name: self.name.clone(), message })
    }
}

#[cfg(test)]
mod tests;
