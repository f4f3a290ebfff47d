//! What a matcher costs over a million series, in the block's index and in memory: milliseconds and bytes, in two shapes.
//! `cargo bench -p tsdb --features probe --bench index`; the best of some runs counts, as the machine has other work too.

use std::time::{Duration, Instant};

use model::{Labels, MatchOp, Matcher};
use tsdb::probe::index::{Block, Head};

const RUNS: usize = 20;

/// Matchers of one question.
type Question = &'static [(&'static str, MatchOp, &'static str)];

const QUESTIONS: [Question; 11] = [
    &[("instance", MatchOp::Regex, "node-0.*")],
    &[("instance", MatchOp::Regex, "node-0[0-9]*0")],
    &[("instance", MatchOp::Regex, "node-0001|node-0002|node-000003")],
    &[("instance", MatchOp::Regex, ".*99.*")],
    &[("__name__", MatchOp::Equal, "metric_001"), ("instance", MatchOp::Regex, "node-0.*")],
    &[("__name__", MatchOp::Equal, "metric_001"), ("job", MatchOp::Equal, "node")],
    &[("__name__", MatchOp::Equal, "metric_001"), ("job", MatchOp::NotEqual, "other")],
    &[("instance", MatchOp::Equal, "node-0001"), ("__name__", MatchOp::NotRegex, "metric_.*[02468]")],
    &[("job", MatchOp::Regex, ".+")],
    &[("instance", MatchOp::NotRegex, "node-0.*")],
    &[],
];

/// 2,000 hosts of 500 series each.
fn hosts() -> Vec<Labels> {
    let series = (0..2000).flat_map(|host| (0..500).map(move |metric| (host, metric)));
    series
        .map(|(host, metric)| {
            Labels::from_pairs([
                ("__name__", format!("metric_{:03}", metric / 4)),
                ("cpu", (metric % 4).to_string()),
                ("instance", format!("node-{host:04}")),
                ("job", "node".to_owned()),
                ("mode", ["idle", "user", "system"][metric % 3].to_owned()),
                ("region", format!("33.{:02}", host % 35)),
                ("site", format!("site-{}", host % 35)),
                ("agent", format!("agent-{:02}", host % 35)),
                ("rack", format!("r{}", host % 12)),
                ("role", ["db", "web", "cache", "mail"][host % 4].to_owned()),
            ])
        })
        .collect()
}

/// 2,000 hosts of 500 series each whose ids lie far apart: no label between name and instance.
fn scattered() -> Vec<Labels> {
    let series = (0..2000).flat_map(|host| (0..500).map(move |metric| (host, metric)));
    let labels = series.map(|(host, metric)| {
        Labels::from_pairs([
            ("__name__", format!("metric_{metric:03}")),
            ("instance", format!("node-{host:04}")),
            ("job", "node".to_owned()),
        ])
    });
    labels.collect()
}

/// A million instances of one series each.
fn instances() -> Vec<Labels> {
    let series = (0..1_000_000usize).map(|host| {
        Labels::from_pairs([
            ("__name__", "metric_001".to_owned()),
            ("instance", format!("node-{host:06}")),
            ("job", "node".to_owned()),
            ("region", format!("33.{:02}", host % 35)),
        ])
    });
    series.collect()
}

fn best(mut run: impl FnMut() -> u64) -> (u64, Duration) {
    let mut best = (0, Duration::MAX);
    for _ in 0..RUNS {
        let begun = Instant::now();
        let found = run();
        best = (found, best.1.min(begun.elapsed()));
    }
    best
}

fn shape(name: &str, mut sets: Vec<Labels>) {
    let mut head = Head::default();
    let begun = Instant::now();
    sets.iter().for_each(|labels| head.add(labels));
    let added = begun.elapsed().as_nanos() as usize / sets.len();
    sets.sort_unstable();
    let begun = Instant::now();
    let (block, held) = Block::build(&sets);
    let built = begun.elapsed().as_nanos() as usize / sets.len();
    let bytes: usize = block.frames().map(<[u8]>::len).sum();
    println!("{name}: {} series", sets.len());
    println!("  in memory {} bytes a series, {added} ns to add", head.bytes() as f64 / sets.len() as f64);
    println!(
        "  in a block {} bytes a series, {built} ns to build, {} MiB held while building",
        bytes as f64 / sets.len() as f64,
        held >> 20
    );
    println!("  {:<70} {:>9} {:>10} {:>10}", "", "found", "block, ms", "head, ms");
    for question in QUESTIONS {
        let matchers: Vec<Matcher> =
            question.iter().map(|(name, op, value)| Matcher::new(name, *op, value).expect("valid")).collect();
        let in_block = best(|| block.find(&matchers).expect("whole"));
        let in_head = best(|| head.find(&matchers) as u64);
        assert_eq!(in_block.0, in_head.0);
        let text: Vec<String> = matchers.iter().map(ToString::to_string).collect();
        let millis = |time: Duration| time.as_secs_f64() * 1e3;
        println!(
            "  {:<70} {:>9} {:>10.3} {:>10.3}",
            format!("{{{}}}", text.join(", ")),
            in_block.0,
            millis(in_block.1),
            millis(in_head.1)
        );
    }
}

fn main() {
    shape("hosts", hosts());
    shape("scattered", scattered());
    shape("instances", instances());
}
