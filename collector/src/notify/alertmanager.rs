//! Alertmanagers, as their clients must treat them: API v2, every one gets every alert, again while it is active.
//!
//! In: alerts, as often as the rules tell them. Out: `POST /api/v2/alerts` in batches of [`BATCH_MAX`], each Alertmanager from a queue of
//! its own. As in Prometheus a batch that could not be sent is dropped and counted: what is active or was resolved of late is told
//! again a minute later anyway. An alert without data is sent as one that fires, with the annotation `pantau_state: unknown`.
//!
//! Limits: [`QUEUE_MAX`] alerts wait for each; beyond it the oldest are dropped and counted.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use settings::{Mistake, Secret, Span};
use tokio::sync::{Notify, watch};

use super::alert::{Alert, rfc3339};
use super::figures::Figures;
use super::http::{self, Access, Basic, Outlet};
use super::webhook::annotations;

/// The most alerts of one request.
pub const BATCH_MAX: usize = 64;
/// The most alerts that wait for one Alertmanager.
pub const QUEUE_MAX: usize = 10_000;
/// How long an end waits for what is queued.
pub(super) const GRACE: Duration = Duration::from_secs(5);

/// An Alertmanager.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Its address, with the prefix of its paths where it has one.
    pub url: String,
    /// A bearer token.
    #[serde(default)]
    pub token: Option<Secret>,
    /// A name and a password; or `token`.
    #[serde(default)]
    pub basic: Option<Basic>,
    /// CAs to believe, PEM; those of the system by default.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// A proxy on the way; none by default.
    #[serde(default)]
    pub proxy: Option<String>,
    /// Time for a request and its answer. Default 10s.
    #[serde(default = "ten_seconds")]
    pub timeout: Span,
}

fn ten_seconds() -> Span {
    Span::from_secs(10)
}

/// One Alertmanager: its queue, and how it is asked.
pub(super) struct Alertmanager {
    outlet: Outlet,
    name: String,
    queue: Mutex<VecDeque<Arc<str>>>,
    filled: Notify,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Item<'a> {
    labels: BTreeMap<&'a str, &'a str>,
    annotations: BTreeMap<&'a str, &'a str>,
    starts_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ends_at: Option<String>,
    #[serde(rename = "generatorURL")]
    generator_url: &'a str,
}

/// An alert as JSON of API v2.
pub(super) fn item(alert: &Alert) -> Arc<str> {
    let item = Item {
        labels: alert.labels.iter().collect(),
        annotations: annotations(alert),
        starts_at: rfc3339(alert.starts_at),
        ends_at: alert.ends_at.map(rfc3339),
        generator_url: &alert.generator_url,
    };
    serde_json::to_string(&item).expect("texts can be written").into()
}

impl Config {
    /// Where alerts go; there is no user in it.
    pub(crate) fn alerts_url(&self) -> Result<reqwest::Url, String> {
        let mut url = http::url(&self.url)?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err("the API's path is put behind it, so it ends before ? and #".into());
        }
        let path = format!("{}/api/v2/alerts", url.path().trim_end_matches('/'));
        url.set_path(&path);
        Ok(url)
    }
}

impl Alertmanager {
    pub(super) fn new(config: &Config, base: &Path) -> Result<Self, Mistake> {
        let url = config.alerts_url().map_err(|why| Mistake::at("url", why))?;
        let name = url.to_string();
        let access = Access {
            url,
            token: config.token.as_ref(),
            basic: config.basic.as_ref(),
            ca_file: config.ca_file.as_ref(),
            proxy: config.proxy.as_deref(),
            timeout: config.timeout,
        };
        let outlet = Outlet::new(access, base)?;
        Ok(Self { outlet, name, queue: Mutex::default(), filled: Notify::new() })
    }

    /// Its address, under which it is counted.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<Arc<str>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues alerts; never waits.
    pub(super) fn push(&self, items: &[Arc<str>], figures: &Figures) {
        let mut queue = self.queue();
        queue.extend(items.iter().map(Arc::clone));
        let excess = queue.len().saturating_sub(QUEUE_MAX);
        queue.drain(..excess);
        figures
            .queue_length
            .with_label_values(&[&self.name])
            .set(i64::try_from(queue.len()).unwrap_or(i64::MAX));
        drop(queue);
        figures.dropped.with_label_values(&[&self.name]).inc_by(excess as u64);
        self.filled.notify_one();
    }

    /// Sends what is queued until told to stop; then what is left, for a moment.
    pub(super) async fn run(self: Arc<Self>, figures: Arc<Figures>, mut stop: watch::Receiver<bool>) {
        loop {
            while self.send_batch(&figures).await {
                if *stop.borrow() {
                    break;
                }
            }
            tokio::select! {
                () = self.filled.notified() => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        let rest = async { while self.send_batch(&figures).await {} };
        drop(tokio::time::timeout(GRACE, rest).await);
    }

    /// Whether there was one.
    async fn send_batch(&self, figures: &Figures) -> bool {
        let batch: Vec<Arc<str>> = {
            let mut queue = self.queue();
            let count = queue.len().min(BATCH_MAX);
            let batch = queue.drain(..count).collect();
            figures
                .queue_length
                .with_label_values(&[&self.name])
                .set(i64::try_from(queue.len()).unwrap_or(i64::MAX));
            batch
        };
        if batch.is_empty() {
            return false;
        }
        let (count, began) = (batch.len() as u64, Instant::now());
        figures.sent.with_label_values(&[&self.name]).inc_by(count);
        if let Err(why) = self.post(&batch).await {
            tracing::warn!("Alertmanager {} did not take {count} alerts: {why}", self.name);
            figures.errors.with_label_values(&[&self.name]).inc_by(count);
            figures.dropped.with_label_values(&[&self.name]).inc_by(count);
        }
        figures.latency.with_label_values(&[&self.name]).observe(began.elapsed().as_secs_f64());
        true
    }

    /// Posts alerts now; what it said.
    pub(super) async fn post(&self, batch: &[Arc<str>]) -> Result<String, String> {
        let body = format!("[{}]", batch.join(","));
        let answered = self.outlet.post(body.into_bytes(), None).await?;
        let said = answered.said();
        if (200..300).contains(&answered.status) { Ok(said) } else { Err(said) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::alert::{Kind, example};
    use super::super::http::tests::{answer, fake, next};
    use super::*;
    use crate::metrics::Metrics;

    fn alertmanager(url: &str) -> Result<Alertmanager, Mistake> {
        // More time than a busy machine takes: who gives up before the answer is there counts what the test does not expect.
        let text = format!("{{url: '{url}', timeout: 60s}}");
        let config: Config = settings::parse(&text, "x").expect("a section");
        Alertmanager::new(&config, Path::new("/nowhere"))
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn batches_of_64_are_sent_and_what_fails_is_counted() {
        let (address, seen) = fake(vec![answer("200 OK", "", ""), answer("500 Oh", "", "no")]);
        let one = Arc::new(alertmanager(&format!("{address}/am/")).expect("good"));
        let figures = Arc::new(Figures::new(&Metrics::new()));
        let items: Vec<Arc<str>> =
            (0..100).map(|index| item(&example(&index.to_string(), Kind::Firing))).collect();
        one.push(&items, &figures);
        let (stop, stopped) = watch::channel(false);
        let running = tokio::spawn(Arc::clone(&one).run(Arc::clone(&figures), stopped));
        for expected in [64, 36] {
            let seen = tokio::task::block_in_place(|| next(&seen));
            assert!(seen.0.starts_with("POST /am/api/v2/alerts HTTP/1.1"), "{}", seen.0);
            let body: serde_json::Value = serde_json::from_str(&seen.1).expect("JSON");
            assert_eq!(body.as_array().expect("a list").len(), expected);
            assert!(body[0].get("endsAt").is_none() && body[0]["generatorURL"].is_string());
        }
        stop.send_replace(true);
        running.await.expect("it ends");
        let name = [one.name()];
        assert_eq!(figures.sent.with_label_values(&name).get(), 100);
        assert_eq!(figures.errors.with_label_values(&name).get(), 36);
        assert_eq!(figures.dropped.with_label_values(&name).get(), 36);
        assert_eq!(figures.queue_length.with_label_values(&name).get(), 0);
    }

    #[test]
    fn the_queue_is_bounded_and_the_oldest_go() {
        let one = alertmanager("http://127.0.0.1:1").expect("good");
        let figures = Figures::new(&Metrics::new());
        let items: Vec<Arc<str>> = (0..QUEUE_MAX + 5).map(|index| index.to_string().into()).collect();
        one.push(&items, &figures);
        let count = one.queue().len();
        let first = Arc::clone(&one.queue()[0]);
        assert_eq!((count, first.as_ref()), (QUEUE_MAX, "5"));
        assert_eq!(figures.dropped.with_label_values(&[one.name()]).get(), 5);
    }

    #[test]
    fn an_alert_is_written_as_the_api_reads_it() {
        let value: serde_json::Value =
            serde_json::from_str(&item(&example("a", Kind::Resolved))).expect("JSON");
        assert_eq!(value["endsAt"], "2026-11-23T06:10:00.000Z");
        assert_eq!(value["labels"]["alertname"], "a");
        let value: serde_json::Value =
            serde_json::from_str(&item(&example("a", Kind::Unknown))).expect("JSON");
        assert_eq!(value["annotations"]["pantau_state"], "unknown");
    }

    #[test]
    fn mistakes_are_named() {
        let check = |url: &str, expected: &str| {
            let Err(mistake) = alertmanager(url) else { panic!("{url} is wrong") };
            assert!(mistake.to_string().contains(expected), "{mistake}");
        };
        check("am:9093", "url: no address");
        check("http://am/?x", "url: the API's path");
    }
}
