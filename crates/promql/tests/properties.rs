//! Laws: a range query is its instant queries, limits hold whatever is asked, and nothing that a stranger writes brings the
//! evaluator down.

#[path = "conformance/store.rs"]
#[allow(dead_code, reason = "the scripts need more of it")]
mod store;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use model::{
    Buckets, Columns, Histogram, Labels, ResetHint, Selection, SeriesSet, SeriesSource, SourceError,
    Timestamp, stale_nan,
};
use promql::{Answer, Features, Interrupt, Options, QueryError, Threads, Value};
use proptest::prelude::*;
use store::Store;

const STEP_MS: i64 = 15_000;

fn sample() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![
        12 => (0u32..50).prop_map(|value| Some(f64::from(value))),
        3 => Just(None),
        1 => Just(Some(stale_nan())),
        1 => Just(Some(f64::NAN)),
        1 => Just(Some(f64::INFINITY)),
    ]
}

/// A native histogram made of a number; schemas, bounds and hints differ.
fn histogram(value: f64) -> Histogram {
    let count = value.max(0.0);
    let (schema, custom) =
        if value % 5.0 == 4.0 { (Histogram::CUSTOM, vec![1.0, 2.0]) } else { (0, Vec::new()) };
    Histogram {
        schema: if value % 3.0 == 1.0 && schema == 0 { 1 } else { schema },
        count: 2.0 * count,
        sum: value,
        positive: Buckets::dense(0, vec![count, 0.0, count]),
        custom_bounds: custom,
        reset: if value % 11.0 == 10.0 { ResetHint::Gauge } else { ResetHint::Unknown },
        ..Histogram::default()
    }
}

/// Up to eight series of three metrics with gaps, stale markers and odd values, at an odd phase: numbers, numbers with some histograms
/// among them, and histograms.
fn store() -> impl Strategy<Value = Store> {
    prop::collection::vec(prop::collection::vec(sample(), 0..40), 8).prop_map(|all| {
        let mut store = Store::default();
        store.clear();
        for (at, samples) in all.iter().enumerate() {
            let name = ["a_total", "b_total", "a_total", "h_total"][at % 4];
            let (site, le) = (format!("s{}", at / 4), format!("{}", at / 2 % 2));
            let labels = Labels::from_pairs([("__name__", name), ("site", &site), ("le", &le)]);
            for (step, value) in samples.iter().enumerate() {
                let time = step as i64 * STEP_MS + 3;
                match value {
                    Some(value)
                        if value.is_finite()
                            && (name == "h_total" || (name == "b_total" && value % 6.0 == 5.0)) =>
                    {
                        store.insert_histogram(&labels, time, &histogram(*value));
                    }
                    Some(value) => store.insert(&labels, time, *value),
                    None => {}
                }
            }
        }
        store
    })
}

/// One expression of each kind; leaves are vectors.
fn expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("a_total".to_owned()),
        Just("b_total{site=\"s0\"}".to_owned()),
        Just("{__name__=~\".+_total\", le=\"1\"}".to_owned()),
        Just("rate(a_total[1m])".to_owned()),
        Just("h_total".to_owned()),
        Just("rate(h_total[1m])".to_owned()),
        Just("irate(h_total[2m] offset 15s)".to_owned()),
        Just("avg_over_time(h_total[1m] @ 90)".to_owned()),
        Just("histogram_count(increase(h_total[2m]))".to_owned()),
        Just("increase(b_total[47s] offset 20s)".to_owned()),
        Just("last_over_time(a_total[30s])".to_owned()),
        Just("absent(a_total{site=\"s1\"})".to_owned()),
        Just("a_total @ 60".to_owned()),
        Just("stddev_over_time(a_total[2m] @ 90)".to_owned()),
        Just("predict_linear(a_total[2m], 60)".to_owned()),
        Just("timestamp(b_total)".to_owned()),
        Just("vector(time())".to_owned()),
    ];
    leaf.prop_recursive(4, 24, 2, |inner| {
        prop_oneof![
            inner.clone().prop_map(|v| format!("sum by (site) ({v})")),
            inner.clone().prop_map(|v| format!("avg without (le) ({v})")),
            inner.clone().prop_map(|v| format!("topk by (site) (1, {v})")),
            inner.clone().prop_map(|v| format!("quantile(0.4, {v})")),
            inner.clone().prop_map(|v| format!("count_values(\"v\", {v})")),
            inner.clone().prop_map(|v| format!("-({v})")),
            inner.clone().prop_map(|v| format!("({v}) </ 1.5")),
            inner.clone().prop_map(|v| format!("histogram_sum({v})")),
            inner.clone().prop_map(|v| format!("histogram_fraction(0, 1.5, {v})")),
            inner.clone().prop_map(|v| format!("sum_over_time(({v})[1m:20s])")),
            inner.clone().prop_map(|v| format!("({v}) > 3")),
            inner.clone().prop_map(|v| format!("round(({v}) * 1.7)")),
            inner.clone().prop_map(|v| format!("histogram_quantile(0.5, {v})")),
            inner.clone().prop_map(|v| format!("max_over_time(({v})[1m:20s])")),
            inner.clone().prop_map(|v| format!("label_replace({v}, \"site\", \"x$1\", \"site\", \"s(.)\")")),
            inner.clone().prop_map(|v| format!("scalar({v}) + ({v})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) + on (site, le) ({b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) < bool ({b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) and ({b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) or ({b})")),
            (inner.clone(), inner).prop_map(|(a, b)| format!("({a}) unless on (site) ({b})")),
        ]
    })
}

/// Words of the language, so that random texts get far.
fn word() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "a_total",
        "b_total{le=\"1\"}",
        "{site=~\"s.\"}",
        "(",
        ")",
        "+",
        "-",
        "*",
        "/",
        "^",
        "%",
        "==",
        "> bool",
        "and",
        "or",
        "unless",
        "atan2",
        "on (site)",
        "ignoring (le)",
        "group_left",
        "group_right (le)",
        "fill (0)",
        "by (site)",
        "without (le)",
        "sum (",
        "topk (1,",
        "quantile (0.5,",
        "count_values (\"v\",",
        "limit_ratio (0.5,",
        "rate (",
        "abs (",
        "[1m]",
        "[1m:20s]",
        "[step() * 3]",
        "offset 20s",
        "offset -1m",
        "@ 30",
        "@ start()",
        "@ end()",
        "anchored",
        "smoothed",
        "1",
        "-1e300",
        "NaN",
        "Inf",
        "0",
        "5m",
        "\"text\"",
        ",",
        "time()",
        "vector (",
        "scalar (",
        "histogram_quantile (0.9,",
        "label_replace (",
        "absent_over_time (",
        "predict_linear (",
        "timestamp (",
        "info (",
        "double_exponential_smoothing (",
        "minute (",
        "#x\n",
    ])
}

fn options(delayed_name_removal: bool) -> Options {
    Options { features: Features { delayed_name_removal, ..Features::default() }, ..Options::default() }
}

fn time(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

/// All that an answer says, values bit for bit, or the error.
fn exactly(answer: Result<Answer, QueryError>) -> String {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return error.to_string(),
    };
    let number = |value: f64| format!("{:x}", value.to_bits());
    let value: Vec<String> = match answer.value {
        Value::Matrix(matrix) => matrix
            .into_iter()
            .map(|series| {
                let points = series.points.iter().map(|point| (point.timestamp, number(point.value)));
                let histograms = series.histograms.iter().map(|(at, histogram)| (*at, histogram.to_string()));
                format!("{} {:?}", series.labels, points.chain(histograms).collect::<Vec<_>>())
            })
            .collect(),
        Value::Vector(samples) => samples
            .into_iter()
            .map(|s| {
                let histogram = s.histogram.map(|histogram| histogram.to_string());
                format!("{} {} {histogram:?}", s.labels, number(s.value))
            })
            .collect(),
        other => vec![format!("{other:?}")],
    };
    let (series, samples) = (answer.statistics.series_read, answer.statistics.samples_read);
    let counted = answer.samples_per_step;
    format!("{value:#?} {:?} {series} series {samples} samples {counted:?}", answer.annotations)
}

/// Samples at one time as texts, sorted, NaN equal to NaN.
fn at(value: Value, millis: i64) -> Vec<(Labels, String)> {
    let number =
        |value: f64| if value.is_nan() { "NaN".to_owned() } else { format!("{:x}", value.to_bits()) };
    let mut samples: Vec<_> = match value {
        Value::Vector(samples) => samples
            .into_iter()
            .map(|s| {
                (s.labels, s.histogram.map_or_else(|| number(s.value), |histogram| histogram.to_string()))
            })
            .collect(),
        Value::Matrix(matrix) => matrix
            .into_iter()
            .filter_map(|series| {
                let point = series.points.iter().find(|point| point.timestamp == time(millis));
                let histogram = series.histograms.iter().find(|(at, _)| *at == time(millis));
                assert!(point.is_none() || histogram.is_none(), "both kinds at one step");
                let text = point.map(|point| number(point.value));
                Some((series.labels, text.or_else(|| Some(histogram?.1.to_string()))?))
            })
            .collect(),
        other => panic!("{other:?} is no vector"),
    };
    samples.sort();
    samples
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_range_query_is_its_instant_queries(store in store(), expr in expression()) {
        // With delayed name removal this is no law, in Prometheus neither: a series drops its name at all steps or at none.
        let options = options(false);
        let (start, end, step) = (0, 600_000, 25_000);
        let range = promql::range(&store, &expr, time(start), time(end), Duration::from_millis(step), &options);
        let mut failed = false;
        for millis in (start..=end).step_by(step as usize) {
            match promql::instant(&store, &expr, time(millis), &options) {
                Ok(answer) => {
                    if let Ok(range) = &range {
                        prop_assert_eq!(at(answer.value, millis), at(range.value.clone(), millis), "{} at {}", expr, millis);
                    }
                }
                Err(_) => failed = true,
            }
        }
        // A range query fails where an instant query does. The other way round does not hold: series that come out equal at
        // different steps are one in each instant but may be told apart by their names in a range.
        prop_assert!(!failed || range.is_err(), "{}: only the range query succeeds", expr);
    }

    #[test]
    fn several_threads_answer_as_one_does(
        store in store(), expr in expression(), counts_samples in any::<bool>(), delayed in any::<bool>(), most in 1usize..4,
    ) {
        let one = Options { counts_samples, ..options(delayed) };
        let several = Options { threads: Threads::new(most), ..one.clone() };
        let (start, end, step) = (time(0), time(600_000), Duration::from_millis(25_000));
        let range = |options: &Options| exactly(promql::range(&store, &expr, start, end, step, options));
        prop_assert_eq!(range(&one), range(&several), "{}", expr);
        let instant = |options: &Options| exactly(promql::instant(&store, &expr, time(90_000), options));
        prop_assert_eq!(instant(&one), instant(&several), "{}", expr);
    }

    #[test]
    fn any_text_ends_in_a_value_or_an_error(store in store(), text in "[a_b(){}\\[\\]=~!\"'`,:@0-9.smx+*/^<>% -]{0,40}") {
        let options = options(false);
        let _ = promql::instant(&store, &text, time(60_000), &options);
        let _ = promql::parse_matchers(&text);
        if let Ok(expr) = promql::parse(&text) {
            let printed = expr.to_string();
            let again = promql::parse(&printed).map(|expr| expr.to_string());
            prop_assert_eq!(again, Ok(printed), "{}", text);
        }
    }

    #[test]
    fn any_words_end_in_a_value_or_an_error(store in store(), words in prop::collection::vec(word(), 0..14)) {
        let text = words.join(" ");
        let options = Options { features: Features::ALL, samples_max: 100_000, ..Options::default() };
        let _ = promql::instant(&store, &text, time(60_000), &options);
        let _ = promql::range(&store, &text, time(0), time(60_000), Duration::from_secs(20), &options);
        if let Ok(expr) = promql::parse_with(&text, Features::ALL) {
            let printed = expr.to_string();
            let again = promql::parse_with(&printed, Features::ALL).map(|expr| expr.to_string());
            prop_assert_eq!(again, Ok(printed), "{}", text);
        }
    }

    #[test]
    fn what_is_held_stays_within_the_limit(store in store(), expr in expression(), samples_max in 1usize..200) {
        let options = Options { samples_max, ..options(false) };
        let answer = promql::range(&store, &expr, time(0), time(600_000), Duration::from_secs(25), &options);
        match answer {
            Ok(answer) => prop_assert!(answer.statistics.samples_peak <= samples_max as u64),
            Err(QueryError::TooManySamples | QueryError::Execution(_)) => {}
            Err(error) => prop_assert!(false, "{error}"),
        }
    }
}

fn filled(series: usize, samples: i64) -> Store {
    let mut store = Store::default();
    for at in 0..series {
        let labels = Labels::from_pairs([("__name__", "a_total".to_owned()), ("i", at.to_string())]);
        (0..samples).for_each(|step| store.insert(&labels, step * STEP_MS, step as f64));
    }
    store
}

fn check_limit(options: Options, expr: &str, expected: &str) {
    let store = filled(50, 40);
    let answer = promql::range(&store, expr, time(0), time(600_000), Duration::from_secs(1), &options);
    let error = answer.map(|answer| answer.statistics).expect_err(expr);
    assert!(error.to_string().contains(expected), "{expr}: {error}");
}

/// Remembers which threads read series.
struct Watched {
    store: Store,
    readers: Mutex<BTreeSet<String>>,
}

struct WatchedSet<'w> {
    set: Box<dyn SeriesSet + Send + 'w>,
    watched: &'w Watched,
}

impl SeriesSet for WatchedSet<'_> {
    fn advance(&mut self) -> Result<bool, SourceError> {
        self.set.advance()
    }

    fn labels(&self) -> &Labels {
        self.set.labels()
    }

    fn read(&mut self, into: &mut Columns) -> Result<(), SourceError> {
        let reader = format!("{:?}", std::thread::current().id());
        self.watched.readers.lock().expect("nobody panics").insert(reader);
        self.set.read(into)
    }
}

impl SeriesSource for Watched {
    fn select<'a>(
        &'a self,
        selection: &Selection<'_>,
    ) -> Result<Box<dyn SeriesSet + Send + 'a>, SourceError> {
        Ok(Box::new(WatchedSet { set: self.store.select(selection)?, watched: self }))
    }

    fn select_parts<'a>(
        &'a self,
        selection: &Selection<'_>,
        series: usize,
    ) -> Result<Vec<Box<dyn SeriesSet + Send + 'a>>, SourceError> {
        let parts = self.store.select_parts(selection, series)?.into_iter();
        Ok(parts.map(|set| Box::new(WatchedSet { set, watched: self }) as Box<_>).collect())
    }

    fn label_names(&self, _: &[Selection<'_>], _: usize) -> Result<Vec<String>, SourceError> {
        Ok(Vec::new())
    }

    fn label_values(&self, _: &str, _: &[Selection<'_>], _: usize) -> Result<Vec<String>, SourceError> {
        Ok(Vec::new())
    }

    fn series(&self, _: &[Selection<'_>], _: usize) -> Result<Vec<Labels>, SourceError> {
        Ok(Vec::new())
    }
}

#[test]
fn threads_that_are_given_are_used_and_no_others() {
    let readers = |threads: Threads, expr: &str| {
        let watched = Watched { store: filled(50, 40), readers: Mutex::default() };
        let options = Options { threads, ..options(false) };
        promql::range(&watched, expr, time(0), time(600_000), Duration::from_secs(15), &options)
            .expect("it is right");
        watched.readers.into_inner().expect("nobody panics").len()
    };
    assert_eq!(readers(Threads::default(), "rate(a_total[1m])"), 1);
    // Each batch of four parts has new threads: 25 parts are 7 batches.
    assert_eq!(readers(Threads::new(3), "sum(rate(a_total[1m]))"), 1 + 6 * 3);
    assert_eq!(readers(Threads::new(1), "max_over_time(a_total[1m])"), 1 + 12);
}

/// Threads are given back, and an error is the first one in the order of series, whoever meets it.
#[test]
fn several_threads_keep_limits() {
    let store = filled(50, 40);
    let threads = Threads::new(3);
    let ask = |options: Options, expr: &str| {
        let step = Duration::from_secs(1);
        exactly(promql::range(&store, expr, time(0), time(600_000), step, &options))
    };
    let check = |options: Options, expr: &str| {
        let one = ask(options.clone(), expr);
        for _ in 0..3 {
            let several = ask(Options { threads: threads.clone(), ..options.clone() }, expr);
            assert_eq!(one, several, "{expr}");
        }
    };
    check(options(false), "sum(rate(a_total[1m]))");
    check(Options { series_max: 49, ..options(false) }, "sum(rate(a_total[1m]))");
    check(Options { samples_max: 10_000, ..options(false) }, "rate(a_total[1m])");
    // Room for one thread: the others leave their parts to it.
    check(Options { samples_max: 9_000, ..options(false) }, "sum(rate(a_total[1m]))");
    let interrupt = Some(Arc::new(|| Some(Interrupt::Canceled)) as promql::InterruptCheck);
    check(Options { interrupt, ..options(false) }, "avg_over_time(a_total[1m])");
}

#[test]
fn limits_are_told_in_their_own_words() {
    check_limit(Options { steps_max: 599, ..options(false) }, "a_total", "maximum resolution of 599 points");
    check_limit(Options { samples_max: 10_000, ..options(false) }, "a_total", "too many samples");
    check_limit(Options { series_max: 49, ..options(false) }, "sum(a_total)", "more than 49 series");
    check_limit(options(false), "sum_over_time(vector(1)[100000d:1ms])", "too many samples");
    check_limit(options(false), "a_total[5m]", "invalid expression type \"range vector\" for range query");
}

#[test]
fn eleven_thousand_points_and_one_are_the_most() {
    let store = filled(1, 1);
    let ask =
        |end| promql::range(&store, "a_total", time(0), time(end), Duration::from_millis(1), &options(false));
    assert!(ask(11_000).is_ok());
    let expected = "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)";
    assert_eq!(ask(11_001).expect_err("one too many").to_string(), expected);
}

#[test]
fn sums_hold_sums_and_not_series() {
    let answer = promql::range(
        &filled(50, 40),
        "sum(a_total)",
        time(0),
        time(600_000),
        Duration::from_secs(1),
        &options(false),
    );
    let peak = answer.expect("it fits").statistics.samples_peak;
    assert!(peak < 6 * 601 + 100, "50 series of 601 points are summed while {peak} points are held");
}

#[test]
fn labels_do_not_grow_without_end() {
    let doubled = (0..40).fold("a_total".to_owned(), |expr, _| {
        format!("label_replace({expr}, \"i\", \"${{1}}${{1}}\", \"i\", \"(.*)\")")
    });
    let long = format!("label_replace(a_total, \"b\", \"{}\", \"i\", \".*\")", "x".repeat(60_000));
    check_limit(options(false), &doubled, "more than 65536");
    check_limit(Options { samples_max: 100_000, ..options(false) }, &long, "too many samples");
}

#[test]
fn every_series_is_read_once() {
    let store = filled(50, 40);
    let answer = promql::range(
        &store,
        "rate(a_total[5m])",
        time(0),
        time(600_000),
        Duration::from_secs(1),
        &options(false),
    );
    let statistics = answer.expect("it fits").statistics;
    assert_eq!((statistics.series_read, statistics.samples_read), (50, 50 * 40));
}

#[test]
fn what_each_step_looks_at_is_counted_as_prometheus_counts_it() {
    let store = filled(2, 40);
    let options = Options { counts_samples: true, ..options(false) };
    let check = |expr: &str, expected: [u64; 4]| {
        let range = (time(300_000), time(345_000), Duration::from_secs(15));
        let answer = promql::range(&store, expr, range.0, range.1, range.2, &options).expect(expr);
        let (times, counts): (Vec<_>, Vec<_>) = answer.samples_per_step.into_iter().unzip();
        assert_eq!(times, [300_000, 315_000, 330_000, 345_000].map(time), "{expr}");
        assert_eq!(counts, expected, "{expr}");
    };
    check("a_total", [2; 4]);
    check("a_total offset 4m50s", [2; 4]);
    check("a_total offset 310s", [0, 2, 2, 2]);
    check("sum(rate(a_total[1m]))", [8; 4]);
    check("a_total @ 0 + a_total", [4; 4]);
    check("predict_linear(a_total[1m] @ 300, scalar(vector(time())))", [8; 4]);
    // Of a subquery counts what it gives, not what it reads.
    check("max_over_time(rate(a_total[2m])[1m:30s])", [4; 4]);
    check("sum(max_over_time(a_total[1m:30s] @ 300))", [4; 4]);
    check("vector(time())", [0; 4]);
    check("absent_over_time(a_total[30s])", [4; 4]);
    let instant = promql::instant(&store, "a_total[1m]", time(300_000), &options).expect("a matrix");
    assert_eq!(instant.samples_per_step, [(time(300_000), 8)]);
}

#[test]
fn an_interrupt_ends_the_query() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let check = move || (count.fetch_add(1, Ordering::Relaxed) >= 5).then_some(Interrupt::TimedOut);
    let options = Options { interrupt: Some(Arc::new(check)), ..options(false) };
    let error = promql::instant(&filled(50, 4), "a_total", time(0), &options).expect_err("its time is up");
    assert!(matches!(error, QueryError::TimedOut) && asked.load(Ordering::Relaxed) == 6, "{error}");
}

#[test]
fn a_long_window_is_interrupted_too() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let check = move || (count.fetch_add(1, Ordering::Relaxed) >= 10).then_some(Interrupt::Canceled);
    let options = Options { interrupt: Some(Arc::new(check)), ..options(false) };
    let store = filled(1, 10_000);
    let answer = promql::range(
        &store,
        "sum_over_time(a_total[10d])",
        time(0),
        time(150_000_000),
        Duration::from_secs(20),
        &options,
    );
    assert!(matches!(answer, Err(QueryError::Canceled)));
}

/// A hundred `label_replace` of each other went on for 26 s where 10 s were allowed.
#[test]
fn work_on_labels_alone_is_interrupted_too() {
    let store = filled(5000, 1);
    let looks = |expr: &str| {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let check = move || {
            count.fetch_add(1, Ordering::Relaxed);
            None
        };
        let options = Options { interrupt: Some(Arc::new(check)), ..options(false) };
        promql::instant(&store, expr, time(0), &options).expect("nobody ends it");
        asked.load(Ordering::Relaxed)
    };
    let nested = format!("{}a_total{}", "label_replace(".repeat(20), r#","b","$1","a","(.*)")"#.repeat(20));
    // Once for each call, and once for each four thousand series that a call labels anew.
    let more = looks(&nested) - looks("a_total");
    assert!(more >= 40, "{more}");
}

#[test]
fn the_deepest_expressions_are_evaluated_on_a_small_stack() {
    let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(|| {
        let store = filled(2, 10);
        let n = promql::Expr::DEPTH_MAX - 10;
        for expr in [
            format!("{}a_total{}", "(".repeat(n), ")".repeat(n)),
            format!("{}a_total", "-".repeat(n)),
            format!("a_total{}", " or a_total".repeat(n)),
            format!("a_total{}", " + a_total".repeat(n)),
            format!("{}a_total{}", "sum by (i) (".repeat(n), ")".repeat(n)),
            format!("{}a_total{}", "abs(".repeat(n), ")".repeat(n)),
            format!("{}a_total{}", "sum_over_time(".repeat(n / 2), "[1m:1m])".repeat(n / 2)),
            format!("1{}", " + 1".repeat(n)),
        ] {
            let answer = promql::instant(&store, &expr, time(60_000), &options(false));
            assert!(answer.is_ok(), "{}: {answer:?}", expr.chars().take(30).collect::<String>());
        }
    });
    thread.expect("a thread starts").join().expect("the stack suffices");
}

#[test]
fn extreme_times_are_no_danger() {
    let store = filled(2, 10);
    for at in [i64::MIN, i64::MIN + 1, -1, i64::MAX - 1, i64::MAX] {
        for expr in [
            "a_total",
            "rate(a_total[5m])",
            "a_total offset 1y",
            "a_total offset -1y",
            "sum_over_time(a_total[1h:1m])",
            "a_total @ 1e9",
            "year() + day_of_year()",
            "predict_linear(a_total[5m], 1e300)",
            "timestamp(a_total)",
        ] {
            let answer = promql::instant(&store, expr, time(at), &options(false));
            assert!(answer.is_ok(), "{expr} at {at}: {answer:?}");
        }
    }
}

/// Found by random queries beside Prometheus 2.42: metric names go before the results of a group are told apart.
#[test]
fn it_is_the_labels_of_group_left_that_fail_to_tell_results_apart() {
    let mut store = Store::default();
    for (name, value) in [("a", 1.0), ("b", 2.0), ("limit", 3.0)] {
        store.insert(&Labels::from_pairs([("__name__", name), ("site", "s")]), 0, value);
    }
    let text = "{__name__=~\"a|b\"} * on (site) group_left () limit";
    let check = |delayed: bool, expected: &str| {
        let answer = promql::instant(&store, text, time(0), &options(delayed));
        assert_eq!(answer.expect_err("two of one label set").to_string(), expected);
    };
    check(false, "multiple matches for labels: grouping labels must ensure unique matches");
    check(true, "vector cannot contain metrics with the same labelset");
}
