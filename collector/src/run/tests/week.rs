//! A week of one agent's life, drained into a real collector: spool, uplink, HTTP, ingest, journal and ledger are the programs' own.
//! The agent's clocks are turned by hand; the collector lives today, just after that week.
//!
//! Scaled: a batch covers five minutes and holds five rounds, so that a week is two thousand batches.

use pantau_agent::simulated::Machine;

use super::*;

/// Minutes between rounds, and rounds of a batch.
const ROUND_MINUTES: u64 = 1;
const ROUNDS: u64 = 5;
const BATCH_MINUTES: u64 = ROUND_MINUTES * ROUNDS;
const SERIES: usize = 3;

const DAY_MINUTES: u64 = 24 * 60;

/// Batches that may be delivered from a live batch's spooling to its delivery, itself included, while hundreds wait: one request
/// of the backlog is under way, others pass while two tasks and two connections take turns.
const DELAY_REQUESTS_MAX: u64 = 16;

/// The agent, the true time, and what should be in the store and in the ledger.
struct Life {
    machine: Machine,
    now: Timestamp,
    next: u64,
    /// Samples that must be there, by series.
    expected: Vec<Vec<(i64, f64)>>,
    /// Batches spooled that must come.
    batches: u64,
}

impl Life {
    fn new(begin: Timestamp) -> Self {
        let machine = Machine::new(begin);
        Self { machine, now: begin, next: 0, expected: vec![Vec::new(); SERIES], batches: 0 }
    }

    fn pass_minutes(&mut self, minutes: u64) {
        let span = Duration::from_secs(60 * minutes);
        self.now = self.now + span;
        self.machine.pass(span);
    }

    /// Batches one after the other. Each value comes once, so that a sample at the wrong place is found.
    async fn live(&mut self, minutes: u64) {
        for _ in 0..minutes / BATCH_MINUTES {
            for _ in 0..ROUNDS {
                self.pass_minutes(ROUND_MINUTES);
                self.round();
            }
            self.machine.spool_batch().await;
            self.batches += 1;
        }
    }

    fn round(&mut self) {
        let mut samples = Vec::new();
        for (number, expected) in self.expected.iter_mut().enumerate() {
            let value = (self.next * SERIES as u64) as f64 + number as f64 + 0.5;
            let labels = Labels::from_pairs([("__name__", "week".to_owned()), ("n", number.to_string())]);
            samples.push((labels, value));
            expected.push((self.now.as_millis(), value));
        }
        self.next += 1;
        self.machine.round(&samples);
    }

    /// The next batch's first millisecond would be this.
    fn after_now(&self) -> i64 {
        self.now.as_millis() + 1
    }
}

/// What the store holds of the week, series by series in label order.
fn stored(bench: &Bench) -> Vec<Vec<(i64, f64)>> {
    let matchers = [model::Matcher::new("__name__", model::MatchOp::Equal, "week").expect("a matcher")];
    let selection = model::Selection { matchers: &matchers, start: Timestamp::MIN, end: Timestamp::MAX };
    let source = bench.collector.state.storage().expect("ready");
    let mut set = source.select(&selection).expect("readable");
    let (mut all, mut columns) = (Vec::new(), model::Columns::default());
    while set.advance().expect("readable") {
        set.read(&mut columns).expect("readable");
        all.push(columns.iter().map(|sample| (sample.timestamp.as_millis(), sample.value)).collect());
        let labels = set.labels();
        assert_eq!((labels.get("region"), labels.get("site")), (Some("33.19"), Some("site-1")));
    }
    all
}

/// A gap of the ledger: cause, first and last millisecond.
type Told = (String, i64, i64);

fn gaps(bench: &Bench) -> (Vec<Told>, Vec<(i64, i64)>) {
    let state = &bench.collector.state;
    let page = state.ledger.gaps(&state.enrolment.agents(), now()).pop().expect("one agent");
    let told = page.gaps.into_iter().filter(|gap| !gap.open);
    let late = page.stamped_late.iter().map(|span| (span.from_ms, span.to_ms)).collect();
    (told.map(|gap| (gap.cause, gap.from_ms, gap.to_ms)).collect(), late)
}

fn status(bench: &Bench) -> ledger::AgentStatus {
    bench.collector.state.agents(now()).pop().expect("one agent")
}

/// The week: a program that is restarted, a power cut, a boot in the past that never learns the time and dies, a boot in the past
/// that learns it after an hour. Answers the gaps and the late spans that must stand in the ledger.
async fn live_through_the_week(life: &mut Life) -> (Vec<Told>, Vec<(i64, i64)>) {
    let mut told = Vec::new();
    let before_now = |life: &Life| life.now.as_millis() - 1;
    life.machine.start();
    life.live(2 * DAY_MINUTES).await;
    // Restarted for an upgrade, half an hour.
    life.machine.stop().await;
    life.batches += 1; // the farewell's
    let from = life.after_now();
    life.pass_minutes(30);
    life.machine.start();
    told.push(("stopped".to_owned(), from, before_now(life)));
    life.live(DAY_MINUTES).await;
    // The power goes, and comes back for forty minutes. The machine believes that it is 2001, and nobody tells it otherwise.
    life.machine.cut_power();
    let from = life.after_now();
    life.pass_minutes(60);
    life.machine.boot(Timestamp::from_millis(1_000_000_000_000));
    life.machine.start();
    let (known, batches) = (life.expected.clone(), life.batches);
    life.live(40).await;
    (life.expected, life.batches) = (known, batches);
    // It goes again, and when it comes back NTP answers after an hour.
    life.machine.cut_power();
    life.pass_minutes(20);
    life.machine.boot(Timestamp::from_millis(1_000_000_000_000));
    life.machine.start();
    for cause in ["crashed", "clock"] {
        told.push((cause.to_owned(), from, before_now(life)));
    }
    let late = (life.now.as_millis(), life.now.as_millis() + 60 * 60_000);
    life.live(60).await;
    life.machine.set_clock(life.now);
    life.live(4 * DAY_MINUTES).await;
    (told, vec![late])
}

#[tokio::test]
async fn a_week_drains_whole_into_the_store_and_holds_up_no_live_data() {
    let bench = bench("").await;
    let token = bench.enrol("edge", "33.19");
    let token_file = bench.folder.path().join("edge.token");
    std::fs::write(&token_file, token.strip_prefix("Bearer ").expect("a bearer token")).expect("written");
    let begin = now() - Duration::from_secs(7 * 86_400 + 12 * 3600);
    let mut life = Life::new(begin);
    let (told, late) = live_through_the_week(&mut life).await;

    life.machine.connect(&format!("http://{}", bench.collector.address), &token_file);
    let mut changes = life.machine.changes();
    let mut slowest = 0;
    for _ in 0..30 {
        let before = life.machine.delivered();
        life.live(BATCH_MINUTES).await;
        while bench.collector.state.ledger.covered_until("edge") != Some(life.now) {
            changes.changed().await.expect("the spool lives");
        }
        slowest = slowest.max(life.machine.delivered() - before);
        assert!(life.machine.pending() > 500, "the backlog drains beside, and is not gone");
        let covered = status(&bench).covered.expect("batches came");
        assert!(covered.from_ms > begin.as_millis(), "the newest come first");
    }
    assert!(slowest <= DELAY_REQUESTS_MAX, "a live batch waited for {slowest} requests");
    while life.machine.pending() > 0 {
        changes.changed().await.expect("the spool lives");
    }

    assert_eq!(life.machine.failed(), 0);
    let stored = stored(&bench);
    assert_eq!(stored.len(), SERIES);
    for (stored, expected) in stored.iter().zip(&life.expected) {
        assert_eq!(stored.len(), expected.len());
        let wrong = stored.iter().zip(expected).find(|(stored, expected)| stored != expected);
        assert_eq!(wrong, None, "each sample once, at its time, with its value");
    }
    assert_eq!(gaps(&bench), (told, late));
    let status = status(&bench);
    assert_eq!((status.pending_batches, status.batches, status.conflicts), (0, life.batches, 0));
    let covered = status.covered.expect("batches came");
    assert_eq!((covered.from_ms, covered.to_ms), (begin.as_millis(), life.now.as_millis()));
    bench.collector.stop().await.expect("stopped");
}
