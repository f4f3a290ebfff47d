//! `pantau-collector store …` as an operator uses it, and against those who read and write the same formats: promtool and VictoriaMetrics.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use pantau_tests::http::Http;
use pantau_tests::pantau::Collector;
use pantau_tests::peers::{peer, program};
use pantau_tests::running::Running;
use pantau_tests::{free_port, writer};

/// A collector's folder; nothing runs.
fn folder_of(path: &Path) -> Collector {
    Collector::prepare(path, "agent: {enabled: false}\n", "http")
}

/// Runs a word of `store` with this standard input.
fn store(collector: &Collector, words: &[&str], input: &str) -> Output {
    let mut command = program("pantau-collector");
    command.arg("--config").arg(collector.folder.join("pantau.yaml")).arg("store").args(words);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the collector's program can be started");
    let mut stdin = child.stdin.take().expect("it was asked for");
    let input = input.to_owned();
    // It may end before it has read everything.
    let feeder = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let output = child.wait_with_output().expect("our own child can be waited for");
    feeder.join().expect("the feeder ends well");
    output
}

/// The same; it must end with this code. What it printed.
fn ends(collector: &Collector, words: &[&str], input: &str, code: i32) -> (String, String) {
    let output = store(collector, words, input);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, errors) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{words:?}: {out}{errors}");
    (out, errors)
}

fn seconds_ago(seconds: i64) -> i64 {
    writer::now().as_millis() / 1000 - seconds
}

/// OpenMetrics with all kinds of values, labels and times that OpenMetrics can carry; within the last two hours.
fn openmetrics() -> String {
    use std::fmt::Write as _;
    let start = seconds_ago(3600);
    let mut text = String::from("# HELP node_load1 1m load average.\n# TYPE node_load1 gauge\n");
    for host in ["a:9100", "b \\\"quoted\\\" \\\\ and\\nlong"] {
        for step in 0..40 {
            let value = f64::from(step) / 8.0 - 2.0;
            writeln!(
                text,
                "node_load1{{instance=\"{host}\",job=\"node\"}} {value} {}.{:03}",
                start + step as i64 * 15,
                step * 7
            )
            .expect("a String takes everything");
        }
    }
    text.push_str("# TYPE odd unknown\n");
    for (at, value) in
        ["NaN", "+Inf", "-Inf", "-0", "1e+300", "5e-324", "0.1", "123456789012345680"].iter().enumerate()
    {
        writeln!(text, "odd {value} {}.001", start + at as i64).expect("a String takes everything");
    }
    text.push_str("# HELP wait_seconds Waiting.\n# TYPE wait_seconds histogram\n");
    for (le, count) in [("0.5", 1), ("+Inf", 3)] {
        writeln!(text, "wait_seconds_bucket{{le=\"{le}\"}} {count} {start}.5")
            .expect("a String takes everything");
    }
    writeln!(text, "wait_seconds_count 3 {start}.5\nwait_seconds_sum 1.25 {start}.5")
        .expect("a String takes everything");
    text.push_str("# TYPE requests counter\n");
    writeln!(text, "requests_total{{code=\"200\"}} 17 {start}.25\n# EOF").expect("a String takes everything");
    text
}

/// promtool's dump of the blocks that it makes of an OpenMetrics text, in order.
fn promtool_dump(folder: &Path, text: &str) -> Option<Vec<String>> {
    let (file, blocks) = (folder.join("in.om"), folder.join("blocks"));
    std::fs::write(&file, text).expect("written");
    std::fs::create_dir_all(blocks.join("wal")).expect("made"); // without one it does not dump
    let run = |mut command: Command, words: &[&Path]| {
        let output = command.args(words).output().expect("promtool starts");
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    run(
        peer("usr/bin/promtool")?,
        &[Path::new("tsdb"), Path::new("create-blocks-from"), Path::new("openmetrics"), &file, &blocks],
    );
    let dump = run(peer("usr/bin/promtool")?, &[Path::new("tsdb"), Path::new("dump"), &blocks]);
    std::fs::remove_dir_all(&blocks).expect("removed");
    let mut lines: Vec<String> = dump.lines().map(str::to_owned).collect();
    lines.sort_unstable();
    Some(lines)
}

#[test]
fn what_promtool_dumps_comes_in_and_what_we_export_promtool_reads() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let Some(theirs) = promtool_dump(folder.path(), &openmetrics()) else { return };
    assert_eq!(theirs.len(), 80 + 8 + 4 + 1);
    let collector = folder_of(&folder.path().join("ours"));
    let dump = folder.path().join("dump.txt");
    std::fs::write(&dump, theirs.join("\n") + "\n").expect("written");
    let (said, _) = ends(&collector, &["import", dump.to_str().expect("a name")], "", 0);
    assert!(said.starts_with("read 93 lines: 93 samples stored, 0 were there already"), "{said}");
    let (said, _) = ends(&collector, &["import", "--format", "dump", "-"], &(theirs.join("\n") + "\n"), 0);
    assert!(said.starts_with("read 93 lines: 0 samples stored, 93 were there already"), "{said}");
    let (exported, said) = ends(&collector, &["export"], "", 0);
    assert!(said.contains("exported 93 samples of 8 series"), "{said}");
    assert_eq!(promtool_dump(folder.path(), &exported), Some(theirs));
}

#[test]
fn openmetrics_goes_in_and_out_with_what_is_known_of_its_metrics() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (one, other) = (folder_of(&folder.path().join("one")), folder_of(&folder.path().join("other")));
    ends(&one, &["import"], &openmetrics(), 0);
    let (exported, _) = ends(&one, &["export"], "", 0);
    for line in
        ["# HELP wait_seconds Waiting.", "# TYPE requests counter", "# HELP node_load1 1m load average."]
    {
        assert!(exported.lines().any(|have| have == line), "{line} is not in\n{exported}");
    }
    let path = folder.path().join("out.om");
    let out = path.to_str().expect("a name");
    ends(&one, &["export", "--out", out], "", 0);
    assert_eq!(std::fs::read_to_string(&path).expect("written"), exported);
    ends(&other, &["import", out], "", 0);
    assert_eq!(ends(&other, &["export"], "", 0).0, exported);
    let selected =
        ends(&one, &["export", "--match", "node_load1{instance=\"a:9100\"}", "--match", "odd"], "", 0).0;
    assert_eq!(selected.lines().filter(|line| !line.starts_with('#')).count(), 48);
    let start = seconds_ago(3600 - 300).to_string();
    let cut = ends(&one, &["export", "--start", &start, "--match", "node_load1"], "", 0).0;
    assert!(cut.lines().count() < 50 && cut.lines().count() > 20, "{cut}");
}

#[test]
fn victoria_metrics_reads_ours_and_we_read_its_export() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let Some(mut command) = peer("usr/bin/victoria-metrics") else { return };
    let port = free_port();
    command
        .arg(format!("-storageDataPath={}", folder.path().join("victoria").display()))
        .arg(format!("-httpListenAddr=127.0.0.1:{port}"))
        .arg("-retentionPeriod=100y");
    let mut victoria = Running::start("victoria-metrics", &mut command, folder.path());
    let (http, base) = (Http::default(), format!("http://127.0.0.1:{port}"));
    victoria.wait_until("healthy", || {
        http.get(&format!("{base}/health")).ok().filter(|answer| answer.status == 200)
    });

    let (one, other) = (folder_of(&folder.path().join("one")), folder_of(&folder.path().join("other")));
    ends(&one, &["import"], &openmetrics(), 0);
    // What VictoriaMetrics keeps: no NaN, no -0, twelve digits or so.
    let which = ["export", "--format", "json"];
    let (ours, _) = ends(&one, &which, "", 0);
    let answer =
        http.post(&format!("{base}/api/v1/import"), &[], ours.clone().into_bytes()).expect("an answer");
    assert_eq!(answer.status, 204, "{}", answer.body);
    http.get(&format!("{base}/internal/force_flush")).expect("an answer");
    let export = format!("{base}/api/v1/export?match[]=%7B__name__!=%22%22%7D&start=0");
    let theirs = http.get(&export).expect("an answer").body;
    assert_eq!(theirs.lines().count(), ours.lines().count(), "{theirs}\n{}", victoria.log());
    let (said, errors) = ends(&other, &["import"], &theirs, 0);
    assert!(said.contains("92 samples stored"), "all but the NaN: {said}{errors}");
    let odd =
        |text: &str| text.lines().find(|line| line.contains("\"odd\"")).expect("it is there").to_owned();
    let (back, _) = ends(&other, &which, "", 0);
    let lines = |text: &str| -> BTreeSet<String> {
        text.lines().filter(|line| !line.contains("\"odd\"")).map(str::to_owned).collect()
    };
    assert_eq!(lines(&back), lines(&ours));
    assert!(odd(&back).contains("[1e999,-1e999,0,"), "{}", odd(&back));
    assert!(
        odd(&ours).contains("[NaN,1e999,-1e999,-0,1e300,5e-324,0.1,1.2345678901234568e17]"),
        "{}",
        odd(&ours)
    );
}

#[test]
fn what_is_refused_is_named_and_counted_and_a_running_collector_is_left_alone() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut collector = folder_of(folder.path());
    let at = seconds_ago(60);
    let text = format!("up 1 {at}\nup\nup 2\nup{{a=\"1\"}} 1 {at}\n# EOF\n");
    let (said, errors) = ends(&collector, &["import", "--label", "region=33.19"], &text, 1);
    assert!(said.contains("2 samples stored") && said.contains("2 lines were refused"), "{said}");
    assert!(
        errors.contains("standard input:2: ") && errors.contains("standard input:3: the sample has no time"),
        "{errors}"
    );
    let (exported, _) = ends(&collector, &["export"], "", 0);
    assert!(exported.contains("up{a=\"1\",region=\"33.19\"} 1"), "{exported}");
    let (_, errors) = ends(&collector, &["import", "/nowhere/file"], "", 2);
    assert!(errors.contains("cannot open /nowhere/file"), "{errors}");
    ends(&collector, &["export", "--folder", "/nowhere"], "", 2);
    ends(&collector, &["export", "--match", "{"], "", 2);
    collector.restart();
    let (_, errors) = ends(&collector, &["import"], &text, 2);
    assert!(errors.contains("stop it (systemctl stop pantau-collector)"), "{errors}");
    let beside = ends(&collector, &["export", "--match", "up"], "", 0).0;
    assert_eq!(beside, exported, "reading works beside it");
    assert_eq!(collector.value("sum(up)"), Some(2.0));
}

/// Sends samples of one series, a second apart, that end now.
fn send(collector: &Collector, name: &str, count: i64) {
    let labels = model::Labels::from_pairs([("__name__", name), ("job", "backup")]);
    let now = writer::now().as_millis();
    let samples: Vec<_> = (0..count)
        .map(|at| (model::Timestamp::from_millis(now - (count - at) * 1000), (at * 3) as f64))
        .collect();
    let answer = writer::send(&collector.http, &collector.base, writer::body(&[(&labels, &samples)]));
    assert_eq!(answer.expect("an answer").status, 204);
}

/// What `--match {job="backup"}` exports of a folder.
fn backed_up(collector: &Collector, folder: Option<&str>) -> String {
    let mut words = vec!["export", "--match", "{job=\"backup\"}"];
    words.extend(folder.iter().flat_map(|folder| ["--folder", folder]));
    ends(collector, &words, "", 0).0
}

/// Samples of the last three days, so that most of them become blocks.
fn old_samples(series: usize) -> String {
    use std::fmt::Write as _;
    let (start, mut text) = (seconds_ago(3 * 86_400), String::new());
    for series in 0..series {
        for step in 0..3 * 24 * 12 {
            writeln!(
                text,
                "old{{job=\"backup\",n=\"{series}\"}} {}.5 {}",
                step * series,
                start + step as i64 * 300
            )
            .expect("a String takes everything");
        }
    }
    text + "# EOF\n"
}

#[test]
fn a_backup_beside_a_running_collector_is_a_store_and_comes_back() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut collector = folder_of(&folder.path().join("one"));
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (backup, snapshot) = (path("backup/store"), path("snapshot"));
    ends(&collector, &["import"], &old_samples(5), 0);
    ends(&collector, &["compact"], "", 0);
    collector.restart();
    send(&collector, "first", 50);
    let (said, _) = ends(&collector, &["backup", &backup], "", 0);
    assert!(said.contains(" blocks are new") && !said.contains(" 0 blocks and"), "{said}");
    ends(&collector, &["verify", "--folder", &backup], "", 0);
    ends(&collector, &["snapshot", &snapshot], "", 0);
    let first = backed_up(&collector, None);
    assert_eq!(first.lines().filter(|line| line.starts_with("old{")).count(), 5 * 3 * 24 * 12);
    assert_eq!(backed_up(&collector, Some(&backup)), first);
    send(&collector, "second", 50);
    let (said, _) = ends(&collector, &["backup", &backup], "", 0);
    assert!(said.contains(": 0 blocks are new"), "{said}");
    let second = backed_up(&collector, None);
    assert!(second.contains("second{") && second.contains("first{"));
    assert_eq!(backed_up(&collector, Some(&backup)), second);
    assert_eq!(backed_up(&collector, Some(&snapshot)), first);
    let (said, _) = ends(&collector, &["verify"], "", 0);
    assert!(said.contains("is whole"), "{said}");
    assert!(ends(&collector, &["info", "--json"], "", 0).0.contains("\"samples\": "));

    let mut other = folder_of(&folder.path().join("two"));
    let (said, _) = ends(&other, &["restore", &backup], "", 0);
    assert!(said.contains("is whole"), "{said}");
    assert_eq!(backed_up(&other, None), second);
    let (_, errors) = ends(&other, &["restore", &backup], "", 2);
    assert!(errors.contains("is not empty"), "{errors}");
    other.restart();
    assert_eq!(other.value("count(last_over_time({job=\"backup\"}[4d]))"), Some(7.0));
    assert_eq!(other.value("sum(count_over_time(second[1h]))"), Some(50.0));
    for word in [&["import"][..], &["compact"], &["delete", "--match", "old"], &["restore", &backup]] {
        ends(&other, word, "", 2);
    }
    let (_, errors) = ends(&other, &["backup", &path("one/data/store")], "", 2);
    assert!(errors.contains("is in use by another process"), "{errors}");
    let (_, errors) = ends(&other, &["restore", &path("two")], "", 2);
    assert!(errors.contains("is not empty") || errors.contains("MANIFEST is missing"), "{errors}");
}

#[test]
fn a_flipped_bit_is_named_by_file_and_offset() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let collector = folder_of(folder.path());
    ends(&collector, &["import"], &old_samples(3), 0);
    ends(&collector, &["compact"], "", 0);
    ends(&collector, &["verify"], "", 0);
    let store = collector.folder.join("data/store");
    let block =
        std::fs::read_dir(store.join("blocks")).expect("a folder").next().expect("a block").expect("a block");
    let journal = std::fs::read_dir(&store)
        .expect("a folder")
        .map(|entry| entry.expect("a name").path())
        .find(|path| path.extension().is_some_and(|extension| extension == "journal"))
        .expect("a segment");
    for path in [block.path(), journal] {
        let whole = std::fs::read(&path).expect("readable");
        let mut bytes = whole.clone();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 4;
        std::fs::write(&path, &bytes).expect("written");
        let (said, _) = ends(&collector, &["verify"], "", 1);
        assert!(said.contains(&format!("{} is damaged at byte ", path.display())), "{said}");
        assert!(said.contains("has 1 damages"), "{said}");
        std::fs::write(&path, &whole).expect("written");
    }
    std::fs::remove_file(block.path()).expect("removed");
    let (said, _) = ends(&collector, &["verify"], "", 1);
    assert!(said.contains("the file is missing"), "{said}");
}

#[test]
fn what_is_deleted_is_gone_and_its_room_comes_back() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let collector = folder_of(folder.path());
    let old = old_samples(40);
    ends(&collector, &["import"], &old, 0);
    ends(&collector, &["compact"], "", 0);
    let (_, errors) = ends(&collector, &["delete"], "", 2);
    assert!(errors.contains("say what to delete by --match"), "{errors}");
    let before = seconds_ago(2 * 86_400).to_string();
    ends(&collector, &["delete", "--match", "old{n=~\"[0-9]\"}", "--end", &before], "", 0);
    let left = backed_up(&collector, None);
    let count =
        |text: &str, n: &str| text.lines().filter(|line| line.contains(&format!("n=\"{n}\""))).count();
    let days = |count: usize| count as f64 / 288.0;
    assert!(
        (1.9..2.1).contains(&days(count(&left, "7"))) && count(&left, "17") == 864,
        "{}",
        count(&left, "7")
    );
    ends(&collector, &["compact"], "", 0);
    assert_eq!(backed_up(&collector, None), left);
    assert!(ends(&collector, &["info"], "", 0).0.contains("deletions that blocks still hold: 0"));
    // Deleted samples may come again.
    ends(&collector, &["import"], &old, 0);
    assert_eq!(count(&backed_up(&collector, None), "7"), 864);
}
