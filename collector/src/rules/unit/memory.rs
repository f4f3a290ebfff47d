//! Series in memory: what a unit test gives, and what its rules make of it.
//!
//! Limits: [`SAMPLES_MAX`] samples in all.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

use model::{Columns, Histogram, Labels, Selection, SeriesSet, SeriesSource, SourceError, Timestamp};

use crate::rules::world::Made;

/// The most samples of one test.
pub(super) const SAMPLES_MAX: usize = 20_000_000;

/// A value or a native histogram.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::rules) enum Point {
    Value(f64),
    Histogram(Arc<Histogram>),
}

type Series = BTreeMap<i64, Point>;

/// See the module's text.
#[derive(Default)]
pub(in crate::rules) struct Memory {
    series: RwLock<BTreeMap<Labels, Series>>,
}

impl Memory {
    pub(in crate::rules) fn insert(&self, labels: &Labels, at: Timestamp, point: Point) {
        let mut series = self.series.write().expect("nothing panics while it holds this lock");
        if let Some(points) = series.get_mut(labels) {
            points.insert(at.as_millis(), point);
            return;
        }
        series.insert(labels.clone(), BTreeMap::from([(at.as_millis(), point)]));
    }

    pub(in crate::rules) fn write(&self, made: &[Made]) {
        for made in made {
            let point = made.histogram.clone().map_or(Point::Value(made.value), Point::Histogram);
            self.insert(&made.labels, made.at, point);
        }
    }
}

impl SeriesSource for Memory {
    fn select<'a>(
        &'a self,
        selection: &Selection<'_>,
    ) -> Result<Box<dyn SeriesSet + Send + 'a>, SourceError> {
        let series = self.series.read().expect("nothing panics while it holds this lock");
        let span = selection.start.as_millis()..=selection.end.as_millis();
        let mut found = Vec::new();
        for (labels, points) in series.iter() {
            let fits = selection
                .matchers
                .iter()
                .all(|matcher| matcher.matches(labels.get(matcher.name()).unwrap_or_default()));
            if fits && span.start() <= span.end() {
                let points: Vec<(i64, Point)> =
                    points.range(span.clone()).map(|(at, point)| (*at, point.clone())).collect();
                found.push((labels.clone(), points));
            }
        }
        Ok(Box::new(Set { found, at: None }))
    }

    fn label_names(&self, _: &[Selection<'_>], _: usize) -> Result<Vec<String>, SourceError> {
        Err(SourceError::Unreadable("rules do not ask for label names".into()))
    }

    fn label_values(&self, _: &str, _: &[Selection<'_>], _: usize) -> Result<Vec<String>, SourceError> {
        Err(SourceError::Unreadable("rules do not ask for label values".into()))
    }

    fn series(&self, selections: &[Selection<'_>], _: usize) -> Result<Vec<Labels>, SourceError> {
        let mut found = Vec::new();
        for selection in selections {
            let mut set = self.select(selection)?;
            while set.advance()? {
                found.push(set.labels().clone());
            }
        }
        found.sort();
        found.dedup();
        Ok(found)
    }
}

struct Set {
    found: Vec<(Labels, Vec<(i64, Point)>)>,
    at: Option<usize>,
}

impl Set {
    fn current(&self) -> &(Labels, Vec<(i64, Point)>) {
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
        &self.current().0
    }

    fn read(&mut self, into: &mut Columns) -> Result<(), SourceError> {
        into.clear();
        for (at, point) in &self.current().1 {
            if let Point::Value(value) = point {
                into.push(Timestamp::from_millis(*at), *value);
            }
        }
        Ok(())
    }

    fn read_histograms(&mut self, into: &mut Vec<(Timestamp, Arc<[u8]>)>) -> Result<(), SourceError> {
        into.clear();
        for (at, point) in &self.current().1 {
            if let Point::Histogram(histogram) = point {
                let at = Timestamp::from_millis(*at);
                let mut bytes = Vec::new();
                histogram.encode(at, &mut bytes);
                into.push((at, bytes.into()));
            }
        }
        Ok(())
    }
}
