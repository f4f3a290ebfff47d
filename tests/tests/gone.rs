//! A folder that is deleted under a running program: nothing is acknowledged that would be lost, and the program says what happened.

use std::time::Duration;

use model::Labels;
use pantau_tests::pantau::{Agent, Collector};
use pantau_tests::{wait_for, writer};

#[test]
fn a_collector_whose_store_was_deleted_answers_503_and_says_why() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut collector = Collector::start(folder.path(), "agent: {enabled: false}\n");
    let labels = Labels::from_pairs([("__name__", "kept"), ("job", "test")]);
    let send = |collector: &Collector, value: f64| {
        let body = writer::body(&[(&labels, &[(writer::now(), value)])]);
        writer::send(&collector.http, &collector.base, body).expect("an answer")
    };
    assert_eq!(send(&collector, 1.0).status, 204);
    std::fs::remove_dir_all(folder.path().join("data/store")).expect("the folder can be deleted");
    for _ in 0..2 {
        let answer = send(&collector, 2.0);
        assert_eq!(answer.status, 503, "{}", answer.body);
        assert!(answer.body.contains("removed, renamed or replaced"), "{}", answer.body);
        assert!(answer.header("retry-after").is_some());
    }
    assert_eq!(collector.value("kept"), Some(1.0), "what is in memory is still served");
    assert!(collector.running().log().contains("removed, renamed or replaced"));
}

#[test]
fn an_agent_whose_spool_was_deleted_says_so_and_goes_on_from_memory() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let collector = Collector::start(&folder.path().join("collector"), "agent: {enabled: false}\n");
    let token = folder.path().join("token");
    std::fs::write(&token, collector.enrol("edge", "33.19", "kudus-1")).expect("the token can be written");
    let config = format!(
        "identity: {{instance: edge}}\nspool: {{folder: {{spool}}}}\n\
         inputs: {{host: {{interval: 1s, timeout: 1s, source_timeout: 1s, collectors: {{include: \"loadavg|time\"}}}}}}\n\
         uplink: {{collectors: [\"{}\"], token: {{file: {}}}}}\n",
        collector.base,
        token.display()
    );
    let mut agent = Agent::start(&folder.path().join("agent"), &config);
    let newest = "max(timestamp(node_time_seconds{instance=\"edge\"}))";
    collector.wait_for_value(newest, |_| true);
    std::fs::remove_dir_all(folder.path().join("agent/spool")).expect("the folder can be deleted");
    let said = wait_for("the agent to say so", Duration::from_secs(30), || {
        let log = agent.running().log();
        log.lines().find(|line| line.contains("removed, renamed or replaced")).map(str::to_owned)
    });
    assert!(said.contains("batches wait in memory"), "{said}");
    let at_that = collector.value(newest).expect("it was there");
    collector.wait_for_value(newest, |at| at > at_that + 2.0);
    assert!(agent.running().is_running());
}
