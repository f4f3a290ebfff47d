//! HMAC (RFC 2104) with the key's two blocks hashed once: a message costs its own bytes and one block more.
//!
//! Twenty lines over the `digest` traits instead of the `hmac` crate, which would bring two crates more for a comparison that `subtle`
//! does; the published vectors stand in `vectors.rs`.

use sha2::Digest;
use sha2::digest::common::BlockSizeUser;
use subtle::ConstantTimeEq;

use super::keys::Key;
use super::user::AuthProtocol;

/// The longest MAC in a message.
pub(super) const MAC_MAX: usize = 48;

/// One engine's authentication key, ready to use. The hashes zeroise their states when dropped.
pub(super) enum Mac {
    Md5(State<md5::Md5>),
    Sha1(State<sha1::Sha1>),
    Sha224(State<sha2::Sha224>),
    Sha256(State<sha2::Sha256>),
    Sha384(State<sha2::Sha384>),
    Sha512(State<sha2::Sha512>),
}

pub(super) struct State<H> {
    inner: H,
    outer: H,
}

impl<H: Digest + BlockSizeUser + Clone> State<H> {
    /// Keys are hashes' outputs, so never longer than a block.
    fn new(key: &Key) -> Self {
        let padded = |pad: u8| {
            let mut state = H::new();
            let key = key.as_bytes().iter().map(|octet| octet ^ pad);
            let rest = std::iter::repeat(pad);
            key.chain(rest).take(H::block_size()).for_each(|octet| state.update([octet]));
            state
        };
        Self { inner: padded(0x36), outer: padded(0x5c) }
    }

    fn tag(&self, parts: [&[u8]; 3], mac: &mut [u8]) {
        let mut inner = self.inner.clone();
        parts.iter().for_each(|part| inner.update(part));
        let tag = self.outer.clone().chain_update(inner.finalize()).finalize();
        mac.copy_from_slice(&tag[..mac.len()]);
    }
}

/// Runs a body with the key's state bound to a name.
macro_rules! with_state {
    ($mac:expr, $state:ident => $body:expr) => {
        match $mac {
            Mac::Md5($state) => $body,
            Mac::Sha1($state) => $body,
            Mac::Sha224($state) => $body,
            Mac::Sha256($state) => $body,
            Mac::Sha384($state) => $body,
            Mac::Sha512($state) => $body,
        }
    };
}

impl Mac {
    pub(super) fn new(protocol: AuthProtocol, key: &Key) -> Self {
        match protocol {
            AuthProtocol::Md5 => Self::Md5(State::new(key)),
            AuthProtocol::Sha1 => Self::Sha1(State::new(key)),
            AuthProtocol::Sha224 => Self::Sha224(State::new(key)),
            AuthProtocol::Sha256 => Self::Sha256(State::new(key)),
            AuthProtocol::Sha384 => Self::Sha384(State::new(key)),
            AuthProtocol::Sha512 => Self::Sha512(State::new(key)),
        }
    }

    pub(super) fn length(&self) -> usize {
        self.protocol().mac_length()
    }

    fn protocol(&self) -> AuthProtocol {
        match self {
            Self::Md5(_) => AuthProtocol::Md5,
            Self::Sha1(_) => AuthProtocol::Sha1,
            Self::Sha224(_) => AuthProtocol::Sha224,
            Self::Sha256(_) => AuthProtocol::Sha256,
            Self::Sha384(_) => AuthProtocol::Sha384,
            Self::Sha512(_) => AuthProtocol::Sha512,
        }
    }

    /// Writes the MAC of a message into the message, where it takes `length` octets from `at` on.
    pub(super) fn sign(&self, message: &mut [u8], at: usize) {
        let mac = self.of(message, at);
        message[at..][..self.length()].copy_from_slice(&mac[..self.length()]);
    }

    /// Whether the MAC that stands in a message at `at` is right; takes the same time wherever it is wrong. `mac` is what stands there.
    pub(super) fn verify(&self, message: &[u8], at: usize, mac: &[u8]) -> bool {
        mac.len() == self.length() && bool::from(self.of(message, at)[..self.length()].ct_eq(mac))
    }

    /// The MAC's own octets count as zeros (RFC 3414 section 6.3.1).
    fn of(&self, message: &[u8], at: usize) -> [u8; MAC_MAX] {
        let mut mac = [0; MAC_MAX];
        let (before, rest) = message.split_at(at);
        let (place, behind) = rest.split_at(self.length());
        let zeros = &[0; MAC_MAX][..place.len()];
        self.tag([before, zeros, behind], &mut mac[..zeros.len()]);
        mac
    }

    /// As much of the HMAC over these parts as `mac` takes.
    pub(super) fn tag(&self, parts: [&[u8]; 3], mac: &mut [u8]) {
        with_state!(self, state => state.tag(parts, mac));
    }
}
