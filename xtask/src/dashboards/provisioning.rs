//! Grafana's provisioning (`configs/grafana/`) beside the boards: what they rest on. In: the texts of its two files. Out: a line for each
//! fault. Keys are looked for line by line: whether Grafana reads the files as YAML is not looked at.

use std::path::Path;

use anyhow::{Context as _, Result};

/// What must stand in the data source's file, and why.
const SOURCE: [(&str, &str, &str); 7] = [
    ("type", "prometheus", "the boards' variable lists sources of this type"),
    ("access", "proxy", "browsers have no token"),
    ("editable", "false", "what comes from a file is changed in the file"),
    ("httpMethod", "POST", "long expressions do not fit into an address"),
    ("url", "$PANTAU_URL", "each place has its own"),
    ("httpHeaderName1", "Authorization", "the token's header"),
    ("httpHeaderValue1", "Bearer $PANTAU_TOKEN", "a token stands in no file that is committed"),
];
/// The same of the boards' file.
const BOARDS: [(&str, &str, &str); 3] = [
    ("type", "file", "boards are files"),
    ("allowUiUpdates", "false", "what is changed in Grafana would be lost"),
    ("path", "/var/lib/grafana/dashboards/pantau", "docs/operating/grafana.md installs them there"),
];

/// The faults of both files; `interval` is that of the boards of devices, which most series have.
pub(super) fn faults(folder: &Path, interval: &str) -> Result<Vec<String>> {
    let read = |name: &str| {
        let path = folder.join(name);
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let mut source = SOURCE.to_vec();
    source.push(("timeInterval", interval, "$__rate_interval of queries without an interval of their own"));
    let mut faults = of_file(&read("datasources/pantau.yaml")?, &source);
    faults.extend(of_file(&read("dashboards/pantau.yaml")?, &BOARDS));
    Ok(faults)
}

fn of_file(text: &str, wanted: &[(&str, &str, &str)]) -> Vec<String> {
    let wrong = |(key, value, _): &&(&str, &str, &str)| value_of(text, key) != Some(*value);
    let told = |(key, value, why): &(&str, &str, &str)| format!("provisioning: {key}: {value}: {why}");
    wanted.iter().filter(wrong).map(told).collect()
}

/// The value of the only line with this key.
fn value_of<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    let mut values = text.lines().filter_map(|line| {
        let (name, value) = line.trim_start_matches([' ', '-']).split_once(": ")?;
        (name == key).then(|| value.split(" #").next().unwrap_or_default().trim())
    });
    let first = values.next()?;
    values.next().is_none().then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_wrong_or_twice_is_found() {
        let check = |text: &str, expected: usize| {
            let wanted = [("httpMethod", "POST", "long"), ("type", "prometheus", "listed")];
            assert_eq!(of_file(text, &wanted).len(), expected, "{text}");
        };
        check("- type: prometheus # a comment\n  jsonData:\n    httpMethod: POST\n", 0);
        check("- type: prometheus\n  jsonData:\n    httpMethod: GET\n", 1);
        check("- type: prometheus\n  # httpMethod: POST\n", 1);
        check("- type: prometheus\n  type: loki\n  httpMethod: POST\n", 1);
        check("", 2);
    }
}
