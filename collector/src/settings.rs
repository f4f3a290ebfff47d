//! The collector's settings: the whole file, read and checked.
//!
//! In: YAML (or nothing: every field has a default, and no file is the quick start). Out: [`Checked`], which cannot be wrong:
//! secrets are read, names are names, and a listener that leaves loopback has readers to ask for and TLS, or says `insecure`.
//! The sections stand beside the code that they configure; paths in the file start at the file's folder.

mod bounds;
mod within;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use model::RegionCode;
use serde::Deserialize;
use settings::{Mistake, Secret, SettingsError, Source};

use crate::auth::{Digest, ReaderEntry};
use crate::cors::Origins;
use crate::enrolment::check_name;
use crate::external::{ExternalLabels, ExternalUrl};
use crate::scope::{self, Scope};
use crate::{api, embedded, ingest, notify, queries, rules, server, storage};

pub use within::Within;

/// The address without settings.
pub const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9797);

const READERS_MAX: usize = 256;
const READER_TOKEN_BYTES_MIN: usize = 16;

/// The file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Address and port to listen on; 127.0.0.1:9797 by default.
    pub listen: Option<Listen>,
    /// Allows an address other than loopback without TLS: tokens and data can then be read on the way.
    pub insecure: bool,
    /// Folder of everything that is kept; `data` by default.
    pub data: Option<PathBuf>,
    /// Who this collector is.
    pub identity: Identity,
    /// TLS on the listener; none by default.
    #[serde(deserialize_with = "given")]
    pub tls: Option<Tls>,
    /// Who may read. Needed as soon as the listener leaves loopback.
    pub readers: Vec<Reader>,
    /// Bounds on connections and times.
    pub server: server::Config,
    /// Bounds on what is taken in.
    pub ingest: ingest::Config,
    /// How long and how much is kept.
    pub storage: Option<storage::Config>,
    /// What `storage` was called.
    pub retention: Option<storage::Config>,
    /// Bounds on queries.
    pub query: api::Config,
    /// The log of queries; none by default.
    pub query_log: queries::log::Config,
    /// Rules: which files, how often.
    pub rules: rules::Config,
    /// Alertmanagers that are told of alerts.
    pub alerting: notify::Alerting,
    /// Receivers of our own that are told of alerts.
    pub notify: notify::Config,
    /// Whether the paths under `/api/v1/admin/tsdb` answer, which delete series and copy the store; they do not by default.
    pub admin_api: bool,
    /// Labels of everything that leaves for another system: federation, remote read, alerts. None by default.
    pub external_labels: ExternalLabels,
    /// The address under which people reach this collector, for links in alerts; its name and port by default.
    pub external_url: Option<ExternalUrl>,
    /// A pattern for the origins of web pages that may read answers; no page may by default.
    pub cors_origin: Option<Origins>,
    /// The agent inside the collector.
    pub agent: embedded::Config,
}

impl Settings {
    /// The section on the store, and the name under which it stands in the file.
    fn storage(&self) -> (&'static str, storage::Config) {
        match (&self.storage, &self.retention) {
            (None, Some(old)) => ("retention", old.clone()),
            (new, _) => ("storage", new.clone().unwrap_or_default()),
        }
    }
}

/// An address with a port, as numbers: a name could stand for several addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Listen(SocketAddr);

impl TryFrom<String> for Listen {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        const USUAL: &str = "127.0.0.1:9797 for this machine alone, 0.0.0.0:9797 or [::]:9797 for all";
        let bad = |why: &str| Err(format!("{text:?} is no address to listen on: {why}"));
        if let Ok(address) = text.parse() {
            return Ok(Self(address));
        }
        if let Ok(address) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
            return bad(&format!("the port is missing; write {}", SocketAddr::new(address, LISTEN.port())));
        }
        let (host, port) = text.rsplit_once(':').unwrap_or((&text, "9797"));
        if host == "localhost" {
            return bad(&format!("names are not looked up here; write 127.0.0.1:{port}"));
        }
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return bad(&format!(
                "the address is missing; write 127.0.0.1:{text} for this machine alone, 0.0.0.0:{text} for all"
            ));
        }
        bad(&format!("write an IP address and a port from 0 to 65535, such as {USUAL}"))
    }
}

/// Labels of what the collector itself and its embedded agent report.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Identity {
    /// The government that runs this collector.
    pub region: Option<RegionCode>,
    /// The site that it stands in.
    pub site: Option<Name>,
    /// Its name; the machine's host name by default.
    pub instance: Option<Name>,
}

/// A name: 1 to 63 of a-z, A-Z, 0-9, '.', '_' and '-', beginning with a letter or digit.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Name(String);

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Name {
    type Error = crate::enrolment::EnrolmentError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        check_name("name", &text).map(|()| Self(text))
    }
}

/// `tls:` with nothing behind it asks for TLS as `tls: {}` does.
fn given<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Tls>, D::Error> {
    Option::<Tls>::deserialize(deserializer).map(|tls| Some(tls.unwrap_or_default()))
}

/// TLS on the listener.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// Certificate chain, PEM; what `tls init` made by default.
    pub certificate: Option<PathBuf>,
    /// Its private key, PEM; what `tls init` made by default.
    pub key: Option<PathBuf>,
}

/// Someone who may read.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reader {
    /// A name for logs.
    pub name: Name,
    /// A bearer token of at least 16 bytes; or `basic`.
    pub token: Option<Secret>,
    /// A user with a password; or `token`.
    pub basic: Option<Basic>,
    /// What it may see; everything by default.
    #[serde(default)]
    pub scope: ScopeSettings,
    /// Whether it may use what `admin_api` opens. Only who sees everything may.
    #[serde(default)]
    pub admin: bool,
}

/// Basic authentication.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Basic {
    /// The user's name.
    pub user: String,
    /// The user's password.
    pub password: Secret,
}

/// What a reader may see.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScopeSettings {
    /// Only these regions, with what lies in them.
    pub regions: Vec<RegionCode>,
    /// Only these sites.
    pub sites: Vec<Name>,
}

/// Certificate and key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificate chain.
    pub certificate: PathBuf,
    /// Private key.
    pub key: PathBuf,
}

/// Settings that cannot be wrong.
#[derive(Clone, Debug)]
pub struct Checked {
    /// Address and port to listen on.
    pub listen: SocketAddr,
    /// Folder of everything that is kept.
    pub data: PathBuf,
    /// The government that runs this collector.
    pub region: Option<RegionCode>,
    /// The site that it stands in.
    pub site: Option<String>,
    /// Its name.
    pub instance: String,
    /// TLS on the listener.
    pub tls: Option<TlsFiles>,
    /// Who may read.
    pub readers: Vec<ReaderEntry>,
    /// Bounds on connections and times.
    pub server: server::Config,
    /// Bounds on what is taken in.
    pub ingest: ingest::Config,
    /// How long and how much is kept.
    pub storage: storage::Config,
    /// The name under which that stands in the file.
    pub storage_key: &'static str,
    /// Bounds on queries.
    pub query: api::Config,
    /// The log of queries.
    pub query_log: queries::log::Config,
    /// Rules: which files, how often.
    pub rules: rules::Config,
    /// Who is told of alerts.
    pub told: notify::Told,
    /// Whether the store can be changed over HTTP.
    pub admin_api: bool,
    /// Labels of everything that leaves for another system.
    pub external_labels: ExternalLabels,
    /// The address under which people reach this collector.
    pub external_url: ExternalUrl,
    /// Origins of web pages that may read answers.
    pub cors_origin: Option<Origins>,
    /// The agent inside the collector.
    pub agent: embedded::Config,
    /// Folder from which the file's paths start.
    pub base: PathBuf,
    /// Whether the settings come from a file.
    pub from_file: bool,
    /// The text, by which mistakes are placed.
    source: Source,
}

impl Checked {
    /// The settings without a file.
    pub fn quickstart() -> Result<Self, SettingsError> {
        Self::from_source(Source::new("", "defaults"), Path::new(""))
            .map(|checked| Self { from_file: false, ..checked })
    }

    /// Reads and checks a file.
    pub fn load(path: &Path) -> Result<Self, SettingsError> {
        Self::from_source(Source::read(path)?, path.parent().unwrap_or(Path::new("")))
    }

    /// Reads and checks a text; `name` stands for the file in errors, `base` for its folder.
    pub fn parse(text: &str, name: &str, base: &Path) -> Result<Self, SettingsError> {
        Self::from_source(Source::new(text, name), base)
    }

    fn from_source(source: Source, base: &Path) -> Result<Self, SettingsError> {
        let checked = source.parse::<Settings>()?.check(base);
        let mut checked = checked.map_err(|mistake| source.wrong(&mistake))?;
        checked.source = source;
        Ok(checked)
    }

    /// A mistake at the place in the file where it stands.
    pub fn wrong(&self, mistake: &Mistake) -> SettingsError {
        self.source.wrong(mistake)
    }

    /// The text once more, as another type that reads YAML: what the API shows of it.
    pub(crate) fn parsed<T: serde::de::DeserializeOwned>(&self) -> Result<T, SettingsError> {
        self.source.parse()
    }

    /// The file that the settings come from.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.from_file.then(|| Path::new(self.source.name()))
    }

    /// What `check` looks at beyond reading the settings: what a run needs and other commands make or can do without
    /// (certificates), and files that inputs read while they run.
    pub fn check_files(&self) -> Result<(), SettingsError> {
        self.find_wrong_file().map_err(|mistake| self.wrong(&mistake))
    }

    fn find_wrong_file(&self) -> Result<(), Mistake> {
        if let Some(files) = &self.tls {
            crate::tls::Certificate::load(files).map_err(|error| error.mistake().under("tls"))?;
        }
        self.rules
            .load(&self.base, self.query.features.features())
            .map_err(|mistake| mistake.under("rules"))?;
        bounds::check_disk(&self.storage, &self.data).map_err(|mistake| mistake.under(self.storage_key))?;
        let under_agent = |mistake: Mistake| mistake.under("agent");
        let collection = self.agent.collection(&self.instance, &self.base).map_err(under_agent)?;
        let inputs = pantau_agent::inputs::check_files(&collection.inputs, &collection.context());
        inputs.map_err(|mistake| under_agent(mistake.under("inputs")))
    }
}

impl Settings {
    fn check(self, base: &Path) -> Result<Checked, Mistake> {
        let data = self.data.clone().map_or(base.join("data"), |data| base.join(data));
        if data.exists() && !data.is_dir() {
            let why =
                format!("{} is no folder: write the path of one, which is made if need be", data.display());
            return Err(Mistake::at("data", why));
        }
        let in_data = |given: Option<PathBuf>, usual: &str| {
            given.map_or_else(|| data.join(crate::tls::FOLDER).join(usual), |given| base.join(given))
        };
        let tls = self.tls.clone().map(|tls| TlsFiles {
            certificate: in_data(tls.certificate, crate::tls::CERTIFICATE),
            key: in_data(tls.key, crate::tls::KEY),
        });
        let listen = self.listen.map_or(LISTEN, |listen| listen.0);
        if !listen.ip().is_loopback() {
            check_exposed(listen, tls.is_some() || self.insecure, !self.readers.is_empty())?;
        }
        let readers = check_readers(&self.readers, base)?;
        bounds::check(&self)?;
        let (storage_key, storage) = self.storage();
        let instance = self.identity.instance.map_or_else(host_name, |instance| instance.0);
        self.agent.collection(&instance, base).map_err(|mistake| mistake.under("agent"))?;
        let told = notify::Told { alerting: self.alerting, notify: self.notify };
        told.check(base)?;
        let external_url = self
            .external_url
            .unwrap_or_else(|| ExternalUrl::usual(self.tls.is_some(), &instance, listen.port()));
        Ok(Checked {
            listen,
            external_labels: self.external_labels,
            external_url,
            cors_origin: self.cors_origin,
            region: self.identity.region,
            site: self.identity.site.map(|site| site.0),
            instance,
            tls,
            readers,
            server: self.server,
            ingest: self.ingest,
            storage,
            storage_key,
            query: self.query,
            query_log: self.query_log,
            rules: self.rules,
            told,
            admin_api: self.admin_api,
            agent: self.agent,
            data,
            base: base.to_owned(),
            from_file: true,
            source: Source::default(),
        })
    }
}

fn check_exposed(listen: SocketAddr, safe: bool, has_readers: bool) -> Result<(), Mistake> {
    let wrong = |why| Err(Mistake::at("listen", format!("{listen} can be reached from other machines{why}")));
    if !safe {
        return wrong(
            ", and without TLS tokens and data can be read on the way: run `pantau-collector tls init` and add `tls: {}`, or say \
             `insecure: true` if something else protects the way",
        );
    }
    if !has_readers {
        return wrong(
            ": say under `readers` who may read, for example `readers: [{name: grafana, token: {file: grafana.token}}]`",
        );
    }
    Ok(())
}

fn check_readers(readers: &[Reader], base: &Path) -> Result<Vec<ReaderEntry>, Mistake> {
    let mut entries: Vec<ReaderEntry> = Vec::new();
    for (index, reader) in readers.iter().enumerate() {
        let placed = |mistake: Mistake| mistake.item(index).under("readers");
        if index >= READERS_MAX {
            return Err(placed(Mistake::new(format!("more than {READERS_MAX} readers"))));
        }
        let entry = check_reader(reader, base).map_err(placed)?;
        if let Some(twin) = entries.iter().find(|have| have.name == entry.name) {
            let why = format!("another reader has the name {:?}: each needs its own", twin.name);
            return Err(placed(Mistake::at("name", why)));
        }
        if let Some(twin) = entries.iter().find(|have| have.user == entry.user && have.secret == entry.secret)
        {
            let why = format!(
                "reader {:?} has the same credentials, so that nobody can tell them apart",
                twin.name
            );
            return Err(placed(Mistake::new(why)));
        }
        entries.push(entry);
    }
    Ok(entries)
}

fn check_reader(reader: &Reader, base: &Path) -> Result<ReaderEntry, Mistake> {
    let name = &reader.name.0;
    let read =
        |secret: &Secret, key: &str| secret.read(base).map_err(|error| Mistake::at(key, error.to_string()));
    let (user, secret) = match (&reader.token, &reader.basic) {
        (Some(token), None) => {
            let token = read(token, "token")?;
            if token.expose().len() < READER_TOKEN_BYTES_MIN {
                let why = format!(
                    "the token of reader {name:?} is shorter than {READER_TOKEN_BYTES_MIN} bytes: make one with `openssl rand -base64 32`"
                );
                return Err(Mistake::at("token", why));
            }
            (None, Digest::of(token.expose()))
        }
        (None, Some(basic)) => {
            check_user(&basic.user).map_err(|mistake| mistake.under("basic"))?;
            let password = read(&basic.password, "password").map_err(|mistake| mistake.under("basic"))?;
            (Some(Digest::of(&basic.user)), Digest::of(password.expose()))
        }
        _ => return Err(Mistake::new(format!("reader {name:?} needs either `token` or `basic`"))),
    };
    let (regions, sites) = (&reader.scope.regions, &reader.scope.sites);
    if regions.len() > scope::ENTRIES_MAX || sites.len() > scope::ENTRIES_MAX {
        let why = format!("it names at most {} regions and sites", scope::ENTRIES_MAX);
        return Err(Mistake::at("scope", why));
    }
    let scope = Scope::new(regions.clone(), sites.iter().map(|site| site.0.clone()).collect());
    if reader.admin && !scope.is_everything() {
        let why =
            format!("reader {name:?} sees only a part: what an administrator does changes the whole store");
        return Err(Mistake::at("admin", why));
    }
    Ok(ReaderEntry { name: name.clone(), user, secret, scope, admin: reader.admin })
}

fn check_user(user: &str) -> Result<(), Mistake> {
    let why = if user.is_empty() {
        "it is empty: write a name"
    } else if user.contains(':') || user.contains(char::is_control) {
        "a name with \":\" cannot log in, because in basic authentication the password begins behind the first one"
    } else {
        return Ok(());
    };
    Err(Mistake::at("user", why))
}

fn host_name() -> String {
    #[cfg(unix)]
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    #[cfg(not(unix))]
    let name = std::env::var("COMPUTERNAME").unwrap_or_default();
    if name.is_empty() { "localhost".into() } else { name }
}

#[cfg(test)]
mod tests;
