//! When to look at which slot again. One entry per slot as a rule: a later time replaces an earlier one only when that comes up.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// Times at which slots want to be looked at.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Duration, u32)>>,
    /// For each slot what it wants, and the earliest entry it has.
    wanted: Vec<Wanted>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Wanted {
    at: Option<Duration>,
    entry: Option<Duration>,
}

impl Timers {
    /// Replaces the slot's time.
    pub(crate) fn set(&mut self, slot: u32, at: Duration) {
        let wanted = self.wanted(slot);
        wanted.at = Some(at);
        if wanted.entry.is_none_or(|entry| at < entry) {
            wanted.entry = Some(at);
            self.heap.push(Reverse((at, slot)));
        }
    }

    /// The slot wants nothing any more.
    pub(crate) fn clear(&mut self, slot: u32) {
        self.wanted(slot).at = None;
    }

    /// When to come back; may be early, never late.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.heap.peek().map(|&Reverse((at, _))| at)
    }

    /// A slot whose time has come; it wants nothing then until it is set again.
    pub(crate) fn pop(&mut self, now: Duration) -> Option<u32> {
        while let Some(&Reverse((at, slot))) = self.heap.peek().filter(|Reverse((at, _))| *at <= now) {
            self.heap.pop();
            let wanted = self.wanted(slot);
            if wanted.entry != Some(at) {
                // An earlier one took its place.
                continue;
            }
            wanted.entry = None;
            match wanted.at {
                Some(later) if later > now => self.set(slot, later),
                Some(_) => {
                    wanted.at = None;
                    return Some(slot);
                }
                None => {}
            }
        }
        None
    }

    fn wanted(&mut self, slot: u32) -> &mut Wanted {
        let at = slot as usize;
        if self.wanted.len() <= at {
            self.wanted.resize(at + 1, Wanted::default());
        }
        &mut self.wanted[at]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_slot_that_is_put_off_again_and_again_takes_one_entry() {
        let mut timers = Timers::default();
        (1..1000).for_each(|ms| timers.set(3, Duration::from_millis(ms)));
        assert_eq!(timers.heap.len(), 1);
        assert_eq!(timers.pop(Duration::from_millis(500)), None);
        assert_eq!(timers.pop(Duration::from_secs(1)), Some(3));
        assert_eq!((timers.pop(Duration::from_secs(9)), timers.next()), (None, None));
    }

    proptest! {
        /// Against a plain list.
        #[test]
        fn every_slot_comes_up_when_it_wants(steps in prop::collection::vec((0..5u32, 0..50u64, 0..3u8), 0..60)) {
            let (mut timers, mut plain, mut now) = (Timers::default(), [None; 5], 0);
            for (slot, after, what) in steps {
                match what {
                    0 => { timers.clear(slot); plain[slot as usize] = None; }
                    1 => { timers.set(slot, Duration::from_millis(now + after)); plain[slot as usize] = Some(now + after); }
                    _ => {
                        now += after;
                        let mut due: Vec<u32> = std::iter::from_fn(|| timers.pop(Duration::from_millis(now))).collect();
                        due.sort_unstable();
                        let expected: Vec<u32> = (0..5).filter(|&slot| plain[slot as usize].is_some_and(|at| at <= now)).collect();
                        prop_assert_eq!(&due, &expected);
                        due.iter().for_each(|&slot| plain[slot as usize] = None);
                        let earliest = plain.iter().flatten().min().map(|&at| Duration::from_millis(at));
                        prop_assert!(earliest.is_none() || timers.next() <= earliest);
                    }
                }
            }
        }
    }
}
