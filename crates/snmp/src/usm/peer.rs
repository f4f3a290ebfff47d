//! The manager's side of one remote engine.
//!
//! The first request of all is a discovery; the engine's answer names it and tells its boots and time, which are only a guess until an
//! authenticated message confirms or corrects them. An engine that rebooted answers with an authenticated report, from which the
//! clock is set, and the request is sent again at once: one round trip.
//!
//! An engine id is confirmed by the first authenticated message (without authentication: by the first response). A report that names
//! another id afterwards is tried once, beside the confirmed one, and believed if its answer is authenticated. An engine that has answered
//! nothing for ten seconds is asked for its id again at every fourth request.
//!
//! Bounds: one request can be sent again twice for what was learned, once for an engine id and once for a clock; each datagram that was
//! sent yields one answer at most. Nothing here sends or waits.

use std::time::Duration;

use super::clock::{Clock, Verdict, fits};
use super::report::Refusal;
use super::seal::{ContextRef, Envelope, Keys};
use super::user::{Context, User};
use crate::ber::{ParseError, Writer, tag};
use crate::pdu::{Pdu, PduKind};
use crate::v3::{EngineId, Head, Level, Message, Scoped};

/// Requests without an answer after which the engine's id is asked for again,
const SILENCE_MAX: u32 = 4;
/// once the first of them is this old: several requests may be under way at once.
const SILENCE_TIME: Duration = Duration::from_secs(10);
/// Authenticated reports in a row whose clock went back, after which the clock is learned anew.
///
/// RFC 3414 would have such an engine refused for ever. A device that lost its memory of boots in a reset would stay lost; to feign one,
/// somebody must have recorded as many authenticated reports to the very message ids of requests made now.
const BACK_MAX: u32 = 4;

/// What a [`Peer`] remembers of one request, from the first datagram to the last. Begin each request with a new one (`default`).
#[derive(Clone, Copy, Debug, Default)]
pub struct Exchange {
    message_id: i32,
    sent: Sent,
    /// Boots and time of the last datagram.
    clock: (u32, u32),
    engine_learned: bool,
    /// Boots and time of the report from which the clock was learned.
    clock_learned: Option<(u32, u32)>,
    /// The next datagram goes to the engine on probation.
    try_other: bool,
    /// The next datagram bears this clock.
    guess: Option<Clock>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Sent {
    #[default]
    Nothing,
    Discovery,
    Request,
    /// A request to the engine on probation.
    Other,
}

/// What [`Peer::seal`] made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sealed {
    /// Not the request, but a question for the engine's id: short, and in clear without any name.
    Discovery,
    /// The request.
    Request,
}

/// What [`Peer::open`] found.
#[derive(Clone, Copy, Debug)]
pub enum Opened<'p> {
    /// A response. Its request id is not yet compared.
    Pdu(Scoped<'p>),
    /// The engine's id or clock was learned: seal the same request again and send it at once.
    Again,
    /// The engine did not take the request.
    Refused {
        /// Why.
        why: Refusal,
        /// Whether the report was authenticated. One that was not may be forged: the true answer may still come, and would be opened.
        authentic: bool,
    },
}

/// Why a packet is no answer. It changes nothing: drop it, count it, wait on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenFault {
    /// It cannot be read.
    #[error(transparent)]
    Malformed(#[from] ParseError),
    /// It answers nothing that was asked, or was answered already.
    #[error("an answer to another message id")]
    WrongMessageId,
    /// It comes from another engine.
    #[error("an answer from another engine id")]
    WrongEngine,
    /// It is for another user.
    #[error("an answer for another user")]
    WrongUser,
    /// It is for another context.
    #[error("an answer for another context")]
    WrongContext,
    /// It is less protected, or more, than what it answers.
    #[error("an answer at another security level")]
    WrongLevel,
    /// Its MAC is wrong.
    #[error("an answer with a wrong MAC")]
    WrongDigest,
    /// It lies outside the time window: a replay, or late by more than 150 s.
    #[error("an answer outside the time window")]
    Stale,
    /// Its MAC is right but it cannot be deciphered.
    #[error("an answer that cannot be deciphered: check the privacy protocol and passphrase")]
    Undecipherable,
    /// Neither a response nor a report.
    #[error("an answer with PDU tag {0:#04x}")]
    UnexpectedPdu(u8),
}

impl OpenFault {
    /// A word for a label value.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::WrongMessageId => "wrong_message_id",
            Self::WrongEngine => "wrong_engine_id",
            Self::WrongUser => "wrong_user",
            Self::WrongContext => "wrong_context",
            Self::WrongLevel => "wrong_security_level",
            Self::WrongDigest => "wrong_digest",
            Self::Stale => "stale",
            Self::Undecipherable => "undecipherable",
            Self::UnexpectedPdu(_) => "unexpected_pdu",
        }
    }
}

/// The manager's side of one remote engine, for one user and context.
pub struct Peer {
    user: User,
    pub(super) context: Context,
    engine: Option<Box<Remote>>,
    /// An engine that a report named after another was confirmed.
    other: Option<Box<Remote>>,
    /// Datagrams sealed since the last that was answered,
    unanswered: u32,
    /// and when the first of them was.
    unanswered_since: Duration,
    /// Reports in a row whose clock went back.
    back: u32,
}

struct Remote {
    id: EngineId,
    keys: Keys,
    clock: Clock,
    /// An authenticated message came from it; without authentication, a response.
    confirmed: bool,
}

impl Remote {
    fn new(user: &User, envelope: &Envelope, now: Duration) -> Box<Self> {
        let clock = Clock::guess(envelope.boots, envelope.time, now);
        let id = envelope.engine_id;
        Box::new(Self { id, keys: user.localise(&id), clock, confirmed: false })
    }
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut fields = out.debug_struct("Peer");
        fields.field("user", &self.user).field("engine_id", &self.engine_id());
        fields.finish_non_exhaustive()
    }
}

impl Peer {
    /// Nothing is known of the engine yet.
    pub fn new(user: User, context: Context) -> Self {
        Self {
            user,
            context,
            engine: None,
            other: None,
            unanswered: 0,
            unanswered_since: Duration::ZERO,
            back: 0,
        }
    }

    /// The engine's id, once it is confirmed. Another than before: the device was exchanged or set up anew.
    pub fn engine_id(&self) -> Option<&EngineId> {
        self.engine.as_ref().filter(|engine| engine.confirmed).map(|engine| &engine.id)
    }

    /// Boots and time of the engine as an authenticated message told them, time counted on to `now`.
    pub fn clock(&self, now: Duration) -> Option<(u32, u32)> {
        let clock = &self.engine.as_ref()?.clock;
        clock.is_trusted().then(|| clock.read(now))
    }

    /// Whether the device has named its engine but sent nothing that could be believed since. If it stays so while requests are sent, the
    /// credential is wrong: many agents, net-snmp's among them, say nothing at all to a wrong privacy passphrase.
    pub fn only_discovered(&self) -> bool {
        self.engine.as_ref().is_some_and(|engine| !engine.confirmed)
    }

    /// Whose credential it is.
    pub fn user(&self) -> &User {
        &self.user
    }

    /// Which context is asked for.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Forgets the engine: the next request begins with a discovery.
    pub fn forget(&mut self) {
        (self.engine, self.other, self.unanswered, self.back) = (None, None, 0, 0);
    }

    /// Replaces `packet` by a datagram to send, at the user's level. For a repetition call it again, with another message id or the same.
    ///
    /// - `message_id`: 0 to 2^31-1, tells the answer's owner by [`v3::message_id`](crate::v3::message_id);
    /// - `max_size`: the largest answer that is taken, at least 484;
    /// - `pdu`: writes the request PDU, as [`Pdu::write`] does; not called for a discovery;
    /// - `out`: a writer that is empty.
    #[expect(clippy::too_many_arguments, reason = "two of them are buffers that are used again and again")]
    pub fn seal(
        &mut self,
        now: Duration,
        exchange: &mut Exchange,
        message_id: i32,
        max_size: u32,
        pdu: impl FnOnce(&mut Writer),
        out: &mut Writer,
        packet: &mut Vec<u8>,
    ) -> Sealed {
        let message_id = message_id & i32::MAX;
        let silent = self.silent(now);
        exchange.message_id = message_id;
        let guess = exchange.guess.take();
        let try_other = std::mem::take(&mut exchange.try_other);
        let other = self.other.as_deref().filter(|_| try_other);
        let (sent, engine) = match (other, self.engine.as_deref()) {
            (Some(other), _) => (Sent::Other, other),
            (None, Some(engine)) if !silent => (Sent::Request, engine),
            _ => {
                exchange.sent = Sent::Discovery;
                discovery(message_id, max_size, out, packet);
                return Sealed::Discovery;
            }
        };
        let level = self.user.level();
        let (boots, time) = match level {
            Level::NoAuthNoPriv => (0, 0),
            _ => guess.unwrap_or(engine.clock).read(now),
        };
        (exchange.sent, exchange.clock) = (sent, (boots, time));
        let user = self.user.name();
        let (engine_id, reportable) = (engine.id, true);
        let head = Head {
            message_id,
            max_size,
            level,
            reportable,
            engine_id,
            boots,
            time,
            user,
            mac: &[],
            salt: &[],
        };
        let context = self.context.of(&engine.id);
        engine.keys.seal(head, || self.user.next_salt(), context, pdu, out, packet);
        Sealed::Request
    }

    /// Verifies, deciphers in place and judges an answer to the datagram that was sealed last in this exchange.
    ///
    /// An answer is taken once: whatever comes for the same datagram afterwards is [`OpenFault::WrongMessageId`]. A refusal that may be
    /// forged is no answer in this sense.
    pub fn open<'p>(
        &mut self,
        now: Duration,
        exchange: &mut Exchange,
        packet: &'p mut [u8],
    ) -> Result<Opened<'p>, OpenFault> {
        let message = Message::read(packet)?;
        let envelope = Envelope::new(&message);
        if exchange.sent == Sent::Nothing || envelope.message_id != exchange.message_id {
            return Err(OpenFault::WrongMessageId);
        }
        if exchange.sent == Sent::Discovery {
            return self.discovered(now, exchange, &envelope);
        }
        let from_other = exchange.sent == Sent::Other;
        let engine = if from_other { &mut self.other } else { &mut self.engine };
        // A neighbour's exchange may have dropped it.
        let engine = engine.as_deref_mut().ok_or(OpenFault::WrongMessageId)?;
        let authentic = envelope.level != Level::NoAuthNoPriv;
        let named = named(&message, engine, &self.user);
        if authentic {
            named?;
            if !engine.keys.verify(packet, &message) {
                return Err(OpenFault::WrongDigest);
            }
        }
        if !envelope.decipher(&engine.keys, packet) {
            return Err(OpenFault::Undecipherable);
        }
        let enciphered = envelope.level == Level::AuthPriv;
        let scoped = envelope.scoped(packet).map_err(|error| match enciphered {
            true => OpenFault::Undecipherable,
            false => OpenFault::Malformed(error),
        })?;
        match scoped.pdu.tag {
            tag::REPORT if authentic => self.told(now, exchange, &envelope, &scoped),
            tag::REPORT => self.rumoured(now, exchange, &envelope, &scoped),
            tag::RESPONSE => {
                named?;
                self.answered(now, exchange, &envelope, scoped)
            }
            other => Err(OpenFault::UnexpectedPdu(other)),
        }
    }

    /// The answer to a discovery: any message that names an engine. It is not authenticated, and nothing in it is but a guess.
    fn discovered(
        &mut self,
        now: Duration,
        exchange: &mut Exchange,
        envelope: &Envelope,
    ) -> Result<Opened<'static>, OpenFault> {
        if envelope.engine_id.is_empty() {
            return Err(OpenFault::WrongEngine);
        }
        self.unanswered = 0;
        match &self.engine {
            Some(engine) if engine.id == envelope.engine_id => {
                if (envelope.boots, envelope.time) != (0, 0) {
                    exchange.guess = Some(Clock::guess(envelope.boots, envelope.time, now));
                }
                Ok(exchange.again_by_engine())
            }
            _ => Ok(self.probe(now, exchange, envelope)),
        }
    }

    /// Takes a new engine id: as the engine's where none is confirmed, else on probation.
    fn probe(&mut self, now: Duration, exchange: &mut Exchange, envelope: &Envelope) -> Opened<'static> {
        let again = exchange.again_by_engine();
        if matches!(again, Opened::Again) {
            let remote = Some(Remote::new(&self.user, envelope, now));
            if self.engine.as_ref().is_some_and(|engine| engine.confirmed) {
                (self.other, exchange.try_other) = (remote, true);
            } else {
                self.engine = remote;
            }
        }
        again
    }

    /// A response.
    fn answered<'p>(
        &mut self,
        now: Duration,
        exchange: &mut Exchange,
        envelope: &Envelope,
        scoped: Scoped<'p>,
    ) -> Result<Opened<'p>, OpenFault> {
        if envelope.level != self.user.level() {
            return Err(OpenFault::WrongLevel);
        }
        let context = self.context.of(&envelope.engine_id);
        if (context.engine_id, context.name) != (scoped.context_engine_id, scoped.context_name) {
            return Err(OpenFault::WrongContext);
        }
        let verdict = match envelope.level {
            Level::NoAuthNoPriv => Verdict::Fresh,
            _ => self.engine_of(exchange).clock.hear(envelope.boots, envelope.time, now),
        };
        match verdict {
            Verdict::Stale => return Err(OpenFault::Stale),
            Verdict::Exhausted => {
                self.confirm(exchange);
                return Ok(Opened::Refused { why: Refusal::BootsExhausted, authentic: true });
            }
            Verdict::Newer | Verdict::Fresh => {}
        }
        self.confirm(exchange);
        self.back = 0;
        Ok(Opened::Pdu(scoped))
    }

    /// An authenticated report.
    fn told(
        &mut self,
        now: Duration,
        exchange: &mut Exchange,
        envelope: &Envelope,
        scoped: &Scoped<'_>,
    ) -> Result<Opened<'static>, OpenFault> {
        let why = Refusal::read(&scoped.pdu)?;
        let told = Some((envelope.boots, envelope.time));
        let window = why == Refusal::NotInTimeWindow;
        if window && exchange.clock_learned == told {
            // The network doubled it, and the request was sent again under the same message id.
            return Err(OpenFault::WrongMessageId);
        }
        let verdict = self.engine_of(exchange).clock.hear(envelope.boots, envelope.time, now);
        if verdict == Verdict::Stale && !window {
            return Err(OpenFault::Stale);
        }
        self.confirm(exchange);
        let refused = |why| Ok(Opened::Refused { why, authentic: true });
        match verdict {
            Verdict::Exhausted => refused(Refusal::BootsExhausted),
            Verdict::Stale => {
                self.went_back();
                refused(Refusal::ClockWentBack)
            }
            Verdict::Newer | Verdict::Fresh => {
                self.back = 0;
                // Another request may have brought the news before.
                let known = self.engine.as_ref().map(|engine| engine.clock.read(now));
                let news =
                    verdict == Verdict::Newer || known.is_some_and(|clock| !fits(clock, exchange.clock));
                if window && news && exchange.clock_learned.is_none() {
                    exchange.clock_learned = told;
                    return Ok(Opened::Again);
                }
                refused(why)
            }
        }
    }

    /// A report that is not authenticated.
    fn rumoured(
        &mut self,
        now: Duration,
        exchange: &mut Exchange,
        envelope: &Envelope,
        scoped: &Scoped<'_>,
    ) -> Result<Opened<'static>, OpenFault> {
        let why = Refusal::read(&scoped.pdu)?;
        let asked = self.engine_of(exchange).id;
        self.unanswered = 0;
        let id = envelope.engine_id;
        if why == Refusal::UnknownEngine && id != asked && !id.is_empty() {
            return Ok(self.probe(now, exchange, envelope));
        }
        if why == Refusal::UnknownEngine && id == asked && exchange.engine_learned {
            // A double of the report that named it.
            return Err(OpenFault::WrongMessageId);
        }
        Ok(Opened::Refused { why, authentic: false })
    }

    /// Counts a datagram to send; whether so many got no answer that it had better be a discovery.
    fn silent(&mut self, now: Duration) -> bool {
        if self.unanswered == 0 {
            self.unanswered_since = now;
        }
        let before = self.unanswered;
        let long = now.saturating_sub(self.unanswered_since) >= SILENCE_TIME;
        let silent = long && before >= SILENCE_MAX;
        self.unanswered = if silent { 1 } else { before.saturating_add(1) };
        silent
    }

    fn went_back(&mut self) {
        self.back += 1;
        if self.back >= BACK_MAX {
            self.back = 0;
            if let Some(engine) = &mut self.engine {
                engine.clock.distrust();
            }
        }
    }

    /// The engine that the exchange's last datagram was for.
    fn engine_of(&mut self, exchange: &Exchange) -> &mut Remote {
        let engine = if exchange.sent == Sent::Other { &mut self.other } else { &mut self.engine };
        engine.as_deref_mut().expect("`open` found it before it verified the message")
    }

    /// A message of the engine is believed: one on probation takes the other's place.
    fn confirm(&mut self, exchange: &mut Exchange) {
        if exchange.sent == Sent::Other {
            self.engine = self.other.take();
            self.back = 0;
        }
        if let Some(engine) = &mut self.engine {
            engine.confirmed = true;
        }
        exchange.sent = Sent::Nothing;
        self.unanswered = 0;
    }
}

impl Exchange {
    /// Once an exchange.
    fn again_by_engine(&mut self) -> Opened<'static> {
        match std::mem::replace(&mut self.engine_learned, true) {
            false => {
                self.sent = Sent::Nothing;
                Opened::Again
            }
            true => Opened::Refused { why: Refusal::UnknownEngine, authentic: false },
        }
    }
}

impl Context {
    fn of<'a>(&'a self, engine: &'a EngineId) -> ContextRef<'a> {
        let engine_id = self.engine_id.as_ref().unwrap_or(engine).as_bytes();
        ContextRef { engine_id, name: &self.name }
    }
}

/// Whether a message names the engine and the user that were asked.
fn named(message: &Message<'_>, engine: &Remote, user: &User) -> Result<(), OpenFault> {
    if message.head.engine_id != engine.id {
        return Err(OpenFault::WrongEngine);
    }
    if message.head.user != user.name() {
        return Err(OpenFault::WrongUser);
    }
    Ok(())
}

/// RFC 3414 section 4: no names, no bindings.
fn discovery(message_id: i32, max_size: u32, out: &mut Writer, packet: &mut Vec<u8>) {
    let head = Head {
        message_id,
        max_size,
        level: Level::NoAuthNoPriv,
        reportable: true,
        engine_id: EngineId::default(),
        boots: 0,
        time: 0,
        user: &[],
        mac: &[],
        salt: &[],
    };
    let pdu = Pdu { kind: PduKind::Get, request_id: message_id, second: 0, third: 0, varbinds: Vec::new() };
    let context = ContextRef { engine_id: &[], name: &[] };
    Keys::default().seal(head, || [0; 8], context, |out| pdu.write(out), out, packet);
}
