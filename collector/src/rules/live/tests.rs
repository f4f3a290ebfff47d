//! Silence is not recovery: rules over a real store, ledger and roll, with the time as an argument.

use alerting::NoticeKind;
use wire::identity::{BatchIdentity, BootId, Envelope, Epoch, Losses, PayloadHash};

use super::*;
use crate::enrolment::{self, Enrolment};
use crate::ledger::Ledger;
use crate::metrics::Metrics;
use crate::rules::Shown;
use crate::{ingest, storage};

const AGENT: &str = "kudus-gw";
const START: i64 = 1_800_000_000;
const EVERY: i64 = 15;
const RULES: &str = "groups:\n- name: g\n  interval: 30s\n  rules:\n  - {record: 'job:up:min', expr: min by (instance) (up)}\n  \
                     - {alert: Down, expr: up == 0, for: 1m}\n  - {alert: Derived, expr: 'job:up:min == 0'}\n";

struct Bench {
    work: Work,
    world: Live,
    state: AppState,
    runtime: tokio::runtime::Runtime,
    sequence: u64,
    told: Vec<(NoticeKind, String)>,
    rules: &'static str,
    folder: tempfile::TempDir,
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_millis((START + second) * 1000)
}

impl Bench {
    fn new() -> Self {
        Self::of(RULES)
    }

    fn of(rules: &'static str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let region = "33.19".parse().expect("a code");
        enrolment::add(&folder.path().join("data"), AGENT, region, "kudus-1", at(0)).expect("enrolled");
        let (state, work, world) = open(&folder, &runtime, rules);
        Self { work, world, state, runtime, sequence: 0, told: Vec::new(), rules, folder }
    }

    /// The collector stops and starts again at a time.
    fn restart(self, second: i64) -> Self {
        let Self { mut work, world, state, runtime, sequence, told, rules, folder } = self;
        work.save(at(second));
        state.ingest.write_roll(at(second)).expect("written");
        drop((work, world, state));
        let (state, work, world) = open(&folder, &runtime, rules);
        Self { work, world, state, runtime, sequence, told, rules, folder }
    }

    /// A batch of the agent's: `up` of these instances.
    fn send(&mut self, second: i64, up: &[(&str, f64)]) {
        let mut encoder = wire::v2::Encoder::new();
        for (instance, value) in up {
            let labels = Labels::from_pairs([("__name__", "up"), ("instance", instance), ("job", "node")]);
            let token = encoder.register(&labels, None);
            encoder.sample(token, at(second), *value);
        }
        let mut payload = Vec::new();
        encoder.finish(&mut payload);
        self.sequence += 1;
        let epoch = Epoch::from_u128(7);
        let identity = BatchIdentity {
            epoch,
            sequence: self.sequence,
            boot: BootId::from_u128(1),
            payload_hash: PayloadHash::of(epoch, &payload),
            from: at(second - EVERY),
            to: at(second),
            samples: up.len() as u64,
            stamped_late: false,
            losses: Losses::none(),
        };
        let stamp = Stamp { region: Some("33.19".into()), site: Some("kudus-1".into()), ..Stamp::default() };
        let request = ingest::Request {
            origin: &Origin { name: AGENT.into(), stamp },
            message: Message::V2,
            payload: &payload,
            envelope: Some(&Envelope { identity, sent_at: at(second) }),
            received_at: at(second),
        };
        let outcome = self.runtime.block_on(self.state.ingest.write(request)).expect("stored");
        assert_eq!(outcome.samples, up.len() as u64);
    }

    /// Lets the rules run from one time to another, the agent sending meanwhile.
    fn go(&mut self, from: i64, to: i64, up: Option<&[(&str, f64)]>) {
        for second in (from..to).step_by(EVERY as usize) {
            if let Some(up) = up {
                self.send(second, up);
            }
            for later in second..second + EVERY {
                if let Some(done) = self.work.engine.run_one(at(later), Duration::from_secs(60), &self.world)
                {
                    let told = done.notices.into_iter().map(|notice| {
                        let name = |label| notice.labels.get(label).unwrap_or_default().to_owned();
                        (notice.kind, format!("{} {}", name("alertname"), name("instance")))
                    });
                    self.told.extend(told);
                }
            }
        }
    }

    fn alerts(&self) -> Vec<String> {
        let groups = self.state.rules.groups();
        let alerts = groups.iter().flat_map(|group| &group.rules).flat_map(|rule| &rule.alerts);
        let said = |alert: &alerting::ActiveAlert| {
            let label = |name| alert.labels.get(name).unwrap_or_default().to_owned();
            format!("{} {} {}", label("alertname"), label("instance"), alert.state.as_str())
        };
        let mut alerts: Vec<String> = alerts.map(said).collect();
        alerts.sort();
        alerts
    }

    fn told_kinds(&self, alert: &str) -> Vec<NoticeKind> {
        let mut kinds: Vec<NoticeKind> =
            self.told.iter().filter(|(_, name)| name == alert).map(|(kind, _)| *kind).collect();
        kinds.dedup();
        kinds
    }
}

fn open(
    folder: &tempfile::TempDir,
    runtime: &tokio::runtime::Runtime,
    rules: &str,
) -> (AppState, Work, Live) {
    let settings = Checked::parse("agent: {enabled: false}\n", "test", folder.path()).expect("good settings");
    let (data, settings) = (settings.data.clone(), Arc::new(settings));
    let ledger = Ledger::new();
    let store = storage::open(&data, &settings.storage, &ledger).expect("opened");
    let enrolment = Arc::new(Enrolment::open(&data).expect("readable"));
    let state = Arc::new(App::new(settings, enrolment, ledger, Arc::new(Metrics::new())));
    state.ingest.open_roll(&data, at(0));
    state.ingest.set_store(Arc::clone(&store));
    state.set_storage(store as Arc<dyn crate::state::Storage>);
    let shown: Shown = state.rules.clone();
    let saved = Saved::read(&RealDisk, &data);
    let now = saved.as_ref().map_or(at(0), |saved| saved.at);
    let mut engine = Engine::new(saved, shown, Arc::new(Figures::new(&state.metrics)));
    let file = RuleFile::parse(rules, std::path::Path::new("r.yml")).expect("good rules");
    let comeback = Comeback { outage_tolerance: Duration::from_secs(3600), grace_period: Duration::ZERO };
    engine.load(specs(&Config::default(), vec![file]), comeback, now);
    let world = Live { state: Arc::clone(&state), runtime: runtime.handle().clone(), began: Instant::now() };
    let tell: Tell = Box::new(|_, _| {});
    let resend_delay = Duration::from_secs(60);
    (
        state,
        Work { engine, tell, data, resend_delay, saved_at: None, tended_at: None, load: None, stop: false },
        world,
    )
}

const DOWN_AND_WELL: &[(&str, f64)] = &[("a", 0.0), ("b", 1.0)];

#[test]
fn an_agent_that_is_cut_resolves_nothing_and_accuses_nobody() {
    let mut bench = Bench::new();
    bench.go(0, 300, Some(DOWN_AND_WELL));
    let firing = ["Derived a firing", "Down a firing"];
    assert_eq!(bench.alerts(), firing);
    // The cut. For five minutes the last values count; then nothing is known.
    bench.go(300, 570, None);
    assert_eq!(bench.alerts(), firing);
    bench.go(570, 1200, None);
    let unknown = ["Derived a unknown", "Down a unknown"];
    assert_eq!(bench.alerts(), unknown, "held, and of the healthy target nothing is said");
    assert_eq!(bench.told_kinds("Down a"), [NoticeKind::Firing, NoticeKind::Unknown]);
    // A restart in the middle of it changes nothing.
    let mut bench = bench.restart(1200);
    bench.go(1200, 1500, None);
    assert_eq!(bench.alerts(), unknown);
    // Hours later, when the store has long forgotten who wrote what.
    bench.go(12_000, 12_300, None);
    assert_eq!(bench.alerts(), unknown);
    // Data says that it is well, and that alone resolves.
    bench.go(12_300, 12_400, Some(&[("a", 1.0), ("b", 1.0)]));
    assert!(bench.alerts().is_empty(), "{:?}", bench.alerts());
    let told = [NoticeKind::Firing, NoticeKind::Unknown, NoticeKind::Resolved];
    assert_eq!(bench.told_kinds("Down a"), told);
    assert!(bench.told_kinds("Down b").is_empty(), "nobody heard of the healthy target");
}

#[test]
fn an_agent_that_comes_back_with_bad_news_goes_on_with_them() {
    let mut bench = Bench::new();
    bench.go(0, 300, Some(DOWN_AND_WELL));
    bench.go(300, 1200, None);
    bench.go(1200, 1300, Some(DOWN_AND_WELL));
    assert_eq!(bench.alerts(), ["Derived a firing", "Down a firing"]);
    let told = [NoticeKind::Firing, NoticeKind::Unknown, NoticeKind::Firing];
    assert_eq!(bench.told_kinds("Down a"), told, "never resolved");
}

/// What reads back for less long than it takes to call an agent silent ended by itself when the agent was cut.
#[test]
fn a_window_that_is_shorter_than_a_silence_resolves_nothing() {
    let mut bench = Bench::of(
        "groups:\n- name: g\n  interval: 5s\n  rules:\n  - {alert: Short, expr: 'last_over_time(up[20s]) == 0'}\n",
    );
    bench.go(0, 300, Some(DOWN_AND_WELL));
    assert_eq!(bench.alerts(), ["Short a firing"]);
    for (from, expected) in [(300, "Short a firing"), (315, "Short a unknown"), (330, "Short a unknown")] {
        bench.go(from, from + 15, None);
        assert_eq!(bench.alerts(), [expected], "{from}");
    }
    bench.go(600, 630, Some(&[("a", 1.0), ("b", 1.0)]));
    assert!(bench.alerts().is_empty(), "{:?}", bench.alerts());
    let told = [NoticeKind::Firing, NoticeKind::Unknown, NoticeKind::Resolved];
    assert_eq!(bench.told_kinds("Short a"), told);

    // The control: who sends and no longer finds it lets it end at once.
    bench.go(630, 700, Some(DOWN_AND_WELL));
    assert_eq!(bench.alerts(), ["Short a firing"]);
    bench.go(705, 720, Some(&[("a", 1.0), ("b", 1.0)]));
    assert!(bench.alerts().is_empty(), "{:?}", bench.alerts());
}

/// The control: an agent that goes on and no longer reports a target (it was taken out) lets its alert end.
#[test]
fn a_target_that_its_agent_no_longer_has_resolves() {
    let mut bench = Bench::new();
    bench.go(0, 300, Some(DOWN_AND_WELL));
    bench.go(300, 1200, Some(&[("b", 1.0)]));
    assert!(bench.alerts().is_empty(), "{:?}", bench.alerts());
    assert_eq!(bench.told_kinds("Down a"), [NoticeKind::Firing, NoticeKind::Resolved]);
}

/// An agent that comes back sends what it polls often at once, and what it polls rarely, or sends late out of its backlog, minutes after.
#[test]
fn an_agent_that_comes_back_resolves_nothing_before_its_data_is_there() {
    let mut bench = Bench::new();
    bench.go(0, 300, Some(DOWN_AND_WELL));
    bench.go(300, 1200, None);
    bench.go(1200, 1500, Some(&[("b", 1.0)]));
    assert_eq!(bench.alerts(), ["Derived a unknown", "Down a unknown"], "nothing of a is there yet");
    bench.go(1500, 1600, Some(DOWN_AND_WELL));
    assert_eq!(bench.alerts(), ["Derived a firing", "Down a firing"]);
    let told = [NoticeKind::Firing, NoticeKind::Unknown, NoticeKind::Firing];
    assert_eq!(bench.told_kinds("Down a"), told, "never resolved");
    // And one whose target was taken out meanwhile is not waited for for ever.
    bench.go(1600, 2500, None);
    bench.go(2500, 3200, Some(&[("b", 1.0)]));
    assert!(bench.alerts().is_empty(), "{:?}", bench.alerts());
}

#[test]
fn a_collector_that_was_away_resolves_nothing_when_it_comes_back() {
    let mut before = Bench::new();
    before.go(0, 300, Some(DOWN_AND_WELL));
    let mut bench = before.restart(300);
    bench.go(1500, 1560, None);
    let unknown = ["Derived a unknown", "Down a unknown"];
    assert_eq!(bench.alerts(), unknown, "nobody could send while it was away");
    bench.go(1560, 1700, Some(&[("b", 1.0)]));
    assert_eq!(bench.alerts(), unknown);
    bench.go(1700, 1800, Some(&[("a", 1.0), ("b", 1.0)]));
    assert!(bench.alerts().is_empty(), "{:?}", bench.alerts());
    let told = [NoticeKind::Firing, NoticeKind::Unknown, NoticeKind::Resolved];
    assert_eq!(bench.told_kinds("Down a"), told);
}

#[test]
fn a_rule_that_runs_is_in_the_list_of_queries_and_can_be_ended() {
    let bench = Bench::new();
    let file = RuleFile::parse(RULES, std::path::Path::new("r.yml")).expect("good rules");
    let spec = specs(&Config::default(), vec![file]).remove(0);
    let queries = &bench.state.queries;
    let (options, ticket) = bench.world.begin(&spec, &spec.rules[1], at(30));
    let ticket = ticket.expect("it is entered");
    let active = queries.active(&Scope::everything());
    let [rule] = active.as_slice() else { panic!("{active:?}") };
    let origin = queries::Origin::Rule { file: "r.yml".into(), group: "g".into() };
    assert_eq!((rule.asked.query.as_str(), &rule.asked.origin), ("up == 0", &origin));
    assert!(rule.is_running && rule.asked.start == at(30));
    let kudus = Scope::new(vec!["33.19".parse().expect("a code")], Vec::new());
    assert!(queries.active(&kudus).is_empty(), "its expression names what others may not know");
    assert!(!queries.kill(rule.id, &kudus));
    let ask = || {
        let source = bench.world.source().expect("there is a store");
        promql::instant(&*source, "up == 0", at(30), &options).map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(ask(), Ok(()));
    assert!(queries.kill(rule.id, &Scope::everything()));
    assert_eq!(ask(), Err(promql::QueryError::from(Interrupt::Canceled).to_string()));
    drop(ticket);
    assert!(queries.active(&Scope::everything()).is_empty());
    assert_eq!(bench.state.metrics.queries_active.get(), 0, "requests alone are counted there");
}

#[test]
fn rules_that_ran_are_in_the_list_no_more() {
    let mut bench = Bench::new();
    bench.go(0, 120, Some(DOWN_AND_WELL));
    assert!(!bench.alerts().is_empty());
    assert!(bench.state.queries.active(&Scope::everything()).is_empty());
}
