//! A board as Grafana's classic JSON (schema 42). In: [`Board`]. Out: a JSON value, always the same for the same board.
//!
//! Panels flow from left to right over Grafana's 24 columns and begin a new row where one does not fit.

use serde_json::{Value, json};

use super::boards::{BOARDS, Board, Kind, Panel, Query};

/// What a word of our expressions stands for.
pub(super) const SCOPE: &str = r#"region=~"$region",site=~"$site""#;
const HERE: &str = r#"region=~"$region",site=~"$site",instance=~"$instance""#;
const SCHEMA: u32 = 42;
const COLUMNS: u32 = 24;

pub(super) fn board(board: &Board) -> Value {
    json!({
        "annotations": {"list": []},
        "description": board.says,
        "editable": false,
        "graphTooltip": 1,
        "id": null,
        "links": [link()],
        "panels": panels(board),
        "refresh": "1m",
        "schemaVersion": SCHEMA,
        "tags": ["pantau"],
        "templating": {"list": variables(board)},
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "title": board.title,
        "uid": board.uid,
        "version": 1,
    })
}

/// The other boards, with the chosen scope and time.
fn link() -> Value {
    json!({
        "asDropdown": true, "icon": "external link", "includeVars": true, "keepTime": true, "tags": ["pantau"], "targetBlank": false,
        "title": "Pantau", "tooltip": "", "type": "dashboards",
    })
}

fn variables(board: &Board) -> Vec<Value> {
    let source = json!({
        "name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus",
        "refresh": 1, "multi": false, "includeAll": false, "hide": 0, "options": [], "regex": "",
    });
    let metric = board.metric;
    let mut all = vec![
        source,
        variable("region", "Region", &format!("label_values({metric}, region)")),
        variable("site", "Site", &format!(r#"label_values({metric}{{region=~"$region"}}, site)"#)),
    ];
    if board.instance {
        all.push(variable("instance", "Instance", &format!("label_values({metric}{{{SCOPE}}}, instance)")));
    }
    all
}

/// A variable of several values. "All" is `.*`, so that series without the label are there as well.
fn variable(name: &str, label: &str, query: &str) -> Value {
    json!({
        "name": name, "label": label, "type": "query", "datasource": source(),
        "query": {"qryType": 1, "query": query, "refId": "variable"},
        "refresh": 2, "sort": 1, "multi": true, "includeAll": true, "allValue": ".*", "hide": 0, "options": [], "regex": "",
        "current": {"selected": true, "text": ["All"], "value": ["$__all"]},
    })
}

fn source() -> Value {
    json!({"type": "prometheus", "uid": "${datasource}"})
}

fn panels(board: &Board) -> Vec<Value> {
    let (mut column, mut row, mut tallest) = (0, 0, 0);
    let mut all = Vec::new();
    for (number, panel) in board.panels.iter().enumerate() {
        let height = if panel.kind == Kind::Number { 4 } else { 8 };
        if column + panel.wide > COLUMNS {
            (column, row, tallest) = (0, row + tallest, 0);
        }
        let place = json!({"h": height, "w": panel.wide, "x": column, "y": row});
        all.push(one(board, panel, number + 1, &place));
        column += panel.wide;
        tallest = tallest.max(height);
    }
    all
}

fn one(board: &Board, panel: &Panel, id: usize, place: &Value) -> Value {
    let targets: Vec<_> =
        panel.queries.iter().enumerate().map(|(at, query)| target(board, panel.kind, at, query)).collect();
    json!({
        "id": id,
        "type": panel.kind.name(),
        "title": panel.title,
        "description": panel.says,
        "datasource": source(),
        "interval": board.interval,
        "gridPos": place,
        "targets": targets,
        "fieldConfig": {"defaults": defaults(panel), "overrides": overrides(panel)},
        "options": options(panel),
        "transformations": transformations(panel.kind),
    })
}

/// The interval stands here too: `$__rate_interval` looks at the query's, then at the data source's, never at the panel's.
fn target(board: &Board, kind: Kind, at: usize, query: &Query) -> Value {
    let moment = kind != Kind::Lines;
    let letter = char::from(b'A' + u8::try_from(at).expect("a panel has few queries"));
    json!({
        "refId": letter.to_string(),
        "datasource": source(),
        "expr": query.1.replace("SCOPE", SCOPE).replace("HERE", if board.instance { HERE } else { SCOPE }),
        // Many sites have a 192.168.1.1.
        "legendFormat": query.0.replace("{{instance}}", "{{site}} {{instance}}"),
        "format": if kind == Kind::Table { "table" } else { "time_series" },
        "instant": moment,
        "range": !moment,
        "interval": board.interval,
        "editorMode": "code",
    })
}

fn defaults(panel: &Panel) -> Value {
    // Where little is bad, the steps lead up to green and begin with red.
    let base = if little_is_bad(panel) { "red" } else { "green" };
    let mut steps = vec![json!({"color": base, "value": null})];
    steps.extend(panel.steps.iter().map(|(color, value)| json!({"color": color, "value": value})));
    let mut value = json!({"unit": panel.unit, "thresholds": {"mode": "absolute", "steps": steps}});
    value["mappings"] = mappings(panel);
    if panel.kind == Kind::Number {
        value["links"] = links(panel, "");
    }
    value["custom"] = match panel.kind {
        // Gaps are shown as gaps: a line over missing data would be a lie. A reading between two gaps is a point.
        Kind::Lines => json!({"lineWidth": 1, "fillOpacity": 5, "showPoints": "auto", "spanNulls": false}),
        Kind::Table => json!({"cellOptions": {"type": "color-text"}}),
        Kind::Number => json!({}),
    };
    value
}

/// The red end of the steps is below the others where little is bad.
fn little_is_bad(panel: &Panel) -> bool {
    panel.steps.iter().any(|(color, _)| *color == "green")
}

fn mappings(panel: &Panel) -> Value {
    let word = |(at, (value, text)): (usize, &(&str, &str))| {
        ((*value).to_owned(), json!({"text": text, "index": at}))
    };
    let words: serde_json::Map<_, _> = panel.words.iter().enumerate().map(word).collect();
    if words.is_empty() { json!([]) } else { json!([{"type": "value", "options": words}]) }
}

/// Links to the boards with the details, with the chosen scope and time; `more` are further variables.
fn links(panel: &Panel, more: &str) -> Value {
    let link = |uid: &&str| {
        let title = BOARDS.iter().find(|board| board.uid == *uid).map_or(*uid, |board| board.title);
        json!({
            "title": title, "targetBlank": false,
            "url": format!("/d/{uid}?${{datasource:queryparam}}&${{region:queryparam}}&${{site:queryparam}}{more}&${{__url_time_range}}"),
        })
    };
    panel.details.iter().map(link).collect()
}

/// In tables a click on the instance leads to it.
fn overrides(panel: &Panel) -> Value {
    if panel.kind != Kind::Table || panel.details.is_empty() {
        return json!([]);
    }
    let links = links(panel, "&var-instance=${__value.raw:percentencode}");
    json!([{"matcher": {"id": "byName", "options": "instance"}, "properties": [{"id": "links", "value": links}]}])
}

fn options(panel: &Panel) -> Value {
    match panel.kind {
        Kind::Lines => json!({
            "legend": {"displayMode": "table", "placement": "bottom", "showLegend": true, "calcs": ["lastNotNull", "max"]},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }),
        Kind::Number => json!({
            "colorMode": "background", "graphMode": "none", "textMode": "auto", "justifyMode": "auto", "orientation": "auto",
            "percentChangeColorMode": "standard", "showPercentChange": false, "wideLayout": true,
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": false},
        }),
        Kind::Table => json!({
            "showHeader": true, "cellHeight": "sm", "frameIndex": 0,
            "sortBy": [{"displayName": "Value", "desc": !little_is_bad(panel)}],
        }),
    }
}

fn transformations(kind: Kind) -> Value {
    match kind {
        Kind::Table => {
            let first = [
                "site",
                "instance",
                "agent",
                "alertname",
                "severity",
                "alertstate",
                "ifName",
                "ifAlias",
                "mountpoint",
                "Value",
            ];
            let order: serde_json::Map<_, _> =
                first.iter().enumerate().map(|(at, name)| ((*name).to_owned(), json!(at))).collect();
            let hidden = json!({"Time": true, "__name__": true, "ifDescr": true, "ifIndex": true});
            json!([{"id": "organize", "options": {"excludeByName": hidden, "indexByName": order}}])
        }
        _ => json!([]),
    }
}
