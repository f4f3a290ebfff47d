//! What was told last of each alert, by fingerprint: only changes are told. Kept at each segment's beginning, so that a restart tells
//! nobody anew what fires since yesterday.

use std::collections::HashMap;

use model::Timestamp;

use super::KNOWN_MAX;
use crate::notify::alert::{Alert, Kind};

/// An alert of which nothing was heard for this long (its rule is gone) is forgotten.
const FORGET_MS: i64 = 7 * 86_400_000;
const ENTRY_BYTES: usize = 17;

/// See the module's text. Alerts that are resolved are not in it.
#[derive(Debug, Default)]
pub(super) struct Told {
    known: HashMap<u64, Last>,
    /// Whether it was found on disk and nothing was heard since: the time in which nothing ran is nobody's silence.
    is_found: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Last {
    kind: Kind,
    heard_at: i64,
}

impl Told {
    /// Those whose kind is another than was told last, each alert once. The others are noted as heard of.
    pub(super) fn changed<'a>(&mut self, alerts: &'a [Alert], now: Timestamp) -> Vec<&'a Alert> {
        if std::mem::take(&mut self.is_found) {
            self.known.values_mut().for_each(|last| last.heard_at = now.as_millis());
        }
        let mut latest: Vec<(u64, &Alert)> = Vec::with_capacity(alerts.len());
        let mut places: HashMap<u64, usize> = HashMap::with_capacity(alerts.len());
        for alert in alerts {
            let print = alert.fingerprint();
            match places.get(&print) {
                Some(place) => latest[*place].1 = alert,
                None => {
                    places.insert(print, latest.len());
                    latest.push((print, alert));
                }
            }
        }
        latest.retain(|(print, alert)| match self.known.get_mut(print) {
            Some(last) if last.kind == alert.kind => {
                last.heard_at = now.as_millis();
                false
            }
            // Nobody was told that it fires.
            None => alert.kind != Kind::Resolved,
            Some(_) => true,
        });
        latest.into_iter().map(|(_, alert)| alert).collect()
    }

    /// A message that was found on disk: they were told then.
    pub(super) fn replay(&mut self, alerts: &[Alert], told_at: Timestamp) {
        self.note(alerts, told_at.as_millis());
        self.is_found = true;
    }

    /// They were told.
    pub(super) fn apply(&mut self, alerts: &[Alert], now: Timestamp) {
        self.note(alerts, now.as_millis());
        self.known.retain(|_, last| now.as_millis() - last.heard_at < FORGET_MS);
    }

    fn note(&mut self, alerts: &[Alert], now: i64) {
        for alert in alerts {
            let print = alert.fingerprint();
            if alert.kind == Kind::Resolved {
                self.known.remove(&print);
            } else {
                self.known.insert(print, Last { kind: alert.kind, heard_at: now });
            }
        }
        if self.known.len() > KNOWN_MAX {
            let mut heard: Vec<i64> = self.known.values().map(|last| last.heard_at).collect();
            let excess = heard.len() - KNOWN_MAX;
            let (_, bound, _) = heard.select_nth_unstable(excess);
            let bound = *bound;
            self.known.retain(|_, last| last.heard_at >= bound);
        }
    }

    /// A count of 4 bytes, 4 zeros, then 17 bytes each: fingerprint, time heard of, kind.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&u32::try_from(self.known.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        for (print, last) in &self.known {
            out.extend_from_slice(&print.to_le_bytes());
            out.extend_from_slice(&last.heard_at.to_le_bytes());
            out.push(last.kind.byte());
        }
    }

    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (head, entries) = bytes.split_at_checked(8)?;
        let count = u32::from_le_bytes(head[..4].try_into().ok()?) as usize;
        if entries.len() != count.checked_mul(ENTRY_BYTES)? {
            return None;
        }
        let entry = |bytes: &[u8]| {
            let print = u64::from_le_bytes(bytes[..8].try_into().ok()?);
            let heard_at = i64::from_le_bytes(bytes[8..16].try_into().ok()?);
            Some((print, Last { kind: Kind::from_byte(bytes[16])?, heard_at }))
        };
        let known = entries.chunks_exact(ENTRY_BYTES).map(entry).collect::<Option<_>>()?;
        Some(Self { known, is_found: true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::alert::example;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn only_changes_are_told() {
        let mut told = Told::default();
        let mut check = |kind: Kind, expected: bool| {
            let alerts = [example("a", kind)];
            let changed = told.changed(&alerts, at(0)).len() == 1;
            assert_eq!(changed, expected, "{kind:?}");
            if changed {
                told.apply(&alerts, at(0));
            }
        };
        check(Kind::Resolved, false);
        check(Kind::Firing, true);
        check(Kind::Firing, false);
        check(Kind::Unknown, true);
        check(Kind::Unknown, false);
        check(Kind::Firing, true);
        check(Kind::Resolved, true);
        check(Kind::Resolved, false);
        check(Kind::Firing, true);
    }

    #[test]
    fn an_alert_told_twice_at_once_is_told_as_it_was_last() {
        let alerts = [example("a", Kind::Firing), example("a", Kind::Unknown)];
        let mut told = Told::default();
        assert_eq!(told.changed(&alerts, at(0)), [&alerts[1]]);
    }

    #[test]
    fn what_is_known_is_found_again_and_forgotten_in_time() {
        let mut told = Told::default();
        told.apply(&[example("a", Kind::Firing), example("b", Kind::Unknown)], at(5));
        let mut bytes = Vec::new();
        told.write(&mut bytes);
        let mut found = Told::read(&bytes).expect("ours");
        assert_eq!(found.known, told.known);
        assert!(Told::read(&bytes[1..]).is_none());
        told.apply(&[], at(5 + FORGET_MS));
        assert!(told.known.is_empty());
        // After a month in which nothing ran the end of what was told before is still news.
        let month = at(30 * 86_400_000);
        let over = [example("a", Kind::Resolved)];
        assert_eq!(found.changed(&over, month), [&over[0]]);
        found.apply(&over, month);
        assert_eq!(found.known.len(), 1, "b can still end");
    }

    #[test]
    fn an_end_that_was_not_kept_and_a_new_beginning_are_no_change() {
        let mut told = Told::default();
        told.apply(&[example("a", Kind::Firing)], at(0));
        let alerts = [example("a", Kind::Resolved), example("a", Kind::Firing)];
        assert!(told.changed(&alerts, at(1)).is_empty(), "it fires, as was told");
    }
}
