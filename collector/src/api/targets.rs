//! `/api/v1/targets`, `/api/v1/targets/metadata`, `/api/v1/scrape_pools` and `/sd/http`: what is collected, in Prometheus' shape.
//!
//! This collector asks no target itself: its agents do. In: the ledger's agents, and the series `up` of the reader's own source, so that
//! its scope holds. Out: each agent as a target of the pool `pantau-agent`, and each `up` as a target of the pool of its job. `/sd/http` lists
//! the latter for another Prometheus' `http_sd_configs`.
//!
//! A target whose `up` ended (a stale marker) is gone; one whose latest value is older than `query.lookback` is `unknown`, because nobody
//! says how it is, and is listed for [`KNOWN_FOR`]. What only the agent knows is empty: timeouts, the path of a page. The interval
//! is the time between the two latest values.
//!
//! Limits: `query.series_max` targets; [`METADATA_MAX`] entries of metadata.

use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use model::{Columns, Labels, Matcher, Sample, Selection, SeriesSource, Timestamp, is_stale};
use serde_json::{Map, Value, json};

use super::params::Params;
use super::reply::{self, ApiError};
use super::time::rfc3339;
use super::{Reader, Turns, in_turn};
use crate::ledger::AgentStatus;
use crate::state::{App, AppState, now};

/// For which a target that nobody speaks of is listed.
const KNOWN_FOR: Duration = Duration::from_secs(3600);
/// The most entries of metadata in one answer.
const METADATA_MAX: usize = 100_000;
/// The pool and job of the agents themselves.
const AGENTS: &str = "pantau-agent";
/// The metrics that say how long a target took, by input.
const DURATIONS: &str = "scrape_duration_seconds|snmp_scrape_duration_seconds";

/// A target, as Prometheus has them.
struct Target {
    labels: Labels,
    health: &'static str,
    error: String,
    last: Option<Timestamp>,
    duration: f64,
    interval: Duration,
}

impl Target {
    fn job(&self) -> &str {
        self.labels.get("job").unwrap_or_default()
    }

    fn instance(&self) -> &str {
        self.labels.get("instance").unwrap_or_default()
    }

    fn of_agent(agent: &AgentStatus) -> Self {
        let region = agent.region.as_ref().map(ToString::to_string);
        let more = [("region", region.as_deref()), ("site", agent.site.as_deref())];
        let own = [("agent", agent.agent.as_str()), ("instance", agent.agent.as_str()), ("job", AGENTS)];
        let labels = own.into_iter().chain(more.into_iter().filter_map(|(name, value)| Some((name, value?))));
        let (health, error) = match agent.connected {
            Some(true) => ("up", ""),
            Some(false) => ("down", "the agent is silent"),
            None => ("unknown", ""),
        };
        Self {
            labels: Labels::from_pairs(labels),
            health,
            error: error.into(),
            last: agent.last_seen_ms.map(Timestamp::from_millis),
            duration: 0.0,
            interval: agent
                .interval_seconds
                .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
                .unwrap_or_default(),
        }
    }

    fn json(&self) -> Value {
        let discovered = json!({ "__address__": self.instance(), "job": self.job() });
        json!({
            "discoveredLabels": discovered,
            "labels": object(&self.labels),
            "scrapePool": self.job(),
            "scrapeUrl": self.instance(),
            "globalUrl": self.instance(),
            "lastError": self.error,
            // Go's zero time: never.
            "lastScrape": self.last.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), rfc3339),
            "lastScrapeDuration": self.duration,
            "health": self.health,
            "scrapeInterval": settings::Span::new(self.interval).to_string(),
            "scrapeTimeout": "0s",
        })
    }
}

fn object(labels: &Labels) -> Map<String, Value> {
    labels.iter().map(|(name, value)| (name.to_owned(), Value::from(value))).collect()
}

/// What the handlers need to find targets on a query's thread.
struct Search {
    reader: Reader,
    state: AppState,
    lookback: Duration,
    targets_max: usize,
}

impl Search {
    fn new(reader: Reader, state: &AppState) -> Self {
        let query = state.settings.load().query;
        let (lookback, targets_max) = (query.lookback.get(), query.series_max);
        Self { reader, state: AppState::clone(state), lookback, targets_max }
    }

    /// Agents first, then what they collect, each by its labels.
    fn targets(&self) -> Result<Vec<Target>, ApiError> {
        let mut targets = agents(&self.state, &self.reader);
        targets.extend(self.collected()?);
        Ok(targets)
    }

    fn collected(&self) -> Result<Vec<Target>, ApiError> {
        let at = now();
        let source = &*self.reader.source;
        let mut targets = Vec::new();
        let mut columns = Columns::default();
        let matchers = [Matcher::equal(model::METRIC_NAME, "up")];
        let mut found = source.select(&Selection { matchers: &matchers, start: at - KNOWN_FOR, end: at })?;
        while found.advance()? {
            found.read(&mut columns)?;
            let Some(target) = target(found.labels(), &columns, at, self.lookback) else { continue };
            targets.push(target);
            if targets.len() > self.targets_max {
                let most = self.targets_max;
                return Err(ApiError::Execution(format!(
                    "there are more than {most} targets: raise query.series_max"
                )));
            }
        }
        drop(found);
        self.add_durations(&mut targets, at)?;
        Ok(targets)
    }

    fn add_durations(&self, targets: &mut [Target], at: Timestamp) -> Result<(), ApiError> {
        let durations = Matcher::new(model::METRIC_NAME, model::MatchOp::Regex, DURATIONS);
        let durations = [durations.expect("the pattern is one")];
        let (start, mut columns) = (at - self.lookback, Columns::default());
        let mut found = self.reader.source.select(&Selection { matchers: &durations, start, end: at })?;
        targets.sort_unstable_by(|a, b| a.labels.cmp(&b.labels));
        while found.advance()? {
            let labels = nameless(found.labels());
            let Ok(index) = targets.binary_search_by(|target| target.labels.cmp(&labels)) else { continue };
            found.read(&mut columns)?;
            if let Some(last) = columns.iter().last().filter(|sample| !is_stale(sample.value)) {
                targets[index].duration = last.value;
            }
        }
        Ok(())
    }
}

/// Agents that the reader may see.
fn agents(state: &App, reader: &Reader) -> Vec<Target> {
    let agents = state.agents(now());
    let seen =
        agents.iter().filter(|agent| reader.scope.allows(agent.region.as_ref(), agent.site.as_deref()));
    seen.map(Target::of_agent).collect()
}

fn nameless(labels: &Labels) -> Labels {
    let mut builder = labels.to_builder();
    builder.remove(model::METRIC_NAME);
    builder.build()
}

/// The target of an `up`; none where it ended.
fn target(labels: &Labels, up: &Columns, at: Timestamp, lookback: Duration) -> Option<Target> {
    let mut latest: [Option<Sample>; 2] = [None, None];
    up.iter().for_each(|sample| latest = [latest[1], Some(sample)]);
    let [before, last] = latest;
    let last = last.filter(|sample| !is_stale(sample.value))?;
    let interval = before.map_or(0, |before| last.timestamp.millis_since(before.timestamp));
    let (health, error) = if last.timestamp < at - lookback {
        ("unknown", "nothing was heard of it lately")
    } else if last.value == 0.0 {
        ("down", "the agent that collects it had no answer")
    } else {
        ("up", "")
    };
    Some(Target {
        labels: nameless(labels),
        health,
        error: error.into(),
        last: Some(last.timestamp),
        duration: 0.0,
        interval: Duration::from_millis(interval.unsigned_abs()),
    })
}

/// Runs a search in its turn; what it makes is the answer's data.
async fn search(
    reader: Reader,
    state: &AppState,
    turns: &Turns,
    gzip: bool,
    make: impl FnOnce(&Search) -> Result<Value, ApiError> + Send + 'static,
) -> Response {
    find(reader, state, turns, move |search| Ok(reply::success(&make(search)?.to_string(), gzip)))
        .await
        .unwrap_or_else(|error| error.response(gzip))
}

async fn find<T: Send + 'static>(
    reader: Reader,
    state: &AppState,
    turns: &Turns,
    make: impl FnOnce(&Search) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let deadline = tokio::time::Instant::now() + state.settings.load().query.timeout.get();
    let mut search = Search::new(reader, state);
    in_turn(turns, deadline, move |patience| {
        search.reader.source = patience.over(search.reader.source);
        make(&search)
    })
    .await
}

/// Targets; the parameters `state` and `scrapePool` choose among them.
pub(super) async fn targets(
    reader: Reader,
    State(state): State<AppState>,
    Extension(turns): Extension<Turns>,
    params: Params,
) -> Response {
    let gzip = params.gzip;
    let make = move |search: &Search| {
        let wants_active = match params.get("state").map(str::to_ascii_lowercase).as_deref() {
            None | Some("active" | "any") => true,
            // Nothing is dropped by relabelling here: agents speak of what they ask.
            Some(_) => false,
        };
        let pool = params.get("scrapePool");
        let mut active = if wants_active { search.targets()? } else { Vec::new() };
        active.retain(|target| pool.is_none_or(|pool| pool == target.job()));
        let active: Vec<Value> = active.iter().map(Target::json).collect();
        Ok(json!({ "activeTargets": active, "droppedTargets": [], "droppedTargetCounts": {} }))
    };
    search(reader, &state, &turns, gzip, make).await
}

/// Names of pools, sorted.
pub(super) async fn scrape_pools(
    reader: Reader,
    State(state): State<AppState>,
    Extension(turns): Extension<Turns>,
    params: Params,
) -> Response {
    let make = move |search: &Search| {
        let targets = search.targets()?;
        let mut pools: Vec<&str> = targets.iter().map(Target::job).collect();
        pools.sort_unstable();
        pools.dedup();
        Ok(json!({ "scrapePools": pools }))
    };
    search(reader, &state, &turns, params.gzip, make).await
}

/// What senders said of the metrics of targets: `match_target` chooses targets, `metric` one metric, `limit` bounds the list.
pub(super) async fn metadata(
    reader: Reader,
    State(state): State<AppState>,
    Extension(turns): Extension<Turns>,
    params: Params,
) -> Response {
    let gzip = params.gzip;
    search(reader, &state, &turns, gzip, move |search| metadata_of(search, &params)).await
}

fn metadata_of(search: &Search, params: &Params) -> Result<Value, ApiError> {
    let limit = params.limit("limit")?;
    let wanted = params.get("match_target").map(promql::parse_matchers).transpose();
    let wanted = wanted.map_err(|error| ApiError::parameter("match_target", error))?.unwrap_or_default();
    let metric = params.get("metric");
    let families = search.reader.metadata(metric, 0)?;
    let mut entries = Vec::new();
    for target in search.targets()? {
        let fits = |matcher: &Matcher| matcher.matches(target.labels.get(matcher.name()).unwrap_or_default());
        if !wanted.iter().all(fits) {
            continue;
        }
        let names = names_of(&*search.reader.source, &target.labels, search.lookback)?;
        for (family, said) in families.iter().filter(|(family, _)| crate::auth::has_series_of(&names, family))
        {
            for entry in said {
                if limit > 0 && entries.len() >= limit {
                    return Ok(Value::from(entries));
                }
                if entries.len() >= METADATA_MAX {
                    return Err(ApiError::Execution(format!(
                        "there are more than {METADATA_MAX} entries: narrow match_target, or set metric or limit"
                    )));
                }
                let mut value = json!({
                    "target": object(&target.labels),
                    "type": entry.kind.as_str(),
                    "help": entry.help,
                    "unit": entry.unit,
                });
                if metric.is_none() {
                    value["metric"] = Value::from(family.as_str());
                }
                entries.push(value);
            }
        }
    }
    Ok(Value::from(entries))
}

/// Names of the metrics that bear a target's labels.
fn names_of(source: &dyn SeriesSource, labels: &Labels, lookback: Duration) -> Result<Vec<String>, ApiError> {
    let matchers: Vec<Matcher> = labels.iter().map(|(name, value)| Matcher::equal(name, value)).collect();
    let at = now();
    let selection = Selection { matchers: &matchers, start: at - lookback, end: at };
    Ok(source.label_values(model::METRIC_NAME, &[selection], 0)?)
}

/// Known targets for another Prometheus: groups of one target each. The parameter `job` (any number of them) chooses.
pub(super) async fn discovery(
    reader: Reader,
    State(state): State<AppState>,
    Extension(turns): Extension<Turns>,
    params: Params,
) -> Response {
    let gzip = params.gzip;
    let groups = find(reader, &state, &turns, move |search| {
        let jobs: Vec<&str> = params.all("job").collect();
        let mut targets = search.collected()?;
        targets.retain(|target| jobs.is_empty() || jobs.contains(&target.job()));
        Ok(Value::from(targets.iter().map(group).collect::<Vec<_>>()).to_string())
    });
    match groups.await {
        Ok(groups) => reply::text(StatusCode::OK, "application/json", groups, gzip),
        Err(error) => error.response(gzip),
    }
}

fn group(target: &Target) -> Value {
    let labels = target.labels.iter().filter(|(name, _)| *name != "instance");
    let labels = labels.map(|(name, value)| (format!("__meta_pantau_{name}"), Value::from(value)));
    json!({ "targets": [target.instance()], "labels": labels.collect::<Map<_, _>>() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(samples: &[(i64, f64)], expected: Option<(&str, u64)>) {
        let at = Timestamp::from_millis(1_000_000);
        let mut columns = Columns::default();
        samples.iter().for_each(|(time, value)| columns.push(Timestamp::from_millis(*time), *value));
        let labels = Labels::from_pairs([("__name__", "up"), ("instance", "sw1"), ("job", "snmp")]);
        let target = target(&labels, &columns, at, Duration::from_secs(300));
        let got = target.as_ref().map(|target| (target.health, target.interval.as_secs()));
        assert_eq!(got, expected, "{samples:?}");
        if let Some(target) = target {
            assert_eq!((target.labels.metric_name(), target.job()), (None, "snmp"));
        }
    }

    #[test]
    fn the_latest_value_says_how_a_target_is() {
        check(&[(940_000, 1.0), (1_000_000, 1.0)], Some(("up", 60)));
        check(&[(1_000_000, 0.0)], Some(("down", 0)));
        check(&[(600_000, 1.0)], Some(("unknown", 0)));
        check(&[(940_000, 1.0), (1_000_000, model::stale_nan())], None);
        check(&[], None);
    }
}
