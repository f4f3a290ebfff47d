//! Laws of the remote write readers and writers, and requests that mean harm.

use model::{Labels, METRIC_NAME, MetricKind, MetricMetadata, Timestamp};
use proptest::prelude::*;
use wire::v1::{Entry, WriteRequest, Writer};
use wire::v2::{Encoder, Request, SYMBOLS_MAX, shift_timestamps};
use wire::{Fault, WireError};

type Samples = Vec<(i64, u64)>;
type Series = Vec<(Vec<(String, String)>, Samples)>;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn stamped(samples: &[(i64, u64)]) -> impl Iterator<Item = (Timestamp, f64)> {
    samples.iter().map(|&(millis, bits)| (at(millis), f64::from_bits(bits)))
}

fn bits(sample: Result<(Timestamp, f64), WireError>) -> Result<(i64, u64), WireError> {
    sample.map(|(timestamp, value)| (timestamp.as_millis(), value.to_bits()))
}

fn owned(label: Result<(&str, &str), WireError>) -> Result<(String, String), WireError> {
    label.map(|(name, value)| (name.to_owned(), value.to_owned()))
}

fn read_v1(payload: &[u8]) -> Result<Series, WireError> {
    let mut all = Vec::new();
    for entry in WriteRequest::new(payload) {
        if let Entry::Series(series) = entry? {
            let labels = series.labels().map(owned).collect::<Result<_, _>>()?;
            all.push((labels, series.samples().map(bits).collect::<Result<_, _>>()?));
        }
    }
    Ok(all)
}

fn read_v2(payload: &[u8]) -> Result<Series, WireError> {
    let request = Request::parse(payload)?;
    let mut all = Vec::new();
    for series in request.series() {
        let series = series?;
        series.metadata(&request)?;
        let labels = series.labels(&request).map(owned).collect::<Result<_, _>>()?;
        all.push((labels, series.samples().map(bits).collect::<Result<_, _>>()?));
    }
    Ok(all)
}

fn any_samples() -> impl Strategy<Value = Samples> {
    prop::collection::vec((any::<i64>(), any::<u64>()), 0..4)
}

fn any_labels() -> impl Strategy<Value = Labels> {
    let text = prop_oneof!["[a-z]{1,3}", "\\PC{1,200}"];
    prop::collection::vec((text.clone(), text), 0..70).prop_map(Labels::from_pairs)
}

fn any_metadata() -> impl Strategy<Value = Option<MetricMetadata>> {
    let kinds = [MetricKind::Unknown, MetricKind::Counter, MetricKind::StateSet];
    let metadata = (prop::sample::select(kinds.to_vec()), "[a-z ]{0,9}", "[a-z]{0,3}");
    prop::option::of(metadata.prop_map(|(kind, help, unit)| MetricMetadata { kind, help, unit }))
}

fn pairs(labels: &Labels) -> Vec<(String, String)> {
    labels.iter().map(|(name, value)| (name.into(), value.into())).collect()
}

proptest! {
    #[test]
    fn v1_gives_back_what_was_written(all in prop::collection::vec((any_labels(), any_samples()), 0..8)) {
        let mut writer = Writer::default();
        for (labels, samples) in &all {
            writer.series(labels, stamped(samples));
        }
        let payload = writer.finish();
        let expected: Series = all.iter().map(|(labels, samples)| (pairs(labels), samples.clone())).collect();
        prop_assert_eq!(read_v1(&payload), Ok(expected));
        for entry in WriteRequest::new(&payload).flatten() {
            let Entry::Series(series) = entry else { panic!("no metadata was written") };
            prop_assert!(series.label_bytes().is_some());
        }
    }

    /// Rounds over the same series, some left out, some forgotten, some twice in a round; against plain lists.
    #[test]
    fn v2_gives_back_what_was_encoded_in_every_round(
        known in prop::collection::vec((any_labels(), any_metadata()), 1..12),
        rounds in prop::collection::vec(prop::collection::vec((0usize..12, any::<i64>(), any::<u64>()), 0..30), 1..5),
        forgotten in prop::option::of(0usize..12),
    ) {
        let mut encoder = Encoder::new();
        let tokens: Vec<_> = known.iter().map(|(labels, metadata)| encoder.register(labels, metadata.as_ref())).collect();
        let mut payload = Vec::new();
        for round in rounds.iter().chain(&rounds) {
            encoder.begin();
            let mut expected: Vec<Samples> = vec![Vec::new(); known.len()];
            for &(index, millis, value) in round.iter().filter(|(index, ..)| *index < known.len()) {
                if encoder.sample(tokens[index], at(millis), f64::from_bits(value)) {
                    expected[index].push((millis, value));
                }
            }
            payload.clear();
            encoder.finish(&mut payload);
            let expected: Series = expected
                .into_iter()
                .zip(&known)
                .filter(|(samples, _)| !samples.is_empty())
                .map(|(samples, (labels, _))| (pairs(labels), samples))
                .collect();
            prop_assert_eq!(read_v2(&payload), Ok(expected));
            if let Some(token) = forgotten.and_then(|index| tokens.get(index)) {
                encoder.forget(*token);
            }
        }
    }

    /// Rounds of series that are kept and series that pass through: each request gives both back, the kept ones first.
    #[test]
    fn what_passes_through_stands_behind_what_is_kept(
        rounds in prop::collection::vec(
            (
                prop::collection::vec((any_labels(), any_metadata()), 0..3),
                prop::collection::vec((any_labels(), "[a-z_]{1,6}", any_metadata(), any::<(i64, u64)>()), 0..6),
            ),
            1..4,
        ),
    ) {
        let mut encoder = Encoder::new();
        for (kept, passing) in rounds {
            let mut expected = Vec::new();
            for (labels, metadata) in kept {
                let token = encoder.register(&labels, metadata.as_ref());
                prop_assert!(encoder.sample(token, at(1), 2.0));
                expected.push((pairs(&labels), vec![(1, 2f64.to_bits())]));
            }
            for (labels, name, metadata, (millis, bits)) in passing {
                let mut all = labels.to_builder();
                let part = encoder.part(labels.iter().filter(|(label, _)| *label != METRIC_NAME));
                let value = f64::from_bits(bits);
                encoder.pass(part, &name, metadata.as_ref(), at(millis), value);
                encoder.pass(part, "again", None, at(millis), value);
                expected.push((pairs(&all.set(METRIC_NAME, &name).build()), vec![(millis, bits)]));
                expected.push((pairs(&all.set(METRIC_NAME, "again").build()), vec![(millis, bits)]));
            }
            let mut payload = Vec::new();
            prop_assert_eq!(encoder.sample_count(), expected.len());
            encoder.finish(&mut payload);
            prop_assert_eq!(read_v2(&payload), Ok(expected));
            prop_assert_eq!(encoder.sample_count(), 0);
        }
    }

    #[test]
    fn shifting_moves_every_sample_and_nothing_else(
        known in prop::collection::vec((any_labels(), any_metadata(), any_samples()), 0..8),
        shift in -1_000_000_000_000i64..2_000_000_000_000,
    ) {
        let mut encoder = Encoder::new();
        encoder.begin();
        let (mut payload, mut all) = (Vec::new(), Vec::new());
        for (labels, metadata, samples) in &known {
            let token = encoder.register(labels, metadata.as_ref());
            // Times such as a clock may show; the ends of the range have their own test.
            let samples: Samples = samples.iter().map(|&(millis, value)| (millis >> 20, value)).collect();
            for (timestamp, value) in stamped(&samples) {
                encoder.sample(token, timestamp, value);
            }
            if !samples.is_empty() {
                all.push((pairs(labels), samples));
            }
        }
        encoder.finish(&mut payload);
        for (_, samples) in &mut all {
            samples.iter_mut().for_each(|(millis, _)| *millis += shift);
        }
        let shifted = shift_timestamps(&payload, shift).expect("no timestamp is near the ends");
        prop_assert_eq!(read_v2(&shifted), Ok(all));
        prop_assert_eq!(shift_timestamps(&shifted, -shift), Ok(payload));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
        let _ = read_v1(&bytes);
        let _ = read_v2(&bytes);
        let _ = shift_timestamps(&bytes, 1);
    }

    /// Damage to a good request: closer to the truth than random bytes.
    #[test]
    fn damaged_requests_are_read_or_refused(
        labels in any_labels(), samples in any_samples(), place: prop::sample::Index, byte: u8, cut: bool,
    ) {
        let mut writer = Writer::default();
        writer.series(&labels, stamped(&samples));
        let mut encoder = Encoder::new();
        let token = encoder.register(&labels, None);
        for (timestamp, value) in stamped(&samples) {
            encoder.sample(token, timestamp, value);
        }
        let mut v2 = Vec::new();
        encoder.finish(&mut v2);
        for mut payload in [writer.finish(), v2] {
            let place = place.index(payload.len());
            if cut { payload.truncate(place) } else { payload[place] = byte }
            let _ = read_v1(&payload);
            let _ = read_v2(&payload);
            let _ = shift_timestamps(&payload, -1);
        }
    }
}

/// Writes a length-delimited field, by hand, so that the tests do not trust the writer.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    assert!(number < 16 && content.len() < 128);
    let mut bytes = vec![number << 3 | 2, content.len() as u8];
    bytes.extend_from_slice(content);
    bytes
}

fn check_v1(payload: &[u8], offset: usize, fault: Fault) {
    assert_eq!(read_v1(payload), Err(WireError::Malformed { offset, fault }), "{payload:x?}");
}

fn check_v2(payload: &[u8], offset: usize, fault: Fault) {
    assert_eq!(read_v2(payload), Err(WireError::Malformed { offset, fault }), "{payload:x?}");
}

#[test]
fn hostile_v1_requests_name_the_place() {
    check_v1(&[0x0a], 1, Fault::Truncated);
    check_v1(&[0x0a, 5, 0x0a, 1], 1, Fault::LongLength);
    check_v1(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], 1, Fault::LongLength);
    check_v1(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2], 1, Fault::LongVarint);
    check_v1(&[0x08, 1], 1, Fault::FieldType); // timeseries as a varint
    check_v1(&[0x0b], 0, Fault::WireType); // a group
    check_v1(&[0x02, 0], 0, Fault::FieldNumber);
    check_v1(&field(1, &field(1, &field(1, b"a\xffb"))), 7, Fault::Utf8);
    check_v1(&field(1, &[0x08, 1]), 3, Fault::FieldType); // labels as a varint
    check_v1(&field(1, &field(2, &[0x09, 1, 2])), 5, Fault::Truncated); // half a value
    check_v1(&field(1, &field(2, &[0x0d, 1, 2, 3, 4])), 5, Fault::FieldType); // a float
    check_v1(&field(3, &field(2, b"\xff")), 4, Fault::Utf8);
}

#[test]
fn hostile_v2_requests_name_the_place() {
    let with_table = |series: &[u8]| [field(4, b""), field(4, b"a"), field(5, series)].concat();
    check_v2(&field(4, b"a"), 0, Fault::FirstSymbol);
    check_v2(&field(4, b"\xff"), 2, Fault::Utf8);
    check_v2(&with_table(&field(1, &[1, 2])), 10, Fault::Symbol);
    check_v2(&with_table(&field(1, &[1])), 9, Fault::OddRefs);
    check_v2(&with_table(&field(1, &[0xff, 0xff, 0xff, 0xff, 0x1f])), 9, Fault::LongRef);
    check_v2(&with_table(&field(1, &[0x80])), 9, Fault::Truncated);
    check_v2(&with_table(&[0x09, 0, 0, 0, 0, 0, 0, 0, 0]), 8, Fault::FieldType); // references as fixed64
    check_v2(&with_table(&field(5, &[0x18, 9])), 10, Fault::Symbol); // help_ref
    check_v2(&with_table(&field(5, &[0x1a, 0])), 10, Fault::FieldType);
    check_v2(&[0x25, 0, 0, 0, 0], 1, Fault::FieldType); // symbols as fixed32
    check_v2(&field(5, &field(1, &[0, 0])), 4, Fault::Symbol); // no table at all
}

#[test]
fn labels_out_of_one_run_are_still_read_but_give_no_key() {
    let label =
        |name: &str, value: &str| field(1, &[field(1, name.as_bytes()), field(2, value.as_bytes())].concat());
    let series = [label("a", "1"), field(2, &[0x10, 7]), label("b", "2")].concat();
    let payload = field(1, &series);
    let Some(Ok(Entry::Series(series))) = WriteRequest::new(&payload).next() else { panic!("a series") };
    assert_eq!(series.label_bytes(), None);
    let expected = vec![("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())];
    assert_eq!(read_v1(&payload), Ok(vec![(expected, vec![(7, 0)])]));
}

/// proto3 readers must take unpacked references, and several runs of packed ones.
#[test]
fn references_may_be_packed_or_not() {
    let table = [field(4, b""), field(4, b"a"), field(4, b"b")].concat();
    let label = ("a".to_owned(), "b".to_owned());
    for (refs, key) in [
        (field(1, &[1, 2]), Some(&[1u8, 2][..])),
        (vec![0x08, 1, 0x08, 2], None),
        ([field(1, &[1]), field(1, &[2])].concat(), None),
        ([field(1, &[1]), vec![0x08, 2]].concat(), None),
    ] {
        let payload = [table.clone(), field(5, &refs)].concat();
        assert_eq!(read_v2(&payload), Ok(vec![(vec![label.clone()], vec![])]), "{refs:?}");
        let request = Request::parse(&payload).expect("well formed");
        let series = request.series().next().expect("one series").expect("well formed");
        assert_eq!(series.ref_bytes(), key, "{refs:?}");
        assert_eq!(request.symbol_bytes(), Some(&table[..]));
    }
}

#[test]
fn exemplars_and_histograms_are_counted() {
    let series = [field(2, &[0x10, 7]), field(3, b""), field(3, b""), field(4, b"")].concat();
    let payload = field(1, &series);
    let Some(Ok(Entry::Series(v1))) = WriteRequest::new(&payload).next() else { panic!("a series") };
    assert_eq!((v1.sample_count, v1.exemplar_count, v1.histogram_count), (1, 2, 1));
    let payload = field(5, &series);
    let request = Request::parse(&payload).expect("well formed");
    let v2 = request.series().next().expect("one series").expect("well formed");
    assert_eq!((v2.sample_count, v2.exemplar_count, v2.histogram_count), (1, 1, 2));
    let refused = WireError::Malformed { offset: 6, fault: Fault::NotSamples };
    assert_eq!(shift_timestamps(&payload, 1), Err(refused), "a shift would leave them behind");
}

/// A histogram message: its time, a start timestamp (field 17) and a count, in any order.
fn histogram(millis: u8) -> Vec<u8> {
    vec![0x08, 3, 0x88, 0x01, 1, 0x78, millis]
}

#[test]
fn histograms_are_opaque_and_exemplars_are_read_in_both_versions() {
    let labels = [("__name__", "latency_seconds")];
    let trace: &[(&str, &str)] = &[("trace_id", "a1"), ("span_id", "b")];
    let mut writer = Writer::default();
    let (first, second) = (histogram(7), histogram(9));
    let histograms = [first.as_slice(), second.as_slice()];
    writer.series_with(labels, [(at(5), 1.5)], histograms, [(trace, at(6), 0.25), (&[], at(8), -0.0)]);
    let payload = writer.finish();
    let Some(Ok(Entry::Series(series))) = WriteRequest::new(&payload).next() else { panic!("a series") };
    let read: Vec<_> = series.histograms().map(|read| read.expect("well formed")).collect();
    assert_eq!(
        read.iter().map(|read| (read.timestamp, read.bytes)).collect::<Vec<_>>(),
        [(at(7), &*first), (at(9), &*second)]
    );
    let read: Vec<_> = series.exemplars().map(|read| read.expect("well formed")).collect();
    assert_eq!((read[0].value, read[0].timestamp), (0.25, at(6)));
    assert_eq!(read[0].labels().collect::<Result<Vec<_>, _>>().as_deref(), Ok(trace));
    assert_eq!((read[1].value.to_bits(), read[1].labels().count()), ((-0.0f64).to_bits(), 0));
    assert_eq!(series.samples().map(bits).collect::<Vec<_>>(), [Ok((5, 1.5f64.to_bits()))]);

    let table: Vec<u8> = ["", "trace_id", "a1"].iter().flat_map(|text| field(4, text.as_bytes())).collect();
    let point = [&[0x11][..], &0.25f64.to_le_bytes(), &[0x18, 6]].concat();
    let exemplar = [field(1, &[1, 2]), point].concat();
    let inner = [field(3, &first), field(4, &exemplar), field(3, &second)].concat();
    let payload = [table, field(5, &inner)].concat();
    let request = Request::parse(&payload).expect("well formed");
    let series = request.series().next().expect("one").expect("well formed");
    let times: Vec<_> = series.histograms().map(|read| read.expect("well formed").timestamp).collect();
    assert_eq!(times, [at(7), at(9)]);
    let read: Vec<_> = series.exemplars().map(|read| read.expect("well formed")).collect();
    assert_eq!((read.len(), read[0].value, read[0].timestamp), (1, 0.25, at(6)));
    let labels: Result<Vec<_>, _> = read[0].labels(&request).collect();
    assert_eq!(labels, Ok(vec![("trace_id", "a1")]));
}

#[test]
fn a_broken_histogram_or_exemplar_ends_its_walk_at_its_place() {
    let payload = field(1, &[field(4, &[0x7d, 1]), field(4, &histogram(1)), field(3, &[0x10, 1])].concat());
    let Some(Ok(Entry::Series(series))) = WriteRequest::new(&payload).next() else { panic!("a series") };
    let wrong = |offset| WireError::Malformed { offset, fault: Fault::FieldType };
    let read: Vec<_> = series.histograms().map(|read| read.map(drop)).collect();
    assert_eq!(read, [Err(wrong(5))], "the time has another wire type");
    let read: Vec<_> = series.exemplars().map(|read| read.map(drop)).collect();
    assert_eq!(read, [Err(wrong(18))], "the value is no double");
}

#[test]
fn v1_metadata_is_read() {
    let mut writer = Writer::default();
    let metadata = MetricMetadata { kind: MetricKind::Counter, help: "Bytes.".into(), unit: "bytes".into() };
    writer.metadata("sent_bytes_total", &metadata);
    let payload = writer.finish();
    let Some(Ok(Entry::Metadata(entry))) = WriteRequest::new(&payload).next() else { panic!("metadata") };
    assert_eq!((entry.family, entry.kind), ("sent_bytes_total", MetricKind::Counter));
    assert_eq!((entry.help, entry.unit), ("Bytes.", "bytes"));
}

#[test]
fn ten_thousand_labels_are_walked_without_a_copy() {
    let names: Vec<String> = (0..10_000).map(|index| format!("label_{index}")).collect();
    let mut writer = Writer::default();
    writer.series_of(names.iter().map(|name| (name.as_str(), "x")), [(at(1), 1.0)]);
    let payload = writer.finish();
    let Some(Ok(Entry::Series(series))) = WriteRequest::new(&payload).next() else { panic!("a series") };
    assert_eq!(series.label_count, 10_000, "a receiver sees the number before it reads the first");
    assert_eq!(series.labels().filter(Result::is_ok).count(), 10_000);
}

#[test]
fn too_many_symbols_are_refused() {
    let payload = [0x22, 0].repeat(SYMBOLS_MAX + 1);
    let refused = Request::parse(&payload).map(drop);
    assert_eq!(refused, Err(WireError::TooMany { what: "symbols", limit: SYMBOLS_MAX }));
}

#[test]
fn metadata_goes_with_the_first_samples_and_again_when_asked() {
    let metadata = MetricMetadata { kind: MetricKind::Gauge, help: "Is it up?".into(), unit: String::new() };
    let mut encoder = Encoder::new();
    let token = encoder.register(&Labels::from_pairs([("__name__", "up")]), Some(&metadata));
    let round = |encoder: &mut Encoder| {
        encoder.begin();
        assert!(encoder.sample(token, at(5), 1.0));
        let mut payload = Vec::new();
        encoder.finish(&mut payload);
        let request = Request::parse(&payload).expect("well formed");
        let series = request.series().next().expect("one series").expect("well formed");
        let read = series.metadata(&request).expect("well formed");
        read.map(|read| (read.kind, read.help.to_owned()))
    };
    let expected = Some((MetricKind::Gauge, "Is it up?".to_owned()));
    assert_eq!(round(&mut encoder), expected);
    assert_eq!(round(&mut encoder), None);
    assert_eq!(round(&mut encoder), None);
    encoder.resend_metadata();
    assert_eq!(round(&mut encoder), expected);
}

#[test]
fn tokens_die_with_their_series_and_with_a_reset() {
    let mut encoder = Encoder::new();
    let up = Labels::from_pairs([("__name__", "up")]);
    let tokens: Vec<_> = (0..1_000).map(|_| encoder.register(&up, None)).collect();
    tokens[..501].iter().for_each(|token| encoder.forget(*token));
    encoder.forget(tokens[0]);
    assert!(!encoder.sample(tokens[0], at(1), 1.0) && encoder.sample(tokens[999], at(1), 1.0));
    assert_eq!((encoder.series_count(), encoder.is_mostly_unused()), (499, true));
    encoder.reset();
    assert!(!encoder.sample(tokens[999], at(1), 1.0), "a token of before the reset");
    let token = encoder.register(&up, None);
    assert!(encoder.sample(token, at(1), 1.0));
    assert_eq!((encoder.series_count(), encoder.sample_count()), (1, 1));
}

#[test]
fn the_same_series_give_the_same_table_and_references() {
    let mut encoder = Encoder::new();
    let tokens: Vec<_> = ["a", "b", "c"]
        .map(|name| encoder.register(&Labels::from_pairs([("__name__", name), ("job", "node")]), None))
        .into();
    let mut encode = |order: &[usize], millis: i64| {
        encoder.begin();
        for &index in order {
            encoder.sample(tokens[index], at(millis), 0.5);
        }
        let mut payload = Vec::new();
        encoder.finish(&mut payload);
        payload
    };
    let (first, second, fewer) = (encode(&[0, 1, 2], 10), encode(&[2, 0, 1], 20), encode(&[1], 30));
    let table =
        |payload: &[u8]| Request::parse(payload).expect("well formed").symbol_bytes().map(<[u8]>::to_vec);
    assert_eq!(table(&first), table(&second));
    assert_eq!(Request::parse(&fewer).expect("well formed").symbols(), ["", "__name__", "b", "job", "node"]);
}

#[test]
fn a_shift_beyond_the_ends_of_time_is_refused() {
    let mut encoder = Encoder::new();
    let token = encoder.register(&Labels::from_pairs([("a", "b")]), None);
    encoder.sample(token, at(i64::MAX - 5), 1.0);
    let mut payload = Vec::new();
    encoder.finish(&mut payload);
    assert!(shift_timestamps(&payload, 5).is_ok());
    assert!(matches!(shift_timestamps(&payload, 6), Err(WireError::ShiftOverflow { shift_ms: 6, .. })));
}
