//! What is remembered of a sender: which series its encoded labels mean.
//!
//! In: bytes of labels as the sender encodes them. Out: the store's reference, without parsing a text. Equal bytes of one sender
//! mean equal labels, so a keyed 128-bit SipHash of them stands for the series; the key is drawn at random for each cache, so
//! that nobody can make two series meet. When the store forgets series, so does the cache ([`Cache::follow`]): what it holds are
//! the sender's *active* series, those that have samples in the store's head, and their number is what limits are held against.
//! After a restart the series that the sender had before it (`roll.rs`) count as well, until they come again or an hour has passed.
//!
//! Senders repeat themselves: series come in the order in which they came the last time. Entries stand in that order, and the one
//! behind the last one found is looked at first, so that a known request is one walk through memory and not a cache miss for
//! each series (measured: a tenth of a request's time).
//!
//! Limits: one entry (24 bytes, and about 8 of the table) for each encoding of a series; past four encodings a series (and some)
//! all are forgotten once.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, RwLock, RwLockReadGuard};

use hashbrown::HashTable;
use model::Timestamp;
use rand::Rng as _;
use siphasher::sip128::SipHasher13;
use tsdb::{SeriesRef, Store};

use super::roll::Absent;

/// Encodings that are kept however few series there are.
const ENCODINGS_FREE: usize = 4096;

/// What the store forgot is looked for this often; a sender that writes to such a series again makes it sooner.
const FOLLOW_EVERY_MS: i64 = 10_000;

/// A clock that is behind the latest request by more than this was set back. An allowance fills up within it.
const SET_BACK_MS: i64 = 60_000;

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
    /// Series that requests under way add: none of them may count on the same last place.
    adding: AtomicUsize,
    allowance: Mutex<Allowance>,
    stale: AtomicBool,
}

/// How many new series the sender may still bring: a bucket that fills up within a minute.
#[derive(Clone, Copy, Debug, Default)]
struct Allowance {
    used: f64,
    at: Option<Timestamp>,
}

impl Allowance {
    fn take(&mut self, at: Timestamp, a_minute: u64) -> bool {
        let limit = a_minute as f64;
        let passed = self.at.map_or(0, |before| at.millis_since(before)).max(0) as f64;
        self.used = (self.used - passed * limit / 60_000.0).max(0.0);
        // A request that waited has an earlier time than one that did not, and gives nothing twice. Earlier by more than that is a clock
        // that was ahead and was set right: waiting for it to come there again would take as long as it was wrong.
        let is_set_back = |before: Timestamp| before.millis_since(at) > SET_BACK_MS;
        self.at = Some(self.at.map_or(at, |before| if is_set_back(before) { at } else { before.max(at) }));
        let fits = self.used + 1.0 <= limit;
        self.used += f64::from(u8::from(fits));
        fits
    }
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

/// An encoding by its hash, and the series that it means.
struct Entry {
    /// The lower half first: as a `u128` the entry would take a third more.
    encoding: [u64; 2],
    series: SeriesRef,
}

impl Entry {
    fn new(encoding: u128, series: SeriesRef) -> Self {
        Self { encoding: halves(encoding), series }
    }

    fn is(&self, encoding: u128) -> bool {
        self.encoding == halves(encoding)
    }
}

const fn halves(encoding: u128) -> [u64; 2] {
    [encoding as u64, (encoding >> 64) as u64]
}

/// What a cache holds.
#[derive(Default)]
pub(super) struct Known {
    generation: u64,
    followed_at: Timestamp,
    /// In the order in which they were learnt.
    entries: Vec<Entry>,
    /// Places in `entries`, by the encoding's hash, which is as good as random already.
    places: HashTable<u32>,
    series: HashSet<SeriesRef, BuildHasherDefault<Spread>>,
    /// Of before the restart.
    absent: Absent,
}

impl Cache {
    /// Knows nothing but the series that the sender had before a restart.
    pub(super) fn new(stamp: Stamp, absent: Absent) -> Self {
        let mut key = [0; 16];
        rand::rng().fill_bytes(&mut key);
        let known = RwLock::new(Known { absent, ..Known::default() });
        Self {
            stamp,
            key,
            known,
            adding: AtomicUsize::new(0),
            allowance: Mutex::default(),
            stale: AtomicBool::new(false),
        }
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

    /// Forgets what the store forgot since the last time, and who has been absent for too long. A store with much coming and going
    /// forgets all the time, so that this is done now and then, or when the store refused a reference ([`Cache::is_stale`]).
    pub(super) fn follow(&self, store: &Store, now: Timestamp) {
        let generation = store.generation();
        let stale = self.stale.swap(false, Relaxed);
        let is_due = |known: &Known| {
            let waited = now.millis_since(known.followed_at);
            let late = stale || !(0..FOLLOW_EVERY_MS).contains(&waited);
            (known.generation != generation && late) || known.absent.is_over(now)
        };
        if is_due(&self.read()) {
            let mut known = self.known.write().expect("nothing panics while it holds this lock");
            if is_due(&known) {
                known.forget(store, generation);
                known.followed_at = now;
                known.absent.end(now);
            }
        }
    }

    /// The store refused a reference: the next request looks which ones are out of date.
    pub(super) fn is_stale(&self) {
        self.stale.store(true, Relaxed);
    }

    /// Takes a place for one more series, while fewer than `series_max` are taken.
    pub(super) fn take_place(&self, known: &Known, series_max: usize) -> bool {
        let before = self.adding.fetch_add(1, Relaxed);
        let fits = known.series_count() + before < series_max;
        if !fits {
            self.adding.fetch_sub(1, Relaxed);
        }
        fits
    }

    /// Gives back places: their series are learnt, or did not come about.
    pub(super) fn give_back(&self, places: usize) {
        self.adding.fetch_sub(places, Relaxed);
    }

    /// Whether the sender may bring one more new series now, of so many a minute.
    pub(super) fn may_add(&self, at: Timestamp, a_minute: u64) -> bool {
        self.allowance.lock().expect("nothing panics while it holds this lock").take(at, a_minute)
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().expect("nothing panics while it holds this lock")
    }

    /// Remembers series with their encodings (none where the bytes do not stand together), unless the store forgot series since
    /// they were looked up. `back` are those of before the restart that came again.
    pub(super) fn learn(&self, generation: u64, found: &[(Option<u128>, SeriesRef)], back: &[u64]) {
        let mut known = self.known.write().expect("nothing panics while it holds this lock");
        if known.generation != generation {
            return;
        }
        known.series.extend(found.iter().map(|(_, series)| *series));
        known.absent.came_back(back);
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
        if let Some(entry) = self.entries.get(*next)
            && entry.is(encoding)
        {
            *next += 1;
            return Some(entry.series);
        }
        let is_it = |place: &u32| self.entries[*place as usize].is(encoding);
        let place = *self.places.find(encoding as u64, is_it)? as usize;
        *next = place + 1;
        Some(self.entries[place].series)
    }

    fn remember(&mut self, encoding: u128, series: SeriesRef) {
        let Self { entries, places, .. } = self;
        if places.find(encoding as u64, |place| entries[*place as usize].is(encoding)).is_some() {
            return;
        }
        let Ok(place) = u32::try_from(entries.len()) else { return };
        entries.push(Entry::new(encoding, series));
        places.insert_unique(encoding as u64, place, |place| entries[*place as usize].encoding[0]);
    }

    fn forget(&mut self, store: &Store, generation: u64) {
        self.generation = generation;
        let mut known = Vec::new();
        store.are_known(self.entries.iter().map(|entry| entry.series), &mut known);
        let mut still = known.iter();
        self.entries.retain(|_| *still.next().expect("one answer for each"));
        let Self { entries, places, .. } = self;
        places.clear();
        for (place, entry) in entries.iter().enumerate() {
            places
                .insert_unique(entry.encoding[0], place as u32, |place| entries[*place as usize].encoding[0]);
        }
        store.are_known(self.series.iter().copied(), &mut known);
        let mut still = known.iter();
        self.series.retain(|_| *still.next().expect("one answer for each"));
    }

    pub(super) fn has_series(&self, series: SeriesRef) -> bool {
        self.series.contains(&series)
    }

    /// Whether the sender had a series of these labels before the restart; the hash by which it is known.
    pub(super) fn absent(&self, labels: &[u8]) -> Option<u64> {
        self.absent.find(labels)
    }

    /// The sender's active series, those included that are expected back after a restart.
    pub(super) fn series_count(&self) -> usize {
        self.series.len() + self.absent.len()
    }

    /// The sender's active series, for the roll.
    pub(super) fn series(&self) -> (Vec<SeriesRef>, &Absent) {
        (self.series.iter().copied().collect(), &self.absent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    /// A store with references that only it can make: one for each number.
    fn references(count: usize) -> (tempfile::TempDir, Arc<Store>, Vec<SeriesRef>) {
        let folder = tempfile::tempdir().expect("a folder");
        let options = crate::storage::Config::default();
        let store =
            crate::storage::open(folder.path(), &options, &crate::ledger::Ledger::new()).expect("opened");
        let labels = |number: usize| {
            model::Labels::from_pairs([("__name__", "x"), ("n", number.to_string().as_str())])
        };
        let series = (0..count).map(|number| store.resolve(&labels(number)).expect("added")).collect();
        (folder, store, series)
    }

    fn cache() -> Cache {
        Cache::new(Stamp::default(), Absent::default())
    }

    #[test]
    fn what_was_learnt_is_found_in_any_order() {
        let cache = cache();
        let (_folder, _store, series) = references(50);
        let hash = |number: usize| cache.hash(&number.to_le_bytes());
        let found: Vec<_> =
            series.iter().enumerate().map(|(number, series)| (Some(hash(number)), *series)).collect();
        cache.learn(0, &found, &[]);
        cache.learn(0, &found[10..20], &[]);
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
        assert_ne!(super::tests::cache().hash(b"x"), cache.hash(b"x"), "each cache has a key of its own");
    }

    #[test]
    fn encodings_are_bounded_by_the_series_that_they_mean() {
        let cache = cache();
        let (_folder, _store, series) = references(1);
        let one = series[0];
        for number in 0..3 * ENCODINGS_FREE {
            cache.learn(0, &[(Some(cache.hash(&number.to_le_bytes())), one)], &[]);
            assert!(cache.read().entries.len() <= ENCODINGS_FREE + 4);
        }
        let last = cache.hash(&(3 * ENCODINGS_FREE - 1).to_le_bytes());
        assert_eq!(cache.read().find(last, &mut 0), Some(one));
        cache.learn(1, &[(Some(7), one)], &[]);
        assert_eq!(cache.read().find(7, &mut 0), None, "what was found in another generation is not learnt");
    }

    /// Everything was forgotten when the store forgot one series: all series were looked up by their labels again, and every
    /// sender's count began anew.
    #[test]
    fn what_the_store_forgot_is_forgotten_and_nothing_else() {
        let (_folder, store, series) = references(20);
        let cache = cache();
        let found: Vec<_> =
            series.iter().map(|series| (Some(u128::from(series.as_u64())), *series)).collect();
        cache.learn(0, &found, &[]);
        let (kept, gone) = series.split_at(5);
        let samples = kept.iter().map(|series| (*series, NOW, 1.0)).collect();
        store.write(tsdb::WriteBatch { samples, ..Default::default() }, drop);
        store.flush().expect("written");
        // Series without samples go once nothing is on its way to them.
        let mut at = crate::state::now();
        for _ in 0..8 {
            at = at + std::time::Duration::from_secs(400);
            store.maintain(at).expect("looked after");
        }
        assert_ne!(store.generation(), 0, "series without samples went");
        cache.follow(&store, Timestamp::from_millis(FOLLOW_EVERY_MS - 1));
        assert_eq!(cache.read().series_count(), 20, "not all the time");
        cache.is_stale();
        cache.follow(&store, Timestamp::from_millis(FOLLOW_EVERY_MS - 1));
        let known = cache.read();
        assert_eq!((known.series_count(), known.entries.len()), (5, 5));
        for series in kept {
            assert_eq!(known.find(u128::from(series.as_u64()), &mut 0), Some(*series));
        }
        assert!(gone.iter().all(|series| known.find(u128::from(series.as_u64()), &mut 0).is_none()));
    }

    #[test]
    fn places_are_taken_once() {
        let cache = cache();
        let known = cache.read();
        assert!(cache.take_place(&known, 2) && cache.take_place(&known, 2) && !cache.take_place(&known, 2));
        cache.give_back(1);
        assert!(cache.take_place(&known, 2) && !cache.take_place(&known, 2));
    }

    #[test]
    fn an_allowance_comes_back_within_a_minute() {
        let cache = cache();
        let may = |seconds: u64| cache.may_add(NOW + std::time::Duration::from_secs(seconds), 60);
        assert!((0..60).all(|_| may(0)) && !may(0), "sixty at once");
        assert!(may(1) && !may(1), "and one a second");
        assert!(!may(0), "a clock that goes back gives nothing");
        assert!((0..60).all(|_| may(120)) && !may(120), "never more than a minute's");
    }

    /// Nothing came back until the clock was again where it had been by mistake: for years, or until a restart.
    #[test]
    fn an_allowance_outlives_a_clock_that_was_years_ahead() {
        let cache = cache();
        let ahead = NOW + std::time::Duration::from_secs(5 * 365 * 86_400);
        assert!(cache.may_add(ahead, 60));
        assert!((0..59).all(|_| cache.may_add(NOW, 60)) && !cache.may_add(NOW, 60), "what was used is used");
        assert!(cache.may_add(NOW + std::time::Duration::from_secs(1), 60));
    }
}
