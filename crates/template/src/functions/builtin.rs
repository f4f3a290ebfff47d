//! Go's own functions.

use std::cmp::Ordering;
use std::rc::Rc;

use super::{Called, Failure, as_text, link};
use crate::exec::Exec;
use crate::format;
use crate::value::Value;

/// Calls one of Go's; `None` where it is none of them.
pub(super) fn call(exec: &mut Exec<'_, '_>, name: &str, values: &[Value]) -> Option<Called> {
    Some(match name {
        "not" => Ok(Value::Bool(!values[0].is_true())),
        "eq" => equal(&values[0], &values[1..]).map(Value::Bool),
        "ne" => equal(&values[0], &values[1..]).map(|equal| Value::Bool(!equal)),
        "lt" => less(&values[0], &values[1]).map(Value::Bool),
        "le" => less_or_equal(&values[0], &values[1]).map(Value::Bool),
        "gt" => less_or_equal(&values[0], &values[1]).map(|is| Value::Bool(!is)),
        "ge" => less(&values[0], &values[1]).map(|is| Value::Bool(!is)),
        "len" => length(&values[0]),
        "index" => values[1..].iter().try_fold(values[0].clone(), |item, index| element(&item, index)),
        "slice" => slice(exec, &values[0], &values[1..]),
        "print" => Ok(Value::text(format::print(values))),
        "println" => Ok(Value::text(format::println(values))),
        "printf" => match &values[0] {
            Value::Text(text) => Ok(Value::text(format::printf(text, &values[1..]))),
            _ => unreachable!("the signature says that it is a text"),
        },
        "html" => Ok(Value::text(escape_html(&as_text(values)))),
        "js" => Ok(Value::text(escape_js(&as_text(values)))),
        "urlquery" => Ok(Value::text(link::query_escape(&as_text(values)))),
        "call" => Err(match &values[0] {
            Value::None => "call of nil".into(),
            value => format!("non-function of type {}", value.type_name()).into(),
        }),
        _ => return None,
    })
}

/// Kinds of which two can be compared.
#[derive(PartialEq)]
enum Basic {
    None,
    Bool,
    Int,
    Float,
    Text,
}

fn basic(value: &Value) -> Basic {
    match value {
        Value::Bool(_) => Basic::Bool,
        Value::Int(_) => Basic::Int,
        Value::Float(_) => Basic::Float,
        Value::Text(_) | Value::Html(_) => Basic::Text,
        _ => Basic::None,
    }
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::Text(text) | Value::Html(text) => Some(text),
        _ => None,
    }
}

fn comparable(value: &Value) -> Result<(), Failure> {
    let uncomparable = matches!(value, Value::Labels(_) | Value::Map(_) | Value::Samples(_) | Value::Data(_));
    if !uncomparable {
        return Ok(());
    }
    let mut shown = String::new();
    value.print(&mut shown);
    Err(format!("non-comparable type {shown}: {}", value.type_name()).into())
}

fn equal(one: &Value, others: &[Value]) -> Result<bool, Failure> {
    comparable(one)?;
    if others.is_empty() {
        return Err("missing argument for comparison".into());
    }
    for other in others {
        if basic(one) != basic(other) {
            if matches!(one, Value::None) || matches!(other, Value::None) {
                continue;
            }
            return Err("incompatible types for comparison".into());
        }
        let equal = match (one, other) {
            (Value::Bool(one), Value::Bool(other)) => one == other,
            (Value::Int(one), Value::Int(other)) => one == other,
            (Value::Float(one), Value::Float(other)) => one == other,
            (Value::None, Value::None) => true,
            (Value::Sample(one), Value::Sample(other)) => Rc::ptr_eq(one, other),
            _ => match (text(one), text(other)) {
                (Some(one), Some(other)) => one == other,
                _ => {
                    comparable(other)?;
                    false
                }
            },
        };
        if equal {
            return Ok(true);
        }
    }
    Ok(false)
}

/// `None` between numbers of which one is none.
fn order(one: &Value, other: &Value) -> Result<Option<Ordering>, Failure> {
    let (kind, other_kind) = (basic(one), basic(other));
    if kind == Basic::None || other_kind == Basic::None {
        return Err("invalid type for comparison".into());
    }
    if kind != other_kind {
        return Err("incompatible types for comparison".into());
    }
    match (one, other) {
        (Value::Int(one), Value::Int(other)) => Ok(Some(one.cmp(other))),
        (Value::Float(one), Value::Float(other)) => Ok(one.partial_cmp(other)),
        _ => match (text(one), text(other)) {
            (Some(one), Some(other)) => Ok(Some(one.cmp(other))),
            _ => Err("invalid type for comparison".into()),
        },
    }
}

fn less(one: &Value, other: &Value) -> Result<bool, Failure> {
    Ok(order(one, other)? == Some(Ordering::Less))
}

fn less_or_equal(one: &Value, other: &Value) -> Result<bool, Failure> {
    Ok(matches!(order(one, other)?, Some(Ordering::Less | Ordering::Equal)))
}

fn length(value: &Value) -> Called {
    let length = match value {
        Value::Text(text) | Value::Html(text) => text.len(),
        Value::Labels(labels) => labels.len(),
        Value::Map(map) => map.values.len(),
        Value::Samples(samples) => samples.len(),
        Value::None => return Err("reflect: call of reflect.Value.Type on zero Value".into()),
        other => return Err(format!("len of type {}", other.type_name().trim_start_matches('*')).into()),
    };
    Ok(Value::Int(length as i64))
}

fn element(item: &Value, index: &Value) -> Called {
    let place = |length: usize| match index {
        Value::Int(at) => usize::try_from(*at)
            .ok()
            .filter(|at| *at < length)
            .ok_or_else(|| Failure::from(format!("index out of range: {at}"))),
        Value::None => Err("cannot index slice/array with nil".into()),
        other => Err(format!("cannot index slice/array with type {}", other.type_name()).into()),
    };
    let key = || match index {
        Value::Text(key) => Ok(Rc::clone(key)),
        Value::None => Err(Failure::from("value is nil; should be of type string")),
        other => Err(format!("value has type {}; should be string", other.type_name()).into()),
    };
    match item {
        Value::None => Err("index of untyped nil".into()),
        Value::Text(text) | Value::Html(text) => Ok(Value::Int(text.as_bytes()[place(text.len())?].into())),
        Value::Samples(samples) => Ok(Value::Sample(Rc::clone(&samples[place(samples.len())?]))),
        Value::Labels(labels) => Ok(Value::text(labels.get(&key()?).unwrap_or_default())),
        Value::Map(map) => Ok(map.values.get(&*key()?).cloned().unwrap_or(Value::None)),
        other => {
            Err(format!("can't index item of type {}", other.type_name().trim_start_matches('*')).into())
        }
    }
}

fn slice(exec: &mut Exec<'_, '_>, item: &Value, indexes: &[Value]) -> Called {
    if matches!(item, Value::None) {
        return Err("slice of untyped nil".into());
    }
    if indexes.len() > 3 {
        return Err(format!("too many slice indexes: {}", indexes.len()).into());
    }
    let length = match item {
        Value::Text(_) | Value::Html(_) if indexes.len() == 3 => {
            return Err("cannot 3-index slice a string".into());
        }
        Value::Text(text) | Value::Html(text) => text.len(),
        Value::Samples(samples) => samples.len(),
        other => return Err(format!("can't slice item of type {}", other.type_name()).into()),
    };
    let mut bounds = [0, length, length];
    for (bound, index) in bounds.iter_mut().zip(indexes) {
        *bound = match index {
            Value::Int(at) => usize::try_from(*at)
                .ok()
                .filter(|at| *at <= length)
                .ok_or_else(|| Failure::from(format!("index out of range: {at}")))?,
            Value::None => return Err("cannot index slice/array with nil".into()),
            other => return Err(format!("cannot index slice/array with type {}", other.type_name()).into()),
        };
    }
    let [from, to, most] = bounds;
    if from > to {
        return Err(format!("invalid slice index: {from} > {to}").into());
    }
    if to > most {
        return Err(format!("invalid slice index: {to} > {most}").into());
    }
    exec.spend(to - from)?;
    Ok(match item {
        // Bytes of half a character cannot be in our texts.
        Value::Text(text) => Value::text(String::from_utf8_lossy(&text.as_bytes()[from..to])),
        Value::Html(text) => Value::Html(String::from_utf8_lossy(&text.as_bytes()[from..to]).into()),
        Value::Samples(samples) => Value::Samples(Rc::new(samples[from..to].to_vec())),
        _ => unreachable!("it has a length"),
    })
}

fn escape_html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\0' => out.push('\u{fffd}'),
            _ => out.push(char),
        }
    }
    out
}

fn escape_js(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '\\' => out.push_str("\\\\"),
            '\'' => out.push_str("\\'"),
            '"' => out.push_str("\\\""),
            '<' | '>' | '&' | '=' => out.push_str(&format!("\\u{:04X}", u32::from(char))),
            _ if char.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(char))),
            _ => out.push(char),
        }
    }
    out
}
