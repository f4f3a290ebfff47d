//! promtool's unit tests of rules: input series, and what rules and expressions must make of them.
//!
//! In: a test file. Out: every difference, in promtool's words ([`run`]); none where all is as expected. Rules are evaluated by the same
//! code as in the collector, at fixed times over series in memory.
//!
//! Limits: those of `settings` for the file; [`memory::SAMPLES_MAX`] samples and [`EVALUATIONS_MAX`] passes a test.

pub(super) mod memory;
pub(super) mod notation;
mod said;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use model::{Labels, SeriesSource, Timestamp};
use promql::{Features, Options, Value};
use serde::Deserialize;
use settings::{SettingsError, Source, Span};

use super::file::{RuleFile, RuleKind};
use super::glob;
use super::group::{Group, Spec};
use super::silence::Recorders;
use super::world::{Made, Named, Senders, World};
use memory::{Memory, Point};
use said::Alert;

/// The most passes of one test.
const EVALUATIONS_MAX: i64 = 1_000_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TestFile {
    #[serde(default)]
    rule_files: Vec<String>,
    #[serde(default)]
    evaluation_interval: Option<Span>,
    #[serde(default)]
    group_eval_order: Vec<String>,
    #[serde(default)]
    tests: Vec<Test>,
    #[serde(default)]
    fuzzy_compare: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Test {
    #[serde(default)]
    interval: Option<Span>,
    #[serde(default)]
    input_series: Vec<Input>,
    #[serde(default)]
    alert_rule_test: Vec<AlertTest>,
    #[serde(default)]
    promql_expr_test: Vec<ExprTest>,
    #[serde(default)]
    external_labels: BTreeMap<String, String>,
    #[serde(default)]
    external_url: String,
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    series: String,
    #[serde(default)]
    values: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AlertTest {
    #[serde(default)]
    eval_time: Span,
    #[serde(default)]
    alertname: String,
    #[serde(default)]
    exp_alerts: Option<Vec<ExpectedAlert>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectedAlert {
    #[serde(default)]
    exp_labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    exp_annotations: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExprTest {
    expr: String,
    #[serde(default)]
    eval_time: Span,
    #[serde(default)]
    exp_samples: Option<Vec<ExpectedSample>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectedSample {
    #[serde(default)]
    labels: String,
    #[serde(default)]
    value: f64,
    #[serde(default)]
    histogram: String,
}

/// Runs a test file; what is not as it should be, in promtool's words.
pub fn run(path: &Path, features: Features) -> Vec<String> {
    let read = || -> Result<TestFile, SettingsError> { Source::read(path)?.parse() };
    let file = match read() {
        Ok(file) => file,
        Err(error) => return vec![error.to_string()],
    };
    match Plan::new(path, &file, features) {
        Ok(plan) => file.tests.iter().flat_map(|test| plan.run(test)).collect(),
        Err(errors) => errors,
    }
}

/// What all tests of a file share.
struct Plan {
    interval: Duration,
    /// In the order in which groups are evaluated.
    groups: Vec<(String, super::file::Group)>,
    fuzzy: bool,
    features: Features,
}

impl Plan {
    fn new(path: &Path, file: &TestFile, features: Features) -> Result<Self, Vec<String>> {
        let mut order = BTreeMap::new();
        for (place, name) in file.group_eval_order.iter().enumerate() {
            if order.insert(name.as_str(), place).is_some() {
                return Err(vec![format!("group name repeated in evaluation order: {name}")]);
            }
        }
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut groups = Vec::new();
        for rules in rule_files(folder, &file.rule_files).map_err(|error| vec![error])? {
            let read = RuleFile::read(&rules, features)
                .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>())?;
            let name = rules.display().to_string();
            groups.extend(read.groups.into_iter().map(|group| (name.clone(), group)));
        }
        groups.sort_by_key(|(_, group)| order.get(group.name.as_str()).copied().unwrap_or(0));
        let interval = file.evaluation_interval.map(Span::get).filter(|interval| !interval.is_zero());
        Ok(Self {
            interval: interval.unwrap_or(Duration::from_secs(60)),
            groups,
            fuzzy: file.fuzzy_compare,
            features,
        })
    }

    fn run(&self, test: &Test) -> Vec<String> {
        if let Some(nameless) = test.alert_rule_test.iter().find(|alert| alert.alertname.is_empty()) {
            let within =
                if test.name.is_empty() { String::new() } else { format!(" (in TestGroup {})", test.name) };
            return vec![format!(
                "an item under alert_rule_test misses required attribute alertname at eval_time {}{within}",
                nameless.eval_time
            )];
        }
        let world = match Scene::new(test, self.interval, self.features) {
            Ok(world) => world,
            Err(error) => return vec![error],
        };
        match self.evaluate(test, &world) {
            Ok(mut wrong) => {
                wrong.extend(
                    test.promql_expr_test.iter().filter_map(|expr| self.check_expr(expr, &world).err()),
                );
                wrong
            }
            Err(errors) => errors,
        }
    }

    /// Evaluates all groups at every time, and looks at alerts as it goes; what could not be evaluated ends it.
    fn evaluate(&self, test: &Test, world: &Scene) -> Result<Vec<String>, Vec<String>> {
        let mut groups: Vec<Group> =
            self.groups.iter().map(|(file, group)| self.group(file, group, test)).collect();
        let last = last_time(test).as_millis() as i64;
        let step = self.interval.as_millis() as i64;
        if last / step > EVALUATIONS_MAX {
            return Err(vec![format!(
                "more than {EVALUATIONS_MAX} evaluations: write a longer evaluation_interval"
            )]);
        }
        let mut wrong = Vec::new();
        for at in (0..=last).step_by(step as usize) {
            world.load_until(at);
            let now = Timestamp::from_millis(at);
            let mut failed = Vec::new();
            for group in &mut groups {
                group.evaluate(now, Arc::clone(&world.memory) as Arc<dyn SeriesSource>, world);
                failed.extend(failures(group, at));
            }
            if !failed.is_empty() {
                wrong.extend(failed);
                return Err(wrong);
            }
            let due = test.alert_rule_test.iter().filter(|alert| {
                let asked = alert.eval_time.get().as_millis() as i64;
                (at..at + step).contains(&asked)
            });
            let mut due: Vec<&AlertTest> = due.collect();
            due.sort_by_key(|alert| alert.eval_time);
            wrong.extend(due.into_iter().filter_map(|alert| check_alerts(test, alert, &groups)));
        }
        Ok(wrong)
    }

    fn group(&self, file: &str, group: &super::file::Group, test: &Test) -> Group {
        let interval = group.interval.or_else(|| test.interval.map(Span::get)).unwrap_or(self.interval);
        let spec = Spec {
            file: file.to_owned(),
            name: group.name.clone(),
            interval: if interval.is_zero() { self.interval } else { interval },
            query_offset: group.query_offset.unwrap_or_default(),
            limit: group.limit,
            rules: group.rules.clone(),
        };
        Group::new(Arc::new(spec), None, &Recorders::new())
    }

    fn check_expr(&self, test: &ExprTest, world: &Scene) -> Result<(), String> {
        let head = format!("    expr: {:?}, time: {},", test.expr, test.eval_time);
        let mut expected = Vec::new();
        for sample in test.exp_samples.iter().flatten() {
            expected.push(expected_sample(sample).map_err(|why| format!("{head} err: {why}"))?);
        }
        let at = Timestamp::from_millis(test.eval_time.get().as_millis() as i64);
        let answer = promql::instant(&*world.memory, &test.expr, at, &world.options());
        let mut found = match answer.map_err(|error| format!("{head} err: {error}"))?.value {
            Value::Vector(samples) => samples
                .into_iter()
                .map(|sample| said::Sample::new(sample.labels, sample.value, sample.histogram.as_deref()))
                .collect(),
            Value::Scalar { value, .. } => vec![said::Sample::new(Labels::empty(), value, None)],
            Value::String { .. } | Value::Matrix(_) => {
                return Err(format!("{head} err: rule result is not a vector or scalar"));
            }
        };
        expected.sort_by(|a, b| a.labels.cmp(&b.labels));
        found.sort_by(|a, b| a.labels.cmp(&b.labels));
        let equal = expected.len() == found.len()
            && expected.iter().zip(&found).all(|(expected, found)| expected.is(found, self.fuzzy));
        if equal {
            return Ok(());
        }
        let (expected, found) = (said::samples(&expected), said::samples(&found));
        Err(format!("{head}\n        exp: {expected}\n        got: {found}"))
    }
}

fn expected_sample(sample: &ExpectedSample) -> Result<said::Sample, String> {
    let placed = |why: String| format!("labels {:?}: {why}", sample.labels);
    let labels = notation::labels(&sample.labels).map_err(placed)?;
    if sample.histogram.is_empty() {
        return Ok(said::Sample::new(labels, sample.value, None));
    }
    let points = notation::values(&sample.histogram).map_err(placed)?;
    match points.as_slice() {
        [Some(Point::Histogram(histogram))] => Ok(said::Sample::new(labels, 0.0, Some(histogram))),
        _ => Err(placed("expected one native histogram".to_owned())),
    }
}

/// Files that a test names, each once; one that is not there is passed over with a warning, as promtool does it.
fn rule_files(folder: &Path, patterns: &[String]) -> Result<Vec<PathBuf>, String> {
    let mut files: Vec<PathBuf> = Vec::new();
    for pattern in patterns {
        let found = glob::paths(folder, pattern).map_err(|error| error.to_string())?;
        if found.is_empty() {
            println!("  WARNING: no file match pattern {}", folder.join(pattern).display());
        }
        files.extend(found);
    }
    let mut seen = BTreeSet::new();
    files.retain(|file| seen.insert(file.clone()));
    Ok(files)
}

/// The latest time that anything is asked about.
fn last_time(test: &Test) -> Duration {
    let alerts = test.alert_rule_test.iter().map(|alert| alert.eval_time.get());
    alerts.chain(test.promql_expr_test.iter().map(|expr| expr.eval_time.get())).max().unwrap_or_default()
}

fn failures(group: &Group, at: i64) -> Vec<String> {
    let failed = group.rules.iter().filter_map(|rule| rule.fared.error.as_ref().map(|error| (rule, error)));
    let time = said::go_duration(Duration::from_millis(at.unsigned_abs()));
    failed.map(|(rule, error)| format!("    rule: {}, time: {time}, err: {error}", rule.rule.name)).collect()
}

fn check_alerts(test: &Test, asked: &AlertTest, groups: &[Group]) -> Option<String> {
    let mut found: Vec<Alert> = Vec::new();
    for rule in groups.iter().flat_map(|group| &group.rules) {
        if matches!(rule.rule.kind, RuleKind::Alert { .. }) && rule.rule.name == asked.alertname {
            found.extend(rule.firing().map(|alert| Alert::new(&alert.labels, &alert.annotations)));
        }
    }
    let mut expected: Vec<Alert> =
        asked.exp_alerts.iter().flatten().map(|alert| expected_alert(&asked.alertname, alert)).collect();
    found.sort();
    expected.sort();
    if found == expected {
        return None;
    }
    let name = if test.name.is_empty() { String::new() } else { format!("    name: {},\n", test.name) };
    let (expected, found) = (said::alerts(&expected), said::alerts(&found));
    Some(format!(
        "{name}    alertname: {}, time: {}, \n        exp:{expected}, \n        got:{found}",
        asked.alertname, asked.eval_time
    ))
}

fn expected_alert(name: &str, alert: &ExpectedAlert) -> Alert {
    let mut labels = alert.exp_labels.clone().unwrap_or_default();
    labels.insert("alertname".to_owned(), name.to_owned());
    let annotations: Vec<_> = alert.exp_annotations.clone().unwrap_or_default().into_iter().collect();
    Alert::new(&Labels::from_pairs(&labels), &annotations)
}

/// A test's series, of which those up to the present time are there.
struct Scene {
    memory: Arc<Memory>,
    waiting: std::sync::Mutex<Waiting>,
    named: Named,
    options: Options,
}

struct Waiting {
    step_ms: i64,
    series: Vec<(Labels, Vec<Option<Point>>)>,
    /// Values before this one are there.
    next: usize,
}

impl Scene {
    fn new(test: &Test, interval: Duration, features: Features) -> Result<Self, String> {
        let mut series = Vec::new();
        let mut count = 0;
        for input in &test.input_series {
            let placed = |why: String| format!("series {:?}: {why}", input.series);
            let points = notation::values(&input.values).map_err(placed)?;
            count += points.len();
            if count > memory::SAMPLES_MAX {
                return Err(placed(format!("more than {} samples in one test", memory::SAMPLES_MAX)));
            }
            series.push((notation::labels(&input.series).map_err(placed)?, points));
        }
        let step = test.interval.map(Span::get).filter(|step| !step.is_zero()).unwrap_or(interval);
        let labels = Labels::from_pairs(&test.external_labels);
        Ok(Self {
            memory: Arc::default(),
            waiting: std::sync::Mutex::new(Waiting { step_ms: step.as_millis() as i64, series, next: 0 }),
            named: Named { labels, url: test.external_url.clone() },
            options: Options { subquery_step: interval, features, ..Options::default() },
        })
    }

    fn load_until(&self, at: i64) {
        let mut waiting = self.waiting.lock().expect("nothing panics while it holds this lock");
        let until = usize::try_from(at / waiting.step_ms).unwrap_or(usize::MAX).saturating_add(1);
        for (labels, points) in &waiting.series {
            for (index, point) in points.iter().enumerate().take(until).skip(waiting.next) {
                if let Some(point) = point {
                    let at = Timestamp::from_millis(index as i64 * waiting.step_ms);
                    self.memory.insert(labels, at, point.clone());
                }
            }
        }
        waiting.next = waiting.next.max(until);
    }
}

/// Nobody is silent in a test file.
struct NoSenders;

impl Senders for NoSenders {
    fn any_silent(&self) -> bool {
        false
    }

    fn is_silent(&self, _: &str) -> bool {
        false
    }

    fn has_sent_since(&self, _: &str, _: Timestamp) -> bool {
        true
    }

    fn of(&self, series: &[Labels]) -> Vec<Vec<Arc<str>>> {
        vec![Vec::new(); series.len()]
    }
}

impl World for Scene {
    fn source(&self) -> Option<Arc<dyn SeriesSource>> {
        Some(Arc::clone(&self.memory) as Arc<dyn SeriesSource>)
    }

    fn options(&self) -> Options {
        self.options.clone()
    }

    fn named(&self) -> Named {
        self.named.clone()
    }

    fn write(&self, made: &[Made], _: Timestamp) -> Result<(), String> {
        self.memory.write(made);
        Ok(())
    }

    fn senders(&self, _: Timestamp) -> Box<dyn Senders + '_> {
        Box::new(NoSenders)
    }

    fn elapsed(&self) -> Duration {
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests;
