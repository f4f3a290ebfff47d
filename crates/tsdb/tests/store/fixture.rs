//! A store on a pretended disk, a companion that remembers what it was told, and a plain map to compare with.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use journal::disk::pretend::PretendDisk;
use model::{
    Columns, Labels, MatchOp, Matcher, MetricMetadata, Selection, SeriesSet, SeriesSource, Timestamp,
};
use parking_lot::Mutex;
use tsdb::{
    Companion, Deleted, Options, SeriesRef, Store, StoreError, Unhurried, WriteBatch, WriteError, Written,
};

/// All test times are after this one.
pub(crate) const T0: i64 = 1_700_000_000_000;

pub(crate) fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(T0 + millis)
}

pub(crate) fn labels(series: u32) -> Labels {
    Labels::from_pairs([("__name__", format!("m{}", series % 3)), ("id", series.to_string())])
}

/// A set of numbers, one an attachment: the shape of the collector's ledger.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger(pub(crate) Arc<Mutex<BTreeSet<u32>>>);

impl Ledger {
    pub(crate) fn holds(&self) -> BTreeSet<u32> {
        self.0.lock().clone()
    }
}

fn numbers(bytes: &[u8]) -> impl Iterator<Item = u32> {
    bytes.chunks_exact(4).map(|bytes| u32::from_le_bytes(bytes.try_into().expect("four bytes")))
}

impl Companion for Ledger {
    fn applied(&mut self, attachment: &[u8]) {
        for number in numbers(attachment) {
            assert!(self.0.lock().insert(number), "batch {number} was applied twice");
        }
    }

    fn snapshot(&self, out: &mut Vec<u8>) {
        self.0.lock().iter().for_each(|number| out.extend_from_slice(&number.to_le_bytes()));
    }

    fn restore(&mut self, snapshot: &[u8]) {
        *self.0.lock() = numbers(snapshot).collect();
    }
}

pub(crate) fn small() -> Options {
    Options { segment_bytes: 4096, reserve_bytes: 0, ..Options::default() }
}

/// With cells so short that all levels of the grid are reached.
pub(crate) fn short_cells() -> Options {
    Options { block_span: Duration::from_secs(60), ..small() }
}

pub(crate) type Samples = BTreeMap<(u32, i64), u64>;

/// Native histograms: opaque bytes.
pub(crate) type Histograms = BTreeMap<(u32, i64), Vec<u8>>;

/// What the store is compared with.
#[derive(Clone, Debug)]
pub(crate) struct Plain {
    /// The highest floor that was seen.
    pub(crate) floor: i64,
    pub(crate) samples: Samples,
    pub(crate) histograms: Histograms,
    pub(crate) batches: BTreeSet<u32>,
}

impl Default for Plain {
    fn default() -> Self {
        Self {
            floor: i64::MIN,
            samples: Samples::new(),
            histograms: Histograms::new(),
            batches: BTreeSet::new(),
        }
    }
}

impl Plain {
    /// A number beats a NaN, else the greater value stays.
    pub(crate) fn write(&mut self, samples: &[(u32, i64, f64)], batch: u32) {
        for &(series, time, value) in samples {
            let have = self.samples.entry((series, time)).or_insert(value.to_bits());
            let old = f64::from_bits(*have);
            let new_wins =
                if old.is_nan() == value.is_nan() { value.total_cmp(&old).is_gt() } else { old.is_nan() };
            if new_wins {
                *have = value.to_bits();
            }
        }
        self.batches.insert(batch);
    }

    /// The greater bytes stay.
    pub(crate) fn write_histograms(&mut self, histograms: &[(u32, i64, Vec<u8>)]) {
        for (series, time, bytes) in histograms {
            let have = self.histograms.entry((*series, *time)).or_default();
            if *have < *bytes {
                have.clone_from(bytes);
            }
        }
    }

    /// Takes away what a series has between two times, both inclusive.
    pub(crate) fn delete(&mut self, series: u32, start: i64, end: i64) {
        let stays = |key: &(u32, i64)| key.0 != series || key.1 < start || key.1 > end;
        self.samples.retain(|key, _| stays(key));
        self.histograms.retain(|key, _| stays(key));
    }

    /// Samples that the store must still have.
    pub(crate) fn since(&self, floor: i64) -> Samples {
        since(&self.samples, floor)
    }
}

pub(crate) fn since(samples: &Samples, floor: i64) -> Samples {
    samples.iter().filter(|((_, time), _)| *time >= floor).map(|(key, bits)| (*key, *bits)).collect()
}

pub(crate) struct Fixture {
    pub(crate) disk: PretendDisk,
    pub(crate) options: Options,
    pub(crate) ledger: Ledger,
    pub(crate) store: Store,
}

pub(crate) fn open(
    disk: &PretendDisk,
    options: &Options,
    now: Timestamp,
) -> Result<(Store, Ledger), StoreError> {
    let ledger = Ledger::default();
    let companion = Box::new(ledger.clone());
    let store = Store::open(Arc::new(disk.clone()), Path::new("/data"), options.clone(), companion, now)?;
    Ok((store, ledger))
}

impl Fixture {
    pub(crate) fn new(options: Options) -> Self {
        let disk = PretendDisk::new();
        let (store, ledger) = open(&disk, &options, at(0)).expect("an empty disk opens");
        Self { disk, options, ledger, store }
    }

    /// Closes, lets `between` happen to the disk, opens again.
    pub(crate) fn restart(self, now: Timestamp, between: impl Fn(&PretendDisk)) -> Self {
        let Self { disk, options, store, .. } = self;
        store.close().expect("nothing fails here");
        drop(store);
        between(&disk);
        let (store, ledger) = open(&disk, &options, now).expect("it opens again");
        let replay = store.replay();
        assert!(replay.records_lost == 0 && replay.journal.damage.is_empty(), "{replay:?}");
        Self { disk, options, ledger, store }
    }

    /// Ends the store without closing it in order, lets `between` happen to the disk, opens again.
    pub(crate) fn crash(self, now: Timestamp, between: impl Fn(&PretendDisk)) -> Self {
        between(&self.disk);
        let Self { disk, options, store, .. } = self;
        drop(store); // its handles are dead
        let (store, ledger) = open(&disk, &options, now).expect("it opens again");
        let replay = store.replay();
        assert!(replay.records_lost == 0 && replay.journal.damage.is_empty(), "{replay:?}");
        Self { disk, options, ledger, store }
    }

    pub(crate) fn write(&self, samples: &[(u32, i64, f64)], batch: u32) -> Result<Written, WriteError> {
        write(&self.store, samples, batch)
    }

    /// A start may find the floor lower than it was: what was given up may be there again, if it has not been removed.
    pub(crate) fn check(&self, plain: &mut Plain) {
        check_parts(&self.store, &everything(&[]));
        let some = [Matcher::new("id", MatchOp::NotRegex, "1|3").expect("a good pattern")];
        check_parts(&self.store, &Selection { matchers: &some, start: at(7_200_000), end: at(10_800_000) });
        let floor = self.store.floor().as_millis();
        plain.floor = plain.floor.max(floor);
        let have = read_all(&self.store);
        assert_eq!(since(&have, plain.floor), plain.since(plain.floor));
        assert!(have.keys().all(|key| key.1 >= floor && plain.samples.contains_key(key)));
        let mut histograms = plain.histograms.clone();
        histograms.retain(|key, _| key.1 >= plain.floor);
        let mut read = read_histograms(&self.store);
        read.retain(|key, _| key.1 >= plain.floor);
        assert_eq!(read, histograms);
        assert_eq!(self.ledger.holds(), plain.batches);
    }

    /// As the collector's two threads do it: what is due, and compaction until nothing is left to do.
    pub(crate) fn upkeep(&self, now: Timestamp) {
        self.store.maintain(now).expect("nothing fails here");
        while self.store.compact(now, &mut Unhurried).expect("nothing fails here").blocks_in > 0 {}
    }
}

/// All histograms that a reader sees.
pub(crate) fn read_histograms(store: &Store) -> Histograms {
    let mut all = Histograms::new();
    let mut set = store.select(&everything(&[])).expect("it is readable");
    let mut read = Vec::new();
    while set.advance().expect("it is readable") {
        let series = set.labels().get("id").and_then(|id| id.parse().ok()).expect("test series have ids");
        set.read_histograms(&mut read).expect("it is readable");
        assert!(read.windows(2).all(|pair| pair[0].0 < pair[1].0), "in time order, each once");
        all.extend(read.iter().map(|(time, bytes)| ((series, time.as_millis()), bytes.to_vec())));
    }
    all
}

/// Deletes what a series has between two times, both inclusive.
pub(crate) fn delete(store: &Store, series: u32, start: i64, end: i64) -> Result<Deleted, StoreError> {
    let matchers = [Matcher::equal("id", &series.to_string())];
    store.delete(&matchers, Timestamp::from_millis(start), Timestamp::from_millis(end))
}

/// Writes and waits for the answer.
pub(crate) fn write(store: &Store, samples: &[(u32, i64, f64)], batch: u32) -> Result<Written, WriteError> {
    let resolve = |series: u32| store.resolve(&labels(series)).expect("tests keep to the limit");
    let samples: Vec<(SeriesRef, Timestamp, f64)> = samples
        .iter()
        .map(|&(series, time, value)| (resolve(series), Timestamp::from_millis(time), value))
        .collect();
    write_batch(
        store,
        WriteBatch { samples, attachment: batch.to_le_bytes().to_vec(), ..WriteBatch::default() },
    )
}

pub(crate) fn write_histograms(
    store: &Store,
    histograms: &[(u32, i64, Vec<u8>)],
) -> Result<Written, WriteError> {
    let resolve = |series: u32| store.resolve(&labels(series)).expect("tests keep to the limit");
    let histograms = histograms
        .iter()
        .map(|(series, time, bytes)| {
            (resolve(*series), Timestamp::from_millis(*time), bytes.as_slice().into())
        })
        .collect();
    write_batch(store, WriteBatch { histograms, ..WriteBatch::default() })
}

pub(crate) fn write_batch(store: &Store, batch: WriteBatch) -> Result<Written, WriteError> {
    let (answer, answered) = channel();
    store.write(batch, move |result| answer.send(result).expect("the test waits"));
    answered.recv().expect("every write is answered")
}

pub(crate) fn write_metadata(store: &Store, metric: &str, metadata: MetricMetadata) {
    let metadata = vec![(metric.to_owned(), metadata)];
    write_batch(store, WriteBatch { metadata, ..WriteBatch::default() }).expect("nothing fails here");
}

pub(crate) fn everything(matchers: &[Matcher]) -> Selection<'_> {
    Selection { matchers, start: Timestamp::MIN, end: Timestamp::MAX }
}

/// All series of some sets, one set after the other: labels, samples by their bits, histograms.
fn read_sets(sets: Vec<Box<dyn SeriesSet + Send + '_>>) -> Vec<String> {
    let (mut all, mut columns, mut histograms) = (Vec::new(), Columns::default(), Vec::new());
    for mut set in sets {
        while set.advance().expect("it is readable") {
            set.read(&mut columns).expect("it is readable");
            set.read_histograms(&mut histograms).expect("it is readable");
            let bits: Vec<u64> = columns.values.iter().map(|value| value.to_bits()).collect();
            all.push(format!("{} {:?} {bits:?} {histograms:?}", set.labels(), columns.timestamps));
        }
    }
    all
}

/// The parts of a selection are the selection; of a store that nobody writes to meanwhile.
fn check_parts(store: &Store, selection: &Selection<'_>) {
    let whole = read_sets(vec![store.select(selection).expect("it is readable")]);
    for every in 1..4 {
        let parts = store.select_parts(selection, every).expect("it is readable");
        assert_eq!(read_sets(parts), whole, "{every} a part");
    }
}

/// All that a reader sees; asserts the order of series and samples.
pub(crate) fn read_all(store: &Store) -> Samples {
    let mut all = Samples::new();
    let mut set = store.select(&everything(&[])).expect("it is readable");
    let (mut columns, mut previous) = (Columns::default(), None);
    while set.advance().expect("it is readable") {
        let labels = set.labels().clone();
        assert!(previous.as_ref() < Some(&labels), "series come in label order, each once");
        let series = labels.get("id").and_then(|id| id.parse().ok()).expect("test series have ids");
        set.read(&mut columns).expect("it is readable");
        assert!(
            columns.timestamps.windows(2).all(|pair| pair[0] < pair[1]),
            "samples come in time order, each once"
        );
        for sample in columns.iter() {
            all.insert((series, sample.timestamp.as_millis()), sample.value.to_bits());
        }
        previous = Some(labels);
    }
    all
}
