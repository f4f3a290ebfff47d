//! Functions of counters and trends over a window: rate, increase, delta, deriv, predict_linear, resets, changes.

pub(super) mod sweep;

use model::Timestamp;

use super::summation::Sum;
use super::window::Window;

/// `rate`, `increase` (counters) and `delta`: the change between first and last sample, extended to the window's edges unless those
/// are far (more than 1.1 times the mean distance of samples) and never below zero for a counter.
pub(super) fn extrapolated(window: &Window<'_>, is_counter: bool, is_rate: bool) -> Option<f64> {
    let (first, last) = (*window.values.first()?, *window.values.last()?);
    if window.values.len() < 2 {
        return None;
    }
    let mut change = last - first;
    if is_counter {
        let resets = window.values.windows(2).filter(|pair| pair[1] < pair[0]);
        resets.for_each(|pair| change += pair[0]);
    }
    let sampled = Sampled::of(window.times);
    let zero_share = (is_counter && change > 0.0 && first >= 0.0).then(|| first / change);
    Some(change * sampled.factor(window, zero_share, is_rate))
}

/// The samples whose change is extended to a window's edges.
pub(super) struct Sampled {
    /// Time of the first sample, and of the last.
    pub(super) first: i64,
    pub(super) last: i64,
    pub(super) count: usize,
    /// When the counter is known to have been zero, before the first sample and within the window.
    pub(super) begins: Option<i64>,
}

impl Sampled {
    /// Samples at these times, at least one.
    pub(super) fn of(times: &[Timestamp]) -> Self {
        Self {
            first: times[0].as_millis(),
            last: times[times.len() - 1].as_millis(),
            count: times.len(),
            begins: None,
        }
    }

    /// By what the change between the samples grows. `zero_share` is the first value's share of the change, for counters that were at zero
    /// some time before.
    pub(super) fn factor(&self, window: &Window<'_>, zero_share: Option<f64>, is_rate: bool) -> f64 {
        let sampled = self.seconds();
        let mut to_start = self.to_start(window);
        if let (None, Some(share)) = (self.begins, zero_share) {
            let to_zero = sampled * share;
            to_start = if to_zero < to_start { to_zero } else { to_start };
        }
        let mean_distance = self.mean_distance();
        let mut to_end = seconds(window.end - self.last);
        if to_end >= mean_distance * FAR {
            to_end = mean_distance / 2.0;
        }
        let factor = (sampled + to_start + to_end) / sampled;
        if is_rate { factor / window.range_seconds() } else { factor }
    }

    /// What lies between the first sample, or the counter's beginning, and the last.
    fn seconds(&self) -> f64 {
        seconds(self.last - self.begins.unwrap_or(self.first))
    }

    fn mean_distance(&self) -> f64 {
        match self.count {
            0 | 1 => 0.0,
            count => seconds(self.last - self.first) / (count - 1) as f64,
        }
    }

    /// How far the change is extended before the first sample, but for counters that were at zero there.
    fn to_start(&self, window: &Window<'_>) -> f64 {
        if self.begins.is_some() {
            return 0.0;
        }
        let (to_start, mean_distance) = (seconds(self.first - window.start), self.mean_distance());
        if to_start >= mean_distance * FAR { mean_distance / 2.0 } else { to_start }
    }
}

/// Edges at so many mean distances of samples are far.
const FAR: f64 = 1.1;

fn seconds(millis: i64) -> f64 {
    millis as f64 / 1000.0
}

/// `irate` and `idelta`: the last two samples only.
pub(super) fn instant(window: &Window<'_>, is_rate: bool) -> Option<f64> {
    let [.., previous, last] = window.values else {
        return None;
    };
    let change = if is_rate && last < previous { *last } else { last - previous };
    if !is_rate {
        return Some(change);
    }
    let count = window.times.len();
    let millis = window.times[count - 1].millis_since(window.times[count - 2]);
    (millis != 0).then(|| change / (millis as f64 / 1000.0))
}

/// Least squares through the samples: slope a second, and value at `at`.
fn regression(window: &Window<'_>, at: Timestamp) -> (f64, f64) {
    let first = window.values[0];
    if window.values.iter().all(|value| *value == first) {
        return if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) };
    }
    let (mut x_sum, mut y_sum, mut xy_sum, mut xx_sum) =
        (Sum::default(), Sum::default(), Sum::default(), Sum::default());
    for (time, y) in window.times.iter().zip(window.values) {
        let x = time.millis_since(at) as f64 / 1000.0;
        x_sum.add(x);
        y_sum.add(*y);
        xy_sum.add(x * y);
        xx_sum.add(x * x);
    }
    let n = window.values.len() as f64;
    let plain = |sum: Sum| sum.value + sum.lost;
    let (x, y, xy, xx) = (plain(x_sum), plain(y_sum), plain(xy_sum), plain(xx_sum));
    let slope = (xy - x * y / n) / (xx - x * x / n);
    (slope, y / n - slope * x / n)
}

/// `deriv`.
pub(super) fn derivative(window: &Window<'_>) -> Option<f64> {
    // The first sample's time as origin keeps the sums small.
    (window.values.len() >= 2).then(|| regression(window, window.times[0]).0)
}

/// `predict_linear`: the value `seconds` after the time of evaluation.
pub(super) fn predict(window: &Window<'_>, now: i64, seconds: f64) -> Option<f64> {
    (window.values.len() >= 2).then(|| {
        let (slope, value) = regression(window, Timestamp::from_millis(now));
        slope * seconds + value
    })
}

/// `resets`.
pub(super) fn resets(window: &Window<'_>) -> Option<f64> {
    let pairs = window.values.windows(2);
    (!window.values.is_empty()).then(|| pairs.filter(|pair| pair[1] < pair[0]).count() as f64)
}

/// `changes`; NaN after NaN is no change.
pub(super) fn changes(window: &Window<'_>) -> Option<f64> {
    let differ = |pair: &&[f64]| pair[0] != pair[1] && !(pair[0].is_nan() && pair[1].is_nan());
    (!window.values.is_empty()).then(|| window.values.windows(2).filter(differ).count() as f64)
}

/// `double_exponential_smoothing` (Holt's linear method).
pub(super) fn smooth(window: &Window<'_>, smoothing: f64, trend: f64) -> Option<f64> {
    let [first, second, ..] = window.values else {
        return None;
    };
    let (mut before, mut level, mut slope) = (0.0, *first, second - first);
    for (at, value) in window.values.iter().enumerate().skip(1) {
        if at > 1 {
            slope = trend * (level - before) + (1.0 - trend) * slope;
        }
        let next = smoothing * value + (1.0 - smoothing) * (level + slope);
        (before, level) = (level, next);
    }
    Some(level)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Samples at 15-second steps from 15 s on, in a window `(0, end]`.
    fn check(function: impl Fn(&Window<'_>) -> Option<f64>, values: &[f64], end: i64, expected: Option<f64>) {
        let times: Vec<_> = (1..=values.len() as i64).map(|at| Timestamp::from_millis(at * 15_000)).collect();
        let window = Window::of_numbers(&times, values, (0, end));
        let value = function(&window);
        let near = match (value, expected) {
            (Some(value), Some(expected)) => (value - expected).abs() < 1e-9,
            (value, expected) => value == expected,
        };
        assert!(near, "{value:?}, not {expected:?}");
    }

    #[test]
    fn increase_reaches_the_edges_and_counts_resets() {
        let increase = |window: &Window<'_>| extrapolated(window, true, false);
        check(increase, &[100.0, 110.0, 120.0, 130.0], 60_000, Some(40.0));
        check(increase, &[100.0, 110.0, 5.0, 15.0], 60_000, Some(25.0 / 45.0 * 60.0));
        check(increase, &[100.0], 60_000, None);
    }

    #[test]
    fn a_counter_is_not_extended_below_zero() {
        let increase = |window: &Window<'_>| extrapolated(window, true, false);
        check(increase, &[0.0, 10.0, 20.0, 30.0], 60_000, Some(30.0));
        let delta = |window: &Window<'_>| extrapolated(window, false, false);
        check(delta, &[0.0, 10.0, 20.0, 30.0], 60_000, Some(40.0));
    }

    #[test]
    fn the_last_two_samples_give_irate() {
        check(|window| instant(window, true), &[1.0, 2.0, 32.0], 60_000, Some(2.0));
        check(|window| instant(window, true), &[90.0, 30.0], 60_000, Some(2.0));
        check(|window| instant(window, false), &[90.0, 30.0], 60_000, Some(-60.0));
    }

    #[test]
    fn a_line_is_found_and_followed() {
        check(derivative, &[1.0, 2.0, 3.0], 60_000, Some(1.0 / 15.0));
        check(|window| predict(window, 45_000, 30.0), &[1.0, 2.0, 3.0], 60_000, Some(5.0));
        check(derivative, &[4.0, 4.0], 60_000, Some(0.0));
    }
}
