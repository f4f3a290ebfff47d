//! `/api/v1/query` and `/api/v1/query_range`.

use std::time::{Duration, Instant};

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use http::Method;
use model::Timestamp;
use promql::{Answer, Options, Severity, Value};

use super::params::Params;
use super::reply::{self, ApiError};
use super::statistics::{self, Times, Told};
use super::time::parse_duration;
use super::{Config, Reader, TRUNCATED, Turns, in_turn, json};
use crate::auth::Caller;
use crate::queries::{Asked, Ended, Origin, Patience};
use crate::state::{AppState, now};

/// One value per series at one time.
pub(super) async fn instant(
    reader: Reader,
    caller: Caller,
    method: Method,
    State(state): State<AppState>,
    Extension(turns): Extension<Turns>,
    params: Params,
) -> Response {
    let config = state.settings.load().query;
    let run = async {
        params.limit("limit")?;
        let at = params.time("time", now())?;
        let span = Span { start: at, end: at, step: Duration::ZERO };
        let asked = asked(caller, &method, "/api/v1/query", &params, span);
        let query = asked.query.clone();
        let evaluate = move |options: &Options| promql::instant(&*reader.source, &query, at, options);
        run(&turns, &config, &params, asked, evaluate).await
    };
    run.await.unwrap_or_else(|error| error.response(params.gzip))
}

/// Values per series at every step from `start` to `end`, both inclusive.
pub(super) async fn range(
    reader: Reader,
    caller: Caller,
    method: Method,
    State(state): State<AppState>,
    Extension(turns): Extension<Turns>,
    params: Params,
) -> Response {
    let config = state.settings.load().query;
    let run = async {
        params.limit("limit")?;
        let (start, end) = (params.required_time("start")?, params.required_time("end")?);
        if end < start {
            return Err(ApiError::parameter("end", "end timestamp must not be before start time"));
        }
        let step = params.required_duration("step")?;
        // Steps below a millisecond are too many unless there is one only, which has none.
        if step.is_zero() {
            return Err(bad_step());
        }
        check_resolution(end.millis_since(start), step)?;
        if step.as_millis() == 0 {
            return Err(bad_step());
        }
        let asked = asked(caller, &method, "/api/v1/query_range", &params, Span { start, end, step });
        let query = asked.query.clone();
        let evaluate =
            move |options: &Options| promql::range(&*reader.source, &query, start, end, step, options);
        run(&turns, &config, &params, asked, evaluate).await
    };
    run.await.unwrap_or_else(|error| error.response(params.gzip))
}

fn bad_step() -> ApiError {
    let why = "zero or negative query resolution step widths are not accepted. Try a positive integer";
    ApiError::parameter("step", why)
}

/// Points per series, as Prometheus bounds them.
fn check_resolution(span_ms: i64, step: Duration) -> Result<(), ApiError> {
    let steps = u128::from(span_ms.unsigned_abs()) * 1_000_000 / step.as_nanos().max(1);
    if steps > 11_000 {
        return Err(ApiError::BadData(
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)".into(),
        ));
    }
    Ok(())
}

/// The times of a query.
struct Span {
    start: Timestamp,
    end: Timestamp,
    step: Duration,
}

/// What the list and the log of queries know of this one.
fn asked(caller: Caller, method: &Method, path: &'static str, params: &Params, span: Span) -> Asked {
    Asked {
        query: params.get("query").unwrap_or_default().to_owned(),
        start: span.start,
        end: span.end,
        step: span.step,
        timeout: Duration::ZERO,
        scope: caller.scope,
        origin: Origin::Request {
            method: method.to_string(),
            path,
            reader: caller.name,
            client: caller.address,
        },
    }
}

/// Evaluates and writes the reply, both on the query's own thread.
async fn run(
    turns: &Turns,
    config: &Config,
    params: &Params,
    asked: Asked,
    evaluate: impl FnOnce(&Options) -> Result<Answer, promql::QueryError> + Send + 'static,
) -> Result<Response, ApiError> {
    // Before it waits: it would hold megabytes for as long as its turn does not come.
    promql::check_length(&asked.query).map_err(|error| ApiError::parameter("query", error))?;
    let (limit, gzip) = (params.limit("limit")?, params.gzip);
    let told = Told::by(params.get("stats"));
    let timeout = params.duration("timeout")?.unwrap_or(config.timeout.get()).min(config.timeout.get());
    let lookback = params.get("lookback_delta").map(parse_duration).transpose();
    let lookback = lookback
        .map_err(|why| ApiError::BadData(format!("error parsing lookback delta duration: {why}")))?
        .filter(|lookback| !lookback.is_zero());
    let came = Instant::now();
    let deadline = came + timeout;
    let (client, ticket) = turns.0.begin(Asked { timeout, ..asked });
    let options = Options {
        lookback: lookback.unwrap_or(config.lookback.get()),
        samples_max: config.samples_allowed(),
        series_max: config.series_max,
        interrupt: Some(ticket.interrupt(deadline)),
        counts_samples: told != Told::Nothing || turns.0.logs(),
        threads: turns.1.clone(),
        features: config.features.features(),
        ..Options::default()
    };
    let work = move |_: &Patience| {
        ticket.start();
        let begun = Instant::now();
        let answer = evaluate(&options);
        let outcome = answer.as_ref().map(|answer| &answer.statistics).map_err(ToString::to_string);
        ticket.done(&Ended { outcome, samples: answer.as_ref().ok().and_then(counted) });
        let times = Times { waited: begun - came, evaluated: begun.elapsed() };
        Ok(reply(answer?, limit, told, times, gzip))
    };
    // The client stays until the end: whoever drops this future left.
    tokio::select! {
        reply = in_turn(turns, deadline.into(), work) => reply,
        () = client.killed() => {
            Err(ApiError::Canceled("query was canceled: somebody ended it (active_queries/kill)".into()))
        }
    }
}

/// Samples that all steps looked at, where they were counted.
fn counted(answer: &Answer) -> Option<u64> {
    let steps = &answer.samples_per_step;
    (!steps.is_empty()).then(|| steps.iter().map(|(_, samples)| *samples).sum())
}

fn reply(mut answer: Answer, limit: usize, told: Told, times: Times, gzip: bool) -> Response {
    let cut = truncate(&mut answer.value, limit);
    let texts = |severity| {
        let wanted = answer.annotations.iter().filter(move |annotation| annotation.severity == severity);
        wanted.map(ToString::to_string).collect::<Vec<String>>()
    };
    let mut warnings = texts(Severity::Warning);
    if cut {
        warnings.push(TRUNCATED.to_owned());
    }
    reply::success_with(&warnings, &texts(Severity::Info), gzip, |data| {
        json::push_answer(data, &answer, |out| statistics::push(out, &answer, told, times));
    })
}

/// Keeps at most `limit` series (0: all); whether any had to go.
fn truncate(value: &mut Value, limit: usize) -> bool {
    let length = match value {
        Value::Vector(samples) => samples.len(),
        Value::Matrix(series) => series.len(),
        Value::Scalar { .. } | Value::String { .. } => 0,
    };
    if limit == 0 || length <= limit {
        return false;
    }
    match value {
        Value::Vector(samples) => samples.truncate(limit),
        Value::Matrix(series) => series.truncate(limit),
        Value::Scalar { .. } | Value::String { .. } => {}
    }
    true
}
