//! `/api/v1/status/…`: what this collector is, how it was started and how it is.

use axum::extract::State;
use axum::response::Response;
use serde_json::json;

use super::params::Params;
use super::reply::{self, ApiError};
use super::shown::Shown;
use super::{Reader, in_background, json, time};
use crate::auth::Viewer;
use crate::ingest::SenderSeries;
use crate::scope::Scope;
use crate::state::{AppState, Overview, now};

/// Entries of each list, unless the parameter `limit` says otherwise; and the most that it may say. Both as in Prometheus.
const TSDB_TOP: usize = 10;
const TSDB_TOP_MAX: usize = 10_000;

/// The version of Prometheus whose API we speak: clients switch features by it (Grafana asks for 2.24 and more).
const API_VERSION: &str = "3.0.0";

/// Which build this is. `version` is the API's, as clients expect it; ours stands where Prometheus says who built it, because clients
/// refuse members that they do not know.
pub(super) async fn build_info(_: Viewer, params: Params) -> Response {
    let data = json!({
        "version": API_VERSION,
        "revision": telemetry::build::REVISION,
        "branch": "",
        "buildUser": format!("pantau@{}", telemetry::build::VERSION),
        "buildDate": "",
        "goVersion": "",
    });
    reply::success(&data.to_string(), params.gzip)
}

/// What is of all regions is not for a reader who sees a part.
pub(super) fn everything_only(scope: &Scope) -> Result<(), ApiError> {
    if scope.is_everything() {
        return Ok(());
    }
    Err(ApiError::Forbidden("this is of all regions: this reader sees a part".into()))
}

/// The settings file as it is in force, secrets hidden.
pub(super) async fn config(Viewer(scope): Viewer, State(state): State<AppState>, params: Params) -> Response {
    let gzip = params.gzip;
    let work = move || {
        everything_only(&scope)?;
        let shown: Shown =
            state.settings.load().parsed().map_err(|error| ApiError::Internal(error.to_string()))?;
        Ok(reply::success(&json!({ "yaml": shown.yaml() }).to_string(), gzip))
    };
    in_background(work).await.unwrap_or_else(|error| error.response(gzip))
}

/// What Prometheus is told by flags and this collector by its settings, under Prometheus' names. Paths only to who sees everything.
pub(super) async fn flags(Viewer(scope): Viewer, State(state): State<AppState>, params: Params) -> Response {
    let settings = state.settings.load();
    let (query, storage) = (&settings.query, &settings.storage);
    let path = |path: &std::path::Path| {
        if scope.is_everything() { path.display().to_string() } else { String::new() }
    };
    let file = settings.file().map(path).unwrap_or_default();
    let data = json!({
        "config.file": file,
        "enable-feature": query.features.names(),
        "query.lookback-delta": query.lookback.to_string(),
        "query.max-concurrency": query.concurrent_max.to_string(),
        "query.max-samples": query.samples_max.to_string(),
        "query.timeout": query.timeout.to_string(),
        "storage.tsdb.path": path(&settings.data.join(crate::storage::FOLDER)),
        "storage.tsdb.retention.size": storage.disk_max.map_or_else(|| "0B".to_owned(), |most| most.to_string()),
        "storage.tsdb.retention.time": storage.time.to_string(),
        "web.enable-admin-api": settings.admin_api.to_string(),
        "web.enable-lifecycle": "false",
        "web.enable-remote-write-receiver": "true",
        "web.listen-address": settings.listen.to_string(),
    });
    reply::success(&data.to_string(), params.gzip)
}

/// The Alertmanagers of the settings: there is no discovery that could drop one.
pub(super) async fn alertmanagers(
    Viewer(scope): Viewer,
    State(state): State<AppState>,
    params: Params,
) -> Response {
    if let Err(error) = everything_only(&scope) {
        return error.response(params.gzip);
    }
    let settings = state.settings.load();
    let urls = settings.told.alerting.alertmanagers.iter().filter_map(|one| one.alerts_url().ok());
    let active: Vec<_> = urls.map(|url| json!({ "url": url.as_str() })).collect();
    let data = json!({ "activeAlertmanagers": active, "droppedAlertmanagers": [] });
    reply::success(&data.to_string(), params.gzip)
}

/// What a user interface shows above everything: settings that were not taken.
pub(super) async fn notifications(
    Viewer(scope): Viewer,
    State(state): State<AppState>,
    params: Params,
) -> Response {
    if let Err(error) = everything_only(&scope) {
        return error.response(params.gzip);
    }
    let reload = state.last_reload.load();
    let text = "Configuration reload has failed.";
    let said = json!({ "text": text, "date": time::rfc3339(reload.tried), "active": true });
    let data: Vec<_> = (!reload.taken).then_some(said).into_iter().collect();
    reply::success(&json!(data).to_string(), params.gzip)
}

/// What this collector can do and is open for, by room, as clients of Prometheus 3 ask for it. What is not named is not there.
pub(super) async fn features(_: Viewer, State(state): State<AppState>, params: Params) -> Response {
    let data = json!({
        "api": {
            "admin": state.settings.load().admin_api,
            "lifecycle": false,
            "query_stats": true,
            "query_warnings": true,
            "remote_write_receiver": true,
        },
        "promql": { "experimental_functions": true, "native_histograms": true },
        "rules": { "keep_firing_for": true, "query_offset": true },
        "tsdb": { "exemplar_storage": true, "native_histograms": true },
    });
    reply::success(&data.to_string(), params.gzip)
}

/// How this process is. What Go has and Rust has not is empty or without bound; `goroutineCount` counts tasks.
pub(super) async fn runtime_info(reader: Reader, State(state): State<AppState>, params: Params) -> Response {
    let gzip = params.gzip;
    let work = move || {
        everything_only(&reader.scope)?;
        let settings = state.settings.load();
        let reload = state.last_reload.load();
        let folder = std::env::current_dir().map(|folder| folder.display().to_string());
        let data = json!({
            "startTime": time::rfc3339(state.started),
            "CWD": folder.unwrap_or_default(),
            "hostname": settings.instance,
            "serverTime": time::rfc3339(now()),
            "reloadConfigSuccess": reload.taken,
            "lastConfigTime": time::rfc3339(reload.at),
            "corruptionCount": reader.condition().map_or(0, |condition| condition.damaged),
            "goroutineCount": tokio::runtime::Handle::current().metrics().num_alive_tasks(),
            "GOMAXPROCS": std::thread::available_parallelism().map_or(1, usize::from),
            "GOMEMLIMIT": i64::MAX,
            "GOGC": "",
            "GODEBUG": "",
            "storageRetention": settings.storage.time.to_string(),
        });
        Ok(reply::success(&data.to_string(), gzip))
    };
    in_background(work).await.unwrap_or_else(|error| error.response(gzip))
}

/// Whether the journal has been replayed: `current` reaches `max` then. It answers before the store does.
pub(super) async fn replay(_: Viewer, State(state): State<AppState>, params: Params) -> Response {
    let done = u8::from(state.is_ready());
    reply::success(&json!({ "min": 0, "max": 1, "current": done }).to_string(), params.gzip)
}

/// What is written to, and what is most of it: by metric, label and value as Prometheus has it; by agent where the parameter `by` says
/// `agent`, because clients refuse members that they do not know.
pub(super) async fn tsdb(reader: Reader, State(state): State<AppState>, params: Params) -> Response {
    let gzip = params.gzip;
    let run = async {
        let top = tsdb_top(&params)?;
        everything_only(&reader.scope)?;
        let overview = in_background(move || Ok(reader.overview(top).unwrap_or_default())).await?;
        Ok::<_, ApiError>(reply::success_with(&[], &[], gzip, |out| {
            let senders = (params.get("by") == Some("agent")).then(|| state.ingest.senders());
            push_tsdb(out, &overview, senders.as_deref(), top);
        }))
    };
    run.await.unwrap_or_else(|error| error.response(gzip))
}

fn tsdb_top(params: &Params) -> Result<usize, ApiError> {
    let Some(text) = params.get("limit") else { return Ok(TSDB_TOP) };
    let wrong = |why: &str| ApiError::parameter("limit", why);
    match text.parse::<usize>() {
        Ok(top) if top > TSDB_TOP_MAX => Err(wrong(&format!("limit must not exceed {TSDB_TOP_MAX}"))),
        Ok(top) if top > 0 => Ok(top),
        _ => Err(wrong("limit must be a positive number")),
    }
}

fn push_tsdb(out: &mut String, overview: &Overview, senders: Option<&[SenderSeries]>, top: usize) {
    // Of an empty head Prometheus says the ends of time, the wrong way round.
    let min_time = overview.min_time.map_or(i64::MAX, |time| time.as_millis());
    let max_time = overview.max_time.map_or(i64::MIN, |time| time.as_millis());
    let Overview { series, label_pairs, chunks, .. } = overview;
    let head = format!(
        "{{\"headStats\":{{\"numSeries\":{series},\"numLabelPairs\":{label_pairs},\"chunkCount\":{chunks},\"minTime\":{min_time},\"maxTime\":{max_time}}}"
    );
    out.push_str(&head);
    let senders = senders.map(|senders| {
        senders.iter().take(top).map(|sender| (sender.sender.clone(), sender.series)).collect::<Vec<_>>()
    });
    let lists = [
        ("seriesCountByMetricName", &overview.series_by_metric),
        ("labelValueCountByLabelName", &overview.values_by_label),
        ("memoryInBytesByLabelName", &overview.bytes_by_label),
        ("seriesCountByLabelValuePair", &overview.series_by_pair),
    ];
    for (name, list) in lists.into_iter().chain(senders.iter().map(|list| ("seriesCountByAgent", list))) {
        out.push_str(&format!(",\"{name}\":"));
        json::push_list(out, list, |out, (name, value)| {
            out.push_str("{\"name\":");
            json::push_text(out, name);
            out.push_str(&format!(",\"value\":{value}}}"));
        });
    }
    out.push('}');
}
