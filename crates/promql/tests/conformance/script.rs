//! The script language: `load`, `clear`, `eval` and what they expect.

use std::sync::Arc;

use model::{Histogram, Labels, stale_nan};

/// One command of a script.
#[derive(Debug)]
pub(crate) enum Command {
    Clear,
    Load { step_ms: i64, series: Vec<Described>, nhcb: bool },
    Eval(Box<Eval>),
}

/// A series and its values: those to load, or those that are expected.
#[derive(Debug)]
pub(crate) struct Described {
    pub labels: Labels,
    /// The text before the values.
    pub text: String,
    pub values: Vec<Item>,
    /// Values are start timestamps of the series' samples, in milliseconds after (or before) them.
    pub start_times: bool,
}

/// One value of a sequence.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Item {
    Gap,
    Value(f64),
    Histogram(Arc<Histogram>),
}

#[derive(Debug)]
pub(crate) enum When {
    Instant(i64),
    Range { start: i64, end: i64, step: i64 },
}

/// How an error or annotation must read.
#[derive(Debug)]
pub(crate) enum Pattern {
    Any,
    Text(String),
    Regex(regex::Regex),
}

#[derive(Debug, Default)]
pub(crate) struct Expected {
    pub series: Vec<Described>,
    pub scalar: Option<f64>,
    pub string: Option<String>,
    pub fail: Option<Pattern>,
    pub warn: Vec<Pattern>,
    pub info: Vec<Pattern>,
    pub no_warn: bool,
    pub no_info: bool,
    pub ordered: bool,
    /// First time and step of a range vector.
    pub range_vector: Option<(i64, i64)>,
}

#[derive(Debug)]
pub(crate) struct Eval {
    pub line: usize,
    pub when: When,
    pub expr: String,
    pub expected: Expected,
}

pub(crate) fn parse(text: &str) -> Result<Vec<Command>, String> {
    let lines: Vec<&str> =
        text.lines().map(|line| if line.trim().starts_with('#') { "" } else { line.trim() }).collect();
    let mut commands = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let head = lines[at];
        let first = head.split_whitespace().next().unwrap_or_default();
        let end =
            lines[at..].iter().position(|line| line.is_empty()).map_or(lines.len(), |length| at + length);
        let located = |why: String| format!("line {}: {why}", at + 1);
        match first {
            "" => at += 1,
            "clear" => {
                commands.push(Command::Clear);
                at += 1;
            }
            "load" | "load_with_nhcb" => {
                commands.push(load(head, &lines[at + 1..end]).map_err(located)?);
                at = end;
            }
            _ if first.starts_with("eval") => {
                commands
                    .push(Command::Eval(Box::new(eval(at + 1, head, &lines[at + 1..end]).map_err(located)?)));
                at = end;
            }
            other => return Err(located(format!("unknown command {other:?}"))),
        }
    }
    Ok(commands)
}

fn load(head: &str, lines: &[&str]) -> Result<Command, String> {
    let mut words = head.split_whitespace();
    let nhcb = words.next() == Some("load_with_nhcb");
    let step_ms = time(words.next().ok_or("load needs a step")?)?;
    let series = lines.iter().map(|line| described(line)).collect::<Result<_, _>>()?;
    Ok(Command::Load { step_ms, series, nhcb })
}

fn eval(line: usize, head: &str, lines: &[&str]) -> Result<Eval, String> {
    let (first, rest) = head.split_once(char::is_whitespace).ok_or("eval needs more")?;
    let (kind, rest) = rest.trim().split_once(char::is_whitespace).ok_or("eval needs a time")?;
    let (when, expr) = match kind {
        "instant" => {
            let (at, expr) = after(rest, "at")?;
            (When::Instant(time(at)?), expr)
        }
        "range" => {
            let (start, rest) = after(rest, "from")?;
            let (end, rest) = after(rest, "to")?;
            let (step, expr) = after(rest, "step")?;
            (When::Range { start: time(start)?, end: time(end)?, step: time(step)? }, expr)
        }
        other => return Err(format!("eval {other:?}?")),
    };
    let mut expected = Expected::default();
    match first {
        "eval_fail" => expected.fail = Some(Pattern::Any),
        "eval_warn" => expected.warn.push(Pattern::Any),
        "eval_info" => expected.info.push(Pattern::Any),
        "eval_ordered" => expected.ordered = true,
        _ => {}
    }
    for line in lines {
        expect(line, &mut expected).map_err(|why| format!("{line:?}: {why}"))?;
    }
    Ok(Eval { line, when, expr: expr.to_owned(), expected })
}

/// The word after a keyword, and the rest.
fn after<'l>(text: &'l str, keyword: &str) -> Result<(&'l str, &'l str), String> {
    let rest =
        text.trim().strip_prefix(keyword).ok_or_else(|| format!("{keyword:?} expected in {text:?}"))?;
    let (word, rest) = rest.trim().split_once(char::is_whitespace).ok_or("more expected")?;
    Ok((word, rest.trim()))
}

fn expect(line: &str, expected: &mut Expected) -> Result<(), String> {
    let Some(rest) = line.strip_prefix("expect ") else {
        return expect_value(line, expected);
    };
    let rest = rest.trim();
    let (word, detail) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    match word {
        "fail" => expected.fail = Some(pattern(detail)?),
        "warn" => expected.warn.push(pattern(detail)?),
        "info" => expected.info.push(pattern(detail)?),
        "no_warn" => expected.no_warn = true,
        "no_info" => expected.no_info = true,
        "ordered" => expected.ordered = true,
        "string" => {
            let detail = detail.trim();
            expected.string = Some(detail[1..detail.len() - 1].to_owned());
        }
        "range" => {
            let (start, rest) = after(detail.trim().strip_prefix("vector").ok_or("range vector?")?, "from")?;
            let (_, rest) = after(rest, "to")?;
            let step = rest.strip_prefix("step").ok_or("step expected")?.trim();
            expected.range_vector = Some((time(start)?, time(step)?));
        }
        other => return Err(format!("expect {other:?}?")),
    }
    Ok(())
}

fn expect_value(line: &str, expected: &mut Expected) -> Result<(), String> {
    match number(line) {
        Some(value) => expected.scalar = Some(value),
        None => expected.series.push(described(line)?),
    }
    Ok(())
}

fn pattern(detail: &str) -> Result<Pattern, String> {
    let detail = detail.trim();
    if let Some(text) = detail.strip_prefix("msg:") {
        return Ok(Pattern::Text(text.trim().to_owned()));
    }
    if let Some(text) = detail.strip_prefix("regex:") {
        return regex::Regex::new(text.trim()).map(Pattern::Regex).map_err(|error| error.to_string());
    }
    Ok(Pattern::Any)
}

/// `5m`, `1h30m`, `-10s` or seconds, to milliseconds.
pub(crate) fn time(text: &str) -> Result<i64, String> {
    let (sign, body) = match text.strip_prefix('-') {
        Some(body) => (-1, body),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if let Ok(seconds) = body.parse::<f64>() {
        return Ok(sign * (seconds * 1000.0).round() as i64);
    }
    let mut total = 0;
    let mut rest = body;
    while !rest.is_empty() {
        let digits =
            rest.find(|char: char| !char.is_ascii_digit()).ok_or_else(|| format!("no unit in {text:?}"))?;
        let letters =
            rest[digits..].find(|char: char| char.is_ascii_digit()).map_or(rest.len(), |at| digits + at);
        let unit = match &rest[digits..letters] {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 604_800_000,
            "y" => 31_536_000_000,
            unit => return Err(format!("unit {unit:?} in {text:?}")),
        };
        let count: i64 = rest[..digits].parse().map_err(|_| format!("no number in {text:?}"))?;
        total += count * unit;
        rest = &rest[letters..];
    }
    Ok(sign * total)
}

/// A series with its values.
fn described(line: &str) -> Result<Described, String> {
    let end = series_end(line);
    let text = line[..end].trim();
    let start_times = text.ends_with("@st");
    let labels = labels(text.trim_end_matches("@st"))?;
    let values = values(&line[end..], if start_times { push_start } else { push })?;
    Ok(Described { labels, text: text.to_owned(), values, start_times })
}

/// Where the series' own text ends: the first blank outside braces.
fn series_end(line: &str) -> usize {
    let (mut in_braces, mut quote) = (false, None);
    let mut escaped = false;
    for (at, char) in line.char_indices() {
        match (quote, char) {
            (Some(_), _) if escaped => escaped = false,
            (Some('"' | '\''), '\\') => escaped = true,
            (Some(open), char) if char == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'' | '`') => quote = Some(char),
            (None, '{') => in_braces = true,
            (None, '}') => in_braces = false,
            (None, ' ' | '\t') if !in_braces && !line[at..].trim_start().starts_with('{') => return at,
            (None, ' ' | '\t') if !in_braces && line[at..].trim_start().starts_with("{{") => return at,
            _ => {}
        }
    }
    line.len()
}

/// Reads labels through the parser of the language, by its equality matchers.
fn labels(text: &str) -> Result<Labels, String> {
    let bare = text.trim();
    if matches!(bare, "" | "{}") {
        return Ok(Labels::empty());
    }
    if let Some(name) = bare.strip_suffix("{}") {
        return Ok(Labels::from_pairs([("__name__", name.trim())]));
    }
    let matchers = promql::parse_matchers(bare).map_err(|error| format!("{bare:?}: {error}"))?;
    Ok(Labels::from_pairs(matchers.iter().map(|matcher| (matcher.name(), matcher.value()))))
}

fn values(text: &str, push: fn(&str, &mut Vec<Item>) -> Result<(), String>) -> Result<Vec<Item>, String> {
    let mut items = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (word, after) = word(rest);
        push(word, &mut items).map_err(|why| format!("{word:?}: {why}"))?;
        rest = after.trim_start();
    }
    Ok(items)
}

/// One item of a sequence; histograms hold blanks.
fn word(text: &str) -> (&str, &str) {
    let mut depth = 0;
    for (at, char) in text.char_indices() {
        match char {
            '{' => depth += 1,
            '}' => depth -= 1,
            ' ' | '\t' if depth == 0 => return text.split_at(at),
            _ => {}
        }
    }
    (text, "")
}

/// A histogram, or a sequence of them: `{{...}}+{{...}}x3`.
fn push_histograms(word: &str, items: &mut Vec<Item>) -> Result<(), String> {
    let end = word.find("}}").ok_or("no end")? + 2;
    let mut current: Histogram = word[..end].parse().map_err(|error| format!("{error}"))?;
    let (body, count) = match word[end..].rsplit_once('x') {
        Some((body, count)) => (body, count.parse::<usize>().map_err(|_| "no count after x")?),
        None => (&word[end..], 0),
    };
    items.push(Item::Histogram(Arc::new(current.clone())));
    let step: Option<Histogram> = match body.get(1..).filter(|step| !step.is_empty()) {
        Some(step) => Some(step.parse().map_err(|error| format!("{error}"))?),
        None => None,
    };
    for _ in 0..count {
        if let Some(step) = &step {
            let next = if body.starts_with('-') { current.sub(step) } else { current.add(step) };
            current = next.ok_or("custom and exponential buckets")?.histogram;
        }
        items.push(Item::Histogram(Arc::new(current.clone())));
    }
    Ok(())
}

/// A start timestamp or a sequence of them, as durations from the sample's time: `-30s-1mx2`.
fn push_start(word: &str, items: &mut Vec<Item>) -> Result<(), String> {
    let (body, times) = match word.rsplit_once('x') {
        Some((body, count)) => (body, Some(count.parse::<usize>().map_err(|_| "no count after x")?)),
        None => (word, None),
    };
    if body == "_" {
        items.extend(std::iter::repeat_n(Item::Gap, times.unwrap_or(1)));
        return Ok(());
    }
    let step_at = body.char_indices().skip(1).find(|(_, char)| matches!(char, '+' | '-'));
    let (mut offset, step) = match step_at {
        Some((at, _)) => (time(&body[..at])?, time(&body[at..])?),
        None => (time(body)?, 0),
    };
    for _ in 0..=times.unwrap_or(0) {
        items.push(Item::Value(offset as f64));
        offset += step;
    }
    Ok(())
}

fn push(word: &str, items: &mut Vec<Item>) -> Result<(), String> {
    if word.starts_with("{{") {
        return push_histograms(word, items);
    }
    let (body, times) = match word.rsplit_once('x') {
        Some((body, count)) => (body, Some(count.parse::<usize>().map_err(|_| "no count after x")?)),
        None => (word, None),
    };
    if body == "_" {
        items.extend(std::iter::repeat_n(Item::Gap, times.unwrap_or(1)));
        return Ok(());
    }
    if body == "stale" {
        items.extend(std::iter::repeat_n(Item::Value(stale_nan()), times.unwrap_or(0) + 1));
        return Ok(());
    }
    let sign_at = body
        .char_indices()
        .skip(1)
        .find(|(at, char)| matches!(char, '+' | '-') && !matches!(body.as_bytes()[at - 1], b'e' | b'E'));
    let (start, step) = match sign_at {
        Some((at, _)) => (number(&body[..at]), number(&body[at..])),
        None => (number(body), Some(0.0)),
    };
    let (Some(mut value), Some(step)) = (start, step) else {
        return Err("no number".into());
    };
    for _ in 0..=times.unwrap_or(0) {
        items.push(Item::Value(value));
        value += step;
    }
    Ok(())
}

fn number(text: &str) -> Option<f64> {
    match text.trim().to_ascii_lowercase().as_str() {
        "nan" => Some(f64::NAN),
        "inf" | "+inf" => Some(f64::INFINITY),
        "-inf" => Some(f64::NEG_INFINITY),
        other if other.starts_with("0x") => i64::from_str_radix(&other[2..], 16).ok().map(|int| int as f64),
        other => other.parse().ok(),
    }
}
