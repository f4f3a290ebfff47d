//! Texts and rows behind names: which row a join gives, what text a label has.

use std::collections::HashMap;
use std::fmt::Write;

use ahash::RandomState;
use regex::bytes::Regex;

use crate::condition::Row as ConditionRow;
use crate::evaluator::{MISSING, NO_ROW, State, Work};
use crate::limits::CHAIN_MAX;
use crate::profile::{By, Column, Derived, Form, How, Key, Local, Number, Parse, Part, Profile, Run, Source};
use crate::text;

/// Rows by their index and by their texts, for the tables that joins look into; made anew when something changed.
pub(crate) struct Maps<'a> {
    by_index: Vec<HashMap<&'a [u8], u32, RandomState>>,
    by_text: HashMap<(u16, u16), HashMap<String, u32, RandomState>, RandomState>,
}

/// Reads texts and rows out of the tables' states.
#[derive(Clone, Copy)]
pub(crate) struct Resolver<'a> {
    pub(crate) profile: &'a Profile,
    pub(crate) states: &'a [State],
    /// With maps joins are computed; without them they are taken as they were computed last.
    pub(crate) maps: Option<&'a Maps<'a>>,
}

impl<'a> Maps<'a> {
    pub(crate) fn new(profile: &'a Profile, states: &'a [State]) -> Self {
        let mut maps = Self { by_index: Vec::new(), by_text: HashMap::default() };
        let resolver = Resolver { profile, states, maps: None };
        for (at, (table, state)) in profile.tables.iter().zip(states).enumerate() {
            let mut by_index = HashMap::default();
            if table.found_by_index {
                by_index.extend((0..state.rows.len()).map(|row| (state.index(row), row as u32)));
            }
            maps.by_index.push(by_index);
            for &column in &table.found_by_text {
                let mut by_text: HashMap<String, u32, RandomState> = HashMap::default();
                for row in 0..state.rows.len() {
                    let mut found = String::new();
                    resolver.column(at, row, column, &mut found);
                    if !found.is_empty() {
                        // A text that two rows have leads to neither.
                        by_text.entry(found).and_modify(|known| *known = NO_ROW).or_insert(row as u32);
                    }
                }
                maps.by_text.insert((at as u16, column), by_text);
            }
        }
        maps
    }
}

impl<'a> Resolver<'a> {
    /// The row that a join gives.
    pub(crate) fn join(&self, table: usize, row: usize, join: u16, depth: u8) -> Option<usize> {
        let Some(maps) = self.maps else {
            let joins = self.profile.tables[table].joins.len();
            let found = self.states[table].joined.get(row * joins + usize::from(join)).copied();
            return found.filter(|&found| found != NO_ROW).map(|found| found as usize);
        };
        if depth >= CHAIN_MAX {
            return None;
        }
        let join = &self.profile.tables[table].joins[usize::from(join)];
        let found = match &join.by {
            By::Index(keys) => {
                let mut bytes = Vec::with_capacity(16);
                for key in keys {
                    match key {
                        Key::Literal(arc) => push_arc(&mut bytes, *arc),
                        Key::WholeIndex => bytes.extend_from_slice(self.states[table].index(row)),
                        Key::From(source) => push_arc(&mut bytes, self.arc(table, row, *source, depth)?),
                    }
                }
                maps.by_index[usize::from(join.table)].get(&bytes[..]).copied()?
            }
            By::Text { column, equals } => {
                let mut wanted = String::new();
                self.first(table, row, equals, depth + 1, &mut wanted);
                maps.by_text.get(&(join.table, *column))?.get(&wanted).copied()?
            }
        };
        Some(found as usize).filter(|_| found != NO_ROW)
    }

    /// A source as a number that can be part of an index.
    fn arc(&self, table: usize, row: usize, source: Source, depth: u8) -> Option<u32> {
        let (table, row, local) = self.place(table, row, source, depth)?;
        match local {
            Local::Part(part) => self.part_number(table, row, part),
            Local::Stable => Some(self.states[table].rows[row].stable),
            Local::Column(_) | Local::Derived(_) => {
                let mut shown = String::new();
                self.local(table, row, local, depth + 1, &mut shown);
                shown.parse().ok()
            }
        }
    }

    fn place(&self, table: usize, row: usize, source: Source, depth: u8) -> Option<(usize, usize, Local)> {
        Some(match source {
            Source::Part(at) => (table, row, Local::Part(at)),
            Source::Column(at) => (table, row, Local::Column(at)),
            Source::Derived(at) => (table, row, Local::Derived(at)),
            Source::Stable => (table, row, Local::Stable),
            Source::Joined(join, local) => {
                let found = self.join(table, row, join, depth + 1)?;
                (usize::from(self.profile.tables[table].joins[usize::from(join)].table), found, local)
            }
        })
    }

    /// Writes the first source that is not empty.
    pub(crate) fn first(&self, table: usize, row: usize, sources: &[Source], depth: u8, out: &mut String) {
        let start = out.len();
        for source in sources {
            if let Some((table, row, local)) = self.place(table, row, *source, depth) {
                self.local(table, row, local, depth, out);
            }
            if out.len() > start {
                return;
            }
        }
    }

    fn local(&self, table: usize, row: usize, local: Local, depth: u8, out: &mut String) {
        match local {
            Local::Part(part) => self.part(table, row, part, out),
            Local::Column(column) => self.column(table, row, column, out),
            Local::Stable => {
                write!(out, "{}", self.states[table].rows[row].stable).expect("a String takes all")
            }
            Local::Derived(at) if depth < CHAIN_MAX => {
                let derived = &self.profile.tables[table].derived[usize::from(at)];
                self.derived(table, row, derived, depth + 1, out);
            }
            Local::Derived(_) => {}
        }
    }

    fn derived(&self, table: usize, row: usize, derived: &Derived, depth: u8, out: &mut String) {
        let whole = || {
            let mut whole = String::new();
            self.first(table, row, &derived.sources, depth, &mut whole);
            whole
        };
        match &derived.how {
            How::First => self.first(table, row, &derived.sources, depth, out),
            How::TakeOut(pattern) => take_out(pattern, whole().as_bytes(), out),
            How::Fill(pattern, format) => {
                if let Some(found) = pattern.captures(whole().as_bytes()) {
                    let mut filled = Vec::new();
                    found.expand(format, &mut filled);
                    text::plain(&filled, out);
                }
            }
            How::Glue(glue) => {
                let start = out.len();
                for source in &derived.sources {
                    let before = out.len();
                    out.push_str(if before > start { glue } else { "" });
                    let glued = out.len();
                    self.first(table, row, std::slice::from_ref(source), depth, out);
                    if out.len() == glued {
                        out.truncate(before);
                    }
                }
            }
        }
    }

    fn part_number(&self, table: usize, row: usize, part: u16) -> Option<u32> {
        let Part::Arc { at, shift, mask } = self.profile.tables[table].parts[usize::from(part)] else {
            return None;
        };
        let index = self.states[table].index(row);
        let at =
            if at >= 0 { at as usize } else { arcs(index).count().checked_sub(at.unsigned_abs() as usize)? };
        arcs(index).nth(at).map(|arc| arc >> shift & mask)
    }

    fn part(&self, table: usize, row: usize, part: u16, out: &mut String) {
        let (from, len, form) = match self.profile.tables[table].parts[usize::from(part)] {
            Part::Arc { .. } => {
                if let Some(number) = self.part_number(table, row, part) {
                    write!(out, "{number}").expect("a String takes all");
                }
                return;
            }
            Part::Run { from, len, form } => (from, len, form),
        };
        let index = self.states[table].index(row);
        let from = if from >= 0 {
            from as usize
        } else {
            arcs(index).count().saturating_sub(from.unsigned_abs() as usize)
        };
        let run = arcs(index).skip(from).take(len.map_or(usize::MAX, |len| len as usize));
        match form {
            Run::Dotted => {
                for (at, arc) in run.enumerate() {
                    let dot = if at > 0 { "." } else { "" };
                    write!(out, "{dot}{arc}").expect("a String takes all");
                }
            }
            Run::Text | Run::Mac => {
                let bytes: Vec<u8> = run.map_while(|arc| u8::try_from(arc).ok()).collect();
                if form == Run::Mac { text::mac(&bytes, out) } else { text::plain(&bytes, out) }
            }
        }
    }

    fn column(&self, table: usize, row: usize, column: u16, out: &mut String) {
        let definition = &self.profile.tables[table];
        let column = &definition.columns[usize::from(column)];
        let state = &self.states[table];
        match (column.text, column.keep) {
            (Some(slot), _) => {
                let bytes = state.text(row * usize::from(definition.texts) + usize::from(slot));
                self.form(table, row, column, bytes, out);
            }
            (None, Some(slot)) => {
                number_text(column, state.kept[row * usize::from(definition.kept) + usize::from(slot)], out)
            }
            (None, None) => {}
        }
    }

    fn form(&self, table: usize, row: usize, column: &Column, bytes: &[u8], out: &mut String) {
        let Parse::Text(form) = &column.parse else { return };
        match form {
            Form::Plain(None) => {
                let start = out.len();
                text::plain(bytes, out);
                if let Some(names) = &column.names
                    && let Some(name) = out[start..].parse().ok().and_then(|number| names.name(number))
                {
                    out.truncate(start);
                    out.push_str(name);
                }
            }
            Form::Plain(Some(pattern)) => take_out(pattern, bytes, out),
            Form::Mac => text::mac(bytes, out),
            Form::Hex => text::hex(bytes, out),
            Form::Address => text::address(bytes, out),
            Form::Oid => {
                if let Ok(oid) = snmp::OidRef::from_content(bytes) {
                    write!(out, "{oid}").expect("a String takes all");
                }
            }
            Form::LldpChassis(subtype) => {
                text::lldp(text::LldpKind::of_chassis(self.kept(table, row, *subtype)), bytes, out);
            }
            Form::LldpPort(subtype) => {
                text::lldp(text::LldpKind::of_port(self.kept(table, row, *subtype)), bytes, out)
            }
        }
    }

    /// A number as it was read last.
    pub(crate) fn kept(&self, table: usize, row: usize, column: u16) -> f64 {
        let definition = &self.profile.tables[table];
        let Some(slot) = definition.columns[usize::from(column)].keep else { return MISSING };
        self.states[table].kept[row * usize::from(definition.kept) + usize::from(slot)]
    }
}

/// Decimal digits, or the name that the column's enumeration has for the number.
fn number_text(column: &Column, number: f64, out: &mut String) {
    if number.is_nan() {
        return;
    }
    let whole = number as i64;
    let name = column.names.as_ref().filter(|_| whole as f64 == number).and_then(|names| names.name(whole));
    match name {
        Some(name) => out.push_str(name),
        None => write!(out, "{number}").expect("a String takes all"),
    }
}

/// The first part in parentheses that took part in the match.
pub(crate) fn take_out(pattern: &Regex, bytes: &[u8], out: &mut String) {
    if let Some(part) = captured(pattern, bytes) {
        text::plain(part, out);
    }
}

/// As [`take_out`], as bytes.
pub(crate) fn captured<'b>(pattern: &Regex, bytes: &'b [u8]) -> Option<&'b [u8]> {
    let found = pattern.captures(bytes)?;
    found.iter().skip(1).flatten().next().map(|part| part.as_bytes())
}

/// The arcs in an index's bytes, which were checked when they came.
fn arcs(mut bytes: &[u8]) -> impl Iterator<Item = u32> + '_ {
    std::iter::from_fn(move || {
        let end = bytes.iter().position(|byte| byte & 0x80 == 0)? + 1;
        let arc = bytes[..end].iter().fold(0u32, |arc, byte| arc << 7 | u32::from(byte & 0x7f));
        bytes = &bytes[end..];
        Some(arc)
    })
}

fn push_arc(bytes: &mut Vec<u8>, arc: u32) {
    let groups = (32 - arc.leading_zeros()).div_ceil(7).max(1);
    for group in (0..groups).rev() {
        let more = if group > 0 { 0x80 } else { 0 };
        bytes.push((arc >> (group * 7)) as u8 & 0x7f | more);
    }
}

/// One row as conditions and reckonings see it.
pub(crate) struct View<'a> {
    pub(crate) resolver: Resolver<'a>,
    pub(crate) work: &'a Work,
    pub(crate) table: usize,
    pub(crate) row: usize,
}

impl ConditionRow for View<'_> {
    fn number(&self, number: Number) -> f64 {
        let definition = &self.resolver.profile.tables[self.table];
        match number {
            Number::Own(column) => {
                // Before a round's values are in, what is remembered has to do.
                let at = self.row * definition.columns.len() + usize::from(column);
                self.work.values.get(at).copied().unwrap_or(MISSING)
            }
            Number::Part(part) => {
                self.resolver.part_number(self.table, self.row, part).map_or(MISSING, f64::from)
            }
            Number::Joined(join, column) => match self.resolver.join(self.table, self.row, join, 0) {
                Some(row) => {
                    self.resolver.kept(usize::from(definition.joins[usize::from(join)].table), row, column)
                }
                None => MISSING,
            },
        }
    }

    fn matches(&self, sources: &[Source], pattern: &Regex) -> bool {
        let mut shown = String::new();
        self.resolver.first(self.table, self.row, sources, 0, &mut shown);
        pattern.is_match(shown.as_bytes())
    }
}
