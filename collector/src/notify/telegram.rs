//! A Telegram group, by the Bot API's `sendMessage`.
//!
//! In: messages. Out: one text of Telegram's HTML, at most [`UNITS_MAX`] UTF-16 units, what does not fit counted at its end. A bot may
//! write some 20 messages a minute into a group: one every [`SPACING`], and what it is told to wait (`retry_after`) it waits.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use settings::{Mistake, Secret, Span};

use super::alert::Kind;
use super::answer::{Answer, of_status};
use super::http::{self, Access, Answered, Outlet};
use super::text::{self, Style};
use crate::outbox::Message;
use crate::settings::Name;

/// The longest text, in UTF-16 units; ours counts tags and entities, which Telegram does not.
const UNITS_MAX: usize = 4096;
/// Between two messages to a group.
pub(super) const SPACING: Duration = Duration::from_secs(3);

/// A group.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Its name, under which its place in the outbox is kept.
    pub name: Name,
    /// The bot's token, as BotFather gave it.
    pub token: Secret,
    /// The group's number (such as -1001234567890) or its @name.
    pub chat: String,
    /// The topic within the group; none by default.
    #[serde(default)]
    pub topic: Option<i64>,
    /// The Bot API's address. Default https://api.telegram.org.
    #[serde(default = "usual_api")]
    pub api: String,
    /// CAs to believe, PEM; those of the system by default.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// A proxy on the way; none by default.
    #[serde(default)]
    pub proxy: Option<String>,
    /// Time for a request and its answer. Default 20s.
    #[serde(default = "usual_timeout")]
    pub timeout: Span,
}

fn usual_api() -> String {
    "https://api.telegram.org".into()
}

fn usual_timeout() -> Span {
    Span::from_secs(20)
}

/// See the module's text.
pub(super) struct Telegram {
    outlet: Outlet,
    chat: String,
    topic: Option<i64>,
    style: Style,
}

#[derive(Serialize)]
struct Request<'a> {
    chat_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_thread_id: Option<i64>,
    text: String,
    parse_mode: &'static str,
    link_preview_options: Preview,
    disable_notification: bool,
}

#[derive(Serialize)]
struct Preview {
    is_disabled: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Reply {
    ok: bool,
    description: String,
    parameters: Parameters,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Parameters {
    retry_after: Option<u64>,
    migrate_to_chat_id: Option<i64>,
}

impl Telegram {
    pub(super) fn new(config: &Config, style: &Style, base: &Path) -> Result<Self, Mistake> {
        let token = http::secret(&config.token, "token", base)?;
        let is_token_byte = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'_' | b'-');
        if !token.expose().bytes().all(is_token_byte) || !token.expose().contains(':') {
            return Err(Mistake::at(
                "token",
                "this is no bot's token: BotFather gives one such as 123456:ABC-DEF",
            ));
        }
        check_chat(&config.chat)?;
        let api = config.api.trim_end_matches('/');
        http::url(api).map_err(|why| Mistake::at("api", why))?;
        let url = http::url(&format!("{api}/bot{}/sendMessage", token.expose()));
        let url = url.map_err(|why| Mistake::at("api", why))?;
        let access = Access {
            url,
            token: None,
            basic: None,
            ca_file: config.ca_file.as_ref(),
            proxy: config.proxy.as_deref(),
            timeout: config.timeout,
        };
        let outlet = Outlet::new(access, base)?;
        Ok(Self { outlet, chat: config.chat.clone(), topic: config.topic, style: style.clone() })
    }

    pub(super) fn place(&self) -> String {
        format!("{} chat {}", self.outlet.place(), self.chat)
    }

    pub(super) async fn send(&self, message: &Message) -> Answer {
        let request = Request {
            chat_id: &self.chat,
            message_thread_id: self.topic,
            text: text::html(&message.alerts, &self.style, UNITS_MAX),
            parse_mode: "HTML",
            link_preview_options: Preview { is_disabled: true },
            // What is over wakes nobody.
            disable_notification: message.alerts.iter().all(|alert| alert.kind == Kind::Resolved),
        };
        let body = serde_json::to_vec(&request).expect("texts can be written");
        match self.outlet.post(body, None).await {
            Ok(answered) => judge(&answered),
            Err(why) => Answer::Later { why, after: None },
        }
    }
}

fn check_chat(chat: &str) -> Result<(), Mistake> {
    let is_number = chat.parse::<i64>().is_ok();
    let is_name = chat.strip_prefix('@').is_some_and(|name| {
        (1..=64).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    });
    if is_number || is_name {
        return Ok(());
    }
    Err(Mistake::at(
        "chat",
        format!("{chat:?} is no chat: write its number, such as '-1001234567890', or its '@name'"),
    ))
}

fn judge(answered: &Answered) -> Answer {
    let Ok(reply) = serde_json::from_slice::<Reply>(&answered.body) else {
        // A proxy's or login page's, whatever its status: no word of Telegram's.
        return Answer::Later { why: format!("this is not the Bot API: {}", answered.said()), after: None };
    };
    if reply.ok {
        return Answer::Delivered("Telegram has it".into());
    }
    if let Some(chat) = reply.parameters.migrate_to_chat_id {
        let why = format!("the group has another number now: write `chat: '{chat}'` in the settings");
        return Answer::Later { why, after: None };
    }
    let said = format!("Telegram answered {}: {}", answered.status, reply.description);
    if answered.status == 400 && reply.description.to_lowercase().contains("chat") {
        return Answer::Later {
            why: format!("{said} (is `chat` right, and is the bot a member?)"),
            after: None,
        };
    }
    let after = reply.parameters.retry_after.map(Duration::from_secs).or(answered.retry_after);
    match of_status(answered.status, said, after) {
        // 2xx, and not ok: somebody else's.
        Answer::Delivered(why) => Answer::Later { why, after: None },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use model::Timestamp;

    use super::super::alert::example;
    use super::super::http::tests::{answer, fake, next};
    use super::*;

    fn telegram(address: &str, folder: &Path) -> Telegram {
        std::fs::write(folder.join("t"), "123456:ABC-def_1").expect("written");
        let text = format!("{{name: noc, token: {{file: t}}, chat: -1001, topic: 5, api: '{address}/'}}");
        let config: Config = settings::parse(&text, "x").expect("a section");
        Telegram::new(&config, &Style::default(), folder).expect("good")
    }

    fn message(kind: Kind) -> Message {
        Message { number: 7, told_at: Timestamp::from_millis(0), alerts: vec![example("a<b", kind)] }
    }

    #[tokio::test]
    async fn a_group_gets_html_and_its_answers_are_judged() {
        let folder = tempfile::tempdir().expect("a folder");
        let not_ok = |code: u16, more: &str| {
            format!("{{\"ok\":false,\"error_code\":{code},\"description\":\"said\"{more}}}")
        };
        let (address, seen) = fake(vec![
            answer("200 OK", "", r#"{"ok":true,"result":{"message_id":1}}"#),
            answer("429 Too Many Requests", "", &not_ok(429, r#","parameters":{"retry_after":35}"#)),
            answer("400 Bad Request", "", &not_ok(400, r#","parameters":{"migrate_to_chat_id":-100777}"#)),
            answer("400 Bad Request", "", r#"{"ok":false,"description":"Bad Request: chat not found"}"#),
            answer("400 Bad Request", "", &not_ok(400, "")),
            answer("403 Forbidden", "", &not_ok(403, "")),
            answer("200 OK", "", "<html>log in</html>"),
        ]);
        let telegram = telegram(&address, folder.path());
        assert_eq!(telegram.send(&message(Kind::Firing)).await, Answer::Delivered("Telegram has it".into()));
        let (head, body) = next(&seen);
        assert!(head.starts_with("POST /bot123456:ABC-def_1/sendMessage "), "{head}");
        let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!((&body["chat_id"], &body["parse_mode"]), (&"-1001".into(), &"HTML".into()));
        assert_eq!((&body["message_thread_id"], &body["disable_notification"]), (&5.into(), &false.into()));
        assert!(body["text"].as_str().expect("text").contains("<b>FIRING a&lt;b</b>"), "{body}");
        let after = Some(Duration::from_secs(35));
        let said = "Telegram answered 429: said".to_owned();
        assert_eq!(telegram.send(&message(Kind::Firing)).await, Answer::Later { why: said, after });
        let later = async |part: &str| match telegram.send(&message(Kind::Resolved)).await {
            Answer::Later { why, .. } => assert!(why.contains(part), "{why}"),
            other => panic!("{part}: {other:?}"),
        };
        later("chat: '-100777'").await;
        later("is `chat` right").await;
        assert_eq!(
            telegram.send(&message(Kind::Firing)).await,
            Answer::Never("Telegram answered 400: said".into())
        );
        let later = async |part: &str| match telegram.send(&message(Kind::Resolved)).await {
            Answer::Later { why, .. } => assert!(why.contains(part) && !why.contains("ABC"), "{why}"),
            other => panic!("{part}: {other:?}"),
        };
        later("403").await;
        later("this is not the Bot API").await;
        // Nobody listens any more: neither does the token stand in what is said.
        later("").await;
    }

    #[test]
    fn mistakes_are_named() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("t"), "no token/../x").expect("written");
        std::fs::write(folder.path().join("good"), "1:a").expect("written");
        let check = |text: &str, expected: &str| {
            let config: Config = settings::parse(text, "x").expect("a section");
            let Err(mistake) = Telegram::new(&config, &Style::default(), folder.path()) else {
                panic!("{text} is wrong")
            };
            assert!(mistake.to_string().contains(expected), "{mistake}");
        };
        check("{name: a, token: {file: t}, chat: 1}", "token: this is no bot's token");
        check("{name: a, token: {file: good}, chat: noc}", "chat: \"noc\" is no chat");
        check("{name: a, token: {file: good}, chat: '@noc', api: x}", "api: no address");
    }
}
