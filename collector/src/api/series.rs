//! `/api/v1/labels`, `/api/v1/label/NAME/values` and `/api/v1/series`.

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use model::{Labels, Matcher, Selection, SeriesSource, SourceError, Timestamp};

use super::params::Params;
use super::reply::{self, ApiError};
use super::{Reader, TRUNCATED, Turns, in_turn, json};
use crate::state::AppState;

/// Names of labels, sorted.
pub(super) async fn label_names(
    reader: Reader,
    State(state): State<AppState>,
    Extension(turns): Extension<Turns>,
    params: Params,
) -> Response {
    let find = |source: &dyn SeriesSource, wanted: &[Selection<'_>], limit| source.label_names(wanted, limit);
    list(reader, (&state, &turns), params, false, find, |out, name| json::push_text(out, name)).await
}

/// Values of a label, sorted. Names beyond the classic letters may be written as such or in Prometheus' `U__` form.
pub(super) async fn label_values(
    reader: Reader,
    State(state): State<AppState>,
    Extension(turns): Extension<Turns>,
    Path(name): Path<String>,
    params: Params,
) -> Response {
    let name = unescape(&name);
    if name.is_empty() {
        return (StatusCode::NOT_FOUND, "404 page not found\n").into_response();
    }
    let find = move |source: &dyn SeriesSource, wanted: &[Selection<'_>], limit| {
        source.label_values(&name, wanted, limit)
    };
    list(reader, (&state, &turns), params, false, find, |out, value| json::push_text(out, value)).await
}

/// Label sets of the series that any selector matches.
pub(super) async fn series(
    reader: Reader,
    State(state): State<AppState>,
    Extension(turns): Extension<Turns>,
    params: Params,
) -> Response {
    let find = |source: &dyn SeriesSource, wanted: &[Selection<'_>], limit| source.series(wanted, limit);
    list(reader, (&state, &turns), params, true, find, |out, labels: &Labels| json::push_labels(out, labels))
        .await
}

/// Reads the parameters, finds, and writes the list; `push` writes one item.
async fn list<T>(
    reader: Reader,
    (state, turns): (&AppState, &Turns),
    params: Params,
    needs_selector: bool,
    find: impl FnOnce(&dyn SeriesSource, &[Selection<'_>], usize) -> Result<Vec<T>, SourceError> + Send + 'static,
    push: impl FnMut(&mut String, &T) + Send + 'static,
) -> Response {
    let (config, gzip) = (state.settings.load().query, params.gzip);
    let run = async {
        let deadline = tokio::time::Instant::now() + config.timeout.get();
        in_turn(turns, deadline, move |patience| {
            let wanted = Wanted::read(&params, needs_selector, config.series_max)?;
            let source = patience.over(reader.source);
            let (items, warnings) = wanted.find(|wanted, limit| find(&*source, wanted, limit))?;
            Ok(reply::success_with(&warnings, &[], gzip, |out| json::push_list(out, &items, push)))
        })
        .await
    };
    run.await.unwrap_or_else(|error| error.response(gzip))
}

/// What a request for a list asks for.
struct Wanted {
    selectors: Vec<Vec<Matcher>>,
    start: Timestamp,
    end: Timestamp,
    /// 0: all that there are, if they are not more than `items_max`.
    limit: usize,
    items_max: usize,
}

impl Wanted {
    fn read(params: &Params, needs_selector: bool, items_max: usize) -> Result<Self, ApiError> {
        let limit = params.limit("limit")?;
        let (start, end) = (params.time("start", Timestamp::MIN)?, params.time("end", Timestamp::MAX)?);
        let selectors = if needs_selector { params.required_selectors()? } else { params.selectors()? };
        Ok(Self { selectors, start, end, limit, items_max })
    }

    /// The items, and the warning that there are more where the limit cut them.
    fn find<T>(
        &self,
        find: impl FnOnce(&[Selection<'_>], usize) -> Result<Vec<T>, SourceError>,
    ) -> Result<(Vec<T>, Vec<String>), ApiError> {
        // A time that ends before it begins holds nothing, as in Prometheus.
        if self.end < self.start {
            return Ok((Vec::new(), Vec::new()));
        }
        let every: &[Vec<Matcher>] = &[Vec::new()];
        let selectors = if self.selectors.is_empty() { every } else { &self.selectors };
        let selection = |matchers| Selection { matchers, start: self.start, end: self.end };
        let selections: Vec<Selection<'_>> = selectors.iter().map(|matchers| selection(matchers)).collect();
        let most = if self.limit == 0 { self.items_max } else { self.limit.min(self.items_max) };
        // One more than may be shown tells whether there are more.
        let mut items = find(&selections, most.saturating_add(1))?;
        if items.len() <= most {
            return Ok((items, Vec::new()));
        }
        if self.limit == 0 {
            return Err(ApiError::Execution(format!(
                "the answer has more than {most} items: narrow match[], set limit, or raise query.series_max"
            )));
        }
        items.truncate(most);
        Ok((items, vec![TRUNCATED.to_owned()]))
    }
}

/// Prometheus' escaping of names for URLs: `U__` in front, `__` for an underscore, `_2e_` for a letter by its number. What is not
/// written so is taken as it is.
fn unescape(name: &str) -> String {
    let Some(escaped) = name.strip_prefix("U__") else { return name.to_owned() };
    let mut plain = String::with_capacity(escaped.len());
    let mut rest = escaped;
    while let Some((before, after)) = rest.split_once('_') {
        plain.push_str(before);
        if let Some(after) = after.strip_prefix('_') {
            plain.push('_');
            rest = after;
            continue;
        }
        let letter = after.split_once('_').and_then(|(code, after)| {
            let letter = u32::from_str_radix(code, 16).ok().and_then(char::from_u32)?;
            Some((letter, after))
        });
        let Some((letter, after)) = letter else { return name.to_owned() };
        plain.push(letter);
        rest = after;
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_names_come_back() {
        assert_eq!(unescape("job"), "job");
        assert_eq!(unescape("U__http_2e_status__code"), "http.status_code");
        assert_eq!(unescape("U__bad_zz_"), "U__bad_zz_");
        assert_eq!(unescape("U__open_2e"), "U__open_2e");
    }

    #[test]
    fn lists_are_cut_with_a_warning_or_refused() {
        let check = |limit: usize, expected: Result<(usize, usize), &str>| {
            let (selectors, start, end) = (Vec::new(), Timestamp::MIN, Timestamp::MAX);
            let wanted = Wanted { selectors, start, end, limit, items_max: 5 };
            let found = wanted.find(|_, most| Ok((0..10).take(most).collect::<Vec<_>>()));
            let got = found
                .map(|(items, warnings)| (items.len(), warnings.len()))
                .map_err(|error| error.to_string());
            match expected {
                Ok(expected) => assert_eq!(got, Ok(expected), "limit {limit}"),
                Err(text) => assert!(got.is_err_and(|error| error.contains(text)), "limit {limit}"),
            }
        };
        check(3, Ok((3, 1)));
        check(7, Ok((5, 1)));
        check(0, Err("more than 5 items"));
    }
}
