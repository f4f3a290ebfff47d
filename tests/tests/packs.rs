//! The packs of rules as they are shipped: they pass promtool's eyes and ours, their unit tests pass in both, each alert has a test and its
//! runbook's pages.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use pantau_tests::peers::{peer, program, root};

/// The YAML files of a folder, sorted.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("the folder is there");
    let mut all: Vec<_> = entries.map(|entry| entry.expect("it can be listed").path()).collect();
    all.retain(|path| path.extension().is_some_and(|end| end == "yaml"));
    all.sort();
    assert!(!all.is_empty(), "{} has files", folder.display());
    all
}

fn passes(mut command: Command, files: &[PathBuf], folder: &Path) {
    let output = command.args(files).current_dir(folder).output().expect("it starts");
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}

fn packs() -> PathBuf {
    root().join("configs/rules")
}

/// What stands behind `- alert: ` in a pack.
fn alerts(text: &str) -> BTreeSet<String> {
    text.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).map(str::to_owned).collect()
}

/// A pack's alerts with their expressions, which stand on one line in single quotes.
fn expressions(text: &str) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for (line, next) in text.lines().zip(text.lines().skip(1)) {
        let Some(alert) = line.trim().strip_prefix("- alert: ") else { continue };
        let quoted = next.trim().strip_prefix("expr: '").and_then(|rest| rest.strip_suffix('\''));
        let quoted = quoted.unwrap_or_else(|| panic!("{alert}: its expression on the next line: {next}"));
        all.push((alert.to_owned(), quoted.replace("''", "'")));
    }
    all
}

/// What stands behind `key` among the lines of this alert.
fn of_alert<'t>(pack: &'t str, alert: &str, key: &str) -> &'t str {
    let mut lines = pack.lines().skip_while(|line| line.trim() != format!("- alert: {alert}"));
    let found = lines.find_map(|line| line.trim().strip_prefix(key));
    found.unwrap_or_else(|| panic!("{alert} has `{key}`"))
}

#[test]
fn pages_say_how_severe_and_after_which_time() {
    for path in files(&packs()) {
        let pack = std::fs::read_to_string(&path).expect("it can be read");
        let name = path.file_name().expect("it has one").to_string_lossy().into_owned();
        for alert in alerts(&pack) {
            let after = of_alert(&pack, &alert, "for: ");
            let severity = of_alert(&pack, &alert, "labels: {severity: ").trim_end_matches('}');
            let in_indonesian = if severity == "critical" { "kritis" } else { "peringatan" };
            for (end, line) in [
                ("md", format!("severity {severity} · after {after} · pack `configs/rules/{name}`")),
                (
                    "id.md",
                    format!("tingkat {in_indonesian} · setelah {after} · paket `configs/rules/{name}`"),
                ),
            ] {
                let page = root().join(format!("docs/operating/runbooks/{alert}.{end}"));
                let page = std::fs::read_to_string(page).expect("the page is there");
                assert!(
                    page.lines().nth(2).is_some_and(|third| third.ends_with(&line)),
                    "{alert}.{end}: {line}"
                );
            }
        }
    }
}

#[test]
fn both_find_the_packs_good() {
    let mut ours = program("pantau-collector");
    ours.args(["rules", "check", "--lint-fatal"]);
    passes(ours, &files(&packs()), &packs());
    if let Some(mut promtool) = peer("usr/bin/promtool") {
        promtool.args(["check", "rules", "--lint-fatal"]);
        passes(promtool, &files(&packs()), &packs());
    }
}

#[test]
fn their_unit_tests_pass_in_both() {
    let folder = packs().join("tests");
    let mut ours = program("pantau-collector");
    ours.args(["rules", "test"]);
    passes(ours, &files(&folder), &folder);
    if let Some(mut promtool) = peer("usr/bin/promtool") {
        promtool.args(["test", "rules"]);
        passes(promtool, &files(&folder), &folder);
    }
}

#[test]
fn each_alert_has_a_test_and_pages() {
    let runbooks = root().join("docs/operating/runbooks");
    for path in files(&packs()) {
        let pack = std::fs::read_to_string(&path).expect("it can be read");
        let name = path.file_name().expect("it has one");
        let tests = std::fs::read_to_string(packs().join("tests").join(name)).expect("each pack has tests");
        for alert in alerts(&pack) {
            assert!(tests.contains(&format!("alertname=\"{alert}\"")), "{alert} fires in a test");
            let page = format!("runbook_url: docs/operating/runbooks/{alert}.md");
            assert!(pack.contains(&page), "{alert} names its runbook");
            for end in ["md", "id.md"] {
                assert!(runbooks.join(format!("{alert}.{end}")).is_file(), "{alert}.{end} is there");
            }
        }
        for key in ["for: ", "labels: {severity: ", "summary: ", "description: ", "runbook_url: "] {
            let has = pack.lines().filter(|line| line.trim().starts_with(key)).count();
            assert_eq!(has, alerts(&pack).len(), "{}: each alert has `{key}`", path.display());
        }
    }
}

#[test]
fn pages_show_the_expression_that_is_evaluated_and_are_listed() {
    let runbooks = root().join("docs/operating/runbooks");
    let read = |name: &str| std::fs::read_to_string(runbooks.join(name)).expect("the page is there");
    for path in files(&packs()) {
        for (alert, expression) in expressions(&std::fs::read_to_string(&path).expect("it can be read")) {
            for end in ["md", "id.md"] {
                let page = read(&format!("{alert}.{end}"));
                assert!(
                    page.contains(&format!("```promql\n{expression}\n```")),
                    "{alert}.{end}: {expression}"
                );
                let line = format!("- [{alert}]({alert}.{end})\n");
                assert!(read(&format!("README.{end}")).contains(&line), "README.{end} lists {alert}");
            }
        }
    }
}
