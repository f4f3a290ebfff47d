//! `/-/healthy`, `/-/ready` and `/metrics`.

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use exposition::{Format, Offer};
use http::{HeaderValue, StatusCode, header};

use crate::api::{reply, takes_gzip};
use crate::auth::Viewer;
use crate::state::AppState;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The routes. Health is told to everyone, as probes have no credentials; the metrics' page names agents and wants a reader
/// who may see everything.
pub fn router() -> Router<AppState> {
    Router::new()
        .route("/-/healthy", get(async || "pantau-collector is healthy\n"))
        .route("/-/ready", get(ready))
        .route("/metrics", get(metrics))
}

async fn ready(State(state): State<AppState>) -> Response {
    if state.is_ready() {
        return "pantau-collector is ready\n".into_response();
    }
    let text = "not ready: the store is replaying its journal\n";
    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")], text).into_response()
}

async fn metrics(State(state): State<AppState>, Viewer(scope): Viewer, headers: http::HeaderMap) -> Response {
    if !scope.is_everything() {
        return (StatusCode::FORBIDDEN, "the collector's own metrics need a reader without scope\n")
            .into_response();
    }
    state.observe();
    let text_of =
        |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or_default();
    let (content_type, page) = match Offer::negotiate(text_of(header::ACCEPT)).format {
        Format::Text => (telemetry::metrics::CONTENT_TYPE, state.metrics.text()),
        Format::OpenMetrics => (OPEN_METRICS, state.metrics.open_metrics()),
    };
    reply::text(StatusCode::OK, content_type, page, takes_gzip(text_of(header::ACCEPT_ENCODING)))
}
