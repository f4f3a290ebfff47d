//! Trials: recordings in a profile's own file, and the samples that they must give.
//!
//! A trial lists, for every family that it names, all of the family's samples: one too many fails as one too few does. Floats agree
//! within a millionth of a millionth.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use snmp::Oid;

use crate::evaluator::{Evaluator, Handle, Outcome, Reason, Sink};
use crate::profile::{Family, Profile};
use crate::recorded::Recorded;
use crate::set::{Identity, Set};

/// A sample as the exposition format writes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The metric's name.
    pub family: String,
    /// Labels, sorted by name.
    pub labels: Vec<(String, String)>,
    /// Its value.
    pub value: f64,
}

impl Sample {
    /// A label's text.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(known, _)| known == name).map(|(_, text)| text.as_str())
    }

    fn key(&self) -> String {
        let labels: Vec<String> = self.labels.iter().map(|(name, text)| format!("{name}={text:?}")).collect();
        format!("{}{{{}}}", self.family, labels.join(","))
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.key(), self.value)
    }
}

/// A sink that keeps everything: for trials, tests and `snmp test`.
#[derive(Debug, Default)]
pub struct Samples {
    series: Vec<Sample>,
    /// Samples of all rounds, in order.
    pub samples: Vec<Sample>,
    /// Values withheld, by family and reason.
    pub refused: BTreeMap<(String, Reason), u64>,
    /// Rows of which `when` let nothing through, by the table's ordinal in the plan.
    pub rows_withheld: BTreeMap<usize, u64>,
    table: usize,
}

impl Samples {
    /// What one whole round over a recording gives.
    pub fn of(profile: &std::sync::Arc<Profile>, recorded: &Recorded) -> (Self, Outcome) {
        let mut samples = Self::default();
        let outcome = Evaluator::new(profile).round(recorded.readings(profile.plan()), &mut samples);
        (samples, outcome)
    }

    /// The samples of a family.
    pub fn family(&self, name: &str) -> impl Iterator<Item = &Sample> {
        self.samples.iter().filter(move |sample| sample.family == name)
    }
}

impl Sink for Samples {
    fn table(&mut self, table: usize) {
        self.table = table;
    }

    fn row_withheld(&mut self) {
        *self.rows_withheld.entry(self.table).or_default() += 1;
    }

    fn series(&mut self, family: &Family, labels: &[(&str, &str)]) -> Option<Handle> {
        let mut labels: Vec<(String, String)> =
            labels.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        labels.sort();
        self.series.push(Sample { family: family.name.to_string(), labels, value: 0.0 });
        Some(Handle(u32::try_from(self.series.len() - 1).expect("rows and metrics are bounded")))
    }

    fn value(&mut self, handle: Handle, value: f64) {
        self.samples.push(Sample { value, ..self.series[handle.0 as usize].clone() });
    }

    fn refused(&mut self, family: &Family, reason: Reason) {
        *self.refused.entry((family.name.to_string(), reason)).or_default() += 1;
    }
}

impl Set {
    /// The profile that suits a recording, as for the device itself.
    pub fn choose_recorded(&self, recorded: &Recorded) -> Option<crate::Choice> {
        let (object, descr) = (recorded.sys_object_id(), recorded.sys_descr());
        let answers = |oid: &Oid| recorded.get(oid).is_some_and(|value| !value.is_exception());
        self.choose(&Identity { sys_object_id: &object, sys_descr: &descr, answers: &answers })
    }

    /// Runs the trials of every profile; the texts say what is wrong, none means that all is well.
    pub fn try_all(&self) -> Vec<String> {
        self.profiles().iter().flat_map(|profile| self.try_one(profile)).collect()
    }

    /// Runs the trials of one profile, by its name; none where there is no such profile.
    pub fn try_named(&self, name: &str) -> Option<Vec<String>> {
        self.get(name).map(|profile| self.try_one(profile))
    }

    fn try_one(&self, profile: &std::sync::Arc<Profile>) -> Vec<String> {
        let mut faults = Vec::new();
        for trial in &profile.trials {
            let place = |text: &crate::format::Text| format!("{}:{}", profile.file, text.place.line);
            let recorded = match Recorded::parse(trial.recording.value.as_bytes()) {
                Ok(recorded) => recorded,
                Err(error) => {
                    faults.push(format!("{}: {}: {error}", place(&trial.recording), trial.name.value));
                    continue;
                }
            };
            let mut fault = |text: &crate::format::Text, what: String| {
                faults.push(format!("{}: {}: {what}", place(text), trial.name.value));
            };
            if profile.chosen && recorded.sys_object_id().view().len() > 2 {
                let choice = self.choose_recorded(&recorded);
                if choice.as_ref().is_none_or(|choice| choice.profile.name != profile.name) {
                    let why = choice.map_or_else(|| "no profile".to_owned(), |choice| choice.why);
                    fault(
                        &trial.recording,
                        format!("the recording is not this profile's, but that of {why}"),
                    );
                }
            }
            let (samples, _) = Samples::of(profile, &recorded);
            compare(trial, &samples, &mut fault);
        }
        faults
    }
}

fn compare(
    trial: &crate::format::Trial,
    samples: &Samples,
    fault: &mut dyn FnMut(&crate::format::Text, String),
) {
    let mut left: Vec<&Sample> = samples.samples.iter().collect();
    let mut named = BTreeSet::new();
    for line in &trial.expect {
        let Some(wanted) = read_sample(&line.value) else {
            fault(line, format!("{:?} is no sample: write name{{label=\"text\"}} 1.5", line.value));
            continue;
        };
        named.insert(wanted.family.clone());
        let key = wanted.key();
        match left.iter().position(|have| have.key() == key) {
            Some(at) if close(left[at].value, wanted.value) => drop(left.remove(at)),
            Some(at) => fault(line, format!("{} was expected, {} came", line.value, left.remove(at).value)),
            None => fault(line, format!("{} did not come", line.value)),
        }
    }
    for sample in left.iter().filter(|sample| named.contains(&sample.family)) {
        fault(&trial.name, format!("{sample} came beside what was expected"));
    }
    for name in &trial.absent {
        for sample in samples.family(&name.value) {
            fault(name, format!("{sample} came and must not"));
        }
    }
    for (key, wanted) in &trial.refused.0 {
        let came = samples
            .refused
            .iter()
            .filter(|((family, reason), _)| format!("{family} {}", reason.as_str()) == key.value);
        let came: u64 = came.map(|(_, count)| count).sum();
        if came != *wanted {
            let all: Vec<String> = samples
                .refused
                .iter()
                .map(|((family, reason), n)| format!("{family} {}: {n}", reason.as_str()))
                .collect();
            fault(
                key,
                format!("{} withheld {came} times, not {wanted} (all: {})", key.value, all.join(", ")),
            );
        }
    }
}

fn close(a: f64, b: f64) -> bool {
    a == b || (a - b).abs() <= 1e-12 * a.abs().max(b.abs())
}

/// `name{a="b",c="d"} 1.5`; labels may be left away. Texts know the escapes `\"`, `\\` and `\n`.
fn read_sample(line: &str) -> Option<Sample> {
    let line = line.trim();
    let end = line.find(['{', ' '])?;
    let (family, mut rest) = (line[..end].to_owned(), &line[end..]);
    let mut labels = Vec::new();
    if let Some(after) = rest.strip_prefix('{') {
        rest = after;
        loop {
            rest = rest.trim_start_matches([',', ' ']);
            if let Some(after) = rest.strip_prefix('}') {
                rest = after;
                break;
            }
            let (name, after) = rest.split_once("=\"")?;
            let (text, after) = read_text(after)?;
            labels.push((name.trim().to_owned(), text));
            rest = after;
        }
    }
    labels.sort();
    Some(Sample { family, labels, value: rest.trim().parse().ok()? })
}

fn read_text(rest: &str) -> Option<(String, &str)> {
    let mut out = String::new();
    let mut letters = rest.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((out, &rest[at + 1..])),
            '\\' => match letters.next()?.1 {
                'n' => out.push('\n'),
                other => out.push(other),
            },
            _ => out.push(letter),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_read_as_they_print() {
        let check = |line: &str| assert_eq!(read_sample(line).expect(line).to_string(), line);
        check("a{} 1");
        check("a{b=\"c\",d=\"e \\\"f\\\" \\\\\"} -2.5");
        assert_eq!(read_sample("a 1").expect("no labels").to_string(), "a{} 1");
        for bad in ["", "a", "a{b=c} 1", "a{b=\"c} 1", "a{b=\"c\"}"] {
            assert!(read_sample(bad).is_none(), "{bad:?}");
        }
    }
}
