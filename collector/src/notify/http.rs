//! Requests to others: TLS with our one provider, CAs of a file or the system's, a bearer token or a name with a password.
//!
//! In: what a section says of an address ([`Access`]). Out: [`Outlet`], which posts JSON and says what was answered. Redirects are not
//! followed. What is said of an address is its scheme, host and port: the rest can be a secret.
//!
//! Limits: [`ANSWER_BYTES_MAX`] of an answer are read, the given time for all of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde::Deserialize;
use settings::{Mistake, Secret, SecretText, Span};

/// How much of an answer is read.
const ANSWER_BYTES_MAX: usize = 16 << 10;
const SAID_CHARS_MAX: usize = 300;
const URL_BYTES_MAX: usize = 2048;
/// The shortest and longest time that may be given to a request.
const TIMEOUTS: [Span; 2] = [Span::new(Duration::from_millis(100)), Span::from_secs(300)];

/// A name and a password.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Basic {
    /// The name.
    pub user: String,
    /// The password's place.
    pub password: Secret,
}

/// What a section says of an address.
pub(super) struct Access<'a> {
    pub(super) url: reqwest::Url,
    pub(super) token: Option<&'a Secret>,
    pub(super) basic: Option<&'a Basic>,
    pub(super) ca_file: Option<&'a PathBuf>,
    pub(super) proxy: Option<&'a str>,
    pub(super) timeout: Span,
}

/// Where requests go.
pub(super) struct Outlet {
    client: reqwest::Client,
    url: reqwest::Url,
}

/// What was answered.
#[derive(Clone, Debug)]
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) retry_after: Option<Duration>,
    pub(super) body: Vec<u8>,
}

impl Answered {
    /// Status and the body's first line, for people.
    pub(super) fn said(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let line = text.trim().lines().next().unwrap_or_default();
        let line: String = line.chars().filter(|symbol| !symbol.is_control()).take(SAID_CHARS_MAX).collect();
        format!("it answered {} {line}", self.status).trim_end().to_owned()
    }
}

/// An address of `http` or `https` without a user in it.
pub(super) fn url(text: &str) -> Result<reqwest::Url, String> {
    if text.len() > URL_BYTES_MAX {
        return Err(format!("the address is longer than {URL_BYTES_MAX} bytes"));
    }
    let bad = "no address: write one such as https://host.example.go.id/path";
    let url = reqwest::Url::parse(text).map_err(|_| bad.to_owned())?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(bad.into());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it holds a user: write `basic: {user: …, password: {file: …}}` instead".into());
    }
    Ok(url)
}

/// Scheme, host and port: what may be said of an address.
pub(super) fn place(url: &reqwest::Url) -> String {
    url.origin().ascii_serialization()
}

impl Outlet {
    /// Reads secrets and CAs now; connects to nobody.
    pub(super) fn new(access: Access<'_>, base: &Path) -> Result<Self, Mistake> {
        check_timeout(access.timeout)?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(authorization) = authorization(&access, base)? {
            headers.insert(AUTHORIZATION, authorization);
        }
        let tls = tls(access.ca_file.map(|path| base.join(path)).as_deref(), access.url.scheme() == "https")?;
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("pantau-collector/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .redirect(reqwest::redirect::Policy::none())
            .timeout(access.timeout.get())
            .http1_only()
            .no_proxy()
            .tls_backend_preconfigured(tls);
        if let Some(proxy) = access.proxy {
            url(proxy).map_err(|why| Mistake::at("proxy", why))?;
            let proxy = reqwest::Proxy::all(proxy).map_err(|why| Mistake::at("proxy", why.to_string()))?;
            builder = builder.proxy(proxy);
        }
        let client =
            builder.build().map_err(|why| Mistake::new(format!("no HTTP client can be made: {why}")))?;
        Ok(Self { client, url: access.url })
    }

    /// Scheme, host and port.
    pub(super) fn place(&self) -> String {
        place(&self.url)
    }

    /// Posts JSON; the reason where nobody answered.
    pub(super) async fn post(&self, body: Vec<u8>, number: Option<u64>) -> Result<Answered, String> {
        let mut request = self.client.post(self.url.clone()).body(body);
        if let Some(number) = number {
            request = request.header("x-pantau-message", number);
        }
        let mut answer = request.send().await.map_err(|why| cause(&why))?;
        let seconds = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = seconds.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
        let mut body = Vec::new();
        while let Ok(Some(chunk)) = answer.chunk().await {
            body.extend_from_slice(&chunk[..chunk.len().min(ANSWER_BYTES_MAX - body.len())]);
            if body.len() >= ANSWER_BYTES_MAX {
                break;
            }
        }
        Ok(Answered { status: answer.status().as_u16(), retry_after, body })
    }
}

pub(super) fn check_timeout(timeout: Span) -> Result<(), Mistake> {
    let [least, most] = TIMEOUTS;
    if (least..=most).contains(&timeout) {
        return Ok(());
    }
    Err(Mistake::at("timeout", format!("{timeout} is out of bounds: write {least} to {most}")))
}

/// A secret now, or the mistake at its key.
pub(super) fn secret(secret: &Secret, key: &str, base: &Path) -> Result<SecretText, Mistake> {
    secret.read(base).map_err(|error| Mistake::at(key, error.to_string()))
}

fn authorization(access: &Access<'_>, base: &Path) -> Result<Option<HeaderValue>, Mistake> {
    let (key, text) = match (access.token, access.basic) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => {
            return Err(Mistake::at(
                "token",
                "there is `basic` too, and only one of them can be sent: keep one",
            ));
        }
        (Some(token), None) => ("token", format!("Bearer {}", secret(token, "token", base)?.expose())),
        (None, Some(basic)) => {
            let password =
                secret(&basic.password, "password", base).map_err(|mistake| mistake.under("basic"))?;
            let pair = format!("{}:{}", basic.user, password.expose());
            ("basic", format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair)))
        }
    };
    let value = HeaderValue::from_str(&text);
    let mut value =
        value.map_err(|_| Mistake::at(key, "the secret holds characters that no header can bear"))?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// The certificates of a PEM file.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Mistake> {
    let bad =
        |why: String| Mistake::at("ca_file", format!("cannot read the CAs in {}: {why}", path.display()));
    let found = CertificateDer::pem_file_iter(path).map_err(|why| bad(why.to_string()))?;
    let found: Vec<_> = found.collect::<Result<_, _>>().map_err(|why| bad(why.to_string()))?;
    if found.is_empty() { Err(bad("it holds no certificate".into())) } else { Ok(found) }
}

fn tls(ca_file: Option<&Path>, is_needed: bool) -> Result<ClientConfig, Mistake> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(path) => {
            for certificate in certificates(path)? {
                let why = |why: rustls::Error| Mistake::at("ca_file", format!("{}: {why}", path.display()));
                roots.add(certificate).map_err(why)?;
            }
        }
        None if is_needed => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(Mistake::new("this system has no CA certificates: name some by `ca_file`"));
            }
        }
        // Nothing is encrypted: no CA is asked for.
        None => {}
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|why| Mistake::new(format!("TLS cannot be set up: {why}")))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// The innermost cause, without the address.
fn cause(why: &reqwest::Error) -> String {
    if why.is_timeout() {
        return "no answer in time".into();
    }
    let mut cause: &dyn std::error::Error = why;
    while let Some(source) = cause.source() {
        cause = source;
    }
    // The outermost alone names the address, and it always has a cause.
    cause.to_string()
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::sync::mpsc;

    use super::*;

    /// Answers requests one by one with what is given, each on a connection of its own; what came is sent along.
    pub(in crate::notify) fn fake(answers: Vec<String>) -> (String, mpsc::Receiver<(String, String)>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = format!("http://{}", listener.local_addr().expect("bound"));
        let (came, seen) = mpsc::channel();
        std::thread::spawn(move || {
            for answer in answers {
                // A client may close a connection without asking anything, or keep one ready for later: neither uses up an answer.
                let (mut stream, head, body) = loop {
                    let (mut stream, _) = listener.accept().expect("a connection");
                    if let Some((head, body)) = request(&mut stream) {
                        break (stream, head, body);
                    }
                };
                drop(stream.write_all(answer.as_bytes()));
                drop(came.send((head, body)));
            }
        });
        (address, seen)
    }

    /// A request, head and body; `None` where the other side ends or says nothing for long.
    fn request(stream: &mut TcpStream) -> Option<(String, String)> {
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a time above zero");
        let mut bytes = Vec::new();
        loop {
            let mut part = [0; 4096];
            match stream.read(&mut part) {
                Ok(0) | Err(_) => return None,
                Ok(count) => bytes.extend_from_slice(&part[..count]),
            }
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let Some((head, _)) = text.split_once("\r\n\r\n") else { continue };
            let length = head
                .lines()
                .find_map(|line| line.to_lowercase().strip_prefix("content-length: ").map(str::to_owned));
            let length: usize = length.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
            if let Some(body) = bytes.get(head.len() + 4..head.len() + 4 + length) {
                return Some((head.to_owned(), String::from_utf8_lossy(body).into_owned()));
            }
        }
    }

    /// What came next, in a time after which nothing comes any more.
    pub(in crate::notify) fn next<T>(seen: &mpsc::Receiver<T>) -> T {
        seen.recv_timeout(Duration::from_secs(60)).expect("it comes within a minute")
    }

    /// An answer with a body.
    pub(in crate::notify) fn answer(status: &str, headers: &str, body: &str) -> String {
        format!(
            "HTTP/1.1 {status}\r\n{headers}connection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    #[test]
    fn addresses_are_checked_and_only_their_place_is_said() {
        let check = |text: &str, expected: Result<&str, &str>| match (url(text), expected) {
            (Ok(url), Ok(expected)) => assert_eq!(place(&url), expected),
            (Err(why), Err(part)) => assert!(why.contains(part), "{why}"),
            (got, _) => panic!("{text}: {got:?}"),
        };
        check("https://h.example/T/secret?x=y", Ok("https://h.example"));
        check("http://10.0.0.1:9093/am/", Ok("http://10.0.0.1:9093"));
        check("h.example:80", Err("no address"));
        check("ftp://h", Err("no address"));
        check("https://me:secret@h/", Err("holds a user"));
    }
}
