//! Alerts leave: to Debian's Alertmanager, which tells a webhook, and to a webhook of our own that outlives a kill.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant, SystemTime};

use pantau_tests::http::Http;
use pantau_tests::pantau::Collector;
use pantau_tests::peers::{peer, peers_folder};
use pantau_tests::running::Running;
use pantau_tests::{free_port, wait_for};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustix::process::Signal;
use serde_json::Value;

/// Takes every POST on a port of loopback and hands its body on.
pub(crate) fn sink(port: u16) -> Receiver<Value> {
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
    let (came, seen) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut bytes = Vec::new();
            let mut part = [0; 65_536];
            let body = loop {
                match stream.read(&mut part) {
                    Ok(0) | Err(_) => break None,
                    Ok(count) => bytes.extend_from_slice(&part[..count]),
                }
                if let Some(body) = whole_body(&bytes) {
                    break Some(body);
                }
            };
            drop(stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"));
            if body.is_some_and(|body| came.send(body).is_err()) {
                return;
            }
        }
    });
    seen
}

fn whole_body(bytes: &[u8]) -> Option<Value> {
    let at = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    // A body is whole where it is JSON: ours and Alertmanager's are objects.
    serde_json::from_slice(&bytes[at..]).ok()
}

fn now_seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs()
}

/// Debian's Alertmanager as it runs without being installed: it looks for its templates at an absolute path, which a copy of the program
/// has as one of the same length that begins in the working folder.
fn movable(found: &Command, folder: &Path) -> Command {
    let mut program = std::fs::read(found.get_program()).expect("the program can be read");
    let (installed, here) = (b"/usr/share/prometheus/alertmanager", b"usr//share/prometheus/alertmanager");
    let mut at = 0;
    while let Some(next) = program[at..].windows(installed.len()).position(|bytes| bytes == installed) {
        at += next;
        program[at..at + here.len()].copy_from_slice(here);
    }
    let copy = folder.join("alertmanager");
    std::fs::write(&copy, program).expect("written");
    std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o755)).expect("our own file");
    let mut command = Command::new(copy);
    command.current_dir(peers_folder());
    command
}

/// Debian's Alertmanager, told to hand everything on to a port; `None` where peers are left out. Its port is the second.
fn alertmanager(folder: &Path, tells: u16, web: Option<&Path>) -> Option<(Running, u16)> {
    let mut command = movable(&peer("usr/bin/prometheus-alertmanager")?, folder);
    let port = free_port();
    let config = format!(
        "route: {{receiver: sink, group_wait: 100ms, group_interval: 1s, repeat_interval: 1s, group_by: [alertname]}}\n\
         receivers: [{{name: sink, webhook_configs: [{{url: 'http://127.0.0.1:{tells}/', send_resolved: true}}]}}]\n"
    );
    let file = folder.join("alertmanager.yml");
    std::fs::write(&file, config).expect("written");
    command
        .arg(format!("--config.file={}", file.display()))
        .arg(format!("--storage.path={}", folder.join("am").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .arg("--cluster.listen-address=");
    if let Some(web) = web {
        command.arg(format!("--web.config.file={}", web.display()));
    }
    Some((Running::start("alertmanager", &mut command, folder), port))
}

/// The first message with this status for this alert, and how many of the other came before.
fn until(seen: &Receiver<Value>, name: &str, status: &str) -> (Value, usize) {
    let began = Instant::now();
    let mut others = 0;
    loop {
        let left = Duration::from_secs(60).saturating_sub(began.elapsed());
        let message =
            seen.recv_timeout(left).unwrap_or_else(|_| panic!("no {status} {name} within a minute"));
        let alerts = message["alerts"].as_array().expect("a list of alerts");
        match alerts.iter().find(|alert| alert["labels"]["alertname"] == name) {
            Some(alert) if alert["status"] == status => return (alert.clone(), others),
            _ => others += 1,
        }
    }
}

#[test]
fn alerts_reach_a_webhook_through_debians_alertmanager_and_our_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let (theirs, ours) = (free_port(), free_port());
    let Some((mut alertmanager, port)) = alertmanager(folder.path(), theirs, None) else { return };
    let (at_theirs, at_ours) = (sink(theirs), sink(ours));
    let (http, base) = (Http::default(), format!("http://127.0.0.1:{port}"));
    alertmanager.wait_until("ready", || {
        http.get(&format!("{base}/-/ready")).ok().filter(|answer| answer.status == 200)
    });

    let end = now_seconds() + 14;
    let rules = format!(
        "groups: [{{name: g, interval: 1s, rules: [{{alert: ForAWhile, expr: 'vector(time()) < {end}', \
         labels: {{severity: critical}}, annotations: {{summary: 'until {end}'}}}}]}}]\n"
    );
    let settings = format!(
        "agent: {{enabled: false}}\n\
         external_labels: {{cluster: jateng}}\n\
         rules: {{files: [../rules.yml], resend_delay: 1s}}\n\
         alerting: {{alertmanagers: [{{url: '{base}'}}]}}\n\
         notify: {{webhook: [{{name: own, url: 'http://127.0.0.1:{ours}/'}}]}}\n"
    );
    std::fs::write(folder.path().join("rules.yml"), rules).expect("written");
    let mut collector = Collector::start(&folder.path().join("collector"), &settings);

    let (alert, _) = until(&at_theirs, "ForAWhile", "firing");
    assert_eq!(alert["labels"]["cluster"], "jateng");
    assert_eq!(alert["annotations"]["summary"], format!("until {end}"));
    let ends_at = || -> Option<String> {
        let alerts = http.get(&format!("{base}/api/v2/alerts")).ok()?.json();
        alerts.get(0)?["endsAt"].as_str().map(str::to_owned)
    };
    let first = wait_for("the alert at Alertmanager", Duration::from_secs(10), ends_at);
    wait_for("the alert again, for longer", Duration::from_secs(10), || {
        ends_at().filter(|ends| *ends > first)
    });
    let (alert, repeated) = until(&at_theirs, "ForAWhile", "resolved");
    assert!(repeated >= 1, "it was firing for longer than one notice is valid");
    let resolved_at = alert["endsAt"].as_str().expect("a time").to_owned();
    // By our word, not because nothing was heard any more: that would be four seconds later.
    assert!(resolved_at.contains('T') && now_seconds() < end + 12, "{resolved_at}");

    let (alert, others) = until(&at_ours, "ForAWhile", "firing");
    assert_eq!((others, &alert["labels"]["cluster"]), (0, &"jateng".into()));
    let (_, others) = until(&at_ours, "ForAWhile", "resolved");
    assert_eq!(others, 0, "our own receivers hear of changes alone");
    let text = collector.http.get(&format!("{}/metrics", collector.base)).expect("metrics").body;
    assert!(text.contains("pantau_notify_delivered_total{receiver=\"webhook.own\"} 2"), "{text}");
    assert!(text.contains("prometheus_notifications_sent_total{alertmanager="), "{text}");
    assert!(collector.running().is_running());
}

const PASSWORD: &str = "s3cret of the test";
/// The same for Alertmanager: bcrypt of four rounds.
const HASHED: &str = "$2b$04$abcdefghijklmnopqrstuurxSKQH030vTu7yFxTfZzeLfpSniilQS";

/// Writes `ca.pem`, and a certificate of that authority for loopback with its key as `server.pem` and `server.key`.
fn write_certificates(folder: &Path) {
    let ca_key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let ca = params.self_signed(&ca_key).expect("signed").pem();
    let issuer = Issuer::from_ca_cert_pem(&ca, ca_key).expect("its own");
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("a name");
    let certificate = params.signed_by(&key, &issuer).expect("signed");
    for (name, text) in
        [("ca.pem", ca), ("server.pem", certificate.pem()), ("server.key", key.serialize_pem())]
    {
        std::fs::write(folder.join(name), text).expect("written");
    }
}

#[test]
fn an_alertmanager_behind_tls_and_a_password_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    write_certificates(folder.path());
    let web = format!(
        "tls_server_config: {{cert_file: server.pem, key_file: server.key}}\nbasic_auth_users: {{pantau: '{HASHED}'}}\n"
    );
    std::fs::write(path("web.yml"), web).expect("written");
    let tells = free_port();
    let Some((mut alertmanager, port)) = alertmanager(folder.path(), tells, Some(&path("web.yml"))) else {
        return;
    };
    let told = sink(tells);
    alertmanager.wait_until("listening", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());

    std::fs::write(
        path("rules.yml"),
        "groups: [{name: g, interval: 1s, rules: [{alert: Now, expr: vector(1)}]}]\n",
    )
    .expect("written");
    std::fs::write(path("password"), "wrong and s3cret too\n").expect("written");
    let basic = "basic: {user: pantau, password: {file: ../password}}";
    let settings = format!(
        "agent: {{enabled: false}}\nrules: {{files: [../rules.yml], resend_delay: 1s}}\n\
         alerting: {{alertmanagers: [{{url: 'https://127.0.0.1:{port}', {basic}, ca_file: ../ca.pem}}]}}\n"
    );
    let mut collector = Collector::start(&path("collector"), &settings);
    let figures = |collector: &Collector| {
        collector.http.get(&format!("{}/metrics", collector.base)).expect("metrics").body
    };
    wait_for("a word on the refusal", Duration::from_secs(30), || {
        collector.running().log().contains("401").then_some(())
    });
    let refused = figures(&collector);
    let errors = refused
        .lines()
        .find(|line| line.starts_with("prometheus_notifications_errors_total{alertmanager="))
        .and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    assert!(errors.is_some_and(|errors| errors > 0.0), "{refused}");
    assert!(told.try_recv().is_err(), "nobody is told without the password");

    std::fs::write(path("password"), format!("{PASSWORD}\n")).expect("written");
    collector.running().signal(Signal::HUP);
    until(&told, "Now", "firing");
    let rules = "groups: [{name: g, interval: 1s, rules: [{alert: Now, expr: vector(1) < 0}]}]\n";
    std::fs::write(path("rules.yml"), rules).expect("written");
    collector.running().signal(Signal::HUP);
    until(&told, "Now", "resolved");
    let (log, figures) = (collector.running().log(), figures(&collector));
    assert!(!log.contains("s3cret") && !figures.contains("s3cret"), "{log}");
}

#[test]
fn what_was_told_outlives_a_kill_and_comes_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let port = free_port();
    std::fs::write(
        folder.path().join("rules.yml"),
        "groups: [{name: g, interval: 1s, rules: [{alert: On, expr: vector(1)}]}]\n",
    )
    .expect("written");
    let settings = format!(
        "agent: {{enabled: false}}\n\
         rules: {{files: [../rules.yml], resend_delay: 1s}}\n\
         notify: {{webhook: [{{name: own, url: 'http://127.0.0.1:{port}/'}}]}}\n"
    );
    let mut collector = Collector::start(&folder.path().join("collector"), &settings);
    let failures = |collector: &Collector| {
        let text = collector.http.get(&format!("{}/metrics", collector.base)).ok()?.body;
        text.contains("pantau_notify_failures_total{receiver=\"webhook.own\"}").then_some(())
    };
    wait_for("a try at nobody", Duration::from_secs(30), || failures(&collector));
    collector.running().kill();
    let seen = sink(port);
    collector.restart();
    until(&seen, "On", "firing");
    // It is told again each second; the receiver hears nothing more.
    let more = seen.recv_timeout(Duration::from_secs(4));
    assert!(more.is_err(), "{more:?}");
    let said = collector.command(&["notify", "test"]);
    assert!(
        said.starts_with(&format!("delivered  webhook.own (http://127.0.0.1:{port}): it answered 200")),
        "{said}"
    );
    until(&seen, "PantauTest", "firing");
}
