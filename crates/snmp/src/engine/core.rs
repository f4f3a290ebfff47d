//! The engine without sockets, thread and clock: jobs, datagrams and the time go in; datagrams and harvests come out.
//!
//! A job holds a slot until its harvest is delivered and has one request under way at a time. A request goes through the gates of its
//! device, its site, its socket's receive buffer and the engine as a whole; it waits in the queue of the gate that is shut, so that
//! nobody else waits for it. A request whose first try went unanswered leaves the gates of site, socket and engine: nothing will come
//! back, and silent devices must not take the room of others.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::device::Device;
use super::harvest::{Harvest, Job, RoundCost};
use super::id::Id;
use super::meter::Meter;
use super::stats::Stats;
use super::target::{Credential, Rate, Target};
use super::timers::Timers;
use crate::ber::{ParseError, Writer};
use crate::message::{Message, Version};
use crate::round::{Learned, Patience, Plan, Round};
use crate::usm::{EngineId, Exchange, Refusal};
use crate::walk::{Limit, Reason};

mod receive;

/// A job for tables that begins so soon after the device's last answer goes on from there.
const THERE_FOR: Duration = Duration::from_secs(5);

/// Bounds of the core.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Requests under way whose first try may still be answered.
    pub(crate) rate: Rate,
    /// Devices that are remembered.
    pub(crate) devices_max: usize,
    /// How long a silent table is left alone.
    pub(crate) park: Duration,
}

/// What a socket is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LinkKey {
    pub(crate) v6: bool,
    pub(crate) bind: Option<IpAddr>,
}

/// Where datagrams go.
pub(crate) trait Wire {
    /// Whether no more fit until they are sent.
    fn is_full(&self) -> bool;
    /// Takes a datagram; an error says that there is no socket for it.
    fn send(
        &mut self,
        link: usize,
        key: LinkKey,
        to: SocketAddr,
        packet: &[u8],
        id: i32,
    ) -> std::io::Result<()>;
}

/// See the module's text.
pub(crate) struct Core {
    bounds: Bounds,
    devices: Vec<Device>,
    by_name: HashMap<Arc<str>, u32>,
    by_address: HashMap<SocketAddr, u32>,
    sites: Vec<SiteState>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    ready: VecDeque<u32>,
    urgent: VecDeque<u32>,
    timers: Timers,
    links: Vec<Link>,
    /// Whose engine ids are known.
    engines: HashMap<EngineId, u32>,
    all: Meter,
    pub(crate) stats: Stats,
    writer: Writer,
    packet: Vec<u8>,
    random: u64,
}

struct SiteState {
    name: Arc<str>,
    meter: Meter,
    waiting: VecDeque<u32>,
}

struct Link {
    key: LinkKey,
    /// What replies on their way may take in the kernel's buffer.
    budget: usize,
    expected: usize,
    waiting: VecDeque<u32>,
}

struct Slot {
    generation: u16,
    /// Whether the request before this generation was answered.
    answered: bool,
    active: Option<Box<Active>>,
}

/// A job under way.
struct Active {
    job: Job,
    round: Round,
    answer: oneshot::Sender<Harvest>,
    device: u32,
    site: Option<u32>,
    link: u32,
    step: Step,
    queue: Queue,
    /// From 0.
    attempt: u8,
    tries: u8,
    sent_at: [Duration; Id::TRIES_MAX as usize],
    credential: usize,
    /// Credentials that may still be tried in this round.
    credentials_left: usize,
    exchange: Exchange,
    /// In the device's gate.
    entered: bool,
    /// In the gates of site, socket and engine, with this weight.
    charged: Option<usize>,
    refusal: Option<Refusal>,
    malformed: Option<ParseError>,
    unsendable: bool,
    /// Since when a request waits for its turn.
    waits_since: Option<Duration>,
    started: Duration,
    ends: Duration,
    cost: RoundCost,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The round says what is next.
    Prepare,
    /// A request is to be sent, or sent again.
    Send,
    /// A reply is waited for.
    Wait,
}

/// Where a job waits for its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Queue {
    None,
    Ready,
    Device,
    Site,
    Link,
    /// Until a meter allows it.
    Time,
}

/// What a job's turn came to.
enum Turn {
    Over,
    /// The engine as a whole is at its bound.
    Stalled,
}

impl Core {
    pub(crate) fn new(bounds: Bounds, slots: usize, learned: Vec<Learned>) -> Self {
        let random = RandomState::new();
        let slots = slots.clamp(1, Id::SLOTS_MAX);
        // Generations begin at random, so that a predecessor's late replies find nobody.
        let generation = |slot: usize| (random.hash_one(slot) % u64::from(Id::GENERATION_MAX)) as u16 + 1;
        let slot = |at| Slot { generation: generation(at), answered: false, active: None };
        let devices: Vec<Device> =
            learned.into_iter().take(bounds.devices_max).map(Device::restore).collect();
        Self {
            stats: Stats { devices_now: devices.len() as u64, ..Stats::default() },
            by_name: devices.iter().zip(0..).map(|(device, at)| (device.name.clone(), at)).collect(),
            devices,
            by_address: HashMap::new(),
            sites: Vec::new(),
            slots: (0..slots).map(slot).collect(),
            // A stack: slots in use stay few and warm.
            free: (0..slots as u32).rev().collect(),
            ready: VecDeque::new(),
            urgent: VecDeque::new(),
            timers: Timers::default(),
            links: Vec::new(),
            engines: HashMap::new(),
            all: Meter::new(bounds.rate),
            writer: Writer::default(),
            packet: Vec::new(),
            random: random.hash_one("jitter") | 1,
            bounds,
        }
    }

    /// What was learned, in the order of devices' names.
    pub(crate) fn learned(&self) -> Vec<Learned> {
        let mut learned: Vec<Learned> = self.devices.iter().map(Device::learned).collect();
        learned.sort_by(|a, b| a.device.cmp(&b.device));
        learned
    }

    /// Whether a further job finds a slot.
    pub(crate) fn has_room(&self) -> bool {
        !self.free.is_empty()
    }

    /// Takes up a job. Whoever calls has seen that there [is room](Self::has_room).
    pub(crate) fn submit(&mut self, now: Duration, job: Job, answer: oneshot::Sender<Harvest>) {
        let slot = self.free.pop().expect("the caller looked for room");
        let device_at = self.device(now, &job.target);
        let (site, link) = (self.site(&job.target), self.link(&job.target));
        let device = &mut self.devices[device_at as usize];
        device.jobs += 1;
        let credentials = job.target.credentials.len().min(Target::CREDENTIALS_MAX);
        let parked = device.parked_tables();
        let mut round = Round::new(plan(&job, device, device.credential, now, job.deadline));
        self.stats.tables_parked_now -= (parked - device.parked_tables()) as u64;
        // A job for tables alone goes on from one that asked for scalars: silence is then no matter of address or credential.
        let there = job.scalars.is_empty() && device.answered_within(now, THERE_FOR);
        if there {
            round.device_is_there();
        }
        let ends = now.saturating_add(job.deadline);
        let urgent = job.urgent;
        let mut active = Active {
            round,
            answer,
            device: device_at,
            site,
            link,
            step: Step::Prepare,
            queue: Queue::Ready,
            attempt: 0,
            tries: 1,
            sent_at: [now; Id::TRIES_MAX as usize],
            credential: device.credential,
            credentials_left: if device.silent || there { 0 } else { credentials.saturating_sub(1) },
            exchange: Exchange::default(),
            entered: false,
            charged: None,
            refusal: None,
            malformed: None,
            unsendable: false,
            waits_since: None,
            started: now,
            ends,
            cost: RoundCost::default(),
            job,
        };
        if credentials == 0 {
            active.round.abort(&Reason::Refused("no credential is set for it".to_owned()));
        }
        self.slots[slot as usize].active = Some(Box::new(active));
        self.timers.set(slot, ends);
        self.stats.jobs += 1;
        self.stats.jobs_now += 1;
        if urgent { self.urgent.push_back(slot) } else { self.ready.push_back(slot) }
    }

    /// When to come back even if nothing arrives.
    pub(crate) fn next_time(&self) -> Option<Duration> {
        self.timers.next()
    }

    /// Looks after everything whose time has come.
    pub(crate) fn on_time(&mut self, now: Duration) {
        while let Some(slot) = self.timers.pop(now) {
            self.on_slot_time(now, slot);
        }
    }

    /// Sends what may be sent, until the wire is full.
    pub(crate) fn pump(&mut self, now: Duration, wire: &mut impl Wire) {
        while !wire.is_full() {
            let Some(slot) = self.urgent.pop_front().or_else(|| self.ready.pop_front()) else { return };
            if let Turn::Stalled = self.turn(now, slot, wire) {
                return self.ready.push_front(slot);
            }
        }
    }

    /// Whether something would be sent if the wire had room.
    pub(crate) fn wants_to_send(&self) -> bool {
        !self.urgent.is_empty() || (!self.ready.is_empty() && self.all.has_room())
    }

    /// The size of a socket's receive buffer is known.
    pub(crate) fn set_budget(&mut self, link: usize, bytes: usize) {
        self.links[link].budget = bytes;
    }

    /// The system refused to send a datagram.
    pub(crate) fn on_send_error(&mut self, id: i32) {
        self.stats.send_errors += 1;
        if let Some(active) = Id::read(id).and_then(|id| self.waiting_for(id)) {
            active.unsendable = true;
        }
    }

    /// Ends all jobs.
    pub(crate) fn stop(&mut self, now: Duration) {
        for slot in 0..self.slots.len() as u32 {
            if let Some(active) = &mut self.slots[slot as usize].active {
                active.round.abort(&Reason::Stopped);
                self.finish(now, slot);
            }
        }
    }

    fn waiting_for(&mut self, id: Id) -> Option<&mut Active> {
        let slot = self.slots.get_mut(id.slot as usize)?;
        let active = slot.active.as_deref_mut()?;
        (slot.generation == id.generation && active.step == Step::Wait).then_some(active)
    }

    fn device(&mut self, now: Duration, target: &Arc<Target>) -> u32 {
        let at = match self.by_name.get(&target.name) {
            Some(&at) => at,
            None => self.add_device(now, target.name.clone()),
        };
        let device = &mut self.devices[at as usize];
        let old = device.target.as_ref().map(|target| target.address);
        device.meet(target);
        device.used_at = now;
        if old != Some(target.address) {
            if let Some(old) = old.filter(|old| self.by_address.get(old) == Some(&at)) {
                self.by_address.remove(&old);
            }
            self.by_address.insert(target.address, at);
        }
        at
    }

    fn add_device(&mut self, now: Duration, name: Arc<str>) -> u32 {
        let device = Device::new(name.clone(), now);
        if self.devices.len() < self.bounds.devices_max.max(self.slots.len() + 1) {
            self.devices.push(device);
            self.stats.devices_now = self.devices.len() as u64;
            let at = (self.devices.len() - 1) as u32;
            self.by_name.insert(name, at);
            return at;
        }
        // Someone who has not been asked for the longest time is forgotten. There are more devices than slots, so one is idle.
        let idle = self.devices.iter().enumerate().filter(|(_, device)| device.jobs == 0);
        let (at, _) = idle.min_by_key(|(_, device)| device.used_at).expect("more devices than slots");
        let old = std::mem::replace(&mut self.devices[at], device);
        self.stats.devices_silent_now -= u64::from(old.silent);
        self.stats.tables_parked_now -= old.parked_tables() as u64;
        let at = at as u32;
        self.by_name.remove(&old.name);
        self.by_address.retain(|_, &mut of| of != at);
        self.engines.retain(|_, &mut of| of != at);
        self.by_name.insert(name, at);
        at
    }

    fn site(&mut self, target: &Target) -> Option<u32> {
        let site = target.site.as_ref()?;
        if let Some(at) = self.sites.iter().position(|known| known.name == site.name) {
            self.sites[at].meter.set_rate(site.rate);
            return Some(at as u32);
        }
        let (name, meter) = (site.name.clone(), Meter::new(site.rate));
        self.sites.push(SiteState { name, meter, waiting: VecDeque::new() });
        Some((self.sites.len() - 1) as u32)
    }

    fn link(&mut self, target: &Target) -> u32 {
        /// Until the socket tells: the kernel's default.
        const BUDGET: usize = 212_992;
        let key = LinkKey { v6: target.address.is_ipv6(), bind: target.bind };
        if let Some(at) = self.links.iter().position(|link| link.key == key) {
            return at as u32;
        }
        self.links.push(Link { key, budget: BUDGET, expected: 0, waiting: VecDeque::new() });
        (self.links.len() - 1) as u32
    }

    fn turn(&mut self, now: Duration, slot: u32, wire: &mut impl Wire) -> Turn {
        let Some(active) = self.slots[slot as usize].active.as_deref_mut() else { return Turn::Over };
        if active.step == Step::Wait || active.queue != Queue::Ready {
            return Turn::Over;
        }
        active.queue = Queue::None;
        if active.answer.is_closed() {
            active.round.abort(&Reason::Stopped);
            self.finish(now, slot);
            return Turn::Over;
        }
        if active.step == Step::Prepare {
            if !active.round.prepare(now) {
                self.finish(now, slot);
                return Turn::Over;
            }
            self.begin_request(slot);
        }
        match self.gates(now, slot) {
            Some(turn) => {
                self.count_wait(now, slot);
                turn
            }
            None => {
                self.transmit(now, slot, wire);
                Turn::Over
            }
        }
    }

    /// A request was not let through; counted once, by what it waits for first.
    fn count_wait(&mut self, now: Duration, slot: u32) {
        let active = self.slots[slot as usize].active.as_deref_mut().expect("a job is at the gate");
        if active.waits_since.is_some() {
            return;
        }
        active.waits_since = Some(now);
        let count = match active.queue {
            Queue::Device => &mut self.stats.waits_device,
            Queue::Site => &mut self.stats.waits_site,
            Queue::Link => &mut self.stats.waits_socket,
            Queue::Time => &mut self.stats.waits_rate,
            Queue::Ready | Queue::None => &mut self.stats.waits_engine,
        };
        *count += 1;
        self.stats.waiting_now += 1;
    }

    /// A request waits no more.
    fn end_wait(&mut self, now: Duration, slot: u32) {
        let active = self.slots[slot as usize].active.as_deref_mut().expect("a job waited");
        let Some(since) = active.waits_since.take() else { return };
        let waited = now.saturating_sub(since);
        active.cost.waited += waited;
        self.stats.waited += waited;
        self.stats.waiting_now -= 1;
    }

    /// A new request: a new generation.
    fn begin_request(&mut self, slot: u32) {
        let slot = &mut self.slots[slot as usize];
        slot.generation = Id::after(slot.generation);
        let active = slot.active.as_deref_mut().expect("a job prepares its request");
        let retries = active.job.target.retries.min(u32::from(Id::TRIES_MAX) - 1) as u8;
        active.tries = match active.round.patience() {
            _ if self.devices[active.device as usize].silent && !active.round.answered() => 1,
            Patience::Full => 1 + retries,
            Patience::Brief => 1 + retries.min(1),
        };
        active.step = Step::Send;
        active.attempt = 0;
        active.exchange = Exchange::default();
        (active.refusal, active.malformed, active.unsendable) = (None, None, false);
        active.cost.requests += 1;
        self.stats.requests += 1;
    }

    /// Lets a request through, or puts it where it waits.
    fn gates(&mut self, now: Duration, slot: u32) -> Option<Turn> {
        let active = self.slots[slot as usize].active.as_deref_mut().expect("a job is at the gate");
        let device = &mut self.devices[active.device as usize];
        let mut site = active.site.map(|site| &mut self.sites[site as usize]);
        if !active.entered {
            if !device.meter.has_room() {
                active.queue = Queue::Device;
                device.waiting.push_back(slot);
                return Some(Turn::Over);
            }
            if let Some(site) = site.as_mut().filter(|site| !site.meter.has_room()) {
                active.queue = Queue::Site;
                site.waiting.push_back(slot);
                return Some(Turn::Over);
            }
            if !self.all.has_room() {
                active.queue = Queue::Ready;
                return Some(Turn::Stalled);
            }
            let link = &mut self.links[active.link as usize];
            let weight = weight(active.round.expected_bytes());
            // A request that alone is more than the budget still goes alone.
            if link.expected > 0 && link.expected + weight > link.budget {
                active.queue = Queue::Link;
                link.waiting.push_back(slot);
                return Some(Turn::Over);
            }
        }
        let mut ready_at = device.meter.ready_at(now).max(self.all.ready_at(now));
        if let Some(site) = &site {
            ready_at = ready_at.max(site.meter.ready_at(now));
        }
        if ready_at > now {
            active.queue = Queue::Time;
            self.timers.set(slot, ready_at.min(active.ends));
            return Some(Turn::Over);
        }
        if !active.entered {
            active.entered = true;
            device.meter.enter();
            device.in_flight.push(slot);
            self.stats.in_flight_now += 1;
            // Who was silent is not counted upon.
            if !device.silent {
                let weight = weight(active.round.expected_bytes());
                active.charged = Some(weight);
                self.links[active.link as usize].expected += weight;
                self.all.enter();
                if let Some(site) = &mut site {
                    site.meter.enter();
                }
            }
        }
        None
    }

    fn transmit(&mut self, now: Duration, slot: u32, wire: &mut impl Wire) {
        self.end_wait(now, slot);
        let generation = self.slots[slot as usize].generation;
        let active = self.slots[slot as usize].active.as_deref_mut().expect("a job sends");
        let device = &mut self.devices[active.device as usize];
        let target = &active.job.target;
        let attempt = active.attempt;
        let id = match &target.credentials[active.credential] {
            Credential::Community { version, community } => {
                let id = Id { generation, slot, attempt }.number();
                let pdu = active.round.pdu(id);
                let message =
                    Message { version: *version, community: community.as_bytes(), pdu, trailing: 0 };
                message.write(&mut self.writer, &mut self.packet);
                id
            }
            Credential::User { .. } => {
                // One id for all tries, as USM's exchange has it.
                let id = Id { generation, slot, attempt: 0 }.number();
                let pdu = active.round.pdu(id);
                let credential = &target.credentials[active.credential];
                let peer = device.peer(credential, now).expect("a user's credential has a peer");
                let (exchange, out, packet) = (&mut active.exchange, &mut self.writer, &mut self.packet);
                peer.seal(now, exchange, id, MESSAGE_BYTES_MAX, |out| pdu.write(out), out, packet);
                id
            }
        };
        let link = active.link as usize;
        let sent = wire.send(link, self.links[link].key, target.address, &self.packet, id);
        if sent.is_err() {
            self.stats.send_errors += 1;
            active.unsendable = true;
            return self.give_up(now, slot);
        }
        let bytes = self.packet.len();
        active.sent_at[usize::from(attempt)] = now;
        active.step = Step::Wait;
        active.queue = Queue::None;
        active.cost.sent_bytes += bytes as u64;
        let expected = active.round.expected_bytes();
        device.meter.sent(now, bytes);
        device.meter.moved(now, expected);
        self.all.sent(now, bytes);
        self.all.moved(now, expected);
        if let Some(site) = active.site {
            let meter = &mut self.sites[site as usize].meter;
            meter.sent(now, bytes);
            meter.moved(now, expected);
        }
        self.stats.sent_datagrams += 1;
        self.stats.sent_bytes += bytes as u64;
        let wait = device.rtt.wait(attempt, target.timeout, target.timeout_max);
        // Up to a tenth more, so that what was lost together does not come again together.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let jitter = wait / 1000 * (self.random % 100) as u32;
        self.timers.set(slot, now.saturating_add(wait + jitter).min(active.ends));
    }

    fn on_slot_time(&mut self, now: Duration, slot: u32) {
        let Some(active) = self.slots[slot as usize].active.as_deref_mut() else { return };
        if now >= active.ends {
            if active.entered {
                self.leave(slot, false);
            }
            let active = self.slots[slot as usize].active.as_deref_mut().expect("it was there");
            active.round.abort(&Reason::Limit(Limit::Time));
            return self.finish(now, slot);
        }
        self.timers.set(slot, active.ends);
        match active.step {
            Step::Wait => self.on_try_over(now, slot),
            _ if active.queue == Queue::Time => self.make_ready(slot),
            _ => {}
        }
    }

    /// A try was not answered.
    fn on_try_over(&mut self, now: Duration, slot: u32) {
        self.discharge(slot);
        let active = self.slots[slot as usize].active.as_deref_mut().expect("a try belongs to a job");
        // What cannot be read will hardly be readable the third time.
        let tries = if active.malformed.is_some() { active.tries.min(2) } else { active.tries };
        if active.attempt + 1 < tries && active.refusal.is_none() {
            active.attempt += 1;
            active.step = Step::Send;
            active.cost.retries += 1;
            self.stats.retries += 1;
            return self.make_ready(slot);
        }
        active.cost.timeouts += 1;
        self.stats.timeouts += 1;
        self.give_up(now, slot);
    }

    /// The request has no answer: another credential, a smaller request, or the end.
    fn give_up(&mut self, now: Duration, slot: u32) {
        self.leave(slot, false);
        let active = self.slots[slot as usize].active.as_deref_mut().expect("a request belongs to a job");
        active.step = Step::Prepare;
        let refused = active.refusal.map(|why| Reason::Refused(why.to_string()));
        if !active.round.answered() && active.credentials_left > 0 && !active.unsendable {
            active.credentials_left -= 1;
            let credentials = active.job.target.credentials.len().min(Target::CREDENTIALS_MAX);
            active.credential = (active.credential + 1) % credentials;
            self.begin_again(now, slot);
            return self.make_ready(slot);
        }
        match (refused, active.malformed, active.unsendable) {
            (_, _, true) => active.round.abort(&Reason::Unreachable),
            (Some(refused), ..) => active.round.abort(&refused),
            (_, Some(error), _) => active.round.on_rubbish(error),
            _ if !active.round.answered()
                && self.devices[active.device as usize]
                    .only_discovered(&active.job.target.credentials[active.credential]) =>
            {
                active.round.abort(&Reason::Refused(NOTHING_BELIEVED.to_owned()));
            }
            _ => active.round.on_silence(),
        }
        self.make_ready(slot);
    }

    /// The round's first request again, with another credential, which may be of another version.
    fn begin_again(&mut self, now: Duration, slot: u32) {
        let active = self.slots[slot as usize].active.as_deref_mut().expect("a request belongs to a job");
        let device = &mut self.devices[active.device as usize];
        let parked = device.parked_tables();
        let left = active.ends.saturating_sub(now);
        active.round = Round::new(plan(&active.job, device, active.credential, now, left));
        self.stats.tables_parked_now -= (parked - device.parked_tables()) as u64;
    }

    fn make_ready(&mut self, slot: u32) {
        let active = self.slots[slot as usize].active.as_deref_mut().expect("a job goes on");
        if active.queue == Queue::Ready {
            return;
        }
        active.queue = Queue::Ready;
        if active.job.urgent { self.urgent.push_back(slot) } else { self.ready.push_back(slot) }
    }

    /// Nothing more is expected at site, socket and engine.
    fn discharge(&mut self, slot: u32) {
        let active = self.slots[slot as usize].active.as_deref_mut().expect("a job is charged");
        let (site, link) = (active.site, active.link as usize);
        let Some(weight) = active.charged.take() else { return };
        self.links[link].expected -= weight;
        self.all.leave();
        self.wake_next(Queue::Link, link as u32);
        if let Some(site) = site {
            self.sites[site as usize].meter.leave();
            self.wake_next(Queue::Site, site);
        }
    }

    /// The request is over.
    fn leave(&mut self, slot: u32, answered: bool) {
        self.discharge(slot);
        self.slots[slot as usize].answered = answered;
        let active = self.slots[slot as usize].active.as_deref_mut().expect("a request belongs to a job");
        if !std::mem::take(&mut active.entered) {
            return;
        }
        self.stats.in_flight_now -= 1;
        let device = active.device;
        self.devices[device as usize].meter.leave();
        self.devices[device as usize].in_flight.retain(|&other| other != slot);
        self.wake_next(Queue::Device, device);
    }

    /// Lets the first that still waits at a gate try again.
    fn wake_next(&mut self, queue: Queue, at: u32) {
        loop {
            let waiting = match queue {
                Queue::Device => &mut self.devices[at as usize].waiting,
                Queue::Site => &mut self.sites[at as usize].waiting,
                Queue::Link => &mut self.links[at as usize].waiting,
                Queue::None | Queue::Ready | Queue::Time => return,
            };
            let Some(next) = waiting.pop_front() else { return };
            if self.wake(next, queue) {
                return;
            }
        }
    }

    /// Lets a job go on that waits in this queue; false if it no longer does.
    fn wake(&mut self, slot: u32, queue: Queue) -> bool {
        let waits = self.slots[slot as usize].active.as_ref().is_some_and(|active| active.queue == queue);
        if waits {
            self.make_ready(slot);
        }
        waits
    }

    /// Delivers the harvest.
    fn finish(&mut self, now: Duration, slot: u32) {
        if self.slots[slot as usize].active.as_ref().is_some_and(|active| active.entered) {
            self.leave(slot, false);
        }
        self.end_wait(now, slot);
        let place = &mut self.slots[slot as usize];
        let Active {
            job,
            round,
            answer,
            device: at,
            site,
            link,
            credential,
            started,
            ends,
            mut cost,
            refusal,
            ..
        } = *place.active.take().expect("a job ends once");
        self.free.push(slot);
        self.timers.clear(slot);
        // It may have been woken to go through a gate and has not: the next one's turn.
        self.wake_next(Queue::Device, at);
        self.wake_next(Queue::Link, link);
        if let Some(site) = site {
            self.wake_next(Queue::Site, site);
        }
        self.stats.jobs_now -= 1;
        let mut ended = round.finish(&Reason::Stopped);
        cost.duration = now.saturating_sub(started);
        let device = &mut self.devices[at as usize];
        device.jobs -= 1;
        let before = device.parked_tables();
        let parked = device.learn(&job, &mut ended, now.saturating_add(self.bounds.park));
        self.stats.tables_parked += parked as u64;
        self.stats.tables_parked_now += (device.parked_tables() - before) as u64;
        // An older job's credentials say nothing about a newer one's.
        let is_current = device.target.as_ref().is_some_and(|target| Arc::ptr_eq(target, &job.target));
        if ended.answered {
            device.answered_at = Some(now);
            if is_current {
                device.credential = credential;
            }
            self.set_silent(at, false);
        } else if refusal.is_none()
            && (cost.timeouts > 0 || cost.received_bytes > 0 || (cost.requests > 0 && now >= ends))
        {
            // One probe a round is all that a silent device costs; with each it may be the next credential's turn.
            let credentials = job.target.credentials.len().clamp(1, Target::CREDENTIALS_MAX);
            if device.silent && is_current {
                device.credential = (device.credential + 1) % credentials;
            }
            self.set_silent(at, true);
        }
        let device = &self.devices[at as usize];
        let harvest = Harvest {
            scalars: ended.scalars,
            scalar_reasons: ended.scalar_reasons,
            tables: ended.tables,
            answered: ended.answered,
            cost,
            round_trip: device.rtt.smoothed(),
            credential: ended.answered.then_some(credential),
            last_bad: device.last_bad.clone(),
            engine_id_also_of: self.engine_shared(at, job.target.credentials.get(credential)),
        };
        // Whoever asked may have gone.
        let _ = answer.send(harvest);
    }

    /// Notes whose engine id this is; the other device that has it, if there is one.
    fn engine_shared(&mut self, at: u32, credential: Option<&Credential>) -> Option<Arc<str>> {
        let id = self.devices[at as usize].engine_id(credential?)?;
        let owner = *self.engines.entry(id).or_insert(at);
        if owner == at {
            return None;
        }
        let other = &self.devices[owner as usize];
        if !other.has_engine(&id) {
            self.engines.insert(id, at);
            return None;
        }
        self.stats.engine_ids_shared += 1;
        Some(other.name.clone())
    }

    fn set_silent(&mut self, device: u32, silent: bool) {
        let old = std::mem::replace(&mut self.devices[device as usize].silent, silent);
        self.stats.devices_silent_now += u64::from(silent);
        self.stats.devices_silent_now -= u64::from(old);
    }
}

/// What net-snmp does with a message that it cannot decipher is nothing at all.
const NOTHING_BELIEVED: &str =
    "it tells its engine id but answers nothing else: is the privacy passphrase or protocol wrong?";

/// The largest message that is taken: UDP's largest payload.
const MESSAGE_BYTES_MAX: u32 = 65_507;

/// What a job's round is given.
fn plan(job: &Job, device: &mut Device, credential: usize, now: Duration, time_max: Duration) -> Plan {
    Plan {
        scalars: job.scalars.clone(),
        tables: device.assignments(job, now),
        path: device.path,
        reply_bytes_max: job.target.reply_bytes_max,
        bulk: !is_v1(&job.target, credential),
        time_max,
        bytes_max: job.target.round_bytes_max,
        deny: job.target.deny.clone(),
    }
}

fn is_v1(target: &Target, credential: usize) -> bool {
    matches!(target.credentials.get(credential), Some(Credential::Community { version: Version::V1, .. }))
}

/// What a datagram of this length takes of a socket's receive buffer: the kernel rounds up to a power of two and adds its own.
fn weight(bytes: usize) -> usize {
    (bytes + 400).next_power_of_two() + 256
}

#[cfg(test)]
mod tests;
