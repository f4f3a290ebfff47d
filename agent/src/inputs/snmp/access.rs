//! What devices know us by: communities and users of SNMPv3, named once in the settings, kept in files or the environment.
//!
//! Secrets are read at the start and again every few seconds, so that a rotation needs no restart; keys are derived only when a secret
//! changed, since that costs milliseconds. One that cannot be read any more stays as it was.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use serde::Deserialize;
use settings::{Mistake, Secret};
use sha2::{Digest, Sha256};
use snmp::Community;
use snmp::engine;
use snmp::usm::{AuthProtocol, Context, PrivProtocol, User};

use super::Version;

/// A credential with a name: a community, or a user of SNMPv3.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CredentialConfig {
    /// Where the community of v1 or v2c is kept.
    pub community: Option<Secret>,
    /// Protocol version of a community.
    pub version: Option<Version>,
    /// The name of a user of SNMPv3.
    pub user: Option<String>,
    /// How the user's messages are authenticated; none: not at all.
    pub auth: Option<Phrase>,
    /// How they are encrypted; none: not at all.
    #[serde(rename = "priv")]
    pub privacy: Option<Phrase>,
    /// The context, such as a VRF; empty for the default one.
    pub context: String,
}

/// A protocol and the passphrase for it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Phrase {
    /// `auth`: md5, sha1, sha224, sha256, sha384, sha512. `priv`: des, aes128, aes192, aes256, aes192c, aes256c.
    pub protocol: String,
    /// Where the passphrase is kept.
    pub secret: Secret,
}

impl CredentialConfig {
    pub(super) fn of_community(secret: Secret, version: Version) -> Self {
        Self { community: Some(secret), version: Some(version), ..Self::default() }
    }

    fn check(&self) -> Result<(), Mistake> {
        let bad = |key: &str, why: &str| Err(Mistake::at(key, why));
        match (&self.community, &self.user) {
            (Some(_), Some(_)) => {
                bad("user", "community and user exclude each other: make two credentials of it")
            }
            (None, None) => Err(Mistake::new("it has neither community nor user: write one of them")),
            (Some(_), None) if self.auth.is_some() => bad("auth", "it is for a user: a community has none"),
            (Some(_), None) if self.privacy.is_some() => {
                bad("priv", "it is for a user: a community has none")
            }
            (Some(_), None) if !self.context.is_empty() => {
                bad("context", "it is for a user: a community has none")
            }
            (None, Some(_)) if self.version.is_some() => {
                bad("version", "a user is for v3 alone: leave it out")
            }
            (None, Some(_)) if self.privacy.is_some() && self.auth.is_none() => {
                bad("priv", "there is no encryption without authentication: write auth too")
            }
            _ => Ok(()),
        }
    }
}

/// A credential that may be replaced while devices use it.
pub(crate) struct Credential {
    config: CredentialConfig,
    base: PathBuf,
    state: RwLock<State>,
}

struct State {
    current: engine::Credential,
    /// Tells changed secrets from unchanged ones.
    digest: [u8; 32],
    generation: u64,
}

impl Credential {
    /// Reads the secrets.
    pub(super) fn new(config: CredentialConfig, base: &Path) -> Result<Self, Mistake> {
        config.check()?;
        let secrets = Secrets::read(&config, base)?;
        let state = State { current: secrets.build(&config)?, digest: secrets.digest(), generation: 0 };
        Ok(Self { config, base: base.to_owned(), state: RwLock::new(state) })
    }

    /// Whether it is made of these settings.
    pub(super) fn is_of(&self, config: &CredentialConfig, base: &Path) -> bool {
        self.config == *config && self.base == base
    }

    /// As it is now, and how often it was replaced.
    pub(super) fn get(&self) -> (engine::Credential, u64) {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        (state.current.clone(), state.generation)
    }

    pub(super) fn generation(&self) -> u64 {
        self.state.read().unwrap_or_else(PoisonError::into_inner).generation
    }

    /// Reads the secrets again.
    pub(super) fn renew(&self) -> Result<(), Mistake> {
        let secrets = Secrets::read(&self.config, &self.base)?;
        let digest = secrets.digest();
        if self.state.read().unwrap_or_else(PoisonError::into_inner).digest == digest {
            return Ok(());
        }
        let current = secrets.build(&self.config)?;
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        *state = State { current, digest, generation: state.generation + 1 };
        Ok(())
    }
}

/// Where it is kept, which tells one from another; never what it is.
impl fmt::Debug for Credential {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.config.fmt(out)
    }
}

struct Secrets {
    community: Option<settings::SecretText>,
    auth: Option<settings::SecretText>,
    privacy: Option<settings::SecretText>,
}

impl Secrets {
    fn read(config: &CredentialConfig, base: &Path) -> Result<Self, Mistake> {
        let read = |key: &str, secret: Option<&Secret>| {
            let text = secret.map(|secret| secret.read(base)).transpose();
            text.map_err(|error| Mistake::at(key, error.to_string()))
        };
        let phrase = |key: &str, phrase: Option<&Phrase>| {
            read("secret", phrase.map(|phrase| &phrase.secret)).map_err(|mistake| mistake.under(key))
        };
        Ok(Self {
            community: read("community", config.community.as_ref())?,
            auth: phrase("auth", config.auth.as_ref())?,
            privacy: phrase("priv", config.privacy.as_ref())?,
        })
    }

    fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        for text in [&self.community, &self.auth, &self.privacy].into_iter().flatten() {
            digest.update((text.expose().len() as u64).to_le_bytes());
            digest.update(text.expose());
        }
        digest.finalize().into()
    }

    fn build(&self, config: &CredentialConfig) -> Result<engine::Credential, Mistake> {
        if let Some(text) = &self.community {
            let version = config.version.unwrap_or_default().into();
            return Ok(engine::Credential::Community { version, community: Community::new(text.expose()) });
        }
        let auth = protocol::<AuthProtocol>("auth", config.auth.as_ref())?;
        let privacy = protocol::<PrivProtocol>("priv", config.privacy.as_ref())?;
        let name = config.user.as_deref().unwrap_or_default();
        let user = User::new(
            name.as_bytes(),
            auth.zip(self.auth.as_ref()).map(|(protocol, text)| (protocol, text.expose().as_bytes())),
            privacy.zip(self.privacy.as_ref()).map(|(protocol, text)| (protocol, text.expose().as_bytes())),
        );
        let user = user.map_err(|error| Mistake::at("user", error.to_string()))?;
        let context = Context { name: config.context.clone().into_bytes(), ..Context::default() };
        Ok(engine::Credential::User { user, context })
    }
}

fn protocol<P: std::str::FromStr<Err: fmt::Display>>(
    key: &str,
    phrase: Option<&Phrase>,
) -> Result<Option<P>, Mistake> {
    let parsed = phrase.map(|phrase| phrase.protocol.parse::<P>()).transpose();
    parsed.map_err(|error| Mistake::at("protocol", error.to_string()).under(key))
}
