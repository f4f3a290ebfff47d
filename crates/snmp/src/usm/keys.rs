//! Keys: from a passphrase (RFC 3414 A.2), for one engine (section 2.6), and longer than the hash gives them.

use std::fmt;

use sha2::Digest;
use zeroize::Zeroize;

use super::user::AuthProtocol;
use crate::v3::EngineId;

/// Runs a body with the protocol's hash bound to a name.
macro_rules! with_hash {
    ($protocol:expr, $hash:ident => $body:expr) => {
        match $protocol {
            AuthProtocol::Md5 => {
                type $hash = md5::Md5;
                $body
            }
            AuthProtocol::Sha1 => {
                type $hash = sha1::Sha1;
                $body
            }
            AuthProtocol::Sha224 => {
                type $hash = sha2::Sha224;
                $body
            }
            AuthProtocol::Sha256 => {
                type $hash = sha2::Sha256;
                $body
            }
            AuthProtocol::Sha384 => {
                type $hash = sha2::Sha384;
                $body
            }
            AuthProtocol::Sha512 => {
                type $hash = sha2::Sha512;
                $body
            }
        }
    };
}

/// Up to 64 octets that nobody else may see.
#[derive(Clone)]
pub(super) struct Key {
    octets: [u8; Self::MAX],
    length: usize,
}

impl Key {
    /// The longest hash.
    const MAX: usize = 64;

    pub(super) fn new(octets: &[u8]) -> Self {
        let mut key = Self { octets: [0; Self::MAX], length: octets.len() };
        key.octets[..octets.len()].copy_from_slice(octets);
        key
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.octets[..self.length]
    }

    /// Takes as much of `more` as there is room.
    fn extend(&mut self, more: &Self) {
        let taken = more.length.min(Self::MAX - self.length);
        self.octets[self.length..][..taken].copy_from_slice(&more.octets[..taken]);
        self.length += taken;
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        self.octets.zeroize();
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("<hidden>")
    }
}

fn hash(protocol: AuthProtocol, parts: &[&[u8]]) -> Key {
    with_hash!(protocol, Hash => {
        let mut state = Hash::new();
        parts.iter().for_each(|part| state.update(part));
        let mut digest = state.finalize();
        let key = Key::new(&digest);
        digest.as_mut_slice().zeroize();
        key
    })
}

/// The hash over 1 MiB of the passphrase again and again.
pub(super) fn from_passphrase(protocol: AuthProtocol, phrase: &[u8]) -> Key {
    const EXPANDED: usize = 1 << 20;
    const BLOCK: usize = 1 << 12;
    // Whole repetitions, so that block can follow block.
    let mut block = phrase.repeat(BLOCK.div_ceil(phrase.len().max(1)));
    let parts = vec![block.as_slice(); EXPANDED.div_ceil(block.len().max(1))];
    let key = with_hash!(protocol, Hash => {
        let mut state = Hash::new();
        let mut left = EXPANDED;
        for part in parts {
            state.update(&part[..part.len().min(left)]);
            left = left.saturating_sub(part.len());
        }
        let mut digest = state.finalize();
        let key = Key::new(&digest);
        digest.as_mut_slice().zeroize();
        key
    });
    block.zeroize();
    key
}

/// The key for one engine.
pub(super) fn localise(protocol: AuthProtocol, key: &Key, engine: &EngineId) -> Key {
    hash(protocol, &[key.as_bytes(), engine.as_bytes(), key.as_bytes()])
}

/// At least `length` octets by hashing what there is (draft-blumenthal-aes-usm-04 section 3.1.2.1).
pub(super) fn extend_blumenthal(protocol: AuthProtocol, localised: Key, length: usize) -> Key {
    let mut key = localised;
    while key.length < length {
        let more = hash(protocol, &[key.as_bytes()]);
        key.extend(&more);
    }
    key
}

/// At least `length` octets by taking the key as a passphrase (draft-reeder-snmpv3-usm-3desede-00 section 2.1): 1 MiB of hashing.
pub(super) fn extend_reeder(protocol: AuthProtocol, localised: Key, engine: &EngineId, length: usize) -> Key {
    let mut key = localised;
    let mut last = key.clone();
    while key.length < length {
        last = localise(protocol, &from_passphrase(protocol, last.as_bytes()), engine);
        key.extend(&last);
    }
    key
}
