//! `/api/v1/query_exemplars`: the exemplars of every series that a query selects.

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use model::{Exemplar, Labels, Timestamp};

use super::params::Params;
use super::reply::{self, ApiError};
use super::{Reader, Turns, in_turn, json};
use crate::state::AppState;

/// Exemplars by series, in label order, from `start` to `end`, both inclusive.
pub(super) async fn exemplars(
    reader: Reader,
    State(state): State<AppState>,
    Extension(turns): Extension<Turns>,
    params: Params,
) -> Response {
    let (config, gzip) = (state.settings.load().query, params.gzip);
    let run = async {
        let (start, end) = (params.time("start", Timestamp::MIN)?, params.time("end", Timestamp::MAX)?);
        if end < start {
            return Err(ApiError::BadData("end timestamp must not be before start timestamp".into()));
        }
        let deadline = tokio::time::Instant::now() + config.timeout.get();
        in_turn(&turns, deadline, move |_| {
            let query =
                promql::parse_with(params.get("query").unwrap_or_default(), config.features.features())
                    .map_err(|error| ApiError::BadData(error.to_string()))?;
            let found = reader.exemplars(query.selectors(), start, end)?;
            Ok(reply::success_with(&[], &[], gzip, |out| push(out, &found)))
        })
        .await
    };
    run.await.unwrap_or_else(|error| error.response(gzip))
}

fn push(out: &mut String, found: &[(Labels, Vec<Exemplar>)]) {
    json::push_list(out, found, |out, (labels, exemplars)| {
        out.push_str("{\"seriesLabels\":");
        json::push_labels(out, labels);
        out.push_str(",\"exemplars\":");
        json::push_list(out, exemplars, |out, exemplar| {
            out.push_str("{\"labels\":");
            json::push_labels(out, &exemplar.labels);
            out.push_str(",\"value\":\"");
            json::push_number(out, exemplar.value);
            out.push_str("\",\"timestamp\":");
            json::push_time(out, exemplar.timestamp);
            out.push('}');
        });
        out.push('}');
    });
}
