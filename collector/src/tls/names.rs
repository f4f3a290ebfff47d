//! The names in a server's certificate: who may be reached under them, and which of them an agent should use.
//!
//! In: a certificate in DER form, or what an operator typed. Out: [`CertName`]s. The subject's common name is no name: nobody looks at
//! it any more (RFC 9525).

use std::fmt;
use std::net::IpAddr;

use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// The longest host name, in bytes (RFC 1035).
const HOST_BYTES_MAX: usize = 253;
/// The longest part of one between dots.
const LABEL_BYTES_MAX: usize = 63;

/// A name in a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertName {
    /// A host name; the first part may be `*`.
    Host(String),
    /// An address.
    Address(IpAddr),
}

impl fmt::Display for CertName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host) => out.write_str(host),
            Self::Address(address) => address.fmt(out),
        }
    }
}

/// A host name or an address as people type it; the error says what it is instead.
impl std::str::FromStr for CertName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        if is_host(text.strip_prefix("*.").unwrap_or(text)) {
            return Ok(Self::Host(text.to_owned()));
        }
        let hint = if text.contains(['/', ':']) {
            "write it without https://, port and path"
        } else {
            "write letters, digits, hyphens and dots"
        };
        Err(format!(
            "{text:?} is neither a host name nor an IP address: {hint}, such as pantau.example.go.id or 10.1.2.3"
        ))
    }
}

/// Letters, digits and hyphens between dots (RFC 1123); what ends in a number would be taken for an address.
fn is_host(text: &str) -> bool {
    let fits = |label: &str| {
        (1..=LABEL_BYTES_MAX).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = text.rsplit('.').next().unwrap_or_default();
    text.len() <= HOST_BYTES_MAX
        && text.split('.').all(fits)
        && !last.bytes().all(|byte| byte.is_ascii_digit())
}

impl CertName {
    /// Whether somebody who connects to `host` is shown the right certificate.
    pub fn covers(&self, host: &str) -> bool {
        match self {
            Self::Address(address) => host.parse() == Ok(*address),
            Self::Host(name) => match name.strip_prefix("*.") {
                None => name.eq_ignore_ascii_case(host),
                Some(domain) => {
                    host.split_once('.').is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(domain))
                }
            },
        }
    }

    /// Whether other machines can connect to it: it is no pattern and not this machine's name for itself.
    pub fn leads_here(&self) -> bool {
        match self {
            Self::Address(address) => !address.is_loopback() && !address.is_unspecified(),
            Self::Host(name) => !self.is_pattern() && name != "localhost" && !name.ends_with(".localhost"),
        }
    }

    /// Whether it stands for many.
    pub fn is_pattern(&self) -> bool {
        matches!(self, Self::Host(name) if name.starts_with("*."))
    }
}

/// The names in a certificate, in its order.
pub(super) fn names_in(der: &[u8]) -> Result<Vec<CertName>, String> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|error| error.to_string())?;
    let extension = certificate.subject_alternative_name().map_err(|error| error.to_string())?;
    let names = extension.iter().flat_map(|extension| &extension.value.general_names);
    Ok(names.filter_map(name_of).collect())
}

fn name_of(name: &GeneralName<'_>) -> Option<CertName> {
    match name {
        GeneralName::DNSName(host) => Some(CertName::Host((*host).to_owned())),
        GeneralName::IPAddress(bytes) => {
            let four = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            let sixteen = <[u8; 16]>::try_from(*bytes).map(IpAddr::from);
            four.or(sixteen).ok().map(CertName::Address)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_hosts_or_addresses() {
        for good in
            ["pantau.example.go.id", "localhost", "*.example.go.id", "pantau-1", "10.1.2.3", "fd00::1"]
        {
            assert_eq!(good.parse::<CertName>().map(|name| name.to_string()), Ok(good.to_owned()));
        }
        let check = |bad: &str, expected: &str| {
            let error = bad.parse::<CertName>().expect_err(bad);
            assert!(error.starts_with(&format!("{bad:?} is neither")) && error.contains(expected), "{error}");
        };
        check("https://pantau.example.go.id", "without https://");
        check("pantau.example.go.id:9797", "without https://, port");
        check("two words", "letters, digits");
        check("", "letters, digits");
        check("10.1.2.300", "letters, digits");
        check("-a.example", "letters, digits");
        check("a..b", "letters, digits");
        check("*", "letters, digits");
        check(&"a".repeat(64), "letters, digits");
    }

    #[test]
    fn a_name_covers_what_it_stands_for() {
        let covers = |name: &str, host: &str| name.parse::<CertName>().expect("a name").covers(host);
        assert!(covers("Pantau.example", "pantau.Example") && covers("*.example", "a.example"));
        assert!(covers("10.0.0.1", "10.0.0.1") && covers("fd00::1", "fd00:0::1"));
        assert!(!covers("*.example", "a.b.example") && !covers("*.example", "example"));
        assert!(!covers("10.0.0.1", "10.0.0.2") && !covers("a.example", "b.example"));
    }
}
