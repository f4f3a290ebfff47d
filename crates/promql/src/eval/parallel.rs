//! A function of windows over many series at once, on several threads.
//!
//! In: parts of a selection ([`SeriesSource::select_parts`](model::SeriesSource::select_parts)), one for each thread. Out: the same series with
//! the same values in the same order as one thread gives them; sums over them are taken by one thread, in that order, so that nothing
//! depends on who was faster. Threads work on one batch of parts and end with it; how many there are at one time is bounded for all
//! queries together ([`Threads`](crate::Threads)), and a query that gets none goes on by itself.
//!
//! Threads do numbers alone. Where a part comes to a native histogram, or to the end of the budget, the rest of it is left to the query's
//! own thread.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread;

use model::{Labels, SeriesSet, Timestamp};

use super::Result;
use super::over_time::OverTime;
use super::rate::sweep::Sweep;
use super::samples::Samples;
use super::series::Series;
use super::window::{Frame, Window, slide};
use crate::budget::{Budget, Charge, Column};
use crate::error::QueryError;
use crate::options::Options;

/// Series that a part holds about: some milliseconds' work, so that beginning a thread is little beside it.
pub(super) const PART_SERIES: usize = 128;

/// Samples looked at between two questions whether the query was interrupted.
const WORK_MAX: usize = 1 << 20;

pub(super) type Part<'q> = Box<dyn SeriesSet + Send + 'q>;

/// What all threads of a batch do.
pub(super) struct Job<'j> {
    pub(super) name: &'static str,
    pub(super) function: OverTime,
    pub(super) frame: Frame,
    /// Steps of the query, and those among them that differ: all, or the first alone.
    pub(super) steps: usize,
    pub(super) distinct: usize,
    /// Whether is said what each step looked at.
    pub(super) counts: bool,
    pub(super) budget: &'j Arc<Budget>,
    pub(super) options: &'j Options,
}

/// A series that was read.
pub(super) struct Done {
    /// Absent where it has no value.
    pub(super) series: Option<Series>,
    pub(super) samples: u64,
    /// What each step looked at, where that is asked for.
    pub(super) looked_at: Vec<usize>,
}

/// What comes of a part, in its order.
pub(super) enum Ready<'q> {
    Done(Done),
    /// A part to be read on by the query's own thread, from its current series on, or from its beginning.
    Rest {
        part: Part<'q>,
        begun: bool,
    },
    Failed(QueryError),
}

/// Reads these parts, each on a thread of its own, the first on this one.
pub(super) fn run<'q>(parts: Vec<Part<'q>>, job: &Job<'_>, ready: &mut VecDeque<Ready<'q>>) {
    let mut workers: Vec<Worker<'q>> = parts.into_iter().map(Worker::new).collect();
    thread::scope(|scope| {
        let (own, others) = workers.split_first_mut().expect("there is a part at least");
        for worker in others {
            // Where the system has no thread for it, nothing is done, and the part is still whole.
            let _ = thread::Builder::new().name("query-part".into()).spawn_scoped(scope, || worker.run(job));
        }
        own.run(job);
    });
    ready.extend(workers.into_iter().flat_map(|worker| worker.ready));
}

/// Why a part ends early.
enum Stop {
    /// This series is for the query's own thread.
    Left,
    Failed(QueryError),
}

impl<E: Into<QueryError>> From<E> for Stop {
    fn from(error: E) -> Self {
        match error.into() {
            // What other threads hold meanwhile may be what is too much.
            QueryError::TooManySamples => Self::Left,
            error => Self::Failed(error),
        }
    }
}

struct Worker<'q> {
    part: Option<Part<'q>>,
    ready: Vec<Ready<'q>>,
}

impl<'q> Worker<'q> {
    fn new(part: Part<'q>) -> Self {
        Self { part: None, ready: vec![Ready::Rest { part, begun: false }] }
    }

    fn run(&mut self, job: &Job<'_>) {
        let Some(Ready::Rest { part, .. }) = self.ready.pop() else { return };
        let part = self.part.insert(part);
        let mut bench = match Bench::new(job) {
            Ok(bench) => bench,
            Err(error) => return self.ready.push(Ready::Failed(error)),
        };
        loop {
            match bench.next(part, job) {
                Ok(Some(done)) => self.ready.push(Ready::Done(done)),
                Ok(None) => return,
                Err(Stop::Failed(error)) => return self.ready.push(Ready::Failed(error)),
                Err(Stop::Left) => break,
            }
        }
        let left = self.part.take();
        self.ready.extend(left.map(|part| Ready::Rest { part, begun: true }));
    }
}

/// What a thread uses again for each series.
struct Bench {
    sweep: Option<Sweep>,
    samples: Samples,
    raw: Vec<(Timestamp, Arc<[u8]>)>,
    charge: Charge,
    work: usize,
}

impl Bench {
    fn new(job: &Job<'_>) -> Result<Self> {
        let sweep = Sweep::find(job.name, job.budget.take(0)?);
        Ok(Self { sweep, samples: Samples::default(), raw: Vec::new(), charge: job.budget.take(0)?, work: 0 })
    }

    /// Reads the next series.
    fn next(&mut self, part: &mut Part<'_>, job: &Job<'_>) -> std::result::Result<Option<Done>, Stop> {
        self.check(job)?;
        if !part.advance()? {
            return Ok(None);
        }
        part.read(&mut self.samples.columns)?;
        part.read_histograms(&mut self.raw)?;
        if !self.raw.is_empty() {
            return Err(Stop::Left);
        }
        let read = self.samples.columns.len();
        self.charge.grow_to(read)?;
        self.samples.drop_stale();
        let mut done = Done { series: None, samples: read as u64, looked_at: Vec::new() };
        if !self.samples.is_empty() {
            let mut points = Column::absent(job.budget, job.steps)?;
            self.fill(&mut points[..job.distinct], &mut done.looked_at, job)?;
            if job.distinct < job.steps {
                points.repeat_first()?;
            }
            done.series = points.has_any().then(|| plain(part.labels().clone(), points));
        }
        Ok(Some(done))
    }

    fn fill(
        &mut self,
        points: &mut [f64],
        looked_at: &mut Vec<usize>,
        job: &Job<'_>,
    ) -> std::result::Result<(), Stop> {
        let columns = &self.samples.columns;
        if let Some(sweep) = &mut self.sweep {
            self.work += columns.len() + points.len();
            sweep.fill(columns, &job.frame, points)?;
            if job.counts {
                looked_at.extend(sweep.looked_at());
            }
            return Ok(());
        }
        let (mut from, mut to) = (0, 0);
        for (step, point) in points.iter_mut().enumerate() {
            let edges = job.frame.edges(step);
            (from, to) = slide(from, to, edges, |at| columns.timestamps.get(at));
            if job.counts {
                looked_at.push(to - from);
            }
            self.work += to - from + 1;
            if self.work >= WORK_MAX {
                interrupted(job.options)?;
                self.work = 0;
            }
            let (times, values) = (&columns.timestamps[from..to], &columns.values[from..to]);
            let value = match values.is_empty() {
                true => None,
                false => (job.function)(&Window::of_numbers(times, values, edges)),
            };
            if let Some(value) = value {
                *point = value;
            }
        }
        Ok(())
    }

    fn check(&mut self, job: &Job<'_>) -> Result<()> {
        self.work = 0;
        interrupted(job.options)
    }
}

fn plain(labels: Labels, points: Column) -> Series {
    Series { labels, drop_name: false, points }
}

fn interrupted(options: &Options) -> Result<()> {
    match options.interrupt.as_ref().and_then(|check| check()) {
        Some(interrupt) => Err(interrupt.into()),
        None => Ok(()),
    }
}
