//! `anchored` and `smoothed` windows in which there are histograms.

use std::sync::Arc;

use model::{Histogram, ResetHint, Timestamp};

use super::super::extended::{edge_value, inner};
use super::super::samples::Stamped;
use super::super::window::Window;
use super::rate::{self, Sample, reset_at};
use super::window::{differ, falls};
use super::{Point, Remarks};

/// What a function gives of a window that looks beyond its edges.
pub(in crate::eval) fn call(
    name: &str,
    window: &Window<'_>,
    smoothed: bool,
    remarks: Remarks<'_, '_>,
) -> Option<Point> {
    let all = rate::samples(window);
    let times: Vec<Timestamp> = all.iter().map(|sample| sample.time).collect();
    let (first, last) = inner(&times, (window.start, window.end), smoothed)?;
    let part = &all[first..=last];
    let count = |condition: fn(&Sample, &Sample) -> bool| {
        Point::Number(part.windows(2).filter(|pair| condition(&pair[0], &pair[1])).count() as f64)
    };
    match name {
        "changes" => return Some(count(differ)),
        "resets" => return Some(count(falls)),
        _ => {}
    }
    let histograms: Vec<Stamped> = part.iter().filter_map(histogram).collect();
    if histograms.is_empty() {
        return edge_value(name, window, smoothed).map(Point::Number);
    }
    if histograms.len() < part.len() {
        remarks.mixed_types();
        return None;
    }
    let edges = Edges { start: window.start, end: window.end, smoothed, is_counter: name != "delta" };
    let change = edges.change(&histograms, remarks)?;
    let change = if name == "rate" { change.divided_by(window.range_seconds()) } else { change };
    Some(Point::compact(Histogram { reset: ResetHint::Gauge, ..change }))
}

fn histogram(sample: &Sample) -> Option<Stamped> {
    match &sample.point {
        Point::Number(_) => None,
        Point::Histogram(histogram) => Some((sample.time, Arc::clone(histogram))),
    }
}

/// Between which times a change is asked for, and how.
struct Edges {
    start: i64,
    end: i64,
    smoothed: bool,
    is_counter: bool,
}

impl Edges {
    fn change(&self, all: &[Stamped], remarks: Remarks<'_, '_>) -> Option<Histogram> {
        let custom = all[0].1.is_custom();
        if all.iter().any(|(_, histogram)| histogram.is_custom() != custom) {
            remarks.mixed_schemas();
            return None;
        }
        rate::remark_on_kind(all, self.is_counter, remarks);
        let last = all.len() - 1;
        let from_line = self.smoothed && last > 0 && all[0].0.as_millis() < self.start;
        let to_line = self.smoothed && last > 0 && all[last].0.as_millis() > self.end;
        let left = match from_line {
            true => line(&all[0], &all[1], self.start, self.is_counter)?,
            false => Histogram::clone(&all[0].1),
        };
        let right = match to_line {
            true => line(&all[last - 1], &all[last], self.end, self.is_counter)?,
            false => Histogram::clone(&all[last].1),
        };
        let mut change = right.sub(&left)?.histogram;
        // A reset on the line to the left edge is in that line already.
        let first = if from_line { 2 } else { 1 };
        for at in (first..=last).filter(|at| self.is_counter && reset_at(all, &[], *at)) {
            change = change.add(&all[at - 1].1)?.histogram;
        }
        Some(change)
    }
}

/// The histogram on the line between two others, at a time. Where a counter was reset in between, it began again at zero.
fn line(before: &Stamped, after: &Stamped, time: i64, is_counter: bool) -> Option<Histogram> {
    let (from, to) = (before.0.as_millis(), after.0.as_millis());
    let share = (time - from) as f64 / (to - from) as f64;
    if is_counter && after.1.is_reset_since(&before.1) {
        return Some(Histogram::clone(&after.1).times(share));
    }
    let step = after.1.sub(&before.1)?.histogram.times(share);
    Some(before.1.add(&step)?.histogram)
}

/// `selector smoothed`: what lies between the samples around a time; without one after it, the one before.
pub(in crate::eval) fn between(
    before: &Sample,
    after: Option<&Sample>,
    time: i64,
    remarks: Remarks<'_, '_>,
) -> Option<Point> {
    let Some(after) = after else {
        return Some(before.point.clone());
    };
    let (Point::Histogram(a), Point::Histogram(b)) = (&before.point, &after.point) else {
        remarks.mixed_types();
        return None;
    };
    let is_counter = !a.is_gauge() && !b.is_gauge();
    if a.is_custom() != b.is_custom() {
        remarks.mixed_schemas();
        return None;
    }
    line(&(before.time, Arc::clone(a)), &(after.time, Arc::clone(b)), time, is_counter).map(Point::compact)
}
