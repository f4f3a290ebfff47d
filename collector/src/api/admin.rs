//! `/api/v1/admin/tsdb`: what Prometheus' admin API does to the store: delete series, clean up after that, copy everything.
//!
//! For an [`Administrator`] alone. Every call is said in the log.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use model::{Matcher, Timestamp};
use tsdb::{StoreError, WriteError};

use super::params::Params;
use super::reply::{self, ApiError};
use crate::auth::Administrator;
use crate::state::{AppState, now};

/// Deletes the samples of the series that a selector matches, from `start` to `end`, both inclusive: they are seen no more at once, and
/// leave the disk when their blocks are compacted.
pub(super) async fn delete_series(admin: Administrator, params: Params) -> Response {
    let run = async {
        let selectors = params.required_selectors()?;
        let (start, end) = (params.time("start", Timestamp::MIN)?, params.time("end", Timestamp::MAX)?);
        if end < start {
            return Err(ApiError::parameter("end", "end timestamp must not be before start time"));
        }
        tracing::info!(
            "an administrator deletes what {} matches from {start} to {end}",
            params.all("match[]").collect::<Vec<_>>().join(" or ")
        );
        on_its_own_thread(move || delete(&admin, &selectors, start, end)).await
    };
    match run.await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => error.response(params.gzip),
    }
}

fn delete(
    admin: &Administrator,
    selectors: &[Vec<Matcher>],
    start: Timestamp,
    end: Timestamp,
) -> anyhow::Result<()> {
    selectors.iter().try_for_each(|matchers| admin.storage.delete(matchers, start, end))
}

/// Takes what was deleted off the disk.
pub(super) async fn clean_tombstones(admin: Administrator, params: Params) -> Response {
    tracing::info!("an administrator has what was deleted taken off the disk");
    match on_its_own_thread(move || admin.storage.clean_tombstones(now())).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => error.response(params.gzip),
    }
}

/// Copies the store, without holding up anybody, into `snapshots/NAME` in the data folder.
pub(super) async fn snapshot(
    admin: Administrator,
    State(state): State<AppState>,
    params: Params,
) -> Response {
    let run = async {
        match params.get("skip_head") {
            None | Some("0" | "f" | "F" | "false" | "FALSE" | "False") => {}
            Some("1" | "t" | "T" | "true" | "TRUE" | "True") => {
                let why = "a snapshot here holds everything that was answered: leave it out";
                return Err(ApiError::parameter("skip_head", why));
            }
            Some(other) => {
                let why = format!("unable to parse boolean {other:?}");
                return Err(ApiError::parameter("skip_head", why));
            }
        }
        let data = state.settings.load().data.clone();
        on_its_own_thread(move || admin.storage.snapshot(&data, now())).await
    };
    match run.await {
        Ok(name) => {
            tracing::info!("an administrator had a snapshot made: {name}");
            reply::success(&serde_json::json!({ "name": name }).to_string(), params.gzip)
        }
        Err(error) => error.response(params.gzip),
    }
}

/// The disk may take its time.
async fn on_its_own_thread<T: Send + 'static>(
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> Result<T, ApiError> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.map_err(|error| ApiError::Internal(format!("the work's thread ended: {error}")))?;
    done.map_err(refusal)
}

/// Who asks for too much can ask for less, and a full disk is the operator's to empty: neither is a mistake of ours.
fn refusal(error: anyhow::Error) -> ApiError {
    let mut said = Vec::new();
    for cause in error.chain() {
        said.push(cause.to_string());
        // Its words hold those of its cause.
        if cause.is::<StoreError>() {
            break;
        }
    }
    let text = said.join(": ");
    match error.downcast_ref::<StoreError>() {
        Some(StoreError::TooManyDeletions { .. } | StoreError::DeletionTooLarge { .. }) => {
            ApiError::Execution(text)
        }
        Some(why) if why.is_full() => ApiError::Unavailable(text),
        Some(StoreError::Write(WriteError::Busy(_) | WriteError::NoMemory { .. } | WriteError::Closed)) => {
            ApiError::Unavailable(text)
        }
        _ => ApiError::Internal(text),
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::PathBuf;

    use anyhow::Context as _;

    use super::*;

    fn check(error: StoreError, status: u16) {
        let said = error.to_string();
        let error = Err::<(), _>(error).context("cannot delete series").expect_err("it is one");
        let refusal = refusal(error);
        assert_eq!(refusal.status().as_u16(), status, "{refusal}");
        assert_eq!(refusal.to_string(), format!("cannot delete series: {said}"));
    }

    #[test]
    fn what_the_asker_or_the_operator_can_mend_is_no_mistake_of_ours() {
        check(StoreError::TooManyDeletions { limit: 10 }, 422);
        check(StoreError::DeletionTooLarge { bytes: 2, waiting: 1, bytes_max: 2 }, 422);
        let io = |kind: io::ErrorKind| StoreError::Io {
            what: "write",
            path: PathBuf::from("tombstones"),
            source: kind.into(),
        };
        check(io(io::ErrorKind::StorageFull), 503);
        check(io(io::ErrorKind::QuotaExceeded), 503);
        check(io(io::ErrorKind::PermissionDenied), 500);
        check(StoreError::Write(WriteError::NoMemory { bytes: 2, bytes_max: 1 }), 503);
        check(StoreError::Write(WriteError::Closed), 503);
    }
}
