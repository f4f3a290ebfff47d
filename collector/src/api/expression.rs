//! `/api/v1/format_query` and `/api/v1/parse_query`: an expression printed over lines, and its tree. They read no series.

use axum::response::Response;
use promql::Expr;

use super::params::Params;
use super::reply::{self, ApiError};
use super::{in_background, json};
use crate::auth::Viewer;

/// The expression as Prometheus formats it: in one line of at most 100 bytes, or over several.
pub(super) async fn format_query(_: Viewer, params: Params) -> Response {
    answer(params, |expr| {
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
pub(super) async fn parse_query(_: Viewer, params: Params) -> Response {
    answer(params, |expr| Ok(expr.to_json().to_string())).await
}

/// Parses the parameter `query` and writes its reply off the threads that serve connections: long expressions take their time.
async fn answer(
    params: Params,
    write: impl FnOnce(&Expr) -> Result<String, ApiError> + Send + 'static,
) -> Response {
    let gzip = params.gzip;
    let work = move || {
        let query = params.get("query").unwrap_or_default();
        let expr = promql::parse(query).map_err(|error| ApiError::parameter("query", error))?;
        Ok(reply::success(&write(&expr)?, gzip))
    };
    in_background(work).await.unwrap_or_else(|error| error.response(gzip))
}
