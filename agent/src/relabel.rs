//! Relabelling as Prometheus defines it: a list of rules that rewrites a label set or drops it.
//!
//! Applied to targets before they are asked (`relabel_configs`) and to series before they are kept
//! (`metric_relabel_configs`). Settings are checked when they are read: a rule that could not do anything sensible is refused.
//! Label names may be any UTF-8 text, as in Prometheus 3. Regular expressions are anchored at both ends and bounded in size.

use model::LabelsBuilder;
use regex::{Regex, RegexBuilder};
use serde::Deserialize;

use md5::{Digest, Md5};

/// The largest compiled regular expression, in bytes.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// One rule as it stands in settings.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Labels whose values are joined and matched; a label that is not there counts as empty.
    #[serde(default)]
    pub source_labels: Vec<String>,
    /// What stands between the joined values; `;` if not given.
    #[serde(default)]
    pub separator: Option<String>,
    /// The label that is set (or compared with); may refer to groups of the expression where the action is replace.
    #[serde(default)]
    pub target_label: String,
    /// What the joined values, or for the label actions each label's name, must match as a whole; `(.*)` if not given.
    #[serde(default)]
    pub regex: Option<String>,
    /// For hashmod: the hash is taken modulo this.
    #[serde(default)]
    pub modulus: u64,
    /// What is put in place of a match; `$1` if not given.
    #[serde(default)]
    pub replacement: Option<String>,
    /// What to do.
    #[serde(default)]
    pub action: Action,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Set the target label to the replacement where the source matches.
    #[default]
    Replace,
    /// Drop what does not match.
    Keep,
    /// Drop what matches.
    Drop,
    /// Set the target label to a hash of the source, modulo `modulus`.
    HashMod,
    /// Copy each label whose name matches to the name that the replacement gives.
    LabelMap,
    /// Remove each label whose name matches.
    LabelDrop,
    /// Remove each label whose name does not match.
    LabelKeep,
    /// Set the target label to the source in lower case.
    Lowercase,
    /// Set the target label to the source in upper case.
    Uppercase,
    /// Drop where the source differs from the target label.
    KeepEqual,
    /// Drop where the source equals the target label.
    DropEqual,
}

/// Why a rule is refused.
#[derive(Debug, thiserror::Error)]
pub enum RelabelError {
    /// Some field is missing or does not go with the action.
    #[error("relabelling rule {rule}: {action:?} {problem}")]
    Fields {
        /// Which rule of the list, from 1.
        rule: usize,
        /// Its action.
        action: Action,
        /// What is wrong.
        problem: &'static str,
    },
    /// The regular expression is wrong or too large.
    #[error("relabelling rule {rule}: the regular expression {pattern:?}: {why}")]
    Regex {
        /// Which rule of the list, from 1.
        rule: usize,
        /// The expression as it was written.
        pattern: String,
        /// What the compiler says.
        why: String,
    },
}

impl RelabelError {
    /// Which rule of the list, from 1.
    pub fn rule(&self) -> usize {
        match self {
            Self::Fields { rule, .. } | Self::Regex { rule, .. } => *rule,
        }
    }
}

/// The compiler draws the expression and an arrow over several lines; its last line says what is wrong.
fn one_line(why: &regex::Error) -> String {
    let text = why.to_string();
    text.lines().last().unwrap_or_default().trim().trim_start_matches("error: ").to_owned()
}

/// Rules that can be applied.
#[derive(Clone, Debug, Default)]
pub struct Rules(Vec<Rule>);

#[derive(Clone, Debug)]
struct Rule {
    source_labels: Vec<String>,
    separator: String,
    target_label: String,
    regex: Regex,
    modulus: u64,
    replacement: String,
    action: Action,
}

impl Rules {
    /// Checks and compiles a list of rules.
    pub fn new(configs: &[Config]) -> Result<Self, RelabelError> {
        let compile = |(index, config): (usize, &Config)| Rule::new(index + 1, config);
        configs.iter().enumerate().map(compile).collect::<Result<_, _>>().map(Self)
    }

    /// Whether there are no rules.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Rewrites the labels, rule by rule; false where a rule drops them.
    pub fn apply(&self, labels: &mut LabelsBuilder) -> bool {
        self.0.iter().all(|rule| rule.apply(labels))
    }
}

impl Rule {
    fn new(number: usize, config: &Config) -> Result<Self, RelabelError> {
        if let Some(problem) = problem(config) {
            return Err(RelabelError::Fields { rule: number, action: config.action, problem });
        }
        let pattern = config.regex.as_deref().unwrap_or("(.*)");
        let wrong = |why: regex::Error| RelabelError::Regex {
            rule: number,
            pattern: pattern.into(),
            why: one_line(&why),
        };
        // Compiled alone first: an unbalanced parenthesis must not slip through because of the anchors' own.
        let compile = |text: &str| RegexBuilder::new(text).size_limit(REGEX_BYTES_MAX).build();
        compile(pattern).map_err(wrong)?;
        let regex = compile(&format!("^(?s:{pattern})$")).map_err(wrong)?;
        Ok(Self {
            source_labels: config.source_labels.clone(),
            separator: config.separator.clone().unwrap_or_else(|| ";".into()),
            target_label: config.target_label.clone(),
            regex,
            modulus: config.modulus,
            replacement: config.replacement.clone().unwrap_or_else(|| "$1".into()),
            action: config.action,
        })
    }

    fn source(&self, labels: &LabelsBuilder) -> String {
        let values: Vec<_> =
            self.source_labels.iter().map(|name| labels.get(name).unwrap_or_default()).collect();
        values.join(&self.separator)
    }

    fn apply(&self, labels: &mut LabelsBuilder) -> bool {
        let source = self.source(labels);
        let target = labels.get(&self.target_label).unwrap_or_default();
        match self.action {
            Action::Keep => return self.regex.is_match(&source),
            Action::Drop => return !self.regex.is_match(&source),
            Action::KeepEqual => return target == source,
            Action::DropEqual => return target != source,
            Action::Replace => self.replace(&source, labels),
            Action::HashMod => drop(labels.set(&self.target_label, &hash_mod(&source, self.modulus))),
            Action::Lowercase => drop(labels.set(&self.target_label, &source.to_lowercase())),
            Action::Uppercase => drop(labels.set(&self.target_label, &source.to_uppercase())),
            Action::LabelMap => self.map_names(labels),
            Action::LabelDrop => drop(labels.retain(|name, _| !self.regex.is_match(name))),
            Action::LabelKeep => drop(labels.retain(|name, _| self.regex.is_match(name))),
        }
        true
    }

    fn replace(&self, source: &str, labels: &mut LabelsBuilder) {
        let Some(groups) = self.regex.captures(source) else { return };
        let (mut target, mut value) = (String::new(), String::new());
        groups.expand(&self.target_label, &mut target);
        groups.expand(&self.replacement, &mut value);
        if !target.is_empty() {
            labels.set(&target, &value);
        }
    }

    fn map_names(&self, labels: &mut LabelsBuilder) {
        let map = |(name, value): (&str, &str)| {
            let renamed = self.regex.is_match(name).then(|| self.regex.replace(name, &*self.replacement));
            renamed.map(|renamed| (renamed.into_owned(), value.to_owned()))
        };
        let mapped: Vec<_> = labels.iter().filter_map(map).collect();
        for (name, value) in mapped.iter().filter(|(name, _)| !name.is_empty()) {
            labels.set(name, value);
        }
    }
}

/// The last eight bytes of the MD5 sum, most significant first: what Prometheus uses, so that shards agree with its.
fn hash_mod(source: &str, modulus: u64) -> String {
    let sum = Md5::digest(source.as_bytes());
    let last: [u8; 8] = sum[8..].try_into().expect("an MD5 sum has sixteen bytes");
    (u64::from_be_bytes(last) % modulus).to_string()
}

fn problem(config: &Config) -> Option<&'static str> {
    use Action::*;
    let needs_target =
        matches!(config.action, Replace | HashMod | Lowercase | Uppercase | KeepEqual | DropEqual);
    let names_only = matches!(config.action, LabelDrop | LabelKeep);
    let comparing = matches!(config.action, KeepEqual | DropEqual);
    let beside_regex = config.separator.is_some() || config.replacement.is_some() || config.modulus != 0;
    if needs_target && config.target_label.is_empty() {
        return Some("needs a target_label");
    }
    if config.action == HashMod && config.modulus == 0 {
        return Some("needs a modulus above 0");
    }
    if config.action == LabelMap && config.replacement.as_deref() == Some("") {
        return Some("needs a replacement that gives a name");
    }
    if names_only && (beside_regex || !config.source_labels.is_empty() || !config.target_label.is_empty()) {
        return Some("takes a regex and nothing else");
    }
    if comparing && (config.regex.is_some() || beside_regex) {
        return Some("takes source_labels and a target_label and nothing else");
    }
    None
}

#[cfg(test)]
mod tests {
    use model::Labels;

    use super::*;

    fn rules(yaml: &str) -> Rules {
        let configs: Vec<Config> = settings::parse(yaml, "rules").expect("good settings");
        Rules::new(&configs).expect("good rules")
    }

    fn check(yaml: &str, input: &[(&str, &str)], expected: Option<&[(&str, &str)]>) {
        let mut labels = Labels::from_pairs(input.iter().copied()).to_builder();
        let kept = rules(yaml).apply(&mut labels);
        let expected = expected.map(|pairs| Labels::from_pairs(pairs.iter().copied()));
        assert_eq!(kept.then(|| labels.build()), expected, "{yaml}");
    }

    const ABC: &[(&str, &str)] = &[("a", "foo"), ("b", "bar"), ("c", "baz")];

    #[test]
    fn replace() {
        check(
            "- {source_labels: [a], regex: 'f(.*)', target_label: d, replacement: 'ch${1}-ch${1}'}",
            ABC,
            Some(&[("a", "foo"), ("b", "bar"), ("c", "baz"), ("d", "choo-choo")]),
        );
        check(
            "- {source_labels: [a, b], regex: 'f(.*);(.*)r', target_label: a, replacement: 'b${1}${2}m'}",
            ABC,
            Some(&[("a", "boobam"), ("b", "bar"), ("c", "baz")]),
        );
        // No match, no change; the expression is anchored.
        check("- {source_labels: [a], regex: 'o', target_label: d}", ABC, Some(ABC));
        check("- {target_label: d, replacement: x}", &[], Some(&[("d", "x")]));
        // An empty result removes the label.
        check(
            "- {source_labels: [a], regex: foo, target_label: b, replacement: ''}",
            ABC,
            Some(&[("a", "foo"), ("c", "baz")]),
        );
        check(
            "- {source_labels: [a], regex: '(.).*', target_label: '${1}x', replacement: y}",
            &[("a", "foo")],
            Some(&[("a", "foo"), ("fx", "y")]),
        );
        // "$1x" is the group named "1x", which there is not.
        check(
            "- {source_labels: [a], regex: '(.).*', target_label: d, replacement: '$1x'}",
            &[("a", "foo")],
            Some(&[("a", "foo")]),
        );
        check(
            "- {source_labels: [__address__], regex: '(.+):\\d+', target_label: instance}",
            &[("__address__", "h:1")],
            Some(&[("__address__", "h:1"), ("instance", "h")]),
        );
        check(
            "- {source_labels: [a], target_label: d}",
            &[("a", "x\ny")],
            Some(&[("a", "x\ny"), ("d", "x\ny")]),
        );
    }

    #[test]
    fn keep_and_drop() {
        check("- {source_labels: [a], regex: foo, action: drop}", ABC, None);
        check("- {source_labels: [a], regex: fo, action: drop}", ABC, Some(ABC));
        check("- {source_labels: [a], regex: 'f|.*o', action: keep}", ABC, Some(ABC));
        check("- {source_labels: [nothing], regex: '.+', action: keep}", ABC, None);
        check("- {source_labels: [a, b], separator: '', regex: foobar, action: drop}", ABC, None);
        check("- {source_labels: [a], target_label: b, action: keepequal}", ABC, None);
        check("- {source_labels: [a], target_label: b, action: dropequal}", ABC, Some(ABC));
        check("- {source_labels: [x], target_label: y, action: dropequal}", ABC, None);
    }

    #[test]
    fn names() {
        check("- {regex: '(b|c)', action: labeldrop}", ABC, Some(&[("a", "foo")]));
        check("- {regex: '(b|c)', action: labelkeep}", ABC, Some(&[("b", "bar"), ("c", "baz")]));
        check(
            "- {regex: '(b|c)', action: labelmap, replacement: 'x_$1'}",
            ABC,
            Some(&[("a", "foo"), ("b", "bar"), ("c", "baz"), ("x_b", "bar"), ("x_c", "baz")]),
        );
        check(
            "- {regex: '__meta_(my.*)', action: labelmap}",
            &[("__meta_my_x", "1"), ("__meta_y", "2")],
            Some(&[("__meta_my_x", "1"), ("__meta_y", "2"), ("my_x", "1")]),
        );
    }

    #[test]
    fn letters() {
        check(
            "- {source_labels: [a], target_label: d, action: uppercase}",
            &[("a", "bAr")],
            Some(&[("a", "bAr"), ("d", "BAR")]),
        );
        check(
            "- {source_labels: [a], target_label: d, action: lowercase}",
            &[("a", "bAr")],
            Some(&[("a", "bAr"), ("d", "bar")]),
        );
    }

    /// The expected values are those of Prometheus' own tests.
    #[test]
    fn hashes_as_prometheus_does() {
        check(
            "- {source_labels: [c], target_label: d, modulus: 1000, action: hashmod}",
            ABC,
            Some(&[("a", "foo"), ("b", "bar"), ("c", "baz"), ("d", "976")]),
        );
        check(
            "- {source_labels: [c], target_label: d, modulus: 1000, action: hashmod}",
            &[("c", "foo\nbar")],
            Some(&[("c", "foo\nbar"), ("d", "734")]),
        );
    }

    #[test]
    fn rules_follow_one_another_until_one_drops() {
        check(
            "- {source_labels: [a], target_label: d}\n- {source_labels: [d], regex: foo, action: drop}\n- {target_label: e, replacement: x}",
            ABC,
            None,
        );
    }

    fn check_refused(yaml: &str, expected: &str) {
        let configs: Vec<Config> = settings::parse(yaml, "rules").expect("well formed");
        let error = Rules::new(&configs).expect_err("refused").to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        check_refused("- {source_labels: [a]}", "rule 1: Replace needs a target_label");
        check_refused("- {target_label: a, action: hashmod}", "modulus");
        check_refused("- {regex: a, target_label: b, action: labeldrop}", "nothing else");
        check_refused("- {source_labels: [a], target_label: b, regex: c, action: keepequal}", "nothing else");
        check_refused(
            "- {target_label: b}\n- {regex: 'a(', action: labelkeep}",
            "rule 2: the regular expression \"a(\"",
        );
        check_refused("- {regex: 'a)(b', action: labelkeep}", "\"a)(b\"");
        check_refused("- {regex: '((a{1000}){1000}){1000}', action: labelkeep}", "the regular expression");
        assert!(settings::parse::<Vec<Config>>("- {action: sort}", "rules").is_err());
        assert!(settings::parse::<Vec<Config>>("- {source_label: [a]}", "rules").is_err());
    }
}
