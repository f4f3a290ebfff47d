//! `snmp test`: profile files and the tests inside them, every mistake with its line.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use profiles::{ProfileError, Set};

/// The program's own profiles, and over them the files of a folder.
pub(super) fn load(folder: Option<&Path>) -> anyhow::Result<Set> {
    let mut files = Vec::new();
    if let Some(folder) = folder {
        let unreadable = || format!("cannot read the folder {}", folder.display());
        for entry in std::fs::read_dir(folder).with_context(unreadable)? {
            let path = entry.with_context(unreadable)?.path();
            if path.extension().is_some_and(|ending| ending == "yaml" || ending == "yml") {
                files.push(path);
            }
        }
        files.sort_unstable();
        ensure!(!files.is_empty(), "there is no *.yaml in {}", folder.display());
    }
    Ok(together(&files)?.0)
}

/// All profiles, and the names of those from files.
fn together(files: &[PathBuf]) -> anyhow::Result<(Set, Vec<String>)> {
    let mut texts: Vec<(String, String)> =
        Set::embedded_files().map(|(name, text)| (name.to_owned(), text.to_owned())).collect();
    let mut names = Vec::new();
    for path in files {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        names.push(path.file_stem().unwrap_or_default().to_string_lossy().into_owned());
        texts.push((path.display().to_string(), text));
    }
    let set = Set::load(texts).map_err(|error: ProfileError| anyhow::anyhow!("{error}"))?;
    Ok((set, names))
}

/// Runs the tests of these files; of all of the program's own profiles where none is named.
pub(super) fn run(files: &[PathBuf]) -> anyhow::Result<String> {
    let (set, mut names) = together(files)?;
    if names.is_empty() {
        names = set.profiles().iter().map(|profile| profile.name().to_owned()).collect();
    }
    let (mut text, mut faults) = (String::new(), Vec::new());
    for name in &names {
        let found = set.try_named(name).with_context(|| {
            format!("the file {name}.yaml holds a profile of another name: the two must be the same")
        })?;
        if found.is_empty() {
            writeln!(text, "{name}: good")?;
        }
        faults.extend(found);
    }
    if faults.is_empty() {
        return Ok(text);
    }
    print!("{text}");
    bail!("{} of the profiles' own tests failed:\n{}", faults.len(), faults.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROFILE: &str = "\
profile: boxes
title: Boxes
match: [{sys_object_id: 1.3.6.1.4.1.99999}]
scalars:
  - name: box
    entry: 1.3.6.1.4.1.99999
    columns: {heat: {arc: '1.0'}}
    metrics: [{name: device_temperature_celsius, value: heat, help: Heat.}]
tests:
  - name: heat
    recording: |
      1.3.6.1.2.1.1.2.0|6|1.3.6.1.4.1.99999
      1.3.6.1.4.1.99999.1.0|2|41
    expect:
      - device_temperature_celsius 41
";

    fn write(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("boxes.yaml");
        std::fs::write(&path, text).expect("it can be written");
        (folder, path)
    }

    #[test]
    fn the_programs_own_profiles_pass() {
        let text = run(&[]).expect("they are tested before they are shipped");
        assert!(text.contains("if-mib: good\n"), "{text}");
    }

    #[test]
    fn a_mistake_is_named_with_its_place() {
        let (_folder, path) = write("profile: boxes\ntitle: Boxes\nmatch: [{sys_object_id: one}]\n");
        let error = format!("{:#}", run(&[path]).expect_err("it is no OID"));
        assert!(error.contains("boxes.yaml:3:"), "{error}");
    }

    #[test]
    fn a_folder_without_profiles_is_no_override() {
        let folder = tempfile::tempdir().expect("a folder");
        let error = format!("{:#}", load(Some(folder.path())).expect_err("nothing is there"));
        assert!(error.contains("there is no *.yaml"), "{error}");
    }

    #[test]
    fn a_profile_passes_its_own_test_or_says_what_came() {
        let (_folder, path) = write(PROFILE);
        assert_eq!(run(&[path]).expect("good"), "boxes: good\n");
        let (_folder, path) = write(&PROFILE.replace("celsius 41", "celsius 42"));
        let error = format!("{:#}", run(&[path]).expect_err("it expects another value"));
        assert!(error.contains("42 was expected, 41 came"), "{error}");
    }
}
