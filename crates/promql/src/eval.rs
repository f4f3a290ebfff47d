//! Evaluation: an expression over steps becomes a scalar column, a text or a stream of series.
//!
//! Here is the frame (entry points, the query's state, dispatch); each kind of node has its own file.

mod absent;
mod aggregate;
mod binary;
mod bits;
mod call;
mod extended;
mod group_key;
mod histogram;
mod info;
mod label;
mod looked_at;
mod matching;
mod math;
mod native;
mod over_time;
mod parallel;
mod rate;
mod ratio;
mod samples;
mod select;
mod series;
mod set;
mod sort;
mod summation;
mod time;
mod topk;
mod window;

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use model::{Columns, Histogram, Labels, SeriesSource, Timestamp};

use crate::annotation::{Annotations, Severity};
use crate::ast::{Expr, Kind, ValueType};
use crate::budget::{self, Budget, Column, Held};
use crate::error::QueryError;
use crate::options::Options;
use crate::parse;
use crate::value::{Answer, MatrixSeries, Statistics, Value, VectorSample};
use looked_at::LookedAt;
use series::{Series, Stream};

pub(crate) type Result<T> = std::result::Result<T, QueryError>;

/// The times at which an expression is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Steps {
    start: i64,
    /// Milliseconds; 1 or more.
    step: i64,
    count: usize,
    counted: Counted,
}

/// For which of the query's steps counts what is looked at here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counted {
    /// These steps are the query's.
    EachStep,
    /// It is the same at each of the query's steps, and evaluated once.
    AllSteps,
    /// Within a subquery, of whose result only is counted.
    Never,
}

impl Steps {
    fn once(time: i64) -> Self {
        Self { start: time, step: 1, count: 1, counted: Counted::EachStep }
    }

    /// The first of them, for what is the same at all.
    fn first(self) -> Self {
        let counted = if self.counted == Counted::Never { Counted::Never } else { Counted::AllSteps };
        Self { counted, ..Self::once(self.start) }
    }

    fn at(&self, index: usize) -> i64 {
        self.start.saturating_add(self.step.saturating_mul(index as i64))
    }

    fn last(&self) -> i64 {
        self.at(self.count.saturating_sub(1))
    }

    fn iter(self) -> impl Iterator<Item = i64> {
        (0..self.count).map(move |index| self.at(index))
    }
}

/// What an expression evaluates to.
enum Evaluated<'q> {
    Scalar(Column),
    Text(&'q str),
    Vector(Stream<'q>),
}

/// One query under way.
struct Query<'q> {
    source: &'q dyn SeriesSource,
    text: &'q str,
    options: &'q Options,
    start: i64,
    end: i64,
    /// Step of the range query, in milliseconds; 0 for an instant query.
    step: i64,
    budget: Arc<Budget>,
    annotations: RefCell<Annotations>,
    series_read: Cell<u64>,
    samples_read: Cell<u64>,
    /// Whether selectors that are opened now say of each histogram whether it was reset; only counts and sums are looked at.
    detects_resets: Cell<bool>,
    looked_at: LookedAt,
}

/// Evaluates at one time.
pub(crate) fn instant(
    source: &dyn SeriesSource,
    expr: &Expr,
    text: &str,
    time: Timestamp,
    options: &Options,
) -> Result<Answer> {
    let time_ms = time.as_millis();
    let steps = Steps::once(time_ms);
    let query = Query::new(source, text, options, (time_ms, time_ms, 0)).counting(steps);
    let value = match expr.value_type() {
        ValueType::Matrix => Value::Matrix(query.raw_matrix(expr, steps)?),
        _ => query.instant_value(expr, steps, time)?,
    };
    Ok(query.answer(value))
}

/// Evaluates at every step of `(start, end, step)`.
pub(crate) fn range(
    source: &dyn SeriesSource,
    expr: &Expr,
    text: &str,
    (start, end, step): (Timestamp, Timestamp, Duration),
    options: &Options,
) -> Result<Answer> {
    let (start_ms, end_ms) = (start.as_millis(), end.as_millis());
    let steps = range_steps(start_ms, end_ms, step, options)?;
    if !matches!(expr.value_type(), ValueType::Scalar | ValueType::Vector) {
        let message = format!(
            "invalid expression type {:?} for range query, must be Scalar or instant Vector",
            expr.value_type().documented()
        );
        return Err(QueryError::BadParameter(message));
    }
    let query = Query::new(source, text, options, (start_ms, end_ms, steps.step)).counting(steps);
    let all = match query.eval(expr, steps)? {
        Evaluated::Scalar(points) => vec![Series::unlabelled(points)],
        Evaluated::Vector(stream) => query.finish(stream)?,
        Evaluated::Text(_) => unreachable!("the type was checked"),
    };
    let mut matrix: Vec<_> = all.into_iter().filter_map(|series| to_matrix(series, steps)).collect();
    matrix.sort_by(|a, b| a.labels.cmp(&b.labels));
    Ok(query.answer(Value::Matrix(matrix)))
}

fn range_steps(start: i64, end: i64, step: Duration, options: &Options) -> Result<Steps> {
    let bad = |text: &str| Err(QueryError::BadParameter(text.into()));
    let step_ms = i64::try_from(step.as_millis()).unwrap_or(i64::MAX);
    if end < start {
        return bad("end timestamp must not be before start time");
    }
    if step_ms == 0 {
        return bad("zero or negative query resolution step widths are not accepted. Try a positive integer");
    }
    let count = usize::try_from(end.abs_diff(start) / step_ms.unsigned_abs()).unwrap_or(usize::MAX);
    if count > options.steps_max {
        let shown = group_digits(options.steps_max);
        return Err(QueryError::BadParameter(format!(
            "exceeded maximum resolution of {shown} points per timeseries. Try decreasing the query resolution (?step=XX)"
        )));
    }
    Ok(Steps { start, step: step_ms, count: count + 1, counted: Counted::EachStep })
}

fn group_digits(number: usize) -> String {
    let digits = number.to_string();
    let head = digits.len() % 3;
    let mut parts: Vec<&str> = Vec::new();
    if head > 0 {
        parts.push(&digits[..head]);
    }
    (head..digits.len()).step_by(3).for_each(|at| parts.push(&digits[at..at + 3]));
    parts.join(",")
}

fn to_sample(series: Series, timestamp: Timestamp) -> Option<VectorSample> {
    let (value, histogram) = match series.points.held(0) {
        Held::Absent => return None,
        Held::Number(value) => (value, None),
        Held::Histogram(histogram) => (0.0, Some(Arc::clone(histogram))),
    };
    Some(VectorSample { labels: series.labels, timestamp, value, histogram })
}

fn to_matrix(series: Series, steps: Steps) -> Option<MatrixSeries> {
    let (mut points, mut histograms) = (Columns::default(), Vec::new());
    for (at, time) in steps.iter().enumerate() {
        let time = Timestamp::from_millis(time);
        match series.points.held(at) {
            Held::Absent => {}
            Held::Number(value) => points.push(time, value),
            Held::Histogram(histogram) => histograms.push((time, Arc::clone(histogram))),
        }
    }
    let is_empty = points.is_empty() && histograms.is_empty();
    (!is_empty).then_some(MatrixSeries { labels: series.labels, points, histograms })
}

/// Changes the sign of what each step has.
fn negated_cells(points: &mut Column) -> Result<()> {
    for at in 0..points.len() {
        match points.held(at) {
            Held::Absent => {}
            Held::Number(value) => points.set(at, -value),
            Held::Histogram(histogram) => {
                let negated = Histogram::clone(histogram).times(-1.0);
                points.set_histogram(at, Arc::new(negated))?;
            }
        }
    }
    Ok(())
}

impl<'q> Query<'q> {
    fn new(
        source: &'q dyn SeriesSource,
        text: &'q str,
        options: &'q Options,
        (start, end, step): (i64, i64, i64),
    ) -> Self {
        Self {
            source,
            text,
            options,
            start,
            end,
            step,
            budget: Budget::new(options.samples_max),
            annotations: RefCell::default(),
            series_read: Cell::new(0),
            samples_read: Cell::new(0),
            detects_resets: Cell::new(false),
            looked_at: LookedAt::default(),
        }
    }

    /// Counts the samples that each of these steps looks at, if that is asked for.
    fn counting(mut self, steps: Steps) -> Self {
        if self.options.counts_samples {
            self.looked_at = LookedAt::new(steps);
        }
        self
    }

    fn answer(self, value: Value) -> Answer {
        let statistics = Statistics {
            series_read: self.series_read.get(),
            samples_read: self.samples_read.get(),
            samples_peak: self.budget.peak() as u64,
        };
        Answer {
            value,
            annotations: self.annotations.into_inner().into_vec(),
            statistics,
            samples_per_step: self.looked_at.into_steps(),
        }
    }

    fn instant_value(&'q self, expr: &'q Expr, steps: Steps, timestamp: Timestamp) -> Result<Value> {
        Ok(match self.eval(expr, steps)? {
            Evaluated::Scalar(points) => Value::Scalar { timestamp, value: points[0] },
            Evaluated::Text(text) => Value::String { timestamp, value: text.into() },
            Evaluated::Vector(stream) => {
                let all = self.finish(stream)?;
                Value::Vector(all.into_iter().filter_map(|series| to_sample(series, timestamp)).collect())
            }
        })
    }

    /// Samples of a range selector or subquery at one time, as an instant query shows them.
    fn raw_matrix(&'q self, expr: &'q Expr, steps: Steps) -> Result<Vec<MatrixSeries>> {
        let mut windows = self.windows(expr, steps)?;
        let mut matrix = Vec::new();
        let mut charge = self.budget.take(0)?;
        let mut held = 0;
        while windows.advance()? {
            let mut points = Columns::default();
            let window = windows.window(0);
            window.times.iter().zip(window.values).for_each(|(time, value)| points.push(*time, *value));
            let histograms = window.histograms.to_vec();
            if points.is_empty() && histograms.is_empty() {
                continue;
            }
            held += points.len()
                + histograms.iter().map(|(_, histogram)| budget::weight(histogram)).sum::<usize>();
            charge.grow_to(held)?;
            let labels = windows.labels();
            let labels = if windows.drop_name() { self.without_name(labels) } else { labels.clone() };
            matrix.push(MatrixSeries { labels, points, histograms });
        }
        matrix.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(matrix)
    }

    /// Evaluates any expression but a range vector.
    fn eval(&'q self, expr: &'q Expr, steps: Steps) -> Result<Evaluated<'q>> {
        self.check_interrupt()?;
        if steps.count > 1
            && expr.is_constant()
            && !matches!(expr.bare().kind, Kind::Number(_) | Kind::Selector(_))
        {
            let once = self.eval_at_steps(expr, steps.first())?;
            return self.repeat(once, steps.count);
        }
        self.eval_at_steps(expr, steps)
    }

    fn eval_at_steps(&'q self, expr: &'q Expr, steps: Steps) -> Result<Evaluated<'q>> {
        match &expr.kind {
            Kind::Number(value) => Ok(Evaluated::Scalar(Column::filled(&self.budget, *value, steps.count)?)),
            Kind::Text(text) => Ok(Evaluated::Text(&text.value)),
            Kind::Paren(inner) | Kind::Plus(inner) => self.eval(inner, steps),
            Kind::Selector(selector) => {
                self.select_instant(expr, selector, steps, select::Show::Value).map(Evaluated::Vector)
            }
            Kind::Aggregate(aggregate) => self.aggregate(aggregate, steps).map(Evaluated::Vector),
            Kind::Negate(inner) => self.negate(inner, steps),
            Kind::Binary(binary) => self.binary(binary, steps),
            Kind::Call(call) => self.call(expr, call, steps),
            Kind::Range(_) | Kind::Subquery(_) => {
                unreachable!("types are checked: range vectors go through windows()")
            }
        }
    }

    /// One step's values, at every step.
    fn repeat(&'q self, once: Evaluated<'q>, count: usize) -> Result<Evaluated<'q>> {
        Ok(match once {
            Evaluated::Scalar(points) => Evaluated::Scalar(Column::filled(&self.budget, points[0], count)?),
            Evaluated::Text(text) => Evaluated::Text(text),
            Evaluated::Vector(stream) => Evaluated::Vector(Box::new(stream.map(move |series| {
                let series = series?;
                let mut points = Column::absent(&self.budget, count)?;
                points.copy(0, &series.points, 0)?;
                points.repeat_first()?;
                Ok(Series { points, ..series })
            }))),
        })
    }

    fn negate(&'q self, inner: &'q Expr, steps: Steps) -> Result<Evaluated<'q>> {
        Ok(match self.eval(inner, steps)? {
            Evaluated::Scalar(mut points) => {
                points.map(|value| -value);
                Evaluated::Scalar(points)
            }
            Evaluated::Vector(stream) => {
                let negated = stream.map(|series| {
                    let mut series = series?;
                    if series.points.has_histograms() {
                        negated_cells(&mut series.points)?;
                    } else {
                        series.points.map(|value| -value);
                    }
                    Ok(series)
                });
                Evaluated::Vector(self.drop_names(Box::new(negated), inner.has_one_name())?)
            }
            Evaluated::Text(_) => unreachable!("types are checked: a text has no sign"),
        })
    }

    fn scalar(&'q self, expr: &'q Expr, steps: Steps) -> Result<Column> {
        match self.eval(expr, steps)? {
            Evaluated::Scalar(points) => Ok(points),
            _ => unreachable!("types are checked: a scalar is expected here"),
        }
    }

    fn vector(&'q self, expr: &'q Expr, steps: Steps) -> Result<Stream<'q>> {
        match self.eval(expr, steps)? {
            Evaluated::Vector(stream) => Ok(stream),
            _ => unreachable!("types are checked: a vector is expected here"),
        }
    }

    /// A vector whose selectors detect resets, or not.
    fn vector_detecting(&'q self, expr: &'q Expr, steps: Steps, detects: bool) -> Result<Stream<'q>> {
        let before = self.detects_resets.replace(detects);
        let stream = self.vector(expr, steps);
        self.detects_resets.set(before);
        stream
    }

    fn string(&'q self, expr: &'q Expr) -> &'q str {
        match &expr.bare().kind {
            Kind::Text(text) => &text.value,
            _ => unreachable!("types are checked: only literals are texts"),
        }
    }

    /// Drops the metric name of every series: at the end of the query where that is enabled, else at once. `one_name` says that no
    /// two series differ in their name alone.
    fn drop_names(&'q self, stream: Stream<'q>, one_name: bool) -> Result<Stream<'q>> {
        if self.options.features.delayed_name_removal {
            return Ok(Box::new(stream.map(|series| Ok(Series { drop_name: true, ..series? }))));
        }
        let dropped = Box::new(stream.map(|series| {
            let series = series?;
            Ok(Series { labels: self.without_name(&series.labels), ..series })
        }));
        if one_name { Ok(dropped) } else { self.merged(dropped) }
    }

    fn without_name(&self, labels: &Labels) -> Labels {
        series::without_name(labels, self.options.features.type_and_unit_labels)
    }

    /// Drops the names that wait for it and joins what became equal.
    fn finish(&self, stream: Stream<'_>) -> Result<Vec<Series>> {
        let mut any_dropped = false;
        let mut all = Vec::new();
        for series in stream {
            let mut series = series?;
            if series.drop_name {
                any_dropped = true;
                series.labels = self.without_name(&series.labels);
                series.drop_name = false;
            }
            all.push(series);
        }
        if any_dropped { series::merge(Box::new(all.into_iter().map(Ok))) } else { Ok(all) }
    }

    /// Joins series whose labels have become equal; an error where two have a value at the same step.
    fn merged(&'q self, stream: Stream<'q>) -> Result<Stream<'q>> {
        /// What a series' labels cost beside its points, in points: they are hashed, and may just have been made.
        const LABELS: usize = 256;
        let mut work = 0;
        let looked_at = stream.map(|series| {
            let series = series?;
            self.check_now_and_then(&mut work, LABELS + series.points.len())?;
            Ok(series)
        });
        let all = series::merge(Box::new(looked_at))?;
        Ok(Box::new(all.into_iter().map(Ok)))
    }

    fn check_interrupt(&self) -> Result<()> {
        match self.options.interrupt.as_ref().and_then(|check| check()) {
            Some(interrupt) => Err(interrupt.into()),
            None => Ok(()),
        }
    }

    /// Checks once in a while inside long loops; `work` counts what was done since.
    fn check_now_and_then(&self, work: &mut usize, more: usize) -> Result<()> {
        const WORK_MAX: usize = 1 << 20;
        *work += more + 1;
        if *work < WORK_MAX {
            return Ok(());
        }
        *work = 0;
        self.check_interrupt()
    }

    fn warn(&self, expr: &Expr, message: &str) {
        self.annotate(Severity::Warning, expr, message);
    }

    fn inform(&self, expr: &Expr, message: &str) {
        self.annotate(Severity::Info, expr, message);
    }

    fn annotate(&self, severity: Severity, expr: &Expr, message: &str) {
        let position = parse::position(self.text, expr.span().start);
        self.annotations.borrow_mut().add(severity, message, position);
    }
}
