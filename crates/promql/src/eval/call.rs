//! Function calls: finds what a name means and evaluates its arguments.

use std::collections::VecDeque;

use std::sync::{Arc, OnceLock};

use model::{Labels, METRIC_NAME};

use super::native::{Point, Remarks, window as native_window};
use super::parallel::{self, Done, Job, Ready};
use super::rate::sweep::Sweep;
use super::select::Show;
use super::series::{Series, Stream};
use super::window::{Window, Windows};
use super::{Evaluated, Query, Result, Steps, math, over_time, rate, time};
use crate::ast::{Call, Edge, Expr, Kind};
use crate::budget::{ABSENT, Column, Held, is_present};
use crate::error::QueryError;
use crate::number::format_short;
use crate::options::Taken;

/// One value a window, by one thread. What can be swept over is not looked at window by window.
struct PerWindow<F> {
    steps: Steps,
    /// Every step gives the same.
    once: bool,
    sweep: Option<Sweep>,
    work: usize,
    function: F,
}

impl<F: Fn(Window<'_>, usize, &Labels) -> Option<Point>> PerWindow<F> {
    /// The next series that has a value.
    fn next<'q>(&mut self, query: &'q Query<'q>, windows: &mut Windows<'q>) -> Result<Option<Series>> {
        while windows.advance()? {
            if let Some(series) = self.current(query, windows)? {
                return Ok(Some(series));
            }
        }
        Ok(None)
    }

    /// The series that the windows stand at, if it has a value.
    fn current<'q>(&mut self, query: &'q Query<'q>, windows: &mut Windows<'q>) -> Result<Option<Series>> {
        let mut points = Column::absent(&query.budget, self.steps.count)?;
        let distinct = if self.once { 1 } else { self.steps.count };
        if let (Some(sweep), Some(columns)) = (&mut self.sweep, windows.plain()) {
            query.check_now_and_then(&mut self.work, columns.len() + distinct)?;
            sweep.fill(columns, windows.frame(), &mut points[..distinct])?;
            windows.count_looked_at(sweep.looked_at());
        } else {
            query.each_window(windows, &mut points, distinct, &mut self.work, &self.function)?;
        }
        if self.once {
            points.repeat_first()?;
        }
        if !points.has_any() {
            return Ok(None);
        }
        Ok(Some(Series { labels: windows.labels().clone(), drop_name: windows.drop_name(), points }))
    }
}

impl<'q> Query<'q> {
    pub(super) fn call(&'q self, expr: &'q Expr, call: &'q Call, steps: Steps) -> Result<Evaluated<'q>> {
        let arguments = call.arguments.as_slice();
        let name = call.function.name;
        if let Some(value) = self.scalar_call(name, arguments, steps)? {
            return Ok(Evaluated::Scalar(value));
        }
        if let Some(function) = math::find(name) {
            return self.map_call(&arguments[0], steps, function);
        }
        if let Some(part) = time::find(name) {
            return self.time_call(arguments, steps, part);
        }
        if let Some(function) = over_time::find(name) {
            return self.window_call(name, &arguments[0], steps, function).map(Evaluated::Vector);
        }
        self.special_call(expr, name, arguments, steps).map(Evaluated::Vector)
    }

    fn scalar_call(&'q self, name: &str, arguments: &'q [Expr], steps: Steps) -> Result<Option<Column>> {
        let constant = match name {
            "pi" => std::f64::consts::PI,
            "start" => self.start as f64 / 1000.0,
            "end" => self.end as f64 / 1000.0,
            "step" => self.step as f64 / 1000.0,
            "range" => self.end.saturating_sub(self.start) as f64 / 1000.0,
            "time" => {
                let mut times = Column::absent(&self.budget, steps.count)?;
                times.iter_mut().zip(steps.iter()).for_each(|(value, time)| *value = time as f64 / 1000.0);
                return Ok(Some(times));
            }
            "min_of" => return self.scalar_pair(arguments, steps, math::min).map(Some),
            "max_of" => return self.scalar_pair(arguments, steps, math::max).map(Some),
            "scalar" => return self.single(&arguments[0], steps).map(Some),
            _ => return Ok(None),
        };
        Column::filled(&self.budget, constant, steps.count).map(Some)
    }

    fn scalar_pair(
        &'q self,
        arguments: &'q [Expr],
        steps: Steps,
        pick: fn(f64, f64) -> f64,
    ) -> Result<Column> {
        let mut first = self.scalar(&arguments[0], steps)?;
        let second = self.scalar(&arguments[1], steps)?;
        first.iter_mut().zip(second.iter()).for_each(|(a, b)| *a = pick(*a, *b));
        Ok(first)
    }

    /// `scalar(v)`: the value of the only element, or NaN.
    fn single(&'q self, argument: &'q Expr, steps: Steps) -> Result<Column> {
        let mut value = Column::filled(&self.budget, f64::NAN, steps.count)?;
        let mut seen = vec![0u8; steps.count];
        for series in self.vector(argument, steps)? {
            let series = series?;
            for at in 0..steps.count {
                let Held::Number(point) = series.points.held(at) else { continue };
                value[at] = if seen[at] == 0 { point } else { f64::NAN };
                seen[at] = 1;
            }
        }
        Ok(value)
    }

    /// A function of each number; histograms give nothing.
    fn map_call(
        &'q self,
        argument: &'q Expr,
        steps: Steps,
        function: impl Fn(f64) -> f64 + 'q,
    ) -> Result<Evaluated<'q>> {
        let mapped = self.vector(argument, steps)?.map(move |series| {
            let mut series = series?;
            series.points.drop_histograms();
            series.points.map(&function);
            Ok(series)
        });
        self.drop_names(Box::new(mapped), argument.has_one_name()).map(Evaluated::Vector)
    }

    /// A function of each value and one scalar a step; `None` drops the value.
    fn zip_call(
        &'q self,
        argument: &'q Expr,
        steps: Steps,
        parameters: Vec<Column>,
        function: fn(f64, &[f64]) -> f64,
    ) -> Result<Stream<'q>> {
        let mut row = vec![0.0; parameters.len()];
        let mapped = self.vector(argument, steps)?.map(move |series| {
            let mut series = series?;
            series.points.drop_histograms();
            for (at, value) in series.points.iter_mut().enumerate().filter(|(_, value)| is_present(**value)) {
                row.iter_mut().zip(&parameters).for_each(|(cell, column)| *cell = column[at]);
                *value = function(*value, &row);
            }
            Ok(series)
        });
        self.drop_names(Box::new(mapped), argument.has_one_name())
    }

    fn time_call(
        &'q self,
        arguments: &'q [Expr],
        steps: Steps,
        part: fn(f64) -> f64,
    ) -> Result<Evaluated<'q>> {
        if let Some(argument) = arguments.first() {
            return self.map_call(argument, steps, part);
        }
        let mut times = Column::absent(&self.budget, steps.count)?;
        times.iter_mut().zip(steps.iter()).for_each(|(value, time)| *value = part(time as f64 / 1000.0));
        Ok(Evaluated::Vector(Box::new(std::iter::once(Ok(Series::unlabelled(times))))))
    }

    fn special_call(
        &'q self,
        expr: &'q Expr,
        name: &'static str,
        arguments: &'q [Expr],
        steps: Steps,
    ) -> Result<Stream<'q>> {
        match name {
            "absent" => self.absent(&arguments[0], steps),
            "absent_over_time" => self.absent_over_time(&arguments[0], steps),
            "clamp" | "clamp_max" | "clamp_min" => self.clamp(name, arguments, steps),
            "round" => self.round(arguments, steps),
            "vector" => {
                Ok(Box::new(std::iter::once(Ok(Series::unlabelled(self.scalar(&arguments[0], steps)?)))))
            }
            "timestamp" => self.timestamp(&arguments[0], steps),
            "start_timestamp" => self.start_timestamp(&arguments[0], steps),
            "histogram_avg" | "histogram_count" | "histogram_stddev" | "histogram_stdvar"
            | "histogram_sum" => self.histogram_call(name, &arguments[0], steps),
            "predict_linear" => self.predict_linear(arguments, steps),
            "quantile_over_time" => self.quantile_over_time(arguments, steps),
            "double_exponential_smoothing" => self.smoothing(arguments, steps),
            "histogram_quantile" => self.histogram_quantile(arguments, steps),
            "histogram_quantiles" => self.histogram_quantiles(arguments, steps),
            "histogram_fraction" => self.histogram_fraction(arguments, steps),
            "label_replace" => self.label_replace(arguments, steps),
            "label_join" => self.label_join(arguments, steps),
            "sort" | "sort_desc" | "sort_by_label" | "sort_by_label_desc" => {
                self.sort(expr, name, arguments, steps)
            }
            "info" => self.info(arguments, steps),
            _ => unreachable!("the parser knows functions by name: {name}"),
        }
    }

    /// When the counter of the sample began, of selectors alone.
    fn start_timestamp(&'q self, argument: &'q Expr, steps: Steps) -> Result<Stream<'q>> {
        if let Kind::Selector(selector) = &argument.bare().kind {
            let starts = self.select_instant(argument, selector, steps, Show::Start)?;
            return self.drop_names(starts, argument.has_one_name());
        }
        // What was computed began at no time.
        for series in self.vector(argument, steps)? {
            series?;
        }
        Ok(Box::new(std::iter::empty()))
    }

    fn clamp(&'q self, name: &str, arguments: &'q [Expr], steps: Steps) -> Result<Stream<'q>> {
        let bounds =
            arguments[1..].iter().map(|bound| self.scalar(bound, steps)).collect::<Result<Vec<_>>>()?;
        let function: fn(f64, &[f64]) -> f64 = match name {
            "clamp_max" => |value, row| math::min(row[0], value),
            "clamp_min" => |value, row| math::max(row[0], value),
            _ => |value, row| {
                if row[1] < row[0] { ABSENT } else { math::max(row[0], math::min(row[1], value)) }
            },
        };
        self.zip_call(&arguments[0], steps, bounds, function)
    }

    fn round(&'q self, arguments: &'q [Expr], steps: Steps) -> Result<Stream<'q>> {
        let to_nearest = match arguments.get(1) {
            Some(argument) => self.scalar(argument, steps)?,
            None => Column::filled(&self.budget, 1.0, steps.count)?,
        };
        self.zip_call(&arguments[0], steps, vec![to_nearest], |value, row| math::round(value, row[0]))
    }

    /// The time of the sample where the argument is a selector, else the time of the step.
    fn timestamp(&'q self, argument: &'q Expr, steps: Steps) -> Result<Stream<'q>> {
        if let Kind::Selector(selector) = &argument.bare().kind {
            let times = self.select_instant(argument, selector, steps, Show::Time)?;
            return self.drop_names(times, argument.has_one_name());
        }
        let stamped = self.vector(argument, steps)?.map(move |series| {
            let mut series = series?;
            for (at, time) in steps.iter().enumerate() {
                if is_present(series.points[at]) {
                    series.points.set(at, time as f64 / 1000.0);
                }
            }
            Ok(series)
        });
        self.drop_names(Box::new(stamped), argument.has_one_name())
    }

    /// A function of each window.
    fn window_call(
        &'q self,
        name: &'static str,
        argument: &'q Expr,
        steps: Steps,
        function: over_time::OverTime,
    ) -> Result<Stream<'q>> {
        // Each histogram is compared with the one before once, and not in every window.
        let detects = self.detects_resets.get() || matches!(name, "rate" | "increase" | "irate" | "resets");
        let before = self.detects_resets.replace(detects);
        let windows = self.windows(argument, steps);
        self.detects_resets.set(before);
        let windows = windows?;
        if windows.edge() != Edge::Open {
            return self.edge_call(name, windows, argument, steps);
        }
        let checks_name = matches!(name, "rate" | "increase" | "irate");
        let call = move |window: Window<'_>, _, labels: &Labels| {
            if window.is_plain() {
                return function(&window).map(Point::Number);
            }
            native_window::call(name, &window, function, Remarks::on(self, argument, labels))
        };
        let sweep = Sweep::find(name, self.budget.take(0)?);
        let mut window_of = self.in_parts(name, function, windows, steps, sweep, call)?;
        let mut checked = None;
        let series = std::iter::from_fn(move || window_of().transpose()).inspect(move |series| {
            if let (true, Ok(series)) = (checks_name, series) {
                self.check_counter_name(argument, series, &mut checked);
            }
        });
        if over_time::keeps_name(name) {
            Ok(Box::new(series))
        } else {
            self.drop_names(Box::new(series), argument.has_one_name())
        }
    }

    /// As [`Query::per_window`], several parts of the series at a time where there are threads for it.
    fn in_parts(
        &'q self,
        name: &'static str,
        function: over_time::OverTime,
        mut windows: Windows<'q>,
        steps: Steps,
        sweep: Option<Sweep>,
        call: impl Fn(Window<'_>, usize, &Labels) -> Option<Point> + 'q,
    ) -> Result<impl FnMut() -> Result<Option<Series>> + 'q> {
        let once = windows.is_fixed();
        let mut serial = PerWindow { steps, once, sweep, work: 0, function: call };
        let distinct = if once { 1 } else { steps.count };
        // Start timestamps are for one thread.
        let threads = (!self.options.features.start_timestamps).then_some(&self.options.threads);
        let mut ready = VecDeque::new();
        Ok(move || {
            loop {
                let Some(reader) = windows.reader() else { return serial.next(self, &mut windows) };
                if reader.is_in_part() {
                    if windows.advance_in_part()?
                        && let Some(series) = serial.current(self, &mut windows)?
                    {
                        return Ok(Some(series));
                    }
                    continue;
                }
                match ready.pop_front() {
                    Some(Ready::Done(done)) => {
                        if let Some(series) = self.taken(done, &windows)? {
                            return Ok(Some(series));
                        }
                        continue;
                    }
                    Some(Ready::Rest { part, begun }) => {
                        reader.resume(part, begun);
                        continue;
                    }
                    Some(Ready::Failed(error)) => return Err(error),
                    None => {}
                }
                let left = reader.parts_left();
                let taken = threads.map(|threads| threads.take(left.len().saturating_sub(1)));
                let count = taken.as_ref().map_or(0, Taken::count);
                if count > 0 {
                    let parts = left.drain(..=count).collect();
                    let (frame, counts) = (*windows.frame(), windows.counts());
                    let (budget, options, steps) = (&self.budget, self.options, steps.count);
                    let job = Job { name, function, frame, steps, distinct, counts, budget, options };
                    parallel::run(parts, &job, &mut ready);
                } else if !reader.next_part() {
                    return Ok(None);
                }
            }
        })
    }

    /// Counts a series that another thread read.
    fn taken(&self, done: Done, windows: &Windows<'q>) -> Result<Option<Series>> {
        self.count_series()?;
        self.samples_read.set(self.samples_read.get() + done.samples);
        windows.count_looked_at(done.looked_at.into_iter());
        Ok(done.series)
    }

    /// Computes one value a window, series by series.
    fn per_window(
        &'q self,
        mut windows: Windows<'q>,
        steps: Steps,
        function: impl Fn(Window<'_>, usize, &Labels) -> Option<Point> + 'q,
    ) -> impl FnMut() -> Result<Option<Series>> + 'q {
        let mut serial = PerWindow { steps, once: false, sweep: None, work: 0, function };
        move || serial.next(self, &mut windows)
    }

    /// Computes one value a window of a series.
    fn each_window(
        &self,
        windows: &mut Windows<'q>,
        points: &mut Column,
        distinct: usize,
        work: &mut usize,
        function: &impl Fn(Window<'_>, usize, &Labels) -> Option<Point>,
    ) -> Result<()> {
        for at in 0..distinct {
            windows.slide(at);
            let window = windows.current();
            self.check_now_and_then(work, window.len())?;
            if window.len() == 0 {
                continue;
            }
            match function(window, at, windows.labels()) {
                None => {}
                Some(Point::Number(value)) => points[at] = value,
                Some(Point::Histogram(histogram)) => points.set_histogram(at, histogram)?,
            }
        }
        Ok(())
    }

    /// A function of each window's numbers, if there are so many, and its step; its name goes.
    fn step_window_call(
        &'q self,
        argument: &'q Expr,
        steps: Steps,
        fewest: usize,
        function: impl Fn(Window<'_>, usize) -> Option<f64> + 'q,
    ) -> Result<Stream<'q>> {
        let call = move |window: Window<'_>, at: usize, labels: &Labels| {
            let numbers = match window.is_plain() {
                true => window,
                false => native_window::numbers_alone(&window, fewest, Remarks::on(self, argument, labels))?,
            };
            function(numbers, at).map(Point::Number)
        };
        let mut window_of = self.per_window(self.windows(argument, steps)?, steps, call);
        let series = std::iter::from_fn(move || window_of().transpose());
        self.drop_names(Box::new(series), argument.has_one_name())
    }

    fn predict_linear(&'q self, arguments: &'q [Expr], steps: Steps) -> Result<Stream<'q>> {
        let ahead = self.scalar(&arguments[1], steps)?;
        self.step_window_call(&arguments[0], steps, 2, move |window, at| {
            rate::predict(&window, steps.at(at), ahead[at])
        })
    }

    fn quantile_over_time(&'q self, arguments: &'q [Expr], steps: Steps) -> Result<Stream<'q>> {
        let phi = self.scalar(&arguments[0], steps)?;
        phi.iter().for_each(|phi| self.check_quantile(&arguments[0], *phi));
        self.step_window_call(&arguments[1], steps, 1, move |window, at| {
            Some(math::quantile(phi[at], &mut window.values.to_vec()))
        })
    }

    fn smoothing(&'q self, arguments: &'q [Expr], steps: Steps) -> Result<Stream<'q>> {
        let smoothing = self.scalar(&arguments[1], steps)?;
        let trend = self.scalar(&arguments[2], steps)?;
        // A factor out of bounds is an error where there is anything to smooth, as in Prometheus, and nothing where there is not.
        let bad = Arc::new(OnceLock::new());
        let seen = Arc::clone(&bad);
        let smoothed = self.step_window_call(&arguments[0], steps, 2, move |window, at| {
            let factors = [("smoothing", "sf", smoothing[at]), ("trend", "tf", trend[at])];
            let wrong = factors.iter().find(|(_, _, factor)| *factor <= 0.0 || *factor >= 1.0);
            if let Some((what, short, factor)) = wrong.filter(|_| !window.values.is_empty()) {
                seen.get_or_init(|| {
                    format!("invalid {what} factor. Expected: 0 < {short} < 1, got: {factor:.6}")
                });
                return None;
            }
            rate::smooth(&window, smoothing[at], trend[at])
        })?;
        // One more look after the last series, which may be one without a value.
        let looked_at = smoothed.map(Some).chain([None]).filter_map(move |series| match bad.get() {
            Some(message) => Some(Err(QueryError::execution(message.clone()))),
            None => series,
        });
        Ok(Box::new(looked_at))
    }

    pub(super) fn check_quantile(&self, argument: &Expr, phi: f64) {
        if phi.is_nan() || !(0.0..=1.0).contains(&phi) {
            let shown = if phi.is_finite() { format!("{phi:.2}") } else { format_short(phi) };
            self.warn(argument, &format!("quantile value should be between 0 and 1, got {shown}"));
        }
    }

    /// A counter's name ends in a way that says so. `checked` remembers the last name, since most series share it.
    pub(super) fn check_counter_name(&self, argument: &Expr, series: &Series, checked: &mut Option<String>) {
        // The type of histograms is known.
        let is_number = |at| matches!(series.points.held(at), Held::Number(_));
        if series.points.has_histograms() && !(0..series.points.len()).any(is_number) {
            return;
        }
        let Some(name) = series.labels.get(METRIC_NAME).filter(|name| checked.as_deref() != Some(*name))
        else {
            return;
        };
        *checked = Some(name.to_owned());
        if !["_total", "_sum", "_count", "_bucket"].iter().any(|ending| name.ends_with(ending)) {
            let what = "metric might not be a counter, name does not end in _total/_sum/_count/_bucket";
            self.inform(argument, &format!("{what}: {name:?}"));
        }
    }
}
