//! The agent inside another program: schedule and batcher as ever, a bounded queue in memory instead of the spool.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use model::Timestamp;
use prometheus::Registry;
use settings::Mistake;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use wire::identity::{BatchIdentity, Cause, Epoch, Loss, Losses, PayloadHash};

use crate::batch::{Batch, Batcher};
use crate::clock::{Clock, Scale};
use crate::inputs::TargetSet;
use crate::metrics::{Metrics, own_targets};
use crate::outlet::{self, DeliverError, Outlet};
use crate::schedule::{Schedule, Shared};
use crate::settings::Collection;
use crate::uplink::backoff::Backoff;

/// How long the end of the program waits for the outlet to take the last batch.
const STOP_WAIT: Duration = Duration::from_secs(5);

/// Why an agent cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The inputs' settings are wrong.
    #[error("cannot start the inputs: {0}")]
    Inputs(Mistake),
    /// The registry holds metrics of these names already: one agent a registry.
    #[error("cannot register the agent's metrics")]
    Metrics(#[from] prometheus::Error),
}

/// An agent that runs in this process.
pub struct Agent {
    schedule: Schedule,
    metrics: Arc<Metrics>,
    clock: Arc<Clock>,
    queue: Arc<Mutex<Queue>>,
    stop: watch::Sender<bool>,
    pump: JoinHandle<()>,
}

impl Agent {
    /// Starts collecting into `outlet`. Needs a tokio runtime; see the crate's text.
    ///
    /// # Errors
    /// [`StartError`]; nothing runs then.
    pub fn start(
        collection: &Collection,
        outlet: Arc<dyn Outlet>,
        registry: &Registry,
    ) -> Result<Self, StartError> {
        Self::start_with(collection, outlet, registry, Clock::system())
    }

    fn start_with(
        collection: &Collection,
        outlet: Arc<dyn Outlet>,
        registry: &Registry,
        clock: Clock,
    ) -> Result<Self, StartError> {
        let clock = Arc::new(clock);
        let metrics = Arc::new(Metrics::registered(registry)?);
        let queue = Arc::new(Mutex::new(Queue::new(collection.limits.memory_bytes_max.get())));
        let sets = target_sets(collection, &metrics, &clock, &queue).map_err(StartError::Inputs)?;
        let batcher = Arc::new(Batcher::new(Arc::clone(&clock)));
        let shared = Shared {
            clock: Arc::clone(&clock),
            batcher: Arc::clone(&batcher),
            metrics: Arc::clone(&metrics),
            instance: collection.instance().into(),
        };
        let schedule = Schedule::start(sets, shared);
        let (stop, stopped) = watch::channel(false);
        let pump = Pump {
            batcher,
            clock: Arc::clone(&clock),
            outlet,
            queue: Arc::clone(&queue),
            backoff: Backoff::new(),
        };
        let pump = tokio::spawn(pump.run(stopped));
        Ok(Self { schedule, metrics, clock, queue, stop, pump })
    }

    /// Replaces what is watched; targets that stay the same go on untouched. Changes nothing where it fails.
    ///
    /// # Errors
    /// The inputs' settings are wrong.
    pub async fn reload(&self, collection: &Collection) -> Result<(), StartError> {
        let sets =
            target_sets(collection, &self.metrics, &self.clock, &self.queue).map_err(StartError::Inputs)?;
        self.schedule.replace(sets).await;
        Ok(())
    }

    /// Ends collecting and hands the last batch over; waits a few seconds for the outlet to take what waits.
    pub async fn stop(self) {
        self.schedule.stop().await;
        self.stop.send_replace(true);
        // A panic in the pump has been printed; there is nothing left to hand over then.
        let _ = self.pump.await;
    }
}

fn target_sets(
    collection: &Collection,
    metrics: &Arc<Metrics>,
    clock: &Arc<Clock>,
    queue: &Arc<Mutex<Queue>>,
) -> Result<Vec<Box<dyn TargetSet>>, Mistake> {
    let mut sets = collection.build_inputs()?;
    let (clock, queue) = (Arc::clone(clock), Arc::clone(queue));
    let update = move |metrics: &Metrics| {
        metrics.note_clock(&clock);
        let queue = queue.lock().expect("nothing panics with the queue locked");
        metrics.queue_bytes.set(queue.bytes as i64);
        metrics.queue_batches.set(queue.waiting.len() as i64);
        Metrics::raise(&metrics.batches, queue.next - 1);
        for (cause, total) in &queue.lost {
            Metrics::raise(&metrics.samples_lost.with_label_values(&[cause.as_str()]), *total);
        }
    };
    sets.push(own_targets(Arc::clone(metrics), &collection.context(), Box::new(update)));
    Ok(sets)
}

/// Batches that wait, oldest first.
struct Queue {
    waiting: VecDeque<Waiting>,
    bytes: u64,
    bytes_max: u64,
    epoch: Epoch,
    next: u64,
    losses: Losses,
    lost: Vec<(Cause, u64)>,
}

struct Waiting {
    batch: Batch,
    /// Its number, and the losses that it reports, once it was offered.
    sealed: Option<outlet::Batch>,
}

impl Queue {
    fn new(bytes_max: u64) -> Self {
        Self {
            waiting: VecDeque::new(),
            bytes: 0,
            bytes_max,
            epoch: Epoch::from_u128(rand::random()),
            next: 1,
            losses: Losses::none(),
            lost: Cause::ALL.iter().map(|cause| (*cause, 0)).collect(),
        }
    }

    fn push(&mut self, batch: Batch) {
        self.bytes += batch.payload.len() as u64;
        self.waiting.push_back(Waiting { batch, sealed: None });
        while self.bytes > self.bytes_max && self.waiting.len() > 1 {
            self.drop_front(Cause::Shed);
        }
    }

    fn lose(&mut self, loss: Loss) {
        if let Some((_, samples)) = self.lost.iter_mut().find(|(cause, _)| *cause == loss.cause) {
            *samples += loss.samples;
        }
        self.losses.add(loss);
    }

    fn drop_front(&mut self, cause: Cause) {
        let Some(gone) = self.pop() else { return };
        let mut loss = gone.batch.loss(cause);
        if let Some(sealed) = &gone.sealed {
            let identity = &sealed.identity;
            (loss.from, loss.to) = (identity.from, identity.to);
            loss.sequences = Some((identity.sequence, identity.sequence));
            self.losses.add_all(&identity.losses);
        }
        self.lose(loss);
    }

    fn pop(&mut self) -> Option<Waiting> {
        let gone = self.waiting.pop_front()?;
        self.bytes -= gone.batch.payload.len() as u64;
        Some(gone)
    }

    /// The oldest batch with its number; `None` where there is none, or it waits for the time.
    fn offer(&mut self, clock: &Clock) -> Option<outlet::Batch> {
        let front = self.waiting.front_mut()?;
        if let Some(sealed) = &front.sealed {
            return Some(sealed.clone());
        }
        let batch = &front.batch;
        let (mut payload, mut offset_ms) = (std::borrow::Cow::Borrowed(batch.payload.as_slice()), 0);
        if batch.scale == Scale::Boot {
            offset_ms = clock.fix_boot_offset()?;
            match wire::v2::shift_timestamps(&payload, offset_ms) {
                Ok(shifted) => payload = shifted.into(),
                Err(why) => {
                    tracing::error!("cannot stamp a batch: {why}");
                    self.drop_front(Cause::Clock);
                    return None;
                }
            }
        }
        let shifted = |time: Timestamp| Timestamp::from_millis(time.as_millis().saturating_add(offset_ms));
        let identity = BatchIdentity {
            epoch: self.epoch,
            sequence: self.next,
            boot: clock.boot(),
            payload_hash: PayloadHash::of(self.epoch, &payload),
            from: shifted(batch.from),
            to: shifted(batch.to),
            samples: batch.samples,
            stamped_late: batch.scale == Scale::Boot,
            losses: self.losses.take(),
        };
        self.next += 1;
        let sealed = outlet::Batch { identity, payload: payload.as_ref().into() };
        front.sealed = Some(sealed.clone());
        Some(sealed)
    }
}

/// Brings batches from the batcher to the outlet.
struct Pump {
    batcher: Arc<Batcher>,
    clock: Arc<Clock>,
    outlet: Arc<dyn Outlet>,
    queue: Arc<Mutex<Queue>>,
    backoff: Backoff,
}

impl Pump {
    async fn run(mut self, mut stopped: watch::Receiver<bool>) {
        let batcher = Arc::clone(&self.batcher);
        let mut next = Box::pin(batcher.next());
        let mut again: Option<Instant> = None;
        loop {
            tokio::select! {
                batch = &mut next => {
                    self.queue().push(batch);
                    next = Box::pin(batcher.next());
                    if again.is_some_and(|again| again > Instant::now()) {
                        continue;
                    }
                }
                () = sleep_until(again) => {}
                _ = stopped.wait_for(|stopped| *stopped) => break,
            }
            again = self.drain().await.map(|wait| Instant::now() + wait);
        }
        drop(next);
        self.finish().await;
    }

    fn queue(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.queue.lock().expect("nothing panics with the queue locked")
    }

    /// Hands over what waits; answers after which wait to go on, if something stays.
    async fn drain(&mut self) -> Option<Duration> {
        for loss in &self.batcher.take_losses() {
            self.queue().lose(*loss);
        }
        loop {
            let offered = self.queue().offer(&self.clock);
            let Some(batch) = offered else {
                // What waits for the time is looked at again soon; with nothing left, the next batch wakes us.
                return (!self.queue().waiting.is_empty()).then_some(Duration::from_secs(1));
            };
            match self.outlet.deliver(&batch).await {
                Ok(_) => {
                    self.backoff.well();
                    self.queue().pop();
                }
                Err(DeliverError::Refused { why }) => {
                    tracing::error!(
                        "batch {} of {} samples was refused: {why}",
                        batch.identity.sequence,
                        batch.identity.samples
                    );
                    self.queue().drop_front(Cause::Refused);
                }
                Err(DeliverError::Later { after, why }) => {
                    tracing::debug!("batch {} waits: {why}", batch.identity.sequence);
                    return Some(self.backoff.wait(after));
                }
            }
        }
    }

    async fn finish(&mut self) {
        let rest = self.batcher.finish();
        {
            let mut queue = self.queue();
            // A loss that begins where the last batch ends: the collector sees that the silence has an order.
            if let Some(last) = rest.last().filter(|batch| batch.scale == Scale::Wall) {
                let after = Timestamp::from_millis(last.to.as_millis() + 1);
                queue.lose(Loss {
                    cause: Cause::Stopped,
                    from: after,
                    to: after,
                    samples: 0,
                    sequences: None,
                });
            }
            rest.into_iter().for_each(|batch| queue.push(batch));
        }
        let deadline = Instant::now() + STOP_WAIT;
        let drained = async {
            while let Some(wait) = self.drain().await {
                tokio::time::sleep(wait.min(Duration::from_millis(200))).await;
            }
        };
        if tokio::time::timeout_at(deadline, drained).await.is_err() {
            tracing::warn!("{} batches were not taken before the end", self.queue().waiting.len());
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
