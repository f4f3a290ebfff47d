//! Series that the cache does not know: asked of the store, within the sender's limits.
//!
//! A limit refuses new series only: one that the sender had (also before a restart) goes on whatever the limits say. New to the sender
//! is what it did not write to since its samples left the head, a few hours; new to the store is what nobody did.

use std::collections::HashSet;
use std::sync::RwLockReadGuard;

use model::{Labels, Timestamp};
use tsdb::{SeriesRef, Store};

use super::Config;
use super::cache::{Cache, Known, Origin};
use super::refusals::Reason;
use super::validate::Refused;

/// Resolves the new series of one request. What it found is learnt when it goes, also where the request is given up midway: the store
/// has these series now.
pub(super) struct Newcomer<'a> {
    store: &'a Store,
    cache: &'a Cache,
    origin: &'a Origin,
    now: Timestamp,
    config: &'a Config,
    /// Others may read too; learning waits. Only the end takes it.
    known: Option<RwLockReadGuard<'a, Known>>,
    generation: u64,
    found: Vec<(Option<u128>, SeriesRef)>,
    /// New to this sender within this request.
    added: HashSet<SeriesRef>,
    /// Series of before a restart that came again.
    back: Vec<u64>,
    /// Places that this request took within the sender's limit.
    places: usize,
}

impl<'a> Newcomer<'a> {
    pub(super) fn new(
        store: &'a Store,
        cache: &'a Cache,
        known: RwLockReadGuard<'a, Known>,
        origin: &'a Origin,
        now: Timestamp,
        config: &'a Config,
    ) -> Self {
        let generation = known.generation();
        let (found, added, back) = (Vec::new(), HashSet::new(), Vec::new());
        Self {
            store,
            cache,
            origin,
            now,
            config,
            known: Some(known),
            generation,
            found,
            added,
            back,
            places: 0,
        }
    }

    /// The series of these labels; `None` where it is not there and must not be made (nothing but exemplars came for it).
    pub(super) fn resolve(
        &mut self,
        encoding: Option<u128>,
        labels: &Labels,
        make: bool,
    ) -> Result<Option<SeriesRef>, Refused> {
        let mut there = Vec::with_capacity(1);
        self.store.find_all([labels.as_bytes()], &mut there);
        let there = there.pop().flatten();
        let known = self.known.as_deref().expect("only the end takes it");
        let back = known.absent(labels.as_bytes());
        let own = there.is_some_and(|series| known.has_series(series) || self.added.contains(&series));
        if there.is_none() && !make {
            return Ok(None);
        }
        if !own && back.is_none() {
            self.admit(labels, there.is_none())?;
        }
        let series = match there.map_or_else(|| self.store.resolve(labels), Ok) {
            Ok(series) => series,
            Err(limit) => {
                // The place was for nothing.
                let taken = usize::from(back.is_none());
                self.places -= taken;
                self.cache.give_back(taken);
                let text = format!("{limit} (sent by {:?})", &*self.origin.name);
                return Err(refused(Reason::StoreLimit, labels, text));
            }
        };
        if !own {
            self.added.insert(series);
            self.back.extend(back);
        }
        self.found.push((encoding, series));
        Ok(Some(series))
    }

    /// Holds one more series of the sender against its limits.
    fn admit(&mut self, labels: &Labels, is_new: bool) -> Result<(), Refused> {
        let known = self.known.as_deref().expect("only the end takes it");
        let (config, name) = (self.config, &*self.origin.name);
        let series_max = config.series_per_sender_max;
        if !self.cache.take_place(known, series_max.as_usize()) {
            let series_max = series_max.get();
            let text = format!(
                "{labels}: {name:?} has its limit of {series_max} series, and this one is new; drop labels that change, or raise \
                 ingest.series_per_sender_max"
            );
            return Err(refused(Reason::SenderLimit, labels, text));
        }
        let a_minute = config.new_series_per_minute_max.get();
        if is_new && !self.cache.may_add(self.now, a_minute) {
            self.cache.give_back(1);
            let text = format!(
                "{labels}: {name:?} brought more than {a_minute} new series within a minute; drop labels that change, or raise \
                 ingest.new_series_per_minute_max"
            );
            return Err(refused(Reason::SeriesRate, labels, text));
        }
        self.places += 1;
        Ok(())
    }
}

impl Drop for Newcomer<'_> {
    fn drop(&mut self) {
        drop(self.known.take());
        if !self.found.is_empty() {
            self.cache.learn(self.generation, &self.found, &self.back);
        }
        self.cache.give_back(self.places);
    }
}

fn refused(reason: Reason, labels: &Labels, text: String) -> Refused {
    Refused { reason, text, offender: Some(labels.metric_name().unwrap_or_default().to_owned()) }
}
