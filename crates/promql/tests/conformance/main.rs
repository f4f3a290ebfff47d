//! Runs PromQL scripts: our own in `tests/promql/` (all must pass) and, where it is there, the conformance data of Prometheus
//! (its counts are printed, per file and in all).
//!
//! The folder of the conformance data is `promql/` under `conformance/` in the folder that the environment variable PANTAU_SHARED names, or
//! in `../shared` beside the workspace. Run by `cargo test -p promql --test conformance -- --nocapture`; PROMQL_VERBOSE=1 prints every
//! failing case, PROMQL_ONLY=name one file.

mod nhcb;
mod run;
mod script;
mod store;

use std::path::{Path, PathBuf};

use run::Outcome;

/// Scripts without experimental features and native histograms: the first goal.
const CORE: [&str; 13] = [
    "aggregators",
    "at_modifier",
    "collision",
    "functions",
    "histograms",
    "literals",
    "name_label_dropping",
    "operators",
    "range_queries",
    "selectors",
    "staleness",
    "subquery",
    "trig_functions",
];

#[derive(Clone, Copy, Default)]
struct Counts {
    passed: usize,
    failed: usize,
    float: usize,
    float_passed: usize,
}

impl Counts {
    fn total(self) -> usize {
        self.passed + self.failed
    }

    fn plus(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            float: self.float + other.float,
            float_passed: self.float_passed + other.float_passed,
        }
    }
}

fn scripts(folder: &Path) -> Vec<PathBuf> {
    let entries =
        std::fs::read_dir(folder).unwrap_or_else(|error| panic!("cannot list {}: {error}", folder.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("a readable entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "test"));
    paths.sort();
    paths
}

fn run_file(path: &Path, verbose: bool) -> Counts {
    let text = std::fs::read_to_string(path)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let commands = script::parse(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut counts = Counts::default();
    for case in run::cases(&commands) {
        let passed = case.outcome == Outcome::Passed;
        counts.float += usize::from(!case.native);
        counts.float_passed += usize::from(!case.native && passed);
        match &case.outcome {
            Outcome::Passed => counts.passed += 1,
            Outcome::Failed(why) => {
                counts.failed += 1;
                if verbose {
                    println!("FAIL {name}:{}: {}\n     {why}", case.line, case.expr);
                }
            }
        }
    }
    counts
}

#[test]
fn our_own_scripts_pass() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/promql");
    let mut all = Counts::default();
    let mut bad = Vec::new();
    for path in scripts(&folder) {
        let counts = run_file(&path, true);
        all = all.plus(counts);
        if counts.passed != counts.total() {
            bad.push(path.file_name().unwrap_or_default().to_owned());
        }
    }
    println!("own scripts: {}/{} cases pass", all.passed, all.total());
    assert!(all.total() > 0, "there are no scripts in tests/promql");
    assert!(bad.is_empty(), "cases fail in {bad:?}");
}

#[test]
fn conformance() {
    let shared = std::env::var_os("PANTAU_SHARED").map(PathBuf::from);
    let shared = shared.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"));
    let folder = shared.join("conformance/promql");
    if !folder.is_dir() {
        println!("SKIPPED: no conformance data in {} (set PANTAU_SHARED)", folder.display());
        return;
    }
    let verbose = std::env::var_os("PROMQL_VERBOSE").is_some();
    let only = std::env::var("PROMQL_ONLY").ok();
    let (mut all, mut core) = (Counts::default(), Counts::default());
    println!("{:<24}{:>8}{:>8}{:>8}   float", "script", "passed", "total", "failed");
    for path in scripts(&folder) {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if only.as_ref().is_some_and(|only| *only != name) {
            continue;
        }
        let counts = run_file(&path, verbose);
        print_counts(&name, counts);
        all = all.plus(counts);
        if CORE.contains(&name.as_str()) {
            core = core.plus(counts);
        }
    }
    print_counts("sum", all);
    let line = format!(
        "promql: core {}/{} float {}/{} all {}/{}",
        core.float_passed,
        core.float,
        all.float_passed,
        all.float,
        all.passed,
        all.total()
    );
    println!("{line}");
    if only.is_none() {
        expect_at_least(&line);
    }
}

/// No count may fall below the committed one, in `tests/conformance.txt` of the workspace.
fn expect_at_least(line: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/conformance.txt");
    let text = std::fs::read_to_string(&file).expect("the committed counts can be read");
    let floor = text.lines().find(|line| line.starts_with("promql: ")).expect("it has a line on PromQL");
    let counts =
        |line: &str| -> Vec<usize> { line.split([' ', '/']).filter_map(|word| word.parse().ok()).collect() };
    let (now, before) = (counts(line), counts(floor));
    let fell = now.len() != before.len() || now.iter().zip(&before).any(|(now, before)| now < before);
    assert!(!fell, "a count fell\n  now:       {line}\n  committed: {floor}");
}

fn print_counts(name: &str, counts: Counts) {
    println!(
        "{name:<24}{:>8}{:>8}{:>8}   {}/{}",
        counts.passed,
        counts.total(),
        counts.failed,
        counts.float_passed,
        counts.float
    );
}
