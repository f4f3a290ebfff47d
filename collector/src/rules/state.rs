//! The state of alerts on disk, so that a restart neither forgets nor repeats them: the file `rules.state` in the data folder.
//!
//! In and out: [`Saved`], by a number made of what a rule is, so that a rule that was changed begins anew. The file is replaced as a
//! whole; a lost or damaged one lets every alert begin anew and is said; the damaged one is set aside. Its bytes are drawn in `docs/formats/rules-state.md`.
//!
//! Limits: a file of at most [`FILE_BYTES_MAX`].

use std::collections::HashMap;
use std::hash::Hasher as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use journal::disk::Disk;
use model::{Labels, Timestamp};
use siphasher::sip128::{Hasher128 as _, SipHasher13};

use super::file::{Rule, RuleKind};
use super::group::Spec;

/// The file's name in the data folder.
pub(super) const FILE_NAME: &str = "rules.state";
/// The name of one that could not be used.
const ASIDE_NAME: &str = "rules.state.damaged";
/// The largest file: about a million alerts.
const FILE_BYTES_MAX: usize = 1 << 30;

const MAGIC: &[u8; 8] = b"PANTRUL1";

/// In place of a rule's number: alerts of rules that are no more, of which receivers have not yet heard the end.
pub(super) const LOST: u128 = 0;

/// Who wrote the series that an alert rests on, by the alert's labels.
pub(super) type SendersOf = HashMap<Labels, Vec<Arc<str>>>;

/// The state of one rule.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Kept {
    /// As `alerting` writes it.
    pub(super) alerts: Vec<u8>,
    /// For alerts whose data stopped.
    pub(super) senders: SendersOf,
}

/// The state of all rules at a time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Saved {
    pub(super) at: Timestamp,
    pub(super) rules: HashMap<u128, Kept>,
}

/// The number of a rule: equal as long as it is the same rule of the same group. `twin` tells equal rules of one group apart.
pub(super) fn number(spec: &Spec, rule: &Rule, twin: usize) -> u128 {
    let mut hasher = SipHasher13::new();
    let mut text = |text: &str| {
        hasher.write(&(text.len() as u64).to_le_bytes());
        hasher.write(text.as_bytes());
    };
    [&spec.file, &spec.name, &rule.name, &rule.text].into_iter().for_each(|part| text(part));
    for (name, value) in &rule.labels {
        text(name);
        text(value);
    }
    if matches!(rule.kind, RuleKind::Record) {
        text("record");
    }
    hasher.write(&(twin as u64).to_le_bytes());
    hasher.finish128().as_u128()
}

pub(super) fn path_in(data: &Path) -> PathBuf {
    data.join(FILE_NAME)
}

impl Saved {
    /// Reads the file; `None`, said in the log, where it cannot be used.
    pub(super) fn read(disk: &dyn Disk, data: &Path) -> Option<Self> {
        let path = path_in(data);
        let bytes = match journal::files::read(disk, &path, FILE_BYTES_MAX) {
            Ok(bytes) => bytes?,
            Err(error) => {
                tracing::warn!("cannot read {}: {error}; alerts begin anew", path.display());
                return None;
            }
        };
        match Self::from_bytes(&bytes) {
            Ok(saved) => Some(saved),
            Err(why) => {
                let kept = set_aside(disk, &path);
                tracing::warn!("cannot read {}: {why}; alerts begin anew; {kept}", path.display());
                None
            }
        }
    }

    /// Replaces the file.
    pub(super) fn write(&self, disk: &dyn Disk, data: &Path) -> std::io::Result<()> {
        let bytes = self.to_bytes();
        if bytes.len() > FILE_BYTES_MAX {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        journal::files::replace(disk, &path_in(data), &bytes)
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(self.at.as_millis().to_le_bytes());
        bytes.extend((self.rules.len() as u32).to_le_bytes());
        let mut rules: Vec<_> = self.rules.iter().collect();
        rules.sort_by_key(|(number, _)| **number);
        for (number, kept) in rules {
            bytes.extend(number.to_le_bytes());
            push(&mut bytes, &kept.alerts);
            bytes.extend((kept.senders.len() as u32).to_le_bytes());
            let mut senders: Vec<_> = kept.senders.iter().collect();
            senders.sort();
            for (labels, names) in senders {
                push(&mut bytes, labels.as_bytes());
                bytes.extend((names.len() as u32).to_le_bytes());
                names.iter().for_each(|name| push(&mut bytes, name.as_bytes()));
            }
        }
        let sum = crc32c::crc32c(&bytes);
        bytes.extend(sum.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let damaged = || "its bytes are damaged".to_owned();
        let (content, sum) = bytes.split_last_chunk::<4>().ok_or_else(damaged)?;
        if crc32c::crc32c(content) != u32::from_le_bytes(*sum) {
            return Err(damaged());
        }
        let mut rest = content.strip_prefix(MAGIC).ok_or("it is of another version")?;
        let saved = take_saved(&mut rest).ok_or_else(damaged)?;
        if rest.is_empty() { Ok(saved) } else { Err(damaged()) }
    }
}

/// Gives a file that cannot be used another name, because the next state would take its place: a newer program, or someone who looks
/// for what was lost, can still read it. Says what came of it.
fn set_aside(disk: &dyn Disk, path: &Path) -> String {
    let aside = path.with_file_name(ASIDE_NAME);
    match disk.rename(path, &aside) {
        Ok(()) => format!("the file is kept as {}", aside.display()),
        Err(error) => format!("the file could not be set aside and will be replaced ({error})"),
    }
}

fn push(bytes: &mut Vec<u8>, part: &[u8]) {
    bytes.extend((part.len() as u32).to_le_bytes());
    bytes.extend(part);
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

fn take_part<'b>(rest: &mut &'b [u8]) -> Option<&'b [u8]> {
    let length = u32::from_le_bytes(take(rest)?) as usize;
    let (part, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    Some(part)
}

fn take_saved(rest: &mut &[u8]) -> Option<Saved> {
    let at = Timestamp::from_millis(i64::from_le_bytes(take(rest)?));
    let mut rules = HashMap::new();
    for _ in 0..u32::from_le_bytes(take(rest)?) {
        let number = u128::from_le_bytes(take(rest)?);
        let alerts = take_part(rest)?.to_vec();
        let mut senders = SendersOf::new();
        for _ in 0..u32::from_le_bytes(take(rest)?) {
            let labels = Labels::from_bytes(take_part(rest)?)?;
            let mut names = Vec::new();
            for _ in 0..u32::from_le_bytes(take(rest)?) {
                names.push(Arc::from(std::str::from_utf8(take_part(rest)?).ok()?));
            }
            senders.insert(labels, names);
        }
        rules.insert(number, Kept { alerts, senders });
    }
    Some(Saved { at, rules })
}

#[cfg(test)]
mod tests {
    use journal::disk::RealDisk;

    use super::*;

    fn saved() -> Saved {
        let labels = Labels::from_pairs([("alertname", "Down"), ("instance", "a")]);
        let senders = SendersOf::from([(labels, vec![Arc::from("kudus-1"), Arc::from("kudus-2")])]);
        let kept = Kept { alerts: b"what alerting writes".to_vec(), senders };
        let rules = HashMap::from([(7, kept), (u128::MAX, Kept::default())]);
        Saved { at: Timestamp::from_millis(1_795_316_400_250), rules }
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(Saved::read(&RealDisk, folder.path()), None, "nothing yet");
        saved().write(&RealDisk, folder.path()).expect("written");
        assert_eq!(Saved::read(&RealDisk, folder.path()), Some(saved()));
    }

    #[test]
    fn what_cannot_be_used_is_set_aside() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(path_in(folder.path()), b"PANTRUL9 of a newer program").expect("written");
        assert_eq!(Saved::read(&RealDisk, folder.path()), None);
        saved().write(&RealDisk, folder.path()).expect("written");
        let aside = std::fs::read(folder.path().join(ASIDE_NAME)).expect("it is kept");
        assert_eq!(aside, b"PANTRUL9 of a newer program");
        assert_eq!(Saved::read(&RealDisk, folder.path()), Some(saved()));
    }

    #[test]
    fn damage_anywhere_is_seen() {
        let bytes = saved().to_bytes();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(Saved::from_bytes(&damaged).is_err(), "byte {at}");
            assert!(Saved::from_bytes(&bytes[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_good_sum_over_nonsense_is_no_state() {
        for content in [&b"PANTRUL1"[..], b"PANTRUL1\0\0\0\0\0\0\0\0\xff\xff\xff\xff", b"PANTRUL2"] {
            let mut bytes = content.to_vec();
            bytes.extend(crc32c::crc32c(content).to_le_bytes());
            assert!(Saved::from_bytes(&bytes).is_err());
        }
    }
}
