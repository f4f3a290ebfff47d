//! The counts that conformance tests print, and those below which none may fall.
//!
//! A line is `NAME: N/M` or `NAME: PART N/M PART N/M`; the committed lines stand in `tests/conformance.txt`.

use crate::peers::root;

/// Compares a line of counts with the committed one of its name.
///
/// # Panics
/// Where a count is lower than the committed one, or the committed file has no such line.
pub fn expect_at_least(line: &str) {
    let file = root().join("tests/conformance.txt");
    let text = std::fs::read_to_string(&file)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", file.display()));
    let name = line.split(':').next().unwrap_or_default();
    let floor = text.lines().find(|floor| floor.split(':').next() == Some(name));
    let floor = floor.unwrap_or_else(|| panic!("{} has no line {name:?}", file.display()));
    if let Some(why) = shortfall(line, floor) {
        panic!("{why}\n  now:       {line}\n  committed: {floor}");
    }
}

/// Passed and all, for each part of a line.
fn counts(line: &str) -> Vec<(usize, usize)> {
    let pair = |word: &str| {
        let (passed, all) = word.split_once('/')?;
        Some((passed.parse().ok()?, all.parse().ok()?))
    };
    line.split_whitespace().filter_map(pair).collect()
}

/// Why a line falls short of another; `None` where it does not.
fn shortfall(line: &str, floor: &str) -> Option<String> {
    let (have, wanted) = (counts(line), counts(floor));
    if have.len() != wanted.len() {
        return Some("the lines have different parts".into());
    }
    let fell = have.iter().zip(&wanted).find(|(have, wanted)| have.0 < wanted.0 || have.1 < wanted.1);
    fell.map(|(have, wanted)| format!("{}/{} is less than {}/{}", have.0, have.1, wanted.0, wanted.1))
}

#[cfg(test)]
mod tests {
    use super::shortfall;

    #[test]
    fn counts_may_rise_and_not_fall() {
        let floor = "promql: core 9/10 float 3/4";
        for (line, falls) in [
            ("promql: core 9/10 float 3/4", false),
            ("promql: core 10/10 float 4/5", false),
            ("promql: core 8/10 float 4/4", true),
            ("promql: core 9/9 float 3/4", true),
            ("promql: core 9/10", true),
        ] {
            assert_eq!(shortfall(line, floor).is_some(), falls, "{line}");
        }
    }
}
