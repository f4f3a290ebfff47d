//! What the engine that asks all devices counts, as series of the agent: `pantau_snmp_*` under `job="pantau-agent"`.
//!
//! In: the engine's [`Stats`] and the [`Neighbours`](super::neighbours::Neighbours), read every 15 s; nobody is asked. Out: about
//! sixty series, the slowest devices and devices with two names among them; a line in the log for each new pair of those.
//!
//! Limits: ten slowest devices, a hundred pairs.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use model::Labels;
use snmp::engine::Stats;

use super::neighbours::{DOUBLES_MAX, Double};
use super::{Core, own};
use crate::inputs::{BoxFuture, CollectError, Context, FixedTargets, Input, Target, TargetSet};
use crate::series::{Round, SeriesTable};

const INTERVAL: Duration = Duration::from_secs(15);
/// Ten slowest, a hundred pairs, and what the engine counts; those that left are remembered for a while.
const SERIES_MAX: usize = 1_000;

/// See the module's text.
struct Pulse {
    core: Arc<Core>,
    base: Labels,
    /// Pairs that the log has named.
    said: BTreeSet<Double>,
}

/// The engine's series as a target set.
pub(super) fn targets(core: &Arc<Core>, context: &Context) -> Box<dyn TargetSet> {
    let (core, base) = (core.clone(), context.base_labels("pantau-agent", &context.instance));
    let key = format!("snmp-engine {base}");
    let build = move || -> Box<dyn Input> { Box::new(Pulse { core, base, said: BTreeSet::new() }) };
    Box::new(FixedTargets::new(vec![Target { key, build: Box::new(build) }]))
}

impl Core {
    /// What the engine counts; none while nobody was asked yet.
    fn stats(&self) -> Option<Stats> {
        let engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner);
        engine.as_ref().map(snmp::engine::Engine::stats)
    }
}

impl Input for Pulse {
    fn name(&self) -> &str {
        "snmp-engine"
    }

    fn interval(&self) -> Duration {
        INTERVAL
    }

    fn timeout(&self) -> Duration {
        INTERVAL
    }

    fn new_table(&self) -> SeriesTable {
        SeriesTable::new(self.base.clone(), SERIES_MAX)
    }

    fn collect<'a>(&'a mut self, round: &'a mut Round<'_>) -> BoxFuture<'a, Result<(), CollectError>> {
        Box::pin(async move {
            if let Some(stats) = self.core.stats() {
                report(&stats, round);
            }
            let refused = self.core.memory.refused();
            round.metric(&own::INTERFACES_NOT_REMEMBERED, &[], refused as f64);
            for (device, seconds) in self.core.neighbours.slowest(Instant::now()) {
                round.metric(&own::SLOWEST, &[&device], seconds);
            }
            self.doubles(round);
            Ok(())
        })
    }
}

impl Pulse {
    fn doubles(&mut self, round: &mut Round<'_>) {
        let doubles = self.core.neighbours.doubles();
        for Double { device, also, by } in &doubles {
            round.metric(&own::DUPLICATE, &[device, also, by], 1.0);
        }
        let now: BTreeSet<Double> = doubles.into_iter().collect();
        for double in now.difference(&self.said) {
            tracing::warn!("{}", text(double));
        }
        if now.len() == DOUBLES_MAX && self.said.len() < DOUBLES_MAX {
            tracing::warn!(
                "snmp: more than {DOUBLES_MAX} pairs of devices look like one; the others are not named"
            );
        }
        self.said = now;
    }
}

fn text(Double { device, also, by }: &Double) -> String {
    match *by {
        "address" => {
            format!("snmp: {device} and {also} have one address: the device is asked twice, take one away")
        }
        _ => format!(
            "snmp: {device} and {also} have one SNMPv3 engine id: one device under two names, or a copied configuration; replies of one \
             may be refused for the clock of the other, give each its own"
        ),
    }
}

#[rustfmt::skip] // one metric a line reads as the table that it is
fn report(stats: &Stats, round: &mut Round<'_>) {
    let mut say = |family, labels: &[&str], count: u64| { round.metric(family, labels, count as f64); };
    say(&own::JOBS_TAKEN, &[], stats.jobs);
    say(&own::JOBS_WAITED, &[], stats.jobs_waited);
    say(&own::REQUESTS, &[], stats.requests);
    say(&own::RETRIES, &[], stats.retries);
    say(&own::TIMEOUTS, &[], stats.timeouts);
    say(&own::REPLIES, &[], stats.replies);
    say(&own::DATAGRAMS, &["sent"], stats.sent_datagrams);
    say(&own::DATAGRAMS, &["received"], stats.received_datagrams);
    say(&own::BYTES, &["sent"], stats.sent_bytes);
    say(&own::BYTES, &["received"], stats.received_bytes);
    say(&own::SOCKET_CALLS, &["sent"], stats.send_calls);
    say(&own::SOCKET_CALLS, &["received"], stats.receive_calls);
    say(&own::SOCKET_ERRORS, &["sent"], stats.send_errors);
    say(&own::SOCKET_ERRORS, &["received"], stats.receive_errors);
    say(&own::KERNEL_DROPS, &[], stats.kernel_drops);
    for (reason, count) in stats.garbage() { say(&own::IGNORED, &[reason], count); }
    say(&own::REFUSALS, &[], stats.refusals);
    say(&own::RESYNCHRONISED, &[], stats.resynchronised);
    for (limit, count) in stats.waits() { say(&own::WAITS, &[limit], count); }
    say(&own::TABLES_PARKED, &[], stats.tables_parked);
    say(&own::ENGINE_IDS_SHARED, &[], stats.engine_ids_shared);
    say(&own::TABLES_PARKED_NOW, &[], stats.tables_parked_now);
    say(&own::JOBS_NOW, &[], stats.jobs_now);
    say(&own::JOBS_WAITING_NOW, &[], stats.jobs_waiting_now);
    say(&own::IN_FLIGHT_NOW, &[], stats.in_flight_now);
    say(&own::REQUESTS_WAITING_NOW, &[], stats.waiting_now);
    say(&own::DEVICES_NOW, &[], stats.devices_now);
    say(&own::DEVICES_SILENT_NOW, &[], stats.devices_silent_now);
    round.metric(&own::WAITED, &[], stats.waited.as_secs_f64());
}
