//! What to do when the uplink cannot do its work: words for whoever reads the log, beside the words of the system.
//!
//! In: settings, statuses, the innermost cause of a failed request. Out: a mistake at its place in the settings, or a text that says
//! what would be right. Nothing here decides anything.

use std::sync::Arc;

use settings::{Mistake, Secret, SettingsError};

use super::HttpTransport;
use super::http::HttpError;
use crate::clock::Clock;
use crate::settings::Settings;

/// Reads what the uplink needs and makes its client.
pub(crate) fn transport(settings: &Settings, clock: &Arc<Clock>) -> Result<HttpTransport, SettingsError> {
    let uplink = settings.uplink()?;
    HttpTransport::new(settings, uplink, Arc::clone(clock))
        .map_err(|error| settings.wrong(&mistake(&error).under("uplink")))
}

/// Whether a run could begin: the section is there, its token and CA can be read.
pub(crate) fn check(settings: &Settings) -> Result<(), SettingsError> {
    transport(settings, &Arc::new(Clock::system())).map(drop)
}

fn mistake(error: &HttpError) -> Mistake {
    match error {
        HttpError::Token(why) => Mistake::at("token", why.to_string()),
        HttpError::TokenText => Mistake::at("token", error.to_string()),
        HttpError::Ca { .. } => Mistake::at("ca_file", error.to_string()),
        HttpError::NoRoots | HttpError::Tls(_) | HttpError::Client(_) => Mistake::new(error.to_string()),
    }
}

const TRUST: &str = "set uplink.ca_fingerprint to the sha256:… that `pantau-collector agents add` and `tls init` print (on the \
                     collector's machine: openssl x509 -in DATA/tls/ca.pem -noout -fingerprint -sha256), or uplink.ca_file to its ca.pem";

/// What helps against a request that came to nothing, if that is known.
fn remedy(is_tls: bool, cause: &str) -> Option<String> {
    let said = |words: &[&str]| words.iter().any(|word| cause.contains(word));
    if said(&["UnknownIssuer"]) {
        return Some(format!("nobody who is believed here has signed its certificate: {TRUST}"));
    }
    if said(&["no certificate with the fingerprint"]) {
        return Some(format!("the collector has another CA than the settings name: {TRUST}"));
    }
    let plain = if is_tls && said(&["InvalidContentType"]) {
        "it speaks no TLS: write http:// in uplink.collectors, or set `tls: {}` in the collector's settings"
    } else if !is_tls && said(&["invalid HTTP version", "connection closed before message completed"]) {
        "it probably speaks TLS: write https:// in uplink.collectors"
    } else if said(&["not valid for name", "NotValidForName"]) {
        "write the collector's address as its certificate has it, or make a certificate with this name by `pantau-collector tls init`"
    } else if said(&["certificate expired", "Expired"]) {
        "make a new certificate by `pantau-collector tls init`, or set this machine's clock"
    } else if said(&["not valid yet", "NotValidYet"]) {
        "look at both machines' clocks"
    } else if said(&["Connection refused"]) {
        "look whether the collector runs and listens on this address (`listen` in its settings)"
    } else if said(&["failed to lookup address"]) {
        "this machine cannot find the host's name: look at uplink.collectors, and at its DNS"
    } else {
        return None;
    };
    Some(plain.to_owned())
}

/// A request that came to nothing.
pub(super) fn unreachable(name: &str, is_tls: bool, cause: &str) -> String {
    match remedy(is_tls, cause) {
        Some(remedy) => format!("cannot reach {name}: {cause}; {remedy}"),
        None => format!("cannot reach {name}: {cause}"),
    }
}

/// Where the token is kept, for people.
pub(super) fn token_place(token: &Secret, base: &std::path::Path) -> String {
    match token {
        Secret::File(path) => base.join(path).display().to_string(),
        Secret::Env(name) => format!("the environment variable {name}"),
    }
}

/// What to say of an answer beside its status; `is_receiver` where the answer is a collector's own, and no proxy's or login page's.
pub(super) fn answered(status: u16, is_receiver: bool, text: &str, token_place: &str) -> String {
    match (status, is_receiver) {
        (401, true) => format!(
            "this token is unknown or revoked: on the collector's machine enrol this agent again by `pantau-collector agents add NAME \
             --region CODE --site SITE`, put the token that it prints into {token_place}, and reload the agent"
        ),
        (407, _) => "the proxy wants a user and a password: write them in uplink.proxy".into(),
        (413, false) => format!(
            "a proxy on the way takes no body of this size: raise its limit (client_max_body_size in nginx){}{text}",
            if text.is_empty() { "" } else { "; it said: " }
        ),
        (408 | 425 | 429, false) => text.to_owned(),
        (200..=499, false) => format!(
            "this is no answer of a Pantau collector: look at uplink.collectors and uplink.proxy{}{text}",
            if text.is_empty() { "" } else { "; it said: " }
        ),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(is_tls: bool, cause: &str, expected: &str) {
        let said = unreachable("collector:9797", is_tls, cause);
        assert!(said.starts_with(&format!("cannot reach collector:9797: {cause}")), "{said}");
        assert!(said.contains(expected), "{said:?} should contain {expected:?}");
    }

    #[test]
    fn failures_say_what_to_do() {
        check(true, "invalid peer certificate: UnknownIssuer", "uplink.ca_fingerprint to the sha256:…");
        check(true, "the collector shows no certificate with the fingerprint sha256:ab", "has another CA");
        check(true, "received corrupt message of type InvalidContentType", "write http://");
        check(false, "invalid HTTP version parsed", "write https://");
        check(true, "invalid peer certificate: certificate not valid for name \"a\"", "tls init");
        check(true, "Connection refused (os error 111)", "look whether the collector runs");
        assert_eq!(unreachable("a", true, "no answer in time"), "cannot reach a: no answer in time");
    }

    #[test]
    fn answers_say_what_to_do() {
        let said = answered(401, true, "this needs a valid token", "/etc/pantau/agent.token");
        assert!(
            said.contains("unknown or revoked") && said.contains("into /etc/pantau/agent.token"),
            "{said}"
        );
        let said = answered(404, false, "nothing here", "x");
        assert!(
            said.contains("no answer of a Pantau collector") && said.ends_with("it said: nothing here"),
            "{said}"
        );
        for status in [200, 204, 302, 400, 409] {
            let said = answered(status, false, "", "x");
            assert!(said.contains("no answer of a Pantau collector"), "{status}: {said}");
        }
        let said = answered(413, false, "no", "x");
        assert!(said.starts_with("a proxy on the way") && said.ends_with("; it said: no"), "{said}");
        assert_eq!(answered(503, true, "not ready", "x"), "not ready");
    }
}
