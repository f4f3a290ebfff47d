//! The API's replies to a collector in this process, to the letter where clients depend on it.

use axum::Router;
use axum::body::Body;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use model::{Labels, Timestamp};
use tower::ServiceExt;
use wire::body::{Codec, Packer};

use crate::auth::Peer;
use crate::run::{Collector, router};
use crate::settings::Checked;
use crate::state::now;

struct Served {
    collector: Collector,
    router: Router,
    _folder: tempfile::TempDir,
}

impl Served {
    /// A collector without inputs whose store holds `up` of two targets and a counter, newest sample at `at`.
    async fn start(at: Timestamp) -> Self {
        Self::start_with("", at).await
    }

    /// The same with more settings.
    async fn start_with(more: &str, at: Timestamp) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let text = format!("listen: 127.0.0.1:0\nagent: {{inputs: {{host: {{enabled: false}}}}}}\n{more}");
        let settings = Checked::parse(&text, "test.yaml", folder.path()).expect("good settings");
        let collector = Collector::start(settings, None).await.expect("a collector starts");
        let router = router(&collector.state);
        let served = Self { collector, router, _folder: folder };
        served.write(at).await;
        served
    }

    async fn write(&self, at: Timestamp) {
        let up = |instance| Labels::from_pairs([("__name__", "up"), ("job", "test"), ("instance", instance)]);
        let counter = Labels::from_pairs([("__name__", "requests_total"), ("job", "test")]);
        let step = std::time::Duration::from_secs(15);
        self.write_series(&[
            (up("a"), vec![(at, 1.0)]),
            (up("b"), vec![(at, 0.0)]),
            (counter, vec![(at - step - step, 10.0), (at - step, 20.0), (at, 30.0)]),
        ])
        .await;
    }

    async fn write_series(&self, series: &[(Labels, Vec<(Timestamp, f64)>)]) {
        let mut writer = wire::v1::Writer::default();
        for (labels, samples) in series {
            writer.series(labels, samples.iter().copied());
        }
        let mut body = Vec::new();
        Packer::new(1).pack(Codec::Snappy, &writer.finish(), &mut body).expect("a small payload");
        let request = Request::post("/api/v1/write")
            .header("content-type", "application/x-protobuf")
            .header("content-encoding", "snappy")
            .body(Body::from(body));
        let (status, text) = self.send(request.expect("a request")).await;
        assert_eq!(status, StatusCode::NO_CONTENT, "{text}");
    }

    /// A GET with these headers: status, headers and body.
    async fn exchange(&self, path: &str, headers: &[(&str, &str)]) -> (StatusCode, http::HeaderMap, Vec<u8>) {
        let request =
            headers.iter().fold(Request::get(path), |request, (name, value)| request.header(*name, *value));
        let response = self.respond(request.body(Body::empty()).expect("a request")).await;
        let (head, body) = response.into_parts();
        (head.status, head.headers, body.collect().await.expect("a whole body").to_bytes().to_vec())
    }

    async fn respond(&self, mut request: Request<Body>) -> axum::response::Response {
        let peer = Peer::Network(([127, 0, 0, 1], 4711).into());
        request.extensions_mut().insert(peer);
        request.headers_mut().insert("host", "localhost".parse().expect("a header"));
        self.router.clone().oneshot(request).await.expect("a router always answers")
    }

    async fn send(&self, request: Request<Body>) -> (StatusCode, String) {
        let response = self.respond(request).await;
        let status = response.status();
        let bytes = response.into_body().collect().await.expect("a whole body").to_bytes();
        (status, String::from_utf8_lossy(&bytes).into_owned())
    }

    async fn get(&self, path: &str) -> (StatusCode, String) {
        self.send(Request::get(path).body(Body::empty()).expect("a request")).await
    }

    async fn post(&self, path: &str, form: &str) -> (StatusCode, String) {
        let request = Request::post(path).header("content-type", "application/x-www-form-urlencoded");
        self.send(request.body(Body::from(form.to_owned())).expect("a request")).await
    }

    #[track_caller]
    fn is(answer: (StatusCode, String), status: u16, expected: &str) {
        assert_eq!((answer.0.as_u16(), answer.1.as_str()), (status, expected));
    }

    async fn stop(self) {
        self.collector.stop().await.expect("a collector ends well");
    }
}

/// A whole second not long ago.
fn whole_second() -> Timestamp {
    Timestamp::from_millis(now().as_millis() / 1000 * 1000 - 60_000)
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_answer_to_the_letter() {
    let at = whole_second();
    let seconds = at.as_millis() / 1000;
    let served = Served::start(at).await;
    Served::is(
        served.get(&format!("/api/v1/query?query=up&time={seconds}")).await,
        200,
        &format!(
            r#"{{"status":"success","data":{{"resultType":"vector","result":[{{"metric":{{"__name__":"up","instance":"a","job":"test"}},"value":[{seconds},"1"]}},{{"metric":{{"__name__":"up","instance":"b","job":"test"}},"value":[{seconds},"0"]}}]}}}}"#
        ),
    );
    Served::is(
        served.post("/api/v1/query?time=4", "query=1%2B1").await,
        200,
        r#"{"status":"success","data":{"resultType":"scalar","result":[4,"2"]}}"#,
    );
    let range = format!("query=increase(requests_total[1m])&start={seconds}&end={seconds}&step=15");
    Served::is(
        served.post("/api/v1/query_range", &range).await,
        200,
        &format!(
            r#"{{"status":"success","data":{{"resultType":"matrix","result":[{{"metric":{{"job":"test"}},"values":[[{seconds},"25"]]}}]}}}}"#
        ),
    );
    Served::is(
        served.get(&format!("/api/v1/query?query=up&limit=1&time={seconds}")).await,
        200,
        &format!(
            r#"{{"status":"success","data":{{"resultType":"vector","result":[{{"metric":{{"__name__":"up","instance":"a","job":"test"}},"value":[{seconds},"1"]}}]}},"warnings":["results truncated due to limit"]}}"#
        ),
    );
    Served::is(
        served.get("/api/v1/rules?rule_group=g").await,
        200,
        r#"{"status":"success","data":{"groups":[]}}"#,
    );
    Served::is(served.get("/api/v1/alerts").await, 200, r#"{"status":"success","data":{"alerts":[]}}"#);
    Served::is(
        served.get("/api/v1/query?query=%22a%22&time=4.5").await,
        200,
        r#"{"status":"success","data":{"resultType":"string","result":[4.5,"a"]}}"#,
    );
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn expressions_are_formatted_and_taken_apart() {
    let served = Served::start(whole_second()).await;
    Served::is(
        served.post("/api/v1/format_query", "query=sum(rate(a%5B5m%5D))by(x)").await,
        200,
        r#"{"status":"success","data":"sum by (x) (rate(a[5m]))"}"#,
    );
    Served::is(
        served.get("/api/v1/format_query?query=up%7B").await,
        400,
        r#"{"status":"error","errorType":"bad_data","error":"invalid parameter \"query\": 1:4: parse error: unexpected end of input inside braces"}"#,
    );
    Served::is(
        served.get("/api/v1/parse_query?query=1%20%3E%20bool%202").await,
        200,
        r#"{"status":"success","data":{"bool":true,"lhs":{"type":"numberLiteral","val":"1"},"matching":null,"op":">","rhs":{"type":"numberLiteral","val":"2"},"type":"binaryExpr"}}"#,
    );
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn experimental_parts_of_the_language_have_switches() {
    let at = whole_second();
    let expression = "count_over_time(requests_total%5B20s%2B20s%5D)";
    let asked = format!("/api/v1/query?query={expression}&time={}", at.as_millis() / 1000);
    let plain = Served::start(at).await;
    let (status, text) = plain.get(&asked).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{text}");
    assert!(text.contains("not enabled"), "{text}");
    plain.stop().await;
    let switched = Served::start_with("query: {features: [promql-duration-expr]}\n", at).await;
    let (status, text) = switched.get(&asked).await;
    assert!(status == StatusCode::OK && text.contains("\"3\"]"), "{text}");
    let (status, text) = switched.get("/api/v1/format_query?query=a%5B1m%2B1m%5D").await;
    assert_eq!(status, StatusCode::OK, "{text}");
    let (_, flags) = switched.get("/api/v1/status/flags").await;
    assert!(flags.contains("promql-duration-expr"), "{flags}");
    switched.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_collector_says_how_it_was_started() {
    let served = Served::start(whole_second()).await;
    let data = async |path: &str| {
        let (status, text) = served.get(path).await;
        assert_eq!(status, StatusCode::OK, "{text}");
        serde_json::from_str::<serde_json::Value>(&text).expect("JSON")["data"].take()
    };
    let yaml = data("/api/v1/status/config").await;
    assert_eq!(yaml["yaml"], "listen: \"127.0.0.1:0\"\nagent:\n  inputs:\n    host:\n      enabled: false\n");
    let flags = data("/api/v1/status/flags").await;
    assert_eq!((&flags["query.timeout"], &flags["web.enable-admin-api"]), (&"2m".into(), &"false".into()));
    assert!(
        flags.as_object().is_some_and(|flags| flags.values().all(serde_json::Value::is_string)),
        "{flags}"
    );
    let runtime = data("/api/v1/status/runtimeinfo").await;
    assert_eq!((&runtime["reloadConfigSuccess"], &runtime["corruptionCount"]), (&true.into(), &0.into()));
    assert_eq!(data("/api/v1/status/walreplay").await, serde_json::json!({"min": 0, "max": 1, "current": 1}));
    let nobody = serde_json::json!({"activeAlertmanagers": [], "droppedAlertmanagers": []});
    assert_eq!(data("/api/v1/alertmanagers").await, nobody);
    assert_eq!(data("/api/v1/notifications").await, serde_json::json!([]));
    assert_eq!(data("/api/v1/features").await["api"]["admin"], false);
    // There is no file to read again.
    assert!(served.collector.reload().await.is_err());
    let said = data("/api/v1/notifications").await;
    assert_eq!(
        (&said[0]["text"], &said[0]["active"]),
        (&"Configuration reload has failed.".into(), &true.into())
    );
    let after = data("/api/v1/status/runtimeinfo").await;
    assert_eq!(
        (&after["reloadConfigSuccess"], &after["lastConfigTime"]),
        (&false.into(), &runtime["lastConfigTime"])
    );
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_query_cost_is_told_where_it_is_asked_for() {
    let at = whole_second();
    let seconds = at.as_millis() / 1000;
    let served = Served::start(at).await;
    let stats = async |parameters: String| {
        let (status, text) = served.get(&format!("/api/v1/{parameters}")).await;
        assert_eq!(status, StatusCode::OK, "{text}");
        serde_json::from_str::<serde_json::Value>(&text).expect("JSON")["data"]["stats"].take()
    };
    assert!(stats(format!("query?query=up&time={seconds}")).await.is_null());
    let sums = stats(format!("query?query=up&time={seconds}&stats=true")).await;
    assert_eq!(sums["samples"]["totalQueryableSamples"], 2);
    assert!(sums["samples"].get("totalQueryableSamplesPerStep").is_none(), "{sums}");
    assert!(sums["timings"]["execTotalTime"].as_f64() > Some(0.0), "{sums}");
    let (start, step) = (seconds - 15, seconds);
    let each = stats(format!("query_range?query=up&start={start}&end={seconds}&step=15&stats=all")).await;
    assert_eq!(each["samples"]["totalQueryableSamplesPerStep"], serde_json::json!([[start, 0], [step, 2]]));
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_are_answered_as_prometheus_does() {
    let served = Served::start(whole_second()).await;
    let bad = |text: &str| format!(r#"{{"status":"error","errorType":"bad_data","error":"{text}"}}"#);
    let (status, text) = served.get("/api/v1/query?query=up%7B").await;
    assert_eq!(status, 400);
    assert!(
        text.starts_with(
            r#"{"status":"error","errorType":"bad_data","error":"invalid parameter \"query\": 1:"#
        ),
        "{text}"
    );
    Served::is(
        served.get("/api/v1/query?query=up&time=soon").await,
        400,
        &bad(
            r#"invalid parameter \"time\": invalid time value for 'time': cannot parse \"soon\" to a valid timestamp"#,
        ),
    );
    Served::is(
        served.get("/api/v1/query_range?query=up&start=2&end=1&step=1").await,
        400,
        &bad(r#"invalid parameter \"end\": end timestamp must not be before start time"#),
    );
    for (parameters, why) in [
        (
            "query?query=up&lookback_delta=x",
            r#"error parsing lookback delta duration: cannot parse \"x\" to a valid duration"#,
        ),
        (
            "query?query=up&timeout=x",
            r#"invalid parameter \"timeout\": cannot parse \"x\" to a valid duration"#,
        ),
        (
            "query?query=up%7B&limit=x&time=x",
            r#"invalid parameter \"limit\": strconv.Atoi: parsing \"x\": invalid syntax"#,
        ),
        (
            "query_range?query=up&start=0&end=1",
            r#"invalid parameter \"step\": cannot parse \"\" to a valid duration"#,
        ),
        (
            "query_range?query=up&start=0&end=1&step=1e30",
            r#"invalid parameter \"step\": cannot parse \"1e30\" to a valid duration. It overflows int64"#,
        ),
        (
            "query_range?query=up%5B5m%5D&start=0&end=1&step=1",
            r#"invalid parameter \"query\": invalid expression type \"range vector\" for range query, must be Scalar or instant Vector"#,
        ),
        ("query_exemplars?query=up&start=2&end=1", "end timestamp must not be before start timestamp"),
        ("labels?match[]=%7Ba=~%22.*%22%7D", "match[] must contain at least one non-empty matcher"),
        (
            "series?match[]=%7B%7D",
            r#"invalid parameter \"match[]\": match[] must contain at least one non-empty matcher"#,
        ),
        ("metadata?limit=x", "limit must be a number"),
    ] {
        Served::is(served.get(&format!("/api/v1/{parameters}")).await, 400, &bad(why));
    }
    let (status, text) = served.get("/api/v1/query?query=up&timeout=-1").await;
    assert!(status == 503 && text.contains(r#""errorType":"timeout""#), "{text}");
    for empty in ["labels?start=2&end=1", "series?match[]=up&start=2&end=1"] {
        let answer = served.get(&format!("/api/v1/{empty}")).await;
        Served::is(answer, 200, r#"{"status":"success","data":[]}"#);
    }
    Served::is(served.get("/api/v1/label//values").await, 404, "404 page not found\n");
    // What no parameter is called is not looked at.
    Served::is(
        served.get("/api/v1/query?query=1&time=4&custom=x&x").await,
        200,
        r#"{"status":"success","data":{"resultType":"scalar","result":[4,"1"]}}"#,
    );
    Served::is(
        served.get("/api/v1/query_range?query=up&start=0&end=11001&step=1").await,
        400,
        &bad(
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
        ),
    );
    Served::is(
        served.get("/api/v1/query_range?query=up&start=1&end=2&step=-1").await,
        400,
        &bad(
            r#"invalid parameter \"step\": zero or negative query resolution step widths are not accepted. Try a positive integer"#,
        ),
    );
    assert_eq!(served.get("/api/v1/query?query=up&limit=-1").await.0, 400);
    Served::is(served.get("/api/v1/nothing").await, 404, "404 page not found\n");
    let (status, text) = served.get("/federate?match[]=%7B").await;
    assert!(status == 400 && text.contains("parse error") && !text.starts_with('{'), "{text}");
    Served::is(served.get("/api/v1/series").await, 400, &bad("no match[] parameter provided"));
    let (status, text) = served.get("/api/v1/query?query=up%20%2B%20on(job)%20up").await;
    assert_eq!(status, 422, "{text}");
    assert!(text.contains(r#""errorType":"execution""#), "{text}");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_and_series_are_listed_sorted_and_limits_are_told() {
    let served = Served::start(whole_second()).await;
    Served::is(
        served.get("/api/v1/labels?match[]=up").await,
        200,
        r#"{"status":"success","data":["__name__","instance","job"]}"#,
    );
    Served::is(
        served.post("/api/v1/labels?limit=1", "match[]=up").await,
        200,
        r#"{"status":"success","data":["__name__"],"warnings":["results truncated due to limit"]}"#,
    );
    Served::is(
        served.get("/api/v1/label/U__instance/values?match[]=up").await,
        200,
        r#"{"status":"success","data":["a","b"]}"#,
    );
    Served::is(
        served.post("/api/v1/series", "match[]=up%7Binstance%3D%22b%22%7D").await,
        200,
        r#"{"status":"success","data":[{"__name__":"up","instance":"b","job":"test"}]}"#,
    );
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn federation_gives_the_latest_samples_with_their_times() {
    let at = whole_second();
    let served = Served::start(at).await;
    let millis = at.as_millis();
    let expected = format!(
        "# TYPE requests_total untyped\nrequests_total{{job=\"test\",instance=\"\"}} 30 {millis}\n# TYPE up untyped\n\
         up{{instance=\"a\",job=\"test\"}} 1 {millis}\nup{{instance=\"b\",job=\"test\"}} 0 {millis}\n"
    );
    Served::is(served.get("/federate?match[]=up&match[]=requests_total&match[]=up").await, 200, &expected);
    Served::is(served.get("/federate").await, 200, "");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn federation_leaves_out_what_ended_and_speaks_openmetrics_when_asked() {
    let at = whole_second();
    let served = Served::start(at).await;
    let ended = Labels::from_pairs([("__name__", "up"), ("job", "test"), ("instance", "a")]);
    let later = at + std::time::Duration::from_secs(5);
    served.write_series(&[(ended, vec![(later, model::stale_nan())])]).await;
    let millis = at.as_millis();
    let text = format!("# TYPE up untyped\nup{{instance=\"b\",job=\"test\"}} 0 {millis}\n");
    Served::is(served.get("/federate?match[]=up").await, 200, &text);
    let (status, headers, body) = served
        .exchange(
            "/federate?match[]=up",
            &[("accept", "application/openmetrics-text;version=1.0.0,text/plain;q=0.5")],
        )
        .await;
    assert_eq!(status, 200);
    assert_eq!(headers["content-type"], "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(body.starts_with(b"# TYPE up unknown\n") && body.ends_with(b"# EOF\n"), "{body:?}");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_replies_are_packed_where_the_client_takes_it() {
    let served = Served::start(whole_second()).await;
    let query = format!("/api/v1/query?query=%22{}%22", "x".repeat(4000));
    let (_, headers, plain) = served.exchange(&query, &[]).await;
    assert!(headers.get("content-encoding").is_none() && plain.len() > 4000);
    let (_, headers, packed) = served.exchange(&query, &[("accept-encoding", "br, gzip")]).await;
    assert_eq!(headers["content-encoding"], "gzip");
    let mut unpacked = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&packed[..]), &mut unpacked).expect("gzip");
    // The times of evaluation differ.
    assert!(packed.len() < 500 && unpacked.len().abs_diff(plain.len()) < 10);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_whose_time_is_up_is_a_timeout() {
    let served = Served::start(whole_second()).await;
    let (status, text) =
        served.get("/api/v1/query?query=count(%7B__name__!%3D%22%22%7D)&timeout=0.000001").await;
    assert_eq!(status, 503, "{text}");
    assert!(
        text.starts_with(r#"{"status":"error","errorType":"timeout","error":"query timed out"#),
        "{text}"
    );
    served.stop().await;
}

/// What two agents say of their slowest devices stands on one page, without what has left the ten (its series ended).
#[tokio::test]
async fn the_page_names_the_slowest_devices_of_all_agents() {
    let at = whole_second();
    let served = Served::start(at).await;
    let slow = |agent, device| {
        let name = "pantau_snmp_slowest_device_seconds";
        Labels::from_pairs([
            ("__name__", name),
            ("job", "pantau-agent"),
            ("instance", agent),
            ("device", device),
        ])
    };
    let before = at - std::time::Duration::from_secs(15);
    let mut series = vec![
        (slow("edge-1", "sw-left"), vec![(before, 99.0), (at, model::stale_nan())]),
        (slow("edge-1", "sw-quick"), vec![(at, 0.01)]),
        (slow("edge-2", "olt-slow"), vec![(before, 1.0), (at, 7.5)]),
    ];
    let names: Vec<String> = (0..9).map(|number| format!("sw-{number}")).collect();
    series.extend(names.iter().map(|name| (slow("edge-1", name.as_str()), vec![(at, 0.5)])));
    served.write_series(&series).await;
    let (status, page) = served.get("/?lang=en").await;
    assert_eq!(status, StatusCode::OK);
    assert!(page.contains("<td>olt-slow</td><td>edge-2</td><td></td><td>7.50 s</td>"), "{page}");
    assert!(!page.contains("sw-left") && !page.contains("sw-quick"), "{page}");
    assert_eq!(page.matches("<td>edge-1</td>").count(), 9);
    served.stop().await;
}
