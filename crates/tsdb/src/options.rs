//! What an operator may choose, and within which bounds.

use std::time::Duration;

use journal::SyncPolicy;
use model::Matcher;

use crate::StoreError;

/// Series that are kept for a shorter time than the rest. They go when their blocks are compacted, or rewritten once a whole block is
/// past this age; until then they are read.
#[derive(Clone, Debug)]
pub struct RetentionRule {
    /// Which series.
    pub matchers: Vec<Matcher>,
    /// How long they are kept; what is longer than [`Options::retention`] changes nothing.
    pub keep: Duration,
}

/// Sizes, ages and policy of a store.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long samples are kept. Default 2 years. At least 1 minute.
    pub retention: Duration,
    /// Series that are kept for a shorter time. Default none, at most 1,000.
    pub retention_rules: Vec<RetentionRule>,
    /// Disk for the whole store, blocks and journal; past it the oldest blocks go. Default: no bound but the disk.
    pub store_bytes_max: u64,
    /// Blocks with samples younger than this do not go for want of disk: writes are refused instead. Default 7 days.
    pub keep_at_least: Duration,
    /// The finest cell of the grid in time in which blocks lie; coarser ones are 6, 36 and 360 times as long. Default 2 hours; 1 second
    /// to 1 day, in whole milliseconds. May be changed from one start to the next.
    pub block_span: Duration,
    /// No block is made by compaction that is larger than this (those that are stay as they are). Default 4 GiB.
    pub block_bytes_max: u64,
    /// Exemplars that are kept, all series together; the oldest go. Default 100,000.
    pub exemplars_max: usize,
    /// Memory for what is read from blocks again and again. Default 64 MiB.
    pub cache_bytes_max: usize,
    /// Memory for samples, labels and index, by estimate; past it samples become blocks early, and past it by a quarter writes are
    /// refused until they have. New series are refused while labels and index take half of it. Default 1 GiB, at least 1 MiB.
    pub head_bytes_max: usize,
    /// Disk for the journal; past it samples become blocks early. Default 8 GiB, at least four segments.
    pub journal_bytes_max: u64,
    /// Series; past it new ones are refused and old ones go on. Default 1,000,000, at least 1.
    pub series_max: usize,
    /// Memory for metrics' types, helps and units. Default 4 MiB, at most a quarter of `record_bytes_max`.
    pub metadata_bytes_max: usize,
    /// Memory that one selection may copy. Default 256 MiB.
    pub select_bytes_max: usize,
    /// Size at which a journal segment ends. 4 KiB to 1 GiB; default 128 MiB.
    pub segment_bytes: u64,
    /// Memory for batches that wait for the disk. Default 64 MiB.
    pub queue_bytes_max: usize,
    /// The largest record, and so the largest batch (some 100,000 samples) and the largest companion's snapshot. Default 64 MiB,
    /// at most 256 MiB.
    pub record_bytes_max: usize,
    /// Disk that is left free for others: below it batches are refused. Default 64 MiB.
    pub reserve_bytes: u64,
    /// When a batch is answered. Default: after its fsync.
    pub sync: SyncPolicy,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            retention: Duration::from_secs(2 * 365 * 24 * 3600),
            retention_rules: Vec::new(),
            store_bytes_max: u64::MAX,
            keep_at_least: Duration::from_secs(7 * 24 * 3600),
            block_span: Duration::from_secs(2 * 3600),
            block_bytes_max: 4 << 30,
            exemplars_max: 100_000,
            cache_bytes_max: 64 << 20,
            head_bytes_max: 1 << 30,
            journal_bytes_max: 8 << 30,
            series_max: 1_000_000,
            metadata_bytes_max: 4 << 20,
            select_bytes_max: 256 << 20,
            segment_bytes: 128 << 20,
            queue_bytes_max: 64 << 20,
            record_bytes_max: 64 << 20,
            reserve_bytes: 64 << 20,
            sync: SyncPolicy::Always,
        }
    }
}

impl Options {
    /// Checks every bound (the journal checks its own when it is opened).
    pub fn validate(&self) -> Result<(), StoreError> {
        let bad = |option, given, allowed| Err(StoreError::Option { option, given, allowed });
        if self.retention < Duration::from_secs(60) {
            return bad("retention", self.retention.as_secs(), "at least 60 seconds");
        }
        if self.head_bytes_max < 1 << 20 {
            return bad("head_bytes_max", self.head_bytes_max as u64, "at least 1 MiB");
        }
        if self.journal_bytes_max / 4 < self.segment_bytes {
            return bad("journal_bytes_max", self.journal_bytes_max, "at least four times segment_bytes");
        }
        if self.series_max == 0 || self.series_max >= u32::MAX as usize {
            return bad("series_max", self.series_max as u64, "1 to 4,294,967,294");
        }
        let span_max = Duration::from_secs(24 * 3600);
        if self.block_span < Duration::from_secs(1)
            || self.block_span > span_max
            || !self.block_span.subsec_nanos().is_multiple_of(1_000_000)
        {
            return bad("block_span", self.block_span.as_secs(), "1 second to 1 day, in whole milliseconds");
        }
        if self.retention_rules.len() > 1000 {
            return bad("retention_rules", self.retention_rules.len() as u64, "at most 1,000 rules");
        }
        if self.metadata_bytes_max > self.record_bytes_max / 4 {
            return bad(
                "metadata_bytes_max",
                self.metadata_bytes_max as u64,
                "at most a quarter of record_bytes_max",
            );
        }
        Ok(())
    }

    pub(crate) fn journal(&self) -> journal::Options {
        journal::Options {
            segment_bytes: self.segment_bytes,
            queue_bytes_max: self.queue_bytes_max,
            record_bytes_max: self.record_bytes_max,
            reserve_bytes: self.reserve_bytes,
            sync: self.sync,
            ..journal::Options::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl Fn(&mut Options), expected: Option<&str>) {
        let mut options = Options::default();
        change(&mut options);
        let refused = options.validate().err().map(|error| error.to_string());
        assert_eq!(refused.as_deref().and_then(|text| text.split(' ').nth(3)), expected, "{refused:?}");
    }

    #[test]
    fn bounds_are_checked_by_name() {
        check(|_| {}, None);
        check(|options| options.retention = Duration::from_secs(59), Some("retention"));
        check(|options| options.head_bytes_max = 1, Some("head_bytes_max"));
        check(|options| options.block_span = Duration::from_millis(999), Some("block_span"));
        check(|options| options.journal_bytes_max = 1, Some("journal_bytes_max"));
        check(|options| options.series_max = 0, Some("series_max"));
        check(|options| options.metadata_bytes_max = usize::MAX, Some("metadata_bytes_max"));
    }
}
