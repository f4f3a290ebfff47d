//! What a stranger can send: each gets its clear error within bounded memory, and the rest goes on.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use model::Labels;
use pantau_tests::http::{Answer, As};
use pantau_tests::pantau::Collector;
use pantau_tests::routes::{For, ROUTES, Route};
use pantau_tests::{peers, usage, writer};
use wire::body::{Codec, Packer};

const MEBIBYTE: u64 = 1 << 20;

fn collector(folder: &std::path::Path, extra: &str) -> Collector {
    Collector::start(folder, &format!("agent: {{enabled: false}}\n{extra}"))
}

#[track_caller]
fn refused(collector: &Collector, body: Vec<u8>, status: u16, part: &str) {
    let answer = writer::send(&collector.http, &collector.base, body).expect("an answer");
    assert_eq!(answer.status, status, "{}", answer.body);
    assert!(answer.body.contains(part), "{:?} should say {part:?}", answer.body);
}

#[test]
fn malformed_and_oversized_requests_get_their_own_error_and_the_rest_goes_on() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut collector = collector(folder.path(), "");
    let before = usage::of(collector.running().pid()).expect("running").rss_bytes;

    refused(&collector, b"no snappy".to_vec(), 400, "snappy");
    let whole = writer::body(&[(&named("cut_short"), &[(writer::now(), 1.0)])]);
    refused(&collector, whole[..whole.len() - 3].to_vec(), 400, "");
    refused(&collector, writer::packed(b"\x0a\xff\xff\xff\xff\x0f"), 400, "");
    refused(&collector, bomb(), 413, "");
    let zeros = vec![0; 256 << 20];
    for (codec, name) in [(Codec::Snappy, "snappy"), (Codec::Zstd, "zstd")] {
        let mut body = Vec::new();
        Packer::new(1).pack(codec, &zeros, &mut body).expect("zeros can be packed");
        let headers = [("content-type", "application/x-protobuf"), ("content-encoding", name)];
        let url = format!("{}/api/v1/write", collector.base);
        let answer = collector.http.post(&url, &headers, body).expect("an answer");
        assert_eq!(answer.status, 413, "{name}: {}", answer.body);
    }
    drop(zeros);
    let many: Vec<(String, String)> = (0..10_000).map(|n| (format!("l{n:05}"), "v".into())).collect();
    let many =
        Labels::from_pairs(many.iter().map(|(n, v)| (n.as_str(), v.as_str())).chain([("__name__", "many")]));
    refused(&collector, writer::body(&[(&many, &[(writer::now(), 1.0)])]), 400, "many");

    let after = usage::of(collector.running().pid()).expect("running").rss_bytes_peak;
    assert!(after < before + 128 * MEBIBYTE, "memory grew from {before} to {after}");
    let good = writer::body(&[(&named("still_here"), &[(writer::now(), 7.0)])]);
    assert_eq!(writer::send(&collector.http, &collector.base, good).expect("an answer").status, 204);
    assert_eq!(collector.value("still_here"), Some(7.0));
}

fn named(name: &str) -> Labels {
    Labels::from_pairs([("__name__", name), ("job", "test")])
}

/// A snappy block that says it holds 4 GiB: five bytes of length, then nothing that could be that.
fn bomb() -> Vec<u8> {
    let mut body = vec![0xff, 0xff, 0xff, 0xff, 0x0f];
    body.extend(std::iter::repeat_n(0xfe, 1000));
    body
}

#[test]
fn samples_too_old_too_new_or_ill_named_are_told_apart_and_the_good_part_is_stored() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let collector = collector(folder.path(), "");
    let now = writer::now();
    let good = named("good_part");
    for (name, at) in
        [("ancient", now - Duration::from_secs(30 * 86_400)), ("future", now + Duration::from_secs(86_400))]
    {
        let bad = named(name);
        let body = writer::body(&[(&good, &[(now, 1.0)]), (&bad, &[(at, 2.0)])]);
        refused(&collector, body, 400, name);
        assert_eq!(collector.value("good_part"), Some(1.0), "the good part beside {name} is stored");
        assert_eq!(collector.value(name), None);
    }
    let nameless = Labels::from_pairs([("job", "test")]);
    refused(&collector, writer::body(&[(&nameless, &[(now, 1.0)])]), 400, "__name__");
}

#[test]
fn wrong_content_types_are_told_what_is_right() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let collector = collector(folder.path(), "");
    let url = format!("{}/api/v1/write", collector.base);
    let ask = |headers: &[(&str, &str)]| -> Answer {
        collector.http.post(&url, headers, writer::body(&[])).expect("an answer")
    };
    let other_type = ask(&[("content-type", "text/plain"), ("content-encoding", "snappy")]);
    assert_eq!(other_type.status, 415, "{}", other_type.body);
    let other_coding = ask(&[("content-type", "application/x-protobuf"), ("content-encoding", "br")]);
    assert_eq!(other_coding.status, 415, "{}", other_coding.body);
}

#[test]
fn a_body_that_drips_and_headers_without_end_are_cut_off() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let collector = collector(folder.path(), "server: {head_timeout: 1s, body_timeout: 1s}\n");
    let address = collector.base.strip_prefix("http://").expect("plain HTTP").to_owned();

    let mut dripping = TcpStream::connect(&address).expect("a connection");
    dripping.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout can be set");
    let head = "POST /api/v1/write HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-protobuf\r\n\
                Content-Encoding: snappy\r\nContent-Length: 1000000\r\n\r\nab";
    dripping.write_all(head.as_bytes()).expect("the head goes out");
    let mut said = String::new();
    dripping.read_to_string(&mut said).expect("the server ends it, not our patience");
    assert!(said.starts_with("HTTP/1.1 408"), "{said:?}");

    let mut endless = TcpStream::connect(&address).expect("a connection");
    endless.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout can be set");
    endless
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        .expect("the head's beginning goes out");
    let mut rest = Vec::new();
    endless.read_to_end(&mut rest).expect("the server ends it, not our patience");
}

#[test]
fn a_query_of_ten_thousand_brackets_is_an_error_and_not_the_end() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let collector = collector(folder.path(), "");
    for query in
        ["(".repeat(10_000), "-".repeat(10_000), format!("{}1{}", "(".repeat(5_000), ")".repeat(5_000))]
    {
        let url = format!("{}/api/v1/query", collector.base);
        let form = format!("query={query}").into_bytes();
        let answer =
            collector.http.post(&url, &[("content-type", "application/x-www-form-urlencoded")], form);
        let answer = answer.expect("an answer");
        assert_eq!((answer.status, answer.json()["errorType"].as_str()), (400, Some("bad_data")));
    }
    assert_eq!(collector.value("vector(1) + 1"), Some(2.0));
}

/// What stands between `.route(` and the comma, in every source file of the collector that is no test.
fn routes_in(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).expect("the collector's sources are beside us") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            routes_in(&path, found);
        } else if !path.ends_with("tests.rs") {
            let text = std::fs::read_to_string(&path).expect("readable");
            let named = text.split(".route(").skip(1).filter_map(|rest| rest.split(',').next());
            found.extend(named.map(|name| name.trim().trim_matches('"').to_owned()));
        }
    }
}

#[test]
fn no_route_is_left_out_of_the_list_of_routes() {
    let mut found = BTreeSet::new();
    routes_in(&peers::root().join("collector/src"), &mut found);
    let listed: BTreeSet<String> = ROUTES.iter().map(|route| route.name.to_owned()).collect();
    assert_eq!(found, listed, "who may ask a new route is tested too: put it into ROUTES");
}

#[test]
fn every_route_asks_for_credentials_and_each_kind_opens_only_its_own() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let reader = "reader-0123456789abcdef";
    std::fs::write(folder.path().join("reader.token"), reader).expect("the token can be written");
    let chief = "chief-0123456789abcdef";
    std::fs::write(folder.path().join("chief.token"), chief).expect("the token can be written");
    let readers =
        "[{name: all, token: {file: reader.token}}, {name: chief, token: {file: chief.token}, admin: true}]";
    let collector = collector(folder.path(), &format!("admin_api: true\nreaders: {readers}\n"));
    let agent = collector.enrol("edge", "33.19", "kudus-1");
    let body = || writer::body(&[(&named("credentials"), &[(writer::now(), 1.0)])]);
    let ask = |route: &Route, who: As<'_>| {
        let body = if route.whom == For::Agents { body() } else { route.body() };
        collector.http.ask(
            route.method,
            &format!("{}{}", collector.base, route.ask),
            who,
            route.headers(),
            body,
        )
    };
    // What is right comes first: after ten wrong ones this address waits.
    for route in &ROUTES {
        let right = match route.whom {
            For::Agents => As::Bearer(&agent),
            For::Administrators => As::Bearer(chief),
            For::Everyone | For::Readers => As::Bearer(reader),
        };
        let answer = ask(route, right);
        assert!((200..300).contains(&answer.status), "{} {}: {}", route.method, route.ask, answer.body);
        if route.whom == For::Administrators {
            let answer = ask(route, As::Bearer(reader));
            assert_eq!(answer.status, 403, "{} {}: {}", route.method, route.ask, answer.body);
        }
        let nobody = ask(route, As::Nobody).status;
        assert_eq!(
            nobody,
            if route.whom == For::Everyone { 200 } else { 401 },
            "{} {}",
            route.method,
            route.ask
        );
    }
    let guess = "guess-0123456789abcdef";
    for route in ROUTES.iter().filter(|route| route.whom != For::Everyone) {
        let other = if route.whom == For::Agents { reader } else { agent.as_str() };
        let wrong = [
            As::Bearer(guess),
            As::Bearer(""),
            As::Basic("all", guess),
            As::Basic("", ""),
            As::Bearer(other),
            As::Basic("all", reader),
            As::Basic("edge", &agent),
        ];
        for who in wrong {
            let answer = ask(route, who);
            let refused = matches!(answer.status, 400 | 401 | 429);
            assert!(refused, "{} {} opens to {who:?}: {}", route.method, route.ask, answer.status);
            for secret in [guess, reader, chief, agent.as_str()] {
                assert!(!answer.body.contains(secret), "a secret is never repeated: {}", answer.body);
            }
        }
    }
    // An enrolled agent goes on beside all that guessing.
    assert_eq!(ask(&ROUTES[5], As::Bearer(&agent)).status, 204);
}

#[test]
fn nobody_passes_for_a_watched_agent() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let collector = collector(folder.path(), "");
    collector.enrol("edge", "33.19", "kudus-1");
    let pretended = Labels::from_pairs([
        ("__name__", "pantau_agent_connected"),
        ("agent", "edge"),
        ("region", "33.19"),
        ("site", "kudus-1"),
        ("job", "pantau-collector"),
    ]);
    let body = writer::body(&[(&pretended, &[(writer::now(), 42.0)])]);
    assert_eq!(writer::send(&collector.http, &collector.base, body).expect("an answer").status, 204);
    assert_eq!(
        collector.value("pantau_agent_connected{exported_agent=\"edge\",region=\"\",site=\"\"}"),
        Some(42.0)
    );
    assert_ne!(collector.value("pantau_agent_connected{agent=\"edge\"}"), Some(42.0));
}
