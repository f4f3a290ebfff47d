//! Payload to batch: two passes. The first takes the series that the cache knows, which are nearly all; the second parses the
//! labels of those it does not, checks and stamps them, and asks the store (`newcomer.rs`).
//!
//! Native histograms are samples of another kind: the bytes in which they came, within [`HISTOGRAM_BYTES_MAX`]. Exemplars beautify
//! what is there: those that break a bound or whose series is not there are left out and counted, and refuse nothing.

use std::sync::{Arc, RwLockReadGuard};

use model::{Exemplar, Labels, METRIC_NAME, MetricMetadata, Timestamp};
use tsdb::{SeriesRef, Store};
use wire::negotiate::Message;
use wire::v1::{HistogramsIter, SamplesIter};
use wire::{WireError, v1, v2};

use super::cache::{Cache, Known};
use super::newcomer::Newcomer;
use super::refusals::{Reason, Refusals};
use super::validate::{Refused, finish_labels};
use super::{Config, EXEMPLARS_MAX, HISTOGRAM_BYTES_MAX, METADATA_MAX, NEW_SERIES_MAX, Request, SAMPLES_MAX};

/// The longest help text that is kept, in bytes.
const HELP_BYTES_MAX: usize = 4096;
/// Bytes of a sample in a usual request: to make room at once.
const SAMPLE_BYTES: usize = 32;
/// Labels of one exemplar, and the bytes of their names and values together.
const EXEMPLAR_LABELS_MAX: usize = 16;
const EXEMPLAR_LABEL_BYTES_MAX: usize = 1024;
/// Room that a payload's size may ask for before its samples are seen.
const ROOM_MAX: usize = 1 << 18;

/// A request as the store takes it.
pub(super) struct Decoded {
    pub(super) samples: Vec<(SeriesRef, Timestamp, f64)>,
    pub(super) metadata: Vec<(String, MetricMetadata)>,
    pub(super) refusals: Refusals,
    pub(super) histograms: Vec<(SeriesRef, Timestamp, Arc<[u8]>)>,
    pub(super) exemplars: Vec<(SeriesRef, Exemplar)>,
    /// Exemplars that were left out.
    pub(super) exemplars_left_out: u64,
}

/// Where samples go.
struct Out<'a> {
    decoded: Decoded,
    oldest: Timestamp,
    newest: Timestamp,
    received_at: Timestamp,
    config: &'a Config,
}

/// Reads a request.
pub(super) fn decode(
    request: &Request<'_>,
    store: &Store,
    cache: &Cache,
    config: &Config,
) -> Result<Decoded, WireError> {
    let room = (request.payload.len() / SAMPLE_BYTES).min(ROOM_MAX);
    let now = request.received_at;
    let mut out = Out {
        decoded: Decoded {
            samples: Vec::with_capacity(room),
            metadata: Vec::new(),
            refusals: Refusals::default(),
            histograms: Vec::new(),
            exemplars: Vec::new(),
            exemplars_left_out: 0,
        },
        oldest: (now - config.accepted_age.get()).max(store.floor()),
        newest: now + config.accepted_ahead.get(),
        received_at: now,
        config,
    };
    let newcomers = |known| Newcomer::new(store, cache, known, request.origin, now, config);
    match request.message {
        Message::V1 => decode_v1(request.payload, cache, newcomers, &mut out)?,
        Message::V2 => decode_v2(request.payload, cache, newcomers, &mut out)?,
    }
    Ok(out.decoded)
}

fn decode_v1<'a>(
    payload: &[u8],
    cache: &'a Cache,
    newcomers: impl FnOnce(RwLockReadGuard<'a, Known>) -> Newcomer<'a>,
    out: &mut Out<'_>,
) -> Result<(), WireError> {
    let mut new: Vec<(Option<u128>, v1::TimeSeries<'_>)> = Vec::new();
    let known = cache.read();
    let mut next = 0;
    for entry in v1::WriteRequest::new(payload) {
        let series = match entry? {
            v1::Entry::Series(series) => series,
            v1::Entry::Metadata(family) => {
                out.family(family.family, family.kind, family.help, family.unit);
                continue;
            }
        };
        let encoding = series.label_bytes().map(|bytes| cache.hash(bytes));
        match encoding.and_then(|encoding| known.find(encoding, &mut next)) {
            Some(found) => out.series_v1(found, &series)?,
            None if series.sample_count + series.histogram_count + series.exemplar_count == 0 => {}
            None => push_new(&mut new, (encoding, series))?,
        }
    }
    if new.is_empty() {
        return Ok(());
    }
    let mut newcomer = newcomers(known);
    let mut pairs = Vec::new();
    for (encoding, series) in &new {
        let labels = finish_labels(series.labels(), cache.stamp(), out.config, &mut pairs);
        let points = series.sample_count + series.histogram_count;
        match labels.and_then(|labels| newcomer.resolve(*encoding, &labels, points > 0)) {
            Ok(Some(found)) => out.series_v1(found, series)?,
            Ok(None) => out.leave_out(series.exemplar_count),
            Err(refused) => out.refuse(refused, points, series.exemplar_count),
        }
    }
    Ok(())
}

fn decode_v2<'a>(
    payload: &[u8],
    cache: &'a Cache,
    newcomers: impl FnOnce(RwLockReadGuard<'a, Known>) -> Newcomer<'a>,
    out: &mut Out<'_>,
) -> Result<(), WireError> {
    let request = v2::Request::parse(payload)?;
    let table = request.symbol_bytes().map(|bytes| cache.hash(bytes));
    let mut new: Vec<(Option<u128>, v2::TimeSeries<'_>)> = Vec::new();
    let known = cache.read();
    let mut next = 0;
    for series in request.series() {
        let series = series?;
        let encoding = table.zip(series.ref_bytes()).map(|(table, refs)| cache.hash_within(table, refs));
        match encoding.and_then(|encoding| known.find(encoding, &mut next)) {
            Some(found) => out.series_v2(found, &series, &request)?,
            None if series.sample_count + series.histogram_count + series.exemplar_count == 0 => {}
            None => push_new(&mut new, (encoding, series))?,
        }
    }
    if new.is_empty() {
        return Ok(());
    }
    let mut newcomer = newcomers(known);
    let mut pairs = Vec::new();
    for (encoding, series) in &new {
        let labels = finish_labels(series.labels(&request), cache.stamp(), out.config, &mut pairs);
        let points = series.sample_count + series.histogram_count;
        let found = labels.and_then(|labels| Ok((newcomer.resolve(*encoding, &labels, points > 0)?, labels)));
        match found {
            Ok((Some(found), labels)) => {
                if let Some(metadata) = series.metadata(&request)? {
                    let name = labels.get(METRIC_NAME).unwrap_or_default();
                    out.family(family_of(name, metadata.kind), metadata.kind, metadata.help, metadata.unit);
                }
                out.series_v2(found, series, &request)?;
            }
            Ok((None, _)) => out.leave_out(series.exemplar_count),
            Err(refused) => out.refuse(refused, points, series.exemplar_count),
        }
    }
    Ok(())
}

fn push_new<T>(new: &mut Vec<T>, series: T) -> Result<(), WireError> {
    if new.len() == NEW_SERIES_MAX {
        return Err(WireError::TooMany { what: "new series", limit: NEW_SERIES_MAX });
    }
    new.push(series);
    Ok(())
}

/// The family of a series: parts of histograms and summaries bear their family's name and a suffix.
fn family_of(name: &str, kind: model::MetricKind) -> &str {
    let suffixes: &[&str] = match kind {
        model::MetricKind::Histogram | model::MetricKind::GaugeHistogram => &["_bucket", "_sum", "_count"],
        model::MetricKind::Summary => &["_sum", "_count"],
        _ => &[],
    };
    suffixes.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name)
}

fn describe<'a>(labels: impl Iterator<Item = Result<(&'a str, &'a str), WireError>>) -> String {
    Labels::from_pairs(labels.filter_map(Result::ok).filter(|(name, _)| !name.is_empty())).to_string()
}

impl Out<'_> {
    #[inline]
    fn series_v1(&mut self, found: SeriesRef, series: &v1::TimeSeries<'_>) -> Result<(), WireError> {
        let name = || describe(series.labels());
        self.samples(found, (series.sample_count, series.samples()), name)?;
        if series.histogram_count > 0 {
            self.histograms(found, (series.histogram_count, series.histograms()), name)?;
        }
        if series.exemplar_count > 0 {
            for exemplar in series.exemplars() {
                let exemplar = exemplar?;
                self.exemplar(found, exemplar.timestamp, exemplar.value, exemplar.labels())?;
            }
        }
        Ok(())
    }

    #[inline]
    fn series_v2<'a>(
        &mut self,
        found: SeriesRef,
        series: &v2::TimeSeries<'a>,
        request: &v2::Request<'a>,
    ) -> Result<(), WireError> {
        let name = || describe(series.labels(request));
        self.samples(found, (series.sample_count, series.samples()), name)?;
        if series.histogram_count > 0 {
            self.histograms(found, (series.histogram_count, series.histograms()), name)?;
        }
        if series.exemplar_count > 0 {
            for exemplar in series.exemplars() {
                let exemplar = exemplar?;
                self.exemplar(found, exemplar.timestamp, exemplar.value, exemplar.labels(request))?;
            }
        }
        Ok(())
    }

    #[inline]
    fn samples(
        &mut self,
        series: SeriesRef,
        (count, samples): (usize, SamplesIter<'_>),
        name: impl Fn() -> String,
    ) -> Result<(), WireError> {
        if count > SAMPLES_MAX - self.decoded.samples.len() {
            return Err(WireError::TooMany { what: "samples", limit: SAMPLES_MAX });
        }
        for sample in samples {
            let (timestamp, value) = sample?;
            if self.oldest <= timestamp && timestamp <= self.newest {
                self.decoded.samples.push((series, timestamp, value));
            } else {
                self.out_of_time(timestamp, &name);
            }
        }
        Ok(())
    }

    #[cold]
    fn out_of_time(&mut self, timestamp: Timestamp, name: &impl Fn() -> String) {
        let received_at = self.received_at;
        if timestamp > self.newest {
            let ahead = self.config.accepted_ahead;
            return self.decoded.refusals.add_many(Reason::TooNew, 1, || {
                let by = timestamp.millis_since(received_at) as f64 / 1000.0;
                let name = name();
                format!("{name}: the sample at {timestamp} is {by} s ahead of the collector's clock, more than the {ahead} accepted: set the sender's clock")
            });
        }
        let age = self.config.accepted_age;
        self.decoded.refusals.add_many(Reason::TooOld, 1, || {
            let name = name();
            format!("{name}: the sample at {timestamp} is out of bounds: older than the {age} accepted, or than what the store keeps")
        });
    }

    fn histograms(
        &mut self,
        series: SeriesRef,
        (count, histograms): (usize, HistogramsIter<'_>),
        name: impl Fn() -> String,
    ) -> Result<(), WireError> {
        if count > SAMPLES_MAX - self.decoded.histograms.len() {
            return Err(WireError::TooMany { what: "histograms", limit: SAMPLES_MAX });
        }
        for histogram in histograms {
            let histogram = histogram?;
            let bytes = histogram.bytes.len();
            if bytes > HISTOGRAM_BYTES_MAX {
                self.decoded.refusals.add_many(Reason::LargeHistogram, 1, || {
                    let name = name();
                    format!(
                        "{name}: a native histogram of {bytes} bytes is larger than the {HISTOGRAM_BYTES_MAX} that are kept: let it have fewer buckets"
                    )
                });
            } else if self.oldest <= histogram.timestamp && histogram.timestamp <= self.newest {
                self.decoded.histograms.push((series, histogram.timestamp, histogram.bytes.into()));
            } else {
                self.out_of_time(histogram.timestamp, &name);
            }
        }
        Ok(())
    }

    fn exemplar<'a>(
        &mut self,
        series: SeriesRef,
        timestamp: Timestamp,
        value: f64,
        labels: impl Iterator<Item = Result<(&'a str, &'a str), WireError>>,
    ) -> Result<(), WireError> {
        let mut pairs = Vec::new();
        let mut bytes = 0;
        for pair in labels {
            let (name, value) = pair?;
            bytes += name.len() + value.len();
            if pairs.len() == EXEMPLAR_LABELS_MAX || bytes > EXEMPLAR_LABEL_BYTES_MAX || name.is_empty() {
                self.leave_out(1);
                return Ok(());
            }
            pairs.push((name, value));
        }
        let in_time = self.oldest <= timestamp && timestamp <= self.newest;
        if !in_time || self.decoded.exemplars.len() == EXEMPLARS_MAX {
            self.leave_out(1);
            return Ok(());
        }
        let labels = Labels::from_pairs(pairs);
        self.decoded.exemplars.push((series, Exemplar { labels, value, timestamp }));
        Ok(())
    }

    fn leave_out(&mut self, exemplars: usize) {
        self.decoded.exemplars_left_out += exemplars as u64;
    }

    fn refuse(&mut self, refused: Refused, points: usize, exemplars: usize) {
        self.leave_out(exemplars);
        let Refused { reason, text, offender } = refused;
        if let Some(metric) = offender {
            self.decoded.refusals.add_offence(reason, &metric, &text);
        }
        self.decoded.refusals.add_many(reason, points as u64, || text);
    }

    fn family(&mut self, name: &str, kind: model::MetricKind, help: &str, unit: &str) {
        let fits = !name.is_empty() && name.len() <= self.config.label_value_bytes_max.as_usize();
        if fits
            && self.decoded.metadata.len() < METADATA_MAX
            && help.len() <= HELP_BYTES_MAX
            && unit.len() <= HELP_BYTES_MAX
        {
            self.decoded.metadata.push((
                name.to_owned(),
                MetricMetadata { kind, help: help.to_owned(), unit: unit.to_owned() },
            ));
        }
    }
}
