//! Rules in the running collector: a few threads of their own, which evaluate what is due and sleep until the next moment.
//!
//! In: the settings at the start and at each reload. Out: series written through [`Ingest`](crate::ingest::Ingest) as a sender of its own,
//! notices handed on, the state file. The threads take no turn among the queries of readers: a heavy panel does not delay them. Each
//! evaluates one group; what a group came to is written down and told by one thread at a time.
//!
//! Limits: as the settings bound a query; [`threads`] groups are evaluated at a time, so that one slow group holds up no other.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use alerting::Notice;
use anyhow::Context as _;
use journal::disk::RealDisk;
use model::{Labels, SeriesSource, Timestamp};
use promql::{Interrupt, InterruptCheck, Options};
use tokio::runtime::Handle;
use wire::negotiate::Message;
use wire::v1::Writer;

use super::engine::{Comeback, Done, Engine, Task};
use super::file::Rule;
use super::group::Spec;
use super::metrics::Figures;
use super::state::Saved;
use super::world::{Made, Named, Senders, World};
use super::{Config, RuleFile};
use crate::ingest::{Origin, Request, Stamp};
use crate::mistake;
use crate::queries::{self, Asked, Ticket};
use crate::scope::Scope;
use crate::settings::Checked;
use crate::state::{App, AppState, now};

/// The sender under whose name rules write; no agent's, because it is reserved.
const SENDER: &str = crate::enrolment::RULES;
/// The longest sleep: a wall clock that leaps is noticed then.
const SLEEP_MAX: Duration = Duration::from_secs(1);
/// How often the state is written while there are alerts and nothing changes.
const SAVE_EVERY_MS: i64 = 60_000;
/// Series of one request to the store.
const SERIES_MAX: usize = 50_000;

/// How many groups are evaluated at a time: two at least, so that a slow one leaves room, and not all that a large machine has.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 4)
}

/// The threads, and how they are told.
pub struct Rules {
    room: Arc<Room>,
    threads: Vec<JoinHandle<()>>,
}

/// What the threads share.
struct Room {
    work: Mutex<Work>,
    changed: Condvar,
    world: Live,
}

/// Who is told of alerts; often of none, which is the time to try again what could not be kept.
pub type Tell = Box<dyn Fn(Vec<Notice>, Timestamp) + Send>;

struct Load {
    specs: Vec<Spec>,
    comeback: Comeback,
    resend_delay: Duration,
}

impl Load {
    fn new(settings: &Checked, files: Vec<RuleFile>) -> Self {
        let config = &settings.rules;
        let comeback = Comeback {
            outage_tolerance: config.for_outage_tolerance.get(),
            grace_period: config.for_grace_period.get(),
        };
        Self { specs: specs(config, files), comeback, resend_delay: config.resend_delay.get() }
    }
}

fn specs(config: &Config, files: Vec<RuleFile>) -> Vec<Spec> {
    let mut specs = Vec::new();
    for file in files {
        let path = file.path.display().to_string();
        specs.extend(file.groups.into_iter().map(|group| Spec {
            file: path.clone(),
            name: group.name,
            interval: group.interval.unwrap_or(config.evaluation_interval.get()),
            query_offset: group.query_offset.unwrap_or(config.query_offset.get()),
            limit: group.limit,
            rules: group.rules,
        }));
    }
    specs
}

impl Rules {
    /// Starts with the files that the settings name; call it within the runtime, when the store is there.
    pub fn start(state: &AppState, files: Vec<RuleFile>, tell: Tell) -> anyhow::Result<Self> {
        let settings = state.settings.load_full();
        let work = Work {
            engine: Engine::new(
                Saved::read(&RealDisk, &settings.data),
                state.rules.clone(),
                Arc::new(Figures::new(&state.metrics)),
            ),
            tell,
            data: settings.data.clone(),
            resend_delay: Duration::ZERO,
            saved_at: None,
            tended_at: None,
            load: Some(Load::new(&settings, files)),
            stop: false,
        };
        let world = Live { state: Arc::clone(state), runtime: Handle::current(), began: Instant::now() };
        let room = Arc::new(Room { work: Mutex::new(work), changed: Condvar::new(), world });
        let mut rules = Self { room: Arc::clone(&room), threads: Vec::new() };
        for _ in 0..threads() {
            let room = Arc::clone(&room);
            let thread = std::thread::Builder::new().name("rules".into()).spawn(move || room.run());
            rules.threads.push(thread.context("cannot start the threads that evaluate rules")?);
        }
        Ok(rules)
    }

    /// Takes over reloaded settings, when the passes under way are over.
    pub fn reload(&self, settings: &Checked, files: Vec<RuleFile>) {
        self.room.lock().load = Some(Load::new(settings, files));
        self.room.changed.notify_all();
    }

    /// Ends after the passes under way, and writes the state. Blocks.
    pub fn stop(mut self) {
        self.end();
        for thread in std::mem::take(&mut self.threads) {
            if thread.join().is_err() {
                tracing::error!("a thread that evaluates rules ended by a mistake of ours");
            }
        }
        self.room.lock().save(now());
    }

    fn end(&self) {
        self.room.lock().stop = true;
        self.room.changed.notify_all();
    }
}

impl Drop for Rules {
    fn drop(&mut self) {
        self.end();
    }
}

impl Room {
    fn lock(&self) -> MutexGuard<'_, Work> {
        self.work.lock().expect("nothing panics while it holds this lock")
    }

    /// One of the threads.
    fn run(&self) {
        let mut work = self.lock();
        while !work.stop {
            if work.load.is_some() && work.engine.is_whole() {
                work.take_over(now());
            }
            // New groups wait for those that are away, and nothing old is begun meanwhile.
            let task = if work.load.is_none() { work.engine.begin(now(), &self.world) } else { None };
            let Some(mut task) = task else {
                said("telling of alerts", || work.tend_now_and_then(&self.world, now()));
                let sleep = work.sleep(now());
                let waited = self.changed.wait_timeout(work, sleep);
                (work, _) = waited.expect("nothing panics while it holds this lock");
                continue;
            };
            let resend_delay = work.resend_delay;
            drop(work);
            // Whatever a pass came to: rules that are no longer evaluated would be silence that nobody hears.
            said("a pass over a group of rules", || task.run(resend_delay, &self.world));
            work = self.lock();
            said("telling of a group's alerts", || work.end(task, &self.world, now()));
            self.changed.notify_all();
        }
    }
}

/// Does a piece of work; a mistake of ours in it is said.
fn said(what: &str, work: impl FnOnce()) {
    if let Err(mistake) = mistake::caught(work) {
        tracing::error!("{what} ended early: {mistake}");
    }
}

/// What one thread at a time has in hand.
struct Work {
    engine: Engine,
    tell: Tell,
    data: PathBuf,
    resend_delay: Duration,
    saved_at: Option<Timestamp>,
    tended_at: Option<Timestamp>,
    /// What is to be taken over.
    load: Option<Load>,
    stop: bool,
}

impl Work {
    fn take_over(&mut self, now: Timestamp) {
        let Some(Load { specs, comeback, resend_delay }) = self.load.take() else { return };
        self.resend_delay = resend_delay;
        said("taking over rules", || self.engine.load(specs, comeback, now));
    }

    fn sleep(&self, now: Timestamp) -> Duration {
        let ahead = self.engine.next().map_or(i64::MAX, |next| next.millis_since(now)).max(0);
        Duration::from_millis(ahead.unsigned_abs()).min(SLEEP_MAX)
    }

    /// Takes a group back, writes down what it came to, and tells of it.
    fn end(&mut self, task: Task, world: &Live, now: Timestamp) {
        let done = self.engine.end(task, world);
        self.tend(done, world, now);
    }

    /// What time alone brings: state that is old, alerts whose time is over, what could not be told before.
    fn tend_now_and_then(&mut self, world: &Live, now: Timestamp) {
        let is_time = |at: Timestamp| now.millis_since(at).unsigned_abs() >= SLEEP_MAX.as_millis() as u64;
        if self.tended_at.is_none_or(is_time) {
            self.tend(Done::default(), world, now);
        }
    }

    fn tend(&mut self, done: Done, world: &Live, now: Timestamp) {
        self.tended_at = Some(now);
        let mut notices = done.notices;
        let is_old = self.saved_at.is_none_or(|at| now.millis_since(at) >= SAVE_EVERY_MS);
        // Before anyone is told: what is written and was not told is told again after a crash, but of what was told and not written
        // nobody would ever hear the end.
        if done.changed || (is_old && self.engine.has_alerts()) {
            self.save(now);
        }
        let ended = self.engine.end_lost(now, world);
        let forgets = !ended.is_empty();
        notices.extend(ended);
        (self.tell)(notices, now);
        // After: what is written as forgotten is never told again.
        if forgets {
            self.save(now);
        }
    }

    fn save(&mut self, now: Timestamp) {
        self.saved_at = Some(now);
        if let Err(error) = self.engine.save(now).write(&RealDisk, &self.data) {
            tracing::warn!("cannot write the state of alerts: {error}; a restart lets them begin anew");
        }
    }
}

/// The collector as rules see it.
struct Live {
    state: AppState,
    runtime: Handle,
    began: Instant,
}

/// Bounds of one rule's query.
fn options(query: &crate::api::Config, interrupt: InterruptCheck) -> Options {
    Options {
        lookback: query.lookback.get(),
        samples_max: query.samples_max,
        features: query.features.features(),
        series_max: query.series_max,
        interrupt: Some(interrupt),
        ..Options::default()
    }
}

impl World for Live {
    fn source(&self) -> Option<Arc<dyn SeriesSource>> {
        self.state.storage().map(|storage| Arc::clone(storage) as Arc<dyn SeriesSource>)
    }

    fn options(&self) -> Options {
        let query = self.state.settings.load().query;
        let deadline = Instant::now() + query.timeout.get();
        options(&query, Arc::new(move || (Instant::now() > deadline).then_some(Interrupt::TimedOut)))
    }

    fn begin(&self, spec: &Spec, rule: &Rule, at: Timestamp) -> (Options, Option<Ticket>) {
        let query = self.state.settings.load().query;
        let timeout = query.timeout.get();
        let ticket = self.state.queries.begin_rule(Asked {
            query: rule.text.clone(),
            start: at,
            end: at,
            step: Duration::ZERO,
            timeout,
            scope: Scope::everything(),
            origin: queries::Origin::Rule { file: spec.file.clone(), group: spec.name.clone() },
        });
        let interrupt = ticket.interrupt(Instant::now() + timeout);
        (options(&query, interrupt), Some(ticket))
    }

    fn named(&self) -> Named {
        let settings = self.state.settings.load();
        Named {
            labels: settings.external_labels.labels().clone(),
            url: settings.external_url.as_str().to_owned(),
        }
    }

    fn write(&self, made: &[Made], now: Timestamp) -> Result<(), String> {
        let origin = Origin { name: SENDER.into(), stamp: Stamp { keeps_own: true, ..Stamp::default() } };
        for part in made.chunks(SERIES_MAX) {
            let payload = payload(part);
            let request = Request {
                origin: &origin,
                message: Message::V1,
                payload: &payload,
                envelope: None,
                received_at: now,
            };
            let outcome =
                self.runtime.block_on(self.state.ingest.write(request)).map_err(|error| error.to_string())?;
            if !outcome.refusals.is_empty() {
                return Err(outcome.refusals.short());
            }
        }
        Ok(())
    }

    fn senders(&self, now: Timestamp) -> Box<dyn Senders + '_> {
        Box::new(Known::new(&self.state, now))
    }

    fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }
}

fn payload(made: &[Made]) -> Vec<u8> {
    let mut writer = Writer::default();
    for made in made {
        match &made.histogram {
            None => writer.series(&made.labels, [(made.at, made.value)]),
            Some(histogram) => {
                let mut bytes = Vec::new();
                histogram.encode(made.at, &mut bytes);
                let no_exemplars = std::iter::empty::<(&[(&str, &str)], Timestamp, f64)>();
                writer.series_with(made.labels.iter(), [], [bytes.as_slice()], no_exemplars);
            }
        }
    }
    writer.finish()
}

/// The ledger and the roll at one moment.
struct Known<'a> {
    state: &'a App,
    agents: HashMap<String, Heard>,
    any_silent: bool,
}

/// What was heard of an agent.
struct Heard {
    is_silent: bool,
    last: Timestamp,
}

impl<'a> Known<'a> {
    fn new(state: &'a App, now: Timestamp) -> Self {
        let agents = state.agents(now).into_iter().filter_map(|agent| {
            let heard =
                Heard { is_silent: !agent.connected?, last: Timestamp::from_millis(agent.last_seen_ms?) };
            Some((agent.agent, heard))
        });
        let agents: HashMap<String, Heard> = agents.collect();
        let any_silent = agents.values().any(|heard| heard.is_silent);
        Self { state, agents, any_silent }
    }
}

impl Senders for Known<'_> {
    fn any_silent(&self) -> bool {
        self.any_silent
    }

    fn is_silent(&self, sender: &str) -> bool {
        self.agents.get(sender).is_some_and(|heard| heard.is_silent)
    }

    fn has_sent_since(&self, sender: &str, since: Timestamp) -> bool {
        self.agents.get(sender).is_none_or(|heard| heard.last > since)
    }

    fn of(&self, series: &[Labels]) -> Vec<Vec<Arc<str>>> {
        self.state.ingest.writers(series)
    }
}

#[cfg(test)]
mod tests;
