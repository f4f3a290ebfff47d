//! Protocol data units: what is asked ([`Request`]) and what stands in a packet ([`Pdu`]).

use std::fmt;

use crate::ber::tag;
use crate::oid::{Oid, OidRef};
use crate::value::Value;

/// Which PDU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PduKind {
    /// Values of these instances.
    Get,
    /// The instance behind each name.
    GetNext,
    /// An answer.
    Response,
    /// Many instances behind each name (v2c).
    GetBulk,
}

impl PduKind {
    pub(crate) const fn tag(self) -> u8 {
        match self {
            Self::Get => tag::GET,
            Self::GetNext => tag::GET_NEXT,
            Self::Response => tag::RESPONSE,
            Self::GetBulk => tag::GET_BULK,
        }
    }

    pub(crate) const fn from_tag(tag: u8) -> Option<Self> {
        Some(match tag {
            tag::GET => Self::Get,
            tag::GET_NEXT => Self::GetNext,
            tag::RESPONSE => Self::Response,
            tag::GET_BULK => Self::GetBulk,
            _ => return None,
        })
    }
}

/// A name and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Varbind<'a> {
    /// The instance's name.
    pub name: OidRef<'a>,
    /// Its value.
    pub value: Value<'a>,
}

/// A PDU as it stands in a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pdu<'a> {
    /// Which PDU.
    pub kind: PduKind,
    /// Ties an answer to its request.
    pub request_id: i32,
    /// Error status of a response, non-repeaters of a GETBULK, 0 else.
    pub second: i32,
    /// Error index of a response, max-repetitions of a GETBULK, 0 else.
    pub third: i32,
    /// The bindings; may be none.
    pub varbinds: Vec<Varbind<'a>>,
}

/// What a manager asks, without id, version and credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// How it is asked.
    pub kind: RequestKind,
    /// What is asked for.
    pub names: Vec<Oid>,
}

/// How a request asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestKind {
    /// Values of these instances.
    Get,
    /// The instance behind each name.
    GetNext,
    /// Up to this many instances behind each name. No binding is a non-repeater.
    GetBulk {
        /// Instances per name.
        max_repetitions: u16,
    },
}

impl Request {
    /// Asks for the values of these instances.
    pub fn get(names: impl IntoIterator<Item = Oid>) -> Self {
        Self { kind: RequestKind::Get, names: names.into_iter().collect() }
    }

    /// The PDU, borrowed from this request.
    pub fn pdu(&self, request_id: i32) -> Pdu<'_> {
        let (kind, third) = match self.kind {
            RequestKind::Get => (PduKind::Get, 0),
            RequestKind::GetNext => (PduKind::GetNext, 0),
            RequestKind::GetBulk { max_repetitions } => (PduKind::GetBulk, max_repetitions.into()),
        };
        let varbinds =
            self.names.iter().map(|name| Varbind { name: name.view(), value: Value::Null }).collect();
        Pdu { kind, request_id, second: 0, third, varbinds }
    }
}

/// A response's error status (RFC 3416 section 3); unknown numbers are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ErrorStatus(pub i32);

impl ErrorStatus {
    /// All is well.
    pub const NO_ERROR: Self = Self(0);
    /// The answer does not fit a message.
    pub const TOO_BIG: Self = Self(1);
    /// v1: no such instance, or nothing behind it.
    pub const NO_SUCH_NAME: Self = Self(2);
    /// Something else went wrong in the agent.
    pub const GEN_ERR: Self = Self(5);
    /// The view does not allow it.
    pub const NO_ACCESS: Self = Self(6);
    /// The community may not read this.
    pub const AUTHORIZATION_ERROR: Self = Self(16);

    const NAMES: [&str; 19] = [
        "noError",
        "tooBig",
        "noSuchName",
        "badValue",
        "readOnly",
        "genErr",
        "noAccess",
        "wrongType",
        "wrongLength",
        "wrongEncoding",
        "wrongValue",
        "noCreation",
        "inconsistentValue",
        "resourceUnavailable",
        "commitFailed",
        "undoFailed",
        "authorizationError",
        "notWritable",
        "inconsistentName",
    ];
}

/// The RFC's name, or the number.
impl fmt::Display for ErrorStatus {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match usize::try_from(self.0).ok().and_then(|at| Self::NAMES.get(at)) {
            Some(name) => out.write_str(name),
            None => write!(out, "error status {}", self.0),
        }
    }
}
