//! Runs the commands of a script and compares answers with what is expected.

use std::sync::Arc;
use std::time::Duration;

use model::{Histogram, Labels, ResetHint, Timestamp};
use promql::{Answer, Features, MatrixSeries, Options, QueryError, Severity, Value};

use crate::nhcb;
use crate::script::{Command, Described, Eval, Expected, Item, Pattern, When};
use crate::store::Store;

#[derive(Debug, PartialEq)]
pub(crate) enum Outcome {
    Passed,
    Failed(String),
}

pub(crate) struct Case {
    pub line: usize,
    pub expr: String,
    pub outcome: Outcome,
    /// Its expectation or its data hold native histograms.
    pub native: bool,
}

/// Runs a script from an empty store.
pub(crate) fn cases(commands: &[Command]) -> Vec<Case> {
    let mut store = Store::default();
    let mut foreign: Vec<String> = Vec::new();
    let mut cases = Vec::new();
    for command in commands {
        match command {
            Command::Clear => {
                store.clear();
                foreign.clear();
            }
            Command::Load { step_ms, series, nhcb } => {
                load(&mut store, &mut foreign, *step_ms, series, *nhcb)
            }
            Command::Eval(eval) => cases.push(case(&store, &foreign, eval)),
        }
    }
    cases
}

/// Loads series; `foreign` collects the names of those that hold more than floats.
fn load(store: &mut Store, foreign: &mut Vec<String>, step_ms: i64, series: &[Described], nhcb: bool) {
    for described in series {
        let name = described.labels.metric_name().unwrap_or_default().to_owned();
        if let (true, Some(base)) = (nhcb, name.strip_suffix("_bucket")) {
            foreign.push(base.to_owned());
        }
        if described.start_times || described.values.iter().any(|item| matches!(item, Item::Histogram(_))) {
            foreign.push(name);
        }
        for (at, item) in described.values.iter().enumerate().filter(|_| !described.start_times) {
            let time = at as i64 * step_ms;
            match item {
                Item::Gap => {}
                Item::Value(value) => store.insert(&described.labels, time, *value),
                Item::Histogram(histogram) => store.insert_histogram(&described.labels, time, histogram),
            }
        }
    }
    if nhcb {
        let loaded: Vec<_> = series.iter().map(|described| described.labels.clone()).collect();
        nhcb::add(store, &loaded);
    }
    for described in series.iter().filter(|described| described.start_times) {
        for (at, item) in described.values.iter().enumerate() {
            if let Item::Value(offset) = item {
                let time = at as i64 * step_ms;
                store.set_start(&described.labels, time, time + *offset as i64);
            }
        }
    }
    store.settle_hints();
}

fn case(store: &Store, foreign: &[String], eval: &Eval) -> Case {
    let expects_native = eval
        .expected
        .series
        .iter()
        .any(|series| series.values.iter().any(|item| matches!(item, Item::Histogram(_))));
    let native = expects_native || touches(&eval.expr, foreign);
    let outcome = match check(store, eval) {
        Ok(()) => Outcome::Passed,
        Err(why) => Outcome::Failed(why),
    };
    Case { line: eval.line, expr: eval.expr.clone(), outcome, native }
}

/// Whether an expression may select one of these metrics: it names one, or selects by something else than a name.
fn touches(expr: &str, foreign: &[String]) -> bool {
    let is_word = |char: char| char.is_ascii_alphanumeric() || char == '_';
    let nameless = expr.match_indices('{').any(|(at, _)| !expr[..at].trim_end().ends_with(is_word));
    let named = |name: &String| expr.split(|char| !is_word(char)).any(|word| word == name);
    !foreign.is_empty() && (nameless || foreign.iter().any(named))
}

fn options() -> Options {
    Options { features: Features::ALL, ..Options::default() }
}

fn check(store: &Store, eval: &Eval) -> Result<(), String> {
    match eval.when {
        When::Instant(at) => {
            compare(
                promql::instant(store, &eval.expr, Timestamp::from_millis(at), &options()),
                &eval.expected,
                None,
            )?;
            check_one_step(store, eval, at).map_err(|why| format!("as a one-step range query: {why}"))?;
            check_pinned(store, eval, at).map_err(|why| format!("fixed by @: {why}"))
        }
        When::Range { start, end, step } => {
            compare(ranged(store, &eval.expr, (start, end, step)), &eval.expected, Some((start, end, step)))
        }
    }
}

fn ranged(store: &Store, expr: &str, (start, end, step): (i64, i64, i64)) -> Result<Answer, QueryError> {
    let step = Duration::from_millis(step.unsigned_abs());
    promql::range(store, expr, Timestamp::from_millis(start), Timestamp::from_millis(end), step, &options())
}

/// Every instant query is a range query of one step, but for the order of series.
fn check_one_step(store: &Store, eval: &Eval, at: i64) -> Result<(), String> {
    let expected = &eval.expected;
    let differs = expected.string.is_some() || expected.range_vector.is_some() || expected.ordered;
    if differs || eval.expr.contains("range()") || eval.expr.contains("step()") || expected.fail.is_some() {
        return Ok(());
    }
    let answer = ranged(store, &eval.expr, (at, at, 60_000)).map_err(|error| error.to_string())?;
    let Value::Matrix(matrix) = answer.value else {
        return Err("a range query gives a matrix".into());
    };
    let first = |series: &MatrixSeries| points(series).into_iter().next().map(|(_, point)| point);
    let got: Vec<_> =
        matrix.iter().filter_map(|series| Some((series.labels.clone(), first(series)?))).collect();
    match expected.scalar {
        Some(scalar) => match got.first() {
            Some((_, Point::Value(value))) => compare_value(scalar, *value),
            other => Err(format!("gives {other:?}, not {scalar}")),
        },
        None => compare_samples(&got, &expected.series, false),
    }
}

/// Every instant query holds at any time once its selectors are fixed at its own.
fn check_pinned(store: &Store, eval: &Eval, at: i64) -> Result<(), String> {
    if eval.expr.contains("start()") || eval.expr.contains("end()") || eval.expected.range_vector.is_some() {
        return Ok(());
    }
    let Ok(expr) = promql::parse_with(&eval.expr, Features::ALL) else {
        return Ok(());
    };
    let Some(pinned) = expr.pinned(Timestamp::from_millis(at)) else {
        return Ok(());
    };
    let text = pinned.to_string();
    let times = if at == 0 { vec![-1000, 0, 1000] } else { vec![-10 * at, 0, at / 5, at, 10 * at] };
    for time in times {
        let answer = promql::instant(store, &text, Timestamp::from_millis(time), &options());
        let mut values = Expected { ordered: eval.expected.ordered, ..Expected::default() };
        values.scalar = eval.expected.scalar;
        values.string = eval.expected.string.clone();
        values.fail = eval.expected.fail.as_ref().map(|_| Pattern::Any);
        compare_with(answer, &values, &eval.expected.series, None)
            .map_err(|why| format!("{text} at {time} ms: {why}"))?;
    }
    Ok(())
}

fn compare(
    answer: Result<Answer, QueryError>,
    expected: &Expected,
    range: Option<(i64, i64, i64)>,
) -> Result<(), String> {
    compare_with(answer, expected, &expected.series, range)
}

fn compare_with(
    answer: Result<Answer, QueryError>,
    expected: &Expected,
    series: &[Described],
    range: Option<(i64, i64, i64)>,
) -> Result<(), String> {
    let answer = match (answer, &expected.fail) {
        (Err(error), Some(pattern)) => return compare_error(&error, pattern),
        (Err(error), None) => return Err(format!("fails: {error}")),
        (Ok(answer), Some(_)) => return Err(format!("does not fail: {:?}", answer.value)),
        (Ok(answer), None) => answer,
    };
    compare_annotations(&answer, expected)?;
    match &answer.value {
        Value::Scalar { value, .. } => match expected.scalar {
            Some(scalar) => compare_value(scalar, *value),
            None => Err(format!("gives the scalar {value}")),
        },
        Value::String { value, .. } if expected.string.as_ref() == Some(value) => Ok(()),
        Value::String { value, .. } => Err(format!("gives the string {value:?}")),
        Value::Vector(samples) => {
            let point = |sample: &promql::VectorSample| match &sample.histogram {
                Some(histogram) => Point::Histogram(Arc::clone(histogram)),
                None => Point::Value(sample.value),
            };
            let got: Vec<_> = samples.iter().map(|sample| (sample.labels.clone(), point(sample))).collect();
            compare_samples(&got, series, expected.ordered)
        }
        Value::Matrix(matrix) => {
            let (start, step) = match (range, expected.range_vector) {
                (Some((start, _, step)), _) => (start, step),
                (None, Some(times)) => times,
                (None, None) => return Err("gives a range vector".into()),
            };
            let got: Vec<_> = matrix.iter().map(|series| (series.labels.clone(), points(series))).collect();
            compare_matrix(&got, series, start, step)
        }
    }
}

fn compare_error(error: &QueryError, pattern: &Pattern) -> Result<(), String> {
    let text = match error {
        QueryError::Parse(error) => error.message.clone(),
        error => error.to_string(),
    };
    if matches(pattern, &text) { Ok(()) } else { Err(format!("fails with {text:?}, not {pattern:?}")) }
}

fn matches(pattern: &Pattern, text: &str) -> bool {
    match pattern {
        Pattern::Any => true,
        Pattern::Text(expected) => expected == text,
        Pattern::Regex(regex) => regex.is_match(text),
    }
}

fn compare_annotations(answer: &Answer, expected: &Expected) -> Result<(), String> {
    for (severity, patterns, none) in [
        (Severity::Warning, &expected.warn, expected.no_warn),
        (Severity::Info, &expected.info, expected.no_info),
    ] {
        let have: Vec<_> =
            answer.annotations.iter().filter(|a| a.severity == severity).map(|a| a.text.as_str()).collect();
        if none && !have.is_empty() {
            return Err(format!("unexpected annotations {have:?}"));
        }
        for pattern in patterns {
            if !have.iter().any(|text| matches(pattern, text)) {
                return Err(format!("annotation {pattern:?} is missing among {have:?}"));
            }
        }
    }
    Ok(())
}

fn near(expected: f64, got: f64) -> bool {
    if expected == got || (expected.is_nan() && got.is_nan()) {
        return true;
    }
    let (difference, sum) = ((expected - got).abs(), expected.abs() + got.abs());
    if expected == 0.0 || got == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < 1e-6 * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < 1e-6
}

fn compare_value(expected: f64, got: f64) -> Result<(), String> {
    if near(expected, got) { Ok(()) } else { Err(format!("gives {got}, not {expected}")) }
}

/// One value of an answer.
#[derive(Clone, Debug)]
enum Point {
    Value(f64),
    Histogram(Arc<Histogram>),
}

type Points = Vec<(i64, Point)>;

/// All that a series holds, by time.
fn points(series: &MatrixSeries) -> Points {
    let values = series.points.iter().map(|point| (point.timestamp.as_millis(), Point::Value(point.value)));
    let histograms = series
        .histograms
        .iter()
        .map(|(time, histogram)| (time.as_millis(), Point::Histogram(Arc::clone(histogram))));
    let mut all: Points = values.chain(histograms).collect();
    all.sort_by_key(|(time, _)| *time);
    all
}

fn same_histogram(expected: &Histogram, got: &Histogram) -> bool {
    let close = |a: &model::Buckets, b: &model::Buckets| {
        let (a, b) = (a.compacted(), b.compacted());
        a.spans == b.spans && a.counts.iter().zip(&b.counts).all(|(a, b)| near(*a, *b))
    };
    let bounds = |a: &[f64], b: &[f64]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| near(*a, *b));
    expected.schema == got.schema
        && near(expected.zero_threshold, got.zero_threshold)
        && near(expected.zero_count, got.zero_count)
        && near(expected.count, got.count)
        && near(expected.sum, got.sum)
        && bounds(&expected.custom_bounds, &got.custom_bounds)
        && close(&expected.positive, &got.positive)
        && close(&expected.negative, &got.negative)
        && (expected.reset == ResetHint::Unknown || expected.reset == got.reset)
}

fn same_point(expected: &Item, got: &Point) -> Result<(), String> {
    match (expected, got) {
        (Item::Value(expected), Point::Value(got)) => compare_value(*expected, *got),
        (Item::Histogram(expected), Point::Histogram(got)) if same_histogram(expected, got) => Ok(()),
        (Item::Histogram(expected), Point::Histogram(got)) => Err(format!("gives {got}, not {expected}")),
        (expected, got) => Err(format!("gives {got:?}, not {expected:?}")),
    }
}

fn compare_samples(got: &[(Labels, Point)], expected: &[Described], ordered: bool) -> Result<(), String> {
    if ordered {
        let order: Vec<_> = got.iter().map(|(labels, _)| labels).collect();
        let wanted: Vec<_> = expected.iter().map(|series| &series.labels).collect();
        if order != wanted {
            return Err(format!("order is {order:?}, not {wanted:?}"));
        }
    }
    for series in expected {
        let Some((_, value)) = got.iter().find(|(labels, _)| *labels == series.labels) else {
            return Err(format!("{} is missing in {got:?}", series.text));
        };
        let first = series.values.first().unwrap_or(&Item::Gap);
        same_point(first, value).map_err(|why| format!("{} {why}", series.text))?;
    }
    match got.iter().find(|(labels, _)| !expected.iter().any(|series| series.labels == *labels)) {
        Some((labels, value)) => Err(format!("unexpected {labels} {value:?}")),
        None if got.len() != expected.len() => Err(format!("{} series, not {}", got.len(), expected.len())),
        None => Ok(()),
    }
}

fn compare_matrix(
    got: &[(Labels, Points)],
    expected: &[Described],
    start: i64,
    step: i64,
) -> Result<(), String> {
    let mut wanted_series = 0;
    for series in expected {
        let wanted = series.values.iter().enumerate().filter(|(_, item)| !matches!(item, Item::Gap));
        let wanted: Vec<_> = wanted.map(|(at, item)| (start + at as i64 * step, item)).collect();
        let points =
            got.iter().find(|(labels, _)| *labels == series.labels).map(|(_, points)| points.as_slice());
        wanted_series += usize::from(!wanted.is_empty());
        let points = points.unwrap_or_default();
        let times = |at: &(i64, Point)| at.0;
        if points.iter().map(times).collect::<Vec<_>>() != wanted.iter().map(|at| at.0).collect::<Vec<_>>() {
            return Err(format!("{} gives {points:?}, not {wanted:?}", series.text));
        }
        for ((time, got), (_, wanted)) in points.iter().zip(&wanted) {
            same_point(wanted, got).map_err(|why| format!("{} at {time} ms {why}", series.text))?;
        }
    }
    if got.len() == wanted_series { Ok(()) } else { Err(format!("unexpected series among {got:?}")) }
}
