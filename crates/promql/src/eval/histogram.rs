//! Histograms: quantiles and fractions of classic ones (series with a `le` label) and of native ones, and what else native ones tell.

use std::collections::HashSet;

use model::{Labels, METRIC_NAME};

use super::aggregate::Groups;
use super::group_key::GroupKey;
use super::native::Remarks;
use super::native::distribution::{self, Quantile};
use super::series::{Series, Stream};
use super::{Query, Result, Steps};
use crate::ast::Expr;
use crate::budget::{Column, Held, is_present};
use crate::error::QueryError;
use crate::number;

const BUCKET_LABEL: &str = "le";
/// Counts that differ by less than this share are equal: floating-point dust of sums and rates.
const TOLERANCE: f64 = 1e-12;

/// A cumulative bucket at one step.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bucket {
    upper: f64,
    count: f64,
}

/// The buckets of one histogram, over all steps, by ascending bound; or native histograms; or both, where there is neither.
struct Histogram {
    labels: Labels,
    drop_name: bool,
    buckets: Vec<(f64, Column)>,
    native: Option<Column>,
}

/// Buckets of a classic histogram, and native ones with the same labels.
type Parts = (Vec<(f64, Column)>, Option<Column>);

/// A histogram at one step.
enum Input<'h> {
    Classic(&'h mut Vec<Bucket>),
    Native(&'h model::Histogram),
}

impl Histogram {
    fn at(&self, step: usize, into: &mut Vec<Bucket>) {
        into.clear();
        for (upper, counts) in self.buckets.iter().filter(|(_, counts)| is_present(counts[step])) {
            match into.last_mut().filter(|last| last.upper == *upper) {
                Some(last) => last.count += counts[step],
                None => into.push(Bucket { upper: *upper, count: counts[step] }),
            }
        }
    }

    /// The native histogram of a step.
    fn native_at(&self, step: usize) -> Option<&model::Histogram> {
        Some(self.native.as_ref()?.histogram(step)?)
    }
}

impl<'q> Query<'q> {
    pub(super) fn histogram_quantile(&'q self, arguments: &'q [Expr], steps: Steps) -> Result<Stream<'q>> {
        let phi = self.scalar(&arguments[0], steps)?;
        phi.iter().for_each(|phi| self.check_quantile(&arguments[0], *phi));
        let vector = &arguments[1];
        let histograms = self.histograms(vector, steps)?;
        let quantiles = self.per_histogram(vector, histograms, steps, move |histogram, input, at| {
            self.quantile_of(vector, histogram, input, phi[at])
        });
        self.drop_names(quantiles, vector.has_one_name())
    }

    pub(super) fn histogram_quantiles(&'q self, arguments: &'q [Expr], steps: Steps) -> Result<Stream<'q>> {
        let (vector, label) = (&arguments[0], self.string(&arguments[1]));
        if label.is_empty() {
            return Err(QueryError::execution(format!("invalid label name {label:?}")));
        }
        let histograms = self.histograms(vector, steps)?;
        let mut all = Vec::new();
        for argument in &arguments[2..] {
            let phi = self.scalar(argument, steps)?;
            phi.iter().for_each(|phi| self.check_quantile(argument, *phi));
            for histogram in &histograms {
                let mut points = Column::absent(&self.budget, steps.count)?;
                self.fill(vector, histogram, &mut points, |histogram, input, at| {
                    self.quantile_of(vector, histogram, input, phi[at])
                });
                let mut labels = histogram.labels.to_builder();
                labels.set(label, &open_metrics(phi[0]));
                all.push(Ok(Series { labels: labels.build(), drop_name: histogram.drop_name, points }));
            }
        }
        let merged = self.merged(Box::new(all.into_iter()))?;
        self.drop_names(merged, vector.has_one_name())
    }

    pub(super) fn histogram_fraction(&'q self, arguments: &'q [Expr], steps: Steps) -> Result<Stream<'q>> {
        let lower = self.scalar(&arguments[0], steps)?;
        let upper = self.scalar(&arguments[1], steps)?;
        let vector = &arguments[2];
        let histograms = self.histograms(vector, steps)?;
        let fractions = self.per_histogram(vector, histograms, steps, move |histogram, input, at| match input {
            Input::Classic(buckets) => fraction(lower[at], upper[at], buckets),
            Input::Native(native) => {
                if native.sum.is_nan() && native.count != 0.0 {
                    let text = "input to histogram_fraction has NaN observations, which are excluded from all fractions";
                    Remarks::on(self, vector, &histogram.labels).inform_named(text);
                }
                distribution::fraction(lower[at], upper[at], native)
            }
        });
        self.drop_names(fractions, vector.has_one_name())
    }

    /// `histogram_count` and its like, of native histograms alone.
    pub(super) fn histogram_call(
        &'q self,
        name: &'static str,
        argument: &'q Expr,
        steps: Steps,
    ) -> Result<Stream<'q>> {
        let value: fn(&model::Histogram) -> f64 = match name {
            "histogram_avg" => |histogram| histogram.sum / histogram.count,
            "histogram_count" => |histogram| histogram.count,
            "histogram_sum" => |histogram| histogram.sum,
            "histogram_stddev" => |histogram| distribution::variance(histogram).sqrt(),
            _ => distribution::variance,
        };
        // As in Prometheus, which decodes no buckets for these and finds resets while it reads.
        let detects = matches!(name, "histogram_avg" | "histogram_count" | "histogram_sum");
        let values = self.vector_detecting(argument, steps, detects)?.map(move |series| {
            let series = series?;
            let mut points = Column::absent(&self.budget, steps.count)?;
            for (at, point) in points.iter_mut().enumerate() {
                if let Some(histogram) = series.points.histogram(at) {
                    *point = value(histogram);
                }
            }
            Ok(Series { points, ..series })
        });
        self.drop_names(Box::new(values), argument.has_one_name())
    }

    fn quantile_of(&self, vector: &Expr, histogram: &Histogram, input: Input<'_>, phi: f64) -> f64 {
        let remarks = Remarks::on(self, vector, &histogram.labels);
        match input {
            Input::Classic(buckets) => {
                let (quantile, forced) = quantile(phi, buckets);
                if forced {
                    let link = "see https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile";
                    remarks.inform_named(&format!(
                        "input to histogram_quantile needed to be fixed for monotonicity ({link})"
                    ));
                }
                quantile
            }
            Input::Native(native) => {
                let what = "input to histogram_quantile has NaN observations, result is";
                match distribution::quantile(phi, native) {
                    Quantile::Plain(value) => value,
                    Quantile::Skewed(value) => {
                        remarks.inform_named(&format!("{what} skewed higher"));
                        value
                    }
                    Quantile::NotANumber => {
                        remarks.inform_named(&format!("{what} NaN"));
                        f64::NAN
                    }
                }
            }
        }
    }

    /// Collects the buckets of each classic histogram, and the native ones.
    fn histograms(&'q self, vector: &'q Expr, steps: Steps) -> Result<Vec<Histogram>> {
        let mut groups: Groups<Parts> = Groups::new(GroupKey::all_but_keeping_name(BUCKET_LABEL));
        let mut warned = HashSet::new();
        let mut with_label = Vec::new();
        for series in self.vector_detecting(vector, steps, false)? {
            let mut series = series?;
            if let Some(native) = native_part(self, &mut series)? {
                if series.labels.get(BUCKET_LABEL).is_some() {
                    with_label.push((series.labels.clone(), series.drop_name, native));
                } else {
                    groups.of(&series, || Ok((Vec::new(), None)))?.1 = Some(native);
                }
                if !series.points.has_any() {
                    continue;
                }
            }
            let text = series.labels.get(BUCKET_LABEL).unwrap_or_default();
            let Some(upper) = parse_bound(text) else {
                let name = series.labels.get(METRIC_NAME).unwrap_or_default();
                if warned.len() < 100 && warned.insert((text.to_owned(), name.to_owned())) {
                    let what = "bucket label \"le\" is missing or has a malformed value of";
                    Remarks::on(self, vector, &series.labels).warn_named(&format!("{what} {text:?}"));
                }
                continue;
            };
            groups.of(&series, || Ok((Vec::new(), None)))?.0.push((upper, series.points));
        }
        let all = groups.all.into_iter().map(|(labels, drop_name, (mut buckets, native))| {
            buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
            Histogram { labels, drop_name, buckets, native }
        });
        let alone = with_label.into_iter().map(|(labels, drop_name, native)| Histogram {
            labels,
            drop_name,
            buckets: Vec::new(),
            native: Some(native),
        });
        Ok(all.chain(alone).collect())
    }

    fn per_histogram(
        &'q self,
        vector: &'q Expr,
        histograms: Vec<Histogram>,
        steps: Steps,
        function: impl Fn(&Histogram, Input<'_>, usize) -> f64 + 'q,
    ) -> Stream<'q> {
        Box::new(histograms.into_iter().map(move |histogram| {
            let mut points = Column::absent(&self.budget, steps.count)?;
            self.fill(vector, &histogram, &mut points, &function);
            Ok(Series { labels: histogram.labels, drop_name: histogram.drop_name, points })
        }))
    }

    fn fill(
        &self,
        vector: &Expr,
        histogram: &Histogram,
        points: &mut Column,
        function: impl Fn(&Histogram, Input<'_>, usize) -> f64,
    ) {
        let mut buckets = Vec::new();
        for (at, point) in points.iter_mut().enumerate() {
            histogram.at(at, &mut buckets);
            match histogram.native_at(at) {
                Some(_) if !buckets.is_empty() => {
                    Remarks::on(self, vector, &histogram.labels).mixed_with_classic();
                }
                Some(native) => *point = function(histogram, Input::Native(native), at),
                None if buckets.is_empty() => {}
                None => *point = function(histogram, Input::Classic(&mut buckets), at),
            }
        }
    }
}

/// Takes the histograms out of a series.
fn native_part(query: &Query<'_>, series: &mut Series) -> Result<Option<Column>> {
    if !series.points.has_histograms() {
        return Ok(None);
    }
    let mut native = Column::absent(&query.budget, series.points.len())?;
    for at in 0..native.len() {
        if let Held::Histogram(_) = series.points.held(at) {
            native.copy(at, &series.points, at)?;
        }
    }
    series.points.drop_histograms();
    Ok(Some(native))
}

/// A bucket's bound, as Go's `ParseFloat` reads it.
fn parse_bound(text: &str) -> Option<f64> {
    let lower = text.to_ascii_lowercase();
    let unsigned = lower.strip_prefix(['+', '-']).unwrap_or(&lower);
    match unsigned {
        "inf" | "infinity" => Some(if lower.starts_with('-') { f64::NEG_INFINITY } else { f64::INFINITY }),
        "nan" => None,
        _ if unsigned.starts_with("0x") => {
            number::parse(unsigned).map(|v| if lower.starts_with('-') { -v } else { v })
        }
        _ => text.parse().ok(),
    }
}

/// A float as OpenMetrics writes it: whole numbers with `.0`.
fn open_metrics(value: f64) -> String {
    let text = number::format_short(value);
    if value.is_finite() && !text.contains(['.', 'e']) { format!("{text}.0") } else { text }
}

/// The φ-quantile, and whether counts had to be forced to ascend.
fn quantile(phi: f64, buckets: &mut [Bucket]) -> (f64, bool) {
    let Some(last) = buckets.last() else {
        return (f64::NAN, false);
    };
    if phi.is_nan() {
        return (f64::NAN, false);
    }
    if phi < 0.0 {
        return (f64::NEG_INFINITY, false);
    }
    if phi > 1.0 {
        return (f64::INFINITY, false);
    }
    if last.upper != f64::INFINITY {
        return (f64::NAN, false);
    }
    let forced = force_ascending(buckets);
    let count = buckets.len();
    let observations = buckets[count - 1].count;
    if count < 2 || observations == 0.0 {
        return (f64::NAN, forced);
    }
    (interpolate(phi * observations, buckets), forced)
}

/// The value below which `rank` observations lie, were they spread evenly within their bucket.
fn interpolate(rank: f64, buckets: &[Bucket]) -> f64 {
    let count = buckets.len();
    let at = first_that_holds(rank, &buckets[..count - 1]);
    if at == count - 1 {
        return buckets[count - 2].upper;
    }
    let bucket = buckets[at];
    if at == 0 && bucket.upper <= 0.0 {
        return bucket.upper;
    }
    let (start, below) = if at == 0 { (0.0, 0.0) } else { (buckets[at - 1].upper, buckets[at - 1].count) };
    start + (bucket.upper - start) * ((rank - below) / (bucket.count - below))
}

/// The bucket that Go's `sort.Search` ends at, as Prometheus uses it: of counts that are no numbers, of which none holds anything, another
/// way of halving would find another one.
fn first_that_holds(rank: f64, buckets: &[Bucket]) -> usize {
    let (mut low, mut high) = (0, buckets.len());
    while low < high {
        let middle = low + (high - low) / 2;
        if buckets[middle].count >= rank {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

/// Makes cumulative counts ascend; says whether more than rounding was wrong.
fn force_ascending(buckets: &mut [Bucket]) -> bool {
    let mut forced = false;
    let mut previous = buckets[0].count;
    for bucket in &mut buckets[1..] {
        if bucket.count == previous {
            continue;
        }
        if nearly_equal(previous, bucket.count) {
            bucket.count = previous;
        } else if bucket.count < previous {
            bucket.count = previous;
            forced = true;
        } else {
            previous = bucket.count;
        }
    }
    forced
}

fn nearly_equal(a: f64, b: f64) -> bool {
    let sum = a.abs() + b.abs();
    let difference = (a - b).abs();
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < TOLERANCE * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < TOLERANCE
}

/// The share of observations between two values.
fn fraction(lower: f64, upper: f64, buckets: &mut [Bucket]) -> f64 {
    let Some(last) = buckets.last().filter(|last| last.upper == f64::INFINITY) else {
        return f64::NAN;
    };
    let count = last.count;
    if count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let share = rank_of(upper, buckets).min(count) - rank_of(lower, buckets).min(count);
    share / count
}

/// How many observations lie below a value.
fn rank_of(value: f64, buckets: &[Bucket]) -> f64 {
    let mut below = Bucket { upper: f64::NEG_INFINITY, count: 0.0 };
    for (at, bucket) in buckets.iter().enumerate() {
        let start = if at == 0 && bucket.upper > 0.0 { 0.0 } else { below.upper };
        if start >= value {
            return below.count;
        }
        if bucket.upper > value {
            if start == f64::NEG_INFINITY || bucket.upper == f64::INFINITY {
                // Nobody knows where in an endless bucket they lie: at its far end from zero.
                return if bucket.upper == f64::INFINITY { below.count } else { bucket.count };
            }
            return below.count + (bucket.count - below.count) * (value - start) / (bucket.upper - start);
        }
        below = *bucket;
    }
    below.count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(pairs: &[(f64, f64)]) -> Vec<Bucket> {
        pairs.iter().map(|&(upper, count)| Bucket { upper, count }).collect()
    }

    fn check(phi: f64, pairs: &[(f64, f64)], expected: f64) {
        let (value, _) = quantile(phi, &mut buckets(pairs));
        assert!(value == expected || (value.is_nan() && expected.is_nan()), "{phi} of {pairs:?}: {value}");
    }

    #[test]
    fn quantiles_lie_in_their_bucket() {
        let inf = f64::INFINITY;
        check(0.5, &[(1.0, 10.0), (2.0, 20.0), (inf, 20.0)], 1.0);
        check(0.75, &[(1.0, 10.0), (2.0, 20.0), (inf, 20.0)], 1.5);
        check(1.0, &[(1.0, 10.0), (2.0, 20.0), (inf, 30.0)], 2.0);
        check(0.5, &[(1.0, 10.0)], f64::NAN);
        check(0.5, &[(1.0, 0.0), (inf, 0.0)], f64::NAN);
        check(2.0, &[(inf, 1.0)], inf);
        // Found by random queries beside Prometheus: of counts that are no numbers it answers the last bound but one.
        check(0.0, &[(1.0, f64::NAN), (2.0, f64::NAN), (inf, f64::NAN)], 2.0);
        check(0.5, &[(1.0, 1.0), (2.0, f64::NAN), (inf, 4.0)], 2.0);
    }

    #[test]
    fn falling_counts_are_lifted_and_dust_is_not_reported() {
        let inf = f64::INFINITY;
        assert!(force_ascending(&mut buckets(&[(1.0, 10.0), (2.0, 5.0), (inf, 20.0)])));
        assert!(!force_ascending(&mut buckets(&[(1.0, 10.0), (2.0, 10.0 - 1e-14), (inf, 20.0)])));
    }

    #[test]
    fn fractions_add_up() {
        let mut all = buckets(&[(1.0, 10.0), (2.0, 20.0), (f64::INFINITY, 40.0)]);
        assert_eq!(fraction(0.0, 1.0, &mut all), 0.25);
        assert_eq!(fraction(0.5, 1.5, &mut all), 0.25);
        assert_eq!(fraction(f64::NEG_INFINITY, f64::INFINITY, &mut all), 1.0);
    }
}
