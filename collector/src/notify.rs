//! Alerts leave: to Alertmanagers, and to receivers of our own (webhook, e-mail, Telegram).
//!
//! In: [`Notifier::tell`], what rules tell, again and again while an alert is active. Out: every Alertmanager gets all of it
//! ([`alertmanager`]); our own receivers get what changed, each `tell` as one message, through the [outbox](crate::outbox), so that a
//! restart, a dead line or a full mailbox loses nothing for `give_up_after`. External labels are set on all that leaves.
//!
//! Deliberately not here: routing, grouping over time, silences, acknowledgement. Whoever needs them today has an Alertmanager.
//!
//! Limits: [`EACH_MAX`] receivers of each kind and as many Alertmanagers; their own stand in their files.

pub mod alert;
pub mod alertmanager;
mod answer;
pub mod email;
mod figures;
mod http;
mod receiver;
pub mod telegram;
mod text;
pub mod webhook;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use alerting::Notice;
use anyhow::Context as _;
use model::{Labels, Timestamp};
use serde::Deserialize;
use settings::{Bytes, Mistake, Span};
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::external::ExternalLabels;
use crate::metrics::Metrics;
use crate::outbox::{Message, Outbox};
use crate::settings::Checked;
use alert::{Alert, Kind};
use alertmanager::Alertmanager;
use answer::Answer;
use figures::Figures;
use receiver::{Receiver, Worker};
use text::Style;

pub use http::Basic;
pub use text::{Language, Zone};

/// The most receivers of each kind.
pub const EACH_MAX: usize = 32;

/// The section `notify` of the settings: receivers of our own.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The language of messages: `en` or `id`. Default `en`.
    pub language: Language,
    /// The clock of messages: `UTC`, `WIB`, `WITA` or `WIT`. Default `UTC`.
    pub zone: Zone,
    /// How old a message may be before it is given up. Default 24h.
    pub give_up_after: Span,
    /// How much may wait on disk; beyond it the oldest goes first. Default 64MiB.
    pub outbox_max: Bytes,
    /// Webhooks, with Alertmanager's body.
    pub webhook: Vec<webhook::Config>,
    /// Mail.
    pub email: Vec<email::Config>,
    /// Telegram groups.
    pub telegram: Vec<telegram::Config>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            language: Language::default(),
            zone: Zone::default(),
            give_up_after: Span::from_secs(86_400),
            outbox_max: Bytes::new(64 << 20),
            webhook: Vec::new(),
            email: Vec::new(),
            telegram: Vec::new(),
        }
    }
}

/// The section `alerting` of the settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Alerting {
    /// Alertmanagers; each gets every alert.
    pub alertmanagers: Vec<alertmanager::Config>,
}

/// What the settings say of those who are told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    /// Alertmanagers.
    pub alerting: Alerting,
    /// Our own receivers.
    pub notify: Config,
}

/// Everyone, made from the settings.
struct Made {
    alertmanagers: Vec<Alertmanager>,
    receivers: Vec<Receiver>,
}

impl Told {
    /// What no value shows by its form: addresses, secrets and CAs are read, nobody is asked.
    pub(crate) fn check(&self, base: &Path) -> Result<(), Mistake> {
        self.make(&Style::default(), base).map(drop)
    }

    fn make(&self, style: &Style, base: &Path) -> Result<Made, Mistake> {
        let notify = |mistake: Mistake| mistake.under("notify");
        let alerting = |mistake: Mistake| mistake.under("alerting");
        let config = &self.notify;
        let counts = [
            ("webhook", config.webhook.len()),
            ("email", config.email.len()),
            ("telegram", config.telegram.len()),
        ];
        for (key, count) in counts {
            check_count(key, count).map_err(notify)?;
        }
        check_count("alertmanagers", self.alerting.alertmanagers.len()).map_err(alerting)?;
        check_bounds(config).map_err(notify)?;
        let mut alertmanagers: Vec<Alertmanager> = Vec::new();
        for (index, section) in self.alerting.alertmanagers.iter().enumerate() {
            let placed = |mistake: Mistake| alerting(mistake.item(index).under("alertmanagers"));
            let one = Alertmanager::new(section, base).map_err(placed)?;
            if alertmanagers.iter().any(|have| have.name() == one.name()) {
                return Err(placed(Mistake::at(
                    "url",
                    "another Alertmanager has the same address: it would get everything twice",
                )));
            }
            alertmanagers.push(one);
        }
        let receivers = Receiver::all(config, style, base).map_err(notify)?;
        Ok(Made { alertmanagers, receivers })
    }
}

fn check_count(key: &str, count: usize) -> Result<(), Mistake> {
    if count <= EACH_MAX {
        return Ok(());
    }
    Err(Mistake::at(key, format!("{count} are more than the {EACH_MAX} allowed")))
}

fn check_bounds(config: &Config) -> Result<(), Mistake> {
    let (least, most) = (Span::from_secs(60), Span::from_secs(30 * 86_400));
    if !(least..=most).contains(&config.give_up_after) {
        let why = format!("{} is out of bounds: write {least} to {most}", config.give_up_after);
        return Err(Mistake::at("give_up_after", why));
    }
    let (least, most) = (Bytes::new(4 << 20), Bytes::new(16 << 30));
    if !(least..=most).contains(&config.outbox_max) {
        let why = format!("{} is out of bounds: write {least} to {most}", config.outbox_max);
        return Err(Mistake::at("outbox_max", why));
    }
    Ok(())
}

fn style(settings: &Checked) -> Style {
    Style {
        language: settings.told.notify.language,
        zone: settings.told.notify.zone,
        external_url: settings.external_url.as_str().to_owned(),
    }
}

/// Tells whom the settings name. See the module's text.
pub struct Notifier {
    figures: Arc<Figures>,
    runtime: Handle,
    data: PathBuf,
    running: Mutex<Running>,
    /// One reload at a time.
    turn: Mutex<()>,
}

/// Who is told now.
#[derive(Default)]
struct Running {
    told: Told,
    style: Style,
    external_labels: ExternalLabels,
    outbox: Option<Arc<Outbox>>,
    alertmanagers: Vec<Arc<Alertmanager>>,
    stop: Option<watch::Sender<bool>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    threads: Vec<JoinHandle<()>>,
}

impl Notifier {
    /// Starts with those whom the settings name. Blocks on the disk.
    ///
    /// # Errors
    /// Where the outbox cannot be opened or a receiver cannot be made.
    pub fn start(settings: &Checked, metrics: &Metrics, runtime: Handle) -> anyhow::Result<Self> {
        let figures = Arc::new(Figures::new(metrics));
        figures.queue_capacity.set(alertmanager::QUEUE_MAX as i64);
        let (running, turn) = (Mutex::default(), Mutex::default());
        let notifier = Self { figures, runtime, data: settings.data.clone(), running, turn };
        notifier.load(settings)?;
        Ok(notifier)
    }

    /// Takes over reloaded settings. Blocks until who was told before has ended, at most some seconds.
    ///
    /// # Errors
    /// As [`start`](Self::start); then everything is as it was.
    pub fn reload(&self, settings: &Checked) -> anyhow::Result<()> {
        let _turn = lock(&self.turn);
        {
            let mut running = lock(&self.running);
            running.external_labels = settings.external_labels.clone();
            if running.told == settings.told
                && running.style == style(settings)
                && !reads_secrets(&settings.told)
            {
                return Ok(());
            }
        }
        self.load(settings)
    }

    fn load(&self, settings: &Checked) -> anyhow::Result<()> {
        let style = style(settings);
        let made = settings.told.make(&style, &settings.base).map_err(|mistake| settings.wrong(&mistake))?;
        let notify = &settings.told.notify;
        let outbox = match lock(&self.running).outbox.clone() {
            None if made.receivers.is_empty() => None,
            None => {
                let opened = Outbox::open(&self.data, notify.outbox_max.get());
                Some(Arc::new(opened.context("cannot open the outbox of notifications")?))
            }
            Some(outbox) => {
                outbox.set_bytes_max(notify.outbox_max.get());
                Some(outbox)
            }
        };
        // Who was there before ends first: two threads for one receiver would tell it everything twice.
        self.end(false);
        let (stop, stopped) = watch::channel(false);
        let mut next = Running {
            told: settings.told.clone(),
            style,
            external_labels: settings.external_labels.clone(),
            outbox,
            ..Running::default()
        };
        for one in made.alertmanagers {
            let one = Arc::new(one);
            next.tasks
                .push(self.runtime.spawn(Arc::clone(&one).run(Arc::clone(&self.figures), stopped.clone())));
            next.alertmanagers.push(one);
        }
        self.figures.alertmanagers.set(next.alertmanagers.len() as i64);
        if let Some(outbox) = &next.outbox {
            outbox.retain(&made.receivers.iter().map(|receiver| receiver.key.clone()).collect::<Vec<_>>());
            for receiver in made.receivers {
                let thread = self.spawn(receiver, outbox, notify.give_up_after.get(), stopped.clone())?;
                next.threads.push(thread);
            }
        }
        next.stop = Some(stop);
        *lock(&self.running) = next;
        Ok(())
    }

    fn spawn(
        &self,
        receiver: Receiver,
        outbox: &Arc<Outbox>,
        give_up_after: Duration,
        stop: watch::Receiver<bool>,
    ) -> anyhow::Result<JoinHandle<()>> {
        let reading = outbox.read(&receiver.key);
        let reading = reading.with_context(|| format!("cannot read the outbox for {}", receiver.key))?;
        let worker = Worker {
            receiver,
            outbox: Arc::clone(outbox),
            figures: Arc::clone(&self.figures),
            give_up_after,
            stop,
            runtime: self.runtime.clone(),
        };
        let thread = std::thread::Builder::new().name("notify".into()).spawn(move || worker.run(reading));
        thread.context("cannot start a thread that notifies")
    }

    /// Tells everyone; what changed is on disk for our own receivers when this returns. Waits for the disk, never for the network.
    /// Without notices it tries again what the disk did not take before.
    pub fn tell(&self, notices: Vec<Notice>, now: Timestamp) {
        if notices.is_empty() {
            self.retry(now);
            return;
        }
        let (labels, outbox, alertmanagers) = {
            let running = lock(&self.running);
            let outbox = running.outbox.clone().filter(|_| !running.threads.is_empty());
            (running.external_labels.clone(), outbox, running.alertmanagers.clone())
        };
        let stamped = |alert: Alert| Alert { labels: labels.stamp(&alert.labels), ..alert };
        let alerts: Vec<Alert> = notices.into_iter().map(|notice| stamped(notice.into())).collect();
        if !alertmanagers.is_empty() {
            let items: Vec<Arc<str>> = alerts.iter().map(alertmanager::item).collect();
            alertmanagers.iter().for_each(|one| one.push(&items, &self.figures));
        }
        let Some(outbox) = outbox else { return };
        if let Err(error) = outbox.append(&alerts, now) {
            tracing::error!(
                "alerts could not be kept for those who are to be told; they are tried again: {error}"
            );
            self.figures.not_kept.inc_by(alerts.len() as u64);
        }
        self.figures.outbox_bytes.set(i64::try_from(outbox.bytes()).unwrap_or(i64::MAX));
    }

    fn retry(&self, now: Timestamp) {
        let Some(outbox) = lock(&self.running).outbox.clone() else { return };
        match outbox.retry(now) {
            Ok(0) => {}
            Ok(count) => tracing::info!("{count} alerts are kept now for those who are to be told"),
            Err(error) => {
                tracing::error!("alerts still cannot be kept for those who are to be told: {error}")
            }
        }
    }

    /// Ends, after at most some seconds. What was not delivered is delivered after the next start. Blocks.
    pub fn stop(&self) {
        let _turn = lock(&self.turn);
        self.end(true);
    }

    fn end(&self, closes: bool) {
        let (stop, tasks, threads, outbox) = {
            let mut running = lock(&self.running);
            running.alertmanagers.clear();
            let outbox = if closes { running.outbox.take() } else { None };
            (
                running.stop.take(),
                std::mem::take(&mut running.tasks),
                std::mem::take(&mut running.threads),
                outbox,
            )
        };
        if let Some(stop) = stop {
            stop.send_replace(true);
        }
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread that notifies ended by a mistake of ours");
            }
        }
        // Their queues are emptied for a moment more, beside whoever comes next.
        if closes {
            let (done, ended) = std::sync::mpsc::channel();
            self.runtime.spawn(async move {
                for task in tasks {
                    drop(task.await);
                }
                // Who waits may have lost patience.
                let _ = done.send(());
            });
            let _ = ended.recv_timeout(alertmanager::GRACE * 2);
        }
        if let Some(outbox) = outbox
            && let Err(error) = outbox.close()
        {
            tracing::error!("cannot close the outbox: {error}");
        }
    }
}

/// Files with secrets can have changed while their names did not.
fn reads_secrets(told: &Told) -> bool {
    *told != Told::default()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sends a test to everyone whom the settings name; of each its name, its place, and what it said or why it did not take it.
///
/// # Errors
/// Where one cannot be made.
pub async fn test(
    settings: &Checked,
    now: Timestamp,
) -> Result<Vec<(String, Result<String, String>)>, Mistake> {
    let style = style(settings);
    let made = settings.told.make(&style, &settings.base)?;
    let (summary, description) = match style.language {
        Language::En => {
            ("This is a test of notifications", "Nothing is wrong: somebody asked for this message.")
        }
        Language::Id => ("Ini uji coba pemberitahuan", "Tidak ada gangguan: seseorang meminta pesan ini."),
    };
    let labels = Labels::from_pairs([
        ("alertname", "PantauTest"),
        ("instance", settings.instance.as_str()),
        ("severity", "none"),
    ]);
    let alert = Alert {
        kind: Kind::Firing,
        labels: settings.external_labels.stamp(&labels),
        annotations: vec![("summary".into(), summary.into()), ("description".into(), description.into())],
        value: 1.0,
        starts_at: now,
        ends_at: Some(now + Duration::from_secs(60)),
        generator_url: style.external_url.clone(),
    };
    let mut said = Vec::new();
    let item = [alertmanager::item(&alert)];
    for one in &made.alertmanagers {
        said.push((format!("alertmanager {}", one.name()), one.post(&item).await));
    }
    let message = Message { number: 0, told_at: now, alerts: vec![alert] };
    for one in &made.receivers {
        let answer = match one.send(&message).await {
            Answer::Delivered(said) => Ok(said),
            Answer::Later { why, .. } | Answer::Never(why) => Err(why),
        };
        said.push((format!("{} ({})", one.key, one.place()), answer));
    }
    Ok(said)
}

#[cfg(test)]
mod tests;
