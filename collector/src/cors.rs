//! Which web pages may read answers: cross-origin requests, as Prometheus allows them by its flag `--web.cors.origin`.
//!
//! In: `cors_origin` of the settings, a pattern for the whole origin of a page such as `https?://(grafana|boards)\.example\.go\.id`.
//! Out: the headers that let a browser hand the answer to the page, and answers to the questions (`OPTIONS`) that browsers ask first,
//! which bear no credentials. Without the setting there is none of it. It opens nothing: a page still has to show a reader's token,
//! cookies and stored passwords are never allowed along, and an open listener refuses pages from elsewhere all the same.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use model::{MatchOp, Matcher};

use crate::state::AppState;

/// The longest pattern, and the longest origin that is looked at, in bytes.
const ORIGIN_BYTES_MAX: usize = 2048;

/// What every answer to a page says, in Prometheus' words.
const SAID: [(HeaderName, &str); 3] = [
    (header::ACCESS_CONTROL_ALLOW_HEADERS, "Accept, Authorization, Content-Type, Origin"),
    (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS"),
    (header::ACCESS_CONTROL_EXPOSE_HEADERS, "Date"),
];

/// Origins of pages that may read.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "String")]
pub struct Origins(Matcher);

impl TryFrom<String> for Origins {
    type Error = String;

    fn try_from(pattern: String) -> Result<Self, String> {
        if pattern.len() > ORIGIN_BYTES_MAX {
            return Err(format!("the pattern is longer than {ORIGIN_BYTES_MAX} bytes"));
        }
        let matcher = Matcher::new("origin", MatchOp::Regex, &pattern);
        matcher.map(Self).map_err(|error| {
            format!(
                "{pattern:?} is no regular expression: {}; write one such as https://grafana\\.example\\.org",
                error.reason
            )
        })
    }
}

impl Origins {
    /// What the header that allows a page says to it.
    fn allowed(&self, origin: &HeaderValue) -> Option<HeaderValue> {
        if self.0.value() == ".*" {
            return Some(HeaderValue::from_static("*"));
        }
        let text = origin.to_str().ok().filter(|text| text.len() <= ORIGIN_BYTES_MAX)?;
        self.0.matches(text).then(|| origin.clone())
    }

    fn say(&self, origin: &HeaderValue, headers: &mut HeaderMap) {
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
        let Some(allowed) = self.allowed(origin) else { return };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        for (name, value) in SAID {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
}

/// Goes around every route: answers what browsers ask first, and adds the headers to what pages ask.
pub async fn around(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let settings = state.settings.load();
    let origin = request.headers().get(header::ORIGIN).cloned();
    let Some((origins, origin)) = settings.cors_origin.clone().zip(origin) else {
        drop(settings);
        return next.run(request).await;
    };
    drop(settings);
    let is_question = request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response =
        if is_question { StatusCode::NO_CONTENT.into_response() } else { next.run(request).await };
    origins.say(&origin, response.headers_mut());
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, origin: &str, expected: Option<&str>) {
        let origins = Origins::try_from(pattern.to_owned()).expect("a pattern");
        let mut headers = HeaderMap::new();
        origins.say(&HeaderValue::from_str(origin).expect("a header"), &mut headers);
        let allowed = headers.get(header::ACCESS_CONTROL_ALLOW_ORIGIN);
        assert_eq!(allowed.map(|value| value.to_str().expect("ASCII")), expected, "{pattern} {origin}");
        assert_eq!(headers.contains_key(header::ACCESS_CONTROL_ALLOW_METHODS), expected.is_some());
        assert_eq!(headers[header::VARY], "Origin", "a cache keeps the answers of pages apart");
    }

    #[test]
    fn the_whole_origin_must_match() {
        let boards = r"https?://(grafana|boards)\.example\.go\.id";
        check(boards, "https://grafana.example.go.id", Some("https://grafana.example.go.id"));
        check(boards, "http://boards.example.go.id", Some("http://boards.example.go.id"));
        check(boards, "https://grafana.example.go.id.evil.example", None);
        check(boards, "https://evil.example/?https://grafana.example.go.id", None);
        check(boards, "null", None);
        check(".*", "null", Some("*"));
        assert!(Origins::try_from("(".to_owned()).is_err());
    }
}
