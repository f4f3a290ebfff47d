//! What goes, and when: blocks past their age, the oldest ones where room is short, series that are kept for a shorter time.
//!
//! In: the published blocks, the options, a time that is believed. Out: numbers of blocks that go, floors below which samples of a series
//! no longer count, and a forecast of when the disk will be full. Nothing here touches a file.

use std::sync::Arc;
use std::time::Duration;

use model::{Labels, Matcher};

use crate::block::reader::Block;
use crate::options::Options;
use crate::select::block::Stored as _;
use crate::stats::Forecast;

const DAY_MS: f64 = 86_400_000.0;

/// Blocks of so much time tell what a day takes.
const FORECAST_DAYS: f64 = 3.0;

/// From when on samples are kept.
#[derive(Clone, Debug)]
pub(crate) struct Floors {
    all: i64,
    rules: Vec<(Vec<Matcher>, i64)>,
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl Floors {
    /// At a time that is believed, above a floor.
    pub(crate) fn new(options: &Options, believed: i64, floor: i64) -> Self {
        let rules = options.retention_rules.iter();
        let rules = rules
            .map(|rule| (rule.matchers.clone(), believed.saturating_sub(millis(rule.keep))))
            .filter(|(_, rule_floor)| *rule_floor > floor);
        Self { all: floor, rules: rules.collect() }
    }

    /// The first millisecond that is kept of a series.
    pub(crate) fn of(&self, labels: &Labels) -> i64 {
        let means = |matchers: &[Matcher]| {
            matchers.iter().all(|matcher| matcher.matches(labels.get(matcher.name()).unwrap_or_default()))
        };
        self.rules
            .iter()
            .filter(|(matchers, _)| means(matchers))
            .map(|(_, floor)| *floor)
            .fold(self.all, i64::max)
    }

    /// Whether a whole block is past the time of a rule and holds such series still.
    pub(crate) fn leave_nothing_of_some(&self, block: &Arc<Block>) -> bool {
        let past = self.rules.iter().filter(|(_, floor)| block.meta().max_time < *floor);
        let mut found = past.map(|(matchers, _)| block.index().and_then(|index| index.find(matchers)));
        found.any(|found| found.is_ok_and(|found| !found.is_empty()))
    }
}

/// Blocks that lie wholly below the floor.
pub(crate) fn expired(blocks: &[Arc<Block>], floor: i64) -> Vec<u64> {
    let below = blocks.iter().filter(|block| block.meta().max_time < floor);
    below.map(|block| block.meta().spec.number).collect()
}

/// A block as retention sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Aged {
    pub(crate) max_time: i64,
    pub(crate) bytes: u64,
}

/// The floor that frees so many bytes by whole blocks that end before `keep_from`, or as many as there are.
pub(crate) fn floor_to_free(mut blocks: Vec<Aged>, bytes: u64, keep_from: i64) -> Option<i64> {
    blocks.retain(|block| block.max_time < keep_from);
    blocks.sort_unstable_by_key(|block| block.max_time);
    let (mut floor, mut freed) = (None, 0);
    for block in blocks {
        if freed >= bytes {
            break;
        }
        freed += block.bytes;
        floor = Some(block.max_time.saturating_add(1));
    }
    floor
}

/// What a forecast needs of a block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    pub(crate) min_time: i64,
    pub(crate) max_time: i64,
    pub(crate) bytes: u64,
}

/// When the disk will be full. `room` is what may still be written. A disk that retention keeps from filling is never full.
pub(crate) fn forecast(blocks: &[Extent], retention: Duration, room: u64) -> Option<Forecast> {
    let newest = blocks.iter().map(|block| block.max_time).max()?;
    let oldest = blocks.iter().map(|block| block.min_time).min()?;
    let from = (newest as f64) - FORECAST_DAYS * DAY_MS;
    let (mut bytes, mut first) = (0.0, newest as f64);
    for block in blocks {
        let (min, max) = (block.min_time as f64, block.max_time as f64 + 1.0);
        let part = ((max - min.max(from)) / (max - min)).clamp(0.0, 1.0);
        bytes += block.bytes as f64 * part;
        if part > 0.0 {
            first = first.min(min.max(from));
        }
    }
    let days = (newest as f64 - first) / DAY_MS;
    if days < 1.0 / 48.0 {
        return None;
    }
    let bytes_per_day = bytes / days;
    let held_days = (newest as f64 - oldest as f64) / DAY_MS;
    let days_to_retention = retention.as_secs_f64() / 86_400.0 - held_days;
    let days_until_full = room as f64 / bytes_per_day;
    let is_reached = days_to_retention > days_until_full;
    Some(Forecast { bytes_per_day, days_until_full: is_reached.then_some(days_until_full) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::RetentionRule;

    fn check(bytes: u64, keep_from: i64, expected: Option<i64>) {
        let blocks = [(30, 5), (10, 7), (20, 9)].map(|(max_time, bytes)| Aged { max_time, bytes });
        assert_eq!(floor_to_free(blocks.into(), bytes, keep_from), expected);
    }

    #[test]
    fn the_oldest_blocks_go_first_and_the_latest_stay() {
        check(0, 100, None);
        check(1, 100, Some(11));
        check(8, 100, Some(21));
        check(1000, 100, Some(31));
        check(1000, 30, Some(21));
        check(1, 5, None);
    }

    /// Blocks of so many megabytes, a day each, up to day 0.
    fn days(megabytes: &[u64]) -> Vec<Extent> {
        let day = DAY_MS as i64;
        let block = |(ago, megabytes): (i64, &u64)| Extent {
            min_time: -(ago + 1) * day,
            max_time: -ago * day - 1,
            bytes: megabytes * 1_000_000,
        };
        (0..).zip(megabytes).map(block).collect()
    }

    /// Expects megabytes a day, and days until the disk is full.
    fn check_forecast(blocks: &[Extent], keep_days: u64, room: u64, expected: Option<(u64, Option<u64>)>) {
        let found = forecast(blocks, Duration::from_secs(keep_days * 86_400), room);
        let whole = |number: f64| number.round() as u64;
        let found = found.map(|found| (whole(found.bytes_per_day / 1e6), found.days_until_full.map(whole)));
        assert_eq!(found, expected);
    }

    #[test]
    fn a_full_disk_is_foretold_from_the_last_days_and_never_where_retention_comes_first() {
        let (a_day, hundred) = (2, 100_000_000);
        let steady = days(&[2; 10]);
        check_forecast(&steady, 365, hundred, Some((a_day, Some(50))));
        check_forecast(&steady, 365, 0, Some((a_day, Some(0))));
        // Ten days are held, in fifty the disk would be full: from sixty on it is.
        check_forecast(&steady, 61, hundred, Some((a_day, Some(50))));
        check_forecast(&steady, 59, hundred, Some((a_day, None)));
        check_forecast(&steady, 5, hundred, Some((a_day, None)));
        // What was written long ago says nothing of tomorrow.
        check_forecast(&days(&[2, 2, 2, 900, 900]), 365, hundred, Some((a_day, Some(50))));
        check_forecast(&days(&[4, 2, 6, 0]), 365, hundred, Some((2 * a_day, Some(25))));
        // Nothing is said of a store without blocks, or with minutes of them.
        check_forecast(&[], 365, hundred, None);
        check_forecast(&[Extent { min_time: 0, max_time: 60_000, bytes: 9 }], 365, hundred, None);
    }

    #[test]
    fn a_rule_shortens_and_never_lengthens() {
        let rule = |value: &str, seconds| RetentionRule {
            matchers: vec![Matcher::equal("job", value)],
            keep: Duration::from_secs(seconds),
        };
        let options = Options {
            retention_rules: vec![rule("a", 10), rule("b", 1000), rule("a", 20)],
            ..Options::default()
        };
        let floors = Floors::new(&options, 100_000, 50_000);
        let of = |value: &str| floors.of(&Labels::from_pairs([("job", value)]));
        assert_eq!((of("a"), of("b"), of("c")), (90_000, 50_000, 50_000));
    }
}
