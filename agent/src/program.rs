//! The program `pantau-agent`: inputs, schedule, spool and uplink in one process, from start to orderly end.
//!
//! Everything but the journal's thread and short disk and name look-ups runs on one thread. On SIGTERM or SIGINT: the last
//! rounds are spooled, the collector is told that the silence has an order, and where it answers one last try of [`LAST_TRY`] is
//! made to send what is fresh; what stays is sent after the next start. On SIGHUP the settings are read again: all of them take effect, or
//! none.

mod once;
pub mod snmp;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use journal::disk::RealDisk;
use model::Timestamp;
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use wire::identity::{Cause, Loss};

use crate::batch::Batcher;
use crate::clock::{Clock, Scale};
use crate::inputs::TargetSet;
use crate::metrics::{Metrics, own_targets};
use crate::schedule::{Schedule, Shared};
use crate::settings::Settings;
use crate::spool::{self, Lane, Opening, Spool};
use crate::uplink::{self, Uplink};

pub use once::once;

/// How long the end of the program tries to send what is fresh: some round trips over a satellite, on a connection that is open.
/// Only where the collector answered last; else nothing is tried, because the spool keeps it all.
const LAST_TRY: Duration = Duration::from_secs(2);

/// How often the spool is looked after.
const MAINTAIN_EVERY: Duration = Duration::from_secs(15);

/// Runs until a signal ends it.
///
/// # Errors
/// Settings that cannot be used, a spool that cannot be opened.
pub async fn run(settings: Settings, path: &Path) -> anyhow::Result<()> {
    let mut signals = Signals::new().context("cannot wait for signals")?;
    let (alarm, mut alarms) = mpsc::unbounded_channel();
    let agent = Running::start(settings, path, &alarm)?;
    notify(&[NotifyState::Ready]);
    let watchdog = sd_notify::watchdog_enabled().map(|timeout| timeout / 2);
    let fault = loop {
        let wake = tokio::select! {
            wake = signals.next(watchdog) => wake,
            Some(task) = alarms.recv() => break Some(task),
        };
        match wake {
            Wake::Watchdog => notify(&[NotifyState::Watchdog]),
            Wake::Reload => agent.reload().await,
            Wake::Stop => break None,
        }
    };
    notify(&[NotifyState::Stopping]);
    agent.stop().await?;
    match fault {
        Some(task) => {
            anyhow::bail!("the {task} panicked, which is a mistake in this program: please report it")
        }
        None => Ok(()),
    }
}

/// Tells the main loop when its task panics: without it the program would live on and do nothing.
struct Alarm(&'static str, mpsc::UnboundedSender<&'static str>);

impl Drop for Alarm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Nobody listens any more at the program's end.
            let _ = self.1.send(self.0);
        }
    }
}

fn spawn(
    name: &'static str,
    alarm: &mpsc::UnboundedSender<&'static str>,
    task: impl Future<Output = ()> + Send + 'static,
) -> JoinHandle<()> {
    let alarm = Alarm(name, alarm.clone());
    tokio::spawn(async move {
        let _alarm = alarm;
        task.await;
    })
}

fn notify(states: &[NotifyState<'_>]) {
    // Without systemd nobody listens.
    if let Err(why) = sd_notify::notify(states) {
        tracing::debug!("cannot tell systemd: {why}");
    }
}

enum Wake {
    Watchdog,
    Reload,
    Stop,
}

struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self, watchdog: Option<Duration>) -> Wake {
        tokio::select! {
            _ = self.hangup.recv() => Wake::Reload,
            _ = self.terminate.recv() => Wake::Stop,
            _ = self.interrupt.recv() => Wake::Stop,
            () = tokio::time::sleep(watchdog.unwrap_or_default()), if watchdog.is_some() => Wake::Watchdog,
        }
    }
}

/// All tasks of a running agent.
struct Running {
    path: PathBuf,
    settings: Settings,
    clock: Arc<Clock>,
    metrics: Arc<Metrics>,
    spool: Arc<Spool>,
    uplink: Arc<Uplink>,
    schedule: Schedule,
    draining: watch::Sender<bool>,
    collecting: watch::Sender<bool>,
    keeper: JoinHandle<()>,
    filler: JoinHandle<()>,
    live: JoinHandle<()>,
    backlog: JoinHandle<()>,
}

impl Running {
    fn start(
        settings: Settings,
        path: &Path,
        alarm: &mpsc::UnboundedSender<&'static str>,
    ) -> anyhow::Result<Self> {
        let clock = Arc::new(Clock::system());
        let transport = Arc::new(uplink::transport(&settings, &clock)?);
        let spool = Arc::new(open_spool(&settings, &clock)?);
        let metrics = Arc::new(Metrics::new());
        let sets = target_sets(&settings, &metrics, &clock, &spool)?;
        let batcher = Arc::new(Batcher::new(Arc::clone(&clock)));
        let shared = Shared {
            clock: Arc::clone(&clock),
            batcher: Arc::clone(&batcher),
            metrics: Arc::clone(&metrics),
            instance: settings.collection().instance().into(),
        };
        let uplink = Uplink::new(Arc::clone(&spool), Arc::clone(&clock), Arc::clone(&metrics), transport);
        let uplink = Arc::new(uplink);
        let (collecting, collected) = watch::channel(true);
        let (draining, drained) = watch::channel(false);
        let lane = |lane| {
            let (uplink, drained) = (Arc::clone(&uplink), drained.clone());
            spawn("uplink", alarm, async move { uplink.run(lane, drained).await })
        };
        Ok(Self {
            path: path.to_owned(),
            keeper: spawn("spool's keeper", alarm, keep(Arc::clone(&spool), Arc::clone(&clock))),
            filler: spawn(
                "spool's filler",
                alarm,
                fill(batcher, Arc::clone(&spool), Arc::clone(&metrics), collected),
            ),
            live: lane(Lane::Live),
            backlog: lane(Lane::Backlog),
            schedule: Schedule::start(sets, shared),
            settings,
            clock,
            metrics,
            spool,
            uplink,
            draining,
            collecting,
        })
    }

    async fn reload(&self) {
        match self.try_reload().await {
            Ok(()) => tracing::info!("reloaded {}", self.path.display()),
            Err(why) => {
                tracing::error!("nothing was reloaded: {}", telemetry::faults::in_full(why.as_ref()));
            }
        }
        notify(&[NotifyState::Ready]);
    }

    async fn try_reload(&self) -> anyhow::Result<()> {
        let settings = Settings::load(&self.path)?;
        anyhow::ensure!(
            settings.spool == self.settings.spool
                && settings.limits.memory_bytes_max == self.settings.limits.memory_bytes_max,
            "the section spool and limits.memory_bytes_max take effect at a restart only: restart, or change them back"
        );
        let transport = uplink::transport(&settings, &self.clock)?;
        let sets = target_sets(&settings, &self.metrics, &self.clock, &self.spool)?;
        self.uplink.replace(Arc::new(transport));
        self.schedule.replace(sets).await;
        Ok(())
    }

    async fn stop(self) -> anyhow::Result<()> {
        tracing::info!("stopping");
        self.schedule.stop().await;
        self.collecting.send_replace(false);
        // A panic in a task has been printed; the others still end in order.
        let _ = self.filler.await;
        self.backlog.abort();
        self.keeper.abort();
        self.draining.send_replace(true);
        let last_try = if self.uplink.is_well() { LAST_TRY } else { Duration::ZERO };
        // An end that was cut short is known by what still waits.
        let _ = tokio::time::timeout(last_try, self.live).await;
        let waiting = self.spool.stats().pending;
        if waiting > 0 {
            tracing::info!("{waiting} batches wait in the spool for the next start");
        }
        let spool = self.spool;
        tokio::task::spawn_blocking(move || spool.close())
            .await
            .context("the spool's last writing was cut short")?
            .context("cannot close the spool")
    }
}

fn open_spool(settings: &Settings, clock: &Arc<Clock>) -> anyhow::Result<Spool> {
    let folder = settings.base.join(&settings.spool.folder);
    let options = spool::Options {
        bytes_max: settings.spool.bytes_max.get(),
        memory_bytes_max: usize::try_from(settings.limits.memory_bytes_max.get()).unwrap_or(usize::MAX),
        sync: settings.spool.sync.policy(),
    };
    let (spool, opening) = Spool::open(Arc::new(RealDisk), &folder, options, Arc::clone(clock))
        .with_context(|| format!("cannot open the spool in {}", folder.display()))?;
    say_opening(&folder, &opening);
    Ok(spool)
}

fn say_opening(folder: &Path, opening: &Opening) {
    let end = if opening.orderly { "" } else { "; the last run ended without order" };
    tracing::info!("spool in {}: {} batches wait{end}", folder.display(), opening.pending);
    if opening.recovery.torn_bytes > 0 {
        tracing::info!("cut {} bytes of a write that the last end tore", opening.recovery.torn_bytes);
    }
    if opening.new_epoch {
        tracing::warn!("the spool's cursor was lost: all its batches are sent again, under a new epoch");
    }
    for damage in &opening.recovery.damage {
        tracing::error!(
            "the spool is damaged: {} in {} at {}, {} bytes",
            damage.kind,
            damage.file.display(),
            damage.at,
            damage.bytes
        );
    }
}

fn target_sets(
    settings: &Settings,
    metrics: &Arc<Metrics>,
    clock: &Arc<Clock>,
    spool: &Arc<Spool>,
) -> anyhow::Result<Vec<Box<dyn TargetSet>>> {
    let collection = settings.collection();
    let mut sets = collection.build_inputs().map_err(|mistake| settings.wrong(&mistake))?;
    let (clock, spool) = (Arc::clone(clock), Arc::clone(spool));
    let update = move |metrics: &Metrics| note(metrics, &clock, &spool);
    sets.push(own_targets(Arc::clone(metrics), &collection.context(), Box::new(update)));
    Ok(sets)
}

fn note(metrics: &Metrics, clock: &Clock, spool: &Spool) {
    metrics.note_clock(clock);
    let stats = spool.stats();
    metrics.spool_bytes.set(stats.bytes as i64);
    metrics.spool_memory_bytes.set(stats.memory_bytes as i64);
    metrics.spool_batches.set(stats.pending as i64);
    metrics.spool_writable.set((!stats.full && !stats.poisoned).into());
    let now = clock.best_guess();
    let age_ms = stats.oldest.map_or(0, |oldest| now.millis_since(oldest).max(0));
    metrics.spool_oldest_seconds.set(age_ms as f64 / 1000.0);
    Metrics::raise(&metrics.spool_syncs, stats.syncs);
    for (cause, total) in &stats.lost {
        Metrics::raise(&metrics.samples_lost.with_label_values(&[cause.as_str()]), *total);
    }
}

/// Brings finished batches to the spool, and at the end the last ones.
async fn fill(
    batcher: Arc<Batcher>,
    spool: Arc<Spool>,
    metrics: Arc<Metrics>,
    mut collecting: watch::Receiver<bool>,
) {
    loop {
        let batch = tokio::select! {
            batch = batcher.next() => batch,
            _ = collecting.wait_for(|collecting| !*collecting) => break,
        };
        batcher.take_losses().iter().for_each(|loss| spool.lose(*loss));
        spool.append(&batch).await;
        Metrics::raise(&metrics.batches, batcher.batches());
    }
    bring_last(&batcher, &spool).await;
}

/// What is left when nothing more is collected.
async fn bring_last(batcher: &Batcher, spool: &Arc<Spool>) {
    let rest = batcher.finish();
    batcher.take_losses().iter().for_each(|loss| spool.lose(*loss));
    // A loss that begins where the last batch ends: the collector sees that the silence has an order.
    if let Some(last) = rest.last().filter(|batch| batch.scale == Scale::Wall) {
        let after = Timestamp::from_millis(last.to.as_millis() + 1);
        spool.lose(Loss { cause: Cause::Stopped, from: after, to: after, samples: 0, sequences: None });
    }
    for batch in &rest {
        spool.append(batch).await;
    }
}

/// Looks after the spool while the program runs.
async fn keep(spool: Arc<Spool>, clock: Arc<Clock>) {
    let mut ticks = tokio::time::interval(MAINTAIN_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = Duration::from_millis(clock.read().boot_ms.max(0) as u64);
        if !spool.needs_maintenance(now) {
            continue;
        }
        let spool = Arc::clone(&spool);
        match tokio::task::spawn_blocking(move || spool.maintain(now)).await {
            Ok(Ok(())) => {}
            Ok(Err(why)) => tracing::warn!("cannot look after the spool: {why}"),
            Err(why) => tracing::error!("looking after the spool was cut short: {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use journal::SyncPolicy;
    use journal::disk::pretend::PretendDisk;
    use model::Labels;

    use super::*;
    use crate::clock::by_hand::HandClock;
    use crate::series::{Described, Round, SeriesTable};

    /// What was shed since the last batch went to the disk was told to nobody.
    #[tokio::test]
    async fn what_a_slow_disk_made_us_shed_is_told_at_the_end_too() {
        let hand = HandClock::at(1_800_000_000_000, 1_000);
        let clock = Arc::new(hand.clock(1));
        let options =
            spool::Options { bytes_max: 64 << 20, memory_bytes_max: 64 << 20, sync: SyncPolicy::Always };
        let opened =
            Spool::open(Arc::new(PretendDisk::new()), Path::new("/spool"), options, Arc::clone(&clock));
        let spool = Arc::new(opened.expect("the spool opens").0);
        let batcher = Batcher::new(Arc::clone(&clock));
        let mut table = SeriesTable::new(Labels::empty(), 20_000);
        for _ in 0..60 {
            let reading = clock.read();
            let mut round = Round::begin(&mut table, reading.time, Vec::new());
            for n in 0..20_000 {
                let key = i32::to_le_bytes(n);
                round.put(&key, f64::from(n), None, |_| {
                    let labels = Labels::from_pairs([("__name__", "value"), ("n", &n.to_string())]);
                    Some(Described { labels, metadata: None })
                });
            }
            let (points, _) = round.finish();
            batcher.add(&mut table, &points, reading);
            hand.pass(1_000);
        }
        bring_last(&batcher, &spool).await;
        let shed: u64 =
            spool.stats().lost.iter().filter(|(cause, _)| *cause == Cause::Shed).map(|l| l.1).sum();
        assert!(shed > 0 && shed.is_multiple_of(20_000), "{shed}");
    }

    #[tokio::test]
    async fn a_task_that_panics_raises_the_alarm_and_one_that_ends_does_not() {
        let (alarm, mut alarms) = mpsc::unbounded_channel();
        spawn("well", &alarm, async {}).await.expect("it ends");
        spawn("ill", &alarm, async { panic!("the test wants it") }).await.expect_err("it panics");
        assert_eq!(alarms.try_recv(), Ok("ill"));
        assert!(alarms.try_recv().is_err());
    }
}
