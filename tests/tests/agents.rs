//! Agents on other machines: enrolled over TLS, revoked at once, with everything that they watch.

use std::time::Duration;

use pantau_tests::pantau::{Agent, Collector};
use pantau_tests::peers::peer;
use pantau_tests::running::Running;
use pantau_tests::{free_port, wait_for};

fn agent_config(collector: &Collector, token_file: &std::path::Path, inputs: &str) -> String {
    let authority = collector.folder.join("data/tls/ca.pem");
    let trust =
        if authority.exists() { format!(", ca_file: {}", authority.display()) } else { String::new() };
    format!(
        "identity: {{instance: edge}}\nspool: {{folder: {{spool}}}}\ninputs: {{{inputs}}}\n\
         uplink: {{collectors: [\"{}\"], token: {{file: {}}}{trust}}}\n",
        collector.base,
        token_file.display()
    )
}

/// An agent that is enrolled and has these inputs.
pub(crate) fn enrolled(folder: &std::path::Path, collector: &Collector, inputs: &str) -> Agent {
    let token = folder.join("token");
    std::fs::write(&token, collector.enrol("edge", "33.19", "kudus-1")).expect("the token can be written");
    Agent::start(&folder.join("agent"), &agent_config(collector, &token, inputs))
}

#[test]
fn the_one_printed_line_is_all_that_another_machine_needs() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let collector = Collector::start_with_tls(&folder.path().join("collector"), "agent: {enabled: false}\n");
    let said = collector.command(&["agents", "add", "edge", "--region", "33.19", "--site", "kudus-1"]);
    let line = said.lines().find(|line| line.contains("pantau-agent run")).expect("the line to run");
    // Only where it writes is ours to say: the test is not root everywhere.
    let place = folder.path().join("etc");
    let line = line.replace("/etc/pantau", &place.display().to_string());
    let line = line.replace("| sudo sh", "| sh");
    let (prepare, rest) = line.split_once("&& sudo pantau-agent run").expect("files first, then the program");
    assert_eq!(rest, "");
    let prepared = std::process::Command::new("sh").args(["-c", prepare]).status().expect("a shell");
    assert!(prepared.success(), "{prepare}");
    let settings = std::fs::read_to_string(place.join("agent.yaml")).expect("the line wrote the settings");
    let settings = format!("{settings}spool: {{folder: {}}}\n", folder.path().join("spool").display());
    std::fs::write(place.join("agent.yaml"), settings).expect("the settings can be written");
    let mut command = pantau_tests::peers::program("pantau-agent");
    command.arg("run").arg("--config").arg(place.join("agent.yaml"));
    let _agent = Running::start("agent", &mut command, folder.path());
    collector.wait_for_value("node_load1{region=\"33.19\",site=\"kudus-1\"}", |_| true);
}

const FAST_HOST: &str =
    "host: {interval: 1s, timeout: 1s, source_timeout: 1s, collectors: {include: \"loadavg|time|uname\"}}";

#[test]
fn an_agent_reports_over_tls_is_stamped_and_revocation_bites_at_once() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let collector = Collector::start_with_tls(&folder.path().join("collector"), "agent: {enabled: false}\n");
    let mut agent = enrolled(folder.path(), &collector, FAST_HOST);
    collector.wait_for_value("node_load1{instance=\"edge\",region=\"33.19\",site=\"kudus-1\"}", |_| true);
    collector.wait_for_value("pantau_agent_connected{agent=\"edge\"}", |connected| connected == 1.0);
    assert!(collector.command(&["agents", "list"]).contains("edge"));

    collector.command(&["agents", "revoke", "edge"]);
    wait_for("the agent to be told", Duration::from_secs(30), || {
        agent.running().log().contains("unknown or revoked").then_some(())
    });
    let newest = "max(timestamp(node_time_seconds{instance=\"edge\"}))";
    let at_revocation = collector.value(newest).expect("the series is there");
    // Rounds go on being made, one a second: none of them comes.
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(collector.value(newest), Some(at_revocation), "a revoked agent went on");
}

#[test]
fn an_agent_that_was_cut_off_drains_its_spool() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut collector = Collector::start(&folder.path().join("collector"), "agent: {enabled: false}\n");
    let mut agent = enrolled(folder.path(), &collector, FAST_HOST);
    let count = "count_over_time(node_time_seconds{instance=\"edge\"}[1h])";
    collector.wait_for_value(count, |count| count >= 2.0);
    collector.running().stop();
    std::thread::sleep(Duration::from_secs(3));
    agent.running().kill();
    agent.restart();
    collector.restart();
    // Six half seconds were spooled while nobody listened.
    collector.wait_for_value(count, |count| count >= 8.0);
    let gaps = collector.command(&["agents", "gaps", "--json"]);
    assert!(!gaps.contains("\"cut\"") && !gaps.contains("\"shed\""), "all that was spooled came: {gaps}");
}

#[test]
fn a_node_exporter_is_scraped_through_an_agent() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let Some(mut exporter) = peer("usr/bin/prometheus-node-exporter") else { return };
    let port = free_port();
    let mut exporter = Running::start(
        "node-exporter",
        exporter.arg(format!("--web.listen-address=127.0.0.1:{port}")),
        folder.path(),
    );
    let collector = Collector::start(&folder.path().join("collector"), "agent: {enabled: false}\n");
    let inputs = format!(
        "host: {{enabled: false}}, scrape: [{{job_name: exporters, scrape_interval: 1s, static_configs: [{{targets: [\"127.0.0.1:{port}\"]}}]}}]"
    );
    let _agent = enrolled(folder.path(), &collector, &inputs);
    let up = format!("up{{job=\"exporters\",instance=\"127.0.0.1:{port}\"}}");
    collector.wait_for_value(&up, |up| up == 1.0);
    collector.wait_for_value("node_load1{job=\"exporters\",region=\"33.19\"}", |_| true);
    let samples = collector.wait_for_value("scrape_samples_scraped{job=\"exporters\"}", |_| true);
    assert!(samples > 300.0, "{samples}");

    exporter.stop();
    collector.wait_for_value(&up, |up| up == 0.0);
    wait_for("stale markers", Duration::from_secs(10), || {
        collector.value("node_load1{job=\"exporters\"}").is_none().then_some(())
    });
    let page = collector.http.get(&format!("{}/?lang=id", collector.base)).expect("a page");
    assert!(page.body.contains(&format!("exporters 127.0.0.1:{port}")), "{}", page.body);
}
