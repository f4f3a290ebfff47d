//! What both sides share: one engine's keys, and a message sealed and opened with them.

use super::cipher::{Cipher, SALT, Vector};
use super::mac::{MAC_MAX, Mac};
use crate::ber::{Element, Fault, ParseError, Writer, tag};
use crate::v3::{EngineId, Head, Level, Message, Scoped};

/// One engine's keys of one user.
#[derive(Default)]
pub(super) struct Keys {
    pub(super) mac: Option<Mac>,
    pub(super) cipher: Option<Cipher>,
}

/// The longest padding: DES needs 7 octets, and some agents pad AES to whole blocks.
const PADDING_MAX: usize = 15;

/// A message's context, as octets.
#[derive(Clone, Copy, Debug)]
pub(super) struct ContextRef<'a> {
    pub(super) engine_id: &'a [u8],
    pub(super) name: &'a [u8],
}

impl Keys {
    /// Replaces `packet` by a message at the head's level. The head's `mac` and `salt` are set here; `salt` is used if it enciphers.
    pub(super) fn seal(
        &self,
        head: Head<'_>,
        salt: impl FnOnce() -> [u8; SALT],
        context: ContextRef<'_>,
        pdu: impl FnOnce(&mut Writer),
        out: &mut Writer,
        packet: &mut Vec<u8>,
    ) {
        let mac = self.mac.as_ref().filter(|_| head.level >= Level::AuthNoPriv);
        let zeros = &[0; MAC_MAX][..mac.map_or(0, Mac::length)];
        let scoped = |out: &mut Writer| Scoped::write(out, context.engine_id, context.name, pdu);
        let enciphered = self.cipher.as_ref().filter(|_| head.level == Level::AuthPriv);
        let (mac_end, data) = match enciphered {
            None => (Head { mac: zeros, salt: &[], ..head }.write(out, scoped), None),
            Some(cipher) => {
                let salt = salt();
                let vector = Vector { boots: head.boots, time: head.time, salt };
                let mut length = 0;
                let data = |out: &mut Writer| {
                    out.element(tag::OCTET_STRING, |out| {
                        scoped(out);
                        out.pad(cipher.padding(out.written()));
                        length = out.written();
                    });
                };
                let mac_end = Head { mac: zeros, salt: &salt, ..head }.write(out, data);
                (mac_end, Some((cipher, vector, length)))
            }
        };
        out.finish(packet);
        let end = packet.len();
        if let Some((cipher, vector, length)) = data {
            cipher.encipher(&vector, &mut packet[end - length..]);
        }
        if let Some(mac) = mac {
            mac.sign(packet, end - mac_end - mac.length());
        }
    }

    /// Whether a message bears the right MAC. Never without an authentication key.
    pub(super) fn verify(&self, packet: &[u8], message: &Message<'_>) -> bool {
        let Some(mac) = &self.mac else { return false };
        let fits = message.head.mac.len() == mac.length();
        fits && mac.verify(&packet[..message.length], message.mac_at, message.head.mac)
    }
}

/// What is needed of a message once it is no longer borrowed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Envelope {
    pub(super) message_id: i32,
    pub(super) max_size: u32,
    pub(super) level: Level,
    pub(super) reportable: bool,
    pub(super) engine_id: EngineId,
    pub(super) boots: u32,
    pub(super) time: u32,
    /// None where a salt has another length than ciphers use.
    salt: Option<[u8; SALT]>,
    data_at: usize,
    data_length: usize,
}

impl Envelope {
    pub(super) fn new(message: &Message<'_>) -> Self {
        let &Head { message_id, max_size, level, reportable, engine_id, boots, time, salt, .. } =
            &message.head;
        let (data_at, data_length) = (message.data.offset, message.data.content.len());
        let salt = salt.try_into().ok();
        Self { message_id, max_size, level, reportable, engine_id, boots, time, salt, data_at, data_length }
    }

    /// Deciphers the packet in place if it is enciphered; false where that cannot be.
    #[must_use]
    pub(super) fn decipher(&self, keys: &Keys, packet: &mut [u8]) -> bool {
        if self.level != Level::AuthPriv {
            return true;
        }
        let (Some(cipher), Some(salt)) = (&keys.cipher, self.salt) else { return false };
        let vector = Vector { boots: self.boots, time: self.time, salt };
        cipher.decipher(&vector, &mut packet[self.data_at..][..self.data_length])
    }

    /// What the message carries, once it is deciphered.
    pub(super) fn scoped<'p>(&self, packet: &'p [u8]) -> Result<Scoped<'p>, ParseError> {
        let content = &packet[self.data_at..][..self.data_length];
        let data = Element { tag: tag::SEQUENCE, content, offset: self.data_at };
        if self.level != Level::AuthPriv {
            return Scoped::read(&data);
        }
        let mut padded = data.reader();
        let scoped = Scoped::read(&padded.expect(tag::SEQUENCE)?)?;
        match padded.left() {
            0..=PADDING_MAX => Ok(scoped),
            left => Err(ParseError { offset: padded.offset(), fault: Fault::Trailing(left) }),
        }
    }
}
