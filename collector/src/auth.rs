//! Who may read and who may write.
//!
//! In: a request's `Authorization` header and the connection it came over ([`Peer`]). Out: a [`Reader`] with a source that shows
//! no more than its scope, a [`Sender`], or a refusal that says what to do and never what was sent.
//!
//! Without credentials a request passes only while the listener stands on a loopback address and no reader is configured; even
//! then its `Host` must be a loopback name and its `Origin`, if it has one, a page of this machine, so that a web page elsewhere
//! cannot use the visitor's browser to read or write here (DNS rebinding, cross-site requests). Comparisons look at SHA-256
//! digests in constant time. Failed attempts are counted per address ([`Failures`]); a sender's valid token passes even then,
//! because 256 random bits are not guessed and one bad neighbour behind the same address must not silence the others.

mod credentials;
mod failures;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderValue, StatusCode, header};
use model::{Exemplar, Labels, Matcher, MetricMetadata, SeriesSource, Timestamp};
use subtle::{Choice, ConstantTimeEq};

use crate::enrolment::Agent;
use crate::scope::Scope;
use crate::settings::Checked;
use crate::state::{AppState, Condition, Overview, Storage};

use credentials::Credentials;
pub use credentials::Digest;
use failures::Failures;

/// Where a request comes from; the server puts it into every request's extensions (tests do so by hand).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Over the network.
    Network(SocketAddr),
    /// Over the socket in the data folder, which only the collector's own user can open: may see everything.
    Local,
}

/// One configured reader.
#[derive(Clone, Debug)]
pub struct ReaderEntry {
    /// Its name, for logs.
    pub name: String,
    /// The user of basic authentication; `None` for a bearer token.
    pub user: Option<Digest>,
    /// Digest of the token or password.
    pub secret: Digest,
    /// What it may see.
    pub scope: Scope,
    /// Whether it may change the store (see [`Administrator`]).
    pub admin: bool,
}

/// What a request's credentials allow.
struct Allowed {
    /// The reader's name; empty where nobody has to say it.
    name: String,
    scope: Scope,
    admin: bool,
}

/// Which readers there are, and who may do without credentials.
pub struct Auth {
    readers: ArcSwap<Vec<ReaderEntry>>,
    on_loopback: bool,
    failures: Failures,
}

impl Auth {
    /// As the settings have it.
    pub fn new(settings: &Checked) -> Self {
        Self {
            readers: ArcSwap::from_pointee(settings.readers.clone()),
            on_loopback: settings.listen.ip().is_loopback(),
            failures: Failures::default(),
        }
    }

    /// Takes over the readers of reloaded settings.
    pub fn reload(&self, settings: &Checked) {
        self.readers.store(Arc::new(settings.readers.clone()));
    }

    /// Whether requests without credentials pass at all.
    fn is_open(&self) -> bool {
        self.on_loopback && self.readers.load().is_empty()
    }

    fn read(&self, parts: &Parts, now: Instant) -> Result<Scope, Refusal> {
        self.allowed(parts, now).map(|allowed| allowed.scope)
    }

    fn allowed(&self, parts: &Parts, now: Instant) -> Result<Allowed, Refusal> {
        let whole = |admin| Allowed { name: String::new(), scope: Scope::everything(), admin };
        let address = match parts.extensions.get::<Peer>() {
            Some(Peer::Local) => return Ok(whole(false)),
            Some(Peer::Network(address)) => address.ip(),
            None => return Err(Refusal::Unauthenticated),
        };
        if self.is_open() {
            return check_host(parts).map(|()| whole(true));
        }
        let Some(given) = Credentials::from_headers(&parts.headers)? else {
            return Err(Refusal::Unauthenticated);
        };
        self.failures.check(address, now)?;
        self.find(&given).ok_or_else(|| {
            self.failures.note(address, now);
            Refusal::Unauthenticated
        })
    }

    /// Looks at every reader, so that the time taken does not tell which one fits.
    fn find(&self, given: &Credentials) -> Option<Allowed> {
        let mut found = None;
        for entry in self.readers.load().iter() {
            let user_fits = match (&entry.user, &given.user) {
                (Some(have), Some(user)) => have.ct_eq(user),
                (None, None) => Choice::from(1),
                _ => Choice::from(0),
            };
            if bool::from(user_fits & entry.secret.ct_eq(&given.secret)) {
                found = Some(Allowed {
                    name: entry.name.clone(),
                    scope: entry.scope.clone(),
                    admin: entry.admin,
                });
            }
        }
        found
    }

    fn write(&self, parts: &Parts, state: &AppState, now: Instant) -> Result<Sender, Refusal> {
        let peer = parts.extensions.get::<Peer>().copied();
        let address = match peer {
            Some(Peer::Network(address)) => address.ip(),
            Some(Peer::Local) | None => return Err(Refusal::Unauthenticated),
        };
        let Some(given) = Credentials::from_headers(&parts.headers)? else {
            if self.is_open() {
                return check_host(parts).map(|()| Sender::Anonymous);
            }
            return Err(Refusal::Unauthenticated);
        };
        // A token is a bearer's. As a password it would go where people write passwords: into shells, browsers, address bars.
        let agent = given.user.is_none().then(|| state.enrolment.authenticate(&given.secret)).flatten();
        if let Some(agent) = agent {
            return Ok(Sender::Agent(agent));
        }
        self.failures.check(address, now)?;
        self.failures.note(address, now);
        // Whether the password is a token is not told.
        Err(if given.user.is_some() { Refusal::NotBearer } else { Refusal::Unauthenticated })
    }
}

/// A request that came over an open listener must name a loopback host, and where a browser says which page made it, that
/// page must be one of this machine's; see the module's text.
fn check_host(parts: &Parts) -> Result<(), Refusal> {
    let text = |name| parts.headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let host = parts.uri.host().or(text(header::HOST));
    let page = text(header::ORIGIN).map(|origin| origin.split_once("://").map_or(origin, |(_, host)| host));
    if [host, page].into_iter().flatten().all(is_loopback_host) { Ok(()) } else { Err(Refusal::StrangeHost) }
}

fn is_loopback_host(host: &str) -> bool {
    if let Some(rest) = host.strip_prefix('[') {
        let inside = rest.split_once(']').map(|(inside, _)| inside);
        return inside
            .and_then(|text| text.parse::<IpAddr>().ok())
            .is_some_and(|address| address.is_loopback());
    }
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let name = name.strip_suffix('.').unwrap_or(name);
    name.eq_ignore_ascii_case("localhost")
        || name.to_ascii_lowercase().ends_with(".localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Someone who may read: the only way for a handler to get at series. Extracting it answers 401, 403, 429 or 503 by itself.
#[derive(Clone)]
pub struct Reader {
    /// Series within the scope.
    pub source: Arc<dyn SeriesSource>,
    /// What may be seen: for what reads no series, and as the key of caches.
    pub scope: Scope,
    storage: Arc<dyn Storage>,
}

impl Reader {
    /// A reader of a storage with a scope; fails where the scope makes no matcher (it is too large).
    pub fn new(storage: Arc<dyn Storage>, scope: Scope) -> Result<Self, Refusal> {
        let source = Arc::clone(&storage) as Arc<dyn SeriesSource>;
        let source = scope.wrap(source).map_err(|_| Refusal::Internal("the scope is too large"))?;
        Ok(Self { source, scope, storage })
    }

    /// Exemplars of the series that any selector matches and the scope shows, by series; both bounds inclusive.
    pub fn exemplars<'m>(
        &self,
        selectors: impl IntoIterator<Item = &'m [Matcher]>,
        start: Timestamp,
        end: Timestamp,
    ) -> Result<Vec<(Labels, Vec<Exemplar>)>, model::SourceError> {
        let own = self.scope.matchers().map_err(|error| model::SourceError::Unreadable(error.to_string()))?;
        let narrowed = |selector: &[Matcher]| selector.iter().chain(&own).cloned().collect();
        let selections: Vec<Vec<Matcher>> = selectors.into_iter().map(narrowed).collect();
        // A query that selects no series has no exemplars; no selection would mean every series.
        if selections.is_empty() {
            return Ok(Vec::new());
        }
        Ok(self.storage.exemplars(&selections, start, end))
    }

    /// What is written to, and what is most of it: `None` for a bounded scope, because the figures are of all regions.
    pub fn overview(&self, top: usize) -> Option<Overview> {
        self.scope.is_everything().then(|| self.storage.overview(top))
    }

    /// How the store is: `None` for a bounded scope, because it is of all regions.
    pub fn condition(&self) -> Option<Condition> {
        self.scope.is_everything().then(|| self.storage.condition())
    }

    /// What senders said of metrics (see [`Storage::metadata`]). A bounded scope sees the families of its own series only.
    pub fn metadata(
        &self,
        metric: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Vec<MetricMetadata>)>, model::SourceError> {
        if self.scope.is_everything() {
            return Ok(self.storage.metadata(metric, limit));
        }
        let names = self.source.label_values(model::METRIC_NAME, &[], 0)?;
        let mut families = self.storage.metadata(metric, 0);
        families.retain(|(family, _)| has_series_of(&names, family));
        if limit > 0 {
            families.truncate(limit);
        }
        Ok(families)
    }
}

/// Whether the sorted metric names hold the family's own or one of its parts'.
pub(crate) fn has_series_of(names: &[String], family: &str) -> bool {
    ["", "_bucket", "_sum", "_count", "_total", "_info"].iter().any(|suffix| {
        let part = [family, suffix].concat();
        names.binary_search(&part).is_ok()
    })
}

impl FromRequestParts<AppState> for Reader {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Refusal> {
        let scope = state.auth.read(parts, Instant::now())?;
        let storage = state.storage().ok_or(Refusal::NotReady)?;
        Self::new(Arc::clone(storage), scope)
    }
}

/// Someone who may change the store: delete series, copy all of it. Nobody may, unless the settings say `admin_api: true`; then readers
/// with `admin: true`, and on an open listener everybody on this machine.
#[derive(Clone)]
pub struct Administrator {
    /// The store.
    pub(crate) storage: Arc<dyn Storage>,
}

impl FromRequestParts<AppState> for Administrator {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Refusal> {
        let allowed = state.auth.allowed(parts, Instant::now())?;
        if !state.settings.load().admin_api {
            return Err(Refusal::AdminOff);
        }
        if !allowed.admin {
            return Err(Refusal::NotAdmin);
        }
        state.storage().cloned().map(|storage| Self { storage }).ok_or(Refusal::NotReady)
    }
}

/// Someone who may see the state of things that are no series (agents, gaps, own metrics), ready or not: its scope.
#[derive(Clone, Debug)]
pub struct Viewer(pub Scope);

impl FromRequestParts<AppState> for Viewer {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Refusal> {
        state.auth.read(parts, Instant::now()).map(Self)
    }
}

/// Who asks, for the list and the log of queries: a [`Viewer`] with its name and address.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The reader's name; empty where nobody has to say it.
    pub name: String,
    /// The address that the request came from; empty for the local socket.
    pub address: String,
    /// What may be seen.
    pub scope: Scope,
}

impl FromRequestParts<AppState> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Refusal> {
        let Allowed { name, scope, .. } = state.auth.allowed(parts, Instant::now())?;
        let address = match parts.extensions.get::<Peer>() {
            Some(Peer::Network(address)) => address.ip().to_string(),
            Some(Peer::Local) | None => String::new(),
        };
        Ok(Self { name, address, scope })
    }
}

/// Someone who may write.
#[derive(Clone, Debug)]
pub enum Sender {
    /// Enrolled: stamped with its own region and site.
    Agent(Arc<Agent>),
    /// Anyone on this machine, while the listener is open: stamped with the collector's own.
    Anonymous,
}

impl FromRequestParts<AppState> for Sender {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Refusal> {
        let sender = state.auth.write(parts, state, Instant::now());
        if let Err(refusal) = &sender {
            state.metrics.auth_refused(refusal.reason());
        }
        sender
    }
}

/// Why a request does not come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No credentials, or wrong ones.
    Unauthenticated,
    /// A user and a password where only a token is taken.
    NotBearer,
    /// Credentials that nobody could check: not UTF-8, no known scheme, too long.
    Malformed(&'static str),
    /// Too many failed attempts from this address.
    TooMany(Duration),
    /// An open listener was asked for under a name that is not this machine's.
    StrangeHost,
    /// The store is still replaying.
    NotReady,
    /// Nobody may change the store.
    AdminOff,
    /// This reader may not change the store.
    NotAdmin,
    /// Ours.
    Internal(&'static str),
}

impl Refusal {
    /// A word for counters.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unauthenticated | Self::NotBearer => "unauthenticated",
            Self::Malformed(_) => "malformed",
            Self::TooMany(_) => "too_many",
            Self::StrangeHost => "strange_host",
            Self::NotReady => "not_ready",
            Self::AdminOff => "admin_off",
            Self::NotAdmin => "not_admin",
            Self::Internal(_) => "internal",
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Unauthenticated => "this needs a valid token or user and password: readers stand in the settings under \
                                      `readers`, agents are enrolled by `pantau-collector agents add`\n"
                .into(),
            Self::NotBearer => "who writes shows a token, by `Authorization: Bearer TOKEN`; this request has a user and a password \
                                (Basic), which nobody may write with: in Prometheus write the token under `authorization`, not \
                                `basic_auth`\n"
                .into(),
            Self::Malformed(why) => format!("cannot read the Authorization header: {why}\n"),
            Self::TooMany(wait) => {
                format!("too many failed attempts from this address: try again in {} s\n", wait.as_secs().max(1))
            }
            Self::StrangeHost => "without credentials this listener answers only to localhost, 127.0.0.1 and [::1], and to pages \
                                  from there; to reach it under another name, configure `readers`\n"
                .into(),
            Self::NotReady => "not ready: the store is replaying its journal\n".into(),
            // In Prometheus' form and words, which clients know.
            Self::AdminOff => "{\"status\":\"error\",\"errorType\":\"unavailable\",\"error\":\"admin APIs disabled: the settings \
                               must say admin_api: true\"}"
                .into(),
            Self::NotAdmin => "{\"status\":\"error\",\"errorType\":\"forbidden\",\"error\":\"this reader may not change the store: \
                               its entry under readers needs admin: true\"}"
                .into(),
            Self::Internal(why) => format!("cannot answer: {why}\n"),
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Unauthenticated | Self::NotBearer => StatusCode::UNAUTHORIZED,
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::StrangeHost | Self::NotAdmin => StatusCode::FORBIDDEN,
            Self::NotReady | Self::AdminOff => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status(), self.text()).into_response();
        let headers = response.headers_mut();
        let bearer = HeaderValue::from_static("Bearer realm=\"pantau\"");
        match &self {
            Self::NotBearer => {
                headers.append(header::WWW_AUTHENTICATE, bearer);
            }
            Self::Unauthenticated => {
                headers.append(header::WWW_AUTHENTICATE, bearer);
                let basic = HeaderValue::from_static("Basic realm=\"pantau\", charset=\"UTF-8\"");
                headers.append(header::WWW_AUTHENTICATE, basic);
            }
            Self::TooMany(wait) => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
            }
            Self::NotReady => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(1));
            }
            Self::AdminOff | Self::NotAdmin => {
                headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            }
            Self::Malformed(_) | Self::StrangeHost | Self::Internal(_) => {}
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_a_loopback_host() {
        for host in [
            "localhost",
            "LocalHost:9797",
            "127.0.0.1:9797",
            "127.9.9.9",
            "[::1]:9797",
            "[::1]",
            "a.localhost",
        ] {
            assert!(is_loopback_host(host), "{host}");
        }
        for host in
            ["evil.example:9797", "10.0.0.1", "localhost.evil.example", "[2001:db8::1]:9797", "", "[::1"]
        {
            assert!(!is_loopback_host(host), "{host}");
        }
    }

    #[test]
    fn families_of_histograms_are_found_by_their_parts() {
        let names: Vec<String> = ["a_bucket", "b_total", "c"].map(str::to_owned).into();
        for (family, seen) in [("a", true), ("b", true), ("c", true), ("a_b", false), ("d", false)] {
            assert_eq!(has_series_of(&names, family), seen, "{family}");
        }
    }
}
