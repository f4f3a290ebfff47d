//! Values that cannot work: a bound of zero, or one beside which another makes no sense.
//!
//! In: sections as they were read. Out: the first mistake, at its field, with what would be right. A limit that would make
//! everything fail is as wrong as one that is no limit.

use std::fmt;
use std::path::Path;

use pantau_agent::settings::Spool;
use settings::{Bytes, Mistake, Span};

use super::Settings;
use crate::storage::{Durability, Rule};
use crate::{api, ingest, server, storage};

/// Rules of retention.
const RULES_MAX: usize = 64;

const SECOND: Span = Span::from_secs(1);
const HOUR: Span = Span::from_secs(3600);
const DAY: Span = Span::from_secs(86_400);
const CENTURY: Span = Span::from_secs(100 * 365 * 86_400);
/// The shortest time in which anything can be done over a network.
const MOMENT: Span = Span::new(std::time::Duration::from_millis(100));

/// Everything that no value shows by its form.
pub(super) fn check(settings: &Settings) -> Result<(), Mistake> {
    check_server(&settings.server).map_err(|mistake| mistake.under("server"))?;
    check_ingest(&settings.ingest).map_err(|mistake| mistake.under("ingest"))?;
    if settings.storage.is_some() && settings.retention.is_some() {
        let why = "it is called `storage` now, which stands in this file too: keep that one";
        return Err(Mistake::at("retention", why));
    }
    let (key, storage) = settings.storage();
    check_storage(&storage).map_err(|mistake| mistake.under(key))?;
    settings.rules.check().map_err(|mistake| mistake.under("rules"))?;
    let log = within("bytes_max", settings.query_log.bytes_max, Bytes::new(64 << 10), Bytes::new(1 << 40));
    log.map_err(|mistake| mistake.under("query_log"))?;
    check_query(&settings.query).map_err(|mistake| mistake.under("query"))
}

fn within<T: PartialOrd + fmt::Display>(key: &str, value: T, least: T, most: T) -> Result<(), Mistake> {
    if least <= value && value <= most {
        return Ok(());
    }
    Err(Mistake::at(key, format!("{value} is out of bounds: write {least} to {most}")))
}

fn check_server(config: &server::Config) -> Result<(), Mistake> {
    within("head_timeout", config.head_timeout, MOMENT, HOUR)?;
    within("body_timeout", config.body_timeout, MOMENT, DAY)?;
    within("stall_timeout", config.stall_timeout, MOMENT, HOUR)?;
    within("idle_timeout", config.idle_timeout, MOMENT, DAY)?;
    within("shutdown_timeout", config.shutdown_timeout, Span::default(), HOUR)
}

fn check_ingest(config: &ingest::Config) -> Result<(), Mistake> {
    within("body_max", config.body_max, Bytes::new(64 << 10), Bytes::new(1 << 30))?;
    within("unpacked_max", config.unpacked_max, config.body_max, Bytes::new(4 << 30))?;
    within("bodies_max", config.bodies_max, config.body_max, Bytes::new(1 << 40))?;
    let spool = Span::new(Spool::AGE_MAX);
    if config.accepted_age < spool {
        let why = format!(
            "{} is too short: agents keep for {spool} what they could not send, and it would be refused for ever; write {spool} or more",
            config.accepted_age
        );
        return Err(Mistake::at("accepted_age", why));
    }
    within("accepted_age", config.accepted_age, spool, CENTURY)?;
    // Clocks that agree to a second are good ones; what lies a day ahead hides what is true now.
    within("accepted_ahead", config.accepted_ahead, SECOND, DAY)
}

fn check_storage(config: &storage::Config) -> Result<(), Mistake> {
    let (mebibyte, pebibyte) = (Bytes::new(1 << 20), Bytes::new(1 << 50));
    within("time", config.time, HOUR, CENTURY)?;
    within("memory_max", config.memory_max, Bytes::new(16 << 20), pebibyte)?;
    if let Some(disk_max) = config.disk_max {
        within("disk_max", disk_max, Bytes::new(64 << 20), pebibyte)?;
    }
    within("cache_max", config.cache_max, mebibyte, pebibyte)?;
    let compaction = |mistake: Mistake| mistake.under("compaction");
    within("bytes_per_second", config.compaction.bytes_per_second, mebibyte, pebibyte).map_err(compaction)?;
    if let Durability::Interval(interval) = config.durability {
        // What a power cut takes: more than a minute of it nobody means.
        let longest = Span::from_secs(60);
        let durability = |mistake: Mistake| mistake.under("durability");
        within("interval", interval, Span::new(std::time::Duration::from_millis(1)), longest)
            .map_err(durability)?;
    }
    check_rules(&config.retention).map_err(|mistake| mistake.under("retention"))?;
    if let Some(disk_max) = config.disk_max.filter(|disk_max| config.disk_reserve > *disk_max) {
        let why = format!(
            "{} is more than disk_max, {disk_max}: it is what stays free for others while the store grows; write less, such as 64MiB",
            config.disk_reserve
        );
        return Err(Mistake::at("disk_reserve", why));
    }
    Ok(())
}

fn check_rules(rules: &[Rule]) -> Result<(), Mistake> {
    for (index, rule) in rules.iter().enumerate() {
        if index >= RULES_MAX {
            let why =
                format!("more than {RULES_MAX} rules: every sample that is compacted is held against each");
            return Err(Mistake::new(why).item(index));
        }
        within("time", rule.time, HOUR, CENTURY).map_err(|mistake| mistake.item(index))?;
    }
    Ok(())
}

fn check_query(config: &api::Config) -> Result<(), Mistake> {
    within("timeout", config.timeout, MOMENT, DAY)?;
    within("lookback", config.lookback, SECOND, DAY)?;
    within("samples_max", config.samples_max, 1000, 10_000_000_000)?;
    if let Some(most) = config.memory_max {
        within("memory_max", most, Bytes::new(1 << 20), Bytes::new(1 << 50))?;
    }
    within("series_max", config.series_max, 1, 100_000_000)?;
    within("concurrent_max", config.concurrent_max, 1, 1000)
}

/// Whether the disk on which the data will be is larger than what must stay free on it.
pub(super) fn check_disk(config: &storage::Config, data: &Path) -> Result<(), Mistake> {
    let absolute = std::path::absolute(data).unwrap_or_else(|_| data.to_owned());
    let there = absolute.ancestors().find(|folder| folder.exists());
    // Who cannot be asked refuses nothing.
    let Some(Ok(disk)) = there.map(rustix::fs::statvfs) else { return Ok(()) };
    let size = disk.f_blocks.saturating_mul(disk.f_frsize);
    if config.disk_reserve.get() < size {
        return Ok(());
    }
    let why = format!(
        "{} are to stay free, but the whole disk of {} has {size} bytes: nothing could be written",
        config.disk_reserve,
        data.display()
    );
    Err(Mistake::at("disk_reserve", why))
}
