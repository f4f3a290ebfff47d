//! The uplink: brings the spool's batches to a collector, always outbound.
//!
//! Two lanes, one request each at a time. The live lane sends the latest few batches, the backlog lane everything older, newest
//! first, so that neither holds up the other; while there is no backlog only one connection exists. What an answer means is
//! [`judge`]d here; making requests is a [`Transport`]'s work (`uplink/http.rs`; tests have one of their own).
//!
//! | answer | the batch | then |
//! |---|---|---|
//! | 2xx | acknowledged | the next one |
//! | 400, 422 and other 4xx | dropped, cause `refused`, the collector's text logged | the next one |
//! | 401, 403, 404, 405, 407, 415 | stays: token, address or proxy are wrong, not the data | wait, next collector |
//! | these, and 409, of somebody who is no receiver of batches (a proxy, a login page: 200 to everything) | stays | wait, next collector |
//! | 408, 425, 429, 5xx, no answer | stays | wait (`Retry-After` honoured), next collector |
//! | 409 | stays: somebody has our epoch (a cloned machine); a new epoch, numbers go on | wait, again |
//! | 413 | parted in halves, which are new batches; of no receiver and 16 KiB or less: stays | the halves; wait, next collector |
//!
//! With several collectors the next one is tried at once; only when all have failed the lane waits, twice as long each time,
//! at most a minute, with full jitter. After [`HOME_AFTER`] the first collector is tried again.

mod advice;
pub(crate) mod backoff;
mod http;
mod split;
mod tls;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::Timestamp;
use telemetry::summary::{Say, Summary};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::inputs::BoxFuture;
use crate::metrics::Metrics;
use crate::spool::{Claim, Lane, Outcome, Outgoing, Spool};
use backoff::Backoff;

pub(crate) use advice::{check, transport};
pub(crate) use http::HttpTransport;

/// How long another collector than the first is used before the first is tried again.
const HOME_AFTER: Duration = Duration::from_secs(300);

/// How often the time is asked for while batches wait for nothing else.
const ASK_TIME_EVERY: Duration = Duration::from_secs(10);

const FAULT_EVERY: Duration = Duration::from_secs(600);

/// Makes one request.
pub(crate) trait Transport: Send + Sync {
    /// How many collectors there are.
    fn collectors(&self) -> usize;

    /// Sends a batch to one of them, or an empty request that only asks for the time.
    fn send<'a>(
        &'a self,
        collector: usize,
        batch: Option<&'a Outgoing>,
    ) -> BoxFuture<'a, Result<Answer, String>>;
}

/// What of an answer counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Whether who answers shows that it takes batches: it tells its time or how much it has written. Nobody else's answer says
    /// anything of a batch.
    pub(crate) is_receiver: bool,
    /// What `Retry-After` asks for.
    pub(crate) retry_after: Option<Duration>,
    /// The collector's time, where it can be believed (TLS).
    pub(crate) time: Option<Timestamp>,
    /// The first line of the body, bounded.
    pub(crate) text: String,
}

impl Answer {
    fn said(&self) -> String {
        format!("it answered {} {}", self.status, self.text)
    }
}

/// What an answer means for the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Delivered,
    Refused,
    /// Token, address or proxy are wrong.
    Misconfigured,
    Unavailable,
    Cloned,
    TooLarge,
}

impl Verdict {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Refused => "refused",
            Self::Misconfigured => "misconfigured",
            Self::Unavailable => "unavailable",
            Self::Cloned => "cloned",
            Self::TooLarge => "too_large",
        }
    }
}

/// A body of this size passes every proxy that is set up for the uplink: one that takes none so large is wrong, not the batch.
const PASSES_BYTES: usize = 16 << 10;

fn judge(status: u16, is_receiver: bool) -> Verdict {
    match status {
        408 | 425 | 429 => Verdict::Unavailable,
        // Also a proxy's: smaller ones pass it.
        413 => Verdict::TooLarge,
        200..=499 if !is_receiver => Verdict::Misconfigured,
        200..=299 => Verdict::Delivered,
        409 => Verdict::Cloned,
        // A redirect is a proxy's or a login page's, not a collector's.
        300..=399 | 401 | 403 | 404 | 405 | 407 | 415 => Verdict::Misconfigured,
        400..=499 => Verdict::Refused,
        _ => Verdict::Unavailable,
    }
}

/// Where requests go now, and when.
struct Route {
    collector: usize,
    /// Collectors that have failed since the last success.
    failed: usize,
    since: Instant,
    backoff: Backoff,
    until: Option<Instant>,
    /// Whether the last request was answered well; nobody has asked yet: yes.
    well: bool,
    faults: Summary,
}

/// See the module's text.
pub(crate) struct Uplink {
    spool: Arc<Spool>,
    clock: Arc<Clock>,
    metrics: Arc<Metrics>,
    transport: Mutex<Arc<dyn Transport>>,
    route: Mutex<Route>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Uplink {
    pub(crate) fn new(
        spool: Arc<Spool>,
        clock: Arc<Clock>,
        metrics: Arc<Metrics>,
        transport: Arc<dyn Transport>,
    ) -> Self {
        let route = Route {
            collector: 0,
            failed: 0,
            since: Instant::now(),
            backoff: Backoff::new(),
            until: None,
            well: true,
            faults: Summary::new(FAULT_EVERY),
        };
        Self { spool, clock, metrics, transport: Mutex::new(transport), route: Mutex::new(route) }
    }

    /// Takes other collectors, another token: requests under way end as they began.
    pub(crate) fn replace(&self, transport: Arc<dyn Transport>) {
        *lock(&self.transport) = transport;
        let mut route = lock(&self.route);
        (route.collector, route.failed, route.until) = (0, 0, None);
        route.backoff.well();
    }

    /// Sends a lane's batches for ever, or until `draining` and nothing is left to send.
    pub(crate) async fn run(&self, lane: Lane, mut draining: watch::Receiver<bool>) {
        let mut changes = self.spool.changes();
        loop {
            changes.mark_unchanged();
            if !self.wait_for_route(&mut draining).await {
                return;
            }
            if lane == Lane::Live {
                self.stamp_held();
            }
            if let Some(claim) = self.spool.claim(lane) {
                self.bring(claim).await;
                continue;
            }
            if *draining.borrow() {
                return;
            }
            let asks = lane == Lane::Live && self.spool.waits_for_time();
            if asks {
                self.ask_time().await;
            }
            tokio::select! {
                _ = changes.changed() => {}
                _ = draining.changed() => {}
                () = tokio::time::sleep(ASK_TIME_EVERY), if asks => {}
            }
        }
    }

    fn stamp_held(&self) {
        if let Err(why) = self.spool.stamp_held() {
            tracing::warn!(
                "cannot remember when this boot began, batches of before the clock was set wait: {why}"
            );
        }
    }

    /// Waits until requests may go out again. False where the end is asked for meanwhile: nobody answers, and what waits is
    /// safe in the spool.
    async fn wait_for_route(&self, draining: &mut watch::Receiver<bool>) -> bool {
        loop {
            let until = lock(&self.route).until;
            let Some(until) = until.filter(|until| *until > Instant::now()) else { return true };
            tokio::select! {
                () = tokio::time::sleep_until(until) => {}
                Ok(_) = draining.wait_for(|draining| *draining) => return false,
            }
        }
    }

    /// Whether the last request, if there was one, was answered by a collector that can take batches.
    pub(crate) fn is_well(&self) -> bool {
        lock(&self.route).well
    }

    /// Sends a request on the present route; answers whom it asked, too.
    async fn send(&self, batch: Option<&Outgoing>) -> (usize, Result<Answer, String>) {
        let transport = Arc::clone(&lock(&self.transport));
        let collector = {
            let mut route = lock(&self.route);
            if route.collector != 0 && route.since.elapsed() >= HOME_AFTER {
                (route.collector, route.since) = (0, Instant::now());
            }
            route.collector % transport.collectors()
        };
        let answer = transport.send(collector, batch).await;
        if let Ok(Answer { time: Some(time), .. }) = &answer {
            self.clock.hear_collector(*time);
        }
        (collector, answer)
    }

    async fn ask_time(&self) {
        let (collector, answer) = self.send(None).await;
        match answer {
            Ok(answer) if answer.is_receiver => self.well(),
            Ok(answer) => self.failed(collector, answer.retry_after, &answer.said()),
            Err(why) => self.failed(collector, None, &why),
        }
        self.stamp_held();
    }

    async fn bring(&self, claim: Claim) {
        let batch = match self.spool.read(claim) {
            Ok(batch) => batch,
            Err(why) => return self.spool.settle_unreadable(claim, &why),
        };
        let (collector, answer) = self.send(Some(&batch)).await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(why) => {
                self.count("unreachable");
                self.failed(collector, None, &why);
                return self.spool.settle(&batch.identity, Outcome::Later);
            }
        };
        let verdict = match judge(answer.status, answer.is_receiver) {
            // Parted on and on, everything would end as single samples that are dropped.
            Verdict::TooLarge if !answer.is_receiver && batch.body.len() <= PASSES_BYTES => {
                Verdict::Misconfigured
            }
            verdict => verdict,
        };
        self.count(verdict.as_str());
        let outcome = self.act(verdict, collector, &batch, &answer).await;
        if outcome != Outcome::Later {
            self.metrics.uplink_bytes.inc_by(batch.body.len() as u64);
        }
        self.spool.settle(&batch.identity, outcome);
    }

    async fn act(&self, verdict: Verdict, collector: usize, batch: &Outgoing, answer: &Answer) -> Outcome {
        let said = || answer.said();
        match verdict {
            Verdict::Delivered => {
                self.well();
                Outcome::Delivered
            }
            Verdict::Refused => {
                self.well();
                let (sequence, samples) = (batch.identity.sequence, batch.identity.samples);
                tracing::error!("the collector refuses batch {sequence} of {samples} samples: {}", said());
                Outcome::Refused
            }
            // Nothing is said of how the uplink is: a proxy on the way has such a limit, too.
            Verdict::TooLarge => self.part(batch).await,
            Verdict::Cloned => {
                self.renew_epoch(batch);
                self.failed(collector, answer.retry_after, &said());
                Outcome::Later
            }
            Verdict::Misconfigured | Verdict::Unavailable => {
                self.failed(collector, answer.retry_after, &said());
                Outcome::Later
            }
        }
    }

    /// Another machine uses this spool's epoch, or used it: both go on, each with an epoch of its own.
    fn renew_epoch(&self, batch: &Outgoing) {
        if batch.identity.epoch != self.spool.epoch() {
            return; // the other lane was told, too
        }
        tracing::error!(
            "the collector has seen batch {} of epoch {} with other content: was this machine cloned? Going on with a new epoch",
            batch.identity.sequence,
            batch.identity.epoch
        );
        if let Err(why) = self.spool.renew_epoch() {
            tracing::warn!("cannot remember the new epoch: {why}");
        }
    }

    async fn part(&self, batch: &Outgoing) -> Outcome {
        match split::halves(batch) {
            Ok(Some(halves)) => {
                tracing::info!(
                    "batch {} is too large for the collector: it goes in halves",
                    batch.identity.sequence
                );
                for half in &halves {
                    self.spool.append(half).await;
                }
                Outcome::Replaced
            }
            Ok(None) => {
                tracing::error!(
                    "batch {} holds one sample and is too large for the collector",
                    batch.identity.sequence
                );
                Outcome::Refused
            }
            Err(why) => {
                tracing::error!("cannot part batch {}: {why}", batch.identity.sequence);
                Outcome::Refused
            }
        }
    }

    fn count(&self, result: &str) {
        self.metrics.uplink_requests.with_label_values(&[result]).inc();
    }

    fn now(&self) -> Duration {
        Duration::from_millis(self.clock.read().boot_ms.max(0) as u64)
    }

    fn well(&self) {
        let mut route = lock(&self.route);
        route.failed = 0;
        route.until = None;
        route.well = true;
        route.backoff.well();
        if let Say::Recovered { after } = route.faults.well(self.now()) {
            tracing::info!("uplink: well again after {}", settings::Span::new(after));
        }
    }

    fn failed(&self, collector: usize, retry_after: Option<Duration>, why: &str) {
        let collectors = lock(&self.transport).collectors();
        let mut route = lock(&self.route);
        route.well = false;
        // Where both lanes failed at the same collector, one of them has moved on already.
        if route.collector % collectors == collector {
            route.collector = (collector + 1) % collectors;
            route.since = Instant::now();
            route.failed += 1;
        }
        if route.failed >= collectors {
            route.failed = 0;
            let wait = route.backoff.wait(retry_after);
            route.until = Some(Instant::now() + wait);
        }
        match route.faults.fault(self.now()) {
            Say::First => tracing::warn!("uplink: {why}; batches wait in the spool"),
            Say::Again { times } => tracing::warn!("uplink: {why} ({times} failures since the last line)"),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
