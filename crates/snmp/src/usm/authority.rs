//! The side that answers: an authoritative engine, for simulated devices.
//!
//! It takes requests at exactly their user's level, and answers everything else with the report that RFC 3414 section 3.2 demands, in its
//! order: engine id, user, level, MAC, time window, deciphering. Keys are localised when a user first asks.

use std::time::Duration;

use super::clock::fits;
use super::peer::OpenFault;
use super::report::Refusal;
use super::seal::{ContextRef, Envelope, Keys};
use super::user::User;
use crate::ber::Writer;
use crate::v3::{EngineId, Head, Level, Message, Scoped};

/// Largest message that is taken, as it is told to others.
const MAX_SIZE: u32 = 65_507;

/// A request that was authenticated and deciphered as its user's level demands.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'p> {
    /// The PDU, and the context that is asked for.
    pub scoped: Scoped<'p>,
    /// The largest answer that the asker takes; a larger one must be refused with tooBig.
    pub max_size: u32,
    /// Which user, by the place in the list given to [`Authority::new`].
    pub user: usize,
    message_id: i32,
}

/// What [`Authority::open`] found.
#[derive(Clone, Copy, Debug)]
pub enum Served<'p> {
    /// A request to answer by [`Authority::seal`].
    Request(Asked<'p>),
    /// The packet was refused and the report to send lies in the buffer.
    Report(Refusal),
    /// The packet was refused, and its sender does not take reports.
    Silent(Refusal),
}

/// How many packets were refused, by USM's counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of usmStats")]
pub struct Stats {
    pub unsupported_sec_levels: u32,
    pub not_in_time_windows: u32,
    pub unknown_user_names: u32,
    pub unknown_engine_ids: u32,
    pub wrong_digests: u32,
    pub decryption_errors: u32,
}

/// An engine that answers.
pub struct Authority {
    id: EngineId,
    boots: u32,
    booted_at: Duration,
    users: Vec<Member>,
    stats: Stats,
}

struct Member {
    user: User,
    keys: Option<Box<Keys>>,
}

impl Member {
    fn keys(&mut self, id: &EngineId) -> &Keys {
        self.keys.get_or_insert_with(|| Box::new(self.user.localise(id)))
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Authority")
            .field("id", &self.id)
            .field("boots", &self.boots)
            .finish_non_exhaustive()
    }
}

impl Authority {
    /// An engine that started at `booted_at`, on the clock of later calls, for the `boots`-th time.
    pub fn new(id: EngineId, boots: u32, booted_at: Duration, users: impl IntoIterator<Item = User>) -> Self {
        let users = users.into_iter().map(|user| Member { user, keys: None }).collect();
        Self { id, boots, booted_at, users, stats: Stats::default() }
    }

    /// Starts anew: one boot more, time from zero.
    pub fn reboot(&mut self, now: Duration) {
        self.boots = self.boots.saturating_add(1).min(i32::MAX as u32);
        self.booted_at = now;
    }

    /// The engine's id.
    pub fn engine_id(&self) -> &EngineId {
        &self.id
    }

    /// A user by the number in [`Asked::user`].
    pub fn user(&self, number: usize) -> Option<&User> {
        self.users.get(number).map(|member| &member.user)
    }

    /// What was refused so far.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Boots, and seconds since the last one.
    pub fn clock(&self, now: Duration) -> (u32, u32) {
        let time = now.saturating_sub(self.booted_at).as_secs();
        (self.boots, time.min(i32::MAX as u64) as u32)
    }

    /// Verifies and deciphers a request in place, or replaces `report` by the answer to one that is refused.
    pub fn open<'p>(
        &mut self,
        now: Duration,
        packet: &'p mut [u8],
        out: &mut Writer,
        report: &mut Vec<u8>,
    ) -> Result<Served<'p>, OpenFault> {
        let message = Message::read(packet)?;
        let envelope = Envelope::new(&message);
        let user = match self.admit(now, packet, &message) {
            Ok(user) => user,
            Err((why, user)) => {
                return Ok(self.refuse(now, why, user, &envelope, request_id(&message), out, report));
            }
        };
        let keys = self.users[user].keys.as_deref();
        let deciphered = keys.is_some_and(|keys| envelope.decipher(keys, packet));
        let readable = deciphered && (envelope.level != Level::AuthPriv || envelope.scoped(packet).is_ok());
        if !readable {
            let why = Refusal::DecryptionError;
            return Ok(self.refuse(now, why, Some(user), &envelope, 0, out, report));
        }
        let scoped = envelope.scoped(packet)?;
        let Envelope { message_id, max_size, .. } = envelope;
        Ok(Served::Request(Asked { scoped, max_size, user, message_id }))
    }

    /// Replaces `packet` by the answer to a request, at its level; by nothing if the request is another engine's. `pdu` writes the response PDU.
    pub fn seal(
        &mut self,
        now: Duration,
        asked: &Asked<'_>,
        pdu: impl FnOnce(&mut Writer),
        out: &mut Writer,
        packet: &mut Vec<u8>,
    ) {
        let (boots, time) = self.clock(now);
        let Some(member) = self.users.get_mut(asked.user) else { return packet.clear() };
        let user = member.user.clone();
        let keys = member.keys(&self.id);
        let head = Head {
            message_id: asked.message_id,
            max_size: MAX_SIZE,
            level: user.level(),
            reportable: false,
            engine_id: self.id,
            boots,
            time,
            user: user.name(),
            mac: &[],
            salt: &[],
        };
        let Scoped { context_engine_id: engine_id, context_name: name, .. } = asked.scoped;
        keys.seal(head, || user.next_salt(), ContextRef { engine_id, name }, pdu, out, packet);
    }

    /// Replaces `packet` by a report about a request that was opened, at its level: [`Refusal::UnknownContext`] and what else comes above USM.
    pub fn report(
        &mut self,
        now: Duration,
        asked: &Asked<'_>,
        why: Refusal,
        out: &mut Writer,
        packet: &mut Vec<u8>,
    ) {
        let request_id = asked.scoped.pdu.reader().integer().unwrap_or(0);
        self.seal(now, asked, |out| why.write(out, request_id, 1), out, packet);
    }

    /// The user whose request it is; or why it is refused, and the user if the report can be authenticated.
    fn admit(
        &mut self,
        now: Duration,
        packet: &[u8],
        message: &Message<'_>,
    ) -> Result<usize, (Refusal, Option<usize>)> {
        let head = &message.head;
        if head.engine_id != self.id {
            return Err((Refusal::UnknownEngine, None));
        }
        let user = self.users.iter().position(|member| member.user.name() == head.user);
        let user = user.ok_or((Refusal::UnknownUser, None))?;
        let clock = self.clock(now);
        let member = &mut self.users[user];
        if member.user.level() != head.level {
            return Err((Refusal::UnsupportedLevel, None));
        }
        let keys = member.keys(&self.id);
        if head.level == Level::NoAuthNoPriv {
            return Ok(user);
        }
        if !keys.verify(packet, message) {
            return Err((Refusal::WrongDigest, None));
        }
        match fits(clock, (head.boots, head.time)) {
            true => Ok(user),
            false => Err((Refusal::NotInTimeWindow, Some(user))),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "what a report is made of")]
    fn refuse(
        &mut self,
        now: Duration,
        why: Refusal,
        user: Option<usize>,
        envelope: &Envelope,
        request_id: i32,
        out: &mut Writer,
        report: &mut Vec<u8>,
    ) -> Served<'static> {
        let count = self.stats.count(why);
        if !envelope.reportable {
            return Served::Silent(why);
        }
        let (boots, time) = self.clock(now);
        let member = user.map(|user| &self.users[user]);
        let head = Head {
            message_id: envelope.message_id,
            max_size: MAX_SIZE,
            level: if user.is_some() { Level::AuthNoPriv } else { Level::NoAuthNoPriv },
            reportable: false,
            engine_id: self.id,
            boots,
            time,
            user: member.map_or(&[], |member| member.user.name()),
            mac: &[],
            salt: &[],
        };
        let none = Keys::default();
        let keys = member.and_then(|member| member.keys.as_deref()).unwrap_or(&none);
        let context = ContextRef { engine_id: self.id.as_bytes(), name: &[] };
        keys.seal(head, || [0; 8], context, |out| why.write(out, request_id, count), out, report);
        Served::Report(why)
    }
}

impl Stats {
    /// Counts a refusal and tells how many of its kind there were.
    fn count(&mut self, why: Refusal) -> u32 {
        let counter = match why {
            Refusal::UnsupportedLevel => &mut self.unsupported_sec_levels,
            Refusal::NotInTimeWindow => &mut self.not_in_time_windows,
            Refusal::UnknownUser => &mut self.unknown_user_names,
            Refusal::UnknownEngine => &mut self.unknown_engine_ids,
            Refusal::WrongDigest => &mut self.wrong_digests,
            Refusal::DecryptionError => &mut self.decryption_errors,
            _ => return 0,
        };
        *counter = counter.wrapping_add(1);
        *counter
    }
}

/// The request id of a message in clear, which a report repeats; else 0.
fn request_id(message: &Message<'_>) -> i32 {
    let scoped = match message.head.level {
        Level::AuthPriv => return 0,
        _ => Scoped::read(&message.data),
    };
    scoped.and_then(|scoped| scoped.pdu.reader().integer()).unwrap_or(0)
}
