//! `anchored` and `smoothed` selectors: windows that look beyond their edges for the values there.
//!
//! Anchored takes the last sample before the window (within the lookback) as its left edge, smoothed interpolates between the samples
//! around each edge. Both give what happened between the edges, without extrapolation.

use model::{Columns, Timestamp};

use super::native::{Point, Remarks, extended, rate};
use super::samples::Samples;
use super::select::{Reader, Reference};
use super::series::{Series, Stream};
use super::window::{Window, Windows};
use super::{Query, Result, Steps};
use crate::ast::{Edge, Expr, Selector};
use crate::budget::{ABSENT, Column};

impl<'q> Query<'q> {
    /// A function of windows with edges.
    pub(super) fn edge_call(
        &'q self,
        name: &'static str,
        mut windows: Windows<'q>,
        argument: &'q Expr,
        steps: Steps,
    ) -> Result<Stream<'q>> {
        let smoothed = windows.edge() == Edge::Smoothed;
        let lookback = self.lookback();
        let mut work = 0;
        let mut next = move || -> Result<Option<Series>> {
            while windows.advance()? {
                let mut points = Column::absent(&self.budget, steps.count)?;
                for at in 0..steps.count {
                    let window = windows.wide_window(at, lookback, smoothed);
                    self.check_now_and_then(&mut work, window.len())?;
                    if window.histograms.is_empty() {
                        points[at] = edge_value(name, &window, smoothed).unwrap_or(ABSENT);
                        continue;
                    }
                    let remarks = Remarks::on(self, argument, windows.labels());
                    if let Some(point) = extended::call(name, &window, smoothed, remarks) {
                        point.put(&mut points, at)?;
                    }
                }
                if points.has_any() {
                    return Ok(Some(Series { labels: windows.labels().clone(), drop_name: false, points }));
                }
            }
            Ok(None)
        };
        let checks_name = matches!(name, "rate" | "increase");
        let mut checked = None;
        let series = std::iter::from_fn(move || next().transpose()).inspect(move |series| {
            if let (true, Ok(series)) = (checks_name, series) {
                self.check_counter_name(argument, series, &mut checked);
            }
        });
        self.drop_names(Box::new(series), argument.has_one_name())
    }

    /// `selector smoothed`: between the samples around each step.
    pub(super) fn select_smoothed(
        &'q self,
        expr: &'q Expr,
        selector: &'q Selector,
        steps: Steps,
    ) -> Result<Stream<'q>> {
        let reference = self.reference(&selector.shift, steps)?;
        let lookback = self.lookback();
        let from = reference.first().saturating_sub(lookback).saturating_add(1);
        let mut reader = self.reader(&selector.matchers, from, reference.last().saturating_add(lookback))?;
        let mut next = move || self.next_smoothed(expr, &mut reader, &reference);
        Ok(Box::new(std::iter::from_fn(move || next().transpose())))
    }

    fn next_smoothed(
        &self,
        expr: &Expr,
        reader: &mut Reader<'q>,
        reference: &Reference,
    ) -> Result<Option<Series>> {
        while reader.advance(self)? {
            reader.samples.drop_stale();
            let samples = &reader.samples;
            let mut points = Column::absent(&self.budget, reference.steps().count)?;
            if samples.histograms.is_empty() {
                for (at, point) in points.iter_mut().enumerate() {
                    let value = between(&samples.columns, reference.at(at), self.lookback());
                    *point = value.unwrap_or(ABSENT);
                }
            } else {
                let remarks = Remarks::on(self, expr, reader.labels());
                self.smooth_both(samples, reference, remarks, &mut points)?;
            }
            if points.has_any() {
                self.count_points(reference, &points);
                return Ok(Some(Series { labels: reader.labels().clone(), drop_name: false, points }));
            }
        }
        Ok(None)
    }
}

impl Query<'_> {
    /// The values at each time where there are histograms.
    fn smooth_both(
        &self,
        samples: &Samples,
        reference: &Reference,
        remarks: Remarks<'_, '_>,
        points: &mut Column,
    ) -> Result<()> {
        let all = rate::samples(&samples.whole());
        let lookback = self.lookback();
        for step in 0..points.len() {
            let time = reference.at(step);
            let after = all.partition_point(|sample| sample.time.as_millis() <= time);
            let Some(before) = after.checked_sub(1).map(|at| &all[at]) else { continue };
            let age = time.saturating_sub(before.time.as_millis());
            if age >= lookback {
                continue;
            }
            let near = |next: &&rate::Sample| next.time.as_millis().saturating_sub(time) <= lookback;
            let ahead = all.get(after).filter(near).filter(|_| age > 0);
            let value = match (&before.point, ahead.map(|ahead| &ahead.point)) {
                (Point::Number(_), Some(Point::Number(_))) => {
                    between(&samples.columns, time, lookback).map(Point::Number)
                }
                _ => extended::between(before, ahead, time, remarks),
            };
            if let Some(value) = value {
                value.put(points, step)?;
            }
        }
        Ok(())
    }
}

/// The value at a time: that of the sample there, or on the line from the one before to the one after; without the latter, that of
/// the one before.
fn between(samples: &Columns, time: i64, lookback: i64) -> Option<f64> {
    let after = samples.timestamps.partition_point(|sample| sample.as_millis() <= time);
    let before = after.checked_sub(1)?;
    let age = time.saturating_sub(samples.timestamps[before].as_millis());
    if age >= lookback {
        return None;
    }
    let ahead =
        samples.timestamps.get(after).filter(|next| next.as_millis().saturating_sub(time) <= lookback);
    if age == 0 || ahead.is_none() {
        return Some(samples.values[before]);
    }
    Some(line(&samples.timestamps, &samples.values, before, time, false))
}

/// The line through a sample and the next, at a time. Where a counter was reset in between, it began again at zero.
fn line(times: &[Timestamp], values: &[f64], at: usize, time: i64, is_counter: bool) -> f64 {
    let (from, to) = (times[at].as_millis(), times[at + 1].as_millis());
    let (mut first, second) = (values[at], values[at + 1]);
    if is_counter && second < first {
        first = 0.0;
    }
    first + (second - first) * ((time - from) as f64 / (to - from) as f64)
}

/// The samples that matter: from the last at or before the window's left edge (or the first there is) to the first at or after its
/// right edge (or the last there is). `None` where nothing lies in the window.
pub(super) fn inner(times: &[Timestamp], (start, end): (i64, i64), smoothed: bool) -> Option<(usize, usize)> {
    let mut last = times.len().checked_sub(1)?;
    let first = times[..last].partition_point(|time| time.as_millis() <= start).saturating_sub(1);
    if smoothed {
        last = times[..last].partition_point(|time| time.as_millis() < end);
    }
    let outside = times[last].as_millis() <= start || times[first].as_millis() > end;
    (!outside).then_some((first, last))
}

pub(super) fn edge_value(name: &str, window: &Window<'_>, smoothed: bool) -> Option<f64> {
    let (first, last) = inner(window.times, (window.start, window.end), smoothed)?;
    let part = Window { times: &window.times[first..=last], values: &window.values[first..=last], ..*window };
    match name {
        "changes" => super::rate::changes(&part),
        "resets" => super::rate::resets(&part),
        "rate" => Some(change(&part, smoothed, true) / window.range_seconds()),
        "increase" => Some(change(&part, smoothed, true)),
        _ => Some(change(&part, smoothed, false)),
    }
}

/// The change between the edges.
fn change(part: &Window<'_>, smoothed: bool, is_counter: bool) -> f64 {
    let (times, values) = (part.times, part.values);
    let last = values.len() - 1;
    let left = match smoothed && times[0].as_millis() < part.start && last > 0 {
        true => line(times, values, 0, part.start, is_counter),
        false => values[0],
    };
    let right = match smoothed && times[last].as_millis() > part.end && last > 0 {
        true => line(times, values, last - 1, part.end, is_counter),
        false => values[last],
    };
    let mut change = right - left;
    if is_counter {
        let from = usize::from(times[0].as_millis() <= part.start);
        let to = if times[last].as_millis() >= part.end { last } else { last + 1 };
        let mut previous = left;
        for value in values.get(from..to).unwrap_or_default().iter().chain([&right]) {
            change += if *value < previous { previous } else { 0.0 };
            previous = *value;
        }
    }
    change
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Samples every 10 s from 0 on.
    fn check(name: &str, smoothed: bool, values: &[f64], span: (i64, i64), expected: Option<f64>) {
        let times: Vec<_> = (0..values.len() as i64).map(|at| Timestamp::from_millis(at * 10_000)).collect();
        let window = Window::of_numbers(&times, values, span);
        let value = edge_value(name, &window, smoothed);
        let near = value.zip(expected).map_or(value == expected, |(a, b)| (a - b).abs() < 1e-9);
        assert!(near, "{name} {span:?}: {value:?}, not {expected:?}");
    }

    #[test]
    fn anchored_starts_from_the_sample_before() {
        check("increase", false, &[0.0, 1.0, 3.0], (10_000, 20_000), Some(2.0));
        check("increase", false, &[0.0, 1.0, 3.0], (20_000, 30_000), None);
        check("changes", false, &[0.0, 1.0, 1.0], (0, 20_000), Some(1.0));
    }

    #[test]
    fn smoothed_lies_between_samples() {
        check("increase", true, &[0.0, 10.0, 20.0], (5_000, 15_000), Some(10.0));
        check("delta", true, &[0.0, 10.0, 0.0], (5_000, 15_000), Some(0.0));
        check("increase", true, &[8.0, 10.0, 4.0], (5_000, 15_000), Some(3.0));
    }
}
