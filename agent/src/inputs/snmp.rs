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

use std::collections::{BTreeMap, HashMap};
use std::hash::Hasher as _;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Instant, SystemTime};

use journal::disk::RealDisk;
use model::{Labels, is_label_name};
use regex::Regex;
use settings::{Mistake, Source};
use siphasher::sip128::{Hasher128 as _, SipHasher13};
use snmp::engine::{self, Engine, Handle, Site};

use crate::inputs::{CollectError, Context, Input, State, Target, TargetSet};
use crate::relabel::{self, RelabelError, Rules};

mod access;
mod budgets;
mod config;
mod device;
mod events;
mod identity;
mod known;
mod learned;
mod library;
mod neighbours;
mod own;
mod polls;
mod ports;
mod pulse;
mod sink;
mod uptime;

pub use access::{CredentialConfig, Phrase};
pub use config::{Common, Config, Prefix, SiteConfig, TargetConfig, Version};
pub use identity::Memory;
pub use known::{Known, Wait};

use access::Credential;
use budgets::Budgets;
use config::Manner;
use device::Device;
use learned::Keep;
use library::Library;
use neighbours::Neighbours;

/// Targets in one group.
pub const TARGETS_MAX: usize = 20_000;
/// Where SNMP agents listen.
const PORT: u16 = 161;

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
        let group = Group::new(config.clone(), index, context.clone(), shared.clone());
        Ok(Box::new(group.map_err(|mistake| mistake.item(index).under("snmp"))?))
    };
    // Last, so that it speaks of devices that have been asked.
    let engine = (!configs.is_empty()).then(|| Ok(pulse::targets(&shared.core, context)));
    configs.iter().enumerate().map(group).chain(engine).collect()
}

/// The credentials of a device: its own before the group's.
fn chosen(
    group: &Config,
    target: &TargetConfig,
    named: &BTreeMap<String, CredentialConfig>,
) -> Result<Vec<(String, CredentialConfig)>, Mistake> {
    let both = "community and credentials exclude each other: name the community under snmp_common too";
    for (community, names) in
        [(&target.community, &target.credentials), (&group.community, &group.credentials)]
    {
        if community.is_some() && !names.is_empty() {
            return Err(Mistake::at("credentials", both));
        }
        if let Some(community) = community {
            let version = target.version.or(group.version).unwrap_or_default();
            let config = CredentialConfig::of_community(community.clone(), version);
            return Ok(vec![("community".to_owned(), config)]);
        }
        if names.len() > engine::Target::CREDENTIALS_MAX {
            let why = format!("more than the {} that are tried", engine::Target::CREDENTIALS_MAX);
            return Err(Mistake::at("credentials", why));
        }
        if !names.is_empty() {
            let find = |name: &String| {
                let found = named.get(name).cloned().ok_or_else(|| {
                    Mistake::at("credentials", format!("there is no {name:?} under snmp_common.credentials"))
                });
                Ok((name.clone(), found?))
            };
            return names.iter().map(find).collect();
        }
    }
    Err(Mistake::at(
        "community",
        "no community: write community: {file: PATH} or {env: NAME} for the group or the target",
    ))
}

/// Whose names are taken: no two devices of an agent may have the same, because what is learned and remembered of a device is kept
/// under it, and so are its series.
#[derive(Debug, Default)]
struct Names(Mutex<HashMap<String, usize>>);

impl Names {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The other group that has a device of this name.
    fn other(&self, name: &str, group: usize) -> Option<usize> {
        self.lock().get(name).copied().filter(|owner| *owner != group)
    }

    /// A group's names are these now.
    fn replace(&self, group: usize, plans: &[Plan]) {
        let mut names = self.lock();
        names.retain(|_, owner| *owner != group);
        names.extend(plans.iter().map(|plan| (plan.name.clone(), group)));
    }
}

/// Devices of one group, each under its own name.
struct Plans<'a> {
    list: Vec<Plan>,
    /// Where each of them stands.
    places: HashMap<String, String>,
    group: usize,
    names: &'a Names,
    /// Whether another group has one of the names.
    clashes: bool,
}

impl<'a> Plans<'a> {
    fn new(group: usize, names: &'a Names) -> Self {
        Self { list: Vec::new(), places: HashMap::new(), group, names, clashes: false }
    }

    fn add(&mut self, plan: Option<Plan>, place: String) -> Result<(), Mistake> {
        let Some(plan) = plan else { return Ok(()) };
        if self.list.len() >= TARGETS_MAX {
            let why = format!("more than the {TARGETS_MAX} targets of one group: make two of it");
            return Err(Mistake::new(why));
        }
        let twice = |place: &str| {
            let name = &plan.name;
            Mistake::at(
                "name",
                format!(
                    "two targets are named {name:?}: {place} is the other; give each device a name of its own"
                ),
            )
        };
        if let Some(first) = self.places.get(&plan.name) {
            return Err(twice(first));
        }
        if let Some(other) = self.names.other(&plan.name, self.group) {
            self.clashes = true;
            return Err(twice(&format!("one of the group inputs.snmp[{other}]")));
        }
        self.places.insert(plan.name.clone(), place);
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
    names: Arc<Names>,
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
    /// When tables with a budget were last asked for.
    budgets: Arc<Budgets>,
    /// All devices side by side.
    neighbours: Arc<Neighbours>,
    /// Whether the files are another program's.
    looks_only: bool,
    /// Every credential that is in use, so that keys are derived once.
    in_use: Mutex<Vec<Arc<Credential>>>,
}

impl Core {
    fn new(memory: Memory, keep: Keep, budgets: Budgets, looks_only: bool) -> Arc<Self> {
        let (engine, in_use) = (Mutex::default(), Mutex::default());
        let (memory, keep, budgets) = (Arc::new(memory), Arc::new(keep), Arc::new(budgets));
        let neighbours = Arc::default();
        Arc::new(Self { engine, memory, keep, budgets, neighbours, looks_only, in_use })
    }

    /// That of the agent whose state is in this folder.
    fn of_folder(state: &State) -> Arc<Self> {
        let folder = state.folder.as_path();
        static KNOWN: Mutex<Vec<(PathBuf, Weak<Core>)>> = Mutex::new(Vec::new());
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|(_, core)| core.strong_count() > 0);
        let same = known.iter().find(|(other, _)| other == folder);
        if let Some(core) = same.and_then(|(_, core)| core.upgrade()) {
            core.forget_unused();
            return core;
        }
        let disk = Arc::new(RealDisk);
        let memory = Memory::in_folder(disk.clone(), folder);
        let (keep, budgets) = (Keep::in_folder(disk, folder), Budgets::in_folder(folder));
        let core = Self::new(memory, keep, budgets, state.looks_only);
        known.push((folder.to_owned(), Arc::downgrade(&core)));
        core
    }

    fn keep_what_was_learned(&self, learned: &[snmp::round::Learned]) {
        if let Err(error) = self.keep.save(learned) {
            tracing::warn!("cannot keep what was learned about devices: {error}");
        }
    }

    fn forget_unused(&self) {
        let mut in_use = self.in_use.lock().unwrap_or_else(PoisonError::into_inner);
        in_use.retain(|credential| Arc::strong_count(credential) > 1);
    }
}

/// The orderly end: nothing that was learned since the last writing is lost.
impl Drop for Core {
    fn drop(&mut self) {
        let engine = self.engine.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        // Where nobody was asked nothing is new.
        let Some(engine) = engine.filter(|_| !self.looks_only) else { return };
        if engine.handle().is_alive() {
            self.keep_what_was_learned(&engine.stop());
        }
        // Whenever the last writing was, this is the last one.
        if let Err(error) = self.memory.save(Instant::now() + Memory::SAVE_PAUSE) {
            tracing::warn!("cannot keep the first indices of interfaces: {error}");
        }
    }
}

impl Shared {
    #[cfg(test)]
    fn new(memory: Memory) -> Self {
        Self::of(Core::new(memory, Keep::nowhere(), Budgets::volatile(), false))
    }

    fn of(core: Arc<Core>) -> Self {
        let (credentials, sites, names) = (Arc::default(), Arc::default(), Arc::default());
        Self { core, library: Library::embedded(), credentials, sites, names }
    }

    fn with(common: &Common, context: &Context) -> Result<Self, Mistake> {
        let volatile = || Core::new(Memory::volatile(), Keep::nowhere(), Budgets::volatile(), false);
        let mut shared = Self::of(context.state.as_ref().map_or_else(volatile, Core::of_folder));
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
            let rate = config.rate().map_err(|mistake| mistake.under(name).under("sites"))?;
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
        if let Some(engine) = engine.as_ref().filter(|engine| engine.handle().is_alive()) {
            return Ok(engine.handle());
        }
        if engine.take().is_some() {
            tracing::error!(
                "the thread that asks devices has ended, which is a mistake in this program: please report it; another one is started"
            );
        }
        let options = engine::Options { learned: self.core.keep.load(), ..engine::Options::default() };
        let started = Engine::start(options)
            .map_err(|error| CollectError(format!("cannot start the thread that asks devices: {error}")))?;
        Ok(engine.insert(started).handle())
    }
}

/// A checked group; announces its devices.
#[derive(Debug)]
struct Group {
    config: Config,
    /// Its place among the groups.
    index: usize,
    context: Context,
    shared: Shared,
    /// Shared: each copy of an expression has working memory of its own, 2 KB.
    exclude: Option<Arc<Regex>>,
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
    fn new(config: Config, index: usize, context: Context, shared: Shared) -> Result<Self, Mistake> {
        config.check()?;
        let pattern = &config.interfaces_exclude;
        let bad = |why: regex::Error| Mistake::at("interfaces_exclude", why.to_string());
        let exclude =
            (!pattern.is_empty()).then(|| Regex::new(pattern).map(Arc::new)).transpose().map_err(bad)?;
        let rules = |rules: &[relabel::Config], list| {
            let wrong = |why: RelabelError| Mistake::new(why.to_string()).item(why.rule() - 1).under(list);
            Rules::new(rules).map_err(wrong)
        };
        let target_rules = rules(&config.relabel_configs, "relabel_configs")?;
        let metric_rules = Arc::new(rules(&config.metric_relabel_configs, "metric_relabel_configs")?);
        let (seen, credentials) = (None, Vec::new());
        let mut group =
            Self { config, index, context, shared, exclude, target_rules, metric_rules, seen, credentials };
        group.plans()?;
        Ok(group)
    }

    /// Every device with all settings filled in.
    fn plans(&mut self) -> Result<Vec<Plan>, Mistake> {
        let names = self.shared.names.clone();
        let mut plans = Plans::new(self.index, &names);
        let read = self.fill(&mut plans);
        // The other group may be about to give the name up: asked again at the next look.
        if plans.clashes {
            self.seen = None;
        }
        read?;
        names.replace(self.index, &plans.list);
        Ok(plans.list)
    }

    fn fill(&mut self, plans: &mut Plans<'_>) -> Result<(), Mistake> {
        for (index, target) in self.config.targets.clone().iter().enumerate() {
            let place = format!("targets[{index}]");
            let added = self.plan(target, None).and_then(|plan| plans.add(plan, place));
            added.map_err(|mistake| mistake.item(index).under("targets"))?;
        }
        for (index, file) in self.config.files.clone().iter().enumerate() {
            let read = self.read_file(&self.context.base.join(file), plans);
            read.map_err(|error| Mistake::elsewhere(&error).item(index).under("files"))?;
        }
        Ok(())
    }

    fn read_file(&mut self, path: &Path, plans: &mut Plans<'_>) -> Result<(), settings::SettingsError> {
        let source = Source::read(path)?;
        for (index, target) in source.parse::<Vec<TargetConfig>>()?.iter().enumerate() {
            let place = format!("{}, item {}", path.display(), index + 1);
            let added = self.plan(target, Some(path)).and_then(|plan| plans.add(plan, place));
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
        let manner = Manner::of(&self.config, target)?;
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
        let (credential_names, configs): (_, Vec<_>) = configs.map_err(unknown)?.into_iter().unzip();
        let credentials: Result<_, Mistake> = configs.iter().map(|config| self.credential(config)).collect();
        Ok(Some(Plan {
            address,
            credentials: credentials.map_err(unknown)?,
            credential_names,
            manner,
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
    credential_names: Vec<String>,
    manner: Manner,
    labels: Labels,
    exclude: Option<Arc<Regex>>,
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
    /// As the engine is told whom to ask and how.
    fn engine_target(&self, address: SocketAddr, credentials: Vec<engine::Credential>) -> engine::Target {
        engine::Target {
            bind: self.bind,
            accept_reply_from: self.accept_reply_from.clone(),
            site: self.site.clone(),
            timeout: self.manner.timeout,
            timeout_max: self.manner.timeout_max,
            retries: self.manner.retries,
            rate: self.manner.rate,
            reply_bytes_max: self.manner.reply_bytes_max,
            deny: self.manner.deny.as_slice().into(),
            ..engine::Target::new(self.name.as_str(), address, credentials)
        }
    }

    fn target(self, shared: Shared) -> Target {
        // Everything that a device is built from; the community may change beneath it, its place may not.
        // It is kept for every device as long as that is watched: a digest is shorter.
        let mut hasher = SipHasher13::new();
        hasher.write(format!("{self:?}").as_bytes());
        let digest = hasher.finish128();
        let key = format!("snmp {} {:016x}{:016x}", self.name, digest.h1, digest.h2);
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
