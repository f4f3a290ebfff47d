//! The whole path of one device's round: engine, evaluator, series table. The agent around it (schedule, spool, uplink) is measured by
//! `minute.rs` and by `bench agent`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use model::{Labels, METRIC_NAME, Timestamp};
use pantau_agent::series::{Described, Point, Round, SeriesId, SeriesTable, Stamp};
use profiles::{Evaluator, Family, Handle, Profile, Readings, Reason, Sink};
use snmp::Oid;
use snmp::engine::{Handle as Engine, Harvest, Job, Target};
use snmp::round::Table;

/// What is asked of every device, and what it means in the profile's plan.
pub(super) struct Questions {
    scalars: Arc<[Oid]>,
    /// Groups of scalars: the ordinal in the plan, the first in `scalars`, how many.
    groups: Vec<(usize, usize, usize)>,
    tables: Vec<Asked>,
}

struct Asked {
    table: Arc<Table>,
    ordinal: usize,
    /// Ordinals in the plan of the columns that are asked.
    columns: Vec<u16>,
    pause: Duration,
}

impl Questions {
    /// Everything that a profile asks.
    pub(super) fn whole(profile: &Profile) -> Self {
        let (mut scalars, mut groups) = (Vec::new(), Vec::new());
        for (ordinal, group) in profile.plan().scalars.iter().enumerate() {
            groups.push((ordinal, scalars.len(), group.oids.len()));
            scalars.extend(group.oids.iter().cloned());
        }
        let table = |(ordinal, plan): (usize, &profiles::TablePlan)| Asked {
            table: Arc::new(Table::new(plan.name.clone(), plan.columns.clone())),
            ordinal,
            columns: (0..).take(plan.columns.len()).collect(),
            pause: plan.class.pause().max(plan.budget.interval_min),
        };
        let tables = profile.plan().tables.iter().enumerate().map(table).collect();
        Self { scalars: scalars.into(), groups, tables }
    }

    /// All 21 columns of `ifTable` that the profile has, and the interfaces' names from `ifXTable`: 22 columns.
    pub(super) fn interfaces(profile: &Profile, repetitions_max: Option<u16>) -> Self {
        let mut all = Self::whole(profile);
        (all.scalars, all.groups) = (Arc::new([]), Vec::new());
        all.tables.retain(|asked| ["ifTable", "ifXTable"].contains(&&*asked.table.key));
        for asked in &mut all.tables {
            let mut table = Table::clone(&asked.table);
            if &*table.key == "ifXTable" {
                table.columns.truncate(1);
                asked.columns.truncate(1);
            }
            table.repetitions_max = repetitions_max.unwrap_or(Table::REPETITIONS_MAX);
            asked.table = Arc::new(table);
        }
        all
    }
}

/// A device and what is remembered of it.
pub(super) struct Device {
    pub(super) target: Arc<Target>,
    evaluator: Evaluator,
    series: SeriesTable,
    known: Known,
    points: Vec<Point>,
    asked: Vec<Option<Instant>>,
}

/// What came of a device's round.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Came {
    /// Values that the device gave.
    pub(super) varbinds: u64,
    /// Values that became samples.
    pub(super) samples: u64,
}

impl Device {
    pub(super) fn new(target: Arc<Target>, profile: &Arc<Profile>, questions: &Questions) -> Self {
        let base = Labels::from_pairs([("job", "snmp"), ("instance", &*target.name)]);
        Self {
            target,
            evaluator: Evaluator::new(profile),
            series: SeriesTable::new(base, 20_000),
            known: Known::default(),
            points: Vec::new(),
            asked: vec![None; questions.tables.len()],
        }
    }

    /// One round.
    pub(super) async fn round(
        &mut self,
        engine: &Engine,
        questions: &Questions,
        now: Instant,
        at: Timestamp,
    ) -> Came {
        let is_due = |asked: &Option<Instant>, pause| asked.is_none_or(|asked| now - asked >= pause);
        let due = questions.tables.iter().zip(&self.asked).map(|(table, asked)| is_due(asked, table.pause));
        let due: Vec<usize> =
            due.enumerate().filter(|(_, is_due)| *is_due).map(|(ordinal, _)| ordinal).collect();
        due.iter().for_each(|&ordinal| self.asked[ordinal] = Some(now));
        let harvest = engine
            .run(Job {
                target: self.target.clone(),
                scalars: questions.scalars.clone(),
                tables: due.iter().map(|&ordinal| questions.tables[ordinal].table.clone()).collect(),
                deadline: Duration::from_secs(50),
                urgent: false,
            })
            .await;
        self.take(questions, &due, &harvest, at)
    }

    fn take(&mut self, questions: &Questions, due: &[usize], harvest: &Harvest, at: Timestamp) -> Came {
        let mut readings = Readings::new();
        let tables = harvest.tables.iter().zip(due.iter().map(|&ordinal| &questions.tables[ordinal]));
        for (table, asked) in tables {
            let cells =
                table.cells().map(|cell| (asked.columns[usize::from(cell.column)], cell.index, cell.value));
            readings.table(asked.ordinal, table.is_whole(), cells);
        }
        for &(ordinal, first, count) in &questions.groups {
            let within = move |at: u16| usize::from(at).checked_sub(first).filter(|at| *at < count);
            let values = harvest.scalars.iter().filter_map(move |cell| {
                within(cell.column).and_then(|at| Some((u16::try_from(at).ok()?, cell.value)))
            });
            readings.scalars(ordinal, values);
        }
        let base = self.series.base().clone();
        let mut round = Round::begin(&mut self.series, at, std::mem::take(&mut self.points));
        if self.known.stamp != Some(round.stamp()) {
            self.known =
                Known { stamp: Some(round.stamp()), number: self.known.number + 1, ..Known::default() };
        }
        self.evaluator.round(readings, &mut Into { base, round: &mut round, known: &mut self.known });
        let samples = round.len() as u64;
        (self.points, _) = round.finish();
        let cells =
            harvest.tables.iter().map(|table| table.rows.len()).sum::<usize>() + harvest.scalars.len();
        Came { varbinds: cells as u64, samples }
    }
}

/// The series behind the evaluator's handles.
#[derive(Default)]
struct Known {
    series: Vec<Slot>,
    stamp: Option<Stamp>,
    number: u64,
}

enum Slot {
    /// Told of, without a value so far.
    New(Box<Described>),
    Known(SeriesId),
}

struct Into<'a, 'b> {
    base: Labels,
    round: &'a mut Round<'b>,
    known: &'a mut Known,
}

impl Sink for Into<'_, '_> {
    fn stamp(&self) -> u64 {
        self.known.number
    }

    fn series(&mut self, family: &Family, labels: &[(&str, &str)]) -> Option<Handle> {
        let handle = Handle(u32::try_from(self.known.series.len()).ok().filter(|at| *at < Handle::MAX)?);
        let mut all = self.base.to_builder();
        all.set(METRIC_NAME, &family.name);
        labels.iter().for_each(|(name, text)| {
            all.set(name, text);
        });
        let described = Described { labels: all.build(), metadata: Some(family.metadata.clone()) };
        self.known.series.push(Slot::New(Box::new(described)));
        Some(handle)
    }

    fn value(&mut self, handle: Handle, value: f64) {
        let slot = &mut self.known.series[handle.0 as usize];
        match slot {
            Slot::Known(id) => drop(self.round.put_again(*id, value)),
            Slot::New(described) => {
                let (labels, metadata) = (described.labels.clone(), described.metadata.clone());
                let describe = |_: &Labels| Some(Described { labels, metadata });
                let mut key = [0; 12];
                key[..8].copy_from_slice(&self.known.number.to_le_bytes());
                key[8..].copy_from_slice(&handle.0.to_le_bytes());
                self.round.put(&key, value, None, describe);
                if let Some(id) = self.round.latest() {
                    *slot = Slot::Known(id);
                }
            }
        }
    }

    fn refused(&mut self, _family: &Family, _reason: Reason) {}
}
