//! The pages of `docs/` and those at the root: links lead somewhere, and what stands in English stands in Bahasa Indonesia with the same
//! parts. What a page says is not looked at.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use pantau_tests::peers::root;

/// What there is in English alone: written by a test from recordings.
const ENGLISH_ALONE: &str = "profiles-recordings.md";

fn pages(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("it can be listed").path();
        if path.is_dir() {
            found.extend(pages(&path));
        } else if path.extension().is_some_and(|end| end == "md") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn all_pages() -> Vec<PathBuf> {
    let mut all = pages(&root().join("docs"));
    all.extend(
        ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(|name| root().join(name)),
    );
    assert!(all.len() > 200, "{} pages", all.len());
    all
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).expect("it can be read")
}

/// Lines outside of blocks of code, and the number of those blocks.
fn prose(text: &str) -> (Vec<&str>, usize) {
    let (mut lines, mut fences) = (Vec::new(), 0);
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fences += 1;
        } else if fences % 2 == 0 {
            lines.push(line);
        }
    }
    assert_eq!(fences % 2, 0, "each block of code ends");
    (lines, fences / 2)
}

/// Where the links of a page lead, but for those to other machines.
fn links(text: &str) -> Vec<String> {
    let (lines, _) = prose(text);
    let mut found = Vec::new();
    for part in lines.join("\n").split("](").skip(1) {
        let target = part.split(')').next().unwrap_or_default();
        if !target.contains("://") && !target.contains(char::is_whitespace) {
            found.push(target.to_owned());
        }
    }
    found
}

/// What can stand behind `#` in a link to this page: its headings in small letters, without signs.
fn anchors(text: &str) -> BTreeSet<String> {
    let (lines, _) = prose(text);
    let headings = lines.into_iter().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| -> String {
        let kept = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = kept.chars().filter(|sign| sign.is_alphanumeric() || [' ', '-', '_'].contains(sign));
        kept.map(|sign| if sign == ' ' { '-' } else { sign }).collect()
    };
    headings.map(anchor).collect()
}

fn leads_somewhere(page: &Path, link: &str) -> bool {
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target = if path.is_empty() { page.to_owned() } else { page.with_file_name(path) };
    target.exists() && (anchor.is_empty() || anchors(&read(&target)).contains(anchor))
}

#[test]
fn links_lead_somewhere() {
    let mut dead = Vec::new();
    for page in all_pages() {
        let wrong = links(&read(&page)).into_iter().filter(|link| !leads_somewhere(&page, link));
        dead.extend(wrong.map(|link| format!("{}: {link}", page.display())));
    }
    assert!(dead.is_empty(), "links that lead nowhere: {dead:#?}");
    let page = root().join("README.md");
    assert!(!leads_somewhere(&page, "gone.md") && !leads_somewhere(&page, "README.md#gone"), "a control");
}

/// Headings, blocks of code, rows of tables, items of lists.
fn shape(text: &str) -> [usize; 4] {
    let (lines, blocks) = prose(text);
    let count = |is: &dyn Fn(&str) -> bool| lines.iter().filter(|line| is(line.trim_start())).count();
    let item = |line: &str| {
        let number = line.split_once(". ").is_some_and(|(number, _)| number.parse::<u8>().is_ok());
        number || line.starts_with("- ")
    };
    [count(&|line| line.starts_with('#')), blocks, count(&|line| line.starts_with('|')), count(&item)]
}

#[test]
fn both_languages_have_the_same_parts() {
    let mut apart = Vec::new();
    for page in pages(&root().join("docs/operating")) {
        let name = page.file_name().expect("it has one").to_string_lossy().into_owned();
        if name.ends_with(".id.md") || name == ENGLISH_ALONE {
            continue;
        }
        let other = page.with_file_name(name.replace(".md", ".id.md"));
        assert!(other.is_file(), "{} is not there", other.display());
        let (english, indonesian) = (shape(&read(&page)), shape(&read(&other)));
        if english != indonesian {
            apart.push(format!("{name}: {english:?} and {indonesian:?}"));
        }
    }
    assert!(apart.is_empty(), "headings, blocks of code, rows, items in both languages: {apart:#?}");
    assert_ne!(shape("# a\n- b\n"), shape("# a\n"), "a control");
}

/// Each rule that explains a difference from Prometheus 2.42 stands in the page's table.
#[test]
fn explained_differences_are_listed() {
    let page = read(&root().join("docs/conformance/differential.md"));
    let table = page.lines().skip_while(|line| !line.starts_with("| rule |")).skip(2);
    let listed = table.take_while(|line| line.starts_with('|')).count();
    let source = read(&root().join("tests/src/differential/explain.rs"));
    let rules = source.lines().skip_while(|line| !line.starts_with("const RULES")).skip(1);
    let rules = rules.take_while(|line| *line != "];").filter(|line| line.contains("explains:")).count();
    assert!(rules > 15, "{rules} rules are found");
    assert_eq!(listed, rules, "rows of the table, and rules");
}
