//! Requests over HTTP 1.1 and TLS, through a proxy if one is set; connections are kept and TLS sessions resumed.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use model::Timestamp;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use wire::body::Codec;
use wire::identity::COLLECTOR_TIME;
use wire::negotiate::{self, Message};

use super::tls::{self, Trust};
use super::{Answer, Transport, advice};
use crate::clock::Clock;
use crate::inputs::BoxFuture;
use crate::settings::{CollectorUrl, Settings, Uplink};
use crate::spool::Outgoing;

/// How much of an answer's body is read, in bytes; what is logged is its first line.
const ANSWER_BYTES_MAX: usize = 4096;
const TEXT_CHARS_MAX: usize = 500;

/// Longer than the longest usual interval, so that the connection is there for the next batch.
const IDLE: Duration = Duration::from_secs(300);

/// Why requests cannot be made with these settings.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    /// The token cannot be read.
    #[error("cannot read uplink.token: {0}")]
    Token(settings::SecretError),
    /// The token is no text that fits a header.
    #[error(
        "the token holds characters that no token has: put in what `pantau-collector agents add` printed"
    )]
    TokenText,
    /// The CA file cannot be used.
    #[error("cannot read the CAs in {path}: {why}", path = path.display())]
    Ca {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The system has no CA certificates.
    #[error("this system has no CA certificates: set uplink.ca_fingerprint or uplink.ca_file")]
    NoRoots,
    /// TLS cannot be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(rustls::Error),
    /// The HTTP client cannot be made.
    #[error("cannot set up the HTTP client: {0}")]
    Client(reqwest::Error),
}

/// A client and the collectors' addresses.
pub(crate) struct HttpTransport {
    client: reqwest::Client,
    collectors: Vec<Endpoint>,
    headers: HeaderMap,
    clock: Arc<Clock>,
    token_place: String,
}

struct Endpoint {
    /// Address for messages, without path.
    name: String,
    write_url: reqwest::Url,
    is_tls: bool,
}

impl HttpTransport {
    /// Reads token and CA now; connects to nobody.
    pub(crate) fn new(settings: &Settings, uplink: &Uplink, clock: Arc<Clock>) -> Result<Self, HttpError> {
        let token = uplink.token.read(&settings.base).map_err(HttpError::Token)?;
        if token.expose().contains(|symbol: char| !symbol.is_ascii_graphic()) {
            return Err(HttpError::TokenText);
        }
        let mut authorization =
            HeaderValue::from_str(&format!("Bearer {}", token.expose())).map_err(|_| HttpError::TokenText)?;
        authorization.set_sensitive(true);
        let mut headers = HeaderMap::new();
        for (name, value) in negotiate::request_headers(Message::V2, Codec::Zstd) {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers.insert(reqwest::header::AUTHORIZATION, authorization);
        let collectors = uplink.collectors.iter().map(Endpoint::new).collect();
        let token_place = advice::token_place(&uplink.token, &settings.base);
        Ok(Self { client: client(settings, uplink, &clock)?, collectors, headers, clock, token_place })
    }

    async fn post(&self, collector: usize, batch: Option<&Outgoing>) -> Result<Answer, String> {
        let endpoint = &self.collectors[collector];
        let mut headers = self.headers.clone();
        for (name, value) in
            batch.into_iter().flat_map(|batch| batch.identity.to_headers(self.clock.best_guess()))
        {
            let value = HeaderValue::from_str(&value).map_err(|why| format!("cannot send {name}: {why}"))?;
            headers.insert(HeaderName::from_static(name), value);
        }
        let body = batch.map_or_else(empty_body, |batch| batch.body.clone());
        let request = self.client.post(endpoint.write_url.clone()).headers(headers).body(body);
        let unreachable =
            |why: reqwest::Error| advice::unreachable(&endpoint.name, endpoint.is_tls, &cause(&why));
        let answered = request.send().await.map_err(unreachable)?;
        let mut answer = endpoint.read(answered).await;
        answer.text = advice::answered(answer.status, answer.is_receiver, &answer.text, &self.token_place);
        Ok(answer)
    }
}

/// An empty request, compressed: asks for nothing but an answer.
fn empty_body() -> bytes::Bytes {
    let mut body = Vec::new();
    let packed = wire::body::Packer::new(1).pack(Codec::Zstd, b"", &mut body);
    packed.expect("an empty request can be compressed");
    body.into()
}

impl Transport for HttpTransport {
    fn collectors(&self) -> usize {
        self.collectors.len()
    }

    fn send<'a>(
        &'a self,
        collector: usize,
        batch: Option<&'a Outgoing>,
    ) -> BoxFuture<'a, Result<Answer, String>> {
        Box::pin(self.post(collector, batch))
    }
}

impl Endpoint {
    fn new(url: &CollectorUrl) -> Self {
        Self {
            name: url.as_str().to_owned(),
            write_url: reqwest::Url::parse(&format!("{}/api/v1/write", url.as_str()))
                .expect("a collector's address is a URL without query and fragment"),
            is_tls: url.is_tls(),
        }
    }

    async fn read(&self, mut answered: reqwest::Response) -> Answer {
        let text_of = |name: &str| answered.headers().get(name).and_then(|value| value.to_str().ok());
        let time = text_of(COLLECTOR_TIME).and_then(|text| text.parse().ok()).map(Timestamp::from_millis);
        let seconds = text_of(RETRY_AFTER.as_str()).and_then(|text| text.trim().parse().ok());
        let is_receiver = [COLLECTOR_TIME, negotiate::SAMPLES_WRITTEN]
            .iter()
            .any(|name| answered.headers().contains_key(*name));
        let mut answer = Answer {
            status: answered.status().as_u16(),
            is_receiver,
            retry_after: seconds.map(Duration::from_secs),
            time: time.filter(|_| self.is_tls),
            text: String::new(),
        };
        // The body is read to its end, within reason, so that the connection can be used again.
        let mut body = Vec::new();
        while let Ok(Some(chunk)) = answered.chunk().await {
            body.extend_from_slice(&chunk[..chunk.len().min(ANSWER_BYTES_MAX - body.len())]);
            if body.len() >= ANSWER_BYTES_MAX {
                break;
            }
        }
        let text = String::from_utf8_lossy(&body);
        answer.text = text.trim().lines().next().unwrap_or_default().chars().take(TEXT_CHARS_MAX).collect();
        answer
    }
}

fn client(settings: &Settings, uplink: &Uplink, clock: &Arc<Clock>) -> Result<reqwest::Client, HttpError> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("pantau-agent/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .timeout(uplink.timeout.get())
        .connect_timeout(uplink.connect_timeout.get())
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(2)
        .tcp_keepalive(Duration::from_secs(30))
        .tcp_nodelay(true)
        .http1_only()
        .no_proxy();
    let ca_file = uplink.ca_file.as_ref().map(|path| settings.base.join(path));
    // Where nothing is encrypted no CA is asked for: a machine without any must be able to talk to itself.
    let trust = match (uplink.ca_fingerprint, &ca_file) {
        _ if !uplink.collectors.iter().any(CollectorUrl::is_tls) => {
            Trust::Fingerprint(crate::settings::Fingerprint([0; 32]))
        }
        (Some(fingerprint), _) => Trust::Fingerprint(fingerprint),
        (None, Some(path)) => Trust::File(path),
        (None, None) => Trust::System,
    };
    builder = builder.tls_backend_preconfigured(tls::config(trust, Arc::clone(clock))?);
    if let Some(proxy) = &uplink.proxy {
        builder = builder.proxy(reqwest::Proxy::all(proxy.expose()).map_err(HttpError::Client)?);
    }
    builder.build().map_err(HttpError::Client)
}

/// The innermost cause: what the outer ones say is "error sending request".
fn cause(why: &reqwest::Error) -> String {
    if why.is_timeout() {
        return "no answer in time".into();
    }
    let mut cause: &dyn std::error::Error = why;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
