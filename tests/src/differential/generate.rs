//! Random queries that are valid in Prometheus 2.42 and mostly find something: every function and aggregation, every operator with its
//! matchings, `@`, `offset`, subqueries; at one time or over a range of times.
//!
//! Trees are at most five operations deep. Labels in `by`, `on` and the like are mostly those that the series have.

use super::data::{Kind, METRICS, MIDNIGHT_S, Metric};
use super::query::{At, Grouping, Matching, Query, Shift, Type, When};
use super::random::Random;

/// A query and when it is asked.
#[derive(Debug)]
pub struct Case {
    /// The tree.
    pub query: Query,
    /// The times.
    pub when: When,
}

/// The case of a seed and number.
pub fn case(seed: u64, number: u64) -> Case {
    let mut maker = Maker { random: Random::of(seed, number) };
    let when = maker.when();
    let depth = maker.random.weighted(&[2, 8, 10, 8, 4, 2]);
    let query = match maker.random.below(100) {
        0..4 => maker.scalar(depth),
        4 => maker.text(),
        // A range vector is a result of an instant query only.
        5..8 if matches!(when, When::Instant(_)) => maker.matrix(depth),
        _ => maker.vector(depth),
    };
    match (query.kind(), when) {
        (Type::Text, When::Range { start, .. }) => Case { query, when: When::Instant(start) },
        _ => Case { query, when },
    }
}

/// Functions of an instant vector alone.
const OF_VECTOR: &[&str] = &[
    "abs", "acos", "acosh", "asin", "asinh", "atan", "atanh", "ceil", "cos", "cosh", "deg", "exp", "floor",
    "ln", "log10", "log2", "rad", "sgn", "sin", "sinh", "sqrt", "tan", "tanh",
];

/// Functions of an instant vector that holds times, or of the time of the query.
const OF_TIME: &[&str] =
    &["day_of_month", "day_of_week", "day_of_year", "days_in_month", "hour", "minute", "month", "year"];

/// Functions of a range vector alone.
const OF_MATRIX: &[&str] = &[
    "absent_over_time",
    "avg_over_time",
    "changes",
    "count_over_time",
    "delta",
    "deriv",
    "idelta",
    "increase",
    "irate",
    "last_over_time",
    "max_over_time",
    "min_over_time",
    "present_over_time",
    "rate",
    "resets",
    "stddev_over_time",
    "stdvar_over_time",
    "sum_over_time",
];

/// Aggregations without a parameter.
const AGGREGATIONS: &[&str] = &["avg", "count", "group", "max", "min", "stddev", "stdvar", "sum"];

const COMPARISONS: &[&str] = &["==", "!=", ">", "<", ">=", "<="];
const ARITHMETIC: &[&str] = &["+", "-", "*", "/", "%", "^", "atan2"];
const SETS: &[&str] = &["and", "or", "unless"];

const NUMBERS: &[&str] = &[
    "0", "1", "2", "3", "10", "100", "0.5", ".25", "1e3", "1e-3", "0x1F", "017", "1e300", "NaN", "Inf", "60",
    "1.5e9", "0.99",
];

/// Fractions for quantiles, most of them usual.
const QUANTILES: &[&str] = &["0", "0.1", "0.5", "0.9", "0.99", "1", "1.5", "NaN", "-Inf", "-1", "0.333"];

const RANGES_S: &[i64] = &[20, 35, 60, 120, 300, 300, 600, 1500, 3600, 65];

/// They leave 20 s after a multiple of 30 s, so that no step lies on their left edge.
const SUBQUERY_RANGES_S: &[i64] = &[50, 140, 320, 320, 650, 1820, 3620];
const SUBQUERY_STEPS_S: &[i64] = &[30, 60, 90, 120, 300];
const OFFSETS_S: &[i64] = &[30, 60, 90, 300, 600, 3600, -30, -60, -300];

struct Maker {
    random: Random,
}

impl Maker {
    fn when(&mut self) -> When {
        let minute = |random: &mut Random, from: i64, count: usize| {
            MIDNIGHT_S + 60 * (from + i64::try_from(random.below(count)).expect("below 200"))
        };
        if self.random.chance(45) {
            return When::Instant(minute(&mut self.random, -95, 185));
        }
        let start = minute(&mut self.random, -70, 130);
        let step = self.random.pick(&[30, 60, 60, 60, 120, 300, 420]);
        let steps = i64::try_from(self.random.below(25)).expect("below 25");
        When::Range { start, end: start + step * steps + self.random.pick(&[0, 0, 30]), step }
    }

    fn number(&mut self, from: &[&'static str]) -> Query {
        let text = self.random.pick(from);
        match text.strip_prefix('-') {
            Some(rest) => Query::Negate(Box::new(Query::Number(rest))),
            None => Query::Number(text),
        }
    }

    fn text(&mut self) -> Query {
        Query::Text(self.random.pick(&["\"text\"", "'it\\'s'", "`raw \\n`", "\"\\u00e9\\n\\x41\"", "\"\""]))
    }

    fn scalar(&mut self, depth: usize) -> Query {
        let simple = |maker: &mut Self| match maker.random.below(10) {
            0 => Query::Call("time", Vec::new()),
            1 => Query::Call("pi", Vec::new()),
            2 => Query::Negate(Box::new(maker.number(NUMBERS))),
            _ => maker.number(NUMBERS),
        };
        if depth == 0 {
            return simple(self);
        }
        match self.random.below(10) {
            0..3 => {
                let inner = if self.random.chance(70) {
                    self.aggregation(depth - 1, false)
                } else {
                    self.vector(depth - 1)
                };
                Query::Call("scalar", vec![inner])
            }
            3..6 => {
                let (left, right) = (self.scalar(depth - 1), self.scalar(depth - 1));
                let compares = self.random.chance(30);
                let op = self.random.pick(if compares { COMPARISONS } else { ARITHMETIC });
                let matching = Matching { bool: compares, ..Matching::default() };
                Query::Binary(op, matching, Box::new((left, right)))
            }
            6 => Query::Paren(Box::new(self.scalar(depth - 1))),
            7 => Query::Negate(Box::new(self.scalar(depth - 1))),
            _ => simple(self),
        }
    }

    /// A parameter of a function: a number as a rule.
    fn parameter(&mut self, from: &[&'static str], depth: usize) -> Query {
        if self.random.chance(85) { self.number(from) } else { self.scalar(depth.min(1)) }
    }

    fn shift(&mut self) -> Shift {
        let offset = self.random.chance(15).then(|| self.random.pick(OFFSETS_S));
        let at = self.random.chance(10).then(|| match self.random.below(4) {
            0 => At::Start,
            1 => At::End,
            _ => {
                At::Time(MIDNIGHT_S + 30 * (i64::try_from(self.random.below(300)).expect("below 300") - 150))
            }
        });
        Shift { offset, at }
    }

    fn metric(&mut self, fits: impl Fn(&Metric) -> bool) -> &'static Metric {
        let metrics: Vec<&Metric> = METRICS.iter().filter(|metric| fits(metric)).collect();
        self.random.pick(&metrics)
    }

    /// A selector's text and the labels of its series.
    fn selected(&mut self, fits: impl Fn(&Metric) -> bool) -> (String, Vec<&'static str>) {
        let metric = self.metric(fits);
        let labels = metric.labels.iter().map(|(name, _)| *name).collect();
        let mut matchers = Vec::new();
        while matchers.len() < 3 && self.random.chance(35) {
            matchers.push(self.matcher(metric));
        }
        let text = match (self.random.below(25), metric.name) {
            (0, name) => {
                matchers.push(format!("__name__=\"{name}\""));
                format!("{{{}}}", matchers.join(","))
            }
            (1 | 2, "alpha" | "beta") => {
                matchers.push("__name__=~\"alpha|beta\"".to_owned());
                format!("{{{}}}", matchers.join(","))
            }
            (3, _) => {
                "{job=~\"api|web\",__name__=~\"(limit|queue.*|request_seconds_(sum|count))\"}".to_owned()
            }
            (4, _) => "nothing".to_owned(),
            (_, name) if matchers.is_empty() => name.to_owned(),
            (_, name) => format!("{name}{{{}}}", matchers.join(", ")),
        };
        (text, labels)
    }

    fn matcher(&mut self, metric: &Metric) -> String {
        let (name, values) = self.random.pick(metric.labels);
        let (value, other) = (self.random.pick(values), self.random.pick(values));
        let escaped = |value: &str| value.replace('.', "\\\\.").replace('+', "\\\\+");
        match self.random.below(12) {
            0..4 => format!("{name}=\"{value}\""),
            4 | 5 => format!("{name}!=\"{value}\""),
            6 | 7 => format!("{name}=~\"{}|{}\"", escaped(value), escaped(other)),
            8 => format!("{name}!~\"{}\"", escaped(value)),
            9 => format!("{name}=~\".+\""),
            10 => format!(
                "{name}=~\"{}.*\"",
                value.chars().next().filter(char::is_ascii_alphanumeric).unwrap_or('.')
            ),
            _ => format!("{name}=\"\""),
        }
    }

    fn selector(&mut self) -> Query {
        let (text, labels) = self.selected(|_| true);
        Query::Selector(text, self.shift(), labels)
    }

    /// A range vector: of a counter, mostly, where the function is made for counters.
    fn matrix_of(&mut self, fits: impl Fn(&Metric) -> bool, depth: usize) -> Query {
        if depth > 0 && self.random.chance(25) {
            let inner = self.vector(depth - 1);
            let range = self.random.pick(SUBQUERY_RANGES_S);
            let step = self.random.chance(80).then(|| self.random.pick(SUBQUERY_STEPS_S));
            return Query::Subquery(Box::new(inner), range, step, self.shift());
        }
        let (text, labels) = self.selected(fits);
        Query::Range(text, self.random.pick(RANGES_S), self.shift(), labels)
    }

    fn matrix(&mut self, depth: usize) -> Query {
        self.matrix_of(|_| true, depth)
    }

    fn vector(&mut self, depth: usize) -> Query {
        if depth == 0 {
            return self.selector();
        }
        match self.random.weighted(&[8, 10, 4, 26, 6, 18, 14, 10, 4, 6, 8, 4]) {
            0 => self.selector(),
            1 => {
                let name = self.random.pick(OF_VECTOR);
                Query::Call(name, vec![self.vector(depth - 1)])
            }
            2 => self.of_time(depth - 1),
            3 => self.of_matrix(depth - 1),
            4 => self.of_matrix_with_numbers(depth - 1),
            5 => self.aggregation(depth - 1, true),
            6 => self.between_vectors(depth - 1),
            7 => self.with_a_number(depth - 1),
            8 => self.labels_changed(depth - 1),
            9 => self.of_histogram(depth - 1),
            10 => self.of_vector_with_numbers(depth - 1),
            _ if self.random.chance(50) => Query::Paren(Box::new(self.vector(depth - 1))),
            _ => Query::Negate(Box::new(self.vector(depth - 1))),
        }
    }

    fn of_time(&mut self, depth: usize) -> Query {
        let name = self.random.pick(OF_TIME);
        let arguments = match self.random.below(4) {
            0 => Vec::new(),
            1 => vec![self.vector(depth)],
            2 => vec![Query::Call("timestamp", vec![self.vector(depth)])],
            _ => vec![Query::Call("vector", vec![self.scalar(depth)])],
        };
        Query::Call(name, arguments)
    }

    fn of_matrix(&mut self, depth: usize) -> Query {
        let name = self.random.pick(OF_MATRIX);
        let counts = matches!(name, "rate" | "increase" | "irate" | "resets");
        let is_counter = |metric: &Metric| matches!(metric.kind, Kind::Counter | Kind::Flow | Kind::Bucket);
        let only_counters = counts && self.random.chance(80);
        let matrix = self.matrix_of(|metric| !only_counters || is_counter(metric), depth);
        Query::Call(name, vec![matrix])
    }

    fn of_matrix_with_numbers(&mut self, depth: usize) -> Query {
        match self.random.below(3) {
            0 => {
                let quantile = self.parameter(QUANTILES, depth);
                Query::Call("quantile_over_time", vec![quantile, self.matrix(depth)])
            }
            1 => {
                let matrix = self.matrix(depth);
                Query::Call(
                    "predict_linear",
                    vec![matrix, self.parameter(&["0", "60", "3600", "-60"], depth)],
                )
            }
            _ => {
                let matrix = self.matrix(depth);
                let factors = ["0.1", "0.5", "0.9", "0.01", "0.3"];
                // Outside 0 to 1 it is a mistake, now and then.
                let mut factor = || {
                    if self.random.chance(2) { self.number(&["0", "1", "2"]) } else { self.number(&factors) }
                };
                let (smoothing, trend) = (factor(), factor());
                Query::Call("holt_winters", vec![matrix, smoothing, trend])
            }
        }
    }

    fn of_vector_with_numbers(&mut self, depth: usize) -> Query {
        let name = self.random.pick(&[
            "clamp",
            "clamp_max",
            "clamp_min",
            "round",
            "sort",
            "sort_desc",
            "absent",
            "timestamp",
            "vector",
            "timestamp",
        ]);
        let arguments = match name {
            "clamp" => {
                vec![self.vector(depth), self.parameter(NUMBERS, depth), self.parameter(NUMBERS, depth)]
            }
            "clamp_max" | "clamp_min" => vec![self.vector(depth), self.parameter(NUMBERS, depth)],
            "round" if self.random.chance(60) => {
                vec![self.vector(depth), self.parameter(&["0.1", "5", "0.25", "10", "-1", "0", "1e3"], depth)]
            }
            "vector" => vec![self.scalar(depth)],
            "timestamp" if self.random.chance(60) => vec![self.selector()],
            _ => vec![self.vector(depth)],
        };
        Query::Call(name, arguments)
    }

    fn of_histogram(&mut self, depth: usize) -> Query {
        let is_bucket = |metric: &Metric| metric.kind == Kind::Bucket;
        let (text, labels) = self.selected(is_bucket);
        let buckets = if self.random.chance(70) {
            let range = self.random.pick(&[120, 300, 600, 1500]);
            let name = self.random.pick(&["rate", "increase", "delta", "last_over_time"]);
            Query::Call(name, vec![Query::Range(text, range, self.shift(), labels)])
        } else {
            Query::Selector(text, self.shift(), labels)
        };
        let buckets = if self.random.chance(60) {
            let without = self.random.chance(25);
            let labels =
                if without { vec!["instance"] } else { vec!["le", self.random.pick(&["job", "shape"])] };
            Query::Aggregate("sum", Some(Grouping { without, labels }), None, Box::new(buckets))
        } else {
            buckets
        };
        match self.random.below(12) {
            0 => Query::Call("histogram_count", vec![self.vector(depth)]),
            1 => Query::Call("histogram_sum", vec![self.vector(depth)]),
            2 => {
                let (lower, upper) = (self.number(QUANTILES), self.number(NUMBERS));
                let inner = if self.random.chance(50) { buckets } else { self.vector(depth) };
                Query::Call("histogram_fraction", vec![lower, upper, inner])
            }
            3 => {
                let quantile = self.parameter(QUANTILES, depth);
                Query::Call("histogram_quantile", vec![quantile, self.vector(depth)])
            }
            _ => Query::Call("histogram_quantile", vec![self.parameter(QUANTILES, depth), buckets]),
        }
    }

    fn labels_changed(&mut self, depth: usize) -> Query {
        let inner = self.vector(depth);
        let source = self.label_of(&inner);
        let quoted = |name: &'static str| {
            *QUOTED.iter().find(|text| text.trim_matches('"') == name).unwrap_or(&"\"job\"")
        };
        let target = self.random.pick(&["\"new\"", "\"job\"", "\"instance\"", "\"__name__\""]);
        if self.random.chance(40) {
            let separator = Query::Text(self.random.pick(&["\"-\"", "\"\"", "\", \""]));
            let mut arguments = vec![inner, Query::Text(target), separator, Query::Text(quoted(source))];
            if self.random.chance(50) {
                arguments.push(Query::Text(self.random.pick(QUOTED)));
            }
            return Query::Call("label_join", arguments);
        }
        let pattern = self.random.pick(&[
            "\"(.*)\"",
            "\"(.).*\"",
            "\"([a-c]):(.*)\"",
            "\"\"",
            "\"none\"",
            "\".*(\\\\d+).*\"",
        ]);
        let replacement = self.random.pick(&["\"$1\"", "\"x-$1\"", "\"\"", "\"fixed\"", "\"${1}y$2\""]);
        let texts = [target, replacement, quoted(source), pattern].map(Query::Text);
        Query::Call("label_replace", [vec![inner], texts.to_vec()].concat())
    }

    /// A label of these series, or now and then one that they lack.
    fn label_of(&mut self, query: &Query) -> &'static str {
        let labels = query.labels();
        if labels.is_empty() || self.random.chance(5) {
            return self.random.pick(&["job", "instance", "nowhere", "le", "__name__"]);
        }
        self.random.pick(&labels)
    }

    fn some_labels(&mut self, query: &Query) -> Vec<&'static str> {
        let count = self.random.weighted(&[1, 6, 3, 1]);
        let mut labels: Vec<_> = (0..count).map(|_| self.label_of(query)).collect();
        labels.sort_unstable();
        labels.dedup();
        labels
    }

    /// An aggregation; without `grouped` its result is one value.
    fn aggregation(&mut self, depth: usize, grouped: bool) -> Query {
        let inner = self.vector(depth);
        let grouping = (grouped && self.random.chance(75))
            .then(|| Grouping { without: self.random.chance(30), labels: self.some_labels(&inner) });
        let (op, parameter) = match self.random.below(14) {
            0 => (
                self.random.pick(&["topk", "bottomk"]),
                Some(self.parameter(&["1", "2", "3", "5", "0", "-1", "100"], depth)),
            ),
            1 => (self.random.pick(&["topk", "bottomk"]), Some(self.number(&["1", "2", "3"]))),
            2 => ("quantile", Some(self.parameter(QUANTILES, depth))),
            3 => (
                "count_values",
                Some(Query::Text(self.random.pick(&["\"value\"", "\"job\"", "\"__name__\""]))),
            ),
            _ => (self.random.pick(AGGREGATIONS), None),
        };
        Query::Aggregate(op, grouping, parameter.map(Box::new), Box::new(inner))
    }

    fn with_a_number(&mut self, depth: usize) -> Query {
        let (vector, number) = (self.vector(depth), self.parameter(NUMBERS, depth));
        let compares = self.random.chance(45);
        let op = self.random.pick(if compares { COMPARISONS } else { ARITHMETIC });
        let matching = Matching { bool: compares && self.random.chance(40), ..Matching::default() };
        let sides = if self.random.chance(70) { (vector, number) } else { (number, vector) };
        Query::Binary(op, matching, Box::new(sides))
    }

    fn between_vectors(&mut self, depth: usize) -> Query {
        let kind = self.random.weighted(&[5, 3, 4]);
        let op = self.random.pick([ARITHMETIC, COMPARISONS, SETS][kind]);
        let bool = kind == 1 && self.random.chance(40);
        let left = self.vector(depth);
        let mut matching = Matching { bool, ..Matching::default() };
        let right = match self.random.below(10) {
            // The same series once more, in some other way.
            0..4 => self.like(&left),
            4..7 => {
                // One value for several series of the left side.
                let labels = self.some_labels(&left);
                let grouping = Grouping { without: false, labels: labels.clone() };
                let right = Query::Aggregate("max", Some(grouping), None, Box::new(self.like(&left)));
                matching.labels = Some((true, labels));
                if kind != 2 && self.random.chance(80) {
                    let copied = if self.random.chance(20) { vec![self.label_of(&left)] } else { Vec::new() };
                    matching.group = Some(("group_left", copied));
                }
                right
            }
            _ => self.vector(depth),
        };
        if matching.labels.is_none() && self.random.chance(30) {
            matching.labels = Some((self.random.chance(50), self.some_labels(&left)));
        }
        if matching.labels.is_none() || kind == 2 {
            matching.group = None;
        }
        // A label may not be in on() and in group_left() at once.
        if let (Some((true, on)), Some((_, copied))) = (&matching.labels, &mut matching.group) {
            copied.retain(|label| !on.contains(label));
        }
        let (left, right) = match &mut matching.group {
            Some((side, _)) if self.random.chance(40) => {
                *side = "group_right";
                (right, left)
            }
            _ => (left, right),
        };
        Query::Binary(op, matching, Box::new((left, right)))
    }

    /// A vector whose series have the labels of another.
    fn like(&mut self, other: &Query) -> Query {
        let copy = other.clone();
        match self.random.below(6) {
            0 => Query::Negate(Box::new(copy)),
            1 => Query::Call("abs", vec![copy]),
            2 => Query::Binary("*", Matching::default(), Box::new((copy, Query::Number("2")))),
            3 => Query::Binary(">", Matching::default(), Box::new((copy, Query::Number("0")))),
            4 => match copy {
                Query::Selector(text, _, labels) => Query::Selector(text, self.shift(), labels),
                other => other,
            },
            _ => copy,
        }
    }
}

const QUOTED: &[&str] = &[
    "\"job\"",
    "\"instance\"",
    "\"method\"",
    "\"code\"",
    "\"device\"",
    "\"direction\"",
    "\"cpu\"",
    "\"mode\"",
    "\"sensor\"",
    "\"queue\"",
    "\"case\"",
    "\"le\"",
    "\"shape\"",
    "\"version\"",
    "\"os\"",
    "\"severity\"",
    "\"a\"",
    "\"b\"",
    "\"every\"",
    "\"slot\"",
    "\"__name__\"",
    "\"nowhere\"",
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::query::Words;
    use super::*;

    #[test]
    fn a_seed_gives_the_same_queries() {
        let text = |seed| case(seed, 5).query.text(Words::Two);
        assert_eq!(text(1), text(1));
        assert_ne!(text(1), text(2));
    }

    #[test]
    fn everything_of_the_language_comes_up() {
        let mut seen = BTreeSet::new();
        for number in 0..4_000 {
            case(1, number).query.visit(&mut |node| {
                seen.insert(node.name());
            });
        }
        let numbers = [
            "clamp",
            "clamp_max",
            "clamp_min",
            "round",
            "sort",
            "sort_desc",
            "absent",
            "timestamp",
            "vector",
        ];
        let labels = ["label_replace", "label_join"];
        let histograms = ["histogram_quantile", "histogram_fraction", "histogram_sum", "histogram_count"];
        let windows = ["quantile_over_time", "predict_linear", "holt_winters"];
        let more = ["topk", "bottomk", "quantile", "count_values", "scalar", "time", "pi"];
        let lists: [&[&str]; 11] = [
            OF_VECTOR,
            OF_TIME,
            OF_MATRIX,
            AGGREGATIONS,
            COMPARISONS,
            ARITHMETIC,
            SETS,
            &numbers,
            &labels,
            &histograms,
            &windows,
        ];
        for name in lists.concat().into_iter().chain(more) {
            assert!(seen.contains(name), "{name} never comes up");
        }
    }
}
