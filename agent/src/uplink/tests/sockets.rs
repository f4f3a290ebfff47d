//! Requests over real sockets of this machine: what is said, to whom, and who is believed.

use std::collections::BTreeMap;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::settings::Settings;

/// What a server was asked.
#[derive(Clone, Debug, Default)]
struct Asked {
    line: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
    connection: usize,
    resumed: bool,
}

#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<Asked>>>);

impl Seen {
    fn all(&self) -> Vec<Asked> {
        lock(&self.0).clone()
    }
}

async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<Asked> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).expect("a head is text");
    let mut lines = head.split("\r\n");
    let line = lines.next().unwrap_or_default().to_owned();
    let pairs = lines.filter_map(|line| line.split_once(": "));
    let headers: BTreeMap<_, _> =
        pairs.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
    let mut body = bytes[end + 4..].to_vec();
    let length = headers.get("content-length").map_or(0, |length| length.parse().expect("a number"));
    while body.len() < length {
        stream.read_buf(&mut body).await.ok()?;
    }
    Some(Asked { line, headers, body, ..Asked::default() })
}

/// Answers every request on a connection with the same bytes.
async fn converse(mut stream: impl AsyncRead + AsyncWrite + Unpin, seen: Seen, asked: Asked, answer: String) {
    while let Some(request) = read_request(&mut stream).await {
        lock(&seen.0).push(Asked { connection: asked.connection, resumed: asked.resumed, ..request });
        if stream.write_all(answer.as_bytes()).await.is_err() || answer.contains("connection: close") {
            return;
        }
    }
}

/// A server that answers everything alike; its address, and what it was asked.
async fn serve(tls: Option<TlsAcceptor>, answer: &str) -> (std::net::SocketAddr, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let (seen, answer) = (Seen::default(), answer.to_owned());
    let shared = seen.clone();
    tokio::spawn(async move {
        let mut connection = 0;
        while let Ok((stream, _)) = listener.accept().await {
            connection += 1;
            let (tls, shared, answer) = (tls.clone(), shared.clone(), answer.clone());
            tokio::spawn(async move {
                let mut asked = Asked { connection, ..Asked::default() };
                match tls {
                    None => converse(stream, shared, asked, answer).await,
                    Some(tls) => {
                        let Ok(stream) = tls.accept(stream).await else { return };
                        asked.resumed =
                            stream.get_ref().1.handshake_kind() == Some(rustls::HandshakeKind::Resumed);
                        converse(stream, shared, asked, answer).await;
                    }
                }
            });
        }
    });
    (address, seen)
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
}

const NO_CONTENT: &str = "HTTP/1.1 204 No Content\r\npantau-time: 1800000000500\r\n\r\n";

struct Authority {
    certificate: rcgen::Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::<String>::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("signed");
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    fn fingerprint(&self) -> String {
        let digest = Sha256::digest(self.certificate.der());
        digest.iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
    }

    /// A server's acceptor for a name, valid from a year on; the chain holds the CA, as `tls init` writes it.
    fn acceptor(&self, name: &str, from_year: i32) -> TlsAcceptor {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
        params.not_before = rcgen::date_time_ymd(from_year, 1, 1);
        params.not_after = rcgen::date_time_ymd(2090, 1, 1);
        let leaf = params.signed_by(&key, &self.issuer).expect("signed");
        let chain = vec![leaf.der().clone(), self.certificate.der().clone()];
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has them")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("a good chain");
        TlsAcceptor::from(Arc::new(config))
    }
}

/// A transport to one address, with the settings' own text behind it.
fn transport(url: &str, more: &str, clock: &Arc<Clock>) -> Result<HttpTransport, String> {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("token"), "s3cret\n").expect("written");
    let text = format!("uplink:\n  collectors: [\"{url}\"]\n  token: {{file: token}}\n  timeout: 5s\n{more}");
    let mut settings: Settings = settings::parse(&text, "agent.yaml").map_err(|why| why.to_string())?;
    settings.base = folder.path().to_owned();
    let uplink = settings.uplink.as_ref().expect("given");
    HttpTransport::new(&settings, uplink, Arc::clone(clock)).map_err(|why| why.to_string())
}

fn clock() -> Arc<Clock> {
    Arc::new(HandClock::at(TODAY_MS, 10_000).clock(1))
}

/// A batch out of a spool.
async fn outgoing() -> Outgoing {
    let mut bench = Bench::new();
    let life = bench.start(None);
    bench.append(&life, 3).await;
    let claim = life.spool.claim(Lane::Live).expect("one batch");
    life.spool.read(claim).expect("readable")
}

#[tokio::test]
async fn a_request_says_what_the_contract_wants_and_connections_are_kept() {
    let (address, seen) = serve(None, NO_CONTENT).await;
    let transport = transport(&format!("http://{address}/pantau/"), "", &clock()).expect("good settings");
    let batch = outgoing().await;
    for _ in 0..2 {
        assert_eq!(transport.send(0, Some(&batch)).await.expect("answered").status, 204);
    }
    let all = seen.all();
    assert_eq!(all[0].line, "POST /pantau/api/v1/write HTTP/1.1");
    let header = |name: &str| all[0].headers.get(name).map(String::as_str).unwrap_or_default();
    assert_eq!(header("authorization"), "Bearer s3cret");
    assert_eq!(header("content-type"), "application/x-protobuf;proto=io.prometheus.write.v2.Request");
    assert_eq!(header("content-encoding"), "zstd");
    assert_eq!(header("x-prometheus-remote-write-version"), "2.0.0");
    assert_eq!(all[0].body, batch.body);
    let pairs = all[0].headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let envelope = wire::identity::Envelope::from_headers(pairs).expect("good").expect("it is ours");
    assert_eq!((envelope.identity, envelope.sent_at.as_millis()), (batch.identity, TODAY_MS));
    assert_eq!((all[0].connection, all[1].connection), (1, 1));
}

#[tokio::test]
async fn what_is_answered_is_read_within_bounds_and_no_redirect_is_followed() {
    let long = "x".repeat(100_000);
    let (address, _) =
        serve(None, &answer("400 Bad Request", "retry-after: 7\r\npantau-time: 5\r\n", &long)).await;
    let plain = transport(&format!("http://{address}"), "", &clock()).expect("good settings");
    let read = plain.send(0, None).await.expect("answered");
    assert_eq!((read.status, read.retry_after), (400, Some(Duration::from_secs(7))));
    assert_eq!(read.text.len(), 500);
    assert_eq!(read.time, None, "a time that anybody on the way could write is not believed");
    let (address, seen) = serve(None, &answer("302 Found", "location: /login\r\n", "")).await;
    let plain = transport(&format!("http://{address}"), "", &clock()).expect("good settings");
    assert_eq!(plain.send(0, None).await.expect("answered").status, 302);
    assert_eq!(seen.all().len(), 1);
}

#[tokio::test]
async fn who_takes_batches_shows_it() {
    let check = async |headers: &str, expected: bool| {
        let (address, _) = serve(None, &answer("200 OK", headers, "welcome")).await;
        let plain = transport(&format!("http://{address}"), "", &clock()).expect("good settings");
        let read = plain.send(0, None).await.expect("answered");
        assert_eq!(read.is_receiver, expected, "{headers:?}");
        assert_eq!(read.text.contains("no answer of a Pantau collector"), !expected, "{}", read.text);
    };
    check("", false).await;
    check("content-type: text/html\r\n", false).await;
    check("pantau-time: 1800000000500\r\n", true).await;
    check("X-Prometheus-Remote-Write-Samples-Written: 3\r\n", true).await;
}

#[tokio::test]
async fn nobody_there_is_an_error_with_the_address() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    drop(listener);
    let plain = transport(&format!("http://{address}"), "", &clock()).expect("good settings");
    let why = plain.send(0, None).await.expect_err("nobody listens");
    assert!(why.contains(&address.to_string()) && why.contains("refused"), "{why}");
}

#[tokio::test]
async fn the_ca_that_was_named_is_believed_and_sessions_are_resumed() {
    let authority = Authority::new();
    let closing = "HTTP/1.1 204 No Content\r\npantau-time: 1800000000500\r\nconnection: close\r\n\r\n";
    let (address, seen) = serve(Some(authority.acceptor("localhost", 2020)), closing).await;
    let url = format!("https://localhost:{}", address.port());
    let pin = format!("  ca_fingerprint: \"{}\"\n", authority.fingerprint());
    let pinned = transport(&url, &pin, &clock()).expect("good settings");
    for _ in 0..2 {
        let read = pinned.send(0, None).await.expect("answered");
        assert_eq!(read.time, Some(Timestamp::from_millis(1_800_000_000_500)));
    }
    let resumed: Vec<bool> = seen.all().iter().map(|asked| asked.resumed).collect();
    assert_eq!(resumed, [false, true]);
}

#[tokio::test]
async fn nobody_else_is_believed() {
    let authority = Authority::new();
    let (address, seen) = serve(Some(authority.acceptor("localhost", 2020)), NO_CONTENT).await;
    let url = format!("https://localhost:{}", address.port());
    let other = format!("  ca_fingerprint: \"{}\"\n", Authority::new().fingerprint());
    let why = transport(&url, &other, &clock())
        .expect("good settings")
        .send(0, None)
        .await
        .expect_err("another CA");
    assert!(why.contains("fingerprint"), "{why}");
    let pin = format!("  ca_fingerprint: \"{}\"\n", authority.fingerprint());
    let by_address = format!("https://{address}");
    let why = transport(&by_address, &pin, &clock())
        .expect("good settings")
        .send(0, None)
        .await
        .expect_err("no name");
    assert!(why.contains("certificate"), "{why}");
    let future =
        transport(&url, &pin, &Arc::new(HandClock::at(4_000_000_000_000, 1).clock(1))).expect("good");
    future.send(0, None).await.expect_err("expired in 2090");
    assert!(seen.all().is_empty());
}

#[tokio::test]
async fn a_ca_file_is_believed_and_a_bad_one_is_named() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, authority.certificate.pem()).expect("written");
    let (address, _) = serve(Some(authority.acceptor("localhost", 2020)), NO_CONTENT).await;
    let url = format!("https://localhost:{}", address.port());
    let more = format!("  ca_file: {}\n", path.display());
    assert_eq!(
        transport(&url, &more, &clock()).expect("good").send(0, None).await.expect("answered").status,
        204
    );
    std::fs::write(&path, "no certificate").expect("written");
    let why = transport(&url, &more, &clock()).err().expect("no CA");
    assert!(why.contains("ca.pem") && why.contains("no certificate"), "{why}");
}

#[tokio::test]
async fn a_clock_in_the_past_does_not_keep_the_agent_from_hearing_the_time() {
    let authority = Authority::new();
    // The certificate is younger than the program: the newest time that is known lies before it.
    let (address, _) = serve(Some(authority.acceptor("localhost", 2060)), NO_CONTENT).await;
    let url = format!("https://localhost:{}", address.port());
    let pin = format!("  ca_fingerprint: \"{}\"\n", authority.fingerprint());
    let unset = Arc::new(HandClock::at(0, 10_000).clock(1));
    assert_eq!(
        transport(&url, &pin, &unset).expect("good").send(0, None).await.expect("answered").status,
        204
    );
    transport(&url, &pin, &clock()).expect("good").send(0, None).await.expect_err("a set clock knows better");
}

#[tokio::test]
async fn a_proxy_is_passed_by_connect() {
    let authority = Authority::new();
    let (address, seen) = serve(Some(authority.acceptor("localhost", 2020)), NO_CONTENT).await;
    let proxy = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let through = proxy.local_addr().expect("bound");
    let (told, line) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let (mut stream, _) = proxy.accept().await.expect("a client");
        let request = read_request(&mut stream).await.expect("a request");
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.expect("written");
        told.send(request.line).expect("the test waits");
        let mut onward = TcpStream::connect(address).await.expect("the collector");
        // The end of either side ends the tunnel.
        let _ = tokio::io::copy_bidirectional(&mut stream, &mut onward).await;
    });
    let url = format!("https://localhost:{}", address.port());
    let more = format!("  ca_fingerprint: \"{}\"\n  proxy: \"http://{through}\"\n", authority.fingerprint());
    assert_eq!(
        transport(&url, &more, &clock()).expect("good").send(0, None).await.expect("answered").status,
        204
    );
    assert_eq!(line.await.expect("asked"), format!("CONNECT localhost:{} HTTP/1.1", address.port()));
    assert_eq!(seen.all().len(), 1);
}

#[tokio::test]
async fn a_token_that_cannot_be_read_is_named() {
    let settings: Settings =
        settings::parse("uplink:\n  collectors: [\"https://a\"]\n  token: {file: /nowhere/token}\n", "x")
            .expect("good");
    let uplink = settings.uplink.as_ref().expect("given");
    let why = HttpTransport::new(&settings, uplink, clock()).err().expect("no token").to_string();
    assert!(why.contains("/nowhere/token"), "{why}");
}
