//! `/api/v1/rules` and `/api/v1/alerts`: what the rules are and what they found, as Prometheus shows it.
//!
//! A reader of a part sees alerts of its regions and sites; of the rules those that bear such labels or have such an alert, unless
//! their expression names another region or site; and no error texts, which quote data. Annotations whose template asks the store
//! (`query`) it sees as [`HIDDEN`], and of a rule whose labels do so nothing: rules ask about everything. An alert whose data stopped has
//! the state `unknown`.

use std::sync::Arc;
use std::time::Duration;

use alerting::{ActiveAlert, AlertState};
use axum::extract::State;
use axum::response::Response;
use model::{Labels, MatchOp, Matcher, PatternRoom, RegionCode, Timestamp};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use template::Template;

use super::in_background;
use super::params::Params;
use super::reply::{self, ApiError};
use super::time::rfc3339;
use crate::auth::Viewer;
use crate::rules::file::{Rule, RuleKind};
use crate::rules::group::Spec;
use crate::rules::{GroupView, RuleView};
use crate::scope::Scope;
use crate::state::AppState;

/// What the patterns of `match[]` may take: rules are shown without a turn, to many at once.
const PATTERN_BYTES_MAX: usize = 4 << 20;

/// What stands for an annotation that may tell of other regions.
const HIDDEN: &str = "<hidden: it asks about everything, and this reader sees a part>";

/// Rules by group.
pub(super) async fn rules(Viewer(scope): Viewer, State(state): State<AppState>, params: Params) -> Response {
    let gzip = params.gzip;
    let work = move || {
        let asked = Asked::new(&params)?;
        let page = page(&state.rules.groups(), &asked, &scope)?;
        Ok(reply::success(&page.to_string(), gzip))
    };
    in_background(work).await.unwrap_or_else(|error| error.response(gzip))
}

/// Every active alert.
pub(super) async fn alerts(Viewer(scope): Viewer, State(state): State<AppState>, params: Params) -> Response {
    let gzip = params.gzip;
    let work = move || {
        let groups = state.rules.groups();
        let rules = groups.iter().flat_map(|group| &group.rules);
        let alerts: Vec<Value> = rules.flat_map(|rule| alerts_json(rule, &scope)).collect();
        Ok(reply::success(&json!({ "alerts": alerts }).to_string(), gzip))
    };
    in_background(work).await.unwrap_or_else(|error| error.response(gzip))
}

/// What a request wants.
struct Asked {
    alerting: bool,
    recording: bool,
    names: Vec<String>,
    groups: Vec<String>,
    files: Vec<String>,
    selectors: Vec<Vec<Matcher>>,
    exclude_alerts: bool,
    /// Groups on one page, and the first of them.
    page: Option<(usize, Option<String>)>,
}

impl Asked {
    fn new(params: &Params) -> Result<Self, ApiError> {
        let kind = params.get("type").unwrap_or_default().to_lowercase();
        if !["", "alert", "record"].contains(&kind.as_str()) {
            return Err(ApiError::parameter("type", format!("not supported value {kind:?}")));
        }
        let texts = |name: &str| params.all(name).map(str::to_owned).collect();
        Ok(Self {
            alerting: kind != "record",
            recording: kind != "alert",
            names: texts("rule_name[]"),
            groups: texts("rule_group[]"),
            files: texts("file[]"),
            selectors: params.selectors_within(PatternRoom::of(PATTERN_BYTES_MAX))?,
            exclude_alerts: params.get("exclude_alerts").map_or(Ok(false), switch)?,
            page: page_of(params)?,
        })
    }

    fn wants_group(&self, spec: &Spec) -> bool {
        let wanted = |list: &[String], name: &String| list.is_empty() || list.contains(name);
        wanted(&self.groups, &spec.name) && wanted(&self.files, &spec.file)
    }

    fn wants_rule(&self, rule: &Rule) -> bool {
        let kind = if matches!(rule.kind, RuleKind::Record) { self.recording } else { self.alerting };
        let label =
            |name: &str| rule.labels.iter().find(|(have, _)| have == name).map_or("", |(_, value)| value);
        let fits =
            |matchers: &Vec<Matcher>| matchers.iter().all(|matcher| matcher.matches(label(matcher.name())));
        kind && (self.names.is_empty() || self.names.contains(&rule.name))
            && (self.selectors.is_empty() || self.selectors.iter().any(fits))
    }
}

/// As Go's `ParseBool`.
fn switch(text: &str) -> Result<bool, ApiError> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        other => Err(ApiError::parameter(
            "exclude_alerts",
            format!("error converting exclude_alerts: strconv.ParseBool: parsing {other:?}: invalid syntax"),
        )),
    }
}

fn page_of(params: &Params) -> Result<Option<(usize, Option<String>)>, ApiError> {
    let token = params.get("group_next_token").map(str::to_owned);
    let Some(limit) = params.get("group_limit") else {
        if token.is_some() {
            let why = "group_limit needs to be present in order to paginate over the groups";
            return Err(ApiError::parameter("group_next_token", why));
        }
        return Ok(None);
    };
    match limit.parse::<i64>().map(usize::try_from) {
        Ok(Ok(limit)) if limit > 0 => Ok(Some((limit, token))),
        Ok(_) => Err(ApiError::parameter("group_limit", "group_limit needs to be greater than 0")),
        Err(_) => Err(ApiError::parameter(
            "group_limit",
            format!("group_limit needs to be a valid number: {limit:?}"),
        )),
    }
}

/// Which group a page begins with; says nothing of it.
fn token_of(spec: &Spec) -> String {
    let hash = Sha256::digest(spec.key());
    hash[..20].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn page(groups: &[Arc<GroupView>], asked: &Asked, scope: &Scope) -> Result<Value, ApiError> {
    let mut rest = groups;
    if let Some((_, Some(token))) = &asked.page {
        let first = groups.iter().position(|group| token_of(&group.spec) == *token).ok_or_else(|| {
            let why = format!("invalid group_next_token '{token}'. were rule groups changed?");
            ApiError::parameter("group_next_token", why)
        })?;
        rest = &groups[first..];
    }
    let mut shown = Vec::new();
    let mut next = None;
    for group in rest.iter().filter(|group| asked.wants_group(&group.spec)) {
        let Some(group_json) = group_json(group, asked, scope) else { continue };
        if asked.page.as_ref().is_some_and(|(limit, _)| shown.len() == *limit) {
            next = Some(token_of(&group.spec));
            break;
        }
        shown.push(group_json);
    }
    let mut page = json!({ "groups": shown });
    if let Some(token) = next {
        page["groupNextToken"] = token.into();
    }
    Ok(page)
}

/// `None` where nothing of it is to be seen.
fn group_json(group: &GroupView, asked: &Asked, scope: &Scope) -> Option<Value> {
    let wanted = group.rules.iter().filter(|rule| asked.wants_rule(&rule.rule));
    let rules: Vec<Value> = wanted.filter_map(|rule| rule_json(rule, asked, scope)).collect();
    if rules.is_empty() {
        return None;
    }
    Some(json!({
        "name": group.spec.name,
        "file": group.spec.file,
        "rules": rules,
        "interval": seconds(group.spec.interval),
        "limit": group.spec.limit,
        "evaluationTime": seconds(group.took),
        "lastEvaluation": moment(group.at),
    }))
}

/// As Go writes a float: whole seconds without a fraction.
fn seconds(span: Duration) -> Value {
    if span.subsec_nanos() == 0 { span.as_secs().into() } else { span.as_secs_f64().into() }
}

fn moment(at: Option<Timestamp>) -> String {
    rfc3339(at.unwrap_or(Timestamp::MIN))
}

fn rule_json(view: &RuleView, asked: &Asked, scope: &Scope) -> Option<Value> {
    let alerts = alerts_seen(view, scope);
    let rule = &view.rule;
    if !sees_rule(scope, rule, !alerts.is_empty()) {
        return None;
    }
    let mut json = json!({
        "name": rule.name,
        "query": rule.expr.to_string(),
        "labels": object(rule.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()))),
        "health": view.fared.health(),
        "evaluationTime": seconds(view.fared.took),
        "lastEvaluation": moment(view.fared.at),
    });
    if let Some(error) = view.fared.error.as_ref().filter(|_| scope.is_everything()) {
        json["lastError"] = error.as_str().into();
    }
    match &rule.kind {
        RuleKind::Record => json["type"] = "recording".into(),
        RuleKind::Alert { hold, keep_firing, annotations } => {
            json["type"] = "alerting".into();
            json["state"] = state_of(&alerts, view.fared.at.is_some()).into();
            json["duration"] = seconds(*hold);
            json["keepFiringFor"] = seconds(*keep_firing);
            let hidden = hidden_annotations(rule, scope);
            json["annotations"] = annotations_json(annotations, &hidden);
            let alerts = if asked.exclude_alerts { Vec::new() } else { alerts };
            json["alerts"] = alerts.into_iter().map(|alert| alert_json(alert, &hidden)).collect();
        }
    }
    Some(json)
}

/// The worst of its alerts.
fn state_of(alerts: &[&ActiveAlert], is_evaluated: bool) -> &'static str {
    let any = |state: AlertState| alerts.iter().any(|alert| alert.state == state);
    if any(AlertState::Firing) {
        "firing"
    } else if any(AlertState::Unknown) || !is_evaluated {
        "unknown"
    } else if any(AlertState::Pending) {
        "pending"
    } else {
        "inactive"
    }
}

/// Alerts of a rule that a scope shows.
fn alerts_seen<'v>(view: &'v RuleView, scope: &Scope) -> Vec<&'v ActiveAlert> {
    if view.alerts.is_empty() || hides_alerts(&view.rule, scope) {
        return Vec::new();
    }
    view.alerts.iter().filter(|alert| sees(scope, &alert.labels)).collect()
}

fn alerts_json(view: &RuleView, scope: &Scope) -> Vec<Value> {
    let alerts = alerts_seen(view, scope);
    if alerts.is_empty() {
        return Vec::new();
    }
    let hidden = hidden_annotations(&view.rule, scope);
    alerts.into_iter().map(|alert| alert_json(alert, &hidden)).collect()
}

/// Whether a text of an alert asks the store, which answers rules about every region.
fn asks(text: &str) -> bool {
    // What is no template is shown as it stands.
    text.contains("query") && Template::parse("", text).is_ok_and(|template| template.queries())
}

fn hides_alerts(rule: &Rule, scope: &Scope) -> bool {
    !scope.is_everything() && rule.labels.iter().any(|(_, text)| asks(text))
}

/// Names of the annotations that a scope does not show.
fn hidden_annotations<'r>(rule: &'r Rule, scope: &Scope) -> Vec<&'r str> {
    match &rule.kind {
        RuleKind::Alert { annotations, .. } if !scope.is_everything() => {
            annotations.iter().filter(|(_, text)| asks(text)).map(|(name, _)| name.as_str()).collect()
        }
        _ => Vec::new(),
    }
}

fn annotations_json(annotations: &[(String, String)], hidden: &[&str]) -> Value {
    object(annotations.iter().map(|(name, text)| {
        let name = name.as_str();
        (name, if hidden.contains(&name) { HIDDEN } else { text.as_str() })
    }))
}

fn alert_json(alert: &ActiveAlert, hidden: &[&str]) -> Value {
    let mut json = json!({
        "labels": object(alert.labels.iter()),
        "annotations": annotations_json(&alert.annotations, hidden),
        "state": alert.state.as_str(),
        "activeAt": rfc3339(alert.active_at),
        "value": exponent(alert.value),
    });
    if let Some(since) = alert.keep_firing_since {
        json["keepFiringSince"] = rfc3339(since).into();
    }
    json
}

fn object<'t>(pairs: impl Iterator<Item = (&'t str, &'t str)>) -> Value {
    Value::Object(pairs.map(|(name, value)| (name.to_owned(), value.into())).collect::<Map<_, _>>())
}

/// As Go's `FormatFloat(value, 'e', -1, 64)`.
fn exponent(value: f64) -> String {
    if !value.is_finite() {
        return promql::format_value(value);
    }
    let text = format!("{value:e}");
    let (mantissa, exponent) = text.split_once('e').expect("LowerExp always prints an exponent");
    match exponent.strip_prefix('-') {
        Some(digits) => format!("{mantissa}e-{digits:0>2}"),
        None => format!("{mantissa}e+{exponent:0>2}"),
    }
}

fn sees(scope: &Scope, labels: &Labels) -> bool {
    allows(scope, |name| labels.get(name))
}

fn allows<'l>(scope: &Scope, label: impl Fn(&str) -> Option<&'l str>) -> bool {
    let region: Option<RegionCode> = label("region").and_then(|code| code.parse().ok());
    scope.allows(region.as_ref(), label("site"))
}

/// Whether a rule itself may be seen: it speaks of what the scope shows, and its text of nothing else.
fn sees_rule(scope: &Scope, rule: &Rule, has_alerts: bool) -> bool {
    if scope.is_everything() {
        return true;
    }
    let own = |name: &str| rule.labels.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str());
    let names_others = rule.expr.selectors().into_iter().any(|matchers| !within(scope, matchers));
    (has_alerts || allows(scope, own)) && !names_others && !hides_alerts(rule, scope)
}

/// Whether conditions on region and site, where there are any, name what the scope shows.
fn within(scope: &Scope, matchers: &[Matcher]) -> bool {
    // A scope that makes no condition is too large, and shows nothing.
    let Ok(bounds) = scope.matchers() else { return false };
    let placed = matchers.iter().filter(|matcher| ["region", "site"].contains(&matcher.name()));
    placed.into_iter().all(|matcher| {
        let fits = |bound: &Matcher| bound.name() != matcher.name() || bound.matches(matcher.value());
        matcher.op() == MatchOp::Equal && bounds.iter().all(fits)
    })
}

#[cfg(test)]
mod tests;
