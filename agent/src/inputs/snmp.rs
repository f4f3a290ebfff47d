//! Network devices over SNMP v1, v2c and v3, each read by the profile that suits it.
//!
//! In: targets from the settings and from files that are read again when they change; profiles of the program and of a folder. Out: per
//! device `up`, the series of its profile (interfaces under the names of snmp_exporter's `if_mib`), and what the round cost. A table
//! that ends early says so in `pantau_snmp_walk_complete` and, with its reason, in `pantau_snmp_walks_ended_early_total`; it does not
//! take other tables with it. A value that no sample is made of is counted in `pantau_snmp_values_refused_total`.
//!
//! Identity: `ifIndex` is the first index seen for (device, ifName), see [`Memory`]; the current one stands in `snmp_interface_info`.
//!
//! Not here: what a device's numbers mean (that is `profiles`), how it is asked (that is `snmp`), discovery, traps.
//!
//! Limits: [`TARGETS_MAX`] targets a group; rows a table, series a device and the time of a round as the settings say; a text is cut
//! at 1,024 bytes.

use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use journal::disk::RealDisk;
use model::{Labels, is_label_name};
use regex::Regex;
use serde::Deserialize;
use settings::{Mistake, Secret, Source, Span};
use snmp::engine::{Engine, Handle, Rate, Site};

use crate::inputs::{CollectError, Context, Input, Target, TargetSet};
use crate::relabel::{self, RelabelError, Rules};

mod access;
mod device;
mod identity;
mod learned;
mod library;
mod own;
mod polls;
mod sink;

pub use access::{CredentialConfig, Phrase};
pub use identity::Memory;

use access::Credential;
use device::Device;
use learned::Keep;
use library::Library;

/// Targets in one group.
pub const TARGETS_MAX: usize = 20_000;
/// A line that carries less does not bring a reply in time.
const BITS_PER_SECOND_MIN: u64 = 2_400;
/// Where SNMP agents listen.
const PORT: u16 = 161;

/// The section `snmp_common`: what all groups share.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Common {
    /// A folder of profiles `*.yaml`; of two with one name it counts before the program's own.
    pub profiles: Option<PathBuf>,
    /// Credentials by name.
    pub credentials: BTreeMap<String, CredentialConfig>,
    /// Lines that several devices lie behind, by name, and how hard each may be asked.
    pub sites: BTreeMap<String, SiteConfig>,
}

/// How hard all devices behind one line together may be asked.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SiteConfig {
    /// Requests under way at once.
    pub in_flight_max: u32,
    /// Requests in a second; none: no bound.
    pub requests_per_second: Option<u32>,
    /// Bits in a second, both directions together, UDP payload; none: no bound.
    pub bits_per_second: Option<u64>,
}

impl Default for SiteConfig {
    fn default() -> Self {
        Self { in_flight_max: 16, requests_per_second: None, bits_per_second: None }
    }
}

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
    /// Where the community is kept. A device that is given neither this nor `credentials`, here or of its own, is refused.
    #[serde(default)]
    pub community: Option<Secret>,
    /// Protocol version of that community.
    #[serde(default)]
    pub version: Version,
    /// Instead of `community`: names of credentials under `snmp_common`, tried in this order.
    #[serde(default)]
    pub credentials: Vec<String>,
    /// The profile to read the devices by, instead of the one that suits what a device says of itself.
    #[serde(default)]
    pub profile: Option<String>,
    /// The line that the devices lie behind, by its name under `snmp_common`.
    #[serde(default)]
    pub site: Option<String>,
    /// The own address to ask from.
    #[serde(default)]
    pub bind: Option<IpAddr>,
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
    /// Rules over the labels of targets before they are asked: `__address__`, `job`, `instance`, `__meta_filepath` and the others.
    #[serde(default)]
    pub relabel_configs: Vec<relabel::Config>,
    /// Rules over the labels of what a device's profile gives.
    #[serde(default)]
    pub metric_relabel_configs: Vec<relabel::Config>,
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
    /// Overrides the group's, and its community.
    #[serde(default)]
    pub credentials: Vec<String>,
    /// Overrides the group's.
    #[serde(default)]
    pub profile: Option<String>,
    /// Overrides the group's.
    #[serde(default)]
    pub site: Option<String>,
    /// Overrides the group's.
    #[serde(default)]
    pub bind: Option<IpAddr>,
    /// Further addresses that its replies may come from, for devices that have several.
    #[serde(default)]
    pub accept_reply_from: Vec<IpAddr>,
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

/// Makes a set of targets for each group. Reads settings, files, profiles and secrets, asks nobody.
///
/// # Errors
/// The first thing that is wrong, placed from the section `inputs` on.
pub fn build(
    configs: &[Config],
    common: &Common,
    context: &Context,
) -> Result<Vec<Box<dyn TargetSet>>, Mistake> {
    let shared = Shared::with(common, context).map_err(|mistake| mistake.under("snmp_common"))?;
    let group = |(index, config): (usize, &Config)| -> Result<Box<dyn TargetSet>, Mistake> {
        let group = Group::new(config.clone(), context.clone(), shared.clone());
        Ok(Box::new(group.map_err(|mistake| mistake.item(index).under("snmp"))?))
    };
    configs.iter().enumerate().map(group).collect()
}

/// What a device of these settings is known by, in the order in which it is tried.
///
/// # Errors
/// As [`build`], from the target on.
pub fn credentials(
    group: &Config,
    target: &TargetConfig,
    common: &Common,
    base: &Path,
) -> Result<Vec<snmp::engine::Credential>, Mistake> {
    let configs = chosen(group, target, &common.credentials)?;
    configs.into_iter().map(|config| Ok(Credential::new(config, base)?.get().0)).collect()
}

/// The credentials of a device: its own before the group's.
fn chosen(
    group: &Config,
    target: &TargetConfig,
    named: &BTreeMap<String, CredentialConfig>,
) -> Result<Vec<CredentialConfig>, Mistake> {
    let both = "community and credentials exclude each other: name the community under snmp_common too";
    for (community, names) in
        [(&target.community, &target.credentials), (&group.community, &group.credentials)]
    {
        if community.is_some() && !names.is_empty() {
            return Err(Mistake::at("credentials", both));
        }
        if let Some(community) = community {
            let version = target.version.unwrap_or(group.version);
            return Ok(vec![CredentialConfig::of_community(community.clone(), version)]);
        }
        if names.len() > snmp::engine::Target::CREDENTIALS_MAX {
            let why = format!("more than the {} that are tried", snmp::engine::Target::CREDENTIALS_MAX);
            return Err(Mistake::at("credentials", why));
        }
        if !names.is_empty() {
            let find = |name: &String| {
                named.get(name).cloned().ok_or_else(|| {
                    Mistake::at("credentials", format!("there is no {name:?} under snmp_common.credentials"))
                })
            };
            return names.iter().map(find).collect();
        }
    }
    Err(Mistake::at(
        "community",
        "no community: write community: {file: PATH} or {env: NAME} for the group or the target",
    ))
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
    fn add(&mut self, plan: Option<Plan>) -> Result<(), Mistake> {
        let Some(plan) = plan else { return Ok(()) };
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
    core: Arc<Core>,
    library: Library,
    credentials: Arc<BTreeMap<String, CredentialConfig>>,
    sites: Arc<BTreeMap<String, Arc<Site>>>,
}

/// What outlives a reload of the settings, because devices that stay the same go on with it: one engine, one owner of each file, and
/// credentials that are renewed for all who use them.
#[derive(Debug)]
pub(crate) struct Core {
    /// Started when the first device is asked, so that checking settings starts nothing.
    engine: Mutex<Option<Engine>>,
    /// First indices of interfaces.
    memory: Arc<Memory>,
    /// Where what the engine learned is kept.
    keep: Arc<Keep>,
    /// Every credential that is in use, so that keys are derived once.
    in_use: Mutex<Vec<Arc<Credential>>>,
}

impl Core {
    fn new(memory: Memory, keep: Keep) -> Arc<Self> {
        let (engine, in_use) = (Mutex::default(), Mutex::default());
        Arc::new(Self { engine, memory: Arc::new(memory), keep: Arc::new(keep), in_use })
    }

    /// That of the agent whose state is in this folder.
    fn of_folder(folder: &Path) -> Arc<Self> {
        static KNOWN: Mutex<Vec<(PathBuf, Weak<Core>)>> = Mutex::new(Vec::new());
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|(_, core)| core.strong_count() > 0);
        let same = known.iter().find(|(other, _)| other == folder);
        if let Some(core) = same.and_then(|(_, core)| core.upgrade()) {
            core.forget_unused();
            return core;
        }
        let disk = Arc::new(RealDisk);
        let core = Self::new(Memory::in_folder(disk.clone(), folder), Keep::in_folder(disk, folder));
        known.push((folder.to_owned(), Arc::downgrade(&core)));
        core
    }

    fn forget_unused(&self) {
        let mut in_use = self.in_use.lock().unwrap_or_else(PoisonError::into_inner);
        in_use.retain(|credential| Arc::strong_count(credential) > 1);
    }
}

impl Shared {
    #[cfg(test)]
    fn new(memory: Memory) -> Self {
        Self::of(Core::new(memory, Keep::nowhere()))
    }

    fn of(core: Arc<Core>) -> Self {
        let (credentials, sites) = (Arc::default(), Arc::default());
        Self { core, library: Library::embedded(), credentials, sites }
    }

    fn with(common: &Common, context: &Context) -> Result<Self, Mistake> {
        let volatile = || Core::new(Memory::volatile(), Keep::nowhere());
        let mut shared = Self::of(context.state.as_deref().map_or_else(volatile, Core::of_folder));
        if let Some(folder) = &common.profiles {
            let library = Library::with_folder(&context.base.join(folder));
            shared.library = library.map_err(|mistake| mistake.under("profiles"))?;
        }
        for (name, config) in &common.credentials {
            let made = shared.credential(config, &context.base);
            made.map_err(|mistake| mistake.under(name).under("credentials"))?;
        }
        let mut sites = BTreeMap::new();
        for (name, config) in &common.sites {
            check_site(config).map_err(|mistake| mistake.under(name).under("sites"))?;
            let rate = Rate {
                in_flight_max: config.in_flight_max,
                requests_per_second: config.requests_per_second,
                bits_per_second: config.bits_per_second,
            };
            sites.insert(name.clone(), Arc::new(Site { name: name.as_str().into(), rate }));
        }
        shared.credentials = Arc::new(common.credentials.clone());
        shared.sites = Arc::new(sites);
        Ok(shared)
    }

    /// The credential of these settings, read once for all devices that share it.
    fn credential(&self, config: &CredentialConfig, base: &Path) -> Result<Arc<Credential>, Mistake> {
        let mut in_use = self.core.in_use.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(credential) = in_use.iter().find(|known| known.is_of(config, base)) {
            credential.renew()?;
            return Ok(credential.clone());
        }
        let credential = Arc::new(Credential::new(config.clone(), base)?);
        in_use.push(credential.clone());
        Ok(credential)
    }

    /// What asks all devices.
    fn engine(&self) -> Result<Handle, CollectError> {
        let mut engine = self.core.engine.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(engine) = &*engine {
            return Ok(engine.handle());
        }
        let options =
            snmp::engine::Options { learned: self.core.keep.load(), ..snmp::engine::Options::default() };
        let started = Engine::start(options)
            .map_err(|error| CollectError(format!("cannot start the thread that asks devices: {error}")))?;
        Ok(engine.insert(started).handle())
    }
}

fn check_site(config: &SiteConfig) -> Result<(), Mistake> {
    let zero = "with 0 nothing is ever asked: write 1 or more";
    if config.in_flight_max == 0 {
        return Err(Mistake::at("in_flight_max", zero));
    }
    if config.requests_per_second == Some(0) {
        return Err(Mistake::at("requests_per_second", zero));
    }
    if config.bits_per_second.is_some_and(|bits| bits < BITS_PER_SECOND_MIN) {
        let why = format!("no reply passes in time: write {BITS_PER_SECOND_MIN} or more");
        return Err(Mistake::at("bits_per_second", why));
    }
    Ok(())
}

/// A checked group; announces its devices.
#[derive(Debug)]
struct Group {
    config: Config,
    context: Context,
    shared: Shared,
    exclude: Option<Regex>,
    target_rules: Rules,
    metric_rules: Arc<Rules>,
    /// Signatures of the files when they were last read.
    seen: Option<Vec<Signature>>,
    credentials: Vec<Arc<Credential>>,
}

/// Tells a changed file from an unchanged one.
type Signature = Option<(SystemTime, u64)>;

impl Group {
    /// Checks the settings, the files and the communities.
    fn new(config: Config, context: Context, shared: Shared) -> Result<Self, Mistake> {
        check(&config)?;
        let pattern = &config.interfaces_exclude;
        let bad = |why: regex::Error| Mistake::at("interfaces_exclude", why.to_string());
        let exclude = (!pattern.is_empty()).then(|| Regex::new(pattern)).transpose().map_err(bad)?;
        let rules = |rules: &[relabel::Config], list| {
            let wrong = |why: RelabelError| Mistake::new(why.to_string()).item(why.rule() - 1).under(list);
            Rules::new(rules).map_err(wrong)
        };
        let target_rules = rules(&config.relabel_configs, "relabel_configs")?;
        let metric_rules = Arc::new(rules(&config.metric_relabel_configs, "metric_relabel_configs")?);
        let (seen, credentials) = (None, Vec::new());
        let mut group =
            Self { config, context, shared, exclude, target_rules, metric_rules, seen, credentials };
        group.plans()?;
        Ok(group)
    }

    /// Every device with all settings filled in.
    fn plans(&mut self) -> Result<Vec<Plan>, Mistake> {
        let mut plans = Plans::default();
        for (index, target) in self.config.targets.clone().iter().enumerate() {
            let added = self.plan(target, None).and_then(|plan| plans.add(plan));
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
            let added = self.plan(target, Some(path)).and_then(|plan| plans.add(plan));
            added.map_err(|mistake| source.wrong(&mistake.item(index)))?;
        }
        Ok(())
    }

    /// One device; none where rules drop it.
    fn plan(&mut self, target: &TargetConfig, file: Option<&Path>) -> Result<Option<Plan>, Mistake> {
        let name = target.name.clone().unwrap_or_else(|| target.address.clone());
        let wrong = |key: &'static str| {
            let name = name.clone();
            move |why: String| Mistake::at(key, format!("target {name}: {why}"))
        };
        let Some(labels) = self.labels(&name, target, file).map_err(wrong("labels"))? else {
            return Ok(None);
        };
        let Labelled { labels, address } = labels;
        let address: Address = address.parse().map_err(wrong("address"))?;
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
        let bind = target.bind.or(self.config.bind);
        check_bind(bind, &target.accept_reply_from, &address)?;
        let shared = self.shared.clone();
        let site = target.site.as_ref().or(self.config.site.as_ref());
        let site = site.map(|site| {
            let missing = || wrong("site")(format!("there is no {site:?} under snmp_common.sites"));
            shared.sites.get(site).cloned().ok_or_else(missing)
        });
        let profile = target.profile.clone().or_else(|| self.config.profile.clone());
        if let Some(unknown) = profile.as_ref().filter(|profile| shared.library.set().get(profile).is_none())
        {
            return Err(wrong("profile")(format!("there is no profile {unknown:?}")));
        }
        let configs = chosen(&self.config, target, &shared.credentials);
        let names_it = !target.credentials.is_empty()
            || (target.community.is_none() && !self.config.credentials.is_empty());
        let key = if names_it { "credentials" } else { "community" };
        let unknown = |mistake: Mistake| wrong(key)(mistake.why().to_owned());
        let configs = configs.map_err(unknown)?;
        let credentials: Result<_, Mistake> = configs.iter().map(|config| self.credential(config)).collect();
        Ok(Some(Plan {
            address,
            credentials: credentials.map_err(unknown)?,
            timeout: timeout.get(),
            retries,
            interval: interval.get(),
            // Rules may have given it another name.
            name: labels.get("instance").unwrap_or(&name).to_owned(),
            labels,
            exclude: self.exclude.clone(),
            rules: self.metric_rules.clone(),
            rows_max: self.config.rows_max,
            series_max: self.config.series_max.unwrap_or(self.context.series_max),
            library: shared.library.clone(),
            profile,
            site: site.transpose()?,
            bind,
            accept_reply_from: target.accept_reply_from.clone(),
        }))
    }

    /// The labels of a target, and where it is; none where rules drop it.
    fn labels(
        &self,
        name: &str,
        target: &TargetConfig,
        file: Option<&Path>,
    ) -> Result<Option<Labelled>, String> {
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
        labels.set("__address__", &target.address);
        if let Some(file) = file {
            labels.set("__meta_filepath", &file.to_string_lossy());
        }
        if !self.target_rules.apply(&mut labels) {
            return Ok(None);
        }
        let address = labels.get("__address__").unwrap_or_default().to_owned();
        labels.retain(|label, _| !label.starts_with("__"));
        for (label, value) in [("job", self.config.job.as_str()), ("instance", name)] {
            if labels.get(label).is_none() {
                labels.set(label, value);
            }
        }
        Ok(Some(Labelled { labels: labels.build(), address }))
    }

    fn credential(&mut self, config: &CredentialConfig) -> Result<Arc<Credential>, Mistake> {
        if let Some(credential) =
            self.credentials.iter().find(|known| known.is_of(config, &self.context.base))
        {
            return Ok(credential.clone());
        }
        let credential = self.shared.credential(config, &self.context.base)?;
        self.credentials.push(credential.clone());
        Ok(credential)
    }

    /// Reads the secrets again, so that a rotation needs no restart. One that cannot be read stays as it was.
    fn renew_credentials(&self) -> Result<(), CollectError> {
        let mut failed = None;
        for credential in &self.credentials {
            if let Err(mistake) = credential.renew() {
                let why = mistake.why();
                failed = Some(CollectError(format!("snmp: {why}; the old community is kept")));
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
    credentials: Vec<Arc<Credential>>,
    timeout: Duration,
    retries: u32,
    interval: Duration,
    labels: Labels,
    exclude: Option<Regex>,
    rules: Arc<Rules>,
    rows_max: u32,
    series_max: usize,
    library: Library,
    profile: Option<String>,
    site: Option<Arc<Site>>,
    bind: Option<IpAddr>,
    accept_reply_from: Vec<IpAddr>,
}

/// A target after its group's rules.
struct Labelled {
    labels: Labels,
    address: String,
}

/// A reply's way must be of the family that the request's way is of.
fn check_bind(bind: Option<IpAddr>, from: &[IpAddr], address: &Address) -> Result<(), Mistake> {
    let Address::Socket(address) = address else { return Ok(()) };
    let other = |own: &IpAddr| own.is_ipv4() != address.is_ipv4();
    let why = |own: &IpAddr| format!("{own} and {} are not of one family", address.ip());
    if let Some(own) = bind.filter(other) {
        return Err(Mistake::at("bind", why(&own)));
    }
    from.iter().find(|own| other(own)).map_or(Ok(()), |own| Err(Mistake::at("accept_reply_from", why(own))))
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
