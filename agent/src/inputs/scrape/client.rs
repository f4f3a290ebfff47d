//! The HTTP side of a job: connections, certificates, credentials; and packed answers.

use std::collections::HashMap;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, RequestBuilder, Url, header, redirect};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use settings::{Mistake, Secret};

use super::{Authorization, BasicAuth, Config, Scheme, TlsConfig};

/// Redirections that are followed.
const REDIRECTS_MAX: usize = 10;
/// Clients kept per job: one, or with `server_name` one for each host.
const CLIENTS_MAX: usize = 1_000;

/// How a job speaks to its targets. Clients are made when they are first needed, and anew when a certificate file changes.
pub(super) struct Access {
    tls: TlsConfig,
    base: PathBuf,
    credentials: Credentials,
    follow_redirects: bool,
    clients: Mutex<Clients>,
}

#[derive(Default)]
struct Clients {
    stamps: [Option<SystemTime>; 3],
    by_host: HashMap<String, Client>,
}

enum Credentials {
    None,
    Basic { username: String, password: Option<Secret> },
    Token { kind: String, token: Option<Secret> },
}

impl Credentials {
    fn new(basic: Option<&BasicAuth>, token: Option<&Authorization>) -> Result<Self, Mistake> {
        let one = |secret: &Option<Secret>, file: &Option<PathBuf>, what: &str| match (secret, file) {
            (Some(_), Some(_)) => {
                let why = format!("{what} and {what}_file exclude each other: leave one out");
                Err(Mistake::at(&format!("{what}_file"), why))
            }
            (Some(secret), None) => Ok(Some(secret.clone())),
            (None, file) => Ok(file.clone().map(Secret::File)),
        };
        if let Some(basic) = basic {
            if basic.username.contains(':') {
                let why = "a name with \":\" cannot be sent: the password begins behind the first one";
                return Err(Mistake::at("username", why).under("basic_auth"));
            }
            let password = one(&basic.password, &basic.password_file, "password")
                .map_err(|mistake| mistake.under("basic_auth"))?;
            return Ok(Self::Basic { username: basic.username.clone(), password });
        }
        if let Some(token) = token {
            let kind = token.kind.clone();
            let token = one(&token.credentials, &token.credentials_file, "credentials")
                .map_err(|mistake| mistake.under("authorization"))?;
            return Ok(Self::Token { kind, token });
        }
        Ok(Self::None)
    }

    /// Secrets are read each time: they are small, and who changes one need not tell us.
    fn add(&self, request: RequestBuilder, base: &Path) -> Result<RequestBuilder, String> {
        let read = |secret: &Option<Secret>| secret.as_ref().map(|secret| secret.read(base)).transpose();
        match self {
            Self::None => Ok(request),
            Self::Basic { username, password } => {
                let password = read(password).map_err(|why| why.to_string())?;
                Ok(request.basic_auth(username, password.as_ref().map(|password| password.expose())))
            }
            Self::Token { kind, token } => {
                let token = read(token).map_err(|why| why.to_string())?;
                let text = format!("{kind} {}", token.as_ref().map_or("", |token| token.expose()));
                let mut value = header::HeaderValue::from_str(text.trim_end())
                    .map_err(|_| "the credentials hold characters that a header cannot".to_owned())?;
                value.set_sensitive(true);
                Ok(request.header(header::AUTHORIZATION, value))
            }
        }
    }
}

impl Access {
    pub(super) fn new(config: &Config, base: &Path) -> Result<Self, Mistake> {
        let access = Self {
            tls: config.tls_config.clone(),
            base: base.to_owned(),
            credentials: Credentials::new(config.basic_auth.as_ref(), config.authorization.as_ref())?,
            follow_redirects: config.follow_redirects,
            clients: Mutex::default(),
        };
        if config.tls_config.cert_file.is_some() != config.tls_config.key_file.is_some() {
            return Err(Mistake::at("tls_config", "cert_file and key_file go together: write both"));
        }
        if let Some(name) = &config.tls_config.server_name
            && ServerName::try_from(name.as_str()).is_err()
        {
            let why = format!("{name:?} is neither a host name nor an IP address");
            return Err(Mistake::at("server_name", why).under("tls_config"));
        }
        // What is wrong with the certificates is said now, and not at the first scrape.
        if config.scheme == Scheme::Https || config.tls_config != TlsConfig::default() {
            let wrong =
                |why: String| Mistake::at("tls_config", why.strip_prefix("tls_config: ").unwrap_or(&why));
            access.tls_config(true).map_err(wrong)?;
        }
        Ok(access)
    }

    /// Whether the credentials can be read now.
    pub(super) fn check_credentials(&self) -> Result<(), Mistake> {
        let (section, secret) = match &self.credentials {
            Credentials::Basic { password: Some(secret), .. } => ("basic_auth", secret),
            Credentials::Token { token: Some(secret), .. } => ("authorization", secret),
            _ => return Ok(()),
        };
        let text = secret.read(&self.base).map_err(|why| Mistake::at(section, why.to_string()))?;
        if section == "authorization" && header::HeaderValue::from_str(text.expose()).is_err() {
            return Err(Mistake::at(section, "the token holds characters that no header can carry"));
        }
        Ok(())
    }

    /// A request with its credentials.
    pub(super) fn get(&self, url: &Url) -> Result<RequestBuilder, String> {
        let host = url.host_str().unwrap_or_default();
        let request = match self.tls.server_name.as_deref().filter(|_| url.scheme() == "https") {
            Some(server_name) => self.get_by_name(url, host, server_name)?,
            None => self.client("", url.scheme() == "https")?.get(url.clone()),
        };
        self.credentials.add(request, &self.base)
    }

    /// The certificate's name stands in the URL, so that TLS asks for it and checks it; the connection and the header `Host` go
    /// to the real one.
    fn get_by_name(&self, url: &Url, host: &str, server_name: &str) -> Result<RequestBuilder, String> {
        let mut named = url.clone();
        named
            .set_host(Some(server_name))
            .map_err(|why| format!("tls_config: server_name {server_name:?}: {why}"))?;
        let authority = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        Ok(self.client(host, true)?.get(named).header(header::HOST, authority))
    }

    fn client(&self, host: &str, secure: bool) -> Result<Client, String> {
        let stamps = if secure { self.stamps() } else { [None; 3] };
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if secure && (stamps != clients.stamps || clients.by_host.len() >= CLIENTS_MAX) {
            *clients = Clients { stamps, by_host: HashMap::new() };
        }
        let key = format!("{}{host}", if secure { "https " } else { "http " });
        if let Some(client) = clients.by_host.get(&key) {
            return Ok(client.clone());
        }
        let client = self.new_client(host, secure)?;
        clients.by_host.insert(key, client.clone());
        Ok(client)
    }

    fn new_client(&self, host: &str, secure: bool) -> Result<Client, String> {
        let redirects = match self.follow_redirects {
            true => redirect::Policy::limited(REDIRECTS_MAX),
            false => redirect::Policy::none(),
        };
        let mut builder = Client::builder()
            .tls_backend_preconfigured(self.tls_config(secure)?)
            .user_agent(concat!("pantau-agent/", env!("CARGO_PKG_VERSION")))
            .redirect(redirects)
            .no_proxy()
            .http1_only()
            .pool_max_idle_per_host(1)
            // Longer than most intervals: a target is asked again over the same connection.
            .pool_idle_timeout(Duration::from_secs(150));
        if !host.is_empty() {
            builder = builder.dns_resolver(Arc::new(Elsewhere(host.trim_matches(['[', ']']).into())));
        }
        builder.build().map_err(|why| format!("cannot make an HTTP client: {}", reason(&why)))
    }

    fn stamps(&self) -> [Option<SystemTime>; 3] {
        [&self.tls.ca_file, &self.tls.cert_file, &self.tls.key_file].map(|path| {
            let path = self.base.join(path.as_ref()?);
            std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
        })
    }

    /// `trusting` is false where a target is asked without TLS: then a redirection to https finds nobody trusted, unless the
    /// settings say whom, and the system's certificates need not be read.
    fn tls_config(&self, trusting: bool) -> Result<ClientConfig, String> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|why| format!("tls_config: {why}"))?;
        let builder = if self.tls.insecure_skip_verify {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone(provider)))
        } else {
            let roots = Arc::new(self.roots(trusting)?);
            if roots.is_empty() {
                builder.with_root_certificates(roots)
            } else {
                let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider).build();
                builder.with_webpki_verifier(verifier.map_err(|why| format!("tls_config: {why}"))?)
            }
        };
        match (&self.tls.cert_file, &self.tls.key_file) {
            (Some(cert), Some(key)) => {
                let key_path = self.base.join(key);
                let key =
                    PrivateKeyDer::from_pem_file(&key_path).map_err(|why| unreadable(&key_path, &why))?;
                let chain = certificates(&self.base.join(cert))?;
                builder.with_client_auth_cert(chain, key).map_err(|why| format!("tls_config: {why}"))
            }
            _ => Ok(builder.with_no_client_auth()),
        }
    }

    fn roots(&self, trusting: bool) -> Result<RootCertStore, String> {
        let mut roots = RootCertStore::empty();
        if let Some(ca_file) = &self.tls.ca_file {
            let path = self.base.join(ca_file);
            for certificate in certificates(&path)? {
                roots.add(certificate).map_err(|why| unreadable(&path, &why))?;
            }
        } else if trusting {
            // Some of a system's certificates are always too old or too odd: those are passed over, as elsewhere.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err("tls_config: the system has no certificates to trust; give a ca_file".into());
            }
        }
        Ok(roots)
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(path).map_err(|why| unreadable(path, &why))?;
    let certificates = read.collect::<Result<Vec<_>, _>>().map_err(|why| unreadable(path, &why))?;
    if certificates.is_empty() { Err(unreadable(path, &"it holds no certificate")) } else { Ok(certificates) }
}

fn unreadable(path: &Path, why: &dyn std::fmt::Display) -> String {
    format!("tls_config: cannot read {}: {why}", path.display())
}

/// Finds every name at one host.
struct Elsewhere(Arc<str>);

impl Resolve for Elsewhere {
    fn resolve(&self, _: Name) -> Resolving {
        let host = Arc::clone(&self.0);
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((&*host, 0)).await?.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// Takes any certificate (`insecure_skip_verify`); whoever shows it must still hold its key.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// An error with what lies behind it, which reqwest leaves to the caller; without the URL, which callers name.
pub(super) fn reason(error: &dyn std::error::Error) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let layer = error.to_string();
        if !text.ends_with(&layer) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&layer);
        }
        next = error.source();
    }
    text
}

pub(super) fn too_large(limit: usize) -> String {
    format!("the page is larger than {limit} bytes (body_size_limit)")
}

/// Unpacks a body, up to a limit.
pub(super) fn gunzip(body: &[u8], limit: usize) -> Result<Vec<u8>, String> {
    let mut page = Vec::new();
    let unpacked = flate2::read::MultiGzDecoder::new(body).take(limit as u64 + 1).read_to_end(&mut page);
    unpacked.map_err(|why| format!("cannot unpack the gzip body: {why}"))?;
    if page.len() > limit { Err(too_large(limit)) } else { Ok(page) }
}
