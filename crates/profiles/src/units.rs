//! Units and how to get from one to another.
//!
//! `0.01 dBm` is a hundredth of a decibel over a milliwatt; `uW` to `dBm` is a logarithm, no factor. Factors are kept as a number and a
//! power of ten, so that 346 tenths become exactly 34.6.

/// What a unit measures; only within one kind can be converted, and from power in watts to power in dBm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Watts,
    Dbm,
    Amperes,
    Volts,
    Celsius,
    Ratio,
    Bytes,
    Seconds,
    Hertz,
    Turns,
    Bits,
    VoltAmperes,
    WattHours,
    Unitless,
}

/// A unit with a factor before it: `mantissa * 10^exponent` of the kind's base unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Unit {
    kind: Kind,
    mantissa: f64,
    exponent: i32,
}

/// From one unit to another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Conversion {
    /// `value * mantissa * 10^exponent`.
    Linear {
        /// Factor that is no power of ten.
        mantissa: f64,
        /// Power of ten.
        exponent: i32,
    },
    /// Milliwatts (after the same factor) to dBm, rounded to a thousandth: no module measures finer, and short decimals are stored in
    /// a quarter of the bytes.
    Decibel {
        /// Factor to milliwatts that is no power of ten.
        mantissa: f64,
        /// Power of ten to milliwatts.
        exponent: i32,
    },
}

const UNITS: &[(&str, Kind, f64, i32)] = &[
    ("W", Kind::Watts, 1.0, 0),
    ("mW", Kind::Watts, 1.0, -3),
    ("uW", Kind::Watts, 1.0, -6),
    ("nW", Kind::Watts, 1.0, -9),
    ("kW", Kind::Watts, 1.0, 3),
    ("dBm", Kind::Dbm, 1.0, 0),
    ("A", Kind::Amperes, 1.0, 0),
    ("mA", Kind::Amperes, 1.0, -3),
    ("uA", Kind::Amperes, 1.0, -6),
    ("V", Kind::Volts, 1.0, 0),
    ("mV", Kind::Volts, 1.0, -3),
    ("uV", Kind::Volts, 1.0, -6),
    ("degC", Kind::Celsius, 1.0, 0),
    ("ratio", Kind::Ratio, 1.0, 0),
    ("%", Kind::Ratio, 1.0, -2),
    ("B", Kind::Bytes, 1.0, 0),
    ("kB", Kind::Bytes, 1.0, 3),
    ("MB", Kind::Bytes, 1.0, 6),
    ("KiB", Kind::Bytes, 1024.0, 0),
    ("MiB", Kind::Bytes, 1_048_576.0, 0),
    ("GiB", Kind::Bytes, 1_073_741_824.0, 0),
    ("s", Kind::Seconds, 1.0, 0),
    ("ms", Kind::Seconds, 1.0, -3),
    ("us", Kind::Seconds, 1.0, -6),
    ("min", Kind::Seconds, 60.0, 0),
    ("h", Kind::Seconds, 3600.0, 0),
    ("d", Kind::Seconds, 86_400.0, 0),
    ("Hz", Kind::Hertz, 1.0, 0),
    ("rpm", Kind::Turns, 1.0, 0),
    ("bit/s", Kind::Bits, 1.0, 0),
    ("kbit/s", Kind::Bits, 1.0, 3),
    ("Mbit/s", Kind::Bits, 1.0, 6),
    ("VA", Kind::VoltAmperes, 1.0, 0),
    ("Wh", Kind::WattHours, 1.0, 0),
    ("1", Kind::Unitless, 1.0, 0),
];

impl Unit {
    /// Reads `uW`, `0.01 dBm`, `10 mA`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (factor, name) = text.trim().rsplit_once(' ').map_or(("1", text.trim()), |(f, n)| (f.trim(), n));
        let &(_, kind, mantissa, exponent) =
            UNITS.iter().find(|(known, ..)| *known == name).ok_or_else(|| unknown(name))?;
        let (digits, places) = factor.split_once('.').unwrap_or((factor, ""));
        let all = format!("{digits}{places}");
        let good = !all.is_empty() && all.len() <= 12 && all.bytes().all(|byte| byte.is_ascii_digit());
        let number = all.parse::<u64>().ok().filter(|&number| good && number > 0);
        let number = number.ok_or_else(|| format!("{factor:?} before the unit is no factor such as 0.01"))?;
        let places = i32::try_from(places.len()).expect("at most 12");
        Ok(Self { kind, mantissa: mantissa * number as f64, exponent: exponent - places })
    }

    /// How a number of this unit becomes one of another.
    pub(crate) fn to(self, other: Self) -> Result<Conversion, String> {
        let (mantissa, exponent) = (self.mantissa / other.mantissa, self.exponent - other.exponent);
        if self.kind == other.kind {
            return Ok(Conversion::Linear { mantissa, exponent });
        }
        if (self.kind, other.kind) == (Kind::Watts, Kind::Dbm) && (other.mantissa, other.exponent) == (1.0, 0)
        {
            return Ok(Conversion::Decibel { mantissa: self.mantissa, exponent: self.exponent + 3 });
        }
        Err(format!("{:?} cannot become {:?}", self.kind, other.kind))
    }

    /// The unit in which two readings are compared: dBm for power, else the kind's own.
    pub(crate) fn comparable(self) -> Self {
        let kind = if self.kind == Kind::Watts { Kind::Dbm } else { self.kind };
        Self { kind, mantissa: 1.0, exponent: 0 }
    }
}

fn unknown(name: &str) -> String {
    let known: Vec<&str> = UNITS.iter().map(|(name, ..)| *name).collect();
    format!("{name:?} is no unit: one of {}", known.join(", "))
}

impl Conversion {
    /// Changes nothing.
    pub(crate) const NONE: Self = Self::Linear { mantissa: 1.0, exponent: 0 };

    /// Converts; `shift` is a further power of ten, from sibling columns. No power at all is minus infinity in dBm, and less than none
    /// is not a number.
    pub(crate) fn apply(self, value: f64, shift: i32) -> f64 {
        match self {
            Self::Linear { mantissa, exponent } => ten_times(value * mantissa, exponent + shift),
            Self::Decibel { mantissa, exponent } => {
                let milliwatts = ten_times(value * mantissa, exponent + shift);
                if milliwatts < 0.0 { f64::NAN } else { (10_000.0 * milliwatts.log10()).round() / 1_000.0 }
            }
        }
    }
}

/// `value * 10^exponent`, by a division where that is exact and a multiplication is not.
fn ten_times(value: f64, exponent: i32) -> f64 {
    const POWERS: [f64; 23] = [
        1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17,
        1e18, 1e19, 1e20, 1e21, 1e22,
    ];
    match (exponent, POWERS.get(exponent.unsigned_abs() as usize)) {
        (0, _) => value,
        (1.., Some(power)) => value * power,
        (_, Some(power)) => value / power,
        _ => value * 10f64.powi(exponent),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(from: &str, to: &str, value: f64, expected: f64) {
        let conversion = Unit::parse(from).and_then(|from| from.to(Unit::parse(to)?)).expect("good units");
        assert_eq!(conversion.apply(value, 0), expected, "{value} {from} in {to}");
    }

    #[test]
    fn factors_are_exact() {
        check("0.1 degC", "degC", 346.0, 34.6);
        check("0.01 dBm", "dBm", -2677.0, -26.77);
        check("0.001 dBm", "dBm", -5673.0, -5.673);
        check("uA", "A", 21_966.0, 0.021_966);
        check("%", "ratio", 7.0, 0.07);
        check("0.01 %", "ratio", 458.0, 0.0458);
        check("KiB", "B", 3.0, 3072.0);
        check("min", "s", 5.0, 300.0);
        check("0.1 mV", "V", 33_000.0, 3.3);
    }

    #[test]
    fn power_becomes_decibels_by_a_logarithm() {
        check("uW", "dBm", 1000.0, 0.0);
        check("uW", "dBm", 536.0, -2.708);
        check("mW", "dBm", 0.2512, -6.0);
        check("0.1 uW", "dBm", 12_589.0, 1.0);
        check("W", "dBm", 0.0, f64::NEG_INFINITY);
        let conversion =
            Unit::parse("uW").expect("good").to(Unit::parse("dBm").expect("good")).expect("power");
        assert!(conversion.apply(-1.0, 0).is_nan());
        assert_eq!(
            Unit::parse("W").unwrap().to(Unit::parse("dBm").unwrap()).unwrap().apply(5847.0, -7),
            -2.331
        );
    }

    #[test]
    fn what_is_no_unit_or_no_way_is_said() {
        assert!(Unit::parse("parsec").expect_err("no unit").contains("one of W, mW"));
        assert!(Unit::parse("x dBm").expect_err("no factor").contains("0.01"));
        for bad in ["", " ", "-1 W", "0 W", "1e3 W", "1.2.3 W"] {
            assert!(Unit::parse(bad).is_err(), "{bad:?}");
        }
        let (dbm, volts) = (Unit::parse("dBm").expect("good"), Unit::parse("V").expect("good"));
        assert!(dbm.to(volts).is_err());
        assert!(dbm.to(Unit::parse("mW").expect("good")).is_err(), "nothing wants milliwatts");
    }

    proptest! {
        #[test]
        fn more_light_is_never_less_dbm(a in 0.0..1e6f64, b in 0.0..1e6f64) {
            let to = Unit::parse("uW").unwrap().to(Unit::parse("dBm").unwrap()).unwrap();
            let (low, high) = if a < b { (a, b) } else { (b, a) };
            prop_assert!(to.apply(low, 0) <= to.apply(high, 0));
        }
    }
}
