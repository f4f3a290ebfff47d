//! Replies: the JSON envelope, errors as Prometheus has them, gzip.

use std::io::Write as _;

use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderValue, StatusCode, header};
use model::SourceError;
use promql::QueryError;

use super::json::push_text;

/// Replies smaller than this are not worth compressing.
const GZIP_BYTES_MIN: usize = 1024;

/// Why a request has no answer, by Prometheus' kinds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ApiError {
    /// The request is wrong.
    #[error("{0}")]
    BadData(String),
    /// The query cannot be evaluated.
    #[error("{0}")]
    Execution(String),
    /// The time is up.
    #[error("{0}")]
    Timeout(String),
    /// Nobody waits any more.
    #[error("{0}")]
    Canceled(String),
    /// The store is not ready.
    #[error("{0}")]
    Unavailable(String),
    /// Not for this reader.
    #[error("{0}")]
    Forbidden(String),
    /// Ours, or the disk's.
    #[error("{0}")]
    Internal(String),
}

impl ApiError {
    /// A parameter that cannot be read, in Prometheus' words.
    pub(super) fn parameter(name: &str, why: impl std::fmt::Display) -> Self {
        Self::BadData(format!("invalid parameter \"{name}\": {why}"))
    }

    fn kind(&self) -> (&'static str, StatusCode) {
        match self {
            Self::BadData(_) => ("bad_data", StatusCode::BAD_REQUEST),
            Self::Execution(_) => ("execution", StatusCode::UNPROCESSABLE_ENTITY),
            Self::Timeout(_) => ("timeout", StatusCode::SERVICE_UNAVAILABLE),
            Self::Canceled(_) => {
                ("canceled", StatusCode::from_u16(499).expect("three digits are a status code"))
            }
            Self::Unavailable(_) => ("unavailable", StatusCode::SERVICE_UNAVAILABLE),
            Self::Forbidden(_) => ("forbidden", StatusCode::FORBIDDEN),
            Self::Internal(_) => ("internal", StatusCode::INTERNAL_SERVER_ERROR),
        }
    }

    /// The status that Prometheus answers with.
    pub(super) fn status(&self) -> StatusCode {
        self.kind().1
    }

    /// The error as JSON; there is no `data` member, since Grafana reads `null` there as a broken reply.
    pub(super) fn response(&self, gzip: bool) -> Response {
        let (kind, status) = self.kind();
        let mut body = format!("{{\"status\":\"error\",\"errorType\":\"{kind}\",\"error\":");
        push_text(&mut body, &self.to_string());
        body.push('}');
        json(status, body, gzip)
    }
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        let text = error.to_string();
        match error {
            QueryError::Parse(_) | QueryError::BadParameter(_) => Self::parameter("query", text),
            QueryError::Execution(_) | QueryError::TooManySamples | QueryError::TooManySeries(_) => {
                Self::Execution(text)
            }
            QueryError::TimedOut => Self::Timeout(text),
            QueryError::Canceled => Self::Canceled(text),
            QueryError::Source(source) => source.into(),
        }
    }
}

impl From<SourceError> for ApiError {
    fn from(error: SourceError) -> Self {
        let text = error.to_string();
        match error {
            SourceError::Unreadable(_) => Self::Internal(text),
            SourceError::TooLarge(_) => Self::Execution(text),
            SourceError::NotReady(_) => Self::Unavailable(text),
        }
    }
}

/// A success whose `data` is JSON already.
pub(super) fn success(data: &str, gzip: bool) -> Response {
    success_with(&[], &[], gzip, |body| body.push_str(data))
}

/// A success whose `data` is pushed as JSON; warnings and infos only where there are any. What is large is written off the threads
/// that serve connections.
pub(super) fn success_with(
    warnings: &[String],
    infos: &[String],
    gzip: bool,
    push_data: impl FnOnce(&mut String),
) -> Response {
    let mut body = String::from("{\"status\":\"success\",\"data\":");
    push_data(&mut body);
    for (name, texts) in [("warnings", warnings), ("infos", infos)] {
        if !texts.is_empty() {
            body.push_str(",\"");
            body.push_str(name);
            body.push_str("\":");
            super::json::push_texts(&mut body, texts);
        }
    }
    body.push('}');
    json(StatusCode::OK, body, gzip)
}

fn json(status: StatusCode, body: String, gzip: bool) -> Response {
    text(status, "application/json", body, gzip)
}

/// A reply of any text kind.
pub(crate) fn text(status: StatusCode, content_type: &'static str, body: String, gzip: bool) -> Response {
    let (bytes, packed) = pack(body, gzip);
    let mut response = (status, bytes).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    if packed {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

fn pack(body: String, gzip: bool) -> (Vec<u8>, bool) {
    if !gzip || body.len() < GZIP_BYTES_MIN {
        return (body.into_bytes(), false);
    }
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 8), Compression::fast());
    match encoder.write_all(body.as_bytes()).and_then(|()| encoder.finish()) {
        Ok(packed) => (packed, true),
        Err(_) => (body.into_bytes(), false), // writing to memory does not fail; the plain text is right anyway
    }
}
