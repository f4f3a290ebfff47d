//! `rate`, `increase` and `delta` of a series of numbers at all steps in one pass.
//!
//! In: times and values of one series after the other. Out: a value a step, bit for bit what [`extrapolated`](super::extrapolated) gives
//! for each window. What follows from the times alone (which samples a step looks at, and by what it extends their change) is computed
//! once for all series that were sampled at the same times, as those of one target are; where a counter fell is found once a series.
//! So a step costs a subtraction, a comparison and a multiplication, however many samples lie in its window.
//! Not here: native histograms, start timestamps, other edges than the open one.

use model::{Columns, Timestamp};

use super::super::window::{Frame, Window, slide};
use super::Sampled;
use crate::budget::Charge;
use crate::error::QueryError;

/// A first value this much above the limit is above it however the long way rounds.
const MARGIN: f64 = 1.000_001;

/// What the times of a series say of one step.
#[derive(Clone, Copy, Debug, Default)]
struct Shape {
    /// The samples of the window, from the first to behind the last; fewer than two give nothing.
    from: usize,
    to: usize,
    /// By what the change grows where it is extended to the window's start in full.
    factor: f64,
    /// Where the first value is above this part of the change, the counter was not at zero within the window.
    limit: f64,
}

/// Points in the budget that a shape weighs.
const SHAPE_POINTS: usize = size_of::<Shape>() / size_of::<f64>();

/// The pass over series after series.
#[derive(Debug)]
pub(in crate::eval) struct Sweep {
    is_counter: bool,
    is_rate: bool,
    /// The times that the shapes belong to.
    times: Vec<Timestamp>,
    shapes: Vec<Shape>,
    /// The samples at which the counter fell.
    falls: Vec<usize>,
    charge: Charge,
}

impl Sweep {
    /// The function of that name, if it is one of these; what is remembered of times is charged.
    pub(in crate::eval) fn find(name: &str, charge: Charge) -> Option<Self> {
        let (is_counter, is_rate) = match name {
            "rate" => (true, true),
            "increase" => (true, false),
            "delta" => (false, false),
            _ => return None,
        };
        Some(Self { is_counter, is_rate, times: Vec::new(), shapes: Vec::new(), falls: Vec::new(), charge })
    }

    /// Fills in the values of a series. The frame and the number of points are the same for all series.
    pub(in crate::eval) fn fill(
        &mut self,
        columns: &Columns,
        frame: &Frame,
        points: &mut [f64],
    ) -> Result<(), QueryError> {
        if self.shapes.len() != points.len() || self.times != columns.timestamps {
            self.shape(&columns.timestamps, frame, points.len())?;
        }
        let values = columns.values.as_slice();
        self.falls.clear();
        if self.is_counter && falls_somewhere(values) {
            self.falls.extend((1..values.len()).filter(|at| values[*at] < values[at - 1]));
        }
        let mut passed = 0;
        for (step, (shape, point)) in self.shapes.iter().zip(points).enumerate() {
            let Some([first, .., last]) = values.get(shape.from..shape.to) else { continue };
            let mut change = last - first;
            // Windows only move on: what fell before this one falls in no later one.
            passed += self.falls[passed..].iter().take_while(|at| **at <= shape.from).count();
            for at in self.falls[passed..].iter().take_while(|at| **at < shape.to) {
                change += values[at - 1];
            }
            // Whatever is no number goes the long way, too.
            let may_begin_here =
                self.is_counter && change > 0.0 && *first >= 0.0 && !above(*first, shape.limit * change);
            let factor = match may_begin_here {
                true => self.near_zero(shape, frame.edges(step), first / change),
                false => shape.factor,
            };
            *point = change * factor;
        }
        Ok(())
    }

    /// How many samples each step looked at in the series that was filled in last.
    pub(in crate::eval) fn looked_at(&self) -> impl Iterator<Item = usize> {
        self.shapes.iter().map(|shape| shape.to - shape.from)
    }

    /// By what the change grows where the counter may have been at zero within the window.
    fn near_zero(&self, shape: &Shape, edges: (i64, i64), zero_share: f64) -> f64 {
        let (window, sampled) = self.window(shape, edges);
        sampled.factor(&window, Some(zero_share), self.is_rate)
    }

    /// A window's times, without its values.
    fn window(&self, shape: &Shape, edges: (i64, i64)) -> (Window<'_>, Sampled) {
        let times = &self.times[shape.from..shape.to];
        (Window::of_numbers(times, &[], edges), Sampled::of(times))
    }

    /// Makes the shapes of other times.
    fn shape(&mut self, times: &[Timestamp], frame: &Frame, steps: usize) -> Result<(), QueryError> {
        let shapes = steps.saturating_mul(SHAPE_POINTS);
        self.shapes.clear();
        self.charge.grow_to(times.len().saturating_add(shapes))?;
        self.times.clear();
        self.times.extend_from_slice(times);
        let (mut from, mut to) = (0, 0);
        for step in 0..steps {
            let edges = frame.edges(step);
            (from, to) = slide(from, to, edges, |at| times.get(at));
            let mut shape = Shape { from, to, ..Shape::default() };
            if to - from > 1 {
                let (window, sampled) = self.window(&shape, edges);
                shape.factor = sampled.factor(&window, None, self.is_rate);
                shape.limit = sampled.to_start(&window) / sampled.seconds() * MARGIN;
            }
            self.shapes.push(shape);
        }
        Ok(())
    }
}

/// False for what is no number.
fn above(value: f64, limit: f64) -> bool {
    value > limit
}

/// Whether any value is less than the one before. No branch in it depends on the values, so that several are looked at at once.
fn falls_somewhere(values: &[f64]) -> bool {
    let before = values.iter();
    let after = values.iter().skip(1);
    before.zip(after).fold(false, |fell, (before, after)| fell | (after < before))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::extrapolated;
    use super::*;
    use crate::budget::{ABSENT, Budget};

    /// The sweep over series after series gives what each window gives alone, bit for bit.
    fn check(all: &[Vec<(i64, f64)>], range: i64, step: i64) {
        let frame = Frame::every(step, range);
        for (name, is_counter, is_rate) in
            [("rate", true, true), ("increase", true, false), ("delta", false, false)]
        {
            let charge = Budget::new(1 << 20).take(0).expect("nothing");
            let mut sweep = Sweep::find(name, charge).expect("it is one of them");
            for samples in all {
                let mut columns = Columns::default();
                samples.iter().for_each(|(time, value)| columns.push(Timestamp::from_millis(*time), *value));
                let mut points = vec![ABSENT; 40];
                sweep.fill(&columns, &frame, &mut points).expect("there is room");
                for (at, point) in points.iter().enumerate() {
                    let (start, end) = frame.edges(at);
                    let inside = |time: &Timestamp| (start + 1..=end).contains(&time.as_millis());
                    let from = columns.timestamps.iter().take_while(|time| time.as_millis() <= start).count();
                    let to = from + columns.timestamps[from..].iter().take_while(|time| inside(time)).count();
                    let (times, values) = (&columns.timestamps[from..to], &columns.values[from..to]);
                    let alone =
                        extrapolated(&Window::of_numbers(times, values, (start, end)), is_counter, is_rate)
                            .unwrap_or(ABSENT);
                    assert_eq!(point.to_bits(), alone.to_bits(), "{name} at {end}: {point}, not {alone}");
                }
            }
        }
    }

    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![
            8 => (0u32..200).prop_map(|value| f64::from(value) / 10.0),
            4 => (0u32..20_000).prop_map(|value| f64::from(value) * 1e3),
            1 => Just(f64::NAN),
            1 => Just(f64::INFINITY),
            1 => Just(-0.0),
            1 => Just(5e-324),
            1 => Just(f64::MAX),
            1 => any::<f64>().prop_map(|value| if model::is_stale(value) { 0.0 } else { value }),
        ]
    }

    /// Series that rise mostly, at steady or odd times; some share their times.
    fn series() -> impl Strategy<Value = Vec<Vec<(i64, f64)>>> {
        let times = prop_oneof![
            (1i64..40_000, 1i64..20_000)
                .prop_map(|(first, step)| (0..40).map(|at| first + at * step).collect::<Vec<_>>()),
            prop::collection::btree_set(0i64..400_000, 0..60).prop_map(|set| set.into_iter().collect()),
        ];
        let values = (prop::collection::vec(value(), 60), any::<bool>()).prop_map(|(mut values, sums)| {
            if sums {
                (1..values.len()).for_each(|at| values[at] += values[at - 1]);
            }
            values
        });
        (prop::collection::vec(times, 1..3), prop::collection::vec((any::<bool>(), values), 1..5)).prop_map(
            |(times, all)| {
                let one = |(first, values): (bool, Vec<f64>)| {
                    let times = if first { &times[0] } else { &times[times.len() - 1] };
                    times.iter().copied().zip(values).collect()
                };
                all.into_iter().map(one).collect()
            },
        )
    }

    proptest! {
        #[test]
        fn a_sweep_is_its_windows(all in series(), range in 1i64..120_000, step in 1i64..30_000) {
            check(&all, range, step);
        }
    }

    #[test]
    fn a_counter_that_began_within_a_window_is_not_extended_below_zero() {
        let rising = |first: f64| (0..40).map(|at| (at * 15_000, first + at as f64 * 10.0)).collect();
        check(&[rising(0.0), rising(3.0), rising(9.999_999), rising(10.0), rising(1e9)], 60_000, 15_000);
    }
}
