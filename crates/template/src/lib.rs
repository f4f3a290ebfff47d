//! Go's `text/template` with Prometheus' functions: labels and annotations of alerts are written in it.
//!
//! In: a template's text, an alert's labels and value, and an [`Environment`] that runs queries and tells the time of the
//! evaluation. Out: the expanded text, or an error in Prometheus' words. No I/O, no clock.

use model::{Labels, Timestamp};

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
    text: String,
}

impl Template {
    /// Reads a template. So far texts without actions.
    pub fn parse(name: &str, text: &str) -> Result<Self, TemplateError> {
        if text.contains("{{") {
            let message = "actions are not read yet".to_owned();
            return Err(TemplateError::Parse { name: name.to_owned(), message });
        }
        Ok(Self { text: text.to_owned() })
    }

    /// Expands it for an alert.
    pub fn expand(&self, _: &AlertData<'_>, _: &mut dyn Environment) -> Result<String, TemplateError> {
        Ok(self.text.clone())
    }
}
