//! `/api/v1/status/active_queries`: queries that wait or run now, and ending one of them. Prometheus has no such path.
//!
//! Who sees everything sees all queries and may end any; a bounded reader those of readers with the very same scope, because an
//! expression may name what others must not know. A query that is not there and one that may not be seen are answered alike.

use axum::extract::State;
use axum::response::Response;
use serde_json::{Value, json};

use super::params::Params;
use super::reply::{self, ApiError};
use super::time::rfc3339;
use crate::auth::Caller;
use crate::queries::{Active, Origin};
use crate::state::AppState;

/// Letters of an expression that are shown.
const QUERY_CHARS_MAX: usize = 2000;

/// The list, the oldest first.
pub(super) async fn list(caller: Caller, State(state): State<AppState>, params: Params) -> Response {
    let shown: Vec<Value> = state.queries.active(&caller.scope).iter().map(show).collect();
    reply::success(&Value::from(shown).to_string(), params.gzip)
}

fn show(active: &Active) -> Value {
    let asked = &active.asked;
    let mut value = json!({
        "id": active.id.to_string(),
        "query": asked.query.chars().take(QUERY_CHARS_MAX).collect::<String>(),
        "start": rfc3339(asked.start),
        "end": rfc3339(asked.end),
        "step": asked.step.as_secs_f64(),
        "state": if active.is_running { "running" } else { "waiting" },
        "since": rfc3339(active.began_at),
        "ageSeconds": active.age.as_secs_f64(),
        "timeoutSeconds": asked.timeout.as_secs_f64(),
    });
    match &asked.origin {
        Origin::Request { method, path, reader, client } => {
            value["request"] = json!({ "method": method, "path": path, "reader": reader, "client": client });
        }
        Origin::Rule { file, group } => value["rule"] = json!({ "file": file, "group": group }),
    }
    value
}

/// Ends the query of the parameter `id`; `ended` is false where there is none (any more) that the caller may see.
pub(super) async fn kill(caller: Caller, State(state): State<AppState>, params: Params) -> Response {
    let run = || {
        let text = params.get("id").unwrap_or_default();
        let id = text.parse().map_err(|_| {
            ApiError::parameter("id", "write the number that /api/v1/status/active_queries says")
        })?;
        let ended = state.queries.kill(id, &caller.scope);
        if ended {
            tracing::info!("query {id} was ended by {:?} from {:?}", caller.name, caller.address);
        }
        Ok(reply::success(&json!({ "ended": ended }).to_string(), params.gzip))
    };
    run().unwrap_or_else(|error: ApiError| error.response(params.gzip))
}
