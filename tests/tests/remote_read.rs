//! Another Prometheus reads from us: by remote read, in both of its forms, and by federation.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use model::{Buckets, Histogram, Labels, ResetHint, Timestamp};
use pantau_tests::chunks::{self, Metric, Sample};
use pantau_tests::pantau::Collector;
use pantau_tests::peers::peer;
use pantau_tests::running::Running;
use pantau_tests::{free_port, wait_for, writer};
use wire::body::{Codec, Unpacker};

const STEP: Duration = Duration::from_millis(14_700);
const SAMPLES: usize = 500;

/// What a series holds: plain, jumping, odd, with an end in the middle.
fn samples(kind: usize, end: Timestamp) -> Vec<(Timestamp, f64)> {
    let value = |at: usize| match kind {
        0 => at as f64,
        1 => (at as f64 * 0.7).sin() * 1e9,
        2 => [0.0, -0.0, f64::INFINITY, f64::MIN_POSITIVE, 1e300, 3.5][at % 6],
        _ if at == SAMPLES / 2 => model::stale_nan(),
        _ => 1.0,
    };
    (0..SAMPLES).map(|at| (end - STEP * (SAMPLES - at) as u32, value(at))).collect()
}

fn labels(kind: usize) -> Labels {
    let kind = kind.to_string();
    Labels::from_pairs([("__name__", "read_back"), ("job", "test"), ("kind", &kind)])
}

fn filled(folder: &Path) -> (Collector, Timestamp) {
    let collector = Collector::start(
        folder,
        "agent: {enabled: false}\nexternal_labels: {cluster: jateng}\nquery: {samples_max: 1000000}\n",
    );
    let now = Timestamp::from_millis(writer::now().as_millis() / 1000 * 1000);
    for kind in 0..4 {
        let body = writer::body(&[(&labels(kind), &samples(kind, now))]);
        assert_eq!(writer::send(&collector.http, &collector.base, body).expect("an answer").status, 204);
    }
    (collector, now)
}

fn prometheus(folder: &Path, port: u16, config: &str) -> Option<Running> {
    prometheus_with(folder, port, config, &[])
}

fn prometheus_with(folder: &Path, port: u16, config: &str, more: &[&str]) -> Option<Running> {
    let mut command = peer("usr/bin/prometheus")?;
    let path = folder.join("prometheus.yml");
    std::fs::write(&path, config).expect("the configuration can be written");
    command
        .arg(format!("--config.file={}", path.display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("prometheus").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .args(more);
    Some(Running::start("prometheus", &mut command, folder))
}

#[test]
fn prometheus_answers_from_our_data_as_we_do() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (collector, now) = filled(folder.path());
    let port = free_port();
    let config = format!("remote_read: [{{url: \"{}/api/v1/read\", read_recent: true}}]\n", collector.base);
    let Some(_prometheus) = prometheus(folder.path(), port, &config) else { return };
    let theirs = format!("http://127.0.0.1:{port}");
    wait_for("prometheus", Duration::from_secs(60), || collector.http.query_value(&theirs, "vector(1)"));
    let seconds = now.as_millis() / 1000;
    for query in [
        "read_back[2h5m]",
        "sum_over_time(read_back{kind!=\"2\"}[1h])",
        "count_over_time(read_back{kind=~\"[01]\"}[10m])",
        "read_back{kind=\"3\"} offset 1h",
        "sort(sum by (kind) (rate(read_back{kind=~\"0|1\"}[30m])))",
    ] {
        let ask = |base: &str| {
            let form: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
            let answer = collector
                .http
                .get(&format!("{base}/api/v1/query?time={seconds}&query={form}"))
                .expect("an answer");
            assert_eq!(answer.status, 200, "{query}: {}", answer.body);
            let mut json = answer.json();
            let mut result = json["data"]["result"].take();
            let series = result.as_array_mut().expect("a vector or matrix");
            series.sort_by_key(|series| series["metric"].to_string());
            let lacking: Vec<bool> =
                series.iter().map(|series| series["metric"]["cluster"].is_null()).collect();
            for one in series.iter_mut() {
                one["metric"].as_object_mut().expect("labels").remove("cluster");
            }
            (result, lacking)
        };
        let ((ours, without), (read, with)) = (ask(&collector.base), ask(&theirs));
        assert!(without.iter().all(|lacking| *lacking), "queries answer without external labels");
        if !query.contains("sum by") {
            assert!(
                !with.is_empty() && with.iter().all(|lacking| !lacking),
                "{query}: what leaves bears them"
            );
        }
        assert_eq!(ours, read, "{query}");
    }
    // A condition on the external label finds what bears it nowhere here.
    let found =
        collector.http.query_value(&theirs, "count(count_over_time(read_back{cluster=\"jateng\"}[2h]))");
    assert_eq!(found, Some(4.0));
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A request for everything of one metric up to a time, with the kinds of answers that the client takes.
fn request(metric: &str, end: Timestamp, kinds: &[u8]) -> Vec<u8> {
    let condition =
        [&[8u8, 0, 18, 8][..], b"__name__", &[26, metric.len() as u8], metric.as_bytes()].concat();
    let query =
        [&[16u8][..], &varint(end.as_millis() as u64), &[26, condition.len() as u8], &condition].concat();
    let kinds = [&[18, kinds.len() as u8][..], kinds].concat();
    writer::packed(&[&[10, query.len() as u8][..], &query, &kinds].concat())
}

/// The head and body of the answer, byte for byte.
fn post(collector: &Collector, body: &[u8]) -> (String, Vec<u8>) {
    post_to(&collector.base, body)
}

fn post_to(base: &str, body: &[u8]) -> (String, Vec<u8>) {
    let address = base.strip_prefix("http://").expect("plain HTTP");
    let mut stream = TcpStream::connect(address).expect("connected");
    let head = format!(
        "POST /api/v1/read HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat()).expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("answered");
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    (String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase(), answer[end + 4..].to_vec())
}

/// The only result of an answer of samples: its series are numbered as those of a write request.
fn result(collector: &Collector, body: &[u8]) -> Vec<u8> {
    let (head, body) = post(collector, body);
    assert!(head.starts_with("http/1.1 200") && head.contains("content-encoding: snappy"), "{head}");
    let mut payload = Vec::new();
    Unpacker::new().unpack(Codec::Snappy, &body, 1 << 20, &mut payload).expect("snappy");
    let digits = payload[1..].iter().position(|byte| *byte < 0x80).expect("a length ends") + 1;
    let rest = payload.split_off(1 + digits);
    assert_eq!(payload, [&[10][..], &varint(rest.len() as u64)].concat());
    rest
}

#[test]
fn whole_samples_are_answered_to_who_takes_no_frames() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (collector, now) = filled(folder.path());
    let mut read = Vec::new();
    for entry in wire::v1::WriteRequest::new(&result(&collector, &request("read_back", now, &[]))) {
        let wire::v1::Entry::Series(series) = entry.expect("series") else { panic!("no series") };
        let kind = series
            .labels()
            .map(|label| label.expect("a label"))
            .find(|(name, _)| *name == "kind")
            .and_then(|(_, value)| value.parse::<usize>().ok())
            .expect("a kind");
        let bits = |(at, value): (Timestamp, f64)| (at.as_millis(), value.to_bits());
        let got: Vec<_> = series.samples().map(|sample| bits(sample.expect("a sample"))).collect();
        let sent: Vec<_> = samples(kind, now).into_iter().map(bits).collect();
        assert_eq!(got, sent, "bit for bit, stale markers too");
        read.push(kind);
    }
    assert_eq!(read, [0, 1, 2, 3]);
}

/// Native histograms as they are sent: growing, with an end in the middle; reset, in another layout; a gauge; with more and more buckets.
fn histograms(kind: usize, end: Timestamp) -> Vec<(Timestamp, Histogram)> {
    let grown = |at: usize| match (kind, at) {
        (0, _) => format!(
            "{{{{schema:2 count:{} sum:{} z_bucket:1 z_bucket_w:0.001 buckets:[{at} 2 0 {at}] n_buckets:[1]}}}}",
            2 * at + 4,
            at as f64 * 0.3
        ),
        (1, 200..) => format!("{{{{schema:0 count:{} sum:5 offset:-3 buckets:[{} 1]}}}}", at - 100, at - 101),
        (1, _) => format!("{{{{schema:0 count:{at} sum:5 buckets:[{at}]}}}}"),
        (2, _) => {
            format!("{{{{schema:1 count:{} sum:5 buckets:[{}] counter_reset_hint:gauge}}}}", at % 7, at % 7)
        }
        _ => format!(
            "{{{{schema:3 count:{} sum:-0.5 offset:-2 buckets:[{at}{}]}}}}",
            at + at / 100,
            " 0 1".repeat(at / 100)
        ),
    };
    let one = |at: usize| {
        if kind == 0 && at == SAMPLES / 2 {
            return Histogram { sum: model::stale_nan(), ..Histogram::default() };
        }
        grown(at).parse().expect("a histogram")
    };
    (0..SAMPLES).map(|at| (end - STEP * (SAMPLES - at) as u32, one(at))).collect()
}

/// A request that writes these series of native histograms.
fn histogram_body(series: &[(&Labels, &[(Timestamp, Histogram)])]) -> Vec<u8> {
    let mut writer = wire::v1::Writer::default();
    let nothing = || std::iter::empty::<(&[(&str, &str)], Timestamp, f64)>();
    for (labels, samples) in series {
        let message = |(at, histogram): &(Timestamp, Histogram)| whole_numbers(histogram, *at);
        let messages: Vec<Vec<u8>> = samples.iter().map(message).collect();
        writer.series_with(labels.iter(), [], messages.iter().map(Vec::as_slice), nothing());
    }
    writer::packed(&writer.finish())
}

/// The message of a histogram whose counts are whole numbers, which is all that Prometheus 2.42 takes.
fn whole_numbers(histogram: &Histogram, at: Timestamp) -> Vec<u8> {
    let mut out = Vec::new();
    let number =
        |out: &mut Vec<u8>, field: u8, value: u64| out.extend([vec![field << 3], varint(value)].concat());
    let double = |out: &mut Vec<u8>, field: u8, value: f64| {
        out.push(field << 3 | 1);
        out.extend(value.to_le_bytes());
    };
    let zigzag = |value: i64| (value << 1 ^ value >> 63) as u64;
    let bytes = |out: &mut Vec<u8>, field: u8, bytes: &[u8]| {
        out.extend([&[field << 3 | 2][..], &varint(bytes.len() as u64), bytes].concat());
    };
    number(&mut out, 1, histogram.count as u64);
    double(&mut out, 3, histogram.sum);
    number(&mut out, 4, zigzag(histogram.schema.into()));
    double(&mut out, 5, histogram.zero_threshold);
    number(&mut out, 6, histogram.zero_count as u64);
    for (field, side) in [(8, &histogram.negative), (11, &histogram.positive)] {
        for span in &side.spans {
            let offset = [vec![8], varint(zigzag(span.offset.into()))].concat();
            bytes(&mut out, field, &[offset, vec![16], varint(span.length.into())].concat());
        }
        let mut before = 0;
        let delta =
            |count: &f64| varint(zigzag(*count as i64 - std::mem::replace(&mut before, *count as i64)));
        bytes(&mut out, field + 1, &side.counts.iter().flat_map(delta).collect::<Vec<u8>>());
    }
    number(&mut out, 14, histogram.reset as u64);
    number(&mut out, 15, at.as_millis() as u64);
    out.extend([vec![0x82, 1], varint(8 * histogram.custom_bounds.len() as u64)].concat());
    histogram.custom_bounds.iter().for_each(|bound| out.extend(bound.to_le_bytes()));
    out
}

/// What was sent as it is to be read, but for what is known of resets.
fn as_read(samples: &[(Timestamp, Histogram)]) -> Vec<(i64, Sample)> {
    let sample = |(at, histogram): &(Timestamp, Histogram)| {
        let read = if histogram.is_stale() {
            Sample::Stale
        } else {
            Sample::Histogram(Box::new(without_hint(histogram.clone())))
        };
        (at.as_millis(), read)
    };
    samples.iter().map(sample).collect()
}

/// A gauge stays one; all else is for the reader to find. Buckets without observations may be left out.
fn without_hint(mut histogram: Histogram) -> Histogram {
    for side in [&mut histogram.positive, &mut histogram.negative] {
        *side = Buckets::from_sorted(side.iter());
    }
    if !histogram.is_gauge() {
        histogram.reset = ResetHint::Unknown;
    }
    histogram
}

fn without_hints(samples: Vec<(i64, Sample)>) -> Vec<(i64, Sample)> {
    let strip = |sample| match sample {
        Sample::Histogram(histogram) => Sample::Histogram(Box::new(without_hint(*histogram))),
        other => other,
    };
    samples.into_iter().map(|(at, sample)| (at, strip(sample))).collect()
}

/// That no histogram is said to follow without a reset where counts fell.
fn hints_hold(samples: &[(i64, Sample)]) -> bool {
    samples.windows(2).all(|pair| match (&pair[0].1, &pair[1].1) {
        (Sample::Histogram(before), Sample::Histogram(after)) => {
            after.reset != ResetHint::NotReset || after.count >= before.count && after.schema == before.schema
        }
        _ => true,
    })
}

fn streamed(base: &str, body: &[u8]) -> BTreeMap<Metric, Vec<(i64, Sample)>> {
    let (head, body) = post_to(base, body);
    assert!(head.starts_with("http/1.1 200") && head.contains("application/x-streamed-protobuf"), "{head}");
    chunks::read(&dechunked(&head, body)).0
}

/// A body as it was before it was sent in pieces.
fn dechunked(head: &str, body: Vec<u8>) -> Vec<u8> {
    if !head.contains("transfer-encoding: chunked") {
        return body;
    }
    let (mut rest, mut whole) = (&body[..], Vec::new());
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n").expect("a length");
        let digits = std::str::from_utf8(&rest[..end]).expect("digits");
        let length = usize::from_str_radix(digits, 16).expect("a length");
        if length == 0 {
            return whole;
        }
        whole.extend_from_slice(&rest[end + 2..end + 2 + length]);
        rest = &rest[end + 4 + length..];
    }
}

#[test]
fn native_histograms_are_answered_as_they_came_and_in_frames() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (collector, now) = filled(folder.path());
    // One observation in the bucket of zero: its count, zero bucket, time.
    let sent = [&[8u8, 1, 48, 1, 120][..], &varint(now.as_millis() as u64)].concat();
    let mut writer = wire::v1::Writer::default();
    let labels = [("__name__", "sizes"), ("job", "test")];
    let nothing = std::iter::empty::<(&[(&str, &str)], Timestamp, f64)>();
    writer.series_with(labels, [], [&sent[..]], nothing);
    let answer = writer::send(&collector.http, &collector.base, writer::packed(&writer.finish()));
    assert_eq!(answer.expect("an answer").status, 204);
    for kinds in [&[][..], &[0], &[0, 1]] {
        let result = result(&collector, &request("sizes", now, kinds));
        let series = wire::v1::WriteRequest::new(&result).next().expect("one series").expect("whole");
        let wire::v1::Entry::Series(series) = series else { panic!("no series") };
        let read: Vec<Vec<u8>> =
            series.histograms().map(|histogram| histogram.expect("one").bytes.to_vec()).collect();
        assert_eq!((series.sample_count, read), (0, vec![sent.clone()]));
    }
    let expected = "{{count:1 z_bucket:1}}".parse::<Histogram>().expect("a histogram");
    for kinds in [&[1][..], &[1, 0]] {
        let all = streamed(&collector.base, &request("sizes", now, kinds));
        let read: Vec<_> = all.into_values().collect();
        assert_eq!(read, [as_read(&[(now, expected.clone())])]);
    }
}

#[test]
fn frames_hold_numbers_and_histograms_in_the_order_of_time() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (collector, now) = filled(folder.path());
    let custom = |at: usize| -> Histogram {
        let text =
            format!("{{{{schema:-53 count:{at} sum:1 custom_values:[0.1 2.5 40000 1e9] buckets:[{at}]}}}}");
        text.parse().expect("a histogram")
    };
    let time = |at: usize| now - STEP * (300 - at) as u32;
    let labels = Labels::from_pairs([("__name__", "mixed")]);
    let numbers: Vec<_> = (0..300).step_by(2).map(|at| (time(at), at as f64)).collect();
    let distributions: Vec<_> = (1..300).step_by(2).map(|at| (time(at), custom(at))).collect();
    for body in [writer::body(&[(&labels, &numbers)]), histogram_body(&[(&labels, &distributions)])] {
        assert_eq!(writer::send(&collector.http, &collector.base, body).expect("an answer").status, 204);
    }
    let all = streamed(&collector.base, &request("mixed", now, &[1]));
    let [samples] = <[_; 1]>::try_from(all.into_values().collect::<Vec<_>>()).expect("one series");
    let number = |(at, value): &(Timestamp, f64)| (at.as_millis(), Sample::Number(value.to_bits()));
    let mut expected: Vec<_> = numbers.iter().map(number).chain(as_read(&distributions)).collect();
    expected.sort_by_key(|(at, _)| *at);
    assert_eq!(without_hints(samples), expected);
    // Plain series come as they were, stale markers too.
    let all = streamed(&collector.base, &request("read_back", now, &[1]));
    let read: Vec<_> = all.into_values().collect();
    let sent: Vec<Vec<_>> = (0..4).map(|kind| samples_of(kind, now)).collect();
    assert_eq!(read, sent);
}

fn samples_of(kind: usize, now: Timestamp) -> Vec<(i64, Sample)> {
    let number = |(at, value): (Timestamp, f64)| (at.as_millis(), Sample::Number(value.to_bits()));
    samples(kind, now).into_iter().map(number).collect()
}

fn send_histograms(collector: &Collector, base: &str, kinds: &[usize], now: Timestamp) {
    let named = |kind: &usize| {
        let kind = kind.to_string();
        Labels::from_pairs([("__name__", "sizes_of"), ("job", "test"), ("kind", &kind)])
    };
    let kinds: Vec<_> = kinds.iter().map(|kind| (named(kind), histograms(*kind, now))).collect();
    let series: Vec<_> = kinds.iter().map(|(labels, samples)| (labels, &samples[..])).collect();
    let answer = writer::send(&collector.http, base, histogram_body(&series)).expect("an answer");
    assert!(answer.status / 100 == 2, "{base}: {} {}", answer.status, answer.body);
}

#[test]
fn no_frame_says_that_counts_rose_where_they_fell() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (collector, now) = filled(folder.path());
    send_histograms(&collector, &collector.base, &[0, 1, 2, 3], now);
    let all = streamed(&collector.base, &request("sizes_of", now, &[1]));
    assert_eq!(all.len(), 4);
    for (kind, samples) in all.into_values().enumerate() {
        assert!(hints_hold(&samples), "{kind}");
        assert_eq!(without_hints(samples), as_read(&histograms(kind, now)), "{kind}");
    }
}

/// Prometheus 2.42 ends its answer with an error where counts fall or are a gauge's: growing ones then.
#[test]
fn prometheus_streams_the_same_histograms() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (collector, now) = filled(folder.path());
    let port = free_port();
    let more = ["--web.enable-remote-write-receiver", "--enable-feature=native-histograms"];
    let Some(_prometheus) = prometheus_with(folder.path(), port, "", &more) else { return };
    let theirs = format!("http://127.0.0.1:{port}");
    wait_for("prometheus", Duration::from_secs(60), || collector.http.query_value(&theirs, "vector(1)"));
    let ask = |base: &str| {
        send_histograms(&collector, base, &[0, 3], now);
        let all = streamed(base, &request("sizes_of", now, &[1]));
        all.into_values().map(without_hints).collect::<Vec<_>>()
    };
    let (ours, theirs) = (ask(&collector.base), ask(&theirs));
    assert_eq!(ours.iter().map(Vec::len).collect::<Vec<_>>(), [SAMPLES; 2]);
    assert_eq!(ours, theirs);
}

#[test]
fn requests_that_are_none_are_refused_in_plain_words() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let collector = Collector::start(folder.path(), "agent: {enabled: false}\n");
    let ask = |body: Vec<u8>| {
        let url = format!("{}/api/v1/read", collector.base);
        // What is too long is read on before it is refused: the refusal is never lost with a connection that is reset.
        let answer = collector.http.post(&url, &[], body).expect("an answer");
        (answer.status, answer.body)
    };
    let check = |body: Vec<u8>, part: &str| {
        let (status, text) = ask(body);
        assert!(status == 400 && text.contains(part), "{status} {text}");
    };
    check(b"no snappy".to_vec(), "snappy");
    check(writer::packed(&[10, 200]), "byte");
    check(writer::packed(&vec![0; 5 << 20]), "more than");
    check(vec![0; 2 << 20], "the request is larger than 1048576 bytes");
    let pattern = [&[10u8, 13, 26, 11, 8, 2, 18, 1][..], b"a", &[26, 4], b"(((("].concat();
    check(writer::packed(&pattern), "regexp");
    assert_eq!(ask(writer::packed(&[])).0, 200, "no query, no answer");
}

#[test]
fn prometheus_federates_from_us() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let collector =
        Collector::start(folder.path(), "agent: {enabled: false}\nexternal_labels: {cluster: jateng}\n");
    let address = collector.base.strip_prefix("http://").expect("plain HTTP");
    let port = free_port();
    let config = format!(
        "global: {{scrape_interval: 1s}}\n\
         scrape_configs:\n\
         - {{job_name: federate, honor_labels: true, metrics_path: /federate, params: {{'match[]': ['{{job=\"test\"}}']}},\n\
         \x20  static_configs: [{{targets: [\"{address}\"]}}]}}\n\
         - {{job_name: found, http_sd_configs: [{{url: \"{}/sd/http?job=test\"}}]}}\n",
        collector.base
    );
    let up = Labels::from_pairs([("__name__", "up"), ("job", "test"), ("instance", "127.0.0.1:1")]);
    let plain = Labels::from_pairs([("__name__", "without_instance"), ("job", "test")]);
    let at = writer::now();
    let body = writer::body(&[(&up, &[(at, 1.0)]), (&plain, &[(at, 42.5)])]);
    assert_eq!(writer::send(&collector.http, &collector.base, body).expect("an answer").status, 204);
    let Some(_prometheus) = prometheus(folder.path(), port, &config) else { return };
    let theirs = format!("http://127.0.0.1:{port}");
    let wait =
        |query: &str| wait_for(query, Duration::from_secs(60), || collector.http.query_value(&theirs, query));
    assert_eq!(wait("without_instance{job=\"test\",cluster=\"jateng\",instance=\"\"}"), 42.5);
    assert_eq!(wait("up{job=\"test\",cluster=\"jateng\",instance=\"127.0.0.1:1\"}"), 1.0);
    // Found by service discovery: nobody listens there.
    assert_eq!(wait("up{job=\"found\",instance=\"127.0.0.1:1\"}"), 0.0);
}
