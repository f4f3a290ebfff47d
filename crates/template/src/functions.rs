//! The functions that templates can call, by name: Go's and Prometheus'.

mod builtin;
mod humanize;
mod link;

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::exec::{Exec, Stop};
use crate::format;
use crate::value::{Named, Value};

/// What a parameter takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parameter {
    /// Anything (`interface {}`).
    Any,
    /// Anything, and nothing, too (`reflect.Value`).
    Reflect,
    Text,
    Sample,
    Samples,
}

impl Parameter {
    pub(crate) fn type_name(self) -> &'static str {
        match self {
            Self::Any => "interface {}",
            Self::Reflect => "reflect.Value",
            Self::Text => "string",
            Self::Sample => "*template.sample",
            Self::Samples => "template.queryResult",
        }
    }
}

/// What a function takes: so many, and any number more where `rest` is set.
pub(crate) struct Signature {
    pub(crate) fixed: &'static [Parameter],
    pub(crate) rest: Option<Parameter>,
}

/// Why a function gives nothing.
pub(crate) enum Failure {
    /// To be said with the function's name.
    Message(String),
    /// The whole expansion ends.
    Stop(Stop),
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self::Message(message)
    }
}

impl From<&str> for Failure {
    fn from(message: &str) -> Self {
        Self::Message(message.to_owned())
    }
}

impl From<Stop> for Failure {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
}

type Called = Result<Value, Failure>;

/// Compiled patterns may take so many bytes.
const REGEX_BYTES_MAX: usize = 1 << 20;
/// What compiling a pattern, and what a query costs of the work that a template may take.
const REGEX_WORK: usize = 50_000;
const QUERY_WORK: usize = 250_000;

/// Whether there is such a function.
pub(crate) fn is_known(name: &str) -> bool {
    signature(name).is_some()
}

/// What a function takes.
pub(crate) fn signature(name: &str) -> Option<Signature> {
    use Parameter::{Any, Reflect, Sample, Samples, Text};
    let (fixed, rest): (&'static [Parameter], Option<Parameter>) = match name {
        "and" | "or" | "eq" | "index" | "slice" | "call" => (&[Reflect], Some(Reflect)),
        "not" | "len" => (&[Reflect], None),
        "ne" | "lt" | "le" | "gt" | "ge" => (&[Reflect, Reflect], None),
        "print" | "println" | "html" | "js" | "urlquery" | "args" => (&[], Some(Any)),
        "printf" => (&[Text], Some(Any)),
        "query" | "title" | "toUpper" | "toLower" | "safeHtml" | "stripPort" | "stripDomain"
        | "graphLink" | "tableLink" | "parseDuration" | "urlQueryEscape" => (&[Text], None),
        "first" => (&[Samples], None),
        "label" => (&[Text, Sample], None),
        "value" | "strvalue" => (&[Sample], None),
        "sortByLabel" => (&[Text, Samples], None),
        "humanize" | "humanize1024" | "humanizeDuration" | "humanizePercentage" | "humanizeTimestamp"
        | "toTime" | "toDuration" => (&[Any], None),
        "now" | "externalURL" | "pathPrefix" => (&[], None),
        "match" => (&[Text, Text], None),
        "reReplaceAll" => (&[Text, Text, Text], None),
        "tmpl" => (&[Text, Any], None),
        _ => return None,
    };
    Some(Signature { fixed, rest })
}

/// Calls a function whose arguments fit its signature.
pub(crate) fn call(exec: &mut Exec<'_, '_>, name: &str, values: Vec<Value>) -> Called {
    if let Some(called) = builtin::call(exec, name, &values) {
        return called;
    }
    let text = |index: usize| match &values[index] {
        Value::Text(text) => Rc::clone(text),
        _ => unreachable!("the signature says that it is a text"),
    };
    Ok(match name {
        "query" => query(exec, &text(0))?,
        "first" => match &values[0] {
            Value::Samples(samples) if !samples.is_empty() => Value::Sample(Rc::clone(&samples[0])),
            _ => return Err("first() called on vector with no elements".into()),
        },
        "label" => Value::text(sample(&values[1])?.labels.get(&text(0)).unwrap_or_default()),
        "value" => Value::Float(sample(&values[0])?.value),
        "strvalue" => Value::text(sample(&values[0])?.labels.get("__value__").unwrap_or_default()),
        "sortByLabel" => sort_by_label(exec, &text(0), &values[1])?,
        "args" => {
            let named =
                values.iter().enumerate().map(|(index, value)| (format!("arg{index}"), value.clone()));
            let named = Named::new(named.collect::<BTreeMap<_, _>>());
            Value::Map(Rc::new(named.ok_or("args are nested too deep: make them simpler")?))
        }
        "humanize" => Value::text(humanize::humanize(humanize::float(&values[0])?)),
        "humanize1024" => Value::text(humanize::humanize_1024(humanize::float(&values[0])?)),
        "humanizeDuration" => Value::text(humanize::duration(humanize::float(&values[0])?)),
        "humanizePercentage" => Value::text(humanize::percentage(humanize::float(&values[0])?)),
        "humanizeTimestamp" => Value::text(humanize::timestamp(humanize::float(&values[0])?)?),
        "toTime" => Value::Time(humanize::to_time(humanize::float(&values[0])?)?),
        "toDuration" => Value::Duration(humanize::to_duration(humanize::float(&values[0])?)?),
        "parseDuration" => Value::Float(crate::time::parse_duration(&text(0))? as f64 / 1000.0),
        "now" => Value::Float(exec.environment.now().as_seconds()),
        "title" => Value::text(title(&text(0))),
        "toUpper" => Value::text(text(0).chars().map(upper).collect::<String>()),
        "toLower" => Value::text(text(0).chars().map(lower).collect::<String>()),
        "safeHtml" => Value::Html(text(0)),
        "stripPort" => Value::text(link::strip_port(&text(0))),
        "stripDomain" => Value::text(link::strip_domain(&text(0))),
        "graphLink" => Value::text(format!("/graph?g0.expr={}&g0.tab=0", link::query_escape(&text(0)))),
        "tableLink" => Value::text(format!("/graph?g0.expr={}&g0.tab=1", link::query_escape(&text(0)))),
        "urlQueryEscape" => Value::text(link::query_escape(&text(0))),
        "externalURL" => Value::Text(Rc::clone(&exec.external_url)),
        "pathPrefix" => Value::text(link::path(&exec.external_url)),
        "match" => {
            let regex = regex(exec, &text(0), &text(1))?;
            Value::Bool(regex.is_match(&text(1)))
        }
        "reReplaceAll" => {
            let (pattern, with, text) = (text(0), text(1), text(2));
            let regex = regex(exec, &pattern, &text).map_err(|failure| match failure {
                Failure::Message(message) => {
                    Failure::Message(format!("regexp: Compile(`{pattern}`): {message}"))
                }
                stop => stop,
            })?;
            replace_all(exec, &regex, &with, &text)?
        }
        "tmpl" => Value::Html(exec.invoke_apart(&text(0), values[1].clone())?.into()),
        _ => unreachable!("every function with a signature is called"),
    })
}

fn sample(value: &Value) -> Result<&crate::QuerySample, Failure> {
    match value {
        Value::Sample(sample) => Ok(sample),
        _ => Err("runtime error: invalid memory address or nil pointer dereference".into()),
    }
}

fn query(exec: &mut Exec<'_, '_>, expr: &str) -> Called {
    exec.spend(QUERY_WORK)?;
    let samples = exec.environment.query(expr)?;
    exec.spend(samples.len().saturating_mul(16))?;
    Ok(Value::Samples(Rc::new(samples.into_iter().map(Rc::new).collect())))
}

fn sort_by_label(exec: &mut Exec<'_, '_>, label: &str, value: &Value) -> Called {
    let Value::Samples(samples) = value else { return Ok(value.clone()) };
    exec.spend(samples.len().saturating_mul(64))?;
    let mut samples = samples.to_vec();
    samples.sort_by(|one, other| {
        one.labels.get(label).unwrap_or_default().cmp(other.labels.get(label).unwrap_or_default())
    });
    Ok(Value::Samples(Rc::new(samples)))
}

fn regex(exec: &mut Exec<'_, '_>, pattern: &str, text: &str) -> Result<regex::Regex, Failure> {
    exec.spend(REGEX_WORK + 64 * pattern.len() + 4 * text.len())?;
    let translated = model::re2::translate(pattern);
    regex::RegexBuilder::new(&translated)
        .size_limit(REGEX_BYTES_MAX)
        .build()
        .map_err(|error| format!("error parsing regexp: {}", model::re2::one_line(&error.to_string())).into())
}

fn replace_all(exec: &mut Exec<'_, '_>, regex: &regex::Regex, with: &str, text: &str) -> Called {
    let mut out = String::new();
    let mut from = 0;
    for captures in regex.captures_iter(text) {
        let whole = captures.get(0).expect("a match has its whole");
        let before = out.len();
        out.push_str(&text[from..whole.start()]);
        captures.expand(with, &mut out);
        from = whole.end();
        // Before the next one is made: each may add all of the text again.
        exec.spend(64 + out.len() - before)?;
        if out.len() > crate::OUTPUT_BYTES_MAX {
            return Err("the text becomes too long".into());
        }
    }
    out.push_str(&text[from..]);
    Ok(Value::text(out))
}

/// The capital of one character that is one character (Go leaves `ß` as it is).
fn upper(char: char) -> char {
    one(char.to_uppercase()).unwrap_or(char)
}

fn lower(char: char) -> char {
    one(char.to_lowercase()).unwrap_or(char)
}

fn one(mut chars: impl Iterator<Item = char>) -> Option<char> {
    chars.next().filter(|_| chars.next().is_none())
}

/// The first letter of each word as a capital, the rest as it is.
fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut previous = ' ';
    for char in text.chars() {
        let separates = match previous {
            '_' => false,
            _ if previous.is_ascii() => !previous.is_ascii_alphanumeric(),
            _ if previous.is_alphanumeric() => false,
            _ => previous.is_whitespace(),
        };
        if separates {
            out.extend(char.to_uppercase())
        } else {
            out.push(char)
        }
        previous = char;
    }
    out
}

/// All values as `print` writes them; a single text as it is.
pub(crate) fn as_text(values: &[Value]) -> String {
    if let [Value::Text(text)] = values {
        return text.as_ref().to_owned();
    }
    format::print(values)
}
