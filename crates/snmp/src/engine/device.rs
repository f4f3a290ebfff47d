//! What is remembered about a device from round to round.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::harvest::{BadPacket, Job};
use super::meter::Meter;
use super::rtt::Rtt;
use super::target::{Credential, Rate, Target};
use crate::round::{Assignment, Ended, Habit, Learned, Path};
use crate::usm::{EngineId, Peer};

/// Tables of one device that are remembered; beyond them everything is learned anew.
const TABLES_MAX: usize = 4096;
/// Peers of one device: twice the credentials of a target, for while they change.
const PEERS_MAX: usize = 2 * Target::CREDENTIALS_MAX;

pub(crate) struct Device {
    pub(crate) name: Arc<str>,
    /// As the last job had it; none while the device is only known from before a restart.
    pub(crate) target: Option<Arc<Target>>,
    pub(crate) path: Path,
    habits: HashMap<Arc<str>, Habit>,
    /// Until when tables are left alone.
    parked: HashMap<Arc<str>, Duration>,
    pub(crate) rtt: Rtt,
    /// The credential that worked last, or is tried next.
    pub(crate) credential: usize,
    /// When a round that had an answer ended last.
    pub(crate) answered_at: Option<Duration>,
    /// Whether the last round had no answer at all.
    pub(crate) silent: bool,
    /// One per user and context that asks it, made when first used. They outlive a change of settings: of a device's jobs one may still
    /// ask as the old user while another asks as the new one.
    peers: Vec<(Duration, Box<Peer>)>,
    pub(crate) last_bad: Option<Arc<BadPacket>>,
    pub(crate) bad_at: Duration,
    pub(crate) meter: Meter,
    /// Slots whose request is under way.
    pub(crate) in_flight: Vec<u32>,
    /// Slots that wait for one of them to end.
    pub(crate) waiting: VecDeque<u32>,
    /// Jobs under way.
    pub(crate) jobs: u32,
    pub(crate) used_at: Duration,
}

impl Device {
    pub(crate) fn new(name: Arc<str>, now: Duration) -> Self {
        Self {
            name,
            target: None,
            path: Path::new(),
            habits: HashMap::new(),
            parked: HashMap::new(),
            rtt: Rtt::default(),
            credential: 0,
            answered_at: None,
            silent: false,
            peers: Vec::new(),
            last_bad: None,
            bad_at: Duration::ZERO,
            meter: Meter::new(Rate::DEVICE),
            in_flight: Vec::new(),
            waiting: VecDeque::new(),
            jobs: 0,
            used_at: now,
        }
    }

    pub(crate) fn restore(learned: Learned) -> Self {
        let habits = learned.tables.into_iter().take(TABLES_MAX);
        Self {
            path: learned.path,
            credential: learned.credential.into(),
            habits: habits.map(|(key, habit)| (key, habit.checked())).collect(),
            ..Self::new(learned.device, Duration::ZERO)
        }
    }

    pub(crate) fn learned(&self) -> Learned {
        let mut tables: Vec<_> =
            self.habits.iter().map(|(key, habit)| (key.clone(), habit.clone())).collect();
        tables.sort_by(|(a, _), (b, _)| a.cmp(b));
        let credential = u8::try_from(self.credential).unwrap_or(0);
        Learned { device: self.name.clone(), path: self.path, credential, tables }
    }

    /// Takes over new settings, if they are new.
    pub(crate) fn meet(&mut self, target: &Arc<Target>) {
        if self.target.as_ref().is_some_and(|known| Arc::ptr_eq(known, target)) {
            return;
        }
        if self.jobs == 0 {
            let is_named =
                |peer: &Peer| target.credentials.iter().any(|credential| belongs(peer, credential));
            self.peers.retain(|(_, peer)| is_named(peer));
        }
        let moved = self.target.as_ref().is_some_and(|known| known.address != target.address);
        if moved {
            (self.rtt, self.path) = (Rtt::default(), Path::new());
            self.peers.clear();
        }
        self.meter.set_rate(target.rate);
        self.target = Some(target.clone());
        if self.credential >= target.credentials.len().min(Target::CREDENTIALS_MAX) {
            self.credential = 0;
        }
    }

    /// Whether it answered so short a time ago.
    pub(crate) fn answered_within(&self, now: Duration, span: Duration) -> bool {
        self.answered_at.is_some_and(|at| now.saturating_sub(at) <= span)
    }

    pub(crate) fn assignments(&mut self, job: &Job, now: Duration) -> Vec<Assignment> {
        self.parked.retain(|_, until| *until > now);
        let assign = |table: &Arc<_>| {
            let table: Arc<crate::round::Table> = Arc::clone(table);
            let habit = self.habits.get(&table.key).cloned().unwrap_or_default();
            Assignment { habit, parked: self.parked.contains_key(&table.key), table }
        };
        job.tables.iter().map(assign).collect()
    }

    /// Keeps what a round has learned; returns how many tables are parked from now on.
    pub(crate) fn learn(&mut self, job: &Job, ended: &mut Ended, parked_until: Duration) -> usize {
        self.path = ended.path;
        if self.habits.len() + job.tables.len() > TABLES_MAX {
            self.habits.clear();
        }
        let mut count = 0;
        for ((table, habit), parked) in job.tables.iter().zip(ended.habits.drain(..)).zip(&ended.parked) {
            self.habits.insert(table.key.clone(), habit);
            if *parked {
                self.parked.insert(table.key.clone(), parked_until);
                count += 1;
            }
        }
        count
    }

    /// Tables that are left alone, as of the last job.
    pub(crate) fn parked_tables(&self) -> usize {
        self.parked.len()
    }

    /// The peer of a credential of SNMPv3; none for communities.
    pub(crate) fn peer(&mut self, credential: &Credential, now: Duration) -> Option<&mut Peer> {
        let Credential::User { user, context } = credential else { return None };
        let known = self.peers.iter().position(|(_, peer)| belongs(peer, credential));
        let at = known.unwrap_or_else(|| {
            if self.peers.len() >= PEERS_MAX {
                let oldest = (0..PEERS_MAX).min_by_key(|&at| self.peers[at].0).expect("it is full");
                self.peers.swap_remove(oldest);
            }
            self.peers.push((now, Box::new(Peer::new(user.clone(), context.clone()))));
            self.peers.len() - 1
        });
        let (used_at, peer) = &mut self.peers[at];
        *used_at = now;
        Some(peer)
    }

    #[cfg(test)]
    pub(crate) fn peers_known(&self) -> usize {
        self.peers.len()
    }

    fn known_peer(&self, credential: &Credential) -> Option<&Peer> {
        self.peers.iter().map(|(_, peer)| &**peer).find(|peer| belongs(peer, credential))
    }

    /// Whether the device named its engine but nothing it sent to this credential could be believed.
    pub(crate) fn only_discovered(&self, credential: &Credential) -> bool {
        self.known_peer(credential).is_some_and(Peer::only_discovered)
    }

    /// The engine id that this credential has confirmed.
    pub(crate) fn engine_id(&self, credential: &Credential) -> Option<EngineId> {
        self.known_peer(credential)?.engine_id().copied()
    }

    /// Whether any credential has confirmed this engine id.
    pub(crate) fn has_engine(&self, id: &EngineId) -> bool {
        self.peers.iter().any(|(_, peer)| peer.engine_id() == Some(id))
    }
}

/// Whether a peer is this credential's. Users are the same if they are copies of one another: equal names may have other keys.
fn belongs(peer: &Peer, credential: &Credential) -> bool {
    matches!(credential, Credential::User { user, context } if peer.user().is(user) && peer.context() == context)
}
