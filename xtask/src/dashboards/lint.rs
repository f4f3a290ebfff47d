//! What a board must fulfil: the rules of Grafana's dashboard-linter in our own words, and that its metrics exist. In: a board's JSON and
//! the catalogue of metrics. Out: a line for each fault, beginning with the rule's name.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::Value;

/// The names of all metrics, as `docs/metrics.md` lists them.
pub(super) struct Catalogue {
    names: BTreeSet<String>,
    /// Names with a `<field>` in them: what stands before and after it.
    families: Vec<(String, String)>,
}

impl Catalogue {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self::of(&text))
    }

    pub(super) fn of(text: &str) -> Self {
        let mut catalogue = Self { names: BTreeSet::new(), families: Vec::new() };
        for line in text.lines() {
            let Some((name, rest)) = line.strip_prefix("| `").and_then(|line| line.split_once("` |")) else {
                continue;
            };
            if let Some((before, after)) = name.split_once("<field>") {
                catalogue.families.push((before.to_owned(), after.to_owned()));
            } else if rest.starts_with(" histogram") {
                catalogue.names.extend(["bucket", "sum", "count"].map(|part| format!("{name}_{part}")));
            } else {
                catalogue.names.insert(name.to_owned());
            }
        }
        catalogue
    }

    pub(super) fn has(&self, name: &str) -> bool {
        let family = |(before, after): &(String, String)| {
            name.len() > before.len() + after.len() && name.starts_with(before) && name.ends_with(after)
        };
        self.names.contains(name) || self.families.iter().any(family)
    }
}

pub(super) fn faults(board: &Value, catalogue: &Catalogue) -> Vec<String> {
    let mut faults = Vec::new();
    of_board(board, &mut faults);
    for panel in list(&board["panels"]) {
        let title = text(&panel["title"]);
        let mut own = Vec::new();
        of_panel(panel, &mut own);
        for target in list(&panel["targets"]) {
            of_target(target, catalogue, &mut own);
        }
        faults.extend(own.into_iter().map(|fault| format!("panel {title:?}: {fault}")));
    }
    faults
}

fn of_board(board: &Value, faults: &mut Vec<String>) {
    let variables = list(&board["templating"]["list"]);
    let mut want = |good: bool, fault: &str| {
        if !good {
            faults.push(fault.to_owned());
        }
    };
    let source = variables.iter().any(|one| one["type"] == "datasource" && one["query"] == "prometheus");
    want(source, "variable-data-source: a variable for the data source, of the kind prometheus");
    for name in ["region", "site"] {
        let there = variables
            .iter()
            .any(|one| one["name"] == name && one["multi"] == true && one["allValue"] == ".*");
        want(there, &format!("variable-scope: a variable `{name}` of several values, all of them `.*`"));
    }
    let fresh = variables.iter().filter(|one| one["type"] == "query").all(|one| one["refresh"] == 2);
    want(fresh, "variable-refresh: variables are asked for again when the time range changes");
    want(board["editable"] == false, "not-editable: boards that come from files cannot be edited in place");
    want(!text(&board["uid"]).is_empty(), "fixed-uid: links to the board stay");
    want(board["schemaVersion"] == 42, "schema: 42");
    let ids: BTreeSet<_> = list(&board["panels"]).iter().map(|panel| panel["id"].as_u64()).collect();
    want(ids.len() == list(&board["panels"]).len(), "panel-ids: each panel has an id of its own");
}

fn of_panel(panel: &Value, faults: &mut Vec<String>) {
    let mut want = |good: bool, fault: &str| {
        if !good {
            faults.push(fault.to_owned());
        }
    };
    want(panel["datasource"]["uid"] == "${datasource}", "panel-data-source: the board's variable");
    want(!text(&panel["title"]).is_empty(), "panel-title: a title");
    want(text(&panel["description"]).len() > 10, "panel-description: says what is shown");
    want(!text(&panel["fieldConfig"]["defaults"]["unit"]).is_empty(), "panel-unit: a unit");
    want(!list(&panel["targets"]).is_empty(), "panel-targets: at least one query");
    want(!text(&panel["interval"]).is_empty(), "panel-interval: a minimum interval, that of the data");
}

fn of_target(target: &Value, catalogue: &Catalogue, faults: &mut Vec<String>) {
    let written = text(&target["expr"]);
    if target["datasource"]["uid"] != "${datasource}" {
        faults.push("target-data-source: the board's variable".to_owned());
    }
    if text(&target["interval"]).is_empty() {
        faults.push(
            "target-interval: a minimum interval, that of the data ($__rate_interval follows it)".to_owned(),
        );
    }
    // `irate(` ends like `rate(` and is counted with it.
    if written.matches("rate(").count() > written.matches("[$__rate_interval]").count() {
        faults.push(format!("target-rate-interval: each rate over $__rate_interval: {written}"));
    }
    let expression = match promql::parse(&without_variables(written)) {
        Ok(expression) => expression,
        Err(error) => return faults.push(format!("target-promql: {error}: {written}")),
    };
    for matchers in expression.selectors() {
        let Some(name) = matchers.iter().find(|one| one.name() == "__name__").map(|one| one.value()) else {
            faults.push(format!("target-metric: every selector names its metric: {written}"));
            continue;
        };
        if !catalogue.has(name) {
            faults.push(format!("target-metric: `{name}` is in no catalogue (docs/metrics.md)"));
        }
        for label in ["region", "site"] {
            if !matchers.iter().any(|one| one.name() == label) {
                faults.push(format!("target-scope: `{name}` is not narrowed by {label}: {written}"));
            }
        }
        if name.ends_with("_total") && !["rate(", "increase("].iter().any(|word| written.contains(word)) {
            faults
                .push(format!("target-counter: `{name}` is a counter; show its rate or increase: {written}"));
        }
    }
}

/// The expression with Grafana's variables replaced by values that could stand there.
pub(super) fn without_variables(expression: &str) -> String {
    let mut text =
        expression.replace("$__rate_interval", "4m").replace("$__interval", "1m").replace("$__range", "6h");
    for name in ["$region", "$site", "$instance"] {
        text = text.replace(name, "x");
    }
    text
}

pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The rules that an expression breaks, by name.
    fn check(expression: &str, expected: &[&str]) {
        let catalogue = Catalogue::of(
            "| `up` | gauge |\n| `a_total` | counter |\n| `m_<field>_bytes` | gauge |\n| `h` | histogram |",
        );
        let target = json!({"expr": expression, "interval": "15s", "datasource": {"uid": "${datasource}"}});
        let mut faults = Vec::new();
        of_target(&target, &catalogue, &mut faults);
        let rules: Vec<_> = faults.iter().map(|fault| fault.split(':').next().unwrap_or_default()).collect();
        assert_eq!(rules, expected, "{expression}: {faults:?}");
    }

    #[test]
    fn expressions_are_held_against_the_rules() {
        let scope = r#"region=~"$region",site=~"$site""#;
        check(&format!("up{{{scope}}} == 0"), &[]);
        check(&format!("m_x_bytes{{{scope}}}"), &[]);
        check(&format!("rate(h_bucket{{{scope}}}[$__rate_interval])"), &[]);
        check(&format!("m__bytes{{{scope}}}"), &["target-metric"]);
        check(&format!("a_total{{{scope}}}"), &["target-counter"]);
        check(&format!("rate(a_total{{{scope}}}[5m])"), &["target-rate-interval"]);
        check("up", &["target-scope", "target-scope"]);
        check("up{", &["target-promql"]);
        check(&format!("none{{{scope}}}"), &["target-metric"]);
    }

    #[test]
    fn an_empty_board_breaks_the_rules_of_boards() {
        let faults = faults(&json!({"panels": [{}]}), &Catalogue::of(""));
        for rule in [
            "variable-data-source",
            "variable-scope",
            "fixed-uid",
            "schema",
            "panel-unit",
            "panel-interval",
            "panel-targets",
        ] {
            assert!(faults.iter().any(|fault| fault.contains(rule)), "{rule}: {faults:?}");
        }
    }
}
