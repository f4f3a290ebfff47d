//! Users of SNMPv3 by the protocols they have, as each side of a test wants them: ours, snmpd.conf, the words of net-snmp's tools, and
//! async-snmp.

use snmp::usm::{AuthProtocol, PrivProtocol, User};

pub(crate) const AUTH: &str = "an auth phrase of the tests";
pub(crate) const PRIVACY: &str = "a priv phrase of the tests";

/// net-snmp's names.
fn auth_name(protocol: AuthProtocol) -> &'static str {
    match protocol {
        AuthProtocol::Md5 => "MD5",
        AuthProtocol::Sha1 => "SHA",
        AuthProtocol::Sha224 => "SHA-224",
        AuthProtocol::Sha256 => "SHA-256",
        AuthProtocol::Sha384 => "SHA-384",
        AuthProtocol::Sha512 => "SHA-512",
    }
}

fn priv_name(protocol: PrivProtocol) -> &'static str {
    match protocol {
        PrivProtocol::Des => "DES",
        PrivProtocol::Aes128 => "AES",
        PrivProtocol::Aes192 => "AES-192",
        PrivProtocol::Aes256 => "AES-256",
        PrivProtocol::Aes192Reeder => "AES-192-C",
        PrivProtocol::Aes256Reeder => "AES-256-C",
    }
}

/// async-snmp's names.
fn their_auth(protocol: AuthProtocol) -> async_snmp::AuthProtocol {
    match protocol {
        AuthProtocol::Md5 => async_snmp::AuthProtocol::Md5,
        AuthProtocol::Sha1 => async_snmp::AuthProtocol::Sha1,
        AuthProtocol::Sha224 => async_snmp::AuthProtocol::Sha224,
        AuthProtocol::Sha256 => async_snmp::AuthProtocol::Sha256,
        AuthProtocol::Sha384 => async_snmp::AuthProtocol::Sha384,
        AuthProtocol::Sha512 => async_snmp::AuthProtocol::Sha512,
    }
}

fn their_privacy(protocol: PrivProtocol) -> async_snmp::PrivProtocol {
    match protocol {
        PrivProtocol::Des => async_snmp::PrivProtocol::Des,
        PrivProtocol::Aes128 => async_snmp::PrivProtocol::Aes128,
        PrivProtocol::Aes192 => async_snmp::PrivProtocol::Aes192Blumenthal,
        PrivProtocol::Aes256 => async_snmp::PrivProtocol::Aes256Blumenthal,
        PrivProtocol::Aes192Reeder => async_snmp::PrivProtocol::Aes192Reeder,
        PrivProtocol::Aes256Reeder => async_snmp::PrivProtocol::Aes256Reeder,
    }
}

/// A user of one pair, or of none or half of it; the name says which.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair(pub(crate) Option<AuthProtocol>, pub(crate) Option<PrivProtocol>);

impl Pair {
    pub(crate) fn all() -> Vec<Self> {
        let privacies = || std::iter::once(None).chain(PrivProtocol::ALL.map(Some));
        let pairs = AuthProtocol::ALL
            .into_iter()
            .flat_map(|auth| privacies().map(move |with| Self(Some(auth), with)));
        pairs.chain([Self(None, None)]).collect()
    }

    pub(crate) fn name(self) -> String {
        let auth = self.0.map_or("none", AuthProtocol::as_str);
        format!("{auth}-{}", self.1.map_or("none", PrivProtocol::as_str))
    }

    pub(crate) fn user(self) -> User {
        self.user_with(AUTH, PRIVACY)
    }

    pub(crate) fn user_with(self, auth: &str, privacy: &str) -> User {
        let auth = self.0.map(|protocol| (protocol, auth.as_bytes()));
        let privacy = self.1.map(|protocol| (protocol, privacy.as_bytes()));
        User::new(self.name().as_bytes(), auth, privacy).expect("good phrases")
    }

    /// Lines of snmpd.conf.
    pub(crate) fn lines(self) -> String {
        let name = self.name();
        match self {
            Self(Some(auth), Some(with)) => {
                let (auth, with) = (auth_name(auth), priv_name(with));
                format!("createUser {name} {auth} \"{AUTH}\" {with} \"{PRIVACY}\"\nrouser {name} authpriv\n")
            }
            Self(Some(auth), None) => {
                format!("createUser {name} {} \"{AUTH}\"\nrouser {name} auth\n", auth_name(auth))
            }
            _ => format!("createUser {name}\nrouser {name} noauth\n"),
        }
    }

    /// Words for snmpget.
    pub(crate) fn words(self) -> Vec<String> {
        let mut words = vec!["-u".to_owned(), self.name()];
        let level = match self {
            Self(Some(_), Some(_)) => "authPriv",
            Self(Some(_), None) => "authNoPriv",
            _ => "noAuthNoPriv",
        };
        words.extend(["-l", level].map(str::to_owned));
        if let Some(auth) = self.0 {
            words.extend(["-a", auth_name(auth), "-A", AUTH].map(str::to_owned));
        }
        if let Some(with) = self.1 {
            words.extend(["-x", priv_name(with), "-X", PRIVACY].map(str::to_owned));
        }
        words
    }

    /// For async-snmp.
    pub(crate) fn theirs(self) -> async_snmp::Auth {
        let config = async_snmp::UsmConfig::new(self.name());
        let config = match self {
            Self(Some(auth), Some(with)) => {
                config.auth_priv(their_auth(auth), AUTH, their_privacy(with), PRIVACY)
            }
            Self(Some(auth), None) => config.auth(their_auth(auth), AUTH),
            _ => Ok(config),
        };
        config.expect("good phrases").into()
    }
}
