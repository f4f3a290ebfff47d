//! Credentials: a name, protocols, and the keys that come from passphrases.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::NAME_MAX;
use super::cipher::Cipher;
use super::keys::{self, Key};
use super::mac::Mac;
use super::seal::Keys;
use crate::v3::{EngineId, Level};

/// How messages are authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AuthProtocol {
    /// HMAC-MD5-96 (RFC 3414).
    Md5,
    /// HMAC-SHA-96 (RFC 3414).
    Sha1,
    /// HMAC-128-SHA-224 (RFC 7860).
    Sha224,
    /// HMAC-192-SHA-256 (RFC 7860).
    Sha256,
    /// HMAC-256-SHA-384 (RFC 7860).
    Sha384,
    /// HMAC-384-SHA-512 (RFC 7860).
    Sha512,
}

impl AuthProtocol {
    /// Every one of them.
    pub const ALL: [Self; 6] =
        [Self::Md5, Self::Sha1, Self::Sha224, Self::Sha256, Self::Sha384, Self::Sha512];

    /// Octets of the MAC in a message.
    pub const fn mac_length(self) -> usize {
        match self {
            Self::Md5 | Self::Sha1 => 12,
            Self::Sha224 => 16,
            Self::Sha256 => 24,
            Self::Sha384 => 32,
            Self::Sha512 => 48,
        }
    }

    /// The name in settings: `md5`, `sha1`, `sha224`, ...
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
            Self::Sha224 => "sha224",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }
}

/// How messages are enciphered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PrivProtocol {
    /// DES-CBC (RFC 3414).
    Des,
    /// AES-128-CFB (RFC 3826).
    Aes128,
    /// AES-192-CFB, keys extended as in draft-blumenthal-aes-usm-04 (net-snmp, Juniper, Huawei).
    Aes192,
    /// AES-256-CFB, keys extended as in draft-blumenthal-aes-usm-04.
    Aes256,
    /// AES-192-CFB, keys extended as in draft-reeder-snmpv3-usm-3desede-00 (Cisco).
    Aes192Reeder,
    /// AES-256-CFB, keys extended as in draft-reeder-snmpv3-usm-3desede-00.
    Aes256Reeder,
}

impl PrivProtocol {
    /// Every one of them.
    pub const ALL: [Self; 6] =
        [Self::Des, Self::Aes128, Self::Aes192, Self::Aes256, Self::Aes192Reeder, Self::Aes256Reeder];

    /// The name in settings: `des`, `aes128`, `aes192`, `aes256`, `aes192c`, `aes256c`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Des => "des",
            Self::Aes128 => "aes128",
            Self::Aes192 => "aes192",
            Self::Aes256 => "aes256",
            Self::Aes192Reeder => "aes192c",
            Self::Aes256Reeder => "aes256c",
        }
    }
}

impl fmt::Display for AuthProtocol {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl fmt::Display for PrivProtocol {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// Case and dashes do not count; `sha` is SHA-1 and `aes` AES-128, as everywhere.
impl FromStr for AuthProtocol {
    type Err = UsmError;

    fn from_str(text: &str) -> Result<Self, UsmError> {
        let name = plain(text);
        let name = if name == "sha" { "sha1" } else { name.as_str() };
        let found = Self::ALL.into_iter().find(|protocol| protocol.as_str() == name);
        found.ok_or_else(|| UsmError::AuthProtocol(text.to_owned()))
    }
}

impl FromStr for PrivProtocol {
    type Err = UsmError;

    fn from_str(text: &str) -> Result<Self, UsmError> {
        let name = plain(text);
        let name = if name == "aes" { "aes128" } else { name.as_str() };
        let found = Self::ALL.into_iter().find(|protocol| protocol.as_str() == name);
        found.ok_or_else(|| UsmError::PrivProtocol(text.to_owned()))
    }
}

fn plain(text: &str) -> String {
    text.chars().filter(|&c| c != '-' && c != '_').map(|c| c.to_ascii_lowercase()).collect()
}

/// Why there is no such user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UsmError {
    /// A user name that is empty or longer than 32 octets.
    #[error("a user name has 1 to 32 octets, not {0}")]
    NameLength(usize),
    /// A passphrase outside 8 to 1,024 octets (RFC 3414 section 11.2 demands 8).
    #[error("a passphrase has 8 to 1,024 octets, not {0}")]
    PassphraseLength(usize),
    /// Privacy without authentication.
    #[error("privacy needs authentication: give the user an authentication protocol too")]
    PrivacyAlone,
    /// No such authentication protocol.
    #[error("unknown authentication protocol {0:?}: one of md5, sha1, sha224, sha256, sha384, sha512")]
    AuthProtocol(String),
    /// No such privacy protocol.
    #[error(
        "unknown privacy protocol {0:?}: one of des, aes128, aes192, aes256, aes192c, aes256c (c: as Cisco extends keys)"
    )]
    PrivProtocol(String),
}

/// A credential. Clones are cheap and share keys and salts; the keys are zeroised when the last one goes.
#[derive(Clone)]
pub struct User(Arc<Credential>);

struct Credential {
    name: Box<[u8]>,
    auth: Option<(AuthProtocol, Key)>,
    privacy: Option<(PrivProtocol, Key)>,
    /// The next salt; shared by all engines, so that none repeats under any key that comes from this credential.
    salt: AtomicU64,
}

impl User {
    /// The shortest passphrase, in octets (RFC 3414 section 11.2).
    pub const PASSPHRASE_MIN: usize = 8;
    /// The longest, in octets.
    pub const PASSPHRASE_MAX: usize = 1024;

    /// Derives the keys from passphrases: takes milliseconds, so do it once a credential.
    pub fn new(
        name: &[u8],
        auth: Option<(AuthProtocol, &[u8])>,
        privacy: Option<(PrivProtocol, &[u8])>,
    ) -> Result<Self, UsmError> {
        if !(1..=NAME_MAX).contains(&name.len()) {
            return Err(UsmError::NameLength(name.len()));
        }
        let length = Self::PASSPHRASE_MIN..=Self::PASSPHRASE_MAX;
        let passphrases = auth.iter().map(|(_, phrase)| phrase.len());
        let mut passphrases = passphrases.chain(privacy.iter().map(|(_, phrase)| phrase.len()));
        if let Some(wrong) = passphrases.find(|octets| !length.contains(octets)) {
            return Err(UsmError::PassphraseLength(wrong));
        }
        let (auth, privacy) = match (auth, privacy) {
            (None, Some(_)) => return Err(UsmError::PrivacyAlone),
            (None, None) => (None, None),
            (Some((protocol, phrase)), privacy) => {
                let derive = |phrase: &[u8]| keys::from_passphrase(protocol, phrase);
                let privacy = privacy.map(|(cipher, phrase)| (cipher, derive(phrase)));
                (Some((protocol, derive(phrase))), privacy)
            }
        };
        let salt = AtomicU64::new(RandomState::new().hash_one(name));
        Ok(Self(Arc::new(Credential { name: name.into(), auth, privacy, salt })))
    }

    /// The name, up to 32 octets; sent in clear.
    pub fn name(&self) -> &[u8] {
        &self.0.name
    }

    /// The level at which this user's messages are sent and replies expected.
    pub fn level(&self) -> Level {
        match (&self.0.auth, &self.0.privacy) {
            (None, _) => Level::NoAuthNoPriv,
            (Some(_), None) => Level::AuthNoPriv,
            (Some(_), Some(_)) => Level::AuthPriv,
        }
    }

    /// Whether the other is a copy of this one, and so has its keys.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// How this user's messages are authenticated.
    pub fn auth_protocol(&self) -> Option<AuthProtocol> {
        self.0.auth.as_ref().map(|&(protocol, _)| protocol)
    }

    /// How this user's messages are enciphered.
    pub fn priv_protocol(&self) -> Option<PrivProtocol> {
        self.0.privacy.as_ref().map(|&(protocol, _)| protocol)
    }

    /// The keys for one engine (RFC 3414 section 2.6).
    pub(super) fn localise(&self, engine: &EngineId) -> Keys {
        let Some((protocol, key)) = &self.0.auth else { return Keys::default() };
        let mac = Mac::new(*protocol, &keys::localise(*protocol, key, engine));
        let cipher =
            self.0.privacy.as_ref().map(|(cipher, key)| Cipher::new(*cipher, *protocol, key, engine));
        Keys { mac: Some(mac), cipher }
    }

    /// A salt that was never given before: counted on from a random start, so that a restart does not repeat it either.
    pub(super) fn next_salt(&self) -> [u8; 8] {
        self.0.salt.fetch_add(1, Ordering::Relaxed).to_be_bytes()
    }
}

impl fmt::Debug for User {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = out.debug_struct("User");
        fields.field("name", &String::from_utf8_lossy(self.name()));
        fields.field("auth", &self.auth_protocol()).field("privacy", &self.priv_protocol());
        fields.finish_non_exhaustive()
    }
}

/// Which of a device's views is asked for (RFC 3411 section 3.3.1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Context {
    /// The engine that holds the context; none is the one that answers, as almost always.
    pub engine_id: Option<EngineId>,
    /// The context's name, such as a VRF; empty is the default.
    pub name: Vec<u8>,
}
