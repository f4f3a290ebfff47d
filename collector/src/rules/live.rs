//! Rules in the running collector: a thread of their own, which evaluates what is due and sleeps until the next moment.
//!
//! In: the settings at the start and at each reload. Out: series written through [`Ingest`](crate::ingest::Ingest) as a sender of its own,
//! notices handed on, the state file. The thread takes no turn among the queries of readers: a heavy panel does not delay it.
//!
//! Limits: as the settings bound a query; one group is evaluated at a time.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use alerting::Notice;
use anyhow::Context as _;
use journal::disk::RealDisk;
use model::{Labels, SeriesSource, Timestamp};
use promql::{Interrupt, Options};
use tokio::runtime::Handle;
use wire::negotiate::Message;
use wire::v1::Writer;

use super::engine::{Comeback, Engine};
use super::group::Spec;
use super::metrics::Figures;
use super::state::Saved;
use super::world::{Made, Named, Senders, World};
use super::{Config, RuleFile};
use crate::ingest::{Origin, Request, Stamp};
use crate::mistake;
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

/// The thread, and how it is told.
pub struct Rules {
    orders: Arc<Orders>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Orders {
    given: Mutex<Given>,
    changed: Condvar,
}

#[derive(Default)]
struct Given {
    load: Option<Load>,
    stop: bool,
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
        let orders = Arc::new(Orders::default());
        orders.give(|given| given.load = Some(Load::new(&settings, files)));
        let worker = Worker {
            engine: Engine::new(
                Saved::read(&RealDisk, &settings.data),
                state.rules.clone(),
                Arc::new(Figures::new(&state.metrics)),
            ),
            world: Live { state: Arc::clone(state), runtime: Handle::current(), began: Instant::now() },
            tell,
            data: settings.data.clone(),
            resend_delay: Duration::ZERO,
            saved_at: None,
        };
        let for_thread = Arc::clone(&orders);
        let thread = std::thread::Builder::new().name("rules".into()).spawn(move || worker.run(&for_thread));
        Ok(Self { orders, thread: Some(thread.context("cannot start the thread that evaluates rules")?) })
    }

    /// Takes over reloaded settings, before the next pass.
    pub fn reload(&self, settings: &Checked, files: Vec<RuleFile>) {
        self.orders.give(|given| given.load = Some(Load::new(settings, files)));
    }

    /// Ends after the pass under way, and writes the state. Blocks.
    pub fn stop(mut self) {
        self.orders.give(|given| given.stop = true);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that evaluates rules ended by a mistake of ours");
        }
    }
}

impl Orders {
    fn give(&self, change: impl FnOnce(&mut Given)) {
        change(&mut self.given.lock().expect("nothing panics while it holds this lock"));
        self.changed.notify_all();
    }

    /// What is ordered, after at most so long.
    fn wait(&self, most: Duration) -> Given {
        let given = self.given.lock().expect("nothing panics while it holds this lock");
        let idle = |given: &mut Given| given.load.is_none() && !given.stop;
        let (mut given, _) = self
            .changed
            .wait_timeout_while(given, most, idle)
            .expect("nothing panics while it holds this lock");
        Given { load: given.load.take(), stop: given.stop }
    }
}

impl Drop for Rules {
    fn drop(&mut self) {
        self.orders.give(|given| given.stop = true);
    }
}

struct Worker {
    engine: Engine,
    world: Live,
    tell: Tell,
    data: PathBuf,
    resend_delay: Duration,
    saved_at: Option<Timestamp>,
}

impl Worker {
    fn run(mut self, orders: &Orders) {
        loop {
            let given = orders.wait(self.sleep(now()));
            if given.stop {
                self.save(now());
                return;
            }
            if let Some(Load { specs, comeback, resend_delay }) = given.load {
                self.engine.load(specs, comeback, now());
                self.resend_delay = resend_delay;
            }
            // Whatever a pass came to: rules that are no longer evaluated would be silence that nobody hears.
            if let Err(mistake) = mistake::caught(|| self.work(now())) {
                tracing::error!("a pass over a group of rules ended early: {mistake}");
            }
        }
    }

    fn sleep(&self, now: Timestamp) -> Duration {
        let ahead = self.engine.next().map_or(i64::MAX, |next| next.millis_since(now)).max(0);
        Duration::from_millis(ahead.unsigned_abs()).min(SLEEP_MAX)
    }

    /// One group at most, so that orders are heard between groups.
    fn work(&mut self, now: Timestamp) {
        let done = self.engine.run_one(now, self.resend_delay, &self.world).unwrap_or_default();
        let mut notices = done.notices;
        let is_old = self.saved_at.is_none_or(|at| now.millis_since(at) >= SAVE_EVERY_MS);
        // Before anyone is told: what is written and was not told is told again after a crash, but of what was told and not written
        // nobody would ever hear the end.
        if done.changed || (is_old && self.engine.has_alerts()) {
            self.save(now);
        }
        let ended = self.engine.end_lost(now, &self.world);
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

impl World for Live {
    fn source(&self) -> Option<Arc<dyn SeriesSource>> {
        self.state.storage().map(|storage| Arc::clone(storage) as Arc<dyn SeriesSource>)
    }

    fn options(&self) -> Options {
        let query = self.state.settings.load().query;
        let deadline = Instant::now() + query.timeout.get();
        Options {
            lookback: query.lookback.get(),
            samples_max: query.samples_max,
            series_max: query.series_max,
            interrupt: Some(Arc::new(move || (Instant::now() > deadline).then_some(Interrupt::TimedOut))),
            ..Options::default()
        }
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
