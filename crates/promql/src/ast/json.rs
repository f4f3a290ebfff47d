//! A tree as JSON, in the form that `parse_query` of Prometheus' HTTP API has: its user interface draws it.
//!
//! Lengths are milliseconds. An offset or range that waits for the query's parameters (duration arithmetic) is 0, as there.

use model::Matcher;
use serde_json::{Value, json};

use super::{
    Aggregate, At, Binary, Call, Duration, Edge, Expr, Group, Kind, Selector, Shift, Subquery, ValueType,
};
use crate::function::Arity;
use crate::number;

impl Expr {
    /// See the module's text. At most [`Expr::DEPTH_MAX`] nodes deep.
    pub fn to_json(&self) -> Value {
        if let Some((value, _)) = self.literal() {
            return json!({"type": "numberLiteral", "val": number::format_plain(value)});
        }
        match &self.kind {
            Kind::Number(_) => unreachable!("a number is a literal"),
            Kind::Text(text) => json!({"type": "stringLiteral", "val": text.value}),
            Kind::Selector(selector) => selector_json("vectorSelector", selector),
            Kind::Range(range) => {
                let mut json = selector_json("matrixSelector", &range.selector);
                json["range"] = millis(Some(&range.range)).into();
                json
            }
            Kind::Subquery(subquery) => subquery_json(subquery),
            Kind::Aggregate(aggregate) => aggregate_json(aggregate),
            Kind::Binary(binary) => binary_json(binary),
            Kind::Negate(inner) => json!({"type": "unaryExpr", "op": "-", "expr": inner.to_json()}),
            Kind::Plus(inner) => json!({"type": "unaryExpr", "op": "+", "expr": inner.to_json()}),
            Kind::Paren(inner) => json!({"type": "parenExpr", "expr": inner.to_json()}),
            Kind::Call(call) => call_json(call),
        }
    }
}

fn millis(duration: Option<&Duration>) -> i64 {
    duration.filter(|duration| duration.is_fixed()).and_then(|duration| duration.resolve(0, 0)).unwrap_or(0)
}

fn timestamp(shift: &Shift) -> Option<i64> {
    match shift.at {
        Some(At::Time(time)) => Some(time.as_millis()),
        _ => None,
    }
}

fn start_or_end(shift: &Shift) -> Option<&'static str> {
    match shift.at {
        Some(At::Start) => Some("start"),
        Some(At::End) => Some("end"),
        _ => None,
    }
}

fn selector_json(kind: &str, selector: &Selector) -> Value {
    let matcher = |matcher: &Matcher| json!({"name": matcher.name(), "value": matcher.value(), "type": matcher.op().as_str()});
    json!({
        "type": kind,
        "name": selector.name().unwrap_or_default(),
        "offset": millis(selector.shift.offset.as_ref()),
        "matchers": selector.matchers.iter().map(matcher).collect::<Vec<_>>(),
        "timestamp": timestamp(&selector.shift),
        "startOrEnd": start_or_end(&selector.shift),
        "anchored": selector.edge == Edge::Anchored,
        "smoothed": selector.edge == Edge::Smoothed,
    })
}

fn subquery_json(subquery: &Subquery) -> Value {
    json!({
        "type": "subquery",
        "expr": subquery.expr.to_json(),
        "range": millis(Some(&subquery.range)),
        "offset": millis(subquery.shift.offset.as_ref()),
        "step": millis(subquery.step.as_ref()),
        "timestamp": timestamp(&subquery.shift),
        "startOrEnd": start_or_end(&subquery.shift),
    })
}

fn aggregate_json(aggregate: &Aggregate) -> Value {
    json!({
        "type": "aggregation",
        "op": aggregate.op.name(),
        "expr": aggregate.expr.to_json(),
        "param": aggregate.parameter.as_ref().map(|parameter| parameter.to_json()),
        "grouping": aggregate.grouping.labels,
        "without": aggregate.grouping.without,
    })
}

fn binary_json(binary: &Binary) -> Value {
    json!({
        "type": "binaryExpr",
        "op": binary.op.as_str(),
        "lhs": binary.lhs.to_json(),
        "rhs": binary.rhs.to_json(),
        "matching": matching_json(binary),
        "bool": binary.return_bool,
    })
}

/// `null` unless both sides are vectors.
fn matching_json(binary: &Binary) -> Value {
    if [&binary.lhs, &binary.rhs].iter().any(|side| side.value_type() != ValueType::Vector) {
        return Value::Null;
    }
    let matching = &binary.matching;
    let card = match matching.group {
        _ if binary.op.is_set() => "many-to-many",
        Group::None => "one-to-one",
        Group::Left => "many-to-one",
        Group::Right => "one-to-many",
    };
    json!({
        "card": card,
        "labels": matching.labels,
        "on": matching.on,
        "include": matching.include,
        "fillValues": {"lhs": matching.fill_left, "rhs": matching.fill_right},
    })
}

fn call_json(call: &Call) -> Value {
    let function = call.function;
    let variadic = match function.arity {
        Arity::Exact => 0,
        Arity::Optional(count) | Arity::UpTo(count) => i64::try_from(count).unwrap_or(i64::MAX),
        Arity::Variadic => -1,
    };
    json!({
        "type": "call",
        "func": {
            "name": function.name,
            "argTypes": function.arguments.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "variadic": variadic,
            "returnType": function.result.to_string(),
        },
        "args": call.arguments.iter().map(Expr::to_json).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::options::Features;
    use crate::parse_with;

    fn check(text: &str, expected: &serde_json::Value) {
        let expr = parse_with(text, Features::ALL).expect("it is right");
        assert_eq!(&expr.to_json(), expected, "{text}");
    }

    #[test]
    fn literals_and_signs() {
        check("-1.50", &json!({"type": "numberLiteral", "val": "-1.5"}));
        let infinite = json!({"type": "parenExpr", "expr": {"type": "numberLiteral", "val": "+Inf"}});
        check("-(+Inf)", &json!({"type": "unaryExpr", "op": "-", "expr": infinite}));
        check("'a'", &json!({"type": "stringLiteral", "val": "a"}));
    }

    #[test]
    fn selectors_with_all_that_stands_beside_them() {
        let name = json!({"name": "__name__", "value": "up", "type": "="});
        let job = json!({"name": "job", "value": "a.*", "type": "=~"});
        check(
            r#"up{job=~"a.*"}[5m] offset -1m @ 1.5"#,
            &json!({
                "type": "matrixSelector", "name": "up", "range": 300_000, "offset": -60_000, "matchers": [job, name],
                "timestamp": 1500, "startOrEnd": null, "anchored": false, "smoothed": false,
            }),
        );
        check(
            r#"{"up"} @ end()"#,
            &json!({
                "type": "vectorSelector", "name": "", "offset": 0, "matchers": [name],
                "timestamp": null, "startOrEnd": "end", "anchored": false, "smoothed": false,
            }),
        );
        let inner = json!({"type": "call", "args": [], "func":
            {"name": "time", "argTypes": [], "variadic": 0, "returnType": "scalar"}});
        let vector = json!({"type": "call", "args": [inner], "func":
            {"name": "vector", "argTypes": ["scalar"], "variadic": 0, "returnType": "vector"}});
        check(
            "vector(time())[1h:5m] @ start()",
            &json!({
                "type": "subquery", "expr": vector, "range": 3_600_000, "step": 300_000, "offset": 0,
                "timestamp": null, "startOrEnd": "start",
            }),
        );
    }

    #[test]
    fn operators_say_how_series_are_matched() {
        let vector = |name: &str| {
            json!({
                "type": "vectorSelector", "name": name, "offset": 0, "timestamp": null, "startOrEnd": null,
                "matchers": [{"name": "__name__", "value": name, "type": "="}], "anchored": false, "smoothed": false,
            })
        };
        let check_card = |text: &str, op: &str, matching: serde_json::Value| {
            check(
                text,
                &json!({
                    "type": "binaryExpr", "op": op, "lhs": vector("a"), "rhs": vector("b"), "matching": matching,
                    "bool": false,
                }),
            );
        };
        let none = json!({"lhs": null, "rhs": null});
        check_card(
            "a / on (x) group_left (y) b",
            "/",
            json!(
            {"card": "many-to-one", "labels": ["x"], "on": true, "include": ["y"], "fillValues": none}),
        );
        check_card(
            "a and ignoring (x) b",
            "and",
            json!(
            {"card": "many-to-many", "labels": ["x"], "on": false, "include": [], "fillValues": none}),
        );
        check_card(
            "a + fill_left (2) b",
            "+",
            json!(
            {"card": "one-to-one", "labels": [], "on": false, "include": [], "fillValues": {"lhs": 2.0, "rhs": null}}),
        );
        let one = json!({"type": "numberLiteral", "val": "1"});
        check(
            "a > bool 1",
            &json!(
            {"type": "binaryExpr", "op": ">", "lhs": vector("a"), "rhs": one, "matching": null, "bool": true}),
        );
        check(
            "topk without (z) (1, a)",
            &json!(
            {"type": "aggregation", "op": "topk", "param": one, "expr": vector("a"), "grouping": ["z"], "without": true}),
        );
    }
}
