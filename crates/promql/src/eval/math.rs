//! Functions of single values: roots, logarithms, trigonometry, rounding, quantiles.

use std::cmp::Ordering;

/// Finds a function of one value by its name.
pub(super) fn find(name: &str) -> Option<fn(f64) -> f64> {
    Some(match name {
        "abs" => f64::abs,
        "acos" => f64::acos,
        "acosh" => acosh,
        "asin" => f64::asin,
        "asinh" => asinh,
        "atan" => f64::atan,
        "atanh" => f64::atanh,
        "ceil" => f64::ceil,
        "cos" => f64::cos,
        "cosh" => cosh,
        "deg" => |value| value * 180.0 / std::f64::consts::PI,
        "exp" => f64::exp,
        "floor" => f64::floor,
        "ln" => f64::ln,
        "log10" => f64::log10,
        "log2" => f64::log2,
        "rad" => |value| value * std::f64::consts::PI / 180.0,
        "sgn" => sign,
        "sin" => f64::sin,
        "sinh" => sinh,
        "sqrt" => f64::sqrt,
        "tan" => f64::tan,
        "tanh" => f64::tanh,
        _ => return None,
    })
}

/// From here on one more or less makes no difference to a square.
const LARGE: f64 = (1u64 << 28) as f64;

/// Also where twice the value would be infinite.
fn asinh(value: f64) -> f64 {
    if value.abs() > LARGE {
        (value.abs().ln() + std::f64::consts::LN_2).copysign(value)
    } else {
        value.asinh()
    }
}

/// Also where twice the value would be infinite.
fn acosh(value: f64) -> f64 {
    if value > LARGE { value.ln() + std::f64::consts::LN_2 } else { value.acosh() }
}

/// Infinite where `exp` is, as in Go.
fn sinh(value: f64) -> f64 {
    if value.abs() > 21.0 { (value.abs().exp() * 0.5).copysign(value) } else { value.sinh() }
}

/// Infinite where `exp` is, as in Go.
fn cosh(value: f64) -> f64 {
    if value.abs() > 21.0 { value.abs().exp() * 0.5 } else { value.cosh() }
}

fn sign(value: f64) -> f64 {
    if value < 0.0 {
        -1.0
    } else if value > 0.0 {
        1.0
    } else {
        value
    }
}

/// To the nearest multiple; halves go up.
pub(super) fn round(value: f64, to_nearest: f64) -> f64 {
    // The inverse keeps 0.1 and its like exact.
    let inverse = 1.0 / to_nearest;
    (value * inverse + 0.5).floor() / inverse
}

/// The smaller, as Go has it: -Inf where either is, else NaN where either is, and -0 before 0.
pub(super) fn min(a: f64, b: f64) -> f64 {
    let least = a == f64::NEG_INFINITY || b == f64::NEG_INFINITY;
    match (a, b) {
        _ if least => f64::NEG_INFINITY,
        _ if a.is_nan() || b.is_nan() => f64::NAN,
        (0.0, 0.0) => {
            if a.is_sign_negative() {
                a
            } else {
                b
            }
        }
        _ => a.min(b),
    }
}

/// The greater, as Go has it: +Inf where either is, else NaN where either is, and 0 before -0.
pub(super) fn max(a: f64, b: f64) -> f64 {
    -min(-a, -b)
}

/// Ascending, NaN before all numbers.
pub(super) fn nan_first(a: &f64, b: &f64) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        (false, false) => a.partial_cmp(b).expect("neither is NaN"),
    }
}

/// The φ-quantile, interpolated between neighbours; sorts the values. -Inf below 0, +Inf above 1, NaN of nothing.
pub(super) fn quantile(phi: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || phi.is_nan() {
        return f64::NAN;
    }
    if phi < 0.0 {
        return f64::NEG_INFINITY;
    }
    if phi > 1.0 {
        return f64::INFINITY;
    }
    values.sort_unstable_by(nan_first);
    let rank = phi * (values.len() - 1) as f64;
    let lower = rank.floor();
    let upper = (lower as usize + 1).min(values.len() - 1);
    let weight = rank - lower;
    values[lower as usize] * (1.0 - weight) + values[upper] * weight
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_round_up() {
        assert_eq!(round(2.5, 1.0), 3.0);
        assert_eq!(round(-2.5, 1.0), -2.0);
        assert_eq!(round(0.15, 0.1), 0.2);
        assert_eq!(round(7.0, 5.0), 5.0);
    }

    /// Found by random queries beside Prometheus 2.42: the largest numbers have areas, too.
    #[test]
    fn hyperbolic_functions_reach_as_far_as_go_s() {
        let check = |name: &str, value: f64, expected: f64| {
            let result = find(name).expect("a known function")(value);
            let same = result == expected || (result / expected - 1.0).abs() < 1e-15;
            assert!(same, "{name}({value}) is {result}");
        };
        check("asinh", f64::MAX, 710.4758600739439);
        check("asinh", -f64::MAX, -710.4758600739439);
        check("asinh", 1.0, 0.881_373_587_019_543);
        check("asinh", f64::NEG_INFINITY, f64::NEG_INFINITY);
        check("acosh", f64::MAX, 710.4758600739439);
        check("acosh", 2.0, 1.316_957_896_924_816_6);
        check("sinh", 710.0, f64::INFINITY);
        check("sinh", -710.0, f64::NEG_INFINITY);
        check("sinh", -22.0, -1_792_456_423.065_795_7);
        check("cosh", -710.0, f64::INFINITY);
        check("cosh", 22.0, 1_792_456_423.065_795_7);
    }

    /// Found by random queries beside Prometheus 2.42: `clamp(x, Inf, NaN)` is +Inf.
    #[test]
    fn infinity_is_greater_than_what_is_no_number() {
        let bits = |value: f64| if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() };
        let (nan, inf) = (f64::NAN, f64::INFINITY);
        for (a, b, least, greatest) in [
            (1.0, 2.0, 1.0, 2.0),
            (nan, 1.0, nan, nan),
            (nan, inf, nan, inf),
            (-inf, nan, -inf, nan),
            (0.0, -0.0, -0.0, 0.0),
        ] {
            for (a, b) in [(a, b), (b, a)] {
                assert_eq!(bits(min(a, b)), bits(least), "min({a}, {b})");
                assert_eq!(bits(max(a, b)), bits(greatest), "max({a}, {b})");
            }
        }
    }

    #[test]
    fn quantiles_lie_between_neighbours() {
        assert_eq!(quantile(0.5, &mut [1.0, 0.0]), 0.5);
        assert_eq!(quantile(1.0, &mut [4.0, 0.0, 1.0]), 4.0);
        assert_eq!(quantile(-1.0, &mut [1.0]), f64::NEG_INFINITY);
        assert!(quantile(0.5, &mut []).is_nan());
        assert_eq!(quantile(1.0, &mut [f64::NAN, 1.0]), 1.0);
    }
}
