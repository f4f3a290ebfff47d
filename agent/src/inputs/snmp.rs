//! Network devices over SNMP v1 and v2c: the system group, ifTable and ifXTable under snmp_exporter's names.
//!
//! In: targets from the settings and from files that are read again when they change. Out: per device `up`, the series of
//! snmp_exporter's `if_mib` and `system` modules, and what the round cost. A table that ends early says so in
//! `pantau_snmp_walk_complete` and, with its reason, in `pantau_snmp_walks_ended_early_total`; it does not take other tables with it.
//!
//! Identity: `ifIndex` is the first index seen for (device, ifName), see [`Memory`]; the current one stands in `snmp_interface_info`.
//!
//! Not here: device profiles, discovery, traps, v3.
//!
//! Limits: [`TARGETS_MAX`] targets a group; rows a table, series a device and the time of a round as the settings say; a text is cut
//! at 1,024 bytes.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use journal::disk::RealDisk;
use model::{Labels, is_label_name};
use regex::Regex;
use serde::Deserialize;
use settings::{Mistake, Secret, Source, Span};
use snmp::Community;
use snmp::engine::{Engine, Handle};

use crate::inputs::{CollectError, Context, Input, Target, TargetSet};

mod device;
mod identity;
mod if_mib;
mod if_type;

pub use identity::Memory;

use device::Device;

/// Targets in one group.
pub const TARGETS_MAX: usize = 20_000;
/// Where SNMP agents listen.
const PORT: u16 = 161;

/// A group of devices that are asked alike.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Devices.
    #[serde(default)]
    pub targets: Vec<TargetConfig>,
    /// Files that hold further lists of devices, in YAML or JSON; read again when they change. Relative paths start at the settings
    /// file.
    #[serde(default)]
    pub files: Vec<PathBuf>,
    /// Where the community is kept. No default: a device that is given none here and none of its own is refused.
    #[serde(default)]
    pub community: Option<Secret>,
    /// Protocol version.
    #[serde(default)]
    pub version: Version,
    /// How long each try waits for a reply. Satellite links want 3 s and more.
    #[serde(default = "default_timeout")]
    pub timeout: Span,
    /// Tries after the first.
    #[serde(default = "default_retries")]
    pub retries: u32,
    /// How often each device is asked.
    #[serde(default = "default_interval")]
    pub interval: Span,
    /// The label `job`.
    #[serde(default = "default_job")]
    pub job: String,
    /// Further labels of every series.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Interfaces whose ifName (ifDescr where that is empty) matches this regular expression are counted and left out. The default
    /// leaves out the interfaces that RouterOS makes for each dial-in session; `""` leaves out none.
    #[serde(default = "default_interfaces_exclude")]
    pub interfaces_exclude: String,
    /// Rows that one table may have.
    #[serde(default = "default_rows_max")]
    pub rows_max: u32,
    /// Series that one device may have; the agent's bound where it is not given.
    #[serde(default)]
    pub series_max: Option<usize>,
}

/// One device.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetConfig {
    /// Address or host name, with a port where it is not 161: `10.0.0.1`, `[fd00::1]:1161`, `sw1.example.net`.
    pub address: String,
    /// The label `instance`; the address where it is not given. Keep it when the address changes.
    #[serde(default)]
    pub name: Option<String>,
    /// Overrides the group's.
    #[serde(default)]
    pub community: Option<Secret>,
    /// Overrides the group's.
    #[serde(default)]
    pub version: Option<Version>,
    /// Overrides the group's.
    #[serde(default)]
    pub timeout: Option<Span>,
    /// Overrides the group's.
    #[serde(default)]
    pub retries: Option<u32>,
    /// Overrides the group's.
    #[serde(default)]
    pub interval: Option<Span>,
    /// Further labels, over the group's.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// Protocol version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Version {
    /// SNMPv1: only for what knows nothing better.
    V1,
    /// SNMPv2c.
    #[default]
    V2c,
}

impl From<Version> for snmp::Version {
    fn from(version: Version) -> Self {
        match version {
            Version::V1 => Self::V1,
            Version::V2c => Self::V2c,
        }
    }
}

fn default_timeout() -> Span {
    Span::from_secs(3)
}

fn default_retries() -> u32 {
    2
}

fn default_interval() -> Span {
    Span::from_secs(60)
}

fn default_job() -> String {
    "snmp".to_owned()
}

fn default_interfaces_exclude() -> String {
    "^<(pppoe|pptp|l2tp|sstp|ovpn)-".to_owned()
}

fn default_rows_max() -> u32 {
    20_000
}

/// Makes a set of targets for each group. Reads settings, files and communities, asks nobody.
///
/// # Errors
/// The first thing that is wrong, placed from the list on.
pub fn build(configs: &[Config], context: &Context) -> Result<Vec<Box<dyn TargetSet>>, Mistake> {
    let memory = match &context.state {
        Some(folder) => Memory::in_folder(Arc::new(RealDisk), folder),
        None => Memory::volatile(),
    };
    let shared = Shared::new(memory);
    let group = |(index, config): (usize, &Config)| -> Result<Box<dyn TargetSet>, Mistake> {
        let group = Group::new(config.clone(), context.clone(), shared.clone());
        Ok(Box::new(group.map_err(|mistake| mistake.item(index))?))
    };
    configs.iter().enumerate().map(group).collect()
}

/// The most tries after the first: a device that does not answer these is down, and others wait.
const RETRIES_MAX: u32 = 7;

fn check_retries(retries: u32) -> Result<(), Mistake> {
    if retries <= RETRIES_MAX {
        return Ok(());
    }
    Err(Mistake::at("retries", format!("{retries} are too many: write 0 to {RETRIES_MAX}")))
}

/// What concerns a group as a whole.
fn check(config: &Config) -> Result<(), Mistake> {
    super::check_interval("interval", config.interval)?;
    check_retries(config.retries)?;
    let bad = |key, why: &str| Err(Mistake::at(key, why));
    if config.job.is_empty() {
        return bad("job", "it is empty: write snmp, or another name");
    }
    if config.rows_max == 0 {
        return bad("rows_max", "with 0 rows no table can be read: write 1 or more");
    }
    if config.series_max == Some(0) {
        return bad("series_max", "with 0 series nothing is kept: write 1 or more, or leave it out");
    }
    Ok(())
}

/// Devices of one group, each under its own name.
#[derive(Default)]
struct Plans {
    list: Vec<Plan>,
    names: HashSet<String>,
}

impl Plans {
    fn add(&mut self, plan: Plan) -> Result<(), Mistake> {
        if self.list.len() >= TARGETS_MAX {
            let why = format!("more than the {TARGETS_MAX} targets of one group: make two of it");
            return Err(Mistake::new(why));
        }
        if !self.names.insert(plan.name.clone()) {
            return Err(Mistake::at("name", format!("two targets are named {:?}", plan.name)));
        }
        self.list.push(plan);
        Ok(())
    }
}

/// What all groups of one agent share.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    /// Started when the first device is asked, so that checking settings starts nothing.
    engine: Arc<Mutex<Option<Engine>>>,
    /// First indices of interfaces.
    memory: Arc<Memory>,
}

impl Shared {
    fn new(memory: Memory) -> Self {
        Self { engine: Arc::default(), memory: Arc::new(memory) }
    }

    /// What asks all devices.
    fn engine(&self) -> Result<Handle, CollectError> {
        let mut engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(engine) = &*engine {
            return Ok(engine.handle());
        }
        let started = Engine::start(snmp::engine::Options::default())
            .map_err(|error| CollectError(format!("cannot start the thread that asks devices: {error}")))?;
        Ok(engine.insert(started).handle())
    }
}

/// A checked group; announces its devices.
#[derive(Debug)]
struct Group {
    config: Config,
    context: Context,
    shared: Shared,
    exclude: Option<Regex>,
    /// Signatures of the files when they were last read.
    seen: Option<Vec<Signature>>,
    credentials: Vec<Arc<Credential>>,
}

/// Tells a changed file from an unchanged one.
type Signature = Option<(SystemTime, u64)>;

/// A community that may be replaced while devices use it.
pub(crate) struct Credential {
    place: Secret,
    community: RwLock<Community>,
}

impl Credential {
    fn get(&self) -> Community {
        self.community.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, community: Community) {
        *self.community.write().unwrap_or_else(PoisonError::into_inner) = community;
    }
}

/// Where it is kept, which tells one from another; never what it is.
impl fmt::Debug for Credential {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.place.fmt(out)
    }
}

impl Group {
    /// Checks the settings, the files and the communities.
    fn new(config: Config, context: Context, shared: Shared) -> Result<Self, Mistake> {
        check(&config)?;
        let pattern = &config.interfaces_exclude;
        let bad = |why: regex::Error| Mistake::at("interfaces_exclude", why.to_string());
        let exclude = (!pattern.is_empty()).then(|| Regex::new(pattern)).transpose().map_err(bad)?;
        let mut group = Self { config, context, shared, exclude, seen: None, credentials: Vec::new() };
        group.plans()?;
        Ok(group)
    }

    /// Every device with all settings filled in.
    fn plans(&mut self) -> Result<Vec<Plan>, Mistake> {
        let mut plans = Plans::default();
        for (index, target) in self.config.targets.clone().iter().enumerate() {
            let added = self.plan(target).and_then(|plan| plans.add(plan));
            added.map_err(|mistake| mistake.item(index).under("targets"))?;
        }
        for (index, file) in self.config.files.clone().iter().enumerate() {
            let read = self.read_file(&self.context.base.join(file), &mut plans);
            read.map_err(|error| Mistake::elsewhere(&error).item(index).under("files"))?;
        }
        Ok(plans.list)
    }

    fn read_file(&mut self, path: &Path, plans: &mut Plans) -> Result<(), settings::SettingsError> {
        let source = Source::read(path)?;
        for (index, target) in source.parse::<Vec<TargetConfig>>()?.iter().enumerate() {
            let added = self.plan(target).and_then(|plan| plans.add(plan));
            added.map_err(|mistake| source.wrong(&mistake.item(index)))?;
        }
        Ok(())
    }

    fn plan(&mut self, target: &TargetConfig) -> Result<Plan, Mistake> {
        let name = target.name.clone().unwrap_or_else(|| target.address.clone());
        let wrong = |key: &'static str| {
            let name = name.clone();
            move |why: String| Mistake::at(key, format!("target {name}: {why}"))
        };
        let address = target.address.parse().map_err(wrong("address"))?;
        let secret = target.community.as_ref().or(self.config.community.as_ref());
        let missing =
            "no community: write community: {file: PATH} or {env: NAME} for the group or the target";
        let secret = secret.ok_or_else(|| wrong("community")(missing.to_owned()))?.clone();
        let timeout = target.timeout.unwrap_or(self.config.timeout);
        let interval = target.interval.unwrap_or(self.config.interval);
        super::check_interval("interval", interval)?;
        if timeout.get().is_zero() || timeout >= interval {
            return Err(wrong("timeout")(format!(
                "a timeout of {timeout} must be more than 0 and less than the interval {interval}"
            )));
        }
        let retries = target.retries.unwrap_or(self.config.retries);
        check_retries(retries)?;
        let labels = self.labels(&name, target).map_err(wrong("labels"))?;
        let credential = self.credential(&secret).map_err(|why| wrong("community")(why.to_string()))?;
        Ok(Plan {
            address,
            credential,
            version: target.version.unwrap_or(self.config.version),
            timeout: timeout.get(),
            retries,
            interval: interval.get(),
            labels,
            exclude: self.exclude.clone(),
            rows_max: self.config.rows_max,
            series_max: self.config.series_max.unwrap_or(self.context.series_max),
            name,
        })
    }

    fn labels(&self, name: &str, target: &TargetConfig) -> Result<Labels, String> {
        let extra = self.config.labels.iter().chain(&target.labels);
        if let Some((label, _)) =
            extra.clone().find(|(label, _)| !is_label_name(label) || label.starts_with("__"))
        {
            return Err(format!("{label:?} is no name of a label"));
        }
        if let Some((label, _)) = extra.clone().find(|(label, _)| *label == "job" || *label == "instance") {
            return Err(format!("the label {label} is set by `job` and `name`"));
        }
        let mut labels = self.context.base_labels(&self.config.job, name).to_builder();
        for (label, value) in extra {
            labels.set(label, value);
        }
        Ok(labels.build())
    }

    /// The community of a secret, read once for all devices that share it.
    fn credential(&mut self, secret: &Secret) -> Result<Arc<Credential>, settings::SecretError> {
        if let Some(credential) = self.credentials.iter().find(|known| known.place == *secret) {
            return Ok(credential.clone());
        }
        let community = RwLock::new(Community::new(secret.read(&self.context.base)?.expose()));
        let credential = Arc::new(Credential { place: secret.clone(), community });
        self.credentials.push(credential.clone());
        Ok(credential)
    }

    /// Reads the communities again, so that a rotation needs no restart. One that cannot be read stays as it was.
    fn renew_credentials(&self) -> Result<(), CollectError> {
        let mut failed = None;
        for credential in &self.credentials {
            match credential.place.read(&self.context.base) {
                Ok(text) => credential.set(Community::new(text.expose())),
                Err(error) => {
                    failed = Some(CollectError(format!("snmp: {error}; the old community is kept")))
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }

    fn signatures(&self) -> Vec<Signature> {
        let signature = |file: &PathBuf| {
            let metadata = std::fs::metadata(self.context.base.join(file)).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        };
        self.config.files.iter().map(signature).collect()
    }
}

impl TargetSet for Group {
    fn refresh(&mut self) -> Result<Option<Vec<Target>>, CollectError> {
        let signatures = self.signatures();
        if self.seen.as_ref() == Some(&signatures) {
            return self.renew_credentials().map(|()| None);
        }
        // A list that cannot be read is tried again when it changes again; until then the old targets go on.
        self.seen = Some(signatures);
        let plans = self.plans().map_err(|mistake| CollectError(format!("snmp: {mistake}")))?;
        let shared = &self.shared;
        Ok(Some(plans.into_iter().map(|plan| plan.target(shared.clone())).collect()))
    }
}

/// A device with all settings filled in and checked.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    name: String,
    address: Address,
    credential: Arc<Credential>,
    version: Version,
    timeout: Duration,
    retries: u32,
    interval: Duration,
    labels: Labels,
    exclude: Option<Regex>,
    rows_max: u32,
    series_max: usize,
}

impl Plan {
    fn target(self, shared: Shared) -> Target {
        // Everything that a device is built from; the community may change beneath it, its place may not.
        let key = format!("snmp {self:?}");
        Target { key, build: Box::new(move || -> Box<dyn Input> { Box::new(Device::new(self, shared)) }) }
    }
}

/// Where a device is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// Known.
    Socket(SocketAddr),
    /// To be looked up in every round.
    Name(String, u16),
}

impl std::str::FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Self::Socket(address));
        }
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Ok(Self::Socket((address, PORT).into()));
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().map_err(|_| format!("{port:?} is no port"))?),
            None => (text, PORT),
        };
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        if host.is_empty() || host.len() > 253 || !host.bytes().all(letter) {
            return Err(format!("{text:?} is no address: write 10.0.0.1, [fd00::1]:161 or a host name"));
        }
        Ok(Self::Name(host.to_owned(), port))
    }
}

#[cfg(test)]
mod tests;
