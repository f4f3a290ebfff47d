//! A profile as it is used: checked, every name resolved to a number.

use std::sync::Arc;
use std::time::Duration;

use model::MetricMetadata;
use regex::bytes::Regex;
use snmp::Oid;

use crate::condition::Condition;
use crate::units::Conversion;

/// How often a table is worth asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Every round.
    Fast,
    /// Every few minutes: what drifts.
    Slow,
    /// Every hour: names, thresholds, what is costly to ask.
    Hourly,
}

impl Class {
    /// Its name in a profile.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Slow => "slow",
            Self::Hourly => "hourly",
        }
    }

    /// The shortest pause between two polls that the class means; a budget may ask for a longer one.
    pub const fn pause(self) -> Duration {
        match self {
            Self::Fast => Duration::ZERO,
            // Below the five minutes for which a query looks back, so that slow series need no repetition.
            Self::Slow => Duration::from_secs(240),
            Self::Hourly => Duration::from_secs(3600),
        }
    }
}

/// What a table may cost; a floor that nothing breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// The shortest time between two polls.
    pub interval_min: Duration,
    /// Most rows.
    pub rows_max: u32,
    /// Most repetitions in one request; none where the engine may learn.
    pub repetitions_max: Option<u32>,
}

/// A table to walk.
#[derive(Clone, Debug)]
pub struct TablePlan {
    /// Its name in series and messages.
    pub name: Arc<str>,
    /// Its entry object.
    pub entry: Oid,
    /// Columns in ascending order; the ordinals of cells count these.
    pub columns: Vec<Oid>,
    /// How often.
    pub class: Class,
    /// At what cost.
    pub budget: Budget,
    /// Whether the device may give rows in any order.
    pub unordered: bool,
}

/// Scalars that are asked together.
#[derive(Clone, Debug)]
pub struct ScalarPlan {
    /// The group's name.
    pub name: Arc<str>,
    /// Instances; the ordinals of values count these.
    pub oids: Vec<Oid>,
    /// How often.
    pub class: Class,
    /// At what cost; only the interval means something.
    pub budget: Budget,
}

/// What to ask of a device.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Tables; an ordinal of [`Readings`](crate::Readings) counts these.
    pub tables: Vec<TablePlan>,
    /// Groups of scalars; counted likewise.
    pub scalars: Vec<ScalarPlan>,
}

/// A metric family.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// Its name.
    pub name: Arc<str>,
    /// Type and help.
    pub metadata: Arc<MetricMetadata>,
    /// Its ordinal in [`Profile::families`].
    pub ordinal: u16,
}

/// See [`crate`].
#[derive(Debug)]
pub struct Profile {
    pub(crate) name: Arc<str>,
    pub(crate) title: String,
    pub(crate) file: Arc<str>,
    pub(crate) parts: Vec<Arc<str>>,
    pub(crate) plan: Plan,
    /// Tables of the plan, then its groups of scalars.
    pub(crate) tables: Vec<Table>,
    pub(crate) families: Vec<Family>,
    pub(crate) trials: Vec<crate::format::Trial>,
    /// Whether a rule can choose it; what none can is for others to extend.
    pub(crate) chosen: bool,
}

impl Profile {
    /// Its name: the file's name without the ending.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is for, in words.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// Names of the profiles that it is made of, itself last.
    pub fn parts(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().map(|part| &**part)
    }

    /// What to ask.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Every metric family that it can give.
    pub fn families(&self) -> &[Family] {
        &self.families
    }
}

/// A table or a group of scalars as the evaluator sees it.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) rows_max: u32,
    /// For each column of the plan, which of `columns` read it: (first, end).
    pub(crate) walked: Vec<(u16, u16)>,
    /// In the order of the plan's columns; several may read one.
    pub(crate) columns: Vec<Column>,
    pub(crate) texts: u16,
    pub(crate) kept: u16,
    pub(crate) parts: Vec<Part>,
    pub(crate) joins: Vec<Join>,
    pub(crate) derived: Vec<Derived>,
    pub(crate) identity: Option<Identity>,
    pub(crate) labels: Vec<Label>,
    pub(crate) when: Vec<Condition>,
    pub(crate) encodings: Vec<Vec<Case>>,
    pub(crate) metrics: Vec<Metric>,
    /// Whether rows of it are looked up by their index.
    pub(crate) found_by_index: bool,
    /// Columns by whose text rows of it are looked up.
    pub(crate) found_by_text: Vec<u16>,
}

#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) parse: Parse,
    pub(crate) nulls: Vec<f64>,
    pub(crate) null_texts: Vec<Box<[u8]>>,
    /// Where its text is kept, if it is one.
    pub(crate) text: Option<u16>,
    /// Where its number is kept beyond the round, if others want it.
    pub(crate) keep: Option<u16>,
    /// Whether labels or joins hang on its number.
    pub(crate) structural: bool,
    pub(crate) names: Option<Arc<Enumeration>>,
}

#[derive(Debug)]
pub(crate) enum Parse {
    /// The value is a number.
    Number,
    /// The value is a text that a pattern takes a number out of.
    NumberIn(Regex),
    /// DateAndTime, as seconds since 1970.
    Date,
    /// An identifier's last arc.
    LastArc,
    /// A text.
    Text(Form),
}

/// How bytes become a text.
#[derive(Debug)]
pub(crate) enum Form {
    Plain(Option<Regex>),
    /// Six bytes as `00:1A:…`, others as `0x…`.
    Mac,
    Hex,
    Address,
    Oid,
    /// An LLDP chassis id, by its subtype's column.
    LldpChassis(u16),
    /// An LLDP port id.
    LldpPort(u16),
}

#[derive(Debug, Default)]
pub(crate) struct Enumeration {
    /// Sorted by number.
    pub(crate) names: Vec<(i64, Box<str>)>,
}

impl Enumeration {
    pub(crate) fn name(&self, number: i64) -> Option<&str> {
        let at = self.names.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        Some(&self.names[at].1)
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Part {
    /// An arc (from the end where negative), shifted and masked.
    Arc { at: i32, shift: u32, mask: u32 },
    /// A run of arcs.
    Run { from: i32, len: Option<u32>, form: Run },
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Run {
    Dotted,
    Text,
    Mac,
}

/// A text of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Source {
    Part(u16),
    Column(u16),
    Derived(u16),
    Stable,
    /// One of the above in the row that a join gives.
    Joined(u16, Local),
}

/// A source within one table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Local {
    Part(u16),
    Column(u16),
    Derived(u16),
    Stable,
}

impl From<Local> for Source {
    fn from(local: Local) -> Self {
        match local {
            Local::Part(at) => Self::Part(at),
            Local::Column(at) => Self::Column(at),
            Local::Derived(at) => Self::Derived(at),
            Local::Stable => Self::Stable,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Label {
    pub(crate) name: Box<str>,
    pub(crate) sources: Vec<Source>,
}

#[derive(Debug)]
pub(crate) struct Derived {
    pub(crate) sources: Vec<Source>,
    pub(crate) how: How,
}

/// What a derived text does with its sources.
#[derive(Debug)]
pub(crate) enum How {
    /// The first that is not empty.
    First,
    /// What a pattern takes out of that.
    TakeOut(Regex),
    /// What a pattern takes out of that, put into a text with `$1`.
    Fill(Regex, Vec<u8>),
    /// All that are not empty, with this between.
    Glue(Box<str>),
}

#[derive(Debug)]
pub(crate) struct Identity {
    /// The index part that is kept.
    pub(crate) part: u16,
    pub(crate) key: Vec<Source>,
    pub(crate) shown: Vec<Source>,
}

#[derive(Debug)]
pub(crate) struct Join {
    pub(crate) table: u16,
    pub(crate) by: By,
}

#[derive(Debug)]
pub(crate) enum By {
    /// The whole index, put together from these.
    Index(Vec<Key>),
    /// A column's text.
    Text { column: u16, equals: Vec<Source> },
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Key {
    Literal(u32),
    /// The row's own index as it is.
    WholeIndex,
    From(Source),
}

/// A number of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Number {
    Own(u16),
    Part(u16),
    Joined(u16, u16),
}

#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) when: Vec<Condition>,
}

#[derive(Debug)]
pub(crate) struct Metric {
    pub(crate) family: u16,
    pub(crate) set: Vec<(Box<str>, Box<str>)>,
    pub(crate) labels: Vec<Label>,
    /// Conditions on texts, which hold until a text changes.
    pub(crate) when_texts: Vec<Condition>,
    /// Conditions on numbers.
    pub(crate) when: Vec<Condition>,
    pub(crate) what: What,
}

impl Metric {
    pub(crate) fn is_conditional(&self) -> bool {
        !self.when.is_empty() || !self.when_texts.is_empty()
    }
}

#[derive(Debug)]
pub(crate) enum What {
    /// The column's number as it is.
    Plain(u16),
    /// A number with something done to it.
    Number(Box<Reckoning>),
    /// 1 while all own labels have a text.
    Info,
    /// 1 while the conditions hold, 0 while they do not; none while a number is missing.
    Holds {
        conditions: Vec<Condition>,
        /// What they look at.
        numbers: Vec<Number>,
    },
}

#[derive(Debug)]
pub(crate) struct Reckoning {
    pub(crate) value: Number,
    pub(crate) conversion: Convert,
    pub(crate) scale: Option<Scale>,
    pub(crate) times: Option<Number>,
    pub(crate) plus: Option<Number>,
    pub(crate) floor: Option<f64>,
    pub(crate) bounds: Option<(f64, f64)>,
    pub(crate) last: Last,
}

#[derive(Debug)]
pub(crate) enum Convert {
    Always(Conversion),
    /// By the row's case of an encoding: conversion and null markers, where the case has the unit.
    ByCase {
        encoding: u16,
        cases: Vec<Option<CaseUnit>>,
    },
}

/// What one case says of a quantity.
#[derive(Debug)]
pub(crate) struct CaseUnit {
    pub(crate) conversion: Conversion,
    /// Numbers that stand for no reading.
    pub(crate) nulls: Vec<f64>,
    /// Numbers that stand for no power at all.
    pub(crate) darks: Vec<f64>,
}

#[derive(Debug)]
pub(crate) struct Scale {
    pub(crate) by: Option<Number>,
    pub(crate) exponents: Vec<(i64, i32)>,
    pub(crate) digits: Option<Number>,
}

/// What is said of the number.
#[derive(Debug)]
pub(crate) enum Last {
    Itself,
    /// Whether it is above.
    Above(f64),
    /// Whether it is one of these.
    Is(Vec<f64>),
}
