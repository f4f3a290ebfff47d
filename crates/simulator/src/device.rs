//! One simulated device: a datagram goes in, datagrams come out. No socket and no clock: time is an argument.
//!
//! It speaks v1, v2c and v3 as the RFCs say, to the communities and users it was given, each with a view and a context, until its
//! [`Script`] says otherwise. A community it does not know gets no answer; a v3 request that USM refuses gets the report that RFC 3414
//! demands. SET is not spoken.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use snmp::Oid;
use snmp::usm::{Authority, EngineId, User};

use crate::counts::{Asked, Counts, Log};
use crate::error::Error;
use crate::fault::Script;
use crate::life::Life;
use crate::link::Link;
use crate::outbox::Outbox;
use crate::seed::mix;
use crate::state::{Community, Member, State};
use crate::tree::Tree;
use crate::view::View;
use snmp::Datum;

/// A simulated device. Made by its builder methods; then shared with the fleet that serves it, and changed while it runs.
pub struct Device {
    state: Mutex<State>,
}

impl std::fmt::Debug for Device {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Device").finish_non_exhaustive()
    }
}

impl Device {
    /// The largest message that goes into a datagram of IPv4.
    pub const MESSAGE_MAX: u32 = 65_507;

    /// A device that holds these values and answers nobody yet.
    pub fn new(tree: Arc<Tree>) -> Self {
        let state = State {
            life: Life::new(tree.uptime()),
            trees: vec![(Vec::new(), tree)],
            communities: Vec::new(),
            users: Vec::new(),
            authority: None,
            engine_id: None,
            engine_started: (1, Duration::ZERO),
            seed: None,
            name: b"device".to_vec(),
            max_message_size: Self::MESSAGE_MAX,
            link: Link::default(),
            script: Script::default(),
            fired: Vec::new(),
            counts: Counts::default(),
            log: Log::default(),
            scratch: Default::default(),
        };
        Self { state: Mutex::new(state) }
    }

    /// Answers this community in v1 and v2c, with everything it holds.
    pub fn community(self, community: impl Into<Vec<u8>>) -> Self {
        self.community_view(community, "", [])
    }

    /// Answers this community with what lies under these names (under none: everything) in a context.
    ///
    /// A context that is not there (see [`Device::context`]) is the default one.
    pub fn community_view(
        mut self,
        community: impl Into<Vec<u8>>,
        context: &str,
        under: impl IntoIterator<Item = Oid>,
    ) -> Self {
        let state = self.state.get_mut();
        let tree = state.trees.iter().position(|(name, _)| name == context.as_bytes()).unwrap_or(0);
        let under: Vec<Oid> = under.into_iter().collect();
        let view = View::of(&state.trees[tree].1, &under);
        state.communities.push(Community { community: community.into(), tree, under, view });
        self
    }

    /// Adds a context (a VRF, a VLAN) with values of its own. To be called before the communities and users that see it.
    pub fn context(mut self, name: &str, tree: Arc<Tree>) -> Self {
        self.state.get_mut().trees.push((name.into(), tree));
        self
    }

    /// Answers this user in v3 at the user's level, with everything it holds in all contexts.
    pub fn user(self, user: User) -> Self {
        self.user_view(user, [])
    }

    /// Answers this user with what lies under these names.
    pub fn user_view(mut self, user: User, under: impl IntoIterator<Item = Oid>) -> Self {
        let state = self.state.get_mut();
        let under: Vec<Oid> = under.into_iter().collect();
        let views = state.trees.iter().map(|(_, tree)| View::of(tree, &under)).collect();
        state.users.push(Member { user, under, views });
        state.authority = None;
        self
    }

    /// The engine id; without it one is made from the seed.
    pub fn engine_id(mut self, id: EngineId) -> Self {
        let state = self.state.get_mut();
        state.engine_id = Some(id);
        state.authority = None;
        self
    }

    /// How often the engine has started; 1 without this.
    pub fn engine_boots(mut self, boots: u32) -> Self {
        let state = self.state.get_mut();
        state.engine_started.0 = boots;
        state.authority = None;
        self
    }

    /// Sets what is drawn for this device: its faults, its engine id, and how fast its counters move (half to one and a half times).
    ///
    /// Without it a fleet sets a seed of its own, by the device's place, and counters move as their tree says.
    pub fn seed(mut self, seed: u64) -> Self {
        let state = self.state.get_mut();
        state.seed = Some(seed);
        state.life.pace = Life::PACE / 2 + mix(seed, 0) % (Life::PACE + 1);
        state.authority = None;
        self
    }

    /// What a [`Switch`](crate::Switch) answers for `sysName`.
    pub fn named(mut self, name: &str) -> Self {
        self.state.get_mut().name = name.into();
        self
    }

    /// The largest message that it sends: longer GETBULK answers are cut, longer others are tooBig. At least 484 (RFC 3417), at most
    /// [`Device::MESSAGE_MAX`], which it is without this.
    pub fn max_message_size(mut self, bytes: u32) -> Self {
        self.state.get_mut().max_message_size = bytes.clamp(484, Self::MESSAGE_MAX);
        self
    }

    /// How its replies travel.
    pub fn link(mut self, link: Link) -> Self {
        self.state.get_mut().link = link;
        self
    }

    /// What it does wrong.
    pub fn faults(self, script: Script) -> Self {
        self.set_faults(script);
        self
    }

    /// Keeps the last so many requests for [`Device::take_asked`].
    pub fn log(mut self, most: usize) -> Self {
        self.state.get_mut().log.most = most;
        self
    }

    /// Replaces what it does wrong from now on; what happens once may happen again.
    pub fn set_faults(&self, script: Script) {
        let mut state = self.state.lock();
        state.fired = vec![false; script.rules().len()];
        state.script = script;
    }

    /// Replaces how its replies travel.
    pub fn set_link(&self, link: Link) {
        self.state.lock().link = link;
    }

    /// Sets a value, in the default context. Takes as long as building the tree; other devices keep theirs.
    pub fn set(&self, name: &Oid, datum: &Datum) -> Result<(), Error> {
        self.state.lock().change(name, Some(datum))
    }

    /// Removes everything under a name, in the default context.
    pub fn remove(&self, under: &Oid) -> Result<(), Error> {
        self.state.lock().change(under, None)
    }

    /// Reboots it: counters and clocks start at 0, engine boots goes up.
    pub fn reboot(&self, now: Duration) {
        self.state.lock().reboot(now);
    }

    /// Restarts its SNMP engine alone: counters go on.
    pub fn restart_engine(&self, now: Duration) {
        self.state.lock().restart_engine(now);
    }

    /// What it was asked and answered.
    pub fn counts(&self) -> Counts {
        self.state.lock().counts
    }

    /// The requests kept since the last call, oldest first; none unless [`Device::log`] was called.
    pub fn take_asked(&self) -> Vec<Asked> {
        self.state.lock().log.take()
    }

    /// The engine id that it answers with in v3.
    pub fn current_engine_id(&self) -> EngineId {
        *self.state.lock().authority().engine_id()
    }

    /// Takes a datagram and appends what is to be sent. A v3 request is deciphered in place.
    pub fn handle(&self, now: Duration, datagram: &mut [u8], out: &mut Outbox) {
        self.state.lock().handle(now, datagram, out);
    }

    /// A seed by its place in a fleet, where it has none.
    pub(crate) fn place(&mut self, seed: u64) {
        self.state.get_mut().seed.get_or_insert(seed);
    }
}

impl State {
    /// The v3 engine, made when it is first needed: keys are localised then.
    pub(crate) fn authority(&mut self) -> &mut Authority {
        let made_up = || {
            let draw = mix(self.seed.unwrap_or(0), 0x1d).to_be_bytes();
            // Of net-snmp's enterprise, octets as it likes (5).
            let octets = [&[0x80, 0, 0x1f, 0x88, 5][..], &draw].concat();
            EngineId::new(&octets).expect("13 octets are at most 32")
        };
        let id = self.engine_id.unwrap_or_else(made_up);
        let (boots, at) = self.engine_started;
        let users = self.users.iter().map(|member| member.user.clone());
        self.authority.get_or_insert_with(|| Authority::new(id, boots, at, users))
    }

    pub(crate) fn reboot(&mut self, now: Duration) {
        self.life.reboot(now);
        self.start_engine(now, self.engine_started.0.saturating_add(1));
    }

    pub(crate) fn restart_engine(&mut self, now: Duration) {
        self.life.restart(now);
        self.start_engine(now, self.engine_started.0.saturating_add(1));
    }

    /// Its users' keys are localised anew: a restart is rare.
    pub(crate) fn start_engine(&mut self, now: Duration, boots: u32) {
        self.engine_started = (boots.min(i32::MAX as u32), now);
        self.authority = None;
    }

    fn change(&mut self, name: &Oid, datum: Option<&Datum>) -> Result<(), Error> {
        let tree = Arc::new(self.trees[0].1.changed(name, datum)?);
        for community in self.communities.iter_mut().filter(|community| community.tree == 0) {
            community.view = View::of(&tree, &community.under);
        }
        for member in &mut self.users {
            member.views[0] = View::of(&tree, &member.under);
        }
        self.trees[0].1 = tree;
        Ok(())
    }
}

#[cfg(test)]
mod faults;
#[cfg(test)]
mod tests;
