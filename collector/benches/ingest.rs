//! What a sample costs from an unpacked request to the store's answer: `cargo bench -p pantau-collector --bench ingest`.
//!
//! 2,000 series that the sender sent before, one sample each (what Prometheus sends by default), at times that grow: remote
//! write 1.0 and 2.0. The disk's part (one fsync a request) is in it; `CPU` beside it is the process' own CPU time a sample.

use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use model::{Labels, Timestamp};
use pantau_collector::ingest::{Ingest, Origin, Request, Stamp};
use pantau_collector::ledger::Ledger;
use pantau_collector::metrics::Metrics;
use pantau_collector::settings::Checked;
use pantau_collector::storage;
use wire::negotiate::Message;

const SERIES: usize = 2_000;

fn labels() -> Vec<Labels> {
    let series = |number: usize| {
        Labels::from_pairs([
            ("__name__", "node_cpu_seconds_total".to_owned()),
            ("cpu", (number % 64).to_string()),
            ("instance", format!("node-{}.example.go.id:9100", number / 64)),
            ("job", "node".to_owned()),
            ("mode", ["user", "system", "idle", "iowait"][number % 4].to_owned()),
            ("monitor", "prometheus-kudus".to_owned()),
        ])
    };
    (0..SERIES).map(series).collect()
}

fn payload_v1(labels: &[Labels], at: Timestamp, value: f64) -> Vec<u8> {
    let mut writer = wire::v1::Writer::default();
    labels
        .iter()
        .enumerate()
        .for_each(|(number, labels)| writer.series(labels, [(at, value + number as f64)]));
    writer.finish()
}

struct Sender2 {
    encoder: wire::v2::Encoder,
    tokens: Vec<wire::v2::Token>,
}

impl Sender2 {
    fn new(labels: &[Labels]) -> Self {
        let mut encoder = wire::v2::Encoder::new();
        let tokens = labels.iter().map(|labels| encoder.register(labels, None)).collect();
        Self { encoder, tokens }
    }

    fn payload(&mut self, at: Timestamp, value: f64) -> Vec<u8> {
        for (number, token) in self.tokens.iter().enumerate() {
            assert!(self.encoder.sample(*token, at, value + number as f64), "the series is known");
        }
        let mut payload = Vec::new();
        self.encoder.finish(&mut payload);
        self.encoder.begin();
        payload
    }
}

fn cpu() -> Duration {
    let usage = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = usage.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}

fn ingest(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let labels = labels();
    for message in [Message::V1, Message::V2] {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = Checked::parse("", "bench", folder.path()).expect("defaults");
        let ledger = Ledger::new();
        let store = storage::open(folder.path(), &settings.storage, &ledger).expect("opened");
        let ingest = Ingest::new(&settings, ledger, Arc::new(Metrics::new()));
        ingest.set_store(store);
        let origin = Origin {
            name: "bench".into(),
            stamp: Stamp { region: Some("33.19".into()), ..Stamp::default() },
        };
        let mut sender = Sender2::new(&labels);
        let mut at = Timestamp::from_millis(1_800_000_000_000);
        let (mut spent, mut samples) = (Duration::ZERO, 0u64);
        let mut group = criterion.benchmark_group("ingest");
        group.throughput(Throughput::Elements(SERIES as u64)).sample_size(20);
        group.bench_function(format!("{message:?}, 2,000 known series"), |bencher| {
            bencher.iter_custom(|rounds| {
                let payloads: Vec<(Timestamp, Vec<u8>)> = (0..rounds)
                    .map(|round| {
                        at = at + Duration::from_secs(15);
                        let payload = match message {
                            Message::V1 => payload_v1(&labels, at, round as f64),
                            Message::V2 => sender.payload(at, round as f64),
                        };
                        (at, payload)
                    })
                    .collect();
                let (begun, before) = (Instant::now(), cpu());
                for (at, payload) in &payloads {
                    let request =
                        Request { origin: &origin, message, payload, envelope: None, received_at: *at };
                    let outcome = runtime.block_on(ingest.write(request)).expect("stored");
                    assert_eq!(outcome.samples, SERIES as u64);
                }
                spent += cpu() - before;
                samples += rounds * SERIES as u64;
                begun.elapsed()
            });
        });
        group.finish();
        eprintln!(
            "{message:?}: {:.0} ns of CPU a sample, over {samples} samples",
            spent.as_nanos() as f64 / samples as f64
        );
    }
}

criterion_group!(benches, ingest);
criterion_main!(benches);
