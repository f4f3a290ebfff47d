//! Finding and reading the files that the settings name.

use super::*;

const GOOD: &str = "groups:\n- name: g\n  rules:\n  - {record: a, expr: up}\n";

fn config(files: &[&str]) -> Config {
    Config { files: files.iter().map(|file| (*file).to_owned()).collect(), ..Config::default() }
}

#[test]
fn files_are_found_by_patterns_and_read_once() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["b.yml", "a.yml", "c.txt"] {
        std::fs::write(folder.path().join(name), GOOD).expect("written");
    }
    let files = config(&["*.yml", "a.yml", "none/*.yml"])
        .load(folder.path(), Features::default())
        .expect("good files");
    let names: Vec<_> = files.iter().map(|file| file.path.file_name().expect("a name")).collect();
    assert_eq!(names, ["a.yml", "b.yml"]);
    let why = config(&["*.yml", "missing.yml"])
        .load(folder.path(), Features::default())
        .expect_err("not there")
        .to_string();
    assert!(why.starts_with("files[1]: ") && why.contains("missing.yml is not there"), "{why}");
}

#[test]
fn a_fault_in_a_file_is_said_with_its_place_and_how_many_follow() {
    let folder = tempfile::tempdir().expect("a folder");
    let bad = "groups:\n- name: g\n  rules:\n  - {record: a, expr: up +}\n  - {expr: up}\n";
    std::fs::write(folder.path().join("bad.yml"), bad).expect("written");
    let why =
        config(&["bad.yml"]).load(folder.path(), Features::default()).expect_err("bad").why().to_owned();
    assert!(why.contains("bad.yml:4:23: group \"g\", rule 1, \"a\": could not parse expression: "), "{why}");
    assert!(why.contains("(and 1 more"), "{why}");
}

#[test]
fn experimental_parts_are_read_where_they_are_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = GOOD.replace("expr: up", "expr: 'rate(up[1m + 30s])'");
    std::fs::write(folder.path().join("r.yml"), text).expect("written");
    let load = |durations: bool| {
        config(&["r.yml"]).load(folder.path(), Features { durations, ..Features::default() })
    };
    assert_eq!(load(true).expect("a good file")[0].rule_count(), 1);
    assert!(load(false).expect_err("off").why().contains("could not parse expression"));
    let test = "rule_files: [r.yml]\nfuzzy_compare: true\ntests:\n- interval: 15s\n  input_series: [{series: up, values: '0+15x20'}]\n  \
                promql_expr_test: [{expr: 'a', eval_time: 4m, exp_samples: [{labels: a, value: 1}]},\n                     \
                {expr: 'increase(up[1m * 2])', eval_time: 4m, exp_samples: [{labels: '{}', value: 120}]}]\n";
    let path = folder.path().join("test.yml");
    std::fs::write(&path, test).expect("written");
    assert_eq!(unit::run(&path, Features { durations: true, ..Features::default() }), [""; 0]);
    assert!(!unit::run(&path, Features::default()).is_empty());
}
