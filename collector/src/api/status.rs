//! `/api/v1/status/buildinfo` and `/api/v1/status/tsdb`, and what there is of rules and alerts: none.

use axum::extract::State;
use axum::response::Response;
use serde_json::json;

use super::params::Params;
use super::reply::{self, ApiError};
use super::{Reader, json};
use crate::auth::Viewer;
use crate::ingest::SenderSeries;
use crate::state::{AppState, Overview};

/// Entries of each list, unless the parameter `limit` says otherwise; and the most that it may say. Both as in Prometheus.
const TSDB_TOP: usize = 10;
const TSDB_TOP_MAX: usize = 10_000;

/// The version of Prometheus whose API we speak: clients switch features by it (Grafana asks for 2.24 and more).
const API_VERSION: &str = "3.0.0";

/// Which build this is. `version` is the API's, as clients expect it; ours stands beside it.
pub(super) async fn build_info(_: Viewer, params: Params) -> Response {
    let data = json!({
        "version": API_VERSION,
        "revision": telemetry::build::REVISION,
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
        "application": "pantau",
        "applicationVersion": telemetry::build::VERSION,
    });
    reply::success(&data.to_string(), params.gzip)
}

/// No rule is configured, because none can be: the list is empty whoever asks.
pub(super) async fn rules(_: Viewer, params: Params) -> Response {
    reply::success(r#"{"groups":[]}"#, params.gzip)
}

/// Without rules there is no alert.
pub(super) async fn alerts(_: Viewer, params: Params) -> Response {
    reply::success(r#"{"alerts":[]}"#, params.gzip)
}

/// What is written to, and what is most of it: by metric, label and value as Prometheus has it, and beside that by agent.
pub(super) async fn tsdb(reader: Reader, State(state): State<AppState>, params: Params) -> Response {
    let gzip = params.gzip;
    let run = async {
        let top = tsdb_top(&params)?;
        let looked = tokio::task::spawn_blocking(move || reader.overview(top)).await;
        let overview = looked.map_err(|error| ApiError::Internal(error.to_string()))?.ok_or_else(|| {
            ApiError::Forbidden("these figures are of all regions: this reader sees a part".into())
        })?;
        Ok::<_, ApiError>(reply::success_with(&[], &[], gzip, |out| {
            push_tsdb(out, &overview, &state.ingest.senders(), top);
        }))
    };
    run.await.unwrap_or_else(|error| error.response(gzip))
}

fn tsdb_top(params: &Params) -> Result<usize, ApiError> {
    let Some(text) = params.get("limit") else { return Ok(TSDB_TOP) };
    let wrong = |why: &str| ApiError::BadData(format!("invalid parameter \"limit\": {why}"));
    match text.parse::<usize>() {
        Ok(top) if top > TSDB_TOP_MAX => Err(wrong(&format!("limit must not exceed {TSDB_TOP_MAX}"))),
        Ok(top) if top > 0 => Ok(top),
        _ => Err(wrong("limit must be a positive number")),
    }
}

fn push_tsdb(out: &mut String, overview: &Overview, senders: &[SenderSeries], top: usize) {
    // Of an empty head Prometheus says the ends of time, the wrong way round.
    let min_time = overview.min_time.map_or(i64::MAX, |time| time.as_millis());
    let max_time = overview.max_time.map_or(i64::MIN, |time| time.as_millis());
    let Overview { series, label_pairs, chunks, .. } = overview;
    let head = format!(
        "{{\"headStats\":{{\"numSeries\":{series},\"numLabelPairs\":{label_pairs},\"chunkCount\":{chunks},\"minTime\":{min_time},\"maxTime\":{max_time}}}"
    );
    out.push_str(&head);
    let senders: Vec<(String, usize)> =
        senders.iter().take(top).map(|sender| (sender.sender.clone(), sender.series)).collect();
    for (name, list) in [
        ("seriesCountByMetricName", &overview.series_by_metric),
        ("labelValueCountByLabelName", &overview.values_by_label),
        ("memoryInBytesByLabelName", &overview.bytes_by_label),
        ("seriesCountByLabelValuePair", &overview.series_by_pair),
        ("seriesCountByAgent", &senders),
    ] {
        out.push_str(&format!(",\"{name}\":"));
        json::push_list(out, list, |out, (name, value)| {
            out.push_str("{\"name\":");
            json::push_text(out, name);
            out.push_str(&format!(",\"value\":{value}}}"));
        });
    }
    out.push('}');
}
