//! The Prometheus HTTP API: what Grafana, promtool and API clients ask.
//!
//! In: GET or POST requests whose URL and form parameters are merged, from someone who may read ([`Reader`]: no handler can reach
//! series in another way). Out: JSON as Prometheus 3 writes it, `/federate` as text.
//!
//! What reads no series and cannot be narrowed to a scope (the settings, figures of the whole store) answers 403 to readers who see a
//! part only.
//!
//!
//! `/api/v1/admin/tsdb` changes the store. It answers only where the settings say `admin_api: true`, and only an
//! [`Administrator`](crate::auth::Administrator).
//!
//! Limits: a form of [`params::FORM_BYTES_MAX`], [`params::COUNT_MAX`] parameters; queries at once, their time and their samples as
//! [`Config`] has it; past a limit the error says which.

mod active;
mod admin;
mod blocks;
mod body;
mod exemplars;
mod expression;
mod federate;
mod json;
mod metadata;
mod params;
mod query;
mod read;
pub(crate) mod reply;
mod rules;
mod series;
mod shown;
mod statistics;
mod status;
mod switches;
mod targets;
#[cfg(test)]
mod tests;
pub(crate) mod time;

pub(crate) use params::takes_gzip;
pub use switches::Switches;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};
use serde::Deserialize;
use settings::{Bytes, Span};

use crate::auth::Reader;
use crate::queries::{NotRun, Patience, Queries};
use crate::state::AppState;

/// Bounds on queries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The longest a query may take; the parameter `timeout` can only shorten it. Default 2m.
    pub timeout: Span,
    /// How far back an instant selector looks for a sample. Default 5m, as Prometheus.
    pub lookback: Span,
    /// Samples and points that one query may hold at a time, about 16 bytes each. Default 10,000,000.
    pub samples_max: usize,
    /// Memory that these may take, counted as 16 bytes each: another way to say `samples_max`; of both the smaller counts. None by
    /// default.
    pub memory_max: Option<Bytes>,
    /// Series that one query may touch. Default 1,000,000.
    pub series_max: usize,
    /// Queries that run at once; others wait their turn within their own time. Default 8.
    pub concurrent_max: usize,
    /// Parts of the language that Prometheus has behind feature flags, by its names: `[promql-duration-expr]`. None by default.
    pub features: Switches,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            timeout: Span::from_secs(120),
            lookback: Span::from_secs(300),
            samples_max: 10_000_000,
            memory_max: None,
            series_max: 1_000_000,
            concurrent_max: 8,
            features: Switches::default(),
        }
    }
}

impl Config {
    /// Samples and points that one query may hold at a time.
    fn samples_allowed(&self) -> usize {
        const SAMPLE_BYTES: u64 = 16;
        let by_memory = self.memory_max.map_or(u64::MAX, |most| most.get() / SAMPLE_BYTES);
        self.samples_max.min(usize::try_from(by_memory).unwrap_or(usize::MAX))
    }
}

/// Said beside an answer that the parameter `limit` cut.
const TRUNCATED: &str = "results truncated due to limit";

/// Places for running queries, shared by all handlers.
#[derive(Clone)]
struct Turns(Arc<Queries>, promql::Threads);

/// Threads that queries may use beside their own, all together: one less than there are processors. They are of the low priority of the
/// queries' own, so that rules and what comes in go first.
fn threads_beside() -> promql::Threads {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    promql::Threads::new((processors - 1).min(8))
}

/// All routes of this room.
pub fn router(queries: &Arc<Queries>) -> Router<AppState> {
    let turns = Turns(Arc::clone(queries), threads_beside());
    Router::new()
        .route("/api/v1/query", get(query::instant).post(query::instant))
        .route("/api/v1/query_range", get(query::range).post(query::range))
        .route("/api/v1/query_exemplars", get(exemplars::exemplars).post(exemplars::exemplars))
        .route("/api/v1/format_query", get(expression::format_query).post(expression::format_query))
        .route("/api/v1/parse_query", get(expression::parse_query).post(expression::parse_query))
        .route("/api/v1/labels", get(series::label_names).post(series::label_names))
        .route("/api/v1/label/{name}/values", get(series::label_values).post(series::label_values))
        .route("/api/v1/series", get(series::series).post(series::series))
        .route("/api/v1/metadata", get(metadata::metadata))
        .route("/api/v1/read", post(read::read))
        .route("/api/v1/status/active_queries", get(active::list))
        .route("/api/v1/status/active_queries/kill", post(active::kill))
        .route("/api/v1/status/buildinfo", get(status::build_info))
        .route("/api/v1/status/config", get(status::config))
        .route("/api/v1/status/flags", get(status::flags))
        .route("/api/v1/status/runtimeinfo", get(status::runtime_info))
        .route("/api/v1/status/walreplay", get(status::replay))
        .route("/api/v1/status/tsdb", get(status::tsdb))
        .route("/api/v1/status/tsdb/blocks", get(blocks::blocks))
        .route("/api/v1/rules", get(rules::rules))
        .route("/api/v1/alerts", get(rules::alerts))
        .route("/api/v1/alertmanagers", get(status::alertmanagers))
        .route("/api/v1/notifications", get(status::notifications))
        .route("/api/v1/features", get(status::features))
        .route("/api/v1/admin/tsdb/delete_series", post(admin::delete_series).put(admin::delete_series))
        .route(
            "/api/v1/admin/tsdb/clean_tombstones",
            post(admin::clean_tombstones).put(admin::clean_tombstones),
        )
        .route("/api/v1/admin/tsdb/snapshot", post(admin::snapshot).put(admin::snapshot))
        .route("/api/v1/targets", get(targets::targets))
        .route("/api/v1/targets/metadata", get(targets::metadata))
        .route("/api/v1/scrape_pools", get(targets::scrape_pools))
        .route("/sd/http", get(targets::discovery))
        .route("/federate", get(federate::federate))
        .layer(axum::Extension(turns))
}

/// Runs work that takes its time, and needs no turn, off the threads that serve connections.
async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, reply::ApiError> + Send + 'static,
) -> Result<T, reply::ApiError> {
    let ran = tokio::task::spawn_blocking(work).await;
    ran.unwrap_or_else(|error| Err(reply::ApiError::Internal(format!("the work's thread ended: {error}"))))
}

/// Runs work that reads series on a thread of its own, in its turn and within the time that it has left. The work reads through the
/// patience that it is given, or has the engine look at the clock.
async fn in_turn<T: Send + 'static>(
    turns: &Turns,
    deadline: tokio::time::Instant,
    work: impl FnOnce(&Patience) -> Result<T, reply::ApiError> + Send + 'static,
) -> Result<T, reply::ApiError> {
    let (_waiting, patience) = Patience::until(deadline.into());
    let judged = move || {
        work(&patience).map_err(|error| match patience.over_by() {
            // Then that is why, whatever it says.
            Some(interrupt) if matches!(error, reply::ApiError::Internal(_)) => {
                promql::QueryError::from(interrupt).into()
            }
            _ => error,
        })
    };
    turns.0.run(deadline, judged).await?
}

impl From<NotRun> for reply::ApiError {
    fn from(error: NotRun) -> Self {
        let text = error.to_string();
        match error {
            NotRun::TimedOut => Self::Timeout(text),
            NotRun::Broken => Self::Internal(text),
        }
    }
}
