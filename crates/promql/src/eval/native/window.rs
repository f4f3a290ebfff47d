//! Functions of windows in which there are histograms or start timestamps.

use std::sync::Arc;

use model::{Histogram, Timestamp};

use super::super::over_time::OverTime;
use super::super::window::Window;
use super::mean::Accumulated;
use super::rate::{self, Kind};
use super::{Point, Remarks};

/// What a function gives; `numbers` is the same function for windows of numbers alone.
pub(in crate::eval) fn call(
    name: &str,
    window: &Window<'_>,
    numbers: OverTime,
    remarks: Remarks<'_, '_>,
) -> Option<Point> {
    let (is_counter, is_rate) = (true, true);
    match name {
        "rate" => rate::extrapolated(window, Kind { is_counter, is_rate }, remarks),
        "increase" => rate::extrapolated(window, Kind { is_counter, is_rate: false }, remarks),
        "delta" => rate::extrapolated(window, Kind { is_counter: false, is_rate: false }, remarks),
        "irate" => rate::instant(window, true, remarks),
        "idelta" => rate::instant(window, false, remarks),
        "avg_over_time" => accumulated(window, numbers, true, remarks),
        "sum_over_time" => accumulated(window, numbers, false, remarks),
        "count_over_time" => Some(Point::Number(window.len() as f64)),
        "present_over_time" => Some(Point::Number(1.0)),
        "first_over_time" => first(window).map(|(_, point)| point),
        "last_over_time" => last(window).map(|(_, point)| point),
        "ts_of_first_over_time" => first(window).map(|(time, _)| Point::Number(time.as_seconds())),
        "ts_of_last_over_time" => last(window).map(|(time, _)| Point::Number(time.as_seconds())),
        "changes" => Some(Point::Number(count_pairs(window, differ))),
        "resets" => Some(Point::Number(count_pairs(window, falls))),
        "deriv" => numbers_alone(window, 2, remarks).and_then(|window| numbers(&window)).map(Point::Number),
        _ => numbers_alone(window, 1, remarks).and_then(|window| numbers(&window)).map(Point::Number),
    }
}

/// The window without its histograms, with a remark where there are enough numbers for a result.
pub(in crate::eval) fn numbers_alone<'w>(
    window: &Window<'w>,
    fewest: usize,
    remarks: Remarks<'_, '_>,
) -> Option<Window<'w>> {
    if window.values.len() < fewest {
        return None;
    }
    if !window.histograms.is_empty() {
        remarks.ignored_in_range();
    }
    Some(Window::of_numbers(window.times, window.values, (window.start, window.end)))
}

fn accumulated(
    window: &Window<'_>,
    numbers: OverTime,
    mean: bool,
    remarks: Remarks<'_, '_>,
) -> Option<Point> {
    let Some(((_, first), rest)) = window.histograms.split_first() else {
        return numbers(window).map(Point::Number);
    };
    if !window.values.is_empty() {
        remarks.mixed_types();
        return None;
    }
    let mut accumulated = Accumulated::new(first, mean);
    rest.iter().for_each(|(_, histogram)| accumulated.add(histogram));
    accumulated.finish(remarks).map(Point::Histogram)
}

type Timed = (Timestamp, Point);

fn first(window: &Window<'_>) -> Option<Timed> {
    let number = window.times.first().map(|time| (*time, Point::Number(window.values[0])));
    let histogram = window.histograms.first().map(histogram);
    match (number, histogram) {
        (Some(a), Some(b)) => Some(if a.0 < b.0 { a } else { b }),
        (a, b) => a.or(b),
    }
}

fn last(window: &Window<'_>) -> Option<Timed> {
    let number =
        window.times.last().map(|time| (*time, Point::Number(window.values[window.values.len() - 1])));
    let histogram = window.histograms.last().map(histogram);
    match (number, histogram) {
        (Some(a), Some(b)) => Some(if a.0 > b.0 { a } else { b }),
        (a, b) => a.or(b),
    }
}

fn histogram((time, histogram): &(Timestamp, Arc<Histogram>)) -> Timed {
    (*time, Point::Histogram(Arc::clone(histogram)))
}

/// How many neighbours satisfy a condition.
fn count_pairs(window: &Window<'_>, condition: fn(&rate::Sample, &rate::Sample) -> bool) -> f64 {
    let all = rate::samples(window);
    all.windows(2).filter(|pair| condition(&pair[0], &pair[1])).count() as f64
}

pub(super) fn differ(before: &rate::Sample, now: &rate::Sample) -> bool {
    match (&before.point, &now.point) {
        (Point::Number(before), Point::Number(now)) => before != now && !(before.is_nan() && now.is_nan()),
        (Point::Histogram(before), Point::Histogram(now)) => !before.same_as(now),
        _ => true,
    }
}

pub(super) fn falls(before: &rate::Sample, now: &rate::Sample) -> bool {
    let anew = rate::begins_anew((before.time, before.start), (now.time, now.start));
    match (&before.point, &now.point) {
        (Point::Number(before), Point::Number(now)) => anew || now < before,
        (Point::Histogram(before), Point::Histogram(now)) => anew || now.is_reset_since(before),
        _ => true,
    }
}
