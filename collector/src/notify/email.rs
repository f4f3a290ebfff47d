//! E-mail, by SMTP to one server.
//!
//! In: messages. Out: one mail of plain text to each recipient, each by a transaction of its own, so that one dead mailbox silences
//! nobody else; whoever has a mail does not get it again while the others are tried (until a restart). The `Message-ID` is the same at
//! each try, by which mail servers can tell a repeat. TLS is asked for by default, and a password is not sent without it except to this
//! very machine.
//!
//! Limits: [`RECIPIENTS_MAX`] recipients, texts of [`TEXT_UNITS_MAX`] characters.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use lettre::address::Envelope;
use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};
use serde::Deserialize;
use settings::{Mistake, Secret, Span};

use super::answer::Answer;
use super::http;
use super::text::{self, Style};
use crate::outbox::Message;
use crate::settings::Name;

const RECIPIENTS_MAX: usize = 50;
const TEXT_UNITS_MAX: usize = 200_000;
/// Commands of one transaction, of which each may take the whole time.
const COMMANDS: u32 = 4;
/// Between two mails.
pub(super) const SPACING: Duration = Duration::from_secs(1);

/// A mail server and whom it brings mail.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Its name, under which its place in the outbox is kept.
    pub name: Name,
    /// The server's host.
    pub server: String,
    /// Its port; by default 587 for `starttls`, 465 for `always`, 25 for `none`.
    #[serde(default)]
    pub port: Option<u16>,
    /// How the way is protected. Default `starttls`.
    #[serde(default)]
    pub tls: Protection,
    /// CAs to believe, PEM; those of the system by default.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// The name to log in with; none by default.
    #[serde(default)]
    pub user: Option<String>,
    /// Its password.
    #[serde(default)]
    pub password: Option<Secret>,
    /// The sender, such as `Pantau <pantau@example.go.id>`.
    pub from: String,
    /// The recipients.
    pub to: Vec<String>,
    /// Time for each step of a transaction. Default 20s.
    #[serde(default = "usual_timeout")]
    pub timeout: Span,
}

/// How the way to a mail server is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protection {
    /// TLS is asked for after the greeting, and nothing is sent without it.
    #[default]
    Starttls,
    /// TLS from the first byte on.
    Always,
    /// None.
    None,
}

fn usual_timeout() -> Span {
    Span::from_secs(20)
}

/// See the module's text.
pub(super) struct Email {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    server: String,
    from: Mailbox,
    to: Vec<Mailbox>,
    timeout: Duration,
    style: Style,
    /// Which recipients are done with which message.
    done: Mutex<(u64, Vec<bool>)>,
}

impl Email {
    pub(super) fn new(config: &Config, style: &Style, base: &Path) -> Result<Self, Mistake> {
        http::check_timeout(config.timeout)?;
        if config.server.is_empty()
            || config.server.contains(|symbol: char| symbol.is_whitespace() || "/:@".contains(symbol))
        {
            let why = format!(
                "{:?} is no host: write its name or address, and the port under `port`",
                config.server
            );
            return Err(Mistake::at("server", why));
        }
        let from = mailbox(&config.from).map_err(|why| Mistake::at("from", why))?;
        if config.to.is_empty() || config.to.len() > RECIPIENTS_MAX {
            return Err(Mistake::at("to", format!("write 1 to {RECIPIENTS_MAX} recipients")));
        }
        let to = config.to.iter().enumerate();
        let to =
            to.map(|(index, text)| mailbox(text).map_err(|why| Mistake::new(why).item(index).under("to")));
        let to = to.collect::<Result<_, _>>()?;
        let usual_port = match config.tls {
            Protection::Starttls => 587,
            Protection::Always => 465,
            Protection::None => 25,
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(config.server.as_str())
            .port(config.port.unwrap_or(usual_port))
            .tls(tls(config, base)?)
            .hello_name(ClientId::Domain(host_of(&style.external_url)))
            .timeout(Some(config.timeout.get()));
        if let Some(credentials) = credentials(config, base)? {
            builder = builder.credentials(credentials);
        }
        let server = format!("{}:{}", config.server, config.port.unwrap_or(usual_port));
        let done = Mutex::default();
        let (transport, timeout, style) = (builder.build(), config.timeout.get(), style.clone());
        Ok(Self { transport, server, from, to, timeout, style, done })
    }

    pub(super) fn place(&self) -> String {
        let to: Vec<String> = self.to.iter().map(|to| to.email.to_string()).collect();
        format!("{} for {}", self.server, to.join(", "))
    }

    pub(super) async fn send(&self, message: &Message) -> Answer {
        let mail = match self.mail(message) {
            Ok(mail) => mail.formatted(),
            Err(why) => return Answer::Never(format!("no mail can be made of it: {why}")),
        };
        let mut done = self.done_of(message.number);
        let (mut later, mut refused) = (None, Vec::new());
        for (index, to) in self.to.iter().enumerate().filter(|(index, _)| !done[*index]).collect::<Vec<_>>() {
            match self.send_one(&mail, to).await {
                Answer::Delivered(_) => done[index] = true,
                Answer::Never(why) => refused.push(format!("{}: {why}", to.email)),
                Answer::Later { why, .. } => later = Some(why),
            }
        }
        let count = done.iter().filter(|done| **done).count();
        *self.done.lock().expect("nothing panics while it holds this lock") = (message.number, done);
        match later {
            Some(why) => Answer::Later { why, after: None },
            None if count == 0 => Answer::Never(refused.join("; ")),
            None => {
                if !refused.is_empty() {
                    tracing::warn!("{} does not take mail for some: {}", self.server, refused.join("; "));
                }
                let but = if refused.is_empty() {
                    String::new()
                } else {
                    format!(", but not for {}", refused.join("; "))
                };
                Answer::Delivered(format!("{} took it for {count}{but}", self.server))
            }
        }
    }

    fn done_of(&self, number: u64) -> Vec<bool> {
        let done = self.done.lock().expect("nothing panics while it holds this lock");
        if done.0 == number && done.1.len() == self.to.len() {
            done.1.clone()
        } else {
            vec![false; self.to.len()]
        }
    }

    async fn send_one(&self, mail: &[u8], to: &Mailbox) -> Answer {
        let envelope = match Envelope::new(Some(self.from.email.clone()), vec![to.email.clone()]) {
            Ok(envelope) => envelope,
            Err(why) => return Answer::Never(why.to_string()),
        };
        let sending = self.transport.send_raw(&envelope, mail);
        let Ok(sent) = tokio::time::timeout(self.timeout * COMMANDS, sending).await else {
            return Answer::Later { why: "no answer in time".into(), after: None };
        };
        match sent {
            Ok(_) => Answer::Delivered(String::new()),
            Err(error) => judge(&error),
        }
    }

    fn mail(&self, message: &Message) -> Result<lettre::Message, lettre::error::Error> {
        let host = host_of(&self.style.external_url);
        let id = format!("<pantau.{}.{}@{host}>", message.number, message.told_at.as_millis());
        let mut builder = lettre::Message::builder().from(self.from.clone());
        for to in &self.to {
            builder = builder.to(to.clone());
        }
        builder
            .subject(text::subject(&message.alerts, &self.style).replace('\n', " "))
            .message_id(Some(id))
            .header(ContentType::TEXT_PLAIN)
            .body(text::plain(&message.alerts, &self.style, TEXT_UNITS_MAX))
    }
}

fn mailbox(text: &str) -> Result<Mailbox, String> {
    text.parse().map_err(|_| format!("{text:?} is no mail address: write one such as noc@example.go.id"))
}

/// The host of an address, for names of this program in mail.
fn host_of(url: &str) -> String {
    let url = reqwest::Url::parse(url).ok();
    url.and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_else(|| "localhost".into())
}

fn tls(config: &Config, base: &Path) -> Result<Tls, Mistake> {
    if config.tls == Protection::None {
        return Ok(Tls::None);
    }
    let mut builder = TlsParameters::builder(config.server.clone());
    if let Some(path) = &config.ca_file {
        builder = builder.certificate_store(CertificateStore::None);
        for certificate in http::certificates(&base.join(path))? {
            let certificate = Certificate::from_der(certificate.to_vec());
            builder = builder
                .add_root_certificate(certificate.map_err(|why| Mistake::at("ca_file", why.to_string()))?);
        }
    }
    let parameters = builder.build_rustls().map_err(|why| Mistake::at("tls", why.to_string()))?;
    Ok(match config.tls {
        Protection::Always => Tls::Wrapper(parameters),
        _ => Tls::Required(parameters),
    })
}

fn credentials(config: &Config, base: &Path) -> Result<Option<Credentials>, Mistake> {
    let (user, password) = match (&config.user, &config.password) {
        (None, None) => return Ok(None),
        (Some(user), Some(password)) => (user, http::secret(password, "password", base)?),
        _ => return Err(Mistake::new("`user` and `password` belong together: write both or neither")),
    };
    let is_here = config.server == "localhost"
        || config.server.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    if config.tls == Protection::None && !is_here {
        return Err(Mistake::at(
            "tls",
            "without TLS the password can be read on the way: write `starttls` or `always`",
        ));
    }
    Ok(Some(Credentials::new(user.clone(), password.expose().to_owned())))
}

/// A permanent answer is final, but for what says that we are not let in: that can be set right.
fn judge(error: &lettre::transport::smtp::Error) -> Answer {
    let mut why = error.to_string();
    if let Some(source) = std::error::Error::source(error) {
        let source = source.to_string();
        if !why.contains(&source) {
            why = format!("{why}: {source}");
        }
    }
    let status = error.status().map_or(0, u16::from);
    if error.is_permanent() && !matches!(status, 530 | 534 | 535 | 538 | 521 | 554) {
        return Answer::Never(why);
    }
    Answer::Later { why, after: None }
}

#[cfg(test)]
mod tls_tests;

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::TcpListener;
    use std::sync::mpsc;

    use model::Timestamp;

    use super::super::alert::{Kind, example};
    use super::super::http::tests::next;
    use super::*;

    /// A mail server for so many connections: recipients that begin with `dead` are refused for ever, with `busy` for now, the latter
    /// only once; each mail is sent along with its recipient.
    fn sink(connections: usize) -> (u16, mpsc::Receiver<(String, String)>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let (came, seen) = mpsc::channel();
        std::thread::spawn(move || {
            let mut was_busy = false;
            for _ in 0..connections {
                let (mut stream, _) = listener.accept().expect("a connection");
                let mut lines = BufReader::new(stream.try_clone().expect("doubled")).lines();
                let mut say = |text: &str| drop(stream.write_all(format!("{text}\r\n").as_bytes()));
                say("220 sink");
                let (mut recipient, mut mail, mut in_data) = (String::new(), String::new(), false);
                while let Some(Ok(line)) = lines.next() {
                    if in_data {
                        if line == "." {
                            in_data = false;
                            say("250 taken");
                            drop(came.send((recipient.clone(), std::mem::take(&mut mail))));
                        } else {
                            mail.push_str(&line);
                            mail.push('\n');
                        }
                        continue;
                    }
                    let word = line.split_whitespace().next().unwrap_or_default().to_uppercase();
                    match word.as_str() {
                        "EHLO" => say("250-sink\r\n250-AUTH PLAIN\r\n250 8BITMIME"),
                        "AUTH" => say("235 welcome"),
                        "RCPT" => {
                            recipient = line;
                            if recipient.contains("dead") {
                                say("550 no such mailbox");
                            } else if recipient.contains("busy") && !was_busy {
                                was_busy = true;
                                say("451 come back");
                            } else {
                                say("250 yes");
                            }
                        }
                        "DATA" => {
                            in_data = true;
                            say("354 go on");
                        }
                        "QUIT" => {
                            say("221 bye");
                            break;
                        }
                        _ => say("250 yes"),
                    }
                }
            }
        });
        (port, seen)
    }

    fn email(text: &str, folder: &Path) -> Result<Email, Mistake> {
        let config: Config = settings::parse(text, "x").expect("a section");
        let style = Style { external_url: "https://pantau.example.go.id".into(), ..Style::default() };
        Email::new(&config, &style, folder)
    }

    fn message() -> Message {
        Message {
            number: 7,
            told_at: Timestamp::from_millis(1000),
            alerts: vec![example("LowLight", Kind::Firing)],
        }
    }

    #[tokio::test]
    async fn each_recipient_gets_one_mail_and_a_dead_mailbox_silences_nobody() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("p"), "s3cret").expect("written");
        let (port, seen) = sink(5);
        let text = format!(
            "{{name: a, server: 127.0.0.1, port: {port}, tls: none, user: me, password: {{file: p}}, \
             from: 'Pantau <p@e.id>', to: [noc@e.id, dead@e.id, busy@e.id]}}"
        );
        let email = email(&text, folder.path()).expect("good");
        let Answer::Later { why, .. } = email.send(&message()).await else { panic!("one is busy") };
        assert!(why.contains("come back"), "{why}");
        let (recipient, mail) = next(&seen);
        assert!(recipient.contains("noc@e.id"));
        assert!(mail.contains("Subject: [Pantau] 1 firing: LowLight"), "{mail}");
        assert!(mail.contains("Message-ID: <pantau.7.1000@pantau.example.go.id>"), "{mail}");
        assert!(
            mail.contains("Content-Type: text/plain; charset=utf-8") && mail.contains("Date: "),
            "{mail}"
        );
        drop(email.send(&message()).await);
        let (recipient, _) = next(&seen);
        assert!(recipient.contains("busy@e.id"), "who has it is not asked again: {recipient}");
        assert!(seen.try_recv().is_err());
    }

    #[tokio::test]
    async fn a_server_without_tls_gets_nothing_where_tls_is_asked_for() {
        let (port, seen) = sink(1);
        let text = format!("{{name: a, server: 127.0.0.1, port: {port}, from: p@e.id, to: [noc@e.id]}}");
        let email = email(&text, Path::new("/nowhere")).expect("good");
        assert!(matches!(email.send(&message()).await, Answer::Later { .. }));
        assert!(seen.try_recv().is_err());
    }

    #[tokio::test]
    async fn nobody_there_is_tried_again_and_refused_by_all_is_final() {
        let (port, _seen) = sink(1);
        let text = |port: u16| {
            format!("{{name: a, server: 127.0.0.1, port: {port}, tls: none, from: p@e.id, to: [dead@e.id]}}")
        };
        let refused = email(&text(port), Path::new("/nowhere")).expect("good");
        let Answer::Never(why) = refused.send(&message()).await else { panic!("it is refused") };
        assert!(why.contains("dead@e.id") && why.contains("550"), "{why}");
        let nobody = email(&text(1), Path::new("/nowhere")).expect("good");
        assert!(matches!(nobody.send(&message()).await, Answer::Later { .. }));
    }

    #[test]
    fn mistakes_are_named() {
        let check = |text: &str, expected: &str| {
            let Err(mistake) = email(text, Path::new("/nowhere")) else { panic!("{text} is wrong") };
            assert!(mistake.to_string().contains(expected), "{mistake}");
        };
        check("{name: a, server: 'h:25', from: a@b.c, to: [a@b.c]}", "server: \"h:25\" is no host");
        check("{name: a, server: h, from: me, to: [a@b.c]}", "from: \"me\" is no mail address");
        check("{name: a, server: h, from: a@b.c, to: []}", "to: write 1 to 50 recipients");
        check("{name: a, server: h, from: a@b.c, to: [a@b.c, x]}", "to[1]: \"x\" is no mail address");
        check("{name: a, server: h, user: a, from: a@b.c, to: [a@b.c]}", "belong together");
        let open =
            "{name: a, server: h, tls: none, user: a, password: {env: PATH}, from: a@b.c, to: [a@b.c]}";
        check(open, "tls: without TLS the password can be read");
    }
}
