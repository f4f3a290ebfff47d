//! The functions of the language: names, argument and result types. What they compute stands in `eval`.

use crate::ast::ValueType::{self, Matrix, Scalar, String, Vector};

/// A function's signature.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    /// As queries call it.
    pub name: &'static str,
    /// Types of the arguments; the last repeats where more are allowed.
    pub arguments: &'static [ValueType],
    /// How many of the arguments may be left out, or added.
    pub arity: Arity,
    /// Type of the result.
    pub result: ValueType,
    /// Behind `promql-experimental-functions` in Prometheus.
    pub experimental: bool,
}

/// How many arguments a function takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arity {
    /// As many as are listed.
    Exact,
    /// The last so many may be left out.
    Optional(usize),
    /// The last may be left out or repeated.
    Variadic,
    /// At least those listed, and the last up to so many times more.
    UpTo(usize),
}

impl Function {
    /// Finds a function by its name, which is case-sensitive.
    pub fn find(name: &str) -> Option<&'static Self> {
        FUNCTIONS.iter().find(|function| function.name == name)
    }

    /// Fewest and most arguments.
    pub(crate) fn bounds(&self) -> (usize, Option<usize>) {
        let listed = self.arguments.len();
        match self.arity {
            Arity::Exact => (listed, Some(listed)),
            Arity::Optional(count) => (listed - count, Some(listed)),
            Arity::Variadic => (listed - 1, None),
            Arity::UpTo(more) => (listed, Some(listed + more)),
        }
    }
}

const fn plain(name: &'static str, arguments: &'static [ValueType], result: ValueType) -> Function {
    Function { name, arguments, arity: Arity::Exact, result, experimental: false }
}

const fn open(
    name: &'static str,
    arguments: &'static [ValueType],
    arity: Arity,
    result: ValueType,
) -> Function {
    Function { name, arguments, arity, result, experimental: false }
}

const fn experimental(function: Function) -> Function {
    Function { experimental: true, ..function }
}

const V: &[ValueType] = &[Vector];
const M: &[ValueType] = &[Matrix];

static FUNCTIONS: &[Function] = &[
    plain("abs", V, Vector),
    plain("absent", V, Vector),
    plain("absent_over_time", M, Vector),
    plain("acos", V, Vector),
    plain("acosh", V, Vector),
    plain("asin", V, Vector),
    plain("asinh", V, Vector),
    plain("atan", V, Vector),
    plain("atanh", V, Vector),
    plain("avg_over_time", M, Vector),
    plain("ceil", V, Vector),
    plain("changes", M, Vector),
    plain("clamp", &[Vector, Scalar, Scalar], Vector),
    plain("clamp_max", &[Vector, Scalar], Vector),
    plain("clamp_min", &[Vector, Scalar], Vector),
    plain("cos", V, Vector),
    plain("cosh", V, Vector),
    plain("count_over_time", M, Vector),
    open("day_of_month", V, Arity::Optional(1), Vector),
    open("day_of_week", V, Arity::Optional(1), Vector),
    open("day_of_year", V, Arity::Optional(1), Vector),
    open("days_in_month", V, Arity::Optional(1), Vector),
    plain("deg", V, Vector),
    plain("delta", M, Vector),
    plain("deriv", M, Vector),
    experimental(plain("double_exponential_smoothing", &[Matrix, Scalar, Scalar], Vector)),
    experimental(plain("end", &[], Scalar)),
    plain("exp", V, Vector),
    experimental(plain("first_over_time", M, Vector)),
    plain("floor", V, Vector),
    plain("histogram_avg", V, Vector),
    plain("histogram_count", V, Vector),
    plain("histogram_fraction", &[Scalar, Scalar, Vector], Vector),
    plain("histogram_quantile", &[Scalar, Vector], Vector),
    experimental(open("histogram_quantiles", &[Vector, String, Scalar], Arity::UpTo(9), Vector)),
    plain("histogram_stddev", V, Vector),
    plain("histogram_stdvar", V, Vector),
    plain("histogram_sum", V, Vector),
    open("hour", V, Arity::Optional(1), Vector),
    plain("idelta", M, Vector),
    plain("increase", M, Vector),
    experimental(open("info", &[Vector, Vector], Arity::Optional(1), Vector)),
    plain("irate", M, Vector),
    open("label_join", &[Vector, String, String, String], Arity::Variadic, Vector),
    plain("label_replace", &[Vector, String, String, String, String], Vector),
    plain("last_over_time", M, Vector),
    plain("ln", V, Vector),
    plain("log10", V, Vector),
    plain("log2", V, Vector),
    experimental(plain("mad_over_time", M, Vector)),
    experimental(plain("max_of", &[Scalar, Scalar], Scalar)),
    plain("max_over_time", M, Vector),
    experimental(plain("min_of", &[Scalar, Scalar], Scalar)),
    plain("min_over_time", M, Vector),
    open("minute", V, Arity::Optional(1), Vector),
    open("month", V, Arity::Optional(1), Vector),
    plain("pi", &[], Scalar),
    plain("predict_linear", &[Matrix, Scalar], Vector),
    plain("present_over_time", M, Vector),
    plain("quantile_over_time", &[Scalar, Matrix], Vector),
    plain("rad", V, Vector),
    experimental(plain("range", &[], Scalar)),
    plain("rate", M, Vector),
    plain("resets", M, Vector),
    open("round", &[Vector, Scalar], Arity::Optional(1), Vector),
    plain("scalar", V, Scalar),
    plain("sgn", V, Vector),
    plain("sin", V, Vector),
    plain("sinh", V, Vector),
    plain("sort", V, Vector),
    experimental(open("sort_by_label", &[Vector, String], Arity::Variadic, Vector)),
    experimental(open("sort_by_label_desc", &[Vector, String], Arity::Variadic, Vector)),
    plain("sort_desc", V, Vector),
    plain("sqrt", V, Vector),
    experimental(plain("start", &[], Scalar)),
    experimental(plain("start_timestamp", V, Vector)),
    plain("stddev_over_time", M, Vector),
    plain("stdvar_over_time", M, Vector),
    experimental(plain("step", &[], Scalar)),
    plain("sum_over_time", M, Vector),
    plain("tan", V, Vector),
    plain("tanh", V, Vector),
    plain("time", &[], Scalar),
    plain("timestamp", V, Vector),
    experimental(plain("ts_of_first_over_time", M, Vector)),
    experimental(plain("ts_of_last_over_time", M, Vector)),
    experimental(plain("ts_of_max_over_time", M, Vector)),
    experimental(plain("ts_of_min_over_time", M, Vector)),
    plain("vector", &[Scalar], Vector),
    open("year", V, Arity::Optional(1), Vector),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_unique() {
        assert!(FUNCTIONS.windows(2).all(|pair| pair[0].name < pair[1].name));
    }

    #[test]
    fn optional_arguments_exist() {
        for function in FUNCTIONS {
            let (fewest, most) = function.bounds();
            assert!(most.is_none_or(|most| fewest <= most), "{}", function.name);
        }
    }
}
