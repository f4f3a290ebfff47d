//! From files as written to profiles as used: names become numbers, patterns are compiled, bounds are checked.
//!
//! A profile is compiled as a whole, its mixins' tables and its own together, so that a join may go from one file's table to
//! another's; an error stands at its place in the file that the table came from.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use model::{MetricKind, MetricMetadata, is_label_name, is_metric_name};
use regex::bytes::{Regex, RegexBuilder};
use snmp::Oid;

use crate::condition::{Condition, Reading};
use crate::error::ProfileError;
use crate::format::{self, Pairs, Text};
use crate::limits;
use crate::profile::{
    Budget, By, Case, CaseUnit, Class, Column, Convert, Derived, Enumeration, Family, Form, How, Identity,
    Join, Key, Label, Last, Local, Metric, Number, Parse, Part, Plan, Profile, Reckoning, Run, ScalarPlan,
    Scale, Source, Table, TablePlan, What,
};
use crate::units::{Conversion, Unit};

/// The series by which a profile says when alarms on a table's rows make sense.
pub(crate) const ALERT_WHEN: &str = "snmp_alert_when";

/// A file that was read.
#[derive(Debug)]
pub(crate) struct Source1 {
    pub(crate) name: Arc<str>,
    pub(crate) file: format::File,
}

type Result<T, E = ProfileError> = std::result::Result<T, E>;

/// An error at a text's place.
pub(crate) fn fault(file: &str, place: &Text, what: String, hint: &str) -> ProfileError {
    let (line, column) = (place.place.line.max(1).into(), place.place.column.max(1).into());
    ProfileError { file: file.to_owned(), line, column, what, hint: hint.to_owned() }
}

/// Compiles one profile out of its parts (mixins first, itself last).
pub(crate) fn profile(parts: &[&Source1]) -> Result<Profile> {
    let own = parts.last().expect("a profile is made of itself at least");
    let picked = pick(parts)?;
    if picked.len() > limits::TABLES_MAX {
        let what =
            format!("{} tables and groups of scalars are more than {}", picked.len(), limits::TABLES_MAX);
        return Err(fault(
            &own.name,
            &own.file.profile,
            what,
            "split the profile or drop tables by `without`",
        ));
    }
    let drafts = picked.iter().map(Draft::new).collect::<Result<Vec<_>>>()?;
    let mut all = Compiler { parts, drafts, families: Vec::new(), by_name: HashMap::new() };
    let tables = (0..all.drafts.len()).map(|at| all.table(at)).collect::<Result<Vec<_>>>()?;
    let mut plan = Plan::default();
    let mut finished = Vec::new();
    for (at, mut table) in tables.into_iter().enumerate() {
        let draft = &all.drafts[at];
        draft.finish(&mut table);
        draft.plan(&mut plan)?;
        finished.push(table);
    }
    Ok(Profile {
        name: own.file.profile.value.as_str().into(),
        title: own.file.title.clone(),
        file: own.name.clone(),
        parts: parts.iter().map(|part| part.file.profile.value.as_str().into()).collect(),
        plan,
        tables: finished,
        families: all.families,
        trials: own.file.tests.clone(),
        chosen: !own.file.rules.is_empty(),
    })
}

/// A table as written, with the file it came from.
struct Picked<'a> {
    source: &'a Source1,
    table: &'a format::Table,
    scalar: bool,
}

/// Tables of all parts (groups of scalars behind them); one of the same name replaces that of a mixin.
fn pick<'a>(parts: &[&'a Source1]) -> Result<Vec<Picked<'a>>> {
    let mut picked: Vec<Picked<'a>> = Vec::new();
    for source in parts {
        for name in &source.file.without {
            let before = picked.len();
            picked.retain(|have| have.table.name.value != name.value);
            if picked.len() == before {
                let what = format!("there is no table {:?} to leave out", name.value);
                return Err(fault(
                    &source.name,
                    name,
                    what,
                    "name a table of a profile that this one extends",
                ));
            }
        }
        let tables = source.file.tables.iter().map(|table| (table, false));
        let mut names = HashSet::new();
        for (table, scalar) in tables.chain(source.file.scalars.iter().map(|table| (table, true))) {
            if !names.insert(&table.name.value) {
                let what = format!("{:?} is there twice", table.name.value);
                return Err(fault(
                    &source.name,
                    &table.name,
                    what,
                    "give each table and group a name of its own",
                ));
            }
            let next = Picked { source, table, scalar };
            match picked.iter_mut().find(|have| have.table.name.value == table.name.value) {
                Some(have) => *have = next,
                None => picked.push(next),
            }
        }
    }
    picked.sort_by_key(|picked| picked.scalar);
    Ok(picked)
}

/// A table under way: its names are known, what they are used for is being found out.
struct Draft<'a> {
    source: &'a Source1,
    raw: &'a format::Table,
    scalar: bool,
    entry: Oid,
    columns: Vec<DraftColumn<'a>>,
    parts: Vec<Part>,
    names: HashMap<&'a str, Local>,
    joins: HashMap<&'a str, u16>,
    found_by_index: bool,
    found_by_text: Vec<u16>,
}

struct DraftColumn<'a> {
    name: &'a str,
    path: Vec<u32>,
    raw: Option<&'a format::ColumnBody>,
    place: &'a Text,
    text: bool,
    keep: bool,
    structural: bool,
}

impl<'a> Draft<'a> {
    fn new(picked: &Picked<'a>) -> Result<Self> {
        let Picked { source, table, scalar } = *picked;
        let err = |place: &Text, what: String, hint: &str| fault(&source.name, place, what, hint);
        let name = &table.name;
        if !is_label_name(&name.value) || name.value.len() > limits::NAME_BYTES_MAX {
            return Err(err(
                name,
                format!("{:?} is no name for a table", name.value),
                "use letters, digits and _",
            ));
        }
        let entry = oid(source, &table.entry)?;
        if scalar && (!table.index.0.is_empty() || table.identity.is_some() || table.unordered) {
            return Err(err(name, "scalars have no index".into(), "remove index, identity and unordered"));
        }
        let mut columns = Vec::new();
        for (key, column) in &table.columns.0 {
            let place = if column.0.arc.place.line == 0 { key } else { &column.0.arc };
            let path = path(source, &column.0.arc.value, place)?;
            let text = is_text(source, &column.0)?;
            columns.push(DraftColumn {
                name: &key.value,
                path,
                raw: Some(&column.0),
                place: key,
                text,
                keep: false,
                structural: false,
            });
        }
        for metric in &table.metrics {
            let of_metric = [&metric.value, &metric.times, &metric.plus];
            for value in of_metric.into_iter().flatten() {
                // A number that names a column which has no name of its own.
                let bare = value.value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
                if !bare || columns.iter().any(|column| column.name == value.value) {
                    continue;
                }
                let path = path(source, &value.value, value)?;
                let name = value.value.as_str();
                columns.push(DraftColumn {
                    name,
                    path,
                    raw: None,
                    place: value,
                    text: false,
                    keep: false,
                    structural: false,
                });
            }
        }
        if columns.is_empty() {
            return Err(err(name, "a table without columns gives nothing".into(), "add columns or metrics"));
        }
        if columns.len() > limits::COLUMNS_MAX {
            let what = format!("{} columns are more than {}", columns.len(), limits::COLUMNS_MAX);
            return Err(err(name, what, "split the table in two with the same entry"));
        }
        columns.sort_by(|a, b| a.path.cmp(&b.path));
        let mut draft = Self {
            source,
            raw: table,
            scalar,
            entry,
            columns,
            parts: Vec::new(),
            names: HashMap::new(),
            joins: HashMap::new(),
            found_by_index: false,
            found_by_text: Vec::new(),
        };
        draft.name_all()?;
        Ok(draft)
    }

    fn err(&self, place: &Text, what: String, hint: &str) -> ProfileError {
        fault(&self.source.name, place, what, hint)
    }

    fn name_all(&mut self) -> Result<()> {
        let raw = self.raw;
        for pairs in [
            raw.index.0.len(),
            raw.texts.0.len(),
            raw.joins.0.len(),
            raw.labels.0.len(),
            raw.encodings.0.len(),
        ] {
            if pairs > limits::NAMES_MAX {
                let what = format!("{pairs} names in one mapping are more than {}", limits::NAMES_MAX);
                return Err(self.err(&raw.name, what, "split the table"));
            }
        }
        let mut list: Vec<(&'a Text, Local)> = Vec::new();
        for (at, column) in self.columns.iter().enumerate() {
            if column.raw.is_some() {
                list.push((column.place, Local::Column(at as u16)));
            } else {
                self.names.insert(column.name, Local::Column(at as u16));
            }
        }
        list.extend(raw.index.0.iter().enumerate().map(|(at, (name, _))| (name, Local::Part(at as u16))));
        list.extend(raw.texts.0.iter().enumerate().map(|(at, (name, _))| (name, Local::Derived(at as u16))));
        for (name, local) in list {
            if !is_label_name(&name.value) || name.value == "stable" {
                let what = format!("{:?} is no name for a column, index part or text", name.value);
                return Err(self.err(
                    name,
                    what,
                    "use letters, digits and _ (`stable` has a meaning of its own)",
                ));
            }
            if self.names.insert(&name.value, local).is_some() {
                return Err(self.err(
                    name,
                    format!("{:?} is there twice", name.value),
                    "give each a name of its own",
                ));
            }
        }
        for (at, (name, _)) in raw.joins.0.iter().enumerate() {
            if !is_label_name(&name.value) || self.joins.insert(&name.value, at as u16).is_some() {
                return Err(self.err(
                    name,
                    format!("{:?} is no new name for a join", name.value),
                    "use letters, digits and _",
                ));
            }
        }
        self.parts = raw.index.0.iter().map(|(name, part)| self.part(name, part)).collect::<Result<_>>()?;
        Ok(())
    }

    fn part(&self, name: &Text, part: &format::Part) -> Result<Part> {
        let hint =
            "write {at: N}, {at: N, bits: [SHIFT, WIDTH]} or {from: N, len: N, as: dotted | text | mac}";
        let bad = |what: &str| Err(self.err(name, what.into(), hint));
        let form = match part.form.as_ref().map(|form| form.value.as_str()) {
            None | Some("dotted") => Run::Dotted,
            Some("text") => Run::Text,
            Some("mac") => Run::Mac,
            Some(other) => return bad(&format!("{other:?} is no form of index arcs")),
        };
        match (&part.at, &part.from) {
            (Some(at), None) if part.len.is_none() && part.form.is_none() => {
                let (shift, mask) = match part.bits.as_ref().map(|bits| bits.value) {
                    None => (0, u32::MAX),
                    Some([shift, width @ 1..=31]) if shift + width <= 32 => (shift, (1 << width) - 1),
                    Some(_) => return bad("an arc has 32 bits"),
                };
                Ok(Part::Arc { at: at.value, shift, mask })
            }
            (None, Some(from)) if part.bits.is_none() => {
                Ok(Part::Run { from: from.value, len: part.len.as_ref().map(|len| len.value), form })
            }
            _ => bad("an index part is one arc or a run of arcs"),
        }
    }

    /// Fixes where texts and numbers of columns are kept, now that it is known what they are used for.
    fn finish(&self, table: &mut Table) {
        for (column, draft) in table.columns.iter_mut().zip(&self.columns) {
            if draft.text {
                column.text = Some(table.texts);
                table.texts += 1;
            } else if draft.keep || draft.structural {
                column.keep = Some(table.kept);
                column.structural = draft.structural;
                table.kept += 1;
            }
        }
        table.found_by_index = self.found_by_index;
        table.found_by_text.clone_from(&self.found_by_text);
    }

    fn plan(&self, plan: &mut Plan) -> Result<()> {
        let (class, budget) = self.budget()?;
        let mut oids: Vec<Oid> = Vec::new();
        for column in &self.columns {
            let oid = self.entry.child(&column.path);
            let oid = oid.map_err(|error| {
                self.err(column.place, error.to_string(), "shorten the entry or the column")
            })?;
            if oids.last() != Some(&oid) {
                oids.push(oid);
            }
        }
        let name: Arc<str> = self.raw.name.value.as_str().into();
        if self.scalar {
            plan.scalars.push(ScalarPlan { name, oids, class, budget });
        } else {
            let (entry, unordered) = (self.entry.clone(), self.raw.unordered);
            plan.tables.push(TablePlan { name, entry, columns: oids, class, budget, unordered });
        }
        Ok(())
    }

    fn budget(&self) -> Result<(Class, Budget)> {
        let class = match self.raw.class.as_ref().map(|class| class.value.as_str()) {
            None | Some("fast") => Class::Fast,
            Some("slow") => Class::Slow,
            Some("hourly") => Class::Hourly,
            Some(other) => {
                let place = self.raw.class.as_ref().expect("it was just matched");
                return Err(self.err(place, format!("{other:?} is no class"), "write fast, slow or hourly"));
            }
        };
        let mut budget = Budget { interval_min: class.pause(), rows_max: 10_000, repetitions_max: None };
        if let Some(given) = &self.raw.budget {
            if let Some(every) = given.every {
                budget.interval_min = every.get().max(budget.interval_min);
            }
            if let Some(rows) = &given.rows {
                budget.rows_max = rows.value;
            }
            budget.repetitions_max = given.repetitions.as_ref().map(|repetitions| repetitions.value);
        }
        if !(1..=limits::ROWS_MAX).contains(&budget.rows_max) || budget.repetitions_max == Some(0) {
            let hint = format!("rows go from 1 to {}, repetitions from 1 on", limits::ROWS_MAX);
            return Err(self.err(&self.raw.name, "the budget lets nothing pass".into(), &hint));
        }
        Ok((class, budget))
    }
}

fn is_text(source: &Source1, column: &format::ColumnBody) -> Result<bool> {
    let Some(parse) = &column.parse else { return Ok(false) };
    match parse.value.as_str() {
        "number" | "date" | "last_arc" => Ok(false),
        "text" | "mac" | "hex" | "address" | "oid" | "lldp_chassis" | "lldp_port" => Ok(true),
        other => {
            let hint = "one of number, date, last_arc, text, mac, hex, address, oid, lldp_chassis, lldp_port";
            Err(fault(&source.name, parse, format!("{other:?} is no way to parse a value"), hint))
        }
    }
}

fn oid(source: &Source1, text: &Text) -> Result<Oid> {
    let parsed = text.value.parse::<Oid>();
    parsed.map_err(|error| {
        fault(&source.name, text, format!("{:?}: {error}", text.value), "write 1.3.6.1.2.1.2.2.1")
    })
}

fn path(source: &Source1, text: &str, place: &Text) -> Result<Vec<u32>> {
    let arcs = text
        .split('.')
        .map(|arc| arc.parse::<u32>().ok().filter(|_| arc.bytes().all(|b| b.is_ascii_digit())));
    let arcs = arcs.collect::<Option<Vec<u32>>>().filter(|arcs| arcs.len() <= 64);
    arcs.ok_or_else(|| {
        fault(&source.name, place, format!("{text:?} is no column"), "write its number under the entry")
    })
}

fn name_of_kind(name: &str) -> Option<(MetricKind, bool)> {
    Some(match name {
        "gauge" => (MetricKind::Gauge, false),
        "counter" => (MetricKind::Counter, false),
        "info" => (MetricKind::Gauge, false),
        "stateset" => (MetricKind::Gauge, true),
        _ => return None,
    })
}

struct Compiler<'a> {
    parts: &'a [&'a Source1],
    drafts: Vec<Draft<'a>>,
    families: Vec<Family>,
    by_name: HashMap<String, u16>,
}

impl<'a> Compiler<'a> {
    fn err(&self, at: usize, place: &Text, what: String, hint: &str) -> ProfileError {
        self.drafts[at].err(place, what, hint)
    }

    fn table(&mut self, at: usize) -> Result<Table> {
        let (raw, scalar) = (self.drafts[at].raw, self.drafts[at].scalar);
        let joins = raw.joins.0.iter().map(|(_, join)| self.join(at, join)).collect::<Result<Vec<_>>>()?;
        let columns = (0..self.drafts[at].columns.len())
            .map(|column| self.column(at, column))
            .collect::<Result<_>>()?;
        let derived = raw.texts.0.iter().map(|(_, text)| self.derived(at, text)).collect::<Result<_>>()?;
        let identity = raw.identity.as_ref().map(|identity| self.identity(at, identity)).transpose()?;
        let labels = self.labels(at, &raw.labels)?;
        let when = self.conditions(at, &raw.when)?;
        let mut encodings = Vec::new();
        for (name, cases) in &raw.encodings.0 {
            encodings.push(self.encoding(at, name, cases)?);
        }
        let mut metrics = Vec::new();
        if !raw.alert_when.is_empty() {
            let help = "1 while alarms on the other series of this row make sense (its port is admin up), 0 while they do not.";
            let family = self.family(at, &raw.name, ALERT_WHEN, MetricKind::Gauge, Some(help))?;
            let what = holds(self.conditions(at, &raw.alert_when)?);
            let set = vec![("table".into(), raw.name.value.as_str().into())];
            metrics.push(Metric {
                family,
                set,
                labels: Vec::new(),
                when_texts: Vec::new(),
                when: Vec::new(),
                what,
            });
        }
        for metric in &raw.metrics {
            self.metric(at, metric, &mut metrics)?;
        }
        if metrics.len() > limits::METRICS_MAX {
            let what =
                format!("{} metrics of one table are more than {}", metrics.len(), limits::METRICS_MAX);
            return Err(self.err(at, &raw.name, what, "split the table"));
        }
        let draft = &self.drafts[at];
        let (_, budget) = draft.budget()?;
        Ok(Table {
            rows_max: if scalar { 1 } else { budget.rows_max },
            walked: walked(&draft.columns),
            columns,
            texts: 0,
            kept: 0,
            parts: draft.parts.clone(),
            joins,
            derived,
            identity,
            labels,
            when,
            encodings,
            metrics,
            found_by_index: false,
            found_by_text: Vec::new(),
        })
    }

    fn column(&mut self, at: usize, column: usize) -> Result<Column> {
        let draft = &self.drafts[at].columns[column];
        let raw = draft.raw;
        let mut out = Column {
            parse: Parse::Number,
            nulls: Vec::new(),
            null_texts: Vec::new(),
            text: None,
            keep: None,
            structural: false,
            names: None,
        };
        let Some(raw) = raw else { return Ok(out) };
        let pattern = raw.pattern.as_ref().map(|pattern| self.capturing(at, pattern)).transpose()?;
        let kind = raw.parse.as_ref().map_or("number", |parse| parse.value.as_str());
        if pattern.is_some() && !matches!(kind, "number" | "text") {
            let place = raw.pattern.as_ref().expect("it was just compiled");
            return Err(self.err(
                at,
                place,
                format!("`parse: {kind}` takes no pattern"),
                "use number or text",
            ));
        }
        let subtype = match (&raw.subtype, kind.starts_with("lldp_")) {
            (Some(subtype), true) => match self.local(at, &subtype.value) {
                Some(Local::Column(of)) if !self.drafts[at].columns[usize::from(of)].text => {
                    self.drafts[at].columns[usize::from(of)].structural = true;
                    of
                }
                _ => {
                    return Err(self.err(
                        at,
                        subtype,
                        format!("{:?} is no column of numbers", subtype.value),
                        "name the subtype's column",
                    ));
                }
            },
            (None, false) => 0,
            _ => {
                let place = &raw.arc;
                return Err(self.err(
                    at,
                    place,
                    "`subtype` belongs to lldp_chassis and lldp_port".into(),
                    "give both or none",
                ));
            }
        };
        out.parse = match (kind, pattern) {
            ("number", None) => Parse::Number,
            ("number", Some(pattern)) => Parse::NumberIn(pattern),
            ("date", _) => Parse::Date,
            ("last_arc", _) => Parse::LastArc,
            ("mac", _) => Parse::Text(Form::Mac),
            ("hex", _) => Parse::Text(Form::Hex),
            ("address", _) => Parse::Text(Form::Address),
            ("oid", _) => Parse::Text(Form::Oid),
            ("lldp_chassis", _) => Parse::Text(Form::LldpChassis(subtype)),
            ("lldp_port", _) => Parse::Text(Form::LldpPort(subtype)),
            (_, pattern) => Parse::Text(Form::Plain(pattern)),
        };
        if raw.nulls.len() > limits::NULLS_MAX {
            return Err(self.err(
                at,
                &raw.nulls[limits::NULLS_MAX],
                format!("more than {} null values", limits::NULLS_MAX),
                "use `when` or an encoding",
            ));
        }
        for null in &raw.nulls {
            match null.value.parse() {
                Ok(number) => out.nulls.push(number),
                Err(_) if matches!(out.parse, Parse::Number) => {
                    return Err(self.err(
                        at,
                        null,
                        format!("{:?} is no number", null.value),
                        "texts are null values of texts only",
                    ));
                }
                Err(_) => {}
            }
            out.null_texts.push(null.value.as_bytes().into());
        }
        if let Some(names) = &raw.names {
            out.names = Some(self.enumeration(at, names)?);
        }
        Ok(out)
    }

    fn enumeration(&self, at: usize, wanted: &Text) -> Result<Arc<Enumeration>> {
        let own = self.drafts[at].source;
        let mut files = std::iter::once(own).chain(self.parts.iter().rev().copied());
        let found =
            files.find_map(|source| source.file.enums.0.iter().find(|(name, _)| name.value == wanted.value));
        let Some((_, list)) = found else {
            return Err(self.err(
                at,
                wanted,
                format!("there is no enumeration {:?}", wanted.value),
                "write it under `enums`",
            ));
        };
        let mut names: Vec<(i64, Box<str>)> = Vec::new();
        for (number, list) in &list.0 {
            let Ok(first) = number.value.parse::<i64>() else {
                return Err(self.err(
                    at,
                    number,
                    format!("{:?} is no number", number.value),
                    "write NUMBER: NAME",
                ));
            };
            names.extend(list.0.iter().zip(first..).map(|(name, number)| (number, name.as_str().into())));
        }
        names.sort();
        if names.len() > limits::ENUM_NAMES_MAX || names.is_empty() {
            return Err(self.err(
                at,
                wanted,
                format!("{} names", names.len()),
                "an enumeration has 1 to 1024 names",
            ));
        }
        if let Some(twice) = names.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(self.err(at, wanted, format!("{} has two names", twice[0].0), "keep one"));
        }
        Ok(Arc::new(Enumeration { names }))
    }

    fn pattern(&self, at: usize, text: &Text) -> Result<Regex> {
        pattern(self.drafts[at].source, text)
    }

    /// A pattern with a part to take out.
    fn capturing(&self, at: usize, text: &Text) -> Result<Regex> {
        let pattern = self.pattern(at, text)?;
        if pattern.captures_len() < 2 {
            let what = format!("{:?} takes nothing out", text.value);
            return Err(self.err(at, text, what, "put parentheses around the part that counts"));
        }
        Ok(pattern)
    }

    fn local(&self, at: usize, name: &str) -> Option<Local> {
        if name == "stable" && self.drafts[at].raw.identity.is_some() {
            return Some(Local::Stable);
        }
        self.drafts[at].names.get(name).copied()
    }

    fn table_named(&self, at: usize, name: &Text) -> Result<usize> {
        let found = self.drafts.iter().position(|draft| draft.raw.name.value == name.value);
        found.ok_or_else(|| {
            let known: Vec<&str> = self.drafts.iter().map(|draft| draft.raw.name.value.as_str()).collect();
            let hint = format!("extend the profile that has it; known here: {}", known.join(", "));
            self.err(at, name, format!("there is no table {:?}", name.value), &hint)
        })
    }

    fn join(&mut self, at: usize, join: &format::Join) -> Result<Join> {
        let table = self.table_named(at, &join.table)?;
        let by = match (&join.index, &join.column, &join.equals) {
            (Some(keys), None, None) => {
                if keys.len() > limits::NAMES_MAX {
                    return Err(self.err(
                        at,
                        &join.table,
                        "too many parts of an index".into(),
                        "an index has fewer",
                    ));
                }
                self.drafts[table].found_by_index = true;
                By::Index(keys.iter().map(|key| self.key(at, key)).collect::<Result<_>>()?)
            }
            (None, Some(column), Some(equals)) => {
                let place = column;
                let column = match self.local(table, &column.value) {
                    Some(Local::Column(of)) if self.drafts[table].columns[usize::from(of)].text => of,
                    _ => {
                        let what =
                            format!("{:?} is no column of texts of {:?}", column.value, join.table.value);
                        return Err(self.err(at, place, what, "join by a column with `parse: text`"));
                    }
                };
                if !self.drafts[table].found_by_text.contains(&column) {
                    self.drafts[table].found_by_text.push(column);
                }
                By::Text { column, equals: self.sources(at, equals)? }
            }
            _ => {
                let hint = "write {table: T, index: [PART, …]} or {table: T, column: C, equals: SOURCE}";
                return Err(self.err(
                    at,
                    &join.table,
                    "a join finds a row by its index or by a text".into(),
                    hint,
                ));
            }
        };
        Ok(Join { table: table as u16, by })
    }

    fn key(&mut self, at: usize, key: &Text) -> Result<Key> {
        if key.value == "*" {
            return Ok(Key::WholeIndex);
        }
        if let Ok(literal) = key.value.parse() {
            return Ok(Key::Literal(literal));
        }
        Ok(Key::From(self.source(at, key, &key.value)?))
    }

    /// `a or join.b`: the first that is not empty.
    fn sources(&mut self, at: usize, text: &Text) -> Result<Vec<Source>> {
        let names: Vec<&str> = text.value.split(" or ").map(str::trim).collect();
        if names.len() > limits::CONDITIONS_MAX {
            return Err(self.err(at, text, "too many sources".into(), "name fewer"));
        }
        names.into_iter().map(|name| self.source(at, text, name)).collect()
    }

    fn source(&mut self, at: usize, place: &Text, name: &str) -> Result<Source> {
        let Some((join, rest)) = name.split_once('.') else {
            let local = self.local(at, name).ok_or_else(|| self.unknown(at, at, place, name))?;
            self.mark(at, local);
            return Ok(local.into());
        };
        let (number, table) = self.joined(at, place, join)?;
        let local = self.local(table, rest).ok_or_else(|| self.unknown(at, table, place, rest))?;
        self.mark(table, local);
        Ok(Source::Joined(number, local))
    }

    fn joined(&self, at: usize, place: &Text, join: &str) -> Result<(u16, usize)> {
        let Some(&number) = self.drafts[at].joins.get(join) else {
            return Err(self.err(
                at,
                place,
                format!("there is no join {join:?}"),
                "write it under `joins` of this table",
            ));
        };
        let (_, raw) = &self.drafts[at].raw.joins.0[usize::from(number)];
        Ok((number, self.table_named(at, &raw.table)?))
    }

    fn unknown(&self, at: usize, table: usize, place: &Text, name: &str) -> ProfileError {
        let named = self.drafts[table].names.keys().copied();
        let mut known: Vec<&str> =
            named.filter(|name| !name.starts_with(|c: char| c.is_ascii_digit())).collect();
        known.sort_unstable();
        let what =
            format!("{:?} has no column, index part or text {name:?}", self.drafts[table].raw.name.value);
        self.err(at, place, what, &format!("known: {}", known.join(", ")))
    }

    /// Notes that labels or joins hang on a column.
    fn mark(&mut self, table: usize, local: Local) {
        if let Local::Column(of) = local {
            self.drafts[table].columns[usize::from(of)].structural = true;
        }
    }

    fn number(&mut self, at: usize, place: &Text) -> Result<Number> {
        let name = place.value.as_str();
        let dotted_column = self.drafts[at].names.contains_key(name);
        let (table, name, join) = match name.split_once('.') {
            Some((join, rest)) if !dotted_column => {
                let (number, table) = self.joined(at, place, join)?;
                (table, rest, Some(number))
            }
            _ => (at, name, None),
        };
        match (self.local(table, name), join) {
            (Some(Local::Column(of)), join) if !self.drafts[table].columns[usize::from(of)].text => {
                Ok(match join {
                    None => Number::Own(of),
                    Some(join) => {
                        self.drafts[table].columns[usize::from(of)].keep = true;
                        Number::Joined(join, of)
                    }
                })
            }
            (Some(Local::Part(of)), None) => Ok(Number::Part(of)),
            (Some(_), _) => {
                let what = format!("{:?} is a text where a number is wanted", place.value);
                Err(self.err(at, place, what, "read the column as a number, with a pattern if it is a text"))
            }
            (None, _) => Err(self.unknown(at, table, place, name)),
        }
    }

    fn derived(&mut self, at: usize, text: &format::Derived) -> Result<Derived> {
        let pattern = text.pattern.as_ref().map(|pattern| self.capturing(at, pattern)).transpose()?;
        let how = match (pattern, &text.format, &text.glue) {
            (None, None, None) => How::First,
            (Some(pattern), None, None) => How::TakeOut(pattern),
            (Some(pattern), Some(format), None) => How::Fill(pattern, format.value.clone().into_bytes()),
            (None, None, Some(glue)) => How::Glue(glue.value.as_str().into()),
            _ => {
                let hint = "give `pattern`, `pattern` and `format`, or `glue`";
                return Err(self.err(at, &text.from, "these do not go together".into(), hint));
            }
        };
        Ok(Derived { sources: self.sources(at, &text.from)?, how })
    }

    fn identity(&mut self, at: usize, identity: &format::Identity) -> Result<Identity> {
        let Some(Local::Part(part)) = self.local(at, &identity.index.value) else {
            let what = format!("{:?} is no part of the index", identity.index.value);
            return Err(self.err(at, &identity.index, what, "name one that stands under `index`"));
        };
        let key = self.sources(at, &identity.key)?;
        let shown = identity.shown.as_ref().map(|shown| self.sources(at, shown)).transpose()?;
        Ok(Identity { part, shown: shown.unwrap_or_else(|| key.clone()), key })
    }

    fn labels(&mut self, at: usize, labels: &Pairs<Text>) -> Result<Vec<Label>> {
        let mut out = Vec::new();
        for (name, sources) in &labels.0 {
            self.check_label(at, name)?;
            out.push(Label { name: name.value.as_str().into(), sources: self.sources(at, sources)? });
        }
        Ok(out)
    }

    fn check_label(&self, at: usize, name: &Text) -> Result<()> {
        let text = name.value.as_str();
        if !is_label_name(text)
            || text.starts_with("__")
            || matches!(text, "job" | "instance" | "region" | "site" | "agent")
        {
            let what = format!("{text:?} cannot be a label here");
            return Err(self.err(
                at,
                name,
                what,
                "use letters, digits and _; job, instance, region, site and agent are set elsewhere",
            ));
        }
        Ok(())
    }

    fn conditions(&mut self, at: usize, list: &[format::Condition]) -> Result<Vec<Condition>> {
        if list.len() > limits::CONDITIONS_MAX {
            let what =
                format!("{} conditions in one list are more than {}", list.len(), limits::CONDITIONS_MAX);
            return Err(self.err(at, &self.drafts[at].raw.name, what, "use `any` or fewer"));
        }
        let mut out = Vec::new();
        for condition in list {
            self.condition(at, condition, &mut out)?;
        }
        Ok(out)
    }

    fn condition(&mut self, at: usize, raw: &format::Condition, out: &mut Vec<Condition>) -> Result<()> {
        let before = out.len();
        if let Some(lists) = &raw.any {
            if lists.len() > limits::CONDITIONS_MAX {
                return Err(self.err(
                    at,
                    &self.drafts[at].raw.name,
                    "too many lists in `any`".into(),
                    "use fewer",
                ));
            }
            out.push(Condition::Any(
                lists.iter().map(|list| self.conditions(at, list)).collect::<Result<_>>()?,
            ));
        }
        let Some(of) = &raw.of else {
            return if out.len() > before { Ok(()) } else { Err(self.empty_condition(at)) };
        };
        for (pattern, wanted) in [(&raw.matches, true), (&raw.matches_not, false)] {
            if let Some(pattern) = pattern {
                let pattern = self.pattern(at, pattern)?;
                out.push(Condition::Matches { of: self.sources(at, of)?, pattern, wanted });
            }
        }
        if let Some(wanted) = raw.known {
            out.push(Condition::Known { of: self.number(at, of)?, wanted });
        }
        for (values, wanted) in [(&raw.is, true), (&raw.is_not, false)] {
            if let Some(values) = values {
                out.push(Condition::Is { of: self.number(at, of)?, values: values.clone(), wanted });
            }
        }
        if raw.at_least.is_some() || raw.at_most.is_some() {
            let of = self.reading(at, of, raw.unit.as_ref(), None)?.0;
            let (least, most) =
                (raw.at_least.unwrap_or(f64::NEG_INFINITY), raw.at_most.unwrap_or(f64::INFINITY));
            out.push(Condition::Within { of, least, most });
        }
        if let Some(near) = &raw.near {
            let (of, unit) = self.reading(at, of, raw.unit.as_ref(), None)?;
            let other = self.reading(at, near, raw.near_as.as_ref(), unit)?.0;
            out.push(Condition::Near { of, other, within: raw.within.unwrap_or(0.0) });
        }
        if let Some([low, high]) = &raw.between {
            let (of, unit) = self.reading(at, of, raw.unit.as_ref(), None)?;
            let low = self.reading(at, low, raw.between_as.as_ref(), unit)?.0;
            let high = self.reading(at, high, raw.between_as.as_ref(), unit)?.0;
            out.push(Condition::Between { of, low, high, margin: raw.margin.unwrap_or(0.0) });
        }
        if out.len() > before {
            Ok(())
        } else {
            Err(self.err(at, of, "this condition asks nothing".into(), CONDITION_HINT))
        }
    }

    fn empty_condition(&self, at: usize) -> ProfileError {
        self.err(
            at,
            &self.drafts[at].raw.name,
            "a condition of this table has neither `of` nor `any`".into(),
            CONDITION_HINT,
        )
    }

    /// A number in a unit, and the unit in which it is compared.
    fn reading(
        &mut self,
        at: usize,
        of: &Text,
        unit: Option<&Text>,
        with: Option<Unit>,
    ) -> Result<(Reading, Option<Unit>)> {
        let number = self.number(at, of)?;
        let Some(unit) = unit else {
            return Ok((Reading { of: number, conversion: Conversion::NONE }, None));
        };
        let from = self.unit(at, unit)?;
        let to = with.unwrap_or_else(|| from.comparable());
        let conversion =
            from.to(to).map_err(|what| self.err(at, unit, what, "compare what can be compared"))?;
        Ok((Reading { of: number, conversion }, Some(to)))
    }

    fn unit(&self, at: usize, unit: &Text) -> Result<Unit> {
        Unit::parse(&unit.value).map_err(|what| self.err(at, unit, what, "write a unit such as `0.01 dBm`"))
    }

    fn encoding(&mut self, at: usize, name: &Text, cases: &[format::Case]) -> Result<Vec<Case>> {
        if cases.is_empty() || cases.len() > limits::CASES_MAX {
            let what = format!("an encoding has 1 to {} cases", limits::CASES_MAX);
            return Err(self.err(at, name, what, "write each as {name, when, units}"));
        }
        let mut out = Vec::new();
        for case in cases {
            if case.when.is_empty() {
                let what = format!("the case {:?} has no condition", case.name.value);
                return Err(self.err(at, &case.name, what, "say under `when` how a row shows its encoding"));
            }
            out.push(Case { when: self.conditions(at, &case.when)? });
        }
        Ok(out)
    }

    fn family(
        &mut self,
        at: usize,
        place: &Text,
        name: &str,
        kind: MetricKind,
        help: Option<&str>,
    ) -> Result<u16> {
        if !is_metric_name(name) || name.len() > limits::NAME_BYTES_MAX {
            return Err(self.err(
                at,
                place,
                format!("{name:?} is no metric's name"),
                "use letters, digits and _",
            ));
        }
        let shared =
            || self.parts.iter().flat_map(|part| &part.file.help.0).find(|(known, _)| known.value == name);
        let help = help.or_else(|| shared().map(|(_, help)| help.value.as_str()));
        if let Some(&known) = self.by_name.get(name) {
            let family = &mut self.families[usize::from(known)];
            if family.metadata.kind != kind {
                let what = format!("{name:?} is a {} elsewhere in this profile", family.metadata.kind);
                return Err(self.err(at, place, what, "give it the same kind everywhere"));
            }
            if let (true, Some(help)) = (family.metadata.help.is_empty(), help) {
                family.metadata =
                    Arc::new(MetricMetadata { kind, help: help.to_owned(), unit: String::new() });
            }
            return Ok(known);
        }
        let ordinal = u16::try_from(self.families.len());
        let ordinal =
            ordinal.map_err(|_| self.err(at, place, "too many metrics".into(), "split the profile"))?;
        let metadata =
            MetricMetadata { kind, help: help.unwrap_or_default().to_owned(), unit: String::new() };
        self.families.push(Family { name: name.into(), metadata: Arc::new(metadata), ordinal });
        self.by_name.insert(name.to_owned(), ordinal);
        Ok(ordinal)
    }

    fn metric(&mut self, at: usize, raw: &format::Metric, out: &mut Vec<Metric>) -> Result<()> {
        let kind = raw.kind.as_ref().map_or("gauge", |kind| kind.value.as_str());
        let Some((metric_kind, states)) = name_of_kind(kind) else {
            let place = raw.kind.as_ref().expect("gauge is a kind");
            return Err(self.err(
                at,
                place,
                format!("{kind:?} is no kind"),
                "write gauge, counter, info or stateset",
            ));
        };
        let help = raw.help.as_ref().map(|help| help.value.as_str());
        let family = self.family(at, &raw.name, &raw.name.value, metric_kind, help)?;
        let labels = self.labels(at, &raw.labels)?;
        let mut set: Vec<(Box<str>, Box<str>)> = Vec::new();
        for (name, text) in &raw.set.0 {
            self.check_label(at, name)?;
            set.push((name.value.as_str().into(), text.value.as_str().into()));
        }
        let (when_texts, when) =
            self.conditions(at, &raw.when)?.into_iter().partition(Condition::is_of_texts);
        let what = if kind == "info" {
            if raw.value.is_some() || raw.labels.0.is_empty() {
                let hint = "give it `labels` and no `value`; `when` says which rows have it";
                return Err(self.err(
                    at,
                    &raw.name,
                    "an info metric is 1 and says something by its labels".into(),
                    hint,
                ));
            }
            What::Info
        } else if let Some(holds) = &raw.holds {
            self::holds(self.conditions(at, holds)?)
        } else {
            self.reckoning(at, raw)?
        };
        if states {
            return self.states(at, raw, family, &set, out);
        }
        out.push(Metric { family, set, labels, when_texts, when, what });
        Ok(())
    }

    /// One metric a state, as snmp_exporter's EnumAsStateSet writes them.
    fn states(
        &mut self,
        at: usize,
        raw: &format::Metric,
        family: u16,
        set: &[(Box<str>, Box<str>)],
        out: &mut Vec<Metric>,
    ) -> Result<()> {
        let value = raw.value.as_ref().expect("reckoning() wants one");
        let names = self.drafts[at]
            .columns
            .iter()
            .find(|column| column.name == value.value)
            .and_then(|column| column.raw?.names.as_ref());
        let Some(names) = names else {
            return Err(self.err(
                at,
                value,
                "a state set wants a column with an `enum`".into(),
                "add it to the column",
            ));
        };
        for (number, state) in &self.enumeration(at, names)?.names {
            let mut set = set.to_vec();
            set.push((raw.name.value.as_str().into(), state.clone()));
            let What::Plain(column) = self.reckoning(at, raw)? else {
                return Err(self.err(
                    at,
                    value,
                    "a state set takes the number as it is".into(),
                    "remove units and operations",
                ));
            };
            let reckoning = Reckoning {
                value: Number::Own(column),
                conversion: Convert::Always(Conversion::NONE),
                scale: None,
                times: None,
                plus: None,
                floor: None,
                bounds: None,
                last: Last::Is(vec![*number as f64]),
            };
            let (when_texts, when) =
                self.conditions(at, &raw.when)?.into_iter().partition(Condition::is_of_texts);
            let labels = self.labels(at, &raw.labels)?;
            out.push(Metric {
                family,
                set,
                labels,
                when_texts,
                when,
                what: What::Number(Box::new(reckoning)),
            });
        }
        Ok(())
    }

    fn reckoning(&mut self, at: usize, raw: &format::Metric) -> Result<What> {
        let Some(value) = &raw.value else {
            let hint = "give it `value: COLUMN`, `holds: […]`, or `kind: info`";
            return Err(self.err(at, &raw.name, format!("{:?} has no value", raw.name.value), hint));
        };
        let number = self.number(at, value)?;
        let conversion = self.convert(at, raw)?;
        let scale = raw.scale.as_ref().map(|scale| self.scale(at, scale)).transpose()?;
        let times = raw.times.as_ref().map(|times| self.number(at, times)).transpose()?;
        let plus = raw.plus.as_ref().map(|plus| self.number(at, plus)).transpose()?;
        let bounds = raw.bounds.map(|[low, high]| (low, high));
        if bounds.is_some_and(|(low, high)| low.partial_cmp(&high) != Some(std::cmp::Ordering::Less)) {
            return Err(self.err(
                at,
                &raw.name,
                "nothing lies between these bounds".into(),
                "write [LOW, HIGH]",
            ));
        }
        let last = match (raw.above, &raw.is) {
            (None, None) => Last::Itself,
            (Some(limit), None) => Last::Above(limit),
            (None, Some(values)) => Last::Is(values.clone()),
            _ => {
                return Err(self.err(
                    at,
                    &raw.name,
                    "`above` and `is` exclude each other".into(),
                    "keep one",
                ));
            }
        };
        if let (
            Number::Own(column),
            Convert::Always(Conversion::NONE),
            None,
            None,
            None,
            None,
            None,
            Last::Itself,
        ) = (number, &conversion, &scale, times, plus, raw.floor, bounds, &last)
        {
            return Ok(What::Plain(column));
        }
        Ok(What::Number(Box::new(Reckoning {
            value: number,
            conversion,
            scale,
            times,
            plus,
            floor: raw.floor,
            bounds,
            last,
        })))
    }

    fn convert(&mut self, at: usize, raw: &format::Metric) -> Result<Convert> {
        let one_way = |from: Unit, place: &Text, to: Unit| {
            from.to(to).map_err(|what| self.err(at, place, what, "give units of one kind, or watts and dBm"))
        };
        match (&raw.from, &raw.encoding, &raw.unit, &raw.to) {
            (None, None, None, None) => Ok(Convert::Always(Conversion::NONE)),
            (Some(from), None, None, Some(to)) => {
                Ok(Convert::Always(one_way(self.unit(at, from)?, from, self.unit(at, to)?)?))
            }
            (None, Some(encoding), Some(unit), Some(to)) => {
                let to = self.unit(at, to)?;
                let list = &self.drafts[at].raw.encodings.0;
                let Some(number) = list.iter().position(|(name, _)| name.value == encoding.value) else {
                    let what = format!("there is no encoding {:?}", encoding.value);
                    return Err(self.err(at, encoding, what, "write it under `encodings` of this table"));
                };
                let mut cases = Vec::new();
                for case in &list[number].1 {
                    let from = case.units.0.iter().find(|(name, _)| name.value == unit.value);
                    let of = |pairs: &Pairs<Vec<f64>>| {
                        let found = pairs.0.iter().find(|(name, _)| name.value == unit.value);
                        found.map(|(_, numbers)| numbers.clone()).unwrap_or_default()
                    };
                    let (nulls, darks) = (of(&case.nulls), of(&case.dark));
                    let conversion =
                        from.map(|(_, from)| one_way(self.unit(at, from)?, from, to)).transpose()?;
                    cases.push(conversion.map(|conversion| CaseUnit { conversion, nulls, darks }));
                }
                if cases.iter().all(Option::is_none) {
                    let what = format!("no case of {:?} has a unit {:?}", encoding.value, unit.value);
                    return Err(self.err(at, unit, what, "name it under `units` of a case"));
                }
                Ok(Convert::ByCase { encoding: number as u16, cases })
            }
            _ => {
                let hint = "give `from` and `to`, or `encoding`, `unit` and `to`, or none of them";
                Err(self.err(at, &raw.name, "the units are incomplete".into(), hint))
            }
        }
    }

    fn scale(&mut self, at: usize, scale: &format::Scale) -> Result<Scale> {
        let by = scale.by.as_ref().map(|by| self.number(at, by)).transpose()?;
        let digits = scale.digits.as_ref().map(|digits| self.number(at, digits)).transpose()?;
        if by.is_some() == scale.exponents.is_empty()
            || scale.exponents.values().any(|exponent| exponent.abs() > 30)
        {
            let place = scale.by.as_ref().or(scale.digits.as_ref()).unwrap_or(&self.drafts[at].raw.name);
            let hint = "give `by: COLUMN` and `exponents: {NUMBER: POWER OF TEN}`, from -30 to 30";
            return Err(self.err(at, place, "the scale is incomplete".into(), hint));
        }
        Ok(Scale {
            by,
            exponents: scale.exponents.iter().map(|(number, exponent)| (*number, *exponent)).collect(),
            digits,
        })
    }
}

const CONDITION_HINT: &str =
    "write {of: COLUMN} with is, is_not, at_least, at_most, near, between, known, matches or matches_not";

fn holds(conditions: Vec<Condition>) -> What {
    let mut numbers = Vec::new();
    conditions.iter().for_each(|condition| condition.numbers(&mut numbers));
    What::Holds { conditions, numbers }
}

/// Which columns read each walked one.
fn walked(columns: &[DraftColumn<'_>]) -> Vec<(u16, u16)> {
    let mut out: Vec<(u16, u16)> = Vec::new();
    for (at, column) in columns.iter().enumerate() {
        let same = at > 0 && columns[at - 1].path == column.path;
        match out.last_mut() {
            Some(last) if same => last.1 += 1,
            _ => out.push((at as u16, at as u16 + 1)),
        }
    }
    out
}

/// Compiles a pattern within its bounds. Patterns match bytes; classes such as `\d` are ASCII.
pub(crate) fn pattern(source: &Source1, text: &Text) -> Result<Regex> {
    if text.value.len() > limits::PATTERN_BYTES_MAX {
        let what = format!("a pattern has at most {} bytes", limits::PATTERN_BYTES_MAX);
        return Err(fault(&source.name, text, what, "shorten it"));
    }
    let mut builder = RegexBuilder::new(&text.value);
    let built = builder.unicode(false).size_limit(limits::PATTERN_COMPILED_BYTES_MAX).build();
    built.map_err(|error| {
        let error = error.to_string();
        let why = error.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        fault(
            &source.name,
            text,
            format!("{:?} is no pattern: {why}", text.value),
            "see docs.rs/regex for what it may say",
        )
    })
}
