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

/// Grafana's words for the units that boards use; one that it does not know would be shown behind the number as it stands.
const UNITS: [&str; 14] = [
    "short",
    "percentunit",
    "s",
    "bytes",
    "Bps",
    "bps",
    "pps",
    "cps",
    "celsius",
    "dBm",
    "dB",
    "amp",
    "volt",
    "none",
];
/// Those that a rate may have: something a second, a part of the whole, or seconds (a quantile of a histogram).
const RATE_UNITS: [&str; 6] = ["Bps", "bps", "pps", "cps", "percentunit", "s"];

/// The boards that a board's panels lead to, by uid.
pub(super) fn led_to(board: &Value) -> BTreeSet<String> {
    let panels = list(&board["panels"]).iter().flat_map(links);
    panels
        .filter_map(|link| text(&link["url"]).strip_prefix("/d/")?.split('?').next().map(str::to_owned))
        .collect()
}

fn links(panel: &Value) -> Vec<&Value> {
    let config = &panel["fieldConfig"];
    let properties = list(&config["overrides"]).iter().flat_map(|one| list(&one["properties"]));
    let of_fields = properties.filter(|one| one["id"] == "links").flat_map(|one| list(&one["value"]));
    list(&config["defaults"]["links"]).iter().chain(of_fields).collect()
}

/// Lists of labels in which an instance stands without its region and site: many sites have a 192.168.1.1.
pub(super) fn mixed_sites(expression: &str) -> Vec<String> {
    let lists = expression.split('(').zip(expression.split('(').skip(1)).filter_map(|(before, inside)| {
        let word = before.trim_end().rsplit(|sign: char| !sign.is_alphanumeric()).next().unwrap_or_default();
        ["on", "by"].contains(&word).then(|| inside.split(')').next().unwrap_or_default())
    });
    let mixes = |labels: &&str| {
        let has = |name: &str| labels.split(',').any(|label| label.trim() == name);
        has("instance") && !(has("region") && has("site"))
    };
    lists.filter(mixes).map(str::to_owned).collect()
}

pub(super) fn faults(board: &Value, catalogue: &Catalogue) -> Vec<String> {
    let mut faults = Vec::new();
    of_board(board, &mut faults);
    of_variables(board, catalogue, &mut faults);
    let chooses_instance = list(&board["templating"]["list"]).iter().any(|one| one["name"] == "instance");
    for panel in list(&board["panels"]) {
        let title = text(&panel["title"]);
        let mut own = Vec::new();
        of_panel(panel, &mut own);
        for target in list(&panel["targets"]) {
            of_target(target, catalogue, &mut own);
            of_counting(panel, target, &mut own);
            if chooses_instance && !narrowed(target, "instance") {
                own.push(
                    "target-instance: the board lets choose instances; narrow every selector by them"
                        .to_owned(),
                );
            }
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

/// The values that a variable lists come from a metric that is there, through a selector that can be read.
fn of_variables(board: &Value, catalogue: &Catalogue, faults: &mut Vec<String>) {
    for one in list(&board["templating"]["list"]).iter().filter(|one| one["type"] == "query") {
        let query = text(&one["query"]["query"]);
        let inner = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
        let selector =
            inner.and_then(|inner| inner.rsplit_once(", ")).map_or(query, |(selector, _)| selector);
        let names = |expression: promql::Expr| {
            let metrics = expression.selectors().into_iter().flatten();
            metrics.filter(|one| one.name() == "__name__").all(|one| catalogue.has(one.value()))
        };
        if inner.is_none() || !promql::parse(&without_variables(selector)).is_ok_and(names) {
            faults.push(format!(
                "variable-query: label_values(SELECTOR, LABEL) of a metric that is there: {query}"
            ));
        }
    }
}

/// Whether each selector of the target has a matcher for this label.
fn narrowed(target: &Value, label: &str) -> bool {
    promql::parse(&without_variables(text(&target["expr"]))).is_ok_and(|expression| {
        expression.selectors().iter().all(|matchers| matchers.iter().any(|one| one.name() == label))
    })
}

/// What a panel counts, and in what.
fn of_counting(panel: &Value, target: &Value, faults: &mut Vec<String>) {
    let (written, unit) = (text(&target["expr"]), text(&panel["fieldConfig"]["defaults"]["unit"]));
    if written.contains("rate(") && !RATE_UNITS.contains(&unit) {
        faults.push(format!(
            "panel-unit-rate: a rate is so much a second, and `{unit}` does not say so: {written}"
        ));
    }
    if written.contains("vector(0)") {
        faults.push(format!(
            "target-absent: 0 where nothing is known is a lie; write `or 0 * count(...)` of what is known: {written}"
        ));
    }
    faults.extend(mixed_sites(written).into_iter().map(|labels| {
        format!("target-site: ({labels}) mixes instances of one name at several sites; add region and site: {written}")
    }));
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
    let defaults = &panel["fieldConfig"]["defaults"];
    want(UNITS.contains(&text(&defaults["unit"])), "panel-unit: a unit that Grafana has, listed in lint.rs");
    if panel["type"] == "table" {
        want(list(&panel["targets"]).len() == 1, "table-query: one query, whose column is called Value");
        let steps = list(&defaults["thresholds"]["steps"]).len();
        want(
            steps > 1,
            "table-steps: from which value on which colour: otherwise everything is a good green",
        );
    }
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
    fn instances_of_several_sites_are_not_mixed() {
        let check = |expression: &str, expected: usize| {
            assert_eq!(mixed_sites(expression).len(), expected, "{expression}");
        };
        check("a unless on (instance, ifName) b", 1);
        check("a unless on (region, site, instance, ifName) b", 0);
        check("sum by(instance) (a) + avg by (region, site, instance) (a)", 1);
        check("a and on (agent) b", 0);
        check("(instance, a)", 0);
    }

    /// The rules that a panel with this unit and expression breaks of those on counting.
    fn check_counting(unit: &str, expression: &str, expected: &[&str]) {
        let panel = json!({"fieldConfig": {"defaults": {"unit": unit}}});
        let mut faults = Vec::new();
        of_counting(&panel, &json!({"expr": expression}), &mut faults);
        let rules: Vec<_> = faults.iter().map(|fault| fault.split(':').next().unwrap_or_default()).collect();
        assert_eq!(rules, expected, "{expression}");
    }

    #[test]
    fn rates_are_a_second_and_nothing_known_is_no_zero() {
        check_counting("cps", "rate(a[5m])", &[]);
        check_counting("short", "rate(a[5m])", &["panel-unit-rate"]);
        check_counting("short", "count(a == 0) or vector(0)", &["target-absent"]);
        check_counting("short", "count(a == 0) or 0 * count(a)", &[]);
        check_counting("short", "sum by (instance) (a)", &["target-site"]);
    }

    #[test]
    fn variables_instances_and_tables_are_held_against_the_rules() {
        let scope = r#"region=~"$region",site=~"$site""#;
        let board = |query: &str, matchers: &str| {
            let variable = json!({"name": "instance", "type": "query", "query": {"query": query}});
            let target = json!({"expr": format!("up{{{matchers}}}")});
            json!({"templating": {"list": [variable]}, "panels": [{"type": "table", "targets": [target]}]})
        };
        let broken = |query: &str, matchers: &str, rule: &str| {
            let faults = faults(&board(query, matchers), &Catalogue::of("| `up` | gauge |"));
            faults.iter().any(|fault| fault.contains(rule))
        };
        assert!(!broken("label_values(up, instance)", scope, "variable-query"));
        assert!(broken("label_values(gone, instance)", scope, "variable-query"));
        assert!(broken("label_values(up{, instance)", scope, "variable-query"));
        assert!(broken("up", scope, "variable-query"));
        assert!(broken("label_values(up, instance)", scope, "target-instance"));
        assert!(!broken("label_values(up, instance)", r#"instance=~"$instance""#, "target-instance"));
        assert!(broken("label_values(up, instance)", scope, "table-steps"));
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
