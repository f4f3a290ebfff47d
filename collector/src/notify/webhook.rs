//! A plain webhook: Alertmanager's body, version "4", so that whatever takes Alertmanager's webhooks takes ours.
//!
//! In: messages. Out: one POST each, with the header `x-pantau-message` (the message's number, by which a repeat can be told). An alert
//! without data has the status `firing` and the annotation `pantau_state: unknown`: the format knows no third one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use settings::{Mistake, Secret, Span};

use super::alert::{Alert, Kind, rfc3339};
use super::answer::{Answer, of_status};
use super::http::{self, Access, Basic, Outlet};
use super::text::Style;
use crate::outbox::Message;
use crate::settings::Name;

/// A webhook.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Its name, under which its place in the outbox is kept.
    pub name: Name,
    /// Where messages go.
    #[serde(default)]
    pub url: Option<String>,
    /// The same where the address itself is a secret; or `url`.
    #[serde(default)]
    pub secret_url: Option<Secret>,
    /// A bearer token.
    #[serde(default)]
    pub token: Option<Secret>,
    /// A name and a password; or `token`.
    #[serde(default)]
    pub basic: Option<Basic>,
    /// CAs to believe, PEM; those of the system by default.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// A proxy on the way; none by default.
    #[serde(default)]
    pub proxy: Option<String>,
    /// Time for a request and its answer. Default 10s.
    #[serde(default = "ten_seconds")]
    pub timeout: Span,
}

fn ten_seconds() -> Span {
    Span::from_secs(10)
}

/// See the module's text.
pub(super) struct Webhook {
    outlet: Outlet,
    name: String,
    external_url: String,
}

impl Webhook {
    pub(super) fn new(config: &Config, style: &Style, base: &Path) -> Result<Self, Mistake> {
        let url = match (&config.url, &config.secret_url) {
            (Some(url), None) => http::url(url).map_err(|why| Mistake::at("url", why))?,
            (None, Some(secret)) => {
                let text = http::secret(secret, "secret_url", base)?;
                http::url(text.expose()).map_err(|why| Mistake::at("secret_url", why))?
            }
            _ => return Err(Mistake::new("say where messages go: either `url` or `secret_url`")),
        };
        let access = Access {
            url,
            token: config.token.as_ref(),
            basic: config.basic.as_ref(),
            ca_file: config.ca_file.as_ref(),
            proxy: config.proxy.as_deref(),
            timeout: config.timeout,
        };
        let outlet = Outlet::new(access, base)?;
        Ok(Self { outlet, name: config.name.as_str().to_owned(), external_url: style.external_url.clone() })
    }

    pub(super) fn place(&self) -> String {
        self.outlet.place()
    }

    pub(super) async fn send(&self, message: &Message) -> Answer {
        let body = body(message, &self.name, &self.external_url);
        match self.outlet.post(body, Some(message.number)).await {
            Ok(answered) => of_status(answered.status, answered.said(), answered.retry_after),
            Err(why) => Answer::Later { why, after: None },
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    version: &'static str,
    group_key: String,
    truncated_alerts: u64,
    status: &'static str,
    receiver: &'a str,
    group_labels: BTreeMap<&'a str, &'a str>,
    common_labels: BTreeMap<&'a str, &'a str>,
    common_annotations: BTreeMap<&'a str, &'a str>,
    #[serde(rename = "externalURL")]
    external_url: &'a str,
    alerts: Vec<Item<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Item<'a> {
    status: &'static str,
    labels: BTreeMap<&'a str, &'a str>,
    annotations: BTreeMap<&'a str, &'a str>,
    starts_at: String,
    ends_at: String,
    #[serde(rename = "generatorURL")]
    generator_url: &'a str,
    fingerprint: String,
}

/// The body, as Alertmanager writes it.
pub(super) fn body(message: &Message, receiver: &str, external_url: &str) -> Vec<u8> {
    let alerts: Vec<Item<'_>> = message.alerts.iter().map(item).collect();
    let common = |of: fn(&Item<'_>) -> BTreeMap<String, String>| {
        alerts.iter().map(of).reduce(intersection).unwrap_or_default()
    };
    let labels = common(|item| owned(&item.labels));
    let annotations = common(|item| owned(&item.annotations));
    let resolved = message.alerts.iter().all(|alert| alert.kind == Kind::Resolved);
    let body = Body {
        version: "4",
        group_key: format!("{{}}:{{message=\"{}\"}}", message.number),
        truncated_alerts: 0,
        status: if resolved { "resolved" } else { "firing" },
        receiver,
        group_labels: BTreeMap::new(),
        common_labels: borrowed(&labels),
        common_annotations: borrowed(&annotations),
        external_url,
        alerts,
    };
    serde_json::to_vec(&body).expect("texts can be written")
}

fn owned(map: &BTreeMap<&str, &str>) -> BTreeMap<String, String> {
    map.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn borrowed(map: &BTreeMap<String, String>) -> BTreeMap<&str, &str> {
    map.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

fn intersection(
    mut one: BTreeMap<String, String>,
    two: BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    one.retain(|name, value| two.get(name) == Some(value));
    one
}

fn item(alert: &Alert) -> Item<'_> {
    let ended = alert.ends_at.filter(|_| alert.kind == Kind::Resolved);
    Item {
        status: if alert.kind == Kind::Resolved { "resolved" } else { "firing" },
        labels: alert.labels.iter().collect(),
        annotations: annotations(alert),
        starts_at: rfc3339(alert.starts_at),
        // What Go writes for no time at all, and every receiver of such bodies knows.
        ends_at: ended.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), rfc3339),
        generator_url: &alert.generator_url,
        fingerprint: format!("{:016x}", alert.fingerprint()),
    }
}

/// An alert's annotations, with the one that says that nobody knows.
pub(super) fn annotations(alert: &Alert) -> BTreeMap<&str, &str> {
    let own = alert.annotations.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let unknown = (alert.kind == Kind::Unknown).then_some(("pantau_state", "unknown"));
    own.chain(unknown).collect()
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::sync::mpsc;

    use model::Timestamp;

    use super::super::alert::example;
    use super::super::http::tests::{answer, fake, next};
    use super::*;

    fn config(text: &str) -> Config {
        settings::parse(text, "x").expect("a section")
    }

    fn message() -> Message {
        let alerts =
            vec![example("a", Kind::Firing), example("b", Kind::Unknown), example("c", Kind::Resolved)];
        Message { number: 7, told_at: Timestamp::from_millis(0), alerts }
    }

    #[test]
    fn the_body_is_alertmanagers() {
        let body: serde_json::Value =
            serde_json::from_slice(&body(&message(), "noc", "https://p")).expect("JSON");
        assert_eq!(body["version"], "4");
        assert_eq!((&body["status"], &body["receiver"]), (&"firing".into(), &"noc".into()));
        assert_eq!((&body["externalURL"], &body["truncatedAlerts"]), (&"https://p".into(), &0.into()));
        assert_eq!(body["commonLabels"]["site"], "kudus-1");
        assert!(body["commonLabels"].get("alertname").is_none());
        assert_eq!(body["commonAnnotations"]["runbook_url"], "https://pantau.example.go.id/runbooks/x");
        let alerts = body["alerts"].as_array().expect("a list");
        assert_eq!(alerts[0]["startsAt"], "2026-11-23T06:00:00.123Z");
        assert_eq!(alerts[0]["endsAt"], "0001-01-01T00:00:00Z");
        assert_eq!(
            (&alerts[1]["status"], &alerts[1]["annotations"]["pantau_state"]),
            (&"firing".into(), &"unknown".into())
        );
        assert_eq!(
            (&alerts[2]["status"], &alerts[2]["endsAt"]),
            (&"resolved".into(), &"2026-11-23T06:10:00.000Z".into())
        );
        assert_eq!(alerts[2]["fingerprint"].as_str().expect("text").len(), 16);
    }

    #[tokio::test]
    async fn what_is_answered_is_judged_and_secrets_are_sent_and_not_shown() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("t"), "geheim-token\n").expect("written");
        let (address, seen) = fake(vec![
            answer("200 OK", "", "thanks"),
            answer("429 Too Many", "retry-after: 7\r\n", ""),
            answer("400 Bad", "", "no such thing\nmore"),
            answer("302 Found", "location: http://127.0.0.1:1/\r\n", ""),
        ]);
        let config = config(&format!("{{name: a, url: '{address}/T/secret', token: {{file: t}}}}"));
        assert!(!format!("{config:?}").contains("geheim"));
        let webhook = Webhook::new(&config, &Style::default(), folder.path()).expect("good");
        assert_eq!(webhook.send(&message()).await, Answer::Delivered("it answered 200 thanks".into()));
        let (head, body) = next(&seen);
        assert!(head.starts_with("POST /T/secret HTTP/1.1"), "{head}");
        assert!(
            head.contains("authorization: Bearer geheim-token") && head.contains("x-pantau-message: 7"),
            "{head}"
        );
        assert!(body.contains("\"version\":\"4\""));
        let seven = Some(std::time::Duration::from_secs(7));
        assert_eq!(
            webhook.send(&message()).await,
            Answer::Later { why: "it answered 429".into(), after: seven }
        );
        assert_eq!(webhook.send(&message()).await, Answer::Never("it answered 400 no such thing".into()));
        assert!(matches!(webhook.send(&message()).await, Answer::Later { .. }));
        let Answer::Later { why, .. } = webhook.send(&message()).await else { panic!("nobody listens") };
        assert!(!why.contains("secret"), "{why}");
    }

    /// Answers with what it is given, over and over where it `flows`; then it keeps the connection open.
    fn rude(answer: &'static [u8], flows: bool) -> (String, mpsc::Receiver<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = format!("http://{}/x", listener.local_addr().expect("bound"));
        let (came, seen) = mpsc::channel();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let _ = came.send(());
            drop(stream.read(&mut [0; 1024]));
            while stream.write_all(answer).is_ok() && flows {}
            // Until the other side has enough.
            while stream.read(&mut [0; 65_536]).is_ok_and(|count| count > 0) {}
        });
        (address, seen)
    }

    #[tokio::test]
    async fn rude_receivers_cost_a_bounded_time_and_memory_and_no_message() {
        let check = async |answer: &'static [u8], flows: bool, expected: Result<&str, &str>| {
            let (address, _seen) = rude(answer, flows);
            let config = config(&format!("{{name: a, url: '{address}', timeout: 500ms}}"));
            let webhook = Webhook::new(&config, &Style::default(), Path::new("/nowhere")).expect("good");
            match (webhook.send(&message()).await, expected) {
                (Answer::Delivered(said), Ok(part)) | (Answer::Later { why: said, .. }, Err(part)) => {
                    assert!(said.contains(part) && said.len() < 500, "{said}");
                }
                (other, _) => panic!("{}: {other:?}", String::from_utf8_lossy(answer)),
            }
        };
        check(b"", false, Err("no answer in time")).await;
        check(b"ok\r\n\r\n", false, Err("")).await;
        check(b"\0\xff\r\n", true, Err("")).await;
        check(b"HTTP/1.1 200 OK\r\nx: y", false, Err("no answer in time")).await;
        check(b"HTTP/1.1 200 OK\r\nx: ", false, Err("no answer in time")).await;
        // Headers without an end, and a body without one: the first is no answer, the second is.
        check(b"HTTP/1.1 200 OK\r\n", true, Err("")).await;
        check(b"HTTP/1.1 200 OK\r\n\r\nxxxxxxxxxxxxxxxx", true, Ok("it answered 200")).await;
        check(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n{}", false, Ok("it answered 200"))
            .await;
        check(b"HTTP/1.1 500 No\r\ncontent-length: 5\r\n\r\nsorry", false, Err("it answered 500 sorry"))
            .await;
    }

    #[tokio::test]
    async fn a_redirect_is_not_followed_and_tried_again() {
        let (elsewhere, asked) = fake(vec![answer("200 OK", "", "")]);
        let (address, _) = fake(vec![answer("302 Found", &format!("location: {elsewhere}/x\r\n"), "")]);
        let config = config(&format!("{{name: a, url: '{address}/x'}}"));
        let webhook = Webhook::new(&config, &Style::default(), Path::new("/nowhere")).expect("good");
        assert!(matches!(webhook.send(&message()).await, Answer::Later { .. }));
        assert!(asked.try_recv().is_err(), "secrets go nowhere that the settings do not name");
    }

    #[test]
    fn mistakes_are_named() {
        let check = |text: &str, expected: &str| {
            let Err(mistake) = Webhook::new(&config(text), &Style::default(), Path::new("/nowhere")) else {
                panic!("{text} is wrong")
            };
            assert!(mistake.to_string().contains(expected), "{mistake}");
        };
        check("{name: a}", "either `url` or `secret_url`");
        check("{name: a, url: x}", "url: no address");
        check("{name: a, url: 'http://h', token: {file: t}}", "token: cannot read the secret");
        check("{name: a, url: 'http://h', timeout: 1h}", "timeout: 1h is out of bounds");
        check("{name: a, url: 'https://h', ca_file: x.pem}", "ca_file: cannot read the CAs");
        check(
            "{name: a, url: 'http://h', token: {env: PATH}, basic: {user: a, password: {env: PATH}}}",
            "keep one",
        );
    }
}
