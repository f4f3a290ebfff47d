//! Functions that sum up the values of a window: `avg_over_time` and its like.

use super::math::quantile;
use super::summation::{Mean, Sum, Variance};
use super::window::Window;

/// A function of a window's values alone; windows are never empty.
pub(super) type OverTime = fn(&Window<'_>) -> Option<f64>;

/// Finds a function by its name.
pub(super) fn find(name: &str) -> Option<OverTime> {
    Some(match name {
        "avg_over_time" => mean,
        "changes" => super::rate::changes,
        "count_over_time" => |window| Some(window.values.len() as f64),
        "deriv" => super::rate::derivative,
        "first_over_time" => |window| window.values.first().copied(),
        "idelta" => |window| super::rate::instant(window, false),
        "irate" => |window| super::rate::instant(window, true),
        "last_over_time" => |window| window.values.last().copied(),
        "mad_over_time" => median_deviation,
        "max_over_time" => |window| extreme(window, |a, b| a > b).map(|at| window.values[at]),
        "min_over_time" => |window| extreme(window, |a, b| a < b).map(|at| window.values[at]),
        "present_over_time" => |_| Some(1.0),
        "rate" => |window| super::rate::extrapolated(window, true, true),
        "increase" => |window| super::rate::extrapolated(window, true, false),
        "delta" => |window| super::rate::extrapolated(window, false, false),
        "resets" => super::rate::resets,
        "stddev_over_time" => |window| variance(window).map(f64::sqrt),
        "stdvar_over_time" => variance,
        "sum_over_time" => sum,
        "ts_of_first_over_time" => |window| window.times.first().map(|time| time.as_seconds()),
        "ts_of_last_over_time" => |window| window.times.last().map(|time| time.as_seconds()),
        "ts_of_max_over_time" => {
            |window| extreme(window, |a, b| a >= b).map(|at| window.times[at].as_seconds())
        }
        "ts_of_min_over_time" => {
            |window| extreme(window, |a, b| a <= b).map(|at| window.times[at].as_seconds())
        }
        _ => return None,
    })
}

/// Whether the metric keeps its name: the value is one of its own samples.
pub(super) fn keeps_name(function: &str) -> bool {
    matches!(function, "first_over_time" | "last_over_time")
}

fn sum(window: &Window<'_>) -> Option<f64> {
    let mut sum = Sum::default();
    window.values.iter().for_each(|value| sum.add(*value));
    Some(sum.total())
}

fn mean(window: &Window<'_>) -> Option<f64> {
    let mut mean = Mean::default();
    window.values.iter().for_each(|value| mean.add(*value));
    Some(mean.mean())
}

fn variance(window: &Window<'_>) -> Option<f64> {
    let mut variance = Variance::default();
    window.values.iter().for_each(|value| variance.add(*value));
    Some(variance.variance())
}

/// Index of the value that beats all before it; any number beats NaN.
fn extreme(window: &Window<'_>, beats: fn(f64, f64) -> bool) -> Option<usize> {
    let mut best = 0;
    for (at, value) in window.values.iter().enumerate() {
        if beats(*value, window.values[best]) || (window.values[best].is_nan() && at > 0) {
            best = at;
        }
    }
    (!window.values.is_empty()).then_some(best)
}

fn median_deviation(window: &Window<'_>) -> Option<f64> {
    if window.values.iter().any(|value| value.is_nan()) {
        return Some(f64::NAN);
    }
    let median = quantile(0.5, &mut window.values.to_vec());
    let mut deviations: Vec<_> = window.values.iter().map(|value| (value - median).abs()).collect();
    Some(quantile(0.5, &mut deviations))
}

#[cfg(test)]
mod tests {
    use model::Timestamp;

    use super::*;

    fn check(name: &str, values: &[f64], expected: f64) {
        let times: Vec<_> = (0..values.len() as i64).map(|at| Timestamp::from_millis(at * 1000)).collect();
        let window = Window::of_numbers(&times, values, (-1, 10_000));
        let value = find(name).expect("a known function")(&window).expect("a value");
        assert!((value - expected).abs() < 1e-9 || (value.is_nan() && expected.is_nan()), "{name}: {value}");
    }

    #[test]
    fn sums_up_windows() {
        check("sum_over_time", &[1.0, 2.0, 4.0], 7.0);
        check("avg_over_time", &[1.0, 2.0, 6.0], 3.0);
        check("stdvar_over_time", &[2.0, 4.0], 1.0);
        check("mad_over_time", &[4.0, 6.0, 2.0, 1.0, 999.0, 1.0, 2.0], 1.0);
    }

    #[test]
    fn any_number_beats_nan() {
        check("max_over_time", &[f64::NAN, 1.0, f64::NAN], 1.0);
        check("min_over_time", &[f64::NAN, f64::NAN], f64::NAN);
        check("ts_of_max_over_time", &[3.0, 1.0, 3.0], 2.0);
    }
}
