//! How long the evaluator takes, without any store: series are generated into memory first. Prints the least of ten runs each.
//!
//! `cargo bench -p promql`. The first two are the query goals of the project (there over HTTP, against Prometheus and VictoriaMetrics).

#[path = "../tests/conformance/store.rs"]
#[allow(dead_code, reason = "the scripts need more of it")]
mod store;

use std::time::{Duration, Instant};

use model::{Labels, Timestamp};
use promql::Options;
use store::Store;

const HOURS: i64 = 6;

fn filled(series: usize) -> Store {
    let mut store = Store::default();
    store.clear();
    for at in 0..series {
        let labels = Labels::from_pairs([
            ("__name__", "node_cpu_seconds_total".to_owned()),
            ("cpu", (at % 8).to_string()),
            ("instance", format!("host-{:03}:9100", at / 16)),
            ("job", "node".to_owned()),
            ("mode", ["idle", "user"][at / 8 % 2].to_owned()),
            ("region", "33.19".to_owned()),
        ]);
        for step in 0..HOURS * 240 {
            store.insert(&labels, step * 15_000 + 3, (step * 15) as f64 * 0.37 + at as f64);
        }
    }
    store
}

fn measure(name: &str, store: &Store, expr: &str, range: bool) {
    let options = Options::default();
    let end = Timestamp::from_millis(HOURS * 3_600_000);
    let run = || match range {
        true => promql::range(store, expr, Timestamp::from_millis(0), end, Duration::from_secs(60), &options),
        false => promql::instant(store, expr, end, &options),
    };
    let mut best = Duration::MAX;
    let mut peak = 0;
    for _ in 0..10 {
        let start = Instant::now();
        let answer = run().expect("the query is right");
        best = best.min(start.elapsed());
        peak = answer.statistics.samples_peak;
    }
    println!("{name:<34}{:>10.2} ms   peak {peak:>9} points   {expr}", best.as_secs_f64() * 1000.0);
}

fn main() {
    // Test runners that build all targets call this too, unoptimised; only `cargo bench` passes the flag.
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("skipped: run by cargo bench -p promql");
        return;
    }
    let thousand = filled(1000);
    let two_thousand = filled(2000);
    measure(
        "read only: 1,000 series, 6 h",
        &thousand,
        "count(last_over_time(node_cpu_seconds_total[15s]))",
        true,
    );
    measure(
        "rate: 1,000 series, 6 h at 60 s",
        &thousand,
        "sum by (instance) (rate(node_cpu_seconds_total[5m]))",
        true,
    );
    measure(
        "rate: 2,000 series, 6 h at 60 s",
        &two_thousand,
        "sum by (mode) (rate(node_cpu_seconds_total[5m]))",
        true,
    );
    measure("sum_over_time, 1 h windows", &thousand, "max(sum_over_time(node_cpu_seconds_total[1h]))", true);
    measure("max_over_time, 1 h windows", &thousand, "max(max_over_time(node_cpu_seconds_total[1h]))", true);
    measure(
        "division of 500 by 500",
        &thousand,
        "node_cpu_seconds_total{mode=\"idle\"} / ignoring (mode) node_cpu_seconds_total{mode=\"user\"}",
        true,
    );
    measure("topk", &thousand, "topk(5, node_cpu_seconds_total)", true);
    measure("instant count, 2,000 series", &two_thousand, "count({__name__=~\".+\"})", false);
}
