//! Floats as integers of one unit: `mantissa / 10^scale`, or `mantissa * 10^-scale` (which rounds differently: exporters do both, and
//! either gives another last bit for every tenth value).
//!
//! In: a chunk's floats. Out: their mantissas in the unit that suits most, and the floats that are no such decimal, as exceptions.

/// The largest scale: 15 digits behind the point.
const SCALE_MAX: u8 = 15;

/// Mantissas stay below 2^51, where rounding by the magic number below is exact.
const MANTISSA_MAX: f64 = 2_251_799_813_685_248.0;

/// Adding and subtracting 1.5 * 2^52 rounds to the nearest integer, without a call into libm.
const ROUNDER: f64 = 6_755_399_441_055_744.0;

/// Exact as floats, so that dividing by one of them rounds once.
const POWERS: [f64; SCALE_MAX as usize + 1] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// The floats nearest to the units, as a program has them that multiplies.
const PARTS: [f64; SCALE_MAX as usize + 1] =
    [1e0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10, 1e-11, 1e-12, 1e-13, 1e-14, 1e-15];

/// Set in a unit's byte if mantissas are multiplied.
const MULTIPLIED: u8 = 0x80;

/// Values looked at to find the unit.
const LOOKS: usize = 32;

/// What an exception costs, in bits.
const EXCEPTION_BITS: f64 = 72.0;

/// What a further digit costs each value, in bits: log2(10).
const DIGIT_BITS: f64 = 3.33;

/// What a chunk's mantissas count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unit {
    scale: u8,
    multiplied: bool,
}

impl Unit {
    pub(super) const fn byte(self) -> u8 {
        self.scale | if self.multiplied { MULTIPLIED } else { 0 }
    }

    pub(super) fn from_byte(byte: u8) -> Option<Self> {
        let scale = byte & !MULTIPLIED;
        (scale <= SCALE_MAX).then_some(Self { scale, multiplied: byte & MULTIPLIED != 0 })
    }

    /// The float of a mantissa.
    pub(super) fn value(self, mantissa: i64) -> f64 {
        let scale = usize::from(self.scale);
        if self.multiplied { mantissa as f64 * PARTS[scale] } else { mantissa as f64 / POWERS[scale] }
    }

    /// Appends the floats of mantissas.
    pub(super) fn values(self, mantissas: &[i64], into: &mut Vec<f64>) {
        let (power, part) = (POWERS[usize::from(self.scale)], PARTS[usize::from(self.scale)]);
        if self.scale == 0 {
            into.extend(mantissas.iter().map(|&mantissa| mantissa as f64));
        } else if self.multiplied {
            into.extend(mantissas.iter().map(|&mantissa| mantissa as f64 * part));
        } else {
            into.extend(mantissas.iter().map(|&mantissa| mantissa as f64 / power));
        }
    }

    /// The mantissa, if it gives the value back bit for bit.
    #[inline]
    fn mantissa(self, value: f64) -> Option<i64> {
        let scaled = value * POWERS[usize::from(self.scale)];
        let rounded = (scaled + ROUNDER) - ROUNDER;
        let back = if self.multiplied {
            rounded * PARTS[usize::from(self.scale)]
        } else {
            rounded / POWERS[usize::from(self.scale)]
        };
        // A NaN is no smaller than anything; -0 comes back as 0, whose bits are others.
        (scaled.abs() < MANTISSA_MAX
            && (rounded as i64 as f64).to_bits() == rounded.to_bits()
            && back.to_bits() == value.to_bits())
        .then_some(rounded as i64)
    }
}

/// The decimal with the fewest digits behind the point that is this float bit for bit.
pub(super) fn shortest(value: f64) -> Option<(i64, Unit)> {
    (0..=SCALE_MAX).find_map(|scale| {
        let unit = Unit { scale, multiplied: false };
        Some((unit.mantissa(value)?, unit))
    })
}

/// Finds the unit for a chunk and fills in the mantissas of its decimals and the (index, bits) of all others; `None` where too many are
/// no decimals.
pub(super) fn find(
    values: &[f64],
    mantissas: &mut Vec<i64>,
    exceptions: &mut Vec<(u32, u64)>,
) -> Option<Unit> {
    let unit = choose(values, LOOKS)?;
    if convert(values, unit, values.len() / 16 + 4, mantissas, exceptions) {
        return Some(unit);
    }
    let unit = choose(values, values.len())?;
    convert(values, unit, values.len() / 4, mantissas, exceptions).then_some(unit)
}

/// The unit that packs values best, by a look at some of them.
fn choose(values: &[f64], looks: usize) -> Option<Unit> {
    let stride = values.len().div_ceil(looks);
    let divided = Scales::count(values.iter().step_by(stride), false).best();
    if divided.raw == 0 {
        return Some(divided.unit);
    }
    let multiplied = Scales::count(values.iter().step_by(stride), true).best();
    let best = if multiplied.cost < divided.cost { multiplied } else { divided };
    (best.raw * 2 <= values.len().div_ceil(stride)).then_some(best.unit)
}

/// How many values need which scale.
struct Scales {
    counts: [usize; SCALE_MAX as usize + 1],
    raw: usize,
    multiplied: bool,
}

struct Choice {
    unit: Unit,
    /// Values that will be exceptions.
    raw: usize,
    cost: f64,
}

impl Scales {
    fn count<'a>(values: impl Iterator<Item = &'a f64>, multiplied: bool) -> Self {
        let mut scales = Self { counts: [0; SCALE_MAX as usize + 1], raw: 0, multiplied };
        let mut before = 0;
        for &value in values {
            match smallest_scale(value, multiplied, &mut before) {
                Some(scale) => scales.counts[usize::from(scale)] += 1,
                None => scales.raw += 1,
            }
        }
        scales
    }

    fn best(&self) -> Choice {
        let total = self.counts.iter().sum::<usize>() + self.raw;
        let (mut raw, mut best) = (self.raw, None::<Choice>);
        for scale in (0..=SCALE_MAX).rev() {
            let unit = Unit { scale, multiplied: self.multiplied && scale > 0 };
            let cost = raw as f64 * EXCEPTION_BITS + f64::from(scale) * DIGIT_BITS * (total - raw) as f64;
            if best.as_ref().is_none_or(|best| cost <= best.cost) {
                best = Some(Choice { unit, raw, cost });
            }
            raw += self.counts[usize::from(scale)];
        }
        best.expect("there are 16 scales")
    }
}

/// The smallest scale that gives a value back; `before` is the scale to begin with, as neighbours need the same one mostly.
fn smallest_scale(value: f64, multiplied: bool, before: &mut u8) -> Option<u8> {
    let fits = |scale| Unit { scale, multiplied }.mantissa(value).is_some();
    if !value.is_finite() {
        return None;
    }
    let found = if fits(*before) {
        // What a scale holds, mostly the next larger one holds too: walking down finds the smallest.
        (0..*before).rev().take_while(|&scale| fits(scale)).last().unwrap_or(*before)
    } else {
        let scaled_up = (0..=SCALE_MAX).filter(|scale| scale != before);
        scaled_up
            .take_while(|&scale| (value * POWERS[usize::from(scale)]).abs() < MANTISSA_MAX)
            .find(|&scale| fits(scale))?
    };
    *before = found.max(*before);
    Some(found)
}

/// Mantissas and exceptions in a unit; false, and neither complete, where more than `most` are exceptions.
fn convert(
    values: &[f64],
    unit: Unit,
    most: usize,
    mantissas: &mut Vec<i64>,
    exceptions: &mut Vec<(u32, u64)>,
) -> bool {
    mantissas.clear();
    exceptions.clear();
    mantissas.reserve(values.len());
    for (index, &value) in values.iter().enumerate() {
        match unit.mantissa(value) {
            Some(mantissa) => mantissas.push(mantissa),
            None if exceptions.len() < most => exceptions.push((index as u32, value.to_bits())),
            None => return false,
        }
    }
    true
}
