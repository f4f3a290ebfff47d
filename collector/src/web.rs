//! The page at `/`: what this is, what is down right now, which devices are slowest to answer, how the store is and whose series are most.
//! Reads only; the console comes later.
//!
//! In: someone who may read, the ledger, the series `up` and what agents say of their slowest devices. Out: one HTML page without scripts or outside resources, in English
//! and Bahasa Indonesia (`?lang=`, else the browser's languages).
//!
//! Limits: [`ROWS_MAX`] rows of each kind that is down, the rest is counted; ten slow devices; "since" looks back [`SINCE_MAX`].

mod down;
mod slow;
mod words;

use askama::Template;
use axum::Router;
use axum::extract::{Query, State};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use model::{SourceError, Timestamp};
use serde::Deserialize;

use crate::auth::{Reader, Refusal, Viewer};
use crate::ingest::SenderSeries;
use crate::ledger::AgentStatus;
use crate::state::{AppState, Condition, now};
use down::Targets;
use slow::Slow;
use words::Words;

/// Rows of each kind on the page.
const ROWS_MAX: usize = 100;
/// Senders, and metrics, with most series.
const OFFENDERS_MAX: usize = 5;
/// How far back the page looks for the moment at which something went down.
const SINCE_MAX: std::time::Duration = std::time::Duration::from_secs(7 * 86_400);

/// The route of this room.
pub fn router() -> Router<AppState> {
    Router::new().route("/", get(index))
}

#[derive(Deserialize)]
struct Choice {
    lang: Option<String>,
}

#[derive(Template)]
#[template(path = "index.html")]
struct Page {
    words: &'static Words,
    instance: String,
    version: &'static str,
    unseen: Option<String>,
    silent: Vec<Row>,
    down: Vec<Row>,
    more: usize,
    agents: usize,
    agents_connected: usize,
    targets: usize,
    targets_up: usize,
    slow: Vec<SlowRow>,
    store: Option<StoreRows>,
    senders: Vec<CountRow>,
    metrics: Vec<CountRow>,
}

/// The store in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct StoreRows {
    size: String,
    a_day: Option<String>,
    full_in: Option<String>,
    damaged: usize,
    full: bool,
    poisoned: Option<String>,
}

/// A name and how many series are its.
#[derive(Clone, Debug, PartialEq, Eq)]
struct CountRow {
    name: String,
    place: String,
    count: usize,
}

/// One thing that is down.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    name: String,
    place: String,
    since: String,
}

/// A device that is slow to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct SlowRow {
    name: String,
    agent: String,
    place: String,
    took: String,
}

/// What the store says of targets and devices.
#[derive(Clone, Debug, Default)]
struct Seen {
    targets: Targets,
    slow: Vec<Slow>,
    condition: Option<Condition>,
    metrics: Vec<(String, usize)>,
}

impl Seen {
    fn read(reader: &Reader, at: Timestamp) -> Result<Self, SourceError> {
        let source = &*reader.source;
        Ok(Self {
            targets: Targets::read(source, at)?,
            slow: slow::slowest(source, at)?,
            condition: reader.condition(),
            metrics: reader
                .overview(OFFENDERS_MAX)
                .map_or_else(Vec::new, |overview| overview.series_by_metric),
        })
    }
}

async fn index(
    viewer: Viewer,
    reader: Result<Reader, Refusal>,
    State(state): State<AppState>,
    Query(choice): Query<Choice>,
    headers: HeaderMap,
) -> Response {
    let accepted =
        headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let words = Words::choose(choice.lang.as_deref(), accepted);
    let seen = match reader {
        Ok(reader) => tokio::task::spawn_blocking(move || Seen::read(&reader, now()))
            .await
            .unwrap_or_else(|panic| Err(SourceError::Unreadable(panic.to_string()))),
        Err(_) => Err(SourceError::NotReady(String::new())),
    };
    let statuses: Vec<AgentStatus> = {
        let all = state.agents(now()).into_iter();
        all.filter(|agent| viewer.0.allows(agent.region.as_ref(), agent.site.as_deref())).collect()
    };
    let senders: Vec<SenderSeries> = {
        let region = |sender: &SenderSeries| sender.region.as_ref().and_then(|region| region.parse().ok());
        let all = state.ingest.senders().into_iter();
        let seen = all.filter(|sender| viewer.0.allows(region(sender).as_ref(), sender.site.as_deref()));
        seen.take(OFFENDERS_MAX).collect()
    };
    let page = page(words, state.settings.load().instance.clone(), &statuses, &senders, seen, now());
    render(&page)
}

fn page(
    words: &'static Words,
    instance: String,
    statuses: &[AgentStatus],
    senders: &[SenderSeries],
    seen: Result<Seen, SourceError>,
    at: Timestamp,
) -> Page {
    let unseen = seen.as_ref().err().map(|why| words.unseen(why));
    let Seen { targets, slow, condition, metrics } = seen.unwrap_or_default();
    let silent: Vec<&AgentStatus> = statuses.iter().filter(|agent| agent.connected == Some(false)).collect();
    let more = silent.len().saturating_sub(ROWS_MAX) + targets.down_count.saturating_sub(targets.down.len());
    Page {
        words,
        instance,
        version: telemetry::build::VERSION,
        unseen,
        more,
        agents: statuses.len(),
        agents_connected: statuses.iter().filter(|agent| agent.connected == Some(true)).count(),
        targets: targets.count,
        targets_up: targets.count - targets.down_count,
        silent: silent.iter().take(ROWS_MAX).map(|agent| silent_row(words, agent, at)).collect(),
        down: targets.down.iter().map(|target| target_row(words, target, at)).collect(),
        slow: slow.iter().map(|slow| slow_row(words, slow)).collect(),
        store: condition.map(|condition| store_rows(words, condition)),
        senders: senders.iter().map(sender_row).collect(),
        metrics: metrics
            .into_iter()
            .map(|(name, count)| CountRow { name, place: String::new(), count })
            .collect(),
    }
}

fn store_rows(words: &Words, condition: Condition) -> StoreRows {
    StoreRows {
        size: words.size(condition.bytes as f64),
        a_day: condition.bytes_per_day.map(|bytes| words.size(bytes)),
        full_in: condition.days_until_full.map(|days| words.days(days)),
        damaged: condition.damaged,
        full: condition.full,
        poisoned: condition.poisoned,
    }
}

fn sender_row(sender: &SenderSeries) -> CountRow {
    let place = place(sender.region.as_deref(), sender.site.as_deref());
    CountRow { name: sender.sender.clone(), place, count: sender.series }
}

fn silent_row(words: &Words, agent: &AgentStatus, at: Timestamp) -> Row {
    let region = agent.region.as_ref().map(ToString::to_string);
    Row {
        name: agent.agent.clone(),
        place: place(region.as_deref(), agent.site.as_deref()),
        since: words.since(agent.last_seen_ms.map(Timestamp::from_millis), at),
    }
}

fn target_row(words: &Words, target: &down::Target, at: Timestamp) -> Row {
    let name = ["job", "instance"].map(|label| target.labels.get(label).unwrap_or("?")).join(" ");
    let place = place(target.labels.get("region"), target.labels.get("site"));
    Row { name, place, since: words.since(target.since, at) }
}

fn slow_row(words: &Words, slow: &Slow) -> SlowRow {
    let text = |label: &str| slow.labels.get(label).unwrap_or("?").to_owned();
    SlowRow {
        name: text("device"),
        agent: text("instance"),
        place: place(slow.labels.get("region"), slow.labels.get("site")),
        took: words.seconds(slow.seconds),
    }
}

fn place(region: Option<&str>, site: Option<&str>) -> String {
    [region, site].into_iter().flatten().collect::<Vec<_>>().join(" ")
}

fn render(page: &Page) -> Response {
    match page.render() {
        Err(error) => {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("cannot write the page: {error}\n")).into_response()
        }
        Ok(html) => {
            let mut response = Html(html).into_response();
            let headers = response.headers_mut();
            let policy = HeaderValue::from_static(
                "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
            );
            headers.insert(header::CONTENT_SECURITY_POLICY, policy);
            headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
            headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response
        }
    }
}

#[cfg(test)]
mod tests {
    use model::Labels;

    use super::*;

    fn agent(name: &str, connected: bool) -> AgentStatus {
        let json = serde_json::json!({
            "agent": name, "region": "33.19", "site": "kudus-1", "enrolled": true, "connected": connected,
            "last_seen_ms": 1_000_000, "clock_offset_seconds": null, "interval_seconds": 15.0, "batches": 4,
            "pending_batches": 0, "covered": null, "missing_seconds": {}, "conflicts": 0, "interleavings": 0,
        });
        serde_json::from_value(json).expect("the ledger's own form")
    }

    fn targets() -> Targets {
        let labels = Labels::from_pairs([
            ("__name__", "up"),
            ("job", "snmp"),
            ("instance", "sw<1>"),
            ("site", "kudus-1"),
        ]);
        let since = Some(Timestamp::from_millis(1_000_000));
        Targets { count: 3, down_count: 1, down: vec![down::Target { labels, since }] }
    }

    fn seen() -> Seen {
        let labels = Labels::from_pairs([("device", "olt<2>"), ("instance", "edge-2"), ("region", "33.19")]);
        let condition = Condition {
            bytes: 3 << 30,
            bytes_per_day: Some(1.5e8),
            days_until_full: Some(412.6),
            damaged: 2,
            ..Condition::default()
        };
        let metrics = vec![("http_requests<1>".into(), 70_000)];
        Seen {
            targets: targets(),
            slow: vec![Slow { labels, seconds: 12.345 }],
            condition: Some(condition),
            metrics,
        }
    }

    fn html(language: &str, seen: Result<Seen, SourceError>) -> String {
        let statuses = [agent("edge-1", false), agent("edge-2", true)];
        let at = Timestamp::from_millis(1_000_000 + 5 * 60_000);
        let sender = SenderSeries {
            sender: "kudus-gw".into(),
            region: Some("33.19".into()),
            site: Some("kudus-1".into()),
            series: 80_000,
        };
        page(Words::choose(Some(language), ""), "dc".into(), &statuses, &[sender], seen, at)
            .render()
            .expect("a page")
    }

    #[test]
    fn what_is_down_stands_on_the_page_in_both_languages() {
        let english = html("en", Ok(seen()));
        for part in [
            "edge-1",
            "33.19 kudus-1",
            "snmp sw&#60;1&#62;",
            "5 min",
            "Agents: 1/2",
            "Targets: 2/3",
            "Slowest devices",
            "olt&#60;2&#62;",
            "12.35 s",
            "lang=\"en\"",
        ] {
            assert!(english.contains(part), "{part} is missing:\n{english}");
        }
        assert_eq!(
            english.matches("edge-2").count(),
            1,
            "what is well is only counted; it asks the slow device"
        );
        let indonesian = html("id", Ok(seen()));
        for part in ["Yang sedang mati", "5 menit", "Perangkat paling lambat", "12,35 detik", "lang=\"id\""] {
            assert!(indonesian.contains(part), "{part} is missing:\n{indonesian}");
        }
    }

    #[test]
    fn the_store_and_whose_series_are_most_stand_on_the_page() {
        let english = html("en", Ok(seen()));
        for part in [
            "3.00 GiB on disk",
            "143 MiB a day",
            "the disk is full in 413 d",
            "Found damaged at the start: 2",
            "kudus-gw",
            "80000",
            "http_requests&#60;1&#62;",
        ] {
            assert!(english.contains(part), "{part} is missing:\n{english}");
        }
        let indonesian = html("id", Ok(seen()));
        for part in ["3,00 GiB di disk", "143 MiB per hari", "disk penuh dalam 413 hari", "Series terbanyak"]
        {
            assert!(indonesian.contains(part), "{part} is missing:\n{indonesian}");
        }
        let failing =
            Condition { full: true, poisoned: Some("a sync failed".into()), ..Condition::default() };
        let failing = html("en", Ok(Seen { condition: Some(failing), ..seen() }));
        assert!(
            failing.contains("The disk is full") && failing.contains("until a restart: a sync failed"),
            "{failing}"
        );
        let hidden = html("en", Ok(Seen { condition: None, metrics: Vec::new(), ..seen() }));
        assert!(!hidden.contains("on disk"), "who sees a part sees nothing of the whole: {hidden}");
    }

    #[test]
    fn without_slow_devices_there_is_no_table_of_them() {
        assert!(!html("en", Ok(Seen { slow: Vec::new(), ..seen() })).contains("Slowest devices"));
    }

    #[test]
    fn while_the_store_replays_the_page_says_so() {
        let replays = || Err(SourceError::NotReady("replaying".into()));
        assert!(html("en", replays()).contains("is replaying its journal"));
        assert!(html("id", replays()).contains("membaca ulang jurnalnya"));
    }

    #[test]
    fn what_else_keeps_the_store_from_answering_is_named() {
        let why = || Err(SourceError::TooLarge("more than 5 series".into()));
        let english = html("en", why());
        assert!(
            english.contains("cannot be said: the selection is too large: more than 5 series"),
            "{english}"
        );
        assert!(!english.contains("replaying"), "{english}");
        assert!(html("id", why()).contains("tidak dapat dikatakan: the selection is too large"));
    }
}
