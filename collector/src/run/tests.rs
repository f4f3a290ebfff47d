//! The whole collector over HTTP on a port of its own.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use model::{Labels, Timestamp};
use tokio::net::TcpStream;
use wire::body::{Codec, Packer};
use wire::identity::{BatchIdentity, BootId, Epoch, Losses, PayloadHash};
use wire::negotiate::{self, Message};

use super::*;
use crate::enrolment::ANONYMOUS;
use crate::state::now;
use crate::{enrolment, ledger};

mod week;

const QUIET: &str = "listen: 127.0.0.1:0\nagent: {enabled: false}\n";
const READERS: &str = "readers:\n\
    - {name: all, token: {file: all.token}}\n\
    - {name: ops, basic: {user: ops, password: {file: ops.password}}}\n\
    - {name: kudus, token: {file: kudus.token}, scope: {regions: [33.19]}}\n";

struct Bench {
    collector: Collector,
    folder: tempfile::TempDir,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

async fn bench(more: &str) -> Bench {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, secret) in [
        ("all.token", "all-0123456789abcdef"),
        ("ops.password", "hunter2"),
        ("kudus.token", "kudus-0123456789abcdef"),
    ] {
        std::fs::write(folder.path().join(name), secret).expect("written");
    }
    start_in(folder, more).await
}

async fn start_in(folder: tempfile::TempDir, more: &str) -> Bench {
    let file = folder.path().join("collector.yaml");
    std::fs::write(&file, format!("{QUIET}{more}")).expect("written");
    let settings = Checked::load(&file).expect("good settings");
    let collector = Collector::start(settings, Some(&file)).await.expect("it starts");
    Bench { collector, folder }
}

impl Bench {
    async fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if !headers.iter().any(|(name, _)| *name == "host") {
            request = request.header(header::HOST, "localhost");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::from(body))).expect("a request");
        let stream = TcpStream::connect(self.collector.address).await.expect("connected");
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("spoken to");
        let conversation = tokio::spawn(connection);
        let response = sender.send_request(request).await.expect("answered");
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        conversation.abort();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: String::from_utf8_lossy(&body).into_owned(),
        }
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.ask(Method::GET, path, headers, Vec::new()).await
    }

    /// Writes `up` of an instance at this moment.
    async fn write(&self, instance: &str, headers: &[(&str, &str)]) -> Answer {
        self.post(headers, packed(&up(instance, now()))).await
    }

    async fn post(&self, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
        self.ask(Method::POST, "/api/v1/write", headers, body).await
    }

    /// Instances of `up` that a reader sees.
    async fn seen(&self, headers: &[(&str, &str)]) -> Vec<String> {
        let answer = self.get("/api/v1/query?query=up", headers).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        let json: serde_json::Value = serde_json::from_str(&answer.body).expect("JSON");
        let result = json["data"]["result"].as_array().expect("a vector").clone();
        result.iter().map(|each| each["metric"]["instance"].as_str().expect("a text").to_owned()).collect()
    }

    async fn gaps_of_embedded(&self) -> Vec<String> {
        let gaps = local::get(&self.data(), admin::GAPS).await.expect("the socket answers");
        let gaps: admin::Answer<Vec<ledger::AgentGaps>> = serde_json::from_slice(&gaps).expect("JSON");
        // A farewell is a loss of one millisecond; where the next run says nothing of a stop, it stands alone.
        let whole = gaps.data[0].gaps.iter().filter(|gap| gap.to_ms > gap.from_ms);
        whole.map(|gap| gap.cause.clone()).collect()
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn enrol(&self, name: &str, region: &str) -> String {
        let region = region.parse().expect("a code");
        let token = enrolment::add(&self.data(), name, region, "site-1", now()).expect("enrolled");
        format!("Bearer {}", token.expose())
    }
}

fn up(instance: &str, at: Timestamp) -> Vec<u8> {
    let mut writer = wire::v1::Writer::default();
    let labels = Labels::from_pairs([("__name__", "up"), ("instance", instance), ("job", "test")]);
    writer.series(&labels, [(at, 1.0)]);
    writer.finish()
}

fn packed(payload: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    Packer::new(1).pack(Codec::Snappy, payload, &mut body).expect("packed");
    body
}

fn batch(sequence: u64, value: f64) -> (Vec<(&'static str, String)>, Vec<u8>) {
    let mut encoder = wire::v2::Encoder::new();
    let token = encoder.register(&Labels::from_pairs([("__name__", "up"), ("instance", "edge")]), None);
    let at = now();
    encoder.sample(token, at, value);
    let mut payload = Vec::new();
    encoder.finish(&mut payload);
    let epoch = Epoch::from_u128(7);
    let identity = BatchIdentity {
        epoch,
        sequence,
        boot: BootId::from_u128(1),
        payload_hash: PayloadHash::of(epoch, &payload),
        from: at - Duration::from_secs(15),
        to: at,
        samples: 1,
        stamped_late: false,
        losses: Losses::none(),
    };
    let mut headers = identity.to_headers(at);
    headers.extend(
        negotiate::request_headers(Message::V2, Codec::Zstd).map(|(name, value)| (name, value.to_owned())),
    );
    let mut body = Vec::new();
    Packer::new(1).pack(Codec::Zstd, &payload, &mut body).expect("packed");
    (headers, body)
}

fn borrowed<'a>(headers: &'a [(&'static str, String)], authorization: &'a str) -> Vec<(&'a str, &'a str)> {
    let pairs = headers.iter().map(|(name, value)| (*name, value.as_str()));
    pairs.chain([("authorization", authorization)]).collect()
}

#[tokio::test]
async fn on_loopback_this_machine_reads_and_writes_without_credentials_and_web_pages_do_not() {
    let bench = bench("").await;
    assert_eq!(bench.write("a", &[]).await.status, StatusCode::NO_CONTENT);
    assert_eq!(bench.seen(&[]).await, ["a"]);
    for strange in ["evil.example", "evil.example:9797", "10.0.0.1"] {
        let read = bench.get("/api/v1/query?query=up", &[("host", strange)]).await;
        assert_eq!(read.status, StatusCode::FORBIDDEN, "{strange}");
        assert_eq!(bench.write("b", &[("host", strange)]).await.status, StatusCode::FORBIDDEN, "{strange}");
    }
    let page = [("origin", "https://evil.example")];
    assert_eq!(
        bench.write("b", &page).await.status,
        StatusCode::FORBIDDEN,
        "a page elsewhere may not write here"
    );
    assert_eq!(
        bench.get("/api/v1/labels", &[("origin", "http://localhost:3000")]).await.status,
        StatusCode::OK
    );
    assert_eq!(bench.get("/-/healthy", &[("host", "probe")]).await.status, StatusCode::OK);
    assert_eq!(bench.get("/-/ready", &[]).await.status, StatusCode::OK);
    assert!(
        bench.get("/metrics", &[]).await.body.contains("pantau_ingest_requests_total{outcome=\"stored\"}")
    );
}

#[tokio::test]
async fn who_may_what() {
    let bench = bench(READERS).await;
    let (kudus, jepara) = (bench.enrol("kudus-gw", "33.19"), bench.enrol("jepara-gw", "33.20"));
    assert_eq!(bench.write("k", &[("authorization", &kudus)]).await.status, StatusCode::NO_CONTENT);
    assert_eq!(bench.write("j", &[("authorization", &jepara)]).await.status, StatusCode::NO_CONTENT);

    let all = [("authorization", "Bearer all-0123456789abcdef")];
    let ops = [("authorization", "Basic b3BzOmh1bnRlcjI=")];
    let scoped = [("authorization", "Bearer kudus-0123456789abcdef")];
    assert_eq!(bench.seen(&all).await, ["j", "k"]);
    assert_eq!(bench.seen(&ops).await, ["j", "k"]);
    assert_eq!(bench.seen(&scoped).await, ["k"]);
    let values = bench.get("/api/v1/label/instance/values", &scoped).await.body;
    assert!(values.contains("\"k\"") && !values.contains("\"j\""), "{values}");
    let sneaky = bench.get("/api/v1/query?query=up%7Bregion%3D%2233.20%22%7D", &scoped).await.body;
    assert!(sneaky.contains("\"result\":[]"), "{sneaky}");

    for path in [admin::AGENTS, admin::GAPS] {
        let whole = bench.get(path, &all).await.body;
        assert!(whole.contains("kudus-gw") && whole.contains("jepara-gw"), "{whole}");
        let part = bench.get(path, &scoped).await.body;
        assert!(part.contains("kudus-gw") && !part.contains("jepara-gw"), "{part}");
    }
    assert_eq!(bench.get("/metrics", &scoped).await.status, StatusCode::FORBIDDEN);
    assert_eq!(bench.get("/metrics", &all).await.status, StatusCode::OK);

    let wrong: [&[(&str, &str)]; 5] = [
        &[],
        &[("authorization", "Bearer wrong")],
        &[("authorization", "Basic b3BzOndyb25n")],
        &[("authorization", "Basic YWxsOmFsbC0wMTIzNDU2Nzg5YWJjZGVm")],
        &[("authorization", &kudus)],
    ];
    for headers in wrong {
        for path in
            ["/api/v1/query?query=up", "/metrics", admin::AGENTS, "/federate?match[]=up", "/api/v1/labels"]
        {
            let answer = bench.get(path, headers).await;
            let limited = answer.status == StatusCode::TOO_MANY_REQUESTS && !headers.is_empty();
            assert!(answer.status == StatusCode::UNAUTHORIZED || limited, "{path} {}", answer.status);
            assert!(!answer.body.contains("wrong"), "what was sent is never repeated");
        }
    }
    let asked = bench.get("/api/v1/labels", &[]).await;
    let ways: Vec<_> = asked.headers.get_all(header::WWW_AUTHENTICATE).iter().collect();
    assert_eq!(ways, ["Bearer realm=\"pantau\"", "Basic realm=\"pantau\", charset=\"UTF-8\""]);
    assert_eq!(bench.write("x", &[]).await.status, StatusCode::UNAUTHORIZED);
}

/// The answer named Basic, which is what had been sent.
#[tokio::test]
async fn who_writes_with_a_token_as_a_password_is_told_to_use_bearer() {
    use base64::Engine as _;
    let bench = bench(READERS).await;
    let token = bench.enrol("kudus-gw", "33.19");
    for secret in [token.strip_prefix("Bearer ").expect("a bearer"), "wrong"] {
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("kudus-gw:{secret}"));
        let answer = bench.write("a", &[("authorization", &format!("Basic {pair}"))]).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        let ways: Vec<_> = answer.headers.get_all(header::WWW_AUTHENTICATE).iter().collect();
        assert_eq!(ways, ["Bearer realm=\"pantau\""]);
        assert!(answer.body.contains("`Authorization: Bearer TOKEN`"), "{}", answer.body);
    }
}

#[tokio::test]
async fn a_revocation_bites_with_the_next_request() {
    let bench = bench("").await;
    let token = bench.enrol("kudus-gw", "33.19");
    assert_eq!(bench.write("a", &[("authorization", &token)]).await.status, StatusCode::NO_CONTENT);
    enrolment::revoke(&bench.data(), "kudus-gw", now()).expect("revoked");
    let answer = bench.write("a", &[("authorization", &token)]).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert!(!answer.body.contains(token.strip_prefix("Bearer ").expect("a bearer")), "{}", answer.body);
}

#[tokio::test]
async fn guessing_is_slowed_down_and_enrolled_neighbours_go_on() {
    let bench = bench(READERS).await;
    let token = bench.enrol("kudus-gw", "33.19");
    let wrong = [("authorization", "Bearer guess")];
    for _ in 0..10 {
        assert_eq!(bench.get("/api/v1/labels", &wrong).await.status, StatusCode::UNAUTHORIZED);
    }
    let limited = bench.get("/api/v1/labels", &wrong).await;
    assert_eq!(limited.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(limited.headers.contains_key(header::RETRY_AFTER));
    assert_eq!(bench.write("a", &wrong).await.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(bench.write("a", &[("authorization", &token)]).await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn each_bad_request_has_its_status_and_says_that_nothing_was_stored() {
    let bench = bench("ingest: {body_max: 64KiB, unpacked_max: 128KiB}\n").await;
    let good = packed(&up("a", now()));
    let check = async |headers: &[(&str, &str)], body: Vec<u8>, status: u16, text: &str| {
        let answer = bench.post(headers, body).await;
        assert_eq!(answer.status.as_u16(), status, "{}", answer.body);
        assert!(answer.body.contains("nothing was stored") && answer.body.contains(text), "{}", answer.body);
    };
    check(&[("content-type", "application/json")], good.clone(), 415, "Content-Type \"application/json\"")
        .await;
    check(&[("content-encoding", "gzip")], good.clone(), 415, "Content-Encoding \"gzip\"").await;
    check(&[], vec![0; 65_537], 413, "more than 65536 bytes").await;
    check(&[], packed(&vec![0; 200_000]), 413, "unpacks to more than 131072 bytes").await;
    let mut zstd = Vec::new();
    Packer::new(19).pack(Codec::Zstd, &vec![0; 50_000_000], &mut zstd).expect("packed");
    check(&[("content-encoding", "zstd")], zstd, 413, "unpacks to more than").await;
    check(&[], b"nonsense".to_vec(), 400, "snappy").await;
    check(&[], packed(b"\x0a\xff"), 400, "byte ").await;
    check(&[("pantau-batch", "v=9")], good.clone(), 400, "batch").await;
    assert_eq!(bench.post(&[], good).await.status, StatusCode::NO_CONTENT);
    let metrics = bench.get("/metrics", &[]).await.body;
    assert!(metrics.contains("pantau_ingest_requests_total{outcome=\"malformed\"}"), "{metrics}");
}

/// Only the first frame says how much it holds: what follows may be more than a request thread should unpack.
#[tokio::test]
async fn a_body_of_more_than_its_first_frame_declares_is_taken_all_the_same() {
    let bench = bench("").await;
    let mut writer = wire::v1::Writer::default();
    for number in 0..30_000 {
        let labels = Labels::from_pairs([("__name__", "up"), ("instance", &format!("{number:032}"))]);
        writer.series(&labels, [(now(), 1.0)]);
    }
    let payload = writer.finish();
    assert!(payload.len() > 1 << 20, "more than is unpacked at once");
    let mut body = Vec::new();
    for frame in [&[][..], &payload] {
        let mut packed = Vec::new();
        Packer::new(1).pack(Codec::Zstd, frame, &mut packed).expect("packed");
        body.extend_from_slice(&packed);
    }
    let answer = bench.post(&[("content-encoding", "zstd")], body).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", answer.body);
}

#[tokio::test]
async fn a_request_that_is_good_in_part_is_stored_in_part() {
    let bench = bench("").await;
    let mut writer = wire::v1::Writer::default();
    let labels = |instance| Labels::from_pairs([("__name__", "up"), ("instance", instance)]);
    writer.series(&labels("good"), [(now(), 1.0)]);
    writer.series(&labels("old"), [(now() - Duration::from_secs(30 * 86_400), 1.0)]);
    let answer = bench.post(&[], packed(&writer.finish())).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(answer.body.starts_with("stored 1 of 2 samples; refused 1 (1 too_old)"), "{}", answer.body);
    assert!(answer.body.contains("up{instance=\"old\"}"), "{}", answer.body);
    assert_eq!(bench.seen(&[]).await, ["good"]);
}

#[tokio::test]
async fn other_values_of_one_time_are_told_in_a_header_and_are_no_error() {
    let bench = bench("").await;
    let at = now();
    let body = |value: f64| {
        let mut writer = wire::v1::Writer::default();
        let labels = Labels::from_pairs([("__name__", "up"), ("instance", "Kudus é")]);
        writer.series(&labels, [(at, value)]);
        packed(&writer.finish())
    };
    let first = bench.post(&[], body(1.0)).await;
    assert_eq!((first.status, first.headers.get("pantau-conflicts")), (StatusCode::NO_CONTENT, None));
    let other = bench.post(&[], body(0.0)).await;
    assert_eq!(other.status, StatusCode::NO_CONTENT, "{}", other.body);
    let told = other.headers["pantau-conflicts"].to_str().expect("ASCII");
    let expected = r#"1; up{instance="Kudus \u{e9}"} at "#;
    assert!(told.starts_with(expected) && told.ends_with(": 1 stays, 0 does not"), "{told}");
}

/// A sender that announces bodies and lets them wait takes its share of the room, and no more.
#[tokio::test]
async fn who_has_its_share_under_way_is_told_to_come_back_and_others_are_served() {
    use tokio::io::AsyncWriteExt as _;

    let bench = bench("ingest: {body_max: 64KiB, unpacked_max: 128KiB, bodies_max: 128KiB}\n").await;
    let token = bench.enrol("kudus-gw", "33.19");
    let mut waits = TcpStream::connect(bench.collector.address).await.expect("connected");
    let head = "POST /api/v1/write HTTP/1.1\r\nhost: localhost\r\ncontent-length: 65536\r\n\r\nab";
    waits.write_all(head.as_bytes()).await.expect("sent");
    let mut answer = bench.write("a", &[]).await;
    for _ in 0..1000 {
        if answer.status != StatusCode::NO_CONTENT {
            break; // the head was read by now
        }
        answer = bench.write("a", &[]).await;
    }
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.body);
    assert!(answer.body.contains("65536 bytes are under way"), "{}", answer.body);
    assert_eq!(answer.headers[header::RETRY_AFTER], "1");
    assert_eq!(bench.write("b", &[("authorization", &token)]).await.status, StatusCode::NO_CONTENT);
    let metrics = bench.get("/metrics", &[]).await.body;
    assert!(metrics.contains("pantau_ingest_turned_away_total{reason=\"share\""), "{metrics}");
}

#[tokio::test]
async fn batches_of_an_agent_are_answered_as_its_delivery_needs_it() {
    let bench = bench("").await;
    let token = bench.enrol("edge", "33.19");
    let (headers, body) = batch(1, 1.0);
    for _ in 0..2 {
        let answer = bench.post(&borrowed(&headers, &token), body.clone()).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", answer.body);
        assert_eq!(answer.headers["x-prometheus-remote-write-samples-written"], "1");
        assert!(answer.headers.contains_key("pantau-time"));
    }
    let (other, other_body) = batch(1, 2.0);
    let answer = bench.post(&borrowed(&other, &token), other_body).await;
    assert_eq!(answer.status, StatusCode::CONFLICT, "{}", answer.body);
    assert!(answer.body.contains("cloned"), "{}", answer.body);
    let answer = bench.post(&borrowed(&other, &token), body).await;
    assert_eq!((answer.status, answer.body.contains("changed on the way")), (StatusCode::BAD_REQUEST, true));

    let agents = local::get(&bench.data(), admin::AGENTS).await.expect("the socket answers");
    let agents: admin::Answer<Vec<ledger::AgentStatus>> = serde_json::from_slice(&agents).expect("JSON");
    let edge = &agents.data[0];
    assert_eq!(
        (edge.agent.as_str(), edge.connected, edge.batches, edge.conflicts),
        ("edge", Some(true), 1, 1)
    );
}

#[tokio::test]
async fn a_method_that_a_path_does_not_have_is_answered_in_words() {
    let bench = bench("").await;
    for path in ["/api/v1/query", "/api/v1/write", "/-/ready", "/"] {
        let answer = bench.ask(Method::DELETE, path, &[], Vec::new()).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
        assert!(answer.headers.contains_key(header::ALLOW), "{path}: {:?}", answer.headers);
        assert!(answer.body.starts_with("DELETE is not for this path"), "{path}: {}", answer.body);
    }
    let asked = bench.ask(Method::OPTIONS, "/api/v1/query", &[], Vec::new()).await;
    assert_eq!((asked.status, asked.body.as_str()), (StatusCode::NO_CONTENT, ""));
    assert!(asked.headers.contains_key(header::ALLOW), "{:?}", asked.headers);
    assert_eq!(bench.get("/nothing", &[]).await.body, "404 page not found\n");
}

#[tokio::test]
async fn bodies_in_memory_are_bounded_and_senders_told_to_come_back() {
    let bench = bench("ingest: {bodies_max: 256KiB, body_max: 256KiB}\n").await;
    // One whose body never comes holds no room, whatever it announces; one that stands still holds what came.
    let mut slow = TcpStream::connect(bench.collector.address).await.expect("connected");
    let head = b"POST /api/v1/write HTTP/1.1\r\nhost: localhost\r\ncontent-length: 204800\r\n\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut slow, head).await.expect("sent");
    for _ in 0..20 {
        assert_eq!(bench.post(&[], vec![0; 200 << 10]).await.status, StatusCode::BAD_REQUEST, "it was read");
    }
    tokio::io::AsyncWriteExt::write_all(&mut slow, &[0; 150 << 10]).await.expect("sent");
    while bench.collector.state.ingest.room_taken(ANONYMOUS) < 150 << 10 {
        tokio::task::yield_now().await;
    }
    let answer = bench.post(&[], vec![0; 200 << 10]).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.body);
    assert!(answer.headers.contains_key(header::RETRY_AFTER));
    assert_eq!(bench.write("a", &[]).await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn large_bodies_are_stored_like_small_ones() {
    let bench = bench("").await;
    let mut writer = wire::v1::Writer::default();
    let at = now();
    for number in 0..40_000 {
        // Texts that do not compress, so that the body is larger than what is read in place.
        let noise = PayloadHash::of(Epoch::from_u128(number), b"").to_string();
        writer.series(&Labels::from_pairs([("__name__", "many"), ("noise", &noise)]), [(at, number as f64)]);
    }
    let body = packed(&writer.finish());
    assert!(body.len() > 512 << 10);
    let answer = bench.post(&[], body).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", answer.body);
    let counted = bench.get("/api/v1/query?query=count(many)", &[]).await.body;
    assert!(counted.contains("\"40000\""), "{counted}");
}

#[tokio::test]
async fn before_the_store_is_there_everyone_is_told_to_come_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = Checked::parse(QUIET, "test", folder.path()).expect("good settings");
    let Listening { state, address, stop, server, .. } =
        listen(Arc::new(settings)).await.expect("it listens");
    assert!(!state.is_ready());
    for (request, status) in [
        ("GET /-/healthy", 200),
        ("GET /-/ready", 503),
        ("GET /api/v1/query?query=up", 503),
        ("POST /api/v1/write", 503),
    ] {
        let mut stream = TcpStream::connect(address).await.expect("connected");
        let text = format!(
            "{request} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        );
        tokio::io::AsyncWriteExt::write_all(&mut stream, text.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut answer).await.expect("answered");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}");
        assert_eq!(answer.contains("retry-after: 1\r\n"), status == 503, "{request}: {answer}");
    }
    stop.send_replace(true);
    server.await.expect("it ended well");
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_restart() {
    let bench = bench("").await;
    let token = bench.enrol("edge", "33.19");
    let (headers, body) = batch(1, 1.0);
    assert_eq!(bench.post(&borrowed(&headers, &token), body.clone()).await.status, StatusCode::NO_CONTENT);
    let Bench { collector, folder } = bench;
    collector.stop().await.expect("it ends well");
    let bench = start_in(folder, "").await;
    assert_eq!(bench.seen(&[]).await, ["edge"]);
    let before = bench.get("/metrics", &[]).await.body;
    assert!(before.contains("pantau_ledger_repeats_total 0\n"));
    assert_eq!(bench.post(&borrowed(&headers, &token), body).await.status, StatusCode::NO_CONTENT);
    assert!(bench.get("/metrics", &[]).await.body.contains("pantau_ledger_repeats_total 1\n"));
}

#[tokio::test]
async fn a_second_collector_on_the_same_folder_is_refused() {
    let bench = bench("").await;
    let settings = Checked::load(&bench.folder.path().join("collector.yaml")).expect("good settings");
    let Err(error) = Collector::start(settings, None).await else { panic!("two collectors on one folder") };
    assert!(error.to_string().contains("another collector runs"), "{error:#}");
}

#[tokio::test]
async fn a_reload_takes_everything_or_nothing() {
    let bench = bench("").await;
    let file = bench.folder.path().join("collector.yaml");
    let reload = async |more: &str| {
        std::fs::write(&file, format!("{QUIET}{more}")).expect("written");
        bench.collector.reload().await.map_err(|error| format!("{error:#}"))
    };
    assert_eq!(bench.get("/api/v1/labels", &[]).await.status, StatusCode::OK);
    reload(READERS).await.expect("taken");
    assert_eq!(bench.get("/api/v1/labels", &[]).await.status, StatusCode::UNAUTHORIZED);
    let all = [("authorization", "Bearer all-0123456789abcdef")];
    assert_eq!(bench.get("/api/v1/labels", &all).await.status, StatusCode::OK);

    let error = reload("readers: []\nnonsense: 1\n").await.expect_err("refused");
    assert!(error.contains("collector.yaml:4:1: "), "{error}");
    let error = reload("readers: []\nretention: {time: 1d}\n").await.expect_err("refused");
    assert!(error.contains("a restart is needed for retention; nothing was changed"), "{error}");
    assert_eq!(
        bench.get("/api/v1/labels", &[]).await.status,
        StatusCode::UNAUTHORIZED,
        "nothing was changed"
    );

    reload("identity: {region: 33.74}\ningest: {labels_max: 4}\n").await.expect("taken");
    assert_eq!(bench.write("a", &[]).await.status, StatusCode::NO_CONTENT);
    assert!(bench.get("/api/v1/series?match[]=up", &[]).await.body.contains("33.74"));
    assert!(
        bench
            .get("/metrics", &[])
            .await
            .body
            .contains("pantau_reloads_total{outcome=\"refused\",what=\"settings\"} 2\n")
    );
}

#[tokio::test]
async fn the_ledger_and_own_metrics_are_series() {
    let bench = bench("identity: {instance: dc-1, region: 33}\n").await;
    let token = bench.enrol("edge", "33.19");
    let (headers, body) = batch(1, 1.0);
    assert_eq!(bench.post(&borrowed(&headers, &token), body).await.status, StatusCode::NO_CONTENT);
    let mut own = self_series::OwnSeries::default();
    own.write(&bench.collector.state, now()).await.expect("written");
    let connected = bench.get("/api/v1/query?query=pantau_agent_connected", &[]).await.body;
    let labels = "\"agent\":\"edge\",\"instance\":\"dc-1\",\"job\":\"pantau-collector\",\"region\":\"33.19\",\"site\":\"site-1\"";
    assert!(connected.contains(labels) && connected.contains("\"1\"]"), "{connected}");
    let samples =
        bench.get("/api/v1/query?query=pantau_ingest_seconds_bucket%7Ble%3D%22%2BInf%22%7D", &[]).await.body;
    assert!(samples.contains("\"region\":\"33\""), "{samples}");
    enrolment::revoke(&bench.data(), "edge", now()).expect("revoked");
    own.write(&bench.collector.state, now() + Duration::from_millis(1)).await.expect("written");
    let connected = bench.get("/api/v1/query?query=pantau_agent_connected", &[]).await.body;
    assert!(connected.contains("\"result\":[]"), "who is revoked is expected no more: {connected}");
}

async fn watching(folder: tempfile::TempDir) -> Bench {
    let file = folder.path().join("collector.yaml");
    std::fs::write(&file, "listen: 127.0.0.1:0\nidentity: {instance: here, region: 33.19}\n")
        .expect("written");
    let settings = Checked::load(&file).expect("good settings");
    let collector = Collector::start(settings, Some(&file)).await.expect("it starts");
    let bench = Bench { collector, folder };
    let begun = std::time::Instant::now();
    while bench.collector.state.metrics.ingest_samples.get() < 200 {
        assert!(begun.elapsed() < Duration::from_secs(20), "the first round takes its time");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    bench
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_agent_watches_this_host_and_the_ledger_knows_the_time_between_two_runs() {
    let bench = watching(tempfile::tempdir().expect("a folder")).await;
    let body = bench.get("/api/v1/query?query=node_load1", &[]).await.body;
    assert!(body.contains("\"instance\":\"here\",\"job\":\"node\",\"region\":\"33.19\""), "{body}");
    let agents = bench.get(admin::AGENTS, &[]).await.body;
    assert!(agents.contains("\"agent\":\"embedded\",\"region\":\"33.19\""), "{agents}");
    let Bench { collector, folder } = bench;
    collector.stop().await.expect("it ends well");

    tokio::time::sleep(Duration::from_millis(5)).await;
    let bench = watching(folder).await;
    let causes = bench.gaps_of_embedded().await;
    assert_eq!(causes, ["stopped"]);
    // A crash leaves the mark that says so; what is missing is then called by its name.
    let Bench { collector, folder } = bench;
    collector.stop().await.expect("it ends well");
    std::fs::write(folder.path().join("data").join(RUNNING), "").expect("written");
    tokio::time::sleep(Duration::from_millis(5)).await;
    let bench = watching(folder).await;
    assert_eq!(bench.gaps_of_embedded().await, ["stopped", "crashed"]);
    bench.collector.stop().await.expect("it ends well");
}

const KUDUS: (&str, &str) = ("authorization", "Bearer kudus-0123456789abcdef");
const ALL: (&str, &str) = ("authorization", "Bearer all-0123456789abcdef");

#[tokio::test]
async fn what_is_most_is_told_as_prometheus_tells_it_and_by_agent() {
    let bench = bench(READERS).await;
    let token = bench.enrol("kudus-gw", "33.19");
    for instance in ["a", "b", "c"] {
        let answer = bench.write(instance, &[("authorization", token.as_str())]).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", answer.body);
    }
    // The collector's own series may be there as well, or not yet.
    let answer = bench.get("/api/v1/status/tsdb?limit=10000&by=agent", &[ALL]).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let members = [
        "{\"status\":\"success\",\"data\":{\"headStats\":{\"numSeries\":",
        ",\"numLabelPairs\":",
        ",\"chunkCount\":",
        ",\"minTime\":",
        ",\"maxTime\":",
        "},\"seriesCountByMetricName\":[{\"name\":",
        "],\"labelValueCountByLabelName\":[{\"name\":",
        "],\"memoryInBytesByLabelName\":[{\"name\":",
        "],\"seriesCountByLabelValuePair\":[{\"name\":",
        "],\"seriesCountByAgent\":[{\"name\":",
    ];
    let mut rest = answer.body.as_str();
    for member in members {
        let (_, after) = rest.split_once(member).unwrap_or_else(|| panic!("{member} in {}", answer.body));
        rest = after;
    }
    let json: serde_json::Value = serde_json::from_str(&answer.body).expect("JSON");
    for (list, name) in [
        ("seriesCountByMetricName", "up"),
        ("seriesCountByLabelValuePair", "job=test"),
        ("seriesCountByAgent", "kudus-gw"),
    ] {
        let entries = json["data"][list].as_array().expect("a list");
        let entry = entries.iter().find(|entry| entry["name"] == name);
        assert_eq!(entry.unwrap_or_else(|| panic!("{name} in {entries:?}"))["value"], 3, "{list}");
    }
    let short = bench.get("/api/v1/status/tsdb?limit=1", &[ALL]).await.body;
    let short: serde_json::Value = serde_json::from_str(&short).expect("JSON");
    assert_eq!(short["data"]["labelValueCountByLabelName"].as_array().map(Vec::len), Some(1));
    assert!(short["data"].get("seriesCountByAgent").is_none(), "only where it is asked for: {short}");
    for (limit, why) in [
        ("0", "limit must be a positive number"),
        ("x", "limit must be a positive number"),
        ("10001", "limit must not exceed 10000"),
    ] {
        let answer = bench.get(&format!("/api/v1/status/tsdb?limit={limit}"), &[ALL]).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert!(answer.body.contains(why), "{}", answer.body);
    }
    for path in ["tsdb", "config", "runtimeinfo"] {
        let hidden = bench.get(&format!("/api/v1/status/{path}"), &[KUDUS]).await;
        assert_eq!(hidden.status, StatusCode::FORBIDDEN, "{path}");
        assert!(hidden.body.contains("\"errorType\":\"forbidden\""), "{}", hidden.body);
        assert_eq!(
            bench.get(&format!("/api/v1/status/{path}"), &[ALL]).await.status,
            StatusCode::OK,
            "{path}"
        );
    }
    let data = bench.folder.path().display().to_string();
    let flags = |who| bench.get("/api/v1/status/flags", std::slice::from_ref(who));
    assert!(flags(&ALL).await.body.contains(&data), "the data folder's path is for who sees everything");
    let few = flags(&KUDUS).await;
    assert!(few.status == StatusCode::OK && !few.body.contains(&data), "{}", few.body);
    let page = bench.get("/", &[KUDUS]).await.body;
    assert!(page.contains("kudus-gw") && !page.contains("on disk"), "{page}");
    let page = bench.get("/", &[ALL]).await.body;
    assert!(page.contains("on disk") && page.contains("kudus-gw"), "{page}");
}

#[tokio::test]
async fn the_store_is_changed_by_administrators_alone() {
    const DELETE: &str = "/api/v1/admin/tsdb/delete_series?match%5B%5D=up%7Binstance%3D%22a%22%7D";
    let closed = bench("").await;
    let answer = closed.ask(Method::POST, DELETE, &[], Vec::new()).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.body.contains("admin APIs disabled"), "{}", answer.body);

    let more =
        format!("admin_api: true\n{}", READERS.replace("file: all.token}", "file: all.token}, admin: true"));
    let bench = bench(&more).await;
    let token = bench.enrol("kudus-gw", "33.19");
    for instance in ["a", "b"] {
        assert_eq!(bench.write(instance, &[("authorization", &token)]).await.status, StatusCode::NO_CONTENT);
    }
    for headers in [&[KUDUS][..], &[("authorization", "Basic b3BzOmh1bnRlcjI=")]] {
        let answer = bench.ask(Method::POST, DELETE, headers, Vec::new()).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{}", answer.body);
    }
    assert_eq!(
        bench.ask(Method::POST, DELETE, &[("authorization", &token)], Vec::new()).await.status.as_u16(),
        401
    );
    assert_eq!(bench.get(DELETE, &[ALL]).await.status, StatusCode::METHOD_NOT_ALLOWED);
    let nothing = bench.ask(Method::POST, "/api/v1/admin/tsdb/delete_series", &[ALL], Vec::new()).await;
    assert_eq!(nothing.status, StatusCode::BAD_REQUEST);
    assert_eq!(bench.seen(&[ALL]).await, ["a", "b"]);
    let answer = bench.ask(Method::PUT, DELETE, &[ALL], Vec::new()).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", answer.body);
    assert_eq!(bench.seen(&[ALL]).await, ["b"]);
    let cleaned = bench.ask(Method::POST, "/api/v1/admin/tsdb/clean_tombstones", &[ALL], Vec::new()).await;
    assert_eq!(cleaned.status, StatusCode::NO_CONTENT, "{}", cleaned.body);
    let answer = bench.ask(Method::POST, "/api/v1/admin/tsdb/snapshot", &[ALL], Vec::new()).await;
    let json: serde_json::Value = serde_json::from_str(&answer.body).expect("JSON");
    let name = json["data"]["name"].as_str().unwrap_or_else(|| panic!("{}", answer.body));
    assert!(bench.data().join(storage::SNAPSHOTS).join(name).join("MANIFEST").is_file(), "{name}");
    let skip =
        bench.ask(Method::POST, "/api/v1/admin/tsdb/snapshot?skip_head=true", &[ALL], Vec::new()).await;
    assert_eq!(skip.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn exemplars_are_found_by_query_and_scope_and_histograms_are_counted() {
    let bench = bench(READERS).await;
    let at = Timestamp::from_millis(now().as_millis() / 1000 * 1000 + 125);
    let seconds = format!("{}.125", at.as_millis() / 1000);
    let trace: &[(&str, &str)] = &[("trace_id", "a1")];
    let mut histogram = vec![0x78];
    let mut millis = at.as_millis() as u64;
    while millis >= 0x80 {
        histogram.push(millis as u8 | 0x80);
        millis >>= 7;
    }
    histogram.push(millis as u8);
    for region in ["33.19", "33.20"] {
        let token = bench.enrol(&format!("gw-{}", region.replace('.', "-")), region);
        let mut writer = wire::v1::Writer::default();
        let labels = [("__name__", "latency_seconds"), ("job", "web")];
        writer.series_with(labels, [(at, 1.0)], [histogram.as_slice()], [(trace, at, 0.25)]);
        let answer = bench.post(&[("authorization", &token)], packed(&writer.finish())).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", answer.body);
    }
    let path = |query: &str| {
        let (start, end) = (at.as_millis() / 1000 - 60, at.as_millis() / 1000 + 60);
        format!("/api/v1/query_exemplars?query={query}&start={start}&end={end}")
    };
    let one = |region: &str| {
        format!(
            "{{\"seriesLabels\":{{\"__name__\":\"latency_seconds\",\"job\":\"web\",\"region\":\"{region}\",\"site\":\"site-1\"}},\
             \"exemplars\":[{{\"labels\":{{\"trace_id\":\"a1\"}},\"value\":\"0.25\",\"timestamp\":{seconds}}}]}}"
        )
    };
    let query = "rate(latency_seconds%5B5m%5D)";
    let whole = format!("{{\"status\":\"success\",\"data\":[{},{}]}}", one("33.19"), one("33.20"));
    assert_eq!(bench.get(&path(query), &[ALL]).await.body, whole);
    let part = format!("{{\"status\":\"success\",\"data\":[{}]}}", one("33.19"));
    assert_eq!(bench.get(&path(query), &[KUDUS]).await.body, part);
    assert_eq!(bench.get(&path("1"), &[KUDUS]).await.body, "{\"status\":\"success\",\"data\":[]}");
    assert_eq!(
        bench.get("/api/v1/query_exemplars?query=up&start=2&end=1", &[ALL]).await.status,
        StatusCode::BAD_REQUEST
    );
    assert_eq!(bench.collector.state.metrics.ingest_histograms.get(), 2);

    // Of 2.0: symbols, then one series of two references with a histogram and an exemplar of one label.
    let field = |number: u8, content: &[u8]| [&[number << 3 | 2, content.len() as u8][..], content].concat();
    let symbols =
        ["", "__name__", "size_bytes", "trace_id", "b2"].map(|text| field(4, text.as_bytes())).concat();
    let exemplar =
        [field(1, &[3, 4]), vec![0x11, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0x18], histogram[1..].to_vec()].concat();
    let series = [field(1, &[1, 2]), field(3, &histogram), field(4, &exemplar)].concat();
    let token = bench.enrol("gw-2", "33.19");
    let [kind, encoding, version] = negotiate::request_headers(Message::V2, Codec::Snappy);
    let headers = [("authorization", token.as_str()), kind, encoding, version];
    let answer = bench.post(&headers, packed(&[symbols, field(5, &series)].concat())).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", answer.body);
    let written = answer.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().expect("a text")));
    let written = negotiate::Written::from_headers(written);
    assert_eq!(written, Some(negotiate::Written { samples: 0, histograms: 1, exemplars: 1 }));
    let found = bench.get(&path("size_bytes"), &[ALL]).await.body;
    assert!(found.contains("{\"trace_id\":\"b2\"},\"value\":\"1\""), "{found}");
}

#[tokio::test]
async fn pages_that_may_read_are_told_so_and_browsers_ask_without_a_token() {
    let bench = bench(&format!("cors_origin: https://boards[.]example\n{READERS}")).await;
    let ask = async |method: Method, origin: &str, more: &[(&str, &str)]| {
        let headers = [&[("origin", origin)], more].concat();
        let answer = bench.ask(method, "/api/v1/labels", &headers, Vec::new()).await;
        let allowed = answer.headers.get(header::ACCESS_CONTROL_ALLOW_ORIGIN).cloned();
        (answer.status.as_u16(), allowed.map(|value| value.to_str().expect("ASCII").to_owned()))
    };
    let page = "https://boards.example";
    let question = [("access-control-request-method", "GET")];
    let token = [("authorization", "Bearer all-0123456789abcdef")];
    let allowed = Some(page.to_owned());
    assert_eq!(ask(Method::OPTIONS, page, &question).await, (204, allowed.clone()));
    assert_eq!(ask(Method::GET, page, &token).await, (200, allowed.clone()));
    assert_eq!(ask(Method::GET, page, &[]).await, (401, allowed), "the page may read why");
    assert_eq!(ask(Method::GET, "https://evil.example", &token).await, (200, None));
    assert_eq!(
        ask(Method::OPTIONS, "https://evil.example", &question).await,
        (204, None),
        "it may read nothing"
    );
    assert_eq!(ask(Method::OPTIONS, page, &[]).await.0, 204, "as Prometheus, preflight or not");
}
