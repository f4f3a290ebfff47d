//! The agent's settings: strict YAML, every mistake with file, line and column.
//!
//! [`Settings`] is the whole file of `pantau-agent`; [`Collection`] is the part that an embedding program needs (its own
//! section `agent`, say). Every field has a default but for the uplink's collectors and token.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use journal::SyncPolicy;
use model::Labels;
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize};
use settings::{Bytes, Mistake, Secret, SettingsError, Source, Span};

use crate::inputs;

const NO_UPLINK: &str = "the settings have no section uplink, which says where to send and with which token: \
                         `pantau-collector agents add NAME --region CODE --site SITE` on the collector's machine prints it";

/// The settings file of `pantau-agent`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Who this is.
    #[serde(default)]
    pub identity: Identity,
    /// What it watches.
    #[serde(default)]
    pub inputs: inputs::Config,
    /// Where batches are safe until a collector has them.
    #[serde(default)]
    pub spool: Spool,
    /// Where batches go. Left out only for `once`.
    pub uplink: Option<Uplink>,
    /// Bounds on memory.
    #[serde(default)]
    pub limits: Limits,
    /// How much is logged.
    #[serde(default)]
    pub log: Log,
    /// Folder of the settings file: relative paths start there.
    #[serde(skip)]
    pub base: PathBuf,
    /// The file's text, by which mistakes are placed.
    #[serde(skip)]
    source: Source,
}

/// What an embedding program needs: identity, inputs and limits.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Collection {
    /// Who this is.
    pub identity: Identity,
    /// What it watches.
    pub inputs: inputs::Config,
    /// Bounds on memory.
    pub limits: Limits,
    /// Folder of the settings file: relative paths start there.
    #[serde(skip)]
    pub base: PathBuf,
    /// Folder of what inputs remember across restarts; none: they forget.
    #[serde(skip)]
    pub state: Option<PathBuf>,
    /// Whether that folder is another program's, which may be running.
    #[serde(skip)]
    pub looks_only: bool,
}

/// The section `identity`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Identity {
    /// The label `instance` of what speaks of this machine; by default the machine's host name.
    pub instance: Option<Name>,
    /// Extra labels for every series. `region` and `site` are the collector's to say.
    pub labels: ExtraLabels,
}

/// The section `spool`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Spool {
    /// Its folder, made if need be.
    pub folder: PathBuf,
    /// The most that it may hold; past it the oldest batches are shed, and the collector is told.
    pub bytes_max: Bytes,
    /// `always`: each batch is synced before it counts as taken. A span such as `15s`: the disk is synced that often, for SD cards
    /// and eMMC that die of one sync a batch; a power cut can then cost that much of the latest data.
    pub sync: Sync,
}

impl Default for Spool {
    fn default() -> Self {
        Self {
            folder: "/var/lib/pantau-agent/spool".into(),
            bytes_max: Bytes::new(1 << 30),
            sync: Sync::Always,
        }
    }
}

impl Spool {
    /// The smallest bound on a spool: a few segments.
    pub const BYTES_MIN: u64 = 4 << 20;

    /// Batches older than this are shed; a collector must accept all younger ones.
    pub const AGE_MAX: Duration = crate::spool::AGE_MAX;

    fn check(&self, base: &Path) -> Result<(), Mistake> {
        let least = Bytes::new(Self::BYTES_MIN);
        if self.bytes_max < least {
            return Err(Mistake::at("bytes_max", format!("{} is less than {least}", self.bytes_max)));
        }
        let folder = base.join(&self.folder);
        if self.folder.as_os_str().is_empty() || (folder.exists() && !folder.is_dir()) {
            let why =
                format!("{:?} is no folder: write the path of one, which is made if need be", self.folder);
            return Err(Mistake::at("folder", why));
        }
        Ok(())
    }
}

/// When the spool is synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// Before a batch counts as taken.
    Always,
    /// This often.
    Every(Duration),
}

impl Sync {
    const SPAN_MAX: Duration = Duration::from_secs(300);

    pub(crate) fn policy(self) -> SyncPolicy {
        match self {
            Self::Always => SyncPolicy::Always,
            Self::Every(span) => SyncPolicy::Every(span),
        }
    }
}

/// The section `uplink`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Uplink {
    /// Addresses of collectors such as `https://pantau.example.go.id:9797`; the first that answers is used.
    pub collectors: Vec<CollectorUrl>,
    /// The token that `pantau-collector agents add` printed, as `{file: …}` or `{env: …}`.
    pub token: Secret,
    /// The CA's SHA-256 fingerprint that `pantau-collector agents add` printed: only certificates of this CA are believed.
    #[serde(default)]
    pub ca_fingerprint: Option<Fingerprint>,
    /// A PEM file of the CAs to believe, instead of those of the system.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// An HTTP proxy such as `http://proxy.example.go.id:3128`; requests over TLS pass it by CONNECT.
    #[serde(default)]
    pub proxy: Option<ProxyUrl>,
    /// How long one request may take in all.
    #[serde(default = "Uplink::default_timeout")]
    pub timeout: Span,
    /// How long a connection may take to come about.
    #[serde(default = "Uplink::default_connect_timeout")]
    pub connect_timeout: Span,
    /// Allows `http://` to addresses that are not this machine's own: token and data can be read on the way.
    #[serde(default)]
    pub insecure: bool,
}

impl Uplink {
    /// The most collectors.
    pub const COLLECTORS_MAX: usize = 16;

    /// Longer than this an answer is none.
    const TIMEOUT_MAX: Span = Span::from_secs(600);

    const fn default_timeout() -> Span {
        Span::from_secs(30)
    }

    const fn default_connect_timeout() -> Span {
        Span::from_secs(10)
    }
}

/// The section `limits`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Series that one target may have at once; further ones are refused and counted.
    pub series_per_target_max: usize,
    /// Batches in memory while the disk takes none, or while an embedding collector is not ready.
    pub memory_bytes_max: Bytes,
}

impl Limits {
    /// Room for one small batch.
    const MEMORY_BYTES_MIN: Bytes = Bytes::new(64 << 10);

    fn check(&self) -> Result<(), Mistake> {
        if self.series_per_target_max == 0 {
            let why = "with 0 series nothing is kept: write 1 or more, or leave it out for 50000";
            return Err(Mistake::at("series_per_target_max", why));
        }
        if self.memory_bytes_max < Self::MEMORY_BYTES_MIN {
            let why = format!(
                "{} holds no batch: write {} or more, or leave it out for 8MiB",
                self.memory_bytes_max,
                Self::MEMORY_BYTES_MIN
            );
            return Err(Mistake::at("memory_bytes_max", why));
        }
        Ok(())
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { series_per_target_max: 50_000, memory_bytes_max: Bytes::new(8 << 20) }
    }
}

/// The section `log`: how much is said on standard error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Log {
    /// Only what needs a person.
    Error,
    /// What may need a person.
    Warn,
    /// The life of the program.
    #[default]
    Info,
    /// For the one who looks for a fault.
    Debug,
}

impl Log {
    /// As the logs know it.
    pub fn level(self) -> telemetry::logs::Level {
        match self {
            Self::Error => telemetry::logs::Level::Error,
            Self::Warn => telemetry::logs::Level::Warn,
            Self::Info => telemetry::logs::Level::Info,
            Self::Debug => telemetry::logs::Level::Debug,
        }
    }
}

/// A name of 1 to 128 printable characters without spaces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Name(String);

impl Name {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fits = (1..=128).contains(&text.chars().count())
            && text.chars().all(|c| !c.is_whitespace() && !c.is_control());
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("{text:?} is no name: write 1 to 128 characters without spaces, such as kudus-gw-1"))
        }
    }
}

/// Extra labels; names that have a meaning of their own are refused.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct ExtraLabels(pub Labels);

impl ExtraLabels {
    const COUNT_MAX: usize = 32;
    const RESERVED: [&'static str; 5] = ["job", "instance", "region", "site", "agent"];
}

impl<'de> Deserialize<'de> for ExtraLabels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pairs = BTreeMap::<LabelName, String>::deserialize(deserializer)?;
        if pairs.len() > Self::COUNT_MAX {
            return Err(de::Error::custom(format!(
                "{} labels are more than the {} allowed",
                pairs.len(),
                Self::COUNT_MAX
            )));
        }
        Ok(Self(Labels::from_pairs(pairs.iter().map(|(name, value)| (name.0.as_str(), value)))))
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct LabelName(String);

impl FromStr for LabelName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !model::is_label_name(text) || text.starts_with("__") {
            return Err(format!("{text:?} is no label name: write letters, digits and _, such as rack"));
        }
        if ExtraLabels::RESERVED.contains(&text) {
            return Err(format!(
                "the label {text:?} is not for extra labels: job and instance belong to the inputs, the others to the collector"
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

/// The SHA-256 of a certificate, written `sha256:` and 64 hexadecimal digits, colons between bytes allowed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 32]);

impl fmt::Debug for Fingerprint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

impl FromStr for Fingerprint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || {
            format!(
                "{text:?} is no fingerprint: write sha256: and the 64 hexadecimal digits that `agents add` printed"
            )
        };
        let digits = text.strip_prefix("sha256:").unwrap_or(text).replace(':', "");
        if digits.len() != 64 || !digits.is_ascii() {
            return Err(bad());
        }
        let mut bytes = [0; 32];
        for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&digits[at..at + 2], 16).map_err(|_| bad())?;
        }
        Ok(Self(bytes))
    }
}

/// `https://host:port` of a collector, or `http://` where that is allowed; a path before `/api/v1/write` is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectorUrl(String);

impl CollectorUrl {
    /// The address without a slash at its end.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether what is sent is encrypted.
    pub fn is_tls(&self) -> bool {
        self.0.starts_with("https://")
    }

    fn is_own_machine(&self) -> bool {
        let rest = self.0.split_once("://").map_or("", |(_, rest)| rest);
        let authority = rest.split('/').next().unwrap_or_default();
        let host = if authority.starts_with('[') {
            authority.split_once(']').map_or(authority, |(host, _)| &host[1..])
        } else {
            authority.rsplit_once(':').map_or(authority, |(host, _)| host)
        };
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

impl FromStr for CollectorUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = |why| Err(format!("{text:?} is no collector's address: {why}; write https://host:9797"));
        let Ok(url) = reqwest::Url::parse(text) else { return bad("it is no URL") };
        if !matches!(url.scheme(), "https" | "http") || url.host_str().is_none_or(str::is_empty) {
            return bad("it must begin with https:// and name a host");
        }
        if !url.username().is_empty()
            || url.password().is_some()
            || url.query().is_some()
            || url.fragment().is_some()
        {
            return bad("user, query and fragment have no place in it");
        }
        Ok(Self(text.trim_end_matches('/').to_owned()))
    }
}

/// `http://host:port` of a proxy.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyUrl(String);

impl ProxyUrl {
    /// As text, with user and password if it has them.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// Without user and password.
impl fmt::Debug for ProxyUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.0.rsplit_once('@').map_or(self.0.as_str(), |(_, host)| host);
        write!(out, "{host:?}")
    }
}

impl FromStr for ProxyUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match reqwest::Url::parse(text) {
            Ok(url) if url.scheme() == "http" && url.host_str().is_some_and(|host| !host.is_empty()) => {
                Ok(Self(text.to_owned()))
            }
            // What was given may hold a password, so it is not repeated.
            _ => Err("this is no proxy's address: write http://host:3128".into()),
        }
    }
}

macro_rules! deserialize_by_parsing {
    ($($kind:ident),*) => {
        $(impl<'de> Deserialize<'de> for $kind {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        })*
    };
}

deserialize_by_parsing!(Name, LabelName, Fingerprint, CollectorUrl, ProxyUrl, Sync);

impl FromStr for Sync {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "always" {
            return Ok(Self::Always);
        }
        let span = text.parse::<Span>().map(Span::get).ok();
        let span = span.filter(|span| !span.is_zero() && *span <= Self::SPAN_MAX);
        span.map(Self::Every).ok_or_else(|| {
            format!("{text:?} is no way to sync: write always, or a span up to 5m such as 15s")
        })
    }
}

impl Settings {
    /// Reads a settings file and checks its values; everything that `once` needs.
    pub fn load(path: &Path) -> Result<Self, SettingsError> {
        Self::from_source(Source::read(path)?, path.parent().unwrap_or(Path::new("")))
    }

    fn from_source(source: Source, base: &Path) -> Result<Self, SettingsError> {
        let mut settings: Self = source.parse()?;
        settings.base = base.to_owned();
        settings.check().map_err(|mistake| source.wrong(&mistake))?;
        settings.source = source;
        Ok(settings)
    }

    /// A mistake at the place in the file where it stands.
    pub fn wrong(&self, mistake: &Mistake) -> SettingsError {
        self.source.wrong(mistake)
    }

    /// The section `uplink`, which only `once` can do without.
    pub fn uplink(&self) -> Result<&Uplink, SettingsError> {
        self.uplink.as_ref().ok_or_else(|| self.wrong(&Mistake::at("uplink", NO_UPLINK)))
    }

    /// What `check` looks at beyond [`Settings::load`]: the uplink with its token and CA, without which a run does not begin,
    /// and the files that inputs read while they run.
    pub fn check_files(&self) -> Result<(), SettingsError> {
        crate::uplink::check(self)?;
        let collection = self.collection();
        let inputs = inputs::check_files(&self.inputs, &collection.context());
        inputs.map_err(|mistake| self.wrong(&mistake.under("inputs")))
    }

    /// Checks what no single value shows.
    fn check(&self) -> Result<(), Mistake> {
        if let Some(uplink) = &self.uplink {
            uplink.check().map_err(|mistake| mistake.under("uplink"))?;
        }
        self.spool.check(&self.base).map_err(|mistake| mistake.under("spool"))?;
        self.collection().build_inputs().map(drop)
    }

    /// The part that says what is watched.
    pub fn collection(&self) -> Collection {
        Collection {
            identity: self.identity.clone(),
            inputs: self.inputs.clone(),
            limits: self.limits.clone(),
            base: self.base.clone(),
            // Beside the spool, which is the one folder that an agent may write in.
            state: self.base.join(&self.spool.folder).parent().map(PathBuf::from),
            looks_only: false,
        }
    }
}

impl Uplink {
    fn check(&self) -> Result<(), Mistake> {
        if self.collectors.is_empty() || self.collectors.len() > Self::COLLECTORS_MAX {
            let why = format!("it must name 1 to {} collectors", Self::COLLECTORS_MAX);
            return Err(Mistake::at("collectors", why));
        }
        if self.ca_fingerprint.is_some() && self.ca_file.is_some() {
            let why = "ca_fingerprint and ca_file exclude each other: leave one out";
            return Err(Mistake::at("ca_file", why));
        }
        for (key, span) in [("timeout", self.timeout), ("connect_timeout", self.connect_timeout)] {
            if span.get().is_zero() || span > Self::TIMEOUT_MAX {
                let why = format!(
                    "{span} is no time to wait: write more than 0s and at most {}",
                    Self::TIMEOUT_MAX
                );
                return Err(Mistake::at(key, why));
            }
        }
        let is_open = |url: &CollectorUrl| !url.is_tls() && !url.is_own_machine();
        match self.collectors.iter().position(is_open) {
            Some(index) if !self.insecure => {
                let why = format!(
                    "{} is not encrypted, so that anybody on the way can read the token: write https://, or set uplink.insecure: true",
                    self.collectors[index].as_str()
                );
                Err(Mistake::new(why).item(index).under("collectors"))
            }
            _ => Ok(()),
        }
    }
}

impl Collection {
    /// The label `instance` of what speaks of this machine.
    pub fn instance(&self) -> String {
        self.identity.instance.as_ref().map_or_else(host_name, |name| name.as_str().to_owned())
    }

    /// What the inputs are given.
    pub fn context(&self) -> inputs::Context {
        inputs::Context {
            instance: self.instance(),
            labels: self.identity.labels.0.clone(),
            base: self.base.clone(),
            state: self.state.clone().map(|folder| inputs::State { folder, looks_only: self.looks_only }),
            series_max: self.limits.series_per_target_max,
        }
    }

    /// Checks the limits and makes the target sets; starts nothing.
    pub fn build_inputs(&self) -> Result<Vec<Box<dyn inputs::TargetSet>>, Mistake> {
        self.limits.check().map_err(|mistake| mistake.under("limits"))?;
        inputs::build(&self.inputs, &self.context()).map_err(|mistake| mistake.under("inputs"))
    }
}

fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if name.is_empty() { "localhost".into() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let source = Source::new(text, "agent.yaml");
        let error = Settings::from_source(source, Path::new("/nowhere")).expect_err("the settings are wrong");
        assert!(error.to_string().contains(expected), "{error:?} should contain {expected:?}");
    }

    #[test]
    fn the_example_is_good_and_shows_the_defaults() {
        let example: Settings =
            settings::parse(include_str!("../../configs/agent.yaml"), "agent.yaml").expect("a good example");
        example.check().expect("a good example");
        let mut plain = Settings { uplink: example.uplink.clone(), ..Settings::default() };
        plain.inputs.host = example.inputs.host.clone(); // it shows three fields of many, each of which is checked here
        assert_eq!(plain, example);
        assert_eq!(example.inputs.host, inputs::Config::default().host);
    }

    const UPLINK: &str = "uplink:\n  token: {env: T}\n  collectors: [";

    #[test]
    fn an_empty_file_is_all_defaults() {
        let settings: Settings = settings::parse("", "agent.yaml").expect("defaults");
        settings.check().expect("defaults are right");
        assert_eq!(settings.spool.bytes_max.get(), 1 << 30);
        assert!(!settings.collection().instance().is_empty());
    }

    #[test]
    fn mistakes_are_named_at_their_place() {
        check("identity: {instance: a b}\n", "agent.yaml:1:22: ");
        check("identity: {labels: {region: x}}\n", "belong");
        check("identity: {labels: {\"a-b\": x}}\n", "agent.yaml:1:");
        check("spool: {sync: sometimes}\n", "agent.yaml:1:15: ");
        check("spool: {sync: 1h}\n", "up to 5m");
        check("spool: {bytes_max: 1KiB}\n", "agent.yaml:1:20: spool.bytes_max: 1KiB is less than 4MiB");
        check("spool: {folder: ''}\n", "agent.yaml:1:17: spool.folder: \"\" is no folder");
        check("spool:\n  folder: /dev/null\n", "agent.yaml:2:11: spool.folder: \"/dev/null\" is no folder");
        check("uplnk: {}\n", "agent.yaml:1:1: ");
        check("uplink: {collectors: [https://a]}\n", "token");
    }

    #[test]
    fn mistakes_of_several_fields_are_named_at_the_field_concerned() {
        check(
            "limits:\n  memory_bytes_max: 0\n",
            "agent.yaml:2:21: limits.memory_bytes_max: 0 holds no batch",
        );
        check("limits:\n  series_per_target_max: 0\n", "agent.yaml:2:26: limits.series_per_target_max: ");
        check(
            &format!("{UPLINK}https://a]\n  timeout: 0s\n"),
            "agent.yaml:4:12: uplink.timeout: 0s is no time",
        );
        check(
            &format!("{UPLINK}https://a]\n  connect_timeout: 1d\n"),
            "agent.yaml:4:20: uplink.connect_timeout: ",
        );
        check(
            &format!("{UPLINK}https://a, http://b]\n"),
            "agent.yaml:3:27: uplink.collectors[1]: http://b is not",
        );
        let both = format!("{UPLINK}https://a]\n  ca_file: x\n  ca_fingerprint: \"{}\"\n", "ab".repeat(32));
        check(&both, "agent.yaml:4:12: uplink.ca_file: ");
        check(
            "inputs:\n  host:\n    timeout: 1m\n",
            "agent.yaml:3:14: inputs.host.timeout: 1m must lie between",
        );
        check(
            "inputs:\n  scrape:\n    - job_name: a\n      scrape_timeout: 1m\n",
            "agent.yaml:4:23: inputs.scrape[0].scrape_timeout: 1m is longer",
        );
        check(
            "inputs:\n  snmp:\n    - community: {file: none}\n      targets: [{address: a}]\n",
            "agent.yaml:4:17: inputs.snmp[0].targets[0].community: target a: cannot read the secret",
        );
        check(
            "inputs: {snmp: [{retries: 99, targets: []}]}\n",
            "agent.yaml:1:27: inputs.snmp[0].retries: 99 are too many",
        );
    }

    fn check_files(text: &str, folder: &Path, expected: &str) {
        let settings = Settings::from_source(Source::new(text, "agent.yaml"), folder).expect("good values");
        let said = settings.check_files().map_or_else(|error| error.to_string(), |()| "good".into());
        assert!(said.starts_with(expected), "{said:?} should begin with {expected:?}");
    }

    #[test]
    fn check_says_which_file_is_missing_or_empty() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("written");
        check_files("", folder.path(), "agent.yaml:1:1: uplink: the settings have no section uplink");
        let text = "uplink:\n  collectors: [https://a]\n  token: {file: token}\n";
        check_files(text, folder.path(), "agent.yaml:3:10: uplink.token: cannot read the secret in ");
        write("token", "\n");
        check_files(text, folder.path(), "agent.yaml:3:10: uplink.token: the secret in ");
        write("token", "two words");
        check_files(text, folder.path(), "agent.yaml:3:10: uplink.token: the token holds characters");
        write("token", "pantau_abc\n");
        let with_ca = format!("{text}  ca_file: ca.pem\n");
        check_files(&with_ca, folder.path(), "agent.yaml:4:12: uplink.ca_file: cannot read the CAs in ");
        write("ca.pem", "");
        check_files(&with_ca, folder.path(), "agent.yaml:4:12: uplink.ca_file: cannot read the CAs in ");
        let plain = "uplink: {collectors: [http://127.0.0.1:1], token: {file: token}}\n";
        check_files(plain, folder.path(), "good");
        let textfile = format!("{plain}inputs: {{host: {{textfile: {{folders: [none]}}}}}}\n");
        check_files(
            &textfile,
            folder.path(),
            "agent.yaml:2:38: inputs.host.textfile.folders[0]: there is no folder",
        );
        let nobody = format!("{plain}inputs: {{host: {{collectors: {{include: cpuu}}}}}}\n");
        check_files(
            &nobody,
            folder.path(),
            "agent.yaml:2:29: inputs.host.collectors: no collector has such a name",
        );
    }

    #[test]
    fn an_open_way_is_refused_unless_it_is_this_machine_or_asked_for() {
        check(&format!("{UPLINK}\"http://pantau.example:9797\"]\n"), "insecure: true");
        check(&format!("{UPLINK}]\n"), "1 to 16");
        check(&format!("{UPLINK}\"ftp://a\"]\n"), "https://");
        check(&format!("{UPLINK}\"https://u:p@a\"]\n"), "no place");
        for own in
            ["http://127.0.0.1:9797", "http://[::1]:9797/x/", "http://localhost:1", "https://a.example"]
        {
            let settings: Settings = settings::parse(&format!("{UPLINK}\"{own}\"]\n"), "x").expect("good");
            settings.check().unwrap_or_else(|why| panic!("{own}: {why}"));
        }
        let asked = format!("{UPLINK}\"http://a.example:9797\"]\n  insecure: true\n");
        settings::parse::<Settings>(&asked, "x").expect("good").check().expect("asked for");
    }

    #[test]
    fn a_fingerprint_reads_with_and_without_colons() {
        let plain = "ab".repeat(32);
        let fingerprint: Fingerprint = format!("sha256:{plain}").parse().expect("good");
        assert_eq!(format!("{fingerprint:?}"), format!("sha256:{plain}"));
        let colons: Vec<&str> = ["AB"; 32].to_vec();
        assert_eq!(colons.join(":").parse(), Ok(fingerprint));
        assert!("sha256:ab".parse::<Fingerprint>().is_err());
    }

    #[test]
    fn a_proxys_password_is_not_printed() {
        let proxy: ProxyUrl = "http://user:hunter2@proxy:3128".parse().expect("good");
        assert!(!format!("{proxy:?}").contains("hunter2"));
        let error = "socks://user:hunter2@proxy".parse::<ProxyUrl>().expect_err("no HTTP proxy");
        assert!(!error.contains("hunter2"));
    }

    /// What every mistake is answered, as it stood when somebody last read it; renewed with PANTAU_GOLDEN=1.
    #[test]
    fn mistakes_are_answered_as_the_golden_file_says() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/settings/golden/mistakes.txt");
        let said = |text: &str| match Settings::from_source(
            Source::new(text, "agent.yaml"),
            Path::new("/nowhere"),
        ) {
            Err(error) => error.to_string(),
            Ok(settings) => settings.check_files().expect_err("every case is a mistake").to_string(),
        };
        settings::golden::check(&path, said);
    }
}
