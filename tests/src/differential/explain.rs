//! Where two answers differ, and which documented change of Prometheus 3 explains it.
//!
//! A query that differs is taken apart until the smallest part is found whose own parts are alike: the node that makes the difference. A
//! rule looks at that node, at what goes into it and at both answers.

use super::answer::{Answer, TOLERANCE};
use super::query::{Query, Type, When, Words};

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

/// Looks for the reason of a difference.
pub fn explain(servers: &dyn Servers, query: &Query, when: When) -> Found {
    let (query, when) = (query.pinned(when), when);
    let (ours, theirs) = servers.ask(&query, when);
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
    explains: fn(&Place) -> bool,
}

const RULES: &[Rule] = &[
    Rule { name: "atan2 drops the name (#12595)", explains: atan2 },
    Rule { name: "histogram_fraction of classic histograms (#16095)", explains: fraction_of_classic },
    Rule { name: "a sum that is infinite is no NaN (#14362)", explains: infinite_sum },
];

fn rule(_servers: &dyn Servers, place: &Place) -> Option<&'static str> {
    RULES.iter().find(|rule| (rule.explains)(place)).map(|rule| rule.name)
}

fn is(place: &Place, names: &[&str]) -> bool {
    names.contains(&place.query.name())
}

/// 2.42 keeps the name of the left side, and all else is the same; where names alone told series apart, ours are too many of one name.
fn atan2(place: &Place) -> bool {
    let same = || place.theirs.without("__name__").differs(&place.ours, TOLERANCE).is_none();
    let collides = matches!(&place.ours, Answer::Error(_, text) if text.contains("same labelset"));
    is(place, &["atan2"]) && place.theirs != place.theirs.without("__name__") && (collides || same())
}

/// 2.42 has no value for them.
fn fraction_of_classic(place: &Place) -> bool {
    is(place, &["histogram_fraction"]) && !place.theirs.is_something() && place.ours.is_something()
}

/// Compensated sums of 2.42 become NaN where they reach infinity.
fn infinite_sum(place: &Place) -> bool {
    let sums =
        ["avg_over_time", "sum_over_time", "stddev_over_time", "stdvar_over_time", "deriv", "predict_linear"];
    let values = place.ours.different_values(&place.theirs, TOLERANCE);
    is(place, &sums)
        && values
            .is_some_and(|values| values.iter().all(|(ours, theirs)| ours.is_infinite() && theirs.is_nan()))
}
