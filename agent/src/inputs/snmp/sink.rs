//! From a profile's values to the target's series: labels once for each series, then a handle that costs no hash.

use std::collections::BTreeMap;

use model::{Labels, METRIC_NAME};
use profiles::{Family, Handle, Reason, Sink};
use regex::Regex;

use super::polls::Polls;
use super::{Memory, own};
use crate::relabel::Rules;
use crate::series::{Described, Put, Round, SeriesId, Stamp};

/// Values that were withheld since the device is known, by metric and reason.
#[derive(Debug, Default)]
pub(super) struct Refused {
    by_profile: BTreeMap<(u16, Reason), (std::sync::Arc<str>, u64)>,
    /// Of two rows with the same labels the first counts.
    duplicates: BTreeMap<Box<str>, u64>,
}

impl Refused {
    fn add(&mut self, family: &Family, reason: Reason) {
        self.by_profile.entry((family.ordinal, reason)).or_insert_with(|| (family.name.clone(), 0)).1 += 1;
    }

    fn add_duplicate(&mut self, name: &str) {
        match self.duplicates.get_mut(name) {
            Some(count) => *count += 1,
            None => drop(self.duplicates.insert(name.into(), 1)),
        }
    }

    pub(super) fn report(&self, round: &mut Round<'_>) {
        for ((_, reason), (name, count)) in &self.by_profile {
            round.metric(&own::VALUES_REFUSED, &[name, reason.as_str()], *count as f64);
        }
        for (name, count) in &self.duplicates {
            round.metric(&own::VALUES_REFUSED, &[name, "duplicate"], *count as f64);
        }
    }
}

/// Numbers the stamps of a series table.
#[derive(Debug, Default)]
pub(super) struct Stamps {
    last: Option<Stamp>,
    number: u64,
}

impl Stamps {
    fn number(&mut self, stamp: Stamp) -> u64 {
        if self.last.replace(stamp) != Some(stamp) {
            self.number += 1;
        }
        self.number
    }
}

/// Takes one round's values.
pub(super) struct Values<'a, 'r> {
    round: &'a mut Round<'r>,
    polls: &'a mut Polls,
    refused: &'a mut Refused,
    rules: &'a Rules,
    exclude: Option<&'a Regex>,
    memory: &'a Memory,
    device: &'a str,
    stamp: u64,
    table: usize,
}

/// What stays the same for a device.
pub(super) struct Ways<'a> {
    pub(super) rules: &'a Rules,
    pub(super) exclude: Option<&'a Regex>,
    pub(super) memory: &'a Memory,
    pub(super) device: &'a str,
}

impl<'a, 'r> Values<'a, 'r> {
    pub(super) fn new(
        round: &'a mut Round<'r>,
        polls: &'a mut Polls,
        refused: &'a mut Refused,
        stamps: &mut Stamps,
        ways: &Ways<'a>,
    ) -> Self {
        let stamp = stamps.number(round.stamp());
        let Ways { rules, exclude, memory, device } = *ways;
        Self { round, polls, refused, rules, exclude, memory, device, stamp, table: 0 }
    }

    fn describe(rules: &Rules, base: &Labels, family: &Family, own: &[(&str, &str)]) -> Option<Described> {
        let mut labels = base.to_builder();
        labels.set(METRIC_NAME, &family.name);
        for (name, text) in own {
            labels.set(name, text);
        }
        if !rules.apply(&mut labels) {
            return None;
        }
        labels.retain(|name, _| name == METRIC_NAME || !name.starts_with("__"));
        let labels = labels.build();
        // Rules that take the name away leave nothing that could be stored.
        labels.metric_name()?;
        Some(Described { labels, metadata: Some(family.metadata.clone()) })
    }
}

impl Sink for Values<'_, '_> {
    fn stamp(&self) -> u64 {
        self.stamp
    }

    fn table(&mut self, table: usize) {
        self.table = table;
    }

    fn series(&mut self, family: &Family, labels: &[(&str, &str)]) -> Option<Handle> {
        let described = Self::describe(self.rules, self.round.base(), family, labels)?;
        let id = self.round.series(&described)?;
        let number = id.number();
        (number < Handle::MAX).then_some(Handle(number))
    }

    fn value(&mut self, handle: Handle, value: f64) {
        let id = SeriesId::from_number(handle.0);
        match self.round.put_again(id, value) {
            Put::Kept => self.polls.hold(self.table, id, value),
            Put::Duplicate => self.refused.add_duplicate(self.round.metric_name(id)),
            Put::KeptNew | Put::Dropped | Put::Refused => {}
        }
    }

    fn refused(&mut self, family: &Family, reason: Reason) {
        self.refused.add(family, reason);
    }

    fn first_indices(&mut self, rows: &[(u32, &str)]) -> Vec<u32> {
        self.memory.first_indices(self.device, rows, self.round.timestamp())
    }

    fn wanted(&mut self, shown: &str) -> bool {
        self.exclude.is_none_or(|exclude| !exclude.is_match(shown))
    }
}
