//! A source that holds what a script loads.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{
    Columns, Histogram, Labels, ResetHint, Selection, SeriesSet, SeriesSource, SourceError, Timestamp,
};

/// A sample and the time at which its counter began, if that was said.
#[derive(Clone, Debug)]
struct Sample {
    point: Point,
    start: Option<i64>,
}

#[derive(Clone, Debug)]
enum Point {
    Value(f64),
    Histogram(Histogram),
}

/// Series in memory, sorted by labels.
#[derive(Clone, Debug, Default)]
pub(crate) struct Store {
    series: BTreeMap<Labels, BTreeMap<i64, Sample>>,
}

/// One series as it is read.
#[derive(Clone, Default)]
struct Read {
    labels: Labels,
    columns: Columns,
    histograms: Vec<(Timestamp, Arc<[u8]>)>,
    starts: Vec<Option<Timestamp>>,
}

impl Store {
    pub(crate) fn insert(&mut self, labels: &Labels, time_ms: i64, value: f64) {
        self.put(labels, time_ms, Point::Value(value));
    }

    pub(crate) fn insert_histogram(&mut self, labels: &Labels, time_ms: i64, histogram: &Histogram) {
        self.put(labels, time_ms, Point::Histogram(histogram.clone()));
    }

    fn put(&mut self, labels: &Labels, time_ms: i64, point: Point) {
        let series = self.series.entry(labels.clone()).or_default();
        series.insert(time_ms, Sample { point, start: None });
    }

    /// Says when the counter of a sample began.
    pub(crate) fn set_start(&mut self, labels: &Labels, time_ms: i64, start: i64) {
        if let Some(sample) = self.series.get_mut(labels).and_then(|series| series.get_mut(&time_ms)) {
            sample.start = Some(start);
        }
    }

    /// Gives histograms the hints with which Prometheus' store reads them: within a run of one kind in which no count falls, all but the
    /// first were not reset.
    pub(crate) fn settle_hints(&mut self) {
        for series in self.series.values_mut() {
            let mut before: Option<Histogram> = None;
            for sample in series.values_mut() {
                let Point::Histogram(histogram) = &mut sample.point else {
                    before = None;
                    continue;
                };
                let sent = histogram.clone();
                if histogram.reset == ResetHint::Unknown && !histogram.is_stale() {
                    histogram.reset = match &before {
                        Some(before) if before.is_gauge() || before.is_stale() => ResetHint::Unknown,
                        Some(before) if histogram.falls_below(before) => ResetHint::Unknown,
                        Some(_) => ResetHint::NotReset,
                        None => ResetHint::Unknown,
                    };
                }
                before = Some(sent);
            }
        }
    }

    pub(crate) fn clear(&mut self) {
        self.series.clear();
    }

    /// Each series with its values by time, for what is made of them.
    pub(crate) fn values(&self) -> impl Iterator<Item = (&Labels, Vec<(i64, f64)>)> {
        self.series.iter().map(|(labels, samples)| {
            let values = samples.iter().filter_map(|(time, sample)| match &sample.point {
                Point::Value(value) => Some((*time, *value)),
                Point::Histogram(_) => None,
            });
            (labels, values.collect())
        })
    }

    fn matching<'a>(&'a self, selection: &'a Selection<'_>) -> impl Iterator<Item = Read> + 'a {
        let matches = |labels: &Labels| {
            selection
                .matchers
                .iter()
                .all(|matcher| matcher.matches(labels.get(matcher.name()).unwrap_or_default()))
        };
        let span = selection.start.as_millis()..=selection.end.as_millis();
        self.series.iter().filter(move |(labels, _)| matches(labels)).map(move |(labels, samples)| {
            let mut read = Read { labels: labels.clone(), ..Read::default() };
            if span.start() <= span.end() {
                samples.range(span.clone()).for_each(|(time, sample)| read.push(*time, sample));
            }
            read
        })
    }
}

impl Read {
    fn push(&mut self, time_ms: i64, sample: &Sample) {
        let time = Timestamp::from_millis(time_ms);
        let start = sample.start.map(Timestamp::from_millis);
        match &sample.point {
            Point::Value(value) => {
                self.columns.push(time, *value);
                self.starts.push(start);
            }
            Point::Histogram(histogram) => {
                let mut bytes = Vec::new();
                histogram.encode_with_start(time, start, &mut bytes);
                self.histograms.push((time, bytes.into()));
            }
        }
    }
}

impl SeriesSource for Store {
    fn select<'a>(
        &'a self,
        selection: &Selection<'_>,
    ) -> Result<Box<dyn SeriesSet + Send + 'a>, SourceError> {
        let found: Vec<_> = self.matching(selection).collect();
        Ok(Box::new(Set { found, at: None }))
    }

    /// Small parts, whatever is asked for: few series are to be divided, too.
    fn select_parts<'a>(
        &'a self,
        selection: &Selection<'_>,
        _: usize,
    ) -> Result<Vec<Box<dyn SeriesSet + Send + 'a>>, SourceError> {
        let mut found = self.matching(selection).peekable();
        let mut parts: Vec<Box<dyn SeriesSet + Send + 'a>> = Vec::new();
        while found.peek().is_some() {
            parts.push(Box::new(Set { found: found.by_ref().take(2).collect(), at: None }));
        }
        Ok(parts)
    }

    fn label_names(&self, _: &[Selection<'_>], _: usize) -> Result<Vec<String>, SourceError> {
        Err(SourceError::Unreadable("scripts do not ask for label names".into()))
    }

    fn label_values(&self, _: &str, _: &[Selection<'_>], _: usize) -> Result<Vec<String>, SourceError> {
        Err(SourceError::Unreadable("scripts do not ask for label values".into()))
    }

    fn series(&self, _: &[Selection<'_>], _: usize) -> Result<Vec<Labels>, SourceError> {
        Err(SourceError::Unreadable("scripts do not ask for series".into()))
    }
}

struct Set {
    found: Vec<Read>,
    at: Option<usize>,
}

impl Set {
    fn current(&self) -> &Read {
        &self.found[self.at.expect("advance() comes first")]
    }
}

impl SeriesSet for Set {
    fn advance(&mut self) -> Result<bool, SourceError> {
        let next = self.at.map_or(0, |at| at + 1);
        self.at = Some(next);
        Ok(next < self.found.len())
    }

    fn labels(&self) -> &Labels {
        &self.current().labels
    }

    fn read(&mut self, into: &mut Columns) -> Result<(), SourceError> {
        *into = self.current().columns.clone();
        Ok(())
    }

    fn read_histograms(&mut self, into: &mut Vec<(Timestamp, Arc<[u8]>)>) -> Result<(), SourceError> {
        into.clone_from(&self.current().histograms);
        Ok(())
    }

    fn read_starts(&mut self, into: &mut Vec<Option<Timestamp>>) -> Result<(), SourceError> {
        into.clone_from(&self.current().starts);
        if into.iter().all(Option::is_none) {
            into.clear();
        }
        Ok(())
    }
}
