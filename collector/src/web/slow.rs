//! Which devices are slowest to answer, from what each agent says of its own ten slowest.

use std::time::Duration;

use model::{
    Columns, Labels, METRIC_NAME, Matcher, Selection, SeriesSource, SourceError, Timestamp, is_stale,
};

/// What agents say of their slowest devices.
const METRIC: &str = "pantau_snmp_slowest_device_seconds";
/// Devices on the page.
const SLOWEST: usize = 10;
/// Agents say it every 15 s; of one that says it no more nothing is known.
const FRESH: Duration = Duration::from_secs(120);

/// A device, by its labels, and how long its last round took.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Slow {
    pub(super) labels: Labels,
    pub(super) seconds: f64,
}

/// The slowest of all agents, slowest first.
pub(super) fn slowest(source: &dyn SeriesSource, at: Timestamp) -> Result<Vec<Slow>, SourceError> {
    let mut slowest = Vec::with_capacity(SLOWEST + 1);
    let mut columns = Columns::default();
    let matchers = [Matcher::equal(METRIC_NAME, METRIC)];
    let mut set = source.select(&Selection { matchers: &matchers, start: at - FRESH, end: at })?;
    while set.advance()? {
        set.read(&mut columns)?;
        let latest = columns.iter().last().map(|sample| sample.value);
        if let Some(seconds) = latest.filter(|value| !is_stale(*value) && value.is_finite()) {
            rank(&mut slowest, set.labels(), seconds);
        }
    }
    Ok(slowest)
}

fn rank(slowest: &mut Vec<Slow>, labels: &Labels, seconds: f64) {
    let place = slowest.partition_point(|other| other.seconds >= seconds);
    if place < SLOWEST {
        slowest.insert(place, Slow { labels: labels.clone(), seconds });
        slowest.truncate(SLOWEST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ten_slowest_of_all_agents_stand_in_order() {
        let mut slowest = Vec::new();
        for number in 0..30_u32 {
            let name = format!("sw{number}");
            rank(&mut slowest, &Labels::from_pairs([("device", &*name)]), f64::from(number * 7 % 30));
        }
        let seconds: Vec<f64> = slowest.iter().map(|slow| slow.seconds).collect();
        assert_eq!(seconds, [29.0, 28.0, 27.0, 26.0, 25.0, 24.0, 23.0, 22.0, 21.0, 20.0]);
        assert_eq!(slowest[0].labels.get("device"), Some("sw17"));
    }
}
