//! The series that random queries are asked of: counters with resets, gauges with odd values and gaps, classic histograms, series that
//! come and go, labels of many shapes. 170 minutes at 15 s across the end of a month; some 220 series, 120,000 samples.

use model::{Labels, Timestamp, stale_nan};

use super::random::Random;

/// 2025-03-01 00:00:00 UTC: queries look at the last hour of a February and the first of a March.
pub const MIDNIGHT_S: i64 = 1_740_787_200;
/// Samples lie this long after the grid.
pub const PHASE_S: i64 = 7;
/// Between two samples.
pub const STEP_S: i64 = 15;
/// The first point of the grid.
pub const FIRST_S: i64 = MIDNIGHT_S - 90 * 60;
/// Samples of a series without gaps. Prometheus keeps three hours in memory.
pub const COUNT: usize = 170 * 4;

/// A metric as the generator of queries knows it.
#[derive(Debug)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Its labels, and values that they have or could have.
    pub labels: &'static [(&'static str, &'static [&'static str])],
    /// How its values move.
    pub kind: Kind,
}

/// How values move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Whole numbers that grow and begin again.
    Counter,
    /// The same with fractions, and large.
    Flow,
    /// Up and down, below zero too.
    Gauge,
    /// Small whole numbers, many of them the same.
    Few,
    /// 0 and 1.
    Flag,
    /// Never another value.
    Constant,
    /// NaN, infinities, the largest and the smallest.
    Odd,
    /// Buckets of a classic histogram.
    Bucket,
}

const JOBS: &[&str] = &["api", "web"];
const INSTANCES: &[&str] = &["a:9100", "b:9100", "c:9100"];

/// All metrics.
pub const METRICS: &[Metric] = &[
    Metric {
        name: "http_requests_total",
        labels: &[
            ("job", JOBS),
            ("instance", INSTANCES),
            ("method", &["GET", "POST"]),
            ("code", &["200", "500"]),
        ],
        kind: Kind::Counter,
    },
    Metric {
        name: "bytes_total",
        labels: &[("instance", INSTANCES), ("device", &["eth0", "eth1"]), ("direction", &["in", "out"])],
        kind: Kind::Flow,
    },
    Metric {
        name: "cpu_seconds_total",
        labels: &[("instance", INSTANCES), ("cpu", &["0", "1", "2"]), ("mode", &["idle", "system", "user"])],
        kind: Kind::Flow,
    },
    Metric {
        name: "temperature",
        labels: &[("instance", INSTANCES), ("sensor", &["1", "2", "3"])],
        kind: Kind::Gauge,
    },
    Metric { name: "queue_length", labels: &[("job", JOBS), ("queue", &["x", "y", "z"])], kind: Kind::Few },
    Metric { name: "up", labels: &[("job", JOBS), ("instance", INSTANCES)], kind: Kind::Flag },
    Metric {
        name: "odd_values",
        labels: &[("case", &["nan", "inf", "huge", "tiny", "mixed", "zero"])],
        kind: Kind::Odd,
    },
    Metric {
        name: "request_seconds_bucket",
        labels: &[("job", JOBS), ("instance", INSTANCES), ("le", LE)],
        kind: Kind::Bucket,
    },
    Metric {
        name: "request_seconds_count",
        labels: &[("job", JOBS), ("instance", INSTANCES)],
        kind: Kind::Counter,
    },
    Metric {
        name: "request_seconds_sum",
        labels: &[("job", JOBS), ("instance", INSTANCES)],
        kind: Kind::Flow,
    },
    Metric {
        name: "sizes_bucket",
        labels: &[("shape", &["open", "broken", "falling", "single"]), ("le", &["1", "1e1", "100", "+Inf"])],
        kind: Kind::Bucket,
    },
    Metric {
        name: "node_info",
        labels: &[("instance", INSTANCES), ("version", &["1.0", "1.1"]), ("os", &["linux", "bsd"])],
        kind: Kind::Constant,
    },
    Metric { name: "limit", labels: &[("job", JOBS)], kind: Kind::Constant },
    Metric {
        name: "threshold",
        labels: &[("instance", INSTANCES), ("severity", &["warning", "critical"])],
        kind: Kind::Few,
    },
    Metric {
        name: "shapes",
        labels: &[("a", &["1", "\u{e9}", "x y\\\"z"]), ("b", &["2", "1"]), ("job", JOBS)],
        kind: Kind::Gauge,
    },
    Metric { name: "alpha", labels: &[("job", JOBS), ("instance", INSTANCES)], kind: Kind::Gauge },
    Metric { name: "beta", labels: &[("job", JOBS), ("instance", INSTANCES)], kind: Kind::Gauge },
    Metric { name: "sparse", labels: &[("every", &["60s", "240s", "315s", "660s"])], kind: Kind::Gauge },
    Metric {
        name: "coming",
        labels: &[("slot", &["0", "1", "2", "3", "4", "5", "6", "7"])],
        kind: Kind::Counter,
    },
];

/// Bounds of the buckets.
pub const LE: &[&str] = &["0.005", "0.05", "0.1", "0.5", "1", "2.5", "10", "+Inf"];

/// One series.
#[derive(Debug)]
pub struct Series {
    /// Its labels, the metric's name among them.
    pub labels: Labels,
    /// Its samples, in order of time; stale markers too.
    pub samples: Vec<(Timestamp, f64)>,
}

/// All series of a seed.
pub fn series(seed: u64) -> Vec<Series> {
    let mut all = Vec::new();
    for metric in METRICS {
        for pairs in combinations(metric) {
            let number = u64::try_from(all.len()).expect("hundreds");
            let mut random = Random::of(seed, number);
            let label =
                |name: &str| pairs.iter().find(|(have, _)| *have == name).map_or("", |(_, value)| *value);
            let values = match metric.kind {
                Kind::Bucket => buckets(metric.name, &pairs, seed),
                Kind::Odd => odd(label("case"), &mut random),
                kind => walk(kind, &mut random),
            };
            let presence = Presence::of(metric.name, label, &mut random);
            let named = [("__name__", metric.name)].into_iter().chain(pairs.iter().copied());
            all.push(Series {
                labels: Labels::from_pairs(named),
                samples: presence.thin(values, &mut random),
            });
        }
    }
    all
}

/// Which combinations of labels there are.
fn combinations(metric: &Metric) -> Vec<Vec<Pair>> {
    if metric.name == "shapes" {
        return SHAPES.iter().map(|shape| shape.to_vec()).collect();
    }
    let mut all = vec![Vec::new()];
    for (name, values) in metric.labels {
        let longer = |short: &Vec<Pair>| {
            let short = short.clone();
            values.iter().map(move |value| [&short[..], &[(*name, *value)]].concat())
        };
        all = all.iter().flat_map(longer).collect();
    }
    let is_there = |pairs: &Vec<(&str, &str)>| match metric.name {
        // The last bound lacks, or is the only one.
        "sizes_bucket" => !pairs.contains(&("shape", "open")) || !pairs.contains(&("le", "+Inf")),
        _ => true,
    };
    all.retain(is_there);
    for pairs in &mut all {
        match (metric.name, &pairs[..]) {
            ("sizes_bucket", [(_, "broken"), (_, "100")]) => pairs[1].1 = "many",
            ("sizes_bucket", [(_, "single"), (_, bound)]) if *bound != "+Inf" => pairs[0].1 = "none",
            _ => {}
        }
    }
    all
}

/// A label.
type Pair = (&'static str, &'static str);

const SHAPES: &[&[(&str, &str)]] = &[
    &[],
    &[("a", "1")],
    &[("a", "1"), ("b", "2")],
    &[("b", "2")],
    &[("a", "\u{e9}")],
    &[("a", "x y\\\"z"), ("b", "1")],
    &[("job", "api")],
    &[("a", "1"), ("b", "1"), ("job", "web"), ("long_name_of_a_label_that_goes_on_and_on", "v")],
];

/// When a series has samples.
enum Presence {
    Whole,
    Between(usize, usize, bool),
    Gaps,
    Every(usize),
}

impl Presence {
    fn of<'a>(metric: &str, label: impl Fn(&str) -> &'a str, random: &mut Random) -> Self {
        let third = COUNT / 3;
        match (metric, label("version"), label("every")) {
            (_, "1.0", _) => Self::Between(0, third + random.below(third), random.chance(70)),
            (_, "1.1", _) => Self::Between(third + random.below(third), COUNT, false),
            (_, _, every @ ("60s" | "240s" | "315s" | "660s")) => {
                let seconds: usize = every.trim_end_matches('s').parse().expect("a number");
                Self::Every(seconds / 15)
            }
            ("coming", ..) => {
                let from = random.below(COUNT - 40);
                Self::Between(from, from + 10 + random.below(COUNT - from - 10), random.chance(60))
            }
            ("up" | "alpha" | "odd_values", ..) => Self::Gaps,
            _ if random.chance(15) => Self::Gaps,
            _ if random.chance(8) => Self::Between(random.below(third), COUNT, false),
            _ if random.chance(8) => Self::Between(0, COUNT - random.below(third), random.chance(50)),
            _ => Self::Whole,
        }
    }

    /// The samples that are there, and stale markers.
    fn thin(&self, values: Vec<f64>, random: &mut Random) -> Vec<(Timestamp, f64)> {
        let at = |index: usize| {
            let steps = i64::try_from(index).expect("hundreds");
            Timestamp::from_millis((FIRST_S + PHASE_S + steps * STEP_S) * 1000)
        };
        let mut samples = Vec::new();
        let mut back = 0;
        for (index, value) in values.into_iter().enumerate() {
            match *self {
                Self::Between(from, to, marked) => {
                    if index == to && marked {
                        samples.push((at(index), stale_nan()));
                    }
                    if !(from..to).contains(&index) {
                        continue;
                    }
                }
                Self::Every(steps) if index % steps != 0 => continue,
                Self::Gaps if index < back => continue,
                Self::Gaps if random.below(60) == 0 => {
                    back = index + 2 + random.below(40);
                    if random.chance(50) {
                        samples.push((at(index), stale_nan()));
                    }
                    continue;
                }
                _ => {}
            }
            samples.push((at(index), value));
        }
        samples
    }
}

/// Values that follow one on another.
fn walk(kind: Kind, random: &mut Random) -> Vec<f64> {
    let mut value: f64 = match kind {
        Kind::Counter => random.below(1000) as f64,
        Kind::Flow => random.fraction() * 1e9,
        Kind::Gauge => (random.fraction() - 0.5) * 40.0,
        _ => random.below(5) as f64,
    };
    let pace = 1 + random.below(40);
    let next = |_| {
        match kind {
            Kind::Counter if random.below(150) == 0 => value = random.below(5) as f64,
            Kind::Counter => value += random.below(pace) as f64,
            Kind::Flow if random.below(200) == 0 => value = random.fraction(),
            Kind::Flow => value += random.fraction() * pace as f64 * 1e3,
            Kind::Gauge => value += random.fraction() - 0.5,
            Kind::Few if random.chance(20) => value = random.below(5) as f64,
            Kind::Flag => value = f64::from(random.chance(90)),
            _ => {}
        }
        value
    };
    (0..COUNT).map(next).collect()
}

fn odd(case: &str, random: &mut Random) -> Vec<f64> {
    let specials: &[f64] = match case {
        "nan" => &[f64::NAN],
        "inf" => &[f64::INFINITY, f64::NEG_INFINITY],
        "huge" => &[1e300, -1e300, f64::MAX],
        "tiny" => &[5e-324, 1e-300, -1e-310],
        "zero" => &[0.0, -0.0],
        _ => &[f64::NAN, f64::INFINITY, 0.0, -0.0, 1e18, -2.5],
    };
    let mut usual = 5.0;
    let next = |_| {
        usual += random.fraction() - 0.5;
        if random.chance(10) { random.pick(specials) } else { usual }
    };
    (0..COUNT).map(next).collect()
}

/// A bucket's counts: what its histogram observed so far at or below its bound. Buckets of one histogram share its random numbers.
fn buckets(metric: &str, pairs: &[Pair], seed: u64) -> Vec<f64> {
    let (rest, bound): (Vec<Pair>, Vec<Pair>) = pairs.iter().partition(|(name, _)| *name != "le");
    let bound: f64 = bound[0].1.parse().unwrap_or(50.0);
    let which = rest
        .iter()
        .flat_map(|(_, value)| value.bytes())
        .fold(7u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
    let mut random = Random::of(seed, which);
    let (scale, falls) = (if metric == "sizes_bucket" { 40.0 } else { 0.3 }, rest[0].1 == "falling");
    let mut count = 0.0;
    let next = |_| {
        if random.below(170) == 0 {
            count = 0.0;
        }
        for _ in 0..random.below(6) {
            let observed = -(1.0 - random.fraction()).ln() * scale;
            count += f64::from(observed <= bound);
        }
        // Buckets that were read one after the other: a later one may lie below.
        if falls && bound > 1.0 && random.chance(30) { count - 2.0 } else { count }
    };
    (0..COUNT).map(next).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn series_are_distinct_and_in_order_of_time() {
        let all = series(1);
        let names: BTreeSet<_> = all.iter().map(|one| one.labels.clone()).collect();
        assert_eq!(names.len(), all.len());
        assert!((150..400).contains(&all.len()), "{}", all.len());
        for one in &all {
            assert!(!one.samples.is_empty(), "{}", one.labels);
            assert!(one.samples.windows(2).all(|pair| pair[0].0 < pair[1].0), "{}", one.labels);
            let phase = |at: Timestamp| (at.as_millis() / 1000 - PHASE_S) % STEP_S;
            assert!(one.samples.iter().all(|(at, _)| phase(*at) == 0));
        }
    }

    #[test]
    fn a_seed_gives_the_same_series() {
        let text = |seed| format!("{:?}", series(seed));
        assert_eq!(text(3), text(3));
        assert_ne!(text(3), text(4));
    }
}
