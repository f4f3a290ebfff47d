//! How long reading may go on for somebody: until its time is up or its client left. Queries ask the engine to look; what else reads
//! series (lists of labels, federation, remote read) reads through [`Patience::over`].
//!
//! In: a deadline, and a source. Out: the source, of which each selection, and each of [`LOOK_EVERY`] series of one, ends where patience
//! does. Lists over several selections are put together one selection after the other, so that a thousand of them end in between.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use model::{Columns, Labels, Selection, SeriesSet, SeriesSource, SourceError, Timestamp};
use promql::Interrupt;

/// Series between two looks at the clock.
const LOOK_EVERY: usize = 256;

/// See the module's text. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Patience {
    until: Instant,
    left: Arc<AtomicBool>,
}

/// Held by who waits: dropping it ends the patience.
pub struct Waiting(Arc<AtomicBool>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Patience {
    /// Patience until a moment.
    pub fn until(until: Instant) -> (Waiting, Self) {
        let left = Arc::new(AtomicBool::new(false));
        (Waiting(Arc::clone(&left)), Self { until, left })
    }

    /// Why it is over, if it is.
    pub fn over_by(&self) -> Option<Interrupt> {
        if self.left.load(Ordering::Relaxed) {
            return Some(Interrupt::Canceled);
        }
        (Instant::now() >= self.until).then_some(Interrupt::TimedOut)
    }

    fn check(&self) -> Result<(), SourceError> {
        match self.over_by() {
            None => Ok(()),
            Some(interrupt) => Err(SourceError::Unreadable(promql::QueryError::from(interrupt).to_string())),
        }
    }

    /// A source that is read only as long as patience lasts.
    pub fn over(&self, inner: Arc<dyn SeriesSource>) -> Arc<dyn SeriesSource> {
        Arc::new(Patient { inner, patience: self.clone() })
    }
}

struct Patient {
    inner: Arc<dyn SeriesSource>,
    patience: Patience,
}

impl Patient {
    /// What is found for any of the selections, by what is found for each.
    fn union<T: Ord>(
        &self,
        selections: &[Selection<'_>],
        limit: usize,
        find: impl Fn(&[Selection<'_>]) -> Result<Vec<T>, SourceError>,
    ) -> Result<Vec<T>, SourceError> {
        self.patience.check()?;
        if selections.len() <= 1 {
            return find(selections);
        }
        let mut all = BTreeSet::new();
        for selection in selections.chunks(1) {
            self.patience.check()?;
            all.extend(find(selection)?);
            while limit > 0 && all.len() > limit {
                all.pop_last();
            }
        }
        Ok(all.into_iter().collect())
    }
}

impl SeriesSource for Patient {
    fn select<'a>(
        &'a self,
        selection: &Selection<'_>,
    ) -> Result<Box<dyn SeriesSet + Send + 'a>, SourceError> {
        self.patience.check()?;
        let inner = self.inner.select(selection)?;
        Ok(Box::new(PatientSet { inner, patience: &self.patience, since: 0 }))
    }

    fn select_parts<'a>(
        &'a self,
        selection: &Selection<'_>,
        series: usize,
    ) -> Result<Vec<Box<dyn SeriesSet + Send + 'a>>, SourceError> {
        self.patience.check()?;
        let parts = self.inner.select_parts(selection, series)?.into_iter();
        let patient = |inner| PatientSet { inner, patience: &self.patience, since: 0 };
        Ok(parts.map(|inner| Box::new(patient(inner)) as Box<dyn SeriesSet + Send + 'a>).collect())
    }

    fn label_names(&self, selections: &[Selection<'_>], limit: usize) -> Result<Vec<String>, SourceError> {
        self.union(selections, limit, |part| self.inner.label_names(part, limit))
    }

    fn label_values(
        &self,
        name: &str,
        selections: &[Selection<'_>],
        limit: usize,
    ) -> Result<Vec<String>, SourceError> {
        self.union(selections, limit, |part| self.inner.label_values(name, part, limit))
    }

    fn series(&self, selections: &[Selection<'_>], limit: usize) -> Result<Vec<Labels>, SourceError> {
        self.union(selections, limit, |part| self.inner.series(part, limit))
    }
}

struct PatientSet<'a> {
    inner: Box<dyn SeriesSet + Send + 'a>,
    patience: &'a Patience,
    since: usize,
}

impl SeriesSet for PatientSet<'_> {
    fn advance(&mut self) -> Result<bool, SourceError> {
        self.since += 1;
        if self.since >= LOOK_EVERY {
            self.since = 0;
            self.patience.check()?;
        }
        self.inner.advance()
    }

    fn labels(&self) -> &Labels {
        self.inner.labels()
    }

    fn read(&mut self, into: &mut Columns) -> Result<(), SourceError> {
        self.inner.read(into)
    }

    fn read_histograms(&mut self, into: &mut Vec<(Timestamp, Arc<[u8]>)>) -> Result<(), SourceError> {
        self.inner.read_histograms(into)
    }

    fn read_starts(&mut self, into: &mut Vec<Option<Timestamp>>) -> Result<(), SourceError> {
        self.inner.read_starts(into)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use model::Matcher;

    use super::*;

    /// A thousand series, of which a selection by name finds those of a number; `after` is called at each list.
    struct Thousand {
        asked: Mutex<Vec<usize>>,
        after: Box<dyn Fn() + Send + Sync>,
    }

    impl Thousand {
        fn found(&self, selections: &[Selection<'_>], limit: usize) -> Vec<String> {
            self.asked.lock().expect("held briefly").push(selections.len());
            (self.after)();
            let fits = |value: &String| {
                let any = |selection: &Selection<'_>| {
                    selection.matchers.iter().all(|matcher| matcher.matches(value))
                };
                selections.iter().any(any)
            };
            let most = if limit == 0 { usize::MAX } else { limit };
            (0..1000).map(|number| format!("{number:03}")).filter(fits).take(most).collect()
        }
    }

    struct Set(usize);

    impl SeriesSet for Set {
        fn advance(&mut self) -> Result<bool, SourceError> {
            self.0 += 1;
            Ok(self.0 <= 1000)
        }

        fn labels(&self) -> &Labels {
            unreachable!("nobody looks")
        }

        fn read(&mut self, _: &mut Columns) -> Result<(), SourceError> {
            Ok(())
        }
    }

    impl SeriesSource for Thousand {
        fn select<'a>(&'a self, _: &Selection<'_>) -> Result<Box<dyn SeriesSet + Send + 'a>, SourceError> {
            Ok(Box::new(Set(0)))
        }

        fn label_names(
            &self,
            selections: &[Selection<'_>],
            limit: usize,
        ) -> Result<Vec<String>, SourceError> {
            Ok(self.found(selections, limit))
        }

        fn label_values(
            &self,
            _: &str,
            selections: &[Selection<'_>],
            limit: usize,
        ) -> Result<Vec<String>, SourceError> {
            Ok(self.found(selections, limit))
        }

        fn series(&self, _: &[Selection<'_>], _: usize) -> Result<Vec<Labels>, SourceError> {
            Ok(Vec::new())
        }
    }

    fn thousand(after: impl Fn() + Send + Sync + 'static) -> Arc<Thousand> {
        Arc::new(Thousand { asked: Mutex::default(), after: Box::new(after) })
    }

    fn hour() -> (Waiting, Patience) {
        Patience::until(Instant::now() + Duration::from_secs(3600))
    }

    #[test]
    fn lists_are_the_same_as_without_it() {
        let patterns = ["01.", "0.1", "9.*", "none"];
        let matchers: Vec<Vec<Matcher>> = patterns
            .iter()
            .map(|pattern| vec![Matcher::new("a", model::MatchOp::Regex, pattern).expect("a pattern")])
            .collect();
        let (start, end) = (Timestamp::MIN, Timestamp::MAX);
        let selections: Vec<Selection<'_>> =
            matchers.iter().map(|matchers| Selection { matchers, start, end }).collect();
        let plain = thousand(|| {});
        let (_waiting, patience) = hour();
        let patient = patience.over(plain.clone());
        for limit in [0, 1, 15, 2000] {
            for count in 1..=selections.len() {
                let asked = &selections[..count];
                assert_eq!(
                    patient.label_names(asked, limit).expect("patient"),
                    plain.found(asked, limit),
                    "{count} selections, limit {limit}"
                );
            }
        }
    }

    /// A thousand selectors held a place of a query for a quarter of an hour, whether anybody waited or not.
    #[test]
    fn who_leaves_is_not_read_for_any_more() {
        let (waiting, patience) = hour();
        let waiting = Mutex::new(Some(waiting));
        let source = thousand(move || drop(waiting.lock().expect("held briefly").take()));
        let patient = patience.over(source.clone());
        let every = Selection { matchers: &[], start: Timestamp::MIN, end: Timestamp::MAX };
        let error = patient.label_values("a", &[every; 1000], 0).expect_err("nobody waits").to_string();
        assert!(error.contains("canceled"), "{error}");
        assert_eq!(source.asked.lock().expect("held briefly").len(), 1, "the first was under way");
    }

    #[test]
    fn a_selection_ends_with_its_time() {
        let (_waiting, patience) = Patience::until(Instant::now() + Duration::from_secs(3600));
        let patient = patience.over(thousand(|| {}));
        let every = Selection { matchers: &[], start: Timestamp::MIN, end: Timestamp::MAX };
        let mut set = patient.select(&every).expect("there is time");
        patience.left.store(true, Ordering::Relaxed);
        let read = std::iter::from_fn(|| set.advance().ok().filter(|more| *more)).count();
        assert_eq!(read, LOOK_EVERY - 1);
        let (_waiting, over) = Patience::until(Instant::now());
        let error = over.over(thousand(|| {})).select(&every).err().expect("no time").to_string();
        assert!(error.contains("timed out"), "{error}");
    }
}
