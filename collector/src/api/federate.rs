//! `/federate`: the latest sample of each selected series as text, for a Prometheus or another collector to scrape.

use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use exposition::{Format, Offer, Writer};
use http::StatusCode;
use model::{
    Columns, Labels, METRIC_NAME, Matcher, MetricKind, MetricMetadata, Sample, Selection, SeriesSource,
    Timestamp, is_stale,
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
        in_turn(&turns, deadline, move |patience| {
            let selectors = params.selectors()?;
            let source = patience.over(reader.source);
            let latest = latest(&*source, &selectors, now(), config.lookback.get(), config.series_max)?;
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

/// A series with its latest sample.
type Latest = (Labels, Sample);

/// The latest sample of each series, by name and label set: a family's samples stand together.
///
/// A selection's series come in the order of their labels, which is nearly that of their names: a stable sort takes such a list in one
/// pass, where a tree would compare each series seventeen times.
fn latest(
    source: &dyn SeriesSource,
    selectors: &[Vec<Matcher>],
    at: Timestamp,
    lookback: Duration,
    series_max: usize,
) -> Result<Vec<Latest>, ApiError> {
    let too_many = || {
        ApiError::Execution(format!(
            "the selectors match more than {series_max} series: narrow match[] or raise query.series_max"
        ))
    };
    let mut found: Vec<Latest> = Vec::new();
    let mut columns = Columns::default();
    for matchers in selectors {
        let before = found.len();
        let mut set = source.select(&Selection { matchers, start: at - lookback, end: at })?;
        while set.advance()? {
            set.read(&mut columns)?;
            let Some(sample) = columns.iter().last().filter(|sample| !is_stale(sample.value)) else {
                continue;
            };
            let labels = set.labels();
            if labels.metric_name().is_none() {
                continue;
            }
            found.push((labels.clone(), sample));
            // No selection names a series twice.
            if found.len() - before > series_max {
                return Err(too_many());
            }
        }
        if selectors.len() == 1 {
            by_name(&mut found);
        } else {
            in_order(&mut found);
        }
        if found.len() > series_max {
            return Err(too_many());
        }
    }
    Ok(found)
}

/// One selection's series, which stand in the order of their labels, by name.
fn by_name(found: &mut [Latest]) {
    found.sort_by(|(a, _), (b, _)| a.metric_name().cmp(&b.metric_name()));
}

/// By name and labels, each series once.
fn in_order(found: &mut Vec<Latest>) {
    found.sort_by(|(a, _), (b, _)| a.metric_name().cmp(&b.metric_name()).then_with(|| a.cmp(b)));
    found.dedup_by(|(a, _), (b, _)| a == b);
}

fn write(latest: &[Latest], offer: Offer, external: &ExternalLabels) -> String {
    // As Prometheus does it: a series without `instance` says so, or the scraper would name us.
    let instance = [("instance", "")].into_iter().filter(|(name, _)| external.labels().get(name).is_none());
    let added: Vec<(&str, &str)> = external.labels().iter().chain(instance).collect();
    let mut out = String::with_capacity(size(latest, &added));
    let mut writer = Writer::new(&mut out, offer);
    let untyped = MetricMetadata { kind: MetricKind::Unknown, ..MetricMetadata::default() };
    let mut family: Option<&str> = None;
    let mut pairs = Vec::new();
    for (labels, sample) in latest {
        pairs.clear();
        pairs.extend(labels);
        let of = |wanted: &str| pairs.iter().find(|(name, _)| *name == wanted).map(|(_, value)| *value);
        let name = of(METRIC_NAME).unwrap_or_default();
        if family != Some(name) {
            writer.family(name, &untyped);
            family = Some(name);
        }
        let lacking = added.iter().copied().filter(|(name, _)| of(name).is_none());
        writer.sample(pairs.iter().copied().chain(lacking), sample.value, Some(sample.timestamp));
    }
    writer.finish();
    out
}

/// About the bytes of the page, so that it does not grow step by step: tens of megabytes would be copied and touched twice.
fn size(latest: &[Latest], added: &[(&str, &str)]) -> usize {
    const NUMBERS: usize = 36;
    const MARKS: usize = 12;
    let added: usize = added.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
    latest.iter().map(|(labels, _)| labels.as_bytes().len() + added + NUMBERS + MARKS).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_stand_together_and_no_series_stands_twice() {
        let sample = Sample { timestamp: Timestamp::from_millis(1), value: 1.0 };
        let series = |pairs: &[(&str, &str)]| (Labels::from_pairs(pairs.iter().copied()), sample);
        // A label before `__name__` puts series of one name apart in the order of labels.
        let upper = series(&[("A", "1"), ("__name__", "up")]);
        let (down, up) = (series(&[("__name__", "down")]), series(&[("__name__", "up")]));
        let mut found = vec![upper.clone(), down.clone(), up.clone(), down.clone(), upper.clone()];
        in_order(&mut found);
        let labels = |all: &[Latest]| all.iter().map(|(labels, _)| labels.clone()).collect::<Vec<_>>();
        assert_eq!(labels(&found), labels(&[down, upper, up]));
    }

    #[test]
    fn one_selection_needs_only_its_names_in_order() {
        let series = |pairs: &[(&str, &str)]| {
            (
                Labels::from_pairs(pairs.iter().copied()),
                Sample { timestamp: Timestamp::from_millis(1), value: 1.0 },
            )
        };
        let mut found: Vec<Latest> = ["up", "down"]
            .iter()
            .flat_map(|name| {
                ["1", "2"].map(|value| {
                    [series(&[("A", value), ("__name__", name)]), series(&[("__name__", name), ("b", value)])]
                })
            })
            .flatten()
            .collect();
        found.sort_by(|a, b| a.0.cmp(&b.0));
        let mut other = found.clone();
        by_name(&mut found);
        in_order(&mut other);
        let labels = |all: &[Latest]| all.iter().map(|(labels, _)| labels.clone()).collect::<Vec<_>>();
        assert_eq!(labels(&found), labels(&other));
    }

    #[test]
    fn a_page_is_written_as_prometheus_writes_it() {
        let series = |pairs: &[(&str, &str)], value| {
            (
                Labels::from_pairs(pairs.iter().copied()),
                Sample { timestamp: Timestamp::from_millis(1500), value },
            )
        };
        let latest = [
            series(&[("__name__", "a"), ("instance", "x\\\"\n"), ("job", "n")], 1e300),
            series(&[("__name__", "a"), ("job", "n")], 0.25),
            series(&[("A", "1"), ("__name__", "b.c"), ("é", "2")], -0.0),
        ];
        let external: ExternalLabels =
            serde_json::from_str(r#"{"cluster":"jateng","job":"own"}"#).expect("labels");
        let plain = Offer { format: Format::Text, utf8_names: false };
        assert_eq!(
            write(&latest, plain, &external),
            "# TYPE a untyped\n\
             a{instance=\"x\\\\\\\"\\n\",job=\"n\",cluster=\"jateng\"} 1e300 1500\n\
             a{job=\"n\",cluster=\"jateng\",instance=\"\"} 0.25 1500\n\
             # TYPE b_c untyped\n\
             b_c{A=\"1\",_=\"2\",cluster=\"jateng\",job=\"own\",instance=\"\"} -0 1500\n"
        );
        let whole = Offer { format: Format::OpenMetrics, utf8_names: true };
        assert_eq!(
            write(&latest[2..], whole, &ExternalLabels::default()),
            "# TYPE \"b.c\" unknown\n{\"b.c\",A=\"1\",\"é\"=\"2\",instance=\"\"} -0 1.500\n# EOF\n"
        );
    }
}
