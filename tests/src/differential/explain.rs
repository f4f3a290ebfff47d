//! Where two answers differ, and which documented change of Prometheus 3 explains it.
//!
//! A query that differs is taken apart until the smallest part is found whose own parts are alike: the node that makes the difference. A
//! rule looks at that node, at what goes into it and at both answers.

use std::collections::BTreeMap;

use super::answer::{Answer, Metric, Point, TOLERANCE, is_same};
use super::query::{At, Matching, Query, Shift, Type, When, Words};

/// Who answers: ours, then theirs.
pub trait Servers {
    /// Both answers.
    fn ask(&self, query: &Query, when: When) -> (Answer, Answer);
}

/// What was found about a difference.
#[derive(Debug)]
pub struct Found {
    /// The rule that explains it.
    pub rule: Option<&'static str>,
    /// The smallest part that differs, with both answers.
    pub text: String,
}

/// The smallest part of a query whose answers differ while those of its own parts are alike, and when it is asked.
struct Place {
    query: Query,
    when: When,
    ours: Answer,
    theirs: Answer,
}

/// Looks for the reason why these answers differ.
pub fn explain(servers: &dyn Servers, query: &Query, when: When, answers: (Answer, Answer)) -> Found {
    let query = query.pinned(when);
    let (ours, theirs) = servers.ask(&query, when);
    let (is_ours, is_theirs) =
        (ours.differs(&answers.0, 0.0).is_none(), theirs.differs(&answers.1, 0.0).is_none());
    if ours.differs(&theirs, TOLERANCE).is_none() && is_ours && !is_theirs {
        return Found { rule: Some(VARIES), text: "  asked once more, it answered as we do".to_owned() };
    }
    let place = smallest(servers, Place { query, when, ours, theirs }, TOLERANCE);
    let rule = rule(servers, &place);
    let difference = place.ours.differs(&place.theirs, TOLERANCE);
    let text = format!(
        "  part: {} {:?}\n    {difference:?}\n    ours:   {}\n    theirs: {}",
        place.query.text(Words::Two),
        place.when,
        short(&place.ours),
        short(&place.theirs)
    );
    Found { rule, text }
}

/// An answer's beginning.
fn short(answer: &Answer) -> String {
    let series = match answer {
        Answer::Series(series) => series,
        other => return format!("{other:?}"),
    };
    let mut text = format!("{} series", series.len());
    for (metric, points) in series.iter().take(4) {
        text.push_str(&format!("\n      {metric:?}: {:?}", &points[..points.len().min(4)]));
    }
    text
}

/// Descends as long as a part differs by itself.
fn smallest(servers: &dyn Servers, mut place: Place, tolerance: f64) -> Place {
    loop {
        let differs = |(part, when): (&Query, When)| {
            let comparable = matches!(part.kind(), Type::Scalar | Type::Vector);
            let (query, when) = match (comparable, part.parts(when)) {
                (true, _) => (part, when),
                // A subquery is looked into; a range selector is not.
                (false, parts) => *parts.first()?,
            };
            let (ours, theirs) = servers.ask(query, when);
            ours.differs(&theirs, tolerance).map(|_| Place { query: query.clone(), when, ours, theirs })
        };
        match place.query.parts(place.when).into_iter().find_map(differs) {
            Some(deeper) => place = deeper,
            None => return place,
        }
    }
}

/// A documented change that makes a difference, as `docs/conformance/differential.md` describes it.
struct Rule {
    name: &'static str,
    explains: fn(&Place, &dyn Servers) -> bool,
}

const VARIES: &str = "2.42 has another answer each time";

const RULES: &[Rule] = &[
    Rule { name: "atan2 drops the name (#12595)", explains: atan2 },
    Rule { name: "histogram_fraction of classic histograms (#16095)", explains: fraction_of_classic },
    Rule { name: "an infinite sum is no NaN (#14362)", explains: infinite_sum },
    Rule { name: "a window held by @ while another argument moves (#13559)", explains: held_window },
    Rule {
        name: "timestamp() of a selector with @ forgets its offset, in 3 too",
        explains: forgotten_offset,
    },
    Rule { name: "which of the same values topk takes", explains: ties },
    Rule { name: "where a counter began (#13725)", explains: beginning_of_counter },
    Rule { name: "no deviation of a single NaN or infinity (#14941)", explains: deviation_of_one },
    Rule { name: "several of one side, though a filter leaves one", explains: filtered_many },
    Rule { name: "series of the same labels at different times are one", explains: joined },
    Rule { name: "a subquery without a step answers with the next one", explains: step_after_window },
    Rule { name: "buckets apart by rounding alone are one (#13153)", explains: small_deltas },
    Rule { name: "a subquery with an offset whose first step is now forgets it within", explains: step_now },
    Rule { name: "a parameter of an aggregation held by @", explains: held_parameter },
    Rule { name: "count_values by its own label", explains: counted_by_its_label },
    Rule { name: "a reset out of last digits", explains: last_digits_as_reset },
    Rule { name: "labels out of last digits", explains: last_digits_as_labels },
    Rule { name: "last digits of large numbers", explains: last_digits_grown },
    Rule { name: "logarithms of the smallest numbers in Go 1.19", explains: logarithm_of_least },
    Rule { name: "powers of e next to infinity in Go 1.19", explains: power_next_to_infinity },
    Rule { name: VARIES, explains: answers_vary },
];

fn rule(servers: &dyn Servers, place: &Place) -> Option<&'static str> {
    RULES.iter().find(|rule| (rule.explains)(place, servers)).map(|rule| rule.name)
}

fn is(place: &Place, names: &[&str]) -> bool {
    names.contains(&place.query.name())
}

/// Whether series and times agree, some values differ, and all that do as `fits` says of ours and theirs.
fn values_differ(place: &Place, fits: impl Fn(f64, f64) -> bool) -> bool {
    let values = place.ours.different_values(&place.theirs, TOLERANCE).unwrap_or_default();
    !values.is_empty() && values.iter().all(|(ours, theirs)| fits(*ours, *theirs))
}

/// What is said where results of one label set meet: of two vectors one to one, and with `group_left`.
const COLLISIONS: [&str; 2] = ["same labelset", "grouping labels must ensure unique matches"];

fn collides(answer: &Answer) -> bool {
    matches!(answer, Answer::Error(_, text) if COLLISIONS.iter().any(|words| text.contains(words)))
}

/// 2.42 keeps the name of the left side, and all else is the same; where names alone told series apart, ours are too many of one name.
fn atan2(place: &Place, _: &dyn Servers) -> bool {
    let same = || place.theirs.without("__name__").differs(&place.ours, TOLERANCE).is_none();
    is(place, &["atan2"])
        && place.theirs != place.theirs.without("__name__")
        && (collides(&place.ours) || same())
}

/// 2.42 has no value for them.
fn fraction_of_classic(place: &Place, _: &dyn Servers) -> bool {
    is(place, &["histogram_fraction"]) && !place.theirs.is_something() && place.ours.is_something()
}

/// Compensated sums of 2.42 become NaN where they reach infinity.
fn infinite_sum(place: &Place, _: &dyn Servers) -> bool {
    let sums =
        ["avg_over_time", "sum_over_time", "stddev_over_time", "stdvar_over_time", "deriv", "predict_linear"];
    is(place, &sums) && values_differ(place, |ours, theirs| ours.is_infinite() && theirs.is_nan())
}

/// 2.42 moves the window on with the steps of a range query where another argument keeps the call from being the same at each step; at each
/// step asked alone it answers as we do.
fn held_window(place: &Place, servers: &dyn Servers) -> bool {
    let Query::Call("predict_linear" | "quantile_over_time" | "holt_winters", arguments) = &place.query
    else {
        return false;
    };
    let is_held = |argument: &Query| match argument {
        Query::Range(_, _, shift, _) | Query::Subquery(_, _, _, shift) => shift.at.is_some(),
        _ => false,
    };
    arguments.iter().any(is_held) && same_at_each_time(place, servers)
}

/// 2.42 moves a parameter on with the steps of a range query though `@` holds it; at each step asked alone it answers as we do.
fn held_parameter(place: &Place, servers: &dyn Servers) -> bool {
    let Query::Aggregate(_, _, Some(parameter), _) = &place.query else { return false };
    let mut held = false;
    parameter.visit(&mut |part| {
        if let Query::Selector(_, shift, _) | Query::Range(_, _, shift, _) | Query::Subquery(_, _, _, shift) =
            part
        {
            held |= shift.at.is_some();
        }
    });
    held && same_at_each_time(place, servers)
}

/// 2.42 drops any of the labels where the label of the values is among those to group by; without it there both say the same.
fn counted_by_its_label(place: &Place, servers: &dyn Servers) -> bool {
    let Query::Aggregate("count_values", Some(grouping), Some(parameter), inner) = &place.query else {
        return false;
    };
    let Query::Text(name) = **parameter else { return false };
    let is_it = |label: &&str| name.trim_matches('"') == *label;
    if grouping.without || !grouping.labels.iter().any(is_it) {
        return false;
    }
    let mut others = grouping.clone();
    others.labels.retain(|label| !is_it(label));
    let by_others = Query::Aggregate("count_values", Some(others), Some(parameter.clone()), inner.clone());
    let (ours, theirs) = servers.ask(&by_others, place.when);
    ours.differs(&theirs, TOLERANCE).is_none() && ours.differs(&place.ours, TOLERANCE).is_none()
}

/// Prometheus looks for the sample at the time of `@` among those up to that time less the offset. Ours is the time of the latest sample
/// before both, which the window of a range selector shows in both.
fn forgotten_offset(place: &Place, servers: &dyn Servers) -> bool {
    let Query::Call("timestamp", arguments) = &place.query else { return false };
    let mut inner = &arguments[0];
    while let Query::Paren(within) = inner {
        inner = within;
    }
    let Query::Selector(text, shift @ Shift { at: Some(At::Time(at)), offset: Some(_) }, labels) = inner
    else {
        return false;
    };
    let window = Query::Range(text.clone(), LOOKBACK_S, *shift, labels.clone());
    let (samples, others) = servers.ask(&window, When::Instant(*at));
    let (Answer::Series(samples), None) = (&samples, samples.differs(&others, 0.0)) else { return false };
    let unnamed = |(metric, points): &(Metric, Vec<Point>)| {
        let mut metric = metric.clone();
        metric.remove("__name__");
        (metric, points.last().map(|point| point.0))
    };
    let found: BTreeMap<Metric, Option<i64>> = samples.iter().map(unnamed).collect();
    if collides(&place.ours) {
        return found.len() < samples.len();
    }
    let Answer::Series(ours) = &place.ours else { return false };
    let latest = |metric: &Metric| found.get(metric).copied().flatten();
    ours.iter().all(|(metric, points)| {
        points.iter().all(|(_, value)| latest(metric).is_some_and(|time| time as f64 / 1000.0 == *value))
    })
}

/// How far back a selector looks for its sample, in both.
const LOOKBACK_S: i64 = 300;

/// Which of several series with the same value are taken depends on their order, which in 2.42 is that of a Go map: random.
fn ties(place: &Place, _: &dyn Servers) -> bool {
    let (ours, theirs) = (place.ours.values_by_time(), place.theirs.values_by_time());
    let same_values = |(ours, theirs): (&Vec<f64>, &Vec<f64>)| {
        ours.len() == theirs.len()
            && ours.iter().zip(theirs).all(|(ours, theirs)| is_same(*ours, *theirs, TOLERANCE))
    };
    is(place, &["topk", "bottomk"])
        && !ours.is_empty()
        && ours.keys().eq(theirs.keys())
        && ours.values().zip(theirs.values()).all(same_values)
}

/// Both formulas are computed from the samples: each side must answer exactly by its own.
fn beginning_of_counter(place: &Place, servers: &dyn Servers) -> bool {
    let Query::Call("rate" | "increase", arguments) = &place.query else { return false };
    let (Answer::Series(ours), Answer::Series(theirs)) = (&place.ours, &place.theirs) else { return false };
    let Some(computed) = Computed::of(servers, &arguments[0], place.when, place.query.name() == "rate")
    else {
        return false;
    };
    let is_all = |answer: &[(Metric, Vec<Point>)], which: fn(&(f64, f64)) -> f64| {
        let count: usize = answer.iter().map(|(_, points)| points.len()).sum();
        count == computed.0.len()
            && answer.iter().flat_map(|(metric, points)| points.iter().map(move |point| (metric, point))).all(
                |(metric, (at, value))| {
                    let both = computed.0.get(&(metric.clone(), *at));
                    both.is_some_and(|both| is_same(*value, which(both), TOLERANCE))
                },
            )
    };
    is_all(ours, |both| both.0) && is_all(theirs, |both| both.1)
}

/// `rate` or `increase` of each series and time: by 3's formula and by 2.42's.
struct Computed(BTreeMap<(Metric, i64), (f64, f64)>);

impl Computed {
    fn of(servers: &dyn Servers, window: &Query, when: When, per_second: bool) -> Option<Self> {
        let mut all = BTreeMap::new();
        for at in when.times() {
            let (left, right) = window.window(at)?;
            let (ours, theirs) = servers.ask(window, When::Instant(at));
            let (Answer::Series(series), None) = (&ours, ours.differs(&theirs, TOLERANCE)) else {
                return None;
            };
            for (metric, points) in series.iter().filter(|(_, points)| points.len() > 1) {
                let mut metric = metric.clone();
                metric.remove("__name__");
                let both = [true, false].map(|is_three| {
                    let increase = increase(points, left as f64, right as f64, is_three);
                    if per_second { increase / (right - left) as f64 } else { increase }
                });
                all.insert((metric, at * 1000), both.into());
            }
        }
        Some(Self(all))
    }
}

/// What a counter grew by between two times in seconds. Prometheus 3 holds the way back to the first sample's zero against where it would
/// begin otherwise; 2.42 against the whole window, and so goes further than half an interval where the zero lies between.
fn increase(points: &[Point], left: f64, right: f64, is_three: bool) -> f64 {
    let (first, last) = (points[0], points[points.len() - 1]);
    let resets = points.windows(2).filter(|pair| pair[1].1 < pair[0].1).map(|pair| pair[0].1);
    let grown = resets.fold(last.1 - first.1, |sum, before| sum + before);
    let (first_at, last_at) = (first.0 as f64 / 1000.0, last.0 as f64 / 1000.0);
    let (mut to_start, mut to_end, sampled) = (first_at - left, right - last_at, last_at - first_at);
    let interval = sampled / (points.len() - 1) as f64;
    let threshold = interval * 1.1;
    let to_zero = if grown > 0.0 && first.1 >= 0.0 { sampled * (first.1 / grown) } else { f64::INFINITY };
    if !is_three {
        to_start = to_start.min(to_zero);
    }
    if to_start >= threshold {
        to_start = interval / 2.0;
    }
    if is_three {
        to_start = to_start.min(to_zero);
    }
    if to_end >= threshold {
        to_end = interval / 2.0;
    }
    grown * ((sampled + to_start + to_end) / sampled)
}

/// 2.42 has 0 where a group holds one value only, whatever that is.
fn deviation_of_one(place: &Place, _: &dyn Servers) -> bool {
    is(place, &["stddev", "stdvar"]) && values_differ(place, |ours, theirs| ours.is_nan() && theirs == 0.0)
}

/// Of several series that match one, 2.42 counts only those that a comparison leaves; with `bool`, which leaves all, it errs as we do.
fn filtered_many(place: &Place, servers: &dyn Servers) -> bool {
    let Query::Binary("==" | "!=" | ">" | "<" | ">=" | "<=", matching, sides) = &place.query else {
        return false;
    };
    let is_ours =
        |answer: &Answer| matches!(answer, Answer::Error(_, text) if text.contains("must be explicit"));
    if matching.bool || !is_ours(&place.ours) || is_ours(&place.theirs) {
        return false;
    }
    let all = Query::Binary(place.query.name(), Matching { bool: true, ..matching.clone() }, sides.clone());
    let (ours, theirs) = servers.ask(&all, place.when);
    is_ours(&ours) && is_ours(&theirs)
}

/// Values that are the same but for their last digits are other labels; there are as many of them.
fn last_digits_as_labels(place: &Place, servers: &dyn Servers) -> bool {
    let counts = |answer: &Answer| {
        let sum = |(at, values): (i64, Vec<f64>)| (at, values.iter().sum::<f64>());
        answer.values_by_time().into_iter().map(sum).collect::<Vec<_>>()
    };
    is(place, &["count_values"])
        && counts(&place.ours) == counts(&place.theirs)
        && parts_round(place, servers)
}

/// Whether some part of the place differs in its last digits. 2.42 adds in the order of a Go map, another one each time.
fn parts_round(place: &Place, servers: &dyn Servers) -> bool {
    let rounds = |part: &Query, when: When| {
        (0..TIMES_ASKED).any(|_| {
            let (ours, theirs) = servers.ask(part, when);
            ours.differs(&theirs, 0.0).is_some()
        })
    };
    let vectors = |(part, _): &(&Query, When)| matches!(part.kind(), Type::Scalar | Type::Vector);
    place.query.parts(place.when).into_iter().filter(vectors).any(|(part, when)| rounds(part, when))
}

/// A last digit less is a reset of what should be a counter: what the steps of the subquery see differs in its last digits alone.
fn last_digits_as_reset(place: &Place, servers: &dyn Servers) -> bool {
    let Query::Call("rate" | "increase" | "irate" | "resets" | "changes", arguments) = &place.query else {
        return false;
    };
    let Some(window @ Query::Subquery(..)) = arguments.first() else { return false };
    let mut rounds = false;
    for at in place.when.times() {
        let (ours, theirs) = servers.ask(window, When::Instant(at));
        if ours.differs(&theirs, TOLERANCE).is_some() {
            return false;
        }
        rounds |= ours.differs(&theirs, 0.0).is_some();
    }
    rounds
}

/// Where large numbers cancel, or are angles of many turns, their last digits are all that is left: the difference lies within a few of
/// them, of the largest number that went in. Aggregations add up in an order of their own; all others must have been given numbers
/// that differ.
fn last_digits_grown(place: &Place, servers: &dyn Servers) -> bool {
    let adds = ["sum", "avg", "stddev", "sum_over_time", "avg_over_time", "stddev_over_time"];
    let cancels = ["+", "-", "%", "sin", "cos", "tan"];
    if !(is(place, &adds) || is(place, &cancels) && parts_round(place, servers)) {
        return false;
    }
    let values = |(part, when): (&Query, When)| match servers.ask(part, when).0 {
        Answer::Scalar((_, value)) => vec![value],
        answer => answer.values_by_time().into_values().flatten().collect(),
    };
    let all = place.query.parts(place.when).into_iter().flat_map(questions).flat_map(values);
    let all = all.filter(|value| value.is_finite());
    let largest = all.fold(0.0, |largest: f64, value| largest.max(value.abs()));
    // The tangent grows next to its poles: its derivative is 1 + tan².
    let steepness = |value: f64| if is(place, &["tan"]) { 1.0 + value * value } else { 1.0 };
    values_differ(place, |ours, theirs| {
        (ours - theirs).abs() <= LAST_DIGITS * largest * steepness(ours).max(steepness(theirs))
    })
}

/// How a part is asked for: a window is of one time.
fn questions((part, when): (&Query, When)) -> Vec<(&Query, When)> {
    match part.kind() {
        Type::Matrix => when.times().into_iter().map(|at| (part, When::Instant(at))).collect(),
        _ => vec![(part, when)],
    }
}

/// Prometheus 3 takes buckets for the same that differ by less than 1e-12 of both; 2.42 goes to the bucket that such a difference points at.
fn small_deltas(place: &Place, servers: &dyn Servers) -> bool {
    let Query::Call("histogram_quantile", arguments) = &place.query else { return false };
    let (ours, theirs) = servers.ask(&arguments[1], place.when);
    let is_small = |pair: &[f64]| pair[0] < pair[1] && pair[1] - pair[0] < 1e-12 * (pair[0] + pair[1]);
    let has_small = |answer: Answer| {
        answer.values_by_time().into_values().any(|mut values| {
            values.sort_by(f64::total_cmp);
            values.windows(2).any(is_small)
        })
    };
    has_small(ours) || has_small(theirs)
}

/// Some of the last binary digits.
const LAST_DIGITS: f64 = 16.0 * f64::EPSILON;

/// 2.42 refuses what has become two series of the same labels in a range query, even if they never are at the same step; each step
/// asked alone has the same answer in both.
fn joined(place: &Place, servers: &dyn Servers) -> bool {
    let refused = matches!(&place.theirs, Answer::Error(_, text) if text.contains("same labelset"));
    refused && place.ours.is_something() && same_at_each_time(place, servers)
}

/// A subquery of what never changes (all its selectors have `@`) has a first step in 2.42 even where none falls into its window; and what
/// cannot be evaluated there is an error.
fn step_after_window(place: &Place, _: &dyn Servers) -> bool {
    let When::Instant(at) = place.when else { return false };
    let is_empty = place.ours == Answer::Series(Vec::new());
    match &place.query {
        Query::Subquery(..) => {
            let right = place.query.window(at).map_or(i64::MAX, |(_, right)| right) * 1000;
            let times = place.theirs.values_by_time();
            is_empty && !times.is_empty() && times.keys().all(|time| *time > right)
        }
        Query::Call(_, arguments) => {
            let has_no_step = |argument: &Query| match (argument, argument.window(at)) {
                (Query::Subquery(_, _, step, _), Some((left, right))) => {
                    right.div_euclid(step.unwrap_or(60)) == left.div_euclid(step.unwrap_or(60))
                }
                _ => false,
            };
            is_empty && collides(&place.theirs) && arguments.iter().any(has_no_step)
        }
        _ => false,
    }
}

/// Where the first step of a subquery with an offset falls on the query's own time, 2.42 does not correct the offset of selectors with `@` in
/// it, and looks for them by that offset elsewhere; a second later, when it does not, both say the same.
fn step_now(place: &Place, servers: &dyn Servers) -> bool {
    let (at, later) = match place.when {
        When::Instant(at) => (at, When::Instant(at + 1)),
        When::Range { start, end, step } => (start, When::Range { start: start + 1, end: end + 1, step }),
    };
    let begins_now = |query: &Query| {
        let Query::Subquery(_, _, step, shift) = query else { return false };
        let (step, left) = (step.unwrap_or(60), query.window(at).map_or(at, |(left, _)| left));
        shift.offset.is_some_and(|offset| offset != 0) && left + (-left).rem_euclid(step) == at
    };
    let begins = match &place.query {
        Query::Call(_, arguments) => arguments.iter().any(begins_now),
        query => begins_now(query),
    };
    begins && {
        let (ours, theirs) = servers.ask(&place.query, later);
        // `absent_over_time` finds nothing now and then.
        let is_proof = ours.is_something() || ours.differs(&place.ours, TOLERANCE).is_none();
        is_proof && ours.differs(&theirs, TOLERANCE).is_none()
    }
}

/// Whether a range query's steps have the same answers in both when each is asked alone.
fn same_at_each_time(place: &Place, servers: &dyn Servers) -> bool {
    let same = |at: i64| {
        let (ours, theirs) = servers.ask(&place.query, When::Instant(at));
        ours.differs(&theirs, TOLERANCE).is_none()
    };
    matches!(place.when, When::Range { .. }) && place.when.times().into_iter().all(same)
}

/// Go 1.19's logarithm, in assembler on amd64, takes numbers below 2.2e-308 for some 1e-308.
fn logarithm_of_least(place: &Place, _: &dyn Servers) -> bool {
    let least = match place.query.name() {
        // Go takes a root by the logarithm.
        "^" => {
            return values_differ(place, |ours, theirs| {
                ours < theirs && theirs < f64::MIN_POSITIVE.powf(0.2)
            });
        }
        "ln" => f64::MIN_POSITIVE.ln(),
        "log2" => f64::MIN_POSITIVE.log2(),
        "log10" => f64::MIN_POSITIVE.log10(),
        _ => return false,
    };
    values_differ(place, |ours, theirs| ours < least && theirs > ours && theirs < least + 1.0)
}

/// Go 1.19's power of e, in assembler on amd64, is infinite from 2^1023.5 on; the hyperbolic functions are half of it.
fn power_next_to_infinity(place: &Place, _: &dyn Servers) -> bool {
    let least = match place.query.name() {
        "exp" => f64::MAX / 2.0,
        "sinh" | "cosh" => f64::MAX / 4.0,
        _ => return false,
    };
    values_differ(place, |ours, theirs| ours.abs() > least && theirs.is_infinite())
}

/// The order of a Go map decides, here or in a part: the same question has several answers.
fn answers_vary(place: &Place, servers: &dyn Servers) -> bool {
    let mut varies = false;
    for _ in 0..TIMES_ASKED {
        let (ours, theirs) = servers.ask(&place.query, place.when);
        if ours.differs(&place.ours, 0.0).is_some() {
            return false;
        }
        varies |= theirs.differs(&place.theirs, TOLERANCE).is_some();
    }
    varies
}

const TIMES_ASKED: usize = 20;
