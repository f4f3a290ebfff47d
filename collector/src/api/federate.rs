//! `/federate`: the latest sample of each selected series as text, for a Prometheus or another collector to scrape.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use exposition::{Format, Offer, Writer};
use http::StatusCode;
use model::{
    Columns, Labels, Matcher, MetricKind, MetricMetadata, Sample, Selection, SeriesSource, Timestamp,
    is_stale,
};

use super::params::Params;
use super::reply::{self, ApiError};
use super::{Reader, Turns, in_turn};
use crate::external::ExternalLabels;
use crate::state::{AppState, now};

/// Series that are stale or whose latest sample is older than the lookback are left out, as in Prometheus.
pub(super) async fn federate(
    reader: Reader,
    State(state): State<AppState>,
    Extension(turns): Extension<Turns>,
    params: Params,
) -> Response {
    let settings = state.settings.load_full();
    let config = settings.query;
    let offer = Offer::negotiate(&params.accept);
    let deadline = tokio::time::Instant::now() + config.timeout.get();
    let gzip = params.gzip;
    let page = async {
        let selectors = params.selectors()?;
        in_turn(&turns, deadline, move || {
            let latest =
                latest(&*reader.source, &selectors, now(), config.lookback.get(), config.series_max)?;
            Ok(reply::text(
                StatusCode::OK,
                content_type(offer),
                write(&latest, offer, &settings.external_labels),
                gzip,
            ))
        })
        .await
    };
    // A scraper shows people the body as it is.
    let failed = |error: ApiError| {
        reply::text(error.status(), "text/plain; charset=utf-8", format!("{error}\n"), false)
    };
    page.await.unwrap_or_else(failed)
}

fn content_type(offer: Offer) -> &'static str {
    match offer.format {
        Format::Text => "text/plain; version=0.0.4; charset=utf-8",
        Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
    }
}

/// The latest sample of each series, by name and label set: a family's samples stand together.
fn latest(
    source: &dyn SeriesSource,
    selectors: &[Vec<Matcher>],
    at: Timestamp,
    lookback: Duration,
    series_max: usize,
) -> Result<BTreeMap<(String, Labels), Sample>, ApiError> {
    let mut found = BTreeMap::new();
    let mut columns = Columns::default();
    for matchers in selectors {
        let mut set = source.select(&Selection { matchers, start: at - lookback, end: at })?;
        while set.advance()? {
            set.read(&mut columns)?;
            let Some(sample) = columns.iter().last().filter(|sample| !is_stale(sample.value)) else {
                continue;
            };
            let labels = set.labels();
            let Some(name) = labels.metric_name() else { continue };
            found.insert((name.to_owned(), labels.clone()), sample);
            if found.len() > series_max {
                return Err(ApiError::Execution(format!(
                    "the selectors match more than {series_max} series: narrow match[] or raise query.series_max"
                )));
            }
        }
    }
    Ok(found)
}

fn write(latest: &BTreeMap<(String, Labels), Sample>, offer: Offer, external: &ExternalLabels) -> String {
    // As Prometheus does it: a series without `instance` says so, or the scraper would name us.
    let instance = [("instance", "")].into_iter().filter(|(name, _)| external.labels().get(name).is_none());
    let added: Vec<(&str, &str)> = external.labels().iter().chain(instance).collect();
    let mut out = String::new();
    let mut writer = Writer::new(&mut out, offer);
    let untyped = MetricMetadata { kind: MetricKind::Unknown, ..MetricMetadata::default() };
    let mut family: Option<&str> = None;
    for ((name, labels), sample) in latest {
        if family != Some(name) {
            writer.family(name, &untyped);
            family = Some(name);
        }
        let lacking = added.iter().copied().filter(|(name, _)| labels.get(name).is_none());
        writer.sample(labels.iter().chain(lacking), sample.value, Some(sample.timestamp));
    }
    writer.finish();
    out
}
