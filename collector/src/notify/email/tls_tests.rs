//! Mail over TLS, both ways, against a server that has a certificate of a private authority.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, mpsc};

use model::Timestamp;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::super::alert::{Kind, example};
use super::super::http::tests::next;
use super::*;

/// The server's side of TLS for a name, and its authority as PEM.
fn authority(name: &str) -> (Arc<ServerConfig>, String) {
    let ca_key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let ca = params.self_signed(&ca_key).expect("signed").pem();
    let issuer = Issuer::from_ca_cert_pem(&ca, ca_key).expect("its own");
    let key = KeyPair::generate().expect("a key");
    let certificate = CertificateParams::new(vec![name.to_owned()]).expect("a name").signed_by(&key, &issuer);
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.expect("versions").with_no_client_auth();
    let chain = vec![certificate.expect("signed").der().clone()];
    (Arc::new(config.with_single_cert(chain, key).expect("a pair")), ca)
}

/// What came: the commands in order, each with whether it was protected, then the mail.
type Said = Vec<(bool, String)>;

/// Answers commands until QUIT or STARTTLS; whether the latter.
fn talk(stream: &mut (impl Read + Write), is_protected: bool, said: &mut Said) -> bool {
    let mut in_data = false;
    let mut lines = Lines::default();
    while let Some(line) = lines.next(stream) {
        said.push((is_protected, line.clone()));
        let word = line.split_whitespace().next().unwrap_or_default().to_uppercase();
        let answer = match word.as_str() {
            _ if in_data && line != "." => continue,
            _ if in_data => {
                in_data = false;
                "250 taken"
            }
            "EHLO" if is_protected => "250-sink\r\n250 AUTH PLAIN",
            "EHLO" => "250-sink\r\n250 STARTTLS",
            "STARTTLS" => {
                stream.write_all(b"220 go on\r\n").expect("written");
                return true;
            }
            "AUTH" => "235 welcome",
            "DATA" => {
                in_data = true;
                "354 go on"
            }
            _ => "250 yes",
        };
        if stream.write_all(format!("{answer}\r\n").as_bytes()).is_err() || word == "QUIT" {
            break;
        }
    }
    false
}

#[derive(Default)]
struct Lines(Vec<u8>);

impl Lines {
    fn next(&mut self, stream: &mut impl Read) -> Option<String> {
        loop {
            let mut reader = BufReader::new(self.0.as_slice());
            let mut line = String::new();
            if reader.read_line(&mut line).is_ok_and(|_| line.ends_with('\n')) {
                self.0.drain(..line.len());
                return Some(line.trim_end().to_owned());
            }
            let mut part = [0; 4096];
            let count = stream.read(&mut part).ok().filter(|count| *count > 0)?;
            self.0.extend_from_slice(&part[..count]);
        }
    }
}

fn protect(stream: TcpStream, tls: &Arc<ServerConfig>) -> StreamOwned<ServerConnection, TcpStream> {
    StreamOwned::new(ServerConnection::new(Arc::clone(tls)).expect("a connection"), stream)
}

/// A mail server of one connection, with TLS at once or after STARTTLS.
fn server(tls: Arc<ServerConfig>, at_once: bool) -> (u16, mpsc::Receiver<Said>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let (came, seen) = mpsc::channel();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut said = Said::new();
        if !at_once {
            stream.write_all(b"220 sink\r\n").expect("written");
        }
        if at_once || talk(&mut stream, false, &mut said) {
            let mut stream = protect(stream, &tls);
            if !at_once || stream.write_all(b"220 sink\r\n").is_ok() {
                talk(&mut stream, true, &mut said);
            }
        }
        drop(came.send(said));
    });
    (port, seen)
}

fn email(port: u16, kind: &str, folder: &Path) -> Email {
    let text = format!(
        "{{name: a, server: 127.0.0.1, port: {port}, tls: {kind}, ca_file: ca.pem, user: me, password: {{file: p}}, \
         from: p@e.id, to: [noc@e.id]}}"
    );
    let config: Config = settings::parse(&text, "x").expect("a section");
    Email::new(&config, &Style::default(), folder).expect("good")
}

fn message() -> Message {
    let alerts = vec![example("LowLight", Kind::Firing)];
    Message { number: 7, told_at: Timestamp::from_millis(1000), alerts }
}

fn folder(ca: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("p"), "s3cret").expect("written");
    std::fs::write(folder.path().join("ca.pem"), ca).expect("written");
    folder
}

#[tokio::test]
async fn mail_and_password_go_by_tls_alone() {
    for (kind, at_once) in [("starttls", false), ("always", true)] {
        let (tls, ca) = authority("127.0.0.1");
        let folder = folder(&ca);
        let (port, seen) = server(tls, at_once);
        let email = email(port, kind, folder.path());
        let answer = email.send(&message()).await;
        assert!(matches!(answer, Answer::Delivered(_)), "{kind}: {answer:?}");
        drop(email);
        let said = next(&seen);
        let open: Vec<&str> =
            said.iter().filter(|(is_protected, _)| !is_protected).map(|(_, line)| line.as_str()).collect();
        match kind {
            "always" => assert!(open.is_empty(), "{open:?}"),
            _ => assert!(open.len() == 2 && open[0].starts_with("EHLO") && open[1] == "STARTTLS", "{open:?}"),
        }
        for part in ["AUTH PLAIN", "RCPT TO:<noc@e.id>", "Subject: [Pantau] 1 firing: LowLight"] {
            assert!(said.iter().any(|(_, line)| line.starts_with(part)), "{kind}: {part} in {said:?}");
        }
    }
}

#[tokio::test]
async fn who_is_not_believed_gets_neither_mail_nor_password() {
    let (_, ours) = authority("127.0.0.1");
    for (name, is_ours) in [("127.0.0.1", false), ("other.example", true)] {
        for (kind, at_once) in [("starttls", false), ("always", true)] {
            let (tls, ca) = authority(name);
            let folder = folder(if is_ours { &ca } else { &ours });
            let (port, seen) = server(tls, at_once);
            let answer = email(port, kind, folder.path()).send(&message()).await;
            let Answer::Later { why, .. } = answer else { panic!("{kind} {name}: {answer:?}") };
            assert!(why.contains("certificate"), "{kind} {name}: {why}");
            let said = next(&seen);
            assert!(!said.iter().any(|(_, line)| line.starts_with("AUTH") || line.starts_with("MAIL")));
        }
    }
}
