use std::sync::Arc;

use journal::disk::RealDisk;
use model::{MetricKind, Selection, SeriesSource as _};
use proptest::prelude::*;
use tsdb::{Options, ReadOnlyStore};

use super::super::export::{self, Exported, Wanted, export};
use super::*;

/// 2026-11-22 in milliseconds: what the pretended clock says.
const NOW: i64 = 1_795_312_800_000;

fn clock() -> Timestamp {
    Timestamp::from_millis(NOW)
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    fn open(&self) -> Store {
        let options = Options { reserve_bytes: 0, ..Options::default() };
        Store::open(Arc::new(RealDisk), self.0.path(), options, Box::new(()), clock()).expect("a good folder")
    }

    /// Imports a text; answers what came of it and what was told.
    fn import(&self, text: &str, choices: Choices) -> (Imported, Vec<String>) {
        let store = self.open();
        let mut import = Import::new(&store, ingest::Config::default(), choices, clock);
        let mut told = Vec::new();
        import
            .file(text.as_bytes(), "f", &mut |line| told.push(line.to_owned()))
            .expect("a store that writes");
        let imported = import.finish().expect("a store that writes");
        store.close().expect("a store that writes");
        (imported, told)
    }

    fn export(&self, format: export::Format, exact: bool, selectors: &[&str]) -> (String, Exported) {
        let disk: Arc<dyn journal::disk::Disk> = Arc::new(RealDisk);
        let store = ReadOnlyStore::open(&disk, self.0.path()).expect("a good folder");
        let selectors =
            selectors.iter().map(|text| promql::parse_matchers(text).expect("a selector")).collect();
        let wanted = Wanted { format, exact, selectors, start: Timestamp::MIN, end: Timestamp::MAX };
        let mut text = Vec::new();
        let describe = |metric: &str| {
            let known = store.metadata(Some(metric), 0);
            known.into_iter().next().and_then(|(_, descriptions)| descriptions.into_iter().next())
        };
        let done = export(&store, &describe, &wanted, &mut text).expect("memory takes everything");
        (String::from_utf8(text).expect("text"), done)
    }

    /// Every sample in it, by series, as bits.
    fn samples(&self) -> Vec<(String, i64, u64)> {
        let disk: Arc<dyn journal::disk::Disk> = Arc::new(RealDisk);
        let store = ReadOnlyStore::open(&disk, self.0.path()).expect("a good folder");
        let all = Selection { matchers: &[], start: Timestamp::MIN, end: Timestamp::MAX };
        let mut set = store.select(&all).expect("readable");
        let (mut found, mut columns) = (Vec::new(), model::Columns::default());
        while set.advance().expect("readable") {
            set.read(&mut columns).expect("readable");
            let name = set.labels().to_string();
            found.extend(
                columns
                    .iter()
                    .map(|sample| (name.clone(), sample.timestamp.as_millis(), sample.value.to_bits())),
            );
        }
        found
    }
}

#[test]
fn the_same_file_twice_is_there_once_and_bad_lines_are_named() {
    let folder = Folder::new();
    let text = format!(
        "# TYPE up gauge\nup{{job=\"a\"}} 1 {at}.5\nup{{job=\"a\"}} 2\n?\nup{{job=\"b\",job=\"c\"}} 1 {at}\nup{{job=\"b\"}} 3 {at}\n\
         up{{job=\"b\"}} 3 9{at}\n# EOF\n",
        at = NOW / 1000
    );
    let (first, told) = folder.import(&text, Choices::default());
    assert_eq!((first.lines, first.refused, first.written.stored), (8, 4, 2), "{told:#?}");
    let begins = [
        "f:3: the sample has no time",
        "f:4: column 1:",
        "f:5: label name \"job\" is not unique",
        "f:7: its time",
    ];
    for (line, begin) in told.iter().zip(begins) {
        assert!(line.starts_with(begin), "{line} should begin with {begin}");
    }
    let (second, _) = folder.import(&text, Choices::default());
    assert_eq!((second.written.stored, second.written.duplicates), (0, 2));
    assert_eq!(folder.samples().len(), 2);
}

#[test]
fn chosen_labels_are_those_of_every_series() {
    let folder = Folder::new();
    let labels = vec![("region".to_owned(), "33.19".to_owned()), ("job".to_owned(), "old".to_owned())];
    let choices = Choices { labels, nan_is_stale: true, ..Choices::default() };
    let (done, told) = folder.import(&format!("{{__name__=\"x\", job=\"a\"}} NaN {NOW}\n"), choices);
    assert_eq!((done.refused, told.len()), (0, 0));
    let expected = ("x{job=\"old\", region=\"33.19\"}".to_owned(), NOW, model::STALE_NAN_BITS);
    assert_eq!(folder.samples(), [expected]);
}

#[test]
fn many_refusals_are_counted_and_few_are_told() {
    let (done, told) = Folder::new().import(&"?\n".repeat(500), Choices::default());
    assert_eq!((done.refused, told.len() as u64), (500, TOLD_MAX + 1));
}

#[test]
fn families_stand_together_with_their_types() {
    let folder = Folder::new();
    let at = NOW / 1000;
    let text = format!(
        "# HELP h Help.\n# TYPE h histogram\nh_bucket{{le=\"1\"}} 1 {at}\nh_bucket{{le=\"+Inf\"}} 2 {at}\nh_sum 1 {at}\nh_count 2 {at}\n\
         # TYPE c counter\nc_total 5 {at}\nh_bytes 7 {at}\n# EOF\n"
    );
    let (done, told) = folder.import(&text, Choices::default());
    assert_eq!(done.refused, 0, "{told:?}");
    let (text, done) = folder.export(export::Format::Openmetrics, false, &[]);
    assert_eq!((done.series, done.samples), (6, 6));
    let expected = format!(
        "# TYPE c counter\nc_total 5 {at}.000\n# HELP h Help.\n# TYPE h histogram\nh_bucket{{le=\"+Inf\"}} 2 {at}.000\n\
         h_bucket{{le=\"1\"}} 1 {at}.000\nh_count 2 {at}.000\nh_sum 1 {at}.000\nh_bytes 7 {at}.000\n# EOF\n"
    );
    assert_eq!(text, expected);
    let (text, done) =
        folder.export(export::Format::Json, false, &["h_count", "{__name__=~\"h_.*\"}", "{le=\"1\"}"]);
    assert_eq!(
        (done.series, text.lines().count()),
        (5, 5),
        "a series that several selectors want comes once"
    );
    assert_eq!(folder.export(export::Format::Json, false, &["nothing"]).1, Exported::default());
    let other = Folder::new();
    other.import(&folder.export(export::Format::Openmetrics, false, &[]).0, Choices::default());
    assert_eq!(other.samples(), folder.samples());
    assert!(
        other
            .export(export::Format::Openmetrics, false, &[])
            .0
            .contains("# HELP h Help.\n# TYPE h histogram\n")
    );
    assert_eq!(MetricKind::parse("histogram"), Some(MetricKind::Histogram));
}

fn any_value() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<u64>().prop_map(f64::from_bits),
        any::<i32>().prop_map(|number| f64::from(number) / 100.0),
        Just(model::stale_nan()),
        Just(f64::INFINITY),
        Just(f64::NEG_INFINITY),
        Just(-0.0),
    ]
}

fn any_series() -> impl Strategy<Value = Vec<(Labels, Vec<(i64, f64)>)>> {
    let labels = proptest::collection::btree_map("[a-zA-Z.]{1,3}", "[a-z\"\\\\\n\u{e9}]{0,3}", 0..4);
    let samples = proptest::collection::btree_map(NOW - 100_000..NOW, any_value(), 1..20);
    let series = ("[a-z_.]{1,3}", labels, samples).prop_map(|(name, labels, samples)| {
        let mut builder = Labels::from_pairs(labels).to_builder();
        (builder.set(METRIC_NAME, &name).build(), samples.into_iter().collect::<Vec<_>>())
    });
    proptest::collection::vec(series, 1..6)
}

fn fill(folder: &Folder, series: &[(Labels, Vec<(i64, f64)>)]) {
    let store = folder.open();
    for (labels, samples) in series {
        let series = store.resolve(labels).expect("room");
        let samples =
            samples.iter().map(|(at, value)| (series, Timestamp::from_millis(*at), *value)).collect();
        store.write(WriteBatch { samples, ..WriteBatch::default() }, |result| {
            result.expect("it writes");
        });
    }
    store.close().expect("it writes");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// What a format carries comes back bit for bit.
    #[test]
    fn exports_come_back(series in any_series()) {
        let folder = Folder::new();
        fill(&folder, &series);
        let all = folder.samples();
        let stale = all.iter().filter(|(.., bits)| *bits == model::STALE_NAN_BITS).count() as u64;
        let plain: Vec<_> = all
            .iter()
            .filter(|(.., bits)| *bits != model::STALE_NAN_BITS)
            .map(|(name, at, bits)| {
                let one_nan = if f64::from_bits(*bits).is_nan() { 0x7ff8_0000_0000_0001 } else { *bits };
                (name.clone(), *at, one_nan)
            })
            .collect();
        for (format, exact) in [(export::Format::Openmetrics, false), (export::Format::Json, false), (export::Format::Json, true)] {
            let (text, done) = folder.export(format, exact, &[]);
            prop_assert_eq!(done.stale_left_out, if exact { 0 } else { stale });
            let other = Folder::new();
            let (imported, told) = other.import(&text, Choices::default());
            prop_assert_eq!(imported.refused, 0, "{:?} in\n{}", told, text);
            prop_assert_eq!(&other.samples(), if exact { &all } else { &plain });
        }
    }
}
