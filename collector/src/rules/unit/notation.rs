//! Series as unit tests write them: `up{job="a"}` and values `0 1+2x5 _x3 stale {{count:1}}x2`.
//!
//! `a+bxn` is `a` and `n` further values, each `b` more; `axn` is `a`, `n + 1` times; `_` is no sample; `stale` ends the series.
//!
//! Limits: [`VALUES_MAX`] values of one series.

use std::sync::Arc;

use model::{Histogram, Labels, METRIC_NAME, MatchOp, stale_nan};

use super::memory::Point;

/// The most values of one series.
const VALUES_MAX: usize = 1_000_000;

/// Labels as a selector without patterns writes them.
pub(in crate::rules) fn labels(text: &str) -> Result<Labels, String> {
    let bare = text.trim();
    if matches!(bare, "" | "{}") {
        return Ok(Labels::empty());
    }
    if let Some(name) = bare.strip_suffix("{}") {
        return Ok(Labels::from_pairs([(METRIC_NAME, name.trim())]));
    }
    let matchers = promql::parse_matchers(bare).map_err(|error| error.to_string())?;
    if let Some(other) = matchers.iter().find(|matcher| matcher.op() != MatchOp::Equal) {
        return Err(format!("1:1: parse error: a series has label=\"value\" only, not {other}"));
    }
    Ok(Labels::from_pairs(matchers.iter().map(|matcher| (matcher.name(), matcher.value()))))
}

/// Values, one each interval; `None` for no sample.
pub(super) fn values(text: &str) -> Result<Vec<Option<Point>>, String> {
    let mut points = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (item, after) = item(rest);
        push(item, &mut points).map_err(|why| format!("{item:?}: {why}"))?;
        if points.len() > VALUES_MAX {
            return Err(format!("more than {VALUES_MAX} values"));
        }
        rest = after.trim_start();
    }
    Ok(points)
}

/// One item; native histograms hold blanks.
fn item(text: &str) -> (&str, &str) {
    let mut depth = 0;
    for (at, symbol) in text.char_indices() {
        match symbol {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ if symbol.is_whitespace() && depth == 0 => return text.split_at(at),
            _ => {}
        }
    }
    (text, "")
}

fn push(item: &str, points: &mut Vec<Option<Point>>) -> Result<(), String> {
    let (body, times) = times_of(item)?;
    let repeats = times.unwrap_or(0) + 1;
    match body {
        "_" => points.extend(std::iter::repeat_n(None, times.unwrap_or(1))),
        "stale" => points.extend(std::iter::repeat_n(Some(Point::Value(stale_nan())), repeats)),
        _ if body.starts_with("{{") => push_histograms(body, repeats, points)?,
        _ => push_values(body, repeats, points)?,
    }
    Ok(())
}

/// What stands before `x` and a count, and that count.
fn times_of(item: &str) -> Result<(&str, Option<usize>), String> {
    let after_braces = item.rfind("}}").map_or(0, |at| at + 2);
    // A number is never hexadecimal here: 0x8 is a zero and eight more.
    let Some(at) = item[after_braces..].rfind('x').map(|at| at + after_braces) else {
        return Ok((item, None));
    };
    let times: usize = item[at + 1..].parse().map_err(|_| "a whole number belongs behind x".to_owned())?;
    if times >= VALUES_MAX {
        return Err(format!("more than {VALUES_MAX} values"));
    }
    Ok((&item[..at], Some(times)))
}

fn push_values(body: &str, repeats: usize, points: &mut Vec<Option<Point>>) -> Result<(), String> {
    let bytes = body.as_bytes();
    let is_sign = |at: &usize| matches!(bytes[*at], b'+' | b'-') && !matches!(bytes[*at - 1], b'e' | b'E');
    let split = (1..bytes.len()).find(is_sign);
    let (start, step) = match split {
        Some(at) => (number(&body[..at]), number(&body[at..])),
        None => (number(body), Some(0.0)),
    };
    let (mut value, step) = start.zip(step).ok_or("a number, _, stale or {{…}} belongs here")?;
    for _ in 0..repeats {
        points.push(Some(Point::Value(value)));
        value += step;
    }
    Ok(())
}

fn push_histograms(body: &str, repeats: usize, points: &mut Vec<Option<Point>>) -> Result<(), String> {
    let read = |text: &str| text.parse::<Histogram>().map_err(|error| error.to_string());
    let end = body.find("}}").ok_or("the }} is missing")? + 2;
    let mut histogram = read(&body[..end])?;
    let rest = &body[end..];
    let step = match rest.chars().next() {
        None => None,
        Some('+') => Some((true, read(&rest[1..])?)),
        Some('-') => Some((false, read(&rest[1..])?)),
        Some(_) => return Err("+ or - and another {{…}}, or x and a count, belongs behind }}".to_owned()),
    };
    for _ in 0..repeats {
        points.push(Some(Point::Histogram(Arc::new(histogram.clone()))));
        if let Some((adds, step)) = &step {
            let next = if *adds { histogram.add(step) } else { histogram.sub(step) };
            histogram = next.ok_or("these two native histograms do not go together")?.histogram;
        }
    }
    Ok(())
}

fn number(text: &str) -> Option<f64> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => (-1.0, &text[1..]),
        b'+' => (1.0, &text[1..]),
        _ => (1.0, text),
    };
    let value = match digits.to_ascii_lowercase().as_str() {
        "nan" => f64::NAN,
        "inf" => f64::INFINITY,
        lower if lower.starts_with(|first: char| first.is_ascii_digit() || first == '.') => {
            lower.parse().ok()?
        }
        _ => return None,
    };
    Some(sign * value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[f64]) {
        let found: Vec<f64> = values(text)
            .expect(text)
            .into_iter()
            .map(|point| match point {
                None => -999.0,
                Some(Point::Value(value)) => value,
                Some(Point::Histogram(histogram)) => histogram.count,
            })
            .collect();
        assert_eq!(format!("{found:?}"), format!("{expected:?}"), "{text}");
    }

    #[test]
    fn values_as_promtool_reads_them() {
        check("", &[]);
        check("1 -2 3.5e-1", &[1.0, -2.0, 0.35]);
        check("1+2x3", &[1.0, 3.0, 5.0, 7.0]);
        check("-2-1x2", &[-2.0, -3.0, -4.0]);
        check("5x2", &[5.0, 5.0, 5.0]);
        check("1e2+1e1x1", &[100.0, 110.0]);
        check("_ _x2 1", &[-999.0, -999.0, -999.0, 1.0]);
        check("0x2", &[0.0, 0.0, 0.0]);
        check("10x1", &[10.0, 10.0]);
        check("1 Inf -Inf NaN", &[1.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN]);
        check("{{count:2 sum:1}}x1 {{count:1}}+{{count:3}}x2", &[2.0, 2.0, 1.0, 4.0, 7.0]);
        assert!(
            matches!(values("stale").expect("one")[0], Some(Point::Value(value)) if model::is_stale(value))
        );
    }

    #[test]
    fn what_is_no_value_is_refused() {
        for bad in ["one", "1+", "1x", "1x-1", "{{count:1", "{{count:1}}5", "1x999999999", "--1"] {
            assert!(values(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn labels_are_those_of_one_series() {
        assert_eq!(
            labels("up{job=\"a\"}").expect("good"),
            Labels::from_pairs([(METRIC_NAME, "up"), ("job", "a")])
        );
        assert_eq!(labels("{}").expect("good"), Labels::empty());
        assert!(labels("up{job=~\"a\"}").is_err());
        assert!(labels("up{job=}").is_err());
    }
}
