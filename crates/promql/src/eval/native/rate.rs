//! Rates where histograms or start timestamps take part.
//!
//! A counter begins anew where a count fell, where a histogram's hint says so, or where a sample's start lies after the sample before
//! (or at it, as senders of differences have it). A start within the window stands for a sample of zero.

use std::sync::Arc;

use model::{Histogram, ResetHint, Timestamp};

use super::super::rate::Sampled;
use super::super::samples::Stamped;
use super::super::window::Window;
use super::{Point, Remarks};

/// Which function of a window is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::eval) struct Kind {
    pub(in crate::eval) is_counter: bool,
    pub(in crate::eval) is_rate: bool,
}

/// The start of a sample where it may be used: before the sample itself.
fn usable(time: Timestamp, start: Option<Timestamp>) -> Option<Timestamp> {
    start.filter(|start| *start < time)
}

/// The start of one of several samples; `None` where none is known.
fn start_of(starts: &[Option<Timestamp>], at: usize) -> Option<Timestamp> {
    starts.get(at).copied().flatten()
}

/// Whether starts say that a counter began anew between two samples.
pub(super) fn begins_anew(
    before: (Timestamp, Option<Timestamp>),
    now: (Timestamp, Option<Timestamp>),
) -> bool {
    let Some(start) = usable(now.0, now.1) else {
        return false;
    };
    start > before.0 || (start == before.0 && usable(before.0, before.1).is_some())
}

/// Whether a sample's start contradicts the sample before.
fn overlaps(before: (Timestamp, Option<Timestamp>), now: (Timestamp, Option<Timestamp>)) -> bool {
    now.1.is_some_and(|start| start < before.0 && before.1 != Some(start))
}

/// When the first sample's counter began, if that lies within the window.
fn begins(window: &Window<'_>, first: Timestamp, start: Option<Timestamp>) -> Option<i64> {
    usable(first, start).map(Timestamp::as_millis).filter(|start| *start > window.start)
}

/// `rate`, `increase`, `delta` of a window of either kind of samples.
pub(in crate::eval) fn extrapolated(
    window: &Window<'_>,
    kind: Kind,
    remarks: Remarks<'_, '_>,
) -> Option<Point> {
    match (window.values.is_empty(), window.histograms.is_empty()) {
        (false, false) => {
            remarks.mixed_types();
            None
        }
        (false, true) => numbers(window, kind, remarks).map(Point::Number),
        (true, false) => histograms(window, kind, remarks),
        (true, true) => None,
    }
}

fn numbers(window: &Window<'_>, kind: Kind, remarks: Remarks<'_, '_>) -> Option<f64> {
    let (values, starts) = (window.values, window.starts);
    if !kind.is_counter || starts.is_empty() {
        return super::super::rate::extrapolated(window, kind.is_counter, kind.is_rate);
    }
    let (first, last) = (values[0], values[values.len() - 1]);
    let begins = begins(window, window.times[0], start_of(starts, 0));
    if values.len() < 2 && begins.is_none() {
        return None;
    }
    let mut change = last - first;
    for at in 1..values.len() {
        let before = (window.times[at - 1], start_of(starts, at - 1));
        let now = (window.times[at], start_of(starts, at));
        if overlaps(before, now) {
            remarks.start_overlaps();
        }
        if values[at] < values[at - 1] || begins_anew(before, now) {
            change += values[at - 1];
        }
    }
    if begins.is_some() {
        change += first;
    }
    let sampled = Sampled {
        first: window.times[0].as_millis(),
        last: window.times[values.len() - 1].as_millis(),
        count: values.len(),
        begins,
    };
    let zero_share = (change > 0.0 && first >= 0.0).then(|| first / change);
    Some(change * sampled.factor(window, zero_share, kind.is_rate))
}

fn histograms(window: &Window<'_>, kind: Kind, remarks: Remarks<'_, '_>) -> Option<Point> {
    let all = window.histograms;
    let (first_time, first) = &all[0];
    let begins =
        begins(window, *first_time, start_of(window.histogram_starts, 0)).filter(|_| kind.is_counter);
    if all.len() < 2 && begins.is_none() {
        return None;
    }
    let mut change = change(all, window.histogram_starts, kind.is_counter, remarks)?;
    if begins.is_some() {
        change = added(&change, first, remarks)?;
    }
    let sampled = Sampled {
        first: first_time.as_millis(),
        last: all[all.len() - 1].0.as_millis(),
        count: all.len(),
        begins,
    };
    let zero_share =
        (kind.is_counter && change.count > 0.0 && first.count >= 0.0).then(|| first.count / change.count);
    let factor = sampled.factor(window, zero_share, kind.is_rate);
    Some(Point::compact(Histogram { reset: ResetHint::Gauge, ..change.times(factor) }))
}

fn added(sum: &Histogram, more: &Histogram, remarks: Remarks<'_, '_>) -> Option<Histogram> {
    let Some(combined) = sum.add(more) else {
        remarks.mixed_schemas();
        return None;
    };
    if combined.bounds_reconciled {
        remarks.bounds_reconciled("addition");
    }
    Some(combined.histogram)
}

/// The change from the first histogram to the last, resets of a counter added up.
pub(in crate::eval) fn change(
    all: &[Stamped],
    starts: &[Option<Timestamp>],
    is_counter: bool,
    remarks: Remarks<'_, '_>,
) -> Option<Histogram> {
    let (_, last) = &all[all.len() - 1];
    let is_reset = |at: usize| is_counter && reset_at(all, starts, at);
    // What was before a reset right after the first one plays no part, so that its buckets need not fit.
    let first = match all.get(1) {
        Some((_, second)) if is_reset(1) => Histogram {
            schema: second.schema,
            zero_threshold: second.zero_threshold,
            custom_bounds: second.custom_bounds.clone(),
            ..Histogram::default()
        },
        _ => Histogram::clone(&all[0].1),
    };
    let inner = &all[1.min(all.len() - 1)..all.len() - 1];
    let custom = first.is_custom();
    if last.is_custom() != custom
        || inner.iter().any(|(_, histogram)| is_counter && histogram.is_custom() != custom)
    {
        remarks.mixed_schemas();
        return None;
    }
    remark_on_kind(all, is_counter, remarks);
    let schema = inner.iter().filter(|_| is_counter).map(|(_, histogram)| histogram.schema);
    let schema = schema.chain([first.schema, last.schema]).min().unwrap_or(last.schema);
    let mut reconciled = false;
    let difference = last.at_schema(schema).sub(&first)?;
    reconciled |= difference.bounds_reconciled;
    let mut change = difference.histogram;
    // One right after the first was seen to above.
    for at in (2..all.len()).filter(|at| is_reset(*at)) {
        let combined = change.add(&all[at - 1].1)?;
        reconciled |= combined.bounds_reconciled;
        change = combined.histogram;
    }
    if reconciled {
        remarks.bounds_reconciled("subtraction");
    }
    Some(change)
}

pub(super) fn remark_on_kind(all: &[Stamped], is_counter: bool, remarks: Remarks<'_, '_>) {
    if is_counter && all.iter().any(|(_, histogram)| histogram.is_gauge()) {
        remarks.not_a_counter();
    }
    let ends = [&all[0].1, &all[all.len() - 1].1];
    if !is_counter && ends.iter().any(|histogram| !histogram.is_gauge()) {
        remarks.not_a_gauge();
    }
}

/// Whether the counter was reset between a histogram and the one before.
pub(super) fn reset_at(all: &[Stamped], starts: &[Option<Timestamp>], at: usize) -> bool {
    let (before, now) = (&all[at - 1], &all[at]);
    now.1.is_reset_since(&before.1)
        || begins_anew((before.0, start_of(starts, at - 1)), (now.0, start_of(starts, at)))
}

/// A sample of either kind, with its time and start.
#[derive(Clone)]
pub(in crate::eval) struct Sample {
    pub(in crate::eval) time: Timestamp,
    pub(in crate::eval) start: Option<Timestamp>,
    pub(in crate::eval) point: Point,
}

/// All samples of a window, by time.
pub(in crate::eval) fn samples(window: &Window<'_>) -> Vec<Sample> {
    let numbers = window.times.iter().zip(window.values).enumerate().map(|(at, (time, value))| Sample {
        time: *time,
        start: start_of(window.starts, at),
        point: Point::Number(*value),
    });
    let histograms = window.histograms.iter().enumerate().map(|(at, (time, histogram))| Sample {
        time: *time,
        start: start_of(window.histogram_starts, at),
        point: Point::Histogram(Arc::clone(histogram)),
    });
    let mut all: Vec<_> = numbers.chain(histograms).collect();
    all.sort_by_key(|sample| sample.time);
    all
}

/// `irate` and `idelta`: the change between the last two samples.
pub(in crate::eval) fn instant(
    window: &Window<'_>,
    is_rate: bool,
    remarks: Remarks<'_, '_>,
) -> Option<Point> {
    let all = samples(&window.last_two());
    let [.., before, now] = all.as_slice() else {
        return None;
    };
    let anew = is_rate && begins_anew((before.time, before.start), (now.time, now.start));
    let millis = now.time.millis_since(before.time);
    if is_rate && millis == 0 {
        return None;
    }
    let seconds = if is_rate { millis as f64 / 1000.0 } else { 1.0 };
    match (&before.point, &now.point) {
        (Point::Number(before), Point::Number(now)) => {
            let change = if anew || (is_rate && now < before) { *now } else { now - before };
            Some(Point::Number(change / seconds))
        }
        (Point::Histogram(before), Point::Histogram(now)) => {
            let gauges = [before, now].iter().filter(|histogram| histogram.is_gauge()).count();
            if is_rate && gauges > 0 {
                remarks.not_a_counter();
            }
            if !is_rate && gauges < 2 {
                remarks.not_a_gauge();
            }
            let change = if anew || (is_rate && now.is_reset_since(before)) {
                Histogram::clone(now)
            } else {
                let Some(difference) = now.sub(before) else {
                    remarks.mixed_schemas();
                    return None;
                };
                if difference.bounds_reconciled {
                    remarks.bounds_reconciled("subtraction");
                }
                difference.histogram
            };
            let change = Histogram { reset: ResetHint::Gauge, ..change };
            Some(Point::compact(if is_rate { change.divided_by(seconds) } else { change }))
        }
        _ => {
            remarks.mixed_types();
            None
        }
    }
}
