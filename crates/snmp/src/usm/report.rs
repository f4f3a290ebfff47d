//! Reports: how an engine says that it did not take a message (RFC 3414 section 3.2, RFC 3412 section 7.2, RFC 3413 section 3.2).

use std::fmt;

use crate::ber::{Element, ParseError, Writer, tag};
use crate::oid::OidRef;

/// Why an engine did not take a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// `usmStatsUnsupportedSecLevels`: the user may not be used at this level, or the protocols are not spoken.
    UnsupportedLevel,
    /// `usmStatsNotInTimeWindows`, though boots and time are the engine's own.
    NotInTimeWindow,
    /// `usmStatsUnknownUserNames`.
    UnknownUser,
    /// `usmStatsUnknownEngineIDs`, though the engine id is the one that was learned.
    UnknownEngine,
    /// `usmStatsWrongDigests`: the authentication passphrase or protocol is wrong.
    WrongDigest,
    /// `usmStatsDecryptionErrors`: the privacy passphrase or protocol is wrong.
    DecryptionError,
    /// `snmpUnknownSecurityModels`.
    UnknownSecurityModel,
    /// `snmpInvalidMsgs`.
    InvalidMessage,
    /// `snmpUnknownPDUHandlers`.
    UnknownPduHandler,
    /// `snmpUnavailableContexts`.
    UnavailableContext,
    /// `snmpUnknownContexts`.
    UnknownContext,
    /// The engine's boots or time went back, which only a reset of its memory explains. After four such answers in a row its clock
    /// is learned anew.
    ClockWentBack,
    /// The engine has started 2^31-1 times and refuses all until its keys are changed (RFC 3414 section 2.2.2).
    BootsExhausted,
    /// A counter that no RFC names.
    Other,
}

/// Under `snmpModules`, 1.3.6.1.6.3.
const MODULES: [u8; 5] = [0x2b, 6, 1, 6, 3];

/// Counters that reports carry, below `MODULES`, each without the zero of its instance.
const COUNTERS: [(&[u8], Refusal); 11] = [
    (&[15, 1, 1, 1], Refusal::UnsupportedLevel),
    (&[15, 1, 1, 2], Refusal::NotInTimeWindow),
    (&[15, 1, 1, 3], Refusal::UnknownUser),
    (&[15, 1, 1, 4], Refusal::UnknownEngine),
    (&[15, 1, 1, 5], Refusal::WrongDigest),
    (&[15, 1, 1, 6], Refusal::DecryptionError),
    (&[11, 2, 1, 1], Refusal::UnknownSecurityModel),
    (&[11, 2, 1, 2], Refusal::InvalidMessage),
    (&[11, 2, 1, 3], Refusal::UnknownPduHandler),
    (&[12, 1, 4], Refusal::UnavailableContext),
    (&[12, 1, 5], Refusal::UnknownContext),
];

impl Refusal {
    /// Reads a report; its first binding says why. None of its numbers is used.
    pub(super) fn read(pdu: &Element<'_>) -> Result<Self, ParseError> {
        let mut fields = pdu.reader();
        for _ in 0..3 {
            fields.integer()?;
        }
        let mut list = fields.expect(tag::SEQUENCE)?.reader();
        fields.end()?;
        if list.is_empty() {
            return Ok(Self::Other);
        }
        let name = list.expect(tag::SEQUENCE)?.reader().expect(tag::OBJECT_IDENTIFIER)?.oid()?;
        Ok(Self::from_oid(name))
    }

    fn from_oid(name: OidRef<'_>) -> Self {
        let Some(counter) = name.content().strip_prefix(&MODULES) else { return Self::Other };
        let is = |at: &[u8]| counter == at || counter.strip_prefix(at) == Some(&[0]);
        COUNTERS.iter().find(|(at, _)| is(at)).map_or(Self::Other, |&(_, refusal)| refusal)
    }

    /// Writes a report PDU.
    pub(super) fn write(self, out: &mut Writer, request_id: i32, count: u32) {
        let at = COUNTERS.iter().find(|&&(_, refusal)| refusal == self).map_or(&[][..], |&(at, _)| at);
        let name = [&MODULES, at, &[0]].concat();
        out.element(tag::REPORT, |pdu| {
            pdu.element(tag::SEQUENCE, |list| {
                list.element(tag::SEQUENCE, |binding| {
                    binding.unsigned(tag::COUNTER32, count.into());
                    binding.octets(tag::OBJECT_IDENTIFIER, &name);
                });
            });
            pdu.integer(tag::INTEGER, 0);
            pdu.integer(tag::INTEGER, 0);
            pdu.integer(tag::INTEGER, request_id.into());
        });
    }

    /// A word for a label value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnsupportedLevel => "unsupported_security_level",
            Self::NotInTimeWindow => "not_in_time_window",
            Self::UnknownUser => "unknown_user",
            Self::UnknownEngine => "unknown_engine_id",
            Self::WrongDigest => "wrong_digest",
            Self::DecryptionError => "decryption_error",
            Self::UnknownSecurityModel => "unknown_security_model",
            Self::InvalidMessage => "invalid_message",
            Self::UnknownPduHandler => "unknown_pdu_handler",
            Self::UnavailableContext => "unavailable_context",
            Self::UnknownContext => "unknown_context",
            Self::ClockWentBack => "clock_went_back",
            Self::BootsExhausted => "boots_exhausted",
            Self::Other => "other",
        }
    }
}

/// A clause that says what the device says, and what to do where that is known.
impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::UnsupportedLevel => "does not allow the user at this security level",
            Self::NotInTimeWindow => "says that the request lies outside its time window",
            Self::UnknownUser => "does not know the user",
            Self::UnknownEngine => "does not take its own engine id",
            Self::WrongDigest => {
                "cannot authenticate the request: check the authentication protocol and passphrase"
            }
            Self::DecryptionError => "cannot decipher the request: check the privacy protocol and passphrase",
            Self::UnknownSecurityModel => "does not speak USM",
            Self::InvalidMessage => "takes the request for malformed",
            Self::UnknownPduHandler => "does not handle such requests",
            Self::UnavailableContext => "says that the context is not available",
            Self::UnknownContext => "does not know the context",
            Self::ClockWentBack => {
                "has lost count of its starts (a reset?); its clock is learned anew after four such answers"
            }
            Self::BootsExhausted => "has started 2^31-1 times: its SNMP keys must be changed",
            Self::Other => "refuses for a reason that no RFC names",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ber::Reader;

    #[test]
    fn what_is_written_is_read() {
        let (mut out, mut packet) = (Writer::default(), Vec::new());
        for (_, refusal) in COUNTERS {
            refusal.write(&mut out, 7, 3);
            out.finish(&mut packet);
            let pdu = Reader::new(&packet).expect(tag::REPORT).expect("a report");
            assert_eq!(Refusal::read(&pdu), Ok(refusal));
        }
    }

    #[test]
    fn names_are_compared_whole() {
        let check = |name: &str, expected| {
            let name: crate::Oid = name.parse().expect("good");
            assert_eq!(Refusal::from_oid(name.view()), expected, "{name}");
        };
        check("1.3.6.1.6.3.15.1.1.4.0", Refusal::UnknownEngine);
        check("1.3.6.1.6.3.15.1.1.4", Refusal::UnknownEngine);
        check("1.3.6.1.6.3.15.1.1.4.1", Refusal::Other);
        check("1.3.6.1.6.3.15.1.1.40.0", Refusal::Other);
        check("1.3.6.1.6.3.12.1.5.0", Refusal::UnknownContext);
        check("1.3.6.1.2.1.1.3.0", Refusal::Other);
    }
}
