//! The devices of one agent side by side: which of them were slowest to answer in their last round, and which are one device under two
//! names.
//!
//! In: what each device says of itself at the end of its round, through its [`Seat`]. Out: the [`SLOWEST`] slowest that answer, and
//! pairs that have the same address or, by SNMPv3, the same engine id. Silent devices are down, not slow: `up` names them.
//!
//! Limits: a seat a device, about 100 bytes; [`DOUBLES_MAX`] pairs.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Devices that are named as slow.
pub(super) const SLOWEST: usize = 10;
/// Pairs of devices that are named as one.
pub(super) const DOUBLES_MAX: usize = 100;

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Neighbours(Mutex<Seats>);

#[derive(Debug, Default)]
struct Seats {
    list: Vec<Option<Neighbour>>,
    free: Vec<usize>,
}

#[derive(Debug)]
struct Neighbour {
    name: Arc<str>,
    address: Option<SocketAddr>,
    /// How long it took to answer all questions of its last round, in seconds; none if it did not answer.
    took: Option<f32>,
    fresh_until: Instant,
    /// Another device that gave the same engine id.
    same_engine: Option<Arc<str>>,
}

/// A device's place among the others; given up when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    of: Arc<Neighbours>,
    at: usize,
}

/// What a round showed of a device.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    pub(super) address: SocketAddr,
    /// How long it took to answer, the wait for its turn not counted; none if it did not.
    pub(super) took: Option<Duration>,
    /// How long that says anything.
    pub(super) fresh_for: Duration,
    pub(super) same_engine: Option<Arc<str>>,
}

/// Two names, one device.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Double {
    pub(super) device: Arc<str>,
    pub(super) also: Arc<str>,
    /// What they share: `address` or `engine_id`.
    pub(super) by: &'static str,
}

impl Neighbours {
    /// A place for a device.
    pub(super) fn seat(self: &Arc<Self>, name: &str) -> Seat {
        let new = Neighbour {
            name: name.into(),
            address: None,
            took: None,
            fresh_until: Instant::now(),
            same_engine: None,
        };
        let mut seats = self.lock();
        let at = seats.free.pop().unwrap_or_else(|| {
            seats.list.push(None);
            seats.list.len() - 1
        });
        seats.list[at] = Some(new);
        Seat { of: self.clone(), at }
    }

    /// The slowest that answer, slowest first, with their seconds.
    pub(super) fn slowest(&self, now: Instant) -> Vec<(Arc<str>, f64)> {
        let seats = self.lock();
        let mut slowest: Vec<(f32, &Arc<str>)> = Vec::with_capacity(SLOWEST + 1);
        for device in seats.list.iter().flatten().filter(|device| device.fresh_until >= now) {
            let Some(took) = device.took else { continue };
            let place = slowest.partition_point(|(other, _)| *other >= took);
            if place < SLOWEST {
                slowest.insert(place, (took, &device.name));
                slowest.truncate(SLOWEST);
            }
        }
        slowest.into_iter().map(|(took, name)| (name.clone(), f64::from(took))).collect()
    }

    /// Devices that look like one, in the order of their names.
    pub(super) fn doubles(&self) -> Vec<Double> {
        let seats = self.lock();
        let mut first: HashMap<SocketAddr, &Arc<str>, ahash::RandomState> = HashMap::default();
        let mut doubles = Vec::new();
        let mut say = |one: &Arc<str>, other: &Arc<str>, by| {
            let (device, also) = (one.min(other).clone(), one.max(other).clone());
            doubles.push(Double { device, also, by });
        };
        for device in seats.list.iter().flatten() {
            if let Some(other) = &device.same_engine {
                say(&device.name, other, "engine_id");
            }
            let Some(address) = device.address else { continue };
            match first.get(&address) {
                Some(other) => say(other, &device.name, "address"),
                None => {
                    first.insert(address, &device.name);
                }
            }
        }
        doubles.sort();
        doubles.dedup();
        doubles.truncate(DOUBLES_MAX);
        doubles
    }

    fn lock(&self) -> MutexGuard<'_, Seats> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// A round is over.
    pub(super) fn show(&self, shown: Shown, now: Instant) {
        let mut seats = self.of.lock();
        let device = seats.list[self.at].as_mut().expect("a seat is taken until it is dropped");
        device.address = Some(shown.address);
        device.took = shown.took.map(|took| took.as_secs_f32());
        device.fresh_until = now + shown.fresh_for;
        device.same_engine = shown.same_engine;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.of.lock();
        seats.list[self.at] = None;
        seats.free.push(self.at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(port: u16, took: Option<u64>) -> Shown {
        Shown {
            address: ([127, 0, 0, 1], port).into(),
            took: took.map(Duration::from_millis),
            fresh_for: Duration::from_secs(120),
            same_engine: None,
        }
    }

    #[test]
    fn the_ten_slowest_that_answer_are_named() {
        let (all, now) = (Arc::new(Neighbours::default()), Instant::now());
        let seats: Vec<Seat> = (0..20).map(|number| all.seat(&format!("sw{number}"))).collect();
        for (port, seat) in (0..).zip(&seats) {
            let took = u64::from(port % 10 * 250 + port);
            seat.show(shown(port, (port != 9).then_some(took)), now);
        }
        let slowest = all.slowest(now);
        let names: Vec<&str> = slowest.iter().map(|(name, _)| &**name).collect();
        assert_eq!(names, ["sw19", "sw18", "sw8", "sw17", "sw7", "sw16", "sw6", "sw15", "sw5", "sw14"]);
        assert!((slowest[0].1 - 2.269).abs() < 1e-6);
        drop(seats);
        assert_eq!(all.slowest(now), [], "who is not watched any more is not named");
        let again = all.seat("sw1");
        again.show(shown(1, Some(5)), now);
        assert_eq!(all.lock().list.len(), 20, "seats are used again");
        assert_eq!(all.slowest(now + Duration::from_secs(121)), [], "nor who was not asked for long");
    }

    #[test]
    fn two_names_of_one_device_are_named_once() {
        let (all, now) = (Arc::new(Neighbours::default()), Instant::now());
        let [a, b, c, d] = ["a", "b", "c", "d"].map(|name| all.seat(name));
        a.show(shown(7, None), now);
        b.show(shown(8, None), now);
        d.show(shown(7, None), now);
        c.show(Shown { same_engine: Some("b".into()), ..shown(9, None) }, now);
        b.show(Shown { same_engine: Some("c".into()), ..shown(8, None) }, now);
        let pair = |device: &str, also: &str, by| Double { device: device.into(), also: also.into(), by };
        assert_eq!(all.doubles(), [pair("a", "d", "address"), pair("b", "c", "engine_id")]);
        drop(d);
        c.show(shown(9, None), now);
        b.show(shown(8, None), now);
        assert_eq!(all.doubles(), []);
    }
}
