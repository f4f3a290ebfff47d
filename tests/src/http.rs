//! A small blocking HTTP client for tests.

use std::time::Duration;

use serde_json::Value;

/// A client with its own runtime.
pub struct Http {
    runtime: tokio::runtime::Runtime,
    client: reqwest::Client,
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub enum As<'a> {
    /// Without credentials.
    Nobody,
    /// With a token.
    Bearer(&'a str),
    /// With user and password.
    Basic(&'a str, &'a str),
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Header names (lower case) and values.
    pub headers: Vec<(String, String)>,
    /// The body as text.
    pub body: String,
}

impl Answer {
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON; panics where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("no JSON ({error}): {}", self.body))
    }
}

impl Default for Http {
    fn default() -> Self {
        Self::new(None)
    }
}

impl Http {
    /// A client that trusts only the given certificate authority (PEM), or plain HTTP where there is none.
    pub fn new(authority_pem: Option<&str>) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime can be made");
        let mut roots = rustls::RootCertStore::empty();
        if let Some(pem) = authority_pem {
            use rustls::pki_types::{CertificateDer, pem::PemObject};
            for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                roots.add(certificate.expect("a certificate")).expect("an authority's certificate");
            }
        }
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring speaks TLS 1.2 and 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .no_proxy()
            .timeout(Duration::from_secs(30))
            .build()
            .expect("a client can be made");
        Self { runtime, client }
    }

    /// GET; `Err` where no whole answer came.
    pub fn get(&self, url: &str) -> Result<Answer, reqwest::Error> {
        self.send(self.client.get(url))
    }

    /// GET with a bearer token.
    pub fn get_as(&self, url: &str, token: &str) -> Result<Answer, reqwest::Error> {
        self.send(self.client.get(url).bearer_auth(token))
    }

    /// A request with headers and, perhaps, credentials.
    pub fn ask(
        &self,
        method: &str,
        url: &str,
        who: As<'_>,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Answer {
        let method = method.parse().expect("a method");
        let mut request = self.client.request(method, url).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request = match who {
            As::Nobody => request,
            As::Bearer(token) => request.bearer_auth(token),
            As::Basic(user, password) => request.basic_auth(user, Some(password)),
        };
        self.send(request).expect("an answer")
    }

    /// POST with headers and a body.
    pub fn post(&self, url: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Result<Answer, reqwest::Error> {
        let mut request = self.client.post(url).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request)
    }

    /// The value of an instant query's only series; `None` while there is no answer or no series.
    pub fn query_value(&self, base: &str, query: &str) -> Option<f64> {
        let mut url = reqwest::Url::parse(&format!("{base}/api/v1/query")).expect("a URL");
        url.query_pairs_mut().append_pair("query", query);
        let answer = self.get(url.as_str()).ok().filter(|answer| answer.status == 200)?.json();
        answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()
    }

    fn send(&self, request: reqwest::RequestBuilder) -> Result<Answer, reqwest::Error> {
        self.runtime.block_on(async {
            let response = request.send().await?;
            let status = response.status().as_u16();
            let headers = response
                .headers()
                .iter()
                .map(|(name, value)| {
                    (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
                })
                .collect();
            Ok(Answer { status, headers, body: response.text().await? })
        })
    }
}
