//! The packs of rules beside the catalogue: an alert on a metric that nothing has would be silent for ever. In: `configs/rules/*.yaml` and
//! the catalogue. Out: a line for each fault. Whether the files are good rules is for `pantau-collector rules check`, whether they fire for
//! their unit tests.
//!
//! Expressions are taken from the lines of the packs, which are written in two manners: `expr: '...'` on one line, or plain and folded.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use super::lint::{Catalogue, mixed_sites};

/// Where it stands and what is written there.
pub(super) type Written = (String, String);

/// The expressions of all packs, by file name.
pub(super) fn read(folder: &Path) -> Result<Vec<Written>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_none_or(|end| end != "yaml") {
            continue;
        }
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let found = expressions(&text);
        let rules = text.lines().filter(|line| line.trim().starts_with("expr:")).count();
        ensure!(found.len() == rules && rules > 0, "cannot find each expression in {}", path.display());
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        all.extend(found.into_iter().map(|expression| (name.clone().into_owned(), expression)));
    }
    Ok(all)
}

/// The faults of these.
pub(super) fn faults(packs: &[Written], catalogue: &Catalogue) -> Vec<String> {
    let of_one = |(name, written): &Written| {
        let faults = of_expression(written, catalogue);
        faults.into_iter().map(|fault| format!("{name}: {fault}")).collect::<Vec<_>>()
    };
    packs.iter().flat_map(of_one).collect()
}

fn of_expression(written: &str, catalogue: &Catalogue) -> Vec<String> {
    let expression = match promql::parse(written) {
        Ok(expression) => expression,
        Err(error) => return vec![format!("{error}: {written}")],
    };
    let mixed =
        |labels: String| format!("({labels}) mixes instances of one name at several sites: {written}");
    let mut faults: Vec<_> = mixed_sites(written).into_iter().map(mixed).collect();
    for matchers in expression.selectors() {
        match matchers.iter().find(|one| one.name() == "__name__").map(|one| one.value()) {
            Some(name) if catalogue.has(name) => {}
            Some(name) => faults.push(format!("`{name}` is in no catalogue (docs/metrics.md)")),
            None => faults.push(format!("every selector names its metric: {written}")),
        }
    }
    faults
}

fn expressions(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(rest) = line.trim_start().strip_prefix("expr:").map(str::trim) else { continue };
        let quoted = rest.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
        if let Some(quoted) = quoted {
            all.push(quoted.replace("''", "'"));
            continue;
        }
        let depth = indent(line);
        let mut folded = if rest == ">-" { String::new() } else { rest.to_owned() };
        while let Some(more) = lines.next_if(|more| indent(more) > depth) {
            folded = format!("{folded} {}", more.trim());
        }
        all.push(folded);
    }
    all
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_found_in_each_manner() {
        let text = "- alert: A\n  expr: 'up == ''x'''\n  for: 1m\n- record: b\n  expr: >-\n    a\n    or b\n- record: c\n  expr: c + 1\n";
        assert_eq!(expressions(text), ["up == 'x'", " a or b", "c + 1"]);
    }

    #[test]
    fn metrics_that_nothing_has_are_found() {
        let catalogue = Catalogue::of("| `up` | gauge |");
        let check = |expression: &str, expected: usize| {
            let faults = of_expression(expression, &catalogue);
            assert_eq!(faults.len(), expected, "{expression}: {faults:?}");
        };
        check("up == 0", 0);
        check("down or rate(up[5m]) or gone", 2);
        check("{job=\"x\"}", 1);
        check("up ==", 1);
        check("up unless on (instance) up", 1);
    }
}
