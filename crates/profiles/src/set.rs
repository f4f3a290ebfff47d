//! All profiles of a program: reading them, and picking one for a device.

use std::collections::HashMap;
use std::sync::Arc;

use regex::bytes::Regex;
use settings::SettingsError;
use snmp::Oid;

use crate::compile::{self, Source1, fault};
use crate::error::ProfileError;
use crate::format;
use crate::limits;
use crate::profile::Profile;

/// What is known of a device before a profile is picked.
pub struct Identity<'a> {
    /// Its sysObjectID; `0.0` where it gives none.
    pub sys_object_id: &'a Oid,
    /// Its sysDescr.
    pub sys_descr: &'a str,
    /// Whether it answers one of [`Set::probes`] with a value.
    pub answers: &'a dyn Fn(&Oid) -> bool,
}

/// A profile and why it was picked.
#[derive(Clone, Debug)]
pub struct Choice {
    /// The profile.
    pub profile: Arc<Profile>,
    /// Why, for people.
    pub why: String,
}

/// See the module's text.
#[derive(Debug)]
pub struct Set {
    profiles: Vec<Arc<Profile>>,
    rules: Vec<Rule>,
    probes: Vec<Oid>,
}

/// One way to recognise a device.
#[derive(Debug)]
struct Rule {
    profile: usize,
    object: Option<Oid>,
    descr: Option<Regex>,
    probe: Option<Oid>,
}

macro_rules! embedded {
    ($($name:literal)*) => {
        /// The files that are part of the program.
        const EMBEDDED: &[(&str, &str)] =
            &[$((concat!($name, ".yaml"), include_str!(concat!("../../../configs/profiles/", $name, ".yaml")))),*];
    };
}

embedded! {
    "cisco"
    "cisco-ios"
    "cisco-ios-xe"
    "cisco-ios-xr"
    "cisco-nx-os"
    "cisco-sensor"
    "entity"
    "entity-sensor"
    "generic"
    "host-resources"
    "huawei-vrp"
    "if-mib"
    "juniper"
    "lldp"
    "mikrotik-routeros"
    "names"
    "net-snmp-linux"
    "system"
    "ucd"
    "ups-mib"
}

impl Set {
    /// The profiles that are part of the program.
    ///
    /// # Panics
    /// Never: a test loads them.
    pub fn embedded() -> Self {
        Self::load(Self::embedded_files()).expect("a test loads the files of the program")
    }

    /// Names and texts of the files that are part of the program, to be loaded together with those of an override folder.
    pub fn embedded_files() -> impl Iterator<Item = (&'static str, &'static str)> {
        EMBEDDED.iter().copied()
    }

    /// Reads and checks files: (name, text). Of two with the same name (without folders) the later one counts, so that an override
    /// folder's files come last.
    ///
    /// # Errors
    /// The first mistake, with its place.
    pub fn load<N: AsRef<str>, T: AsRef<str>>(
        files: impl IntoIterator<Item = (N, T)>,
    ) -> Result<Self, ProfileError> {
        let mut sources: Vec<Source1> = Vec::new();
        for (name, text) in files {
            let source = read(name.as_ref(), text.as_ref())?;
            match sources.iter_mut().find(|have| have.file.profile.value == source.file.profile.value) {
                Some(have) => *have = source,
                None => sources.push(source),
            }
            if sources.len() > limits::FILES_MAX {
                let what = format!("more than {} profiles", limits::FILES_MAX);
                return Err(at_start(name.as_ref(), what, "remove some"));
            }
        }
        let by_name: HashMap<&str, usize> =
            sources.iter().enumerate().map(|(at, source)| (source.file.profile.value.as_str(), at)).collect();
        let mut set = Self { profiles: Vec::new(), rules: Vec::new(), probes: Vec::new() };
        for (at, source) in sources.iter().enumerate() {
            let mut parts = Vec::new();
            collect(&sources, &by_name, at, &mut parts, &mut Vec::new())?;
            let parts: Vec<&Source1> = parts.into_iter().map(|part| &sources[part]).collect();
            set.profiles.push(Arc::new(compile::profile(&parts)?));
            for rule in &source.file.rules {
                set.rules.push(self::rule(source, at, rule)?);
            }
        }
        for rule in &set.rules {
            if let Some(probe) = rule.probe.as_ref().filter(|probe| !set.probes.contains(probe)) {
                set.probes.push(probe.clone());
            }
        }
        Ok(set)
    }

    /// Every profile, mixins included.
    pub fn profiles(&self) -> &[Arc<Profile>] {
        &self.profiles
    }

    /// The profile of a name.
    pub fn get(&self, name: &str) -> Option<&Arc<Profile>> {
        self.profiles.iter().find(|profile| &*profile.name == name)
    }

    /// Instances to ask once, so that [`Identity::answers`] can say which of them the device has.
    pub fn probes(&self) -> &[Oid] {
        &self.probes
    }

    /// The most specific profile whose rule fits: the longest sysObjectID prefix, then a sysDescr pattern, then a probe; of equals the
    /// first by name. None where no rule fits.
    pub fn choose(&self, identity: &Identity<'_>) -> Option<Choice> {
        let mut best: Option<&Rule> = None;
        for rule in &self.rules {
            if !rule.fits(identity) {
                continue;
            }
            let better = best.is_none_or(|best| {
                let names = (&self.profiles[rule.profile].name, &self.profiles[best.profile].name);
                rule.rank().cmp(&best.rank()).then(names.1.cmp(names.0)).is_gt()
            });
            if better {
                best = Some(rule);
            }
        }
        let rule = best?;
        let profile = self.profiles[rule.profile].clone();
        let why = rule.why(&profile, identity);
        Some(Choice { profile, why })
    }
}

impl Rule {
    fn fits(&self, identity: &Identity<'_>) -> bool {
        let under = |prefix: &Oid| identity.sys_object_id.view().strip_prefix(prefix.view()).is_some();
        self.object.as_ref().is_none_or(under)
            && self.descr.as_ref().is_none_or(|descr| descr.is_match(identity.sys_descr.as_bytes()))
            && self.probe.as_ref().is_none_or(|probe| (identity.answers)(probe))
    }

    fn rank(&self) -> (usize, bool, bool) {
        (
            self.object.as_ref().map_or(0, |object| object.view().len()),
            self.descr.is_some(),
            self.probe.is_some(),
        )
    }

    fn why(&self, profile: &Profile, identity: &Identity<'_>) -> String {
        let mut reasons = Vec::new();
        if let Some(prefix) = &self.object {
            reasons.push(format!("sysObjectID {} lies under {prefix}", identity.sys_object_id));
        }
        if let Some(pattern) = &self.descr {
            reasons.push(format!("sysDescr matches {:?}", pattern.as_str()));
        }
        if let Some(probe) = &self.probe {
            reasons.push(format!("{probe} is answered"));
        }
        if reasons.is_empty() {
            reasons.push(format!("nothing more specific knows sysObjectID {}", identity.sys_object_id));
        }
        format!("{}: {}", profile.name, reasons.join(" and "))
    }
}

fn at_start(file: &str, what: String, hint: &str) -> ProfileError {
    ProfileError { file: file.to_owned(), line: 1, column: 1, what, hint: hint.to_owned() }
}

/// One file, read and checked for itself.
fn read(name: &str, text: &str) -> Result<Source1, ProfileError> {
    if text.len() > limits::FILE_BYTES_MAX {
        let what = format!("{} bytes are more than {}", text.len(), limits::FILE_BYTES_MAX);
        return Err(at_start(name, what, "split the profile"));
    }
    let file: format::File = settings::parse(text, name).map_err(|error| match error {
        SettingsError::Invalid { line, column, message, .. } => ProfileError {
            file: name.to_owned(),
            line: line.max(1),
            column: column.max(1),
            what: message,
            hint: String::new(),
        },
        other => at_start(name, other.to_string(), ""),
    })?;
    let stem = name.rsplit(['/', '\\']).next().unwrap_or(name);
    let stem = stem.strip_suffix(".yaml").or(stem.strip_suffix(".yml")).unwrap_or(stem);
    let named = &file.profile.value;
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if named != stem || !named.bytes().all(good) || named.len() > limits::NAME_BYTES_MAX {
        let what = format!("the profile {named:?} stands in a file named {stem:?}");
        return Err(fault(name, &file.profile, what, "give both the same name, of a-z, 0-9 and -"));
    }
    if file.tests.len() > limits::TRIALS_MAX || file.title.len() > limits::NAME_BYTES_MAX {
        let what = "too many tests or too long a title".to_owned();
        return Err(fault(name, &file.profile, what, "shorten them"));
    }
    Ok(Source1 { name: name.into(), file })
}

/// The parts of a profile: what it extends first, itself last, each once.
fn collect(
    sources: &[Source1],
    by_name: &HashMap<&str, usize>,
    at: usize,
    parts: &mut Vec<usize>,
    path: &mut Vec<usize>,
) -> Result<(), ProfileError> {
    if parts.contains(&at) {
        return Ok(());
    }
    path.push(at);
    for name in &sources[at].file.extends {
        let err = |what: String, hint: &str| fault(&sources[at].name, name, what, hint);
        let Some(&part) = by_name.get(name.value.as_str()) else {
            return Err(err(
                format!("there is no profile {:?} to extend", name.value),
                "look for a typing error",
            ));
        };
        if path.contains(&part) || path.len() + parts.len() >= limits::PARTS_MAX {
            let what = format!("extending {:?} goes in a circle or through too many profiles", name.value);
            return Err(err(what, "take it out of `extends`"));
        }
        collect(sources, by_name, part, parts, path)?;
    }
    path.pop();
    parts.push(at);
    Ok(())
}

fn rule(source: &Source1, profile: usize, rule: &format::Rule) -> Result<Rule, ProfileError> {
    let oid = |text: &format::Text| {
        let parsed = text.value.parse::<Oid>();
        parsed.map_err(|error| {
            fault(&source.name, text, format!("{:?}: {error}", text.value), "write 1.3.6.1.4.1.9")
        })
    };
    let out = Rule {
        profile,
        object: rule.sys_object_id.as_ref().map(oid).transpose()?,
        descr: rule.sys_descr.as_ref().map(|descr| compile::pattern(source, descr)).transpose()?,
        probe: rule.probe.as_ref().map(oid).transpose()?,
    };
    let asks = out.object.is_some() || out.descr.is_some() || out.probe.is_some();
    if asks == rule.any.as_ref().is_some_and(|any| any.value) {
        let hint = "give sys_object_id, sys_descr or probe; or `any: true` alone, for every device";
        return Err(fault(
            &source.name,
            &source.file.profile,
            "a rule under `match` asks nothing, or too much".into(),
            hint,
        ));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_the_program_load_and_pass_their_trials() {
        let set = match Set::load(Set::embedded_files()) {
            Ok(set) => set,
            Err(error) => panic!("configs/profiles/{error}"),
        };
        let faults = set.try_all();
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }
}
