//! `/api/v1/metadata`: type, help and unit of metrics, as senders said them.

use axum::response::Response;
use model::MetricMetadata;

use super::params::Params;
use super::reply::{self, ApiError};
use super::{Reader, json};

/// An object: metric name -> list of `{type, help, unit}`, never an empty list.
pub(super) async fn metadata(reader: Reader, params: Params) -> Response {
    let found = find(&reader, &params);
    match found {
        Err(error) => error.response(params.gzip),
        Ok(families) => reply::success(&object(&families), params.gzip),
    }
}

fn find(reader: &Reader, params: &Params) -> Result<Vec<(String, Vec<MetricMetadata>)>, ApiError> {
    let limit = count(params, "limit")?;
    let per_metric = count(params, "limit_per_metric")?.unwrap_or(0);
    // Here, and of no other list, Prometheus takes zero at its word.
    if limit == Some(0) {
        return Ok(Vec::new());
    }
    let limit = limit.unwrap_or(0);
    let mut families = reader.metadata(params.get("metric"), limit)?;
    families.retain(|(_, entries)| !entries.is_empty());
    if per_metric > 0 {
        families.iter_mut().for_each(|(_, entries)| entries.truncate(per_metric));
    }
    Ok(families)
}

/// A count; what is negative sets no bound, as in Prometheus.
fn count(params: &Params, name: &str) -> Result<Option<usize>, ApiError> {
    let Some(text) = params.get(name) else { return Ok(None) };
    let number = text.parse::<i64>().map_err(|_| ApiError::BadData(format!("{name} must be a number")))?;
    Ok(usize::try_from(number).ok())
}

fn object(families: &[(String, Vec<MetricMetadata>)]) -> String {
    let mut out = String::from("{");
    for (index, (name, entries)) in families.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        json::push_text(&mut out, name);
        out.push(':');
        json::push_list(&mut out, entries, |out, entry| {
            let members = [("type", entry.kind.as_str()), ("help", &entry.help), ("unit", &entry.unit)];
            for (index, (member, text)) in members.into_iter().enumerate() {
                out.push(if index == 0 { '{' } else { ',' });
                json::push_text(out, member);
                out.push(':');
                json::push_text(out, text);
            }
            out.push('}');
        });
    }
    out.push('}');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_a_bound_and_what_is_negative_is_none() {
        let check = |text: &str, expected: Result<Option<usize>, &str>| {
            let got = count(&Params::from_text(text), "limit").map_err(|error| error.to_string());
            assert_eq!(got, expected.map_err(str::to_owned), "{text}");
        };
        check("", Ok(None));
        check("limit=", Ok(None));
        check("limit=0", Ok(Some(0)));
        check("limit=-1", Ok(None));
        check("limit=+5", Err("limit must be a number"));
        check("limit=%2B5", Ok(Some(5)));
    }
}
