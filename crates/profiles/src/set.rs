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
    pub fn embedded_files<'a>() -> impl Iterator<Item = (&'a str, &'a str)> {
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

    /// The family that `docs/operating/profiles.md` makes from scratch.
    fn example() -> String {
        let page = include_str!("../../../docs/operating/profiles.md");
        let start = page.find("```yaml\n").expect("the page has an example") + "```yaml\n".len();
        let end = page[start..].find("```").expect("it ends") + start;
        page[start..end].to_owned()
    }

    #[test]
    fn the_family_in_the_manual_loads_and_passes_its_trials() {
        let example = example();
        let files = Set::embedded_files().chain([("acme-switch.yaml", example.as_str())]);
        let set = Set::load(files).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(set.try_named("acme-switch"), Some(Vec::new()));
    }

    #[test]
    fn every_metric_of_the_program_says_what_it_is() {
        for profile in Set::embedded().profiles() {
            for family in profile.families() {
                assert!(!family.metadata.help.is_empty(), "{}: {} has no help", profile.name(), family.name);
            }
        }
    }

    /// Loads the manual's example with one line changed.
    fn check(from: &str, to: &str, expected: &str) {
        let example = example();
        assert!(example.contains(from), "{from}");
        let text = example.replacen(from, to, 1);
        let error = match Set::load(Set::embedded_files().chain([("acme-switch.yaml", text.as_str())])) {
            Ok(_) => panic!("{to:?} loads"),
            Err(error) => error.to_string(),
        };
        let line = 1 + example[..example.find(from).expect("it is there")].matches('\n').count();
        assert!(error.starts_with(&format!("acme-switch.yaml:{line}:")), "{to:?}: {error}");
        assert!(error.contains(expected), "{to:?}: {error}");
    }

    #[test]
    fn mistakes_are_named_with_their_place_and_what_to_do() {
        check("profile: acme-switch", "profile: other", "give both the same name");
        check("title: Acme switches", "titel: Acme", "unknown field");
        check("sys_object_id: 1.3.6.1.4.1.99999\n", "sys_object_id: 1.3.x\n", "write 1.3.6.1.4.1.9");
        check("extends: [if-mib, names]", "extends: [if-mob]", "no profile \"if-mob\"");
        check("extends: [if-mib, names]", "extends: [acme-switch]", "circle");
        check("entry: 1.3.6.1.4.1.99999.7.1", "entry: 1.3.6.1.4.1.99999.7.x", "1.3.6.1.2.1.2.2.1");
        check("class: slow", "class: sluggish", "fast, slow or hourly");
        check("parse: text}", "parse: txt}", "one of number, date");
        check("pattern: '^(-?[0-9.]+) C$'", "pattern: '^(-?[0-9.+ C$'", "no pattern");
        check("pattern: '^(-?[0-9.]+) C$'", "pattern: '^-?[0-9.]+ C$'", "parentheses");
        check("table: ifXTable", "table: ifYTable", "known here: ifTable");
        check("column: name, equals", "column: nom, equals", "no column of texts");
        check("index: [x.ifIndex]", "index: [y.ifIndex]", "no join \"y\"");
        check("ifIndex: x.stable", "ifIndex: x.steady", "known: alias, ifIndex, name");
        check("ifName: port", "instance: port", "set elsewhere");
        check("of: if.admin", "of: port", "a number is wanted");
        check("from: 0.1 uW, to: dBm, floor", "from: 0.1 uV, to: dBm, floor", "cannot become");
        check("from: 0.1 uW, to: dBm, floor", "from: lumen, to: dBm, floor", "is no unit");
        check("from: 0.1 uW, to: dBm, floor", "from: 0.1 uW, floor", "units are incomplete");
        check(
            "value: rx, from: 0.1 uW, to: dBm, floor",
            "value: rex, from: 0.1 uW, to: dBm, floor",
            "known: celsius, port, rx",
        );
        check("bounds: [-60, 150]", "bounds: [150, -60]", "[LOW, HIGH]");
        check("name: optics_temperature_celsius", "name: optics temperature", "no metric's name");
        check(
            "name: optics_temperature_celsius",
            "kind: histogram, name: optics_temperature_celsius",
            "gauge, counter",
        );
    }

    #[test]
    fn a_bound_stands_for_everything_that_a_file_can_bring() {
        let large = format!("profile: x\ntitle: \"{}\"\n", "a".repeat(limits::FILE_BYTES_MAX));
        assert!(Set::load([("x.yaml", large)]).expect_err("too large").what.contains("more than"));
        let columns: String = (0..200).map(|n| format!("c{n}: {n}, ")).collect();
        let wide = format!("profile: x\ntables: [{{name: t, entry: 1.3.6, columns: {{{columns}}}}}]\n");
        assert!(Set::load([("x.yaml", wide)]).expect_err("too wide").what.contains("more than 128"));
        let deep: Vec<(String, String)> = (0..40)
            .map(|n| (format!("p{n}.yaml"), format!("profile: p{n}\nextends: [p{}]\n", n + 1)))
            .chain([("p40.yaml".to_owned(), "profile: p40\n".to_owned())])
            .collect();
        assert!(Set::load(deep).expect_err("too deep").what.contains("too many"));
        let pattern = "profile: x\nmatch: [{sys_descr: '(a{1,100}){1,100}{1,100}'}]\n";
        assert!(Set::load([("x.yaml", pattern)]).expect_err("too big a pattern").what.contains("no pattern"));
    }

    #[test]
    fn the_most_specific_profile_wins_and_says_why() {
        let set = Set::embedded();
        let check = |object: &str, descr: &str, ups: bool, name: &str, why: &str| {
            let object: Oid = object.parse().expect("good");
            let answers = |_: &Oid| ups;
            let identity = Identity { sys_object_id: &object, sys_descr: descr, answers: &answers };
            let choice = set.choose(&identity).expect("generic fits all");
            assert_eq!(choice.profile.name(), name, "{}", choice.why);
            assert!(choice.why.contains(why), "{}", choice.why);
        };
        check("0.0", "", false, "generic", "nothing more specific knows");
        check("1.3.6.1.4.1.5491.304", "Netman", true, "ups-mib", "1.3.6.1.2.1.33.1.2.1.0 is answered");
        check("1.3.6.1.4.1.9.1.1208", "Cisco IOS Software", false, "cisco-ios", "lies under 1.3.6.1.4.1.9.1");
        check("1.3.6.1.4.1.9.1.1639", "Cisco IOS XR Software", false, "cisco-ios-xr", "sysDescr matches");
        check("1.3.6.1.4.1.9.12.3.1.3.1", "", false, "cisco-nx-os", "1.3.6.1.4.1.9.12.3.1.3");
        check("1.3.6.1.4.1.2011.2.248", "Huawei Integrated Access Software", false, "generic", "2011");
        check("1.3.6.1.4.1.14988.1", "RouterOS", true, "mikrotik-routeros", "14988");
    }

    #[test]
    fn an_override_replaces_a_file_of_the_program() {
        let other = "profile: generic\nmatch: [{any: true}]\nextends: [system]\n";
        let set = Set::load(Set::embedded_files().chain([("/etc/pantau/profiles/generic.yaml", other)]));
        let set = set.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(set.get("generic").expect("replaced").plan().tables.len(), 0);
        assert_eq!(set.profiles().len(), Set::embedded().profiles().len());
    }

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
