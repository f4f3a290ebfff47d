//! The engine over series in memory, with the time as an argument.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use model::{Labels, SeriesSource, Timestamp};
use promql::Options;

use super::engine::{Comeback, Engine};
use super::group::Spec;
use super::metrics::Figures;
use super::unit::memory::{Memory, Point};
use super::world::{Made, Named, Senders, World};
use super::{RuleFile, Shown};
use crate::metrics::Metrics;

const NO_WAIT: Comeback =
    Comeback { outage_tolerance: Duration::from_secs(3600), grace_period: Duration::ZERO };

/// Who writes which job's series, and who is silent.
#[derive(Clone, Debug, Default)]
struct Roll {
    writers: Vec<(String, Arc<str>)>,
    silent: Vec<Arc<str>>,
    /// Those of whom nothing came lately, without being silent yet, and since when.
    quiet: Vec<(Arc<str>, Timestamp)>,
}

impl Senders for Roll {
    fn any_silent(&self) -> bool {
        !self.silent.is_empty()
    }

    fn is_silent(&self, sender: &str) -> bool {
        self.silent.iter().any(|silent| &**silent == sender)
    }

    fn has_sent_since(&self, sender: &str, since: Timestamp) -> bool {
        self.quiet.iter().all(|(quiet, last)| &**quiet != sender || *last > since)
    }

    fn of(&self, series: &[Labels]) -> Vec<Vec<Arc<str>>> {
        let writers = |labels: &Labels| {
            let instance = labels.get("instance").unwrap_or_default();
            self.writers.iter().filter(|(own, _)| own == instance).map(|(_, name)| Arc::clone(name)).collect()
        };
        series.iter().map(writers).collect()
    }
}

#[derive(Default)]
struct Bench {
    memory: Arc<Memory>,
    roll: Mutex<Roll>,
    writes: Mutex<Vec<usize>>,
    refuses: Mutex<Option<String>>,
    elapsed: Mutex<Duration>,
}

/// Memory in which the series `broken` hits upon a mistake of ours.
struct Broken(Arc<Memory>);

impl SeriesSource for Broken {
    fn select<'a>(
        &'a self,
        selection: &model::Selection<'_>,
    ) -> Result<Box<dyn model::SeriesSet + Send + 'a>, model::SourceError> {
        assert!(selection.matchers.iter().all(|matcher| matcher.value() != "broken"), "it is broken");
        self.0.select(selection)
    }

    fn label_names(
        &self,
        selections: &[model::Selection<'_>],
        limit: usize,
    ) -> Result<Vec<String>, model::SourceError> {
        self.0.label_names(selections, limit)
    }

    fn label_values(
        &self,
        name: &str,
        selections: &[model::Selection<'_>],
        limit: usize,
    ) -> Result<Vec<String>, model::SourceError> {
        self.0.label_values(name, selections, limit)
    }

    fn series(
        &self,
        selections: &[model::Selection<'_>],
        limit: usize,
    ) -> Result<Vec<Labels>, model::SourceError> {
        self.0.series(selections, limit)
    }
}

impl World for Bench {
    fn source(&self) -> Option<Arc<dyn SeriesSource>> {
        Some(Arc::new(Broken(Arc::clone(&self.memory))))
    }

    fn options(&self) -> Options {
        Options::default()
    }

    fn named(&self) -> Named {
        Named { labels: Labels::empty(), url: "http://pantau".into() }
    }

    fn write(&self, made: &[Made], _: Timestamp) -> Result<(), String> {
        if let Some(why) = self.refuses.lock().expect("held briefly").clone() {
            return Err(why);
        }
        self.writes.lock().expect("held briefly").push(made.len());
        self.memory.write(made);
        Ok(())
    }

    fn senders(&self, _: Timestamp) -> Box<dyn Senders + '_> {
        Box::new(self.roll.lock().expect("held briefly").clone())
    }

    fn elapsed(&self) -> Duration {
        *self.elapsed.lock().expect("no panic")
    }
}

impl Bench {
    fn put(&self, series: &str, at: i64, value: f64) {
        let labels = super::unit::notation::labels(series).expect("a series");
        self.memory.insert(&labels, seconds(at), Point::Value(value));
    }

    /// What an expression gives: labels and values.
    fn ask(&self, query: &str, at: i64) -> Vec<String> {
        let answer =
            promql::instant(&*self.memory, query, seconds(at), &Options::default()).expect("a query");
        let promql::Value::Vector(samples) = answer.value else { panic!("a vector") };
        samples.iter().map(|sample| format!("{} {}", sample.labels, sample.value)).collect()
    }
}

fn seconds(at: i64) -> Timestamp {
    Timestamp::from_millis(at * 1000)
}

fn specs(text: &str) -> Vec<Spec> {
    let file = RuleFile::parse(text, std::path::Path::new("r.yml")).expect("a good file");
    file.groups
        .into_iter()
        .map(|group| Spec {
            file: "r.yml".into(),
            name: group.name,
            interval: group.interval.unwrap_or(Duration::from_secs(60)),
            query_offset: group.query_offset.unwrap_or_default(),
            limit: group.limit,
            rules: group.rules,
        })
        .collect()
}

fn engine(shown: &Shown) -> Engine {
    Engine::new(None, shown.clone(), Arc::new(Figures::new(&Metrics::new())))
}

/// Evaluates everything that is due up to a time, each at its moment.
fn run(engine: &mut Engine, world: &Bench, until: i64) {
    while let Some(next) = engine.next().filter(|next| *next <= seconds(until)) {
        engine.run_one(next, Duration::from_secs(60), world).expect("it is due");
    }
}

fn first_error(shown: &Shown) -> Option<String> {
    shown.groups()[0].rules.iter().find_map(|rule| rule.fared.error.clone())
}

#[test]
fn rules_of_a_group_see_what_those_before_them_made_and_write_once_where_they_can() {
    let (world, shown) = (Bench::default(), Shown::default());
    let mut engine = engine(&shown);
    engine.load(
        specs(
            "groups:\n- name: g\n  rules:\n  - {record: a, expr: up}\n  - {record: b, expr: up * 2}\n  - {record: c, expr: a + 1, labels: {x: y}}\n",
        ),
        NO_WAIT,
        seconds(0),
    );
    world.put("up{job=\"j\"}", 0, 1.0);
    run(&mut engine, &world, 60);
    assert_eq!(
        world.ask("{__name__=~\"a|b|c\"}", 60),
        ["a{job=\"j\"} 1", "b{job=\"j\"} 2", "c{job=\"j\", x=\"y\"} 2"]
    );
    let writes = world.writes.lock().expect("held briefly").clone();
    assert_eq!(writes, [2, 1], "a and b before c, which asks for a");
    assert_eq!(first_error(&shown), None);
}

#[test]
fn a_series_that_is_no_longer_made_ends() {
    let (world, shown) = (Bench::default(), Shown::default());
    let mut engine = engine(&shown);
    engine.load(
        specs("groups:\n- name: g\n  interval: 10s\n  rules:\n  - {record: a, expr: up > 0}\n"),
        NO_WAIT,
        seconds(0),
    );
    world.put("up{job=\"j\"}", 0, 1.0);
    run(&mut engine, &world, 10);
    let made = engine.next().expect("a group").as_millis() / 1000;
    assert_eq!(world.ask("a", made).len(), 1);
    world.put("up{job=\"j\"}", made, 0.0);
    run(&mut engine, &world, made + 10);
    assert!(world.ask("a", made + 10).is_empty(), "not after five minutes, but at once");
}

#[test]
fn what_a_rule_gives_is_bounded_and_unique() {
    let (world, shown) = (Bench::default(), Shown::default());
    world.put("up{job=\"j\"}", 0, 1.0);
    world.put("up{job=\"k\"}", 0, 1.0);
    let check = |rule: &str, expected: &str| {
        let mut engine = engine(&shown);
        engine.load(
            specs(&format!("groups:\n- name: g\n  limit: 1\n  rules:\n  - {{{rule}}}\n")),
            NO_WAIT,
            seconds(0),
        );
        run(&mut engine, &world, 60);
        assert_eq!(first_error(&shown).as_deref(), Some(expected), "{rule}");
        assert_eq!(shown.groups()[0].rules[0].fared.health(), "err");
    };
    check("record: a, expr: up", "exceeded limit of 1 with 2 series");
    check("alert: a, expr: up", "exceeded limit of 1 with 2 alerts");
    check(
        "record: a, expr: up, labels: {job: x}",
        "vector contains metrics with the same labelset after applying rule labels",
    );
    check(
        "alert: a, expr: up, labels: {job: x}",
        "vector contains metrics with the same labelset after applying alert labels",
    );
    check("record: a, expr: 'up[5m]'", "rule result is not a vector or scalar");
}

#[test]
fn an_offset_asks_about_the_past_and_writes_there() {
    let (world, shown) = (Bench::default(), Shown::default());
    let mut engine = engine(&shown);
    engine.load(
        specs("groups:\n- name: g\n  query_offset: 30s\n  rules:\n  - {record: a, expr: timestamp(up)}\n"),
        NO_WAIT,
        seconds(600),
    );
    for at in (0..1200).step_by(10) {
        world.put("up{job=\"j\"}", at, 1.0);
    }
    run(&mut engine, &world, 660);
    let at = engine.last(0).expect("a pass");
    // Rounded down: the sample lies within the second that follows.
    let asked = at.as_millis() / 1000 - 30;
    assert_eq!(world.ask("a", asked + 1), [format!("a{{job=\"j\"}} {}", asked / 10 * 10)]);
    assert!(world.ask("a", asked).is_empty());
}

#[test]
fn a_write_that_fails_is_the_fault_of_the_rules_that_made_it() {
    let (world, shown) = (Bench::default(), Shown::default());
    let mut engine = engine(&shown);
    engine.load(
        specs("groups:\n- name: g\n  rules:\n  - {record: a, expr: up}\n  - {record: b, expr: none}\n"),
        NO_WAIT,
        seconds(0),
    );
    world.put("up{job=\"j\"}", 0, 1.0);
    *world.refuses.lock().expect("held briefly") = Some("the disk is full".into());
    run(&mut engine, &world, 60);
    let groups = shown.groups();
    assert_eq!(
        groups[0].rules[0].fared.error.as_deref(),
        Some("cannot write what the rule made: the disk is full")
    );
    assert_eq!(groups[0].rules[1].fared.health(), "ok");
}

#[test]
fn a_mistake_of_ours_is_the_fault_of_one_rule_and_the_others_go_on() {
    let (world, shown) = (Bench::default(), Shown::default());
    let mut engine = engine(&shown);
    let text = "groups:\n- name: g\n  rules:\n  - {record: a, expr: broken}\n  - {record: b, expr: broken + 1}\n  - {record: c, expr: up}\n  - {record: d, expr: up * 2}\n";
    engine.load(specs(text), NO_WAIT, seconds(0));
    world.put("up{job=\"j\"}", 0, 1.0);
    run(&mut engine, &world, 60);
    let groups = shown.groups();
    let health: Vec<&str> = groups[0].rules.iter().map(|rule| rule.fared.health()).collect();
    assert_eq!(health, ["err", "err", "ok", "ok"]);
    assert_eq!(
        groups[0].rules[0].fared.error.as_deref(),
        Some("a mistake of ours, please report it: it is broken")
    );
    assert_eq!(world.ask("{__name__=~\"c|d\"}", 60).len(), 2);
}

#[test]
fn a_reload_keeps_what_is_the_same_and_ends_what_is_gone() {
    let (world, shown) = (Bench::default(), Shown::default());
    let mut engine = engine(&shown);
    let two = "groups:\n- name: g\n  rules:\n  - {record: a, expr: up}\n  - {record: b, expr: up}\n- name: h\n  rules:\n  - {record: c, expr: up}\n";
    engine.load(specs(two), NO_WAIT, seconds(0));
    world.put("up{job=\"j\"}", 0, 1.0);
    run(&mut engine, &world, 60);
    let next = engine.next();
    assert_eq!(world.ask("{__name__=~\"a|b|c\"}", 60).len(), 3);
    engine.load(specs("groups:\n- name: g\n  rules:\n  - {record: a, expr: up}\n"), NO_WAIT, seconds(61));
    assert!(engine.next() >= next, "the moments stay");
    assert_eq!(shown.groups()[0].rules[0].fared.health(), "ok", "known at once");
    run(&mut engine, &world, 120);
    assert_eq!(world.ask("{__name__=~\"a|b|c\"}", 120), ["a{job=\"j\"} 1"]);
}

const DOWN: &str = "groups:\n- name: g\n  interval: 10s\n  rules:\n  - {alert: Down, expr: up == 0, for: 1m, labels: {severity: page}}\n";

fn alert_states(shown: &Shown) -> Vec<String> {
    let groups = shown.groups();
    let alerts = groups.iter().flat_map(|group| &group.rules).flat_map(|rule| &rule.alerts);
    alerts.map(|alert| format!("{} {}", alert.labels, alert.state.as_str())).collect()
}

#[test]
fn an_alert_waits_fires_and_is_written() {
    let (world, shown) = (Bench::default(), Shown::default());
    let mut engine = engine(&shown);
    engine.load(specs(DOWN), NO_WAIT, seconds(0));
    for at in (0..300).step_by(10) {
        world.put("up{instance=\"a\"}", at, if at < 150 { 0.0 } else { 1.0 });
    }
    run(&mut engine, &world, 50);
    let at = engine.last(0).expect("a pass").as_millis() / 1000;
    let series = |state: &str| {
        [format!("ALERTS{{alertname=\"Down\", alertstate=\"{state}\", instance=\"a\", severity=\"page\"}} 1")]
    };
    assert_eq!(world.ask("ALERTS", at), series("pending"));
    run(&mut engine, &world, 100);
    let at = engine.last(0).expect("a pass").as_millis() / 1000;
    assert_eq!(world.ask("ALERTS", at), series("firing"), "the pending series has ended");
    assert_eq!(world.ask("ALERTS_FOR_STATE", at).len(), 1);
    assert_eq!(alert_states(&shown), ["{alertname=\"Down\", instance=\"a\", severity=\"page\"} firing"]);
    run(&mut engine, &world, 200);
    assert!(alert_states(&shown).is_empty());
    assert!(world.ask("ALERTS", 200).is_empty());
}

#[test]
fn a_restart_neither_forgets_nor_repeats() {
    let (world, shown) = (Bench::default(), Shown::default());
    let mut first = engine(&shown);
    first.load(specs(DOWN), NO_WAIT, seconds(0));
    for at in (0..600).step_by(10) {
        world.put("up{instance=\"a\"}", at, 0.0);
    }
    run(&mut first, &world, 40);
    assert!(alert_states(&shown)[0].ends_with("pending"));
    let saved = first.save(seconds(40));
    // Twenty seconds away: they do not count as waiting, and nothing begins anew.
    let mut second = Engine::new(Some(saved), shown.clone(), Arc::new(Figures::new(&Metrics::new())));
    second.load(specs(DOWN), NO_WAIT, seconds(60));
    assert!(alert_states(&shown)[0].ends_with("pending"), "known at once");
    run(&mut second, &world, 75);
    assert!(alert_states(&shown)[0].ends_with("pending"), "the minute is not over");
    run(&mut second, &world, 110);
    assert!(alert_states(&shown)[0].ends_with("firing"), "and is not begun again");
    // A rule that was changed is another one.
    let saved = second.save(seconds(110));
    let mut third = Engine::new(Some(saved), shown.clone(), Arc::new(Figures::new(&Metrics::new())));
    third.load(specs(&DOWN.replace("== 0", "< 1")), NO_WAIT, seconds(111));
    assert!(alert_states(&shown).is_empty());
}

#[test]
fn a_reload_keeps_alerts_of_rules_that_only_say_something_else() {
    let (world, shown) = (Bench::default(), Shown::default());
    let mut engine = engine(&shown);
    engine.load(specs(DOWN), NO_WAIT, seconds(0));
    for at in (0..600).step_by(10) {
        world.put("up{instance=\"a\"}", at, 0.0);
    }
    run(&mut engine, &world, 100);
    engine.load(specs(&DOWN.replace("for: 1m", "for: 2m, annotations: {a: b}")), NO_WAIT, seconds(100));
    assert!(alert_states(&shown)[0].ends_with("firing"));
    run(&mut engine, &world, 120);
    assert_eq!(shown.groups()[0].rules[0].alerts[0].annotations, [("a".to_owned(), "b".to_owned())]);
}

#[test]
fn passes_that_were_missed_are_counted_and_the_moments_stay() {
    let (world, shown) = (Bench::default(), Shown::default());
    let metrics = Metrics::new();
    let mut engine = Engine::new(None, shown, Arc::new(Figures::new(&metrics)));
    engine.load(specs(DOWN), NO_WAIT, seconds(0));
    run(&mut engine, &world, 10);
    let before = engine.last(0).expect("a pass");
    *world.elapsed.lock().expect("no panic") = Duration::from_secs(47);
    engine.run_one(before + Duration::from_secs(47), Duration::ZERO, &world).expect("it is due");
    assert_eq!(engine.last(0), Some(before + Duration::from_secs(40)));
    let text = metrics.text();
    assert!(
        text.contains("prometheus_rule_group_iterations_missed_total{rule_group=\"r.yml;g\"} 3"),
        "{text}"
    );
    assert!(text.contains("prometheus_rule_group_iterations_total{rule_group=\"r.yml;g\"} 5"), "{text}");
    assert!(text.contains("prometheus_rule_evaluations_total{rule_group=\"r.yml;g\"} 2"), "{text}");
    // The wall clock leaps a day ahead, and no time has passed: nothing was missed.
    engine.run_one(before + Duration::from_secs(86_400), Duration::ZERO, &world).expect("it is due");
    let text = metrics.text();
    assert!(
        text.contains("prometheus_rule_group_iterations_missed_total{rule_group=\"r.yml;g\"} 3"),
        "{text}"
    );
}

/// Everything that is told up to a time: what, of whom, and when in seconds after the first.
fn told(engine: &mut Engine, world: &Bench, from: i64, until: i64) -> Vec<String> {
    let mut said = Vec::new();
    for at in from..until {
        let mut notices = Vec::new();
        while let Some(done) = engine.run_one(seconds(at), Duration::from_secs(60), world) {
            notices.extend(done.notices);
        }
        notices.extend(engine.end_lost(seconds(at), world));
        for notice in notices {
            let line = format!("{:?} {}", notice.kind, notice.labels.get("alertname").unwrap_or_default());
            if said.last() != Some(&line) {
                said.push(line);
            }
        }
    }
    said
}

const ALWAYS: &str = "groups:\n- name: g\n  interval: 10s\n  rules:\n  - {alert: Gone, expr: vector(1)}\n  - {record: a, expr: vector(1)}\n";

#[test]
fn an_alert_whose_rule_is_gone_ends_as_an_alertmanager_ends_it() {
    let (world, shown) = (Bench::default(), Shown::default());
    let without = "groups:\n- name: g\n  interval: 10s\n  rules:\n  - {record: a, expr: vector(1)}\n";
    let changed = ALWAYS.replace("Gone, expr: vector(1)", "Gone, expr: vector(2) < 2");
    for then in ["groups: []\n", without, &changed, &ALWAYS.replace("Gone", "Other")] {
        let mut engine = engine_after(&shown, &world, then);
        // What was told last is valid for four minutes.
        let early = told(&mut engine, &world, 100, 250);
        assert!(!early.iter().any(|line| line.ends_with("Gone")), "{then}: {early:?}");
        let late = told(&mut engine, &world, 250, 600);
        assert_eq!(late.iter().filter(|line| *line == "Resolved Gone").count(), 1, "{then}: {late:?}");
        assert!(engine.lost.is_empty());
    }
    // A rule that was changed and fires on, or the same rule in another group: nobody hears of an end.
    let fires_on = ALWAYS.replace("Gone, expr: vector(1)", "Gone, expr: vector(3)");
    for then in [fires_on, ALWAYS.replace("name: g", "name: h")] {
        let mut engine = engine_after(&shown, &world, &then);
        assert_eq!(told(&mut engine, &world, 100, 600), ["Firing Gone"], "{then}");
        assert!(engine.lost.is_empty());
    }
}

fn engine_after(shown: &Shown, world: &Bench, then: &str) -> Engine {
    let mut engine = engine(shown);
    engine.load(specs(ALWAYS), NO_WAIT, seconds(0));
    assert_eq!(told(&mut engine, world, 0, 100), ["Firing Gone"]);
    engine.load(specs(then), NO_WAIT, seconds(100));
    engine
}

#[test]
fn an_alert_whose_rule_went_while_nothing_ran_ends_too_and_a_restart_between_loses_no_end() {
    let (world, shown) = (Bench::default(), Shown::default());
    let mut engine = engine_after(&shown, &world, ALWAYS);
    for at in [1_000, 1_100, 1_200] {
        let saved = engine.save(seconds(at));
        engine = Engine::new(Some(saved), shown.clone(), Arc::new(Figures::new(&Metrics::new())));
        engine.load(specs("groups: []\n"), NO_WAIT, seconds(at));
        assert!(engine.has_alerts(), "it is written down");
        assert!(told(&mut engine, &world, at, at + 90).is_empty());
    }
    assert_eq!(told(&mut engine, &world, 1_290, 1_500), ["Resolved Gone"]);
    assert!(engine.save(seconds(1_500)).rules.is_empty());
}

#[test]
fn alerts_that_a_limit_ended_are_told_as_ended() {
    let (world, shown) = (Bench::default(), Shown::default());
    let mut engine = engine(&shown);
    let text = "groups:\n- name: g\n  interval: 10s\n  limit: 1\n  rules:\n  - {alert: Gone, expr: up}\n";
    engine.load(specs(text), NO_WAIT, seconds(0));
    for at in (0..600).step_by(10) {
        world.put("up{instance=\"a\"}", at, 1.0);
        if at >= 100 {
            world.put("up{instance=\"b\"}", at, 1.0);
        }
    }
    assert_eq!(told(&mut engine, &world, 0, 100), ["Firing Gone"]);
    assert!(told(&mut engine, &world, 100, 250).is_empty());
    assert_eq!(told(&mut engine, &world, 250, 600), ["Resolved Gone"]);
}

#[test]
fn a_group_that_is_away_holds_up_no_other() {
    let (bench, shown) = (Bench::default(), Shown::default());
    bench.put("up", 0, 0.0);
    let text = "groups:\n- name: slow\n  interval: 10s\n  rules:\n  - {alert: Slow, expr: up == 0}\n\
                - name: quick\n  interval: 10s\n  rules:\n  - {alert: Quick, expr: up == 0}\n";
    let mut engine = engine(&shown);
    engine.load(specs(text), NO_WAIT, seconds(0));
    run(&mut engine, &bench, 20);
    let name = |task: &super::engine::Task| task.name().to_owned();
    let mut slow = engine.begin(seconds(30), &bench).expect("both are due");
    let mut quick = engine.begin(seconds(30), &bench).expect("the other is due too");
    assert_ne!(name(&slow), name(&quick));
    assert!(engine.begin(seconds(40), &bench).is_none(), "neither is begun twice");
    assert!(engine.next().is_none() && !engine.is_whole());
    assert_eq!(engine.save(seconds(30)).rules.len(), 2, "what was known of them is written");
    assert!(engine.has_alerts());
    for at in [30, 40, 50] {
        quick.run(Duration::ZERO, &bench);
        assert_eq!(engine.end(quick, &bench).notices.len(), 1, "told while the other is away");
        quick = engine.begin(seconds(at + 10), &bench).expect("it is due again");
    }
    slow.run(Duration::ZERO, &bench);
    engine.end(slow, &bench);
    engine.end(quick, &bench);
    assert!(engine.is_whole());
    assert!(shown.groups().iter().all(|group| group.rules[0].alerts.len() == 1));
    let late = engine.begin(seconds(61), &bench).expect("the slow one has missed some");
    engine.end(late, &bench);
    engine.load(specs("groups: []\n"), NO_WAIT, seconds(70));
    assert!(engine.next().is_none());
}
