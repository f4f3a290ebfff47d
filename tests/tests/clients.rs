//! Clients that people already have read it as they read Prometheus.

use std::process::Command;
use std::time::Duration;

use pantau_tests::pantau::Collector;
use pantau_tests::peers::{peer, peers_folder};
use pantau_tests::running::Running;
use pantau_tests::{free_port, wait_for};

fn with_this_host(folder: &std::path::Path) -> Collector {
    let collector = Collector::start(
        folder,
        "agent: {inputs: {host: {interval: 1s, timeout: 1s, source_timeout: 1s}}}\n",
    );
    // Two rounds: clients cut the time of a query to whole seconds, which may be before the first round.
    collector.wait_for_value("count_over_time(node_load1[1m])", |rounds| rounds >= 2.0);
    collector
}

#[test]
fn without_settings_this_host_can_be_queried_at_once() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let collector = Collector::start(folder.path(), "");
    let load = collector.wait_for_value("node_load1", |_| true);
    assert!((0.0..10_000.0).contains(&load), "{load}");
    let memory = collector.wait_for_value("node_memory_MemTotal_bytes", |_| true);
    assert!(memory > 1e7, "{memory}");
    let url = format!("{}/api/v1/query?query=node_load1", collector.base);
    let reply = collector.http.get(&url).expect("an answer").json();
    assert_eq!(reply["status"], "success");
    assert_eq!(reply["data"]["result"][0]["metric"]["job"], "node");
}

#[test]
fn promtool_reads_it() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let Some(mut promtool) = peer("usr/bin/promtool") else { return };
    let collector = with_this_host(folder.path());
    let output =
        promtool.args(["query", "instant", &collector.base, "node_load1"]).output().expect("promtool starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("node_load1{"),
        "{text} {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let mut promtool = peer("usr/bin/promtool").expect("it was there");
    let output =
        promtool.args(["query", "labels", &collector.base, "job"]).output().expect("promtool starts");
    assert!(String::from_utf8_lossy(&output.stdout).lines().any(|line| line == "node"), "{output:?}");
}

#[test]
fn the_python_client_reads_it() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    if peer("usr/bin/promtool").is_none() {
        return;
    }
    let collector = with_this_host(folder.path());
    let program = "import sys\n\
        from prometheus_api_client import PrometheusConnect\n\
        client = PrometheusConnect(url=sys.argv[1], disable_ssl=True)\n\
        assert client.check_prometheus_connection()\n\
        assert 'node_load1' in client.all_metrics()\n\
        current = client.get_current_metric_value(metric_name='node_load1')\n\
        assert len(current) == 1 and float(current[0]['value'][1]) >= 0, current\n\
        rows = client.custom_query_range('node_load1', *[__import__('datetime').datetime.fromtimestamp(t) for t in \
        (__import__('time').time() - 60, __import__('time').time() + 2)], step='1s')\n\
        assert len(rows) == 1 and rows[0]['values'], rows\n\
        print('read')\n";
    let output = Command::new("python3")
        .args(["-c", program, &collector.base])
        .env("PYTHONPATH", peers_folder().join("python"))
        .output()
        .expect("python3 starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(String::from_utf8_lossy(&output.stdout).contains("read"), "{errors}");
}

/// The folder of npm's packages, where they and node are there.
fn npm_folder() -> Option<std::path::PathBuf> {
    let folder = std::env::var_os("PANTAU_NPM").map_or_else(|| peers_folder().join("npm"), Into::into);
    let node = Command::new("node").arg("--version").output().is_ok_and(|output| output.status.success());
    if node && folder.join("node_modules/prometheus-query").is_dir() {
        return Some(folder);
    }
    println!("left out: node, or npm's prometheus-query in {}, is not there", folder.display());
    None
}

#[test]
fn the_javascript_client_reads_it() {
    let Some(npm) = npm_folder() else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let rules = folder.path().join("rules.yml");
    std::fs::write(
        &rules,
        "groups:\n- name: javascript\n  interval: 1s\n  rules:\n  - {record: 'load:max', expr: max(node_load1)}\n  \
         - {alert: Loaded, expr: node_load1 >= 0, annotations: {summary: the host is there}}\n",
    )
    .expect("rules can be written");
    let settings = format!(
        "rules: {{files: ['{}']}}\nagent: {{inputs: {{host: {{interval: 1s, timeout: 1s, source_timeout: 1s}}}}}}\n",
        rules.display()
    );
    let collector = Collector::start(folder.path(), &settings);
    collector.wait_for_value("count_over_time(node_load1[1m])", |rounds| rounds >= 2.0);
    collector.wait_for_value("ALERTS{alertname=\"Loaded\",alertstate=\"firing\"}", |firing| firing == 1.0);
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/read.js");
    let output =
        Command::new("node").arg(program).arg(npm).arg(&collector.base).output().expect("node starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(String::from_utf8_lossy(&output.stdout).contains("read"), "{errors}");
}

#[test]
fn prometheus_sends_to_it_and_scrapes_it() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let Some(mut command) = peer("usr/bin/prometheus") else { return };
    let collector = with_this_host(folder.path());
    let address = collector.base.strip_prefix("http://").expect("plain HTTP");
    let port = free_port();
    let config = format!(
        "global: {{scrape_interval: 1s}}\n\
         remote_write: [{{url: \"{}/api/v1/write\", queue_config: {{batch_send_deadline: 1s}}}}]\n\
         scrape_configs:\n\
         - {{job_name: own, metrics_path: /metrics, static_configs: [{{targets: [\"{address}\"]}}]}}\n\
         - {{job_name: federate, honor_labels: true, metrics_path: /federate, params: {{'match[]': ['{{job=\"node\"}}']}},\n\
         \x20  static_configs: [{{targets: [\"{address}\"]}}]}}\n\
         - {{job_name: prometheus, static_configs: [{{targets: [\"127.0.0.1:{port}\"]}}]}}\n",
        collector.base
    );
    let path = folder.path().join("prometheus.yml");
    std::fs::write(&path, config).expect("the configuration can be written");
    command
        .arg(format!("--config.file={}", path.display()))
        .arg(format!("--storage.tsdb.path={}", folder.path().join("prometheus").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"));
    let mut prometheus = Running::start("prometheus", &mut command, folder.path());
    let theirs = format!("http://127.0.0.1:{port}");
    prometheus.wait_until("its own value through remote write", || {
        collector.value("prometheus_build_info").filter(|value| *value == 1.0)
    });
    for query in ["pantau_build_info", "node_load1{job=\"node\"}", "min(up{job=~\"own|federate\"}) == 1"] {
        wait_for(query, Duration::from_secs(30), || collector.http.query_value(&theirs, query));
    }
    let ours = collector.value("prometheus_remote_storage_samples_failed_total");
    assert!(ours.is_none_or(|failed| failed == 0.0), "{ours:?} samples were refused");
}
