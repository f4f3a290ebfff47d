//! What a store's folder holds, read without its collector and bit for bit.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use journal::disk::{Disk, RealDisk};
use model::{Columns, Labels, Matcher, Selection, SeriesSource, Timestamp};
use tsdb::ReadOnlyStore;

/// Samples of each series: milliseconds and the value's bits, in the order in which the store gives them.
pub type Held = BTreeMap<Labels, Vec<(i64, u64)>>;

/// Everything from `start_ms` to `end_ms` (both inclusive) of series that satisfy the matchers.
///
/// # Panics
/// Where the folder cannot be read, or says that something of it is damaged.
pub fn between(store: &Path, matchers: &[Matcher], start_ms: i64, end_ms: i64) -> Held {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let store = ReadOnlyStore::open(&disk, store).expect("the store's folder can be read");
    read(&store, matchers, start_ms, end_ms)
}

/// The same of any source.
pub fn read(source: &dyn SeriesSource, matchers: &[Matcher], start_ms: i64, end_ms: i64) -> Held {
    let selection =
        Selection { matchers, start: Timestamp::from_millis(start_ms), end: Timestamp::from_millis(end_ms) };
    let mut set = source.select(&selection).expect("the store can be asked");
    let (mut held, mut columns) = (Held::new(), Columns::default());
    while set.advance().expect("the next series can be found") {
        set.read(&mut columns).expect("a series can be read");
        let samples = {
            let pairs = columns.timestamps.iter().zip(&columns.values);
            pairs.map(|(at, value)| (at.as_millis(), value.to_bits())).collect()
        };
        let before = held.insert(set.labels().clone(), samples);
        assert!(before.is_none(), "{:?} comes twice", set.labels());
    }
    held.retain(|_, samples| !samples.is_empty());
    held
}
