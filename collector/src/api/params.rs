//! Parameters of a request: URL and form merged, the form first, as Go's `FormValue` has it.

use std::num::IntErrorKind;

use axum::extract::{FromRequest, Request};
use axum::response::Response;
use http::{HeaderMap, HeaderName, Method, header};
use model::{Matcher, PatternRoom, Timestamp};

use super::body;
use super::reply::ApiError;
use super::time::{parse_duration, parse_time};
use crate::state::AppState;

/// The largest form, in bytes.
pub(super) const FORM_BYTES_MAX: usize = 4 << 20;
/// The most parameters of a request.
pub(super) const COUNT_MAX: usize = 10_000;
/// The most selectors (`match[]`) of a request.
pub(super) const SELECTORS_MAX: usize = 1_000;

/// See the module's text.
#[derive(Clone, Debug, Default)]
pub(super) struct Params {
    pairs: Vec<(String, String)>,
    /// Whether the client takes gzip.
    pub(super) gzip: bool,
    /// The client's `Accept` header.
    pub(super) accept: String,
    /// What a large form takes of the room of all.
    room: body::Room,
}

impl Params {
    /// From a query string or form.
    #[cfg(test)]
    pub(super) fn from_text(text: &str) -> Self {
        let mut params = Self::default();
        params.add(text.as_bytes()).expect("few parameters");
        params
    }

    fn add(&mut self, form: &[u8]) -> Result<(), ApiError> {
        for (name, value) in form_urlencoded::parse(form) {
            if self.pairs.len() >= COUNT_MAX {
                return Err(ApiError::BadData(format!("more than {COUNT_MAX} parameters")));
            }
            self.pairs.push((name.into_owned(), value.into_owned()));
        }
        Ok(())
    }

    /// The first value of a parameter that is given and not empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let first = self.pairs.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str());
        first.filter(|value| !value.is_empty())
    }

    /// All values of a parameter.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.pairs.iter().filter(move |(have, _)| have == name).map(|(_, value)| value.as_str())
    }

    /// A time, or `default` where the parameter is not given.
    pub(super) fn time(&self, name: &str, default: Timestamp) -> Result<Timestamp, ApiError> {
        let invalid = |text: &str| {
            let text = shown(text);
            let why = format!("invalid time value for '{name}': cannot parse {text:?} to a valid timestamp");
            ApiError::parameter(name, why)
        };
        self.get(name).map_or(Ok(default), |text| parse_time(text).ok_or_else(|| invalid(text)))
    }

    /// A time that must be given.
    pub(super) fn required_time(&self, name: &str) -> Result<Timestamp, ApiError> {
        let text = self.get(name).unwrap_or_default();
        parse_time(text).ok_or_else(|| bad(name, text, "a valid timestamp"))
    }

    /// A duration, if the parameter is given.
    pub(super) fn duration(&self, name: &str) -> Result<Option<std::time::Duration>, ApiError> {
        let read = |text| parse_duration(text).map_err(|why| ApiError::parameter(name, why));
        self.get(name).map(read).transpose()
    }

    /// A duration that must be given.
    pub(super) fn required_duration(&self, name: &str) -> Result<std::time::Duration, ApiError> {
        parse_duration(self.get(name).unwrap_or_default()).map_err(|why| ApiError::parameter(name, why))
    }

    /// A count; 0 and absence mean no limit. What is wrong is said in Go's words, which Prometheus repeats.
    pub(super) fn limit(&self, name: &str) -> Result<usize, ApiError> {
        let Some(text) = self.get(name) else { return Ok(0) };
        let wrong = match text.parse::<i64>() {
            Ok(count) => match usize::try_from(count) {
                Ok(count) => return Ok(count),
                Err(_) => "limit must be non-negative".to_owned(),
            },
            Err(error) if matches!(error.kind(), IntErrorKind::PosOverflow | IntErrorKind::NegOverflow) => {
                format!("strconv.Atoi: parsing {:?}: value out of range", shown(text))
            }
            Err(_) => format!("strconv.Atoi: parsing {:?}: invalid syntax", shown(text)),
        };
        Err(ApiError::parameter(name, wrong))
    }

    /// The selectors under `match[]`, of which there must be one; an error names the parameter.
    /// Their patterns can take tens of megabytes: read them when the request has its turn.
    pub(super) fn required_selectors(&self) -> Result<Vec<Vec<Matcher>>, ApiError> {
        if self.all("match[]").next().is_none() {
            return Err(ApiError::BadData("no match[] parameter provided".into()));
        }
        self.selectors().map_err(|error| ApiError::parameter("match[]", error))
    }

    /// The selectors under `match[]`; see [`required_selectors`](Self::required_selectors).
    pub(super) fn selectors(&self) -> Result<Vec<Vec<Matcher>>, ApiError> {
        self.selectors_within(PatternRoom::default())
    }

    /// The selectors under `match[]`, of which the patterns take no more than this.
    pub(super) fn selectors_within(&self, mut room: PatternRoom) -> Result<Vec<Vec<Matcher>>, ApiError> {
        let mut selectors = Vec::new();
        for text in self.all("match[]") {
            if selectors.len() >= SELECTORS_MAX {
                return Err(ApiError::BadData(format!("more than {SELECTORS_MAX} selectors in match[]")));
            }
            selectors.push(promql::parse_matchers_within(&mut room, text).map_err(|error| {
                // Of this one Prometheus says where it stands by the parameter's name.
                let text = match error.message.strip_prefix("vector selector must contain") {
                    Some(rest) => format!("match[] must contain{rest}"),
                    None => error.to_string(),
                };
                ApiError::BadData(text)
            })?);
        }
        Ok(selectors)
    }
}

fn bad(name: &str, text: &str, kind: &str) -> ApiError {
    ApiError::parameter(name, format!("cannot parse {:?} to {kind}", shown(text)))
}

/// As much of a text as an error repeats.
fn shown(text: &str) -> String {
    text.chars().take(100).collect()
}

impl FromRequest<AppState> for Params {
    type Rejection = Response;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, Response> {
        read(request, state).await.map_err(|error| error.response(false))
    }
}

async fn read(request: Request, state: &AppState) -> Result<Params, ApiError> {
    let headers = request.headers();
    let mut params = Params {
        pairs: Vec::new(),
        gzip: takes_gzip(text_of(headers, header::ACCEPT_ENCODING)),
        accept: text_of(headers, header::ACCEPT).to_owned(),
        room: body::Room::default(),
    };
    let is_form = is_form(text_of(headers, header::CONTENT_TYPE));
    let query = request.uri().query().unwrap_or_default().to_owned();
    // As Go's ParseForm has it.
    if is_form && [Method::POST, Method::PUT, Method::PATCH].contains(request.method()) {
        let read = body::whole(request.into_body(), FORM_BYTES_MAX, state.queries.bodies()).await;
        let (form, room) = read.map_err(|refused| refused.error("the form", FORM_BYTES_MAX))?;
        params.add(&form)?;
        params.room = room;
    }
    params.add(query.as_bytes())?;
    Ok(params)
}

fn text_of(headers: &HeaderMap, name: HeaderName) -> &str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Whether a `Content-Type` header names a form.
fn is_form(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default();
    kind.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

/// Whether an `Accept-Encoding` header takes gzip.
pub(crate) fn takes_gzip(accept_encoding: &str) -> bool {
    accept_encoding.split(',').any(|part| {
        let (coding, quality) = part.split_once(';').unwrap_or((part, ""));
        coding.trim().eq_ignore_ascii_case("gzip") && !matches!(quality.trim(), "q=0" | "q=0.0")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_parameters_are_not_given_and_the_first_counts() {
        let params = Params::from_text("a=&b=1&b=2&c=%20x+y");
        assert_eq!((params.get("a"), params.get("b"), params.get("c")), (None, Some("1"), Some(" x y")));
        assert_eq!(params.all("b").collect::<Vec<_>>(), ["1", "2"]);
    }

    #[test]
    fn a_form_is_told_by_its_whole_kind() {
        for form in ["application/x-www-form-urlencoded", "Application/X-WWW-Form-URLencoded ; charset=UTF-8"]
        {
            assert!(is_form(form), "{form}");
        }
        for other in ["", "application/x-www-form-urlencodedx", "application/json", "text/plain"] {
            assert!(!is_form(other), "{other}");
        }
    }

    #[test]
    fn gzip_is_taken_only_where_it_is_offered() {
        assert!(takes_gzip("deflate, gzip;q=0.5"));
        assert!(!takes_gzip("gzip;q=0, br"));
        assert!(!takes_gzip(""));
    }

    #[test]
    fn a_selector_that_selects_everything_is_refused() {
        let error =
            Params::from_text("match[]=%7Bjob%3D~%22.*%22%7D").selectors().expect_err("matches everything");
        assert_eq!(error.to_string(), "match[] must contain at least one non-empty matcher");
        let error = Params::from_text("match[]=%7B").required_selectors().expect_err("open").to_string();
        assert!(error.starts_with("invalid parameter \"match[]\": 1:2: parse error: "), "{error}");
        assert_eq!(Params::from_text("match[]=up&match[]=down").selectors().expect("two").len(), 2);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let error =
            Params::from_text("time=soon").time("time", Timestamp::MIN).expect_err("no time").to_string();
        let expected = r#"invalid parameter "time": invalid time value for 'time': cannot parse "soon" to a valid timestamp"#;
        assert_eq!(error, expected);
        let limit = |text| Params::from_text(text).limit("limit").map_err(|error| error.to_string());
        let wrong = |why: &str| Err(format!("invalid parameter \"limit\": {why}"));
        assert_eq!(limit("limit=7"), Ok(7));
        assert_eq!(limit("limit=-1"), wrong("limit must be non-negative"));
        assert_eq!(limit("limit=abc"), wrong("strconv.Atoi: parsing \"abc\": invalid syntax"));
        let huge = "99999999999999999999";
        let why = format!("strconv.Atoi: parsing \"{huge}\": value out of range");
        assert_eq!(limit(&format!("limit={huge}")), wrong(&why));
    }
}
