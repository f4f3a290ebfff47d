//! Golden files of mistakes, for tests of the programs alone (feature `golden`): settings texts, each with what it is answered.
//!
//! Cases stand apart by an empty line, a text and its answer by a line that begins with `=> `. `PANTAU_GOLDEN=1` writes the answers
//! that are given now; whoever does that reads them.

use std::path::Path;

/// Asks for the answer to each text of a golden file, and compares.
///
/// # Panics
/// Where the file cannot be read, a case has no answer, or an answer is another one than the file says.
pub fn check(path: &Path, said: impl Fn(&str) -> String) {
    let golden = std::fs::read_to_string(path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    let now = answered(&golden, said);
    if std::env::var_os("PANTAU_GOLDEN").is_some() {
        std::fs::write(path, &now).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    } else {
        assert_eq!(now, golden, "read what changed, and renew it with PANTAU_GOLDEN=1");
    }
}

/// The file as it would be written now.
fn answered(golden: &str, said: impl Fn(&str) -> String) -> String {
    let text = |case: &str| {
        let (text, _) = case.split_once("\n=> ").unwrap_or_else(|| panic!("a case without `=> `:\n{case}"));
        format!("{text}\n=> {}\n", said(text))
    };
    golden.trim_end().split("\n\n").map(text).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_is_asked_and_compared() {
        let golden = "a: 1\nb: 2\n=> 9\n\nc: 3\n=> 4\n";
        let length = |text: &str| text.len().to_string();
        assert_eq!(answered(golden, length), golden);
        assert_eq!(answered(golden, |_| "new".into()), "a: 1\nb: 2\n=> new\n\nc: 3\n=> new\n");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("mistakes.txt");
        std::fs::write(&path, golden).expect("written");
        if std::env::var_os("PANTAU_GOLDEN").is_none() {
            check(&path, length);
            let other = std::panic::catch_unwind(|| check(&path, |_| "other".into()));
            assert!(other.is_err(), "another answer is told");
        }
    }
}
