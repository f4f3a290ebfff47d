//! Binary operators between scalars, and between a scalar and a vector. Vectors meet vectors in `matching` and `set`.

use super::native::Point;
use super::series::{Series, Stream};
use super::{Evaluated, Query, Result, Steps};
use crate::ast::{Binary, BinaryOp, Expr, ValueType};
use crate::budget::{ABSENT, Column, Held, is_present};
use crate::error::QueryError;

/// What an operator makes of two values. Comparisons give 1 or 0.
pub(super) fn apply(op: BinaryOp, a: f64, b: f64) -> f64 {
    match op {
        BinaryOp::Add => a + b,
        BinaryOp::Sub => a - b,
        BinaryOp::Mul => a * b,
        BinaryOp::Div => a / b,
        BinaryOp::Mod => a % b,
        BinaryOp::Pow => a.powf(b),
        BinaryOp::Atan2 => a.atan2(b),
        op => f64::from(u8::from(compare(op, a, b))),
    }
}

fn compare(op: BinaryOp, a: f64, b: f64) -> bool {
    match op {
        BinaryOp::Equal => a == b,
        BinaryOp::NotEqual => a != b,
        BinaryOp::Less => a < b,
        BinaryOp::LessOrEqual => a <= b,
        BinaryOp::Greater => a > b,
        BinaryOp::GreaterOrEqual => a >= b,
        _ => unreachable!("only comparisons are compared"),
    }
}

/// What becomes of `keep` (the value a filter lets through) when `a op b` is taken.
pub(super) fn outcome(binary: &Binary, a: f64, b: f64, keep: f64) -> f64 {
    if !binary.op.is_comparison() || binary.return_bool {
        return apply(binary.op, a, b);
    }
    if compare(binary.op, a, b) { keep } else { ABSENT }
}

/// Whether the result is something else than the series' own value.
pub(super) fn drops_name(binary: &Binary) -> bool {
    !binary.op.is_set() && !binary.op.is_trim() && (!binary.op.is_comparison() || binary.return_bool)
}

impl<'q> Query<'q> {
    pub(super) fn binary(&'q self, binary: &'q Binary, steps: Steps) -> Result<Evaluated<'q>> {
        match (binary.lhs.value_type(), binary.rhs.value_type()) {
            (ValueType::Scalar, ValueType::Scalar) => self.scalars(binary, steps).map(Evaluated::Scalar),
            (ValueType::Scalar, _) => {
                let scalar = self.scalar(&binary.lhs, steps)?;
                self.with_scalar(binary, &binary.rhs, scalar, steps, |a, b| (b, a)).map(Evaluated::Vector)
            }
            (_, ValueType::Scalar) => {
                let scalar = self.scalar(&binary.rhs, steps)?;
                self.with_scalar(binary, &binary.lhs, scalar, steps, |a, b| (a, b)).map(Evaluated::Vector)
            }
            _ if binary.op.is_set() => self.set(binary, steps).map(Evaluated::Vector),
            _ => self.matched(binary, steps).map(Evaluated::Vector),
        }
    }

    fn scalars(&'q self, binary: &'q Binary, steps: Steps) -> Result<Column> {
        let mut lhs = self.scalar(&binary.lhs, steps)?;
        let rhs = self.scalar(&binary.rhs, steps)?;
        if binary.op.is_trim() {
            let message = format!("operator {:?} not allowed for Scalar operations", binary.op.as_str());
            return Err(QueryError::execution(message));
        }
        lhs.iter_mut().zip(rhs.iter()).for_each(|(a, b)| *a = apply(binary.op, *a, *b));
        Ok(lhs)
    }

    /// `order` puts the series' value and the scalar in the order of the text.
    fn with_scalar(
        &'q self,
        binary: &'q Binary,
        vector: &'q Expr,
        scalar: Column,
        steps: Steps,
        order: fn(f64, f64) -> (f64, f64),
    ) -> Result<Stream<'q>> {
        let combined = self.vector(vector, steps)?.map(move |series| {
            let mut series = series?;
            if series.points.has_histograms() || binary.op.is_trim() {
                self.cells_with_scalar(binary, &mut series, &scalar, order)?;
                return Ok(series);
            }
            for (value, scalar) in
                series.points.iter_mut().zip(scalar.iter()).filter(|(value, _)| is_present(**value))
            {
                let (a, b) = order(*value, *scalar);
                *value = outcome(binary, a, b, *value);
            }
            Ok(series)
        });
        let combined = Box::new(combined);
        if drops_name(binary) { self.drop_names(combined, vector.has_one_name()) } else { Ok(combined) }
    }

    /// The same where the series may have histograms.
    fn cells_with_scalar(
        &self,
        binary: &Binary,
        series: &mut Series,
        scalar: &Column,
        order: fn(f64, f64) -> (f64, f64),
    ) -> Result<()> {
        // Whether the series stands on the right of the operator.
        let swapped = order(0.0, 1.0).0 == 1.0;
        for at in 0..scalar.len() {
            let (own, other) = (series.points.held(at), Held::Number(scalar[at]));
            let (lhs, rhs) = if swapped { (other, own) } else { (own, other) };
            match self.combine(binary, lhs, rhs, own) {
                Some(Point::Number(value)) => series.points.set(at, value),
                Some(Point::Histogram(histogram)) => series.points.set_histogram(at, histogram)?,
                None => series.points.set(at, ABSENT),
            }
        }
        Ok(())
    }
}
