//! Figures that need no server: reading from blocks, and matchers on the index.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use journal::disk::{Disk, RealDisk};
use model::{Columns, MatchOp, Matcher, Selection, SeriesSource, Timestamp};
use rustix::time::{ClockId, clock_gettime};
use tsdb::ReadOnlyStore;

use crate::bench::report::{Better, Figure};

/// Hosts whose processors' series are read: 1,024 in all.
pub(super) const EIGHT_HOSTS: &str = "node-000[0-7].*";
const READ_SERIES: usize = 1_024;
const TRIES: usize = 9;

/// CPU of this thread.
fn cpu() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).expect("below a second"))
}

/// The median of some tries, in milliseconds; the first one warms the caches and does not count.
fn median(mut work: impl FnMut() -> Result<()>) -> Result<f64> {
    work()?;
    let mut tries = Vec::new();
    for _ in 0..TRIES {
        let before = cpu();
        work()?;
        tries.push((cpu() - before).as_secs_f64() * 1e3);
    }
    tries.sort_by(f64::total_cmp);
    Ok(tries[TRIES / 2])
}

/// Selecting and reading 1,000 series of six hours from the blocks of a folder, warm.
pub(super) fn reading(store: &Path, start_ms: i64, end_ms: i64) -> Result<Vec<Figure>> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let store = ReadOnlyStore::open(&disk, store)?;
    let matchers = [
        Matcher::equal("__name__", "node_cpu_seconds_total"),
        Matcher::new("instance", MatchOp::Regex, EIGHT_HOSTS)?,
    ];
    let selection = Selection {
        matchers: &matchers,
        start: Timestamp::from_millis(start_ms),
        end: Timestamp::from_millis(end_ms - 1),
    };
    let wanted = READ_SERIES * usize::try_from((end_ms - start_ms) / super::INTERVAL_MS)?;
    let mut columns = Columns::default();
    let time = median(|| {
        let (mut set, mut samples) = (store.select(&selection)?, 0);
        while set.advance()? {
            set.read(&mut columns)?;
            samples += columns.values.len();
        }
        ensure!(samples == wanted, "{samples} samples of {wanted} were read");
        Ok(())
    })?;
    let thousand = time * 1000.0 / READ_SERIES as f64;
    eprintln!(
        "  pantau: {READ_SERIES} series x 6 h in {time:.2} ms of CPU ({:.2} ns a sample)",
        time * 1e6 / wanted as f64
    );
    Ok(vec![super::figure(
        "reading 1,000 series x 6 h at 15 s from blocks, warm, CPU",
        "ms",
        Better::Lower,
        thousand,
        None,
        Some(15.0),
    )])
}

/// One matcher over a million series, on a block's index and on the one in memory.
#[cfg(feature = "bench-store")]
pub(super) fn matcher() -> Result<Vec<Figure>> {
    use crate::bench::stream::Hosts;
    use tsdb::probe::index::{Block, Head};

    eprintln!("index of 1,000,000 series:");
    let hosts = Hosts::new(1_000_000, super::SEED);
    let mut sets: Vec<model::Labels> = (0..hosts.len()).map(|at| hosts.labels(at).clone()).collect();
    drop(hosts);
    sets.sort_unstable();
    let mut head = Head::default();
    sets.iter().for_each(|labels| head.add(labels));
    let (block, _) = Block::build(&sets);
    let matchers = [Matcher::new("instance", MatchOp::Regex, "node-0.*")?];
    let wanted = sets
        .iter()
        .filter(|labels| labels.get("instance").is_some_and(|name| name.starts_with("node-0")))
        .count();
    ensure!(
        block.find(&matchers).map_err(anyhow::Error::msg)? == wanted as u64 && head.find(&matchers) == wanted
    );
    let in_block = median(|| block.find(&matchers).map(drop).map_err(anyhow::Error::msg))?;
    let in_head = median(|| {
        ensure!(head.find(&matchers) == wanted);
        Ok(())
    })?;
    let row = |name, ours| super::figure(name, "ms", Better::Lower, ours, None, Some(5.0));
    Ok(vec![
        row("one matcher (=~\"node-0.*\") over 1 M series, block's index", in_block),
        row("one matcher (=~\"node-0.*\") over 1 M series, index in memory", in_head),
    ])
}

/// One matcher over a million series.
#[cfg(not(feature = "bench-store"))]
pub(super) fn matcher() -> Result<Vec<Figure>> {
    eprintln!("index of 1,000,000 series: left out, this program is built without the feature bench-store");
    Ok(Vec::new())
}
