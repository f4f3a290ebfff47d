//! Answers of either server, and whether two are the same.

use std::collections::BTreeMap;

use serde_json::Value as Json;

/// Two numbers are the same within this part of the larger. Both engines compute with 64 bits, but add in another order (2.42 adds the
/// values of a group plainly, 3 with Kahan's compensation) and with other libraries for sines and logarithms: results differ in the last
/// of some 15.9 digits, and a few dozen operations on 700 samples leave 12 of them. 9 digits are far from both that and any real fault.
pub const TOLERANCE: f64 = 1e-9;

/// A series' labels as pairs in the order of their names.
pub type Metric = BTreeMap<String, String>;

/// A time in milliseconds and a value.
pub type Point = (i64, f64);

/// What a server answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// No value: the kind of error and its text.
    Error(String, String),
    /// A text.
    Text(String),
    /// A number.
    Scalar(Point),
    /// Series with their points (one for an instant query), in the order of the answer.
    Series(Vec<(Metric, Vec<Point>)>),
}

/// How two answers differ.
#[derive(Clone, Debug, PartialEq)]
pub enum Difference {
    /// Only one is an error, or of another kind.
    Kind,
    /// One has a series that the other lacks, or a point at a time where the other has none.
    Places(String),
    /// Values at a place.
    Values(String, f64, f64),
}

impl Answer {
    /// Reads the API's reply.
    ///
    /// # Panics
    /// Where it is none.
    pub fn read(json: &Json) -> Self {
        let text = |json: &Json| json.as_str().unwrap_or_default().to_owned();
        if json["status"] != "success" {
            return Self::Error(text(&json["errorType"]), text(&json["error"]));
        }
        let result = &json["data"]["result"];
        match json["data"]["resultType"].as_str().unwrap_or_default() {
            "string" => Self::Text(text(&result[1])),
            "scalar" => Self::Scalar(point(result)),
            "vector" | "matrix" => {
                Self::Series(result.as_array().expect("a list").iter().map(series).collect())
            }
            other => panic!("a result of type {other:?}"),
        }
    }

    /// Whether it is a value with something in it.
    pub fn is_something(&self) -> bool {
        match self {
            Self::Error(..) => false,
            Self::Series(series) => !series.is_empty(),
            _ => true,
        }
    }

    /// The values of all series at each time, smallest first.
    pub fn values_by_time(&self) -> BTreeMap<i64, Vec<f64>> {
        let Self::Series(series) = self else { return BTreeMap::new() };
        let mut all: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
        for (at, value) in series.iter().flat_map(|(_, points)| points) {
            all.entry(*at).or_default().push(*value);
        }
        all.values_mut().for_each(|values| values.sort_by(f64::total_cmp));
        all
    }

    /// All pairs of values that differ, ours first; `None` where series or times do not agree.
    pub fn different_values(&self, other: &Self, tolerance: f64) -> Option<Vec<(f64, f64)>> {
        let (ours, theirs) = match (self, other) {
            (Self::Scalar(ours), Self::Scalar(theirs)) => (vec![*ours], vec![*theirs]),
            (Self::Series(ours), Self::Series(theirs)) => {
                let by_metric: BTreeMap<_, _> =
                    theirs.iter().map(|(metric, points)| (metric, points)).collect();
                let theirs = ours
                    .iter()
                    .map(|(metric, _)| by_metric.get(metric).copied())
                    .collect::<Option<Vec<_>>>()?;
                (
                    ours.iter().flat_map(|(_, points)| points.clone()).collect(),
                    theirs.into_iter().flatten().copied().collect(),
                )
            }
            _ => return None,
        };
        let same_times = ours.iter().map(|point| point.0).eq(theirs.iter().map(|point: &Point| point.0));
        let pairs = ours.iter().zip(&theirs).map(|(ours, theirs)| (ours.1, theirs.1));
        same_times.then(|| pairs.filter(|(ours, theirs)| !is_same(*ours, *theirs, tolerance)).collect())
    }

    /// The same without this label.
    #[must_use]
    pub fn without(&self, label: &str) -> Self {
        let Self::Series(series) = self else { return self.clone() };
        let mut series = series.clone();
        series.iter_mut().for_each(|(metric, _)| drop(metric.remove(label)));
        Self::Series(series)
    }

    /// The first difference; `tolerance` 0 wants the same bits, but for the kinds of NaN, which are not printed.
    pub fn differs(&self, other: &Self, tolerance: f64) -> Option<Difference> {
        match (self, other) {
            (Self::Error(ours, _), Self::Error(theirs, _)) => (ours != theirs).then_some(Difference::Kind),
            (Self::Text(ours), Self::Text(theirs)) => (ours != theirs).then_some(Difference::Kind),
            (Self::Scalar(ours), Self::Scalar(theirs)) => {
                compare("the number", &[*ours], &[*theirs], tolerance)
            }
            (Self::Series(ours), Self::Series(theirs)) => compare_series(ours, theirs, tolerance),
            _ => Some(Difference::Kind),
        }
    }
}

fn point(json: &Json) -> Point {
    let millis = (json[0].as_f64().expect("a time") * 1000.0).round();
    (millis as i64, json[1].as_str().and_then(|text| text.parse().ok()).expect("a value"))
}

fn series(json: &Json) -> (Metric, Vec<Point>) {
    let labels = json["metric"].as_object().expect("labels");
    let metric =
        labels.iter().map(|(name, value)| (name.clone(), value.as_str().expect("a text").to_owned()));
    let points = match json["values"].as_array() {
        Some(values) => values.iter().map(point).collect(),
        None => vec![point(&json["value"])],
    };
    (metric.collect(), points)
}

fn compare_series(
    ours: &[(Metric, Vec<Point>)],
    theirs: &[(Metric, Vec<Point>)],
    tolerance: f64,
) -> Option<Difference> {
    let by_metric: BTreeMap<&Metric, &Vec<Point>> =
        theirs.iter().map(|(metric, points)| (metric, points)).collect();
    for (metric, points) in ours {
        let Some(others) = by_metric.get(metric) else {
            return Some(Difference::Places(format!("only ours has {metric:?}")));
        };
        if let Some(difference) = compare(&format!("{metric:?}"), points, others, tolerance) {
            return Some(difference);
        }
    }
    if ours.len() != theirs.len() {
        let lacking = theirs.iter().find(|(metric, _)| !ours.iter().any(|(have, _)| have == metric));
        return Some(Difference::Places(format!("only theirs has {:?}", lacking.map(|(metric, _)| metric))));
    }
    None
}

fn compare(place: &str, ours: &[Point], theirs: &[Point], tolerance: f64) -> Option<Difference> {
    let times = |points: &[Point]| points.iter().map(|point| point.0).collect::<Vec<_>>();
    if times(ours) != times(theirs) {
        let (ours, theirs) = (times(ours), times(theirs));
        return Some(Difference::Places(format!("{place} has points at {ours:?} and at {theirs:?}")));
    }
    let pairs = ours.iter().zip(theirs);
    let different = |(ours, theirs): &(&Point, &Point)| !is_same(ours.1, theirs.1, tolerance);
    pairs
        .into_iter()
        .find(different)
        .map(|(ours, theirs)| Difference::Values(format!("{place} at {}", ours.0 / 1000), ours.1, theirs.1))
}

/// Whether two numbers are the same within a relative tolerance; NaN is NaN, and 0 is -0 unless bits are wanted.
pub fn is_same(ours: f64, theirs: f64, tolerance: f64) -> bool {
    if ours.is_nan() || theirs.is_nan() {
        return ours.is_nan() && theirs.is_nan();
    }
    if tolerance == 0.0 {
        return ours.to_bits() == theirs.to_bits();
    }
    // Infinities are the same or not; the largest finite numbers may not be subtracted.
    ours == theirs
        || (ours.is_finite()
            && theirs.is_finite()
            && (ours / 2.0 - theirs / 2.0).abs() <= tolerance / 2.0 * ours.abs().max(theirs.abs()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_are_the_same_within_the_tolerance() {
        let max = f64::MAX;
        for (ours, theirs, same) in [
            (1.0, 1.0 + 1e-10, true),
            (1.0, 1.0 + 1e-8, false),
            (f64::NAN, -f64::NAN, true),
            (f64::NAN, 1.0, false),
            (f64::INFINITY, f64::INFINITY, true),
            (f64::INFINITY, f64::NEG_INFINITY, false),
            (f64::INFINITY, max, false),
            (max, -max, false),
            (0.0, -0.0, true),
            (0.0, 1e-300, false),
        ] {
            assert_eq!(is_same(ours, theirs, TOLERANCE), same, "{ours} {theirs}");
        }
        assert!(!is_same(0.0, -0.0, 0.0));
    }

    #[test]
    fn series_are_compared_by_their_labels() {
        let read = |result: Json| {
            Answer::read(&json!({"status": "success", "data": {"resultType": "matrix", "result": result}}))
        };
        let one =
            read(json!([{"metric": {"a": "1"}, "values": [[1, "2"]]}, {"metric": {}, "values": [[1, "3"]]}]));
        let other =
            read(json!([{"metric": {}, "values": [[1, "3"]]}, {"metric": {"a": "1"}, "values": [[1, "2"]]}]));
        assert_eq!(one.differs(&other, 0.0), None);
        let late =
            read(json!([{"metric": {}, "values": [[2, "3"]]}, {"metric": {"a": "1"}, "values": [[1, "2"]]}]));
        assert!(matches!(one.differs(&late, 0.0), Some(Difference::Places(_))));
        let fewer = read(json!([{"metric": {}, "values": [[1, "3"]]}]));
        assert!(matches!(one.differs(&fewer, 0.0), Some(Difference::Places(_))));
        assert!(matches!(fewer.differs(&one, 0.0), Some(Difference::Places(_))));
        let error = Answer::read(&json!({"status": "error", "errorType": "execution", "error": "x"}));
        assert_eq!(one.differs(&error, 0.0), Some(Difference::Kind));
    }
}
