use std::time::Duration;

use model::{Columns, Labels, Matcher, Selection, SeriesSource as _};
use wire::identity::{BatchIdentity, BootId, Epoch, Losses, PayloadHash};
use wire::v1::Writer;

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

struct Bench {
    ingest: Ingest,
    store: Arc<Store>,
    ledger: Arc<Ledger>,
    _folder: tempfile::TempDir,
}

fn bench(settings: &str) -> Bench {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = Checked::parse(settings, "test", folder.path()).expect("good settings");
    let ledger = Ledger::new();
    let store = crate::storage::open(folder.path(), &settings.storage, &ledger).expect("opened");
    let ingest = Ingest::new(&settings, Arc::clone(&ledger), Arc::new(Metrics::new()));
    ingest.set_store(Arc::clone(&store));
    Bench { ingest, store, ledger, _folder: folder }
}

fn origin() -> Origin {
    let stamp = Stamp { region: Some("33.19".into()), site: Some("kudus-1".into()), ..Stamp::default() };
    Origin { name: "kudus-gw".into(), stamp }
}

/// Labels in any form, and samples whose times count from [`NOW`].
type Sent<'a> = (&'a [(&'a str, &'a str)], &'a [(i64, f64)]);

fn payload(series: &[Sent<'_>]) -> Vec<u8> {
    let mut writer = Writer::default();
    for (labels, samples) in series {
        let samples =
            samples.iter().map(|(after, value)| (Timestamp::from_millis(NOW.as_millis() + after), *value));
        writer.series_of(labels.iter().copied(), samples);
    }
    writer.finish()
}

fn load(instance: &str) -> [(&str, &str); 3] {
    [("__name__", "node_load1"), ("instance", instance), ("job", "node")]
}

impl Bench {
    async fn write(&self, payload: &[u8]) -> Result<Outcome, IngestError> {
        self.send(&origin(), payload, None).await
    }

    async fn send(
        &self,
        origin: &Origin,
        payload: &[u8],
        envelope: Option<&Envelope>,
    ) -> Result<Outcome, IngestError> {
        let message = if envelope.is_some() { Message::V2 } else { Message::V1 };
        self.ingest.write(Request { origin, message, payload, envelope, received_at: NOW }).await
    }

    /// Everything in the store: series with their samples, times from [`NOW`].
    fn all(&self) -> Vec<(String, Vec<(i64, f64)>)> {
        let matchers = [Matcher::new("__name__", model::MatchOp::Regex, ".+").expect("a pattern")];
        let selection = Selection { matchers: &matchers, start: Timestamp::MIN, end: Timestamp::MAX };
        let mut set = self.store.select(&selection).expect("readable");
        let (mut all, mut columns) = (Vec::new(), Columns::default());
        while set.advance().expect("readable") {
            set.read(&mut columns).expect("readable");
            let samples =
                columns.iter().map(|sample| (sample.timestamp.millis_since(NOW), sample.value)).collect();
            all.push((set.labels().to_string(), samples));
        }
        all
    }
}

#[tokio::test]
async fn samples_are_stamped_and_readable_once_the_answer_is_there() {
    let bench = bench("");
    let sent =
        payload(&[(&[("__name__", "up"), ("region", "99"), ("job", "node")], &[(-1000, 1.0), (0, 0.0)])]);
    let outcome = bench.write(&sent).await.expect("stored");
    assert_eq!((outcome.samples, outcome.refusals.samples()), (2, 0));
    let series = r#"up{job="node", region="33.19", site="kudus-1"}"#.to_owned();
    assert_eq!(bench.all(), [(series, vec![(-1000, 1.0), (0, 0.0)])]);
}

#[tokio::test]
async fn the_same_request_twice_is_stored_once_by_cache_and_without() {
    let bench = bench("");
    let sent = payload(&[(&load("a"), &[(0, 1.0)]), (&load("b"), &[(0, 2.0)])]);
    for _ in 0..2 {
        assert_eq!(bench.write(&sent).await.expect("stored").samples, 2);
    }
    // Another order of the same labels is another encoding of the same series.
    let turned = payload(&[(&[("job", "node"), ("instance", "a"), ("__name__", "node_load1")], &[(1, 3.0)])]);
    bench.write(&turned).await.expect("stored");
    let all = bench.all();
    assert_eq!(all.len(), 2);
    assert_eq!(all[0].1, [(0, 1.0), (1, 3.0)]);
    assert_eq!(bench.store.stats().written.duplicates, 2);
}

#[tokio::test]
async fn two_senders_of_the_same_bytes_have_two_series() {
    let bench = bench("");
    let sent = payload(&[(&load("a"), &[(0, 1.0)])]);
    bench.write(&sent).await.expect("stored");
    let stamp = Stamp { region: Some("33.20".into()), ..Stamp::default() };
    let other = Origin { name: "jepara-gw".into(), stamp: stamp.clone() };
    bench.send(&other, &sent, None).await.expect("stored");
    // An agent that is enrolled anew for another place keeps its name.
    let moved = Origin { stamp, ..origin() };
    bench.send(&moved, &payload(&[(&load("a"), &[(5, 1.0)])]), None).await.expect("stored");
    let regions: Vec<String> = bench.all().into_iter().map(|(labels, _)| labels).collect();
    assert_eq!(regions.len(), 2, "{regions:?}");
    assert!(regions[1].contains("33.20") && !regions[1].contains("site"), "{regions:?}");
}

#[tokio::test]
async fn the_good_part_is_stored_and_the_rest_is_named() {
    let bench = bench("");
    let day_ms = 86_400_000;
    let sent = payload(&[
        (&load("good"), &[(0, 1.0), (-9 * day_ms, 2.0), (11 * 60_000, 3.0)]),
        (&[("job", "node")], &[(0, 4.0)]),
        (&[("__name__", "up"), ("a", "1"), ("a", "2")], &[(0, 5.0), (1, 6.0)]),
    ]);
    for _ in 0..2 {
        let outcome = bench.write(&sent).await.expect("stored in part");
        let text = outcome.refusals.text(outcome.samples);
        assert!(
            text.starts_with("stored 1 of 6 samples; refused 5 (1 too_old, 1 too_new, 3 bad_labels)"),
            "{text}"
        );
        assert!(
            text.contains("instance=\"good\"")
                && text.contains("8d accepted")
                && text.contains("660 s ahead"),
            "{text}"
        );
        assert!(text.contains("no metric name") && text.contains("label name \"a\" is not unique"), "{text}");
    }
    assert_eq!(bench.all().len(), 1);
}

#[tokio::test]
async fn a_sender_at_its_limit_goes_on_with_the_series_it_has() {
    let bench = bench("ingest: {series_per_sender_max: 2}");
    bench.write(&payload(&[(&load("a"), &[(0, 1.0)]), (&load("b"), &[(0, 1.0)])])).await.expect("stored");
    let sent = payload(&[(&load("a"), &[(1, 1.0)]), (&load("c"), &[(1, 1.0)])]);
    let outcome = bench.write(&sent).await.expect("stored in part");
    let text = outcome.refusals.text(outcome.samples);
    assert!(
        text.contains("1 sender_limit")
            && text.contains("instance=\"c\"")
            && text.contains("limit of 2 series"),
        "{text}"
    );
    let other = Origin { name: "another".into(), stamp: Stamp::default() };
    assert!(
        bench.send(&other, &sent, None).await.expect("stored").refusals.is_empty(),
        "nobody else is harmed"
    );
    // Known series in another encoding are still its own.
    let turned = payload(&[(&[("job", "node"), ("instance", "b"), ("__name__", "node_load1")], &[(1, 1.0)])]);
    assert!(bench.write(&turned).await.expect("stored").refusals.is_empty());
}

#[tokio::test]
async fn a_full_store_refuses_new_series_by_name() {
    let bench = bench("retention: {series_max: 1}");
    let outcome = bench
        .write(&payload(&[(&load("a"), &[(0, 1.0)]), (&load("b"), &[(0, 1.0)])]))
        .await
        .expect("in part");
    assert_eq!(outcome.samples, 1);
    let text = outcome.refusals.text(1);
    assert!(text.contains("store_limit") && text.contains("instance=\"b\""), "{text}");
}

#[tokio::test]
async fn what_cannot_be_read_stores_nothing() {
    let bench = bench("");
    let mut sent = payload(&[(&load("a"), &[(0, 1.0)]), (&load("b"), &[(0, 1.0)])]);
    sent.truncate(sent.len() - 3);
    let error = bench.write(&sent).await.expect_err("cut off");
    assert!(
        matches!(error, IngestError::Malformed(_))
            && error.to_string().starts_with("nothing was stored: byte "),
        "{error}"
    );
    assert_eq!(bench.all(), []);
}

#[tokio::test]
async fn requests_of_empty_series_or_too_many_samples_cost_little() {
    let bench = bench("");
    let mut empty = Vec::new();
    for _ in 0..1_000_000 {
        empty.extend_from_slice(&[0x0a, 0]);
    }
    assert_eq!(bench.write(&empty).await.expect("nothing to store").samples, 0);
    let mut series = Vec::new();
    for _ in 0..NEW_SERIES_MAX + 1 {
        series.extend_from_slice(&[0x0a, 2, 0x12, 0]);
    }
    let error = bench.write(&series).await.expect_err("too many");
    assert!(error.to_string().contains("more than 200000 new series"), "{error}");
}

fn batch(sequence: u64, value: f64) -> (Vec<u8>, Envelope) {
    let mut encoder = wire::v2::Encoder::new();
    let labels = Labels::from_pairs([("__name__", "up"), ("instance", "kudus")]);
    let token = encoder.register(&labels, None);
    assert!(encoder.sample(token, NOW, value));
    let mut payload = Vec::new();
    encoder.finish(&mut payload);
    let epoch = Epoch::from_u128(7);
    let identity = BatchIdentity {
        epoch,
        sequence,
        boot: BootId::from_u128(1),
        payload_hash: PayloadHash::of(epoch, &payload),
        from: NOW - Duration::from_secs(15),
        to: NOW,
        samples: 1,
        stamped_late: false,
        losses: Losses::none(),
    };
    (payload, Envelope { identity, sent_at: NOW + Duration::from_secs(2) })
}

#[tokio::test]
async fn a_batch_is_applied_once_with_its_page_of_the_ledger() {
    let bench = bench("");
    let (payload, envelope) = batch(1, 1.0);
    let first = bench.send(&origin(), &payload, Some(&envelope)).await.expect("stored");
    assert!(!first.repeated && first.samples == 1);
    let second = bench.send(&origin(), &payload, Some(&envelope)).await.expect("known");
    assert!(second.repeated && second.samples == 1);
    assert_eq!(bench.store.stats().journal.records, 1, "not written again");
    let status = bench.ledger.statuses(&[], NOW).pop().expect("one page");
    assert_eq!(
        (status.agent.as_str(), status.batches, status.clock_offset_seconds),
        ("kudus-gw", 1, Some(2.0))
    );
}

#[tokio::test]
async fn another_payload_under_the_same_number_is_a_conflict() {
    let bench = bench("");
    let (payload, envelope) = batch(1, 1.0);
    bench.send(&origin(), &payload, Some(&envelope)).await.expect("stored");
    let (payload, envelope) = batch(1, 2.0);
    let error = bench.send(&origin(), &payload, Some(&envelope)).await.expect_err("a clone");
    assert!(
        matches!(error, IngestError::Conflict { sequence: 1, .. }) && error.to_string().contains("cloned"),
        "{error}"
    );
    let (payload, mut envelope) = batch(2, 2.0);
    envelope.identity.payload_hash = PayloadHash::from_u128(1);
    let error = bench.send(&origin(), &payload, Some(&envelope)).await.expect_err("changed on the way");
    assert!(matches!(error, IngestError::HashMismatch));
}

#[tokio::test]
async fn the_ledger_comes_back_with_the_samples() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = Checked::parse("", "test", folder.path()).expect("good settings");
    for start in 0..3u64 {
        let ledger = Ledger::new();
        let store = crate::storage::open(folder.path(), &settings.storage, &ledger).expect("opened");
        let known = ledger.statuses(&[], NOW).pop().map_or(0, |status| status.batches);
        assert_eq!(known, start);
        let ingest = Ingest::new(&settings, Arc::clone(&ledger), Arc::new(Metrics::new()));
        ingest.set_store(Arc::clone(&store));
        let origin = origin();
        for sequence in 0..=start {
            let (payload, envelope) = batch(sequence, 1.0);
            let request = Request {
                origin: &origin,
                message: Message::V2,
                payload: &payload,
                envelope: Some(&envelope),
                received_at: NOW,
            };
            let outcome = ingest.write(request).await.expect("stored");
            assert_eq!(
                outcome.repeated,
                sequence < start,
                "what was answered before the restart is known after it"
            );
        }
        store.close().expect("closed");
    }
}

#[tokio::test]
async fn a_batch_of_nothing_good_is_settled_all_the_same() {
    let bench = bench("");
    let (payload, mut envelope) = batch(1, 1.0);
    envelope.identity.from = NOW - Duration::from_secs(15);
    let late = NOW + Duration::from_secs(20 * 86_400);
    let origin = origin();
    let request = Request {
        origin: &origin,
        message: Message::V2,
        payload: &payload,
        envelope: Some(&envelope),
        received_at: late,
    };
    let outcome = bench.ingest.write(request).await.expect("refused, but told");
    assert_eq!((outcome.samples, outcome.refusals.samples()), (0, 1));
    let again = bench.send(&origin, &payload, Some(&envelope)).await.expect("known");
    assert!(again.repeated);
    let gaps = bench.ledger.gaps(&[], late).pop().expect("a page").gaps;
    assert!(gaps.iter().any(|gap| gap.cause == "refused" && gap.samples == 1), "{gaps:?}");
}

/// Two bodies of one sender at a time would be enough to hold everybody up, were turns taken in the order of asking.
#[tokio::test]
async fn a_sender_with_many_large_requests_holds_up_nobody_else() {
    let bench = Arc::new(bench(""));
    let stalled = Stalled::new(&bench);
    let heavy = Origin { name: "heavy".into(), stamp: Stamp::default() };
    let mut tasks = Vec::new();
    for number in 0..60 {
        let times = (0..20_000).map(|step| (number * 20_000 + step - 2_000_000, step as f64));
        let large = payload(&[(&load("heavy"), &times.collect::<Vec<_>>())]);
        let (bench, heavy) = (Arc::clone(&bench), heavy.clone());
        tasks.push(tokio::spawn(async move { bench.send(&heavy, &large, None).await.expect("stored") }));
    }
    // All sixty are asked for before the other's.
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
    let on_their_way = bench.ingest.turns.writing("heavy");
    assert!(((8 << 20)..(9 << 20)).contains(&on_their_way), "the rest waits: {on_their_way}");
    let sent = payload(&[(&load("light"), &[(0, 1.0)])]);
    bench.send_and_hang_up(&sent, None);
    assert!(bench.ingest.turns.writing("kudus-gw") > 0, "it is on its way, past those that wait");
    drop(stalled);
    for task in tasks {
        assert_eq!(task.await.expect("it ends").samples, 20_000);
    }
    assert_eq!(bench.all().len(), 3);
}

/// Holds the journal's thread up, so that what is written waits, until it is dropped.
struct Stalled(Option<std::sync::mpsc::Sender<()>>);

impl Stalled {
    fn new(bench: &Bench) -> Self {
        let labels = Labels::from_pairs([("__name__", "stall")]);
        let series = bench.store.resolve(&labels).expect("room for it");
        let batch = WriteBatch { samples: vec![(series, NOW, 1.0)], ..WriteBatch::default() };
        let (stalled, is_stalled) = std::sync::mpsc::channel();
        let (end, ends) = std::sync::mpsc::channel();
        bench.store.write(batch, move |_| {
            stalled.send(()).expect("the test waits");
            let _ = ends.recv(); // an error: the other end is dropped
        });
        is_stalled.recv().expect("the journal's thread runs");
        Self(Some(end))
    }
}

impl Bench {
    /// Sends, and hangs up while the journal has it.
    fn send_and_hang_up(&self, payload: &[u8], envelope: Option<&Envelope>) {
        let origin = origin();
        let mut sending = std::pin::pin!(self.send(&origin, payload, envelope));
        let polled = sending.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
        assert!(polled.is_pending(), "{polled:?}");
    }
}

/// The account was given back with the request: whoever hung up and came again filled the journal's queue, and a clone's batch under
/// the same number was let in meanwhile.
#[tokio::test]
async fn who_hangs_up_has_its_bytes_on_its_account_until_they_are_written() {
    let bench = bench("");
    let mut stalled = Stalled::new(&bench);
    let (sent, envelope) = batch(1, 1.0);
    bench.send_and_hang_up(&sent, Some(&envelope));
    assert!(bench.ingest.turns.writing("kudus-gw") > 0);
    let (other, other_envelope) = batch(1, 2.0);
    let clone = bench.send(&origin(), &other, Some(&other_envelope)).await;
    assert!(matches!(clone, Err(IngestError::Conflict { .. })), "{clone:?}");
    stalled.0 = None;
    let again = bench.send(&origin(), &sent, Some(&envelope)).await.expect("it is there");
    assert_eq!(again.samples, 1);
    bench.store.flush().expect("a good disk");
    assert_eq!(bench.ingest.turns.writing("kudus-gw"), 0);
}

/// They weighed nothing: descriptions alone filled the journal's queue.
#[tokio::test]
async fn descriptions_and_the_ledgers_entry_count_on_the_account_too() {
    let bench = bench("");
    let _stalled = Stalled::new(&bench);
    let metadata =
        model::MetricMetadata { kind: model::MetricKind::Gauge, help: "h".repeat(1000), unit: String::new() };
    let mut writer = Writer::default();
    (0..100).for_each(|number| writer.metadata(&format!("metric_{number}"), &metadata));
    bench.send_and_hang_up(&writer.finish(), None);
    let described = bench.ingest.turns.writing("kudus-gw");
    assert!(described > 100_000, "{described}");
    let (sent, envelope) = batch(1, 1.0);
    bench.send_and_hang_up(&sent, Some(&envelope));
    let sample = size_of::<(tsdb::SeriesRef, Timestamp, f64)>();
    assert!(bench.ingest.turns.writing("kudus-gw") > described + sample + 30, "the entry, too");
}

#[tokio::test]
async fn other_values_are_told_with_the_series_and_which_stays() {
    let bench = bench("");
    bench.write(&payload(&[(&load("a"), &[(0, 5.0)]), (&load("b"), &[(0, 5.0)])])).await.expect("stored");
    let sent = payload(&[(&load("a"), &[(0, 7.0), (1, 1.0)]), (&load("b"), &[(0, 6.0)])]);
    let outcome = bench.write(&sent).await.expect("no error of the request");
    assert_eq!((outcome.samples, outcome.conflicts, outcome.refusals.is_empty()), (3, 2, true));
    let text = outcome.conflict.expect("an example");
    assert!(text.contains("node_load1{instance=\"a\"") && text.ends_with(": 7 stays, 5 does not"), "{text}");
    let again = bench.write(&payload(&[(&load("a"), &[(0, 7.0)])])).await.expect("stored");
    assert_eq!((again.conflicts, again.conflict), (0, None), "the same sample once more is none");
}

/// The store forgets series without samples; references that were cached before must not be used.
#[tokio::test]
async fn forgotten_series_are_resolved_again() {
    let bench = bench("retention: {time: 1h}");
    bench.write(&payload(&[(&load("a"), &[(0, 1.0)])])).await.expect("stored");
    let later = NOW + Duration::from_secs(7200);
    let mut writer = Writer::default();
    writer.series(&Labels::from_pairs(load("b")), [(later, 1.0)]);
    let payload = writer.finish();
    let origin = origin();
    let request = Request {
        origin: &origin,
        message: Message::V1,
        payload: &payload,
        envelope: None,
        received_at: later,
    };
    bench.ingest.write(request).await.expect("stored");
    for step in 1..4 {
        bench.store.maintain(later + Duration::from_secs(600 * step)).expect("maintained");
    }
    assert!(bench.store.generation() > 0, "series a was forgotten");
    let mut writer = Writer::default();
    writer.series(&Labels::from_pairs(load("a")), [(later, 9.0)]);
    let payload = writer.finish();
    let outcome = bench.ingest.write(Request { payload: &payload, ..request }).await.expect("stored");
    assert_eq!(outcome.samples, 1);
    assert!(bench.all().iter().any(
        |(labels, samples)| labels.contains("\"a\"") && samples.last().is_some_and(|last| last.1 == 9.0)
    ));
}

#[tokio::test]
async fn metadata_reaches_the_store_from_both_versions() {
    let bench = bench("");
    let metadata = model::MetricMetadata {
        kind: model::MetricKind::Gauge,
        help: "1m load average.".into(),
        unit: String::new(),
    };
    let mut writer = Writer::default();
    writer.metadata("node_load1", &metadata);
    bench.write(&writer.finish()).await.expect("stored");
    assert_eq!(
        bench.store.metadata(Some("node_load1"), 0),
        [("node_load1".to_owned(), vec![metadata.clone()])]
    );
    let mut encoder = wire::v2::Encoder::new();
    let kind = model::MetricKind::Histogram;
    let labels = Labels::from_pairs([("__name__", "latency_seconds_bucket"), ("le", "1")]);
    let token = encoder.register(&labels, Some(&model::MetricMetadata { kind, ..metadata }));
    encoder.sample(token, NOW, 1.0);
    let mut payload = Vec::new();
    encoder.finish(&mut payload);
    let origin = origin();
    let request = Request {
        origin: &origin,
        message: Message::V2,
        payload: &payload,
        envelope: None,
        received_at: NOW,
    };
    bench.ingest.write(request).await.expect("stored");
    assert_eq!(bench.store.metadata(Some("latency_seconds"), 0).len(), 1);
}

#[tokio::test]
async fn nothing_is_taken_in_before_the_store_is_there() {
    let settings = Checked::quickstart().expect("defaults");
    let ingest = Ingest::new(&settings, Ledger::new(), Arc::new(Metrics::new()));
    let origin = origin();
    let request =
        Request { origin: &origin, message: Message::V1, payload: &[], envelope: None, received_at: NOW };
    assert!(matches!(ingest.write(request).await, Err(IngestError::NotReady)));
}

/// A histogram message with its time, counted from [`NOW`], and a start timestamp that nobody here reads.
fn histogram(after: i64, bytes: usize) -> Vec<u8> {
    let mut message = vec![0x08, 3];
    let mut push = |tag: &[u8], mut value: u64| {
        message.extend_from_slice(tag);
        while value >= 0x80 {
            message.push(value as u8 | 0x80);
            value >>= 7;
        }
        message.push(value as u8);
    };
    push(&[0x78], (NOW.as_millis() + after) as u64);
    push(&[0x88, 0x01], NOW.as_millis() as u64);
    push(&[0x42], bytes as u64);
    message.extend(std::iter::repeat_n(1, bytes));
    message
}

#[tokio::test]
async fn histograms_and_exemplars_are_stored_and_counted_truthfully() {
    let bench = bench("");
    let (small, large, late) =
        (histogram(0, 10), histogram(1, HISTOGRAM_BYTES_MAX), histogram(-9 * 86_400_000, 10));
    let trace: &[(&str, &str)] = &[("trace_id", "a1")];
    let wide = "x".repeat(2000);
    let too_wide: &[(&str, &str)] = &[("trace_id", &wide)];
    let mut writer = Writer::default();
    let labels = [("__name__", "latency_seconds"), ("job", "node")];
    let exemplars =
        [(trace, NOW, 0.5), (too_wide, NOW, 0.5), (trace, NOW - Duration::from_secs(9 * 86_400), 1.0)];
    writer.series_with(labels, [(NOW, 1.0)], [small.as_slice(), &large, &late], exemplars);
    // What nobody ever wrote to gets no series by an exemplar.
    writer.series_with([("__name__", "nobody")], [], [], [(trace, NOW, 2.0)]);
    let sent = writer.finish();
    for _ in 0..2 {
        let outcome = bench.write(&sent).await.expect("stored in part");
        assert_eq!((outcome.samples, outcome.histograms, outcome.exemplars), (1, 1, 1));
        assert_eq!((outcome.exemplars_left_out, outcome.refusals.samples()), (3, 2));
        let text = outcome.refusals.text(outcome.samples + outcome.histograms);
        assert!(
            text.starts_with("stored 2 of 4 samples; refused 2 (1 too_old, 1 large_histogram)"),
            "{text}"
        );
        assert!(text.contains("larger than the 65536 that are kept"), "{text}");
    }
    assert_eq!(bench.all().len(), 1);
    let matchers = [Matcher::equal("__name__", "latency_seconds")];
    let selection = Selection { matchers: &matchers, start: Timestamp::MIN, end: Timestamp::MAX };
    let mut set = bench.store.select(&selection).expect("readable");
    assert!(set.advance().expect("readable"));
    let mut kept = Vec::new();
    set.read_histograms(&mut kept).expect("readable");
    assert_eq!(kept, [(NOW, small.as_slice().into())], "byte for byte, with what nobody here reads");
    let exemplars = bench.store.exemplars(&[matchers.to_vec()], Timestamp::MIN, Timestamp::MAX);
    assert_eq!(exemplars[0].1.iter().map(|exemplar| exemplar.value).collect::<Vec<_>>(), [0.5]);
}

fn named(sender: &str) -> Origin {
    Origin { name: sender.into(), stamp: Stamp { site: Some(sender.into()), ..Stamp::default() } }
}

/// `count` series of a sender from number `first` on.
fn many(first: usize, count: usize) -> Vec<u8> {
    let mut writer = Writer::default();
    for number in first..first + count {
        let number = number.to_string();
        writer.series_of([("__name__", "requests_total"), ("n", number.as_str())], [(NOW, 1.0)]);
    }
    writer.finish()
}

#[tokio::test]
async fn a_sender_may_bring_so_many_new_series_within_a_minute_and_its_old_ones_go_on() {
    let bench = bench("ingest: {new_series_per_minute_max: 10}");
    let kudus = named("kudus");
    let outcome = bench.send(&kudus, &many(0, 15), None).await.expect("in part");
    assert_eq!((outcome.samples, outcome.refusals.samples()), (10, 5));
    let text = outcome.refusals.text(10);
    assert!(
        text.contains("5 series_rate") && text.contains("requests_total{n=\"10\", site=\"kudus\"}"),
        "{text}"
    );
    assert!(text.contains("\"kudus\" brought more than 10 new series within a minute"), "{text}");
    let offence = &outcome.refusals.offences()[0];
    assert_eq!((offence.metric.as_str(), offence.series), ("requests_total", 5));
    assert_eq!(bench.send(&kudus, &many(0, 10), None).await.expect("stored").refusals.samples(), 0);
    assert_eq!(bench.send(&named("jepara"), &many(0, 10), None).await.expect("stored").refusals.samples(), 0);
    // A minute later there is room for as many again.
    let later = NOW + Duration::from_secs(60);
    let request = Request {
        origin: &kudus,
        message: Message::V1,
        payload: &many(10, 15),
        envelope: None,
        received_at: later,
    };
    assert_eq!(bench.ingest.write(request).await.expect("in part").samples, 10);
    let page = bench.ingest.metrics.text();
    let counted = "pantau_ingest_refused_series_total{metric=\"requests_total\",reason=\"series_rate\",sender=\"kudus\"} 10";
    assert!(page.contains(counted), "{page}");
    bench.ingest.observe();
    let page = bench.ingest.metrics.text();
    assert!(page.contains("pantau_ingest_series{sender=\"kudus\"} 20"), "{page}");
}

/// A restart emptied the count: a sender at its limit could bring as many new series again.
#[tokio::test]
async fn a_limit_outlives_a_restart_and_what_was_there_goes_on() {
    let first = bench("ingest: {series_per_sender_max: 10}");
    let kudus = named("kudus");
    let folder = first._folder.path();
    first.ingest.open_roll(folder, NOW);
    assert_eq!(first.send(&kudus, &many(0, 12), None).await.expect("in part").samples, 10);
    first.ingest.write_roll(NOW).expect("written");
    let second = bench("ingest: {series_per_sender_max: 10}");
    second.ingest.open_roll(folder, NOW);
    // New ones first, then those that were there: only these are taken.
    assert_eq!(second.send(&kudus, &many(20, 5), None).await.expect("in part").samples, 0);
    assert_eq!(second.send(&kudus, &many(0, 12), None).await.expect("in part").samples, 10);
    assert_eq!(second.send(&named("jepara"), &many(0, 10), None).await.expect("stored").samples, 10);
    assert_eq!(second.ingest.senders()[0].series, 10);
    // Nobody waits for what has not come for an hour.
    let third = bench("ingest: {series_per_sender_max: 10}");
    third.ingest.open_roll(folder, NOW - Duration::from_secs(3600));
    assert_eq!(third.send(&kudus, &many(20, 5), None).await.expect("stored").samples, 5);
}

#[test]
fn requests_at_the_same_time_take_no_place_twice() {
    let bench = bench("ingest: {series_per_sender_max: 100}");
    let kudus = named("kudus");
    let send = &|number: usize| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(bench.send(&kudus, &many(1000 * number, 50), None)).expect("in part").samples
    };
    let stored: u64 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|number| scope.spawn(move || send(number))).collect();
        threads.into_iter().map(|thread| thread.join().expect("it ends well")).sum()
    });
    assert_eq!((stored, bench.ingest.senders()[0].series), (100, 100));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(24))]

    /// Whatever one sender does, another one within its limits has all of its samples stored; and what a sender once had goes on.
    #[test]
    fn a_sender_past_its_limit_harms_no_other(
        steps in proptest::collection::vec((0usize..60, 1usize..30, proptest::bool::ANY), 1..12),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let bench = bench("ingest: {series_per_sender_max: 20, new_series_per_minute_max: 30}");
            let (greedy, modest) = (named("greedy"), named("modest"));
            let mut had: std::collections::BTreeSet<usize> = Default::default();
            for (round, (first, count, both)) in steps.into_iter().enumerate() {
                let outcome = bench.send(&greedy, &many(first, count), None).await.expect("taken");
                let old = (first..first + count).filter(|number| had.contains(number)).count() as u64;
                assert!(outcome.samples >= old, "old series go on: {} of {old}", outcome.samples);
                if outcome.refusals.is_empty() {
                    had.extend(first..first + count);
                }
                assert!(bench.ingest.senders().iter().all(|sender| sender.series <= 20));
                if both {
                    let outcome = bench.send(&modest, &many(0, 10 + round % 10), None).await.expect("taken");
                    assert_eq!((outcome.samples, outcome.refusals.samples()), (10 + round as u64 % 10, 0));
                }
            }
        });
    }
}

#[tokio::test]
async fn other_limits_are_taken_over_while_it_runs_and_what_is_there_goes_on() {
    let bench = bench("ingest: {series_per_sender_max: 10}");
    let kudus = named("kudus");
    assert_eq!(bench.send(&kudus, &many(0, 10), None).await.expect("stored").samples, 10);
    let config =
        |text: &str| Checked::parse(text, "test", std::path::Path::new("")).expect("good settings").ingest;
    bench.ingest.reload(&config("ingest: {series_per_sender_max: 5}"));
    assert_eq!(bench.send(&kudus, &many(0, 20), None).await.expect("in part").samples, 10);
    bench.ingest.reload(&config("ingest: {series_per_sender_max: 15}"));
    assert_eq!(bench.send(&kudus, &many(0, 20), None).await.expect("in part").samples, 15);
}
