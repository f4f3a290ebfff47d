//! Block files as a whole: what is pushed comes back, and no damage goes unseen.

use std::path::Path;
use std::sync::Arc;

use journal::disk::Disk;
use journal::disk::pretend::{Fault, PretendDisk};
use model::{Columns, Labels, Timestamp, stale_nan};
use proptest::prelude::*;

use super::cache::Cache;
use super::meta::{BlockMeta, BlockSpec};
use super::reader::{Block, BlockReader};
use super::writer::BlockWriter;
use super::{Coding, file_name};
use crate::error::BlockError;
use crate::select::block::Stored as _;
use crate::select::merge::Histogram;

const CELL: i64 = 7_200_000;

#[derive(Clone, Debug)]
struct Pushed {
    labels: Labels,
    samples: Vec<(i64, u64)>,
    histograms: Vec<(i64, Vec<u8>)>,
}

fn columns(samples: &[(i64, u64)]) -> Columns {
    let mut columns = Columns::default();
    samples.iter().for_each(|&(time, bits)| columns.push(Timestamp::from_millis(time), f64::from_bits(bits)));
    columns
}

fn plain(columns: &Columns) -> Vec<(i64, u64)> {
    columns.iter().map(|sample| (sample.timestamp.as_millis(), sample.value.to_bits())).collect()
}

fn disk() -> (Arc<dyn Disk>, PretendDisk) {
    let pretend = PretendDisk::new();
    let disk: Arc<dyn Disk> = Arc::new(pretend.clone());
    disk.create_dir_all(Path::new("/blocks")).expect("a pretended disk makes folders");
    (disk, pretend)
}

fn write(disk: &Arc<dyn Disk>, coding: Coding, series: &[Pushed]) -> Result<BlockMeta, BlockError> {
    let spec = BlockSpec { number: 7, level: 0, start: 0, end: CELL, coding, parents: vec![], created_ms: 1 };
    let mut writer = BlockWriter::create(disk, Path::new("/blocks"), spec)?;
    for pushed in series {
        let histograms: Vec<Histogram> = pushed
            .histograms
            .iter()
            .map(|(time, bytes)| (Timestamp::from_millis(*time), bytes.as_slice().into()))
            .collect();
        writer.push(&pushed.labels, &columns(&pushed.samples), &histograms)?;
    }
    writer.finish()
}

fn open(disk: &Arc<dyn Disk>) -> Result<Arc<Block>, BlockError> {
    Block::open(disk, &Path::new("/blocks").join(file_name(7)), &Cache::new(1 << 20))
}

/// All that a block answers for a span.
fn read(block: &Block, span: (i64, i64)) -> Result<Vec<Pushed>, BlockError> {
    let mut reader = BlockReader::default();
    let mut all = Vec::new();
    for series in 0..block.meta().series {
        let (mut samples, mut histograms) = (Columns::default(), Vec::new());
        let labels = block.labels(series, &mut reader)?;
        block.read(series, span, &mut reader, &mut samples)?;
        block.histograms(series, span, &mut reader, &mut histograms)?;
        let histograms = histograms.iter().map(|(time, bytes)| (time.as_millis(), bytes.to_vec())).collect();
        all.push(Pushed { labels, samples: plain(&samples), histograms });
    }
    Ok(all)
}

fn clipped(series: &[Pushed], span: (i64, i64)) -> Vec<Pushed> {
    let mut series = series.to_vec();
    for pushed in &mut series {
        pushed.samples.retain(|sample| (span.0..=span.1).contains(&sample.0));
        pushed.histograms.retain(|record| (span.0..=span.1).contains(&record.0));
    }
    series
}

fn same(one: &[Pushed], other: &[Pushed]) -> bool {
    let parts = |pushed: &Pushed| (pushed.labels.clone(), pushed.samples.clone(), pushed.histograms.clone());
    one.iter().map(parts).eq(other.iter().map(parts))
}

/// Hosts that report together, with counters, gauges, stale markers and a histogram here and there.
fn hosts(hosts: i64, metrics: i64, rounds: i64) -> Vec<Pushed> {
    let mut all = Vec::new();
    for metric in 0..metrics {
        for host in 0..hosts {
            let pairs = [("__name__", format!("metric_{metric:03}")), ("host", format!("{host:03}"))];
            let value = |round: i64| match (metric + round) % 7 {
                0 if metric % 2 == 0 => stale_nan(),
                3 if metric % 5 == 0 => (host + round) as f64 / 3.0,
                _ => (metric * 1000 + round * (host + 1)) as f64 / 10.0,
            };
            let time = |round: i64| round * 15_000 + host * 37 % 15_000;
            let samples = (0..rounds).map(|round| (time(round), value(round).to_bits())).collect();
            let histograms = match metric % 9 {
                4 => (0..3).map(|at| (at * 1000 + host, vec![at as u8; 40])).collect(),
                _ => Vec::new(),
            };
            all.push(Pushed { labels: Labels::from_pairs(pairs), samples, histograms });
        }
    }
    all
}

#[test]
fn what_was_pushed_comes_back_whatever_the_span() {
    for coding in [Coding::Fresh, Coding::Compacted] {
        let series = hosts(5, 40, 480);
        let (disk, _) = disk();
        let meta = write(&disk, coding, &series).expect("a good disk");
        let block = open(&disk).expect("a whole block");
        assert_eq!(block.meta(), &meta);
        assert_eq!((meta.series, meta.samples), (200, 200 * 480));
        for span in [(i64::MIN, i64::MAX), (0, 0), (100_000, 3_000_000), (7_185_000, CELL), (-5, -1)] {
            let expected = clipped(&series, span);
            assert!(same(&read(&block, span).expect("readable"), &expected), "{coding:?} {span:?}");
        }
        assert!(block.verify().is_empty(), "{:?}", block.verify());
    }
}

#[test]
fn a_walk_gives_everything_in_order_and_leaves_the_cache_alone() {
    let series = hosts(3, 60, 100);
    let (disk, _) = disk();
    write(&disk, Coding::Fresh, &series).expect("a good disk");
    let cache = Cache::new(1 << 20);
    let block = Block::open(&disk, &Path::new("/blocks").join(file_name(7)), &cache).expect("a whole block");
    let (mut walk, mut samples, mut histograms) = (block.walk(), Columns::default(), Vec::new());
    for expected in &series {
        let labels = walk.next(&mut samples, &mut histograms).expect("readable").expect("one more");
        assert_eq!((labels, plain(&samples)), (expected.labels.clone(), expected.samples.clone()));
        assert_eq!(histograms.len(), expected.histograms.len());
    }
    assert_eq!(walk.next(&mut samples, &mut histograms).expect("readable"), None);
    assert_eq!(cache.figures().bytes, 0);
}

#[test]
fn hosts_that_share_their_rhythm_share_their_columns() {
    let (disk, _) = disk();
    let meta = write(&disk, Coding::Fresh, &hosts(20, 50, 480)).expect("a good disk");
    let bits = meta.bytes as f64 * 8.0 / meta.samples as f64;
    assert!(bits < 16.0, "{bits} bits a sample");
}

#[test]
fn damage_of_any_byte_is_found_and_nothing_false_is_read() {
    let series = hosts(2, 12, 30);
    let (disk, pretend) = disk();
    let meta = write(&disk, Coding::Fresh, &series).expect("a good disk");
    let path = Path::new("/blocks").join(file_name(7));
    let good = pretend.get(&path).expect("it is there");
    assert_eq!(good.len() as u64, meta.bytes);
    let step = if good.len() > 20_000 { 7 } else { 1 };
    for at in (0..good.len()).step_by(step) {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        pretend.put(&path, &bad);
        let Ok(block) = open(&disk) else { continue };
        assert!(!block.verify().is_empty(), "byte {at}");
        if let Ok(answer) = read(&block, (i64::MIN, i64::MAX)) {
            assert!(same(&answer, &series), "byte {at}");
        }
    }
    for length in (0..good.len()).step_by(13) {
        pretend.put(&path, &good[..length]);
        let error = open(&disk).expect_err("a cut file is no block").to_string();
        assert!(error.contains("0000000000000007.block is damaged at byte"), "{error}");
    }
}

#[test]
fn a_newer_block_is_refused_by_its_version() {
    let (disk, pretend) = disk();
    write(&disk, Coding::Fresh, &hosts(1, 1, 1)).expect("a good disk");
    let path = Path::new("/blocks").join(file_name(7));
    let mut bytes = pretend.get(&path).expect("it is there");
    bytes[8] = 9;
    let sum = crc32c::crc32c(&bytes[..12]);
    bytes[12..16].copy_from_slice(&sum.to_le_bytes());
    pretend.put(&path, &bytes);
    let error = open(&disk).expect_err("it is newer").to_string();
    assert!(error.contains("format version 9") && error.contains("use the newer program"), "{error}");
}

#[test]
fn a_disk_that_fails_leaves_a_whole_block_or_none() {
    let series = hosts(2, 150, 20);
    let path = Path::new("/blocks").join(file_name(7));
    let (begun, needed) = {
        let (disk, pretend) = disk();
        let begun = pretend.operations();
        write(&disk, Coding::Fresh, &series).expect("a good disk");
        (begun, pretend.operations())
    };
    assert!(needed - begun >= 5, "create, write, sync, rename, sync of the folder");
    for failing in begun..needed {
        for fault in [Fault::Io, Fault::ShortFull, Fault::PowerCut] {
            let (disk, pretend) = disk();
            pretend.fail_at(failing, fault);
            let written = write(&disk, Coding::Fresh, &series);
            pretend.heal();
            pretend.crash();
            if pretend.get(&path).is_some() {
                let read = read(&open(&disk).expect("whole"), (i64::MIN, i64::MAX)).expect("readable");
                assert!(same(&read, &series), "{fault:?} at {failing}");
            } else {
                assert!(written.is_err(), "{fault:?} at {failing}: it was said to be there");
            }
        }
    }
}

fn any_series() -> impl Strategy<Value = Vec<Pushed>> {
    let bits = prop_oneof![
        any::<u64>(),
        any::<i16>().prop_map(|value| f64::from(value).to_bits()),
        Just(stale_nan().to_bits()),
    ];
    let samples = proptest::collection::btree_map(0..CELL, bits, 0..40);
    let histograms =
        proptest::collection::btree_map(0..CELL, proptest::collection::vec(any::<u8>(), 0..20), 0..3);
    let labels = proptest::collection::btree_map("[a-c]", "[x-z]{1,2}", 0..4).prop_map(Labels::from_pairs);
    proptest::collection::btree_map(labels, (samples, histograms), 1..40).prop_map(|series| {
        let with_samples =
            series.into_iter().filter(|(_, (samples, records))| !samples.is_empty() || !records.is_empty());
        with_samples
            .map(|(labels, (samples, histograms))| Pushed {
                labels,
                samples: samples.into_iter().collect(),
                histograms: histograms.into_iter().collect(),
            })
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_series_come_back(series in any_series(), fresh in any::<bool>(), from in 0..CELL, length in 0..CELL) {
        prop_assume!(!series.is_empty());
        let coding = if fresh { Coding::Fresh } else { Coding::Compacted };
        let (disk, _) = disk();
        write(&disk, coding, &series).expect("a good disk");
        let block = open(&disk).expect("a whole block");
        prop_assert!(same(&read(&block, (i64::MIN, i64::MAX)).expect("readable"), &series));
        let span = (from, from + length);
        prop_assert!(same(&read(&block, span).expect("readable"), &clipped(&series, span)));
        prop_assert!(block.verify().is_empty());
    }
}

#[test]
fn series_of_one_sample_have_no_column_and_come_back() {
    let (disk, _) = disk();
    let mut series = hosts(4, 10, 3);
    // The second group's first series among them: its column is written against none, not against that of the series before.
    series.iter_mut().skip(1).step_by(3).for_each(|pushed| pushed.samples.truncate(1));
    assert_eq!(series[16].samples.len(), 1);
    write(&disk, Coding::Fresh, &series).expect("a good disk");
    let block = open(&disk).expect("a whole block");
    assert!(same(&read(&block, (i64::MIN, i64::MAX)).expect("readable"), &series));
    assert!(block.verify().is_empty(), "{:?}", block.verify());
}

#[test]
fn columns_of_very_many_hosts_are_written_once_all_the_same() {
    // 2,000 hosts with a rhythm each, metric by metric: a column comes again after 2,000 others.
    let series_of = |metrics: i64| -> Vec<Pushed> {
        let labels = |metric: i64, host: i64| {
            Labels::from_pairs([("__name__", format!("m{metric:02}")), ("host", format!("{host:04}"))])
        };
        let jitter = |host: i64, round: i64| {
            let mixed = ((host * 41 + round + 1) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            ((mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 33) as i64 % 977
        };
        let samples = |host: i64| (0..40).map(|round| (round * 15_000 + jitter(host, round), 1)).collect();
        (0..metrics * 2_000)
            .map(|at| (at / 2_000, at % 2_000))
            .map(|(metric, host)| Pushed {
                labels: labels(metric, host),
                samples: samples(host),
                histograms: Vec::new(),
            })
            .collect()
    };
    let (disk, _) = disk();
    let (one, four) = (series_of(1), series_of(4));
    let first = write(&disk, Coding::Fresh, &one).expect("a good disk").bytes;
    let all = write(&disk, Coding::Fresh, &four).expect("a good disk").bytes;
    assert!(all - first < 2 * first, "{first} bytes, then {} for three times as many", all - first);
    let cache = Cache::new(1 << 20);
    let block = Block::open(&disk, &Path::new("/blocks").join(file_name(7)), &cache).expect("a whole block");
    let (mut walk, mut samples, mut histograms) = (block.walk(), Columns::default(), Vec::new());
    for expected in &four {
        walk.next(&mut samples, &mut histograms).expect("readable").expect("one more");
        assert_eq!(plain(&samples), expected.samples);
    }
}

/// Makes every checksum right again, as far as frames can be followed.
fn mend(bytes: &mut [u8]) {
    let end = bytes.len() - super::format::TRAILER_BYTES;
    let mut at = super::format::HEADER_BYTES;
    while at + super::format::FRAME_HEAD <= end {
        let length = u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes")) as usize;
        let payload = at + super::format::FRAME_HEAD;
        let Some(payload) = bytes.get(payload..).and_then(|rest| rest.get(..length)) else { return };
        let head = super::format::frame_head(at as u64, payload);
        bytes[at..at + super::format::FRAME_HEAD].copy_from_slice(&head);
        at += super::format::FRAME_HEAD + length;
    }
}

#[test]
fn bytes_that_move_to_another_place_are_damage() {
    let (disk, pretend) = disk();
    write(&disk, Coding::Fresh, &hosts(2, 3, 20)).expect("a good disk");
    let path = Path::new("/blocks").join(file_name(7));
    let good = pretend.get(&path).expect("it is there");
    let at = super::format::HEADER_BYTES;
    let length = u32::from_le_bytes(good[at..at + 4].try_into().expect("four bytes")) as usize;
    let frame = super::format::FRAME_HEAD + length;
    let bad = [&good[..at], &good[at..at + frame], &good[at..at + frame], &good[at + 2 * frame..]].concat();
    assert_eq!(bad.len(), good.len());
    pretend.put(&path, &bad);
    let block = open(&disk).expect("its ends are whole");
    let found = block.verify();
    let second = (at + frame) as u64;
    assert!(
        found.iter().any(|error| matches!(error, BlockError::Damaged { offset, .. } if *offset == second)),
        "{found:?}"
    );
}

#[test]
fn changes_under_right_checksums_never_panic() {
    let (disk, pretend) = disk();
    write(&disk, Coding::Fresh, &hosts(2, 10, 12)).expect("a good disk");
    let path = Path::new("/blocks").join(file_name(7));
    let good = pretend.get(&path).expect("it is there");
    let mut seen = 0;
    for at in super::format::HEADER_BYTES..good.len() - super::format::TRAILER_BYTES {
        for flip in [0x01, 0x80, 0xff] {
            let mut bad = good.clone();
            bad[at] ^= flip;
            mend(&mut bad);
            pretend.put(&path, &bad);
            let Ok(block) = open(&disk) else { continue };
            seen += 1;
            if block.meta().series > 1_000 {
                continue;
            }
            let answer = read(&block, (0, CELL));
            let found = block.verify();
            assert!(answer.is_ok() || !found.is_empty(), "byte {at}: {answer:?}");
        }
    }
    assert!(seen > 1_000, "{seen} files could be opened");
}

/// Series that are long and random enough for every form of column.
fn wanderers() -> Vec<Pushed> {
    let mut state = 42u64;
    let mut random = move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut series = |name: &str| {
        let mut sum = 0;
        let samples = (0..3_000i64).map(|round| {
            sum += random(5_000);
            (round * 2_300 + random(997) as i64, (sum as f64 / 1000.0).to_bits())
        });
        Pushed {
            labels: Labels::from_pairs([("__name__", "wandering"), ("host", name)]),
            samples: samples.collect(),
            histograms: Vec::new(),
        }
    };
    ["000", "001", "002", "003"].map(&mut series).to_vec()
}

/// Files that version 1 wrote, kept for ever; `PANTAU_BLOCK_FORMAT=1` writes those that are not there. One that is there is never changed.
#[test]
fn files_of_version_1_are_read_for_ever() {
    let mut series = hosts(3, 20, 120);
    series.extend(wanderers());
    for (coding, name) in [(Coding::Fresh, "fresh.block"), (Coding::Compacted, "compacted.block")] {
        let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/formats/blocks-v1").join(name);
        let (disk, pretend) = disk();
        let path = Path::new("/blocks").join(file_name(7));
        if std::env::var_os("PANTAU_BLOCK_FORMAT").is_some() && !kept.exists() {
            write(&disk, coding, &series).expect("a good disk");
            std::fs::create_dir_all(kept.parent().expect("a folder")).expect("it can be made");
            std::fs::write(&kept, pretend.get(&path).expect("it was just written"))
                .expect("it can be written");
        }
        pretend.put(&path, &std::fs::read(&kept).expect("the kept file is there"));
        let block = open(&disk).expect("a whole block");
        let meta = block.meta();
        assert_eq!(
            (meta.spec.coding, meta.series, meta.samples, meta.histograms),
            (coding, 64, 7_200 + 12_000, 18)
        );
        assert!(same(&read(&block, (i64::MIN, i64::MAX)).expect("readable"), &series), "{name}");
        let hosts = block.index().and_then(|index| index.values("host", usize::MAX, None));
        assert_eq!(hosts.expect("readable"), ["000", "001", "002", "003"]);
        assert!(block.verify().is_empty(), "{:?}", block.verify());
    }
}
