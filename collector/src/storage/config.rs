//! The section `storage`: how long and how much is kept, how sure a write is before it is answered, what upkeep may cost.

use journal::SyncPolicy;
use model::Matcher;
use serde::Deserialize;
use settings::{Bytes, Span};
use tsdb::{Options, RetentionRule};

use crate::settings::Within;

/// How long and how much is kept.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Samples older than this go; 2 years by default.
    pub time: Span,
    /// Disk for the store, journal and blocks together; past it the oldest blocks go. By default as far as the disk goes.
    pub disk_max: Option<Bytes>,
    /// Disk that is left free for others: below it the oldest blocks go, then writes are refused until there is room. 256 MiB by
    /// default.
    pub disk_reserve: Bytes,
    /// Memory for samples that are in no block yet, labels and index; past it blocks are written early, then new series are refused.
    /// 1 GiB by default.
    pub memory_max: Bytes,
    /// Series that are written to; past it new ones are refused. 1,000,000 by default.
    pub series_max: Within<1, 100_000_000>,
    /// When a write is answered; after its fsync by default.
    pub durability: Durability,
    /// Series that are kept for a shorter time than the rest; of several rules that fit the shortest counts.
    pub retention: Vec<Rule>,
    /// Exemplars that are kept, all series together; the oldest go. 100,000 by default.
    pub exemplars_max: Within<0, 10_000_000>,
    /// Memory for what is read from blocks again and again. 128 MiB by default.
    pub cache_max: Bytes,
    /// What making large blocks of small ones may cost.
    pub compaction: Compaction,
}

/// When a write is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// After its group's fsync: a power cut loses nothing that was answered.
    #[default]
    Sync,
    /// Once the operating system has it; the fsync follows at most so much later, and a power cut loses as much.
    Interval(Span),
}

/// Series that are kept for a shorter time.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Which series, as a selector of PromQL.
    #[serde(rename = "match")]
    pub selector: Selector,
    /// How long they are kept.
    pub time: Span,
}

/// A selector of series, as text and as what it means.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Selector {
    text: String,
    matchers: Vec<Matcher>,
}

impl Selector {
    /// What it asks of a series.
    pub fn matchers(&self) -> &[Matcher] {
        &self.matchers
    }
}

impl PartialEq for Selector {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl TryFrom<String> for Selector {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match promql::parse_matchers(&text) {
            Ok(matchers) => Ok(Self { text, matchers }),
            Err(error) => Err(format!(
                "{text:?} selects no series: {error}; write as in a query, such as '{{job=\"snmp\"}}' or '{{__name__=~\"snmp_.*\"}}'"
            )),
        }
    }
}

/// What making large blocks of small ones may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Compaction {
    /// Bytes read and written in a second. 32 MiB by default.
    pub bytes_per_second: Bytes,
    /// Share of one processor, in percent. 50 by default.
    pub cpu_percent: Within<1, 100>,
}

impl Default for Compaction {
    fn default() -> Self {
        Self { bytes_per_second: Bytes::new(32 << 20), cpu_percent: Within::new(50) }
    }
}

impl Default for Config {
    fn default() -> Self {
        let options = Options::default();
        Self {
            time: Span::from_secs(2 * 365 * 86_400),
            disk_max: None,
            disk_reserve: Bytes::new(256 << 20),
            memory_max: Bytes::new(options.head_bytes_max as u64),
            series_max: Within::new(options.series_max as u64),
            durability: Durability::default(),
            retention: Vec::new(),
            exemplars_max: Within::new(100_000),
            cache_max: Bytes::new(128 << 20),
            compaction: Compaction::default(),
        }
    }
}

impl Config {
    /// As the store's options.
    pub fn options(&self) -> Options {
        let usual = Options::default();
        let disk_max = self.disk_max.map_or(u64::MAX, Bytes::get);
        let journal_bytes_max = usual.journal_bytes_max.min(disk_max);
        let rule =
            |rule: &Rule| RetentionRule { matchers: rule.selector.matchers.clone(), keep: rule.time.get() };
        Options {
            retention: self.time.get(),
            retention_rules: self.retention.iter().map(rule).collect(),
            store_bytes_max: disk_max,
            head_bytes_max: in_memory(self.memory_max),
            cache_bytes_max: in_memory(self.cache_max),
            journal_bytes_max,
            reserve_bytes: self.disk_reserve.get(),
            series_max: self.series_max.as_usize(),
            exemplars_max: self.exemplars_max.as_usize(),
            // A small disk gets smaller segments, so that there are always some to remove.
            segment_bytes: usual.segment_bytes.min(journal_bytes_max / 8).max(4096),
            sync: match self.durability {
                Durability::Sync => SyncPolicy::Always,
                Durability::Interval(interval) => SyncPolicy::Every(interval.get()),
            },
            ..usual
        }
    }
}

fn in_memory(bytes: Bytes) -> usize {
    usize::try_from(bytes.get()).unwrap_or(usize::MAX)
}
