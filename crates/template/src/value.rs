//! Values of templates, their types as messages name them, and how Go prints them.

use std::collections::BTreeMap;
use std::rc::Rc;

use model::Labels;

use crate::time::{format_duration, format_time};
use crate::{DEPTH_MAX, OUTPUT_BYTES_MAX, QuerySample};

/// What an expression comes to.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// Nothing: a missing entry, `nil`.
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Rc<str>),
    /// A text that HTML takes as it is (`safeHtml`).
    Html(Rc<str>),
    /// Nanoseconds.
    Duration(i64),
    /// Milliseconds since the epoch.
    Time(i64),
    Labels(Labels),
    /// What `args` makes.
    Map(Rc<Named>),
    Samples(Rc<Vec<Rc<QuerySample>>>),
    Sample(Rc<QuerySample>),
    /// A native histogram, as a text.
    Histogram(Rc<str>),
    Data(Rc<Data>),
}

/// Values by name, and how deep such lie within each other.
#[derive(Debug)]
pub(crate) struct Named {
    depth: usize,
    pub(crate) values: BTreeMap<String, Value>,
}

impl Named {
    /// `None` where it would be nested too deep: printing and dropping go down each level.
    pub(crate) fn new(values: BTreeMap<String, Value>) -> Option<Self> {
        let inner = values.values().map(|value| if let Value::Map(map) = value { map.depth } else { 0 });
        let depth = 1 + inner.max().unwrap_or(0);
        (depth <= DEPTH_MAX).then_some(Self { depth, values })
    }
}

/// The root: `.` at the beginning.
#[derive(Debug)]
pub(crate) struct Data {
    pub(crate) labels: Labels,
    pub(crate) external_labels: Labels,
    pub(crate) external_url: Rc<str>,
    pub(crate) value: Value,
}

impl Value {
    pub(crate) fn text(text: impl AsRef<str>) -> Self {
        Self::Text(text.as_ref().into())
    }

    /// The type as Go names it.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::None => "<nil>",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float64",
            Self::Text(_) => "string",
            Self::Html(_) => "template.HTML",
            Self::Duration(_) => "*time.Duration",
            Self::Time(_) => "*time.Time",
            Self::Labels(_) => "map[string]string",
            Self::Map(_) => "map[string]interface {}",
            Self::Samples(_) => "template.queryResult",
            Self::Sample(_) => "*template.sample",
            Self::Histogram(_) => "*histogram.FloatHistogram",
            Self::Data(_) => {
                "struct { Labels map[string]string; ExternalLabels map[string]string; ExternalURL string; Value interface {} }"
            }
        }
    }

    /// Whether `if` takes it as true.
    pub(crate) fn is_true(&self) -> bool {
        match self {
            Self::None => false,
            Self::Bool(value) => *value,
            Self::Int(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Text(text) | Self::Html(text) => !text.is_empty(),
            Self::Labels(labels) => !labels.is_empty(),
            Self::Map(map) => !map.values.is_empty(),
            Self::Samples(samples) => !samples.is_empty(),
            Self::Duration(_) | Self::Time(_) | Self::Sample(_) | Self::Histogram(_) | Self::Data(_) => true,
        }
    }

    /// As `%v` prints it; a sample that is reached from another value bears a sign. Stops where the text is too long for anybody to
    /// take it: values that hold each other twice would print for ever.
    pub(crate) fn print(&self, out: &mut String) {
        if out.len() > OUTPUT_BYTES_MAX {
            return;
        }
        match self {
            Self::None => out.push_str("<nil>"),
            Self::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Int(value) => out.push_str(&value.to_string()),
            Self::Float(value) => out.push_str(&crate::number::general(*value, None)),
            Self::Text(text) | Self::Html(text) | Self::Histogram(text) => out.push_str(text),
            Self::Duration(nanos) => out.push_str(&format_duration(*nanos)),
            Self::Time(millis) => out.push_str(&format_time(*millis)),
            Self::Labels(labels) => {
                print_map(labels.iter().map(|(name, text)| (name, Self::text(text))), out)
            }
            Self::Map(map) => print_map(map.values.iter().map(|(name, value)| (&**name, value.clone())), out),
            Self::Samples(samples) => {
                out.push('[');
                for (index, sample) in samples.iter().enumerate() {
                    if index > 0 {
                        out.push(' ');
                    }
                    Self::Sample(Rc::clone(sample)).print(out);
                }
                out.push(']');
            }
            Self::Sample(sample) => {
                out.push('&');
                print_sample(sample, out);
            }
            Self::Data(data) => {
                out.push('{');
                Self::Labels(data.labels.clone()).print(out);
                out.push(' ');
                Self::Labels(data.external_labels.clone()).print(out);
                out.push(' ');
                out.push_str(&data.external_url);
                out.push(' ');
                data.value.print(out);
                out.push('}');
            }
        }
    }

    /// As an action writes it: what is nothing says so, and signs of references are left out.
    pub(crate) fn print_shown(&self, out: &mut String) {
        match self {
            Self::None => out.push_str("<no value>"),
            Self::Sample(sample) => print_sample(sample, out),
            other => other.print(out),
        }
    }
}

fn print_map<'v>(pairs: impl Iterator<Item = (&'v str, Value)>, out: &mut String) {
    out.push_str("map[");
    for (index, (name, value)) in pairs.enumerate() {
        if index > 0 {
            out.push(' ');
        }
        out.push_str(name);
        out.push(':');
        value.print(out);
    }
    out.push(']');
}

fn print_sample(sample: &QuerySample, out: &mut String) {
    out.push('{');
    Value::Labels(sample.labels.clone()).print(out);
    out.push(' ');
    Value::Float(sample.value).print(out);
    out.push('}');
}
