//! `/api/v1/format_query` and `/api/v1/parse_query`: an expression printed over lines, and its tree. They read no series.

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use promql::Expr;

use super::params::Params;
use super::reply::{self, ApiError};
use super::{Turns, in_turn, json};
use crate::auth::Viewer;
use crate::state::AppState;

/// The expression as Prometheus formats it: in one line of at most 100 bytes, or over several.
pub(super) async fn format_query(
    _: Viewer,
    State(state): State<AppState>,
    Extension(turns): Extension<Turns>,
    params: Params,
) -> Response {
    answer(&state, &turns, params, |expr| {
        let pretty = expr.pretty().ok_or_else(|| {
            let most = promql::PRETTY_BYTES_MAX;
            ApiError::Execution(format!("the formatted expression has more than {most} bytes"))
        })?;
        let mut out = String::new();
        json::push_text(&mut out, &pretty);
        Ok(out)
    })
    .await
}

/// The expression's tree, for user interfaces.
pub(super) async fn parse_query(
    _: Viewer,
    State(state): State<AppState>,
    Extension(turns): Extension<Turns>,
    params: Params,
) -> Response {
    answer(&state, &turns, params, |expr| Ok(expr.to_json().to_string())).await
}

/// Parses the parameter `query` and writes its reply in its turn: long expressions take their time, and their patterns memory.
async fn answer(
    state: &AppState,
    turns: &Turns,
    params: Params,
    write: impl FnOnce(&Expr) -> Result<String, ApiError> + Send + 'static,
) -> Response {
    let (config, gzip) = (state.settings.load().query, params.gzip);
    let work = move |_: &_| {
        let query = params.get("query").unwrap_or_default();
        let expr = promql::parse_with(query, config.features.features())
            .map_err(|error| ApiError::parameter("query", error))?;
        Ok(reply::success(&write(&expr)?, gzip))
    };
    let deadline = tokio::time::Instant::now() + config.timeout.get();
    in_turn(turns, deadline, work).await.unwrap_or_else(|error| error.response(gzip))
}
