//! What is remembered of a sender: which series its encoded labels mean.
//!
//! In: bytes of labels as the sender encodes them. Out: the store's reference, without parsing a text. Equal bytes of one sender
//! mean equal labels, so a keyed 128-bit SipHash of them stands for the series; the key is drawn at random for each cache, so
//! that nobody can make two series meet. Everything is forgotten when the store forgets series ([`Cache::follow`]).
//!
//! Senders repeat themselves: series come in the order in which they came the last time. Entries stand in that order, and the one
//! behind the last one found is looked at first, so that a known request is one walk through memory and not a cache miss for
//! each series (measured: a tenth of a request's time).
//!
//! Limits: one entry (32 bytes, and about 8 of the table) for each encoding of a series; past four encodings a series (and some)
//! all are forgotten once.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, RwLock, RwLockReadGuard};

use hashbrown::HashTable;
use rand::Rng as _;
use siphasher::sip128::SipHasher13;
use tsdb::SeriesRef;

/// Encodings that are kept however few series there are.
const ENCODINGS_FREE: usize = 4096;

/// Who sends: the name of its page in the ledger, and what its series are stamped with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The enrolled name, or one of [`RESERVED`](crate::enrolment::RESERVED).
    pub name: Arc<str>,
    /// Labels that are the collector's to say.
    pub stamp: Stamp,
}

/// Labels that are the collector's to say: what a sender puts there is overwritten, or removed where there is nothing to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// The label `region`.
    pub region: Option<String>,
    /// The label `site`.
    pub site: Option<String>,
    /// The only agent that the sender may name in the label `agent`: itself. Another one is moved to `exported_agent`.
    pub agent: Option<String>,
    /// Whether the sender may say region, site and agent of things (the collector's own series, which speak of agents).
    pub keeps_own: bool,
}

/// See the module's text.
pub(super) struct Cache {
    stamp: Stamp,
    key: [u8; 16],
    known: RwLock<Known>,
}

/// A reference is no random number: its bits are spread.
#[derive(Default)]
pub(super) struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only u64 are keys here");
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(26);
    }
}

/// What a cache holds.
#[derive(Default)]
pub(super) struct Known {
    generation: u64,
    /// In the order in which they were learnt.
    entries: Vec<(u128, SeriesRef)>,
    /// Places in `entries`, by the encoding's hash, which is as good as random already.
    places: HashTable<u32>,
    series: HashSet<u64, BuildHasherDefault<Spread>>,
}

impl Cache {
    pub(super) fn new(stamp: Stamp) -> Self {
        let mut key = [0; 16];
        rand::rng().fill_bytes(&mut key);
        Self { stamp, key, known: RwLock::default() }
    }

    pub(super) fn stamp(&self) -> &Stamp {
        &self.stamp
    }

    /// The keyed hash of some bytes.
    pub(super) fn hash(&self, bytes: &[u8]) -> u128 {
        SipHasher13::new_with_key(&self.key).hash(bytes).as_u128()
    }

    /// The keyed hash of some bytes that mean something only together with others, of which `context` is the keyed hash: it
    /// changes the key, so that the hash is made in one go.
    pub(super) fn hash_within(&self, context: u128, bytes: &[u8]) -> u128 {
        let key = u128::from_le_bytes(self.key) ^ context;
        SipHasher13::new_with_key(&key.to_le_bytes()).hash(bytes).as_u128()
    }

    /// Forgets everything if the store forgot series since the last time.
    pub(super) fn follow(&self, generation: u64) {
        if self.read().generation != generation {
            let mut known = self.known.write().expect("nothing panics while it holds this lock");
            if known.generation != generation {
                *known = Known { generation, ..Known::default() };
            }
        }
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().expect("nothing panics while it holds this lock")
    }

    /// Remembers series with their encodings (none where the bytes do not stand together), unless the store forgot series since
    /// they were looked up.
    pub(super) fn learn(&self, generation: u64, found: &[(Option<u128>, SeriesRef)]) {
        let mut known = self.known.write().expect("nothing panics while it holds this lock");
        if known.generation != generation {
            return;
        }
        known.series.extend(found.iter().map(|(_, series)| series.as_u64()));
        if known.entries.len() + found.len() > ENCODINGS_FREE + 4 * known.series.len() {
            known.entries.clear();
            known.places.clear();
        }
        for (encoding, series) in found {
            if let Some(encoding) = *encoding {
                known.remember(encoding, *series);
            }
        }
    }
}

impl Known {
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// The series of an encoding. `next` is the place to look at first, and is set behind the one that is found.
    #[inline]
    pub(super) fn find(&self, encoding: u128, next: &mut usize) -> Option<SeriesRef> {
        if let Some((have, series)) = self.entries.get(*next)
            && *have == encoding
        {
            *next += 1;
            return Some(*series);
        }
        let is_it = |place: &u32| self.entries[*place as usize].0 == encoding;
        let place = *self.places.find(encoding as u64, is_it)? as usize;
        *next = place + 1;
        Some(self.entries[place].1)
    }

    fn remember(&mut self, encoding: u128, series: SeriesRef) {
        let Self { entries, places, .. } = self;
        if places.find(encoding as u64, |place| entries[*place as usize].0 == encoding).is_some() {
            return;
        }
        let Ok(place) = u32::try_from(entries.len()) else { return };
        entries.push((encoding, series));
        places.insert_unique(encoding as u64, place, |place| entries[*place as usize].0 as u64);
    }

    pub(super) fn has_series(&self, series: SeriesRef) -> bool {
        self.series.contains(&series.as_u64())
    }

    pub(super) fn series_count(&self) -> usize {
        self.series.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// References that only a store can make: one for each number.
    fn references(count: usize) -> Vec<SeriesRef> {
        let folder = tempfile::tempdir().expect("a folder");
        let options = crate::storage::Config::default();
        let store =
            crate::storage::open(folder.path(), &options, &crate::ledger::Ledger::new()).expect("opened");
        let labels = |number: usize| {
            model::Labels::from_pairs([("__name__", "x"), ("n", number.to_string().as_str())])
        };
        (0..count).map(|number| store.resolve(&labels(number)).expect("added")).collect()
    }

    #[test]
    fn what_was_learnt_is_found_in_any_order() {
        let cache = Cache::new(Stamp::default());
        let series = references(50);
        let hash = |number: usize| cache.hash(&number.to_le_bytes());
        let found: Vec<_> =
            series.iter().enumerate().map(|(number, series)| (Some(hash(number)), *series)).collect();
        cache.learn(0, &found);
        cache.learn(0, &found[10..20]);
        let known = cache.read();
        assert_eq!((known.entries.len(), known.series_count()), (50, 50), "learnt once");
        for step in [1, 7, 49] {
            let mut next = 0;
            for number in (0..50).map(|number| number * step % 50) {
                assert_eq!(
                    known.find(hash(number), &mut next),
                    Some(series[number]),
                    "{number} by steps of {step}"
                );
            }
        }
        assert_eq!(known.find(hash(50), &mut 3), None);
        assert_ne!(
            Cache::new(Stamp::default()).hash(b"x"),
            cache.hash(b"x"),
            "each cache has a key of its own"
        );
    }

    #[test]
    fn encodings_are_bounded_by_the_series_that_they_mean() {
        let cache = Cache::new(Stamp::default());
        let one = references(1)[0];
        for number in 0..3 * ENCODINGS_FREE {
            cache.learn(0, &[(Some(cache.hash(&number.to_le_bytes())), one)]);
            assert!(cache.read().entries.len() <= ENCODINGS_FREE + 4);
        }
        let last = cache.hash(&(3 * ENCODINGS_FREE - 1).to_le_bytes());
        assert_eq!(cache.read().find(last, &mut 0), Some(one));
        cache.follow(1);
        assert_eq!(cache.read().find(last, &mut 0), None, "the store forgot series, so does the cache");
        cache.learn(0, &[(Some(last), one)]);
        assert_eq!(cache.read().find(last, &mut 0), None, "what was found before that is not learnt");
    }
}
