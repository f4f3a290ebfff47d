//! Against a small HTTP server in the test itself.

use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use model::{MetricKind, Timestamp, is_stale};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::inputs::{Input, Target};
use crate::series::{Round, SeriesTable};

/// What the server answers: everything behind the status line's version.
#[derive(Clone, Default)]
struct Answer {
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn page(body: &str) -> Self {
        Self { head: "200 OK\r\ncontent-type: text/plain; version=0.0.4".into(), body: body.into() }
    }

    fn with(head: &str, body: &[u8]) -> Self {
        Self { head: head.into(), body: body.into() }
    }
}

#[derive(Clone, Default)]
struct Shared {
    answer: Arc<Mutex<Answer>>,
    requests: Arc<Mutex<Vec<String>>>,
    connections: Arc<Mutex<usize>>,
}

struct Server {
    address: String,
    shared: Shared,
}

impl Server {
    async fn start() -> Self {
        Self::start_with(None).await
    }

    async fn start_with(tls: Option<tokio_rustls::TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let shared = Shared::default();
        let serving = shared.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                *serving.connections.lock().unwrap() += 1;
                let (serving, tls) = (serving.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, serving).await;
                            }
                        }
                        None => serve(stream, serving).await,
                    }
                });
            }
        });
        Self { address, shared }
    }

    fn answers(&self, answer: Answer) {
        *self.shared.answer.lock().unwrap() = answer;
    }

    fn last_request(&self) -> String {
        self.shared
            .requests
            .lock()
            .unwrap()
            .last()
            .cloned()
            .expect("there was a request")
            .to_ascii_lowercase()
    }
}

/// Answers requests of one connection; an empty head means: never.
async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, shared: Shared) {
    let mut read = Vec::new();
    loop {
        while !read.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => read.push(byte),
                Err(_) => return,
            }
        }
        shared.requests.lock().unwrap().push(String::from_utf8_lossy(&read).into_owned());
        read.clear();
        let answer = shared.answer.lock().unwrap().clone();
        if answer.head.is_empty() {
            std::future::pending::<()>().await;
        }
        let head = format!("HTTP/1.1 {}\r\ncontent-length: {}\r\n\r\n", answer.head, answer.body.len());
        if stream.write_all(head.as_bytes()).await.is_err() || stream.write_all(&answer.body).await.is_err() {
            return;
        }
    }
}

fn context(base: &Path) -> Context {
    Context {
        instance: "kudus".into(),
        labels: Labels::from_pairs([("rack", "r1"), ("job", "never")]),
        base: base.into(),
        state: None,
        series_max: 1_000,
    }
}

fn sets(yaml: &str, base: &Path) -> Vec<Box<dyn TargetSet>> {
    let configs: Vec<Config> = settings::parse(yaml, "scrape").expect("good settings");
    build(&configs, &context(base)).expect("good jobs")
}

fn inputs(targets: Vec<Target>) -> Vec<Box<dyn Input>> {
    targets.into_iter().map(|target| (target.build)()).collect()
}

/// A target with its table, as the scheduler keeps it.
struct Scraper {
    input: Box<dyn Input>,
    table: SeriesTable,
    now: i64,
}

/// What a round gave: series with their values, stale ones as `None`.
type Values = Vec<(String, Option<f64>)>;

impl Scraper {
    fn new(input: Box<dyn Input>) -> Self {
        let table = input.new_table();
        Self { input, table, now: 0 }
    }

    /// The only target of the only job.
    fn of(yaml: &str, base: &Path) -> Self {
        let targets = sets(yaml, base).remove(0).refresh().expect("readable").expect("announced");
        let mut inputs = inputs(targets);
        assert_eq!(inputs.len(), 1);
        Self::new(inputs.remove(0))
    }

    async fn round(&mut self) -> (Values, Result<(), String>) {
        self.now += 15_000;
        let mut round = Round::begin(&mut self.table, Timestamp::from_millis(self.now), Vec::new());
        let result = self.input.collect(&mut round).await.map_err(|why| why.to_string());
        let (points, _) = round.finish();
        let value = |value: f64| (!is_stale(value)).then_some(value);
        let mut values: Values = points
            .iter()
            .map(|point| (self.table.entry(point.series).labels.to_string(), value(point.value)))
            .collect();
        values.sort_by(|a, b| a.0.cmp(&b.0));
        (values, result)
    }

    /// A round without the figures about the scrape itself, which must say how it went.
    async fn page(&mut self) -> Result<Values, String> {
        let (mut values, result) = self.round().await;
        let up = values.iter().find(|(series, _)| series.starts_with("up{")).expect("up is always there").1;
        assert_eq!(up, Some(if result.is_ok() { 1.0 } else { 0.0 }));
        values.retain(|(series, _)| !series.starts_with("up{") && !series.starts_with("scrape_"));
        result.map(|()| values)
    }
}

fn job(address: &str, more: &str) -> String {
    format!("- job_name: test\n  static_configs: [{{targets: ['{address}'], labels: {{site: s1}}}}]\n{more}")
}

fn nowhere() -> &'static Path {
    Path::new("/nowhere")
}

/// What a page becomes, or why it is refused: `more` are further settings of the job.
async fn check(more: &str, page: &str, expected: Result<&[(&str, f64)], &str>) {
    let server = Server::start().await;
    server.answers(Answer::page(page));
    let mut scraper = Scraper::of(&job(&server.address, more), nowhere());
    let values = scraper.page().await;
    match (values, expected) {
        (Ok(values), Ok(expected)) => {
            let target = format!("instance=\"{}\", job=\"test\", rack=\"r1\", site=\"s1\"", server.address);
            let fill = |&(series, value): &(&str, f64)| (series.replace("TARGET", &target), Some(value));
            assert_eq!(values, expected.iter().map(fill).collect::<Vec<_>>(), "{page}");
        }
        (Err(why), Err(expected)) => assert!(why.contains(expected), "{why}"),
        (values, expected) => panic!("{page}: {values:?} instead of {expected:?}"),
    }
}

#[tokio::test]
async fn a_page_becomes_series_with_the_targets_labels() {
    check("", "a 1\nb{x=\"y\"} 2.5\n", Ok(&[("a{TARGET}", 1.0), ("b{TARGET, x=\"y\"}", 2.5)])).await;
    check("", "", Ok(&[])).await;
}

#[tokio::test]
async fn the_scrape_itself_is_reported() {
    let server = Server::start().await;
    server.answers(Answer::page("a 1\nb 2\nb 3\n"));
    let yaml = job(
        &server.address,
        "  metric_relabel_configs: [{source_labels: [__name__], regex: a, action: drop}]\n",
    );
    let mut scraper = Scraper::of(&yaml, nowhere());
    for (added, names_added) in [(1.0, "first"), (0.0, "second")] {
        let (values, result) = scraper.round().await;
        assert!(result.expect_err("b comes twice").contains("1 samples repeat"), "{names_added}");
        let value = |name: &str| {
            values.iter().find(|(series, _)| series.starts_with(&format!("{name}{{"))).expect(name).1
        };
        assert_eq!(value("up"), Some(1.0));
        assert_eq!(value("b"), Some(2.0));
        assert_eq!(value("scrape_samples_scraped"), Some(3.0));
        assert_eq!(value("scrape_samples_post_metric_relabeling"), Some(1.0));
        assert_eq!(value("scrape_series_added"), Some(added));
        assert!(value("scrape_duration_seconds").is_some_and(|seconds| seconds > 0.0 && seconds < 10.0));
        assert_eq!(values.len(), 6);
    }
}

#[tokio::test]
async fn vanished_series_and_failed_scrapes_leave_stale_markers_once() {
    let server = Server::start().await;
    server.answers(Answer::page("a 1\nb 2\n"));
    let mut scraper = Scraper::of(&job(&server.address, ""), nowhere());
    let own = |values: Values| {
        let own = values.into_iter().filter(|(series, _)| series.starts_with(['a', 'b', 'u']));
        own.map(|(series, value)| (series.chars().next().expect("a name"), value)).collect::<Vec<_>>()
    };
    assert_eq!(own(scraper.round().await.0), [('a', Some(1.0)), ('b', Some(2.0)), ('u', Some(1.0))]);
    server.answers(Answer::page("a 3\n"));
    assert_eq!(own(scraper.round().await.0), [('a', Some(3.0)), ('b', None), ('u', Some(1.0))]);
    server.answers(Answer::page("a 4\nb 5\nwrong\n"));
    assert_eq!(own(scraper.round().await.0), [('a', None), ('u', Some(0.0))]);
    server.answers(Answer::with("503 Service Unavailable", b"a 4\n"));
    let (values, result) = scraper.round().await;
    assert_eq!(own(values), [('u', Some(0.0))]);
    assert!(result.expect_err("503").contains("the target answered 503"));
    server.answers(Answer::page("b 6\n"));
    assert_eq!(own(scraper.round().await.0), [('b', Some(6.0)), ('u', Some(1.0))]);
}

#[tokio::test]
async fn whose_labels_win() {
    let page = "a{site=\"x\",exported_site=\"y\",job=\"\"} 1\n";
    check("", page, Ok(&[("a{exported_exported_site=\"x\", exported_site=\"y\", TARGET}", 1.0)])).await;
    let server = Server::start().await;
    server.answers(Answer::page(page));
    let mut scraper = Scraper::of(&job(&server.address, "  honor_labels: true\n"), nowhere());
    let expected = format!(
        "a{{exported_site=\"y\", instance=\"{}\", job=\"never\", rack=\"r1\", site=\"x\"}}",
        server.address
    );
    // The page empties job, so that the target's does not come; the agent's extra label fills what is left open.
    assert_eq!(scraper.page().await, Ok(vec![(expected, Some(1.0))]));
}

#[tokio::test]
async fn whose_timestamps_win() {
    let server = Server::start().await;
    server.answers(Answer::page("a 1 777\n"));
    for (more, expected) in [("", 777), ("  honor_timestamps: false\n", 15_000)] {
        let mut scraper = Scraper::of(&job(&server.address, more), nowhere());
        let mut round = Round::begin(&mut scraper.table, Timestamp::from_millis(15_000), Vec::new());
        scraper.input.collect(&mut round).await.expect("a good page");
        let (points, _) = round.finish();
        assert_eq!(points[0].timestamp.as_millis(), expected);
    }
}

#[tokio::test]
async fn series_are_relabelled() {
    let drop = "  metric_relabel_configs: [{source_labels: [__name__], regex: 'go_.*', action: drop}]\n";
    check(drop, "go_gc 1\na 2\n", Ok(&[("a{TARGET}", 2.0)])).await;
    let rename =
        "  metric_relabel_configs: [{source_labels: [x], target_label: z}, {regex: x, action: labeldrop}]\n";
    check(rename, "a{x=\"1\"} 2\n", Ok(&[("a{TARGET, z=\"1\"}", 2.0)])).await;
    let nameless = "  metric_relabel_configs: [{regex: __name__, action: labeldrop}]\n";
    check(nameless, "a 1\n", Err("a: relabelling left no metric name")).await;
    let empty = "  metric_relabel_configs: [{regex: 'nothing', action: labelkeep}]\n";
    check(empty, "a 1\n", Ok(&[])).await;
}

#[tokio::test]
async fn what_is_beyond_a_limit_fails_as_a_whole() {
    check("  sample_limit: 2\n", "a 1\nb 2\n", Ok(&[("a{TARGET}", 1.0), ("b{TARGET}", 2.0)])).await;
    check("  sample_limit: 2\n", "a 1\nb 2\nc 3\n", Err("more than 2 samples")).await;
    check("  label_limit: 4\n", "a{b=\"c\"} 1\n", Err("a{b=\"c\"}: more than 4 labels")).await;
    check(
        "  label_name_length_limit: 8\n",
        "a{b23456789=\"c\"} 1\n",
        Err("name of label \"b23456789\" is longer"),
    )
    .await;
    check(
        "  label_value_length_limit: 30\n",
        &format!("a{{b=\"{}\"}} 1\n", "c".repeat(31)),
        Err("value of label \"b\""),
    )
    .await;
    check("  body_size_limit: 5B\n", "a 1\nb 2\n", Err("larger than 5 bytes")).await;
    check("", "a{b=\"1\",b=\"2\"} 1\n", Err("the label \"b\" comes twice")).await;
    check("", "a b\n", Err("line 1, column 3")).await;
    check("", "{a=\"b\"} 1\n", Err("no metric name")).await;
    let many: String = (0..300).map(|index| format!("l{index}=\"\",")).collect();
    check("", &format!("a{{{many}}} 1\n"), Err("more than 256 labels")).await;
}

/// A page that fails must fail again the next time, although its series were seen.
#[tokio::test]
async fn a_wrong_series_is_wrong_each_time() {
    let server = Server::start().await;
    server.answers(Answer::page("a{b=\"1\",b=\"2\"} 1\n"));
    let mut scraper = Scraper::of(&job(&server.address, ""), nowhere());
    for _ in 0..3 {
        assert!(scraper.page().await.expect_err("wrong").contains("comes twice"));
    }
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(text).expect("a Vec takes everything");
    encoder.finish().expect("a Vec takes everything")
}

#[tokio::test]
async fn packed_pages() {
    let server = Server::start().await;
    let mut scraper = Scraper::of(&job(&server.address, "  body_size_limit: 1MiB\n"), nowhere());
    let head = "200 OK\r\ncontent-type: application/openmetrics-text\r\ncontent-encoding: gzip";
    server.answers(Answer::with(head, &gzip(b"# TYPE a gauge\na 1\n# EOF\n")));
    assert_eq!(scraper.page().await.expect("a good page").len(), 1);
    server.answers(Answer::with(head, &gzip(&vec![b'\n'; 50 << 20])));
    assert!(scraper.page().await.expect_err("a bomb").contains("larger than 1048576 bytes"));
    server.answers(Answer::with(head, b"no gzip"));
    assert!(scraper.page().await.expect_err("no gzip").contains("cannot unpack"));
    server.answers(Answer::with("200 OK\r\ncontent-encoding: br", b""));
    assert!(scraper.page().await.expect_err("brotli").contains("packed by \"br\""));
    server.answers(Answer::with("200 OK\r\ncontent-type: application/openmetrics-text", b"a 1\n"));
    assert!(scraper.page().await.expect_err("cut").contains("# EOF"));
    server.answers(Answer::with("200 OK\r\ncontent-type: application/vnd.google.protobuf", b""));
    assert!(scraper.page().await.expect_err("protobuf").contains("protobuf"));
    server.answers(Answer::with("200 OK", b"a 1\n"));
    assert_eq!(scraper.page().await.expect("text where nothing is said").len(), 1);
}

#[tokio::test]
async fn a_slow_target_and_a_dead_one() {
    let server = Server::start().await;
    let mut scraper = Scraper::of(&job(&server.address, "  scrape_timeout: 50ms\n"), nowhere());
    let why = scraper.page().await.expect_err("the server never answers");
    assert!(why.contains("within 50ms") && why.contains(&server.address), "{why}");
    assert!(scraper.input.timeout() > Duration::from_millis(50));
    let closed = TcpListener::bind("127.0.0.1:0").await.expect("a free port").local_addr().expect("bound");
    let mut scraper = Scraper::of(&job(&closed.to_string(), ""), nowhere());
    let why = scraper.page().await.expect_err("nobody listens").to_lowercase();
    assert!(why.contains("refused"), "{why}");
}

#[tokio::test]
async fn a_request_says_what_it_wants_and_uses_its_connection_again() {
    let server = Server::start().await;
    server.answers(Answer::page("a 1\n"));
    let more =
        "  metrics_path: /probe\n  params: {module: [http_2xx, x], q: ['a b&c']}\n  scrape_timeout: 1500ms\n";
    let mut scraper = Scraper::of(&job(&server.address, more), nowhere());
    for _ in 0..3 {
        scraper.page().await.expect("a good page");
    }
    let request = server.last_request();
    assert!(request.starts_with("get /probe?module=http_2xx&module=x&q=a+b%26c http/1.1\r\n"), "{request}");
    for header in [
        "accept: application/openmetrics-text;version=1.0.0;",
        "accept-encoding: gzip\r\n",
        "x-prometheus-scrape-timeout-seconds: 1.5\r\n",
        "user-agent: pantau-agent/",
        &format!("host: {}\r\n", server.address),
    ] {
        assert!(request.contains(header), "{header} in {request}");
    }
    assert!(!request.contains("authorization"));
    assert_eq!(*server.shared.connections.lock().unwrap(), 1);
}

#[tokio::test]
async fn credentials_come_from_files_and_follow_their_changes() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start().await;
    server.answers(Answer::page("a 1\n"));
    std::fs::write(folder.path().join("secret"), "hunter2\n").expect("written");
    let basic = job(&server.address, "  basic_auth: {username: me, password_file: secret}\n");
    Scraper::of(&basic, folder.path()).page().await.expect("a good page");
    assert!(
        server.last_request().contains("authorization: basic bwu6ahvudgvymg==\r\n"),
        "{}",
        server.last_request()
    );
    let token = job(&server.address, "  authorization: {credentials: {file: secret}}\n");
    let mut scraper = Scraper::of(&token, folder.path());
    scraper.page().await.expect("a good page");
    assert!(server.last_request().contains("authorization: bearer hunter2\r\n"));
    std::fs::write(folder.path().join("secret"), "hunter3").expect("written");
    scraper.page().await.expect("a good page");
    assert!(server.last_request().contains("authorization: bearer hunter3\r\n"));
    std::fs::remove_file(folder.path().join("secret")).expect("removed");
    assert!(scraper.page().await.expect_err("no secret").contains("cannot read the secret"));
}

#[tokio::test]
async fn redirections() {
    let (server, other) = (Server::start().await, Server::start().await);
    server.answers(Answer::with(&format!("302 Found\r\nlocation: http://{}/there", other.address), b""));
    other.answers(Answer::page("a 1\n"));
    assert_eq!(Scraper::of(&job(&server.address, ""), nowhere()).page().await.expect("followed").len(), 1);
    assert!(other.last_request().starts_with("get /there "));
    let mut scraper = Scraper::of(&job(&server.address, "  follow_redirects: false\n"), nowhere());
    assert!(scraper.page().await.expect_err("not followed").contains("302"));
}

#[tokio::test]
async fn metadata_goes_with_the_series_of_its_family() {
    let server = Server::start().await;
    let page = "# HELP h Help.\n# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_count 1\nhx 1\n# TYPE c counter\nc_total 5\nd 1\n";
    server.answers(Answer::page(page));
    let mut scraper = Scraper::of(&job(&server.address, ""), nowhere());
    let mut round = Round::begin(&mut scraper.table, Timestamp::from_millis(1), Vec::new());
    scraper.input.collect(&mut round).await.expect("a good page");
    let (points, _) = round.finish();
    let mut known: Vec<_> = points
        .iter()
        .map(|point| {
            let entry = scraper.table.entry(point.series);
            let metadata = entry.metadata.as_ref().map(|metadata| (metadata.kind, metadata.help.clone()));
            (entry.labels.metric_name().expect("a name").to_owned(), metadata)
        })
        .filter(|(name, _)| name.len() < 10 && name != "up")
        .collect();
    known.sort();
    let known: Vec<_> = known.iter().map(|(name, metadata)| (&**name, metadata.clone())).collect();
    let expected = [
        ("c_total", Some((MetricKind::Counter, String::new()))),
        ("d", None),
        ("h_bucket", Some((MetricKind::Histogram, "Help.".into()))),
        ("h_count", Some((MetricKind::Histogram, "Help.".into()))),
        ("hx", None),
    ];
    assert_eq!(known, expected);
}

/// Names of a set's targets, `None` where nothing changed.
fn names(set: &mut Box<dyn TargetSet>) -> Option<Vec<String>> {
    let targets = set.refresh().expect("readable")?;
    Some(inputs(targets).iter().map(|input| input.name().to_owned()).collect())
}

#[test]
fn targets_are_relabelled_before_they_are_asked() {
    let yaml = "
- job_name: blackbox
  metrics_path: /probe
  params: {module: [icmp]}
  static_configs: [{targets: [a.example, b.example, c.example]}]
  relabel_configs:
    - {source_labels: [__address__], regex: 'c.*', action: drop}
    - {source_labels: [__address__], target_label: __param_target}
    - {source_labels: [__param_target], target_label: instance}
    - {target_label: __address__, replacement: '127.0.0.1:9115'}
    - {source_labels: [instance], regex: 'b.*', target_label: __scrape_interval__, replacement: 1m}
    - {source_labels: [__scrape_timeout__], target_label: was}
";
    let configs: Vec<Config> = settings::parse(yaml, "scrape").expect("good settings");
    let job = Arc::new(Job::new(&configs[0], &context(nowhere())).expect("a good job"));
    let mut set = Discovery::new(job).expect("no files");
    let targets = set.refresh().expect("readable").expect("announced");
    let keys: Vec<_> = targets.iter().map(|target| target.key.clone()).collect();
    assert!(keys[0].contains("http://127.0.0.1:9115/probe?module=icmp&target=a.example 15s 10s"), "{keys:?}");
    assert!(keys[0].contains("{instance=\"a.example\", job=\"blackbox\", was=\"10s\"}"), "{keys:?}");
    assert!(keys[1].contains("target=b.example 60s 10s"), "{keys:?}");
    assert_eq!(targets.len(), 2);
    assert!(set.refresh().expect("readable").is_none(), "announced once");
}

#[test]
fn a_target_that_cannot_be_asked_is_named_and_the_others_go_on() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    write(&folder.path().join("a.yml"), "- targets: ['a/b', 'c:1', 'c:1', '', '[::1]:9100']\n", 0);
    let mut set = sets("- {job_name: j, file_sd_configs: [{files: [a.yml]}]}", folder.path()).remove(0);
    assert_eq!(names(&mut set), Some(vec!["scrape j c:1".into(), "scrape j [::1]:9100".into()]));
    let why = set.refresh().map(drop).expect_err("told once").to_string();
    assert!(why.contains("job \"j\"") && why.contains("no host:port"), "{why}");
    assert!(set.refresh().expect("told once").is_none());
}

/// Files are told apart by time and size: tests that rewrite one within the clock's grain give it a time of its own.
fn write(path: &Path, text: &str, age_secs: u64) {
    std::fs::write(path, text).expect("written");
    let file = std::fs::File::options().write(true).open(path).expect("it was written");
    file.set_modified(SystemTime::now() - Duration::from_secs(age_secs)).expect("a time can be set");
}

#[test]
fn files_are_read_again_when_they_change() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name);
    let yaml = "- {job_name: j, file_sd_configs: [{files: ['sd-*.yml', one.json], refresh_interval: 5m}]}";
    write(&path("sd-a.yml"), "- targets: ['a:1', 'a:2']\n  labels: {site: x}\n", 100);
    write(&path("other.yml"), "- targets: ['never:1']\n", 100);
    write(&path("one.json"), r#"[{"targets": ["j:1"]}]"#, 100);
    let mut set = sets(yaml, folder.path()).remove(0);
    let named =
        |names: &[&str]| Some(names.iter().map(|name| format!("scrape j {name}")).collect::<Vec<_>>());
    assert_eq!(names(&mut set), named(&["j:1", "a:1", "a:2"]));
    assert_eq!(names(&mut set), None);
    // A changed file, and one more.
    write(&path("sd-a.yml"), "- targets: ['a:1']\n", 90);
    write(&path("sd-b.yml"), "- targets: ['b:1']\n", 90);
    assert_eq!(names(&mut set), named(&["j:1", "a:1", "b:1"]));
    // A broken one keeps its targets, and is named once.
    write(&path("sd-a.yml"), "- targets: [\n", 80);
    let why = set.refresh().map(drop).expect_err("broken").to_string();
    assert!(why.contains("sd-a.yml:"), "{why}");
    assert_eq!(names(&mut set), None);
    write(&path("sd-b.yml"), "- targets: ['b:2']\n", 70);
    assert_eq!(names(&mut set), named(&["j:1", "a:1", "b:2"]));
    // One that is gone takes its targets with it.
    std::fs::remove_file(path("sd-b.yml")).expect("removed");
    assert_eq!(names(&mut set), named(&["j:1", "a:1"]));
    std::fs::remove_file(path("one.json")).expect("removed");
    assert_eq!(names(&mut set), named(&["a:1"]));
    let why = set.refresh().map(drop).expect_err("a plain path should be there").to_string();
    assert!(why.contains("one.json"), "{why}");
}

/// The name of a file is a label while targets are relabelled.
#[test]
fn what_a_target_was_built_from_is_its_key() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    write(&folder.path().join("a.yml"), "- targets: ['a:1']\n", 0);
    let key = |more: &str| {
        let yaml = format!("- {{job_name: j, file_sd_configs: [{{files: [a.yml]}}]{more}}}");
        let mut set = sets(&yaml, folder.path()).remove(0);
        set.refresh().expect("readable").expect("announced").remove(0).key
    };
    assert_eq!(key(""), key(""));
    assert_ne!(key(""), key(", honor_labels: true"));
    assert!(
        key(", relabel_configs: [{source_labels: [__meta_filepath], target_label: file}]").contains("a.yml")
    );
}

fn check_refused(yaml: &str, expected: &str) {
    let error = match settings::parse::<Vec<Config>>(yaml, "scrape.yaml") {
        Err(error) => error.to_string(),
        Ok(configs) => match build(&configs, &context(nowhere())) {
            Err(error) => error.to_string(),
            Ok(_) => panic!("{yaml} was accepted"),
        },
    };
    assert!(error.contains(expected), "{error}");
}

#[test]
fn settings_that_cannot_work_are_refused() {
    check_refused("- {job_nam: a}", "scrape.yaml:1:4");
    check_refused("- {job_name: a}\n- {job_name: a}", "[1].job_name: another job has the name \"a\"");
    check_refused("- {job_name: ''}", "[0].job_name: it is empty");
    check_refused(
        "- {job_name: a, scrape_interval: 5s, scrape_timeout: 6s}",
        "[0].scrape_timeout: 6s is longer",
    );
    check_refused("- {job_name: a, scrape_interval: 0s}", "[0].scrape_interval: 0s is too often");
    check_refused("- {job_name: a, scheme: ftp}", "scrape.yaml:1:");
    check_refused("- {job_name: a, body_size_limit: 0}", "body_size_limit");
    check_refused(
        "- {job_name: a, relabel_configs: [{action: hashmod, target_label: x}]}",
        "relabel_configs[0]: relabelling rule 1",
    );
    check_refused(
        "- {job_name: a, metric_relabel_configs: [{regex: '(', action: labeldrop}]}",
        "metric_relabel_configs[0]: ",
    );
    check_refused("- {job_name: a, basic_auth: {username: x, password: y}}", "scrape.yaml:1:");
    check_refused("- {job_name: a, basic_auth: {username: x}, authorization: {}}", "exclude each other");
    check_refused(
        "- {job_name: a, authorization: {credentials: {env: X}, credentials_file: y}}",
        "exclude each other",
    );
    check_refused(
        "- {job_name: a, scheme: https, tls_config: {ca_file: ca.pem}}",
        "cannot read /nowhere/ca.pem",
    );
    check_refused("- {job_name: a, tls_config: {cert_file: c.pem}}", "go together");
    check_refused("- {job_name: a, file_sd_configs: [{files: ['*/a.yml']}]}", "one * is allowed");
    check_refused("- {job_name: a, file_sd_configs: [{files: [a.txt]}]}", ".yml");
    check_refused("- {job_name: a, body_size_limit: 2GiB}", "at most 1GiB");
    check_refused(
        "- {job_name: a, tls_config: {server_name: 'a b'}}",
        "tls_config.server_name: \"a b\" is neither",
    );
    check_refused(
        "- {job_name: a, static_configs: [{labels: {'': x}}]}",
        "static_configs[0].labels: a label needs a name",
    );
    check_refused("- {job_name: a, scrape_interval: 2d}", "is too rare");
    check_refused("- {job_name: a, basic_auth: {username: 'x:y'}}", "basic_auth.username: a name with");
}

#[test]
fn a_target_that_cannot_be_one_is_refused_where_it_is_listed() {
    let check = |target: &str, expected: &str| {
        let text = format!("- job_name: a\n  static_configs:\n    - targets: [\"a:1\", \"{target}\"]\n");
        let source = settings::Source::new(text.as_str(), "scrape.yaml");
        let configs = source.parse::<Vec<Config>>().expect("settings");
        let mistake = build(&configs, &context(nowhere())).map(drop).expect_err("a bad target");
        let error = source.wrong(&mistake).to_string();
        let place = "scrape.yaml:3:24: [0].static_configs[0].targets[1]: ";
        assert!(error.starts_with(place) && error.contains(expected), "{error}");
    };
    check("http://x/y", "\"http://x/y\" is no host:port: leave out http:// and the path");
    check("a b", "\"a b\" is no host:port: ");
    check("", "write an address such as 10.0.0.1:9100");
    check("x:70000", "\"x:70000\" is no host:port: invalid port number");
    check("x:0", "nobody listens on port 0");
}

#[test]
fn check_reads_target_files_and_credentials() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let check = |yaml: &str, expected: &str| {
        let source = settings::Source::new(yaml, "scrape.yaml");
        let configs = source.parse::<Vec<Config>>().expect("settings");
        let error = match check_files(&configs, &context(folder.path())) {
            Ok(()) => "good".to_owned(),
            Err(mistake) => source.wrong(&mistake).to_string(),
        };
        assert!(error.contains(expected), "{error}");
    };
    let files = "- {job_name: a, file_sd_configs: [{files: [a.yml]}]}";
    check(files, "scrape.yaml:1:44: [0].file_sd_configs[0].files[0]: cannot read ");
    write(&folder.path().join("a.yml"), "- targets: ['b:1']\n- targets:\n    - 'http://x/y'\n", 0);
    check(files, "a.yml:3:7: [1].targets[0]: \"http://x/y\" is no host:port");
    check(files, "(this file is named at scrape.yaml:1:44)");
    write(&folder.path().join("a.yml"), "- target: ['b:1']\n", 0);
    check(files, "a.yml:1:3: unknown field");
    write(&folder.path().join("a.yml"), "- targets: ['b:1']\n", 0);
    check(files, "good");
    check(
        "- {job_name: a, authorization: {credentials_file: none}}",
        "[0].authorization: cannot read the secret in ",
    );
}

/// A server's certificate for one name, and the file that says so.
fn certified(name: &str, ca_file: &Path) -> tokio_rustls::TlsAcceptor {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).expect("a name is enough");
    std::fs::write(ca_file, made.cert.pem()).expect("written");
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider's own")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("they belong together");
    tokio_rustls::TlsAcceptor::from(Arc::new(config))
}

#[tokio::test]
async fn certificates_are_checked() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start_with(Some(certified("switch.example", &folder.path().join("ca.pem")))).await;
    certified("switch.example", &folder.path().join("other.pem"));
    server.answers(Answer::page("a 1\n"));
    let scraper = |tls: &str| {
        let more = format!("  scheme: https\n  tls_config: {{{tls}}}\n");
        Scraper::of(&job(&server.address, &more), folder.path())
    };
    let good = scraper("ca_file: ca.pem, server_name: switch.example").page().await.expect("the right name");
    assert!(good[0].0.contains(&format!("instance=\"{}\"", server.address)));
    assert!(
        server.last_request().contains(&format!("host: {}\r\n", server.address)),
        "{}",
        server.last_request()
    );
    scraper("insecure_skip_verify: true").page().await.expect("anyone is trusted");
    let wrong_name = scraper("ca_file: ca.pem").page().await.expect_err("the certificate names no address");
    assert!(wrong_name.contains("certificate"), "{wrong_name}");
    let mut changing = scraper("ca_file: other.pem, server_name: switch.example");
    let untrusted = changing.page().await.expect_err("signed by another");
    assert!(untrusted.contains("certificate"), "{untrusted}");
    let right = std::fs::read_to_string(folder.path().join("ca.pem")).expect("it was written");
    write(&folder.path().join("other.pem"), &right, 5);
    changing.page().await.expect("the file says whom to trust now");
}

/// What the operating pages show must work as it stands there (but for the certificate, which only the reader has).
#[test]
fn the_examples_of_the_operating_pages_are_good_settings() {
    for page in ["scrape.md", "scrape.id.md"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operating").join(page);
        let text = std::fs::read_to_string(&path).expect("the page is there");
        let example =
            text.split("```").nth(1).and_then(|block| block.strip_prefix("yaml\n")).expect("an example");
        let jobs = example.strip_prefix("inputs:\n  scrape:\n").expect("the section");
        let jobs = jobs.replace(
            "tls_config: {ca_file: /etc/pantau-agent/ca.pem}",
            "tls_config: {insecure_skip_verify: true}",
        );
        let mut sets = sets(&jobs, nowhere());
        let targets = |set: &mut Box<dyn TargetSet>| set.refresh().expect("readable").expect("announced");
        assert_eq!(targets(&mut sets[0]).len(), 2);
        assert!(
            targets(&mut sets[2])[0].key.contains("http://127.0.0.1:9115/probe?module=http_2xx&target=https")
        );
    }
}
