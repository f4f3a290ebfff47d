//! The roll: which series each sender had, kept over restarts, so that a limit on them is none that a restart lifts.
//!
//! In: keyed 64-bit hashes of the series' labels by sender. Out: a file in the data folder, replaced as a whole every ten minutes
//! and at the end, read at the start. Series that a sender had count for another hour, or until they come again: whatever lives is
//! sent more often. The file is no more than a memory: a lost or damaged one lets every sender begin at nothing, and a crash
//! forgets what was added since it was written. Its bytes are drawn in `docs/formats/roll.md`.
//!
//! Limits: 8 bytes a series; a file of more than [`FILE_BYTES_MAX`] is neither written nor read.

use std::collections::{HashMap, HashSet};
use std::hash::Hasher as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use journal::disk::Disk;
use model::Timestamp;
use rand::Rng as _;
use siphasher::sip::SipHasher13;

/// The file's name in the data folder.
pub(crate) const FILE_NAME: &str = "roll";
/// The largest file: some hundred million series.
const FILE_BYTES_MAX: usize = 1 << 30;
/// How long series that were there before a restart count although they do not come.
const EXPECTED_FOR: Duration = Duration::from_secs(3600);

const MAGIC: &[u8; 8] = b"PANTROL1";

/// A sender's series of before a restart that have not come again.
#[derive(Clone, Debug, Default)]
pub(super) struct Absent {
    key: [u8; 16],
    hashes: HashSet<u64>,
    until: Timestamp,
}

impl Absent {
    pub(super) fn len(&self) -> usize {
        self.hashes.len()
    }

    /// The hash of labels that are missed.
    pub(super) fn find(&self, labels: &[u8]) -> Option<u64> {
        if self.hashes.is_empty() {
            return None;
        }
        let hash = hash(&self.key, labels);
        self.hashes.contains(&hash).then_some(hash)
    }

    /// Those that are still expected.
    pub(super) fn hashes(&self, now: Timestamp) -> Vec<u64> {
        if self.is_over(now) { Vec::new() } else { self.hashes.iter().copied().collect() }
    }

    pub(super) fn came_back(&mut self, hashes: &[u64]) {
        for hash in hashes {
            self.hashes.remove(hash);
        }
    }

    /// Whether nobody waits for them any more.
    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        !self.hashes.is_empty() && !is_awaited(self.until, now)
    }

    pub(super) fn end(&mut self, now: Timestamp) {
        if self.is_over(now) {
            self.hashes = HashSet::new();
        }
    }
}

/// Whether what is expected until a time is expected now. A clock that was ahead at the start and was set right is far before that time,
/// and nobody waits for years.
fn is_awaited(until: Timestamp, now: Timestamp) -> bool {
    let left = until.millis_since(now);
    left > 0 && left <= 2 * EXPECTED_FOR.as_millis() as i64
}

fn hash(key: &[u8; 16], labels: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new_with_key(key);
    hasher.write(labels);
    hasher.finish()
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Roll {
    path: Option<PathBuf>,
    key: [u8; 16],
    /// Of senders that have not come since the start.
    senders: HashMap<String, HashSet<u64>>,
    until: Timestamp,
}

impl Roll {
    /// Knows nobody, and is written nowhere.
    pub(super) fn new() -> Self {
        let mut key = [0; 16];
        rand::rng().fill_bytes(&mut key);
        Self { path: None, key, senders: HashMap::new(), until: Timestamp::MIN }
    }

    /// Reads the file of a data folder. What cannot be read is said and left out.
    pub(super) fn open(disk: &dyn Disk, data: &Path, now: Timestamp) -> Self {
        let path = data.join(FILE_NAME);
        let mut roll = Self { path: Some(path.clone()), until: now + EXPECTED_FOR, ..Self::new() };
        let read = journal::files::read(disk, &path, FILE_BYTES_MAX).map_err(|error| error.to_string());
        match read.and_then(|bytes| bytes.map(|bytes| read_bytes(&bytes)).transpose()) {
            Ok(None) => {}
            Ok(Some((key, senders))) => (roll.key, roll.senders) = (key, senders),
            Err(why) => tracing::warn!(
                "cannot read {}: {why}; the limits on senders' series begin at nothing",
                path.display()
            ),
        }
        roll
    }

    /// What a sender had, asked for once.
    pub(super) fn take(&mut self, sender: &str) -> Absent {
        let hashes = self.senders.remove(sender).unwrap_or_default();
        Absent { key: self.key, hashes, until: self.until }
    }

    pub(super) fn hash(&self, labels: &[u8]) -> u64 {
        hash(&self.key, labels)
    }

    /// Senders that had a series before the restart and have not come since.
    pub(super) fn missed(&self, labels: &[u8]) -> impl Iterator<Item = &str> {
        let hash = if self.senders.is_empty() { 0 } else { self.hash(labels) };
        let had = move |hashes: &HashSet<u64>| hashes.contains(&hash);
        self.senders.iter().filter(move |(_, hashes)| had(hashes)).map(|(name, _)| name.as_str())
    }

    /// Writes the file: these senders, and those who have not come yet while they are expected.
    pub(super) fn write(
        &self,
        disk: &dyn Disk,
        senders: &[(String, Vec<u64>)],
        now: Timestamp,
    ) -> std::io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let missed = self.senders.iter().filter(|_| is_awaited(self.until, now));
        let missed = missed.map(|(name, hashes)| (name.as_str(), hashes.iter().copied().collect()));
        let here = senders.iter().map(|(name, hashes)| (name.as_str(), hashes.clone()));
        let bytes = to_bytes(&self.key, missed.chain(here));
        if bytes.len() > FILE_BYTES_MAX {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        journal::files::replace(disk, path, &bytes)
    }
}

fn to_bytes<'a>(key: &[u8; 16], senders: impl Iterator<Item = (&'a str, Vec<u64>)>) -> Vec<u8> {
    let mut bytes = [&MAGIC[..], key].concat();
    let mut senders: Vec<_> =
        senders.filter(|(name, hashes)| name.len() < 1 << 16 && !hashes.is_empty()).collect();
    senders.sort_unstable();
    bytes.extend((senders.len() as u32).to_le_bytes());
    for (name, mut hashes) in senders {
        hashes.sort_unstable();
        hashes.dedup();
        bytes.extend((name.len() as u16).to_le_bytes());
        bytes.extend(name.as_bytes());
        bytes.extend((hashes.len() as u32).to_le_bytes());
        hashes.iter().for_each(|hash| bytes.extend(hash.to_le_bytes()));
    }
    let sum = crc32c::crc32c(&bytes);
    bytes.extend(sum.to_le_bytes());
    bytes
}

type Content = ([u8; 16], HashMap<String, HashSet<u64>>);

fn read_bytes(bytes: &[u8]) -> Result<Content, String> {
    let damaged = || "its bytes are damaged".to_owned();
    let (content, sum) = bytes.split_last_chunk::<4>().ok_or_else(damaged)?;
    if crc32c::crc32c(content) != u32::from_le_bytes(*sum) {
        return Err(damaged());
    }
    let Some(mut rest) = content.strip_prefix(MAGIC) else {
        return Err("it is of another version".to_owned());
    };
    let key = take::<16>(&mut rest).ok_or_else(damaged)?;
    let count = u32::from_le_bytes(take(&mut rest).ok_or_else(damaged)?);
    let mut senders = HashMap::new();
    for _ in 0..count {
        let (name, hashes) = take_sender(&mut rest).ok_or_else(damaged)?;
        senders.insert(name, hashes);
    }
    if rest.is_empty() { Ok((key, senders)) } else { Err(damaged()) }
}

fn take_sender(rest: &mut &[u8]) -> Option<(String, HashSet<u64>)> {
    let length = u16::from_le_bytes(take(rest)?);
    let (name, behind) = rest.split_at_checked(length.into())?;
    *rest = behind;
    let count = u32::from_le_bytes(take(rest)?) as usize;
    let (hashes, behind) = rest.split_at_checked(count.checked_mul(8)?)?;
    *rest = behind;
    let hashes = hashes.as_chunks::<8>().0.iter().map(|hash| u64::from_le_bytes(*hash)).collect();
    Some((String::from_utf8(name.to_vec()).ok()?, hashes))
}

fn take<const COUNT: usize>(rest: &mut &[u8]) -> Option<[u8; COUNT]> {
    let (taken, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(*taken)
}

#[cfg(test)]
mod tests {
    use journal::disk::RealDisk;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    #[test]
    fn what_a_sender_had_is_known_after_a_restart_for_an_hour() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut roll = Roll::open(&RealDisk, folder.path(), NOW);
        assert_eq!(roll.take("kudus-gw").len(), 0);
        let hashes = vec![roll.hash(b"one"), roll.hash(b"two")];
        roll.write(&RealDisk, &[("kudus-gw".into(), hashes)], NOW).expect("written");
        // Who has not come by the second restart is still expected.
        let again = Roll::open(&RealDisk, folder.path(), NOW);
        again.write(&RealDisk, &[], NOW).expect("written");
        let mut roll = Roll::open(&RealDisk, folder.path(), NOW);
        let mut absent = roll.take("kudus-gw");
        assert_eq!((absent.len(), absent.find(b"three")), (2, None));
        let one = absent.find(b"one").expect("it was there");
        absent.came_back(&[one]);
        assert_eq!((absent.len(), absent.find(b"one")), (1, None));
        absent.end(NOW + EXPECTED_FOR - Duration::from_millis(1));
        assert_eq!(absent.len(), 1);
        absent.end(NOW + EXPECTED_FOR);
        assert_eq!(absent.len(), 0);
    }

    /// They counted against the limits for as long as the clock had been ahead.
    #[test]
    fn a_clock_that_was_years_ahead_at_the_start_keeps_nobody_waiting_for_years() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut roll = Roll::open(&RealDisk, folder.path(), NOW);
        let hashes = vec![roll.hash(b"one")];
        roll.write(&RealDisk, &[("a".into(), hashes.clone()), ("b".into(), hashes)], NOW).expect("written");
        let ahead = NOW + Duration::from_secs(5 * 365 * 86_400);
        roll = Roll::open(&RealDisk, folder.path(), ahead);
        let mut absent = roll.take("a");
        assert_eq!((absent.is_over(ahead), absent.is_over(NOW)), (false, true));
        absent.end(NOW);
        assert_eq!(absent.len(), 0);
        roll.write(&RealDisk, &[], NOW).expect("written");
        assert_eq!(Roll::open(&RealDisk, folder.path(), NOW).take("b").len(), 0);
        // Set back by a little right after the start: they are still expected.
        let mut roll = Roll::open(&RealDisk, folder.path(), NOW);
        roll.senders = [("a".to_owned(), [1].into())].into();
        assert!(!roll.take("a").is_over(NOW - Duration::from_secs(1800)));
    }

    #[test]
    fn a_damaged_file_is_as_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(FILE_NAME);
        let whole = to_bytes(&[7; 16], [("a", vec![1, 2]), ("b", vec![3])].into_iter());
        assert_eq!(read_bytes(&whole).expect("whole").1.len(), 2);
        for cut in 0..whole.len() {
            assert!(read_bytes(&whole[..cut]).is_err(), "{cut}");
            let mut turned = whole.clone();
            turned[cut] ^= 1;
            assert!(read_bytes(&turned).is_err(), "{cut}");
            std::fs::write(&path, &whole[..cut]).expect("written");
            assert_eq!(Roll::open(&RealDisk, folder.path(), NOW).take("a").len(), 0);
        }
        let mut newer = whole[..whole.len() - 4].to_vec();
        newer[7] = b'2';
        newer.extend(crc32c::crc32c(&newer).to_le_bytes());
        assert_eq!(read_bytes(&newer), Err("it is of another version".to_owned()));
    }
}
