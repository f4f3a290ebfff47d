//! One receiver of our own, whatever its kind, and the thread that works for it.
//!
//! In: messages of the outbox, in order. Out: each delivered, or given up and counted with its reason: `refused` (it will not take this
//! message), `expired` (older than `give_up_after`), `outbox_full` (the outbox held more than it may, or was damaged), `mistake` (one of ours,
//! which ends this message and not the thread).
//!
//! The thread sends one message at a time, leaves a moment between two where the receiver's kind asks for it, and waits longer after
//! each failure: 2 s, doubled up to 5 min, half of it left to chance.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use model::Timestamp;
use settings::Mistake;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::answer::{Answer, Backoff, Step};
use super::email::{self, Email};
use super::figures::Figures;
use super::telegram::{self, Telegram};
use super::text::Style;
use super::webhook::Webhook;
use super::{Config, alertmanager};
use crate::mistake;
use crate::outbox::{Message, Outbox, Reading};
use crate::state::now;

const FIRST_WAIT: Duration = Duration::from_secs(2);
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// How long a disk that cannot be read is left alone.
const DISK_WAIT: Duration = Duration::from_secs(10);

/// One receiver.
pub(super) struct Receiver {
    /// Kind and name: `email.noc`.
    pub(super) key: String,
    channel: Channel,
    spacing: Duration,
}

enum Channel {
    Webhook(Webhook),
    Email(Box<Email>),
    Telegram(Telegram),
    /// Takes everything, and has a mistake of ours in it for alerts of one name.
    #[cfg(test)]
    Stumbling(&'static str),
}

impl Receiver {
    /// All that the settings name, in their order.
    pub(super) fn all(config: &Config, style: &Style, base: &Path) -> Result<Vec<Self>, Mistake> {
        let mut all = Vec::new();
        for (index, section) in config.webhook.iter().enumerate() {
            let made = Webhook::new(section, style, base).map(Channel::Webhook);
            add(&mut all, "webhook", index, section.name.as_str(), Duration::ZERO, made)?;
        }
        for (index, section) in config.email.iter().enumerate() {
            let made = Email::new(section, style, base).map(|email| Channel::Email(Box::new(email)));
            add(&mut all, "email", index, section.name.as_str(), email::SPACING, made)?;
        }
        for (index, section) in config.telegram.iter().enumerate() {
            let made = Telegram::new(section, style, base).map(Channel::Telegram);
            add(&mut all, "telegram", index, section.name.as_str(), telegram::SPACING, made)?;
        }
        Ok(all)
    }

    /// Where it is, without secrets.
    pub(super) fn place(&self) -> String {
        match &self.channel {
            Channel::Webhook(webhook) => webhook.place(),
            Channel::Email(email) => email.place(),
            Channel::Telegram(telegram) => telegram.place(),
            #[cfg(test)]
            Channel::Stumbling(_) => String::new(),
        }
    }

    /// Sends one message now.
    pub(super) async fn send(&self, message: &Message) -> Answer {
        match &self.channel {
            Channel::Webhook(webhook) => webhook.send(message).await,
            Channel::Email(email) => email.send(message).await,
            Channel::Telegram(telegram) => telegram.send(message).await,
            #[cfg(test)]
            Channel::Stumbling(name) => {
                assert!(message.alerts.iter().all(|alert| alert.label("alertname") != *name), "stumbled");
                Answer::Delivered(String::new())
            }
        }
    }
}

fn add(
    all: &mut Vec<Receiver>,
    kind: &str,
    index: usize,
    name: &str,
    spacing: Duration,
    channel: Result<Channel, Mistake>,
) -> Result<(), Mistake> {
    let placed = |mistake: Mistake| mistake.item(index).under(kind);
    let key = format!("{kind}.{name}");
    if all.iter().any(|have| have.key == key) {
        let why = format!("another {kind} has the name {name:?}: each needs its own");
        return Err(placed(Mistake::at("name", why)));
    }
    let channel = channel.map_err(placed)?;
    all.push(Receiver { key, channel, spacing });
    Ok(())
}

/// What the thread needs.
pub(super) struct Worker {
    pub(super) receiver: Receiver,
    pub(super) outbox: Arc<Outbox>,
    pub(super) figures: Arc<Figures>,
    pub(super) give_up_after: Duration,
    pub(super) stop: watch::Receiver<bool>,
    pub(super) runtime: Handle,
}

impl Worker {
    /// Works until told to stop.
    pub(super) fn run(mut self, mut reading: Reading) {
        let mut newer = self.outbox.watch();
        loop {
            newer.borrow_and_update();
            self.show_waiting(&reading);
            match reading.message() {
                Ok(Some((message, gone))) => {
                    if gone > 0 {
                        self.give_up("outbox_full", gone, "they were no longer in the outbox");
                    }
                    // One message that makes us stumble must not keep all that follow from this receiver.
                    match mistake::caught(|| self.deliver(&message)) {
                        Ok(true) => {}
                        Ok(false) => return,
                        Err(mistake) => self.give_up("mistake", 1, &mistake.to_string()),
                    }
                    if let Err(error) = reading.done(message.number) {
                        tracing::error!(
                            "cannot write down how far {} has come: {error}; a restart tells it some messages twice",
                            self.receiver.key
                        );
                    }
                    self.show_waiting(&reading);
                    if self.wait(self.receiver.spacing) {
                        return;
                    }
                }
                Ok(None) => {
                    let stop = &mut self.stop;
                    let stopped = self.runtime.block_on(async {
                        tokio::select! {
                            _ = stop.wait_for(|stop| *stop) => true,
                            changed = newer.changed() => changed.is_err(),
                        }
                    });
                    if stopped {
                        return;
                    }
                }
                Err(error) => {
                    tracing::error!("cannot read the outbox for {}: {error}", self.receiver.key);
                    if self.wait(DISK_WAIT) {
                        return;
                    }
                }
            }
        }
    }

    fn show_waiting(&self, reading: &Reading) {
        let waiting = i64::try_from(reading.waiting()).unwrap_or(i64::MAX);
        self.figures.waiting.with_label_values(&[&self.receiver.key]).set(waiting);
        self.figures.outbox_bytes.set(i64::try_from(self.outbox.bytes()).unwrap_or(i64::MAX));
    }

    fn give_up(&self, reason: &str, count: u64, why: &str) {
        tracing::error!("{} does not get {count} messages ({reason}): {why}", self.receiver.key);
        self.figures.given_up.with_label_values(&[self.receiver.key.as_str(), reason]).inc_by(count);
    }

    /// Until it is done; false if told to stop before.
    fn deliver(&mut self, message: &Message) -> bool {
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        if is_expired(message.told_at, now(), self.give_up_after) {
            self.give_up("expired", 1, "it is older than `give_up_after`");
            return true;
        }
        loop {
            let Some(answer) = self.ask(message) else { return false };
            if let Answer::Later { why, .. } = &answer {
                tracing::warn!("{} does not take a message yet: {why}", self.receiver.key);
                self.figures.failures.with_label_values(&[&self.receiver.key]).inc();
            }
            match backoff.judge(answer, message.told_at, now(), self.give_up_after, rand::random()) {
                Step::Delivered => {
                    self.figures.delivered.with_label_values(&[&self.receiver.key]).inc();
                    return true;
                }
                Step::GiveUp(reason, why) => {
                    self.give_up(reason, 1, &why);
                    return true;
                }
                Step::Wait(wait) => {
                    if self.wait(wait) {
                        return false;
                    }
                }
            }
        }
    }

    /// A request that is under way when told to stop has a moment to end: an answer that is not heard is a message sent twice.
    fn ask(&mut self, message: &Message) -> Option<Answer> {
        if *self.stop.borrow() {
            return None;
        }
        let (receiver, stop) = (&self.receiver, &mut self.stop);
        self.runtime.block_on(async {
            let grace = async {
                drop(stop.wait_for(|stop| *stop).await);
                tokio::time::sleep(alertmanager::GRACE).await;
            };
            tokio::select! {
                answer = receiver.send(message) => Some(answer),
                () = grace => None,
            }
        })
    }

    /// Whether told to stop meanwhile.
    fn wait(&mut self, time: Duration) -> bool {
        let stop = &mut self.stop;
        self.runtime.block_on(async { tokio::time::timeout(time, stop.wait_for(|stop| *stop)).await.is_ok() })
    }
}

fn is_expired(told_at: Timestamp, now: Timestamp, after: Duration) -> bool {
    u128::from(now.millis_since(told_at).max(0).unsigned_abs()) > after.as_millis()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;
    use crate::notify::alert::{Kind, example};

    #[tokio::test(flavor = "multi_thread")]
    async fn a_mistake_of_ours_costs_one_message_and_those_behind_it_arrive() {
        let folder = tempfile::tempdir().expect("a folder");
        let outbox = Arc::new(Outbox::open(folder.path(), 1 << 20).expect("a good disk"));
        let metrics = Metrics::new();
        let figures = Arc::new(Figures::new(&metrics));
        let reading = outbox.read("test.noc").expect("a good disk");
        let (stop, stopped) = watch::channel(false);
        let worker = Worker {
            receiver: Receiver {
                key: "test.noc".into(),
                channel: Channel::Stumbling("b"),
                spacing: Duration::ZERO,
            },
            outbox: Arc::clone(&outbox),
            figures: Arc::clone(&figures),
            give_up_after: Duration::from_secs(3_600),
            stop: stopped,
            runtime: Handle::current(),
        };
        let work = tokio::task::spawn_blocking(move || worker.run(reading));
        let appending = Arc::clone(&outbox);
        let append = move || {
            for name in ["a", "b", "c"] {
                appending.append(&[example(name, Kind::Firing)], now()).expect("a good disk");
            }
        };
        tokio::task::spawn_blocking(append).await.expect("no panic");
        let count = || {
            let delivered = figures.delivered.with_label_values(&["test.noc"]).get();
            (delivered, figures.given_up.with_label_values(&["test.noc", "mistake"]).get())
        };
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        while count() != (2, 1) {
            assert!(tokio::time::Instant::now() < deadline, "{:?}", count());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stop.send_replace(true);
        work.await.expect("the thread itself did not panic");
        let left = outbox.read("test.noc").expect("a good disk").message().expect("a good disk");
        assert!(left.is_none(), "what was given up does not come again");
    }
}
