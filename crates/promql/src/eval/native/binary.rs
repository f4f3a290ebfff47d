//! Binary operators where a histogram stands on a side.

use std::sync::Arc;

use model::{Combined, Histogram};

use super::super::Query;
use super::{Point, Remarks};
use crate::ast::{Binary, BinaryOp};
use crate::budget::{Held, is_present};
use crate::eval::binary::outcome;

impl Query<'_> {
    /// What an operator makes of two sides; `keep` is what a filter lets through. A remark where it makes nothing of them.
    pub(in crate::eval) fn combine(
        &self,
        binary: &Binary,
        lhs: Held<'_>,
        rhs: Held<'_>,
        keep: Held<'_>,
    ) -> Option<Point> {
        match (lhs, rhs) {
            (Held::Number(a), Held::Number(b)) => {
                let Held::Number(keep) = keep else {
                    return None;
                };
                if binary.op.is_trim() {
                    return self.incompatible(binary, "float", "float");
                }
                Some(outcome(binary, a, b, keep)).filter(|value| is_present(*value)).map(Point::Number)
            }
            (Held::Histogram(a), Held::Histogram(b)) => self.two_histograms(binary, a, b),
            (Held::Histogram(a), Held::Number(b)) => match binary.op {
                BinaryOp::Mul => Some(Point::compact(Histogram::clone(a).times(b))),
                BinaryOp::Div => Some(Point::compact(Histogram::clone(a).divided_by(b))),
                BinaryOp::TrimUpper => Some(Point::compact(a.trim_above(b))),
                BinaryOp::TrimLower => Some(Point::compact(a.trim_below(b))),
                _ => self.incompatible(binary, "histogram", "float"),
            },
            (Held::Number(a), Held::Histogram(b)) => match binary.op {
                BinaryOp::Mul => Some(Point::compact(Histogram::clone(b).times(a))),
                _ => self.incompatible(binary, "float", "histogram"),
            },
            (Held::Absent, _) | (_, Held::Absent) => None,
        }
    }

    fn two_histograms(&self, binary: &Binary, a: &Arc<Histogram>, b: &Arc<Histogram>) -> Option<Point> {
        let equal = match binary.op {
            BinaryOp::Add => return self.sum_or_difference(binary, a.add(b), "addition"),
            BinaryOp::Sub => {
                let difference = a.sub(b).map(|combined| {
                    let reset = model::ResetHint::Gauge;
                    Combined { histogram: Histogram { reset, ..combined.histogram }, ..combined }
                });
                return self.sum_or_difference(binary, difference, "subtraction");
            }
            BinaryOp::Equal => a.same_as(b),
            BinaryOp::NotEqual => !a.same_as(b),
            _ => return self.incompatible(binary, "histogram", "histogram"),
        };
        if binary.return_bool {
            return Some(Point::Number(f64::from(u8::from(equal))));
        }
        equal.then(|| Point::Histogram(Arc::clone(a)))
    }

    fn sum_or_difference(&self, binary: &Binary, combined: Option<Combined>, what: &str) -> Option<Point> {
        let Some(combined) = combined else {
            let text =
                format!("incompatible bucket layout encountered for binary operator {}", binary.op.as_str());
            self.warn(&binary.lhs, &text);
            return None;
        };
        let remarks = Remarks::nameless(self, &binary.lhs);
        if combined.reset_collision {
            remarks.resets_collide(what);
        }
        if combined.bounds_reconciled {
            remarks.bounds_reconciled(what);
        }
        Some(Point::compact(combined.histogram))
    }

    fn incompatible(&self, binary: &Binary, lhs: &str, rhs: &str) -> Option<Point> {
        let op = binary.op.as_str();
        let text =
            format!("incompatible sample types encountered for binary operator {op:?}: {lhs} {op} {rhs}");
        self.inform(&binary.lhs, &text);
        None
    }
}
