//! Equal selections of one pass are read once: rules on one metric differ by what they compare it with.
//!
//! In: the store, and which conditions occur how often in a group's expressions. Out: a source for the pass. What is asked for once
//! goes straight through; what several rules ask for is kept until the pass ends, or until a rule records what it selects.
//!
//! Limits: [`SAMPLES_MAX`] samples are kept in a pass; what comes then goes straight through.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use model::{
    Columns, Labels, METRIC_NAME, Matcher, Selection, SeriesSet, SeriesSource, SourceError, Timestamp,
};

/// Samples kept in one pass, 16 bytes each.
const SAMPLES_MAX: usize = 1 << 20;

/// Conditions that occur more than once in a group.
#[derive(Clone, Debug, Default)]
pub(super) struct Repeated(BTreeSet<String>);

impl Repeated {
    pub(super) fn new<'e>(exprs: impl Iterator<Item = &'e promql::Expr>) -> Self {
        let mut seen = BTreeSet::new();
        let mut twice = BTreeSet::new();
        for expr in exprs {
            for matchers in expr.selectors() {
                let key = key(matchers);
                if seen.contains(&key) {
                    twice.insert(key);
                } else {
                    seen.insert(key);
                }
            }
        }
        Self(twice)
    }
}

fn key(matchers: &[Matcher]) -> String {
    let mut parts: Vec<String> = matchers.iter().map(ToString::to_string).collect();
    parts.sort_unstable();
    let mut key = String::new();
    for part in parts {
        write!(key, "{}:{part}", part.len()).expect("a String takes everything");
    }
    key
}

type Histograms = Vec<(Timestamp, Arc<[u8]>)>;

/// What a selection found.
struct Found {
    series: Vec<(Labels, Columns, Histograms)>,
}

struct Kept {
    matchers: Vec<Matcher>,
    found: Arc<Found>,
}

#[derive(Default)]
struct Memory {
    kept: BTreeMap<(String, Timestamp, Timestamp), Kept>,
    samples: usize,
}

/// See the module's text.
pub(super) struct Shared {
    inner: Arc<dyn SeriesSource>,
    repeated: Arc<Repeated>,
    memory: Mutex<Memory>,
}

impl Shared {
    pub(super) fn new(inner: Arc<dyn SeriesSource>, repeated: Arc<Repeated>) -> Self {
        Self { inner, repeated, memory: Mutex::default() }
    }

    /// A rule recorded these metrics: what selects them is read again.
    pub(super) fn forget(&self, names: &BTreeSet<String>) {
        let mut memory = self.memory.lock().expect("nothing panics while it holds this lock");
        memory.kept.retain(|_, kept| !names.iter().any(|name| may_select(&kept.matchers, name)));
    }

    fn read(&self, selection: &Selection<'_>) -> Result<Found, SourceError> {
        let mut set = self.inner.select(selection)?;
        let mut series = Vec::new();
        while set.advance()? {
            let (mut columns, mut histograms) = (Columns::default(), Histograms::new());
            set.read(&mut columns)?;
            set.read_histograms(&mut histograms)?;
            series.push((set.labels().clone(), columns, histograms));
        }
        Ok(Found { series })
    }
}

/// Whether conditions can be met by a series of this name.
pub(super) fn may_select(matchers: &[Matcher], name: &str) -> bool {
    matchers.iter().filter(|matcher| matcher.name() == METRIC_NAME).all(|matcher| matcher.matches(name))
}

impl SeriesSource for Shared {
    fn select<'s>(
        &'s self,
        selection: &Selection<'_>,
    ) -> Result<Box<dyn SeriesSet + Send + 's>, SourceError> {
        if self.repeated.0.is_empty() {
            return self.inner.select(selection);
        }
        let text = key(selection.matchers);
        if !self.repeated.0.contains(&text) {
            return self.inner.select(selection);
        }
        let place = (text, selection.start, selection.end);
        let memory = self.memory.lock().expect("nothing panics while it holds this lock");
        if let Some(kept) = memory.kept.get(&place) {
            return Ok(Box::new(Set { found: Arc::clone(&kept.found), at: None }));
        }
        if memory.samples >= SAMPLES_MAX {
            drop(memory);
            return self.inner.select(selection);
        }
        // A reading that ends by a mistake of ours must not leave the lock behind for the rules that follow.
        drop(memory);
        let found = Arc::new(self.read(selection)?);
        let mut memory = self.memory.lock().expect("nothing panics while it holds this lock");
        memory.samples += found
            .series
            .iter()
            .map(|(_, columns, histograms)| columns.len() + histograms.len() + 4)
            .sum::<usize>();
        let kept = Kept { matchers: selection.matchers.to_vec(), found: Arc::clone(&found) };
        memory.kept.insert(place, kept);
        Ok(Box::new(Set { found, at: None }))
    }

    fn label_names(&self, selections: &[Selection<'_>], limit: usize) -> Result<Vec<String>, SourceError> {
        self.inner.label_names(selections, limit)
    }

    fn label_values(
        &self,
        name: &str,
        selections: &[Selection<'_>],
        limit: usize,
    ) -> Result<Vec<String>, SourceError> {
        self.inner.label_values(name, selections, limit)
    }

    fn series(&self, selections: &[Selection<'_>], limit: usize) -> Result<Vec<Labels>, SourceError> {
        self.inner.series(selections, limit)
    }
}

struct Set {
    found: Arc<Found>,
    at: Option<usize>,
}

impl Set {
    fn current(&self) -> &(Labels, Columns, Histograms) {
        &self.found.series[self.at.expect("advance() comes first")]
    }
}

impl SeriesSet for Set {
    fn advance(&mut self) -> Result<bool, SourceError> {
        let next = self.at.map_or(0, |at| at + 1);
        self.at = Some(next);
        Ok(next < self.found.series.len())
    }

    fn labels(&self) -> &Labels {
        &self.current().0
    }

    fn read(&mut self, into: &mut Columns) -> Result<(), SourceError> {
        into.clone_from(&self.current().1);
        Ok(())
    }

    fn read_histograms(&mut self, into: &mut Histograms) -> Result<(), SourceError> {
        into.clone_from(&self.current().2);
        Ok(())
    }
}
