use std::time::Instant;

use axum::routing::{get, post};
use tokio::io::AsyncReadExt as _;

use super::*;

/// Times short enough that a test need not wait, long enough for a busy machine.
fn quick() -> Config {
    let parse = |text: &str| text.parse().expect("a span");
    Config {
        head_timeout: parse("300ms"),
        body_timeout: parse("600ms"),
        stall_timeout: parse("300ms"),
        idle_timeout: parse("5s"),
        shutdown_timeout: parse("5s"),
        ..Config::default()
    }
}

struct Running {
    address: SocketAddr,
    metrics: Arc<Metrics>,
    stop: watch::Sender<bool>,
    server: tokio::task::JoinHandle<()>,
    /// How many requests for what is slow have come.
    slowly: watch::Receiver<u64>,
}

async fn start(config: Config, tls: Option<Arc<rustls::ServerConfig>>) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let read = async |body: Body| match http_body_util::BodyExt::collect(body).await {
        Ok(body) => format!("{} bytes", body.to_bytes().len()),
        Err(error) => format!("{error:?}"),
    };
    let (asked, slowly) = watch::channel(0);
    let asked = Arc::new(asked);
    let slow = {
        let asked = Arc::clone(&asked);
        async move || {
            asked.send_modify(|asked| *asked += 1);
            tokio::time::sleep(Duration::from_millis(200)).await;
            "slow"
        }
    };
    let large = async || "x".repeat(64 << 20);
    let router = Router::new()
        .route("/", get(async || "hello"))
        .route("/read", post(read))
        .route("/slow", get(slow))
        .route("/large", get(large));
    let metrics = Arc::new(Metrics::new());
    let server = Server { router, tls, config, metrics: Arc::clone(&metrics) };
    let (stop, stopped) = watch::channel(false);
    let server = tokio::spawn(server.serve(listener, None, stopped));
    Running { address, metrics, stop, server, slowly }
}

impl Running {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("connected")
    }

    /// Sends bytes, then reads until the server closes.
    async fn ask(&self, bytes: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(bytes.as_bytes()).await.expect("sent");
        read_all(&mut stream).await
    }

    fn dropped(&self, reason: &str) -> u64 {
        self.metrics.connections_dropped.with_label_values(&[reason]).get()
    }
}

async fn read_all(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut answer = Vec::new();
    // A connection that is cut ends with an error as often as with an end.
    drop(
        tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer))
            .await
            .expect("it ends"),
    );
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn every_answer_tells_the_time() {
    let server = start(quick(), None).await;
    let answer = server.ask("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("hello"), "{answer}");
    let time = answer.lines().find_map(|line| line.strip_prefix("pantau-time: ")).expect("the header");
    assert!((time.parse::<i64>().expect("milliseconds") - now().as_millis()).abs() < 60_000);
}

#[tokio::test]
async fn a_head_that_comes_byte_by_byte_is_cut_off() {
    let server = start(quick(), None).await;
    let mut stream = server.connect().await;
    let begun = Instant::now();
    for byte in b"GET / HTTP/1.1\r\nx-slow: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" {
        if stream.write_all(&[*byte]).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(read_all(&mut stream).await, "");
    assert_eq!(server.dropped("slow_head"), 1);
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_body_that_stands_still_or_never_ends_is_an_error_that_says_so() {
    let server = start(quick(), None).await;
    let head = "POST /read HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 10\r\n\r\n";
    let answer = server.ask(&format!("{head}12345")).await;
    assert!(answer.contains("BodyTooSlow"), "{answer}");
    let mut stream = server.connect().await;
    stream.write_all(head.replace("10", "1000").as_bytes()).await.expect("sent");
    for _ in 0..30 {
        if stream.write_all(b"x").await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let answer = read_all(&mut stream).await;
    assert!(answer.is_empty() || answer.contains("BodyTooSlow"), "{answer}");
    let whole = server.ask(&format!("{head}1234567890")).await;
    assert!(whole.ends_with("10 bytes"), "{whole}");
}

#[tokio::test]
async fn who_does_not_read_the_answer_is_let_go() {
    let server = start(quick(), None).await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
    let begun = Instant::now();
    while server.dropped("slow_reader") == 0 && begun.elapsed() < Duration::from_secs(10) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(server.dropped("slow_reader"), 1);
}

#[tokio::test]
async fn heads_are_bounded() {
    let server = start(quick(), None).await;
    let many: String = (0..HEADERS_MAX + 1).map(|number| format!("x-{number}: 1\r\n")).collect();
    let answer = server.ask(&format!("GET / HTTP/1.1\r\n{many}\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 431") && answer.ends_with("by POST, as a form\n"), "{answer}");
    let long = "a".repeat(2 * HEAD_BYTES_MAX);
    let answer = server.ask(&format!("GET / HTTP/1.1\r\nx: {long}\r\n\r\n")).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    let answer = server.ask("nonsense\r\n\r\n").await;
    assert!(
        answer.starts_with("HTTP/1.1 400") && answer.contains("\r\n\r\ncannot read the request"),
        "{answer}"
    );
    // Also behind a good request on the same connection.
    let answer = server.ask("GET / HTTP/1.1\r\nhost: x\r\n\r\nnonsense\r\n\r\n").await;
    assert!(answer.contains("hello") && answer.ends_with("`tls` in its settings\n"), "{answer}");
}

/// Its first byte was waited for as long as for a whole handshake, and then the handshake as long again.
#[tokio::test(start_paused = true)]
async fn who_says_nothing_to_tls_is_let_go_in_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = start(quick(), Some(own_certificate(folder.path()))).await;
    let begun = tokio::time::Instant::now();
    assert_eq!(read_all(&mut server.connect().await).await, "");
    assert_eq!(server.dropped("slow_tls"), 1);
    assert!(begun.elapsed() < Duration::from_millis(400), "{:?}", begun.elapsed());
}

fn own_certificate(data: &std::path::Path) -> Arc<rustls::ServerConfig> {
    crate::tls::init(data, &["localhost".into()]).expect("made");
    let folder = data.join(crate::tls::FOLDER);
    let files =
        crate::settings::TlsFiles { certificate: folder.join("server.pem"), key: folder.join("server.key") };
    crate::tls::server_config(crate::tls::Certificate::load(&files).expect("readable")).expect("good")
}

#[tokio::test]
async fn who_speaks_http_to_tls_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = start(quick(), Some(own_certificate(folder.path()))).await;
    let answer = server.ask("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(
        answer.starts_with("HTTP/1.1 503 ") && answer.ends_with("write https:// instead of http://\n"),
        "{answer}"
    );
    assert_eq!(server.dropped("tls"), 1);
}

#[tokio::test]
async fn connections_of_one_address_are_bounded_and_given_back() {
    let config = Config { connections_per_address_max: Within::new(2), ..quick() };
    let server = start(config, None).await;
    let (first, second) = (server.connect().await, server.connect().await);
    while server.metrics.connections.get() < 2 {
        tokio::task::yield_now().await;
    }
    let answer = read_all(&mut server.connect().await).await;
    assert!(
        answer.starts_with("HTTP/1.1 503")
            && answer.ends_with("too many connections: close some, or try later\n")
    );
    let length = answer.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
    assert_eq!(length.parse::<usize>().ok(), answer.split("\r\n\r\n").nth(1).map(str::len));
    drop((first, second));
    while server.metrics.connections.get() > 0 {
        tokio::task::yield_now().await;
    }
    let answer = server.ask("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn an_open_request_ends_before_the_server_does() {
    let mut server = start(quick(), None).await;
    let mut idle = server.connect().await;
    let mut busy = server.connect().await;
    busy.write_all(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
    while server.metrics.connections.get() < 2 {
        tokio::task::yield_now().await;
    }
    server.slowly.wait_for(|asked| *asked > 0).await.expect("it is asked for");
    server.stop.send_replace(true);
    assert!(read_all(&mut busy).await.ends_with("slow"));
    assert_eq!(read_all(&mut idle).await, "");
    server.server.await.expect("it ended well");
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn tls_is_spoken_and_plain_text_is_not() {
    let data = tempfile::tempdir().expect("a folder");
    // Nothing here is slow on purpose: a busy machine may take its time.
    let server = start(Config::default(), Some(own_certificate(data.path()))).await;
    let folder = data.path().join(crate::tls::FOLDER);
    let plain = server.ask("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(!plain.contains("hello"), "{plain}");

    use rustls::pki_types::pem::PemObject as _;
    let mut roots = rustls::RootCertStore::empty();
    let ca = rustls::pki_types::CertificateDer::from_pem_file(folder.join("ca.pem")).expect("readable");
    roots.add(ca).expect("a root");
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let client = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .expect("a version")
            .with_root_certificates(roots.clone())
            .with_no_client_auth();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
        let name = rustls::pki_types::ServerName::try_from("localhost").expect("a name");
        let mut stream = connector.connect(name, server.connect().await).await.expect("agreed");
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.expect("sent");
        let answer = read_all(&mut stream).await;
        assert!(answer.ends_with("hello"), "{answer}");
    }
}
