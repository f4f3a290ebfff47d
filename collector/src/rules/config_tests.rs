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
    let files = config(&["*.yml", "a.yml", "none/*.yml"]).load(folder.path()).expect("good files");
    let names: Vec<_> = files.iter().map(|file| file.path.file_name().expect("a name")).collect();
    assert_eq!(names, ["a.yml", "b.yml"]);
    let why = config(&["*.yml", "missing.yml"]).load(folder.path()).expect_err("not there").to_string();
    assert!(why.starts_with("files[1]: ") && why.contains("missing.yml is not there"), "{why}");
}

#[test]
fn a_fault_in_a_file_is_said_with_its_place_and_how_many_follow() {
    let folder = tempfile::tempdir().expect("a folder");
    let bad = "groups:\n- name: g\n  rules:\n  - {record: a, expr: up +}\n  - {expr: up}\n";
    std::fs::write(folder.path().join("bad.yml"), bad).expect("written");
    let why = config(&["bad.yml"]).load(folder.path()).expect_err("bad").why().to_owned();
    assert!(why.contains("bad.yml:4:23: group \"g\", rule 1, \"a\": could not parse expression: "), "{why}");
    assert!(why.contains("(and 1 more"), "{why}");
}
